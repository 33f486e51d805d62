//! One real redis-server on a port of its own, its data in a folder that goes away, and all that can befall it. Several
//! that belong together are in `sentinels` and `cluster`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use redis::{Connection, FromRedisValue, TlsCertificates};
use tempfile::TempDir;

use crate::ports::Port;
use crate::process::{self, Process};
use crate::{PATIENCE, eventually};

/// The longest a command of the tests may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How a server is to be. The default keeps everything in memory, lets everybody in and speaks without TLS.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Write every change to the append-only file before answering, so that a kill loses nothing.
    pub appendonly: bool,
    /// The default user's password (`requirepass`); also what it gives as a replica of a server with the same.
    pub password: Option<String>,
    /// Further users as ACL rules: `"keygate on >secret ~keygate* &* +@all"`.
    pub users: Vec<String>,
    /// TLS only, with a certificate for 127.0.0.1 from an authority of its own ([`RedisServer::ca_file`]).
    pub tls: bool,
    /// Further lines of its configuration file.
    pub lines: Vec<String>,
}

/// A running redis-server, or one that is stopped for now. Dropping it kills it.
pub struct RedisServer {
    process: Option<Process>,
    port: Port,
    folder: TempDir,
    options: Options,
}

/// What a server had on disk at some time.
pub struct Dump(TempDir);

impl RedisServer {
    /// An empty one in memory.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// An empty one.
    pub fn with(options: Options) -> Self {
        Self::on(Port::free(), options)
    }

    /// An empty one on this port.
    pub fn on(port: Port, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        if options.tls {
            make_certificates(folder.path());
        }
        let mut server = Self {
            process: None,
            port,
            folder,
            options,
        };
        fs::write(server.config_file(), server.config()).unwrap();
        server.start_again();
        server
    }

    fn config(&self) -> String {
        let (folder, port) = (self.folder.path().display(), self.port.number());
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("dir {folder}/data"),
            "daemonize no".to_owned(),
            "save \"\"".to_owned(),
            // Else a replica waits five seconds for others before it gets anything.
            "repl-diskless-sync-delay 0".to_owned(),
        ];
        if self.options.tls {
            lines.extend([
                "port 0".to_owned(),
                format!("tls-port {port}"),
                format!("tls-cert-file {folder}/server.pem"),
                format!("tls-key-file {folder}/server.key"),
                format!("tls-ca-cert-file {folder}/ca.pem"),
                "tls-auth-clients no".to_owned(),
                "tls-replication yes".to_owned(),
            ]);
        } else {
            lines.push(format!("port {port}"));
        }
        if self.options.appendonly {
            lines.extend(["appendonly yes".to_owned(), "appendfsync always".to_owned()]);
        }
        if let Some(password) = &self.options.password {
            lines.push(format!("requirepass {password}"));
            lines.push(format!("masterauth {password}"));
        }
        lines.extend(self.options.users.iter().map(|user| format!("user {user}")));
        lines.extend(self.options.lines.iter().cloned());
        lines.join("\n") + "\n"
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("redis.conf")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The port of [`RedisServer::address`].
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// `redis://127.0.0.1:PORT` or `rediss://127.0.0.1:PORT`, without credentials.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        format!("{scheme}://{}", self.address())
    }

    /// The certificate, in PEM, of the authority that signed the server's. There with [`Options::tls`].
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A new connection as the default user.
    pub fn connection(&self) -> Connection {
        self.try_connection().unwrap()
    }

    fn try_connection(&self) -> redis::RedisResult<Connection> {
        self.connection_as("default", self.options.password.as_deref())
    }

    /// A new connection as this user.
    pub fn connection_as(
        &self,
        user: &str,
        password: Option<&str>,
    ) -> redis::RedisResult<Connection> {
        let login = password.map_or_else(String::new, |password| format!("{user}:{password}@"));
        let url = self.url().replacen("://", &format!("://{login}"), 1);
        let client = if self.options.tls {
            let authority = TlsCertificates {
                client_tls: None,
                root_cert: Some(fs::read(self.ca_file()).unwrap()),
            };
            redis::Client::build_with_tls(url, authority)?
        } else {
            redis::Client::open(url)?
        };
        let connection = client.get_connection_with_timeout(ANSWER_MAX)?;
        connection.set_read_timeout(Some(ANSWER_MAX))?;
        connection.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(connection)
    }

    /// The answer to one command, on a connection of its own: `server.ask::<String>("CONFIG SET maxmemory 1mb")`. The
    /// words are cut at spaces; [`RedisServer::connection`] is for those that have some.
    pub fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        self.try_ask(command)
            .unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// The same, where an error may be the answer.
    pub fn try_ask<T: FromRedisValue>(&self, command: &str) -> redis::RedisResult<T> {
        ask(&mut self.try_connection()?, command)
    }

    /// The default user's password.
    pub fn password(&self) -> Option<&str> {
        self.options.password.as_deref()
    }

    /// What `redis-cli` prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let port = self.port().to_string();
        let mut command = Command::new(process::find("redis-cli"));
        command.args(["-h", "127.0.0.1", "-p", &port]);
        if let Some(password) = &self.options.password {
            command.env("REDISCLI_AUTH", password);
        }
        if self.options.tls {
            command.arg("--tls").arg("--cacert").arg(self.ca_file());
        }
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// One line of `INFO`: `server.info("role")`.
    pub fn info(&self, name: &str) -> Option<String> {
        info(&mut self.try_connection().ok()?, name)
    }

    /// Whether it has been started and not been killed since.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// What it has logged since it was last started.
    pub fn log(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, |process| process.stdout() + &process.stderr())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// `SIGTERM`: it ends in order. It saves what it has only as its configuration says.
    pub fn terminate(&mut self) {
        let mut process = self.process.take().unwrap();
        process.signal("TERM");
        process.ended(PATIENCE);
    }

    /// Freezes it (`SIGSTOP`): whoever is connected gets no answer and no reset; whoever connects hangs.
    pub fn pause(&mut self) {
        self.process.as_mut().unwrap().pause();
    }

    /// Lets it go on (`SIGCONT`).
    pub fn resume(&mut self) {
        self.process.as_mut().unwrap().resume();
    }

    /// Kills it if it runs, and starts it again with what it has on disk: all of it with [`Options::appendonly`], what was
    /// last saved otherwise, or nothing.
    pub fn restart(&mut self) {
        self.process = None;
        self.start_again();
    }

    /// The same, with nothing on disk.
    pub fn restart_empty(&mut self) {
        self.process = None;
        fs::remove_dir_all(self.data()).unwrap();
        fs::create_dir(self.data()).unwrap();
        self.start_again();
    }

    /// The same, with an older state on disk.
    pub fn restart_with(&mut self, dump: &Dump) {
        self.process = None;
        fs::remove_dir_all(self.data()).unwrap();
        copy(dump.0.path(), &self.data());
        self.start_again();
    }

    /// What it holds now, for [`RedisServer::restart_with`].
    pub fn dump(&mut self) -> Dump {
        let folder = tempfile::tempdir().unwrap();
        if self.options.appendonly {
            self.pause();
            copy(&self.data(), folder.path());
            self.resume();
        } else {
            self.ask::<()>("SAVE");
            copy(&self.data(), folder.path());
        }
        Dump(folder)
    }

    /// Makes it a replica of the other; returns once it has the other's data.
    pub fn replicate(&self, of: &Self) {
        self.ask::<()>(&format!("REPLICAOF 127.0.0.1 {}", of.port()));
        self.wait_replica();
    }

    /// Waits until it is a replica in step with its master.
    pub fn wait_replica(&self) {
        eventually("the replica to be in step", || {
            self.info("master_link_status").as_deref() == Some("up")
        });
    }

    fn start_again(&mut self) {
        let mut command = process::command(process::find("redis-server"));
        command.arg(self.config_file());
        let mut process = Process::start(command);
        eventually("Redis to answer", || {
            assert!(process.end().is_none(), "ended: {}", process.stdout());
            // While it loads it answers everything with an error.
            self.try_ask::<String>("PING").is_ok()
        });
        self.process = Some(process);
    }
}

/// The answer to one command, its words cut at spaces.
pub fn ask<T: FromRedisValue>(connection: &mut Connection, command: &str) -> redis::RedisResult<T> {
    let mut words = command.split(' ');
    let mut packed = redis::cmd(words.next().unwrap());
    for word in words {
        packed.arg(word);
    }
    packed.query(connection)
}

/// One line of `INFO`.
pub fn info(connection: &mut Connection, name: &str) -> Option<String> {
    let text: String = ask(connection, "INFO everything").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map(ToOwned::to_owned)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// An authority and a certificate of it for 127.0.0.1, as files.
fn make_certificates(folder: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate for its own issuer's when both have the same name, which they have by default.
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "authority of the fleet tests");
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    fs::write(folder.join("ca.pem"), authority).unwrap();
    fs::write(folder.join("server.pem"), leaf.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
}
