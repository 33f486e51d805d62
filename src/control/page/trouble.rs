//! What a page says when something did not work: the right status, and a sentence in the visitor's language that says what
//! to do. What only an operator may know is not in it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::shell::{Section, Shell, page};
use super::visitor::Visitor;
use super::words::Words;
use crate::control::ServiceError;
use crate::keys::refusal::{Language, Refusal, Sort};
use crate::store::StoreError;

#[derive(Template)]
#[template(path = "trouble.html", config = "src/control/page/askama.toml")]
struct Trouble<'t> {
    shell: &'t Shell,
    title: &'t str,
    more: &'t str,
    request_id: &'t str,
}

/// The status of an answer to what failed so.
pub(super) fn status_of(error: &ServiceError) -> StatusCode {
    match error {
        ServiceError::Store(StoreError::Refused(refusal)) => status_of_refusal(refusal),
        ServiceError::Store(StoreError::Unresolved { .. })
        | ServiceError::Unknown
        | ServiceError::NotHeard
        | ServiceError::NotApplied
        | ServiceError::NotLogged(_) => StatusCode::GATEWAY_TIMEOUT,
        ServiceError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        ServiceError::NoFleet => StatusCode::NOT_FOUND,
    }
}

const fn status_of_refusal(refusal: &Refusal) -> StatusCode {
    match refusal.sort() {
        Sort::Missing => StatusCode::NOT_FOUND,
        Sort::NotAllowed => StatusCode::FORBIDDEN,
        Sort::TooOften => StatusCode::TOO_MANY_REQUESTS,
        Sort::Taken | Sort::Standing => StatusCode::CONFLICT,
        Sort::Spent => StatusCode::GONE,
        Sort::Malformed => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// The sentence for what failed so: that of the refusal, or what may be said of a failure.
pub(super) fn sentence(error: &ServiceError, language: Language) -> String {
    let words = super::words::words(language);
    match error {
        ServiceError::Store(StoreError::Refused(refusal)) => capital(&refusal.sentence(language)),
        other => about(status_of(other), words).1.to_owned(),
    }
}

/// With a capital letter and a full stop: on a page it stands alone.
fn capital(sentence: &str) -> String {
    let mut characters = sentence.chars();
    let first = characters.next().map(char::to_uppercase);
    let text: String = first.into_iter().flatten().chain(characters).collect();
    format!("{text}.")
}

/// The title and the text for a status.
const fn about(status: StatusCode, words: &Words) -> (&'static str, &'static str) {
    match status.as_u16() {
        403 => (words.forbidden, words.forbidden_more),
        404 => (words.not_found, words.not_found_more),
        405 => (words.bad_method, words.bad_method_more),
        408 => (words.timeout, words.timeout_more),
        413 => (words.too_large, words.too_large_more),
        503 => (words.unavailable, words.unavailable_more),
        504 => (words.unknown, words.unknown_more),
        400..500 => (words.bad_request, words.bad_request_more),
        _ => (words.failed, words.failed_more),
    }
}

/// The page for a status.
pub(super) fn of_status(shell: &Shell, status: StatusCode, request_id: &str) -> Response {
    let (title, more) = about(status, shell.words());
    let trouble = Trouble {
        shell,
        title,
        more,
        request_id,
    };
    page(status, trouble)
}

/// The page for what took too long.
pub(super) fn timed_out(shell: &Shell, request_id: &str) -> Response {
    let words = shell.words();
    let trouble = Trouble {
        shell,
        title: words.timeout,
        more: words.timeout_more,
        request_id,
    };
    page(StatusCode::GATEWAY_TIMEOUT, trouble)
}

/// The page for a failed operation within any shell.
pub(super) fn of_error(shell: &Shell, error: &ServiceError, request_id: &str) -> Response {
    let (status, words) = (status_of(error), shell.words());
    let title = match error {
        ServiceError::NoFleet => words.no_fleet,
        ServiceError::Store(StoreError::Refused(_)) => match status.as_u16() {
            403 => words.not_permitted,
            404 => words.not_found,
            409 => words.conflict,
            429 => words.too_many,
            _ => words.trouble,
        },
        _ => about(status, words).0,
    };
    let more = match error {
        ServiceError::NoFleet => words.no_fleet_more.to_owned(),
        error => sentence(error, shell.language),
    };
    let trouble = Trouble {
        shell,
        title,
        more: &more,
        request_id,
    };
    page(status, trouble)
}

/// The page for a failed operation of somebody who is signed in.
pub(super) fn failed(visitor: &Visitor, error: &ServiceError) -> Response {
    let shell = visitor.shell(Section::None);
    of_error(&shell, error, visitor.request_id())
}
