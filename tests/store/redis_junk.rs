//! What somebody with access to Redis has left there must not keep anybody from revoking, nor use up the revisions: numbers
//! far ahead of every clock, and indexes that are gone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keygate::keys::audit::By;
use keygate::keys::rules::Refusal;
use keygate::keys::{Key, Org, PARTITIONS, Revision};
use keygate::store::redis::RedisStore;
use keygate::store::redis::feed::Feed;
use redis::Commands as _;

use super::homes::InRedis;
use super::redis_only::sound_records;
use super::{api_key, name, refusal};

const HOUR_US: u64 = 3_600_000_000;

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_micros()).unwrap()
}

/// An org with its first key and two more.
fn filled(store: &RedisStore) -> (Org, Vec<Key>) {
    let (org, first) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let more = ["second", "third"].map(|text| {
        store
            .create_key(api_key(org.id, text), &By::operator())
            .unwrap()
            .value
            .key
    });
    (org, [vec![first.key], more.to_vec()].concat())
}

fn run(client: &mut redis::Connection, words: &[&str]) {
    let (command, arguments) = words.split_first().unwrap();
    let _: redis::Value = redis::cmd(command).arg(arguments).query(client).unwrap();
}

#[test]
fn no_number_in_redis_keeps_anybody_from_revoking_or_uses_up_the_revisions() {
    let day = (now_us() + 24 * HOUR_US).to_string();
    let tomorrow = format!("{day}-0");
    let near_end = format!("{}-0", (1_u64 << 53) - 1_002);
    let largest = "18446744073709551615-18446744073709551615";
    let left =
        "local id = redis.call('XADD', KEYS[1], ARGV[1], 'x', '1') redis.call('XDEL', KEYS[1], id)";
    let cases: Vec<Vec<&str>> = vec![
        vec!["XSETID", "changes", &tomorrow],
        vec!["EVAL", left, "1", "changes", &tomorrow],
        vec!["XADD", "changes", &tomorrow, "x", "1"],
        vec!["XADD", "changes", &near_end, "x", "1"],
        vec!["XADD", "changes", largest, "x", "1"],
        vec!["XSETID", "changes", largest],
        vec!["HSET", "meta", "last", &day],
        vec!["HSET", "meta", "last", "9007199254739990"],
        vec!["HSET", "meta", "last", "18446744073709551615"],
        vec!["HSET", "meta", "last", "99999999999999999999999999"],
        vec!["HSET", "meta", "last", "007"],
        vec!["HSET", "meta", "last", "-1"],
        vec!["HSET", "meta", "last", "nonsense"],
        vec!["HDEL", "meta", "last"],
    ];
    for case in cases {
        let home = InRedis::new();
        let store = home.connect();
        let (org, keys) = filled(&store);
        let partition = org.id.partition();
        let newest = keys[2].revision;
        let mut client = home.client();
        let words: Vec<String> = case
            .iter()
            .map(|word| match *word {
                "changes" | "meta" => home.key(partition.index(), word),
                word => word.to_owned(),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        // One that has written, and one that has seen nothing yet and was told of it.
        let another = if case.contains(&"HDEL") {
            None
        } else {
            Some(home.connect())
        };
        run(&mut client, &words);
        for told in [u64::MAX, 1 << 53, now_us() + 24 * HOUR_US] {
            store.note_seen(partition, Revision(told));
        }
        let another = another.as_ref().unwrap_or(&store);
        another.note_seen(partition, Revision(u64::MAX));
        let first = another
            .revoke_key(keys[1].id, &By::operator())
            .unwrap()
            .value;
        assert!(first.revision > newest, "{case:?}");
        assert!(first.revision.0 < now_us() + 2 * HOUR_US, "{case:?}");
        let second = store.revoke_key(keys[2].id, &By::operator()).unwrap().value;
        assert!(second.revision > first.revision, "{case:?}");
        assert!(second.revision.0 < now_us() + 2 * HOUR_US, "{case:?}");

        // Whoever had read all of it misses nothing.
        let plan = store.plans().unwrap().pop().unwrap();
        let mut feed = Feed::open(&store, &plan).unwrap();
        let mut positions = [Revision(u64::MAX - 1); PARTITIONS];
        positions[partition.index()] = newest;
        let entries = feed.read(&positions, Duration::ZERO).unwrap();
        let ours: Vec<_> = entries
            .iter()
            .filter(|entry| !entry.sealed.is_empty())
            .collect();
        assert_eq!(ours.len(), 2, "{case:?}");
        assert_eq!(ours[1].previous, Some(first.revision), "{case:?}");
        if !case.contains(&"007") {
            assert_eq!(ours[0].previous, Some(newest), "{case:?}");
        }
        store.finish_writing_back().unwrap();
        sound_records(&store);
        store
            .create_key(api_key(org.id, "fourth"), &By::operator())
            .unwrap();
        assert_eq!(store.verify().unwrap().problems, Vec::<String>::new());
    }
}

#[test]
fn putting_records_back_heals_a_stream_that_takes_no_changes() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, _) = filled(&store);
    let records = sound_records(&store);
    let mut client = home.client();
    for partition in 0..PARTITIONS {
        let stream = home.key(partition, "changes");
        let id = "18446744073709551615-18446744073709551615";
        run(&mut client, &["XADD", &stream, id, "x", "1"]);
    }
    store.write_back(&records).unwrap();
    store.finish_writing_back().unwrap();
    sound_records(&store);
    let made = store
        .create_key(api_key(org.id, "fourth"), &By::operator())
        .unwrap()
        .value
        .key;
    assert!(made.revision.0 < now_us() + HOUR_US);
}

#[test]
fn what_a_record_proves_is_followed_however_far_ahead_it_is() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, keys) = filled(&store);
    // As a machine makes one whose clock is two days ahead.
    let ahead = Revision(now_us() + 48 * HOUR_US);
    store.note_proven(org.id.partition(), ahead);
    let made = store
        .create_key(api_key(org.id, "fourth"), &By::operator())
        .unwrap()
        .value
        .key;
    assert!(made.revision > ahead);
    let other = home.connect();
    let revoked = other.revoke_key(keys[1].id, &By::operator()).unwrap().value;
    assert_eq!(revoked.revision.0, made.revision.0 + 1);
    // The same, when the stream has lost it.
    let stream = home.key(org.id.partition().index(), "changes");
    let _: i64 = home.client().del(&stream).unwrap();
    let other = home.connect();
    let next = other
        .create_key(api_key(org.id, "fifth"), &By::operator())
        .unwrap()
        .value
        .key;
    assert_eq!(next.revision.0, revoked.revision.0 + 1);
    sound_records(&store);
}

#[test]
fn a_key_is_revoked_also_when_the_names_are_lost() {
    for lost in [&["names:keys"][..], &["names:keys", "of"]] {
        let home = InRedis::new();
        let store = home.connect();
        let (org, keys) = filled(&store);
        let (other, only) = store
            .create_org(name("other"), &By::operator())
            .unwrap()
            .value;
        let mut client = home.client();
        for org in [&org, &other] {
            for lost in lost {
                let index = home.key(org.id.partition().index(), &format!("{lost}:{}", org.id));
                let gone: i64 = client.del(&index).unwrap();
                assert_eq!(gone, 1);
            }
        }
        store.revoke_key(keys[1].id, &By::operator()).unwrap();
        // The names of the others are back.
        let taken = store.create_key(api_key(org.id, "third"), &By::operator());
        assert!(matches!(refusal(taken), Refusal::NameTaken { .. }));
        store.revoke_key(keys[2].id, &By::operator()).unwrap();
        for last in [&keys[0], &only.key] {
            let kept = refusal(store.revoke_key(last.id, &By::operator()));
            assert!(matches!(kept, Refusal::TooFew { .. }), "{kept:?}");
        }
        store.finish_writing_back().unwrap();
        sound_records(&store);
    }
}

#[test]
fn putting_records_back_mends_every_index_also_of_records_that_are_there() {
    let home = InRedis::new();
    let store = home.connect();
    let made = store
        .found(name("acme"), name("ann@acme.example"), &By::operator())
        .unwrap()
        .value;
    let org = &made.org;
    let partition = org.id.partition().index();
    let second = store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap()
        .value
        .key;
    store
        .create_key(api_key(org.id, "third"), &By::operator())
        .unwrap();
    let gone = store
        .create_key(api_key(org.id, "gone"), &By::operator())
        .unwrap()
        .value
        .key;
    store.revoke_key(gone.id, &By::operator()).unwrap();
    store
        .create_service_account(
            org.id,
            name("deploys"),
            None,
            keygate::keys::Role::Standard,
            &By::operator(),
        )
        .unwrap();
    let mut client = home.client();
    let keys = home.key(partition, &format!("names:keys:{}", org.id));
    let mut indexes = vec![
        keys.clone(),
        home.key(partition, "names:orgs"),
        home.key(partition, &format!("names:users:{}", org.id)),
        home.key(partition, &format!("names:apps:{}", made.user.id)),
        home.key(partition, &format!("of:{}", org.id)),
        home.key(partition, "users:ann@acme.example"),
        home.key(partition, "users:deploys"),
    ];
    let claims = (0..PARTITIONS).map(|partition| home.key(partition, "claims"));
    let claims: Vec<String> = claims.filter(|key| client.exists(key).unwrap()).collect();
    indexes.extend(claims);
    for index in &indexes {
        let deleted: i64 = client.del(index).unwrap();
        assert_eq!(deleted, 1, "{index}");
        assert_ne!(store.verify().unwrap().problems, [""; 0], "{index}");
        store.finish_writing_back().unwrap();
        assert_eq!(store.verify().unwrap().problems, [""; 0], "{index}");
        sound_records(&store);
    }
    // A name that leads elsewhere, one that leads to nothing, and one that nobody holds any more.
    let second = second.id.bytes();
    let _: i64 = client.hset(&keys, "third", &second[..]).unwrap();
    let _: i64 = client.hset(&keys, "second", "x".repeat(100)).unwrap();
    let _: i64 = client.hset(&keys, "gone", &gone.id.bytes()[..]).unwrap();
    let _: i64 = client.hset(&keys, "default", &[7_u8; 16][..]).unwrap();
    store.finish_writing_back().unwrap();
    assert_eq!(store.verify().unwrap().problems, [""; 0]);
    store
        .create_key(api_key(org.id, "gone"), &By::operator())
        .unwrap();
    // What is right is left alone, and something else under an index's name stops nothing.
    let _: i64 = client.del(&keys).unwrap();
    let _: () = client.set(&keys, "a string").unwrap();
    store.finish_writing_back().unwrap();
    let _: i64 = client.del(&keys).unwrap();
    store.finish_writing_back().unwrap();
    sound_records(&store);
}
