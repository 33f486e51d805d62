//! What a node tells the master about itself and hears from it: how far each partition is. It says how fresh the node's
//! view is without trusting a clock; who draws that conclusion is elsewhere.

use std::collections::BTreeMap;

use redis::Value;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::RedisStore;
use super::connect::Link;
use super::feed::{Plan, Tail};
use super::layout::partition_at;
use super::scripts::{Arguments, BUCKET, PROBE};
use crate::config::RedisMode;
use crate::keys::{PARTITIONS, Partition, Revision, Timestamp};
use crate::store::StoreError;

/// A node that has said nothing for so long is no longer listed.
const FORGOTTEN_AFTER_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

/// Of more nodes than any fleet has, and longer reports than any node gives, nothing is read.
const NODES_MAX: usize = 10_000;
const REPORT_BYTES_MAX: usize = 4_096;

/// About how many reports come at a time.
const REPORTS_AT_ONCE: usize = 200;

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Tells it from every other node.
    pub node_id: Uuid,
    /// What it is called in lists.
    pub node_name: String,
    /// The version of keygate it runs.
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// The last change it has applied, of each partition.
    pub positions: [Revision; PARTITIONS],
    /// How old its view is, in milliseconds.
    pub age_ms: u64,
    /// For how long from its report on it accepts keys without hearing of the store, in milliseconds.
    pub lease_ms: u64,
    /// How many keys it holds.
    pub keys: u64,
    /// It has ended in good order, and accepts nothing.
    pub stopped: bool,
}

/// What a node has said, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// What it said.
    #[serde(flatten)]
    pub report: Report,
    /// When the store heard it, by the store's clock.
    pub reported_at: Timestamp,
}

/// What a node hears when it reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What time it is, by the store's clock.
    pub now: Timestamp,
    /// Why the master did not take the report, if it did not.
    pub untaken: Option<String>,
    /// How far the partitions are.
    pub tails: Vec<(Partition, Tail)>,
}

/// A connection of its own to the master. After an error it is of no more use: open another one.
pub struct Prober {
    link: Link,
    partitions: Vec<Partition>,
    keys: Vec<String>,
}

impl Prober {
    /// Connects, and strikes from the list the nodes that have long been gone.
    ///
    /// # Errors
    /// When the master cannot be reached.
    pub fn open(store: &RedisStore, plan: &Plan) -> Result<Self, StoreError> {
        let layout = store.layout();
        let nodes = layout.nodes(plan.first());
        let mut keys = vec![nodes.clone()];
        for partition in &plan.partitions {
            keys.push(layout.meta(*partition));
            keys.push(layout.digest(*partition));
        }
        let mut link = store.servers.open_master(plan.first())?;
        // All of them are read for it. When a whole fleet connects anew, some do it and the others need not.
        if fastrand::u8(..CONNECTIONS_PER_STRIKE) == 0 {
            strike_gone(&mut link, &nodes)?;
        }
        Ok(Self {
            link,
            partitions: plan.partitions.clone(),
            keys,
        })
    }

    /// The server it reports to.
    pub fn server(&self) -> String {
        self.link.server().to_string()
    }

    /// Reports, and hears how far the partitions are.
    ///
    /// # Errors
    /// When the master cannot be reached, does not answer, or is none any more.
    pub fn report(&mut self, report: &Report) -> Result<Probe, StoreError> {
        let json = serde_json::to_vec(report).map_err(|error| StoreError::Damaged {
            what: "report",
            why: error.to_string(),
        })?;
        let mut arguments = Arguments::default();
        arguments.push(report.node_id.to_string());
        arguments.push(json);
        let said: Vec<Value> = self.link.run(&PROBE, &self.keys, &arguments.0)?;
        let mut said = said.into_iter();
        let mut text = || match said.next() {
            Some(Value::BulkString(text)) => String::from_utf8(text).ok(),
            _ => None,
        };
        let now = text().and_then(|now| now.parse().ok());
        let untaken = text().filter(|why| !why.is_empty());
        let now = now.map(Timestamp).ok_or_else(|| StoreError::Damaged {
            what: "answer",
            why: "it says no time".to_owned(),
        })?;
        let tail = |part| match part {
            Value::Array(parts) => Tail::parse(&parts),
            _ => Tail::default(),
        };
        let tails = self
            .partitions
            .iter()
            .copied()
            .zip(said.map(tail))
            .collect();
        Ok(Probe {
            now,
            untaken,
            tails,
        })
    }
}

/// Of so many connections one looks for nodes that are gone for good.
const CONNECTIONS_PER_STRIKE: u8 = 16;

fn strike_gone(link: &mut Link, nodes: &str) -> Result<(), StoreError> {
    let (seconds, _): (i64, i64) = link.query(&redis::cmd("TIME"))?;
    let held = held_reports(|arguments| link.run(&BUCKET, &[nodes.to_owned()], arguments))?;
    let oldest = seconds * 1_000 - FORGOTTEN_AFTER_MS;
    let gone: Vec<_> = held
        .iter()
        .filter(|(_, json)| parse(json).is_none_or(|node| node.reported_at.0 < oldest))
        .map(|(id, _)| id)
        .collect();
    if gone.is_empty() {
        return Ok(());
    }
    let mut command = redis::cmd("HDEL");
    command.arg(nodes);
    for id in gone {
        command.arg(id);
    }
    match link.query::<Value>(&command) {
        // One that takes no writes now is asked how far it is all the same.
        Ok(_) | Err(StoreError::NotNow { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The reports that are held, as they are; of one that is too long only so much that it cannot be read.
fn held_reports(
    mut part: impl FnMut(&[Vec<u8>]) -> Result<(Vec<u8>, Vec<Vec<u8>>), StoreError>,
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StoreError> {
    let mut held = BTreeMap::new();
    let mut cursor = b"0".to_vec();
    loop {
        let mut arguments = Arguments::default();
        arguments.push(&cursor);
        arguments.push_number(REPORTS_AT_ONCE);
        arguments.push_number(REPORT_BYTES_MAX);
        let (next, found) = part(&arguments.0)?;
        let mut found = found.into_iter();
        while let (Some(id), Some(json)) = (found.next(), found.next()) {
            held.insert(id, json);
        }
        if next == b"0" || held.len() >= NODES_MAX {
            return Ok(held);
        }
        cursor = next;
    }
}

fn parse(json: &[u8]) -> Option<NodeReport> {
    if json.len() > REPORT_BYTES_MAX {
        return None;
    }
    serde_json::from_slice(json).ok()
}

impl RedisStore {
    /// What there is to read and to report to: one plan for all partitions, or, in a cluster, one for each. Whom to
    /// connect to is asked anew.
    ///
    /// # Errors
    /// When no server says who the masters are.
    pub fn plans(&self) -> Result<Vec<Plan>, StoreError> {
        self.servers.forget();
        self.servers.master(partition_at(0))?;
        Ok(self.kept_plans())
    }

    /// Whether the prober still speaks to the master, as Sentinel sees it now. A master that was cut off from
    /// the others goes on answering those who are cut off with it. One server has nobody to ask, and a cluster's that is cut
    /// off stops answering by itself.
    ///
    /// # Errors
    /// When nobody says who the masters are.
    pub fn is_with_master(&self, prober: &Prober) -> Result<bool, StoreError> {
        if self.servers.connector().config().mode != RedisMode::Sentinel {
            return Ok(true);
        }
        // The partitions of one prober have one master.
        let partition = prober.partitions.first().copied();
        let partition = partition.unwrap_or_else(|| partition_at(0));
        self.servers.is_master(partition, prober.link.server())
    }

    fn kept_plans(&self) -> Vec<Plan> {
        match self.servers.connector().config().mode {
            RedisMode::Single | RedisMode::Sentinel => vec![Plan {
                partitions: Partition::all().collect(),
            }],
            RedisMode::Cluster => Partition::all()
                .map(|partition| Plan {
                    partitions: vec![partition],
                })
                .collect(),
        }
    }

    /// What every node has said, newest first where it said several things: in a cluster a node reports to each partition.
    ///
    /// # Errors
    /// When a master cannot be reached.
    pub fn nodes(&self) -> Result<Vec<NodeReport>, StoreError> {
        let mut nodes: BTreeMap<Uuid, NodeReport> = BTreeMap::new();
        for plan in self.kept_plans() {
            for node in self.reports(&plan)? {
                match nodes.get_mut(&node.report.node_id) {
                    Some(held) => merge(held, node),
                    None => {
                        nodes.insert(node.report.node_id, node);
                    }
                }
            }
        }
        Ok(nodes.into_values().collect())
    }

    /// What every node has said to where this partition is. It is all that tells of a change there.
    ///
    /// # Errors
    /// When the master cannot be reached.
    pub fn nodes_of(&self, partition: Partition) -> Result<Vec<NodeReport>, StoreError> {
        let plans = self.kept_plans();
        let plan = plans
            .iter()
            .find(|plan| plan.partitions.contains(&partition));
        plan.map_or_else(|| Ok(Vec::new()), |plan| self.reports(plan))
    }

    fn reports(&self, plan: &Plan) -> Result<Vec<NodeReport>, StoreError> {
        let keys = [self.layout().nodes(plan.first())];
        let held = held_reports(|arguments| {
            self.servers
                .on(plan.first(), |link| link.run(&BUCKET, &keys, arguments))
        })?;
        Ok(held.values().filter_map(|json| parse(json)).collect())
    }

    /// What time it is, by the clock of the store.
    ///
    /// # Errors
    /// When the master cannot be reached.
    pub fn now(&self, partition: Partition) -> Result<Timestamp, StoreError> {
        let time = redis::cmd("TIME");
        let (seconds, micros): (i64, i64) = self.servers.on(partition, |link| link.query(&time))?;
        Ok(Timestamp(seconds * 1_000 + micros / 1_000))
    }
}

/// Of two reports of one node the newer one, with the positions that either knows.
fn merge(held: &mut NodeReport, other: NodeReport) {
    let mut positions = held.report.positions;
    for (position, other) in positions.iter_mut().zip(other.report.positions) {
        *position = other.max(*position);
    }
    if other.reported_at > held.reported_at {
        *held = other;
    }
    held.report.positions = positions;
}
