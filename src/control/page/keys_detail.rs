//! The page of one key: its facts, its use, what was done to it, how far its rotation is, and the form that changes it.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::form::{Posted, query};
use super::keys::{self, Known, Of, ask, section};
use super::keys_facts::{Deed, Facts, Now, Rights, When, base};
use super::keys_form::{Entered, Fields, ScopeBox, is_within_a_day};
use super::shell::{Shell, go, page};
use super::trouble::{failed, status_of};
use super::usage_chart::Chart;
use super::visitor::Visitor;
use super::words_keys::{Words, words};
use super::words_kinds::{self, KindWords};
use crate::control::desk::Desk;
use crate::control::{AuditQuery, Request, Response as Answer, ServiceError};
use crate::keys::permissions::Permission;
use crate::keys::{KeyKind, UserKind};

/// Entries of the audit log on the page of a key.
const HISTORY: usize = 20;

#[derive(Template)]
#[template(path = "keys_detail.html", config = "src/control/page/askama.toml")]
struct DetailPage {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    key: Facts,
    owner_href: String,
    rights: Rights,
    charts: [Chart; 2],
    done: &'static str,
    successor: Option<Facts>,
    form: Entered,
    /// When the key expires, where that is in the middle of a day.
    exact: Option<String>,
    scopes: Vec<ScopeBox>,
    today: String,
    /// `None` when it is not the visitor's to see.
    history: Option<Vec<Deed>>,
}

/// What was done just before.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Done {
    done: String,
}

pub(super) async fn show(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
    uri: Uri,
) -> Response {
    let Done { done } = query(&uri);
    match keys::known(&desk, &visitor, kind, &id).await {
        Ok(known) => {
            let form = Entered::of_key(&known.view);
            shown(&desk, &visitor, known, form, &done, StatusCode::OK).await
        }
        Err(error) => failed(&visitor, &error),
    }
}

pub(super) async fn change(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Posted(fields, visitor): Posted<Fields>,
) -> Response {
    let known = match keys::known(&desk, &visitor, kind, &id).await {
        Ok(known) => known,
        Err(error) => return failed(&visitor, &error),
    };
    let entered = Entered::of(&fields);
    let changed = async {
        let change = entered.changes(&known.view)?;
        let request = Request::UpdateKey { kind, id, change };
        ask(&desk, &visitor, request).await
    };
    let error = match changed.await {
        Ok(_) => return go(&format!("{}?done=saved", known.facts.href)),
        Err(error) => error,
    };
    let status = status_of(&error);
    match entered.refused(error, visitor.language) {
        Ok(entered) => shown(&desk, &visitor, known, entered, "", status).await,
        Err(error) => failed(&visitor, &error),
    }
}

async fn shown(
    desk: &Desk,
    visitor: &Visitor,
    known: Known,
    form: Entered,
    done: &str,
    status: StatusCode,
) -> Response {
    let (language, now) = (visitor.language, Now::of(visitor));
    let kind = known.view.kind;
    let more = async {
        let history = history(desk, visitor, &known, now).await?;
        Ok::<_, ServiceError>((history, successor(desk, visitor, &known, now).await?))
    };
    let (history, successor) = match more.await {
        Ok(more) => more,
        Err(error) => return failed(visitor, &error),
    };
    let w = words(language);
    let today = now.today();
    let shown = DetailPage {
        shell: visitor.shell(section(kind)),
        w,
        k: words_kinds::of(language, kind),
        base: base(kind),
        owner_href: match &known.owner {
            Some(owner) if owner.kind == UserKind::ServiceAccount => {
                format!("/service-accounts/{}", owner.id)
            }
            Some(owner) => format!("/users/{}", owner.id),
            None => String::new(),
        },
        rights: known.rights,
        charts: known.charts,
        done: match done {
            "saved" => w.saved,
            "shadow" => w.saved_shadow,
            "unshadow" => w.saved_unshadow,
            _ => "",
        },
        successor,
        scopes: form.scope_boxes(language),
        // A day that has passed must not keep the browser from sending what else was changed.
        today: match form.expires.is_empty() || form.expires >= today {
            true => today,
            false => String::new(),
        },
        form,
        exact: known
            .facts
            .expires
            .as_ref()
            .filter(|at| is_within_a_day(&at.iso))
            .map(When::seconds),
        key: known.facts,
        history,
    };
    page(status, shown)
}

async fn history(
    desk: &Desk,
    visitor: &Visitor,
    known: &Known,
    now: Now,
) -> Result<Option<Vec<Deed>>, ServiceError> {
    if !visitor.may(Permission::AuditLogsRead) {
        return Ok(None);
    }
    let query = AuditQuery {
        object: Some(known.view.id.0),
        most: Some(HISTORY),
        ..AuditQuery::default()
    };
    match ask(desk, visitor, Request::ListAudit { query }).await? {
        Answer::Audit(found) => Ok(Some(
            found
                .entries
                .iter()
                .map(|entry| Deed::of(entry, now))
                .collect(),
        )),
        _ => Err(ServiceError::Unknown),
    }
}

/// The key that replaces it, while both are there.
async fn successor(
    desk: &Desk,
    visitor: &Visitor,
    known: &Known,
    now: Now,
) -> Result<Option<Facts>, ServiceError> {
    let Some(id) = known.view.replaced_by else {
        return Ok(None);
    };
    let kind: KeyKind = known.view.kind;
    let found = keys::key(desk, visitor, kind, &id.to_string()).await?;
    Ok(Some(Facts::of(&found, now, &|_| None)))
}
