//! Service accounts in the key management API, and their application keys (WIRE 5.4). A service account is a user: what it has
//! in common with people is in `users`.

use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{Answer, Document, Failure, Reply};
use super::application_keys::{
    self as keys, ApplicationKey, ApplicationKeyChange, NewApplicationKey,
};
use super::auth::Asker;
use super::body::{Asked, Incoming, Named, Posted};
use super::key_answers as answers;
use super::key_parts::{self as parts, Rotation};
use super::paging::KeyQuery;
use super::users::{self, User};
use crate::control::{KeyView, Request};
use crate::keys::rules::Refusal;
use crate::keys::{KeyKind, UserKind};

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(list_keys, create_key))
        .routes(routes!(show_key, update_key, revoke_key))
        .routes(routes!(rotate_key))
}

/// What a new service account is to be like.
#[derive(Deserialize, ToSchema)]
struct NewServiceAccount {
    /// Where its people are reached. Others may have the same one.
    email: String,
    /// Without it, the e-mail address.
    name: Option<String>,
    /// Always true.
    service_account: Option<bool>,
}

/// Make a service account.
#[utoipa::path(post, path = "/api/v2/service_accounts", tag = "Service accounts",
    request_body = Incoming<NewServiceAccount>,
    responses((status = 201, description = "Made", body = Document<User>)))]
async fn create(Posted(asker, body): Posted<Incoming<NewServiceAccount>>) -> Answer {
    let (new, relations) = body.making("users")?;
    if new.service_account == Some(false) {
        return Err(Refusal::ParameterMalformed {
            name: "data.attributes.service_account".into(),
            wanted: "true, or make a user at /api/v2/users",
        }
        .into());
    }
    let email = new.email.to_lowercase();
    let mut performed = asker
        .perform(Request::CreateServiceAccount {
            org: asker.own_org(),
            name: new.name.unwrap_or_else(|| email.clone()),
            email: Some(email),
            role: users::role_wanted(&relations)?,
        })
        .await?;
    let user = users::user_of(&mut performed)?;
    Ok(Reply::created(&users::document(&user)).noted(performed.audit))
}

/// The id of a service account of the org, in the form in which ids are written.
async fn account(asker: &Asker, id: &str) -> Result<String, Failure> {
    let user = users::find(asker, id)
        .await
        .map_err(|failure| match failure.status() {
            axum::http::StatusCode::NOT_FOUND => Failure::not_found("service account"),
            _ => failure,
        })?;
    match user.kind {
        UserKind::ServiceAccount => Ok(user.id.to_string()),
        UserKind::Person => Err(Failure::not_found("service account")),
    }
}

async fn key_of(asker: &Asker, (of, id): &(String, String)) -> Result<KeyView, Failure> {
    let owner = account(asker, of).await?;
    parts::find_of(asker, &owner, id).await
}

/// List the application keys of a service account.
#[utoipa::path(get, path = "/api/v2/service_accounts/{service_account_id}/application_keys",
    tag = "Service accounts", params(("service_account_id" = String, Path), KeyQuery),
    responses((status = 200, description = "A page of them", body = Document<Vec<ApplicationKey>>)))]
async fn list_keys(
    asker: Asker,
    Named(id): Named<String>,
    Asked(query): Asked<KeyQuery>,
) -> Answer {
    let owner = account(&asker, &id).await?;
    let all = parts::list_of(&asker, &owner).await?;
    keys::page_of(&asker, &query, all, ApplicationKey::without_owner).await
}

/// Make an application key of a service account. Its secret is in this answer and never again.
#[utoipa::path(post, path = "/api/v2/service_accounts/{service_account_id}/application_keys",
    tag = "Service accounts", params(("service_account_id" = String, Path)),
    request_body = Incoming<NewApplicationKey>,
    responses((status = 201, description = "Made", body = Document<ApplicationKey>)))]
async fn create_key(
    Named(id): Named<String>,
    Posted(asker, body): Posted<Incoming<NewApplicationKey>>,
) -> Answer {
    let owner = account(&asker, &id).await?;
    keys::create_for(&asker, owner, body).await
}

/// One application key of a service account.
#[utoipa::path(get, path = "/api/v2/service_accounts/{service_account_id}/application_keys/{app_key_id}",
    tag = "Service accounts", params(("service_account_id" = String, Path), ("app_key_id" = String, Path)),
    responses((status = 200, description = "The key", body = Document<ApplicationKey>)))]
async fn show_key(asker: Asker, Named(path): Named<(String, String)>) -> Answer {
    let key = key_of(&asker, &path).await?;
    answers::one(
        &asker,
        &KeyQuery::default(),
        key,
        ApplicationKey::without_owner,
    )
    .await
}

/// Change an application key of a service account.
#[utoipa::path(patch, path = "/api/v2/service_accounts/{service_account_id}/application_keys/{app_key_id}",
    tag = "Service accounts", params(("service_account_id" = String, Path), ("app_key_id" = String, Path)),
    request_body = Incoming<ApplicationKeyChange>,
    responses((status = 200, description = "As it is now", body = Document<ApplicationKey>)))]
async fn update_key(
    Named(path): Named<(String, String)>,
    Posted(asker, body): Posted<Incoming<ApplicationKeyChange>>,
) -> Answer {
    let key = key_of(&asker, &path).await?;
    keys::change(&asker, key, body).await
}

/// Revoke an application key of a service account, for good.
#[utoipa::path(delete, path = "/api/v2/service_accounts/{service_account_id}/application_keys/{app_key_id}",
    tag = "Service accounts", params(("service_account_id" = String, Path), ("app_key_id" = String, Path)),
    responses((status = 204, description = "Revoked")))]
async fn revoke_key(asker: Asker, Named(path): Named<(String, String)>) -> Answer {
    let key = key_of(&asker, &path).await?;
    parts::revoke(&asker, KeyKind::ApplicationKey, &key.id.to_string()).await
}

/// Give an application key of a service account a successor.
#[utoipa::path(post, path = "/api/v2/service_accounts/{service_account_id}/application_keys/{app_key_id}/rotate",
    tag = "Service accounts", params(("service_account_id" = String, Path), ("app_key_id" = String, Path)),
    request_body = Rotation,
    responses((status = 201, description = "The successor", body = Document<ApplicationKey>)))]
async fn rotate_key(
    Named((of, id)): Named<(String, String)>,
    Posted(asker, body): Posted<Rotation>,
) -> Answer {
    let owner = account(&asker, &of).await?;
    parts::owned(&asker, &owner, &id).await?;
    answers::succeed::<ApplicationKey>(&asker, &id, body).await
}
