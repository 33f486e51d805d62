//! How use flows back: what the operator is shown of when and how often a key was used.

use std::time::{Duration, Instant};

use keygate::config::Config;
use keygate::control::{KeyService, KeyView, Request, Response};
use keygate::keys::KeyKind;
use keygate::store;

use super::harness::{Client, Gateway, Org, WAIT_MAX, api_key, request, revoke, secret};

/// So short that a test need not wait, so long that it is an interval.
const INTERVAL: Duration = Duration::from_millis(50);

async fn gateway(interval: Duration) -> Gateway {
    Gateway::start_with(|config| config.store.usage_interval = interval).await
}

fn series(key: &str) -> Vec<u8> {
    request("POST /api/v2/series", &[("DD-API-KEY", key)], b"{}")
}

fn users(org: &Org, application_key: &str) -> Vec<u8> {
    let headers = [
        ("DD-API-KEY", secret(&org.api_key)),
        ("DD-APPLICATION-KEY", application_key),
    ];
    request("GET /api/v2/users", &headers, b"")
}

async fn listed(keys: &KeyService, kind: KeyKind, key: &KeyView) -> KeyView {
    let org = key.org_id.to_string();
    let request = Request::ListKeys { kind, org };
    let Response::Keys(keys) = keys.operate(request).await.unwrap() else {
        panic!("not keys")
    };
    keys.into_iter().find(|each| each.id == key.id).unwrap()
}

/// The key as it is listed, once it was used so often.
async fn used(gateway: &Gateway, kind: KeyKind, key: &KeyView, uses: u64) -> KeyView {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let key = listed(&gateway.app.keys, kind, key).await;
        if key.uses >= uses {
            assert_eq!(key.uses, uses, "{key:?}");
            return key;
        }
        assert!(Instant::now() < deadline, "{key:?} and not {uses}");
        tokio::time::sleep(INTERVAL / 5).await;
    }
}

#[tokio::test]
async fn a_key_shows_within_an_interval_when_and_how_often_it_was_used() {
    let gateway = gateway(INTERVAL).await;
    let org = gateway.org("acme").await;
    let before = listed(&gateway.app.keys, KeyKind::ApiKey, &org.api_key).await;
    assert_eq!((before.last_used_at, before.uses), (None, 0));

    let since = jiff::Timestamp::now();
    for _ in 0..3 {
        let reply = gateway.send(series(secret(&org.api_key))).await;
        assert_eq!(reply.status, 202);
    }
    let key = used(&gateway, KeyKind::ApiKey, &org.api_key, 3).await;
    let last_used: jiff::Timestamp = key.last_used_at.as_ref().unwrap().parse().unwrap();
    let late = jiff::Timestamp::now();
    assert!(last_used.as_millisecond() >= since.as_millisecond() && last_used <= late);

    let Response::Key(shown) = gateway
        .perform(Request::ShowKey {
            kind: KeyKind::ApiKey,
            id: key.id.to_string(),
        })
        .await
    else {
        panic!("not a key")
    };
    assert_eq!((shown.last_used_at, shown.uses), (key.last_used_at, 3));
    // What revoking a key shows is when it was last used.
    gateway.key(api_key(&org.id, "spare")).await;
    let revoked = gateway.key(revoke(KeyKind::ApiKey, &org.api_key)).await;
    assert_eq!(revoked.uses, 3);
}

#[tokio::test]
async fn a_pair_is_a_use_of_both_keys_and_a_client_token_has_its_own() {
    let gateway = gateway(INTERVAL).await;
    let org = gateway.org("acme").await;
    let pair = users(&org, secret(&org.application_key));
    assert_eq!(gateway.send(pair).await.status, 200);
    let path = format!("POST /api/v2/logs?dd-api-key={}", secret(&org.client_token));
    let page = request(&path, &[("Origin", "https://a.example")], b"[]");
    assert_eq!(gateway.send(page).await.status, 202);
    // The application key that comes along with what needs none is not used.
    let headers = [
        ("DD-API-KEY", secret(&org.api_key)),
        ("DD-APPLICATION-KEY", secret(&org.application_key)),
    ];
    let series = request("POST /api/v2/series", &headers, b"{}");
    assert_eq!(gateway.send(series).await.status, 202);

    used(&gateway, KeyKind::ApiKey, &org.api_key, 2).await;
    used(&gateway, KeyKind::ApplicationKey, &org.application_key, 1).await;
    used(&gateway, KeyKind::ClientToken, &org.client_token, 1).await;
}

#[tokio::test]
async fn a_refused_request_is_no_use_of_any_key() {
    let gateway = gateway(INTERVAL).await;
    let (org, other) = (gateway.org("acme").await, gateway.org("other").await);
    let spare = gateway.key(api_key(&org.id, "spare")).await;
    gateway.perform(revoke(KeyKind::ApiKey, &spare)).await;
    for refused in [
        series(secret(&spare)),
        series(secret(&org.client_token)),
        users(&org, secret(&other.application_key)),
        request("GET /api/v2/nowhere/x", &[], b""),
    ] {
        assert!(gateway.send(refused).await.status >= 400);
    }
    // One that counts comes last, so that the others would have been written down by when it is.
    let sent = gateway.send(series(secret(&org.api_key))).await;
    assert_eq!(sent.status, 202);
    used(&gateway, KeyKind::ApiKey, &org.api_key, 1).await;
    for (kind, key) in [
        (KeyKind::ApiKey, &spare),
        (KeyKind::ClientToken, &org.client_token),
        (KeyKind::ApplicationKey, &other.application_key),
    ] {
        let key = listed(&gateway.app.keys, kind, key).await;
        assert_eq!((key.last_used_at, key.uses), (None, 0), "{}", key.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_workers_count_exactly_and_the_end_writes_the_last_down() {
    const CLIENTS: usize = 16;
    const EACH: usize = 50;
    let mut configuration = None;
    let gateway = Gateway::start_with(|config: &mut Config| {
        config.listen.workers = 4;
        // So that it is written down again and again while they count.
        config.store.usage_interval = Duration::from_millis(20);
        configuration = Some(config.clone());
    })
    .await;
    let org = gateway.org("acme").await;
    let mut spares = Vec::new();
    for name in ["two", "three", "four"] {
        spares.push(gateway.key(api_key(&org.id, name)).await);
    }
    let keys: Vec<&KeyView> = spares.iter().chain([&org.api_key]).collect();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|at| {
            let (address, series) = (gateway.app.address, series(secret(keys[at % keys.len()])));
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                for _ in 0..EACH {
                    assert_eq!(client.send(&series).await.status, 202);
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    // Whatever the last interval noted is written by the end of the program.
    assert!(gateway.app.shutdown().await);
    let config = configuration.unwrap();
    let store = store::open(&config.store, &config.rules, false).unwrap();
    let alone = KeyService::alone(store.into());
    for key in keys {
        let key = listed(&alone, KeyKind::ApiKey, key).await;
        assert_eq!(key.uses as usize, CLIENTS * EACH / 4, "{}", key.name);
    }
}

#[tokio::test]
async fn what_waits_is_written_down_at_the_end() {
    let mut configuration = None;
    let gateway = Gateway::start_with(|config: &mut Config| {
        config.store.usage_interval = Duration::from_hours(1);
        configuration = Some(config.clone());
    })
    .await;
    let org = gateway.org("acme").await;
    let reply = gateway.send(series(secret(&org.api_key))).await;
    assert_eq!(reply.status, 202);
    let scrape = request("GET /metrics", &[("Connection", "close")], b"");
    let mut operator = Client::connect(gateway.app.admin).await;
    let metrics = operator.send(scrape).await.text();
    for line in ["flushes_total 0", "flush_errors_total 0", "waiting 1"] {
        assert!(metrics.contains(&format!("\nkeygate_usage_{line}\n")));
    }
    assert!(gateway.app.shutdown().await);
    let config = configuration.unwrap();
    let store = store::open(&config.store, &config.rules, false).unwrap();
    let alone = KeyService::alone(store.into());
    assert_eq!(listed(&alone, KeyKind::ApiKey, &org.api_key).await.uses, 1);
}
