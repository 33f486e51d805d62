//! What a node holds of one partition, in numbers: how many records, with which digest, and how many of them the store lacks.
//! The records themselves are in the key table.

use std::collections::HashSet;

use crate::keys::{RecordKind, Revision};
use crate::store::seal::{BUCKETS, bucket_of, term};

/// The records of a bucket seen while it is read.
#[derive(Debug, Default)]
struct Reading {
    bucket: usize,
    /// A scan may return a record twice.
    seen: HashSet<(Option<RecordKind>, [u8; 16])>,
    changed: bool,
}

/// What is noted of a record that was applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    pub(super) kind: RecordKind,
    pub(super) id: [u8; 16],
    pub(super) revision: Revision,
    /// What it adds to the digests.
    pub(super) term: u64,
}

impl Noted {
    /// Of what has this id, at this revision.
    pub(super) fn of(kind: RecordKind, id: [u8; 16], revision: Revision) -> Self {
        Self {
            kind,
            id,
            revision,
            term: term(kind, id, revision),
        }
    }
}

/// One partition's contents.
#[derive(Debug)]
pub(super) struct Contents {
    digests: [u64; BUCKETS],
    digest: u64,
    held: [u32; BUCKETS],
    held_in_all: u64,
    /// The newest record applied, which a snapshot may take beyond the chain of changes.
    top: Revision,
    missing: [u32; BUCKETS],
    missing_in_all: u64,
    missing_by_count: u64,
    reading: Option<Reading>,
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            digests: [0; BUCKETS],
            digest: 0,
            held: [0; BUCKETS],
            held_in_all: 0,
            top: Revision(0),
            missing: [0; BUCKETS],
            missing_in_all: 0,
            missing_by_count: 0,
            reading: None,
        }
    }
}

impl Contents {
    /// The digest over everything held.
    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// How many records are held.
    pub(super) const fn held(&self) -> u64 {
        self.held_in_all
    }

    /// How many of them are not in the store: by its count, or by what was seen when its buckets were read.
    pub(super) fn missing(&self) -> u64 {
        self.missing_in_all.max(self.missing_by_count)
    }

    /// The newest record.
    pub(super) const fn top(&self) -> Revision {
        self.top
    }

    /// Notes a record that was applied, and the revision it took the place of.
    pub(super) fn applied(&mut self, noted: &Noted, replaced: Option<Revision>) {
        let Noted {
            kind,
            id,
            revision,
            term: after,
        } = *noted;
        self.top = self.top.max(revision);
        let bucket = bucket_of(id);
        let before = replaced.map_or(0, |replaced| term(kind, id, replaced));
        let change = after ^ before;
        self.digest ^= change;
        if let Some(digest) = self.digests.get_mut(bucket) {
            *digest ^= change;
        }
        if replaced.is_none()
            && let Some(held) = self.held.get_mut(bucket)
        {
            *held = held.saturating_add(1);
            self.held_in_all += 1;
        }
        if let Some(reading) = &mut self.reading {
            reading.changed = true;
        }
    }

    /// Takes in what is held of other records.
    pub(super) fn join(&mut self, other: &Self) {
        self.top = self.top.max(other.top);
        self.digest ^= other.digest;
        self.held_in_all += other.held_in_all;
        for (digest, other) in self.digests.iter_mut().zip(other.digests) {
            *digest ^= other;
        }
        for (held, other) in self.held.iter_mut().zip(other.held) {
            *held = held.saturating_add(other);
        }
    }

    /// A record was seen in a bucket; what it is worth is the caller's to judge.
    pub(super) fn saw(&mut self, bucket: usize, kind: Option<RecordKind>, id: [u8; 16]) {
        let reading = match &mut self.reading {
            Some(reading) if reading.bucket == bucket => reading,
            other => other.insert(Reading {
                bucket,
                ..Reading::default()
            }),
        };
        reading.seen.insert((kind, id));
    }

    /// A bucket has been read to its end. Returns whether that changed anything.
    pub(super) fn bucket_ended(&mut self, bucket: usize) -> bool {
        let reading = self.reading.take().filter(|read| read.bucket == bucket);
        let reading = reading.unwrap_or_default();
        let seen = u32::try_from(reading.seen.len()).unwrap_or(u32::MAX);
        if let Some((missing, held)) = self.missing.get_mut(bucket).zip(self.held.get(bucket)) {
            *missing = held.saturating_sub(seen);
        }
        let missing = self.missing.iter().map(|missing| u64::from(*missing));
        self.missing_in_all = missing.sum();
        reading.changed
    }

    /// The bucket being read will not be read to its end.
    pub(super) fn leave_bucket(&mut self) {
        self.reading = None;
    }

    /// The store holds this many records.
    pub(super) fn compare_count(&mut self, theirs: u64) {
        self.missing_by_count = self.held().saturating_sub(theirs);
    }

    /// The store holds all of them.
    pub(super) fn nothing_missing(&mut self) {
        self.missing = [0; BUCKETS];
        self.missing_in_all = 0;
    }

    /// The buckets whose digest is not the store's.
    pub(super) fn differing(&self, theirs: &[u64; BUCKETS]) -> Vec<usize> {
        let both = self.digests.iter().zip(theirs).enumerate();
        both.filter(|(_, (ours, theirs))| ours != theirs)
            .map(|(bucket, _)| bucket)
            .collect()
    }
}
