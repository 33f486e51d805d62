//! The thread that writes the replica: soon, in batches, and at once when something was revoked. A disk that is full, slow or
//! gone costs the replica's age and nothing else.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::follower::Change;
use super::replica::{Pace, Replica};
use crate::keys::keyring::Keyring;
use crate::keys::{PARTITIONS, Revision, Timestamp};
use crate::store::redis::rings::Rings;
use crate::store::{FleetStore, StoreError};
use crate::telemetry::{SyncCounters, add};

/// The longest that a change waits to be written.
const SAVE_WITHIN: Duration = Duration::from_secs(1);

/// Without changes, how often it is written how fresh the view is.
const AGE_WITHIN: Duration = Duration::from_secs(10);

/// So many changes are written at once.
const CHANGES_AT_ONCE: usize = 10_000;

/// How many orders may wait, and how many changes after failures. What is beyond is read anew after the next start.
const ORDERS_MAX: usize = 64;
const CHANGES_MAX: usize = 200_000;

/// The wait after a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a disk may hold up a revocation. It is applied then, as it would be without a replica.
const FLUSH_MAX: Duration = Duration::from_millis(500);

/// How long the first reading of a store may be held up, so that the disk keeps up with it.
const PUSH_MAX: Duration = Duration::from_secs(2);

/// How far the changes of an order go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) positions: [Revision; PARTITIONS],
    pub(super) in_step: Option<Instant>,
}

/// How far the file goes, as it is written there.
pub(super) type Written = ([Revision; PARTITIONS], Option<Timestamp>);

struct Order {
    changes: Vec<Change>,
    extent: Extent,
    /// Changes were lost before this order.
    is_behind: bool,
    /// Answered when all of it is on the disk.
    done: Option<SyncSender<()>>,
}

/// What a new file is made with.
pub(super) struct Maker {
    pub(super) path: PathBuf,
    pub(super) store: Arc<FleetStore>,
    pub(super) keyring: Keyring,
    pub(super) identity: Uuid,
}

/// The thread, as its one customer sees it.
pub(super) struct Keeper {
    orders: SyncSender<Order>,
    rings: Arc<Mutex<Option<Rings>>>,
    thread: JoinHandle<()>,
    /// Orders were lost: until the next start the file goes no further than it did.
    is_behind: bool,
}

impl Keeper {
    /// Writes on, or makes a file.
    pub(super) fn start(
        replica: Option<(Replica, Written)>,
        maker: Maker,
        counters: Arc<SyncCounters>,
        complain: impl Fn(&'static str, String) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let (replica, saved) = match replica {
            Some((replica, written)) => (Some(replica), written),
            None => (None, ([Revision(0); PARTITIONS], None)),
        };
        let rings = Arc::default();
        let work = Work {
            replica,
            rings: Arc::clone(&rings),
            maker,
            counters,
            complain: Box::new(complain),
            changes: Vec::new(),
            latest: None,
            saved,
            is_frozen: false,
        };
        let thread = thread::Builder::new()
            .name("keygate-replica".to_owned())
            .spawn(move || work.run(&receiver))?;
        Ok(Self {
            orders,
            rings,
            thread,
            is_behind: false,
        })
    }

    /// Has changes written soon. A view that serves nobody yet may wait for the disk.
    pub(super) fn push(&mut self, changes: Vec<Change>, extent: Extent, may_wait: bool) {
        let patience = if may_wait { PUSH_MAX } else { Duration::ZERO };
        let order = Order {
            changes,
            extent,
            is_behind: false,
            done: None,
        };
        self.order(order, patience);
    }

    /// Has changes written now, and waits until they are, though not for ever.
    pub(super) fn flush(&mut self, changes: Vec<Change>, extent: Extent) {
        let began = Instant::now();
        let (done, is_done) = sync_channel(1);
        let order = Order {
            changes,
            extent,
            is_behind: false,
            done: Some(done),
        };
        if self.order(order, FLUSH_MAX) {
            let _ = is_done.recv_timeout(FLUSH_MAX.saturating_sub(began.elapsed()));
        }
    }

    /// Has the file open with these keys, when it is next written.
    pub(super) fn keep_rings(&self, rings: Rings) {
        *self.rings.lock().unwrap_or_else(PoisonError::into_inner) = Some(rings);
    }

    fn order(&mut self, mut order: Order, patience: Duration) -> bool {
        order.is_behind = self.is_behind;
        let until = Instant::now() + patience;
        loop {
            match self.orders.try_send(order) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if Instant::now() < until => {
                    order = back;
                    thread::sleep(Duration::from_millis(1));
                }
                Err(_) => {
                    self.is_behind = true;
                    return false;
                }
            }
        }
    }

    /// Lets the thread write what it has; returns when it has, or after `patience`.
    pub(super) fn finish(self, patience: Duration) {
        drop(self.orders);
        let until = Instant::now() + patience;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

struct Work {
    replica: Option<Replica>,
    rings: Arc<Mutex<Option<Rings>>>,
    maker: Maker,
    counters: Arc<SyncCounters>,
    complain: Box<dyn Fn(&'static str, String) + Send>,
    changes: Vec<Change>,
    latest: Option<Extent>,
    saved: Written,
    /// Changes were lost: how far the file goes is what it was.
    is_frozen: bool,
}

impl Work {
    fn run(mut self, orders: &Receiver<Order>) {
        let mut due: Option<Instant> = None;
        let mut last_save = Instant::now();
        let mut failed_at: Option<Instant> = None;
        loop {
            let wait = due.map_or(AGE_WITHIN, |due| {
                due.saturating_duration_since(Instant::now())
            });
            let mut done = None;
            let mut is_over = false;
            match orders.recv_timeout(wait) {
                Ok(order) => {
                    done = order.done;
                    self.is_frozen |= order.is_behind;
                    self.take(order.changes, order.extent);
                    let within = if self.changes.is_empty() {
                        AGE_WITHIN.saturating_sub(last_save.elapsed())
                    } else {
                        SAVE_WITHIN
                    };
                    let sooner = Instant::now() + within;
                    due = Some(due.map_or(sooner, |due| due.min(sooner)));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => is_over = true,
            }
            let now = Instant::now();
            let is_due = due.is_some_and(|due| due <= now);
            let is_resting = failed_at.is_some_and(|at| now.duration_since(at) < AGAIN_AFTER);
            let is_full = self.changes.len() >= CHANGES_AT_ONCE && !is_resting;
            if is_over || is_due || is_full || done.is_some() {
                last_save = now;
                due = None;
                let pace = if done.is_some() {
                    Pace::Urgent
                } else {
                    Pace::Ready
                };
                match self.save(pace) {
                    Ok(()) => {
                        failed_at = None;
                        if let Some(done) = done {
                            // Whoever waited may have lost patience.
                            let _ = done.try_send(());
                            due = Some(now + SAVE_WITHIN);
                        }
                    }
                    Err(error) => {
                        add(&self.counters.replica_errors, 1);
                        (self.complain)(
                            "replica",
                            format!("the replica cannot be written: {error}"),
                        );
                        failed_at = Some(now);
                        due = Some(now + AGAIN_AFTER);
                    }
                }
            }
            if is_over {
                return;
            }
        }
    }

    fn take(&mut self, changes: Vec<Change>, extent: Extent) {
        self.changes.extend(changes);
        if self.changes.len() > CHANGES_MAX {
            self.is_frozen = true;
            self.changes = Vec::new();
        }
        self.latest = Some(extent);
    }

    fn save(&mut self, pace: Pace) -> Result<(), StoreError> {
        let Some(latest) = self.latest else {
            return Ok(());
        };
        // How far a file goes that lacks something is what it was: what came since is read anew after the next start.
        let (positions, as_of) = if self.is_frozen {
            self.saved
        } else {
            // Before the first answer of the store it is as old as it was.
            (latest.positions, latest.in_step.map(wall).max(self.saved.1))
        };
        let replica = match &mut self.replica {
            Some(replica) => replica,
            none => {
                let Maker {
                    path,
                    store,
                    keyring,
                    identity,
                } = &self.maker;
                none.insert(Replica::make(path, store.root_key(), keyring, *identity)?)
            }
        };
        replica.save(&self.changes, &positions, as_of, pace)?;
        let mut rings = self.rings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rings) = rings.take() {
            replica.save_rings(self.maker.store.root_key(), &rings)?;
        }
        self.changes = Vec::new();
        self.saved = (positions, as_of);
        if let Some(in_step) = latest.in_step.filter(|_| !self.is_frozen) {
            self.counters.set_replica_as_of(in_step);
        }
        Ok(())
    }
}

/// What the wall clock said at that moment.
fn wall(moment: Instant) -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .saturating_sub(moment.elapsed());
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
