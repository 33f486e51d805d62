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
        cold::read(self.arena.from(entry.cold), entry.issued)
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
        let Some(held) = seen.users.record(at) else {
            seen.users.put(at, user);
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
            seen.users.put(at, user);
            return Applied::Newer { replaced };
        }
        let revokes = through > held_through;
        if revokes {
            let mut held = (*held).clone();
            held.application_keys_revoked_through = through;
            held.application_keys_revoked_at = user.application_keys_revoked_at;
            seen.users.put(at, held);
        }
        Applied::older(revokes)
    }

    fn apply_key(&mut self, seen: &Seen, mut key: Key) -> Applied {
        let Some(held) = seen.entry(&key.fingerprint) else {
            let entry = self.entry(seen, &key);
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

    /// Writes a key's record down, but for its line.
    fn entry(&mut self, seen: &Seen, key: &Key) -> Entry {
        self.written.clear();
        let users = &mut self.users;
        let mut number = |id: UserId| users.of(id, id.bytes(), &seen.users);
        cold::write(key, &mut self.written, &mut number);
        let owner = key.owner.map(number);
        Entry {
            cold: self.arena.put(&self.written),
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
        let entry = self.entry(seen, key);
        let place = Place::of(entry.fingerprint);
        let segment = seen.segments.of(place);
        let segment = segment.as_ref().and_then(|segment| segment.as_ref());
        if let Some((line, _)) = segment.and_then(|it| it.find(place, entry.fingerprint)) {
            line.write(entry.cold, entry.fingerprint, entry.rest());
        }
        // Nothing refers to these any more, but for readers that will look again.
        self.limits.release(held.bound, &seen.limits);
        if let Some(length) = length {
            self.arena.give_back(held.cold, length);
        }
    }
}
