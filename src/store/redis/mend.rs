//! Indexes made whole again from the records: whatever lists, names and fingerprints are to lead to a record lead to it
//! afterwards. What is right is only read.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::RedisStore;
use super::commit::PATIENCE;
use super::connect::Link;
use super::feed::{Stored, read_bucket};
use super::layout::{claim_partition, field, parts_of};
use super::lists::{Keys, index, listed_in};
use super::records::{Raw, Read, read_fields, read_raw, scan, unseal};
use super::scripts::{Arguments, BUCKET, PUT_BACK};
use crate::keys::{Key, OrgId, Partition, Record, RecordKind, User, UserId};
use crate::store::StoreError;
use crate::store::seal::BUCKETS;
use crate::store::tables::NameSpace;

/// How many records are looked at together.
const AT_ONCE: usize = 500;

/// How many holders of names are looked at: more than there may be of keys of which some must be left.
const NAMED_MAX: usize = 1_000;

/// As much as an index holds for a record, and then it is not ours.
const HOLDER_BYTES: usize = 16;
const CLAIM_BYTES: usize = 24;

/// What an index is to say of a record: nothing but that it is there, or who holds the name.
struct Entry {
    record: usize,
    place: (String, Vec<u8>),
    holder: Option<Holder>,
}

struct Holder {
    id: [u8; 16],
    /// Whether it is the holder now, or was and is no more.
    holds: bool,
}

fn keys_of(read: Vec<Read>, org: OrgId) -> impl Iterator<Item = Key> {
    read.into_iter().filter_map(move |read| match read.record {
        Record::Key(key) if key.org == org => Some(key),
        Record::Key(_) | Record::Org(_) | Record::User(_) => None,
    })
}

fn users_of(read: Vec<Read>, org: OrgId) -> impl Iterator<Item = User> {
    read.into_iter().filter_map(move |read| match read.record {
        Record::User(user) if user.org == org => Some(user),
        Record::User(_) | Record::Org(_) | Record::Key(_) => None,
    })
}

impl RedisStore {
    /// Looks at every record's indexes and mends those that do not lead to it.
    pub(super) fn mend_indexes(&self) -> Result<(), StoreError> {
        for partition in Partition::all() {
            let mut users = HashMap::new();
            for bucket in 0..BUCKETS {
                let records = self.readable(partition, bucket)?;
                for records in records.chunks(AT_ONCE) {
                    match self.mend(partition, records, &mut users) {
                        // Something else lies under an index's name, which `verify` says.
                        Ok(()) | Err(StoreError::Damaged { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(())
    }

    /// The records of a bucket that can be read, each once.
    pub(super) fn readable(
        &self,
        partition: Partition,
        bucket: usize,
    ) -> Result<Vec<Read>, StoreError> {
        let key = self.layout().bucket(partition, bucket);
        let mut found: HashMap<(u8, [u8; 16]), Read> = HashMap::new();
        let mut note = |stored: Stored| {
            let kind = RecordKind::of_byte(stored.kind);
            let read = kind.map(|kind| unseal(&self.sealer, kind, stored.id, stored.sealed));
            if let Some(Ok(read)) = read
                && read.record.partition() == Some(partition)
            {
                found.insert((stored.kind, stored.id), read);
            }
        };
        let read = read_bucket(&key, &mut note, |arguments| {
            let key = std::slice::from_ref(&key);
            let run = |link: &mut Link| link.run(&BUCKET, key, arguments);
            self.servers.on(partition, run)
        });
        match read {
            Ok(()) | Err(StoreError::Damaged { .. }) => Ok(found.into_values().collect()),
            Err(error) => Err(error),
        }
    }

    /// Of these records those that can be read.
    pub(super) fn readable_of(
        &self,
        partition: Partition,
        ids: &[(RecordKind, [u8; 16])],
    ) -> Result<Vec<Read>, StoreError> {
        let raw = read_raw(&self.servers, partition, ids)?;
        let read = ids.iter().zip(raw).filter_map(|((kind, id), raw)| {
            let Raw::Bytes(sealed) = raw else { return None };
            unseal(&self.sealer, *kind, *id, sealed).ok()
        });
        Ok(read.collect())
    }

    /// The keys of an org that hold a name in this space, as far as names and keys can be read. Of names that somebody else
    /// wrote there, only so many are looked at.
    pub(super) fn keys_named(&self, org: OrgId, space: NameSpace) -> Result<Vec<Key>, StoreError> {
        let partition = org.partition();
        let mut ids = BTreeSet::new();
        let names = self.layout().names(partition, space);
        let scanned = scan(&self.servers, partition, &names, &mut |_, id| {
            if ids.len() < NAMED_MAX
                && let Ok(id) = <[u8; 16]>::try_from(id)
            {
                ids.insert(id);
            }
        });
        match scanned {
            Ok(()) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let ids: Vec<_> = ids.into_iter().map(|id| (RecordKind::Key, id)).collect();
        Ok(keys_of(self.readable_of(partition, &ids)?, org).collect())
    }

    /// The keys that are listed as an org's, as far as list and keys can be read.
    pub(super) fn keys_listed(&self, org: OrgId) -> Result<Vec<Key>, StoreError> {
        Ok(keys_of(self.listed(org, RecordKind::Key)?, org).collect())
    }

    /// The users that are listed as an org's, as far as list and users can be read.
    pub(super) fn users_listed(&self, org: OrgId) -> Result<Vec<User>, StoreError> {
        Ok(users_of(self.listed(org, RecordKind::User)?, org).collect())
    }

    fn listed(&self, org: OrgId, kind: RecordKind) -> Result<Vec<Read>, StoreError> {
        let partition = org.partition();
        let list = self.layout().of(partition, org);
        let mut ids = BTreeSet::new();
        let scanned = scan(&self.servers, partition, &list, &mut |entry, _| {
            if let Some((of, id)) = parts_of(&entry)
                && of == kind
            {
                ids.insert(id);
            }
        });
        match scanned {
            Ok(()) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let ids: Vec<_> = ids.into_iter().map(|id| (kind, id)).collect();
        self.readable_of(partition, &ids)
    }

    /// The keys of an org that are there, listed or not. It reads the whole partition.
    pub(super) fn keys_found(&self, org: OrgId) -> Result<Vec<Key>, StoreError> {
        let mut keys = Vec::new();
        for bucket in 0..BUCKETS {
            keys.extend(keys_of(self.readable(org.partition(), bucket)?, org));
        }
        Ok(keys)
    }

    /// The users of an org that are there, listed or not. It reads the whole partition.
    pub(super) fn users_found(&self, org: OrgId) -> Result<Vec<User>, StoreError> {
        let mut users = Vec::new();
        for bucket in 0..BUCKETS {
            users.extend(users_of(self.readable(org.partition(), bucket)?, org));
        }
        Ok(users)
    }

    fn mend(
        &self,
        partition: Partition,
        records: &[Read],
        users: &mut HashMap<UserId, Option<User>>,
    ) -> Result<(), StoreError> {
        let owners: BTreeSet<UserId> = records
            .iter()
            .filter_map(|read| match &read.record {
                Record::Key(key) => key.owner,
                Record::Org(_) | Record::User(_) => None,
            })
            .filter(|owner| !users.contains_key(owner))
            .collect();
        let ids: Vec<_> = owners
            .iter()
            .map(|owner| (RecordKind::User, owner.bytes()))
            .collect();
        users.extend(owners.iter().map(|owner| (*owner, None)));
        for read in self.readable_of(partition, &ids)? {
            if let Record::User(user) = read.record {
                users.insert(user.id, Some(user));
            }
        }
        self.mend_claims(records)?;
        let until = Instant::now() + PATIENCE;
        let entries = self.entries(partition, records, users)?;
        while !self.mend_entries(partition, records, &entries, users)? {
            // Whoever has written one of the records has written its indexes. The others are found the next time.
            if Instant::now() >= until {
                return Err(self.outrun());
            }
        }
        Ok(())
    }

    fn entries(
        &self,
        partition: Partition,
        records: &[Read],
        users: &mut HashMap<UserId, Option<User>>,
    ) -> Result<Vec<Entry>, StoreError> {
        let layout = self.layout();
        let mut entries = Vec::new();
        for (number, read) in records.iter().enumerate() {
            let (record, id) = (&read.record, read.record.id_bytes());
            for place in listed_in(layout, partition, record, &field(record.kind(), id)) {
                entries.push(Entry {
                    record: number,
                    place,
                    holder: None,
                });
            }
            let (space, name, holds) = match record {
                Record::Org(org) => (NameSpace::Orgs, &org.name, true),
                Record::User(user) => (NameSpace::Users(user.org), &user.handle, true),
                Record::Key(key) => (NameSpace::of(key), &key.name, self.is_active(key, users)?),
            };
            entries.push(Entry {
                record: number,
                place: (layout.names(partition, space), name.as_bytes().to_vec()),
                holder: Some(Holder { id, holds }),
            });
        }
        Ok(entries)
    }

    /// `false` when a record is no longer what it was.
    fn mend_entries(
        &self,
        partition: Partition,
        records: &[Read],
        entries: &[Entry],
        users: &mut HashMap<UserId, Option<User>>,
    ) -> Result<bool, StoreError> {
        let places: Vec<_> = entries.iter().map(|entry| entry.place.clone()).collect();
        let found = read_fields(&self.servers, partition, &places, HOLDER_BYTES)?;
        let mut keys = Keys(vec![self.layout().meta(partition)]);
        let (mut guards, mut indexes) = (Arguments::default(), Arguments::default());
        let mut guarded = BTreeSet::new();
        for (entry, found) in entries.iter().zip(found) {
            let (key, name) = &entry.place;
            let mut say = |what, value: &[u8]| {
                guarded.insert(entry.record);
                index(&mut indexes, what, keys.number(key.clone()), name, value);
            };
            match (&entry.holder, found) {
                (None, Raw::Bytes(_)) => {}
                (None, Raw::Nothing | Raw::TooLong(_)) => say("set", b""),
                (Some(Holder { id, holds: false }), Raw::Bytes(held)) if held == id => {
                    say("unset", id);
                }
                (Some(Holder { holds: false, .. }), _) => {}
                (Some(Holder { id, .. }), Raw::Nothing) => say("take", id),
                (Some(Holder { id, .. }), Raw::TooLong(_)) => say("set", id),
                (Some(Holder { id, .. }), Raw::Bytes(held)) if held == id => {}
                (Some(Holder { id, .. }), Raw::Bytes(held)) => {
                    let of = records.get(entry.record).map(|read| read.record.kind());
                    if !self.is_held(partition, of, &held, &entry.place, users)? {
                        say("unset", &held);
                        say("take", id);
                    }
                }
            }
        }
        if guarded.is_empty() {
            return Ok(true);
        }
        for read in guarded.iter().filter_map(|number| records.get(*number)) {
            let (kind, id) = (read.record.kind(), read.record.id_bytes());
            guards.push_number(keys.number(self.layout().bucket_of(partition, id)));
            guards.push(field(kind, id));
            guards.push(&read.sealed);
            guards.push(&read.sealed);
        }
        let mut arguments = Arguments::default();
        arguments.push(self.identity.to_string());
        arguments.push_number(guarded.len());
        arguments.0.extend(guards.0);
        arguments.0.extend(indexes.0);
        let run = |link: &mut Link| link.run(&PUT_BACK, &keys.0, &arguments.0);
        let said: Vec<Vec<u8>> = self.servers.on(partition, run)?;
        self.is_done(partition, &said)
    }

    /// Whether a name is that of the record that an index says holds it.
    fn is_held(
        &self,
        partition: Partition,
        kind: Option<RecordKind>,
        held: &[u8],
        place: &(String, Vec<u8>),
        users: &mut HashMap<UserId, Option<User>>,
    ) -> Result<bool, StoreError> {
        let (Some(kind), Ok(id)) = (kind, held.try_into()) else {
            return Ok(false);
        };
        let read = self.readable_of(partition, &[(kind, id)])?;
        let entries = self.entries(partition, &read, users)?;
        Ok(entries
            .iter()
            .any(|entry| entry.place == *place && entry.holder.as_ref().is_some_and(|it| it.holds)))
    }

    fn mend_claims(&self, records: &[Read]) -> Result<(), StoreError> {
        let mut spread: HashMap<Partition, Vec<&Record>> = HashMap::new();
        for read in records {
            if let Record::Key(key) = &read.record {
                let of = claim_partition(&key.fingerprint);
                spread.entry(of).or_default().push(&read.record);
            }
        }
        let mut lost = Vec::new();
        for (of, records) in spread {
            let claims = self.layout().claims(of);
            let key = |record: &Record| match record {
                Record::Key(Key { fingerprint, .. }) => fingerprint.bytes().to_vec(),
                Record::Org(_) | Record::User(_) => Vec::new(),
            };
            let places: Vec<_> = records
                .iter()
                .map(|record| (claims.clone(), key(record)))
                .collect();
            let found = read_fields(&self.servers, of, &places, CLAIM_BYTES)?;
            let differing = records.into_iter().zip(found).filter(|(record, found)| {
                !matches!(found, Raw::Bytes(claim) if claim.starts_with(&record.id_bytes()))
            });
            lost.extend(differing.map(|(record, _)| record));
        }
        self.claim_back(&lost)
    }
}
