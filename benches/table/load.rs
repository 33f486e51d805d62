//! A replica of the world, written once and loaded as a node does at its start.

use std::path::Path;
use std::time::Instant;

use keygate::keys::keyring::Keyring;
use keygate::keys::secret::RootKey;
use keygate::keys::{PARTITIONS, Record, Revision, Timestamp};
use keygate::store::seal::{bucket_of, seal};
use keygate::store::sync::follower::Change;
use keygate::store::sync::replica::{Pace, Replica};
use serde_json::json;
use uuid::Uuid;

use crate::world::World;

const OF: Uuid = Uuid::from_u128(7);

/// Writes it, in the order in which the file has it: a fleet's nodes write it over days.
pub fn write(path: &Path, root_key: &RootKey, keyring: &Keyring, world: &World) {
    let mut order: Vec<([u8; 19], u32)> = (0..world.keys)
        .map(|at| {
            let id = world.key_id(at);
            let mut field = [0; 19];
            field[0] = id[15] % PARTITIONS as u8;
            field[1] = bucket_of(id) as u8;
            field[2] = b'k';
            field[3..].copy_from_slice(&id);
            (field, at as u32)
        })
        .collect();
    order.sort_unstable();
    let sealer = keyring.sealer();
    let change = |record: Record| {
        let sealed = seal(&sealer, &record).expect("a record");
        Change { record, sealed }
    };
    let mut replica = Replica::make(path, root_key, keyring, OF).expect("a file");
    let positions = [Revision(1); PARTITIONS];
    let mut save = |changes: &[Change], pace| {
        replica
            .save(changes, &positions, Some(Timestamp(1)), pace)
            .expect("a write");
    };
    let people = world
        .records()
        .take_while(|it| !matches!(it, Record::Key(_)));
    save(&people.map(change).collect::<Vec<_>>(), Pace::Urgent);
    for some in order.chunks(100_000) {
        let changes: Vec<Change> = some
            .iter()
            .map(|(_, at)| change(Record::Key(world.key(*at as usize))))
            .collect();
        save(&changes, Pace::Urgent);
    }
    save(&[], Pace::Ready);
}

/// Loads it.
pub fn load(path: &Path, root_key: &RootKey) {
    let began = Instant::now();
    let loaded = Replica::load(path, root_key, None, (began, Timestamp(2)))
        .unwrap_or_else(|refused| panic!("{refused}"));
    let took = began.elapsed();
    println!(
        "{}",
        json!({"case": "load", "keys": loaded.table.keys_len(), "seconds": took.as_secs_f64(),
            "cores": std::thread::available_parallelism().map_or(0, usize::from)})
    );
}
