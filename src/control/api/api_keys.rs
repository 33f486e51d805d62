//! API keys in the key management API (WIRE 5.3).

use std::convert::identity;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{Answer, Document, ToNone, ToOne, wire_time};
use super::auth::Asker;
use super::body::{Asked, Incoming, Named, Posted, present};
use super::key_answers::{self as answers, KeyDocument, Most};
use super::key_parts::{self as parts, Rotation, some_time};
use super::paging::{KeyQuery, OneQuery};
use crate::control::{KeyChanges, KeyView, Request, SecretText};
use crate::keys::{KeyKind, Labels};

const TYPE: &str = "api_keys";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, revoke))
        .routes(routes!(rotate))
}

/// An API key.
#[derive(Serialize, ToSchema)]
pub(super) struct ApiKey {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Attributes,
    relationships: Relations,
}

/// What an API key is like.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyAttributes)]
struct Attributes {
    name: String,
    created_at: String,
    modified_at: String,
    last4: String,
    /// The key itself, only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<SecretText>,
    category: String,
    remote_config_read_enabled: bool,
    /// When it was last used.
    date_last_used: Option<String>,
    used_in_last_24_hours: bool,
    last_used_date: LastUsed,
    /// From then on it is refused.
    expires_at: Option<String>,
    /// The addresses that it may be used from; empty is any.
    #[schema(value_type = Vec<String>)]
    allowed_addresses: Vec<IpNet>,
    /// Since when its requests pass and are counted as those that would not if it were revoked.
    shadow_revoked_at: Option<String>,
}

/// When an API key was last used.
#[derive(Serialize, ToSchema)]
struct LastUsed {
    timestamp: Option<String>,
    description: &'static str,
}

/// What an API key refers to.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyRelations)]
struct Relations {
    /// Absent where it was the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<ToOne>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_by: Option<ToOne>,
    leak_information: ToNone,
    /// Its successor.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<ToOne>,
    /// In the answer to a rotation: the key that it succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<ToOne>,
}

impl KeyDocument for ApiKey {
    const KIND: KeyKind = KeyKind::ApiKey;
    const TYPE: &'static str = TYPE;

    fn of(key: KeyView) -> Self {
        Self {
            kind: TYPE,
            id: key.id.to_string(),
            relationships: Relations {
                created_by: ToOne::user(&key.created_by),
                modified_by: ToOne::user(&key.modified_by),
                leak_information: ToNone::default(),
                replaced_by: key.replaced_by.map(|id| ToOne::new(TYPE, id)),
                replaces: None,
            },
            attributes: Attributes {
                created_at: wire_time(&key.created_at),
                modified_at: wire_time(&key.modified_at),
                category: parts::category(&key).to_owned(),
                remote_config_read_enabled: key.remote_config_read,
                date_last_used: some_time(key.last_used_at.as_ref()),
                used_in_last_24_hours: parts::is_recent(key.last_used_at.as_ref()),
                last_used_date: LastUsed {
                    timestamp: some_time(key.last_used_at.as_ref()),
                    description: "When this key was last used; null if it never was",
                },
                expires_at: some_time(key.expires_at.as_ref()),
                shadow_revoked_at: some_time(key.shadow_revoked_at.as_ref()),
                name: key.name,
                last4: key.last4,
                key: key.secret,
                allowed_addresses: key.allowed_addresses,
            },
        }
    }

    fn succeeding(mut self, old: ToOne) -> Self {
        self.relationships.replaces = Some(old);
        self
    }
}

/// What a new API key is to be like.
#[derive(Deserialize, ToSchema)]
struct NewApiKey {
    /// Unique in the org among active API keys.
    name: String,
    category: Option<String>,
    remote_config_read_enabled: Option<bool>,
    /// A time, or a day (to its end, UTC).
    expires_at: Option<String>,
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    allowed_addresses: Vec<IpNet>,
}

/// What is to be different about an API key.
#[derive(Deserialize, ToSchema)]
struct ApiKeyChange {
    name: String,
    category: Option<String>,
    remote_config_read_enabled: Option<bool>,
    /// A time, or a day (to its end, UTC); `null` is never.
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<String>>,
    #[schema(value_type = Option<Vec<String>>)]
    allowed_addresses: Option<Vec<IpNet>>,
    /// Whether it is shadow-revoked.
    shadow_revoked: Option<bool>,
}

/// List the API keys of the org.
#[utoipa::path(get, path = "/api/v2/api_keys", tag = "API keys", params(KeyQuery),
    responses((status = 200, description = "A page of them", body = Document<Vec<ApiKey>>)))]
async fn list(asker: Asker, Asked(query): Asked<KeyQuery>) -> Answer {
    let all = parts::list(&asker, ApiKey::KIND).await?;
    let most = Most::OfOrg(asker.desk().rules.api_keys_per_org_max);
    answers::page::<ApiKey>(&asker, &query, all, most, identity).await
}

/// Make an API key. Its secret is in this answer and never again.
#[utoipa::path(post, path = "/api/v2/api_keys", tag = "API keys", request_body = Incoming<NewApiKey>,
    responses((status = 201, description = "Made", body = Document<ApiKey>)))]
async fn create(Posted(asker, body): Posted<Incoming<NewApiKey>>) -> Answer {
    let (new, _) = body.making(TYPE)?;
    let labels = Labels {
        category: new
            .category
            .filter(|text| !text.is_empty() && text != "default")
            .map(Into::into),
        remote_config_read: new.remote_config_read_enabled.unwrap_or(true),
    };
    let request = Request::CreateApiKey {
        org: asker.own_org(),
        name: new.name,
        expires_at: new.expires_at.as_deref().map(parts::expiry).transpose()?,
        allowed_addresses: new.allowed_addresses,
        secret: None,
        labels,
    };
    answers::make::<ApiKey>(&asker, request).await
}

/// One API key, without its secret.
#[utoipa::path(get, path = "/api/v2/api_keys/{api_key_id}", tag = "API keys",
    params(("api_key_id" = String, Path), OneQuery),
    responses((status = 200, description = "The key", body = Document<ApiKey>)))]
async fn show(asker: Asker, Named(id): Named<String>, Asked(query): Asked<OneQuery>) -> Answer {
    let key = parts::find(&asker, ApiKey::KIND, &id).await?;
    answers::one::<ApiKey>(&asker, &query.into_list(), key, identity).await
}

/// Change an API key.
#[utoipa::path(patch, path = "/api/v2/api_keys/{api_key_id}", tag = "API keys",
    params(("api_key_id" = String, Path)), request_body = Incoming<ApiKeyChange>,
    responses((status = 200, description = "As it is now", body = Document<ApiKey>)))]
async fn update(
    Named(id): Named<String>,
    Posted(asker, body): Posted<Incoming<ApiKeyChange>>,
) -> Answer {
    let key = parts::find(&asker, ApiKey::KIND, &id).await?;
    let (change, relations) = body.changing(TYPE, &id)?;
    relations.moves_nothing(None, &key.created_by, &key.org_id.to_string())?;
    let (expires_at, never_expires) = parts::expiry_change(change.expires_at)?;
    let change = KeyChanges {
        name: Some(change.name),
        expires_at,
        never_expires,
        allowed_addresses: change.allowed_addresses,
        category: change.category,
        remote_config_read: change.remote_config_read_enabled,
        shadowed: change.shadow_revoked,
        ..KeyChanges::default()
    };
    answers::change::<ApiKey>(&asker, id, change).await
}

/// Revoke an API key, for good. The last one of an org stays.
#[utoipa::path(delete, path = "/api/v2/api_keys/{api_key_id}", tag = "API keys",
    params(("api_key_id" = String, Path)), responses((status = 204, description = "Revoked")))]
async fn revoke(asker: Asker, Named(id): Named<String>) -> Answer {
    parts::revoke(&asker, ApiKey::KIND, &id).await
}

/// Give an API key a successor. Its secret is in this answer and never again.
#[utoipa::path(post, path = "/api/v2/api_keys/{api_key_id}/rotate", tag = "API keys",
    params(("api_key_id" = String, Path)), request_body = Rotation,
    responses((status = 201, description = "The successor", body = Document<ApiKey>)))]
async fn rotate(Named(id): Named<String>, Posted(asker, body): Posted<Rotation>) -> Answer {
    answers::succeed::<ApiKey>(&asker, &id, body).await
}
