//! What a provider's word must be to let somebody in: everything that is forged, for another, or too old is nothing.

use std::collections::BTreeMap;

use keygate::control::sign_in::now;
use serde_json::{Value, json};

use crate::browser::{Browser, Page};
use crate::house::{HANDLE, House, SESSION, is_in};
use crate::provider::{CLIENT, Provider, SECRET, Says, Signed};

async fn house(provider: &Provider, handle_claim: &str) -> House {
    House::start_with(|config| {
        let oidc = &mut config.control.oidc;
        oidc.issuer = Some(provider.issuer().parse().unwrap());
        oidc.client_id = Some(CLIENT.to_owned());
        oidc.client_secret = Some(keygate::config::SecretValue::new(SECRET.to_owned()));
        oidc.org = "acme".to_owned();
        oidc.handle_claim = handle_claim.to_owned();
        config.control.sign_in_attempts = 1000;
    })
    .await
}

/// What the browser was led to ask.
async fn asked(browser: &mut Browser) -> BTreeMap<String, String> {
    let page = browser.get("/oidc/start?next=/account").await;
    let (_, query) = page.leads_to().split_once('?').unwrap();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.to_owned())
    };
    query.split('&').map(pair).collect()
}

/// What an honest provider would say of Ann.
fn honest(provider: &Provider, asked: &BTreeMap<String, String>) -> Value {
    let seconds = now().0 / 1000;
    json!({
        "iss": provider.issuer(),
        "aud": CLIENT,
        "sub": "7",
        "iat": seconds,
        "exp": seconds + 300,
        "nonce": asked["nonce"],
        "email": HANDLE,
        "email_verified": true,
        "staff_id": HANDLE,
    })
}

async fn answered(
    browser: &mut Browser,
    provider: &Provider,
    says: impl FnOnce(Value) -> Says,
) -> Page {
    let asked = asked(browser).await;
    provider.say(says(honest(provider, &asked)), &asked["code_challenge"]);
    let path = format!("/oidc/callback?code=the+code&state={}", asked["state"]);
    browser.get(&path).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_providers_own_word_for_this_question_counts() {
    let provider = Provider::start().await;
    let house = house(&provider, "email").await;
    let mut browser = house.browser();
    let page = answered(&mut browser, &provider, |claims| {
        Says::Token(claims, Signed::Well)
    })
    .await;
    assert_eq!(page.leads_to(), "/account");
    assert!(is_in(&mut browser).await);
    let told = house.audit().await;
    let entry = told
        .iter()
        .find(|entry| entry.action == "session.opened")
        .unwrap();
    assert_eq!(entry.changes[0].after.as_deref(), Some("openid connect"));

    let changes: [(&str, Value); 10] = [
        ("iss", json!("http://127.0.0.1:1")),
        ("aud", json!("another client")),
        ("aud", json!([CLIENT, "another client"])),
        ("nonce", json!("another question")),
        ("nonce", Value::Null),
        ("exp", json!(now().0 / 1000 - 10)),
        ("email_verified", json!(false)),
        ("email_verified", Value::Null),
        ("email", json!("nobody@acme.example")),
        ("email", json!("")),
    ];
    for (claim, value) in changes {
        let mut browser = house.browser();
        let page = answered(&mut browser, &provider, |mut claims| {
            claims[claim] = value.clone();
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(claim);
            }
            Says::Token(claims, Signed::Well)
        })
        .await;
        assert_eq!(page.status, 403, "{claim} {value}");
        assert!(!browser.cookies.contains_key(SESSION), "{claim} {value}");
    }
    let badly = [
        Signed::WithAnotherKey,
        Signed::WithTheSecret,
        Signed::WithThePublicKey,
        Signed::Not,
    ];
    for signed in badly {
        let mut browser = house.browser();
        let page = answered(&mut browser, &provider, |claims| {
            Says::Token(claims, signed)
        })
        .await;
        assert_eq!(page.status, 403, "{signed:?}");
        assert!(
            page.text.contains("the ID token does not hold"),
            "{}",
            page.text
        );
        assert!(!browser.cookies.contains_key(SESSION), "{signed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_answers_badly_is_not_followed() {
    let provider = Provider::start().await;
    let house = house(&provider, "email").await;
    for says in [Says::Elsewhere, Says::Endless, Says::Junk] {
        let page = answered(&mut house.browser(), &provider, |_| says).await;
        assert_eq!(page.status, 403);
        assert!(
            page.text.contains("the code was not taken"),
            "{}",
            page.text
        );
    }
    assert_eq!(provider.followed(), 0);

    // The code of one browser is worth nothing in another: it has not what proves the question.
    let (mut ann, mut eve) = (house.browser(), house.browser());
    let (anns, eves) = (asked(&mut ann).await, asked(&mut eve).await);
    let claims = honest(&provider, &eves);
    provider.say(Says::Token(claims, Signed::Well), &anns["code_challenge"]);
    let path = format!("/oidc/callback?code=the+code&state={}", eves["state"]);
    assert_eq!(eve.get(&path).await.status, 403);
    assert!(!is_in(&mut eve).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_claim_can_be_the_login_name_and_be_told_on_asking() {
    let provider = Provider::start().await;
    let house = house(&provider, "staff_id").await;
    let mut browser = house.browser();
    let page = answered(&mut browser, &provider, |claims| {
        Says::Token(claims, Signed::Well)
    })
    .await;
    assert_eq!(page.leads_to(), "/account");

    let bare = |mut claims: Value| {
        claims.as_object_mut().unwrap().remove("staff_id");
        Says::Token(claims, Signed::Well)
    };
    let page = answered(&mut house.browser(), &provider, bare).await;
    assert_eq!(page.status, 403);
    provider.tell_of_user(json!({"sub": "8", "staff_id": HANDLE}));
    let page = answered(&mut house.browser(), &provider, bare).await;
    assert_eq!(page.status, 403, "of somebody else");
    provider.tell_of_user(json!({"sub": "7", "staff_id": HANDLE}));
    let mut browser = house.browser();
    let page = answered(&mut browser, &provider, bare).await;
    assert_eq!(page.leads_to(), "/account");
    assert!(is_in(&mut browser).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_there_is_no_such_door() {
    let house = House::start().await;
    let mut browser = house.browser();
    assert!(!browser.get("/sign-in").await.text.contains("/oidc/"));
    for path in ["/oidc/start", "/oidc/callback?code=x&state=y"] {
        assert_eq!(browser.get(path).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_said_to_be() {
    let house = House::start_with(|config| {
        let oidc = &mut config.control.oidc;
        oidc.issuer = Some("http://127.0.0.1:9".parse().unwrap());
        oidc.client_id = Some(CLIENT.to_owned());
    })
    .await;
    let page = house.browser().get("/oidc/start").await;
    assert_eq!(page.status, 403);
    assert!(page.text.contains("no answer about itself") && page.text.contains("/sign-in"));
}
