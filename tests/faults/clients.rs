//! Clients that vanish: nothing of them stays, neither here nor at the upstream, and one record says so.

use std::time::Duration;

use crate::client::Client;
use crate::gate::Gate;
use crate::hostile::Hostile;

const SERIES: &str = "/api/v1/series";

/// An upstream that reads whatever comes and never answers.
async fn silent() -> Hostile {
    Hostile::start(|_, mut link| async move {
        link.head().await;
        link.until_left().await;
        Ok(())
    })
    .await
}

/// How a client goes.
#[derive(Clone, Copy)]
enum Leave {
    /// Closing properly.
    Close,
    /// With a reset.
    Reset,
}

async fn leaves(how: Leave, client: Client) {
    if matches!(how, Leave::Reset) {
        client.reset_when_dropped();
    }
    drop(client);
}

/// A client sends this after the head of a request with a body of a thousand bytes, and leaves.
async fn vanishes_after(sent: &[u8], how: Leave) {
    let hostile = silent().await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    let head = gate.head(&format!("POST {SERIES}")) + "Content-Length: 1000\r\n\r\n";
    client.send(head).await;
    client.send(sent).await;
    hostile.received(1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    leaves(how, client).await;
    hostile.open_at_most(0).await;
    let record = gate.record_says("client_gone").await;
    assert_eq!(record["http.request.body.size"], sent.len());
    assert_eq!(record["org.name"], "acme");
}

#[tokio::test]
async fn a_client_that_vanishes_before_its_upload_cancels_the_upstream_request() {
    vanishes_after(b"", Leave::Close).await;
    vanishes_after(b"", Leave::Reset).await;
}

#[tokio::test]
async fn a_client_that_vanishes_within_its_upload_cancels_the_upstream_request() {
    vanishes_after(&[b'x'; 500], Leave::Close).await;
    vanishes_after(&[b'x'; 500], Leave::Reset).await;
}

#[tokio::test]
async fn a_client_that_vanishes_after_its_upload_cancels_the_upstream_request() {
    vanishes_after(&[b'x'; 1000], Leave::Close).await;
    vanishes_after(&[b'x'; 1000], Leave::Reset).await;
}

#[tokio::test]
async fn a_chunked_upload_that_breaks_off_is_never_passed_on_as_whole() {
    let hostile = silent().await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    let head = gate.head(&format!("POST {SERIES}")) + "Transfer-Encoding: chunked\r\n\r\n";
    client.send(head + "5\r\nhello\r\n").await;
    hostile.received(1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(client);
    hostile.open_at_most(0).await;
    let bytes = String::from_utf8(hostile.bytes()).unwrap();
    assert!(bytes.contains("hello") && !bytes.contains("0\r\n\r\n"));
    gate.record_says("client_gone").await;
}

#[tokio::test]
async fn a_client_that_breaks_its_own_framing_is_400_and_never_passed_on_as_whole() {
    let hostile = silent().await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    let head = gate.head(&format!("POST {SERIES}")) + "Transfer-Encoding: chunked\r\n\r\n";
    client.send(head + "5\r\nhello\r\nzz\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    drop(client);
    hostile.open_at_most(0).await;
    let bytes = String::from_utf8(hostile.bytes()).unwrap();
    assert!(!bytes.contains("0\r\n\r\n"));
    gate.record_says("ambiguous").await;
}

async fn vanishes_during_the_answer(how: Leave) {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await?;
        loop {
            link.say("5\r\nhello\r\n").await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    client.send(gate.post(SERIES, "{}")).await;
    client.head().await.unwrap();
    leaves(how, client).await;
    hostile.open_at_most(0).await;
    let record = gate.record_says("client_gone").await;
    assert_eq!(record["http.response.status_code"], 200);
}

#[tokio::test]
async fn a_client_that_vanishes_during_the_answer_cancels_the_upstream_request() {
    vanishes_during_the_answer(Leave::Close).await;
    vanishes_during_the_answer(Leave::Reset).await;
}

#[tokio::test]
async fn a_client_that_vanishes_while_the_upstream_is_silent_within_its_answer_cancels_it() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello")
            .await?;
        link.until_left().await;
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    client.send(gate.post(SERIES, "{}")).await;
    client.head().await.unwrap();
    drop(client);
    hostile.open_at_most(0).await;
    gate.record_says("client_gone").await;
}

#[tokio::test]
async fn a_hundred_clients_that_vanish_at_any_moment_leave_nothing_behind() {
    let hostile = Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(3)).await;
            link.say("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel")
                .await?;
            tokio::time::sleep(Duration::from_millis(3)).await;
            link.say("lo").await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let request = gate.post(SERIES, &"x".repeat(100));
    let mut requests = 0;
    for at in 0..100 {
        // From a few bytes of the head to all of the body, and from at once to after the answer.
        let cut = request.len() * (at % 10 + 1) / 10;
        let mut client = gate.client().await;
        client.send(&request[..cut]).await;
        tokio::time::sleep(Duration::from_micros(100 * at as u64)).await;
        drop(client);
        // A head that is not whole is no request.
        requests += usize::from(request[..cut].contains("\r\n\r\n"));
    }
    let records = gate.records(requests).await;
    for record in records {
        let error = record["error.type"].as_str();
        assert!(matches!(error, None | Some("client_gone")), "{record:#}");
    }
    assert_eq!(gate.ask(&request).await.status, 200);
}
