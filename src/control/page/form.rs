//! What a form posts: read within bounds, and taken only from a page of ours. What is in the fields is the pages' business.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::visitor::{Stranger, Visitor};
use crate::config::Control;
use crate::control::desk::Desk;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The kind of body that a form has.
const FORM: &str = "application/x-www-form-urlencoded";

/// How long a form may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// A form of a page for those who are signed in. A field that is there more than once is a `Vec`.
pub(super) struct Posted<T>(pub(super) T, pub(super) Visitor);

/// A form of a page for strangers.
pub(super) struct Asked<T>(pub(super) T, pub(super) Stranger);

/// A form that may do no harm to anybody but is to come from here.
pub(super) struct FromHere<T>(pub(super) T);

/// The field that every form has.
#[derive(Deserialize)]
struct Proof {
    #[serde(default)]
    csrf: String,
}

/// Whether a page of ours has sent it, as far as the browser says. One that says nothing is no browser of today: then the
/// field decides alone.
fn is_from_here(headers: &HeaderMap, config: &Control) -> bool {
    let text = |name: &HeaderName| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    let site = text(&FETCH_SITE);
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    let Some(origin) = text(&ORIGIN) else {
        return true;
    };
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let by_host = text(&HOST).is_some_and(|host| host.eq_ignore_ascii_case(authority));
    let by_config = config.url.as_ref().is_some_and(|url| {
        let wanted = if url.https { "https" } else { "http" };
        scheme == wanted && url.authority.eq_ignore_ascii_case(authority)
    });
    by_host || by_config
}

/// The status is made a page of where all errors are.
async fn bytes_of(request: Request, config: &Control) -> Result<Bytes, StatusCode> {
    let headers = request.headers();
    if !is_from_here(headers, config) {
        return Err(StatusCode::FORBIDDEN);
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case(FORM) {
        return Err(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    match tokio::time::timeout(BODY_WITHIN, Bytes::from_request(request, &())).await {
        Ok(bytes) => bytes.map_err(|rejection| rejection.status()),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

fn fields<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StatusCode> {
    serde_html_form::from_bytes(bytes).map_err(|_| StatusCode::BAD_REQUEST)
}

/// The fields of a form whose field `csrf` is what it must be.
async fn proven<T: DeserializeOwned>(
    request: Request,
    desk: &Desk,
    is_csrf: impl Fn(&str) -> bool,
) -> Result<T, StatusCode> {
    let bytes = bytes_of(request, &desk.config).await?;
    if !is_csrf(&fields::<Proof>(&bytes)?.csrf) {
        return Err(StatusCode::FORBIDDEN);
    }
    fields(&bytes)
}

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Posted<T> {
    type Rejection = Response;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, desk).await?;
        let request = Request::from_parts(parts, body);
        let proven = proven(request, desk, |csrf| visitor.is_csrf(csrf)).await;
        Ok(Self(proven.map_err(IntoResponse::into_response)?, visitor))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Asked<T> {
    type Rejection = StatusCode;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, StatusCode> {
        let (mut parts, body) = request.into_parts();
        let stranger = Stranger::from_request_parts(&mut parts, desk).await?;
        let request = Request::from_parts(parts, body);
        let proven = proven(request, desk, |csrf| stranger.is_csrf(csrf)).await;
        Ok(Self(proven?, stranger))
    }
}

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for FromHere<T> {
    type Rejection = StatusCode;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, StatusCode> {
        let bytes = bytes_of(request, &desk.config).await?;
        Ok(Self(fields(&bytes)?))
    }
}

/// The query of an address, read as a form is. One that cannot be read is as if there were none.
pub(super) fn query<T: DeserializeOwned + Default>(uri: &Uri) -> T {
    serde_html_form::from_str(uri.query().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn is(site: Option<&str>, origin: Option<&str>, url: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "keys.example:8082".parse().unwrap());
        for (name, value) in [(FETCH_SITE, site), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        let config = Control {
            url: url.map(|url| url.parse().unwrap()),
            ..Config::with_default_upstream("http://127.0.0.1:1".parse().unwrap(), "/tmp".into())
                .control
        };
        is_from_here(&headers, &config)
    }

    #[test]
    fn a_form_of_another_site_is_not_taken() {
        let own = Some("http://keys.example:8082");
        assert!(is(Some("same-origin"), own, None) && is(None, own, None) && is(None, None, None));
        for site in ["cross-site", "same-site", "junk", ""] {
            assert!(!is(Some(site), own, None), "{site}");
        }
        let others = [
            "null",
            "http://evil.example",
            "http://keys.example",
            "http://keys.example:8082.evil.example",
            "",
        ];
        for origin in others {
            assert!(!is(Some("same-origin"), Some(origin), None), "{origin}");
        }
        let url = Some("https://keygate.example");
        assert!(is(
            Some("same-origin"),
            Some("https://keygate.example"),
            url
        ));
        assert!(!is(
            Some("same-origin"),
            Some("http://keygate.example"),
            url
        ));
    }
}
