//! Who may do what, as a table that is run through every door on both stores; and what holds of every operation: other orgs'
//! things are not there, keys stay whose they are, and rules hold however many ask at once.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "in a test each of them is the test failing"
)]

#[expect(dead_code, reason = "the test binary that it is from uses the rest")]
#[path = "../control_pages/browser.rs"]
mod browser;
#[expect(dead_code, reason = "the test binary that it is from uses the rest")]
#[path = "../gateway/harness.rs"]
mod harness;
#[expect(dead_code, reason = "the test binary that it is from uses the rest")]
#[path = "../store/homes.rs"]
mod homes;
#[expect(dead_code, reason = "the test binary that it is from uses the rest")]
#[path = "../cli/program.rs"]
mod program;
#[expect(dead_code, reason = "the test binary that it is from uses the rest")]
#[path = "../control/scene.rs"]
mod scene;

mod doors;
mod permissions;
mod stage;
mod strangers;
mod table;
mod writers;
