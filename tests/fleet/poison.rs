//! The rows P1 to P4 of the fault matrix (`matrix.md`): what somebody who can write to Redis puts there. Each costs at most
//! the key it is about: refused, counted, named, the last good version kept; a gateway that starts beside it loads the rest.
//! What is made with more skill is in `forgery`.

use std::time::{Duration, Instant};

use crate::fleet::Key;
use crate::intruder::{Intruder, Spot};
use crate::node::Node;
use crate::scene::{MENDED, Scene, lost_nothing, unknown};
use crate::within;

/// Long enough to read whatever was put.
pub const WHILE: Duration = Duration::from_millis(1_500);

/// A gateway that runs, somebody at its Redis, and two keys of which one is poisoned.
pub struct Poisoned {
    pub scene: Scene,
    pub intruder: Intruder,
    pub victim: Key,
    pub other: Key,
}

impl Poisoned {
    pub fn new() -> Self {
        let scene = Scene::of(1);
        let (victim, mut other) = (scene.key("victim"), scene.key("other"));
        let bucket = Spot::of_key(&victim).bucket;
        for more in 0.. {
            if Spot::of_key(&other).bucket != bucket {
                break;
            }
            other = scene.key(&format!("other-{more}"));
        }
        Self {
            intruder: Intruder::at(&scene.server),
            scene,
            victim,
            other,
        }
    }

    pub fn spot(&self) -> Spot {
        Spot::of_key(&self.victim)
    }

    pub fn node(&self) -> &Node {
        &self.scene.nodes[0]
    }

    /// It is refused and counted; for a while every key is answered as before, and the process lives.
    pub fn is_refused(&self, reason: &str) {
        let prober = self.scene.prober(0);
        let node = self.node();
        within(MENDED, "it to be refused", || node.refused(reason) > 0);
        let begun = Instant::now();
        while begun.elapsed() < WHILE {
            for key in [&self.victim, &self.other] {
                assert_eq!(node.request(&key.secret), Some(202));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(node.is_live() && node.is_ready());
        lost_nothing(prober);
        node.has_not_panicked();
    }

    /// Standard error says which.
    pub fn is_named(&self) {
        self.node().says(&self.victim.id);
    }

    /// A gateway that knows nothing yet loads all but the victim, which it may find in the stream, and this one has even
    /// that one in its replica.
    pub fn the_rest_loads(&mut self) {
        let mut fresh = self.scene.another();
        fresh.start();
        fresh.wait_ready();
        fresh.accepts_within(MENDED, &self.other);
        let status = fresh.request(&self.victim.secret);
        assert!(matches!(status, Some(202 | 403)), "{status:?}");
        assert_eq!(fresh.request(&self.scene.org.api_key.secret), Some(202));
        fresh.has_not_panicked();
        self.scene.nodes[0].restart();
        self.scene.nodes[0].wait_ready();
        for key in [&self.victim, &self.other] {
            self.node().accepts_within(MENDED, key);
        }
        self.scene.nodes.push(fresh);
        self.changes_still_come();
    }

    /// Whatever else is in the store, a change gets to every gateway.
    pub fn changes_still_come(&self) {
        let key = self.scene.key(&unknown());
        self.scene.operator.revoke_key(&key);
        for node in &self.scene.nodes {
            node.refuses_within(MENDED, &key);
            node.has_not_panicked();
        }
    }

    /// What is put where the victim's record was.
    pub fn put(&mut self, bytes: &[u8]) {
        let spot = self.spot();
        self.intruder.put(&spot, bytes);
    }

    pub fn read(&mut self) -> Vec<u8> {
        let spot = self.spot();
        self.intruder.read(&spot)
    }
}

#[test]
fn p1_a_bucket_of_another_type_costs_no_more_than_the_bucket() {
    let mut it = Poisoned::new();
    let spot = it.spot();
    let hash = spot.hash();
    it.intruder.run::<()>("DEL", &[hash.as_bytes()]);
    it.intruder
        .run::<()>("SET", &[hash.as_bytes(), b"not a hash"]);
    it.intruder.beckon(&spot);
    it.node().says(&hash);
    let begun = Instant::now();
    while begun.elapsed() < WHILE {
        for key in [&it.victim, &it.other] {
            assert_eq!(it.node().request(&key.secret), Some(202));
        }
    }
    assert!(it.node().is_ready());
    it.the_rest_loads();
}

#[test]
fn p1_a_stream_of_another_type_ends_nothing() {
    let mut it = Poisoned::new();
    let stream = it.spot().name("changes");
    it.intruder.run::<()>("DEL", &[stream.as_bytes()]);
    it.intruder
        .run::<()>("RPUSH", &[stream.as_bytes(), b"no", b"stream"]);
    let prober = it.scene.prober(0);
    std::thread::sleep(WHILE);
    assert!(it.node().is_live() && it.node().is_ready());
    for key in [&it.victim, &it.other] {
        assert_eq!(it.node().request(&key.secret), Some(202));
    }
    lost_nothing(prober);
    // The operator takes it away, and all is well.
    it.intruder.run::<()>("DEL", &[stream.as_bytes()]);
    it.scene.is_whole();
}

#[test]
fn p1_meta_and_digest_of_another_type_end_nothing() {
    let mut it = Poisoned::new();
    let prober = it.scene.prober(0);
    for name in ["digest", "meta"] {
        let name = it.spot().name(name);
        let kept = it.intruder.run::<Vec<u8>>("DUMP", &[name.as_bytes()]);
        it.intruder
            .run::<()>("SET", &[name.as_bytes(), b"a string"]);
        std::thread::sleep(WHILE);
        assert!(it.node().is_live() && it.node().is_ready());
        for key in [&it.victim, &it.other] {
            assert_eq!(it.node().request(&key.secret), Some(202));
        }
        it.intruder
            .run::<()>("RESTORE", &[name.as_bytes(), b"0", &kept, b"REPLACE"]);
    }
    lost_nothing(prober);
    it.scene.is_whole();
}

#[test]
fn p2_a_blank_record_is_refused() {
    let mut it = Poisoned::new();
    it.put(b"");
    it.is_refused("malformed");
    it.is_named();
    it.the_rest_loads();
}

#[test]
fn p2_a_change_with_blank_or_missing_fields_is_refused() {
    let mut it = Poisoned::new();
    let spot = it.spot();
    let pair = |name: &str, value: &str| (name.into(), value.into());
    it.intruder
        .append(&spot, |_| vec![pair("p", ""), pair("r", "")]);
    it.is_refused("malformed");
    it.intruder.append(&spot, |_| vec![pair("", "")]);
    it.intruder
        .append(&spot, |last| vec![pair("p", &last.to_string())]);
    it.intruder.append(&spot, |_| vec![pair("r", "x")]);
    it.is_refused("malformed");
    it.changes_still_come();
}

#[test]
fn p2_blank_numbers_of_the_store_end_nothing() {
    let mut it = Poisoned::new();
    let (meta, digest) = (it.spot().name("meta"), it.spot().name("digest"));
    let last: Vec<u8> = it.intruder.run("HGET", &[meta.as_bytes(), b"last"]);
    for blank in ["", "-1", "99999999999999999999999", "NaN"] {
        it.intruder.run::<()>(
            "HSET",
            &[
                meta.as_bytes(),
                b"last",
                blank.as_bytes(),
                b"count",
                blank.as_bytes(),
            ],
        );
        it.intruder
            .run::<()>("HSET", &[digest.as_bytes(), b"all", blank.as_bytes()]);
        std::thread::sleep(Duration::from_millis(1_200));
        for key in [&it.victim, &it.other] {
            assert_eq!(it.node().request(&key.secret), Some(202), "{blank:?}");
        }
    }
    it.intruder
        .run::<()>("HSET", &[meta.as_bytes(), b"last", &last, b"count", b"4"]);
    it.scene.is_whole();
}

#[test]
fn p3_a_value_of_ten_megabytes_is_refused() {
    let mut it = Poisoned::new();
    let mut huge = it.read();
    huge.resize(10 << 20, 0);
    it.put(&huge);
    it.is_refused("malformed");
    it.is_named();
    it.the_rest_loads();
}

#[test]
fn p3_a_change_of_ten_megabytes_is_refused() {
    let mut it = Poisoned::new();
    let spot = it.spot();
    it.intruder.append_record(&spot, &vec![1; 10 << 20]);
    it.is_refused("malformed");
    it.changes_still_come();
}

#[test]
fn p4_a_record_of_an_unknown_format_is_refused() {
    let mut it = Poisoned::new();
    let mut newer = it.read();
    newer[0] = 9;
    it.put(&newer);
    it.is_refused("unknown_format");
    it.is_named();
    let spot = it.spot();
    it.intruder.append_record(&spot, &newer);
    within(MENDED, "the change to be refused, too", || {
        it.node().refused("unknown_format") > 1
    });
    it.the_rest_loads();
}
