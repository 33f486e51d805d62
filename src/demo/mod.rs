//! The built-in intake: an upstream that answers real clients the way they expect. It stores nothing and checks no key.
//!
//! `keygate demo` forwards to it, so that a person sees a real client succeed without an account anywhere; the tests
//! use the same server with recording on, to read what the gateway forwarded.
//!
//! One request's way: [`target`] says which path is meant (a browser's may be inside `ddforward`), [`answers`] finds
//! its row, [`intake`] streams the body through [`received`] and discards it, [`compose`] writes the answers that quote
//! the question, and [`counts`] keeps the totals.

mod answers;
mod compose;
mod counts;
mod intake;
mod received;
mod target;
#[cfg(test)]
mod tests;

pub use counts::{Counts, Family, FamilyCount};
pub use intake::{Intake, start};
pub use received::Received;
