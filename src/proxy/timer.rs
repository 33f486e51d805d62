//! A timer for deadlines that are almost never reached. What happens when one is, its owner decides.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::task::coop::has_budget_remaining;
use tokio::time::Sleep;

/// A timer that moves only when it must: it is registered when something is first waited for, and a deadline that has
/// moved on since is only looked at when the old one rings. An exchange that ends in time costs no timer operation.
#[derive(Default)]
pub struct LazyTimer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom it wakes.
    wakes: Option<Waker>,
}

impl LazyTimer {
    /// Whether it is registered for whoever asks, and has not rung. Then there is nothing to tell it.
    pub fn waits_for(&self, cx: &Context<'_>) -> bool {
        let runs = self.sleep.as_ref().is_some_and(|sleep| !sleep.is_elapsed());
        runs && is_same(self.wakes.as_ref(), cx)
    }

    /// Ready once `at` has passed. Call it only when nothing else is ready.
    pub fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if sleep.deadline().into_std() > at {
            sleep.as_mut().reset(at.into());
        } else if !sleep.is_elapsed() && is_same(self.wakes.as_ref(), cx) {
            // It is registered for whoever asks, and will ring in time.
            return Poll::Pending;
        }
        // Without budget the timer does not register, and this task is woken at once to ask again.
        self.wakes = has_budget_remaining().then(|| cx.waker().clone());
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at.into());
        }
        Poll::Pending
    }
}

fn is_same(wakes: Option<&Waker>, cx: &Context<'_>) -> bool {
    wakes.is_some_and(|wakes| wakes.will_wake(cx.waker()))
}
