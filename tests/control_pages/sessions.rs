//! Sessions: what ends them, what does not, and what the browser is told of them.

use std::sync::Arc;
use std::time::Duration;

use keygate::config::Config;
use keygate::control::Request;
use keygate::store;

use crate::house::{
    HANDLE, House, PASSWORD, Redis, SESSION, app, found, is_in, set_password, sign_in,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_given_to_the_browser_before_is_not_the_one_it_gets() {
    let house = House::start().await;
    let mut victim = house.signed_in().await;
    let mut attacker = house.browser();
    assert_eq!(
        sign_in(&mut attacker, HANDLE, PASSWORD).await.leads_to(),
        "/"
    );
    let planted = attacker.cookies[SESSION].clone();
    victim.cookies.insert(SESSION.to_owned(), planted.clone());
    // Signing in over a session that is already there: the page leads on, a posted form opens another.
    let form = house.browser().get("/sign-in").await;
    let (pair, _) = form.set_cookies()[0].split_once(';').unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    victim.cookies.insert(name.to_owned(), value.to_owned());
    let csrf = form.csrf();
    let fields = [
        ("csrf", csrf.as_str()),
        ("handle", HANDLE),
        ("password", PASSWORD),
    ];
    assert_eq!(victim.post("/sign-in", &fields).await.leads_to(), "/");
    assert_ne!(victim.cookies[SESSION], planted);
    assert!(is_in(&mut victim).await);
    assert!(!is_in(&mut attacker).await, "the one planted is over");

    // One that nobody gave out is none.
    let mut stranger = house.browser();
    stranger
        .cookies
        .insert(SESSION.to_owned(), format!("{:066}", 7));
    assert!(!is_in(&mut stranger).await);
    sign_in(&mut stranger, HANDLE, PASSWORD).await.leads_to();
    assert_ne!(stranger.cookies[SESSION], format!("{:066}", 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_the_user_the_org_and_the_password() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    let (bob, link) = house.user("bob@acme.example", None).await;
    let mut browser = house.browser();
    set_password(&mut browser, &link, PASSWORD).await.leads_to();
    assert!(is_in(&mut browser).await);

    house.disable(bob, true).await;
    assert!(!is_in(&mut browser).await);
    assert_eq!(
        sign_in(&mut house.browser(), "bob@acme.example", PASSWORD)
            .await
            .status,
        403
    );
    house.disable(bob, false).await;
    assert!(!is_in(&mut browser).await, "it does not come back");

    sign_in(&mut browser, "bob@acme.example", PASSWORD)
        .await
        .leads_to();
    let again = house.link_for(bob).await;
    set_password(&mut house.browser(), &again, "a third long password")
        .await
        .leads_to();
    assert!(!is_in(&mut browser).await);

    let org = house.org.clone();
    house
        .perform(Request::SetOrgDisabled {
            org,
            disabled: true,
        })
        .await;
    assert!(!is_in(&mut ann).await);
    assert_eq!(
        sign_in(&mut house.browser(), HANDLE, PASSWORD).await.status,
        403
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lasts_no_longer_than_it_may() {
    let house = House::start_with(|config| {
        config.control.session_lifetime = Duration::from_hours(2);
        config.control.session_idle = Duration::from_mins(20);
    })
    .await;
    assert!(is_in(&mut house.with_session(119, 19)).await);
    assert!(!is_in(&mut house.with_session(121, 1)).await, "too old");
    assert!(!is_in(&mut house.with_session(60, 21)).await, "idle");

    // Being used is noted, so that it is not idle.
    let mut browser = house.with_session(60, 19);
    assert!(is_in(&mut browser).await);
    let token = keygate::control::sign_in::Token::parse(&browser.cookies[SESSION]).unwrap();
    let kept = house
        .app
        .keys
        .store()
        .session(token.partition, token.hash)
        .unwrap()
        .unwrap();
    let seen_ago = keygate::control::sign_in::now().0 - kept.seen_at.0;
    assert!(seen_ago < 60_000, "{seen_ago}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_node_whose_clock_is_ahead_ends_like_any_other() {
    let house = House::start().await;
    let mut browser = house.with_session(-30, -30);
    assert!(is_in(&mut browser).await);
    set_password(&mut house.browser(), &house.link, PASSWORD)
        .await
        .leads_to();
    assert!(!is_in(&mut browser).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_is_for_these_pages_only() {
    let house = House::start().await;
    let page = set_password(&mut house.browser(), &house.link, PASSWORD).await;
    let cookie = page.set_cookies()[0];
    assert!(cookie.starts_with("keygate_session="), "{cookie}");
    for attribute in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(
        !cookie.contains("Secure") && !cookie.contains("Domain"),
        "{cookie}"
    );

    let house = House::start_with(|config| {
        config.control.url = Some("https://keygate.example".parse().unwrap());
    })
    .await;
    let mut browser = house.browser();
    let page = browser.get(&house.link).await;
    let form = page.set_cookies()[0].to_owned();
    assert!(
        form.starts_with("__Host-keygate-form=") && form.contains("; Secure"),
        "{form}"
    );
    assert_eq!(
        page.header("strict-transport-security"),
        Some("max-age=31536000")
    );
    let csrf = page.csrf();
    let fields = [
        ("csrf", csrf.as_str()),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ];
    let headers = [
        ("origin", "https://keygate.example"),
        ("sec-fetch-site", "same-origin"),
    ];
    let page = browser.post_with(&house.link, &headers, &fields).await;
    let cookie = page.set_cookies()[0];
    assert!(cookie.starts_with("__Host-keygate="), "{cookie}");
    for attribute in ["; HttpOnly", "; SameSite=Lax", "; Secure", "; Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_on_one_redis_share_a_session() {
    let redis = Redis::start().await;
    let shared = |config: &mut Config| {
        let url = format!("redis://127.0.0.1:{}", redis.port);
        config.store.redis.servers = vec![url.parse().unwrap()];
        config.store.root_key = Some(keygate::config::SecretValue::new("ab".repeat(32)));
    };
    let folder = tempfile::tempdir().unwrap();
    let mut maker = Config::with_default_upstream(
        "http://127.0.0.1:9".parse().unwrap(),
        folder.path().to_path_buf(),
    );
    shared(&mut maker);
    let (config, rules) = (maker.store.clone(), maker.rules.clone());
    let store = tokio::task::spawn_blocking(move || store::open(&config, &rules, true).unwrap())
        .await
        .unwrap();
    let _kept = Arc::new(store);
    let (one, _folder_of_one) = app(shared).await;
    let (_, link, user) = found(&one, "acme", HANDLE).await;
    let (two, _folder_of_two) = app(shared).await;

    let mut browser = crate::browser::Browser::new(one.control.unwrap());
    set_password(&mut browser, &link, PASSWORD).await.leads_to();
    let mut there = browser.at(two.control.unwrap());
    assert!(is_in(&mut there).await);
    // A form shown by one node is taken by the other.
    let csrf = browser.get("/account").await.csrf();
    let new = "an even longer password";
    let fields = [
        ("csrf", csrf.as_str()),
        ("old", PASSWORD),
        ("password", new),
        ("again", new),
    ];
    assert_eq!(
        there.post("/account", &fields).await.leads_to(),
        "/account?changed=1"
    );
    assert!(!is_in(&mut browser).await && is_in(&mut there).await);

    let disable = Request::SetUserDisabled {
        user: user.to_string(),
        disabled: true,
    };
    let refused = one.keys.operate(disable).await.unwrap_err().to_string();
    assert!(refused.contains("admin"), "{refused}");
    let csrf = there.get("/account").await.csrf();
    let mut back = there.at(one.control.unwrap());
    back.post("/sign-out", &[("csrf", &csrf)]).await.leads_to();
    assert!(!is_in(&mut there).await);
}
