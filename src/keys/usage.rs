//! When each key was last used and how often, since that was last written down: every worker adds, one flush takes. It
//! keeps nothing for good and writes nothing.
//!
//! *Used* means accepted: the decision let the request through, whatever became of it afterwards. Who is refused uses
//! nothing; the records tell of them.

use std::hash::BuildHasherDefault;
use std::sync::{Mutex, PoisonError};

use dashmap::{DashMap, Entry};

use super::table::TakeBytes;
use super::{KeyId, Principal, Timestamp};

/// The uses of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The last of them.
    pub last_used: Timestamp,
    /// How many.
    pub count: u64,
}

impl Use {
    /// One use.
    pub const fn once(at: Timestamp) -> Self {
        Self {
            last_used: at,
            count: 1,
        }
    }

    /// Adds more uses of the same key. Nodes and clocks differ, so the last one may be the older.
    pub fn add(&mut self, more: Self) {
        self.last_used = self.last_used.max(more.last_used);
        self.count = self.count.saturating_add(more.count);
    }
}

/// The uses that wait to be written down: at most one entry for each key, so as bounded as the key table.
///
/// A note takes the lock of one of the map's parts for as long as it takes to add one: some 15 ns, 60 ns when two cores note
/// the same key all the time, 100 ns among a million keys (`what_a_note_costs` below). So it is a line that workers share, the
/// only one on a request's path. A map for each worker would share none, and hold every key once for each of them.
#[derive(Debug, Default)]
pub struct UsageCounts {
    noted: DashMap<KeyId, Use, BuildHasherDefault<TakeBytes>>,
    /// What is left of the round that [`Self::drain`] goes. Only whoever drains touches it.
    round: Mutex<Vec<KeyId>>,
}

impl UsageCounts {
    /// Notes a request that was accepted: once for each key that it needed.
    pub fn accepted(&self, principal: &Principal, at: Timestamp) {
        let attribution = principal.attribution();
        let keys = [&attribution.key, &attribution.application_key];
        for key in keys.into_iter().flatten() {
            self.note(key.id, at);
        }
    }

    /// Notes one use of a key.
    pub fn note(&self, id: KeyId, at: Timestamp) {
        self.add(id, Use::once(at));
    }

    fn add(&self, id: KeyId, uses: Use) {
        match self.noted.entry(id) {
            Entry::Occupied(mut noted) => noted.get_mut().add(uses),
            Entry::Vacant(place) => {
                place.insert(uses);
            }
        }
    }

    /// Takes the uses of at most `max` keys. What is noted meanwhile is either in what is taken or waits for the next time.
    ///
    /// It goes in rounds over the keys that were noted when the round began, so that busy keys never hold up the others,
    /// and each round in the order of the ids, so that a store writes neighbours together. Fewer than `max` are returned
    /// at the end of a round.
    pub fn drain(&self, max: usize) -> Vec<(KeyId, Use)> {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        if round.is_empty() {
            round.extend(self.noted.iter().map(|noted| *noted.key()));
            // Taken from the end.
            round.sort_unstable_by(|a, b| b.cmp(a));
        }
        let rest = round.len().saturating_sub(max);
        let taken = round.drain(rest..).rev();
        let taken = taken.filter_map(|id| self.noted.remove(&id)).collect();
        if round.is_empty() {
            // As large as the largest round otherwise.
            round.shrink_to(max);
        }
        taken
    }

    /// Takes back what could not be written down. The next drain begins a new round, with it.
    pub fn give_back(&self, taken: Vec<(KeyId, Use)>) {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        round.clear();
        for (id, uses) in taken {
            self.add(id, uses);
        }
    }

    /// How many keys have uses that wait.
    pub fn len(&self) -> usize {
        self.noted.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::Slot;
    use super::*;

    fn ids(count: usize) -> Vec<KeyId> {
        let slot = Slot::of_org_name("acme");
        (0..count).map(|_| KeyId::generate_in(slot)).collect()
    }

    #[test]
    fn the_last_use_and_the_sum_are_kept_whatever_comes_first() {
        let counts = UsageCounts::default();
        let id = ids(1)[0];
        counts.note(id, Timestamp(7));
        counts.note(id, Timestamp(5));
        let taken = counts.drain(10);
        let both = Use {
            last_used: Timestamp(7),
            count: 2,
        };
        assert_eq!((taken.clone(), counts.len()), (vec![(id, both)], 0));
        counts.note(id, Timestamp(9));
        counts.give_back(taken);
        let all = Use {
            last_used: Timestamp(9),
            count: 3,
        };
        assert_eq!(counts.drain(10), [(id, all)]);
        assert!(counts.is_empty() && counts.drain(10).is_empty());
    }

    #[test]
    fn a_drain_is_bounded_and_comes_to_every_key_however_busy_others_are() {
        let counts = UsageCounts::default();
        let mut ids = ids(1_050);
        for id in &ids {
            counts.note(*id, Timestamp(1));
        }
        ids.sort();
        let mut taken = Vec::new();
        for batch in [100; 10] {
            let some = counts.drain(batch);
            assert_eq!(some.len(), batch);
            taken.extend(some.into_iter().map(|(id, _)| id));
            // The first ones are used again and again.
            for id in &ids[..100] {
                counts.note(*id, Timestamp(2));
            }
        }
        taken.extend(counts.drain(100).into_iter().map(|(id, _)| id));
        assert_eq!(taken, ids, "each once, in order, by the end of the round");
        assert_eq!(counts.len(), 100);
    }

    /// Four threads note, one takes in small batches and gives every third one back: in the end each key's count is exactly
    /// what was noted of it.
    #[test]
    fn nothing_is_lost_or_counted_twice_however_many_note_while_it_is_taken() {
        const NOTES: usize = 50_000;
        let counts = UsageCounts::default();
        let ids = ids(97);
        let noting = AtomicBool::new(true);
        let mut written: BTreeMap<KeyId, u64> = BTreeMap::new();
        let mut write = |taken: Vec<(KeyId, Use)>| {
            for (id, uses) in taken {
                *written.entry(id).or_default() += uses.count;
            }
        };
        std::thread::scope(|scope| {
            let noters: Vec<_> = (0..4)
                .map(|thread| {
                    let (counts, ids) = (&counts, &ids);
                    scope.spawn(move || {
                        for at in 0..NOTES {
                            let id = ids[(at * 31 + thread) % ids.len()];
                            counts.note(id, Timestamp(at as i64));
                        }
                    })
                })
                .collect();
            let (counts, noting) = (&counts, &noting);
            let write = &mut write;
            let taker = scope.spawn(move || {
                let mut batches = 0_usize;
                while noting.load(Ordering::Acquire) {
                    let taken = counts.drain(10);
                    batches += usize::from(!taken.is_empty());
                    if batches.is_multiple_of(3) {
                        counts.give_back(taken);
                    } else {
                        write(taken);
                    }
                }
                batches
            });
            for noter in noters {
                noter.join().unwrap();
            }
            noting.store(false, Ordering::Release);
            assert!(taker.join().unwrap() > 10, "it took while they noted");
        });
        while !counts.is_empty() {
            write(counts.drain(10));
        }
        let mut expected: BTreeMap<KeyId, u64> = BTreeMap::new();
        for thread in 0..4 {
            for at in 0..NOTES {
                *expected
                    .entry(ids[(at * 31 + thread) % ids.len()])
                    .or_default() += 1;
            }
        }
        assert_eq!(written, expected);
    }
}
