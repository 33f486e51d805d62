//! The pages for signing in: by password, by a one-time link, and out again. What opens a session is decided in
//! `control::sign_in`; another door has a page of its own, `oidc`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use super::form::{Asked, Posted, query};
use super::shell::{Shell, go, own_path, with_cookie};
use super::trouble;
use super::visitor::{MaybeVisitor, SIGN_IN, Stranger, own_cookie, session_cookie, token_of};
use super::words_sign_in::{Words, words};
use crate::control::desk::Desk;
use crate::control::sign_in::doors::{Credentials, refusal_of};
use crate::control::sign_in::{LINK_PATH, Token};
use crate::control::{SecretText, ServiceError};
use crate::keys::rules::Refusal;

/// Pages that lead somewhere else by themselves, and to which nobody is led back.
const NO_WAY_BACK: [&str; 4] = [SIGN_IN, "/sign-out", LINK_PATH, "/oidc/"];

#[derive(Template)]
#[template(path = "sign_in.html", config = "src/control/page/askama.toml")]
struct SignInPage<'p> {
    shell: Shell,
    w: &'static Words,
    error: Option<String>,
    says_signed_out: bool,
    says_ended: bool,
    handle: &'p str,
    org: &'p str,
    next: &'p str,
    has_provider: bool,
}

#[derive(Template)]
#[template(path = "welcome.html", config = "src/control/page/askama.toml")]
struct WelcomePage<'p> {
    shell: Shell,
    w: &'static Words,
    handle: &'p str,
    name: &'p str,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "link_over.html", config = "src/control/page/askama.toml")]
struct LinkOverPage {
    shell: Shell,
    w: &'static Words,
    more: String,
}

/// Where somebody is led once signed in: an own page, and none that signs in or out.
pub(super) fn way_back(next: &str) -> &str {
    own_path(next)
        .filter(|path| !NO_WAY_BACK.iter().any(|none| path.starts_with(none)))
        .unwrap_or("/")
}

/// Lets somebody in: a cookie with what opens the session, and on to the page that was wanted. Whatever session the browser
/// had before is over.
pub(super) async fn let_in(
    desk: &Desk,
    headers: &HeaderMap,
    token: &Token,
    next: &str,
    stranger: &Stranger,
) -> Response {
    if let Some(old) = token_of(desk, headers) {
        // It may be long over; it only must not stay open beside the new one.
        let _ = desk.doors.leave(old, stranger.anybody()).await;
    }
    let cookie = own_cookie(desk, session_cookie(desk), token.text.to_string());
    with_cookie(go(way_back(next)), &cookie)
}

/// The status of an answer to a refused attempt.
fn status_of(error: &ServiceError) -> StatusCode {
    trouble::status_of(error)
}

/// How long to wait, for programs.
pub(super) fn with_retry(mut response: Response, error: &ServiceError) -> Response {
    if let Some(Refusal::TooManyAttempts { seconds }) = refusal_of(error) {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from(*seconds));
    }
    response
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    next: String,
    signed_out: Option<String>,
    ended: Option<String>,
}

async fn show_sign_in(
    State(desk): State<Arc<Desk>>,
    MaybeVisitor(visitor): MaybeVisitor,
    stranger: Stranger,
    uri: Uri,
) -> Response {
    let wanted: Wanted = query(&uri);
    if visitor.is_some() {
        return go(way_back(&wanted.next));
    }
    let template = SignInPage {
        shell: stranger.shell(),
        w: words(stranger.language),
        error: None,
        says_signed_out: wanted.signed_out.is_some(),
        says_ended: wanted.ended.is_some(),
        handle: "",
        org: "",
        next: way_back(&wanted.next),
        has_provider: desk.provider.is_some(),
    };
    stranger.page(StatusCode::OK, template)
}

#[derive(Deserialize)]
struct SignInForm {
    handle: String,
    password: SecretText,
    #[serde(default)]
    org: String,
    #[serde(default)]
    next: String,
}

async fn sign_in(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Asked(form, stranger): Asked<SignInForm>,
) -> Response {
    let with = Credentials {
        handle: form.handle.clone(),
        org: Some(form.org.clone()),
        password: form.password,
    };
    let error = match desk.doors.by_password(with, stranger.anybody()).await {
        Ok(token) => return let_in(&desk, &headers, &token, &form.next, &stranger).await,
        Err(error) => error,
    };
    let template = SignInPage {
        shell: Shell {
            here: SIGN_IN.to_owned(),
            ..stranger.shell()
        },
        w: words(stranger.language),
        error: Some(trouble::sentence(&error, stranger.language)),
        says_signed_out: false,
        says_ended: false,
        handle: &form.handle,
        org: &form.org,
        next: way_back(&form.next),
        has_provider: desk.provider.is_some(),
    };
    with_retry(stranger.page(status_of(&error), template), &error)
}

#[derive(Deserialize)]
struct Nothing {}

async fn sign_out(
    State(desk): State<Arc<Desk>>,
    Posted(Nothing {}, visitor): Posted<Nothing>,
) -> Response {
    let by = visitor.caller().by;
    if let Err(error) = desk.doors.leave(visitor.token.again(), by).await {
        return trouble::failed(&visitor, &error);
    }
    let response = go(&format!("{SIGN_IN}?signed_out=1"));
    with_cookie(response, &no_cookie(&desk))
}

/// Takes the session's cookie away.
fn no_cookie(desk: &Desk) -> cookie::Cookie<'static> {
    let mut cookie = own_cookie(desk, session_cookie(desk), String::new());
    cookie.make_removal();
    cookie
}

/// What is shown for a link that lets nobody in, or while the store cannot be read.
fn no_way_in(stranger: &Stranger, error: &ServiceError) -> Response {
    if refusal_of(error).is_none() {
        return trouble::of_error(&stranger.shell(), error, stranger.request_id());
    }
    let template = LinkOverPage {
        shell: Shell {
            here: SIGN_IN.to_owned(),
            ..stranger.shell()
        },
        w: words(stranger.language),
        more: trouble::sentence(error, stranger.language),
    };
    with_retry(stranger.page(status_of(error), template), error)
}

/// Shows whom a link lets in. Programs that look at the links of a letter use nothing up.
async fn show_welcome(
    State(desk): State<Arc<Desk>>,
    Path(link): Path<String>,
    stranger: Stranger,
) -> Response {
    let user = match desk.doors.whom_link_lets_in(&link).await {
        Ok(user) => user,
        Err(error) => return no_way_in(&stranger, &error),
    };
    let template = WelcomePage {
        shell: stranger.shell(),
        w: words(stranger.language),
        handle: &user.handle,
        name: &user.name,
        error: None,
    };
    stranger.page(StatusCode::OK, template)
}

#[derive(Deserialize)]
struct WelcomeForm {
    password: SecretText,
    again: SecretText,
}

async fn welcome(
    State(desk): State<Arc<Desk>>,
    Path(link): Path<String>,
    headers: HeaderMap,
    Asked(form, stranger): Asked<WelcomeForm>,
) -> Response {
    let came = if form.password.expose() == form.again.expose() {
        let by = stranger.anybody();
        desk.doors.by_link(&link, form.password, by).await
    } else {
        Err(Refusal::PasswordsDiffer.into())
    };
    let error = match came {
        Ok(token) => return let_in(&desk, &headers, &token, "/", &stranger).await,
        Err(error) => error,
    };
    // A link that still lets somebody in is asked again for a password that is one.
    let user = match desk.doors.whom_link_lets_in(&link).await {
        Ok(user) => user,
        Err(_) => return no_way_in(&stranger, &error),
    };
    let template = WelcomePage {
        shell: stranger.shell(),
        w: words(stranger.language),
        handle: &user.handle,
        name: &user.name,
        error: Some(trouble::sentence(&error, stranger.language)),
    };
    with_retry(stranger.page(status_of(&error), template), &error)
}

pub(super) fn router() -> Router<Arc<Desk>> {
    let link = format!("{LINK_PATH}{{link}}");
    Router::new()
        .route(SIGN_IN, get(show_sign_in).post(sign_in))
        .route("/sign-out", post(sign_out))
        .route(&link, get(show_welcome).post(welcome))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_an_own_page_that_does_not_sign_out_again() {
        assert_eq!(way_back("/audit?after=7-42"), "/audit?after=7-42");
        for elsewhere in [
            "//evil.example",
            "/sign-out",
            "/sign-in?next=/x",
            "/welcome/00",
            "/oidc/start",
            "",
        ] {
            assert_eq!(way_back(elsewhere), "/", "{elsewhere}");
        }
    }
}
