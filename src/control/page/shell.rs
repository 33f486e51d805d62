//! What is around every page: the frame with the navigation, and how a page or a redirect becomes an answer.

use askama::Template;
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use cookie::Cookie;

use super::assets;
use super::preferences::{LANGUAGES, Preferences, Theme};
use super::words::{Words, words};
use crate::keys::refusal::Language;

/// The longest address that a form may lead back to.
const NEXT_BYTES_MAX: usize = 2048;

/// Where in the pages somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    ApiKeys,
    ApplicationKeys,
    ClientTokens,
    Users,
    ServiceAccounts,
    Usage,
    Fleet,
    Audit,
    Account,
    /// Outside of them: signing in, or lost.
    None,
}

impl Section {
    const fn path(self) -> &'static str {
        match self {
            Self::ApiKeys => "/api-keys",
            Self::ApplicationKeys => "/application-keys",
            Self::ClientTokens => "/client-tokens",
            Self::Users => "/users",
            Self::ServiceAccounts => "/service-accounts",
            Self::Usage => "/usage",
            Self::Fleet => "/fleet",
            Self::Audit => "/audit",
            Self::Account => "/account",
            Self::None => "/",
        }
    }

    const fn title(self, words: &Words) -> &'static str {
        match self {
            Self::ApiKeys => words.api_keys,
            Self::ApplicationKeys => words.application_keys,
            Self::ClientTokens => words.client_tokens,
            Self::Users => words.users,
            Self::ServiceAccounts => words.service_accounts,
            Self::Usage => words.usage,
            Self::Fleet => words.fleet,
            Self::Audit => words.audit_log,
            Self::Account => words.account,
            Self::None => "",
        }
    }
}

/// The parts of the navigation: the words of its heading, and its sections.
const KEYS: [Section; 3] = [
    Section::ApiKeys,
    Section::ApplicationKeys,
    Section::ClientTokens,
];
const ORGANIZATION: [Section; 3] = [Section::Users, Section::ServiceAccounts, Section::Audit];
const REST: [Section; 3] = [Section::Usage, Section::Fleet, Section::Account];

/// Who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) name: String,
    pub(super) org: String,
    /// The sections that are not theirs to see.
    pub(super) hidden: Vec<Section>,
}

/// The frame of one page. Templates extend `base.html` and have it as `shell`.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    pub(super) language: Language,
    pub(super) theme: Theme,
    pub(super) section: Section,
    /// Nobody while nobody is signed in.
    pub(super) who: Option<Who>,
    /// For the field `csrf` of every form.
    pub(super) csrf: String,
    /// This page's own address.
    pub(super) here: String,
}

/// A part of the navigation.
pub(super) struct Group {
    pub(super) title: String,
    pub(super) items: Vec<Item>,
}

/// A link of the navigation.
pub(super) struct Item {
    pub(super) path: &'static str,
    pub(super) title: &'static str,
    pub(super) is_here: bool,
}

impl Shell {
    /// For nobody, and no form but that of the preferences.
    pub(super) fn bare(preferences: Preferences, here: String) -> Self {
        Self {
            language: preferences.language,
            theme: preferences.theme,
            section: Section::None,
            who: None,
            csrf: String::new(),
            here,
        }
    }

    /// The words that every page has.
    pub(super) const fn words(&self) -> &'static Words {
        words(self.language)
    }

    /// What follows a page's own title.
    pub(super) fn title_tail(&self) -> String {
        if KEYS.contains(&self.section) {
            let words = self.words();
            return format!("{} → {} - keygate", words.integrations, words.apis);
        }
        "keygate".to_owned()
    }

    /// The navigation, without what is not theirs to see.
    pub(super) fn navigation(&self) -> Vec<Group> {
        let words = self.words();
        let apis = format!("{} → {}", words.integrations, words.apis);
        let group = |title: &str, sections: &[Section]| Group {
            title: title.to_owned(),
            items: sections
                .iter()
                .filter(|section| {
                    !self
                        .who
                        .as_ref()
                        .is_some_and(|who| who.hidden.contains(section))
                })
                .map(|section| Item {
                    path: section.path(),
                    title: section.title(words),
                    is_here: *section == self.section,
                })
                .collect(),
        };
        vec![
            group(&apis, &KEYS),
            group(words.organization, &ORGANIZATION),
            group(words.more, &REST),
        ]
    }

    /// Tag, name and whether it is the one chosen.
    pub(super) fn languages(&self) -> Vec<(&'static str, &'static str, bool)> {
        let of = |(language, name): (Language, &'static str)| {
            (language.tag(), name, language == self.language)
        };
        LANGUAGES.into_iter().map(of).collect()
    }

    /// Value, name and whether it is the one chosen.
    pub(super) fn themes(&self) -> Vec<(&'static str, &'static str, bool)> {
        let words = self.words();
        let of = |theme: Theme| {
            let name = match theme {
                Theme::System => words.theme_system,
                Theme::Light => words.theme_light,
                Theme::Dark => words.theme_dark,
            };
            (theme.as_str(), name, theme == self.theme)
        };
        Theme::ALL.into_iter().map(of).collect()
    }

    /// The address of the style sheet.
    pub(super) fn style(&self) -> String {
        assets::style()
    }

    /// The address of the script.
    pub(super) fn script(&self) -> String {
        assets::script()
    }

    /// The address of the picture.
    pub(super) fn icon(&self) -> String {
        assets::icon()
    }
}

/// A page as an answer.
pub(super) fn page<T: Template>(status: StatusCode, template: T) -> Response {
    match template.render() {
        Ok(text) => {
            let kind = HeaderValue::from_static("text/html; charset=utf-8");
            (status, [(CONTENT_TYPE, kind)], text).into_response()
        }
        // Writing into a text does not fail. The error page is made of it by who has the words.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Leads the browser to a page of ours, after a form: never to another host, whatever the address says.
pub(super) fn go(to: &str) -> Response {
    let to = own_path(to).unwrap_or("/");
    let to = HeaderValue::from_str(to).unwrap_or_else(|_| HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, to)]).into_response()
}

/// Sets a cookie with an answer.
pub(super) fn with_cookie(mut response: Response, cookie: &Cookie<'_>) -> Response {
    if let Ok(value) = HeaderValue::from_str(&cookie.to_string()) {
        response.headers_mut().append(SET_COOKIE, value);
    }
    response
}

/// An address that a browser cannot take for that of another host: a path of visible ASCII that begins with one slash.
pub(super) fn own_path(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_plain = bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() && *byte != b'\\');
    let is_own = bytes.first() == Some(&b'/') && bytes.get(1) != Some(&b'/');
    (is_own && is_plain && text.len() <= NEXT_BYTES_MAX).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_of_another_host_is_an_own_path() {
        for own in ["/", "/api-keys", "/audit?actor=a%40b&after=7-42", "/a//b"] {
            assert_eq!(own_path(own), Some(own));
        }
        let long = format!("/{}", "a".repeat(NEXT_BYTES_MAX));
        let foreign = [
            "",
            "//evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " //evil.example",
            "/é",
            &long,
        ];
        for text in foreign {
            assert_eq!(own_path(text), None, "{text}");
            assert_eq!(go(text).headers()[LOCATION], "/");
        }
    }
}
