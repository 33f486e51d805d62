//! The record: exactly one for each request, with every field that is promised, one line whatever a client sends, and
//! never a secret. (An id that the client gives is the one text that is kept as it is: most real ones look like keys.)

use std::time::Duration;

use serde_json::Value;

use super::harness::{Client, Gateway, request, revoke, secret};
use keygate::keys::KeyKind;

/// The fields of every record, and of one that was decided, attributed and forwarded.
const ALWAYS: [&str; 12] = [
    "time",
    "http.request.method",
    "url.path",
    "http.response.status_code",
    "http.request.body.size",
    "http.response.body.size",
    "duration_ms",
    "auth.duration_ms",
    "client.address",
    "request.id",
    "retries",
    "auth.decision",
];
const OF_A_PAIR: [&str; 17] = [
    "http.route",
    "route.family",
    "trace_id",
    "user_agent.original",
    "upstream.name",
    "upstream.duration_ms",
    "auth.kind",
    "auth.key_id",
    "auth.key_name",
    "auth.app_key_id",
    "auth.view_revision",
    "auth.view_age_ms",
    "org.id",
    "org.name",
    "user.id",
    "user.name",
    "time",
];

fn has(record: &Value, fields: &[&str]) {
    for field in fields {
        assert!(record.get(field).is_some(), "no {field} in {record}");
    }
}

#[tokio::test]
async fn a_pairs_record_has_every_field_and_each_says_the_truth() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [
        ("DD-API-KEY", secret(&org.api_key)),
        ("DD-APPLICATION-KEY", secret(&org.application_key)),
        ("User-Agent", "some-client/1.2"),
        ("X-Request-ID", "given-by-the-client"),
        ("traceparent", &traceparent),
    ];
    let line = "GET /api/v2/users?page[size]=2";
    let reply = gateway.send(request(line, &headers, b"")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("x-request-id"), Some("given-by-the-client"));
    let record = gateway.record_of(&reply).await;
    has(&record, &ALWAYS);
    has(&record, &OF_A_PAIR);
    let expected = [
        ("http.request.method", "GET"),
        ("http.route", "/api/v2/*"),
        ("url.path", "/api/v2/users"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "some-client/1.2"),
        ("request.id", "given-by-the-client"),
        ("trace_id", trace),
        ("route.family", "api"),
        ("auth.decision", "allowed"),
        ("auth.kind", "pair"),
        ("auth.key_name", &org.api_key.name),
        ("org.id", &org.id),
        ("org.name", &org.name),
        ("user.id", &org.user),
        ("user.name", &org.user_name),
    ];
    for (field, value) in expected {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    assert_eq!(record["auth.key_id"], org.api_key.id.to_string());
    assert_eq!(
        record["auth.app_key_id"],
        org.application_key.id.to_string()
    );
    assert_eq!(record["http.response.status_code"], 200);
    assert_eq!(record["http.response.body.size"], reply.body.len());
    assert!(record["auth.view_revision"].as_u64().unwrap() > 0);
    assert!(record["duration_ms"].as_f64().unwrap() > 0.0);
    assert!(record.get("auth.reason").is_none() && record.get("error.type").is_none());

    let received = gateway.intake().wait_for(1).await.unwrap().remove(0);
    assert_eq!(received.header("traceparent"), Some(traceparent.as_str()));
    assert_eq!(received.header("x-request-id"), Some("given-by-the-client"));
}

#[tokio::test]
async fn there_is_exactly_one_record_for_each_request() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let key = [("DD-API-KEY", secret(&org.api_key))];
    let good = request("POST /api/v2/series", &key, b"{}");
    let bad = request("POST /api/v2/series", &[], b"{}");
    let unrouted = request("GET /nothing", &[], b"");
    let own = request("HEAD /api/v1/validate", &key, b"");

    // Many on one connection, then several connections at once.
    let mut client = Client::connect(gateway.app.address).await;
    for _ in 0..10 {
        for each in [&good, &bad, &unrouted, &own] {
            client.send(each).await;
        }
    }
    let mut pipelined = Client::connect(gateway.app.address).await;
    pipelined
        .write([&good[..], &bad, &unrouted, &own].concat())
        .await;
    for head_only in [false, false, false, true] {
        pipelined.read(head_only).await;
    }
    let address = gateway.app.address;
    let at_once: Vec<_> = (0..10)
        .map(|_| {
            let good = good.clone();
            tokio::spawn(async move { Client::connect(address).await.send(good).await.status })
        })
        .collect();
    for each in at_once {
        assert_eq!(each.await.unwrap(), 202);
    }
    gateway.wait_records(54).await;
    // The last one says that no other is on its way.
    let last = gateway.send(&good).await;
    gateway.record_of(&last).await;
    let records = gateway.records();
    assert_eq!(records.len(), 55);
    for record in &records {
        has(record, &ALWAYS);
    }
    let mut ids: Vec<_> = records
        .iter()
        .map(|r| r["request.id"].to_string())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 55);
    assert_eq!(gateway.intake().requests().len(), 22);
}

#[tokio::test]
async fn what_is_no_request_at_all_has_one_record_too() {
    let gateway = Gateway::start().await;
    let mut client = Client::connect(gateway.app.address).await;
    let reply = client.send("this is not a request\r\n\r\n").await;
    assert_eq!(reply.status, 400);
    let record = gateway
        .wait_record(|record| record["error.type"] == "unreadable")
        .await;
    assert_eq!(record["http.response.status_code"], 400);
    assert_eq!(gateway.records().len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_has_one_record() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let key = [("DD-API-KEY", secret(&org.api_key))];
    let mut client = Client::connect(gateway.app.address).await;
    let whole = request("POST /api/v2/series", &key, &[b'x'; 1000]);
    client.write(&whole[..whole.len() - 500]).await;
    drop(client);
    let record = gateway
        .wait_record(|record| record["http.route"] == "/api/v2/series")
        .await;
    assert_eq!(record["org.id"], org.id.as_str());
    assert!(record.get("error.type").is_some(), "{record}");
    let last = gateway.send(request("GET /nothing", &[], b"")).await;
    gateway.record_of(&last).await;
    assert_eq!(gateway.records().len(), 2);
}

#[tokio::test]
async fn nothing_a_client_sends_can_forge_or_break_a_line() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let forged = "\",\"auth.decision\":\"allowed\",\"x\":\"";
    let requests: [(&str, &[(&str, &str)]); 7] = [
        ("GET /nothing", &[("User-Agent", forged)]),
        (
            "GET /nothing",
            &[("User-Agent", "a\u{1b}[31m\u{85}\u{2028}b")],
        ),
        ("GET /nothing", &[("User-Agent", "\\n\\u0000{\"a\":1}")]),
        ("GET /nothing%22,%22a%22:%22b", &[]),
        ("GET /nothing?%0a%7b%22forged%22%3a1%7d", &[]),
        (
            "GET /nothing",
            &[("X-Request-ID", "x\",\"auth.decision\":\"allowed")],
        ),
        ("GET /nothing", &[("traceparent", "00-\"-\"-01")]),
    ];
    for (line, headers) in requests {
        let mut bytes = request(line, headers, b"");
        // A tab and bytes that are no UTF-8 are let by in headers.
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(b"X-Odd: \xff\t\xfe\r\n\r\n");
        let mut client = Client::connect(gateway.app.address).await;
        let reply = client.send(&bytes).await;
        assert!(matches!(reply.status, 400 | 404), "{line}: {reply:?}");
    }
    let last = gateway
        .send(request(
            "POST /api/v2/series",
            &[("DD-API-KEY", secret(&org.api_key))],
            b"{}",
        ))
        .await;
    assert_eq!(last.status, 202);
    gateway.record_of(&last).await;
    let lines = gateway.lines();
    assert_eq!(lines.len(), requests.len() + 1);
    for line in &lines {
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.ends_with('\n'));
        let control = line.trim_end().chars().any(char::is_control);
        assert!(!control, "{line:?}");
        let record: Value = serde_json::from_str(line).unwrap();
        let allowed = record["http.response.status_code"] == 202;
        assert_eq!(record["auth.decision"] == "allowed", allowed, "{line}");
        assert!(record.get("x").is_none() && record.get("forged").is_none());
    }
}

#[tokio::test]
async fn no_record_and_no_metric_holds_a_secret_wherever_it_was_put() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let spare = gateway.key(super::harness::api_key(&org.id, "spare")).await;
    gateway.perform(revoke(KeyKind::ApiKey, &spare)).await;
    let planted = "d00df00dd00df00dd00df00dd00df00d";
    for value in [
        secret(&org.api_key),
        secret(&spare),
        planted,
        secret(&org.client_token),
    ] {
        for line in [
            format!("POST /v1/input/{value}"),
            format!("POST /v1/input/{value}/more"),
            format!("POST /elsewhere/{value}"),
            format!("POST /api/v2/series/{value}?api_key={value}"),
            format!("DELETE /api/v1/api_key/{value}"),
            format!("POST /?ddforward=%2Fv1%2Finput%2F{value}"),
            format!("POST /?ddforward=%2Felsewhere%2F{value}"),
            format!("GET /api/v2//{value}"),
        ] {
            let headers = [("User-Agent", value), ("Referer", value), ("Cookie", value)];
            gateway.send(request(&line, &headers, b"{}")).await;
        }
    }
    let count = 4 * 8;
    gateway.wait_records(count).await;
    let mut admin = Client::connect(gateway.app.admin).await;
    let metrics = tokio::time::timeout(
        Duration::from_secs(5),
        admin.send(request("GET /metrics", &[], b"")),
    )
    .await
    .unwrap();
    assert_eq!(metrics.status, 200);
    let written = gateway.lines().concat() + &metrics.text();
    for value in [
        secret(&org.api_key),
        secret(&spare),
        planted,
        secret(&org.client_token),
    ] {
        for line in written.lines() {
            assert!(!line.contains(value), "{line}");
        }
    }
    // The hunt finds one planted on purpose.
    assert!(format!("{written}{planted}").contains(planted));
}
