//! Where the stores of these tests are: a file in a folder of its own, or a prefix of its own in a Redis that is started
//! here and ends with the tests. It tests nothing.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use keygate::config::{Redis, RedisMode, RedisUrl};
use keygate::keys::audit::{Action, By};
use keygate::keys::rules::{Limits, Name};
use keygate::keys::secret::RootKey;
use keygate::keys::usage::Use;
use keygate::keys::{Key, KeyId, Org, OrgId, Partition, Role, User, UserId};
use keygate::store::log::{Entry, HeadView, LogFindings};
use keygate::store::papers::{Link, Password, Session};
use keygate::store::redis::{Purpose, RedisStore};
use keygate::store::{
    Done, EmbeddedStore, Founded, Issued, KeyChange, NewKey, NewUser, Rotation, StoreError,
    UserChange,
};
use redb::{Database, ReadableDatabase as _, TableDefinition};
use redis::Commands as _;

macro_rules! kept {
    ($($name:ident($($argument:ident: $of:ty),*) -> $result:ty;)*) => {
        /// The operations that every store has.
        pub trait Kept: Send + Sync {
            $(fn $name(&self $(, $argument: $of)*) -> $result;)*
        }

        impl Kept for EmbeddedStore {
            $(fn $name(&self $(, $argument: $of)*) -> $result {
                Self::$name(self $(, $argument)*)
            })*
        }

        impl Kept for RedisStore {
            $(fn $name(&self $(, $argument: $of)*) -> $result {
                Self::$name(self $(, $argument)*)
            })*
        }
    };
}

kept! {
    create_org(name: Name, by: &By) -> Result<Done<(Org, Issued)>, StoreError>;
    found(org: Name, handle: Name, by: &By) -> Result<Done<Founded>, StoreError>;
    set_org_disabled(id: OrgId, disabled: bool, by: &By) -> Result<Done<Org>, StoreError>;
    create_user(user: NewUser, by: &By) -> Result<Done<User>, StoreError>;
    create_service_account(org: OrgId, name: Name, email: Option<Name>, role: Role, by: &By) -> Result<Done<User>, StoreError>;
    update_user(id: UserId, change: UserChange, by: &By) -> Result<Done<User>, StoreError>;
    create_key(key: NewKey, by: &By) -> Result<Done<Issued>, StoreError>;
    update_key(id: KeyId, change: KeyChange, by: &By) -> Result<Done<Key>, StoreError>;
    rotate_key(id: KeyId, rotation: Rotation, by: &By) -> Result<Done<(Key, Issued)>, StoreError>;
    revoke_key(id: KeyId, by: &By) -> Result<Done<Key>, StoreError>;
    make_link(hash: [u8; 32], link: Link, by: &By) -> Result<Done<User>, StoreError>;
    use_link(partition: Partition, hash: [u8; 32], password: &str, by: &By) -> Result<Done<User>, StoreError>;
    set_password(id: UserId, password: &str, by: &By) -> Result<Done<User>, StoreError>;
    open_session(hash: [u8; 32], session: Session, by: &By) -> Result<Done<User>, StoreError>;
    touch_session(partition: Partition, hash: [u8; 32]) -> Result<(), StoreError>;
    end_session(partition: Partition, hash: [u8; 32], by: &By) -> Result<Done<()>, StoreError>;
    password(id: UserId) -> Result<Option<Password>, StoreError>;
    link(partition: Partition, hash: [u8; 32]) -> Result<Option<Link>, StoreError>;
    session(partition: Partition, hash: [u8; 32]) -> Result<Option<Session>, StoreError>;
    forget_expired() -> Result<usize, StoreError>;
    log_store(action: Action, note: &str, by: &By) -> Result<Done<()>, StoreError>;
    log_before(partition: Partition, number: Option<u64>, most: usize) -> Result<Vec<Entry>, StoreError>;
    verify_log(earlier: &[HeadView]) -> Result<LogFindings, StoreError>;
    org(id: OrgId) -> Result<Option<Org>, StoreError>;
    org_named(name: &str) -> Result<Option<Org>, StoreError>;
    orgs() -> Result<Vec<Org>, StoreError>;
    user(id: UserId) -> Result<Option<User>, StoreError>;
    users_of(org: OrgId) -> Result<Vec<User>, StoreError>;
    users_named(text: &str) -> Result<Vec<User>, StoreError>;
    key(id: KeyId) -> Result<Option<Key>, StoreError>;
    keys_of(org: OrgId) -> Result<Vec<Key>, StoreError>;
    key_of_secret(secret: &[u8]) -> Result<Option<Key>, StoreError>;
    flush_usage(uses: &[(KeyId, Use)]) -> Result<(), StoreError>;
    usage_of(ids: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError>;
}

/// A place for one store.
pub trait Home {
    fn open_with(&self, limits: Limits) -> Arc<dyn Kept>;

    fn open(&self) -> Arc<dyn Kept> {
        self.open_with(Limits::default())
    }

    /// The entries of a partition's log, as somebody with access to the store sees them. Nobody has the store open.
    fn log(&self, partition: Partition) -> Vec<Vec<u8>>;

    /// Puts others there.
    fn set_log(&self, partition: Partition, entries: &[Vec<u8>]);

    /// A paper, by the bytes of its id.
    fn paper(&self, partition: Partition, id: &[u8]) -> Option<Vec<u8>>;

    /// Puts another there, or takes it away.
    fn set_paper(&self, partition: Partition, id: &[u8], paper: Option<&[u8]>);

    /// All that the store keeps, names and contents.
    fn everything(&self) -> Vec<u8>;
}

pub fn root_key() -> RootKey {
    RootKey::from_hex(&"5a".repeat(32)).unwrap()
}

/// A file.
pub struct InFile(tempfile::TempDir);

const AUDIT: TableDefinition<'static, (u8, u64), &[u8]> = TableDefinition::new("audit");
const PAPERS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("papers");

impl InFile {
    /// The file, for somebody who has no root key.
    fn database(&self) -> Database {
        Database::open(self.0.path().join("keygate.redb")).unwrap()
    }

    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Home for InFile {
    fn open_with(&self, limits: Limits) -> Arc<dyn Kept> {
        let file = self.0.path().join("keygate.redb");
        Arc::new(EmbeddedStore::open(&file, &root_key(), limits).unwrap())
    }

    fn log(&self, partition: Partition) -> Vec<Vec<u8>> {
        let database = self.database();
        let reading = database.begin_read().unwrap();
        let audit = reading.open_table(AUDIT).unwrap();
        let of = partition.index() as u8;
        let range = audit.range((of, 0)..=(of, u64::MAX)).unwrap();
        range.map(|it| it.unwrap().1.value().to_vec()).collect()
    }

    fn set_log(&self, partition: Partition, entries: &[Vec<u8>]) {
        let of = partition.index() as u8;
        let database = self.database();
        let writing = database.begin_write().unwrap();
        {
            let mut audit = writing.open_table(AUDIT).unwrap();
            audit.retain(|(at, _), _| at != of).unwrap();
            for (number, entry) in entries.iter().enumerate() {
                audit.insert((of, number as u64), entry.as_slice()).unwrap();
            }
        }
        writing.commit().unwrap();
    }

    fn paper(&self, partition: Partition, id: &[u8]) -> Option<Vec<u8>> {
        let database = self.database();
        let reading = database.begin_read().unwrap();
        let papers = reading.open_table(PAPERS).unwrap();
        let index = [&[partition.index() as u8], id].concat();
        let held = papers.get(index.as_slice()).unwrap();
        held.map(|paper| paper.value().to_vec())
    }

    fn set_paper(&self, partition: Partition, id: &[u8], paper: Option<&[u8]>) {
        let index = [&[partition.index() as u8], id].concat();
        let database = self.database();
        let writing = database.begin_write().unwrap();
        {
            let mut papers = writing.open_table(PAPERS).unwrap();
            match paper {
                Some(paper) => papers.insert(index.as_slice(), paper).unwrap(),
                None => papers.remove(index.as_slice()).unwrap(),
            };
        }
        writing.commit().unwrap();
    }

    fn everything(&self) -> Vec<u8> {
        std::fs::read(self.0.path().join("keygate.redb")).unwrap()
    }
}

/// A redis-server. It ends with the value, or with the process of the tests.
pub struct RedisServer {
    pub port: u16,
    keeper: Child,
    folder: tempfile::TempDir,
}

impl RedisServer {
    pub fn start(options: &[&str]) -> Self {
        Self::start_as(None, options)
    }

    /// A Sentinel that watches the server on this port, under the name "main".
    pub fn sentinel(master: u16) -> Self {
        Self::start_as(Some(master), &[])
    }

    fn start_as(sentinel: Option<u16>, options: &[&str]) -> Self {
        // Another process may take the port between its choice and its use.
        for _ in 0..10 {
            if let Some(server) = Self::try_start(sentinel, options) {
                return server;
            }
        }
        panic!(
            "redis-server does not start. The tests of the store need it: run tests/run, or apt-get install redis-server"
        );
    }

    fn try_start(sentinel: Option<u16>, options: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        // A shell keeps the server, for as long as it hears of us.
        let script = r#"redis-server "$@" >/dev/null 2>&1 & server=$!
            cat >/dev/null; kill -9 $server"#;
        let config = folder.path().join("redis.conf");
        if let Some(master) = sentinel {
            let text = format!("sentinel monitor main 127.0.0.1 {master} 1\n");
            std::fs::write(&config, text).unwrap();
        }
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        if sentinel.is_some() {
            command.arg(&config);
        }
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"]);
        command.arg(folder.path());
        let kind: &[&str] = match sentinel {
            Some(_) => &["--sentinel"],
            None => &["--save", "", "--appendonly", "no"],
        };
        let keeper = command
            .args(kind)
            .args(options)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Self {
            port,
            keeper,
            folder,
        };
        let patience = Instant::now() + Duration::from_secs(5);
        while Instant::now() < patience {
            if server.answers() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    fn answers(&self) -> bool {
        use std::io::Read as _;
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) else {
            return false;
        };
        let mut first = [0];
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut first).is_ok()
    }

    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    pub fn client(&self) -> redis::Connection {
        redis::Client::open(format!("redis://127.0.0.1:{}", self.port))
            .unwrap()
            .get_connection()
            .unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The server that most tests share, each under a prefix of its own.
pub static SHARED: LazyLock<RedisServer> = LazyLock::new(|| RedisServer::start(&[]));

/// How a store on this port of this machine is configured.
pub fn config(port: u16, prefix: &str) -> Redis {
    Redis {
        servers: vec![url(port)],
        mode: RedisMode::Single,
        sentinel_master: None,
        username: None,
        password: None,
        sentinel_password: None,
        ca_file: None,
        read_from: Vec::new(),
        prefix: prefix.to_owned(),
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(2),
        changes_kept: 10_000,
        node_name: None,
    }
}

pub fn url(port: u16) -> RedisUrl {
    format!("redis://127.0.0.1:{port}").parse().unwrap()
}

/// A prefix in a Redis.
pub struct InRedis {
    pub config: Redis,
}

impl InRedis {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            config: config(SHARED.port, &format!("test-{number}")),
        }
    }

    pub fn connect(&self) -> RedisStore {
        RedisStore::connect(&self.config, &root_key(), Limits::default(), Purpose::Make).unwrap()
    }

    pub fn client(&self) -> redis::Connection {
        SHARED.client()
    }

    pub fn key(&self, partition: usize, rest: &str) -> String {
        format!("{{{}:{partition}}}:{rest}", self.config.prefix)
    }
}

impl Home for InRedis {
    fn open_with(&self, limits: Limits) -> Arc<dyn Kept> {
        Arc::new(RedisStore::connect(&self.config, &root_key(), limits, Purpose::Make).unwrap())
    }

    fn log(&self, partition: Partition) -> Vec<Vec<u8>> {
        let key = self.key(partition.index(), "audit");
        self.client().lrange(key, 0, -1).unwrap()
    }

    fn set_log(&self, partition: Partition, entries: &[Vec<u8>]) {
        let key = self.key(partition.index(), "audit");
        let mut client = self.client();
        let _: () = client.del(&key).unwrap();
        for entry in entries {
            let _: () = client.rpush(&key, entry).unwrap();
        }
    }

    fn paper(&self, partition: Partition, id: &[u8]) -> Option<Vec<u8>> {
        let key = self.key(partition.index(), "papers");
        self.client().hget(key, id).unwrap()
    }

    fn set_paper(&self, partition: Partition, id: &[u8], paper: Option<&[u8]>) {
        let key = self.key(partition.index(), "papers");
        let _: () = match paper {
            Some(paper) => self.client().hset(key, id, paper).unwrap(),
            None => self.client().hdel(key, id).unwrap(),
        };
    }

    fn everything(&self) -> Vec<u8> {
        let mut client = self.client();
        let keys: Vec<Vec<u8>> = client.keys(format!("{{{}:*", self.config.prefix)).unwrap();
        let mut all = Vec::new();
        for key in keys {
            let of: String = redis::cmd("TYPE").arg(&key).query(&mut client).unwrap();
            let held: Vec<Vec<u8>> = match of.as_str() {
                "hash" => redis::cmd("HGETALL").arg(&key).query(&mut client).unwrap(),
                "list" => client.lrange(&key, 0, -1).unwrap(),
                _ => Vec::new(),
            };
            all.extend(key);
            held.iter().for_each(|part| all.extend(part));
        }
        all
    }
}
