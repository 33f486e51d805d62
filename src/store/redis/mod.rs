//! The store that a fleet shares, in Redis: its typed operations, and how a transaction is tried until it is known what
//! came of it. What is in Redis, and under which names, is in `layout`; nothing outside this folder knows.
//!
//! Everything here blocks, for as long as the configured timeouts let it.

mod carry;
mod claims;
mod commit;
mod connect;
pub mod feed;
mod held_names;
mod info;
pub mod inspect;
mod layout;
mod lists;
mod log;
mod look_up;
mod make;
mod masters;
mod mend;
mod pool;
pub mod probe;
mod records;
mod revisions;
pub mod rings;
mod scripts;
mod transaction;
mod usage;
pub mod verify;
pub mod write_back;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

use self::commit::now_us;
pub use self::info::{Checkup, check_up};
use self::layout::Layout;
use self::make::Identity;
use self::pool::Servers;
use self::revisions::AHEAD_MAX_US;
use self::rings::Rings;
use crate::config::Redis;
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::rules::Limits;
use crate::keys::secret::{Fingerprinter, RootKey};
use crate::keys::{PARTITIONS, Partition, Revision};
use crate::store::StoreError;
use crate::store::operations::operations_of;
use crate::store::rings::ring_of;

/// What a store is connected to for.
pub enum Purpose {
    /// To use the store that is there.
    Serve,
    /// To use it, or to make it where Redis is empty.
    Make,
    /// To bring another store here, under its identity and with its keys, or to go on with that.
    Bring {
        /// The identity.
        identity: Uuid,
        /// The keys.
        keyring: Keyring,
        /// The keys as other root keys open them, so that no node is locked out of what is made here.
        rings: Rings,
    },
}

/// The store in Redis.
pub struct RedisStore {
    servers: Servers,
    identity: Uuid,
    keyring: Keyring,
    wrapped: Vec<u8>,
    /// The field of meta in which they are.
    ring: String,
    /// All that opened it when it was last asked.
    rings: Mutex<Rings>,
    fingerprinter: Fingerprinter,
    sealer: Sealer,
    limits: Limits,
    /// The newest revision of each partition that this node knows of, whoever said so.
    seen: [AtomicU64; PARTITIONS],
    /// The newest revision of each partition that a record of ours proves.
    proven: [AtomicU64; PARTITIONS],
}

impl RedisStore {
    /// Connects to the store.
    ///
    /// # Errors
    /// When the servers cannot be reached, when they are empty and the purpose is to serve, and when what they hold is
    /// not ours, of another layout, or of another root key: it is left as it is.
    pub fn connect(
        config: &Redis,
        root_key: &RootKey,
        limits: Limits,
        purpose: Purpose,
    ) -> Result<Self, StoreError> {
        let servers = Servers::new(config)?;
        let Identity {
            identity,
            keyring,
            wrapped,
        } = match purpose {
            Purpose::Serve => make::recognise(&servers, root_key)?,
            Purpose::Make => make::make(&servers, root_key, None)?,
            Purpose::Bring {
                identity,
                keyring,
                rings,
            } => make::make(&servers, root_key, Some((identity, keyring, rings)))?,
        };
        Ok(Self {
            servers,
            identity,
            fingerprinter: keyring.fingerprinter(),
            sealer: keyring.sealer(),
            keyring,
            wrapped,
            ring: ring_of(root_key),
            rings: Mutex::default(),
            limits,
            seen: std::array::from_fn(|_| AtomicU64::new(0)),
            proven: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// Tells this store from every other one.
    pub const fn identity(&self) -> Uuid {
        self.identity
    }

    /// Its fingerprint function.
    pub fn fingerprinter(&self) -> Fingerprinter {
        self.fingerprinter.clone()
    }

    /// What proves its records.
    pub fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    /// Its keys, wrapped under the root key that it was opened with.
    pub fn wrapped_keyring(&self) -> &[u8] {
        &self.wrapped
    }

    /// The rules about numbers that it holds.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where it is, for a sentence.
    pub fn servers(&self) -> String {
        self.servers.connector().named()
    }

    /// Notes a revision that this node was told of: whatever it writes gets a larger one, also when the store has lost
    /// some. One that is far ahead of the clocks is not noted, for anybody may have told it.
    pub fn note_seen(&self, partition: Partition, revision: Revision) {
        let limit = now_us().saturating_add(AHEAD_MAX_US);
        if revision.0 <= limit.max(self.proven(partition).0) {
            self.note_told(partition, revision);
        }
    }

    /// As [`Self::note_seen`], of a revision that a script has found to be near enough.
    fn note_told(&self, partition: Partition, revision: Revision) {
        if let Some(seen) = self.seen.get(partition.index()) {
            seen.fetch_max(revision.0, Ordering::AcqRel);
        }
    }

    /// Notes the revision of a record whose code is good: whatever this node writes gets a larger one, wherever that is.
    pub fn note_proven(&self, partition: Partition, revision: Revision) {
        if let Some(proven) = self.proven.get(partition.index()) {
            proven.fetch_max(revision.0, Ordering::AcqRel);
        }
    }

    /// Whether a partition has all its records: while they are being put back, nothing new is made, for what it must not
    /// meet may still be missing. Revoking and disabling go on.
    fn whole(&self, partition: Partition) -> Result<(), StoreError> {
        if self.tail(partition)?.restoring {
            return Err(StoreError::NotNow {
                server: self.servers(),
                why: "it is being put back together, and until then nothing new is made: run keygate store restore"
                    .to_owned(),
            });
        }
        Ok(())
    }

    fn layout(&self) -> &Layout {
        self.servers.layout()
    }

    fn seen(&self, partition: Partition) -> Revision {
        let seen = self.seen.get(partition.index());
        Revision(seen.map_or(0, |seen| seen.load(Ordering::Acquire)))
    }

    fn proven(&self, partition: Partition) -> Revision {
        let proven = self.proven.get(partition.index());
        Revision(proven.map_or(0, |proven| proven.load(Ordering::Acquire)))
    }
}

operations_of!(RedisStore);

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisStore({})", self.identity)
    }
}
