//! How use flows back: what the operator is shown of when and how often a key was used.

use std::time::{Duration, Instant};

use keygate::config::Config;
use keygate::control::{Caller, KeyChanges, KeyService, KeyUseView, KeyView, Request, Response};
use keygate::keys::audit::Via;
use keygate::keys::{KeyKind, Role};
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
    // Uses are noted with the record.
    gateway.wait_records(1).await;
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

/// A request of an agent that comes through a proxy.
fn agent_series(key: &str, agent: &str, address: &str) -> Vec<u8> {
    let headers = [
        ("DD-API-KEY", key),
        ("User-Agent", agent),
        ("X-Forwarded-For", address),
    ];
    request("POST /api/v2/series", &headers, b"{}")
}

async fn use_of(gateway: &Gateway, key: &KeyView) -> KeyUseView {
    let (kind, id) = (key.kind, key.id.to_string());
    match gateway.perform(Request::ShowKeyUse { kind, id }).await {
        Response::KeyUse(view) => *view,
        other => panic!("not the use of a key: {other:?}"),
    }
}

/// The use of the key, once it was used so often.
async fn use_once(gateway: &Gateway, key: &KeyView, uses: u64) -> KeyUseView {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let view = use_of(gateway, key).await;
        if view.uses >= uses {
            assert_eq!(view.uses, uses, "{view:?}");
            return view;
        }
        assert!(Instant::now() < deadline, "{view:?} and not {uses}");
        tokio::time::sleep(INTERVAL / 5).await;
    }
}

fn change(key: &KeyView, change: KeyChanges) -> Request {
    let (kind, id) = (key.kind, key.id.to_string());
    Request::UpdateKey { kind, id, change }
}

async fn shadow_requests(gateway: &Gateway, kind: KeyKind) -> u64 {
    let scrape = request("GET /metrics", &[("Connection", "close")], b"");
    let mut operator = Client::connect(gateway.app.admin).await;
    let metrics = operator.send(scrape).await.text();
    let kind = kind.as_str();
    let line = format!("keygate_shadow_revoked_requests_total{{kind=\"{kind}\"}} ");
    let count = metrics.lines().find_map(|at| at.strip_prefix(&line));
    count.unwrap().parse().unwrap()
}

/// Three agents send; two have moved to the new key, and one was forgotten. Shadow-revoking the old key names it before
/// anything breaks.
#[tokio::test]
async fn shadow_revoking_a_key_names_whoever_would_break_and_nobody_else() {
    let gateway = Gateway::start_with(|config| {
        config.store.usage_interval = INTERVAL;
        config.listen.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let org = gateway.org("acme").await;
    let new = gateway.key(api_key(&org.id, "new")).await;
    let old = &org.api_key;
    let agents = [
        ("datadog-agent/7.60.1", "192.0.2.1"),
        ("fluent-bit/3.2", "192.0.2.2"),
        ("datadog-agent/6.0.0 (forgotten)", "2001:db8::3"),
    ];
    let send = async |key: &KeyView, (agent, address): (&str, &str)| {
        let reply = gateway
            .send(agent_series(secret(key), agent, address))
            .await;
        assert_eq!(reply.status, 202, "nothing is refused");
        gateway.record_of(&reply).await
    };
    for agent in agents {
        let record = send(old, agent).await;
        assert!(record.get("auth.shadow_revoked").is_none(), "{record}");
    }
    let before = use_once(&gateway, old, 3).await;
    assert_eq!((before.sources.len(), &before.shadow), (3, &None));

    let shadow = |shadowed| KeyChanges {
        shadowed: Some(shadowed),
        ..KeyChanges::default()
    };
    let shown = gateway.key(change(old, shadow(true))).await;
    assert!(shown.shadow_revoked_at.is_some());
    assert_eq!(use_of(&gateway, old).await.shadow.unwrap().requests, 0);
    for agent in &agents[..2] {
        let record = send(&new, *agent).await;
        assert!(record.get("auth.shadow_revoked").is_none(), "{record}");
    }
    for _ in 0..2 {
        let record = send(old, agents[2]).await;
        assert_eq!(record["auth.shadow_revoked"], true);
        assert_eq!(record["auth.decision"], "allowed");
        assert_eq!(record["auth.key_id"], old.id.to_string());
    }
    // The report names the third alone; all three are remembered as sources.
    let view = use_once(&gateway, old, 5).await;
    let report = view.shadow.unwrap();
    assert_eq!(report.requests, 2);
    assert_eq!(Some(report.since), shown.shadow_revoked_at);
    let [forgotten] = &report.sources[..] else {
        panic!("{:?}", report.sources)
    };
    let named = (&*forgotten.user_agent, &*forgotten.address);
    assert_eq!(named, agents[2]);
    assert_eq!((forgotten.requests, forgotten.shadow_requests), (3, 2));
    assert_eq!((view.sources.len(), &view.sources[0]), (3, forgotten));
    assert_eq!(view.last_address.as_deref(), Some("2001:db8::3"));
    assert_eq!((view.by_hour.len(), view.by_day.len()), (48, 90));
    let sum = |buckets: &[keygate::control::BucketView]| -> u64 {
        buckets.iter().map(|bucket| bucket.requests).sum()
    };
    assert_eq!((sum(&view.by_hour), sum(&view.by_day)), (5, 5));
    assert_eq!(shadow_requests(&gateway, KeyKind::ApiKey).await, 2);
    assert_eq!(shadow_requests(&gateway, KeyKind::ClientToken).await, 0);
    let one = gateway
        .key(Request::ShowKey {
            kind: old.kind,
            id: old.id.to_string(),
        })
        .await;
    assert_eq!(
        (one.sources.len(), one.last_used_from),
        (3, view.last_address)
    );
    let listed = listed(&gateway.app.keys, KeyKind::ApiKey, old).await;
    assert_eq!(
        (listed.sources.len(), listed.last_used_from),
        (0, Some("2001:db8::3".to_owned()))
    );

    // It moves: nothing new is counted, and revoking the old key breaks nobody.
    for agent in agents {
        let record = send(&new, agent).await;
        assert!(record.get("auth.shadow_revoked").is_none(), "{record}");
    }
    use_once(&gateway, &new, 5).await;
    let view = use_of(&gateway, old).await;
    assert_eq!((view.uses, view.shadow.unwrap().requests), (5, 2));
    assert_eq!(shadow_requests(&gateway, KeyKind::ApiKey).await, 2);

    // Shadow-revoked anew, it begins from nothing.
    gateway.key(change(old, shadow(false))).await;
    assert!(use_of(&gateway, old).await.shadow.is_none());
    let record = send(old, agents[0]).await;
    assert!(record.get("auth.shadow_revoked").is_none(), "{record}");
    gateway.key(change(old, shadow(true))).await;
    send(old, agents[1]).await;
    let report = use_once(&gateway, old, 7).await.shadow.unwrap();
    let named: Vec<_> = report.sources.iter().map(|at| &*at.user_agent).collect();
    assert_eq!((report.requests, &named[..]), (1, &[agents[1].0][..]));

    // Revoked, it is refused, and what is refused is not marked.
    gateway.perform(revoke(KeyKind::ApiKey, old)).await;
    let refused = gateway
        .send(agent_series(secret(old), "late", "192.0.2.9"))
        .await;
    assert_eq!(refused.status, 403);
    let record = gateway.record_of(&refused).await;
    assert!(record.get("auth.shadow_revoked").is_none(), "{record}");
    assert_eq!(shadow_requests(&gateway, KeyKind::ApiKey).await, 3);
}

#[tokio::test]
async fn of_a_pair_the_key_is_counted_that_is_shadow_revoked() {
    let gateway = gateway(INTERVAL).await;
    let org = gateway.org("acme").await;
    let shadowed = KeyChanges {
        shadowed: Some(true),
        ..KeyChanges::default()
    };
    gateway.key(change(&org.application_key, shadowed)).await;
    let reply = gateway
        .send(users(&org, secret(&org.application_key)))
        .await;
    assert_eq!(reply.status, 200);
    let record = gateway.record_of(&reply).await;
    assert_eq!(record["auth.shadow_revoked"], true);
    // The application key that comes along with what needs none is no reason for a mark.
    let headers = [
        ("DD-API-KEY", secret(&org.api_key)),
        ("DD-APPLICATION-KEY", secret(&org.application_key)),
    ];
    let series = request("POST /api/v2/series", &headers, b"{}");
    let reply = gateway.send(series).await;
    let record = gateway.record_of(&reply).await;
    assert!(record.get("auth.shadow_revoked").is_none(), "{record}");
    let view = use_once(&gateway, &org.application_key, 1).await;
    assert_eq!(view.shadow.unwrap().requests, 1);
    let view = use_once(&gateway, &org.api_key, 2).await;
    assert!(view.shadow.is_none());
    assert_eq!(shadow_requests(&gateway, KeyKind::ApplicationKey).await, 1);
    assert_eq!(shadow_requests(&gateway, KeyKind::ApiKey).await, 0);
}

#[tokio::test]
async fn no_secret_is_kept_with_a_source_and_nothing_that_a_terminal_obeys() {
    let gateway = gateway(INTERVAL).await;
    let org = gateway.org("acme").await;
    let key = secret(&org.api_key);
    let agent = format!("evil \u{9b}2J \u{202e} {key} {}", "x".repeat(600));
    let headers = [("DD-API-KEY", key), ("User-Agent", &agent)];
    let series = request("POST /api/v2/series", &headers, b"{}");
    assert_eq!(gateway.send(series).await.status, 202);
    let view = use_once(&gateway, &org.api_key, 1).await;
    let said = &view.sources[0].user_agent;
    assert!(said.starts_with("evil \\u{"), "{said}");
    assert!(said.len() <= 64 && said.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    assert!(!said.contains(&key[..8]), "{said}");
}

#[tokio::test]
async fn the_use_of_an_org_has_every_key_the_unused_too_and_nobody_elses() {
    let gateway = gateway(INTERVAL).await;
    let (org, other) = (gateway.org("acme").await, gateway.org("other").await);
    for _ in 0..3 {
        gateway.send(series(secret(&org.api_key))).await;
    }
    gateway.send(series(secret(&other.api_key))).await;
    use_once(&gateway, &org.api_key, 3).await;
    use_once(&gateway, &other.api_key, 1).await;
    let show = Request::ShowOrgUse {
        org: org.id.clone(),
    };
    let Response::OrgUse(view) = gateway.perform(show).await else {
        panic!("not the use of an org")
    };
    assert_eq!((&view.org.name, view.more), (&org.name, 0));
    let told: Vec<_> = view
        .keys
        .iter()
        .map(|of_key| (of_key.key.id, of_key.last_24_hours, of_key.last_30_days))
        .collect();
    assert_eq!(told[0], (org.api_key.id, 3, 3));
    assert_eq!(
        view.keys[0].key.last_used_from.as_deref(),
        Some("127.0.0.1")
    );
    assert_eq!(told.len(), 3);
    for unused in [&org.application_key, &org.client_token] {
        assert!(told[1..].contains(&(unused.id, 0, 0)), "{told:?}");
    }
}

#[tokio::test]
async fn a_request_with_a_pair_is_one_request_of_its_org() {
    let gateway = gateway(INTERVAL).await;
    let org = gateway.org("acme").await;
    gateway
        .send(users(&org, secret(&org.application_key)))
        .await;
    use_once(&gateway, &org.api_key, 1).await;
    use_once(&gateway, &org.application_key, 1).await;
    let show = Request::ShowOrgUse {
        org: org.id.clone(),
    };
    let Response::OrgUse(view) = gateway.perform(show).await else {
        panic!("not the use of an org")
    };
    for buckets in [&view.by_hour, &view.by_day] {
        let sum: u64 = buckets.iter().map(|bucket| bucket.requests).sum();
        assert_eq!(sum, 1, "{buckets:?}");
    }
    let used = view.keys.iter().filter(|of_key| of_key.last_30_days == 1);
    assert_eq!(used.count(), 2);
}

/// Seeing who uses a key takes what seeing the key takes: a role, a scope, and that it is of one's own org.
#[tokio::test]
async fn who_may_see_a_key_may_see_who_uses_it_and_nobody_else() {
    let gateway = gateway(INTERVAL).await;
    let (org, other) = (gateway.org("acme").await, gateway.org("other").await);
    let colleague = Request::CreateUser {
        org: org.id.clone(),
        email: "bob@acme.example".to_owned(),
        name: None,
        title: None,
        role: Role::ReadOnly,
    };
    let Response::User(colleague) = gateway.perform(colleague).await else {
        panic!("not a user")
    };
    let member = |user: &str, scopes: Option<&[&str]>| {
        let scopes = scopes.map(|scopes| scopes.iter().map(|scope| (*scope).into()).collect());
        Caller::member(user.parse().unwrap(), scopes, Via::Api)
    };
    let (admin, colleague) = (
        member(&org.user, None),
        member(&colleague.id.to_string(), None),
    );
    let scoped = member(&org.user, Some(&["client_tokens_read"]));
    let nothing = member(&org.user, Some(&["audit_logs_read"]));
    let show = |key: &KeyView| Request::ShowKeyUse {
        kind: key.kind,
        id: key.id.to_string(),
    };
    let ask = async |caller: &Caller, request| {
        let asked = gateway.app.keys.perform(caller, request).await;
        asked.map(|performed| performed.response)
    };
    for (caller, key, may) in [
        (&admin, &org.api_key, true),
        (&admin, &org.application_key, true),
        (&colleague, &org.api_key, true),
        (&colleague, &org.application_key, false),
        (&scoped, &org.client_token, true),
        (&scoped, &org.api_key, false),
        (&admin, &other.api_key, false),
        (&admin, &other.application_key, false),
    ] {
        let answer = ask(caller, show(key)).await;
        assert_eq!(answer.is_ok(), may, "{:?} {}", caller.by, key.name);
    }
    let totals = |org: &Org| Request::ShowOrgUse {
        org: org.id.clone(),
    };
    for (caller, count) in [(&admin, 3), (&colleague, 2), (&scoped, 1)] {
        let Response::OrgUse(view) = ask(caller, totals(&org)).await.unwrap() else {
            panic!("not the use of an org")
        };
        assert_eq!(view.keys.len(), count, "{:?}", caller.by);
        assert!(ask(caller, totals(&other)).await.is_err());
    }
    assert!(ask(&nothing, totals(&org)).await.is_err());
}
