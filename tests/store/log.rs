//! The audit log: every write is in it, once, and nobody changes it unseen. Whatever somebody does to it, revoking goes on.

use std::sync::atomic::{AtomicBool, Ordering};

use keygate::keys::audit::{Action, AuditEntry, AuditId, By, Via};
use keygate::keys::{Actor, OrgId, Partition, Role, User};
use keygate::store::log::{HeadView, LogFindings};
use keygate::store::papers::{AsOf, Link, PaperId, Session, SignInBy};
use keygate::store::{Done, KeyChange, NewUser, Rotation, UserChange};
use redis::Commands as _;

use super::homes::{Home, InRedis, Kept};
use super::{admin, api_key, client_token, disabled, import, name, org, user};

in_every_home! {
    every_write_is_logged_once_with_who_did_what_before_and_after,
    whatever_is_changed_in_the_log_is_found,
    a_log_set_back_as_a_whole_is_found_by_what_was_verified_earlier,
    a_log_that_lost_something_begins_anew_says_so_and_revoking_goes_on,
    a_log_that_is_gone_with_all_that_tells_of_it_is_missed,
    a_log_that_is_written_to_is_not_called_broken,
    a_log_is_read_backwards_in_parts,
}

fn by(user: &User) -> By {
    let mut by = By::of(Actor::User(user.id), Via::Page);
    by.request_id = Some("request-7".into());
    by.address = Some([192, 0, 2, 7].into());
    by
}

pub fn entry(store: &dyn Kept, id: AuditId) -> AuditEntry {
    let found = store
        .log_before(id.partition, Some(id.number + 1), 1)
        .unwrap();
    assert_eq!(found[0].id, id);
    found[0].linked.clone().unwrap().entry
}

/// How many entries all partitions have together.
pub fn count(store: &dyn Kept) -> u64 {
    let heads = store.verify_log(&[]).unwrap().heads;
    heads.iter().map(|head| head.count).sum()
}

#[track_caller]
pub fn is_sound(found: &LogFindings) {
    assert_eq!((&found.faults, &found.beginnings), (&vec![], &vec![]));
}

fn change<'e>(entry: &'e AuditEntry, field: &str) -> (Option<&'e str>, Option<&'e str>) {
    let change = entry.changes.iter().find(|change| change.field == field);
    let change = change.unwrap_or_else(|| panic!("no {field} in {:?}", entry.changes));
    (change.before.as_deref(), change.after.as_deref())
}

fn every_write_is_logged_once_with_who_did_what_before_and_after(home: &dyn Home) {
    let store = home.open();
    let founded = store.found(name("acme"), name("ann@acme.example"), &By::operator());
    let founded = founded.unwrap().value;
    let (org, ann) = (founded.org.id, founded.user.clone());
    let by = by(&ann);
    let mut before = count(&*store);
    assert_eq!(before, 4, "org, API key, user and application key");

    // One entry each, and it is the one that is told.
    let mut logged = |told: Option<AuditId>, action: Action| {
        let after = count(&*store);
        assert_eq!(after, before + 1, "{action:?}");
        before = after;
        let entry = entry(&*store, told.unwrap());
        assert_eq!((entry.action, entry.org), (action, Some(org)));
        assert_eq!(entry.by, by);
        entry
    };
    let made = store.create_key(api_key(org, "second"), &by).unwrap();
    let key = made.value.key;
    let told = logged(made.audit, Action::KeyCreated);
    assert_eq!((told.object.id, &*told.object.name), (key.id.0, "second"));
    assert_eq!(change(&told, "name"), (None, Some("second")));
    assert_eq!(told.revisions, [key.revision]);
    assert!(!format!("{told:?}").contains(made.value.secret.expose()));

    let imported = import("issued-elsewhere-1", client_token(org, "moved"));
    let imported = keygate::store::NewKey {
        imported: true,
        ..imported
    };
    let moved = store.create_key(imported, &by).unwrap();
    logged(moved.audit, Action::KeyImported);

    let renamed = KeyChange {
        name: Some(name("third")),
        ..KeyChange::default()
    };
    let told = store.update_key(key.id, renamed, &by).unwrap();
    let told = logged(told.audit, Action::KeyChanged);
    assert_eq!(change(&told, "name"), (Some("second"), Some("third")));
    assert_eq!(told.changes.len(), 1);

    let shadow = |on| KeyChange {
        shadowed: Some(on),
        ..KeyChange::default()
    };
    let told = store.update_key(key.id, shadow(true), &by).unwrap();
    logged(told.audit, Action::KeyShadowed);
    let told = store.update_key(key.id, shadow(false), &by).unwrap();
    logged(told.audit, Action::KeyUnshadowed);
    let told = store.revoke_key(key.id, &by).unwrap();
    let told = logged(told.audit, Action::KeyRevoked);
    assert_eq!(change(&told, "revoked_at").0, None);

    let new = NewUser {
        title: Some(name("SRE")),
        ..admin(&founded.org)
    };
    let bob = store.create_user(new, &by).unwrap();
    let told = logged(bob.audit, Action::UserCreated);
    assert_eq!(change(&told, "title"), (None, Some("SRE")));
    assert_eq!(change(&told, "role"), (None, Some("admin")));
    let bob = bob.value;
    let robot = store.create_service_account(org, name("robot"), None, Role::Standard, &by);
    logged(robot.unwrap().audit, Action::UserCreated);
    let demoted = UserChange {
        role: Some(Role::ReadOnly),
        ..UserChange::default()
    };
    let told = store.update_user(bob.id, demoted, &by).unwrap();
    let told = logged(told.audit, Action::UserChanged);
    assert_eq!(change(&told, "role"), (Some("admin"), Some("read-only")));
    let told = store.update_user(bob.id, disabled(true), &by).unwrap();
    let told = logged(told.audit, Action::UserDisabled);
    assert_eq!(change(&told, "disabled"), (None, Some("true")));
    let told = store.update_user(bob.id, disabled(false), &by).unwrap();
    logged(told.audit, Action::UserEnabled);

    let told = store.set_org_disabled(org, true, &by).unwrap();
    logged(told.audit, Action::OrgDisabled);
    let told = store.set_org_disabled(org, false, &by).unwrap();
    logged(told.audit, Action::OrgEnabled);

    let link = link(&ann);
    let told = store.make_link([1; 32], link, &by).unwrap();
    logged(told.audit, Action::LinkCreated);
    let told = store
        .use_link(org.partition(), [1; 32], "$argon2id$one", &by)
        .unwrap();
    let ann = told.value;
    let told = logged(told.audit, Action::PasswordSet);
    assert!(!format!("{told:?}").contains("argon2id"));
    let told = store.open_session([2; 32], session(&ann), &by).unwrap();
    logged(told.audit, Action::SignedIn);
    let told = store.end_session(org.partition(), [2; 32], &by).unwrap();
    logged(told.audit, Action::SignedOut);

    // What changes nothing is no write.
    let untouched = count(&*store);
    let nothing: [Done<()>; 4] = [
        store.end_session(org.partition(), [2; 32], &by).unwrap(),
        store.set_org_disabled(org, false, &by).unwrap().map(drop),
        store
            .update_user(bob.id, disabled(false), &by)
            .unwrap()
            .map(drop),
        store
            .update_key(founded.api_key.key.id, KeyChange::default(), &by)
            .unwrap()
            .map(drop),
    ];
    assert!(nothing.iter().all(|done| done.audit.is_none()));
    store.revoke_key(key.id, &by).unwrap_err();
    assert_eq!(count(&*store), untouched);

    // A rotation is two: what is made, and what becomes of the old one.
    let rotation = Rotation::default();
    let rotated = store
        .rotate_key(founded.api_key.key.id, rotation, &by)
        .unwrap();
    assert_eq!(count(&*store), untouched + 2);
    let old = entry(&*store, rotated.audit.unwrap());
    assert_eq!(old.action, Action::KeyRevoked);
    let successor = rotated.value.1.key.id.to_string();
    assert_eq!(change(&old, "replaced_by"), (None, Some(&*successor)));

    let noted = store.log_store(Action::RootKeyAdded, "0123456789abcdef", &By::operator());
    let noted = entry(&*store, noted.unwrap().audit.unwrap());
    assert_eq!((noted.org, noted.by.actor), (None, Actor::Operator));
    assert_eq!(change(&noted, "note").1, Some("0123456789abcdef"));

    let found = store.verify_log(&[]).unwrap();
    is_sound(&found);
    assert_eq!(found.entries, untouched + 3);
    assert!(found.records >= 7, "{found:?}");
    // It is the same log when it is opened again.
    drop(store);
    let store = home.open();
    assert_eq!(store.verify_log(&found.heads).unwrap(), found);
}

fn link(user: &User) -> Link {
    let made_at = super::people::now();
    let expires_at = keygate::keys::Timestamp(made_at.0 + 60_000);
    Link {
        user: user.id,
        made_at,
        expires_at,
    }
}

fn session(user: &User) -> Session {
    let opened_at = super::people::now();
    let expires_at = keygate::keys::Timestamp(opened_at.0 + 60_000);
    Session {
        user: user.id,
        by: SignInBy::Password,
        opened_at,
        seen_at: opened_at,
        expires_at,
        as_of: AsOf::of(user),
    }
}

/// An org whose partition has a log of some length. Nobody has the store open.
fn some_log(home: &dyn Home) -> Partition {
    let store = home.open();
    let (org, first) = org(&*store);
    for number in 0..4 {
        let key = client_token(org.id, &format!("token {number}"));
        store.create_key(key, &By::operator()).unwrap();
    }
    store
        .create_key(api_key(org.id, "second"), &By::operator())
        .unwrap();
    store.revoke_key(first.key.id, &By::operator()).unwrap();
    org.id.partition()
}

fn verify(home: &dyn Home, earlier: &[HeadView]) -> LogFindings {
    home.open().verify_log(earlier).unwrap()
}

fn whatever_is_changed_in_the_log_is_found(home: &dyn Home) {
    let partition = some_log(home);
    let head_id = PaperId::Head.bytes();
    let (log, head) = (home.log(partition), home.paper(partition, &head_id));
    let elsewhere = Partition::all().find(|it| *it != partition).unwrap();
    assert_eq!(log.len(), 8);
    is_sound(&verify(home, &[]));

    let found_out = |what: &str, change: &mut dyn FnMut(&mut Vec<Vec<u8>>)| {
        let mut changed = log.clone();
        change(&mut changed);
        assert_ne!(changed, log, "{what}");
        home.set_log(partition, &changed);
        let found = verify(home, &[]);
        assert_ne!(found.faults, [""; 0], "{what}");
        home.set_log(partition, &log);
    };
    for number in 0..log.len() {
        // The ends of an entry, where its parts begin, and some places between.
        let length = log[number].len();
        let places = [
            0,
            1,
            2,
            33,
            34,
            41,
            42,
            length / 3,
            length / 2,
            length - 33,
            length - 1,
        ];
        for at in places {
            found_out(&format!("byte {at} of {number}"), &mut |log| {
                log[number][at] ^= 1
            });
        }
        found_out(&format!("{number} cut"), &mut |log| {
            log[number].truncate(length - 1)
        });
        found_out(&format!("{number} longer"), &mut |log| log[number].push(0));
        found_out(&format!("{number} empty"), &mut |log| log[number].clear());
        found_out(&format!("{number} removed"), &mut |log| {
            drop(log.remove(number))
        });
        found_out(&format!("{number} twice"), &mut |log| {
            log.insert(number, log[number].clone());
        });
        if number > 0 {
            found_out(&format!("{number} swapped"), &mut |log| {
                log.swap(number - 1, number)
            });
        }
    }
    found_out("an entry planted", &mut |log| log.push(vec![b'A'; 200]));
    found_out("a long one planted", &mut |log| {
        log.push(vec![b'A'; 300_000])
    });
    found_out("all but the last", &mut |log| drop(log.drain(..7)));
    found_out("all", &mut Vec::clear);
    found_out("the other way round", &mut |log| log.reverse());

    // What says where it ends.
    for planted in [
        None,
        Some(&b""[..]),
        Some(b"nonsense"),
        Some(&[b'x'; 10_000]),
    ] {
        home.set_paper(partition, &head_id, planted);
        assert_ne!(verify(home, &[]).faults, [""; 0]);
    }
    home.set_paper(partition, &head_id, head.as_deref());
    // An entry of this store is none of another partition.
    home.set_log(elsewhere, &log[..1]);
    assert_ne!(verify(home, &[]).faults, [""; 0]);
    home.set_log(elsewhere, &[]);
    is_sound(&verify(home, &[]));

    // The log as it was earlier, with the head that it had then: records of later are missed.
    let org = org_of(home);
    home.open()
        .create_key(client_token(org, "later"), &By::operator())
        .unwrap();
    home.set_log(partition, &log);
    home.set_paper(partition, &head_id, head.as_deref());
    let found = verify(home, &[]);
    assert!(found.faults[0].contains("no entry tells of"), "{found:?}");
}

fn org_of(home: &dyn Home) -> OrgId {
    home.open().orgs().unwrap()[0].id
}

fn a_log_set_back_as_a_whole_is_found_by_what_was_verified_earlier(home: &dyn Home) {
    let store = home.open();
    let founded = store.found(name("acme"), name("ann@acme.example"), &By::operator());
    let ann = founded.unwrap().value.user;
    let partition = ann.id.partition();
    drop(store);
    let head_id = PaperId::Head.bytes();
    let (log, head) = (home.log(partition), home.paper(partition, &head_id));
    // No record tells of a sign-in.
    let store = home.open();
    store
        .open_session([1; 32], session(&ann), &By::operator())
        .unwrap();
    let earlier = store.verify_log(&[]).unwrap().heads;
    store
        .open_session([2; 32], session(&ann), &By::operator())
        .unwrap();
    is_sound(&store.verify_log(&earlier).unwrap());
    drop(store);
    home.set_log(partition, &log);
    home.set_paper(partition, &head_id, head.as_deref());
    is_sound(&verify(home, &[]));
    let found = verify(home, &earlier);
    assert!(found.faults[0].contains("verified earlier"), "{found:?}");
    // It does not help to go on from there.
    let store = home.open();
    for number in 3..9 {
        store
            .open_session([number; 32], session(&ann), &By::operator())
            .unwrap();
    }
    is_sound(&store.verify_log(&[]).unwrap());
    let found = store.verify_log(&earlier).unwrap();
    assert!(found.faults[0].contains("verified earlier"), "{found:?}");
}

fn a_log_that_lost_something_begins_anew_says_so_and_revoking_goes_on(home: &dyn Home) {
    let partition = some_log(home);
    let org = org_of(home);
    let head_id = PaperId::Head.bytes();
    type Loss<'l> = &'l dyn Fn();
    let last_gone = || {
        let mut log = home.log(partition);
        log.pop();
        home.set_log(partition, &log);
    };
    let losses: [(&str, Loss<'_>); 5] = [
        ("its head", &|| home.set_paper(partition, &head_id, None)),
        ("its head to junk", &|| {
            home.set_paper(partition, &head_id, Some(&[7; 9_000]))
        }),
        ("its last entry", &last_gone),
        ("all entries", &|| home.set_log(partition, &[])),
        ("entries and head", &|| {
            home.set_log(partition, &[]);
            home.set_paper(partition, &head_id, None);
        }),
    ];
    for (number, (what, lose)) in losses.into_iter().enumerate() {
        let store = home.open();
        let key = client_token(org, &format!("to be revoked {number}"));
        let key = store.create_key(key, &By::operator()).unwrap().value.key;
        let before = store.verify_log(&[]).unwrap();
        drop(store);
        lose();
        assert_ne!(verify(home, &[]).faults, [""; 0], "{what}");
        let store = home.open();
        let told = store.revoke_key(key.id, &By::operator()).unwrap();
        assert!(told.value.revoked.is_some());
        assert_eq!(
            entry(&*store, told.audit.unwrap()).action,
            Action::KeyRevoked
        );
        let found = store.verify_log(&[]).unwrap();
        // From there on it is whole again, and the loss stays a fault: nobody restored anything.
        assert!(!found.faults.is_empty(), "{what}");
        let is_of_loss = |fault: &String| fault.contains("the log begins anew here");
        assert!(found.faults.iter().all(is_of_loss), "{what}: {found:?}");
        assert_eq!(found.beginnings, [""; 0], "{what}");
        let found = store.verify_log(&before.heads).unwrap();
        let is_kept = what.starts_with("its head");
        let is_only_loss = found.faults.iter().all(is_of_loss);
        assert_eq!(is_only_loss, is_kept, "{what}: {found:?}");
    }
}

fn a_log_that_is_gone_with_all_that_tells_of_it_is_missed(home: &dyn Home) {
    let partition = some_log(home);
    home.set_log(partition, &[]);
    home.set_paper(partition, &PaperId::Head.bytes(), None);
    let found = verify(home, &[]);
    assert!(found.faults[0].contains("no entry tells of"), "{found:?}");
}

fn a_log_that_is_written_to_is_not_called_broken(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..60 {
                let key = client_token(org.id, &format!("token {number}"));
                let key = store.create_key(key, &By::operator()).unwrap().value.key;
                store.revoke_key(key.id, &By::operator()).unwrap();
            }
            ended.store(true, Ordering::SeqCst);
        });
        let mut earlier = Vec::new();
        while !ended.load(Ordering::SeqCst) {
            let found = store.verify_log(&earlier).unwrap();
            is_sound(&found);
            earlier = found.heads;
        }
    });
    assert_eq!(count(&*store), 122);
}

fn a_log_is_read_backwards_in_parts(home: &dyn Home) {
    let partition = some_log(home);
    let store = home.open();
    let all = store.log_before(partition, None, 100).unwrap();
    let numbers: Vec<u64> = all.iter().map(|entry| entry.id.number).collect();
    assert_eq!(numbers, [7, 6, 5, 4, 3, 2, 1, 0]);
    let part = store.log_before(partition, Some(6), 3).unwrap();
    let numbers: Vec<u64> = part.iter().map(|entry| entry.id.number).collect();
    assert_eq!(numbers, [5, 4, 3]);
    assert!(store.log_before(partition, Some(0), 3).unwrap().is_empty());
    assert!(
        store
            .log_before(partition, Some(u64::MAX), 0)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn whatever_lies_where_the_log_or_the_papers_should_be_revoking_and_disabling_go_on() {
    let home = InRedis::new();
    let store = home.open();
    let founded = store.found(name("acme"), name("ann@acme.example"), &By::operator());
    let org = founded.unwrap().value.org;
    store.create_user(admin(&org), &By::operator()).unwrap();
    let mut client = home.client();
    for (number, rest) in ["audit", "papers"].into_iter().cycle().take(8).enumerate() {
        let key = home.key(org.id.partition().index(), rest);
        let leaver = user(&*store, &org, &format!("leaver-{number}@acme.example"));
        let token = client_token(org.id, &format!("token {number}"));
        let token = store.create_key(token, &By::operator()).unwrap().value.key;
        let _: () = client.del(&key).unwrap();
        let _: () = match number / 2 {
            0 => client.set(&key, "junk").unwrap(),
            1 => client.sadd(&key, "junk").unwrap(),
            2 if rest == "audit" => client.hset(&key, "junk", "junk").unwrap(),
            2 => client.rpush(&key, "junk").unwrap(),
            _ if rest == "audit" => client.rpush(&key, vec![b'A'; 1 << 20]).unwrap(),
            _ => client
                .hset(&key, PaperId::Head.bytes(), vec![b'P'; 1 << 20])
                .unwrap(),
        };
        let found = store.verify_log(&[]).unwrap();
        assert!(!found.faults.is_empty(), "{rest} {number}");
        assert!(store.password(leaver.id).unwrap().is_none());

        let revoked = store.revoke_key(token.id, &By::operator()).unwrap();
        assert!(revoked.value.revoked.is_some() && revoked.audit.is_some());
        let gone = store
            .update_user(leaver.id, disabled(true), &By::operator())
            .unwrap();
        assert!(gone.value.disabled);
        let wanted = if rest == "audit" { "list" } else { "hash" };
        let of: String = redis::cmd("TYPE").arg(&key).query(&mut client).unwrap();
        assert_eq!(of, wanted);
        let found = store.verify_log(&[]).unwrap();
        let of_loss = |fault: &String| fault.contains("the log begins anew here");
        assert!(found.faults.iter().any(of_loss), "{found:?}");
    }
}

#[test]
fn lists_that_got_lost_make_nobody_the_last_admin() {
    let home = InRedis::new();
    let store = home.open();
    let founded = store.found(name("acme"), name("ann@acme.example"), &By::operator());
    let founded = founded.unwrap().value;
    store
        .create_user(admin(&founded.org), &By::operator())
        .unwrap();
    let list = home.key(
        founded.org.id.partition().index(),
        &format!("of:{}", founded.org.id),
    );
    let _: () = home.client().del(&list).unwrap();
    let gone = store.update_user(founded.user.id, disabled(true), &By::operator());
    assert!(gone.unwrap().value.disabled);
}
