//! The commands about the store itself and about the nodes of a fleet: their options, and what is asked of whom. What
//! they do is in `control` and `store`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand};

use super::connect::{At, Failed, ask_server, config, perform};
use super::show::show;
use super::{EXIT_USAGE, complain};
use crate::config::Config;
use crate::control::{Request, Response, SecretText};
use crate::store::{self, migrate};

/// `fleet`
#[derive(Args)]
pub(super) struct Fleet {
    #[command(flatten)]
    at: At,
}

/// `store`
#[derive(Args)]
pub(super) struct StoreCommand {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: StoreAction,
}

#[derive(Subcommand)]
enum StoreAction {
    /// Say which store it is, how far it is, which root keys open it and how its servers are
    Status,
    /// Look through all of it, and name what is wrong by its id
    ///
    /// Every record is opened, every digest computed again, names and fingerprints are compared with the records, and
    /// with what the server here has in memory, if one runs. Exits with 1 when something is wrong.
    Verify,
    /// Put back into Redis what it has lost and this node has
    ///
    /// A node that runs puts back what it has in memory, one that does not what is in its replica. What is newer in
    /// Redis stays, and what is revoked in either is revoked. It may be run again, and from several nodes.
    Restore,
    /// Copy the store from the file to Redis or back
    ///
    /// Same ids, same secrets, revoked keys included. It can be cut and run again, goes on where it was, and compares
    /// both sides at the end. The source is left as it is: change nothing in it meanwhile, and use only one afterwards.
    #[command(group = ArgGroup::new("direction").required(true))]
    Migrate {
        /// From keygate.redb in the data folder to the empty Redis of [store.redis]. Stop the server first
        #[arg(long, group = "direction")]
        to_redis: bool,
        /// From the Redis of [store.redis] to keygate.redb in the data folder, where none may be yet. Nodes may go on
        #[arg(long, group = "direction")]
        to_file: bool,
    },
    /// Let the store be opened with a new root key, too. Nothing is stored anew, no secret changes, and nodes go on
    ///
    /// The store's own keys are random and are kept in it wrapped under each root key. This adds one wrapping. Then
    /// give every node the new key (root.key in its data folder, or store.root_key) and restart it, one after the
    /// other, while Redis can be reached: a replica does not open with the new key and is read anew. Then remove the
    /// old wrapping with `keygate store retire-root-key`.
    ///
    /// What this protects against: somebody who got the old root key, and gets to read the store only later. What it
    /// does not: whoever had the old root key AND a copy of the store, or of a node's replica, from before has the
    /// store's own keys, which stay the same. With those, secrets can be guessed offline and records forged by whoever
    /// can write to the store. Then make a new store, and issue every key anew.
    RotateRootKey {
        /// The file of the new root key: 64 hexadecimal digits, readable by its owner only. It is made if there is none
        #[arg(long, value_name = "FILE")]
        new: PathBuf,
    },
    /// Let the store no longer be opened with an old root key
    ///
    /// Neither the last one nor the one in use here can be retired. A node that still has it does not start again.
    RetireRootKey {
        /// Its check value, as `keygate store status` shows it
        check: String,
    },
}

/// `fleet`
pub(super) fn run_fleet(command: &Fleet) -> ExitCode {
    told(&command.at, perform(&command.at, Request::ListNodes))
}

/// `store`
pub(super) fn run(command: StoreCommand) -> ExitCode {
    let StoreCommand { at, action } = command;
    let outcome = match action {
        StoreAction::Status => perform(&at, Request::StoreStatus),
        StoreAction::Verify => perform(&at, Request::VerifyStore),
        StoreAction::Restore => restore(&at),
        StoreAction::Migrate { to_redis, .. } => migrate(&at, to_redis),
        StoreAction::RotateRootKey { new } => rotate(&at, &new),
        StoreAction::RetireRootKey { check } => perform(&at, Request::RetireRootKey { check }),
    };
    told(&at, outcome)
}

fn told(at: &At, outcome: Result<Response, Failed>) -> ExitCode {
    match outcome {
        Ok(response) => show(&response, at.output),
        Err((sentence, code)) => complain(&sentence, code),
    }
}

fn rotate(at: &At, file: &Path) -> Result<Response, Failed> {
    // There is no store that its absence would make unreadable: it is a new key.
    let root_key =
        store::root_key(None, file, Path::new("")).map_err(|error| (error.to_string(), 1))?;
    let root_key = SecretText::new(root_key.to_hex());
    perform(at, Request::AddRootKey { root_key })
}

fn migrate(at: &At, to_redis: bool) -> Result<Response, Failed> {
    let config = with_redis(at)?;
    let (store, rules) = (&config.store, &config.rules);
    let copied = if to_redis {
        migrate::to_redis(store, rules)
    } else {
        migrate::to_file(store, rules)
    };
    copied
        .map(|copied| Response::Copied(Box::new(copied)))
        .map_err(|error| (error.to_string(), 1))
}

fn restore(at: &At) -> Result<Response, Failed> {
    let config = with_redis(at)?;
    if let Some(answer) = ask_server(&config, &Request::RestoreStore)? {
        return Ok(answer);
    }
    migrate::restore(&config.store, &config.rules)
        .map(|copied| Response::Copied(Box::new(copied)))
        .map_err(|error| (error.to_string(), 1))
}

fn with_redis(at: &At) -> Result<Config, Failed> {
    let config = config(at)?;
    if config.store.uses_redis() {
        return Ok(config);
    }
    let sentence = "which Redis? Give -c FILE with [store.redis], or the variable KEYGATE_STORE__REDIS__SERVERS";
    Err((sentence.to_owned(), EXIT_USAGE))
}
