//! What is made with an `Idempotency-Key` is made once, also when it is asked for at the same time.

use serde_json::{Value, json};

use crate::scene::{Scene, error, id, new, over_both_stores, pair};

over_both_stores! {
    a_create_that_is_sent_again_is_answered_again
    creates_at_the_same_time_are_one
}

async fn a_create_that_is_sent_again_is_answered_again(scene: Scene) {
    let admin = pair(&scene.acme);
    let once = [("Idempotency-Key", "a-1")];
    let line = "POST /api/v2/api_keys";
    let body = || new("api_keys", json!({"name": "agents"}));
    let first = scene.call_with(&admin, line, &once, body()).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let again = scene.call_with(&admin, line, &once, body()).await;
    assert_eq!(again.status, 201, "{}", again.text());
    assert_eq!(
        first.json(),
        again.json(),
        "the same key with the same secret"
    );
    assert_eq!(first.header("x-audit-id"), again.header("x-audit-id"));

    let other = scene
        .call_with(
            &admin,
            line,
            &once,
            new("api_keys", json!({"name": "others"})),
        )
        .await;
    assert_eq!(other.status, 422);
    assert!(error(&other).starts_with("this Idempotency-Key was sent before"));
    // Another caller's is another one.
    let rival = scene
        .call_with(&pair(&scene.rival), line, &once, body())
        .await;
    assert_eq!(rival.status, 201);
    assert_ne!(id(&rival), id(&first));
    let long = "x".repeat(256);
    for bad in ["", "a b", long.as_str()] {
        let refused = scene
            .call_with(&admin, line, &[("Idempotency-Key", bad)], body())
            .await;
        assert_eq!(refused.status, 400, "{bad:?}");
    }
    // Of every kind, of people, and of successors.
    let rotate = format!("POST /api/v2/api_keys/{}/rotate", id(&first));
    let creates = [
        (
            "POST /api/v2/client_tokens",
            new("client_tokens", json!({"name": "n"})),
        ),
        (
            "POST /api/v2/current_user/application_keys",
            new("application_keys", json!({"name": "n"})),
        ),
        (
            "POST /api/v2/users",
            new("users", json!({"email": "n@acme.example"})),
        ),
        (
            "POST /api/v2/service_accounts",
            new("users", json!({"name": "n", "email": "n@acme.example"})),
        ),
        (&rotate, json!({})),
    ];
    for (number, (line, body)) in creates.into_iter().enumerate() {
        let key = format!("b-{number}");
        let once = [("Idempotency-Key", key.as_str())];
        let first = scene.call_with(&admin, line, &once, body.clone()).await;
        let again = scene.call_with(&admin, line, &once, body).await;
        assert_eq!(
            (first.status, again.status),
            (201, 201),
            "{line}: {}",
            again.text()
        );
        assert_eq!(first.json()["data"], again.json()["data"], "{line}");
    }
}

async fn creates_at_the_same_time_are_one(scene: Scene) {
    let admin = pair(&scene.acme);
    let once = [("Idempotency-Key", "at-once")];
    let body = new("client_tokens", json!({"name": "shop"}));
    let calls =
        (0..16).map(|_| scene.call_with(&admin, "POST /api/v2/client_tokens", &once, body.clone()));
    let replies = futures_util::future::join_all(calls).await;
    for reply in &replies {
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert_eq!(reply.json(), replies[0].json());
    }
    let listed = scene
        .call("GET /api/v2/client_tokens?filter=shop", Value::Null)
        .await
        .json();
    assert_eq!(listed["meta"]["page"]["total_filtered_count"], 1);
}
