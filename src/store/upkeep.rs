//! What keeps a store in order, whichever home it has: how it is, whether it is whole, which root keys open it, and who
//! has its keys in memory. What each home answers is its own matter.

use super::copy::{Source, unseal};
use super::findings::{Findings, Status};
use super::redis::probe::NodeReport;
use super::rings::{check_of, check_text, must_stay};
use super::seal::BUCKETS;
use super::{Store, StoreError};
use crate::keys::secret::RootKey;
use crate::keys::{PARTITIONS, Partition, Record, Timestamp};

impl Store {
    /// What it says of itself.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn status(&self) -> Result<Status, StoreError> {
        match self {
            Self::Embedded(store) => store.status(),
            Self::Redis(store) => store.reach()?.status(),
        }
    }

    /// Looks through all of it.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn verify(&self) -> Result<Findings, StoreError> {
        match self {
            Self::Embedded(store) => store.verify(),
            Self::Redis(store) => {
                let store = store.reach()?;
                let verified = store.verify()?;
                let mut found = Findings {
                    records: verified.records,
                    digests: (PARTITIONS * BUCKETS) as u64,
                    ..Findings::default()
                };
                for problem in verified.problems {
                    found.fault(problem);
                }
                store.verify_names(&mut found)?;
                Ok(found)
            }
        }
    }

    /// Lets the store be opened with this root key too. Returns its check value.
    ///
    /// # Errors
    /// When it cannot be written. Doing it again does no harm.
    pub fn add_root_key(&self, root_key: &RootKey) -> Result<String, StoreError> {
        match self {
            Self::Embedded(store) => store.add_root_key(root_key)?,
            Self::Redis(store) => store.reach()?.add_root_key(root_key)?,
        }
        Ok(check_text(root_key.check_value()))
    }

    /// Lets the store no longer be opened with the root key that has this check value. Returns the value.
    ///
    /// # Errors
    /// [`StoreError::RootKeyStays`] when it is the last one, the one in use here, or none of the store's.
    pub fn retire_root_key(&self, check: &str) -> Result<String, StoreError> {
        let stays = |why| Err(StoreError::RootKeyStays { why });
        let Some(check) = check_of(check) else {
            return stays("a root key is named by its check value, the 16 hexadecimal digits that `keygate store status` shows".to_owned());
        };
        let (known, in_use) = match self {
            Self::Embedded(store) => (store.root_keys()?, store.root_key_in_use().to_owned()),
            Self::Redis(store) => {
                let store = store.reach()?;
                (store.root_keys()?, store.root_key_in_use().to_owned())
            }
        };
        if let Some(why) = must_stay(&known, &check, &in_use) {
            return stays(why);
        }
        match self {
            Self::Embedded(store) => store.retire_root_key(&check)?,
            Self::Redis(store) => store.reach()?.retire_root_key(&check)?,
        };
        Ok(check)
    }

    /// What the nodes have said that have the keys in memory, and what time it is by the clock they are told of;
    /// `None` when the store is that of one server. With a partition: what they have said of it.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn nodes(
        &self,
        partition: Option<Partition>,
    ) -> Result<Option<(Vec<NodeReport>, Timestamp)>, StoreError> {
        let Self::Redis(store) = self else {
            return Ok(None);
        };
        let store = store.reach()?;
        let nodes = match partition {
            Some(partition) => store.nodes_of(partition)?,
            None => store.nodes()?,
        };
        let first = partition.or_else(|| Partition::all().next());
        let now = first.map(|partition| store.now(partition)).transpose()?;
        Ok(now.map(|now| (nodes, now)))
    }

    /// The clock that nodes are told of; `None` when the store is that of one server.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn now(&self, partition: Partition) -> Result<Option<Timestamp>, StoreError> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Redis(store) => store.reach()?.now(partition).map(Some),
        }
    }

    /// Shows every record that can be read, in no order.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn each_record(&self, each: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        let source: &dyn Source = match self {
            Self::Embedded(store) => store,
            Self::Redis(store) => store.reach()?,
        };
        let sealer = source.sealer();
        source.each(&|_, _| true, &mut |lying| {
            if let Ok(record) = unseal(&sealer, &lying) {
                each(record);
            }
            Ok(())
        })
    }
}
