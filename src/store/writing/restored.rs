//! What two copies of a record come to when one of them is put back: what either has revoked is revoked. Where the other copy
//! comes from is not asked here.

use super::Writing;
use crate::keys::audit::{Action, Object};
use crate::keys::{Key, OrgId, Record};
use crate::store::StoreError;
use crate::store::ledger::{Fields, differences};
use crate::store::tables::{NameSpace, Tables};

impl<T: Tables> Writing<'_, T> {
    /// Adds to a record what another copy of it has revoked.
    pub(in crate::store) fn join(
        &mut self,
        theirs: &Record,
        keys_of: &mut dyn FnMut(OrgId) -> Result<Vec<Key>, StoreError>,
    ) -> Result<(), StoreError> {
        let (org, object, changes) = match theirs {
            Record::Org(_) => return Ok(()),
            Record::User(theirs) => {
                let Some(held) = self.tables.user(theirs.id)? else {
                    return Ok(());
                };
                let mut user = held.clone();
                user.application_keys_revoked_through = theirs
                    .application_keys_revoked_through
                    .max(user.application_keys_revoked_through);
                user.application_keys_revoked_at = user
                    .application_keys_revoked_at
                    .max(theirs.application_keys_revoked_at);
                for key in keys_of(user.org)? {
                    if key.owner == Some(user.id) && user.has_revoked(&key) {
                        self.give_back(&key)?;
                    }
                }
                self.put_user(&mut user)?;
                let changes = differences(&Fields::of_user(&held), &Fields::of_user(&user));
                (user.org, Object::user(&user), changes)
            }
            Record::Key(theirs) => {
                let Some(held) = self.tables.key(theirs.id)? else {
                    return Ok(());
                };
                let mut key = held.clone();
                key.revoked = key.revoked.or(theirs.revoked);
                self.give_back(&key)?;
                self.put_key(&mut key)?;
                let changes = differences(&Fields::of_key(&held), &Fields::of_key(&key));
                (key.org, Object::key(&key), changes)
            }
        };
        self.log(Some(org), Action::StoreRestored, object, changes)
    }

    /// Frees the name of a key that is no longer active, if it is the one that holds it.
    fn give_back(&mut self, key: &Key) -> Result<(), StoreError> {
        let space = NameSpace::of(key);
        if self.tables.holder(space, &key.name)? == Some(key.id.bytes()) {
            self.tables.free_name(space, &key.name)?;
        }
        Ok(())
    }
}
