//! Somebody who can write to Redis and knows where everything is, but has none of the store's keys: what they can read, put
//! and append. Where a test wants what only the store could have sealed, it asks the library.

use std::str::FromStr as _;
use std::time::{SystemTime, UNIX_EPOCH};

use keygate::keys::keyring::Keyring;
use keygate::keys::{KeyId, OrgId, Record};
use keygate::store::FleetStore;
use keygate::store::seal::{BUCKETS, bucket_of, open, seal};
use redis::{Connection, ToRedisArgs};

use crate::fleet::Key;
use crate::servers::RedisServer;

/// Their connection.
pub struct Intruder(Connection);

/// Where a record is.
#[derive(Clone, Debug)]
pub struct Spot {
    /// Of the store.
    pub partition: usize,
    /// The bucket's number.
    pub bucket: usize,
    /// Its kind and its id.
    pub field: Vec<u8>,
}

impl Spot {
    fn of(kind: u8, id: [u8; 16]) -> Self {
        Self {
            partition: usize::from(id[15]) % keygate::keys::PARTITIONS,
            bucket: bucket_of(id),
            field: [&[kind][..], &id].concat(),
        }
    }

    /// A key's.
    pub fn of_key(key: &Key) -> Self {
        Self::of(b'k', KeyId::from_str(&key.id).unwrap().bytes())
    }

    /// An org's.
    pub fn of_org(id: &str) -> Self {
        Self::of(b'o', OrgId::from_str(id).unwrap().bytes())
    }

    /// A user's.
    pub fn of_user(id: &str) -> Self {
        Self::of(b'u', OrgId::from_str(id).unwrap().bytes())
    }

    /// The hash that it is in.
    pub fn hash(&self) -> String {
        self.name(&format!("r:{}", self.bucket))
    }

    /// Something else of its partition.
    pub fn name(&self, rest: &str) -> String {
        format!("{{keygate:{}}}:{rest}", self.partition)
    }
}

impl Intruder {
    /// At this server.
    pub fn at(server: &RedisServer) -> Self {
        Self(server.connection())
    }

    /// Any command, its parts as they are.
    pub fn run<T: redis::FromRedisValue>(&mut self, name: &str, parts: &[&[u8]]) -> T {
        let mut command = redis::cmd(name);
        for part in parts {
            command.arg(part);
        }
        command.query(&mut self.0).unwrap()
    }

    /// The sealed record there.
    pub fn read(&mut self, spot: &Spot) -> Vec<u8> {
        self.run("HGET", &[spot.hash().as_bytes(), &spot.field])
    }

    /// Puts bytes there, and makes every gateway look.
    pub fn put(&mut self, spot: &Spot, sealed: &[u8]) {
        self.run::<()>("HSET", &[spot.hash().as_bytes(), &spot.field, sealed]);
        self.beckon(spot);
    }

    /// A digest that no gateway can have makes all of them read the bucket.
    pub fn beckon(&mut self, spot: &Spot) {
        let wrong: [u8; 8] = std::array::from_fn(|_| fastrand::u8(..));
        let digest = spot.name("digest");
        let bucket = spot.bucket.to_string();
        self.run::<()>(
            "HSET",
            &[digest.as_bytes(), bucket.as_bytes(), &wrong, b"all", &wrong],
        );
    }

    /// Appends a change with these fields, the way the store would: the revision grows, and its end is moved. Returns the
    /// revision.
    pub fn append(&mut self, spot: &Spot, fields: impl Fn(u64) -> Vec<(Vec<u8>, Vec<u8>)>) -> u64 {
        let meta = spot.name("meta");
        let last: u64 = self.run("HGET", &[meta.as_bytes(), b"last"]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let revision = (last + 1).max(u64::try_from(now.as_micros()).unwrap());
        let mut command = redis::cmd("XADD");
        command
            .arg(spot.name("changes"))
            .arg(format!("{revision}-0"));
        for (name, value) in fields(last) {
            command.arg(name).arg(value);
        }
        command.query::<()>(&mut self.0).unwrap();
        self.run::<()>(
            "HSET",
            &[meta.as_bytes(), b"last", &revision.to_redis_args()[0]],
        );
        revision
    }

    /// Appends bytes as if they were a change.
    pub fn append_record(&mut self, spot: &Spot, sealed: &[u8]) -> u64 {
        self.append(spot, |last| {
            vec![
                (b"p".to_vec(), last.to_string().into_bytes()),
                (b"r".to_vec(), sealed.to_vec()),
            ]
        })
    }
}

/// What a sealed record says; for the tests, which have the root key.
pub fn opened(store: &FleetStore, sealed: &[u8]) -> Record {
    open(&store.reach().unwrap().sealer(), sealed).unwrap()
}

/// A record as the store itself would have sealed it.
pub fn sealed(store: &FleetStore, record: &Record) -> Vec<u8> {
    seal(&store.reach().unwrap().sealer(), record).unwrap()
}

/// A record as somebody with other keys would have sealed it.
pub fn forged(record: &Record) -> Vec<u8> {
    seal(&Keyring::generate().unwrap().sealer(), record).unwrap()
}

/// A record's new fields under the code of what it was before.
pub fn under_the_old_code(record: &Record, before: &[u8]) -> Vec<u8> {
    let code = before.len() - keygate::keys::keyring::CODE_BYTES;
    let mut bytes = forged(record);
    bytes.truncate(bytes.len() - keygate::keys::keyring::CODE_BYTES);
    bytes.extend(&before[code..]);
    bytes
}

/// Another bucket of the same partition than this one.
pub const fn another_bucket(bucket: usize) -> usize {
    (bucket + 1) % BUCKETS
}
