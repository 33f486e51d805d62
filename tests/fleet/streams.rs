//! The rows R8 and R9 of the fault matrix (`matrix.md`): streams of changes that are trimmed, deleted, begun anew; and what
//! else in the store could silence a node. What is in a change is in `poison`.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::link::Mode;
use crate::scene::{AT_ONCE, MENDED, STALE, Scene, lost_nothing, streams};

#[test]
fn r8_a_trimmed_stream_is_answered_by_a_snapshot() {
    let scene = Scene::of(2);
    let gone = scene.key("gone");
    let prober = scene.prober(0);
    let before = scene.nodes[0].count("snapshots_total");
    scene.links[0].set(Mode::Cut);
    scene.operator.revoke_key(&gone);
    let missed: Vec<_> = (0..5)
        .map(|at| {
            scene
                .operator
                .create_key(&scene.org, &format!("missed-{at}"))
        })
        .collect();
    for stream in streams() {
        scene.server.ask::<()>(&format!("XTRIM {stream} MAXLEN 0"));
    }
    scene.links[0].set(Mode::Pass);
    let healed = scene.nodes[0].refuses_within(MENDED, &gone);
    scene.nodes[0].in_step_within(MENDED.saturating_sub(healed));
    for key in &missed {
        assert_eq!(scene.nodes[0].request(&key.secret), Some(202));
    }
    assert!(scene.nodes[0].count("gaps_total") > 0);
    assert!(scene.nodes[0].count("snapshots_total") > before);
    lost_nothing(prober);
    scene.is_whole();
}

#[test]
fn r8_a_stream_trimmed_behind_a_gateway_costs_no_snapshot() {
    let scene = Scene::of(1);
    let before = scene.nodes[0].count("snapshots_total");
    for stream in streams() {
        scene.server.ask::<()>(&format!("XTRIM {stream} MAXLEN 0"));
    }
    scene.is_whole();
    assert_eq!(scene.nodes[0].count("snapshots_total"), before);
}

#[test]
fn r9_a_stream_deleted_or_begun_anew_misses_nothing() {
    let scene = Scene::of(2);
    let gone = scene.key("gone");
    let prober = scene.prober(0);
    for stream in streams() {
        scene.server.ask::<()>(&format!("DEL {stream}"));
    }
    let after = scene.key("after");
    // Ids go back: somebody begins the streams anew, far behind.
    for stream in streams() {
        scene.server.ask::<()>(&format!("DEL {stream}"));
        scene.server.ask::<()>(&format!("XADD {stream} 1-0 x y"));
    }
    scene.operator.revoke_key(&gone);
    for node in &scene.nodes {
        node.refuses_within(MENDED, &gone);
        assert_eq!(node.request(&after.secret), Some(202));
    }
    lost_nothing(prober);
    scene.is_whole();
}

#[test]
fn r9_something_put_far_ahead_into_a_stream_that_is_deleted_then_hides_no_revocation() {
    let scene = Scene::of(2);
    let (gone, late) = (scene.key("gone"), scene.key("late"));
    let prober = scene.prober(0);
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let tomorrow = tomorrow.duration_since(UNIX_EPOCH).unwrap().as_micros();
    for (id, revoked) in [(tomorrow, &gone), (u128::from(u64::MAX), &late)] {
        let put = |stream| scene.server.ask::<()>(&format!("XADD {stream} {id}-0 x 1"));
        streams().for_each(put);
        std::thread::sleep(Duration::from_secs(1));
        for stream in streams() {
            scene.server.ask::<()>(&format!("DEL {stream}"));
        }
        scene.operator.revoke_key(revoked);
        for node in &scene.nodes {
            node.refuses_within(MENDED, revoked);
            node.in_step_within(MENDED);
        }
    }
    for node in &scene.nodes {
        node.says("held something under the later id");
        assert!(node.count("gaps_total") > 0);
    }
    lost_nothing(prober);
    scene.is_whole();
}

#[test]
fn a_store_that_says_it_is_being_put_back_is_said_to_be() {
    let scene = Scene::of(1);
    let prober = scene.prober(0);
    let meta = streams().nth(5).unwrap().replace("changes", "meta");
    let restoring = |flag: u8| {
        scene
            .server
            .ask::<()>(&format!("HSET {meta} restoring {flag}"));
    };
    restoring(1);
    let node = &scene.nodes[0];
    node.says("`keygate store restore` ends it");
    assert_eq!(node.metric("keygate_store_restoring"), Some(1.0));
    node.stale_within(STALE);
    assert!(node.is_ready());
    restoring(0);
    node.in_step_within(MENDED);
    assert_eq!(node.metric("keygate_store_restoring"), Some(0.0));
    lost_nothing(prober);
    scene.is_whole();
}

#[test]
fn reports_that_cannot_be_written_age_no_view() {
    let scene = Scene::of(1);
    let prober = scene.prober(0);
    // Of another type, and then full.
    for partition in 0..16 {
        let nodes = format!("{{keygate:{partition}}}:nodes");
        scene.server.ask::<()>(&format!("DEL {nodes}"));
        scene.server.ask::<()>(&format!("SET {nodes} x"));
    }
    let node = &scene.nodes[0];
    for full in [0, 1] {
        scene
            .server
            .ask::<()>(&format!("CONFIG SET maxmemory {full}"));
        std::thread::sleep(STALE + Duration::from_secs(1));
        assert!(node.view_age() < 2.0, "{}", node.view_age());
        assert!(node.is_ready());
    }
    node.says("does not take this node's report");
    scene.server.ask::<()>("CONFIG SET maxmemory 0");
    lost_nothing(prober);
    scene.is_whole();
}

#[test]
fn r9_everything_flushed_empties_no_table() {
    let scene = Scene::of(2);
    let (kept, gone) = (scene.key("kept"), scene.key("gone"));
    scene.operator.revoke_key(&gone);
    for node in &scene.nodes {
        node.refuses_within(AT_ONCE, &gone);
    }
    let prober = scene.prober(0);
    scene.server.ask::<()>("FLUSHALL");
    for node in &scene.nodes {
        node.says("is empty");
        node.stale_within(STALE);
        assert!(node.is_ready());
        assert_eq!(node.request(&kept.secret), Some(202));
        assert_eq!(node.request(&gone.secret), Some(403));
    }
    let begun = Instant::now();
    scene.nodes[1].revoke_key(&kept);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    for node in &scene.nodes {
        node.refuses_within(AT_ONCE, &kept);
    }
    lost_nothing(prober);
}
