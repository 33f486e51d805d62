//! The language and the colours that somebody wants: by their own choice, which a cookie keeps, or by what their browser says.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT_LANGUAGE, COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::post;
use cookie::{Cookie, SameSite};
use serde::Deserialize;

use super::form::FromHere;
use super::shell::{go, with_cookie};
use crate::control::desk::Desk;
use crate::keys::refusal::Language;

const LANGUAGE_COOKIE: &str = "keygate_language";
const THEME_COOKIE: &str = "keygate_theme";

/// How long a choice is kept.
const KEPT: cookie::time::Duration = cookie::time::Duration::days(365);

/// The most cookies of a request that are looked at.
const COOKIES_MAX: usize = 64;

/// The colours of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Theme {
    /// What the system says.
    #[default]
    System,
    Light,
    Dark,
}

impl Theme {
    pub(super) const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == name)
    }
}

/// The languages of the pages, and what each calls itself.
pub(super) const LANGUAGES: [(Language, &str); 2] = [
    (Language::English, "English"),
    (Language::French, "Français"),
];

fn language_named(tag: &str) -> Option<Language> {
    let mut known = LANGUAGES.into_iter().map(|(language, _)| language);
    known.find(|language| tag.eq_ignore_ascii_case(language.tag()))
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Preferences {
    pub(super) language: Language,
    pub(super) theme: Theme,
}

impl Preferences {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let chosen = cookie_of(headers, LANGUAGE_COOKIE).and_then(|tag| language_named(&tag));
        let theme = cookie_of(headers, THEME_COOKIE).and_then(|name| Theme::named(&name));
        Self {
            language: chosen.or_else(|| asked_for(headers)).unwrap_or_default(),
            theme: theme.unwrap_or_default(),
        }
    }
}

/// The language of ours that the browser likes best.
fn asked_for(headers: &HeaderMap) -> Option<Language> {
    let wanted = headers.get(ACCEPT_LANGUAGE)?.to_str().ok()?;
    let mut best: Option<(f32, Language)> = None;
    for part in wanted.split(',').take(COOKIES_MAX) {
        let mut halves = part.split(';');
        let tag = halves.next().unwrap_or_default().trim();
        let primary = tag.split('-').next().unwrap_or_default();
        let weight = halves
            .find_map(|half| half.trim().strip_prefix("q="))
            .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        let Some(language) = language_named(primary).filter(|_| weight > 0.0) else {
            continue;
        };
        if best.is_none_or(|(of_best, _)| weight > of_best) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

/// The value of a cookie of the request.
pub(super) fn cookie_of(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::to_str)
        .filter_map(Result::ok)
        .flat_map(Cookie::split_parse)
        .take(COOKIES_MAX)
        .filter_map(Result::ok)
        .find(|cookie| cookie.name() == name)
        .map(|cookie| cookie.value().to_owned())
}

#[derive(Deserialize)]
struct Wanted {
    language: String,
    theme: String,
    #[serde(default)]
    next: String,
}

async fn prefer(State(desk): State<Arc<Desk>>, FromHere(wanted): FromHere<Wanted>) -> Response {
    let mut response = go(&wanted.next);
    let language = language_named(&wanted.language).map(Language::tag);
    let theme = Theme::named(&wanted.theme).map(Theme::as_str);
    for (name, value) in [(LANGUAGE_COOKIE, language), (THEME_COOKIE, theme)] {
        if let Some(value) = value {
            let cookie = Cookie::build((name, value))
                .path("/")
                .http_only(true)
                .secure(desk.is_https())
                .same_site(SameSite::Lax)
                .max_age(KEPT);
            response = with_cookie(response, &cookie.build());
        }
    }
    response
}

pub(super) fn router() -> Router<Arc<Desk>> {
    Router::new().route("/preferences", post(prefer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cookies: &str, languages: &str) -> Preferences {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookies.parse().unwrap());
        headers.insert(ACCEPT_LANGUAGE, languages.parse().unwrap());
        Preferences::of(&headers)
    }

    #[test]
    fn a_choice_is_worth_more_than_what_the_browser_says() {
        assert_eq!(
            of("", "de, fr-CH;q=0.8, en;q=0.7").language,
            Language::French
        );
        assert_eq!(of("", "en-GB, fr").language, Language::English);
        assert_eq!(of("", "fr;q=0, de").language, Language::English);
        assert_eq!(of("keygate_language=en", "fr").language, Language::English);
        assert_eq!(
            of("keygate_language=<b>; x", "fr").language,
            Language::French
        );
        assert_eq!(of("a=b; keygate_theme=dark", "fr").theme, Theme::Dark);
        assert_eq!(of("keygate_theme=\"><script>", "").theme, Theme::System);
    }
}
