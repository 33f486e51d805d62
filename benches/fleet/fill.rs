//! Makes the store if there is none, and fills it with orgs, users and keys at once: the records are made and sealed here, and put back as `keygate store
//! restore` puts back those of a replica. No rule is asked, so they are made as the rules would have them.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use keygate::keys::secret::Fingerprinter;
use keygate::keys::{
    Actor, Deed, Key, KeyId, KeyKind, Labels, Org, OrgId, Partition, Record, Revision, Role,
    Secret, Slot, Timestamp, User, UserId, UserKind,
};
use keygate::store::redis::{Purpose, RedisStore};
use serde_json::json;

use crate::{Failure, store, tell};

/// What each org has besides its one user.
const KEYS: [(KeyKind, &str); 5] = [
    (KeyKind::ApiKey, "ingest"),
    (KeyKind::ApiKey, "ingest of the other site"),
    (KeyKind::ApplicationKey, "terraform"),
    (KeyKind::ApplicationKey, "dashboards"),
    (KeyKind::ClientToken, "web shop"),
];
/// Records put back at a time.
const BATCH: usize = 1_000;
/// Batches put back at a time: each waits for its own round trips.
const WRITERS: usize = 4;

/// How much, and what to tell of it.
#[derive(Args)]
pub struct Options {
    /// A node's configuration
    #[arg(short, long)]
    config: PathBuf,
    /// How many keys; rounded up to whole orgs of five
    #[arg(long)]
    keys: usize,
    /// Where to write ids and secrets of API keys, one on a line
    #[arg(long)]
    secrets: PathBuf,
    /// How many of them, each of another org
    #[arg(long, default_value_t = 10_000)]
    give: usize,
}

/// Makes records, with revisions as a store would have given them until now.
struct Maker {
    fingerprinter: Fingerprinter,
    now: Timestamp,
    /// The last revision of each partition. Real ones are microseconds of the clock, and as long.
    revisions: HashMap<Partition, u64>,
    first: u64,
}

impl Maker {
    fn next(&mut self, partition: Partition) -> Revision {
        let last = self.revisions.entry(partition).or_insert(self.first);
        *last += 1;
        Revision(*last)
    }

    /// One org with all it has, and the id and secret of its first API key.
    fn org(&mut self, number: usize) -> Result<(Vec<Record>, String), Failure> {
        let name = format!("bench-{number}");
        let slot = Slot::of_org_name(&name);
        let partition = slot.partition();
        let org = Org {
            id: OrgId::generate_in(slot),
            name: name.as_str().into(),
            disabled: false,
            created_at: self.now,
            revision: self.next(partition),
        };
        let handle = format!("somebody@{name}.example.com");
        let user = User {
            id: UserId::generate_in(slot),
            org: org.id,
            kind: UserKind::Person,
            handle: handle.as_str().into(),
            name: handle.as_str().into(),
            email: handle.as_str().into(),
            title: None,
            role: Role::Admin,
            disabled: false,
            application_keys_revoked_through: Revision(0),
            application_keys_revoked_at: None,
            password_set_at: None,
            created_at: self.now,
            modified_at: self.now,
            revision: self.next(partition),
        };
        let mut given = String::new();
        let mut records = Vec::with_capacity(KEYS.len() + 2);
        for (kind, name) in KEYS {
            let secret = Secret::generate(kind)?;
            let revision = self.next(partition);
            let key = Key {
                id: KeyId::generate_in(slot),
                kind,
                org: org.id,
                owner: (kind == KeyKind::ApplicationKey).then_some(user.id),
                name: name.into(),
                fingerprint: self.fingerprinter.fingerprint(secret.expose().as_bytes()),
                last4: secret.last4().into(),
                created_at: self.now,
                created_by: Actor::User(user.id),
                issued: revision,
                revision,
                revoked: None,
                shadowed: None,
                modified: Deed {
                    at: self.now,
                    by: Actor::User(user.id),
                },
                replaced_by: None,
                labels: Labels::default(),
                expires_at: None,
                scopes: None,
                allowed_addresses: Vec::new(),
                allowed_origins: Vec::new(),
            };
            if given.is_empty() {
                given = format!("{} {}", key.id, secret.expose());
            }
            records.push(Record::Key(key));
        }
        records.push(Record::User(user));
        records.push(Record::Org(org));
        // An org before what is in it.
        records.reverse();
        Ok((records, given))
    }
}

/// Puts back what comes, until nothing comes.
fn put_back(store: &RedisStore, batches: &Mutex<Receiver<Vec<Record>>>) -> Result<(), Failure> {
    loop {
        let next = batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match next {
            Ok(batch) => store.write_back(&batch)?,
            Err(_) => return Ok(()),
        };
    }
}

/// Fills the store.
pub fn run(options: &Options) -> Result<(), Failure> {
    let store = store(&options.config, Purpose::Make)?;
    let orgs = options.keys.div_ceil(KEYS.len());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    // Long enough ago that no record is from the future.
    let first = now.saturating_sub(Duration::from_hours(1));
    let mut maker = Maker {
        fingerprinter: store.fingerprinter(),
        now: Timestamp(i64::try_from(now.as_millis())?),
        revisions: HashMap::new(),
        first: u64::try_from(first.as_micros())?,
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&options.secrets)?;
    let mut secrets = BufWriter::new(file);
    let begun = Instant::now();
    let mut batches: HashMap<Partition, Vec<Record>> = HashMap::new();
    let mut records = 0_usize;
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel::<Vec<Record>>(WRITERS);
        let receiver = Arc::new(Mutex::new(receiver));
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let (store, receiver) = (&store, Arc::clone(&receiver));
                scope.spawn(move || put_back(store, &receiver))
            })
            .collect();
        // With the last of them, whoever makes records learns that nobody takes them.
        drop(receiver);
        let mut made_all = || -> Result<(), Failure> {
            for number in 0..orgs {
                let (made, given) = maker.org(number)?;
                if number < options.give {
                    writeln!(secrets, "{given}")?;
                }
                records += made.len();
                let Some(partition) = made.first().and_then(Record::partition) else {
                    continue;
                };
                let batch = batches.entry(partition).or_default();
                batch.extend(made);
                if batch.len() >= BATCH {
                    sender
                        .send(std::mem::take(batch))
                        .map_err(|_| "the store takes no more")?;
                }
            }
            for batch in batches.values_mut() {
                sender
                    .send(std::mem::take(batch))
                    .map_err(|_| "the store takes no more")?;
            }
            secrets.flush()?;
            Ok(())
        };
        let made = made_all();
        drop(sender);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        made
    })?;
    store.finish_writing_back()?;
    tell(
        &json!({"keys": orgs * KEYS.len(), "orgs": orgs, "records": records, "seconds": begun.elapsed().as_secs_f64()}),
    )
}
