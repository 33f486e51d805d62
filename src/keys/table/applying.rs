//! How a change is applied: what the writer keeps beside what readers read, and the rules by which one record takes another's
//! place. Readers meanwhile see a key as it was or as it is.

use std::sync::atomic::Ordering;

use super::arena::Arena;
use super::cold::{self, Cold};
use super::entry::{Entry, halves};
use super::limits::Interned;
use super::people::Numbers;
use super::segments::Place;
use super::{Applied, Seen};
use crate::keys::{Key, Org, OrgId, Record, User, UserId};

/// What no decision asks.
pub(super) struct Kept {
    arena: Arena,
    limits: Interned,
    orgs: Numbers<OrgId>,
    users: Numbers<UserId>,
    /// Where a record is written before its length is known.
    written: Vec<u8>,
}

impl cold::Users for Seen {
    fn id_of(&self, at: u32) -> UserId {
        UserId(self.users.id(at).unwrap_or_default())
    }

    fn org_of(&self, at: u32) -> OrgId {
        OrgId(self.orgs.id(at).unwrap_or_default())
    }
}

impl Kept {
    pub(super) fn new() -> Self {
        Self {
            arena: Arena::new(),
            limits: Interned::default(),
            orgs: Numbers::new(),
            users: Numbers::new(),
            written: Vec::new(),
        }
    }

    /// How much memory the records take, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// How many orgs and users have a number.
    pub(super) fn people(&self) -> (u32, u32) {
        (self.orgs.len(), self.users.len())
    }

    pub(super) fn org_at(&self, id: &OrgId) -> Option<u32> {
        self.orgs.get(id)
    }

    pub(super) fn user_at(&self, id: &UserId) -> Option<u32> {
        self.users.get(id)
    }

    /// How many different limits there are.
    #[cfg(test)]
    pub(super) fn limits_len(&self) -> usize {
        self.limits.len()
    }

    /// What is not in a key's line.
    pub(super) fn cold(&self, entry: &Entry) -> Option<Cold<'_>> {
        cold::read(self.arena.bytes_from(entry.cold), entry.issued)
    }

    /// A key's whole record.
    pub(super) fn key(&self, seen: &Seen, entry: &Entry) -> Option<Key> {
        let limits = match entry.bound {
            super::entry::Bound::Limits(at) => seen.limits.at(at),
            _ => None,
        };
        let limits = limits.as_ref().and_then(|limits| limits.as_deref());
        Some(self.cold(entry)?.key(entry, limits, seen))
    }

    pub(super) fn apply(&mut self, seen: &Seen, record: Record) -> Applied {
        match record {
            Record::Org(org) => self.apply_org(seen, org),
            Record::User(user) => self.apply_user(seen, user),
            Record::Key(key) => self.apply_key(seen, key),
        }
    }

    fn apply_org(&mut self, seen: &Seen, org: Org) -> Applied {
        let at = self.orgs.of(org.id, org.id.bytes(), &seen.orgs);
        let replaced = seen.orgs.with(at, |held| held.revision);
        if replaced.is_some_and(|held| held >= org.revision) {
            return Applied::Stale;
        }
        seen.orgs.put(at, org);
        Applied::Newer { replaced }
    }

    fn apply_user(&mut self, seen: &Seen, mut user: User) -> Applied {
        let at = self.users.of(user.id, user.id.bytes(), &seen.users);
        let Some(mut held) = seen.users.user(at) else {
            seen.users.put(at, &user);
            return Applied::Newer { replaced: None };
        };
        let through = user.application_keys_revoked_through;
        let held_through = held.application_keys_revoked_through;
        if held.revision < user.revision {
            if held_through > through {
                user.application_keys_revoked_through = held_through;
                user.application_keys_revoked_at = held.application_keys_revoked_at;
            }
            let replaced = Some(held.revision);
            seen.users.put(at, &user);
            return Applied::Newer { replaced };
        }
        let revokes = through > held_through;
        if revokes {
            held.application_keys_revoked_through = through;
            held.application_keys_revoked_at = user.application_keys_revoked_at;
            seen.users.put(at, &held);
        }
        Applied::older(revokes)
    }

    fn apply_key(&mut self, seen: &Seen, mut key: Key) -> Applied {
        let Some(held) = seen.entry(&key.fingerprint) else {
            let entry = self.entry(seen, &key, None);
            let fingerprint = entry.fingerprint;
            seen.segments.insert(entry.cold, fingerprint, entry.rest());
            seen.keys.fetch_add(1, Ordering::Relaxed);
            return Applied::Newer { replaced: None };
        };
        // No store of ours gives one fingerprint to two keys. Should one appear, the first stays, on every node.
        let is_same = held.id == key.id;
        if !is_same && (held.issued, held.id) < (key.issued, key.id) {
            return Applied::Stale;
        }
        let Some(revision) = self.cold(&held).map(|cold| cold.revision) else {
            return Applied::Stale;
        };
        if revision < key.revision || !is_same {
            if is_same && held.is_revoked {
                key.revoked = self.key(seen, &held).and_then(|held| held.revoked);
            }
            self.replace(seen, &held, &key);
            return Applied::Newer {
                replaced: is_same.then_some(revision),
            };
        }
        let revokes = !held.is_revoked && key.revoked.is_some();
        if revokes && let Some(mut whole) = self.key(seen, &held) {
            whole.revoked = key.revoked;
            self.replace(seen, &held, &whole);
        }
        Applied::older(revokes)
    }

    /// Writes a key's record down, but for its line; in the place of one of so many bytes, if there is one.
    fn entry(&mut self, seen: &Seen, key: &Key, held: Option<(u32, usize)>) -> Entry {
        self.written.clear();
        let users = &mut self.users;
        let mut number = |id: UserId| users.of(id, id.bytes(), &seen.users);
        cold::write(key, &mut self.written, &mut number);
        let owner = key.owner.map(number);
        Entry {
            cold: match held {
                Some((at, length)) => self.arena.replace(at, length, &self.written),
                None => self.arena.put(&self.written),
            },
            fingerprint: halves(key.fingerprint.bytes()),
            id: key.id,
            kind: key.kind,
            org: self.orgs.of(key.org, key.org.bytes(), &seen.orgs),
            owner,
            issued: key.issued,
            is_revoked: key.revoked.is_some(),
            bound: self.limits.bound_of(key, &seen.limits),
        }
    }

    /// Puts a record in the place of another one of the same fingerprint.
    fn replace(&mut self, seen: &Seen, held: &Entry, key: &Key) {
        let length = self.cold(held).map(|cold| cold.length);
        let entry = self.entry(seen, key, length.map(|length| (held.cold, length)));
        let place = Place::of(entry.fingerprint);
        let segment = seen.segments.of(place);
        let segment = segment.as_ref().and_then(|segment| segment.as_ref());
        if let Some((line, _)) = segment.and_then(|it| it.find(place, entry.fingerprint)) {
            line.write(entry.cold, entry.fingerprint, entry.rest());
        }
        // Nothing refers to it any more, but for readers that will look again.
        self.limits.release(held.bound, &seen.limits);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Instant;

    use compact_str::CompactString;
    use proptest::prelude::*;

    use super::super::{HeldOrg, HeldUser, KeyTable};
    use super::*;
    use crate::keys::{
        Actor, Attribution, Deed, Fingerprint, KeyId, KeyKind, Labels, Revision, Timestamp,
        UsedKey, samples,
    };

    /// The same rules over plain maps of whole records.
    #[derive(Default)]
    struct Plain {
        keys: HashMap<Fingerprint, Key>,
        orgs: HashMap<OrgId, Org>,
        users: HashMap<UserId, User>,
    }

    impl Plain {
        fn apply(&mut self, record: Record) -> Applied {
            match record {
                Record::Org(org) => {
                    let replaced = self.orgs.get(&org.id).map(|held| held.revision);
                    if replaced >= Some(org.revision) {
                        return Applied::Stale;
                    }
                    self.orgs.insert(org.id, org);
                    Applied::Newer { replaced }
                }
                Record::User(user) => self.apply_user(user),
                Record::Key(key) => self.apply_key(key),
            }
        }

        fn apply_user(&mut self, mut user: User) -> Applied {
            let Some(held) = self.users.get_mut(&user.id) else {
                self.users.insert(user.id, user);
                return Applied::Newer { replaced: None };
            };
            let (through, at) = (
                user.application_keys_revoked_through,
                user.application_keys_revoked_at,
            );
            let replaced = Some(held.revision);
            if held.revision < user.revision {
                if held.application_keys_revoked_through > through {
                    user.application_keys_revoked_through = held.application_keys_revoked_through;
                    user.application_keys_revoked_at = held.application_keys_revoked_at;
                }
                *held = user;
                return Applied::Newer { replaced };
            }
            if through <= held.application_keys_revoked_through {
                return Applied::Stale;
            }
            held.application_keys_revoked_through = through;
            held.application_keys_revoked_at = at;
            Applied::Revoked
        }

        fn apply_key(&mut self, mut key: Key) -> Applied {
            let Some(held) = self.keys.get_mut(&key.fingerprint) else {
                self.keys.insert(key.fingerprint, key);
                return Applied::Newer { replaced: None };
            };
            let is_same = held.id == key.id;
            if !is_same && (held.issued, held.id) < (key.issued, key.id) {
                return Applied::Stale;
            }
            if !is_same || held.revision < key.revision {
                let replaced = is_same.then_some(held.revision);
                key.revoked = held.revoked.filter(|_| is_same).or(key.revoked);
                *held = key;
                return Applied::Newer { replaced };
            }
            if held.revoked.is_some() || key.revoked.is_none() {
                return Applied::Stale;
            }
            held.revoked = key.revoked;
            Applied::Revoked
        }

        fn limits(&self) -> usize {
            let limited = self.keys.values().filter(|key| {
                let is_odd = key.expires_at.is_some_and(|at| at.0 < 0 || at.0 >= 1 << 48);
                is_odd
                    || key.shadowed.is_some()
                    || key.scopes.is_some()
                    || !key.allowed_addresses.is_empty()
                    || !key.allowed_origins.is_empty()
            });
            let limits = limited.map(|key| {
                (
                    key.expires_at,
                    key.shadowed.map(|deed| deed.at),
                    &key.scopes,
                    &key.allowed_addresses,
                    &key.allowed_origins,
                )
            });
            limits.collect::<std::collections::HashSet<_>>().len()
        }
    }

    /// Records of a few orgs, users and keys that meet again and again, with every field that they may have.
    struct Made {
        rng: fastrand::Rng,
        orgs: Vec<OrgId>,
        users: Vec<UserId>,
        ids: Vec<KeyId>,
    }

    impl Made {
        fn new(seed: u64) -> Self {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut ids = |count: usize| -> Vec<uuid::Uuid> {
                std::iter::repeat_with(|| uuid::Uuid::from_u128(rng.u128(..)))
                    .take(count)
                    .collect()
            };
            Self {
                orgs: ids(3).into_iter().map(OrgId).collect(),
                users: ids(4).into_iter().map(UserId).collect(),
                ids: ids(12).into_iter().map(KeyId).collect(),
                rng,
            }
        }

        fn time(&mut self) -> Timestamp {
            Timestamp(match self.rng.u8(..10) {
                0 => self.rng.i64(..),
                1 => self.rng.i64(-5..5),
                _ => self.rng.i64(1_700_000_000_000..1_700_000_000_009),
            })
        }

        fn revision(&mut self) -> Revision {
            Revision(match self.rng.u8(..12) {
                0 => self.rng.u64(..),
                1 => self.rng.u64((1 << 61) - 1..=1 << 61),
                _ => self.rng.u64(..9),
            })
        }

        fn actor(&mut self) -> Actor {
            match self.rng.u8(..4) {
                0 => Actor::Operator,
                1 => Actor::System,
                _ => Actor::User(self.users[self.rng.usize(..self.users.len())]),
            }
        }

        fn deed(&mut self) -> Deed {
            Deed {
                at: self.time(),
                by: self.actor(),
            }
        }

        fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
            (self.rng.u8(..4) == 0).then(|| make(self))
        }

        fn text(&mut self) -> CompactString {
            let length = match self.rng.u8(..20) {
                0 => self.rng.usize(..9_000),
                _ => self.rng.usize(..30),
            };
            std::iter::repeat_with(|| self.rng.char('a'..='é'))
                .take(length)
                .collect()
        }

        fn key(&mut self) -> Key {
            let at = self.rng.usize(..self.ids.len());
            // Some fingerprints are of two keys.
            let fingerprint =
                Fingerprint::from_bytes((at as u128 / 2 * 3 + at as u128 % 2 / 2).to_be_bytes());
            let made = self.deed();
            Key {
                id: self.ids[at],
                kind: self.rng.choice(KeyKind::ALL).unwrap(),
                org: self.orgs[self.rng.usize(..self.orgs.len())],
                owner: self.maybe(|it| it.users[it.rng.usize(..it.users.len())]),
                name: self.text(),
                fingerprint,
                last4: if self.rng.bool() {
                    "ab12".into()
                } else {
                    self.text()
                },
                created_at: made.at,
                created_by: made.by,
                issued: self.revision(),
                revision: self.revision(),
                revoked: self.maybe(Self::deed),
                shadowed: self.maybe(Self::deed),
                modified: if self.rng.bool() { made } else { self.deed() },
                replaced_by: self.maybe(|it| it.ids[0]),
                labels: Labels {
                    category: self.maybe(Self::text),
                    remote_config_read: self.rng.bool(),
                },
                expires_at: self.maybe(Self::time),
                scopes: self.maybe(|it| vec![it.text(), "metrics_read".into()]),
                allowed_addresses: self
                    .maybe(|it| vec![format!("10.{}.0.0/16", it.rng.u8(..3)).parse().unwrap()])
                    .unwrap_or_default(),
                allowed_origins: self
                    .maybe(|_| vec!["https://*.shop.example".parse().unwrap()])
                    .unwrap_or_default(),
            }
        }

        fn record(&mut self) -> Record {
            let name = self.text();
            let at = self.time();
            match self.rng.u8(..6) {
                0 => Record::Org(Org {
                    id: self.orgs[self.rng.usize(..self.orgs.len())],
                    name,
                    disabled: self.rng.bool(),
                    created_at: at,
                    revision: self.revision(),
                }),
                1 => {
                    let org = samples::org("a");
                    Record::User(User {
                        id: self.users[self.rng.usize(..self.users.len())],
                        org: self.orgs[0],
                        disabled: self.rng.bool(),
                        application_keys_revoked_through: self.revision(),
                        application_keys_revoked_at: self.maybe(Self::time),
                        revision: self.revision(),
                        ..samples::user(&org, &name)
                    })
                }
                _ => Record::Key(self.key()),
            }
        }
    }

    fn assert_same(table: &KeyTable, plain: &Plain) {
        let (mut keys, mut orgs, mut users) = (0, 0, 0);
        table.each(&mut |record| match record {
            Record::Org(org) => {
                orgs += 1;
                assert_eq!(plain.orgs.get(&org.id), Some(&org));
                assert_eq!(table.org_by_id(&org.id).as_deref(), Some(&org));
            }
            Record::User(user) => {
                users += 1;
                assert_eq!(plain.users.get(&user.id), Some(&user));
                assert_eq!(table.user_by_id(&user.id).as_ref(), Some(&user));
            }
            Record::Key(key) => {
                keys += 1;
                assert_eq!(plain.keys.get(&key.fingerprint), Some(&key));
            }
        });
        let held = (plain.keys.len(), plain.orgs.len(), plain.users.len());
        assert_eq!((keys, orgs, users), held);
        assert_eq!(table.keys_len(), keys);
        let reader = table.read();
        for (fingerprint, key) in &plain.keys {
            assert_eq!(table.full_key(fingerprint).as_ref(), Some(key));
            let held = reader.key(fingerprint).unwrap();
            assert_eq!(
                (held.id, held.kind, held.issued, held.expires_at),
                (key.id, key.kind, key.issued, key.expires_at)
            );
            assert_eq!(held.is_revoked, key.revoked.is_some());
            assert_eq!(held.shadowed(), key.shadowed.map(|deed| deed.at));
            assert_eq!(held.scopes(), key.scopes.as_deref());
            assert_eq!(held.allowed_addresses(), key.allowed_addresses);
            assert_eq!(held.allowed_origins(), key.allowed_origins);
            let org = plain.orgs.get(&key.org);
            assert_eq!(
                reader.org(held.org),
                org.map(|org| HeldOrg {
                    id: org.id,
                    disabled: org.disabled
                })
            );
            let owner = key.owner.and_then(|owner| plain.users.get(&owner));
            assert_eq!(held.owner.is_some(), key.owner.is_some());
            assert_eq!(
                held.owner.and_then(|at| reader.user(at)),
                owner.map(|owner| HeldUser {
                    id: owner.id,
                    disabled: owner.disabled,
                    application_keys_revoked_through: owner.application_keys_revoked_through,
                })
            );
            let of = Attribution {
                key: Some(UsedKey {
                    id: key.id,
                    kind: key.kind,
                    shadowed: None,
                    fingerprint: *fingerprint,
                }),
                org: org.map(|org| (org.id, held.org)),
                user: owner.zip(held.owner).map(|(owner, at)| (owner.id, at)),
                ..Attribution::default()
            };
            let names = table.names(&of);
            assert_eq!(names.key.as_ref(), Some(&key.name));
            assert_eq!(names.org, org.map(|org| org.name.clone()));
            assert_eq!(names.user, owner.map(|owner| owner.name.clone()));
        }
        assert_eq!(table.kept().limits_len(), plain.limits());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn it_holds_what_plain_maps_would_whatever_comes_in_whatever_order(
            seed in any::<u64>(), records in 1..200_usize, at_once in any::<bool>(),
        ) {
            let (table, mut plain) = (KeyTable::new(Instant::now()), Plain::default());
            let mut made = Made::new(seed);
            let mut records: Vec<Record> = std::iter::repeat_with(|| made.record()).take(records).collect();
            let expected: Vec<Applied> =
                records.iter().map(|record| plain.apply(record.clone())).collect();
            let last = records.iter().map(|record| record.revision().0).max();
            let mut applied = Vec::new();
            if at_once {
                table.apply_all(&mut records, |it| applied.push(it));
            } else {
                applied.extend(records.into_iter().map(|record| table.apply(record)));
            }
            prop_assert_eq!(applied, expected);
            prop_assert_eq!(table.revision.load(Ordering::Relaxed), last.unwrap_or_default());
            assert_same(&table, &plain);
        }
    }

    /// Room that was made for many is used, and too little of it is made up for.
    #[test]
    fn many_keys_are_all_found_with_room_made_for_them_and_without() {
        let org = samples::org("a");
        for room in [0, 1_000, 100_000] {
            let (table, mut plain) = (KeyTable::new(Instant::now()), Plain::default());
            table.reserve(room);
            let records = (0..30_000_u128).map(|at| {
                let mut key = samples::key(KeyKind::ApiKey, &org, None, at * 0x9e37_79b9_7f4a_7c15);
                key.name = format!("key {at}").into();
                Record::Key(key)
            });
            let mut records: Vec<Record> = records.collect();
            for record in &records {
                plain.apply(record.clone());
            }
            table.apply_all(&mut records, |applied| {
                assert_eq!(applied, Applied::Newer { replaced: None });
            });
            assert_same(&table, &plain);
            assert!(
                table
                    .read()
                    .key(&Fingerprint::from_bytes([7; 16]))
                    .is_none()
            );
        }
    }
}
