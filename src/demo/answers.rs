//! What the intake answers to what: the whole table, on one page. It reads no socket.
//!
//! Statuses and bodies are those that the senders' own code looks for: datadogpy fails on any object with `errors`, so
//! v1 has none, while v2 series is exactly `{"errors":[]}`; the process Agent wants a framed message.

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::{
    compose as say,
    counts::Family::{self, *},
    target::{Target, parameter},
};
use Body::{Composed, Nothing, Quoting};

/// One row: what is asked, and what is answered.
#[derive(Debug)]
pub(super) struct Row {
    method: Method,
    /// The exact path; `{}` stands for one segment that is not empty.
    path: &'static str,
    /// Only with `ddsource=browser`: browsers and servers share paths.
    from_browser: bool,
    pub family: Family,
    pub status: StatusCode,
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) enum Body {
    /// No body and no content type.
    Nothing,
    /// These bytes, under this content type.
    Fixed(&'static str, &'static [u8]),
    /// JSON composed from the request's head.
    Composed(fn(&say::Asked<'_>) -> Value),
    /// JSON composed from head and body, for which the beginning of the body is held.
    Quoting(fn(&say::Asked<'_>) -> Value),
}

impl Body {
    pub(super) const fn quotes(&self) -> bool {
        matches!(self, Self::Quoting(_))
    }
}

const fn json(text: &'static str) -> Body {
    Body::Fixed("application/json", text.as_bytes())
}

const fn protobuf(bytes: &'static [u8]) -> Body {
    Body::Fixed("application/x-protobuf", bytes)
}

const DELETE: Method = Method::DELETE;
const GET: Method = Method::GET;
const HEAD: Method = Method::HEAD;
const OPTIONS: Method = Method::OPTIONS;
const PATCH: Method = Method::PATCH;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;

const OK: StatusCode = StatusCode::OK;
const CREATED: StatusCode = StatusCode::CREATED;
const ACCEPTED: StatusCode = StatusCode::ACCEPTED;
const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;

const EMPTY: Body = json("{}");
const STATUS_OK: Body = json(r#"{"status":"ok"}"#);
/// The oldest paths answer with this spacing and this content type.
const TEXT_OK: Body = Body::Fixed("text/json", br#"{"status": "ok"}"#);
/// The real service labels the empty body of a deletion so.
const DELETED: Body = Body::Fixed("text/html; charset=utf-8", b"");
/// Version 3, protobuf, type 23 (the collector's answer), no org, no time; then a status of no active clients and an
/// interval of 2 s, without which the Agent logs an error for each payload.
const FRAME: Body = protobuf(b"\x03\x00\x17\x00\0\0\0\0\0\0\0\0\0\0\0\0\x1a\x02\x10\x02");

const fn row(
    method: Method,
    path: &'static str,
    family: Family,
    status: StatusCode,
    body: Body,
) -> Row {
    Row {
        method,
        path,
        from_browser: false,
        family,
        status,
        body,
    }
}

const fn web(path: &'static str, status: StatusCode, body: Body) -> Row {
    Row {
        method: POST,
        path,
        from_browser: true,
        family: Browser,
        status,
        body,
    }
}

/// Every path we know. A row for browsers stands before the row of the same path for everyone.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    // Metrics, checks, events and metadata, as Agents old and new, SDKs and shippers send them.
    row(POST, "/api/v2/series", Metrics, ACCEPTED, json(r#"{"errors":[]}"#)),
    row(POST, "/api/v1/series", Metrics, ACCEPTED, TEXT_OK),
    row(POST, "/api/v1/series/", Metrics, ACCEPTED, TEXT_OK),
    row(POST, "/api/intake/metrics/v3/series", Metrics, ACCEPTED, EMPTY),
    row(POST, "/api/intake/metrics/v3beta/series", Metrics, ACCEPTED, EMPTY),
    row(POST, "/api/intake/metrics/v3/sketches", Metrics, ACCEPTED, EMPTY),
    row(POST, "/api/intake/metrics/v3beta/sketches", Metrics, ACCEPTED, EMPTY),
    row(POST, "/api/beta/sketches", Metrics, ACCEPTED, EMPTY),
    row(POST, "/api/v1/sketches", Metrics, ACCEPTED, EMPTY),
    row(POST, "/api/v1/distribution_points", Metrics, ACCEPTED, STATUS_OK),
    row(POST, "/api/v1/check_run", Checks, ACCEPTED, TEXT_OK),
    row(POST, "/api/v1/check_run/", Checks, ACCEPTED, TEXT_OK),
    row(POST, "/api/v2/service_checks", Checks, ACCEPTED, EMPTY),
    row(POST, "/intake/", Metadata, ACCEPTED, STATUS_OK),
    row(POST, "/intake", Metadata, ACCEPTED, STATUS_OK),
    row(POST, "/intake/metrics", Metadata, ACCEPTED, STATUS_OK),
    row(POST, "/intake/metadata", Metadata, ACCEPTED, STATUS_OK),
    row(POST, "/api/v1/metadata", Metadata, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/host_metadata", Metadata, ACCEPTED, EMPTY),
    row(POST, "/api/v1/events", Events, ACCEPTED, Quoting(say::event_accepted)),
    row(POST, "/api/v2/events", Events, ACCEPTED, Composed(say::event_v2_accepted)),

    // Processes and Kubernetes.
    row(POST, "/api/v1/collector", Process, ACCEPTED, FRAME),
    row(POST, "/api/v1/container", Process, ACCEPTED, FRAME),
    row(POST, "/api/v1/discovery", Process, ACCEPTED, FRAME),
    row(POST, "/api/v1/connections", Process, ACCEPTED, FRAME),
    row(POST, "/api/v2/proclcycle", Process, ACCEPTED, FRAME),
    row(POST, "/api/v1/orchestrator", Orchestrator, ACCEPTED, FRAME),
    row(POST, "/api/v2/orch", Orchestrator, ACCEPTED, FRAME),
    row(POST, "/api/v2/orchmanif", Orchestrator, ACCEPTED, FRAME),

    // Logs, and what browsers and phones send.
    web("/api/v2/logs", ACCEPTED, Composed(say::request_id)),
    web("/v1/input", OK, EMPTY),
    web("/v1/input/{}", OK, EMPTY),
    row(POST, "/api/v2/rum", Browser, ACCEPTED, Composed(say::request_id)),
    row(POST, "/api/v2/replay", Browser, ACCEPTED, Composed(say::request_id)),
    row(POST, "/api/v2/spans", Browser, ACCEPTED, Composed(say::request_id)),
    row(POST, "/api/v2/logs", Logs, ACCEPTED, EMPTY),
    row(POST, "/v1/input", Logs, OK, EMPTY),
    row(POST, "/v1/input/{}", Logs, OK, EMPTY),

    // Event-platform tracks, which the Agent's logs sender carries.
    row(POST, "/api/v2/databasequery", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/dbmmetrics", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/dbmactivity", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/dbmmetadata", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/dbmhealth", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/dbmcolumnstatistics", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/ndm", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/ndmconfig", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/ndmtraps", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/ndmflow", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/netpath", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/contlcycle", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/contimage", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/sbom", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/kubeactions", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/genresources", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/synthetics", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/data_streams_messages", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/query-actions", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/softinv", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/agentdiscovery", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/secruntime", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/secinfo", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/compliance", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/secdump", Tracks, ACCEPTED, EMPTY),
    row(POST, "/api/v2/agenthealth", Tracks, ACCEPTED, EMPTY),

    // Traces, profiles, telemetry, OpenTelemetry. An empty body is a valid empty message to an OTLP exporter.
    row(POST, "/api/v0.2/traces", Traces, ACCEPTED, STATUS_OK),
    row(POST, "/api/v0.2/stats", Traces, ACCEPTED, STATUS_OK),
    row(POST, "/api/v0.1/pipeline_stats", Traces, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/llmobs", Traces, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/profile", Profiles, ACCEPTED, EMPTY),
    row(POST, "/api/v2/apmtelemetry", Telemetry, ACCEPTED, EMPTY),
    row(POST, "/api/v2/debugger", Telemetry, ACCEPTED, EMPTY),
    row(POST, "/v1/metrics", Otlp, ACCEPTED, Nothing),
    row(POST, "/v1/logs", Otlp, ACCEPTED, Nothing),
    row(POST, "/v1/traces", Otlp, ACCEPTED, Nothing),

    // Software delivery and lineage.
    row(POST, "/api/v1/lineage", Delivery, ACCEPTED, EMPTY),
    row(POST, "/api/v2/cilogs", Delivery, ACCEPTED, EMPTY),
    row(POST, "/api/v2/ci/pipeline", Delivery, ACCEPTED, EMPTY),
    row(POST, "/api/v2/ci/pipeline/tags", Delivery, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/ci/pipeline/metrics", Delivery, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/cireport", Delivery, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/srcmap", Delivery, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/cicodescan", Delivery, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/citestcycle", Delivery, ACCEPTED, STATUS_OK),
    row(POST, "/api/v2/libraries/tests/services/setting", Delivery, OK, Composed(say::test_settings)),
    row(POST, "/api/v2/git/repository/search_commits", Delivery, OK, json(r#"{"data":[]}"#)),
    row(POST, "/api/v2/git/repository/packfile", Delivery, NO_CONTENT, Nothing),
    row(POST, "/api/v2/dora/deployment", Delivery, ACCEPTED, Composed(say::deployment_accepted)),
    row(POST, "/api/v2/dora/failure", Delivery, ACCEPTED, Composed(say::failure_accepted)),
    row(POST, "/api/v2/dora/incident", Delivery, ACCEPTED, Composed(say::failure_accepted)),
    row(POST, "/api/v2/prodlytics", Delivery, ACCEPTED, EMPTY),
    row(POST, "/api/v2/ai_impact/user_activity", Delivery, ACCEPTED, EMPTY),

    // Support and remote configuration. Protobuf: an empty message says "nothing new" and "not enabled".
    row(HEAD, "/support/flare", Flare, OK, Nothing),
    row(POST, "/support/flare", Flare, OK, json(r#"{"case_id":1}"#)),
    row(POST, "/support/flare/{}", Flare, OK, json(r#"{"case_id":1}"#)),
    row(POST, "/api/v0.1/configurations", Config, OK, protobuf(b"")),
    row(GET, "/api/v0.1/org", Config, OK, protobuf(b"\x0a\x24d0000000-0000-4000-8000-000000000001")),
    row(GET, "/api/v0.1/status", Config, OK, protobuf(b"")),

    // Validity and delegation.
    row(GET, "/api/v1/validate", Validate, OK, json(r#"{"valid":true}"#)),
    row(GET, "/api/v2/validate", Validate, OK, Composed(say::validity)),
    row(GET, "/api/v2/validate_keys", Validate, OK, STATUS_OK),
    row(POST, "/api/v2/intake-key", Keys, OK, Composed(say::intake_key)),
    row(POST, "/api/v2/delegated-token", Keys, OK, Composed(say::delegated_token)),

    // Management of keys and their owners. Only what creates or, where the real service does so, shows one key has it.
    row(GET, "/api/v1/api_key", Keys, OK, Composed(say::api_keys_v1)),
    row(POST, "/api/v1/api_key", Keys, OK, Quoting(say::api_key_v1)),
    row(GET, "/api/v1/api_key/{}", Keys, OK, Composed(say::api_key_v1)),
    row(PUT, "/api/v1/api_key/{}", Keys, OK, Quoting(say::api_key_v1)),
    row(DELETE, "/api/v1/api_key/{}", Keys, OK, Composed(say::api_key_v1)),
    row(GET, "/api/v1/application_key", Keys, OK, Composed(say::app_keys_v1)),
    row(POST, "/api/v1/application_key", Keys, OK, Quoting(say::app_key_v1)),
    row(GET, "/api/v1/application_key/{}", Keys, OK, Composed(say::app_key_v1)),
    row(PUT, "/api/v1/application_key/{}", Keys, OK, Quoting(say::app_key_v1)),
    row(DELETE, "/api/v1/application_key/{}", Keys, OK, Composed(say::app_key_v1)),
    row(GET, "/api/v2/api_keys", Keys, OK, Composed(say::api_keys)),
    row(POST, "/api/v2/api_keys", Keys, CREATED, Quoting(say::api_key_created)),
    row(GET, "/api/v2/api_keys/{}", Keys, OK, Composed(say::api_key)),
    row(PATCH, "/api/v2/api_keys/{}", Keys, OK, Quoting(say::api_key)),
    row(DELETE, "/api/v2/api_keys/{}", Keys, NO_CONTENT, DELETED),
    row(GET, "/api/v2/application_keys", Keys, OK, Composed(say::app_keys)),
    row(GET, "/api/v2/application_keys/{}", Keys, OK, Composed(say::app_key)),
    row(PATCH, "/api/v2/application_keys/{}", Keys, OK, Quoting(say::app_key_changed)),
    row(DELETE, "/api/v2/application_keys/{}", Keys, NO_CONTENT, DELETED),
    row(GET, "/api/v2/current_user/application_keys", Keys, OK, Composed(say::own_app_keys)),
    row(POST, "/api/v2/current_user/application_keys", Keys, CREATED, Quoting(say::own_app_key_changed)),
    row(GET, "/api/v2/current_user/application_keys/{}", Keys, OK, Composed(say::own_app_key)),
    row(PATCH, "/api/v2/current_user/application_keys/{}", Keys, OK, Quoting(say::own_app_key_changed)),
    row(DELETE, "/api/v2/current_user/application_keys/{}", Keys, NO_CONTENT, DELETED),
    row(POST, "/api/v2/service_accounts", Keys, CREATED, Quoting(say::service_account)),
    row(GET, "/api/v2/service_accounts/{}/application_keys", Keys, OK, Composed(say::own_app_keys)),
    row(POST, "/api/v2/service_accounts/{}/application_keys", Keys, CREATED, Quoting(say::account_app_key_created)),
    row(GET, "/api/v2/service_accounts/{}/application_keys/{}", Keys, OK, Composed(say::account_app_key)),
    row(PATCH, "/api/v2/service_accounts/{}/application_keys/{}", Keys, OK, Quoting(say::account_app_key_changed)),
    row(DELETE, "/api/v2/service_accounts/{}/application_keys/{}", Keys, NO_CONTENT, DELETED),
    row(GET, "/api/v2/personal_access_tokens", Keys, OK, json(r#"{"data":[],"meta":{"page":{"total_filtered_count":0}}}"#)),
    row(POST, "/api/v2/personal_access_tokens", Keys, CREATED, Quoting(say::access_token)),

    // A few reads and writes of the API, so that a first call shows something. What is not here gets `{}`.
    row(GET, "/api/v1/events", Api, OK, json(r#"{"events":[]}"#)),
    row(GET, "/api/v1/events/{}", Api, OK, Composed(say::event)),
    row(GET, "/api/v2/events", Api, OK, json(r#"{"data":[],"links":{},"meta":{}}"#)),
    row(GET, "/api/v1/query", Api, OK, Composed(say::query)),
    row(GET, "/api/v1/metrics", Api, OK, json(r#"{"from":"0","metrics":["demo.requests"]}"#)),
    row(GET, "/api/v1/search", Api, OK, json(r#"{"results":{"hosts":[],"metrics":["demo.requests"]}}"#)),
    row(GET, "/api/v1/hosts", Api, OK, json(r#"{"exact_total_matching":false,"host_list":[],"total_matching":0,"total_returned":0}"#)),
    row(GET, "/api/v1/tags/hosts", Api, OK, json(r#"{"tags":{}}"#)),
    row(GET, "/api/v1/monitor", Api, OK, json("[]")),
    row(GET, "/api/v1/downtime", Api, OK, json("[]")),
    row(GET, "/api/v1/dashboard", Api, OK, json(r#"{"dashboards":[]}"#)),
    row(GET, "/api/v2/metrics", Api, OK, json(r#"{"data":[]}"#)),
    row(GET, "/api/v2/logs/events", Api, OK, json(r#"{"data":[],"meta":{"status":"done"}}"#)),
    row(POST, "/api/v2/logs/events/search", Api, OK, json(r#"{"data":[],"meta":{"status":"done"}}"#)),
    row(GET, "/api/v2/roles", Api, OK, json(r#"{"data":[],"meta":{"page":{"total_count":0,"total_filtered_count":0}}}"#)),
    row(GET, "/api/v2/permissions", Api, OK, json(r#"{"data":[]}"#)),
    row(GET, "/api/v2/current_user", Api, OK, Composed(say::user)),
    row(GET, "/api/v2/users", Api, OK, Composed(say::users)),
    row(POST, "/api/v2/users", Api, CREATED, Quoting(say::user)),
    row(GET, "/api/v2/users/{}", Api, OK, Composed(say::user)),
    row(PATCH, "/api/v2/users/{}", Api, OK, Quoting(say::user)),
    row(DELETE, "/api/v2/users/{}", Api, NO_CONTENT, Nothing),
];

/// The rest of the API, whatever the method.
static OTHER_API: Row = row(GET, "/api/…", Api, OK, EMPTY);
/// A browser asks before it sends something that is not simple.
static PREFLIGHT: Row = row(OPTIONS, "/…", Browser, NO_CONTENT, Nothing);
static WRONG_METHOD: Row = row(
    GET,
    "/…",
    Unknown,
    StatusCode::METHOD_NOT_ALLOWED,
    json(r#"{"errors":["Method not allowed"]}"#),
);
static UNKNOWN: Row = row(
    GET,
    "/…",
    Unknown,
    StatusCode::NOT_FOUND,
    json(r#"{"errors":["Not found"]}"#),
);

/// The answer to one request.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub row: &'static Row,
    /// What stood in place of the row's `{}`, in order.
    pub ids: Vec<&'a str>,
    /// The methods this path has, when the request's is not one of them.
    pub allow: Option<String>,
    /// Whether this answers a browser's question before the request itself.
    pub is_preflight: bool,
}

/// Finds the row for a request.
pub(super) fn find<'a>(method: &Method, target: &'a Target<'_>) -> Found<'a> {
    let path = target.path.as_ref();
    let is_browser = parameter(&target.query, "ddsource").is_some_and(|source| source == "browser");
    let of_path: Vec<(&'static Row, Vec<&'a str>)> = ROWS
        .iter()
        .filter(|row| is_browser || !row.from_browser)
        .filter_map(|row| segments(row.path, path).map(|ids| (row, ids)))
        .collect();
    let with = |wanted: &Method| {
        of_path
            .iter()
            .find(|(row, _)| row.method == *wanted)
            .cloned()
    };
    // The answer to HEAD is that to GET, of which hyper leaves out the body.
    let exact = with(method).or_else(|| if *method == HEAD { with(&GET) } else { None });
    let plain = |row| Found {
        row,
        ids: Vec::new(),
        allow: None,
        is_preflight: false,
    };
    match exact {
        Some((row, ids)) => Found { ids, ..plain(row) },
        None if *method == OPTIONS && is_open_to_browsers(path) => Found {
            is_preflight: true,
            ..plain(&PREFLIGHT)
        },
        None if !of_path.is_empty() => {
            let mut methods: Vec<&str> =
                of_path.iter().map(|(row, _)| row.method.as_str()).collect();
            methods.dedup();
            Found {
                allow: Some(methods.join(", ")),
                ..plain(&WRONG_METHOD)
            }
        }
        None if path.starts_with("/api/") => plain(&OTHER_API),
        None => plain(&UNKNOWN),
    }
}

fn is_open_to_browsers(path: &str) -> bool {
    path.starts_with("/api/v2/") || path == "/v1/input" || path.starts_with("/v1/input/")
}

/// What stands for each `{}` of the template, if the path fits it.
fn segments<'a>(template: &str, path: &'a str) -> Option<Vec<&'a str>> {
    if !template.contains('{') {
        return (template == path).then(Vec::new);
    }
    let mut ids = Vec::new();
    let mut given = path.split('/');
    for wanted in template.split('/') {
        match (wanted, given.next()?) {
            ("{}", "") => return None,
            ("{}", id) => ids.push(id),
            (wanted, segment) if wanted == segment => {}
            _ => return None,
        }
    }
    given.next().is_none().then_some(ids)
}
