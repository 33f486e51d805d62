//! The answer to a management command, for people as aligned columns or for programs as JSON.

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::connect::Output;
use super::{EXIT_NOT_EVERYWHERE, complain, show_store};
use crate::control::{
    FoundedView, KeyStatus, KeyView, OrgView, Response, SecretText, UserView, Whoami,
};
use crate::keys::UserKind;

/// Prints the answer. The code says whether all is as it was asked for.
pub(super) fn show(response: &Response, output: Output) -> ExitCode {
    let mut out = io::stdout().lock();
    let shown = match output {
        Output::Table => table(response, &mut out),
        Output::Json => json(response, &mut out),
    };
    match shown.and_then(|()| out.flush()) {
        Ok(()) => code(response),
        Err(error) => complain(
            &format!("done, but standard output cannot be written: {error}"),
            1,
        ),
    }
}

fn code(response: &Response) -> ExitCode {
    match response {
        Response::Receipted { receipt, .. } if !receipt.applied_everywhere => {
            ExitCode::from(EXIT_NOT_EVERYWHERE)
        }
        Response::Verified(verified) if !verified.findings.is_good() => ExitCode::FAILURE,
        Response::Copied(copied) if !copied.faults.is_empty() => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn json(response: &Response, out: &mut impl Write) -> io::Result<()> {
    fn put(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
        // JSON lets the same character be written as an escape; its own line ends are the only ones that stay.
        let mut text = String::new();
        for c in serde_json::to_string_pretty(value)?.chars() {
            match c {
                '\n' => text.push(c),
                c if is_unprintable(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
                c => text.push(c),
            }
        }
        writeln!(out, "{text}")
    }
    match response {
        Response::Founded(founded) => put(founded, out),
        Response::Org(org) => put(org, out),
        Response::Orgs(orgs) => put(orgs, out),
        Response::User(user) => put(user, out),
        Response::Users(users) => put(users, out),
        Response::Key(key) => put(key, out),
        Response::Keys(keys) => put(keys, out),
        Response::Whoami(whoami) => put(whoami, out),
        Response::Receipted { response, receipt } => {
            // As the answer without a receipt, and the receipt in it.
            let mut plain = Vec::new();
            json(response, &mut plain)?;
            let mut answer: serde_json::Value = serde_json::from_slice(&plain)?;
            if let Some(fields) = answer.as_object_mut() {
                fields.insert("receipt".to_owned(), serde_json::to_value(receipt)?);
            }
            put(&answer, out)
        }
        Response::Rotated { old, new } => put(&serde_json::json!({"old": old, "new": new}), out),
        Response::Offboarding(view) => put(view, out),
        Response::Link(link) => put(link, out),
        Response::Audit(page) => put(page, out),
        Response::AuditVerified(findings) => put(findings, out),
        Response::Nodes(nodes) => put(nodes, out),
        Response::Status(status) => put(status, out),
        Response::Verified(verified) => put(verified, out),
        Response::Copied(copied) => put(copied, out),
        Response::RootKey(key) => put(key, out),
    }
}

fn table(response: &Response, out: &mut impl Write) -> io::Result<()> {
    match response {
        Response::Founded(founded) => one_founded(founded, out),
        Response::Org(org) => one_org(org, out),
        Response::Orgs(orgs) => {
            let rows = orgs.iter().map(|org| {
                let status = enabled(org.disabled);
                [
                    org.id.to_string(),
                    org.name.clone(),
                    status.to_owned(),
                    org.created_at.clone(),
                ]
            });
            columns(["ID", "NAME", "STATUS", "CREATED"], rows, out)
        }
        Response::User(user) => one_user(user, out),
        Response::Users(users) => {
            let rows = users.iter().map(|user| {
                [
                    user.id.to_string(),
                    user.name.clone(),
                    user.handle.clone(),
                    user.role.as_str().to_owned(),
                    enabled(user.disabled).to_owned(),
                    user.created_at.clone(),
                ]
            });
            let heads = ["ID", "NAME", "LOGIN", "ROLE", "STATUS", "CREATED"];
            columns(heads, rows, out)
        }
        Response::Key(key) => one_key(key, out),
        Response::Keys(keys) => {
            let rows = keys.iter().map(|key| {
                [
                    key.id.to_string(),
                    key.name.clone(),
                    key.last4.clone(),
                    status(key.status).to_owned(),
                    key.owner_id.map_or_else(none, |owner| owner.to_string()),
                    key.created_at.clone(),
                    key.expires_at.clone().unwrap_or_else(none),
                    key.revoked_at.clone().unwrap_or_else(none),
                    last_used(key).to_owned(),
                ]
            });
            let heads = [
                "ID",
                "NAME",
                "LAST4",
                "STATUS",
                "OWNER",
                "CREATED",
                "EXPIRES",
                "REVOKED",
                "LAST USED",
            ];
            columns(heads, rows, out)
        }
        Response::Whoami(whoami) => one_whoami(whoami, out),
        Response::Receipted { response, receipt } => {
            table(response, out)?;
            show_store::receipt(receipt, out)
        }
        Response::Rotated { .. }
        | Response::Offboarding(_)
        | Response::Link(_)
        | Response::Audit(_)
        | Response::AuditVerified(_) => json(response, out),
        Response::Nodes(nodes) => show_store::nodes(nodes, out),
        Response::Status(status) => show_store::status(status, out),
        Response::Verified(verified) => show_store::verified(verified, out),
        Response::Copied(copied) => show_store::copied(copied, out),
        Response::RootKey(key) => show_store::root_key(key, out),
    }
}

fn none() -> String {
    "-".to_owned()
}

fn last_used(key: &KeyView) -> &str {
    key.last_used_at.as_deref().unwrap_or("never")
}

const fn enabled(disabled: bool) -> &'static str {
    if disabled { "disabled" } else { "enabled" }
}

const fn status(status: KeyStatus) -> &'static str {
    match status {
        KeyStatus::Active => "active",
        KeyStatus::Revoked => "revoked",
    }
}

/// Control characters, and those that change the direction of text, are of one unit of UTF-16.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text as it can be shown. Some of it is what nodes and servers say, and what somebody wrote into Redis: none of that may
/// tell the terminal what to do.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unprintable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::new();
    for c in text.chars() {
        if is_unprintable(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// As [`plain`], of what may have several lines.
pub(super) fn plain_lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

/// Rows under their heads, each column as wide as its widest cell.
pub(super) fn columns<const N: usize>(
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows.map(|row| row.map(|cell| plain(&cell).into_owned())));
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(widths) {
            text.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", text.trim_end())?;
    }
    Ok(())
}

pub(super) fn fact(what: &str, value: &str, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{what:<15} {}", plain(value))
}

pub(super) fn fact_if(what: &str, value: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    value.map_or(Ok(()), |value| fact(what, value, out))
}

fn secret(what: &str, secret: &SecretText, out: &mut impl Write) -> io::Result<()> {
    fact(what, secret.expose(), out)
}

fn shown_once(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nA secret is shown this once and stored nowhere: keep it now."
    )
}

fn one_founded(founded: &FoundedView, out: &mut impl Write) -> io::Result<()> {
    fact("org", &founded.org.name, out)?;
    fact("org id", &founded.org.id.to_string(), out)?;
    fact("user", &founded.user.handle, out)?;
    fact("user id", &founded.user.id.to_string(), out)?;
    for (what, key) in [
        ("API key", &founded.api_key),
        ("application key", &founded.application_key),
    ] {
        if let Some(text) = &key.secret {
            secret(what, text, out)?;
        }
    }
    shown_once(out)
}

fn one_org(org: &OrgView, out: &mut impl Write) -> io::Result<()> {
    fact("org", &org.name, out)?;
    fact("id", &org.id.to_string(), out)?;
    fact("status", enabled(org.disabled), out)?;
    fact("created", &org.created_at, out)?;
    match org.api_key.as_ref().and_then(|key| key.secret.as_ref()) {
        Some(text) => {
            secret("API key", text, out)?;
            shown_once(out)
        }
        None => Ok(()),
    }
}

fn one_user(user: &UserView, out: &mut impl Write) -> io::Result<()> {
    let what = match user.kind {
        UserKind::Person => "user",
        UserKind::ServiceAccount => "service account",
    };
    fact(what, &user.name, out)?;
    fact("id", &user.id.to_string(), out)?;
    fact("login", &user.handle, out)?;
    fact("org id", &user.org_id.to_string(), out)?;
    fact("role", user.role.as_str(), out)?;
    fact("status", enabled(user.disabled), out)?;
    fact("created", &user.created_at, out)
}

fn one_key(key: &KeyView, out: &mut impl Write) -> io::Result<()> {
    fact(crate::keys::rules::of(key.kind).label, &key.name, out)?;
    fact("id", &key.id.to_string(), out)?;
    fact("org id", &key.org_id.to_string(), out)?;
    let owner = key.owner_id.map(|owner| owner.to_string());
    fact_if("owner id", owner.as_deref(), out)?;
    fact("status", status(key.status), out)?;
    fact("last four", &key.last4, out)?;
    fact(
        "created",
        &format!("{} by {}", key.created_at, key.created_by),
        out,
    )?;
    if let (Some(at), Some(by)) = (&key.revoked_at, &key.revoked_by) {
        fact("revoked", &format!("{at} by {by}"), out)?;
    }
    // A key just made has nothing to tell yet.
    if key.secret.is_none() {
        fact("last used", last_used(key), out)?;
        fact("uses", &key.uses.to_string(), out)?;
    }
    fact_if("expires", key.expires_at.as_deref(), out)?;
    let scopes = key.scopes.as_ref().map(|scopes| scopes.join(" "));
    fact_if("scopes", scopes.as_deref(), out)?;
    for network in &key.allowed_addresses {
        fact("from address", &network.to_string(), out)?;
    }
    for origin in &key.allowed_origins {
        fact("from origin", origin, out)?;
    }
    match &key.secret {
        Some(text) => {
            secret("secret", text, out)?;
            shown_once(out)
        }
        None => Ok(()),
    }
}

fn one_whoami(whoami: &Whoami, out: &mut impl Write) -> io::Result<()> {
    one_key(&whoami.key, out)?;
    fact_if("org", whoami.org_name.as_deref(), out)?;
    fact_if("owner", whoami.key.owner_name.as_deref(), out)?;
    fact("may reach", &whoami.reach, out)?;
    fact(
        "accepted",
        &whoami
            .refused
            .as_ref()
            .map_or_else(|| "yes".to_owned(), |why| format!("no: {why}")),
        out,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_tells_the_terminal_what_to_do() {
        assert_eq!(plain("é ✓ \u{1f511}"), "é ✓ \u{1f511}");
        let evil = "a\u{1b}[2J\u{9b}1m\n\u{202e}b";
        let shown = "a\\u{1b}[2J\\u{9b}1m\\u{a}\\u{202e}b";
        assert_eq!(plain(evil), shown);
        assert_eq!(plain_lines("a\u{1b}\nb"), "a\\u{1b}\nb");
        let mut out = Vec::new();
        columns(["X"], [[evil.to_owned()]].into_iter(), &mut out).unwrap();
        fact("x", evil, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.matches(shown).count(), 2);
        assert_eq!(out.matches(is_unprintable).collect::<String>(), "\n\n\n");
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_blanks_at_the_end() {
        let mut out = Vec::new();
        let rows = [
            ["a".to_owned(), "é".to_owned()],
            ["long".to_owned(), String::new()],
        ];
        columns(["X", "NAME"], rows.into_iter(), &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "X     NAME\na     é\nlong\n"
        );
    }
}
