//! The embedded store's file: its tables, how it is made and recognised, and how a record is read from it. What the
//! operations do with it is in `embedded` and `writing`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableTable, TableDefinition,
    TableError,
};
use uuid::Uuid;

use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::secret::RootKey;
use crate::keys::{Key, Org, Record, RecordKind, Revision, User};
use crate::store::StoreError;
use crate::store::rings::{RING, ring_of};
use crate::store::root_key::{io_error, make_folder, new_private_file, parent};
use crate::store::seal::open;

/// Raised by a change that older versions cannot read.
pub(super) const LAYOUT: u32 = 3;

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

/// Partition and the bytes of a paper's id, to the paper.
pub(super) const PAPERS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("papers");
/// Partition and number, to the entry of the audit log.
pub(super) const AUDIT: TableDefinition<'static, (u8, u64), &[u8]> = TableDefinition::new("audit");

pub(super) const META_LAYOUT: &str = "layout";
const META_IDENTITY: &str = "identity";
pub(super) const META_REVISION: &str = "revision";
/// There while records of another store are copied into this one.
pub(super) const META_COPYING: &str = "copying";

pub(super) fn engine() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// What a new store is to say of itself.
pub(super) struct Made {
    pub(super) identity: Uuid,
    pub(super) keyring: Keyring,
    /// Records of another store are to be copied into it before it is one.
    pub(super) copying: bool,
}

impl Made {
    /// A store of its own.
    pub(super) fn new() -> Result<Self, StoreError> {
        Ok(Self {
            identity: Uuid::new_v4(),
            keyring: Keyring::generate()?,
            copying: false,
        })
    }
}

/// Makes the store aside and links it into place, so that a kill meanwhile leaves no half-made store under its name and
/// a second process never overwrites the first one's.
pub(super) fn make(path: &Path, made: &Made, root_key: &RootKey) -> Result<(), StoreError> {
    let folder = parent(path);
    make_folder(folder).map_err(io_error(folder))?;
    let aside: PathBuf = folder.join(format!(".store.{}", Uuid::new_v4().simple()));
    let file = new_private_file(&aside).map_err(io_error(&aside))?;
    let filled = fill(file, made, root_key).and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.map_err(io_error(path)),
    });
    fs::remove_file(&aside).map_err(io_error(&aside))?;
    filled?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io_error(folder))
}

fn fill(file: File, made: &Made, root_key: &RootKey) -> Result<(), StoreError> {
    let database = engine().create_with_backend(redb::backends::FileBackend::new(file)?)?;
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_LAYOUT, LAYOUT.to_be_bytes().as_slice())?;
        meta.insert(META_IDENTITY, made.identity.as_bytes().as_slice())?;
        let wrapped = made.keyring.wrap(root_key)?;
        meta.insert(ring_of(root_key).as_str(), wrapped.as_slice())?;
        if made.copying {
            meta.insert(META_COPYING, [1].as_slice())?;
        }
        meta.insert(META_REVISION, 0_u64.to_be_bytes().as_slice())?;
        transaction.open_table(ORGS)?;
        transaction.open_table(USERS)?;
        transaction.open_table(KEYS)?;
        transaction.open_table(KEY_BY_FINGERPRINT)?;
        transaction.open_table(KEYS_OF_ORG)?;
        transaction.open_table(NAMES)?;
        transaction.open_table(CHANGES)?;
        transaction.open_table(PAPERS)?;
        transaction.open_table(AUDIT)?;
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

/// What a store says of itself.
pub(super) struct Meta {
    pub(super) identity: Uuid,
    pub(super) revision: Revision,
    pub(super) keyring: Keyring,
    pub(super) copying: bool,
}

pub(super) fn read_meta(
    reading: &ReadTransaction,
    root_key: &RootKey,
    path: &Path,
) -> Result<Meta, StoreError> {
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
    let other_root_key = || StoreError::OtherRootKey {
        path: path.to_owned(),
    };
    let wrapped = meta.get(ring_of(root_key).as_str())?;
    let wrapped = wrapped.ok_or_else(other_root_key)?;
    let keyring = Keyring::unwrap(root_key, wrapped.value()).map_err(|_| other_root_key())?;
    let identity = meta
        .get(META_IDENTITY)?
        .and_then(|value| Uuid::from_slice(value.value()).ok())
        .ok_or_else(|| damaged("identity", "it is missing or malformed"))?;
    Ok(Meta {
        identity,
        revision: revision_in(reading)?,
        keyring,
        copying: meta.get(META_COPYING)?.is_some(),
    })
}

/// The check values of the root keys that open the store.
pub(super) fn root_keys_of(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<BTreeSet<String>, StoreError> {
    let mut known = BTreeSet::new();
    for entry in meta.range(RING..)? {
        let (name, _) = entry?;
        let Some(check) = name.value().strip_prefix(RING) else {
            break;
        };
        known.insert(check.to_owned());
    }
    Ok(known)
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

/// What a table of records holds, out of a record.
pub(super) trait Recorded: Sized {
    /// What it is of.
    const KIND: RecordKind;
    /// Out of a record, when it is of that.
    fn of(record: Record) -> Option<Self>;
}

macro_rules! recorded {
    ($($what:ident),*) => {
        $(impl Recorded for $what {
            const KIND: RecordKind = RecordKind::$what;

            fn of(record: Record) -> Option<Self> {
                match record {
                    Record::$what(what) => Some(what),
                    _ => None,
                }
            }
        })*
    };
}

recorded!(Org, User, Key);

/// The record with this id.
pub(super) fn load<T: Recorded>(
    table: &impl ReadableTable<[u8; 16], &'static [u8]>,
    id: [u8; 16],
    sealer: &Sealer,
) -> Result<Option<T>, StoreError> {
    table
        .get(id)?
        .map(|value| unseal(value.value(), sealer))
        .transpose()
}

pub(super) fn all<T: Recorded>(
    table: &impl ReadableTable<[u8; 16], &'static [u8]>,
    sealer: &Sealer,
) -> Result<Vec<T>, StoreError> {
    table
        .iter()?
        .map(|entry| unseal(entry?.1.value(), sealer))
        .collect()
}

fn unseal<T: Recorded>(sealed: &[u8], sealer: &Sealer) -> Result<T, StoreError> {
    let what = T::KIND.as_str();
    let record = open(sealer, sealed).map_err(|why| damaged(what, &why.to_string()))?;
    T::of(record).ok_or_else(|| damaged(what, "it is a record of something else"))
}

pub(super) fn damaged(what: &'static str, why: &str) -> StoreError {
    StoreError::Damaged {
        what,
        why: why.to_owned(),
    }
}
