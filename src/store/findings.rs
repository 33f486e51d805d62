//! What a store says of itself, and what a look through all of it finds: the same for both homes. How each is looked
//! through is the home's matter.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::keys::RecordKind;

/// So many faults are named; the others are counted.
const NAMED_MAX: usize = 1_000;

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// `embedded` or `redis`.
    pub home: String,
    /// The file, or the servers that the configuration names.
    pub place: String,
    /// What tells it from every other store.
    pub identity: Uuid,
    /// Its layout's number.
    pub layout: u32,
    /// The check values of the root keys it opens with.
    pub root_keys: Vec<RootKeyEntry>,
    /// Records, revoked ones included.
    pub records: u64,
    /// Whether another store is being copied or restored into it.
    pub restoring: bool,
    /// How far each partition is; the embedded store is one.
    pub partitions: Vec<PartitionStatus>,
    /// The servers, for Redis.
    pub servers: Vec<ServerStatus>,
}

/// A root key that a store opens with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKeyEntry {
    /// Its check value, in hexadecimal.
    pub check: String,
    /// Whether it is the one in use here.
    pub in_use: bool,
}

/// How far a partition is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: usize,
    /// The last change.
    pub revision: u64,
    /// How many records it has.
    pub records: u64,
    /// Whether another store is being copied or restored into it.
    pub restoring: bool,
}

/// What a server of Redis says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerStatus {
    /// Where it is.
    pub server: String,
    /// Its version.
    pub version: String,
    /// `master` or `slave`, as it says it.
    pub role: String,
    /// The bytes of memory it uses.
    pub memory_bytes: u64,
    /// The most it may use; 0 is no limit.
    pub memory_bytes_max: u64,
    /// What it does when that is reached.
    pub maxmemory_policy: String,
    /// Whether every change is written to its append-only file.
    pub appendonly: bool,
    /// Whether the last writing of that file went well.
    pub appendonly_good: bool,
    /// Replicas connected.
    pub replicas: u32,
    /// Replicas it knows to be in step, when it demands some (min-replicas-to-write).
    pub replicas_good: Option<u32>,
}

/// What a look through all of a store found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// Records opened.
    pub records: u64,
    /// Names looked at.
    pub names: u64,
    /// Digests computed again.
    pub digests: u64,
    /// What is wrong: a sentence for each, with the id of what it is about.
    pub faults: Vec<String>,
    /// Faults beyond those named.
    pub more_faults: u64,
}

impl Findings {
    /// Whether nothing is wrong.
    pub const fn is_good(&self) -> bool {
        self.faults.is_empty()
    }

    /// How many faults there are.
    pub const fn faults_len(&self) -> u64 {
        self.faults.len() as u64 + self.more_faults
    }

    /// Notes a fault.
    pub fn fault(&mut self, said: String) {
        if self.faults.len() < NAMED_MAX {
            self.faults.push(said);
        } else {
            self.more_faults += 1;
        }
    }

    /// Notes a fault of a record.
    pub fn record_fault(&mut self, kind: RecordKind, id: [u8; 16], why: &str) {
        self.fault(format!("{}: {why}", record_name(kind, id)));
    }

    /// Takes the other findings in.
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.names += other.names;
        self.digests += other.digests;
        self.more_faults += other.more_faults;
        for fault in other.faults {
            self.fault(fault);
        }
    }
}

/// A record for people: what it is of, and its id.
pub fn record_name(kind: RecordKind, id: [u8; 16]) -> String {
    format!("{} {}", kind.as_str(), Uuid::from_bytes(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_many_faults_and_count_the_others() {
        let mut all = Findings::default();
        for number in 0..NAMED_MAX + 3 {
            let mut one = Findings {
                records: 2,
                ..Findings::default()
            };
            one.record_fault(RecordKind::Key, [7; 16], &format!("fault {number}"));
            all.add(one);
        }
        assert!(!all.is_good());
        assert_eq!((all.faults.len(), all.more_faults), (NAMED_MAX, 3));
        assert_eq!((all.faults_len(), all.records), (1_003, 2_006));
        assert_eq!(
            all.faults[0],
            "key 07070707-0707-0707-0707-070707070707: fault 0"
        );
    }
}
