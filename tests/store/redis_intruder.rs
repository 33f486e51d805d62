//! What somebody can do who may write to the Redis that a store is in, but has none of its keys: as little as possible.
//! What is there by mistake and not by malice is in `redis_only`.

use std::time::Duration;

use keygate::keys::audit::By;
use keygate::keys::usage::Use;
use keygate::keys::{PARTITIONS, Revision, Timestamp};
use keygate::store::StoreError;
use keygate::store::redis::feed::Feed;
use keygate::store::redis::probe::{Prober, Report};
use keygate::store::seal::SEALED_BYTES_MAX;
use uuid::Uuid;

use super::homes::InRedis;
use super::{client_token, name, user};

fn set(home: &InRedis, key: &str, field: &[u8], value: &[u8]) {
    let mut command = redis::cmd("HSET");
    command.arg(key).arg(field).arg(value);
    command.query::<redis::Value>(&mut home.client()).unwrap();
}

fn key(home: &InRedis, partition: usize, rest: &str) -> String {
    format!("{{{}:{partition}}}:{rest}", home.config.prefix)
}

#[test]
fn no_index_leads_from_one_org_to_another() {
    let home = InRedis::new();
    let store = home.connect();
    let (first, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let at = first.id.partition().index();
    // Names of one partition: every sixteenth or so.
    let (other, _) = (0..)
        .map(|number| format!("other {number}"))
        .find(|other| keygate::keys::Slot::of_org_name(other).partition().index() == at)
        .map(|other| {
            store
                .create_org(name(&other), &By::operator())
                .unwrap()
                .value
        })
        .unwrap();
    let token = store
        .create_key(client_token(other.id, "theirs"), &By::operator())
        .unwrap()
        .value;
    let theirs = user(&store, &other, "eve");

    let list = key(&home, at, &format!("of:{}", first.id));
    for (kind, id) in [(b'k', token.key.id.bytes()), (b'u', theirs.id.bytes())] {
        let field = [&[kind][..], &id].concat();
        set(&home, &list, &field, b"");
    }
    assert_eq!(store.keys_of(first.id).unwrap().len(), 1);
    assert_eq!(store.users_of(first.id).unwrap(), []);

    let names = key(&home, at, "names:orgs");
    set(&home, &names, b"acme", &other.id.bytes());
    let found = store.org_named("acme");
    assert!(
        matches!(found, Err(StoreError::Damaged { .. })),
        "{found:?}"
    );
}

#[test]
fn what_is_no_wrapped_key_of_ours_crowds_out_none() {
    let home = InRedis::new();
    let store = home.connect();
    let meta = key(&home, 0, "meta");
    let ours = store.rings().unwrap();
    assert_eq!(ours.len(), 1);
    let (name, wrapped) = ours.first_key_value().unwrap();
    set(&home, &meta, b"junk", &[b'x'; 1 << 20]);
    set(&home, &meta, b"ring:\xff\xfe", wrapped);
    set(&home, &meta, b"ring:\x1b[2J\x1b[2Jxxxxxxx", wrapped);
    set(&home, &meta, b"ring:000000000000000z", wrapped);
    set(&home, &meta, b"ring:0000000000000000", &[0; 2_000]);
    assert_eq!(store.rings().unwrap(), ours);
    assert_eq!(store.root_keys().unwrap().len(), 1);
    assert!(store.status().is_ok());
    // Those that look like ours are passed on, but ours is always among them.
    for number in 1..50 {
        let name = format!("ring:{number:016x}");
        set(&home, &meta, name.as_bytes(), &vec![0; wrapped.len()]);
    }
    let rings = store.rings().unwrap();
    assert_eq!((rings.len(), rings.get(name)), (16, Some(wrapped)));
    assert_eq!(store.root_keys().unwrap().len(), 50);
}

#[test]
fn of_what_is_too_long_no_more_is_read_than_shows_that_it_is() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, issued) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let (partition, at) = (org.id.partition(), org.id.partition().index());
    let plan = store.plans().unwrap().remove(0);
    let mut feed = Feed::open(&store, &plan).unwrap();
    let mut positions = [Revision(0); PARTITIONS];
    let wait = Duration::from_millis(50);
    let took = feed.read(&positions, wait).unwrap();
    let last = took.last().unwrap().revision;
    positions[at] = last;
    assert_eq!(feed.read(&positions, wait).unwrap(), []);
    // One comes while it waits, the others are there when it looks again.
    let mut client = home.client();
    for more in 1..=5 {
        let mut command = redis::cmd("XADD");
        command.arg(key(&home, at, "changes"));
        command.arg(format!("{}-0", last.0 + more));
        command.arg("r").arg(vec![b'x'; 1 << 20]);
        for other in 0..20 {
            command.arg(format!("other {other}")).arg("x");
        }
        command.query::<redis::Value>(&mut client).unwrap();
    }
    for expected in [1, 4] {
        let found = feed.read(&positions, wait).unwrap();
        assert_eq!(found.len(), expected);
        let cut = |sealed: &Vec<u8>| sealed.len() == SEALED_BYTES_MAX + 1;
        assert!(found.iter().all(|entry| cut(&entry.sealed)));
        positions[at] = found.last().unwrap().revision;
    }

    set(
        &home,
        &key(&home, at, "meta"),
        b"identity",
        &[b'y'; 1 << 20],
    );
    let nodes = key(&home, 0, "nodes");
    set(&home, &nodes, b"long", &[b'['; 1 << 20]);
    set(&home, &nodes, &[b'n'; 1 << 20], b"{}");
    let report = Report {
        node_id: Uuid::from_u128(7),
        node_name: "one".to_owned(),
        version: "1".to_owned(),
        address: "127.0.0.1:1".to_owned(),
        positions,
        age_ms: 1,
        lease_ms: 1,
        keys: 1,
        stopped: false,
    };
    let mut prober = Prober::open(&store, &plan).unwrap();
    let probe = prober.report(&report).unwrap();
    for (of, tail) in &probe.tails {
        let expected = if *of == partition {
            Uuid::nil()
        } else {
            store.identity()
        };
        assert_eq!(tail.identity, Some(expected));
    }
    assert_eq!(feed.tail(partition).unwrap(), probe.tails[at].1);
    let heard: Vec<Report> = store
        .nodes()
        .unwrap()
        .into_iter()
        .map(|node| node.report)
        .collect();
    assert_eq!(heard, [report]);

    let used = Use::times(Timestamp(5), 1);
    let id = issued.key.id;
    for junk in [&b"\xff\xff"[..], &[b'9'; 1 << 20]] {
        set(&home, &key(&home, at, "usage"), &id.bytes(), junk);
        assert_eq!(store.usage_of(&[id]).unwrap(), [None]);
        store.flush_usage(&[(id, used.clone())]).unwrap();
        assert_eq!(store.usage_of(&[id]).unwrap(), [Some(used.clone())]);
    }
}
