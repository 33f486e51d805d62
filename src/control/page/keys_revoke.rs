//! Revoking a key: a page that says who still uses it and what breaks, and the receipt afterwards, node by node.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::form::Posted;
use super::keys::{self, Known, Of, ask, section};
use super::keys_facts::{Facts, Now, Rights, base};
use super::keys_form::Fields;
use super::keys_receipt::Told;
use super::shell::{Shell, page};
use super::trouble::{failed, sentence, status_of};
use super::visitor::Visitor;
use super::words_keys::{Words, words};
use super::words_kinds::{self, KindWords};
use crate::control::desk::Desk;
use crate::control::{Request, Response as Answer, ServiceError};
use crate::keys::KeyKind;
use crate::keys::rules::Refusal;

/// How long the page waits for the nodes.
pub(super) const WAIT_MS: u64 = 10_000;

#[derive(Template)]
#[template(path = "keys_revoke.html", config = "src/control/page/askama.toml")]
struct RevokePage {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    key: Facts,
    rights: Rights,
    /// Why it was refused.
    wrong: String,
    is_last: bool,
}

#[derive(Template)]
#[template(path = "keys_revoked.html", config = "src/control/page/askama.toml")]
struct RevokedPage {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    key: Facts,
    receipt: Told,
}

pub(super) async fn confirm(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Response {
    match keys::known(&desk, &visitor, kind, &id).await {
        Ok(known) => confirming(&desk, &visitor, known, String::new(), StatusCode::OK).await,
        Err(error) => failed(&visitor, &error),
    }
}

pub(super) async fn revoke(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Posted(_, visitor): Posted<Fields>,
) -> Response {
    let request = Request::AndWait {
        request: Box::new(Request::RevokeKey {
            kind,
            id: id.clone(),
        }),
        wait_ms: WAIT_MS,
    };
    let error = match ask(&desk, &visitor, request).await {
        Ok(Answer::Receipted { receipt, .. }) => {
            return revoked(&desk, &visitor, kind, &id, |now| Told::of(&receipt, now)).await;
        }
        Ok(_) => ServiceError::Unknown,
        Err(error) => error,
    };
    // The last key: what to do instead is on the page that asks.
    if let Some(Refusal::TooFew { .. }) = error.refusal()
        && let Ok(known) = keys::known(&desk, &visitor, kind, &id).await
    {
        let wrong = sentence(&error, visitor.language);
        return confirming(&desk, &visitor, known, wrong, status_of(&error)).await;
    }
    failed(&visitor, &error)
}

async fn revoked(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    id: &str,
    told: impl FnOnce(Now) -> Told,
) -> Response {
    let known = match keys::known(desk, visitor, kind, id).await {
        Ok(known) => known,
        Err(error) => return failed(visitor, &error),
    };
    let shown = RevokedPage {
        shell: visitor.shell(section(kind)),
        w: words(visitor.language),
        k: words_kinds::of(visitor.language, kind),
        base: base(kind),
        key: known.facts,
        receipt: told(Now::of(visitor)),
    };
    page(StatusCode::OK, shown)
}

async fn confirming(
    desk: &Desk,
    visitor: &Visitor,
    known: Known,
    wrong: String,
    status: StatusCode,
) -> Response {
    let kind = known.view.kind;
    let fewest = desk.service.store().limits().fewest(kind) as usize;
    let is_last = if fewest > 0 && known.facts.is_in_force() {
        match keys::keys(desk, visitor, kind, false).await {
            Ok(found) => keys::left_without(&found, &known.view) < fewest,
            Err(error) => return failed(visitor, &error),
        }
    } else {
        false
    };
    let shown = RevokePage {
        shell: visitor.shell(section(kind)),
        w: words(visitor.language),
        k: words_kinds::of(visitor.language, kind),
        base: base(kind),
        key: known.facts,
        rights: known.rights,
        wrong,
        is_last,
    };
    page(status, shown)
}
