//! What a kill costs of the counts of use: one interval at most.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::harness::WAIT_MAX;
use crate::hostile::{GOOD, Hostile};
use crate::program::Program;

async fn send(program: &Program, times: u64) {
    let mut client = Client::to(program.address).await;
    for _ in 0..times {
        client.send(program.post("/api/v2/series", "{}")).await;
        assert_eq!(client.answer().await.status, 202);
    }
}

/// How often the program's API key was used, as the command line shows it.
fn uses(program: &Program) -> u64 {
    let keys = program.command(&["keys", "list", "--org", "default"]);
    let keys = keys.as_array().unwrap();
    let key = keys.iter().find(|key| key["status"] == "active").unwrap();
    let uses = key["uses"].as_u64().unwrap();
    assert_eq!(key["last_used_at"].is_null(), uses == 0, "{key:#}");
    uses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_loses_at_most_one_interval_of_uses() {
    const INTERVAL: Duration = Duration::from_secs(1);
    let hostile = Hostile::start(|_, mut link| async move {
        while link.request().await.is_some() {
            link.say(GOOD).await?;
        }
        Ok(())
    })
    .await;
    let mut program = Program::start_with(&hostile.url(), "usage_interval = \"1s\"", "").await;
    assert_eq!(uses(&program), 0);
    send(&program, 30).await;
    let sent = Instant::now();
    let deadline = sent + WAIT_MAX;
    while uses(&program) < 30 {
        assert!(Instant::now() < deadline, "{} of 30", uses(&program));
    }
    // A command takes a moment of its own.
    let (took, slack) = (sent.elapsed(), Duration::from_secs(2));
    assert!(took < INTERVAL + slack, "written down after {took:?}");

    send(&program, 20).await;
    program.signal("-KILL");
    program.ended(WAIT_MAX).await;
    // No server runs: the command opens the file, which the kill left as it was.
    let left = uses(&program);
    assert!((30..=50).contains(&left), "{left} of 30 + 20");

    // And the file takes more.
    program.again().await;
    send(&program, 5).await;
    program.signal("-TERM");
    assert!(program.ended(WAIT_MAX).await.success());
    assert_eq!(uses(&program), left + 5);
}
