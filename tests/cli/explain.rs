//! `keygate explain`: what is said of requests, with a server and without one, and that no secret is in it. That it says what the
//! gateway does is held for every row of `tests/gateway/policy.md`.

use keygate::config::{RouteAccess, RouteConfig, Switch};
use keygate::control::{KeyChanges, Request};
use keygate::keys::{KeyKind, Timestamp};
use serde_json::Value;

use crate::harness::{
    Gateway, Org, api_key, application_key, client_token, request, revoke, secret, until,
};
use crate::program::Program;

const UNKNOWN: &str = "fedcba9876543210fedcba9876543210";

async fn gateway() -> (Gateway, Org) {
    let gateway = Gateway::start_with(|config| {
        let mut reports = RouteConfig::new("GET", "/own/reports", RouteAccess::Api);
        reports.scope = Some("reports_read".to_owned());
        config.routes = vec![reports];
    })
    .await;
    let acme = gateway.org("acme").await;
    (gateway, acme)
}

fn soon() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(i64::try_from(now.unwrap().as_millis()).unwrap() + 100)
}

fn now() -> i64 {
    soon().0 - 100
}

/// Explains, with these values in the environment as A, B, ...
async fn explained(program: &Program, secrets: &[&str], args: &[&str]) -> Value {
    let mut program = program.clone();
    for (name, value) in ["A", "B"].iter().zip(secrets) {
        program = program.with(name, value);
    }
    let args = [&["explain"], args].concat();
    let shown = program.run(&args).await.good();
    let explained = program.json(&args).await;
    for secret in secrets {
        assert!(!shown.said().contains(secret), "{shown:#?}");
        assert!(!explained.to_string().contains(secret), "{explained}");
    }
    explained
}

/// The step that decided.
fn decisive(explained: &Value) -> String {
    let steps = explained["steps"].as_array().unwrap();
    let no = steps.iter().find(|step| step["said"] == "no");
    no.map_or_else(String::new, |step| {
        step["text"].as_str().unwrap().to_owned()
    })
}

#[tokio::test]
async fn each_reason_is_said_with_what_was_seen() {
    let (gateway, acme) = gateway().await;
    let program = Program::at(gateway.folder());
    let org = acme.id.as_str();
    let with_addresses = match api_key(org, "office") {
        Request::CreateApiKey {
            org,
            name,
            expires_at,
            secret,
            labels,
            ..
        } => Request::CreateApiKey {
            org,
            name,
            expires_at,
            allowed_addresses: vec!["192.0.2.0/24".parse().unwrap()],
            secret,
            labels,
        },
        other => panic!("{other:?}"),
    };
    let office = gateway.key(with_addresses).await;
    let gone = gateway.key(api_key(org, "gone")).await;
    gateway.perform(revoke(KeyKind::ApiKey, &gone)).await;
    let old = gateway.key(api_key(org, "old")).await;
    let change = KeyChanges {
        expires_at: Some(soon()),
        ..KeyChanges::default()
    };
    let id = old.id.to_string();
    gateway
        .perform(Request::UpdateKey {
            kind: KeyKind::ApiKey,
            id,
            change,
        })
        .await;
    let expired = soon().0;
    until("a key to expire", || now() > expired).await;
    let shop = gateway
        .key(client_token(org, "shop", &["https://shop.example"]))
        .await;
    let narrow = gateway
        .key(application_key(&acme.user, "narrow", &["other_read"]))
        .await;
    let globex = gateway.org("globex").await;

    let series = [
        "-X",
        "POST",
        "-H",
        "DD-API-KEY: $A",
        "https://host/api/v2/series",
    ];
    let users = [
        "-H",
        "DD-API-KEY: $A",
        "-H",
        "DD-APPLICATION-KEY: $B",
        "https://host/api/v2/dashboards",
    ];
    let reports = [
        "-H",
        "DD-API-KEY: $A",
        "-H",
        "DD-APPLICATION-KEY: $B",
        "/own/reports",
    ];
    let logs = [
        "-d",
        "[]",
        "-H",
        "DD-API-KEY: $A",
        "/api/v2/logs?ddsource=browser",
    ];
    let (api, app) = (secret(&acme.api_key), secret(&acme.application_key));
    for (secrets, args, decision, reason, says) in [
        (
            &[UNKNOWN][..],
            &series[..],
            "bad",
            "unknown",
            "no key with this secret",
        ),
        (&[secret(&gone)], &series, "bad", "revoked", "revoked at "),
        (&[secret(&old)], &series, "bad", "expired", "expired at "),
        (
            &[secret(&acme.client_token)],
            &series,
            "bad",
            "wrong_kind",
            "the browser logs intake",
        ),
        (
            &[secret(&office)],
            &series,
            "bad",
            "address_not_allowed",
            "192.0.2.0/24",
        ),
        (
            &[secret(&shop)],
            &logs,
            "bad",
            "origin_not_allowed",
            "https://shop.example",
        ),
        (
            &[api, secret(&globex.application_key)],
            &users,
            "bad",
            "pair_mismatch",
            "\"globex\"",
        ),
        (
            &[api, secret(&narrow)],
            &reports,
            "bad",
            "scope_missing",
            "other_read",
        ),
        (
            &[],
            &series[..2],
            "missing",
            "no_key",
            "no API key or client token is presented",
        ),
        (
            &[api],
            &users[..2],
            "missing",
            "no_application_key",
            "no application key is presented",
        ),
        (&[api, app], &users, "allowed", "", ""),
        (&[api, secret(&narrow)], &users, "allowed", "", ""),
        (
            &[api],
            &["-X", "GET", "-H", "DD-API-KEY: $A", "/nothing"],
            "none",
            "no_route",
            "no row",
        ),
        (
            &[api],
            &["-X", "GET", "/api/v1/tags?API_KEY=x"],
            "none",
            "ambiguous",
            "reads like a carrier",
        ),
    ] {
        let mut args = args.to_vec();
        if args.len() == 2 {
            args.push(if decision == "missing" && reason == "no_key" {
                "/api/v2/series"
            } else {
                "/api/v2/dashboards"
            });
        }
        let told = explained(&program, secrets, &args).await;
        assert_eq!(told["decision"], decision, "{args:?}: {told:#}");
        assert_eq!(
            told["reason"].as_str().unwrap_or_default(),
            reason,
            "{args:?}: {told:#}"
        );
        assert!(decisive(&told).contains(says), "{args:?}: {told:#}");
        assert_eq!(told["answer"].is_null(), decision == "allowed", "{told:#}");
        assert_eq!(
            told["forwarded"].is_null(),
            decision != "allowed",
            "{told:#}"
        );
    }
    let at_the_office = [&series[..], &["--address", "192.0.2.7"]].concat();
    let told = explained(&program, &[secret(&office)], &at_the_office).await;
    assert_eq!(told["decision"], "allowed", "{told:#}");
}

#[tokio::test]
async fn a_shadow_revoked_key_passes_and_it_is_said_that_it_would_not() {
    let (gateway, acme) = gateway().await;
    let change = KeyChanges {
        shadowed: Some(true),
        ..KeyChanges::default()
    };
    let id = acme.api_key.id.to_string();
    gateway
        .perform(Request::UpdateKey {
            kind: KeyKind::ApiKey,
            id: id.clone(),
            change,
        })
        .await;
    let program = Program::at(gateway.folder());
    let args = ["-X", "POST", "/api/v2/series", "--key", &id];
    let told = explained(&program, &[], &args).await;
    assert_eq!(
        (&told["decision"], &told["key_id"]),
        (&"allowed".into(), &id.as_str().into())
    );
    assert!(
        told.to_string().contains("shadow-revoked since"),
        "{told:#}"
    );
}

#[tokio::test]
async fn a_key_in_any_carrier_is_named_and_never_shown() {
    let (gateway, acme) = gateway().await;
    let program = Program::at(gateway.folder());
    let (api, id) = (secret(&acme.api_key), acme.api_key.id.to_string());
    let encoded = format!("%2Fapi%2Fv2%2Flogs%3Fddsource%3Dbrowser%26dd-api-key%3D{api}");
    for (target, place) in [
        (
            format!("/api/v1/series?api_key={api}"),
            "api_key in the query",
        ),
        (format!("/v1/input/{api}"), "the path"),
        (format!("/?ddforward={encoded}"), "dd-api-key in the query"),
        (
            format!("/api/v2/x/{api}/y?dd-api-key={api}"),
            "dd-api-key in the query",
        ),
    ] {
        let told = explained(&program, &[api], &["-X", "POST", &target]).await;
        let credential = told["steps"]
            .as_array()
            .unwrap()
            .iter()
            .find(|step| step["step"] == "credential");
        let text = credential.unwrap()["text"].as_str().unwrap();
        assert!(
            text.contains(place) && text.contains(&id),
            "{target}: {told:#}"
        );
    }
    // Headers of a file and of standard input, as curl takes them.
    let file = gateway.folder().join("headers");
    std::fs::write(&file, format!("DD-API-KEY: {api}\n")).unwrap();
    let file = format!("@{}", file.display());
    let piped = program.clone().input(&format!("DD-API-KEY: {api}\r\n"));
    for (program, headers) in [(&program, file.as_str()), (&piped, "@-")] {
        let told = explained(
            program,
            &[api],
            &["-d", "{}", "/api/v2/series", "-H", headers],
        )
        .await;
        assert_eq!(told["key_id"], id.as_str(), "{told:#}");
    }
}

#[tokio::test]
async fn without_a_server_the_store_as_it_is_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::at(folder.path());
    let founded = program.json(&["init", "--org", "acme"]).await;
    let text = |key: &str, field: &str| founded[key][field].as_str().unwrap().to_owned();
    let (api, app) = (text("api_key", "secret"), text("application_key", "secret"));
    let pair = [
        "-H",
        "DD-API-KEY: $A",
        "-H",
        "DD-APPLICATION-KEY: $B",
        "/api/v2/dashboards",
    ];
    let told = explained(&program, &[&api, &app], &pair).await;
    assert_eq!(
        (&told["decision"], &told["org_name"]),
        (&"allowed".into(), &"acme".into())
    );
    assert_eq!(told["application_key_id"], founded["application_key"]["id"]);
    assert!(
        told.to_string()
            .contains("no server of this store runs here"),
        "{told:#}"
    );
    let told = explained(&program, &[UNKNOWN, &app], &pair).await;
    assert_eq!(
        (&told["decision"], &told["reason"]),
        (&"bad".into(), &"unknown".into())
    );
    let own = "my-own-secret-of-before";
    let import = ["keys", "import", "--org", "acme", "--name", "own"];
    program.clone().input(own).run(&import).await.good();
    let hidden = format!("/api/v2/x/{own}");
    let told = explained(&program, &[own, &app], &[&pair[..4], &[&hidden]].concat()).await;
    assert!(told.to_string().contains("GET {hidden}"), "{told:#}");
    let by_id = ["--key", &text("api_key", "id"), "-d", "x", "/api/v2/series"];
    assert_eq!(
        explained(&program, &[], &by_id).await["decision"],
        "allowed"
    );
}

#[tokio::test]
async fn a_record_is_explained_as_it_was_and_as_it_would_be_now() {
    let (gateway, acme) = gateway().await;
    let key = gateway.key(api_key(&acme.id, "agent")).await;
    let headers = [("DD-API-KEY", secret(&key)), ("X-Request-ID", "trouble-1")];
    let reply = gateway
        .send(request("POST /api/v2/series", &headers, b"{}"))
        .await;
    gateway.record_of(&reply).await;
    let stranger = [("DD-API-KEY", UNKNOWN), ("X-Request-ID", "trouble-2")];
    let reply = gateway
        .send(request("POST /api/v2/series", &stranger, b"{}"))
        .await;
    gateway.record_of(&reply).await;
    gateway.perform(revoke(KeyKind::ApiKey, &key)).await;

    let program = Program::at(gateway.folder());
    let file = gateway.folder().join("records");
    std::fs::write(&file, gateway.lines().concat()).unwrap();
    let file = file.to_str().unwrap();
    let line = ["explain", "--records", file, "--record", "trouble-1"];
    let told = program.json(&line).await;
    assert_eq!(told["record"]["auth.decision"], "allowed");
    assert_eq!(
        (&told["now"]["decision"], &told["now"]["reason"]),
        (&"bad".into(), &"revoked".into())
    );
    let shown = program.run(&line).await.good();
    assert!(
        shown
            .out
            .contains("decision: allowed on behalf of the org acme"),
        "{shown:#?}"
    );

    let piped = program.input(&gateway.lines().concat());
    let told = piped
        .json(&["explain", "--records", "-", "--record", "trouble-2"])
        .await;
    let then = told["then"].to_string();
    assert!(
        then.contains("no key had the secret") && told["now"].is_null(),
        "{told:#}"
    );
    let none = piped
        .run(&["explain", "--records", "-", "--record", "trouble-3"])
        .await
        .exits(1);
    assert!(
        none.err.contains("no record has this request id"),
        "{none:#?}"
    );
}

#[tokio::test]
async fn of_the_key_management_it_says_what_keygates_own_api_decides_by() {
    let gateway = Gateway::start_with(|config| {
        config.control.listener = Switch::On;
        config.control.address = "127.0.0.1:0".parse().unwrap();
    })
    .await;
    let acme = gateway.org("acme").await;
    let scoped = application_key(&acme.user, "reads", &["org_app_keys_read"]);
    let scoped = gateway.key(scoped).await;
    let program = Program::at(gateway.folder());
    let own = |told: &Value| {
        let steps = told["steps"].as_array().unwrap().clone();
        let own = steps
            .into_iter()
            .find(|step| step["step"] == "key_management");
        own.map(|step| step["text"].as_str().unwrap().to_owned())
    };
    let line = "https://host/api/v2/users";
    for (app, says) in [
        (&scoped, "only the scopes org_app_keys_read"),
        (&acme.application_key, "no scopes"),
    ] {
        let (key, app) = (acme.api_key.id.to_string(), app.id.to_string());
        let by_id = ["--key", &key, "--application-key", &app, line];
        let told = explained(&program, &[], &by_id).await;
        assert_eq!(told["decision"], "allowed");
        let text = own(&told).unwrap_or_else(|| panic!("{told:#}"));
        assert!(
            text.contains(says) && text.contains("has the role "),
            "{text}"
        );
        assert!(decisive(&told).is_empty(), "{told:#}");
    }
    let (key, app) = (
        acme.api_key.id.to_string(),
        acme.application_key.id.to_string(),
    );
    let elsewhere = ["--key", &key, "--application-key", &app, "/api/v2/series/x"];
    assert_eq!(own(&explained(&program, &[], &elsewhere).await), None);

    let headers = [
        ("DD-API-KEY", secret(&acme.api_key)),
        ("DD-APPLICATION-KEY", secret(&scoped)),
        ("X-Request-ID", "trouble-4"),
    ];
    let reply = gateway
        .send(request("GET /api/v2/users", &headers, b""))
        .await;
    assert_eq!(reply.status, 403);
    gateway.record_of(&reply).await;
    let piped = program.input(&gateway.lines().concat());
    let told = piped
        .json(&["explain", "--records", "-", "--record", "trouble-4"])
        .await;
    let then = told["then"].to_string();
    assert!(then.contains("the API refused it"), "{told:#}");
}
