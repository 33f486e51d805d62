//! How much arrived, by family. No request's content and no key is kept here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// What kind of traffic a path carries.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Family { $($(#[$doc])* $name,)* }

        impl Family {
            /// Every family, in the order of the enum.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name shown to people and used in JSON.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

families! {
    /// Series, sketches, distribution points.
    Metrics = "metrics",
    /// Service checks.
    Checks = "checks",
    /// Events, old and new.
    Events = "events",
    /// Host and inventory metadata.
    Metadata = "metadata",
    /// Processes, containers, connections.
    Process = "process",
    /// Kubernetes resources.
    Orchestrator = "orchestrator",
    /// Logs sent with an API key.
    Logs = "logs",
    /// Event-platform tracks of the Agent.
    Tracks = "tracks",
    /// Traces and their statistics.
    Traces = "traces",
    /// Profiles.
    Profiles = "profiles",
    /// The senders' own telemetry, and debugger snapshots.
    Telemetry = "telemetry",
    /// CI, test, deployment and lineage data.
    Delivery = "delivery",
    /// Support archives.
    Flare = "flare",
    /// Remote configuration.
    Config = "config",
    /// OpenTelemetry.
    Otlp = "otlp",
    /// What browsers and phones send with a client token.
    Browser = "browser",
    /// Questions about a key's validity.
    Validate = "validate",
    /// Management of keys and service accounts.
    Keys = "keys",
    /// Every other call of the API.
    Api = "api",
    /// Nothing we know.
    Unknown = "unknown",
}

/// What arrived in one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FamilyCount {
    /// Requests whose head was read.
    pub requests: u64,
    /// Body bytes as they came, before any decompression.
    pub body_bytes: u64,
}

/// What has arrived so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    families: Vec<(Family, FamilyCount)>,
    /// Requests whose body never ended: the sender left, stalled or broke the framing.
    pub broken: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections accepted since the start.
    pub connections: u64,
}

impl Counts {
    /// The count of one family.
    #[must_use]
    pub fn of(&self, family: Family) -> FamilyCount {
        self.families
            .iter()
            .find(|(each, _)| *each == family)
            .map_or_else(FamilyCount::default, |(_, count)| *count)
    }

    /// The families that something arrived in.
    pub fn seen(&self) -> impl Iterator<Item = (Family, FamilyCount)> + '_ {
        self.families
            .iter()
            .copied()
            .filter(|(_, count)| count.requests > 0)
    }

    /// All families together.
    #[must_use]
    pub fn total(&self) -> FamilyCount {
        self.families
            .iter()
            .fold(FamilyCount::default(), |sum, (_, count)| FamilyCount {
                requests: sum.requests.saturating_add(count.requests),
                body_bytes: sum.body_bytes.saturating_add(count.body_bytes),
            })
    }
}

#[derive(Debug, Default)]
struct Counter {
    requests: AtomicU64,
    body_bytes: AtomicU64,
}

/// The live counters, written by every connection.
#[derive(Debug)]
pub(super) struct Counters {
    families: Vec<Counter>,
    broken: AtomicU64,
    connections_open: AtomicU64,
    connections: AtomicU64,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            families: Family::ALL.iter().map(|_| Counter::default()).collect(),
            broken: AtomicU64::new(0),
            connections_open: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        }
    }

    /// Counts one request once its body has ended, well or not.
    pub(super) fn add(&self, family: Family, body_bytes: u64, is_whole: bool) {
        if let Some(counter) = self.families.get(family as usize) {
            counter.requests.fetch_add(1, Relaxed);
            counter.body_bytes.fetch_add(body_bytes, Relaxed);
        }
        if !is_whole {
            self.broken.fetch_add(1, Relaxed);
        }
    }

    /// Counts a connection as open until the guard is dropped; the guard knows the connection's number, from 1.
    pub(super) fn connected(&self) -> Connected<'_> {
        self.connections_open.fetch_add(1, Relaxed);
        Connected {
            counters: self,
            number: self.connections.fetch_add(1, Relaxed).wrapping_add(1),
        }
    }

    pub(super) fn read(&self) -> Counts {
        let families = Family::ALL.iter().zip(&self.families);
        Counts {
            families: families
                .map(|(family, counter)| {
                    let (requests, body_bytes) = (
                        counter.requests.load(Relaxed),
                        counter.body_bytes.load(Relaxed),
                    );
                    (
                        *family,
                        FamilyCount {
                            requests,
                            body_bytes,
                        },
                    )
                })
                .collect(),
            broken: self.broken.load(Relaxed),
            connections_open: self.connections_open.load(Relaxed),
            connections: self.connections.load(Relaxed),
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Connected<'a> {
    counters: &'a Counters,
    pub number: u64,
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.counters.connections_open.fetch_sub(1, Relaxed);
    }
}
