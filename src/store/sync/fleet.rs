//! A node of a fleet: its view loaded from the replica, and the one thread that writes it from then on. What is listened to
//! is in `feeds`, what is made of it in `follower`.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::feeds::{AWAY, Common, Message, Node, Progress, follow};
use super::follower::{Change, Follower};
use super::heard::{Ask, Heard};
use super::keeper::{Extent, Keeper, Maker};
use super::probers::probe;
use super::view::FleetView;
use crate::drain::Signal;
use crate::keys::keyring::Keyring;
use crate::keys::secret::LateFingerprinter;
use crate::keys::{PARTITIONS, Partition, Revision};
use crate::store::redis::RedisStore;
use crate::store::redis::feed::Plan;
use crate::store::{FleetStore, StoreError};
use crate::telemetry::SyncCounters;

/// How many messages may wait for the writer.
const MESSAGES_MAX: usize = 64;

/// How many things a feed may be asked at a time; there is one for each partition at most.
const ASKS_MAX: usize = 4 * PARTITIONS;

/// How often the writer looks around when it hears nothing.
const LOOK_AROUND: Duration = Duration::from_millis(50);

/// How long changes that nobody waits for stay with the writer, and how many.
const PUSH_WITHIN: Duration = Duration::from_millis(500);
const PUSH_AT: usize = 1_000;

/// How long the threads may take to end.
const END_MAX: Duration = Duration::from_millis(900);

/// The same is printed once in this time, and of one kind no more than so many different ones.
const SAY_EVERY: Duration = Duration::from_secs(60);
const SAY_MAX: usize = 10;

/// What a node is to be started with.
pub struct Settings {
    /// The file of its replica.
    pub replica: PathBuf,
    /// What it says of itself.
    pub node: Node,
    /// What is to learn the store's fingerprint function when it is known.
    pub fingerprinter: Arc<LateFingerprinter>,
    /// What it counts.
    pub counters: Arc<SyncCounters>,
}

/// A running node.
pub(super) struct Fleet {
    pub(super) applied: watch::Receiver<[Revision; PARTITIONS]>,
    pub(super) ended: oneshot::Receiver<()>,
}

impl Fleet {
    /// Follows the store on threads of its own until the end is ordered.
    pub(super) fn start(
        store: Arc<FleetStore>,
        view: FleetView,
        settings: Settings,
        ends: Signal,
    ) -> io::Result<Self> {
        let (positions, applied) = watch::channel([Revision(0); PARTITIONS]);
        let (has_ended, ended) = oneshot::channel();
        thread::Builder::new()
            .name("keygate-sync".to_owned())
            .spawn(move || {
                let mut speaker = Speaker::default();
                if let Some(writer) =
                    Writer::begin(store, view, settings, ends, positions, &mut speaker)
                {
                    writer.run(&mut speaker);
                }
                // Nobody may be waiting any more.
                let _ = has_ended.send(());
            })?;
        Ok(Self { applied, ended })
    }
}

/// Prints what an operator should know, seldom enough to be read.
#[derive(Default)]
pub(super) struct Speaker {
    /// What was said of each kind, and since when that is counted.
    said: HashMap<&'static str, (Instant, Vec<String>)>,
    is_away: bool,
}

impl Speaker {
    /// The store is followed again, if it was away.
    fn back(&mut self) {
        if std::mem::take(&mut self.is_away) {
            self.say("back", "the store is followed again");
        }
    }

    #[expect(
        clippy::print_stderr,
        reason = "the process' own troubles go where its supervisor reads"
    )]
    pub(super) fn say(&mut self, word: &'static str, text: &str) {
        self.is_away |= word == AWAY;
        let now = Instant::now();
        let (since, texts) = self.said.entry(word).or_insert((now, Vec::new()));
        if now.duration_since(*since) >= SAY_EVERY {
            (*since, *texts) = (now, Vec::new());
        }
        if texts.len() < SAY_MAX && !texts.iter().any(|said| said == text) {
            texts.push(text.to_owned());
            eprintln!("keygate: {text}");
        }
    }
}

/// A feed's and a prober's thread, and how to reach them.
struct Followed {
    partitions: Vec<Partition>,
    asks: SyncSender<Ask>,
    nudges: SyncSender<()>,
    threads: [JoinHandle<()>; 2],
}

struct Writer {
    common: Common,
    ends: Signal,
    follower: Follower,
    keeper: Keeper,
    unsaved: Vec<Change>,
    pushed_at: Instant,
    positions: watch::Sender<[Revision; PARTITIONS]>,
    messages: Receiver<Message>,
    plans: Vec<Followed>,
}

impl Writer {
    /// Reaches the store, however long that takes; `None` when the end comes first.
    fn begin(
        store: Arc<FleetStore>,
        view: FleetView,
        settings: Settings,
        ends: Signal,
        positions: watch::Sender<[Revision; PARTITIONS]>,
        speaker: &mut Speaker,
    ) -> Option<Self> {
        let (writer, messages) = sync_channel(MESSAGES_MAX);
        let common = Common {
            store: Arc::clone(&store),
            table: Arc::clone(&view.table),
            counters: Arc::clone(&settings.counters),
            progress: Arc::default(),
            is_over: Arc::new(AtomicBool::new(false)),
            writer,
            node: settings.node,
        };
        let (reached, plans) = reach(&common, &store, &ends, speaker)?;
        settings.fingerprinter.learn(reached.fingerprinter());
        let counters = Arc::clone(&settings.counters);
        let mut follower = Follower::new(
            reached.sealer(),
            Some(reached.identity()),
            Arc::clone(&counters),
            fastrand::u64(..),
        );
        let was_in_step = matches!(&view.replica, Some((_, (_, Some(_)))));
        follower.resume(view.held, &view.positions, was_in_step);
        let keyring = Keyring::unwrap(store.root_key(), reached.wrapped_keyring());
        let maker = Maker {
            path: settings.replica,
            store: Arc::clone(&store),
            keyring: keyring.ok()?,
            identity: reached.identity(),
        };
        let trouble = common.writer.clone();
        let keeper = Keeper::start(view.replica, maker, counters, move |word, text| {
            // When the writer has no room for it, the next failure is said.
            let _ = trouble.try_send(Message::Trouble(word, text));
        });
        let keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => {
                speaker.say("thread", &format!("no thread can be started: {error}"));
                return None;
            }
        };
        let mut writer = Self {
            common,
            ends,
            follower,
            keeper,
            unsaved: Vec::new(),
            pushed_at: Instant::now(),
            positions,
            messages,
            plans: Vec::new(),
        };
        writer.publish();
        for plan in plans {
            match writer.listen(plan) {
                Ok(followed) => writer.plans.push(followed),
                Err(error) => {
                    speaker.say("thread", &format!("no thread can be started: {error}"));
                }
            }
        }
        Some(writer)
    }

    fn listen(&self, plan: Plan) -> io::Result<Followed> {
        let (asks, asked) = sync_channel(ASKS_MAX);
        let (nudges, nudged) = sync_channel(1);
        let partitions = plan.partitions.clone();
        let (common, its, cursors) = (self.common.clone(), plan.clone(), self.follower.positions());
        let feed = thread::Builder::new()
            .name("keygate-feed".to_owned())
            .spawn(move || follow(&common, &its, cursors, &asked))?;
        let common = self.common.clone();
        let prober = thread::Builder::new()
            .name("keygate-probe".to_owned())
            .spawn(move || probe(&common, &plan, &nudged))?;
        Ok(Followed {
            partitions,
            asks,
            nudges,
            threads: [feed, prober],
        })
    }

    fn run(mut self, speaker: &mut Speaker) {
        while !self.ends.is_ordered() {
            match self.messages.recv_timeout(LOOK_AROUND) {
                Ok(Message::Heard(heard)) => self.hear(heard),
                Ok(Message::Ready) => speaker.back(),
                Ok(Message::Rings(rings)) => self.keeper.keep_rings(rings),
                Ok(Message::Trouble(word, text)) => speaker.say(word, &text),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for alarm in self.follower.alarms() {
                speaker.say(alarm.word(), &alarm.to_string());
            }
            self.push_if_due();
            self.ask();
        }
        self.end();
    }

    fn hear(&mut self, heard: Heard) {
        let now = Instant::now();
        let table = Arc::clone(&self.common.table);
        let batch = self.follower.hear(heard, &table, now);
        self.unsaved.extend(batch.changes.iter().cloned());
        let revokes = batch.revokes;
        let mut serves = table.view(now).is_some();
        // What is taken away from this node's clients must not come back with it after a crash.
        if revokes && serves {
            self.flush();
        }
        self.follower.apply(batch, &table);
        if let Some(in_step) = self.follower.in_step() {
            if !serves {
                // What was heard before anybody was served was not written down at once.
                self.flush();
                serves = true;
            }
            table.mark_in_step(in_step, Duration::ZERO);
        }
        self.publish();
        if revokes && serves {
            for plan in &self.plans {
                // A prober that is nudged already asks after this.
                let _ = plan.nudges.try_send(());
            }
        }
    }

    fn extent(&self) -> Extent {
        Extent {
            positions: self.follower.solid(),
            in_step: self.follower.in_step(),
        }
    }

    fn flush(&mut self) {
        let changes = std::mem::take(&mut self.unsaved);
        self.keeper.flush(changes, self.extent());
        self.pushed_at = Instant::now();
    }

    fn push_if_due(&mut self) {
        if self.unsaved.len() < PUSH_AT && self.pushed_at.elapsed() < PUSH_WITHIN {
            return;
        }
        let serves = self.common.table.view(Instant::now()).is_some();
        let changes = std::mem::take(&mut self.unsaved);
        self.keeper.push(changes, self.extent(), !serves);
        self.pushed_at = Instant::now();
    }

    /// Says how far the table is now to all who want to know.
    fn publish(&self) {
        let progress = Progress {
            certain: self.follower.certain(),
            solid: self.follower.solid(),
        };
        *self
            .common
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = progress;
        let is_news = self.positions.send_if_modified(|positions| {
            let is_news = *positions != progress.solid;
            *positions = progress.solid;
            is_news
        });
        if is_news && let Some(store) = self.common.store.reached() {
            for (partition, revision) in Partition::all().zip(progress.certain) {
                store.note_seen(partition, revision);
            }
        }
    }

    fn ask(&mut self) {
        let now = Instant::now();
        let serves = self.common.table.view(now).is_some();
        for ask in self.follower.asks(now, serves) {
            let partition = ask.partition();
            let plans = &self.plans;
            if let Some(plan) = plans
                .iter()
                .find(|plan| plan.partitions.contains(&partition))
            {
                // There is room for all that can be asked at a time.
                let _ = plan.asks.try_send(ask);
            }
        }
    }

    fn end(self) {
        let until = Instant::now() + END_MAX;
        self.common.is_over.store(true, Ordering::Release);
        let extent = self.extent();
        let mut keeper = self.keeper;
        keeper.push(self.unsaved, extent, false);
        // Whoever waits for room, for something to do or for a nudge hears of the end by it.
        drop(self.messages);
        let threads: Vec<JoinHandle<()>> = self
            .plans
            .into_iter()
            .flat_map(|plan| plan.threads)
            .collect();
        keeper.finish(END_MAX);
        while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The store and its plans, however long it takes; `None` when the end comes first.
fn reach<'s>(
    common: &Common,
    store: &'s FleetStore,
    ends: &Signal,
    speaker: &mut Speaker,
) -> Option<(&'s RedisStore, Vec<Plan>)> {
    let mut tries = 0;
    let attempt = || -> Result<_, StoreError> {
        let reached = store.reach()?;
        Ok((reached, reached.plans()?))
    };
    while !ends.is_ordered() {
        match attempt() {
            Ok(found) => return Some(found),
            Err(error) => speaker.say(AWAY, &error.to_string()),
        }
        common.rest(&mut tries);
    }
    None
}
