//! Upstream connections that are kept: what one request left on them reaches no other, a dead one loses no request, and
//! none is sent twice.

use std::time::Duration;

use crate::client::Client;
use crate::gate::{Gate, upstream};
use crate::hostile::{self, GOOD, Hostile};

const SERIES: &str = "/api/v2/series";

#[tokio::test]
async fn surplus_bytes_poison_no_other_request() {
    // The surplus is a whole answer of its own: whoever took it would be told a stranger's news.
    let hostile = Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            link.say(
                "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 299 Poison\r\ncontent-length: 6\r\n\r\npoison",
            )
            .await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    for _ in 0..50 {
        client.send(gate.post(SERIES, "{}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, &answer.body[..]), (202, &b"ok"[..]));
    }
    drop(client);
    gate.records(50).await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn surplus_bytes_that_come_later_poison_no_other_request() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say(GOOD).await?;
        tokio::time::sleep(Duration::from_millis(20)).await;
        link.say("HTTP/1.1 299 Poison\r\ncontent-length: 6\r\n\r\npoison")
            .await?;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    for _ in 0..5 {
        assert_eq!(gate.ask(gate.post(SERIES, "{}")).await.status, 202);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(hostile.accepted(), 5);
    gate.records(5).await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_closed_loses_no_request() {
    // Each connection serves one request and is closed as soon as it is idle, so nearly every request of the hundred
    // finds a dead kept one.
    let hostile = Hostile::start(|_, mut link| async move {
        if link.request().await.is_some() {
            link.say(GOOD).await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    for at in 0..100 {
        client.send(gate.post(SERIES, &"x".repeat(at * 100))).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 202, "request {at}");
    }
    drop(client);
    let records = gate.records(100).await;
    assert!(records.iter().all(|record| record["error.type"].is_null()));
    assert_eq!(hostile.heads().len(), 100, "no request is sent twice");
}

#[tokio::test]
async fn a_request_whose_head_went_out_is_never_sent_again() {
    // The kept connection takes the second request and is closed then: whether it was acted on, nobody knows.
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say(GOOD).await?;
        link.head().await;
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    client.send(gate.post(SERIES, "1")).await;
    assert_eq!(client.answer().await.status, 202);
    client.send(gate.post(SERIES, "2")).await;
    assert_eq!(client.answer().await.status, 502);
    drop(client);
    let records = gate.records(2).await;
    assert_eq!(records[1]["error.type"], "upstream_broke");
    assert_eq!(records[1]["retries"], 0);
    assert_eq!((hostile.heads().len(), hostile.accepted()), (2, 1));
}

#[tokio::test]
async fn an_upstream_that_returns_is_used_again_at_once() {
    let address = hostile::nobody();
    let gate = Gate::with(&format!("http://{address}"), |_| {}).await;
    assert_eq!(gate.ask(gate.post(SERIES, "{}")).await.status, 503);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let back = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4096]).await;
        stream.write_all(GOOD.as_bytes()).await.unwrap();
    });
    assert_eq!(gate.ask(gate.post(SERIES, "{}")).await.status, 202);
    back.await.unwrap();
}

#[tokio::test]
async fn a_client_that_shares_the_gateway_with_a_broken_upstreams_clients_is_answered() {
    let hostile = Hostile::start(|nth, mut link| async move {
        link.request().await;
        if nth % 2 == 0 {
            return link.say("garbage\r\n\r\n").await;
        }
        link.say(GOOD).await?;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        upstream(config).keep_alive = Duration::ZERO;
    })
    .await;
    let mut clients = [gate.client().await, gate.client().await];
    for _ in 0..10 {
        for (at, client) in clients.iter_mut().enumerate() {
            let client: &mut Client = client;
            client.send(gate.post(SERIES, "{}")).await;
            assert_eq!(client.answer().await.status, [502, 202][at]);
        }
    }
    drop(clients);
    gate.records(20).await;
    hostile.open_at_most(0).await;
}
