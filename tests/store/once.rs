//! A create with an `Idempotency-Key`: it happens once, is answered alike each time, and nobody else learns the secret.

use keygate::keys::audit::{By, Once};
use keygate::keys::rules::Refusal;
use keygate::store::{NewUser, Rotation};

use super::homes::Home;
use super::log::count;
use super::{admin, api_key, application_key, name, org, refusal};

in_every_home! {
    a_create_asked_for_again_happened_once_and_has_the_same_secret,
    the_same_key_with_another_request_is_refused,
    a_user_an_org_and_a_rotation_are_made_once_too,
    the_secret_that_can_be_asked_for_again_is_nowhere_in_the_store,
}

fn once(id: u8, request: u8) -> By {
    let mut by = By::operator();
    by.once = Some(Once {
        id: [id; 32],
        request: [request; 32],
        seal: [id ^ 0x55; 32],
    });
    by
}

fn a_create_asked_for_again_happened_once_and_has_the_same_secret(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    let by = once(1, 1);
    let first = store.create_key(api_key(org.id, "ci"), &by).unwrap();
    let logged = count(&*store);
    let again = store.create_key(api_key(org.id, "ci"), &by).unwrap();
    assert_eq!(again.value.key, first.value.key);
    assert_eq!(again.value.secret.expose(), first.value.secret.expose());
    assert_eq!(again.audit, first.audit);
    assert_eq!(
        (count(&*store), store.keys_of(org.id).unwrap().len()),
        (logged, 2)
    );
    let found = store
        .key_of_secret(again.value.secret.expose().as_bytes())
        .unwrap();
    assert_eq!(found, Some(first.value.key));
    // Also after it was opened again; and somebody else's is another one.
    drop(store);
    let store = home.open();
    let again = store.create_key(api_key(org.id, "ci"), &by).unwrap();
    assert_eq!(again.value.secret.expose(), first.value.secret.expose());
    let taken = refusal(store.create_key(api_key(org.id, "ci"), &once(2, 1)));
    assert!(matches!(taken, Refusal::NameTaken { .. }), "{taken}");
    let other = store
        .create_key(api_key(org.id, "other"), &once(2, 2))
        .unwrap();
    assert_ne!(other.value.secret.expose(), first.value.secret.expose());
}

fn the_same_key_with_another_request_is_refused(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    store
        .create_key(api_key(org.id, "ci"), &once(1, 1))
        .unwrap();
    let refused = refusal(store.create_key(api_key(org.id, "another"), &once(1, 2)));
    assert!(matches!(refused, Refusal::OnceReused), "{refused}");
    assert_eq!(store.keys_of(org.id).unwrap().len(), 2);
    // What was refused can be asked for again.
    let refused = refusal(store.create_key(api_key(org.id, "ci"), &once(3, 3)));
    assert!(matches!(refused, Refusal::NameTaken { .. }), "{refused}");
    store
        .create_key(api_key(org.id, "ci too"), &once(3, 3))
        .unwrap();
}

fn a_user_an_org_and_a_rotation_are_made_once_too(home: &dyn Home) {
    let store = home.open();
    let (made, issued) = store.create_org(name("acme"), &once(1, 1)).unwrap().value;
    let (again, secret) = store.create_org(name("acme"), &once(1, 1)).unwrap().value;
    assert_eq!(
        (&again, secret.secret.expose()),
        (&made, issued.secret.expose())
    );

    let ann = NewUser {
        handle: name("ann@acme.example"),
        ..admin(&made)
    };
    let user = store.create_user(ann.clone(), &once(2, 2)).unwrap();
    let again = store.create_user(ann, &once(2, 2)).unwrap();
    assert_eq!((&again.value, again.audit), (&user.value, user.audit));
    let role = keygate::keys::Role::Standard;
    let robots = [(); 2].map(|()| {
        let made = store.create_service_account(made.id, name("robot"), None, role, &once(3, 3));
        made.unwrap().value
    });
    assert_eq!(robots[0], robots[1]);
    let apps = [(); 2].map(|()| {
        let made = store.create_key(application_key(user.value.id, "app"), &once(4, 4));
        made.unwrap().value
    });
    assert_eq!(apps[0].secret.expose(), apps[1].secret.expose());

    let rotate = || store.rotate_key(issued.key.id, Rotation::default(), &once(5, 5));
    let first = rotate().unwrap();
    let again = rotate().unwrap();
    assert_eq!(first.value.0, again.value.0);
    assert_eq!(first.value.1.secret.expose(), again.value.1.secret.expose());
    assert_eq!(first.audit, again.audit);

    // What an installation begins with is several things at once.
    let founded = store
        .found(name("other"), name("bob@other.example"), &once(6, 6))
        .unwrap();
    assert_eq!(founded.value.user.org, founded.value.org.id);
    super::log::is_sound(&store.verify_log(&[]).unwrap());
}

fn the_secret_that_can_be_asked_for_again_is_nowhere_in_the_store(home: &dyn Home) {
    let store = home.open();
    let (org, _) = org(&*store);
    let by = once(1, 1);
    let issued = store
        .create_key(api_key(org.id, "a name to find"), &by)
        .unwrap()
        .value;
    drop(store);
    let all = home.everything();
    let holds = |wanted: &[u8]| memchr::memmem::find(&all, wanted).is_some();
    assert!(holds(b"a name to find"), "the search finds what is there");
    let secret = issued.secret.expose();
    assert!(!holds(&secret.as_bytes()[..12]) && !holds(&secret.as_bytes()[16..28]));
    assert!(!holds(&by.once.unwrap().seal));
}
