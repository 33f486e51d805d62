//! Every request recorded from a real client is sent, byte for byte, to the built-in intake, which must answer as the
//! stand-in did that the client was content with. It checks the intake alone, without the gateway.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy's leave for tests does not reach the functions beside them"
)]

use std::{net::SocketAddr, path::Path};

use keygate::demo::Intake;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Members that ours have on top, because another client of the same path needs them.
const MORE: &[(&str, &str)] = &[("/api/v2/dora/deployment", "data")];

/// One row of `index.tsv`.
struct Row<'a> {
    file: &'a str,
    target: &'a str,
    status: u16,
    content_type: Option<&'a str>,
    body: Option<Value>,
    allows_any_origin: bool,
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Self {
        let columns: Vec<&str> = line.split('\t').collect();
        let [
            file,
            _client,
            _method,
            target,
            _credential,
            _encoding,
            answer,
        ] = columns.as_slice()
        else {
            panic!("seven columns: {line}")
        };
        let (answer, allows_any_origin) =
            match answer.strip_suffix(" with Access-Control-Allow-Origin: *") {
                Some(answer) => (answer, true),
                None => (*answer, false),
            };
        let (status, rest) = answer.split_once(' ').unwrap_or((answer, ""));
        // The content type may hold a space (`text/html; charset=utf-8`), and then no body follows.
        let (content_type, body) = rest
            .split_once(" {")
            .map_or((rest, None), |(kind, _)| (kind, rest.get(kind.len()..)));
        Self {
            file,
            target,
            status: status.parse().unwrap(),
            content_type: (!content_type.is_empty()).then_some(content_type),
            body: body.map(|text| serde_json::from_str(text.trim()).unwrap()),
            allows_any_origin,
        }
    }
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find(|(each, _)| *each == name)
            .map(|(_, v)| v)
    }
}

/// Writes one request and reads one answer of known length.
async fn replay(address: SocketAddr, request: &[u8]) -> Answer {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        assert!(
            socket.read_buf(&mut bytes).await.unwrap() > 0,
            "closed: {}",
            String::from_utf8_lossy(&bytes)
        );
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut answer = Answer {
        status: head[9..12].parse().unwrap(),
        head,
        body: bytes.split_off(head_end),
    };
    let length = answer
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap());
    while answer.body.len() < length {
        assert!(
            socket.read_buf(&mut answer.body).await.unwrap() > 0,
            "closed: {}",
            answer.head
        );
    }
    answer
}

/// Says where two answers differ in shape: in members, in the types of values, or in an empty list for a full one. Null
/// stands for any value, as it does in the recordings.
fn difference(expected: &Value, given: &Value, at: &str) -> Option<String> {
    match (expected, given) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Object(expected), Value::Object(given)) => {
            if let Some(name) = given.keys().find(|name| !expected.contains_key(*name)) {
                return Some(format!("{at}.{name} is too much"));
            }
            expected
                .iter()
                .find_map(|(name, value)| match given.get(name) {
                    Some(given) => difference(value, given, &format!("{at}.{name}")),
                    None => Some(format!("{at}.{name} is missing")),
                })
        }
        (Value::Array(expected), Value::Array(given)) => match (expected.first(), given.first()) {
            (Some(expected), Some(given)) => difference(expected, given, &format!("{at}[0]")),
            (Some(_), None) => Some(format!("{at} is empty")),
            (None, _) => None,
        },
        _ if std::mem::discriminant(expected) == std::mem::discriminant(given) => None,
        _ => Some(format!("{at} is {given}, not {expected}")),
    }
}

fn check(row: &Row<'_>, answer: &Answer) -> Result<(), String> {
    let told = |what: String| {
        Err(format!(
            "{}: {what}\n{}{}",
            row.file,
            answer.head,
            String::from_utf8_lossy(&answer.body)
        ))
    };
    if answer.status != row.status {
        return told(format!("status {}, not {}", answer.status, row.status));
    }
    if let Some(kind) = row.content_type
        && answer.header("content-type") != Some(kind)
    {
        return told(format!("content type is not {kind}"));
    }
    if row.allows_any_origin && answer.header("access-control-allow-origin") != Some("*") {
        return told("a browser may not read this".to_owned());
    }
    let Some(expected) = &row.body else {
        return if answer.body.is_empty() {
            Ok(())
        } else {
            told("a body where none is expected".to_owned())
        };
    };
    let Ok(mut given) = serde_json::from_slice::<Value>(&answer.body) else {
        return told("not JSON".to_owned());
    };
    for (_, member) in MORE.iter().filter(|(target, _)| *target == row.target) {
        given
            .as_object_mut()
            .and_then(|given| given.remove(*member))
            .expect("the member that MORE names");
    }
    // What a browser is told is its own id, to the letter.
    let id = expected.get("request_id");
    if id.is_some() && id != given.get("request_id") {
        return told("another request id".to_owned());
    }
    difference(expected, &given, "answer").map_or(Ok(()), told)
}

#[tokio::test]
async fn every_recorded_request_gets_an_answer_its_client_was_content_with() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let index = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let rows: Vec<Row<'_>> = index.lines().skip(1).map(Row::parse).collect();
    assert_eq!(rows.len(), 118);

    let intake = Intake::start_recording("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let mut wrong = Vec::new();
    for row in &rows {
        let request = std::fs::read(folder.join(row.file)).unwrap();
        let answer = replay(intake.address(), &request).await;
        wrong.extend(check(row, &answer).err());
        let received = intake.requests().pop().unwrap();
        assert!(
            received.is_whole && received.target == row.target,
            "{}: {received:?}",
            row.file
        );
        // A chunked body loses its framing; every other is the end of the file, to the byte.
        if received.header("transfer-encoding").is_none() {
            assert!(
                request.ends_with(&received.body),
                "{}: {received:?}",
                row.file
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        rows.len(),
        wrong.join("\n\n")
    );
    let counts = intake.shutdown().await;
    assert_eq!((counts.total().requests, counts.broken), (118, 0));
}
