//! What strangers to the API's forms send: broken, deep, large and misaddressed requests. None of them does anything, and all
//! are answered as JSON.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Client, Reply, request};
use crate::scene::{Scene, error, pair};

async fn raw(scene: &Scene, line: &str, kind: Option<&str>, body: &[u8]) -> Reply {
    let pair = pair(&scene.acme);
    let mut headers = vec![
        ("DD-API-KEY", pair.api_key.as_str()),
        ("DD-APPLICATION-KEY", pair.application_key.as_str()),
    ];
    headers.extend(kind.map(|kind| ("Content-Type", kind)));
    Client::connect(scene.control())
        .await
        .send(request(line, &headers, body))
        .await
}

#[tokio::test]
async fn a_bad_body_is_refused_with_the_place_and_does_nothing() {
    let scene = Scene::over_a_file().await;
    let line = "POST /api/v2/api_keys";
    let deep = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    let deep_inside = format!(
        r#"{{"data":{{"type":"api_keys","attributes":{{"name":{}"#,
        "[".repeat(5_000)
    );
    for (body, says) in [
        (&b"{"[..], "line 1 column 1"),
        (b"null", "line 1"),
        (b"[]", "line 1"),
        (b"\xff\xfe", "line 1"),
        (br#"{"data":{"type":"api_keys"}}"#, "attributes"),
        (br#"{"data":{"type":"api_keys","attributes":{}}}"#, "name"),
        (
            br#"{"data":{"type":"api_keys","attributes":{"name":7}}}"#,
            "line 1 column",
        ),
        (
            br#"{"data":{"type":"api_keys","attributes":{"name":"a","name":"b"}}}"#,
            "duplicate",
        ),
        (
            br#"{"data":{"type":"users","attributes":{"name":"a"}}}"#,
            "data.type",
        ),
        (b"", "data"),
        (&deep, "line 1"),
        (deep_inside.as_bytes(), "line 1"),
    ] {
        let refused = raw(&scene, line, Some("application/json"), body).await;
        let start = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert_eq!(refused.status, 400, "{start}: {}", refused.text());
        assert!(
            error(&refused).contains(says),
            "{start}: {}",
            error(&refused)
        );
        assert!(error(&refused).len() < 500);
    }
    let large = raw(
        &scene,
        line,
        Some("application/json"),
        &vec![b' '; 1024 * 1024 + 1],
    )
    .await;
    assert_eq!(large.status, 413, "{}", large.text());
    assert!(large.json()["errors"][0].is_string());
    let listed = scene.call("GET /api/v2/api_keys", Value::Null).await.json();
    assert_eq!(
        listed["data"].as_array().unwrap().len(),
        1,
        "nothing was made"
    );
    // Whatever the body calls itself: the keys are in headers, and no page elsewhere can send those.
    for kind in [
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/vnd.api+json; charset=utf-8"),
        None,
    ] {
        let name = format!("as {kind:?}");
        let body = json!({"data": {"type": "api_keys", "attributes": {"name": name}}}).to_string();
        let made = raw(&scene, line, kind, body.as_bytes()).await;
        assert_eq!(made.status, 201, "{}", made.text());
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_as_json_with_a_request_id() {
    let scene = Scene::over_a_file().await;
    for (line, status) in [
        ("GET /api/v2/nothing", 404),
        ("GET /api/v2/api_keys/x/y", 404),
        ("GET /api/v2/api_keys/", 404),
        ("GET /api/v3/api_keys", 404),
        ("PUT /api/v2/api_keys", 405),
        ("DELETE /api/v2/api_keys", 405),
        ("POST /api/v2/current_user", 405),
        ("GET /api/v1/api_key", 403),
        ("GET /api/v1/application_key/0123456789abcdef", 403),
    ] {
        let reply = raw(&scene, line, None, b"").await;
        assert_eq!(reply.status, status, "{line}: {}", reply.text());
        assert!(reply.json()["errors"][0].is_string());
        assert!(reply.header("x-request-id").is_some());
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert!(reply.header("access-control-allow-origin").is_none());
    }
    let v1 = raw(&scene, "GET /api/v1/api_key", None, b"").await;
    assert!(error(&v1).contains("use the v2 key management API"));
}

#[tokio::test]
async fn operations_within_operations_do_not_fill_the_stack() {
    let scene = Scene::over_a_file().await;
    let line = "POST /api/v2/operations";
    let json = Some("application/json");
    let number_of_and_wait = (0..60)
        .find(|number| {
            let inner = r#"{"op":"and_wait","wait_ms":1,"request":{"op":"list_orgs"}}"#
                .replace("\"and_wait\"", &number.to_string());
            serde_json::from_str::<keygate::control::Request>(&inner).is_ok()
        })
        .map_or_else(|| "\"and_wait\"".to_owned(), |number| number.to_string());
    for op in ["\"and_wait\"", &number_of_and_wait] {
        let open = format!(r#"{{"op":{op},"wait_ms":1,"request":"#);
        let body = format!(
            r#"{}{{"op":"list_orgs"}}{}"#,
            open.repeat(60),
            "}".repeat(60)
        );
        let refused = raw(&scene, line, json, body.as_bytes()).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        let body = format!(r#"{open}{{"op":"list_orgs"}}}}"#);
        let done = raw(&scene, line, json, body.as_bytes()).await;
        assert_eq!(done.status, 200, "{}", done.text());
    }
}

#[tokio::test]
async fn nothing_of_a_key_is_longer_or_later_than_can_be_shown() {
    let scene = Scene::over_a_file().await;
    let operate = "POST /api/v2/operations";
    let long = "c".repeat(257);
    for (operation, says) in [
        (
            json!({"op": "create_api_key", "org": "acme", "name": "filed", "allowed_addresses": [],
                "labels": {"category": long, "remote_config_read": true}}),
            "256",
        ),
        (
            json!({"op": "create_api_key", "org": "acme", "name": "filed", "allowed_addresses": [],
                "labels": {"category": "\u{1b}[2J", "remote_config_read": true}}),
            "control characters",
        ),
        (
            json!({"op": "create_client_token", "org": "acme", "name": "late", "allowed_origins": [],
                "expires_at": i64::MAX}),
            "9999",
        ),
        (
            json!({"op": "rotate_key", "kind": "client_token", "id": scene.acme.client_token.id.to_string(),
                "overlap_ms": i64::MAX}),
            "9999",
        ),
    ] {
        let refused = scene.call(operate, operation.clone()).await;
        assert_eq!(refused.status, 400, "{operation}: {}", refused.text());
        assert!(error(&refused).contains(says), "{}", error(&refused));
    }
}

#[tokio::test]
async fn strangers_who_send_forms_slowly_do_not_keep_anybody_from_the_api() {
    let scene = Scene::over_a_file().await;
    let mut slow = Vec::new();
    for _ in 0..64 {
        let mut stream = tokio::net::TcpStream::connect(scene.control())
            .await
            .unwrap();
        let head = "POST /preferences HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\
                    Content-Type: application/x-www-form-urlencoded\r\n\r\na";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // Until they have every place of the pages: then a page is not answered any more.
    let page = async || {
        let mut stream = tokio::net::TcpStream::connect(scene.control())
            .await
            .unwrap();
        let head = "GET /sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_millis(300), read).await
    };
    let mut looks = 0;
    while page().await.is_ok() {
        looks += 1;
        assert!(looks < 1_000, "the pages go on");
    }
    let line = "GET /api/v2/current_user";
    let asked = scene.call(line, Value::Null);
    let answered = tokio::time::timeout(Duration::from_secs(4), asked).await;
    assert_eq!(answered.unwrap().status, 200);
}

#[tokio::test]
async fn strangers_who_take_every_connection_do_not_keep_senders_from_the_api() {
    let scene = Scene::over_a_file().await;
    let mut held = Vec::new();
    for _ in 0..520 {
        let connecting = tokio::net::TcpStream::connect(scene.control());
        let Ok(mut stream) = connecting.await else {
            break;
        };
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHo").await;
        held.push(stream);
    }
    assert!(held.len() > 512, "{} connections", held.len());
    let asked = scene.call("GET /api/v2/current_user", Value::Null);
    let answered = tokio::time::timeout(Duration::from_secs(4), asked).await;
    assert_eq!(answered.unwrap().status, 200);
}
