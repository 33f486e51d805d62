//! One request, from its head to its record: the order of the steps, and the only file that knows it.
//!
//! The inner function is the steps with `?`. The outer one begins the record, turns a refusal into the contract's
//! answer, and attaches the record to the answer's body, so that its bytes and its duration are true.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, Uri};
use hyper::body::Incoming;

use super::body::Answer;
use super::credential::{self, Extracted};
use super::forward::{self, Forwarded};
use super::identity::{Identity, Peer, X_REQUEST_ID};
use super::known::{Known, KnownHeaders, KnownNames};
use super::open::Open;
use super::phase::Busy;
use super::reply::{self, No, Refusal};
use super::route::{Destination, Family, Route};
use super::strict;
use super::target::Target;
use super::worker::{Shared, Worker};
use crate::keys::policy::{Circumstances, Decision, authorize};
use crate::keys::{Attribution, Credential, Principal, Reason, Timestamp};

/// `Connection: close`.
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// What the steps end in when nothing said no.
enum Reply {
    Own(Response<Bytes>),
    Upstream(Forwarded),
}

/// Answers one request. Never fails: whatever goes wrong becomes an answer and a record.
pub async fn handle(
    worker: Rc<Worker>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
    busy: Busy,
) -> Response<Answer> {
    let head_only = request.method() == Method::HEAD;
    let known = KnownNames::of(request.headers());
    let mut open = Open::begin(&worker, &peer, &request, known, busy);
    let headers = known.with(request.headers());
    let unrouted = unrouted_family(request.uri(), &headers);
    let wants_protobuf = reply::wants_protobuf(&headers);
    let (mut parts, body) = request.into_parts();
    let headers = (std::mem::take(&mut parts.headers), known);

    // A panic in one request answers 500 and costs only that request.
    let outcome = AssertUnwindSafe(steps(&worker, &peer, &parts, headers, body, &mut open))
        .catch_unwind()
        .await;
    let outcome = outcome.unwrap_or_else(|_panic| Err(Refusal::Internal.into()));
    let family = open
        .record()
        .and_then(|record| record.family)
        .unwrap_or(unrouted);
    match outcome {
        Ok(Reply::Upstream(Forwarded { mut head, body })) => {
            finish_head(&mut head.headers, family, &open);
            if !body.upload_has_ended() {
                // An answer before the body's end: what is left of the body must never be read as a request.
                head.headers.insert(header::CONNECTION, CLOSE);
            }
            open.answered(head.status);
            Response::from_parts(head, Answer::streamed(body, open))
        }
        Ok(Reply::Own(response)) => own(response, family, head_only, open),
        Err(No { refusal, because }) => {
            open.refused(refusal, parts.uri.path());
            if refusal == Refusal::Ambiguous {
                open.hide_known_keys(&worker.shared);
            }
            let mut refused = reply::refuse(refusal, family, wants_protobuf, because);
            if refusal.closes() {
                refused.headers_mut().insert(header::CONNECTION, CLOSE);
            }
            own(refused, family, head_only, open)
        }
    }
}

/// How to refuse a request that no route has been found for. What comes from a page must be able to read why.
pub fn unrouted_family(uri: &Uri, headers: &KnownHeaders<'_>) -> Family {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    let of_a_page =
        headers.has(Known::Origin) && (path.starts_with("/v1/input") || path == "/api/v2/logs");
    if of_a_page || query.contains("ddforward") || query.contains("ddsource=browser") {
        Family::Browser
    } else {
        Family::Api
    }
}

/// The steps, in their order. Each hands on what the next one needs.
async fn steps(
    worker: &Rc<Worker>,
    peer: &Peer,
    parts: &Parts,
    (sent, known): (HeaderMap, KnownNames),
    body: Incoming,
    open: &mut Open,
) -> Result<Reply, No> {
    let shared = &worker.shared;

    let headers = known.with(&sent);
    strict::require_unambiguous(parts, &headers, open.head_is_ambiguous())?;
    let target = Target::read(parts.uri.path(), parts.uri.query())?;
    let route = find_route(shared, &parts.method, known, &target);
    open.routed(route, &target);
    if may_hold_key(route) {
        open.hide_known_keys(shared);
    }

    let extracted = credential::extract(route, &target, &headers, shared.fingerprinter.get())?;
    let route = route.ok_or_else(|| no_route(&parts.method, &extracted))?;

    let identity = open.identify(&headers, peer, &shared.listen);
    let principal = decide(
        shared,
        route,
        &extracted.credential,
        &identity,
        &headers,
        open,
    )?;
    open.reserve_record(route, &shared.when_full).await?;

    match onward(route, &principal) {
        Onward::Answered(own) => Ok(Reply::Own(own)),
        Onward::To(name) => {
            let upstream = worker.upstreams.get(name).ok_or(Refusal::UpstreamRefused)?;
            let forwarded = forward::forward(
                worker,
                upstream,
                route,
                parts,
                (sent, known),
                body,
                &extracted,
                &identity,
                &principal,
                open,
            )
            .await?;
            Ok(Reply::Upstream(forwarded))
        }
    }
}

/// The route of a request, by its method, its target and who says to have sent it.
pub fn find_route<'s>(
    shared: &'s Shared,
    method: &Method,
    known: KnownNames,
    target: &Target<'_>,
) -> Option<&'s Route> {
    let (from_page, from_agent) = (known.has(Known::Origin), known.has(Known::EvpOrigin));
    shared.routes.find(method, target, from_page, from_agent)
}

/// Whether somebody may have put a key where none belongs into a path that this was found for.
pub fn may_hold_key(route: Option<&Route>) -> bool {
    route.is_none_or(|route| route.pattern.ends_with("/*"))
}

/// How to refuse what no route was found for.
pub fn no_route(method: &Method, extracted: &Extracted<'_>) -> Refusal {
    if method == Method::POST && extracted.any {
        Refusal::NoRouteForSender
    } else {
        Refusal::NoRoute
    }
}

/// What becomes of a request that is let through.
pub enum Onward<'r> {
    /// keygate answers it itself.
    Answered(Response<Bytes>),
    /// It goes to the upstream of this name.
    To(&'r str),
}

/// What becomes of a request of this caller.
pub fn onward<'r>(route: &'r Route, principal: &Principal) -> Onward<'r> {
    Onward::Answered(match &route.destination {
        Destination::ValidateV1 => reply::json(&serde_json::json!({"valid": true})),
        Destination::ValidateV2 => validate_v2(principal.attribution()),
        Destination::ValidateKeys => reply::json(&serde_json::json!({"status": "ok"})),
        Destination::Options => reply::options(route.family),
        Destination::Upstream(name) => return Onward::To(name),
    })
}

/// What the policy asks about beside the table and the credential.
pub fn circumstances<'a>(
    shared: &'a Shared,
    (asked, at): (Instant, SystemTime),
    address: IpAddr,
    headers: &KnownHeaders<'a>,
) -> Circumstances<'a> {
    let since_epoch = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Circumstances {
        view: shared.table.view(asked),
        staleness: &shared.staleness,
        now: Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)),
        address,
        origin: headers
            .get(Known::Origin)
            .and_then(|origin| origin.to_str().ok()),
    }
}

/// How to refuse what the policy denies.
pub fn refusal(reason: Reason, route: &Route) -> No {
    No {
        refusal: match reason {
            Reason::NoApplicationKey => Refusal::MissingApplicationKey,
            reason => match reason.decision() {
                Decision::Missing => Refusal::MissingKey,
                Decision::Bad | Decision::Allowed => Refusal::Bad,
                Decision::CannotTell => Refusal::CannotTell,
            },
        },
        because: route.closed_because,
    }
}

/// Asks the one policy, and notes what it said. Which keys were used is noted by whoever writes the record down.
fn decide(
    shared: &Shared,
    route: &Route,
    credential: &Credential,
    identity: &Identity,
    headers: &KnownHeaders<'_>,
    open: &mut Open,
) -> Result<Principal, No> {
    let asked = Instant::now();
    let at = open
        .record()
        .map_or(SystemTime::UNIX_EPOCH, |record| record.at);
    let circumstances = circumstances(shared, (asked, at), identity.client, headers);
    let verdict = authorize(
        &route.access,
        credential,
        &shared.table.read(),
        &circumstances,
    );
    open.decided(&verdict, &route.access, circumstances.view, asked.elapsed());
    verdict.map_err(|denial| refusal(denial.reason, route))
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
    headers.insert(X_REQUEST_ID, open.request_id());
}
