//! The rows R1 to R7 of the fault matrix (`matrix.md`): what Redis, or the way to it, can suffer. The figures that depend
//! on an idle machine (added latency) are the benchmarks'. What befalls its streams is in `streams`, failovers are in `homes`.

use std::time::{Duration, Instant};

use crate::link::{GARBAGE, Mode};
use crate::scene::{AT_ONCE, MENDED, STALE, Scene, lost_nothing, unknown};
use crate::within;

/// Long enough for several questions of a gateway to Redis.
const WHILE: Duration = Duration::from_millis(1_500);

fn wait(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn r1_redis_killed_is_no_outage() {
    let mut scene = Scene::of(2);
    let extra = scene.key("extra");
    let probers = [scene.prober(0), scene.prober(1)];
    scene.server.kill();
    let killed = Instant::now();
    assert_eq!(scene.nodes[0].request(&unknown()), Some(403), "still fresh");
    for node in &scene.nodes {
        node.stale_within(STALE.saturating_sub(killed.elapsed()));
    }
    wait(WHILE);
    for node in &scene.nodes {
        // As old as it is, and what it had not heard of yet when Redis died.
        let (age, away) = (node.view_age(), killed.elapsed().as_secs_f64());
        assert!(
            (away * 0.8..away * 1.2 + 1.5).contains(&age),
            "{age} {away}"
        );
        assert!(node.is_ready() && node.is_live());
        assert_eq!(node.request(&extra.secret), Some(202));
        assert_eq!(node.count("connected"), 0);
    }
    // A change cannot be made, and says so soon.
    let begun = Instant::now();
    let refused = scene.nodes[0].try_cli(&["keys", "revoke", &extra.id]);
    assert!(!refused.status.success() && begun.elapsed() < Duration::from_secs(5));
    assert_eq!(scene.nodes[0].request(&extra.secret), Some(202));

    scene.server.restart();
    scene.is_whole();
    probers.into_iter().for_each(lost_nothing);
}

#[test]
fn r2_redis_restarted_empty_empties_no_table() {
    let mut scene = Scene::of(2);
    let (kept, gone) = (scene.key("kept"), scene.key("gone"));
    let probers = [scene.prober(0), scene.prober(1)];
    scene.server.restart_empty();
    for node in &scene.nodes {
        node.says("is empty");
    }
    // An empty store says nothing about who is unknown.
    for node in &scene.nodes {
        node.stale_within(STALE);
        assert!(node.is_ready());
        assert_eq!(node.request(&kept.secret), Some(202));
    }
    let command = Instant::now();
    scene.nodes[0].revoke_key(&gone);
    assert!(
        command.elapsed() < Duration::from_secs(2),
        "{:?}",
        command.elapsed()
    );
    for node in &scene.nodes {
        node.refuses_within(AT_ONCE, &gone);
        assert_eq!(node.request(&kept.secret), Some(202));
    }
    probers.into_iter().for_each(lost_nothing);
    // Whoever starts then is not told that the fleet has one key only.
    scene.nodes[1].restart();
    scene.nodes[1].wait_ready();
    assert_eq!(scene.nodes[1].request(&kept.secret), Some(202));
    assert_eq!(scene.nodes[1].request(&gone.secret), Some(403));

    let restored = scene.nodes[0].try_cli(&["store", "restore"]);
    assert!(restored.status.success(), "{restored:?}");
    for node in &scene.nodes {
        assert_eq!(node.request(&kept.secret), Some(202));
        assert_eq!(node.request(&gone.secret), Some(403));
    }
    scene.is_whole();
}

#[test]
fn r3_an_older_copy_of_redis_unrevokes_nothing() {
    let mut scene = Scene::of(2);
    let (kept, gone) = (scene.key("kept"), scene.key("gone"));
    let dump = scene.server.dump();
    scene.operator.revoke_key(&gone);
    let newer = scene.key("newer");
    for node in &scene.nodes {
        node.refuses_within(AT_ONCE, &gone);
    }
    let prober = scene.prober(0);
    scene.server.restart_with(&dump);
    scene.nodes[0].says("has lost changes");
    let back = Instant::now();
    while back.elapsed() < WHILE {
        for node in &scene.nodes {
            assert_eq!(node.request(&gone.secret), Some(403));
            assert_eq!(node.request(&newer.secret), Some(202));
        }
        wait(Duration::from_millis(50));
    }
    assert!(scene.nodes[0].count("regressions_total") > 0);
    lost_nothing(prober);
    // Not after a cold start beside the old store either.
    scene.nodes[1].restart();
    scene.nodes[1].wait_ready();
    let back = Instant::now();
    while back.elapsed() < WHILE {
        assert_ne!(scene.nodes[1].request(&gone.secret), Some(202));
        wait(Duration::from_millis(50));
    }
    assert_eq!(scene.nodes[1].request(&kept.secret), Some(202));
    scene.is_whole();
    for node in &scene.nodes {
        assert_eq!(node.request(&gone.secret), Some(403));
    }
}

/// A silent way: nothing hangs, what is unknown is not called bad, and what was missed comes when it heals.
fn silent(mode: Mode) {
    let scene = Scene::of(2);
    let gone = scene.key("gone");
    let probers = [scene.prober(0), scene.prober(1)];
    scene.links[0].set(mode);
    let cut = Instant::now();
    let missed = scene.operator.create_key(&scene.org, "missed");
    scene.operator.revoke_key(&gone);
    scene.nodes[1].refuses_within(AT_ONCE, &gone);
    scene.nodes[0].stale_within(STALE.saturating_sub(cut.elapsed()));
    // Noticed within three seconds, and half a one to look.
    within(
        Duration::from_millis(3_500).saturating_sub(cut.elapsed()),
        "the cut to be noticed",
        || scene.nodes[0].view_age() > 1.5,
    );
    wait(WHILE);
    // A question that the server had heard before may have been answered.
    let status = scene.nodes[0].request(&missed.secret);
    assert!(matches!(status, Some(202 | 503)), "{status:?}");
    assert!(scene.nodes[0].is_ready());
    scene.nodes[1].in_step_within(Duration::ZERO);

    scene.links[0].set(Mode::Pass);
    let healed = scene.nodes[0].in_step_within(MENDED);
    scene.nodes[0].refuses_within(MENDED.saturating_sub(healed), &gone);
    scene.nodes[0].accepts_within(AT_ONCE, &missed);
    probers.into_iter().for_each(lost_nothing);
    scene.is_whole();
}

#[test]
fn r4_a_partition_without_a_reset_is_noticed_and_heals() {
    silent(Mode::Blackhole);
}

#[test]
fn r4_a_partition_that_lets_nobody_connect_heals() {
    silent(Mode::Unreachable);
}

#[test]
fn r5_half_open_writes_pass_and_nothing_returns() {
    silent(Mode::MuteDown);
}

#[test]
fn r5_half_open_nothing_arrives() {
    silent(Mode::MuteUp);
}

#[test]
fn r6_a_slow_redis_slows_no_request() {
    let scene = Scene::of(2);
    let probers = [scene.prober(0), scene.prober(1)];
    // A round trip of 200 ms leaves the view fresh.
    scene.links[0].set(Mode::Delay(Duration::from_millis(200)));
    wait(Duration::from_secs(1));
    let slow = Instant::now();
    while slow.elapsed() < WHILE {
        assert_eq!(scene.nodes[0].request(&unknown()), Some(403));
        wait(Duration::from_millis(20));
    }
    let key = scene.operator.create_key(&scene.org, "slow");
    scene.nodes[0].accepts_within(AT_ONCE * 2, &key);
    // One of 2 s is longer than an answer may take here: it is as good as away, and said to be.
    scene.links[0].set(Mode::Delay(Duration::from_secs(2)));
    let slow = Instant::now();
    scene.nodes[0].stale_within(STALE + Duration::from_secs(2));
    wait(WHILE);
    let (age, away) = (scene.nodes[0].view_age(), slow.elapsed().as_secs_f64());
    // The last answer in time may have been one that was under way.
    assert!(
        (away * 0.8 - 1.0..away * 1.2 + 1.5).contains(&age),
        "{age} {away}"
    );
    scene.links[0].set(Mode::Pass);
    scene.nodes[0].in_step_within(MENDED);
    // 2 kB a second carry its questions, and no snapshot in time.
    scene.links[0].set(Mode::Throttle(2_000));
    wait(WHILE);
    assert!(scene.nodes[0].is_ready());
    scene.links[0].set(Mode::Pass);
    probers.into_iter().for_each(lost_nothing);
    scene.is_whole();
}

#[test]
fn r7_errors_of_redis_are_never_data() {
    let scene = Scene::of(1);
    let extra = scene.key("extra");
    let prober = scene.prober(0);
    let held = scene.nodes[0].metric("keygate_keys");
    let answers: [&[u8]; 9] = [
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"-MOVED 3999 127.0.0.1:1\r\n",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
        b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
        b"*-1\r\n",
        GARBAGE,
    ];
    for answer in answers {
        scene.links[0].set(Mode::Say(answer));
        wait(Duration::from_millis(600));
        assert!(scene.nodes[0].is_ready() && scene.nodes[0].is_live());
        assert_eq!(scene.nodes[0].request(&extra.secret), Some(202));
    }
    // Back-off: not a new connection with every breath. 50 ms to 1 s for each of a few threads.
    let before = scene.links[0].accepted();
    wait(Duration::from_secs(2));
    let tries = scene.links[0].accepted() - before;
    assert!(tries < 60, "{tries} connections in 2 s");
    assert_eq!(scene.nodes[0].metric("keygate_keys"), held);
    let refused: u64 = ["malformed", "unknown_format", "forged", "misplaced"]
        .map(|reason| scene.nodes[0].refused(reason))
        .iter()
        .sum();
    assert_eq!(refused, 0, "an error was taken for a record");
    scene.links[0].set(Mode::Pass);
    lost_nothing(prober);
    scene.is_whole();
}

#[test]
fn r7_a_redis_that_takes_no_writes_is_still_followed() {
    let scene = Scene::of(1);
    let prober = scene.prober(0);
    for (sick, well) in [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
        ),
    ] {
        scene.server.ask::<()>(sick);
        let since = Instant::now();
        while since.elapsed() < STALE + AT_ONCE {
            assert_eq!(scene.nodes[0].request(&unknown()), Some(403), "{sick}");
            wait(Duration::from_millis(50));
        }
        cannot_make_a_key(&scene);
        scene.server.ask::<()>(well);
    }
    lost_nothing(prober);
    scene.is_whole();
}

fn cannot_make_a_key(scene: &Scene) {
    let (org, name) = (&scene.org.id, unknown());
    let command = ["keys", "create", "--org", org, "--name", &name];
    let output = scene.operator.try_cli(&command);
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn r7_a_redis_that_became_a_replica_is_not_believed_to_be_the_newest() {
    let scene = Scene::of(1);
    let prober = scene.prober(0);
    scene.server.ask::<()>("REPLICAOF 127.0.0.1 1");
    // Its master, wherever that is, may know more: what is unknown here is not called bad.
    scene.nodes[0].stale_within(STALE + AT_ONCE);
    assert!(scene.nodes[0].is_ready());
    cannot_make_a_key(&scene);
    scene.server.ask::<()>("REPLICAOF NO ONE");
    lost_nothing(prober);
    scene.is_whole();
}
