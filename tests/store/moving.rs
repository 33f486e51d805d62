//! The audit log and the papers when a store moves between its homes, and when Redis is put back together: every entry as it
//! was, nobody's password lost on the way, and no gap that goes unsaid.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use keygate::config::{Config, SecretValue, StoreConfig};
use keygate::control::{KeyService, Request, Restore, ServiceError};
use keygate::keys::audit::{Action, By};
use keygate::keys::rules::Limits;
use keygate::keys::{KeyTable, Partition, User};
use keygate::store::migrate::Copied;
use keygate::store::papers::{AsOf, PaperId, Session, SignInBy};
use keygate::store::{EmbeddedStore, FleetStore, Store, StoreError, migrate};
use redis::Commands as _;

use super::homes::{Home, InRedis, Kept, RedisServer, root_key};
use super::log::{count, is_sound};
use super::people::now;
use super::{admin, api_key, client_token, disabled, name};

/// A configuration with this folder and this prefix.
fn config(folder: &Path, redis: &InRedis) -> Config {
    let url = "http://127.0.0.1:9".parse().unwrap();
    let mut config = Config::with_default_upstream(url, folder.to_path_buf());
    config.store.root_key = Some(SecretValue::new("5a".repeat(32)));
    config.store.redis = redis.config.clone();
    config
}

fn file(config: &StoreConfig) -> EmbeddedStore {
    EmbeddedStore::open(&config.database(), &root_key(), Limits::default()).unwrap()
}

fn session(user: &User) -> Session {
    let at = now();
    Session {
        user: user.id,
        by: SignInBy::Password,
        opened_at: at,
        seen_at: at,
        expires_at: keygate::keys::Timestamp(at.0 + 600_000),
        as_of: AsOf::of(user),
    }
}

/// Orgs in several partitions, with people who sign in and more entries than are carried at once.
fn fill(store: &dyn Kept) -> Vec<User> {
    let mut people = Vec::new();
    for number in 0..4_u8 {
        let org = name(&format!("org {number}"));
        let founded = store.found(org, name("ann@acme.example"), &By::operator());
        let founded = founded.unwrap().value;
        let bob = store
            .create_user(admin(&founded.org), &By::operator())
            .unwrap()
            .value;
        let ann = store
            .set_password(founded.user.id, "$argon2id$of ann", &By::operator())
            .unwrap();
        let opened = session(&ann.value);
        store
            .open_session([number; 32], opened, &By::operator())
            .unwrap();
        store
            .update_user(bob.id, disabled(true), &By::operator())
            .unwrap();
        let key = store.create_key(api_key(founded.org.id, "second"), &By::operator());
        store
            .revoke_key(key.unwrap().value.key.id, &By::operator())
            .unwrap();
        people.push(ann.value);
    }
    for number in 0..600_u32 {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash[31] = 1;
        let opened = session(&people[0]);
        store.open_session(hash, opened, &By::operator()).unwrap();
    }
    people
}

/// The hashes of each log, the passwords, and the sessions.
type Beside = (
    Vec<Vec<[u8; 32]>>,
    Vec<Option<String>>,
    Vec<Option<Session>>,
);

/// Everything that lies beside the records.
fn beside(store: &dyn Kept, people: &[User]) -> Beside {
    let hashes = Partition::all().map(|partition| {
        let entries = store.log_before(partition, None, usize::MAX).unwrap();
        entries
            .into_iter()
            .map(|entry| entry.linked.unwrap().hash)
            .collect()
    });
    let passwords = people.iter().map(|user| {
        store
            .password(user.id)
            .unwrap()
            .map(|password| password.hash)
    });
    let sessions = people
        .iter()
        .zip(0..)
        .map(|(user, number)| store.session(user.id.partition(), [number; 32]).unwrap());
    (hashes.collect(), passwords.collect(), sessions.collect())
}

#[test]
fn the_log_and_the_papers_go_with_a_store_to_redis_and_back() {
    let home = InRedis::new();
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [there, back] = [&folders[0], &folders[1]].map(|folder| config(folder.path(), &home));
    let store = file(&there.store);
    let people = fill(&store);
    let before = beside(&store, &people);
    let entries = count(&store);
    assert!(before.1.iter().all(Option::is_some) && before.2.iter().all(Option::is_some));
    drop(store);

    let copied = migrate::to_redis(&there.store, &there.rules).unwrap();
    assert_eq!((copied.entries, copied.faults.len()), (entries, 0));
    assert!(
        copied
            .sentence()
            .contains(&format!("the same {entries} entries"))
    );
    let redis = home.connect();
    assert_eq!(beside(&redis, &people), before);
    is_sound(&redis.verify_log(&[]).unwrap());
    // What was copied is there.
    let again = migrate::to_redis(&there.store, &there.rules).unwrap();
    assert_eq!((again.written, again.entries), (0, entries));

    // It goes on, and comes back.
    redis
        .create_key(client_token(people[1].org, "later"), &By::operator())
        .unwrap();
    redis
        .end_session(people[2].org.partition(), [2; 32], &By::operator())
        .unwrap();
    redis
        .set_password(people[3].id, "$argon2id$new", &By::operator())
        .unwrap();
    let before = beside(&redis, &people);
    let copied = migrate::to_file(&back.store, &back.rules).unwrap();
    assert_eq!(copied.entries, entries + 3);
    let store = file(&back.store);
    assert_eq!(beside(&store, &people), before);
    is_sound(&store.verify_log(&[]).unwrap());
    // The log goes on in the file.
    store
        .set_org_disabled(people[0].org, true, &By::operator())
        .unwrap();
    is_sound(
        &store
            .verify_log(&redis.verify_log(&[]).unwrap().heads)
            .unwrap(),
    );
    drop(store);
    // Which is another one then, and is left as it is.
    let refused = migrate::to_file(&back.store, &back.rules).unwrap_err();
    assert!(matches!(refused, StoreError::NotEmpty { .. }), "{refused}");
}

#[test]
fn a_log_that_was_half_copied_is_completed_and_another_one_is_not_written_over() {
    let home = InRedis::new();
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &home);
    let store = file(&config.store);
    let people = fill(&store);
    let before = beside(&store, &people);
    drop(store);
    let (store, rules) = (&config.store, &config.rules);
    migrate::to_redis(store, rules).unwrap();
    let at = people[0].org.partition();
    let log = home.log(at);
    assert!(log.len() > 600);
    // As one that was killed leaves it: not all entries, an older head, papers that are gone by now.
    let mark = |client: &mut redis::Connection| {
        let _: () = client
            .hset(home.key(at.index(), "meta"), "restoring", "1")
            .unwrap();
    };
    mark(&mut home.client());
    home.set_log(at, &log[..517]);
    home.set_paper(at, &PaperId::Head.bytes(), None);
    home.set_paper(at, &PaperId::Session([99; 32]).bytes(), Some(b"junk"));
    home.set_paper(at, &PaperId::Password(people[0].id).bytes(), Some(b"junk"));
    migrate::to_redis(store, rules).unwrap();
    assert_eq!(home.log(at), log);
    assert_eq!(home.paper(at, &PaperId::Session([99; 32]).bytes()), None);
    assert_eq!(beside(&home.connect(), &people), before);

    // One that goes on otherwise.
    for other in [
        [&log[..10], &[log[11].clone()]].concat(),
        [&log[..], &[log[11].clone()]].concat(),
    ] {
        mark(&mut home.client());
        home.set_log(at, &other);
        let refused = migrate::to_redis(store, rules).unwrap_err();
        assert!(
            matches!(refused, StoreError::CopyDiffers { .. }),
            "{refused}"
        );
        assert!(refused.to_string().contains("audit log"), "{refused}");
        assert_eq!(home.log(at), other);
    }
}

#[test]
fn what_is_put_back_into_redis_is_said_in_the_log_and_is_no_fault() {
    let home = InRedis::new();
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &home);
    let store = home.connect();
    let people = fill(&store);
    let table = KeyTable::new(Instant::now());
    let held = super::redis_only::sound_records(&store);
    for record in held {
        table.apply(record);
    }
    let fleet = FleetStore::new(&config.store, Limits::default()).unwrap();
    fleet.reach().unwrap();
    let earlier = store.verify_log(&[]).unwrap();
    is_sound(&earlier);

    // Nothing is missing: nothing begins.
    let copied = migrate::restore_from_node(&fleet, &table).unwrap();
    assert_eq!(copied.written, 0);
    assert_eq!(store.verify_log(&[]).unwrap(), earlier);

    // One partition lost some records and no entry; another lost everything.
    let (some, all) = (people[0].org.partition(), people[1].org.partition());
    assert_ne!(some, all);
    let mut client = home.client();
    let keys: Vec<String> = client.keys(home.key(some.index(), "r:*")).unwrap();
    let _: () = client.del(&keys[0]).unwrap();
    let keys: Vec<String> = client.keys(home.key(all.index(), "*")).unwrap();
    let _: () = client.del(&keys).unwrap();
    let copied = migrate::restore_from_node(&fleet, &table).unwrap();
    assert!(copied.written > 0);
    let found = store.verify_log(&[]).unwrap();
    assert_eq!(found.faults, [""; 0]);
    let begins = |partition: Partition| {
        let entry = format!("entry {partition}-");
        found
            .beginnings
            .iter()
            .filter(|it| it.starts_with(&entry))
            .count()
    };
    assert_eq!(
        (begins(some), begins(all), found.beginnings.len()),
        (1, 1, 2)
    );
    // What was verified earlier is missed where it is gone, and nowhere else.
    let found = store.verify_log(&earlier.heads).unwrap();
    assert_eq!(found.faults.len(), 1, "{found:?}");
    let gone = format!("partition {all}:");
    assert!(found.faults[0].starts_with(&gone), "{found:?}");
    // Everybody can go on.
    let key = store
        .create_key(client_token(people[1].org, "later"), &By::operator())
        .unwrap();
    let entry = super::log::entry(&store, key.audit.unwrap());
    assert_eq!(entry.action, Action::KeyCreated);
    assert_eq!(store.verify_log(&[]).unwrap().faults, [""; 0]);
}

#[test]
fn a_revocation_that_only_a_node_knows_is_joined_and_logged() {
    let home = InRedis::new();
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &home);
    let store = home.connect();
    let people = fill(&store);
    let key = store.create_key(client_token(people[0].org, "leaked"), &By::operator());
    let key = key.unwrap().value.key;
    let fleet = FleetStore::new(&config.store, Limits::default()).unwrap();
    fleet.reach().unwrap();
    let table = KeyTable::new(Instant::now());
    let held = super::redis_only::sound_records(&store);
    for record in held {
        table.apply(record);
    }
    let mut revoked = key.clone();
    revoked.revoked = Some(key.modified);
    table.apply(keygate::keys::Record::Key(revoked));
    let mut ahead = key.clone();
    ahead.revoked = Some(key.modified);
    ahead.revision = keygate::keys::Revision(key.revision.0 + 1);
    table.apply(keygate::keys::Record::Key(ahead));
    // Redis has a newer one, which does not know of it.
    let rename = keygate::store::KeyChange {
        name: Some(name("renamed")),
        ..Default::default()
    };
    store.update_key(key.id, rename, &By::operator()).unwrap();
    migrate::restore_from_node(&fleet, &table).unwrap();
    let held = store.key(key.id).unwrap().unwrap();
    assert!(held.revoked.is_some() && held.name == "renamed");
    let last = store.log_before(key.org.partition(), None, 2).unwrap();
    let entries: Vec<_> = last
        .into_iter()
        .map(|it| it.linked.unwrap().entry)
        .collect();
    let joined = entries
        .iter()
        .find(|entry| entry.action == Action::StoreRestored);
    let joined = joined.unwrap_or_else(|| panic!("{entries:?}"));
    assert_eq!(joined.object.id, key.id.0);
    assert_eq!(store.verify_log(&[]).unwrap().faults, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_done_and_cannot_be_logged_is_said_to_be_done() {
    let server = RedisServer::start(&[]);
    let home = InRedis {
        config: super::homes::config(server.port, "keygate"),
    };
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), &home);
    home.connect();
    let fleet = Arc::new(FleetStore::new(&config.store, Limits::default()).unwrap());
    fleet.reach().unwrap();
    let copied = Copied {
        from: "a node".to_owned(),
        to: "Redis".to_owned(),
        identity: uuid::Uuid::nil(),
        records: 1,
        written: 1,
        target_records: 1,
        target_newer: 0,
        digests: 0,
        entries: 0,
        papers: 0,
        faults: Vec::new(),
        more_faults: 0,
    };
    let server = Mutex::new(Some(server));
    let service = KeyService::alone(Arc::new(Store::Redis(fleet))).restoring(Restore {
        // The server goes once all is put back.
        all: Arc::new(move || {
            drop(server.lock().unwrap().take());
            Ok(copied.clone())
        }),
        org: Arc::new(|_| Ok(())),
    });
    let error = service.operate(Request::RestoreStore).await.unwrap_err();
    assert!(matches!(error, ServiceError::NotLogged(_)), "{error:?}");
    let sentence = error.to_string();
    let said = "this is done, but the audit log does not tell of it";
    assert!(sentence.starts_with(said), "{sentence}");
}
