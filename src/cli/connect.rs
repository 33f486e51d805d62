//! Where a management command's store is, and the way to it: the running server's control socket, or the file itself.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::EXIT_USAGE;
use crate::control::socket::ControlClient;
use crate::control::{KeyService, Request, Response};
use crate::keys::rules::Limits;
use crate::store::{Store, StoreError, root_key};

/// The environment's name for the data folder, as for the server.
const DATA_DIR_VARIABLE: &str = "KEYGATE_STORE__DATA_DIR";
/// The same for the root key.
const ROOT_KEY_VARIABLE: &str = "KEYGATE_STORE__ROOT_KEY";

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

/// What must be known of a store to use it.
struct Home {
    data_dir: PathBuf,
    root_key: Option<String>,
    limits: Limits,
}

type Failed = (String, u8);

impl Home {
    fn find(at: &At) -> Result<Self, Failed> {
        if at.config.is_some() {
            return Err((
                "this build cannot read a configuration".to_owned(),
                EXIT_USAGE,
            ));
        }
        let data_dir = at
            .data_dir
            .clone()
            .or_else(|| std::env::var_os(DATA_DIR_VARIABLE).map(PathBuf::from))
            .ok_or_else(|| {
                let sentence = format!(
                    "which store? Give --data-dir DIR, -c FILE or the variable {DATA_DIR_VARIABLE}"
                );
                (sentence, EXIT_USAGE)
            })?;
        Ok(Self {
            data_dir,
            root_key: std::env::var(ROOT_KEY_VARIABLE).ok(),
            limits: Limits::default(),
        })
    }

    /// The store itself, or `None` while another process has it open.
    fn open(&self, makes_store: bool) -> Result<Option<Store>, Failed> {
        let database = self.data_dir.join("keygate.redb");
        if !makes_store && !database.exists() {
            let sentence = format!(
                "there is no store in {0}: make one with `keygate init --data-dir {0}`",
                self.data_dir.display()
            );
            return Err((sentence, 1));
        }
        let file = self.data_dir.join("root.key");
        let opened = root_key(self.root_key.as_deref(), &file, &database)
            .and_then(|root_key| Store::open(&database, &root_key, self.limits));
        match opened {
            Ok(store) => Ok(Some(store)),
            Err(StoreError::Locked { .. }) => Ok(None),
            Err(error) => Err((error.to_string(), 1)),
        }
    }
}

/// Performs one operation: by the server when one runs, on the file when none does.
pub(super) fn perform(at: &At, request: Request) -> Result<Response, Failed> {
    let home = Home::find(at)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| (format!("the runtime cannot start: {error}"), 1))?;
    runtime.block_on(async {
        let socket = home.data_dir.join("control.sock");
        let makes_store = matches!(request, Request::Init { .. } | Request::CreateOrg { .. });
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ControlClient::connect(&socket).await {
                Ok(Some(client)) => {
                    return client
                        .perform(&request)
                        .await
                        .map_err(|sentence| (sentence, 1));
                }
                Ok(None) => {}
                Err(error) => return Err((format!("{}: {error}", socket.display()), 1)),
            }
            if let Some(store) = home.open(makes_store)? {
                return KeyService::alone(Arc::new(store))
                    .perform(request)
                    .await
                    .map_err(|error| (error.to_string(), 1));
            }
            if Instant::now() >= deadline {
                let sentence = format!(
                    "another process has the store in {} open and does not answer on its control socket: stop that process, or try again when it is done",
                    home.data_dir.display()
                );
                return Err((sentence, 1));
            }
            tokio::time::sleep(RETRY).await;
        }
    })
}
