//! The answer to a management command, for people as aligned columns or for programs as JSON.

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::connect::Output;
use super::{
    EXIT_NOT_EVERYWHERE, complain, show_audit, show_explain, show_keys, show_people, show_store,
};
use crate::control::{Response, SecretText};

/// Prints the answer. The code says whether all is as it was asked for.
pub(super) fn show(response: &Response, output: Output) -> ExitCode {
    print(code(response), |out| match output {
        Output::Table => table(response, out),
        Output::Json => json(response, out),
    })
}

/// Prints what is written, and exits with this code if it could be.
pub(super) fn print(
    code: ExitCode,
    write: impl FnOnce(&mut io::StdoutLock<'static>) -> io::Result<()>,
) -> ExitCode {
    let mut out = io::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(error) => complain(
            &format!("done, but standard output cannot be written: {error}"),
            1,
        ),
    }
}

/// As JSON for programs, over several lines.
pub(super) fn put(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", escaped(&serde_json::to_string_pretty(value)?))
}

/// JSON lets the same character be written as an escape; its own line ends are the only ones that stay.
pub(super) fn escaped(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        match c {
            '\n' => text.push(c),
            c if is_unprintable(c) => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

pub(super) fn code(response: &Response) -> ExitCode {
    match response {
        Response::Receipted { receipt, .. } if !receipt.applied_everywhere => {
            ExitCode::from(EXIT_NOT_EVERYWHERE)
        }
        Response::AuditVerified(findings) if !findings.faults.is_empty() => ExitCode::FAILURE,
        Response::Verified(verified) if !verified.findings.is_good() => ExitCode::FAILURE,
        Response::Copied(copied) if !copied.faults.is_empty() => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

pub(super) fn json(response: &Response, out: &mut impl Write) -> io::Result<()> {
    match response {
        Response::Founded(founded) => put(founded, out),
        Response::Org(org) => put(org, out),
        Response::Orgs(orgs) => put(orgs, out),
        Response::User(user) => put(user, out),
        Response::Users(users) => put(users, out),
        Response::Key(key) => put(key, out),
        Response::Keys(keys) => put(keys, out),
        Response::KeyUse(view) => put(view, out),
        Response::OrgUse(view) => put(view, out),
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
        Response::Explained(explained) => put(explained, out),
        Response::Invitation(invitation) => put(invitation, out),
        Response::Audit(page) => put(page, out),
        Response::AuditVerified(findings) => put(findings, out),
        Response::Nodes(nodes) => put(nodes, out),
        Response::Status(status) => put(status, out),
        Response::Verified(verified) => put(verified, out),
        Response::Copied(copied) => put(copied, out),
        Response::RootKey(key) => put(key, out),
    }
}

pub(super) fn table(response: &Response, out: &mut impl Write) -> io::Result<()> {
    match response {
        Response::Invitation(invitation) => show_people::invitation(invitation, out),
        Response::Founded(founded) => show_people::founded(founded, out),
        Response::Org(org) => show_people::org(org, out),
        Response::Orgs(orgs) => show_people::orgs(orgs, out),
        Response::User(user) => show_people::user(user, out),
        Response::Users(users) => show_people::users(users, out),
        Response::Key(key) => show_keys::key(key, out),
        Response::Keys(keys) => show_keys::keys(keys, out),
        Response::Whoami(whoami) => show_keys::whoami(whoami, out),
        Response::Receipted { response, receipt } => {
            table(response, out)?;
            show_store::receipt(receipt, out)
        }
        Response::KeyUse(view) => show_keys::key_use(view, out),
        Response::OrgUse(view) => show_keys::org_use(view, out),
        Response::Rotated { old, new } => show_keys::rotated(old, new, out),
        Response::Offboarding(leaving) => show_people::offboarding(leaving, out),
        Response::Link(link) => show_people::link(link, out),
        Response::Explained(explained) => show_explain::explanation(explained, out),
        Response::Audit(page) => show_audit::entries(&page.entries, out),
        Response::AuditVerified(findings) => show_audit::verified(findings, out),
        Response::Nodes(nodes) => show_store::nodes(nodes, out),
        Response::Status(status) => show_store::status(status, out),
        Response::Verified(verified) => show_store::verified(verified, out),
        Response::Copied(copied) => show_store::copied(copied, out),
        Response::RootKey(key) => show_store::root_key(key, out),
    }
}

pub(super) fn none() -> String {
    "-".to_owned()
}

pub(super) const fn enabled(disabled: bool) -> &'static str {
    if disabled { "disabled" } else { "enabled" }
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

pub(super) fn secret(what: &str, secret: &SecretText, out: &mut impl Write) -> io::Result<()> {
    fact(what, secret.expose(), out)
}

pub(super) fn shown_once(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nA secret is shown this once and stored nowhere: keep it now."
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
