//! The pages as a browser without JavaScript meets them: the real program in process, and HTTP. What the operations do
//! behind them is tested elsewhere.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

mod browser;
mod every_answer;
mod forms;
#[path = "../gateway/harness.rs"]
#[expect(
    dead_code,
    reason = "the other test binaries that include it use the rest"
)]
mod harness;
mod house;
mod key_changes;
mod key_expiry;
mod key_pages;
mod oidc;
mod people_pages;
mod people_scene;
mod provider;
mod sessions;
mod sign_in;
