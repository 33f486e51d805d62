//! The data plane: one file per step, in the order in which `handle` calls them. It reads the key table and never the
//! store: answering a request does no IO but to its client and its upstream.

pub mod body;
pub mod connection;
pub mod credential;
pub mod forward;
mod gather;
pub mod handle;
pub mod identity;
pub mod known;
pub mod listener;
pub mod open;
pub mod phase;
pub mod raw_head;
pub mod record;
pub mod record_line;
pub mod record_queue;
pub mod recorder;
pub mod reply;
pub mod route;
pub mod strict;
pub mod target;
pub mod timer;
pub mod upstream;
pub mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::config::Config;
use crate::drain::{self, Signal, Trigger};
use crate::keys::KeyTable;
use crate::keys::secret::LateFingerprinter;
use crate::keys::usage::UsageCounts;
use crate::telemetry::WorkerCounters;
use recorder::{Asides, Recorder, Sink};
use upstream::Upstreams;
use worker::{LABELS, Shared};

/// The data plane, bound and running.
pub struct Proxy {
    /// Where it listens; the real port where 0 was asked for.
    pub address: SocketAddr,
    /// Each worker's counters.
    pub counters: Vec<Arc<WorkerCounters>>,
    /// What its workers decide by.
    pub shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    recorder: Recorder,
    cut: Trigger,
}

/// Why the data plane cannot start.
#[derive(Debug)]
pub enum StartError {
    /// The configuration names something that is not usable.
    Config(String),
    /// The system refuses something: an address, a file, a thread.
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(what) => f.write_str(what),
            Self::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// Judges what of the configuration can only be judged here: certificates, names, credentials.
///
/// # Errors
/// [`StartError::Config`] with a sentence that names the knob.
pub fn check(config: &Config) -> Result<Upstreams, StartError> {
    Upstreams::new(config).map_err(StartError::Config)
}

impl Proxy {
    /// Binds the listener and starts the workers. The configuration has the upstream [`route::KEY_MANAGEMENT`] when it has
    /// a control listener.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(
        config: &Config,
        table: Arc<KeyTable>,
        usage: Arc<UsageCounts>,
        fingerprinter: Arc<LateFingerprinter>,
        sink: Sink,
        draining: &Signal,
    ) -> Result<Self, StartError> {
        let io = |what: String| move |error| StartError::Io { what, error };
        check(config)?;
        let workers = match config.listen.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            workers => workers,
        };
        let (address, sockets) =
            listener::bind(config.listen.address, workers, config.listen.backlog).map_err(io(
                format!(
                    "cannot listen on {} (listen.address)",
                    config.listen.address
                ),
            ))?;
        let of_file = match &sink {
            Sink::File(path) => format!("cannot open {}", path.display()),
            Sink::Stdout | Sink::Print(_) | Sink::Off => {
                "cannot start the records' writer".to_owned()
            }
        };
        let asides = Asides {
            table: Arc::clone(&table),
            usage: Arc::clone(&usage),
        };
        let queue_max = config.record.queue_max.div_ceil(workers);
        let (recorder, queues) =
            Recorder::start(sink, asides, workers, queue_max).map_err(io(of_file))?;
        let shared = Arc::new(Shared::new(config, table, usage, fingerprinter));
        let connections_max = config.listen.connections_max.div_ceil(workers);
        let counters: Vec<_> = (0..workers)
            .map(|_| Arc::new(WorkerCounters::new(*LABELS)))
            .collect();
        let (cut, is_cut) = drain::new();
        let mut threads = Vec::with_capacity(workers);
        for (at, ((socket, records), counters)) in
            sockets.into_iter().zip(queues).zip(&counters).enumerate()
        {
            let (shared, counters, draining) =
                (Arc::clone(&shared), Arc::clone(counters), draining.clone());
            let thread = listener::spawn(
                at,
                socket,
                shared,
                check(config)?,
                counters,
                records,
                connections_max,
                draining,
                is_cut.clone(),
            )
            .map_err(io(format!("cannot start worker {at}")))?;
            threads.push(thread);
        }
        Ok(Self {
            address,
            counters,
            shared,
            threads,
            recorder,
            cut,
        })
    }

    /// Opens the records' file again.
    pub fn reopen_records(&self) {
        self.recorder.reopen();
    }

    /// Whether every worker has ended.
    pub fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Cuts the requests that are still under way. Each still writes its record.
    pub fn cut(&self) {
        self.cut.fire();
    }

    /// Waits for the workers, and then for the last record to be written. That may take for ever, when a worker or the
    /// sink is stuck: whoever calls this bounds it.
    pub fn finish(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
        self.recorder.finish();
    }
}
