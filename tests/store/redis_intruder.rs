//! What somebody can do who may write to the Redis that a store is in, but has none of its keys: as little as possible.
//! What is there by mistake and not by malice is in `redis_only`.

use keygate::keys::Actor;
use keygate::store::StoreError;

use super::homes::InRedis;
use super::{client_token, name, user};

fn set(home: &InRedis, key: &str, field: &[u8], value: &[u8]) {
    let mut command = redis::cmd("HSET");
    command.arg(key).arg(field).arg(value);
    command.query::<redis::Value>(&mut home.client()).unwrap();
}

fn key(home: &InRedis, partition: usize, rest: &str) -> String {
    format!("{{{}:{partition}}}:{rest}", home.config.prefix)
}

#[test]
fn no_index_leads_from_one_org_to_another() {
    let home = InRedis::new();
    let store = home.connect();
    let (first, _) = store.create_org(name("acme"), Actor::Operator).unwrap();
    let at = first.id.partition().index();
    // Names of one partition: every sixteenth or so.
    let (other, _) = (0..)
        .map(|number| format!("other {number}"))
        .find(|other| keygate::keys::Slot::of_org_name(other).partition().index() == at)
        .map(|other| store.create_org(name(&other), Actor::Operator).unwrap())
        .unwrap();
    let token = store.create_key(client_token(other.id, "theirs")).unwrap();
    let theirs = user(&store, &other, "eve");

    let list = key(&home, at, &format!("of:{}", first.id));
    for (kind, id) in [(b'k', token.key.id.bytes()), (b'u', theirs.id.bytes())] {
        let field = [&[kind][..], &id].concat();
        set(&home, &list, &field, b"");
    }
    assert_eq!(store.keys_of(first.id).unwrap().len(), 1);
    assert_eq!(store.users_of(first.id).unwrap(), []);

    let names = key(&home, at, "names:orgs");
    set(&home, &names, b"acme", &other.id.bytes());
    let found = store.org_named("acme");
    assert!(
        matches!(found, Err(StoreError::Damaged { .. })),
        "{found:?}"
    );
}
