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

#[tokio::test]
async fn a_sixth_api_key_and_revoking_the_last_are_refused_with_a_sentence() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let mut spares = Vec::new();
    for name in ["two", "three", "four", "five"] {
        spares.push(gateway.key(api_key(&org.id, name)).await);
    }
    let refused = gateway.refused(api_key(&org.id, "six")).await;
    assert!(refused.contains("at most 5 active API keys"), "{refused}");

    for spare in &spares {
        gateway.perform(revoke(KeyKind::ApiKey, spare)).await;
    }
    let refused = gateway.refused(revoke(KeyKind::ApiKey, &org.api_key)).await;
    assert!(refused.contains("at least 1 active API key"), "{refused}");
    assert_eq!(series(&gateway, secret(&org.api_key)).await.status, 202);
}

#[tokio::test]
async fn disabling_a_user_ends_their_application_keys_for_good_and_no_api_key() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    gateway.perform(user(&org.id, "leaver@acme.example")).await;
    let leaver = "leaver@acme.example";
    let first = gateway.key(application_key(leaver, "one", &[])).await;
    let second = gateway.key(application_key(leaver, "two", &[])).await;
    let api = secret(&org.api_key);
    assert_eq!(users(&gateway, api, secret(&first)).await.status, 200);

    let disable = |disabled| Request::SetUserDisabled {
        user: leaver.to_owned(),
        disabled,
    };
    gateway.perform(disable(true)).await;
    for key in [&first, &second] {
        let reply = users(&gateway, api, secret(key)).await;
        assert_eq!(reply.status, 403);
        let record = gateway.record_of(&reply).await;
        assert_eq!(record["auth.reason"], "owner_disabled");
        assert_eq!(record["auth.app_key_id"], key.id.to_string());
        assert_eq!(record["user.name"], leaver);
    }
    assert_eq!(series(&gateway, api).await.status, 202);

    gateway.perform(disable(false)).await;
    for key in [&first, &second] {
        let reply = users(&gateway, api, secret(key)).await;
        assert_eq!(reply.status, 403);
        assert_eq!(gateway.record_of(&reply).await["auth.reason"], "revoked");
    }
    // A key made afterwards is a new one.
    let third = gateway.key(application_key(leaver, "three", &[])).await;
    assert_eq!(users(&gateway, api, secret(&third)).await.status, 200);
    // The others' keys were never touched.
    let others = secret(&org.application_key);
    assert_eq!(users(&gateway, api, others).await.status, 200);
}

#[tokio::test]
async fn a_disabled_org_is_refused_until_it_is_enabled() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let disable = |disabled| Request::SetOrgDisabled {
        org: org.id.clone(),
        disabled,
    };
    gateway.perform(disable(true)).await;
    let reply = series(&gateway, secret(&org.api_key)).await;
    assert_eq!(reply.status, 403);
    assert_eq!(
        gateway.record_of(&reply).await["auth.reason"],
        "org_disabled"
    );
    gateway.perform(disable(false)).await;
    assert_eq!(series(&gateway, secret(&org.api_key)).await.status, 202);
}

#[tokio::test]
async fn identity_that_a_client_claims_never_reaches_the_upstream() {
    let gateway = Gateway::start().await;
    let org = gateway.org("acme").await;
    let forged = "forged-by-the-client";
    let headers = [
        ("DD-API-KEY", secret(&org.api_key)),
        ("x-keygate-org-id", forged),
        ("X-Keygate-User-Id", forged),
        ("x_keygate_org_id", forged),
        ("X-KEYGATE_user-name", forged),
        ("x-keygate-something-new", forged),
        ("X-Forwarded-For", forged),
        ("X_Forwarded_For", forged),
        ("X-Forwarded-Host", forged),
        ("X-Forwarded-Proto", forged),
        ("X-Forwarded-Anything", forged),
        ("X-Real-IP", forged),
        ("Forwarded", "for=forged-by-the-client"),
        ("Connection", "x-keygate-org-id, keep-alive, x-own"),
        ("X-Own", forged),
        ("X-Kept", "kept"),
        ("Cookie", "session=forged-by-the-client"),
        ("Authorization", "Bearer forged-by-the-client"),
        ("Proxy-Authorization", forged),
        (
            "Referer",
            "https://shop.example/a?token=forged-by-the-client#x",
        ),
    ];
    let reply = gateway
        .send(request("POST /api/v2/series", &headers, b"{}"))
        .await;
    assert_eq!(reply.status, 202);
    let received = gateway.intake().wait_for(1).await.unwrap().remove(0);
    let shown = format!("{received:?}");
    assert!(!shown.contains(forged), "{shown}");
    assert_eq!(received.header("x-keygate-org-id"), Some(org.id.as_str()));
    let key = org.api_key.id.to_string();
    assert_eq!(received.header("x-keygate-key-id"), Some(key.as_str()));
    assert_eq!(received.header("x-keygate-key-kind"), Some("api_key"));
    assert_eq!(received.header("x-keygate-user-id"), None);
    assert_eq!(received.header("x-keygate-user-name"), None);
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-host"), Some("gateway.test"));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
    assert_eq!(received.header("referer"), Some("https://shop.example"));
    assert_eq!(received.header("x-kept"), Some("kept"));
    assert_eq!(
        received.header("x-request-id"),
        reply.header("x-request-id")
    );
}

#[tokio::test]
async fn what_a_pair_does_is_the_application_keys_owners_doing() {
    let gateway = Gateway::start().await;
    let org: Org = gateway.org("acme").await;
    let reply = users(&gateway, secret(&org.api_key), secret(&org.application_key)).await;
    assert_eq!(reply.status, 200);
    let received = gateway.intake().wait_for(1).await.unwrap().remove(0);
    let header = |name| received.header(name).map(ToOwned::to_owned);
    assert_eq!(header("x-keygate-org-id"), Some(org.id.clone()));
    assert_eq!(header("x-keygate-key-kind").as_deref(), Some("pair"));
    assert_eq!(header("x-keygate-user-id"), Some(org.user.clone()));
    assert_eq!(header("x-keygate-user-name"), Some(org.user_name.clone()));
    let record = gateway.record_of(&reply).await;
    assert_eq!(record["auth.kind"], "pair");
    assert_eq!(record["user.id"], org.user.as_str());
    assert_eq!(record["org.name"], org.name.as_str());
}
