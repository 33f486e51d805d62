//! How an empty Redis becomes a store, and how a store is recognised. Partition 0 decides what it is called and which keys
//! it has; the others follow, so that of two who make it at once one decides, and what was left half made is completed.

use std::collections::HashMap;
use std::path::PathBuf;

use uuid::Uuid;

use super::layout::{
    LAYOUT, META_IDENTITY, META_LAST, META_LAYOUT, META_RESTORING, RING, partition_at, ring_field,
};
use super::pool::Servers;
use super::scripts::{Arguments, MAKE};
use crate::keys::Partition;
use crate::keys::keyring::Keyring;
use crate::keys::secret::RootKey;
use crate::store::StoreError;

/// What a store is called, and its keys.
pub(super) struct Identity {
    pub(super) identity: Uuid,
    pub(super) keyring: Keyring,
    /// The keys as they are in the store, wrapped under our root key.
    pub(super) wrapped: Vec<u8>,
}

/// Reads what the store is called.
pub(super) fn recognise(servers: &Servers, root_key: &RootKey) -> Result<Identity, StoreError> {
    let meta = meta(servers, partition_at(0))?;
    check(servers, &meta, root_key)
}

/// Makes the store if there is none, under this identity and with these keys if they are given.
pub(super) fn make(
    servers: &Servers,
    root_key: &RootKey,
    given: Option<(Uuid, Keyring)>,
) -> Result<Identity, StoreError> {
    let wanted = given.as_ref().map(|(identity, _)| *identity);
    // What is to be brought here is not here yet: nobody may take the emptiness for the store.
    let restoring = wanted.is_some();
    let (identity, keyring) = match given {
        Some(given) => given,
        None => (Uuid::new_v4(), Keyring::generate()?),
    };
    let ring = [(ring_field(root_key.check_value()), keyring.wrap(root_key)?)];
    make_partition(servers, partition_at(0), identity, restoring, &ring)?;
    let first = meta(servers, partition_at(0))?;
    let found = check(servers, &first, root_key)?;
    if let Some(wanted) = wanted
        && wanted != found.identity
    {
        return Err(StoreError::OtherIdentity {
            server: servers.connector().named(),
            found: found.identity.to_string(),
            wanted,
        });
    }
    // Every root key that opens partition 0 is to open the others.
    let rings: Vec<(String, Vec<u8>)> = first
        .into_iter()
        .filter_map(|(name, value)| Some((String::from_utf8(name).ok()?, value)))
        .filter(|(name, _)| name.starts_with(RING))
        .collect();
    for partition in Partition::all().skip(1) {
        make_partition(servers, partition, found.identity, restoring, &rings)?;
        let meta = meta(servers, partition)?;
        let other = check(servers, &meta, root_key)?;
        if other.identity != found.identity {
            return Err(StoreError::OtherIdentity {
                server: servers.connector().named(),
                found: format!("{} in partition {partition}", other.identity),
                wanted: found.identity,
            });
        }
    }
    Ok(found)
}

fn make_partition(
    servers: &Servers,
    partition: Partition,
    identity: Uuid,
    restoring: bool,
    rings: &[(String, Vec<u8>)],
) -> Result<(), StoreError> {
    let keys = servers.layout().fixed(partition);
    let mut arguments = Arguments::default();
    arguments.push_number(LAYOUT);
    arguments.push(identity.to_string());
    arguments.push_number(u8::from(restoring));
    for (name, wrapped) in rings {
        arguments.push(name);
        arguments.push(wrapped);
    }
    let said: Vec<String> = servers.on(partition, |link| link.run(&MAKE, &keys, &arguments.0))?;
    let not_ours = |why: String| StoreError::NotOurs {
        server: servers.connector().named(),
        why,
    };
    match said.first().map(String::as_str) {
        Some("made" | "there") => Ok(()),
        Some("leftovers") => Err(not_ours(format!(
            "{} is there without {}",
            said.get(1).map_or("", String::as_str),
            servers.layout().meta(partition)
        ))),
        _ => Err(not_ours(format!(
            "{} is no hash",
            servers.layout().meta(partition)
        ))),
    }
}

type Meta = HashMap<Vec<u8>, Vec<u8>>;

/// What a partition says of itself; empty when it says nothing.
fn meta(servers: &Servers, partition: Partition) -> Result<Meta, StoreError> {
    let key = servers.layout().meta(partition);
    let mut command = redis::cmd("HGETALL");
    command.arg(&key);
    match servers.on(partition, |link| link.query(&command)) {
        Err(StoreError::Damaged { .. }) => Err(StoreError::NotOurs {
            server: servers.connector().named(),
            why: format!("{key} is no hash"),
        }),
        outcome => outcome,
    }
}

fn check(servers: &Servers, meta: &Meta, root_key: &RootKey) -> Result<Identity, StoreError> {
    let server = servers.connector().named();
    if meta.is_empty() {
        return Err(StoreError::Empty { server });
    }
    let text = |name: &str| {
        let value = meta.get(name.as_bytes())?;
        std::str::from_utf8(value).ok()
    };
    let layout = text(META_LAYOUT).and_then(|layout| layout.parse::<u32>().ok());
    match layout {
        Some(LAYOUT) => {}
        Some(_) => {
            return Err(StoreError::OtherLayout {
                path: PathBuf::from(server),
                found: layout,
                wanted: LAYOUT,
            });
        }
        None => {
            let why = "it says nothing of its layout".to_owned();
            return Err(StoreError::NotOurs { server, why });
        }
    }
    let identity = text(META_IDENTITY).and_then(|text| Uuid::try_parse(text).ok());
    let known = text(META_LAST).is_some() && text(META_RESTORING).is_some();
    let Some(identity) = identity.filter(|_| known) else {
        let why = "it does not say what it is called".to_owned();
        return Err(StoreError::NotOurs { server, why });
    };
    let ring = ring_field(root_key.check_value());
    let wrapped = meta.get(ring.as_bytes());
    let opened = wrapped.and_then(|wrapped| Keyring::unwrap(root_key, wrapped).ok());
    match (opened, wrapped) {
        (Some(keyring), Some(wrapped)) => Ok(Identity {
            identity,
            keyring,
            wrapped: wrapped.clone(),
        }),
        _ => Err(StoreError::OtherRootKey {
            path: PathBuf::from(server),
        }),
    }
}
