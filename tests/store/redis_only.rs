//! What only the store in Redis promises: two of them at once, and a Redis that holds something else. What happens when
//! the way to it fails is in `redis_lost`.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use keygate::keys::audit::By;
use keygate::keys::rules::{Limits, Refusal};
use keygate::keys::secret::RootKey;
use keygate::keys::{KeyKind, OrgId, PARTITIONS, Partition, Record, Revision};
use keygate::store::StoreError;
use keygate::store::redis::feed::{Entry, Feed, Tail};
use keygate::store::redis::probe::{Prober, Report};
use keygate::store::redis::{Purpose, RedisStore};
use keygate::store::seal::{bucket_of, open, term};
use redis::Commands as _;

use super::homes::{InRedis, RedisServer, SHARED, config, root_key};
use super::{api_key, application_key, client_token, disabled, import, name, refusal, user};

fn connect(home: &InRedis, root_key: &RootKey, purpose: Purpose) -> Result<RedisStore, StoreError> {
    RedisStore::connect(&home.config, root_key, Limits::default(), purpose)
}

/// Everything that Redis holds under the prefix. `DUMP` would not do: Redis moves the fields of a hash about.
fn dump(home: &InRedis) -> BTreeMap<Vec<u8>, Vec<redis::Value>> {
    let mut client = home.client();
    let keys: Vec<Vec<u8>> = client.keys(format!("{{{}:*", home.config.prefix)).unwrap();
    let mut contents = |key: &[u8]| {
        let of: String = redis::cmd("TYPE").arg(key).query(&mut client).unwrap();
        let bytes = redis::Value::BulkString;
        match of.as_str() {
            "hash" => {
                let held: BTreeMap<Vec<u8>, Vec<u8>> = client.hgetall(key).unwrap();
                held.into_iter()
                    .flat_map(|(field, value)| [bytes(field), bytes(value)])
                    .collect()
            }
            "stream" => client
                .xrange_all::<_, redis::Value>(key)
                .map(|all| vec![all])
                .unwrap(),
            "string" => vec![client.get(key).unwrap()],
            "list" => client.lrange(key, 0, -1).unwrap(),
            other => panic!("a {other}"),
        }
    };
    keys.into_iter()
        .map(|key| (key.clone(), contents(&key)))
        .collect()
}

/// Everything that the feed reads again, and that it is what tails, digests and indexes say.
pub fn sound_records(store: &RedisStore) -> Vec<Record> {
    let mut records = Vec::new();
    for plan in store.plans().unwrap() {
        let mut feed = Feed::open(store, &plan).unwrap();
        for partition in plan.partitions {
            let digests = feed.digests(partition).unwrap();
            let mut count = 0;
            for (bucket, expected) in digests.iter().enumerate() {
                let mut digest = 0;
                feed.bucket(partition, bucket, &mut |stored| {
                    let record = open(&store.sealer(), &stored.sealed).unwrap();
                    assert_eq!(
                        (record.kind().byte(), record.id_bytes()),
                        (stored.kind, stored.id)
                    );
                    assert_eq!(record.partition(), Some(partition));
                    assert_eq!(bucket_of(stored.id), bucket);
                    digest ^= term(record.kind(), stored.id, record.revision());
                    count += 1;
                    records.push(record);
                })
                .unwrap();
                assert_eq!(digest, *expected, "bucket {bucket} of {partition}");
            }
            let tail = feed.tail(partition).unwrap();
            assert_eq!(tail.count, count);
            assert_eq!(tail.digest, digests.iter().fold(0, |all, one| all ^ one));
            assert_eq!(tail.identity, Some(store.identity()));
            assert!(!tail.restoring);
        }
    }
    let verified = store.verify().unwrap();
    assert_eq!(verified.problems, [""; 0]);
    assert_eq!(verified.records, records.len() as u64);
    for record in &records {
        if let Record::Key(key) = record {
            let found = store.key_of_fingerprint(&key.fingerprint).unwrap();
            assert_eq!(found.as_ref(), Some(key));
            assert!(store.keys_of(key.org).unwrap().contains(key));
        }
    }
    records
}

/// What each of several threads comes to that begin at the same moment.
fn race<T: Send + 'static>(racers: Vec<impl FnOnce() -> T + Send + 'static>) -> Vec<T> {
    let start = Arc::new(Barrier::new(racers.len()));
    let threads: Vec<_> = racers
        .into_iter()
        .map(|racer| {
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                start.wait();
                racer()
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect()
}

#[test]
fn two_stores_at_once_keep_names_and_limits() {
    let home = InRedis::new();
    let stores: Vec<_> = (0..2).map(|_| Arc::new(home.connect())).collect();
    for round in 0..10 {
        let org = format!("org {round}");
        let create = |store: &Arc<RedisStore>| {
            let (store, org) = (Arc::clone(store), name(&org));
            move || store.create_org(org, &By::operator())
        };
        let racers = (0..6).map(|racer| create(&stores[racer % 2])).collect();
        let outcomes = race(racers);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        let (org, _) = outcomes
            .into_iter()
            .filter_map(|outcome| match outcome {
                Ok(made) => Some(made.value),
                refused => {
                    assert!(matches!(refusal(refused), Refusal::NameTaken { .. }));
                    None
                }
            })
            .next()
            .unwrap();
        let create = |racer: usize| {
            let store = Arc::clone(&stores[racer % 2]);
            move || store.create_key(api_key(org.id, &format!("key {racer}")), &By::operator())
        };
        let outcomes = race((0..8).map(create).collect());
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert!(matches!(refusal(outcome), Refusal::TooMany { .. }));
        }
        assert_eq!(stores[0].keys_of(org.id).unwrap().len(), 5);
        let ids = stores[0].keys_of(org.id).unwrap();
        let revoke = |racer: usize| {
            let (store, id) = (Arc::clone(&stores[racer % 2]), ids[racer].id);
            move || store.revoke_key(id, &By::operator())
        };
        let outcomes = race((0..5).map(revoke).collect());
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 4);
    }
    sound_records(&stores[1]);
}

#[test]
fn of_racing_imports_of_one_secret_exactly_one_wins_wherever_its_org_is() {
    let home = InRedis::new();
    let stores: Vec<_> = (0..2).map(|_| Arc::new(home.connect())).collect();
    let orgs: Vec<OrgId> = (0..8)
        .map(|number| {
            let name = name(&format!("org {number}"));
            stores[0]
                .create_org(name, &By::operator())
                .unwrap()
                .value
                .0
                .id
        })
        .collect();
    let partitions: std::collections::BTreeSet<_> = orgs.iter().map(OrgId::partition).collect();
    assert!(partitions.len() > 2);
    for round in 0..20 {
        let secret = format!("0123456789abcdef-{round}");
        let create = |racer: usize| {
            let store = Arc::clone(&stores[racer % 2]);
            let key = import(
                &secret,
                client_token(orgs[racer], &format!("round {round}")),
            );
            move || store.create_key(key, &By::operator())
        };
        let outcomes = race((0..8).map(create).collect());
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert_eq!(refusal(outcome), Refusal::SecretKnown);
        }
    }
    let records = sound_records(&stores[0]);
    assert_eq!(records.len(), 8 + 8 + 20);
}

#[test]
fn a_refused_import_gives_its_secret_back() {
    let home = InRedis::new();
    let store = home.connect();
    let (full, _) = store
        .create_org(name("full"), &By::operator())
        .unwrap()
        .value;
    for number in 2..=5 {
        store
            .create_key(api_key(full.id, &format!("key {number}")), &By::operator())
            .unwrap();
    }
    let (other, _) = store
        .create_org(name("other"), &By::operator())
        .unwrap()
        .value;
    let secret = "agents-old-secret-1234";
    let refused = store.create_key(import(secret, api_key(full.id, "moved")), &By::operator());
    assert!(matches!(refusal(refused), Refusal::TooMany { .. }));
    store
        .create_key(import(secret, api_key(other.id, "moved")), &By::operator())
        .unwrap();
    sound_records(&store);
}

#[test]
fn a_claim_that_was_left_behind_is_waited_for_and_taken_over_after_a_minute() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, first) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let secret = "agents-old-secret-1234";
    let fingerprint = store.fingerprinter().fingerprint(secret.as_bytes());
    let claims = home.key(usize::from(fingerprint.bytes()[0]) % PARTITIONS, "claims");
    let mut client = home.client();
    let claim = |client: &mut redis::Connection, age_ms: u64| {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(client).unwrap();
        let made = seconds * 1_000 + micros / 1_000 - age_ms;
        let mut claim = vec![7; 15];
        // An id of the partition of somebody.
        claim.push(first.key.id.bytes()[15]);
        claim.extend(made.to_be_bytes());
        let _: () = client
            .hset(&claims, &fingerprint.bytes()[..], claim)
            .unwrap();
    };
    claim(&mut client, 1_000);
    let early = store.create_key(import(secret, api_key(org.id, "moved")), &By::operator());
    let said = early.unwrap_err().to_string();
    assert!(
        said.contains("somebody else is making a key with this secret"),
        "{said}"
    );
    claim(&mut client, 61_000);
    store
        .create_key(import(secret, api_key(org.id, "moved")), &By::operator())
        .unwrap();
    sound_records(&store);
}

#[test]
fn an_empty_redis_is_made_a_store_only_when_that_is_the_purpose() {
    let home = InRedis::new();
    let error = connect(&home, &root_key(), Purpose::Serve).unwrap_err();
    assert!(matches!(error, StoreError::Empty { .. }), "{error:?}");
    let said = error.to_string();
    let server = format!(
        "the Redis store at redis://127.0.0.1:{} is empty",
        SHARED.port
    );
    assert!(said.starts_with(&server), "{said}");
    assert!(said.contains("keygate init") && said.contains("keygate store restore"));
    assert!(dump(&home).is_empty());
    let made = connect(&home, &root_key(), Purpose::Make).unwrap();
    let served = connect(&home, &root_key(), Purpose::Serve).unwrap();
    assert_eq!(made.identity(), served.identity());
}

#[test]
fn those_who_make_a_store_at_once_make_one_and_a_half_made_one_is_completed() {
    let home = InRedis::new();
    let make = |_| {
        let config = home.config.clone();
        move || {
            let limits = Limits::default();
            RedisStore::connect(&config, &root_key(), limits, Purpose::Make)
                .unwrap()
                .identity()
        }
    };
    let identities = race((0..6).map(make).collect());
    assert!(identities.iter().all(|identity| *identity == identities[0]));

    let mut client = home.client();
    for partition in 4..PARTITIONS {
        let _: () = client.del(home.key(partition, "meta")).unwrap();
    }
    let store = home.connect();
    assert_eq!(store.identity(), identities[0]);
    for number in 0..40 {
        let name = name(&format!("org {number}"));
        store.create_org(name, &By::operator()).unwrap();
    }
    assert_eq!(sound_records(&store).len(), 80);
}

#[test]
fn what_is_not_ours_is_refused_and_left_as_it_is() {
    let other_root_key = RootKey::from_hex(&"5b".repeat(32)).unwrap();
    type Spoil = fn(&InRedis, &mut redis::Connection);
    let cases: [(Spoil, &str); 8] = [
        (|_, _| {}, "was made with another root key"),
        (
            |home, client| client.hset(home.key(0, "meta"), "layout", 7).unwrap(),
            "has layout 7 and this version reads layout",
        ),
        (
            |home, client| client.hdel(home.key(0, "meta"), "layout").unwrap(),
            "it says nothing of its layout",
        ),
        (
            |home, client| client.hset(home.key(0, "meta"), "identity", "me").unwrap(),
            "it does not say what it is called",
        ),
        (
            |home, client| {
                let key = home.key(0, "meta");
                let _: () = client.del(&key).unwrap();
                client.set(&key, "somebody's notes").unwrap()
            },
            "is no hash",
        ),
        (
            |home, client| {
                let key = home.key(0, "meta");
                let _: () = client.del(&key).unwrap();
                client.hset(&key, "somebody's", "notes").unwrap()
            },
            "it says nothing of its layout",
        ),
        (
            |home, client| {
                let field = |key: &String| key.starts_with("ring:");
                let fields: Vec<String> = client.hkeys(home.key(0, "meta")).unwrap();
                let field = fields.iter().find(|key| field(key)).unwrap();
                client.hset(home.key(0, "meta"), field, "spoilt").unwrap()
            },
            "was made with another root key",
        ),
        (
            |home, client| client.del(home.key(0, "meta")).unwrap(),
            "is there without",
        ),
    ];
    for (number, (spoil, sentence)) in cases.into_iter().enumerate() {
        let home = InRedis::new();
        // An org of partition 0, so that something is left there.
        let store = home.connect();
        let org = (0..)
            .map(|number| format!("org {number}"))
            .find(|name| keygate::keys::Slot::of_org_name(name).partition().index() == 0)
            .unwrap();
        store.create_org(name(&org), &By::operator()).unwrap();
        spoil(&home, &mut home.client());
        let before = dump(&home);
        let with = if number == 0 {
            &other_root_key
        } else {
            &root_key()
        };
        let error = connect(&home, with, Purpose::Make).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(sentence), "{number}: {said}");
        assert!(said.contains(&SHARED.port.to_string()), "{said}");
        assert!(connect(&home, with, Purpose::Serve).is_err());
        assert!(dump(&home) == before, "{number}: something was changed");
    }
}

#[test]
fn a_store_that_became_another_one_takes_no_change() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let mut client = home.client();
    let keys: Vec<String> = client.keys(format!("{{{}:*", home.config.prefix)).unwrap();
    let _: () = client.del(keys).unwrap();
    let error = store
        .set_org_disabled(org.id, true, &By::operator())
        .unwrap_err();
    assert!(
        error.to_string().contains("keygate store restore"),
        "{error}"
    );
    let other = home.connect();
    assert_ne!(other.identity(), store.identity());
    let before = dump(&home);
    let error = store.create_org(name("acme"), &By::operator()).unwrap_err();
    assert!(
        matches!(error, StoreError::OtherIdentity { .. }),
        "{error:?}"
    );
    assert!(dump(&home) == before);
}

#[test]
fn something_else_under_our_names_is_said_and_nothing_is_half_written() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, first) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let partition = org.id.partition().index();
    let second = store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap()
        .value;
    let create = || {
        store
            .create_key(api_key(org.id, "third"), &By::operator())
            .map(drop)
    };
    let revoke = || store.revoke_key(second.key.id, &By::operator()).map(drop);
    type Change<'a> = &'a dyn Fn() -> Result<(), StoreError>;
    let cases: [(String, Change<'_>); 6] = [
        (format!("r:{}", bucket_of(second.key.id.bytes())), &revoke),
        ("digest".to_owned(), &revoke),
        ("digest".to_owned(), &create),
        ("changes".to_owned(), &create),
        (format!("names:keys:{}", org.id), &create),
        (format!("of:{}", org.id), &create),
    ];
    for (key, change) in cases {
        let key = home.key(partition, &key);
        let mut client = home.client();
        let _: () = client.rename(&key, "aside").unwrap();
        let _: () = client.set(&key, "somebody's notes").unwrap();
        let before = dump(&home);
        let error = change().unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { .. }),
            "{key}: {error:?}"
        );
        // What was claimed was given back, too.
        assert!(dump(&home) == before, "{key}");
        let _: () = client.del(&key).unwrap();
        let _: () = client.rename("aside", &key).unwrap();
        let (key, store) = (key.as_str(), &store);
        assert!(store.org_named("acme").unwrap().is_some(), "{key}");
    }
    create().unwrap();
    revoke().unwrap();
    store.revoke_key(first.key.id, &By::operator()).unwrap();
    sound_records(&store);
}

#[test]
fn a_record_that_is_not_ours_is_never_taken_for_one() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, first) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let (other, _) = store
        .create_org(name("other"), &By::operator())
        .unwrap()
        .value;
    let place = |id: [u8; 16], kind: u8| {
        let partition = usize::from(id[15]) % PARTITIONS;
        let key = home.key(partition, &format!("r:{}", bucket_of(id)));
        (key, [&[kind][..], &id].concat())
    };
    let mut client = home.client();
    let (key, field) = place(first.key.id.bytes(), b'k');
    let sealed: Vec<u8> = client.hget(&key, &field).unwrap();
    let (other_key, other_field) = place(other.id.bytes(), b'o');
    let moved: Vec<u8> = client.hget(&other_key, &other_field).unwrap();
    let mut flipped = sealed.clone();
    flipped[9] ^= 1;
    for (spoilt, sentence) in [
        (flipped, "its code is not of this store"),
        (moved, "it is the record of something else"),
        (vec![0; 3 << 20], "it has 3145728 bytes"),
        (Vec::new(), "it is malformed"),
    ] {
        let _: () = client.hset(&key, &field, spoilt).unwrap();
        let error = store.revoke_key(first.key.id, &By::operator()).unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
        assert!(error.to_string().contains(&first.key.id.to_string()));
        // The others are as they were.
        assert_eq!(store.org(org.id).unwrap().as_ref(), Some(&org));
    }
    let _: () = client.hset(&key, &field, sealed).unwrap();
    store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap();
    store.revoke_key(first.key.id, &By::operator()).unwrap();
    sound_records(&store);
}

#[test]
fn neither_secrets_nor_the_root_key_are_in_redis() {
    let server = RedisServer::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let home = InRedis {
        config: config(server.port, "keygate"),
    };
    let store = home.connect();
    let made = store
        .found(name("acme"), name("ann@acme.example"), &By::operator())
        .unwrap()
        .value;
    let secret = "imported-secret-of-elsewhere";
    let moved = store
        .create_key(
            import(secret, api_key(made.org.id, "moved")),
            &By::operator(),
        )
        .unwrap()
        .value;
    let mut bytes = Vec::new();
    let mut folders = vec![server.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                bytes.extend(std::fs::read(path).unwrap());
            }
        }
    }
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    for secret in [&made.api_key, &made.application_key, &moved] {
        assert!(!holds(secret.secret.expose().as_bytes()));
        assert!(!holds(&secret.secret.expose().as_bytes()[..12]));
    }
    assert!(!holds(&[0x5a; 16]) && !holds("5a".repeat(16).as_bytes()));
    // The search does find what is there.
    assert!(holds(b"ann@acme.example") && holds(store.wrapped_keyring()));
}

#[test]
fn every_change_comes_once_in_order_and_says_which_it_follows() {
    let home = InRedis::new();
    let store = home.connect();
    let plan = store.plans().unwrap().pop().unwrap();
    let mut feed = Feed::open(&store, &plan).unwrap();
    let mut positions = [Revision(0); PARTITIONS];
    let made = store
        .found(name("acme"), name("ann@acme.example"), &By::operator())
        .unwrap()
        .value;
    let partition = made.org.id.partition();
    // An org keeps an admin.
    store
        .create_user(super::admin(&made.org), &By::operator())
        .unwrap();
    store
        .update_user(made.user.id, disabled(true), &By::operator())
        .unwrap();
    store.create_org(name("other"), &By::operator()).unwrap();
    // Refused and empty changes have no revision.
    store
        .update_user(made.user.id, disabled(true), &By::operator())
        .unwrap();
    refusal(store.create_key(application_key(made.user.id, "late"), &By::operator()));

    let entries = feed.read(&positions, Duration::ZERO).unwrap();
    assert_eq!(entries.len(), 8);
    for Entry {
        partition,
        revision,
        previous,
        sealed,
    } in entries
    {
        let record = open(&store.sealer(), &sealed).unwrap();
        assert_eq!(record.partition(), Some(partition));
        assert_eq!(record.revision(), revision);
        assert_eq!(previous, Some(positions[partition.index()]));
        assert!(previous < Some(revision));
        positions[partition.index()] = revision;
    }
    let tail = feed.tail(partition).unwrap();
    assert_eq!(tail.last, positions[partition.index()]);
    assert_eq!(tail.count, 5);

    // One who waits is told at once, and one who waits in vain is told so.
    let before = Instant::now();
    assert!(
        feed.read(&positions, Duration::from_millis(50))
            .unwrap()
            .is_empty()
    );
    assert!(before.elapsed() >= Duration::from_millis(50));
    let waiting = std::thread::spawn(move || {
        let entries = feed.read(&positions, Duration::from_secs(20)).unwrap();
        (entries, Instant::now())
    });
    let revoked = store
        .create_key(api_key(made.org.id, "second"), &By::operator())
        .unwrap()
        .value;
    let after = Instant::now();
    let (entries, told) = waiting.join().unwrap();
    assert_eq!(entries[0].revision, revoked.key.revision);
    assert!(told.saturating_duration_since(after) < Duration::from_secs(1));
}

#[test]
fn an_entry_that_is_none_is_read_once_and_is_no_error() {
    let home = InRedis::new();
    let store = home.connect();
    let plan = store.plans().unwrap().pop().unwrap();
    let mut feed = Feed::open(&store, &plan).unwrap();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let partition = org.id.partition();
    let mut positions = [Revision(0); PARTITIONS];
    let entries = feed.read(&positions, Duration::ZERO).unwrap();
    positions[partition.index()] = entries[1].revision;
    let mut client = home.client();
    let stream = home.key(partition.index(), "changes");
    let id = format!("{}-5", entries[1].revision.0);
    let _: String = client.xadd(&stream, &id, &[("x", "y")]).unwrap();
    let entries = feed.read(&positions, Duration::ZERO).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].previous, entries[0].sealed.len()), (None, 0));
    assert!(feed.read(&positions, Duration::ZERO).unwrap().is_empty());
    // Writers go on above it.
    let id = format!("{}-0", entries[0].revision.0 + 600_000_000);
    let _: String = client.xadd(&stream, &id, &[("x", "y")]).unwrap();
    let key = store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap()
        .value
        .key;
    assert!(key.revision.0 > entries[0].revision.0 + 600_000_000);
    sound_records(&store);
}

#[test]
fn revisions_grow_also_after_the_store_has_lost_some() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, first) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let seen = Revision(first.key.revision.0 + 3_600_000_000);
    store.note_seen(org.id.partition(), seen);
    let second = store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap()
        .value
        .key;
    assert!(second.revision > seen && second.issued == second.revision);
    let other = home.connect();
    let third = other
        .create_key(api_key(org.id, "third"), &By::operator())
        .unwrap()
        .value
        .key;
    assert!(third.revision > second.revision);
}

pub fn report(node: u8) -> Report {
    Report {
        node_id: uuid::Uuid::from_bytes([node; 16]),
        node_name: format!("gateway-{node}"),
        version: "1.2.3".to_owned(),
        address: "127.0.0.1:8080".to_owned(),
        positions: [Revision(u64::from(node)); PARTITIONS],
        age_ms: 12,
        lease_ms: 5_000,
        keys: 7,
        stopped: false,
    }
}

#[test]
fn a_probe_says_how_far_every_partition_is_and_leaves_a_report() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, first) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let plan = store.plans().unwrap().pop().unwrap();
    let mut prober = Prober::open(&store, &plan).unwrap();
    let probe = prober.report(&report(1)).unwrap();
    prober.report(&report(2)).unwrap();
    let mut feed = Feed::open(&store, &plan).unwrap();
    let tails: Vec<(Partition, Tail)> = Partition::all()
        .map(|partition| (partition, feed.tail(partition).unwrap()))
        .collect();
    assert_eq!(probe.tails, tails);
    let (_, tail) = &probe.tails[org.id.partition().index()];
    assert_eq!((tail.last, tail.count), (first.key.revision, 2));

    let nodes = store.nodes().unwrap();
    assert_eq!(nodes.len(), 2);
    assert_eq!(nodes[0].report, report(1));
    assert_eq!(nodes[0].reported_at, probe.now);
    assert_eq!(store.nodes_of(org.id.partition()).unwrap().len(), 2);

    // A partition that is gone or spoilt is told as such, beside the others.
    let mut client = home.client();
    let _: () = client.del(home.key(3, "meta")).unwrap();
    let _: () = client.del(home.key(4, "meta")).unwrap();
    let _: () = client.set(home.key(4, "meta"), "somebody's notes").unwrap();
    let _: () = client.hset(home.key(0, "nodes"), "junk", "{").unwrap();
    let probe = prober.report(&report(1)).unwrap();
    assert_eq!(probe.tails[3].1, Tail::default());
    assert_eq!(probe.tails[4].1, Tail::default());
    assert_eq!(probe.tails[5], tails[5]);
    assert_eq!(store.nodes().unwrap().len(), 2);
    // What nobody understands, and who has long been gone, is struck from the list by one of the next who join.
    let old = serde_json::to_string(&store.nodes().unwrap()[1]).unwrap();
    let old = old.replace(&nodes[1].reported_at.0.to_string(), "1000");
    let _: () = client.hset(home.key(0, "nodes"), "old", old).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        Prober::open(&store, &plan).unwrap();
        let left: Vec<String> = client.hkeys(home.key(0, "nodes")).unwrap();
        if left.len() == 2 {
            break;
        }
        assert!(Instant::now() < until, "{left:?}");
    }
}

#[test]
fn uses_are_added_up() {
    use keygate::keys::Timestamp;
    use keygate::keys::usage::Use;
    let home = InRedis::new();
    let store = home.connect();
    let (_, first) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let (_, other) = store
        .create_org(name("other"), &By::operator())
        .unwrap()
        .value;
    let used = |last_used, count| Use::times(Timestamp(last_used), count);
    let now = 1_790_000_000_123;
    store.flush_usage(&[(first.key.id, used(now, 3))]).unwrap();
    store
        .flush_usage(&[(first.key.id, used(now - 5, 4)), (other.key.id, used(7, 1))])
        .unwrap();
    let unused = keygate::keys::KeyId(uuid::Uuid::from_bytes([1; 16]));
    assert_eq!(
        store
            .usage_of(&[other.key.id, unused, first.key.id])
            .unwrap(),
        [Some(used(7, 1)), None, Some(used(now, 7))],
        "both of one hour"
    );
}

#[test]
fn a_root_key_is_changed_without_changing_anything_else() {
    let home = InRedis::new();
    let store = home.connect();
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let new = RootKey::from_hex(&"5b".repeat(32)).unwrap();
    assert!(connect(&home, &new, Purpose::Serve).is_err());
    store.add_root_key(&new).unwrap();
    let renewed = connect(&home, &new, Purpose::Serve).unwrap();
    assert_eq!(renewed.org(org.id).unwrap(), Some(org.clone()));
    assert_eq!(renewed.root_keys().unwrap().len(), 2);
    let check = |key: &RootKey| format!("{:016x}", u64::from_be_bytes(key.check_value()));
    assert!(renewed.retire_root_key(&check(&new)).is_err());
    assert!(renewed.retire_root_key(&check(&root_key())).unwrap());
    assert!(!renewed.retire_root_key(&check(&root_key())).unwrap());
    assert!(connect(&home, &root_key(), Purpose::Make).is_err());
    let renewed = connect(&home, &new, Purpose::Make).unwrap();
    renewed
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap();
    sound_records(&renewed);
}

#[test]
fn records_are_put_back_and_what_was_revoked_stays_so() {
    use keygate::keys::keyring::Keyring;
    let home = InRedis::new();
    let store = home.connect();
    let made = store
        .found(name("acme"), name("ann@acme.example"), &By::operator())
        .unwrap()
        .value;
    let second = store
        .create_key(api_key(made.org.id, "second"), &By::operator())
        .unwrap()
        .value;
    let bob = user(&store, &made.org, "bob");
    let bobs = store
        .create_key(application_key(bob.id, "laptop"), &By::operator())
        .unwrap()
        .value;
    let mut before = sound_records(&store);
    store.revoke_key(second.key.id, &By::operator()).unwrap();
    store
        .update_user(bob.id, disabled(true), &By::operator())
        .unwrap();
    let mut after = sound_records(&store);
    let (identity, wrapped) = (store.identity(), store.wrapped_keyring().to_vec());
    let order = |records: &mut Vec<Record>| {
        records.sort_by_key(|record| (record.kind() as u8, record.id_bytes()));
    };
    order(&mut before);
    order(&mut after);

    // Everything is lost, and put back from a node that has it.
    let mut client = home.client();
    let keys: Vec<String> = client.keys(format!("{{{}:*", home.config.prefix)).unwrap();
    let _: () = client.del(keys).unwrap();
    let keyring = || Keyring::unwrap(&root_key(), &wrapped).unwrap();
    let spare = RootKey::generate().unwrap();
    let ring = format!("ring:{:016x}", u64::from_be_bytes(spare.check_value()));
    let rings = std::collections::BTreeMap::from([(ring, keyring().wrap(&spare).unwrap())]);
    let bring = || Purpose::Bring {
        identity,
        keyring: keyring(),
        rings: rings.clone(),
    };
    let store = connect(&home, &root_key(), bring()).unwrap();
    assert_eq!(
        store.write_back(&after).unwrap().written,
        after.len() as u64
    );
    store.finish_writing_back().unwrap();
    let mut found = sound_records(&store);
    order(&mut found);
    assert!(found == after);
    assert!(matches!(
        refusal(store.create_key(api_key(made.org.id, "default"), &By::operator())),
        Refusal::NameTaken { .. }
    ));
    store
        .create_key(api_key(made.org.id, "second"), &By::operator())
        .unwrap();

    // Also with the other root key that opened it.
    let other = connect(&home, &spare, Purpose::Serve).unwrap();
    assert_eq!(other.identity(), identity);
    assert_eq!(store.rings().unwrap().len(), 2);

    // An older copy comes back first, somebody goes on with it, and then the newer one is brought.
    let keys: Vec<String> = client.keys(format!("{{{}:*", home.config.prefix)).unwrap();
    let _: () = client.del(keys).unwrap();
    let store = connect(&home, &root_key(), bring()).unwrap();
    store.write_back(&before).unwrap();
    store.finish_writing_back().unwrap();
    assert!(store.key(second.key.id).unwrap().unwrap().revoked.is_none());
    store
        .update_user(bob.id, disabled(true), &By::operator())
        .unwrap();
    store
        .update_user(bob.id, disabled(false), &By::operator())
        .unwrap();
    store
        .set_org_disabled(made.org.id, true, &By::operator())
        .unwrap();
    let newer = store.create_service_account(
        made.org.id,
        name("deploys"),
        None,
        keygate::keys::Role::Standard,
        &By::operator(),
    );
    assert_eq!(refusal(newer), Refusal::OrgDisabled);
    let put = store.write_back(&after).unwrap();
    assert_eq!((put.written, put.joined), (1, 0));
    store.finish_writing_back().unwrap();
    let kept = sound_records(&store);
    assert_eq!(kept.len(), after.len());
    assert!(store.org(made.org.id).unwrap().unwrap().disabled);
    assert!(store.key(second.key.id).unwrap().unwrap().revoked.is_some());
    let bob = store.user(bob.id).unwrap().unwrap();
    assert!(!bob.disabled && bob.has_revoked(&bobs.key));
    store
        .set_org_disabled(made.org.id, false, &By::operator())
        .unwrap();
    store
        .create_key(api_key(made.org.id, "second"), &By::operator())
        .unwrap();
    store
        .create_key(application_key(bob.id, "laptop"), &By::operator())
        .unwrap();
    sound_records(&store);

    // Another store is not brought here.
    let other = Purpose::Bring {
        identity: uuid::Uuid::from_bytes([7; 16]),
        keyring: keyring(),
        rings: rings.clone(),
    };
    let error = connect(&home, &root_key(), other).unwrap_err();
    assert!(
        matches!(error, StoreError::OtherIdentity { .. }),
        "{error:?}"
    );
    assert_eq!(made.application_key.key.kind, KeyKind::ApplicationKey);
}

#[test]
fn whatever_is_wrong_in_the_store_is_found_and_named() {
    let home = InRedis::new();
    let store = home.connect();
    let made = store
        .found(name("acme"), name("ann@acme.example"), &By::operator())
        .unwrap()
        .value;
    let (org, partition) = (made.org.id, made.org.id.partition().index());
    let second = store
        .create_key(api_key(org, "second"), &By::operator())
        .unwrap()
        .value
        .key;
    store.revoke_key(second.id, &By::operator()).unwrap();
    sound_records(&store);
    let key = &made.api_key.key;
    let bucket = home.key(partition, &format!("r:{}", bucket_of(key.id.bytes())));
    let field = [b"k", &key.id.bytes()[..]].concat();
    let fingerprint = key.fingerprint.bytes();
    let claims = home.key(usize::from(fingerprint[0]) % PARTITIONS, "claims");
    let lost = format!("{bucket} is not what its digest says");
    let cases: [(String, Vec<u8>, Option<&str>, String); 9] = [
        (bucket.clone(), field.clone(), None, lost.clone()),
        (
            bucket.clone(),
            field,
            Some("junk"),
            "it is malformed".into(),
        ),
        (
            bucket.clone(),
            b"junk".to_vec(),
            Some("x"),
            "has a field that is no record's".into(),
        ),
        (
            claims,
            fingerprint.to_vec(),
            None,
            format!("the key {} by its fingerprint", key.id),
        ),
        (
            home.key(partition, &format!("names:keys:{org}")),
            b"default".to_vec(),
            Some("x"),
            format!("key {}", key.id),
        ),
        (
            home.key(partition, "names:orgs"),
            b"acme".to_vec(),
            None,
            format!("the org {org}"),
        ),
        (
            home.key(partition, "users:ann@acme.example"),
            made.user.id.bytes().to_vec(),
            None,
            format!("the user {}", made.user.id),
        ),
        (
            home.key(partition, "meta"),
            b"count".to_vec(),
            Some("77"),
            "says 77".into(),
        ),
        (
            home.key(partition, "meta"),
            b"restoring".to_vec(),
            Some("1"),
            "half restored".into(),
        ),
    ];
    for (hash, field, value, sentence) in cases {
        let mut client = home.client();
        let before: Option<Vec<u8>> = client.hget(&hash, &field).unwrap();
        let _: () = match value {
            Some(value) => client.hset(&hash, &field, value).unwrap(),
            None => client.hdel(&hash, &field).unwrap(),
        };
        let problems = store.verify().unwrap().problems;
        assert!(
            problems.iter().any(|problem| problem.contains(&sentence)),
            "{sentence}: {problems:?}"
        );
        let _: () = match before {
            Some(before) => client.hset(&hash, &field, before).unwrap(),
            None => client.hdel(&hash, &field).unwrap(),
        };
    }
    sound_records(&store);
    let mut client = home.client();
    let _: () = client.rename(&bucket, "{aside}").unwrap();
    let _: () = client.set(&bucket, "somebody's notes").unwrap();
    let problems = store.verify().unwrap().problems;
    assert!(
        problems.iter().any(|problem| problem.contains(&bucket)),
        "{problems:?}"
    );
}

#[test]
fn a_store_in_use_is_not_called_broken() {
    let home = InRedis::new();
    let store = Arc::new(home.connect());
    let (org, _) = store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value;
    let writer = {
        let (store, org) = (Arc::clone(&store), org.id);
        std::thread::spawn(move || {
            for number in 0..300 {
                let name = format!("token {number}");
                let made = store
                    .create_key(client_token(org, &name), &By::operator())
                    .unwrap()
                    .value;
                store.revoke_key(made.key.id, &By::operator()).unwrap();
            }
        })
    };
    while !writer.is_finished() {
        assert_eq!(store.verify().unwrap().problems, [""; 0]);
    }
    writer.join().unwrap();
    sound_records(&store);
}

#[test]
fn an_operator_is_told_what_is_unsafe_about_a_server() {
    use keygate::store::redis::inspect::inspect;
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let mut config = config(server.port, "keygate");
    let said = inspect(&config).unwrap().join("\n");
    for sentence in [
        "drops keys when its memory is full (maxmemory-policy allkeys-lru)",
        "does not log its changes to disk (appendonly no)",
        "lets everybody in who can reach it",
    ] {
        assert!(said.contains(sentence), "{said}");
    }
    assert!(!said.contains("TLS") && !said.contains("cluster"), "{said}");
    let safe = RedisServer::start(&[
        "--appendonly",
        "yes",
        "--user",
        "keygate",
        "on",
        ">x",
        "~*",
        "+@all",
    ]);
    config.servers = vec![super::homes::url(safe.port)];
    config.username = Some("keygate".to_owned());
    config.password = Some(keygate::config::SecretValue::new("x"));
    assert_eq!(inspect(&config).unwrap(), [""; 0]);
}

#[test]
fn a_commit_that_may_not_be_made_says_why_and_writes_nothing() {
    let home = InRedis::new();
    let store = home.connect();
    let mut client = home.client();
    let script = redis::Script::new(include_str!("../../src/store/redis/commit.lua"));
    let identity = store.identity().to_string();
    let mut commit = |identity: &str, last: &str, deadline: &str, revision: &str| {
        let mut call = script.prepare_invoke();
        for rest in ["meta", "digest", "changes", "audit", "papers", "r:0"] {
            call.key(home.key(5, rest));
        }
        call.arg(identity).arg(last).arg(last).arg(0).arg(0);
        call.arg(1_000).arg(deadline);
        call.arg(1).arg(revision).arg(format!("sealed {revision}"));
        call.arg(1).arg(6).arg("field").arg("").arg("sealed");
        call.arg(7).arg(&b"12345678"[..]);
        // Neither papers nor entries of the log.
        call.arg(0).arg(0).arg(0);
        let before = dump(&home);
        let said: Vec<String> = call.invoke(&mut client).unwrap();
        let is_first = !before.contains_key(home.key(5, "changes").as_bytes());
        assert_eq!(said[0] == "done" && is_first, dump(&home) != before);
        said[0].clone()
    };
    assert_eq!(commit("somebody", "0", "", "10"), "other_identity");
    assert_eq!(commit(&identity, "9", "", "10"), "conflict");
    assert_eq!(commit(&identity, "0", "1000", "10"), "late");
    assert_eq!(commit(&identity, "0", "99999999999999", "10"), "done");
    // Its answer was lost, and it is sent again; much later, too.
    assert_eq!(commit(&identity, "0", "1000", "10"), "done");
}
