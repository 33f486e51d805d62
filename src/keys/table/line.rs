//! A line of the table: what a decision asks about one key, in words that many read while one writes. No lock, no `unsafe`: a
//! reader that met a writer reads again. What the words mean is `entry`'s business.
//!
//! The head is a sequence number and one word of half its size. While the number is odd somebody is writing; when it is the
//! same before and after the words were read, they belong together. It is 0 until a key comes to the line, which then stays for good.

use super::atomics::{AtomicU64, Ordering, fence, spin_loop};

/// What lies in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words<const REST: usize> {
    /// The sequence number, and what is told apart from the rest for nothing but room.
    pub(super) head: u64,
    /// By what it is found. It never changes.
    pub(super) fingerprint: [u64; 2],
    /// Everything else.
    pub(super) rest: [u64; REST],
}

/// One line; 64 bytes, a cache line, when `REST` is 5.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Line<const REST: usize> {
    head: AtomicU64,
    fingerprint: [AtomicU64; 2],
    rest: [AtomicU64; REST],
}

/// So many lines are fetched at once: nine keys of ten are in the first ones when three lines of four are in use.
const AT_ONCE: usize = 4;

/// What is found where a key is looked for.
enum Found<const REST: usize> {
    /// No key, and none further on.
    Nothing,
    /// Another one.
    Other,
    /// This one.
    Here(Words<REST>),
}

/// The half of a head that is not the sequence number.
pub(super) const fn tail_of(head: u64) -> u32 {
    head as u32
}

const fn sequence_of(head: u64) -> u32 {
    (head >> 32) as u32
}

const fn head_of(sequence: u32, tail: u32) -> u64 {
    (sequence as u64) << 32 | tail as u64
}

/// The sequence number after an even one. It never comes back to 0.
const fn next(sequence: u32) -> u32 {
    match sequence.wrapping_add(2) {
        0 => 2,
        next => next,
    }
}

impl<const REST: usize> Line<REST> {
    /// A line that no key is in.
    pub(super) fn new() -> Self {
        Self {
            head: AtomicU64::new(0),
            fingerprint: [0; 2].map(AtomicU64::new),
            rest: [0; REST].map(AtomicU64::new),
        }
    }

    fn load(&self, head: u64) -> Words<REST> {
        Words {
            head,
            fingerprint: self
                .fingerprint
                .each_ref()
                .map(|word| word.load(Ordering::Relaxed)),
            rest: self
                .rest
                .each_ref()
                .map(|word| word.load(Ordering::Relaxed)),
        }
    }

    /// The first half of the fingerprint; 0 when no key is here.
    fn first(&self) -> u64 {
        let [first, _] = &self.fingerprint;
        first.load(Ordering::Relaxed)
    }

    /// What is here, of which the first half has been seen to be this.
    fn look(&self, seen: u64, fingerprint: [u64; 2]) -> Found<REST> {
        if seen != fingerprint[0] && seen != 0 {
            // Once there, it stays: nothing else needs to be read to know that this is another key.
            return Found::Other;
        }
        loop {
            let head = self.head.load(Ordering::Acquire);
            let sequence = sequence_of(head);
            if sequence == 0 {
                return Found::Nothing;
            }
            if sequence.is_multiple_of(2) {
                let words = self.load(head);
                // The words are read before the head is read again.
                fence(Ordering::Acquire);
                if self.head.load(Ordering::Relaxed) == head {
                    return if words.fingerprint == fingerprint {
                        Found::Here(words)
                    } else {
                        Found::Other
                    };
                }
            }
            spin_loop();
        }
    }

    /// Whether nothing has been written since this head was read. What was read in between, by acquire, belongs to it.
    pub(super) fn is_still(&self, head: u64) -> bool {
        fence(Ordering::Acquire);
        self.head.load(Ordering::Relaxed) == head
    }

    /// Writes what is found here from now on. One at a time may, and only for the fingerprint that the line has, if it has one.
    pub(super) fn write(&self, tail: u32, fingerprint: [u64; 2], rest: [u64; REST]) {
        let before = self.head.load(Ordering::Relaxed);
        let sequence = sequence_of(before);
        self.head.store(
            head_of(sequence.wrapping_add(1), tail_of(before)),
            Ordering::Relaxed,
        );
        // Whoever sees one of the words also sees that the number is odd, or a later one.
        fence(Ordering::Release);
        if sequence == 0 {
            for (to, from) in self.fingerprint.iter().zip(fingerprint) {
                to.store(from, Ordering::Relaxed);
            }
        }
        for (to, from) in self.rest.iter().zip(rest) {
            to.store(from, Ordering::Relaxed);
        }
        let head = head_of(next(sequence), tail);
        self.head.store(head, Ordering::Release);
    }

    /// The words as they are, for whoever keeps others from writing; `None` when no key is here.
    pub(super) fn words(&self) -> Option<Words<REST>> {
        let head = self.head.load(Ordering::Acquire);
        (head != 0).then(|| self.load(head))
    }

    /// Puts words here that were in another line. Nobody else may know of this one yet.
    pub(super) fn put(&self, words: &Words<REST>) {
        let from = words.fingerprint.iter().chain(&words.rest);
        for (to, from) in self.fingerprint.iter().chain(&self.rest).zip(from) {
            to.store(*from, Ordering::Relaxed);
        }
        self.head.store(words.head, Ordering::Relaxed);
    }

    /// Brings the line near, for who will write it soon.
    pub(super) fn touch(&self) -> u64 {
        self.head.load(Ordering::Relaxed)
    }
}

/// The line with this fingerprint, looked for from `home` on, around the end. There is always a line without a key.
pub(super) fn find<const REST: usize>(
    lines: &[Line<REST>],
    home: usize,
    fingerprint: [u64; 2],
) -> Option<(&Line<REST>, Words<REST>)> {
    let (before, after) = lines.split_at_checked(home)?;
    for lines in [after, before] {
        for some in lines.chunks(AT_ONCE) {
            // Asked for before the first of them is judged, so that memory is waited for once.
            let mut seen = [0; AT_ONCE];
            for (seen, line) in seen.iter_mut().zip(some) {
                *seen = line.first();
            }
            for (line, seen) in some.iter().zip(seen) {
                match line.look(seen, fingerprint) {
                    Found::Here(words) => return Some((line, words)),
                    Found::Nothing => return None,
                    Found::Other => {}
                }
            }
        }
    }
    None
}

/// The first line without a key from `home` on.
pub(super) fn vacant<const REST: usize>(lines: &[Line<REST>], home: usize) -> Option<&Line<REST>> {
    let (before, after) = lines.split_at_checked(home)?;
    after
        .iter()
        .chain(before)
        .find(|line| line.words().is_none())
}
