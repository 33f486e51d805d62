//! The settings of `deploy/redis.conf` on a real server: what they promise about a restart. Whether a node's user may do all
//! it must is tested with the store.

use std::fs;
use std::net::TcpStream;

use crate::eventually;
use crate::fleet::{Fleet, Home};
use crate::ports::Port;
use crate::process::{Process, command, find};

/// What this machine has no use for: certificates, other folders, replicas.
const NOT_HERE: [&str; 7] = [
    "port ",
    "tls-",
    "dir ",
    "min-replicas-to-write ",
    "masteruser ",
    "masterauth ",
    "#",
];

#[test]
fn a_redis_as_deployed_has_after_a_restart_what_it_had_before() {
    let given = include_str!("../../deploy/redis.conf");
    let folder = tempfile::tempdir().unwrap();
    let port = Port::free();
    let settings = given
        .lines()
        .filter(|line| !NOT_HERE.iter().any(|not| line.starts_with(not)))
        // The SHA-256 that stands for a password there, as the password that it is here.
        .map(|line| line.replace(&format!("#{}", "0".repeat(64)), ">hunter2"));
    let here = [
        format!("port {}", port.number()),
        "bind 127.0.0.1".to_owned(),
        format!("dir {}", folder.path().display()),
    ];
    let settings: Vec<String> = settings.chain(here).collect();
    let file = folder.path().join("redis.conf");
    fs::write(&file, settings.join("\n") + "\n").unwrap();
    let start = || {
        let mut redis = command(find("redis-server"));
        redis.arg(&file);
        let process = Process::start(redis);
        eventually("redis-server to listen", || {
            TcpStream::connect(port.address()).is_ok()
        });
        process
    };

    let mut server = start();
    let home = Home::Redis {
        servers: vec![format!("redis://{}", port.address())],
        lines: "username = \"keygate\"\npassword = \"hunter2\"\n".to_owned(),
    };
    let fleet = Fleet::with(home, "");
    let operator = fleet.node("operator");
    let org = operator.found();
    operator.create_key(&org, "second");
    let before = operator.cli(&["store", "verify"]);
    assert_eq!(before["records"], 5);
    server.signal("TERM");
    server.ended(crate::PATIENCE);

    let _server = start();
    eventually("the store to be loaded", || {
        operator
            .try_cli(&["keys", "list", "--org", &org.id])
            .status
            .success()
    });
    assert_eq!(operator.cli(&["store", "verify"]), before);
}
