//! The records of one worker on their way to the writer: a place for each, reserved or not. What becomes of them is
//! `recorder`'s business; what to do when there is no place, `open`'s.
//!
//! The worker pushes and the writer takes all there is at once, in exchange for an empty queue of the same memory: so a record
//! is neither allocated nor freed, and the lock between the two is held for the time of one push or one exchange.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::record::RequestRecord;

/// As many places' memory is kept when fewer records come than once did.
const PLACES_KEPT: usize = 4096;

/// What the writer and one worker share.
pub struct Lane {
    state: Mutex<State>,
    places: usize,
    /// Rung when places have become free.
    free: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<RequestRecord>,
    /// Places promised to records that are still to come.
    reserved: usize,
    /// Taken, and waiting with the writer.
    with_writer: usize,
    /// The worker will push no more.
    ended: bool,
    /// The writer will take no more.
    closed: bool,
}

impl State {
    fn taken_places(&self) -> usize {
        self.waiting.len() + self.reserved + self.with_writer
    }
}

/// The worker's end.
pub struct Queue(Arc<Lane>);

impl Queue {
    /// A queue of so many places, at least one, and the writer's end of it.
    pub fn new(places: usize) -> (Self, Arc<Lane>) {
        let lane = Arc::new(Lane {
            state: Mutex::default(),
            places: places.max(1),
            free: Notify::new(),
        });
        (Self(Arc::clone(&lane)), lane)
    }

    /// Hands a record over: into its reserved place, or into a free one. Returns it when there is none.
    pub fn push(&self, record: RequestRecord, is_reserved: bool) -> Option<RequestRecord> {
        let mut state = self.0.state();
        if is_reserved {
            state.reserved = state.reserved.saturating_sub(1);
        }
        let has_place = !state.closed && state.taken_places() < self.0.places;
        if !has_place {
            return Some(record);
        }
        state.waiting.push_back(record);
        None
    }

    /// Reserves a place for a record that is still to come, if one is free. Whoever has reserved must push.
    pub fn try_reserve(&self) -> bool {
        let mut state = self.0.state();
        let has_place = !state.closed && state.taken_places() < self.0.places;
        state.reserved += usize::from(has_place);
        has_place
    }

    /// Waits for a place, and reserves it. Not for ever only if the caller says so.
    pub async fn reserve(&self) {
        loop {
            // Before the look, so that no ring in between is missed.
            let freed = self.0.free.notified();
            if self.try_reserve() {
                return;
            }
            freed.await;
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.state().ended = true;
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges what waits for an empty queue. Returns whether anything waited.
    pub fn take(&self, into: &mut VecDeque<RequestRecord>) -> bool {
        into.clear();
        into.shrink_to(PLACES_KEPT);
        let mut state = self.state();
        std::mem::swap(into, &mut state.waiting);
        state.with_writer += into.len();
        !into.is_empty()
    }

    /// Frees the places of records that wait no more.
    pub fn release(&self, records: usize) {
        if records == 0 {
            return;
        }
        let mut state = self.state();
        state.with_writer = state.with_writer.saturating_sub(records);
        drop(state);
        self.free.notify_waiters();
    }

    /// Whether the worker will push no more.
    pub fn has_ended(&self) -> bool {
        self.state().ended
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    /// Takes no more. Returns what waits in vain.
    pub fn close(&self) -> VecDeque<RequestRecord> {
        let mut state = self.state();
        state.closed = true;
        std::mem::take(&mut state.waiting)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::SystemTime;

    use http::Method;

    use super::*;

    fn push(queue: &Queue, is_reserved: bool) -> bool {
        queue.push(record(), is_reserved).is_none()
    }

    fn record() -> RequestRecord {
        RequestRecord::begin(
            Some(&Method::GET),
            IpAddr::from([127, 0, 0, 1]),
            SystemTime::now(),
        )
    }

    #[test]
    fn a_place_is_free_again_once_its_record_waits_no_more_and_not_before() {
        let (queue, lane) = Queue::new(2);
        assert!(push(&queue, false) && push(&queue, false));
        assert!(!push(&queue, false));
        let mut taken = VecDeque::new();
        assert!(lane.take(&mut taken) && taken.len() == 2);
        assert!(!push(&queue, false), "the sink may be stuck");
        lane.release(1);
        assert!(push(&queue, false) && !queue.try_reserve());
    }

    #[test]
    fn a_reserved_place_is_nobody_elses() {
        let (queue, lane) = Queue::new(1);
        assert!(queue.try_reserve() && !push(&queue, false));
        assert!(push(&queue, true));
        drop(queue);
        assert!(lane.has_ended() && !lane.is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_for_a_place_gets_the_next_one() {
        let (queue, lane) = Queue::new(1);
        assert!(push(&queue, false));
        let mut reserving = std::pin::pin!(queue.reserve());
        assert!(futures_util::FutureExt::now_or_never(&mut reserving).is_none());
        let mut taken = VecDeque::new();
        assert!(lane.take(&mut taken));
        lane.release(1);
        reserving.await;
        assert!(!queue.try_reserve());
    }
}
