//! A real Redis Cluster of three masters, with a replica each where asked: its birth, failovers and slots that move. What
//! one server can suffer is in `servers`.

use std::time::Duration;

use crate::link::Link;
use crate::ports::Port;
use crate::servers::{Options, RedisServer};
use crate::{eventually, within};

const MASTERS: usize = 3;
/// All hash slots of a cluster.
const SLOTS: u16 = 16_384;
/// A failover takes two node timeouts and a vote.
const FAILOVER_MAX: Duration = Duration::from_secs(30);

/// How a cluster is to be. The default is three masters without replicas.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// How its servers are to be; none of them with TLS.
    pub options: Options,
    /// A replica for each master.
    pub replicas: bool,
    /// Each server tells clients the address of a link to it instead of its own ([`Cluster::links`]).
    pub links: bool,
}

/// The servers. Dropping it kills them.
pub struct Cluster {
    /// First the three that were masters at first, then a replica for each, if wanted.
    pub servers: Vec<RedisServer>,
    /// The links to [`Cluster::servers`], if wanted.
    pub links: Vec<Link>,
    /// The ports by which they speak with each other.
    buses: Vec<Port>,
}

impl Cluster {
    /// Three masters, each with a third of the slots.
    pub fn start() -> Self {
        Self::with(&Shape::default())
    }

    /// The same, so shaped.
    pub fn with(shape: &Shape) -> Self {
        assert!(!shape.options.tls, "a cluster of this harness has no TLS");
        let count = if shape.replicas { 2 } else { 1 } * MASTERS;
        let mut started = Self {
            servers: Vec::new(),
            links: Vec::new(),
            buses: Vec::new(),
        };
        for _ in 0..count {
            let (port, bus, told) = (Port::free(), Port::free(), Port::free());
            let mut options = shape.options.clone();
            options.lines.extend([
                "cluster-enabled yes".to_owned(),
                format!("cluster-port {}", bus.number()),
                "cluster-node-timeout 1000".to_owned(),
                "cluster-announce-ip 127.0.0.1".to_owned(),
                // A replica is to stay with its master, whatever the others lose.
                "cluster-allow-replica-migration no".to_owned(),
            ]);
            if shape.links {
                options
                    .lines
                    .push(format!("cluster-announce-port {}", told.number()));
                started.links.push(Link::on(told, port.address()));
            }
            started.servers.push(RedisServer::on(port, options));
            started.buses.push(bus);
        }
        started.join(shape.replicas);
        started
    }

    fn join(&self, replicas: bool) {
        for (at, server) in self.servers.iter().enumerate() {
            // Different ones from the beginning, or the masters have to agree on them first.
            server.ask::<()>(&format!("CLUSTER SET-CONFIG-EPOCH {}", at + 1));
            if at < MASTERS {
                let share = |n: usize| usize::from(SLOTS) * n / MASTERS;
                let (first, last) = (share(at), share(at + 1) - 1);
                server.ask::<()>(&format!("CLUSTER ADDSLOTSRANGE {first} {last}"));
            }
        }
        for (server, bus) in self.servers.iter().zip(&self.buses).skip(1) {
            let (port, bus) = (server.port(), bus.number());
            self.servers[0].ask::<()>(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}"));
        }
        let all = self.servers.len().to_string();
        let state = |server: &RedisServer, name: &str| cluster_info(server, name);
        eventually("the servers to know each other", || {
            self.servers
                .iter()
                .all(|each| state(each, "cluster_known_nodes") == all)
        });
        if replicas {
            for at in 0..MASTERS {
                let master = self.id(at);
                let replica = &self.servers[MASTERS + at];
                // It may not have heard yet what the other one is.
                eventually("a master to be known as one", || {
                    let command = format!("CLUSTER REPLICATE {master}");
                    replica.try_ask::<()>(&command).is_ok()
                });
                replica.wait_replica();
            }
        }
        self.wait_whole();
    }

    /// Waits until every server that answers says that all slots are served.
    pub fn wait_whole(&self) {
        eventually("the cluster to be whole", || {
            self.servers
                .iter()
                .filter(|each| each.is_running())
                .all(|each| cluster_info(each, "cluster_state") == "ok")
        });
    }

    /// `redis://127.0.0.1:PORT` of each server, or of the link to it.
    pub fn urls(&self) -> Vec<String> {
        if self.links.is_empty() {
            self.servers.iter().map(RedisServer::url).collect()
        } else {
            self.links.iter().map(Link::url).collect()
        }
    }

    /// The cluster's name of a server.
    fn id(&self, server: usize) -> String {
        self.servers[server].ask("CLUSTER MYID")
    }

    /// The hash slot of a key.
    pub fn slot_of(&self, key: &str) -> u16 {
        let server = self.servers.iter().find(|each| each.is_running());
        server.unwrap().ask(&format!("CLUSTER KEYSLOT {key}"))
    }

    /// The server that is this slot's master, as a living server sees it.
    pub fn owner_of(&self, slot: u16) -> usize {
        self.find_owner(slot).expect("a living master of the slot")
    }

    fn find_owner(&self, slot: u16) -> Option<usize> {
        // A server always says of itself what it serves, and only as long as it believes to be the master.
        let serves = |server: &RedisServer| -> bool {
            let Ok(nodes) = server.try_ask::<String>("CLUSTER NODES") else {
                return false;
            };
            let line = nodes.lines().find(|line| line.contains("myself"));
            line.is_some_and(|line| {
                line.contains("master")
                    && line.split(' ').skip(8).any(|range| {
                        let (first, last) = range.split_once('-').unwrap_or((range, range));
                        let bounds = first.parse().ok().zip(last.parse().ok());
                        bounds
                            .is_some_and(|(first, last): (u16, u16)| (first..=last).contains(&slot))
                    })
            })
        };
        self.servers
            .iter()
            .position(|each| each.is_running() && serves(each))
    }

    /// Kills the slot's master and waits until its replica has taken over. Returns the killed one and the new one.
    pub fn fail_over(&mut self, slot: u16) -> (usize, usize) {
        let old = self.owner_of(slot);
        self.servers[old].kill();
        let mut new = None;
        within(FAILOVER_MAX, "the replica to take over", || {
            new = self.find_owner(slot);
            new.is_some()
        });
        self.wait_whole();
        (old, new.unwrap())
    }

    /// The replica takes over while its master lives, in order. Returns the old master and the new one.
    pub fn hand_over(&self, slot: u16) -> (usize, usize) {
        let old = self.owner_of(slot);
        let master = self.id(old);
        let is_its_replica = |server: &RedisServer| {
            let nodes: String = server.ask("CLUSTER NODES");
            let myself = nodes.lines().find(|line| line.contains("myself")).unwrap();
            myself.split(' ').nth(3) == Some(&master)
        };
        let new = self.servers.iter().position(is_its_replica).unwrap();
        self.servers[new].ask::<()>("CLUSTER FAILOVER");
        within(FAILOVER_MAX, "the replica to take over", || {
            self.find_owner(slot) == Some(new)
        });
        (old, new)
    }

    /// Moves a slot and what it holds to another master, the way `redis-cli --cluster reshard` does.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let from = self.owner_of(slot);
        let (source, target) = (&self.servers[from], &self.servers[to]);
        let (source_id, target_id) = (self.id(from), self.id(to));
        target.ask::<()>(&format!("CLUSTER SETSLOT {slot} IMPORTING {source_id}"));
        source.ask::<()>(&format!("CLUSTER SETSLOT {slot} MIGRATING {target_id}"));
        loop {
            let keys: Vec<Vec<u8>> = source.ask(&format!("CLUSTER GETKEYSINSLOT {slot} 100"));
            if keys.is_empty() {
                break;
            }
            let mut migrate = redis::cmd("MIGRATE");
            let address = ("127.0.0.1", target.port());
            migrate.arg(address.0).arg(address.1).arg("").arg(0);
            migrate.arg(10_000);
            if let Some(password) = target.password() {
                migrate.arg("AUTH").arg(password);
            }
            migrate.arg("KEYS").arg(keys);
            migrate.query::<()>(&mut source.connection()).unwrap();
        }
        for server in [target, source] {
            server.ask::<()>(&format!("CLUSTER SETSLOT {slot} NODE {target_id}"));
        }
        eventually("the slot to have moved", || {
            self.find_owner(slot) == Some(to)
        });
    }
}

/// One line of `CLUSTER INFO`; empty while the server does not answer.
fn cluster_info(server: &RedisServer, name: &str) -> String {
    let text: String = server.try_ask("CLUSTER INFO").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}
