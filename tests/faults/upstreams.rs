//! Upstreams that refuse, hang, break off or send garbage: the contract's status, one record, nothing stuck, and the
//! next client is clean.

use std::time::{Duration, Instant};

use crate::SOON;
use crate::gate::{Gate, upstream};
use crate::hostile::{self, GOOD, Hostile, Link};

const SERIES: &str = "/api/v2/series";

/// One request against an upstream that answers with these bytes and keeps its connection: the status, and the record's
/// error. Nothing of the connection is used again.
async fn answered_with(bytes: &'static [u8], status: u16, error: &str) {
    let hostile = Hostile::start(move |_, mut link| async move {
        link.request().await;
        link.say(bytes).await?;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        upstream(config).first_byte_timeout = SOON;
    })
    .await;
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert_eq!(
        answer.status,
        status,
        "{:?}",
        String::from_utf8_lossy(bytes)
    );
    assert!(answer.whole);
    gate.record_says(error).await;
    hostile.open_at_most(0).await;
}

/// One request against an upstream that does this on every connection.
async fn met_with<Act>(
    act: impl Fn(usize, Link) -> Act + Send + Sync + 'static,
    status: u16,
    error: &str,
) where
    Act: Future<Output = std::io::Result<()>> + Send + 'static,
{
    let hostile = Hostile::start(act).await;
    let gate = Gate::before(&hostile).await;
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert_eq!(answer.status, status);
    let record = gate.record_says(error).await;
    assert_eq!(record["auth.decision"], "allowed");
    assert_eq!(record["http.response.status_code"], status);
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn an_upstream_that_refuses_is_503() {
    let gate = Gate::with(&format!("http://{}", hostile::nobody()), |_| {}).await;
    let asked = Instant::now();
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert!(asked.elapsed() < Duration::from_millis(500));
    assert_eq!(answer.status, 503);
    gate.record_says("upstream_refused").await;
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_504_at_the_connect_limit() {
    let (address, _socket, _filling) = hostile::unreachable().await;
    let gate = Gate::with(&format!("http://{address}"), |config| {
        upstream(config).connect_timeout = SOON;
    })
    .await;
    let asked = Instant::now();
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert_eq!(answer.status, 504);
    assert!(asked.elapsed() >= SOON);
    gate.record_says("upstream_timed_out").await;
}

#[tokio::test]
async fn an_upstream_that_hangs_is_504_at_the_limit_and_is_let_go() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        upstream(config).first_byte_timeout = SOON;
    })
    .await;
    let asked = Instant::now();
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert_eq!(answer.status, 504);
    assert!(asked.elapsed() >= SOON);
    gate.record_says("upstream_timed_out").await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn an_upstream_that_hangs_leaves_other_upstreams_untouched() {
    let hanging = Hostile::start(|_, link| link.hang()).await;
    let good = Hostile::good().await;
    let gate = Gate::with(&good.url(), |config| {
        let mut slow = keygate::config::Upstream::new(hanging.url().parse().unwrap());
        slow.first_byte_timeout = Duration::from_secs(5);
        config.upstreams.insert("logs".to_owned(), slow);
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut client = gate.client().await;
        client.send(gate.post("/api/v2/logs", "[]")).await;
        waiting.push(client);
    }
    hanging.received(0).await;
    for _ in 0..50 {
        let asked = Instant::now();
        assert_eq!(gate.ask(gate.post(SERIES, "{}")).await.status, 202);
        assert!(asked.elapsed() < Duration::from_secs(1));
    }
    drop(waiting);
    gate.records(100).await;
}

#[tokio::test]
async fn an_upstream_that_closes_at_once_is_502() {
    met_with(
        |_, link| async move {
            drop(link);
            Ok(())
        },
        502,
        "upstream_broke",
    )
    .await;
}

#[tokio::test]
async fn an_upstream_that_closes_after_the_request_is_502() {
    let act = |_, mut link: Link| async move {
        link.request().await;
        Ok(())
    };
    met_with(act, 502, "upstream_broke").await;
}

#[tokio::test]
async fn an_upstream_that_closes_within_its_head_is_502() {
    let act = |_, mut link: Link| async move {
        link.request().await;
        link.say("HTTP/1.1 202 Accepted\r\ncontent-le").await
    };
    met_with(act, 502, "upstream_broke").await;
}

#[tokio::test]
async fn garbage_is_502() {
    answered_with(
        b"\x16\x03\x01\x00\xff not http at all\r\n\r\n",
        502,
        "upstream_broke",
    )
    .await;
    answered_with(b"HTTP/9.9 200 OK\r\n\r\n", 502, "upstream_broke").await;
    answered_with(b"HTTP/1.1 abc OK\r\n\r\n", 502, "upstream_broke").await;
    answered_with(
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        502,
        "upstream_broke",
    )
    .await;
    answered_with(
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        502,
        "upstream_broke",
    )
    .await;
}

#[tokio::test]
async fn an_answer_with_two_lengths_is_502() {
    let two = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 5\r\n\r\nokabc";
    answered_with(two, 502, "upstream_broke").await;
}

#[tokio::test]
async fn a_head_without_end_is_502() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say("HTTP/1.1 200 OK\r\n").await?;
        loop {
            link.say(format!("x-more: {}\r\n", "x".repeat(4000)))
                .await?;
        }
    })
    .await;
    let gate = Gate::before(&hostile).await;
    assert_eq!(gate.ask(gate.post(SERIES, "{}")).await.status, 502);
    gate.record_says("upstream_broke").await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn a_protocol_switch_that_nobody_asked_for_is_502() {
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: evil\r\nconnection: upgrade\r\n\r\n";
    answered_with(switch, 502, "upstream_broke").await;
}

#[tokio::test]
async fn interim_answers_are_passed_over_however_many() {
    let hostile = Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            for _ in 0..200 {
                link.say("HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n")
                    .await?;
            }
            link.say(GOOD).await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert_eq!((answer.status, &answer.body[..]), (202, &b"ok"[..]));
    assert!(gate.records(1).await[0]["error.type"].is_null());
}

#[tokio::test]
async fn an_endless_flood_of_interim_answers_is_504() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        loop {
            link.say("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(50))
                .await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        upstream(config).first_byte_timeout = SOON;
    })
    .await;
    assert_eq!(gate.ask(gate.post(SERIES, "{}")).await.status, 504);
    gate.record_says("upstream_timed_out").await;
    hostile.open_at_most(0).await;
}

/// An answer that ends before its framing says so: the client must see that.
async fn truncated(bytes: &'static str) {
    let hostile = Hostile::start(move |_, mut link| async move {
        link.request().await;
        link.say(bytes).await
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    client.send(gate.post(SERIES, "{}")).await;
    // The cut may come so early that not even the head has been passed on.
    if let Some(answer) = client.perhaps().await {
        assert_eq!(answer.status, 200);
        assert!(!answer.whole, "a truncated answer looks whole: {answer:?}");
    }
    drop(client);
    gate.record_says("upstream_broke").await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn a_truncated_answer_with_a_length_stays_visibly_cut() {
    truncated("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
    truncated("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n").await;
}

#[tokio::test]
async fn a_truncated_chunked_answer_stays_visibly_cut() {
    truncated("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    truncated("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel").await;
    truncated("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n").await;
}

#[tokio::test]
async fn a_broken_chunk_stays_visibly_cut() {
    truncated("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")
        .await;
    truncated("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n").await;
}

#[tokio::test]
async fn a_pause_within_an_answer_cuts_it_at_the_idle_limit() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
            .await?;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        upstream(config).idle_timeout = SOON;
    })
    .await;
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert!(!answer.whole && answer.body == b"only this");
    gate.record_says("upstream_broke").await;
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_when_the_request_has_taken_its_time() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await?;
        loop {
            link.say("1\r\nx\r\n").await?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let gate = Gate::with(&hostile.url(), |config| {
        config.listen.request_timeout = 2 * SOON;
    })
    .await;
    let asked = Instant::now();
    let answer = gate.ask(gate.post(SERIES, "{}")).await;
    assert!(!answer.whole && asked.elapsed() >= 2 * SOON);
    gate.record_says("request_timed_out").await;
    hostile.open_at_most(0).await;
}
