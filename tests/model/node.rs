//! A node of the model: the real follower and the real table, over a feed, a prober and a replica that are only as honest as
//! the seed lets them be.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use keygate::keys::keyring::Sealer;
use keygate::keys::{KeyId, KeyTable, PARTITIONS, Partition, Record, Revision, UserId};
use keygate::store::seal::{BUCKETS, bucket_of};
use keygate::store::sync::alarm::Alarm;
use keygate::store::sync::follower::{Batch, Change, Follower};
use keygate::store::sync::heard::{Ask, Heard, Probed, Tail};
use keygate::store::sync::held::Held;
use keygate::store::sync::join::{Revoking, keep};
use keygate::telemetry::SyncCounters;

use crate::store::{BUSY, Field, Model, OURS, Parts, at, field_of, partition_of};

/// What survives a crash.
#[derive(Clone, Default)]
pub struct Replica {
    pub kept: BTreeMap<Field, (Record, Option<Record>)>,
    positions: [Revision; PARTITIONS],
    as_of: Option<Instant>,
}

impl Replica {
    fn save(&mut self, changes: &[Change]) {
        for Change { record, .. } in changes {
            let field = field_of(record);
            let held = self.kept.get(&field);
            let newest = held.map(|(newest, _)| newest);
            let revoking = held.and_then(|(_, revoking)| revoking.as_ref());
            let kept = keep(newest, revoking, record);
            let revoking = match kept.revoking {
                Revoking::AsItWas => revoking.cloned(),
                Revoking::TheNewest => newest.cloned(),
                Revoking::TheOneThatCame => Some(record.clone()),
            };
            let newest = match newest {
                Some(newest) if !kept.is_newest => newest.clone(),
                _ => record.clone(),
            };
            self.kept.insert(field, (newest, revoking));
        }
    }
}

/// A step of what the feed's thread was asked.
enum Work {
    Begin(Partition),
    Bucket(Partition, usize),
    End(Partition),
    Look(Partition, Revision, Option<Revision>),
    Digests(Partition),
}

/// A question on its way.
struct Question {
    sent_at: Instant,
    applied: [Revision; PARTITIONS],
    answer: Option<Vec<(Partition, Tail)>>,
}

/// One node.
pub struct Node {
    sealer: Sealer,
    pub follower: Follower,
    pub table: KeyTable,
    pub replica: Replica,
    unsaved: Vec<Change>,
    cursors: [Revision; PARTITIONS],
    inbox: VecDeque<Heard>,
    work: VecDeque<Work>,
    question: Option<Question>,
    pub is_linked: bool,
    /// The server that the feed reads from when it is not the master: as it was.
    pub lagging: Option<Parts>,
    /// Of the node's clock, in milliseconds.
    pub skew: u64,
    pub alarms: Vec<Alarm>,
    /// What this node has refused, which it may never accept again.
    pub revoked: HashSet<KeyId>,
    pub revoked_through: HashMap<UserId, Revision>,
    /// What it heard, when the run is replayed.
    pub traced: bool,
    pub trace: Vec<String>,
    /// Questions, digests and buckets asked for; snapshots.
    pub asked: u64,
}

impl Node {
    pub fn new(sealer: &Sealer, now: Instant, rng: &mut Rng) -> Self {
        let counters = Arc::new(SyncCounters::new(now));
        Self {
            sealer: sealer.clone(),
            follower: Follower::new(sealer.clone(), Some(OURS), counters, rng.u64(..)),
            table: KeyTable::new(now),
            replica: Replica::default(),
            unsaved: Vec::new(),
            cursors: Default::default(),
            inbox: VecDeque::new(),
            work: VecDeque::new(),
            question: None,
            is_linked: true,
            lagging: None,
            skew: rng.u64(0..40),
            alarms: Vec::new(),
            revoked: HashSet::new(),
            revoked_through: HashMap::new(),
            traced: false,
            trace: Vec::new(),
            asked: 0,
        }
    }

    /// Killed, and started again from its replica, or without one.
    pub fn restart(&mut self, now: Instant, has_replica: bool, rng: &mut Rng) {
        let replica = if has_replica {
            self.replica.clone()
        } else {
            Replica::default()
        };
        let mut next = Self::new(&self.sealer, now, rng);
        if has_replica {
            next.revoked = std::mem::take(&mut self.revoked);
            next.revoked_through = std::mem::take(&mut self.revoked_through);
        }
        let mut held = Held::new();
        for (newest, revoking) in replica.kept.values() {
            for record in revoking.iter().chain([newest]) {
                let (kind, id, revision) = (record.kind(), record.id_bytes(), record.revision());
                let applied = next.table.apply(record.clone());
                held.note(partition_of(id), kind, id, revision, applied);
            }
        }
        let was_in_step = replica.as_of.is_some();
        next.follower.resume(held, &replica.positions, was_in_step);
        next.cursors = next.follower.positions();
        if let Some(as_of) = replica.as_of {
            let age = now.saturating_duration_since(as_of);
            next.table.mark_in_step(now, age);
        }
        next.replica = replica;
        next.skew = self.skew;
        next.traced = self.traced;
        next.trace = std::mem::take(&mut self.trace);
        next.alarms = std::mem::take(&mut self.alarms);
        *self = next;
    }

    pub fn cut(&mut self) {
        if std::mem::take(&mut self.is_linked) {
            self.work.clear();
            self.question = None;
            let partitions = Partition::all().collect();
            self.inbox.push_back(Heard::Cut { partitions });
        }
    }

    pub fn link(&mut self) {
        self.is_linked = true;
    }

    /// The replica catches up, as it does within a second.
    pub fn save(&mut self) {
        let unsaved = std::mem::take(&mut self.unsaved);
        self.replica.save(&unsaved);
        self.replica.positions = self.follower.solid();
        self.replica.as_of = self.follower.in_step().or(self.replica.as_of);
    }

    /// Lets the node's threads do a little. Returns whether it died on the way.
    pub fn pump(&mut self, model: &Model, now: Instant, rng: &mut Rng, is_calm: bool) -> bool {
        let serving = self.table.view(now).is_some();
        for ask in self.follower.asks(now, serving) {
            self.asked += 1;
            self.begin(ask);
        }
        if self.is_linked {
            let lagging = self.lagging.take();
            let parts = lagging.as_ref().unwrap_or(&model.parts);
            self.feed(parts, rng, is_calm);
            for _ in 0..rng.usize(0..12) {
                self.work(parts);
            }
            self.lagging = lagging;
            self.probe(model, now, rng, is_calm);
        }
        let most = if is_calm {
            usize::MAX
        } else {
            rng.usize(0..20)
        };
        for _ in 0..most {
            let Some(heard) = self.inbox.pop_front() else {
                break;
            };
            if self.take(heard, now, rng, is_calm) {
                return true;
            }
        }
        if is_calm || rng.u8(..) < 60 {
            self.save();
        }
        false
    }

    fn begin(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot(partition) => {
                self.work.push_back(Work::Begin(partition));
                self.buckets(partition, 0..BUCKETS);
            }
            Ask::Buckets(partition, buckets) => self.buckets(partition, buckets),
            Ask::Look(partition, after) => {
                self.work.push_back(Work::Look(partition, after, None));
            }
            Ask::Digests(partition) => self.work.push_back(Work::Digests(partition)),
        }
    }

    fn buckets(&mut self, partition: Partition, buckets: impl IntoIterator<Item = usize>) {
        // Nothing of the model is filed elsewhere, and reading empty buckets takes time.
        let used = buckets
            .into_iter()
            .filter(|bucket| *bucket < 3 && at(partition).is_some());
        self.work
            .extend(used.map(|bucket| Work::Bucket(partition, bucket)));
        self.work.push_back(Work::End(partition));
    }

    fn feed(&mut self, parts: &Parts, rng: &mut Rng, is_calm: bool) {
        let mut entries = Vec::new();
        for (index, busy) in BUSY.iter().enumerate() {
            let cursor = &mut self.cursors[usize::from(*busy)];
            // Now and then a reader that lost its place reads some of it twice.
            let again = if !is_calm && rng.u8(..) < 8 { 40 } else { 0 };
            let from = Revision(cursor.0.saturating_sub(again));
            let most = if is_calm { 1000 } else { rng.usize(0..6) };
            let next = parts[index].read(from, most);
            if let Some(last) = next.last() {
                *cursor = last.revision.max(*cursor);
            }
            entries.extend(next);
        }
        if !entries.is_empty() {
            self.inbox.push_back(Heard::Entries(entries));
        }
    }

    fn work(&mut self, parts: &Parts) {
        let part = |partition| at(partition).map(|at| &parts[at]);
        let last = |partition| part(partition).map_or(Revision(0), |part| part.last);
        let heard = match self.work.pop_front() {
            None => return,
            Some(Work::Begin(partition)) => {
                let tail = last(partition);
                self.cursors[partition.index()] = tail;
                Heard::Began { partition, tail }
            }
            Some(Work::Bucket(partition, bucket)) => Heard::Bucket {
                partition,
                bucket,
                stored: part(partition)
                    .map(|part| part.bucket(bucket))
                    .unwrap_or_default(),
                complete: true,
            },
            Some(Work::End(partition)) => Heard::Ended { partition },
            Some(Work::Look(partition, after, None)) => {
                self.cursors[partition.index()] = after;
                let tail = Some(last(partition));
                self.work.push_front(Work::Look(partition, after, tail));
                return;
            }
            Some(Work::Look(partition, _, Some(tail))) => {
                let cursor = self.cursors[partition.index()];
                let next = part(partition).map(|part| part.read(cursor, usize::MAX));
                if let Some(entries) = next.filter(|entries| !entries.is_empty()) {
                    self.cursors[partition.index()] = entries[entries.len() - 1].revision;
                    self.inbox.push_back(Heard::Entries(entries));
                }
                Heard::Looked { partition, tail }
            }
            Some(Work::Digests(partition)) => Heard::Digests {
                partition,
                before: last(partition),
                digests: Box::new(part(partition).map_or([0; BUCKETS], |part| part.digests)),
                after: last(partition),
            },
        };
        self.inbox.push_back(heard);
    }

    fn probe(&mut self, model: &Model, now: Instant, rng: &mut Rng, is_calm: bool) {
        if !is_calm && rng.u8(..) < 90 {
            return;
        }
        match self.question.take() {
            None => {
                self.question = Some(Question {
                    sent_at: now,
                    applied: self.follower.certain(),
                    answer: is_calm.then(|| model.tails()),
                });
            }
            Some(question @ Question { answer: None, .. }) => {
                self.question = Some(Question {
                    answer: Some(model.tails()),
                    ..question
                });
            }
            Some(Question {
                sent_at,
                applied,
                answer: Some(tails),
            }) => self.inbox.push_back(Heard::Probed(Probed {
                sent_at,
                applied,
                tails,
            })),
        }
    }

    fn take(&mut self, heard: Heard, now: Instant, rng: &mut Rng, is_calm: bool) -> bool {
        if self.traced {
            self.trace.push(brief(&heard));
        }
        let batch: Batch = self.follower.hear(heard, &self.table, now);
        self.unsaved.extend(batch.changes.iter().cloned());
        if batch.revokes && self.table.view(now).is_some() {
            self.save();
            if !is_calm && rng.u8(..) < 10 {
                return true;
            }
        }
        self.follower.apply(batch, &self.table);
        if let Some(in_step) = self.follower.in_step() {
            // What was heard before anybody was served was not written down at once.
            if self.table.view(now).is_none() {
                self.save();
            }
            self.table.mark_in_step(in_step, Duration::ZERO);
        }
        self.alarms.extend(self.follower.alarms());
        false
    }

    /// The revision of a record that the node holds.
    pub fn holds(&self, record: &Record) -> Option<Revision> {
        let table = &self.table;
        match record {
            Record::Org(org) => table.org_by_id(&org.id).map(|held| held.revision),
            Record::User(user) => table.user_by_id(&user.id).map(|held| held.revision),
            Record::Key(key) => table.known(&key.fingerprint).map(|held| held.revision),
        }
    }

    pub fn bucket_is_used(id: [u8; 16]) -> bool {
        bucket_of(id) < 3
    }
}

/// What was heard, of the busy partitions.
fn brief(heard: &Heard) -> String {
    let is_busy = |partition: &Partition| at(*partition).is_some();
    match heard {
        Heard::Entries(entries) => {
            let links = entries.iter().map(|entry| {
                let previous = entry.previous.map_or(0, |previous| previous.0);
                format!("{}:{}<-{previous}", entry.partition, entry.revision.0)
            });
            format!("entries {}", links.collect::<Vec<_>>().join(" "))
        }
        Heard::Probed(probed) => {
            let busy = probed
                .tails
                .iter()
                .filter(|(partition, _)| is_busy(partition));
            let tails = busy.map(|(partition, tail)| {
                let sent = probed.applied[partition.index()].0;
                format!(
                    "{partition}:{} (sent at {sent}, {:?})",
                    tail.last.0, tail.identity
                )
            });
            format!("tails {}", tails.collect::<Vec<_>>().join(" "))
        }
        Heard::Bucket {
            partition,
            bucket,
            stored,
            ..
        } => {
            format!("bucket {partition}/{bucket}: {}", stored.len())
        }
        other => format!("{other:?}").chars().take(80).collect(),
    }
}
