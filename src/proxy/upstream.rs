//! The upstream behind a name: its connections, made, kept and reused by one worker alone. What is sent on them is
//! `forward`'s business.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::header::{HeaderName, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::Upload;
use super::gather;
use super::reply::Refusal;
use crate::config::{self, Config};

/// The most that is read from an upstream ahead of its client, per connection; also bounds an answer's head.
const READ_AHEAD_BYTES: usize = 64 * 1024;

/// The credential that an upstream is given in place of the sender's.
#[derive(Clone)]
pub enum OwnCredential {
    /// None: the upstream trusts the identity headers.
    None,
    /// In a header.
    Header(HeaderName, HeaderValue),
    /// In the query, in place of whatever the sender put there under this name.
    Query {
        /// The parameter's name.
        name: Box<str>,
        /// Ready to be appended: `name=value`.
        pair: Box<str>,
    },
}

impl fmt::Debug for OwnCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnCredential(..)")
    }
}

/// What does not change about an upstream; shared by all workers.
pub struct Upstream {
    /// Its name in the configuration.
    pub name: &'static str,
    /// Host and port, as its Host header.
    pub authority: HeaderValue,
    /// What goes before every path; empty or `/…` without a slash at the end.
    pub path_prefix: Box<str>,
    /// What replaces the sender's credential.
    pub own_credential: OwnCredential,
    /// How long its answer may take to begin.
    pub first_byte_timeout: Duration,
    /// How long it may pause within its answer.
    pub idle_timeout: Duration,
    host: Box<str>,
    port: u16,
    connect_timeout: Duration,
    keep_alive: Duration,
    idle_max: usize,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Upstream {
    /// Resolves the configuration of one upstream.
    ///
    /// # Errors
    /// A sentence that names the upstream and what is wrong: an unreadable CA file, no system roots, a bad name.
    pub fn new(name: &str, config: &config::Upstream) -> Result<Self, String> {
        let wrong = |what: String| format!("upstreams.{name}: {what}");
        let own_credential = match (
            &config.credential,
            &config.credential_header,
            &config.credential_query,
        ) {
            (Some(value), Some(header), _) => {
                let header = header
                    .parse()
                    .map_err(|_| wrong("credential_header is not a header name".into()))?;
                let mut value = HeaderValue::from_str(value.expose())
                    .map_err(|_| wrong("the credential cannot be sent in a header".into()))?;
                value.set_sensitive(true);
                OwnCredential::Header(header, value)
            }
            (Some(value), None, Some(query)) => {
                let pair = format!("{query}={}", percent_encoded(value.expose()));
                OwnCredential::Query {
                    name: query.as_str().into(),
                    pair: pair.into(),
                }
            }
            (Some(_), None, None) | (None, _, _) => OwnCredential::None,
        };
        let tls = if config.url.https {
            let server = ServerName::try_from(config.url.host.clone()).map_err(|_| {
                wrong(format!(
                    "\"{}\" cannot be the name in a certificate",
                    config.url.host
                ))
            })?;
            Some((connector(config.ca_file.as_deref()).map_err(wrong)?, server))
        } else {
            None
        };
        Ok(Self {
            name: config::lasting(name),
            authority: HeaderValue::from_str(&config.url.authority)
                .map_err(|_| wrong("bad host".into()))?,
            path_prefix: config.url.path_prefix.as_str().into(),
            own_credential,
            first_byte_timeout: config.first_byte_timeout,
            idle_timeout: config.idle_timeout,
            host: config.url.host.as_str().into(),
            port: config.url.port,
            connect_timeout: config.connect_timeout,
            keep_alive: config.keep_alive,
            idle_max: config.connections_idle_max,
            tls,
        })
    }

    /// Opens a connection.
    async fn connect(&self) -> Result<Link, Refusal> {
        let connecting = async {
            let tcp = TcpStream::connect((&*self.host, self.port)).await?;
            tcp.set_nodelay(true)?;
            match &self.tls {
                None => Ok(Stream::Plain(tcp)),
                Some((connector, server)) => {
                    let tls = connector.connect(server.clone(), tcp).await?;
                    Ok::<_, io::Error>(Stream::Tls(Box::new(tls)))
                }
            }
        };
        let stream = tokio::time::timeout(self.connect_timeout, connecting)
            .await
            .map_err(|_| Refusal::UpstreamTimedOut)?
            .map_err(|_| Refusal::UpstreamRefused)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Refusal::UpstreamBroke)?;
        Ok(Link {
            sender,
            connection: Some(Box::pin(connection)),
        })
    }
}

/// Text that a query holds as it is: everything but unreserved characters escaped (RFC 3986, 2.3).
fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// What TLS connections to servers are made with: the system's roots, or those of a file.
///
/// # Errors
/// A sentence: the file cannot be used, or the system has no roots.
pub fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = rustls::RootCertStore::empty();
    if let Some(path) = ca_file {
        let read =
            CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = read.map_err(|error| format!("ca_file {}: {error}", path.display()))?;
        if certificates.is_empty() {
            return Err(format!("ca_file {} holds no certificate", path.display()));
        }
        for certificate in certificates {
            roots
                .add(certificate)
                .map_err(|error| format!("ca_file {}: {error}", path.display()))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(
                "this system has no root certificates: install ca-certificates or give ca_file"
                    .into(),
            );
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(client)))
}

/// All upstreams by name, with `default` for every name that has none of its own.
pub struct Upstreams {
    by_name: BTreeMap<&'static str, Arc<Upstream>>,
}

impl Upstreams {
    /// Resolves every configured upstream.
    ///
    /// # Errors
    /// The first sentence of [`Upstream::new`].
    pub fn new(config: &Config) -> Result<Self, String> {
        let mut by_name = BTreeMap::new();
        for (name, upstream) in &config.upstreams {
            let upstream = Upstream::new(name, upstream)?;
            by_name.insert(upstream.name, Arc::new(upstream));
        }
        Ok(Self { by_name })
    }

    /// The upstream of this name, or the default one.
    pub fn get(&self, name: &str) -> Option<&Arc<Upstream>> {
        self.by_name
            .get(name)
            .or_else(|| self.by_name.get(config::DEFAULT_UPSTREAM))
    }
}

/// One connection to an upstream, with no task of its own: it moves when whoever has it drives it. The request that is sent on
/// it drives it in its own task, so that neither a request nor its answer is handed from one task to another: that would be
/// two more wake-ups and two more turns of the scheduler for each request.
pub struct Link {
    sender: SendRequest<Upload>,
    /// `None` once it has ended. How it ended is told to the request that was under way.
    connection: Option<Pin<Box<Connection>>>,
}

type Connection = http1::Connection<TokioIo<Stream>, Upload>;

impl Link {
    /// Writes what is to be sent and reads what has come, as far as the socket lets it.
    pub fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            self.connection = None;
        }
    }

    /// Hands a request to the connection; [`Self::drive`] sends it.
    pub fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<>
    {
        self.sender.try_send_request(request)
    }

    /// Whether it can take a request, after a look at what has come meanwhile: an upstream that has closed it says so there.
    fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }
}

struct Idle {
    link: Link,
    since: Instant,
}

/// One worker's kept connections, the most recently used on top.
#[derive(Default)]
pub struct Pool {
    idle: RefCell<BTreeMap<&'static str, Vec<Idle>>>,
}

/// A connection for one request.
pub struct Lease {
    /// To send on.
    pub link: Link,
    /// Whether an earlier request was answered on it.
    pub reused: bool,
    upstream: Arc<Upstream>,
    pool: Rc<Pool>,
}

impl Pool {
    /// A kept connection, or a new one.
    ///
    /// # Errors
    /// How connecting failed, as the client is told.
    pub async fn lease(
        self: &Rc<Self>,
        upstream: &Arc<Upstream>,
        now: Instant,
    ) -> Result<Lease, Refusal> {
        match self.take(upstream, now) {
            Some(link) => Ok(self.lend(link, true, upstream)),
            None => self.open(upstream).await,
        }
    }

    /// A new connection, whatever is kept.
    ///
    /// # Errors
    /// How connecting failed, as the client is told.
    pub async fn open(self: &Rc<Self>, upstream: &Arc<Upstream>) -> Result<Lease, Refusal> {
        // In a box: few requests need a new connection, and without one each would carry the room for a TLS handshake.
        let link = Box::pin(upstream.connect()).await?;
        Ok(self.lend(link, false, upstream))
    }

    fn lend(self: &Rc<Self>, link: Link, reused: bool, upstream: &Arc<Upstream>) -> Lease {
        Lease {
            link,
            reused,
            upstream: Arc::clone(upstream),
            pool: Rc::clone(self),
        }
    }

    fn take(&self, upstream: &Upstream, now: Instant) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.get_mut(&upstream.name)?;
        while let Some(Idle { mut link, since }) = kept.pop() {
            if now.saturating_duration_since(since) < upstream.keep_alive && link.is_usable() {
                return Some(link);
            }
        }
        None
    }

    /// Closes what has been idle too long, and what its upstream has closed. Called now and then, so that a worker without
    /// requests keeps nothing open.
    pub fn sweep(&self, upstreams: &Upstreams) {
        for (name, kept) in self.idle.borrow_mut().iter_mut() {
            let keep_alive = upstreams
                .get(name)
                .map_or(Duration::ZERO, |upstream| upstream.keep_alive);
            kept.retain_mut(|idle| idle.since.elapsed() < keep_alive && idle.link.is_usable());
        }
    }
}

impl Lease {
    /// Keeps the connection for another request. Only for one whose answer and body have both ended, by then.
    pub fn keep(self, now: Instant) {
        if self.link.connection.is_none() || self.upstream.keep_alive.is_zero() {
            return;
        }
        let mut idle = self.pool.idle.borrow_mut();
        let kept = idle.entry(self.upstream.name).or_default();
        if kept.len() < self.upstream.idle_max {
            kept.push(Idle {
                link: self.link,
                since: now,
            });
        }
    }
}

/// A connection to an upstream, in the clear or over TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => gather::poll_write(stream, cx, bufs),
            Self::Tls(stream) => gather::poll_write(stream, cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
