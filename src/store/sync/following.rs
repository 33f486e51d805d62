//! One partition as a node follows it: what is to be read anew, and since when it is in step. It sees revisions and digests, no records.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::alarm::Alarm;
use super::chain::{Chain, Link};
use super::contents::Contents;
use super::heard::{Ask, Tail};
use super::repair::{Difference, Repair, Wanted};
use crate::keys::{Partition, Revision};
use crate::store::seal::BUCKETS;

/// A node that already serves waits up to this long before it reads a partition anew, so that a fleet does not do so at once.
const JITTER: Duration = Duration::from_secs(2);

/// The waits between snapshots of a partition that needs one again and again.
const AGAIN_MIN: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// After this long without one, the next snapshot is the first again.
const CALM: Duration = Duration::from_secs(60);

/// How long a change may be known and not have come through the feed before the feed's end is looked for.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Questions whose answer has not come through the feed yet. More than these are a feed that lags by as many seconds.
const PENDING_MAX: usize = 64;

/// What the last question said of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing yet.
    Unknown,
    Ours,
    /// It is empty: what it lacks means nothing.
    Empty,
    /// Records are being put back into it: the same.
    Restoring,
    /// It is another store.
    Other,
}

/// A question whose answer lies beyond the chain.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// When the first one with this answer was sent; since then the change is waited for.
    since: Instant,
    /// When the last one was sent.
    sent_at: Instant,
    /// The store's last change then.
    last: Revision,
}

/// One partition.
#[derive(Debug)]
pub(super) struct Following {
    partition: Partition,
    chain: Chain,
    /// While a snapshot is needed: the last change up to which nothing is missing.
    anchor: Revision,
    /// Whether the partition is to be read anew, and what the last snapshot did not mend.
    needs_snapshot: bool,
    needs_another: bool,
    not_before: Option<Instant>,
    asked: bool,
    snapshot_from: Option<Revision>,
    last_snapshot: Option<Instant>,
    snapshots_in_a_row: u32,
    looked_at: Option<Instant>,
    /// Questions whose answer lies beyond the chain.
    pending: VecDeque<Pending>,
    /// The newest question whose answer has been read, though perhaps not applied yet.
    reached: Option<Instant>,
    in_step: Option<Instant>,
    standing: Standing,
    regressed: bool,
    contents: Contents,
    repair: Repair,
}

impl Following {
    /// A partition of which nothing is known.
    pub(super) fn new(partition: Partition) -> Self {
        Self {
            partition,
            chain: Chain::from(Revision(0)),
            anchor: Revision(0),
            needs_snapshot: true,
            needs_another: false,
            not_before: None,
            asked: false,
            snapshot_from: None,
            last_snapshot: None,
            snapshots_in_a_row: 0,
            looked_at: None,
            pending: VecDeque::new(),
            reached: None,
            in_step: None,
            standing: Standing::Unknown,
            regressed: false,
            contents: Contents::default(),
            repair: Repair::new(),
        }
    }

    /// Goes on from a position up to which everything is held. One that `was_in_step` held everything even where that was
    /// nothing.
    pub(super) fn resume(&mut self, position: Revision, was_in_step: bool) {
        if was_in_step || position > Revision(0) {
            self.chain = Chain::from(position);
            self.needs_snapshot = false;
        }
    }

    /// Where the feed reads on.
    pub(super) fn position(&self) -> Revision {
        self.chain.position()
    }

    /// The last change up to which the chain is known to be whole.
    pub(super) const fn certain(&self) -> Revision {
        self.chain.certain()
    }

    /// The last change up to which nothing is missing: what may be written down and reported.
    pub(super) const fn solid(&self) -> Revision {
        if self.needs_snapshot {
            self.anchor
        } else {
            self.chain.certain()
        }
    }

    /// What is held of the partition.
    pub(super) const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// What is held of the partition, to be changed.
    pub(super) const fn contents_mut(&mut self) -> &mut Contents {
        &mut self.contents
    }

    /// Since when the partition is known to be in step.
    pub(super) const fn in_step(&self) -> Option<Instant> {
        self.in_step
    }

    /// Whether the partition can be followed from the feed: not while the store is another one.
    pub(super) fn is_ours(&self) -> bool {
        self.standing != Standing::Other
    }

    /// Whether the store says that records are being put back.
    pub(super) fn is_restoring(&self) -> bool {
        self.standing == Standing::Restoring
    }

    /// The partition is to be read anew; nothing was missing up to `solid`.
    fn need(&mut self, solid: Revision) {
        if !self.needs_snapshot {
            self.needs_snapshot = true;
            self.anchor = solid;
            self.not_before = None;
        }
        self.anchor = self.anchor.min(solid);
        self.needs_another |= self.snapshot_from.is_some();
    }

    /// Takes a change's place in the chain. `good` is whether its record is a change of ours.
    pub(super) fn link(
        &mut self,
        revision: Revision,
        previous: Option<Revision>,
        good: bool,
    ) -> Link {
        let certain = self.certain();
        let link = self.chain.link(revision, previous, good);
        match link {
            Link::Gap { .. } | Link::Fork { .. } => self.need(certain),
            Link::Next if !self.needs_snapshot && !self.pending.is_empty() => {
                // Those that lie between were answered by another history than the one this chain is of.
                self.reach(None);
            }
            Link::Next | Link::Nothing => {}
        }
        link
    }

    /// Takes the questions whose answer is a link of the chain, or in the snapshot, and forgets those that the chain has
    /// passed.
    fn reach(&mut self, snapshot: Option<Revision>) {
        let chain = &self.chain;
        let is_held = |last| chain.has(last) || snapshot.is_some_and(|tail| last <= tail);
        let held = self.pending.iter().filter(|it| is_held(it.last));
        self.reached = held.map(|it| it.sent_at).max().max(self.reached);
        let certain = chain.certain();
        self.pending.retain(|it| it.last > certain);
    }

    /// A snapshot begins, and the feed goes on from its tail.
    pub(super) fn began(&mut self, tail: Revision) {
        self.need(self.certain().min(tail));
        self.chain = Chain::from(tail);
        self.snapshot_from = Some(tail);
        // Nothing is taken from another store, so what is read of it now counts for nothing.
        self.needs_another = self.standing == Standing::Other;
    }

    /// Everything asked for has been read. Returns whether that was the snapshot that was needed.
    pub(super) fn ended(&mut self, now: Instant) -> bool {
        self.asked = false;
        self.contents.leave_bucket();
        let Some(tail) = self.snapshot_from.take() else {
            self.repair.read();
            return false;
        };
        let recent = |last| now.saturating_duration_since(last) < CALM;
        self.snapshots_in_a_row = match self.last_snapshot {
            Some(last) if recent(last) => self.snapshots_in_a_row.saturating_add(1),
            _ => 0,
        };
        self.last_snapshot = Some(now);
        self.not_before = None;
        if std::mem::take(&mut self.needs_another) {
            return false;
        }
        self.needs_snapshot = false;
        self.reach(Some(tail));
        self.settle();
        true
    }

    /// The feed was cut.
    pub(super) fn cut(&mut self) {
        self.asked = false;
        self.contents.leave_bucket();
        self.snapshot_from = None;
        self.repair.cut();
    }

    /// The feed's end was looked for, and its server stood at `tail` before.
    pub(super) fn looked(&mut self, tail: Revision) -> Option<Alarm> {
        self.asked = false;
        let after = self.certain();
        self.chain.lacks(tail).then(|| {
            self.need(after);
            Alarm::Gap {
                partition: self.partition,
                after,
                through: tail,
            }
        })
    }

    /// The buckets' digests have come.
    pub(super) fn digests_came(
        &mut self,
        before: Revision,
        theirs: &[u64; BUCKETS],
        after: Revision,
    ) {
        self.asked = false;
        let stood_still = before == after && self.is_at(before);
        let differing = stood_still.then(|| self.contents.differing(theirs));
        self.repair.compared(differing);
    }

    /// Whether what is held is what the store held at `revision`, records apart that it lacks.
    fn is_at(&self, revision: Revision) -> bool {
        !self.needs_snapshot && self.contents.top() <= revision && self.chain.may_end_at(revision)
    }

    /// The store is empty: it can bring nothing in step.
    pub(super) fn empty(&mut self) {
        self.standing = Standing::Empty;
        self.pending.clear();
        self.contents.compare_count(0);
    }

    /// The store is being put back together: the same.
    pub(super) fn restoring(&mut self) {
        self.standing = Standing::Restoring;
        self.pending.clear();
    }

    /// The store is another one.
    pub(super) fn other(&mut self) {
        self.standing = Standing::Other;
        self.needs_another |= self.snapshot_from.is_some();
        self.pending.clear();
    }

    /// The store's answer to a question sent at `sent_at`, when this node had applied `sent`.
    pub(super) fn tail(
        &mut self,
        sent_at: Instant,
        sent: Revision,
        tail: &Tail,
        now: Instant,
        alarms: &mut Vec<Alarm>,
    ) {
        let partition = self.partition;
        if self.is_away() {
            // Whatever happened to it meanwhile has not come through its stream.
            self.need(self.certain().min(tail.last));
        }
        self.standing = Standing::Ours;
        // What it answered before and has lost since will not come.
        self.pending.retain(|it| it.last <= tail.last);
        // A question that crossed a change on its way says less than we know now, and is no loss: what counts is what we knew
        // when it was sent.
        if tail.last < sent && tail.last < self.certain() {
            alarms.push(Alarm::Regressed {
                partition,
                ours: self.certain(),
                theirs: tail.last,
            });
            self.regressed = true;
            self.need(tail.last);
            self.chain = Chain::from(tail.last);
        }
        if !self.needs_snapshot && self.chain.has(tail.last) {
            self.reached = self.reached.max(Some(sent_at));
        } else if self.needs_snapshot || tail.last > self.certain() {
            // An answer behind the chain and not of it crossed a change of another history: it says nothing.
            let is_full = self.pending.len() >= PENDING_MAX;
            match self.pending.back_mut() {
                Some(newest) if newest.last == tail.last => {
                    newest.sent_at = sent_at.max(newest.sent_at);
                }
                Some(newest) if is_full => (newest.sent_at, newest.last) = (sent_at, tail.last),
                _ => {
                    if !self.needs_snapshot && self.chain.has_passed(tail.last) {
                        alarms.push(Alarm::Passed {
                            partition,
                            change: tail.last,
                            by: self.position(),
                        });
                    }
                    self.pending.push_back(Pending {
                        since: sent_at,
                        sent_at,
                        last: tail.last,
                    });
                }
            }
        }
        self.compare(tail, now, alarms);
        self.settle();
    }

    fn compare(&mut self, tail: &Tail, now: Instant, alarms: &mut Vec<Alarm>) {
        if self.contents.top() <= tail.last {
            self.regressed = false;
        }
        let at = self.is_at(tail.last);
        if at || (self.regressed && !self.needs_snapshot) {
            self.contents.compare_count(tail.count);
        }
        if !at || self.asked {
            return;
        }
        let difference = self.contents.digest() ^ tail.digest;
        if difference == 0 {
            self.repair.same();
            self.contents.nothing_missing();
        } else {
            match self.repair.differs(difference, now) {
                Difference::New => return alarms.push(Alarm::DigestDiffers(self.partition)),
                Difference::Open => return,
                Difference::Lasting => alarms.push(Alarm::Ahead(self.partition)),
                Difference::Known => {}
            }
        }
        // Whatever could not be read in the stream has been accounted for, up to here.
        if self.chain.is_unsure() {
            self.chain.end_at(tail.last);
            self.reach(None);
        }
    }

    /// What was read has been applied.
    pub(super) fn settle(&mut self) {
        self.in_step = self.in_step.max(self.reached);
    }

    fn is_away(&self) -> bool {
        match self.standing {
            Standing::Empty | Standing::Restoring | Standing::Other => true,
            Standing::Unknown | Standing::Ours => false,
        }
    }

    /// What the feed's thread is to do, at most one thing at a time. `random` is below one.
    pub(super) fn ask(&mut self, now: Instant, serving: bool, random: f64) -> Option<Ask> {
        if self.asked || self.is_away() {
            return None;
        }
        let partition = self.partition;
        let ask = if self.needs_snapshot {
            let again = AGAIN_MIN.saturating_mul(1 << self.snapshots_in_a_row.min(8));
            let earliest = match self.last_snapshot {
                Some(last) if now.saturating_duration_since(last) < CALM => {
                    (last + again.min(AGAIN_MAX)).max(now)
                }
                _ => now,
            };
            let jitter = if serving {
                JITTER.mul_f64(random)
            } else {
                Duration::ZERO
            };
            let due = *self.not_before.get_or_insert(earliest + jitter);
            (now >= due).then_some(Ask::Snapshot(partition))
        } else if self.is_behind(now) {
            self.looked_at = Some(now);
            if self.pending.iter().any(|it| self.chain.has_passed(it.last)) {
                self.chain.go_back();
            }
            Some(Ask::Look(partition, self.position()))
        } else {
            self.repair.wanted().map(|wanted| match wanted {
                Wanted::Digests => Ask::Digests(partition),
                Wanted::Buckets(buckets) => Ask::Buckets(partition, buckets),
            })
        };
        self.asked = ask.is_some();
        ask
    }

    fn is_behind(&self, now: Instant) -> bool {
        let long_ago = |at: Instant| now.saturating_duration_since(at) >= LOOK_AFTER;
        // What the feed has passed it will not bring any more.
        let waits = |it: &Pending| {
            self.chain.lacks(it.last) && (long_ago(it.since) || self.chain.has_passed(it.last))
        };
        self.pending.iter().any(waits) && self.looked_at.is_none_or(long_ago)
    }
}
