//! Decisions as the proxy makes them, and what they could cost at least on this machine: the secret's hash, and one read of
//! memory that depends on it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keygate::keys::policy::{Circumstances, Staleness, authorize};
use keygate::keys::{
    Access, Credential, KeyKind, KeyTable, Presented, Record, Revision, Timestamp,
};
use serde_json::json;

use crate::resident;
use crate::world::{World, mixed};

const STALENESS: Staleness = Staleness {
    fresh_within: Duration::from_hours(1),
    serve_for_intake: Duration::from_hours(1),
    serve_for_api: Duration::from_hours(1),
};

/// Nanoseconds, sorted, less the clock's own.
pub struct Times(Vec<u32>);

impl Times {
    /// Times `what` so often, each time alone, with what `next` made of the number before the clock was read.
    pub fn of<T>(count: usize, mut next: impl FnMut(usize) -> T, mut what: impl FnMut(&T)) -> Self {
        let mut all: Vec<u32> = (0..count)
            .map(|at| {
                let it = black_box(next(at));
                let began = Instant::now();
                what(&it);
                began.elapsed().as_nanos() as u32
            })
            .collect();
        all.sort_unstable();
        Self(all)
    }

    pub fn less(mut self, clock: u32) -> Self {
        for one in &mut self.0 {
            *one = one.saturating_sub(clock);
        }
        self
    }

    pub fn at(&self, share: f64) -> u32 {
        let last = self.0.len().saturating_sub(1);
        self.0[(last as f64 * share) as usize]
    }
}

/// What reading the clock twice takes.
pub fn clock() -> u32 {
    Times::of(200_000, |_| (), |()| ()).at(0.5)
}

/// Prints one row.
pub fn tell(case: &str, world: &World, times: &Times) {
    println!(
        "{}",
        json!({"case": case, "keys": world.keys, "median_ns": times.at(0.5), "p99_ns": times.at(0.99),
            "p999_ns": times.at(0.999)})
    );
}

/// An API key of the world, in random order.
pub fn some_api_key(world: &World, at: usize) -> usize {
    let mut number = mixed(at as u64 ^ 0x5eed) as usize % world.keys;
    while world.kind(number) != KeyKind::ApiKey {
        number = (number + 1) % world.keys;
    }
    number
}

fn decide(
    world: &World,
    table: &KeyTable,
    now: Instant,
    access: &Access,
    secrets: [Option<&[u8]>; 2],
) {
    let by = world.fingerprinter();
    let presented = |secret: Option<&[u8]>| {
        secret.map_or(Presented::Nothing, |it| Presented::One(by.fingerprint(it)))
    };
    let credential = Credential {
        key: presented(secrets[0]),
        application_key: presented(secrets[1]),
    };
    let circumstances = Circumstances {
        view: table.view(now),
        staleness: &STALENESS,
        now: Timestamp(1_767_225_600_000),
        address: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
        origin: None,
    };
    let _ = black_box(authorize(
        access,
        &credential,
        &table.read(),
        &circumstances,
    ));
}

/// The floor: what the hash costs, what one read that depends on it costs, both together.
fn floor(world: &World, timed: usize, clock: u32) {
    let secret = |at| world.secret(some_api_key(world, at));
    let by = world.fingerprinter();
    let hashing = Times::of(timed, secret, |it| {
        black_box(by.fingerprint(it));
    });
    tell("floor: hash", world, &hashing.less(clock));
    // As many lines as the table has, of the same kind of memory.
    let lines: Vec<[u64; 8]> = (0..world.keys as u64 * 10 / 7).map(|at| [at; 8]).collect();
    let line = |bytes: [u8; 16]| {
        let word = u128::from_le_bytes(bytes) as u64;
        &lines[((u128::from(word) * lines.len() as u128) >> 64) as usize]
    };
    let reading = Times::of(
        timed,
        |at| mixed(at as u64 ^ 0xdead),
        |word| {
            black_box(line(u128::from(*word).to_le_bytes())[0]);
        },
    );
    tell("floor: read", world, &reading.less(clock));
    let both = Times::of(timed, secret, |it| {
        black_box(line(by.fingerprint(it).bytes())[0]);
    });
    tell("floor: hash and read", world, &both.less(clock));
}

/// Makes changes at a rate until told to stop; returns nanoseconds of each.
fn change(world: &World, table: &KeyTable, rate: u64, is_over: &AtomicBool) -> Vec<u32> {
    let began = Instant::now();
    let mut times = Vec::new();
    let mut made = 0_u64;
    while !is_over.load(Ordering::Relaxed) {
        let due = began.elapsed().as_micros() as u64 * rate / 1_000_000;
        while made < due {
            times.push(one_change(world, table, made));
            made += 1;
        }
        thread::sleep(Duration::from_micros(200));
    }
    times
}

/// 9 of 10 change a key that is there, one is a new one.
fn one_change(world: &World, table: &KeyTable, number: u64) -> u32 {
    let random = mixed(number ^ 0xc0ffee);
    let mut key = if number.is_multiple_of(10) {
        world.key(world.keys + (random % 1_000_000_000) as usize)
    } else {
        world.key(random as usize % world.keys)
    };
    key.revision = Revision(key.revision.0 + 1 + number);
    key.name = format!("renamed {:x}", random as u32).into();
    let record = Record::Key(key);
    let began = Instant::now();
    black_box(table.apply(record));
    began.elapsed().as_nanos() as u32
}

fn lone(world: &World, table: &KeyTable, timed: usize, clock: u32, salt: usize) -> Times {
    let now = Instant::now();
    let secret = |at| world.secret(some_api_key(world, at ^ salt));
    let intake = Access::Intake;
    let times = Times::of(timed, secret, |it| {
        decide(world, table, now, &intake, [Some(it), None]);
    });
    times.less(clock)
}

/// So many readers at once, on whatever cores there are; the first one's times.
fn readers(world: &World, table: &KeyTable, timed: usize, clock: u32, readers: usize) -> Times {
    thread::scope(|scope| {
        let others: Vec<_> = (1..readers)
            .map(|at| scope.spawn(move || lone(world, table, timed, clock, at << 40)))
            .collect();
        let first = lone(world, table, timed, clock, 0);
        for other in others {
            let _ = other.join();
        }
        first
    })
}

/// Everything about the table.
pub fn run(world: &World, timed: usize) {
    let clock = clock();
    println!("{}", json!({"case": "clock", "ns": clock}));
    let before = resident();
    let began = Instant::now();
    let table = world.table(began);
    let filled = began.elapsed();
    let memory = table.memory();
    println!(
        "{}",
        json!({"case": "memory", "keys": world.keys, "filled_s": filled.as_secs_f64(),
            "rss": resident().saturating_sub(before), "lines": memory.lines, "records": memory.records})
    );
    floor(world, timed, clock);
    tell(
        "hit, quiet",
        world,
        &readers(world, &table, timed, clock, 1),
    );
    tell(
        "hit, quiet, 2 readers",
        world,
        &readers(world, &table, timed, clock, 2),
    );
    let now = Instant::now();
    let nobody = |at: usize| world.secret(usize::MAX / 2 + mixed(at as u64) as usize / 4);
    let miss = Times::of(timed, nobody, |it| {
        decide(world, &table, now, &Access::Intake, [Some(it), None]);
    });
    tell("miss, quiet", world, &miss.less(clock));
    let api = Access::Api { scope: None };
    let pair = |at| {
        let application = (mixed(at as u64) as usize..)
            .map(|it| it % world.keys)
            .find(|it| world.kind(*it) == KeyKind::ApplicationKey)
            .unwrap_or_default();
        (
            world.secret(some_api_key(world, at)),
            world.secret(application),
        )
    };
    let pairs = Times::of(timed, pair, |(key, application)| {
        decide(world, &table, now, &api, [Some(key), Some(application)]);
    });
    tell("pair, quiet", world, &pairs.less(clock));
    together(world, &table, timed);
    for rate in [1_000, 10_000] {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| change(world, &table, rate, &is_over));
            let times = readers(world, &table, timed.max(rate as usize * 60), clock, 1);
            is_over.store(true, Ordering::Relaxed);
            tell(&format!("hit, {rate} changes/s"), world, &times);
            let mut changes = writer.join().expect("the writer");
            changes.sort_unstable();
            tell(
                &format!("a change, at {rate}/s"),
                world,
                &Times(changes).less(clock),
            );
        });
    }
    let mut changes: Vec<u32> = (0..timed as u64)
        .map(|number| one_change(world, &table, number ^ 1 << 50))
        .collect();
    let mean = changes.iter().map(|ns| f64::from(*ns)).sum::<f64>() / changes.len().max(1) as f64;
    changes.sort_unstable();
    tell(
        "a change, one after the other",
        world,
        &Times(changes).less(clock),
    );
    println!(
        "{}",
        json!({"case": "a change, mean", "keys": world.keys, "ns": mean - f64::from(clock)})
    );
}

/// One decision after the other: the processor works ahead.
fn together(world: &World, table: &KeyTable, timed: usize) {
    let (now, intake) = (Instant::now(), Access::Intake);
    let mut total = Duration::ZERO;
    let rounds = (timed / 4_096).max(1);
    for round in 0..rounds {
        let secrets: Vec<[u8; 32]> = (0..4_096)
            .map(|at| world.secret(some_api_key(world, round * 4_096 + at)))
            .collect();
        let began = Instant::now();
        for secret in &secrets {
            decide(world, table, now, &intake, [Some(secret), None]);
        }
        total += began.elapsed();
    }
    let each = total.as_nanos() as f64 / (rounds * 4_096) as f64;
    println!(
        "{}",
        json!({"case": "hits in a row", "keys": world.keys, "ns": each})
    );
}
