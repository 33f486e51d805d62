//! The orgs and the users: each has a number, and a place where what a decision asks of it is in one word. Whoever is only named by
//! a key has a number too, and no record.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::TakeBytes;
use super::entry::{bytes_of, halves};
use super::packed::Packed;
use super::slots::Slots;
use crate::keys::{Org, OrgId, Revision, User, UserId};

/// Where an org is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OrgAt(pub(super) u32);

/// Where a user is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UserAt(pub(super) u32);

/// What a decision asks of an org.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldOrg {
    /// Its id.
    pub id: OrgId,
    /// Whether its keys are refused.
    pub disabled: bool,
}

/// What a decision asks of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldUser {
    /// The user's id.
    pub id: UserId,
    /// Set while the user may not act.
    pub disabled: bool,
    /// Application keys issued up to here are revoked for good.
    pub application_keys_revoked_through: Revision,
}

const PRESENT: u64 = 1 << 63;
const DISABLED: u64 = 1 << 62;
/// The revision takes more room than there is: it is in the record.
const WIDE: u64 = 1 << 61;
const REVISION_MAX: u64 = WIDE - 1;

/// The place of an org or a user.
pub(super) struct Slot<T> {
    /// Written once, before anybody knows of the place.
    id: [AtomicU64; 2],
    state: AtomicU64,
    record: ArcSwapOption<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self {
            id: [0; 2].map(AtomicU64::new),
            state: AtomicU64::new(0),
            record: ArcSwapOption::empty(),
        }
    }
}

impl<T> Slot<T> {
    fn id(&self) -> uuid::Uuid {
        let words = self.id.each_ref().map(|word| word.load(Ordering::Relaxed));
        uuid::Uuid::from_bytes(bytes_of(words))
    }

    fn name(&self, id: [u8; 16]) {
        for (to, from) in self.id.iter().zip(halves(id)) {
            to.store(from, Ordering::Relaxed);
        }
    }

    fn put(&self, state: u64, record: T) {
        // Who finds a state that refers to the record finds that record, or a newer one.
        self.record.store(Some(Arc::new(record)));
        self.state.store(state | PRESENT, Ordering::Release);
    }
}

/// Every org or user, by number.
pub(super) struct People<T> {
    slots: Slots<Slot<T>>,
}

impl<T> People<T> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Slots::new(),
        }
    }

    /// The record of this number; what is returned shares it, for whoever does not come by on every request.
    pub(super) fn record(&self, at: u32) -> Option<Arc<T>> {
        self.slots.get(at)?.record.load_full()
    }

    /// The same, lent: nobody's count is touched.
    pub(super) fn with<A>(&self, at: u32, ask: impl FnOnce(&T) -> A) -> Option<A> {
        let held = self.slots.get(at)?.record.load();
        held.as_ref().map(|record| ask(record))
    }

    /// The id of this number.
    pub(super) fn id(&self, at: u32) -> Option<uuid::Uuid> {
        self.slots.get(at).map(Slot::id)
    }
}

impl People<Org> {
    pub(super) fn held(&self, OrgAt(at): OrgAt) -> Option<HeldOrg> {
        let slot = self.slots.get(at)?;
        let state = slot.state.load(Ordering::Acquire);
        (state & PRESENT != 0).then(|| HeldOrg {
            id: OrgId(slot.id()),
            disabled: state & DISABLED != 0,
        })
    }

    pub(super) fn put(&self, at: u32, org: Org) {
        if let Some(slot) = self.slots.make(at) {
            slot.put(if org.disabled { DISABLED } else { 0 }, org);
        }
    }
}

impl People<Packed> {
    /// The whole record of this number.
    pub(super) fn user(&self, at: u32) -> Option<User> {
        let id = UserId(self.id(at)?);
        self.with(at, |packed| packed.user(id)).flatten()
    }

    pub(super) fn held(&self, UserAt(at): UserAt) -> Option<HeldUser> {
        let slot = self.slots.get(at)?;
        let state = slot.state.load(Ordering::Acquire);
        if state & WIDE != 0 {
            return self.user(at).map(|user| HeldUser {
                id: user.id,
                disabled: user.disabled,
                application_keys_revoked_through: user.application_keys_revoked_through,
            });
        }
        (state & PRESENT != 0).then(|| HeldUser {
            id: UserId(slot.id()),
            disabled: state & DISABLED != 0,
            application_keys_revoked_through: Revision(state & REVISION_MAX),
        })
    }

    pub(super) fn put(&self, at: u32, user: &User) {
        let through = user.application_keys_revoked_through.0;
        let through = if through > REVISION_MAX {
            WIDE
        } else {
            through
        };
        let disabled = if user.disabled { DISABLED } else { 0 };
        if let Some(slot) = self.slots.make(at) {
            slot.put(disabled | through, Packed::of(user));
        }
    }
}

/// Which number an id has. Kept by whoever writes.
pub(super) struct Numbers<Id> {
    by_id: HashMap<Id, u32, BuildHasherDefault<TakeBytes>>,
}

impl<Id: Copy + Eq + Hash> Numbers<Id> {
    pub(super) fn new() -> Self {
        Self {
            by_id: HashMap::default(),
        }
    }

    pub(super) fn get(&self, id: &Id) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// How many have one: the numbers below this.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.by_id.len()).unwrap_or(u32::MAX)
    }

    /// The number of an id; the next one, if it has none yet.
    pub(super) fn of<T>(&mut self, id: Id, bytes: [u8; 16], people: &People<T>) -> u32 {
        if let Some(at) = self.get(&id) {
            return at;
        }
        let at = self.len();
        if let Some(slot) = people.slots.make(at) {
            slot.name(bytes);
        }
        self.by_id.insert(id, at);
        at
    }
}
