//! Many nodes' ways of following one store, in one process and so by one clock: each has the library's own feed and its own
//! prober, and notes when each change came. It keeps no table, so it is the server that is loaded and not the clients.

use std::collections::HashMap;
use std::io::BufRead as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clap::Args;
use keygate::keys::keyring::Sealer;
use keygate::keys::{PARTITIONS, Record, Revision};
use keygate::store::redis::feed::{Feed, Plan};
use keygate::store::redis::probe::{Prober, Report};
use keygate::store::redis::{Purpose, RedisStore};
use keygate::store::seal;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::writers::{self, Change, nanoseconds, place};
use crate::{Failure, figures, store, tell};

/// Enough for a thread that reads answers; there are thousands of them.
const STACK_BYTES: usize = 256 * 1024;
/// How long every client has to see the last change.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who follows.
#[derive(Args)]
pub struct Options {
    /// A node's configuration
    #[arg(short, long)]
    config: PathBuf,
    /// How many nodes
    #[arg(long)]
    clients: usize,
    /// The longest that a feed waits for changes before it asks again; the default is a node's
    #[arg(long, default_value_t = 500)]
    wait_ms: u64,
    /// The time between two probes of a node; the default is a node's
    #[arg(long, default_value_t = 1_000)]
    probe_ms: u64,
    /// How soon a node probes again after a revocation; the default is a node's
    #[arg(long, default_value_t = 250)]
    probe_again_ms: u64,
    /// How long changes gather after one came; the default is a node's
    #[arg(long, default_value_t = 4)]
    gather_ms: u64,
    /// Nodes that share a thread to probe with: a probe is short, and there are enough threads as it is
    #[arg(long, default_value_t = 8)]
    probers_each: usize,
}

/// A line on standard input.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    /// Changes the store, waits until all have seen it, and tells how long it took.
    /// With or without the probes that follow upon revocations.
    Changes {
        rate: u32,
        seconds: u64,
        probe_again: bool,
    },
    /// Tells how long probes took and what failed since it was last asked.
    Probes,
}

/// One node.
struct Client {
    id: Uuid,
    positions: [AtomicU64; PARTITIONS],
    /// Each change that came, and when.
    seen: Mutex<Vec<(u64, u64)>>,
    /// A probe was asked for and has not begun.
    is_nudged: AtomicBool,
    /// Where to ask for one.
    nudges: Sender<usize>,
}

impl Client {
    fn positions(&self) -> [Revision; PARTITIONS] {
        std::array::from_fn(|at| {
            Revision(
                self.positions
                    .get(at)
                    .map_or(0, |it| it.load(Ordering::Relaxed)),
            )
        })
    }
}

struct Shared {
    store: RedisStore,
    plan: Plan,
    clients: Vec<Client>,
    wait: Duration,
    probe_every: Duration,
    probe_again: Duration,
    gather: Duration,
    probes_again: AtomicBool,
    begun: Instant,
    stop: AtomicBool,
    /// Changes that did not follow upon the one before.
    gaps: AtomicUsize,
    /// Connections that had to be made again.
    reopened: AtomicUsize,
    why: Mutex<Option<String>>,
    probes: Mutex<Vec<u64>>,
}

impl Shared {
    fn broke(&self, error: &keygate::store::StoreError) {
        self.reopened.fetch_add(1, Ordering::Relaxed);
        let mut why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        why.get_or_insert_with(|| error.to_string());
        thread::sleep(Duration::from_millis(fastrand::u64(50..1_000)));
    }
}

/// Follows until standard input ends.
pub fn run(options: &Options) -> Result<(), Failure> {
    let store = store(&options.config, Purpose::Serve)?;
    let orgs = writers::orgs(&store)?;
    let [plan] = <[Plan; 1]>::try_from(store.plans()?)
        .map_err(|_| "this is for one server, not for a cluster")?;
    let mut first = Feed::open(&store, &plan)?;
    let mut positions = [0; PARTITIONS];
    for (position, partition) in positions.iter_mut().zip(&plan.partitions) {
        *position = first.tail(*partition)?.last.0;
    }
    let each = options.probers_each.max(1);
    let (nudges, nudged): (Vec<_>, Vec<_>) = (0..options.clients.div_ceil(each))
        .map(|_| channel())
        .unzip();
    let clients = nudges
        .iter()
        .flat_map(|nudges| (0..each).map(|_| nudges.clone()));
    let shared = Arc::new(Shared {
        clients: clients
            .take(options.clients)
            .map(|nudges| Client {
                id: Uuid::new_v4(),
                positions: positions.map(AtomicU64::new),
                seen: Mutex::default(),
                is_nudged: AtomicBool::new(false),
                nudges,
            })
            .collect(),
        store,
        plan,
        wait: Duration::from_millis(options.wait_ms),
        probe_every: Duration::from_millis(options.probe_ms),
        probe_again: Duration::from_millis(options.probe_again_ms),
        gather: Duration::from_millis(options.gather_ms),
        probes_again: AtomicBool::new(false),
        begun: Instant::now(),
        stop: AtomicBool::new(false),
        gaps: AtomicUsize::new(0),
        reopened: AtomicUsize::new(0),
        why: Mutex::default(),
        probes: Mutex::default(),
    });
    drop(nudges);
    let mut threads = Vec::new();
    for number in 0..options.clients {
        // Here, one after the other: a thousand at once are a test of something else.
        let feed = Feed::open(&shared.store, &shared.plan)?;
        threads.push(spawn(&shared, move |shared| follow(shared, number, feed))?);
    }
    for (thread, nudged) in nudged.into_iter().enumerate() {
        let mut own = Vec::new();
        for number in (thread * each..options.clients).take(each) {
            own.push((number, Prober::open(&shared.store, &shared.plan)?));
        }
        threads.push(spawn(&shared, move |shared| probe(shared, own, &nudged))?);
    }
    tell(&json!({"clients": options.clients}))?;
    for line in std::io::stdin().lock().lines() {
        match serde_json::from_str(&line?)? {
            Command::Changes {
                rate,
                seconds,
                probe_again,
            } => {
                shared.probes_again.store(probe_again, Ordering::Relaxed);
                // What came before it is nobody's figure.
                for client in &shared.clients {
                    client
                        .seen
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .clear();
                }
                let lasting = Duration::from_secs(seconds);
                let written = writers::write(&shared.store, &orgs, rate, lasting, shared.begun);
                settle(&shared);
                tell(&told(&shared, &written))?;
            }
            Command::Probes => {
                let mut probes = shared.probes.lock().unwrap_or_else(PoisonError::into_inner);
                let took = std::mem::take(&mut *probes);
                drop(probes);
                let why = shared
                    .why
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                tell(&json!({
                    "probes": figures::told(took),
                    "reopened": shared.reopened.swap(0, Ordering::Relaxed),
                    "why": why,
                }))?;
            }
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a client panicked")?;
    }
    Ok(())
}

fn spawn(
    shared: &Arc<Shared>,
    work: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>, Failure> {
    let shared = Arc::clone(shared);
    let thread = thread::Builder::new().stack_size(STACK_BYTES);
    Ok(thread.spawn(move || work(&shared))?)
}

fn is_revocation(sealer: &Sealer, sealed: &[u8]) -> bool {
    matches!(seal::open(sealer, sealed), Ok(Record::Key(key)) if key.revoked.is_some())
}

/// One client's feed.
fn follow(shared: &Shared, number: usize, feed: Feed) {
    let Some(client) = shared.clients.get(number) else {
        return;
    };
    let sealer = shared.store.sealer();
    let mut feed = Some(feed);
    let mut positions = client.positions();
    while !shared.stop.load(Ordering::Relaxed) {
        let read = match &mut feed {
            Some(feed) => feed.read(&positions, shared.wait),
            None => Feed::open(&shared.store, &shared.plan).map(|opened| {
                feed = Some(opened);
                Vec::new()
            }),
        };
        let at = nanoseconds(shared.begun.elapsed());
        let entries = match read {
            Ok(entries) => entries,
            Err(error) => {
                feed = None;
                shared.broke(&error);
                continue;
            }
        };
        let came = !entries.is_empty();
        let mut seen = client.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut revokes = false;
        for entry in entries {
            let index = entry.partition.index();
            if let (Some(position), Some(told)) =
                (positions.get_mut(index), client.positions.get(index))
            {
                if entry.previous != Some(*position) {
                    shared.gaps.fetch_add(1, Ordering::Relaxed);
                }
                *position = entry.revision;
                told.store(entry.revision.0, Ordering::Relaxed);
            }
            seen.push((place(entry.partition, entry.revision), at));
            revokes |= is_revocation(&sealer, &entry.sealed);
        }
        drop(seen);
        if revokes
            && shared.probes_again.load(Ordering::Relaxed)
            && !client.is_nudged.swap(true, Ordering::Relaxed)
        {
            // Whoever probes is there as long as the clients are.
            let _ = client.nudges.send(number);
        }
        if came {
            thread::sleep(shared.gather);
        }
    }
}

/// Some clients' probes: each once in a while, and soon after it has seen a revocation.
fn probe(shared: &Shared, mut own: Vec<(usize, Prober)>, nudges: &Receiver<usize>) {
    let first = own.first().map_or(0, |(number, _)| *number);
    let begun = Instant::now();
    let mut due: Vec<Instant> = own
        .iter()
        .map(|_| begun + shared.probe_every.mul_f64(fastrand::f64()))
        .collect();
    let mut last: Vec<Instant> = own.iter().map(|_| begun).collect();
    while !shared.stop.load(Ordering::Relaxed) {
        let Some((at, next)) = due.iter().copied().enumerate().min_by_key(|(_, due)| *due) else {
            return;
        };
        if let Ok(number) = nudges.recv_timeout(next.saturating_duration_since(Instant::now())) {
            let at = number.saturating_sub(first);
            if let (Some(due), Some(last)) = (due.get_mut(at), last.get(at)) {
                *due = (*due).min(*last + shared.probe_again);
            }
            continue;
        }
        let (Some(due), Some(last), Some((number, prober))) =
            (due.get_mut(at), last.get_mut(at), own.get_mut(at))
        else {
            return;
        };
        let Some(client) = shared.clients.get(*number) else {
            return;
        };
        client.is_nudged.store(false, Ordering::Relaxed);
        *last = Instant::now();
        *due = *last + shared.probe_every;
        let outcome = prober.report(&Report {
            node_id: client.id,
            node_name: format!("gateway-{number:04}"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: "10.20.30.40:8080".to_owned(),
            positions: client.positions(),
            age_ms: 500,
            lease_ms: 86_400_000,
            keys: 1_000_000,
            stopped: false,
        });
        match outcome {
            Ok(_) => {
                let mut probes = shared.probes.lock().unwrap_or_else(PoisonError::into_inner);
                probes.push(nanoseconds(last.elapsed()));
            }
            Err(error) => {
                shared.broke(&error);
                match Prober::open(&shared.store, &shared.plan) {
                    Ok(opened) => *prober = opened,
                    Err(error) => shared.broke(&error),
                }
            }
        }
    }
}

/// Waits until every client is as far as the store, or for as long as it may take.
fn settle(shared: &Shared) {
    let Ok(mut feed) = Feed::open(&shared.store, &shared.plan) else {
        return;
    };
    let mut tails = [0; PARTITIONS];
    for (tail, partition) in tails.iter_mut().zip(&shared.plan.partitions) {
        *tail = feed.tail(*partition).map_or(0, |tail| tail.last.0);
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let there = |client: &Client| {
            client
                .positions()
                .iter()
                .zip(&tails)
                .all(|(position, tail)| position.0 >= *tail)
        };
        if shared.clients.iter().all(there) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn told(shared: &Shared, written: &writers::Written) -> Value {
    let sent: HashMap<u64, Change> = written
        .changes
        .iter()
        .map(|change| (change.place, *change))
        .collect();
    let mut last: HashMap<u64, u64> = HashMap::with_capacity(sent.len());
    let mut took = Vec::new();
    let mut entries = 0;
    for client in &shared.clients {
        let seen = std::mem::take(&mut *client.seen.lock().unwrap_or_else(PoisonError::into_inner));
        entries += seen.len();
        for (place, at) in seen {
            // Others are the writers' clearing up.
            if let Some(change) = sent.get(&place) {
                let time = at.saturating_sub(change.sent);
                took.push(time);
                let last = last.entry(place).or_insert(0);
                *last = (*last).max(time);
            }
        }
    }
    let missed = (sent.len() * shared.clients.len()).saturating_sub(took.len());
    let answered = written
        .changes
        .iter()
        .map(|change| change.answered.saturating_sub(change.sent));
    json!({
        "changes": sent.len(),
        "seconds": written.lasted.as_secs_f64(),
        "failed": written.failed,
        "why": written.why,
        "missed": missed,
        "entries": entries,
        "gaps": shared.gaps.swap(0, Ordering::Relaxed),
        "answered": figures::told(answered.collect()),
        "propagation": figures::told(took),
        "last_client": figures::told(last.into_values().collect()),
    })
}
