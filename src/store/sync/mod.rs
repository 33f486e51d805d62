//! The one writer of the key table, for each of the store's homes. It never changes what the store says.

pub mod alarm;
mod chain;
mod contents;
pub mod follower;
mod following;
pub mod heard;
pub mod held;
pub mod join;
mod repair;
pub mod replica;
mod single;

#[cfg(test)]
pub(super) use single::catch_up;
pub use single::{AppliedChanges, Sync};

#[cfg(test)]
mod tests;
