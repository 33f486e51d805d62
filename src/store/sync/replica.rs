//! The node's own copy of the store in a file: the sealed records as they were received, how far they go, and since when.
//! Here it is made and written; how it is read at start is in `loading`. What is to be kept of two versions of a record is in `join`.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use redb::{Database, Durability, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::follower::Change;
use super::join::{Revoking, keep};
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::secret::RootKey;
use crate::keys::{PARTITIONS, Record, Revision, Timestamp};
use crate::store::StoreError;
use crate::store::redis::rings::Rings;
use crate::store::rings::{RING, ring_of};
use crate::store::root_key::{io_error, new_private_file, parent};
use crate::store::seal::{bucket_of, open, term};

/// How a save is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So that a file which a killed process leaves is opened at once.
    Ready,
    /// So that it is done soon. A file left after it is read as a whole before it is opened, so another save is to follow.
    Urgent,
}

/// Raised by a change that older versions cannot read.
pub(super) const LAYOUT: u32 = 1;

/// The engine's page cache. The records are held in memory by the key table already.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// What a refused replica is renamed to; it replaces the one refused before.
const REFUSED: &str = "refused";

/// Partition, bucket, a kind's byte and an id: the order in which a store is read, so that what comes together lies together.
pub(super) type Field = [u8; 19];
type Records = TableDefinition<'static, Field, &'static [u8]>;

pub(super) const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");
/// The newest version of every record.
pub(super) const NEWEST: Records = TableDefinition::new("newest");
/// Older versions that take away more than the newest.
pub(super) const REVOKING: Records = TableDefinition::new("revoking");

pub(super) const META_LAYOUT: &str = "layout";
pub(super) const META_STATE: &str = "state";

/// Before the state when its code is computed: no record begins like it.
pub(super) const STATE_PURPOSE: &[u8] = b"keygate replica state";

/// How far the file goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) identity: Uuid,
    pub(super) positions: [Revision; PARTITIONS],
    pub(super) digests: [u64; PARTITIONS],
    /// The moment with whose store it is in step, by the wall clock; `None` before it was.
    pub(super) as_of: Option<Timestamp>,
}

/// The file, to be written. One thread does.
pub struct Replica {
    path: PathBuf,
    /// `None` after a failure: the engine takes nothing more until the file is opened again.
    database: Option<Database>,
    sealer: Sealer,
    identity: Uuid,
    digests: [u64; PARTITIONS],
}

pub(super) fn engine() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Where a record is filed; `None` when its parts are of different partitions.
pub(super) fn field_of(record: &Record) -> Option<Field> {
    let id = record.id_bytes();
    let partition = u8::try_from(record.partition()?.index()).ok()?;
    let bucket = u8::try_from(bucket_of(id)).ok()?;
    let mut field = [0; 19];
    let bytes = [partition, bucket, record.kind().byte()]
        .into_iter()
        .chain(id);
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = from;
    }
    Some(field)
}

/// The wrapped keys in the file, by their names, which are those they have in Redis.
pub(super) fn rings_of(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Rings, redb::StorageError> {
    let mut held = Rings::new();
    for entry in meta.range(RING..)? {
        let (name, wrapped) = entry?;
        if !name.value().starts_with(RING) {
            break;
        }
        held.insert(name.value().to_owned(), wrapped.value().to_vec());
    }
    Ok(held)
}

impl Replica {
    /// A file that is open.
    pub(super) fn opened(
        path: &Path,
        database: Database,
        sealer: Sealer,
        identity: Uuid,
        digests: [u64; PARTITIONS],
    ) -> Self {
        Self {
            path: path.to_owned(),
            database: Some(database),
            sealer,
            identity,
            digests,
        }
    }

    /// Makes an empty one, in the place of whatever was there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn make(
        path: &Path,
        root_key: &RootKey,
        keyring: &Keyring,
        identity: Uuid,
    ) -> Result<Self, StoreError> {
        let aside = beside(path, "new");
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(io_error(&aside)(error));
            }
            _ => {}
        }
        let file = new_private_file(&aside).map_err(io_error(&aside))?;
        let database = engine().create_with_backend(redb::backends::FileBackend::new(file)?)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_LAYOUT, LAYOUT.to_be_bytes().as_slice())?;
            let wrapped = keyring.wrap(root_key)?;
            meta.insert(ring_of(root_key).as_str(), wrapped.as_slice())?;
            transaction.open_table(NEWEST)?;
            transaction.open_table(REVOKING)?;
        }
        transaction.commit()?;
        let none = [0; PARTITIONS];
        let mut replica = Self::opened(path, database, keyring.sealer(), identity, none);
        replica.save(&[], &[Revision(0); PARTITIONS], None, Pace::Ready)?;
        fs::rename(&aside, path).map_err(io_error(path))?;
        let folder = parent(path);
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io_error(folder))?;
        Ok(replica)
    }

    /// Moves a refused replica out of the way, for whoever wants to know what happened to it.
    pub fn move_aside(path: &Path) {
        // Where that is not possible the next one cannot be made either, which is said then.
        let _ = fs::rename(path, beside(path, REFUSED));
    }

    /// Writes changes, in order, and how far the whole now goes; all of it or nothing. Durable when it returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(
        &mut self,
        changes: &[Change],
        positions: &[Revision; PARTITIONS],
        as_of: Option<Timestamp>,
        pace: Pace,
    ) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => engine().open(&self.path)?,
        };
        self.digests = self.write(&database, changes, positions, as_of, pace)?;
        self.database = Some(database);
        Ok(())
    }

    /// Lets the file open with these wrapped keys, and with no others but the ones that this root key opens.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_rings(&mut self, root_key: &RootKey, rings: &Rings) -> Result<(), StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => engine().open(&self.path)?,
        };
        let own = ring_of(root_key);
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let mut is_news = false;
        {
            let mut meta = transaction.open_table(META)?;
            let held = rings_of(&meta)?;
            for name in held
                .keys()
                .filter(|name| **name != own && !rings.contains_key(*name))
            {
                meta.remove(name.as_str())?;
                is_news = true;
            }
            for (name, wrapped) in rings {
                if *name != own && held.get(name) != Some(wrapped) {
                    meta.insert(name.as_str(), wrapped.as_slice())?;
                    is_news = true;
                }
            }
        }
        if is_news {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        self.database = Some(database);
        Ok(())
    }

    /// Returns the digests that go with what is then in the file.
    fn write(
        &self,
        database: &Database,
        changes: &[Change],
        positions: &[Revision; PARTITIONS],
        as_of: Option<Timestamp>,
        pace: Pace,
    ) -> Result<[u64; PARTITIONS], StoreError> {
        let mut digests = self.digests;
        // In their order in the file; the versions of one record stay in theirs.
        let mut filed: Vec<(Field, &Change)> = changes
            .iter()
            .filter_map(|change| Some((field_of(&change.record)?, change)))
            .collect();
        filed.sort_by_key(|(field, _)| *field);
        let mut transaction = database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(pace == Pace::Ready);
        {
            let mut newest = transaction.open_table(NEWEST)?;
            let mut revoking = transaction.open_table(REVOKING)?;
            for (field, Change { record, sealed }) in filed {
                let (kind, id) = (record.kind(), record.id_bytes());
                let before = newest.get(field)?.map(|held| held.value().to_vec());
                if before.as_ref() == Some(sealed) {
                    continue;
                }
                let newest_held = before.as_deref().and_then(|held| self.unsealed(held));
                let revoking_held = match &newest_held {
                    Some(_) => revoking
                        .get(field)?
                        .and_then(|held| self.unsealed(held.value())),
                    None => None,
                };
                let kept = keep(newest_held.as_ref(), revoking_held.as_ref(), record);
                match (kept.revoking, before) {
                    (Revoking::TheNewest, Some(before)) => {
                        revoking.insert(field, before.as_slice())?;
                    }
                    (Revoking::TheOneThatCame, _) => {
                        revoking.insert(field, sealed.as_slice())?;
                    }
                    (Revoking::AsItWas | Revoking::TheNewest, _) => {}
                }
                if kept.is_newest {
                    newest.insert(field, sealed.as_slice())?;
                    let partition = record.partition().map_or(0, |partition| partition.index());
                    if let Some(digest) = digests.get_mut(partition) {
                        *digest ^= term(kind, id, record.revision());
                        if let Some(held) = newest_held {
                            *digest ^= term(kind, id, held.revision());
                        }
                    }
                }
            }
            let state = State {
                identity: self.identity,
                positions: *positions,
                digests,
                as_of,
            };
            let mut sealed = postcard::to_allocvec(&state).unwrap_or_default();
            sealed.extend(self.sealer.code(&[STATE_PURPOSE, &sealed].concat()));
            transaction
                .open_table(META)?
                .insert(META_STATE, sealed.as_slice())?;
        }
        transaction.commit()?;
        Ok(digests)
    }

    fn unsealed(&self, sealed: &[u8]) -> Option<Record> {
        open(&self.sealer, sealed).ok()
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::super::follower::Follower;
    use super::super::loading::{Loaded, Refused};
    use super::*;
    use crate::keys::{Actor, Deed, Key, KeyKind, Org, samples};
    use crate::store::seal::seal;
    use crate::telemetry::SyncCounters;

    const OURS: Uuid = Uuid::from_u128(7);

    fn revoked(mut key: Key, revision: u64) -> Key {
        key.revision = Revision(revision);
        key.revoked = Some(Deed {
            at: Timestamp(1),
            by: Actor::Operator,
        });
        key
    }

    struct Folder {
        folder: tempfile::TempDir,
        root_key: RootKey,
        keyring: Keyring,
    }

    impl Folder {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().unwrap(),
                root_key: RootKey::from_hex(&"5a".repeat(32)).unwrap(),
                keyring: Keyring::generate().unwrap(),
            }
        }

        fn path(&self) -> std::path::PathBuf {
            self.folder.path().join("replica.redb")
        }

        fn make(&self) -> Replica {
            Replica::make(&self.path(), &self.root_key, &self.keyring, OURS).unwrap()
        }

        fn load(&self) -> Result<Loaded, Refused> {
            let clock = (Instant::now(), Timestamp(10_000));
            Replica::load(&self.path(), &self.root_key, Some(OURS), clock)
        }

        fn change(&self, record: Record) -> Change {
            let sealed = seal(&self.keyring.sealer(), &record).unwrap();
            Change { record, sealed }
        }
    }

    fn some_keys(org: &Org, count: u64) -> impl Iterator<Item = Key> {
        // The table takes a fingerprint's bytes for random ones, which they are.
        let mut rng = fastrand::Rng::with_seed(7);
        (1..=count).map(move |revision| {
            let mut key = samples::key(KeyKind::ApiKey, org, None, rng.u128(..));
            (key.issued, key.revision) = (Revision(revision), Revision(revision));
            key
        })
    }

    #[test]
    fn a_replica_gives_back_what_it_was_given_and_how_old_that_is() {
        let folder = Folder::new();
        let org = samples::org("acme");
        let keys: Vec<Key> = some_keys(&org, 50).collect();
        let mut replica = folder.make();
        let changes: Vec<Change> = [Record::Org(org.clone())]
            .into_iter()
            .chain(keys.iter().cloned().map(Record::Key))
            .map(|record| folder.change(record))
            .collect();
        let positions = [Revision(50); PARTITIONS];
        replica
            .save(&changes, &positions, Some(Timestamp(4_000)), Pace::Ready)
            .unwrap();
        assert!(matches!(folder.load(), Err(Refused::InUse)));
        drop(replica);
        let loaded = folder.load().unwrap();
        assert_eq!(loaded.positions, positions);
        assert_eq!(loaded.age, Some(Duration::from_secs(6)));
        for key in &keys {
            assert_eq!(loaded.table.full_key(&key.fingerprint).as_ref(), Some(key));
        }
        let counters = Arc::new(SyncCounters::new(Instant::now()));
        let mut follower = Follower::new(folder.keyring.sealer(), None, counters, 1);
        follower.resume(loaded.held, &loaded.positions, true);
        assert_eq!(follower.held(), 51);
        assert_eq!(
            follower.asks(Instant::now(), false),
            [],
            "nothing has to be read anew"
        );
    }

    #[test]
    fn a_replica_forgets_no_revocation_whichever_version_came_last() {
        let folder = Folder::new();
        let org = samples::org("acme");
        let live = some_keys(&org, 1).next().unwrap();
        let dead = revoked(live.clone(), 5);
        let mut renamed = live.clone();
        (renamed.revision, renamed.name) = (Revision(9), "renamed".into());
        for order in [
            [&live, &dead, &renamed],
            [&live, &renamed, &dead],
            [&dead, &renamed, &live],
        ] {
            let mut replica = folder.make();
            for key in order {
                let change = folder.change(Record::Key(key.clone()));
                replica
                    .save(&[change], &[Revision(9); PARTITIONS], None, Pace::Ready)
                    .unwrap();
            }
            drop(replica);
            let loaded = folder.load().unwrap();
            let held = loaded.table.full_key(&live.fingerprint).unwrap();
            assert_eq!(held.revision, Revision(9));
            assert_eq!(held.name, "renamed");
            assert!(held.revoked.is_some());
            assert_eq!(loaded.age, None, "it never was in step");
        }
    }

    #[test]
    fn another_root_key_store_or_layout_and_a_cut_file_are_refused_by_name() {
        let folder = Folder::new();
        assert!(matches!(folder.load(), Err(Refused::Missing)));
        drop(folder.make());
        let clock = (Instant::now(), Timestamp(0));
        let other = RootKey::from_hex(&"5b".repeat(32)).unwrap();
        let refused = Replica::load(&folder.path(), &other, None, clock).err();
        assert!(matches!(refused, Some(Refused::OtherRootKey)));
        let wanted = Some(Uuid::from_u128(8));
        let refused = Replica::load(&folder.path(), &folder.root_key, wanted, clock).err();
        assert!(matches!(refused, Some(Refused::OtherIdentity(OURS))));
        let whole = fs::read(folder.path()).unwrap();
        for length in [0, 1, 4096, whole.len() / 2] {
            fs::write(folder.path(), &whole[..length]).unwrap();
            assert!(folder.load().is_err(), "cut at {length}");
        }
        fs::write(folder.path(), vec![0; 10_000]).unwrap();
        assert!(folder.load().is_err());
        Replica::move_aside(&folder.path());
        assert!(matches!(folder.load(), Err(Refused::Missing)));
        assert!(folder.folder.path().join("replica.redb.refused").exists());
    }

    #[test]
    fn a_flipped_bit_never_gives_a_record_that_was_not_written() {
        let folder = Folder::new();
        let org = samples::org("acme");
        let mut keys: Vec<Key> = some_keys(&org, 40).collect();
        keys[0] = revoked(keys[0].clone(), 41);
        let mut replica = folder.make();
        let changes: Vec<Change> = keys
            .iter()
            .cloned()
            .map(|it| folder.change(Record::Key(it)))
            .collect();
        let positions = [Revision(41); PARTITIONS];
        replica
            .save(&changes, &positions, Some(Timestamp(9_000)), Pace::Ready)
            .unwrap();
        drop(replica);
        let whole = fs::read(folder.path()).unwrap();
        let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..300 {
            let mut flipped = whole.clone();
            flipped[used[rng.usize(0..used.len())]] ^= 1 << rng.u8(0..8);
            fs::write(folder.path(), &flipped).unwrap();
            match folder.load() {
                Err(_) => refused += 1,
                Ok(loaded) => {
                    taken += 1;
                    assert_eq!(loaded.positions, positions);
                    assert_eq!(loaded.age, Some(Duration::from_secs(1)));
                    for key in &keys {
                        assert_eq!(loaded.table.full_key(&key.fingerprint).as_ref(), Some(key));
                    }
                }
            }
        }
        assert!(
            refused > 0,
            "{refused} refused, {taken} as they were written"
        );
    }

    #[test]
    fn a_replica_opens_with_the_root_keys_of_the_store_and_with_no_other() {
        let folder = Folder::new();
        let added = RootKey::from_hex(&"5c".repeat(32)).unwrap();
        let ring = |key: &RootKey| (ring_of(key), folder.keyring.wrap(key).unwrap());
        let clock = (Instant::now(), Timestamp(10_000));
        let load = |key: &RootKey| Replica::load(&folder.path(), key, Some(OURS), clock);
        let save = |mut replica: Replica, rings: Rings| {
            replica.save_rings(&folder.root_key, &rings).unwrap();
        };
        let both = Rings::from([ring(&folder.root_key), ring(&added)]);
        save(folder.make(), both);
        assert!(load(&added).is_ok());

        let held = folder.load().unwrap().replica;
        save(held, Rings::from([ring(&folder.root_key)]));
        assert!(load(&added).is_err());
        // Whatever a store says: the root key in use goes on opening the file.
        let held = folder.load().unwrap().replica;
        save(held, Rings::new());
        assert!(folder.load().is_ok());
    }
}
