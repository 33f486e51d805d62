//! The real binary as a child process, with a store, a record file and everything it says. It knows no fault.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;

/// A running `keygate serve`.
pub struct Program {
    child: Child,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where the operator connects.
    pub admin: SocketAddr,
    /// The secrets of its one org.
    pub secrets: Secrets,
    folder: tempfile::TempDir,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

/// The secrets of one org.
#[derive(Clone)]
pub struct Secrets {
    /// An API key.
    pub api_key: String,
    /// An application key.
    pub application_key: String,
    /// A client token.
    pub client_token: String,
    /// An API key that has been revoked.
    pub revoked: String,
}

fn keygate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command.args(arguments);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYGATE_")) {
        command.env_remove(name);
    }
    command
}

fn json(arguments: &[&str]) -> Value {
    let output = keygate(arguments)
        .args(["--output", "json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn found(data_dir: &str) -> Secrets {
    let at = |value: &Value| value["secret"].as_str().unwrap().to_owned();
    let founded = json(&["init", "--data-dir", data_dir]);
    let org = founded["org"]["id"].as_str().unwrap();
    let token = json(&[
        "tokens",
        "create",
        "--data-dir",
        data_dir,
        "--org",
        org,
        "--name",
        "web",
    ]);
    let extra = json(&[
        "keys",
        "create",
        "--data-dir",
        data_dir,
        "--org",
        org,
        "--name",
        "old",
    ]);
    json(&[
        "keys",
        "revoke",
        extra["id"].as_str().unwrap(),
        "--data-dir",
        data_dir,
    ]);
    Secrets {
        api_key: at(&founded["api_key"]),
        application_key: at(&founded["application_key"]),
        client_token: at(&token),
        revoked: at(&extra),
    }
}

fn collect(mut from: impl std::io::Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&all);
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut some) {
            kept.lock().unwrap().extend_from_slice(&some[..read]);
        }
    });
    all
}

/// A process that serves, and what it says.
struct Running {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Running {
    async fn start(config: &std::path::Path) -> Self {
        let mut child = keygate(&["serve", "-c", config.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let (address, admin) = loop {
            let said = String::from_utf8(stderr.lock().unwrap().clone()).unwrap();
            if let Some((_, rest)) = said.split_once("serving on ")
                && let Some((line, _)) = rest.split_once('\n')
            {
                let (address, admin) = line.split_once(", operator's listener on ").unwrap();
                break (address.parse().unwrap(), admin.parse().unwrap());
            }
            assert!(child.try_wait().unwrap().is_none(), "ended: {said}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Self {
            child,
            address,
            admin,
            stdout,
            stderr,
        }
    }
}

impl Program {
    /// Starts before this upstream, with more lines for the configuration's `[upstreams.default]` and what follows it.
    pub async fn start(upstream: &str, more: &str) -> Self {
        Self::start_with(upstream, "", more).await
    }

    /// The same, with more lines for its `[store]`.
    pub async fn start_with(upstream: &str, store: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let data = data.to_str().unwrap();
        let secrets = found(data);
        let records = folder.path().join("records.jsonl");
        let config = folder.path().join("keygate.toml");
        std::fs::write(
            &config,
            format!(
                "[listen]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n[control]\nlistener = \"off\"\n[store]\ndata_dir = {data:?}\n{store}\n\
                 [record]\nsink = \"file\"\npath = {records:?}\n[upstreams.default]\nurl = {upstream:?}\n{more}\n"
            ),
        )
        .unwrap();
        let running = Running::start(&config).await;
        Self {
            child: running.child,
            address: running.address,
            admin: running.admin,
            secrets,
            folder,
            stdout: running.stdout,
            stderr: running.stderr,
        }
    }

    /// Starts it again after its end, on the same folder.
    pub async fn again(&mut self) {
        let running = Running::start(&self.folder.path().join("keygate.toml")).await;
        self.child = running.child;
        self.address = running.address;
        self.admin = running.admin;
        self.stdout = running.stdout;
        self.stderr = running.stderr;
    }

    /// What a management command on its store answers.
    pub fn command(&self, arguments: &[&str]) -> Value {
        let data = self.data_dir();
        let at = ["--data-dir", data.to_str().unwrap()];
        json(&[arguments, &at].concat())
    }

    /// Where its records are.
    pub fn records_file(&self) -> PathBuf {
        self.folder.path().join("records.jsonl")
    }

    /// Its records.
    pub fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.records_file()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The folder of its store.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What it has written to standard output and standard error.
    pub fn said(&self) -> (Vec<u8>, Vec<u8>) {
        (
            self.stdout.lock().unwrap().clone(),
            self.stderr.lock().unwrap().clone(),
        )
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {within:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// An answer of the operator's listener, if it still listens.
    pub async fn operator(&self, path: &str) -> Option<(u16, String)> {
        let stream = tokio::net::TcpStream::connect(self.admin).await.ok()?;
        drop(stream);
        let request = format!("GET {path} HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n");
        let mut client = Client::sending(self.admin, request).await;
        let answer = client.perhaps().await?;
        Some((answer.status, String::from_utf8(answer.body).unwrap()))
    }

    /// A line of `/proc/PID/status` in KiB.
    pub fn memory(&self, name: &str) -> u64 {
        let mut status = String::new();
        std::fs::File::open(format!("/proc/{}/status", self.child.id()))
            .unwrap()
            .read_to_string(&mut status)
            .unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap()
    }

    /// A whole request with the API key.
    pub fn post(&self, path: &str, body: &str) -> String {
        let (key, length) = (&self.secrets.api_key, body.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: gate.test\r\nDD-API-KEY: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
