//! Where keys live: typed operations on orgs, users and keys, their history, and why an operation fails. It knows
//! nothing of requests, sockets or pages.

mod asked;
mod copy;
mod embedded;
mod error;
pub mod findings;
pub mod fleet;
mod home;
pub mod ledger;
pub mod log;
pub mod migrate;
mod operations;
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
mod writing;

use std::sync::Arc;

use crate::config::{Rules, StoreConfig};
use crate::keys::rules::Limits;
use crate::keys::{Partition, Record, Revision};

pub use asked::{
    Done, Founded, Issued, KeyChange, NewKey, NewKeyOf, NewUser, Rotation, UserChange,
};
pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use fleet::FleetStore;
pub use home::Store;
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
