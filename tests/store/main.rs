//! The promises of the stores, on real files and on a real Redis: their rules, under races too, what is on disk, and what
//! a kill leaves behind. The data plane's view of them is tested elsewhere.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

/// What holds in every home, in each of them.
macro_rules! in_every_home {
    ($($promise:ident,)*) => {
        mod in_file {
            $(#[test]
            fn $promise() {
                super::$promise(&crate::homes::InFile::new());
            })*
        }

        mod in_redis {
            $(#[test]
            fn $promise() {
                super::$promise(&crate::homes::InRedis::new());
            })*
        }
    };
}

mod homes;
mod log;
mod moving;
mod once;
mod people;
mod racing;
mod redis_intruder;
mod redis_junk;
mod redis_lost;
mod redis_only;
mod rotation;
mod usage_detail;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use homes::{Home, Kept};
use keygate::control::socket::{ControlClient, ControlSocket};
use keygate::control::{KeyService, KeyView, Request, Response};
use keygate::keys::audit::By;
use keygate::keys::rules::{Limits, Name, Refusal};
use keygate::keys::secret::RootKey;
use keygate::keys::usage::Use;
use keygate::keys::{
    Key, KeyKind, KeyTable, Labels, Org, OrgId, Record, Revision, Role, Secret, Timestamp, User,
    UserId,
};
use keygate::store::sync::Sync;
use keygate::store::{
    Changes, EmbeddedStore, Issued, NewKey, NewKeyOf, NewUser, Store, StoreError, UserChange,
};

struct Folder {
    folder: tempfile::TempDir,
    root_key: RootKey,
}

impl Folder {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            root_key: RootKey::from_hex(&"5a".repeat(32)).unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("keygate.redb")
    }

    fn open(&self) -> EmbeddedStore {
        EmbeddedStore::open(&self.file(), &self.root_key, Limits::default()).unwrap()
    }
}

fn embedded(store: &Store) -> &EmbeddedStore {
    let Store::Embedded(embedded) = store else {
        panic!("it is in a file")
    };
    embedded
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn api_key(org: OrgId, text: &str) -> NewKey {
    let of = NewKeyOf::ApiKey {
        org,
        allowed_addresses: Vec::new(),
    };
    new_key(of, text)
}

fn application_key(owner: UserId, text: &str) -> NewKey {
    let of = NewKeyOf::ApplicationKey {
        owner,
        scopes: Vec::new(),
    };
    new_key(of, text)
}

fn client_token(org: OrgId, text: &str) -> NewKey {
    let of = NewKeyOf::ClientToken {
        org,
        allowed_origins: Vec::new(),
    };
    new_key(of, text)
}

fn new_key(of: NewKeyOf, text: &str) -> NewKey {
    NewKey {
        of,
        name: name(text),
        secret: None,
        expires_at: None,
        imported: false,
        labels: Labels::default(),
    }
}

fn disabled(disabled: bool) -> UserChange {
    UserChange {
        disabled: Some(disabled),
        ..UserChange::default()
    }
}

fn import(secret: &str, mut key: NewKey) -> NewKey {
    key.secret = Some(Secret::import(secret.to_owned().into()).unwrap());
    key
}

fn org(store: &dyn Kept) -> (Org, Issued) {
    store
        .create_org(name("acme"), &By::operator())
        .unwrap()
        .value
}

fn user(store: &dyn Kept, org: &Org, handle: &str) -> User {
    store
        .create_user(
            NewUser {
                org: org.id,
                handle: name(handle),
                name: None,
                title: None,
                role: Role::Standard,
            },
            &By::operator(),
        )
        .unwrap()
        .value
}

/// One more admin, as an org keeps one.
fn admin(org: &Org) -> NewUser {
    NewUser {
        org: org.id,
        handle: name("admin@acme.example"),
        name: None,
        title: None,
        role: Role::Admin,
    }
}

#[track_caller]
fn refusal<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> Refusal {
    match outcome {
        Err(StoreError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn is_active(store: &dyn Kept, key: &Key) -> bool {
    let key = store.key(key.id).unwrap().unwrap();
    let by_owner = key
        .owner
        .is_some_and(|owner| store.user(owner).unwrap().unwrap().has_revoked(&key));
    key.revoked.is_none() && !by_owner
}

in_every_home! {
    an_org_has_one_to_five_api_keys,
    names_are_unique_among_active_keys_of_one_kind_and_owner,
    of_racing_creates_of_one_name_exactly_one_wins,
    of_racing_creates_at_the_limit_exactly_one_wins,
    disabling_a_user_revokes_their_application_keys_for_good_and_nothing_else,
    keys_killed_with_their_owner_no_longer_count,
    a_disabled_org_is_given_nothing_and_loses_what_is_revoked,
    a_known_secret_cannot_be_imported_again_not_even_after_it_was_revoked,
    everything_is_found_by_what_it_is_called,
    uses_add_up_and_the_last_one_counts_in_whatever_order_they_come,
}

fn everything_is_found_by_what_it_is_called(home: &dyn Home) {
    let store = home.open();
    let made = store
        .found(name("acme"), name("ann@acme.example"), &By::operator())
        .unwrap()
        .value;
    let (other, _) = store
        .create_org(name("other"), &By::operator())
        .unwrap()
        .value;
    let same = user(&*store, &other, "ann@acme.example");
    let deploys = store
        .create_service_account(
            made.org.id,
            name("deploys"),
            None,
            Role::Standard,
            &By::operator(),
        )
        .unwrap()
        .value;
    let store = {
        drop(store);
        home.open()
    };
    assert_eq!(store.org(made.org.id).unwrap(), Some(made.org.clone()));
    assert_eq!(store.org_named("acme").unwrap(), Some(made.org.clone()));
    assert_eq!(store.org_named("nobody").unwrap(), None);
    let mut orgs = vec![made.org.clone(), other.clone()];
    orgs.sort_by_key(|org| org.id);
    assert_eq!(store.orgs().unwrap(), orgs);

    let ids = |users: Vec<User>| {
        let mut ids: Vec<UserId> = users.into_iter().map(|user| user.id).collect();
        ids.sort();
        ids
    };
    let sorted = |mut ids: Vec<UserId>| {
        ids.sort();
        ids
    };
    assert_eq!(store.user(deploys.id).unwrap(), Some(deploys.clone()));
    assert_eq!(
        ids(store.users_of(made.org.id).unwrap()),
        sorted(vec![made.user.id, deploys.id])
    );
    assert_eq!(
        ids(store.users_named("ann@acme.example").unwrap()),
        sorted(vec![made.user.id, same.id])
    );
    assert_eq!(ids(store.users_named("deploys").unwrap()), [deploys.id]);
    let by_handle = store.users_named(&deploys.id.to_string()).unwrap();
    assert_eq!(ids(by_handle), [deploys.id]);
    assert_eq!(ids(store.users_named("nobody").unwrap()), []);

    let keys = store.keys_of(made.org.id).unwrap();
    let application_key = made.application_key.key.id;
    assert_eq!(keys, [made.api_key.key, made.application_key.key]);
    for key in &keys {
        assert_eq!(store.key(key.id).unwrap().as_ref(), Some(key));
    }
    let secret = made.application_key.secret.expose().as_bytes();
    assert_eq!(
        store.key_of_secret(secret).unwrap().unwrap().id,
        application_key
    );
    assert_eq!(store.key_of_secret(b"unknown").unwrap(), None);
}

fn an_org_has_one_to_five_api_keys(home: &dyn Home) {
    let store = home.open();
    let (org, first) = org(&*store);
    assert_eq!(
        refusal(store.revoke_key(first.key.id, &By::operator())),
        Refusal::TooFew {
            kind: KeyKind::ApiKey,
            fewest: 1
        }
    );
    for number in 2..=5 {
        store
            .create_key(api_key(org.id, &format!("key {number}")), &By::operator())
            .unwrap();
    }
    assert_eq!(
        refusal(store.create_key(api_key(org.id, "key 6"), &By::operator())),
        Refusal::TooMany {
            kind: KeyKind::ApiKey,
            most: 5
        }
    );
    // Neither client tokens nor revoked keys count.
    store
        .create_key(client_token(org.id, "shop"), &By::operator())
        .unwrap();
    store.revoke_key(first.key.id, &By::operator()).unwrap();
    store
        .create_key(api_key(org.id, "key 6"), &By::operator())
        .unwrap();
    let active = store.keys_of(org.id).unwrap();
    assert_eq!(
        active.iter().filter(|key| is_active(&*store, key)).count(),
        6
    );
}

fn names_are_unique_among_active_keys_of_one_kind_and_owner(home: &dyn Home) {
    let store = home.open();
    let (org, first) = org(&*store);
    let (ann, bob) = (user(&*store, &org, "ann"), user(&*store, &org, "bob"));
    assert!(matches!(
        refusal(store.create_key(api_key(org.id, "default"), &By::operator())),
        Refusal::NameTaken { .. }
    ));
    store
        .create_key(api_key(org.id, "Default"), &By::operator())
        .unwrap();
    store
        .create_key(client_token(org.id, "default"), &By::operator())
        .unwrap();
    store
        .create_key(application_key(ann.id, "default"), &By::operator())
        .unwrap();
    store
        .create_key(application_key(bob.id, "default"), &By::operator())
        .unwrap();
    assert!(matches!(
        refusal(store.create_key(application_key(ann.id, "default"), &By::operator())),
        Refusal::NameTaken { within: "user", .. }
    ));
    store.revoke_key(first.key.id, &By::operator()).unwrap();
    store
        .create_key(api_key(org.id, "default"), &By::operator())
        .unwrap();
    assert!(matches!(
        refusal(store.revoke_key(first.key.id, &By::operator())),
        Refusal::AlreadyRevoked { .. }
    ));
    assert!(matches!(
        refusal(store.create_org(name("acme"), &By::operator())),
        Refusal::NameTaken { what: "org", .. }
    ));
    assert_eq!(store.orgs().unwrap().len(), 1);
}

fn of_racing_creates_of_one_name_exactly_one_wins(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    for round in 0..20 {
        let start = Arc::new(Barrier::new(4));
        let racers: Vec<_> = (0..4)
            .map(|_| {
                let (store, start) = (Arc::clone(&store), Arc::clone(&start));
                let key = client_token(org.id, &format!("round {round}"));
                std::thread::spawn(move || {
                    start.wait();
                    store.create_key(key, &By::operator())
                })
            })
            .collect();
        let outcomes: Vec<_> = racers
            .into_iter()
            .map(|racer| racer.join().unwrap())
            .collect();
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for outcome in outcomes.into_iter().filter(Result::is_err) {
            assert!(matches!(refusal(outcome), Refusal::NameTaken { .. }));
        }
    }
    assert_eq!(store.keys_of(org.id).unwrap().len(), 21);
}

fn of_racing_creates_at_the_limit_exactly_one_wins(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    for number in 2..=4 {
        store
            .create_key(api_key(org.id, &format!("key {number}")), &By::operator())
            .unwrap();
    }
    let start = Arc::new(Barrier::new(4));
    let racers: Vec<_> = (0..4)
        .map(|racer| {
            let (store, start) = (Arc::clone(&store), Arc::clone(&start));
            let key = api_key(org.id, &format!("racer {racer}"));
            std::thread::spawn(move || {
                start.wait();
                store.create_key(key, &By::operator()).is_ok()
            })
        })
        .collect();
    let won = racers
        .into_iter()
        .map(|racer| racer.join().unwrap())
        .filter(|won| *won)
        .count();
    assert_eq!(won, 1);
}

fn disabling_a_user_revokes_their_application_keys_for_good_and_nothing_else(home: &dyn Home) {
    let store = home.open();
    let (org, first) = org(&*store);
    let (ann, bob) = (user(&*store, &org, "ann"), user(&*store, &org, "bob"));
    let anns = store
        .create_key(application_key(ann.id, "laptop"), &By::operator())
        .unwrap()
        .value;
    let bobs = store
        .create_key(application_key(bob.id, "laptop"), &By::operator())
        .unwrap()
        .value;

    store
        .update_user(ann.id, disabled(true), &By::operator())
        .unwrap();
    assert!(!is_active(&*store, &anns.key));
    assert!(is_active(&*store, &bobs.key));
    assert!(is_active(&*store, &first.key));
    assert_eq!(
        refusal(store.create_key(application_key(ann.id, "new"), &By::operator())),
        Refusal::OwnerDisabled
    );
    assert!(matches!(
        refusal(store.revoke_key(anns.key.id, &By::operator())),
        Refusal::AlreadyRevoked { .. }
    ));

    store
        .update_user(ann.id, disabled(false), &By::operator())
        .unwrap();
    assert!(!is_active(&*store, &anns.key));
    let new = store
        .create_key(application_key(ann.id, "laptop"), &By::operator())
        .unwrap()
        .value;
    assert!(is_active(&*store, &new.key));
    assert!(!is_active(&*store, &anns.key));
}

fn keys_killed_with_their_owner_no_longer_count(home: &dyn Home) {
    let limits = Limits {
        application_keys_per_user_max: 2,
        ..Limits::default()
    };
    let store = home.open_with(limits);
    let (org, _) = org(&*store);
    let ann = user(&*store, &org, "ann");
    for round in 0..2 {
        store
            .create_key(application_key(ann.id, "a"), &By::operator())
            .unwrap();
        store
            .create_key(application_key(ann.id, "b"), &By::operator())
            .unwrap();
        assert!(
            matches!(
                refusal(store.create_key(application_key(ann.id, "c"), &By::operator())),
                Refusal::TooMany { most: 2, .. }
            ),
            "round {round}"
        );
        store
            .update_user(ann.id, disabled(true), &By::operator())
            .unwrap();
        store
            .update_user(ann.id, disabled(false), &By::operator())
            .unwrap();
    }
}

fn a_disabled_org_is_given_nothing_and_loses_what_is_revoked(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    let token = store
        .create_key(client_token(org.id, "shop"), &By::operator())
        .unwrap()
        .value;
    store
        .set_org_disabled(org.id, true, &By::operator())
        .unwrap();
    assert_eq!(
        refusal(store.create_key(api_key(org.id, "second"), &By::operator())),
        Refusal::OrgDisabled
    );
    store.revoke_key(token.key.id, &By::operator()).unwrap();
    store
        .set_org_disabled(org.id, false, &By::operator())
        .unwrap();
    store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap();
}

fn a_known_secret_cannot_be_imported_again_not_even_after_it_was_revoked(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    let secret = "0123456789abcdef0123456789abcdef";
    let key = store
        .create_key(import(secret, api_key(org.id, "moved")), &By::operator())
        .unwrap()
        .value
        .key;
    assert_eq!(
        store.key_of_secret(secret.as_bytes()).unwrap().unwrap().id,
        key.id
    );
    let again = || {
        store.create_key(
            import(secret, client_token(org.id, "again")),
            &By::operator(),
        )
    };
    assert_eq!(refusal(again()), Refusal::SecretKnown);
    store.revoke_key(key.id, &By::operator()).unwrap();
    assert_eq!(refusal(again()), Refusal::SecretKnown);
    let tombstone = store.key_of_secret(secret.as_bytes()).unwrap().unwrap();
    assert!(tombstone.revoked.is_some());
}

fn uses_add_up_and_the_last_one_counts_in_whatever_order_they_come(home: &dyn Home) {
    let store = home.open();
    // Of two orgs, which need not be in one partition.
    let ids = ["acme", "other"].map(|org| {
        let (_, issued) = store.create_org(name(org), &By::operator()).unwrap().value;
        issued.key.id
    });
    let [used, other] = ids;
    let uses = |at, count| Use::times(Timestamp(at), count);
    assert_eq!(store.usage_of(&ids).unwrap(), [None, None]);
    let first = [(used, uses(1_800_000_000_000, 3)), (other, uses(7, 1))];
    store.flush_usage(&first).unwrap();
    // A node whose clock is behind, or that could not write for a while.
    let late = [(used, uses(1_700_000_000_000, u64::from(u32::MAX)))];
    store.flush_usage(&late).unwrap();
    let mut sum = uses(1_800_000_000_000, 3);
    sum.add(uses(1_700_000_000_000, u64::from(u32::MAX)));
    assert_eq!(sum.last_used, Timestamp(1_800_000_000_000));
    assert_eq!(sum.count, u64::from(u32::MAX) + 3);
    let held = store.usage_of(&[other, used, other]).unwrap();
    assert_eq!(held, [Some(uses(7, 1)), Some(sum), Some(uses(7, 1))]);
    assert_eq!(store.usage_of(&[]).unwrap(), []);
}

#[test]
fn another_root_key_is_refused_and_changes_nothing() {
    let home = Folder::new();
    let (org, _) = org(&home.open());
    let before = fs::read(home.file()).unwrap();
    let other = RootKey::from_hex(&"5b".repeat(32)).unwrap();
    let error = EmbeddedStore::open(&home.file(), &other, Limits::default()).unwrap_err();
    assert!(
        matches!(error, StoreError::OtherRootKey { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("another root key"));
    assert!(fs::read(home.file()).unwrap() == before, "the file changed");
    assert_eq!(home.open().org(org.id).unwrap().unwrap(), org);
}

#[test]
fn a_store_that_is_open_is_locked_for_others() {
    let home = Folder::new();
    let _store = home.open();
    let error = EmbeddedStore::open(&home.file(), &home.root_key, Limits::default()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    let home = Folder::new();
    fs::write(home.file(), b"somebody's notes").unwrap();
    assert!(EmbeddedStore::open(&home.file(), &home.root_key, Limits::default()).is_err());
    assert_eq!(fs::read(home.file()).unwrap(), b"somebody's notes");
}

#[test]
fn neither_secrets_nor_the_root_key_are_on_disk() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Folder::new();
    let store = home.open();
    let (org, first) = org(&store);
    let ann = user(&store, &org, "ann");
    let mut secrets = vec![
        first.secret,
        store
            .create_key(application_key(ann.id, "a"), &By::operator())
            .unwrap()
            .value
            .secret,
        store
            .create_key(client_token(org.id, "t"), &By::operator())
            .unwrap()
            .value
            .secret,
    ];
    let imported = import("imported-secret-of-elsewhere", api_key(org.id, "moved"));
    secrets.push(
        store
            .create_key(imported, &By::operator())
            .unwrap()
            .value
            .secret,
    );
    drop(store);
    let bytes = fs::read(home.file()).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    for secret in &secrets {
        assert!(!holds(secret.expose().as_bytes()));
        assert!(!holds(&secret.expose().as_bytes()[..12]));
    }
    assert!(!holds(&[0x5a; 32]) && !holds("5a".repeat(32).as_bytes()));
    // The search does find what is there.
    assert!(holds(b"moved"));
    let mode = fs::metadata(home.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs::read_dir(home.folder.path()).unwrap().count(), 1);
}

/// What a reader of the records knows in the end.
fn replay(records: Vec<Record>) -> BTreeMap<String, Record> {
    records
        .into_iter()
        .map(|record| {
            let id = match &record {
                Record::Org(org) => format!("org {}", org.id),
                Record::User(user) => format!("user {}", user.id),
                Record::Key(key) => format!("key {}", key.id),
            };
            (id, record)
        })
        .collect()
}

#[test]
fn the_changes_replayed_are_the_snapshot_and_survive_a_restart() {
    let home = Folder::new();
    let store = home.open();
    let (org, first) = org(&store);
    let ann = user(&store, &org, "ann");
    store
        .create_key(application_key(ann.id, "a"), &By::operator())
        .unwrap();
    store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap();
    store.revoke_key(first.key.id, &By::operator()).unwrap();
    store
        .update_user(ann.id, disabled(true), &By::operator())
        .unwrap();
    store
        .update_user(ann.id, disabled(false), &By::operator())
        .unwrap();
    store
        .set_org_disabled(org.id, true, &By::operator())
        .unwrap();
    // Refused and empty changes have no revision.
    store
        .set_org_disabled(org.id, true, &By::operator())
        .unwrap();
    refusal(store.create_key(api_key(org.id, "third"), &By::operator()));
    let identity = store.identity();
    drop(store);

    let store = home.open();
    assert_eq!(store.identity(), identity);
    let mut records = Vec::new();
    let mut position = Revision(0);
    loop {
        let Changes::Next(next) = store.changes_since(position, 2).unwrap() else {
            panic!("nothing was trimmed")
        };
        let Some(last) = next.last() else { break };
        assert_eq!(next[0].revision(), Revision(position.0 + 1));
        position = last.revision();
        records.extend(next);
    }
    let snapshot = store.snapshot().unwrap();
    assert_eq!(position, snapshot.revision);
    assert_eq!(position, store.revision());
    assert_eq!(replay(records), replay(snapshot.records));
}

async fn apply(service: &KeyService, request: Request) -> Response {
    service.operate(request).await.unwrap()
}

#[tokio::test]
async fn a_change_is_in_the_table_when_its_operation_returns() {
    let home = Folder::new();
    let store = Arc::new(Store::Embedded(home.open()));
    let (org, first) = org(embedded(&store));
    let table = Arc::new(KeyTable::new(Instant::now()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let sync = Sync::start(Arc::clone(&store), Arc::clone(&table), shutdown).unwrap();
    assert!(table.read().key(&first.key.fingerprint).is_some());
    assert!(table.view(Instant::now()).unwrap().age < Duration::from_secs(5));

    let service = KeyService::serving(Arc::clone(&store), &sync);
    for number in 0..20 {
        let create = Request::CreateClientToken {
            org: org.name.to_string(),
            name: format!("token {number}"),
            expires_at: None,
            allowed_origins: vec!["https://shop.example".to_owned()],
        };
        let Response::Key(key) = apply(&service, create).await else {
            panic!("a key")
        };
        let stored = store.key(key.id).unwrap().unwrap();
        assert_eq!(table.full_key(&stored.fingerprint), Some(stored.clone()));
        let revoke = Request::RevokeKey {
            kind: KeyKind::ClientToken,
            id: key.id.to_string(),
        };
        apply(&service, revoke).await;
        assert!(table.read().key(&stored.fingerprint).unwrap().is_revoked);
    }
    assert_eq!(
        table.view(Instant::now()).unwrap().revision,
        embedded(&store).revision()
    );
    stop.send(()).unwrap();
    sync.ended().await;
}

#[tokio::test]
async fn the_control_socket_serves_only_its_owner_and_replaces_a_dead_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Folder::new();
    let store = Arc::new(Store::Embedded(home.open()));
    let path = home.folder.path().join("control.sock");
    assert!(ControlClient::connect(&path).await.unwrap().is_none());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    // A program that another test starts at this moment holds the socket open until it has become itself.
    let end = Instant::now() + Duration::from_secs(10);
    while ControlClient::connect(&path).await.unwrap().is_some() {
        assert!(Instant::now() < end, "the socket is dead");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let socket = ControlSocket::bind(&path).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(ControlSocket::bind(&path).is_err());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(socket.serve(KeyService::alone(store), async {
        let _ = stopped.await;
    }));
    let ask = async |request: Request| {
        let client = ControlClient::connect(&path).await.unwrap().unwrap();
        client.perform(&request).await
    };
    let init = || Request::Init {
        org: "acme".to_owned(),
        user: "ann@acme.example".to_owned(),
    };
    let Response::Founded(founded) = ask(init()).await.unwrap() else {
        panic!("founded")
    };
    let secret = founded.application_key.secret.unwrap();
    let Response::Whoami(whoami) = ask(Request::Whoami { secret }).await.unwrap() else {
        panic!("whoami")
    };
    assert_eq!(whoami.key.id, founded.application_key.id);
    assert_eq!(whoami.refused, None);
    assert_eq!(
        ask(init()).await.unwrap_err(),
        "the installation already has an active org named \"acme\": choose another name"
    );
    let huge = Request::CreateOrg {
        name: "x".repeat(100_000),
    };
    assert!(ask(huge).await.is_err());
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(!path.exists());
}

fn keygate(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command
        .args(args)
        .arg("--data-dir")
        .arg(folder)
        .stdin(Stdio::null());
    command
}

/// Runs a command; its exit code, standard output and standard error.
fn run(folder: &Path, args: &[&str], stdin: &str) -> (i32, String, String) {
    use std::io::Write as _;
    let mut child = keygate(folder, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(stdin.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[track_caller]
fn run_json(folder: &Path, args: &[&str], stdin: &str) -> serde_json::Value {
    let args = [args, &["--output", "json"]].concat();
    let (code, out, err) = run(folder, &args, stdin);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    serde_json::from_str(&out).unwrap()
}

#[test]
fn the_commands_make_show_and_revoke_keys() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let (code, _, err) = run(dir, &["orgs", "list"], "");
    assert_eq!(code, 1);
    assert!(err.contains("keygate init"), "{err}");

    let init = run_json(
        dir,
        &["init", "--org", "acme", "--user", "ann@acme.example"],
        "",
    );
    let (_, table, _) = run(dir, &["orgs", "list"], "");
    assert!(
        table.starts_with("ID ") && table.contains("acme"),
        "{table}"
    );

    let secret = init["application_key"]["secret"].as_str().unwrap();
    let whoami = run_json(dir, &["whoami"], &format!("{secret}\n"));
    assert_eq!(whoami["kind"], "application_key");
    assert_eq!(whoami["owner_name"], "ann@acme.example");
    assert_eq!(whoami["status"], "active");
    assert!(whoami.get("secret").is_none());
    assert_eq!(
        whoami["reach"],
        "the API, beside an API key of the same org"
    );

    let import = ["keys", "import", "--org", "acme", "--name", "moved"];
    let moved = run_json(dir, &import, "agents-old-secret-1234\n");
    assert_eq!(moved["last4"], "1234");
    assert!(moved.get("secret").is_none());
    assert_eq!(
        run_json(dir, &["whoami"], "agents-old-secret-1234")["id"],
        moved["id"]
    );
    let id = moved["id"].as_str().unwrap();
    let revoked = run_json(dir, &["keys", "revoke", id], "");
    assert_eq!(revoked["status"], "revoked");
    assert_eq!(run(dir, &["tokens", "show", id], "").0, 1);

    let (code, out, err) = run(
        dir,
        &["keys", "revoke", init["api_key"]["id"].as_str().unwrap()],
        "",
    );
    assert_eq!((code, out.as_str()), (1, ""));
    assert_eq!(
        err,
        "keygate: an org keeps at least 1 active API key: create another one and move its senders first\n"
    );

    let apps = [
        "apps",
        "create",
        "--owner",
        "ann@acme.example",
        "--name",
        "ci",
    ];
    let scoped = [
        &apps[..],
        &[
            "--scope",
            "metrics_read",
            "--expires-at",
            "2999-01-01T00:00:00Z",
        ],
    ]
    .concat();
    let key = run_json(dir, &scoped, "");
    assert_eq!(key["scopes"], serde_json::json!(["metrics_read"]));
    assert_eq!(key["expires_at"], "2999-01-01T00:00:00.000Z");
    let last = run(dir, &["users", "disable", "ann@acme.example"], "");
    let refused = "keygate: an org keeps at least one active admin: make somebody else one first\n";
    assert_eq!(last, (1, String::new(), refused.to_owned()));
    let another = ["--email", "bob@acme.example", "--role", "admin"];
    let another = [&["users", "create", "--org", "acme"][..], &another].concat();
    run_json(dir, &another, "");
    run_json(dir, &["users", "disable", "ann@acme.example"], "");
    let listed = run_json(dir, &["apps", "list", "--owner", "ann@acme.example"], "");
    for key in listed.as_array().unwrap() {
        assert_eq!(key["status"], "revoked");
    }
    let token = [
        "tokens",
        "create",
        "--org",
        "acme",
        "--name",
        "shop",
        "--allow-origin",
    ];
    let (code, _, err) = run(dir, &[&token[..], &["shop"]].concat(), "");
    assert_eq!(code, 1, "{err}");
    run_json(dir, &[&token[..], &["https://shop.example"]].concat(), "");
    run_json(
        dir,
        &[
            "service-accounts",
            "create",
            "--org",
            "acme",
            "--name",
            "deploys",
        ],
        "",
    );
    run_json(
        dir,
        &["apps", "create", "--owner", "deploys", "--name", "a"],
        "",
    );
    assert_eq!(run(dir, &["keys", "list"], "").0, 64);
    assert_eq!(run(dir, &["whoami"], "nobody's").0, 1);
}

#[test]
fn commands_say_so_when_the_store_is_open_and_nobody_serves_it() {
    let home = Folder::new();
    let dir = home.folder.path();
    run_json(dir, &["orgs", "create", "acme"], "");
    let root_key = keygate::store::root_key(None, &dir.join("root.key"), &home.file()).unwrap();
    let _store = EmbeddedStore::open(&home.file(), &root_key, Limits::default()).unwrap();
    let (code, _, err) = run(dir, &["orgs", "list"], "");
    assert_eq!(code, 1);
    assert!(err.contains("another process has the store"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_a_running_server_and_are_in_force_when_they_return() {
    let home = Folder::new();
    let dir = home.folder.path().to_owned();
    let store = Arc::new(Store::Embedded(home.open()));
    let table = Arc::new(KeyTable::new(Instant::now()));
    let (stop, _) = tokio::sync::broadcast::channel::<()>(1);
    let stopped = || {
        let mut stop = stop.subscribe();
        async move {
            let _ = stop.recv().await;
        }
    };
    let sync = Sync::start(Arc::clone(&store), Arc::clone(&table), stopped()).unwrap();
    let service = KeyService::serving(Arc::clone(&store), &sync);
    let socket = ControlSocket::bind(&dir.join("control.sock")).unwrap();
    let serving = tokio::spawn(socket.serve(service, stopped()));

    let reader = Arc::clone(&table);
    let commands = tokio::task::spawn_blocking(move || {
        let created = run_json(&dir, &["orgs", "create", "acme"], "");
        let secret = created["api_key"]["secret"].as_str().unwrap();
        let key = store.key_of_secret(secret.as_bytes()).unwrap().unwrap();
        assert!(reader.read().key(&key.fingerprint).is_some());
        run_json(
            &dir,
            &["keys", "create", "--org", "acme", "--name", "second"],
            "",
        );
        run_json(&dir, &["keys", "revoke", &key.id.to_string()], "");
        assert!(reader.read().key(&key.fingerprint).unwrap().is_revoked);
        let import = ["keys", "import", "--org", "acme", "--name", "moved"];
        let (code, _, err) = run(&dir, &import, secret);
        assert_eq!(code, 1);
        assert_eq!(
            err,
            "keygate: this secret belongs to a key already, active or revoked: use another one\n"
        );
    });
    commands.await.unwrap();
    // A client that connects and asks for nothing does not hold the server.
    let path = home.folder.path().join("control.sock");
    let _idle = tokio::net::UnixStream::connect(&path).await.unwrap();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    sync.ended().await;
    assert!(!path.exists());
}

#[test]
fn the_configuration_names_the_store_its_root_key_and_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (
        folder.path().join("data"),
        folder.path().join("keygate.toml"),
    );
    let text = format!(
        "[store]\ndata_dir = {data:?}\nroot_key = \"{}\"\n[rules]\napi_keys_per_org_max = 1\n[upstreams.default]\nurl = \"http://127.0.0.1:9000\"\n",
        "5a".repeat(32)
    );
    fs::write(&file, &text).unwrap();
    let keygate = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_keygate"))
            .args(args)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    assert_eq!(keygate(&["orgs", "create", "acme"]).status.code(), Some(0));
    assert!(data.join("keygate.redb").exists() && !data.join("root.key").exists());
    let second = keygate(&["keys", "create", "--org", "acme", "--name", "second"]);
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(said.contains("at most 1 active API key"), "{said}");
    fs::write(&file, text.replace("data_dir", "data_dri")).unwrap();
    assert_eq!(keygate(&["orgs", "list"]).status.code(), Some(78));
}

/// One org, a second key, the first one revoked, through the socket of a server that may be killed at any moment. `None`
/// when it was.
async fn write_once(socket: &Path) -> Option<(String, String)> {
    let ask = async |request: Request| {
        let client = ControlClient::connect(socket).await.ok().flatten()?;
        client.perform(&request).await.ok()
    };
    let name = uuid::Uuid::new_v4().to_string();
    let Response::Org(org) = ask(Request::CreateOrg { name }).await? else {
        panic!("an org was asked for");
    };
    let first = org.api_key.unwrap();
    let second = Request::CreateApiKey {
        org: org.id.to_string(),
        name: "second".into(),
        expires_at: None,
        allowed_addresses: Vec::new(),
        secret: None,
        labels: Labels::default(),
    };
    let Response::Key(second) = ask(second).await? else {
        panic!("a key was asked for");
    };
    let revoke = Request::RevokeKey {
        kind: KeyKind::ApiKey,
        id: first.id.to_string(),
    };
    ask(revoke).await?;
    let secret = |key: &KeyView| key.secret.as_ref().unwrap().expose().to_owned();
    Some((secret(&first), secret(&second)))
}

#[tokio::test]
async fn acknowledged_keys_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let mut acknowledged = Vec::new();
    for round in 0..20 {
        let mut server = keygate(
            folder.path(),
            &["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
        )
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
        let patience = Instant::now() + Duration::from_secs(60);
        // The kill comes from a thread of its own, so that it falls anywhere in the writes.
        let (before, mut kill) = (acknowledged.len(), None);
        loop {
            match write_once(&socket).await {
                Some(pair) => acknowledged.push(pair),
                None if kill.is_some() => break,
                None => assert!(Instant::now() < patience, "the server does not answer"),
            }
            if kill.is_none() && acknowledged.len() > before {
                let pid = server.id().to_string();
                kill = Some(std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_micros(1_700 * (round + 1)));
                    let sent = Command::new("kill").args(["-9", &pid]).status().unwrap();
                    assert!(sent.success());
                }));
            }
        }
        kill.unwrap().join().unwrap();
        server.wait().unwrap();

        let hex = fs::read_to_string(folder.path().join("root.key")).unwrap();
        let root_key = RootKey::from_hex(hex.trim()).unwrap();
        let file = folder.path().join("keygate.redb");
        let store = EmbeddedStore::open(&file, &root_key, Limits::default()).unwrap();
        for (first, second) in &acknowledged {
            let first = store.key_of_secret(first.as_bytes()).unwrap().unwrap();
            let second = store.key_of_secret(second.as_bytes()).unwrap().unwrap();
            assert!(first.revoked.is_some() && second.revoked.is_none());
        }
        // Every org there is has its API key, the one that the kill met included.
        for org in store.orgs().unwrap() {
            let keys = store.keys_of(org.id).unwrap();
            assert!(keys.iter().any(|key| key.revoked.is_none()));
        }
    }
    assert!(acknowledged.len() >= 20);
}
