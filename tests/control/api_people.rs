//! Users, invitations and roles in the API.

use serde_json::{Value, json};

use crate::scene::{Scene, change, error, id, new, over_both_stores, pair};

over_both_stores! {
    a_user_lives_as_clients_expect
    an_invitation_is_a_link_that_is_shown_once
    roles_are_three_and_everybody_has_one
    the_last_admin_stays
}

async fn a_user_lives_as_clients_expect(scene: Scene) {
    let body = || {
        new(
            "users",
            json!({"email": "Ann@Acme.example", "name": "Ann", "title": "ops"}),
        )
    };
    let made = scene.call("POST /api/v2/users", body()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let user = made.json();
    let says = &user["data"]["attributes"];
    assert_eq!(
        (&says["handle"], &says["email"]),
        (&json!("ann@acme.example"), &json!("ann@acme.example"))
    );
    assert_eq!(
        (&says["disabled"], &says["service_account"], &says["status"]),
        (&json!(false), &json!(false), &json!("Active"))
    );
    assert_eq!(
        user["data"]["relationships"]["org"]["data"]["id"],
        scene.acme.id
    );
    let again = scene.call("POST /api/v2/users", body()).await;
    assert_eq!(again.status, 409, "{}", again.text());

    let ann = id(&made);
    let path = format!("/api/v2/users/{ann}");
    let shown = scene.call(&format!("GET {path}"), Value::Null).await.json();
    assert_eq!(shown["data"], user["data"]);
    assert_eq!(shown["included"][0]["type"], "roles");
    let orgs = scene
        .call(&format!("GET {path}/orgs"), Value::Null)
        .await
        .json();
    assert_eq!(orgs["included"][0]["attributes"]["name"], "acme");
    let permissions = scene
        .call(&format!("GET {path}/permissions"), Value::Null)
        .await
        .json();
    let names: Vec<_> = permissions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["attributes"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["api_keys_read", "client_tokens_read", "user_access_read"],
        "without a role, one only looks"
    );

    let attributes = json!({"name": "Anna", "title": null});
    let changed = scene
        .call(&format!("PATCH {path}"), change("users", &ann, attributes))
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(changed.json()["data"]["attributes"]["name"], "Anna");
    assert_eq!(changed.json()["data"]["attributes"]["title"], Value::Null);
    let other = scene
        .call(
            &format!("PATCH {path}"),
            change("users", &scene.acme.user, json!({"name": "x"})),
        )
        .await;
    assert_eq!(other.status, 422);

    assert_eq!(
        scene
            .call(&format!("DELETE {path}"), Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        scene
            .call(&format!("DELETE {path}"), Value::Null)
            .await
            .status,
        404
    );
    let shown = scene.call(&format!("GET {path}"), Value::Null).await.json();
    assert_eq!(shown["data"]["attributes"]["status"], "Disabled");
    let enabled = scene
        .call(
            &format!("PATCH {path}"),
            change("users", &ann, json!({"disabled": false})),
        )
        .await;
    assert_eq!(enabled.json()["data"]["attributes"]["disabled"], false);
}

async fn an_invitation_is_a_link_that_is_shown_once(scene: Scene) {
    let ann = scene
        .call(
            "POST /api/v2/users",
            new("users", json!({"email": "ann@acme.example"})),
        )
        .await;
    let ann = id(&ann);
    let invite = |user: &str| json!({"data": [{"type": "user_invitations", "relationships": {"user": {"data": {"type": "users", "id": user}}}}]});
    let made = scene
        .call("POST /api/v2/user_invitations", invite(&ann))
        .await;
    assert_eq!(made.status, 201, "{}", made.text());
    let body = made.json();
    let says = &body["data"][0]["attributes"];
    assert_eq!(says["invite_type"], "openid_invite");
    assert_eq!(says["uuid"], body["data"][0]["id"]);
    assert!(says["login_link"].as_str().unwrap().contains("/welcome/"));
    let path = format!(
        "GET /api/v2/user_invitations/{}",
        says["uuid"].as_str().unwrap()
    );
    let shown = scene.call(&path, Value::Null).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    let shown = shown.json();
    assert_eq!(shown["data"]["attributes"].get("login_link"), None);
    assert_eq!(
        shown["data"]["attributes"]["expires_at"],
        says["expires_at"]
    );
    assert_eq!(shown["data"]["relationships"]["user"]["data"]["id"], ann);
    // All of them or none: a link that was made and not shown would be lost.
    let bob = scene
        .call(
            "POST /api/v2/users",
            new("users", json!({"email": "bob@acme.example"})),
        )
        .await;
    let bob = id(&bob);
    let gone = scene
        .call(&format!("DELETE /api/v2/users/{bob}"), Value::Null)
        .await;
    assert_eq!(gone.status, 204, "{}", gone.text());
    let mut both = invite(&ann);
    let of_bob = invite(&bob)["data"][0].clone();
    both["data"].as_array_mut().unwrap().push(of_bob);
    for body in [both, invite(&bob)] {
        let refused = scene.call("POST /api/v2/user_invitations", body).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(
            error(&refused).contains("is disabled"),
            "{}",
            error(&refused)
        );
    }
    let log =
        format!("GET /api/v2/audit_log?filter[action]=sign_in_link.created&filter[object]={ann}");
    let links = scene.call(&log, Value::Null).await.json();
    assert_eq!(links["data"].as_array().unwrap().len(), 1, "{links}");
    let unknown = scene
        .call(
            "GET /api/v2/user_invitations/00000000-dead-beef-dead-ffffffffffff",
            Value::Null,
        )
        .await;
    assert_eq!(unknown.json(), json!({"errors": ["Invitation not found"]}));
    assert_eq!(
        scene
            .call("POST /api/v2/user_invitations", invite(&scene.rival.user))
            .await
            .status,
        404
    );
    assert_eq!(
        scene
            .call("POST /api/v2/user_invitations", json!({"data": []}))
            .await
            .status,
        400
    );
    let account = scene
        .call(
            "POST /api/v2/service_accounts",
            new("users", json!({"name": "ci", "email": "ci@acme.example"})),
        )
        .await;
    assert_eq!(
        scene
            .call("POST /api/v2/user_invitations", invite(&id(&account)))
            .await
            .status,
        400
    );
}

async fn roles_are_three_and_everybody_has_one(scene: Scene) {
    let roles = scene.call("GET /api/v2/roles", Value::Null).await.json();
    let named = |name: &str| {
        let mut data = roles["data"].as_array().unwrap().iter();
        let found = data
            .find(|role| role["attributes"]["short_name"] == name)
            .unwrap();
        found["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        roles["meta"]["page"],
        json!({"total_filtered_count": 3, "total_count": 3})
    );
    let (standard, reader) = (named("standard"), named("read-only"));
    let with = |ids: &[&str]| {
        let data: Vec<_> = ids
            .iter()
            .map(|id| json!({"type": "roles", "id": id}))
            .collect();
        let mut body = new("users", json!({"email": "ann@acme.example"}));
        body["data"]["relationships"] = json!({"roles": {"data": data}});
        body
    };
    for bad in [
        &[standard.as_str(), reader.as_str()][..],
        &["x"],
        &["00000000-dead-beef-dead-ffffffffffff"],
    ] {
        let refused = scene.call("POST /api/v2/users", with(bad)).await;
        assert_eq!(refused.status, 400, "{bad:?}");
        assert!(error(&refused).starts_with("a user has exactly one role"));
    }
    let made = scene.call("POST /api/v2/users", with(&[&standard])).await;
    assert_eq!(
        made.json()["data"]["relationships"]["roles"]["data"][0]["id"],
        standard
    );
    let ann = json!({"data": {"type": "users", "id": id(&made)}});
    let given = scene
        .call(&format!("POST /api/v2/roles/{reader}/users"), ann.clone())
        .await;
    assert_eq!(given.status, 200, "{}", given.text());
    assert_eq!(given.json()["data"][0]["id"].as_str(), Some(&*id(&made)));
    // Terraform gives the new one, and then takes the old one.
    assert_eq!(
        scene
            .call(
                &format!("DELETE /api/v2/roles/{standard}/users"),
                ann.clone()
            )
            .await
            .status,
        200
    );
    assert_eq!(
        scene
            .call(&format!("DELETE /api/v2/roles/{reader}/users"), ann)
            .await
            .status,
        400
    );
    let shown = scene
        .call(&format!("GET /api/v2/roles/{reader}"), Value::Null)
        .await
        .json();
    assert_eq!(shown["data"]["attributes"]["user_count"], 1);
    let permissions = scene
        .call(
            &format!("GET /api/v2/roles/{reader}/permissions"),
            Value::Null,
        )
        .await
        .json();
    assert_eq!(permissions["data"].as_array().unwrap().len(), 3);
    assert_eq!(
        scene.call("GET /api/v2/roles/x", Value::Null).await.json(),
        json!({"errors": ["Role not found"]})
    );
    for line in [
        "POST /api/v2/roles".to_owned(),
        format!("DELETE /api/v2/roles/{reader}"),
    ] {
        assert_eq!(
            scene.call(&line, json!({})).await.status,
            405,
            "roles are fixed: {line}"
        );
    }
    let named = scene
        .call(
            "GET /api/v2/roles?filter=Datadog%20Admin%20Role",
            Value::Null,
        )
        .await
        .json();
    assert_eq!(
        named["data"].as_array().unwrap().len(),
        1,
        "the names that Terraform looks for"
    );
}

async fn the_last_admin_stays(scene: Scene) {
    let path = format!("/api/v2/users/{}", scene.acme.user);
    let disabled = change("users", &scene.acme.user, json!({"disabled": true}));
    for (line, body) in [
        (format!("DELETE {path}"), Value::Null),
        (format!("PATCH {path}"), disabled),
    ] {
        let refused = scene.call(&line, body).await;
        assert_eq!(refused.status, 400, "{line}");
        assert!(error(&refused).starts_with("an org keeps at least one active admin"));
    }
    assert_eq!(
        scene
            .call_as(&pair(&scene.acme), "GET /api/v2/current_user", Value::Null)
            .await
            .status,
        200
    );
}
