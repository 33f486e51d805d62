//! Memory under large uploads: bodies stream, so what is held does not grow with them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::client::Client;
use crate::hostile::{GOOD, Hostile};
use crate::program::Program;

const UPLOADS: usize = 100;
const BODY: usize = 50 << 20;
/// What each upload has sent when the upstream stops reading.
const BEFORE_THE_PAUSE: usize = 5 << 20;
const LIMIT_KIB: u64 = 100 << 10;

/// A hundred uploads of 50 MiB, all under way at once: the upstream takes 5 MiB of each and then reads no more, which is
/// the harder case, since whatever can pile up does. Then it reads on, and all of them end. The real binary is measured,
/// at its highest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_uploads_of_50_mib_hold_less_than_100_mib() {
    let (go, going) = watch::channel(false);
    let (paused, mut all_paused) = watch::channel(0_usize);
    let paused = Arc::new(paused);
    let hostile = Hostile::start(move |_, mut link| {
        let (mut going, paused) = (going.clone(), Arc::clone(&paused));
        async move {
            link.head().await;
            link.skip(BEFORE_THE_PAUSE).await?;
            paused.send_modify(|count| *count += 1);
            let _ = going.wait_for(|go| *go).await;
            link.skip(BODY - BEFORE_THE_PAUSE).await?;
            link.say(GOOD).await
        }
    })
    .await;
    let program = Program::start(&hostile.url(), "first_byte_timeout = \"60s\"").await;
    let mut warm = Client::sending(program.address, program.post("/nothing", "")).await;
    warm.answer().await;
    let idle = program.memory("VmRSS:");

    let mut uploads = Vec::new();
    for _ in 0..UPLOADS {
        let mut client = Client::to(program.address).await;
        let head = program
            .post("/api/v1/series", "")
            .replace("Content-Length: 0", &format!("Content-Length: {BODY}"));
        uploads.push(tokio::spawn(async move {
            client.send(head).await;
            let some = vec![b'x'; 256 << 10];
            for _ in 0..BODY / some.len() {
                client.send(&some).await;
            }
            client.answer().await.status
        }));
    }
    all_paused
        .wait_for(|count| *count == UPLOADS)
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let stalled = program.memory("VmHWM:");
    go.send_replace(true);
    for upload in uploads {
        assert_eq!(upload.await.unwrap(), 202);
    }
    let highest = program.memory("VmHWM:");
    assert!(
        highest - idle < LIMIT_KIB,
        "KiB: idle {idle}, stalled {stalled}, highest {highest}"
    );
}
