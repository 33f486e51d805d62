//! When each key was used, how often and from where, since that was last written down: whoever writes records adds, one flush takes.
//! It keeps nothing for good and writes nothing.
//!
//! *Used* means accepted: the decision let the request through, whatever became of it afterwards. Who is refused uses
//! nothing; the records tell of them.

use std::hash::BuildHasherDefault;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use dashmap::{DashMap, Entry};

pub use super::uses::{OneUse, ShadowUse, Source, Use};

use super::table::TakeBytes;
use super::{Attribution, KeyId, Timestamp};

/// The uses that wait to be written down: at most one entry for each key, so as bounded as the key table.
///
/// A note takes the lock of one of the map's parts for as long as it takes to add one: some 25 ns, 50 ns when two cores note
/// the same key all the time, 350 ns among a million keys, where it waits for memory; 250 ns for the first note of a key
/// since the last flush, which allocates its source (`benches/run notes`). So the thread that writes the records notes, off the
/// path of any request; a worker does only for a record that found no room. A box for each key's uses would be one more place to
/// wait for.
#[derive(Debug, Default)]
pub struct UsageCounts {
    noted: DashMap<KeyId, Use, BuildHasherDefault<TakeBytes>>,
    /// What is left of the round that [`Self::drain`] goes. Only whoever drains touches it.
    round: Mutex<Vec<KeyId>>,
}

impl UsageCounts {
    /// Notes a request that was accepted: once for each key that it needed.
    pub fn accepted(&self, of: &Attribution, at: Timestamp, address: IpAddr, agent: &str) {
        for key in of.keys() {
            let one = OneUse {
                at,
                address,
                agent,
                shadowed: key.shadowed,
            };
            self.note(key.id, &one);
        }
    }

    /// Notes one use of a key.
    pub fn note(&self, id: KeyId, one: &OneUse<'_>) {
        match self.noted.entry(id) {
            Entry::Occupied(mut noted) => noted.get_mut().note(one),
            Entry::Vacant(place) => {
                place.insert(Use::once(one));
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
        let taken = taken
            .filter_map(|id| self.noted.remove(&id))
            .map(|(id, uses)| (id, uses.settled()))
            .collect();
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
            match self.noted.entry(id) {
                Entry::Occupied(mut noted) => noted.get_mut().add(uses),
                Entry::Vacant(place) => {
                    place.insert(uses);
                }
            }
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

    fn at(at: i64) -> OneUse<'static> {
        OneUse {
            at: Timestamp(at),
            address: IpAddr::from([192, 0, 2, 1]),
            agent: "agent/7",
            shadowed: None,
        }
    }

    fn ids(count: usize) -> Vec<KeyId> {
        let slot = Slot::of_org_name("acme");
        (0..count).map(|_| KeyId::generate_in(slot)).collect()
    }

    #[test]
    fn the_last_use_and_the_sum_are_kept_whatever_comes_first() {
        let counts = UsageCounts::default();
        let id = ids(1)[0];
        counts.note(id, &at(7));
        counts.note(id, &at(5));
        let taken = counts.drain(10);
        let mut uses = Use::once(&at(7));
        uses.add(Use::once(&at(5)));
        assert_eq!((uses.last_used, uses.count), (Timestamp(7), 2));
        assert_eq!((&taken, counts.len()), (&vec![(id, uses.clone())], 0));
        counts.note(id, &at(9));
        counts.give_back(taken);
        uses.add(Use::once(&at(9)));
        assert_eq!((uses.last_used, uses.count), (Timestamp(9), 3));
        assert_eq!(counts.drain(10), [(id, uses)]);
        assert!(counts.is_empty() && counts.drain(10).is_empty());
    }

    #[test]
    fn a_drain_is_bounded_and_comes_to_every_key_however_busy_others_are() {
        let counts = UsageCounts::default();
        let mut ids = ids(1_050);
        for id in &ids {
            counts.note(*id, &at(1));
        }
        ids.sort();
        let mut taken = Vec::new();
        for batch in [100; 10] {
            let some = counts.drain(batch);
            assert_eq!(some.len(), batch);
            taken.extend(some.into_iter().map(|(id, _)| id));
            // The first ones are used again and again.
            for id in &ids[..100] {
                counts.note(*id, &at(2));
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
        const AGENTS: [&str; 3] = [
            "agent/7",
            "fluent-bit",
            "a user agent too long for an inline text",
        ];
        let counts = UsageCounts::default();
        let ids = ids(97);
        let noting = AtomicBool::new(true);
        let mut written: BTreeMap<KeyId, u64> = BTreeMap::new();
        let mut write = |taken: Vec<(KeyId, Use)>| {
            for (id, uses) in taken {
                // Few sources and one hour: nothing of them may be lost either.
                let by_source: u64 = uses.sources.iter().map(|source| source.count).sum();
                let by_hour: u64 = uses.hours.each().map(|(_, count)| count).sum();
                assert_eq!((by_source, by_hour), (uses.count, uses.count));
                *written.entry(id).or_default() += uses.count;
            }
        };
        std::thread::scope(|scope| {
            let noters: Vec<_> = (0..4)
                .map(|thread| {
                    let (counts, ids) = (&counts, &ids);
                    scope.spawn(move || {
                        for note in 0..NOTES {
                            let id = ids[(note * 31 + thread) % ids.len()];
                            let agent = AGENTS[note % AGENTS.len()];
                            counts.note(
                                id,
                                &OneUse {
                                    agent,
                                    ..at(note as i64)
                                },
                            );
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
