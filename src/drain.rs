//! The shutdown signal, and the guards that say when the last holder is done. It knows nothing of what is drained.

use tokio::sync::watch;

/// Held by whoever may order the end. Dropping it orders it too.
#[derive(Debug)]
pub struct Trigger(watch::Sender<bool>);

/// Cloned into everything that has to end. While one is alive, [`Trigger::drained`] waits.
#[derive(Clone, Debug)]
pub struct Signal(watch::Receiver<bool>);

/// A new pair.
pub fn new() -> (Trigger, Signal) {
    let (sender, receiver) = watch::channel(false);
    (Trigger(sender), Signal(receiver))
}

impl Trigger {
    /// Orders the end.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }

    /// Resolves when every [`Signal`] has been dropped.
    pub async fn drained(&self) {
        self.0.closed().await;
    }
}

impl Signal {
    /// Resolves when the end has been ordered.
    pub async fn ordered(&mut self) {
        // An error means that the trigger is gone, which orders the end as well.
        let _ = self.0.wait_for(|ordered| *ordered).await;
    }

    /// Whether there is news since the signal was made or last waited on: the end has been ordered, or the trigger is gone.
    /// A single load, for whoever asks all the time.
    pub fn has_news(&self) -> bool {
        self.0.has_changed().unwrap_or(true)
    }

    /// Whether the end has been ordered.
    pub fn is_ordered(&self) -> bool {
        *self.0.borrow()
    }
}
