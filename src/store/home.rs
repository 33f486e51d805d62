//! The store, whichever home it has: the operations that both offer, by one name each. It does nothing of its own.

use std::sync::Arc;

use super::embedded::EmbeddedStore;
use super::fleet::FleetStore;
use super::{Founded, Issued, NewKey, NewUser, StoreError};
use crate::keys::rules::Name;
use crate::keys::secret::Fingerprinter;
use crate::keys::usage::Use;
use crate::keys::{Actor, Key, KeyId, Org, OrgId, Role, User, UserId};

/// Where keys, users and orgs are kept.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a process has one of it")]
pub enum Store {
    /// In a file of this machine, for one process.
    Embedded(EmbeddedStore),
    /// In Redis, for every node of a fleet.
    Redis(Arc<FleetStore>),
}

impl Store {
    /// Its fingerprint function; `None` while a fleet's store has not been reached.
    pub fn fingerprinter(&self) -> Option<Fingerprinter> {
        match self {
            Self::Embedded(store) => Some(store.fingerprinter()),
            Self::Redis(store) => store.reached().map(|store| store.fingerprinter()),
        }
    }
}

/// Hands each operation to the home. They block: call them where that is allowed.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $of:ty),*) -> $result:ty;)*) => {
        impl Store {
            $($(#[$doc])*
            pub fn $name(&self $(, $argument: $of)*) -> $result {
                match self {
                    Self::Embedded(store) => store.$name($($argument),*),
                    Self::Redis(store) => store.reach()?.$name($($argument),*),
                }
            })*
        }
    };
}

operations! {
    /// Makes an org together with its first API key, so that an org has at least one at any time.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    create_org(name: Name, by: Actor) -> Result<(Org, Issued), StoreError>;
    /// Makes an org, its first user (an admin), its first API key and the user's first application key, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    found(org: Name, handle: Name, by: Actor) -> Result<Founded, StoreError>;
    /// Disables or enables an org.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such org.
    set_org_disabled(id: OrgId, disabled: bool) -> Result<Org, StoreError>;
    /// Makes a user.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    create_user(user: NewUser) -> Result<User, StoreError>;
    /// Makes a service account. Its handle is its id.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    create_service_account(org: OrgId, name: Name, role: Role) -> Result<User, StoreError>;
    /// Disables a user, which revokes all their application keys for good; or enables them, which revives none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such user.
    set_user_disabled(id: UserId, disabled: bool) -> Result<User, StoreError>;
    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    create_key(key: NewKey) -> Result<Issued, StoreError>;
    /// Revokes a key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    revoke_key(id: KeyId, by: Actor) -> Result<Key, StoreError>;
    /// The org with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    org(id: OrgId) -> Result<Option<Org>, StoreError>;
    /// The org with this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    org_named(name: &str) -> Result<Option<Org>, StoreError>;
    /// Every org.
    ///
    /// # Errors
    /// When the store cannot be read.
    orgs() -> Result<Vec<Org>, StoreError>;
    /// The user with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    user(id: UserId) -> Result<Option<User>, StoreError>;
    /// Every user and service account of an org.
    ///
    /// # Errors
    /// When the store cannot be read.
    users_of(org: OrgId) -> Result<Vec<User>, StoreError>;
    /// The users with this handle and the service accounts with this name, of every org.
    ///
    /// # Errors
    /// When the store cannot be read.
    users_named(text: &str) -> Result<Vec<User>, StoreError>;
    /// The key with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    key(id: KeyId) -> Result<Option<Key>, StoreError>;
    /// Every key of an org, revoked ones included, in the order in which they were issued.
    ///
    /// # Errors
    /// When the store cannot be read.
    keys_of(org: OrgId) -> Result<Vec<Key>, StoreError>;
    /// The key with this secret, revoked ones included.
    ///
    /// # Errors
    /// When the store cannot be read.
    key_of_secret(secret: &[u8]) -> Result<Option<Key>, StoreError>;
    /// Adds to the uses of keys. That is no change of theirs: it has no revision, and no reader is told.
    ///
    /// # Errors
    /// When the store cannot be written.
    flush_usage(uses: &[(KeyId, Use)]) -> Result<(), StoreError>;
    /// The uses of these keys, in their order; `None` of one that was never used.
    ///
    /// # Errors
    /// When the store cannot be read.
    usage_of(ids: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError>;
}
