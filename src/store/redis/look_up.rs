//! How orgs, users and keys are found: by id, by name, by org, by fingerprint. It reads from the masters and writes nothing.

use super::RedisStore;
use super::claims::claimed_by;
use super::records::{Raw, indexed, read, read_field, read_many, scan};
use crate::keys::{
    Fingerprint, Key, KeyId, Org, OrgId, Partition, Record, RecordKind, Slot, User, UserId,
    UserKind,
};
use crate::store::StoreError;
use crate::store::tables::NameSpace;

impl RedisStore {
    /// The org with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn org(&self, id: OrgId) -> Result<Option<Org>, StoreError> {
        let found = self.read(id.partition(), RecordKind::Org, id.bytes())?;
        Ok(found.and_then(org_of))
    }

    /// The org with this name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn org_named(&self, name: &str) -> Result<Option<Org>, StoreError> {
        let partition = Slot::of_org_name(name).partition();
        let names = self.layout().names(partition, NameSpace::Orgs);
        let Some(id) = self.holder(partition, &names, name)? else {
            return Ok(None);
        };
        let found = self.read(partition, RecordKind::Org, id)?.and_then(org_of);
        // The index is not sealed: whoever may write to Redis could lead a name to another org.
        match found {
            Some(org) if org.name != name => Err(StoreError::Damaged {
                what: "name of an org",
                why: format!(
                    "it leads to the org {}, which is called otherwise: run keygate store restore",
                    org.id
                ),
            }),
            found => Ok(found),
        }
    }

    /// Every org.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn orgs(&self) -> Result<Vec<Org>, StoreError> {
        let mut orgs = Vec::new();
        for partition in Partition::all() {
            // An org keeps its name for good, so that the names are a list of the orgs.
            let names = self.layout().names(partition, NameSpace::Orgs);
            let mut ids = Vec::new();
            scan(&self.servers, partition, &names, &mut |_, id| {
                ids.extend(<[u8; 16]>::try_from(id.as_slice()));
            })?;
            orgs.extend(
                self.read_many(partition, RecordKind::Org, ids)?
                    .into_iter()
                    .filter_map(org_of),
            );
        }
        orgs.sort_by_key(|org| org.id);
        Ok(orgs)
    }

    /// The user with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let found = self.read(id.partition(), RecordKind::User, id.bytes())?;
        Ok(found.and_then(user_of))
    }

    /// Every user and service account of an org.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn users_of(&self, org: OrgId) -> Result<Vec<User>, StoreError> {
        let found = self.members(org, RecordKind::User)?;
        // The index is not sealed, and what it names may be another org's.
        let users = found.into_iter().filter_map(user_of);
        Ok(users.filter(|user| user.org == org).collect())
    }

    /// The users with this handle and the service accounts with this name, of every org.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn users_named(&self, text: &str) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::new();
        for partition in Partition::all() {
            let list = self.layout().users(partition, text);
            let mut ids = Vec::new();
            scan(&self.servers, partition, &list, &mut |id, _| {
                ids.extend(<[u8; 16]>::try_from(id.as_slice()));
            })?;
            // A service account's handle is its id.
            if let Ok(id) = text.parse::<UserId>()
                && id.partition() == partition
            {
                ids.push(id.bytes());
            }
            let found = self.read_many(partition, RecordKind::User, ids)?;
            users.extend(found.into_iter().filter_map(user_of).filter(|user| {
                user.handle == text || (user.kind == UserKind::ServiceAccount && user.name == text)
            }));
        }
        users.sort_by_key(|user| user.id);
        Ok(users)
    }

    /// The records of one kind that an org's index names.
    fn members(&self, org: OrgId, kind: RecordKind) -> Result<Vec<Record>, StoreError> {
        let partition = org.partition();
        let list = self.layout().of(partition, org);
        indexed(&self.servers, &self.sealer, partition, &list, kind)
    }

    /// The key with this id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn key(&self, id: KeyId) -> Result<Option<Key>, StoreError> {
        let found = self.read(id.partition(), RecordKind::Key, id.bytes())?;
        Ok(found.and_then(key_of))
    }

    /// Every key of an org, revoked ones included, in the order in which they were issued.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn keys_of(&self, org: OrgId) -> Result<Vec<Key>, StoreError> {
        let found = self.members(org, RecordKind::Key)?;
        // As for the users.
        let keys = found.into_iter().filter_map(key_of);
        let mut keys: Vec<Key> = keys.filter(|key| key.org == org).collect();
        keys.sort_by_key(|key| key.issued);
        Ok(keys)
    }

    /// The key with this secret, revoked ones included.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn key_of_secret(&self, secret: &[u8]) -> Result<Option<Key>, StoreError> {
        self.key_of_fingerprint(&self.fingerprinter.fingerprint(secret))
    }

    /// The key with this fingerprint, revoked ones included.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn key_of_fingerprint(&self, wanted: &Fingerprint) -> Result<Option<Key>, StoreError> {
        let Some(id) = claimed_by(self, wanted)? else {
            return Ok(None);
        };
        Ok(self.key(id)?.filter(|key| key.fingerprint == *wanted))
    }

    /// The id of what holds a name.
    pub(super) fn holder(
        &self,
        partition: Partition,
        names: &str,
        name: &str,
    ) -> Result<Option<[u8; 16]>, StoreError> {
        let wrong = |length: u64| StoreError::Damaged {
            what: "name",
            why: format!("its holder has an id of {length} bytes"),
        };
        match read_field(&self.servers, partition, names, name.as_bytes(), 16)? {
            Raw::Nothing => Ok(None),
            Raw::TooLong(length) => Err(wrong(length)),
            Raw::Bytes(id) => {
                let bytes = id.as_slice().try_into();
                bytes.map(Some).map_err(|_| wrong(id.len() as u64))
            }
        }
    }

    fn read(
        &self,
        partition: Partition,
        kind: RecordKind,
        id: [u8; 16],
    ) -> Result<Option<Record>, StoreError> {
        let found = read(&self.servers, &self.sealer, partition, kind, id)?;
        Ok(found.map(|read| read.record))
    }

    fn read_many(
        &self,
        partition: Partition,
        kind: RecordKind,
        mut ids: Vec<[u8; 16]>,
    ) -> Result<Vec<Record>, StoreError> {
        ids.sort_unstable();
        ids.dedup();
        let wanted: Vec<_> = ids.into_iter().map(|id| (kind, id)).collect();
        let found = read_many(&self.servers, &self.sealer, partition, &wanted)?;
        Ok(found
            .into_iter()
            .flatten()
            .map(|read| read.record)
            .collect())
    }
}

fn org_of(record: Record) -> Option<Org> {
    match record {
        Record::Org(org) => Some(org),
        Record::User(_) | Record::Key(_) => None,
    }
}

fn user_of(record: Record) -> Option<User> {
    match record {
        Record::User(user) => Some(user),
        Record::Org(_) | Record::Key(_) => None,
    }
}

fn key_of(record: Record) -> Option<Key> {
    match record {
        Record::Key(key) => Some(key),
        Record::Org(_) | Record::User(_) => None,
    }
}
