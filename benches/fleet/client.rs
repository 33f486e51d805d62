//! One connection to a node, to its listener or to its control socket, that blocks with a limit. It repeats nothing.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// One connection.
pub struct Client<S> {
    stream: BufReader<S>,
    head: Vec<u8>,
    body: Vec<u8>,
}

/// One whole answer.
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Whether the other side closes after it.
    pub is_last: bool,
}

impl Client<TcpStream> {
    /// Connects to a listener. The limit holds for that, and for each piece of an answer.
    pub fn connect(to: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self::over(stream))
    }
}

impl Client<UnixStream> {
    /// Connects to a control socket.
    pub fn connect(to: &Path, limit: Duration) -> io::Result<Self> {
        let stream = UnixStream::connect(to)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        Ok(Self::over(stream))
    }
}

impl<S: Read + Write> Client<S> {
    fn over(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
            head: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Sends a request and reads its whole answer; the body stays in [`Client::body`].
    pub fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let bad = || io::Error::other("no answer of HTTP/1.1 with a length");
        self.stream.get_mut().write_all(request)?;
        self.head.clear();
        while !self.head.ends_with(b"\r\n\r\n") {
            if self.stream.read_until(b'\n', &mut self.head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.head.len() > HEAD_BYTES_MAX {
                return Err(bad());
            }
        }
        self.head.make_ascii_lowercase();
        let head = std::str::from_utf8(&self.head).map_err(|_| bad())?;
        let status = head.split(' ').nth(1).ok_or_else(bad)?;
        let status = status.parse().map_err(|_| bad())?;
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length = header("content-length:").ok_or_else(bad)?;
        let length: usize = length.trim().parse().map_err(|_| bad())?;
        let is_last = header("connection: close").is_some();
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body)?;
        Ok(Answer { status, is_last })
    }

    /// The body of the last answer.
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// A request that sends something with this API key, by the route that the nodes' configuration has for it.
pub fn sending(key: &str) -> Vec<u8> {
    format!("GET /bench HTTP/1.1\r\nHost: fleet.bench\r\nDD-API-KEY: {key}\r\n\r\n").into_bytes()
}

/// An operation for a control socket.
pub fn operation(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}
