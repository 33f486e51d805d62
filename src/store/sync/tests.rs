//! What the follower does about each thing that can be wrong with a store, one at a time. All of them at once are in
//! `tests/model`.

mod astray;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::alarm::{Alarm, Place, Why};
use super::follower::Follower;
use super::heard::{Ask, Entry, Heard, Probed, Stored, Tail};
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::{
    Actor, Deed, Key, KeyKind, KeyTable, Org, Partition, Record, Revision, Timestamp, samples,
};
use crate::store::seal::{BUCKETS, Unsealed, bucket_of, seal, term};
use crate::telemetry::SyncCounters;

const OURS: Uuid = Uuid::from_u128(7);

struct World {
    sealer: Sealer,
    follower: Follower,
    table: KeyTable,
    counters: Arc<SyncCounters>,
    start: Instant,
    org: Org,
}

impl World {
    /// A follower that has read an empty store, in step one second after the start.
    fn new() -> Self {
        let start = Instant::now();
        let sealer = Keyring::generate().unwrap().sealer();
        let counters = Arc::new(SyncCounters::new(start));
        let mut world = Self {
            follower: Follower::new(sealer.clone(), Some(OURS), Arc::clone(&counters), 1),
            table: KeyTable::new(start),
            sealer,
            counters,
            start,
            org: samples::org("acme"),
        };
        for partition in Partition::all() {
            world.hear(Heard::Began {
                partition,
                tail: Revision(0),
            });
            world.hear(Heard::Ended { partition });
        }
        world.probe(1, &[]);
        assert_eq!(world.follower.in_step(), Some(world.at(1)));
        assert_eq!(world.asks(1), []);
        assert_eq!(world.follower.alarms(), []);
        world
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn partition(&self) -> Partition {
        self.org.id.partition()
    }

    fn hear(&mut self, heard: Heard) -> bool {
        let batch = self.follower.hear(heard, &self.table, self.start);
        let revokes = batch.revokes;
        self.follower.apply(batch, &self.table);
        revokes
    }

    fn asks(&mut self, seconds: u64) -> Vec<Ask> {
        self.follower.asks(self.at(seconds), true)
    }

    fn tail(&self, last: u64, records: &[Record]) -> Tail {
        let term = |record: &Record| term(record.kind(), record.id_bytes(), record.revision());
        Tail {
            identity: Some(OURS),
            last: Revision(last),
            count: records.len() as u64,
            digest: records.iter().map(term).fold(0, |all, one| all ^ one),
            restoring: false,
        }
    }

    /// An answer to a question sent at that second, of a store that holds these records.
    fn probe(&mut self, second: u64, records: &[Record]) {
        let last = records.iter().map(|record| record.revision().0).max();
        let tail = self.tail(last.unwrap_or(0), records);
        self.probe_with(second, tail);
    }

    fn probe_with(&mut self, second: u64, tail: Tail) {
        let idle = self.tail(0, &[]);
        let ours = self.partition();
        let tails = Partition::all().map(|it| {
            (
                it,
                if it == ours {
                    tail.clone()
                } else {
                    idle.clone()
                },
            )
        });
        let probed = Probed {
            sent_at: self.at(second),
            applied: self.follower.certain(),
            tails: tails.collect(),
        };
        let now = self.at(second);
        let batch = self.follower.hear(Heard::Probed(probed), &self.table, now);
        self.follower.apply(batch, &self.table);
    }

    fn key(&self, revision: u64) -> Key {
        let mut key = samples::key(KeyKind::ApiKey, &self.org, None, u128::from(revision));
        (key.issued, key.revision) = (Revision(revision), Revision(revision));
        key
    }

    fn entry(&self, record: &Record, previous: u64) -> Entry {
        Entry {
            partition: self.partition(),
            revision: record.revision(),
            previous: Some(Revision(previous)),
            sealed: seal(&self.sealer, record).unwrap(),
        }
    }

    fn change(&mut self, record: &Record, previous: u64) -> bool {
        let entry = self.entry(record, previous);
        self.hear(Heard::Entries(vec![entry]))
    }

    fn stored(&self, record: &Record) -> Stored {
        Stored {
            kind: record.kind().byte(),
            id: record.id_bytes(),
            sealed: seal(&self.sealer, record).unwrap(),
        }
    }

    fn snapshot(&mut self, tail: u64, stored: &[Stored]) {
        let partition = self.partition();
        self.hear(Heard::Began {
            partition,
            tail: Revision(tail),
        });
        for bucket in 0..BUCKETS {
            let in_it = stored
                .iter()
                .filter(|stored| bucket_of(stored.id) == bucket);
            self.hear(Heard::Bucket {
                partition,
                bucket,
                stored: in_it.cloned().collect(),
                complete: true,
            });
        }
        self.hear(Heard::Ended { partition });
    }

    fn holds(&self, key: &Key) -> Option<Key> {
        self.table.full_key(&key.fingerprint)
    }

    fn position(&self) -> Revision {
        self.follower.solid()[self.partition().index()]
    }
}

fn revoked(mut key: Key, revision: u64) -> Key {
    key.revision = Revision(revision);
    key.revoked = Some(Deed {
        at: Timestamp(1),
        by: Actor::Operator,
    });
    key
}

#[test]
fn the_view_is_in_step_as_of_the_question_and_not_of_its_answer() {
    let mut world = World::new();
    let key = Record::Key(world.key(5));
    world.probe(3, std::slice::from_ref(&key));
    assert_eq!(
        world.follower.in_step(),
        Some(world.at(1)),
        "the change has not come"
    );
    world.change(&key, 0);
    assert_eq!(world.follower.in_step(), Some(world.at(3)));
    assert_eq!(world.position(), Revision(5));
    assert_eq!(world.follower.alarms(), []);
}

#[test]
fn a_change_that_takes_something_away_is_told_from_others() {
    let mut world = World::new();
    let key = world.key(5);
    assert!(!world.change(&Record::Key(key.clone()), 0));
    assert!(world.change(&Record::Key(revoked(key.clone(), 6)), 5));
    assert!(
        !world.change(&Record::Key(revoked(key, 7)), 6),
        "it was revoked already"
    );
}

#[test]
fn a_gap_is_read_anew_and_nothing_is_claimed_meanwhile() {
    let mut world = World::new();
    let (first, second) = (world.key(5), world.key(9));
    let both = [Record::Key(first.clone()), Record::Key(second.clone())];
    world.change(&both[1], 5);
    assert!(
        world.holds(&second).is_some(),
        "what is genuine is applied at once"
    );
    let gap = Alarm::Gap {
        partition: world.partition(),
        after: Revision(0),
        through: Revision(5),
    };
    assert_eq!(world.follower.alarms(), [gap]);
    world.probe(3, &both);
    assert_eq!(world.position(), Revision(0));
    assert_eq!(world.follower.in_step(), Some(world.at(1)));
    assert_eq!(world.asks(2), [], "a fleet does not do so at once");
    assert_eq!(world.asks(5), [Ask::Snapshot(world.partition())]);
    let stored = both.each_ref().map(|record| world.stored(record));
    world.snapshot(9, &stored);
    assert!(world.holds(&first).is_some());
    assert_eq!(world.position(), Revision(9));
    assert_eq!(world.follower.in_step(), Some(world.at(3)));
}

#[test]
fn changes_that_a_deleted_stream_never_brought_are_looked_for() {
    let mut world = World::new();
    let key = Record::Key(world.key(5));
    world.probe(3, &[key]);
    assert_eq!(world.asks(3), []);
    assert_eq!(world.asks(4), [Ask::Look(world.partition(), Revision(0))]);
    let partition = world.partition();
    world.hear(Heard::Looked {
        partition,
        tail: Revision(5),
    });
    world.asks(4);
    assert_eq!(world.asks(7), [Ask::Snapshot(partition)]);
}

#[test]
fn a_store_that_lost_writes_takes_nothing_back_and_is_read_anew() {
    let mut world = World::new();
    let key = world.key(5);
    world.change(&Record::Key(key.clone()), 0);
    world.change(&Record::Key(revoked(key.clone(), 8)), 5);
    world.follower.alarms();
    world.probe(3, &[Record::Key(key.clone())]);
    let regressed = Alarm::Regressed {
        partition: world.partition(),
        ours: Revision(8),
        theirs: Revision(5),
    };
    assert_eq!(world.follower.alarms(), [regressed]);
    world.asks(4);
    assert_eq!(world.asks(7), [Ask::Snapshot(world.partition())]);
    let stored = world.stored(&Record::Key(key.clone()));
    world.snapshot(5, &[stored]);
    assert!(world.holds(&key).unwrap().revoked.is_some());
    // Its history goes on from there, without the revocation.
    let mut renamed = key.clone();
    renamed.revision = Revision(7);
    world.change(&Record::Key(renamed), 5);
    assert!(world.holds(&key).unwrap().revoked.is_some());
    assert_eq!(world.position(), Revision(7));
}

#[test]
fn an_answer_that_crossed_a_change_is_no_loss() {
    let mut world = World::new();
    let probed = Probed {
        sent_at: world.at(2),
        applied: world.follower.certain(),
        tails: Partition::all()
            .map(|it| (it, world.tail(0, &[])))
            .collect(),
    };
    let key = Record::Key(world.key(5));
    world.change(&key, 0);
    world.hear(Heard::Probed(probed));
    assert_eq!(world.follower.alarms(), []);
    assert_eq!(world.follower.in_step(), Some(world.at(2)));
}

#[test]
fn a_poisoned_change_costs_that_record_and_no_other() {
    let mut world = World::new();
    let (good, poisoned, after) = (world.key(5), world.key(6), world.key(7));
    world.change(&Record::Key(good.clone()), 0);
    let theirs = Keyring::generate().unwrap().sealer();
    let forged = Record::Key(revoked(good.clone(), 6));
    for sealed in [Vec::new(), vec![1; 40], seal(&theirs, &forged).unwrap()] {
        let mut entry = world.entry(&Record::Key(poisoned.clone()), 5);
        entry.sealed = sealed;
        world.hear(Heard::Entries(vec![entry]));
    }
    world.change(&Record::Key(after.clone()), 6);
    assert!(world.holds(&good).unwrap().revoked.is_none());
    assert!(world.holds(&after).is_some());
    assert_eq!(world.position(), Revision(7));
    let place = Place::Change(world.partition(), Revision(6));
    let forged = Alarm::Refused(place, Why::Unsealed(Unsealed::Forged));
    let alarms = world.follower.alarms();
    assert_eq!(alarms[2], forged, "{alarms:?}");
    assert!(forged.to_string().contains("the change 6 of"), "{forged}");
    assert_eq!(world.counters.refused_in_all(), 3);
    // Its digest finds it, and only its bucket is read.
    let (good, poisoned, after) = (Record::Key(good), Record::Key(poisoned), Record::Key(after));
    let all = [good, poisoned.clone(), after];
    world.probe(3, &all);
    let partition = world.partition();
    assert_eq!(world.follower.alarms(), [Alarm::DigestDiffers(partition)]);
    assert_eq!(world.asks(3), [Ask::Digests(partition)]);
    let mut digests = Box::new([0; BUCKETS]);
    for record in &all {
        digests[bucket_of(record.id_bytes())] ^=
            term(record.kind(), record.id_bytes(), record.revision());
    }
    world.hear(Heard::Digests {
        partition,
        before: Revision(7),
        digests,
        after: Revision(7),
    });
    let bucket = bucket_of(poisoned.id_bytes());
    assert_eq!(world.asks(3), [Ask::Buckets(partition, vec![bucket])]);
    let in_it = all.iter().filter(|it| bucket_of(it.id_bytes()) == bucket);
    let stored = in_it.map(|record| world.stored(record)).collect();
    world.hear(Heard::Bucket {
        partition,
        bucket,
        stored,
        complete: true,
    });
    world.hear(Heard::Ended { partition });
    world.probe(4, &all);
    assert_eq!(world.follower.alarms(), []);
    assert_eq!(world.follower.held(), 3);
    assert_eq!(world.counters.buckets_changed.load(Ordering::Relaxed), 1);
}

#[test]
fn a_record_found_elsewhere_or_as_it_once_was_is_named_and_not_taken() {
    let mut world = World::new();
    let key = world.key(5);
    let mut newer = key.clone();
    (newer.revision, newer.name) = (Revision(6), "newer".into());
    world.change(&Record::Key(key.clone()), 0);
    world.change(&Record::Key(newer), 5);
    let other = world.key(5);
    let mut moved = world.stored(&Record::Key(key.clone()));
    moved.id = other.id.bytes();
    let rolled_back = world.stored(&Record::Key(key.clone()));
    world.snapshot(6, &[moved, rolled_back]);
    assert_eq!(world.holds(&key).unwrap().name, "newer");
    let mut alarms = world.follower.alarms();
    alarms.sort_by_key(Alarm::word);
    assert_eq!(alarms.len(), 2, "{alarms:?}");
    assert!(
        alarms[0].to_string().contains(&other.id.to_string()),
        "{}",
        alarms[0]
    );
    assert!(
        alarms[1].to_string().contains(&key.id.to_string()),
        "{}",
        alarms[1]
    );
    // As a change of its own it would be the newest.
    let mut replayed = world.entry(&Record::Key(key.clone()), 6);
    replayed.revision = Revision(9);
    world.hear(Heard::Entries(vec![replayed]));
    assert_eq!(world.holds(&key).unwrap().name, "newer");
    assert!(matches!(
        world.follower.alarms()[..],
        [Alarm::RolledBack { .. }]
    ));
}

#[test]
fn a_store_that_is_empty_or_another_one_removes_nothing_and_brings_nothing_in_step() {
    let mut world = World::new();
    let key = world.key(5);
    world.change(&Record::Key(key.clone()), 0);
    world.probe(2, &[Record::Key(key.clone())]);
    let mut empty = world.tail(0, &[]);
    empty.identity = None;
    world.probe_with(3, empty);
    assert_eq!(world.follower.missing(), 1);
    let alarms = world.follower.alarms();
    assert_eq!(alarms, [Alarm::Empty(world.partition()), Alarm::Missing(1)]);
    let theirs = Uuid::from_u128(8);
    let mut other = world.tail(9, &[]);
    other.identity = Some(theirs);
    world.probe_with(4, other);
    let alarms = world.follower.alarms();
    assert_eq!(alarms, [Alarm::OtherIdentity { ours: OURS, theirs }]);
    world.change(&Record::Key(revoked(key.clone(), 9)), 5);
    assert!(
        world.holds(&key).unwrap().revoked.is_none(),
        "nothing is taken from it"
    );
    assert_eq!(world.follower.in_step(), Some(world.at(2)));
    assert_eq!(world.asks(60), []);
    // Ours again: whatever happened meanwhile did not come through the stream.
    world.probe(61, &[Record::Key(key)]);
    world.asks(61);
    assert_eq!(world.asks(64), [Ask::Snapshot(world.partition())]);
}

#[test]
fn a_store_that_is_being_put_back_together_is_said_to_be_once_a_minute() {
    let mut world = World::new();
    let mut restoring = world.tail(0, &[]);
    restoring.restoring = true;
    let gauge = |world: &World| {
        let text = world.counters.render(world.start);
        text.contains("\nkeygate_store_restoring 1\n")
    };
    let mut said = Vec::new();
    for second in 2..=70 {
        world.probe_with(second, restoring.clone());
        said.extend(world.follower.alarms().into_iter().map(|it| (second, it)));
    }
    let partition = world.partition();
    let lasts = Duration::from_secs;
    let alarm = |seconds| Alarm::Restoring {
        partition,
        lasts: lasts(seconds),
    };
    assert_eq!(said, [(2, alarm(0)), (62, alarm(60))]);
    assert!(gauge(&world));
    assert_eq!(world.follower.in_step(), Some(world.at(1)));
    world.probe(71, &[]);
    assert!(!gauge(&world));
    world.probe_with(72, restoring);
    assert_eq!(world.follower.alarms(), [alarm(0)]);
}

#[test]
fn a_difference_that_reading_does_not_settle_is_said_once() {
    let mut world = World::new();
    let (kept, lost) = (Record::Key(world.key(5)), Record::Key(world.key(6)));
    world.change(&lost, 0);
    world.change(&kept, 6);
    let mut told = 0;
    let mut asked = 0;
    let mut last = world.tail(6, std::slice::from_ref(&kept));
    last.count = 1;
    world.follower.alarms();
    // The follower has read the store as it is, without the one.
    let stored = world.stored(&kept);
    let partition = world.partition();
    for second in 2..60 {
        world.probe_with(second, last.clone());
        for ask in world.asks(second) {
            asked += 1;
            match ask {
                Ask::Digests(_) => {
                    let mut digests = Box::new([0; BUCKETS]);
                    digests[bucket_of(kept.id_bytes())] = last.digest;
                    world.hear(Heard::Digests {
                        partition,
                        before: Revision(6),
                        digests,
                        after: Revision(6),
                    });
                }
                Ask::Buckets(_, buckets) => {
                    for bucket in buckets {
                        let is_in = bucket_of(kept.id_bytes()) == bucket;
                        world.hear(Heard::Bucket {
                            partition,
                            bucket,
                            stored: is_in.then(|| stored.clone()).into_iter().collect(),
                            complete: true,
                        });
                    }
                    world.hear(Heard::Ended { partition });
                }
                other => panic!("{other:?}"),
            }
        }
        let alarms = world.follower.alarms();
        told += alarms
            .iter()
            .filter(|it| matches!(it, Alarm::Ahead(_)))
            .count();
    }
    assert_eq!((told, asked), (1, 4));
    assert_eq!(world.follower.missing(), 1);
    assert_eq!(
        world.follower.in_step(),
        Some(world.at(59)),
        "it does hold what the store has"
    );
}
