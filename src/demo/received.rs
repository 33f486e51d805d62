//! What one request brought: its body streamed, counted and, for the tests, kept up to a bound. It answers nothing.

use std::{fmt, io, sync::Mutex, sync::PoisonError, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{HeaderMap, Method, body::Incoming, header::HeaderValue, http::request::Parts};
use tokio::{sync::watch, time};

use super::counts::{Counters, Family};

/// Body bytes kept of one recorded request.
const KEPT_BODY_BYTES_MAX: usize = 256 * 1024;
/// Requests kept by one recording intake.
const KEPT_REQUESTS_MAX: usize = 10_000;
/// Bytes kept by one recording intake, heads and bodies together: the two bounds above alone would allow 2.5 GiB.
const KEPT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Body bytes held of a request whose answer quotes it.
const QUOTED_BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a sender may stay silent in the middle of a body.
const BODY_IDLE_MAX: Duration = Duration::from_secs(30);
/// How long `wait_for` waits.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// One request as the intake received it.
#[derive(Clone, Default)]
pub struct Received {
    /// Which connection brought it, counted from 1: two requests with one number shared a connection.
    pub connection: u64,
    /// The method.
    pub method: Method,
    /// The request target, as sent.
    pub target: String,
    /// Names in lower case and values byte for byte, in the order sent, except that a repeated name stands at its first
    /// place: hyper keeps no more than that.
    pub headers: Vec<(String, Bytes)>,
    /// The first 256 KiB of the body, without its transfer coding.
    pub body: Bytes,
    /// How long the body was in truth.
    pub body_bytes: u64,
    /// What followed a chunked body.
    pub trailers: Vec<(String, Bytes)>,
    /// False when the body broke off: the sender left, stalled or broke the framing.
    pub is_whole: bool,
}

impl Received {
    /// Every value of a header, in order; `name` in any case.
    pub fn header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.headers
            .iter()
            .filter(move |(each, _)| each.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    /// The first value of a header, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(each, _)| each.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The target up to its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target
            .split_once('?')
            .map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The target's query, without the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    fn kept_bytes(&self) -> usize {
        let fields = self.headers.iter().chain(&self.trailers);
        fields.fold(
            self.target.len().saturating_add(self.body.len()),
            |sum, (name, value)| sum.saturating_add(name.len()).saturating_add(value.len()),
        )
    }
}

/// A failed assertion prints this, so a body of 256 KiB shows only how it begins.
impl fmt::Debug for Received {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 256;
        let shown = self.body.slice(..self.body.len().min(SHOWN));
        out.debug_struct("Received")
            .field("connection", &self.connection)
            .field("method", &self.method)
            .field("target", &self.target)
            .field("headers", &self.headers)
            .field("body_begins", &shown)
            .field("body_bytes", &self.body_bytes)
            .field("trailers", &self.trailers)
            .field("is_whole", &self.is_whole)
            .finish()
    }
}

#[derive(Debug, Default)]
struct Kept {
    requests: Vec<Received>,
    bytes: usize,
    left_out: u64,
}

/// The requests kept by a recording intake.
#[derive(Debug)]
pub(super) struct Recorder {
    kept: Mutex<Kept>,
    /// How many are kept; what `wait_for` waits on.
    arrived: watch::Sender<usize>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        Self {
            kept: Mutex::default(),
            arrived: watch::Sender::new(0),
        }
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.with_kept(|kept| kept.requests.clone())
    }

    pub(super) fn left_out(&self) -> u64 {
        self.with_kept(|kept| kept.left_out)
    }

    pub(super) async fn wait_for(&self, wanted: usize) -> io::Result<Vec<Received>> {
        let mut arrived = self.arrived.subscribe();
        let waited = time::timeout(WAIT_MAX, arrived.wait_for(|count| *count >= wanted))
            .await
            .map(|_| ());
        let requests = self.requests();
        match waited {
            Ok(()) => Ok(requests),
            Err(_) => {
                let told = format!(
                    "waited {WAIT_MAX:?} for {wanted} requests, {} arrived: {requests:#?}",
                    requests.len()
                );
                Err(io::Error::new(io::ErrorKind::TimedOut, told))
            }
        }
    }

    fn keep(&self, received: Received) {
        let count = self.with_kept(|kept| {
            let bytes = kept.bytes.saturating_add(received.kept_bytes());
            if kept.requests.len() < KEPT_REQUESTS_MAX && bytes <= KEPT_BYTES_MAX {
                kept.bytes = bytes;
                kept.requests.push(received);
            } else {
                kept.left_out = kept.left_out.saturating_add(1);
            }
            kept.requests.len()
        });
        self.arrived.send_replace(count);
    }

    /// A panic elsewhere cannot leave the list half-written, so a poisoned lock is as good as another.
    fn with_kept<T>(&self, act: impl FnOnce(&mut Kept) -> T) -> T {
        act(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Why a body did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The sender left or the framing is wrong.
    Cut,
    /// Nothing came for too long.
    Stalled,
}

/// A request on its way in. It is counted, and kept if there is a recorder, when this is dropped: hyper drops the
/// whole exchange when the sender leaves, and such a request counts too.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    counters: &'a Counters,
    recorder: Option<&'a Recorder>,
    family: Family,
    received: Received,
    held: BytesMut,
    held_max: usize,
}

impl<'a> Arrival<'a> {
    pub(super) fn begin(
        counters: &'a Counters,
        recorder: Option<&'a Recorder>,
        family: Family,
        is_quoted: bool,
        connection: u64,
        head: &Parts,
    ) -> Self {
        let held_max = match (recorder, is_quoted) {
            (Some(_), _) => KEPT_BODY_BYTES_MAX,
            (None, true) => QUOTED_BODY_BYTES_MAX,
            (None, false) => 0,
        };
        let mut received = Received {
            connection,
            method: head.method.clone(),
            ..Received::default()
        };
        if recorder.is_some() {
            received.target = head.uri.to_string();
            received.headers = listed(&head.headers);
        }
        Self {
            counters,
            recorder,
            family,
            received,
            held: BytesMut::new(),
            held_max,
        }
    }

    /// Reads the body to its end, holding no more of it than the bound.
    pub(super) async fn read(&mut self, mut body: Incoming) -> Result<(), Broken> {
        loop {
            let next = time::timeout(BODY_IDLE_MAX, body.frame())
                .await
                .map_err(|_| Broken::Stalled)?;
            let Some(frame) = next.transpose().map_err(|_| Broken::Cut)? else {
                break;
            };
            match frame.into_data() {
                Ok(data) => self.hold(&data),
                Err(other) if self.recorder.is_some() => {
                    self.received.trailers = other
                        .into_trailers()
                        .map(|map| listed(&map))
                        .unwrap_or_default();
                }
                Err(_) => {}
            }
        }
        self.received.is_whole = true;
        Ok(())
    }

    /// The beginning of the body, or all of it.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    fn hold(&mut self, data: &Bytes) {
        self.received.body_bytes = self.received.body_bytes.saturating_add(data.len() as u64);
        let room = self
            .held_max
            .saturating_sub(self.held.len())
            .min(data.len());
        self.held
            .extend_from_slice(data.get(..room).unwrap_or_default());
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let Received {
            body_bytes,
            is_whole,
            ..
        } = self.received;
        self.counters.add(self.family, body_bytes, is_whole);
        if let Some(recorder) = self.recorder {
            let mut received = std::mem::take(&mut self.received);
            received.body = std::mem::take(&mut self.held).freeze();
            recorder.keep(received);
        }
    }
}

fn listed(map: &HeaderMap) -> Vec<(String, Bytes)> {
    let raw = |value: &HeaderValue| Bytes::copy_from_slice(value.as_bytes());
    map.iter()
        .map(|(name, value)| (name.as_str().to_owned(), raw(value)))
        .collect()
}
