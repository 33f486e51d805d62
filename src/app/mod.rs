//! The program put together from its configuration: what is started, in which order, and how it ends. The only file that
//! knows every part. Every task and thread has its line here.

mod control;
pub mod explain;
mod node;

use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use self::control::page_url;
use self::control::{bind_control, pages, rand_u128, relayed};
use self::explain::Explainer;
use self::node::{node_address, node_id, node_name};
use crate::admin;
use crate::config::{self, Config, SecretValue};
use crate::control::desk::{self, Desk};
use crate::control::explain::{Explain, Question};
use crate::control::socket::ControlSocket;
use crate::control::{KeyService, Restore};
use crate::drain::{self, Signal, Trigger};
use crate::keys::KeyTable;
use crate::keys::secret::LateFingerprinter;
use crate::keys::usage::UsageCounts;
pub use crate::proxy::record::{RequestRecord, decision_word};
pub use crate::proxy::record_line::LineWriter;
use crate::proxy::recorder::{Onlooker, Sink};
pub use crate::proxy::upstream::connector as tls_connector;
use crate::proxy::{self, Proxy, StartError};
use crate::store::sync::fleet::Settings;
use crate::store::sync::view::FleetView;
use crate::store::sync::{Node, Sync};
use crate::store::usage::UsageFlusher;
use crate::store::{self, Store, StoreError, migrate};
use crate::telemetry::{SyncCounters, UsageCounters};

/// How often a drain looks whether the last request has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(10);

/// How long the last records may take to be written.
const LAST_RECORDS_MAX: Duration = Duration::from_secs(3);

/// How long workers may take to let go of what the deadline cuts.
const CUT_MAX: Duration = Duration::from_secs(1);

/// Why the program cannot start.
#[derive(Debug)]
pub enum AppError {
    /// The configuration is at fault.
    Config(String),
    /// The store is.
    Store(StoreError),
    /// The system refuses something.
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        error: io::Error,
    },
}

impl std::fmt::Display for AppError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Config(what) => f.write_str(what),
            Self::Store(error) => error.fmt(f),
            Self::Io { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for AppError {}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<StartError> for AppError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Config(what) => Self::Config(what),
            StartError::Io { what, error } => Self::Io { what, error },
        }
    }
}

/// Who sees the records.
pub enum Records {
    /// Whatever the configuration says.
    AsConfigured,
    /// A function of the caller's.
    Print(Onlooker),
}

/// The running program.
pub struct App {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where the operator connects.
    pub admin: SocketAddr,
    /// Where people find the pages, unless there are none.
    pub control: Option<SocketAddr>,
    /// The operations on orgs, users and keys.
    pub keys: KeyService,
    proxy: Proxy,
    sync: Sync,
    usage: UsageFlusher,
    socket: JoinHandle<()>,
    operator: JoinHandle<()>,
    desk: Option<JoinHandle<()>>,
    unready: Trigger,
    drain_requests: Trigger,
    stop_the_rest: Trigger,
    config: config::Drain,
}

/// Judges a configuration as far as that is possible without starting anything.
///
/// # Errors
/// A sentence that names the knob.
pub fn check(config: &Config) -> Result<(), String> {
    proxy::check(config)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn make_private_folder(path: &Path) -> Result<(), AppError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| AppError::Io {
            what: format!("cannot make the folder {}", path.display()),
            error,
        })
}

impl App {
    /// Starts everything: configuration judged, keys loaded, then ports bound, so that the first request that can
    /// arrive can be answered. Must be called within a runtime, which then serves everything but requests.
    ///
    /// # Errors
    /// [`AppError`]; what had been started has ended again, or ends with the runtime.
    pub async fn start(config: &Config, records: Records) -> Result<Self, AppError> {
        let bind_admin = |error| AppError::Io {
            what: format!("cannot listen on {} (admin.address)", config.admin.address),
            error,
        };
        proxy::check(config)?;
        let (unready, draining) = drain::new();
        let (drain_requests, requests_end) = drain::new();
        let (stop_the_rest, rest_ends) = drain::new();
        let ends = || {
            let mut signal = rest_ends.clone();
            async move { signal.ordered().await }
        };

        make_private_folder(&config.store.data_dir)?;
        let store = Arc::new(store::open(&config.store, &config.rules, false)?);
        let fingerprinter = Arc::new(LateFingerprinter::unknown());
        if let Some(known) = store.fingerprinter() {
            fingerprinter.learn(known);
        }
        let Synced {
            table,
            sync,
            counters: sync_counters,
        } = start_sync(config, &store, &fingerprinter, &rest_ends).await?;
        let (usage, usage_counters) = (
            Arc::new(UsageCounts::default()),
            Arc::new(UsageCounters::default()),
        );
        let flusher = UsageFlusher::start(
            Arc::clone(&store),
            Arc::clone(&usage),
            Arc::clone(&usage_counters),
            config.store.usage_interval,
        )
        .map_err(|error| AppError::Io {
            what: "cannot start the thread that writes the uses of keys".to_owned(),
            error,
        })?;
        let control_listener = bind_control(config).await?;
        let mut keys = KeyService::serving(Arc::clone(&store), &sync)
            .comparing(Arc::clone(&table))
            .with_pages(
                pages(config, control_listener.as_ref().map(|bound| bound.address)),
                config.control.link_lifetime,
            );
        if let Store::Redis(fleet) = &*store {
            let (of_all, of_org) = (
                (fleet.clone(), table.clone()),
                (fleet.clone(), table.clone()),
            );
            let restore = Restore {
                all: Arc::new(move || migrate::restore_from_node(&of_all.0, &of_all.1)),
                org: Arc::new(move |org| migrate::restore_org(&of_org.0, &of_org.1, org)),
            };
            keys = keys.restoring(restore);
        }

        let admin_listener = TcpListener::bind(config.admin.address)
            .await
            .map_err(bind_admin)?;
        let admin_address = admin_listener.local_addr().map_err(bind_admin)?;
        let path = config.store.control_socket();
        let socket = ControlSocket::bind(&path).map_err(|error| AppError::Io {
            what: format!("cannot serve {}", path.display()),
            error,
        })?;
        let relay = SecretValue::new(format!("{:032x}", rand_u128()?));
        let provider = match &control_listener {
            Some(_) => desk::provider(config, &keys).map_err(AppError::Config)?,
            None => None,
        };
        let with_control = match &control_listener {
            Some(bound) => &relayed(config, bound.relayed_to, &relay)?,
            None => config,
        };
        let proxy = Proxy::start(
            with_control,
            Arc::clone(&table),
            Arc::clone(&usage),
            Arc::clone(&fingerprinter),
            sink(config, records),
            &requests_end,
        )?;

        let upstreams = proxy::check(with_control)?;
        let explainer =
            Explainer::serving(Arc::clone(&proxy.shared), upstreams, Arc::clone(&store));
        let keys = keys.explaining(Explain::by(move |question| explainer.explain(question)));

        let (service, socket_ends) = (keys.clone(), ends());
        let socket = tokio::spawn(async move {
            if let Err(error) = socket.serve(service, socket_ends).await {
                complain(&format!("the control socket failed: {error}"));
            }
        });
        let control = control_listener.as_ref().map(|bound| bound.address);
        let desk = control_listener.map(|bound| {
            let desk = Desk::new(
                keys.clone(),
                Arc::clone(&table),
                fingerprinter,
                config,
                relay,
                proxy.address,
                provider,
            )
            .counting(Arc::clone(&usage));
            tokio::spawn(desk::serve(bound.listeners, desk, rest_ends.clone()))
        });
        let views = admin::Views {
            table,
            counters: proxy.counters.clone(),
            usage: (usage, usage_counters),
            sync: sync_counters,
            config: config::describe(config),
            serve_stale_for: config.view.serve_stale_for_intake,
            draining,
        };
        let operator = tokio::spawn(admin::serve(admin_listener, views, rest_ends));
        Ok(Self {
            address: proxy.address,
            admin: admin_address,
            keys,
            proxy,
            sync,
            usage: flusher,
            control,
            socket,
            operator,
            desk,
            unready,
            drain_requests,
            stop_the_rest,
            config: config.drain.clone(),
        })
    }

    /// Opens the records' file again, after it has been moved away.
    pub fn reopen_records(&self) {
        self.proxy.reopen_records();
    }

    /// Ends: not ready, then no new connections, then the last requests up to the deadline, then the rest. Returns
    /// whether every request ended by itself.
    pub async fn shutdown(self) -> bool {
        self.unready.fire();
        tokio::time::sleep(self.config.readiness_delay).await;
        self.drain_requests.fire();
        let deadline = Instant::now() + self.config.deadline;
        while !self.proxy.has_ended() && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        let all_ended = self.proxy.has_ended();
        self.proxy.cut();
        let cut = Instant::now() + CUT_MAX;
        while !self.proxy.has_ended() && Instant::now() < cut {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        // Quick, unless the records' sink takes nothing: nobody may hold the program's end by not reading its output.
        let last_records = tokio::task::spawn_blocking(|| self.proxy.finish());
        if tokio::time::timeout(LAST_RECORDS_MAX, last_records)
            .await
            .is_err()
        {
            complain(
                "the last records could not be written in time and are lost, and the uses of keys that they tell of are not counted",
            );
        }
        if !self.usage.finish().await {
            complain("the last uses of keys could not be written in time and are not counted");
        }
        self.stop_the_rest.fire();
        self.sync.ended().await;
        let _ = self.socket.await;
        let _ = self.operator.await;
        if let Some(desk) = self.desk {
            let _ = desk.await;
        }
        all_ended
    }
}

/// The operations on a store while no server of it runs here.
pub fn service_alone(config: &Config, store: Arc<Store>) -> KeyService {
    let control = &config.control;
    // Port 0 is known once it is bound.
    let address = (control.is_on() && control.address.port() != 0).then_some(control.address);
    let (config_of, store_of) = (config.clone(), Arc::clone(&store));
    let explain = move |question: &Question| {
        let explainer = Explainer::alone(&config_of, Arc::clone(&store_of));
        let explainer = explainer.map_err(|why| StoreError::Io {
            path: "the configuration".into(),
            error: io::Error::other(why),
        })?;
        explainer.explain(question)
    };
    KeyService::alone(store)
        .with_pages(pages(config, address), control.link_lifetime)
        .explaining(Explain::by(explain))
}

/// The table, and what keeps it in step.
struct Synced {
    table: Arc<KeyTable>,
    sync: Sync,
    /// A fleet's.
    counters: Option<Arc<SyncCounters>>,
}

/// Loads the table: from the file, or from the replica of what the fleet shares.
async fn start_sync(
    config: &Config,
    store: &Arc<Store>,
    fingerprinter: &Arc<LateFingerprinter>,
    ends: &Signal,
) -> Result<Synced, AppError> {
    let Store::Redis(fleet) = &**store else {
        let table = Arc::new(KeyTable::new(Instant::now()));
        let mut signal = ends.clone();
        let ended = async move { signal.ordered().await };
        let sync = Sync::start(Arc::clone(store), Arc::clone(&table), ended)?;
        return Ok(Synced {
            table,
            sync,
            counters: None,
        });
    };
    let thread = |error| AppError::Io {
        what: "cannot start a thread".to_owned(),
        error,
    };
    let replica = config.store.replica();
    let (loading, path) = (Arc::clone(fleet), replica.clone());
    let view = tokio::task::spawn_blocking(move || FleetView::load(&loading, &path));
    let view = view
        .await
        .map_err(|error| thread(io::Error::other(error)))??;
    if let Some(known) = &view.fingerprinter {
        fingerprinter.learn(known.clone());
    }
    let table = Arc::clone(&view.table);
    let counters = Arc::new(SyncCounters::new(Instant::now()));
    let settings = Settings {
        replica,
        node: Node {
            id: node_id(&config.store.data_dir),
            name: node_name(config),
            address: node_address(config),
            serves_stale_for: config
                .view
                .serve_stale_for_intake
                .max(config.view.serve_stale_for_api),
        },
        fingerprinter: Arc::clone(fingerprinter),
        counters: Arc::clone(&counters),
    };
    let sync = Sync::follow(Arc::clone(fleet), view, settings, ends.clone()).map_err(thread)?;
    Ok(Synced {
        table,
        sync,
        counters: Some(counters),
    })
}

fn sink(config: &Config, records: Records) -> Sink {
    match (records, config.record.sink, &config.record.path) {
        (Records::Print(print), _, _) => Sink::Print(print),
        (Records::AsConfigured, config::Sink::File, Some(path)) => Sink::File(path.clone()),
        (Records::AsConfigured, config::Sink::Off, _) => Sink::Off,
        // A file without a path has been refused when the configuration was read.
        (Records::AsConfigured, config::Sink::Stdout | config::Sink::File, _) => Sink::Stdout,
    }
}

/// Says where a panic was, and not what it said: its text may quote what was being worked on, a secret as well.
pub fn hush_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| {
            format!(" at {}:{}", place.file(), place.line())
        });
        complain(&format!(
            "a panic{place}; the request or task it was in has failed"
        ));
    }));
}

#[expect(
    clippy::print_stderr,
    reason = "the process' own troubles go where its supervisor reads"
)]
fn complain(text: &str) {
    eprintln!("keygate: {text}");
}
