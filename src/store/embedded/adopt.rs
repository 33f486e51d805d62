//! Records carried into the embedded store as they are sealed, and out of it: for moving between the homes. The rules
//! were asked when the records were made, and are not asked again.

use std::collections::BTreeSet;
use std::path::Path;

use redb::{Durability, ReadTransaction, ReadableTable, ReadableTableMetadata};
use uuid::Uuid;

use super::EmbeddedStore;
use super::file::{KEYS, META, META_COPYING, Made, ORGS, USERS, damaged, make, root_keys_of};
use super::tables::FileTables;
use crate::keys::keyring::Keyring;
use crate::keys::rules::Limits;
use crate::keys::secret::RootKey;
use crate::keys::{KeyKind, Partition, Record, RecordKind, Revision};
use crate::store::StoreError;
use crate::store::rings::{RING, ring_of};
use crate::store::seal::{Carried, Lying, SEALED_BYTES_MAX};
use crate::store::tables::{NameSpace, Tables};

/// Shows every record of a file in the store's layout, orgs first, then users, then keys.
pub(in crate::store) fn each_lying(
    reading: &ReadTransaction,
    each: &mut dyn FnMut(Lying<'_>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for (kind, table) in [
        (RecordKind::Org, ORGS),
        (RecordKind::User, USERS),
        (RecordKind::Key, KEYS),
    ] {
        for entry in reading.open_table(table)?.iter()? {
            let (id, sealed) = entry?;
            each(Lying {
                kind,
                id: id.value(),
                sealed: sealed.value(),
            })?;
        }
    }
    Ok(())
}

impl EmbeddedStore {
    /// Opens the store at `path` that another one is being copied into, or makes it: with the same identity and the same
    /// keyring, so that the records keep their form. It opens as a store only after [`Self::finish_copy`].
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] when there is a store already that nothing is being copied into, and
    /// [`StoreError::OtherIdentity`] when another one is.
    pub fn make_like(
        path: &Path,
        identity: Uuid,
        keyring: Keyring,
        root_key: &RootKey,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let name = || path.display().to_string();
        if !path.exists() {
            let made = Made {
                identity,
                keyring,
                copying: true,
            };
            make(path, &made, root_key)?;
        }
        let (store, copying) = Self::open_any(path, root_key, limits)?;
        if !copying {
            return Err(StoreError::NotEmpty { place: name() });
        }
        if store.identity != identity {
            return Err(StoreError::OtherIdentity {
                server: name(),
                found: store.identity.to_string(),
                wanted: identity,
            });
        }
        Ok(store)
    }

    /// Makes a copy that is complete a store.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish_copy(&self) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.open_table(META)?.remove(META_COPYING)?;
        Ok(transaction.commit()?)
    }

    /// Writes records as they are sealed, each unless the store holds the same or a newer one, with all that is looked
    /// up by. Returns how many it wrote.
    ///
    /// # Errors
    /// When the file cannot be used. Nothing is written then.
    pub fn adopt(&self, records: &[Carried]) -> Result<u64, StoreError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut written = 0;
        {
            let mut tables = FileTables::open(&transaction, &self.sealer)?;
            for carried in records {
                written += u64::from(adopt_one(&mut tables, carried)?);
            }
            tables.finish()?;
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Writes entries of the audit log and papers as they are sealed, or takes papers away.
    ///
    /// # Errors
    /// When the file cannot be used. Nothing is written then.
    pub(super) fn adopt_beside(
        &self,
        partition: Partition,
        entries: &[(u64, Vec<u8>)],
        papers: &[(Vec<u8>, Option<Vec<u8>>)],
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut tables = FileTables::open(&transaction, &self.sealer)?;
            for (number, sealed) in entries {
                tables.adopt_entry(partition, *number, sealed)?;
            }
            for (id, sealed) in papers {
                tables.adopt_paper(partition, id, sealed.as_deref())?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Shows every record as it lies in the file, as of one moment.
    ///
    /// # Errors
    /// When the file cannot be read, and what `each` returns.
    pub(in crate::store) fn each_lying(
        &self,
        each: &mut dyn FnMut(Lying<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        each_lying(&self.reading()?, each)
    }

    /// How many orgs, users and keys there are.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn counts(&self) -> Result<[u64; 3], StoreError> {
        let reading = self.reading()?;
        Ok([
            reading.open_table(ORGS)?.len()?,
            reading.open_table(USERS)?.len()?,
            reading.open_table(KEYS)?.len()?,
        ])
    }

    /// The check values of the root keys that open the store.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn root_keys(&self) -> Result<BTreeSet<String>, StoreError> {
        root_keys_of(&self.reading()?.open_table(META)?)
    }

    /// The check value of the root key it was opened with.
    pub fn root_key_in_use(&self) -> &str {
        &self.root_key_check
    }

    /// Lets the store be opened with this root key too.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_root_key(&self, root_key: &RootKey) -> Result<(), StoreError> {
        let wrapped = self.keyring.wrap(root_key)?;
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction
            .open_table(META)?
            .insert(ring_of(root_key).as_str(), wrapped.as_slice())?;
        Ok(transaction.commit()?)
    }

    /// Lets the store no longer be opened with the root key that has this check value. Returns whether it could be.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn retire_root_key(&self, check: &str) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let known = transaction
            .open_table(META)?
            .remove(format!("{RING}{check}").as_str())?
            .is_some();
        transaction.commit()?;
        Ok(known)
    }
}

fn adopt_one(tables: &mut FileTables<'_>, carried: &Carried) -> Result<bool, StoreError> {
    let Carried { record, sealed } = carried;
    if sealed.len() > SEALED_BYTES_MAX {
        return Err(damaged(record.kind().as_str(), "its record is too long"));
    }
    let held = match record {
        Record::Org(org) => tables.org(org.id)?.map(Record::Org),
        Record::User(user) => tables.user(user.id)?.map(Record::User),
        Record::Key(key) => tables.key(key.id)?.map(Record::Key),
    };
    if held
        .as_ref()
        .is_some_and(|held| held.revision() >= record.revision())
    {
        return Ok(false);
    }
    if let Some((space, name)) = held
        .as_ref()
        .and_then(|held| name_of(tables, held).transpose())
        .transpose()?
    {
        give_back(tables, space, &name, record.id_bytes())?;
    }
    if let Some((space, name)) = name_of(tables, record)? {
        tables.take_name(space, &name, record.id_bytes())?;
    }
    tables.adopt(record, sealed)?;
    if let Record::User(user) = record
        && user.application_keys_revoked_through > Revision(0)
    {
        // Keys of theirs may have come first, when it was not known which of them still hold their names.
        let space = NameSpace::Keys(KeyKind::ApplicationKey, user.id.bytes());
        tables.free_names(space)?;
        for id in tables.keys_of(user.org)? {
            if let Some(key) = tables.key(id)?
                && key.owner == Some(user.id)
                && key.revoked.is_none()
                && !user.has_revoked(&key)
            {
                tables.take_name(space, &key.name, id.bytes())?;
            }
        }
    }
    Ok(true)
}

/// The name that a record holds: an org and a user have theirs for good, a key while it is active.
fn name_of(
    tables: &mut FileTables<'_>,
    record: &Record,
) -> Result<Option<(NameSpace, String)>, StoreError> {
    Ok(match record {
        Record::Org(org) => Some((NameSpace::Orgs, org.name.to_string())),
        Record::User(user) => Some((NameSpace::Users(user.org), user.handle.to_string())),
        Record::Key(key) => {
            let owner = match key.owner {
                Some(owner) => tables.user(owner)?,
                None => None,
            };
            let revoked =
                key.revoked.is_some() || owner.is_some_and(|owner| owner.has_revoked(key));
            (!revoked).then(|| (NameSpace::of(key), key.name.to_string()))
        }
    })
}

fn give_back(
    tables: &mut FileTables<'_>,
    space: NameSpace,
    name: &str,
    id: [u8; 16],
) -> Result<(), StoreError> {
    if tables.holder(space, name)? == Some(id) {
        tables.free_name(space, name)?;
    }
    Ok(())
}
