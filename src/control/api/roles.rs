//! The three roles and the permissions in the key management API. They are fixed: which role has which permission is in
//! `keys::permissions`. What changes is who has which role.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Shared;
use super::answers::{Answer, Document, Failure, Identifier, Meta, PageMeta, Reply, ToMany};
use super::auth::Asker;
use super::body::{Asked, Named, One, Posted};
use super::paging::Page;
use super::users::{self, UserQuery};
use crate::control::{Request, UserChanges};
use crate::keys;
use crate::keys::permissions::Permission as Granted;
use crate::keys::rules::Refusal;

/// Every role, the greatest first.
const ROLES: [keys::Role; 3] = [
    keys::Role::Admin,
    keys::Role::Standard,
    keys::Role::ReadOnly,
];

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(list_permissions_of))
        .routes(routes!(list_users, give, take))
        .routes(routes!(list_permissions))
}

/// The same id on every installation, so that a client's configuration can name it.
fn fixed_id(what: &str, name: &str) -> Uuid {
    let hash: [u8; 32] = Sha256::digest(format!("keygate {what} {name}").as_bytes()).into();
    let mut bytes = [0; 16];
    for (byte, hashed) in bytes.iter_mut().zip(hash) {
        *byte = hashed;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The id of a role.
pub(super) fn id_of(role: keys::Role) -> Uuid {
    fixed_id("role", role.as_str())
}

/// The role with this id.
pub(super) fn with_id(text: &str) -> Option<keys::Role> {
    let id = Uuid::try_parse(text).ok()?;
    ROLES.into_iter().find(|role| id_of(*role) == id)
}

/// What clients look for it by: the names that Terraform configurations have in them.
const fn name_of(role: keys::Role) -> &'static str {
    match role {
        keys::Role::Admin => "Datadog Admin Role",
        keys::Role::Standard => "Datadog Standard Role",
        keys::Role::ReadOnly => "Datadog Read Only Role",
    }
}

/// A role.
#[derive(Serialize, ToSchema)]
pub(super) struct Role {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: RoleAttributes,
    relationships: RoleRelations,
}

/// What a role is like.
#[derive(Serialize, ToSchema)]
struct RoleAttributes {
    name: &'static str,
    /// What it is called on the command line.
    short_name: &'static str,
    /// Always true: nobody changes it.
    managed: bool,
    /// How many users of the org have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_count: Option<usize>,
}

/// What a role allows.
#[derive(Serialize, ToSchema)]
struct RoleRelations {
    permissions: ToMany,
}

impl Role {
    pub(super) fn of(role: keys::Role, user_count: Option<usize>) -> Self {
        let permissions =
            granted(role).map(|one| Identifier::new("permissions", permission_id(one)));
        Self {
            kind: "roles",
            id: id_of(role).to_string(),
            attributes: RoleAttributes {
                name: name_of(role),
                short_name: role.as_str(),
                managed: true,
                user_count,
            },
            relationships: RoleRelations {
                permissions: ToMany {
                    data: permissions.collect(),
                },
            },
        }
    }
}

fn granted(role: keys::Role) -> impl Iterator<Item = Granted> {
    let all = Granted::ALL.iter().copied();
    all.filter(move |permission| permission.is_of(role))
}

fn permission_id(permission: Granted) -> Uuid {
    fixed_id("permission", permission.as_str())
}

/// A permission.
#[derive(Serialize, ToSchema)]
pub(super) struct Permission {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: PermissionAttributes,
}

/// What a permission is like.
#[derive(Serialize, ToSchema)]
struct PermissionAttributes {
    /// What scopes call it.
    name: &'static str,
    display_name: &'static str,
    description: &'static str,
    group_name: &'static str,
    display_type: &'static str,
    restricted: bool,
}

impl Permission {
    fn of(permission: Granted) -> Self {
        let name = permission.as_str();
        Self {
            kind: "permissions",
            id: permission_id(permission).to_string(),
            attributes: PermissionAttributes {
                name,
                display_name: name,
                description: permission.meaning(),
                group_name: "Access Management",
                display_type: if name.ends_with("_read") {
                    "read"
                } else {
                    "write"
                },
                restricted: false,
            },
        }
    }
}

/// The permissions of a role.
pub(super) fn permissions_of(role: keys::Role) -> Vec<Permission> {
    granted(role).map(Permission::of).collect()
}

/// The parameters of the list of roles.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct RoleQuery {
    /// How many on a page: 1 to 100, which is also what it is without.
    #[serde(rename = "page[size]")]
    size: Option<String>,
    /// Which page, from 0.
    #[serde(rename = "page[number]")]
    number: Option<String>,
    /// `name`, or `-name`.
    sort: Option<String>,
    /// Only those with this in their name.
    filter: Option<String>,
    /// Only the one with this id.
    #[serde(rename = "filter[id]")]
    id: Option<String>,
}

/// List the roles.
#[utoipa::path(get, path = "/api/v2/roles", tag = "Roles", params(RoleQuery),
    responses((status = 200, description = "The three roles", body = Document<Vec<Role>>)))]
async fn list(asker: Asker, Asked(query): Asked<RoleQuery>) -> Answer {
    let users = users::all(&asker).await?;
    let filter = query.filter.unwrap_or_default().to_lowercase();
    let mut roles = ROLES.to_vec();
    roles.retain(|role| {
        (name_of(*role).to_lowercase().contains(&filter) || role.as_str().contains(&filter))
            && query
                .id
                .as_deref()
                .is_none_or(|id| with_id(id) == Some(*role))
    });
    roles.sort_by_key(|role| name_of(*role));
    match query.sort.as_deref() {
        None | Some("name") => {}
        Some("-name") => roles.reverse(),
        Some(_) => {
            return Err(Refusal::ParameterMalformed {
                name: "sort".into(),
                wanted: "name or -name",
            }
            .into());
        }
    }
    let count = roles.len();
    let page = Page::of(query.size.as_deref(), query.number.as_deref())?.cut(roles);
    let having = |role| users.iter().filter(|user| user.role == role).count();
    let data: Vec<Role> = page
        .into_iter()
        .map(|role| Role::of(role, Some(having(role))))
        .collect();
    Ok(Reply::ok(&Document {
        data,
        included: Vec::new(),
        meta: Some(Meta {
            page: PageMeta {
                total_filtered_count: Some(count),
                total_count: Some(ROLES.len()),
                after: None,
            },
            ..Meta::default()
        }),
    }))
}

fn find(id: &str) -> Result<keys::Role, Failure> {
    with_id(id).ok_or_else(|| Failure::not_found("role"))
}

/// One role.
#[utoipa::path(get, path = "/api/v2/roles/{role_id}", tag = "Roles", params(("role_id" = String, Path)),
    responses((status = 200, description = "The role", body = Document<Role>)))]
async fn show(asker: Asker, Named(id): Named<String>) -> Answer {
    let role = find(&id)?;
    let users = users::all(&asker).await?;
    let having = users.iter().filter(|user| user.role == role).count();
    Ok(Reply::ok(&Document::of(Role::of(role, Some(having)))))
}

/// The permissions of a role.
#[utoipa::path(get, path = "/api/v2/roles/{role_id}/permissions", tag = "Roles",
    params(("role_id" = String, Path)),
    responses((status = 200, description = "Its permissions", body = Document<Vec<Permission>>)))]
async fn list_permissions_of(_asker: Asker, Named(id): Named<String>) -> Answer {
    Ok(Reply::ok(&Document::of(permissions_of(find(&id)?))))
}

/// The permissions that there are.
#[utoipa::path(get, path = "/api/v2/permissions", tag = "Roles",
    responses((status = 200, description = "Every permission", body = Document<Vec<Permission>>)))]
async fn list_permissions(_asker: Asker) -> Answer {
    Ok(Reply::ok(&Document::of(permissions_of(keys::Role::Admin))))
}

/// The users who have a role.
#[utoipa::path(get, path = "/api/v2/roles/{role_id}/users", tag = "Roles",
    params(("role_id" = String, Path), UserQuery),
    responses((status = 200, description = "A page of them", body = Document<Vec<users::User>>)))]
async fn list_users(
    asker: Asker,
    Named(id): Named<String>,
    Asked(query): Asked<UserQuery>,
) -> Answer {
    let role = find(&id)?;
    let mut users = users::all(&asker).await?;
    users.retain(|user| user.role == role);
    Ok(Reply::ok(&users::page(users, &query)?))
}

/// Give a user this role. It takes the place of the one that the user had: everybody has exactly one.
#[utoipa::path(post, path = "/api/v2/roles/{role_id}/users", tag = "Roles",
    params(("role_id" = String, Path)), request_body = One,
    responses((status = 200, description = "The users who have it", body = Document<Vec<users::User>>)))]
async fn give(Named(id): Named<String>, Posted(asker, body): Posted<One>) -> Answer {
    let role = find(&id)?;
    let user = user_in(body)?;
    let change = UserChanges {
        role: Some(role),
        ..UserChanges::default()
    };
    let user = users::find(&asker, &user).await?.id.to_string();
    let performed = asker.perform(Request::UpdateUser { user, change }).await?;
    Ok(having(&asker, role).await?.noted(performed.audit))
}

/// Take a role from a user. One that the user has is kept until another is given: everybody has exactly one.
#[utoipa::path(delete, path = "/api/v2/roles/{role_id}/users", tag = "Roles",
    params(("role_id" = String, Path)), request_body = One,
    responses((status = 200, description = "The users who have it", body = Document<Vec<users::User>>)))]
async fn take(Named(id): Named<String>, Posted(asker, body): Posted<One>) -> Answer {
    let role = find(&id)?;
    let user = users::find(&asker, &user_in(body)?).await?;
    if user.role == role {
        return Err(Refusal::RoleUnknown.into());
    }
    having(&asker, role).await
}

fn user_in(body: One) -> Result<String, Refusal> {
    body.data
        .map(|user| user.id)
        .ok_or(Refusal::ParameterMalformed {
            name: "data".into(),
            wanted: "a user",
        })
}

async fn having(asker: &Asker, role: keys::Role) -> Answer {
    let mut users = users::all(asker).await?;
    users.retain(|user| user.role == role);
    Ok(Reply::ok(&users::page(users, &UserQuery::default())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_roles_are_the_same_for_ever() {
        // Configurations of Terraform name them.
        let ids = ROLES.map(|role| id_of(role).to_string());
        assert_eq!(
            ids,
            [
                "0279d4e2-c962-8451-a39c-46d5bec048ef",
                "f86cfb7f-7102-8cbd-8451-0aa8da758ad8",
                "db8505bf-a740-8a9b-9465-f0db6c764890",
            ]
        );
        for role in ROLES {
            assert_eq!(with_id(&id_of(role).to_string()), Some(role));
        }
        assert_eq!(with_id("admin"), None);
    }
}
