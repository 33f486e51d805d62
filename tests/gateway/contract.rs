//! The sender contract from outside: for each refusal and each family of clients the status, the shape of the body, CORS
//! for pages and for nobody else, and what every answer carries. Where the upstream is at fault, see also `faults`.

use std::net::SocketAddr;
use std::time::Duration;

use keygate::proxy::reply::contract_table;
use keygate::proxy::route::Family;
use serde_json::Value;
use tokio::net::TcpListener;

use super::harness::{Client, Gateway, Org, Reply, request, secret};

/// One request of each family, and the statuses that its refusals have.
struct Sender {
    family: Family,
    line: &'static str,
    missing: u16,
    bad: u16,
}

const fn sender(family: Family, line: &'static str, missing: u16, bad: u16) -> Sender {
    Sender {
        family,
        line,
        missing,
        bad,
    }
}

const SENDERS: [Sender; 8] = [
    sender(Family::Agent, "POST /api/v2/series", 403, 403),
    sender(Family::Validate, "GET /api/v1/validate", 403, 403),
    sender(Family::Logs, "POST /api/v2/logs", 401, 403),
    sender(Family::Input, "POST /v1/input", 403, 403),
    sender(
        Family::Browser,
        "POST /api/v2/logs?ddsource=browser",
        403,
        403,
    ),
    sender(Family::Api, "POST /api/v2/users", 403, 403),
    sender(Family::Otlp, "POST /v1/metrics", 401, 403),
    sender(Family::Traces, "POST /api/v0.2/traces", 403, 403),
];

/// Those whose requests are forwarded.
fn forwarded() -> impl Iterator<Item = &'static Sender> {
    SENDERS
        .iter()
        .filter(|sender| sender.family != Family::Validate)
}

/// A request with the credentials that the family's clients send.
fn good(sender: &Sender, org: &Org, more: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let key = if sender.family == Family::Browser {
        &org.client_token
    } else {
        &org.api_key
    };
    let mut headers = vec![("DD-API-KEY", secret(key))];
    if sender.family == Family::Api {
        headers.push(("DD-APPLICATION-KEY", secret(&org.application_key)));
    }
    headers.extend_from_slice(more);
    request(sender.line, &headers, body)
}

/// The same with a body that its head announces, and that does not come.
fn announced(sender: &Sender, org: &Org, length: u64) -> Vec<u8> {
    let whole = String::from_utf8(good(sender, org, &[], b"")).unwrap();
    let length = format!("Content-Length: {length}\r\n");
    whole.replace("Content-Length: 0\r\n", &length).into_bytes()
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// Checks a refusal as the family's clients read it.
#[track_caller]
fn check(reply: &Reply, family: Family, status: u16) {
    let shown = format!("{family:?}: {reply:?} {}", reply.text());
    assert_eq!(reply.status, status, "{shown}");
    let cors = (family == Family::Browser).then_some("*");
    let origin = reply.header("access-control-allow-origin");
    assert_eq!(origin, cors, "{shown}");
    assert!(reply.header("access-control-allow-credentials").is_none());
    assert!(reply.header("location").is_none(), "{shown}");
    let id = reply.header("x-request-id").unwrap_or_default();
    assert!(!id.is_empty(), "{shown}");
    let date = reply.header("date").unwrap_or_default();
    assert!(date.ends_with(" GMT"), "{shown}");
    let challenge = reply.header("www-authenticate").is_some();
    assert_eq!(challenge, status == 401, "{shown}");

    if family == Family::Otlp && reply.header("content-type") == Some("application/x-protobuf") {
        // google.rpc.Status: field 1 a varint, field 2 a string.
        let [0x08, code, 0x12, length, message @ ..] = reply.body.as_slice() else {
            panic!("{shown}")
        };
        assert!(
            *code > 0 && usize::from(*length) == message.len(),
            "{shown}"
        );
        return;
    }
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.json();
    let members: Vec<_> = body.as_object().unwrap().keys().cloned().collect();
    match family {
        Family::Agent | Family::Traces => {
            assert_eq!(members, ["code", "errors", "status"], "{shown}");
            assert_eq!(body["status"], "error");
            assert_eq!(body["code"], status);
            assert!(is_text(&body["errors"][0]), "{shown}");
        }
        Family::Validate | Family::Api => {
            assert_eq!(members, ["errors"], "{shown}");
            assert!(is_text(&body["errors"][0]), "{shown}");
        }
        Family::Logs | Family::Browser => {
            assert_eq!(members, ["errors"], "{shown}");
            let error = &body["errors"][0];
            assert_eq!(error["status"], status.to_string());
            assert!(is_text(&error["title"]) && is_text(&error["detail"]));
        }
        Family::Input => {
            assert_eq!(members, ["code", "message"], "{shown}");
            assert_eq!(body["code"], status);
            assert!(is_text(&body["message"]), "{shown}");
        }
        Family::Otlp => {
            assert_eq!(members, ["code", "message"], "{shown}");
            assert!(is_text(&body["message"]), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_missing_or_bad_credential_is_told_as_each_family_understands_it() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let other = gateway.org("globex").await;
    for sender in &SENDERS {
        let reply = gateway.send(request(sender.line, &[], b"{}")).await;
        check(&reply, sender.family, sender.missing);

        let mut told = Vec::new();
        let wrong = "fedcba9876543210fedcba9876543210";
        // Whatever is wrong with a credential, the client learns the same.
        let wrong_kind = if sender.family == Family::Browser {
            &org.api_key
        } else {
            &org.application_key
        };
        for key in [wrong, "not a secret", secret(wrong_kind)] {
            let application_key = secret(&other.application_key);
            let headers = [("DD-API-KEY", key), ("DD-APPLICATION-KEY", application_key)];
            let reply = gateway.send(request(sender.line, &headers, b"{}")).await;
            check(&reply, sender.family, sender.bad);
            told.push(reply.body);
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{:?}", sender.family);
    }
    let headers = [("DD-API-KEY", secret(&org.api_key))];
    let reply = gateway
        .send(request("GET /api/v2/users", &headers, b""))
        .await;
    check(&reply, Family::Api, 401);
    let both = [
        ("DD-API-KEY", secret(&org.api_key)),
        ("DD-APPLICATION-KEY", secret(&other.application_key)),
    ];
    let reply = gateway.send(request("GET /api/v2/users", &both, b"")).await;
    check(&reply, Family::Api, 403);
    assert_eq!(gateway.intake().requests().len(), 0);
}

#[tokio::test]
async fn an_otlp_exporter_is_answered_in_its_own_encoding() {
    let gateway = Gateway::start().await;
    for (kind, answered) in [
        ("application/x-protobuf", "application/x-protobuf"),
        ("application/json", "application/json"),
    ] {
        let headers = [("Content-Type", kind)];
        let reply = gateway
            .send(request("POST /v1/traces", &headers, b"{}"))
            .await;
        check(&reply, Family::Otlp, 401);
        assert_eq!(reply.header("content-type"), Some(answered));
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_503_and_never_a_bad_key() {
    let gateway = Gateway::start_with(|config| {
        let at_once = Duration::from_nanos(1);
        config.view.fresh_within = at_once;
        config.view.serve_stale_for_intake = at_once;
        config.view.serve_stale_for_api = at_once;
    })
    .await;
    let org = gateway.org("acme").await;
    for sender in &SENDERS {
        let reply = gateway.send(good(sender, &org, &[], b"{}")).await;
        check(&reply, sender.family, 503);
        let record = gateway.record_of(&reply).await;
        assert_eq!(record["auth.decision"], "cannot_tell");
        assert_eq!(record["auth.reason"], "view_too_old");
    }
    assert_eq!(gateway.intake().requests().len(), 0);
}

#[tokio::test]
async fn an_unknown_key_is_503_while_the_view_is_not_fresh() {
    let gateway = Gateway::start_with(|config| {
        config.view.fresh_within = Duration::from_nanos(1);
    })
    .await;
    let org = gateway.org("acme").await;
    let unknown = [("DD-API-KEY", "fedcba9876543210fedcba9876543210")];
    for sender in &SENDERS {
        if sender.family != Family::Api {
            let reply = gateway.send(request(sender.line, &unknown, b"{}")).await;
            check(&reply, sender.family, 503);
        }
    }
    for sender in forwarded() {
        let reply = gateway.send(good(sender, &org, &[], b"{}")).await;
        assert_ne!(reply.status, 503, "{:?}", sender.family);
    }
}

#[tokio::test]
async fn a_body_too_large_is_413_and_one_too_slow_408() {
    let gateway = Gateway::start_with(|config| {
        config.listen.body_idle_timeout = Duration::from_millis(100);
    })
    .await;
    let org = gateway.org("acme").await;
    for sender in forwarded() {
        let reply = gateway.send(announced(sender, &org, 1 << 40)).await;
        check(&reply, sender.family, 413);
        let record = gateway.record_of(&reply).await;
        assert_eq!(record["error.type"], "body_too_large");

        let reply = gateway.send(announced(sender, &org, 10)).await;
        // An exporter gives up on a 408, and sends again after a 503.
        let slow = if sender.family == Family::Otlp {
            503
        } else {
            408
        };
        check(&reply, sender.family, slow);
        let record = gateway.record_of(&reply).await;
        assert_eq!(record["error.type"], "body_too_slow");
        assert_eq!(record["org.id"], org.id.as_str());
    }
}

/// An upstream that answers the first bytes of a connection and closes it; or, without an answer, that hangs.
async fn upstream(answer: Option<&'static [u8]>) -> SocketAddr {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind(super::harness::loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut some = [0; 4096];
                while let Ok(1..) = socket.read(&mut some).await {
                    if let Some(answer) = answer {
                        let _ = socket.write_all(answer).await;
                        return;
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_upstream_that_refuses_hangs_or_breaks_is_503_504_502() {
    let nobody = {
        let listener = TcpListener::bind(super::harness::loopback()).await.unwrap();
        listener.local_addr().unwrap()
    };
    let hangs = upstream(None).await;
    let closes = upstream(Some(b"")).await;
    let babbles = upstream(Some(b"this is no HTTP\r\n\r\n")).await;
    for (address, status, error) in [
        (nobody, 503, "upstream_refused"),
        (hangs, 504, "upstream_timed_out"),
        (closes, 502, "upstream_broke"),
        (babbles, 502, "upstream_broke"),
    ] {
        let gateway = Gateway::before(&format!("http://{address}"), |config| {
            for upstream in config.upstreams.values_mut() {
                upstream.first_byte_timeout = Duration::from_millis(100);
            }
        })
        .await;
        let org = gateway.org("acme").await;
        for sender in forwarded() {
            let reply = gateway.send(good(sender, &org, &[], b"{}")).await;
            check(&reply, sender.family, status);
            let record = gateway.record_of(&reply).await;
            assert_eq!(record["error.type"], error);
            assert_eq!(record["auth.decision"], "allowed");
            assert_eq!(record["org.id"], org.id.as_str());
        }
    }
}

#[tokio::test]
async fn what_leads_nowhere_or_is_ambiguous_is_refused_before_any_decision() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let key = [("DD-API-KEY", secret(&org.api_key))];
    let with = |name: &'static str, value: &'static str| [key[0], (name, value)];
    let series = "POST /api/v2/series";
    let page = "POST /?ddforward=%2Felsewhere";
    for (family, bytes, status) in [
        (Family::Api, request("GET /nothing", &[], b""), 404),
        (Family::Api, request("POST /nothing", &[], b"{}"), 404),
        (Family::Api, request("POST /nothing", &key, b"{}"), 403),
        (Family::Browser, request(page, &[], b"{}"), 404),
        (Family::Browser, request(page, &key, b"{}"), 403),
        (
            Family::Api,
            request("POST /api//v2/series", &key, b"{}"),
            400,
        ),
        (
            Family::Agent,
            request("POST /api/v2/series?API_KEY=1", &key, b"{}"),
            400,
        ),
        (Family::Api, request("TRACE /api/v2/series", &key, b""), 501),
        (
            Family::Api,
            request(series, &with("Upgrade", "websocket"), b"{}"),
            501,
        ),
        (
            Family::Api,
            request(series, &with("Expect", "miracles"), b"{}"),
            417,
        ),
    ] {
        let reply = gateway.send(&bytes).await;
        check(&reply, family, status);
        let record = gateway.record_of(&reply).await;
        assert_eq!(record["auth.decision"], "none");
        assert!(record.get("org.id").is_none(), "{record}");
    }
    assert_eq!(gateway.intake().requests().len(), 0);
}

#[tokio::test]
async fn a_preflight_is_answered_to_pages_and_to_nobody_else() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.app.address).await;
    let preflight = [("Origin", "https://shop.example")];
    for (line, origin) in [
        ("OPTIONS /api/v2/logs", Some("*")),
        ("OPTIONS /v1/input/pub1", Some("*")),
        ("OPTIONS /api/v2/users", None),
    ] {
        let reply = client.send(request(line, &preflight, b"")).await;
        assert_eq!(reply.status, 204, "{line}");
        assert_eq!(reply.header("access-control-allow-origin"), origin);
        let allows = reply.header("access-control-allow-headers");
        assert_eq!(allows.is_some(), origin.is_some(), "{line}");
    }
}

#[test]
fn the_readme_shows_the_contract_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap_or_default();
    let table = contract_table();
    let shown = readme
        .split_once("<!-- contract: generated -->\n")
        .and_then(|(_, rest)| rest.split_once("<!-- /contract -->"))
        .map(|(table, _)| table.trim());
    assert!(
        shown == Some(table.trim()),
        "README.md differs; put this between <!-- contract: generated --> and <!-- /contract -->:\n\n{table}"
    );
}
