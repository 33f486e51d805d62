//! Every knob of keygate, with its default and its documentation, read from file and environment. Nothing else reads
//! those for settings, and nothing is done here with what they say.
//!
//! This page is the list of knobs. [`Config::load`] reads them, [`print()`] writes the example file from them, and
//! [`describe`] shows those in effect. A value becomes its type while it is read (`value`, `url`, `redis_url`, `secret`);
//! what must hold between two of them is in `together`.

mod control;
mod error;
mod knob;
mod lasting;
mod load;
mod mode;
mod nearest;
mod print;
mod redis_url;
mod secret;
mod source;
mod spelling;
mod together;
mod url;
mod value;

pub use control::{Control, Oidc, Switch};
pub use error::{ConfigError, ConfigErrors, Mistake, Origin, Problem};
pub use lasting::lasting;
pub use print::{describe, print};
pub use redis_url::RedisUrl;
pub use secret::SecretValue;
pub use source::environment;
pub use url::UpstreamUrl;
pub use value::Bytes;

use ipnet::IpNet;
use knob::readable;
use mode::{default, listed, named, optional, required, section};
use secret::secret;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use value::{at_least, positive, words};

/// The upstream of every family that has none of its own.
pub const DEFAULT_UPSTREAM: &str = "default";

/// The names that the built-in routes give to upstreams: the default, and one for each family of requests.
pub const UPSTREAM_NAMES: &[&str] = &[
    DEFAULT_UPSTREAM,
    "metrics",
    "events",
    "process",
    "orchestrator",
    "logs",
    "evp",
    "traces",
    "profiles",
    "telemetry",
    "debugger",
    "lineage",
    "flare",
    "remote_config",
    "api",
    "otlp",
    "browser",
    "ci",
];

readable! {
    /// The whole configuration.
    pub struct Config
    knobs {
        /// `[listen]`
        listen: Listen = section(Listen::with_defaults),
        /// `[admin]`
        admin: Admin = section(Admin::with_defaults),
        /// `[control]`
        control: Control = section(Control::with_defaults),
        /// `[store]`
        store: StoreConfig = section(StoreConfig::with_defaults),
        /// `[rules]`
        rules: Rules = section(Rules::with_defaults),
        /// `[view]`
        view: View = section(View::with_defaults),
        /// `[upstreams.NAME]`
        upstreams: BTreeMap<String, Upstream> = named(UPSTREAM_NAMES),
        /// `[[routes]]`
        routes: Vec<RouteConfig> = listed(),
        /// `[record]`
        record: RecordConfig = section(RecordConfig::with_defaults),
        /// `[drain]`
        drain: Drain = section(Drain::with_defaults),
    }
}

readable! {
    /// Where clients connect, and how much of the process one of them can take.
    pub struct Listen
    knobs {
        /// The address and port that clients connect to.
        address: SocketAddr = default(SocketAddr::from(([0, 0, 0, 0], 8080))),
        /// Threads that serve requests, each with its own connections. 0 is one per processor core.
        workers: usize = default(0),
        /// Connections of clients open at once, in the whole process. Further ones are closed at once, and counted.
        connections_max: usize = default(16_384).checked(positive),
        /// Connections that the system holds for each worker until they are accepted.
        backlog: u32 = default(1024).checked(positive),
        /// Proxies and load balancers in front of keygate, as networks or addresses. Only when a connection comes from
        /// one of them is its X-Forwarded-For believed; otherwise the client is whoever connected.
        /// In the variable they are separated by commas.
        trusted_proxies: Vec<IpNet> = default(Vec::new()),
        /// How long a request's head can take to arrive whole, from its first byte.
        head_timeout: Duration = default(Duration::from_secs(10)).checked(positive),
        /// How long a connection is kept open for its next request. Keep it above what the load balancer in front has, or
        /// now and then it sends a request on a connection that is just being closed.
        keep_alive_timeout: Duration = default(Duration::from_secs(75)).checked(positive),
        /// The greatest size of a request's head: request line and headers together.
        head_bytes_max: Bytes = default(Bytes(64 << 10)).checked(positive),
        /// The greatest number of headers in a request.
        headers_max: usize = default(100).checked(positive),
        /// How long the next byte of a request's body can take to arrive.
        body_idle_timeout: Duration = default(Duration::from_secs(30)).checked(positive),
        /// The least that must arrive of a request's body per second, on average, once 30 seconds have passed. "0" is no
        /// limit.
        body_rate_min: Bytes = default(Bytes(100)),
        /// How long a whole request can take, from its first byte to the last byte of the answer.
        request_timeout: Duration = default(Duration::from_mins(10)).checked(positive),
        /// How long a client can go without reading any of its answer.
        write_timeout: Duration = default(Duration::from_secs(30)).checked(positive),
    }
}

readable! {
    /// The operator's listener: /livez, /readyz, /metrics and /config. It asks nobody who they are: keep it private.
    pub struct Admin
    knobs {
        /// The address and port of the operator's listener.
        address: SocketAddr = default(SocketAddr::from(([127, 0, 0, 1], 8081))),
    }
}

readable! {
    /// Where keys, users and orgs are kept.
    pub struct StoreConfig
    knobs {
        /// The folder of the database, or of a fleet node's replica of it, of the root key and the control socket. It belongs
        /// to one process at a time.
        data_dir: PathBuf = default(PathBuf::from("/var/lib/keygate")),
        /// The key that opens the store's own keys, under which fingerprints and the proofs of records are made: 64
        /// hexadecimal digits. When it is not given it is made with the store, into root.key in data_dir. A store does not
        /// open with another one, so every node of a fleet has the same.
        root_key: Option<SecretValue> = secret("/run/secrets/keygate-root-key", spelling::root_key),
        /// How often it is written down when and how many times each key was used.
        usage_interval: Duration = default(Duration::from_secs(10)).checked(positive),
        /// `[store.redis]`
        redis: Redis = section(Redis::with_defaults),
    }
}

words! {
    /// What the servers are to each other.
    pub enum RedisMode {
        /// One server, or one address that always leads to it.
        Single = "single",
        /// servers are those of Sentinel, which say where the server is.
        Sentinel = "sentinel",
        /// Redis Cluster. servers are some of its own; the others are learnt from them.
        Cluster = "cluster",
    }
}

readable! {
    /// The store that a fleet shares: Redis, of which every node keeps a replica. Without servers the store is a file in
    /// data_dir.
    pub struct Redis
    knobs {
        /// The servers, such as ["rediss://redis.example.com:6379"]: redis:// or, over TLS, rediss://; a host; and a port
        /// unless it is 6379. In the variable they are separated by commas.
        servers: Vec<RedisUrl> = default(Vec::new()),
        /// What they are to each other.
        mode: RedisMode = default(RedisMode::Single),
        /// The name under which Sentinel knows the server. Only, and always, with mode = "sentinel".
        sentinel_master: Option<String> = optional("keygate").checked(spelling::plain_name),
        /// The ACL user. Without one the password is that of the user "default".
        username: Option<String> = optional("keygate").checked(spelling::redis_user),
        /// The password of the user.
        password: Option<SecretValue> = secret("/run/secrets/keygate-redis-password", spelling::redis_password),
        /// The password of the servers of Sentinel, when they want one.
        sentinel_password: Option<SecretValue> = secret("/run/secrets/keygate-sentinel-password", spelling::redis_password),
        /// Certificates in PEM of the authorities that may vouch for the servers, instead of the system's. rediss only.
        ca_file: Option<PathBuf> = optional("/etc/keygate/redis-ca.pem"),
        /// Replicas of the server, from which changes are read to spare it. Only with mode = "single".
        read_from: Vec<RedisUrl> = default(Vec::new()),
        /// What the names of all that keygate has in Redis begin with. Two fleets on one Redis need two of them. It has
        /// lower-case letters, digits, ".", "_" and "-".
        prefix: String = default("keygate".to_owned()).checked(spelling::redis_prefix),
        /// How long it can take to connect, TLS included.
        connect_timeout: Duration = default(Duration::from_secs(1)).checked(positive),
        /// How long an answer can take.
        response_timeout: Duration = default(Duration::from_secs(2)).checked(positive),
        /// Changes kept for nodes that were away, in each of 16 partitions. A node that missed more reads everything anew.
        changes_kept: u64 = default(10_000).checked(at_least::<100>),
        /// How this node is called in lists of nodes. Without it, by the name of its host.
        node_name: Option<String> = optional("gateway-1").checked(spelling::node_name),
    }
}

readable! {
    /// How many keys there can be.
    pub struct Rules
    knobs {
        /// API keys that an org keeps: one that would leave fewer cannot be revoked.
        api_keys_per_org_min: u32 = default(1),
        /// API keys that an org can have.
        api_keys_per_org_max: u32 = default(5).checked(positive),
        /// Application keys that a user can have.
        application_keys_per_user_max: u32 = default(1000),
        /// Client tokens that an org can have.
        client_tokens_per_org_max: u32 = default(1000),
    }
}

readable! {
    /// How old the keys in memory can be when the store cannot be reached.
    pub struct View
    knobs {
        /// Up to this age an unknown key is refused as bad. Beyond it the answer is 503, as the key may be a new one.
        fresh_within: Duration = default(Duration::from_secs(5)).checked(positive),
        /// Up to this age known keys are accepted for sending data. Beyond it every answer is 503.
        serve_stale_for_intake: Duration = default(Duration::from_hours(24)).checked(positive),
        /// The same for requests to the API.
        serve_stale_for_api: Duration = default(Duration::from_mins(15)).checked(positive),
    }
}

readable! {
    /// Where requests are forwarded to, by name. "default" takes every family of requests that has no upstream of its own
    /// name. Other names are for your own routes: lower-case letters, digits and single underscores. In a variable the
    /// name stands in the place of DEFAULT.
    pub struct Upstream
    required {
        /// Its address: http:// or https://, host, perhaps a port, perhaps a path that goes before every path.
        url: UpstreamUrl = required("https://intake.example.com"),
    }
    knobs {
        /// The header in which the credential is sent. The sender's own credentials are never forwarded.
        credential_header: Option<String> = optional("dd-api-key").checked(spelling::header_name),
        /// The query parameter in which the credential is sent, instead of a header.
        credential_query: Option<String> = optional("api_key").checked(spelling::plain_name),
        /// The credential that the upstream wants to see, in place of the sender's. It needs one of the two above.
        credential: Option<SecretValue> = secret("/run/secrets/upstream-credential", spelling::credential),
        /// Certificates in PEM of the authorities that may vouch for the upstream, instead of the system's. https only.
        ca_file: Option<PathBuf> = optional("/etc/keygate/upstream-ca.pem"),
        /// How long it can take to connect, TLS included.
        connect_timeout: Duration = default(Duration::from_secs(5)).checked(positive),
        /// How long the answer can take to begin, once the request is sent.
        first_byte_timeout: Duration = default(Duration::from_secs(30)).checked(positive),
        /// How long the next part of an answer can take, once it has begun.
        idle_timeout: Duration = default(Duration::from_secs(30)).checked(positive),
        /// How long an unused connection is kept. Keep it below what the upstream has. "0s" keeps none.
        keep_alive: Duration = default(Duration::from_secs(30)),
        /// Unused connections that each worker keeps. 0 keeps none.
        connections_idle_max: usize = default(256),
    }
}

words! {
    /// What a route demands of a request.
    pub enum RouteAccess {
        /// An API key, as for metrics and traces.
        Intake = "intake",
        /// An API key or a client token, as for logs.
        Logs = "logs",
        /// A client token, as from a browser.
        Browser = "browser",
        /// An API key and an application key of one org.
        Api = "api",
        /// Nothing passes.
        Closed = "closed",
    }
}

words! {
    /// How a refusal is told: each family of clients expects its own statuses and bodies.
    pub enum RouteFamily {
        /// Agents and what else sends to the intake.
        Agent = "agent",
        /// Senders of logs.
        Logs = "logs",
        /// Senders of logs that put the key into the path.
        Input = "input",
        /// Browsers: every answer has the CORS headers.
        Browser = "browser",
        /// Callers of the API.
        Api = "api",
        /// OpenTelemetry exporters.
        Otlp = "otlp",
        /// Trace writers.
        Traces = "traces",
    }
}

readable! {
    /// A route of your own. These come before the built-in ones, and the first that matches is taken. In a variable the 0
    /// is the place in the list.
    pub struct RouteConfig
    required {
        /// The method, or "*" for any.
        method: String = required("POST").checked(spelling::method),
        /// The exact path, or the beginning of all paths below it when it ends with "/*".
        path: String = required("/own/intake/*").checked(spelling::route_path),
        /// What a request needs to pass.
        access: RouteAccess = required("intake"),
    }
    knobs {
        /// The kind of client, for the form of refusals. Without it that follows from access: logs, browser and api have
        /// their own, the others are "agent".
        family: Option<RouteFamily> = optional("agent"),
        /// The name of the upstream. Without it, "default".
        upstream: Option<String> = optional("default"),
        /// The greatest body. Without it, the limit of the family.
        body_max: Option<Bytes> = optional("64MiB"),
        /// The scope that the application key needs. Only with access = "api".
        scope: Option<String> = optional("own_data_read"),
    }
}

words! {
    /// Where records go.
    pub enum Sink {
        /// Standard output.
        Stdout = "stdout",
        /// The file named by path.
        File = "file",
        /// Nowhere.
        Off = "off",
    }
}

words! {
    /// What happens to a request whose record finds the queue full.
    pub enum WhenFull {
        /// It waits for room, up to wait_max, and is then answered 503.
        Wait = "wait",
        /// It goes on, and its record is dropped and counted.
        Drop = "drop",
    }
}

readable! {
    /// The record: one line of JSON for each request, on whose behalf it was.
    pub struct RecordConfig
    knobs {
        /// Where the records go.
        sink: Sink = default(Sink::Stdout),
        /// The file, for sink = "file". It is opened again on SIGHUP, so that it can be rotated.
        path: Option<PathBuf> = optional("/var/log/keygate/requests.jsonl"),
        /// Records that can wait to be written.
        queue_max: usize = default(65_536).checked(positive),
        /// What happens when the queue is full to a request that needs an application key.
        api_when_full: WhenFull = default(WhenFull::Wait),
        /// The same for every other request.
        intake_when_full: WhenFull = default(WhenFull::Drop),
        /// How long a request waits for room in the queue.
        wait_max: Duration = default(Duration::from_secs(1)),
    }
}

readable! {
    /// How the process ends after SIGTERM.
    pub struct Drain
    knobs {
        /// How long it still accepts connections while /readyz already says no, so that load balancers can look away.
        readiness_delay: Duration = default(Duration::ZERO),
        /// How long open requests have to end after that; then they are cut.
        deadline: Duration = default(Duration::from_secs(25)),
    }
}

impl Config {
    /// A configuration without file and environment: all defaults, one upstream for everything.
    pub fn with_default_upstream(url: UpstreamUrl, data_dir: PathBuf) -> Self {
        let mut config = Self::with_defaults();
        config.store.data_dir = data_dir;
        config
            .upstreams
            .insert(DEFAULT_UPSTREAM.to_owned(), Upstream::new(url));
        config
    }

    /// The upstream of this name, or the default in its place. A loaded configuration has one for every name of
    /// [`UPSTREAM_NAMES`] but [`DEFAULT_UPSTREAM`], and for the name of every own route.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams
            .get(name)
            .or_else(|| self.upstreams.get(DEFAULT_UPSTREAM))
    }
}

impl StoreConfig {
    /// The database of the embedded store.
    pub fn database(&self) -> PathBuf {
        self.data_dir.join("keygate.redb")
    }

    /// A fleet node's replica of what Redis holds, from which it starts while Redis is away.
    pub fn replica(&self) -> PathBuf {
        self.data_dir.join("replica.redb")
    }

    /// Whether the store is the fleet's, in Redis, and not the embedded one.
    pub fn uses_redis(&self) -> bool {
        !self.redis.servers.is_empty()
    }

    /// Where the root key is kept when it is not given.
    pub fn root_key_file(&self) -> PathBuf {
        self.data_dir.join("root.key")
    }

    /// The socket by which the commands reach a running process.
    pub fn control_socket(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }
}

impl Upstream {
    /// An upstream with the defaults of all other knobs.
    pub fn new(url: UpstreamUrl) -> Self {
        Self::with_defaults(url)
    }
}

impl RouteConfig {
    /// A route with the defaults of all other knobs. The texts are not checked, as those of a file are.
    pub fn new(method: impl Into<String>, path: impl Into<String>, access: RouteAccess) -> Self {
        Self::with_defaults(method.into(), path.into(), access)
    }

    /// The family that was given, or the one that follows from the access.
    pub fn family(&self) -> RouteFamily {
        self.family.unwrap_or(match self.access {
            RouteAccess::Intake | RouteAccess::Closed => RouteFamily::Agent,
            RouteAccess::Logs => RouteFamily::Logs,
            RouteAccess::Browser => RouteFamily::Browser,
            RouteAccess::Api => RouteFamily::Api,
        })
    }

    /// The name of the upstream that was given, or the default's.
    pub fn upstream_name(&self) -> &str {
        self.upstream.as_deref().unwrap_or(DEFAULT_UPSTREAM)
    }
}
