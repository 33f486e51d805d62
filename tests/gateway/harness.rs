//! The real program in process on port 0, with real sockets on both sides, and a client that sends exactly the bytes it
//! is given. It checks nothing.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use keygate::app::{App, LineWriter, Records};
use keygate::config::{Config, Switch};
use keygate::control::{KeyView, Request, Response};
use keygate::demo::Intake;
use keygate::keys::{KeyKind, Labels, Role};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long anything is waited for before the test fails.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// A running gateway, and what is behind it.
pub struct Gateway {
    /// The program.
    pub app: App,
    intake: Option<Intake>,
    records: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Gateway {
    /// One worker before a recording intake.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same, configured.
    pub async fn start_with(configure: impl FnOnce(&mut Config)) -> Self {
        let intake = Intake::start_recording(loopback()).await.unwrap();
        let url = format!("http://{}", intake.address());
        let mut gateway = Self::before(&url, configure).await;
        gateway.intake = Some(intake);
        gateway
    }

    /// One worker before an upstream of the test's own.
    pub async fn before(url: &str, configure: impl FnOnce(&mut Config)) -> Self {
        let folder = folder_in_memory();
        let url = url.parse().unwrap();
        let mut config = Config::with_default_upstream(url, folder.path().to_path_buf());
        config.listen.address = loopback();
        config.listen.workers = 1;
        config.admin.address = loopback();
        // Without it, requests of the key management API go to the upstream, too.
        config.control.listener = Switch::Off;
        configure(&mut config);

        let records = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&records);
        let keep = Records::Print(Box::new(move |record, names| {
            let mut line = Vec::new();
            LineWriter::default().write(record, names, &mut line);
            let line = String::from_utf8(line).unwrap();
            kept.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
            Ok(())
        }));
        let app = App::start(&config, keep).await.unwrap();
        Self {
            app,
            intake: None,
            records,
            folder,
        }
    }

    /// The recording intake behind it.
    pub fn intake(&self) -> &Intake {
        self.intake.as_ref().unwrap()
    }

    /// The folder of the store.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Sends the bytes of one request on a connection of its own, and reads the answer.
    pub async fn send(&self, request: impl AsRef<[u8]>) -> Reply {
        Client::connect(self.app.address).await.send(request).await
    }

    /// The lines written so far, each as it was written.
    pub fn lines(&self) -> Vec<String> {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The records written so far.
    pub fn records(&self) -> Vec<Value> {
        let lines = self.lines();
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The first record of which the condition holds, once it is written.
    pub async fn wait_record(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let records = self.records();
            if let Some(found) = records.iter().find(|record| wanted(record)) {
                return found.clone();
            }
            assert!(
                Instant::now() < deadline,
                "no such record among {records:#?}"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The record of the request with this answer.
    pub async fn record_of(&self, reply: &Reply) -> Value {
        let id = reply.header("x-request-id").unwrap().to_owned();
        self.wait_record(|record| record["request.id"] == id.as_str())
            .await
    }

    /// The records, once there are so many.
    pub async fn wait_records(&self, count: usize) -> Vec<Value> {
        until("so many records", || self.records().len() >= count).await;
        self.records()
    }

    /// Performs an operation that must succeed.
    pub async fn perform(&self, request: Request) -> Response {
        self.app.keys.operate(request).await.unwrap()
    }

    /// The sentence with which an operation is refused.
    pub async fn refused(&self, request: Request) -> String {
        match self.app.keys.operate(request).await {
            Ok(response) => panic!("not refused: {response:?}"),
            Err(error) => error.to_string(),
        }
    }

    /// The key that an operation makes or changes.
    pub async fn key(&self, request: Request) -> KeyView {
        match self.perform(request).await {
            Response::Key(key) => key,
            other => panic!("not a key: {other:?}"),
        }
    }

    /// An org with a user, and a key of each kind.
    pub async fn org(&self, name: &str) -> Org {
        let init = Request::Init {
            org: name.to_owned(),
            user: format!("maker@{name}.example"),
        };
        let Response::Founded(founded) = self.perform(init).await else {
            panic!("not founded")
        };
        let org = founded.org.id.to_string();
        let client_token = self.key(client_token(&org, "web", &[])).await;
        Org {
            user: founded.user.id.to_string(),
            user_name: founded.user.name,
            name: founded.org.name,
            api_key: founded.api_key,
            application_key: founded.application_key,
            client_token,
            id: org,
        }
    }
}

/// A folder in memory, where the system has such: that a disk keeps what it is told is tested elsewhere, and takes long.
fn folder_in_memory() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).unwrap()
}

/// An org with a user, and a key of each kind.
pub struct Org {
    pub id: String,
    pub name: String,
    pub user: String,
    pub user_name: String,
    pub api_key: KeyView,
    pub application_key: KeyView,
    pub client_token: KeyView,
}

/// The secret of a key just made.
pub fn secret(key: &KeyView) -> &str {
    key.secret.as_ref().unwrap().expose()
}

/// The operation that makes an API key.
pub fn api_key(org: &str, name: &str) -> Request {
    Request::CreateApiKey {
        org: org.to_owned(),
        name: name.to_owned(),
        expires_at: None,
        allowed_addresses: Vec::new(),
        secret: None,
        labels: Labels::default(),
    }
}

/// The operation that makes an application key.
pub fn application_key(owner: &str, name: &str, scopes: &[&str]) -> Request {
    Request::CreateApplicationKey {
        owner: owner.to_owned(),
        name: name.to_owned(),
        expires_at: None,
        scopes: scopes.iter().map(ToString::to_string).collect(),
    }
}

/// The operation that makes a client token.
pub fn client_token(org: &str, name: &str, origins: &[&str]) -> Request {
    Request::CreateClientToken {
        org: org.to_owned(),
        name: name.to_owned(),
        expires_at: None,
        allowed_origins: origins.iter().map(ToString::to_string).collect(),
    }
}

/// The operation that makes a user.
pub fn user(org: &str, email: &str) -> Request {
    Request::CreateUser {
        org: org.to_owned(),
        email: email.to_owned(),
        name: None,
        title: None,
        role: Role::Standard,
    }
}

/// The operation that revokes a key.
pub fn revoke(kind: KeyKind, key: &KeyView) -> Request {
    Request::RevokeKey {
        kind,
        id: key.id.to_string(),
    }
}

/// Any port of this machine's own network.
pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Waits until the condition holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {WAIT_MAX:?} for {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// A request as bytes: `line` is method and target, and a Host and the body's length are added.
pub fn request(line: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{line} HTTP/1.1\r\nHost: gateway.test\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() || line.starts_with('P') {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// The first value of a header; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(each, _)| each == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {self:?} {}", self.text()))
    }
}

/// One connection of a client.
pub struct Client {
    pub socket: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            read: Vec::new(),
        }
    }

    /// Sends the bytes of one request and reads the answer.
    pub async fn send(&mut self, request: impl AsRef<[u8]>) -> Reply {
        let request = request.as_ref();
        self.write(request).await;
        self.read(request.starts_with(b"HEAD ")).await
    }

    /// Sends bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads one answer, interim ones (1xx) aside. `head_only` is whether it answers HEAD.
    pub async fn read(&mut self, head_only: bool) -> Reply {
        tokio::time::timeout(WAIT_MAX, self.read_whole(head_only))
            .await
            .unwrap_or_else(|_| {
                panic!(
                    "no answer within {WAIT_MAX:?}: {}",
                    String::from_utf8_lossy(&self.read)
                )
            })
    }

    async fn read_whole(&mut self, head_only: bool) -> Reply {
        let (status, headers) = loop {
            let (status, headers) = self.read_head().await;
            if status >= 200 {
                break (status, headers);
            }
        };
        let mut reply = Reply {
            status,
            headers,
            body: Vec::new(),
        };
        if head_only || matches!(status, 204 | 304) {
            return reply;
        }
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.read_line().await;
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                let chunk = self.take(size).await;
                reply.body.extend_from_slice(&chunk);
                let end = self.read_line().await;
                assert_eq!(end, "", "a chunk without its end");
                if size == 0 {
                    return reply;
                }
            }
        }
        match reply.header("content-length") {
            Some(length) => reply.body = self.take(length.parse().unwrap()).await,
            None => {
                while self.fill().await {}
                reply.body = std::mem::take(&mut self.read);
            }
        }
        reply
    }

    async fn read_head(&mut self) -> (u16, Vec<(String, String)>) {
        let line = self.read_line().await;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "));
        let status = status.and_then(|rest| rest.get(..3)).map(str::parse);
        let Some(Ok(status)) = status else {
            panic!("not a status line: {line:?}")
        };
        let mut headers = Vec::new();
        loop {
            let line = self.read_line().await;
            if line.is_empty() {
                return (status, headers);
            }
            let (name, value) = line.split_once(':').unwrap();
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn read_line(&mut self) -> String {
        loop {
            if let Some(at) = self.read.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(at + 2).await;
                return String::from_utf8_lossy(line.get(..at).unwrap()).into_owned();
            }
            assert!(
                self.fill().await,
                "closed after {:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }

    async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            assert!(
                self.fill().await,
                "closed after {:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
        let rest = self.read.split_off(count);
        std::mem::replace(&mut self.read, rest)
    }

    /// Reads some more; false at the end.
    async fn fill(&mut self) -> bool {
        self.socket.read_buf(&mut self.read).await.unwrap_or(0) > 0
    }
}
