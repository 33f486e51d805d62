//! A request that a record tells of: what was decided then, in words, and what would be decided about its like now. A record
//! has no secret, so that it is asked about by the ids of its keys.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::app::explain::KEY_MANAGEMENT;
use crate::cli::connect::{At, Failed, Output, config, perform};
use crate::cli::show::{self, fact, plain};
use crate::cli::{EXIT_USAGE, complain, show_explain};
use crate::config::Sink;
use crate::control::explain::{Explanation, Question};
use crate::control::{Request, Response, SecretText};
use crate::keys::{KeyId, Reason};

/// What a record says, as far as a decision goes.
#[derive(Deserialize)]
struct Seen {
    time: String,
    #[serde(rename = "http.request.method")]
    method: String,
    #[serde(rename = "http.route")]
    route: Option<String>,
    #[serde(rename = "url.path")]
    path: String,
    #[serde(rename = "http.response.status_code")]
    status: Option<u16>,
    #[serde(rename = "client.address")]
    client: Option<IpAddr>,
    #[serde(rename = "upstream.name")]
    upstream: Option<String>,
    #[serde(rename = "route.family")]
    family: Option<String>,
    #[serde(rename = "auth.decision")]
    decision: String,
    #[serde(rename = "auth.reason")]
    reason: Option<String>,
    #[serde(rename = "auth.key_id")]
    key_id: Option<KeyId>,
    #[serde(rename = "auth.key_name")]
    key_name: Option<String>,
    #[serde(rename = "auth.app_key_id")]
    application_key_id: Option<KeyId>,
    #[serde(rename = "auth.view_age_ms")]
    view_age_ms: Option<f64>,
    #[serde(rename = "org.name")]
    org_name: Option<String>,
    #[serde(rename = "user.name")]
    user_name: Option<String>,
    #[serde(rename = "error.type")]
    error: Option<String>,
}

/// What is answered.
#[derive(Serialize)]
struct Recorded {
    record: Value,
    then: Vec<String>,
    now: Option<Explanation>,
}

/// Explains the request with this id.
pub(super) fn run(at: &At, id: &str, records: Option<&Path>) -> ExitCode {
    match explain(at, id, records) {
        Ok(recorded) => show::print(ExitCode::SUCCESS, |out| match at.output {
            Output::Json => show::put(&recorded, out),
            Output::Table => table(&recorded, out),
        }),
        Err((sentence, code)) => complain(&sentence, code),
    }
}

fn explain(at: &At, id: &str, records: Option<&Path>) -> Result<Recorded, Failed> {
    let (record, count) = match records {
        Some(path) if path == Path::new("-") => find(io::stdin().lock(), id),
        Some(path) => File::open(path).and_then(|file| find(BufReader::new(file), id)),
        None => {
            let config = config(at)?;
            let path = config.record.path.filter(|_| config.record.sink == Sink::File);
            let Some(path) = path else {
                let sentence = "where are the records? Give --records FILE (- is standard input): this configuration writes none into a file";
                return Err((sentence.to_owned(), EXIT_USAGE));
            };
            File::open(path).and_then(|file| find(BufReader::new(file), id))
        }
    }
    .map_err(|error| (format!("the records cannot be read: {error}"), 1))?;
    let none = || {
        (
            "no record has this request id: is it an older file?".to_owned(),
            1,
        )
    };
    let record = record.ok_or_else(none)?;
    let seen =
        Seen::deserialize(&record).map_err(|_| ("this is no record of keygate's".to_owned(), 1))?;
    let mut then = told(&seen);
    if count > 1 {
        then.push(format!(
            "{count} records have this id, which clients may choose: this is the last one"
        ));
    }
    let now = match question(&seen) {
        None => None,
        Some(question) => {
            let question = Box::new(question);
            match perform(at, Request::Explain { question }) {
                Ok(Response::Explained(now)) => Some(*now),
                Ok(_) => None,
                Err((why, _)) => {
                    then.push(format!("what would be decided now is not known: {why}"));
                    None
                }
            }
        }
    };
    Ok(Recorded { record, then, now })
}

/// The last record with this id, and how many there are.
fn find(lines: impl BufRead, id: &str) -> io::Result<(Option<Value>, usize)> {
    let (mut last, mut count) = (None, 0);
    for line in lines.split(b'\n') {
        let line = line?;
        let Ok(record) = serde_json::from_slice::<Value>(&line) else {
            continue;
        };
        if record.get("request.id").and_then(Value::as_str) == Some(id) {
            (last, count) = (Some(record), count + 1);
        }
    }
    Ok((last, count))
}

/// What was decided then, a sentence each.
fn told(seen: &Seen) -> Vec<String> {
    let mut then = Vec::new();
    let route = match (&seen.route, &seen.family) {
        (Some(route), Some(family)) => format!("row {route}, clients of the family {family}"),
        (Some(route), None) => format!("row {route}"),
        (None, _) => "no row of the route table was for it".to_owned(),
    };
    then.push(format!(
        "{} {} at {}: {route}",
        seen.method, seen.path, seen.time
    ));
    let key = match (&seen.key_id, &seen.key_name) {
        (Some(id), Some(name)) => format!("the key \"{name}\" {id}"),
        (Some(id), None) => format!("the key {id}"),
        (None, _) if seen.reason.as_deref() == Some(Reason::NoKey.as_str()) => "no key".to_owned(),
        (None, _) if seen.decision == "none" => "no key that was looked at".to_owned(),
        (None, _) => "a key that is not known".to_owned(),
    };
    let pair = seen
        .application_key_id
        .map(|id| format!(" and the application key {id}"));
    let from = seen.client.map(|client| format!(" from {client}"));
    then.push(format!(
        "it presented {key}{}{}",
        pair.unwrap_or_default(),
        from.unwrap_or_default()
    ));
    let on_behalf = match (&seen.org_name, &seen.user_name) {
        (Some(org), Some(user)) => format!(" on behalf of {user} of the org {org}"),
        (Some(org), None) => format!(" on behalf of the org {org}"),
        (None, _) => String::new(),
    };
    let reason = Reason::ALL
        .into_iter()
        .find(|reason| Some(reason.as_str()) == seen.reason.as_deref());
    let why = match (reason, &seen.error) {
        (Some(reason), _) => format!(": {}", words(reason)),
        (None, Some(error)) => format!(": {}", error_words(error)),
        (None, None) => String::new(),
    };
    then.push(format!("decision: {}{on_behalf}{why}", seen.decision));
    if let (Some(Reason::ViewTooOld), Some(age)) = (reason, seen.view_age_ms) {
        then.push(format!(
            "the key table was in step with the store {:.1} s before",
            age / 1e3
        ));
    }
    then.push(match (seen.status, &seen.upstream) {
        (Some(status), Some(upstream)) if upstream == KEY_MANAGEMENT => {
            let answered = format!("keygate's own API was asked, and answered {status}");
            match status {
                403 => format!(
                    "{answered}: the proxy let the request pass, and the API refused it for the role of the application key's owner or the key's scopes"
                ),
                _ => answered,
            }
        }
        (Some(status), Some(upstream)) => {
            format!("the upstream {upstream} was asked, and the client was answered {status}")
        }
        (Some(status), None) => format!("keygate answered {status}"),
        (None, _) => "the client left before it was answered".to_owned(),
    });
    then
}

const fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::NoKey => "it presented no API key and no client token",
        Reason::NoApplicationKey => "it presented an API key, and no application key beside it",
        Reason::Unknown => "no key had the secret that it presented",
        Reason::Malformed => "what it presented can be no secret",
        Reason::Conflict => "it presented two different values for one credential",
        Reason::Revoked => "the key was revoked",
        Reason::Expired => "the key was expired",
        Reason::WrongKind => "keys of this kind do not reach this route",
        Reason::PairMismatch => "the API key and the application key were of two orgs",
        Reason::OwnerDisabled => "the owner of the application key was disabled",
        Reason::OrgDisabled => "the org was disabled",
        Reason::ScopeMissing => "the application key has not the scope that the route demands",
        Reason::OriginNotAllowed => "the client token is for pages of other origins",
        Reason::AddressNotAllowed => "the API key is for other client addresses",
        Reason::Closed => "no key reaches this route",
        Reason::ViewTooOld => "the key table was too old to say",
        Reason::NotLoaded => "the key table had not been loaded",
    }
}

/// Of what goes wrong apart from the decision.
fn error_words(error: &str) -> String {
    let words = match error {
        "no_route" => "nothing is at this method and path",
        "ambiguous" => "two readers could have understood the request in two ways",
        "body_too_large" => "the body was larger than the route takes",
        "body_too_slow" => "the body did not come in time",
        "upstream_refused" => "the upstream could not be reached",
        "upstream_timed_out" => "the upstream did not answer in time",
        "upstream_broke" => "the upstream broke off",
        "client_gone" => "the client left",
        other => return other.to_owned(),
    };
    words.to_owned()
}

/// The like of a recorded request, if enough is known of it.
fn question(seen: &Seen) -> Option<Question> {
    let is_known = seen.key_id.is_some() || seen.application_key_id.is_some();
    let is_whole = seen.path.starts_with('/') && !seen.path.contains("{secret}");
    let asked_without = seen.reason.as_deref() == Some(Reason::NoKey.as_str());
    if seen.method == "_OTHER" || !is_whole || !(is_known || asked_without) {
        return None;
    }
    let text = |text: &str| SecretText::new(Zeroizing::new(text.to_owned()));
    // What a row is found by beside method and path, and a record has not.
    let from_page = seen.family.as_deref() == Some("browser");
    let query = if from_page { "?ddsource=browser" } else { "" };
    let mut headers = vec![("Host".to_owned(), text("localhost"))];
    if seen.family.as_deref() == Some("logs") {
        headers.push(("DD-EVP-ORIGIN".to_owned(), text("agent")));
    }
    Some(Question {
        method: seen.method.clone(),
        target: text(&format!("{}{query}", seen.path)),
        headers,
        address: seen.client,
        key: seen.key_id,
        application_key: seen.application_key_id,
    })
}

fn table(recorded: &Recorded, out: &mut impl Write) -> io::Result<()> {
    let id = recorded.record.get("request.id").and_then(Value::as_str);
    fact("request", id.unwrap_or_default(), out)?;
    for sentence in &recorded.then {
        fact("then", sentence, out)?;
    }
    let Some(now) = &recorded.now else {
        return Ok(());
    };
    writeln!(
        out,
        "\n{}\n",
        plain(
            "The same request now, by the ids of its keys (a record has no query and no headers, such as a page's origin):"
        )
    )?;
    show_explain::explanation(now, out)
}
