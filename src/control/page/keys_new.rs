//! Making a key: the form with the rules beside its fields, and what it is sent to. A form that is refused comes back as it
//! was filled in; one that is sent twice makes one key.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::form::Posted;
use super::keys::{self, Of, ask, section};
use super::keys_facts::{Facts, Now, base, may};
use super::keys_form::{Entered, Fields, ScopeBox};
use super::keys_list::own;
use super::keys_once;
use super::keys_shown::{self, Shown};
use super::shell::{Shell, page};
use super::trouble::{failed, status_of};
use super::visitor::Visitor;
use super::words_keys::{Words, words};
use super::words_kinds::{self, KindWords};
use crate::control::desk::Desk;
use crate::control::operations::keys::{Touch, Whose, takes};
use crate::control::{Request, Response as Answer, ServiceError};
use crate::keys::permissions::Permission;
use crate::keys::refusal::Language;
use crate::keys::rules::Refusal;
use crate::keys::{KeyKind, Labels, UserKind};

#[derive(Template)]
#[template(path = "keys_new.html", config = "src/control/page/askama.toml")]
struct NewPage {
    shell: Shell,
    w: &'static Words,
    k: &'static KindWords,
    base: &'static str,
    kind: KeyKind,
    counts: String,
    form: Entered,
    /// A key that is not made yet expires at no hour.
    exact: Option<String>,
    owners: Vec<Owner>,
    scopes: Vec<ScopeBox>,
    today: String,
}

/// Somebody who a key can be made for.
struct Owner {
    id: String,
    name: String,
    is_account: bool,
    is_chosen: bool,
}

impl NewPage {
    const fn is(&self, kind: KeyKind) -> bool {
        matches!(
            (kind, self.kind),
            (KeyKind::ApiKey, KeyKind::ApiKey)
                | (KeyKind::ApplicationKey, KeyKind::ApplicationKey)
                | (KeyKind::ClientToken, KeyKind::ClientToken)
        )
    }
}

pub(super) async fn form(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
) -> Response {
    if !may(&visitor, kind, Whose::Own, Touch::Make)
        && let Some(permission) = takes(kind, Whose::Own, Touch::Make)
    {
        return failed(&visitor, &Refusal::NotPermitted { permission }.into());
    }
    let entered = match keys_once::token() {
        Ok(once) => Entered {
            once,
            ..Entered::default()
        },
        Err(error) => return failed(&visitor, &error),
    };
    shown(&desk, &visitor, kind, entered, StatusCode::OK).await
}

pub(super) async fn create(
    Of(kind): Of,
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Posted(fields, visitor): Posted<Fields>,
) -> Response {
    let entered = Entered::of(&fields);
    let error = match made(&desk, &visitor, kind, &entered).await {
        Ok(shown) => return keys_shown::shown(&desk, &visitor, &headers, shown),
        Err(error) => error,
    };
    let status = status_of(&error);
    match entered.refused(error, visitor.language) {
        Ok(entered) => shown(&desk, &visitor, kind, entered, status).await,
        Err(error) => failed(&visitor, &error),
    }
}

async fn made(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    entered: &Entered,
) -> Result<Shown, ServiceError> {
    let (org, name) = (visitor.org.id.to_string(), entered.name.clone());
    let expires_at = entered.expires_at()?;
    let request = match kind {
        KeyKind::ApiKey => Request::CreateApiKey {
            org,
            name,
            expires_at,
            allowed_addresses: entered.addresses()?,
            secret: None,
            labels: Labels::default(),
        },
        KeyKind::ApplicationKey => Request::CreateApplicationKey {
            owner: match entered.owner.as_str() {
                "" => visitor.user.id.to_string(),
                owner => owner.to_owned(),
            },
            name,
            expires_at,
            scopes: entered.scopes(),
        },
        KeyKind::ClientToken => Request::CreateClientToken {
            org,
            name,
            expires_at,
            allowed_origins: entered.origins(),
        },
    };
    let mut caller = visitor.caller();
    caller.by.once = keys_once::once(visitor.user.id, &entered.once, &request);
    let Answer::Key(key) = desk.service.perform(&caller, request).await?.response else {
        return Err(ServiceError::Unknown);
    };
    Ok(Shown {
        title: words_kinds::of(visitor.language, kind).created,
        key: Facts::of(&key, Now::of(visitor), &|_| Some(visitor.user.name.clone())),
        secret: key.secret,
        old: None,
    })
}

async fn shown(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    form: Entered,
    status: StatusCode,
) -> Response {
    let known = async {
        // Of application keys the visitor's own are counted.
        let keys = keys::keys(desk, visitor, kind, true).await?;
        Ok::<_, ServiceError>((keys, owners(desk, visitor, kind, &form).await?))
    };
    let (keys, owners) = match known.await {
        Ok(known) => known,
        Err(error) => return failed(visitor, &error),
    };
    let language = visitor.language;
    let most = desk.service.store().limits().most(kind);
    let active = keys::active(&keys, own(kind, visitor));
    let shown = NewPage {
        shell: visitor.shell(section(kind)),
        w: words(language),
        k: words_kinds::of(language, kind),
        base: base(kind),
        kind,
        counts: words_kinds::counts(language, kind, active, most),
        scopes: form.scope_boxes(language),
        form,
        exact: None,
        owners,
        today: Now::of(visitor).today(),
    };
    page(status, shown)
}

/// Whom the visitor can make application keys for: themselves, and service accounts where their role lets them.
async fn owners(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    form: &Entered,
) -> Result<Vec<Owner>, ServiceError> {
    if kind != KeyKind::ApplicationKey || !visitor.may(Permission::ServiceAccountWrite) {
        return Ok(Vec::new());
    }
    let request = Request::ListUsers {
        org: visitor.org.id.to_string(),
        kind: UserKind::ServiceAccount,
    };
    let Answer::Users(accounts) = ask(desk, visitor, request).await? else {
        return Err(ServiceError::Unknown);
    };
    let own = visitor.user.id.to_string();
    let is_chosen = |id: &str| form.owner == id;
    let mut owners = vec![Owner {
        is_chosen: is_chosen(&own),
        id: own,
        name: yourself(visitor),
        is_account: false,
    }];
    let enabled = accounts.into_iter().filter(|account| !account.disabled);
    owners.extend(enabled.map(|account| {
        let id = account.id.to_string();
        Owner {
            is_chosen: is_chosen(&id),
            id,
            name: account.name,
            is_account: true,
        }
    }));
    Ok(owners)
}

fn yourself(visitor: &Visitor) -> String {
    let language: Language = visitor.language;
    format!("{} ({})", words(language).yourself, visitor.user.name)
}
