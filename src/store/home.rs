//! The store, whichever home it has: the operations that both offer, by one name each. It does nothing of its own.

use std::sync::Arc;

use super::embedded::EmbeddedStore;
use super::fleet::FleetStore;
use super::log::{Entry, HeadView, LogFindings};
use super::papers::{Link, Password, Session};
use super::{Done, Founded, Issued, KeyChange, NewKey, NewUser, Rotation, StoreError, UserChange};
use crate::keys::audit::{Action, By};
use crate::keys::rules::{Limits, Name};
use crate::keys::secret::Fingerprinter;
use crate::keys::usage::Use;
use crate::keys::{Key, KeyId, Org, OrgId, Partition, Role, User, UserId};

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

    /// The rules about numbers that it holds.
    pub fn limits(&self) -> &Limits {
        match self {
            Self::Embedded(store) => store.limits(),
            Self::Redis(store) => store.limits(),
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
    create_org(name: Name, by: &By) -> Result<Done<(Org, Issued)>, StoreError>;
    /// Makes an org, its first user (an admin), its first API key and the user's first application key, or nothing.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    found(org: Name, handle: Name, by: &By) -> Result<Done<Founded>, StoreError>;
    /// Disables or enables an org.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such org.
    set_org_disabled(id: OrgId, disabled: bool, by: &By) -> Result<Done<Org>, StoreError>;
    /// Makes a user.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    create_user(user: NewUser, by: &By) -> Result<Done<User>, StoreError>;
    /// Makes a service account. Its handle is its id.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    create_service_account(org: OrgId, name: Name, email: Option<Name>, role: Role, by: &By) -> Result<Done<User>, StoreError>;
    /// Changes a user or service account. Disabling revokes all their application keys for good; enabling revives none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when there is no such user, and when the org would have no admin left.
    update_user(id: UserId, change: UserChange, by: &By) -> Result<Done<User>, StoreError>;
    /// Makes a key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    create_key(key: NewKey, by: &By) -> Result<Done<Issued>, StoreError>;
    /// Changes a key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    update_key(id: KeyId, change: KeyChange, by: &By) -> Result<Done<Key>, StoreError>;
    /// Gives a key a successor. Returns the old one, and the new one.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    rotate_key(id: KeyId, rotation: Rotation, by: &By) -> Result<Done<(Key, Issued)>, StoreError>;
    /// Revokes a key.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when a rule says no.
    revoke_key(id: KeyId, by: &By) -> Result<Done<Key>, StoreError>;
    /// Makes a one-time link, kept by the hash of what is in it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the user cannot sign in.
    make_link(hash: [u8; 32], link: Link, by: &By) -> Result<Done<User>, StoreError>;
    /// Sets the password of whom a one-time link lets in; the link is spent.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when it is spent already, or the user cannot sign in.
    use_link(partition: Partition, hash: [u8; 32], password: &str, by: &By) -> Result<Done<User>, StoreError>;
    /// Sets a password, given by its argon2id hash. Sessions opened before are over.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the user cannot sign in.
    set_password(id: UserId, password: &str, by: &By) -> Result<Done<User>, StoreError>;
    /// Opens a session, kept by the hash of what its cookie holds.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the user cannot sign in.
    open_session(hash: [u8; 32], session: Session, by: &By) -> Result<Done<User>, StoreError>;
    /// Notes that a session is in use.
    ///
    /// # Errors
    /// When the store cannot be written.
    touch_session(partition: Partition, hash: [u8; 32]) -> Result<(), StoreError>;
    /// Ends a session.
    ///
    /// # Errors
    /// When the store cannot be written.
    end_session(partition: Partition, hash: [u8; 32], by: &By) -> Result<Done<()>, StoreError>;
    /// A user's password.
    ///
    /// # Errors
    /// When the store cannot be read.
    password(id: UserId) -> Result<Option<Password>, StoreError>;
    /// A one-time link that has not been used. It may be too old.
    ///
    /// # Errors
    /// When the store cannot be read.
    link(partition: Partition, hash: [u8; 32]) -> Result<Option<Link>, StoreError>;
    /// A session that has not been ended. It may be too old.
    ///
    /// # Errors
    /// When the store cannot be read.
    session(partition: Partition, hash: [u8; 32]) -> Result<Option<Session>, StoreError>;
    /// Takes away links, sessions and answers that are too old. Returns how many.
    ///
    /// # Errors
    /// When the store cannot be written.
    forget_expired() -> Result<usize, StoreError>;
    /// Logs what was done to the store itself.
    ///
    /// # Errors
    /// When the store cannot be written.
    log_store(action: Action, note: &str, by: &By) -> Result<Done<()>, StoreError>;
    /// Entries of a partition's audit log before a number, the newest first, at most so many.
    ///
    /// # Errors
    /// When the store cannot be read.
    log_before(partition: Partition, number: Option<u64>, most: usize) -> Result<Vec<Entry>, StoreError>;
    /// Looks through the whole audit log: whether every entry is as it was written and follows the one before it, none is
    /// lost, every record has one, and it goes on from where it was earlier.
    ///
    /// # Errors
    /// When the store cannot be read.
    verify_log(earlier: &[HeadView]) -> Result<LogFindings, StoreError>;
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
