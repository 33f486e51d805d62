//! A client that sends exactly the bytes it is given, and tells a whole answer from a cut one. It repairs nothing.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::hostile::find;

/// The longest a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection.
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// An answer, as far as it came.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, in lower case.
    pub head: String,
    /// Its body without chunk heads.
    pub body: Vec<u8>,
    /// Whether it came to the end that its framing announced.
    pub whole: bool,
}

impl Client {
    /// Connects.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// Connects and sends.
    pub async fn sending(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut client = Self::to(address).await;
        client.send(bytes).await;
        client
    }

    /// Sends; that the other side has closed already is for what is read next to say.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    /// Sends, and says whether it could.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    async fn more(&mut self) -> bool {
        let mut some = vec![0; 64 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut some))
            .await
            .expect("something comes, or the connection ends");
        match read {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.unread.extend_from_slice(&some[..read]);
                true
            }
        }
    }

    /// The next head, a `1xx` too; `None` when the connection ends before.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..at + 4).collect();
                return Some(String::from_utf8(head).unwrap().to_ascii_lowercase());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// The next answer.
    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await.expect("an answer");
        self.rest_of(head).await
    }

    /// The next answer, if the connection does not end before its head.
    pub async fn perhaps(&mut self) -> Option<Answer> {
        let head = self.head().await?;
        Some(self.rest_of(head).await)
    }

    /// The next answer, which has no body.
    pub async fn answer_without_body(&mut self) -> Answer {
        let head = self.head().await.expect("an answer");
        let (status, body, whole) = (status(&head), Vec::new(), true);
        Answer {
            status,
            head,
            body,
            whole,
        }
    }

    async fn rest_of(&mut self, head: String) -> Answer {
        let status = status(&head);
        let mut body = Vec::new();
        let whole = if status < 200 || status == 204 || status == 304 {
            true
        } else if head.contains("transfer-encoding: chunked") {
            loop {
                let Some(line) = find(&self.unread, b"\r\n") else {
                    if self.more().await {
                        continue;
                    }
                    break false;
                };
                let size = std::str::from_utf8(&self.unread[..line]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                let end = line + 2 + size + 2;
                let mut ended = false;
                while self.unread.len() < end && !ended {
                    ended = !self.more().await;
                }
                let have = self.unread.len().min(end - 2);
                body.extend_from_slice(&self.unread[line + 2..have]);
                if ended {
                    break false;
                }
                self.unread.drain(..end);
                if size == 0 {
                    break true;
                }
            }
        } else if let Some(length) = length(&head) {
            while self.unread.len() < length && self.more().await {}
            let have = self.unread.len().min(length);
            body = self.unread.drain(..have).collect();
            have == length
        } else {
            while self.more().await {}
            body = std::mem::take(&mut self.unread);
            true
        };
        Answer {
            status,
            head,
            body,
            whole,
        }
    }

    /// Waits for the connection's end; what came before it.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.more().await {}
        self.unread
    }

    /// Whether nothing comes for a while, and the connection stays.
    pub async fn is_silent_for(&mut self, while_: Duration) -> bool {
        self.unread.is_empty()
            && tokio::time::timeout(while_, self.stream.read_u8())
                .await
                .is_err()
    }

    /// Ends with a reset instead of properly.
    pub fn reset_when_dropped(&self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Takes little into its own buffers, so that one who writes to it soon has to wait.
    pub async fn with_a_small_window(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let unread = Vec::new();
        Self { stream, unread }
    }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().trim().parse().unwrap()
}

/// The Content-Length of a head in lower case.
pub fn length(head: &str) -> Option<usize> {
    let (_, rest) = head.split_once("\r\ncontent-length: ")?;
    rest.split("\r\n").next()?.trim().parse().ok()
}
