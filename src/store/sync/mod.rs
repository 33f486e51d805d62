//! The one writer of the key table: what is heard of the store goes into it, in order, and so does the moment it was last in
//! step. For a file that is one task. It never changes what the store says.

pub mod alarm;
mod chain;
mod contents;
pub mod follower;
mod following;
pub mod heard;
pub mod held;
pub mod join;
pub mod loading;
mod repair;
pub mod replica;
mod single;

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use self::single::Single;
#[cfg(test)]
pub(super) use self::single::catch_up;
use crate::keys::{KeyTable, Partition, Revision};
use crate::store::{Store, StoreError};

/// The running sync of one store and one table.
pub struct Sync(Home);

enum Home {
    Single(Single),
}

impl Sync {
    /// Loads the table from the embedded store before it returns, then keeps it in step on a task that ends with
    /// `shutdown`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn start(
        store: Arc<Store>,
        table: Arc<KeyTable>,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StoreError> {
        Single::start(store, table, shutdown).map(|single| Self(Home::Single(single)))
    }

    /// What the table has applied, to wait for.
    pub fn applied(&self) -> AppliedChanges {
        AppliedChanges(match &self.0 {
            Home::Single(single) => Applied::InAll(single.applied.clone()),
        })
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        match self.0 {
            Home::Single(single) => single.ended().await,
        }
    }
}

/// What the table has applied. Cheap to clone.
#[derive(Clone)]
pub struct AppliedChanges(Applied);

#[derive(Clone)]
enum Applied {
    /// The embedded store has one revision for all partitions.
    InAll(watch::Receiver<Revision>),
}

impl AppliedChanges {
    /// Waits until the table has applied this change of this partition. Returns whether it has: not when the sync ended
    /// before.
    pub async fn wait_for(&mut self, _partition: Partition, revision: Revision) -> bool {
        match &mut self.0 {
            Applied::InAll(applied) => {
                let applied = applied.wait_for(|applied| *applied >= revision).await;
                applied.is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests;
