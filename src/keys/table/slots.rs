//! A list that only grows and whose items never move, so that they are read while it does. What an item is, and how it changes,
//! is its own business.

use std::sync::OnceLock;

/// The items of the first chunk; each one has twice as many as the one before it.
const FIRST: u32 = 64;
/// So many chunks hold 2^32 items.
const CHUNKS: usize = 27;

/// The list.
pub(super) struct Slots<T> {
    chunks: [OnceLock<Box<[T]>>; CHUNKS],
}

impl<T: Default> Slots<T> {
    /// An empty one.
    pub(super) const fn new() -> Self {
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
        }
    }

    const fn place(at: u32) -> (usize, usize) {
        let shifted = at as u64 / FIRST as u64 + 1;
        let chunk = shifted.ilog2();
        let before = ((1_u64 << chunk) - 1) * FIRST as u64;
        (chunk as usize, (at as u64 - before) as usize)
    }

    /// The item of this number, if its chunk is there.
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        let (chunk, within) = Self::place(at);
        self.chunks.get(chunk)?.get()?.get(within)
    }

    /// The item of this number, made if it has to be.
    pub(super) fn make(&self, at: u32) -> Option<&T> {
        let (chunk, within) = Self::place(at);
        let make = || {
            let items = (FIRST as usize) << chunk;
            std::iter::repeat_with(T::default).take(items).collect()
        };
        self.chunks.get(chunk)?.get_or_init(make).get(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let slots: Slots<std::sync::atomic::AtomicU32> = Slots::new();
        for at in 0..10_000 {
            let slot = slots.make(at).unwrap();
            slot.store(at + 1, std::sync::atomic::Ordering::Relaxed);
        }
        for at in 0..10_000 {
            let slot = slots.get(at).unwrap();
            assert_eq!(slot.load(std::sync::atomic::Ordering::Relaxed), at + 1);
        }
        assert!(slots.get(1_000_000).is_none());
        let (chunk, _) = Slots::<u8>::place(u32::MAX);
        assert!(chunk < CHUNKS);
    }
}
