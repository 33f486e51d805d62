//! What somebody once got through, each with the smallest request that did it.

use crate::gate::Gate;
use crate::harness::secret;
use crate::hostile::Hostile;

const SERIES: &str = "/api/v2/series";

#[tokio::test]
async fn an_answer_in_chunks_is_whole_and_keeps_its_connection() {
    let hostile = Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            link.say(
                "HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            )
            .await?;
        }
        Ok(())
    })
    .await;
    let gate = Gate::before(&hostile).await;
    let mut client = gate.client().await;
    for _ in 0..5 {
        client.send(gate.post(SERIES, "{}")).await;
        assert_eq!(client.answer().await.body, b"ok");
    }
    drop(client);
    for record in gate.records(5).await {
        assert_eq!(record["error.type"], serde_json::Value::Null, "{record:#}");
    }
    assert_eq!(hostile.accepted(), 1);
}

#[tokio::test]
async fn after_an_ambiguous_request_nothing_more_is_read() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let key = secret(&gate.org.api_key);
    for ambiguous in [
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Content_Length: 2\r\n\r\n",
        "Host: other.test\r\n\r\n",
    ] {
        let head = gate.head(&format!("POST {SERIES}"));
        let next = format!("GET /api/v1/validate?api_key={key} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut client = gate.client().await;
        client.send(format!("{head}{ambiguous}{next}")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{ambiguous}");
        assert!(
            answer.head.contains("\r\nconnection: close\r\n"),
            "{}",
            answer.head
        );
        assert_eq!(client.rest().await, b"", "{ambiguous}");
    }
    assert_eq!(hostile.accepted(), 0);
}

#[tokio::test]
async fn a_page_can_read_a_refusal_made_before_there_is_a_route() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let of_page = "Host: h\r\nOrigin: https://shop.example\r\nContent-Length: 0\r\n";
    for (target, wrong, status) in [
        ("/api/v2/logs?ddsource=browser", "Expect: x\r\n", 417),
        ("/api/v2/logs", "X_API_KEY: a\r\n", 400),
        ("//api/v2/logs?ddsource=browser", "", 400),
        ("/?ddforward=%2Fapi%2F..%2Fv2%2Flogs", "", 400),
    ] {
        let answer = gate
            .ask(format!("POST {target} HTTP/1.1\r\n{of_page}{wrong}\r\n"))
            .await;
        assert_eq!(answer.status, status, "{target}");
        assert!(
            answer.head.contains("access-control-allow-origin: *"),
            "{}",
            answer.head
        );
    }
}

#[tokio::test]
async fn a_key_of_an_unusual_form_in_a_path_is_in_no_record() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    let key = secret(&gate.org.api_key);
    let escaped = format!("{}%{:02x}{}", &key[..16], key.as_bytes()[16], &key[17..]);
    for path in [
        format!("/v1/input/{key}/x"),
        format!("/V1/input/{escaped}"),
        format!("/nowhere/{key}"),
        format!("/api/v1/api_key/{escaped}/x"),
    ] {
        gate.ask(format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nX-Request-ID: {key}\r\nDD-API-KEY: {key}\r\n\r\n"
        ))
        .await;
    }
    let shown = format!("{:?}", gate.records(4).await);
    assert!(
        !shown.contains(key) && !shown.contains(&key[17..]),
        "{shown}"
    );
}

#[tokio::test]
async fn the_lines_of_a_refused_body_are_not_taken_for_a_head() {
    let hostile = Hostile::good().await;
    let gate = Gate::before(&hostile).await;
    // As a page's batch of logs: more than one read brings, less than makes the connection end.
    let body = "{}\n".repeat(4_000);
    let length = body.len();
    let head = format!(
        "POST {SERIES} HTTP/1.1\r\nHost: h\r\nDD-API-KEY: wrong\r\nContent-Length: {length}\r\n\r\n"
    );
    let mut kept = 0;
    for _ in 0..20 {
        let mut client = gate.client().await;
        client.send(head.clone() + &body).await;
        assert_eq!(client.answer().await.status, 403);
        if client.try_send(gate.post(SERIES, "{}")).await
            && let Some(answer) = client.perhaps().await
        {
            assert_eq!(answer.status, 202, "{}", answer.head);
            kept += 1;
        }
    }
    assert!(kept > 0, "no connection was kept");
}
