//! What holds for several gateways on one Redis when Redis, the way to it or the gateways themselves break: real
//! processes, real servers, and faults in between. What one gateway promises is tested in `gateway` and `faults`.
//!
//! The stage: [`servers`], [`sentinels`] and [`cluster`] own Redis, [`link`] is a broken way to it, [`node`] is one
//! gateway of a [`fleet`], [`prober`] a client that counts what it loses. All of it blocks, on threads, and ends when it
//! is dropped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

mod client;
mod cluster;
mod fleet;
mod intruder;
mod link;
mod node;
mod ports;
mod prober;
mod process;
mod scene;
mod sentinels;
mod servers;

mod deployed;
mod disk;
mod forgery;
mod homes;
mod links;
mod matrix;
mod poison;
mod receipts;
mod redis_faults;
mod revocation;
mod secrets;
mod stage;
mod starts;
mod streams;
mod upkeep;

use std::time::{Duration, Instant};

/// The longest a test waits for what should come at once, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until the condition holds; how long that took.
fn eventually(what: &str, holds: impl FnMut() -> bool) -> Duration {
    within(PATIENCE, what, holds)
}

/// The same, with a limit that is part of the promise.
fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    loop {
        if holds() {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(LOOK);
    }
}
