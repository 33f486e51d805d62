//! What was put into a new table from elsewhere than the store, in numbers, for a follower to go on from.

use super::contents::{Contents, Noted};
use crate::keys::table::Applied;
use crate::keys::{PARTITIONS, Partition, RecordKind, Revision};

/// The contents of every partition.
#[derive(Debug)]
pub struct Held {
    partitions: Vec<Contents>,
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl Held {
    /// Nothing.
    pub fn new() -> Self {
        let none = std::iter::repeat_with(Contents::default);
        Self {
            partitions: none.take(PARTITIONS).collect(),
        }
    }

    /// Notes a record and what came of it.
    pub fn note(
        &mut self,
        partition: Partition,
        kind: RecordKind,
        id: [u8; 16],
        revision: Revision,
        applied: Applied,
    ) {
        self.noted(partition, &Noted::of(kind, id, revision), applied);
    }

    /// The same, for whoever has asked what it adds to the digests already.
    pub(super) fn noted(&mut self, partition: Partition, noted: &Noted, applied: Applied) {
        let contents = self.partitions.get_mut(partition.index());
        if let (Applied::Newer { replaced }, Some(contents)) = (applied, contents) {
            contents.applied(noted, replaced);
        }
    }

    /// Takes in what another thread has noted of the same table.
    pub fn join(&mut self, other: Self) {
        for (contents, other) in self.partitions.iter_mut().zip(other.partitions) {
            contents.join(&other);
        }
    }

    pub(super) fn into_partitions(self) -> Vec<Contents> {
        self.partitions
    }
}
