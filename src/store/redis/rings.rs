//! Under which root keys the store's own keys are wrapped in Redis: one more, so that nodes can change over to it one by
//! one, and one less when all have. Nothing that was stored changes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use redis::Value;

use super::RedisStore;
use super::layout::partition_at;
use super::scripts::{Arguments, RINGS};
use crate::keys::Partition;
use crate::keys::secret::RootKey;
use crate::store::StoreError;
use crate::store::rings::{RING, ring_of};

/// Wrapped keys by name.
pub type Rings = BTreeMap<String, Vec<u8>>;

/// More than these no store of ours has.
const RINGS_MAX: usize = 16;

/// So many are listed, so that those that are not ours can be retired.
const LISTED_MAX: usize = 1_000;

impl RedisStore {
    /// Lets the store be opened with this root key too.
    ///
    /// # Errors
    /// When a master cannot be reached. Then some partitions may know it already; doing it again does no harm.
    pub fn add_root_key(&self, root_key: &RootKey) -> Result<(), StoreError> {
        let wrapped = self.keyring.wrap(root_key)?;
        let field = ring_of(root_key);
        // The first partition is the one by which a store is recognised, so it comes last.
        for partition in first_last() {
            let mut command = redis::cmd("HSET");
            command
                .arg(self.layout().meta(partition))
                .arg(&field)
                .arg(&wrapped);
            self.servers
                .on(partition, |link| link.query::<Value>(&command))?;
        }
        Ok(())
    }

    /// The store's own keys, wrapped under each root key that opens it, by the names they have in the store. For a replica,
    /// so that it opens with a root key that was added after the node started.
    ///
    /// # Errors
    /// When a master cannot be reached.
    pub fn rings(&self) -> Result<Rings, StoreError> {
        let rings = self.rings_up_to(RINGS_MAX)?;
        let mut known = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        // A store that was emptied tells none, and another one others; then those count that it told before, for they open
        // what is put back.
        if rings.contains_key(&self.ring) {
            *known = rings;
        }
        Ok(known.clone())
    }

    /// The one in use here is among them, however many others somebody may have put there.
    fn rings_up_to(&self, most: usize) -> Result<Rings, StoreError> {
        let partition = partition_at(0);
        let keys = [self.layout().meta(partition)];
        let mut arguments = Arguments::default();
        arguments.push(&self.ring);
        arguments.push_number(self.wrapped.len());
        arguments.push_number(most);
        self.servers
            .on(partition, |link| link.run(&RINGS, &keys, &arguments.0))
    }

    /// The wrapped keys that the store told when it was last asked, without asking it.
    pub(in crate::store) fn known_rings(&self) -> Rings {
        let known = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    /// The check values of the root keys that open the store.
    ///
    /// # Errors
    /// When a master cannot be reached.
    pub fn root_keys(&self) -> Result<BTreeSet<String>, StoreError> {
        let rings = self.rings_up_to(LISTED_MAX)?;
        let checks = rings.keys().filter_map(|field| field.strip_prefix(RING));
        Ok(checks.map(ToOwned::to_owned).collect())
    }

    /// Lets the store no longer be opened with the root key that has this check value. Returns whether it could be.
    ///
    /// # Errors
    /// [`StoreError::NotNow`] when it is the one in use here, and when a master cannot be reached.
    pub fn retire_root_key(&self, check: &str) -> Result<bool, StoreError> {
        let field = format!("{RING}{check}");
        if field == self.ring {
            return Err(StoreError::NotNow {
                server: self.servers(),
                why: "this is the root key in use: run this with the new one".to_owned(),
            });
        }
        let known = self.root_keys()?.contains(check);
        for partition in Partition::all() {
            let mut command = redis::cmd("HDEL");
            command.arg(self.layout().meta(partition)).arg(&field);
            self.servers
                .on(partition, |link| link.query::<Value>(&command))?;
        }
        Ok(known)
    }
}

fn first_last() -> impl Iterator<Item = Partition> {
    Partition::all().skip(1).chain([partition_at(0)])
}
