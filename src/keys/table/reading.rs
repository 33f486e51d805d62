//! What readers are given: for a decision, what it asks and nothing that has to be copied or waited for; for people, names.

use compact_str::CompactString;
use ipnet::IpNet;

use super::entry::{Bound, Entry, halves};
use super::limits::{HeldLimits, Limits};
use super::segments::Place;
use super::{HeldOrg, HeldUser, KeyTable, OrgAt, UserAt};
use crate::keys::rules::Origin;
use crate::keys::{Fingerprint, KeyId, KeyKind, Revision, Timestamp};

/// The table for the length of one decision. It is no snapshot; each look-up sees the table as it is then.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    table: &'a KeyTable,
}

/// A key as a decision needs it, as it was when it was looked up.
pub struct Held {
    /// Its id.
    pub id: KeyId,
    /// Its kind.
    pub kind: KeyKind,
    /// What it was looked up by.
    pub fingerprint: Fingerprint,
    /// Its org, whose record may not be known.
    pub org: OrgAt,
    /// Its owner, whose record may not be known.
    pub owner: Option<UserAt>,
    /// The change that made it.
    pub issued: Revision,
    /// Whether it is revoked by itself.
    pub is_revoked: bool,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    limits: Option<HeldLimits>,
}

/// How far a key is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: KeyId,
    /// The change that last touched it.
    pub revision: Revision,
    /// Whether it is revoked by itself.
    pub is_revoked: bool,
}

/// What those are called whom an attribution names, when somebody asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The API key's or client token's name.
    pub key: Option<CompactString>,
    /// The application key's.
    pub application_key: Option<CompactString>,
    /// The org's.
    pub org: Option<CompactString>,
    /// The user's.
    pub user: Option<CompactString>,
}

impl Held {
    fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()?.as_deref()
    }

    /// Since when it is shadow-revoked, if it is.
    pub fn shadowed(&self) -> Option<Timestamp> {
        self.limits()?.shadowed
    }

    /// What it may be used for, if that is not all that its owner may.
    pub fn scopes(&self) -> Option<&[CompactString]> {
        self.limits()?.scopes.as_deref()
    }

    /// The client addresses it may be used from; empty is any.
    pub fn allowed_addresses(&self) -> &[IpNet] {
        self.limits()
            .map_or(&[], |limits| &limits.allowed_addresses)
    }

    /// The page origins it may be used from; empty is any.
    pub fn allowed_origins(&self) -> &[Origin] {
        self.limits().map_or(&[], |limits| &limits.allowed_origins)
    }

    /// Whether it is refused now because its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= now)
    }

    fn of(entry: &Entry, limits: Option<HeldLimits>) -> Self {
        let expires_at = match entry.bound {
            Bound::None => None,
            Bound::ExpiresAt(at) => Some(Timestamp(at as i64)),
            Bound::Limits(_) => {
                let limits = limits.as_ref().and_then(|limits| limits.as_ref());
                limits.and_then(|limits| limits.expires_at)
            }
        };
        Self {
            id: entry.id,
            kind: entry.kind,
            fingerprint: entry.fingerprint(),
            org: OrgAt(entry.org),
            owner: entry.owner.map(UserAt),
            issued: entry.issued,
            is_revoked: entry.is_revoked,
            expires_at,
            limits,
        }
    }
}

impl<'a> Reader<'a> {
    pub(super) const fn of(table: &'a KeyTable) -> Self {
        Self { table }
    }

    /// The key with this fingerprint, revoked ones included.
    pub fn key(&self, fingerprint: &Fingerprint) -> Option<Held> {
        let seen = &self.table.seen;
        let fingerprint = halves(fingerprint.bytes());
        let place = Place::of(fingerprint);
        loop {
            let held = seen.segments.of(place)?;
            let segment = held.as_ref()?;
            let (line, words) = segment.find(place, fingerprint)?;
            let entry = Entry::of(&words);
            let Bound::Limits(at) = entry.bound else {
                return Some(Held::of(&entry, None));
            };
            let limits = seen.limits.at(at)?;
            // A place that the key has given up may have another's limits by now, and then the key's line says so: this
            // one, or its copy in a larger segment.
            if line.is_still(words.head) && !segment.is_over() {
                // Were there none, which cannot be, the key would be unknown rather than without limits.
                limits.as_ref()?;
                return Some(Held::of(&entry, Some(limits)));
            }
        }
    }

    /// The org at this place; `None` while it is only named.
    pub fn org(&self, at: OrgAt) -> Option<HeldOrg> {
        self.table.seen.orgs.held(at)
    }

    /// The user at this place; `None` while the user is only named.
    pub fn user(&self, at: UserAt) -> Option<HeldUser> {
        self.table.seen.users.held(at)
    }

    /// Shows what the user at this place is called.
    pub fn user_name<A>(&self, UserAt(at): UserAt, show: impl FnOnce(&str) -> A) -> Option<A> {
        let users = &self.table.seen.users;
        users.with(at, |user| user.name().map(show)).flatten()
    }

    /// The whole table, for what no decision needs.
    pub const fn table(&self) -> &'a KeyTable {
        self.table
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::super::Applied;
    use super::*;
    use crate::keys::{Org, Record, samples};

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
        let is_over = AtomicBool::new(false);
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
                let full = |at: usize| {
                    table.full_key(&Fingerprint::from_bytes((at as u128).to_be_bytes()))
                };
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
        let is_over = AtomicBool::new(false);
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
}
