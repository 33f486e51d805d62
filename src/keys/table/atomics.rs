//! The atomics that a line is made of. The model check of `model` puts others in their place.

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
