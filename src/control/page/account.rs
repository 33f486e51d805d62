//! The page of one's own account: who one is here, and a new password for who knows the old one.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;

use super::form::Posted;
use super::shell::{Section, Shell, go, page, with_cookie};
use super::trouble;
use super::visitor::{Visitor, own_cookie, session_cookie};
use super::words_sign_in::{Words, words};
use crate::control::desk::Desk;
use crate::control::sign_in::doors::refusal_of;
use crate::control::{OrgView, SecretText, ServiceError, UserView};
use crate::keys::Role;
use crate::keys::rules::Refusal;

const ACCOUNT: &str = "/account";

/// What the address says after a change.
const CHANGED: &str = "changed=1";

#[derive(Template)]
#[template(path = "account.html", config = "src/control/page/askama.toml")]
struct AccountPage<'p> {
    shell: Shell,
    w: &'static Words,
    user: &'p UserView,
    org: &'p OrgView,
    role: &'static str,
    is_changed: bool,
    error: Option<String>,
}

fn shown(visitor: &Visitor, is_changed: bool, error: Option<&ServiceError>) -> Response {
    let w = words(visitor.language);
    let template = AccountPage {
        shell: visitor.shell(Section::Account),
        w,
        user: &visitor.user,
        org: &visitor.org,
        role: match visitor.user.role {
            Role::Admin => w.admin,
            Role::Standard => w.standard,
            Role::ReadOnly => w.read_only,
        },
        is_changed,
        error: error.map(|error| trouble::sentence(error, visitor.language)),
    };
    let mut response = page(error.map_or(StatusCode::OK, trouble::status_of), template);
    if let Some(Refusal::TooManyAttempts { seconds }) = error.and_then(refusal_of) {
        let seconds = HeaderValue::from(*seconds);
        response.headers_mut().insert(RETRY_AFTER, seconds);
    }
    response
}

async fn show(RawQuery(query): RawQuery, visitor: Visitor) -> Response {
    shown(&visitor, query.as_deref() == Some(CHANGED), None)
}

#[derive(Deserialize)]
struct NewPassword {
    old: SecretText,
    password: SecretText,
    again: SecretText,
}

async fn change(
    State(desk): State<Arc<Desk>>,
    Posted(form, visitor): Posted<NewPassword>,
) -> Response {
    let by = visitor.caller().by;
    let changed = if form.password.expose() == form.again.expose() {
        let passwords = (form.old, form.password);
        desk.doors
            .change_password(visitor.user.id, passwords, by)
            .await
    } else {
        Err(Refusal::PasswordsDiffer.into())
    };
    match changed {
        Ok(token) => {
            let cookie = own_cookie(&desk, session_cookie(&desk), token.text.to_string());
            with_cookie(go(&format!("{ACCOUNT}?{CHANGED}")), &cookie)
        }
        Err(error) => shown(&visitor, false, Some(&error)),
    }
}

pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new().route(ACCOUNT, get(show).post(change))
}
