//! Runs the rows of `permissions.md`: each operation by everybody through every door. It knows no expectation of its own but
//! how each door says what the table says.

use std::collections::BTreeMap;

use keygate::keys::Actor;
use keygate::keys::audit::Action;
use keygate::keys::permissions::Permission;
use keygate::keys::refusal::{Language, Refusal};

use crate::doors::{Door, Heard, ask, filled};
use crate::stage::{Cast, Person, Stage};
use crate::table::{Row, WHO, rows};

/// The scopes that nothing takes that is asked with them, each where the other is taken.
const ELSEWHERE: [&str; 2] = ["audit_logs_read", "client_tokens_write"];

/// Who also asks by the command line from elsewhere: starting a program each time takes long.
const BY_COMMAND: [&str; 3] = ["admin", "standard", "other org"];
const BY_COMMAND_IN_REDIS: [&str; 1] = ["admin"];

/// Whether somebody has a permission, by role or by scopes.
type Has<'h> = &'h dyn Fn(&Permission) -> bool;

/// The sentences that may be the answer.
fn refusals(row: &Row, cell: &str, who: &Person, door: Door) -> Vec<Refusal> {
    let permission = |name: &&str| Permission::named(name).unwrap();
    let mut takes: Vec<Permission> = row.takes.iter().map(permission).collect();
    let has_role = |one: &Permission| one.is_of(who.role);
    let has_scope = |one: &Permission| {
        let scopes = who.scopes.as_ref();
        scopes.is_none_or(|scopes| scopes.iter().any(|scope| scope == one.as_str()))
    };
    let (is_met, refused): (Has, fn(Permission) -> Refusal) = match cell {
        "not_permitted" => (&has_role, |permission| Refusal::NotPermitted { permission }),
        "scope_missing" => (&has_scope, |permission| Refusal::ScopeMissing {
            permission,
        }),
        "scopes_widen" => return vec![Refusal::ScopesWiden],
        "owner_only" => return vec![Refusal::OwnerOnly],
        "operator_only" => return vec![Refusal::OperatorOnly],
        "nodes_hidden" => return vec![Refusal::NodesHidden],
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
    let makes_an_org = row.log == "*" || row.log.starts_with("org.created");
    let (before, logged) = (stage.state(&orgs).await, stage.log(&orgs).await);
    let count = if makes_an_org { stage.count().await } else { 0 };
    let heard = ask(stage, door, person, &text, &things["secret"]).await;
    let (after, log) = (stage.state(&orgs).await, stage.log(&orgs).await);

    let mut wrong = Vec::new();
    if !is_said(row, cell, person, door, &heard) {
        wrong.push(format!("heard {} {}", heard.status, cut(&heard)));
    }
    if heard.text.contains(&things["secret"]) && cell != "yes" {
        wrong.push("the secret is shown".to_owned());
    }
    let mut new: Vec<_> = log
        .iter()
        .filter(|(id, _)| logged.iter().all(|(old, _)| old != id))
        .map(|(_, entry)| entry)
        .collect();
    let actor = match person {
        Some(person) => Actor::User(person.id.parse().unwrap()),
        None => Actor::Operator,
    };
    for entry in &new {
        if entry.by.actor != actor || entry.by.via != door.via() {
            wrong.push(format!("{:?} by {:?}", entry.action, entry.by));
        }
    }
    // On the page that makes a user, a link is made, too.
    if template.starts_with("POST /users/new") {
        new.retain(|entry| entry.action != Action::LinkCreated);
    }
    let mut actions: Vec<_> = new.iter().map(|entry| entry.action.as_str()).collect();
    actions.sort_unstable();
    let is_done = cell == "yes" && row.log != "-";
    // What is new of another org is there. What opens a link is kept beside the users.
    let is_elsewhere = makes_an_org || row.log == "sign_in_link.created";
    if makes_an_org && stage.count().await != count + usize::from(is_done) {
        wrong.push("another number of orgs".to_owned());
    }
    match is_done && !is_elsewhere {
        true if before == after => wrong.push("nothing is different".to_owned()),
        false if before != after => wrong.push(difference(&before, &after)),
        true | false => {}
    }
    let logs = if is_done && !makes_an_org {
        row.log
    } else {
        "-"
    };
    let mut expected: Vec<_> = logs.split('+').filter(|action| *action != "-").collect();
    expected.sort_unstable();
    // The partition of the new org may be that of the others.
    if actions != expected && !(is_done && makes_an_org) {
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

fn doors(
    row: &Row,
    who: &str,
    cell: &str,
    person: Option<&Person>,
    by_command: &[&str],
) -> Vec<Door> {
    if who == "operator" {
        return vec![Door::Machine];
    }
    let mut doors = vec![Door::Operations, Door::Path];
    if by_command.contains(&who) {
        doors.push(Door::Cli);
    }
    if person.is_some_and(|person| person.browser.is_some()) {
        doors.push(Door::Page("en"));
        // The pages have each sentence once, whoever reads it.
        if who == "standard" && !matches!(cell, "yes" | "404" | "sign_in_failed") {
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

async fn every_row_holds(stage: Stage, by_command: &[&str]) {
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
            for door in doors(&row, who, cell, cast.people.get(who), by_command) {
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
        Box::pin(super::every_row_holds(
            over_a_file().await,
            &super::BY_COMMAND,
        ))
        .await;
    }

    #[tokio::test]
    async fn redis() {
        let asked = super::every_row_holds(over_redis().await, &super::BY_COMMAND_IN_REDIS);
        Box::pin(asked).await;
    }
}
