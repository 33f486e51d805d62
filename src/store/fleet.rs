//! The store that a fleet shares, as one node has it: the same operations, on a Redis that may not have been reached yet.
//! A node that starts while Redis is away must start; what asks for the store then is told that it cannot be reached.

use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use uuid::Uuid;

use super::StoreError;
use super::redis::rings::Rings;
use super::redis::{Purpose, RedisStore};
use super::root_key::{existing_root_key, root_key};
use crate::config::{Redis, StoreConfig};
use crate::keys::keyring::Keyring;
use crate::keys::rules::Limits;
use crate::keys::secret::RootKey;

/// The store of a fleet.
pub struct FleetStore {
    config: Redis,
    root_key: RootKey,
    limits: Limits,
    /// What the store is called that this node's replica is of, and its keys.
    expected: OnceLock<(Uuid, Keyring, Rings)>,
    reached: OnceLock<RedisStore>,
    reaching: Mutex<()>,
}

impl FleetStore {
    /// To be reached when it is first asked for something.
    ///
    /// # Errors
    /// When there is no root key: a node never makes one, for it would open nothing.
    pub fn new(config: &StoreConfig, limits: Limits) -> Result<Self, StoreError> {
        let given = config.root_key.as_ref().map(|secret| secret.expose());
        let servers = named(&config.redis);
        Ok(Self {
            root_key: existing_root_key(given, &config.root_key_file(), Path::new(&servers))?,
            ..Self::with(&config.redis, RootKey::generate()?, limits)
        })
    }

    /// The store, made if Redis is empty; and the root key with it, if there is none.
    ///
    /// # Errors
    /// As [`RedisStore::connect`].
    pub fn make(config: &StoreConfig, limits: Limits) -> Result<Self, StoreError> {
        let given = config.root_key.as_ref().map(|secret| secret.expose());
        let file = config.root_key_file();
        let had_root_key = given.is_some() || file.exists();
        let root_key = root_key(given, &file, Path::new(""))?;
        let replica = config.replica();
        if replica.exists()
            && let Err(StoreError::Empty { server }) =
                RedisStore::connect(&config.redis, &root_key, limits, Purpose::Serve)
        {
            return Err(StoreError::Emptied { server, replica });
        }
        let store = match RedisStore::connect(&config.redis, &root_key, limits, Purpose::Make) {
            Ok(store) => store,
            Err(error) => {
                // A root key that was made for nothing would only be taken for the right one later. It stays where the
                // store may have been made with it all the same.
                let is_for_nothing = matches!(
                    error,
                    StoreError::OtherRootKey { .. }
                        | StoreError::Unreachable { .. }
                        | StoreError::Denied { .. }
                        | StoreError::NotOurs { .. }
                );
                if !had_root_key && is_for_nothing {
                    let _ = std::fs::remove_file(&file);
                }
                return Err(match error {
                    StoreError::OtherRootKey { path } if !had_root_key => {
                        StoreError::RootKeyMissing {
                            path: file,
                            store: path,
                        }
                    }
                    error => error,
                });
            }
        };
        let made = Self::with(&config.redis, root_key, limits);
        let _ = made.reached.set(store);
        Ok(made)
    }

    fn with(config: &Redis, root_key: RootKey, limits: Limits) -> Self {
        Self {
            config: config.clone(),
            root_key,
            limits,
            expected: OnceLock::new(),
            reached: OnceLock::new(),
            reaching: Mutex::new(()),
        }
    }

    /// Says which store this node has a replica of: no other is taken for it.
    pub fn expect(&self, identity: Uuid, keyring: Keyring, rings: Rings) {
        let _ = self.expected.set((identity, keyring, rings));
    }

    /// A connection to bring back what Redis has lost, under the identity and the keys that are known here. An empty Redis
    /// is made that store again.
    ///
    /// # Errors
    /// When neither the store nor a replica has ever told what it is called, and as [`RedisStore::connect`].
    pub fn bring(&self) -> Result<RedisStore, StoreError> {
        let expected = self.expected.get();
        let known = match (self.reached.get(), expected) {
            (Some(store), _) => Some((store.identity(), store.keyring(), store.known_rings())),
            (None, known) => known.cloned(),
        };
        let (identity, keyring, mut rings) = known.ok_or_else(|| StoreError::NothingToCopy {
            path: "replica".into(),
        })?;
        // It may have been emptied before it was asked.
        if rings.is_empty()
            && let Some((_, _, kept)) = expected
        {
            rings.clone_from(kept);
        }
        let purpose = Purpose::Bring {
            identity,
            keyring,
            rings,
        };
        RedisStore::connect(&self.config, &self.root_key, self.limits, purpose)
    }

    /// The key that opens the store's own keys, the replica's too.
    pub const fn root_key(&self) -> &RootKey {
        &self.root_key
    }

    /// The rules about numbers that it holds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Its part of the configuration.
    pub const fn config(&self) -> &Redis {
        &self.config
    }

    /// The store, if it has been reached before; it may be away by now.
    pub fn reached(&self) -> Option<&RedisStore> {
        self.reached.get()
    }

    /// The store, reached now if it has not been before.
    ///
    /// # Errors
    /// As [`RedisStore::connect`], and when it is another store than the one this node has a replica of.
    pub fn reach(&self) -> Result<&RedisStore, StoreError> {
        if let Some(store) = self.reached.get() {
            return Ok(store);
        }
        let _one_at_a_time = self.reaching.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = self.reached.get() {
            return Ok(store);
        }
        let store = RedisStore::connect(&self.config, &self.root_key, self.limits, Purpose::Serve)?;
        match self.expected.get() {
            Some((expected, ..)) if *expected != store.identity() => {
                Err(StoreError::OtherIdentity {
                    server: store.servers(),
                    found: store.identity().to_string(),
                    wanted: *expected,
                })
            }
            _ => Ok(self.reached.get_or_init(|| store)),
        }
    }
}

impl std::fmt::Debug for FleetStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FleetStore({})", named(&self.config))
    }
}

/// The servers, as a sentence names them.
fn named(config: &Redis) -> String {
    let servers: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
    servers.join(", ")
}
