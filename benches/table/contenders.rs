//! Other tables, and other functions for a fingerprint: the same keys with no more than a decision asks of them. They are simple
//! versions, to know what was given up.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hmac::Mac as _;
use keygate::keys::table::TakeBytes;
use serde_json::json;

use crate::decide::{Times, clock, some_api_key, tell};
use crate::resident;
use crate::world::{World, mixed};

type Print = [u8; 16];
type Hasher = BuildHasherDefault<TakeBytes>;

/// With its fingerprint, 64 bytes.
#[derive(Clone, Copy)]
struct Compact([u64; 6]);

trait Contender: Sync {
    fn look_up(&self, print: &Print) -> Option<Compact>;
    fn put(&self, print: Print, value: Compact);
}

struct Papaya(papaya::HashMap<Print, Compact, Hasher>);

impl Contender for Papaya {
    fn look_up(&self, print: &Print) -> Option<Compact> {
        self.0.pin().get(print).copied()
    }
    fn put(&self, print: Print, value: Compact) {
        self.0.pin().insert(print, value);
    }
}

struct Dash(dashmap::DashMap<Print, Compact, Hasher>);

impl Contender for Dash {
    fn look_up(&self, print: &Print) -> Option<Compact> {
        self.0.get(print).map(|it| *it)
    }
    fn put(&self, print: Print, value: Compact) {
        self.0.insert(print, value);
    }
}

struct Locked(RwLock<HashMap<Print, Compact, Hasher>>);

impl Contender for Locked {
    fn look_up(&self, print: &Print) -> Option<Compact> {
        self.0.read().ok()?.get(print).copied()
    }
    fn put(&self, print: Print, value: Compact) {
        if let Ok(mut map) = self.0.write() {
            map.insert(print, value);
        }
    }
}

/// Each shard is replaced as a whole by every change.
struct Shards(Vec<ArcSwap<HashMap<Print, Compact, Hasher>>>);

impl Shards {
    fn shard(&self, print: &Print) -> &ArcSwap<HashMap<Print, Compact, Hasher>> {
        &self.0[usize::from(print[0]) << 8 | usize::from(print[1])]
    }
}

impl Contender for Shards {
    fn look_up(&self, print: &Print) -> Option<Compact> {
        self.shard(print).load().get(print).copied()
    }
    fn put(&self, print: Print, value: Compact) {
        let mut map = HashMap::clone(&self.shard(&print).load());
        map.insert(print, value);
        self.shard(&print).store(Arc::new(map));
    }
}

fn made(name: &str, keys: usize) -> Box<dyn Contender> {
    let hasher = Hasher::default;
    match name {
        "papaya" => Box::new(Papaya(papaya::HashMap::with_capacity_and_hasher(
            keys,
            hasher(),
        ))),
        "dashmap" => Box::new(Dash(dashmap::DashMap::with_capacity_and_hasher(
            keys,
            hasher(),
        ))),
        "rwlock" => Box::new(Locked(RwLock::new(HashMap::with_capacity_and_hasher(
            keys,
            hasher(),
        )))),
        "shards" => Box::new(Shards(
            std::iter::repeat_with(ArcSwap::default)
                .take(1 << 16)
                .collect(),
        )),
        name => panic!("no contender is named {name}"),
    }
}

/// Look-ups by the secret, memory and changes of one of them.
pub fn run(name: &str, world: &World, timed: usize) {
    let clock = clock();
    let before = resident();
    let table = made(name, world.keys);
    let by = world.fingerprinter();
    let value = |at: usize| Compact([at as u64; 6]);
    for at in 0..world.keys {
        table.put(by.fingerprint(&world.secret(at)).bytes(), value(at));
    }
    let rss = resident().saturating_sub(before);
    println!(
        "{}",
        json!({"case": format!("{name}: memory"), "keys": world.keys, "rss": rss})
    );
    let table = &*table;
    let look_up = |timed| {
        let secret = |at| world.secret(some_api_key(world, at));
        let times = Times::of(timed, secret, |it| {
            let found = table.look_up(&by.fingerprint(it).bytes());
            black_box(found.map(|it| it.0));
        });
        times.less(clock)
    };
    tell(&format!("{name}: hit, quiet"), world, &look_up(timed));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let began = Instant::now();
            let (mut made, mut spent) = (0_u64, Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                while made < began.elapsed().as_micros() as u64 / 100 {
                    let at = mixed(made) as usize % world.keys;
                    let print = by.fingerprint(&world.secret(at)).bytes();
                    let began = Instant::now();
                    table.put(print, value(at));
                    spent += began.elapsed();
                    made += 1;
                }
                thread::sleep(Duration::from_micros(200));
            }
            spent.as_nanos() as f64 / made.max(1) as f64
        });
        tell(
            &format!("{name}: hit, 10000 changes/s"),
            world,
            &look_up(timed.max(600_000)),
        );
        is_over.store(true, Ordering::Relaxed);
        let each = writer.join().expect("the writer");
        println!(
            "{}",
            json!({"case": format!("{name}: a change"), "keys": world.keys, "ns": each})
        );
    });
}

/// What a fingerprint could be made by.
pub fn fingerprints(world: &World, timed: usize) {
    let clock = clock();
    let secret = |at| world.secret(at);
    let by = world.fingerprinter();
    let ours = Times::of(timed, secret, |it| {
        black_box(by.fingerprint(it));
    });
    tell(
        "fingerprint: SHA-256 after a keyed block",
        world,
        &ours.less(clock),
    );
    let keyed: hmac::Hmac<sha2::Sha256> = hmac::KeyInit::new_from_slice(&[7; 64]).expect("a key");
    let hmac = Times::of(timed, secret, |it| {
        let mut mac = keyed.clone();
        mac.update(it);
        black_box(mac.finalize());
    });
    tell("fingerprint: HMAC-SHA-256", world, &hmac.less(clock));
    let blake = Times::of(timed, secret, |it| {
        black_box(blake3::keyed_hash(&[7; 32], it));
    });
    tell("fingerprint: BLAKE3, keyed", world, &blake.less(clock));
}
