//! The command line from outside: the real binary, here and against a server elsewhere, and what it exits with. What the
//! operations do is tested where they are.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

mod demo;
mod explain;
#[path = "../gateway/harness.rs"]
#[expect(
    dead_code,
    reason = "the other test binaries that include it use the rest"
)]
mod harness;
mod help;
mod local;
mod program;
mod remote;
