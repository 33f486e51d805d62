//! One transaction as the rules see it: reads go to Redis, writes are collected, and all of it becomes one call of the
//! commit script, which does it if nothing that was read has changed. It holds no rule and sends no commit.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::RedisStore;
use super::claims::is_claimed;
use super::layout::{Field, field};
use super::lists::{Keys, index, listed_in};
use super::records::{Raw, Read, read};
use super::revisions::{AHEAD_MAX_US, Footing};
use super::scripts::Arguments;
use crate::keys::keyring::Sealer;
use crate::keys::{
    Fingerprint, Key, KeyId, Org, OrgId, Partition, Record, RecordKind, Revision, Timestamp, User,
    UserId,
};
use crate::store::StoreError;
use crate::store::log::LogSource as _;
use crate::store::papers::PaperId;
use crate::store::seal::{bucket_of, seal, term};
use crate::store::tables::{NameSpace, Tables};

/// The names of one space, as far as the transaction has touched them.
#[derive(Default)]
struct Names {
    /// All that were held before are free.
    cleared: bool,
    /// How many are held in Redis.
    stored_len: Option<usize>,
    /// Who holds them in Redis.
    stored: BTreeMap<String, Option<[u8; 16]>>,
    /// Who holds them after this transaction.
    written: BTreeMap<String, Option<[u8; 16]>>,
}

/// One record that is written: what it replaces and what is written last.
struct Written {
    before: Option<Read>,
    sealed: Vec<u8>,
    record: Record,
}

/// Reads of one partition, and what is to be written there.
pub(super) struct Transaction<'s> {
    store: &'s RedisStore,
    partition: Partition,
    last: Vec<u8>,
    previous: u64,
    proven: u64,
    next: u64,
    read: HashMap<Field, Option<Read>>,
    written: BTreeMap<Field, Written>,
    changes: Vec<(u64, Vec<u8>)>,
    names: BTreeMap<String, Names>,
    claims: Vec<(Fingerprint, KeyId)>,
    papers: BTreeMap<Vec<u8>, Paper>,
    /// How many entries the log has in Redis, once that was asked.
    entries_len: Option<u64>,
    entries: Vec<Vec<u8>>,
}

/// A paper that the transaction has touched.
struct Paper {
    /// What is in Redis. `Raw::TooLong` is none of ours, and written over whatever it is by then.
    before: Raw,
    /// What is there after this transaction; `None` where it is left alone.
    after: Option<Option<Vec<u8>>>,
}

/// What the commit script is to do, ready to be sent as often as it takes to hear of it.
pub(super) struct Commit {
    pub(super) partition: Partition,
    /// The last change, if there is one.
    pub(super) last: Option<Revision>,
    pub(super) claims: Vec<(Fingerprint, KeyId)>,
    keys: Vec<String>,
    before_deadline: Arguments,
    after_deadline: Arguments,
}

impl Commit {
    pub(super) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The arguments; with a deadline, by the clock of Redis, when a claim of a fingerprint has one.
    pub(super) fn arguments(&self, deadline_ms: Option<u64>) -> Vec<Vec<u8>> {
        let deadline = deadline_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let mut all = self.before_deadline.0.clone();
        all.push(deadline.into_bytes());
        all.extend(self.after_deadline.0.iter().cloned());
        all
    }
}

impl<'s> Transaction<'s> {
    pub(super) fn begin(store: &'s RedisStore, partition: Partition) -> Result<Self, StoreError> {
        let Footing {
            last,
            previous,
            next,
            proven,
        } = store.footing(partition)?;
        Ok(Self {
            store,
            partition,
            last,
            previous,
            proven,
            next,
            read: HashMap::new(),
            written: BTreeMap::new(),
            changes: Vec::new(),
            names: BTreeMap::new(),
            claims: Vec::new(),
            papers: BTreeMap::new(),
            entries_len: None,
            entries: Vec::new(),
        })
    }

    /// Whether nothing has been written to the partition since the transaction began: then what it has read is true as
    /// of one moment.
    pub(super) fn is_unchanged(&self) -> Result<bool, StoreError> {
        Ok(self.store.last(self.partition)? == self.last)
    }

    /// What to commit, or `None` when nothing was written.
    pub(super) fn finish(self) -> Option<Commit> {
        let last = self.changes.last().map(|(revision, _)| Revision(*revision));
        let papers: Vec<_> = self
            .papers
            .iter()
            .filter_map(|(id, paper)| Some((id, &paper.before, paper.after.as_ref()?)))
            .collect();
        if last.is_none() && papers.is_empty() && self.entries.is_empty() {
            return None;
        }
        let layout = self.store.layout();
        let mut keys = Keys(vec![
            layout.meta(self.partition),
            layout.digest(self.partition),
            layout.changes(self.partition),
            layout.audit(self.partition),
            layout.papers(self.partition),
        ]);
        let mut before = Arguments::default();
        before.push(self.store.identity.to_string());
        before.push(&self.last);
        before.push_number(self.previous);
        before.push_number(self.proven);
        before.push_number(AHEAD_MAX_US);
        before.push_number(self.store.servers.connector().config().changes_kept);
        let mut after = Arguments::default();
        after.push_number(self.changes.len());
        for (revision, sealed) in &self.changes {
            after.push_number(revision);
            after.push(sealed);
        }
        after.push_number(self.written.len());
        for (field, written) in &self.written {
            let (kind, id) = (written.record.kind(), written.record.id_bytes());
            let held = written.before.as_ref();
            let old = held.map_or(0, |held| term(kind, id, held.record.revision()));
            after.push_number(keys.number(layout.bucket_of(self.partition, id)));
            after.push(field);
            after.push(held.map_or(&[][..], |held| &held.sealed));
            after.push(&written.sealed);
            after.push_number(bucket_of(id));
            after.push((old ^ term(kind, id, written.record.revision())).to_be_bytes());
        }
        after.push_number(papers.len());
        for (id, before, paper) in papers {
            after.push(id);
            match before {
                Raw::Nothing => after.push(""),
                Raw::Bytes(sealed) => after.push(sealed),
                Raw::TooLong(_) => after.push("*"),
            }
            after.push(paper.as_deref().unwrap_or_default());
        }
        after.push_number(self.entries_len.unwrap_or(0));
        after.push_number(self.entries.len());
        for sealed in &self.entries {
            after.push(sealed);
        }
        for (key, names) in &self.names {
            let number = keys.number(key.clone());
            if names.cleared {
                index(&mut after, "clear", number, b"", b"");
            }
            for (name, holder) in &names.written {
                match holder {
                    Some(id) => index(&mut after, "set", number, name.as_bytes(), id),
                    None => index(&mut after, "unset", number, name.as_bytes(), b""),
                }
            }
        }
        for (field, written) in &self.written {
            let lists = |record| listed_in(layout, self.partition, record, field);
            let before = written.before.as_ref();
            let before = before.map_or_else(Vec::new, |held| lists(&held.record));
            let now = lists(&written.record);
            for (key, entry) in before.iter().filter(|list| !now.contains(list)) {
                index(&mut after, "unset", keys.number(key.clone()), entry, b"");
            }
            for (key, entry) in now.iter().filter(|list| !before.contains(list)) {
                index(&mut after, "set", keys.number(key.clone()), entry, b"");
            }
        }
        Some(Commit {
            partition: self.partition,
            last,
            claims: self.claims,
            keys: keys.0,
            before_deadline: before,
            after_deadline: after,
        })
    }

    fn load(&mut self, kind: RecordKind, id: [u8; 16]) -> Result<Option<Record>, StoreError> {
        let field = field(kind, id);
        if let Some(written) = self.written.get(&field) {
            return Ok(Some(written.record.clone()));
        }
        let stored = self.stored(kind, id)?.map(|read| read.record);
        if let Some(record) = &stored {
            let revision = record.revision();
            self.store.note_proven(self.partition, revision);
            self.proven = self.proven.max(revision.0);
            // A record is newer than what it replaces, whatever the partition says was last.
            self.next = self.next.max(revision.0.saturating_add(1));
        }
        Ok(stored)
    }

    fn stored(&mut self, kind: RecordKind, id: [u8; 16]) -> Result<Option<Read>, StoreError> {
        let field = field(kind, id);
        if let Some(read) = self.read.get(&field) {
            return Ok(read.clone());
        }
        let store = self.store;
        let found = read(&store.servers, &store.sealer, self.partition, kind, id)?;
        self.read.insert(field, found.clone());
        Ok(found)
    }

    /// How many of these are active and named where this key is, beside it; with a time, and have not expired by then.
    fn active_beside(
        &mut self,
        key: &Key,
        unexpired_at: Option<Timestamp>,
        found: Vec<Key>,
    ) -> Result<usize, StoreError> {
        let space = NameSpace::of(key);
        let mut active = 0;
        for other in found {
            if other.id == key.id || NameSpace::of(&other) != space || other.revoked.is_some() {
                continue;
            }
            if let Some(owner) = other.owner
                && self.user(owner)?.is_some_and(|it| it.has_revoked(&other))
            {
                continue;
            }
            if !unexpired_at.is_some_and(|at| other.has_expired(at)) {
                active += 1;
            }
            if self.holder(space, &other.name)?.is_none() {
                self.take_name(space, &other.name, other.id.bytes())?;
            }
        }
        Ok(active)
    }

    /// A transaction is one of one partition.
    fn only(&self, partition: Partition) -> Result<(), StoreError> {
        if partition == self.partition {
            return Ok(());
        }
        Err(StoreError::Damaged {
            what: "operation",
            why: format!("it is of the partitions {partition} and {}", self.partition),
        })
    }

    fn paper_at(&mut self, partition: Partition, id: &PaperId) -> Result<&mut Paper, StoreError> {
        self.only(partition)?;
        let id = id.bytes();
        match self.papers.entry(id) {
            Entry::Occupied(paper) => Ok(paper.into_mut()),
            Entry::Vacant(place) => {
                let before = self.store.raw_paper(partition, place.key())?;
                let after = None;
                Ok(place.insert(Paper { before, after }))
            }
        }
    }

    fn names(&mut self, space: NameSpace) -> (&'s RedisStore, String, &mut Names) {
        let key = self.store.layout().names(self.partition, space);
        (self.store, key.clone(), self.names.entry(key).or_default())
    }

    fn write_name(
        &mut self,
        space: NameSpace,
        name: &str,
        to: Option<[u8; 16]>,
    ) -> Result<(), StoreError> {
        // Read first, so that it is known whether the number of names changes.
        self.holder(space, name)?;
        self.names(space).2.written.insert(name.to_owned(), to);
        Ok(())
    }
}

impl Tables for Transaction<'_> {
    fn org(&mut self, id: OrgId) -> Result<Option<Org>, StoreError> {
        Ok(match self.load(RecordKind::Org, id.bytes())? {
            Some(Record::Org(org)) => Some(org),
            _ => None,
        })
    }

    fn user(&mut self, id: UserId) -> Result<Option<User>, StoreError> {
        Ok(match self.load(RecordKind::User, id.bytes())? {
            Some(Record::User(user)) => Some(user),
            _ => None,
        })
    }

    fn key(&mut self, id: KeyId) -> Result<Option<Key>, StoreError> {
        Ok(match self.load(RecordKind::Key, id.bytes())? {
            Some(Record::Key(key)) => Some(key),
            _ => None,
        })
    }

    fn holder(&mut self, space: NameSpace, name: &str) -> Result<Option<[u8; 16]>, StoreError> {
        let partition = self.partition;
        let (store, key, names) = self.names(space);
        if let Some(holder) = names.written.get(name) {
            return Ok(*holder);
        }
        if names.cleared {
            return Ok(None);
        }
        if let Some(holder) = names.stored.get(name) {
            return Ok(*holder);
        }
        let holder = store.holder(partition, &key, name)?;
        names.stored.insert(name.to_owned(), holder);
        Ok(holder)
    }

    fn names_len(&mut self, space: NameSpace) -> Result<usize, StoreError> {
        let partition = self.partition;
        let (store, key, names) = self.names(space);
        let taken = names.written.values().flatten().count();
        if names.cleared {
            return Ok(taken);
        }
        let stored = match names.stored_len {
            Some(stored) => stored,
            None => {
                let mut command = redis::cmd("HLEN");
                command.arg(&key);
                let stored = store.servers.on(partition, |link| link.query(&command))?;
                *names.stored_len.insert(stored)
            }
        };
        let rewritten = names.written.keys();
        let replaced =
            rewritten.filter(|name| names.stored.get(*name).is_some_and(Option::is_some));
        Ok((stored + taken).saturating_sub(replaced.count()))
    }

    /// Also gives back the names that were lost.
    fn has_others(
        &mut self,
        key: &Key,
        fewest: usize,
        unexpired_at: Option<Timestamp>,
    ) -> Result<bool, StoreError> {
        let store = self.store;
        // Each active key holds a name. But names may be lost, and the list may be, too.
        let found: [&dyn Fn() -> Result<Vec<Key>, StoreError>; 3] = [
            &|| store.keys_named(key.org, NameSpace::of(key)),
            &|| store.keys_listed(key.org),
            &|| store.keys_found(key.org),
        ];
        let mut is_unread = false;
        for found in found {
            match found() {
                Ok(found) => {
                    if self.active_beside(key, unexpired_at, found)? >= fewest {
                        return Ok(true);
                    }
                }
                Err(StoreError::Damaged { .. }) => is_unread = true,
                Err(error) => return Err(error),
            }
        }
        // What cannot be read must not keep anybody from revoking: then the names tell.
        Ok(is_unread && self.names_len(NameSpace::of(key))? > fewest)
    }

    fn has_fingerprint(&mut self, fingerprint: &Fingerprint) -> Result<bool, StoreError> {
        if self
            .claims
            .iter()
            .any(|(claimed, _)| claimed == fingerprint)
        {
            return Ok(true);
        }
        is_claimed(self.store, fingerprint)
    }

    fn take_name(&mut self, space: NameSpace, name: &str, id: [u8; 16]) -> Result<(), StoreError> {
        self.write_name(space, name, Some(id))
    }

    fn free_name(&mut self, space: NameSpace, name: &str) -> Result<(), StoreError> {
        self.write_name(space, name, None)
    }

    fn free_names(&mut self, space: NameSpace) -> Result<(), StoreError> {
        let names = self.names(space).2;
        names.cleared = true;
        names.written.clear();
        Ok(())
    }

    fn next(&self) -> Revision {
        Revision(self.next)
    }

    fn put(&mut self, record: Record) -> Result<(), StoreError> {
        let (kind, id) = (record.kind(), record.id_bytes());
        let is_new = matches!(&record, Record::Key(key) if key.issued == key.revision);
        let before = match self.written.remove(&field(kind, id)) {
            Some(written) => written.before,
            // Its id was just made. The commit makes sure that nothing has it.
            None if is_new => None,
            None => self.stored(kind, id)?,
        };
        if let Record::Key(key) = &record
            && is_new
        {
            self.claims.push((key.fingerprint, key.id));
        }
        let sealed = seal(&self.store.sealer, &record)?;
        self.changes.push((self.next, sealed.clone()));
        self.next += 1;
        let written = Written {
            before,
            sealed,
            record,
        };
        self.written.insert(field(kind, id), written);
        Ok(())
    }

    fn users_of(&mut self, org: OrgId, lost: bool) -> Result<Vec<User>, StoreError> {
        if lost {
            self.store.users_found(org)
        } else {
            self.store.users_listed(org)
        }
    }

    fn is_new(&mut self, partition: Partition) -> Result<bool, StoreError> {
        self.only(partition)?;
        Ok(self.last == b"0" && self.proven == 0)
    }

    fn sealer(&self) -> Sealer {
        self.store.sealer()
    }

    fn paper(&mut self, partition: Partition, id: &PaperId) -> Result<Option<Vec<u8>>, StoreError> {
        let paper = self.paper_at(partition, id)?;
        Ok(match (&paper.after, &paper.before) {
            (Some(after), _) => after.clone(),
            (None, Raw::Bytes(sealed)) => Some(sealed.clone()),
            // Bytes that nothing of ours is.
            (None, Raw::TooLong(_)) => Some(Vec::new()),
            (None, Raw::Nothing) => None,
        })
    }

    fn put_paper(
        &mut self,
        partition: Partition,
        id: &PaperId,
        sealed: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        self.paper_at(partition, id)?.after = Some(sealed);
        Ok(())
    }

    fn entries_len(&mut self, partition: Partition) -> Result<u64, StoreError> {
        self.only(partition)?;
        let stored = match self.entries_len {
            Some(stored) => stored,
            None => *self.entries_len.insert(self.store.entries_len(partition)?),
        };
        Ok(stored + self.entries.len() as u64)
    }

    fn add_entry(&mut self, partition: Partition, sealed: Vec<u8>) -> Result<(), StoreError> {
        self.entries_len(partition)?;
        self.entries.push(sealed);
        Ok(())
    }
}
