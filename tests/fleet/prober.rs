//! A client that asks a gateway at a steady rate for as long as the test does something to it, and what it got. It judges
//! nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Client, series};

/// The longest it waits for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// It keeps what came of so many requests; then it ends.
const SHOTS_MAX: usize = 1_000_000;

/// A running client. Dropping it ends it.
pub struct Prober {
    stop: Arc<AtomicBool>,
    shots: Arc<Mutex<Vec<Shot>>>,
    thread: Option<JoinHandle<()>>,
}

/// What came of one request.
#[derive(Clone, Copy, Debug)]
pub struct Shot {
    /// When it was to be sent.
    pub due: Instant,
    /// From then until its whole answer was there: a stall counts for every request that it held up.
    pub took: Duration,
    /// `None` if there was no whole answer.
    pub status: Option<u16>,
}

/// What came of all requests, in the order they were sent.
#[derive(Clone, Debug)]
pub struct Tally(pub Vec<Shot>);

impl Prober {
    /// Asks with this API key, so many times a second, on one connection that it keeps while it can.
    pub fn start(at: SocketAddr, key: &str, rate: u32) -> Self {
        let (stop, shots) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let thread = std::thread::spawn({
            let (stop, shots, request) = (Arc::clone(&stop), Arc::clone(&shots), series(key));
            move || probe(at, &request, Duration::from_secs(1) / rate, &stop, &shots)
        });
        Self {
            stop,
            shots,
            thread: Some(thread),
        }
    }

    /// What came of it so far.
    pub fn so_far(&self) -> Tally {
        Tally(self.shots.lock().unwrap().clone())
    }

    /// Ends it.
    pub fn stop(mut self) -> Tally {
        self.end();
        self.so_far()
    }

    fn end(&mut self) {
        self.stop.store(true, Relaxed);
        // If it has panicked, there is less than a test expects.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.end();
    }
}

fn probe(
    at: SocketAddr,
    request: &str,
    every: Duration,
    stop: &AtomicBool,
    shots: &Mutex<Vec<Shot>>,
) {
    let mut kept: Option<Client> = None;
    let mut due = Instant::now();
    for _ in 0..SHOTS_MAX {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Relaxed) {
            return;
        }
        let client = match kept.take() {
            Some(client) => Ok(client),
            None => Client::connect(at, ANSWER_MAX),
        };
        let answer = client.and_then(|mut client| {
            let answer = client.ask(request)?;
            if !answer.is_last {
                kept = Some(client);
            }
            Ok(answer.status)
        });
        let shot = Shot {
            due,
            took: due.elapsed(),
            status: answer.ok(),
        };
        shots.lock().unwrap().push(shot);
        due += every;
    }
}

impl Tally {
    /// How many requests were sent.
    pub fn sent(&self) -> usize {
        self.0.len()
    }

    /// How many got anything but this.
    pub fn lost(&self, expected: u16) -> usize {
        let lost = |shot: &&Shot| shot.status != Some(expected);
        self.0.iter().filter(lost).count()
    }

    /// How many got what; `None` is no answer.
    pub fn statuses(&self) -> BTreeMap<Option<u16>, usize> {
        let mut counts = BTreeMap::new();
        for shot in &self.0 {
            *counts.entry(shot.status).or_insert(0) += 1;
        }
        counts
    }

    /// What so large a share of the requests did not exceed: 0.5, 0.99, 1.0.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut all: Vec<_> = self.0.iter().map(|shot| shot.took).collect();
        all.sort_unstable();
        let rank = (all.len() as f64 * share).ceil() as usize;
        all[rank.clamp(1, all.len()) - 1]
    }

    /// Those that were to be sent at this time or later.
    pub fn since(&self, time: Instant) -> Self {
        Self(
            self.0
                .iter()
                .filter(|shot| shot.due >= time)
                .copied()
                .collect(),
        )
    }
}
