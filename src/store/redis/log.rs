//! The audit log and the papers in Redis, as they are read. What is written to them is in `writing`.

use super::RedisStore;
use super::connect::Link;
use super::records::{Raw, read_fields};
use super::scripts::{Arguments, BUCKET, ENTRIES};
use crate::keys::keyring::Sealer;
use crate::keys::{Partition, Revision};
use crate::store::StoreError;
use crate::store::copy::{Source as _, unseal};
use crate::store::ledger::ENTRY_BYTES_MAX;
use crate::store::log::{EachPaper, LogSource};
use crate::store::papers::{PAPER_BYTES_MAX, PaperId};

/// About how many bytes of entries are read at once.
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// How many papers are read at a time.
const AT_ONCE: usize = 500;

/// Of something else under our name nothing is read.
fn or_nothing<T: Default>(outcome: Result<T, StoreError>) -> Result<T, StoreError> {
    match outcome {
        Err(StoreError::Damaged { .. }) => Ok(T::default()),
        outcome => outcome,
    }
}

impl RedisStore {
    /// What is where a paper is kept.
    pub(super) fn raw_paper(&self, partition: Partition, id: &[u8]) -> Result<Raw, StoreError> {
        let wanted = [(self.layout().papers(partition), id.to_vec())];
        // What is no hash holds no papers. A commit takes it away.
        let found = read_fields(&self.servers, partition, &wanted, PAPER_BYTES_MAX);
        Ok(or_nothing(found)?
            .into_iter()
            .next()
            .unwrap_or(Raw::Nothing))
    }
}

impl LogSource for RedisStore {
    fn sealer(&self) -> Sealer {
        Self::sealer(self)
    }

    fn entries_len(&self, partition: Partition) -> Result<u64, StoreError> {
        let mut command = redis::cmd("LLEN");
        command.arg(self.layout().audit(partition));
        // What is no list is no log. A commit takes it away.
        or_nothing(self.servers.on(partition, |link| link.query(&command)))
    }

    fn entries(
        &self,
        partition: Partition,
        from: u64,
        most: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let keys = [self.layout().audit(partition)];
        let mut arguments = Arguments::default();
        arguments.push_number(from);
        arguments.push_number(most);
        arguments.push_number(ENTRY_BYTES_MAX);
        arguments.push_number(BYTES_AT_ONCE);
        let run = |link: &mut Link| link.run::<Vec<Vec<u8>>>(&ENTRIES, &keys, &arguments.0);
        let found = self.servers.on(partition, run)?;
        Ok((from..).zip(found).collect())
    }

    fn stranger(&self, partition: Partition) -> Result<Option<String>, StoreError> {
        for key in [
            self.layout().audit(partition),
            self.layout().papers(partition),
        ] {
            let mut command = redis::cmd("TYPE");
            command.arg(&key);
            let found: String = self.servers.on(partition, |link| link.query(&command))?;
            let wanted = if key.ends_with("audit") {
                "list"
            } else {
                "hash"
            };
            if found != wanted && found != "none" {
                return Ok(Some(format!("{key}, which is no {wanted} but a {found}")));
            }
        }
        Ok(None)
    }

    fn paper(&self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(match self.raw_paper(partition, &id.bytes())? {
            Raw::Bytes(sealed) => Some(sealed),
            // Bytes that nothing of ours is.
            Raw::TooLong(_) => Some(Vec::new()),
            Raw::Nothing => None,
        })
    }

    fn each_paper(&self, partition: Partition, each: EachPaper<'_>) -> Result<(), StoreError> {
        let keys = [self.layout().papers(partition)];
        let mut cursor = b"0".to_vec();
        loop {
            let mut arguments = Arguments::default();
            arguments.push(&cursor);
            arguments.push_number(AT_ONCE);
            arguments.push_number(PAPER_BYTES_MAX);
            let run =
                |link: &mut Link| link.run::<(Vec<u8>, Vec<Vec<u8>>)>(&BUCKET, &keys, &arguments.0);
            let (next, found) = match self.servers.on(partition, run) {
                Err(StoreError::Damaged { .. }) => return Ok(()),
                outcome => outcome?,
            };
            let mut found = found.iter();
            while let (Some(id), Some(sealed)) = (found.next(), found.next()) {
                each(id, sealed)?;
            }
            if next == b"0" {
                return Ok(());
            }
            cursor = next;
        }
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
