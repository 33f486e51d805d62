//! That no secret is anywhere but with whoever was given it: a whole run is searched, what Redis was told, what it holds,
//! what gateways keep on disk and what they say. The search is shown to find what is there.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use redis::Value;

use crate::link::Mode;
use crate::process::{self, Process};
use crate::scene::{AT_ONCE, MENDED, Scene};
use crate::servers::{Options, RedisServer};
use crate::{eventually, within};

const PASSWORD: &str = "planted-password-of-redis-5f1c";
/// An org's name, which is no secret, and must be found.
const MARKER: &str = "planted-marker-93ab";

/// Where something was looked for.
struct Found {
    place: String,
    bytes: Vec<u8>,
}

/// What must be nowhere.
struct Secret {
    what: &'static str,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    /// As it is, in the other case, as the bytes that hex digits stand for, and as hex digits of itself.
    fn of(what: &'static str, text: &str) -> Self {
        let hex =
            |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
        let mut forms = vec![
            text.as_bytes().to_vec(),
            text.to_uppercase().into_bytes(),
            hex(text.as_bytes()).into_bytes(),
        ];
        let is_hex =
            text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            forms.push(
                (0..text.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
                    .collect(),
            );
        }
        Self { what, forms }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.forms.iter().any(|form| contains(bytes, form))
    }
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    memchr::memmem::find(bytes, wanted).is_some()
}

/// All text in an answer of Redis.
fn flatten(value: &Value, all: &mut Vec<u8>) {
    match value {
        Value::BulkString(bytes) => all.extend(bytes),
        Value::SimpleString(text) => all.extend(text.as_bytes()),
        Value::Array(parts) => parts.iter().for_each(|part| flatten(part, all)),
        _ => all.push(b'\n'),
    }
    all.push(b'\n');
}

/// Every key of a server: its name and all it holds, streams too, and the file that it would save.
fn held(server: &mut RedisServer) -> Vec<Found> {
    let mut connection = server.connection();
    let names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
    assert!(names.len() > 20, "{}", names.len());
    let mut all = Vec::new();
    for name in names {
        let kind: String = redis::cmd("TYPE")
            .arg(&name)
            .query(&mut connection)
            .unwrap();
        let mut command = match kind.as_str() {
            "hash" => redis::cmd("HGETALL"),
            "stream" => redis::cmd("XRANGE"),
            "list" => redis::cmd("LRANGE"),
            other => panic!("a {other}"),
        };
        command.arg(&name);
        match kind.as_str() {
            "stream" => {
                command.arg("-").arg("+");
            }
            "list" => {
                command.arg(0).arg(-1);
            }
            _ => {}
        }
        let mut bytes = name.clone();
        flatten(&command.query(&mut connection).unwrap(), &mut bytes);
        bytes.extend(
            redis::cmd("DUMP")
                .arg(&name)
                .query::<Vec<u8>>(&mut connection)
                .unwrap(),
        );
        let place = String::from_utf8_lossy(&name).into_owned();
        all.push(Found { place, bytes });
    }
    all
}

/// What a command is given on its standard input.
fn give(scene: &Scene, arguments: &[&str], secret: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
    command
        .args(arguments)
        .arg("-c")
        .arg(scene.operator.config_file());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(secret.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn planted_secrets_are_nowhere() {
    let server = RedisServer::with(Options {
        password: Some(PASSWORD.to_owned()),
        ..Options::default()
    });
    let mut monitor = process::command(process::find("redis-cli"));
    monitor
        .env("REDISCLI_AUTH", PASSWORD)
        .args(["-p", &server.port().to_string(), "MONITOR"]);
    let monitor = Process::start(monitor);
    eventually("the monitor to watch", || monitor.stdout().contains("OK"));

    let mut scene = Scene::on(2, server, "");
    let org = scene.org.id.clone();
    scene.operator.cli(&["orgs", "create", MARKER]);
    let imported = crate::scene::unknown();
    give(
        &scene,
        &["keys", "import", "--org", &org, "--name", "imported"],
        &imported,
    );
    let made = scene.key("made");
    let token = scene
        .operator
        .cli(&["tokens", "create", "--org", &org, "--name", "page"]);
    let token = token["secret"].as_str().unwrap().to_owned();
    let root_key = fs::read_to_string(scene.operator.place().data_dir.join("root.key")).unwrap();

    // A life with everything in it that makes programs talkative.
    for node in &scene.nodes {
        within(MENDED, "the import to be in force", || {
            node.request(&imported) == Some(202)
        });
        assert_ne!(node.request(&token), None);
        node.request(&crate::scene::unknown());
    }
    scene.operator.revoke_key(&made);
    for node in &scene.nodes {
        node.refuses_within(AT_ONCE, &made);
        node.request(&made.secret);
    }
    for mode in [
        Mode::Cut,
        Mode::Say(b"-NOAUTH Authentication required.\r\n"),
        Mode::Say(crate::link::GARBAGE),
    ] {
        scene.links[0].set(mode);
        std::thread::sleep(Duration::from_millis(500));
    }
    scene.links[0].set(Mode::Pass);
    scene.nodes[0].in_step_within(MENDED);
    let talk = scene.nodes[1].stderr();
    scene.nodes[1].restart();
    scene.nodes[1].wait_ready();
    scene.is_whole();
    // Usage is written back every ten seconds at the latest; what is not in Redis yet comes when it ends.
    let config: Vec<_> = scene
        .nodes
        .iter()
        .map(|node| node.operator("/config").unwrap().body)
        .collect();
    let metrics: Vec<_> = scene
        .nodes
        .iter()
        .map(|node| node.operator("/metrics").unwrap().body)
        .collect();
    let records: Vec<_> = scene
        .nodes
        .iter()
        .map(|node| fs::read(&node.place().records).unwrap())
        .collect();
    for node in &mut scene.nodes {
        assert!(node.signal_and_end().success());
    }

    let mut places = held(&mut scene.server);
    let redis_places = places.len();
    let mut add = |place: String, bytes: Vec<u8>| places.push(Found { place, bytes });
    add("MONITOR".to_owned(), monitor.stdout().into_bytes());
    add(
        "the log of Redis".to_owned(),
        scene.server.log().into_bytes(),
    );
    add(
        "standard error before a restart".to_owned(),
        talk.into_bytes(),
    );
    for (at, node) in scene.nodes.iter().enumerate() {
        let name = &node.place().name;
        let replica = node.place().data_dir.join("replica.redb");
        add(format!("replica of {name}"), fs::read(replica).unwrap());
        add(
            format!("standard error of {name}"),
            node.stderr().into_bytes(),
        );
        add(format!("/config of {name}"), config[at].clone());
        add(format!("/metrics of {name}"), metrics[at].clone());
        add(format!("records of {name}"), records[at].clone());
    }

    // The search finds what is there: the marker in Redis, on its way there and in each replica, and words of the others.
    let found_in = |wanted: &str| -> Vec<&str> {
        let has = |found: &&Found| contains(&found.bytes, wanted.as_bytes());
        places
            .iter()
            .filter(has)
            .map(|found| found.place.as_str())
            .collect()
    };
    let marked = found_in(MARKER);
    for place in ["MONITOR", "replica of a", "replica of b"] {
        assert!(marked.contains(&place), "{marked:?}");
    }
    assert!(marked.len() >= 6, "{marked:?}");
    for (word, place) in [
        ("keygate_view_age_seconds", "/metrics of a"),
        ("data_dir", "/config of b"),
        ("serving on", "standard error of a"),
        ("imported", "records of b"),
        ("Ready to accept connections", "the log of Redis"),
    ] {
        assert!(found_in(word).contains(&place), "no {word} in {place}");
    }
    assert!(redis_places > 20);

    let secrets = [
        Secret::of("imported API key", &imported),
        Secret::of("API key", &scene.org.api_key.secret),
        Secret::of("revoked API key", &made.secret),
        Secret::of("application key", &scene.org.application_key.secret),
        Secret::of("client token", &token),
        Secret::of("root key", root_key.trim()),
        Secret::of("password of Redis", PASSWORD),
    ];
    for secret in &secrets {
        for found in &places {
            assert!(
                !secret.is_in(&found.bytes),
                "the {} is in {}",
                secret.what,
                found.place
            );
        }
        assert!(secret.is_in(&[b"before", &secret.forms[0][..], b"after"].concat()));
    }
}
