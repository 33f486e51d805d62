//! What is refused before anything is decided: requests that two readers could understand in two ways, and methods that
//! are never forwarded. hyper has parsed the head already; this covers what it lets by (RFC 9110, RFC 9112).

use http::header::{self, GetAll, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

use super::known::{Known, KnownHeaders};
use super::reply::{No, Refusal};
use super::target::Ambiguity;

/// Names whose spelling with `_` for `-` is refused: a hop behind us could read them as the real ones.
const NEVER_FOLDED: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "dd-api-key",
    "dd-application-key",
    "authorization",
    "proxy-authorization",
    "x-api-key",
];

/// Refuses what is ambiguous or not supported. `head_is_ambiguous` is what [`super::raw_head`] saw.
///
/// # Errors
/// The contract's row.
pub fn require_unambiguous(
    parts: &Parts,
    headers: &KnownHeaders<'_>,
    head_is_ambiguous: bool,
) -> Result<(), No> {
    if head_is_ambiguous {
        return Err(Ambiguity::Framing.into());
    }
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(Refusal::NotSupported.into());
    }
    // `Upgrade: h2c` is an offer that curl makes; RFC 9110, 7.8 lets a server pass over it. Others expect a yes.
    if headers
        .values(Known::Upgrade)
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"h2c"))
    {
        return Err(Refusal::NotSupported.into());
    }
    // The target's authority never chooses where a request goes; a scheme that is not ours was meant for somebody else.
    if parts
        .uri
        .scheme_str()
        .is_some_and(|scheme| !matches!(scheme, "http" | "https"))
    {
        return Err(Ambiguity::Path.into());
    }
    require_host(parts, headers)?;
    require_framing(parts, headers)?;
    if headers.names.has_folded() {
        for name in headers.map.keys() {
            let folded = name.as_str().replace('_', "-");
            if folded == name.as_str() {
                continue;
            }
            if NEVER_FOLDED.contains(&folded.as_str()) {
                return Err(Ambiguity::HeaderName.into());
            }
        }
    }
    if headers
        .values(Known::Expect)
        .any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        return Err(Refusal::ExpectationFailed.into());
    }
    Ok(())
}

/// Exactly one valid Host (RFC 9112, 3.2); HTTP/1.0 may do without.
fn require_host(parts: &Parts, headers: &KnownHeaders<'_>) -> Result<(), Ambiguity> {
    let mut hosts = headers.values(Known::Host);
    let valid = |bytes: &[u8]| {
        let of_a_host =
            |byte: &u8| byte.is_ascii_alphanumeric() || b".-_~:[]%!$&'()*+=".contains(byte);
        bytes.iter().all(of_a_host)
    };
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if valid(host.as_bytes()) => Ok(()),
        (None, _) if parts.version == Version::HTTP_10 => Ok(()),
        (Some(_) | None, _) => Err(Ambiguity::Host),
    }
}

/// One framing and no other: `chunked` alone, or one length (RFC 9112, 6.1 and 6.3).
fn require_framing(parts: &Parts, headers: &KnownHeaders<'_>) -> Result<(), Ambiguity> {
    let mut encodings = headers.values(Known::TransferEncoding);
    match (encodings.next(), encodings.next()) {
        (None, _) => {}
        (Some(encoding), None)
            if encoding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && parts.version == Version::HTTP_11
                && !headers.has(Known::ContentLength) => {}
        (Some(_), _) => return Err(Ambiguity::Framing),
    }
    if headers.values(Known::ContentLength).count() > 1 {
        return Err(Ambiguity::Framing);
    }
    Ok(())
}

/// The headers that belong to one connection only (RFC 9110, 7.6.1): those that always do, and those that this message's
/// Connection names. Looked up once for a message, asked for each of its headers.
pub struct HopByHop<'a> {
    named: Option<GetAll<'a, HeaderValue>>,
}

impl<'a> HopByHop<'a> {
    /// Of one message.
    pub fn of(headers: &KnownHeaders<'a>) -> Self {
        Self {
            named: headers.get_all(Known::Connection),
        }
    }

    /// Of an upstream's answer.
    pub fn of_answer(headers: &'a HeaderMap) -> Self {
        let named = headers.contains_key(header::CONNECTION);
        Self {
            named: named.then(|| headers.get_all(header::CONNECTION)),
        }
    }

    /// Whether this header goes no further.
    pub fn holds(&self, name: &str) -> bool {
        matches!(
            name,
            "connection"
                | "keep-alive"
                | "proxy-connection"
                | "proxy-authenticate"
                | "te"
                | "trailer"
                | "transfer-encoding"
                | "upgrade"
                | "http2-settings"
        ) || self.named.as_ref().is_some_and(|values| {
            let mut tokens = values
                .iter()
                .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
            tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
        })
    }
}
