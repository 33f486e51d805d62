//! Every request recorded from a real client is sent, byte for byte, to the built-in intake, which must answer as the
//! stand-in did that the client was content with. It checks the intake alone, without the gateway.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy's leave for tests does not reach the functions beside them"
)]

#[path = "captures/index.rs"]
mod index;

use std::{net::SocketAddr, path::Path};

use index::{Row, check};
use keygate::demo::Intake;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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
        wrong.extend(check(row, answer.status, |name| answer.header(name), &answer.body).err());
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
