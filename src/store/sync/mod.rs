//! The one writer of the key table, for each of the store's homes. It never changes what the store says.

pub mod alarm;
mod chain;
mod contents;
pub mod follower;
mod following;
pub mod heard;
pub mod join;
mod repair;
mod single;

#[cfg(test)]
pub(super) use single::catch_up;
pub use single::{AppliedChanges, Sync};
