//! The OpenAPI document is the list of what is served: no route is missing in it, and nothing in it is not there.

use serde_json::Value;

use crate::harness::{Client, request};
use crate::scene::Scene;

/// Every route and its methods: WIRE 5 and what is beside it.
const PROMISED: &[(&str, &str)] = &[
    ("/api/v2/api_keys", "get post"),
    ("/api/v2/api_keys/{api_key_id}", "get patch delete"),
    ("/api/v2/api_keys/{api_key_id}/rotate", "post"),
    ("/api/v2/application_keys", "get"),
    ("/api/v2/application_keys/{app_key_id}", "get patch delete"),
    ("/api/v2/application_keys/{app_key_id}/rotate", "post"),
    ("/api/v2/audit_log", "get"),
    ("/api/v2/client_tokens", "get post"),
    (
        "/api/v2/client_tokens/{client_token_id}",
        "get patch delete",
    ),
    ("/api/v2/client_tokens/{client_token_id}/rotate", "post"),
    ("/api/v2/current_user", "get patch"),
    ("/api/v2/current_user/application_keys", "get post"),
    (
        "/api/v2/current_user/application_keys/{app_key_id}",
        "get patch delete",
    ),
    (
        "/api/v2/current_user/application_keys/{app_key_id}/rotate",
        "post",
    ),
    ("/api/v2/operations", "post"),
    ("/api/v2/orgs", "get"),
    ("/api/v2/orgs/{org_id}", "get"),
    ("/api/v2/permissions", "get"),
    ("/api/v2/roles", "get"),
    ("/api/v2/roles/{role_id}", "get"),
    ("/api/v2/roles/{role_id}/permissions", "get"),
    ("/api/v2/roles/{role_id}/users", "get post delete"),
    ("/api/v2/service_accounts", "post"),
    (
        "/api/v2/service_accounts/{service_account_id}/application_keys",
        "get post",
    ),
    (
        "/api/v2/service_accounts/{service_account_id}/application_keys/{app_key_id}",
        "get patch delete",
    ),
    (
        "/api/v2/service_accounts/{service_account_id}/application_keys/{app_key_id}/rotate",
        "post",
    ),
    ("/api/v2/user_invitations", "post"),
    ("/api/v2/user_invitations/{user_invitation_uuid}", "get"),
    ("/api/v2/users", "get post"),
    ("/api/v2/users/{user_id}", "get patch delete"),
    ("/api/v2/users/{user_id}/orgs", "get"),
    ("/api/v2/users/{user_id}/permissions", "get"),
];

const METHODS: [&str; 5] = ["get", "put", "post", "patch", "delete"];

#[tokio::test]
async fn the_document_lists_every_route_and_every_path_in_it_is_served() {
    let scene = Scene::over_a_file().await;
    let served = scene
        .direct(None, "GET /api/v2/openapi.json", &[], Value::Null)
        .await;
    assert_eq!(served.status, 200);
    let document = served.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let paths = document["paths"].as_object().unwrap();
    let listed: Vec<(&str, String)> = paths
        .iter()
        .map(|(path, item)| {
            let has: Vec<&str> = METHODS
                .into_iter()
                .filter(|method| item.get(method).is_some())
                .collect();
            (path.as_str(), has.join(" "))
        })
        .collect();
    let promised: Vec<(&str, String)> = PROMISED
        .iter()
        .map(|(path, has)| (*path, (*has).to_owned()))
        .collect();
    assert_eq!(listed, promised);

    for (path, item) in paths {
        let place = path.replace('{', "x").replace('}', "");
        for method in METHODS {
            let line = format!("{} {place}", method.to_uppercase());
            let reply = Client::connect(scene.control())
                .await
                .send(request(&line, &[], b""))
                .await;
            // Without keys nobody gets in, but the route is there; what is not listed is not there.
            let expected = if item.get(method).is_some() { 403 } else { 405 };
            assert_eq!(reply.status, expected, "{line}: {}", reply.text());
            if let Some(operation) = item.get(method) {
                let responses = operation["responses"].as_object().unwrap();
                assert!(
                    responses.contains_key("403")
                        && responses.keys().any(|status| status.starts_with('2'))
                );
            }
        }
    }
}

#[tokio::test]
async fn every_reference_in_the_document_leads_somewhere() {
    let scene = Scene::over_a_file().await;
    let document = scene
        .direct(None, "GET /api/v2/openapi.json", &[], Value::Null)
        .await
        .json();
    let mut left = vec![&document];
    let mut seen = 0;
    while let Some(value) = left.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    seen += 1;
                }
                left.extend(fields.values());
            }
            Value::Array(items) => left.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    assert!(seen > 50, "{seen}");
}
