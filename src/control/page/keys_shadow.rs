//! Shadow-revoking a key and taking that back: a page that explains it, and the form that does it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::form::Posted;
use super::keys::{self, Of, ask, section};
use super::keys_facts::{Facts, Rights, base};
use super::keys_form::Fields;
use super::shell::{Shell, go, page};
use super::trouble::failed;
use super::visitor::Visitor;
use super::words_keys::{Words, words};
use super::words_kinds::{self, KindWords};
use crate::control::desk::Desk;
use crate::control::{KeyChanges, Request};

#[derive(Template)]
#[template(path = "keys_shadow.html", config = "src/control/page/askama.toml")]
struct ShadowPage {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    key: Facts,
    rights: Rights,
}

pub(super) async fn explain(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Response {
    let known = match keys::known(&desk, &visitor, kind, &id).await {
        Ok(known) => known,
        Err(error) => return failed(&visitor, &error),
    };
    let shown = ShadowPage {
        shell: visitor.shell(section(kind)),
        w: words(visitor.language),
        k: words_kinds::of(visitor.language, kind),
        base: base(kind),
        key: known.facts,
        rights: known.rights,
    };
    page(StatusCode::OK, shown)
}

pub(super) async fn set(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Posted(fields, visitor): Posted<Fields>,
) -> Response {
    let shadowed = fields.get("shadow").is_none_or(|value| value != "off");
    let change = KeyChanges {
        shadowed: Some(shadowed),
        ..KeyChanges::default()
    };
    let done = if shadowed { "shadow" } else { "unshadow" };
    let to = format!("{}/{id}?done={done}", base(kind));
    match ask(&desk, &visitor, Request::UpdateKey { kind, id, change }).await {
        Ok(_) => go(&to),
        Err(error) => failed(&visitor, &error),
    }
}
