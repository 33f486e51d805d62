//! What a worker is made of: the parts that all of them read, and its own, which nobody else touches. It does nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use super::record::decision_word;
use super::record_queue::Queue;
use super::route::{Family, Routes};
use super::upstream::{Pool, Upstreams};
use crate::config::{Config, Listen, WhenFull};
use crate::keys::policy::Staleness;
use crate::keys::secret::LateFingerprinter;
use crate::keys::usage::UsageCounts;
use crate::keys::{KeyTable, Reason};
use crate::telemetry::{Labels, WorkerCounters};

/// What every worker reads and none writes, but for the uses of keys that no record has room to tell of.
pub struct Shared {
    /// The routes.
    pub routes: Routes,
    /// The keys.
    pub table: Arc<KeyTable>,
    /// How often keys are used.
    pub usage: Arc<UsageCounts>,
    /// Secret to fingerprint.
    pub fingerprinter: Arc<LateFingerprinter>,
    /// How old the table may be.
    pub staleness: Staleness,
    /// Limits of the listener.
    pub listen: Listen,
    /// When the record's sink cannot keep up.
    pub when_full: RecordRules,
}

impl Shared {
    /// What a configuration says, over this table.
    pub fn new(
        config: &Config,
        table: Arc<KeyTable>,
        usage: Arc<UsageCounts>,
        fingerprinter: Arc<LateFingerprinter>,
    ) -> Self {
        Self {
            routes: Routes::new(&config.routes, config.control.is_on()),
            table,
            usage,
            fingerprinter,
            staleness: Staleness {
                fresh_within: config.view.fresh_within,
                serve_for_intake: config.view.serve_stale_for_intake,
                serve_for_api: config.view.serve_stale_for_api,
            },
            listen: config.listen.clone(),
            when_full: RecordRules {
                api: config.record.api_when_full,
                intake: config.record.intake_when_full,
                wait_max: config.record.wait_max,
            },
        }
    }
}

/// What happens to a request whose record finds its queue full.
#[derive(Clone, Copy, Debug)]
pub struct RecordRules {
    /// At the API.
    pub api: WhenFull,
    /// Everywhere else.
    pub intake: WhenFull,
    /// How long it waits.
    pub wait_max: Duration,
}

/// One core's part: nothing in it is touched by another worker, but for a scrape that reads the counters.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// The upstreams. A copy of its own: sending to one counts references to it, and a count that two workers write is a
    /// cache line that they pass to and fro.
    pub upstreams: Upstreams,
    /// Its upstream connections.
    pub pool: Rc<Pool>,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    /// Its end of the records' queue.
    pub records: Queue,
    /// Whether it is about to end with requests under way.
    pub ending: Cell<bool>,
}

/// The label sets of the request counters.
pub static LABELS: LazyLock<Labels> = LazyLock::new(|| {
    static FAMILIES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        Family::ALL
            .iter()
            .map(|family| family.as_str())
            .chain(["none"])
            .collect()
    });
    static VERDICTS: LazyLock<Vec<(&'static str, &'static str)>> = LazyLock::new(|| {
        let reasons = Reason::ALL
            .iter()
            .map(|reason| (decision_word(Some(reason.decision())), reason.as_str()));
        [("none", "none"), ("allowed", "none")]
            .into_iter()
            .chain(reasons)
            .collect()
    });
    Labels {
        families: &FAMILIES,
        verdicts: &VERDICTS,
    }
});
