//! What the rules read and write in one transaction, whatever the store is made of. Two homes implement it: the embedded
//! store's file, and Redis. It holds no rule; those are in `writing`.

use super::StoreError;
use super::papers::PaperId;
use crate::keys::keyring::Sealer;
use crate::keys::{
    Fingerprint, Key, KeyId, KeyKind, Org, OrgId, Partition, Record, Revision, Timestamp, User,
    UserId,
};

/// Within what a name is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameSpace {
    /// The names of orgs. Those of one name are in one partition.
    Orgs,
    /// The handles of an org's users.
    Users(OrgId),
    /// The names of an org's active keys of one kind; for application keys, of a user's.
    Keys(KeyKind, [u8; 16]),
}

impl NameSpace {
    /// Where the key's name is unique. Only application keys have an owner, and theirs is the owner.
    pub(super) fn of(key: &Key) -> Self {
        let within = key
            .owner
            .map_or_else(|| key.org.bytes(), |owner| owner.bytes());
        Self::Keys(key.kind, within)
    }

    /// The number that stands for what has the name, and the id within which it has it.
    pub(super) fn parts(&self) -> (u8, Option<[u8; 16]>) {
        match self {
            Self::Orgs => (0, None),
            Self::Users(org) => (1, Some(org.bytes())),
            Self::Keys(KeyKind::ApiKey, within) => (2, Some(*within)),
            Self::Keys(KeyKind::ApplicationKey, within) => (3, Some(*within)),
            Self::Keys(KeyKind::ClientToken, within) => (4, Some(*within)),
        }
    }
}

/// One transaction. What is read in it is what is written upon: another writer in between makes it fail, or run again.
pub(super) trait Tables {
    /// The org with this id.
    fn org(&mut self, id: OrgId) -> Result<Option<Org>, StoreError>;
    /// The user with this id.
    fn user(&mut self, id: UserId) -> Result<Option<User>, StoreError>;
    /// The key with this id.
    fn key(&mut self, id: KeyId) -> Result<Option<Key>, StoreError>;
    /// The id of what holds the name.
    fn holder(&mut self, space: NameSpace, name: &str) -> Result<Option<[u8; 16]>, StoreError>;
    /// How many names are held.
    fn names_len(&mut self, space: NameSpace) -> Result<usize, StoreError>;
    /// Whether at least so many other keys are active where this one's name is unique, by the records themselves. With a time,
    /// only those count that have not expired by then.
    fn has_others(
        &mut self,
        key: &Key,
        fewest: usize,
        unexpired_at: Option<Timestamp>,
    ) -> Result<bool, StoreError>;
    /// Whether a key, of any org, has this fingerprint.
    fn has_fingerprint(&mut self, fingerprint: &Fingerprint) -> Result<bool, StoreError>;
    /// Gives the name to what has this id.
    fn take_name(&mut self, space: NameSpace, name: &str, id: [u8; 16]) -> Result<(), StoreError>;
    /// Frees one name.
    fn free_name(&mut self, space: NameSpace, name: &str) -> Result<(), StoreError>;
    /// Frees every name.
    fn free_names(&mut self, space: NameSpace) -> Result<(), StoreError>;
    /// The revision that the next record must have.
    fn next(&self) -> Revision;
    /// Writes a record and its change. A key whose revision is the one it was issued at is new.
    fn put(&mut self, record: Record) -> Result<(), StoreError>;
    /// Every user and service account of an org that can be read. With `lost`, also those that no list names any more.
    fn users_of(&mut self, org: OrgId, lost: bool) -> Result<Vec<User>, StoreError>;
    /// Whether the partition held no record when the transaction began.
    fn is_new(&mut self, partition: Partition) -> Result<bool, StoreError>;
    /// What proves records, papers and entries.
    fn sealer(&self) -> Sealer;
    /// A paper, sealed.
    fn paper(&mut self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes a paper, or takes it away.
    fn put_paper(
        &mut self,
        partition: Partition,
        id: &PaperId,
        sealed: Option<Vec<u8>>,
    ) -> Result<(), StoreError>;
    /// How many entries the partition's audit log has.
    fn entries_len(&mut self, partition: Partition) -> Result<u64, StoreError>;
    /// Adds an entry. Its number is how many there are.
    fn add_entry(&mut self, partition: Partition, sealed: Vec<u8>) -> Result<(), StoreError>;
}
