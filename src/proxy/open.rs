//! A request under way, and its record: filled by the steps, written exactly once. It decides nothing.

use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use compact_str::CompactString;
use http::header::HeaderValue;
use http::{Request, StatusCode};
use hyper::body::Incoming;

use super::body::{Cut, Meter};
use super::identity::{self, Identity, Peer};
use super::known::{Known, KnownHeaders, KnownNames};
use super::phase::Busy;
use super::record::{self, RequestRecord};
use super::reply::{No, Refusal};
use super::route::{Family, Route};
use super::target::Target;
use super::worker::{RecordRules, Shared, Worker};
use crate::config::{Listen, WhenFull};
use crate::keys::policy::Decision;
use crate::keys::secret::is_secret;
use crate::keys::table::View;
use crate::keys::{Access, Denial, Principal};
use crate::telemetry::{self, METHODS, STATUSES, WorkerCounters};

/// How many segments of a path that leads nowhere are looked at.
const SEGMENTS_MAX: usize = 16;

/// The path as it is shown.
pub fn shown_path(route: Option<&Route>, target: &Target<'_>) -> CompactString {
    match route {
        // The segment that may be a key is shown as its place in the pattern.
        Some(route) if route.pattern.ends_with("{key}") => route.pattern.into(),
        Some(_) | None => record::scrub_path(&target.path),
    }
}

/// Whether a segment of a path is a key, or there are more than are looked at.
pub fn holds_key(path: &str, shared: &Shared) -> bool {
    let table = shared.table.read();
    let is_known = |segment: &str| {
        table
            .key(&shared.fingerprinter.get().fingerprint(segment.as_bytes()))
            .is_some()
    };
    let mut segments = path
        .split('/')
        .filter(|segment| is_secret(segment.as_bytes()));
    segments.by_ref().take(SEGMENTS_MAX).any(is_known) || segments.next().is_some()
}

/// A request under way: its record, which is written exactly once, whatever happens to whoever holds this. Dropping it
/// is finishing it.
pub struct Open {
    record: Option<Box<RequestRecord>>,
    worker: Rc<Worker>,
    started: Instant,
    meter: Option<Rc<Meter>>,
    /// Whether a place is reserved for its record.
    is_reserved: bool,
    complete: bool,
    /// `X-Request-ID`, once it is text: the upstream and the client get the same.
    request_id: Option<HeaderValue>,
    busy: Busy,
}

impl Open {
    /// A request that has just arrived.
    pub fn begin(
        worker: &Rc<Worker>,
        peer: &Peer,
        request: &Request<Incoming>,
        known: KnownNames,
        busy: Busy,
    ) -> Self {
        let started = Instant::now();
        let headers = known.with(request.headers());
        let mut record =
            RequestRecord::begin(Some(request.method()), peer.address, SystemTime::now());
        record.user_agent = headers.get(Known::UserAgent).map(record::header_text);
        busy.body_left(!http_body::Body::is_end_stream(request.body()));
        record.request_id = Some(identity::request_id(&headers, request.uri()));
        Self {
            record: Some(Box::new(record)),
            worker: Rc::clone(worker),
            started,
            meter: None,
            is_reserved: false,
            complete: false,
            request_id: None,
            busy,
        }
    }

    /// Whether the raw bytes of its head could be read in two ways.
    pub fn head_is_ambiguous(&self) -> bool {
        self.busy.head_is_ambiguous()
    }

    /// Its record so far.
    pub fn record(&self) -> Option<&RequestRecord> {
        self.record.as_deref()
    }

    fn note(&mut self, note: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }

    /// Notes the route, or that there is none, and the path that was meant.
    pub fn routed(&mut self, route: Option<&Route>, target: &Target<'_>) {
        self.note(|record| {
            record.path = shown_path(route, target);
            if let Some(route) = route {
                record.route = Some(route.pattern);
                record.family = Some(route.family);
            }
        });
    }

    /// Hides a key that somebody has put into a path where none belongs: one of an unusual form is only told by looking
    /// it up.
    pub fn hide_known_keys(&mut self, shared: &Shared) {
        self.note(|record| {
            if holds_key(&record.path, shared) {
                record.path = record::HIDDEN.into();
            }
        });
    }

    /// Finds out who the client is and what its request is called, and notes it.
    pub fn identify(
        &mut self,
        headers: &KnownHeaders<'_>,
        peer: &Peer,
        listen: &Listen,
    ) -> Identity {
        let identity = identity::identify(headers, peer, &listen.trusted_proxies);
        self.note(|record| {
            record.client = identity.client;
            record.trace_id = Some(identity.trace.id());
        });
        identity
    }

    /// `X-Request-ID`.
    pub fn request_id(&self) -> HeaderValue {
        let of_record = || self.record()?.request_id.as_ref().map(identity::id_value);
        let text = self.request_id.clone().or_else(of_record);
        text.unwrap_or_else(|| HeaderValue::from_static("0"))
    }

    /// Notes the text of its request id.
    pub fn named(&mut self, request_id: HeaderValue) {
        self.request_id = Some(request_id);
    }

    /// Notes the decision.
    pub fn decided(
        &mut self,
        verdict: &Result<Principal, Denial>,
        access: &Access,
        view: Option<View>,
        took: Duration,
    ) {
        if let Ok(principal) = verdict {
            for key in principal.attribution().shadowed() {
                self.worker.counters.shadow_revoked(key.kind);
            }
        }
        self.note(|record| {
            record.auth_duration = took;
            if matches!(access, Access::Open) {
                return;
            }
            record.view_revision = view.map(|view| view.revision.0);
            record.view_age = view.map(|view| view.age);
            match verdict {
                Ok(principal) => {
                    record.decision = Some(Decision::Allowed);
                    record.attribution = *principal.attribution();
                    record.shadow_revoked = record.attribution.shadowed().next().is_some();
                }
                Err(denial) => {
                    record.decision = Some(denial.reason.decision());
                    record.reason = Some(denial.reason);
                    record.attribution = denial.attribution;
                }
            }
        });
    }

    /// Makes sure of a place for the record where the route's rule is to wait for one.
    ///
    /// # Errors
    /// "Cannot tell", when none comes free in time.
    pub async fn reserve_record(&mut self, route: &Route, rules: &RecordRules) -> Result<(), No> {
        let rule = if matches!(route.access, Access::Api { .. }) {
            rules.api
        } else {
            rules.intake
        };
        if rule == WhenFull::Drop {
            return Ok(());
        }
        self.is_reserved = self.worker.records.try_reserve();
        if !self.is_reserved {
            let reserving = self.worker.records.reserve();
            let reserved = Box::pin(tokio::time::timeout(rules.wait_max, reserving)).await;
            self.is_reserved = reserved.is_ok();
        }
        if self.is_reserved {
            return Ok(());
        }
        self.note(|record| record.error = Some("record_sink_full"));
        Err(Refusal::CannotTell.into())
    }

    /// Notes where the request is sent, and who counts its bytes.
    pub fn forwarding(&mut self, upstream: &'static str, meter: &Rc<Meter>) {
        self.meter = Some(Rc::clone(meter));
        self.note(|record| record.upstream = Some(upstream));
    }

    /// Ready once `at` has passed.
    pub fn poll_deadline(&self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        self.busy.poll_deadline(cx, at)
    }

    /// Notes that it was sent once more.
    pub fn retried(&mut self) {
        telemetry::add(&self.worker.counters.upstream_retries, 1);
        self.note(|record| record.retries += 1);
    }

    /// Notes how long the upstream took to begin its answer.
    pub fn upstream_answered(&mut self, took: Duration) {
        self.note(|record| record.upstream_duration = Some(took));
    }

    /// Notes what went wrong, apart from the decision.
    pub fn refused(&mut self, refusal: Refusal, path: &str) {
        self.note(|record| {
            record.error = record.error.or(refusal.fault());
            if record.path.is_empty() {
                record.path = record::scrub_path(path);
            }
        });
    }

    /// Notes what the client is answered.
    pub fn answered(&mut self, status: StatusCode) {
        self.note(|record| record.status = Some(status));
    }

    /// Counts body bytes handed to the client's connection.
    pub fn passed(&mut self, bytes: usize) {
        self.note(|record| record.response_bytes += bytes as u64);
    }

    /// Notes that the answer was cut.
    pub fn fault(&mut self, cut: Cut) {
        let fault = match cut {
            Cut::TooLarge => "body_too_large",
            Cut::TooSlow => "body_too_slow",
            Cut::Client => "client_gone",
            Cut::Framing => "ambiguous",
            Cut::Deadline => "request_timed_out",
            Cut::Upstream => "upstream_broke",
        };
        self.note(|record| record.error = record.error.or(Some(fault)));
    }

    /// Notes that the answer was passed on to its end.
    pub fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.meter.as_ref().is_some_and(|meter| meter.ended.get()) {
            self.busy.body_left(false);
        }
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.duration = self.started.elapsed();
        record.request_bytes = self.meter.as_ref().map_or(0, |meter| meter.bytes.get());
        if !self.complete {
            self.busy.cut();
            let cut = if self.worker.ending.get() {
                "drain_deadline"
            } else {
                "client_gone"
            };
            record.error = record.error.or(Some(cut));
        }
        count(&self.worker.counters, &record);
        if let Some(dropped) = self.worker.records.push(*record, self.is_reserved) {
            telemetry::add(&self.worker.counters.records_dropped, 1);
            // The writer, who would have, never sees it.
            dropped.note_use(&self.worker.shared.usage);
        }
    }
}

fn count(counters: &WorkerCounters, record: &RequestRecord) {
    let family = record
        .family
        .map_or(Family::ALL.len(), |family| family as usize);
    let method = match record.method {
        "GET" | "HEAD" | "OPTIONS" => 0,
        "POST" => 1,
        "PUT" | "PATCH" | "DELETE" => 2,
        _ => METHODS.len() - 1,
    };
    let status = record.status.map_or(STATUSES.len() - 1, |status| {
        usize::from(status.as_u16() / 100).saturating_sub(1)
    });
    let verdict = match (record.decision, record.reason) {
        (None, _) => 0,
        (Some(_), None) => 1,
        (Some(_), Some(reason)) => 2 + reason as usize,
    };
    counters.request(family, method, status, verdict, record.duration);
}

/// The record of a request that could not be read at all: hyper has answered it and closes the connection.
pub fn record_unreadable(worker: &Rc<Worker>, peer: IpAddr, status: StatusCode) {
    let mut record = RequestRecord::begin(None, peer, SystemTime::now());
    record.status = Some(status);
    record.error = Some("unreadable");
    count(&worker.counters, &record);
    if worker.records.push(record, false).is_some() {
        telemetry::add(&worker.counters.records_dropped, 1);
    }
}
