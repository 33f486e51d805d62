//! The rules of the domain as a sender sees them: what an operation on keys does to the next request.

use keygate::control::Request;
use keygate::keys::KeyKind;

use super::harness::{
    Gateway, Org, Reply, api_key, application_key, request, revoke, secret, user,
};

async fn series(gateway: &Gateway, api_key: &str) -> Reply {
    let headers = [("DD-API-KEY", api_key)];
    gateway
        .send(request("POST /api/v2/series", &headers, b"{\"series\":[]}"))
        .await
}

async fn users(gateway: &Gateway, api_key: &str, application_key: &str) -> Reply {
    let headers = [
        ("DD-API-KEY", api_key),
        ("DD-APPLICATION-KEY", application_key),
    ];
    gateway
        .send(request("GET /api/v2/users", &headers, b""))
        .await
}

#[tokio::test]
async fn revoked_key_is_refused_by_the_next_request() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let spare = gateway.key(api_key(&org.id, "spare")).await;
    assert_eq!(series(&gateway, secret(&spare)).await.status, 202);

    gateway.perform(revoke(KeyKind::ApiKey, &spare)).await;
    let reply = series(&gateway, secret(&spare)).await;
    assert_eq!(reply.status, 403);
    let record = gateway.record_of(&reply).await;
    assert_eq!(record["auth.reason"], "revoked");
    assert_eq!(record["auth.key_id"], spare.id.to_string());
    assert_eq!(record["org.id"], org.id.as_str());
    // A neighbour lives on, and nothing of the refused request went on.
    assert_eq!(series(&gateway, secret(&org.api_key)).await.status, 202);
    assert_eq!(gateway.intake().requests().len(), 2);
}
