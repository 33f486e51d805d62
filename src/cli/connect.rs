//! Where a management command's store is, and the way to it: a server elsewhere, the control socket of one here, or the
//! file itself.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::remote::Remote;
use super::{EXIT_CONFIG, EXIT_USAGE};
use crate::app;
use crate::config::{Config, environment};
use crate::control::socket::ControlClient;
use crate::control::{Request, Response};
use crate::store::{self, Store, StoreError};

/// The variables that concern a store.
const STORE_VARIABLES: &str = "KEYGATE_STORE__";
const RULES_VARIABLES: &str = "KEYGATE_RULES__";
const CONTROL_VARIABLES: &str = "KEYGATE_CONTROL__";
const SERVERS_VARIABLE: &str = "KEYGATE_STORE__REDIS__SERVERS";
const DATA_DIR_VARIABLE: &str = "KEYGATE_STORE__DATA_DIR";

/// Names a server elsewhere.
const URL_VARIABLE: &str = "KEYGATE_URL";

/// How long a command waits for another one that has the store open, or for a server that is starting or stopping.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it looks meanwhile.
const RETRY: Duration = Duration::from_millis(20);

/// Where, and how to show what came of it.
#[derive(Args)]
pub(super) struct At {
    /// The folder of the store [env: KEYGATE_STORE__DATA_DIR]
    #[arg(long, value_name = "DIR", global = true, help_heading = "Where")]
    data_dir: Option<PathBuf>,
    /// The server's configuration file, which names the folder
    #[arg(
        short,
        long,
        value_name = "FILE",
        global = true,
        conflicts_with = "data_dir",
        help_heading = "Where"
    )]
    config: Option<PathBuf>,
    /// A server elsewhere: the address of its API. The pair is read from the environment [env: KEYGATE_URL]
    ///
    /// The API key from KEYGATE_API_KEY or DD_API_KEY, the application key from KEYGATE_APP_KEY or DD_APP_KEY, or from the
    /// file that one of these names with _FILE after it. Never from the command line, which every process can read. What
    /// is allowed is what the application key's owner may do.
    #[arg(
        long,
        value_name = "URL",
        global = true,
        conflicts_with_all = ["data_dir", "config"],
        help_heading = "Where"
    )]
    url: Option<String>,
    /// Certificates in PEM of the authorities that may vouch for that server, instead of the system's
    #[arg(long, value_name = "FILE", global = true, help_heading = "Where")]
    ca_file: Option<PathBuf>,
    /// How to show the answer
    #[arg(long, value_enum, default_value_t = Output::Table, global = true)]
    pub(super) output: Output,
}

/// How to show the answer.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// A sentence, and what to exit with.
pub(super) type Failed = (String, u8);

impl At {
    /// The address of a server elsewhere, if one is named. What is given on the command line goes before the environment.
    fn url(&self) -> Option<String> {
        let is_local = self.data_dir.is_some() || self.config.is_some();
        let from_environment = || std::env::var(URL_VARIABLE).ok().filter(|it| !it.is_empty());
        let url = self.url.clone();
        url.or_else(|| from_environment().filter(|_| !is_local))
    }
}

/// The configuration, as far as it concerns the store. With a data folder alone there is no upstream, which a
/// configuration must have, so it is given one that nothing is sent to.
pub(super) fn config(at: &At) -> Result<Config, Failed> {
    if at.url().is_some() {
        return Err(only_at_the_machine());
    }
    let loaded = match &at.config {
        Some(file) => Config::load(Some(file), environment()),
        None => {
            let mut variables: Vec<_> = environment()
                .filter(|(name, _)| {
                    let of = [STORE_VARIABLES, RULES_VARIABLES, CONTROL_VARIABLES];
                    of.iter().any(|prefix| name.starts_with(prefix))
                })
                .collect();
            let is_named = |wanted: &str| variables.iter().any(|(name, _)| name == wanted);
            if at.data_dir.is_none() && !is_named(DATA_DIR_VARIABLE) && !is_named(SERVERS_VARIABLE)
            {
                let sentence = format!(
                    "which store? Give --data-dir DIR, -c FILE or one of the variables {DATA_DIR_VARIABLE} and {SERVERS_VARIABLE}"
                );
                return Err((sentence, EXIT_USAGE));
            }
            variables.push((
                "KEYGATE_UPSTREAMS__DEFAULT__URL".to_owned(),
                "http://127.0.0.1:1".to_owned(),
            ));
            Config::load(None, variables.into_iter())
        }
    };
    let mut config = loaded.map_err(|errors| (errors.to_string(), EXIT_CONFIG))?;
    // Not through a variable: a path need not be text.
    if let Some(folder) = &at.data_dir {
        config.store.data_dir.clone_from(folder);
    }
    Ok(config)
}

/// The store itself, or `None` while another process has it open.
fn open(config: &Config, makes_store: bool) -> Result<Option<Store>, Failed> {
    if !makes_store && !config.store.uses_redis() && !config.store.database().exists() {
        let sentence = format!(
            "there is no store in {0}: make one with `keygate init --data-dir {0}`",
            config.store.data_dir.display()
        );
        return Err((sentence, 1));
    }
    match store::open(&config.store, &config.rules, makes_store) {
        Ok(store) => Ok(Some(store)),
        Err(StoreError::Locked { .. }) => Ok(None),
        Err(error) => Err((error.to_string(), 1)),
    }
}

/// Nothing is sent of what a server elsewhere would refuse whoever asks.
fn only_at_the_machine() -> Failed {
    let sentence = "this can only be done at the machine itself: run it on the server, with --data-dir or -c and without --url and KEYGATE_URL";
    (sentence.to_owned(), EXIT_USAGE)
}

/// Performs one operation: by a server elsewhere if one is named, else by the one here when it runs, else on the store
/// itself.
pub(super) fn perform(at: &At, request: Request) -> Result<Response, Failed> {
    if let Some(url) = at.url() {
        if request.is_of_the_machine() {
            return Err(only_at_the_machine());
        }
        let remote = Remote::of(&url, at.ca_file.as_deref())?;
        return runtime()?.block_on(remote.perform(&request));
    }
    let config = config(at)?;
    runtime()?.block_on(async {
        let changed = match &request {
            Request::AndWait { request, .. } => request,
            request => request,
        };
        let makes_store = matches!(changed, Request::Init { .. } | Request::CreateOrg { .. });
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = by_server(&config, &request).await? {
                return Ok(answer);
            }
            if let Some(store) = open(&config, makes_store)? {
                return app::service_alone(&config, Arc::new(store))
                    .operate(request)
                    .await
                    .map_err(|error| (error.to_string(), 1));
            }
            if Instant::now() >= deadline {
                let sentence = format!(
                    "another process has the store in {} open and does not answer on its control socket: stop that process, or try again when it is done",
                    config.store.data_dir.display()
                );
                return Err((sentence, 1));
            }
            tokio::time::sleep(RETRY).await;
        }
    })
}

/// Has the server perform one operation, or `None` when none runs.
pub(super) fn ask_server(config: &Config, request: &Request) -> Result<Option<Response>, Failed> {
    runtime()?.block_on(by_server(config, request))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failed> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (format!("the runtime cannot start: {error}"), 1))
}

async fn by_server(config: &Config, request: &Request) -> Result<Option<Response>, Failed> {
    let socket = config.store.control_socket();
    match ControlClient::connect(&socket).await {
        Ok(Some(client)) => {
            let answer = client.perform(request).await;
            answer.map(Some).map_err(|sentence| (sentence, 1))
        }
        Ok(None) => Ok(None),
        // Redis can be reached without the server's folder.
        Err(error)
            if config.store.uses_redis() && error.kind() == io::ErrorKind::PermissionDenied =>
        {
            Ok(None)
        }
        Err(error) => Err((format!("{}: {error}", socket.display()), 1)),
    }
}
