//! One request, from its head to its record: the order of the steps, and the only file that knows it.
//!
//! The inner function is the steps with `?`. The outer one begins the record, turns a refusal into the contract's
//! answer, and attaches the record to the answer's body, so that its bytes and its duration are true.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::body::{Answer, Cut, Meter};
use super::connection::Busy;
use super::credential;
use super::forward::{self, Forwarded};
use super::record::{self, Queue, RequestRecord, decision_word};
use super::reply::{self, Refusal};
use super::route::{Destination, Family, Route, Routes};
use super::strict;
use super::target::Target;
use super::upstream::{Pool, Upstreams};
use crate::config::{Listen, WhenFull};
use crate::keys::policy::{Circumstances, Decision, Staleness, authorize};
use crate::keys::secret::{Fingerprinter, is_secret};
use crate::keys::{Access, Attribution, Denial, KeyTable, Principal, Reason, Timestamp};
use crate::telemetry::{self, Labels, METHODS, STATUSES, WorkerCounters};

/// `Connection: close`.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What every worker reads and none writes.
pub struct Shared {
    /// The routes.
    pub routes: Routes,
    /// The upstreams.
    pub upstreams: Upstreams,
    /// The keys.
    pub table: Arc<KeyTable>,
    /// Secret to fingerprint.
    pub fingerprinter: Fingerprinter,
    /// How old the table may be.
    pub staleness: Staleness,
    /// Limits of the listener.
    pub listen: Listen,
    /// When the record's sink cannot keep up.
    pub when_full: RecordRules,
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
    /// Its upstream connections.
    pub pool: Rc<Pool>,
    /// Its counters.
    pub counters: Arc<WorkerCounters>,
    /// Its end of the records' queue.
    pub records: Queue,
}

/// A request's identity for the upstream and the record.
#[derive(Debug)]
pub struct Identity {
    /// The client, trusted proxies aside.
    pub client: IpAddr,
    /// `X-Request-ID`.
    pub request_id: HeaderValue,
    /// `traceparent`.
    pub traceparent: HeaderValue,
    /// Whether the trace is the client's, so that its `tracestate` is still about it.
    pub trace_is_clients: bool,
    /// `X-Forwarded-Proto`: what the client spoke, by the word of a trusted proxy that ended its TLS.
    pub scheme: &'static str,
    /// `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
}

/// Why the steps stopped, as the client is told.
pub struct No {
    /// The contract's row.
    pub refusal: Refusal,
    /// Another text than the contract's.
    pub because: Option<&'static str>,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            because: None,
        }
    }
}

impl From<super::target::Ambiguity> for No {
    fn from(_which: super::target::Ambiguity) -> Self {
        Refusal::Ambiguous.into()
    }
}

/// What the steps end in when nothing said no.
enum Reply {
    Own(Response<Bytes>),
    Upstream(Box<Forwarded>),
}

/// Answers one request. Never fails: whatever goes wrong becomes an answer and a record.
pub async fn handle(
    worker: Rc<Worker>,
    peer: IpAddr,
    request: Request<Incoming>,
    busy: Busy,
) -> Response<Answer> {
    let head_only = request.method() == Method::HEAD;
    let mut open = Open::begin(&worker, peer, &request, busy);
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let unrouted = unrouted_family(&request);

    // A panic in one request answers 500 and costs only that request.
    let outcome = AssertUnwindSafe(steps(&worker, peer, request, &mut open))
        .catch_unwind()
        .await;
    let outcome = outcome.unwrap_or_else(|_panic| Err(Refusal::Internal.into()));
    let family = open
        .record()
        .and_then(|record| record.family)
        .unwrap_or(unrouted);
    match outcome {
        Ok(Reply::Upstream(forwarded)) => {
            let Forwarded {
                mut response,
                lease,
                meter,
                idle,
                deadline,
            } = *forwarded;
            finish_head(response.headers_mut(), family, &open);
            if !meter.ended.get() {
                // An answer before the body's end: what is left of the body must never be read as a request.
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            open.answered(response.status());
            let (parts, incoming) = response.into_parts();
            Response::from_parts(
                parts,
                Answer::streamed(incoming, lease, meter, idle, deadline, open),
            )
        }
        Ok(Reply::Own(response)) => own(response, family, head_only, open),
        Err(No { refusal, because }) => {
            open.refused(refusal);
            let mut asked = HeaderMap::new();
            if let Some(content_type) = content_type {
                asked.insert(header::CONTENT_TYPE, content_type);
            }
            let mut refused = reply::refuse(refusal, family, &asked, because);
            if matches!(refusal, Refusal::Ambiguous) {
                // Where such a request ends is one more thing that two readers could understand in two ways.
                refused.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            own(refused, family, head_only, open)
        }
    }
}

/// How to refuse a request that no route has been found for. What comes from a page must be able to read why.
fn unrouted_family(request: &Request<Incoming>) -> Family {
    let (path, query) = (
        request.uri().path(),
        request.uri().query().unwrap_or_default(),
    );
    let of_a_page = request.headers().contains_key(header::ORIGIN)
        && (path.starts_with("/v1/input") || path == "/api/v2/logs");
    if of_a_page || query.contains("ddforward") || query.contains("ddsource=browser") {
        Family::Browser
    } else {
        Family::Api
    }
}

/// The steps, in their order. Each hands on what the next one needs.
async fn steps(
    worker: &Rc<Worker>,
    peer: IpAddr,
    request: Request<Incoming>,
    open: &mut Open,
) -> Result<Reply, No> {
    let shared = Arc::clone(&worker.shared);
    let (parts, body) = request.into_parts();

    strict::require_unambiguous(&parts)?;
    let target = Target::read(parts.uri.path(), parts.uri.query())?;
    let from_page = parts.headers.contains_key(header::ORIGIN);
    let from_agent = parts.headers.contains_key("dd-evp-origin");
    let route = shared
        .routes
        .find(&parts.method, &target, from_page, from_agent);
    open.routed(route, &target);

    let extracted = credential::extract(route, &target, &parts.headers, &shared.fingerprinter)?;
    let Some(route) = route else {
        open.hide_known_keys(&shared, &target);
        let sender = parts.method == Method::POST && extracted.any;
        return Err(if sender {
            Refusal::NoRouteForSender
        } else {
            Refusal::NoRoute
        }
        .into());
    };

    let identity = open.identify(&parts.headers, peer, &shared.listen);
    let principal = decide(
        &shared,
        route,
        &extracted.credential,
        &identity,
        &parts.headers,
        open,
    )?;
    open.reserve_record(route, &shared.when_full).await?;

    let own = match &route.destination {
        Destination::ValidateV1 => reply::json(&serde_json::json!({"valid": true})),
        Destination::ValidateV2 => validate_v2(principal.attribution()),
        Destination::ValidateKeys => reply::json(&serde_json::json!({"status": "ok"})),
        Destination::Options => reply::options(route.family),
        Destination::Upstream(name) => {
            let upstream = shared.upstreams.get(name).ok_or(Refusal::UpstreamRefused)?;
            let forwarded = forward::forward(
                worker, upstream, route, &parts, body, &extracted, &identity, &principal, open,
            )
            .await?;
            return Ok(Reply::Upstream(Box::new(forwarded)));
        }
    };
    Ok(Reply::Own(own))
}

/// Asks the one policy, and notes what it said.
fn decide(
    shared: &Shared,
    route: &Route,
    credential: &crate::keys::Credential,
    identity: &Identity,
    headers: &HeaderMap,
    open: &mut Open,
) -> Result<Principal, No> {
    let asked = Instant::now();
    let view = shared.table.view(asked);
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let circumstances = Circumstances {
        view,
        staleness: &shared.staleness,
        now: Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)),
        address: identity.client,
        origin: headers
            .get(header::ORIGIN)
            .and_then(|origin| origin.to_str().ok()),
    };
    let verdict = authorize(
        &route.access,
        credential,
        &shared.table.read(),
        &circumstances,
    );
    open.decided(&verdict, &route.access, view, asked.elapsed());
    verdict.map_err(|denial| No {
        refusal: match denial.reason {
            Reason::NoApplicationKey => Refusal::MissingApplicationKey,
            reason => match reason.decision() {
                Decision::Missing => Refusal::MissingKey,
                Decision::Bad | Decision::Allowed => Refusal::Bad,
                Decision::CannotTell => Refusal::CannotTell,
            },
        },
        because: route.closed_because,
    })
}

/// The trace agent takes the org's id from here (WIRE 1.3, trap 53).
fn validate_v2(attribution: &Attribution) -> Response<Bytes> {
    let org = attribution.org.as_ref().map(|(id, _)| id.to_string());
    let key = attribution.key.as_ref().map(|key| key.id.to_string());
    reply::json(&serde_json::json!({"data": {
        "id": org,
        "type": "validate_v2",
        "attributes": {"api_key_id": key, "api_key_scopes": [], "valid": true},
    }}))
}

fn own(
    mut response: Response<Bytes>,
    family: Family,
    head_only: bool,
    mut open: Open,
) -> Response<Answer> {
    finish_head(response.headers_mut(), family, &open);
    open.answered(response.status());
    let (mut parts, mut body) = response.into_parts();
    if head_only {
        parts
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        body = Bytes::new();
    }
    Response::from_parts(parts, Answer::whole(body, open))
}

/// What every answer carries. The date is hyper's own, which is always true.
fn finish_head(headers: &mut HeaderMap, family: Family, open: &Open) {
    if family == Family::Browser {
        reply::allow_cross_origin(headers);
    }
    headers.insert(strict::X_REQUEST_ID, open.request_id.clone());
}

/// How many segments of a path that leads nowhere are looked at.
const SEGMENTS_MAX: usize = 16;

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

/// A request under way: its record, which is written exactly once, whatever happens to whoever holds this. Dropping it
/// is finishing it.
pub struct Open {
    record: Option<Box<RequestRecord>>,
    worker: Rc<Worker>,
    started: Instant,
    meter: Option<Rc<Meter>>,
    permit: Option<mpsc::OwnedPermit<Box<RequestRecord>>>,
    complete: bool,
    request_id: HeaderValue,
    busy: Busy,
}

impl Open {
    fn begin(worker: &Rc<Worker>, peer: IpAddr, request: &Request<Incoming>, busy: Busy) -> Self {
        let started = Instant::now();
        let mut record = RequestRecord::begin(request.method().clone(), peer);
        record.path = record::scrub_path(request.uri().path());
        record.user_agent = request
            .headers()
            .get(header::USER_AGENT)
            .map(record::header_text);
        busy.body_left(!http_body::Body::is_end_stream(request.body()));
        let request_id = forward::request_id(request.headers(), request.uri());
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

    fn record(&self) -> Option<&RequestRecord> {
        self.record.as_deref()
    }

    fn note(&mut self, note: impl FnOnce(&mut RequestRecord)) {
        if let Some(record) = &mut self.record {
            note(record);
        }
    }

    fn routed(&mut self, route: Option<&Route>, target: &Target<'_>) {
        self.note(|record| {
            record.path = match route {
                // The segment that may be a key is shown as its place in the pattern.
                Some(route) if route.pattern.ends_with("{key}") => route.pattern.as_ref().into(),
                Some(_) | None => record::scrub_path(&target.path),
            };
            if let Some(route) = route {
                record.route = Some(route.pattern.clone());
                record.family = Some(route.family);
            }
        });
    }

    /// Hides a key that somebody has put into a path where none belongs: one of an unusual form is only told by looking
    /// it up. Only for requests that lead nowhere.
    fn hide_known_keys(&mut self, shared: &Shared, target: &Target<'_>) {
        let table = shared.table.read();
        let mut segments = target
            .path
            .split('/')
            .filter(|segment| is_secret(segment.as_bytes()));
        let is_known = |segment: &str| {
            table
                .key(&shared.fingerprinter.fingerprint(segment.as_bytes()))
                .is_some()
        };
        if segments.by_ref().take(SEGMENTS_MAX).any(is_known) || segments.next().is_some() {
            self.note(|record| record.path = "{hidden}".into());
        }
    }

    fn identify(&mut self, headers: &HeaderMap, peer: IpAddr, listen: &Listen) -> Identity {
        let identity = forward::identify(
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

    fn decided(
        &mut self,
        verdict: &Result<Principal, Denial>,
        access: &Access,
        view: Option<crate::keys::table::View>,
        took: Duration,
    ) {
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
                    record.attribution = principal.attribution().clone();
                }
                Err(denial) => {
                    record.decision = Some(denial.reason.decision());
                    record.reason = Some(denial.reason);
                    record.attribution = (*denial.attribution).clone();
                }
            }
        });
    }

    /// Makes sure of a place for the record where the route's rule is to wait for one.
    async fn reserve_record(&mut self, route: &Route, rules: &RecordRules) -> Result<(), No> {
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

    fn refused(&mut self, refusal: Refusal) {
        self.note(|record| record.error = record.error.or(refusal.fault()));
    }

    fn answered(&mut self, status: StatusCode) {
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
            record.error = record.error.or(Some("client_gone"));
        }
        count(&self.worker.counters, &record);
        match self.permit.take() {
            Some(permit) => {
                permit.send(record);
            }
            None => {
                if self.worker.records.try_send(record).is_err() {
                    telemetry::add(&self.worker.counters.records_dropped, 1);
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
