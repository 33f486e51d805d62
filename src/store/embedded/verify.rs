//! The embedded store looked through: every record opened, and everything that is looked up by compared with the
//! records. It changes nothing.

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};
use uuid::Uuid;

use super::EmbeddedStore;
use super::adopt::each_lying;
use super::file::{
    KEY_BY_FINGERPRINT, KEYS, KEYS_OF_ORG, LAYOUT, NAMES, ORGS, USERS, load, revision_in,
};
use super::tables::{index, pair};
use crate::keys::{Key, Org, OrgId, Record, RecordKind, Revision, User, UserId};
use crate::store::StoreError;
use crate::store::findings::{Findings, PartitionStatus, RootKeyEntry, Status};
use crate::store::seal::{Lying, open};
use crate::store::tables::NameSpace;

impl EmbeddedStore {
    /// What the store says of itself.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn status(&self) -> Result<Status, StoreError> {
        let records = self.counts()?.iter().sum();
        let root_keys = self.root_keys()?.into_iter().map(|check| RootKeyEntry {
            in_use: check == self.root_key_check,
            check,
        });
        Ok(Status {
            home: "embedded".to_owned(),
            place: self.path.display().to_string(),
            identity: self.identity,
            layout: LAYOUT,
            root_keys: root_keys.collect(),
            records,
            restoring: false,
            partitions: vec![PartitionStatus {
                partition: 0,
                revision: revision_in(&self.reading()?)?.0,
                records,
                restoring: false,
            }],
            servers: Vec::new(),
        })
    }

    /// Looks through everything, as of one moment.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub fn verify(&self) -> Result<Findings, StoreError> {
        let reading = self.reading()?;
        let look = Look {
            store: self,
            revision: revision_in(&reading)?,
            orgs: reading.open_table(ORGS)?,
            users: reading.open_table(USERS)?,
            keys: reading.open_table(KEYS)?,
            names: reading.open_table(NAMES)?,
            fingerprints: reading.open_table(KEY_BY_FINGERPRINT)?,
            keys_of_org: reading.open_table(KEYS_OF_ORG)?,
        };
        look.through(&reading)
    }
}

type Table<K, V> = ReadOnlyTable<K, V>;

struct Look<'s> {
    store: &'s EmbeddedStore,
    revision: Revision,
    orgs: Table<[u8; 16], &'static [u8]>,
    users: Table<[u8; 16], &'static [u8]>,
    keys: Table<[u8; 16], &'static [u8]>,
    names: Table<&'static [u8], [u8; 16]>,
    fingerprints: Table<[u8; 16], [u8; 16]>,
    keys_of_org: Table<[u8; 32], ()>,
}

impl Look<'_> {
    fn through(&self, reading: &ReadTransaction) -> Result<Findings, StoreError> {
        let mut found = Findings::default();
        let mut names_held = 0_u64;
        each_lying(reading, &mut |lying| {
            found.records += 1;
            match self.opened(&lying) {
                Ok(record) => {
                    names_held += u64::from(self.record(&record, &mut found)?);
                    Ok(())
                }
                Err(why) => {
                    found.record_fault(lying.kind, lying.id, &why);
                    Ok(())
                }
            }
        })?;
        for entry in self.names.iter()? {
            let (_, id) = entry?;
            found.names += 1;
            if !self.is_any(id.value())? {
                let id = Uuid::from_bytes(id.value());
                found.fault(format!("a name leads to {id}, and there is no such record"));
            }
        }
        if found.is_good() && found.names != names_held {
            let index = found.names;
            found.fault(format!(
                "{names_held} names are held and {index} are in the index"
            ));
        }
        for entry in self.fingerprints.iter()? {
            let (fingerprint, id) = entry?;
            let key = self.load::<Key>(&self.keys, id.value());
            if key.is_none_or(|key| key.fingerprint.bytes() != fingerprint.value()) {
                found.record_fault(
                    RecordKind::Key,
                    id.value(),
                    "a fingerprint leads to it that it does not have",
                );
            }
        }
        Ok(found)
    }

    fn opened(&self, lying: &Lying<'_>) -> Result<Record, String> {
        let record = open(&self.store.sealer, lying.sealed).map_err(|why| why.to_string())?;
        if record.kind() != lying.kind || record.id_bytes() != lying.id {
            return Err("it is the record of something else".to_owned());
        }
        if record.partition().is_none() {
            return Err("its parts are of different partitions".to_owned());
        }
        if record.revision() > self.revision {
            return Err(format!(
                "its revision {} is after the store's, {}",
                record.revision().0,
                self.revision.0
            ));
        }
        Ok(record)
    }

    /// Compares a record with what leads to it. Returns whether it holds a name.
    fn record(&self, record: &Record, found: &mut Findings) -> Result<bool, StoreError> {
        let mut fault = |why: &str| found.record_fault(record.kind(), record.id_bytes(), why);
        let (space, name, holds) = match record {
            Record::Org(org) => (NameSpace::Orgs, &org.name, true),
            Record::User(user) => {
                if self.org(user.org).is_none() {
                    fault("its org is missing");
                }
                (NameSpace::Users(user.org), &user.handle, true)
            }
            Record::Key(key) => {
                if self.org(key.org).is_none() {
                    fault("its org is missing");
                }
                let owner = key.owner.and_then(|owner| self.user(owner));
                if key.owner.is_some() && owner.is_none() {
                    fault("its owner is missing");
                }
                let leads = self.fingerprints.get(key.fingerprint.bytes())?;
                if leads.map(|id| id.value()) != Some(key.id.bytes()) {
                    fault("its fingerprint does not lead to it");
                }
                if self.keys_of_org.get(pair(key.org, key.id))?.is_none() {
                    fault("it is not in the list of its org's keys");
                }
                let with_owner = owner.is_some_and(|owner| owner.has_revoked(key));
                (
                    NameSpace::of(key),
                    &key.name,
                    key.revoked.is_none() && !with_owner,
                )
            }
        };
        let holder = self.names.get(index(space, name).as_slice())?;
        let is_holder = holder.map(|id| id.value()) == Some(record.id_bytes());
        if holds && !is_holder {
            fault("its name is not held by it");
        }
        if !holds && is_holder {
            fault("it is revoked and holds its name");
        }
        Ok(holds)
    }

    fn org(&self, id: OrgId) -> Option<Org> {
        self.load(&self.orgs, id.bytes())
    }

    fn user(&self, id: UserId) -> Option<User> {
        self.load(&self.users, id.bytes())
    }

    /// What cannot be read counts as missing here; it is a fault of its own where it lies.
    fn load<T: super::file::Recorded>(
        &self,
        table: &Table<[u8; 16], &'static [u8]>,
        id: [u8; 16],
    ) -> Option<T> {
        load(table, id, &self.store.sealer).ok().flatten()
    }

    fn is_any(&self, id: [u8; 16]) -> Result<bool, StoreError> {
        Ok(self.keys.get(id)?.is_some()
            || self.users.get(id)?.is_some()
            || self.orgs.get(id)?.is_some())
    }
}
