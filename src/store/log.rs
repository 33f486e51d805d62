//! The audit log as it is read and proven: a part of it, filtered, and whether all of it is as it was written. What is logged
//! is decided in `writing`.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StoreError;
use super::ledger::{Head, Linked, open, time_text};
use super::papers::{self, PaperId};
use super::writing::{REASON, RESTORED, THROUGH};
use crate::keys::audit::{Action, AuditId};
use crate::keys::keyring::Sealer;
use crate::keys::{Partition, Revision};

/// How many entries are read at a time.
const AT_ONCE: usize = 500;

/// How many records without an entry are remembered to be looked for again.
const UNKNOWN_MAX: usize = 100_000;

/// How many sentences are said of one partition.
const TOLD_MAX: usize = 50;

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
    /// Where a log begins anew after a restore, a sentence each. One that begins because it was lost is a fault.
    pub beginnings: Vec<String>,
    /// Beginnings beyond those named.
    #[serde(default)]
    pub more_beginnings: u64,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
    /// Faults beyond those named.
    #[serde(default)]
    pub more_faults: u64,
}

impl LogFindings {
    fn fault(&mut self, sentence: String) {
        self.faults.push(sentence);
    }
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

/// What is done with each paper: its id, and its sealed form.
pub(super) type EachPaper<'e> = &'e mut dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError>;

/// What a log is read from.
pub(super) trait LogSource {
    /// What proves entries.
    fn sealer(&self) -> Sealer;
    /// How many entries a partition's log has.
    fn entries_len(&self, partition: Partition) -> Result<u64, StoreError>;
    /// Entries of a partition as they are sealed, each with its number, from one on, at most so many. There may be fewer,
    /// and none only when there are no more.
    fn entries(
        &self,
        partition: Partition,
        from: u64,
        most: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, StoreError>;
    /// What lies where the log should be and is no log.
    fn stranger(&self, partition: Partition) -> Result<Option<String>, StoreError>;
    /// A paper, as it is sealed.
    fn paper(&self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Shows the id and the sealed form of every paper of a partition.
    fn each_paper(&self, partition: Partition, each: EachPaper<'_>) -> Result<(), StoreError>;
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
    let mut from = end.saturating_sub(most as u64);
    let sealer = source.sealer();
    let mut entries: Vec<Entry> = Vec::new();
    while from < end && entries.len() < most {
        let found = source.entries(partition, from, most - entries.len())?;
        let Some((last, _)) = found.last() else { break };
        from = last.saturating_add(1);
        let found = found.into_iter().filter(|(number, _)| *number < end);
        entries.extend(found.map(|(number, sealed)| Entry {
            id: AuditId { partition, number },
            linked: open(&sealer, partition, &sealed),
        }));
    }
    entries.reverse();
    Ok(entries)
}

/// Looks through every entry of every partition, and whether each record has one. Writers may go on meanwhile.
pub(super) fn verify(
    source: &dyn LogSource,
    earlier: &[HeadView],
) -> Result<LogFindings, StoreError> {
    let sealer = source.sealer();
    let mut follows: Vec<Follow<'_>> = Partition::all()
        .map(|partition| {
            let said = |head: &&HeadView| head.partition == partition.index();
            Follow::new(&sealer, partition, earlier.iter().find(said))
        })
        .collect();
    for follow in &mut follows {
        follow.follow_through(source)?;
    }
    let mut compared = 0;
    let mut unknown: Vec<(usize, Revision)> = Vec::new();
    let mut more_unknown = 0_u64;
    source.revisions(&mut |partition, revision| {
        compared += 1;
        let partition = partition.index();
        let follow = follows.get(partition);
        if !follow.is_some_and(|follow| follow.known.tells_of(revision)) {
            if unknown.len() < UNKNOWN_MAX {
                unknown.push((partition, revision));
            } else {
                more_unknown += 1;
            }
        }
    })?;
    // Records that were written since have entries that were written since.
    for (partition, follow) in follows.iter_mut().enumerate() {
        if unknown.iter().any(|(of, _)| *of == partition) {
            follow.follow_through(source)?;
        }
    }
    unknown.retain(|(partition, revision)| {
        let follow = follows.get(*partition);
        !follow.is_some_and(|follow| follow.known.tells_of(*revision))
    });
    let mut findings = LogFindings::default();
    for follow in follows {
        follow.tell(source, &mut findings)?;
    }
    findings.records = compared;
    let unknown = more_unknown + unknown.len() as u64;
    if unknown > 0 {
        findings.fault(format!(
            "{unknown} of {compared} records were written by changes that no entry tells of: entries are lost, or somebody wrote \
             without the log"
        ));
    }
    Ok(findings)
}

/// What a partition's log accounts for.
struct Known {
    /// In order, but for what somebody has moved about.
    revisions: Vec<Revision>,
    /// Records up to this one are older than the log.
    through: Revision,
}

impl Known {
    fn add(&mut self, revisions: &[Revision]) {
        for revision in revisions {
            match self.revisions.last() {
                Some(last) if last >= revision => {
                    if let Err(at) = self.revisions.binary_search(revision) {
                        self.revisions.insert(at, *revision);
                    }
                }
                _ => self.revisions.push(*revision),
            }
        }
    }

    fn tells_of(&self, revision: Revision) -> bool {
        revision <= self.through || self.revisions.binary_search(&revision).is_ok()
    }
}

/// Follows the chain of one partition, entry by entry.
struct Follow<'s> {
    sealer: &'s Sealer,
    partition: Partition,
    /// How far it was followed.
    head: Head,
    /// What the partition says of its end.
    said: Option<Vec<u8>>,
    known: Known,
    /// What was said earlier of this partition's end, to be met on the way.
    earlier: Option<&'s HeadView>,
    has_met_earlier: bool,
    /// How many entries are good.
    good: u64,
    beginnings: Told,
    faults: Told,
}

impl<'s> Follow<'s> {
    fn new(sealer: &'s Sealer, partition: Partition, earlier: Option<&'s HeadView>) -> Self {
        Self {
            sealer,
            partition,
            head: Head::default(),
            said: None,
            known: Known {
                revisions: Vec::new(),
                through: Revision(0),
            },
            has_met_earlier: earlier.is_none_or(|earlier| earlier.count == 0),
            earlier,
            good: 0,
            beginnings: Told::default(),
            faults: Told::default(),
        }
    }

    /// Follows it as far as it goes now. An entry and what says that it is the last are written at once; so when more is said
    /// to be there than was found, it is looked for once more.
    fn follow_through(&mut self, source: &dyn LogSource) -> Result<(), StoreError> {
        loop {
            while self.some(source)? {}
            self.said = source.paper(self.partition, &PaperId::Head)?;
            let is_more = |said: Head| said.count > self.head.count;
            if !self.said().is_some_and(is_more) || !self.some(source)? {
                return Ok(());
            }
        }
    }

    /// Follows it for a while; `false` at its end.
    fn some(&mut self, source: &dyn LogSource) -> Result<bool, StoreError> {
        let entries = source.entries(self.partition, self.head.count, AT_ONCE)?;
        for (number, sealed) in &entries {
            self.entry(*number, sealed);
        }
        Ok(!entries.is_empty())
    }

    /// The next entry, as it is stored.
    fn entry(&mut self, number: u64, sealed: &[u8]) {
        let partition = self.partition;
        let id = AuditId { partition, number };
        if number > self.head.count {
            let first = AuditId {
                partition,
                number: self.head.count,
            };
            self.faults
                .say(|| format!("entry {first}: it is missing, and so is all before {id}"));
        }
        let after = Head {
            count: number.saturating_add(1),
            hash: Sha256::digest(sealed).into(),
        };
        let before = std::mem::replace(&mut self.head, after);
        match open(self.sealer, partition, sealed) {
            Ok(linked) => self.linked(id, before, &linked),
            Err(why) => self.faults.say(|| format!("entry {id}: {why}")),
        }
        if let Some(earlier) = self.earlier
            && earlier.count == after.count
        {
            self.has_met_earlier = true;
            if !earlier.hash.eq_ignore_ascii_case(&hex(&after.hash)) {
                self.faults.say(|| {
                    format!("entry {id}: it is not the one that was there when the log was verified earlier")
                });
            }
        }
    }

    fn linked(&mut self, id: AuditId, before: Head, linked: &Linked) {
        let entry = &linked.entry;
        if entry.number != id.number {
            let written = entry.number;
            self.faults
                .say(|| format!("entry {id}: it was written as number {written}"));
        }
        if entry.action == Action::LogBegun && linked.previous == [0; 32] {
            let said = |field: &str| {
                let mut changes = entry.changes.iter();
                changes.find(|change| change.field == field)?.after.as_ref()
            };
            let through = said(THROUGH).and_then(|through| through.parse().ok());
            self.known.through = self.known.through.max(Revision(through.unwrap_or(0)));
            let at = time_text(entry.at);
            if said(REASON).is_some_and(|reason| reason == RESTORED) {
                self.beginnings.say(|| {
                    format!(
                        "entry {id}: the log begins here, at {at}, when the store was restored; what was before is not proven"
                    )
                });
            } else {
                self.faults.say(|| {
                    format!(
                        "entry {id}: the log begins anew here, at {at}: entries, or what said where they end, were gone by then. \
                         What was before is not proven"
                    )
                });
            }
        } else if linked.previous != before.hash {
            self.faults
                .say(|| format!("entry {id}: it does not follow the entry before it"));
        }
        self.known.add(&entry.revisions);
        self.good += 1;
    }

    /// What the partition says of its end; `None` when that is not of this store.
    fn said(&self) -> Option<Head> {
        match &self.said {
            None => Some(Head::default()),
            Some(sealed) => papers::open(self.sealer, &PaperId::Head.bytes(), sealed),
        }
    }

    fn tell(
        mut self,
        source: &dyn LogSource,
        findings: &mut LogFindings,
    ) -> Result<(), StoreError> {
        let (partition, count) = (self.partition, self.head.count);
        if let Some(what) = source.stranger(partition)? {
            self.faults
                .say(|| format!("partition {partition}: where its log should be is {what}"));
        }
        match self.said() {
            None => self.faults.say(|| {
                format!("partition {partition}: what says where its log ends is not of this store")
            }),
            Some(said) if said.count != count => self.faults.say(|| {
                let had = said.count;
                format!("partition {partition}: its log has {count} entries, and had {had}")
            }),
            Some(said) if said.hash != self.head.hash => self.faults.say(|| {
                format!("partition {partition}: the last entry of its log is not the one that was written last")
            }),
            Some(_) => {}
        }
        if let Some(earlier) = self.earlier
            && !self.has_met_earlier
        {
            let had = earlier.count;
            self.faults.say(|| {
                format!("partition {partition}: its log has {count} entries, and had {had} when it was verified earlier")
            });
        }
        findings.entries += self.good;
        findings.heads.push(HeadView {
            partition: partition.index(),
            count,
            hash: hex(&self.head.hash),
        });
        self.beginnings
            .into(&mut findings.beginnings, &mut findings.more_beginnings);
        self.faults
            .into(&mut findings.faults, &mut findings.more_faults);
        Ok(())
    }
}

/// Sentences, of which only the first are kept.
#[derive(Default)]
struct Told {
    sentences: Vec<String>,
    more: u64,
}

impl Told {
    fn say(&mut self, sentence: impl FnOnce() -> String) {
        if self.sentences.len() < TOLD_MAX {
            self.sentences.push(sentence());
        } else {
            self.more += 1;
        }
    }

    fn into(mut self, sentences: &mut Vec<String>, more: &mut u64) {
        sentences.append(&mut self.sentences);
        *more += self.more;
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
