//! What is shown of orgs and users, of who leaves, and of links. It asks nobody.

use std::io::{self, Write};
use std::process::ExitCode;

use super::connect::Output;
use super::show::{self, columns, enabled, fact, fact_if, print, secret, shown_once};
use super::show_keys;
use crate::control::{
    FoundedView, InvitationView, LinkView, OffboardingView, OrgView, Response, UserView,
};
use crate::keys::UserKind;

/// Orgs.
pub(super) fn orgs(orgs: &[OrgView], out: &mut impl Write) -> io::Result<()> {
    let rows = orgs.iter().map(|org| {
        [
            org.id.to_string(),
            org.name.clone(),
            enabled(org.disabled).to_owned(),
            org.created_at.clone(),
        ]
    });
    columns(["ID", "NAME", "STATUS", "CREATED"], rows, out)
}

/// Users.
pub(super) fn users(users: &[UserView], out: &mut impl Write) -> io::Result<()> {
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

/// What `init` made.
pub(super) fn founded(founded: &FoundedView, out: &mut impl Write) -> io::Result<()> {
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
    shown_once(out)?;
    match &founded.link {
        Some(link) => {
            writeln!(out)?;
            self::link(link, out)
        }
        None => Ok(()),
    }
}

/// An org.
pub(super) fn org(org: &OrgView, out: &mut impl Write) -> io::Result<()> {
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

/// A user.
pub(super) fn user(user: &UserView, out: &mut impl Write) -> io::Result<()> {
    let what = match user.kind {
        UserKind::Person => "user",
        UserKind::ServiceAccount => "service account",
    };
    fact(what, &user.name, out)?;
    fact("id", &user.id.to_string(), out)?;
    fact("login", &user.handle, out)?;
    fact("e-mail", &user.email, out)?;
    fact_if("title", user.title.as_deref(), out)?;
    fact("org id", &user.org_id.to_string(), out)?;
    fact("role", user.role.as_str(), out)?;
    fact("status", enabled(user.disabled), out)?;
    fact("created", &user.created_at, out)
}

/// A one-time link.
pub(super) fn link(link: &LinkView, out: &mut impl Write) -> io::Result<()> {
    let address = link.url.as_ref().unwrap_or(&link.path);
    secret("sign-in link", address, out)?;
    fact("for", &link.user.handle, out)?;
    fact("until", &link.expires_at, out)?;
    let where_ = match link.url {
        Some(_) => "Open it",
        None => "Open it at the address of the pages (control.url is not known here)",
    };
    writeln!(
        out,
        "\n{where_} once, to set a password and sign in to the pages. It is shown this once: whoever opens it first is let in."
    )
}

/// A one-time link that was made, without what opens it.
pub(super) fn invitation(invitation: &InvitationView, out: &mut impl Write) -> io::Result<()> {
    user(&invitation.user, out)?;
    fact("invited", &invitation.made_at, out)?;
    fact("until", &invitation.expires_at, out)
}

/// What ends with a user, and what is left to rotate.
pub(super) fn offboarding(leaving: &OffboardingView, out: &mut impl Write) -> io::Result<()> {
    user(&leaving.user, out)?;
    writeln!(out)?;
    if leaving.user.disabled {
        writeln!(out, "They are disabled: all that ends with them has ended.")?;
    } else {
        writeln!(out, "What ends at once:")?;
        if leaving.user.kind == UserKind::Person {
            writeln!(out, "- every session they have on the pages")?;
            writeln!(out, "- every sign-in link that was not used yet")?;
        }
        let keys = match leaving.ends.len() {
            0 => "no application key: none of theirs is active".to_owned(),
            1 => "their 1 application key, for good:".to_owned(),
            count => format!("their {count} application keys, for good:"),
        };
        writeln!(out, "- {keys}")?;
    }
    if !leaving.ends.is_empty() {
        show_keys::keys(&leaving.ends, out)?;
    }
    writeln!(out)?;
    if leaving.stays.is_empty() {
        return writeln!(
            out,
            "What stays: nothing. They made no API key or client token that is active."
        );
    }
    writeln!(
        out,
        "What stays: they made these and may know them. They stay valid: rotate them."
    )?;
    show_keys::made(&leaving.stays, out)
}

/// The same, and what was done.
pub(super) fn show_offboarding(
    leaving: &OffboardingView,
    done: Option<&Response>,
    output: Output,
) -> ExitCode {
    let code = done.map_or(ExitCode::SUCCESS, show::code);
    print(code, |out| match (output, done) {
        (Output::Table, None) => {
            offboarding(leaving, out)?;
            writeln!(out, "\nNothing was changed: give --yes to do it.")
        }
        (Output::Table, Some(done)) => {
            offboarding(leaving, out)?;
            writeln!(out, "\nDone:")?;
            show::table(done, out)
        }
        (Output::Json, done) => {
            let mut plain = Vec::new();
            if let Some(done) = done {
                show::json(done, &mut plain)?;
            }
            let done: Option<serde_json::Value> = serde_json::from_slice(&plain).ok();
            let answer = serde_json::json!({"offboarding": leaving, "done": done});
            show::put(&answer, out)
        }
    })
}
