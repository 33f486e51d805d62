//! Application keys in the key management API: those of the org and those of the caller (WIRE 5.4). Those of service accounts
//! are in `service_accounts`.

use std::convert::identity;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{Answer, Document, Failure, ToNone, ToOne, wire_time};
use super::auth::Asker;
use super::body::{Asked, Incoming, Named, Posted, present};
use super::key_answers::{self as answers, KeyDocument, Most};
use super::key_parts::{self as parts, Rotation, some_time};
use super::paging::{KeyQuery, OneQuery};
use crate::control::{KeyChanges, KeyView, Request, SecretText};
use crate::keys::KeyKind;

const TYPE: &str = "application_keys";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show, update, revoke))
        .routes(routes!(rotate))
        .routes(routes!(list_own, create_own))
        .routes(routes!(show_own, update_own, revoke_own))
        .routes(routes!(rotate_own))
}

/// An application key.
#[derive(Serialize, ToSchema)]
pub(super) struct ApplicationKey {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Attributes,
    relationships: Relations,
}

/// What an application key is like.
#[derive(Serialize, ToSchema)]
#[schema(as = ApplicationKeyAttributes)]
struct Attributes {
    name: String,
    created_at: String,
    modified_at: String,
    last4: String,
    /// The key itself, only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<SecretText>,
    /// What it may be used for; null is all that its owner may.
    scopes: Option<Vec<String>>,
    last_used_at: Option<String>,
    /// From then on it is refused.
    expires_at: Option<String>,
    /// Since when its requests pass and are counted as those that would not if it were revoked.
    shadow_revoked_at: Option<String>,
}

/// What an application key refers to.
#[derive(Serialize, ToSchema)]
#[schema(as = ApplicationKeyRelations)]
struct Relations {
    /// Whose it is, for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    owned_by: Option<ToOne>,
    leak_information: ToNone,
    /// Its successor.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<ToOne>,
    /// In the answer to a rotation: the key that it succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<ToOne>,
}

impl KeyDocument for ApplicationKey {
    const KIND: KeyKind = KeyKind::ApplicationKey;
    const TYPE: &'static str = TYPE;

    fn of(key: KeyView) -> Self {
        Self {
            kind: TYPE,
            id: key.id.to_string(),
            relationships: Relations {
                owned_by: key.owner_id.map(|id| ToOne::new("users", id)),
                leak_information: ToNone::default(),
                replaced_by: key.replaced_by.map(|id| ToOne::new(TYPE, id)),
                replaces: None,
            },
            attributes: Attributes {
                created_at: wire_time(&key.created_at),
                modified_at: wire_time(&key.modified_at),
                last_used_at: some_time(key.last_used_at.as_ref()),
                expires_at: some_time(key.expires_at.as_ref()),
                shadow_revoked_at: some_time(key.shadow_revoked_at.as_ref()),
                name: key.name,
                last4: key.last4,
                key: key.secret,
                scopes: key.scopes,
            },
        }
    }

    fn succeeding(mut self, old: ToOne) -> Self {
        self.relationships.replaces = Some(old);
        self
    }
}

impl ApplicationKey {
    /// As it is shown among others of the same owner (WIRE 5.4).
    pub(super) fn without_owner(mut self) -> Self {
        self.relationships.owned_by = None;
        self
    }
}

/// What a new application key is to be like.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewApplicationKey {
    /// Unique among the active keys of its owner.
    name: String,
    /// Empty or null is all that the owner may.
    scopes: Option<Vec<String>>,
    /// A time, or a day (to its end, UTC).
    expires_at: Option<String>,
}

/// What is to be different about an application key.
#[derive(Deserialize, ToSchema)]
pub(super) struct ApplicationKeyChange {
    name: Option<String>,
    /// Empty or null is all that the owner may.
    #[serde(default, deserialize_with = "present")]
    scopes: Option<Option<Vec<String>>>,
    /// A time, or a day (to its end, UTC); `null` is never.
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<String>>,
    /// Whether it is shadow-revoked.
    shadow_revoked: Option<bool>,
}

/// A page of keys.
pub(super) async fn page_of(
    asker: &Asker,
    query: &KeyQuery,
    all: Vec<KeyView>,
    shown: impl Fn(ApplicationKey) -> ApplicationKey,
) -> Answer {
    let most = Most::OfUser(asker.desk().rules.application_keys_per_user_max);
    answers::page(asker, query, all, most, shown).await
}

/// Makes a key of a user's.
pub(super) async fn create_for(
    asker: &Asker,
    owner: String,
    body: Incoming<NewApplicationKey>,
) -> Answer {
    let (new, relations) = body.making(TYPE)?;
    relations.moves_nothing(Some(&owner), &asker.user.to_string(), &asker.own_org())?;
    let request = Request::CreateApplicationKey {
        owner,
        name: new.name,
        expires_at: new.expires_at.as_deref().map(parts::expiry).transpose()?,
        scopes: new.scopes.unwrap_or_default(),
    };
    answers::make::<ApplicationKey>(asker, request).await
}

/// Changes a key that was found.
pub(super) async fn change(
    asker: &Asker,
    key: KeyView,
    body: Incoming<ApplicationKeyChange>,
) -> Answer {
    let id = key.id.to_string();
    let (change, relations) = body.changing(TYPE, &id)?;
    let owner = key.owner_id.map(|owner| owner.to_string());
    relations.moves_nothing(owner.as_deref(), &key.created_by, &key.org_id.to_string())?;
    let (expires_at, never_expires) = parts::expiry_change(change.expires_at)?;
    let change = KeyChanges {
        name: change.name,
        expires_at,
        never_expires,
        scopes: change.scopes.map(Option::unwrap_or_default),
        shadowed: change.shadow_revoked,
        ..KeyChanges::default()
    };
    answers::change::<ApplicationKey>(asker, id, change).await
}

/// List the application keys of the org.
#[utoipa::path(get, path = "/api/v2/application_keys", tag = "Application keys", params(KeyQuery),
    responses((status = 200, description = "A page of them", body = Document<Vec<ApplicationKey>>)))]
async fn list(asker: Asker, Asked(query): Asked<KeyQuery>) -> Answer {
    let mut all = parts::list(&asker, ApplicationKey::KIND).await?;
    if let Some(owner) = &query.owned_by {
        all.retain(|key| parts::is_of(key, owner));
    }
    page_of(&asker, &query, all, identity).await
}

/// One application key of the org.
#[utoipa::path(get, path = "/api/v2/application_keys/{app_key_id}", tag = "Application keys",
    params(("app_key_id" = String, Path), OneQuery),
    responses((status = 200, description = "The key", body = Document<ApplicationKey>)))]
async fn show(asker: Asker, Named(id): Named<String>, Asked(query): Asked<OneQuery>) -> Answer {
    let key = parts::find(&asker, ApplicationKey::KIND, &id).await?;
    answers::one::<ApplicationKey>(&asker, &query.into_list(), key, identity).await
}

/// Change an application key of the org.
#[utoipa::path(patch, path = "/api/v2/application_keys/{app_key_id}", tag = "Application keys",
    params(("app_key_id" = String, Path)), request_body = Incoming<ApplicationKeyChange>,
    responses((status = 200, description = "As it is now", body = Document<ApplicationKey>)))]
async fn update(
    Named(id): Named<String>,
    Posted(asker, body): Posted<Incoming<ApplicationKeyChange>>,
) -> Answer {
    let key = parts::find(&asker, ApplicationKey::KIND, &id).await?;
    change(&asker, key, body).await
}

/// Revoke an application key of the org, for good.
#[utoipa::path(delete, path = "/api/v2/application_keys/{app_key_id}", tag = "Application keys",
    params(("app_key_id" = String, Path)), responses((status = 204, description = "Revoked")))]
async fn revoke(asker: Asker, Named(id): Named<String>) -> Answer {
    parts::revoke(&asker, ApplicationKey::KIND, &id).await
}

/// Give an application key of one's own, or of a service account, a successor.
#[utoipa::path(post, path = "/api/v2/application_keys/{app_key_id}/rotate", tag = "Application keys",
    params(("app_key_id" = String, Path)), request_body = Rotation,
    responses((status = 201, description = "The successor", body = Document<ApplicationKey>)))]
async fn rotate(Named(id): Named<String>, Posted(asker, body): Posted<Rotation>) -> Answer {
    answers::succeed::<ApplicationKey>(&asker, &id, body).await
}

/// List one's own application keys.
#[utoipa::path(get, path = "/api/v2/current_user/application_keys", tag = "Application keys", params(KeyQuery),
    responses((status = 200, description = "A page of them", body = Document<Vec<ApplicationKey>>)))]
async fn list_own(asker: Asker, Asked(query): Asked<KeyQuery>) -> Answer {
    let all = parts::list_of(&asker, &asker.user.to_string()).await?;
    page_of(&asker, &query, all, ApplicationKey::without_owner).await
}

/// Make an application key of one's own. Its secret is in this answer and never again.
#[utoipa::path(post, path = "/api/v2/current_user/application_keys", tag = "Application keys",
    request_body = Incoming<NewApplicationKey>,
    responses((status = 201, description = "Made", body = Document<ApplicationKey>)))]
async fn create_own(Posted(asker, body): Posted<Incoming<NewApplicationKey>>) -> Answer {
    let owner = asker.user.to_string();
    create_for(&asker, owner, body).await
}

async fn own(asker: &Asker, id: &str) -> Result<KeyView, Failure> {
    parts::find_of(asker, &asker.user.to_string(), id).await
}

/// One of one's own application keys, with its owner and their role.
#[utoipa::path(get, path = "/api/v2/current_user/application_keys/{app_key_id}", tag = "Application keys",
    params(("app_key_id" = String, Path)),
    responses((status = 200, description = "The key", body = Document<ApplicationKey>)))]
async fn show_own(asker: Asker, Named(id): Named<String>) -> Answer {
    let key = own(&asker, &id).await?;
    let query = KeyQuery::including("owned_by");
    answers::one::<ApplicationKey>(&asker, &query, key, identity).await
}

/// Change one of one's own application keys.
#[utoipa::path(patch, path = "/api/v2/current_user/application_keys/{app_key_id}", tag = "Application keys",
    params(("app_key_id" = String, Path)), request_body = Incoming<ApplicationKeyChange>,
    responses((status = 200, description = "As it is now", body = Document<ApplicationKey>)))]
async fn update_own(
    Named(id): Named<String>,
    Posted(asker, body): Posted<Incoming<ApplicationKeyChange>>,
) -> Answer {
    let key = own(&asker, &id).await?;
    change(&asker, key, body).await
}

/// Revoke one of one's own application keys, for good.
#[utoipa::path(delete, path = "/api/v2/current_user/application_keys/{app_key_id}", tag = "Application keys",
    params(("app_key_id" = String, Path)), responses((status = 204, description = "Revoked")))]
async fn revoke_own(asker: Asker, Named(id): Named<String>) -> Answer {
    let key = own(&asker, &id).await?;
    parts::revoke(&asker, ApplicationKey::KIND, &key.id.to_string()).await
}

/// Give one of one's own application keys a successor.
#[utoipa::path(post, path = "/api/v2/current_user/application_keys/{app_key_id}/rotate", tag = "Application keys",
    params(("app_key_id" = String, Path)), request_body = Rotation,
    responses((status = 201, description = "The successor", body = Document<ApplicationKey>)))]
async fn rotate_own(Named(id): Named<String>, Posted(asker, body): Posted<Rotation>) -> Answer {
    // Asked again with the same Idempotency-Key, the key may be revoked by now, and the answer is still the same.
    parts::owned(&asker, &asker.user.to_string(), &id).await?;
    answers::succeed::<ApplicationKey>(&asker, &id, body).await
}
