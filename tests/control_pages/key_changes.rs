//! What the pages of keys say when something is refused, and how keys are changed, rotated, shadow-revoked and found. That
//! each kind is made and revoked is in `key_pages`.

use std::time::{Duration, Instant};

use keygate::keys::KeyKind;

use crate::browser::Browser;
use crate::house::House;
use crate::key_pages::{KINDS, between, fill, keys, named, secret, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_form_comes_back_as_it_was_filled_in() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    secret(&fill(&mut ann, "/api-keys/new", &[("name", "agents")]).await);
    // Fields, status, the field at fault, the sentence.
    let api = "/api-keys/new";
    let token = "/client-tokens/new";
    let app = "/application-keys/new";
    type Try = (
        &'static str,
        Vec<(&'static str, &'static str)>,
        u16,
        &'static str,
        &'static str,
    );
    let tries: [Try; 8] = [
        (
            api,
            vec![("name", " ")],
            422,
            "name",
            "A name cannot be blank",
        ),
        (
            api,
            vec![("name", "agents")],
            409,
            "name",
            "already has an active API key named &#34;agents&#34;",
        ),
        (
            api,
            vec![("name", "n"), ("expires", "2001-01-01")],
            422,
            "expires",
            "in the past",
        ),
        (
            api,
            vec![("name", "n"), ("expires", "soon")],
            422,
            "expires",
            "This is no date",
        ),
        (
            api,
            vec![("name", "n"), ("addresses", "10.0.0.0/8 nowhere")],
            422,
            "addresses",
            "&#34;nowhere&#34; is no address",
        ),
        (
            token,
            vec![("name", "n"), ("origins", "shop.example")],
            422,
            "origins",
            "An origin is scheme and host",
        ),
        (
            app,
            vec![("name", "n"), ("more_scopes", "No-Scope")],
            422,
            "more_scopes",
            "A scope is the name of a permission",
        ),
        (
            app,
            vec![
                ("name", "<script>alert(1)</script>\u{7}"),
                ("scope.api_keys_read", "on"),
            ],
            422,
            "name",
            "control characters",
        ),
    ];
    for (path, fields, status, at, says) in tries {
        let form = ann.get(path).await;
        let page = send(&mut ann, path, &form, &fields).await;
        assert_eq!(page.status, status, "{fields:?}: {}", page.text);
        let alert = between(&page.text, "role=\"alert\">", "</div>");
        assert!(
            alert.contains(says) && alert.contains(&format!("href=\"#{at}\"")),
            "{alert}"
        );
        let field = between(&page.text, &format!(" id=\"{at}\" "), ">");
        assert!(
            field.contains("aria-invalid=\"true\"") && field.contains(" wrong\""),
            "{field}"
        );
        assert!(between(&page.text, "id=\"wrong\">", "</p>").contains(says));
        for (name, value) in &fields {
            let value = value.trim().replace('<', "&#60;").replace('>', "&#62;");
            let is_there = match name.strip_prefix("scope.") {
                Some(scope) => page
                    .text
                    .contains(&format!("name=\"scope.{scope}\" value=\"on\" checked")),
                None => page.text.contains(&value),
            };
            assert!(is_there, "{name} of {fields:?} is lost: {}", page.text);
        }
        assert!(!page.text.contains("<script>alert"), "{}", page.text);
        // The same form, mended, does.
        let mended = [("name", "mended")];
        secret(&send(&mut ann, path, &page, &mended).await);
        let kind = KINDS
            .into_iter()
            .find(|(base, ..)| path.starts_with(base))
            .unwrap();
        let key = named(&house, kind.1, "mended").await;
        let one = format!("{}/{}/revoke", kind.0, key.id);
        assert_eq!(fill(&mut ann, &one, &[]).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limits_are_said_where_they_bite() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    for name in ["2", "3", "4"] {
        secret(&fill(&mut ann, "/api-keys/new", &[("name", name)]).await);
    }
    let list = ann.get("/api-keys").await;
    assert!(list.text.contains("4 of 5 API keys") && list.text.contains(">Create API key<"));
    let form = ann.get("/api-keys/new").await;
    secret(&fill(&mut ann, "/api-keys/new", &[("name", "5")]).await);
    let list = ann.get("/api-keys").await;
    assert!(list.text.contains("5 of 5 API keys") && !list.text.contains(">Create API key<"));
    assert!(
        list.text
            .contains("An org has at most 5 active API keys: revoke one"),
        "{}",
        list.text
    );
    let page = send(&mut ann, "/api-keys/new", &form, &[("name", "6")]).await;
    assert_eq!(page.status, 409);
    let alert = between(&page.text, "role=\"alert\">", "</div>");
    assert!(alert.contains("at most 5 active API keys") && page.text.contains("value=\"6\""));

    // All but one are revoked; the last one stays, and can be rotated.
    let all = keys(&house, KeyKind::ApiKey).await;
    let (last, others) = all.split_last().unwrap();
    let last = format!("/api-keys/{}", last.id);
    let before = ann.get(&format!("{last}/revoke")).await;
    for key in others {
        let page = fill(&mut ann, &format!("/api-keys/{}/revoke", key.id), &[]).await;
        assert_eq!(page.status, 200);
    }
    let page = ann.get(&format!("{last}/revoke")).await;
    assert!(
        page.text.contains("id=\"last\"") && !page.text.contains("<button class=\"button danger\"")
    );
    let refused = send(&mut ann, &format!("{last}/revoke"), &before, &[]).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    assert!(between(&refused.text, "role=\"alert\">", "</div>").contains("keeps at least 1"));
    let fields = [("name", "anew"), ("overlap", "none")];
    secret(&fill(&mut ann, &format!("{last}/rotate"), &fields).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_french_everything_is_french() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    ann.headers
        .push(("accept-language".to_owned(), "fr-CA,fr;q=0.9".to_owned()));
    for (base, button) in [
        ("/api-keys", "Créer une clé d'API"),
        ("/application-keys", "Créer une clé d'application"),
        ("/client-tokens", "Créer un jeton client"),
    ] {
        let button = button.replace('\'', "&#39;");
        let list = ann.get(base).await;
        assert!(
            list.text.contains("<html lang=\"fr\"") && list.text.contains(&button),
            "{}",
            list.text
        );
        let page = fill(&mut ann, &format!("{base}/new"), &[("name", "")]).await;
        assert_eq!(page.status, 422);
        let alert = between(&page.text, "role=\"alert\">", "</div>");
        assert!(alert.contains("Un nom ne peut pas être vide"), "{alert}");
    }
    let page = fill(&mut ann, "/client-tokens/new", &[("name", "vitrine")]).await;
    assert!(
        page.text.contains("ne sera plus jamais affiché"),
        "{}",
        page.text
    );
    let key = named(&house, KeyKind::ClientToken, "vitrine").await;
    let page = fill(&mut ann, &format!("/client-tokens/{}/revoke", key.id), &[]).await;
    assert!(
        page.text.contains("ce serveur") && page.text.contains("Révoqué"),
        "{}",
        page.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_changed_and_only_what_was_touched() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    let fields = [
        ("name", "web"),
        ("origins", "https://shop.example\r\nhttps://*.shop.example"),
    ];
    secret(&fill(&mut ann, "/client-tokens/new", &fields).await);
    let key = named(&house, KeyKind::ClientToken, "web").await;
    let one = format!("/client-tokens/{}", key.id);
    let page = ann.get(&one).await;
    let origins = between(&page.text, "name=\"origins\"", "</textarea>").to_owned();
    assert!(
        origins.contains("https://shop.example\nhttps://*.shop.example"),
        "{origins}"
    );

    // Two people with the same page: one renames, the other sets an expiry.
    let same = ("origins", "https://shop.example\r\nhttps://*.shop.example");
    let saved = send(
        &mut ann,
        &one,
        &page,
        &[("name", "shop"), ("expires", ""), same],
    )
    .await;
    assert_eq!(saved.leads_to(), format!("{one}?done=saved"));
    let there = ann.get(saved.leads_to()).await;
    assert!(there.text.contains("role=\"status\"><p>Saved.") && there.text.contains("key.changed"));
    let saved = send(
        &mut ann,
        &one,
        &there,
        &[("name", "shop"), ("expires", "2099-01-01"), same],
    )
    .await;
    assert_eq!(saved.status, 303);
    let entries = house.audit().await.len();
    let same_again = [("name", "shop"), ("expires", "2099-01-01"), same];
    assert_eq!(send(&mut ann, &one, &there, &same_again).await.status, 303);
    assert_eq!(house.audit().await.len(), entries, "nothing was changed");
    let key = named(&house, KeyKind::ClientToken, "shop").await;
    assert_eq!(key.expires_at.as_deref(), Some("2099-01-01T23:59:59.000Z"));
    assert_eq!(key.allowed_origins.len(), 2);

    let bad = send(
        &mut ann,
        &one,
        &there,
        &[("name", ""), ("expires", ""), same],
    )
    .await;
    assert_eq!(bad.status, 422);
    assert!(bad.text.contains("A name cannot be blank") && bad.text.contains("<h1>shop</h1>"));
    let freed = send(
        &mut ann,
        &one,
        &there,
        &[("name", "shop"), ("expires", ""), ("origins", "")],
    )
    .await;
    assert_eq!(freed.status, 303);
    let key = named(&house, KeyKind::ClientToken, "shop").await;
    assert_eq!((key.expires_at, key.allowed_origins.len()), (None, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_shows_how_far_it_is() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    secret(&fill(&mut ann, "/api-keys/new", &[("name", "agents")]).await);
    let old = named(&house, KeyKind::ApiKey, "agents").await;
    let one = format!("/api-keys/{}", old.id);
    let path = format!("{one}/rotate");

    // A day that is none, or has passed, is not taken for "at once".
    for (until, says) in [("", "This is no date"), ("2001-01-01", "in the past")] {
        let fields = [("name", "agents"), ("overlap", "date"), ("until", until)];
        let page = fill(&mut ann, &path, &fields).await;
        assert_eq!(page.status, 422, "{}", page.text);
        let alert = between(&page.text, "role=\"alert\">", "</div>");
        assert!(alert.contains(says) && alert.contains("#until"), "{alert}");
        assert!(
            page.text.contains("value=\"date\" required checked"),
            "{}",
            page.text
        );
    }
    let page = fill(&mut ann, &path, &[("name", "agents")]).await;
    assert_eq!(page.status, 422, "nothing chosen is not \"at once\"");

    let page = fill(&mut ann, &path, &[("name", "agents"), ("overlap", "week")]).await;
    let plain = secret(&page);
    assert!(
        page.text.contains("The old key stays valid until"),
        "{}",
        page.text
    );
    let new = named(&house, KeyKind::ApiKey, "agents").await;
    assert_ne!(new.id, old.id);
    let page = ann.get(&one).await;
    assert!(page.text.contains("agents (old)") && page.text.contains("Being replaced"));
    assert!(
        page.text.contains("no sender has it")
            && page.text.contains(&format!("/api-keys/{}", new.id))
    );
    assert!(
        page.text.contains("in 6 days") || page.text.contains("in 7 days"),
        "{}",
        page.text
    );
    assert!(page.text.contains(">Revoke<") && page.text.contains(">Shadow-revoke<"));
    assert!(!page.text.contains(&plain));

    let path = format!("/api-keys/{}/rotate", new.id);
    let page = fill(&mut ann, &path, &[("name", "agents"), ("overlap", "none")]).await;
    secret(&page);
    assert!(page.text.contains("The old key is revoked") && page.text.contains("this server"));
    let page = ann.get(&format!("/api-keys/{}", new.id)).await;
    assert!(page.text.contains("is revoked already") && page.text.contains("Replaced by"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_revocation_is_explained_made_and_taken_back() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    secret(&fill(&mut ann, "/client-tokens/new", &[("name", "web")]).await);
    let key = named(&house, KeyKind::ClientToken, "web").await;
    let (one, path) = (
        format!("/client-tokens/{}", key.id),
        format!("/client-tokens/{}/shadow", key.id),
    );
    let page = ann.get(&path).await;
    assert!(
        page.text.contains("Requests with the key still pass"),
        "{}",
        page.text
    );
    let done = send(&mut ann, &path, &page, &[("shadow", "on")]).await;
    let there = ann.get(done.leads_to()).await;
    assert!(
        there.text.contains("class=\"badge warn\">Shadow-revoked"),
        "{}",
        there.text
    );
    assert!(
        ann.get("/client-tokens")
            .await
            .text
            .contains(">Shadow-revoked<")
    );
    let page = ann.get(&path).await;
    assert!(page.text.contains("Take the shadow revocation back"));
    let done = send(&mut ann, &path, &page, &[("shadow", "off")]).await;
    let there = ann.get(done.leads_to()).await;
    assert!(there.text.contains("is taken back") && there.text.contains("key.shadow_ended"));
    assert_eq!(
        named(&house, KeyKind::ClientToken, "web")
            .await
            .shadow_revoked_at,
        None
    );
    assert!(ann.get(&one).await.text.contains(">Active<"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_sorted_and_paged() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    for number in 0..55 {
        let request = keygate::control::Request::CreateClientToken {
            org: house.org.clone(),
            name: format!("Token {number:02}"),
            expires_at: None,
            allowed_origins: Vec::new(),
        };
        house.perform(request).await;
    }
    let list = "/client-tokens";
    let rows = |text: &str| -> Vec<String> {
        let parts = text.split("<th scope=\"row\"").skip(1);
        parts
            .map(|part| {
                between(part, "\">", "</a>")
                    .rsplit('>')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    let first = ann.get(list).await;
    let names = rows(&first.text);
    assert_eq!((names.len(), names[0].as_str()), (50, "Token 00"));
    assert!(first.text.contains("Keys 1 to 50 of 55") && first.text.contains("rel=\"next\""));
    assert!(first.text.contains("aria-sort=\"ascending\""));
    let next = between(&first.text, "rel=\"next\" href=\"", "\"").replace("&#38;", "&");
    let second = ann.get(&next).await;
    assert_eq!(
        rows(&second.text),
        ["Token 50", "Token 51", "Token 52", "Token 53", "Token 54"]
    );
    assert!(second.text.contains("rel=\"prev\"") && !second.text.contains("rel=\"next\""));
    let newest = ann.get(&format!("{list}?sort=-created")).await;
    assert!(newest.text.contains("aria-sort=\"descending\""));
    let falling = ann.get(&format!("{list}?sort=-name&q=token%201")).await;
    assert_eq!(rows(&falling.text)[0], "Token 19");
    let last4 = keys(&house, KeyKind::ClientToken).await[0].last4.clone();
    let by_last4 = ann.get(&format!("{list}?q={last4}")).await;
    assert!(by_last4.text.contains(&format!("••••{last4}")));
    let none = ann
        .get(&format!("{list}?q=%3Cscript%3Ealert(1)%3C%2Fscript%3E"))
        .await;
    assert!(none.text.contains("No token is like that") && !none.text.contains("<script>alert"));
    for odd in [
        "?page=0",
        "?page=99999999999999999999",
        "?page=-1",
        "?show=x&sort=%00",
        "?q=%ff",
        "?&&=&",
    ] {
        let page = ann.get(&format!("{list}{odd}")).await;
        assert_eq!(page.status, 200, "{odd}");
        assert_eq!(rows(&page.text).is_empty(), odd == "?q=%ff", "{odd}");
    }
}

/// The page at this path, once it says all of this.
async fn once_it_says(browser: &mut Browser, path: &str, says: &[&str]) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let page = browser.get(path).await;
        if says.iter().all(|text| page.text.contains(text)) {
            return page.text;
        }
        assert!(
            Instant::now() < until,
            "{path} never says {says:?}: {}",
            page.text
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_still_uses_a_key_is_said_wherever_it_matters() {
    let house = House::start_with(|config| {
        config.store.usage_interval = Duration::from_millis(20);
    })
    .await;
    let mut ann = house.signed_in().await;
    let plain = secret(&fill(&mut ann, "/api-keys/new", &[("name", "agents")]).await);
    let key = named(&house, KeyKind::ApiKey, "agents").await;
    let one = format!("/api-keys/{}", key.id);
    let unused = ann.get(&format!("{one}/revoke")).await;
    assert!(
        unused.text.contains("it was never used") && !unused.text.contains("somebody will notice")
    );

    let mut sender = Browser::new(house.app.address);
    let headers = [
        ("dd-api-key", plain.as_str()),
        ("user-agent", "agent/7 <b>"),
    ];
    let answer = sender.send("GET", "/api/v1/validate", &headers, "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let used = ["from <code>127.0.0.1</code>", "agent/7 &#60;b&#62;"];
    for path in [
        one.clone(),
        format!("{one}/revoke"),
        format!("{one}/shadow"),
    ] {
        let text = once_it_says(&mut ann, &path, &used).await;
        assert!(!text.contains("agent/7 <b>") && !text.contains("Would have been refused"));
    }
    once_it_says(
        &mut ann,
        &format!("{one}/revoke"),
        &["somebody will notice"],
    )
    .await;
    once_it_says(&mut ann, "/api-keys", &["from 127.0.0.1"]).await;
    let picture = once_it_says(&mut ann, &one, &["<svg class=\"chart\""]).await;
    assert!(!picture.contains(" style="));

    let path = format!("{one}/shadow");
    let done = fill(&mut ann, &path, &[("shadow", "on")]).await;
    let page = ann.get(done.leads_to()).await;
    assert!(
        page.text
            .contains("<dt>Would have been refused</dt><dd>0</dd>"),
        "{}",
        page.text
    );
    let answer = sender.send("GET", "/api/v1/validate", &headers, "").await;
    assert_eq!(answer.status, 200, "a shadow-revoked key passes");
    let counted = ["<dt>Would have been refused</dt><dd>1</dd>"];
    once_it_says(&mut ann, &one, &counted).await;
    once_it_says(&mut ann, &format!("{one}/revoke"), &counted).await;
}
