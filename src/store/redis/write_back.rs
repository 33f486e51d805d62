//! Records put back into Redis from elsewhere: from a node's replica after Redis has lost them, or from another store. What
//! is newer there stays, and what either side has revoked is revoked. Digests are taken anew from what is there.

use std::collections::{BTreeMap, HashMap};
use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use super::RedisStore;
use super::commit::{PATIENCE, now_us};
use super::connect::Link;
use super::feed::{Stored, read_bucket};
use super::layout::{REVISION_END, claim_partition, field};
use super::lists::{Keys, index, listed_in};
use super::records::{Raw, Read, read_raw, unseal};
use super::revisions::{AHEAD_MAX_US, Footing};
use super::scripts::{Arguments, BUCKET, FINISH, PUT_BACK, SETTLE};
use crate::keys::audit::By;
use crate::keys::{Key, Partition, Record, RecordKind, Revision, User, UserId};
use crate::store::seal::{BUCKETS, seal, term};
use crate::store::tables::NameSpace;
use crate::store::{Needs, StoreError};

/// How many records go in one call.
const AT_ONCE: usize = 500;

/// What came of putting records back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenBack {
    /// They were missing, older, or not ours.
    pub written: u64,
    /// What was there was newer, and a revocation was added to it.
    pub joined: u64,
    /// What was there was the same or newer.
    pub kept: u64,
}

impl RedisStore {
    /// Puts records back: orgs and users before the keys that are theirs. Until [`Self::finish_writing_back`] readers do
    /// not go by the digests. It can be broken off and begun again.
    ///
    /// # Errors
    /// When a master cannot be reached, or holds something else.
    pub fn write_back(&self, records: &[Record]) -> Result<WrittenBack, StoreError> {
        let mut spread: BTreeMap<Partition, Vec<&Record>> = BTreeMap::new();
        for record in records {
            let partition = record.partition().ok_or_else(|| StoreError::Damaged {
                what: record.kind().as_str(),
                why: "its parts are of different partitions".to_owned(),
            })?;
            if record.revision().0 >= REVISION_END {
                return Err(StoreError::Damaged {
                    what: record.kind().as_str(),
                    why: format!("its revision is {}", record.revision().0),
                });
            }
            self.note_proven(partition, record.revision());
            spread.entry(partition).or_default().push(record);
        }
        let mut all = WrittenBack::default();
        let mut users = HashMap::new();
        for (partition, records) in spread {
            for records in records.chunks(AT_ONCE) {
                let until = Instant::now() + PATIENCE;
                loop {
                    if let Some(written) = self.put_back(partition, records, &mut users)? {
                        all.written += written.written;
                        all.joined += written.joined;
                        all.kept += written.kept;
                        break;
                    }
                    self.wait_or(until)?;
                }
            }
        }
        Ok(all)
    }

    /// `None` when another writer was quicker.
    fn put_back(
        &self,
        partition: Partition,
        records: &[&Record],
        users: &mut HashMap<UserId, Option<User>>,
    ) -> Result<Option<WrittenBack>, StoreError> {
        let ids: Vec<_> = records
            .iter()
            .map(|record| (record.kind(), record.id_bytes()))
            .collect();
        let held = read_raw(&self.servers, partition, &ids)?;
        self.claim_back(records)?;
        let mut outcome = WrittenBack::default();
        let mut joins = Vec::new();
        let mut keys = Keys(vec![self.layout().meta(partition)]);
        let (mut puts, mut indexes) = (Arguments::default(), Arguments::default());
        for (record, held) in records.iter().copied().zip(held) {
            let (kind, id) = (record.kind(), record.id_bytes());
            let before = match held {
                Raw::Nothing => Vec::new(),
                Raw::Bytes(bytes) => bytes,
                Raw::TooLong(_) => {
                    self.drop_field(partition, kind, id)?;
                    Vec::new()
                }
            };
            // What does not open is not ours, and is replaced.
            let theirs = unseal(&self.sealer, kind, id, before.clone()).ok();
            let joined = theirs
                .as_ref()
                .map_or_else(|| record.clone(), |theirs| join(record, &theirs.record));
            // A change that others have seen is not changed under its own number: they would never look at it again.
            let is_seen = |theirs: &Read| theirs.record.revision() == record.revision();
            if joined == *record
                && !theirs
                    .as_ref()
                    .is_some_and(|theirs| is_seen(theirs) && theirs.record != joined)
            {
                if theirs.is_some_and(|theirs| theirs.record == joined) {
                    outcome.kept += 1;
                } else {
                    outcome.written += 1;
                }
                let field = field(kind, id);
                puts.push_number(keys.number(self.layout().bucket_of(partition, id)));
                puts.push(field);
                puts.push(before);
                puts.push(seal(&self.sealer, record)?);
                self.index(partition, record, users, &mut keys, &mut indexes)?;
            } else if theirs.is_some_and(|theirs| theirs.record == joined) {
                outcome.kept += 1;
            } else {
                outcome.joined += 1;
                joins.push(record);
            }
        }
        let mut arguments = Arguments::default();
        arguments.push(self.identity.to_string());
        arguments.push_number(puts.0.len() / 4);
        arguments.0.extend(puts.0);
        arguments.0.extend(indexes.0);
        let run = |link: &mut Link| link.run(&PUT_BACK, &keys.0, &arguments.0);
        let said: Vec<Vec<u8>> = self.servers.on(partition, run)?;
        if !self.is_done(partition, &said)? {
            return Ok(None);
        }
        for record in joins {
            self.join_in_store(partition, record)?;
        }
        Ok(Some(outcome))
    }

    /// The entries by which a record is found, and its name if it holds one.
    fn index(
        &self,
        partition: Partition,
        record: &Record,
        users: &mut HashMap<UserId, Option<User>>,
        keys: &mut Keys,
        indexes: &mut Arguments,
    ) -> Result<(), StoreError> {
        let layout = self.layout();
        let id = record.id_bytes();
        for (list, entry) in listed_in(layout, partition, record, &field(record.kind(), id)) {
            index(indexes, "set", keys.number(list), &entry, b"");
        }
        let (space, name, holds) = match record {
            Record::Org(org) => (NameSpace::Orgs, &org.name, true),
            Record::User(user) => {
                users.insert(user.id, Some(user.clone()));
                (NameSpace::Users(user.org), &user.handle, true)
            }
            Record::Key(key) => (NameSpace::of(key), &key.name, self.is_active(key, users)?),
        };
        let number = keys.number(layout.names(partition, space));
        let what = if holds { "take" } else { "unset" };
        index(indexes, what, number, name.as_bytes(), &id);
        Ok(())
    }

    /// Whether the key is in force: neither it nor, by its owner, all of them were revoked.
    pub(super) fn is_active(
        &self,
        key: &Key,
        users: &mut HashMap<UserId, Option<User>>,
    ) -> Result<bool, StoreError> {
        let Some(owner) = key.owner else {
            return Ok(key.revoked.is_none());
        };
        if let std::collections::hash_map::Entry::Vacant(entry) = users.entry(owner) {
            entry.insert(self.user(owner)?);
        }
        let owner = users.get(&owner).and_then(Option::as_ref);
        Ok(key.revoked.is_none() && !owner.is_some_and(|owner| owner.has_revoked(key)))
    }

    /// The keys with these fingerprints are these, whatever was left there.
    pub(super) fn claim_back(&self, records: &[&Record]) -> Result<(), StoreError> {
        let mut spread: BTreeMap<Partition, redis::Cmd> = BTreeMap::new();
        for record in records {
            if let Record::Key(key) = record {
                let partition = claim_partition(&key.fingerprint);
                let command = spread.entry(partition).or_insert_with(|| {
                    let mut command = redis::cmd("HSET");
                    command.arg(self.layout().claims(partition));
                    command
                });
                let mut claim = key.id.bytes().to_vec();
                claim.extend((now_us() / 1_000).to_be_bytes());
                command.arg(&key.fingerprint.bytes()).arg(claim);
            }
        }
        for (partition, command) in spread {
            let run = |link: &mut Link| link.query::<Value>(&command);
            self.servers.on(partition, run)?;
        }
        Ok(())
    }

    fn drop_field(
        &self,
        partition: Partition,
        kind: RecordKind,
        id: [u8; 16],
    ) -> Result<(), StoreError> {
        let mut command = redis::cmd("HDEL");
        command
            .arg(self.layout().bucket_of(partition, id))
            .arg(&field(kind, id));
        self.servers
            .on(partition, |link| link.query::<Value>(&command))
            .map(drop)
    }

    /// Adds to a record what another copy of it has revoked: a change like any other, and logged.
    fn join_in_store(&self, partition: Partition, record: &Record) -> Result<(), StoreError> {
        self.write(partition, Needs::Nothing, &By::system(), |writing| {
            writing.join(record, &mut |org| self.keys_of(org))
        })
        .map(drop)
    }

    /// Ends the putting back: indexes, digests and counts are made to be of what is there, and every reader compares.
    ///
    /// # Errors
    /// When a master cannot be reached, or others write to it all the time.
    pub fn finish_writing_back(&self) -> Result<(), StoreError> {
        self.mend_indexes()?;
        for partition in Partition::all() {
            for bucket in 0..BUCKETS {
                let until = Instant::now() + PATIENCE;
                while !self.settle(partition, bucket)? {
                    self.wait_or(until)?;
                }
            }
            let until = Instant::now() + PATIENCE;
            while !self.finish(partition)? {
                self.wait_or(until)?;
            }
        }
        Ok(())
    }

    fn settle(&self, partition: Partition, bucket: usize) -> Result<bool, StoreError> {
        let layout = self.layout();
        let mut ask = redis::cmd("HGET");
        ask.arg(layout.digest(partition)).arg(bucket);
        let before: Option<Vec<u8>> = self.servers.on(partition, |link| link.query(&ask))?;
        let key = layout.bucket(partition, bucket);
        // A part of a large hash can come twice.
        let mut found: HashMap<(u8, [u8; 16]), u64> = HashMap::new();
        let mut note = |stored: Stored| {
            let Some(kind) = RecordKind::of_byte(stored.kind) else {
                return;
            };
            if let Ok(read) = unseal(&self.sealer, kind, stored.id, stored.sealed) {
                let term = term(kind, stored.id, read.record.revision());
                found.insert((stored.kind, stored.id), term);
            }
        };
        read_bucket(&key, &mut note, |arguments| {
            let key = std::slice::from_ref(&key);
            self.servers
                .on(partition, |link| link.run(&BUCKET, key, arguments))
        })?;
        let digest = found.values().fold(0, |digest, term| digest ^ term);
        let keys = [layout.meta(partition), layout.digest(partition)];
        let mut arguments = Arguments::default();
        arguments.push(self.identity.to_string());
        arguments.push_number(bucket);
        arguments.push(before.unwrap_or_default());
        arguments.push(digest.to_be_bytes());
        let run = |link: &mut Link| link.run(&SETTLE, &keys, &arguments.0);
        let said: Vec<Vec<u8>> = self.servers.on(partition, run)?;
        self.is_done(partition, &said)
    }

    fn finish(&self, partition: Partition) -> Result<bool, StoreError> {
        let layout = self.layout();
        let Footing {
            last, next, proven, ..
        } = self.footing(partition)?;
        let mut keys = vec![
            layout.meta(partition),
            layout.digest(partition),
            layout.changes(partition),
        ];
        keys.extend((0..BUCKETS).map(|bucket| layout.bucket(partition, bucket)));
        let mut arguments = Arguments::default();
        arguments.push(self.identity.to_string());
        arguments.push(last);
        arguments.push_number(next);
        arguments.push_number(proven);
        arguments.push_number(AHEAD_MAX_US);
        arguments.push_number(self.servers.connector().config().changes_kept);
        let run = |link: &mut Link| link.run(&FINISH, &keys, &arguments.0);
        let said: Vec<Vec<u8>> = self.servers.on(partition, run)?;
        let is_done = self.is_done(partition, &said)?;
        if is_done {
            self.note_told(partition, Revision(next));
        }
        Ok(is_done)
    }

    fn wait_or(&self, until: Instant) -> Result<(), StoreError> {
        if Instant::now() >= until {
            return Err(self.outrun());
        }
        thread::sleep(Duration::from_millis(fastrand::u64(1..20)));
        Ok(())
    }
}

/// What both copies of a record come to: the newer one, and revoked if either is.
fn join(one: &Record, other: &Record) -> Record {
    let (newer, older) = if one.revision() >= other.revision() {
        (one, other)
    } else {
        (other, one)
    };
    let mut joined = newer.clone();
    match (&mut joined, older) {
        (Record::Key(key), Record::Key(older)) => key.revoked = key.revoked.or(older.revoked),
        (Record::User(user), Record::User(older))
            if older.application_keys_revoked_through > user.application_keys_revoked_through =>
        {
            user.application_keys_revoked_through = older.application_keys_revoked_through;
            user.application_keys_revoked_at = older.application_keys_revoked_at;
        }
        _ => {}
    }
    joined
}
