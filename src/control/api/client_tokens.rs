//! Client tokens in the key management API, under a path of our own in the style of API keys (WIRE 5.6: there is no public
//! one).

use std::convert::identity;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{Answer, Document, ToOne, wire_time};
use super::auth::Asker;
use super::body::{Asked, Incoming, Named, Posted, present};
use super::key_answers::{self as answers, KeyDocument, Most};
use super::key_parts::{self as parts, Rotation, some_time};
use super::paging::{KeyQuery, OneQuery};
use crate::control::{KeyChanges, KeyView, Request, SecretText};
use crate::keys::KeyKind;

const TYPE: &str = "client_tokens";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, revoke))
        .routes(routes!(rotate))
}

/// A client token.
#[derive(Serialize, ToSchema)]
struct ClientToken {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Attributes,
    relationships: Relations,
}

/// What a client token is like.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientTokenAttributes)]
struct Attributes {
    name: String,
    created_at: String,
    modified_at: String,
    last4: String,
    /// The token itself, only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    key: Option<SecretText>,
    last_used_at: Option<String>,
    /// From then on it is refused.
    expires_at: Option<String>,
    /// The page origins that it may be used from; empty is any.
    allowed_origins: Vec<String>,
    /// Since when its requests pass and are counted as those that would not if it were revoked.
    shadow_revoked_at: Option<String>,
}

/// What a client token refers to.
#[derive(Serialize, ToSchema)]
#[schema(as = ClientTokenRelations)]
struct Relations {
    #[serde(skip_serializing_if = "Option::is_none")]
    created_by: Option<ToOne>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_by: Option<ToOne>,
    /// Its successor.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced_by: Option<ToOne>,
    /// In the answer to a rotation: the token that it succeeds.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<ToOne>,
}

impl KeyDocument for ClientToken {
    const KIND: KeyKind = KeyKind::ClientToken;
    const TYPE: &'static str = TYPE;

    fn of(key: KeyView) -> Self {
        Self {
            kind: TYPE,
            id: key.id.to_string(),
            relationships: Relations {
                created_by: ToOne::user(&key.created_by),
                modified_by: ToOne::user(&key.modified_by),
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
                allowed_origins: key.allowed_origins,
            },
        }
    }

    fn succeeding(mut self, old: ToOne) -> Self {
        self.relationships.replaces = Some(old);
        self
    }
}

/// What a new client token is to be like.
#[derive(Deserialize, ToSchema)]
struct NewClientToken {
    /// Unique in the org among active client tokens.
    name: String,
    /// A time, or a day (to its end, UTC).
    expires_at: Option<String>,
    #[serde(default)]
    allowed_origins: Vec<String>,
}

/// What is to be different about a client token.
#[derive(Deserialize, ToSchema)]
struct ClientTokenChange {
    name: Option<String>,
    /// A time, or a day (to its end, UTC); `null` is never.
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<String>>,
    allowed_origins: Option<Vec<String>>,
    /// Whether it is shadow-revoked.
    shadow_revoked: Option<bool>,
}

/// List the client tokens of the org.
#[utoipa::path(get, path = "/api/v2/client_tokens", tag = "Client tokens", params(KeyQuery),
    responses((status = 200, description = "A page of them", body = Document<Vec<ClientToken>>)))]
async fn list(asker: Asker, Asked(query): Asked<KeyQuery>) -> Answer {
    let all = parts::list(&asker, ClientToken::KIND).await?;
    let most = Most::OfOrg(asker.desk().rules.client_tokens_per_org_max);
    answers::page::<ClientToken>(&asker, &query, all, most, identity).await
}

/// Make a client token. It is in this answer and never again.
#[utoipa::path(post, path = "/api/v2/client_tokens", tag = "Client tokens",
    request_body = Incoming<NewClientToken>,
    responses((status = 201, description = "Made", body = Document<ClientToken>)))]
async fn create(Posted(asker, body): Posted<Incoming<NewClientToken>>) -> Answer {
    let (new, _) = body.making(TYPE)?;
    let request = Request::CreateClientToken {
        org: asker.own_org(),
        name: new.name,
        expires_at: new.expires_at.as_deref().map(parts::expiry).transpose()?,
        allowed_origins: new.allowed_origins,
    };
    answers::make::<ClientToken>(&asker, request).await
}

/// One client token, without its secret.
#[utoipa::path(get, path = "/api/v2/client_tokens/{client_token_id}", tag = "Client tokens",
    params(("client_token_id" = String, Path), OneQuery),
    responses((status = 200, description = "The token", body = Document<ClientToken>)))]
async fn show(asker: Asker, Named(id): Named<String>, Asked(query): Asked<OneQuery>) -> Answer {
    let key = parts::find(&asker, ClientToken::KIND, &id).await?;
    answers::one::<ClientToken>(&asker, &query.into_list(), key, identity).await
}

/// Change a client token.
#[utoipa::path(patch, path = "/api/v2/client_tokens/{client_token_id}", tag = "Client tokens",
    params(("client_token_id" = String, Path)), request_body = Incoming<ClientTokenChange>,
    responses((status = 200, description = "As it is now", body = Document<ClientToken>)))]
async fn update(
    Named(id): Named<String>,
    Posted(asker, body): Posted<Incoming<ClientTokenChange>>,
) -> Answer {
    let key = parts::find(&asker, ClientToken::KIND, &id).await?;
    let (change, relations) = body.changing(TYPE, &id)?;
    relations.moves_nothing(None, &key.created_by, &key.org_id.to_string())?;
    let (expires_at, never_expires) = parts::expiry_change(change.expires_at)?;
    let change = KeyChanges {
        name: change.name,
        expires_at,
        never_expires,
        allowed_origins: change.allowed_origins,
        shadowed: change.shadow_revoked,
        ..KeyChanges::default()
    };
    answers::change::<ClientToken>(&asker, id, change).await
}

/// Revoke a client token, for good.
#[utoipa::path(delete, path = "/api/v2/client_tokens/{client_token_id}", tag = "Client tokens",
    params(("client_token_id" = String, Path)), responses((status = 204, description = "Revoked")))]
async fn revoke(asker: Asker, Named(id): Named<String>) -> Answer {
    parts::revoke(&asker, ClientToken::KIND, &id).await
}

/// Give a client token a successor. It is in this answer and never again.
#[utoipa::path(post, path = "/api/v2/client_tokens/{client_token_id}/rotate", tag = "Client tokens",
    params(("client_token_id" = String, Path)), request_body = Rotation,
    responses((status = 201, description = "The successor", body = Document<ClientToken>)))]
async fn rotate(Named(id): Named<String>, Posted(asker, body): Posted<Rotation>) -> Answer {
    answers::succeed::<ClientToken>(&asker, &id, body).await
}
