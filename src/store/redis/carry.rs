//! The store in Redis as one that records are copied from and to. What is copied when is in `copy`.

use std::collections::HashSet;

use redis::Value;
use uuid::Uuid;

use super::RedisStore;
use super::connect::Link;
use super::feed::{Stored, read_bucket};
use super::scripts::{APPEND, Arguments, BUCKET};
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::usage::Use;
use crate::keys::{KeyId, PARTITIONS, Partition, Record, RecordKind, Revision};
use crate::store::StoreError;
use crate::store::copy::{Each, Source, Target, Wanted};
use crate::store::log::LogSource;
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

    fn log(&self) -> Option<&dyn LogSource> {
        Some(self)
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

    fn add_entries(
        &self,
        partition: Partition,
        entries: &[(u64, Vec<u8>)],
    ) -> Result<(), StoreError> {
        let keys = [
            self.layout().meta(partition),
            self.layout().audit(partition),
        ];
        let mut arguments = Arguments::default();
        arguments.push(Self::identity(self).to_string());
        arguments.push_number(entries.first().map_or(0, |(number, _)| *number));
        for (_, sealed) in entries {
            arguments.push(sealed);
        }
        let run = |link: &mut Link| link.run(&APPEND, &keys, &arguments.0);
        let said: Vec<Vec<u8>> = self.servers.on(partition, run)?;
        // Others may have written to it. Then both sides are compared again.
        self.is_done(partition, &said).map(drop)
    }

    fn put_papers(
        &self,
        partition: Partition,
        papers: &[(Vec<u8>, Option<Vec<u8>>)],
    ) -> Result<(), StoreError> {
        let key = self.layout().papers(partition);
        let (mut puts, mut removes) = (redis::cmd("HSET"), redis::cmd("HDEL"));
        puts.arg(&key);
        removes.arg(&key);
        let (mut has_puts, mut has_removes) = (false, false);
        for (id, sealed) in papers {
            match sealed {
                Some(sealed) => {
                    puts.arg(id).arg(sealed);
                    has_puts = true;
                }
                None => {
                    removes.arg(id);
                    has_removes = true;
                }
            }
        }
        for (command, is_any) in [(puts, has_puts), (removes, has_removes)] {
            if is_any {
                let run = |link: &mut Link| link.query::<Value>(&command);
                self.servers.on(partition, run)?;
            }
        }
        Ok(())
    }

    fn begin_logs(&self) -> Result<(), StoreError> {
        for partition in Partition::all() {
            // It says so from the first record that is put back until all are.
            if self.tail(partition)?.restoring {
                self.begin_log(partition)?;
            }
        }
        Ok(())
    }

    fn finish(&self, tops: &[Revision; PARTITIONS]) -> Result<(), StoreError> {
        for (partition, top) in Partition::all().zip(tops) {
            // They are those of records whose codes are good.
            self.note_proven(partition, *top);
        }
        self.finish_writing_back()
    }
}
