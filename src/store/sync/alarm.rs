//! What can be wrong with the store, as one node sees it: a sentence for the operator and a word to count it under. It names
//! ids and revisions, never what a record says.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::keys::{Partition, RecordKind, Revision};
use crate::store::seal::Unsealed;

/// Where a record was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the stream of changes.
    Change(Partition, Revision),
    /// Under an id.
    Field(Partition, Option<RecordKind>, [u8; 16]),
    /// In the node's own replica, under an id.
    Replica(Option<RecordKind>, [u8; 16]),
}

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is not a record of ours.
    Unsealed(Unsealed),
    /// It is a record of ours, found where another one belongs.
    Misplaced,
}

impl Why {
    /// Its index in [`crate::telemetry::REFUSALS`].
    pub const fn index(self) -> usize {
        match self {
            Self::Unsealed(Unsealed::Malformed) => 0,
            Self::Unsealed(Unsealed::UnknownFormat(_)) => 1,
            Self::Unsealed(Unsealed::Forged) => 2,
            Self::Misplaced => 3,
        }
    }
}

/// Something that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// A record was refused.
    Refused(Place, Why),
    /// A record of ours is an older version of one that this node has.
    RolledBack {
        /// Where it was found.
        place: Place,
        /// What it is of.
        of: (RecordKind, [u8; 16]),
        /// The older version's revision.
        found: Revision,
        /// The version that is kept, where it is known.
        held: Option<Revision>,
    },
    /// Changes are missing from the stream.
    Gap {
        /// Of which partition.
        partition: Partition,
        /// The last one before them.
        after: Revision,
        /// The last one of them.
        through: Revision,
    },
    /// A change did not come, because something that is no change was in the stream behind where it belongs.
    Passed {
        /// Of which partition.
        partition: Partition,
        /// The change.
        change: Revision,
        /// What was in the stream.
        by: Revision,
    },
    /// The store has gone on from an earlier change than this node's last.
    Forked {
        /// Which partition.
        partition: Partition,
        /// This node's last.
        ours: Revision,
        /// Where it has gone on from; `None` when the change does not say.
        from: Option<Revision>,
    },
    /// The store has lost changes that this node has applied.
    Regressed {
        /// In which partition.
        partition: Partition,
        /// This node's last.
        ours: Revision,
        /// The store's last.
        theirs: Revision,
    },
    /// A partition of the store is empty.
    Empty(Partition),
    /// The store says that it is being put back together.
    Restoring {
        /// The first partition that says so.
        partition: Partition,
        /// For how long it has.
        lasts: Duration,
    },
    /// It is another store.
    OtherIdentity {
        /// The one this node follows.
        ours: Uuid,
        /// The one found.
        theirs: Uuid,
    },
    /// Records that this node holds are not in the store.
    Missing(u64),
    /// A partition's digest is not the store's.
    DigestDiffers(Partition),
    /// The digest still differs after everything that differed was read again.
    Ahead(Partition),
}

impl Alarm {
    /// One word per kind of alarm: each is printed at most once a minute.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Refused(..) => "refused",
            Self::RolledBack { .. } => "rolled_back",
            Self::Gap { .. } => "gap",
            Self::Passed { .. } => "passed",
            Self::Forked { .. } => "forked",
            Self::Regressed { .. } => "regressed",
            Self::Empty(_) => "empty",
            Self::Restoring { .. } => "restoring",
            Self::OtherIdentity { .. } => "other_identity",
            Self::Missing(_) => "missing",
            Self::DigestDiffers(_) => "digest_differs",
            Self::Ahead(_) => "ahead",
        }
    }
}

const fn noun(kind: Option<RecordKind>) -> &'static str {
    match kind {
        Some(RecordKind::Org) => "org",
        Some(RecordKind::User) => "user",
        Some(RecordKind::Key) => "key",
        None => "record of an unknown kind",
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(partition, revision) => write!(
                f,
                "the change {} of the store's partition {}",
                revision.0,
                partition.index()
            ),
            Self::Field(partition, kind, id) => write!(
                f,
                "the {} {} in the store's partition {}",
                noun(*kind),
                Uuid::from_bytes(*id),
                partition.index()
            ),
            Self::Replica(kind, id) => write!(
                f,
                "the {} {} in this node's replica",
                noun(*kind),
                Uuid::from_bytes(*id)
            ),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsealed(unsealed) => unsealed.fmt(f),
            Self::Misplaced => f.write_str("it is another record, moved there"),
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(place, why) => {
                write!(
                    f,
                    "{place} was refused: {why}; the last good version stays in force"
                )
            }
            Self::RolledBack {
                place,
                of: (kind, id),
                found,
                held,
            } => {
                write!(
                    f,
                    "{place} holds an old version of the {} {}, of revision {}",
                    noun(Some(*kind)),
                    Uuid::from_bytes(*id),
                    found.0
                )?;
                match held {
                    Some(held) => write!(f, "; this node keeps revision {}", held.0),
                    None => f.write_str("; it was taken as no more than that"),
                }
            }
            Self::Gap {
                partition,
                after,
                through,
            } => write!(
                f,
                "changes {} to {} of the store's partition {} are no longer in its stream: the partition is read anew",
                after.0,
                through.0,
                partition.index()
            ),
            Self::Passed {
                partition,
                change,
                by,
            } => write!(
                f,
                "the change {} of the store's partition {} did not come, because the stream held something under the later id {} that is no change: the stream is read again",
                change.0,
                partition.index(),
                by.0
            ),
            Self::Forked {
                partition,
                ours,
                from,
            } => {
                write!(
                    f,
                    "the store's partition {} has gone on from ",
                    partition.index()
                )?;
                match from {
                    Some(from) => write!(f, "change {}", from.0)?,
                    None => f.write_str("a change it does not name")?,
                }
                write!(
                    f,
                    ", and this node had applied {}: the partition is read anew",
                    ours.0
                )
            }
            Self::Regressed {
                partition,
                ours,
                theirs,
            } => write!(
                f,
                "the store has lost changes of partition {}: it is at {} and this node has applied {}; nothing is taken back, `keygate store restore` puts them back",
                partition.index(),
                theirs.0,
                ours.0
            ),
            Self::Empty(partition) => write!(
                f,
                "the store's partition {} is empty: this node keeps what it has; `keygate store restore` fills the store again",
                partition.index()
            ),
            Self::Restoring { partition, lasts } => write!(
                f,
                "the store says that its records are being put back, and has for {} s (partition {}): until that is done this node cannot tell what it misses, and its view ages; if no `keygate store restore` or `keygate store migrate` is running, one was broken off, and `keygate store restore` ends it",
                lasts.as_secs(),
                partition.index()
            ),
            Self::OtherIdentity { ours, theirs } => write!(
                f,
                "the store is now {theirs} and this node follows {ours}: nothing is taken from it"
            ),
            Self::Missing(records) => write!(
                f,
                "{records} records that this node holds are not in the store: they stay in force here; `keygate store restore` puts them back"
            ),
            Self::DigestDiffers(partition) => write!(
                f,
                "this node's digest of partition {} is not the store's: what differs is read again",
                partition.index()
            ),
            Self::Ahead(partition) => write!(
                f,
                "partition {} still differs from the store after it was read again: the store lacks, or holds in a refused or older form, what this node has",
                partition.index()
            ),
        }
    }
}
