//! What holds when things go wrong: upstreams that break, clients that vanish, limits, secrets, the end of the process.
//! The rules of who may are tested in `gateway`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

#[path = "../gateway/harness.rs"]
#[expect(
    dead_code,
    reason = "the other test binary that includes it uses the rest"
)]
mod harness;

mod attacks;
mod client;
mod gate;
mod hostile;
mod program;

mod clients;
mod drain;
mod https;
mod kept;
mod limits;
mod memory;
mod secrets;
mod sink;
mod upstreams;
mod usage;
mod wire;

use std::time::Duration;

/// Waits until the condition holds.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    harness::until(what, holds).await;
}

/// So short that a test of a limit is quick, so long that a busy machine does not reach it by itself.
const SOON: Duration = Duration::from_millis(200);
