//! One request to the provider: over TLS, or in plain text on this machine. Whole answers only, of bounded size and time, and
//! no redirect is followed: whoever could cause one would choose where this server connects to.

use std::fmt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openidconnect::AsyncHttpClient;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest answer. Sets of keys and tokens are some kilobytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// How long all of it may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug)]
pub struct FetchError(String);

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FetchError {}

fn failed(error: impl fmt::Display) -> FetchError {
    FetchError(error.to_string())
}

/// What requests are sent with.
#[derive(Clone)]
pub struct Fetch {
    tls: TlsConnector,
}

impl Fetch {
    /// With the authorities of the system, or those of a file.
    ///
    /// # Errors
    /// A sentence that says what is wrong with them.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        if let Some(path) = ca_file {
            let wrong =
                |why: &dyn fmt::Display| format!("control.oidc.ca_file: {}: {why}", path.display());
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            let certificates: Vec<_> = read.map_err(|error| wrong(&error))?;
            if certificates.is_empty() {
                return Err(wrong(&"it holds no certificate"));
            }
            for certificate in certificates {
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Sends a request and reads all of its answer.
    ///
    /// # Errors
    /// When there is none in time, it is too large, or the address is one that is not asked.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        match tokio::time::timeout(ANSWER_WITHIN, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(failed("no answer in time")),
        }
    }

    async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, FetchError> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or_else(|| failed("no host"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        match uri.scheme_str() {
            Some("https") => {
                let stream = connect(&host, uri.port_u16().unwrap_or(443)).await?;
                let name = ServerName::try_from(host).map_err(failed)?;
                let stream = self.tls.connect(name, stream).await.map_err(failed)?;
                speak(stream, request, &uri).await
            }
            Some("http") => {
                let stream = connect(&host, uri.port_u16().unwrap_or(80)).await?;
                if !stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback()) {
                    return Err(failed("http:// is for this machine only"));
                }
                speak(stream, request, &uri).await
            }
            _ => Err(failed("neither https:// nor http://")),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Fetch {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: Request<Vec<u8>>) -> Self::Future {
        Box::pin(self.send(request))
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, FetchError> {
    TcpStream::connect((host, port)).await.map_err(failed)
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Vec<u8>>,
    uri: &Uri,
) -> Result<Response<Vec<u8>>, FetchError> {
    let (mut parts, body) = request.into_parts();
    let authority = uri.authority().map(|authority| authority.as_str());
    let host = HeaderValue::from_str(authority.unwrap_or_default()).map_err(failed)?;
    parts.headers.insert(header::HOST, host);
    let close = HeaderValue::from_static("close");
    parts.headers.insert(header::CONNECTION, close);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse().map_err(failed)?;
    let request = Request::from_parts(parts, Full::new(Bytes::from(body)));

    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    let exchange = async move {
        let (parts, body) = sender
            .send_request(request)
            .await
            .map_err(failed)?
            .into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(failed)?;
        Ok(Response::from_parts(parts, body.to_bytes().to_vec()))
    };
    // What the connection says of its end says nothing about an answer that is whole.
    let (answer, _) = tokio::join!(exchange, connection);
    answer
}
