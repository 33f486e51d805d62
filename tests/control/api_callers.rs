//! Who is let in, through the proxy and on the control listener, and what they may: who x operation.

use keygate::keys::{KeyKind, Role};
use serde_json::{Value, json};

use crate::harness::{Client, Reply, request, revoke, secret};
use crate::scene::{Pair, Scene, change, error, id, new, over_both_stores, pair};

over_both_stores! {
    a_pair_opens_both_doors_and_nothing_else_does
    who_may_do_what
    a_scoped_key_gives_no_more_than_it_has
}

async fn a_pair_opens_both_doors_and_nothing_else_does(scene: Scene) {
    let good = pair(&scene.acme);
    let foreign = Pair {
        api_key: good.api_key.clone(),
        application_key: secret(&scene.rival.application_key).to_owned(),
    };
    let swapped = Pair {
        api_key: good.application_key.clone(),
        application_key: good.api_key.clone(),
    };
    let wrong = Pair {
        api_key: "0123456789abcdef0123456789abcdef".to_owned(),
        application_key: good.application_key.clone(),
    };
    let token = Pair {
        api_key: secret(&scene.acme.client_token).to_owned(),
        application_key: good.application_key.clone(),
    };
    let line = "GET /api/v2/current_user";
    for (pair, status) in [
        (&good, 200),
        (&foreign, 403),
        (&swapped, 403),
        (&wrong, 403),
        (&token, 403),
    ] {
        let relayed = scene.call_as(pair, line, Value::Null).await;
        let direct = scene.direct(Some(pair), line, &[], Value::Null).await;
        assert_eq!((relayed.status, direct.status), (status, status));
        if status != 200 {
            assert_eq!(relayed.json(), direct.json());
            assert_eq!(direct.json(), json!({"errors": ["Forbidden"]}));
        }
        for reply in [relayed, direct] {
            assert!(reply.header("x-request-id").is_some());
        }
    }
    // One key alone.
    let api_key: &[(&str, &str)] = &[("DD-API-KEY", &good.api_key)];
    let application_key: &[(&str, &str)] = &[("DD-APPLICATION-KEY", &good.application_key)];
    for (headers, status, text) in [
        (api_key, 401, "Unauthorized"),
        (application_key, 403, "API key required"),
        (&[], 403, "API key required"),
    ] {
        for address in [scene.gateway.app.address, scene.control()] {
            let reply = Client::connect(address)
                .await
                .send(request(line, headers, b""))
                .await;
            assert_eq!(reply.status, status, "{headers:?}");
            assert_eq!(reply.json(), json!({"errors": [text]}));
        }
    }
    // Two different values.
    let twice = [
        ("DD-API-KEY", good.api_key.as_str()),
        ("DD-API-KEY", wrong.api_key.as_str()),
        ("DD-APPLICATION-KEY", good.application_key.as_str()),
    ];
    let reply = Client::connect(scene.control())
        .await
        .send(request(line, &twice, b""))
        .await;
    assert_eq!(reply.status, 403);

    // A revoked application key opens neither.
    scene
        .gateway
        .perform(revoke(KeyKind::ApplicationKey, &scene.acme.application_key))
        .await;
    assert_eq!(scene.call_as(&good, line, Value::Null).await.status, 403);
    assert_eq!(
        scene
            .direct(Some(&good), line, &[], Value::Null)
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn a_key_that_is_used_at_either_door_was_used() {
    let scene = Scene::over_a_file().await;
    let (_, standard) = scene.member("ann", Role::Standard).await;
    let list = "GET /api/v2/current_user/application_keys";
    let used = async |pair: &Pair| {
        let listed = scene.call_as(pair, list, Value::Null).await.json();
        listed["data"][0]["attributes"]["last_used_at"].clone()
    };
    let direct = scene.direct(Some(&standard), list, &[], Value::Null).await;
    assert_eq!(direct.status, 200, "{}", direct.text());
    let key = id_of_first(&direct);
    let shown = format!("GET /api/v2/application_keys/{key}");
    let deadline = std::time::Instant::now() + crate::harness::WAIT_MAX;
    // Asked with another key, so that only the direct call has used it.
    while scene.call(&shown, Value::Null).await.json()["data"]["attributes"]["last_used_at"]
        .is_null()
    {
        assert!(std::time::Instant::now() < deadline, "it is not counted");
    }
    while used(&pair(&scene.acme)).await.is_null() {
        assert!(std::time::Instant::now() < deadline, "it is not counted");
    }
}

fn id_of_first(listed: &Reply) -> String {
    listed.json()["data"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_is_refused_at_other_addresses_and_when_it_has_expired() {
    let scene = Scene::over_a_file().await;
    let line = "GET /api/v2/current_user";
    let elsewhere = json!({"name": "elsewhere", "allowed_addresses": ["203.0.113.0/24"]});
    let made = scene
        .call("POST /api/v2/api_keys", new("api_keys", elsewhere))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let mut bound = pair(&scene.acme);
    bound.api_key = made.json()["data"]["attributes"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let soon = jiff::Timestamp::now() + std::time::Duration::from_millis(1500);
    let brief = json!({"name": "brief", "expires_at": soon.to_string()});
    let made = scene
        .call(
            "POST /api/v2/current_user/application_keys",
            new("application_keys", brief),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let mut brief = pair(&scene.acme);
    brief.application_key = made.json()["data"]["attributes"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let answered = async |pair: &Pair| {
        let relayed = scene.call_as(pair, line, Value::Null).await;
        let direct = scene.direct(Some(pair), line, &[], Value::Null).await;
        (relayed.status, direct.status)
    };
    assert_eq!(answered(&bound).await, (403, 403));
    let deadline = std::time::Instant::now() + crate::harness::WAIT_MAX;
    while answered(&brief).await != (403, 403) {
        assert!(std::time::Instant::now() < deadline, "it does not expire");
    }
    assert!(jiff::Timestamp::now() >= soon, "it expired too early");
}

#[tokio::test]
async fn what_only_the_proxy_may_say_is_believed_of_nobody_else() {
    let scene = Scene::over_a_file().await;
    let victim = scene.acme.user.clone();
    let (_, reader) = scene.member("rita", Role::ReadOnly).await;
    let claims = [
        ("x-keygate-relay", "00000000000000000000000000000000"),
        ("x-keygate-user-id", victim.as_str()),
        ("x-keygate-org-id", scene.acme.id.as_str()),
        (
            "x-keygate-app-key-id",
            &scene.acme.application_key.id.to_string(),
        ),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-request-id", "chosen-by-the-client"),
    ];
    let line = "GET /api/v2/current_user";
    let stranger = scene.direct(None, line, &claims, Value::Null).await;
    assert_eq!(stranger.status, 403);
    assert_ne!(
        stranger.header("x-request-id"),
        Some("chosen-by-the-client")
    );
    for reply in [
        scene
            .direct(Some(&reader), line, &claims, Value::Null)
            .await,
        scene
            .call_with(&reader, line, &claims[..5], Value::Null)
            .await,
    ] {
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(
            reply.json()["data"]["attributes"]["email"],
            "rita@acme.example"
        );
    }
}

#[tokio::test]
async fn the_audit_log_has_the_key_the_request_and_the_address_of_a_caller() {
    let scene = Scene::over_a_file().await;
    let make = |name: &str| new("client_tokens", json!({"name": name}));
    let line = "POST /api/v2/client_tokens";
    let relayed = scene
        .call_with(
            &pair(&scene.acme),
            line,
            &[("X-Request-ID", "deploy-42")],
            make("one"),
        )
        .await;
    assert_eq!(relayed.header("x-request-id"), Some("deploy-42"));
    let direct = scene
        .direct(Some(&pair(&scene.acme)), line, &[], make("two"))
        .await;
    let log = scene
        .call(
            "GET /api/v2/audit_log?filter[action]=key.created&page[size]=2",
            Value::Null,
        )
        .await;
    assert_eq!(log.status, 200, "{}", log.text());
    let log = log.json();
    for (entry, reply) in log["data"]
        .as_array()
        .unwrap()
        .iter()
        .zip([direct, relayed])
    {
        assert_eq!(
            Some(entry["id"].as_str().unwrap()),
            reply.header("x-audit-id")
        );
        let says = &entry["attributes"];
        assert_eq!(says["request_id"].as_str(), reply.header("x-request-id"));
        assert_eq!(says["actor"], scene.acme.user);
        assert_eq!(says["via"], "api");
        assert_eq!(
            says["application_key"],
            scene.acme.application_key.id.to_string()
        );
        assert_eq!(says["address"], "127.0.0.1");
        assert_eq!(says["object_id"], id(&reply));
    }
    let older = format!(
        "GET /api/v2/audit_log?page[size]=1&page[cursor]={}",
        log["meta"]["page"]["after"].as_str().unwrap()
    );
    let older = scene.call(&older, Value::Null).await.json();
    assert_ne!(older["data"][0]["id"], log["data"][0]["id"]);
    for query in [
        "filter[action]=x",
        "filter[object]=x",
        "page[size]=0",
        "filter[from]=x",
    ] {
        let refused = scene
            .call(&format!("GET /api/v2/audit_log?{query}"), Value::Null)
            .await;
        assert_eq!(refused.status, 400, "{query}");
    }
}

/// An operation, and what it answers an admin, a standard user and a read-only one.
type Row = (&'static str, Value, [u16; 3]);

async fn who_may_do_what(scene: Scene) {
    let (ann, standard) = scene.member("ann", Role::Standard).await;
    let (_, reader) = scene.member("rita", Role::ReadOnly).await;
    let admin = pair(&scene.acme);
    let token = scene.acme.client_token.id.to_string();
    let roots = scene.acme.application_key.id.to_string();
    let account = scene
        .call(
            "POST /api/v2/service_accounts",
            new("users", json!({"name": "ci", "email": "ci@acme.example"})),
        )
        .await;
    let account = id(&account);
    let rows: Vec<Row> = vec![
        ("GET /api/v2/api_keys", Value::Null, [200, 200, 200]),
        ("GET /api/v2/client_tokens", Value::Null, [200, 200, 200]),
        ("GET /api/v2/application_keys", Value::Null, [200, 403, 403]),
        (
            "GET /api/v2/current_user/application_keys",
            Value::Null,
            [200, 200, 403],
        ),
        (
            "GET /api/v2/application_keys/{root}",
            Value::Null,
            [200, 403, 403],
        ),
        (
            "GET /api/v2/current_user/application_keys/{root}",
            Value::Null,
            [200, 404, 403],
        ),
        (
            "GET /api/v2/service_accounts/{account}/application_keys",
            Value::Null,
            [200, 403, 403],
        ),
        ("GET /api/v2/users", Value::Null, [200, 200, 200]),
        ("GET /api/v2/roles", Value::Null, [200, 200, 200]),
        ("GET /api/v2/permissions", Value::Null, [200, 200, 200]),
        ("GET /api/v2/orgs", Value::Null, [200, 200, 200]),
        ("GET /api/v2/audit_log", Value::Null, [200, 403, 403]),
        (
            "POST /api/v2/api_keys",
            new("api_keys", json!({"name": "x"})),
            [201, 403, 403],
        ),
        (
            "POST /api/v2/client_tokens",
            new("client_tokens", json!({"name": "x"})),
            [201, 403, 403],
        ),
        (
            "PATCH /api/v2/client_tokens/{token}",
            change("client_tokens", &token, json!({"name": "y"})),
            [200, 403, 403],
        ),
        (
            "POST /api/v2/current_user/application_keys",
            new("application_keys", json!({"name": "x"})),
            [201, 201, 403],
        ),
        (
            "PATCH /api/v2/application_keys/{root}",
            change("application_keys", &roots, json!({"name": "z"})),
            [200, 403, 403],
        ),
        (
            "POST /api/v2/service_accounts",
            new("users", json!({"name": "x", "email": "x@acme.example"})),
            [201, 403, 403],
        ),
        (
            "POST /api/v2/service_accounts/{account}/application_keys",
            new("application_keys", json!({"name": "x"})),
            [201, 403, 403],
        ),
        (
            "POST /api/v2/users",
            new("users", json!({"email": "y@acme.example"})),
            [201, 403, 403],
        ),
        (
            "PATCH /api/v2/users/{ann}",
            change("users", &ann, json!({"title": "boss"})),
            [200, 403, 403],
        ),
        (
            "POST /api/v2/user_invitations",
            json!({"data": [{"type": "user_invitations", "relationships": {"user": {"data": {"type": "users", "id": ann}}}}]}),
            [201, 403, 403],
        ),
        (
            "POST /api/v2/operations",
            json!({"op": "list_nodes"}),
            [403, 403, 403],
        ),
        (
            "POST /api/v2/operations",
            json!({"op": "list_orgs"}),
            [200, 200, 200],
        ),
        (
            "DELETE /api/v2/client_tokens/{token}",
            Value::Null,
            [204, 403, 403],
        ),
        ("DELETE /api/v2/users/{ann}", Value::Null, [204, 403, 403]),
    ];
    for (line, body, statuses) in rows {
        let line = line
            .replace("{root}", &roots)
            .replace("{token}", &token)
            .replace("{account}", &account)
            .replace("{ann}", &ann);
        // The admin is the last: what they do ends the others' possibilities.
        for (who, status) in [&admin, &standard, &reader].into_iter().zip(statuses).rev() {
            let reply = scene.call_as(who, &line, body.clone()).await;
            assert_eq!(reply.status, status, "{line}: {}", reply.text());
        }
    }
}

async fn a_scoped_key_gives_no_more_than_it_has(scene: Scene) {
    let narrow = scene
        .scoped("narrow", &["user_app_keys", "user_access_invite"])
        .await;
    let make = "POST /api/v2/current_user/application_keys";
    let with = |name: &str, scopes: Value| {
        new("application_keys", json!({"name": name, "scopes": scopes}))
    };
    let same = scene
        .call_as(&narrow, make, with("same", json!(["user_app_keys"])))
        .await;
    assert_eq!(same.status, 201, "{}", same.text());
    for (name, scopes) in [
        ("all", Value::Null),
        ("none", json!([])),
        ("more", json!(["api_keys_write"])),
    ] {
        let refused = scene.call_as(&narrow, make, with(name, scopes)).await;
        assert_eq!(refused.status, 403, "{name}");
        assert!(error(&refused).contains("has scopes and can give no others"));
    }
    let widen = change("application_keys", &id(&same), json!({"scopes": null}));
    let path = format!("PATCH /api/v2/current_user/application_keys/{}", id(&same));
    assert_eq!(scene.call_as(&narrow, &path, widen).await.status, 403);
    let refused = scene
        .call_as(&narrow, "GET /api/v2/api_keys", Value::Null)
        .await;
    assert_eq!(refused.status, 403);
    assert!(
        error(&refused).contains("the scope api_keys_read"),
        "{}",
        error(&refused)
    );
    // Whoever opens a link may do all that its user may.
    let invite = json!({"data": [{"type": "user_invitations",
        "relationships": {"user": {"data": {"type": "users", "id": scene.acme.user}}}}]});
    let seen: Reply = scene
        .call_as(&narrow, "POST /api/v2/user_invitations", invite)
        .await;
    assert_eq!(seen.status, 403, "{}", seen.text());
}
