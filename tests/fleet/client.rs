//! A client of a gateway that keeps its connection and blocks with a limit. It repeats nothing.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

/// One whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the other side closes after it.
    pub is_last: bool,
}

/// A request that posts metrics with this API key.
pub fn series(key: &str) -> String {
    format!(
        "POST /api/v2/series HTTP/1.1\r\nHost: fleet.test\r\nDD-API-KEY: {key}\r\nContent-Length: 2\r\n\r\n{{}}"
    )
}

/// A request without a body.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: fleet.test\r\n\r\n")
}

impl Client {
    /// Connects. The limit holds for that, and for each piece of an answer.
    pub fn connect(to: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let stream = BufReader::new(stream);
        Ok(Self { stream })
    }

    /// Sends a request and reads its answer.
    pub fn ask(&mut self, request: impl AsRef<[u8]>) -> io::Result<Answer> {
        Ok(self.ask_with_head(request)?.0)
    }

    /// The same, and the answer's head in lower case.
    pub fn ask_with_head(&mut self, request: impl AsRef<[u8]>) -> io::Result<(Answer, String)> {
        self.stream.get_mut().write_all(request.as_ref())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        head.make_ascii_lowercase();
        let bad = || io::Error::other("no answer of HTTP/1.1");
        let status: u16 = head
            .split(' ')
            .nth(1)
            .ok_or_else(bad)?
            .parse()
            .map_err(|_| bad())?;
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let mut body = Vec::new();
        if header("transfer-encoding: chunked").is_some() {
            loop {
                let mut line = String::new();
                self.stream.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(|_| bad())?;
                let mut chunk = vec![0; size + 2];
                self.stream.read_exact(&mut chunk)?;
                body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    break;
                }
            }
        } else if let Some(length) = header("content-length: ") {
            body.resize(length.trim().parse().map_err(|_| bad())?, 0);
            self.stream.read_exact(&mut body)?;
        }
        let is_last = header("connection: close").is_some();
        let answer = Answer {
            status,
            body,
            is_last,
        };
        Ok((answer, head))
    }
}
