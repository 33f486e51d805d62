//! What is shown of keys and of their use. It asks nobody.

use std::io::{self, Write};

use super::show::{columns, fact, fact_if, none, plain, secret, shown_once};
use crate::control::{KeyStatus, KeyView, Whoami};
use crate::control::{KeyUseView, OrgUseView, SourceView};

fn last_used(key: &KeyView) -> &str {
    key.last_used_at.as_deref().unwrap_or("never")
}

const fn status(key: &KeyView) -> &'static str {
    match (key.status, &key.shadow_revoked_at) {
        (KeyStatus::Active, None) => "active",
        (KeyStatus::Active, Some(_)) => "shadow-revoked",
        (KeyStatus::Revoked, _) => "revoked",
    }
}

/// Keys.
pub(super) fn keys(keys: &[KeyView], out: &mut impl Write) -> io::Result<()> {
    let rows = keys.iter().map(|key| {
        [
            key.id.to_string(),
            key.name.clone(),
            key.last4.clone(),
            status(key).to_owned(),
            owner(key),
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

/// Keys of more than one kind.
pub(super) fn made(keys: &[KeyView], out: &mut impl Write) -> io::Result<()> {
    let rows = keys.iter().map(|key| {
        [
            crate::keys::rules::of(key.kind).label.to_owned(),
            key.id.to_string(),
            key.name.clone(),
            key.last4.clone(),
            last_used(key).to_owned(),
        ]
    });
    columns(["KIND", "ID", "NAME", "LAST4", "LAST USED"], rows, out)
}

fn owner(key: &KeyView) -> String {
    let id = || key.owner_id.map(|owner| owner.to_string());
    key.owner_name.clone().or_else(id).unwrap_or_else(none)
}

/// A key.
pub(super) fn key(key: &KeyView, out: &mut impl Write) -> io::Result<()> {
    fact(crate::keys::rules::of(key.kind).label, &key.name, out)?;
    fact("id", &key.id.to_string(), out)?;
    fact("org id", &key.org_id.to_string(), out)?;
    let owner = key.owner_id.map(|owner| owner.to_string());
    fact_if("owner", key.owner_name.as_deref(), out)?;
    fact_if("owner id", owner.as_deref(), out)?;
    fact("status", status(key), out)?;
    fact("last four", &key.last4, out)?;
    let by = key.created_by_name.as_ref().unwrap_or(&key.created_by);
    fact("created", &format!("{} by {by}", key.created_at), out)?;
    fact_if("category", key.category.as_deref(), out)?;
    fact_if("shadow-revoked", key.shadow_revoked_at.as_deref(), out)?;
    let next = key.replaced_by.map(|next| next.to_string());
    fact_if("replaced by", next.as_deref(), out)?;
    if let (Some(at), Some(by)) = (&key.revoked_at, &key.revoked_by) {
        fact("revoked", &format!("{at} by {by}"), out)?;
    }
    // A key just made has nothing to tell yet.
    if key.secret.is_none() {
        let from = key.last_used_from.as_deref();
        let from = from.map_or_else(String::new, |from| format!(" from {from}"));
        fact("last used", &format!("{}{from}", last_used(key)), out)?;
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

/// A key and its successor.
pub(super) fn rotated(old: &KeyView, new: &KeyView, out: &mut impl Write) -> io::Result<()> {
    key(old, out)?;
    writeln!(out, "\nIts successor:\n")?;
    key(new, out)
}

/// What a secret is.
pub(super) fn whoami(whoami: &Whoami, out: &mut impl Write) -> io::Result<()> {
    key(&whoami.key, out)?;
    fact_if("org", whoami.org_name.as_deref(), out)?;
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

fn sources(sources: &[SourceView], out: &mut impl Write) -> io::Result<()> {
    let rows = sources.iter().map(|source| {
        let agent = match source.user_agent.as_str() {
            "" => none(),
            agent => agent.to_owned(),
        };
        [
            source.address.clone(),
            source.requests.to_string(),
            source.shadow_requests.to_string(),
            source.first_used_at.clone(),
            source.last_used_at.clone(),
            agent,
        ]
    });
    let heads = [
        "ADDRESS",
        "REQUESTS",
        "SHADOW",
        "FIRST",
        "LAST",
        "USER AGENT",
    ];
    columns(heads, rows, out)
}

/// Who uses a key.
pub(super) fn key_use(view: &KeyUseView, out: &mut impl Write) -> io::Result<()> {
    key(&view.key, out)?;
    if let Some(shadow) = &view.shadow {
        writeln!(
            out,
            "\n{} requests passed since it was shadow-revoked at {}, and would not if it were revoked.",
            shadow.requests, shadow.since
        )?;
    }
    if !view.sources.is_empty() {
        writeln!(out, "\nThe last it was used from:")?;
        sources(&view.sources, out)?;
    }
    for (what, buckets) in [("hour", &view.by_hour), ("day", &view.by_day)] {
        let used: Vec<_> = buckets.iter().filter(|it| it.requests > 0).collect();
        if !used.is_empty() {
            writeln!(out, "\nBy {what} (UTC), those without a request left out:")?;
            let rows = used
                .iter()
                .map(|it| [it.from.clone(), it.requests.to_string()]);
            columns(["FROM", "REQUESTS"], rows, out)?;
        }
    }
    Ok(())
}

/// How often the keys of an org were used of late.
pub(super) fn org_use(view: &OrgUseView, out: &mut impl Write) -> io::Result<()> {
    let rows = view.keys.iter().map(|of_key| {
        let key = &of_key.key;
        [
            crate::keys::rules::of(key.kind).label.to_owned(),
            key.id.to_string(),
            key.name.clone(),
            status(key).to_owned(),
            of_key.last_24_hours.to_string(),
            of_key.last_30_days.to_string(),
            last_used(key).to_owned(),
            key.last_used_from.clone().unwrap_or_else(none),
        ]
    });
    let heads = [
        "KIND",
        "ID",
        "NAME",
        "STATUS",
        "24 HOURS",
        "30 DAYS",
        "LAST USED",
        "FROM",
    ];
    columns(heads, rows, out)?;
    match view.more {
        0 => Ok(()),
        more => writeln!(out, "and {more} more of the org {}", plain(&view.org.name)),
    }
}
