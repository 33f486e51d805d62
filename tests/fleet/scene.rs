//! What most tests of a fault begin with: one Redis, gateways on it that each have a way of their own, an operator beside
//! them who needs no gateway, and the sentences that hold for all of them. It breaks nothing.

use std::sync::Arc;
use std::time::Duration;

use keygate::config::Config;
use keygate::store::{self, FleetStore, Store};

use crate::fleet::{Fleet, Home, Key, Org};
use crate::link::Link;
use crate::node::Node;
use crate::prober::Prober;
use crate::servers::{Options, RedisServer};
use crate::within;

/// `view.fresh_within` of these gateways: short, so that a test need not wait for long to see it pass.
pub const FRESH: Duration = Duration::from_secs(2);
/// When a gateway that is cut off must have noticed that it knows too little: its view may be as old as `FRESH`, and a
/// second more.
pub const STALE: Duration = Duration::from_secs(3);
/// The promise for a revocation. It counts from the moment that the operator's command is done.
pub const AT_ONCE: Duration = Duration::from_secs(1);
/// In step again after healing. The promise is two seconds; the rest is for a machine on which other tests run, and for the
/// jitter of up to two seconds before a gateway that serves reads a partition anew.
pub const MENDED: Duration = Duration::from_secs(6);

const SECTIONS: &str = "[rules]\napi_keys_per_org_max = 1000000\n";
const VIEW: &str = "[view]\nfresh_within = \"2s\"\n";
/// So that a server that hangs is noticed within the promised three seconds, with time to spare.
const TIMEOUTS: &str = "connect_timeout = \"500ms\"\nresponse_timeout = \"1s\"\n";

/// The stage set. The gateways are dropped first.
pub struct Scene {
    /// The gateways `a`, `b`, ..., ready.
    pub nodes: Vec<Node>,
    /// The way of each of them.
    pub links: Vec<Link>,
    /// Never started: its commands go to Redis by themselves, and not by way of a link.
    pub operator: Node,
    /// Made by `keygate init`.
    pub org: Org,
    /// What the gateways share.
    pub fleet: Fleet,
    /// The Redis.
    pub server: RedisServer,
}

/// A secret that nobody has.
pub fn unknown() -> String {
    (0..32).map(|_| fastrand::digit(16)).collect()
}

impl Scene {
    /// So many gateways on a Redis that forgets nothing.
    pub fn of(count: usize) -> Self {
        Self::with(count, Options::default(), "")
    }

    /// The same; Redis is to be so, and a `[view]` stands in for the short one.
    pub fn with(count: usize, options: Options, view: &str) -> Self {
        let options = Options {
            appendonly: true,
            ..options
        };
        Self::on(count, RedisServer::with(options), view)
    }

    /// The same, on this Redis.
    pub fn on(count: usize, server: RedisServer, view: &str) -> Self {
        let view = if view.is_empty() { VIEW } else { view };
        let home = Home::server(&server).and(TIMEOUTS.trim_end());
        let fleet = Fleet::with(home, &format!("{view}{SECTIONS}"));
        let operator = fleet.node("operator");
        let org = operator.found();
        let mut scene = Self {
            nodes: Vec::new(),
            links: Vec::new(),
            operator,
            org,
            fleet,
            server,
        };
        for _ in 0..count {
            let node = scene.another();
            scene.nodes.push(node);
        }
        for node in &mut scene.nodes {
            node.start();
        }
        for node in &mut scene.nodes {
            node.wait_ready();
        }
        scene
    }

    /// One more gateway with a link of its own, not started. The link is the last of [`Scene::links`].
    pub fn another(&mut self) -> Node {
        let link = Link::to(self.server.address());
        let name = char::from(b'a' + u8::try_from(self.links.len()).unwrap());
        let home = Home::link(&link, &self.server).and(TIMEOUTS.trim_end());
        self.links.push(link);
        self.fleet.node_with(&name.to_string(), &home)
    }

    /// A new API key, accepted by every gateway.
    pub fn key(&self, name: &str) -> Key {
        let key = self.operator.create_key(&self.org, name);
        for node in &self.nodes {
            node.accepts_within(MENDED, &key);
        }
        key
    }

    /// The store, as the library has it.
    pub fn store(&self) -> Arc<FleetStore> {
        library(&self.operator)
    }

    /// A client of this gateway that asks with the org's first key.
    pub fn prober(&self, node: usize) -> Prober {
        Prober::start(self.nodes[node].address(), &self.org.api_key.secret, 100)
    }

    /// What holds at the end of every test: each gateway lives, says that it is ready, accepts what is good and tells
    /// what is unknown; and a change gets to it.
    pub fn is_whole(&self) {
        for node in &self.nodes {
            node.in_step_within(MENDED);
            assert!(node.is_live() && node.is_ready());
            assert_eq!(node.request(&self.org.api_key.secret), Some(202));
        }
        let key = self.key(&format!("whole-{}", unknown()));
        self.operator.revoke_key(&key);
        for node in &self.nodes {
            node.refuses_within(MENDED, &key);
            node.has_not_panicked();
        }
    }
}

/// The store that a node's commands would change.
pub fn library(node: &Node) -> Arc<FleetStore> {
    let config = Config::load(Some(&node.config_file()), std::iter::empty()).unwrap();
    match store::open(&config.store, &config.rules, false).unwrap() {
        Store::Redis(store) => store,
        Store::Embedded(_) => panic!("not a fleet's store"),
    }
}

/// All streams of the store.
pub fn streams() -> impl Iterator<Item = String> {
    (0..16).map(|partition| format!("{{keygate:{partition}}}:changes"))
}

/// A prober that must not have lost a request.
pub fn lost_nothing(prober: Prober) {
    let tally = prober.stop();
    assert!(tally.sent() > 0, "nothing was sent");
    assert_eq!(tally.lost(202), 0, "{:?}", tally.statuses());
}

impl Node {
    /// Waits until it says 202 to this key.
    pub fn accepts_within(&self, limit: Duration, key: &Key) -> Duration {
        let what = format!("{} to accept {}", self.place().name, key.id);
        within(limit, &what, || self.request(&key.secret) == Some(202))
    }

    /// Waits until it says 403 to this key.
    pub fn refuses_within(&self, limit: Duration, key: &Key) -> Duration {
        let what = format!("{} to refuse {}", self.place().name, key.id);
        within(limit, &what, || self.request(&key.secret) == Some(403))
    }

    /// Waits until it can tell again what is unknown: 403.
    pub fn in_step_within(&self, limit: Duration) -> Duration {
        let what = format!("{} to be in step", self.place().name);
        within(limit, &what, || self.request(&unknown()) == Some(403))
    }

    /// Waits until it cannot tell any longer what is unknown: 503.
    pub fn stale_within(&self, limit: Duration) -> Duration {
        let what = format!("{} to know that it cannot tell", self.place().name);
        within(limit, &what, || self.request(&unknown()) == Some(503))
    }

    /// How old it says that its view is.
    pub fn view_age(&self) -> f64 {
        self.metric("keygate_view_age_seconds").unwrap()
    }

    /// A counter of its sync: `count("gaps_total")`.
    pub fn count(&self, name: &str) -> u64 {
        let name = format!("keygate_sync_{name}");
        let value = self.metric(&name);
        value.unwrap_or_else(|| panic!("no {name}")) as u64
    }

    /// How many records it has refused for this reason.
    pub fn refused(&self, reason: &str) -> u64 {
        self.count(&format!("records_refused_total{{reason={reason:?}}}"))
    }

    /// Whether it says this on standard error, now or soon.
    pub fn says(&self, what: &str) {
        let waited = format!(
            "{} to say {what:?}, not only: {}",
            self.place().name,
            self.stderr()
        );
        within(MENDED, &waited, || self.stderr().contains(what));
    }

    /// A panic, even a survived one, is a bug.
    pub fn has_not_panicked(&self) {
        let said = self.stderr();
        assert!(!said.contains("panic"), "{said}");
    }
}
