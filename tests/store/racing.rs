//! Many writers at once: every rule holds, and the log has as many entries as there were writes, each once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use keygate::keys::audit::{AuditEntry, AuditId, By, FieldChange, ObjectKind};
use keygate::keys::{Key, KeyKind, Org, Role, User};
use keygate::store::{Done, KeyChange, NewUser, Rotation, StoreError, UserChange};

use uuid::Uuid;

use super::homes::{Home, Kept};
use super::log::{count, is_sound};
use super::{admin, api_key, client_token, disabled, is_active, name};

in_every_home! {
    sixty_four_writers_at_once_hold_every_rule_and_lose_no_entry,
}

const WRITERS: u64 = 64;
const ROUNDS: usize = 6;

/// What came of a write: the entry it has, if it changed something. To be outrun by others is no answer, so it is asked again.
fn tried<T>(mut write: impl FnMut() -> Result<Done<T>, StoreError>) -> Option<Done<T>> {
    loop {
        match write() {
            Ok(done) => return Some(done),
            Err(StoreError::Refused(_)) => return None,
            Err(StoreError::NotNow { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// None while all of them change between being listed and being read.
fn one_of<T: Clone>(of: &[T], rng: &mut fastrand::Rng) -> Option<T> {
    rng.choice(of).cloned()
}

/// One write, whichever. The entries it must have made.
fn write(store: &dyn Kept, org: &Org, admins: &[User], rng: &mut fastrand::Rng) -> Vec<AuditId> {
    let by = By::operator();
    let keys = || -> Vec<Key> {
        let keys = store.keys_of(org.id).unwrap();
        keys.into_iter()
            .filter(|key| key.kind == KeyKind::ApiKey && key.revoked.is_none())
            .collect()
    };
    let called = format!("key {}", rng.u8(..8));
    match rng.u8(..7) {
        0 | 1 => {
            tried(|| store.create_key(api_key(org.id, &called), &by)).and_then(|done| done.audit)
        }
        2 => {
            let Some(key) = one_of(&keys(), rng) else {
                return Vec::new();
            };
            tried(|| store.revoke_key(key.id, &by)).and_then(|done| done.audit)
        }
        3 => {
            let Some(key) = one_of(&keys(), rng) else {
                return Vec::new();
            };
            let rename = KeyChange {
                name: Some(name(&called)),
                ..KeyChange::default()
            };
            tried(|| store.update_key(key.id, rename.clone(), &by)).and_then(|done| done.audit)
        }
        4 => {
            let Some(key) = one_of(&keys(), rng) else {
                return Vec::new();
            };
            let rotation = || Rotation {
                overlap_ms: Some(60_000).filter(|_| key.revision.0 % 2 == 0),
                ..Rotation::default()
            };
            // What is made has an entry of its own, just before.
            let entry =
                tried(|| store.rotate_key(key.id, rotation(), &by)).and_then(|done| done.audit);
            return entry.map_or_else(Vec::new, |entry| {
                vec![
                    AuditId {
                        number: entry.number - 1,
                        ..entry
                    },
                    entry,
                ]
            });
        }
        5 => {
            let user = one_of(admins, rng).unwrap();
            let change = match rng.u8(..3) {
                0 => disabled(true),
                1 => disabled(false),
                _ => UserChange {
                    role: one_of(&[Role::Admin, Role::Standard], rng),
                    ..UserChange::default()
                },
            };
            tried(|| store.update_user(user.id, change.clone(), &by)).and_then(|done| done.audit)
        }
        _ => {
            let token = client_token(org.id, &format!("token {}", rng.u8(..8)));
            let mut token = Some(token);
            let mut new = || {
                token
                    .take()
                    .unwrap_or_else(|| client_token(org.id, &called))
            };
            tried(|| store.create_key(new(), &by)).and_then(|done| done.audit)
        }
    }
    .into_iter()
    .collect()
}

fn sixty_four_writers_at_once_hold_every_rule_and_lose_no_entry(home: &dyn Home) {
    let store = home.open();
    let founded = store.found(name("acme"), name("ann@acme.example"), &By::operator());
    let founded = founded.unwrap().value;
    let org = founded.org;
    let mut admins = vec![founded.user];
    for number in 0..3 {
        let handle = name(&format!("admin-{number}@acme.example"));
        let new = NewUser {
            handle,
            ..admin(&org)
        };
        admins.push(store.create_user(new, &By::operator()).unwrap().value);
    }
    let before = count(&*store);
    let entries = Mutex::new(Vec::new());
    let start = std::sync::Barrier::new(WRITERS as usize);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, org, admins) = (&store, &org, &admins);
            let (entries, start) = (&entries, &start);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(writer);
                start.wait();
                for _ in 0..ROUNDS {
                    let made = write(&**store, org, admins, &mut rng);
                    entries.lock().unwrap().extend(made);
                }
            });
        }
    });
    kept_the_rules_all_the_time(&*store, &org);
    let entries = entries.into_inner().unwrap();
    let distinct: BTreeSet<AuditId> = entries.iter().copied().collect();
    assert_eq!(distinct.len(), entries.len());
    assert!(entries.len() > 40, "only {} of them wrote", entries.len());
    assert_eq!(count(&*store), before + entries.len() as u64);
    is_sound(&store.verify_log(&[]).unwrap());
}

/// The log says in which order everything was, so it says whether the rules held all the time.
fn kept_the_rules_all_the_time(store: &dyn Kept, org: &Org) {
    let mut entries = store
        .log_before(org.id.partition(), None, usize::MAX)
        .unwrap();
    entries.reverse();
    let entries: Vec<AuditEntry> = entries
        .into_iter()
        .map(|it| it.linked.unwrap().entry)
        .collect();
    // What each is called and whether it is in force; who is an admin and is not disabled.
    let mut keys: BTreeMap<Uuid, (KeyKind, String, bool)> = BTreeMap::new();
    let mut users: BTreeMap<Uuid, (bool, bool)> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let id = entry.object.id;
        for change in &entry.changes {
            let after = change.after.clone();
            match (entry.object.kind, change.field.as_str()) {
                (ObjectKind::Key(kind), "name") => {
                    keys.entry(id).or_insert((kind, String::new(), true)).1 = after.unwrap();
                }
                (ObjectKind::Key(_), "revoked_at") => keys.get_mut(&id).unwrap().2 = false,
                (ObjectKind::User, "role") => {
                    users.entry(id).or_default().0 = after.as_deref() == Some("admin");
                }
                (ObjectKind::User, "disabled") => users.entry(id).or_default().1 = after.is_some(),
                _ => {}
            }
        }
        // A successor and what becomes of the old key are one write.
        let made = id.to_string();
        let replaces = |next: &AuditEntry| {
            let says =
                |it: &FieldChange| it.field == "replaced_by" && it.after.as_ref() == Some(&made);
            next.changes.iter().any(says)
        };
        if at < 4 || entries.get(at + 1).is_some_and(replaces) {
            continue;
        }
        let active: Vec<_> = keys.values().filter(|(.., active)| *active).collect();
        let count = active
            .iter()
            .filter(|(kind, ..)| *kind == KeyKind::ApiKey)
            .count();
        assert!(
            (1..=5).contains(&count),
            "{count} API keys after entry {at}"
        );
        let names: BTreeSet<_> = active
            .iter()
            .map(|(kind, name, _)| (*kind as u8, name))
            .collect();
        assert_eq!(names.len(), active.len(), "a name twice after entry {at}");
        let has_admin = users.values().any(|(admin, disabled)| *admin && !disabled);
        assert!(has_admin, "no admin after entry {at}");
    }
    // And that is how it is.
    // Disabling a user ends their application keys without an entry for each.
    let keys_now = store.keys_of(org.id).unwrap();
    for key in keys_now.iter().filter(|key| key.owner.is_none()) {
        let (kind, name, active) = &keys[&key.id.0];
        let is = (key.kind, key.name.as_str(), is_active(store, key));
        assert_eq!((*kind, name.as_str(), *active), is);
    }
    for user in store.users_of(org.id).unwrap() {
        assert_eq!(users[&user.id.0], (user.role == Role::Admin, user.disabled));
    }
}
