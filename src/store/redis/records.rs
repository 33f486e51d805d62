//! Records read from Redis and opened: one or many of a partition, and the ids that its indexes hold. It writes nothing.

use std::collections::BTreeSet;

use redis::Value;

use super::feed::Stored;
use super::layout::{Field, field, parts_of};
use super::pool::Servers;
use super::scripts::{Arguments, READ};
use crate::keys::keyring::Sealer;
use crate::keys::{Partition, Record, RecordKind};
use crate::store::StoreError;
use crate::store::seal::{SEALED_BYTES_MAX, open};

/// How many records are read at a time.
const AT_ONCE: usize = 500;

/// A record, and the sealed form it was read in.
#[derive(Clone)]
pub(super) struct Read {
    pub(super) sealed: Vec<u8>,
    pub(super) record: Record,
}

/// The record with this id, as it is sealed in Redis.
pub(super) fn read(
    servers: &Servers,
    sealer: &Sealer,
    partition: Partition,
    kind: RecordKind,
    id: [u8; 16],
) -> Result<Option<Read>, StoreError> {
    Ok(read_many(servers, sealer, partition, &[(kind, id)])?
        .into_iter()
        .next()
        .flatten())
}

/// What is under a record's field.
pub(super) enum Raw {
    Nothing,
    Bytes(Vec<u8>),
    /// More than a record can have; it was not read.
    TooLong(u64),
}

/// The records with these ids, in their order.
pub(super) fn read_many(
    servers: &Servers,
    sealer: &Sealer,
    partition: Partition,
    wanted: &[(RecordKind, [u8; 16])],
) -> Result<Vec<Option<Read>>, StoreError> {
    let found = read_raw(servers, partition, wanted)?;
    let open = |((kind, id), raw): (&(RecordKind, [u8; 16]), Raw)| match raw {
        Raw::Nothing => Ok(None),
        Raw::Bytes(sealed) => unseal(sealer, *kind, *id, sealed).map(Some),
        Raw::TooLong(length) => Err(damaged(*kind, *id, &format!("it has {length} bytes"))),
    };
    wanted.iter().zip(found).map(open).collect()
}

/// What is under the fields of records, in their order, whatever it is.
pub(super) fn read_raw(
    servers: &Servers,
    partition: Partition,
    wanted: &[(RecordKind, [u8; 16])],
) -> Result<Vec<Raw>, StoreError> {
    let place = |(kind, id): &(RecordKind, [u8; 16])| {
        let key = servers.layout().bucket_of(partition, *id);
        (key, field(*kind, *id).to_vec())
    };
    let wanted: Vec<_> = wanted.iter().map(place).collect();
    read_fields(servers, partition, &wanted, SEALED_BYTES_MAX)
}

/// What is under these fields of these hashes of one partition, in their order.
pub(super) fn read_fields(
    servers: &Servers,
    partition: Partition,
    wanted: &[(String, Vec<u8>)],
    longest: usize,
) -> Result<Vec<Raw>, StoreError> {
    let mut found = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(AT_ONCE) {
        let keys: BTreeSet<&String> = wanted.iter().map(|(key, _)| key).collect();
        let keys: Vec<String> = keys.into_iter().cloned().collect();
        let mut arguments = Arguments::default();
        arguments.push_number(longest);
        for (key, field) in wanted {
            // Lua counts from one.
            arguments.push_number(keys.binary_search(key).unwrap_or_default() + 1);
            arguments.push(field);
        }
        let values: Vec<Value> =
            servers.on(partition, |link| link.run(&READ, &keys, &arguments.0))?;
        if values.len() != wanted.len() {
            return Err(StoreError::Damaged {
                what: "answer",
                why: format!("it has {} of {} fields", values.len(), wanted.len()),
            });
        }
        found.extend(values.into_iter().map(|value| match value {
            Value::BulkString(bytes) => Raw::Bytes(bytes),
            Value::Int(length) => Raw::TooLong(length.unsigned_abs()),
            _ => Raw::Nothing,
        }));
    }
    Ok(found)
}

pub(super) fn unseal(
    sealer: &Sealer,
    kind: RecordKind,
    id: [u8; 16],
    sealed: Vec<u8>,
) -> Result<Read, StoreError> {
    let record = open(sealer, &sealed).map_err(|why| damaged(kind, id, &why.to_string()))?;
    // A record of ours that was moved under another id is as good as a forged one.
    if record.kind() != kind || record.id_bytes() != id {
        return Err(damaged(kind, id, "it is the record of something else"));
    }
    Ok(Read { sealed, record })
}

fn damaged(kind: RecordKind, id: [u8; 16], why: &str) -> StoreError {
    StoreError::Damaged {
        what: kind.as_str(),
        why: format!("{}: {why}", uuid::Uuid::from_bytes(id)),
    }
}

/// What is under one field of one hash.
pub(super) fn read_field(
    servers: &Servers,
    partition: Partition,
    key: &str,
    field: &[u8],
    longest: usize,
) -> Result<Raw, StoreError> {
    let wanted = [(key.to_owned(), field.to_vec())];
    let mut found = read_fields(servers, partition, &wanted, longest)?;
    Ok(found.pop().unwrap_or(Raw::Nothing))
}

/// The fields and values of a hash that may be large, part by part; in no order, and one may come twice.
pub(super) fn scan(
    servers: &Servers,
    partition: Partition,
    key: &str,
    each: &mut dyn FnMut(Vec<u8>, Vec<u8>),
) -> Result<(), StoreError> {
    let mut cursor = b"0".to_vec();
    loop {
        let mut command = redis::cmd("HSCAN");
        command.arg(key).arg(&cursor).arg("COUNT").arg(AT_ONCE);
        let (next, found): (Vec<u8>, Vec<Vec<u8>>) =
            servers.on(partition, |link| link.query(&command))?;
        let mut found = found.into_iter();
        while let (Some(field), Some(value)) = (found.next(), found.next()) {
            each(field, value);
        }
        if next == b"0" {
            return Ok(());
        }
        cursor = next;
    }
}

/// The records that an index of kind bytes and ids names, in the order of their ids.
pub(super) fn indexed(
    servers: &Servers,
    sealer: &Sealer,
    partition: Partition,
    index: &str,
    kind: RecordKind,
) -> Result<Vec<Record>, StoreError> {
    let mut fields: BTreeSet<Field> = BTreeSet::new();
    scan(servers, partition, index, &mut |found, _| {
        if let Some((of, id)) = parts_of(&found)
            && of == kind
        {
            fields.insert(field(of, id));
        }
    })?;
    let ids: Vec<_> = fields.iter().filter_map(|field| parts_of(field)).collect();
    let found = read_many(servers, sealer, partition, &ids)?;
    Ok(found
        .into_iter()
        .flatten()
        .map(|read| read.record)
        .collect())
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
        arguments.push_number(AT_ONCE);
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
