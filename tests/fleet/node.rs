//! One gateway of a fleet: the real binary, its folder, the commands that an operator gives it, and the signals that hurt
//! it. What the gateways share is in `fleet`.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;

use crate::client::{Answer, Client, get, series};
use crate::fleet::{Key, Org};
use crate::ports::Port;
use crate::process::{self, Process};
use crate::{PATIENCE, within};

/// The longest a single question may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A gateway. Dropping it kills it.
pub struct Node {
    place: Place,
    folder: PathBuf,
    process: Option<Process>,
    _ports: [Port; 2],
}

/// Where a gateway is.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name in the fleet.
    pub name: String,
    /// Where clients connect; the same after a restart.
    pub address: SocketAddr,
    /// Where the operator connects; the same after a restart.
    pub admin: SocketAddr,
    /// Its `store.data_dir`.
    pub data_dir: PathBuf,
    /// Its records.
    pub records: PathBuf,
}

fn keygate(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KEYGATE_")) {
        command.env_remove(name);
    }
    command
}

impl Node {
    /// A folder with the root key in it. Its configuration is the fleet's to write.
    pub fn new(name: &str, folder: PathBuf, root_key: &str) -> Self {
        let (listen, admin) = (Port::free(), Port::free());
        let data_dir = folder.join("data");
        fs::create_dir_all(&data_dir).unwrap();
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(data_dir.join("root.key"))
            .and_then(|mut file| writeln!(file, "{root_key}"))
            .unwrap();
        Self {
            place: Place {
                name: name.to_owned(),
                address: listen.address(),
                admin: admin.address(),
                records: folder.join("records.jsonl"),
                data_dir,
            },
            folder,
            process: None,
            _ports: [listen, admin],
        }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.place.address
    }

    /// Its configuration file, which a test may rewrite while it is stopped.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("keygate.toml")
    }

    /// Starts it, and waits for nothing.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let mut command = keygate(process::command(env!("CARGO_BIN_EXE_keygate")));
        command.arg("serve").arg("-c").arg(self.config_file());
        self.process = Some(Process::start(command));
    }

    /// Waits until it says that it is ready; how long that took.
    pub fn wait_ready(&mut self) -> Duration {
        self.ready_within(PATIENCE)
    }

    /// The same, with a limit that is part of the promise.
    pub fn ready_within(&mut self, limit: Duration) -> Duration {
        let what = format!("{} to be ready", self.place.name);
        within(limit, &what, || {
            let end = self.process.as_mut().expect("it was started").end();
            assert!(end.is_none(), "it ended: {}", self.stderr());
            self.is_ready()
        })
    }

    /// Whether `/readyz` says so now.
    pub fn is_ready(&self) -> bool {
        self.operator("/readyz")
            .is_some_and(|answer| answer.status == 200)
    }

    /// Whether `/livez` says so now.
    pub fn is_live(&self) -> bool {
        self.operator("/livez")
            .is_some_and(|answer| answer.status == 200)
    }

    /// An answer of the operator's listener, if there is one.
    pub fn operator(&self, path: &str) -> Option<Answer> {
        let mut client = Client::connect(self.place.admin, ANSWER_MAX).ok()?;
        client.ask(get(path)).ok()
    }

    /// What `/metrics` says under this name, labels and all: `keygate_view_age_seconds`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = String::from_utf8(self.operator("/metrics")?.body).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line?.trim().parse().ok()
    }

    /// The status of the answer to a request with this API key on a connection of its own; `None` without an answer.
    pub fn request(&self, key: &str) -> Option<u16> {
        Some(self.ask(series(key))?.status)
    }

    /// The answer to the bytes of a request.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Option<Answer> {
        let mut client = Client::connect(self.place.address, ANSWER_MAX).ok()?;
        client.ask(request).ok()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// `kill -9` and starts it again; waits for nothing.
    pub fn restart(&mut self) {
        self.process = None;
        self.start();
    }

    /// Freezes it (`SIGSTOP`).
    pub fn pause(&mut self) {
        self.process.as_mut().unwrap().pause();
    }

    /// Lets it go on (`SIGCONT`).
    pub fn resume(&mut self) {
        self.process.as_mut().unwrap().resume();
    }

    /// Sends a signal, by name and without `SIG`.
    pub fn signal(&mut self, name: &str) {
        self.process.as_mut().unwrap().signal(name);
    }

    /// `SIGTERM`, and waits for its end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        let status = self.ended(PATIENCE);
        self.process = None;
        status
    }

    /// The same, but what it said is kept.
    pub fn signal_and_end(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended(PATIENCE)
    }

    /// Waits for its end, as when it was started and refuses to serve.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        self.process.as_mut().unwrap().ended(limit)
    }

    /// How it ended, if it has.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().unwrap().end()
    }

    /// What it has written to standard error since it was last started.
    pub fn stderr(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Process::stderr)
    }

    /// Its records so far.
    pub fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.place.records).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What came of a command with this gateway's configuration: `try_cli(&["keys", "revoke", id])`.
    pub fn try_cli(&self, arguments: &[&str]) -> Output {
        keygate(Command::new(env!("CARGO_BIN_EXE_keygate")))
            .args(arguments)
            .args([Path::new("-c"), &self.config_file()])
            .output()
            .unwrap()
    }

    /// What a command that must succeed shows as JSON; null if it shows nothing.
    pub fn cli(&self, arguments: &[&str]) -> Value {
        let output = self.try_cli(&[arguments, &["--output", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        if output.stdout.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{arguments:?}: {error} in {output:?}"))
    }

    /// Makes the store with its first org (`keygate init`).
    pub fn found(&self) -> Org {
        let founded = self.cli(&["init"]);
        Org {
            id: founded["org"]["id"].as_str().unwrap().to_owned(),
            user: founded["user"]["id"].as_str().unwrap().to_owned(),
            api_key: Key::shown(&founded["api_key"]),
            application_key: Key::shown(&founded["application_key"]),
        }
    }

    /// Makes an API key (`keygate keys create`).
    pub fn create_key(&self, org: &Org, name: &str) -> Key {
        Key::shown(&self.cli(&["keys", "create", "--org", &org.id, "--name", name]))
    }

    /// Revokes an API key (`keygate keys revoke`).
    pub fn revoke_key(&self, key: &Key) -> Value {
        self.cli(&["keys", "revoke", &key.id])
    }
}

impl Drop for Node {
    #[expect(clippy::print_stderr, reason = "the output of a test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() && self.process.is_some() {
            let metrics = self.operator("/metrics").map(|answer| answer.body);
            let metrics = String::from_utf8(metrics.unwrap_or_default()).unwrap_or_default();
            let told = metrics.lines().filter(|line| {
                ["keygate_sync", "keygate_view", "keygate_keys", "keygate_re"]
                    .iter()
                    .any(|name| line.starts_with(name))
            });
            eprintln!(
                "--- {} said:\n{}{}",
                self.place.name,
                self.stderr(),
                told.fold(String::new(), |all, line| all + line + "\n")
            );
        }
    }
}
