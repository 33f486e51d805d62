//! Names that lead to what does not hold them: nobody could be given them. That every holder has its name is the matter of
//! `verify`. It changes nothing.

use std::collections::{BTreeSet, HashMap};
use std::thread;
use std::time::Duration;

use uuid::Uuid;

use super::RedisStore;
use super::records::scan;
use crate::keys::{KeyKind, Org, OrgId, Partition, User};
use crate::store::StoreError;
use crate::store::findings::Findings;
use crate::store::tables::NameSpace;

/// After which pause what seems wrong is looked at again: somebody may be writing.
const PAUSE: Duration = Duration::from_millis(300);

/// Names, and the ids of what holds them.
type Names = HashMap<Vec<u8>, Vec<u8>>;

impl RedisStore {
    /// Looks at every name there is.
    ///
    /// # Errors
    /// When a master cannot be reached.
    pub(in crate::store) fn verify_names(&self, found: &mut Findings) -> Result<(), StoreError> {
        for partition in Partition::all() {
            let space = self.layout().names(partition, NameSpace::Orgs);
            let mut orgs = Names::new();
            let scanned = scan(&self.servers, partition, &space, &mut |name, id| {
                orgs.insert(name, id);
            });
            // Something else under its name is what `verify` says.
            if tolerated(scanned)?.is_none() {
                continue;
            }
            found.names += orgs.len() as u64;
            for (name, id) in orgs {
                let id = id.as_slice().try_into().map(Uuid::from_bytes);
                let org = match id {
                    Ok(id) => tolerated(self.org(OrgId(id)))?,
                    Err(_) => Some(None),
                };
                match org {
                    Some(Some(org)) if org.name.as_bytes() == name => self.of_org(&org, found)?,
                    Some(_) => found.fault(ghost(&space, &name)),
                    // It cannot be read, as `verify` says.
                    None => {}
                }
            }
        }
        Ok(())
    }

    fn of_org(&self, org: &Org, found: &mut Findings) -> Result<(), StoreError> {
        let (names, mut ghosts) = self.ghosts_of(org)?;
        found.names += names;
        if !ghosts.is_empty() {
            thread::sleep(PAUSE);
            let (_, again) = self.ghosts_of(org)?;
            ghosts.retain(|ghost| again.contains(ghost));
        }
        for said in ghosts {
            found.fault(said);
        }
        Ok(())
    }

    /// How many names there are within an org, and which of them lead to what does not hold them.
    fn ghosts_of(&self, org: &Org) -> Result<(u64, BTreeSet<String>), StoreError> {
        let partition = org.id.partition();
        let records = tolerated(self.users_of(org.id))?.zip(tolerated(self.keys_of(org.id))?);
        let (mut looked, mut ghosts) = (0, BTreeSet::new());
        // An org with a record that cannot be read is named by `verify`; who holds what there is not known.
        let Some((users, keys)) = records else {
            return Ok((looked, ghosts));
        };
        let mut spaces: HashMap<String, Names> = HashMap::new();
        let key = |space| self.layout().names(partition, space);
        let mut expect = |space, name: &str, id: [u8; 16]| {
            let names = spaces.entry(key(space)).or_default();
            names.insert(name.as_bytes().to_vec(), id.to_vec());
        };
        for user in &users {
            expect(NameSpace::Users(org.id), &user.handle, user.id.bytes());
        }
        let owners: HashMap<_, &User> = users.iter().map(|user| (user.id, user)).collect();
        for held in &keys {
            let owner = held.owner.and_then(|owner| owners.get(&owner));
            let with_owner = owner.is_some_and(|owner| owner.has_revoked(held));
            if held.revoked.is_none() && !with_owner {
                expect(NameSpace::of(held), &held.name, held.id.bytes());
            }
        }
        // Also of what holds no name any more: none may be left.
        let of_org = [KeyKind::ApiKey, KeyKind::ClientToken]
            .map(|kind| NameSpace::Keys(kind, org.id.bytes()));
        let of_users = users
            .iter()
            .map(|user| NameSpace::Keys(KeyKind::ApplicationKey, user.id.bytes()));
        for space in of_org.into_iter().chain(of_users) {
            spaces.entry(key(space)).or_default();
        }
        for (space, names) in spaces {
            let scanned = scan(&self.servers, partition, &space, &mut |name, id| {
                looked += 1;
                if names.get(&name) != Some(&id) {
                    ghosts.insert(ghost(&space, &name));
                }
            });
            tolerated(scanned)?;
        }
        Ok((looked, ghosts))
    }
}

/// `None` for what is damaged and said elsewhere.
fn tolerated<T>(outcome: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Damaged { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn ghost(space: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    format!("the name {name:?} in {space} leads to what does not hold it")
}
