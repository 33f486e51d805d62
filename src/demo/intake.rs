//! The intake's server: accepts, reads, answers and stops. What it answers is in `answers.rs`.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time,
};

use super::{
    answers::{self, Body, Found},
    compose::Asked,
    counts::{Counters, Counts, Family},
    received::{Arrival, Broken, Received, Recorder},
    target::Target,
};

/// Connections served at once; more wait in the system's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// Bytes of one request's head. Generous: the gateway before it has the limit that counts.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// How long a head may take, which for hyper includes the rest between two requests: longer than any pool keeps an
/// unused connection, so that the other side is the one that closes.
const HEAD_MAX: Duration = Duration::from_secs(180);
/// How long requests under way may take once the intake is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// The rest after an accept that failed, as it does when file descriptors have run out.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// Event ids begin here: as long as real ones, which need 64 bits.
const FIRST_SERIAL: u64 = 5_000_000_000_000_000_000;

/// A running intake. Dropping it stops it at once; `shutdown` lets requests under way end.
#[derive(Debug)]
pub struct Intake {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    counters: Counters,
    recorder: Option<Recorder>,
    serial: AtomicU64,
}

/// Starts an intake that counts what arrives and keeps nothing of it. It runs in tasks of the caller's runtime.
///
/// # Errors
/// When the address cannot be bound.
pub async fn start(address: SocketAddr) -> io::Result<Intake> {
    Intake::bind(address, None).await
}

impl Intake {
    /// Starts an intake that also keeps each request it receives, for a test to read: up to 256 KiB of each body,
    /// 10,000 requests and 256 MiB in all.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_recording(address: SocketAddr) -> io::Result<Self> {
        Self::bind(address, Some(Recorder::new())).await
    }

    async fn bind(address: SocketAddr, recorder: Option<Recorder>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            counters: Counters::new(),
            recorder,
            serial: AtomicU64::new(FIRST_SERIAL),
        });
        let stop = watch::Sender::new(false);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), stop.subscribe()));
        Ok(Self {
            address,
            shared,
            stop,
            accepting,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far. A request counts once its body has ended, before it is answered.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// The requests kept so far, in the order their bodies ended; none unless recording.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.shared
            .recorder
            .as_ref()
            .map(Recorder::requests)
            .unwrap_or_default()
    }

    /// How many requests were not kept because a bound of recording was reached.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.shared
            .recorder
            .as_ref()
            .map(Recorder::left_out)
            .unwrap_or_default()
    }

    /// Waits until `count` requests are kept and returns all that are.
    ///
    /// # Errors
    /// `TimedOut`, with what did arrive, after ten seconds; `Unsupported` unless recording.
    pub async fn wait_for(&self, count: usize) -> io::Result<Vec<Received>> {
        match &self.shared.recorder {
            Some(recorder) => recorder.wait_for(count).await,
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this intake keeps no requests",
            )),
        }
    }

    /// Stops accepting, lets requests under way end for two seconds, and returns the last counts.
    pub async fn shutdown(mut self) -> Counts {
        self.stop.send_replace(true);
        // The task neither panics nor is aborted while we wait for it, so there is no error to tell.
        let _ended = (&mut self.accepting).await;
        self.counts()
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Owns every connection: they end with it.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let told = stop.clone();
    loop {
        tokio::select! {
            _ = stop.changed() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared), told.clone()));
                }
                Err(_) => time::sleep(ACCEPT_REST).await,
            },
        }
    }
    drop(listener);
    let drained = time::timeout(DRAIN_MAX, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
    if drained.is_err() {
        connections.shutdown().await;
    }
}

/// Serves one connection to its end. Its errors are the sender's doing and show in the counts.
async fn serve(stream: TcpStream, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let connected = shared.counters.connected();
    // Without it a small answer may wait for the sender's acknowledgement; serving works either way.
    let _best_effort = stream.set_nodelay(true);
    let number = connected.number;
    let service = service_fn(|request| {
        let shared = &shared;
        async move { Ok::<_, Infallible>(answer(request, number, shared).await) }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut served = pin!(server.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ended = served.as_mut() => return,
        _ = stop.changed() => served.as_mut().graceful_shutdown(),
    }
    let _ended = served.await;
}

/// One request: find what to answer, read the body, answer.
async fn answer(
    request: Request<Incoming>,
    connection: u64,
    shared: &Shared,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let target = Target::of(&head.uri);
    let found = answers::find(&head.method, &target);
    let family = found.row.family;
    let is_quoted = found.row.body.quotes();
    let mut arrival = Arrival::begin(
        &shared.counters,
        shared.recorder.as_ref(),
        family,
        is_quoted,
        connection,
        &head,
    );
    let mut response = match arrival.read(body).await {
        Ok(()) => {
            let held = if is_quoted { arrival.held() } else { &[] };
            let asked = Asked {
                target: &target,
                ids: &found.ids,
                headers: &head.headers,
                body: serde_json::from_slice(held).unwrap_or(Value::Null),
                serial: shared.serial.fetch_add(1, Relaxed),
            };
            respond(&found, &asked)
        }
        Err(broken) => refuse(broken),
    };
    // Counted and kept before the answer is sent, so that who has the answer finds the request.
    drop(arrival);
    allow_browser(&mut response, &head.headers, &found);
    response
}

fn respond(found: &Found<'_>, asked: &Asked<'_>) -> Response<Full<Bytes>> {
    let (kind, body) = match &found.row.body {
        Body::Nothing => (None, Bytes::new()),
        Body::Fixed(kind, bytes) => (Some(*kind), Bytes::from_static(bytes)),
        Body::Composed(say) | Body::Quoting(say) => (
            Some("application/json"),
            Bytes::from(say(asked).to_string()),
        ),
    };
    let mut response = plain(found.row.status, kind, body);
    // Method names are header text, so this never fails.
    if let Some(Ok(allow)) = found.allow.as_deref().map(HeaderValue::from_str) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// The body did not end, so the connection's next bytes mean nothing.
fn refuse(broken: Broken) -> Response<Full<Bytes>> {
    let (status, told) = match broken {
        Broken::Cut => (
            StatusCode::BAD_REQUEST,
            &br#"{"errors":["Bad request body"]}"#[..],
        ),
        Broken::Stalled => (
            StatusCode::REQUEST_TIMEOUT,
            &br#"{"errors":["Request body timed out"]}"#[..],
        ),
    };
    let mut response = plain(status, Some("application/json"), Bytes::from_static(told));
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn plain(status: StatusCode, kind: Option<&'static str>, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    if let Some(kind) = kind {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// A page of another origin sees a status only with this header, and an SDK that sees none gives its logs up.
fn allow_browser(response: &mut Response<Full<Bytes>>, asked: &HeaderMap, found: &Found<'_>) {
    if found.row.family != Family::Browser || !asked.contains_key(header::ORIGIN) {
        return;
    }
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    );
    headers.insert(
        "cross-origin-resource-policy",
        HeaderValue::from_static("cross-origin"),
    );
    if found.is_preflight {
        let names = "content-type, dd-api-key, dd-client-token, dd-evp-origin, dd-evp-origin-version, dd-request-id";
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST"),
        );
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static(names),
        );
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from_static("600"),
        );
    }
}
