//! The embedded store as one that records are copied from and to. What is copied when is in `copy`.

use uuid::Uuid;

use super::EmbeddedStore;
use crate::keys::keyring::Sealer;
use crate::keys::usage::Use;
use crate::keys::{KeyId, PARTITIONS, Partition, Revision};
use crate::store::StoreError;
use crate::store::copy::{Each, Source, Target, Wanted, partition_of};
use crate::store::log::LogSource;
use crate::store::seal::{Carried, bucket_of};

impl Source for EmbeddedStore {
    fn place(&self) -> String {
        self.path().display().to_string()
    }

    fn identity(&self) -> Uuid {
        Self::identity(self)
    }

    fn sealer(&self) -> Sealer {
        Self::sealer(self)
    }

    fn each(&self, wanted: Wanted<'_>, each: Each<'_>) -> Result<(), StoreError> {
        self.each_lying(&mut |lying| {
            if wanted(partition_of(lying.id), bucket_of(lying.id)) {
                each(lying)?;
            }
            Ok(())
        })
    }

    fn log(&self) -> Option<&dyn LogSource> {
        Some(self)
    }

    fn usage_of(&self, keys: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError> {
        Self::usage_of(self, keys)
    }
}

impl Target for EmbeddedStore {
    fn write(&self, _: Partition, records: &[Carried]) -> Result<u64, StoreError> {
        self.adopt(records)
    }

    fn note_usage(&self, uses: &[(KeyId, Use)]) -> Result<(), StoreError> {
        self.flush_usage(uses)
    }

    fn add_entries(
        &self,
        partition: Partition,
        entries: &[(u64, Vec<u8>)],
    ) -> Result<(), StoreError> {
        self.adopt_beside(partition, entries, &[])
    }

    fn put_papers(
        &self,
        partition: Partition,
        papers: &[(Vec<u8>, Option<Vec<u8>>)],
    ) -> Result<(), StoreError> {
        self.adopt_beside(partition, &[], papers)
    }

    fn begin_logs(&self) -> Result<(), StoreError> {
        Partition::all().try_for_each(|partition| self.begin_log(partition))
    }

    fn finish(&self, _: &[Revision; PARTITIONS]) -> Result<(), StoreError> {
        self.finish_copy()
    }
}
