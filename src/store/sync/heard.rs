//! What a node hears from the fleet's store, in the order in which the threads heard it. Plain data: nothing here asks for
//! it or judges it.

use std::time::Instant;

use uuid::Uuid;

use crate::keys::{PARTITIONS, Partition, RecordKind, Revision};
use crate::store::seal::BUCKETS;

/// One change, as it stands in a partition's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose stream it was read from.
    pub partition: Partition,
    /// Its place in the stream.
    pub revision: Revision,
    /// The change before it; `None` when the entry does not say so in a readable way.
    pub previous: Option<Revision>,
    /// The sealed record; empty when there is none.
    pub sealed: Vec<u8>,
}

/// One record, as it stands in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The kind it is filed under; `None` when that byte means nothing.
    pub kind: Option<RecordKind>,
    /// The id it is filed under.
    pub id: [u8; 16],
    /// The sealed record.
    pub sealed: Vec<u8>,
}

/// Where a partition of the store stands, as the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Which store it is; `None` when it is empty.
    pub identity: Option<Uuid>,
    /// Its last change.
    pub last: Revision,
    /// How many records it holds.
    pub count: u64,
    /// The digest over all its records.
    pub digest: u64,
    /// Set while records are being put back into it.
    pub restoring: bool,
}

/// The answer to one question of where the store stands.
#[derive(Clone, Debug)]
pub struct Probed {
    /// Before the question was sent.
    pub sent_at: Instant,
    /// What this node had applied then.
    pub applied: [Revision; PARTITIONS],
    /// The answer.
    pub tails: Vec<(Partition, Tail)>,
}

/// One thing heard.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The next changes of a feed.
    Entries(Vec<Entry>),
    /// A snapshot of a partition begins; it will hold at least every change up to `tail`.
    Began {
        /// Which.
        partition: Partition,
        /// Its last change, read before the first bucket.
        tail: Revision,
    },
    /// Some records of a bucket.
    Bucket {
        /// Of which partition.
        partition: Partition,
        /// Which bucket.
        bucket: usize,
        /// The records.
        stored: Vec<Stored>,
        /// Whether these are the last of the bucket.
        complete: bool,
    },
    /// Every bucket that was asked for has been read.
    Ended {
        /// Of which partition.
        partition: Partition,
    },
    /// The digests of a partition's buckets.
    Digests {
        /// Which.
        partition: Partition,
        /// Its last change, read before the digests.
        before: Revision,
        /// The digests.
        digests: Box<[u64; BUCKETS]>,
        /// Its last change, read after the digests.
        after: Revision,
    },
    /// The feed has read to its end, and its own server stands at `tail`.
    Looked {
        /// Which partition.
        partition: Partition,
        /// That server's last change, read before the feed's end was reached.
        tail: Revision,
    },
    /// Where the store stands.
    Probed(Probed),
    /// A feed was cut: what had been asked of it will not be answered.
    Cut {
        /// Its partitions.
        partitions: Vec<Partition>,
    },
}

/// What the feed's thread is to do next for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read the tail, then every bucket, and go on with the feed from that tail.
    Snapshot(Partition),
    /// Read the tail, then the feed to its end.
    Look(Partition),
    /// Read the digests of the buckets, and the tail before and after.
    Digests(Partition),
    /// Read these buckets.
    Buckets(Partition, Vec<usize>),
}

impl Ask {
    /// The partition it is about.
    pub const fn partition(&self) -> Partition {
        match self {
            Self::Snapshot(partition)
            | Self::Look(partition)
            | Self::Digests(partition)
            | Self::Buckets(partition, _) => *partition,
        }
    }
}
