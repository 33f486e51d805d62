//! The sync of one machine: the file's snapshot first, then every change in order, on one task.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::MissedTickBehavior;

use crate::keys::{KeyTable, Revision};
use crate::store::{Changes, EmbeddedStore, Store, StoreError};

/// How often the table is compared with the store when nothing changes, so that its age stays small.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How many changes are read at a time.
const CHANGES_AT_ONCE: usize = 1_000;

/// The running sync of the embedded store and one table.
pub(super) struct Single {
    pub(super) applied: watch::Receiver<Revision>,
    task: JoinHandle<()>,
}

impl Single {
    /// Loads the table before it returns, then keeps it in step on a task that ends with `shutdown`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn start(
        store: Arc<Store>,
        table: Arc<KeyTable>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StoreError> {
        let Store::Embedded(embedded) = &*store else {
            return Err(StoreError::NotNow {
                server: "Redis".to_owned(),
                why: "a fleet's store is followed by threads of its own".to_owned(),
            });
        };
        // Subscribed before the snapshot: a change between the two wakes the task.
        let mut revisions = embedded.revisions();
        let position = load(embedded, &table)?;
        let (sender, applied) = watch::channel(position);
        let task = tokio::spawn(async move {
            let mut heartbeat = tokio::time::interval(HEARTBEAT);
            heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut shutdown = std::pin::pin!(shutdown);
            loop {
                tokio::select! {
                    () = &mut shutdown => return,
                    changed = revisions.changed() => if changed.is_err() { return },
                    _ = heartbeat.tick() => {}
                }
                let position = *sender.borrow();
                let (store, table) = (Arc::clone(&store), Arc::clone(&table));
                let outcome = spawn_blocking(move || match &*store {
                    Store::Embedded(embedded) => catch_up(embedded, &table, position),
                    Store::Redis(_) => Ok(position),
                })
                .await;
                // A store that cannot be read leaves the table's age growing, which is what the view's age metric, the
                // readiness check and the decisions look at; the next heartbeat tries again.
                if let Ok(Ok(position)) = outcome {
                    sender.send_if_modified(|applied| {
                        let newer = *applied < position;
                        *applied = position;
                        newer
                    });
                }
            }
        });
        Ok(Self { applied, task })
    }

    /// Waits until the task has ended.
    pub(super) async fn ended(self) {
        // The only errors are a panic, which was reported where it happened, and a runtime going away.
        let _ = self.task.await;
    }
}

/// Applies everything, and returns the position it leads to.
fn load(store: &EmbeddedStore, table: &KeyTable) -> Result<Revision, StoreError> {
    let began = Instant::now();
    let mut snapshot = store.snapshot()?;
    table.reserve(snapshot.records.len());
    table.apply_all(&mut snapshot.records, |_| {});
    table.mark_in_step(began, Duration::ZERO);
    Ok(snapshot.revision)
}

/// Applies what changed since `position`, and returns the position it leads to.
pub(in crate::store) fn catch_up(
    store: &EmbeddedStore,
    table: &KeyTable,
    mut position: Revision,
) -> Result<Revision, StoreError> {
    loop {
        // The table is in step with the store as it was when the reading began, not when it ended.
        let began = Instant::now();
        match store.changes_since(position, CHANGES_AT_ONCE)? {
            Changes::Trimmed => return load(store, table),
            Changes::Next(records) if records.is_empty() => {
                table.mark_in_step(began, Duration::ZERO);
                return Ok(position);
            }
            Changes::Next(records) => {
                for record in records {
                    position = position.max(record.revision());
                    table.apply(record);
                }
            }
        }
    }
}
