//! An upstream that does as it is told on each connection, however wrong, and counts what is still open. It judges nothing.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::eventually;

/// A good answer, for acts that are wrong in another place.
pub const GOOD: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok";

/// What happened so far.
#[derive(Default)]
pub struct Seen {
    open: AtomicUsize,
    accepted: AtomicUsize,
    bytes: Mutex<Vec<u8>>,
    heads: Mutex<Vec<String>>,
}

/// The upstream. It stops listening with the test's runtime.
pub struct Hostile {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

/// A byte stream, in the clear or not.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection, in the hands of an act.
pub struct Link {
    stream: Box<dyn Io>,
    unread: Vec<u8>,
    seen: Arc<Seen>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.seen.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Hostile {
    /// Listens, and performs `act` on every connection; its first argument says how many came before.
    pub async fn start<F, Act>(act: F) -> Self
    where
        F: Fn(usize, Link) -> Act + Send + Sync + 'static,
        Act: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::listen(None, act).await
    }

    /// The same over TLS.
    pub async fn start_tls<F, Act>(tls: TlsAcceptor, act: F) -> Self
    where
        F: Fn(usize, Link) -> Act + Send + Sync + 'static,
        Act: Future<Output = io::Result<()>> + Send + 'static,
    {
        Self::listen(Some(tls), act).await
    }

    /// One that answers every request well, and keeps its connections.
    pub async fn good() -> Self {
        Self::start(|_, mut link| async move {
            while link.request().await.is_some() {
                link.say(GOOD).await?;
            }
            Ok(())
        })
        .await
    }

    async fn listen<F, Act>(tls: Option<TlsAcceptor>, act: F) -> Self
    where
        F: Fn(usize, Link) -> Act + Send + Sync + 'static,
        Act: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let of_links = Arc::clone(&seen);
        let act = Arc::new(act);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let before = of_links.accepted.fetch_add(1, Ordering::SeqCst);
                of_links.open.fetch_add(1, Ordering::SeqCst);
                let (seen, act, tls) = (Arc::clone(&of_links), Arc::clone(&act), tls.clone());
                tokio::spawn(async move {
                    let stream: Box<dyn Io> = match tls {
                        None => Box::new(stream),
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => {
                                seen.open.fetch_sub(1, Ordering::SeqCst);
                                return;
                            }
                        },
                    };
                    let unread = Vec::new();
                    // A peer that went away in mid-act is what many tests are about.
                    let _ = act(
                        before,
                        Link {
                            stream,
                            unread,
                            seen,
                        },
                    )
                    .await;
                });
            }
        });
        Self { address, seen }
    }

    /// Its address as the configuration wants it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// The heads of the requests received so far.
    pub fn heads(&self) -> Vec<String> {
        self.seen.heads.lock().unwrap().clone()
    }

    /// Every byte received so far.
    pub fn bytes(&self) -> Vec<u8> {
        self.seen.bytes.lock().unwrap().clone()
    }

    /// Waits until no more than `count` connections are open.
    pub async fn open_at_most(&self, count: usize) {
        eventually("the upstream's connections end", || self.open() <= count).await;
    }

    /// Waits until `count` requests' heads have come.
    pub async fn received(&self, count: usize) {
        eventually("the upstream receives the request", || {
            self.heads().len() >= count
        })
        .await;
    }
}

impl Link {
    /// Reads some more; false at the end.
    pub async fn more(&mut self) -> bool {
        let mut some = vec![0; 64 * 1024];
        match self.stream.read(&mut some).await {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                let some = &some[..read];
                self.unread.extend_from_slice(some);
                let mut bytes = self.seen.bytes.lock().unwrap();
                // Enough for every hunt; uploads that are about size are not kept.
                if bytes.len() < 4 << 20 {
                    bytes.extend_from_slice(some);
                }
                true
            }
        }
    }

    /// Reads a request's head; `None` when the connection ends before.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..at + 4).collect();
                let head = String::from_utf8(head).unwrap();
                self.seen.heads.lock().unwrap().push(head.clone());
                return Some(head);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads a whole request; `None` when the connection ends before. Its body as framed, chunk heads included.
    pub async fn request(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head().await?;
        let lower = head.to_ascii_lowercase();
        let body = if lower.contains("transfer-encoding: chunked") {
            loop {
                if let Some(at) = find(&self.unread, b"0\r\n\r\n") {
                    break self.unread.drain(..at + 5).collect();
                }
                if !self.more().await {
                    return None;
                }
            }
        } else {
            let length = crate::client::length(&lower).unwrap_or(0);
            while self.unread.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            self.unread.drain(..length).collect()
        };
        Some((head, body))
    }

    /// Whether this is among what has been read and not taken yet.
    pub fn has_seen(&self, text: &str) -> bool {
        find(&self.unread, text.as_bytes()).is_some()
    }

    /// Writes.
    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await?;
        self.stream.flush().await
    }

    /// Reads whatever comes until the other side ends the connection.
    pub async fn until_left(&mut self) {
        while self.more().await {
            self.unread.clear();
        }
    }

    /// Reads so many bytes and keeps none.
    pub async fn skip(&mut self, bytes: usize) -> io::Result<()> {
        let mut left = bytes.saturating_sub(self.unread.len());
        self.unread.clear();
        let mut some = vec![0; 256 << 10];
        while left > 0 {
            let room = some.len().min(left);
            left -= match self.stream.read(&mut some[..room]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => read,
            };
        }
        Ok(())
    }

    /// Reads nothing and says nothing, for good.
    pub async fn hang(self) -> io::Result<()> {
        tokio::time::sleep(Duration::from_secs(600)).await;
        Ok(())
    }
}

/// An address where nobody listens.
pub fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A listener whose queue is full, so that connecting to it never ends. Keep what it returns.
pub async fn unreachable() -> (
    SocketAddr,
    socket2::Socket,
    Vec<tokio::task::JoinHandle<()>>,
) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(1).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let filling = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let _held = TcpStream::connect(address).await;
                std::future::pending::<()>().await;
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    (address, socket, filling)
}

/// Where `needle` begins.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|at| at == needle)
}
