//! What is done about a digest that is not the store's: its buckets are compared, what differs is read again, and what then
//! still differs is left alone for a while. It sees digests only.

use std::time::{Duration, Instant};

/// How long a difference that reading again did not settle is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(120);

/// So many repairs that changed nothing show that reading does not settle a difference. One could have read a store that was
/// being emptied and filled again.
const FRUITLESS: u32 = 2;

/// How long the first repair is given before the next one; each further one is given twice as long, up to a bound.
const GIVEN_MIN: Duration = Duration::from_secs(1);
const GIVEN_MAX: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    /// The buckets' digests are wanted.
    Wanted,
    /// These buckets are to be read.
    Found(Vec<usize>),
    /// All that differed has been read.
    Done,
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
    /// Our digest and the store's, combined, as the repair began. Changes that come meanwhile leave it as it is.
    begun_with: u64,
    fruitless: u32,
    tries: u32,
    not_before: Option<Instant>,
    /// What reading again did not settle, and until when it is left alone.
    lasting: Option<(u64, Instant)>,
}

impl Repair {
    pub(super) const fn new() -> Self {
        Self {
            stage: Stage::Idle,
            begun_with: 0,
            fruitless: 0,
            tries: 0,
            not_before: None,
            lasting: None,
        }
    }

    /// The digests are the same.
    pub(super) fn same(&mut self) {
        *self = Self::new();
    }

    /// The digests differ by `difference`.
    pub(super) fn differs(&mut self, difference: u64, now: Instant) -> Difference {
        match self.stage {
            Stage::Wanted | Stage::Found(_) => return Difference::Open,
            Stage::Done if difference == self.begun_with => self.fruitless += 1,
            Stage::Done => self.fruitless = 0,
            Stage::Idle => {}
        }
        self.stage = Stage::Idle;
        let told = self.lasting.filter(|(told, _)| *told == difference);
        if self.fruitless >= FRUITLESS {
            self.fruitless = 0;
            self.tries = 0;
            self.not_before = None;
            self.lasting = Some((difference, now + LEFT_ALONE));
            return match told {
                Some(_) => Difference::Known,
                None => Difference::Lasting,
            };
        }
        if told.is_some_and(|(_, until)| now < until) {
            return Difference::Known;
        }
        if self.not_before.is_some_and(|earliest| now < earliest) {
            return Difference::Open;
        }
        let given = GIVEN_MIN.saturating_mul(1 << self.tries.min(10));
        self.tries = self.tries.saturating_add(1);
        self.not_before = Some(now + given.min(GIVEN_MAX));
        self.stage = Stage::Wanted;
        let is_new = self.fruitless == 0;
        self.begun_with = difference;
        if is_new {
            Difference::New
        } else {
            Difference::Open
        }
    }

    /// The buckets' digests have come, and these differ; `None` when the store has moved meanwhile.
    pub(super) fn compared(&mut self, differing: Option<Vec<usize>>) {
        self.stage = match (&self.stage, differing) {
            (Stage::Wanted, Some(differing)) if differing.is_empty() => Stage::Done,
            (Stage::Wanted, Some(differing)) => Stage::Found(differing),
            _ => Stage::Idle,
        };
    }

    /// What differed was read.
    pub(super) fn read(&mut self) {
        self.stage = Stage::Done;
    }

    /// What was asked for will not come.
    pub(super) fn cut(&mut self) {
        if matches!(self.stage, Stage::Found(_)) {
            self.stage = Stage::Wanted;
        }
    }

    /// What is to be read next.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        match &self.stage {
            Stage::Wanted => Some(Wanted::Digests),
            Stage::Found(buckets) => Some(Wanted::Buckets(buckets.clone())),
            Stage::Idle | Stage::Done => None,
        }
    }
}
