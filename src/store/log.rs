//! The audit log as it is read and proven: a part of it, filtered, and whether all of it is as it was written. What is logged
//! is decided in `writing`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::ledger::{Head, Linked, open, time_text};
use super::papers::{self, PaperId};
use super::writing::THROUGH;
use crate::keys::audit::{Action, AuditId};
use crate::keys::keyring::Sealer;
use crate::keys::{Partition, Revision};

/// How many entries are read at a time.
const AT_ONCE: usize = 500;

/// What a look through the log found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFindings {
    /// Entries that are as they were written.
    pub entries: u64,
    /// Records that were compared with it.
    pub records: u64,
    /// Where each partition's log ends: its number of entries and the hash of the last. Kept elsewhere, it proves later that
    /// the log has only grown.
    pub heads: Vec<HeadView>,
    /// Where a log begins anew, a sentence each.
    pub beginnings: Vec<String>,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
}

/// Where the log of a partition ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadView {
    /// Which partition.
    pub partition: usize,
    /// How many entries.
    pub count: u64,
    /// The hash of the last, in hexadecimal.
    pub hash: String,
}

/// An entry, as it is listed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name.
    pub id: AuditId,
    /// What it says, and how it is linked; or what is wrong with it.
    pub linked: Result<Linked, &'static str>,
}

/// What a log is read from.
pub(super) trait LogSource {
    /// What proves entries.
    fn sealer(&self) -> Sealer;
    /// How many entries a partition's log has.
    fn entries_len(&self, partition: Partition) -> Result<u64, StoreError>;
    /// Entries of a partition as they are sealed, from a number on, at most so many.
    fn entries(
        &self,
        partition: Partition,
        from: u64,
        most: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError>;
    /// A paper, as it is sealed.
    fn paper(&self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Shows the id and the sealed form of every paper of a partition.
    fn each_paper(
        &self,
        partition: Partition,
        each: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
    /// The revision of every record that is good.
    fn revisions(&self, each: &mut dyn FnMut(Partition, Revision)) -> Result<(), StoreError>;
}

/// The entries of a partition before a number, the newest first, at most so many.
pub(super) fn before(
    source: &dyn LogSource,
    partition: Partition,
    number: Option<u64>,
    most: usize,
) -> Result<Vec<Entry>, StoreError> {
    let end = source.entries_len(partition)?;
    let end = number.map_or(end, |number| number.min(end));
    let from = end.saturating_sub(most as u64);
    let most = usize::try_from(end - from).unwrap_or(most);
    let sealer = source.sealer();
    let found = source.entries(partition, from, most)?;
    let numbered = (from..).zip(found);
    let mut entries: Vec<Entry> = numbered
        .map(|(number, sealed)| Entry {
            id: AuditId { partition, number },
            linked: open(&sealer, partition, &sealed),
        })
        .collect();
    entries.reverse();
    Ok(entries)
}

/// Looks through every entry of every partition, and whether each record has one.
pub(super) fn verify(
    source: &dyn LogSource,
    earlier: &[HeadView],
) -> Result<LogFindings, StoreError> {
    let sealer = source.sealer();
    let mut findings = LogFindings::default();
    let mut known = Vec::new();
    for partition in Partition::all() {
        let said = earlier
            .iter()
            .find(|head| head.partition == partition.index());
        let mut follow = Follow::new(&sealer, partition, said);
        loop {
            let entries = source.entries(partition, follow.head.count, AT_ONCE)?;
            for sealed in &entries {
                follow.entry(sealed);
            }
            if entries.len() < AT_ONCE {
                break;
            }
        }
        let head = source.paper(partition, &PaperId::Head)?;
        known.push(follow.end(head.as_deref(), &mut findings));
    }
    let mut unknown = 0_u64;
    let mut compared = 0;
    source.revisions(&mut |partition, revision| {
        compared += 1;
        let is_known = known.get(partition.index()).is_some_and(|known: &Known| {
            revision <= known.through || known.revisions.contains(&revision)
        });
        unknown += u64::from(!is_known);
    })?;
    findings.records = compared;
    if unknown > 0 {
        findings.faults.push(format!(
            "{unknown} of {compared} records were written by changes that no entry tells of: entries at the end of the log are lost"
        ));
    }
    Ok(findings)
}

/// What a partition's log accounts for.
struct Known {
    revisions: HashSet<Revision>,
    /// Records up to this one are older than the log.
    through: Revision,
}

/// Follows the chain of one partition, entry by entry.
struct Follow<'s> {
    sealer: &'s Sealer,
    partition: Partition,
    head: Head,
    known: Known,
    /// What was said earlier of this partition's end, to be met on the way.
    earlier: Option<&'s HeadView>,
    /// How many entries are good.
    good: u64,
    beginnings: Vec<String>,
    faults: Vec<String>,
}

impl<'s> Follow<'s> {
    fn new(sealer: &'s Sealer, partition: Partition, earlier: Option<&'s HeadView>) -> Self {
        Self {
            sealer,
            partition,
            head: Head::default(),
            known: Known {
                revisions: HashSet::new(),
                through: Revision(0),
            },
            earlier,
            good: 0,
            beginnings: Vec::new(),
            faults: Vec::new(),
        }
    }

    /// The next entry, as it is stored.
    fn entry(&mut self, sealed: &[u8]) {
        let number = self.head.count;
        let id = AuditId {
            partition: self.partition,
            number,
        };
        let before = std::mem::replace(
            &mut self.head,
            Head {
                count: number + 1,
                hash: Sha256::digest(sealed).into(),
            },
        );
        match open(self.sealer, self.partition, sealed) {
            Ok(linked) => self.linked(id, before, &linked),
            Err(why) => self.faults.push(format!("entry {id}: {why}")),
        }
        if let Some(earlier) = self.earlier
            && earlier.count == self.head.count
            && earlier.hash != hex(&self.head.hash)
        {
            self.faults.push(format!(
                "entry {id}: it is not the one that was there when the log was verified earlier"
            ));
        }
    }

    fn linked(&mut self, id: AuditId, before: Head, linked: &Linked) {
        let entry = &linked.entry;
        if entry.number != id.number {
            let written = entry.number;
            self.faults
                .push(format!("entry {id}: it was written as number {written}"));
        }
        if entry.action == Action::LogBegun && linked.previous == [0; 32] {
            let through = entry.changes.iter().find(|change| change.field == THROUGH);
            let through = through.and_then(|change| change.after.as_ref()?.parse().ok());
            self.known.through = self.known.through.max(Revision(through.unwrap_or(0)));
            let at = time_text(entry.at);
            self.beginnings.push(format!(
                "entry {id}: the log begins here, at {at}. The store was restored, or somebody took entries away; what was \
                 before is not proven"
            ));
        } else if linked.previous != before.hash {
            self.faults.push(format!(
                "entry {id}: it does not follow the entry before it"
            ));
        }
        self.known.revisions.extend(&entry.revisions);
        self.good += 1;
    }

    fn end(mut self, head: Option<&[u8]>, findings: &mut LogFindings) -> Known {
        let partition = self.partition;
        let said = match head {
            None => Some(Head::default()),
            Some(sealed) => papers::open(self.sealer, &PaperId::Head.bytes(), sealed),
        };
        match said {
            None => self.faults.push(format!(
                "partition {partition}: what says where its log ends is not of this store"
            )),
            Some(said) if said.count != self.head.count => self.faults.push(format!(
                "partition {partition}: its log has {} entries, and had {}",
                self.head.count, said.count
            )),
            Some(said) if said.hash != self.head.hash => self.faults.push(format!(
                "partition {partition}: the last entry of its log is not the one that was written last"
            )),
            Some(_) => {}
        }
        if let Some(earlier) = self.earlier
            && earlier.count > self.head.count
        {
            self.faults.push(format!(
                "partition {partition}: its log has {} entries, and had {} when it was verified earlier",
                self.head.count, earlier.count
            ));
        }
        findings.entries += self.good;
        findings.heads.push(HeadView {
            partition: partition.index(),
            count: self.head.count,
            hash: hex(&self.head.hash),
        });
        findings.beginnings.append(&mut self.beginnings);
        findings.faults.append(&mut self.faults);
        self.known
    }
}

/// In hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
