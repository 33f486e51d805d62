//! Signing in by the word of a provider: there, and back again. What that word is worth is decided in `control::sign_in`.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::form::query;
use super::preferences::cookie_of;
use super::shell::{Shell, with_cookie};
use super::sign_in::{let_in, way_back, with_retry};
use super::trouble;
use super::visitor::{SIGN_IN, Stranger, cookie_name, own_cookie};
use super::words_sign_in::{Words, words};
use crate::control::ServiceError;
use crate::control::desk::{Desk, OIDC_CALLBACK};
use crate::control::sign_in::now;
use crate::control::sign_in::provider::{Errand, Provider};
use crate::keys::rules::Refusal;

/// How long somebody may stay at the provider's.
const AWAY_MAX: cookie::time::Duration = cookie::time::Duration::minutes(10);

#[derive(Template)]
#[template(path = "provider_failed.html", config = "src/control/page/askama.toml")]
struct FailedPage {
    shell: Shell,
    w: &'static Words,
    more: String,
}

fn errand_cookie(desk: &Desk) -> &'static str {
    cookie_name(desk, "__Host-keygate-oidc", "keygate_oidc")
}

/// The code under what the browser keeps, by a key that every node has: so that it comes back as it was given.
fn code(desk: &Desk, content: &str) -> String {
    let covered = [b"\0oidc errand\0", content.as_bytes()].concat();
    let code = desk.fingerprinter.get().fingerprint(&covered);
    crate::store::log::hex(&code.bytes())
}

/// What the browser keeps: five parts without a dot, and the code.
fn kept(desk: &Desk, errand: &Errand, next: &str) -> String {
    let next = crate::store::log::hex(next.as_bytes());
    let content = format!(
        "{}.{}.{}.{}.{next}",
        errand.state,
        errand.nonce,
        errand.verifier,
        now().0,
    );
    let code = code(desk, &content);
    format!("{content}.{code}")
}

/// What it kept, and where it leads, unless that is too old or not what it was given.
fn brought(desk: &Desk, text: &str) -> Option<(Errand, String)> {
    let (content, given) = text.rsplit_once('.')?;
    if !bool::from(code(desk, content).as_bytes().ct_eq(given.as_bytes())) {
        return None;
    }
    let mut parts = content.split('.').map(ToOwned::to_owned);
    let errand = Errand {
        state: parts.next()?,
        nonce: parts.next()?,
        verifier: parts.next()?,
    };
    let since: i64 = parts.next()?.parse().ok()?;
    let away = now().0.saturating_sub(since);
    let next = from_hex(&parts.next()?)?;
    (0..AWAY_MAX.whole_seconds() * 1000)
        .contains(&away)
        .then_some((errand, next))
}

fn from_hex(text: &str) -> Option<String> {
    let digit = |byte: &u8| {
        char::from(*byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let bytes = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    });
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

fn shown(stranger: &Stranger, error: &ServiceError) -> Response {
    let template = FailedPage {
        shell: Shell {
            here: SIGN_IN.to_owned(),
            ..stranger.shell()
        },
        w: words(stranger.language),
        more: trouble::sentence(error, stranger.language),
    };
    with_retry(stranger.page(trouble::status_of(error), template), error)
}

fn provider(desk: &Desk) -> Result<&Provider, StatusCode> {
    desk.provider.as_ref().ok_or(StatusCode::NOT_FOUND)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wanted {
    next: String,
}

async fn start(State(desk): State<Arc<Desk>>, stranger: Stranger, uri: Uri) -> Response {
    let provider = match provider(&desk) {
        Ok(provider) => provider,
        Err(status) => return status.into_response(),
    };
    let by = stranger.anybody();
    if let Err(refusal) = desk.doors.attempts.from_address(by.address) {
        return shown(&stranger, &refusal.into());
    }
    let (url, errand) = match provider.ask().await {
        Ok(asked) => asked,
        Err(refusal) => return shown(&stranger, &refusal.into()),
    };
    let Ok(url) = HeaderValue::from_str(&url) else {
        let refusal = Refusal::ProviderFailed { at: "no address" };
        return shown(&stranger, &refusal.into());
    };
    let next = query::<Wanted>(&uri).next;
    let kept = kept(&desk, &errand, way_back(&next));
    let mut cookie = own_cookie(&desk, errand_cookie(&desk), kept);
    cookie.set_max_age(AWAY_MAX);
    let away = (StatusCode::SEE_OTHER, [(LOCATION, url)]).into_response();
    with_cookie(away, &cookie)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Back {
    code: String,
    state: String,
    error: String,
}

async fn callback(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    stranger: Stranger,
    uri: Uri,
) -> Response {
    let provider = match provider(&desk) {
        Ok(provider) => provider,
        Err(status) => return status.into_response(),
    };
    let back: Back = query(&uri);
    let came = come_back(&desk, provider, &headers, &stranger, back).await;
    let response = match came {
        Ok(response) => response,
        Err(error) => shown(&stranger, &error),
    };
    // Whatever came of it: it is good for one answer.
    let mut cookie = own_cookie(&desk, errand_cookie(&desk), String::new());
    cookie.make_removal();
    with_cookie(response, &cookie)
}

async fn come_back(
    desk: &Desk,
    provider: &Provider,
    headers: &HeaderMap,
    stranger: &Stranger,
    back: Back,
) -> Result<Response, ServiceError> {
    let failed = |at| Refusal::ProviderFailed { at };
    let by = stranger.anybody();
    desk.doors.attempts.from_address(by.address)?;
    let kept = cookie_of(headers, errand_cookie(desk));
    let (errand, next) = kept
        .and_then(|kept| brought(desk, &kept))
        .ok_or(failed("this browser did not ask, or too long ago"))?;
    if !bool::from(errand.state.as_bytes().ct_eq(back.state.as_bytes())) {
        return Err(failed("this is the answer to another question").into());
    }
    if !back.error.is_empty() {
        return Err(failed("the provider said no").into());
    }
    let handle = provider.answer(back.code, errand).await?;
    let token = desk.doors.by_word(handle, by).await?;
    Ok(let_in(desk, headers, &token, &next, stranger).await)
}

pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new()
        .route("/oidc/start", get(start))
        .route(OIDC_CALLBACK, get(callback))
}
