//! The connections of the control listener: how many, how long a head may take, and that they end with it. What is answered
//! is not decided here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

/// Connections open at once; further ones wait in the system's queue.
const CONNECTIONS_MAX: usize = 512;

/// How long the head of a request may take, also the next one on a connection that is kept.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// How many connections a worker of the proxy keeps open while nothing is asked on them.
pub const KEPT_PER_WORKER: usize = 16;

/// The largest head, in bytes, and the most headers of one.
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 100;

/// What is waited before accepting again when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until dropped; what is open then is cut.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut open = JoinSet::new();
    loop {
        // Those that have ended are let go of, so that the set is no larger than what is open.
        while open.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // An answer is written at once and whole.
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        open.spawn(async move {
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                let answer = router.clone().oneshot(request.map(Body::new));
                async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
            });
            // A client that breaks off or speaks no HTTP is nobody's fault here.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .max_buf_size(HEAD_BYTES_MAX)
                .max_headers(HEADERS_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(place);
        });
    }
}
