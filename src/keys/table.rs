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

/// Every key, org and user.
pub struct KeyTable {
    keys: Map<Fingerprint, Key>,
    orgs: Map<OrgId, Org>,
    users: Map<UserId, User>,
    revision: AtomicU64,
    /// Milliseconds from `started` to the last moment the table was known to be in step; 0 is never.
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

    /// Its revision and age, or `None` before it was loaded.
    pub fn view(&self, now: Instant) -> Option<View> {
        let in_step = self.in_step.load(Ordering::Acquire);
        if in_step == 0 {
            return None;
        }
        let in_step = self.started + Duration::from_millis(in_step);
        Some(View {
            revision: Revision(self.revision.load(Ordering::Acquire)),
            age: now.saturating_duration_since(in_step),
        })
    }

    /// Applies one record. An older revision never overwrites a newer one, and a revoked key stays revoked whatever the
    /// record says. Returns whether anything changed. Only the one writer calls this.
    pub fn apply(&self, record: Record) -> bool {
        let revision = record.revision();
        let changed = match record {
            Record::Org(org) => {
                let orgs = self.orgs.pin();
                let newer = orgs
                    .get(&org.id)
                    .is_none_or(|held| held.revision < revision);
                if newer {
                    orgs.insert(org.id, org);
                }
                newer
            }
            Record::User(mut user) => {
                let users = self.users.pin();
                let held = users.get(&user.id);
                let newer = held.is_none_or(|held| held.revision < revision);
                if newer {
                    let through =
                        held.map_or(Revision(0), |held| held.application_keys_revoked_through);
                    user.application_keys_revoked_through =
                        user.application_keys_revoked_through.max(through);
                    users.insert(user.id, user);
                }
                newer
            }
            Record::Key(mut key) => {
                let keys = self.keys.pin();
                let held = keys.get(&key.fingerprint);
                let newer = held.is_none_or(|held| held.revision < revision);
                if newer {
                    key.revoked = held.and_then(|held| held.revoked).or(key.revoked);
                    keys.insert(key.fingerprint, key);
                }
                newer
            }
        };
        self.revision.fetch_max(revision.0, Ordering::AcqRel);
        changed
    }

    /// Notes that at `now` the table holds everything the store had committed. The first call makes the table loaded.
    pub fn mark_in_step(&self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.started).as_millis();
        self.in_step.fetch_max(
            u64::try_from(elapsed).unwrap_or(u64::MAX).max(1),
            Ordering::AcqRel,
        );
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
    use super::super::{Actor, KeyKind, Revocation, Timestamp, samples};
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
        assert!(table.apply(at(9, renamed)));
        assert!(!table.apply(at(8, key.clone())));
        assert_eq!(table.read().key(&key.fingerprint).unwrap().name, "renamed");
    }

    #[test]
    fn a_revoked_key_stays_revoked_whatever_a_later_record_says() {
        let table = KeyTable::new(Instant::now());
        let key = samples::key(KeyKind::ApiKey, &samples::org("a"), None, 7);
        let mut revoked = key.clone();
        revoked.revoked = Some(Revocation {
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
    fn the_view_is_unknown_before_it_is_loaded_and_ages_afterwards() {
        let start = Instant::now();
        let table = KeyTable::new(start);
        assert_eq!(table.view(start), None);
        table.mark_in_step(start + Duration::from_secs(1));
        let view = table.view(start + Duration::from_secs(4)).unwrap();
        assert_eq!(view.age, Duration::from_secs(3));
    }
}
