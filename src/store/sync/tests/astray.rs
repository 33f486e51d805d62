//! What the follower does when something in a stream, which is no change, has led its feed past changes.

use std::sync::atomic::Ordering;

use super::{World, revoked};
use crate::keys::{Record, Revision};
use crate::store::sync::alarm::Alarm;
use crate::store::sync::heard::{Ask, Heard};

#[test]
fn something_put_into_a_stream_that_is_deleted_then_hides_no_change() {
    let mut world = World::new();
    let (key, partition) = (world.key(5), world.partition());
    world.change(&Record::Key(key.clone()), 0);
    world.probe(2, &[Record::Key(key.clone())]);
    // An old record of ours is no better than junk there.
    let mut junk = world.entry(&Record::Key(key.clone()), 0);
    (junk.revision, junk.previous) = (Revision(1_000_000), None);
    world.hear(Heard::Entries(vec![junk]));
    world.probe(3, &[Record::Key(key.clone())]);
    assert_eq!(world.follower.in_step(), Some(world.at(3)));
    assert_eq!(world.asks(3), []);
    world.follower.alarms();
    // The stream is deleted, and begins anew behind what the feed has read.
    let revocation = Record::Key(revoked(key.clone(), 9));
    world.probe(4, std::slice::from_ref(&revocation));
    world.probe(5, std::slice::from_ref(&revocation));
    let passed = Alarm::Passed {
        partition,
        change: Revision(9),
        by: Revision(1_000_000),
    };
    assert_eq!(world.follower.alarms(), [passed]);
    assert_eq!(world.counters.gaps.load(Ordering::Relaxed), 1);
    assert_eq!(world.follower.in_step(), Some(world.at(3)));
    assert_eq!(world.asks(5), [Ask::Look(partition, Revision(5))]);
    assert!(world.change(&revocation, 5));
    assert!(world.holds(&key).unwrap().revoked.is_some());
    world.hear(Heard::Looked {
        partition,
        tail: Revision(9),
    });
    assert_eq!(world.position(), Revision(9));
    assert_eq!(world.follower.in_step(), Some(world.at(5)));
    world.probe(6, &[revocation]);
    assert_eq!(world.asks(60), []);
    assert_eq!(world.follower.alarms(), []);
}

#[test]
fn a_change_that_something_put_there_hid_and_that_is_gone_is_read_from_the_records() {
    let mut world = World::new();
    let (key, partition) = (world.key(5), world.partition());
    let mut junk = world.entry(&Record::Key(key.clone()), 0);
    (junk.revision, junk.sealed) = (Revision(u64::MAX), Vec::new());
    world.hear(Heard::Entries(vec![junk.clone()]));
    world.probe(3, &[Record::Key(key)]);
    assert_eq!(world.asks(3), [Ask::Look(partition, Revision(0))]);
    world.hear(Heard::Entries(vec![junk]));
    world.follower.alarms();
    world.hear(Heard::Looked {
        partition,
        tail: Revision(5),
    });
    let gap = Alarm::Gap {
        partition,
        after: Revision(0),
        through: Revision(5),
    };
    assert_eq!(world.follower.alarms(), [gap]);
    world.asks(3);
    assert_eq!(world.asks(6), [Ask::Snapshot(partition)]);
}
