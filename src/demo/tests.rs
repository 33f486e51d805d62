//! Promises of the intake, held over real sockets. What real clients sent is replayed in `tests/intake_captures.rs`.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Family, Intake, start};

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Sends bytes whose last request says `connection: close`, and returns all that comes back.
async fn exchange(intake: &Intake, sent: &[u8]) -> String {
    let mut socket = TcpStream::connect(intake.address()).await.unwrap();
    socket.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// One request with extra header lines; returns status, head in lower case, and body.
async fn ask(
    intake: &Intake,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> (u16, String, String) {
    let length = if body.is_empty() {
        String::new()
    } else {
        format!("content-length: {}\r\n", body.len())
    };
    let sent = format!(
        "{method} {target} HTTP/1.1\r\nhost: intake\r\nconnection: close\r\n{length}{headers}\r\n{body}"
    );
    let answer = exchange(intake, sent.as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head[9..12].parse().unwrap(),
        head.to_ascii_lowercase(),
        body.to_owned(),
    )
}

const FRAME: &str = "\u{3}\0\u{17}\0\0\0\0\0\0\0\0\0\0\0\0\0\u{1a}\u{2}\u{10}\u{2}";
const OK_V1: &str = r#"{"status": "ok"}"#;
const OK: &str = r#"{"status":"ok"}"#;
const BROWSER: &str = "?ddsource=browser&dd-request-id=one";
const ID: &str = r#"{"request_id":"one"}"#;

/// Method, target, status, body: facts about what senders accept, apart from the table that answers them. The bodies
/// that quote the question are in the tests below and in the replay.
const FACTS: &[(&str, &str, u16, &str)] = &[
    ("GET", "/api/v1/validate", 200, r#"{"valid":true}"#),
    (
        "GET",
        "/api/v1/validate?api_key=0123456789abcdef0123456789abcdef",
        200,
        r#"{"valid":true}"#,
    ),
    ("HEAD", "/api/v1/validate", 200, ""),
    ("GET", "/api/v2/validate_keys", 200, OK),
    ("POST", "/api/v2/series", 202, r#"{"errors":[]}"#),
    ("POST", "/api/v1/series", 202, OK_V1),
    ("POST", "/api/v1/series/?api_key=x", 202, OK_V1),
    ("POST", "/api/intake/metrics/v3/series", 202, "{}"),
    ("POST", "/api/intake/metrics/v3beta/series", 202, "{}"),
    ("POST", "/api/intake/metrics/v3/sketches", 202, "{}"),
    ("POST", "/api/intake/metrics/v3beta/sketches", 202, "{}"),
    ("POST", "/api/beta/sketches", 202, "{}"),
    ("POST", "/api/v1/sketches", 202, "{}"),
    ("POST", "/api/v1/distribution_points", 202, OK),
    ("POST", "/api/v1/check_run", 202, OK_V1),
    ("POST", "/api/v1/check_run/", 202, OK_V1),
    ("POST", "/intake/", 202, OK),
    ("POST", "/intake", 202, OK),
    ("POST", "/intake/metrics", 202, OK),
    ("POST", "/intake/metadata", 202, OK),
    ("POST", "/api/v1/metadata", 202, OK),
    ("POST", "/api/v2/host_metadata", 202, "{}"),
    ("POST", "/api/v2/service_checks", 202, "{}"),
    ("POST", "/api/v1/collector", 202, FRAME),
    ("POST", "/api/v1/container", 202, FRAME),
    ("POST", "/api/v1/discovery", 202, FRAME),
    ("POST", "/api/v1/connections", 202, FRAME),
    ("POST", "/api/v2/proclcycle", 202, FRAME),
    ("POST", "/api/v1/orchestrator", 202, FRAME),
    ("POST", "/api/v2/orch", 202, FRAME),
    ("POST", "/api/v2/orchmanif", 202, FRAME),
    ("POST", "/api/v2/logs", 202, "{}"),
    (
        "POST",
        "/api/v2/logs?ddsource=nodejs&dd-request-id=one",
        202,
        "{}",
    ),
    ("POST", "/v1/input", 200, "{}"),
    ("POST", "/v1/input?dd-api-key=x", 200, "{}"),
    (
        "POST",
        "/v1/input/0123456789abcdef0123456789abcdef",
        200,
        "{}",
    ),
    (
        "POST",
        "/v1/input/pub0123456789abcdef0123456789abcdef?ddsource=browser",
        200,
        "{}",
    ),
    ("POST", "/api/v2/databasequery", 202, "{}"),
    ("POST", "/api/v2/dbmmetrics", 202, "{}"),
    ("POST", "/api/v2/dbmactivity", 202, "{}"),
    ("POST", "/api/v2/dbmmetadata", 202, "{}"),
    ("POST", "/api/v2/dbmhealth", 202, "{}"),
    ("POST", "/api/v2/dbmcolumnstatistics", 202, "{}"),
    ("POST", "/api/v2/ndm", 202, "{}"),
    ("POST", "/api/v2/ndmconfig", 202, "{}"),
    ("POST", "/api/v2/ndmtraps", 202, "{}"),
    ("POST", "/api/v2/ndmflow", 202, "{}"),
    ("POST", "/api/v2/netpath", 202, "{}"),
    ("POST", "/api/v2/contlcycle", 202, "{}"),
    ("POST", "/api/v2/contimage", 202, "{}"),
    ("POST", "/api/v2/sbom", 202, "{}"),
    ("POST", "/api/v2/kubeactions", 202, "{}"),
    ("POST", "/api/v2/genresources", 202, "{}"),
    ("POST", "/api/v2/synthetics", 202, "{}"),
    ("POST", "/api/v2/data_streams_messages", 202, "{}"),
    ("POST", "/api/v2/query-actions", 202, "{}"),
    ("POST", "/api/v2/softinv", 202, "{}"),
    ("POST", "/api/v2/agentdiscovery", 202, "{}"),
    ("POST", "/api/v2/secruntime", 202, "{}"),
    ("POST", "/api/v2/secinfo", 202, "{}"),
    ("POST", "/api/v2/compliance", 202, "{}"),
    ("POST", "/api/v2/secdump", 202, "{}"),
    ("POST", "/api/v2/agenthealth", 202, "{}"),
    ("POST", "/api/v0.2/traces", 202, OK),
    ("POST", "/api/v0.2/stats", 202, OK),
    ("POST", "/api/v0.1/pipeline_stats", 202, OK),
    ("POST", "/api/v2/profile", 202, "{}"),
    ("POST", "/api/v2/apmtelemetry", 202, "{}"),
    ("POST", "/api/v2/debugger", 202, "{}"),
    ("POST", "/api/v1/lineage", 202, "{}"),
    ("HEAD", "/support/flare", 200, ""),
    ("POST", "/support/flare?api_key=x", 200, r#"{"case_id":1}"#),
    ("POST", "/support/flare/123", 200, r#"{"case_id":1}"#),
    ("POST", "/api/v0.1/configurations", 200, ""),
    (
        "GET",
        "/api/v0.1/org",
        200,
        "\n$d0000000-0000-4000-8000-000000000001",
    ),
    ("GET", "/api/v0.1/status", 200, ""),
    ("POST", "/api/v2/cilogs", 202, "{}"),
    ("POST", "/api/v2/ci/pipeline", 202, "{}"),
    ("POST", "/api/v2/prodlytics", 202, "{}"),
    ("POST", "/api/v2/ai_impact/user_activity", 202, "{}"),
    ("POST", "/v1/metrics", 202, ""),
    ("POST", "/v1/logs", 202, ""),
    ("POST", "/v1/traces", 202, ""),
    (
        "POST",
        "/api/v2/logs?ddsource=browser&dd-request-id=one",
        202,
        ID,
    ),
    (
        "POST",
        "/anything?ddforward=%2Fapi%2Fv2%2Flogs%3Fddsource%3Dbrowser%26dd-request-id%3Done",
        202,
        ID,
    ),
    ("POST", "/api/v2/rum?dd-request-id=one", 202, ID),
    ("POST", "/api/v2/replay?dd-request-id=one", 202, ID),
    ("POST", "/api/v2/spans?dd-request-id=one", 202, ID),
    ("DELETE", "/api/v2/api_keys/one", 204, ""),
    ("DELETE", "/api/v2/application_keys/one", 204, ""),
    (
        "DELETE",
        "/api/v2/current_user/application_keys/one",
        204,
        "",
    ),
    (
        "DELETE",
        "/api/v2/service_accounts/one/application_keys/two",
        204,
        "",
    ),
    ("DELETE", "/api/v2/users/one", 204, ""),
    (
        "GET",
        "/api/v2/personal_access_tokens",
        200,
        r#"{"data":[],"meta":{"page":{"total_filtered_count":0}}}"#,
    ),
    ("GET", "/api/v1/slo", 200, "{}"),
    ("PUT", "/api/v2/nothing/we/know?page[size]=1", 200, "{}"),
    ("OPTIONS", "/api/v2/logs", 204, ""),
    ("OPTIONS", "/v1/input/pub0", 204, ""),
    ("GET", "/", 404, r#"{"errors":["Not found"]}"#),
    ("POST", "/v1/input/", 404, r#"{"errors":["Not found"]}"#),
    ("POST", "/v1/input/a/b", 404, r#"{"errors":["Not found"]}"#),
    (
        "POST",
        "/?ddforward=https%3A%2F%2Fexample.com%2Fadmin",
        404,
        r#"{"errors":["Not found"]}"#,
    ),
    ("OPTIONS", "*", 404, r#"{"errors":["Not found"]}"#),
    (
        "GET",
        "/api/v2/series",
        405,
        r#"{"errors":["Method not allowed"]}"#,
    ),
    (
        "POST",
        "/api/v2/application_keys",
        405,
        r#"{"errors":["Method not allowed"]}"#,
    ),
];

#[tokio::test]
async fn every_known_path_gets_what_its_senders_accept() {
    let intake = start(ANY).await.unwrap();
    for (method, target, status, body) in FACTS {
        let (given_status, head, given) = ask(&intake, method, target, "", "").await;
        assert_eq!(
            (given_status, given.as_str()),
            (*status, *body),
            "{method} {target}: {head}"
        );
    }
}

#[tokio::test]
async fn content_types_are_those_the_senders_read() {
    let intake = start(ANY).await.unwrap();
    for (method, target, kind) in [
        ("POST", "/api/v1/series", "content-type: text/json\r\n"),
        (
            "POST",
            "/api/v2/series",
            "content-type: application/json\r\n",
        ),
        (
            "POST",
            "/api/v1/collector",
            "content-type: application/x-protobuf\r\n",
        ),
        ("GET", "/api/v2/users", "content-type: application/json\r\n"),
        (
            "DELETE",
            "/api/v2/api_keys/one",
            "content-type: text/html; charset=utf-8\r\n",
        ),
    ] {
        let (_, head, _) = ask(&intake, method, target, "", "").await;
        assert!(head.contains(kind), "{target}: {head}");
    }
    let (_, head, _) = ask(&intake, "PUT", "/api/v1/events", "", "").await;
    assert!(head.contains("allow: post, get\r\n"), "{head}");
}

#[tokio::test]
async fn answers_quote_the_body_and_never_trust_it() {
    let intake = start(ANY).await.unwrap();
    let sent = r#"{"title":"a \"b\"","text":"c","tags":["x:y",7],"priority":5,"date_happened":12}"#;
    let (status, _, body) = ask(&intake, "POST", "/api/v1/events", "", sent).await;
    let event = serde_json::from_str::<Value>(&body).unwrap()["event"].take();
    assert_eq!(status, 202);
    assert_eq!(event["id"].to_string(), event["id_str"].as_str().unwrap());
    let told = (
        &event["title"],
        &event["text"],
        &event["tags"],
        &event["priority"],
        &event["date_happened"],
    );
    assert_eq!(
        told,
        (
            &json!("a \"b\""),
            &json!("c"),
            &json!(["x:y"]),
            &Value::Null,
            &json!(12)
        )
    );

    let nested = "[".repeat(60_000);
    for junk in [
        "",
        "[1]",
        "\"x\"",
        "{\"title\":{\"a\":1}}",
        "{\"data\":{\"attributes\":[]}}",
        nested.as_str(),
    ] {
        for (target, expected) in [
            ("/api/v1/events", 202),
            ("/api/v2/api_keys", 201),
            ("/api/v1/api_key", 200),
        ] {
            let (status, _, body) = ask(&intake, "POST", target, "", junk).await;
            assert_eq!(status, expected);
            assert!(
                serde_json::from_str::<Value>(&body).unwrap().is_object(),
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn a_list_ends_for_a_client_that_pages() {
    let intake = start(ANY).await.unwrap();
    for path in [
        "/api/v2/users",
        "/api/v2/api_keys",
        "/api/v2/application_keys",
    ] {
        for (page, items) in [
            ("", 1),
            ("?page[number]=0&page[size]=1", 1),
            ("?page%5Bnumber%5D=1", 0),
        ] {
            let (_, _, body) = ask(&intake, "GET", &format!("{path}{page}"), "", "").await;
            let list = serde_json::from_str::<Value>(&body).unwrap();
            assert_eq!(
                list["data"].as_array().unwrap().len(),
                items,
                "{path}{page}"
            );
        }
    }
}

#[tokio::test]
async fn only_browsers_are_told_that_any_origin_may_read() {
    let intake = start(ANY).await.unwrap();
    let origin = "origin: http://shop.example\r\n";
    let (_, head, _) = ask(
        &intake,
        "POST",
        &format!("/api/v2/logs{BROWSER}"),
        origin,
        "{}",
    )
    .await;
    assert!(
        head.contains("access-control-allow-origin: *\r\n"),
        "{head}"
    );
    let (_, head, _) = ask(&intake, "OPTIONS", "/api/v2/logs", origin, "").await;
    assert!(
        head.contains("access-control-allow-headers: content-type"),
        "{head}"
    );
    for (target, headers) in [
        ("/api/v2/series", origin),
        ("/api/v2/api_keys", origin),
        ("/api/v2/rum", ""),
    ] {
        let (_, head, _) = ask(&intake, "POST", target, headers, "{}").await;
        assert!(!head.contains("access-control"), "{target}: {head}");
    }
}

#[tokio::test]
async fn one_connection_carries_many_requests_in_either_framing() {
    let intake = Intake::start_recording(ANY).await.unwrap();
    let sent = "POST /api/v2/series HTTP/1.1\r\nHost: a\r\nX-Two: 1\r\nContent-Length: 3\r\nX-Two: 2\r\n\r\nabc\
        POST /api/v2/logs HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
        2;ext=1\r\nde\r\n1\r\nf\r\n0\r\nX-Sum: 9\r\n\r\n\
        GET /api/v1/validate?a=%20b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = exchange(&intake, sent.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 20").count(), 3, "{answer}");
    let requests = intake.wait_for(3).await.unwrap();
    assert!(
        requests
            .iter()
            .all(|request| request.connection == 1 && request.is_whole),
        "{requests:#?}"
    );
    let [series, logs, validate] = requests.as_slice() else {
        panic!("{requests:#?}")
    };
    assert_eq!((series.body.as_ref(), series.body_bytes), (&b"abc"[..], 3));
    let two: Vec<_> = series.header_values("X-Two").collect();
    assert_eq!(two, [b"1", b"2"]);
    assert_eq!(
        (logs.body.as_ref(), logs.trailers[0].1.as_ref()),
        (&b"def"[..], &b"9"[..])
    );
    assert_eq!(
        (validate.path(), validate.query(), validate.header("HOST")),
        ("/api/v1/validate", Some("a=%20b"), Some("a"))
    );
    assert_eq!(intake.shutdown().await.total().requests, 3);
}

#[tokio::test]
async fn a_long_body_is_counted_whole_and_kept_in_part() {
    const LENGTH: usize = 3 * 1024 * 1024;
    let intake = Intake::start_recording(ANY).await.unwrap();
    let (status, _, _) = ask(
        &intake,
        "POST",
        "/api/v2/logs",
        "expect: 100-continue\r\n",
        &"x".repeat(LENGTH),
    )
    .await;
    assert_eq!(status, 100, "the sender is told to go on");
    let requests = intake.wait_for(1).await.unwrap();
    assert_eq!(
        (requests[0].body_bytes, requests[0].body.len()),
        (LENGTH as u64, 256 * 1024)
    );
    assert!(format!("{:?}", requests[0]).len() < 2000);
    assert_eq!(intake.counts().of(Family::Logs).body_bytes, LENGTH as u64);
}

#[tokio::test]
async fn an_intake_that_does_not_record_keeps_nothing() {
    let intake = start(ANY).await.unwrap();
    ask(&intake, "POST", "/api/v2/series", "", "abc").await;
    ask(&intake, "POST", &format!("/api/v2/logs{BROWSER}"), "", "{}").await;
    assert!(intake.requests().is_empty());
    assert_eq!(
        intake.wait_for(1).await.unwrap_err().kind(),
        std::io::ErrorKind::Unsupported
    );
    let counts = intake.shutdown().await;
    let seen: Vec<_> = counts
        .seen()
        .map(|(family, count)| (family.label(), count.requests, count.body_bytes))
        .collect();
    assert_eq!(seen, [("metrics", 1, 3), ("browser", 1, 2)]);
}

#[tokio::test]
async fn a_sender_that_leaves_or_breaks_the_framing_is_counted_as_broken() {
    let intake = Intake::start_recording(ANY).await.unwrap();
    let mut gone = TcpStream::connect(intake.address()).await.unwrap();
    gone.write_all(b"POST /api/v2/logs HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc")
        .await
        .unwrap();
    drop(gone);
    intake.wait_for(1).await.unwrap();
    let wrong = "POST /api/v2/logs HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    let answer = exchange(&intake, wrong.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let requests = intake.wait_for(2).await.unwrap();
    assert!(
        requests.iter().all(|request| !request.is_whole),
        "{requests:#?}"
    );
    assert_eq!(intake.counts().broken, 2);
    // Not HTTP at all: answered or closed, and the next sender is served.
    exchange(&intake, b"\x16\x03\x01\x02\x00\x01garbage\r\n\r\n").await;
    assert_eq!(ask(&intake, "GET", "/api/v1/validate", "", "").await.0, 200);
}

#[tokio::test]
async fn shutdown_lets_a_request_under_way_end_and_drop_frees_the_port() {
    let intake = Intake::start_recording(ANY).await.unwrap();
    let address = intake.address();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = b"POST /api/v2/logs HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    socket.write_all(head).await.unwrap();
    // The interim answer shows that the request has begun.
    let mut interim = [0; 25];
    socket.read_exact(&mut interim).await.unwrap();
    let stopping = tokio::spawn(intake.shutdown());
    socket.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    let counts = stopping.await.unwrap();
    assert_eq!(
        (
            counts.total().requests,
            counts.broken,
            counts.connections_open
        ),
        (1, 0, 0)
    );

    drop(start(address).await.unwrap());
    while let Err(refused) = start(address).await {
        assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
        tokio::task::yield_now().await;
    }
}
