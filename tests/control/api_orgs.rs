//! One org never sees or touches another's, and no call moves a key.

use serde_json::{Value, json};

use crate::scene::{Scene, change, error, id, new, over_both_stores, pair};

over_both_stores! {
    another_orgs_ids_are_as_unknown_as_any
    no_call_moves_a_key
}

async fn another_orgs_ids_are_as_unknown_as_any(scene: Scene) {
    let rival = pair(&scene.rival);
    let account = scene
        .call(
            "POST /api/v2/service_accounts",
            new("users", json!({"name": "ci", "email": "ci@acme.example"})),
        )
        .await;
    let account = id(&account);
    let invitation = json!({"data": [{"type": "user_invitations",
        "relationships": {"user": {"data": {"type": "users", "id": scene.acme.user}}}}]});
    let invitation = scene
        .call("POST /api/v2/user_invitations", invitation)
        .await;
    assert_eq!(invitation.status, 201, "{}", invitation.text());
    let invitation = invitation.json()["data"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (api_key, application_key, token) = (
        scene.acme.api_key.id.to_string(),
        scene.acme.application_key.id.to_string(),
        scene.acme.client_token.id.to_string(),
    );
    let known = [
        ("api_keys", "api_keys", api_key.clone(), "API key not found"),
        (
            "application_keys",
            "application_keys",
            application_key.clone(),
            "Application key not found",
        ),
        (
            "current_user/application_keys",
            "application_keys",
            application_key,
            "Application key not found",
        ),
        (
            "client_tokens",
            "client_tokens",
            token,
            "Client token not found",
        ),
        ("users", "users", scene.acme.user.clone(), "User not found"),
    ];
    for (path, kind, id, text) in &known {
        let unknown = [
            id.as_str(),
            "00000000-dead-beef-dead-ffffffffffff",
            "invalidId",
            "%FF",
            "..%2f",
        ];
        for id in unknown {
            for method in ["GET", "PATCH", "DELETE"] {
                let body = match method {
                    "PATCH" => change(kind, id, json!({"name": "taken over"})),
                    _ => Value::Null,
                };
                let line = format!("{method} /api/v2/{path}/{id}");
                let reply = scene.direct(Some(&rival), &line, &[], body).await;
                assert_eq!(reply.status, 404, "{line}: {}", reply.text());
                let said = error(&reply);
                assert!(
                    said == *text || !id.is_ascii() || id.contains('%'),
                    "{line}: {said}"
                );
            }
        }
    }
    for line in [
        format!("POST /api/v2/api_keys/{api_key}/rotate"),
        format!("GET /api/v2/service_accounts/{account}/application_keys"),
        format!("GET /api/v2/user_invitations/{invitation}"),
        format!("GET /api/v2/users/{}/orgs", scene.acme.user),
        format!("GET /api/v2/users/{}/permissions", scene.acme.user),
        format!("GET /api/v2/orgs/{}", scene.acme.id),
    ] {
        let reply = scene.call_as(&rival, &line, Value::Null).await;
        assert_eq!(reply.status, 404, "{line}: {}", reply.text());
    }
    for line in [
        "api_keys",
        "application_keys",
        "client_tokens",
        "users",
        "orgs",
    ] {
        let listed = scene
            .call_as(&rival, &format!("GET /api/v2/{line}"), Value::Null)
            .await;
        assert_eq!(listed.status, 200);
        assert!(!listed.text().contains("acme"), "{line}: {}", listed.text());
    }
    let log = scene
        .call_as(&rival, "GET /api/v2/audit_log", Value::Null)
        .await;
    assert!(!log.text().contains("acme"), "{}", log.text());
    // Nor through the door of the command line, by id or by name.
    for org in [scene.acme.id.as_str(), "acme"] {
        for operation in [
            json!({"op": "list_keys", "kind": "api_key", "org": org}),
            json!({"op": "show_org", "org": org}),
            json!({"op": "list_audit", "query": {"org": org}}),
            json!({"op": "create_org", "name": "third"}),
        ] {
            let reply = scene
                .call_as(&rival, "POST /api/v2/operations", operation.clone())
                .await;
            assert!(
                matches!(reply.status, 403 | 404),
                "{operation}: {}",
                reply.text()
            );
        }
    }
    let mine = scene.call("GET /api/v2/api_keys", Value::Null).await;
    assert!(!mine.text().contains("taken over"));
}

async fn no_call_moves_a_key(scene: Scene) {
    let (ann, _) = scene.member("ann", keygate::keys::Role::Standard).await;
    let own = scene.acme.application_key.id.to_string();
    let owner = |id: &str| json!({"owned_by": {"data": {"type": "users", "id": id}}});
    let moving = |id: &str, relations: Value| {
        let mut body = change("application_keys", id, json!({"name": "moved"}));
        body["data"]["relationships"] = relations;
        body
    };
    for path in ["application_keys", "current_user/application_keys"] {
        let line = format!("PATCH /api/v2/{path}/{own}");
        for relations in [
            owner(&ann),
            owner(&scene.rival.user),
            owner("x"),
            json!({"owned_by": {"data": null}}),
            json!({"org": {"data": {"type": "orgs", "id": scene.rival.id}}}),
            json!({"created_by": {"data": {"type": "users", "id": ann}}}),
        ] {
            let refused = scene.call(&line, moving(&own, relations.clone())).await;
            assert_eq!(refused.status, 400, "{relations}");
            assert!(
                error(&refused).starts_with("a key never changes its owner"),
                "{}",
                error(&refused)
            );
        }
        // What clients send back as they got it changes nothing.
        let same = scene
            .call(&line, moving(&own, owner(&scene.acme.user)))
            .await;
        assert_eq!(same.status, 200, "{}", same.text());
    }
    let mut for_ann = new("application_keys", json!({"name": "for ann"}));
    for_ann["data"]["relationships"] = owner(&ann);
    let refused = scene
        .call("POST /api/v2/current_user/application_keys", for_ann)
        .await;
    assert_eq!(refused.status, 400);
    // A body that was meant for another key, or for another kind of thing.
    let line = format!("PATCH /api/v2/application_keys/{own}");
    for body in [
        change("application_keys", &ann, json!({"name": "x"})),
        change("api_keys", &own, json!({"name": "x"})),
        json!({"data": {"type": "application_keys", "attributes": {"name": "x"}}}),
        json!({"data": {"id": own, "attributes": {"name": "x"}}}),
    ] {
        let refused = scene.call(&line, body.clone()).await;
        assert_eq!(refused.status, 400, "{body}");
        assert!(
            error(&refused).contains("is not that of the path"),
            "{}",
            error(&refused)
        );
    }
}
