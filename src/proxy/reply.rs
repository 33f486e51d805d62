//! The sender contract: (what was said no to) x (route family) -> status, headers, body. One table without a wildcard;
//! the README's copy is printed from it. Success never comes from here but for what keygate answers itself.

use std::cell::OnceCell;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::known::{Known, KnownHeaders};
use super::route::Family;
use super::target::Ambiguity;

/// What a client is told when keygate says no (DESIGN 4). Coarse on purpose: the record has the exact reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No API key or client token.
    MissingKey,
    /// An API key, but no application key.
    MissingApplicationKey,
    /// A credential that is certainly no good.
    Bad,
    /// Not decidable now.
    CannotTell,
    /// The body is larger than the route takes.
    TooLarge,
    /// The body did not come, or came too slowly.
    TooSlow,
    /// The upstream could not be reached.
    UpstreamRefused,
    /// The upstream did not answer in time.
    UpstreamTimedOut,
    /// The upstream broke the protocol or its connection.
    UpstreamBroke,
    /// Nothing is at this method and path.
    NoRoute,
    /// The same, for a POST that carries a key: its sender would send it again for ever after a 404.
    NoRouteForSender,
    /// A request that two readers could understand in two ways.
    Ambiguous,
    /// A method or an upgrade that is never forwarded.
    NotSupported,
    /// An expectation other than `100-continue`.
    ExpectationFailed,
    /// Our own fault.
    Internal,
}

impl Refusal {
    /// Every one, in the order of the contract's rows.
    pub const ALL: [Self; 15] = [
        Self::MissingKey,
        Self::MissingApplicationKey,
        Self::Bad,
        Self::CannotTell,
        Self::TooLarge,
        Self::TooSlow,
        Self::UpstreamRefused,
        Self::UpstreamTimedOut,
        Self::UpstreamBroke,
        Self::NoRoute,
        Self::NoRouteForSender,
        Self::Ambiguous,
        Self::NotSupported,
        Self::ExpectationFailed,
        Self::Internal,
    ];

    /// The row's name in the contract.
    pub const fn label(self) -> &'static str {
        match self {
            Self::MissingKey => "no API key or client token",
            Self::MissingApplicationKey => "no application key",
            Self::Bad => "bad credential (unknown, revoked, expired, wrong kind, wrong pair, ...)",
            Self::CannotTell => "cannot tell (key table too old or not loaded)",
            Self::TooLarge => "body too large",
            Self::TooSlow => "body too slow",
            Self::UpstreamRefused => "upstream refused the connection",
            Self::UpstreamTimedOut => "upstream timed out",
            Self::UpstreamBroke => "upstream broke the protocol",
            Self::NoRoute => "no such route",
            Self::NoRouteForSender => "no such route, POST with a key",
            Self::Ambiguous => "ambiguous request",
            Self::NotSupported => "CONNECT, TRACE, upgrade",
            Self::ExpectationFailed => "unknown expectation",
            Self::Internal => "keygate's own fault",
        }
    }

    /// Whether the connection ends with it: after a request that could be read in two ways, nobody knows where the next
    /// one begins; and one whose body is not read to its end has no next one.
    pub const fn closes(self) -> bool {
        match self {
            Self::Ambiguous
            | Self::NotSupported
            | Self::TooLarge
            | Self::TooSlow
            | Self::ExpectationFailed => true,
            Self::MissingKey
            | Self::MissingApplicationKey
            | Self::Bad
            | Self::CannotTell
            | Self::UpstreamRefused
            | Self::UpstreamTimedOut
            | Self::UpstreamBroke
            | Self::NoRoute
            | Self::NoRouteForSender
            | Self::Internal => false,
        }
    }

    /// The word in the record's `error.type`; `None` where `auth.reason` says it all.
    pub const fn fault(self) -> Option<&'static str> {
        match self {
            Self::MissingKey | Self::MissingApplicationKey | Self::Bad | Self::CannotTell => None,
            Self::TooLarge => Some("body_too_large"),
            Self::TooSlow => Some("body_too_slow"),
            Self::UpstreamRefused => Some("upstream_refused"),
            Self::UpstreamTimedOut => Some("upstream_timed_out"),
            Self::UpstreamBroke => Some("upstream_broke"),
            Self::NoRoute | Self::NoRouteForSender => Some("no_route"),
            Self::Ambiguous => Some("ambiguous"),
            Self::NotSupported => Some("not_supported"),
            Self::ExpectationFailed => Some("expectation_failed"),
            Self::Internal => Some("internal"),
        }
    }
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

impl From<Ambiguity> for No {
    fn from(_which: Ambiguity) -> Self {
        Refusal::Ambiguous.into()
    }
}

/// The contract. 403 makes an Agent stop, 401 and 404 make it send again for ever, 503 is the one status after which
/// every sender keeps its data (WIRE 1.2).
pub const fn status(refusal: Refusal, family: Family) -> StatusCode {
    match (refusal, family) {
        (Refusal::MissingKey, Family::Logs | Family::Otlp) => StatusCode::UNAUTHORIZED,
        (
            Refusal::MissingKey,
            Family::Agent
            | Family::Validate
            | Family::Input
            | Family::Browser
            | Family::Api
            | Family::Traces,
        ) => StatusCode::FORBIDDEN,
        (Refusal::MissingApplicationKey, _) => StatusCode::UNAUTHORIZED,
        (Refusal::Bad | Refusal::NoRouteForSender, _) => StatusCode::FORBIDDEN,
        // An OTLP exporter drops its data on every status but 429, 502, 503 and 504.
        (Refusal::CannotTell | Refusal::UpstreamRefused, _)
        | (Refusal::TooSlow | Refusal::Internal, Family::Otlp) => StatusCode::SERVICE_UNAVAILABLE,
        (Refusal::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (Refusal::TooSlow, _) => StatusCode::REQUEST_TIMEOUT,
        (Refusal::UpstreamTimedOut, _) => StatusCode::GATEWAY_TIMEOUT,
        (Refusal::UpstreamBroke, _) => StatusCode::BAD_GATEWAY,
        (Refusal::NoRoute, _) => StatusCode::NOT_FOUND,
        (Refusal::Ambiguous, _) => StatusCode::BAD_REQUEST,
        (Refusal::NotSupported, _) => StatusCode::NOT_IMPLEMENTED,
        (Refusal::ExpectationFailed, _) => StatusCode::EXPECTATION_FAILED,
        (Refusal::Internal, _) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What the client is told in words. Never why a credential is bad: unknown, revoked and foreign look the same.
const fn detail(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::MissingKey => "API key required",
        Refusal::MissingApplicationKey => "Application key required",
        Refusal::Bad => "API key is missing or invalid",
        Refusal::CannotTell => "The gateway cannot check credentials now; send again later",
        Refusal::TooLarge => "The payload is too large",
        Refusal::TooSlow => "The payload did not arrive in time",
        Refusal::UpstreamRefused => "The upstream cannot be reached now; send again later",
        Refusal::UpstreamTimedOut => "The upstream did not answer in time",
        Refusal::UpstreamBroke => "The upstream broke off its answer",
        Refusal::NoRoute => "Not found",
        Refusal::NoRouteForSender => "Nothing is received at this path",
        Refusal::Ambiguous => "The request is ambiguous and was not forwarded",
        Refusal::NotSupported => "This method is not supported",
        Refusal::ExpectationFailed => "The only expectation supported is 100-continue",
        Refusal::Internal => "Internal error",
    }
}

/// Whether an exporter of OTLP reads protobuf: unless it says that it writes JSON.
pub fn wants_protobuf(request: &KnownHeaders<'_>) -> bool {
    request
        .get(Known::ContentType)
        .is_none_or(|kind| !kind.as_bytes().starts_with(b"application/json"))
}

/// The whole answer to a refused request: status, content type and body in the shape that the family's clients parse
/// (WIRE 4). `because` replaces the text.
pub fn refuse(
    refusal: Refusal,
    family: Family,
    wants_protobuf: bool,
    because: Option<&str>,
) -> Response<Bytes> {
    let status = status(refusal, family);
    let is_protobuf = family == Family::Otlp && wants_protobuf;
    let body = if because.is_none() {
        kept_body(refusal, family, status, is_protobuf)
    } else {
        body(refusal, family, status, is_protobuf, because)
    };
    let content_type = if is_protobuf {
        "application/x-protobuf"
    } else {
        "application/json"
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("DD-API-KEY"),
        );
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // Read by OTLP exporters only; the others have their own back-off.
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    response
}

thread_local! {
    /// The bodies of refusals, once they have been written: whoever tries wrong keys all day should cost as little as can be.
    static BODIES: [OnceCell<Bytes>; Refusal::ALL.len() * Family::ALL.len() * 2] =
        const { [const { OnceCell::new() }; Refusal::ALL.len() * Family::ALL.len() * 2] };
}

fn kept_body(refusal: Refusal, family: Family, status: StatusCode, is_protobuf: bool) -> Bytes {
    let kind = family as usize * 2 + usize::from(is_protobuf);
    let at = refusal as usize * Family::ALL.len() * 2 + kind;
    let write = || body(refusal, family, status, is_protobuf, None);
    BODIES.with(|bodies| {
        bodies
            .get(at)
            .map_or_else(write, |kept| kept.get_or_init(write).clone())
    })
}

/// The body of a refusal, in the shape its family's senders read (WIRE 4).
fn body(
    refusal: Refusal,
    family: Family,
    status: StatusCode,
    is_protobuf: bool,
    because: Option<&str>,
) -> Bytes {
    let title = status.canonical_reason().unwrap_or("Error");
    let detail = because.unwrap_or(detail(refusal));
    let code = status.as_u16();
    match family {
        Family::Agent | Family::Traces => {
            let word = if matches!(refusal, Refusal::Bad) { title } else { detail };
            serde_json::json!({"status": "error", "code": code, "errors": [word]}).to_string().into()
        }
        Family::Validate | Family::Api => {
            let word = if matches!(refusal, Refusal::Bad) && because.is_none() { title } else { detail };
            let word = if matches!(refusal, Refusal::MissingApplicationKey) { title } else { word };
            serde_json::json!({"errors": [word]}).to_string().into()
        }
        Family::Logs | Family::Browser => {
            serde_json::json!({"errors": [{"status": code.to_string(), "title": title, "detail": detail}]})
                .to_string()
                .into()
        }
        Family::Input => serde_json::json!({"code": code, "message": detail}).to_string().into(),
        Family::Otlp if is_protobuf => rpc_status(grpc_code(refusal), detail),
        Family::Otlp => serde_json::json!({"code": grpc_code(refusal), "message": detail}).to_string().into(),
    }
}

/// Lets a page's script read the answer, refusals above all: a status it cannot read counts as a lost network, and the
/// SDK drops what it would have sent again (WIRE 3). Never on another family: API keys do not belong in pages.
pub fn allow_cross_origin(headers: &mut HeaderMap) {
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
}

/// The answer to OPTIONS: what a page may send, if the family is the browser's.
pub fn options(family: Family) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ALLOW,
        HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    );
    if family == Family::Browser {
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST"),
        );
        let allowed =
            "content-type, dd-api-key, dd-evp-origin, dd-evp-origin-version, dd-request-id";
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(allowed),
        );
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("86400"),
        );
    }
    response
}

/// A JSON answer of keygate's own.
pub fn json(body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(body.to_string().into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// The code of `google.rpc.Status` that an OTLP error must carry (OTLP specification, "Failures").
const fn grpc_code(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::MissingKey | Refusal::MissingApplicationKey => 16,
        Refusal::Bad | Refusal::NoRouteForSender => 7,
        Refusal::CannotTell | Refusal::UpstreamRefused | Refusal::UpstreamBroke => 14,
        Refusal::TooLarge | Refusal::Ambiguous | Refusal::ExpectationFailed => 3,
        Refusal::TooSlow | Refusal::UpstreamTimedOut => 4,
        Refusal::NoRoute => 5,
        Refusal::NotSupported => 12,
        Refusal::Internal => 13,
    }
}

/// `google.rpc.Status { int32 code = 1; string message = 2; }` in protobuf's wire form.
fn rpc_status(code: u8, message: &str) -> Bytes {
    let mut bytes = vec![0x08, code, 0x12];
    // A varint of the length; the messages above are shorter than 128 bytes, a longer one is cut.
    let message = message
        .as_bytes()
        .get(..message.len().min(127))
        .unwrap_or_default();
    bytes.push(u8::try_from(message.len()).unwrap_or(0));
    bytes.extend_from_slice(message);
    bytes.into()
}

/// The contract as a Markdown table, for the README.
pub fn contract_table() -> String {
    use std::fmt::Write as _;
    let columns = [
        ("agent intake", Family::Agent),
        ("validate", Family::Validate),
        ("logs v2, tracks", Family::Logs),
        ("`/v1/input`", Family::Input),
        ("browser", Family::Browser),
        ("API", Family::Api),
        ("OTLP", Family::Otlp),
        ("traces", Family::Traces),
    ];
    let mut table = String::from("| when |");
    for (name, _) in columns {
        let _ = write!(table, " {name} |");
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(columns.len()));
    table.push('\n');
    for refusal in Refusal::ALL {
        let _ = write!(table, "| {} |", refusal.label());
        for (_, family) in columns {
            let cors = if family == Family::Browser {
                " + CORS"
            } else {
                ""
            };
            let _ = write!(table, " {}{cors} |", status(refusal, family).as_u16());
        }
        table.push('\n');
    }
    table
}
