//! The request's record: begun on arrival, filled along the way, written exactly once. It is
//! fields until `record_line` makes text of it; no secret is ever one of them.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use compact_str::{CompactString, format_compact};
use http::{Method, StatusCode};

use super::route::Family;
use crate::keys::policy::Decision;
use crate::keys::usage::UsageCounts;
use crate::keys::{Attribution, Reason, Timestamp};

/// The longest client-chosen text kept in a record, in bytes.
const TEXT_BYTES_MAX: usize = 512;

/// What is shown of a path that a key was put into where none belongs.
pub const HIDDEN: &str = "{hidden}";

/// What a request is called: the client's name for it, or one made here, of which only the number is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Made here: 32 hex digits.
    Made(u128),
    /// The client's.
    Given(CompactString),
}

/// What is known of one request (DESIGN 6). Nothing in it is counted by reference, and what is of one size is in place: so it is
/// handed to the writer's thread as it is.
#[derive(Debug)]
pub struct RequestRecord {
    /// When its head had arrived.
    pub at: SystemTime,
    /// Its method, if it is one that is known.
    pub method: &'static str,
    /// The route's pattern.
    pub route: Option<&'static str>,
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
    /// The request's id, the client's or ours; `None` when it could not be read.
    pub request_id: Option<RequestId>,
    /// The trace it belongs to; `None` when it was refused before it had one.
    pub trace_id: Option<u128>,
    /// The upstream's name.
    pub upstream: Option<&'static str>,
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
    /// The record of a request that has just arrived; without a method when it could not be read.
    pub fn begin(method: Option<&Method>, client: IpAddr, at: SystemTime) -> Self {
        Self {
            at,
            method: method.map_or(OTHER_METHOD, method_word),
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
            request_id: None,
            trace_id: None,
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

    /// The kind of credential that decided: a pair where an application key was part of it.
    pub fn auth_kind(&self) -> Option<&'static str> {
        match (&self.attribution.key, &self.attribution.application_key) {
            (Some(_), Some(_)) => Some("pair"),
            (Some(key), None) | (None, Some(key)) => Some(key.kind.as_str()),
            (None, None) => None,
        }
    }
}

/// What stands for every method that is not known.
const OTHER_METHOD: &str = "_OTHER";

/// The method, if it is one that is known: anybody can make one up (OpenTelemetry, HTTP spans).
pub const fn method_word(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => OTHER_METHOD,
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
}
