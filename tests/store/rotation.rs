//! Rotating, shadow-revoking and changing keys: what a successor takes over, what becomes of the old key, and what no change
//! can do.

use keygate::keys::audit::By;
use keygate::keys::rules::Refusal;
use keygate::keys::{Key, Labels, Timestamp};
use keygate::store::{KeyChange, Rotation};

use super::homes::{Home, Kept};
use super::people::now;
use super::{
    admin, api_key, application_key, client_token, disabled, import, is_active, name, org, refusal,
};

in_every_home! {
    an_expired_key_is_none_of_those_that_an_org_keeps,
    a_successor_takes_over_the_name_and_what_the_old_key_may,
    without_an_overlap_the_old_key_is_revoked_at_once,
    a_rotation_keeps_the_rules_about_numbers_and_names,
    an_overlap_never_lengthens_a_life,
    an_imported_key_gets_a_successor_with_a_secret_of_ours,
    only_an_active_key_of_an_active_owner_is_rotated,
    a_shadow_revoked_key_is_no_revoked_one_and_it_can_be_taken_back,
    a_change_is_of_what_the_kind_has_and_of_what_is_to_come,
    an_org_keeps_an_admin_who_is_a_person,
}

const HOUR_MS: i64 = 3_600_000;

fn overlap(ms: i64) -> Rotation {
    Rotation {
        overlap_ms: Some(ms),
        ..Rotation::default()
    }
}

fn again(store: &dyn Kept, key: &Key) -> Key {
    store.key(key.id).unwrap().unwrap()
}

fn a_successor_takes_over_the_name_and_what_the_old_key_may(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let (org, _) = org(&*store);
    let mut new = api_key(org.id, "agents");
    new.labels = Labels {
        category: Some("fleet".into()),
        remote_config_read: false,
    };
    let made = store.create_key(new, &by).unwrap().value.key;
    let change = KeyChange {
        allowed_addresses: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ..KeyChange::default()
    };
    let old = store.update_key(made.id, change, &by).unwrap().value;
    let (ended, issued) = store
        .rotate_key(old.id, overlap(HOUR_MS), &by)
        .unwrap()
        .value;
    let next = issued.key;
    assert_eq!(
        (next.name.as_str(), ended.name.as_str()),
        ("agents", "agents (old)")
    );
    assert_eq!(
        (&next.labels, &next.allowed_addresses),
        (&old.labels, &old.allowed_addresses)
    );
    assert_eq!(
        (next.kind, next.org, next.expires_at),
        (old.kind, old.org, None)
    );
    assert_ne!((next.id, next.fingerprint), (old.id, old.fingerprint));
    assert_eq!(
        (ended.replaced_by, ended.fingerprint),
        (Some(next.id), old.fingerprint)
    );
    let ends = ended.expires_at.unwrap().0 - now().0;
    assert!((HOUR_MS - 60_000..=HOUR_MS).contains(&ends), "{ends}");
    assert!(is_active(&*store, &ended) && is_active(&*store, &next));
    assert_eq!(again(&*store, &old), ended);
    let found = store
        .key_of_secret(issued.secret.expose().as_bytes())
        .unwrap();
    assert_eq!(found, Some(next.clone()));
    // And once more: every name is another one.
    let (ended, _) = store
        .rotate_key(next.id, overlap(HOUR_MS), &by)
        .unwrap()
        .value;
    assert_eq!(ended.name, "agents (old 2)");
    // With a name of its own the successor leaves the old one its name.
    let named = Rotation {
        name: Some(name("new agents")),
        ..overlap(HOUR_MS)
    };
    let token = store
        .create_key(client_token(org.id, "shop"), &by)
        .unwrap()
        .value
        .key;
    let (ended, issued) = store.rotate_key(token.id, named, &by).unwrap().value;
    assert_eq!((&*ended.name, &*issued.key.name), ("shop", "new agents"));
}

fn without_an_overlap_the_old_key_is_revoked_at_once(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let (_, first) = org(&*store);
    for rotation in [Rotation::default(), overlap(0), overlap(-5)] {
        let keys = store.keys_of(first.key.org).unwrap();
        let last = keys.iter().find(|key| key.revoked.is_none()).unwrap();
        // It is the org's only one, and there is one at any time.
        let (ended, issued) = store.rotate_key(last.id, rotation, &by).unwrap().value;
        assert!(ended.revoked.is_some());
        assert_eq!(issued.key.name, first.key.name);
        assert_eq!(ended.replaced_by, Some(issued.key.id));
        let twice = refusal(store.rotate_key(last.id, Rotation::default(), &by));
        assert!(matches!(twice, Refusal::AlreadyRevoked { .. }), "{twice}");
    }
}

fn a_rotation_keeps_the_rules_about_numbers_and_names(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let (org, first) = org(&*store);
    for number in 2..=5 {
        store
            .create_key(api_key(org.id, &format!("key {number}")), &by)
            .unwrap();
    }
    let refused = refusal(store.rotate_key(first.key.id, overlap(HOUR_MS), &by));
    assert!(matches!(refused, Refusal::TooMany { .. }), "{refused}");
    assert_eq!(again(&*store, &first.key), first.key);
    let taken = Rotation {
        name: Some(name("key 2")),
        ..Rotation::default()
    };
    let refused = refusal(store.rotate_key(first.key.id, taken, &by));
    assert!(matches!(refused, Refusal::NameTaken { .. }), "{refused}");
    assert_eq!(again(&*store, &first.key), first.key);
    // Without an overlap it takes the old one's place.
    store
        .rotate_key(first.key.id, Rotation::default(), &by)
        .unwrap();
    let keys = store.keys_of(org.id).unwrap();
    assert_eq!(keys.iter().filter(|key| is_active(&*store, key)).count(), 5);
    // The name of the one that was renamed is taken as well.
    let sixth = refusal(store.create_key(api_key(org.id, "sixth"), &by));
    assert!(matches!(sixth, Refusal::TooMany { .. }), "{sixth}");
}

fn an_overlap_never_lengthens_a_life(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let (org, _) = org(&*store);
    let soon = Timestamp(now().0 + 60_000);
    let mut new = api_key(org.id, "short");
    new.expires_at = Some(soon);
    let old = store.create_key(new, &by).unwrap().value.key;
    let (ended, issued) = store
        .rotate_key(old.id, overlap(HOUR_MS), &by)
        .unwrap()
        .value;
    assert_eq!(
        (ended.expires_at, issued.key.expires_at),
        (Some(soon), None)
    );
    let past = Rotation {
        expires_at: Some(Timestamp(1)),
        ..overlap(HOUR_MS)
    };
    let refused = refusal(store.rotate_key(issued.key.id, past, &by));
    assert!(matches!(refused, Refusal::ExpiryPast), "{refused}");
    let refused = refusal(store.rotate_key(issued.key.id, overlap(i64::MAX), &by));
    assert_eq!(refused.code(), "parameter_malformed", "{refused}");
}

/// Waits until it is later than that.
fn pass(until: Timestamp) {
    while now() <= until {
        std::thread::yield_now();
    }
}

fn an_expired_key_is_none_of_those_that_an_org_keeps(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let (org, first) = org(&*store);
    let short = |text: &str| {
        let mut new = api_key(org.id, text);
        let soon = Timestamp(now().0 + 300);
        new.expires_at = Some(soon);
        (store.create_key(new, &by).unwrap().value.key, soon)
    };
    let (expired, _) = short("short");
    let (other, soon) = short("short, too");
    pass(soon);
    // Two keys beside it are active, and neither is in force.
    let refused = refusal(store.revoke_key(first.key.id, &by));
    assert!(matches!(refused, Refusal::TooFew { .. }), "{refused}");
    assert_eq!(again(&*store, &first.key), first.key);
    // A key that has expired can be revoked: that takes nothing away.
    store.revoke_key(expired.id, &by).unwrap();
    // An expiry can be set on the only one that has none, and it can be rotated.
    let ends = Timestamp(now().0 + 300);
    let change = KeyChange {
        expires_at: Some(Some(ends)),
        ..KeyChange::default()
    };
    store.update_key(first.key.id, change, &by).unwrap();
    pass(ends);
    store.revoke_key(other.id, &by).unwrap();
    let refused = refusal(store.revoke_key(first.key.id, &by));
    assert!(matches!(refused, Refusal::TooFew { .. }), "{refused}");
    let rotated = store.rotate_key(first.key.id, Rotation::default(), &by);
    let (old, issued) = rotated.unwrap().value;
    assert!(old.revoked.is_some());
    let second = store.create_key(api_key(org.id, "second"), &by).unwrap();
    store.revoke_key(issued.key.id, &by).unwrap();
    let second = second.value.key.id;
    let refused = refusal(store.revoke_key(second, &by));
    assert!(matches!(refused, Refusal::TooFew { .. }), "{refused}");
}

fn an_imported_key_gets_a_successor_with_a_secret_of_ours(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let (org, _) = org(&*store);
    let moved = import("issued-elsewhere-1", api_key(org.id, "moved"));
    let moved = store.create_key(moved, &by).unwrap().value.key;
    let (ended, issued) = store
        .rotate_key(moved.id, overlap(HOUR_MS), &by)
        .unwrap()
        .value;
    let secret = issued.secret.expose();
    assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let old = store.key_of_secret(b"issued-elsewhere-1").unwrap();
    assert_eq!(old, Some(ended));
    // Neither secret can be imported again.
    for known in ["issued-elsewhere-1", secret] {
        let again = refusal(store.create_key(import(known, api_key(org.id, "again")), &by));
        assert!(matches!(again, Refusal::SecretKnown), "{again}");
    }
}

fn only_an_active_key_of_an_active_owner_is_rotated(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let founded = store
        .found(name("acme"), name("ann@acme.example"), &by)
        .unwrap()
        .value;
    store.create_user(admin(&founded.org), &by).unwrap();
    let (ended, issued) = store
        .rotate_key(founded.application_key.key.id, overlap(HOUR_MS), &by)
        .unwrap()
        .value;
    assert_eq!(
        (issued.key.owner, ended.owner),
        (Some(founded.user.id), Some(founded.user.id))
    );
    store
        .update_user(founded.user.id, disabled(true), &by)
        .unwrap();
    for key in [&ended, &issued.key] {
        let refused = refusal(store.rotate_key(key.id, overlap(HOUR_MS), &by));
        assert!(
            matches!(refused, Refusal::AlreadyRevoked { .. }),
            "{refused}"
        );
    }
    store.set_org_disabled(founded.org.id, true, &by).unwrap();
    let refused = refusal(store.rotate_key(founded.api_key.key.id, overlap(HOUR_MS), &by));
    assert!(matches!(refused, Refusal::OrgDisabled), "{refused}");
    let unknown = keygate::keys::KeyId::generate_in(founded.org.id.slot());
    let refused = refusal(store.rotate_key(unknown, Rotation::default(), &by));
    assert!(matches!(refused, Refusal::NotFound { .. }), "{refused}");
}

fn a_shadow_revoked_key_is_no_revoked_one_and_it_can_be_taken_back(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let (org, first) = org(&*store);
    let shadow = |on| KeyChange {
        shadowed: Some(on),
        ..KeyChange::default()
    };
    let key = store
        .update_key(first.key.id, shadow(true), &by)
        .unwrap()
        .value;
    let since = key.shadowed.unwrap();
    assert!(key.revoked.is_none() && is_active(&*store, &key));
    // It is still the org's only one, and still has its name.
    let refused = refusal(store.revoke_key(key.id, &by));
    assert!(matches!(refused, Refusal::TooFew { .. }), "{refused}");
    let refused = refusal(store.create_key(api_key(org.id, &first.key.name), &by));
    assert!(matches!(refused, Refusal::NameTaken { .. }), "{refused}");
    let twice = store.update_key(key.id, shadow(true), &by).unwrap();
    assert_eq!((twice.value.shadowed, twice.audit), (Some(since), None));
    // A successor is not shadowed.
    let (_, issued) = store
        .rotate_key(key.id, overlap(HOUR_MS), &by)
        .unwrap()
        .value;
    assert_eq!(issued.key.shadowed, None);
    let back = store.update_key(key.id, shadow(false), &by).unwrap().value;
    assert_eq!((back.shadowed, back.revoked), (None, None));
    store.update_key(key.id, shadow(true), &by).unwrap();
    assert!(
        store
            .revoke_key(key.id, &by)
            .unwrap()
            .value
            .revoked
            .is_some()
    );
}

fn a_change_is_of_what_the_kind_has_and_of_what_is_to_come(home: &dyn Home) {
    let store = home.open();
    let by = By::operator();
    let founded = store
        .found(name("acme"), name("ann@acme.example"), &by)
        .unwrap()
        .value;
    let (api, app) = (founded.api_key.key, founded.application_key.key);
    let token = store
        .create_key(client_token(api.org, "shop"), &by)
        .unwrap()
        .value
        .key;
    let scopes = KeyChange {
        scopes: Some(vec!["metrics_read".into()]),
        ..KeyChange::default()
    };
    let addresses = KeyChange {
        allowed_addresses: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ..KeyChange::default()
    };
    let origins = KeyChange {
        allowed_origins: Some(vec!["https://shop.example".parse().unwrap()]),
        ..KeyChange::default()
    };
    let labels = KeyChange {
        labels: Some(Labels::default()),
        ..KeyChange::default()
    };
    for (change, of) in [
        (&scopes, &app),
        (&addresses, &api),
        (&origins, &token),
        (&labels, &api),
    ] {
        for key in [&api, &app, &token] {
            let outcome = store.update_key(key.id, change.clone(), &by);
            if key.id == of.id {
                outcome.unwrap();
            } else {
                let refused = refusal(outcome);
                assert!(matches!(refused, Refusal::NotOfKind { .. }), "{refused}");
            }
        }
    }
    assert_eq!(
        again(&*store, &app).scopes,
        Some(vec!["metrics_read".into()])
    );
    let past = KeyChange {
        expires_at: Some(Some(Timestamp(1))),
        ..KeyChange::default()
    };
    let refused = refusal(store.update_key(token.id, past, &by));
    assert!(matches!(refused, Refusal::ExpiryPast), "{refused}");
    // A name goes to whoever asks next, and not to two.
    let rename = |text: &str| KeyChange {
        name: Some(name(text)),
        ..KeyChange::default()
    };
    store.update_key(token.id, rename("new shop"), &by).unwrap();
    let other = store
        .create_key(client_token(api.org, "shop"), &by)
        .unwrap()
        .value
        .key;
    let refused = refusal(store.update_key(token.id, rename("shop"), &by));
    assert!(matches!(refused, Refusal::NameTaken { .. }), "{refused}");
    store.revoke_key(other.id, &by).unwrap();
    store.update_key(token.id, rename("shop"), &by).unwrap();
    let refused = refusal(store.update_key(other.id, rename("gone"), &by));
    assert!(
        matches!(refused, Refusal::AlreadyRevoked { .. }),
        "{refused}"
    );
    // Nothing moved.
    for key in [&api, &app, &token] {
        let now = again(&*store, key);
        assert_eq!(
            (now.org, now.owner, now.kind),
            (key.org, key.owner, key.kind)
        );
        assert_eq!((now.fingerprint, now.issued), (key.fingerprint, key.issued));
    }
    let app = application_key(founded.user.id, "another");
    store.create_key(app, &by).unwrap();
}

fn an_org_keeps_an_admin_who_is_a_person(home: &dyn Home) {
    use keygate::keys::Role;
    use keygate::store::UserChange;
    let store = home.open();
    let by = By::operator();
    let founded = store
        .found(name("acme"), name("ann@acme.example"), &by)
        .unwrap()
        .value;
    let ann = founded.user;
    let robot = store.create_service_account(ann.org, name("robot"), None, Role::Admin, &by);
    let demote = UserChange {
        role: Some(Role::Standard),
        ..UserChange::default()
    };
    for change in [disabled(true), demote.clone()] {
        let refused = refusal(store.update_user(ann.id, change, &by));
        assert!(matches!(refused, Refusal::LastAdmin), "{refused}");
    }
    store
        .update_user(robot.unwrap().value.id, disabled(true), &by)
        .unwrap();
    let bob = store.create_user(admin(&founded.org), &by).unwrap().value;
    store.update_user(ann.id, demote, &by).unwrap();
    let refused = refusal(store.update_user(bob.id, disabled(true), &by));
    assert!(matches!(refused, Refusal::LastAdmin), "{refused}");
    // Whoever is no admin, or no longer, may go.
    store.update_user(ann.id, disabled(true), &by).unwrap();
}
