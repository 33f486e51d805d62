//! A server elsewhere: both its doors, what it refuses, and what is not even sent to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keygate::config::Switch;
use keygate::control::Request;
use keygate::keys::Role;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::harness::{Gateway, Org, application_key, loopback, secret, user};
use crate::program::Program;

async fn gateway() -> (Gateway, Org) {
    let gateway = Gateway::start_with(|config| {
        config.control.listener = Switch::On;
        config.control.address = loopback();
    })
    .await;
    let acme = gateway.org("acme").await;
    (gateway, acme)
}

/// Whoever has this pair.
fn pair(api_key: &str, application_key: &str) -> Program {
    Program::default()
        .with("DD_API_KEY", api_key)
        .with("DD_APP_KEY", application_key)
}

fn admin(acme: &Org) -> Program {
    pair(secret(&acme.api_key), secret(&acme.application_key))
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// A server of one answer, and how often somebody came.
async fn answering(answer: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&came);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut read = [0; 16 * 1024];
            let _ = socket.read(&mut read).await;
            let _ = socket.write_all(answer.as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    (address, came)
}

#[tokio::test]
async fn keys_are_managed_through_either_door() {
    let (gateway, acme) = gateway().await;
    for address in [gateway.app.address, gateway.app.control.unwrap()] {
        let program = admin(&acme).with("KEYGATE_URL", &url(address));
        let name = format!("by-{}", address.port());
        let made = program
            .json(&["keys", "create", "--org", "acme", "--name", &name])
            .await;
        let id = made["id"].as_str().unwrap();
        assert!(made["secret"].is_string(), "{made}");
        let listed = program.run(&["keys", "list", "--org", "acme"]).await.good();
        assert!(listed.out.contains(&name), "{listed:#?}");
        let rotated = program
            .json(&["keys", "rotate", id, "--overlap", "1h", "--name", "next"])
            .await;
        assert!(rotated["new"]["secret"].is_string(), "{rotated}");
        let next = rotated["new"]["id"].as_str().unwrap();
        let revoked = program.json(&["keys", "revoke", next, "--wait"]).await;
        assert_eq!(revoked["receipt"]["applied_everywhere"], true, "{revoked}");
        let log = program.json(&["audit", "list", "--object", id]).await;
        let newest = &log["entries"][0];
        assert_eq!(
            (&newest["via"], &newest["actor"]),
            (&"api".into(), &acme.user.as_str().into())
        );
    }
}

#[tokio::test]
async fn the_pair_comes_from_variables_or_files_and_never_from_arguments() {
    let (gateway, acme) = gateway().await;
    let at = url(gateway.app.control.unwrap());
    let list = ["keys", "list", "--org", "acme", "--url", &at];
    let (api, app) = (secret(&acme.api_key), secret(&acme.application_key));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.key");
    std::fs::write(&file, format!("{app}\n")).unwrap();
    let file = file.to_str().unwrap();

    let by_file = Program::default()
        .with("KEYGATE_API_KEY", api)
        .with("KEYGATE_APP_KEY_FILE", file);
    by_file.run(&list).await.good();
    let ours_first = pair("wrong", "wrong")
        .with("KEYGATE_API_KEY", api)
        .with("KEYGATE_APP_KEY", app);
    ours_first.run(&list).await.good();
    let none = Program::default().run(&list).await.exits(64);
    assert!(
        none.err
            .contains("KEYGATE_API_KEY or DD_API_KEY, or KEYGATE_API_KEY_FILE or DD_API_KEY_FILE"),
        "{none:#?}"
    );
    let half = Program::default()
        .with("DD_API_KEY", api)
        .run(&list)
        .await
        .exits(64);
    assert!(
        half.err.contains("KEYGATE_APP_KEY") && !half.said().contains(api),
        "{half:#?}"
    );
    for option in ["--api-key", "--app-key"] {
        let given = [&list[..], &[option, app]].concat();
        let refused = Program::default().run(&given).await.exits(64);
        assert!(!refused.said().contains(app), "{refused:#?}");
    }
}

#[tokio::test]
async fn what_is_refused_is_said_clearly() {
    let (gateway, acme) = gateway().await;
    let at = url(gateway.app.control.unwrap());
    let proxied = url(gateway.app.address);
    let unknown = "f".repeat(32);
    let wrong = pair(&unknown, secret(&acme.application_key));
    for at in [&at, &proxied] {
        let refused = wrong
            .run(&["keys", "list", "--org", "acme", "--url", at])
            .await
            .exits(1);
        assert!(refused.err.contains("refuses this pair"), "{refused:#?}");
        assert!(!refused.said().contains(&unknown), "{refused:#?}");
        assert!(
            !refused.said().contains(secret(&acme.application_key)),
            "{refused:#?}"
        );
    }
    let admin = admin(&acme).with("KEYGATE_URL", &at);
    let missing = admin
        .run(&["keys", "show", "8f4e7c1a-0000-4000-8000-000000000000"])
        .await
        .exits(1);
    assert!(missing.err.contains("API key not found"), "{missing:#?}");
    let other = gateway.org("globex").await;
    let foreign = admin
        .run(&["keys", "list", "--org", "globex"])
        .await
        .exits(1);
    assert!(foreign.err.contains("rg not found"), "{foreign:#?}");
    let foreign = admin
        .run(&["keys", "show", &other.api_key.id.to_string()])
        .await
        .exits(1);
    assert!(foreign.err.contains("API key not found"), "{foreign:#?}");

    let Request::CreateUser {
        org,
        email,
        name,
        title,
        ..
    } = user("acme", "eve@acme.example")
    else {
        panic!("another operation")
    };
    let role = Role::ReadOnly;
    gateway
        .perform(Request::CreateUser {
            org,
            email,
            name,
            title,
            role,
        })
        .await;
    let eve = gateway
        .key(application_key("eve@acme.example", "eve", &[]))
        .await;
    let eve = pair(secret(&acme.api_key), secret(&eve)).with("KEYGATE_URL", &at);
    let refused = eve
        .run(&["keys", "create", "--org", "acme", "--name", "mine"])
        .await
        .exits(1);
    assert!(
        refused
            .err
            .contains("your role does not have the permission"),
        "{refused:#?}"
    );
}

#[tokio::test]
async fn what_is_not_there_or_no_keygate_is_said_clearly() {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let (html, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>").await;
    let (missing, _) = answering(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 24\r\n\r\n{\"errors\":[\"Not found\"]}",
    )
    .await;
    let (busy, _) = answering(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 23\r\n\r\n{\"errors\":[\"too busy\"]}",
    )
    .await;
    let (broken, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 600\r\n\r\n{").await;
    let (moved, came) = answering(
        "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let program = pair("a", "b");
    for (address, says) in [
        (nobody, "cannot connect to"),
        (html, "is no keygate"),
        (missing, "nothing is at"),
        (busy, "try again later: too busy"),
        (broken, "broke off"),
        (moved, "is no keygate"),
    ] {
        let at = url(address);
        let run = program.run(&["orgs", "list", "--url", &at]).await.exits(1);
        assert!(run.err.contains(says) && run.err.contains(&at), "{run:#?}");
    }
    assert_eq!(came.load(Ordering::SeqCst), 1);
    let run = program
        .run(&["orgs", "list", "--url", "keys.acme.example"])
        .await
        .exits(64);
    assert!(run.err.contains("--url"), "{run:#?}");
}

#[tokio::test]
async fn what_only_the_machine_may_do_is_not_even_sent() {
    let (address, came) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let program = pair("a", "b")
        .with("KEYGATE_URL", &url(address))
        .input("secret");
    for args in [
        &["init"] as &[&str],
        &["orgs", "create", "acme"],
        &["orgs", "disable", "acme", "--wait"],
        &["whoami"],
        &["explain", "/api/v2/series"],
        &["audit", "verify"],
        &["store", "status"],
        &["store", "verify"],
        &["store", "restore"],
        &["store", "migrate", "--to-file"],
        &["store", "retire-root-key", "0011223344556677"],
    ] {
        let run = program.run(args).await.exits(64);
        assert!(
            run.err.contains("only be done at the machine itself"),
            "{run:#?}"
        );
    }
    assert_eq!(came.load(Ordering::SeqCst), 0);

    // What is said here is what the server says, of each of them.
    let (gateway, acme) = gateway().await;
    let at = gateway.app.control.unwrap();
    for body in [
        r#"{"op":"init","org":"a","user":"b@c.example"}"#,
        r#"{"op":"create_org","name":"a"}"#,
        r#"{"op":"set_org_disabled","org":"acme","disabled":true}"#,
        r#"{"op":"whoami","secret":"x"}"#,
        r#"{"op":"explain","question":{"method":"GET","target":"/","headers":[]}}"#,
        r#"{"op":"verify_audit","earlier":[]}"#,
        r#"{"op":"store_status"}"#,
        r#"{"op":"verify_store"}"#,
        r#"{"op":"restore_store"}"#,
        r#"{"op":"add_root_key","root_key":"x"}"#,
        r#"{"op":"retire_root_key","check":"x"}"#,
    ] {
        let request: Request = serde_json::from_str(body).unwrap();
        assert!(request.is_of_the_machine(), "{body}");
        let head = format!(
            "POST /api/v2/operations HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nDD-API-KEY: {}\r\nDD-APPLICATION-KEY: {}\r\nContent-Length: {}\r\n\r\n{body}",
            secret(&acme.api_key),
            secret(&acme.application_key),
            body.len()
        );
        let mut socket = TcpStream::connect(at).await.unwrap();
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "), "{body}: {answer}");
        assert!(answer.contains("at the machine itself"), "{body}: {answer}");
    }
}

/// TLS before a server, by a certificate of its own, which is the second value.
async fn over_tls(to: SocketAddr) -> (SocketAddr, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(mut client) = tls.accept(socket).await else {
                    return;
                };
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, certificate.pem())
}

#[tokio::test]
async fn over_https_the_server_proves_who_it_is() {
    let (gateway, acme) = gateway().await;
    let (address, pem) = over_tls(gateway.app.control.unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, pem).unwrap();
    let at = format!("https://{address}");
    let line = ["keys", "list", "--org", "acme", "--url", &at, "--ca-file"];
    let trusted = [&line[..], &[ca_file.to_str().unwrap()]].concat();
    admin(&acme).run(&trusted).await.good();

    let (_, other) = over_tls(gateway.app.control.unwrap()).await;
    std::fs::write(&ca_file, other).unwrap();
    let refused = admin(&acme).run(&trusted).await.exits(1);
    assert!(
        refused.err.contains("cannot connect to https://"),
        "{refused:#?}"
    );
    let nothing = [&line[..], &["/nowhere.pem"]].concat();
    admin(&acme).run(&nothing).await.exits(64);
}
