//! What operators are told of a fleet's nodes: receipts of what was revoked, the list of nodes, and a store that nodes put
//! back. The gateways are real and so is Redis.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::eventually;
use crate::fleet::{Fleet, Org};
use crate::node::Node;
use crate::servers::{Options, RedisServer};

/// What a command shows that ends with this code.
fn ends(node: &Node, code: i32, arguments: &[&str]) -> Value {
    let output = node.try_cli(&[arguments, &["--output", "json"]].concat());
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {output:?}"
    );
    serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
}

/// The lines of a receipt: node, state, whether it says when it was applied, whether it says when it ends.
fn lines(receipt: &Value) -> Vec<(String, String, bool, bool)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    receipt["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            (
                text(&node["node"]),
                text(&node["state"]),
                node["applied_after_ms"].is_u64(),
                node["refuses_at_the_latest"].is_string(),
            )
        })
        .collect()
}

fn line(node: &str, state: &str, applied: bool, ends: bool) -> (String, String, bool, bool) {
    (node.to_owned(), state.to_owned(), applied, ends)
}

#[test]
fn a_receipt_says_of_every_node_when_it_applied_the_change_or_when_it_will_refuse() {
    let server = RedisServer::start();
    let fleet = Fleet::on(&server);
    let org = fleet.node("operator").found();
    let (mut a, mut b) = (fleet.start("a"), fleet.start("b"));
    let keys = ["one", "two", "three"].map(|name| a.create_key(&org, name));
    eventually("b to know the keys", || {
        b.request(&keys[2].secret) == Some(202)
    });

    let revoked = ends(&a, 0, &["keys", "revoke", &keys[0].id, "--wait"]);
    assert_eq!(revoked["status"], "revoked");
    let receipt = &revoked["receipt"];
    assert_eq!(receipt["applied_everywhere"], true);
    let both = [
        line("a", "applied", true, false),
        line("b", "applied", true, false),
    ];
    assert_eq!(lines(receipt), both);
    for node in receipt["nodes"].as_array().unwrap() {
        assert!(
            node["applied_after_ms"].as_u64().unwrap() < 1_000,
            "{receipt}"
        );
    }
    // What the receipt says is true.
    assert_eq!(
        (a.request(&keys[0].secret), b.request(&keys[0].secret)),
        (Some(403), Some(403))
    );

    // A node that hears nothing has not applied it, and has a lease.
    b.pause();
    let begun = Instant::now();
    let revoked = ends(&a, 3, &["keys", "revoke", &keys[1].id, "--wait", "1"]);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let partly = [
        line("a", "applied", true, false),
        line("b", "no_answer", false, true),
    ];
    assert_eq!(lines(&revoked["receipt"]), partly);
    let table = a.try_cli(&["keys", "revoke", &keys[1].id, "--wait", "0"]);
    let table = String::from_utf8(table.stdout).unwrap();
    for word in ["REFUSES AT THE LATEST", "no answer"] {
        assert!(table.contains(word), "{table}");
    }
    // The same may be asked again, also by a command that reaches no server.
    b.resume();
    let again = ends(
        &fleet.node("elsewhere"),
        0,
        &["keys", "revoke", &keys[1].id, "--wait"],
    );
    let both = [
        line("a", "applied", false, false),
        line("b", "applied", false, false),
    ];
    assert_eq!(lines(&again["receipt"]), both);

    // A silent one is not waited for, and one that has ended is not in the way.
    b.kill();
    std::thread::sleep(Duration::from_secs(6));
    let begun = Instant::now();
    ends(&a, 3, &["keys", "revoke", &keys[2].id, "--wait", "60"]);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    b.start();
    b.wait_ready();
    // An org keeps an admin.
    let another = ["--email", "another@acme.example", "--role", "admin"];
    a.cli(&[&["users", "create", "--org", &org.id][..], &another].concat());
    let disabled = ends(&a, 0, &["users", "disable", &org.user, "--wait"]);
    assert_eq!(lines(&disabled["receipt"]).len(), 2);
    assert!(b.terminate().success());
    let disabled = ends(&a, 0, &["orgs", "disable", &org.id, "--wait"]);
    assert_eq!(
        lines(&disabled["receipt"])[0],
        line("a", "applied", true, false)
    );
    assert_eq!(a.request(&org.api_key.secret), Some(403));

    let nodes = a.cli(&["fleet"]);
    let health: Vec<_> = nodes
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (&node["node"], &node["health"]))
        .collect();
    assert_eq!(
        health,
        [
            (&"a".into(), &"live".into()),
            (&"b".into(), &"stopped".into())
        ]
    );
    assert_eq!(nodes[0]["partitions_behind"], 0);
    assert_eq!(nodes[0]["keys"], 5);
    assert_eq!(nodes[0]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(a.cli(&["store", "verify"])["compared_with_server"], true);
    a.terminate();
}

#[test]
fn with_the_embedded_store_a_receipt_is_of_this_server() {
    let fleet = Fleet::embedded();
    let mut node = fleet.node("a");
    let org = node.found();
    node.start();
    node.wait_ready();
    let key = node.create_key(&org, "one");
    let revoked = ends(&node, 0, &["keys", "revoke", &key.id, "--wait"]);
    assert_eq!(
        lines(&revoked["receipt"]),
        [line("this server", "applied", true, false)]
    );
    let refused = node.try_cli(&["fleet"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("a file of one server")
    );
    node.terminate();
    let key = node.create_key(&org, "two");
    let revoked = ends(&node, 0, &["keys", "revoke", &key.id, "--wait"]);
    assert_eq!(lines(&revoked["receipt"]), []);
}

/// The keys of an org; not when they were last used, which no node keeps.
fn shown(node: &Node, org: &Org) -> Vec<[Value; 3]> {
    let keys = node.cli(&["keys", "list", "--org", &org.id]);
    let keys = keys.as_array().unwrap().iter();
    keys.map(|key| ["id", "name", "status"].map(|field| key[field].clone()))
        .collect()
}

#[test]
fn a_store_that_redis_has_lost_is_put_back_by_a_node_that_runs_or_its_replica() {
    let mut server = RedisServer::with(Options {
        appendonly: true,
        ..Options::default()
    });
    let fleet = Fleet::on(&server);
    let org = fleet.node("operator").found();
    let mut node = fleet.start("a");
    let (revoked, kept) = (
        node.create_key(&org, "revoked"),
        node.create_key(&org, "kept"),
    );
    let dump = server.dump();
    node.revoke_key(&revoked);
    let before = node.cli(&["store", "status"]);

    // Redis is back as it was before the last changes, then empty; the node runs.
    for empty in [false, true] {
        if empty {
            server.restart_empty();
        } else {
            server.restart_with(&dump);
        }
        eventually("the node to reach Redis again", || {
            node.try_cli(&["fleet"]).status.success() || empty
        });
        let lost = node.try_cli(&["store", "verify"]);
        assert_eq!(lost.status.code(), Some(1), "{lost:?}");
        assert_eq!(
            (node.request(&revoked.secret), node.request(&kept.secret)),
            (Some(403), Some(202))
        );
        let restored = node.cli(&["store", "restore"]);
        assert!(restored["written"].as_u64().unwrap() > 0, "{restored}");
        assert_eq!(restored["identity"], before["identity"]);
        assert_eq!(
            node.cli(&["store", "verify"])["faults"],
            Value::Array(vec![])
        );
        assert_eq!(
            (node.request(&revoked.secret), node.request(&kept.secret)),
            (Some(403), Some(202))
        );
        node.create_key(&org, if empty { "after" } else { "between" });
        // What restoring writes into the streams is nothing to be alarmed about.
        let malformed = "keygate_sync_records_refused_total{reason=\"malformed\"}";
        assert_eq!(node.metric(malformed), Some(0.0));
    }

    // And from the replica of a node that does not run.
    std::thread::sleep(Duration::from_secs(2));
    node.terminate();
    let keys = shown(&node, &org);
    server.restart_empty();
    let restored = node.cli(&["store", "restore"]);
    assert_eq!(restored["target_newer"], 0);
    assert_eq!(shown(&node, &org), keys);
    assert_eq!(
        node.cli(&["store", "verify"])["faults"],
        Value::Array(vec![])
    );
    let again = node.cli(&["store", "restore"]);
    assert_eq!(again["written"], 0);

    // Another store is never written over.
    server.restart_empty();
    let other = Fleet::on(&server);
    other.node("operator").found();
    let refused = node.try_cli(&["store", "restore"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("another"), "{said}");
}

#[test]
fn a_key_is_revoked_everywhere_also_when_redis_has_lost_everything() {
    let mut server = RedisServer::start();
    let fleet = Fleet::on(&server);
    let org = fleet.node("operator").found();
    let (a, b) = (fleet.start("a"), fleet.start("b"));
    let (leaked, kept) = (a.create_key(&org, "leaked"), a.create_key(&org, "kept"));
    eventually("b to know the keys", || {
        b.request(&kept.secret) == Some(202)
    });
    std::thread::sleep(Duration::from_secs(2));
    server.restart_empty();
    let begun = Instant::now();
    eventually("Redis to be reached again", || {
        a.try_cli(&["keys", "revoke", &leaked.id]).status.success()
    });
    eventually("both to refuse it", || {
        [&a, &b]
            .iter()
            .all(|node| node.request(&leaked.secret) == Some(403))
    });
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(
        (a.request(&kept.secret), b.request(&kept.secret)),
        (Some(202), Some(202))
    );
    // Until all is put back, nobody takes what is there for the store.
    assert_eq!(a.cli(&["store", "status"])["restoring"], true);
    a.cli(&["store", "restore"]);
    assert_eq!(a.cli(&["store", "status"])["restoring"], false);
    eventually("the whole store to be there and on b", || {
        let verified = b.try_cli(&["store", "verify"]);
        verified.status.success() && b.request(&kept.secret) == Some(202)
    });
    assert_eq!(
        (a.request(&leaked.secret), b.request(&leaked.secret)),
        (Some(403), Some(403))
    );
}

#[test]
fn demos_on_one_redis_are_a_fleet() {
    let server = RedisServer::start();
    let start = || {
        let mut command = crate::process::command(env!("CARGO_BIN_EXE_keygate"));
        command.args(["demo", "--output", "json", "--redis", &server.url()]);
        let demo = crate::process::Process::start(command);
        eventually("the demo to say where it is", || {
            demo.stdout().contains('\n')
        });
        let said: Value = serde_json::from_str(demo.stdout().lines().next().unwrap()).unwrap();
        (demo, said)
    };
    let (_first, one) = start();
    let (_second, two) = start();
    let ask = |at: &Value, key: &Value| {
        let address = at["address"].as_str().unwrap().parse().unwrap();
        let mut client = crate::client::Client::connect(address, Duration::from_secs(5)).unwrap();
        client
            .ask(crate::client::series(key["api_key"].as_str().unwrap()))
            .unwrap()
            .status
    };
    for (at, key) in [(&one, &two), (&two, &one), (&one, &one)] {
        eventually("each demo to know the keys of both", || ask(at, key) == 202);
    }
}
