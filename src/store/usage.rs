//! Writes down when keys were used, how often and from where: every interval, in batches, on a thread of its own, and once more
//! at the end. A crash loses one interval at most. What is noted and where it is kept is not decided here.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Store, StoreError};
use crate::keys::KeyId;
use crate::keys::usage::{UsageCounts, Use};
use crate::telemetry::UsageCounters;

/// The most keys in one write, so that none holds up the store's other writers.
const BATCH: usize = 500;

/// How long the last flush may take: a store that does not answer must not hold the program's end.
const LAST_FLUSH_MAX: Duration = Duration::from_secs(2);

/// The running thread. Dropping it ends the thread, without a last flush.
#[derive(Debug)]
pub struct UsageFlusher {
    finish: mpsc::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl UsageFlusher {
    /// Starts to write what is noted in `counts` to `store`, every `interval`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        store: Arc<Store>,
        counts: Arc<UsageCounts>,
        counters: Arc<UsageCounters>,
        interval: Duration,
    ) -> io::Result<Self> {
        let (finish, asked) = mpsc::channel();
        let (at_end, ended) = oneshot::channel();
        thread::Builder::new()
            .name("usage".to_owned())
            .spawn(move || {
                let flush = || {
                    let flushed = flush(&counts, |uses| store.flush_usage(uses));
                    let counter = match flushed {
                        Ok(0) => return,
                        Ok(_) => &counters.flushes,
                        // The store's own alarms say what is wrong with it. Nothing is lost: the next interval tries again.
                        Err(_) => &counters.errors,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                };
                loop {
                    match asked.recv_timeout(jittered(interval)) {
                        Err(RecvTimeoutError::Timeout) => flush(),
                        Ok(()) => break flush(),
                        Err(RecvTimeoutError::Disconnected) => break,
                    }
                }
                // Whoever waits for the end may open the store next.
                drop(store);
                let _ = at_end.send(());
            })?;
        Ok(Self { finish, ended })
    }

    /// Flushes once more and ends. Returns whether it was done in time.
    pub async fn finish(self) -> bool {
        // Without a receiver the thread has ended, by a panic.
        let _ = self.finish.send(());
        let ended = tokio::time::timeout(LAST_FLUSH_MAX, self.ended).await;
        matches!(ended, Ok(Ok(())))
    }
}

/// Never more than the interval, which is what a crash may cost; and not the same on every node of a fleet.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(1.0 - fastrand::f64() / 5.0)
}

/// Writes down what is noted, in batches, and returns the number of keys. The batch that fails is given back, and what has
/// not been taken stays noted.
fn flush(
    counts: &UsageCounts,
    mut write: impl FnMut(&[(KeyId, Use)]) -> Result<(), StoreError>,
) -> Result<usize, StoreError> {
    let mut flushed = 0;
    // One round: what is noted meanwhile waits for the next interval.
    loop {
        let uses = counts.drain(BATCH);
        if uses.is_empty() {
            return Ok(flushed);
        }
        if let Err(error) = write(&uses) {
            counts.give_back(uses);
            return Err(error);
        }
        flushed += uses.len();
        if uses.len() < BATCH {
            return Ok(flushed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::keys::usage::OneUse;
    use crate::keys::{Slot, Timestamp};

    #[test]
    fn a_flush_writes_in_batches_and_a_failed_one_loses_nothing() {
        let counts = UsageCounts::default();
        let slot = Slot::of_org_name("acme");
        for _ in 0..BATCH * 2 + 7 {
            let one = OneUse {
                at: Timestamp(1),
                address: IpAddr::from([192, 0, 2, 1]),
                agent: "agent/7",
                shadowed: None,
            };
            counts.note(KeyId::generate_in(slot), &one);
        }
        let mut sizes = Vec::new();
        let failed = flush(&counts, |uses| {
            sizes.push(uses.len());
            if sizes.len() == 2 {
                let what = "test";
                let why = "it is to fail".to_owned();
                return Err(StoreError::Damaged { what, why });
            }
            Ok(())
        });
        assert!(failed.is_err());
        assert_eq!((&sizes[..], counts.len()), (&[BATCH; 2][..], BATCH + 7));
        let mut written = 0;
        let rest = flush(&counts, |uses| {
            written += uses.iter().map(|(_, uses)| uses.count).sum::<u64>();
            Ok(())
        });
        assert_eq!(rest.unwrap(), BATCH + 7, "the next one takes the rest");
        assert_eq!(written, (BATCH + 7) as u64);
        assert!(counts.is_empty());
    }

    #[test]
    fn no_wait_is_longer_than_the_interval() {
        let interval = Duration::from_secs(10);
        for _ in 0..1_000 {
            let wait = jittered(interval);
            assert!(wait <= interval && wait >= interval.mul_f64(0.8));
        }
    }
}
