//! A replica read at start: everything in it that is what was written, or nothing. It changes nothing in the file.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use redb::{
    DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTableMetadata,
    TableError,
};
use uuid::Uuid;

use super::alarm::{Place, Why};
use super::contents::Noted;
use super::held::Held;
use super::replica::{
    Field, LAYOUT, META, META_LAYOUT, META_STATE, NEWEST, REVOKING, Replica, STATE_PURPOSE, State,
    engine, field_of, rings_of,
};
use crate::keys::keyring::{Keyring, Sealer};
use crate::keys::secret::RootKey;
use crate::keys::{KeyTable, PARTITIONS, Partition, Record, RecordKind, Revision, Timestamp};
use crate::store::redis::rings::Rings;
use crate::store::rings::ring_of;
use crate::store::seal::{open, term};

/// A clock may be this far behind the one that wrote the file before nobody can say how old the file is.
const CLOCK_BEHIND_MAX_MS: i64 = 60_000;

/// Why a replica is not used.
#[derive(Debug)]
pub enum Refused {
    /// There is none.
    Missing,
    /// Another process has it open.
    InUse,
    /// It was written by a version with another layout.
    OtherLayout(Option<u32>),
    /// It is of a store with another root key.
    OtherRootKey,
    /// It is of another store.
    OtherIdentity(Uuid),
    /// A record in it is not what was written.
    Record(Place, Why),
    /// Something else in it is not.
    Damaged(&'static str),
    /// The database engine cannot read it.
    Engine(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is none"),
            Self::InUse => f.write_str("another process has it open"),
            Self::OtherLayout(Some(found)) => write!(
                f,
                "it has layout {found} and this version reads layout {LAYOUT}"
            ),
            Self::OtherLayout(None) => f.write_str("it does not say which layout it has"),
            Self::OtherRootKey => f.write_str("it was made under another root key"),
            Self::OtherIdentity(found) => write!(f, "it is of another store, {found}"),
            Self::Record(place, why) => write!(f, "{place} cannot be used: {why}"),
            Self::Damaged(what) => write!(f, "its {what} is not what was written"),
            Self::Engine(why) => write!(f, "it cannot be read: {why}"),
        }
    }
}

macro_rules! engine_errors {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Refused {
            fn from(error: redb::$error) -> Self {
                Self::Engine(error.to_string())
            }
        })*
    };
}

engine_errors!(TransactionError, TableError, StorageError);

/// A replica as it was loaded.
pub struct Loaded {
    /// To write on.
    pub replica: Replica,
    /// Everything in it.
    pub table: KeyTable,
    /// The same in numbers.
    pub held: Held,
    /// The store's own keys.
    pub keyring: Keyring,
    /// The same, wrapped under each root key that opens the store.
    pub rings: Rings,
    /// The store it is of.
    pub identity: Uuid,
    /// How far it goes.
    pub positions: [Revision; PARTITIONS],
    /// The moment with whose store it is in step, by the wall clock.
    pub as_of: Option<Timestamp>,
    /// How old it is; `None` when it never was in step, or the clock has been moved.
    pub age: Option<Duration>,
}

impl Replica {
    /// Reads everything into a table. `wanted` is the store that it must be of, when that is known.
    ///
    /// # Errors
    /// [`Refused`]; the file is left as it is.
    pub fn load(
        path: &Path,
        root_key: &RootKey,
        wanted: Option<Uuid>,
        clock: (Instant, Timestamp),
    ) -> Result<Loaded, Refused> {
        // The engine trusts its file further than we do.
        let loading = AssertUnwindSafe(|| load(path, root_key, wanted, clock));
        catch_unwind(loading)
            .unwrap_or_else(|_| Err(Refused::Engine("it makes no sense".to_owned())))
    }
}

fn load(
    path: &Path,
    root_key: &RootKey,
    wanted: Option<Uuid>,
    (now, wall): (Instant, Timestamp),
) -> Result<Loaded, Refused> {
    if matches!(fs::metadata(path), Err(error) if error.kind() == ErrorKind::NotFound) {
        return Err(Refused::Missing);
    }
    let database = engine().open(path).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => Refused::InUse,
        error => Refused::Engine(error.to_string()),
    })?;
    let reading = database.begin_read()?;
    let (keyring, rings, state) = read_meta(&reading, root_key)?;
    if wanted.is_some_and(|wanted| wanted != state.identity) {
        return Err(Refused::OtherIdentity(state.identity));
    }
    let sealer = keyring.sealer();
    let table = KeyTable::new(now);
    // Nearly all records are keys, and room that is made at once is not made again and again while it fills.
    let newest = reading.open_table(NEWEST)?.len()?;
    table.reserve(usize::try_from(newest).unwrap_or(0));
    let half = |part: Half| {
        let mut digests = [0; PARTITIONS];
        let mut held = Held::new();
        for (definition, is_newest) in [(REVOKING, false), (NEWEST, true)] {
            let records = reading.open_table(definition)?;
            let digests = is_newest.then_some(&mut digests);
            read_records(&records, &part, &sealer, &table, &mut held, digests)?;
        }
        Ok::<_, Refused>((held, digests))
    };
    let (first, second) = thread::scope(|scope| {
        let second = scope.spawn(|| half(Half::Second));
        let first = half(Half::First);
        let second = second.join();
        (first, second)
    });
    let (mut held, mut digests) = first?;
    let (second, others) =
        second.map_err(|_| Refused::Engine("a thread reading it panicked".to_owned()))??;
    held.join(second);
    for (digest, other) in digests.iter_mut().zip(others) {
        *digest ^= other;
    }
    if digests != state.digests {
        return Err(Refused::Damaged("list of records"));
    }
    let age = state.as_of.and_then(|as_of| {
        let age = wall.0.saturating_sub(as_of.0);
        (age >= -CLOCK_BEHIND_MAX_MS)
            .then(|| Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    });
    Ok(Loaded {
        replica: Replica::opened(path, database, sealer, state.identity, digests),
        table,
        held,
        keyring,
        rings,
        identity: state.identity,
        positions: state.positions,
        as_of: state.as_of,
        age,
    })
}

fn read_meta(
    reading: &ReadTransaction,
    root_key: &RootKey,
) -> Result<(Keyring, Rings, State), Refused> {
    let meta = match reading.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Err(Refused::OtherLayout(None)),
    };
    let layout = meta
        .get(META_LAYOUT)?
        .and_then(|value| value.value().try_into().ok())
        .map(u32::from_be_bytes);
    if layout != Some(LAYOUT) {
        return Err(Refused::OtherLayout(layout));
    }
    let wrapped = meta.get(ring_of(root_key).as_str())?;
    let wrapped = wrapped.ok_or(Refused::OtherRootKey)?;
    let keyring = Keyring::unwrap(root_key, wrapped.value()).map_err(|_| Refused::OtherRootKey)?;
    let sealed = meta.get(META_STATE)?.ok_or(Refused::Damaged("state"))?;
    let (state, code) = sealed
        .value()
        .split_last_chunk::<16>()
        .ok_or(Refused::Damaged("state"))?;
    let is_ours = keyring
        .sealer()
        .is_code(&[STATE_PURPOSE, state].concat(), code);
    let state = postcard::from_bytes(state).ok().filter(|_| is_ours);
    let state = state.ok_or(Refused::Damaged("state"))?;
    Ok((keyring, rings_of(&meta)?, state))
}

/// The two halves of the partitions, for two threads.
enum Half {
    First,
    Second,
}

/// The first field of the second half.
const MIDDLE: Field = {
    let mut field = [0; 19];
    field[0] = PARTITIONS as u8 / 2;
    field
};

/// Puts one half of a table's records into the key table. Two threads may: no record is in both halves.
fn read_records(
    records: &ReadOnlyTable<Field, &'static [u8]>,
    half: &Half,
    sealer: &Sealer,
    table: &KeyTable,
    held: &mut Held,
    mut digests: Option<&mut [u64; PARTITIONS]>,
) -> Result<(), Refused> {
    let range = match half {
        Half::First => records.range(..MIDDLE)?,
        Half::Second => records.range(MIDDLE..)?,
    };
    let mut batch = Batch::default();
    for entry in range {
        let (at, sealed) = entry?;
        let at = at.value();
        let [_, _, kind, id @ ..] = at;
        let refused = |why| Refused::Record(Place::Replica(RecordKind::of_byte(kind), id), why);
        let record = open(sealer, sealed.value()).map_err(|why| refused(Why::Unsealed(why)))?;
        let partition = record.partition().filter(|_| field_of(&record) == Some(at));
        let partition = partition.ok_or_else(|| refused(Why::Misplaced))?;
        let (kind, revision) = (record.kind(), record.revision());
        let term = term(kind, id, revision);
        if let Some(digests) = &mut digests
            && let Some(digest) = digests.get_mut(partition.index())
        {
            *digest ^= term;
        }
        batch.notes.push((
            partition,
            Noted {
                kind,
                id,
                revision,
                term,
            },
        ));
        batch.records.push(record);
        if batch.records.len() >= BATCH {
            batch.apply(table, held);
        }
    }
    batch.apply(table, held);
    Ok(())
}

/// So many records are put into the table at once: few enough to be in the processor's caches still, and enough that waiting for
/// each one's place in memory is done for many at a time.
const BATCH: usize = 256;

/// Records that are proven and not yet in the table.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    notes: Vec<(Partition, Noted)>,
}

impl Batch {
    fn apply(&mut self, table: &KeyTable, held: &mut Held) {
        let mut notes = self.notes.drain(..);
        table.apply_all(&mut self.records, |applied| {
            if let Some((partition, noted)) = notes.next() {
                held.noted(partition, &noted, applied);
            }
        });
    }
}
