//! The rows D1, D2 and K1 of the fault matrix (`matrix.md`): what befalls a gateway's own disk, and what its replica must
//! not forget. A disk here is a small file system in memory, which takes a test that runs as root.

use std::fs;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fleet::{Home, Key};
use crate::link::Mode;
use crate::node::Node;
use crate::scene::{AT_ONCE, MENDED, STALE, Scene, lost_nothing, unknown};
use crate::servers::RedisServer;
use crate::within;

const WHILE: Duration = Duration::from_millis(2_500);

/// A small file system in place of a gateway's data folder. Dropping it takes it away.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Over this gateway's folder, with the root key in it.
    fn under(node: &Node) -> Self {
        let folder = node.place().data_dir.clone();
        let key = fs::read(folder.join("root.key")).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=8m", "none"], &folder);
        let disk = Self(folder);
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(disk.0.join("root.key"));
        std::io::Write::write_all(&mut file.unwrap(), &key).unwrap();
        disk
    }

    /// Nothing more can be written.
    fn fill(&self) {
        let filler = fs::File::create(self.0.join("filler")).unwrap();
        for chunk in [1 << 16, 1] {
            while std::io::Write::write_all(&mut &filler, &vec![0; chunk]).is_ok() {}
        }
    }

    /// There is room again.
    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let output = Command::new("mount")
        .args(arguments)
        .arg(at)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "these tests need root, as in a container: {output:?}"
    );
}

/// While `broken`, everything but the replica goes on, and somebody is told.
fn goes_on(scene: &Scene) {
    let node = &scene.nodes[0];
    let prober = scene.prober(0);
    let before = node.metric("keygate_replica_errors_total").unwrap();
    let (made, gone) = (scene.key("made-meanwhile"), scene.key("gone-meanwhile"));
    scene.operator.revoke_key(&gone);
    node.refuses_within(AT_ONCE, &gone);
    // What was kept free of room is used up at some time.
    let store = scene.store();
    for at in 0..300 {
        crate::revocation::make_key(&store, &scene.org.id, &format!("filling-{at}"));
    }
    within(MENDED, "the replica's trouble to be counted", || {
        node.metric("keygate_replica_errors_total").unwrap() > before
    });
    node.says("replica");
    std::thread::sleep(WHILE);
    node.in_step_within(Duration::ZERO);
    assert!(node.is_ready() && node.is_live());
    assert_eq!(node.request(&made.secret), Some(202));
    assert_eq!(node.request(&gone.secret), Some(403));
    lost_nothing(prober);
    node.has_not_panicked();
}

/// Once it is well again, the replica is, too: a cold start without Redis knows what happened meanwhile.
fn has_caught_up(scene: &mut Scene) {
    let node = &scene.nodes[0];
    within(MENDED * 2, "the replica to be in step", || {
        node.metric("keygate_replica_age_seconds").unwrap() < 2.0
    });
    let gone = scene.key("gone-afterwards");
    scene.operator.revoke_key(&gone);
    scene.nodes[0].refuses_within(AT_ONCE, &gone);
    cold_start(scene);
    assert_eq!(scene.nodes[0].request(&gone.secret), Some(403));
    assert_eq!(scene.nodes[0].request(&scene.org.api_key.secret), Some(202));
    scene.links[0].set(Mode::Pass);
    scene.is_whole();
}

/// `kill -9`, and a start with Redis away.
fn cold_start(scene: &mut Scene) {
    scene.nodes[0].kill();
    scene.links[0].set(Mode::Cut);
    scene.nodes[0].start();
    scene.nodes[0].wait_ready();
}

/// A gateway on a small disk of its own.
fn on_a_small_disk() -> (Scene, SmallDisk) {
    let mut scene = Scene::of(0);
    let mut node = scene.another();
    let disk = SmallDisk::under(&node);
    node.start();
    node.wait_ready();
    scene.nodes.push(node);
    (scene, disk)
}

#[test]
fn d1_a_full_disk_stops_no_serving() {
    let (mut scene, disk) = on_a_small_disk();
    disk.fill();
    goes_on(&scene);
    disk.free();
    has_caught_up(&mut scene);
}

#[test]
fn d1_a_replica_that_cannot_be_written_stops_no_serving() {
    let mut scene = Scene::of(1);
    // What is open for writing keeps the system from making it read-only, so it is that from the start.
    scene.nodes[0].kill();
    let replica = replica(&scene.nodes[0]);
    mount(&["--bind", replica.to_str().unwrap()], &replica);
    let mounted = SmallDisk(replica.clone());
    mount(&["-o", "remount,bind,ro"], &replica);
    scene.nodes[0].start();
    scene.nodes[0].wait_ready();
    let prober = scene.prober(0);
    scene.nodes[0].says("replica");
    std::thread::sleep(WHILE);
    let key = scene.key("made-meanwhile");
    scene.operator.revoke_key(&key);
    scene.nodes[0].refuses_within(AT_ONCE, &key);
    scene.nodes[0].has_not_panicked();
    lost_nothing(prober);
    drop(mounted);
    scene.is_whole();
}

#[test]
fn d1_a_start_on_a_full_disk_serves() {
    let mut scene = Scene::of(0);
    let mut node = scene.another();
    let disk = SmallDisk::under(&node);
    disk.fill();
    node.start();
    node.wait_ready();
    node.accepts_within(MENDED, &scene.org.api_key);
    scene.nodes.push(node);
    scene.is_whole();
    scene.nodes[0].has_not_panicked();
}

/// A gateway with a replica, a good key and a revoked one; stopped, and Redis away.
fn stopped(view: &str) -> (Scene, Key, Key) {
    let mut scene = Scene::with(1, crate::servers::Options::default(), view);
    let (kept, gone) = (scene.key("kept"), scene.key("gone"));
    scene.operator.revoke_key(&gone);
    scene.nodes[0].refuses_within(AT_ONCE, &gone);
    std::thread::sleep(Duration::from_millis(1_500));
    scene.nodes[0].kill();
    scene.links[0].set(Mode::Cut);
    (scene, kept, gone)
}

fn replica(node: &Node) -> PathBuf {
    node.place().data_dir.join("replica.redb")
}

/// It lives, and accepts nothing that it should not. Returns whether it served from the replica.
fn is_never_wrong(node: &mut Node, kept: &Key, gone: &Key, what: &str) -> bool {
    node.start();
    within(MENDED, "it to be live", || node.is_live());
    let begun = Instant::now();
    let mut served = false;
    // It may still be reading the file.
    while begun.elapsed() < Duration::from_millis(400) && !served {
        served = node.request(&kept.secret) == Some(202);
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = node.request(&gone.secret);
    assert!(matches!(status, Some(403 | 503)), "{what}: {status:?}");
    let status = node.request(&unknown());
    assert!(matches!(status, Some(403 | 503)), "{what}: {status:?}");
    assert!(node.is_live(), "{what}");
    // The engine gives up on some of what it finds by a panic of its own. It is caught, and the file refused.
    let said = node.stderr();
    let ours = |line: &&str| line.contains("panic") && !line.contains("/redb-");
    assert_eq!(said.lines().find(ours), None, "{what}");
    node.kill();
    served
}

#[test]
fn d2_a_torn_or_flipped_replica_is_never_believed() {
    let (mut scene, kept, gone) = stopped("");
    let node = &mut scene.nodes[0];
    let file = replica(node);
    let good = fs::read(&file).unwrap();
    assert!(is_never_wrong(node, &kept, &gone, "as it was"));
    // The file has pages of zeros; what is flipped must be something.
    let filled: Vec<usize> = (0..good.len()).filter(|at| good[*at] != 0).collect();
    for round in 0..14 {
        let at = filled[fastrand::usize(..filled.len())];
        let mut bytes = good.clone();
        let bit = 1 << (round % 8);
        bytes[at] ^= bit;
        fs::write(&file, &bytes).unwrap();
        is_never_wrong(node, &kept, &gone, &format!("byte {at} bit {bit}"));
    }
    for length in [0, 1, 100, 4_096, good.len() / 2, good.len() - 1] {
        fs::write(&file, &good[..length]).unwrap();
        is_never_wrong(node, &kept, &gone, &format!("cut at {length}"));
    }
    let junk: Vec<u8> = (0..good.len()).map(|_| fastrand::u8(..)).collect();
    fs::write(&file, junk).unwrap();
    assert!(!is_never_wrong(node, &kept, &gone, "random bytes"));
    // With Redis back it is as one that never had a replica.
    scene.links[0].set(Mode::Pass);
    scene.nodes[0].start();
    scene.nodes[0].wait_ready();
    scene.nodes[0].accepts_within(MENDED, &kept);
    scene.nodes[0].refuses_within(MENDED, &gone);
    scene.is_whole();
}

#[test]
fn d2_a_replica_that_is_a_folder_is_no_reason_to_stop() {
    let (mut scene, kept, gone) = stopped("");
    let file = replica(&scene.nodes[0]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let node = &mut scene.nodes[0];
    assert!(!is_never_wrong(node, &kept, &gone, "a folder"));
    scene.links[0].set(Mode::Pass);
    scene.nodes[0].start();
    scene.nodes[0].wait_ready();
    scene.is_whole();
}

#[test]
fn d2_a_replica_of_another_root_key_is_as_none() {
    let (mut scene, _, gone) = stopped("");
    let (theirs, their_key, _) = stopped("");
    let file = replica(&scene.nodes[0]);
    fs::copy(replica(&theirs.nodes[0]), &file).unwrap();
    let node = &mut scene.nodes[0];
    assert!(!is_never_wrong(node, &their_key, &gone, "another root key"));
    scene.links[0].set(Mode::Pass);
    scene.nodes[0].start();
    scene.nodes[0].wait_ready();
    assert_eq!(scene.nodes[0].request(&their_key.secret), Some(403));
    scene.is_whole();
}

#[test]
fn d2_a_replica_of_another_store_lets_none_of_its_keys_in() {
    let mut scene = Scene::of(1);
    // The same root key, so that both files open: the store's identity has to tell.
    let second = RedisServer::start();
    let mut theirs = scene.fleet.node_with("theirs", &Home::server(&second));
    let their_org = theirs.found();
    theirs.start();
    theirs.wait_ready();
    theirs.accepts_within(MENDED, &their_org.api_key);
    std::thread::sleep(Duration::from_millis(1_500));
    theirs.kill();
    let node = &mut scene.nodes[0];
    node.kill();
    fs::copy(replica(&theirs), replica(node)).unwrap();
    node.start();
    // Either it says so and ends, or it serves what is in its Redis; what is in the file it does not believe.
    let begun = Instant::now();
    while begun.elapsed() < WHILE && node.end().is_none() {
        let status = node.request(&their_org.api_key.secret);
        assert!(matches!(status, None | Some(403 | 503)), "{status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    match node.end() {
        Some(status) => {
            assert_eq!(status.code(), Some(1));
            node.says("another");
        }
        None => {
            node.wait_ready();
            assert_eq!(node.request(&scene.org.api_key.secret), Some(202));
        }
    }
    node.has_not_panicked();
}

#[test]
fn d2_a_replica_that_is_too_old_is_as_none() {
    let view = "[view]\nfresh_within = \"1s\"\nserve_stale_for_intake = \"4s\"\nserve_stale_for_api = \"4s\"\n";
    let (mut scene, kept, gone) = stopped(view);
    std::thread::sleep(Duration::from_secs(4));
    let node = &mut scene.nodes[0];
    assert!(!is_never_wrong(node, &kept, &gone, "too old"));
    node.start();
    within(MENDED, "it to be live", || node.is_live());
    std::thread::sleep(Duration::from_millis(300));
    assert!(!node.is_ready());
    assert_eq!(node.request(&kept.secret), Some(503));
    scene.links[0].set(Mode::Pass);
    scene.nodes[0].ready_within(MENDED);
    scene.nodes[0].accepts_within(STALE, &kept);
    scene.nodes[0].refuses_within(STALE, &gone);
}

#[test]
fn k1_a_revocation_in_force_is_remembered_by_a_killed_gateway() {
    let mut scene = Scene::of(1);
    for round in 0..5 {
        let gone = scene.key(&format!("gone-{round}"));
        scene.operator.revoke_key(&gone);
        let node = &mut scene.nodes[0];
        while node.request(&gone.secret) != Some(403) {}
        node.kill();
        scene.links[0].set(Mode::Cut);
        scene.nodes[0].start();
        scene.nodes[0].wait_ready();
        assert_eq!(
            scene.nodes[0].request(&gone.secret),
            Some(403),
            "round {round}"
        );
        assert_eq!(scene.nodes[0].request(&scene.org.api_key.secret), Some(202));
        scene.links[0].set(Mode::Pass);
        scene.nodes[0].in_step_within(MENDED);
    }
}

#[test]
fn k1_a_disabled_user_and_org_are_remembered_by_a_killed_gateway() {
    let mut scene = Scene::of(1);
    let org = scene.operator.cli(&["orgs", "create", "second"]);
    let id = org["id"].as_str().unwrap().to_owned();
    let key = Key::shown(&org["api_key"]);
    scene.nodes[0].accepts_within(MENDED, &key);
    scene.operator.cli(&["orgs", "disable", &id]);
    while scene.nodes[0].request(&key.secret) != Some(403) {}
    cold_start(&mut scene);
    assert_eq!(scene.nodes[0].request(&key.secret), Some(403));
    scene.links[0].set(Mode::Pass);
    scene.is_whole();
}
