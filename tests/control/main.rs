//! The pages and the key management API from outside: the real program in process, real sockets, the real store.

#![expect(
    clippy::unwrap_used,
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
mod people_pages;
mod people_scene;
