//! What readers are given: for a decision, what it asks and nothing that has to be copied or waited for; for people, names.

use compact_str::CompactString;
use ipnet::IpNet;

use super::entry::{Bound, Entry, halves};
use super::limits::{HeldLimits, Limits};
use super::segments::Place;
use super::{HeldOrg, HeldUser, KeyTable, OrgAt, UserAt};
use crate::keys::rules::Origin;
use crate::keys::{Fingerprint, KeyId, KeyKind, Revision, Timestamp, User};

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

    /// Asks the record of the user at this place.
    pub fn with_user<A>(&self, UserAt(at): UserAt, ask: impl FnOnce(&User) -> A) -> Option<A> {
        self.table.seen.users.with(at, ask)
    }

    /// The whole table, for what no decision needs.
    pub const fn table(&self) -> &'a KeyTable {
        self.table
    }
}
