//! Moving a store between its homes, and putting back into Redis what a node still has: which store is copied where,
//! and when that is refused. How records are copied and compared is in `copy`.

use std::path::Path;
use std::time::Instant;

use uuid::Uuid;

pub use super::copy::Copied;
use super::copy::{Demand, Each, Source, Wanted, copy, partition_of};
use super::embedded::EmbeddedStore;
use super::log::LogSource;
use super::redis::rings::Rings;
use super::redis::{Purpose, RedisStore};
use super::root_key::existing_root_key;
use super::seal::{Lying, bucket_of, seal};
use super::sync::loading::Refused;
use super::sync::replica::Replica;
use super::{FleetStore, StoreError, limits};
use crate::config::{Rules, StoreConfig};
use crate::keys::audit::{Action, By};
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::rules::Limits;
use crate::keys::secret::RootKey;
use crate::keys::usage::Use;
use crate::keys::{KeyId, KeyTable, OrgId, Partition, Record, Timestamp};

/// Copies the embedded store of a configuration into its Redis, which must be empty, half copied, or hold what is to be
/// copied already.
///
/// # Errors
/// When either cannot be used, when a server has the file open, and when something else is in Redis: it is left as it is.
pub fn to_redis(config: &StoreConfig, rules: &Rules) -> Result<Copied, StoreError> {
    let path = config.database();
    let root_key = root_key_of(config, &path)?;
    if !path.exists() {
        return Err(StoreError::NothingToCopy { path });
    }
    let limits = limits(rules);
    let source = EmbeddedStore::open(&path, &root_key, limits)?;
    let target = bring(
        config,
        &root_key,
        limits,
        (source.identity(), source.keyring(), Rings::new()),
    )?;
    let mut tails = Vec::new();
    for partition in Partition::all() {
        tails.push(target.tail(partition)?);
    }
    let is_begun =
        tails.iter().any(|tail| tail.restoring) || tails.iter().all(|tail| tail.count == 0);
    let demand = if is_begun {
        Demand::Same
    } else {
        Demand::Already
    };
    copy(&source, &target, demand)
}

/// Copies the store in the Redis of a configuration into its embedded store, which must not be there, be half copied, or
/// be what is to be copied already.
///
/// # Errors
/// When either cannot be used, and when there is such a store already: it is left as it is.
pub fn to_file(config: &StoreConfig, rules: &Rules) -> Result<Copied, StoreError> {
    let root_key = root_key_of(config, &config.database())?;
    let limits = limits(rules);
    let source = RedisStore::connect(&config.redis, &root_key, limits, Purpose::Serve)?;
    let (identity, keyring) = (source.identity(), source.keyring());
    let path = config.database();
    match EmbeddedStore::make_like(&path, identity, keyring, &root_key, limits) {
        Ok(target) => copy(&source, &target, Demand::Same),
        // It may be what was copied before.
        Err(StoreError::NotEmpty { .. }) => {
            let target = EmbeddedStore::open(&path, &root_key, limits)?;
            copy(&source, &target, Demand::Already)
        }
        Err(error) => Err(error),
    }
}

/// Puts what a node's replica holds, and Redis does not or has older, back into Redis.
///
/// # Errors
/// When either cannot be used, when the node runs, and when another store is in Redis: it is left as it is.
pub fn restore(config: &StoreConfig, rules: &Rules) -> Result<Copied, StoreError> {
    let path = config.replica();
    let root_key = root_key_of(config, &path)?;
    // How old it is does not matter: what is newer in Redis stays.
    let clock = (Instant::now(), Timestamp(0));
    let loaded = Replica::load(&path, &root_key, None, clock).map_err(|refused| match refused {
        Refused::Missing => StoreError::NothingToCopy { path: path.clone() },
        Refused::InUse => StoreError::Locked { path: path.clone() },
        refused => StoreError::Damaged {
            what: "replica",
            why: format!("{}: {refused}", path.display()),
        },
    })?;
    let (identity, keyring) = (loaded.identity, loaded.keyring.clone());
    let target = bring(
        config,
        &root_key,
        limits(rules),
        (identity, keyring, loaded.rings),
    )?;
    let source = InMemory {
        place: path.display().to_string(),
        identity,
        sealer: loaded.keyring.sealer(),
        table: &loaded.table,
    };
    let copied = copy(&source, &target, Demand::AtLeast)?;
    // A node that runs logs it by itself.
    target.log_store(Action::StoreRestored, &copied.sentence(), &By::operator())?;
    Ok(copied)
}

/// Puts what a running node has in memory, and Redis does not or has older, back into Redis.
///
/// # Errors
/// When Redis cannot be used, and when another store is in it: it is left as it is.
pub fn restore_from_node(store: &FleetStore, table: &KeyTable) -> Result<Copied, StoreError> {
    let target = store.bring()?;
    let source = InMemory {
        place: "the memory of this node".to_owned(),
        identity: target.identity(),
        sealer: target.keyring().sealer(),
        table,
    };
    copy(&source, &target, Demand::AtLeast)
}

/// Puts what a running node has of one org back into Redis, if it is not there. The rest is still to be restored, and
/// until then Redis says so.
///
/// # Errors
/// When Redis cannot be used, and when another store is in it: it is left as it is.
pub fn restore_org(store: &FleetStore, table: &KeyTable, org: OrgId) -> Result<(), StoreError> {
    let target = store.bring()?;
    let (mut owners, mut keys) = (Vec::new(), Vec::new());
    table.each(&mut |record| match &record {
        Record::Org(held) if held.id == org => owners.push(record),
        Record::User(held) if held.org == org => owners.push(record),
        Record::Key(held) if held.org == org => keys.push(record),
        Record::Org(_) | Record::User(_) | Record::Key(_) => {}
    });
    // Whose keys are still active is known once their owners are there.
    target.write_back(&owners)?;
    target.write_back(&keys).map(drop)
}

/// A table as a source of records. It has the newest of each, with every revocation that the node has heard of.
struct InMemory<'t> {
    place: String,
    identity: Uuid,
    sealer: Sealer,
    table: &'t KeyTable,
}

impl Source for InMemory<'_> {
    fn place(&self) -> String {
        self.place.clone()
    }

    fn identity(&self) -> Uuid {
        self.identity
    }

    fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    fn each(&self, wanted: Wanted<'_>, each: Each<'_>) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        self.table.each(&mut |record| {
            let (kind, id) = (record.kind(), record.id_bytes());
            if outcome.is_ok() && wanted(partition_of(id), bucket_of(id)) {
                outcome = seal(&self.sealer, &record).and_then(|sealed| {
                    each(Lying {
                        kind,
                        id,
                        sealed: &sealed,
                    })
                });
            }
        });
        outcome
    }

    fn log(&self) -> Option<&dyn LogSource> {
        None
    }

    fn usage_of(&self, keys: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError> {
        Ok(vec![None; keys.len()])
    }
}

fn root_key_of(config: &StoreConfig, store: &Path) -> Result<RootKey, StoreError> {
    let given = config.root_key.as_ref().map(|secret| secret.expose());
    existing_root_key(given, &config.root_key_file(), store)
}

fn bring(
    config: &StoreConfig,
    root_key: &RootKey,
    limits: Limits,
    (identity, keyring, rings): (Uuid, Keyring, Rings),
) -> Result<RedisStore, StoreError> {
    let purpose = Purpose::Bring {
        identity,
        keyring,
        rings,
    };
    RedisStore::connect(&config.redis, root_key, limits, purpose)
}
