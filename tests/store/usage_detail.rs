//! What the stores keep of who uses a key, from where and when, and what becomes of it when several nodes tell of it. What
//! counts the uses is tested where it is.

use std::net::IpAddr;
use std::sync::Barrier;

use keygate::config::{Config, SecretValue};
use keygate::keys::audit::By;
use keygate::keys::buckets::{DAYS_MAX, HOURS_MAX};
use keygate::keys::rules::Limits;
use keygate::keys::usage::{OneUse, Source, UsageCounts, Use};
use keygate::keys::uses::{AGENT_CHARS_MAX, SOURCES_MAX};
use keygate::keys::{KeyId, Slot, Timestamp};
use keygate::store::{EmbeddedStore, migrate};

use super::homes::{Home, InFile, InRedis, root_key};
use super::name;

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_790_000_000_123;

fn key_id() -> KeyId {
    KeyId::generate_in(Slot::of_org_name("acme"))
}

fn one(at: i64, address: IpAddr, agent: &str) -> OneUse<'_> {
    OneUse {
        at: Timestamp(at),
        address,
        agent,
        shadowed: None,
    }
}

/// The uses that one node notes and writes down at once.
fn noted(uses: &[OneUse<'_>]) -> Use {
    let (counts, id) = (UsageCounts::default(), key_id());
    for one in uses {
        counts.note(id, one);
    }
    counts.drain(1).remove(0).1
}

/// Nodes whose clocks, sources and shadows differ.
fn accounts() -> Vec<Use> {
    let v4 = |host| IpAddr::from([192, 0, 2, host]);
    let v6: IpAddr = "2001:db8::1".parse().unwrap();
    let shadowed = |since, one| OneUse {
        shadowed: Some(Timestamp(since)),
        ..one
    };
    let long = "a user agent that says more than anybody would want to know of it, and then some";
    let crowd: Vec<_> = (0..20)
        .map(|host| one(NOW + i64::from(host), v4(100 + host), "curl"))
        .collect();
    let history: Vec<_> = (0..i64::try_from(DAYS_MAX).unwrap() * 24 + 100)
        .map(|hour| one(NOW - hour * HOUR, v4(2), "agent/7"))
        .collect();
    vec![
        noted(&[one(NOW, v4(1), "agent/7"), one(NOW + 5, v6, long)]),
        noted(&[
            one(NOW - 3 * HOUR, v4(1), "agent/7"),
            one(NOW + 9, v4(1), ""),
        ]),
        noted(&[shadowed(NOW - 50, one(NOW + 9, v6, "old\u{1b}[2J\n"))]),
        noted(&history),
        noted(&[
            shadowed(NOW + 20, one(NOW + 21, v4(1), "agent/7")),
            shadowed(NOW + 20, one(NOW + 21, v6, "old")),
        ]),
        // One that wrote late tells of an earlier shadow.
        noted(&[shadowed(NOW - 50, one(NOW + 8, v4(1), "agent/7"))]),
        noted(&crowd),
        Use::times(Timestamp(NOW + 400 * 24 * HOUR), 1),
        noted(&[one(NOW + HOUR, v4(1), "agent/7")]),
    ]
}

fn what_nodes_tell_becomes_one_account_the_same_in_every_home(home: &dyn Home) {
    let store = home.open();
    let (id, other) = (key_id(), key_id());
    let mut expected: Option<Use> = None;
    for told in accounts() {
        store
            .flush_usage(&[(id, told.clone()), (other, told.clone())])
            .unwrap();
        match &mut expected {
            Some(expected) => expected.add(told),
            None => expected = Some(told),
        }
        let held = store.usage_of(&[id, other]).unwrap();
        assert_eq!(held, [expected.clone(), expected.clone()]);
    }
    let held = expected.unwrap();
    assert_eq!(held.sources.len(), SOURCES_MAX);
    assert_eq!(held.hours.each().count(), HOURS_MAX);
    assert_eq!(held.days.each().count(), DAYS_MAX);
    assert_eq!(held.shadow.unwrap().count, 2, "since the last time");
    let is_plain = |source: &Source| {
        source.agent.len() <= AGENT_CHARS_MAX
            && source.agent.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    };
    assert!(held.sources.iter().all(is_plain));
}

fn nothing_is_lost_when_nodes_write_at_once(home: &dyn Home) {
    const NODES: u8 = 4;
    const TIMES: i64 = 25;
    let store = home.open();
    let id = key_id();
    let together = Barrier::new(NODES.into());
    std::thread::scope(|scope| {
        for node in 0..NODES {
            let (store, together) = (&store, &together);
            scope.spawn(move || {
                together.wait();
                for time in 0..TIMES {
                    let address = IpAddr::from([192, 0, 2, node]);
                    let uses = noted(&[
                        one(NOW + time * HOUR, address, "agent/7"),
                        one(NOW + time * HOUR, address, "agent/7"),
                    ]);
                    store.flush_usage(&[(id, uses)]).unwrap();
                }
            });
        }
    });
    let held = store.usage_of(&[id]).unwrap().remove(0).unwrap();
    let each = 2 * u64::try_from(TIMES).unwrap();
    assert_eq!(held.count, each * u64::from(NODES));
    let by_source: Vec<u64> = held.sources.iter().map(|source| source.count).collect();
    assert_eq!(by_source, [each; 4]);
    let by_hour: Vec<u64> = held.hours.each().map(|(_, count)| count).collect();
    assert_eq!(by_hour, [2 * u64::from(NODES); 25]);
}

#[test]
fn in_a_file() {
    what_nodes_tell_becomes_one_account_the_same_in_every_home(&InFile::new());
    nothing_is_lost_when_nodes_write_at_once(&InFile::new());
}

#[test]
fn in_redis() {
    what_nodes_tell_becomes_one_account_the_same_in_every_home(&InRedis::new());
    nothing_is_lost_when_nodes_write_at_once(&InRedis::new());
}

/// Whoever can write to Redis can say what they like of uses. It is shown within bounds or not at all, and the next flush
/// writes as if nothing had been there.
#[test]
fn planted_uses_are_bounded_and_what_is_malformed_is_nothing() {
    let home = InRedis::new();
    let store = home.connect();
    let id = key_id();
    let key = home.key(id.partition().index(), "usage");
    let plant = |value: &[u8]| {
        let mut command = redis::cmd("HSET");
        command.arg(&key).arg(&id.bytes()[..]).arg(value);
        command.query::<redis::Value>(&mut home.client()).unwrap();
    };
    let read = || -> Vec<u8> {
        let mut command = redis::cmd("HGET");
        command.arg(&key).arg(&id.bytes()[..]);
        command.query(&mut home.client()).unwrap()
    };
    let mut most = accounts().remove(0);
    for told in accounts() {
        most.add(told);
    }
    store.flush_usage(&[(id, most.clone())]).unwrap();
    let good = read();
    assert_eq!(store.usage_of(&[id]).unwrap(), [Some(most.clone())]);
    let told = accounts().remove(1);

    let (mut ignored, mut taken) = (0, 0);
    let cut = (0..good.len()).step_by(7).map(|end| good[..end].to_vec());
    let bent = (0..good.len()).step_by(3).map(|at| {
        let mut bent = good.clone();
        bent[at] = if at % 2 == 0 { 0xff } else { 0x1b };
        bent
    });
    let junk = [
        b"1790000000123:7".to_vec(),
        vec![b'9'; 1 << 20],
        vec![1; 4096],
    ];
    for planted in cut.chain(bent).chain(junk) {
        plant(&planted);
        let held = store.usage_of(&[id]).unwrap().remove(0);
        store.flush_usage(&[(id, told.clone())]).unwrap();
        assert!(read().len() <= 4096, "{planted:?}");
        let after = store.usage_of(&[id]).unwrap().remove(0);
        match held {
            None => ignored += 1,
            Some(held) => {
                taken += 1;
                assert!(held.sources.len() <= SOURCES_MAX);
                let after = after.as_ref().unwrap();
                assert!(after.count >= told.count && after.last_used >= told.last_used);
            }
        }
        if planted.is_empty() || planted.len() > 4096 {
            assert_eq!(after, Some(told.clone()));
        }
    }
    assert!(ignored > 100 && taken > 100, "{ignored} and {taken}");
}

/// There and back, everything that is known of a key's uses comes along, once however often it is carried.
#[test]
fn a_store_that_moves_takes_all_of_its_uses_along() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), InRedis::new());
    let url = "http://127.0.0.1:9".parse().unwrap();
    let mut config = Config::with_default_upstream(url, folder.path().join("from"));
    config.store.root_key = Some(SecretValue::new("5a".repeat(32)));
    config.store.redis = redis.config.clone();
    std::fs::create_dir(&config.store.data_dir).unwrap();
    let open = |config: &Config| {
        EmbeddedStore::open(&config.store.database(), &root_key(), Limits::default()).unwrap()
    };
    let store = open(&config);
    let made = store.create_org(name("acme"), &By::operator()).unwrap();
    let id = made.value.1.key.id;
    for told in accounts() {
        store.flush_usage(&[(id, told)]).unwrap();
    }
    let held = store.usage_of(&[id]).unwrap();
    assert_eq!(held[0].as_ref().unwrap().sources.len(), SOURCES_MAX);
    drop(store);
    migrate::to_redis(&config.store, &config.rules).unwrap();
    migrate::to_redis(&config.store, &config.rules).unwrap();
    assert_eq!(redis.open().usage_of(&[id]).unwrap(), held);
    config.store.data_dir = folder.path().join("to");
    std::fs::create_dir(&config.store.data_dir).unwrap();
    migrate::to_file(&config.store, &config.rules).unwrap();
    migrate::to_file(&config.store, &config.rules).unwrap();
    assert_eq!(open(&config).usage_of(&[id]).unwrap(), held);
}
