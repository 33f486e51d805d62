//! The embedded store: one redb file, durable when an operation returns. Here it is opened and read; what the
//! operations check and write is in `writing`, what the file looks like in `file`, a transaction of it in `tables`.

mod adopt;
mod carry;
mod file;
mod log;
mod tables;
mod usage;
mod verify;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable};
use tokio::sync::watch;
use uuid::Uuid;

use self::file::{
    CHANGES, KEY_BY_FINGERPRINT, KEYS, KEYS_OF_ORG, Made, Meta, NAMES, ORGS, USERS, all, damaged,
    database_error, engine, load, make, read_meta, revision_in,
};
use self::tables::{FileTables, Written, index, key_in, keys_of_org_range};
use crate::keys::audit::By;
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::rules::Limits;
use crate::keys::secret::{Fingerprinter, RootKey};
use crate::keys::{
    Fingerprint, Key, KeyId, Org, OrgId, Partition, Record, Revision, Timestamp, User, UserId,
    UserKind,
};
use crate::store::operations::operations_of;
use crate::store::rings::check_text;
use crate::store::root_key::io_error;
use crate::store::seal;
use crate::store::tables::NameSpace;
use crate::store::writing::Writing;
use crate::store::{Changes, Done, Needs, Snapshot, StoreError};

/// The embedded store. Its operations block for as long as the disk takes to flush.
pub struct EmbeddedStore {
    database: Database,
    fingerprinter: Fingerprinter,
    keyring: Keyring,
    sealer: Sealer,
    root_key_check: String,
    limits: Limits,
    identity: Uuid,
    path: PathBuf,
    latest: watch::Sender<Revision>,
}

impl EmbeddedStore {
    /// Opens the store at `path`, or makes it.
    ///
    /// # Errors
    /// When another process has it open, when it has another layout or another root key (it is left as it is), and when
    /// the file cannot be used.
    pub fn open(path: &Path, root_key: &RootKey, limits: Limits) -> Result<Self, StoreError> {
        if !path.try_exists().map_err(io_error(path))? {
            make(path, &Made::new()?, root_key)?;
        }
        match Self::open_any(path, root_key, limits)? {
            (store, false) => Ok(store),
            (_, true) => Err(StoreError::HalfCopied {
                path: path.to_owned(),
            }),
        }
    }

    /// Opens the store, or what is to become one; with it comes whether records are still to be copied into it.
    fn open_any(
        path: &Path,
        root_key: &RootKey,
        limits: Limits,
    ) -> Result<(Self, bool), StoreError> {
        // The engine's writable open touches the file. What is not ours to use is found out without it; only a file that
        // a killed process left to be repaired cannot be read before it is repaired.
        match engine().open_read_only(path) {
            Ok(unchanged) => {
                read_meta(&unchanged.begin_read()?, root_key, path)?;
            }
            Err(DatabaseError::RepairAborted) => {}
            Err(error) => return Err(database_error(error, path)),
        }
        let database = engine()
            .open(path)
            .map_err(|error| database_error(error, path))?;
        let Meta {
            identity,
            revision,
            keyring,
            copying,
        } = read_meta(&database.begin_read()?, root_key, path)?;
        let store = Self {
            database,
            fingerprinter: keyring.fingerprinter(),
            sealer: keyring.sealer(),
            keyring,
            root_key_check: check_text(root_key.check_value()),
            limits,
            identity,
            path: path.to_owned(),
            latest: watch::Sender::new(revision),
        };
        Ok((store, copying))
    }

    /// Tells this store from every other one.
    pub const fn identity(&self) -> Uuid {
        self.identity
    }

    /// Its fingerprint function.
    pub fn fingerprinter(&self) -> Fingerprinter {
        self.fingerprinter.clone()
    }

    /// Its own keys.
    pub(super) fn keyring(&self) -> Keyring {
        self.keyring.clone()
    }

    /// What proves its records.
    pub(super) fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    /// Where its file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The rules about numbers that it holds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The last committed revision.
    pub fn revision(&self) -> Revision {
        *self.latest.borrow()
    }

    /// The last committed revision, as it grows.
    pub fn revisions(&self) -> watch::Receiver<Revision> {
        self.latest.subscribe()
    }

    /// The org with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn org(&self, id: OrgId) -> Result<Option<Org>, StoreError> {
        load(&self.reading()?.open_table(ORGS)?, id.bytes(), &self.sealer)
    }

    /// The org with this name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError> {
        let reading = self.reading()?;
        let holder = reading
            .open_table(NAMES)?
            .get(index(NameSpace::Orgs, name).as_slice())?
            .map(|id| id.value());
        match holder {
            Some(id) => load(&reading.open_table(ORGS)?, id, &self.sealer),
            None => Ok(None),
        }
    }

    /// Every org.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn orgs(&self) -> Result<Vec<Org>, StoreError> {
        all(&self.reading()?.open_table(ORGS)?, &self.sealer)
    }

    /// The user with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        load(
            &self.reading()?.open_table(USERS)?,
            id.bytes(),
            &self.sealer,
        )
    }

    /// Every user and service account of an org.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn users_of(&self, org: OrgId) -> Result<Vec<User>, StoreError> {
        let mut users = self.users()?;
        users.retain(|user| user.org == org);
        Ok(users)
    }

    /// The users with this handle and the service accounts with this name, of every org.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn users_named(&self, text: &str) -> Result<Vec<User>, StoreError> {
        let mut users = self.users()?;
        users.retain(|user| {
            user.handle == text || (user.kind == UserKind::ServiceAccount && user.name == text)
        });
        Ok(users)
    }

    fn users(&self) -> Result<Vec<User>, StoreError> {
        all(&self.reading()?.open_table(USERS)?, &self.sealer)
    }

    /// The key with this id.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        load(&self.reading()?.open_table(KEYS)?, id.bytes(), &self.sealer)
    }

    /// Every key of an org, revoked ones included.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn keys_of(&self, org: OrgId) -> Result<Vec<Key>, StoreError> {
        let reading = self.reading()?;
        let keys = reading.open_table(KEYS)?;
        let mut found = Vec::new();
        for entry in reading
            .open_table(KEYS_OF_ORG)?
            .range(keys_of_org_range(org))?
        {
            let id = key_in(entry?.0.value());
            found.extend(load(&keys, id.bytes(), &self.sealer)?);
        }
        found.sort_by_key(|key: &Key| key.issued);
        Ok(found)
    }

    /// The key with this secret, revoked ones included.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn key_of_secret(&self, secret: &[u8]) -> Result<Option<Key>, StoreError> {
        self.key_of_fingerprint(&self.fingerprinter.fingerprint(secret))
    }

    /// The key with this fingerprint, revoked ones included.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn key_of_fingerprint(&self, wanted: &Fingerprint) -> Result<Option<Key>, StoreError> {
        let reading = self.reading()?;
        let id = reading
            .open_table(KEY_BY_FINGERPRINT)?
            .get(wanted.bytes())?
            .map(|id| id.value());
        match id {
            Some(id) => load(&reading.open_table(KEYS)?, id, &self.sealer),
            None => Ok(None),
        }
    }

    /// Every record, as of one revision.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let reading = self.reading()?;
        let orgs = all(&reading.open_table(ORGS)?, &self.sealer)?;
        let users = all(&reading.open_table(USERS)?, &self.sealer)?;
        let keys = all(&reading.open_table(KEYS)?, &self.sealer)?;
        // Orgs and users come first, so that a table filled in this order never holds a key whose owner it lacks.
        let records = orgs
            .into_iter()
            .map(Record::Org)
            .chain(users.into_iter().map(Record::User))
            .chain(keys.into_iter().map(Record::Key))
            .collect();
        Ok(Snapshot {
            records,
            revision: revision_in(&reading)?,
        })
    }

    /// The changes after `revision`, oldest first, at most `max` of them.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn changes_since(&self, revision: Revision, max: usize) -> Result<Changes, StoreError> {
        let changes = self.reading()?.open_table(CHANGES)?;
        let next = revision.0.saturating_add(1);
        match changes.first()? {
            Some((oldest, _)) if oldest.value() > next => return Ok(Changes::Trimmed),
            Some(_) | None => {}
        }
        changes
            .range(next..)?
            .take(max)
            .map(|entry| {
                seal::open(&self.sealer, entry?.1.value())
                    .map_err(|why| damaged("change", &why.to_string()))
            })
            .collect::<Result<_, _>>()
            .map(Changes::Next)
    }

    fn reading(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }

    /// One transaction: what `change` checks is what it writes upon, and an error of it leaves nothing behind.
    fn write<T>(
        &self,
        _: Partition,
        _: Needs,
        by: &By,
        mut change: impl FnMut(&mut Writing<'_, FileTables<'_>>) -> Result<T, StoreError>,
    ) -> Result<Done<T>, StoreError> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let (value, audit, written) = {
            let mut tables = FileTables::open(&transaction, &self.sealer)?;
            let (fingerprinter, limits) = (&self.fingerprinter, self.limits);
            let mut writing = Writing::new(&mut tables, fingerprinter, limits, now(), by);
            writing.still_may()?;
            let value = change(&mut writing)?;
            (value, writing.logged(), tables.finish()?)
        };
        match written {
            Written::Nothing => transaction.abort()?,
            Written::Beside => transaction.commit()?,
            Written::Records(revision) => {
                transaction.commit()?;
                self.latest.send_if_modified(|latest| {
                    let newer = *latest < revision;
                    *latest = revision.max(*latest);
                    newer
                });
            }
        }
        Ok(Done { value, audit })
    }
}

operations_of!(EmbeddedStore);

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbeddedStore({})", self.identity)
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;
    use crate::keys::KeyTable;
    use crate::store::Store;
    use crate::store::sync::{Sync, catch_up};
    use file::{CHANGES_KEPT, META, META_LAYOUT};

    pub(super) fn store(folder: &Path) -> EmbeddedStore {
        let root_key = RootKey::from_hex(&"5a".repeat(32)).unwrap();
        EmbeddedStore::open(&folder.join("db"), &root_key, Limits::default()).unwrap()
    }

    #[test]
    fn a_reader_that_lags_behind_the_changes_kept_takes_a_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let (org, first) = store
            .create_org("acme".parse().unwrap(), &By::operator())
            .unwrap()
            .value;
        let lagging = store.revision();
        store
            .write(
                org.id.partition(),
                Needs::Nothing,
                &By::operator(),
                |writing| {
                    for round in 0..CHANGES_KEPT + 1 {
                        writing.set_org_disabled(org.id, round % 2 == 0)?;
                    }
                    Ok(())
                },
            )
            .unwrap();
        assert!(matches!(
            store.changes_since(lagging, 1).unwrap(),
            Changes::Trimmed
        ));
        let oldest = Revision(store.revision().0 - CHANGES_KEPT);
        let Changes::Next(next) = store.changes_since(oldest, 1).unwrap() else {
            panic!("the newest changes are kept")
        };
        assert_eq!(next[0].revision(), Revision(oldest.0 + 1));
        let table = KeyTable::new(Instant::now());
        assert_eq!(catch_up(&store, &table, lagging).unwrap(), store.revision());
        assert!(table.read().key(&first.key.fingerprint).is_some());
        assert!(table.org_by_id(&org.id).unwrap().disabled);
    }

    #[test]
    fn another_layout_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let opened = store(folder.path());
        let transaction = opened.database.begin_write().unwrap();
        transaction
            .open_table(META)
            .unwrap()
            .insert(META_LAYOUT, 7_u32.to_be_bytes().as_slice())
            .unwrap();
        transaction.commit().unwrap();
        drop(opened);
        let root_key = RootKey::from_hex(&"5a".repeat(32)).unwrap();
        let error = EmbeddedStore::open(&folder.path().join("db"), &root_key, Limits::default())
            .unwrap_err();
        assert!(error.to_string().contains("has layout 7"), "{error}");
    }

    #[tokio::test]
    async fn the_sync_ends_with_its_shutdown() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let table = Arc::new(KeyTable::new(Instant::now()));
        let sync = Sync::start(Arc::new(Store::Embedded(store)), table, async {}).unwrap();
        sync.ended().await;
    }
}
