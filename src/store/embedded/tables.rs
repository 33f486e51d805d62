//! A transaction of the embedded store's file, as the rules see it, and the indexes that go with its records. It neither
//! begins nor commits.

use redb::{ReadableTable, Table, WriteTransaction};
use uuid::Uuid;

use super::file::{
    AUDIT, CHANGES, CHANGES_KEPT, KEY_BY_FINGERPRINT, KEYS, KEYS_OF_ORG, META, META_REVISION,
    NAMES, ORGS, PAPERS, USERS, all, load, revision_of,
};
use crate::keys::keyring::Sealer;
use crate::keys::{
    Fingerprint, Key, KeyId, Org, OrgId, Partition, Record, Revision, Timestamp, User, UserId,
};
use crate::store::StoreError;
use crate::store::copy::partition_of;
use crate::store::papers::PaperId;
use crate::store::seal::seal;
use crate::store::tables::{NameSpace, Tables};

type Records<'t> = Table<'t, [u8; 16], &'static [u8]>;

/// The tables of one write transaction.
pub(super) struct FileTables<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    orgs: Records<'t>,
    users: Records<'t>,
    keys: Records<'t>,
    key_by_fingerprint: Table<'t, [u8; 16], [u8; 16]>,
    keys_of_org: Table<'t, [u8; 32], ()>,
    names: Table<'t, &'static [u8], [u8; 16]>,
    changes: Table<'t, u64, &'static [u8]>,
    papers: Table<'t, &'static [u8], &'static [u8]>,
    audit: Table<'t, (u8, u64), &'static [u8]>,
    sealer: &'t Sealer,
    before: Revision,
    revision: Revision,
    writes_beside: bool,
    /// The orgs that were made in this transaction.
    new_orgs: Vec<[u8; 16]>,
}

/// What a transaction has written.
pub(super) enum Written {
    /// Nothing.
    Nothing,
    /// No record, but papers or entries of the log.
    Beside,
    /// Records, up to this revision.
    Records(Revision),
}

impl<'t> FileTables<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        sealer: &'t Sealer,
    ) -> Result<Self, StoreError> {
        let meta = transaction.open_table(META)?;
        let revision = revision_of(&meta)?;
        Ok(Self {
            meta,
            orgs: transaction.open_table(ORGS)?,
            users: transaction.open_table(USERS)?,
            keys: transaction.open_table(KEYS)?,
            key_by_fingerprint: transaction.open_table(KEY_BY_FINGERPRINT)?,
            keys_of_org: transaction.open_table(KEYS_OF_ORG)?,
            names: transaction.open_table(NAMES)?,
            changes: transaction.open_table(CHANGES)?,
            papers: transaction.open_table(PAPERS)?,
            audit: transaction.open_table(AUDIT)?,
            sealer,
            before: revision,
            revision,
            writes_beside: false,
            new_orgs: Vec::new(),
        })
    }

    /// Writes the revision, and says what else was written.
    pub(super) fn finish(mut self) -> Result<Written, StoreError> {
        if self.revision == self.before {
            return Ok(match self.writes_beside {
                true => Written::Beside,
                false => Written::Nothing,
            });
        }
        self.meta
            .insert(META_REVISION, self.revision.0.to_be_bytes().as_slice())?;
        Ok(Written::Records(self.revision))
    }

    /// Writes a paper of another store as it is sealed there, or takes one away.
    pub(super) fn adopt_paper(
        &mut self,
        partition: Partition,
        id: &[u8],
        sealed: Option<&[u8]>,
    ) -> Result<(), StoreError> {
        let index = paper_index(partition, id);
        match sealed {
            Some(sealed) => self.papers.insert(index.as_slice(), sealed)?,
            None => self.papers.remove(index.as_slice())?,
        };
        Ok(())
    }

    /// Writes an entry of another store's log as it is sealed there.
    pub(super) fn adopt_entry(
        &mut self,
        partition: Partition,
        number: u64,
        sealed: &[u8],
    ) -> Result<(), StoreError> {
        let place = (audit_index(partition), number);
        self.audit.insert(place, sealed)?;
        Ok(())
    }

    /// Writes a record of another file as it is sealed there, without a change of its own.
    pub(super) fn adopt(&mut self, record: &Record, sealed: &[u8]) -> Result<(), StoreError> {
        self.write(record, sealed)?;
        if let Record::Key(key) = record {
            self.index_new(key)?;
        }
        self.revision = self.revision.max(record.revision());
        Ok(())
    }

    /// The ids of an org's keys.
    pub(super) fn keys_of(&self, org: OrgId) -> Result<Vec<KeyId>, StoreError> {
        let range = keys_of_org_range(org);
        let entries = self.keys_of_org.range(range)?;
        entries.map(|entry| Ok(key_in(entry?.0.value()))).collect()
    }

    fn write(&mut self, record: &Record, sealed: &[u8]) -> Result<(), StoreError> {
        let id = record.id_bytes();
        let is_new = match record {
            Record::Org(_) => self.orgs.insert(id, sealed)?.is_none(),
            Record::User(_) => self.users.insert(id, sealed)?.is_none(),
            Record::Key(_) => self.keys.insert(id, sealed)?.is_none(),
        };
        if is_new && matches!(record, Record::Org(_)) {
            self.new_orgs.push(id);
        }
        Ok(())
    }

    fn index_new(&mut self, key: &Key) -> Result<(), StoreError> {
        self.key_by_fingerprint
            .insert(key.fingerprint.bytes(), key.id.bytes())?;
        self.keys_of_org.insert(pair(key.org, key.id), ())?;
        Ok(())
    }

    fn names_under(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut found = Vec::new();
        for entry in self.names.range(prefix..)? {
            let (name, _) = entry?;
            if !name.value().starts_with(prefix) {
                break;
            }
            found.push(name.value().to_vec());
        }
        Ok(found)
    }
}

impl Tables for FileTables<'_> {
    fn org(&mut self, id: OrgId) -> Result<Option<Org>, StoreError> {
        load(&self.orgs, id.bytes(), self.sealer)
    }

    fn user(&mut self, id: UserId) -> Result<Option<User>, StoreError> {
        load(&self.users, id.bytes(), self.sealer)
    }

    fn key(&mut self, id: KeyId) -> Result<Option<Key>, StoreError> {
        load(&self.keys, id.bytes(), self.sealer)
    }

    fn holder(&mut self, space: NameSpace, name: &str) -> Result<Option<[u8; 16]>, StoreError> {
        let held = self.names.get(index(space, name).as_slice())?;
        Ok(held.map(|id| id.value()))
    }

    fn names_len(&mut self, space: NameSpace) -> Result<usize, StoreError> {
        Ok(self.names_under(&index(space, ""))?.len())
    }

    fn has_others(
        &mut self,
        key: &Key,
        fewest: usize,
        unexpired_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let space = NameSpace::of(key);
        let mut others = 0;
        for id in self.keys_of(key.org)? {
            let other = match self.key(id) {
                // A key that cannot be read is in force nowhere.
                Err(StoreError::Damaged { .. }) | Ok(None) => continue,
                Ok(Some(other)) => other,
                Err(error) => return Err(error),
            };
            if other.id == key.id || NameSpace::of(&other) != space || other.revoked.is_some() {
                continue;
            }
            if let Some(owner) = other.owner
                && self.user(owner)?.is_some_and(|it| it.has_revoked(&other))
            {
                continue;
            }
            if !unexpired_at.is_some_and(|at| other.has_expired(at)) {
                others += 1;
            }
            if others >= fewest {
                return Ok(true);
            }
        }
        Ok(others >= fewest)
    }

    fn has_fingerprint(&mut self, fingerprint: &Fingerprint) -> Result<bool, StoreError> {
        Ok(self.key_by_fingerprint.get(fingerprint.bytes())?.is_some())
    }

    fn take_name(&mut self, space: NameSpace, name: &str, id: [u8; 16]) -> Result<(), StoreError> {
        self.names.insert(index(space, name).as_slice(), id)?;
        Ok(())
    }

    fn free_name(&mut self, space: NameSpace, name: &str) -> Result<(), StoreError> {
        self.names.remove(index(space, name).as_slice())?;
        Ok(())
    }

    fn free_names(&mut self, space: NameSpace) -> Result<(), StoreError> {
        for name in self.names_under(&index(space, ""))? {
            self.names.remove(name.as_slice())?;
        }
        Ok(())
    }

    fn next(&self) -> Revision {
        Revision(self.revision.0 + 1)
    }

    fn put(&mut self, record: Record) -> Result<(), StoreError> {
        let sealed = seal(self.sealer, &record)?;
        self.write(&record, &sealed)?;
        if let Record::Key(key) = &record
            && key.issued == key.revision
        {
            self.index_new(key)?;
        }
        self.revision = record.revision();
        self.changes.insert(self.revision.0, sealed.as_slice())?;
        if let Some(old) = self.revision.0.checked_sub(CHANGES_KEPT) {
            self.changes.remove(old)?;
        }
        Ok(())
    }

    fn users_of(&mut self, org: OrgId, _: bool) -> Result<Vec<User>, StoreError> {
        let mut users: Vec<User> = all(&self.users, self.sealer)?;
        users.retain(|user| user.org == org);
        Ok(users)
    }

    fn is_new(&mut self, partition: Partition) -> Result<bool, StoreError> {
        if self.before == Revision(0) {
            return Ok(true);
        }
        // A partition's first record is an org. This is asked once for each partition.
        for entry in self.orgs.iter()? {
            let id = entry?.0.value();
            if partition_of(id) == partition && !self.new_orgs.contains(&id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn sealer(&self) -> Sealer {
        self.sealer.clone()
    }

    fn paper(&mut self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError> {
        let held = self
            .papers
            .get(paper_index(partition, &id.bytes()).as_slice())?;
        Ok(held.map(|sealed| sealed.value().to_vec()))
    }

    fn put_paper(
        &mut self,
        partition: Partition,
        id: &PaperId,
        sealed: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let index = paper_index(partition, &id.bytes());
        match sealed {
            Some(sealed) => self.papers.insert(index.as_slice(), sealed.as_slice())?,
            None => self.papers.remove(index.as_slice())?,
        };
        self.writes_beside = true;
        Ok(())
    }

    fn entries_len(&mut self, partition: Partition) -> Result<u64, StoreError> {
        entries_len(&self.audit, partition)
    }

    fn add_entry(&mut self, partition: Partition, sealed: Vec<u8>) -> Result<(), StoreError> {
        let number = self.entries_len(partition)?;
        self.audit
            .insert((audit_index(partition), number), sealed.as_slice())?;
        self.writes_beside = true;
        Ok(())
    }
}

/// How many entries a partition's log has: one more than the number of the last.
pub(super) fn entries_len(
    audit: &impl ReadableTable<(u8, u64), &'static [u8]>,
    partition: Partition,
) -> Result<u64, StoreError> {
    let index = audit_index(partition);
    let last = audit.range((index, 0)..=(index, u64::MAX))?.next_back();
    Ok(match last.transpose()? {
        Some((place, _)) => place.value().1.saturating_add(1),
        None => 0,
    })
}

pub(super) fn audit_index(partition: Partition) -> u8 {
    u8::try_from(partition.index()).unwrap_or(u8::MAX)
}

/// The entry in the table of papers.
pub(super) fn paper_index(partition: Partition, id: &[u8]) -> Vec<u8> {
    [&[audit_index(partition)], id].concat()
}

/// The entry in the index of names: what has it, within what, the name. All ids of one space have one length, so no name
/// runs into another's.
pub(super) fn index(space: NameSpace, name: &str) -> Vec<u8> {
    let (tag, within) = space.parts();
    let mut bytes = vec![tag];
    bytes.extend(within.iter().flatten());
    bytes.extend(name.as_bytes());
    bytes
}

/// The entries of an org in the list of keys by org.
pub(super) fn keys_of_org_range(org: OrgId) -> std::ops::RangeInclusive<[u8; 32]> {
    let first = pair(org, KeyId(Uuid::nil()));
    first..=pair(org, KeyId(Uuid::max()))
}

/// The key of such an entry.
pub(super) fn key_in(pair: [u8; 32]) -> KeyId {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(pair.into_iter().skip(16)) {
        *to = from;
    }
    KeyId(Uuid::from_bytes(id))
}

pub(super) fn pair(org: OrgId, key: KeyId) -> [u8; 32] {
    let mut pair = [0; 32];
    for (to, from) in pair
        .iter_mut()
        .zip(org.bytes().into_iter().chain(key.bytes()))
    {
        *to = from;
    }
    pair
}
