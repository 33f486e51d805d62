//! The control socket: the operations for whoever may open a file of mode 0600 in the data folder. Both ends are here,
//! the server's and the command line's.

use std::fs::{self, Permissions};
use std::future::{Future, IntoFuture as _};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::post;
use axum::{BoxError, Json, Router};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tower::ServiceBuilder;

use super::protocol::Failure;
use super::{Caller, KeyService, Request, Response, ServiceError};
use crate::store::StoreError;

/// The one path, and the one for what may take long.
const PATH: &str = "/v1";
const PATH_LONG: &str = "/v1/long";

/// The largest request: the longest names, 128 scopes and a secret fit many times.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Operations at a time; each takes a moment, so more of them wait rather than fail.
const CONCURRENT_MAX: usize = 16;

/// An operation that takes longer is given up by its caller. It may still happen.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);

/// The same for what looks at everything there is, or waits for others.
const LONG_OPERATION_TIMEOUT: Duration = Duration::from_hours(6);

/// How long operations that have begun may take to end once the server stops. A connection that never asks for anything
/// would otherwise hold it for ever.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// The bound socket. Its file goes away with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Binds it at `path`, in place of the one a killed server left behind. Whoever calls this has the store open, so no
    /// other server serves this folder.
    ///
    /// # Errors
    /// When the socket cannot be made, or somebody answers on it.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("another process serves {}", path.display()),
            ));
        }
        // Bound under another name, closed to others, then moved into place: it is never open to them, not for a moment.
        let aside = path.with_file_name(format!(".ctl{}", std::process::id()));
        remove_if_there(&aside)?;
        let listener = UnixListener::bind(&aside)?;
        fs::set_permissions(&aside, Permissions::from_mode(0o600))?;
        fs::rename(&aside, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until `shutdown`, lets what has begun end, and removes the socket's file.
    ///
    /// # Errors
    /// When the listener fails or the file cannot be removed.
    pub async fn serve(
        self,
        service: KeyService,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let Self { listener, path } = self;
        let (stopping, stopped) = tokio::sync::oneshot::channel();
        let shutdown = async move {
            shutdown.await;
            // The receiver is only gone when this future is too.
            let _ = stopping.send(());
        };
        let too_long = async {
            if stopped.await.is_ok() {
                tokio::time::sleep(DRAIN_TIMEOUT).await;
            } else {
                std::future::pending().await
            }
        };
        let serving = axum::serve(listener, router(service)).with_graceful_shutdown(shutdown);
        tokio::select! {
            served = serving.into_future() => served?,
            () = too_long => {}
        }
        remove_if_there(&path)
    }
}

fn router(service: KeyService) -> Router {
    let route = |path, timeout| {
        let bounds = ServiceBuilder::new()
            .layer(HandleErrorLayer::new(timed_out))
            .timeout(timeout)
            .concurrency_limit(CONCURRENT_MAX);
        Router::new()
            .route(path, post(perform))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(bounds)
    };
    route(PATH, OPERATION_TIMEOUT)
        .merge(route(PATH_LONG, LONG_OPERATION_TIMEOUT))
        .with_state(service)
}

async fn timed_out(_: BoxError) -> HttpResponse {
    failed(
        StatusCode::GATEWAY_TIMEOUT,
        "the server took too long; the change may still happen".to_owned(),
    )
}

async fn perform(
    State(service): State<KeyService>,
    request: Result<Json<Request>, axum::extract::rejection::JsonRejection>,
) -> HttpResponse {
    let Json(request) = match request {
        Ok(request) => request,
        Err(rejection) => return failed(rejection.status(), rejection.body_text()),
    };
    match service.perform(&Caller::operator(), request).await {
        Ok(performed) => Json(performed.response).into_response(),
        Err(error) => {
            let status = match &error {
                ServiceError::Store(StoreError::Refused(_)) | ServiceError::NoFleet => {
                    StatusCode::CONFLICT
                }
                ServiceError::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
                ServiceError::NotApplied
                | ServiceError::NotHeard
                | ServiceError::Unknown
                | ServiceError::NotLogged(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            failed(status, error.to_string())
        }
    }
}

fn failed(status: StatusCode, error: String) -> HttpResponse {
    (status, Json(Failure { error })).into_response()
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A connection of the command line to a running server, for one operation.
pub struct ControlClient {
    stream: UnixStream,
}

impl ControlClient {
    /// Connects, or `None` when nobody serves the socket.
    ///
    /// # Errors
    /// When somebody may, but it cannot be reached.
    pub async fn connect(path: &Path) -> io::Result<Option<Self>> {
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(Some(Self { stream })),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Has the server perform one operation.
    ///
    /// # Errors
    /// A sentence for the person: the server's, or why there is none.
    pub async fn perform(self, request: &Request) -> Result<Response, String> {
        let timeout = if request.is_long() {
            LONG_OPERATION_TIMEOUT
        } else {
            OPERATION_TIMEOUT
        };
        tokio::time::timeout(timeout * 2, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err("the server does not answer on its control socket".to_owned()))
    }

    async fn exchange(self, request: &Request) -> Result<Response, String> {
        let broken = |error: &dyn std::fmt::Display| format!("the control socket failed: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(self.stream))
                .await
                .map_err(|error| broken(&error))?;
        let driver = tokio::spawn(connection);
        let body = serde_json::to_vec(request).map_err(|error| broken(&error))?;
        let path = if request.is_long() { PATH_LONG } else { PATH };
        let request = http::Request::post(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(&error))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| broken(&error))?
            .to_bytes();
        driver.abort();
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| broken(&error));
        }
        let failure = serde_json::from_slice::<Failure>(&body)
            .map_or_else(|_| status.to_string(), |f| f.error);
        Err(failure)
    }
}
