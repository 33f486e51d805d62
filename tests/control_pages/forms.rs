//! Forms that another site, another session or nobody has made: none of them does anything.

use crate::house::{HANDLE, House, PASSWORD, SESSION, is_in, set_password, sign_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_not_ours_does_nothing() {
    let house = House::start().await;
    let mut ann = house.signed_in().await;
    let (_, link) = house.user("bob@acme.example", None).await;
    let mut bob = house.browser();
    set_password(&mut bob, &link, PASSWORD).await.leads_to();
    let (anns, bobs) = (
        ann.get("/account").await.csrf(),
        bob.get("/account").await.csrf(),
    );
    assert_ne!(anns, bobs);

    let own = format!("http://{}", house.address());
    let own = own.as_str();
    let tries: [(&str, Vec<(&str, &str)>); 8] = [
        ("", vec![("sec-fetch-site", "same-origin"), ("origin", own)]),
        (
            &bobs,
            vec![("sec-fetch-site", "same-origin"), ("origin", own)],
        ),
        ("0", vec![]),
        (
            &anns,
            vec![("sec-fetch-site", "cross-site"), ("origin", own)],
        ),
        (&anns, vec![("sec-fetch-site", "same-site")]),
        (&anns, vec![("origin", "http://evil.example")]),
        (&anns, vec![("origin", "null")]),
        (
            &anns,
            vec![
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://127.0.0.1"),
            ],
        ),
    ];
    for (csrf, headers) in tries {
        let page = ann
            .post_with("/sign-out", &headers, &[("csrf", csrf)])
            .await;
        assert_eq!(page.status, 403, "{csrf} {headers:?}");
        assert!(page.text.contains("This form is not from here"));
    }
    let page = ann.post_with("/sign-out", &[], &[]).await;
    assert_eq!(page.status, 403);
    let page = ann
        .send(
            "POST",
            "/sign-out",
            &[("content-type", "text/plain")],
            &format!("csrf={anns}"),
        )
        .await;
    assert_eq!(page.status, 415);
    let page = ann
        .send(
            "POST",
            "/sign-out",
            &[("content-type", "application/json")],
            "{}",
        )
        .await;
    assert_eq!(page.status, 415);
    assert!(is_in(&mut ann).await);
    // Without a word of the browser the field decides.
    assert_eq!(
        ann.post_with("/sign-out", &[], &[("csrf", &anns)])
            .await
            .status,
        303
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_signed_in_by_another_site() {
    let house = House::start().await;
    house.signed_in().await;
    let mut attacker = house.browser();
    let attackers = attacker.get("/sign-in").await.csrf();
    let mut victim = house.browser();
    victim.get("/sign-in").await;
    let fields = |csrf| [("csrf", csrf), ("handle", HANDLE), ("password", PASSWORD)];
    assert_eq!(
        victim.post("/sign-in", &fields(&attackers)).await.status,
        403
    );
    assert_eq!(
        house
            .browser()
            .post("/sign-in", &fields(&attackers))
            .await
            .status,
        403,
        "without its cookie"
    );
    let csrf = victim.get("/sign-in").await.csrf();
    let page = victim
        .post_with(
            "/sign-in",
            &[("sec-fetch-site", "cross-site")],
            &fields(&csrf),
        )
        .await;
    assert_eq!(page.status, 403);
    let page = victim
        .post_with(
            "/preferences",
            &[("origin", "http://evil.example")],
            &[("language", "fr"), ("theme", "dark")],
        )
        .await;
    assert_eq!(page.status, 403);
    assert!(!victim.cookies.contains_key(SESSION) && !victim.cookies.contains_key("keygate_theme"));
    assert_eq!(victim.post("/sign-in", &fields(&csrf)).await.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_shown_and_not_run() {
    let house = House::start().await;
    let name = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}&amp;";
    let org = "<svg/onload=alert(1)>";
    let (_, link, _) = crate::house::found(&house.app, org, "eve\"><b>@x.example").await;
    let (_, named) = house.user("bob@acme.example", Some(name)).await;
    for link in [link, named] {
        let mut browser = house.browser();
        let welcome = browser.get(&link).await;
        set_password(&mut browser, &link, PASSWORD).await.leads_to();
        let account = browser.get("/account").await;
        for page in [welcome, account] {
            assert_eq!(page.status, 200);
            for bad in ["<script>", "<img src=x", "<svg/", "\"><b>", "'><"] {
                let shown = page.text.replace("<script src=\"/assets/", "");
                assert!(
                    !shown.split("<main").nth(1).unwrap().contains(bad),
                    "{bad} in {}",
                    page.text
                );
            }
        }
    }
    let page = sign_in(&mut house.browser(), "\"><script>alert(1)</script>", "x").await;
    assert!(
        page.text.contains("&#34;&#62;&#60;script&#62;"),
        "{}",
        page.text
    );
    let page = house
        .browser()
        .get("/sign-in?next=/%22%3E%3Cscript%3E")
        .await;
    assert!(!page.text.contains("\"><script>") && page.status == 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn language_and_colours_are_chosen_without_a_script() {
    let house = House::start().await;
    let mut browser = house.browser();
    browser.headers.push((
        "accept-language".to_owned(),
        "fr-CH, fr;q=0.9, en;q=0.8".to_owned(),
    ));
    let page = browser.get("/sign-in").await;
    assert!(
        page.text
            .contains("<html lang=\"fr\" data-theme=\"system\">")
            && page.text.contains("Se connecter")
    );
    let page = sign_in(&mut browser, HANDLE, "x").await;
    assert!(page.text.contains("Identifiant ou mot de passe incorrect"));
    let wanted = [
        ("language", "en"),
        ("theme", "dark"),
        ("next", "/sign-in?next=/users"),
    ];
    assert_eq!(
        browser.post("/preferences", &wanted).await.leads_to(),
        "/sign-in?next=/users"
    );
    let page = browser.get("/sign-in").await;
    assert!(page.text.contains("<html lang=\"en\" data-theme=\"dark\">"));
    let nonsense = [("language", "<b>"), ("theme", "\"><script>"), ("next", "/")];
    assert_eq!(
        browser.post("/preferences", &nonsense).await.leads_to(),
        "/"
    );
    assert!(
        browser
            .get("/sign-in")
            .await
            .text
            .contains("<html lang=\"en\" data-theme=\"dark\">")
    );
}
