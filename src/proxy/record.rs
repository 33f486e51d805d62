//! The request's record: begun on arrival, filled along the way, written exactly once. It is
//! fields until `recorder` writes it; no secret is ever one of them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use compact_str::{CompactString, format_compact};
use http::{Method, StatusCode};
use serde::Serialize;

use super::route::Family;
use crate::keys::policy::Decision;
use crate::keys::table::Names;
use crate::keys::usage::UsageCounts;
use crate::keys::{Attribution, Reason, Timestamp};

/// The longest client-chosen text kept in a record, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// What is shown of a path that a key was put into where none belongs.
pub const HIDDEN: &str = "{hidden}";

/// What is known of one request (DESIGN 6).
#[derive(Debug)]
pub struct RequestRecord {
    /// When its head had arrived.
    pub at: SystemTime,
    /// Its method.
    pub method: Method,
    /// The route's pattern.
    pub route: Option<Box<str>>,
    /// The route's family.
    pub family: Option<Family>,
    /// The path, scrubbed of anything that could be a secret; no query.
    pub path: CompactString,
    /// What the client was answered; `None` when it left before.
    pub status: Option<StatusCode>,
    /// Body bytes from the client.
    pub request_bytes: u64,
    /// Body bytes to the client.
    pub response_bytes: u64,
    /// From the head to the answer's last byte.
    pub duration: Duration,
    /// The decision's share of it.
    pub auth_duration: Duration,
    /// From the start of forwarding to the head of the upstream's answer.
    pub upstream_duration: Option<Duration>,
    /// Where the request came from, trusted proxies aside.
    pub client: IpAddr,
    /// As sent, cut and scrubbed.
    pub user_agent: Option<CompactString>,
    /// The request's id, the client's or ours.
    pub request_id: CompactString,
    /// The trace it belongs to.
    pub trace_id: CompactString,
    /// The upstream's name.
    pub upstream: Option<Box<str>>,
    /// How often it was sent once more.
    pub retries: u32,
    /// The decision; `None` when the request was refused before there was one to make.
    pub decision: Option<Decision>,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// On whose behalf it was made: ids. What belongs to them is called what it is called when the record is written, which is
    /// milliseconds after the request's end.
    pub attribution: Attribution,
    /// Whether it passed with a key that is shadow-revoked, and would not if it were revoked.
    pub shadow_revoked: bool,
    /// The key table the decision was made on.
    pub view_revision: Option<u64>,
    /// Its age.
    pub view_age: Option<Duration>,
    /// What went wrong, apart from the decision.
    pub error: Option<&'static str>,
}

impl RequestRecord {
    /// The record of a request that has just arrived.
    pub fn begin(method: Method, client: IpAddr) -> Self {
        Self {
            at: SystemTime::now(),
            method,
            route: None,
            family: None,
            path: CompactString::default(),
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            duration: Duration::ZERO,
            auth_duration: Duration::ZERO,
            upstream_duration: None,
            client,
            user_agent: None,
            request_id: CompactString::default(),
            trace_id: CompactString::default(),
            upstream: None,
            retries: 0,
            decision: None,
            reason: None,
            attribution: Attribution::default(),
            shadow_revoked: false,
            view_revision: None,
            view_age: None,
            error: None,
        }
    }

    /// The kind of credential that decided: a pair where an application key was part of it.
    fn auth_kind(&self) -> Option<&'static str> {
        match (&self.attribution.key, &self.attribution.application_key) {
            (Some(_), Some(_)) => Some("pair"),
            (Some(key), None) | (None, Some(key)) => Some(key.kind.as_str()),
            (None, None) => None,
        }
    }

    /// Notes the use of the keys that the request was let through with, if it was.
    pub fn note_use(&self, usage: &UsageCounts) {
        if self.decision != Some(Decision::Allowed) {
            return;
        }
        let since_epoch = self.at.duration_since(SystemTime::UNIX_EPOCH);
        let at = since_epoch.unwrap_or_default().as_millis();
        let at = Timestamp(i64::try_from(at).unwrap_or(i64::MAX));
        let agent = self.user_agent.as_deref().unwrap_or_default();
        usage.accepted(&self.attribution, at, self.client, agent);
    }

    /// Appends the record as one line of JSON, with what those are called whom it is attributed to.
    pub fn write_line(&self, names: &Names, line: &mut Vec<u8>) {
        let milliseconds = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        let owned = &self.attribution;
        let json = Line {
            time: time(self.at),
            method: method_word(&self.method),
            route: self.route.as_deref(),
            path: &self.path,
            status: self.status.map(|status| status.as_u16()),
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            duration_ms: milliseconds(self.duration),
            auth_duration_ms: milliseconds(self.auth_duration),
            upstream_duration_ms: self.upstream_duration.map(milliseconds),
            client: self.client,
            user_agent: self.user_agent.as_deref(),
            request_id: &self.request_id,
            trace_id: &self.trace_id,
            upstream: self.upstream.as_deref(),
            retries: self.retries,
            family: self.family.map(Family::as_str),
            decision: decision_word(self.decision),
            reason: self.reason.map(Reason::as_str),
            kind: self.auth_kind(),
            key_id: owned.key.as_ref().map(|key| key.id.to_string()),
            key_name: names.key.as_deref(),
            application_key_id: owned.application_key.as_ref().map(|key| key.id.to_string()),
            shadow_revoked: self.shadow_revoked.then_some(true),
            view_revision: self.view_revision,
            view_age_ms: self.view_age.map(milliseconds),
            org_id: owned.org.as_ref().map(|(id, _)| id.to_string()),
            org_name: names.org.as_deref(),
            user_id: owned.user.as_ref().map(|(id, _)| id.to_string()),
            user_name: names.user.as_deref(),
            error: self.error,
        };
        let before = line.len();
        if serde_json::to_writer(&mut *line, &json).is_err() {
            // Strings and numbers always serialise; were it ever otherwise, half a line must not be written.
            line.truncate(before);
            return;
        }
        line.push(b'\n');
    }
}

/// The method, if it is one that is known: anybody can make one up (OpenTelemetry, HTTP spans).
pub fn method_word(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS
        | Method::CONNECT
        | Method::TRACE => method.as_str(),
        _ => "_OTHER",
    }
}

/// The record's word for a decision.
pub const fn decision_word(decision: Option<Decision>) -> &'static str {
    match decision {
        None => "none",
        Some(Decision::Allowed) => "allowed",
        Some(Decision::Missing) => "missing",
        Some(Decision::Bad) => "bad",
        Some(Decision::CannotTell) => "cannot_tell",
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    #[serde(rename = "http.request.method")]
    method: &'a str,
    #[serde(rename = "http.route", skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(rename = "url.path")]
    path: &'a str,
    #[serde(
        rename = "http.response.status_code",
        skip_serializing_if = "Option::is_none"
    )]
    status: Option<u16>,
    #[serde(rename = "http.request.body.size")]
    request_bytes: u64,
    #[serde(rename = "http.response.body.size")]
    response_bytes: u64,
    #[serde(rename = "duration_ms")]
    duration_ms: f64,
    #[serde(rename = "auth.duration_ms")]
    auth_duration_ms: f64,
    #[serde(
        rename = "upstream.duration_ms",
        skip_serializing_if = "Option::is_none"
    )]
    upstream_duration_ms: Option<f64>,
    #[serde(rename = "client.address")]
    client: IpAddr,
    #[serde(
        rename = "user_agent.original",
        skip_serializing_if = "Option::is_none"
    )]
    user_agent: Option<&'a str>,
    #[serde(rename = "request.id")]
    request_id: &'a str,
    trace_id: &'a str,
    #[serde(rename = "upstream.name", skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    retries: u32,
    #[serde(rename = "route.family", skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
    #[serde(rename = "auth.decision")]
    decision: &'static str,
    #[serde(rename = "auth.reason", skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(rename = "auth.kind", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(rename = "auth.key_id", skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    #[serde(rename = "auth.key_name", skip_serializing_if = "Option::is_none")]
    key_name: Option<&'a str>,
    #[serde(rename = "auth.app_key_id", skip_serializing_if = "Option::is_none")]
    application_key_id: Option<String>,
    #[serde(
        rename = "auth.shadow_revoked",
        skip_serializing_if = "Option::is_none"
    )]
    shadow_revoked: Option<bool>,
    #[serde(rename = "auth.view_revision", skip_serializing_if = "Option::is_none")]
    view_revision: Option<u64>,
    #[serde(rename = "auth.view_age_ms", skip_serializing_if = "Option::is_none")]
    view_age_ms: Option<f64>,
    #[serde(rename = "org.id", skip_serializing_if = "Option::is_none")]
    org_id: Option<String>,
    #[serde(rename = "org.name", skip_serializing_if = "Option::is_none")]
    org_name: Option<&'a str>,
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(rename = "user.name", skip_serializing_if = "Option::is_none")]
    user_name: Option<&'a str>,
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

fn time(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// As many hex digits in a row as the shortest issued secret has.
const SECRET_RUN: usize = 32;

/// Replaces whatever looks like a secret: a run of 32 or more hex digits, with `pub` before it or not. Cuts the rest.
pub fn scrub(text: &str) -> CompactString {
    if text.len() <= TEXT_BYTES_MAX && !holds_secret(text) {
        return text.into();
    }
    let mut kept = CompactString::default();
    let mut rest = text;
    while let Some(start) = rest.find(is_of_secret) {
        let (before, run) = rest.split_at(start);
        let end = run.find(|c| !is_of_secret(c)).unwrap_or(run.len());
        let (run, after) = run.split_at(end);
        kept.push_str(before);
        kept.push_str(if run.len() >= SECRET_RUN {
            "{secret}"
        } else {
            run
        });
        rest = after;
    }
    kept.push_str(rest);
    if kept.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX;
        while !kept.is_char_boundary(end) {
            end -= 1;
        }
        kept.truncate(end);
        let _ = write!(kept, "...");
    }
    kept
}

/// Paths whose next segment is a key, wherever a request for them ends.
const BEFORE_KEYS: [&str; 3] = ["/v1/input/", "/api/v1/api_key/", "/api/v1/application_key/"];

/// A path for a record: without what is or looks like a key.
pub fn scrub_path(path: &str) -> CompactString {
    let before = BEFORE_KEYS.iter().find(|before| {
        path.get(..before.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(before))
            && path.len() > before.len()
    });
    match before {
        Some(before) => format_compact!("{before}{{key}}"),
        None => scrub(path),
    }
}

/// A hex digit, or the sign that one may be written with in a path.
const fn is_of_secret(c: char) -> bool {
    c.is_ascii_hexdigit() || c == '%'
}

fn holds_secret(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if is_of_secret(char::from(byte)) {
            run + 1
        } else {
            0
        };
        run >= SECRET_RUN
    })
}

/// A header's text for a record: readable, scrubbed, cut.
pub fn header_text(value: &http::HeaderValue) -> CompactString {
    let bytes = value.as_bytes();
    let text = String::from_utf8_lossy(
        bytes
            .get(..bytes.len().min(4 * TEXT_BYTES_MAX))
            .unwrap_or_default(),
    );
    scrub(match &text {
        Cow::Borrowed(text) => text,
        Cow::Owned(text) => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_looks_like_a_secret_is_scrubbed() {
        let key = "0123456789abcdef0123456789abcdef";
        assert_eq!(scrub(&format!("/x/{key}/y")), "/x/{secret}/y");
        let escaped = "/x/0123456789abcdef%30123456789abcdef";
        assert_eq!(scrub(escaped), "/x/{secret}");
        assert_eq!(scrub_path("/v1/input/my-own-key/x"), "/v1/input/{key}");
        assert_eq!(scrub_path("/V1/Input/my-own-key"), "/v1/input/{key}");
        assert_eq!(scrub_path("/v1/input"), "/v1/input");
        assert_eq!(scrub(&format!("/x/pub{key}")), "/x/pu{secret}");
        assert_eq!(
            scrub(&format!("agent/7 ({key}{key})")),
            "agent/7 ({secret})"
        );
        assert_eq!(
            scrub("/api/v2/users/8f4e7c1a-0000-4000-8000-000000000000"),
            "/api/v2/users/8f4e7c1a-0000-4000-8000-000000000000"
        );
        assert!(scrub(&"x".repeat(10_000)).len() < 600);
    }

    #[test]
    fn a_record_is_one_line_whatever_its_client_sends() {
        let mut record = RequestRecord::begin(Method::POST, IpAddr::from([127, 0, 0, 1]));
        record.path = "/a\n{\"forged\":1}\u{1b}[31m".into();
        record.user_agent = Some("x\r\ny\u{2028}".into());
        let mut line = Vec::new();
        record.write_line(&Names::default(), &mut line);
        let text = String::from_utf8(line).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains('\u{1b}') && !text.contains('\r'));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["url.path"], "/a\n{\"forged\":1}\u{1b}[31m");
        assert_eq!(read["auth.decision"], "none");
    }
}
