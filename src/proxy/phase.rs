//! What a connection's socket and its requests tell each other: what is waited for, what is left unread. It waits for
//! nothing itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use super::raw_head::RawHead;
use super::timer::LazyTimer;

/// What the connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first byte of a request, since then.
    Idle(Instant),
    /// The rest of a head, since its first byte.
    Head(Instant),
    /// Its request is being answered; the exchange has clocks of its own.
    Busy,
}

/// What the socket and its requests tell each other.
pub struct State {
    /// What it waits for.
    pub phase: Cell<Phase>,
    /// The last request was answered before all of its body was read.
    pub body_left: Cell<bool>,
    /// The head under way, or the last one.
    pub head: RefCell<RawHead>,
    /// The last answer was cut.
    pub was_cut: Cell<bool>,
    /// For the wait for an upstream's answer. Here, because it outlives the requests of the connection, so that most of
    /// them find it registered.
    answer_timer: RefCell<LazyTimer>,
}

impl State {
    /// Of a connection that has just been accepted.
    pub fn new(now: Instant) -> Self {
        Self {
            phase: Cell::new(Phase::Idle(now)),
            body_left: Cell::new(false),
            head: RefCell::default(),
            was_cut: Cell::new(false),
            answer_timer: RefCell::default(),
        }
    }
}

/// Held while a request is answered. The clock of the next request starts when it is dropped, with the answer's body, so
/// that a long answer is not taken for an idle connection.
pub struct Busy(Rc<State>);

impl Busy {
    /// From now on.
    pub fn begin(state: &Rc<State>) -> Self {
        state.phase.set(Phase::Busy);
        Self(Rc::clone(state))
    }

    /// Notes whether there is body that has not been read.
    pub fn body_left(&self, left: bool) {
        self.0.body_left.set(left);
    }

    /// Whether the raw bytes of the request's head could be read in two ways.
    pub fn head_is_ambiguous(&self) -> bool {
        self.0.head.borrow().is_ambiguous()
    }

    /// Notes that the answer was not passed on to its end.
    pub fn cut(&self) {
        self.0.was_cut.set(true);
    }

    /// Ready once `at` has passed; for the one thing that a request waits for at a time.
    pub fn poll_deadline(&self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        self.0.answer_timer.borrow_mut().poll(cx, at)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.phase.set(Phase::Idle(Instant::now()));
    }
}
