//! HTTP/1.1 at its edges: what two readers could understand in two ways is refused, the rest is passed on as RFC 9110
//! and 9112 say, and no byte of a body is ever read as a request.

use std::time::Duration;

use crate::gate::Gate;
use crate::harness::secret;
use crate::hostile::{GOOD, Hostile};

const SERIES: &str = "/api/v1/series";

/// A client that waits for `100 Continue` gets it once its key is found good, and the upstream is not asked.
#[tokio::test]
async fn continue_is_said_after_authentication_and_never_forwarded() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    let head = gate.head(&format!("POST {SERIES}"));
    client
        .send(head + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await;
    assert!(client.head().await.unwrap().starts_with("http/1.1 100 "));
    client.send("hello").await;
    assert_eq!(client.answer().await.status, 202);
    drop(client);
    let heads = hostile.heads();
    assert!(!heads[0].to_lowercase().contains("expect"), "{heads:?}");
    gate.records(1).await;
}

#[tokio::test]
async fn a_bad_key_that_expects_100_gets_403_and_no_100() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let key = "0".repeat(32);
    let mut client = gate.client().await;
    client
        .send(format!("POST {SERIES} HTTP/1.1\r\nHost: x\r\nDD-API-KEY: {key}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
        .await;
    assert_eq!(client.answer().await.status, 403);
    // What would follow is a body nobody has asked for.
    client
        .send("GET /api/v1/validate HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(client.rest().await, b"");
    gate.records(1).await;
    assert_eq!(hostile.accepted(), 0);
}

/// One request: its status, the record's error, and that the upstream has seen nothing of it.
async fn refused(request: impl Fn(&Gate) -> String, status: u16, error: &str) {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let request = request(&gate);
    let mut client = gate.client().await;
    client.send(&request).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, status, "{request:?}");
    // Whatever follows a request that was not understood is not read as another one.
    drop(client);
    gate.record_says(error).await;
    assert_eq!(hostile.accepted(), 0, "{request:?}");
}

fn with(gate: &Gate, line: &str, headers: &str) -> String {
    gate.head(line) + headers + "\r\n"
}

#[tokio::test]
async fn another_expectation_is_417() {
    let ask = |gate: &Gate| {
        with(
            gate,
            "POST /api/v1/series",
            "Expect: 200-ok\r\nContent-Length: 0\r\n",
        )
    };
    refused(ask, 417, "expectation_failed").await;
}

#[tokio::test]
async fn an_upgrade_is_refused() {
    let ask = |gate: &Gate| {
        gate.api("GET /api/v1/monitor") + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    };
    refused(ask, 501, "not_supported").await;
}

#[tokio::test]
async fn connect_and_trace_are_refused() {
    refused(
        |gate| with(gate, "CONNECT gate.test:443", ""),
        501,
        "not_supported",
    )
    .await;
    refused(
        |gate| with(gate, "TRACE /api/v1/series", ""),
        501,
        "not_supported",
    )
    .await;
}

#[tokio::test]
async fn ambiguous_framing_is_400() {
    const BODY: &str = "\r\n0\r\n\r\n";
    for headers in [
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Content_Length: 5\r\n",
        "Transfer_Encoding: chunked\r\n",
    ] {
        let ask = |gate: &Gate| gate.head("POST /api/v1/series") + headers + BODY;
        refused(ask, 400, "ambiguous").await;
    }
}

#[tokio::test]
async fn framing_that_cannot_be_read_is_400() {
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: x\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\r\n folded\r\n",
    ] {
        let hostile = Hostile::good().await;
        let gate = Gate::before(&hostile).await;
        let request = gate.head("POST /api/v1/series") + headers + "\r\nhello";
        assert_eq!(gate.ask(request).await.status, 400, "{headers:?}");
        assert_eq!((gate.records(1).await.len(), hostile.accepted()), (1, 0));
    }
}

/// hyper would read these as RFC 9112, 6.3 and 2.2 allow, and not show what it dropped.
#[tokio::test]
async fn doubled_framing_and_bare_line_feeds_are_400() {
    const CHUNKS: &str = "2\r\n{}\r\n0\r\n\r\n";
    for (headers, body) in [
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            CHUNKS,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            CHUNKS,
        ),
        ("Content-Length: 2\r\nContent-Length: 2\r\n\r\n", "{}"),
        ("X: a\nContent-Length: 2\r\n\r\n", "{}"),
        ("Content-Length: 2\r\n\n", "{}"),
    ] {
        let ask = |gate: &Gate| gate.head("POST /api/v1/series") + headers + body;
        refused(ask, 400, "ambiguous").await;
    }
}

#[tokio::test]
async fn exactly_one_host_is_asked_for() {
    refused(
        |gate| with(gate, "POST /api/v1/series", "Host: other.test\r\n"),
        400,
        "ambiguous",
    )
    .await;
    let none = |gate: &Gate| {
        let key = secret(&gate.org.api_key);
        format!("POST {SERIES} HTTP/1.1\r\nDD-API-KEY: {key}\r\nContent-Length: 0\r\n\r\n")
    };
    refused(none, 400, "ambiguous").await;
}

#[tokio::test]
async fn the_authority_of_an_absolute_target_chooses_nothing() {
    let hostile = Hostile::good().await;
    let other = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let target = format!("http://{}{SERIES}", other.address);
    assert_eq!(gate.ask(gate.post(&target, "{}")).await.status, 202);
    assert_eq!(other.accepted(), 0);
    let head = hostile.heads().remove(0);
    assert!(
        head.starts_with("POST /api/v1/series HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        head.to_lowercase()
            .contains(&format!("host: {}", hostile.address))
    );
}

#[tokio::test]
async fn http_1_0_is_served_and_its_connection_closed() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let key = secret(&gate.org.api_key);
    let mut client = gate.client().await;
    client
        .send(format!(
            "POST {SERIES} HTTP/1.0\r\nDD-API-KEY: {key}\r\nContent-Length: 2\r\n\r\n{{}}"
        ))
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, &answer.body[..]), (202, &b"ok"[..]));
    assert_eq!(client.rest().await, b"");
    assert!(hostile.heads()[0].contains("HTTP/1.1\r\n"));
    gate.records(1).await;
}

#[tokio::test]
async fn http_1_0_with_chunks_is_400() {
    let ask = |gate: &Gate| {
        let key = secret(&gate.org.api_key);
        format!(
            "POST {SERIES} HTTP/1.0\r\nDD-API-KEY: {key}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        )
    };
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    assert_eq!(gate.ask(ask(&gate)).await.status, 400);
    assert_eq!((gate.records(1).await.len(), hostile.accepted()), (1, 0));
}

#[tokio::test]
async fn head_gets_the_length_and_no_body_and_the_connection_goes_on() {
    let hostile = Hostile::start(|_, mut link| async move {
        while let Some((head, _)) = link.request().await {
            link.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
                .await?;
            if !head.starts_with("HEAD") {
                link.say("hello").await?;
            }
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    for _ in 0..3 {
        client.send(gate.api("HEAD /api/v1/monitor") + "\r\n").await;
        let answer = client.answer_without_body().await;
        assert!(answer.status == 200 && answer.head.contains("content-length: 5"));
        client.send(gate.get("/api/v1/monitor")).await;
        assert_eq!(client.answer().await.body, b"hello");
    }
    drop(client);
    let records = gate.records(6).await;
    assert!(records.iter().all(|record| record["error.type"].is_null()));
    assert_eq!(hostile.accepted(), 1);
}

#[tokio::test]
async fn answers_without_a_body_are_passed_on_and_the_connections_go_on() {
    let hostile = Hostile::start(|_, mut link| async move {
        while let Some((head, _)) = link.request().await {
            link.say(if head.contains("/empty") {
                "HTTP/1.1 204 No Content\r\n\r\n"
            } else {
                "HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n"
            })
            .await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    for _ in 0..3 {
        client.send(gate.get("/api/v1/empty")).await;
        assert_eq!(client.answer().await.status, 204);
        client.send(gate.get("/api/v1/same")).await;
        let answer = client.answer().await;
        assert!(answer.status == 304 && answer.head.contains("etag: \"1\""));
    }
    drop(client);
    let records = gate.records(6).await;
    assert!(records.iter().all(|record| record["error.type"].is_null()));
    assert_eq!(hostile.accepted(), 1);
}

#[tokio::test]
async fn trailers_are_dropped_both_ways() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.head().await;
        while !link.has_seen("0\r\n") {
            link.more().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        link.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-evil\r\n\r\n2\r\nok\r\n0\r\nx-evil: 1\r\nset-cookie: a=b\r\n\r\n")
            .await?;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    let head = gate.head(&format!("POST {SERIES}"));
    client
        .send(head + "TE: trailers\r\nTrailer: x-keygate-org-id\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Keygate-Org-Id: evil\r\nDD-API-KEY: evil\r\n\r\n")
        .await;
    let answer = client.answer().await;
    assert!(answer.whole && answer.body == b"ok" && !answer.head.contains("x-evil"));
    // The next answer begins right where this one ended: nothing of a trailer is left between them.
    client
        .send("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 404);
    drop(client);
    let bytes = String::from_utf8(hostile.bytes()).unwrap();
    assert!(!bytes.contains("evil"), "{bytes}");
    gate.records(2).await;
}

#[tokio::test]
async fn chunk_extensions_are_not_passed_on() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let head = gate.head(&format!("POST {SERIES}"));
    let body = "Transfer-Encoding: chunked\r\n\r\n2;evil=\"1\"\r\n{}\r\n0;evil\r\n\r\n";
    assert_eq!(gate.ask(head + body).await.status, 202);
    assert!(!String::from_utf8(hostile.bytes()).unwrap().contains("evil"));
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let hostile = Hostile::start(|_, mut link| async move {
        while let Some((_, body)) = link.request().await {
            // The first takes longest.
            tokio::time::sleep(Duration::from_millis(30 - 10 * u64::from(body[0] - b'0'))).await;
            let body = String::from_utf8(body).unwrap();
            link.say(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}"
            ))
            .await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    client
        .send(
            (0..3)
                .map(|at| gate.post(SERIES, &at.to_string()))
                .collect::<String>(),
        )
        .await;
    for at in ["0", "1", "2"] {
        assert_eq!(client.answer().await.body, at.as_bytes());
    }
    drop(client);
    gate.records(3).await;
}

/// What a thief would hide in a body.
fn smuggled(gate: &Gate) -> String {
    gate.post("/api/v1/smuggled", "{}")
}

#[tokio::test]
async fn the_rest_of_a_body_after_an_early_answer_is_never_read_as_a_request() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.head().await;
        link.say(GOOD).await?;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let hidden = smuggled(&gate);
    let mut client = gate.client().await;
    let head = gate.head(&format!("POST {SERIES}"));
    client
        .send(format!(
            "{head}Content-Length: {}\r\n\r\n",
            hidden.len() + 100
        ))
        .await;
    assert_eq!(client.answer().await.status, 202);
    client.send(&hidden).await;
    client.send("x".repeat(100)).await;
    client.send(&hidden).await;
    assert_eq!(
        client.rest().await,
        b"",
        "nothing after the body that the answer cut is answered"
    );
    gate.records(1).await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn the_body_of_a_refused_request_is_never_read_as_a_request() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let hidden = smuggled(&gate);
    for line in ["POST /nothing", "POST /api/v1/series", "POST /api/v1/../x"] {
        let mut client = gate.client().await;
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            hidden.len()
        );
        client.send(head).await;
        let status = client.answer().await.status;
        assert!((400..500).contains(&status), "{status}");
        client.send(&hidden).await;
        client.rest().await;
    }
    assert_eq!(hostile.accepted(), 0);
    assert_eq!(gate.records(3).await.len(), 3);
}
