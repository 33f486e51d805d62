//! Records when their sink is stuck, moved or about to end: waited for or counted, never lost silently.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keygate::app::{App, Records};
use keygate::config::{Config, Sink, Switch};
use keygate::control::{FoundedView, Request, Response};

use crate::SOON;
use crate::client::Client;
use crate::harness::{loopback, secret};
use crate::hostile::Hostile;

struct Running {
    app: App,
    founded: FoundedView,
    folder: tempfile::TempDir,
}

async fn start(
    hostile: &Hostile,
    records: Records,
    configure: impl FnOnce(&mut Config),
) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut config = Config::with_default_upstream(hostile.url().parse().unwrap(), data);
    config.listen.address = loopback();
    config.listen.workers = 1;
    config.admin.address = loopback();
    config.control.listener = Switch::Off;
    config.record.sink = Sink::File;
    config.record.path = Some(folder.path().join("records.jsonl"));
    configure(&mut config);
    let app = App::start(&config, records).await.unwrap();
    let init = Request::Init {
        org: "acme".to_owned(),
        user: "maker@acme.example".to_owned(),
    };
    let Response::Founded(founded) = app.keys.operate(init).await.unwrap() else {
        panic!("not founded")
    };
    Running {
        app,
        founded: *founded,
        folder,
    }
}

impl Running {
    async fn status(&self, line: &str) -> u16 {
        let (key, application_key) = (
            secret(&self.founded.api_key),
            secret(&self.founded.application_key),
        );
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nDD-API-KEY: {key}\r\nDD-APPLICATION-KEY: {application_key}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let mut client = Client::sending(self.app.address, request).await;
        client.answer().await.status
    }

    async fn dropped(&self) -> u64 {
        let request = "GET /metrics HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n";
        let answer = Client::sending(self.app.admin, request)
            .await
            .answer()
            .await;
        let text = String::from_utf8(answer.body).unwrap();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix("keygate_records_dropped_total "));
        value.unwrap().parse().unwrap()
    }

    fn lines(&self, name: &str) -> usize {
        let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        text.lines().count()
    }
}

#[tokio::test]
async fn while_the_sink_is_stuck_the_api_is_503_and_intake_goes_on_and_drops_are_counted() {
    let hostile = Hostile::good().await;
    let stuck = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&stuck);
    let written = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let writing = Arc::clone(&written);
    let print = Records::Print(Box::new(move |_, _| {
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        writing.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }));
    let running = start(&hostile, print, |config| {
        config.record.queue_max = 4;
        config.record.wait_max = SOON;
    })
    .await;
    for _ in 0..20 {
        assert_eq!(running.status("POST /api/v2/series").await, 202);
    }
    let dropped = running.dropped().await;
    // One is being written, four wait.
    assert_eq!(dropped, 15);
    let asked = std::time::Instant::now();
    assert_eq!(running.status("GET /api/v1/monitor").await, 503);
    assert!(asked.elapsed() >= SOON, "it has waited for room");
    let heads = hostile.heads();
    assert!(
        !heads.iter().any(|head| head.contains("monitor")),
        "nothing unrecorded is done"
    );

    stuck.store(false, Ordering::SeqCst);
    crate::eventually("the queue empties", || written.load(Ordering::SeqCst) == 5).await;
    assert_eq!(running.status("GET /api/v1/monitor").await, 202);
    crate::eventually("the last record", || written.load(Ordering::SeqCst) == 6).await;
    // Written and dropped are together all there were.
    assert_eq!(running.dropped().await, 16);
}

#[tokio::test]
async fn an_api_request_waits_for_room_and_goes_on_when_there_is_some() {
    let hostile = Hostile::good().await;
    let stuck = Arc::new(AtomicBool::new(true));
    let held = Arc::clone(&stuck);
    let print = Records::Print(Box::new(move |_, _| {
        while held.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        Ok(())
    }));
    let running = start(&hostile, print, |config| {
        config.record.queue_max = 1;
        config.record.wait_max = std::time::Duration::from_secs(5);
    })
    .await;
    for _ in 0..5 {
        assert_eq!(running.status("POST /api/v2/series").await, 202);
    }
    let free = async {
        tokio::time::sleep(SOON).await;
        stuck.store(false, Ordering::SeqCst);
    };
    let (status, ()) = tokio::join!(running.status("GET /api/v1/monitor"), free);
    assert_eq!(status, 202);
}

#[tokio::test]
async fn the_file_is_opened_again_when_it_has_been_moved() {
    let hostile = Hostile::good().await;
    let running = start(&hostile, Records::AsConfigured, |_| {}).await;
    for _ in 0..3 {
        running.status("POST /api/v2/series").await;
    }
    crate::eventually("three records", || running.lines("records.jsonl") == 3).await;
    let path = |name: &str| running.folder.path().join(name);
    std::fs::rename(path("records.jsonl"), path("old.jsonl")).unwrap();
    // Until it is told, it goes on writing to the moved one: nothing is lost in between.
    running.status("POST /api/v2/series").await;
    crate::eventually("the fourth record", || running.lines("old.jsonl") == 4).await;
    running.app.reopen_records();
    crate::eventually("the new file", || path("records.jsonl").exists()).await;
    running.status("POST /api/v2/series").await;
    crate::eventually("the fifth record", || running.lines("records.jsonl") == 1).await;
    assert_eq!(running.lines("old.jsonl"), 4);
}

#[tokio::test]
async fn every_record_is_written_before_the_end() {
    let hostile = Hostile::good().await;
    let running = start(&hostile, Records::AsConfigured, |_| {}).await;
    for _ in 0..200 {
        assert_eq!(running.status("POST /api/v2/series").await, 202);
    }
    let Running { app, folder, .. } = running;
    assert!(app.shutdown().await);
    let text = std::fs::read_to_string(folder.path().join("records.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 200);
}

#[tokio::test]
async fn a_request_that_the_drains_deadline_cuts_has_its_record() {
    let hostile = Hostile::start(|_, link| link.hang()).await;
    let running = start(&hostile, Records::AsConfigured, |config| {
        config.drain.deadline = SOON;
    })
    .await;
    let key = secret(&running.founded.api_key);
    let request = format!(
        "POST /api/v2/series HTTP/1.1\r\nHost: x\r\nDD-API-KEY: {key}\r\nContent-Length: 0\r\n\r\n"
    );
    let client = Client::sending(running.app.address, request).await;
    crate::eventually("the upstream is asked", || hostile.accepted() == 1).await;
    let Running { app, folder, .. } = running;
    assert!(!app.shutdown().await);
    assert_eq!(client.rest().await, b"");
    let text = std::fs::read_to_string(folder.path().join("records.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[tokio::test]
async fn a_sink_that_takes_nothing_does_not_hold_the_programs_end() {
    let hostile = Hostile::good().await;
    let (held, released) = std::sync::mpsc::channel::<()>();
    let stuck = Records::Print(Box::new(move |_, _| {
        let _ = released.recv();
        Ok(())
    }));
    let running = start(&hostile, stuck, |_| {}).await;
    assert_eq!(running.status("POST /api/v2/series").await, 202);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(8), running.app.shutdown());
    assert!(ended.await.is_ok(), "the end waits for the sink");
    drop(held);
}
