//! What the store and its servers say of themselves, and whether a configuration leads to them. What is dangerous about a
//! server is in `inspect`.

use std::collections::{BTreeSet, HashMap};

use super::RedisStore;
use super::connect::Link;
use super::inspect::inspect;
use super::layout::LAYOUT;
use super::pool::Servers;
use crate::config::{RedisUrl, Rules, StoreConfig};
use crate::keys::Partition;
use crate::store::findings::{PartitionStatus, RootKeyEntry, ServerStatus, Status};
use crate::store::rings::RING;
use crate::store::{FleetStore, StoreError, limits};

impl RedisStore {
    /// What the store says of itself, and its masters of themselves.
    ///
    /// # Errors
    /// When a master cannot be reached.
    pub fn status(&self) -> Result<Status, StoreError> {
        let mut partitions = Vec::new();
        for partition in Partition::all() {
            let tail = self.tail(partition)?;
            partitions.push(PartitionStatus {
                partition: partition.index(),
                revision: tail.last.0,
                records: tail.count,
                restoring: tail.restoring,
            });
        }
        let root_keys = self.root_keys()?.into_iter().map(|check| RootKeyEntry {
            in_use: check == self.root_key_in_use(),
            check,
        });
        Ok(Status {
            home: "redis".to_owned(),
            place: self.servers(),
            identity: self.identity,
            layout: LAYOUT,
            root_keys: root_keys.collect(),
            records: partitions.iter().map(|partition| partition.records).sum(),
            restoring: partitions.iter().any(|partition| partition.restoring),
            partitions,
            servers: server_statuses(&self.servers)?,
        })
    }

    /// The check value of the root key it was opened with.
    pub fn root_key_in_use(&self) -> &str {
        self.ring.strip_prefix(RING).unwrap_or_default()
    }
}

fn server_statuses(servers: &Servers) -> Result<Vec<ServerStatus>, StoreError> {
    let masters = masters(servers)?.into_iter();
    masters
        .map(|server| server_status(&mut servers.connector().open(&server)?))
        .collect()
}

/// The masters, each of them once.
fn masters(servers: &Servers) -> Result<Vec<RedisUrl>, StoreError> {
    let mut seen = BTreeSet::new();
    let mut masters = Vec::new();
    for partition in Partition::all() {
        let master = servers.master(partition)?;
        if seen.insert(master.to_string()) {
            masters.push(master);
        }
    }
    Ok(masters)
}

fn server_status(link: &mut Link) -> Result<ServerStatus, StoreError> {
    let mut info = Info::default();
    for section in ["server", "memory", "persistence", "replication"] {
        let mut command = redis::cmd("INFO");
        command.arg(section);
        info.read(&link.query::<String>(&command)?);
    }
    Ok(info.status(&link.server().to_string()))
}

/// What `INFO` says.
#[derive(Default)]
struct Info(HashMap<String, String>);

impl Info {
    fn read(&mut self, text: &str) {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        self.0
            .extend(lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())));
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.text(name).parse().ok()
    }

    fn status(&self, server: &str) -> ServerStatus {
        let count = |name| {
            self.number(name)
                .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
        };
        // Valkey says which Redis it is like, and what it is.
        let version = match (self.text("valkey_version"), self.text("redis_version")) {
            ("", version) => version.to_owned(),
            (valkey, redis) => format!("{redis} (Valkey {valkey})"),
        };
        ServerStatus {
            server: server.to_owned(),
            version,
            role: self.text("role").to_owned(),
            memory_bytes: self.number("used_memory").unwrap_or_default(),
            memory_bytes_max: self.number("maxmemory").unwrap_or_default(),
            maxmemory_policy: self.text("maxmemory_policy").to_owned(),
            appendonly: self.text("aof_enabled") == "1",
            appendonly_good: self.text("aof_last_write_status") == "ok",
            replicas: count("connected_slaves").unwrap_or_default(),
            replicas_good: count("min_slaves_good_slaves"),
        }
    }
}

/// What is found when the live servers are asked.
#[derive(Debug, Default)]
pub struct Checkup {
    /// What should be changed, or could not be asked; a sentence for each.
    pub warnings: Vec<String>,
    /// Why no server would start with this store.
    pub refused: Option<StoreError>,
}

/// Asks the servers that a configuration names for what endangers a store on them, and whether the store there is the
/// one that the configuration opens. Servers that cannot be reached are no fault of the configuration.
pub fn check_up(config: &StoreConfig, rules: &Rules) -> Checkup {
    let mut checkup = Checkup::default();
    if !config.uses_redis() {
        return checkup;
    }
    match inspect(&config.redis) {
        Ok(warnings) => checkup.warnings = warnings,
        Err(error) => {
            let is_of_the_way = matches!(error, StoreError::Unreachable { .. });
            checkup.note(error);
            // The same would only be said twice.
            if is_of_the_way {
                return checkup;
            }
        }
    }
    match Servers::new(&config.redis).and_then(|servers| server_statuses(&servers)) {
        Ok(servers) => {
            for status in servers.iter().filter(|status| status.replicas == 0) {
                checkup.warnings.push(format!(
                    "{} has no replica: while it is away nothing can be created or revoked",
                    status.server
                ));
            }
        }
        Err(error) => checkup.note(error),
    }
    let store = FleetStore::new(config, limits(rules));
    if let Err(error) = store.and_then(|store| store.reach().map(drop)) {
        checkup.note(error);
    }
    checkup
}

impl Checkup {
    /// What passes, or what the operator does next anyway, is a warning.
    fn note(&mut self, error: StoreError) {
        match error {
            StoreError::Unreachable { .. }
            | StoreError::NotNow { .. }
            | StoreError::Denied { .. }
            | StoreError::Empty { .. }
            | StoreError::RootKeyMissing { .. } => self.warnings.push(error.to_string()),
            error => self.refused = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(info: &str) -> ServerStatus {
        let mut read = Info::default();
        read.read(info);
        read.status("redis://one.example:6379")
    }

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nused_memory:1048576\r\nmaxmemory:0\r\n\
        maxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:ok\r\nconnected_slaves:2\r\n\
        min_slaves_good_slaves:2\r\n";

    #[test]
    fn a_server_is_what_it_says() {
        let good = status(GOOD);
        assert_eq!((good.memory_bytes, good.replicas_good), (1 << 20, Some(2)));
        assert!(good.appendonly && good.appendonly_good);
        let both = "redis_version:7.2.4\r\nvalkey_version:8.0.1";
        let valkey = status(&GOOD.replace("redis_version:7.0.15", both));
        assert_eq!(valkey.version, "7.2.4 (Valkey 8.0.1)");
        let silent = status("");
        assert!(!silent.appendonly && silent.replicas_good.is_none());
    }
}
