//! How a node follows the fleet's store, as a state machine: what is heard goes in; records for the table, alarms, and what
//! is to be read next come out. No IO, and no clock but the moments handed in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::alarm::{Alarm, Place, Why};
use super::chain::Link;
use super::contents::Noted;
use super::following::Following;
use super::heard::{Ask, Entry, Heard, Probed, Stored};
use super::held::Held;
use crate::keys::keyring::Sealer;
use crate::keys::table::Applied;
use crate::keys::{KeyTable, PARTITIONS, Partition, Record, RecordKind, Revision};
use crate::store::seal::{self, bucket_of};
use crate::telemetry::{SyncCounters, add};

/// How often it is said that the store is being put back together, while it is.
const RESTORING_EVERY: Duration = Duration::from_secs(60);

/// A record to be kept, with what it was read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The record.
    pub record: Record,
    /// The bytes it was read from, seal and all.
    pub sealed: Vec<u8>,
}

/// What one thing heard brings: to be kept, and then handed to [`Follower::apply`].
#[derive(Debug, Default)]
pub struct Batch {
    /// Every record that may be news to the table, in order.
    pub changes: Vec<Change>,
    /// Whether one of them takes away something that this node would accept now: it must not be forgotten in a crash.
    pub revokes: bool,
    bucket: Option<(Partition, usize)>,
}

/// A node's view of the store.
pub struct Follower {
    sealer: Sealer,
    identity: Option<Uuid>,
    partitions: Vec<Following>,
    random: fastrand::Rng,
    missing: u64,
    /// Since when the store says that it is being put back together, and when that was said last.
    restoring: Option<(Instant, Option<Instant>)>,
    alarms: Vec<Alarm>,
    counters: Arc<SyncCounters>,
}

impl Follower {
    /// Knows nothing but whose seals to trust, and which store to follow: `None` is the first that is heard of. `seed` is
    /// for the jitter.
    pub fn new(
        sealer: Sealer,
        identity: Option<Uuid>,
        counters: Arc<SyncCounters>,
        seed: u64,
    ) -> Self {
        Self {
            sealer,
            identity,
            partitions: Partition::all().map(Following::new).collect(),
            random: fastrand::Rng::with_seed(seed),
            missing: 0,
            restoring: None,
            alarms: Vec::new(),
            counters,
        }
    }

    /// Goes on from what a table holds already, which is everything up to these positions. If it `was_in_step` once, a
    /// partition without a position is one that had no change then, and not one that was not read.
    pub fn resume(&mut self, held: Held, positions: &[Revision; PARTITIONS], was_in_step: bool) {
        let held = held.into_partitions();
        for ((following, contents), position) in self.partitions.iter_mut().zip(held).zip(positions)
        {
            *following.contents_mut() = contents;
            following.resume(*position, was_in_step);
        }
    }

    /// Which store it follows.
    pub const fn identity(&self) -> Option<Uuid> {
        self.identity
    }

    /// Where the feeds read on.
    pub fn positions(&self) -> [Revision; PARTITIONS] {
        self.each(Following::position)
    }

    /// The last changes read in an unbroken chain: what a [`Probed`] is to say was applied when it was sent.
    pub fn certain(&self) -> [Revision; PARTITIONS] {
        self.each(Following::certain)
    }

    /// The last changes up to which nothing is missing: what may be written down and reported.
    pub fn solid(&self) -> [Revision; PARTITIONS] {
        self.each(Following::solid)
    }

    /// The digests over everything held.
    pub fn digests(&self) -> [u64; PARTITIONS] {
        self.each(|it| it.contents().digest())
    }

    /// How many records are held.
    pub fn held(&self) -> u64 {
        self.partitions.iter().map(|it| it.contents().held()).sum()
    }

    /// How many of them are not in the store.
    pub fn missing(&self) -> u64 {
        self.partitions
            .iter()
            .map(|it| it.contents().missing())
            .sum()
    }

    /// The moment as of which the table is known to hold everything the store held, in every partition.
    pub fn in_step(&self) -> Option<Instant> {
        // `None` is the least: one partition that never was in step is enough.
        self.partitions
            .iter()
            .map(Following::in_step)
            .min()
            .flatten()
    }

    /// Takes what there is to tell the operator.
    pub fn alarms(&mut self) -> Vec<Alarm> {
        std::mem::take(&mut self.alarms)
    }

    /// What the feeds' threads are to do, at most one thing for each partition until it is done or the feed is cut.
    pub fn asks(&mut self, now: Instant, serving: bool) -> Vec<Ask> {
        let random = &mut self.random;
        self.partitions
            .iter_mut()
            .filter_map(|following| following.ask(now, serving, random.f64()))
            .collect()
    }

    /// Takes one thing heard. The table is only looked at.
    pub fn hear(&mut self, heard: Heard, table: &KeyTable, now: Instant) -> Batch {
        let mut batch = Batch::default();
        match heard {
            Heard::Entries(entries) => {
                for entry in entries {
                    self.entry(entry, table, &mut batch);
                }
            }
            Heard::Bucket {
                partition,
                bucket,
                stored,
                complete,
            } => {
                for stored in stored {
                    self.stored(partition, bucket, stored, table, &mut batch);
                }
                batch.bucket = complete.then_some((partition, bucket));
            }
            Heard::Began { partition, tail } => {
                if let Some(following) = self.of(partition) {
                    following.began(tail);
                }
            }
            Heard::Ended { partition } => {
                if self.of(partition).is_some_and(|it| it.ended(now)) {
                    add(&self.counters.snapshots, 1);
                }
            }
            Heard::Digests {
                partition,
                before,
                digests,
                after,
            } => {
                if let Some(following) = self.of(partition) {
                    following.digests_came(before, &digests, after);
                }
            }
            Heard::Looked { partition, tail } => {
                if let Some(alarm) = self.of(partition).and_then(|it| it.looked(tail)) {
                    self.alarm(alarm);
                }
            }
            Heard::Probed(probed) => self.probed(&probed, now),
            Heard::Cut { partitions } => {
                for partition in partitions {
                    if let Some(following) = self.of(partition) {
                        following.cut();
                    }
                }
            }
        }
        batch
    }

    /// Puts a batch into the table. The one caller of [`KeyTable::apply`] once the program serves.
    pub fn apply(&mut self, batch: Batch, table: &KeyTable) {
        for Change { record, .. } in batch.changes {
            let (kind, id, revision) = (record.kind(), record.id_bytes(), record.revision());
            let Some(following) = record.partition().and_then(|partition| self.of(partition))
            else {
                continue;
            };
            let contents = following.contents_mut();
            if let Applied::Newer { replaced } = table.apply(record) {
                contents.applied(&Noted::of(kind, id, revision), replaced);
            }
        }
        if let Some((partition, bucket)) = batch.bucket
            && self
                .of(partition)
                .is_some_and(|it| it.contents_mut().bucket_ended(bucket))
        {
            add(&self.counters.buckets_changed, 1);
        }
        for following in &mut self.partitions {
            following.settle();
        }
        let missing = self.missing();
        if missing > self.missing {
            self.alarms.push(Alarm::Missing(missing));
        }
        self.missing = missing;
        self.counters.set_missing(missing);
    }

    fn of(&mut self, partition: Partition) -> Option<&mut Following> {
        self.partitions.get_mut(partition.index())
    }

    fn each<T: Copy + Default>(&self, what: impl Fn(&Following) -> T) -> [T; PARTITIONS] {
        let mut all = [T::default(); PARTITIONS];
        for (to, from) in all.iter_mut().zip(&self.partitions) {
            *to = what(from);
        }
        all
    }

    fn alarm(&mut self, alarm: Alarm) {
        let counters = &self.counters;
        match &alarm {
            Alarm::Refused(_, why) => counters.refused(why.index()),
            Alarm::RolledBack { .. } => add(&counters.stale, 1),
            Alarm::Gap { .. } | Alarm::Passed { .. } | Alarm::Forked { .. } => {
                add(&counters.gaps, 1);
            }
            Alarm::Regressed { .. } => add(&counters.regressions, 1),
            Alarm::DigestDiffers(_) => add(&counters.digest_mismatches, 1),
            Alarm::Empty(_)
            | Alarm::Restoring { .. }
            | Alarm::OtherIdentity { .. }
            | Alarm::Missing(_)
            | Alarm::Ahead(_) => {}
        }
        self.alarms.push(alarm);
    }

    fn entry(&mut self, entry: Entry, table: &KeyTable, batch: &mut Batch) {
        let (partition, revision) = (entry.partition, entry.revision);
        let place = Place::Change(partition, revision);
        if !self.of(partition).is_some_and(|it| it.is_ours()) {
            return;
        }
        let record = match seal::open(&self.sealer, &entry.sealed) {
            Ok(record) if record.partition() == Some(partition) => Some(record),
            Ok(_) => {
                self.alarm(Alarm::Refused(place, Why::Misplaced));
                None
            }
            Err(_) if entry.sealed == seal::GAP => None,
            Err(unsealed) => {
                self.alarm(Alarm::Refused(place, Why::Unsealed(unsealed)));
                None
            }
        };
        // A record of ours under a revision that is not its own was put there by somebody else.
        let genuine = record.as_ref().map(Record::revision) == Some(revision);
        let link = self
            .of(partition)
            .map(|following| following.link(revision, entry.previous, genuine));
        match link {
            Some(Link::Gap { after, through }) => self.alarm(Alarm::Gap {
                partition,
                after,
                through,
            }),
            Some(Link::Fork { ours }) => self.alarm(Alarm::Forked {
                partition,
                ours,
                from: entry.previous,
            }),
            Some(Link::Next | Link::Nothing) | None => {}
        }
        let Some(record) = record else { return };
        let news = News::of(&record, table);
        if !genuine {
            self.alarm(Alarm::RolledBack {
                place,
                of: (record.kind(), record.id_bytes()),
                found: record.revision(),
                held: news.held,
            });
        }
        batch.take(record, entry.sealed, &news);
    }

    fn stored(
        &mut self,
        partition: Partition,
        bucket: usize,
        stored: Stored,
        table: &KeyTable,
        batch: &mut Batch,
    ) {
        let Stored { kind, id, sealed } = stored;
        let kind = RecordKind::of_byte(kind);
        let place = Place::Field(partition, kind, id);
        let Some(following) = self.of(partition).filter(|it| it.is_ours()) else {
            return;
        };
        following.contents_mut().saw(bucket, kind, id);
        let tail = following.position();
        let record = match seal::open(&self.sealer, &sealed) {
            Ok(record) => record,
            Err(unsealed) => return self.alarm(Alarm::Refused(place, Why::Unsealed(unsealed))),
        };
        if kind != Some(record.kind())
            || id != record.id_bytes()
            || Some(partition) != record.partition()
            || bucket != bucket_of(id)
        {
            return self.alarm(Alarm::Refused(place, Why::Misplaced));
        }
        let news = News::of(&record, table);
        if let Some(held) = news.held
            && record.revision() < held
            && held <= tail
        {
            self.alarm(Alarm::RolledBack {
                place,
                of: (record.kind(), id),
                found: record.revision(),
                held: Some(held),
            });
        }
        batch.take(record, sealed, &news);
    }

    fn probed(&mut self, probed: &Probed, now: Instant) {
        let mut alarms = Vec::new();
        for (partition, tail) in &probed.tails {
            let sent = probed.applied.get(partition.index()).copied();
            let (ours, sent) = (self.identity, sent.unwrap_or_default());
            let Some(following) = self.partitions.get_mut(partition.index()) else {
                continue;
            };
            match (tail.identity, ours) {
                (None, _) => {
                    alarms.push(Alarm::Empty(*partition));
                    following.empty();
                }
                (Some(theirs), Some(ours)) if theirs != ours => {
                    alarms.push(Alarm::OtherIdentity { ours, theirs });
                    following.other();
                }
                (Some(_), _) if tail.restoring => following.restoring(),
                (Some(theirs), _) => {
                    self.identity = Some(theirs);
                    following.tail(probed.sent_at, sent, tail, now, &mut alarms);
                }
            }
        }
        for alarm in alarms {
            self.alarm(alarm);
        }
        self.say_if_restoring(now);
    }

    /// Such a store brings nothing in step for as long as it says so; somebody may have broken off, or only written it.
    fn say_if_restoring(&mut self, now: Instant) {
        let mut partitions = Partition::all().zip(&self.partitions);
        let restoring = partitions.find(|(_, following)| following.is_restoring());
        self.counters.set_restoring(restoring.is_some());
        let Some((partition, _)) = restoring else {
            self.restoring = None;
            return;
        };
        let (since, said) = self.restoring.get_or_insert((now, None));
        if said.is_none_or(|said| now.saturating_duration_since(said) >= RESTORING_EVERY) {
            *said = Some(now);
            let lasts = now.saturating_duration_since(*since);
            self.alarm(Alarm::Restoring { partition, lasts });
        }
    }
}

/// What a record would change in the table.
struct News {
    /// The revision that the table holds.
    held: Option<Revision>,
    is_news: bool,
    /// Whether it takes away something that is accepted now.
    revokes: bool,
}

impl News {
    fn of(record: &Record, table: &KeyTable) -> Self {
        let revision = record.revision();
        // Disabling is undone by enabling, so only a newer record disables; a revocation counts whatever its revision.
        let (held, revokes) = match record {
            Record::Org(org) => {
                let held = table.org_by_id(&org.id);
                let disables = held
                    .as_ref()
                    .is_some_and(|it| !it.disabled && it.revision < revision);
                (held.map(|held| held.revision), org.disabled && disables)
            }
            Record::User(user) => {
                let held = table.user_by_id(&user.id);
                let through = user.application_keys_revoked_through;
                let disables = held
                    .as_ref()
                    .is_some_and(|it| !it.disabled && it.revision < revision);
                let known = held
                    .as_ref()
                    .map(|held| held.application_keys_revoked_through);
                let revokes = known.unwrap_or_default() < through;
                let takes_away = revokes || (user.disabled && disables);
                (held.map(|held| held.revision), takes_away)
            }
            Record::Key(key) => {
                let held = table
                    .known(&key.fingerprint)
                    .filter(|held| held.id == key.id);
                let revokes = held.is_none_or(|held| !held.is_revoked);
                (
                    held.map(|held| held.revision),
                    key.revoked.is_some() && revokes,
                )
            }
        };
        Self {
            held,
            is_news: revokes || held.is_none_or(|held| held < revision),
            revokes,
        }
    }
}

impl Batch {
    fn take(&mut self, record: Record, sealed: Vec<u8>, news: &News) {
        if news.is_news {
            self.revokes |= news.revokes;
            self.changes.push(Change { record, sealed });
        }
    }
}
