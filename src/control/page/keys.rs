//! The pages of API keys, application keys and client tokens: their routes, and what the files of each page share. What may
//! be done is decided by the operations.

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;

use super::keys_facts::{Facts, Now, Rights, base};
use super::shell::Section;
use super::usage::pictures;
use super::usage_chart::Chart;
use super::visitor::Visitor;
use super::{keys_detail, keys_list, keys_new, keys_revoke, keys_rotate, keys_shadow};
use crate::control::desk::Desk;
use crate::control::{KeyStatus, KeyView, Request, Response, ServiceError, UserView};
use crate::keys::refusal::Refusal;
use crate::keys::{KeyKind, UserId};
use crate::store::StoreError;

/// Every kind, in the order of the navigation.
const KINDS: [KeyKind; 3] = [
    KeyKind::ApiKey,
    KeyKind::ApplicationKey,
    KeyKind::ClientToken,
];

/// Their routes: the same pages for each kind.
pub(super) fn router() -> Router<Arc<Desk>> {
    KINDS.into_iter().fold(Router::new(), |router, kind| {
        let (list, one) = (base(kind), format!("{}/{{id}}", base(kind)));
        router
            .route(list, get(keys_list::list))
            .route(
                &format!("{list}/new"),
                get(keys_new::form).post(keys_new::create),
            )
            .route(&one, get(keys_detail::show).post(keys_detail::change))
            .route(
                &format!("{one}/revoke"),
                get(keys_revoke::confirm).post(keys_revoke::revoke),
            )
            .route(
                &format!("{one}/rotate"),
                get(keys_rotate::form).post(keys_rotate::rotate),
            )
            .route(
                &format!("{one}/shadow"),
                get(keys_shadow::explain).post(keys_shadow::set),
            )
    })
}

/// Which kind of key a page is about: the first part of its path.
#[derive(Clone, Copy)]
pub(super) struct Of(pub(super) KeyKind);

impl<S: Sync> FromRequestParts<S> for Of {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let first = parts.uri.path().split('/').nth(1).unwrap_or_default();
        let kind = KINDS
            .into_iter()
            .find(|kind| base(*kind).get(1..) == Some(first));
        kind.map(Self).ok_or(StatusCode::NOT_FOUND)
    }
}

/// The part of the navigation.
pub(super) const fn section(kind: KeyKind) -> Section {
    match kind {
        KeyKind::ApiKey => Section::ApiKeys,
        KeyKind::ApplicationKey => Section::ApplicationKeys,
        KeyKind::ClientToken => Section::ClientTokens,
    }
}

/// Performs an operation as the visitor.
pub(super) async fn ask(
    desk: &Desk,
    visitor: &Visitor,
    request: Request,
) -> Result<Response, ServiceError> {
    let performed = desk.service.perform(&visitor.caller(), request).await?;
    Ok(performed.response)
}

/// One key.
pub(super) async fn key(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    id: &str,
) -> Result<KeyView, ServiceError> {
    let id = id.to_owned();
    match ask(desk, visitor, Request::ShowKey { kind, id }).await? {
        Response::Key(key) => Ok(key),
        _ => Err(ServiceError::Unknown),
    }
}

/// The keys of a kind that the visitor may see: of application keys their own, where their role does not show the others'.
pub(super) async fn keys(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    is_own: bool,
) -> Result<Vec<KeyView>, ServiceError> {
    let request = match (kind, is_own) {
        (KeyKind::ApplicationKey, true) => Request::ListKeysOfOwner {
            owner: visitor.user.id.to_string(),
        },
        (KeyKind::ApiKey | KeyKind::ApplicationKey | KeyKind::ClientToken, _) => {
            Request::ListKeys {
                kind,
                org: visitor.org.id.to_string(),
            }
        }
    };
    match ask(desk, visitor, request).await? {
        Response::Keys(keys) => Ok(keys),
        _ => Err(ServiceError::Unknown),
    }
}

/// One user; `None` where there is none to be seen.
pub(super) async fn user(
    desk: &Desk,
    visitor: &Visitor,
    id: &str,
) -> Result<Option<UserView>, ServiceError> {
    let user = id.to_owned();
    match ask(desk, visitor, Request::ShowUser { user }).await {
        Ok(Response::User(user)) => Ok(Some(user)),
        Ok(_) => Err(ServiceError::Unknown),
        Err(ServiceError::Store(StoreError::Refused(
            Refusal::NotFound { .. } | Refusal::NotPermitted { .. },
        ))) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many are not revoked, of a kind and, for application keys, of an owner: those that the limit counts.
pub(super) fn active(keys: &[KeyView], owner: Option<UserId>) -> usize {
    let counts = |key: &&KeyView| {
        key.status == KeyStatus::Active && (owner.is_none() || key.owner_id == owner)
    };
    keys.iter().filter(counts).count()
}

/// How many would be left without this one, as the rule of the last key counts them: one that has expired is none, unless the
/// one to go has expired itself.
pub(super) fn left_without(keys: &[KeyView], gone: &KeyView) -> usize {
    let now = jiff::Timestamp::now();
    let has_expired = |key: &KeyView| {
        let at = key
            .expires_at
            .as_ref()
            .and_then(|at| at.parse::<jiff::Timestamp>().ok());
        at.is_some_and(|at| at <= now)
    };
    let counts_expired = has_expired(gone);
    let is_left = |key: &&KeyView| {
        key.id != gone.id
            && key.status == KeyStatus::Active
            && (counts_expired || !has_expired(key))
    };
    keys.iter().filter(is_left).count()
}

/// What a page about one key needs to know.
pub(super) struct Known {
    pub(super) view: KeyView,
    pub(super) facts: Facts,
    pub(super) owner: Option<UserView>,
    pub(super) rights: Rights,
    /// Its use over time.
    pub(super) charts: [Chart; 2],
}

/// One key, and what those are called who have to do with it.
pub(super) async fn known(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
    id: &str,
) -> Result<Known, ServiceError> {
    let request = Request::ShowKeyUse {
        kind,
        id: id.to_owned(),
    };
    let Response::KeyUse(mut uses) = ask(desk, visitor, request).await? else {
        return Err(ServiceError::Unknown);
    };
    let charts = pictures(visitor.language, &uses);
    uses.key.sources = std::mem::take(&mut uses.sources);
    let view = uses.key;
    let owner = match view.owner_id {
        Some(owner) => user(desk, visitor, &owner.to_string()).await?,
        None => None,
    };
    let mut names: Vec<(String, String)> = Vec::new();
    let by = [
        Some(&view.created_by),
        Some(&view.modified_by),
        view.revoked_by.as_ref(),
    ];
    for id in by.into_iter().flatten() {
        let is_new = names.iter().all(|(known, _)| known != id);
        if is_new
            && id.parse::<UserId>().is_ok()
            && let Some(user) = user(desk, visitor, id).await?
        {
            names.push((id.clone(), user.name));
        }
    }
    let name_of = |id: &str| {
        let found = names.iter().find(|(known, _)| known == id);
        found.map(|(_, name)| name.clone())
    };
    let mut facts = Facts::of(&view, Now::of(visitor), &name_of);
    facts.used.would_be_refused = uses.shadow.map(|shadow| shadow.requests);
    Ok(Known {
        charts,
        facts,
        rights: Rights::of(visitor, kind, owner.as_ref()),
        owner,
        view,
    })
}
