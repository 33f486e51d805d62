//! The lines of all keys, in segments that grow one by one: open addressing, so a key that is looked for is in one line or in those
//! behind it. Who may write, and that it is one at a time, is the table's business.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arc_swap::{ArcSwapOption, Guard};

use super::entry::{KeyLine, KeyWords};
use super::line;

/// How many there are: as many as leave a segment of ten million keys small enough to be copied in some 50 µs.
const SEGMENTS: usize = 1 << SEGMENT_BITS;
const SEGMENT_BITS: u32 = 12;

/// The lines of the first one that a segment has.
const FIRST_LINES: usize = 4;

/// At most so many of the lines are in use: 3 in 4. One more and a key is found several lines further on; one less and each costs
/// more memory.
const USED_MAX: (usize, usize) = (3, 4);

/// A segment grows by this part of itself, and not by doubling: its lines are most of the memory that the table takes.
const GROWTH: usize = 8;

/// Where a fingerprint is looked for.
#[derive(Clone, Copy)]
pub(super) struct Place {
    segment: usize,
    within: u32,
}

impl Place {
    /// Fingerprints are as good as random. They are mixed all the same, for the tests and for whoever wants numbers for names.
    pub(super) const fn of([first, second]: [u64; 2]) -> Self {
        let mixed = (first ^ second.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self {
            segment: (mixed >> (64 - SEGMENT_BITS)) as usize,
            within: (mixed >> (32 - SEGMENT_BITS)) as u32,
        }
    }

    const fn home(self, lines: usize) -> usize {
        ((self.within as u64 * lines as u64) >> 32) as usize
    }
}

/// Some of the lines. It never grows: a larger one takes its place.
pub(super) struct Segment {
    lines: Box<[KeyLine]>,
    used: AtomicUsize,
    is_over: AtomicBool,
}

impl Segment {
    fn new(lines: usize) -> Self {
        Self {
            lines: std::iter::repeat_with(KeyLine::new).take(lines).collect(),
            used: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// The line with this fingerprint, and what is in it.
    pub(super) fn find(&self, place: Place, fingerprint: [u64; 2]) -> Option<(&KeyLine, KeyWords)> {
        line::find(&self.lines, place.home(self.lines.len()), fingerprint)
    }

    /// Whether a larger one has taken its place: what its lines say is no longer kept up.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// What is in its lines, for whoever keeps others from writing.
    pub(super) fn words(&self) -> impl Iterator<Item = KeyWords> {
        self.lines.iter().filter_map(KeyLine::words)
    }

    fn has_room(&self) -> bool {
        let (used, of) = USED_MAX;
        (self.used.load(Ordering::Relaxed) + 1) * of <= self.lines.len() * used
    }

    fn vacant(&self, place: Place) -> Option<&KeyLine> {
        line::vacant(&self.lines, place.home(self.lines.len()))
    }

    /// The same keys in so many lines.
    fn copied(&self, lines: usize) -> Self {
        let larger = Self::new(lines);
        for words in self.words() {
            if let Some(line) = larger.vacant(Place::of(words.fingerprint)) {
                line.put(&words);
            }
        }
        let used = self.used.load(Ordering::Relaxed);
        larger.used.store(used, Ordering::Relaxed);
        larger
    }
}

/// Every segment.
pub(super) struct Segments {
    all: Box<[ArcSwapOption<Segment>]>,
}

/// A segment that is held on to: it stays, but may be over.
pub(super) type HeldSegment = Guard<Option<Arc<Segment>>>;

impl Segments {
    /// None of them has a line.
    pub(super) fn new() -> Self {
        let none = std::iter::repeat_with(ArcSwapOption::empty);
        Self {
            all: none.take(SEGMENTS).collect(),
        }
    }

    /// The segment of this place.
    pub(super) fn of(&self, place: Place) -> Option<HeldSegment> {
        self.all.get(place.segment).map(ArcSwapOption::load)
    }

    /// Every one that has lines, by its number.
    pub(super) fn at(&self, at: usize) -> Option<HeldSegment> {
        self.all.get(at).map(ArcSwapOption::load)
    }

    /// How much memory they take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let lines = self.all.iter().map(|slot| {
            let held = slot.load();
            held.as_ref()
                .map_or(0, |segment| size_of_val(&*segment.lines))
        });
        size_of_val(&*self.all) + lines.sum::<usize>()
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.all.len()
    }

    /// Puts a key in that is not there yet. One at a time may.
    pub(super) fn insert(&self, cold: u32, fingerprint: [u64; 2], rest: [u64; 5]) {
        let place = Place::of(fingerprint);
        let Some(slot) = self.all.get(place.segment) else {
            return;
        };
        let mut held = slot.load();
        if !held.as_ref().is_some_and(|segment| segment.has_room()) {
            let lines = held.as_ref().map_or(0, |segment| segment.lines.len());
            grow(slot, lines + (lines / GROWTH).max(FIRST_LINES));
            held = slot.load();
        }
        if let Some(segment) = held.as_ref()
            && let Some(line) = segment.vacant(place)
        {
            line.write(cold, fingerprint, rest);
            segment.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes room for so many keys in all, so that they are put in without a segment being copied more than once. One at a
    /// time may.
    pub(super) fn reserve(&self, keys: usize) {
        let (used, of) = USED_MAX;
        let each = keys / SEGMENTS;
        // They do not spread evenly: three deviations more leave few segments that have to grow after all.
        let each = each + 3 * each.isqrt();
        let lines = each * of / used;
        for slot in &self.all {
            let held = slot.load();
            let has = held.as_ref().map_or(0, |segment| segment.lines.len());
            if has < lines {
                grow(slot, lines);
            }
        }
    }

    /// Brings the first line near that this fingerprint is looked for in.
    pub(super) fn touch(&self, fingerprint: [u64; 2]) -> u64 {
        let place = Place::of(fingerprint);
        let held = self.of(place);
        let segment = held.as_ref().and_then(|held| held.as_ref());
        let line = segment.and_then(|it| it.lines.get(place.home(it.lines.len())));
        line.map_or(0, KeyLine::touch)
    }
}

/// Puts a larger segment in the place of one. Whoever has the old one goes on reading it; that it is over is known before
/// anything in the new one changes.
fn grow(slot: &ArcSwapOption<Segment>, lines: usize) {
    let held = slot.load();
    let larger = match held.as_ref() {
        Some(segment) => segment.copied(lines),
        None => Segment::new(lines),
    };
    slot.store(Some(Arc::new(larger)));
    if let Some(segment) = held.as_ref() {
        segment.is_over.store(true, Ordering::Release);
    }
}
