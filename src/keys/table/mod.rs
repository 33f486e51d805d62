//! The key table: every key, org and user in memory. Readers take no lock and write no shared cache line; one writer
//! (`store::sync`) applies changes, each in constant time. It does no IO and decides nothing.
//!
//! A key is in two parts. What a decision asks is a line of 64 bytes ([`line`], [`entry`]) in one of the [`segments`]; the few keys with
//! limits of their own refer to [`limits`]. The rest of its record lies in an [`arena`], written as [`cold`] says, behind a lock that no
//! decision takes: names and dates are for people. Orgs and users are [`people`], and a line names them by their numbers.

mod applying;
mod arena;
mod atomics;
mod cold;
mod entry;
mod limits;
mod line;
mod packed;
mod people;
mod reading;
mod segments;
mod slots;

use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use crate::keys::{
    Attribution, Fingerprint, Key, Org, OrgId, Record, Revision, UsedKey, User, UserId,
};

use applying::Kept;
use entry::{Entry, halves};
use limits::Places;
use packed::Packed;
use people::People;
pub use people::{HeldOrg, HeldUser, OrgAt, UserAt};
pub use reading::{Held, Known, Names, Reader};
use segments::{Place, Segments};

/// Fingerprints are the output of a keyed hash, and ids are random: their bytes are a good hash as they stand.
#[derive(Default)]
pub struct TakeBytes(u64);

impl Hasher for TakeBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Two rounds of eight: an id's version bits are constant, so both halves are mixed in.
        for chunk in bytes.chunks(8) {
            let mut word = [0_u8; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.0 = self.0.rotate_left(32) ^ u64::from_le_bytes(word);
        }
    }

    fn write_usize(&mut self, _length: usize) {
        // The length prefix of a byte slice is the same for every key.
    }
}

/// How complete and how old the table is. `None` until it has been loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The last change applied.
    pub revision: Revision,
    /// Since when the table is not known to be in step with the store.
    pub age: Duration,
}

/// What a record did to the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It is the newest of what it is of, and took the place of the revision it replaced.
    Newer {
        /// What the table held before.
        replaced: Option<Revision>,
    },
    /// It is older than what the table holds, and told of a revocation that the table did not know of.
    Revoked,
    /// The table knew it, or a newer one.
    Stale,
}

impl Applied {
    fn older(revoked: bool) -> Self {
        if revoked { Self::Revoked } else { Self::Stale }
    }
}

/// The zero of the table's clock lies this far before its making, so that a view loaded from a file can be as old as it is;
/// in microseconds, some 35 years.
const CLOCK_START_US: u64 = 1 << 50;

/// The memory of a table's keys, in bytes; orgs, users and limits not counted.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// What decisions read.
    pub lines: usize,
    /// The rest of their records.
    pub records: usize,
}

/// So many records are applied while others wait: few enough for what was brought near to stay there.
const AT_ONCE: usize = 256;

/// What readers read.
struct Seen {
    segments: Segments,
    limits: Places,
    orgs: People<Org>,
    users: People<Packed>,
    keys: AtomicUsize,
}

/// Every key, org and user.
pub struct KeyTable {
    seen: Seen,
    /// What no decision asks. Whoever has it to write is the one writer, of what readers read as well.
    kept: RwLock<Kept>,
    revision: AtomicU64,
    /// The last moment the table was known to be in step, on the table's clock in microseconds; 0 is never.
    in_step: AtomicU64,
    started: Instant,
}

impl KeyTable {
    /// An empty table that answers "not loaded". `now` is the zero of its ages.
    pub fn new(now: Instant) -> Self {
        Self {
            seen: Seen {
                segments: Segments::new(),
                limits: Places::new(),
                orgs: People::new(),
                users: People::new(),
                keys: AtomicUsize::new(0),
            },
            kept: RwLock::new(Kept::new()),
            revision: AtomicU64::new(0),
            in_step: AtomicU64::new(0),
            started: now,
        }
    }

    /// A reader for one decision.
    pub fn read(&self) -> Reader<'_> {
        Reader::of(self)
    }

    /// Nobody who has it panics half-way through a change, so what a panic left is whole.
    fn kept(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept_mut(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its revision and age, or `None` before it was loaded.
    pub fn view(&self, now: Instant) -> Option<View> {
        let in_step = self.in_step.load(Ordering::Acquire);
        if in_step == 0 {
            return None;
        }
        let age = self.clock(now).saturating_sub(in_step);
        Some(View {
            revision: Revision(self.revision.load(Ordering::Acquire)),
            age: Duration::from_micros(age),
        })
    }

    fn clock(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started).as_micros();
        CLOCK_START_US.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// Applies one record. An older revision never overwrites a newer one. A revocation is for good: a newer record that
    /// lacks it gets it, and an older one that has it still revokes. Whoever calls this meanwhile waits.
    pub fn apply(&self, record: Record) -> Applied {
        let revision = record.revision();
        let applied = self.kept_mut().apply(&self.seen, record);
        self.revision.fetch_max(revision.0, Ordering::AcqRel);
        applied
    }

    /// Applies many records, in order, and says of each what it did; the list is empty then. It is the way to load: memory is waited for once for
    /// many of them, and others that apply are kept waiting once.
    pub fn apply_all(&self, records: &mut Vec<Record>, mut applied: impl FnMut(Applied)) {
        let mut left = records.drain(..);
        while !left.as_slice().is_empty() {
            let mut near = 0;
            let mut revision = 0;
            for record in left.as_slice().iter().take(AT_ONCE) {
                revision = revision.max(record.revision().0);
                if let Record::Key(key) = record {
                    near ^= self.seen.segments.touch(halves(key.fingerprint.bytes()));
                }
            }
            std::hint::black_box(near);
            let mut kept = self.kept_mut();
            for record in left.by_ref().take(AT_ONCE) {
                applied(kept.apply(&self.seen, record));
            }
            drop(kept);
            self.revision.fetch_max(revision, Ordering::AcqRel);
        }
    }

    /// Makes room for so many keys, for whoever is about to load them.
    pub fn reserve(&self, keys: usize) {
        let _one_writes = self.kept_mut();
        self.seen.segments.reserve(keys);
    }

    /// Notes that the table held everything the store had committed `age` before `now`. The first call makes the table
    /// loaded; a moment before the last one noted changes nothing.
    pub fn mark_in_step(&self, now: Instant, age: Duration) {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        let moment = self.clock(now).saturating_sub(age).max(1);
        self.in_step.fetch_max(moment, Ordering::AcqRel);
    }

    /// How much memory its keys take.
    pub fn memory(&self) -> Memory {
        let records = self.kept().bytes();
        Memory {
            lines: self.seen.segments.bytes(),
            records,
        }
    }

    /// How many keys it holds, tombstones included.
    pub fn keys_len(&self) -> usize {
        self.seen.keys.load(Ordering::Relaxed)
    }

    /// Shows everything, orgs first, then users, then keys. Of what changes meanwhile some may be seen.
    pub fn each(&self, each: &mut dyn FnMut(Record)) {
        let (orgs, users) = self.kept().people();
        for org in (0..orgs).filter_map(|at| self.seen.orgs.record(at)) {
            each(Record::Org((*org).clone()));
        }
        for user in (0..users).filter_map(|at| self.seen.users.user(at)) {
            each(Record::User(user));
        }
        for at in 0..self.seen.segments.len() {
            // Nobody waits for a change while what is shown is looked at.
            let mut keys = Vec::new();
            let kept = self.kept();
            if let Some(segment) = self
                .seen
                .segments
                .at(at)
                .as_ref()
                .and_then(|it| it.as_ref())
            {
                let entries = segment.words().map(|words| Entry::of(&words));
                keys.extend(entries.filter_map(|entry| kept.key(&self.seen, &entry)));
            }
            drop(kept);
            for key in keys {
                each(Record::Key(key));
            }
        }
    }

    /// The whole record of the key with this fingerprint, revoked ones included. No decision needs it.
    pub fn full_key(&self, fingerprint: &Fingerprint) -> Option<Key> {
        let kept = self.kept();
        let entry = self.seen.entry(fingerprint)?;
        kept.key(&self.seen, &entry)
    }

    /// How far the key with this fingerprint is known here.
    pub fn known(&self, fingerprint: &Fingerprint) -> Option<Known> {
        let kept = self.kept();
        let entry = self.seen.entry(fingerprint)?;
        Some(Known {
            id: entry.id,
            revision: kept.cold(&entry)?.revision,
            is_revoked: entry.is_revoked,
        })
    }

    /// The org with this id.
    pub fn org_by_id(&self, id: &OrgId) -> Option<Arc<Org>> {
        let at = self.kept().org_at(id)?;
        self.seen.orgs.record(at)
    }

    /// The user with this id.
    pub fn user_by_id(&self, id: &UserId) -> Option<User> {
        let at = self.kept().user_at(id)?;
        self.seen.users.user(at)
    }

    /// What those are called, now, whom a decision found.
    pub fn names(&self, of: &Attribution) -> Names {
        let kept = self.kept();
        let of_key = |used: Option<UsedKey>| {
            let used = used?;
            let entry = self.seen.entry(&used.fingerprint)?;
            let cold = kept.cold(&entry).filter(|_| entry.id == used.id)?;
            Some(cold.name.into())
        };
        Names {
            key: of_key(of.key),
            application_key: of_key(of.application_key),
            org: of.org.and_then(|(_, OrgAt(at))| {
                let name = |org: &Org| org.name.clone();
                self.seen.orgs.with(at, name)
            }),
            user: of.user.and_then(|(_, UserAt(at))| {
                let name = |user: &Packed| user.name().map(Into::into);
                self.seen.users.with(at, name).flatten()
            }),
        }
    }
}

impl Seen {
    /// The line of a key, for whoever keeps others from writing.
    fn entry(&self, fingerprint: &Fingerprint) -> Option<Entry> {
        let fingerprint = halves(fingerprint.bytes());
        let place = Place::of(fingerprint);
        let held = self.segments.of(place)?;
        let (_, words) = held.as_ref()?.find(place, fingerprint)?;
        Some(Entry::of(&words))
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Actor, Deed, KeyKind, Timestamp, samples};

    fn at(revision: u64, mut key: Key) -> Record {
        key.revision = Revision(revision);
        Record::Key(key)
    }

    fn revoked(key: &Key) -> Key {
        Key {
            revoked: Some(Deed {
                at: Timestamp(1),
                by: Actor::Operator,
            }),
            ..key.clone()
        }
    }

    #[test]
    fn an_older_revision_never_overwrites_a_newer_one() {
        let table = KeyTable::new(Instant::now());
        let key = samples::key(KeyKind::ApiKey, &samples::org("a"), None, 7);
        let mut renamed = key.clone();
        renamed.name = "renamed".into();
        assert_eq!(
            table.apply(at(9, renamed)),
            Applied::Newer { replaced: None }
        );
        assert_eq!(table.apply(at(8, key.clone())), Applied::Stale);
        assert_eq!(table.full_key(&key.fingerprint).unwrap().name, "renamed");
    }

    #[test]
    fn a_revoked_key_stays_revoked_whatever_a_later_record_says() {
        let table = KeyTable::new(Instant::now());
        let key = samples::key(KeyKind::ApiKey, &samples::org("a"), None, 7);
        let revoked = revoked(&key);
        table.apply(at(3, revoked));
        table.apply(at(4, key.clone()));
        assert!(table.read().key(&key.fingerprint).unwrap().is_revoked);
        assert!(table.full_key(&key.fingerprint).unwrap().revoked.is_some());
    }

    #[test]
    fn a_revocation_counts_however_late_it_comes() {
        let table = KeyTable::new(Instant::now());
        let key = samples::key(KeyKind::ApiKey, &samples::org("a"), None, 7);
        let revoked = revoked(&key);
        table.apply(at(9, key.clone()));
        assert_eq!(table.apply(at(8, revoked)), Applied::Revoked);
        let held = table.full_key(&key.fingerprint).unwrap();
        assert_eq!((held.revision, held.revoked.is_some()), (Revision(9), true));

        let org = samples::org("a");
        let mut user = samples::user(&org, "ann");
        user.revision = Revision(5);
        table.apply(Record::User(user.clone()));
        user.revision = Revision(4);
        user.application_keys_revoked_through = Revision(4);
        assert_eq!(table.apply(Record::User(user.clone())), Applied::Revoked);
        user.revision = Revision(6);
        user.application_keys_revoked_through = Revision(0);
        table.apply(Record::User(user.clone()));
        let held = table.user_by_id(&user.id).unwrap();
        assert_eq!(held.application_keys_revoked_through, Revision(4));
    }

    #[test]
    fn of_two_keys_with_one_fingerprint_the_first_issued_stays_in_either_order() {
        let org = samples::org("a");
        let first = samples::key(KeyKind::ApiKey, &org, None, 7);
        let mut second = samples::key(KeyKind::ApiKey, &org, None, 7);
        second.issued = Revision(3);
        second.revision = Revision(3);
        for order in [[&first, &second], [&second, &first]] {
            let table = KeyTable::new(Instant::now());
            for key in order {
                table.apply(Record::Key(key.clone()));
            }
            assert_eq!(table.read().key(&first.fingerprint).unwrap().id, first.id);
        }
    }

    #[test]
    fn the_view_is_unknown_before_it_is_loaded_and_ages_afterwards() {
        let start = Instant::now();
        let table = KeyTable::new(start);
        assert_eq!(table.view(start), None);
        let hour = Duration::from_hours(1);
        table.mark_in_step(start, hour);
        assert_eq!(table.view(start).unwrap().age, hour);
        table.mark_in_step(start + Duration::from_secs(1), Duration::ZERO);
        table.mark_in_step(start + Duration::from_secs(2), hour);
        let view = table.view(start + Duration::from_secs(4)).unwrap();
        assert_eq!(view.age, Duration::from_secs(3));
    }

    #[test]
    fn an_empty_table_takes_little_room_and_finds_nothing() {
        let table = KeyTable::new(Instant::now());
        assert!(
            table
                .read()
                .key(&Fingerprint::from_bytes([0; 16]))
                .is_none()
        );
        assert!(table.full_key(&Fingerprint::from_bytes([1; 16])).is_none());
        assert!(table.org_by_id(&samples::org("a").id).is_none());
        assert_eq!(table.keys_len(), 0);
        table.each(&mut |record| panic!("{record:?}"));
        // A key whose org and owner nobody has told of yet is found, and they are not.
        let org = samples::org("a");
        let owner = samples::user(&org, "ann");
        let key = samples::key(KeyKind::ApplicationKey, &org, Some(&owner), 0);
        table.apply(Record::Key(key.clone()));
        assert_eq!(table.full_key(&key.fingerprint), Some(key.clone()));
        let held = table.read().key(&key.fingerprint).unwrap();
        assert_eq!(table.read().org(held.org), None);
        assert_eq!(table.read().user(held.owner.unwrap()), None);
        table.apply(Record::User(owner.clone()));
        let user = table.read().user(held.owner.unwrap()).unwrap();
        assert_eq!(user.id, owner.id);
    }
}
