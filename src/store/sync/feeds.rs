//! The threads that listen to the store, one for each plan. They judge nothing; everything goes through one bounded channel
//! to the one writer. Those that ask where the store stands are in `probers`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::heard::{Ask, Heard};
use crate::keys::{KeyTable, PARTITIONS, Partition, Revision};
use crate::store::redis::feed::{Feed, Plan};
use crate::store::redis::rings::Rings;
use crate::store::{FleetStore, StoreError};
use crate::telemetry::{SyncCounters, add};

/// How long changes gather after one came. Waking a thousand nodes for each of a hundred changes a second is most of what
/// they cost Redis; the first change after a pause is not held up.
const GATHER: Duration = Duration::from_millis(4);

/// How long a feed waits for changes at a time; what it is asked to do, and the end, wait for as long.
const FEED_WAIT: Duration = Duration::from_millis(500);

/// How long a feed waits for what it is asked first, before it waits for changes.
const FIRST_ASK: Duration = Duration::from_millis(100);

/// Within what time changes are read while buckets are.
const READ_WITHIN: Duration = Duration::from_millis(10);

/// How long a partition is left out of a feed whose stream is something else.
const LEAVE_OUT: Duration = Duration::from_secs(3);

/// How many records go through the channel at a time.
const RECORDS_AT_ONCE: usize = 500;

/// The waits before a connection is tried again, each a random part of the next.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// The word for a store that cannot be followed.
pub(super) const AWAY: &str = "away";

/// What the threads tell the writer.
pub(super) enum Message {
    /// For the follower.
    Heard(Heard),
    /// A feed is connected, and can be asked.
    Ready,
    /// The store's wrapped keys, for the replica.
    Rings(Rings),
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
pub(super) struct Over;

impl Common {
    pub(super) fn say(&self, message: Message) -> Result<(), Over> {
        self.writer.send(message).map_err(|_| Over)
    }

    pub(super) fn is_over(&self) -> bool {
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

    pub(super) fn trouble(&self, error: &StoreError) -> Result<(), Over> {
        self.say(Message::Trouble(AWAY, error.to_string()))
    }
}

/// A feed, and where it reads on.
struct Reader {
    feed: Feed,
    cursors: [Revision; PARTITIONS],
    read_at: Instant,
    /// Until when it leaves out partitions whose stream is something else.
    leaves_out_until: Option<Instant>,
    /// When it is to be asked whether this is still the master.
    master_due: Instant,
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
    let mut readable = plan.clone();
    let mut leaves_out_until = None;
    while !common.is_over() {
        if leaves_out_until.is_none_or(|until| until <= Instant::now()) {
            (readable, leaves_out_until) = (plan.clone(), None);
        }
        let opened = common
            .store
            .reach()
            .and_then(|store| Feed::open(store, &readable));
        let error = match opened {
            Err(error) => error,
            Ok(feed) => {
                add(&common.counters.connected, 1);
                if was_connected {
                    add(&common.counters.reconnects, 1);
                }
                was_connected = true;
                let mut reader = Reader {
                    feed,
                    cursors,
                    read_at: Instant::now(),
                    leaves_out_until,
                    master_due: Instant::now() + MASTER_EVERY,
                };
                let ended = read_on(common, &mut reader, asks, &mut tries);
                cursors = reader.cursors;
                common.counters.connected.fetch_sub(1, Ordering::Relaxed);
                // What was asked of this connection is asked again of the next.
                while asks.try_recv().is_ok() {}
                let cut = Heard::Cut {
                    partitions: plan.partitions.clone(),
                };
                if matches!(ended, Ended::Over) || common.say(Message::Heard(cut)).is_err() {
                    return;
                }
                match ended {
                    Ended::Failed(error) => error,
                    Ended::Over | Ended::Again => continue,
                }
            }
        };
        if common.trouble(&error).is_err() {
            return;
        }
        if matches!(error, StoreError::Damaged { .. }) {
            readable = readable_part(common, plan, &cursors);
            leaves_out_until = Some(Instant::now() + LEAVE_OUT);
        }
        common.rest(&mut tries);
        resolve_again(common);
    }
}

/// The part of a plan whose streams can be read: something else under the name of one must not cost the others. All of it
/// when that is not how it is.
fn readable_part(common: &Common, plan: &Plan, cursors: &[Revision; PARTITIONS]) -> Plan {
    let is_readable = |partition: &Partition| {
        let one = Plan {
            partitions: vec![*partition],
        };
        let store = common.store.reach();
        let read = store
            .and_then(|store| Feed::open(store, &one))
            .and_then(|mut feed| feed.read(cursors, Duration::ZERO));
        !matches!(read, Err(StoreError::Damaged { .. }))
    };
    let readable: Vec<Partition> = plan
        .partitions
        .iter()
        .copied()
        .filter(is_readable)
        .collect();
    if readable.is_empty() {
        return plan.clone();
    }
    Plan {
        partitions: readable,
    }
}

/// Whoever was the master may not be it any more.
pub(super) fn resolve_again(common: &Common) {
    if let Some(store) = common.store.reached() {
        // The next connection says what is wrong, if it still is.
        let _ = store.plans();
    }
}

/// How a connection ended.
/// How often Sentinel is asked whether what is read from is still the master.
pub(super) const MASTER_EVERY: Duration = Duration::from_secs(2);
/// How soon again when nobody could say.
pub(super) const MASTER_LATER: Duration = Duration::from_secs(30);

pub(super) fn demoted(server: &str) -> StoreError {
    StoreError::NotNow {
        server: server.to_owned(),
        why: "it is not the master any more".to_owned(),
    }
}

pub(super) enum Ended {
    Failed(StoreError),
    /// On a new connection, for no fault of the old one.
    Again,
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
            if reader.next(common, FEED_WAIT)? {
                thread::sleep(GATHER);
            }
            *tries = 0;
            if reader.master_due <= Instant::now() {
                let asked = common
                    .store
                    .reach()
                    .and_then(|store| reader.feed.is_with_master(store));
                // Nobody there to ask is no news, and it may have taken long to find out.
                let again = if asked.is_ok() {
                    MASTER_EVERY
                } else {
                    MASTER_LATER
                };
                reader.master_due = Instant::now() + again;
                if let Ok(false) = asked {
                    return Err(demoted(&reader.feed.server()).into());
                }
            }
            if reader
                .leaves_out_until
                .is_some_and(|until| until <= Instant::now())
            {
                return Err(Ended::Again);
            }
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
        let read = self.feed.read(&self.cursors, wait);
        self.read_at = Instant::now();
        let entries = read?;
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
            Ask::Look(partition, after) => {
                let tail = self.feed.tail(partition)?.last;
                if let Some(cursor) = self.cursors.get_mut(partition.index()) {
                    *cursor = after;
                }
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
            if common.is_over() {
                return Err(Ended::Over);
            }
            // Changes do not wait for a snapshot, the revocations among them least of all.
            if self.read_at.elapsed() < READ_WITHIN {
                continue;
            }
            match self.next(common, Duration::ZERO) {
                // Something else is under the name of a stream; that says nothing about the records.
                Ok(_) | Err(Ended::Failed(StoreError::Damaged { .. })) => {}
                Err(ended) => return Err(ended),
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
