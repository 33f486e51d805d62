//! The store in Redis as one that records are copied from and to. What is copied when is in `copy`.

use std::collections::HashSet;

use uuid::Uuid;

use super::RedisStore;
use super::connect::Link;
use super::feed::{Stored, read_bucket};
use super::scripts::BUCKET;
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::usage::Use;
use crate::keys::{KeyId, PARTITIONS, Partition, Record, RecordKind, Revision};
use crate::store::StoreError;
use crate::store::copy::{Each, Source, Target, Wanted};
use crate::store::seal::{BUCKETS, Carried, Lying};

impl RedisStore {
    /// Its own keys.
    pub(in crate::store) fn keyring(&self) -> Keyring {
        self.keyring.clone()
    }

    /// Shows what is in a bucket, each field once.
    fn each_in_bucket(
        &self,
        partition: Partition,
        bucket: usize,
        each: &mut dyn FnMut(Stored) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let key = self.layout().bucket(partition, bucket);
        let mut shown: HashSet<(u8, [u8; 16])> = HashSet::new();
        let mut outcome = Ok(());
        let mut once = |stored: Stored| {
            let is_first = shown.insert((stored.kind, stored.id));
            if is_first && outcome.is_ok() {
                outcome = each(stored);
            }
        };
        read_bucket(&key, &mut once, |arguments| {
            let keys = std::slice::from_ref(&key);
            let run = |link: &mut Link| link.run(&BUCKET, keys, arguments);
            self.servers.on(partition, run)
        })?;
        outcome
    }
}

impl Source for RedisStore {
    fn place(&self) -> String {
        self.servers()
    }

    fn identity(&self) -> Uuid {
        Self::identity(self)
    }

    fn sealer(&self) -> Sealer {
        Self::sealer(self)
    }

    fn each(&self, wanted: Wanted<'_>, each: Each<'_>) -> Result<(), StoreError> {
        for partition in Partition::all() {
            for bucket in (0..BUCKETS).filter(|bucket| wanted(partition, *bucket)) {
                self.each_in_bucket(partition, bucket, &mut |stored| {
                    // A field that is none of ours is what nothing of ours reads.
                    let Some(kind) = RecordKind::of_byte(stored.kind) else {
                        return Ok(());
                    };
                    each(Lying {
                        kind,
                        id: stored.id,
                        sealed: &stored.sealed,
                    })
                })?;
            }
        }
        Ok(())
    }

    fn usage_of(&self, keys: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError> {
        Self::usage_of(self, keys)
    }
}

impl Target for RedisStore {
    fn write(&self, _: Partition, records: &[Carried]) -> Result<u64, StoreError> {
        // Whose keys are still active is known once their owners are there.
        let (keys, owners): (Vec<Record>, Vec<Record>) = records
            .iter()
            .map(|carried| carried.record.clone())
            .partition(|record| record.kind() == RecordKind::Key);
        let (owners, keys) = (self.write_back(&owners)?, self.write_back(&keys)?);
        Ok(owners.written + owners.joined + keys.written + keys.joined)
    }

    fn note_usage(&self, uses: &[(KeyId, Use)]) -> Result<(), StoreError> {
        self.flush_usage(uses)
    }

    fn finish(&self, tops: &[Revision; PARTITIONS]) -> Result<(), StoreError> {
        for (partition, top) in Partition::all().zip(tops) {
            // They are those of records whose codes are good.
            self.note_proven(partition, *top);
        }
        self.finish_writing_back()
    }
}
