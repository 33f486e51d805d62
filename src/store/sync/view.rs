//! A node's view before anything was heard of the store: loaded from its replica, or empty. And whether the store that is
//! configured can be followed at all.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::fleet::Speaker;
use super::held::Held;
use super::keeper::Written;
use super::loading::{Loaded, Refused};
use super::replica::Replica;
use crate::keys::secret::Fingerprinter;
use crate::keys::{KeyTable, PARTITIONS, Revision, Timestamp};
use crate::store::{FleetStore, StoreError};

/// How long the start waits for the store when there is a replica to serve from, and when there is none.
const WAIT_WITH_REPLICA: Duration = Duration::from_millis(300);
const WAIT_WITHOUT: Duration = Duration::from_secs(3);

/// The view.
pub struct FleetView {
    /// What is served from.
    pub table: Arc<KeyTable>,
    /// The fingerprint function, if the replica or the store told it.
    pub fingerprinter: Option<Fingerprinter>,
    pub(super) replica: Option<(Replica, Written)>,
    pub(super) held: Held,
    pub(super) positions: [Revision; PARTITIONS],
}

impl FleetView {
    /// Loads the replica, and gives the store a moment to say that it is not ours. It blocks.
    ///
    /// # Errors
    /// When the replica is in use by another process, and when the store is another one than the replica's, of another
    /// layout, or of another root key. A store that is away is no error.
    pub fn load(store: &Arc<FleetStore>, replica: &Path) -> Result<Self, StoreError> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let wall = Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
        let now = Instant::now();
        let mut view = match Replica::load(replica, store.root_key(), None, (now, wall)) {
            Ok(loaded) => Self::of(loaded, store),
            Err(Refused::Missing) => Self::empty(),
            Err(Refused::InUse) => {
                return Err(StoreError::Locked {
                    path: replica.to_owned(),
                });
            }
            Err(refused) => {
                Speaker::default().say(
                    "replica",
                    &format!(
                        "the replica {} is not used: {refused}; it is kept beside as .refused",
                        replica.display()
                    ),
                );
                Replica::move_aside(replica);
                Self::empty()
            }
        };
        view.ask_the_store(store)?;
        Ok(view)
    }

    fn empty() -> Self {
        Self {
            table: Arc::new(KeyTable::new(Instant::now())),
            fingerprinter: None,
            replica: None,
            held: Held::new(),
            positions: [Revision(0); PARTITIONS],
        }
    }

    fn of(loaded: Loaded, store: &FleetStore) -> Self {
        store.expect(
            loaded.identity,
            loaded.keyring.clone(),
            loaded.rings.clone(),
        );
        if let Some(age) = loaded.age {
            loaded.table.mark_in_step(Instant::now(), age);
        }
        Self {
            table: Arc::new(loaded.table),
            fingerprinter: Some(loaded.keyring.fingerprinter()),
            replica: Some((loaded.replica, (loaded.positions, loaded.as_of))),
            held: loaded.held,
            positions: loaded.positions,
        }
    }

    fn ask_the_store(&mut self, store: &Arc<FleetStore>) -> Result<(), StoreError> {
        let (answer, heard) = channel();
        let asked = Arc::clone(store);
        let asking = thread::Builder::new().spawn(move || {
            // Nobody may be waiting for it any more.
            let _ = answer.send(asked.reach().map(|store| store.fingerprinter()));
        });
        if asking.is_err() {
            return Ok(());
        }
        let wait = match self.replica {
            Some(_) => WAIT_WITH_REPLICA,
            None => WAIT_WITHOUT,
        };
        match heard.recv_timeout(wait) {
            Ok(Ok(fingerprinter)) => self.fingerprinter = Some(fingerprinter),
            Ok(Err(
                error @ (StoreError::OtherIdentity { .. }
                | StoreError::OtherLayout { .. }
                | StoreError::OtherRootKey { .. }),
            )) => return Err(error),
            // With a replica it is our store that somebody has damaged, and known keys go on.
            Ok(Err(error @ StoreError::NotOurs { .. })) if self.replica.is_none() => {
                return Err(error);
            }
            // The threads say what is wrong as long as it is.
            Ok(Err(_)) | Err(_) => {}
        }
        Ok(())
    }
}
