//! The files that the pages load: one style sheet, one script, one picture. They are part of the program.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::RawQuery;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

/// How a file is kept that was asked for by what it is: for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// How another is kept: it is asked every time whether it is still so. A node of another version may have answered.
const ASK_AGAIN: &str = "no-cache";

/// A file.
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

static STYLE: Asset = Asset {
    path: "/assets/style.css",
    kind: "text/css; charset=utf-8",
    text: include_str!("assets/style.css"),
};
static SCRIPT: Asset = Asset {
    path: "/assets/page.js",
    kind: "text/javascript; charset=utf-8",
    text: include_str!("assets/page.js"),
};
static ICON: Asset = Asset {
    path: "/assets/icon.svg",
    kind: "image/svg+xml",
    text: include_str!("assets/icon.svg"),
};

static STYLE_HASH: LazyLock<String> = LazyLock::new(|| STYLE.hash());
static SCRIPT_HASH: LazyLock<String> = LazyLock::new(|| SCRIPT.hash());
static ICON_HASH: LazyLock<String> = LazyLock::new(|| ICON.hash());

impl Asset {
    fn hash(&self) -> String {
        let digest = Sha256::digest(self.text.as_bytes());
        digest.iter().take(8).fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    fn answer(&self, hash: &str, query: Option<&str>, headers: &HeaderMap) -> Response {
        let tag = format!("\"{hash}\"");
        let is_by_hash = query.and_then(|query| query.strip_prefix("v=")) == Some(hash);
        let cache = if is_by_hash { FOR_EVER } else { ASK_AGAIN };
        let about = [(ETAG, tag.clone()), (CACHE_CONTROL, cache.to_owned())];
        let known = headers.get(IF_NONE_MATCH);
        if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, about).into_response();
        }
        (about, [(CONTENT_TYPE, self.kind)], self.text).into_response()
    }
}

/// The address of the style sheet.
pub(super) fn style() -> String {
    format!("{}?v={}", STYLE.path, *STYLE_HASH)
}

/// The address of the script.
pub(super) fn script() -> String {
    format!("{}?v={}", SCRIPT.path, *SCRIPT_HASH)
}

/// The address of the picture.
pub(super) fn icon() -> String {
    format!("{}?v={}", ICON.path, *ICON_HASH)
}

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let of = |asset: &'static Asset, hash: &'static LazyLock<String>| {
        get(
            move |RawQuery(query): RawQuery, headers: HeaderMap| async move {
                asset.answer(hash, query.as_deref(), &headers)
            },
        )
    };
    Router::new()
        .route(STYLE.path, of(&STYLE, &STYLE_HASH))
        .route(SCRIPT.path, of(&SCRIPT, &SCRIPT_HASH))
        .route(ICON.path, of(&ICON, &ICON_HASH))
}
