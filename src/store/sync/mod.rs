//! The one writer of the key table: what is heard of the store goes into it, in order, and so does the moment it was last in
//! step. For a file that is one task, for a fleet some threads. It never changes what the store says.

pub mod alarm;
mod chain;
mod contents;
mod feeds;
pub mod fleet;
pub mod follower;
mod following;
pub mod heard;
pub mod held;
pub mod join;
mod keeper;
pub mod loading;
mod probers;
mod repair;
pub mod replica;
mod single;
pub mod view;

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;

pub use self::feeds::Node;
use self::fleet::{Fleet, Settings};
use self::single::Single;
#[cfg(test)]
pub(super) use self::single::catch_up;
use self::view::FleetView;
use crate::drain::Signal;
use crate::keys::{KeyTable, PARTITIONS, Partition, Revision};
use crate::store::{FleetStore, Store, StoreError};

/// The running sync of one store and one table.
pub struct Sync(Home);

enum Home {
    Single(Single),
    Fleet(Fleet),
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

    /// Keeps a node's view in step with the store of its fleet, on threads that end when the end is ordered.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn follow(
        store: Arc<FleetStore>,
        view: FleetView,
        settings: Settings,
        ends: Signal,
    ) -> io::Result<Self> {
        Fleet::start(store, view, settings, ends).map(|fleet| Self(Home::Fleet(fleet)))
    }

    /// What the table has applied, to wait for.
    pub fn applied(&self) -> AppliedChanges {
        AppliedChanges(match &self.0 {
            Home::Single(single) => Applied::InAll(single.applied.clone()),
            Home::Fleet(fleet) => Applied::InEach(fleet.applied.clone()),
        })
    }

    /// Waits until it has ended.
    pub async fn ended(self) {
        match self.0 {
            Home::Single(single) => single.ended().await,
            // An error means that the thread is gone, which is its end as well.
            Home::Fleet(fleet) => drop(fleet.ended.await),
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
    InEach(watch::Receiver<[Revision; PARTITIONS]>),
}

impl AppliedChanges {
    /// Waits until the table has applied this change of this partition. Returns whether it has: not when the sync ended
    /// before.
    pub async fn wait_for(&mut self, partition: Partition, revision: Revision) -> bool {
        match &mut self.0 {
            Applied::InAll(applied) => {
                let applied = applied.wait_for(|applied| *applied >= revision).await;
                applied.is_ok()
            }
            Applied::InEach(applied) => {
                let is_applied = |all: &[Revision; PARTITIONS]| {
                    all.get(partition.index())
                        .is_some_and(|applied| *applied >= revision)
                };
                applied.wait_for(is_applied).await.is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests;
