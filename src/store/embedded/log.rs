//! The audit log and the papers of the embedded store's file, as they are read and carried over. What is written to them
//! is in `writing`.

use super::EmbeddedStore;
use super::file::{AUDIT, PAPERS};
use super::tables::{audit_index, entries_len, paper_index};
use crate::keys::keyring::Sealer;
use crate::keys::{Partition, Revision};
use crate::store::StoreError;
use crate::store::copy::unseal;
use crate::store::log::{EachPaper, LogSource};
use crate::store::papers::PaperId;

impl LogSource for EmbeddedStore {
    fn sealer(&self) -> Sealer {
        Self::sealer(self)
    }

    fn entries_len(&self, partition: Partition) -> Result<u64, StoreError> {
        entries_len(&self.reading()?.open_table(AUDIT)?, partition)
    }

    fn entries(
        &self,
        partition: Partition,
        from: u64,
        most: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let index = audit_index(partition);
        let audit = self.reading()?.open_table(AUDIT)?;
        let range = audit.range((index, from)..=(index, u64::MAX))?;
        let number = |entry: Result<_, redb::StorageError>| {
            let (place, sealed): (
                redb::AccessGuard<'_, (u8, u64)>,
                redb::AccessGuard<'_, &[u8]>,
            ) = entry?;
            Ok((place.value().1, sealed.value().to_vec()))
        };
        range.take(most).map(number).collect()
    }

    fn stranger(&self, _: Partition) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    fn paper(&self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError> {
        let papers = self.reading()?.open_table(PAPERS)?;
        let held = papers.get(paper_index(partition, &id.bytes()).as_slice())?;
        Ok(held.map(|sealed| sealed.value().to_vec()))
    }

    fn each_paper(&self, partition: Partition, each: EachPaper<'_>) -> Result<(), StoreError> {
        let papers = self.reading()?.open_table(PAPERS)?;
        let first = paper_index(partition, &[]);
        for paper in papers.range(first.as_slice()..)? {
            let (index, sealed) = paper?;
            match index.value().split_first() {
                Some((of, id)) if *of == audit_index(partition) => each(id, sealed.value())?,
                _ => break,
            }
        }
        Ok(())
    }

    fn revisions(&self, each: &mut dyn FnMut(Partition, Revision)) -> Result<(), StoreError> {
        self.each_lying(&mut |lying| {
            if let Ok(record) = unseal(&self.sealer, &lying)
                && let Some(partition) = record.partition()
            {
                each(partition, record.revision());
            }
            Ok(())
        })
    }
}
