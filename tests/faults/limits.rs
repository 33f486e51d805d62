//! The limits of one client: sizes and times. Whoever keeps to them is not cut, whoever does not is, with the contract's
//! status where one can still be told.

use std::time::{Duration, Instant};

use keygate::config::{Bytes, Config, RouteAccess, RouteConfig};

use crate::SOON;
use crate::client::Client;
use crate::gate::{Gate, anonymous};
use crate::hostile::{GOOD, Hostile};

/// A route that takes a thousand bytes.
const SMALL: &str = "/own/small";

fn small(config: &mut Config) {
    let mut route = RouteConfig::new("POST", SMALL, RouteAccess::Intake);
    route.body_max = Some(Bytes(1000));
    config.routes.push(route);
}

#[tokio::test]
async fn a_length_over_the_limit_is_413_and_the_upstream_sees_nothing() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), small).await;
    assert_eq!(
        gate.ask(gate.post(SMALL, &"x".repeat(1000))).await.status,
        202
    );
    let connections = hostile.accepted();

    let mut client = gate.client().await;
    // Refused before a byte of the body is sent.
    let head = gate.head(&format!("POST {SMALL}")) + "Content-Length: 1001\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.answer().await.status, 413);
    drop(client);
    assert_eq!(
        (hostile.heads().len(), hostile.accepted()),
        (1, connections)
    );
    let records = gate.records(2).await;
    assert_eq!(records[1]["error.type"], "body_too_large");
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413_and_never_passed_on_as_whole() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), small).await;
    let head = gate.head(&format!("POST {SMALL}")) + "Transfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let mut client = gate.client().await;
    client.send(head + &chunk.repeat(3) + "0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 413);
    drop(client);
    gate.record_says("body_too_large").await;
    hostile.open_at_most(0).await;
    assert!(
        !String::from_utf8(hostile.bytes())
            .unwrap()
            .contains("0\r\n\r\n")
    );
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.body_idle_timeout = SOON;
    })
    .await;
    let mut client = gate.client().await;
    let head = gate.head("POST /api/v1/series") + "Content-Length: 100\r\n\r\n";
    client.send(head + "some").await;
    let asked = Instant::now();
    assert_eq!(client.answer().await.status, 408);
    assert!(asked.elapsed() < 10 * SOON);
    // The rest of the body must not be taken for a request.
    assert_eq!(client.rest().await, b"");
    gate.record_says("body_too_slow").await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn a_body_that_comes_slowly_but_steadily_is_taken() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.body_idle_timeout = SOON;
        config.listen.keep_alive_timeout = SOON;
        config.listen.head_timeout = SOON;
    })
    .await;
    let mut client = gate.client().await;
    client
        .send(gate.head("POST /api/v1/series") + "Content-Length: 8\r\n\r\n")
        .await;
    for _ in 0..8 {
        tokio::time::sleep(SOON / 3).await;
        client.send("x").await;
    }
    assert_eq!(client.answer().await.status, 202);
    drop(client);
    assert!(gate.records(1).await[0]["error.type"].is_null());
}

#[tokio::test]
async fn a_body_that_drips_for_ever_is_cut_when_the_request_has_taken_its_time() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.request_timeout = 2 * SOON;
    })
    .await;
    let mut client = gate.client().await;
    client
        .send(gate.head("POST /api/v1/series") + "Content-Length: 1000\r\n\r\n")
        .await;
    let asked = Instant::now();
    while client.is_silent_for(Duration::from_millis(20)).await {
        client.send("x").await;
        assert!(asked.elapsed() < 10 * SOON, "still waiting");
    }
    drop(client);
    let error = gate.records(1).await[0]["error.type"].clone();
    assert!(
        error == "body_too_slow" || error == "upstream_timed_out",
        "{error}"
    );
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn a_head_that_is_never_finished_is_closed_at_its_limit() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.head_timeout = SOON;
    })
    .await;
    let mut client = gate.client().await;
    client
        .send("POST /api/v1/series HTTP/1.1\r\nHost: x\r\n")
        .await;
    let asked = Instant::now();
    // Dripping does not help: the limit is for the whole head.
    while client.is_silent_for(SOON / 10).await {
        client.send("x").await;
        assert!(asked.elapsed() < 10 * SOON, "still open");
    }
    assert!(asked.elapsed() >= SOON / 2);
    drop(client);
    gate.at_rest().await;
    assert_eq!(hostile.accepted(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_its_limit_whether_or_not_it_was_used() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.keep_alive_timeout = SOON;
    })
    .await;
    let asked = Instant::now();
    let unused = gate.client().await;
    let mut used = gate.client().await;
    used.send(gate.post("/api/v1/series", "{}")).await;
    assert_eq!(used.answer().await.status, 202);
    assert_eq!(unused.rest().await, b"");
    assert_eq!(used.rest().await, b"");
    assert!(asked.elapsed() >= SOON && asked.elapsed() < 10 * SOON);
    gate.records(1).await;
}

#[tokio::test]
async fn a_long_answer_is_not_cut_by_the_limit_of_an_idle_connection() {
    let hostile = Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            tokio::time::sleep(2 * SOON).await;
            link.say("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n")
                .await?;
            for _ in 0..8 {
                tokio::time::sleep(SOON / 3).await;
                link.say("x").await?;
            }
        }
        Ok(())
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.keep_alive_timeout = SOON;
        config.listen.head_timeout = SOON;
        config.listen.write_timeout = SOON;
        config.listen.body_idle_timeout = SOON;
    })
    .await;
    let mut client = gate.client().await;
    for _ in 0..2 {
        client.send(gate.post("/api/v1/series", "{}")).await;
        let answer = client.answer().await;
        assert!(answer.whole && answer.body == b"xxxxxxxx");
        // The time of the next request begins with the end of this answer.
        tokio::time::sleep(SOON / 2).await;
    }
    drop(client);
    gate.records(2).await;
}

/// An upstream that sends without end.
async fn endless() -> Hostile {
    Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await?;
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        loop {
            link.say(&chunk).await?;
        }
    })
    .await
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut_at_its_limit() {
    let hostile = endless().await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.write_timeout = SOON;
    })
    .await;
    let mut client = Client::with_a_small_window(gate.gateway.app.address).await;
    client.send(gate.post("/api/v1/series", "{}")).await;
    hostile.received(1).await;
    hostile.open_at_most(0).await;
    let record = gate.record_says("client_gone").await;
    // Back-pressure: no more was taken from the upstream than the buffers of the sockets hold.
    assert!(record["http.response.body.size"].as_u64().unwrap() < 16 << 20);
    drop(client);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_431_and_one_record() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.head_bytes_max = Bytes(16 << 10);
    })
    .await;
    let head = gate.head("POST /api/v1/series") + &format!("x: {}\r\n\r\n", "x".repeat(40_000));
    assert_eq!(gate.ask(head).await.status, 431);
    gate.record_says("unreadable").await;
    assert_eq!(hostile.accepted(), 0);
}

#[tokio::test]
async fn too_many_headers_are_431_and_one_record() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let head = gate.head("POST /api/v1/series") + &"a: b\r\n".repeat(200) + "\r\n";
    assert_eq!(gate.ask(head).await.status, 431);
    gate.record_says("unreadable").await;
    assert_eq!(hostile.accepted(), 0);
}

#[tokio::test]
async fn what_is_no_request_is_400_and_one_record() {
    for garbage in [
        "\x16\x03\x01\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let hostile = Hostile::good().await;
        let gate = Gate::before(&hostile).await;
        assert_eq!(gate.ask(garbage).await.status, 400, "{garbage:?}");
        gate.record_says("unreadable").await;
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_those_within_are_served() {
    let hostile = Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            link.say(GOOD).await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.connections_max = 5;
    })
    .await;
    let mut within = Vec::new();
    for _ in 0..5 {
        let mut client = gate.client().await;
        client.send(gate.post("/api/v1/series", "{}")).await;
        assert_eq!(client.answer().await.status, 202);
        within.push(client);
    }
    for _ in 0..20 {
        let mut over = gate.client().await;
        over.send(anonymous("GET /api/v1/validate")).await;
        assert!(over.perhaps().await.is_none());
    }
    for client in &mut within {
        client.send(gate.post("/api/v1/series", "{}")).await;
        assert_eq!(client.answer().await.status, 202);
    }
    assert_eq!(gate.metric("keygate_connections_refused_total ").await, 20);
    drop(within);
    gate.at_rest().await;
    assert_eq!(
        gate.ask(gate.post("/api/v1/series", "{}")).await.status,
        202
    );
    gate.records(11).await;
}

#[tokio::test]
async fn a_refusal_is_read_by_a_client_that_sends_its_whole_body_first() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), small).await;
    let length = 32 << 20;
    for (path, key, status) in [
        (SMALL, crate::harness::secret(&gate.org.api_key), 413),
        (SMALL, "00000000000000000000000000000000", 403),
        ("/nothing", "00000000000000000000000000000000", 403),
    ] {
        for _ in 0..5 {
            let mut client = gate.client().await;
            client
                .send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nDD-API-KEY: {key}\r\nContent-Length: {length}\r\n\r\n"))
                .await;
            let sent = client.try_send(vec![b'x'; length]).await;
            // A client that is reset while it sends mostly gives up without reading.
            assert!(sent, "{path} {status}: reset");
            assert_eq!(client.answer().await.status, status, "{path}");
        }
    }
    gate.records(15).await;
}

#[tokio::test]
async fn an_upstream_that_takes_nothing_for_a_while_is_not_laid_to_the_client() {
    let hostile = Hostile::start(|_, mut link| async move {
        // Long past the client's limit for a pause, with the connection's buffers full.
        tokio::time::sleep(4 * SOON).await;
        link.request().await;
        link.say(crate::hostile::GOOD).await
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.body_idle_timeout = SOON
    })
    .await;
    let body = "x".repeat(40 << 20);
    assert_eq!(
        gate.ask(gate.post("/api/v1/series", &body)).await.status,
        202
    );
}
