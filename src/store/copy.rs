//! Copying a store's records from one home to another: every one as it is sealed, then both sides compared. It can be
//! cut at any point and begun again. It holds no rule about keys, and knows neither file nor server.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::StoreError;
use super::copy_log::{Carried as CarriedLog, carry};
use super::findings::Findings;
use super::log::LogSource;
use super::seal::{BUCKETS, Carried, Lying, bucket_of, open, term};
use crate::keys::keyring::Sealer;
use crate::keys::usage::Use;
use crate::keys::{KeyId, PARTITIONS, Partition, Record, RecordKind, Revision};

/// How many records are written at a time.
const AT_ONCE: usize = 500;

/// How often both sides are compared: the source may be in use meanwhile.
const ROUNDS_MAX: u32 = 6;

/// Of so many records of the target it is remembered all at once which revisions they have.
const REMEMBERED_MAX: u64 = 1_000_000;

/// Which buckets of which partitions are wanted.
pub(super) type Wanted<'w> = &'w dyn Fn(Partition, usize) -> bool;

/// What is done with each record.
pub(super) type Each<'e> = &'e mut dyn FnMut(Lying<'_>) -> Result<(), StoreError>;

/// Where records are copied from.
pub(super) trait Source {
    /// The file, or the servers.
    fn place(&self) -> String;
    /// Tells the store from every other one.
    fn identity(&self) -> Uuid;
    /// What proves its records.
    fn sealer(&self) -> Sealer;
    /// Shows every record of the wanted buckets once, whatever it is worth.
    fn each(&self, wanted: Wanted<'_>, each: Each<'_>) -> Result<(), StoreError>;
    /// Its audit log and its papers; `None` of what has none, as a node's memory.
    fn log(&self) -> Option<&dyn LogSource>;
    /// When these keys were last used and how often, in their order.
    fn usage_of(&self, keys: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError>;
}

/// Where they are copied to.
pub(super) trait Target: Source {
    /// Writes records of one partition, each unless a newer one is there. Returns how many were written.
    fn write(&self, partition: Partition, records: &[Carried]) -> Result<u64, StoreError>;
    /// Notes when keys were last used and how often.
    fn note_usage(&self, uses: &[(KeyId, Use)]) -> Result<(), StoreError>;
    /// Adds entries of the audit log, as they are sealed, behind those that are there.
    fn add_entries(
        &self,
        partition: Partition,
        entries: &[(u64, Vec<u8>)],
    ) -> Result<(), StoreError>;
    /// Writes papers, as they are sealed, or takes them away.
    fn put_papers(
        &self,
        partition: Partition,
        papers: &[(Vec<u8>, Option<Vec<u8>>)],
    ) -> Result<(), StoreError>;
    /// Has the log say where it knows nothing of records that were put back.
    fn begin_logs(&self) -> Result<(), StoreError>;
    /// Says that everything is there, up to these revisions.
    fn finish(&self, tops: &[Revision; PARTITIONS]) -> Result<(), StoreError>;
}

/// When the target is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// It holds the same revisions and nothing else.
    Same,
    /// It holds each record, or a newer one, and what either has revoked is revoked.
    AtLeast,
    /// It holds the same already, and is not to be changed.
    Already,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// Where from.
    pub from: String,
    /// Where to.
    pub to: String,
    /// Which store.
    pub identity: Uuid,
    /// Records of the source that are good.
    pub records: u64,
    /// Records written now; the others were there.
    pub written: u64,
    /// Records that the target holds.
    pub target_records: u64,
    /// Of those, records that are newer than the source's or that it does not have.
    pub target_newer: u64,
    /// Buckets whose digests were compared.
    pub digests: u64,
    /// Entries of the audit log, the same on both sides.
    pub entries: u64,
    /// Passwords, links, sessions and answers, the same on both sides.
    pub papers: u64,
    /// Records of either side that cannot be read. The source's were left out.
    pub faults: Vec<String>,
    /// Faults beyond those named.
    pub more_faults: u64,
}

impl Copied {
    /// The sentence for people, with the numbers.
    pub fn sentence(&self) -> String {
        let Self {
            from,
            to,
            identity,
            records,
            written,
            target_records,
            target_newer,
            digests,
            entries,
            ..
        } = self;
        let compared = match target_newer {
            0 => {
                format!(
                    "{digests} digests are equal on both sides and every record's code is good; the audit log has the same \
                     {entries} entries"
                )
            }
            newer => format!(
                "{newer} of {target_records} records there are newer or only there, and stay; every record's code is good"
            ),
        };
        format!(
            "{records} records of store {identity} are in {to} as they are in {from}: {written} written now, {compared}"
        )
    }
}

/// Copies what differs until the target is what is demanded.
pub(super) fn copy(
    source: &dyn Source,
    target: &dyn Target,
    demand: Demand,
) -> Result<Copied, StoreError> {
    let mut written = 0;
    for _ in 0..ROUNDS_MAX {
        let (from, to) = (Sums::of(source)?, Sums::of(target)?);
        let differing = from.differing(&to);
        let is_another = source.identity() != target.identity();
        if demand == Demand::Already && (is_another || !differing.is_empty()) {
            let place = target.place();
            return Err(StoreError::NotEmpty { place });
        }
        let walked = walk(source, target, &differing, to.records)?;
        written += walked.written;
        // What was written is looked at in the next round.
        if walked.behind > 0 {
            continue;
        }
        if demand == Demand::Same && !differing.is_empty() {
            let why = format!(
                "{} of its records are newer than the source's, or the source does not have them",
                walked.newer
            );
            let place = target.place();
            return Err(StoreError::CopyDiffers { place, why });
        }
        let mut carried = CarriedLog::default();
        if let Some(log) = source.log().filter(|_| demand != Demand::AtLeast) {
            carried = carry(log, target, demand == Demand::Same)?;
            // Each record that was written since has an entry.
            if carried.written > 0 {
                continue;
            }
        }
        match demand {
            Demand::Same => copy_usage(source, target)?,
            Demand::AtLeast => target.begin_logs()?,
            Demand::Already => {}
        }
        if demand != Demand::Already {
            target.finish(&from.tops)?;
        }
        let mut faults = from.found;
        faults.add(to.found);
        return Ok(Copied {
            from: source.place(),
            to: target.place(),
            identity: source.identity(),
            records: from.records,
            written,
            target_records: to.records,
            target_newer: walked.newer,
            digests: (PARTITIONS * BUCKETS) as u64,
            entries: carried.entries,
            papers: carried.papers,
            more_faults: faults.more_faults,
            faults: faults.faults,
        });
    }
    let why = format!(
        "it was compared {ROUNDS_MAX} times and differed each time, as one of both is in use: run the command again"
    );
    let place = target.place();
    Err(StoreError::CopyDiffers { place, why })
}

/// Copies when keys were last used, of those that the target knows nothing of: each is told once, however often this runs.
fn copy_usage(source: &dyn Source, target: &dyn Target) -> Result<(), StoreError> {
    let mut keys = Vec::new();
    source.each(&|_, _| true, &mut |lying| {
        if lying.kind == RecordKind::Key {
            keys.push(KeyId(Uuid::from_bytes(lying.id)));
        }
        Ok(())
    })?;
    for keys in keys.chunks(AT_ONCE) {
        let known = target.usage_of(keys)?;
        let uses = source.usage_of(keys)?;
        let told: Vec<(KeyId, Use)> = keys
            .iter()
            .zip(uses.into_iter().zip(known))
            .filter_map(|(key, (uses, known))| Some((*key, uses.filter(|_| known.is_none())?)))
            .collect();
        if !told.is_empty() {
            target.note_usage(&told)?;
        }
    }
    Ok(())
}

/// The partition of an id.
pub(super) fn partition_of(id: [u8; 16]) -> Partition {
    KeyId(Uuid::from_bytes(id)).partition()
}

/// The record, when it is what it lies as.
pub(super) fn unseal(sealer: &Sealer, lying: &Lying<'_>) -> Result<Record, String> {
    let record = open(sealer, lying.sealed).map_err(|why| why.to_string())?;
    if record.kind() != lying.kind || record.id_bytes() != lying.id {
        return Err("it is the record of something else".to_owned());
    }
    match record.partition() {
        Some(_) => Ok(record),
        None => Err("its parts are of different partitions".to_owned()),
    }
}

type Buckets = HashSet<(Partition, usize)>;

/// Digests over one side, and what of it cannot be read.
struct Sums {
    digests: Vec<[u64; BUCKETS]>,
    /// The newest revision of each partition.
    tops: [Revision; PARTITIONS],
    records: u64,
    found: Findings,
}

impl Sums {
    fn of<S: Source + ?Sized>(side: &S) -> Result<Self, StoreError> {
        let mut sums = Self {
            digests: vec![[0; BUCKETS]; PARTITIONS],
            tops: [Revision(0); PARTITIONS],
            records: 0,
            found: Findings::default(),
        };
        let (sealer, place) = (side.sealer(), side.place());
        side.each(&|_, _| true, &mut |lying| {
            match unseal(&sealer, &lying) {
                Ok(record) => sums.add(&record),
                Err(why) => {
                    let why = format!("{why} (in {place})");
                    sums.found.record_fault(lying.kind, lying.id, &why);
                }
            }
            Ok(())
        })?;
        Ok(sums)
    }

    fn add(&mut self, record: &Record) {
        let (kind, id) = (record.kind(), record.id_bytes());
        self.records += 1;
        let partition = partition_of(id).index();
        if let Some(top) = self.tops.get_mut(partition) {
            *top = record.revision().max(*top);
        }
        let buckets = self.digests.get_mut(partition);
        if let Some(digest) = buckets.and_then(|buckets| buckets.get_mut(bucket_of(id))) {
            *digest ^= term(kind, id, record.revision());
        }
    }

    fn differing(&self, other: &Self) -> Buckets {
        let mut differing = Buckets::new();
        for ((partition, ours), theirs) in Partition::all().zip(&self.digests).zip(&other.digests) {
            for (bucket, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                if ours != theirs {
                    differing.insert((partition, bucket));
                }
            }
        }
        differing
    }
}

/// What a walk through the differing buckets found and did.
#[derive(Default)]
struct Walked {
    /// Records that the target did not have or had older.
    behind: u64,
    /// Records that the target has newer, or that only it has.
    newer: u64,
    written: u64,
}

/// What the target holds of a record, as far as it decides whether it is written.
#[derive(Clone, Copy)]
struct Held {
    revision: Revision,
    /// Of a key: whether it is revoked. Of a user: up to which revision their keys are.
    revoked: Revision,
}

impl Held {
    const fn of(record: &Record) -> Self {
        let revoked = match record {
            Record::Org(_) => Revision(0),
            Record::User(user) => user.application_keys_revoked_through,
            Record::Key(key) => Revision(key.revoked.is_some() as u64),
        };
        Self {
            revision: record.revision(),
            revoked,
        }
    }

    /// Whether the other adds nothing to it. A revocation is for good, whatever is newer.
    fn covers(&self, other: &Self) -> bool {
        self.revision >= other.revision && self.revoked >= other.revoked
    }
}

/// Compares the differing buckets record by record, and writes what the target lacks.
fn walk(
    source: &dyn Source,
    target: &dyn Target,
    differing: &Buckets,
    target_records: u64,
) -> Result<Walked, StoreError> {
    let mut walked = Walked::default();
    let partitions: Vec<Partition> = Partition::all().collect();
    // What a large target holds is remembered for one partition at a time.
    let together = if target_records > REMEMBERED_MAX {
        1
    } else {
        PARTITIONS
    };
    for partitions in partitions.chunks(together) {
        let wanted = |partition: Partition, bucket: usize| {
            partitions.contains(&partition) && differing.contains(&(partition, bucket))
        };
        if differing
            .iter()
            .any(|(partition, bucket)| wanted(*partition, *bucket))
        {
            walk_these(source, target, &wanted, &mut walked)?;
        }
    }
    Ok(walked)
}

fn walk_these(
    source: &dyn Source,
    target: &dyn Target,
    wanted: Wanted<'_>,
    walked: &mut Walked,
) -> Result<(), StoreError> {
    let sealer = source.sealer();
    let mut held: HashMap<(RecordKind, [u8; 16]), Held> = HashMap::new();
    target.each(wanted, &mut |lying| {
        // What cannot be read there is written again, if the source has it.
        if let Ok(record) = unseal(&sealer, &lying) {
            held.insert((lying.kind, lying.id), Held::of(&record));
        }
        Ok(())
    })?;
    let mut pending: HashMap<Partition, Vec<Carried>> = HashMap::new();
    source.each(wanted, &mut |lying| {
        let Ok(record) = unseal(&sealer, &lying) else {
            return Ok(());
        };
        match held.remove(&(lying.kind, lying.id)) {
            Some(theirs) if theirs.covers(&Held::of(&record)) => {
                walked.newer += u64::from(theirs.revision > record.revision());
            }
            Some(_) | None => {
                walked.behind += 1;
                let partition = partition_of(lying.id);
                let batch = pending.entry(partition).or_default();
                batch.push(Carried {
                    record,
                    sealed: lying.sealed.to_vec(),
                });
                if batch.len() >= AT_ONCE {
                    walked.written += target.write(partition, batch)?;
                    batch.clear();
                }
            }
        }
        Ok(())
    })?;
    for (partition, batch) in pending {
        if !batch.is_empty() {
            walked.written += target.write(partition, &batch)?;
        }
    }
    walked.newer += held.len() as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::keys::audit::By;
    use crate::keys::rules::Limits;
    use crate::keys::secret::RootKey;
    use crate::keys::{KeyKind, Labels, UserId};
    use crate::store::EmbeddedStore;
    use crate::store::{NewKey, NewKeyOf, NewUser, UserChange};

    fn root_key() -> RootKey {
        RootKey::from_hex(&"5a".repeat(32)).unwrap()
    }

    fn store(path: &Path) -> EmbeddedStore {
        EmbeddedStore::open(path, &root_key(), Limits::default()).unwrap()
    }

    fn make_like(path: &Path, source: &EmbeddedStore) -> Result<EmbeddedStore, StoreError> {
        EmbeddedStore::make_like(
            path,
            source.identity(),
            source.keyring(),
            &root_key(),
            Limits::default(),
        )
    }

    fn application_key(store: &EmbeddedStore, owner: UserId, name: &str) -> KeyId {
        let new = NewKey {
            of: NewKeyOf::ApplicationKey {
                owner,
                scopes: Vec::new(),
            },
            name: name.parse().unwrap(),
            secret: None,
            expires_at: None,
            imported: false,
            labels: Labels::default(),
        };
        store.create_key(new, &By::operator()).unwrap().value.key.id
    }

    fn disabled(disabled: bool) -> UserChange {
        UserChange {
            disabled: Some(disabled),
            ..UserChange::default()
        }
    }

    /// Orgs with users and keys: active, revoked, and revoked with their owner, some under a name used twice.
    fn filled(path: &Path) -> EmbeddedStore {
        let store = store(path);
        for number in 0..20 {
            let org = format!("org {number}").parse().unwrap();
            let founded = store
                .found(org, "ann@example.com".parse().unwrap(), &By::operator())
                .unwrap()
                .value;
            let user = store
                .create_user(
                    NewUser {
                        org: founded.org.id,
                        handle: "bob@example.com".parse().unwrap(),
                        name: None,
                        title: None,
                        role: crate::keys::Role::Standard,
                    },
                    &By::operator(),
                )
                .unwrap()
                .value;
            application_key(&store, user.id, "kept");
            store
                .update_user(user.id, disabled(true), &By::operator())
                .unwrap();
            store
                .update_user(user.id, disabled(false), &By::operator())
                .unwrap();
            application_key(&store, user.id, "kept");
            let revoked = application_key(&store, founded.user.id, "again");
            store.revoke_key(revoked, &By::operator()).unwrap();
            application_key(&store, founded.user.id, "again");
            if number % 5 == 0 {
                store
                    .set_org_disabled(founded.org.id, true, &By::operator())
                    .unwrap();
            }
        }
        store
    }

    fn everything(store: &EmbeddedStore) -> Vec<Record> {
        let mut records = store.snapshot().unwrap().records;
        records.sort_by_key(|record| (record.kind().byte(), record.id_bytes()));
        records
    }

    #[test]
    fn a_copied_store_is_the_same_store_in_every_index_and_takes_changes() {
        let folder = tempfile::tempdir().unwrap();
        let source = filled(&folder.path().join("a"));
        let path = folder.path().join("b");
        let target = make_like(&path, &source).unwrap();
        let copied = copy(&source, &target, Demand::Same).unwrap();
        assert_eq!((copied.records, copied.written), (180, 180));
        assert_eq!((copied.faults.len(), copied.target_newer), (0, 0));
        assert!(
            copied.sentence().contains("180 records"),
            "{}",
            copied.sentence()
        );
        drop(target);

        let target = store(&path);
        assert_eq!(target.identity(), source.identity());
        assert_eq!(
            target.snapshot().unwrap().revision,
            source.snapshot().unwrap().revision
        );
        assert_eq!(everything(&target), everything(&source));
        let found = target.verify().unwrap();
        assert_eq!(
            (found.faults.as_slice(), found.records),
            ([].as_slice(), 180)
        );
        assert_eq!(found, source.verify().unwrap());
        // The names that are taken and the names that are free are the same.
        for (number, org) in target.orgs().unwrap().iter().enumerate() {
            let taken = target.create_org(org.name.parse().unwrap(), &By::operator());
            assert!(matches!(taken, Err(StoreError::Refused(_))), "{number}");
            let active = |store: &EmbeddedStore| {
                let keys = store.keys_of(org.id).unwrap();
                keys.iter()
                    .filter(|key| key.kind == KeyKind::ApiKey)
                    .count()
            };
            assert_eq!(active(&target), active(&source));
        }
        target
            .create_org("new".parse().unwrap(), &By::operator())
            .unwrap();
    }

    #[test]
    fn a_copy_that_was_cut_goes_on_and_is_no_store_before_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let source = filled(&folder.path().join("a"));
        let path = folder.path().join("b");
        let target = make_like(&path, &source).unwrap();
        // Keys before their owners, and some of them as they were earlier.
        let mut some = Vec::new();
        let sealer = source.sealer();
        source
            .each(&|_, bucket| bucket % 3 == 0, &mut |lying| {
                some.push(Carried {
                    record: open(&sealer, lying.sealed).unwrap(),
                    sealed: lying.sealed.to_vec(),
                });
                Ok(())
            })
            .unwrap();
        some.reverse();
        let there = target.adopt(&some).unwrap();
        assert_eq!(there, some.len() as u64);
        drop(target);
        let refused = EmbeddedStore::open(&path, &root_key(), Limits::default()).unwrap_err();
        assert!(refused.to_string().contains("half copied"), "{refused}");

        // The source changes meanwhile.
        let org = source.orgs().unwrap().remove(0);
        source
            .set_org_disabled(org.id, !org.disabled, &By::operator())
            .unwrap();
        let target = make_like(&path, &source).unwrap();
        let copied = copy(&source, &target, Demand::Same).unwrap();
        assert_eq!(copied.records, 180);
        assert!(copied.written >= 180 - there && copied.written <= 181 - there);
        assert_eq!(everything(&target), everything(&source));
        assert_eq!(target.verify().unwrap().faults, [""; 0]);
        drop(target);
        store(&path);
        let refused = make_like(&path, &source).unwrap_err();
        assert!(matches!(refused, StoreError::NotEmpty { .. }), "{refused}");
    }

    #[test]
    fn what_is_to_be_there_at_least_stays_when_it_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let source = filled(&folder.path().join("a"));
        let path = folder.path().join("b");
        let target = make_like(&path, &source).unwrap();
        copy(&source, &target, Demand::Same).unwrap();
        let newer = target.orgs().unwrap().remove(0);
        target
            .set_org_disabled(newer.id, !newer.disabled, &By::operator())
            .unwrap();
        let older = source.orgs().unwrap().remove(1);
        // Its revision must be above the target's for it to win.
        for _ in 0..3 {
            let disabled = source.org(older.id).unwrap().unwrap().disabled;
            source
                .set_org_disabled(older.id, !disabled, &By::operator())
                .unwrap();
        }
        let refused = copy(&source, &target, Demand::Same).unwrap_err();
        assert!(
            matches!(refused, StoreError::CopyDiffers { .. }),
            "{refused}"
        );
        let copied = copy(&source, &target, Demand::AtLeast).unwrap();
        assert_eq!((copied.written, copied.target_newer), (0, 1));
        let held = |store: &EmbeddedStore, id| store.org(id).unwrap().unwrap();
        assert_ne!(held(&target, newer.id), held(&source, newer.id));
        assert_eq!(held(&target, older.id), held(&source, older.id));
    }

    #[test]
    fn another_store_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["a", "b"].map(|name| filled(&folder.path().join(name)));
        let path = folder.path().join("c");
        drop(make_like(&path, &one).unwrap());
        // The file opens with the root key that both have, and is still no copy of the other one.
        let refused = make_like(&path, &other).unwrap_err();
        assert!(
            matches!(refused, StoreError::OtherIdentity { .. }),
            "{refused}"
        );
    }
}
