//! The row P5 of the fault matrix (`matrix.md`): records that somebody made, widened, moved or put back who can write to Redis
//! and has none of the store's keys. Plain rubbish is in `poison`.

use std::time::{Duration, Instant};

use keygate::keys::Record;

use crate::fleet::Key;
use crate::intruder::{Spot, another_bucket, forged, opened, sealed, under_the_old_code};
use crate::poison::{Poisoned, WHILE};
use crate::scene::{AT_ONCE, MENDED, unknown};
use crate::within;

#[test]
fn p5_a_forged_record_lets_nobody_in() {
    let mut it = Poisoned::new();
    let store = it.scene.store();
    let mine = unknown();
    let before = it.read();
    let Record::Key(mut key) = opened(&store, &before) else {
        panic!("not a key")
    };
    // Even somebody who has got hold of the store's way of looking secrets up could not mint one.
    let fingerprinter = store.reach().unwrap().fingerprinter();
    key.fingerprint = fingerprinter.fingerprint(mine.as_bytes());
    key.revision.0 += 1;
    let record = Record::Key(key);
    for bytes in [forged(&record), under_the_old_code(&record, &before)] {
        it.put(&bytes);
        it.is_refused("forged");
        it.is_named();
        let spot = it.spot();
        it.intruder.append_record(&spot, &bytes);
        it.changes_still_come();
        assert_eq!(it.node().request(&mine), Some(403));
    }
    // Both changes, and the record at least once: a bucket that stays wrong is read again less and less often.
    assert!(it.node().refused("forged") >= 3);
    it.the_rest_loads();
    for node in &it.scene.nodes {
        assert_ne!(node.request(&mine), Some(202));
    }
}

#[test]
fn p5_a_widened_record_is_refused() {
    let mut it = Poisoned::new();
    let scene = &it.scene;
    let made = scene.operator.cli(&[
        "keys",
        "create",
        "--org",
        &scene.org.id,
        "--name",
        "narrow",
        "--allow-address",
        "10.0.0.0/8",
    ]);
    let narrow = Key::shown(&made);
    let spot = Spot::of_key(&narrow);
    it.node().refuses_within(MENDED, &narrow);
    let before = it.intruder.read(&spot);
    let Record::Key(mut key) = opened(&it.scene.store(), &before) else {
        panic!("not a key")
    };
    assert!(!key.allowed_addresses.is_empty());
    key.allowed_addresses.clear();
    key.revision.0 += 1;
    let wide = under_the_old_code(&Record::Key(key), &before);
    it.intruder.put(&spot, &wide);
    it.intruder.append_record(&spot, &wide);
    it.is_refused("forged");
    assert_eq!(it.node().request(&narrow.secret), Some(403));
    it.changes_still_come();
    assert_eq!(it.node().request(&narrow.secret), Some(403));
}

#[test]
fn p5_a_record_moved_to_another_id_is_refused() {
    let mut it = Poisoned::new();
    let gone = it.scene.key("gone");
    let living = Spot::of_key(&it.other);
    let living = it.intruder.read(&living);
    it.scene.operator.revoke_key(&gone);
    it.node().refuses_within(AT_ONCE, &gone);
    // A living key's record under the id of a revoked one, and of another living one.
    it.intruder.put(&Spot::of_key(&gone), &living);
    it.node().says(&gone.id);
    it.put(&living);
    it.is_refused("misplaced");
    assert_eq!(it.node().request(&gone.secret), Some(403));
    it.the_rest_loads();
    assert_eq!(it.node().request(&gone.secret), Some(403));
}

#[test]
fn p5_a_record_moved_to_another_org_is_refused() {
    let mut it = Poisoned::new();
    let org = it.scene.operator.cli(&["orgs", "create", "elsewhere"]);
    let theirs = Spot::of_org(org["id"].as_str().unwrap());
    let mut moved = it.spot();
    moved.partition = theirs.partition;
    let bytes = it.read();
    it.intruder.put(&moved, &bytes);
    it.intruder.append_record(&moved, &bytes);
    moved.bucket = another_bucket(moved.bucket);
    it.intruder.put(&moved, &bytes);
    if moved.partition == it.spot().partition {
        it.changes_still_come();
    } else {
        it.is_refused("misplaced");
    }
    let ask = format!(
        "POST /api/v2/series HTTP/1.1\r\nHost: fleet.test\r\nDD-API-KEY: {}\r\nContent-Length: 2\r\n\r\n{{}}",
        it.victim.secret
    );
    assert_eq!(it.node().ask(ask).unwrap().status, 202);
    let records = it.node().records();
    let last = records.last().unwrap().to_string();
    assert!(last.contains(&it.scene.org.id), "{last}");
}

#[test]
fn p5_last_weeks_copy_put_back_unrevokes_nothing() {
    let mut it = Poisoned::new();
    let gone = it.scene.key("gone");
    let spot = Spot::of_key(&gone);
    let last_week = it.intruder.read(&spot);
    it.scene.operator.revoke_key(&gone);
    it.node().refuses_within(AT_ONCE, &gone);
    it.intruder.put(&spot, &last_week);
    it.intruder.append_record(&spot, &last_week);
    within(MENDED, "it to be counted", || {
        it.node().count("stale_records_total") > 0
    });
    it.node().says(&gone.id);
    let begun = Instant::now();
    while begun.elapsed() < WHILE {
        assert_eq!(it.node().request(&gone.secret), Some(403));
    }
    // Its own replica remembers, too.
    it.scene.nodes[0].restart();
    it.scene.nodes[0].wait_ready();
    let begun = Instant::now();
    while begun.elapsed() < WHILE {
        assert_eq!(it.node().request(&gone.secret), Some(403));
    }
    it.changes_still_come();
}

#[test]
fn p5_a_change_replayed_changes_nothing() {
    let mut it = Poisoned::new();
    let scene = &it.scene;
    let name = scene.org.id.clone();
    let org = Spot::of_org(&name);
    let account = scene.operator.cli(&[
        "service-accounts",
        "create",
        "--org",
        &name,
        "--name",
        "robot",
    ]);
    let account = account["id"].as_str().unwrap().to_owned();
    let user = Spot::of_user(&account);
    let enabled = it.intruder.read(&user);
    it.scene.operator.cli(&["users", "disable", &account]);
    let revoking = it.intruder.read(&user);
    it.scene.operator.cli(&["users", "enable", &account]);
    it.scene.operator.cli(&["orgs", "disable", &name]);
    it.node().refuses_within(MENDED, &it.victim);
    let disabling = it.intruder.read(&org);
    it.scene.operator.cli(&["orgs", "enable", &name]);
    it.node().accepts_within(MENDED, &it.victim);
    // A disabled org is enabled again: the old disabling must not come back, nor may an old state of the user.
    for (spot, old) in [(&org, &disabling), (&user, &revoking), (&user, &enabled)] {
        it.intruder.append_record(spot, old);
    }
    it.changes_still_come();
    for key in [&it.victim, &it.other] {
        assert_eq!(it.node().request(&key.secret), Some(202));
    }
    assert!(it.node().count("stale_records_total") > 0);
}

#[test]
fn p5_a_change_of_garbage_is_refused() {
    let mut it = Poisoned::new();
    let spot = it.spot();
    let garbage: Vec<u8> = (0..500).map(|_| fastrand::u8(100..)).collect();
    // It begins as a record does, and is none.
    let lines = b"\x02\r\nX-Evil: yes\r\n\r\n".to_vec();
    let text = |text: &str| text.as_bytes().to_vec();
    it.intruder.append(&spot, |_| {
        vec![(text("p"), text("1\r\n2")), (text("r"), lines.clone())]
    });
    it.is_refused("forged");
    it.intruder.append(&spot, |last| {
        vec![
            (text("p"), last.to_string().into()),
            (text("r"), garbage.clone()),
        ]
    });
    it.intruder
        .append(&spot, |_| vec![(garbage.clone(), garbage.clone())]);
    it.intruder
        .append(&spot, |_| vec![(text("gap"), text("1"))]);
    it.is_refused("unknown_format");
    it.changes_still_come();
}

#[test]
fn p5_a_name_that_would_end_a_header_line_gets_to_no_upstream() {
    let mut it = Poisoned::new();
    let store = it.scene.store();
    let Record::Key(mut key) = opened(&store, &it.read()) else {
        panic!("not a key")
    };
    // Only somebody with the root key could do that, or an older version of keygate with a bug.
    key.name = "a\r\nx-evil: yes".into();
    key.revision.0 += 1;
    let bytes = sealed(&store, &Record::Key(key));
    let spot = it.spot();
    it.intruder.append_record(&spot, &bytes);
    it.put(&bytes);
    let begun = Instant::now();
    while begun.elapsed() < WHILE {
        let status = it.node().request(&it.victim.secret);
        assert!(matches!(status, Some(200..=599)), "{status:?}");
        assert_eq!(it.node().request(&it.other.secret), Some(202));
        std::thread::sleep(Duration::from_millis(50));
    }
    for request in it.scene.fleet.intake.requests() {
        assert_eq!(request.header("x-evil"), None);
    }
    it.changes_still_come();
}
