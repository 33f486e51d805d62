//! The connections that the operations share: a few to each master, lent for one exchange at a time. It remembers who the
//! masters are, and asks again when one of them turns out to be none.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::connect::{Connector, Link};
use super::layout::Layout;
use super::masters::{Masters, find};
use crate::config::{Redis, RedisUrl};
use crate::keys::Partition;
use crate::store::StoreError;

/// How many connections are lent at a time, and how many are kept idle. Feeds and probers have their own.
const CONNECTIONS_MAX: usize = 8;

struct State {
    masters: Option<Arc<Masters>>,
    idle: HashMap<RedisUrl, Vec<Link>>,
    lent: usize,
}

/// The servers that a configuration names, and the connections to them.
pub(super) struct Servers {
    connector: Connector,
    layout: Layout,
    state: Mutex<State>,
    returned: Condvar,
}

impl Servers {
    pub(super) fn new(config: &Redis) -> Result<Self, StoreError> {
        Ok(Self {
            connector: Connector::new(config)?,
            layout: Layout::new(&config.prefix),
            state: Mutex::new(State {
                masters: None,
                idle: HashMap::new(),
                lent: 0,
            }),
            returned: Condvar::new(),
        })
    }

    pub(super) const fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The master of the partition, as last heard or asked now.
    pub(super) fn master(&self, partition: Partition) -> Result<RedisUrl, StoreError> {
        let known = self.state().masters.clone();
        let masters = match known {
            Some(masters) => masters,
            None => {
                let found = Arc::new(find(&self.connector, &self.layout)?);
                self.state().masters = Some(Arc::clone(&found));
                found
            }
        };
        masters.of(partition).cloned().ok_or_else(|| {
            self.forget();
            StoreError::NotNow {
                server: self.connector.named(),
                why: format!("no server of the cluster has partition {partition}"),
            }
        })
    }

    /// Whether the server is the partition's master, asked now.
    pub(super) fn is_master(
        &self,
        partition: Partition,
        server: &RedisUrl,
    ) -> Result<bool, StoreError> {
        let is = find(&self.connector, &self.layout)?.of(partition) == Some(server);
        if !is {
            self.forget();
        }
        Ok(is)
    }

    /// A connection to the partition's master that is not shared.
    pub(super) fn open_master(&self, partition: Partition) -> Result<Link, StoreError> {
        let server = self.master(partition)?;
        self.connector.open(&server).inspect_err(|_| self.forget())
    }

    /// Asks anew at the next use, on new connections.
    pub(super) fn forget(&self) {
        let mut state = self.state();
        state.masters = None;
        state.idle.clear();
    }

    /// Does something on a connection to the partition's master, once: whether an error means that nothing was done is
    /// for the caller to know.
    pub(super) fn once<T>(
        &self,
        partition: Partition,
        act: impl FnOnce(&mut Link) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.attempt(partition, act).map_err(|(error, _)| error)
    }

    /// Does something that may be done twice. A connection that its server has closed meanwhile, and a master that is one
    /// no longer, are found out by using them; then it is done once more, on a new connection to whoever is it now.
    pub(super) fn on<T>(
        &self,
        partition: Partition,
        mut act: impl FnMut(&mut Link) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.attempt(partition, &mut act) {
            Err((_, true)) => self.once(partition, act),
            outcome => outcome.map_err(|(error, _)| error),
        }
    }

    /// With an error comes whether it may be because of what was remembered.
    fn attempt<T>(
        &self,
        partition: Partition,
        act: impl FnOnce(&mut Link) -> Result<T, StoreError>,
    ) -> Result<T, (StoreError, bool)> {
        let remembered = self.state().masters.is_some();
        let server = self.master(partition).map_err(|error| (error, false))?;
        let lent = self.lend(&server).and_then(|idle| match idle {
            Some(link) => Ok(link),
            None => self.connector.open(&server).inspect_err(|_| {
                self.back(None);
                self.forget();
            }),
        });
        let mut link = lent.map_err(|error| (error, remembered))?;
        match act(&mut link) {
            Err(error) if is_of_the_way(&error) => {
                self.back(None);
                self.forget();
                Err((error, remembered))
            }
            outcome => {
                self.back(Some(link));
                outcome.map_err(|error| (error, false))
            }
        }
    }

    /// A turn, with an idle connection if there is one.
    fn lend(&self, server: &RedisUrl) -> Result<Option<Link>, StoreError> {
        let until = Instant::now() + self.connector.config().response_timeout;
        let mut state = self.state();
        while state.lent >= CONNECTIONS_MAX {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::NotNow {
                    server: server.to_string(),
                    why: format!("all {CONNECTIONS_MAX} connections are in use"),
                });
            }
            let waited = self.returned.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.lent += 1;
        Ok(state.idle.get_mut(server).and_then(Vec::pop))
    }

    /// The end of a turn, with the connection if it can be used again.
    fn back(&self, link: Option<Link>) {
        let mut state = self.state();
        state.lent = state.lent.saturating_sub(1);
        let idle: usize = state.idle.values().map(Vec::len).sum();
        if let Some(link) = link.filter(|_| idle < CONNECTIONS_MAX) {
            let server = link.server().clone();
            state.idle.entry(server).or_default().push(link);
        }
        drop(state);
        self.returned.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the error is of the server or of the way to it, and not of what was asked.
const fn is_of_the_way(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Unreachable { .. } | StoreError::Denied { .. } | StoreError::NotNow { .. }
    )
}
