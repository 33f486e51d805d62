//! Copying what lies beside a store's records: the audit log, every entry as it is sealed, and the papers. It can be cut at
//! any point and begun again. It logs nothing, and knows neither file nor server.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::StoreError;
use super::copy::Target;
use super::log::LogSource;
use super::papers;
use crate::keys::Partition;

/// How many entries or papers are copied at a time.
const AT_ONCE: usize = 500;

/// How often both sides are compared: the source may be in use meanwhile.
const ROUNDS_MAX: u32 = 6;

/// What is there, and what had to be written for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// Entries of the audit log.
    pub(super) entries: u64,
    /// Passwords, links, sessions, answers and heads.
    pub(super) papers: u64,
    /// Entries and papers written or taken away.
    pub(super) written: u64,
}

/// A place as a source of entries and papers, and as what they are written to.
struct Sides<'s> {
    source: &'s dyn LogSource,
    target: &'s dyn Target,
    there: &'s dyn LogSource,
    /// Whether the target may be written to.
    writes: bool,
}

/// Copies what differs, until nothing does. Without `writes`, a difference is an error.
pub(super) fn carry(
    source: &dyn LogSource,
    target: &dyn Target,
    writes: bool,
) -> Result<Carried, StoreError> {
    let there = target
        .log()
        .ok_or_else(|| differs(target, "it has no log"))?;
    let sides = Sides {
        source,
        target,
        there,
        writes,
    };
    let mut written = 0;
    for _ in 0..ROUNDS_MAX {
        let mut round = Carried::default();
        for partition in Partition::all() {
            sides.entries(partition, &mut round)?;
            sides.papers(partition, &mut round)?;
        }
        written += round.written;
        if round.written == 0 {
            return Ok(Carried { written, ..round });
        }
    }
    let why = "people sign in and keys are changed all the time: run the command again";
    Err(differs(target, why))
}

fn differs(target: &dyn Target, why: &str) -> StoreError {
    StoreError::CopyDiffers {
        place: target.place(),
        why: why.to_owned(),
    }
}

impl Sides<'_> {
    /// Adds the entries that the target lacks, once those that it has are known to be the same.
    fn entries(&self, partition: Partition, round: &mut Carried) -> Result<(), StoreError> {
        let mut at = 0;
        loop {
            let ours = self.source.entries(partition, at, AT_ONCE)?;
            let theirs = self.there.entries(partition, at, ours.len().max(1))?;
            if ours.is_empty() && theirs.is_empty() {
                return Ok(());
            }
            let is_same = ours
                .iter()
                .zip(&theirs)
                .all(|(ours, theirs)| ours == theirs);
            if !is_same || ours.is_empty() {
                return Err(self.refuse(&format!(
                    "its audit log goes on otherwise from entry {partition}-{at} on, or a little later"
                )));
            }
            // Either side may have given fewer than it has.
            let common = ours.len().min(theirs.len());
            let missing = ours.get(common..).unwrap_or_default();
            if theirs.is_empty() {
                if !self.writes {
                    return Err(self.refuse("its audit log is shorter"));
                }
                self.target.add_entries(partition, missing)?;
                round.written += missing.len() as u64;
            }
            let taken = if theirs.is_empty() {
                ours.len()
            } else {
                common
            };
            let last = taken.checked_sub(1).and_then(|last| ours.get(last));
            at = last.map_or(at, |(number, _)| number.saturating_add(1));
            round.entries += taken as u64;
        }
    }

    /// Has the target hold the papers of the source that are good, and no others.
    fn papers(&self, partition: Partition, round: &mut Carried) -> Result<(), StoreError> {
        let mut held: HashMap<Vec<u8>, [u8; 32]> = HashMap::new();
        self.there.each_paper(partition, &mut |id, sealed| {
            held.insert(id.to_vec(), Sha256::digest(sealed).into());
            Ok(())
        })?;
        let sealer = self.source.sealer();
        // A part of a large hash can come twice.
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        let mut pending: Vec<(Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        self.source.each_paper(partition, &mut |id, sealed| {
            if !papers::is_ours(&sealer, id, sealed) || !seen.insert(id.to_vec()) {
                return Ok(());
            }
            round.papers += 1;
            if held.get(id) != Some(&Sha256::digest(sealed).into()) {
                pending.push((id.to_vec(), Some(sealed.to_vec())));
            }
            if pending.len() >= AT_ONCE {
                self.put(partition, &mut pending, round)?;
            }
            Ok(())
        })?;
        for id in held.into_keys().filter(|id| !seen.contains(id)) {
            pending.push((id, None));
            if pending.len() >= AT_ONCE {
                self.put(partition, &mut pending, round)?;
            }
        }
        self.put(partition, &mut pending, round)
    }

    fn put(
        &self,
        partition: Partition,
        pending: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
        round: &mut Carried,
    ) -> Result<(), StoreError> {
        if pending.is_empty() {
            return Ok(());
        }
        if !self.writes {
            return Err(self.refuse("its passwords, links or sessions are others"));
        }
        self.target.put_papers(partition, pending)?;
        round.written += pending.len() as u64;
        pending.clear();
        Ok(())
    }

    fn refuse(&self, why: &str) -> StoreError {
        if self.writes {
            return differs(self.target, why);
        }
        StoreError::NotEmpty {
            place: self.target.place(),
        }
    }
}
