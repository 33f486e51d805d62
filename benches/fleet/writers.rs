//! Changes at a steady rate by the library's own operations: keys made and, later, revoked. When each was asked for is kept,
//! so that others can say how long it took to reach them.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use keygate::keys::audit::By;
use keygate::keys::{KeyId, Labels, OrgId, Partition, Revision};
use keygate::store::redis::RedisStore;
use keygate::store::{NewKey, NewKeyOf, StoreError};

use crate::Failure;

/// Writers at a time. One alone is held up by its own round trips when the server is busy.
const WRITERS: usize = 8;
/// Each has orgs of its own, one in turn: an org has only so many keys.
const ORGS_EACH: usize = 8;
/// A key lives for so many changes of its writer.
const KEPT: usize = 2;

/// A change that was made.
#[derive(Clone, Copy)]
pub struct Change {
    /// See [`place`].
    pub place: u64,
    /// When it was asked for, in nanoseconds from the start.
    pub sent: u64,
    /// When the store had answered.
    pub answered: u64,
}

/// What all writers did.
#[derive(Default)]
pub struct Written {
    /// Every change, in no order.
    pub changes: Vec<Change>,
    /// Changes that were refused or failed, and the first reason.
    pub failed: usize,
    /// The first reason.
    pub why: Option<String>,
    /// How long it took.
    pub lasted: Duration,
}

/// A change's partition and revision in one number.
pub const fn place(partition: Partition, revision: Revision) -> u64 {
    revision.0 << 4 | partition.index() as u64
}

/// The orgs that the writers use; the store was filled with them.
pub fn orgs(store: &RedisStore) -> Result<Vec<OrgId>, Failure> {
    (0..WRITERS * ORGS_EACH)
        .map(|number| {
            let name = format!("bench-{number}");
            let org = store.org_named(&name)?;
            Ok(org
                .ok_or_else(|| format!("there is no org {name}: fill the store first"))?
                .id)
        })
        .collect()
}

/// Writes so many changes a second for so long. A writer that comes late leaves out none, but gives up after twice the time.
pub fn write(
    store: &RedisStore,
    orgs: &[OrgId],
    rate: u32,
    lasting: Duration,
    begun: Instant,
) -> Written {
    let written = Mutex::new(Written::default());
    let every = Duration::from_secs(1) * u32::try_from(WRITERS).unwrap_or(1) / rate.max(1);
    let start = Instant::now();
    thread::scope(|scope| {
        for (number, orgs) in orgs.chunks(ORGS_EACH).enumerate() {
            let written = &written;
            let offset = every.mul_f64(
                f64::from(u32::try_from(number).unwrap_or(0))
                    / f64::from(u32::try_from(WRITERS).unwrap_or(1)),
            );
            scope.spawn(move || {
                let mut own = Written::default();
                let mut due = start + offset;
                let mut kept: VecDeque<KeyId> = VecDeque::new();
                let mut turns = orgs.iter().cycle();
                let mut number = 0_u64;
                while due < start + lasting && start.elapsed() < lasting * 2 {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let sent = begun.elapsed();
                    let revoked = if kept.len() >= KEPT {
                        kept.pop_front()
                    } else {
                        None
                    };
                    let outcome = match (revoked, turns.next()) {
                        (Some(id), _) => {
                            store.revoke_key(id, &By::operator()).map(|done| done.value)
                        }
                        (None, Some(org)) => {
                            number += 1;
                            create(store, *org, number)
                        }
                        (None, None) => return,
                    };
                    match outcome {
                        Ok(key) => {
                            if key.revoked.is_none() {
                                kept.push_back(key.id);
                            }
                            own.changes.push(Change {
                                place: place(key.id.partition(), key.revision),
                                sent: nanoseconds(sent),
                                answered: nanoseconds(begun.elapsed()),
                            });
                        }
                        Err(error) => {
                            own.failed += 1;
                            own.why.get_or_insert_with(|| error.to_string());
                        }
                    }
                    due += every;
                }
                own.lasted = start.elapsed();
                // What is left is revoked for the next run's sake: an org has only so many keys. It is not counted.
                for id in kept {
                    if let Err(error) = store.revoke_key(id, &By::operator()) {
                        own.failed += 1;
                        own.why.get_or_insert_with(|| error.to_string());
                    }
                }
                let mut all = written
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                all.changes.extend(own.changes);
                all.failed += own.failed;
                all.lasted = all.lasted.max(own.lasted);
                all.why = all.why.take().or(own.why);
            });
        }
    });
    written
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn create(store: &RedisStore, org: OrgId, number: u64) -> Result<keygate::keys::Key, StoreError> {
    let name = format!("made-{number}-{:08x}", fastrand::u32(..)).parse()?;
    let issued = store
        .create_key(
            NewKey {
                of: NewKeyOf::ApiKey {
                    org,
                    allowed_addresses: Vec::new(),
                },
                name,
                secret: None,
                expires_at: None,
                imported: false,
                labels: Labels::default(),
            },
            &By::operator(),
        )?
        .value;
    Ok(issued.key)
}

/// As a number.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
