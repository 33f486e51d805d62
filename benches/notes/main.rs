//! What it costs to note one use of a key, among few keys and many, on one core and two. Prints a line of JSON for each case.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "it is a benchmark"
)]

use std::net::IpAddr;
use std::thread;
use std::time::Instant;

use keygate::keys::usage::{OneUse, UsageCounts};
use keygate::keys::{KeyId, Slot, Timestamp};

fn main() {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let (notes, rounds) = if is_quick {
        (200_000, 1)
    } else {
        (5_000_000, 5)
    };
    for (keys, threads) in [
        (1, 1),
        (1, 2),
        (1_000, 1),
        (1_000, 2),
        (1_000_000, 1),
        (1_000_000, 2),
    ] {
        for round in 0..rounds {
            let (first, each) = one(keys, threads, notes);
            println!(
                r#"{{"keys":{keys},"threads":{threads},"round":{round},"first_ns":{first},"note_ns":{each}}}"#
            );
        }
    }
}

/// Nanoseconds of the first note of each key, and of each of so many notes by each thread.
fn one(keys: usize, threads: usize, notes: usize) -> (u128, u128) {
    let counts = UsageCounts::default();
    let slot = Slot::of_org_name("acme");
    let ids: Vec<KeyId> = (0..keys).map(|_| KeyId::generate_in(slot)).collect();
    let began = Instant::now();
    for id in &ids {
        counts.note(*id, &at(0));
    }
    let first = began.elapsed().as_nanos() / keys as u128;
    let began = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (counts, ids) = (&counts, &ids);
            scope.spawn(move || {
                for note in 0..notes {
                    counts.note(ids[(note * 7_919 + thread) % keys], &at(note as i64));
                }
            });
        }
    });
    (first, began.elapsed().as_nanos() / notes as u128)
}

fn at(at: i64) -> OneUse<'static> {
    OneUse {
        at: Timestamp(at),
        address: IpAddr::from([192, 0, 2, 1]),
        agent: "agent/7",
        shadowed: None,
    }
}
