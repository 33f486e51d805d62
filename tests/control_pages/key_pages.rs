//! Keys through the pages: each kind made, used, changed, rotated and revoked with the forms that a person fills in, in both
//! roles and both languages. Signing in, and what every form refuses, is tested beside it.

use keygate::control::{KeyStatus, KeyView, Request, Response};
use keygate::keys::{KeyKind, Role, UserId};

use crate::browser::{Browser, Page};
use crate::house::{House, PASSWORD, found, set_password};

/// The path of each kind's list, and the button that makes one.
pub const KINDS: [(&str, KeyKind, &str); 3] = [
    ("/api-keys", KeyKind::ApiKey, "Create API key"),
    (
        "/application-keys",
        KeyKind::ApplicationKey,
        "Create Application Key",
    ),
    (
        "/client-tokens",
        KeyKind::ClientToken,
        "Create Client Token",
    ),
];

/// The text between two others.
pub fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0
}

/// The secret that a page shows.
pub fn secret(page: &Page) -> String {
    assert_eq!(page.status, 200, "{}", page.text);
    let field = between(&page.text, "<textarea id=\"secret\"", "</textarea>");
    let (attributes, secret) = field.split_once('>').unwrap();
    assert!(attributes.contains(" readonly "), "{field}");
    secret.to_owned()
}

/// The fields of a page's own form that are hidden.
pub fn hidden(page: &Page) -> Vec<(String, String)> {
    let csrf = ("csrf".to_owned(), page.csrf());
    let once = page.text.split_once("name=\"once\" value=\"");
    let once = once.map(|(_, rest)| rest.split_once('"').unwrap().0.to_owned());
    [csrf]
        .into_iter()
        .chain(once.map(|once| ("once".to_owned(), once)))
        .collect()
}

/// Sends the form of the page at this path, filled in so.
pub async fn fill(browser: &mut Browser, path: &str, fields: &[(&str, &str)]) -> Page {
    let page = browser.get(path).await;
    assert_eq!(page.status, 200, "{path}: {}", page.text);
    send(browser, path, &page, fields).await
}

/// Sends the form that a page holds.
pub async fn send(browser: &mut Browser, path: &str, page: &Page, fields: &[(&str, &str)]) -> Page {
    let hidden = hidden(page);
    let hidden = hidden
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let fields: Vec<_> = hidden.chain(fields.iter().copied()).collect();
    browser.post(path, &fields).await
}

/// The keys of a kind, as the operator sees them.
pub async fn keys(house: &House, kind: KeyKind) -> Vec<KeyView> {
    let org = house.org.clone();
    match house.perform(Request::ListKeys { kind, org }).await {
        Response::Keys(keys) => keys,
        other => panic!("no keys: {other:?}"),
    }
}

/// The active key with this name.
pub async fn named(house: &House, kind: KeyKind, name: &str) -> KeyView {
    let is_it = |key: &KeyView| key.name == name && key.status == KeyStatus::Active;
    let found = keys(house, kind).await.into_iter().find(is_it);
    found.unwrap_or_else(|| panic!("no key {name}"))
}

/// A browser of another user of the org, who has this role.
pub async fn user(house: &House, handle: &str, role: Role) -> (UserId, Browser) {
    let (id, link) = house.user(handle, None).await;
    let change = keygate::control::UserChanges {
        role: Some(role),
        ..keygate::control::UserChanges::default()
    };
    let user = id.to_string();
    house.perform(Request::UpdateUser { user, change }).await;
    let mut browser = house.browser();
    set_password(&mut browser, &link, PASSWORD).await.leads_to();
    (id, browser)
}

/// How the proxy answers these keys: whether it took them.
async fn taken(house: &House, kind: KeyKind, secret: &str, api_key: &str) -> bool {
    let mut sender = Browser::new(house.app.address);
    let (method, path, headers) = match kind {
        KeyKind::ApiKey => (
            "GET",
            "/api/v1/validate".to_owned(),
            vec![("dd-api-key", secret)],
        ),
        KeyKind::ApplicationKey => (
            "GET",
            "/api/v2/validate_keys".to_owned(),
            vec![("dd-api-key", api_key), ("dd-application-key", secret)],
        ),
        KeyKind::ClientToken => (
            "POST",
            format!("/api/v2/logs?dd-api-key={secret}&ddsource=browser"),
            vec![("origin", "https://shop.example")],
        ),
    };
    let answer = sender.send(method, &path, &headers, "").await;
    // There is no upstream behind it: what it takes, it cannot deliver.
    match answer.status {
        200 | 503 => true,
        401 | 403 => false,
        other => panic!("{other} {}", answer.text),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_is_made_shown_once_used_and_revoked() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    let made = fill(&mut ann, "/api-keys/new", &[("name", "beside")]).await;
    let beside = secret(&made);
    for (base, kind, button) in KINDS {
        let list = ann.get(base).await;
        assert!(list.text.contains(button), "{}", list.text);
        let page = fill(&mut ann, &format!("{base}/new"), &[("name", "prod <b>")]).await;
        let plain = secret(&page);
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert!(page.header("location").is_none() && page.set_cookies().is_empty());
        assert!(
            page.text.contains("never shown again") && page.text.contains("data-copy=\"secret\"")
        );
        assert!(page.text.contains(&format!("http://{}", house.app.address)));
        assert!(taken(&house, kind, &plain, &beside).await);

        let key = named(&house, kind, "prod <b>").await;
        assert_eq!(key.created_by, house.user.to_string());
        let one = format!("{base}/{}", key.id);
        let last4 = format!("••••{}", key.last4);
        let paths = ["", "/revoke", "/rotate", "/shadow"].map(|end| format!("{one}{end}"));
        for path in paths.iter().map(String::as_str).chain([base, "/api-keys"]) {
            let page = ann.get(path).await;
            assert_eq!(page.status, 200, "{path}");
            assert!(!page.text.contains(&plain), "the secret is on {path}");
            assert!(
                path == "/api-keys" || page.text.contains("prod &#60;b&#62;"),
                "{path} {}",
                page.text
            );
            assert!(!page.text.contains("prod <b>"), "{path}");
        }
        assert!(ann.get(base).await.text.contains(&last4));
        let audit = serde_json::to_string(&house.audit().await).unwrap();
        assert!(audit.contains("prod <b>") && !audit.contains(&plain));

        let receipt = fill(&mut ann, &format!("{one}/revoke"), &[]).await;
        assert_eq!(receipt.status, 200, "{}", receipt.text);
        for said in [
            "Revoked on every node that runs",
            "this server",
            "Refused there after",
        ] {
            assert!(receipt.text.contains(said), "{said}: {}", receipt.text);
        }
        assert!(!taken(&house, kind, &plain, &beside).await);
        let page = ann.get(&one).await;
        assert!(page.text.contains("is revoked already"), "{}", page.text);
        assert!(!page.text.contains(">Revoke<"), "{}", page.text);
        assert!(!ann.get(base).await.text.contains("prod &#60;b&#62;"));
        let revoked = ann.get(&format!("{base}?show=revoked")).await;
        assert!(
            revoked.text.contains("prod &#60;b&#62;"),
            "{}",
            revoked.text
        );
        // Whoever asks again, looks again.
        let again = send(&mut ann, &format!("{one}/revoke"), &page, &[]).await;
        assert!(
            again.text.contains("Revoked on every node"),
            "{}",
            again.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_makes_one_key_and_shows_the_same() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    for (base, kind, _) in KINDS {
        let before = keys(&house, kind).await.len();
        let path = format!("{base}/new");
        let form = ann.get(&path).await;
        let fields = [("name", "once"), ("expires", "2099-12-31")];
        let first = secret(&send(&mut ann, &path, &form, &fields).await);
        let again = secret(&send(&mut ann, &path, &form, &fields).await);
        assert_eq!(first, again);
        assert_eq!(keys(&house, kind).await.len(), before + 1);
        let key = named(&house, kind, "once").await;
        assert_eq!(key.expires_at.as_deref(), Some("2099-12-31T23:59:59.000Z"));

        // Gone back and asked for something else, with the same form.
        let other = secret(&send(&mut ann, &path, &form, &[("name", "other")]).await);
        assert_ne!(first, other);

        // Both at once.
        let form = ann.get(&path).await;
        let (mut left, mut right) = (ann.clone(), ann.clone());
        let fields = [("name", "both")];
        let (left, right) = tokio::join!(
            send(&mut left, &path, &form, &fields),
            send(&mut right, &path, &form, &fields)
        );
        assert_eq!(secret(&left), secret(&right));

        let path = format!("{base}/{}/rotate", key.id);
        let form = ann.get(&path).await;
        let fields = [
            ("name", "turned"),
            ("overlap", "date"),
            ("until", "2098-01-01"),
        ];
        let first = secret(&send(&mut ann, &path, &form, &fields).await);
        let again = secret(&send(&mut ann, &path, &form, &fields).await);
        assert_eq!(first, again);
        assert_eq!(keys(&house, kind).await.len(), before + 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_another_org_or_another_kind_are_not_there() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    found(&house.app, "rival", "eve@rival.example").await;
    for (base, kind, _) in KINDS {
        secret(&fill(&mut ann, &format!("{base}/new"), &[("name", "ours")]).await);
        let ours = named(&house, kind, "ours").await.id.to_string();
        let theirs = {
            let org = "rival".to_owned();
            let request = match kind {
                KeyKind::ApiKey | KeyKind::ApplicationKey => Request::ListKeys { kind, org },
                KeyKind::ClientToken => Request::CreateClientToken {
                    org,
                    name: "theirs".to_owned(),
                    expires_at: None,
                    allowed_origins: Vec::new(),
                },
            };
            match house.perform(request).await {
                Response::Keys(keys) => keys[0].id.to_string(),
                Response::Key(key) => key.id.to_string(),
                other => panic!("{other:?}"),
            }
        };
        let (wrong_kind, _, _) = KINDS
            .into_iter()
            .find(|(other, ..)| *other != base)
            .unwrap();
        let csrf = ann.get("/account").await.csrf();
        let fields = [("csrf", csrf.as_str()), ("name", "x"), ("overlap", "none")];
        for one in [
            format!("{base}/{theirs}"),
            format!("{wrong_kind}/{ours}"),
            format!("{base}/nothing"),
            format!("{base}/00000000-0000-4000-8000-000000000000"),
        ] {
            for end in ["", "/revoke", "/rotate", "/shadow"] {
                let path = format!("{one}{end}");
                assert_eq!(ann.get(&path).await.status, 404, "GET {path}");
                assert_eq!(ann.post(&path, &fields).await.status, 404, "POST {path}");
            }
        }
        let owner = house.user.to_string();
        let list = ann.get(&format!("{base}?show=all&owner={owner}")).await;
        assert!(!list.text.contains("theirs") && !list.text.contains(&theirs));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_user_has_only_their_own_application_keys() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    let (bob_id, mut bob) = user(&house, "bob@acme.example", Role::Standard).await;
    for (base, _, _) in KINDS {
        secret(&fill(&mut ann, &format!("{base}/new"), &[("name", "anns")]).await);
    }
    let csrf = bob.get("/account").await.csrf();
    for (base, kind, button) in [KINDS[0], KINDS[2]] {
        let key = named(&house, kind, "anns").await;
        let list = bob.get(base).await;
        assert!(list.text.contains("anns") && !list.text.contains("/revoke\""));
        assert!(!list.text.contains(&format!(">{button}<")), "{}", list.text);
        assert!(list.text.contains("Your role does not have the permission"));
        let one = bob.get(&format!("{base}/{}", key.id)).await;
        assert!(one.text.contains("Your role may look at this ") && !one.text.contains(">Save<"));
        assert!(
            !one.text.contains("key.created"),
            "the audit log is not theirs"
        );
        assert_eq!(bob.get(&format!("{base}/new")).await.status, 403);
        let one = format!("{base}/{}", key.id);
        let tries = [
            (format!("{base}/new"), [("name", "bobs"), ("x", "")]),
            (one.clone(), [("name", "renamed"), ("x", "")]),
            (format!("{one}/revoke"), [("x", ""), ("y", "")]),
            (format!("{one}/shadow"), [("shadow", "on"), ("x", "")]),
            (
                format!("{one}/rotate"),
                [("name", "bobs"), ("overlap", "none")],
            ),
        ];
        for (path, fields) in &tries {
            let fields: Vec<_> = [("csrf", csrf.as_str())]
                .into_iter()
                .chain(*fields)
                .collect();
            let page = bob.post(path, &fields).await;
            assert_eq!(page.status, 403, "{path}: {}", page.text);
            assert!(page.text.contains("Your role does not have the permission"));
        }
        assert_eq!(named(&house, kind, "anns").await.shadow_revoked_at, None);
    }

    let (base, kind, _) = KINDS[1];
    let anns = named(&house, kind, "anns").await;
    let list = bob.get(base).await;
    assert!(list.text.contains("There are no application keys yet") && !list.text.contains("anns"));
    for end in ["", "/revoke", "/rotate"] {
        assert_eq!(
            bob.get(&format!("{base}/{}{end}", anns.id)).await.status,
            403
        );
    }
    let form = bob.get(&format!("{base}/new")).await;
    assert!(!form.text.contains("name=\"owner\""), "{}", form.text);
    // Whoever puts the field there does not get a key of somebody else's.
    let owner = house.user.to_string();
    let stolen = send(
        &mut bob,
        &format!("{base}/new"),
        &form,
        &[("name", "b"), ("owner", &owner)],
    )
    .await;
    assert_eq!(stolen.status, 403, "{}", stolen.text);
    secret(&send(&mut bob, &format!("{base}/new"), &form, &[("name", "bobs")]).await);
    let bobs = named(&house, kind, "bobs").await;
    assert_eq!(bobs.owner_id, Some(bob_id));
    // An admin sees it, may revoke it, and may not be given its successor.
    let one = format!("{base}/{}", bobs.id);
    let page = ann.get(&one).await;
    assert!(page.text.contains("bob@acme.example") && page.text.contains(">Revoke<"));
    assert!(!page.text.contains(">Rotate<"), "{}", page.text);
    let csrf = ann.get("/account").await.csrf();
    let fields = [("csrf", csrf.as_str()), ("name", "x"), ("overlap", "day")];
    let rotated = ann.post(&format!("{one}/rotate"), &fields).await;
    assert_eq!(rotated.status, 403, "{}", rotated.text);
    assert_eq!(
        fill(&mut ann, &format!("{one}/revoke"), &[]).await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_user_is_told_why_there_is_nothing_to_do() {
    let house = House::start().await;
    house.signed_in().await;
    let (_, mut eve) = user(&house, "eve@acme.example", Role::ReadOnly).await;
    let page = eve.get("/application-keys").await;
    assert_eq!(page.status, 403);
    assert!(page.text.contains("user_app_keys") && page.text.contains("role=\"alert\""));
    assert!(!page.text.contains(">Create Application Key<"));
    assert_eq!(eve.get("/api-keys").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_makes_keys_for_service_accounts() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    let request = Request::CreateServiceAccount {
        org: house.org.clone(),
        name: "ci <i>".to_owned(),
        email: None,
        role: Role::Standard,
    };
    let Response::User(account) = house.perform(request).await else {
        panic!("no account")
    };
    let path = "/application-keys/new";
    let form = ann.get(path).await;
    assert!(
        form.text.contains("ci &#60;i&#62; (service account)"),
        "{}",
        form.text
    );
    let owner = account.id.to_string();
    let fields = [
        ("name", "deploys"),
        ("owner", owner.as_str()),
        ("scope.api_keys_read", "on"),
        ("more_scopes", "metrics_read dashboards_read"),
    ];
    secret(&send(&mut ann, path, &form, &fields).await);
    let key = named(&house, KeyKind::ApplicationKey, "deploys").await;
    assert_eq!(key.owner_id, Some(account.id));
    let scopes = ["api_keys_read", "metrics_read", "dashboards_read"];
    assert_eq!(key.scopes.as_deref(), Some(&scopes.map(str::to_owned)[..]));
    let page = ann.get(&format!("/application-keys/{}", key.id)).await;
    assert!(
        page.text.contains(&format!("/service-accounts/{owner}")) && page.text.contains(">Rotate<")
    );
    assert!(
        page.text.contains(
            "id=\"scope-api_keys_read\" name=\"scope.api_keys_read\" value=\"on\" checked"
        )
    );
    assert!(page.text.contains("value=\"metrics_read dashboards_read\""));
    let by_owner = ann.get(&format!("/application-keys?owner={owner}")).await;
    assert!(by_owner.text.contains("deploys") && by_owner.text.contains("1 key"));
}
