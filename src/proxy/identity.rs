//! Who the client is and what its request is called: address, request id, trace. Taken from the request where that can be
//! believed, made here where not. Whose request it is, is `keys::policy`'s business.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::IpAddr;

use http::Uri;
use http::header::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::known::{Known, KnownHeaders};
use super::record::RequestId;

/// The request's id, from the client or made here.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The trace that the request belongs to (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The client's address, and those of the proxies it came through.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What the client spoke.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who is at the other end of a connection.
#[derive(Debug)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// The address as text, once for all requests of the connection.
    text: HeaderValue,
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            text: HeaderValue::try_from(address.to_string())
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
        }
    }
}

/// The trace that a request belongs to (W3C Trace Context).
#[derive(Debug)]
pub enum Trace {
    /// The client's: its `traceparent` as it came, and the trace's id in it. Its `tracestate` is still about it.
    Clients(HeaderValue, u128),
    /// One that begins here: the ids of the trace and of its span.
    Made(u128, u64),
}

impl Trace {
    /// The trace's id.
    pub const fn id(&self) -> u128 {
        match *self {
            Self::Clients(_, id) | Self::Made(id, _) => id,
        }
    }

    /// Whether it is the client's.
    pub const fn is_clients(&self) -> bool {
        matches!(self, Self::Clients(..))
    }
}

/// `traceparent` of a trace that begins here.
pub fn traceparent(trace: u128, span: u64) -> [u8; 55] {
    let mut text = *b"00-................................-................-00";
    for (to, from) in text.iter_mut().skip(3).zip(hex(trace)) {
        *to = from;
    }
    for (to, from) in text
        .iter_mut()
        .skip(36)
        .zip(hex(span.into()).iter().skip(16))
    {
        *to = *from;
    }
    text
}

/// A request's identity for the upstream and the record.
#[derive(Debug)]
pub struct Identity {
    /// The client, trusted proxies aside.
    pub client: IpAddr,
    /// The trace it belongs to.
    pub trace: Trace,
    /// `X-Forwarded-Proto`: what the client spoke, by the word of a trusted proxy that ended its TLS.
    pub scheme: &'static str,
    /// `X-Forwarded-For`.
    pub forwarded_for: HeaderValue,
}

thread_local! {
    /// Ids need to be unique, not secret: one generator for each worker, seeded by the system.
    static RANDOM: RefCell<fastrand::Rng> = RefCell::new(fastrand::Rng::new());
}

fn random_u128() -> u128 {
    RANDOM.with_borrow_mut(|random| random.u128(1..))
}

/// A number in hex digits. On the path of every request, where `write!` would be half of the cost of an id.
pub fn hex(number: u128) -> [u8; 32] {
    let digit = |nibble: u8| {
        if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + nibble - 10
        }
    };
    let mut text = [0; 32];
    for (two, byte) in text
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(number.to_be_bytes())
    {
        *two = [digit(byte >> 4), digit(byte & 0xf)];
    }
    text
}

/// `X-Request-ID`.
pub fn id_value(id: &RequestId) -> HeaderValue {
    let value = match id {
        RequestId::Made(id) => HeaderValue::from_bytes(&hex(*id)),
        RequestId::Given(id) => HeaderValue::from_str(id),
    };
    // Of visible ASCII, both of them.
    value.unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// The client's request id if it is one that can go into headers and logs as it is; else a new one. One that is also
/// found where credentials are is one of them, sent by mistake.
pub fn request_id(headers: &KnownHeaders<'_>, uri: &Uri) -> RequestId {
    let plain =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
    let given = headers
        .get(Known::RequestId)
        .and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (1..=128).contains(&id.len()) && id.as_bytes().iter().all(plain));
    if let Some(id) = given {
        let also_in = |text: &str| {
            (id.len() >= 8 && text.contains(id)) || (text.len() >= 8 && id.contains(text))
        };
        let carried = [Known::ApiKey, Known::ApplicationKey, Known::Authorization]
            .into_iter()
            .flat_map(|known| headers.values(known))
            .any(|value| value.to_str().is_ok_and(also_in));
        if !carried && !also_in(uri.path()) && !uri.query().is_some_and(also_in) {
            return RequestId::Given(id.into());
        }
    }
    RequestId::Made(random_u128())
}

/// Who the client is and what its request is called.
pub fn identify(headers: &KnownHeaders<'_>, peer: &Peer, trusted: &[IpNet]) -> Identity {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut client = peer.address;
    let mut forwarded_for = String::new();
    let is_proxy = !trusted.is_empty() && is_trusted(&peer.address);
    if is_proxy {
        // From the right: each trusted hop vouches for the address before its own, and for nothing further left.
        let hops: Vec<&str> = headers
            .values(Known::ForwardedFor)
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
    let forwarded_for = if forwarded_for.is_empty() {
        peer.text.clone()
    } else {
        let _ = write!(forwarded_for, ", {}", peer.address);
        HeaderValue::try_from(forwarded_for).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    };
    let https = headers
        .get(Known::ForwardedProto)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"));
    let clients_trace = headers
        .get(Known::Traceparent)
        .and_then(|value| Some((value.clone(), trace_of(value.as_bytes())?)));
    let trace = clients_trace.map_or_else(make_trace, |(value, id)| Trace::Clients(value, id));
    Identity {
        client,
        trace,
        scheme: if https && is_proxy { "https" } else { "http" },
        forwarded_for,
    }
}

fn make_trace() -> Trace {
    let trace = random_u128();
    Trace::Made(trace, RANDOM.with_borrow_mut(|random| random.u64(1..)))
}

/// The trace of version 00 of W3C Trace Context, with ids that are not all zero.
fn trace_of(bytes: &[u8]) -> Option<u128> {
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
            let lengths = (trace.len(), span.len(), flags.len()) == (32, 16, 2);
            let digits = hex(trace) && hex(span) && hex(flags);
            (lengths && digits && set(trace) && set(span))
                .then(|| u128::from_str_radix(std::str::from_utf8(trace).ok()?, 16).ok())
                .flatten()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(headers: &[(&'static str, &str)]) -> http::HeaderMap {
        let mut map = http::HeaderMap::new();
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
        let peer: IpAddr = peer.parse().unwrap();
        let identity = identify(&KnownHeaders::of(&map(headers)), &peer.into(), &trusted);
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
    fn a_well_formed_request_id_is_kept_and_any_other_replaced() {
        let of = |headers: &[(&'static str, &str)], uri: &'static str| {
            let id = request_id(&KnownHeaders::of(&map(headers)), &Uri::from_static(uri));
            id_value(&id).to_str().unwrap().to_owned()
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
            let peer: IpAddr = "9.9.9.9".parse().unwrap();
            identify(
                &KnownHeaders::of(&map(&[("traceparent", value)])),
                &peer.into(),
                &[],
            )
        };
        let trace = of(kept).trace;
        assert!(matches!(&trace, Trace::Clients(value, _) if value == kept));
        assert_eq!(trace.id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        for bad in [
            "",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "01-x",
        ] {
            let identity = of(bad);
            let Trace::Made(trace, span) = identity.trace else {
                panic!("{bad} is no trace");
            };
            assert_eq!(trace_of(&traceparent(trace, span)), Some(trace), "{bad}");
        }
    }
}
