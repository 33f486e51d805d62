//! The management commands at the machine: through the control socket of a server that runs, and on the file of one that does
//! not.

use serde_json::Value;

use crate::harness::{Gateway, secret};
use crate::program::Program;

fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

/// A store without a server: an org, its admin, and the pair of both.
async fn alone() -> (tempfile::TempDir, Program, Value) {
    let folder = tempfile::tempdir().unwrap();
    let program = Program::at(folder.path());
    let founded = program
        .json(&["init", "--org", "acme", "--user", "ann@acme.example"])
        .await;
    (folder, program, founded)
}

#[tokio::test]
async fn init_says_where_to_sign_in_and_what_for() {
    let folder = tempfile::tempdir().unwrap();
    let program =
        Program::at(folder.path()).with("KEYGATE_CONTROL__URL", "https://keys.acme.example");
    let run = program.run(&["init"]).await.good();
    let link = run
        .out
        .lines()
        .find(|line| line.starts_with("sign-in link"));
    assert!(
        link.unwrap()
            .contains(" https://keys.acme.example/welcome/"),
        "{run:#?}"
    );
    assert!(
        run.out.contains("to set a password and sign in"),
        "{run:#?}"
    );

    let folder = tempfile::tempdir().unwrap();
    let founded = Program::at(folder.path()).json(&["init"]).await;
    let url = text(&founded["link"]["url"]);
    assert!(url.starts_with("http://127.0.0.1:8082/welcome/"), "{url}");
}

/// One key of each kind: the command, and its id.
async fn each_kind(program: &Program) -> [(&'static str, String); 3] {
    let org = ["--org", "acme"];
    let key = program
        .json(&[&["keys", "create", "--name", "k"], &org[..]].concat())
        .await;
    let app = program
        .json(&[
            "apps",
            "create",
            "--name",
            "k",
            "--owner",
            "ann@acme.example",
        ])
        .await;
    let token = program
        .json(&[&["tokens", "create", "--name", "k"], &org[..]].concat())
        .await;
    [("keys", key), ("apps", app), ("tokens", token)].map(|(command, key)| {
        assert!(key["secret"].is_string(), "{key}");
        (command, text(&key["id"]).to_owned())
    })
}

#[tokio::test]
async fn each_kind_of_key_is_changed_rotated_shadow_revoked_and_revoked() {
    let (_folder, program, _) = alone().await;
    for (command, id) in each_kind(&program).await {
        let update = [
            command,
            "update",
            &id,
            "--name",
            "renamed",
            "--expires-at",
            "2090-01-01T00:00:00Z",
        ];
        let changed = program.json(&update).await;
        assert_eq!(changed["name"], "renamed");
        assert_eq!(changed["expires_at"], "2090-01-01T00:00:00.000Z");
        let changed = program
            .json(&[command, "update", &id, "--never-expires"])
            .await;
        assert!(
            changed["expires_at"].is_null() && changed["name"] == "renamed",
            "{changed}"
        );

        let shadowed = program.json(&[command, "shadow-revoke", &id]).await;
        assert!(shadowed["shadow_revoked_at"].is_string(), "{shadowed}");
        let used = program.json(&[command, "usage", &id]).await;
        assert_eq!(
            (&used["uses"], &used["shadow"]["requests"]),
            (&0.into(), &0.into())
        );
        let shown = program.run(&[command, "show", &id]).await.good();
        assert!(shown.out.contains("shadow-revoked"), "{shown:#?}");
        let ended = program
            .json(&[command, "shadow-revoke", &id, "--end"])
            .await;
        assert!(ended["shadow_revoked_at"].is_null(), "{ended}");

        let rotated = program
            .json(&[command, "rotate", &id, "--overlap", "24h", "--name", "next"])
            .await;
        assert_eq!(
            (&rotated["old"]["status"], &rotated["new"]["name"]),
            (&"active".into(), &"next".into())
        );
        assert_eq!(rotated["old"]["replaced_by"], rotated["new"]["id"]);
        assert!(rotated["new"]["secret"].is_string() && rotated["old"]["secret"].is_null());
        let next = text(&rotated["new"]["id"]);
        let again = program
            .run(&[command, "rotate", next, "--no-overlap"])
            .await
            .good();
        let secrets = again
            .out
            .lines()
            .filter(|line| line.starts_with("secret "))
            .count();
        assert!(
            secrets == 1 && again.out.contains("shown this once"),
            "{again:#?}"
        );
        let gone = program.json(&[command, "show", next]).await;
        assert_eq!(gone["status"], "revoked");

        let revoked = program.json(&[command, "revoke", &id, "--wait"]).await;
        assert_eq!(revoked["status"], "revoked");
        assert_eq!(revoked["receipt"]["applied_everywhere"], true);
    }
}

#[tokio::test]
async fn what_a_key_is_for_is_narrowed_and_widened_again() {
    let (_folder, program, _) = alone().await;
    let [(_, key), (_, app), (_, token)] = each_kind(&program).await;
    for (command, id, field, narrow, wide) in [
        (
            "keys",
            &key,
            "allowed_addresses",
            ["--allow-address", "10.0.0.0/8"],
            "--any-address",
        ),
        (
            "apps",
            &app,
            "scopes",
            ["--scope", "api_keys_read"],
            "--all-scopes",
        ),
        (
            "tokens",
            &token,
            "allowed_origins",
            ["--allow-origin", "https://shop.example"],
            "--any-origin",
        ),
    ] {
        let narrowed = program
            .json(&[&[command, "update", id], &narrow[..]].concat())
            .await;
        assert_eq!(narrowed[field], serde_json::json!([narrow[1]]), "{command}");
        let widened = program.json(&[command, "update", id, wide]).await;
        let is_any = widened[field].is_null() || list(&widened[field]).is_empty();
        assert!(is_any, "{command}: {widened}");
    }
    let filed = [
        "keys",
        "update",
        &key,
        "--category",
        "agents",
        "--remote-config-read",
        "no",
    ];
    let filed = program.json(&filed).await;
    assert_eq!(
        (&filed["category"], &filed["remote_config_read"]),
        (&"agents".into(), &false.into())
    );
}

#[tokio::test]
async fn users_and_service_accounts_are_changed_invited_and_disabled() {
    let (_folder, program, _) = alone().await;
    let create = [
        "users",
        "create",
        "--org",
        "acme",
        "--email",
        "bob@acme.example",
    ];
    let bob = program.json(&create).await;
    let id = text(&bob["id"]);
    let changed = program
        .json(&[
            "users", "update", id, "--name", "Bob", "--title", "SRE", "--role", "admin",
        ])
        .await;
    assert_eq!(
        (&changed["name"], &changed["title"], &changed["role"]),
        (&"Bob".into(), &"SRE".into(), &"admin".into())
    );
    for command in ["link", "invite"] {
        let link = program.run(&["users", command, id]).await.good();
        assert!(
            link.out.contains("/welcome/") && link.out.contains("shown this once"),
            "{link:#?}"
        );
    }
    let made = [
        "audit",
        "list",
        "--action",
        "sign_in_link.created",
        "--limit",
        "1",
    ];
    let made = program.json(&made).await;
    let entry = text(&made["entries"][0]["id"]);
    let invitation = program.run(&["users", "invitation", entry]).await.good();
    assert!(invitation.out.contains("invited") && !invitation.out.contains("/welcome/"));
    let bot = program
        .json(&[
            "service-accounts",
            "create",
            "--org",
            "acme",
            "--name",
            "bot",
        ])
        .await;
    let bot = text(&bot["id"]);
    let command = |action| ["service-accounts", action, bot];
    assert_eq!(program.json(&command("show")).await["name"], "bot");
    let renamed = program
        .json(&["service-accounts", "update", bot, "--name", "robot"])
        .await;
    assert_eq!(renamed["name"], "robot");
    assert_eq!(program.json(&command("disable")).await["disabled"], true);
    assert_eq!(program.json(&command("enable")).await["disabled"], false);
}

#[tokio::test]
async fn a_leaver_is_shown_first_and_off_boarded_when_that_is_wanted() {
    let (_folder, program, _) = alone().await;
    let create = [
        "users",
        "create",
        "--org",
        "acme",
        "--email",
        "bob@acme.example",
    ];
    program.json(&create).await;
    let app = [
        "apps",
        "create",
        "--owner",
        "bob@acme.example",
        "--name",
        "ci",
    ];
    let app = program.json(&app).await;
    let (app, line) = (text(&app["id"]), ["users", "offboard", "bob@acme.example"]);

    let shown = program.run(&line).await.good();
    assert!(
        shown.out.contains(app) && shown.out.contains("Nothing was changed"),
        "{shown:#?}"
    );
    for says in [
        "What ends at once:",
        "- every session",
        "- every sign-in link",
        "- their 1 application key, for good:",
        "What stays:",
    ] {
        assert!(shown.out.contains(says), "{says}: {shown:#?}");
    }
    assert_eq!(
        program.json(&["apps", "show", app]).await["status"],
        "active"
    );

    let done = program
        .json(&[&line[..], &["--yes", "--wait"]].concat())
        .await;
    assert_eq!(done["offboarding"]["ends"][0]["id"], app);
    assert_eq!(done["done"]["disabled"], true);
    assert_eq!(done["done"]["receipt"]["applied_everywhere"], true);
    assert_eq!(
        program.json(&["apps", "show", app]).await["status"],
        "revoked"
    );
}

#[tokio::test]
async fn the_audit_log_is_listed_page_by_page_exported_and_proven() {
    let (folder, program, founded) = alone().await;
    each_kind(&program).await;
    let all = program.json(&["audit", "list", "--limit", "0"]).await;
    let entries = list(&all["entries"]);
    assert!(entries.len() > 5 && all["next"].is_null(), "{all}");
    let id = |entry: &Value| text(&entry["id"]).to_owned();
    let ids: Vec<_> = entries.iter().map(id).collect();

    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut line = vec!["audit", "list", "--limit", "2"];
        if let Some(after) = &after {
            line.extend(["--after", after]);
        }
        let page = program.json(&line).await;
        paged.extend(list(&page["entries"]).iter().map(id));
        match page["next"].as_str() {
            Some(next) if paged.len() < ids.len() => after = Some(next.to_owned()),
            _ => break,
        }
    }
    assert_eq!(paged, ids);
    let more = program.run(&["audit", "list", "--limit", "2"]).await.good();
    assert!(more.err.contains("there is more: --after "), "{more:#?}");

    let exported = program.run(&["audit", "export"]).await.good();
    let lines = exported
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    assert_eq!(lines.map(|entry| id(&entry)).collect::<Vec<_>>(), ids);
    let made = program
        .json(&[
            "audit",
            "list",
            "--action",
            "key.created",
            "--actor",
            "operator",
        ])
        .await;
    assert_eq!(list(&made["entries"]).len(), 5, "{made}");

    let heads = folder.path().join("heads.json");
    let heads = heads.to_str().unwrap();
    program
        .run(&["audit", "verify", "--save", heads])
        .await
        .good();
    program.run(&["orgs", "create", "other"]).await.good();
    program
        .run(&["audit", "verify", "--against", heads])
        .await
        .good();
    let mut saved: Value = serde_json::from_str(&std::fs::read_to_string(heads).unwrap()).unwrap();
    for head in saved.as_array_mut().unwrap() {
        head["count"] = 1_000.into();
    }
    std::fs::write(heads, saved.to_string()).unwrap();
    let shrunk = program
        .run(&["audit", "verify", "--against", heads])
        .await
        .exits(1);
    assert!(shrunk.out.contains("and had 1000 when"), "{shrunk:#?}");
    for key in ["api_key", "application_key"] {
        assert!(!exported.out.contains(text(&founded[key]["secret"])));
    }
}

#[tokio::test]
async fn a_server_that_runs_performs_what_the_file_would() {
    let gateway = Gateway::start().await;
    let acme = gateway.org("acme").await;
    let program = Program::at(gateway.folder());
    let id = acme.api_key.id.to_string();
    let renamed = program
        .json(&["keys", "update", &id, "--name", "renamed"])
        .await;
    assert_eq!(renamed["name"], "renamed");
    let wide = program.run(&["keys", "list", "--org", "acme"]).await.good();
    let heads = wide.out.lines().next().unwrap();
    for (line, column) in wide.out.lines().skip(1).zip([heads.find("LAST4").unwrap()]) {
        assert!(line[column..].starts_with(&acme.api_key.last4), "{wide:#?}");
    }
    let usage = program.run(&["orgs", "usage", "acme"]).await.good();
    assert!(usage.out.contains("renamed"), "{usage:#?}");
    for run in [wide, usage] {
        for key in [&acme.api_key, &acme.application_key, &acme.client_token] {
            assert!(!run.said().contains(secret(key)));
        }
    }
}
