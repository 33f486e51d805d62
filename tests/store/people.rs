//! Links, passwords and sessions: a link is used once, none stands for another, and what is over stays over.

use keygate::keys::audit::{By, Judged, Via};
use keygate::keys::rules::Refusal;
use keygate::keys::{Actor, Org, Role, Timestamp, User};
use keygate::store::papers::{AsOf, Link, PaperId, Session, SignInBy};
use keygate::store::{KeyChange, UserChange};

use super::homes::{Home, Kept};
use super::{admin, application_key, disabled, name, refusal, user};

in_every_home! {
    a_link_sets_a_password_once,
    a_link_is_spent_by_its_age_by_another_password_and_by_disabling,
    who_may_not_sign_in_gets_no_link_no_password_and_no_session,
    a_session_ends_once_and_is_touched_only_while_it_is_there,
    no_paper_stands_for_another,
    what_is_over_stays_over_when_it_is_put_back,
    a_session_of_before_another_password_is_not_opened_after_it,
    only_what_is_over_is_forgotten,
    who_is_no_longer_what_they_were_judged_as_changes_nothing,
}

pub fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

/// A moment that is before every one that the store notes from now on.
fn a_moment_ago() -> Timestamp {
    let at = now();
    while now() == at {
        std::hint::spin_loop();
    }
    at
}

fn people(store: &dyn Kept) -> (Org, User, User) {
    let founded = store.found(name("acme"), name("ann@acme.example"), &By::operator());
    let founded = founded.unwrap().value;
    let bob = store.create_user(admin(&founded.org), &By::operator());
    (founded.org, founded.user, bob.unwrap().value)
}

fn link(user: &User, made_at: Timestamp, lasting_ms: i64) -> Link {
    Link {
        user: user.id,
        made_at,
        expires_at: Timestamp(made_at.0 + lasting_ms),
    }
}

fn session(user: &User, lasting_ms: i64) -> Session {
    let opened_at = now();
    Session {
        user: user.id,
        by: SignInBy::Password,
        opened_at,
        seen_at: opened_at,
        expires_at: Timestamp(opened_at.0 + lasting_ms),
        as_of: AsOf::of(user),
    }
}

fn a_link_sets_a_password_once(home: &dyn Home) {
    let store = home.open();
    let (org, ann, bob) = people(&*store);
    let at = org.id.partition();
    assert!(store.password(ann.id).unwrap().is_none());
    assert_eq!(store.link(at, [1; 32]).unwrap(), None);
    let made = link(&ann, a_moment_ago(), 60_000);
    store.make_link([1; 32], made, &By::operator()).unwrap();
    assert_eq!(store.link(at, [1; 32]).unwrap(), Some(made));
    let used = store
        .use_link(at, [1; 32], "$argon2id$one", &By::operator())
        .unwrap();
    assert_eq!(used.value.id, ann.id);
    let password = store.password(ann.id).unwrap().unwrap();
    assert_eq!(password.hash, "$argon2id$one");
    assert!(store.password(bob.id).unwrap().is_none());
    assert_eq!(store.link(at, [1; 32]).unwrap(), None);
    let again = refusal(store.use_link(at, [1; 32], "$argon2id$two", &By::operator()));
    assert!(matches!(again, Refusal::LinkSpent), "{again}");
    assert!(store.password(ann.id).unwrap() == Some(password));
}

fn a_link_is_spent_by_its_age_by_another_password_and_by_disabling(home: &dyn Home) {
    let store = home.open();
    let (org, ann, bob) = people(&*store);
    let at = org.id.partition();
    let by = By::operator();
    let spent = |hash: [u8; 32]| {
        let refused = refusal(store.use_link(at, hash, "$argon2id$late", &by));
        assert!(matches!(refused, Refusal::LinkSpent), "{refused}");
    };
    let old = Timestamp(now().0 - 60_000);
    store
        .make_link([1; 32], link(&ann, old, 59_000), &by)
        .unwrap();
    spent([1; 32]);
    spent([9; 32]);

    let made_at = a_moment_ago();
    for hash in [[2; 32], [3; 32]] {
        store
            .make_link(hash, link(&ann, made_at, 60_000), &by)
            .unwrap();
    }
    store.use_link(at, [2; 32], "$argon2id$one", &by).unwrap();
    spent([3; 32]);
    store
        .make_link([4; 32], link(&ann, a_moment_ago(), 60_000), &by)
        .unwrap();
    store.set_password(ann.id, "$argon2id$two", &by).unwrap();
    spent([4; 32]);

    store
        .make_link([5; 32], link(&bob, a_moment_ago(), 60_000), &by)
        .unwrap();
    store.update_user(bob.id, disabled(true), &by).unwrap();
    store.update_user(bob.id, disabled(false), &by).unwrap();
    spent([5; 32]);
    assert!(store.password(bob.id).unwrap().is_none());
}

fn who_may_not_sign_in_gets_no_link_no_password_and_no_session(home: &dyn Home) {
    let store = home.open();
    let (org, ann, bob) = people(&*store);
    let by = By::operator();
    let robot = store.create_service_account(org.id, name("robot"), None, Role::Standard, &by);
    let robot = robot.unwrap().value;
    store
        .make_link([7; 32], link(&bob, a_moment_ago(), 60_000), &by)
        .unwrap();
    store.update_user(bob.id, disabled(true), &by).unwrap();
    let refused = |who: &User| {
        [
            refusal(store.make_link([1; 32], link(who, now(), 60_000), &by)),
            refusal(store.set_password(who.id, "$argon2id$", &by)),
            refusal(store.open_session([1; 32], session(who, 60_000), &by)),
        ]
    };
    for said in refused(&robot) {
        assert!(matches!(said, Refusal::NoPerson), "{said}");
    }
    for said in refused(&bob) {
        assert!(matches!(said, Refusal::SignInFailed), "{said}");
    }
    refusal(store.use_link(org.id.partition(), [7; 32], "$argon2id$", &by));
    store.set_org_disabled(org.id, true, &by).unwrap();
    for said in refused(&ann) {
        assert!(matches!(said, Refusal::SignInFailed), "{said}");
    }
    assert_eq!(store.session(org.id.partition(), [1; 32]).unwrap(), None);
}

fn a_session_ends_once_and_is_touched_only_while_it_is_there(home: &dyn Home) {
    let store = home.open();
    let (org, ann, _) = people(&*store);
    let at = org.id.partition();
    let mut opened = session(&ann, 60_000);
    opened.seen_at = Timestamp(0);
    store
        .open_session([1; 32], opened, &By::operator())
        .unwrap();
    assert_eq!(store.session(at, [1; 32]).unwrap(), Some(opened));
    store.touch_session(at, [1; 32]).unwrap();
    let touched = store.session(at, [1; 32]).unwrap().unwrap();
    assert!(touched.seen_at >= opened.opened_at);
    assert_eq!(touched.expires_at, opened.expires_at);
    assert!(
        store
            .end_session(at, [1; 32], &By::operator())
            .unwrap()
            .audit
            .is_some()
    );
    store.touch_session(at, [1; 32]).unwrap();
    assert_eq!(store.session(at, [1; 32]).unwrap(), None);
    assert!(
        store
            .end_session(at, [1; 32], &By::operator())
            .unwrap()
            .audit
            .is_none()
    );
}

/// Somebody who may write to the store's place, and has no key of it, moves papers about.
fn no_paper_stands_for_another(home: &dyn Home) {
    let store = home.open();
    let (org, ann, bob) = people(&*store);
    let (at, by) = (org.id.partition(), By::operator());
    let elsewhere = user(
        &*store,
        &store.create_org(name("other"), &by).unwrap().value.0,
        "x@x.example",
    );
    let set = store.set_password(ann.id, "$argon2id$of ann", &by);
    let ann = set.unwrap().value;
    store
        .open_session([1; 32], session(&ann, 60_000), &by)
        .unwrap();
    store
        .make_link([2; 32], link(&ann, a_moment_ago(), 60_000), &by)
        .unwrap();
    drop(store);
    let papers = [
        PaperId::Password(ann.id),
        PaperId::Session([1; 32]),
        PaperId::Link([2; 32]),
        PaperId::Head,
    ]
    .map(|id| home.paper(at, &id.bytes()).unwrap());
    let longer = vec![b'P'; 100_000];
    for paper in papers.iter().chain([&longer, &Vec::new()]) {
        for id in [
            PaperId::Password(bob.id),
            PaperId::Session([8; 32]),
            PaperId::Link([8; 32]),
        ] {
            home.set_paper(at, &id.bytes(), Some(paper));
        }
        let id = PaperId::Password(elsewhere.id);
        home.set_paper(elsewhere.id.partition(), &id.bytes(), Some(paper));
        let store = home.open();
        assert!(store.password(bob.id).unwrap().is_none());
        assert!(store.password(elsewhere.id).unwrap().is_none());
        assert_eq!(store.session(at, [8; 32]).unwrap(), None);
        assert_eq!(store.link(at, [8; 32]).unwrap(), None);
        let refused = refusal(store.use_link(at, [8; 32], "$argon2id$", &by));
        assert!(matches!(refused, Refusal::LinkSpent), "{refused}");
        // Whoever is let in writes over it.
        store.set_password(bob.id, "$argon2id$of bob", &by).unwrap();
        assert_eq!(
            store.password(bob.id).unwrap().unwrap().hash,
            "$argon2id$of bob"
        );
    }
}

fn only_what_is_over_is_forgotten(home: &dyn Home) {
    let store = home.open();
    let (org, ann, _) = people(&*store);
    let (at, by) = (org.id.partition(), By::operator());
    let set = store.set_password(ann.id, "$argon2id$", &by);
    let ann = set.unwrap().value;
    store
        .open_session([1; 32], session(&ann, 60_000), &by)
        .unwrap();
    store
        .make_link([1; 32], link(&ann, now(), 60_000), &by)
        .unwrap();
    for number in 2..130 {
        store
            .open_session([number; 32], session(&ann, -1), &by)
            .unwrap();
    }
    store
        .make_link([2; 32], link(&ann, now(), -1), &by)
        .unwrap();
    let logged = super::log::count(&*store);
    assert_eq!(store.forget_expired().unwrap(), 129);
    assert_eq!(store.forget_expired().unwrap(), 0);
    assert!(store.session(at, [1; 32]).unwrap().is_some());
    assert!(store.link(at, [1; 32]).unwrap().is_some());
    assert!(store.password(ann.id).unwrap().is_some());
    assert_eq!(store.session(at, [2; 32]).unwrap(), None);
    assert_eq!(super::log::count(&*store), logged);
    super::log::is_sound(&store.verify_log(&[]).unwrap());
}

/// Somebody who may write to the store's place kept papers of ours, and puts them back.
fn what_is_over_stays_over_when_it_is_put_back(home: &dyn Home) {
    let store = home.open();
    let (org, ann, _) = people(&*store);
    let (at, by) = (org.id.partition(), By::operator());
    store
        .make_link([1; 32], link(&ann, a_moment_ago(), 60_000), &by)
        .unwrap();
    store
        .make_link([2; 32], link(&ann, a_moment_ago(), 60_000), &by)
        .unwrap();
    drop(store);
    let [first, second, password] = [
        PaperId::Link([1; 32]),
        PaperId::Link([2; 32]),
        PaperId::Password(ann.id),
    ]
    .map(|id| id.bytes());
    let links = [&first, &second].map(|id| home.paper(at, id).unwrap());
    let store = home.open();
    store
        .use_link(at, [1; 32], "$argon2id$leaked", &by)
        .unwrap();
    drop(store);
    let leaked = home.paper(at, &password).unwrap();
    let store = home.open();
    store.set_password(ann.id, "$argon2id$new", &by).unwrap();
    drop(store);

    home.set_paper(at, &password, Some(&leaked));
    home.set_paper(at, &first, Some(&links[0]));
    let store = home.open();
    assert!(
        store.password(ann.id).unwrap().is_none(),
        "nobody gets in with the old one"
    );
    drop(store);
    // Nor does it help to take away what says that a password was set.
    home.set_paper(at, &password, None);
    home.set_paper(at, &second, Some(&links[1]));
    let store = home.open();
    assert!(store.password(ann.id).unwrap().is_none());
    for hash in [[1; 32], [2; 32]] {
        let refused = refusal(store.use_link(at, hash, "$argon2id$theirs", &by));
        assert!(matches!(refused, Refusal::LinkSpent), "{refused}");
    }
    let user = store.user(ann.id).unwrap().unwrap();
    assert_ne!(
        AsOf::of(&user),
        AsOf::of(&ann),
        "sessions of before are over"
    );
    // A new link lets the right one in again.
    store
        .make_link([3; 32], link(&ann, a_moment_ago(), 60_000), &by)
        .unwrap();
    store.use_link(at, [3; 32], "$argon2id$again", &by).unwrap();
    assert_eq!(
        store.password(ann.id).unwrap().unwrap().hash,
        "$argon2id$again"
    );
}

fn a_session_of_before_another_password_is_not_opened_after_it(home: &dyn Home) {
    let store = home.open();
    let (org, ann, _) = people(&*store);
    let opened = session(&ann, 60_000);
    a_moment_ago();
    let set = store
        .set_password(ann.id, "$argon2id$", &By::operator())
        .unwrap()
        .value;
    let again = store
        .set_password(ann.id, "$argon2id$", &By::operator())
        .unwrap()
        .value;
    assert!(
        set.password_set_at < again.password_set_at,
        "each is of its own moment"
    );
    let refused = refusal(store.open_session([1; 32], opened, &By::operator()));
    assert!(matches!(refused, Refusal::SignInFailed), "{refused}");
    assert_eq!(store.session(org.id.partition(), [1; 32]).unwrap(), None);
    // The one that it was set for is.
    let own = session(&again, 60_000);
    store.open_session([1; 32], own, &By::operator()).unwrap();
}

fn who_is_no_longer_what_they_were_judged_as_changes_nothing(home: &dyn Home) {
    let store = home.open();
    let (_, ann, bob) = people(&*store);
    let operator = By::operator();
    let key = |called: &str| {
        let made = store.create_key(application_key(bob.id, called), &operator);
        made.unwrap().value.key.id
    };
    let (narrowed, revoked, last) = (key("narrowed"), key("revoked"), key("last"));
    let mut titles = 0..;
    let mut change = |role, application_key| {
        let by = By {
            judged: Some(Judged { role, scopes: None }),
            application_key: Some(application_key),
            ..By::of(Actor::User(bob.id), Via::Api)
        };
        let title = name(&format!("title {}", titles.next().unwrap()));
        let change = UserChange {
            title: Some(Some(title)),
            ..UserChange::default()
        };
        store.update_user(ann.id, change, &by)
    };
    let role = |role| UserChange {
        role: Some(role),
        ..UserChange::default()
    };
    for key in [narrowed, revoked, last] {
        change(Role::Admin, key).unwrap();
    }
    let scopes = KeyChange {
        scopes: Some(vec!["user_app_keys".into()]),
        ..KeyChange::default()
    };
    store.update_key(narrowed, scopes, &operator).unwrap();
    store.revoke_key(revoked, &operator).unwrap();
    let is_refused = |said| assert!(matches!(refusal(said), Refusal::SignInFailed));
    is_refused(change(Role::Admin, narrowed));
    is_refused(change(Role::Admin, revoked));
    change(Role::Admin, last).unwrap();
    store
        .update_user(bob.id, role(Role::ReadOnly), &operator)
        .unwrap();
    is_refused(change(Role::Admin, last));
    store
        .update_user(bob.id, role(Role::Admin), &operator)
        .unwrap();
    change(Role::Admin, last).unwrap();
    store
        .update_user(bob.id, disabled(true), &operator)
        .unwrap();
    is_refused(change(Role::Admin, last));
}
