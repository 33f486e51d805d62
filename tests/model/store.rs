//! The Redis side of the model: two partitions in memory that do what the store's scripts do, and everything that can happen
//! to them. It also knows the truth, which no node can ask.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::Instant;

use keygate::keys::keyring::Sealer;
use keygate::keys::{Fingerprint, OrgId, PARTITIONS, Partition, Record, RecordKind, Revision};
use keygate::store::redis::feed::{Entry, Stored, Tail};
use keygate::store::seal::{BUCKETS, bucket_of, open, seal, term};
use uuid::Uuid;

/// The partitions in which something happens; the others stay empty.
pub const BUSY: [u8; 2] = [3, 12];

/// A record's kind, as its byte, and its id.
pub type Field = (u8, [u8; 16]);

pub fn field_of(record: &Record) -> Field {
    (record.kind().byte(), record.id_bytes())
}

fn term_of(field: Field, revision: Revision) -> u64 {
    term(RecordKind::of_byte(field.0).unwrap(), field.1, revision)
}

/// The store that the nodes were set up with.
pub const OURS: Uuid = Uuid::from_u128(7);

/// One partition.
#[derive(Clone)]
pub struct Part {
    pub identity: Option<Uuid>,
    pub records: BTreeMap<Field, Vec<u8>>,
    pub stream: VecDeque<Entry>,
    pub last: Revision,
    pub digests: [u64; BUCKETS],
    pub count: u64,
    pub restoring: bool,
}

impl Part {
    fn new(identity: Option<Uuid>) -> Self {
        Self {
            identity,
            records: BTreeMap::new(),
            stream: VecDeque::new(),
            last: Revision(0),
            digests: [0; BUCKETS],
            count: 0,
            restoring: false,
        }
    }

    pub fn tail(&self) -> Tail {
        Tail {
            identity: self.identity,
            last: self.last,
            count: self.count,
            digest: self.digests.iter().fold(0, |all, one| all ^ one),
            restoring: self.restoring,
        }
    }

    pub fn read(&self, after: Revision, most: usize) -> Vec<Entry> {
        let next = self.stream.iter().filter(|entry| entry.revision > after);
        next.take(most).cloned().collect()
    }

    pub fn bucket(&self, bucket: usize) -> Vec<Stored> {
        let of = self
            .records
            .iter()
            .filter(|((_, id), _)| bucket_of(*id) == bucket);
        of.map(|((kind, id), sealed)| Stored {
            kind: *kind,
            id: *id,
            sealed: sealed.clone(),
        })
        .collect()
    }
}

/// Both partitions: what a server holds.
pub type Parts = [Part; 2];

/// Where a partition is in [`Parts`].
pub fn at(partition: Partition) -> Option<usize> {
    BUSY.iter()
        .position(|busy| usize::from(*busy) == partition.index())
}

pub fn partition_of(id: [u8; 16]) -> Partition {
    OrgId(Uuid::from_bytes(id)).partition()
}

/// What undoes one write.
struct Undo {
    part: usize,
    field: Field,
    before: Option<Vec<u8>>,
    revision: Revision,
    last: Revision,
    digests: [u64; BUCKETS],
    count: u64,
}

/// The store and the truth about it.
pub struct Model {
    pub parts: Parts,
    pub backup: Option<Parts>,
    pub sealer: Sealer,
    pub identity: Uuid,
    undo: Vec<Undo>,
    /// Every version that was ever written by us, by what it is of.
    pub genuine: HashMap<Field, BTreeMap<Revision, Record>>,
    /// What the store held, from which moment on.
    pub states: Vec<(Instant, Rc<BTreeMap<Field, Revision>>)>,
    /// Versions that the store has lost.
    pub lost: HashSet<(Field, Revision)>,
    /// What somebody has meddled with, and when it was mended: no promise is about it until then.
    pub tampered: HashMap<Field, Option<Instant>>,
    /// What had a change whose entry somebody has meddled with: the record is mended by its digest, a moment later.
    pub poisoned: HashSet<Field>,
    /// Fingerprints that only forged records have.
    pub forged: Vec<Fingerprint>,
    /// Whether nothing ever happened to it but trimming.
    pub honest: bool,
}

impl Model {
    pub fn new(sealer: Sealer, now: Instant) -> Self {
        let identity = OURS;
        Self {
            parts: [Part::new(Some(identity)), Part::new(Some(identity))],
            backup: None,
            sealer,
            identity,
            undo: Vec::new(),
            genuine: HashMap::new(),
            states: vec![(now, Rc::default())],
            lost: HashSet::new(),
            tampered: HashMap::new(),
            poisoned: HashSet::new(),
            forged: Vec::new(),
            honest: true,
        }
    }

    pub fn tails(&self) -> Vec<(Partition, Tail)> {
        let idle = Part::new(self.parts[0].identity).tail();
        let tail = |partition| at(partition).map_or(idle.clone(), |at| self.parts[at].tail());
        let all: Vec<_> = Partition::all()
            .map(|partition| (partition, tail(partition)))
            .collect();
        assert_eq!(all.len(), PARTITIONS);
        all
    }

    pub fn state(&self) -> Rc<BTreeMap<Field, Revision>> {
        Rc::clone(&self.states.last().unwrap().1)
    }

    pub fn state_at(&self, moment: Instant) -> Rc<BTreeMap<Field, Revision>> {
        let after = self.states.partition_point(|(from, _)| *from <= moment);
        Rc::clone(&self.states[after.saturating_sub(1)].1)
    }

    pub fn tamper(&mut self, field: Field) {
        self.tampered.insert(field, None);
    }

    fn mend(&mut self, now: Instant, field: Field) {
        if let Some(until) = self.tampered.get_mut(&field) {
            until.get_or_insert(now);
        }
    }

    /// Whether somebody had meddled with it at that moment.
    pub fn is_tampered(&self, field: &Field, moment: Instant) -> bool {
        let until = self.tampered.get(field);
        until.is_some_and(|until| until.is_none_or(|until| until > moment))
    }

    /// The newest version of a record in the store.
    pub fn newest(&self, field: &Field) -> Option<&Record> {
        let revision = self.states.last().unwrap().1.get(field)?;
        self.genuine[field].get(revision)
    }

    /// The commit script. `seen` is what the node that writes has applied of the partition, `clock` its clock.
    pub fn commit(
        &mut self,
        now: Instant,
        mut record: Record,
        seen: Revision,
        clock: u64,
    ) -> Record {
        let field = field_of(&record);
        let part = at(partition_of(field.1)).unwrap();
        let stream_end = self.parts[part]
            .stream
            .back()
            .map_or(0, |entry| entry.revision.0);
        let revision = (self.parts[part].last.0 + 1)
            .max(seen.0 + 1)
            .max(stream_end + 1)
            .max(clock);
        let revision = Revision(revision);
        match &mut record {
            Record::Org(org) => org.revision = revision,
            Record::User(user) => {
                user.revision = revision;
                if user.disabled {
                    user.application_keys_revoked_through = revision;
                }
            }
            Record::Key(key) => {
                key.revision = revision;
                if key.issued == Revision(0) {
                    key.issued = revision;
                }
            }
        }
        let sealed = seal(&self.sealer, &record).unwrap();
        let before = self.state().get(&field).copied();
        let it = &mut self.parts[part];
        self.undo.push(Undo {
            part,
            field,
            before: it.records.get(&field).cloned(),
            revision,
            last: it.last,
            digests: it.digests,
            count: it.count,
        });
        let digest = &mut it.digests[bucket_of(field.1)];
        *digest ^= term_of(field, revision);
        match before {
            Some(before) => *digest ^= term_of(field, before),
            None => it.count += 1,
        }
        it.records.insert(field, sealed.clone());
        it.stream.push_back(Entry {
            partition: partition_of(field.1),
            revision,
            previous: Some(it.last),
            sealed,
        });
        it.last = revision;
        self.mend(now, field);
        self.genuine
            .entry(field)
            .or_default()
            .insert(revision, record.clone());
        let mut state = (*self.state()).clone();
        state.insert(field, revision);
        self.states.push((now, Rc::new(state)));
        record
    }

    /// A replica without the last writes becomes the master.
    pub fn fail_over(&mut self, now: Instant, writes: usize) {
        self.honest = false;
        let mut state = (*self.state()).clone();
        for _ in 0..writes {
            let Some(undo) = self.undo.pop() else { break };
            let it = &mut self.parts[undo.part];
            it.stream.retain(|entry| entry.revision < undo.revision);
            (it.last, it.digests, it.count) = (undo.last, undo.digests, undo.count);
            let older = self.genuine[&undo.field].range(..undo.revision);
            let older: Vec<Revision> = older.map(|(revision, _)| *revision).collect();
            let older = older
                .into_iter()
                .rfind(|older| !self.lost.contains(&(undo.field, *older)));
            match older {
                Some(older) => state.insert(undo.field, older),
                None => state.remove(&undo.field),
            };
            self.lost.insert((undo.field, undo.revision));
            let is_whole = undo.before.as_ref().is_none_or(|before| {
                open(&self.sealer, before).is_ok_and(|record| {
                    field_of(&record) == undo.field && Some(record.revision()) == older
                })
            });
            if !is_whole {
                self.tampered.insert(undo.field, None);
            }
            match undo.before {
                Some(before) => it.records.insert(undo.field, before),
                None => it.records.remove(&undo.field),
            };
        }
        self.states.push((now, Rc::new(state)));
    }

    /// The store becomes what it was when the backup was made.
    pub fn restore_backup(&mut self, now: Instant) {
        let Some(backup) = self.backup.take() else {
            return;
        };
        self.replace(now, backup);
    }

    /// The store is emptied.
    pub fn wipe(&mut self, now: Instant) {
        self.replace(now, [Part::new(None), Part::new(None)]);
    }

    fn replace(&mut self, now: Instant, parts: Parts) {
        self.honest = false;
        self.undo.clear();
        self.parts = parts;
        let mut state = BTreeMap::new();
        for (field, sealed) in self.parts.iter().flat_map(|part| &part.records) {
            if let Ok(record) = open(&self.sealer, sealed)
                && field_of(&record) == *field
            {
                state.insert(*field, record.revision());
            }
        }
        for field in self.state().keys() {
            let kept = state.get(field).copied().unwrap_or_default();
            for (revision, _) in self.genuine[field].range(Revision(kept.0 + 1)..) {
                self.lost.insert((*field, *revision));
            }
        }
        self.states.push((now, Rc::new(state)));
    }

    /// `keygate store restore`: records are put back if they are absent or older.
    pub fn write_back(&mut self, now: Instant, records: &[Record]) {
        self.undo.clear();
        let mut state = (*self.state()).clone();
        for part in &mut self.parts {
            part.identity = Some(self.identity);
            part.restoring = false;
        }
        for record in records {
            let field = field_of(record);
            let held = state.get(&field).copied();
            if held.is_some_and(|held| held >= record.revision()) {
                continue;
            }
            let it = &mut self.parts[at(partition_of(field.1)).unwrap()];
            let digest = &mut it.digests[bucket_of(field.1)];
            *digest ^= term_of(field, record.revision());
            match held {
                Some(held) => *digest ^= term_of(field, held),
                None => it.count += 1,
            }
            it.records
                .insert(field, seal(&self.sealer, record).unwrap());
            it.last = it.last.max(record.revision());
            state.insert(field, record.revision());
            self.lost.remove(&(field, record.revision()));
            self.mend(now, field);
            // It comes back without a change, and is found by its digest.
            self.poisoned.insert(field);
        }
        self.states.push((now, Rc::new(state)));
    }
}
