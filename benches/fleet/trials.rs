//! One key made or revoked with one node, and the moment when each node does accordingly. It changes keys in no other way
//! than an operator: by the control socket of a node.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keygate::keys::{KeyKind, Secret};
use serde_json::{Value, json};

use crate::client::{Client, operation, sending};
use crate::{Failure, figures};

/// The longest that an operation or an answer is waited for.
const ANSWER_MAX: Duration = Duration::from_secs(35);
/// How long every node has to do accordingly.
const EVERYWHERE_MAX: Duration = Duration::from_secs(15);
/// How long it is still looked for after the operation has failed: it may have happened all the same.
const FAILED_MAX: Duration = Duration::from_millis(500);
/// Between an answer of a node and the next question to it, or, of what takes long, a part of the time it takes: the nodes have
/// other work. The times told are too long by as much, at most.
const PAUSE: Duration = Duration::from_micros(500);
const PAUSE_SHARE: u32 = 100;
/// Between two trials.
const BREATH: Duration = Duration::from_millis(20);

/// A node, and a connection to it that is kept.
pub struct Node {
    address: SocketAddr,
    control: PathBuf,
    kept: Option<Client<TcpStream>>,
}

/// A key just made.
pub struct Made {
    /// Its id.
    pub id: String,
    /// The request that sends it.
    pub request: Vec<u8>,
}

/// What came of an operation.
pub struct Came {
    /// From its sending to its answer, in nanoseconds.
    answered: u64,
    /// Why it failed.
    error: Option<String>,
    /// From its sending to the first answer of each node that was accordingly.
    seen: Vec<Option<u64>>,
}

impl Came {
    /// Whether it was done and every node does accordingly.
    pub fn is_everywhere(&self) -> bool {
        self.error.is_none() && self.seen.iter().all(Option::is_some)
    }

    /// As JSON.
    pub fn told(&self) -> Value {
        let seen: Vec<_> = self.seen.iter().map(|time| time.map(figures::ms)).collect();
        json!({"answered_ms": figures::ms(self.answered), "error": self.error, "nodes_ms": seen})
    }
}

impl Node {
    /// Connects to nobody yet.
    pub const fn new(address: SocketAddr, control: PathBuf) -> Self {
        Self {
            address,
            control,
            kept: None,
        }
    }

    /// The status of the answer; 0 when there is none.
    fn ask(&mut self, request: &[u8]) -> u16 {
        let client = match self.kept.take() {
            Some(client) => Ok(client),
            None => Client::<TcpStream>::connect(self.address, ANSWER_MAX),
        };
        let asked = client.and_then(|mut client| {
            let answer = client.ask(request)?;
            if !answer.is_last {
                self.kept = Some(client);
            }
            Ok(answer.status)
        });
        asked.unwrap_or(0)
    }

    /// Asks until the answer is as wanted; how long after `begun` that was.
    fn until(
        &mut self,
        request: &[u8],
        wanted: &[u16],
        begun: Instant,
        stop: &AtomicBool,
    ) -> Option<u64> {
        while !stop.load(Ordering::Relaxed) && begun.elapsed() < EVERYWHERE_MAX {
            if wanted.contains(&self.ask(request)) {
                return u64::try_from(begun.elapsed().as_nanos()).ok();
            }
            thread::sleep(PAUSE.max(begun.elapsed() / PAUSE_SHARE));
        }
        None
    }
}

/// Trials with these nodes.
pub struct Trials {
    nodes: Vec<Node>,
    names: usize,
}

impl Trials {
    /// With these nodes.
    pub const fn new(nodes: Vec<Node>) -> Self {
        Self { nodes, names: 0 }
    }

    /// Makes an API key with this node. Its secret is given rather than generated, so that the nodes can be asked before
    /// the operation is answered.
    pub fn create(&mut self, node: usize, org: &str) -> Result<(Option<Made>, Came), Failure> {
        let secret = Secret::generate(KeyKind::ApiKey)?;
        self.names += 1;
        let name = format!("trial-{}-{}", std::process::id(), self.names);
        let body = json!({
            "op": "create_api_key", "org": org, "name": name, "expires_at": null, "allowed_addresses": [],
            "secret": secret.expose(),
        });
        let request = sending(secret.expose());
        let (came, answer) = self.perform(node, &body, &request, &[200])?;
        let id = find(&answer, "id").filter(|_| came.error.is_none());
        Ok((id.map(|id| Made { id, request }), came))
    }

    /// Revokes an API key with this node.
    pub fn revoke(&mut self, node: usize, id: &str, request: &[u8]) -> Result<Came, Failure> {
        let body = json!({"op": "revoke_key", "kind": "api_key", "id": id});
        Ok(self.perform(node, &body, request, &[401, 403])?.0)
    }

    /// Performs an operation with one node while all are asked with the same request.
    fn perform(
        &mut self,
        node: usize,
        body: &Value,
        request: &[u8],
        wanted: &[u16],
    ) -> Result<(Came, Value), Failure> {
        let control = self.nodes.get(node).ok_or("no such node")?.control.clone();
        // Connected before the clock starts, as the nodes are.
        let mut client = Client::<UnixStream>::connect(&control, ANSWER_MAX)?;
        for node in &mut self.nodes {
            node.ask(request);
        }
        let operation = operation(&body.to_string());
        let stop = AtomicBool::new(false);
        let begun = Instant::now();
        let (outcome, answered, seen) = thread::scope(|scope| {
            let stop = &stop;
            let watching: Vec<_> = self
                .nodes
                .iter_mut()
                .map(|node| scope.spawn(move || node.until(request, wanted, begun, stop)))
                .collect();
            let outcome = client.ask(&operation).map(|answer| answer.status);
            let answered = begun.elapsed();
            if !matches!(outcome, Ok(200)) {
                thread::sleep(FAILED_MAX);
                stop.store(true, Ordering::Relaxed);
            }
            let seen = watching
                .into_iter()
                .map(|thread| thread.join().ok().flatten());
            (outcome, answered, seen.collect())
        });
        let said = serde_json::from_slice(client.body()).unwrap_or(Value::Null);
        let error = match outcome {
            Ok(200) => None,
            Ok(status) => Some(find(&said, "error").unwrap_or_else(|| status.to_string())),
            Err(error) => Some(error.to_string()),
        };
        let answered = u64::try_from(answered.as_nanos())?;
        Ok((
            Came {
                answered,
                error,
                seen,
            },
            said,
        ))
    }

    /// Keys made and revoked one after the other, in turn with each node and in each of `orgs` orgs.
    pub fn many(&mut self, count: usize, orgs: usize) -> Result<Value, Failure> {
        let (mut made, mut revoked) = (Times::default(), Times::default());
        for trial in 0..count {
            let node = trial % self.nodes.len().max(1);
            let org = format!("bench-{}", trial % orgs.max(1));
            let (key, came) = self.create(node, &org)?;
            made.take(&came);
            if let Some(key) = key {
                thread::sleep(BREATH);
                let came = self.revoke(node, &key.id, &key.request)?;
                revoked.take(&came);
            }
            thread::sleep(BREATH);
        }
        Ok(json!({"created": made.told(), "revoked": revoked.told()}))
    }
}

/// The times of many operations.
#[derive(Default)]
struct Times {
    answered: Vec<u64>,
    /// The last node of each trial.
    last: Vec<u64>,
    by_node: Vec<Vec<u64>>,
    failed: Vec<String>,
}

impl Times {
    fn take(&mut self, came: &Came) {
        if !came.is_everywhere() {
            let why = came.error.clone();
            self.failed
                .push(why.unwrap_or_else(|| "not every node did accordingly".to_owned()));
            return;
        }
        self.answered.push(came.answered);
        self.last.extend(came.seen.iter().flatten().max());
        self.by_node.resize_with(came.seen.len(), Vec::new);
        for (times, time) in self.by_node.iter_mut().zip(&came.seen) {
            times.extend(time);
        }
    }

    fn told(self) -> Value {
        let first: Vec<_> = self.failed.iter().take(5).collect();
        json!({
            "failed": self.failed.len(),
            "failed_first": first,
            "answered": figures::told(self.answered),
            "last_node": figures::told(self.last),
            "nodes": self.by_node.into_iter().map(figures::told).collect::<Vec<_>>(),
        })
    }
}

/// The first text under this name, however deep.
fn find(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(fields) => match fields.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => fields.values().find_map(|value| find(value, name)),
        },
        Value::Array(items) => items.iter().find_map(|value| find(value, name)),
        _ => None,
    }
}
