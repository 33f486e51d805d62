//! When keys were used, how often and from where, in the embedded store's file. It is beside the records: no revision counts it,
//! no change tells of it, and it is not sealed, because no decision reads it.

use redb::{Durability, ReadableTable, TableDefinition, TableError};

use super::EmbeddedStore;
use crate::keys::KeyId;
use crate::keys::usage::Use;
use crate::store::StoreError;
use crate::store::use_form::{decode, encode};

/// Key id to its uses. Made by the first write to it.
const USAGE: TableDefinition<'static, [u8; 16], &[u8]> = TableDefinition::new("uses");

impl EmbeddedStore {
    /// Adds to the uses of keys, in one transaction.
    ///
    /// # Errors
    /// When the file cannot be written. Nothing of it was added then.
    pub fn flush_usage(&self, uses: &[(KeyId, Use)]) -> Result<(), StoreError> {
        if uses.is_empty() {
            return Ok(());
        }
        let mut transaction = self.database.begin_write()?;
        // A commit of less durability reaches the disk only with a later one that has it, and on a quiet store there may be
        // none for days. It is one flush of the disk for each batch of an interval.
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut table = transaction.open_table(USAGE)?;
            for (id, more) in uses {
                let mut uses = more.clone();
                if let Some(held) = table.get(id.bytes())?.and_then(|held| decode(held.value())) {
                    uses.add(held);
                }
                table.insert(id.bytes(), encode(&uses).as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// The uses of these keys, in their order; `None` of one that was never used.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn usage_of(&self, ids: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError> {
        let table = match self.reading()?.open_table(USAGE) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(vec![None; ids.len()]),
            Err(error) => return Err(error.into()),
        };
        ids.iter()
            .map(|id| Ok(table.get(id.bytes())?.and_then(|held| decode(held.value()))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::store;
    use super::*;
    use crate::keys::audit::By;
    use crate::keys::{Slot, Timestamp};

    #[test]
    fn uses_add_up_and_are_there_after_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let opened = store(folder.path());
        let slot = Slot::of_org_name("acme");
        let [used, unused] = [KeyId::generate_in(slot), KeyId::generate_in(slot)];
        assert_eq!(opened.usage_of(&[used]).unwrap(), [None], "no table yet");
        let uses = |last_used, count| Use::times(Timestamp(last_used), count);
        opened.flush_usage(&[(used, uses(9, 2))]).unwrap();
        opened.flush_usage(&[(used, uses(7, 3))]).unwrap();
        opened.flush_usage(&[]).unwrap();
        drop(opened);
        let opened = store(folder.path());
        let found = opened.usage_of(&[unused, used]).unwrap();
        let mut both = uses(9, 2);
        both.add(uses(7, 3));
        assert_eq!((both.last_used, both.count), (Timestamp(9), 5));
        assert_eq!(found, [None, Some(both)]);
    }

    #[test]
    fn a_use_is_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let name = "acme".parse().unwrap();
        let (_, issued) = store.create_org(name, &By::operator()).unwrap().value;
        let (before, told) = (store.revision(), store.revisions());
        let uses = Use::times(Timestamp(1), 1);
        store.flush_usage(&[(issued.key.id, uses)]).unwrap();
        assert_eq!(store.snapshot().unwrap().revision, before);
        assert!(!told.has_changed().unwrap());
        let after = store.changes_since(before, 10).unwrap();
        assert!(matches!(after, crate::store::Changes::Next(changes) if changes.is_empty()));
    }
}
