//! Whether the store holds together: every record ours and under its id, every digest and count what is there, every name,
//! list and fingerprint leading to its record. It reads everything and changes nothing.

use std::collections::HashMap;

use redis::Value;
use uuid::Uuid;

use super::RedisStore;
use super::connect::Link;
use super::feed::{Stored, Tail, read_bucket};
use super::layout::{claim_partition, field};
use super::lists::listed_in;
use super::records::{Raw, read, read_fields, unseal};
use super::scripts::{BUCKET, TAIL};
use crate::keys::{Key, Partition, Record, RecordKind, User, UserId};
use crate::store::StoreError;
use crate::store::seal::{BUCKETS, term};
use crate::store::tables::NameSpace;

/// How often a bucket is looked at that does not fit its digest: somebody may be writing to it.
const LOOKS: usize = 5;

/// What was looked at, and what was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Records that are as they should be.
    pub records: u64,
    /// One sentence for each thing that is not.
    pub problems: Vec<String>,
}

/// A hash, and a field of it.
type Place = (String, Vec<u8>);

/// The contents of a bucket.
#[derive(Default)]
struct Bucket {
    records: HashMap<(u8, [u8; 16]), Record>,
    problems: Vec<String>,
    digest: u64,
}

impl RedisStore {
    /// Looks at everything.
    ///
    /// # Errors
    /// When a master cannot be reached.
    pub fn verify(&self) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        let mut users = HashMap::new();
        for partition in Partition::all() {
            let before = self.tail(partition)?;
            if before.identity != Some(self.identity) {
                let found = before
                    .identity
                    .map_or("nothing".to_owned(), |found| found.to_string());
                let problem = format!("partition {partition} is of {found}, not of this store");
                verified.problems.push(problem);
                continue;
            }
            if before.restoring {
                let problem = format!(
                    "partition {partition} is half restored or half copied: run the same keygate store command again"
                );
                verified.problems.push(problem);
            }
            let (mut count, mut digest) = (0, 0);
            for number in 0..BUCKETS {
                let bucket = self.look(partition, number)?;
                count += bucket.records.len() as u64;
                digest ^= bucket.digest;
                verified.problems.extend(bucket.problems);
                let records: Vec<Record> = bucket.records.into_values().collect();
                self.check_indexes(partition, &records, &mut users, &mut verified.problems)?;
                verified.records += records.len() as u64;
            }
            // While somebody writes, the sums are of no one moment.
            let after = self.tail(partition)?;
            if after.last == before.last && (after.count, after.digest) != (count, digest) {
                let problem = format!(
                    "partition {partition} has {count} records and says {}, with {} digest",
                    after.count,
                    if after.digest == digest {
                        "the same"
                    } else {
                        "another"
                    },
                );
                verified.problems.push(problem);
            }
        }
        Ok(verified)
    }

    /// How far a partition is, by its master.
    ///
    /// # Errors
    /// When the master cannot be reached.
    pub fn tail(&self, partition: Partition) -> Result<Tail, StoreError> {
        let keys = [
            self.layout().meta(partition),
            self.layout().digest(partition),
        ];
        let run = |link: &mut Link| link.run(&TAIL, &keys, &[]);
        let parts: Vec<Value> = self.servers.on(partition, run)?;
        Ok(Tail::parse(&parts))
    }

    fn look(&self, partition: Partition, number: usize) -> Result<Bucket, StoreError> {
        let mut ask = redis::cmd("HGET");
        ask.arg(self.layout().digest(partition)).arg(number);
        let digest_now = || -> Result<u64, StoreError> {
            let held: Option<Vec<u8>> = self.servers.on(partition, |link| link.query(&ask))?;
            let held = held.and_then(|held| held.try_into().ok());
            Ok(held.map_or(0, u64::from_be_bytes))
        };
        let mut looks = 0;
        loop {
            let before = digest_now()?;
            let mut bucket = self.read_whole(partition, number)?;
            if bucket.digest == before {
                return Ok(bucket);
            }
            looks += 1;
            if before == digest_now()? || looks == LOOKS {
                let key = self.layout().bucket(partition, number);
                let problem = format!(
                    "{key} is not what its digest says: records are lost, or were put there"
                );
                bucket.problems.push(problem);
                return Ok(bucket);
            }
        }
    }

    fn read_whole(&self, partition: Partition, number: usize) -> Result<Bucket, StoreError> {
        let key = self.layout().bucket(partition, number);
        let mut bucket = Bucket::default();
        let mut note = |stored: Stored| {
            let Some(kind) = RecordKind::of_byte(stored.kind) else {
                bucket
                    .problems
                    .push(format!("{key} has a field that is no record's"));
                return;
            };
            match unseal(&self.sealer, kind, stored.id, stored.sealed) {
                Ok(read) if read.record.partition() == Some(partition) => {
                    bucket.records.insert((stored.kind, stored.id), read.record);
                }
                Ok(_) => {
                    let id = Uuid::from_bytes(stored.id);
                    let problem =
                        format!("{key} has the {} {id} of another partition", kind.as_str());
                    bucket.problems.push(problem);
                }
                Err(error) => bucket.problems.push(format!("in {key}: {error}")),
            }
        };
        let read = read_bucket(&key, &mut note, |arguments| {
            let key = std::slice::from_ref(&key);
            self.servers
                .on(partition, |link| link.run(&BUCKET, key, arguments))
        });
        match read {
            Err(StoreError::Damaged { what, why }) => bucket.problems.push(format!("{what} {why}")),
            outcome => outcome?,
        }
        bucket.digest = bucket.records.values().fold(0, |digest, record| {
            digest ^ term(record.kind(), record.id_bytes(), record.revision())
        });
        Ok(bucket)
    }

    fn check_indexes(
        &self,
        partition: Partition,
        records: &[Record],
        users: &mut HashMap<UserId, Option<User>>,
        problems: &mut Vec<String>,
    ) -> Result<(), StoreError> {
        let mut lists = Vec::new();
        let mut claims: HashMap<Partition, Vec<(&Key, Place)>> = HashMap::new();
        for record in records {
            let id = record.id_bytes();
            for list in listed_in(self.layout(), partition, record, &field(record.kind(), id)) {
                lists.push((record, list, None));
            }
            let (space, name, holds) = match record {
                Record::Org(org) => (NameSpace::Orgs, &org.name, true),
                Record::User(user) => (NameSpace::Users(user.org), &user.handle, true),
                Record::Key(key) => {
                    let of = claim_partition(&key.fingerprint);
                    let place = (self.layout().claims(of), key.fingerprint.bytes().to_vec());
                    claims.entry(of).or_default().push((key, place));
                    (NameSpace::of(key), &key.name, self.is_active(key, users)?)
                }
            };
            if holds {
                let names = self.layout().names(partition, space);
                lists.push((record, (names, name.as_bytes().to_vec()), Some(id)));
            }
        }
        let places: Vec<Place> = lists.iter().map(|(_, place, _)| place.clone()).collect();
        let found = self.fields_or_say(partition, &places, 16, problems)?;
        for ((record, place, holder), found) in lists.iter().zip(found) {
            if !leads(&found, holder.as_ref())
                && self.is_still_so(record)?
                && !leads(
                    &self
                        .fields_or_say(partition, std::slice::from_ref(place), 16, problems)?
                        .pop()
                        .unwrap_or(Raw::Nothing),
                    holder.as_ref(),
                )
            {
                problems.push(format!(
                    "{} does not lead to the {}",
                    place.0,
                    named(record)
                ));
            }
        }
        for (of, claims) in claims {
            let places: Vec<Place> = claims.iter().map(|(_, place)| place.clone()).collect();
            let found = self.fields_or_say(of, &places, 24, problems)?;
            for ((key, (list, _)), found) in claims.iter().zip(found) {
                // A claim is made before its key, and stays.
                if !matches!(found, Raw::Bytes(claim) if claim.starts_with(&key.id.bytes())) {
                    let problem = format!(
                        "{list} does not lead to the key {} by its fingerprint",
                        key.id
                    );
                    problems.push(problem);
                }
            }
        }
        Ok(())
    }

    /// Something else under a list's name is said once, and is no reason to stop.
    fn fields_or_say(
        &self,
        partition: Partition,
        places: &[Place],
        longest: usize,
        problems: &mut Vec<String>,
    ) -> Result<Vec<Raw>, StoreError> {
        match read_fields(&self.servers, partition, places, longest) {
            Err(StoreError::Damaged { why, .. }) => {
                if !problems.contains(&why) {
                    problems.push(why);
                }
                Ok(Vec::new())
            }
            outcome => outcome,
        }
    }

    /// Whether the record is what it was, and what its owner has revoked: else somebody has written meanwhile, and the lists
    /// with it.
    fn is_still_so(&self, record: &Record) -> Result<bool, StoreError> {
        let partition = record.partition();
        let Some(partition) = partition else {
            return Ok(true);
        };
        let now = read(
            &self.servers,
            &self.sealer,
            partition,
            record.kind(),
            record.id_bytes(),
        )?;
        let is_same = now.is_some_and(|now| now.record == *record);
        match record {
            Record::Key(key) if is_same && key.revoked.is_none() => {
                self.is_active(key, &mut HashMap::new())
            }
            _ => Ok(is_same),
        }
    }
}

/// Whether an entry is there and, where it is to name a holder, names this one.
fn leads(found: &Raw, holder: Option<&[u8; 16]>) -> bool {
    match (found, holder) {
        (Raw::Bytes(found), Some(id)) => found == id,
        (Raw::Bytes(_), None) => true,
        (Raw::Nothing | Raw::TooLong(_), _) => false,
    }
}

fn named(record: &Record) -> String {
    format!(
        "{} {}",
        record.kind().as_str(),
        Uuid::from_bytes(record.id_bytes())
    )
}
