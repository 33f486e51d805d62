//! Of every operation, whoever asks: what is another org's is not there, and keys stay whose they are. Which operations there
//! are is in `permissions.md`.

use std::collections::BTreeMap;

use keygate::keys::OrgId;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::doors::{Door, ask, filled};
use crate::stage::{Stage, over_a_file, over_redis};
use crate::table::{Row, rows};

/// The placeholders that stand for ids.
const IDS: [&str; 12] = [
    "org",
    "me",
    "api_key",
    "token",
    "own",
    "others",
    "lea",
    "accounts",
    "account",
    "user",
    "admin",
    "invitation",
];

/// Every one of them, so that things of each kind are made.
const ALL: &str =
    "{org}{me}{api_key}{token}{own}{others}{lea}{accounts}{account}{user}{admin}{left}{invitation}";

const SCOPES: [&[&str]; 3] = [&["metrics_read"], &["metrics_read"], &["metrics_read"]];

async fn other_orgs_things_are_not_there(stage: Stage) {
    let (ours, theirs) = (stage.cast(SCOPES).await, stage.cast(SCOPES).await);
    let (admin, foreign) = (&ours.people["admin"], &theirs.people["admin"]);
    let theirs_all = stage.things(&theirs, foreign, ALL).await;
    let orgs = [ours.org.as_str(), theirs.org.as_str()];
    let (mut wrong, mut asked) = (Vec::new(), 0);
    let mut own = stage.things(&ours, admin, ALL).await;
    let before = stage.state(&orgs).await;
    for row in rows() {
        for door in [Door::Operations, Door::Path, Door::Page("en"), Door::Cli] {
            let template = door.of(&row);
            // What is the machine's is refused before anything is looked for, and not even sent.
            let is_machines = row.cells[1] == "operator_only" && !row.json.contains("set_org");
            if template == "-" || is_machines || (door == Door::Cli && row.cells[1] != "yes") {
                continue;
            }
            let left = "left";
            for id in IDS.into_iter().chain([left]) {
                if !template.contains(&format!("{{{id}}}")) {
                    continue;
                }
                own.insert("name", stage.name());
                let mut things = own.clone();
                things.insert(id, theirs_all[id].clone());
                let text = filled(template, &things);
                let heard = ask(&stage, door, Some(admin), &text, &things["secret"]).await;
                asked += 1;
                // A body that is about somebody else than its path is refused for that.
                let is_body_of_another = id == "me" && matches!(heard.status, 400 | 422);
                let is_404 = match door {
                    Door::Cli | Door::Machine => {
                        heard.status == 1 && heard.text.contains("not found")
                    }
                    Door::Path => heard.status == 404 || is_body_of_another,
                    Door::Operations | Door::Page(_) => heard.status == 404,
                };
                let tells = heard.text.contains(&theirs_all["email"]);
                if !is_404 || tells {
                    let status = heard.status;
                    wrong.push(format!("{}, {door:?}, {id}: {status}: {text}", row.name));
                }
            }
        }
    }
    assert!(asked > 150, "{asked}");
    assert!(
        wrong.is_empty(),
        "{} of {asked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(stage.state(&orgs).await == before, "something is different");
}

/// Whose each key is: of which org, whose, and made by whom.
async fn whose(stage: &Stage, orgs: &[&str]) -> BTreeMap<String, String> {
    let store = std::sync::Arc::clone(stage.gateway().app.keys.store());
    let orgs: Vec<OrgId> = orgs.iter().map(|org| org.parse().unwrap()).collect();
    let read = spawn_blocking(move || {
        let keys = orgs.iter().flat_map(|org| store.keys_of(*org).unwrap());
        keys.map(|key| {
            let whose = format!("{} {:?} {:?}", key.org, key.owner, key.created_by);
            (key.id.to_string(), whose)
        })
        .collect()
    });
    read.await.unwrap()
}

/// The texts of an operation, with every field in them that could name another owner.
fn moved(row: &Row, door: Door, user: &str, org: &str) -> Vec<String> {
    let text = door.of(row);
    let fields = [
        ("owner", user),
        ("owner_id", user),
        ("owned_by", user),
        ("user", user),
        ("user_id", user),
        ("created_by", user),
        ("service_account_id", user),
        ("org", org),
        ("org_id", org),
        ("org_uuid", org),
    ];
    let with = |value: &mut Value| {
        if let Some(object) = value.as_object_mut() {
            object.extend(fields.map(|(name, id)| (name.to_owned(), id.into())));
        }
    };
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    let mut texts = Vec::new();
    match door {
        Door::Operations => {
            let mut all = parsed(text).unwrap();
            with(&mut all);
            texts.push(all.to_string());
            for (name, id) in fields {
                let mut one = parsed(text).unwrap();
                one[name] = id.into();
                texts.push(one.to_string());
                let mut change = parsed(text).unwrap();
                if change["change"].is_object() {
                    change["change"][name] = id.into();
                    texts.push(change.to_string());
                }
            }
        }
        Door::Path => {
            let Some((line, body)) = text.split_once(" {\"data\":{").map(|(line, _)| {
                let body = &text[line.len() + 1..];
                (line, parsed(body).unwrap())
            }) else {
                return texts;
            };
            let mut attributes = body.clone();
            with(&mut attributes["data"]["attributes"]);
            with(&mut attributes["data"]);
            texts.push(format!("{line} {attributes}"));
            for name in [
                "owned_by",
                "created_by",
                "org",
                "user",
                "owner",
                "service_account",
            ] {
                let (kind, id) = if name == "org" {
                    ("orgs", org)
                } else {
                    ("users", user)
                };
                let mut related = body.clone();
                related["data"]["relationships"][name] = json!({"data": {"type": kind, "id": id}});
                texts.push(format!("{line} {related}"));
            }
        }
        Door::Page(_) => {
            let fields = fields.map(|(name, id)| format!("{name}={id}")).join("&");
            let has_fields = text.matches(' ').count() > 1;
            texts.push(format!(
                "{text}{}{fields}",
                if has_fields { "&" } else { " " }
            ));
        }
        Door::Cli | Door::Machine => {}
    }
    texts
}

async fn no_call_moves_a_key(stage: Stage) {
    let (ours, theirs) = (stage.cast(SCOPES).await, stage.cast(SCOPES).await);
    let (admin, foreign) = (&ours.people["admin"], &theirs.people["admin"]);
    let orgs = [ours.org.as_str(), theirs.org.as_str()];
    let theirs_before = stage.state(&orgs[1..]).await;
    let account = stage.things(&ours, admin, "{account}").await;
    let users = [
        &ours.people["standard"].id,
        &foreign.id,
        &account["account"],
    ];
    let (mut wrong, mut asked, mut done) = (Vec::new(), 0, 0);
    let mut before = whose(&stage, &orgs).await;
    for row in rows() {
        let is_of_keys = row.log.starts_with("key.") && row.cells[1] != "operator_only";
        if !is_of_keys {
            continue;
        }
        for door in [Door::Operations, Door::Path, Door::Page("en")] {
            let template = door.of(&row);
            if template == "-" {
                continue;
            }
            for user in users {
                let things = stage.things(&ours, admin, template).await;
                before.extend(whose(&stage, &orgs).await);
                for text in moved(&row, door, user, &theirs.org) {
                    let mut things = things.clone();
                    things.insert("name", stage.name());
                    things.insert("secret", format!("{:032x}", fastrand::u128(..)));
                    let text = filled(&text, &things);
                    let heard = ask(&stage, door, Some(admin), &text, "").await;
                    asked += 1;
                    done += usize::from(heard.status < 400);
                }
                let after = whose(&stage, &orgs).await;
                for (id, whose) in &after {
                    let is_moved = before.get(id).is_some_and(|was| was != whose);
                    // What is made is the caller's, or of whom the operation names.
                    let is_stray = !before.contains_key(id)
                        && (!whose.starts_with(&ours.org)
                            || (whose.contains(user.as_str()) && *user != account["account"]));
                    if is_moved || is_stray {
                        wrong.push(format!("{}, {door:?}, {user}: {whose}", row.name));
                    }
                }
                if before.keys().any(|id| !after.contains_key(id)) {
                    wrong.push(format!("{}, {door:?}, {user}: a key is gone", row.name));
                }
                before = after;
            }
        }
    }
    assert!(asked > 500 && done > 50, "{done} of {asked}");
    assert!(
        wrong.is_empty(),
        "{} of {asked}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(stage.state(&orgs[1..]).await == theirs_before);
}

#[tokio::test]
async fn other_orgs_things_are_not_there_in_a_file() {
    Box::pin(other_orgs_things_are_not_there(over_a_file().await)).await;
}

#[tokio::test]
async fn other_orgs_things_are_not_there_in_redis() {
    Box::pin(other_orgs_things_are_not_there(over_redis().await)).await;
}

#[tokio::test]
async fn no_call_moves_a_key_in_a_file() {
    Box::pin(no_call_moves_a_key(over_a_file().await)).await;
}

#[tokio::test]
async fn no_call_moves_a_key_in_redis() {
    Box::pin(no_call_moves_a_key(over_redis().await)).await;
}
