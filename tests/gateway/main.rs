//! The gateway from outside: the real program in process, real sockets, the real store, a recording upstream. What
//! breaks or vanishes in the middle of a request is tested in `faults`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

mod captures;
mod contract;
mod explained;
#[expect(
    dead_code,
    reason = "the other test binary that includes it uses the rest"
)]
mod harness;
#[path = "../captures/index.rs"]
mod index;
mod policy;
mod records;
mod rules;
mod usage;
