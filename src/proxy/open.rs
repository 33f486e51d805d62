//! A request under way, and its record: filled by the steps, written exactly once. It decides nothing.

use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use compact_str::CompactString;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::body::{Cut, Meter};
use super::identity::{self, Identity};
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
        Some(route) if route.pattern.ends_with("{key}") => route.pattern.as_ref().into(),
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
    permit: Option<mpsc::OwnedPermit<Box<RequestRecord>>>,
    complete: bool,
    /// `X-Request-ID`, on the answer too.
    pub request_id: HeaderValue,
    busy: Busy,
}

impl Open {
    /// A request that has just arrived.
    pub fn begin(
        worker: &Rc<Worker>,
        peer: IpAddr,
        request: &Request<Incoming>,
        busy: Busy,
    ) -> Self {
        let started = Instant::now();
        let mut record = RequestRecord::begin(request.method().clone(), peer);
        record.path = record::scrub_path(request.uri().path());
        record.user_agent = request
            .headers()
            .get(header::USER_AGENT)
            .map(record::header_text);
        busy.body_left(!http_body::Body::is_end_stream(request.body()));
        let request_id = identity::request_id(request.headers(), request.uri());
        record.request_id = request_id.to_str().unwrap_or_default().into();
        Self {
            record: Some(Box::new(record)),
            worker: Rc::clone(worker),
            started,
            meter: None,
            permit: None,
            complete: false,
            request_id,
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
                record.route = Some(route.pattern.clone());
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
    pub fn identify(&mut self, headers: &HeaderMap, peer: IpAddr, listen: &Listen) -> Identity {
        let identity = identity::identify(
            headers,
            peer,
            &listen.trusted_proxies,
            self.request_id.clone(),
        );
        let trace = identity.traceparent.to_str().unwrap_or_default();
        self.note(|record| {
            record.client = identity.client;
            record.trace_id = trace.split('-').nth(1).unwrap_or_default().into();
        });
        identity
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
        let reserving = self.worker.records.clone().reserve_owned();
        match tokio::time::timeout(rules.wait_max, reserving).await {
            Ok(Ok(permit)) => {
                self.permit = Some(permit);
                Ok(())
            }
            Ok(Err(_)) | Err(_) => {
                self.note(|record| record.error = Some("record_sink_full"));
                Err(Refusal::CannotTell.into())
            }
        }
    }

    /// Notes where the request is sent, and who counts its bytes.
    pub fn forwarding(&mut self, upstream: &str, meter: &Rc<Meter>) {
        self.meter = Some(Rc::clone(meter));
        self.note(|record| record.upstream = Some(upstream.into()));
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
    pub fn refused(&mut self, refusal: Refusal) {
        self.note(|record| record.error = record.error.or(refusal.fault()));
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
        match self.permit.take() {
            Some(permit) => {
                permit.send(record);
            }
            None => {
                if let Err(full) = self.worker.records.try_send(record) {
                    telemetry::add(&self.worker.counters.records_dropped, 1);
                    // The writer, who would have, never sees it.
                    full.into_inner().note_use(&self.worker.shared.usage);
                }
            }
        }
    }
}

fn count(counters: &WorkerCounters, record: &RequestRecord) {
    let family = record
        .family
        .map_or(Family::ALL.len(), |family| family as usize);
    let method = match record.method {
        Method::GET | Method::HEAD | Method::OPTIONS => 0,
        Method::POST => 1,
        Method::PUT | Method::PATCH | Method::DELETE => 2,
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
    let mut record = RequestRecord::begin(Method::from_bytes(b"-").unwrap_or(Method::GET), peer);
    record.status = Some(status);
    record.error = Some("unreadable");
    count(&worker.counters, &record);
    if worker.records.try_send(Box::new(record)).is_err() {
        telemetry::add(&worker.counters.records_dropped, 1);
    }
}
