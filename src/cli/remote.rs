//! A server elsewhere: one operation is one request of its API, with a pair from the environment. Which operations there are
//! is `control`'s.

use std::fmt::Display;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::connect::Failed;
use super::{EXIT_USAGE, show};
use crate::app;
use crate::config::UpstreamUrl;
use crate::control::{Request, Response};

/// Where operations are asked for.
const PATH: &str = "/api/v2/operations";

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take beyond what is waited for on purpose.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer: a list of a million keys is no table to read.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest file with a key in it.
const KEY_FILE_BYTES_MAX: u64 = 1024;

/// Where the two keys come from, in the order in which they are looked for.
const API_KEY_VARIABLES: [&str; 2] = ["KEYGATE_API_KEY", "DD_API_KEY"];
const APP_KEY_VARIABLES: [&str; 2] = ["KEYGATE_APP_KEY", "DD_APP_KEY"];

/// A server elsewhere, and the pair it is asked with.
pub(super) struct Remote {
    url: UpstreamUrl,
    tls: Option<(tokio_rustls::TlsConnector, ServerName<'static>)>,
    api_key: HeaderValue,
    app_key: HeaderValue,
}

impl Remote {
    /// The server at this address, with the pair of the environment.
    ///
    /// # Errors
    /// When the address is none, a key is missing, or the file of authorities cannot be used.
    pub(super) fn of(url: &str, ca_file: Option<&Path>) -> Result<Self, Failed> {
        let usage = |sentence: String| (sentence, EXIT_USAGE);
        let url: UpstreamUrl = url
            .parse()
            .map_err(|mistake| usage(format!("--url (or KEYGATE_URL): {mistake}")))?;
        let tls = if url.https {
            let connector = app::tls_connector(ca_file).map_err(usage)?;
            let name = ServerName::try_from(url.host.clone()).map_err(|_| {
                usage("--url: its host cannot be the name in a certificate".to_owned())
            })?;
            Some((connector, name))
        } else {
            None
        };
        Ok(Self {
            url,
            tls,
            api_key: key("API key", API_KEY_VARIABLES).map_err(usage)?,
            app_key: key("application key", APP_KEY_VARIABLES).map_err(usage)?,
        })
    }

    /// Has the server perform one operation.
    ///
    /// # Errors
    /// A sentence for the person, and what to exit with.
    pub(super) async fn perform(&self, request: &Request) -> Result<Response, Failed> {
        if !self.url.https && !self.url.is_loopback() {
            // Nobody is left to tell when this fails.
            let _ = writeln!(
                std::io::stderr().lock(),
                "keygate: the pair goes to {} unencrypted: use https://, or be sure of the network",
                self.url
            );
        }
        let answer = tokio::time::timeout(patience(request), self.exchange(request));
        let answer = answer.await.unwrap_or_else(|_| {
            Err(format!(
                "{} does not answer in time; a change may have happened: look before you try again",
                self.url
            ))
        });
        answer.map_err(|sentence| (sentence, 1))
    }

    async fn exchange(&self, request: &Request) -> Result<Response, String> {
        let cannot = |why: &dyn Display| format!("cannot connect to {}: {why}", self.url);
        let connecting = TcpStream::connect((self.url.host.as_str(), self.url.port));
        let tcp = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| cannot(&"no answer in 10 seconds"))?
            .map_err(|error| cannot(&error))?;
        let Some((connector, name)) = &self.tls else {
            return self.ask(tcp, request).await;
        };
        let handshake = connector.connect(name.clone(), tcp);
        let tls = tokio::time::timeout(CONNECT_TIMEOUT, handshake)
            .await
            .map_err(|_| cannot(&"no TLS handshake in 10 seconds"))?
            .map_err(|error| {
                let no_tls = error
                    .get_ref()
                    .and_then(|inner| inner.downcast_ref::<rustls::Error>())
                    .is_some_and(|error| matches!(error, rustls::Error::InvalidMessage(_)));
                match no_tls {
                    true => cannot(&"what answers there does not speak TLS: is it http://?"),
                    false => cannot(&error),
                }
            })?;
        self.ask(tls, request).await
    }

    async fn ask(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: &Request,
    ) -> Result<Response, String> {
        let broken = |why: &dyn Display| {
            format!(
                "{} broke off: {why}; a change may have happened: look before you try again",
                self.url
            )
        };
        let body = serde_json::to_vec(request).map_err(|error| broken(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let driver = tokio::spawn(connection);
        let request = http::Request::post(format!("{}{PATH}", self.url.path_prefix))
            .header(header::HOST, &self.url.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header(
                header::USER_AGENT,
                concat!("keygate/", env!("CARGO_PKG_VERSION")),
            )
            .header("dd-api-key", self.api_key.clone())
            .header("dd-application-key", self.app_key.clone())
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| broken(&error))?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| broken(&error))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect();
        let body = body.await.map_err(|error| broken(&error))?.to_bytes();
        driver.abort();
        self.understood(status, &body)
    }

    /// What an answer means.
    fn understood(&self, status: StatusCode, body: &[u8]) -> Result<Response, String> {
        let url = &self.url;
        if status == StatusCode::OK {
            return serde_json::from_slice(body).map_err(|_| {
                format!("what answers at {url}{PATH} is no keygate, or one of another version")
            });
        }
        let Some(said) = sentence(body) else {
            return Err(format!(
                "what answers at {url}{PATH} is no keygate: it says {status}"
            ));
        };
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if is_coarse(&said) => format!(
                "{url} refuses this pair ({said}): it is the API key and the application key of one org, neither of them revoked or expired; see {} and {}",
                API_KEY_VARIABLES.join(", "),
                APP_KEY_VARIABLES.join(", ")
            ),
            StatusCode::NOT_FOUND if is_coarse(&said) => format!(
                "nothing is at {url}{PATH}: is this the address of a keygate with a control listener?"
            ),
            StatusCode::SERVICE_UNAVAILABLE => {
                format!("{url} cannot do this now, try again later: {said}")
            }
            _ => said,
        })
    }
}

/// How long an answer is waited for.
fn patience(request: &Request) -> Duration {
    match request {
        Request::AndWait { wait_ms, .. } => {
            Duration::from_millis(*wait_ms).saturating_add(ANSWER_TIMEOUT)
        }
        _ => ANSWER_TIMEOUT,
    }
}

/// What an answer says went wrong: `{"errors": ["..."]}`, or objects with a `detail`.
fn sentence(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let errors = body.get("errors")?.as_array()?;
    let said: Vec<_> = errors
        .iter()
        .filter_map(|error| error.as_str().or_else(|| error.get("detail")?.as_str()))
        .collect();
    (!said.is_empty()).then(|| show::plain_lines(&said.join("; ")))
}

/// Whether it is what is said before anybody has looked at the operation.
fn is_coarse(said: &str) -> bool {
    matches!(
        said,
        "Forbidden"
            | "Unauthorized"
            | "Not found"
            | "Not Found"
            | "API key required"
            | "Application key required"
    )
}

/// A key from the first variable that is set, or from the file that it names.
fn key(what: &str, variables: [&'static str; 2]) -> Result<HeaderValue, String> {
    for variable in variables {
        if let Some(text) = std::env::var_os(variable).filter(|text| !text.is_empty()) {
            let text = Zeroizing::new(text.into_encoded_bytes());
            return value(&text).ok_or_else(|| format!("{variable} is not the secret of a key"));
        }
        let of_file = format!("{variable}_FILE");
        if let Some(path) = std::env::var_os(&of_file).filter(|path| !path.is_empty()) {
            let path = Path::new(&path);
            let text =
                read(path).map_err(|error| format!("{of_file}: {}: {error}", path.display()))?;
            return value(text.trim_ascii())
                .ok_or_else(|| format!("the file of {of_file} is not the secret of a key"));
        }
    }
    let [ours, theirs] = variables;
    Err(format!(
        "a server elsewhere is asked with a pair, and the {what} is missing: set {ours} or {theirs}, or {ours}_FILE or {theirs}_FILE"
    ))
}

fn read(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read as _;
    let mut text = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path)?;
    file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

fn value(text: &[u8]) -> Option<HeaderValue> {
    let is_secret = crate::keys::secret::is_secret(text);
    let mut value = HeaderValue::from_bytes(text).ok().filter(|_| is_secret)?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_in_both_shapes_and_tell_the_terminal_nothing() {
        let said = |body: &str| sentence(body.as_bytes());
        assert_eq!(said(r#"{"errors":["a","b"]}"#).as_deref(), Some("a; b"));
        assert_eq!(
            said(r#"{"errors":[{"detail":"a\u001b[2J"}]}"#).as_deref(),
            Some("a\\u{1b}[2J")
        );
        for other in ["", "<html>", "{}", r#"{"errors":[]}"#, r#"{"errors":"x"}"#] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
