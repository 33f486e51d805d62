//! The same on a Redis of one, with Sentinel and as a Cluster: keys are made, revoked everywhere, remembered after a
//! restart and an outage, also when another server takes over, in order or without the last writes. And what a Redis that
//! is not ours is told.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::{Cluster, Shape};
use crate::fleet::{Fleet, Home, Org};
use crate::link::Link;
use crate::node::Node;
use crate::prober::Prober;
use crate::scene::{AT_ONCE, MENDED, lost_nothing, unknown};
use crate::sentinels::Sentinels;
use crate::servers::{Options, RedisServer};
use crate::within;

const SECTIONS: &str = "[view]\nfresh_within = \"2s\"\n[rules]\napi_keys_per_org_max = 100000\n";
const TIMEOUTS: &str = "connect_timeout = \"500ms\"\nresponse_timeout = \"1s\"";
/// Until gateways have found out who serves now: the vote is over when this begins.
const REDIRECTED: Duration = Duration::from_secs(10);

/// Two gateways and an operator without one.
struct Suite {
    nodes: Vec<Node>,
    operator: Node,
    org: Org,
    _fleet: Fleet,
}

fn kept_on_disk() -> Options {
    Options {
        appendonly: true,
        ..Options::default()
    }
}

impl Suite {
    fn on(home: Home) -> Self {
        let fleet = Fleet::with(home.and(TIMEOUTS), SECTIONS);
        let operator = fleet.node("operator");
        let org = operator.found();
        let nodes = ["a", "b"].map(|name| fleet.start(name)).into();
        Self {
            nodes,
            operator,
            org,
            _fleet: fleet,
        }
    }

    fn probers(&self) -> Vec<Prober> {
        let start = |node: &Node| Prober::start(node.address(), &self.org.api_key.secret, 100);
        self.nodes.iter().map(start).collect()
    }

    /// Orgs enough that most partitions have one: each has a key made and one revoked.
    fn changes_reach_everyone(&self, orgs: usize) {
        for _ in 0..orgs {
            let org = self.operator.cli(&["orgs", "create", &unknown()]);
            let id = org["id"].as_str().unwrap();
            let key = crate::fleet::Key::shown(&org["api_key"]);
            let extra = self
                .operator
                .cli(&["keys", "create", "--org", id, "--name", "extra"]);
            let extra = crate::fleet::Key::shown(&extra);
            for node in &self.nodes {
                node.accepts_within(MENDED, &key);
                node.accepts_within(MENDED, &extra);
            }
            self.nodes[0].revoke_key(&extra);
            for node in &self.nodes {
                node.refuses_within(AT_ONCE, &extra);
                assert_eq!(node.request(&key.secret), Some(202));
            }
        }
    }

    fn restart(&mut self) {
        let key = self.operator.create_key(&self.org, &unknown());
        for node in &self.nodes {
            node.accepts_within(MENDED, &key);
        }
        self.operator.revoke_key(&key);
        for node in &self.nodes {
            node.refuses_within(AT_ONCE, &key);
        }
        self.nodes[1].restart();
        self.nodes[1].wait_ready();
        assert_eq!(self.nodes[1].request(&key.secret), Some(403));
        assert_eq!(self.nodes[1].request(&self.org.api_key.secret), Some(202));
    }

    fn in_step(&self, limit: Duration) {
        for node in &self.nodes {
            node.in_step_within(limit);
            node.has_not_panicked();
        }
    }
}

#[test]
fn the_suite_holds_on_one_server() {
    let mut server = RedisServer::with(kept_on_disk());
    let mut suite = Suite::on(Home::server(&server));
    suite.changes_reach_everyone(4);
    suite.restart();
    let probers = suite.probers();
    server.kill();
    suite.nodes[0].stale_within(MENDED);
    server.restart();
    suite.in_step(MENDED);
    suite.changes_reach_everyone(2);
    probers.into_iter().for_each(lost_nothing);
}

#[test]
fn the_suite_holds_with_passwords_and_a_user_of_its_own() {
    let rules = "keygate on >only-for-keygate resetchannels ~{keygate:* -@all +@connection +@hash +@list +@stream +eval +evalsha \
                 +script|load +script|exists +del +unlink +exists +type +time +info +role +wait +cluster|slots -@dangerous +info +role";
    let server = RedisServer::with(Options {
        password: Some("open-sesame".to_owned()),
        users: vec![rules.to_owned()],
        ..kept_on_disk()
    });
    let Home::Redis { servers, .. } = Home::server(&server) else {
        unreachable!("it is one");
    };
    let lines = "username = \"keygate\"\npassword = \"only-for-keygate\"\n".to_owned();
    let mut suite = Suite::on(Home::Redis { servers, lines });
    suite.changes_reach_everyone(2);
    suite.restart();
}

#[test]
fn the_suite_holds_with_sentinel() {
    let mut sentinels = Sentinels::with(&kept_on_disk(), None);
    let mut suite = Suite::on(Home::sentinels(&sentinels));
    suite.changes_reach_everyone(4);
    suite.restart();
    let probers = suite.probers();
    sentinels.fail_over();
    suite.in_step(REDIRECTED);
    suite.changes_reach_everyone(2);
    probers.into_iter().for_each(lost_nothing);
    suite.restart();
}

#[test]
fn r10_a_failover_that_lost_the_last_writes_unrevokes_nothing() {
    let mut sentinels = Sentinels::with(&kept_on_disk(), None);
    let mut suite = Suite::on(Home::sentinels(&sentinels));
    let gone = suite.operator.create_key(&suite.org, "gone");
    let kept = suite.operator.create_key(&suite.org, "kept");
    for node in &suite.nodes {
        node.accepts_within(MENDED, &gone);
        node.accepts_within(MENDED, &kept);
    }
    let probers = suite.probers();
    let (mut lost_key, nodes, operator, org) = (None, &suite.nodes, &suite.operator, &suite.org);
    sentinels.fail_over_losing(|_| {
        operator.revoke_key(&gone);
        let made = operator.create_key(org, "made-and-lost");
        for node in nodes {
            node.refuses_within(AT_ONCE, &gone);
            node.accepts_within(AT_ONCE, &made);
        }
        lost_key = Some(made);
    });
    suite.in_step(REDIRECTED);
    let lost_key = lost_key.unwrap();
    for node in &suite.nodes {
        assert_eq!(node.request(&gone.secret), Some(403));
        assert_eq!(node.request(&kept.secret), Some(202));
        // Nothing legitimately disappears: what was made is kept, too.
        assert_eq!(node.request(&lost_key.secret), Some(202));
        assert!(node.count("regressions_total") > 0);
    }
    // The store goes on beside what was lost.
    suite.changes_reach_everyone(2);
    let more = suite.operator.create_key(&suite.org, "more");
    for node in &suite.nodes {
        node.accepts_within(MENDED, &more);
        assert_eq!(node.request(&gone.secret), Some(403));
    }
    probers.into_iter().for_each(lost_nothing);
    // And a gateway that saw it remembers it over its own death.
    suite.nodes[0].restart();
    suite.nodes[0].wait_ready();
    suite.in_step(MENDED);
    assert_eq!(suite.nodes[0].request(&gone.secret), Some(403));
    // The one told to may put back what was lost.
    suite.operator.try_cli(&["store", "restore"]);
    for node in &suite.nodes {
        assert_eq!(node.request(&gone.secret), Some(403));
    }
}

#[test]
fn the_suite_holds_in_a_cluster() {
    let mut cluster = Cluster::with(&Shape {
        options: kept_on_disk(),
        replicas: true,
        ..Shape::default()
    });
    let mut suite = Suite::on(Home::cluster(&cluster));
    suite.changes_reach_everyone(6);
    suite.restart();
    let probers = suite.probers();
    // The slot of the first org's own partition moves, and changes go on.
    let partition = u8::from_str_radix(&suite.org.id[34..], 16).unwrap() % 16;
    let slot = cluster.slot_of(&format!("{{keygate:{partition}}}"));
    let owner = cluster.owner_of(slot);
    cluster.move_slot(slot, (owner + 1) % 3);
    suite.in_step(REDIRECTED);
    suite.changes_reach_everyone(2);
    suite.restart_first();
    let gone = suite.operator.create_key(&suite.org, "gone");
    suite.nodes[1].accepts_within(MENDED, &gone);
    suite.operator.revoke_key(&gone);
    suite.nodes[1].refuses_within(AT_ONCE, &gone);
    cluster.fail_over(slot);
    suite.in_step(REDIRECTED);
    for node in &suite.nodes {
        assert_eq!(node.request(&gone.secret), Some(403));
    }
    suite.changes_reach_everyone(4);
    for prober in probers.into_iter().skip(1) {
        lost_nothing(prober);
    }
}

impl Suite {
    fn restart_first(&mut self) {
        self.nodes[0].restart();
        self.nodes[0].wait_ready();
        assert_eq!(self.nodes[0].request(&self.org.api_key.secret), Some(202));
    }
}

/// Everything in a server, as it would restore it.
fn contents(server: &RedisServer) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut connection = server.connection();
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    let dump = |name: Vec<u8>| {
        let bytes = redis::cmd("DUMP")
            .arg(&name)
            .query(&mut connection)
            .unwrap();
        (name, bytes)
    };
    names.into_iter().map(dump).collect()
}

/// A gateway started there ends with a sentence, commands do, and nothing is changed.
fn is_refused(server: &RedisServer, node: &mut Node, sentences: &[&str]) {
    let before = contents(server);
    node.start();
    let status = node.ended(MENDED);
    assert_eq!(status.code(), Some(1), "{}", node.stderr());
    for sentence in sentences {
        node.says(sentence);
    }
    node.has_not_panicked();
    node.kill();
    for command in [
        ["init"].as_slice(),
        &["orgs", "list"],
        &["orgs", "create", "mine"],
    ] {
        let output = node.try_cli(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {output:?}");
        for sentence in sentences {
            assert!(said.contains(sentence), "{command:?}: {said}");
        }
    }
    assert!(contents(server) == before, "something was changed");
}

#[test]
fn a_redis_that_holds_something_else_under_our_names_is_refused() {
    for command in [
        "SET {keygate:3}:meta something",
        "RPUSH {keygate:0}:meta 1 2 3",
        "HSET {keygate:5}:meta colour blue",
        "SADD {keygate:15}:r:63 member",
        "HSET {keygate:7}:names:orgs acme 1",
    ] {
        let server = RedisServer::start();
        server.ask::<()>(command);
        let fleet = Fleet::on(&server);
        let name = command.split(' ').nth(1).unwrap();
        let before = contents(&server);
        let output = fleet.node("a").try_cli(&["init"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{command}: {output:?}");
        assert!(
            said.contains(name) || said.contains("under the names of keygate"),
            "{command}: {said}"
        );
        assert!(
            contents(&server) == before,
            "{command}: something was changed"
        );
    }
    let server = RedisServer::start();
    server.ask::<()>("SET {keygate:0}:meta something");
    server.ask::<()>("SET unrelated value");
    let fleet = Fleet::on(&server);
    is_refused(
        &server,
        &mut fleet.node("a"),
        &["under the names of keygate", "store.redis.prefix"],
    );
    // A prefix of its own is a place of its own.
    let apart = Fleet::with(Home::server(&server).and("prefix = \"mine\""), "");
    let org = apart.node("operator").found();
    let node = apart.start("a");
    node.accepts_within(MENDED, &org.api_key);
    assert_eq!(server.ask::<String>("GET {keygate:0}:meta"), "something");
}

#[test]
fn a_redis_of_a_newer_layout_is_refused() {
    let server = RedisServer::start();
    let fleet = Fleet::on(&server);
    fleet.node("operator").found();
    for partition in 0..16 {
        server.ask::<()>(&format!("HSET {{keygate:{partition}}}:meta layout 3"));
    }
    is_refused(&server, &mut fleet.node("a"), &["layout 3", "layout 2"]);
}

#[test]
fn a_redis_of_another_root_key_is_refused() {
    let server = RedisServer::start();
    Fleet::on(&server).node("operator").found();
    let strangers = Fleet::on(&server);
    is_refused(&server, &mut strangers.node("a"), &["another root key"]);
}

#[test]
fn a_store_of_another_identity_that_turns_up_later_is_ignored() {
    let server = RedisServer::with(kept_on_disk());
    let link = Link::to(server.address());
    let fleet = Fleet::with(Home::link(&link, &server).and(TIMEOUTS), SECTIONS);
    let org = fleet.node("operator").found();
    let node = fleet.start("a");
    node.accepts_within(MENDED, &org.api_key);
    server.ask::<()>("FLUSHALL");
    let other = fleet.node("operator-2").found();
    within(MENDED, "the view to grow old", || {
        node.request(&unknown()) == Some(503)
    });
    assert_eq!(node.request(&org.api_key.secret), Some(202));
    assert_eq!(node.request(&other.api_key.secret), Some(503));
    node.says("nothing is taken from it");
    assert!(node.is_live() && node.is_ready());
    node.has_not_panicked();
}
