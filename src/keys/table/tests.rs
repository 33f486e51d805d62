//! The table keeps its promises: whatever comes in whatever order, and while others read.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use compact_str::CompactString;
use proptest::prelude::*;

use super::*;
use crate::keys::{Actor, Deed, KeyId, KeyKind, Labels, Timestamp, samples};

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
    assert_eq!(table.full_key(&key.fingerprint).unwrap().name, "renamed");
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
    assert!(table.read().key(&key.fingerprint).unwrap().is_revoked);
    assert!(table.full_key(&key.fingerprint).unwrap().revoked.is_some());
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
            assert_eq!(table.user_by_id(&user.id).as_deref(), Some(&user));
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
            key: Some(crate::keys::UsedKey {
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

/// What a reader sees of a key is of one version of it, whatever is written meanwhile, and a key that is there is never missed:
/// each version of a key has its number in all of its fields.
#[test]
fn readers_see_whole_keys_and_miss_none_while_they_change_and_the_table_grows() {
    const KEYS: usize = 40;
    const CHANGES: u64 = 60_000;
    let orgs: Vec<Org> = (0..7)
        .map(|at| samples::org(&format!("org {at}")))
        .collect();
    let version = |at: usize, version: u64| {
        let org = &orgs[version as usize % orgs.len()];
        let mut key = samples::key(KeyKind::ALL[version as usize % 3], org, None, at as u128);
        key.id = KeyId(uuid::Uuid::from_u128(u128::from(version)));
        (key.issued, key.revision) = (Revision(version), Revision(version));
        key.expires_at = Some(Timestamp(version as i64));
        if version.is_multiple_of(3) {
            key.scopes = Some(vec![version.to_string().into()]);
        }
        if version.is_multiple_of(5) {
            // Of nobody else for long, so that its place is soon another's.
            key.shadowed = Some(key.modified);
        }
        key.name = version.to_string().into();
        key
    };
    let table = KeyTable::new(Instant::now());
    for org in &orgs {
        table.apply(Record::Org(org.clone()));
    }
    for at in 0..KEYS {
        table.apply(Record::Key(version(at, CHANGES * 2)));
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (table, orgs, is_over) = (&table, &orgs, &is_over);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                while !is_over.load(Ordering::Relaxed) {
                    let at = rng.usize(..KEYS) as u128;
                    let reader = table.read();
                    let held = reader
                        .key(&Fingerprint::from_bytes(at.to_be_bytes()))
                        .expect("it is there all the time");
                    let version = held.issued.0;
                    assert_eq!(held.id.0.as_u128(), u128::from(version));
                    assert_eq!(held.expires_at, Some(Timestamp(version as i64)));
                    assert_eq!(held.kind, KeyKind::ALL[version as usize % 3]);
                    let org = reader.org(held.org).map(|org| org.id);
                    assert_eq!(org, Some(orgs[version as usize % orgs.len()].id));
                    let scopes = version
                        .is_multiple_of(3)
                        .then(|| vec![CompactString::from(version.to_string())]);
                    assert_eq!(held.scopes(), scopes.as_deref());
                    assert_eq!(held.shadowed().is_some(), version.is_multiple_of(5));
                }
            });
        }
        scope.spawn(|| {
            let full =
                |at: usize| table.full_key(&Fingerprint::from_bytes((at as u128).to_be_bytes()));
            let mut at = 0;
            while !is_over.load(Ordering::Relaxed) {
                let key = full(at).expect("it is there all the time");
                assert_eq!(key.name, key.issued.0.to_string());
                at = (at + 1) % KEYS;
            }
        });
        let mut rng = fastrand::Rng::with_seed(99);
        for change in 0..CHANGES {
            // Issued earlier than what is there, so it takes its place.
            let record = version(rng.usize(..KEYS), CHANGES * 2 - 1 - change);
            assert!(matches!(
                table.apply(Record::Key(record)),
                Applied::Newer { .. }
            ));
            let more = samples::key(KeyKind::ApiKey, &orgs[0], None, rng.u128(..));
            table.apply(Record::Key(more));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(table.keys_len(), KEYS + CHANGES as usize);
}

/// The limits of a key are nobody else's, however often they change hands.
#[test]
fn two_keys_never_have_each_others_limits() {
    let org = samples::org("a");
    let table = KeyTable::new(Instant::now());
    let key = |at: u128, change: u64| {
        let mut key = samples::key(KeyKind::ApiKey, &org, None, at);
        key.id = KeyId(uuid::Uuid::from_u128(at));
        key.revision = Revision(change);
        // Each change gives up one place, and the next one takes it.
        key.scopes = Some(vec![format!("{at} {change}").into()]);
        key
    };
    for at in 0..4 {
        table.apply(Record::Key(key(at, 1)));
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for at in 0..2_u128 {
            let (table, is_over) = (&table, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let held = table.read().key(&Fingerprint::from_bytes(at.to_be_bytes()));
                    let held = held.expect("it is there all the time");
                    let [scope] = held.scopes().unwrap() else {
                        panic!("{:?}", held.scopes())
                    };
                    assert!(scope.starts_with(&format!("{at} ")), "{scope} at {at}");
                }
            });
        }
        for change in 2..40_000 {
            table.apply(Record::Key(key(u128::from(change % 4), change)));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(table.kept().limits_len(), 4);
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
