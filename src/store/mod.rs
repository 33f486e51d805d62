//! Where keys live: typed operations on orgs, users and keys, their history, and why an operation fails. It knows
//! nothing of requests, sockets or pages.

mod copy;
mod copy_log;
mod embedded;
pub mod findings;
pub mod fleet;
mod home;
pub mod ledger;
pub mod log;
pub mod migrate;
mod operations;
mod orders;
pub mod papers;
pub mod redis;
mod rings;
mod root_key;
pub mod seal;
mod sealed_secret;
pub mod sync;
mod tables;
mod upkeep;
pub mod usage;
mod use_form;
mod writing;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Rules, StoreConfig};
use crate::keys::rules::{Limits, Refusal};
use crate::keys::{Partition, Record, Revision};

pub use embedded::EmbeddedStore;
pub use fleet::FleetStore;
pub use home::Store;
pub use orders::{
    Done, Founded, Issued, KeyChange, NewKey, NewKeyOf, NewUser, Rotation, UserChange,
};
pub use root_key::root_key;

/// Opens the store that a configuration names. With `makes`, it is made where there is none, and its root key with it; a
/// file is made in any case. A fleet's store is reached when it is first asked for something, unless it is to be made.
///
/// # Errors
/// As [`root_key`] and [`EmbeddedStore::open`]; as [`fleet::FleetStore`].
pub fn open(config: &StoreConfig, rules: &Rules, makes: bool) -> Result<Store, StoreError> {
    let limits = limits(rules);
    if config.uses_redis() {
        let store = if makes {
            FleetStore::make(config, limits)?
        } else {
            FleetStore::new(config, limits)?
        };
        return Ok(Store::Redis(Arc::new(store)));
    }
    let database = config.database();
    let given = config.root_key.as_ref().map(|secret| secret.expose());
    let root_key = root_key(given, &config.root_key_file(), &database)?;
    EmbeddedStore::open(&database, &root_key, limits).map(Store::Embedded)
}

const fn limits(rules: &Rules) -> Limits {
    Limits {
        api_keys_per_org_min: rules.api_keys_per_org_min,
        api_keys_per_org_max: rules.api_keys_per_org_max,
        application_keys_per_user_max: rules.application_keys_per_user_max,
        client_tokens_per_org_max: rules.client_tokens_per_org_max,
    }
}

/// What an operation needs of its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing: revoking and disabling go on, whatever is missing.
    Nothing,
    /// All its records: what is made must not meet, or miss, what is still being put back.
    Whole,
}

/// The partition whose log has what is of no org.
fn operators_partition() -> Partition {
    let first = Partition::all().next();
    first.unwrap_or_else(|| unreachable!("there is a first partition"))
}

/// The answer to "what changed since".
#[derive(Debug)]
pub enum Changes {
    /// The next changes, oldest first, none left out; empty when there are none.
    Next(Vec<Record>),
    /// Some of them are no longer kept: a snapshot is needed.
    Trimmed,
}

/// Everything, as of one revision.
#[derive(Debug)]
pub struct Snapshot {
    /// Every org, user and key, tombstones included.
    pub records: Vec<Record>,
    /// The last change in it.
    pub revision: Revision,
}

/// Why an operation of the store failed. Its text is for the operator.
#[derive(Debug)]
pub enum StoreError {
    /// A rule says no. Nothing was changed.
    Refused(Refusal),
    /// Another process has the store open.
    Locked {
        /// The store's file.
        path: PathBuf,
    },
    /// The store was made with another root key.
    OtherRootKey {
        /// The store's file.
        path: PathBuf,
    },
    /// The store was written by a version with another layout.
    OtherLayout {
        /// The store's file.
        path: PathBuf,
        /// Its layout, `None` when the file says nothing of one.
        found: Option<u32>,
        /// The layout of this version.
        wanted: u32,
    },
    /// There is a store and no root key for it.
    RootKeyMissing {
        /// Where the root key should be.
        path: PathBuf,
        /// The store's file.
        store: PathBuf,
    },
    /// Others may read the root key's file.
    RootKeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The root key is not 64 hex digits.
    RootKeyMalformed {
        /// The file, `None` when configuration gave it.
        path: Option<PathBuf>,
    },
    /// Records of another store are still to be copied into it.
    HalfCopied {
        /// The store's file.
        path: PathBuf,
    },
    /// There is no store where one was to be copied from.
    NothingToCopy {
        /// Its file.
        path: PathBuf,
    },
    /// There is a store where one was to be copied to.
    NotEmpty {
        /// The file, or the server.
        place: String,
    },
    /// A copy that is not what was copied.
    CopyDiffers {
        /// The file, or the server.
        place: String,
        /// What is different.
        why: String,
    },
    /// A root key that cannot be retired.
    RootKeyStays {
        /// Why not.
        why: String,
    },
    /// Redis is empty, and this node has a replica of a store.
    Emptied {
        /// The servers.
        server: String,
        /// The replica.
        replica: PathBuf,
    },
    /// A record that cannot be read.
    Damaged {
        /// What it should be.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A file or folder that cannot be used.
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A server that cannot be connected to, or does not answer.
    Unreachable {
        /// Its address.
        server: String,
        /// What happened.
        why: String,
    },
    /// A server that answers that it cannot do this now. Nothing was changed.
    NotNow {
        /// Its address.
        server: String,
        /// What it says.
        why: String,
    },
    /// A server that does not let us.
    Denied {
        /// Its address.
        server: String,
        /// What it says.
        why: String,
    },
    /// A change was sent and nothing was heard of it: it may be in force or not.
    Unresolved {
        /// The server's address.
        server: String,
        /// What happened.
        why: String,
    },
    /// The server holds no store yet.
    Empty {
        /// Its address.
        server: String,
    },
    /// The server holds another store than before.
    OtherIdentity {
        /// Its address.
        server: String,
        /// What it calls itself.
        found: String,
        /// What it called itself before.
        wanted: uuid::Uuid,
    },
    /// The server holds something that is no store of ours. Nothing was changed.
    NotOurs {
        /// Its address.
        server: String,
        /// What was found.
        why: String,
    },
    /// The database engine failed.
    Engine(Box<redb::Error>),
    /// The system's random generator failed.
    Random(getrandom::Error),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Locked { path } => write!(
                f,
                "another process has the store {} open: stop it first, or reach it through its control socket",
                path.display()
            ),
            Self::OtherRootKey { path } => write!(
                f,
                "the store {} was made with another root key: give the root key it was made with",
                path.display()
            ),
            Self::OtherLayout {
                path,
                found: Some(found),
                wanted,
            } => write!(
                f,
                "the store {} has layout {found} and this version reads layout {wanted}: use the version that wrote it",
                path.display()
            ),
            Self::OtherLayout {
                path,
                found: None,
                wanted,
            } => write!(
                f,
                "{} is a database but not a keygate store of layout {wanted}: name another data folder",
                path.display()
            ),
            Self::RootKeyMissing { path, store } => write!(
                f,
                "there is no root key {1} for the store {0}: put the one it was made with there, or set store.root_key",
                store.display(),
                path.display()
            ),
            Self::RootKeyExposed { path, mode } => write!(
                f,
                "the root key {} has mode {mode:03o} and others may read it: run chmod 600 on it",
                path.display()
            ),
            Self::RootKeyMalformed { path: Some(path) } => {
                write!(f, "the root key in {} is not 64 hex digits", path.display())
            }
            Self::RootKeyMalformed { path: None } => {
                f.write_str("the root key given by store.root_key is not 64 hex digits")
            }
            Self::HalfCopied { path } => write!(
                f,
                "the store {} is half copied: run the same `keygate store migrate` again, it goes on where it was",
                path.display()
            ),
            Self::NothingToCopy { path } => {
                write!(f, "there is no {}: nothing to copy", path.display())
            }
            Self::NotEmpty { place } => write!(
                f,
                "there is a store in {place} already, and nothing of it is changed: move it away, or name another place"
            ),
            Self::CopyDiffers { place, why } => {
                write!(f, "{place} is not what was to be copied there: {why}")
            }
            Self::RootKeyStays { why } => f.write_str(why),
            Self::Damaged { what, why } => {
                write!(f, "the store holds a {what} that cannot be read: {why}")
            }
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Unreachable { server, why } => {
                write!(f, "the store at {server} cannot be reached: {why}")
            }
            Self::NotNow { server, why } => {
                write!(f, "the store at {server} cannot do this now: {why}")
            }
            Self::Denied { server, why } => write!(
                f,
                "the store at {server} does not let keygate in: {why}; see store.redis.username and store.redis.password"
            ),
            Self::Unresolved { server, why } => write!(
                f,
                "the change was sent to the store at {server} and nothing was heard of it: {why}. It may be in force or not: \
                 look before you try again"
            ),
            Self::Empty { server } => {
                write!(
                    f,
                    "the Redis store at {server} is empty: run keygate init to make one; if there was one, do not, but run \
                     keygate store restore on a node that has a replica of it"
                )
            }
            Self::Emptied { server, replica } => {
                write!(
                    f,
                    "the Redis store at {server} is empty, and {} is a replica of what was there: run keygate store restore; \
                     to begin anew, move the replica away first",
                    replica.display()
                )
            }
            Self::OtherIdentity {
                server,
                found,
                wanted,
            } => write!(
                f,
                "the store at {server} is another one: it calls itself {found}, and the one used so far is {wanted}"
            ),
            Self::NotOurs { server, why } => write!(
                f,
                "what {server} holds under the names of keygate is no store of this version: {why}; use another \
                 store.redis.prefix, or another Redis"
            ),
            Self::Engine(error) => write!(f, "the store failed: {error}"),
            Self::Random(error) => write!(f, "the system's random generator failed: {error}"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<getrandom::Error> for StoreError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

macro_rules! engine_errors {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Engine(Box::new(error.into()))
            }
        })*
    };
}

engine_errors!(
    DatabaseError,
    TransactionError,
    TableError,
    StorageError,
    CommitError,
    SetDurabilityError
);
