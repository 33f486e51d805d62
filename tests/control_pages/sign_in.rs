//! Signing in: by link, by password, and all that must not let anybody in.

use std::time::{Duration, Instant};

use keygate::control::Request;

use crate::browser::Browser;
use crate::house::{
    HANDLE, House, PASSWORD, SESSION, found, is_in, set_password, sign_in, sign_in_to,
};

const MULTI: tokio::runtime::RuntimeFlavor = tokio::runtime::RuntimeFlavor::MultiThread;

#[tokio::test(flavor = "multi_thread")]
async fn a_link_sets_a_password_which_signs_in_and_out() {
    let house = House::start().await;
    let mut browser = house.browser();
    // Looked at as often as anybody likes: also by what looks through letters.
    for _ in 0..2 {
        let page = browser.get(&house.link).await;
        assert!(
            page.text.contains(HANDLE) && page.set_cookies().iter().all(|c| !c.contains(SESSION))
        );
    }
    assert_eq!(
        set_password(&mut browser, &house.link, PASSWORD)
            .await
            .leads_to(),
        "/"
    );
    assert!(is_in(&mut browser).await);

    let csrf = browser.get("/account").await.csrf();
    let page = browser.post("/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!(page.leads_to(), "/sign-in?signed_out=1");
    assert!(!browser.cookies.contains_key(SESSION) && !is_in(&mut browser).await);
    let page = browser.get("/sign-in?signed_out=1").await;
    assert!(page.text.contains("You are signed out."));

    // A form that is sent after that was not taken, and it is said.
    let page = browser.post("/api-keys/new", &[("csrf", &csrf)]).await;
    assert_eq!(page.leads_to(), "/sign-in?ended=1");
    let page = browser.get("/sign-in?ended=1").await;
    assert!(page.text.contains("Your session ended: nothing was saved."));

    let page = sign_in_to(&mut browser, HANDLE, PASSWORD, "", "/account").await;
    assert_eq!(page.leads_to(), "/account");
    assert!(is_in(&mut browser).await);
    assert_eq!(
        browser.get("/sign-in?next=/users").await.leads_to(),
        "/users"
    );

    let mut log: Vec<_> = house.audit().await;
    log.reverse();
    let of_user = log.iter().filter(|entry| entry.via == "page");
    let told: Vec<_> = of_user
        .map(|entry| {
            assert_eq!(entry.actor, house.user.to_string());
            assert_eq!(entry.address.as_deref(), Some("127.0.0.1"));
            assert!(entry.request_id.is_some());
            let how = entry
                .changes
                .first()
                .and_then(|change| change.after.clone());
            (entry.action.as_str(), how.unwrap_or_default())
        })
        .collect();
    let told: Vec<_> = told
        .iter()
        .map(|(action, how)| (*action, how.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("password.set", ""),
            ("session.opened", "one-time link"),
            ("session.ended", ""),
            ("session.opened", "password"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_is_answered_in_the_same_way() {
    let house = House::start_with(|config| config.control.sign_in_attempts = 1000).await;
    house.signed_in().await;
    let (_, _unused) = house.user("nopassword@acme.example", None).await;
    let mut said = Vec::new();
    let tries = [
        (HANDLE, "not the password", ""),
        ("nobody@acme.example", PASSWORD, ""),
        ("nopassword@acme.example", PASSWORD, ""),
        (HANDLE, PASSWORD, "another org"),
        (HANDLE, "", ""),
        ("", PASSWORD, ""),
        (HANDLE, &"x".repeat(2000), ""),
    ];
    for (handle, password, org) in tries {
        let mut browser = house.browser();
        let page = sign_in_to(&mut browser, handle, password, org, "").await;
        assert_eq!(page.status, 403, "{handle}");
        assert!(!browser.cookies.contains_key(SESSION));
        assert!(!page.text.contains(PASSWORD));
        let (_, rest) = page.text.split_once("role=\"alert\"").unwrap();
        said.push(rest.split("</div>").next().unwrap().to_owned());
    }
    assert!(said[0].contains("rong login name or password: check both"));
    assert!(said.iter().all(|sentence| *sentence == said[0]), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_login_name_costs_the_same_work_as_a_known_one() {
    assert_eq!(tokio::runtime::Handle::current().runtime_flavor(), MULTI);
    let house = House::start_with(|config| config.control.sign_in_attempts = 1000).await;
    house.signed_in().await;
    // The quickest of many, one after the other: what else the machine does only adds to it.
    let mut quickest = [Duration::MAX; 2];
    for _ in 0..12 {
        for (quickest, handle) in quickest.iter_mut().zip([HANDLE, "nobody@acme.example"]) {
            let mut browser = house.browser();
            let csrf = browser.get("/sign-in").await.csrf();
            let began = Instant::now();
            let fields = [
                ("csrf", csrf.as_str()),
                ("handle", handle),
                ("password", "not the password"),
            ];
            assert_eq!(browser.post("/sign-in", &fields).await.status, 403);
            *quickest = began.elapsed().min(*quickest);
        }
    }
    let [known, unknown] = quickest;
    assert!(
        unknown * 2 > known && known * 2 > unknown,
        "{known:?} {unknown:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_ends_soon_and_locks_nobody_else_out() {
    const GUESS: &str = "guess guess guess";
    let house = House::start_with(|config| config.control.sign_in_attempts = 1).await;
    house.signed_in().await;
    let mut guesser = Browser::from(house.address(), [127, 0, 0, 2]);
    assert_eq!(sign_in(&mut guesser, HANDLE, GUESS).await.status, 403);
    let page = sign_in(&mut guesser, HANDLE, PASSWORD).await;
    assert_eq!(page.status, 429, "also with the right password");
    let wait: u64 = page.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait) && page.text.contains("Too many attempts to sign in"));
    assert!(!guesser.cookies.contains_key(SESSION));

    // Naming others helps only so long.
    let mut named = 0;
    while sign_in(&mut guesser, &format!("user{named}@acme.example"), GUESS)
        .await
        .status
        != 429
    {
        named += 1;
        assert!(
            named < 40,
            "an address may try to sign in as anybody, one after the other"
        );
    }

    let mut ann = Browser::from(house.address(), [127, 0, 0, 3]);
    assert_eq!(sign_in(&mut ann, HANDLE, PASSWORD).await.leads_to(), "/");

    // Nobody gets other attempts by claiming to be somebody else.
    guesser
        .headers
        .push(("x-forwarded-for".to_owned(), "192.0.2.7".to_owned()));
    assert_eq!(sign_in(&mut guesser, HANDLE, PASSWORD).await.status, 429);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_the_client_is() {
    let house = House::start_with(|config| {
        config.control.sign_in_attempts = 1;
        config.listen.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    for n in 1..4 {
        let mut browser = house.browser();
        let client = format!("198.51.100.99, 192.0.2.{n}");
        browser.headers.push(("x-forwarded-for".to_owned(), client));
        assert_eq!(
            sign_in(&mut browser, HANDLE, "guess guess guess")
                .await
                .status,
            403
        );
        assert_eq!(
            sign_in(&mut browser, HANDLE, "guess guess guess")
                .await
                .status,
            429
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_works_once_in_time_and_for_whom_it_was_made() {
    let house = House::start().await;
    let minute = Duration::from_mins(1);
    let over = house.old_link(minute * 2, minute);
    let of_before = house.old_link(minute * 2, Duration::ZERO);
    let (bob, bobs) = house.user("bob@acme.example", None).await;
    let second = house.link_for(house.user).await;
    let mut browser = house.signed_in().await;

    let flipped = format!(
        "{}{}",
        &house.link[..house.link.len() - 1],
        if house.link.ends_with('0') { '1' } else { '0' }
    );
    let spent = [
        house.link.as_str(),
        // Made before the password was set.
        &second,
        &over,
        &of_before,
        &flipped,
        "/welcome/x",
        "/welcome/%2e%2e",
    ];
    for link in spent {
        let page = house.browser().get(link).await;
        assert_eq!(page.status, 410, "{link}");
        assert!(page.text.contains("ask an admin for another one"));
        let mut other = house.browser();
        let csrf = other.get("/sign-in").await.csrf();
        let fields = [
            ("csrf", csrf.as_str()),
            ("password", "some other password"),
            ("again", "some other password"),
        ];
        assert_eq!(other.post(link, &fields).await.status, 410, "{link}");
        assert!(!other.cookies.contains_key(SESSION));
    }
    assert!(is_in(&mut browser).await, "and nothing was changed");

    house.disable(bob, true).await;
    assert_eq!(house.browser().get(&bobs).await.status, 410);
    house.disable(bob, false).await;
    assert_eq!(
        house.browser().get(&bobs).await.status,
        410,
        "it does not come back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_none_leaves_the_link_as_it_is() {
    let house = House::start().await;
    let mut browser = house.browser();
    let csrf = browser.get(&house.link).await.csrf();
    let long = "x".repeat(1025);
    let tries = [
        ("short", "short", "at least 12 characters"),
        (&long, &long, "at most 1024 bytes"),
        ("one long password", "another password", "differ"),
    ];
    for (password, again, why) in tries {
        let fields = [
            ("csrf", csrf.as_str()),
            ("password", password),
            ("again", again),
        ];
        let page = browser.post(&house.link, &fields).await;
        assert_eq!(page.status, 422);
        assert!(page.text.contains(why), "{}", page.text);
        assert!(!page.text.contains(password), "no password is shown again");
    }
    assert_eq!(
        set_password(&mut browser, &house.link, PASSWORD)
            .await
            .leads_to(),
        "/"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_one_login_name_in_two_orgs_says_which() {
    let house = House::start().await;
    house.signed_in().await;
    let (_, link, _) = found(&house.app, "umbrella", HANDLE).await;
    set_password(&mut house.browser(), &link, "another long password").await;
    assert_eq!(
        sign_in(&mut house.browser(), HANDLE, PASSWORD).await.status,
        403
    );
    for (org, password) in [("acme", PASSWORD), ("umbrella", "another long password")] {
        let mut browser = house.browser();
        let page = sign_in_to(&mut browser, HANDLE, password, org, "").await;
        assert_eq!(page.leads_to(), "/");
        let page = browser.get("/account").await;
        assert!(
            page.text.contains(&format!("<span>{org}</span>")),
            "{}",
            page.text
        );
    }
    let page = sign_in_to(&mut house.browser(), HANDLE, PASSWORD, "umbrella", "").await;
    assert_eq!(page.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_leads_to_no_other_host() {
    let house = House::start().await;
    house.signed_in().await;
    for next in [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "\t//evil.example",
        "/sign-out",
        "javascript:alert(1)",
        "",
    ] {
        let page = sign_in_to(&mut house.browser(), HANDLE, PASSWORD, "acme", next).await;
        assert_eq!(page.leads_to(), "/", "{next}");
        let page = house
            .browser()
            .post(
                "/preferences",
                &[("language", "fr"), ("theme", "dark"), ("next", next)],
            )
            .await;
        assert!(
            page.leads_to().starts_with('/') && !page.leads_to().contains("evil"),
            "{next}"
        );
    }
    let mut browser = house.browser();
    browser
        .headers
        .push(("x-forwarded-host".to_owned(), "evil.example".to_owned()));
    assert_eq!(
        browser.get("/account?a=1&b=//x").await.leads_to(),
        "/sign-in?next=/account%3Fa%3D1%26b%3D//x"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_gets_a_new_password_only_by_the_old_one() {
    let house = House::start().await;
    let mut browser = house.signed_in().await;
    let mut other = house.browser();
    assert_eq!(sign_in(&mut other, HANDLE, PASSWORD).await.leads_to(), "/");
    let csrf = browser.get("/account").await.csrf();
    let new = "an even longer password";
    let wrong = [
        ("csrf", csrf.as_str()),
        ("old", "not the password"),
        ("password", new),
        ("again", new),
    ];
    let page = browser.post("/account", &wrong).await;
    assert_eq!(page.status, 422);
    assert!(page.text.contains("not your present password"));

    let before = browser.cookies[SESSION].clone();
    let right = [
        ("csrf", csrf.as_str()),
        ("old", PASSWORD),
        ("password", new),
        ("again", new),
    ];
    assert_eq!(
        browser.post("/account", &right).await.leads_to(),
        "/account?changed=1"
    );
    assert_ne!(browser.cookies[SESSION], before);
    assert!(is_in(&mut browser).await && !is_in(&mut other).await);
    assert_eq!(sign_in(&mut other, HANDLE, PASSWORD).await.status, 403);
    assert_eq!(sign_in(&mut other, HANDLE, new).await.leads_to(), "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_does_not_sign_in() {
    let house = House::start().await;
    let request = Request::CreateServiceAccount {
        org: house.org.clone(),
        name: "robot".to_owned(),
        email: None,
        role: keygate::keys::Role::Standard,
    };
    house.perform(request).await;
    assert_eq!(
        sign_in(&mut house.browser(), "robot", PASSWORD)
            .await
            .status,
        403
    );
}
