//! What admins and others can do on the pages of users, service accounts, the audit log, the fleet and usage: the story of a
//! leaver, who sees and may do what, and what is not theirs to see.

use std::time::Instant;

use keygate::config::{Config, SecretValue};
use keygate::control::{Caller, Request, Response};
use keygate::keys::audit::Via;
use keygate::keys::{KeyKind, Role, UserId};

use crate::browser::Page;
use crate::harness::{Gateway, Reply, WAIT_MAX, api_key, application_key, request, secret, until};
use crate::house::{Redis, app, found};
use crate::people_scene::{Person, between, gateway, person, plain, user};

/// What the clients of these tests call themselves: it is shown to admins.
const AGENT: &str = "<img src=x onerror=alert(2)>";

async fn with_pair(gateway: &Gateway, api_key: &str, application_key: &str) -> Reply {
    let pair = [
        ("User-Agent", AGENT),
        ("DD-API-KEY", api_key),
        ("DD-APPLICATION-KEY", application_key),
    ];
    gateway
        .send(request("GET /api/v2/validate_keys", &pair, b""))
        .await
}

fn path_of(reply: &Page) -> &str {
    reply.leads_to()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaver_is_made_let_in_and_off_boarded_and_what_they_leave_is_listed() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let mut admin = Person::of(&gateway, &org.user).await;

    // A second admin, with a name that would be markup.
    let name = "Bob <script>alert(1)</script>";
    admin.page("/users/new").await;
    let fields = [
        ("name", name),
        ("email", "bob@acme.example"),
        ("title", "SRE"),
        ("role", "admin"),
    ];
    let made = admin.post("/users/new", &fields).await.text;
    assert!(!made.contains("<script>alert"), "{made}");
    let link = between(&made, "<code id=\"secret\">", "</code>").to_owned();
    let path = &link[link.find("/welcome/").unwrap()..];
    let bob = between(&made, "href=\"/users/", "\"").to_owned();
    // Shown once.
    assert!(
        !admin
            .page(&format!("/users/{bob}"))
            .await
            .contains("/welcome/")
    );

    let mut leaver = Person::by_link(&gateway, path).await;
    assert!(leaver.page("/users").await.contains("bob@acme.example"));

    // They make an API key and an application key, and use both.
    let id: UserId = bob.parse().unwrap();
    let caller = Caller::member(id, None, Via::Page);
    let mut made = Vec::new();
    for request in [
        api_key(&org.id, "agents <b>"),
        application_key(&bob, "terraform", &[]),
    ] {
        let performed = gateway.app.keys.perform(&caller, request).await.unwrap();
        let Response::Key(key) = performed.response else {
            panic!("no key")
        };
        made.push(key);
    }
    let (api, app) = (secret(&made[0]).to_owned(), secret(&made[1]).to_owned());
    assert_eq!(with_pair(&gateway, &api, &app).await.status, 200);

    // What ends and what stays is said before.
    let disable = format!("/users/{bob}/disable");
    let before = admin.page(&disable).await;
    assert!(
        before.contains("1 application key, listed below"),
        "{before}"
    );
    assert!(before.contains("terraform") && before.contains("agents &#60;b&#62;"));
    assert!(before.contains(&format!("/api-keys/{}/rotate", made[0].id)));
    let unsure = admin.post(&disable, &[]).await;
    assert_eq!(unsure.status, 422);
    assert_eq!(with_pair(&gateway, &api, &app).await.status, 200);

    let after = admin.post(&disable, &[("sure", "yes")]).await;
    assert_eq!(after.status, 200);
    let after = after.text;
    assert!(
        after.contains("In force on every node") && after.contains("this server"),
        "{after}"
    );
    assert!(after.contains("1 application key was revoked for good"));
    assert!(after.contains("What is left to do") && after.contains("agents &#60;b&#62;"));

    // At once: the session is over, the application key refused; the API key works and stays listed.
    assert!(path_of(&leaver.get("/users").await).starts_with("/sign-in"));
    assert_eq!(with_pair(&gateway, &api, &app).await.status, 403);
    assert_eq!(
        with_pair(&gateway, &api, secret(&org.application_key))
            .await
            .status,
        200
    );
    let left = admin.page(&disable).await;
    assert!(
        left.contains(&format!("/api-keys/{}/rotate", made[0].id)) && !left.contains("terraform")
    );
    assert!(!left.contains("name=\"sure\""));

    // The log tells of it, and enabling revives no key.
    let told = admin.page("/audit?action=user.disabled").await;
    let told = plain(&told);
    assert!(
        told.contains("disabled user “") && told.contains("and revoked all their application keys"),
        "{told}"
    );
    assert!(!told.contains("<script>alert"));
    let enabled = admin.post(&format!("/users/{bob}/enable"), &[]).await;
    assert_eq!(path_of(&enabled), format!("/users/{bob}?done=enabled"));
    assert!(
        admin
            .page(path_of(&enabled))
            .await
            .contains("Enabled again")
    );
    assert_eq!(with_pair(&gateway, &api, &app).await.status, 403);
    assert!(path_of(&leaver.get("/users").await).starts_with("/sign-in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_sees_and_may_do_what_it_should() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let mut ids = Vec::new();
    for (email, role) in [
        ("standard@acme.example", Role::Standard),
        ("reader@acme.example", Role::ReadOnly),
    ] {
        ids.push(user(&gateway, &org.id, email, email, role).await);
    }
    let mut admin = Person::of(&gateway, &org.user).await;
    let page = admin.page("/users").await;
    assert!(page.contains("Create user") && page.contains("Last sign-in"));
    assert!(
        page.contains("1<span class=\"sr\"> Application keys"),
        "{page}"
    );
    for own in [
        "/service-accounts",
        "/audit",
        "/usage",
        "/fleet",
        "/users/new",
    ] {
        admin.page(own).await;
    }
    for id in &ids {
        let mut other = Person::of(&gateway, id).await;
        let page = other.page("/users").await;
        assert!(page.contains(&org.user) && !page.contains("Create user"));
        assert!(!page.contains("Last sign-in") && !page.contains("href=\"/audit\""));
        let admins = other.page(&format!("/users/{}", org.user)).await;
        assert!(!admins.contains("/disable") && !admins.contains("sign-in link</button>"));
        other.page("/service-accounts").await;
        other.page("/usage").await;
        for not_theirs in [
            "/audit".to_owned(),
            "/audit/download".to_owned(),
            "/fleet".to_owned(),
            "/users/new".to_owned(),
            "/service-accounts/new".to_owned(),
            format!("/users/{}/edit", org.user),
            format!("/users/{}/disable", org.user),
        ] {
            assert_eq!(other.get(&not_theirs).await.status, 403, "{not_theirs}");
        }
        let person = [
            ("email", "x@acme.example"),
            ("name", "X"),
            ("role", "admin"),
        ];
        for (path, fields) in [
            ("/users/new".to_owned(), &person[..]),
            ("/service-accounts/new".to_owned(), &person[..]),
            (format!("/users/{}/edit", org.user), &person[..]),
            (format!("/users/{}/link", org.user), &[]),
            (format!("/users/{}/enable", org.user), &[]),
            (format!("/users/{}/disable", org.user), &[("sure", "yes")]),
            // Nor their own role.
            (format!("/users/{id}/edit"), &person[..]),
        ] {
            let reply = other.post(&path, fields).await;
            assert_eq!(reply.status, 403, "{path}: {}", reply.text);
        }
    }
    let Response::Users(users) = gateway
        .perform(Request::ListUsers {
            org: org.id.clone(),
            kind: keygate::keys::UserKind::Person,
        })
        .await
    else {
        panic!("no users")
    };
    assert_eq!(users.len(), 3);
    assert!(users.iter().all(|user| !user.disabled));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_is_said_to_be_the_last_before_and_after_trying() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let mut admin = Person::of(&gateway, &org.user).await;
    let (own, sentence) = (format!("/users/{}", org.user), "last active admin");
    for path in [own.clone(), format!("{own}/edit"), format!("{own}/disable")] {
        assert!(admin.page(&path).await.contains(sentence), "{path}");
    }
    assert!(
        !admin
            .page(&format!("{own}/disable"))
            .await
            .contains("name=\"sure\"")
    );
    let refused = admin
        .post(&format!("{own}/disable"), &[("sure", "yes")])
        .await;
    assert_eq!(refused.status, 409);
    assert!(
        refused
            .text
            .contains("An org keeps at least one active admin")
    );
    let fields = [
        ("name", "Kept &quot; name"),
        ("email", "maker@acme.example"),
        ("role", "standard"),
    ];
    let refused = admin.post(&format!("{own}/edit"), &fields).await;
    assert_eq!(refused.status, 409);
    let text = refused.text;
    assert!(text.contains("An org keeps at least one active admin"));
    // What was entered stays, as text.
    assert!(text.contains("value=\"Kept &#38;quot; name\""), "{text}");
    // With another one, disabling oneself is possible, and is the end of it here.
    user(&gateway, &org.id, "ann@acme.example", "Ann", Role::Admin).await;
    let before = admin.page(&format!("{own}/disable")).await;
    assert!(before.contains("This is you") && before.contains("name=\"sure\""));
    let after = admin
        .post(&format!("{own}/disable"), &[("sure", "yes")])
        .await;
    assert_eq!(after.status, 200, "{}", after.text);
    assert!(path_of(&admin.get("/users").await).starts_with("/sign-in"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_another_orgs_is_not_there() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let other = gateway.org("globex").await;
    let mut admin = Person::of(&gateway, &org.user).await;
    admin.page("/users").await;
    let own_name = gateway
        .perform(Request::ShowUser {
            user: org.user.clone(),
        })
        .await;
    let Response::User(own) = own_name else {
        panic!("no user")
    };
    for base in ["/users", "/service-accounts"] {
        // Nor is a login name an address.
        for id in [
            &other.user,
            "junk",
            "00000000-0000-4000-8000-000000000000",
            &own.handle,
        ] {
            for page in ["", "/edit", "/disable"] {
                let path = format!("{base}/{id}{page}");
                assert_eq!(admin.get(&path).await.status, 404, "{path}");
            }
            for act in ["/edit", "/disable", "/enable"] {
                let path = format!("{base}/{id}{act}");
                let fields = [("sure", "yes"), ("name", "x"), ("role", "admin")];
                assert_eq!(admin.post(&path, &fields).await.status, 404, "{path}");
            }
        }
    }
    assert_eq!(
        admin
            .post(&format!("/users/{}/link", other.user), &[])
            .await
            .status,
        404
    );
    assert_eq!(
        admin
            .get(&format!("/audit?actor={}", other.user))
            .await
            .status,
        404
    );
    let nothing = admin.page(&format!("/audit?object={}", other.user)).await;
    assert!(nothing.contains("No entry fits"));
    let path = format!("/usage/api-keys/{}", other.api_key.id);
    assert_eq!(admin.get(&path).await.status, 404);
    // Nodes are for the orgs that the configuration names.
    assert!(admin.page("/fleet").await.contains("single server"));
    let mut foreign = Person::of(&gateway, &other.user).await;
    let hidden = foreign.get("/fleet").await;
    assert_eq!(hidden.status, 403);
    assert!(
        hidden.text.contains("control.operator_orgs"),
        "{}",
        hidden.text
    );
    assert!(!foreign.page("/users").await.contains("href=\"/fleet\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_filtered_paged_and_downloaded() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let ann = user(&gateway, &org.id, "ann@acme.example", "Ann", Role::Admin).await;
    let caller = Caller::member(ann.parse().unwrap(), None, Via::Api);
    let rename = |name: &str| Request::UpdateKey {
        kind: KeyKind::ApiKey,
        id: org.api_key.id.to_string(),
        change: keygate::control::KeyChanges {
            name: Some(name.to_owned()),
            ..Default::default()
        },
    };
    for number in 0..60 {
        let request = rename(&format!("agents {number}"));
        gateway.app.keys.perform(&caller, request).await.unwrap();
    }
    let mut admin = Person::of(&gateway, &org.user).await;

    let first = plain(&admin.page(&format!("/audit?actor={ann}")).await);
    let telling = "renamed API key “<a href=\"/api-keys/";
    assert!(
        first.contains(telling) && first.contains("from “agents 58” to “agents 59”"),
        "{first}"
    );
    assert!(first.contains("50 entries") && !first.contains("“agents 8” to"));
    let older = between(&first, "rel=\"next\" href=\"", "\"").replace("&#38;", "&");
    let second = plain(&admin.page(&older).await);
    assert!(
        second.contains("10 entries") && second.contains("from “agents 8” to “agents 9”"),
        "{second}"
    );

    let told = plain(
        &admin
            .page("/audit?action=user.created&actor=operator")
            .await,
    );
    assert!(told.contains("the operator created user “"), "{told}");
    let told = plain(
        &admin
            .page(&format!("/audit?object={}&action=user.created", ann))
            .await,
    );
    assert!(told.contains("1 entry."), "{told}");
    let told = plain(&admin.page("/audit?until=2020-01-01T00:00").await);
    assert!(told.contains("No entry fits"));
    let told = plain(
        &admin
            .page(&format!("/audit?from=2020-01-01T00:00&actor={ann}"))
            .await,
    );
    assert!(told.contains("50 entries"));
    for (wrong, why) in [
        ("from=yesterday", "This is no time"),
        ("object=7", "This is no id"),
        ("action=key.stolen", "no such action"),
    ] {
        let reply = admin.get(&format!("/audit?{wrong}")).await;
        assert_eq!(reply.status, 422);
        assert!(reply.text.contains(why), "{wrong}");
    }
    let reply = admin
        .get("/audit?actor=%3Cscript%3Ealert(1)%3C/script%3E")
        .await;
    assert_eq!(reply.status, 404);
    assert!(!reply.text.contains("<script>alert"));

    let all = admin.get(&format!("/audit/download?actor={ann}")).await;
    assert!(
        all.header("content-type")
            .unwrap()
            .starts_with("application/x-ndjson")
    );
    assert!(
        all.header("content-disposition")
            .unwrap()
            .starts_with("attachment")
    );
    let lines: Vec<serde_json::Value> = all
        .text
        .lines()
        // The others are those of the chunks.
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 60);
    assert!(
        lines
            .iter()
            .all(|line| line["actor"] == ann.as_str() && line["via"] == "api")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn service_accounts_are_made_changed_and_given_up() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let mut admin = Person::of(&gateway, &org.user).await;
    admin.page("/service-accounts/new").await;
    let unnamed = admin
        .post("/service-accounts/new", &[("role", "standard")])
        .await;
    assert_eq!(unnamed.status, 422);
    assert!(unnamed.text.contains("A name cannot be blank"));
    let roleless = admin.post("/service-accounts/new", &[("name", "ci")]).await;
    assert!(roleless.status == 422 && roleless.text.contains("Choose a role"));
    let fields = [("name", "ci"), ("role", "standard"), ("email", "")];
    let made = admin.post("/service-accounts/new", &fields).await;
    let path = path_of(&made).split('?').next().unwrap().to_owned();
    let id = path.rsplit('/').next().unwrap().to_owned();
    let page = admin.page(&path).await;
    assert!(page.contains(&format!("/application-keys/new?owner={id}")));
    assert!(!page.contains("sign-in link</button>"));

    let key = gateway.key(application_key(&id, "deploy", &[])).await;
    let fields = [
        ("name", "ci &amp; cd"),
        ("role", "read-only"),
        ("email", ""),
    ];
    let saved = admin.post(&format!("{path}/edit"), &fields).await;
    assert_eq!(path_of(&saved), format!("{path}?done=saved"));
    assert!(
        admin
            .page(path_of(&saved))
            .await
            .contains("<h1>ci &#38;amp; cd</h1>")
    );

    let before = admin.page(&format!("{path}/disable")).await;
    assert!(before.contains("deploy") && !before.contains("Every session"));
    let after = admin
        .post(&format!("{path}/disable"), &[("sure", "yes")])
        .await;
    assert_eq!(after.status, 200);
    let refused = with_pair(&gateway, secret(&org.api_key), secret(&key)).await;
    assert_eq!(refused.status, 403);
    assert!(admin.page("/service-accounts").await.contains("Disabled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_speak_french_to_those_who_do() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let mut admin = Person::of(&gateway, &org.user).await.speaking("fr");
    for (path, words) in [
        ("/users".to_owned(), "Créer un utilisateur"),
        ("/users/new".to_owned(), "Lecture seule"),
        (format!("/users/{}", org.user), "Ce que permet ce rôle"),
        (
            format!("/users/{}/disable", org.user),
            "Ce qui prend fin aussitôt",
        ),
        ("/service-accounts".to_owned(), "Comptes de service"),
        ("/audit".to_owned(), "a créé la clé d&#39;API"),
        ("/fleet".to_owned(), "serveur unique"),
        ("/usage".to_owned(), "Requêtes par heure"),
    ] {
        let page = admin.page(&path).await;
        let page = plain(&page);
        assert!(page.contains("<html lang=\"fr\""), "{path}");
        assert!(page.contains(words), "{path}: {page}");
    }
    let fields = [("email", "x"), ("role", "standard")];
    let refused = admin.post("/users/new", &fields).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text.contains("adresse e-mail"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keys_are_used_for_is_drawn_with_its_numbers_as_a_table() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let mut admin = Person::of(&gateway, &org.user).await;
    let idle = admin.page("/usage").await;
    assert!(idle.contains("No request was accepted yet") && !idle.contains("class=\"bar\""));
    // Keys made just now are not called unused.
    let none_unused = "Every active key was used in the last 30 days, or made since";
    assert!(idle.contains(none_unused), "{idle}");
    let shadow = Request::UpdateKey {
        kind: KeyKind::ApiKey,
        id: org.api_key.id.to_string(),
        change: keygate::control::KeyChanges {
            shadowed: Some(true),
            ..Default::default()
        },
    };
    gateway.perform(shadow).await;
    for _ in 0..3 {
        let pair = with_pair(&gateway, secret(&org.api_key), secret(&org.application_key)).await;
        assert_eq!(pair.status, 200);
    }
    let is_written = || {
        let show = Request::ShowKeyUse {
            kind: KeyKind::ApiKey,
            id: org.api_key.id.to_string(),
        };
        let shown = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(gateway.perform(show))
        });
        matches!(shown, Response::KeyUse(uses) if uses.uses == 3)
    };
    until("three uses written down", is_written).await;
    let used = admin.page("/usage").await;
    assert!(used.contains("<rect class=\"bar\"") && used.contains("Most used keys"));
    assert!(used.contains("<caption class=\"sr\">Requests per hour, last 24 hours</caption>"));
    assert!(used.contains(none_unused), "{used}");
    // Three requests with a pair are three, though both keys have them.
    assert!(
        used.contains("3 in all;") && !used.contains("6 in all;"),
        "{used}"
    );
    assert!(used.contains("The requests of 1 key pass") && used.contains("127.0.0.1"));
    let key = admin
        .page(&format!("/usage/api-keys/{}", org.api_key.id))
        .await;
    assert!(key.contains("3 requests were accepted with it") && key.contains("Who would break"));
    for page in [&used, &key] {
        assert!(
            page.contains("img src=x") && !page.contains("<img src=x"),
            "{page}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_without_the_proof_of_its_session_changes_nothing() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let bob = user(&gateway, &org.id, "bob@acme.example", "Bob", Role::Standard).await;
    let mut admin = Person::of(&gateway, &org.user).await;
    let path = format!("/users/{bob}/disable");
    for proof in [
        "",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let reply = admin.post_with(&path, &[("sure", "yes")], proof).await;
        assert_eq!(reply.status, 403);
    }
    let Response::User(user) = gateway.perform(Request::ShowUser { user: bob }).await else {
        panic!("no user")
    };
    assert!(!user.disabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_fleet_a_leaver_is_receipted_node_by_node_and_its_nodes_are_shown() {
    let redis = Redis::start().await;
    let shared = |node: &'static str| {
        let port = redis.port;
        move |config: &mut Config| {
            let url = format!("redis://127.0.0.1:{port}");
            config.store.redis.servers = vec![url.parse().unwrap()];
            config.store.root_key = Some(SecretValue::new("ab".repeat(32)));
            config.store.redis.node_name = Some(node.to_owned());
            config.control.operator_orgs = vec!["acme".to_owned()];
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let url = "http://127.0.0.1:9".parse().unwrap();
    let mut maker = Config::with_default_upstream(url, folder.path().to_path_buf());
    shared("maker")(&mut maker);
    let made = tokio::task::spawn_blocking(move || {
        keygate::store::open(&maker.store, &maker.rules, true).unwrap()
    });
    let _kept = made.await.unwrap();
    let (one, _folder_of_one) = app(shared("node-one")).await;
    let (_two, _folder_of_two) = app(shared("node-two")).await;
    let (org, link, _) = found(&one, "acme", "ann@acme.example").await;
    let created = one.keys.operate(person(&org, "bob@acme.example")).await;
    let Response::User(bob) = created.unwrap() else {
        panic!("no user")
    };
    let mut admin = Person::at(one.control.unwrap(), &link).await;

    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let page = plain(&admin.page("/fleet").await);
        if page.contains("2 of 2 nodes report.") {
            assert!(
                page.contains("node-one") && page.contains("node-two"),
                "{page}"
            );
            break;
        }
        assert!(Instant::now() < deadline, "{page}");
    }
    let path = format!("/users/{}/disable", bob.id);
    let after = admin.post(&path, &[("sure", "yes")]).await;
    assert_eq!(after.status, 200, "{}", after.text);
    let text = plain(&after.text);
    assert!(text.contains("In force on every node that runs."), "{text}");
    let rows = text.matches(">Applied</td>").count();
    assert!(
        rows == 2 && text.contains("node-one") && text.contains("node-two"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_plain_html_with_one_heading_and_a_label_for_every_field() {
    let gateway = gateway().await;
    let org = gateway.org("acme").await;
    let ann = user(&gateway, &org.id, "ann@acme.example", "Ann", Role::Admin).await;
    let mut admin = Person::of(&gateway, &org.user).await;
    for path in [
        "/users".to_owned(),
        "/users/new".to_owned(),
        format!("/users/{ann}"),
        format!("/users/{ann}/edit"),
        format!("/users/{ann}/disable"),
        "/service-accounts".to_owned(),
        "/service-accounts/new".to_owned(),
        "/audit".to_owned(),
        "/audit?from=never".to_owned(),
        "/fleet".to_owned(),
        "/usage".to_owned(),
        format!("/usage/api-keys/{}", org.api_key.id),
    ] {
        let page = admin.get(&path).await.text;
        assert_eq!(page.matches("<h1").count(), 1, "{path}");
        for never in [
            "style=",
            "onclick",
            "<script>",
            "http://",
            "https://",
            "javascript:",
        ] {
            assert!(!page.contains(never), "{never} in {path}");
        }
        for element in ["<input ", "<select "] {
            for rest in page.split(element).skip(1) {
                let tag = rest.split('>').next().unwrap();
                if !tag.contains("type=\"hidden\"") {
                    let id = between(tag, "id=\"", "\"");
                    let label = format!("<label for=\"{id}\"");
                    assert!(page.contains(&label), "no {label} in {path}");
                }
            }
        }
        for rest in page.split("<table").skip(1) {
            let table = rest.split("</table>").next().unwrap();
            assert!(
                table.contains("<caption") && table.contains("scope=\"col\""),
                "{path}"
            );
        }
        for form in page.split("method=\"post\"").skip(1) {
            let form = form.split("</form>").next().unwrap();
            let is_proved = form.contains("name=\"csrf\"") || form.contains("name=\"theme\"");
            assert!(is_proved, "a form without proof in {path}: {form}");
        }
    }
}
