//! Memory for many small blocks of bytes, each found by 32 bits. What is given back is used again; what is in a block is `cold`'s
//! business.

/// Blocks are counted in units of so many bytes.
const UNIT: usize = 2;
/// A free block says which one is next, so none has fewer units.
const UNITS_MIN: usize = size_of::<u32>() / UNIT;
/// The bytes of a chunk, from which blocks are cut.
const CHUNK: usize = 256 * 1024;
/// The units of a chunk: a block's number has its chunk above these bits and its place in it below.
const PLACE_BITS: u32 = (CHUNK / UNIT).ilog2();
/// A larger block has a chunk of its own.
const CUT_UNITS_MAX: usize = 2048;
/// The end of a list of free blocks.
const END: u32 = u32::MAX;

/// The blocks.
pub(super) struct Arena {
    chunks: Vec<Box<[u8]>>,
    /// The chunk that blocks are cut from, and how many of its units are cut.
    cutting: (u32, usize),
    /// The first free block of each number of units; it says which one is next.
    free: Vec<u32>,
    /// Chunks of one large block that are empty again.
    free_chunks: Vec<u32>,
}

/// The units of a block of so many bytes.
fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT).max(UNITS_MIN)
}

fn number(chunk: u32, unit: usize) -> u32 {
    chunk << PLACE_BITS | unit as u32
}

impl Arena {
    /// An empty one, which has no chunk.
    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            cutting: (0, CHUNK / UNIT),
            free: vec![END; CUT_UNITS_MAX + 1],
            free_chunks: Vec::new(),
        }
    }

    /// The bytes from the start of a block on. Whoever wrote it knows where it ends.
    pub(super) fn bytes_from(&self, at: u32) -> &[u8] {
        let unit = at as usize & ((1 << PLACE_BITS) - 1);
        let chunk = self.chunks.get((at >> PLACE_BITS) as usize);
        let bytes = chunk.and_then(|chunk| chunk.get(unit * UNIT..));
        bytes.unwrap_or_default()
    }

    fn bytes_mut(&mut self, at: u32) -> &mut [u8] {
        let unit = at as usize & ((1 << PLACE_BITS) - 1);
        let chunk = self.chunks.get_mut((at >> PLACE_BITS) as usize);
        let bytes = chunk.and_then(|chunk| chunk.get_mut(unit * UNIT..));
        bytes.unwrap_or_default()
    }

    /// Puts bytes into a block and returns its number.
    pub(super) fn put(&mut self, bytes: &[u8]) -> u32 {
        let units = units(bytes.len());
        let at = if units > CUT_UNITS_MAX {
            self.chunk(units * UNIT)
        } else {
            self.reuse(units).unwrap_or_else(|| self.cut(units))
        };
        self.fill(at, bytes);
        at
    }

    fn fill(&mut self, at: u32, bytes: &[u8]) {
        if let Some(to) = self.bytes_mut(at).get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }

    /// Puts bytes in the place of those of a block that has so many: where they are if they fit, and returns the number.
    pub(super) fn replace(&mut self, at: u32, bytes: usize, with: &[u8]) -> u32 {
        if units(bytes) == units(with.len()) {
            self.fill(at, with);
            return at;
        }
        let put = self.put(with);
        self.give_back(at, bytes);
        put
    }

    /// Takes a block of so many bytes back.
    pub(super) fn give_back(&mut self, at: u32, bytes: usize) {
        let units = units(bytes);
        if units > CUT_UNITS_MAX {
            let chunk = at >> PLACE_BITS;
            if let Some(chunk) = self.chunks.get_mut(chunk as usize) {
                *chunk = Box::default();
            }
            self.free_chunks.push(chunk);
        } else {
            self.is_free(at, units);
        }
    }

    fn is_free(&mut self, at: u32, units: usize) {
        let Some(first) = self.free.get_mut(units) else {
            return;
        };
        let next = std::mem::replace(first, at);
        if let Some(to) = self.bytes_mut(at).first_chunk_mut() {
            *to = next.to_le_bytes();
        }
    }

    fn reuse(&mut self, units: usize) -> Option<u32> {
        let at = *self.free.get(units).filter(|first| **first != END)?;
        let next = self.bytes_from(at).first_chunk().copied();
        if let (Some(first), Some(next)) = (self.free.get_mut(units), next) {
            *first = u32::from_le_bytes(next);
        }
        Some(at)
    }

    fn cut(&mut self, units: usize) -> u32 {
        let (chunk, cut) = self.cutting;
        if cut + units <= CHUNK / UNIT {
            self.cutting = (chunk, cut + units);
            return number(chunk, cut);
        }
        // Before there is another chunk, what is free is made use of: a larger block is cut in two.
        let larger = (units + UNITS_MIN..=CUT_UNITS_MAX).find(|larger| {
            let first = self.free.get(*larger);
            first.is_some_and(|first| *first != END)
        });
        if let Some(larger) = larger
            && let Some(at) = self.reuse(larger)
        {
            self.is_free(at + units as u32, larger - units);
            return at;
        }
        let left = CHUNK / UNIT - cut;
        if left >= UNITS_MIN {
            self.is_free(number(chunk, cut), left);
        }
        let at = self.chunk(CHUNK);
        self.cutting = (at >> PLACE_BITS, units);
        at
    }

    /// Another chunk.
    fn chunk(&mut self, bytes: usize) -> u32 {
        let made = vec![0; bytes].into_boxed_slice();
        if bytes != CHUNK
            && let Some(at) = self.free_chunks.pop()
            && let Some(chunk) = self.chunks.get_mut(at as usize)
        {
            *chunk = made;
            return number(at, 0);
        }
        self.chunks.push(made);
        number(u32::try_from(self.chunks.len() - 1).unwrap_or(u32::MAX), 0)
    }

    /// How many bytes the chunks have.
    pub(super) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of all sizes come and go; each keeps its bytes, and what is taken stays near what is needed.
    #[test]
    fn blocks_keep_their_bytes_and_are_used_again() {
        let mut rng = fastrand::Rng::with_seed(11);
        let mut arena = Arena::new();
        let mut held: Vec<(u32, Vec<u8>)> = Vec::new();
        let mut most = 0;
        for round in 0..40_000_usize {
            if round % 7 == 0 && !held.is_empty() {
                let (at, bytes) = held.swap_remove(rng.usize(..held.len()));
                let with: Vec<u8> = bytes.iter().rev().copied().take(rng.usize(1..60)).collect();
                held.push((arena.replace(at, bytes.len(), &with), with));
            } else if held.len() > 2_000 || (rng.bool() && !held.is_empty()) {
                let (at, bytes) = held.swap_remove(rng.usize(..held.len()));
                assert_eq!(&arena.bytes_from(at)[..bytes.len()], bytes);
                arena.give_back(at, bytes.len());
            } else {
                let length = match round % 1_000 {
                    0 => rng.usize(5_000..600_000),
                    1..100 => rng.usize(0..5_000),
                    _ => rng.usize(0..60),
                };
                let bytes: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(length).collect();
                held.push((arena.put(&bytes), bytes));
            }
            most = most.max(held.iter().map(|(_, bytes)| bytes.len() + 4).sum());
            if round % 1_000 == 0 {
                for (at, bytes) in &held {
                    assert_eq!(&arena.bytes_from(*at)[..bytes.len()], bytes);
                }
            }
        }
        assert!(
            arena.bytes() <= 2 * most + CHUNK,
            "{} of {most}",
            arena.bytes()
        );
    }
}
