//! The operations that tell who uses which key: what is seen of a key's uses takes what seeing the key takes.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Performing;
use super::keys::Touch;
use crate::control::uses::{KeyTotals, KeyUseView, OrgBuckets, OrgUseView};
use crate::control::views::Names;
use crate::control::{KeyStatus, KeyView, OrgView, Response, ServiceError};
use crate::keys::{KeyId, KeyKind, Timestamp, User, UserId};

/// The most keys in one answer.
const KEYS_MAX: usize = 1_000;

/// Of so many keys the uses are in memory at a time: with their history they are some 3 kB each.
pub(super) const AT_ONCE: usize = 500;

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

impl Performing<'_> {
    pub(super) fn show_key_use(&self, kind: KeyKind, id: &str) -> Result<Response, ServiceError> {
        let key = self.key(kind, id)?;
        self.may_touch(kind, self.owner(&key)?.as_ref(), Touch::See)?;
        let uses = self.uses(&key)?;
        let view = self.view(&key, uses.as_ref())?;
        let view = view.named(&key, &self.maker(&key)?);
        let view = KeyUseView::of(view, key.shadowed, uses.as_ref(), now());
        Ok(Response::KeyUse(Box::new(view)))
    }

    pub(super) fn show_org_use(&self, org: &str) -> Result<Response, ServiceError> {
        let org = self.org(org)?;
        let of_kind = KeyKind::ALL.map(|kind| self.may_touch(kind, None, Touch::See));
        let users = self.store.users_of(org.id)?;
        let users: HashMap<UserId, &User> = users.iter().map(|user| (user.id, user)).collect();
        let mut keys = self.store.keys_of(org.id)?;
        keys.retain(|key| {
            let owner = key.owner.and_then(|owner| users.get(&owner).copied());
            self.may_touch(key.kind, owner, Touch::See).is_ok()
        });
        if keys.is_empty() {
            // Whoever may see no kind of key is told so; others, that there is none.
            let mut refused = of_kind.into_iter();
            if let Some(Err(error)) = refused.next()
                && refused.all(|may| may.is_err())
            {
                return Err(error);
            }
        }
        let names = Names::of(users.values().copied());
        let now = now();
        let mut totals: Vec<KeyTotals> = Vec::with_capacity(keys.len());
        let mut sums = OrgBuckets::until(now);
        for keys in keys.chunks(AT_ONCE) {
            let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
            for (key, uses) in keys.iter().zip(self.store.usage_of(&ids)?) {
                // A request with a pair is counted at both its keys, and is one: its API key stands for it.
                let is_counted = key.kind != KeyKind::ApplicationKey;
                if let Some(uses) = uses.as_ref().filter(|_| is_counted) {
                    sums.add(uses);
                }
                let owner = key.owner.and_then(|owner| users.get(&owner).copied());
                let view = KeyView::of(key, owner).used(uses.as_ref());
                let of_key = KeyTotals::of(view.named(key, &names), uses.as_ref(), now);
                if of_key.key.status == KeyStatus::Active || of_key.last_30_days > 0 {
                    totals.push(of_key);
                }
            }
        }
        totals.sort_by_key(|of_key| Reverse((of_key.last_30_days, of_key.key.uses)));
        let more = totals.len().saturating_sub(KEYS_MAX) as u64;
        totals.truncate(KEYS_MAX);
        let org = OrgView::of(&org);
        let (by_hour, by_day) = sums.views();
        Ok(Response::OrgUse(Box::new(OrgUseView {
            org,
            keys: totals,
            more,
            by_hour,
            by_day,
        })))
    }
}
