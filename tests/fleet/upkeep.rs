//! What keeps a store in order, by its commands and on real servers: moving it between its homes, looking through it,
//! changing its root key, and asking the servers for dangerous settings. No gateway runs but where it says so.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use keygate::config::Config;
use keygate::keys::audit::By;
use keygate::keys::rules::Limits;
use keygate::keys::secret::RootKey;
use keygate::keys::{Labels, PARTITIONS};
use keygate::store::{EmbeddedStore, NewKey, NewKeyOf, migrate};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::eventually;
use crate::fleet::{Fleet, Home, Org};
use crate::link::{Link, Mode};
use crate::node::Node;
use crate::servers::{Options, RedisServer};

/// A node whose configuration names this server, with a store in its file. It does not run.
fn with_file(fleet: &Fleet, name: &str) -> (Node, Org) {
    let node = fleet.node_with(name, &Home::Embedded);
    let org = node.found();
    let on_redis = fleet.node(&format!("{name}-redis"));
    let data_dir = |node: &Node| format!("{:?}", node.place().data_dir);
    let text = fs::read_to_string(on_redis.config_file()).unwrap();
    let text = text.replace(&data_dir(&on_redis), &data_dir(&node));
    fs::write(node.config_file(), text).unwrap();
    (node, org)
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(text).unwrap()
}

/// What a command says that must end with this code.
fn ends(node: &Node, code: i32, arguments: &[&str]) -> String {
    let output = node.try_cli(arguments);
    let said = said(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

fn file_of(node: &Node) -> EmbeddedStore {
    let root_key = fs::read_to_string(node.place().data_dir.join("root.key")).unwrap();
    let root_key = RootKey::from_hex(root_key.trim()).unwrap();
    let path = node.place().data_dir.join("keygate.redb");
    EmbeddedStore::open(&path, &root_key, Limits::default()).unwrap()
}

/// Everything that the commands show of an org.
fn shown(node: &Node, org: &Org) -> Vec<Value> {
    let org = org.id.as_str();
    vec![
        node.cli(&["orgs", "list"]),
        node.cli(&["users", "list", "--org", org]),
        node.cli(&["service-accounts", "list", "--org", org]),
        node.cli(&["keys", "list", "--org", org]),
        node.cli(&["apps", "list", "--org", org]),
        node.cli(&["tokens", "list", "--org", org]),
    ]
}

#[test]
fn a_store_moves_to_redis_and_back_and_is_the_same() {
    let server = RedisServer::start();
    let fleet = Fleet::on(&server);
    let (node, org) = with_file(&fleet, "a");
    // Its own commands are about Redis from here on, so what is in the file is seen by another configuration.
    let in_file = fleet.node_with("file", &Home::Embedded);
    let text = fs::read_to_string(in_file.config_file()).unwrap();
    let place = |node: &Node| format!("{:?}", node.place().data_dir);
    fs::write(
        in_file.config_file(),
        text.replace(&place(&in_file), &place(&node)),
    )
    .unwrap();
    let revoked = in_file.create_key(&org, "revoked");
    in_file.revoke_key(&revoked);
    in_file.create_key(&org, "revoked");
    in_file.cli(&[
        "service-accounts",
        "create",
        "--org",
        &org.id,
        "--name",
        "robot",
    ]);
    in_file.cli(&["apps", "create", "--owner", "robot", "--name", "first"]);
    in_file.cli(&["users", "disable", "robot"]);
    in_file.cli(&["users", "enable", "robot"]);
    in_file.cli(&["apps", "create", "--owner", "robot", "--name", "first"]);
    in_file.cli(&["tokens", "create", "--org", &org.id, "--name", "page"]);
    let before = shown(&in_file, &org);
    assert_eq!(
        in_file.cli(&["store", "verify"])["faults"],
        Value::Array(vec![])
    );

    let copied = node.cli(&["store", "migrate", "--to-redis"]);
    assert_eq!(
        (&copied["records"], &copied["written"]),
        (&10.into(), &10.into())
    );
    assert_eq!(shown(&node, &org), before);
    let verified = node.cli(&["store", "verify"]);
    assert_eq!(verified["records"], 10);
    assert_eq!(verified["digests"], PARTITIONS * 64);
    let status = node.cli(&["store", "status"]);
    assert_eq!(status["identity"], copied["identity"]);
    assert_eq!(status["restoring"], false);
    assert_eq!(status["servers"][0]["role"], "master");
    // What was copied before is compared, and not copied again.
    let again = node.cli(&["store", "migrate", "--to-redis"]);
    assert_eq!(
        (&again["records"], &again["written"]),
        (&10.into(), &0.into())
    );

    // It is a store like any other: names that are taken stay so, and revoked keys stay revoked.
    let taken = ends(
        &node,
        1,
        &["tokens", "create", "--org", &org.id, "--name", "page"],
    );
    assert!(taken.contains("page"), "{taken}");
    ends(&node, 1, &["keys", "revoke", &revoked.id]);
    node.cli(&["tokens", "create", "--org", &org.id, "--name", "later"]);
    let other = ends(&node, 1, &["store", "migrate", "--to-redis"]);
    assert!(other.contains("already"), "{other}");
    let other = ends(&node, 1, &["store", "migrate", "--to-file"]);
    assert!(other.contains("already"), "{other}");

    let now = shown(&node, &org);
    fs::remove_file(node.place().data_dir.join("keygate.redb")).unwrap();
    let copied = node.cli(&["store", "migrate", "--to-file"]);
    assert_eq!(
        (&copied["records"], &copied["written"]),
        (&11.into(), &11.into())
    );
    assert_eq!(shown(&in_file, &org), now);
    assert_eq!(
        in_file.cli(&["store", "verify"])["faults"],
        Value::Array(vec![])
    );
    in_file.cli(&["tokens", "create", "--org", &org.id, "--name", "latest"]);
}

#[test]
fn a_migration_that_was_killed_goes_on_where_it_was() {
    let server = RedisServer::start();
    let link = Link::to(server.address());
    let fleet = Fleet::with(Home::link(&link, &server), "");
    let (node, _) = with_file(&fleet, "a");
    let store = file_of(&node);
    let org = store.orgs().unwrap()[0].id;
    for number in 0..300 {
        let new = NewKey {
            of: NewKeyOf::ClientToken {
                org,
                allowed_origins: Vec::new(),
            },
            name: format!("token {number}").parse().unwrap(),
            secret: None,
            expires_at: None,
            imported: false,
            labels: Labels::default(),
        };
        store.create_key(new, &By::operator()).unwrap();
    }
    let records = store.counts().unwrap().iter().sum::<u64>();
    drop(store);
    // Slow enough to be caught in the middle, however busy the machine is.
    link.set(Mode::Delay(Duration::from_millis(1)));
    let mut kills = 0;
    let partition = org.partition().index();
    while kills < 3 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keygate"))
            .args(["store", "migrate", "--to-redis", "-c"])
            .arg(node.config_file())
            .spawn()
            .unwrap();
        let so_far = |server: &RedisServer| {
            (0..64)
                .map(|bucket| {
                    server.ask::<u64>(&format!("HLEN {{keygate:{partition}}}:r:{bucket}"))
                })
                .sum::<u64>()
        };
        let at_start = so_far(&server);
        eventually("some of it to be there", || {
            so_far(&server) > at_start || child.try_wait().unwrap().is_some()
        });
        let is_done = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if is_done || so_far(&server) >= records {
            break;
        }
        kills += 1;
        let half = ends(&node, 1, &["store", "verify"]);
        assert!(half.contains("half restored or half copied"), "{half}");
        assert_eq!(node.cli(&["store", "status"])["restoring"], true);
        let made = ends(&node, 1, &["orgs", "create", "meanwhile"]);
        assert!(made.contains("nothing new is made"), "{made}");
    }
    assert!(kills > 0, "it was never caught half-way");
    link.set(Mode::Pass);
    let copied = node.cli(&["store", "migrate", "--to-redis"]);
    assert_eq!(copied["records"], records);
    assert!(copied["written"].as_u64().unwrap() < records, "{copied}");
    assert_eq!(node.cli(&["store", "verify"])["records"], records);
    assert_eq!(node.cli(&["store", "status"])["restoring"], false);
}

#[test]
fn what_is_already_there_or_in_use_is_never_written_over() {
    let server = RedisServer::start();
    let fleet = Fleet::on(&server);
    let (node, _) = with_file(&fleet, "a");
    let (other, _) = with_file(&fleet, "b");

    server.ask::<u32>("HSET {keygate:3}:claims a b");
    let refused = ends(&node, 1, &["store", "migrate", "--to-redis"]);
    assert!(refused.contains("no store of this version"), "{refused}");
    server.ask::<String>("FLUSHALL");

    node.cli(&["store", "migrate", "--to-redis"]);
    let dump: Vec<String> = server.ask("HVALS {keygate:0}:names:orgs");
    let refused = ends(&other, 1, &["store", "migrate", "--to-redis"]);
    assert!(refused.contains("another one"), "{refused}");
    assert_eq!(
        server.ask::<Vec<String>>("HVALS {keygate:0}:names:orgs"),
        dump
    );
    server.ask::<u32>("HSET {keygate:0}:meta layout 99");
    let refused = ends(&node, 1, &["store", "migrate", "--to-redis"]);
    assert!(refused.contains("layout 99"), "{refused}");
    server.ask::<String>("FLUSHALL");

    // While a gateway has the file, it is not copied behind its back.
    let mut embedded = fleet.node_with("c", &Home::Embedded);
    embedded.found();
    embedded.start();
    embedded.wait_ready();
    let config = Config::load(Some(&node.config_file()), std::iter::empty()).unwrap();
    let mut store = config.store.clone();
    store.data_dir.clone_from(&embedded.place().data_dir);
    let refused = migrate::to_redis(&store, &config.rules).unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
    assert_eq!(server.ask::<u64>("DBSIZE"), 0);

    let nowhere = ends(&embedded, 64, &["store", "migrate", "--to-redis"]);
    assert!(nowhere.contains("which Redis?"), "{nowhere}");
}

/// The arguments of a damage, and what it is called then.
type Damage = (&'static str, Vec<Vec<u8>>, &'static str);

#[test]
fn every_fault_is_found_and_named() {
    let server = RedisServer::start();
    let fleet = Fleet::on(&server);
    let node = fleet.node("a");
    let org = node.found();
    let key = node.create_key(&org, "extra");
    assert_eq!(
        node.cli(&["store", "verify"])["faults"],
        Value::Array(vec![])
    );

    let id = uuid_bytes(&key.id);
    let partition = usize::from(id[15]) % PARTITIONS;
    let name = |rest: &str| format!("{{keygate:{partition}}}:{rest}").into_bytes();
    let bucket = name(&format!("r:{}", id[0] % 64));
    let field = [&b"k"[..], &id].concat();
    let names = name(&format!("names:keys:{}", org.id));
    let list = name(&format!("of:{}", org.id));
    let sealed: Vec<u8> = command(&server, &[b"HGET".to_vec(), bucket.clone(), field.clone()]);
    let mut changed = sealed.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let other = [&b"k"[..], &[7; 16]].concat();
    let damages: Vec<Damage> = vec![
        (
            "HSET",
            vec![bucket.clone(), field.clone(), changed],
            "its code is not of this store",
        ),
        (
            "HSET",
            vec![bucket.clone(), field.clone(), b"short".to_vec()],
            "malformed",
        ),
        (
            "HSET",
            vec![bucket.clone(), field.clone(), vec![b'x'; 300_000]],
            "malformed",
        ),
        (
            "HSET",
            vec![bucket.clone(), other, sealed],
            "record of something else",
        ),
        (
            "HDEL",
            vec![bucket.clone(), field.clone()],
            "not what its digest says",
        ),
        (
            "HDEL",
            vec![names.clone(), b"extra".to_vec()],
            "does not lead to the key",
        ),
        (
            "HSET",
            vec![names.clone(), b"ghost".to_vec(), id.to_vec()],
            "leads to what does not hold it",
        ),
        (
            "HSET",
            vec![names, b"extra".to_vec(), vec![9; 16]],
            "does not lead to the key",
        ),
        ("HDEL", vec![list, field], "does not lead to the key"),
        (
            "HSET",
            vec![
                name("digest"),
                (id[0] % 64).to_string().into_bytes(),
                vec![1; 8],
            ],
            "not what its digest says",
        ),
        (
            "HSET",
            vec![name("meta"), b"count".to_vec(), b"99".to_vec()],
            "records and says 99",
        ),
        (
            "HSET",
            vec![name("meta"), b"identity".to_vec(), b"x".to_vec()],
            "not of this store",
        ),
        ("DEL", vec![name("meta")], "not of this store"),
    ];
    for (what, arguments, fault) in damages {
        let damaged = arguments[0].clone();
        let copy = [b"COPY".to_vec(), damaged.clone(), b"saved".to_vec()];
        assert_eq!(command::<u32>(&server, &copy), 1, "{fault}");
        let line = [&[what.as_bytes().to_vec()][..], &arguments].concat();
        command::<redis::Value>(&server, &line);
        let said = ends(&node, 1, &["store", "verify"]);
        assert!(said.contains(fault), "{what} {fault}: {said}");
        command::<String>(&server, &[b"RENAME".to_vec(), b"saved".to_vec(), damaged]);
        ends(&node, 0, &["store", "verify"]);
    }
    for partition in 0..PARTITIONS {
        server.ask::<u32>(&format!("DEL {{keygate:{partition}}}:claims"));
    }
    let said = ends(&node, 1, &["store", "verify"]);
    assert!(
        said.contains(&format!(
            "does not lead to the key {} by its fingerprint",
            key.id
        )),
        "{said}"
    );
}

fn uuid_bytes(text: &str) -> [u8; 16] {
    text.parse::<keygate::keys::KeyId>().unwrap().bytes()
}

fn command<T: redis::FromRedisValue>(server: &RedisServer, words: &[Vec<u8>]) -> T {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query(&mut server.connection()).unwrap()
}

#[test]
fn a_root_key_is_changed_while_the_gateway_serves() {
    let server = RedisServer::start();
    let fleet = Fleet::on(&server);
    let mut running = fleet.node_with("a", &Home::Embedded);
    let org = running.found();
    running.start();
    running.wait_ready();
    for (node, serves) in [(&mut running, true), (&mut fleet.node("b"), false)] {
        if !serves {
            node.found();
        }
        let new = node.place().data_dir.join("new.key");
        let old = node.cli(&["store", "status"])["root_keys"][0]["check"].clone();
        let old = old.as_str().unwrap();
        let added = node.cli(&["store", "rotate-root-key", "--new", new.to_str().unwrap()]);
        assert_eq!(fs::metadata(&new).unwrap().len(), 65);
        // Doing it twice changes nothing.
        let again = node.cli(&["store", "rotate-root-key", "--new", new.to_str().unwrap()]);
        assert_eq!(again["check"], added["check"]);
        let known = node.cli(&["store", "status"])["root_keys"]
            .as_array()
            .unwrap()
            .len();
        assert_eq!(known, 2);
        let in_use = ends(node, 1, &["store", "retire-root-key", old]);
        assert!(in_use.contains("in use"), "{in_use}");
        let unknown = ends(node, 1, &["store", "retire-root-key", "0123456789abcdef"]);
        assert!(unknown.contains("has no root key"), "{unknown}");

        if serves {
            node.terminate();
        }
        fs::rename(&new, node.place().data_dir.join("root.key")).unwrap();
        if serves {
            node.start();
            node.wait_ready();
            assert_eq!(node.request(&org.api_key.secret), Some(202));
        }
        node.cli(&["store", "retire-root-key", old]);
        let last = ends(
            node,
            1,
            &["store", "retire-root-key", added["check"].as_str().unwrap()],
        );
        assert!(last.contains("the only root key"), "{last}");
        assert_eq!(
            node.cli(&["store", "verify"])["faults"],
            Value::Array(vec![])
        );
    }
    let exposed = running.place().data_dir.join("exposed.key");
    fs::write(&exposed, "5a".repeat(32)).unwrap();
    let refused = ends(
        &running,
        1,
        &[
            "store",
            "rotate-root-key",
            "--new",
            exposed.to_str().unwrap(),
        ],
    );
    assert!(refused.contains("others may read it"), "{refused}");
}

#[test]
fn check_warns_of_what_endangers_the_store_and_refuses_what_is_not_ours() {
    let mut server = RedisServer::with(Options {
        password: Some("open-sesame".to_owned()),
        lines: vec!["maxmemory-policy allkeys-lru".to_owned()],
        ..Options::default()
    });
    let fleet = Fleet::on(&server);
    let node = fleet.node("a");
    let warned = ends(&node, 0, &["check"]);
    for warning in [
        "maxmemory-policy allkeys-lru",
        "appendonly no",
        "has no replica",
        "run keygate init",
    ] {
        assert!(warned.contains(warning), "{warning}: {warned}");
    }
    assert!(!warned.contains("lets everybody in"), "{warned}");
    node.found();
    let warned = ends(&node, 0, &["check"]);
    assert!(!warned.contains("keygate init"), "{warned}");

    let strangers = Fleet::on(&server);
    let stranger = strangers.node("b");
    let refused = ends(&stranger, 1, &["check"]);
    assert!(refused.contains("another root key"), "{refused}");
    server.ask::<u32>("HSET {keygate:0}:meta layout 99");
    let refused = ends(&node, 1, &["check"]);
    assert!(refused.contains("layout 99"), "{refused}");
    server.ask::<String>("FLUSHALL");
    server.ask::<String>("SET {keygate:0}:meta x");
    let refused = ends(&node, 1, &["check"]);
    assert!(refused.contains("no store of this version"), "{refused}");
    server.kill();
    let away = ends(&node, 0, &["check"]);
    assert!(away.contains("cannot be reached"), "{away}");

    let open = RedisServer::with(Options {
        appendonly: true,
        ..Options::default()
    });
    let fleet = Fleet::on(&open);
    let node = fleet.node("c");
    let warned = ends(&node, 0, &["check"]);
    assert!(warned.contains("lets everybody in"), "{warned}");
    assert!(!warned.contains("appendonly"), "{warned}");
}

#[test]
fn the_store_is_named_by_the_servers_alone() {
    let server = RedisServer::start();
    let keygate = |arguments: &[&str], folder: &Path| {
        Command::new(env!("CARGO_BIN_EXE_keygate"))
            .args(arguments)
            .env("KEYGATE_STORE__REDIS__SERVERS", server.url())
            .env("KEYGATE_STORE__ROOT_KEY", "5a".repeat(32))
            .current_dir(folder)
            .output()
            .unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    let empty = keygate(&["orgs", "list"], folder.path());
    assert_eq!(empty.status.code(), Some(1), "{}", said(&empty));
    assert!(
        said(&empty).contains("run keygate init"),
        "{}",
        said(&empty)
    );
    let made = keygate(&["init"], folder.path());
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let listed = keygate(&["orgs", "list"], folder.path());
    assert!(said(&listed).contains("default"), "{}", said(&listed));
}

#[test]
fn a_store_in_a_cluster_is_looked_after_like_any_other() {
    let cluster = Cluster::start();
    let fleet = Fleet::with(Home::cluster(&cluster), "");
    let (node, org) = with_file(&fleet, "a");
    let copied = node.cli(&["store", "migrate", "--to-redis"]);
    assert_eq!(copied["records"], 4);
    let status = node.cli(&["store", "status"]);
    assert_eq!(status["servers"].as_array().unwrap().len(), 3);
    assert_eq!(status["partitions"].as_array().unwrap().len(), PARTITIONS);
    let verified = node.cli(&["store", "verify"]);
    assert_eq!(
        (&verified["records"], &verified["faults"]),
        (&4.into(), &Value::Array(vec![]))
    );
    let new = node.place().data_dir.join("new.key");
    node.cli(&["store", "rotate-root-key", "--new", new.to_str().unwrap()]);
    let mut running = fleet.node("b");
    fs::copy(&new, running.place().data_dir.join("root.key")).unwrap();
    running.start();
    running.wait_ready();
    let key = running.create_key(&org, "extra");
    let revoked = running.cli(&["keys", "revoke", &key.id, "--wait"]);
    assert_eq!(revoked["receipt"]["nodes"][0]["state"], "applied");
    let nodes = running.cli(&["fleet"]);
    assert_eq!(
        (&nodes[0]["node"], &nodes[0]["health"]),
        (&"b".into(), &"live".into())
    );
    fs::remove_file(node.place().data_dir.join("keygate.redb")).unwrap();
    node.cli(&["store", "migrate", "--to-file"]);
}
