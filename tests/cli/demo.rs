//! What the demo says first: where the pages are, and the link that lets its user in.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a demo needs to go on.
struct Demo {
    _child: Child,
    _folder: tempfile::TempDir,
    _lines: Lines<BufReader<ChildStdout>>,
}

/// A demo, and the lines that it says until one has this in it.
async fn demo(args: &[&str], until: &str) -> (Demo, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keygate"))
        .args(["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
        .args(args)
        .env_clear()
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let read = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let is_there = line.contains(until);
            said.push(line);
            if is_there {
                return;
            }
        }
        panic!("no {until} in {said:#?}");
    };
    timeout(PATIENCE, read).await.unwrap();
    let demo = Demo {
        _child: child,
        _folder: folder,
        _lines: lines,
    };
    (demo, said)
}

/// Opens a page, and answers with the first line of what comes.
async fn open(link: &str) -> String {
    let (address, path) = link
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let mut socket = TcpStream::connect(address.parse::<SocketAddr>().unwrap())
        .await
        .unwrap();
    let head = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[tokio::test]
async fn the_demo_shows_a_link_to_its_pages_that_opens() {
    let (_demo, said) = demo(&["--output", "json"], "api_key").await;
    let told: Value = serde_json::from_str(&said[0]).unwrap();
    let link = told["sign_in_link"].as_str().unwrap();
    let pages = format!("http://{}/welcome/", told["control"].as_str().unwrap());
    assert!(link.starts_with(&pages), "{told}");
    assert_eq!(open(link).await, "HTTP/1.1 200 OK");

    let (_demo, said) = demo(&[], "as they happen").await;
    let link = said.iter().find(|line| line.contains("/welcome/")).unwrap();
    assert!(
        said.iter()
            .any(|line| line.contains("set a password and sign in")),
        "{said:#?}"
    );
    assert_eq!(open(link.trim()).await, "HTTP/1.1 200 OK");
}
