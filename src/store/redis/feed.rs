//! What a node reads to keep its view in step: the stream of changes, and what it compares and reads again when it has
//! missed some. It judges nothing: records are handed on as they are found, and opened elsewhere.

use std::time::Duration;

use redis::Value;
use uuid::Uuid;

use super::RedisStore;
use super::connect::Link;
use super::layout::{CHANGE_GAP, CHANGE_PREVIOUS, CHANGE_RECORD, Layout, partition_at};
use super::scripts::{Arguments, BUCKET, TAIL};
use crate::config::RedisMode;
use crate::keys::{PARTITIONS, Partition, Revision};
use crate::store::StoreError;
use crate::store::seal::{BUCKETS, GAP, SEALED_BYTES_MAX};

/// The most changes of one partition that come at a time. XREAD cannot leave out what is too long, so this is also what
/// bounds how much somebody who may write to the stream can make a node hold for a moment.
const CHANGES_AT_ONCE: usize = 200;

/// About how many records of a bucket come at a time.
const RECORDS_AT_ONCE: usize = 500;

/// The partitions that one feed and one prober cover: all of them, or, in a cluster, one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which.
    pub partitions: Vec<Partition>,
}

impl Plan {
    /// The partition whose keys hold what is kept once per plan.
    pub(super) fn first(&self) -> Partition {
        let first = self.partitions.first().copied();
        first.unwrap_or_else(|| partition_at(0))
    }
}

/// One change as it is in the stream. What it lacks, or has in another form, is empty here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stream it is in.
    pub partition: Partition,
    /// Its id.
    pub revision: Revision,
    /// The change before it.
    pub previous: Option<Revision>,
    /// The sealed record; of one that is too long only so much that it opens as malformed.
    pub sealed: Vec<u8>,
}

/// What is in a bucket under one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The kind of record; 0 when the field is none of ours.
    pub kind: u8,
    /// The id; all zero when the field is none of ours.
    pub id: [u8; 16],
    /// The sealed record; of one that is too long only so much that it opens as malformed.
    pub sealed: Vec<u8>,
}

/// How far a partition is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// What the store calls itself there; `None` when the partition is not there.
    pub identity: Option<Uuid>,
    /// The last change.
    pub last: Revision,
    /// How many records it has.
    pub count: u64,
    /// The digest over all of them.
    pub digest: u64,
    /// Records are being put back, and the digests do not say what is there.
    pub restoring: bool,
}

impl Tail {
    /// From identity, last, count, restoring and digest.
    pub(super) fn parse(parts: &[Value]) -> Self {
        let bytes = |at: usize| match parts.get(at) {
            Some(Value::BulkString(bytes)) => Some(bytes.as_slice()),
            _ => None,
        };
        let text = |at: usize| std::str::from_utf8(bytes(at)?).ok();
        let number = |at: usize| text(at).and_then(|text| text.parse().ok());
        Self {
            identity: text(0).and_then(|text| Uuid::try_parse(text).ok()),
            last: Revision(number(1).unwrap_or_default()),
            count: number(2).unwrap_or_default(),
            restoring: text(3).is_some_and(|flag| flag != "0"),
            digest: bytes(4).and_then(word).unwrap_or_default(),
        }
    }
}

fn word(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

/// A connection of its own from which changes are read. After an error it is of no more use: open another one.
pub struct Feed {
    link: Link,
    layout: Layout,
    partitions: Vec<Partition>,
    response_timeout: Duration,
    /// The id up to which was read, of each partition. Somebody may have written an entry whose id is no revision only.
    read: [(u64, u64); PARTITIONS],
}

impl Feed {
    /// Connects: to one of the replicas that changes are to be read from, or else to the master.
    ///
    /// # Errors
    /// When none of them can be reached.
    pub fn open(store: &RedisStore, plan: &Plan) -> Result<Self, StoreError> {
        let connector = store.servers.connector();
        let config = connector.config();
        let mut replicas = match config.mode {
            RedisMode::Single => config.read_from.clone(),
            RedisMode::Sentinel | RedisMode::Cluster => Vec::new(),
        };
        // Nodes that start together spread themselves.
        fastrand::shuffle(&mut replicas);
        let replica = replicas
            .iter()
            .find_map(|replica| connector.open(replica).ok());
        let link = match replica {
            Some(link) => link,
            None => store.servers.open_master(plan.first())?,
        };
        Ok(Self {
            link,
            layout: store.layout().clone(),
            partitions: plan.partitions.clone(),
            response_timeout: config.response_timeout,
            read: [(0, 0); PARTITIONS],
        })
    }

    /// The server it reads from.
    pub fn server(&self) -> String {
        self.link.server().to_string()
    }

    /// As [`RedisStore::is_with_master`].
    ///
    /// # Errors
    /// When nobody says who the masters are.
    pub fn is_with_master(&self, store: &RedisStore) -> Result<bool, StoreError> {
        match (
            store.servers.connector().config().mode,
            self.partitions.first(),
        ) {
            (RedisMode::Sentinel, Some(first)) => {
                store.servers.is_master(*first, self.link.server())
            }
            _ => Ok(true),
        }
    }

    /// The next changes after the positions, in order within each partition; none when nothing came for so long.
    ///
    /// # Errors
    /// When the server cannot be reached or does not answer.
    pub fn read(
        &mut self,
        positions: &[Revision; PARTITIONS],
        wait: Duration,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(CHANGES_AT_ONCE);
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        // Zero would be for ever.
        if wait_ms > 0 {
            command.arg("BLOCK").arg(wait_ms);
        }
        command.arg("STREAMS");
        let names: Vec<String> = self
            .partitions
            .iter()
            .map(|partition| self.layout.changes(*partition))
            .collect();
        for name in &names {
            command.arg(name);
        }
        for partition in &self.partitions {
            let position = positions
                .get(partition.index())
                .map_or(0, |position| position.0);
            let (revision, part) = match self.read.get(partition.index()) {
                Some(read) if read.0 == position => *read,
                _ => (position, 0),
            };
            command.arg(format!("{revision}-{part}"));
        }
        self.link
            .set_response_timeout(wait + self.response_timeout)?;
        let reply: Value = self.link.query(&command)?;
        let mut entries = Vec::new();
        for (name, found) in pairs(reply) {
            let Some(at) = names.iter().position(|known| known.as_bytes() == name) else {
                continue;
            };
            let Some(partition) = self.partitions.get(at).copied() else {
                continue;
            };
            let Value::Array(found) = found else { continue };
            for entry in found {
                let Value::Array(parts) = entry else { continue };
                let mut parts = parts.into_iter();
                let Some((revision, part)) = parts.next().and_then(id) else {
                    continue;
                };
                if let Some(read) = self.read.get_mut(partition.index()) {
                    *read = (revision, part);
                }
                entries.push(parse(partition, Revision(revision), parts.next()));
            }
        }
        Ok(entries)
    }

    /// How far a partition is, by the server this reads from.
    ///
    /// # Errors
    /// When the server cannot be reached or does not answer.
    pub fn tail(&mut self, partition: Partition) -> Result<Tail, StoreError> {
        let keys = [self.layout.meta(partition), self.layout.digest(partition)];
        self.link.set_response_timeout(self.response_timeout)?;
        let parts: Vec<Value> = self.link.run(&TAIL, &keys, &[])?;
        Ok(Tail::parse(&parts))
    }

    /// Everything in one bucket, in no order; one may come twice.
    ///
    /// # Errors
    /// When the server cannot be reached or does not answer, and when there is something else under the bucket's name.
    pub fn bucket(
        &mut self,
        partition: Partition,
        bucket: usize,
        each: &mut dyn FnMut(Stored),
    ) -> Result<(), StoreError> {
        let key = self.layout.bucket(partition, bucket);
        self.link.set_response_timeout(self.response_timeout)?;
        read_bucket(&key, each, |arguments| {
            self.link
                .run(&BUCKET, std::slice::from_ref(&key), arguments)
        })
    }

    /// The digest of each bucket.
    ///
    /// # Errors
    /// When the server cannot be reached or does not answer.
    pub fn digests(&mut self, partition: Partition) -> Result<[u64; BUCKETS], StoreError> {
        let mut command = redis::cmd("HGETALL");
        command.arg(self.layout.digest(partition));
        self.link.set_response_timeout(self.response_timeout)?;
        let parts: Vec<Vec<u8>> = self.link.query(&command)?;
        let mut digests = [0; BUCKETS];
        let mut parts = parts.into_iter();
        while let (Some(bucket), Some(digest)) = (parts.next(), parts.next()) {
            let bucket = std::str::from_utf8(&bucket)
                .ok()
                .and_then(|text| text.parse::<usize>().ok());
            if let Some(held) = bucket.and_then(|bucket| digests.get_mut(bucket)) {
                *held = word(&digest).unwrap_or_default();
            }
        }
        Ok(digests)
    }
}

/// Reads a bucket part by part.
pub(super) fn read_bucket(
    key: &str,
    each: &mut dyn FnMut(Stored),
    mut part: impl FnMut(&[Vec<u8>]) -> Result<(Vec<u8>, Vec<Vec<u8>>), StoreError>,
) -> Result<(), StoreError> {
    let mut cursor = b"0".to_vec();
    loop {
        let mut arguments = Arguments::default();
        arguments.push(&cursor);
        arguments.push_number(RECORDS_AT_ONCE);
        arguments.push_number(SEALED_BYTES_MAX);
        let (next, found) = part(&arguments.0).map_err(|error| match error {
            StoreError::Damaged { why, .. } => StoreError::Damaged {
                what: "bucket",
                why: format!("{key}: {why}"),
            },
            error => error,
        })?;
        let mut found = found.into_iter();
        while let (Some(field), Some(sealed)) = (found.next(), found.next()) {
            let parts = field
                .split_first()
                .and_then(|(kind, id)| Some((*kind, id.try_into().ok()?)));
            let (kind, id) = parts.unwrap_or((0, [0; 16]));
            each(Stored { kind, id, sealed });
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

/// The streams of an answer, and what was found in each.
fn pairs(reply: Value) -> Vec<(Vec<u8>, Value)> {
    let Value::Array(streams) = reply else {
        return Vec::new();
    };
    let pair = |stream| match stream {
        Value::Array(parts) => {
            let mut parts = parts.into_iter();
            match (parts.next(), parts.next()) {
                (Some(Value::BulkString(name)), Some(found)) => Some((name, found)),
                _ => None,
            }
        }
        _ => None,
    };
    streams.into_iter().filter_map(pair).collect()
}

fn id(value: Value) -> Option<(u64, u64)> {
    let Value::BulkString(text) = value else {
        return None;
    };
    let (revision, part) = std::str::from_utf8(&text).ok()?.split_once('-')?;
    Some((revision.parse().ok()?, part.parse().ok()?))
}

fn parse(partition: Partition, revision: Revision, fields: Option<Value>) -> Entry {
    let mut entry = Entry {
        partition,
        revision,
        previous: None,
        sealed: Vec::new(),
    };
    let Some(Value::Array(fields)) = fields else {
        return entry;
    };
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(field)), Some(Value::BulkString(mut value))) =
        (fields.next(), fields.next())
    {
        if field == CHANGE_PREVIOUS {
            let previous = std::str::from_utf8(&value)
                .ok()
                .and_then(|text| text.parse().ok());
            entry.previous = previous.map(Revision);
        } else if field == CHANGE_RECORD {
            value.truncate(SEALED_BYTES_MAX + 1);
            entry.sealed = value;
        } else if field == CHANGE_GAP && entry.sealed.is_empty() {
            entry.sealed = GAP.to_vec();
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn what_an_entry_lacks_is_empty_and_no_error() {
        let partition = partition_at(3);
        let of = |fields: Option<Value>| parse(partition, Revision(7), fields);
        let whole = of(Some(Value::Array(vec![
            text("p"),
            text("6"),
            text("r"),
            text("sealed"),
        ])));
        assert_eq!(whole.previous, Some(Revision(6)));
        assert_eq!(whole.sealed, b"sealed");
        for fields in [
            None,
            Some(Value::Nil),
            Some(Value::Array(vec![text("p")])),
            Some(Value::Array(vec![
                text("p"),
                text("six"),
                text("x"),
                text("y"),
            ])),
            Some(Value::Array(vec![text("p"), Value::Int(6)])),
        ] {
            let entry = of(fields);
            assert_eq!((entry.previous, entry.sealed), (None, Vec::new()));
        }
        let long = "x".repeat(SEALED_BYTES_MAX + 100);
        let cut = of(Some(Value::Array(vec![text("r"), text(&long)])));
        assert_eq!(cut.sealed.len(), SEALED_BYTES_MAX + 1);
    }

    #[test]
    fn a_tail_of_anything_is_read() {
        assert_eq!(Tail::parse(&[]), Tail::default());
        let wrong = [
            Value::Nil,
            text("x"),
            Value::Int(3),
            text("1"),
            text("short"),
        ];
        assert!(Tail::parse(&wrong).restoring);
        assert_eq!(Tail::parse(&wrong).last, Revision(0));
    }
}
