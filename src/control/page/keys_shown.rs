//! The one page that shows a new key's secret: the answer to the form that made it, never an address that leads there. It keeps
//! nothing, and nothing of it is kept.

use std::net::SocketAddr;

use askama::Template;
use axum::http::header::HOST;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::keys::section;
use super::keys_facts::{Facts, When, base};
use super::keys_receipt::Told;
use super::shell::{Shell, page};
use super::visitor::Visitor;
use super::words_keys::{Words, words};
use super::words_kinds::{self, KindWords};
use crate::control::SecretText;
use crate::control::desk::Desk;
use crate::keys::KeyKind;
use crate::keys::permissions::Permission;

/// What was made.
pub(super) struct Shown {
    pub(super) title: &'static str,
    pub(super) key: Facts,
    /// `None` when the form was sent before, so long ago that the secret cannot be shown again.
    pub(super) secret: Option<SecretText>,
    /// The key that it is to replace.
    pub(super) old: Option<Old>,
}

/// The key that a new one is to replace.
pub(super) struct Old {
    pub(super) name: String,
    pub(super) href: String,
    /// `None` when it is revoked.
    pub(super) ends: Option<When>,
    /// Which nodes know, when it is revoked.
    pub(super) receipt: Option<Told>,
}

#[derive(Template)]
#[template(path = "keys_shown.html", config = "src/control/page/askama.toml")]
struct ShownPage<'s> {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    shown: &'s Shown,
    secret: &'s str,
    examples: Vec<Example>,
}

/// Where those who have application keys find their own.
const OWN_KEYS: &str = "/api/v2/current_user/application_keys";

/// Something to paste.
struct Example {
    title: &'static str,
    text: String,
}

/// The page with the secret.
pub(super) fn shown(desk: &Desk, visitor: &Visitor, headers: &HeaderMap, shown: Shown) -> Response {
    let (language, kind) = (visitor.language, shown.key.kind);
    let w = words(language);
    let secret = shown.secret.as_ref().map_or("", |secret| secret.expose());
    let url = senders_url(desk.senders, headers);
    let page_shown = ShownPage {
        shell: visitor.shell(section(kind)),
        w,
        k: words_kinds::of(language, kind),
        base: base(kind),
        shown: &shown,
        secret,
        examples: match secret {
            "" => Vec::new(),
            secret => examples(kind, shown.key.scopes.as_deref(), &url, secret, w),
        },
    };
    page(StatusCode::OK, page_shown)
}

/// Where senders most likely reach this server: where it listens, and where that is every address of the machine, by the name
/// under which the page was reached.
fn senders_url(senders: SocketAddr, headers: &HeaderMap) -> String {
    if !senders.ip().is_unspecified() {
        return format!("http://{senders}");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| !host.is_empty() && host.bytes().all(plain));
    let host = host.unwrap_or("localhost");
    let without_port = match (host.rfind(':'), host.rfind(']')) {
        (Some(colon), bracket) if bracket.is_none_or(|bracket| bracket < colon) => {
            host.get(..colon).unwrap_or(host)
        }
        _ => host,
    };
    format!("http://{without_port}:{}", senders.port())
}

/// A path that an application key with these scopes may ask for: the scopes of the key that everybody's role has come first.
/// `None` when none of them leads to a list here.
fn path_of(scopes: &[String]) -> Option<&'static str> {
    const PATHS: [(Permission, &str); 6] = [
        (Permission::ApiKeysRead, "/api/v2/api_keys"),
        (Permission::ClientTokensRead, "/api/v2/client_tokens"),
        (Permission::UserAccessRead, "/api/v2/users"),
        (Permission::UserAppKeys, OWN_KEYS),
        (Permission::OrgAppKeysRead, "/api/v2/application_keys"),
        (Permission::AuditLogsRead, "/api/v2/audit_log"),
    ];
    let holds = |permission: Permission| scopes.iter().any(|scope| scope == permission.as_str());
    let found = PATHS.iter().find(|(permission, _)| holds(*permission));
    found.map(|(_, path)| *path)
}

fn examples(
    kind: KeyKind,
    scopes: Option<&[String]>,
    url: &str,
    secret: &str,
    w: &Words,
) -> Vec<Example> {
    let example = |title, text| Example { title, text };
    match kind {
        KeyKind::ApiKey => vec![
            example(
                w.example_agent,
                format!(
                    "api_key: {secret}\ndd_url: {url}\nlogs_config:\n  logs_dd_url: {url}\n  force_use_http: true\napm_config:\n  apm_dd_url: {url}\n"
                ),
            ),
            example(
                w.example_curl,
                format!("curl {url}/api/v1/validate -H 'DD-API-KEY: {secret}'"),
            ),
        ],
        KeyKind::ApplicationKey => {
            let path = match scopes {
                None | Some([]) => OWN_KEYS,
                Some(scopes) => path_of(scopes).unwrap_or("/api/v1/validate"),
            };
            vec![example(
                w.example_curl,
                format!(
                    "curl {url}{path} -H \"DD-API-KEY: $DD_API_KEY\" -H 'DD-APPLICATION-KEY: {secret}'"
                ),
            )]
        }
        KeyKind::ClientToken => vec![example(
            w.example_browser,
            format!(
                "import {{ datadogLogs }} from '@datadog/browser-logs'\n\ndatadogLogs.init({{\n  clientToken: '{secret}',\n  proxy: '{url}/',\n}})\ndatadogLogs.logger.info('hello')\n"
            ),
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(senders: &str, host: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, host.parse().unwrap());
        }
        senders_url(senders.parse().unwrap(), &headers)
    }

    #[test]
    fn the_example_of_an_application_key_asks_for_what_its_scopes_allow() {
        let text = |scopes: Option<&[&str]>| {
            let scopes: Option<Vec<String>> =
                scopes.map(|scopes| scopes.iter().map(|scope| (*scope).to_owned()).collect());
            let w = words(crate::keys::refusal::Language::English);
            let kind = KeyKind::ApplicationKey;
            let mut examples = examples(kind, scopes.as_deref(), "http://x", "s", w);
            assert_eq!(examples.len(), 1);
            examples.remove(0).text
        };
        for (scopes, path) in [
            (None, OWN_KEYS),
            (Some(&["user_app_keys"][..]), OWN_KEYS),
            (Some(&["metrics_read", "api_keys_read"]), "/api/v2/api_keys"),
            (Some(&["org_app_keys_read"]), "/api/v2/application_keys"),
            (Some(&["metrics_read"]), "/api/v1/validate"),
            (Some(&["api_keys_write"]), "/api/v1/validate"),
        ] {
            let wanted = format!("curl http://x{path} -H ");
            assert!(text(scopes).starts_with(&wanted), "{}", text(scopes));
        }
    }

    #[test]
    fn examples_name_where_the_server_listens_and_nothing_that_a_header_makes_up() {
        assert_eq!(url("10.0.0.7:8080", Some("x")), "http://10.0.0.7:8080");
        let any = "0.0.0.0:8080";
        assert_eq!(
            url(any, Some("keys.example:8082")),
            "http://keys.example:8080"
        );
        assert_eq!(url(any, Some("[::1]:8082")), "http://[::1]:8080");
        assert_eq!(url(any, Some("[::1]")), "http://[::1]:8080");
        for made_up in [None, Some(""), Some("x;rm -rf ~"), Some("a/b"), Some("a'b")] {
            assert_eq!(url(any, made_up), "http://localhost:8080", "{made_up:?}");
        }
    }
}
