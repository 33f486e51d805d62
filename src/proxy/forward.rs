//! To the upstream and back: identity on, credentials off, the bytes untouched. Who may is decided before; how the
//! connection is made is `upstream`'s business.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Uri, Version};
use hyper::body::Incoming;

use super::body::{Bounds, Cut, Meter, Streamed, Upload};
use super::credential::{Extracted, STRIPPED};
use super::identity::{
    Identity, TRACEPARENT, Trace, X_FORWARDED_FOR, X_FORWARDED_PROTO, X_REQUEST_ID, hex,
    traceparent,
};
use super::known::{Known, KnownNames};
use super::open::Open;
use super::record::RequestId;
use super::reply::{No, Refusal};
use super::route::{Family, Route};
use super::strict::HopByHop;
use super::target::decode;
use super::upstream::{Link, OwnCredential, Upstream};
use super::worker::Worker;
use crate::keys::{KeyTable, Principal};
use crate::telemetry;

/// The prefix of every identity header; no client's header with it passes, in any spelling.
const IDENTITY_PREFIX: &str = "x-keygate";
const ORG_ID: HeaderName = HeaderName::from_static("x-keygate-org-id");
const KEY_ID: HeaderName = HeaderName::from_static("x-keygate-key-id");
const APP_KEY_ID: HeaderName = HeaderName::from_static("x-keygate-app-key-id");
const KEY_KIND: HeaderName = HeaderName::from_static("x-keygate-key-kind");
const USER_ID: HeaderName = HeaderName::from_static("x-keygate-user-id");
const USER_NAME: HeaderName = HeaderName::from_static("x-keygate-user-name");

/// The headers that say whose request it is.
pub const IDENTITY: [HeaderName; 6] = [ORG_ID, KEY_ID, KEY_KIND, APP_KEY_ID, USER_ID, USER_NAME];
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// An upstream's answer, its body still to come.
pub struct Forwarded {
    /// Its head.
    pub head: http::response::Parts,
    /// Its body, and the connection that it comes on.
    pub body: Box<Streamed>,
}

/// Sends an admitted request on and waits for the head of the answer.
///
/// # Errors
/// The contract's row for what went wrong.
#[expect(
    clippy::too_many_arguments,
    reason = "each is the typed result of one step; a struct would only rename them"
)]
pub async fn forward(
    worker: &Rc<Worker>,
    upstream: &Arc<Upstream>,
    route: &Route,
    parts: &Parts,
    (sent, names): (HeaderMap, KnownNames),
    body: Incoming,
    extracted: &Extracted<'_>,
    identity: &Identity,
    principal: &Principal,
    open: &mut Open,
) -> Result<Forwarded, No> {
    let now = Instant::now();
    let listen = &worker.shared.listen;
    if http_body::Body::size_hint(&body).lower() > route.body_max {
        return Err(Refusal::TooLarge.into());
    }
    let deadline = now + listen.request_timeout;
    let meter = Rc::new(Meter::new(now));
    open.forwarding(upstream.name, &meter);
    let bounds = Bounds {
        bytes_max: route.body_max,
        idle: listen.body_idle_timeout,
        rate_min: listen.body_rate_min.0,
        deadline,
    };
    let mut request = Request::new(Upload::new(body, bounds, Rc::clone(&meter)));
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = uri(upstream, &parts.uri, extracted)?;
    let request_id = open.record().and_then(|record| record.request_id.clone());
    let request_id = request_id.ok_or(Refusal::Internal)?;
    let table = &worker.shared.table;
    let sent = headers(
        sent,
        names,
        upstream,
        identity,
        &request_id,
        principal,
        table,
    )?;
    if let Some(text) = sent.get(X_REQUEST_ID) {
        open.named(text.clone());
    }
    *request.headers_mut() = sent;

    let mut lease = worker.pool.lease(upstream, now).await?;
    loop {
        let counter = if lease.reused {
            &worker.counters.upstream_reused
        } else {
            &worker.counters.upstream_opened
        };
        telemetry::add(counter, 1);
        if !lease.reused {
            // Connecting has its own time.
            meter.last.set(Instant::now());
        }
        let sending = lease.link.send(request);
        let first_byte = upstream.first_byte_timeout;
        match await_head(&mut lease.link, sending, &meter, first_byte, deadline, open).await {
            Ok(Ok(response)) => {
                let answered = Instant::now();
                open.upstream_answered(answered.saturating_duration_since(now));
                let (head, body) = response.into_parts();
                let waits = (answered, upstream.idle_timeout);
                return Ok(Forwarded {
                    head: clean(head, route.family)?,
                    body: Streamed::new(body, lease, meter, waits, deadline),
                });
            }
            // The kept connection had been closed, and the request comes back untouched: nothing of it was sent.
            Ok(Err(mut error)) if lease.reused && error.message().is_some() => {
                request = error.take_message().ok_or(Refusal::UpstreamBroke)?;
                open.retried();
                lease = worker.pool.open(upstream).await?;
            }
            Ok(Err(_)) => return Err(blame(&meter, open).into()),
            // Over the whole request's deadline, it is whoever was waited for that was too slow.
            Err(TimedOut) if meter.waits_for_client() => return Err(Refusal::TooSlow.into()),
            Err(TimedOut) => return Err(Refusal::UpstreamTimedOut.into()),
        }
    }
}

/// Whose doing a failed exchange was.
fn blame(meter: &Meter, open: &mut Open) -> Refusal {
    let cut = meter.cut.get();
    if let Some(cut) = cut {
        open.fault(cut);
    }
    match cut {
        Some(Cut::TooLarge) => Refusal::TooLarge,
        Some(Cut::TooSlow) => Refusal::TooSlow,
        // Told so, if it still listens.
        Some(Cut::Client | Cut::Framing) => Refusal::Ambiguous,
        Some(Cut::Deadline) => Refusal::UpstreamTimedOut,
        Some(Cut::Upstream) | None => Refusal::UpstreamBroke,
    }
}

struct TimedOut;

/// Waits for the head of an answer. The upstream's time runs from the last byte it could take: a long upload is not
/// held against it, and an upload that waits for its client is timed by its own bounds.
async fn await_head<T>(
    link: &mut Link,
    sending: impl Future<Output = T>,
    meter: &Meter,
    first_byte: Duration,
    deadline: Instant,
    open: &Open,
) -> Result<T, TimedOut> {
    let mut sending = std::pin::pin!(sending);
    std::future::poll_fn(|cx| {
        link.drive(cx);
        // Only driving the connection brings the answer, so it need not wake anybody: that would be this same task.
        let woken_by_nobody = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(answer) = sending.as_mut().poll(woken_by_nobody) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            let from = if meter.waits_for_client() {
                Instant::now()
            } else {
                meter.last.get()
            };
            let limit = (from + first_byte).min(deadline);
            if open.poll_deadline(cx, limit).is_pending() {
                return Poll::Pending;
            }
            // It rang at a limit that was right when it was set; the upload may have moved on since.
            if Instant::now() >= deadline || !meter.waits_for_client() {
                return Poll::Ready(Err(TimedOut));
            }
        }
    })
    .await
}

/// The target as it was decided on, never as it was sent.
///
/// # Errors
/// When it is none.
pub fn uri(upstream: &Upstream, sent: &Uri, extracted: &Extracted<'_>) -> Result<Uri, Refusal> {
    // It may be the same, letter for letter: then it need not be put together again.
    let is_query = matches!(upstream.own_credential, OwnCredential::Query { .. });
    if upstream.path_prefix.is_empty()
        && !is_query
        && extracted.path == sent.path()
        && let Some(target) = sent.path_and_query()
        && target
            .query()
            .is_none_or(|query| !query.is_empty() && query == extracted.query)
        && target.query().is_some() != extracted.query.is_empty()
    {
        return Ok(Uri::from(target.clone()));
    }
    let mut target = String::with_capacity(
        upstream.path_prefix.len() + extracted.path.len() + extracted.query.len() + 1,
    );
    target.push_str(&upstream.path_prefix);
    target.push_str(&extracted.path);
    match &upstream.own_credential {
        OwnCredential::Query { name, pair } => {
            let is_that = |pair: &&str| {
                let given = pair.split('=').next().unwrap_or_default();
                decode(given).as_deref() == Some(name)
            };
            target.push('?');
            for pair in extracted
                .query
                .split('&')
                .filter(|pair| !pair.is_empty() && !is_that(pair))
            {
                target.push_str(pair);
                target.push('&');
            }
            target.push_str(pair);
        }
        OwnCredential::Header(..) | OwnCredential::None if extracted.query.is_empty() => {}
        OwnCredential::Header(..) | OwnCredential::None => {
            target.push('?');
            target.push_str(&extracted.query);
        }
    }
    let target = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target))
        .map_err(|_| Refusal::Ambiguous)?;
    Ok(Uri::from(target))
}

/// The client's headers without what belongs to one hop, without credentials, without what only we may say; then ours. They
/// stay in the map they came in: a copy would be taken apart and put together again for every request.
///
/// # Errors
/// When what we say of the caller fits no header.
pub fn headers(
    mut headers: HeaderMap,
    names: KnownNames,
    upstream: &Upstream,
    identity: &Identity,
    request_id: &RequestId,
    principal: &Principal,
    table: &KeyTable,
) -> Result<HeaderMap, Refusal> {
    let known = names.with(&headers);
    let host = known.get(Known::Host).cloned();
    let hop_by_hop = HopByHop::of(&known);
    let is_dropped = |name: &&HeaderName| !passes(name.as_str(), &hop_by_hop, identity);
    let dropped: Vec<HeaderName> = headers.keys().filter(is_dropped).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
    if names.has(Known::Referer) {
        for (name, value) in &mut headers {
            if name == header::REFERER {
                *value = origin_only(value);
            }
        }
    }

    let attribution = principal.attribution();
    let mut text = Texts::new();
    let request_id = text.add(|text| match request_id {
        RequestId::Made(id) => text.extend_from_slice(&hex(*id)),
        RequestId::Given(id) => text.extend_from_slice(id.as_bytes()),
    });
    let made_trace = match identity.trace {
        Trace::Made(trace, span) => {
            Some(text.add(|text| text.extend_from_slice(&traceparent(trace, span))))
        }
        Trace::Clients(..) => None,
    };
    let ids = [
        (ORG_ID, attribution.org.map(|(id, _)| id.0)),
        (KEY_ID, attribution.key.map(|key| key.id.0)),
        (APP_KEY_ID, attribution.application_key.map(|key| key.id.0)),
        (USER_ID, attribution.user.map(|(id, _)| id.0)),
    ]
    .map(|(name, id)| Some((name, text.add_id(id?))));
    let text = text.finish();

    headers.insert(header::HOST, upstream.authority.clone());
    headers.insert(X_REQUEST_ID, text.value(request_id)?);
    let trace = match (&identity.trace, made_trace) {
        (Trace::Clients(value, _), _) => value.clone(),
        (Trace::Made(..), Some(made)) => text.value(made)?,
        (Trace::Made(..), None) => return Err(Refusal::Internal),
    };
    headers.insert(TRACEPARENT, trace);
    headers.insert(X_FORWARDED_FOR, identity.forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(identity.scheme));
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    for (name, id) in ids.into_iter().flatten() {
        headers.insert(name, text.value(id)?);
    }
    if let Some(key) = &attribution.key {
        let kind = if attribution.application_key.is_some() {
            "pair"
        } else {
            key.kind.as_str()
        };
        headers.insert(KEY_KIND, HeaderValue::from_static(kind));
    }
    if let Some((_, at)) = attribution.user
        && let Some(name) = table.read().user_name(at, self::text)
    {
        headers.insert(USER_NAME, name?);
    }
    if let OwnCredential::Header(name, value) = &upstream.own_credential {
        headers.insert(name.clone(), value.clone());
    }
    Ok(headers)
}

/// The texts of what a request is called and whose it is, in one piece of memory that all of their values share.
struct Texts(Vec<u8>);

impl Texts {
    /// Room for an id of the request, of its trace, and four of the caller's.
    fn new() -> Self {
        Self(Vec::with_capacity(
            32 + 55 + 4 * uuid::fmt::Hyphenated::LENGTH,
        ))
    }

    fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.0.len();
        write(&mut self.0);
        start..self.0.len()
    }

    fn add_id(&mut self, id: uuid::Uuid) -> Range<usize> {
        let mut digits = [0; uuid::fmt::Hyphenated::LENGTH];
        let digits = id.hyphenated().encode_lower(&mut digits);
        self.add(|text| text.extend_from_slice(digits.as_bytes()))
    }

    fn finish(self) -> Finished {
        Finished(Bytes::from(self.0))
    }
}

struct Finished(Bytes);

impl Finished {
    fn value(&self, range: Range<usize>) -> Result<HeaderValue, Refusal> {
        HeaderValue::from_maybe_shared(self.0.slice(range)).map_err(|_| Refusal::Internal)
    }
}

/// Names hold no control characters, so this fails for none that the store let in.
fn text(value: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Refusal::Internal)
}

/// Whether a client's header is passed on.
fn passes(name: &str, hop_by_hop: &HopByHop<'_>, identity: &Identity) -> bool {
    // A hop behind us may fold `_` and `.` to `-`: every spelling of what is ours is removed.
    let folded;
    let name = if name.bytes().any(|byte| matches!(byte, b'_' | b'.')) {
        folded = name.replace(['_', '.'], "-");
        folded.as_str()
    } else {
        name
    };
    if STRIPPED.contains(&name)
        || name.starts_with(IDENTITY_PREFIX)
        || name.starts_with("x-forwarded-")
    {
        return false;
    }
    match name {
        "x-request-id" | "traceparent" | "host" | "expect" => false,
        // Some hops take the client's address, the path or the method from these, over what was decided on.
        "forwarded"
        | "x-real-ip"
        | "x-client-ip"
        | "true-client-ip"
        | "x-original-url"
        | "x-rewrite-url"
        | "x-http-method-override"
        | "x-method-override" => false,
        "tracestate" => identity.trace.is_clients(),
        name => !hop_by_hop.holds(name),
    }
}

/// A page's path and query may hold anything, a token as well: only its origin goes on.
fn origin_only(referer: &HeaderValue) -> HeaderValue {
    let bytes = referer.as_bytes();
    let slashes = bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| matches!(byte, b'/' | b'?' | b'#'));
    let end = slashes.map(|(at, _)| at).nth(2).unwrap_or(bytes.len());
    let origin = bytes
        .get(..end)
        .filter(|origin| origin.starts_with(b"http") && !origin.contains(&b'@'));
    origin
        .and_then(|origin| HeaderValue::from_bytes(origin).ok())
        .unwrap_or_else(|| HeaderValue::from_static(""))
}

/// An upstream's answer without what belongs to one hop or could act in our name. A protocol switch that nobody asked
/// for is a broken answer.
fn clean(
    mut parts: http::response::Parts,
    family: Family,
) -> Result<http::response::Parts, Refusal> {
    if parts.status.is_informational() || parts.status.as_u16() >= 600 {
        return Err(Refusal::UpstreamBroke);
    }
    let hop_by_hop = HopByHop::of_answer(&parts.headers);
    let is_dropped = |name: &&HeaderName| {
        match name.as_str() {
            // hyper writes the true one.
            "date" => true,
            // A cookie would come back with every beacon (trap 50).
            "set-cookie" => family != Family::Api,
            // API keys do not belong in pages; the browser family gets its own.
            "access-control-allow-origin" | "access-control-allow-credentials" => true,
            name => name.starts_with(IDENTITY_PREFIX) || hop_by_hop.holds(name),
        }
    };
    // Most often there is none: then nothing is copied.
    let dropped: Vec<HeaderName> = parts.headers.keys().filter(is_dropped).cloned().collect();
    for name in dropped {
        parts.headers.remove(name);
    }
    parts.version = Version::HTTP_11;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::identity::identify;
    use crate::proxy::known::KnownHeaders;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    #[test]
    fn no_spelling_of_our_names_passes() {
        let headers = map(&[("connection", "x-hop, close")]);
        let address: std::net::IpAddr = "9.9.9.9".parse().unwrap();
        let known = KnownHeaders::of(&headers);
        let identity = identify(&known, &address.into(), &[]);
        for name in [
            "x-keygate-org-id",
            "x_keygate_org_id",
            "x-keygate_user-id",
            "x-keygate-anything",
            "x-forwarded-for",
            "x_forwarded_for",
            "forwarded",
            "x-real-ip",
            "dd-api-key",
            "authorization",
            "cookie",
            "connection",
            "transfer-encoding",
            "te",
            "trailer",
            "upgrade",
            "x-hop",
            "expect",
            "host",
            "tracestate",
        ] {
            assert!(!passes(name, &HopByHop::of(&known), &identity), "{name}");
        }
        for name in [
            "content-type",
            "content-encoding",
            "dd-evp-origin",
            "user-agent",
            "x-other",
            "content-length",
        ] {
            assert!(passes(name, &HopByHop::of(&known), &identity), "{name}");
        }
    }
}
