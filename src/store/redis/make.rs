//! How an empty Redis becomes a store, and how a store is recognised. Partition 0 decides what it is called and which keys
//! it has; the others follow, so that of two who make it at once one decides, and what was left half made is completed.

use std::collections::HashMap;
use std::path::PathBuf;

use uuid::Uuid;

use super::layout::{LAYOUT, META_IDENTITY, META_LAST, META_LAYOUT, META_RESTORING, partition_at};
use super::pool::Servers;
use super::rings::Rings;
use super::scripts::{Arguments, MAKE};
use crate::keys::Partition;
use crate::keys::keyring::Keyring;
use crate::keys::secret::RootKey;
use crate::store::StoreError;
use crate::store::rings::{RING, ring_of};

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

/// Makes the store if there is none, under this identity and with these keys if they are given. Root keys that are to
/// open it besides ours get their way in only where it is made: one that was retired must not come back.
pub(super) fn make(
    servers: &Servers,
    root_key: &RootKey,
    given: Option<(Uuid, Keyring, Rings)>,
) -> Result<Identity, StoreError> {
    let wanted = given.as_ref().map(|(identity, ..)| *identity);
    // Before the first write: what is not ours in any partition leaves all of them as they are.
    survey(servers, root_key, wanted)?;
    // What is to be brought here is not here yet: nobody may take the emptiness for the store.
    let restoring = wanted.is_some();
    let (identity, keyring, mut rings) = match given {
        Some(given) => given,
        None => (Uuid::new_v4(), Keyring::generate()?, Rings::new()),
    };
    rings.insert(ring_of(root_key), keyring.wrap(root_key)?);
    let rings: Vec<_> = rings.into_iter().collect();
    make_partition(servers, partition_at(0), identity, restoring, &rings)?;
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
        same_store(servers, partition, other.identity, found.identity)?;
    }
    Ok(found)
}

/// Looks whether every partition is empty or of one store, the wanted one, that this root key opens. Changes nothing.
fn survey(servers: &Servers, root_key: &RootKey, wanted: Option<Uuid>) -> Result<(), StoreError> {
    let mut first = wanted;
    for partition in Partition::all() {
        let mut arguments = Arguments::default();
        arguments.push_number(LAYOUT);
        if !run(servers, partition, &arguments)? {
            continue;
        }
        let found = check(servers, &meta(servers, partition)?, root_key)?.identity;
        // It is made from partition 0 on, so one that is there without it is what is left of a store, which may be put back
        // but is not to become another one.
        if partition.index() > 0 && first.is_none() {
            return Err(StoreError::NotOurs {
                server: servers.connector().named(),
                why: format!(
                    "{} is there without {}",
                    servers.layout().meta(partition),
                    servers.layout().meta(partition_at(0))
                ),
            });
        }
        same_store(servers, partition, found, *first.get_or_insert(found))?;
    }
    Ok(())
}

fn same_store(
    servers: &Servers,
    partition: Partition,
    found: Uuid,
    wanted: Uuid,
) -> Result<(), StoreError> {
    if found == wanted {
        return Ok(());
    }
    Err(StoreError::OtherIdentity {
        server: servers.connector().named(),
        found: format!("{found} in partition {partition}"),
        wanted,
    })
}

fn make_partition(
    servers: &Servers,
    partition: Partition,
    identity: Uuid,
    restoring: bool,
    rings: &[(String, Vec<u8>)],
) -> Result<(), StoreError> {
    let mut arguments = Arguments::default();
    arguments.push_number(LAYOUT);
    arguments.push(identity.to_string());
    arguments.push_number(u8::from(restoring));
    for (name, wrapped) in rings {
        arguments.push(name);
        arguments.push(wrapped);
    }
    run(servers, partition, &arguments).map(|_| ())
}

/// Makes a partition or looks at it, as the arguments say. Returns whether something of a store is there.
fn run(servers: &Servers, partition: Partition, arguments: &Arguments) -> Result<bool, StoreError> {
    let keys = servers.layout().fixed(partition);
    let said: Vec<String> = servers.on(partition, |link| link.run(&MAKE, &keys, &arguments.0))?;
    let not_ours = |why: String| StoreError::NotOurs {
        server: servers.connector().named(),
        why,
    };
    match said.first().map(String::as_str) {
        Some("made" | "there") => Ok(true),
        Some("empty") => Ok(false),
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
    let ring = ring_of(root_key);
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
