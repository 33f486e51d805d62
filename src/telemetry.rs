//! Every metric as one documented item. Label values come from enums, never from a request; nothing here names a key,
//! a user or an address.
//!
//! What is counted on a request's path is counted per worker, in arrays that only that worker writes, and added up when
//! somebody scrapes. Everything else goes through the `metrics` facade.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::keys::KeyKind;

/// The label sets of a request's counters. The proxy hands over its enums' words once, at start.
#[derive(Clone, Copy, Debug)]
pub struct Labels {
    /// Route families, and one more word for requests without a route.
    pub families: &'static [&'static str],
    /// Decision and reason, in pairs.
    pub verdicts: &'static [(&'static str, &'static str)],
}

/// Method classes.
pub const METHODS: [&str; 4] = ["read", "post", "write", "other"];
/// Status classes; the last is for requests whose client left before an answer.
pub const STATUSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "none"];

/// Upper bounds of the duration histogram, in microseconds.
const BOUNDS_US: [u64; 12] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000, 10_000_000,
];

/// The counters of one worker.
pub struct WorkerCounters {
    labels: Labels,
    requests: Box<[AtomicU64]>,
    durations: Box<[AtomicU64]>,
    duration_sums_us: Box<[AtomicU64]>,
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections open now.
    pub connections_open: AtomicU64,
    /// Connections closed at once because there were too many.
    pub connections_refused: AtomicU64,
    /// Requests sent on a new connection to an upstream.
    pub upstream_opened: AtomicU64,
    /// Requests sent on a kept connection to an upstream.
    pub upstream_reused: AtomicU64,
    /// Requests sent once more, because nothing of them had reached the upstream.
    pub upstream_retries: AtomicU64,
    /// Records dropped because the sink could not keep up.
    pub records_dropped: AtomicU64,
    shadow_revoked: [AtomicU64; KeyKind::ALL.len()],
}

fn zeros(count: usize) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// Adds to a counter that only this thread writes: a scrape that reads it meanwhile needs no more than a whole number.
pub fn add(counter: &AtomicU64, amount: u64) {
    let count = counter.load(Ordering::Relaxed);
    counter.store(count.wrapping_add(amount), Ordering::Relaxed);
}

impl WorkerCounters {
    /// All zero.
    pub fn new(labels: Labels) -> Self {
        let families = labels.families.len();
        Self {
            labels,
            requests: zeros(families * METHODS.len() * STATUSES.len() * labels.verdicts.len()),
            durations: zeros(families * (BOUNDS_US.len() + 1)),
            duration_sums_us: zeros(families),
            connections: AtomicU64::new(0),
            connections_open: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            upstream_opened: AtomicU64::new(0),
            upstream_reused: AtomicU64::new(0),
            upstream_retries: AtomicU64::new(0),
            records_dropped: AtomicU64::new(0),
            shadow_revoked: Default::default(),
        }
    }

    /// Counts a request that passed with a shadow-revoked key of this kind.
    pub fn shadow_revoked(&self, kind: KeyKind) {
        if let Some(counter) = self.shadow_revoked.get(kind as usize) {
            add(counter, 1);
        }
    }

    /// Counts one finished request. Indexes are positions in the label lists; one that is out of range is not counted.
    pub fn request(
        &self,
        family: usize,
        method: usize,
        status: usize,
        verdict: usize,
        took: Duration,
    ) {
        if method >= METHODS.len()
            || status >= STATUSES.len()
            || verdict >= self.labels.verdicts.len()
        {
            return;
        }
        let index = ((family * METHODS.len() + method) * STATUSES.len() + status)
            * self.labels.verdicts.len()
            + verdict;
        if let Some(counter) = self.requests.get(index) {
            add(counter, 1);
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US
            .iter()
            .position(|bound| took_us <= *bound)
            .unwrap_or(BOUNDS_US.len());
        if let Some(counter) = self.durations.get(family * (BOUNDS_US.len() + 1) + bucket) {
            add(counter, 1);
        }
        if let Some(sum) = self.duration_sums_us.get(family) {
            add(sum, took_us);
        }
    }
}

/// The data plane's metrics in Prometheus' text form, added up over the workers.
pub fn render(workers: &[Arc<WorkerCounters>]) -> String {
    let mut text = String::with_capacity(8 * 1024);
    let Some(first) = workers.first() else {
        return text;
    };
    let labels = first.labels;
    let sum = |index: usize, of: fn(&WorkerCounters) -> &[AtomicU64]| -> u64 {
        workers
            .iter()
            .filter_map(|worker| of(worker).get(index))
            .map(|counter| counter.load(Ordering::Relaxed))
            .sum()
    };

    text.push_str("# HELP keygate_requests_total Requests, by route family, method class, status class, decision and reason.\n");
    text.push_str("# TYPE keygate_requests_total counter\n");
    let mut index = 0;
    for family in labels.families {
        for method in METHODS {
            for status in STATUSES {
                for (decision, reason) in labels.verdicts {
                    let count = sum(index, |worker| &worker.requests);
                    index += 1;
                    if count > 0 {
                        let _ = writeln!(
                            text,
                            "keygate_requests_total{{family=\"{family}\",method=\"{method}\",status=\"{status}\",decision=\"{decision}\",reason=\"{reason}\"}} {count}"
                        );
                    }
                }
            }
        }
    }

    text.push_str("# HELP keygate_request_duration_seconds From the request's head to the answer's last byte.\n");
    text.push_str("# TYPE keygate_request_duration_seconds histogram\n");
    for (at, family) in labels.families.iter().enumerate() {
        let start = at * (BOUNDS_US.len() + 1);
        let counts: Vec<u64> = (start..=start + BOUNDS_US.len())
            .map(|index| sum(index, |w| &w.durations))
            .collect();
        let total: u64 = counts.iter().sum();
        if total == 0 {
            continue;
        }
        let mut below = 0;
        for (bound, count) in BOUNDS_US.iter().zip(&counts) {
            below += count;
            let seconds = Duration::from_micros(*bound).as_secs_f64();
            let _ = writeln!(
                text,
                "keygate_request_duration_seconds_bucket{{family=\"{family}\",le=\"{seconds}\"}} {below}"
            );
        }
        let _ = writeln!(
            text,
            "keygate_request_duration_seconds_bucket{{family=\"{family}\",le=\"+Inf\"}} {total}"
        );
        let seconds =
            Duration::from_micros(sum(at, |worker| &worker.duration_sums_us)).as_secs_f64();
        let _ = writeln!(
            text,
            "keygate_request_duration_seconds_sum{{family=\"{family}\"}} {seconds}"
        );
        let _ = writeln!(
            text,
            "keygate_request_duration_seconds_count{{family=\"{family}\"}} {total}"
        );
    }

    text.push_str("# HELP keygate_shadow_revoked_requests_total Requests that passed with a shadow-revoked key, by its kind.\n");
    text.push_str("# TYPE keygate_shadow_revoked_requests_total counter\n");
    for kind in KeyKind::ALL {
        let count = sum(kind as usize, |worker| &worker.shadow_revoked);
        let kind = kind.as_str();
        let _ = writeln!(
            text,
            "keygate_shadow_revoked_requests_total{{kind=\"{kind}\"}} {count}"
        );
    }

    type Pick = fn(&WorkerCounters) -> &AtomicU64;
    let plain: [(&str, &str, &str, Pick); 7] = [
        (
            "keygate_connections_total",
            "counter",
            "Connections accepted.",
            |w| &w.connections,
        ),
        (
            "keygate_connections_open",
            "gauge",
            "Connections open now.",
            |w| &w.connections_open,
        ),
        (
            "keygate_connections_refused_total",
            "counter",
            "Connections closed at once because there were too many.",
            |w| &w.connections_refused,
        ),
        (
            "keygate_upstream_connections_opened_total",
            "counter",
            "Requests sent on a new upstream connection.",
            |w| &w.upstream_opened,
        ),
        (
            "keygate_upstream_connections_reused_total",
            "counter",
            "Requests sent on a kept upstream connection.",
            |w| &w.upstream_reused,
        ),
        (
            "keygate_upstream_retries_total",
            "counter",
            "Requests sent once more, none of which had been received.",
            |w| &w.upstream_retries,
        ),
        (
            "keygate_records_dropped_total",
            "counter",
            "Records dropped because the sink could not keep up.",
            |w| &w.records_dropped,
        ),
    ];
    for (name, kind, help, pick) in plain {
        let total: u64 = workers
            .iter()
            .map(|worker| pick(worker).load(Ordering::Relaxed))
            .sum();
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {total}"
        );
    }
    text
}

/// Why a record of the store was refused.
pub const REFUSALS: [&str; 4] = ["malformed", "unknown_format", "forged", "misplaced"];

/// The counters of one node's sync. Its threads write them, a scrape reads them.
pub struct SyncCounters {
    started: Instant,
    /// Feeds connected now.
    pub connected: AtomicU64,
    /// Feeds connected again after they were cut.
    pub reconnects: AtomicU64,
    /// Partitions read as a whole.
    pub snapshots: AtomicU64,
    /// Places where the stream of changes was not whole.
    pub gaps: AtomicU64,
    /// Records of ours found in an older version than the one held.
    pub stale: AtomicU64,
    /// Times that the store had lost changes.
    pub regressions: AtomicU64,
    /// Digests that were not the store's.
    pub digest_mismatches: AtomicU64,
    /// Buckets whose reading changed something.
    pub buckets_changed: AtomicU64,
    /// Failures to write the replica.
    pub replica_errors: AtomicU64,
    refused: [AtomicU64; REFUSALS.len()],
    missing: AtomicU64,
    restoring: AtomicU64,
    /// Milliseconds from `started` to the moment that the replica is in step with, and one; 0 is no replica.
    replica_as_of: AtomicU64,
    probes: AtomicU64,
    probes_us: AtomicU64,
}

impl SyncCounters {
    /// All zero. `now` is the zero of its ages.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            connected: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            gaps: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            regressions: AtomicU64::new(0),
            digest_mismatches: AtomicU64::new(0),
            buckets_changed: AtomicU64::new(0),
            replica_errors: AtomicU64::new(0),
            refused: Default::default(),
            missing: AtomicU64::new(0),
            restoring: AtomicU64::new(0),
            replica_as_of: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            probes_us: AtomicU64::new(0),
        }
    }

    /// Counts a refused record; `why` is a position in [`REFUSALS`].
    pub fn refused(&self, why: usize) {
        if let Some(counter) = self.refused.get(why) {
            add(counter, 1);
        }
    }

    /// How many records were refused.
    pub fn refused_in_all(&self) -> u64 {
        let counts = self.refused.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How many records held here are not in the store.
    pub fn set_missing(&self, records: u64) {
        self.missing.store(records, Ordering::Relaxed);
    }

    /// Whether the store says that it is being put back together.
    pub fn set_restoring(&self, is_restoring: bool) {
        self.restoring
            .store(u64::from(is_restoring), Ordering::Relaxed);
    }

    /// The replica holds what the table held when it was in step at `moment`.
    pub fn set_replica_as_of(&self, moment: Instant) {
        let since = moment.saturating_duration_since(self.started).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX).saturating_add(1);
        self.replica_as_of.store(since, Ordering::Relaxed);
    }

    /// Counts one question of where the store stands, and how long its answer took.
    pub fn probe(&self, took: Duration) {
        add(&self.probes, 1);
        add(
            &self.probes_us,
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        );
    }

    /// In Prometheus' text form.
    pub fn render(&self, now: Instant) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let plain = [
            (
                "sync_connected",
                "gauge",
                "Feeds of the store connected now.",
                &self.connected,
            ),
            (
                "sync_reconnects_total",
                "counter",
                "Feeds of the store connected again after a cut.",
                &self.reconnects,
            ),
            (
                "sync_snapshots_total",
                "counter",
                "Partitions of the store read as a whole.",
                &self.snapshots,
            ),
            (
                "sync_gaps_total",
                "counter",
                "Places where a stream of changes was not whole.",
                &self.gaps,
            ),
            (
                "sync_stale_records_total",
                "counter",
                "Records found in an older version than the one held.",
                &self.stale,
            ),
            (
                "sync_regressions_total",
                "counter",
                "Times that the store had lost changes that were applied here.",
                &self.regressions,
            ),
            (
                "sync_digest_mismatches_total",
                "counter",
                "Digests of a partition that were not the store's.",
                &self.digest_mismatches,
            ),
            (
                "sync_buckets_repaired_total",
                "counter",
                "Buckets of which a reading changed something.",
                &self.buckets_changed,
            ),
            (
                "store_records_missing",
                "gauge",
                "Records held here that are not in the store.",
                &self.missing,
            ),
            (
                "store_restoring",
                "gauge",
                "1 while the store says that its records are being put back: no view is in step then.",
                &self.restoring,
            ),
            (
                "replica_errors_total",
                "counter",
                "Failures to write the local replica.",
                &self.replica_errors,
            ),
        ];
        let mut text = String::with_capacity(4 * 1024);
        for (name, kind, help, counter) in plain {
            let _ = writeln!(
                text,
                "# HELP keygate_{name} {help}\n# TYPE keygate_{name} {kind}\nkeygate_{name} {}",
                read(counter)
            );
        }
        text.push_str("# HELP keygate_sync_records_refused_total Records of the store that were refused, by reason.\n");
        text.push_str("# TYPE keygate_sync_records_refused_total counter\n");
        for (reason, counter) in REFUSALS.iter().zip(&self.refused) {
            let _ = writeln!(
                text,
                "keygate_sync_records_refused_total{{reason=\"{reason}\"}} {}",
                read(counter)
            );
        }
        text.push_str("# HELP keygate_replica_age_seconds How old the view in the local replica is; +Inf without one.\n");
        text.push_str("# TYPE keygate_replica_age_seconds gauge\n");
        match read(&self.replica_as_of).checked_sub(1) {
            Some(as_of) => {
                let as_of = self.started + Duration::from_millis(as_of);
                let age = now.saturating_duration_since(as_of).as_secs_f64();
                let _ = writeln!(text, "keygate_replica_age_seconds {age}");
            }
            None => text.push_str("keygate_replica_age_seconds +Inf\n"),
        }
        text.push_str(
            "# HELP keygate_probe_seconds How long the store took to say where it stands.\n",
        );
        text.push_str("# TYPE keygate_probe_seconds summary\n");
        let took = Duration::from_micros(read(&self.probes_us)).as_secs_f64();
        let _ = writeln!(
            text,
            "keygate_probe_seconds_sum {took}\nkeygate_probe_seconds_count {}",
            read(&self.probes)
        );
        text
    }
}

/// The key table's size and age, set when somebody scrapes.
pub fn view(keys: usize, revision: u64, age: Option<Duration>) {
    metrics::describe_gauge!("keygate_keys", "Keys in memory, tombstones included.");
    metrics::gauge!("keygate_keys").set(u32::try_from(keys).map_or(f64::MAX, f64::from));
    metrics::describe_gauge!(
        "keygate_view_revision",
        "The last change applied to the key table."
    );
    // Above 2^53 a float skips revisions; nobody gets there.
    metrics::gauge!("keygate_view_revision").set(revision.to_string().parse().unwrap_or(f64::MAX));
    metrics::describe_gauge!(
        "keygate_view_age_seconds",
        "Since when the key table is not known to be in step; +Inf before it is loaded."
    );
    metrics::gauge!("keygate_view_age_seconds")
        .set(age.map_or(f64::INFINITY, |age| age.as_secs_f64()));
}

/// What the flusher of uses has done.
#[derive(Debug, Default)]
pub struct UsageCounters {
    /// Flushes that wrote something.
    pub flushes: AtomicU64,
    /// Flushes that failed. What they were to write waits for the next one.
    pub errors: AtomicU64,
}

/// The flusher's metrics in Prometheus' text form; `waiting` is the number of keys with uses to write.
pub fn usage(counters: &UsageCounters, waiting: usize) -> String {
    let flushes = counters.flushes.load(Ordering::Relaxed);
    let errors = counters.errors.load(Ordering::Relaxed);
    format!(
        "# HELP keygate_usage_flushes_total Times that uses of keys were written to the store.\n\
         # TYPE keygate_usage_flushes_total counter\n\
         keygate_usage_flushes_total {flushes}\n\
         # HELP keygate_usage_flush_errors_total Times that they could not be; they wait for the next time.\n\
         # TYPE keygate_usage_flush_errors_total counter\n\
         keygate_usage_flush_errors_total {errors}\n\
         # HELP keygate_usage_waiting Keys whose last uses are not written yet.\n\
         # TYPE keygate_usage_waiting gauge\n\
         keygate_usage_waiting {waiting}\n"
    )
}
