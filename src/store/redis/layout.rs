//! What keygate's keys in Redis are called and what is in them. Every name is spelled here and nowhere else; it talks to
//! no server.
//!
//! Each partition has a hash tag, so that Redis Cluster keeps all of it on one server and one script can check a rule
//! and write upon it. With the prefix `keygate` and the partition 7:
//!
//! | key | type | holds |
//! |---|---|---|
//! | `{keygate:7}:meta` | hash | `layout`, `identity`, `last` (revision), `count` (of records), `restoring`, `ring:<root key check>` |
//! | `{keygate:7}:r:<bucket>` | hash | kind byte and id, to the sealed record |
//! | `{keygate:7}:digest` | hash | bucket, to the XOR of its records' terms; `all`, to the XOR of those |
//! | `{keygate:7}:names:<what>[:<within>]` | hash | name, to the id of its one active holder |
//! | `{keygate:7}:users:<name>` | hash | ids of the users with this handle, and of the service accounts with this name |
//! | `{keygate:7}:of:<org>` | hash | kind bytes and ids of an org's users and keys |
//! | `{keygate:7}:claims` | hash | fingerprint, to the id of its key and when it was claimed; by the fingerprint's partition |
//! | `{keygate:7}:changes` | stream | the changes; the id is the revision |
//! | `{keygate:7}:nodes` | hash | node id, to the report of that node |
//! | `{keygate:7}:usage` | hash | key id, to when it was used, how often and from where |
//! | `{keygate:7}:audit` | list | the entries of the audit log, sealed |
//! | `{keygate:7}:papers` | hash | kind byte and id, to the sealed password, link, session, answer, or head of the log |

use crate::keys::{Fingerprint, KeyKind, OrgId, PARTITIONS, Partition, RecordKind};
use crate::store::seal::{BUCKETS, bucket_of};
use crate::store::tables::NameSpace;

/// Raised by a change that older versions cannot read.
pub(super) const LAYOUT: u32 = 2;

/// The fields of meta.
pub(super) const META_LAYOUT: &str = "layout";
pub(super) const META_IDENTITY: &str = "identity";
pub(super) const META_LAST: &str = "last";
/// Before the check value of a root key, in hexadecimal.
pub(super) const META_RESTORING: &str = "restoring";

/// The fields of a change: the revision before it, and the sealed record.
pub(super) const CHANGE_GAP: &[u8] = b"gap";
pub(super) const CHANGE_PREVIOUS: &[u8] = b"p";
pub(super) const CHANGE_RECORD: &[u8] = b"r";

/// Scripts hold numbers as doubles, which are exact below this one.
pub(super) const REVISION_END: u64 = 1 << 53;

/// The hash slots of Redis Cluster.
const HASH_SLOTS: u16 = 16_384;

/// A kind byte and an id.
pub(super) type Field = [u8; 17];

pub(super) fn field(kind: RecordKind, id: [u8; 16]) -> Field {
    let mut field = [kind.byte(); 17];
    for (to, from) in field.iter_mut().skip(1).zip(id) {
        *to = from;
    }
    field
}

/// The kind and the id of a field, or `None` when it is none of ours.
pub(super) fn parts_of(field: &[u8]) -> Option<(RecordKind, [u8; 16])> {
    let (kind, id) = field.split_first()?;
    Some((RecordKind::of_byte(*kind)?, id.try_into().ok()?))
}

/// The partition that keeps the claim of a fingerprint. It has nothing to do with the key's own.
pub(super) fn claim_partition(fingerprint: &Fingerprint) -> Partition {
    let [first, ..] = fingerprint.bytes();
    partition_at(usize::from(first))
}

pub(super) fn partition_at(number: usize) -> Partition {
    let found = Partition::all().nth(number % PARTITIONS);
    found.unwrap_or_else(|| unreachable!("a remainder of PARTITIONS is below it"))
}

/// The names under one prefix.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    prefix: String,
}

impl Layout {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    fn tag(&self, partition: Partition) -> String {
        format!("{}:{}", self.prefix, partition.index())
    }

    fn key(&self, partition: Partition, rest: &str) -> String {
        format!("{{{}}}:{rest}", self.tag(partition))
    }

    pub(super) fn meta(&self, partition: Partition) -> String {
        self.key(partition, "meta")
    }

    pub(super) fn digest(&self, partition: Partition) -> String {
        self.key(partition, "digest")
    }

    pub(super) fn changes(&self, partition: Partition) -> String {
        self.key(partition, "changes")
    }

    pub(super) fn claims(&self, partition: Partition) -> String {
        self.key(partition, "claims")
    }

    pub(super) fn nodes(&self, partition: Partition) -> String {
        self.key(partition, "nodes")
    }

    pub(super) fn usage(&self, partition: Partition) -> String {
        self.key(partition, "usage")
    }

    pub(super) fn audit(&self, partition: Partition) -> String {
        self.key(partition, "audit")
    }

    pub(super) fn papers(&self, partition: Partition) -> String {
        self.key(partition, "papers")
    }

    pub(super) fn bucket(&self, partition: Partition, bucket: usize) -> String {
        self.key(partition, &format!("r:{bucket}"))
    }

    /// Where the record with this id is.
    pub(super) fn bucket_of(&self, partition: Partition, id: [u8; 16]) -> String {
        self.bucket(partition, bucket_of(id))
    }

    pub(super) fn names(&self, partition: Partition, space: NameSpace) -> String {
        let within = |what: &str, id: [u8; 16]| {
            let id = uuid::Uuid::from_bytes(id);
            self.key(partition, &format!("names:{what}:{id}"))
        };
        match space {
            NameSpace::Orgs => self.key(partition, "names:orgs"),
            NameSpace::Users(org) => within("users", org.bytes()),
            NameSpace::Keys(KeyKind::ApiKey, org) => within("keys", org),
            NameSpace::Keys(KeyKind::ApplicationKey, owner) => within("apps", owner),
            NameSpace::Keys(KeyKind::ClientToken, org) => within("tokens", org),
        }
    }

    pub(super) fn users(&self, partition: Partition, name: &str) -> String {
        self.key(partition, &format!("users:{name}"))
    }

    pub(super) fn of(&self, partition: Partition, org: OrgId) -> String {
        self.key(partition, &format!("of:{org}"))
    }

    /// What a partition in use has, whatever is in it.
    pub(super) fn fixed(&self, partition: Partition) -> Vec<String> {
        let mut keys = vec![
            self.meta(partition),
            self.digest(partition),
            self.changes(partition),
            self.claims(partition),
            self.audit(partition),
            self.papers(partition),
            self.names(partition, NameSpace::Orgs),
        ];
        keys.extend((0..BUCKETS).map(|bucket| self.bucket(partition, bucket)));
        keys
    }

    /// The hash slot of Redis Cluster that the partition is in.
    pub(super) fn hash_slot(&self, partition: Partition) -> u16 {
        crc16(self.tag(partition).as_bytes()) % HASH_SLOTS
    }
}

/// CRC-16/XMODEM, by which Redis Cluster spreads its keys. Eight lines, and used sixteen times at a start.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_slot_is_the_one_that_redis_cluster_computes() {
        // The check value of CRC-16/XMODEM, and what `CLUSTER KEYSLOT` of Redis 7.0.15 says.
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let layout = Layout::new("keygate");
        let slots: Vec<u16> = Partition::all()
            .map(|partition| layout.hash_slot(partition))
            .collect();
        assert_eq!(slots[0], crc16(b"keygate:0") % 16_384);
        assert_eq!(layout.meta(partition_at(7)), "{keygate:7}:meta");
    }

    #[test]
    fn a_field_says_what_it_is_of() {
        for kind in [RecordKind::Org, RecordKind::User, RecordKind::Key] {
            assert_eq!(parts_of(&field(kind, [7; 16])), Some((kind, [7; 16])));
        }
        assert_eq!(parts_of(b""), None);
        assert_eq!(parts_of(&[b'x'; 17]), None);
        assert_eq!(parts_of(&[b'k'; 16]), None);
    }
}
