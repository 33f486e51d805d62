//! The rows R11 and R12 of the fault matrix (`matrix.md`): gateways that start while Redis is away, or all together. How fast
//! a million keys are loaded is the benchmarks' to say.

use std::time::{Duration, Instant};

use crate::client::{Client, series};
use crate::fleet::Fleet;
use crate::link::Mode;
use crate::scene::{AT_ONCE, MENDED, STALE, Scene, streams, unknown};
use crate::servers::RedisServer;
use crate::within;

const WHILE: Duration = Duration::from_millis(2_500);

#[test]
fn r11_a_cold_start_without_redis_serves_from_the_replica() {
    let mut scene = Scene::of(1);
    let (kept, gone) = (scene.key("kept"), scene.key("gone"));
    scene.operator.revoke_key(&gone);
    scene.nodes[0].refuses_within(AT_ONCE, &gone);
    // What is no revocation is written within a second.
    std::thread::sleep(Duration::from_millis(1_500));
    scene.nodes[0].kill();
    scene.links[0].set(Mode::Unreachable);
    std::thread::sleep(STALE);
    scene.nodes[0].restart();
    scene.nodes[0].ready_within(Duration::from_secs(3));
    assert_eq!(scene.nodes[0].request(&kept.secret), Some(202));
    assert_eq!(scene.nodes[0].request(&gone.secret), Some(403));
    // The view is as old as the replica, not as the process.
    assert_eq!(scene.nodes[0].request(&unknown()), Some(503));
    let age = scene.nodes[0].view_age();
    assert!((3.0..30.0).contains(&age), "{age}");
    scene.links[0].set(Mode::Pass);
    scene.is_whole();
}

#[test]
fn r11_a_cold_start_without_redis_and_replica_is_never_open() {
    let mut scene = Scene::of(0);
    let mut node = scene.another();
    scene.links[0].set(Mode::Cut);
    node.start();
    within(MENDED, "it to be live", || node.is_live());
    let until = Instant::now() + WHILE;
    while Instant::now() < until {
        assert!(node.is_live() && !node.is_ready());
        let request = series(&scene.org.api_key.secret);
        let mut client = Client::connect(node.address(), MENDED).unwrap();
        let (answer, head) = client.ask_with_head(request).unwrap();
        assert_eq!(answer.status, 503);
        assert!(head.contains("\r\nretry-after: "), "{head}");
        std::thread::sleep(Duration::from_millis(100));
    }
    scene.links[0].set(Mode::Pass);
    // It has everything to read.
    node.wait_ready();
    assert_eq!(node.request(&scene.org.api_key.secret), Some(202));
    scene.nodes.push(node);
    scene.is_whole();
}

#[test]
fn r11_a_gateway_waits_for_a_store_that_is_not_made_yet() {
    let server = RedisServer::start();
    let fleet = Fleet::on(&server);
    let mut node = fleet.node("a");
    node.start();
    node.says("run keygate init");
    assert!(node.is_live() && !node.is_ready());
    assert_eq!(node.request(&unknown()), Some(503));
    let org = fleet.node("operator").found();
    node.ready_within(MENDED);
    assert_eq!(node.request(&org.api_key.secret), Some(202));
    node.has_not_panicked();
}

#[test]
fn r12_ten_gateways_restart_together() {
    let mut scene = Scene::of(10);
    let (kept, gone) = (scene.key("kept"), scene.key("gone"));
    scene.operator.revoke_key(&gone);
    for node in &mut scene.nodes {
        node.kill();
    }
    for (at, node) in scene.nodes.iter_mut().enumerate() {
        // Half of them have nothing of their own to start from.
        if at % 2 == 0 {
            std::fs::remove_file(node.place().data_dir.join("replica.redb")).unwrap();
        }
        node.start();
    }
    for node in &mut scene.nodes {
        node.wait_ready();
        node.accepts_within(MENDED, &kept);
        node.refuses_within(MENDED, &gone);
    }
    scene.is_whole();
}

#[test]
fn r12_gateways_that_serve_do_not_read_everything_at_the_same_time() {
    let scene = Scene::of(6);
    let before: Vec<_> = scene
        .nodes
        .iter()
        .map(|node| node.count("snapshots_total"))
        .collect();
    for link in &scene.links {
        link.set(Mode::Cut);
    }
    let missed = scene.operator.create_key(&scene.org, "missed");
    for stream in streams() {
        scene.server.ask::<()>(&format!("XTRIM {stream} MAXLEN 0"));
    }
    for link in &scene.links {
        link.set(Mode::Pass);
    }
    let healed = Instant::now();
    let mut seen = vec![None; scene.nodes.len()];
    within(MENDED * 2, "all to have read what they missed", || {
        for ((node, seen), before) in scene.nodes.iter().zip(&mut seen).zip(&before) {
            if seen.is_none() && node.count("snapshots_total") > *before {
                *seen = Some(healed.elapsed());
            }
        }
        seen.iter().all(Option::is_some)
    });
    let first = seen.iter().flatten().min().unwrap();
    let last = seen.iter().flatten().max().unwrap();
    assert!(*last - *first > Duration::from_millis(200), "{seen:?}");
    for node in &scene.nodes {
        node.accepts_within(MENDED, &missed);
    }
}
