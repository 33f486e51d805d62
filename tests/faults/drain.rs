//! The end of the real program: requests under way are answered, and the deadline holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::hostile::{GOOD, Hostile};
use crate::program::Program;

/// An upstream that takes some milliseconds.
async fn unhurried() -> Hostile {
    Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
            link.say(GOOD).await?;
        }
        Ok(())
    })
    .await
}

/// Steady senders, and a load balancer that looks at `/readyz` and sends no more to a program that says no: then not one
/// request is lost, whether connections are kept or new.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_loses_no_request() {
    let hostile = unhurried().await;
    let mut program = Program::start(&hostile.url(), "[drain]\nreadiness_delay = \"300ms\"").await;
    let away = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let mut senders = Vec::new();
    for at in 0..16 {
        let (away, answered) = (Arc::clone(&away), Arc::clone(&answered));
        let (address, request) = (program.address, program.post("/api/v2/series", "{}"));
        senders.push(tokio::spawn(async move {
            let mut kept = Client::to(address).await;
            while !away.load(Ordering::SeqCst) {
                if at % 2 == 0 {
                    kept = Client::to(address).await;
                }
                kept.send(&request).await;
                assert_eq!(kept.answer().await.status, 202);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(program.operator("/readyz").await.unwrap().0, 200);
    let asked = Instant::now();
    program.signal("-TERM");
    loop {
        let (status, text) = program.operator("/readyz").await.expect("it still answers");
        if status == 503 {
            assert_eq!(text, "draining\n");
            break;
        }
        assert!(asked.elapsed() < Duration::from_millis(300));
    }
    away.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.expect("no request is lost");
    }
    let status = program.ended(Duration::from_secs(5)).await;
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() >= Duration::from_millis(300));
    let answered = answered.load(Ordering::SeqCst);
    assert!(answered > 100, "{answered} is no load");
    assert_eq!(program.records().len(), answered);
}

/// Without that: whatever is under way, or sent on a connection that has just been accepted, is answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_lets_what_is_under_way_end() {
    let hostile = Hostile::start(|_, mut link| async move {
        link.request().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        link.say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok")
            .await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        link.say("ok").await
    })
    .await;
    let mut program = Program::start(&hostile.url(), "").await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let request = program.post("/api/v2/series", "{}");
        clients.push(Client::sending(program.address, request).await);
    }
    let idle = Client::to(program.address).await;
    hostile.received(20).await;
    program.signal("-TERM");
    // An idle connection holds nothing up.
    assert_eq!(idle.rest().await, b"");
    for client in &mut clients {
        let answer = client.answer().await;
        assert!(answer.whole && answer.body == b"okok");
    }
    assert_eq!(program.ended(Duration::from_secs(5)).await.code(), Some(0));
    assert_eq!(program.records().len(), 20);
}

#[tokio::test]
async fn the_deadline_ends_what_does_not_end_by_itself() {
    let hostile = Hostile::start(|_, link| link.hang()).await;
    let mut program = Program::start(&hostile.url(), "[drain]\ndeadline = \"300ms\"").await;
    let client = Client::sending(program.address, program.post("/api/v2/series", "{}")).await;
    crate::eventually("the upstream is asked", || hostile.accepted() == 1).await;
    let asked = Instant::now();
    program.signal("-TERM");
    assert_eq!(program.ended(Duration::from_secs(3)).await.code(), Some(0));
    assert!(asked.elapsed() >= Duration::from_millis(300));
    client.rest().await;
}
