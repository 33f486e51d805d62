//! Child processes that never outlive the test process, what they say, and the signals that hurt them. It knows no program.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};

use crate::{eventually, within};

/// What a process has said so far.
type Said = Arc<Mutex<Vec<u8>>>;
type Order = (Command, Sender<std::io::Result<Child>>);

/// A running process. Dropping it kills it.
pub struct Process {
    child: Child,
    /// Its end, once it was seen.
    end: Option<ExitStatus>,
    stdout: Said,
    stderr: Said,
}

/// The command of a program that the system kills with us, however we end: else a killed test run would leave servers.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    match in_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// Where tests/run has unpacked this program, or else PATH has it.
pub fn find(name: &str) -> PathBuf {
    let unpacked = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/.env/bin")
        .join(name);
    let found = unpacked.is_file().then_some(unpacked);
    found.or_else(|| in_path(name)).unwrap_or_else(|| {
        panic!("there is no {name} here: run `tests/run rust` once, which brings it")
    })
}

fn in_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Starts it from a thread that lasts as long as we do: the system kills a child with the *thread* that started it.
fn spawn(command: Command) -> std::io::Result<Child> {
    static STARTER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, taken) = channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in taken {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (answer, child) = channel();
    starter.lock().unwrap().send((command, answer)).unwrap();
    child.recv().unwrap()
}

fn collect(mut from: impl Read + Send + 'static) -> Said {
    let all = Said::default();
    let kept = Arc::clone(&all);
    std::thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut some) {
            kept.lock().unwrap().extend_from_slice(&some[..read]);
        }
    });
    all
}

fn text(said: &Said) -> String {
    String::from_utf8_lossy(&said.lock().unwrap()).into_owned()
}

impl Process {
    /// Starts it, and collects what it says.
    pub fn start(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let what = format!("{command:?}");
        let mut child = spawn(command).unwrap_or_else(|error| panic!("{what}: {error}"));
        Self {
            stdout: collect(child.stdout.take().unwrap()),
            stderr: collect(child.stderr.take().unwrap()),
            child,
            end: None,
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output.
    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has written to standard error.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Sends a signal, by name and without `SIG`, unless it has ended.
    pub fn signal(&mut self, name: &str) {
        if self.end().is_none() {
            let pid = self.child.id().to_string();
            let sent = Command::new("kill").args(["-s", name, &pid]).status();
            assert!(sent.unwrap().success(), "no {name} for {pid}");
        }
    }

    /// Freezes it: its sockets stay open and the system still accepts for it. Returns once it has stopped.
    pub fn pause(&mut self) {
        self.signal("STOP");
        eventually("the process to be stopped", || self.state() == 'T');
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&mut self) {
        self.signal("CONT");
    }

    /// What the system says it does: 'R', 'S', 'T', ...
    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.chars().next().unwrap()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.end.is_none() {
            let _ = self.child.kill();
            self.end = Some(self.child.wait().unwrap());
        }
    }

    /// How it ended, if it has.
    pub fn end(&mut self) -> Option<ExitStatus> {
        if self.end.is_none() {
            self.end = self.child.try_wait().unwrap();
        }
        self.end
    }

    /// Waits for its end.
    pub fn ended(&mut self, limit: std::time::Duration) -> ExitStatus {
        within(limit, "the process to end", || self.end().is_some());
        self.end.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
