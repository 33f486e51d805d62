//! The pages that show what keys are used for: those of an org together, and one key with where it is used from. What is
//! counted, and who may see it, is not decided here.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;

use super::people::{Moment, ask};
use super::shell::{Section, Shell, page};
use super::trouble::failed;
use super::usage_chart::{Chart, Per, Series};
use super::visitor::Visitor;
use super::words_people::{self as said, Words, words};
use crate::control::desk::Desk;
use crate::control::sign_in::now;
use crate::control::{
    KeyStatus, KeyTotals, KeyUseView, KeyView, Request, Response as Answer, ServiceError,
    SourceView, time_text,
};
use crate::keys::refusal::Language;
use crate::keys::rules::Refusal;
use crate::keys::{KeyKind, Timestamp};

/// How many of the most used keys are shown.
const TOP: usize = 20;

/// How many of the unused ones.
const UNUSED: usize = 100;

/// Of how many shadow-revoked keys it is shown what would have been refused.
const SHADOWED: usize = 20;

/// A key that was not used for so long is called unused.
const UNUSED_MS: i64 = 30 * 24 * 3_600_000;

const HOURS: usize = 24;
const DAYS: usize = 30;

pub(super) fn router() -> Router<Arc<Desk>> {
    let of = |kind: KeyKind| {
        let path = format!("/usage{}/{{id}}", said::kind_path(kind));
        let show = get(move |desk, visitor, id| of_key(desk, visitor, id, kind));
        Router::new().route(&path, show)
    };
    Router::new()
        .route("/usage", get(of_org))
        .merge(of(KeyKind::ApiKey))
        .merge(of(KeyKind::ApplicationKey))
        .merge(of(KeyKind::ClientToken))
}

/// The pictures of a key's uses, for every page that shows one.
pub(super) fn pictures(language: Language, uses: &KeyUseView) -> [Chart; 2] {
    let hours = Series::of(&uses.by_hour, Per::Hour, HOURS);
    let days = Series::of(&uses.by_day, Per::Day, DAYS);
    [
        Chart::of(language, "by-hour", Per::Hour, hours),
        Chart::of(language, "by-day", Per::Day, days),
    ]
}

/// A key in a list.
struct Used {
    href: String,
    name: String,
    last4: String,
    kind: &'static str,
    owner: String,
    created: Moment,
    last_used: Option<Moment>,
    count: u64,
}

impl Used {
    fn of(language: Language, key: &KeyView, count: u64) -> Self {
        Self {
            href: usage_path(key),
            name: key.name.clone(),
            last4: key.last4.clone(),
            kind: said::kind(language, key.kind),
            owner: key.owner_name.clone().unwrap_or_default(),
            created: Moment::of(&key.created_at),
            last_used: Moment::maybe(key.last_used_at.as_ref()),
            count,
        }
    }
}

fn usage_path(key: &KeyView) -> String {
    format!("/usage{}/{}", said::kind_path(key.kind), key.id)
}

/// Where a key is used from.
struct From {
    address: String,
    agent: String,
    first: Moment,
    last: Moment,
    count: u64,
}

impl From {
    fn of(source: &SourceView, count: u64) -> Self {
        Self {
            address: source.address.clone(),
            agent: source.user_agent.clone(),
            first: Moment::of(&source.first_used_at),
            last: Moment::of(&source.last_used_at),
            count,
        }
    }
}

/// A shadow-revoked key, and what would have been refused.
struct Shadowed {
    key: Used,
    since: Moment,
    count: u64,
    from: Vec<From>,
}

impl Shadowed {
    fn of(language: Language, uses: &KeyUseView) -> Option<Self> {
        let shadow = uses.shadow.as_ref()?;
        let from = shadow.sources.iter();
        Some(Self {
            key: Used::of(language, &uses.key, shadow.requests),
            since: Moment::of(&shadow.since),
            count: shadow.requests,
            from: from
                .map(|source| From::of(source, source.shadow_requests))
                .collect(),
        })
    }
}

#[derive(Template)]
#[template(path = "usage.html", config = "src/control/page/askama.toml")]
struct OrgPage {
    shell: Shell,
    t: &'static Words,
    charts: [Chart; 2],
    top: Vec<Used>,
    unused: Vec<Used>,
    unused_sentence: String,
    shadowed: Vec<Shadowed>,
    shadowed_sentence: String,
    more: Option<String>,
}

async fn of_org(State(desk): State<Arc<Desk>>, visitor: Visitor) -> Response {
    match org_page(&desk, &visitor).await {
        Ok(shown) => page(StatusCode::OK, shown),
        Err(error) => failed(&visitor, &error),
    }
}

async fn org_page(desk: &Desk, visitor: &Visitor) -> Result<OrgPage, ServiceError> {
    let language = visitor.language;
    let org = visitor.org.id.to_string();
    let Answer::OrgUse(found) = ask(desk, visitor, Request::ShowOrgUse { org }).await? else {
        return Err(ServiceError::Unknown);
    };
    let active = |of: &&KeyTotals| of.key.status == KeyStatus::Active;
    let top = found.keys.iter().filter(|of| of.last_30_days > 0).take(TOP);
    let top = top.map(|of| Used::of(language, &of.key, of.last_30_days));
    let top = top.collect();

    let before = time_text(Timestamp(now().0.saturating_sub(UNUSED_MS)));
    let is_unused = |of: &&KeyTotals| {
        let last = of.key.last_used_at.as_deref();
        is_unused(&of.key.created_at, last, &before)
    };
    let unused: Vec<&KeyTotals> = found.keys.iter().filter(active).filter(is_unused).collect();
    let unused_sentence = said::unused(language, unused.len(), UNUSED);
    let unused = unused.into_iter().take(UNUSED);
    let unused = unused.map(|of| Used::of(language, &of.key, 0)).collect();

    let is_shadowed = |of: &&KeyTotals| of.key.shadow_revoked_at.is_some();
    let keys: Vec<&KeyTotals> = found
        .keys
        .iter()
        .filter(active)
        .filter(is_shadowed)
        .collect();
    let shadowed_sentence = said::shadowed(language, keys.len());
    let mut shadowed = Vec::new();
    for of in keys.into_iter().take(SHADOWED) {
        let uses = key_use(desk, visitor, of.key.kind, &of.key.id.to_string()).await?;
        shadowed.extend(Shadowed::of(language, &uses));
    }
    let hours = Series::of(&found.by_hour, Per::Hour, HOURS);
    let days = Series::of(&found.by_day, Per::Day, DAYS);
    Ok(OrgPage {
        shell: visitor.shell(Section::Usage),
        t: words(language),
        charts: [
            Chart::of(language, "by-hour", Per::Hour, hours),
            Chart::of(language, "by-day", Per::Day, days),
        ],
        top,
        unused,
        unused_sentence,
        shadowed,
        shadowed_sentence,
        more: (found.more > 0).then(|| said::more_keys(language, found.more)),
    })
}

/// Whether a key was there all the time since `before`, and not used in it: one that was made since, by rotating another or
/// anew, may not be in use yet. All texts are of one form, which sorts as the times do.
fn is_unused(created: &str, last_used: Option<&str>, before: &str) -> bool {
    created < before && last_used.is_none_or(|last| last < before)
}

async fn key_use(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    id: &str,
) -> Result<KeyUseView, ServiceError> {
    let id = id.to_owned();
    match ask(desk, visitor, Request::ShowKeyUse { kind, id }).await? {
        Answer::KeyUse(found) => Ok(*found),
        _ => Err(ServiceError::Unknown),
    }
}

#[derive(Template)]
#[template(path = "usage_key.html", config = "src/control/page/askama.toml")]
struct KeyPage {
    shell: Shell,
    t: &'static Words,
    heading: String,
    sentence: String,
    href: String,
    key: Used,
    charts: [Chart; 2],
    from: Vec<From>,
    shadowed: Option<Shadowed>,
}

async fn of_key(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
    kind: KeyKind,
) -> Response {
    match key_page(&desk, &visitor, kind, &id).await {
        Ok(shown) => page(StatusCode::OK, shown),
        Err(error) => failed(&visitor, &error),
    }
}

async fn key_page(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    id: &str,
) -> Result<KeyPage, ServiceError> {
    if id.parse::<uuid::Uuid>().is_err() {
        return Err(Refusal::NotFound { what: "key" }.into());
    }
    let language = visitor.language;
    let found = key_use(desk, visitor, kind, id).await?;
    let from = found.sources.iter();
    Ok(KeyPage {
        shell: visitor.shell(Section::Usage),
        t: words(language),
        heading: said::usage_of(language, &found.key.name),
        sentence: said::uses(language, found.uses),
        href: format!("{}/{}", said::kind_path(kind), found.key.id),
        key: Used::of(language, &found.key, found.uses),
        charts: pictures(language, &found),
        from: from
            .map(|source| From::of(source, source.requests))
            .collect(),
        shadowed: Shadowed::of(language, &found),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_unused_that_was_there_for_long_and_never_asked_for() {
        let day = |day: i64| time_text(Timestamp(day * 86_400_000));
        let before = day(30);
        let unused = |created: i64, last: Option<i64>| {
            is_unused(&day(created), last.map(day).as_deref(), &before)
        };
        assert!(unused(29, None) && unused(10, Some(29)));
        assert!(!unused(31, None) && !unused(10, Some(31)) && !unused(31, Some(32)));
    }
}
