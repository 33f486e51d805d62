//! The threads that listen to the store: one feed and one prober for each plan. They judge nothing; everything goes through
//! one bounded channel to the one writer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::heard::{Ask, Heard, Probed};
use crate::keys::{KeyTable, PARTITIONS, Partition, Revision};
use crate::store::redis::feed::{Feed, Plan};
use crate::store::redis::probe::{Prober, Report};
use crate::store::{FleetStore, StoreError};
use crate::telemetry::{SyncCounters, add};

/// How long a feed waits for changes at a time; what it is asked to do, and the end, wait for as long.
const FEED_WAIT: Duration = Duration::from_millis(500);

/// How long a feed waits for what it is asked first, before it waits for changes.
const FIRST_ASK: Duration = Duration::from_millis(100);

/// How many records go through the channel at a time.
const RECORDS_AT_ONCE: usize = 500;

/// How often it is asked where the store stands, and how soon again after a revocation.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_AGAIN: Duration = Duration::from_millis(20);

/// The waits before a connection is tried again, each a random part of the next.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// What the threads tell the writer.
pub(super) enum Message {
    /// For the follower.
    Heard(Heard),
    /// A feed is connected, and can be asked.
    Ready,
    /// Something that an operator should know; the word is the same for all of its kind.
    Trouble(&'static str, String),
}

/// How far the writer is, for the probers.
#[derive(Clone, Copy, Default)]
pub(super) struct Progress {
    pub(super) certain: [Revision; PARTITIONS],
    pub(super) solid: [Revision; PARTITIONS],
}

/// What every thread has.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) store: Arc<FleetStore>,
    pub(super) table: Arc<KeyTable>,
    pub(super) counters: Arc<SyncCounters>,
    pub(super) progress: Arc<Mutex<Progress>>,
    pub(super) is_over: Arc<AtomicBool>,
    pub(super) writer: SyncSender<Message>,
    pub(super) node: Node,
}

/// What a node says of itself that never changes.
#[derive(Clone, Debug)]
pub struct Node {
    /// Tells it from every other node, and this run of it from the last.
    pub id: Uuid,
    /// What it is called in lists.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// For how long it accepts keys without hearing of the store.
    pub serves_stale_for: Duration,
}

/// The writer has ended.
struct Over;

impl Common {
    fn say(&self, message: Message) -> Result<(), Over> {
        self.writer.send(message).map_err(|_| Over)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits before another try, unless the end comes.
    pub(super) fn rest(&self, tries: &mut u32) {
        let most = RETRY_MIN
            .saturating_mul(1 << (*tries).min(10))
            .min(RETRY_MAX);
        *tries = tries.saturating_add(1);
        let wait = RETRY_MIN.max(most.mul_f64(fastrand::f64()));
        let until = Instant::now() + wait;
        while !self.is_over() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20).min(wait));
        }
    }

    fn trouble(&self, error: &StoreError) -> Result<(), Over> {
        self.say(Message::Trouble("away", error.to_string()))
    }

    fn report(&self, now: Instant, solid: &[Revision; PARTITIONS], stopped: bool) -> Report {
        let age = self.table.view(now).map(|view| view.age);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Report {
            node_id: self.node.id,
            node_name: self.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.node.address.clone(),
            positions: *solid,
            age_ms: age.map_or(u64::MAX, ms),
            // By the answer to this very report the view may become as fresh as the report.
            lease_ms: if stopped {
                0
            } else {
                ms(self.node.serves_stale_for)
            },
            keys: u64::try_from(self.table.keys_len()).unwrap_or(u64::MAX),
            stopped,
        }
    }
}

/// A feed, and where it reads on.
struct Reader {
    feed: Feed,
    cursors: [Revision; PARTITIONS],
}

/// Follows one plan until the end.
pub(super) fn follow(
    common: &Common,
    plan: &Plan,
    mut cursors: [Revision; PARTITIONS],
    asks: &Receiver<Ask>,
) {
    let mut tries = 0;
    let mut was_connected = false;
    while !common.is_over() {
        let opened = common
            .store
            .reach()
            .and_then(|store| Feed::open(store, plan));
        let error = match opened {
            Err(error) => error,
            Ok(feed) => {
                add(&common.counters.connected, 1);
                if was_connected {
                    add(&common.counters.reconnects, 1);
                }
                was_connected = true;
                let mut reader = Reader { feed, cursors };
                let ended = read_on(common, &mut reader, asks, &mut tries);
                cursors = reader.cursors;
                common.counters.connected.fetch_sub(1, Ordering::Relaxed);
                // What was asked of this connection is asked again of the next.
                while asks.try_recv().is_ok() {}
                let cut = Heard::Cut {
                    partitions: plan.partitions.clone(),
                };
                match ended {
                    Ended::Failed(error) if common.say(Message::Heard(cut)).is_ok() => error,
                    Ended::Failed(_) | Ended::Over => return,
                }
            }
        };
        if common.trouble(&error).is_err() {
            return;
        }
        common.rest(&mut tries);
        resolve_again(common);
    }
}

/// Whoever was the master may not be it any more.
fn resolve_again(common: &Common) {
    if let Some(store) = common.store.reached() {
        // The next connection says what is wrong, if it still is.
        let _ = store.plans();
    }
}

enum Ended {
    Failed(StoreError),
    Over,
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<Over> for Ended {
    fn from(_: Over) -> Self {
        Self::Over
    }
}

fn read_on(common: &Common, reader: &mut Reader, asks: &Receiver<Ask>, tries: &mut u32) -> Ended {
    let read = || -> Result<(), Ended> {
        common.say(Message::Ready)?;
        let mut ask = asks.recv_timeout(FIRST_ASK).ok();
        loop {
            while let Some(asked) = ask {
                reader.obey(common, asked)?;
                ask = asks.try_recv().ok();
            }
            reader.next(common, FEED_WAIT)?;
            *tries = 0;
            ask = match asks.try_recv() {
                Ok(asked) => Some(asked),
                Err(TryRecvError::Empty) if !common.is_over() => None,
                Err(_) => return Ok(()),
            };
        }
    };
    let mut read = read;
    match read() {
        Ok(()) => Ended::Over,
        Err(ended) => ended,
    }
}

impl Reader {
    /// Reads the next changes. Returns whether there were any.
    fn next(&mut self, common: &Common, wait: Duration) -> Result<bool, Ended> {
        let entries = self.feed.read(&self.cursors, wait)?;
        if entries.is_empty() {
            return Ok(false);
        }
        for entry in &entries {
            if let Some(cursor) = self.cursors.get_mut(entry.partition.index()) {
                *cursor = entry.revision.max(*cursor);
            }
        }
        common.say(Message::Heard(Heard::Entries(entries)))?;
        Ok(true)
    }

    fn obey(&mut self, common: &Common, ask: Ask) -> Result<(), Ended> {
        match ask {
            Ask::Snapshot(partition) => {
                let tail = self.feed.tail(partition)?.last;
                if let Some(cursor) = self.cursors.get_mut(partition.index()) {
                    *cursor = tail;
                }
                common.say(Message::Heard(Heard::Began { partition, tail }))?;
                self.buckets(common, partition, 0..crate::store::seal::BUCKETS)
            }
            Ask::Buckets(partition, buckets) => self.buckets(common, partition, buckets),
            Ask::Look(partition) => {
                let tail = self.feed.tail(partition)?.last;
                while self.next(common, Duration::ZERO)? {}
                common.say(Message::Heard(Heard::Looked { partition, tail }))?;
                Ok(())
            }
            Ask::Digests(partition) => {
                let before = self.feed.tail(partition)?.last;
                let digests = Box::new(self.feed.digests(partition)?);
                let after = self.feed.tail(partition)?.last;
                common.say(Message::Heard(Heard::Digests {
                    partition,
                    before,
                    digests,
                    after,
                }))?;
                Ok(())
            }
        }
    }

    fn buckets(
        &mut self,
        common: &Common,
        partition: Partition,
        buckets: impl IntoIterator<Item = usize>,
    ) -> Result<(), Ended> {
        for bucket in buckets {
            self.bucket(common, partition, bucket)?;
            // Changes do not wait for a snapshot, the revocations among them least of all.
            self.next(common, Duration::ZERO)?;
            if common.is_over() {
                return Err(Ended::Over);
            }
        }
        common.say(Message::Heard(Heard::Ended { partition }))?;
        Ok(())
    }

    fn bucket(
        &mut self,
        common: &Common,
        partition: Partition,
        bucket: usize,
    ) -> Result<(), Ended> {
        let mut stored = Vec::new();
        let mut is_heard = true;
        let mut say = |stored, complete| {
            let heard = Heard::Bucket {
                partition,
                bucket,
                stored,
                complete,
            };
            is_heard &= common.say(Message::Heard(heard)).is_ok();
        };
        let read = self.feed.bucket(partition, bucket, &mut |one| {
            stored.push(one);
            if stored.len() >= RECORDS_AT_ONCE {
                say(std::mem::take(&mut stored), false);
            }
        });
        match read {
            Ok(()) => {}
            // Something else has the bucket's name. What the node holds of it stays, and the others are read.
            Err(error @ StoreError::Damaged { .. }) => {
                common.say(Message::Trouble("bucket", error.to_string()))?;
            }
            Err(error) => return Err(error.into()),
        }
        say(stored, true);
        if is_heard { Ok(()) } else { Err(Ended::Over) }
    }
}

/// Asks one plan's master where the store stands, every second and when nudged, until the end.
pub(super) fn probe(common: &Common, plan: &Plan, nudges: &Receiver<()>) {
    let mut tries = 0;
    while !common.is_over() {
        let opened = common
            .store
            .reach()
            .and_then(|store| Prober::open(store, plan));
        let error = match opened {
            Err(error) => error,
            Ok(mut prober) => match probe_on(common, &mut prober, nudges, &mut tries) {
                Ended::Failed(error) => error,
                Ended::Over => {
                    let now = Instant::now();
                    let solid = common.progress().solid;
                    // The last word of a node. Without it its lease runs out by itself.
                    let _ = prober.report(&common.report(now, &solid, true));
                    return;
                }
            },
        };
        if common.trouble(&error).is_err() {
            return;
        }
        common.rest(&mut tries);
        resolve_again(common);
    }
}

impl Common {
    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn probe_on(common: &Common, prober: &mut Prober, nudges: &Receiver<()>, tries: &mut u32) -> Ended {
    loop {
        let progress = common.progress();
        let sent_at = Instant::now();
        let report = common.report(sent_at, &progress.solid, false);
        let probe = match prober.report(&report) {
            Ok(probe) => probe,
            Err(error) => return error.into(),
        };
        common.counters.probe(sent_at.elapsed());
        *tries = 0;
        let probed = Heard::Probed(Probed {
            sent_at,
            applied: progress.certain,
            tails: probe.tails,
        });
        if common.say(Message::Heard(probed)).is_err() {
            return Ended::Over;
        }
        thread::sleep(PROBE_AGAIN.saturating_sub(sent_at.elapsed()));
        let wait = PROBE_EVERY.saturating_sub(sent_at.elapsed());
        match nudges.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ended::Over,
        }
    }
}
