//! Runs the rows of `permissions.md`: each operation by everybody through every door. It knows no expectation of its own but
//! how each door says what the table says.

use std::collections::BTreeMap;

use keygate::keys::permissions::Permission;
use keygate::keys::refusal::{Language, Refusal};

use crate::doors::{Door, Heard, ask, filled};
use crate::stage::{Cast, Person, Stage};
use crate::table::{Row, WHO, rows};

/// The scopes that nothing takes that is asked with them, each where the other is taken.
const ELSEWHERE: [&str; 2] = ["audit_logs_read", "client_tokens_write"];

/// Who also asks by the command line from elsewhere: a program each time takes its time.
const BY_COMMAND: [&str; 3] = ["admin", "standard", "other org"];

/// The sentences that may be the answer.
fn refusals(row: &Row, cell: &str, who: &Person, door: Door) -> Vec<Refusal> {
    let permission = |name: &&str| Permission::named(name).unwrap();
    let mut takes: Vec<Permission> = row.takes.iter().map(permission).collect();
    let has_role = |one: &Permission| one.is_of(who.role);
    let has_scope = |one: &Permission| {
        let scopes = who.scopes.as_ref();
        scopes.is_none_or(|scopes| scopes.iter().any(|scope| scope == one.as_str()))
    };
    let (is_met, refused): (&dyn Fn(&Permission) -> bool, fn(Permission) -> Refusal) = match cell {
        "not_permitted" => (&has_role, |permission| Refusal::NotPermitted { permission }),
        "scope_missing" => (&has_scope, |permission| Refusal::ScopeMissing {
            permission,
        }),
        "scopes_widen" => return vec![Refusal::ScopesWiden],
        "owner_only" => return vec![Refusal::OwnerOnly],
        "operator_only" => return vec![Refusal::OperatorOnly],
        other => panic!("line {}: {other}", row.line),
    };
    takes.retain(|one| !is_met(one));
    takes.truncate(1);
    if matches!(door, Door::Path | Door::Page(_)) {
        let looks = row.looks.iter().map(permission);
        takes.extend(looks.filter(|one| !is_met(one)));
    }
    takes.into_iter().map(refused).collect()
}

/// Whether the answer is what the cell says.
fn is_said(row: &Row, cell: &str, who: Option<&Person>, door: Door, heard: &Heard) -> bool {
    let (status, text) = (heard.status, heard.text.as_str());
    let is_command = matches!(door, Door::Cli | Door::Machine);
    match (cell, door) {
        ("yes", Door::Cli | Door::Machine) => status == 0,
        ("yes", Door::Page(_)) => {
            status == 200 || (status == 303 && !heard.location.starts_with("/sign-in"))
        }
        ("yes", _) => (200..300).contains(&status),
        ("404", Door::Cli | Door::Machine) => status == 1 && text.contains("not found"),
        ("404", Door::Page(_)) => status == 404,
        ("404", _) => status == 404 && text.ends_with("not found"),
        ("sign_in_failed", Door::Page(_)) => {
            status == 303 && heard.location.starts_with("/sign-in")
        }
        ("sign_in_failed", _) => status == 403 && text == "Forbidden",
        // What is the machine's is not even sent.
        ("operator_only", Door::Cli) => {
            status == 64 && text.contains("only be done at the machine itself")
        }
        (_, Door::Page(language)) => {
            let language = match language {
                "fr" => Language::French,
                _ => Language::English,
            };
            let sentence = |refusal: &Refusal| {
                let sentence = refusal.sentence(language);
                // It begins a line there.
                text.contains(&sentence[sentence.chars().next().unwrap().len_utf8()..])
            };
            let refusals = refusals(row, cell, who.unwrap(), door);
            status == 403 && refusals.iter().any(sentence)
        }
        _ => {
            let refusals = refusals(row, cell, who.unwrap(), door);
            let mut texts = refusals.iter().map(ToString::to_string);
            match is_command {
                true => status == 1 && texts.any(|sentence| text.contains(&sentence)),
                false => status == 403 && texts.any(|sentence| sentence == text),
            }
        }
    }
}

/// Whether there is something in the text that is the org's.
fn names_a_thing(text: &str) -> bool {
    let (name, secret) = ("{name}", "{secret}");
    let text = text.replace(name, "").replace(secret, "");
    text.match_indices('{')
        .any(|(at, _)| text[at + 1..].starts_with(|next: char| next.is_ascii_lowercase()))
}

/// Asks once, and says what is not as the table says.
async fn run(
    stage: &Stage,
    cast: &Cast,
    row: &Row,
    (who, cell): (&str, &str),
    door: Door,
) -> Result<(), String> {
    let template = door.of(row);
    let person = match (who, door) {
        ("operator", _) => None,
        ("scoped", Door::Path) => cast.people.get("scoped by path"),
        _ => cast.people.get(who),
    };
    let is_stranger = cell == "404" || matches!(who, "disabled" | "operator");
    let own = person.filter(|_| !is_stranger);
    let own = own.unwrap_or(&cast.people["admin"]);
    let things = stage.things(cast, own, template).await;
    let text = filled(template, &things);
    let orgs = [cast.org.as_str(), stage.scene.rival.id.as_str()];
    let (before, logged) = (stage.state(&orgs).await, stage.log().await);
    let heard = ask(stage, door, person, &text, &things["secret"]).await;
    let (after, log) = (stage.state(&orgs).await, stage.log().await);

    let mut wrong = Vec::new();
    if !is_said(row, cell, person, door, &heard) {
        wrong.push(format!("heard {} {}", heard.status, cut(&heard)));
    }
    if heard.text.contains(&things["secret"]) && cell != "yes" {
        wrong.push("the secret is shown".to_owned());
    }
    let mut new: Vec<_> = log
        .iter()
        .filter(|entry| logged.iter().all(|old| old.id != entry.id))
        .collect();
    let actor = person.map_or("operator", |person| person.id.as_str());
    for entry in &new {
        if entry.actor != actor || entry.via != door.via() {
            wrong.push(format!(
                "{} by {} via {}",
                entry.action, entry.actor, entry.via
            ));
        }
    }
    // On the page that makes a user, a link is made, too.
    if template.starts_with("POST /users/new") {
        new.retain(|entry| entry.action != "sign_in_link.created");
    }
    let mut actions: Vec<_> = new.iter().map(|entry| entry.action.as_str()).collect();
    actions.sort_unstable();
    let is_done = cell == "yes" && row.log != "-";
    if is_done == (before == after) {
        wrong.push(match is_done {
            true => "nothing is different".to_owned(),
            false => difference(&before, &after),
        });
    }
    let logs = if is_done { row.log } else { "-" };
    let mut expected: Vec<_> = logs.split('+').filter(|action| *action != "-").collect();
    expected.sort_unstable();
    if row.log == "sign_in_link.created" || row.log == "*" {
        // What opens a link is kept beside the users.
        wrong.retain(|what| what != "nothing is different");
    }
    if actions != expected && logs != "*" {
        wrong.push(format!("logged {actions:?}"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        let line = row.line;
        Err(format!(
            "permissions.md:{line}: {}, {who}, {door:?}: not {cell}: {}\n    {text}",
            row.name,
            wrong.join("; ")
        ))
    }
}

fn cut(heard: &Heard) -> String {
    let text = match heard.text.split_once("<main") {
        Some((_, main)) => main,
        None => &heard.text,
    };
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(500)
        .collect()
}

fn difference(before: &str, after: &str) -> String {
    let new = after.lines().filter(|line| !before.contains(line));
    format!("different is {:?}", new.collect::<Vec<_>>())
}

fn doors(row: &Row, who: &str, cell: &str, person: Option<&Person>) -> Vec<Door> {
    if who == "operator" {
        return vec![Door::Machine];
    }
    let mut doors = vec![Door::Operations, Door::Path];
    if BY_COMMAND.contains(&who) {
        doors.push(Door::Cli);
    }
    if person.is_some_and(|person| person.browser.is_some()) {
        doors.push(Door::Page("en"));
        if !matches!(cell, "yes" | "404" | "sign_in_failed") {
            doors.push(Door::Page("fr"));
        }
    }
    doors.retain(|door| {
        let asked = door.of(row);
        let is_named = door == &Door::Operations || names_a_thing(asked);
        asked != "-" && (cell != "404" || is_named)
    });
    doors
}

async fn every_row_holds(stage: Stage) {
    let (mut wrong, mut count) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for row in rows() {
        let by_path = [&row.takes[..], &row.looks[..]].concat();
        let scope = |scopes: &[&'static str]| match scopes {
            [] => vec![ELSEWHERE[0]],
            scopes => scopes.to_vec(),
        };
        let elsewhere = ELSEWHERE.into_iter().find(|scope| !by_path.contains(scope));
        let (exact, by_path) = (scope(&row.takes), scope(&by_path));
        let cast = stage.cast([&exact, &by_path, &[elsewhere.unwrap()]]).await;
        for (who, cell) in WHO.into_iter().zip(row.cells.iter().copied()) {
            if cell == "-" {
                continue;
            }
            for door in doors(&row, who, cell, cast.people.get(who)) {
                *count.entry(who).or_default() += 1;
                if let Err(what) = run(&stage, &cast, &row, (who, cell), door).await {
                    wrong.push(what);
                }
            }
        }
    }
    for who in WHO {
        assert!(count[who] > 60, "{count:?}");
    }
    assert!(
        wrong.is_empty(),
        "{} of {count:?} are not as the table says:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

mod every_row_holds_on_each_store {
    use crate::stage::{over_a_file, over_redis};

    #[tokio::test]
    async fn a_file() {
        super::every_row_holds(over_a_file().await).await;
    }

    #[tokio::test]
    async fn redis() {
        super::every_row_holds(over_redis().await).await;
    }
}
