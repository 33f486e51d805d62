//! The hunt for secrets: planted by every carrier through every failure, looked for wherever keygate writes.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::client::Client;
use crate::hostile::{self, Hostile, find};
use crate::program::Program;

/// Whether a text gives a secret away: as it is, in another case, percent-encoded, or as the bytes its digits stand for.
fn gives_away(text: &[u8], secret: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let hex = secret.trim_start_matches("pub");
    let raw: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    find(&lower, hex.as_bytes()).is_some()
        || find(&decoded(&lower), hex.as_bytes()).is_some()
        || find(text, &raw).is_some()
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let digits = text
            .get(at + 1..at + 3)
            .and_then(|two| std::str::from_utf8(two).ok());
        let byte = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (text[at], byte) {
            (b'%', Some(byte)) => {
                out.push(byte.to_ascii_lowercase());
                at += 3;
            }
            (other, _) => {
                out.push(other);
                at += 1;
            }
        }
    }
    out
}

/// Everything that keygate has written, with where.
async fn written(program: &Program) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for path in ["/metrics", "/config", "/readyz"] {
        let text = program.operator(path).await.unwrap().1;
        all.push((path.to_owned(), text.into_bytes()));
    }
    let (stdout, stderr) = program.said();
    all.push(("standard output".to_owned(), stdout));
    all.push(("standard error".to_owned(), stderr));
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    all.push(("records".to_owned(), read(&program.records_file())));
    for entry in std::fs::read_dir(program.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        all.push((path.display().to_string(), read(&path)));
    }
    all
}

/// Where a secret is given away.
fn found(secret: &str, places: &[(String, Vec<u8>)]) -> Vec<String> {
    let guilty = places.iter().filter(|(_, text)| gives_away(text, secret));
    guilty.map(|(place, _)| place.clone()).collect()
}

/// A key nobody has.
fn unknown() -> String {
    (0..32)
        .map(|_| char::from_digit(fastrand::u32(..16), 16).unwrap())
        .collect()
}

/// The same text with one character percent-encoded.
fn encoded(key: &str) -> String {
    format!("{}%{:02x}{}", &key[..14], key.as_bytes()[14], &key[15..])
}

/// Requests that carry this secret in every way there is, at every kind of route.
fn carriers(key: &str) -> Vec<String> {
    let upper = key.to_uppercase();
    let half = encoded(key);
    let mut heads = Vec::new();
    for path in [
        "/api/v2/series",
        "/api/v1/validate",
        "/api/v1/monitor",
        "/api/v2/logs",
        "/nothing",
        "/api/v1/lineage",
        "/",
    ] {
        for method in ["GET", "POST", "DELETE", "OPTIONS"] {
            let mut add = |target: &str, headers: &str| {
                heads.push(format!(
                    "{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{headers}\r\n"
                ));
            };
            for header in [
                "DD-API-KEY",
                "dd-application-key",
                "X-Api-Key",
                "DD_API_KEY",
                "Proxy-Authorization",
                "Cookie",
            ] {
                add(path, &format!("{header}: {key}\r\n"));
            }
            add(path, &format!("Authorization: Bearer {key}\r\n"));
            add(
                path,
                &format!("DD-API-KEY: {key}\r\nDD-API-KEY: {}\r\n", unknown()),
            );
            add(path, &format!("DD-API-KEY: {key}\r\nExpect: other\r\n"));
            add(
                path,
                &format!("DD-API-KEY: {key}\r\nReferer: http://page.test/?dd-api-key={key}\r\n"),
            );
            for name in [
                "api_key",
                "application_key",
                "dd-api-key",
                "dd-application-key",
                "API_KEY",
                "api%5fkey",
                "api_key[]",
                "token",
            ] {
                // What no reader takes for a carrier is passed on by those routes that pass anything on.
                if name != "token" {
                    add(&format!("{path}?{name}={key}"), "");
                    add(&format!("{path}?x=1&{name}={half}"), "");
                }
            }
        }
    }
    for target in [
        format!("/v1/input/{key}"),
        format!("/v1/input/{key}/more"),
        format!("/v1/input/{half}"),
        format!("/nothing/{key}"),
        format!("/nothing/{half}"),
        format!("/nothing/{upper}"),
        format!("//nothing/{key}"),
        format!("/api/v1/../{key}"),
        format!("/api/v1/api_key/{key}"),
        format!("/?ddforward=%2Fapi%2Fv2%2Flogs%3Fdd-api-key%3D{key}"),
        format!("/?ddforward=https%3A%2F%2Fx%2Fapi%2Fv2%2Flogs%3Fdd-api-key%3D{key}"),
        format!("/?ddforward=%2Fv1%2Finput%2F{key}"),
        format!("/?ddforward=%2Fnothing%2F{key}"),
        format!("/?ddforward=x&ddforward={key}"),
        format!("http://{key}.test/nothing?api_key={key}"),
    ] {
        heads.push(format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        ));
    }
    // What is no request, or none that is understood.
    heads.push(format!("{key} /nothing HTTP/1.1\r\nHost: x\r\n\r\n"));
    heads.push(format!("{key}\r\n\r\n"));
    heads.push(format!("POST /{key} HTTP/7.7\r\n\r\n"));
    heads.push(format!(
        "POST / HTTP/1.1\r\nHost: {key}\r\nHost: {key}\r\n\r\n"
    ));
    heads.push(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {key}\r\n\r\n"
    ));
    heads.push(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {key}\r\n\r\n"
    ));
    heads.push(format!("POST / HTTP/1.1\r\nHost: x\r\n{key}\r\n\r\n"));
    heads.push(format!(
        "POST / HTTP/1.1\r\nHost: x\r\nDD-API-KEY: {key}\r\nx: {}\r\n\r\n",
        "x".repeat(100_000)
    ));
    heads.push(format!(
        "CONNECT {key}.test:443 HTTP/1.1\r\nHost: x\r\n\r\n"
    ));
    heads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_planted_secret_is_found_anywhere_but_the_one_planted_on_purpose() {
    const OWN: &str = "0123456789abcdeffedcba9876543210";
    let good = Hostile::good().await;
    let broken = Hostile::start(|_, mut link| async move {
        link.request().await;
        link.say("garbage\r\n\r\n").await
    })
    .await;
    let more = format!(
        "credential_header = \"x-own\"\ncredential = \"{OWN}\"\n[upstreams.logs]\nurl = \"http://{}\"\n[upstreams.api]\nurl = \"{}\"",
        hostile::nobody(),
        broken.url(),
    );
    let program = Program::start(&good.url(), &more).await;
    let secrets = program.secrets.clone();
    let wrong = unknown();
    let wrong_token = format!("pub{}", unknown());
    let mut planted = vec![
        ("the API key", secrets.api_key.clone()),
        ("the application key", secrets.application_key.clone()),
        ("the client token", secrets.client_token.clone()),
        ("the revoked key", secrets.revoked.clone()),
        ("a wrong key", wrong),
        ("a wrong token", wrong_token),
    ];
    let mut sent = 0;
    for (_, secret) in &planted {
        for request in carriers(secret) {
            let mut client = Client::sending(program.address, &request).await;
            sent += usize::from(client.perhaps().await.is_some());
        }
    }
    assert!(sent > 1000, "{sent}");
    let pair = format!(
        "GET /api/v1/monitor HTTP/1.1\r\nHost: x\r\nDD-API-KEY: {}\r\nDD-APPLICATION-KEY: {}\r\n\r\n",
        secrets.api_key, secrets.application_key
    );
    assert_eq!(
        Client::sending(program.address, pair)
            .await
            .answer()
            .await
            .status,
        502
    );

    // A user agent is passed on as it is, so these are looked for in what keygate itself writes.
    let agents = [unknown(), secrets.api_key.clone()];
    for agent in &agents {
        let request = format!(
            "POST /nothing HTTP/1.1\r\nHost: x\r\nUser-Agent: a/1 ({agent})\r\nDD-API-KEY: {agent}\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            Client::sending(program.address, request)
                .await
                .answer()
                .await
                .status,
            403
        );
    }
    tokio::time::sleep(Duration::from_millis(100)).await;

    let mut places = written(&program).await;
    for secret in agents.iter().map(String::as_str).chain([OWN]) {
        assert_eq!(found(secret, &places), Vec::<String>::new());
    }
    assert!(
        gives_away(&good.bytes(), OWN),
        "the upstream gets its own credential"
    );
    places.push(("the upstream".to_owned(), good.bytes()));
    places.push(("the broken upstream".to_owned(), broken.bytes()));
    assert!(places.iter().all(|(place, text)| !text.is_empty()
        || place.contains("output")
        || place.contains(".sock")));
    let root_key = std::fs::read_to_string(program.data_dir().join("root.key")).unwrap();
    let elsewhere: Vec<_> = places
        .iter()
        .filter(|(place, _)| !place.ends_with("root.key"))
        .cloned()
        .collect();
    assert_eq!(found(root_key.trim(), &elsewhere), Vec::<String>::new());
    for (name, secret) in &planted {
        assert_eq!(found(secret, &places), Vec::<String>::new(), "{name}");
    }

    // The hunter finds what is there: in a file of the store, and encoded in a record.
    planted.truncate(1);
    let (_, key) = &planted[0];
    std::fs::write(
        program.data_dir().join("leak"),
        format!("x{}x", key.to_uppercase()),
    )
    .unwrap();
    places = written(&program).await;
    places.push(("encoded".to_owned(), encoded(key).into_bytes()));
    assert_eq!(found(key, &places).len(), 2);
}

/// Run again as a child, in which the panic happens.
#[test]
fn a_panic_says_where_and_never_what() {
    const ASKED: &str = "FAULTS_PANIC_WITH";
    if let Ok(secret) = std::env::var(ASKED) {
        keygate::app::hush_panics();
        panic!("while looking at {secret}");
    }
    let secret = unknown();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "secrets::a_panic_says_where_and_never_what",
            "--nocapture",
        ])
        .env(ASKED, &secret)
        .env("RUST_BACKTRACE", "1")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = [output.stdout, output.stderr].concat();
    assert!(
        find(&said, b"a panic at tests/faults/secrets.rs").is_some(),
        "{}",
        String::from_utf8_lossy(&said)
    );
    assert!(!gives_away(&said, &secret));
}
