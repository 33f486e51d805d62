//! The embedded store's file: its tables, how it is made and recognised, and how a record is read from it. What the
//! operations do with it is in `embedded` and `writing`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableTable, TableDefinition,
    TableError,
};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::StoreError;
use super::root_key::{io_error, make_folder, new_private_file, parent};
use crate::keys::Revision;
use crate::keys::secret::RootKey;

/// Raised by a change that older versions cannot read.
const LAYOUT: u32 = 1;

/// How many changes are kept for readers that lag; the others take a snapshot.
pub(super) const CHANGES_KEPT: u64 = 100_000;

/// The engine's page cache. Its own default is 1 GiB; the records are held in memory by the key table already.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

type Records = TableDefinition<'static, [u8; 16], &'static [u8]>;

pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
pub(super) const ORGS: Records = TableDefinition::new("orgs");
pub(super) const USERS: Records = TableDefinition::new("users");
pub(super) const KEYS: Records = TableDefinition::new("keys");
/// Fingerprint to key id, of revoked keys too.
pub(super) const KEY_BY_FINGERPRINT: TableDefinition<'static, [u8; 16], [u8; 16]> =
    TableDefinition::new("key_by_fingerprint");
/// Org id and key id, for listing.
pub(super) const KEYS_OF_ORG: TableDefinition<'static, [u8; 32], ()> =
    TableDefinition::new("keys_of_org");
/// What, within what, name; to the id of the one active holder.
pub(super) const NAMES: TableDefinition<'static, &[u8], [u8; 16]> = TableDefinition::new("names");
/// Every revision has one record, the newest [`CHANGES_KEPT`] of them.
pub(super) const CHANGES: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("changes");

pub(super) const META_LAYOUT: &str = "layout";
const META_IDENTITY: &str = "identity";
const META_ROOT_KEY_CHECK: &str = "root_key_check";
pub(super) const META_REVISION: &str = "revision";

pub(super) fn engine() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes the store aside and links it into place, so that a kill meanwhile leaves no half-made store under its name and
/// a second process never overwrites the first one's.
pub(super) fn make(path: &Path, root_key: &RootKey) -> Result<(), StoreError> {
    let folder = parent(path);
    make_folder(folder).map_err(io_error(folder))?;
    let aside: PathBuf = folder.join(format!(".store.{}", Uuid::new_v4().simple()));
    let file = new_private_file(&aside).map_err(io_error(&aside))?;
    let made = fill(file, root_key).and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map_err(io_error(path)),
    });
    fs::remove_file(&aside).map_err(io_error(&aside))?;
    made?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error(folder))
}

fn fill(file: File, root_key: &RootKey) -> Result<(), StoreError> {
    let database = engine().create_with_backend(redb::backends::FileBackend::new(file)?)?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_LAYOUT, LAYOUT.to_be_bytes().as_slice())?;
        meta.insert(META_IDENTITY, Uuid::new_v4().as_bytes().as_slice())?;
        meta.insert(META_ROOT_KEY_CHECK, root_key.check_value().as_slice())?;
        meta.insert(META_REVISION, 0_u64.to_be_bytes().as_slice())?;
        transaction.open_table(ORGS)?;
        transaction.open_table(USERS)?;
        transaction.open_table(KEYS)?;
        transaction.open_table(KEY_BY_FINGERPRINT)?;
        transaction.open_table(KEYS_OF_ORG)?;
        transaction.open_table(NAMES)?;
        transaction.open_table(CHANGES)?;
    }
    Ok(transaction.commit()?)
}

pub(super) fn database_error(error: DatabaseError, path: &Path) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path },
        DatabaseError::Storage(redb::StorageError::Io(error)) => StoreError::Io { path, error },
        error => error.into(),
    }
}

pub(super) fn read_meta(
    reading: &ReadTransaction,
    root_key: &RootKey,
    path: &Path,
) -> Result<(Uuid, Revision), StoreError> {
    let other_layout = |found| StoreError::OtherLayout {
        path: path.to_owned(),
        found,
        wanted: LAYOUT,
    };
    let meta = match reading.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(other_layout(None)),
    };
    let layout = meta
        .get(META_LAYOUT)?
        .and_then(|value| value.value().try_into().ok())
        .map(u32::from_be_bytes);
    if layout != Some(LAYOUT) {
        return Err(other_layout(layout));
    }
    let check = meta.get(META_ROOT_KEY_CHECK)?;
    if check.as_ref().map(redb::AccessGuard::value) != Some(root_key.check_value().as_slice()) {
        return Err(StoreError::OtherRootKey {
            path: path.to_owned(),
        });
    }
    let identity = meta
        .get(META_IDENTITY)?
        .and_then(|value| Uuid::from_slice(value.value()).ok())
        .ok_or_else(|| damaged("identity", "it is missing or malformed"))?;
    Ok((identity, revision_in(reading)?))
}

pub(super) fn revision_in(reading: &ReadTransaction) -> Result<Revision, StoreError> {
    revision_of(&reading.open_table(META)?)
}

pub(super) fn revision_of(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Revision, StoreError> {
    meta.get(META_REVISION)?
        .and_then(|value| value.value().try_into().ok())
        .map(|bytes| Revision(u64::from_be_bytes(bytes)))
        .ok_or_else(|| damaged("revision", "it is missing or malformed"))
}

/// The record with this id.
pub(super) fn load<T: DeserializeOwned>(
    table: &impl ReadableTable<[u8; 16], &'static [u8]>,
    id: [u8; 16],
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    table
        .get(id)?
        .map(|value| parse(value.value(), what))
        .transpose()
}

pub(super) fn all<T: DeserializeOwned>(
    table: &impl ReadableTable<[u8; 16], &'static [u8]>,
    what: &'static str,
) -> Result<Vec<T>, StoreError> {
    table
        .iter()?
        .map(|entry| parse(entry?.1.value(), what))
        .collect()
}

pub(super) fn parse<T: DeserializeOwned>(json: &[u8], what: &'static str) -> Result<T, StoreError> {
    serde_json::from_slice(json).map_err(|error| damaged(what, &error.to_string()))
}

pub(super) fn damaged(what: &'static str, why: &str) -> StoreError {
    StoreError::Damaged {
        what,
        why: why.to_owned(),
    }
}
