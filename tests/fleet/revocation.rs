//! That revoked means revoked on every gateway of several, that a gateway which cannot know refuses in time, that a receipt
//! says nothing untrue, and that no change is missed. What Redis suffers is in `redis_faults`.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use keygate::keys::audit::By;
use keygate::keys::{Labels, OrgId};
use keygate::store::{FleetStore, Issued, NewKey, NewKeyOf};
use serde_json::Value;

use crate::fleet::Key;
use crate::link::Mode;
use crate::node::Node;
use crate::scene::{AT_ONCE, FRESH, MENDED, Scene, lost_nothing, unknown};
use crate::servers::Options;
use crate::within;

/// A gateway that hears nothing serves data for four seconds and the API for two and a half.
const FENCED: &str = "[view]\nfresh_within = \"1s\"\nserve_stale_for_intake = \"4s\"\nserve_stale_for_api = \"2500ms\"\n";
const BOUND: Duration = Duration::from_secs(4);
const API_BOUND: Duration = Duration::from_millis(2_500);

/// A key made by the library, which takes a fraction of the command's time.
pub fn make_key(store: &FleetStore, org: &str, name: &str) -> Issued {
    let new = NewKey {
        of: NewKeyOf::ApiKey {
            org: OrgId::from_str(org).unwrap(),
            allowed_addresses: Vec::new(),
        },
        name: name.parse().unwrap(),
        secret: None,
        expires_at: None,
        imported: false,
        labels: Labels::default(),
    };
    store
        .reach()
        .unwrap()
        .create_key(new, &By::operator())
        .unwrap()
        .value
}

/// What a gateway says to a call of the API with the org's pair of keys.
fn api(scene: &Scene, node: &Node) -> Option<u16> {
    let request = format!(
        "GET /api/v2/metrics HTTP/1.1\r\nHost: fleet.test\r\nDD-API-KEY: {}\r\nDD-APPLICATION-KEY: {}\r\n\r\n",
        scene.org.api_key.secret, scene.org.application_key.secret
    );
    Some(node.ask(request)?.status)
}

#[test]
fn a_change_on_one_of_four_gateways_is_in_force_on_all() {
    let scene = Scene::of(4);
    let prober = scene.prober(3);
    for (at, node) in scene.nodes.iter().enumerate() {
        let key = node.create_key(&scene.org, &format!("made-on-{at}"));
        for each in &scene.nodes {
            each.accepts_within(AT_ONCE, &key);
        }
        // Where the command was given it is in force when the command is done.
        scene.nodes[(at + 1) % 4].revoke_key(&key);
        assert_eq!(scene.nodes[(at + 1) % 4].request(&key.secret), Some(403));
        for each in &scene.nodes {
            each.refuses_within(AT_ONCE, &key);
        }
    }
    lost_nothing(prober);
    scene.is_whole();
}

#[test]
fn a_gateway_that_is_cut_off_is_fenced_in_time() {
    let scene = Scene::with(2, Options::default(), FENCED);
    let node = &scene.nodes[0];
    assert_eq!(api(&scene, node), Some(200));
    scene.links[0].set(Mode::Blackhole);
    let cut = Instant::now();
    let mut served = Duration::ZERO;
    let mut api_served = Duration::ZERO;
    while cut.elapsed() < BOUND + Duration::from_secs(2) {
        match node.request(&scene.org.api_key.secret) {
            Some(202) => served = cut.elapsed(),
            status => assert_eq!(status, Some(503)),
        }
        match api(&scene, node) {
            Some(200) => api_served = cut.elapsed(),
            status => assert_eq!(status, Some(503)),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = Duration::from_secs(1);
    // It may have heard of the store a second before the cut, too.
    assert!(
        (BOUND - second - second / 2..BOUND + second).contains(&served),
        "{served:?}"
    );
    assert!(
        (API_BOUND - second - second / 2..API_BOUND + second).contains(&api_served),
        "{api_served:?}"
    );
    assert!(!node.is_ready() && node.is_live());
    assert_eq!(node.request(&unknown()), Some(503));
    assert_eq!(scene.nodes[1].request(&scene.org.api_key.secret), Some(202));
    scene.links[0].set(Mode::Pass);
    node.accepts_within(MENDED, &scene.org.api_key);
    scene.is_whole();
}

/// The lines of a receipt, wherever in the answer it is.
fn lines(answer: &Value) -> Option<&Vec<Value>> {
    match answer {
        Value::Object(parts) => parts
            .get("nodes")
            .and_then(Value::as_array)
            .or_else(|| parts.values().find_map(lines)),
        _ => None,
    }
}

#[test]
fn a_receipt_says_the_truth_about_every_gateway() {
    let mut scene = Scene::with(3, Options::default(), FENCED);
    let key = scene.key("to-be-revoked");
    // One that ended in order, one that is cut off, one that is well.
    assert!(scene.nodes[2].terminate().success());
    scene.links[1].set(Mode::Blackhole);
    let output = scene
        .operator
        .try_cli(&["keys", "revoke", &key.id, "--wait", "2", "--output", "json"]);
    // In force, and not everywhere.
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(scene.nodes[0].request(&key.secret), Some(403), "{answer}");
    let lines = lines(&answer).unwrap_or_else(|| panic!("no receipt in {answer}"));
    let line = |name: &str| lines.iter().find(|line| line["node"] == name);
    let well = line("a").unwrap_or_else(|| panic!("no a in {answer}"));
    assert_eq!(well["state"], "applied");
    assert!(
        well["applied_after_ms"].as_u64().unwrap() < 1_000,
        "{answer}"
    );
    let cut = line("b").unwrap_or_else(|| panic!("no b in {answer}"));
    assert_eq!(cut["state"], "no_answer");
    let text = cut["refuses_at_the_latest"].as_str().unwrap();
    let until: Timestamp = text.parse().unwrap();
    let ahead = until.duration_since(Timestamp::now());
    assert!(ahead.as_secs() <= 5, "a lease of {ahead:?}");
    if let Some(stopped) = line("c") {
        assert_eq!(stopped["state"], "stopped");
    }
    // From that moment on, and not only in the end.
    let mut last_accepted = None;
    let mut refusals = 0;
    while Timestamp::now() < until || refusals < 100 {
        let asked = Timestamp::now();
        match scene.nodes[1].request(&key.secret) {
            Some(202) => last_accepted = Some(asked),
            status => {
                assert!(matches!(status, Some(403 | 503)), "{status:?}");
                refusals += 1;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(
        last_accepted.is_none_or(|last| last < until),
        "{last_accepted:?} {until}"
    );
    scene.links[1].set(Mode::Pass);
    scene.nodes[1].refuses_within(MENDED, &key);
}

#[test]
fn a_gateway_that_heals_before_its_lease_ends_refuses_sooner() {
    let scene = Scene::of(2);
    let key = scene.key("to-be-revoked");
    scene.links[1].set(Mode::Blackhole);
    scene.operator.revoke_key(&key);
    assert_eq!(scene.nodes[1].request(&key.secret), Some(202));
    std::thread::sleep(FRESH);
    scene.links[1].set(Mode::Pass);
    scene.nodes[1].refuses_within(MENDED, &key);
    // A frozen gateway is not fooled by its own clock either.
    let key = scene.key("to-be-revoked-again");
    let mut scene = scene;
    scene.nodes[1].pause();
    scene.operator.revoke_key(&key);
    std::thread::sleep(FRESH);
    scene.nodes[1].resume();
    scene.nodes[1].refuses_within(MENDED, &key);
    scene.is_whole();
}

const CHANGES: usize = 10_000;
const CUTS: usize = 20;
/// Writers at once, each in an org of its own.
const WRITERS: usize = 4;

#[test]
fn of_ten_thousand_changes_none_is_missed_by_gateways_that_are_cut_off_twenty_times() {
    let scene = Scene::of(4);
    let orgs: Vec<String> = (0..WRITERS)
        .map(|at| {
            scene
                .operator
                .cli(&["orgs", "create", &format!("writer-{at}")])
        })
        .map(|org| org["id"].as_str().unwrap().to_owned())
        .collect();
    // Three keys made for each one revoked; what is made last is not.
    let keys: Vec<(Key, bool)> = std::thread::scope(|scope| {
        let writers: Vec<_> = orgs
            .iter()
            .map(|org| {
                let store = scene.store();
                scope.spawn(move || {
                    let mut keys = Vec::new();
                    for at in 0..CHANGES / WRITERS {
                        if at % 4 == 3 {
                            let gone: &mut (Key, bool) = keys.last_mut().unwrap();
                            gone.1 = true;
                            let id = gone.0.id.parse().unwrap();
                            store
                                .reach()
                                .unwrap()
                                .revoke_key(id, &By::operator())
                                .unwrap();
                        } else {
                            let issued = make_key(&store, org, &format!("key-{at}"));
                            let key = Key {
                                id: issued.key.id.to_string(),
                                secret: issued.secret.expose().to_owned(),
                            };
                            keys.push((key, false));
                        }
                    }
                    keys
                })
            })
            .collect();
        for cut in 0..CUTS {
            let link = &scene.links[cut % 3];
            link.set(if cut % 2 == 0 {
                Mode::Cut
            } else {
                Mode::Blackhole
            });
            std::thread::sleep(Duration::from_millis(150));
            link.set(Mode::Pass);
            std::thread::sleep(Duration::from_millis(150));
        }
        writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect()
    });
    assert_eq!(
        keys.len() + keys.iter().filter(|key| key.1).count(),
        CHANGES
    );
    // The first was cut in turn with two more, the last never.
    let says = |node: &Node, what: &str| node.metric(what).unwrap();
    let made = keys.len() + 2 + WRITERS;
    within(MENDED * 2, "all to have everything", || {
        let revision = says(&scene.nodes[3], "keygate_view_revision");
        scene.nodes.iter().all(|node| {
            says(node, "keygate_view_revision") == revision
                && says(node, "keygate_keys") as usize == made
        })
    });
    for node in &scene.nodes {
        node.in_step_within(MENDED);
        assert_eq!(says(node, "keygate_store_records_missing"), 0.0);
    }
    let mut sample: Vec<_> = keys.iter().rev().take(60).collect();
    sample.extend((0..200).map(|_| &keys[fastrand::usize(..keys.len())]));
    for node in &scene.nodes {
        let mut client = crate::client::Client::connect(node.address(), MENDED).unwrap();
        for (key, is_revoked) in &sample {
            let status = client
                .ask(crate::client::series(&key.secret))
                .unwrap()
                .status;
            assert_eq!(
                status,
                if *is_revoked { 403 } else { 202 },
                "{} {}",
                node.place().name,
                key.id
            );
        }
        node.has_not_panicked();
    }
}
