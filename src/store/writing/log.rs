//! The log of what the other files do: an entry for each change, in the same transaction.

use super::{LOST, REASON, RESTORED, THROUGH, Writing, change};
use crate::keys::audit::{Action, AuditEntry, AuditId, By, FieldChange, Object};
use crate::keys::{OrgId, Partition};
use crate::store::ledger::{Head, link};
use crate::store::papers::{self, PaperId};
use crate::store::tables::Tables;
use crate::store::{StoreError, operators_partition};

/// Of the id of a request that is longer, the rest is not logged.
const REQUEST_ID_BYTES_MAX: usize = 128;

impl<T: Tables> Writing<'_, T> {
    /// Logs what was done to the store itself.
    pub(in crate::store) fn log_store(
        &mut self,
        action: Action,
        note: &str,
    ) -> Result<(), StoreError> {
        let changes = vec![change("note", None, Some(note.to_owned()))];
        self.log(None, action, Object::store(), changes)
    }

    pub(in crate::store) fn log(
        &mut self,
        org: Option<OrgId>,
        action: Action,
        object: Object,
        changes: Vec<FieldChange>,
    ) -> Result<(), StoreError> {
        let partition = org.map_or_else(operators_partition, |org| org.partition());
        let head = self.head(partition)?;
        let revisions = std::mem::take(&mut self.written);
        let mut by = self.by.clone();
        if let Some(id) = &mut by.request_id {
            id.truncate(id.floor_char_boundary(REQUEST_ID_BYTES_MAX));
        }
        let entry = AuditEntry {
            number: head.count,
            at: self.now,
            by,
            org,
            action,
            object,
            changes,
            revisions,
        };
        self.add_entry(partition, head, entry).map(drop)
    }

    /// Where the log ends. A log that has lost entries or its head begins anew behind what is left, and says so: what
    /// somebody did to the log must not keep anybody from revoking.
    pub(in crate::store) fn head(&mut self, partition: Partition) -> Result<Head, StoreError> {
        let count = self.tables.entries_len(partition)?;
        let head = match self.tables.paper(partition, &PaperId::Head)? {
            Some(sealed) => {
                let sealer = self.tables.sealer();
                papers::open::<Head>(&sealer, &PaperId::Head.bytes(), &sealed)
            }
            // Only a partition that never had a record never had a log.
            None if count == 0 && self.tables.is_new(partition)? => Some(Head::default()),
            None => None,
        };
        match head {
            Some(head) if head.count == count => Ok(head),
            _ => self.begin_log_at(partition, count, LOST),
        }
    }

    /// Says that the log knows nothing of what the partition holds now: records were put back.
    pub(in crate::store) fn begin_log(&mut self, partition: Partition) -> Result<(), StoreError> {
        let count = self.tables.entries_len(partition)?;
        self.begin_log_at(partition, count, RESTORED).map(drop)
    }

    pub(in crate::store) fn begin_log_at(
        &mut self,
        partition: Partition,
        count: u64,
        reason: &str,
    ) -> Result<Head, StoreError> {
        let through = self.tables.next().0.saturating_sub(1);
        let head = Head {
            count,
            hash: [0; 32],
        };
        let begun = AuditEntry {
            number: count,
            at: self.now,
            by: By::system(),
            org: None,
            action: Action::LogBegun,
            object: Object::store(),
            changes: vec![
                change(THROUGH, None, Some(through.to_string())),
                change(REASON, None, Some(reason.to_owned())),
            ],
            revisions: Vec::new(),
        };
        self.add_entry(partition, head, begun)
    }

    pub(in crate::store) fn add_entry(
        &mut self,
        partition: Partition,
        head: Head,
        entry: AuditEntry,
    ) -> Result<Head, StoreError> {
        let sealer = self.tables.sealer();
        let (sealed, after) = link(&sealer, partition, head, &entry)?;
        self.tables.add_entry(partition, sealed)?;
        self.put_paper(partition, &PaperId::Head, &after)?;
        self.logged = Some(AuditId {
            partition,
            number: entry.number,
        });
        Ok(after)
    }
}
