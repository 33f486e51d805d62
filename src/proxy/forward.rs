//! To the upstream and back: identity on, credentials off, the bytes untouched. Who may is decided before; how the
//! connection is made is `upstream`'s business.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::body::{Bounds, Cut, Meter, Upload};
use super::credential::{DD_API_KEY, DD_APPLICATION_KEY, Extracted, STRIPPED};
use super::handle::{Identity, No, Open, Worker};
use super::reply::Refusal;
use super::route::{Family, Route};
use super::strict::{HopByHop, X_REQUEST_ID};
use super::upstream::{Lease, OwnCredential, Upstream};
use crate::keys::Principal;
use crate::telemetry;

/// The prefix of every identity header; no client's header with it passes, in any spelling.
const IDENTITY_PREFIX: &str = "x-keygate";
const ORG_ID: HeaderName = HeaderName::from_static("x-keygate-org-id");
const KEY_ID: HeaderName = HeaderName::from_static("x-keygate-key-id");
const KEY_KIND: HeaderName = HeaderName::from_static("x-keygate-key-kind");
const USER_ID: HeaderName = HeaderName::from_static("x-keygate-user-id");
const USER_NAME: HeaderName = HeaderName::from_static("x-keygate-user-name");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// An upstream's answer, its body still to come.
pub struct Forwarded {
    /// Head and body.
    pub response: Response<Incoming>,
    /// The connection it comes on.
    pub lease: Lease,
    /// How the upload stands.
    pub meter: Rc<Meter>,
    /// How long the upstream may pause.
    pub idle: Duration,
    /// When all must be over.
    pub deadline: Instant,
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
    open.forwarding(&upstream.name, &meter);
    let bounds = Bounds {
        bytes_max: route.body_max,
        idle: listen.body_idle_timeout,
        rate_min: listen.body_rate_min.0,
        deadline,
    };
    let mut request = Request::new(Upload::new(body, bounds, Rc::clone(&meter)));
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_11;
    *request.uri_mut() = uri(upstream, extracted)?;
    *request.headers_mut() = headers(parts, upstream, identity, principal)?;

    let mut lease = worker.pool.lease(upstream).await?;
    loop {
        let counter = if lease.reused {
            &worker.counters.upstream_reused
        } else {
            &worker.counters.upstream_opened
        };
        telemetry::add(counter, 1);
        let sending = lease.sender.try_send_request(request);
        match await_head(sending, &meter, upstream.first_byte_timeout, deadline, open).await {
            Ok(Ok(response)) => {
                open.upstream_answered(now.elapsed());
                let response = clean(response, route.family)?;
                return Ok(Forwarded {
                    response,
                    lease,
                    meter,
                    idle: upstream.idle_timeout,
                    deadline,
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
    sending: impl Future<Output = T>,
    meter: &Meter,
    first_byte: Duration,
    deadline: Instant,
    open: &Open,
) -> Result<T, TimedOut> {
    let mut sending = std::pin::pin!(sending);
    meter.last.set(Instant::now());
    std::future::poll_fn(|cx| {
        if let Poll::Ready(answer) = sending.as_mut().poll(cx) {
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
fn uri(upstream: &Upstream, extracted: &Extracted<'_>) -> Result<Uri, Refusal> {
    let mut target = String::with_capacity(
        upstream.path_prefix.len() + extracted.path.len() + extracted.query.len() + 1,
    );
    target.push_str(&upstream.path_prefix);
    target.push_str(&extracted.path);
    if !extracted.query.is_empty() {
        target.push('?');
        target.push_str(&extracted.query);
    }
    if let OwnCredential::Query(credential) = &upstream.own_credential {
        target.push(if extracted.query.is_empty() { '?' } else { '&' });
        target.push_str(credential);
    }
    let target = PathAndQuery::from_maybe_shared(bytes::Bytes::from(target))
        .map_err(|_| Refusal::Ambiguous)?;
    Ok(Uri::from(target))
}

/// The client's headers without what belongs to one hop, without credentials, without what only we may say; then ours.
fn headers(
    parts: &Parts,
    upstream: &Upstream,
    identity: &Identity,
    principal: &Principal,
) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 12);
    let hop_by_hop = HopByHop::of(&parts.headers);
    for (name, value) in &parts.headers {
        if passes(name.as_str(), &hop_by_hop, identity) {
            let value = if name == header::REFERER {
                origin_only(value)
            } else {
                value.clone()
            };
            headers.append(name.clone(), value);
        }
    }
    headers.insert(header::HOST, upstream.authority.clone());
    headers.insert(X_REQUEST_ID, identity.request_id.clone());
    headers.insert(TRACEPARENT, identity.traceparent.clone());
    headers.insert(X_FORWARDED_FOR, identity.forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(identity.scheme));
    if let Some(host) = parts.headers.get(header::HOST) {
        headers.insert(X_FORWARDED_HOST, host.clone());
    }

    let attribution = principal.attribution();
    if let Some((id, _)) = &attribution.org {
        headers.insert(ORG_ID, text(&id.to_string())?);
    }
    if let Some(key) = &attribution.key {
        headers.insert(KEY_ID, text(&key.id.to_string())?);
        let kind = if attribution.application_key.is_some() {
            "pair"
        } else {
            key.kind.as_str()
        };
        headers.insert(KEY_KIND, HeaderValue::from_static(kind));
    }
    if let Some((id, name)) = &attribution.user {
        headers.insert(USER_ID, text(&id.to_string())?);
        headers.insert(USER_NAME, text(name)?);
    }
    if let OwnCredential::Header(name, value) = &upstream.own_credential {
        headers.insert(name.clone(), value.clone());
    }
    Ok(headers)
}

/// Names hold no control characters, so this fails for none that the store let in.
fn text(value: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Refusal::Internal)
}

/// Whether a client's header is passed on.
fn passes(name: &str, hop_by_hop: &HopByHop<'_>, identity: &Identity) -> bool {
    // A hop behind us may fold `_` and `.` to `-`: every spelling of what is ours is removed.
    let folded;
    let name = if name.contains(['_', '.']) {
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
        "tracestate" => identity.trace_is_clients,
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
fn clean(response: Response<Incoming>, family: Family) -> Result<Response<Incoming>, Refusal> {
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS || parts.status.is_informational() {
        return Err(Refusal::UpstreamBroke);
    }
    let mut headers = HeaderMap::with_capacity(parts.headers.len() + 4);
    let hop_by_hop = HopByHop::of(&parts.headers);
    for (name, value) in &parts.headers {
        let dropped = match name.as_str() {
            // hyper writes the true one.
            "date" => true,
            // A cookie would come back with every beacon (trap 50).
            "set-cookie" => family != Family::Api,
            // API keys do not belong in pages; the browser family gets its own.
            "access-control-allow-origin" | "access-control-allow-credentials" => true,
            name => name.starts_with(IDENTITY_PREFIX) || hop_by_hop.holds(name),
        };
        if !dropped {
            headers.append(name.clone(), value.clone());
        }
    }
    parts.headers = headers;
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, body))
}

thread_local! {
    /// Ids need to be unique, not secret: one generator for each worker, seeded by the system.
    static RANDOM: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::new());
}

fn random_u128() -> u128 {
    RANDOM.with_borrow_mut(|random| random.u128(1..))
}

/// Appends the low `digits` hex digits of a number. On the path of every request, where `write!` would be half of the
/// cost of an id.
fn push_hex(text: &mut Vec<u8>, number: u128, digits: u32) {
    for at in (0..digits).rev() {
        let digit = u8::try_from(number >> (4 * at) & 0xf).unwrap_or(0);
        text.push(if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        });
    }
}

/// A value of nothing but hex digits and dashes, which every header can hold.
fn ascii(text: Vec<u8>) -> HeaderValue {
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// The client's request id if it is one that can go into headers and logs as it is; else a new one. One that is also
/// found where credentials are is one of them, sent by mistake.
pub fn request_id(headers: &HeaderMap, uri: &Uri) -> HeaderValue {
    let plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let given = headers
        .get(X_REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(plain));
    if let Some(id) = given {
        let also_in = |text: &str| id.len() >= 8 && text.contains(id);
        let carried = [DD_API_KEY, DD_APPLICATION_KEY, header::AUTHORIZATION]
            .iter()
            .flat_map(|name| headers.get_all(name))
            .any(|value| value.to_str().is_ok_and(also_in));
        if !carried && !also_in(uri.path()) && !uri.query().is_some_and(also_in) {
            return HeaderValue::from_str(id).unwrap_or_else(|_| HeaderValue::from_static("0"));
        }
    }
    let mut id = Vec::with_capacity(32);
    push_hex(&mut id, random_u128(), 32);
    ascii(id)
}

/// Who the client is and what its request is called.
pub fn identify(
    headers: &HeaderMap,
    peer: IpAddr,
    trusted: &[IpNet],
    request_id: HeaderValue,
) -> Identity {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer;
    let mut forwarded_for = String::new();
    if !trusted.is_empty() && is_trusted(&peer) {
        // From the right: each trusted hop vouches for the address before its own, and for nothing further left.
        let hops: Vec<&str> = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|v| v.split(','))
            .collect();
        for hop in hops.iter().rev() {
            let Ok(address) = hop.trim().parse::<IpAddr>() else {
                break;
            };
            client = address.to_canonical();
            if forwarded_for.is_empty() {
                forwarded_for = client.to_string();
            } else {
                forwarded_for = format!("{client}, {forwarded_for}");
            }
            if !is_trusted(&client) {
                break;
            }
        }
    }
    if !forwarded_for.is_empty() {
        forwarded_for.push_str(", ");
    }
    let _ = write!(forwarded_for, "{peer}");
    let https = headers
        .get(X_FORWARDED_PROTO)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"));
    let clients_trace = headers
        .get(TRACEPARENT)
        .filter(|value| is_traceparent(value.as_bytes()));
    let traceparent = clients_trace.cloned().unwrap_or_else(|| {
        let mut made = Vec::with_capacity(55);
        made.extend_from_slice(b"00-");
        push_hex(&mut made, random_u128(), 32);
        made.push(b'-');
        push_hex(&mut made, random_u128() | 1, 16);
        made.extend_from_slice(b"-00");
        ascii(made)
    });
    Identity {
        client,
        request_id,
        traceparent,
        trace_is_clients: clients_trace.is_some(),
        scheme: if https && !trusted.is_empty() && is_trusted(&peer) {
            "https"
        } else {
            "http"
        },
        forwarded_for: HeaderValue::try_from(forwarded_for)
            .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
    }
}

/// Version 00 of W3C Trace Context, with ids that are not all zero.
fn is_traceparent(bytes: &[u8]) -> bool {
    let hex = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let set = |part: &[u8]| part.iter().any(|byte| *byte != b'0');
    let mut parts = bytes.split(|byte| *byte == b'-');
    match (
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
        parts.next(),
    ) {
        (Some(b"00"), Some(trace), Some(span), Some(flags), None) => {
            (trace.len(), span.len(), flags.len()) == (32, 16, 2)
                && hex(trace)
                && hex(span)
                && hex(flags)
                && set(trace)
                && set(span)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        map
    }

    fn identified(
        headers: &[(&'static str, &str)],
        peer: &str,
        trusted: &[&str],
    ) -> (String, String) {
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        let identity = identify(
            &map(headers),
            peer.parse().unwrap(),
            &trusted,
            HeaderValue::from_static("r"),
        );
        (
            identity.client.to_string(),
            identity.forwarded_for.to_str().unwrap().to_owned(),
        )
    }

    #[test]
    fn only_trusted_proxies_are_believed_about_the_client() {
        let forged = [("x-forwarded-for", "1.1.1.1, 2.2.2.2")];
        let same = |client: &str, chain: &str| (client.to_owned(), chain.to_owned());
        assert_eq!(
            identified(&forged, "9.9.9.9", &[]),
            same("9.9.9.9", "9.9.9.9")
        );
        assert_eq!(
            identified(&forged, "9.9.9.9", &["10.0.0.0/8"]),
            same("9.9.9.9", "9.9.9.9")
        );
        assert_eq!(
            identified(&forged, "10.0.0.1", &["10.0.0.0/8"]),
            same("2.2.2.2", "2.2.2.2, 10.0.0.1")
        );
        let chain = [("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.2")];
        assert_eq!(
            identified(&chain, "10.0.0.1", &["10.0.0.0/8"]),
            same("2.2.2.2", "2.2.2.2, 10.0.0.2, 10.0.0.1")
        );
        let garbage = [("x-forwarded-for", "1.1.1.1, junk")];
        assert_eq!(
            identified(&garbage, "10.0.0.1", &["10.0.0.0/8"]),
            same("10.0.0.1", "10.0.0.1")
        );
    }

    #[test]
    fn no_spelling_of_our_names_passes() {
        let headers = map(&[("connection", "x-hop, close")]);
        let identity = identify(
            &headers,
            "9.9.9.9".parse().unwrap(),
            &[],
            HeaderValue::from_static("r"),
        );
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
            assert!(!passes(name, &HopByHop::of(&headers), &identity), "{name}");
        }
        for name in [
            "content-type",
            "content-encoding",
            "dd-evp-origin",
            "user-agent",
            "x-other",
            "content-length",
        ] {
            assert!(passes(name, &HopByHop::of(&headers), &identity), "{name}");
        }
    }

    #[test]
    fn a_well_formed_request_id_is_kept_and_any_other_replaced() {
        let of = |headers: &[(&'static str, &str)], uri: &'static str| {
            request_id(&map(headers), &Uri::from_static(uri))
        };
        assert_eq!(of(&[("x-request-id", "a-1.b:2_C")], "/a"), "a-1.b:2_C");
        for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
            assert_eq!(of(&[("x-request-id", bad)], "/").len(), 32, "{bad}");
        }
        assert_ne!(of(&[], "/"), of(&[], "/"));
        let key = "0123456789abcdef";
        assert_ne!(of(&[("x-request-id", key), ("dd-api-key", key)], "/"), key);
        assert_ne!(
            of(&[("x-request-id", key)], "/?api_key=0123456789abcdef"),
            key
        );
    }

    #[test]
    fn a_valid_trace_is_continued_and_any_other_begun_anew() {
        let kept = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = |value: &str| {
            identify(
                &map(&[("traceparent", value)]),
                "9.9.9.9".parse().unwrap(),
                &[],
                HeaderValue::from_static("r"),
            )
        };
        assert_eq!(of(kept).traceparent, kept);
        for bad in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "01-x",
        ] {
            let identity = of(bad);
            assert!(
                !identity.trace_is_clients && is_traceparent(identity.traceparent.as_bytes()),
                "{bad}"
            );
        }
    }
}
