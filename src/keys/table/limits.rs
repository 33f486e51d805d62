//! What only some keys have and a decision asks: each such set is kept once, however many keys have it, for as long as one does.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use compact_str::CompactString;
use ipnet::IpNet;

use super::entry::Bound;
use super::slots::Slots;
use crate::keys::rules::Origin;
use crate::keys::{Key, Timestamp};

/// The limits of a key that has some.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Limits {
    pub(super) expires_at: Option<Timestamp>,
    /// Since when it is shadow-revoked.
    pub(super) shadowed: Option<Timestamp>,
    pub(super) scopes: Option<Vec<CompactString>>,
    pub(super) allowed_addresses: Vec<IpNet>,
    pub(super) allowed_origins: Vec<Origin>,
}

impl Limits {
    fn of(key: &Key) -> Self {
        Self {
            expires_at: key.expires_at,
            shadowed: key.shadowed.map(|deed| deed.at),
            scopes: key.scopes.clone(),
            allowed_addresses: key.allowed_addresses.clone(),
            allowed_origins: key.allowed_origins.clone(),
        }
    }
}

/// Limits that are lent. They stay as they are; whose they are is for the reader to make sure of.
pub(super) type HeldLimits = Guard<Option<Arc<Limits>>>;

/// The places, for readers.
pub(super) struct Places {
    slots: Slots<ArcSwapOption<Limits>>,
}

impl Places {
    pub(super) const fn new() -> Self {
        Self {
            slots: Slots::new(),
        }
    }

    /// What is at a place now.
    pub(super) fn at(&self, place: u32) -> Option<HeldLimits> {
        self.slots.get(place).map(ArcSwapOption::load)
    }
}

/// Who has which place. Kept by whoever writes.
#[derive(Default)]
pub(super) struct Interned {
    by_limits: HashMap<Arc<Limits>, u32>,
    /// How many keys have the limits at each place.
    keys: Vec<u32>,
    free: Vec<u32>,
}

impl Interned {
    /// What a key's line says of its limits; a place that it is to give back, if it has some.
    pub(super) fn bound_of(&mut self, key: &Key, places: &Places) -> Bound {
        let has_limits = key.shadowed.is_some()
            || key.scopes.is_some()
            || !key.allowed_addresses.is_empty()
            || !key.allowed_origins.is_empty();
        match Bound::of_expiry(key.expires_at) {
            Some(bound) if !has_limits => bound,
            Some(_) | None => Bound::Limits(self.take(Limits::of(key), places)),
        }
    }

    fn take(&mut self, limits: Limits, places: &Places) -> u32 {
        if let Some(place) = self.by_limits.get(&limits).copied() {
            self.count(place, |keys| keys + 1);
            return place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.keys.push(0);
            u32::try_from(self.keys.len() - 1).unwrap_or(u32::MAX)
        });
        let limits = Arc::new(limits);
        if let Some(slot) = places.slots.make(place) {
            slot.store(Some(Arc::clone(&limits)));
        }
        self.by_limits.insert(limits, place);
        self.count(place, |_| 1);
        place
    }

    /// Gives a place back that a line referred to and no longer does.
    pub(super) fn release(&mut self, bound: Bound, places: &Places) {
        let Bound::Limits(place) = bound else { return };
        if self.count(place, |keys| keys.saturating_sub(1)) > 0 {
            return;
        }
        if let Some(limits) = places.slots.get(place).and_then(|slot| slot.swap(None)) {
            self.by_limits.remove(&limits);
        }
        self.free.push(place);
    }

    fn count(&mut self, place: u32, change: impl FnOnce(u32) -> u32) -> u32 {
        match self.keys.get_mut(place as usize) {
            Some(keys) => {
                *keys = change(*keys);
                *keys
            }
            None => 0,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_limits.len()
    }
}
