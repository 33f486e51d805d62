//! What a running server has in memory, compared with its store. It changes neither.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::keys::{KeyTable, Record, RecordKind};
use crate::store::findings::Findings;
use crate::store::{Store, StoreError};

/// How often what differs is looked at again, and after which pause: a change takes a moment to arrive.
const LOOKS: usize = 3;
const PAUSE: Duration = Duration::from_millis(500);

/// The most differences that are looked at again one by one.
const AGAIN_MAX: usize = 10_000;

/// Adds to `found` what the table and the store differ in.
pub(super) fn compare(
    store: &Store,
    table: &Arc<KeyTable>,
    found: &mut Findings,
) -> Result<(), StoreError> {
    let mut differing = Vec::new();
    let mut keys = 0_u64;
    store.each_record(&mut |record| {
        keys += u64::from(record.kind() == RecordKind::Key);
        if difference(table, &record).is_some() && differing.len() < AGAIN_MAX {
            differing.push((record.kind(), record));
        }
    })?;
    let held = table.keys_len() as u64;
    for look in 0..LOOKS {
        if differing.is_empty() {
            break;
        }
        thread::sleep(PAUSE);
        let mut left = Vec::new();
        for (kind, record) in differing {
            let Some(record) = again(store, &record)? else {
                continue;
            };
            if let Some(why) = difference(table, &record) {
                if look + 1 == LOOKS {
                    found.record_fault(kind, record.id_bytes(), &why);
                }
                left.push((kind, record));
            }
        }
        differing = left;
    }
    // Nothing ever leaves a store: what it lacks, it has lost.
    if held > keys {
        found.fault(format!(
            "this server holds {held} keys and the store {keys}: run keygate store restore"
        ));
    }
    Ok(())
}

fn again(store: &Store, record: &Record) -> Result<Option<Record>, StoreError> {
    Ok(match record {
        Record::Org(org) => store.org(org.id)?.map(Record::Org),
        Record::User(user) => store.user(user.id)?.map(Record::User),
        Record::Key(key) => store.key(key.id)?.map(Record::Key),
    })
}

/// What the table has otherwise than the store.
fn difference(table: &KeyTable, record: &Record) -> Option<String> {
    let (held, revoked) = match record {
        Record::Org(org) => (table.org_by_id(&org.id).map(|held| held.revision), true),
        Record::User(user) => {
            let held = table.user_by_id(&user.id);
            let through = |held: &crate::keys::User| held.application_keys_revoked_through;
            let revoked = held
                .as_ref()
                .is_none_or(|held| through(held) >= through(user));
            (held.map(|held| held.revision), revoked)
        }
        Record::Key(key) => {
            let held = table
                .known(&key.fingerprint)
                .filter(|held| held.id == key.id);
            let revoked = held.is_none_or(|held| held.is_revoked || key.revoked.is_none());
            (held.map(|held| held.revision), revoked)
        }
    };
    let stored = record.revision();
    match held {
        None => Some("the store has it and this server does not".to_owned()),
        Some(held) if held < stored => Some(format!(
            "this server has revision {} of it and the store {}",
            held.0, stored.0
        )),
        Some(held) if held > stored => Some(format!(
            "this server has revision {} of it and the store only {}: run keygate store restore",
            held.0, stored.0
        )),
        Some(_) if !revoked => Some("the store has it revoked and this server does not".to_owned()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::keys::Revision;
    use crate::keys::audit::By;
    use crate::keys::rules::Limits;
    use crate::keys::secret::RootKey;
    use crate::store::EmbeddedStore;

    #[test]
    fn what_the_table_lacks_or_has_otherwise_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let root_key = RootKey::from_hex(&"5a".repeat(32)).unwrap();
        let path = folder.path().join("db");
        let store = EmbeddedStore::open(&path, &root_key, Limits::default()).unwrap();
        let founded = store
            .found(
                "acme".parse().unwrap(),
                "ann@acme.example".parse().unwrap(),
                &By::operator(),
            )
            .unwrap()
            .value;
        let records = store.snapshot().unwrap().records;
        let store = Store::Embedded(store);
        let table = Arc::new(KeyTable::new(Instant::now()));
        let compared = || {
            let mut found = Findings::default();
            compare(&store, &table, &mut found).unwrap();
            found.faults
        };
        assert_eq!(compared().len(), 4);
        for record in records {
            table.apply(record);
        }
        assert_eq!(compared(), Vec::<String>::new());
        let mut newer = founded.org.clone();
        newer.revision = Revision(99);
        table.apply(Record::Org(newer));
        let mut lost = founded.api_key.key;
        lost.id = crate::keys::KeyId::generate_in(lost.org.slot());
        lost.fingerprint = crate::keys::Fingerprint::from_bytes([9; 16]);
        table.apply(Record::Key(lost));
        let found = compared();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(&founded.org.id.to_string()) && found[0].contains("revision 99"));
        assert!(
            found[1].contains("this server holds 3 keys and the store 2"),
            "{found:?}"
        );
    }
}
