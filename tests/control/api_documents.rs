//! What is promised of the documents: their form, their secrets, and what becomes of a key.

use keygate::keys::Role;
use serde_json::{Value, json};

use crate::scene::{Scene, change, error, id, new, over_both_stores};

over_both_stores! {
    an_api_key_lives_as_clients_expect
    an_application_key_lives_as_clients_expect
    a_client_token_lives_in_the_same_style
    a_service_account_has_keys_of_its_own
    a_rotated_key_has_a_successor_and_an_overlap
    rules_are_sentences_that_say_what_to_do
}

fn is_wire_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == "2025-09-08T09:24:43.558793+00:00".len() && text.ends_with("+00:00")
}

async fn an_api_key_lives_as_clients_expect(scene: Scene) {
    let made = scene
        .call(
            "POST /api/v2/api_keys",
            new("api_keys", json!({"name": "agents"})),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(made.header("x-audit-id").unwrap().contains('-'));
    assert_eq!(made.header("content-type"), Some("application/json"));
    let body = made.json();
    let attributes = &body["data"]["attributes"];
    let key = attributes["key"].as_str().unwrap();
    assert_eq!(key.len(), 32);
    assert_eq!(attributes["last4"], key[28..]);
    assert_eq!(attributes["category"], "default");
    assert_eq!(attributes["remote_config_read_enabled"], true);
    assert!(is_wire_time(&attributes["created_at"]), "{attributes}");
    assert_eq!(
        body["data"]["relationships"]["created_by"]["data"],
        json!({"type": "users", "id": scene.acme.user})
    );
    assert_eq!(
        body["data"]["relationships"]["leak_information"]["data"],
        Value::Null
    );

    let path = format!("/api/v2/api_keys/{}", id(&made));
    let shown = scene
        .call(
            &format!("GET {path}?include=created_by,modified_by"),
            Value::Null,
        )
        .await;
    assert_eq!(shown.status, 200);
    assert!(!shown.text().contains(key), "shown twice");
    assert!(shown.header("x-audit-id").is_none());
    let shown = shown.json();
    assert_eq!(shown["data"]["attributes"]["date_last_used"], Value::Null);
    assert_eq!(shown["data"]["attributes"]["used_in_last_24_hours"], false);
    assert_eq!(
        shown["data"]["attributes"]["last_used_date"]["timestamp"],
        Value::Null
    );
    let included: Vec<_> = shown["included"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(included, ["users"]);

    let attributes =
        json!({"name": "old agents", "category": "edge", "remote_config_read_enabled": false});
    let changed = scene
        .call(
            &format!("PATCH {path}"),
            change("api_keys", &id(&made), attributes),
        )
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert!(changed.header("x-audit-id").is_some());
    let changed = &changed.json()["data"]["attributes"];
    assert_eq!(changed["name"], "old agents");
    assert_eq!(changed["category"], "edge");
    assert_eq!(changed["remote_config_read_enabled"], false);
    assert_eq!(changed.get("key"), None);

    let revoked = scene.call(&format!("DELETE {path}"), Value::Null).await;
    assert_eq!((revoked.status, revoked.body.len()), (204, 0));
    assert!(revoked.header("x-audit-id").is_some());
    for line in ["GET", "DELETE"] {
        let again = scene.call(&format!("{line} {path}"), Value::Null).await;
        assert_eq!(again.status, 404, "{line}");
        assert_eq!(again.json(), json!({"errors": ["API key not found"]}));
    }
    let listed = scene.call("GET /api/v2/api_keys", Value::Null).await.json();
    assert!(
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .all(|key| key["attributes"]["name"] != "old agents")
    );
}

async fn an_application_key_lives_as_clients_expect(scene: Scene) {
    let scopes = json!([
        "dashboards_read",
        "dashboards_write",
        "dashboards_public_share"
    ]);
    let made = scene
        .call(
            "POST /api/v2/current_user/application_keys",
            new(
                "application_keys",
                json!({"name": "terraform", "scopes": scopes}),
            ),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let body = made.json();
    assert_eq!(
        body["data"]["attributes"]["scopes"], scopes,
        "in the order given"
    );
    assert_eq!(
        body["data"]["attributes"]["key"].as_str().unwrap().len(),
        40
    );
    assert_eq!(
        body["data"]["relationships"]["owned_by"]["data"]["id"],
        scene.acme.user
    );
    let id = id(&made);
    let own = format!("/api/v2/current_user/application_keys/{id}");
    let of_org = format!("/api/v2/application_keys/{id}");

    // An empty list is no scopes, and no scopes are null: else Terraform's plan never settles.
    for (line, scopes) in [(&own, json!([])), (&of_org, Value::Null)] {
        let attributes = json!({"name": "plan", "scopes": scopes});
        let changed = scene
            .call(
                &format!("PATCH {line}"),
                change("application_keys", &id, attributes),
            )
            .await;
        assert_eq!(changed.status, 200, "{}", changed.text());
        let attributes = &changed.json()["data"]["attributes"];
        assert_eq!(attributes["scopes"], Value::Null);
        assert_eq!(attributes.get("key"), None);
    }

    let shown = scene.call(&format!("GET {own}"), Value::Null).await.json();
    assert_eq!(shown["data"]["attributes"]["last_used_at"], Value::Null);
    assert_eq!(
        shown["included"][0]["id"], scene.acme.user,
        "the owner is included"
    );
    let listed = scene
        .call("GET /api/v2/current_user/application_keys", Value::Null)
        .await
        .json();
    assert_eq!(listed["meta"]["max_allowed_per_user"], 1000);
    assert_eq!(listed["data"][0]["relationships"].get("owned_by"), None);
    let listed = scene
        .call("GET /api/v2/application_keys", Value::Null)
        .await
        .json();
    assert_eq!(
        listed["data"][0]["relationships"]["owned_by"]["data"]["type"],
        "users"
    );

    let nowhere = scene
        .call(
            "POST /api/v2/application_keys",
            new("application_keys", json!({"name": "x"})),
        )
        .await;
    assert_eq!(nowhere.status, 405, "keys are made by their owners");

    assert_eq!(
        scene
            .call(&format!("DELETE {own}"), Value::Null)
            .await
            .status,
        204
    );
    for path in [&own, &of_org] {
        let gone = scene.call(&format!("GET {path}"), Value::Null).await;
        assert_eq!(gone.status, 404);
        assert_eq!(
            gone.json(),
            json!({"errors": ["Application key not found"]})
        );
    }
}

async fn a_client_token_lives_in_the_same_style(scene: Scene) {
    let attributes = json!({"name": "shop", "allowed_origins": ["https://shop.example"]});
    let made = scene
        .call(
            "POST /api/v2/client_tokens",
            new("client_tokens", attributes),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let body = made.json();
    let token = body["data"]["attributes"]["key"].as_str().unwrap();
    assert!(token.starts_with("pub") && token.len() == 35);
    let path = format!("/api/v2/client_tokens/{}", id(&made));
    let attributes = json!({"allowed_origins": []});
    let changed = scene
        .call(
            &format!("PATCH {path}"),
            change("client_tokens", &id(&made), attributes),
        )
        .await;
    assert_eq!(
        changed.json()["data"]["attributes"]["allowed_origins"],
        json!([])
    );
    let listed = scene
        .call("GET /api/v2/client_tokens?filter=shop", Value::Null)
        .await;
    assert!(!listed.text().contains(token));
    assert_eq!(
        listed.json()["meta"],
        json!({"page": {"total_filtered_count": 1}, "max_allowed": 1000})
    );
    assert_eq!(
        scene
            .call(&format!("DELETE {path}"), Value::Null)
            .await
            .status,
        204
    );
    let gone = scene.call(&format!("GET {path}"), Value::Null).await;
    assert_eq!(gone.json(), json!({"errors": ["Client token not found"]}));
}

async fn a_service_account_has_keys_of_its_own(scene: Scene) {
    let attributes = json!({"name": "CI", "email": "Ops@acme.example", "service_account": true});
    let made = scene
        .call("POST /api/v2/service_accounts", new("users", attributes))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let body = made.json();
    let account = id(&made);
    assert_eq!(body["data"]["attributes"]["service_account"], true);
    assert_eq!(
        body["data"]["attributes"]["handle"], account,
        "its login name is its id"
    );
    assert_eq!(body["data"]["attributes"]["email"], "ops@acme.example");

    let keys = format!("/api/v2/service_accounts/{account}/application_keys");
    let empty = scene.call(&format!("GET {keys}"), Value::Null).await;
    assert_eq!(empty.json()["data"], json!([]));
    let made = scene
        .call(
            &format!("POST {keys}"),
            new("application_keys", json!({"name": "deploy"})),
        )
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(
        made.json()["data"]["relationships"]["owned_by"]["data"]["id"],
        account
    );
    let key = id(&made);
    let shown = scene
        .call(&format!("GET {keys}/{key}"), Value::Null)
        .await
        .json();
    assert_eq!(shown["data"]["relationships"].get("owned_by"), None);
    assert_eq!(shown["data"]["attributes"].get("key"), None);
    let changed = scene
        .call(
            &format!("PATCH {keys}/{key}"),
            change("application_keys", &key, json!({"name": "deploys"})),
        )
        .await;
    assert_eq!(changed.json()["data"]["attributes"]["name"], "deploys");

    // It is the account's, and nobody else's.
    let own = scene
        .call(
            &format!("GET /api/v2/current_user/application_keys/{key}"),
            Value::Null,
        )
        .await;
    assert_eq!(own.status, 404);
    let person = format!(
        "/api/v2/service_accounts/{}/application_keys",
        scene.acme.user
    );
    assert_eq!(
        scene
            .call(&format!("GET {person}"), Value::Null)
            .await
            .status,
        404,
        "a person is none"
    );

    assert_eq!(
        scene
            .call(&format!("DELETE {keys}/{key}"), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        scene
            .call(&format!("DELETE {keys}/{key}"), Value::Null)
            .await
            .status,
        404
    );
}

async fn a_rotated_key_has_a_successor_and_an_overlap(scene: Scene) {
    let made = scene
        .call(
            "POST /api/v2/api_keys",
            new("api_keys", json!({"name": "agents"})),
        )
        .await;
    let old = id(&made);
    let how = json!({"data": {"attributes": {"overlap_seconds": 3600}}});
    let rotated = scene
        .call(&format!("POST /api/v2/api_keys/{old}/rotate"), how)
        .await;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    let body = rotated.json();
    assert_eq!(body["data"]["attributes"]["name"], "agents");
    assert_eq!(
        body["data"]["attributes"]["key"].as_str().unwrap().len(),
        32
    );
    assert_eq!(
        body["data"]["relationships"]["replaces"]["data"]["id"],
        old.as_str()
    );
    let before = scene
        .call(&format!("GET /api/v2/api_keys/{old}"), Value::Null)
        .await
        .json();
    assert!(is_wire_time(&before["data"]["attributes"]["expires_at"]));
    assert_eq!(
        before["data"]["relationships"]["replaced_by"]["data"]["id"],
        body["data"]["id"]
    );

    // Without an overlap, and for the other kinds.
    let token = scene.acme.client_token.id;
    let rotated = scene
        .call(
            &format!("POST /api/v2/client_tokens/{token}/rotate"),
            Value::Null,
        )
        .await;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    assert_eq!(
        scene
            .call(&format!("GET /api/v2/client_tokens/{token}"), Value::Null)
            .await
            .status,
        404
    );
    let made = scene
        .call(
            "POST /api/v2/current_user/application_keys",
            new("application_keys", json!({"name": "mine"})),
        )
        .await;
    let path = format!("/api/v2/current_user/application_keys/{}/rotate", id(&made));
    let rotated = scene.call(&format!("POST {path}"), json!({})).await;
    assert_eq!(rotated.status, 201, "{}", rotated.text());
    assert_eq!(
        scene.call(&format!("POST {path}"), json!({})).await.status,
        404,
        "it is revoked"
    );
}

async fn rules_are_sentences_that_say_what_to_do(scene: Scene) {
    let create = "POST /api/v2/api_keys";
    for number in 0..4 {
        let body = new("api_keys", json!({"name": format!("key {number}")}));
        assert_eq!(scene.call(create, body).await.status, 201);
    }
    let one_more = scene
        .call(create, new("api_keys", json!({"name": "six"})))
        .await;
    assert_eq!(one_more.status, 400);
    assert_eq!(
        error(&one_more),
        "an org has at most 5 active API keys: revoke one that is no longer used first"
    );
    let listed = scene.call("GET /api/v2/api_keys", Value::Null).await.json();
    assert_eq!(
        listed["meta"],
        json!({"page": {"total_filtered_count": 5}, "max_allowed": 5})
    );
    for key in listed["data"].as_array().unwrap() {
        let path = format!("DELETE /api/v2/api_keys/{}", key["id"].as_str().unwrap());
        // The one that the caller uses is left to the last.
        if key["id"] != scene.acme.api_key.id.to_string() {
            assert_eq!(scene.call(&path, Value::Null).await.status, 204);
        }
    }
    let last = format!("DELETE /api/v2/api_keys/{}", scene.acme.api_key.id);
    let last = scene.call(&last, Value::Null).await;
    assert_eq!(last.status, 400);
    assert!(
        error(&last).starts_with("an org keeps at least 1 active API key"),
        "{}",
        error(&last)
    );

    let blank = scene
        .call(create, new("api_keys", json!({"name": "  "})))
        .await;
    assert_eq!(blank.status, 400);
    assert!(error(&blank).starts_with("a name cannot be blank"));
    let body = new(
        "application_keys",
        json!({"name": "x", "scopes": ["No Such"]}),
    );
    let scopes = scene
        .call("POST /api/v2/current_user/application_keys", body)
        .await;
    assert_eq!(scopes.status, 400);
    assert!(error(&scopes).starts_with("a scope is the name of a permission"));
    let past = json!({"name": "x", "expires_at": "2020-01-01T00:00:00Z"});
    let past = scene
        .call("POST /api/v2/client_tokens", new("client_tokens", past))
        .await;
    assert_eq!(past.status, 400);
    let (_, reader) = scene.member("rita", Role::ReadOnly).await;
    let refused = scene
        .call_as(&reader, create, new("api_keys", json!({"name": "x"})))
        .await;
    assert_eq!(refused.status, 403);
    assert!(error(&refused).contains("api_keys_write"));
}
