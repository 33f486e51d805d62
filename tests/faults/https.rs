//! Upstreams over HTTPS, and the credential that an upstream is given in place of the sender's.

use std::sync::Arc;

use keygate::config::Config;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::gate::{Gate, upstream};
use crate::harness::secret;
use crate::hostile::{GOOD, Hostile};

const SERIES: &str = "/api/v2/series";

/// An authority of its own: its certificate in PEM, and a server's side with a certificate for 127.0.0.1 from it.
fn authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (pem, TlsAcceptor::from(Arc::new(server)))
}

async fn over_tls(tls: TlsAcceptor, trusted: &str) -> (Hostile, Gate) {
    let hostile = Hostile::start_tls(tls, |_, mut link| async move {
        while link.request().await.is_some() {
            link.say(GOOD).await?;
        }
        Ok(())
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, trusted).unwrap();
    let url = hostile.url().replace("http:", "https:");
    let gate = Gate::with(&url, |config| upstream(config).ca_file = Some(ca_file)).await;
    (hostile, gate)
}

#[tokio::test]
async fn an_upstream_whose_authority_is_trusted_is_reached_over_https() {
    let (pem, tls) = authority();
    let (hostile, gate) = over_tls(tls, &pem).await;
    let mut client = gate.client().await;
    for _ in 0..5 {
        client.send(gate.post(SERIES, &"x".repeat(100_000))).await;
        assert_eq!(client.answer().await.status, 202);
    }
    drop(client);
    gate.records(5).await;
    assert_eq!((hostile.accepted(), hostile.heads().len()), (1, 5));
}

#[tokio::test]
async fn an_upstream_whose_authority_is_not_trusted_is_503_and_gets_nothing() {
    let (_, tls) = authority();
    let (another, _) = authority();
    let (hostile, gate) = over_tls(tls, &another).await;
    assert_eq!(gate.ask(gate.post(SERIES, "{}")).await.status, 503);
    gate.record_says("upstream_refused").await;
    assert_eq!(hostile.bytes(), b"");
    hostile.open_at_most(0).await;
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_tls_is_503_and_gets_no_key() {
    let hostile = Hostile::good().await;
    let (pem, _) = authority();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let url = hostile.url().replace("http:", "https:");
    let gate = Gate::with(&url, |config| {
        let upstream = upstream(config);
        upstream.ca_file = Some(ca_file);
        upstream.connect_timeout = crate::SOON;
    })
    .await;
    let status = gate.ask(gate.post(SERIES, "{}")).await.status;
    assert!(status == 503 || status == 504, "{status}");
    assert_eq!(gate.records(1).await.len(), 1);
    hostile.open_at_most(0).await;
}

const OWN: &str = "the-upstreams-own-credential";

async fn received_with(configure: impl FnOnce(&mut Config)) -> String {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), configure).await;
    let key = secret(&gate.org.api_key);
    let in_header = gate.post(&format!("{SERIES}?a=1"), "{}");
    let in_query = format!(
        "POST {SERIES}?api_key={key}&a=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    for request in [in_header, in_query] {
        assert_eq!(gate.ask(request).await.status, 202);
    }
    let received = String::from_utf8(hostile.bytes()).unwrap();
    assert!(!received.contains(key));
    assert_eq!(received.matches(OWN).count(), 2, "{received}");
    let lines = gate.gateway.lines().concat();
    assert!(!lines.contains(OWN) && !gate.operator("/config").await.1.contains(OWN));
    received.to_lowercase()
}

/// A credential as it is read from a file or the environment.
fn own(config: &mut Config, name: &str) {
    let text = format!("[upstreams.default]\nurl = \"http://x\"\n{name}\ncredential = \"{OWN}\"\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keygate.toml");
    std::fs::write(&path, text).unwrap();
    let read = Config::load(Some(&path), std::iter::empty::<(String, String)>()).unwrap();
    let of_file = &read.upstreams["default"];
    let upstream = upstream(config);
    upstream.credential = of_file.credential.clone();
    upstream.credential_header = of_file.credential_header.clone();
    upstream.credential_query = of_file.credential_query.clone();
}

#[tokio::test]
async fn an_upstreams_own_credential_replaces_the_senders_in_a_header() {
    let received = received_with(|config| own(config, "credential_header = \"dd-api-key\"")).await;
    assert_eq!(
        received.matches(&format!("dd-api-key: {OWN}\r\n")).count(),
        2,
        "{received}"
    );
}

#[tokio::test]
async fn an_upstreams_own_credential_replaces_the_senders_in_the_query() {
    let received = received_with(|config| own(config, "credential_query = \"api_key\"")).await;
    let line = format!("post {SERIES}?a=1&api_key={OWN} http/1.1\r\n");
    assert_eq!(received.matches(&line).count(), 2, "{received}");
}

#[tokio::test]
async fn a_sender_cannot_put_its_own_value_beside_the_upstreams_credential() {
    let hostile = Hostile::good().await;
    let gate = Gate::with(&hostile.url(), |config| {
        own(config, "credential_query = \"token\"")
    })
    .await;
    let path = format!("{SERIES}?token=evil&a=1&%74oken=evil");
    assert_eq!(gate.ask(gate.post(&path, "{}")).await.status, 202);
    let received = hostile.heads().concat().to_lowercase();
    assert!(
        received.contains(&format!("post {SERIES}?a=1&token={OWN} http/1.1\r\n")),
        "{received}"
    );
}
