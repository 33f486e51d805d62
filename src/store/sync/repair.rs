//! What is done about a digest that is not the store's: its buckets are compared, what differs is read again, and what then
//! still differs is left alone for a while. It sees digests and revisions only.

use std::time::{Duration, Instant};

use crate::keys::Revision;

/// How long a difference that reading again did not settle is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// How long the first repair is given before the next one; each further one is given twice as long.
const GIVEN_MIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// The buckets' digests are wanted.
    Wanted,
    /// These buckets are to be read.
    Found(Vec<usize>),
    /// All that differed has been read, and the partition was at this change then.
    Done(Revision),
}

/// What a difference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Just found: a repair begins.
    New,
    /// Being read, or about to be.
    Open,
    /// Just found to be one that reading does not settle.
    Lasting,
    /// Found to be that before.
    Known,
}

/// What is to be read next.
pub(super) enum Wanted {
    Digests,
    Buckets(Vec<usize>),
}

/// The repair of one partition.
#[derive(Debug)]
pub(super) struct Repair {
    stage: Stage,
    tries: u32,
    not_before: Option<Instant>,
    /// Our digest and the store's, combined: what reading again did not settle. New changes leave it as it is.
    lasting: Option<(u64, Instant)>,
}

impl Repair {
    pub(super) const fn new() -> Self {
        Self {
            stage: Stage::Idle,
            tries: 0,
            not_before: None,
            lasting: None,
        }
    }

    /// The digests are the same.
    pub(super) fn same(&mut self) {
        *self = Self::new();
    }

    /// The digests differ by `difference` at the change `at`.
    pub(super) fn differs(&mut self, difference: u64, at: Revision, now: Instant) -> Difference {
        let is_told = self.lasting.is_some_and(|(told, _)| told == difference);
        match self.stage {
            Stage::Wanted | Stage::Found(_) => return Difference::Open,
            Stage::Done(read_at) if read_at == at => {
                self.stage = Stage::Idle;
                self.tries = 0;
                self.not_before = None;
                self.lasting = Some((difference, now + LEFT_ALONE));
                return if is_told {
                    Difference::Known
                } else {
                    Difference::Lasting
                };
            }
            Stage::Idle | Stage::Done(_) => {}
        }
        self.stage = Stage::Idle;
        if is_told && self.lasting.is_some_and(|(_, until)| now < until) {
            return Difference::Known;
        }
        if self.not_before.is_some_and(|earliest| now < earliest) {
            return Difference::Open;
        }
        let given = GIVEN_MIN.saturating_mul(1 << self.tries.min(10));
        self.tries = self.tries.saturating_add(1);
        self.not_before = Some(now + given.min(LEFT_ALONE));
        self.stage = Stage::Wanted;
        Difference::New
    }

    /// The buckets' digests have come, and these differ; `None` when the store has moved meanwhile.
    pub(super) fn compared(&mut self, differing: Option<Vec<usize>>, at: Revision) {
        self.stage = match (&self.stage, differing) {
            (Stage::Wanted, Some(differing)) if differing.is_empty() => Stage::Done(at),
            (Stage::Wanted, Some(differing)) => Stage::Found(differing),
            _ => Stage::Idle,
        };
    }

    /// What differed was read, as part of a snapshot or by itself.
    pub(super) fn read(&mut self, at: Revision) {
        self.stage = Stage::Done(at);
    }

    /// What was asked for will not come.
    pub(super) fn cut(&mut self) {
        if self.stage != Stage::Idle {
            self.stage = Stage::Wanted;
        }
    }

    /// What is to be read next.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        match &self.stage {
            Stage::Wanted => Some(Wanted::Digests),
            Stage::Found(buckets) => Some(Wanted::Buckets(buckets.clone())),
            Stage::Idle | Stage::Done(_) => None,
        }
    }
}
