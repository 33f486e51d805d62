//! What an operator should know of the servers before a fleet depends on them: how they are set up, where that can lose
//! changes or let others in. It asks and changes nothing, and the store itself works whatever is said here.

use std::collections::{BTreeMap, BTreeSet};

use super::pool::Servers;
use crate::config::{Redis, RedisMode};
use crate::keys::Partition;
use crate::store::StoreError;

/// The oldest version that the tests are run with.
const TRIED_FROM: (u32, u32) = (7, 0);

/// One sentence for each thing that should be otherwise, each naming its server.
///
/// # Errors
/// When the servers cannot be reached, or do not let us in.
pub fn inspect(config: &Redis) -> Result<Vec<String>, StoreError> {
    let servers = Servers::new(config)?;
    let mut asked = BTreeSet::new();
    let mut warnings = Vec::new();
    for partition in Partition::all() {
        let server = servers.master(partition)?.to_string();
        if !asked.insert(server.clone()) {
            continue;
        }
        let info: String = servers.on(partition, |link| link.query(&redis::cmd("INFO")))?;
        let found = judge(config, &Info::parse(&info));
        warnings.extend(found.into_iter().map(|said| format!("{server} {said}")));
    }
    Ok(warnings)
}

/// What a server says of itself.
struct Info<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Info<'a> {
    fn parse(text: &'a str) -> Self {
        Self(
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &'a str {
        self.0.get(name).copied().unwrap_or_default().trim()
    }
}

fn judge(config: &Redis, info: &Info<'_>) -> Vec<String> {
    let mut said = Vec::new();
    // Valkey says a version of Redis too, for those who go by it.
    let (name, version) = match info.get("valkey_version") {
        "" => ("Redis", info.get("redis_version")),
        version => ("Valkey", version),
    };
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if number < TRIED_FROM {
        let (major, minor) = TRIED_FROM;
        said.push(format!(
            "is {name} {version}: keygate is tried with {major}.{minor} and later"
        ));
    }
    let policy = info.get("maxmemory_policy");
    if !policy.is_empty() && policy != "noeviction" {
        said.push(format!(
            "drops keys when its memory is full (maxmemory-policy {policy}): set it to noeviction, or records and \
             revocations vanish"
        ));
    }
    if info.get("aof_enabled") == "0" {
        said.push(
            "does not log its changes to disk (appendonly no): after a crash the last of them are gone".to_owned(),
        );
    }
    let has_replicas = info
        .get("connected_slaves")
        .parse()
        .is_ok_and(|count: u32| count > 0);
    if has_replicas && info.get("min_slaves_good_slaves").is_empty() {
        said.push(
            "takes changes also while no replica hears of them (min-replicas-to-write 0): cut off from its replicas it \
             goes on, and what it took is lost when one of them takes over"
                .to_owned(),
        );
    }
    let is_cluster = info.get("cluster_enabled") == "1";
    if is_cluster && config.mode != RedisMode::Cluster {
        said.push("is part of a cluster: set store.redis.mode to \"cluster\"".to_owned());
    }
    if config.username.is_none() {
        said.push(match config.password {
            None => "lets everybody in who can reach it: give it a password, and keygate an ACL user of its own".to_owned(),
            Some(_) => "is used as the user \"default\", who may do everything: give keygate an ACL user of its own".to_owned(),
        });
    }
    if config
        .servers
        .iter()
        .any(|server| !server.tls && !is_loopback(&server.host))
    {
        said.push("is spoken to without TLS (redis://): whoever is between reads along".to_owned());
    }
    said
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
