//! What the gateways of one test share: the upstream behind them, the root key, where their keys are, and the text of
//! their configuration. One gateway is in `node`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use keygate::demo::Intake;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::link::Link;
use crate::node::{Node, Place};
use crate::sentinels::{MASTER_NAME, Sentinels};
use crate::servers::RedisServer;

/// Where the keys are.
#[derive(Clone, Debug)]
pub enum Home {
    /// Each gateway has a store of its own.
    Embedded,
    /// In Redis.
    Redis {
        /// `store.redis.servers`: `redis://127.0.0.1:PORT`, of servers, of sentinels or of links to them.
        servers: Vec<String>,
        /// Further lines of `[store.redis]`.
        lines: String,
    },
}

/// A test's gateways-to-be.
pub struct Fleet {
    /// What is behind every gateway.
    pub intake: Intake,
    home: Home,
    sections: String,
    root_key: String,
    folder: tempfile::TempDir,
    /// Of the intake. Dropped last.
    _runtime: tokio::runtime::Runtime,
}

/// An org, its first user and their first keys.
#[derive(Clone, Debug)]
pub struct Org {
    /// Its id.
    pub id: String,
    /// The user's id.
    pub user: String,
    /// The org's API key.
    pub api_key: Key,
    /// The user's application key.
    pub application_key: Key,
}

/// A key just made.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its id.
    pub id: String,
    /// What clients send.
    pub secret: String,
}

impl Home {
    /// This server.
    pub fn server(server: &RedisServer) -> Self {
        Self::redis(vec![server.url()], &server_lines(server))
    }

    /// This server, by way of a link.
    pub fn link(link: &Link, server: &RedisServer) -> Self {
        let own = server.address().to_string();
        let url = server.url().replace(&own, &link.address().to_string());
        Self::redis(vec![url], &server_lines(server))
    }

    /// Whichever server these sentinels call the master.
    pub fn sentinels(sentinels: &Sentinels) -> Self {
        let mut lines = format!("mode = \"sentinel\"\nsentinel_master = {MASTER_NAME:?}\n");
        if let Some(password) = sentinels.password() {
            let _ = writeln!(lines, "sentinel_password = {password:?}");
        }
        lines += &server_lines(&sentinels.servers[0]);
        Self::redis(sentinels.urls(), &lines)
    }

    /// This cluster.
    pub fn cluster(cluster: &Cluster) -> Self {
        let lines = "mode = \"cluster\"\n".to_owned() + &server_lines(&cluster.servers[0]);
        Self::redis(cluster.urls(), &lines)
    }

    fn redis(servers: Vec<String>, lines: &str) -> Self {
        let lines = lines.to_owned();
        Self::Redis { servers, lines }
    }

    /// The same, with more lines of `[store.redis]`: `prefix = "other"`.
    pub fn and(self, more: &str) -> Self {
        match self {
            Self::Embedded => Self::Embedded,
            Self::Redis { servers, lines } => Self::Redis {
                servers,
                lines: lines + more + "\n",
            },
        }
    }
}

/// What a server asks of whoever connects.
fn server_lines(server: &RedisServer) -> String {
    let mut lines = String::new();
    if let Some(password) = server.password() {
        let _ = writeln!(lines, "password = {password:?}");
    }
    if server.url().starts_with("rediss:") {
        let _ = writeln!(lines, "ca_file = {:?}", server.ca_file());
    }
    lines
}

impl Key {
    /// The key that a command has shown.
    pub fn shown(json: &Value) -> Self {
        Self {
            id: json["id"].as_str().expect("an id").to_owned(),
            secret: json["secret"].as_str().expect("a secret").to_owned(),
        }
    }
}

/// A configuration file.
pub fn config(place: &Place, home: &Home, upstream: &str, sections: &str) -> String {
    let mut text = format!(
        "[listen]\naddress = \"{}\"\nworkers = 1\n[admin]\naddress = \"{}\"\n[control]\nlistener = \"off\"\n[store]\ndata_dir = {:?}\n",
        place.address, place.admin, place.data_dir
    );
    if let Home::Redis { servers, lines } = home {
        let name = &place.name;
        let _ = writeln!(
            text,
            "[store.redis]\nservers = {servers:?}\nnode_name = {name:?}\n{lines}"
        );
    }
    let _ = writeln!(
        text,
        "[record]\nsink = \"file\"\npath = {:?}\n[upstreams.default]\nurl = {upstream:?}\n{sections}",
        place.records
    );
    text
}

impl Fleet {
    /// Gateways that each have a store of their own.
    pub fn embedded() -> Self {
        Self::with(Home::Embedded, "")
    }

    /// Gateways on this one Redis server.
    pub fn on(server: &RedisServer) -> Self {
        Self::with(Home::server(server), "")
    }

    /// Gateways with these further sections in their configuration.
    pub fn with(home: Home, sections: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let intake = runtime.block_on(Intake::start_recording(any)).unwrap();
        Self {
            intake,
            home,
            sections: sections.to_owned(),
            root_key: (0..64).map(|_| fastrand::digit(16)).collect(),
            folder: tempfile::tempdir().unwrap(),
            _runtime: runtime,
        }
    }

    /// A gateway's folder, root key and configuration; nothing is started.
    pub fn node(&self, name: &str) -> Node {
        self.node_with(name, &self.home)
    }

    /// The same, with a home that differs from the others', as by a link of its own.
    pub fn node_with(&self, name: &str, home: &Home) -> Node {
        let folder = self.folder.path().join(name);
        let node = Node::new(name, folder, &self.root_key);
        let upstream = format!("http://{}", self.intake.address());
        let text = config(node.place(), home, &upstream, &self.sections);
        std::fs::write(node.config_file(), text).unwrap();
        node
    }

    /// A gateway, started and ready. The store must have been made ([`Node::found`]), unless it is embedded.
    pub fn start(&self, name: &str) -> Node {
        let mut node = self.node(name);
        node.start();
        node.wait_ready();
        node
    }
}
