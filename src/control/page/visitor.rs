//! Who looks at a page: a visitor who is signed in, or a stranger. What either may do is not decided here.

use std::convert::Infallible;
use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use compact_str::CompactString;
use cookie::{Cookie, SameSite};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use super::preferences::{Preferences, cookie_of};
use super::shell::{Section, Shell, Who, own_path, page, with_cookie};
use super::{REQUEST_ID, trouble};
use crate::control::desk::Desk;
use crate::control::sign_in::{Token, sessions};
use crate::control::{Caller, OrgView, ServiceError, UserView, client};
use crate::keys::Actor;
use crate::keys::audit::{By, Via};
use crate::keys::permissions::Permission;
use crate::keys::refusal::Language;

/// What the value that proves a form ours is derived with.
const CSRF_OF_SESSION: &[u8] = b"keygate form of a session";
const CSRF_OF_COOKIE: &[u8] = b"keygate form of a stranger";

/// Where those go who are not signed in.
pub(super) const SIGN_IN: &str = "/sign-in";

/// The same, when they have sent a form.
const SESSION_ENDED: &str = "/sign-in?ended=1";

fn csrf_of(purpose: &[u8], secret: &str) -> String {
    let digest = Sha256::new()
        .chain_update(purpose)
        .chain_update(secret.as_bytes());
    crate::store::log::hex(&digest.finalize())
}

/// What a browser that reaches the pages over TLS takes from nobody but them, and sends over TLS only.
pub(super) fn cookie_name(
    desk: &Desk,
    over_tls: &'static str,
    plain: &'static str,
) -> &'static str {
    if desk.is_https() { over_tls } else { plain }
}

/// A cookie of the pages. Lax, not strict: somebody who follows a link from a letter to a page here is still signed in, and
/// what changes anything is posted, which another site cannot do with it.
pub(super) fn own_cookie(desk: &Desk, name: &'static str, value: String) -> Cookie<'static> {
    Cookie::build((name, value))
        .path("/")
        .http_only(true)
        .secure(desk.is_https())
        .same_site(SameSite::Lax)
        .build()
}

/// The name of the session's cookie.
pub(super) fn session_cookie(desk: &Desk) -> &'static str {
    cookie_name(desk, "__Host-keygate", "keygate_session")
}

fn form_cookie(desk: &Desk) -> &'static str {
    cookie_name(desk, "__Host-keygate-form", "keygate_form")
}

/// The session that the request's cookie names.
pub(super) fn token_of(desk: &Desk, headers: &HeaderMap) -> Option<Token> {
    Token::parse(&cookie_of(headers, session_cookie(desk))?)
}

/// What a page leads back to: itself, or where it was sent from.
fn here(method: &Method, uri: &Uri) -> String {
    let path = match uri.path_and_query() {
        Some(whole) if *method == Method::GET => whole.as_str(),
        _ => uri.path(),
    };
    own_path(path).unwrap_or("/").to_owned()
}

/// Where the request comes from and what it is called.
fn by_of(desk: &Desk, parts: &Parts, actor: Actor) -> By {
    let id = parts.headers.get(REQUEST_ID);
    By {
        request_id: id.and_then(|id| id.to_str().ok()).map(CompactString::from),
        address: client::address(parts, &desk.trusted_proxies),
        ..By::of(actor, Via::Page)
    }
}

fn request_id_of(by: &By) -> &str {
    by.request_id.as_deref().unwrap_or_default()
}

/// Somebody who is signed in.
pub(super) struct Visitor {
    pub(super) user: UserView,
    pub(super) org: OrgView,
    pub(super) language: Language,
    pub(super) token: Token,
    preferences: Preferences,
    sees_fleet: bool,
    csrf: String,
    here: String,
    by: By,
}

impl Visitor {
    /// As whom operations are asked for.
    pub(super) fn caller(&self) -> Caller {
        let mut caller = Caller::member(self.user.id, None, Via::Page);
        caller.by = self.by.clone();
        caller
    }

    /// Whether the role has a permission: to leave out what would be refused. The operation decides.
    pub(super) fn may(&self, permission: Permission) -> bool {
        permission.is_of(self.user.role)
    }

    /// What the request is called.
    pub(super) fn request_id(&self) -> &str {
        request_id_of(&self.by)
    }

    /// Whether this is the value that forms of this session have.
    pub(super) fn is_csrf(&self, value: &str) -> bool {
        is_same(&self.csrf, value)
    }

    /// The frame of a page of this section.
    pub(super) fn shell(&self, section: Section) -> Shell {
        let mut hidden = Vec::new();
        if !self.sees_fleet {
            hidden.push(Section::Fleet);
        }
        if !self.may(Permission::AuditLogsRead) {
            hidden.push(Section::Audit);
        }
        Shell {
            language: self.language,
            theme: self.preferences.theme,
            section,
            who: Some(Who {
                name: self.user.name.clone(),
                org: self.org.name.clone(),
                hidden,
            }),
            csrf: self.csrf.clone(),
            here: self.here.clone(),
        }
    }

    async fn of(desk: &Arc<Desk>, parts: &Parts) -> Result<Option<Self>, ServiceError> {
        let Some(token) = token_of(desk, &parts.headers) else {
            return Ok(None);
        };
        let with = Arc::clone(desk);
        let looked = spawn_blocking(move || {
            let found = sessions::find(with.service.store(), &token, &with.config)?;
            Ok::<_, ServiceError>(found.map(|found| (token, found)))
        });
        let Some((token, found)) = looked.await.map_err(|_| ServiceError::Unknown)?? else {
            return Ok(None);
        };
        let (user, org) = (UserView::of(&found.user), OrgView::of(&found.org));
        let preferences = Preferences::of(&parts.headers);
        Ok(Some(Self {
            sees_fleet: Permission::AuditLogsRead.is_of(user.role)
                && desk.service.pages.sees_fleet(&org.name),
            csrf: csrf_of(CSRF_OF_SESSION, &token.text),
            here: here(&parts.method, &parts.uri),
            by: by_of(desk, parts, Actor::User(user.id)),
            language: preferences.language,
            preferences,
            token,
            user,
            org,
        }))
    }
}

fn is_same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    a.len() == b.len() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}

impl FromRequestParts<Arc<Desk>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Response> {
        match Self::of(desk, parts).await {
            Ok(Some(visitor)) => Ok(visitor),
            Ok(None) => Err(sign_in_first(&parts.method, &parts.uri)),
            Err(error) => {
                let shell = Shell::bare(
                    Preferences::of(&parts.headers),
                    here(&parts.method, &parts.uri),
                );
                let id = parts.headers.get(REQUEST_ID);
                let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
                Err(trouble::of_error(&shell, &error, id))
            }
        }
    }
}

/// Somebody who is signed in, where that is no must.
pub(super) struct MaybeVisitor(pub(super) Option<Visitor>);

impl FromRequestParts<Arc<Desk>> for MaybeVisitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Infallible> {
        Ok(Self(Visitor::of(desk, parts).await.ok().flatten()))
    }
}

/// Leads to signing in, and from there back to the page that was wanted.
fn sign_in_first(method: &Method, uri: &Uri) -> Response {
    let wanted = here(method, uri);
    if *method == Method::POST {
        // A form is not sent again by itself, and nobody is to take what they filled in for saved.
        return super::shell::go(SESSION_ENDED);
    }
    if *method != Method::GET || wanted == "/" {
        return super::shell::go(SIGN_IN);
    }
    let query: String = form_urlencoded(&wanted);
    super::shell::go(&format!("{SIGN_IN}?next={query}"))
}

/// A path as the value of a query.
fn form_urlencoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// Somebody who is not signed in, or need not be.
pub(super) struct Stranger {
    pub(super) language: Language,
    preferences: Preferences,
    csrf: String,
    here: String,
    by: By,
    /// The cookie that proves forms, while the browser has none.
    cookie: Option<Cookie<'static>>,
}

impl Stranger {
    fn of(desk: &Desk, parts: &Parts) -> Result<Self, ServiceError> {
        let name = form_cookie(desk);
        let known = cookie_of(&parts.headers, name)
            .filter(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let (secret, cookie) = match known {
            Some(secret) => (secret, None),
            None => {
                let mut random = [0; 32];
                getrandom::fill(&mut random)?;
                let secret = crate::store::log::hex(&random);
                let cookie = own_cookie(desk, name, secret.clone());
                (secret, Some(cookie))
            }
        };
        let preferences = Preferences::of(&parts.headers);
        Ok(Self {
            language: preferences.language,
            preferences,
            csrf: csrf_of(CSRF_OF_COOKIE, &secret),
            here: here(&parts.method, &parts.uri),
            by: by_of(desk, parts, Actor::System),
            cookie,
        })
    }

    /// Whether the field of a form is what the cookie sent with it says.
    pub(super) fn is_csrf(&self, value: &str) -> bool {
        self.cookie.is_none() && is_same(&self.csrf, value)
    }

    /// Where the request comes from, before it is known who it is.
    pub(super) fn anybody(&self) -> By {
        self.by.clone()
    }

    /// What the request is called.
    pub(super) fn request_id(&self) -> &str {
        request_id_of(&self.by)
    }

    /// The frame of a page for strangers.
    pub(super) fn shell(&self) -> Shell {
        Shell {
            csrf: self.csrf.clone(),
            ..Shell::bare(self.preferences, self.here.clone())
        }
    }

    /// A page with a form for strangers: with the cookie that proves the form.
    pub(super) fn page<T: Template>(&self, status: StatusCode, template: T) -> Response {
        let response = page(status, template);
        match &self.cookie {
            Some(cookie) => with_cookie(response, cookie),
            None => response,
        }
    }
}

impl FromRequestParts<Arc<Desk>> for Stranger {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, StatusCode> {
        Self::of(desk, parts).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    }
}
