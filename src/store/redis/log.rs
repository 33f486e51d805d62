//! The audit log and the papers in Redis, as they are read. What is written to them is in `writing`.

use super::RedisStore;
use super::connect::Link;
use super::records::{Raw, read_fields, scan};
use super::scripts::{Arguments, ENTRIES};
use crate::keys::keyring::Sealer;
use crate::keys::{Partition, Revision};
use crate::store::StoreError;
use crate::store::copy::{Source as _, unseal};
use crate::store::ledger::ENTRY_BYTES_MAX;
use crate::store::log::LogSource;
use crate::store::papers::{PAPER_BYTES_MAX, PaperId};

impl RedisStore {
    /// What is where a paper is kept.
    pub(super) fn raw_paper(&self, partition: Partition, id: &[u8]) -> Result<Raw, StoreError> {
        let wanted = [(self.layout().papers(partition), id.to_vec())];
        let found = read_fields(&self.servers, partition, &wanted, PAPER_BYTES_MAX)?;
        Ok(found.into_iter().next().unwrap_or(Raw::Nothing))
    }
}

impl LogSource for RedisStore {
    fn sealer(&self) -> Sealer {
        Self::sealer(self)
    }

    fn entries_len(&self, partition: Partition) -> Result<u64, StoreError> {
        let mut command = redis::cmd("LLEN");
        command.arg(self.layout().audit(partition));
        self.servers.on(partition, |link| link.query(&command))
    }

    fn entries(
        &self,
        partition: Partition,
        from: u64,
        most: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let keys = [self.layout().audit(partition)];
        let mut arguments = Arguments::default();
        arguments.push_number(from);
        arguments.push_number(most);
        arguments.push_number(ENTRY_BYTES_MAX);
        let run = |link: &mut Link| link.run(&ENTRIES, &keys, &arguments.0);
        self.servers.on(partition, run)
    }

    fn paper(&self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(match self.raw_paper(partition, &id.bytes())? {
            Raw::Bytes(sealed) => Some(sealed),
            // Bytes that nothing of ours is.
            Raw::TooLong(_) => Some(Vec::new()),
            Raw::Nothing => None,
        })
    }

    fn each_paper(
        &self,
        partition: Partition,
        each: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let key = self.layout().papers(partition);
        let mut outcome = Ok(());
        scan(&self.servers, partition, &key, &mut |id, sealed| {
            if outcome.is_ok() {
                outcome = each(&id, &sealed);
            }
        })?;
        outcome
    }

    fn revisions(&self, each: &mut dyn FnMut(Partition, Revision)) -> Result<(), StoreError> {
        let sealer = Self::sealer(self);
        self.each(&|_, _| true, &mut |lying| {
            if let Ok(record) = unseal(&sealer, &lying)
                && let Some(partition) = record.partition()
            {
                each(partition, record.revision());
            }
            Ok(())
        })
    }
}
