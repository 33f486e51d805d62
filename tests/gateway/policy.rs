//! Runs the rows of `policy.md`: makes the keys of its first table, sends the requests of the others. It knows no
//! expectation of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use keygate::config::{RouteAccess, RouteConfig};
use keygate::control::{KeyView, Request};
use keygate::keys::{Labels, Timestamp};
use serde_json::Value;

use super::explained::{differences, explain};
use super::harness::{Gateway, request, secret, until, user};

const POLICY: &str = include_str!("policy.md");
/// A secret as ours look, of no key.
const UNKNOWN: &str = "fedcba9876543210fedcba9876543210";
/// How long a key lives that is to be expired.
const SHORT_LIFE: Duration = Duration::from_millis(200);

/// A row: its line number, and its cells without their backquotes.
type Row = (usize, Vec<&'static str>);

/// The rows of the table of keys, and those of all others.
fn rows() -> (Vec<Row>, Vec<Row>) {
    let mut tables = 0_usize;
    let mut in_table = false;
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(POLICY.lines()) {
        let Some(cells) = line
            .strip_prefix("| ")
            .and_then(|line| line.strip_suffix(" |"))
        else {
            in_table &= line.starts_with("|--");
            continue;
        };
        if in_table {
            let cells: Vec<_> = cells
                .split(" | ")
                .map(|cell| cell.trim().trim_matches('`'))
                .collect();
            rows.push((number, cells));
        } else {
            tables += 1;
            in_table = true;
        }
    }
    assert_eq!(tables, POLICY.matches("\n|---|").count());
    for (number, cells) in &rows {
        assert_eq!(cells.len(), 6, "line {number}: {cells:?}");
    }
    // The table of keys comes first, and is told from the others by its names.
    let keys = rows
        .iter()
        .take_while(|(_, cells)| !cells[0].contains(' '))
        .count();
    let requests = rows.split_off(keys);
    (rows, requests)
}

fn soon() -> Timestamp {
    let at = SystemTime::now() + SHORT_LIFE;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

/// Makes the keys of the first table, and lets happen to them what it says.
async fn make_keys(gateway: &Gateway) -> BTreeMap<&'static str, KeyView> {
    let mut orgs = BTreeSet::new();
    let mut owners = BTreeSet::new();
    let mut keys = BTreeMap::new();
    let mut since = Vec::new();
    for (line, cells) in rows().0 {
        let [name, kind, org, owner, with, then] = cells[..] else {
            panic!("line {line}")
        };
        if orgs.insert(org) {
            gateway
                .perform(Request::CreateOrg {
                    name: org.to_owned(),
                })
                .await;
        }
        let email = format!("{owner}@{org}.example");
        if owner != "-" && owners.insert(email.clone()) {
            gateway.perform(user(org, &email)).await;
        }
        let list = |what: &str| -> Vec<String> {
            let given = with.strip_prefix(what).map(str::trim);
            given.map(ToOwned::to_owned).into_iter().collect()
        };
        let expires_at = (then == "expired").then(soon);
        let (org, key_name) = (org.to_owned(), name.to_owned());
        let key = gateway
            .key(match kind {
                "API key" => Request::CreateApiKey {
                    org,
                    name: key_name,
                    expires_at,
                    allowed_addresses: list("addresses ")
                        .iter()
                        .map(|net| net.parse().unwrap())
                        .collect(),
                    secret: None,
                    labels: Labels::default(),
                },
                "application key" => Request::CreateApplicationKey {
                    owner: email.clone(),
                    name: key_name,
                    expires_at,
                    scopes: list("scopes "),
                },
                "client token" => Request::CreateClientToken {
                    org,
                    name: key_name,
                    expires_at,
                    allowed_origins: list("origins "),
                },
                kind => panic!("line {line}: {kind}"),
            })
            .await;
        since.push((line, then, key.kind, key.id.to_string(), key.org_id, email));
        assert!(keys.insert(name, key).is_none(), "line {line}");
    }
    for (line, then, kind, id, org, owner) in since {
        let disable_owner = |disabled| Request::SetUserDisabled {
            user: owner.clone(),
            disabled,
        };
        match then {
            "-" | "expired" => {}
            "revoked" => {
                gateway.perform(Request::RevokeKey { kind, id }).await;
            }
            "owner disabled" => {
                gateway.perform(disable_owner(true)).await;
            }
            "owner disabled, enabled" => {
                gateway.perform(disable_owner(true)).await;
                gateway.perform(disable_owner(false)).await;
            }
            "org disabled" => {
                let org = org.to_string();
                let disabled = true;
                gateway
                    .perform(Request::SetOrgDisabled { org, disabled })
                    .await;
            }
            then => panic!("line {line}: {then}"),
        }
    }
    keys
}

/// Replaces `{name}` by secrets, then `<...>` by its percent-encoding.
fn filled(text: &str, keys: &BTreeMap<&str, KeyView>) -> String {
    let mut text = text.replace("{unknown}", UNKNOWN);
    for (name, key) in keys {
        text = text.replace(&format!("{{{name}}}"), secret(key));
    }
    let Some((before, rest)) = text.split_once('<') else {
        return text;
    };
    let (inner, after) = rest.split_once('>').unwrap();
    let encoded: String = inner
        .bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect();
    filled(&format!("{before}{encoded}{after}"), keys)
}

/// What the record must say about whose request it was.
fn attribution(cell: &str, keys: &BTreeMap<&str, KeyView>) -> [Option<String>; 4] {
    let (key, application_key) = cell.split_once(" + ").unwrap_or((cell, "-"));
    let named = |name: &str| (name != "-").then(|| &keys[name]);
    let (key, application_key) = (named(key), named(application_key));
    let of = |key: Option<&KeyView>, part: fn(&KeyView) -> Option<String>| key.and_then(part);
    let id = |key: &KeyView| Some(key.id.to_string());
    let org = |key: &KeyView| Some(key.org_id.to_string());
    let owner = |key: &KeyView| key.owner_id.map(|owner| owner.to_string());
    [
        of(key, id),
        of(application_key, id),
        of(key.or(application_key), org),
        of(application_key, owner).or(of(key, owner)),
    ]
}

/// Sends one row, and says what is not as it says.
async fn run(
    gateway: &Gateway,
    cells: &[&str],
    keys: &BTreeMap<&str, KeyView>,
) -> Result<(), String> {
    let [line, headers, status, decision, reason, attributed] = cells else {
        panic!("six cells")
    };
    let headers = filled(headers, keys);
    let headers: Vec<_> = headers
        .split(';')
        .filter(|header| *header != "-")
        .map(|header| {
            let (name, value) = header.split_once(':').unwrap();
            (name.trim(), value.trim())
        })
        .collect();
    let sent_before = gateway.intake().requests().len();
    let body: &[u8] = if line.starts_with('P') { b"{}" } else { b"" };
    let reply = gateway
        .send(request(&filled(line, keys), &headers, body))
        .await;
    let record = gateway.record_of(&reply).await;
    let seen = |field: &str| {
        record
            .get(field)
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
    };

    let mut wrong = Vec::new();
    let mut compare = |what: &str, is: Option<String>, should: Option<String>| {
        if is != should {
            wrong.push(format!("{what} is {is:?}, not {should:?}"));
        }
    };
    let text = |cell: &str| (cell != "-").then(|| cell.to_owned());
    let (status, answered_here) = match status.strip_suffix('!') {
        Some(status) => (status, true),
        None => (*status, *decision != "allowed"),
    };
    compare("status", Some(reply.status.to_string()), text(status));
    compare("decision", seen("auth.decision"), text(decision));
    let reason_seen = seen("auth.reason").or_else(|| seen("error.type"));
    compare("reason", reason_seen, text(reason));
    let fields = ["auth.key_id", "auth.app_key_id", "org.id", "user.id"];
    for (field, should) in fields.into_iter().zip(attribution(attributed, keys)) {
        compare(field, seen(field), should);
    }

    let received = gateway.intake().requests().split_off(sent_before);
    let expected = usize::from(!answered_here);
    compare(
        "requests upstream",
        Some(received.len().to_string()),
        Some(expected.to_string()),
    );
    let explained = explain(gateway, &filled(line, keys), &headers).await;
    wrong.extend(differences(&explained, &reply, &record, &received));
    let shown = format!(
        "{received:?} {record} {:?} {} {explained:?}",
        reply.headers,
        reply.text()
    );
    for (name, key) in keys {
        if shown.contains(secret(key)) {
            wrong.push(format!("the secret of {name} is in {shown}"));
        }
    }
    if shown.contains(UNKNOWN) {
        wrong.push(format!("a secret nobody has is in {shown}"));
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{}\n  {record}", wrong.join("\n  ")))
    }
}

#[tokio::test]
async fn every_row_of_the_policy_holds() {
    let gateway = Gateway::start_with(|config| {
        // Five are the rule; the table needs a few more, and one counts that came with the org.
        config.rules.api_keys_per_org_max = 20;
        let route = RouteConfig::new;
        let mut reports = route("GET", "/own/reports", RouteAccess::Api);
        reports.scope = Some("reports_read".to_owned());
        config.routes = vec![
            reports,
            route("POST", "/own/intake/*", RouteAccess::Intake),
            route("*", "/own/closed", RouteAccess::Closed),
        ];
    })
    .await;
    let keys = make_keys(&gateway).await;
    let expired = soon();
    until("the short-lived keys to expire", || {
        soon().0 > expired.0 + i64::try_from(SHORT_LIFE.as_millis()).unwrap()
    })
    .await;

    let mut wrong = Vec::new();
    let mut count = 0;
    for (line, cells) in rows().1 {
        count += 1;
        if let Err(what) = run(&gateway, &cells, &keys).await {
            wrong.push(format!(
                "policy.md:{line}: {}\n  {what}",
                cells[..2].join(" ")
            ));
        }
    }
    assert!(count > 100, "{count} rows");
    assert!(
        wrong.is_empty(),
        "{} of {count} rows do not hold:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
