//! One master, two replicas and three sentinels that watch them, and failovers, orderly and not. What one server can
//! suffer is in `servers`.

use std::net::SocketAddr;
use std::time::Duration;

use redis::Connection;

use crate::ports::Port;
use crate::process::{self, Process};
use crate::servers::{Options, RedisServer, ask};
use crate::{eventually, within};

/// What the sentinels call the master.
pub const MASTER_NAME: &str = "keys";
/// How long they give a server that does not answer.
const DOWN_AFTER: Duration = Duration::from_secs(1);
/// A failover takes a second until the master counts as down, and a vote that may have to be repeated.
const FAILOVER_MAX: Duration = Duration::from_secs(30);
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The six processes. Dropping it kills them.
pub struct Sentinels {
    /// The three servers, each of which may be the master.
    pub servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
    password: Option<String>,
}

struct Sentinel {
    process: Process,
    port: Port,
    _folder: tempfile::TempDir,
}

impl Sentinels {
    /// The first server is the master.
    pub fn start() -> Self {
        Self::with(&Options::default(), None)
    }

    /// The same; the servers are to be so, and the sentinels ask for this password.
    pub fn with(options: &Options, sentinel_password: Option<&str>) -> Self {
        let servers: Vec<_> = (0..3).map(|_| RedisServer::with(options.clone())).collect();
        for replica in &servers[1..] {
            replica.replicate(&servers[0]);
        }
        let mut started = Self {
            servers,
            sentinels: Vec::new(),
            password: sentinel_password.map(ToOwned::to_owned),
        };
        for _ in 0..3 {
            let sentinel = started.sentinel(options.password.as_deref());
            started.sentinels.push(sentinel);
        }
        eventually("the sentinels to know each other and all servers", || {
            (0..3).all(|each| {
                let count = |what: &str| -> usize {
                    let command = format!("SENTINEL {what} {MASTER_NAME}");
                    let answer = ask::<Vec<redis::Value>>(&mut started.connection(each), &command);
                    answer.map_or(0, |them| them.len())
                };
                count("SENTINELS") == 2 && count("REPLICAS") == 2
            })
        });
        started
    }

    fn sentinel(&self, auth: Option<&str>) -> Sentinel {
        let (port, folder) = (Port::free(), tempfile::tempdir().unwrap());
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {}", port.number()),
            format!("dir {}", folder.path().display()),
            format!(
                "sentinel monitor {MASTER_NAME} 127.0.0.1 {} 2",
                self.servers[0].port()
            ),
            format!(
                "sentinel down-after-milliseconds {MASTER_NAME} {}",
                DOWN_AFTER.as_millis()
            ),
            // A vote that failed is repeated after twice this.
            format!("sentinel failover-timeout {MASTER_NAME} 3000"),
        ];
        if let Some(auth) = auth {
            lines.push(format!("sentinel auth-pass {MASTER_NAME} {auth}"));
        }
        if let Some(password) = &self.password {
            lines.push(format!("requirepass {password}"));
        }
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, lines.join("\n") + "\n").unwrap();
        let mut command = process::command(process::find("redis-server"));
        command.arg(&file).arg("--sentinel");
        let sentinel = Sentinel {
            process: Process::start(command),
            port,
            _folder: folder,
        };
        eventually("the sentinel to answer", || {
            self.try_connection(&sentinel)
                .is_ok_and(|mut it| ask::<String>(&mut it, "PING").is_ok())
        });
        sentinel
    }

    fn try_connection(&self, to: &Sentinel) -> redis::RedisResult<Connection> {
        let login = self.password.as_ref().map(|it| format!(":{it}@"));
        let login = login.unwrap_or_default();
        let client = redis::Client::open(format!("redis://{login}{}", to.port.address()))?;
        let connection = client.get_connection_with_timeout(ANSWER_MAX)?;
        connection.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(connection)
    }

    /// A new connection to a sentinel.
    pub fn connection(&self, sentinel: usize) -> Connection {
        self.try_connection(&self.sentinels[sentinel]).unwrap()
    }

    /// What the sentinels want of clients.
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// `redis://127.0.0.1:PORT` of each sentinel.
    pub fn urls(&self) -> Vec<String> {
        let url = |each: &Sentinel| format!("redis://{}", each.port.address());
        self.sentinels.iter().map(url).collect()
    }

    /// `kill -9` for one sentinel.
    pub fn kill_sentinel(&mut self, sentinel: usize) {
        self.sentinels[sentinel].process.kill();
    }

    /// Which of the servers most of the living sentinels call the master.
    pub fn current_master(&self) -> usize {
        let mut votes = [0; 3];
        for sentinel in &self.sentinels {
            let Ok(mut connection) = self.try_connection(sentinel) else {
                continue;
            };
            let command = format!("SENTINEL GET-MASTER-ADDR-BY-NAME {MASTER_NAME}");
            let (host, port): (String, u16) = ask(&mut connection, &command).unwrap();
            let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
            let named = |server: &RedisServer| server.address() == address;
            votes[self.servers.iter().position(named).unwrap()] += 1;
        }
        (0..3).max_by_key(|&each| votes[each]).unwrap()
    }

    /// The master.
    pub fn master(&self) -> &RedisServer {
        &self.servers[self.current_master()]
    }

    /// Kills the master when the replicas have all it has, and waits until another one is it. Returns the killed one and
    /// the new one.
    pub fn fail_over(&mut self) -> (usize, usize) {
        let old = self.current_master();
        self.wait_replicated(old);
        self.servers[old].kill();
        (old, self.wait_promoted(old))
    }

    /// The same, but the master takes these last writes to its grave: the replicas get none of them.
    pub fn fail_over_losing<R>(&mut self, last_writes: impl FnOnce(&RedisServer) -> R) -> R {
        let old = self.current_master();
        self.wait_replicated(old);
        let replicas = |all: &[RedisServer], commands: &[&str]| {
            for (_, replica) in all.iter().enumerate().filter(|(at, _)| *at != old) {
                for command in commands {
                    replica.ask::<()>(command);
                }
            }
        };
        // Replicas that log in as nobody do not come back; frozen ones would read on what the system has for them.
        replicas(
            &self.servers,
            &["CONFIG SET masteruser nobody", "CONFIG SET masterauth no"],
        );
        let master = &self.servers[old];
        master.ask::<u32>("CLIENT KILL TYPE replica");
        eventually("the replicas to be cut off", || {
            master.info("connected_slaves").as_deref() == Some("0")
        });
        let outcome = last_writes(master);
        assert_eq!(master.info("connected_slaves").as_deref(), Some("0"));
        self.servers[old].kill();
        let mut connections: Vec<_> = (0..3)
            .filter(|each| *each != old)
            .map(|each| self.servers[each].connection())
            .collect();
        let auth = self.servers[old].password().unwrap_or_default().to_owned();
        for connection in &mut connections {
            for (knob, value) in [("masteruser", ""), ("masterauth", auth.as_str())] {
                let mut command = redis::cmd("CONFIG");
                command.arg("SET").arg(knob).arg(value);
                command.query::<()>(connection).unwrap();
            }
        }
        self.wait_promoted(old);
        outcome
    }

    /// Starts a killed server again with what it has on disk, and waits until the sentinels have made it a replica.
    pub fn bring_back(&mut self, server: usize) {
        self.servers[server].restart();
        let replica = &self.servers[server];
        within(FAILOVER_MAX, "the sentinels to make it a replica", || {
            replica.info("role").as_deref() == Some("slave")
        });
        replica.wait_replica();
    }

    fn wait_replicated(&self, master: usize) {
        let master = &self.servers[master];
        let replicas: usize = master.info("connected_slaves").unwrap().parse().unwrap();
        assert!(replicas > 0, "nobody could take over");
        let mut connection = master.connection();
        // WAIT counts from the connection's own last write, so it needs one; this one is gone at once.
        ask::<()>(&mut connection, "SET {harness}:last 1 PX 1").unwrap();
        let reached: usize = ask(&mut connection, &format!("WAIT {replicas} 5000")).unwrap();
        assert_eq!(reached, replicas);
    }

    fn wait_promoted(&self, old: usize) -> usize {
        let mut new = old;
        within(FAILOVER_MAX, "another master", || {
            new = self.current_master();
            new != old && self.servers[new].info("role").as_deref() == Some("master")
        });
        new
    }
}
