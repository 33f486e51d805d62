//! The pages "Integrations -> APIs", for people: plain HTML forms onto the operations. Each kind of page has a file; this one
//! lists them, and sees to what holds for every answer: headers, time, and a page for whatever went wrong.

#[macro_use]
mod words;
mod account;
mod assets;
mod audit;
mod audit_words;
mod fleet;
mod form;
mod keys;
mod keys_detail;
mod keys_facts;
mod keys_form;
mod keys_list;
mod keys_new;
mod keys_once;
mod keys_receipt;
mod keys_revoke;
mod keys_rotate;
mod keys_shadow;
mod keys_shown;
mod oidc;
mod people;
mod people_form;
mod people_leave;
mod people_one;
mod phrases_people;
mod preferences;
mod shell;
mod sign_in;
mod trouble;
mod usage;
mod usage_chart;
mod visitor;
mod words_keys;
mod words_kinds;
mod words_people;
mod words_sign_in;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use futures_util::FutureExt;

use crate::control::desk::Desk;
use preferences::Preferences;
use shell::{Shell, go, own_path};

/// What a request is called.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name of a request that is taken from the client.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// A page that takes longer is given up, before the whole listener would give it up.
const PAGE_TIMEOUT: Duration = Duration::from_secs(35);

/// Nothing but our own files, forms that go nowhere else, and no frame around the pages.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; \
                      frame-ancestors 'none'; base-uri 'none'";

/// What every answer has. The referrer stays within the pages: with none at all browsers would hide from us, too, that a
/// form is ours (`Origin: null`).
const HEADERS: [(HeaderName, &str); 8] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "same-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Their routes.
pub fn router(desk: &Arc<Desk>) -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(|| async { go("/api-keys") }))
        .merge(assets::router())
        .merge(preferences::router())
        .merge(keys::router())
        .merge(sign_in::router())
        .merge(oidc::router())
        .merge(account::router())
        .merge(people::router())
        .merge(audit::router())
        .merge(fleet::router())
        .merge(usage::router())
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(from_fn_with_state(Arc::clone(desk), dress))
}

/// Names the request, bounds its time, catches what panics, makes a page of every error, and adds the headers.
async fn dress(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.headers_mut().insert(REQUEST_ID, id.clone());
    let here = own_path(request.uri().path()).unwrap_or("/").to_owned();
    let shell = Shell::bare(Preferences::of(request.headers()), here);
    let name = id.to_str().unwrap_or_default();

    let running = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(PAGE_TIMEOUT, running).await {
        Ok(Ok(response)) if is_told(&response) => response,
        Ok(Ok(response)) => {
            let (parts, _) = response.into_parts();
            let mut told = trouble::of_status(&shell, parts.status, name);
            for (name, value) in &parts.headers {
                if !told.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH
                {
                    told.headers_mut().append(name, value.clone());
                }
            }
            told
        }
        Ok(Err(_)) => trouble::of_status(&shell, StatusCode::INTERNAL_SERVER_ERROR, name),
        Err(_) => trouble::timed_out(&shell, name),
    };

    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if desk.is_https() {
        let year = HeaderValue::from_static("max-age=31536000");
        headers.insert(STRICT_TRANSPORT_SECURITY, year);
    }
    headers.insert(REQUEST_ID, id);
    response
}

/// Whether an answer says in a page what it has to say.
fn is_told(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let status = response.status();
    is_page || !(status.is_client_error() || status.is_server_error())
}

/// The client's name for the request if it can go into headers and logs as it is; else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte);
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.as_bytes().iter().all(plain)
    };
    let given = headers.get(REQUEST_ID).filter(is_plain).cloned();
    given.unwrap_or_else(|| {
        let made = format!("{:032x}", fastrand::u128(1..));
        HeaderValue::from_str(&made).unwrap_or_else(|_| HeaderValue::from_static("0"))
    })
}
