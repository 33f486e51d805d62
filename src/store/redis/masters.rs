//! Which server is the master of which partition: the one that is configured, the one that Sentinel names, or those of a
//! cluster. It remembers nothing.

use redis::Value;

use super::connect::{Connector, Link};
use super::layout::Layout;
use crate::config::{RedisMode, RedisUrl};
use crate::keys::{PARTITIONS, Partition};
use crate::store::StoreError;

/// Who is the master of what.
#[derive(Clone, Debug)]
pub(super) struct Masters {
    of: [Option<RedisUrl>; PARTITIONS],
}

impl Masters {
    fn all(server: RedisUrl) -> Self {
        Self {
            of: std::array::from_fn(|_| Some(server.clone())),
        }
    }

    pub(super) fn of(&self, partition: Partition) -> Option<&RedisUrl> {
        self.of.get(partition.index())?.as_ref()
    }
}

/// Asks the configured servers, one after the other, until one knows.
pub(super) fn find(connector: &Connector, layout: &Layout) -> Result<Masters, StoreError> {
    let mut failure = None;
    for server in &connector.config().servers {
        let found = match connector.config().mode {
            RedisMode::Single => configured(connector, server),
            RedisMode::Sentinel => named_by_sentinel(connector, server),
            RedisMode::Cluster => of_cluster(connector, layout, server),
        };
        match found {
            Ok(masters) => return Ok(masters),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| StoreError::Unreachable {
        server: "redis://".to_owned(),
        why: "no server is configured".to_owned(),
    }))
}

fn configured(connector: &Connector, server: &RedisUrl) -> Result<Masters, StoreError> {
    check_role(&mut connector.open(server)?)?;
    Ok(Masters::all(server.clone()))
}

fn named_by_sentinel(connector: &Connector, sentinel: &RedisUrl) -> Result<Masters, StoreError> {
    let config = connector.config();
    let name = config.sentinel_master.as_deref().unwrap_or_default();
    let mut link = connector.open_as(sentinel, None, config.sentinel_password.as_ref())?;
    let mut ask = redis::cmd("SENTINEL");
    ask.arg("get-master-addr-by-name").arg(name);
    let found: Option<(String, u16)> = link.query(&ask)?;
    let (host, port) = found.ok_or_else(|| StoreError::NotNow {
        server: sentinel.to_string(),
        why: format!("Sentinel knows no master named {name:?}"),
    })?;
    // Sentinel says where the server is and not how it is spoken to. Both are spoken to in the same way.
    let tls = sentinel.tls;
    let master = RedisUrl { tls, host, port };
    // Sentinel may not know yet that its master was demoted. The server itself does.
    check_role(&mut connector.open(&master)?)?;
    Ok(Masters::all(master))
}

fn of_cluster(
    connector: &Connector,
    layout: &Layout,
    server: &RedisUrl,
) -> Result<Masters, StoreError> {
    let mut ask = redis::cmd("CLUSTER");
    ask.arg("SLOTS");
    let ranges: Vec<Vec<Value>> = connector.open(server)?.query(&ask)?;
    let mut masters = Masters {
        of: [const { None }; PARTITIONS],
    };
    for range in &ranges {
        let Some((first, last, master)) = parse_range(range, server) else {
            continue;
        };
        for (partition, of) in Partition::all().zip(&mut masters.of) {
            if (first..=last).contains(&i64::from(layout.hash_slot(partition))) {
                *of = Some(master.clone());
            }
        }
    }
    Ok(masters)
}

/// First slot, last slot and master of one range of `CLUSTER SLOTS`. A server that does not say where it is is the one
/// that was asked.
fn parse_range(range: &[Value], asked: &RedisUrl) -> Option<(i64, i64, RedisUrl)> {
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(master),
        ..,
    ] = range
    else {
        return None;
    };
    let [host, Value::Int(port), ..] = master.as_slice() else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) if host.is_empty() || host == b"?" => asked.host.clone(),
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::Nil => asked.host.clone(),
        _ => return None,
    };
    let master = RedisUrl {
        tls: asked.tls,
        host,
        port: u16::try_from(*port).ok()?,
    };
    Some((*first, *last, master))
}

/// Refuses a replica: it would answer, but with what it was told so far, and it takes no writes.
fn check_role(link: &mut Link) -> Result<(), StoreError> {
    let role = link.query::<Vec<Value>>(&redis::cmd("ROLE"));
    match role {
        // The user may not ask this. Whether it may write is told when it writes.
        Err(StoreError::Denied { why, .. }) if why.contains("NOPERM") => Ok(()),
        Err(error) => Err(error),
        Ok(role) => match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(()),
            _ => Err(StoreError::NotNow {
                server: link.server().to_string(),
                why: "it is a replica and no master".to_owned(),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(host: Value) -> Vec<Value> {
        let master = vec![host, Value::Int(7001), Value::BulkString(b"id".to_vec())];
        vec![Value::Int(0), Value::Int(5460), Value::Array(master)]
    }

    #[test]
    fn a_server_of_a_cluster_that_does_not_say_where_it_is_is_the_one_asked() {
        let asked: RedisUrl = "rediss://one.example:7000".parse().unwrap();
        let host = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        for (said, understood) in [
            (host("10.0.0.2"), "rediss://10.0.0.2:7001"),
            (host(""), "rediss://one.example:7001"),
            (host("?"), "rediss://one.example:7001"),
            (Value::Nil, "rediss://one.example:7001"),
        ] {
            let (_, _, master) = parse_range(&range(said), &asked).unwrap();
            assert_eq!(master.to_string(), understood);
        }
        assert!(parse_range(&range(Value::Okay), &asked).is_none());
        assert!(parse_range(&[], &asked).is_none());
    }
}
