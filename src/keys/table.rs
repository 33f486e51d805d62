//! The key table: every key, org and user in memory. Readers take no lock and write no shared cache line; one writer
//! (`store::sync`) applies changes, each in constant time. It does no IO and decides nothing.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use papaya::{HashMap, HashMapRef, LocalGuard};

use super::{Fingerprint, Key, Org, OrgId, Record, Revision, User, UserId};

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

type Map<K, V> = HashMap<K, V, BuildHasherDefault<TakeBytes>>;
type MapRef<'a, K, V> = HashMapRef<'a, K, V, BuildHasherDefault<TakeBytes>, LocalGuard<'a>>;

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

/// Every key, org and user.
pub struct KeyTable {
    keys: Map<Fingerprint, Key>,
    orgs: Map<OrgId, Org>,
    users: Map<UserId, User>,
    revision: AtomicU64,
    /// The last moment the table was known to be in step, on the table's clock in microseconds; 0 is never.
    in_step: AtomicU64,
    started: Instant,
}

impl KeyTable {
    /// An empty table that answers "not loaded". `now` is the zero of its ages.
    pub fn new(now: Instant) -> Self {
        Self {
            keys: Map::default(),
            orgs: Map::default(),
            users: Map::default(),
            revision: AtomicU64::new(0),
            in_step: AtomicU64::new(0),
            started: now,
        }
    }

    /// A reader for one decision: what it returns stays valid while it lives, whatever the writer does meanwhile.
    pub fn read(&self) -> Reader<'_> {
        Reader {
            keys: self.keys.pin(),
            orgs: self.orgs.pin(),
            users: self.users.pin(),
        }
    }

    /// Shows everything, orgs first, then users, then keys. Of what changes meanwhile some may be seen.
    pub fn each(&self, each: &mut dyn FnMut(Record)) {
        for (_, org) in &self.orgs.pin() {
            each(Record::Org(org.clone()));
        }
        for (_, user) in &self.users.pin() {
            each(Record::User(user.clone()));
        }
        for (_, key) in &self.keys.pin() {
            each(Record::Key(key.clone()));
        }
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
    /// lacks it gets it, and an older one that has it still revokes. Only the one writer calls this.
    pub fn apply(&self, record: Record) -> Applied {
        let revision = record.revision();
        let applied = match record {
            Record::Org(org) => {
                let orgs = self.orgs.pin();
                let replaced = orgs.get(&org.id).map(|held| held.revision);
                if replaced.is_some_and(|held| held >= revision) {
                    Applied::Stale
                } else {
                    orgs.insert(org.id, org);
                    Applied::Newer { replaced }
                }
            }
            Record::User(user) => self.apply_user(user),
            Record::Key(key) => self.apply_key(key),
        };
        self.revision.fetch_max(revision.0, Ordering::AcqRel);
        applied
    }

    fn apply_user(&self, mut user: User) -> Applied {
        let users = self.users.pin();
        let Some(held) = users.get(&user.id) else {
            users.insert(user.id, user);
            return Applied::Newer { replaced: None };
        };
        let through = user.application_keys_revoked_through;
        let (at, held_through) = (
            user.application_keys_revoked_at,
            held.application_keys_revoked_through,
        );
        if held.revision < user.revision {
            if held_through > through {
                user.application_keys_revoked_through = held_through;
                user.application_keys_revoked_at = held.application_keys_revoked_at;
            }
            let replaced = Some(held.revision);
            users.insert(user.id, user);
            return Applied::Newer { replaced };
        }
        let revokes = through > held_through;
        if revokes {
            let mut held = held.clone();
            held.application_keys_revoked_through = through;
            held.application_keys_revoked_at = at;
            users.insert(held.id, held);
        }
        Applied::older(revokes)
    }

    fn apply_key(&self, mut key: Key) -> Applied {
        let keys = self.keys.pin();
        let Some(held) = keys.get(&key.fingerprint) else {
            keys.insert(key.fingerprint, key);
            return Applied::Newer { replaced: None };
        };
        // No store of ours gives one fingerprint to two keys. Should one appear, the first stays, on every node.
        if held.id != key.id && (held.issued, held.id) < (key.issued, key.id) {
            return Applied::Stale;
        }
        if held.revision < key.revision || held.id != key.id {
            let replaced = (held.id == key.id).then_some(held.revision);
            if held.id == key.id {
                key.revoked = held.revoked.or(key.revoked);
            }
            keys.insert(key.fingerprint, key);
            return Applied::Newer { replaced };
        }
        let revokes = held.revoked.is_none() && key.revoked.is_some();
        if revokes {
            let mut held = held.clone();
            held.revoked = key.revoked;
            keys.insert(held.fingerprint, held);
        }
        Applied::older(revokes)
    }

    /// Notes that the table held everything the store had committed `age` before `now`. The first call makes the table
    /// loaded; a moment before the last one noted changes nothing.
    pub fn mark_in_step(&self, now: Instant, age: Duration) {
        let age = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        let moment = self.clock(now).saturating_sub(age).max(1);
        self.in_step.fetch_max(moment, Ordering::AcqRel);
    }

    /// How many keys it holds, tombstones included.
    pub fn keys_len(&self) -> usize {
        self.keys.len()
    }
}

/// A hold on the table's entries for the length of one decision: what it has returned stays as it is. It is no snapshot;
/// each look-up sees the table as it is then.
pub struct Reader<'a> {
    keys: MapRef<'a, Fingerprint, Key>,
    orgs: MapRef<'a, OrgId, Org>,
    users: MapRef<'a, UserId, User>,
}

impl Reader<'_> {
    /// The key with this fingerprint, revoked ones included.
    pub fn key(&self, fingerprint: &Fingerprint) -> Option<&Key> {
        self.keys.get(fingerprint)
    }

    /// The org with this id.
    pub fn org(&self, id: &OrgId) -> Option<&Org> {
        self.orgs.get(id)
    }

    /// The user with this id.
    pub fn user(&self, id: &UserId) -> Option<&User> {
        self.users.get(id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Actor, Deed, KeyKind, Timestamp, samples};
    use super::*;

    fn at(revision: u64, mut key: Key) -> Record {
        key.revision = Revision(revision);
        Record::Key(key)
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
        assert_eq!(table.read().key(&key.fingerprint).unwrap().name, "renamed");
    }

    #[test]
    fn a_revoked_key_stays_revoked_whatever_a_later_record_says() {
        let table = KeyTable::new(Instant::now());
        let key = samples::key(KeyKind::ApiKey, &samples::org("a"), None, 7);
        let mut revoked = key.clone();
        revoked.revoked = Some(Deed {
            at: Timestamp(1),
            by: Actor::Operator,
        });
        table.apply(at(3, revoked));
        table.apply(at(4, key.clone()));
        assert!(
            table
                .read()
                .key(&key.fingerprint)
                .unwrap()
                .revoked
                .is_some()
        );
    }

    #[test]
    fn a_revocation_counts_however_late_it_comes() {
        let table = KeyTable::new(Instant::now());
        let key = samples::key(KeyKind::ApiKey, &samples::org("a"), None, 7);
        let mut revoked = key.clone();
        revoked.revoked = Some(Deed {
            at: Timestamp(1),
            by: Actor::Operator,
        });
        table.apply(at(9, key.clone()));
        assert_eq!(table.apply(at(8, revoked)), Applied::Revoked);
        let reader = table.read();
        let held = reader.key(&key.fingerprint).unwrap();
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
        let reader = table.read();
        let held = reader.user(&user.id).unwrap();
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
}
