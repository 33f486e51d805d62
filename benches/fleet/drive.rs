//! A steady load on several nodes, and changes of keys in between, as lines on standard input ask for them. Every request
//! is judged by what it must be answered; nothing is repeated.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, sending};
use crate::trials::{Node, Trials};
use crate::{Failure, figures, tell};

/// The longest that a client of a node waits.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Each tenth request has a revoked key, as soon as there is one.
const REVOKED_EVERY: usize = 10;
/// Lost requests of which more is told than the number.
const TOLD_MAX: usize = 5;

/// What the orchestrator says in a file.
#[derive(Deserialize)]
struct Plan {
    nodes: Vec<Named>,
    /// A file with an id and a secret on each line: keys that are valid.
    keys: PathBuf,
    /// Requests a second to each node.
    rate: u32,
    /// Connections to each node.
    connections: u32,
}

#[derive(Deserialize)]
struct Named {
    address: SocketAddr,
    control: PathBuf,
}

/// A line on standard input.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Command {
    /// What is sent from now on is counted under this name.
    Phase { name: String },
    /// Makes a key with this node and waits until every node takes it.
    Create { node: usize, org: String },
    /// Revokes a key with this node and waits until every node refuses it.
    Revoke { node: usize, id: String },
    /// So many keys made and revoked, one after the other.
    Trials { count: usize, orgs: usize },
    /// Tells what was counted.
    Report,
}

/// What came of the requests of one phase.
#[derive(Default)]
struct Tally {
    /// Of requests with a valid key that were answered as they must be: nanoseconds from when each was due.
    took: Vec<u64>,
    lost: usize,
    lost_first: Vec<Value>,
    revoked_asked: usize,
    revoked_accepted: usize,
    /// By status; 0 is no answer.
    statuses: BTreeMap<u16, usize>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.took.extend(other.took);
        self.lost += other.lost;
        self.lost_first.extend(other.lost_first);
        self.lost_first.truncate(TOLD_MAX);
        self.revoked_asked += other.revoked_asked;
        self.revoked_accepted += other.revoked_accepted;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_insert(0) += count;
        }
    }

    fn told(self) -> Value {
        json!({
            "sent": self.took.len() + self.lost + self.revoked_asked,
            "lost": self.lost,
            "lost_first": self.lost_first,
            "revoked_asked": self.revoked_asked,
            "revoked_accepted": self.revoked_accepted,
            "statuses": self.statuses,
            "took": figures::told(self.took),
        })
    }
}

/// What the threads of the load share.
struct Shared {
    phase: AtomicUsize,
    stop: AtomicBool,
    valid: Vec<Vec<u8>>,
    revoked: RwLock<Vec<Vec<u8>>>,
    begun: Instant,
    /// By thread, then by phase.
    tallies: Vec<Mutex<Vec<Tally>>>,
}

impl Shared {
    fn revoked(&self, random: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let revoked = self.revoked.read().unwrap_or_else(PoisonError::into_inner);
        random.choice(revoked.iter()).cloned()
    }
}

/// Reads commands until standard input ends.
pub fn run(plan: &std::path::Path) -> Result<(), Failure> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    let text = std::fs::read_to_string(&plan.keys)?;
    let keys: Vec<(String, Vec<u8>)> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(id, secret)| (id.to_owned(), sending(secret)))
        .collect();
    if keys.is_empty() {
        return Err("there is no key to send".into());
    }
    let threads = plan.nodes.len() * plan.connections as usize;
    let shared = Arc::new(Shared {
        phase: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        valid: keys.iter().map(|(_, request)| request.clone()).collect(),
        revoked: RwLock::default(),
        begun: Instant::now(),
        tallies: (0..threads).map(|_| Mutex::default()).collect(),
    });
    let nodes: Vec<Node> = plan
        .nodes
        .iter()
        .map(|node| Node::new(node.address, node.control.clone()))
        .collect();
    let load = start(&plan, &shared);
    tell(&json!({"nodes": nodes.len(), "keys": keys.len()}))?;
    let outcome = obey(&shared, Trials::new(nodes), keys.into_iter().collect());
    shared.stop.store(true, Ordering::Relaxed);
    for thread in load {
        thread.join().map_err(|_| "a thread of the load panicked")?;
    }
    outcome
}

fn start(plan: &Plan, shared: &Arc<Shared>) -> Vec<JoinHandle<()>> {
    let every = Duration::from_secs(1) * plan.connections / plan.rate.max(1);
    let slots = plan
        .nodes
        .iter()
        .flat_map(|node| (0..plan.connections).map(move |_| node.address));
    slots
        .enumerate()
        .map(|(number, address)| {
            let shared = Arc::clone(shared);
            thread::spawn(move || send(&shared, number, address, every))
        })
        .collect()
}

/// One connection's requests, due at equal times: a stall counts for every request that it held up.
fn send(shared: &Shared, number: usize, address: SocketAddr, every: Duration) {
    let mut random = fastrand::Rng::new();
    let mut kept: Option<Client<TcpStream>> = None;
    let mut due = Instant::now() + every.mul_f64(random.f64());
    for count in 0_usize.. {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let phase = shared.phase.load(Ordering::Relaxed);
        let revoked = if count % REVOKED_EVERY == REVOKED_EVERY - 1 {
            shared.revoked(&mut random)
        } else {
            None
        };
        let valid = random.choice(shared.valid.iter());
        let Some(request) = revoked.as_ref().or(valid) else {
            return;
        };
        let asked = match kept.take() {
            Some(client) => Ok(client),
            None => Client::<TcpStream>::connect(address, ANSWER_MAX),
        }
        .and_then(|mut client| {
            let answer = client.ask(request)?;
            if !answer.is_last {
                kept = Some(client);
            }
            Ok(answer.status)
        });
        let took = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Some(tallies) = shared.tallies.get(number) else {
            return;
        };
        let mut tallies = tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if tallies.len() <= phase {
            tallies.resize_with(phase + 1, Tally::default);
        }
        if let Some(tally) = tallies.get_mut(phase) {
            let status = *asked.as_ref().unwrap_or(&0);
            *tally.statuses.entry(status).or_insert(0) += 1;
            if revoked.is_some() {
                tally.revoked_asked += 1;
                tally.revoked_accepted += usize::from(status == 200);
            } else if status == 200 {
                tally.took.push(took);
            } else {
                tally.lost += 1;
                if tally.lost_first.len() < TOLD_MAX {
                    tally.lost_first.push(json!({
                        "node": address.to_string(),
                        "at_s": shared.begun.elapsed().as_secs_f64(),
                        "status": status,
                        "error": asked.err().map(|error| error.to_string()),
                    }));
                }
            }
        }
        drop(tallies);
        due += every;
    }
}

fn obey(
    shared: &Shared,
    mut trials: Trials,
    mut requests: HashMap<String, Vec<u8>>,
) -> Result<(), Failure> {
    let mut phases = vec!["start".to_owned()];
    for line in std::io::stdin().lock().lines() {
        let revoke_known =
            |requests: &HashMap<String, Vec<u8>>, id: &str| requests.get(id).cloned();
        match serde_json::from_str(&line?)? {
            Command::Phase { name } => {
                phases.push(name);
                shared.phase.store(phases.len() - 1, Ordering::Relaxed);
                tell(&json!({"phase": phases.len() - 1}))?;
            }
            Command::Create { node, org } => {
                let (made, came) = trials.create(node, &org)?;
                let id = made.as_ref().map(|made| made.id.clone());
                if let Some(made) = made {
                    requests.insert(made.id, made.request);
                }
                let mut told = came.told();
                if let Some(told) = told.as_object_mut() {
                    told.insert("id".to_owned(), json!(id));
                }
                tell(&told)?;
            }
            Command::Revoke { node, id } => {
                let request = revoke_known(&requests, &id).ok_or("no such key")?;
                let came = trials.revoke(node, &id, &request)?;
                if came.is_everywhere() {
                    let mut revoked = shared
                        .revoked
                        .write()
                        .unwrap_or_else(PoisonError::into_inner);
                    revoked.push(request);
                }
                tell(&came.told())?;
            }
            Command::Trials { count, orgs } => tell(&trials.many(count, orgs)?)?,
            Command::Report => tell(&report(shared, &phases))?,
        }
    }
    Ok(())
}

/// What was counted so far, by phase; it begins anew.
fn report(shared: &Shared, phases: &[String]) -> Value {
    let mut sums: BTreeMap<usize, Tally> = BTreeMap::new();
    for tallies in &shared.tallies {
        let taken = std::mem::take(&mut *tallies.lock().unwrap_or_else(PoisonError::into_inner));
        for (phase, tally) in taken.into_iter().enumerate() {
            sums.entry(phase).or_default().add(tally);
        }
    }
    let named = sums.into_iter().filter_map(|(phase, tally)| {
        let mut told = tally.told();
        let name = phases.get(phase)?;
        told.as_object_mut()?
            .insert("phase".to_owned(), json!(name));
        Some(told)
    });
    Value::Array(named.collect())
}
