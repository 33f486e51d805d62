//! What a node hears from the fleet's store, in the order in which the threads heard it. Plain data: nothing here asks for
//! it or judges it.

use std::time::Instant;

use crate::keys::{PARTITIONS, Partition, Revision};
pub use crate::store::redis::feed::{Entry, Stored, Tail};
use crate::store::seal::BUCKETS;

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
    /// Read the tail, then the feed from this change to its end.
    Look(Partition, Revision),
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
            | Self::Look(partition, _)
            | Self::Digests(partition)
            | Self::Buckets(partition, _) => *partition,
        }
    }
}
