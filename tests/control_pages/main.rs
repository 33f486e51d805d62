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
mod house;
mod oidc;
mod provider;
mod sessions;
mod sign_in;
