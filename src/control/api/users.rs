//! Users in the key management API: people and service accounts. Their invitations are in `invitations`, their keys in the
//! files of keys.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{
    Answer, Document, Failure, Identifier, Included, Meta, PageMeta, Reply, ToMany, ToOne,
    wire_time,
};
use super::auth::Asker;
use super::body::{Asked, Incoming, Named, Posted, Relationships, present};
use super::paging::Page;
use super::{orgs, roles};
use crate::control::{Performed, Request, Response, UserChanges, UserView};
use crate::keys::rules::Refusal;
use crate::keys::{Role, UserId, UserKind};

const TYPE: &str = "users";

/// What a user is who is given no role: the least of them.
const ROLE_WITHOUT: Role = Role::ReadOnly;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, disable))
        .routes(routes!(list_orgs))
        .routes(routes!(list_permissions))
        .routes(routes!(current, update_current))
}

/// A user or service account.
#[derive(Serialize, ToSchema)]
pub(super) struct User {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Attributes,
    relationships: Relations,
}

/// What a user is like.
#[derive(Serialize, ToSchema)]
#[schema(as = UserAttributes)]
struct Attributes {
    uuid: String,
    name: String,
    /// With which the user signs in; a service account's is its id.
    handle: String,
    email: String,
    title: Option<String>,
    created_at: String,
    modified_at: String,
    /// Always empty: no picture is fetched from elsewhere.
    icon: &'static str,
    verified: bool,
    service_account: bool,
    disabled: bool,
    /// `Active` or `Disabled`.
    status: &'static str,
    mfa_enabled: bool,
    /// Always null; the audit log knows.
    last_login_time: Option<String>,
    allowed_login_methods: [&'static str; 0],
}

/// What a user refers to.
#[derive(Serialize, ToSchema)]
#[schema(as = UserRelations)]
struct Relations {
    /// Exactly one.
    roles: ToMany,
    org: ToOne,
}

impl User {
    pub(super) fn of(user: &UserView) -> Self {
        Self {
            kind: TYPE,
            id: user.id.to_string(),
            attributes: Attributes {
                uuid: user.id.to_string(),
                name: user.name.clone(),
                handle: user.handle.clone(),
                email: user.email.clone(),
                title: user.title.clone(),
                created_at: wire_time(&user.created_at),
                modified_at: wire_time(&user.modified_at),
                icon: "",
                verified: true,
                service_account: user.kind == UserKind::ServiceAccount,
                disabled: user.disabled,
                status: status(user),
                mfa_enabled: false,
                last_login_time: None,
                allowed_login_methods: [],
            },
            relationships: Relations {
                roles: ToMany {
                    data: vec![Identifier::new("roles", roles::id_of(user.role))],
                },
                org: ToOne::new("orgs", user.org_id),
            },
        }
    }
}

const fn status(user: &UserView) -> &'static str {
    if user.disabled { "Disabled" } else { "Active" }
}

/// A user with their role.
pub(super) fn document(user: &UserView) -> Document<User> {
    Document {
        included: with_role(user.role),
        ..Document::of(User::of(user))
    }
}

fn with_role(role: Role) -> Vec<Included> {
    let permissions = roles::permissions_of(role)
        .into_iter()
        .map(Included::Permission);
    let role = Included::Role(roles::Role::of(role, None));
    std::iter::once(role).chain(permissions).collect()
}

/// The role that a document gives.
pub(super) fn role_wanted(relations: &Relationships) -> Result<Role, Refusal> {
    Ok(role_given(relations)?.unwrap_or(ROLE_WITHOUT))
}

fn role_given(relations: &Relationships) -> Result<Option<Role>, Refusal> {
    let given = relations.roles.as_ref().map(|roles| roles.data.as_slice());
    match given.unwrap_or_default() {
        [] => Ok(None),
        [one] => roles::with_id(&one.id)
            .map(Some)
            .ok_or(Refusal::RoleUnknown),
        _ => Err(Refusal::RoleUnknown),
    }
}

/// A user of the org by id. Text that is none is no name here.
pub(super) async fn find(asker: &Asker, id: &str) -> Result<UserView, Failure> {
    let Ok(id) = id.parse::<UserId>() else {
        return Err(Failure::not_found("user"));
    };
    let user = id.to_string();
    match asker.look(Request::ShowUser { user }).await? {
        Response::User(user) => Ok(user),
        _ => Err(Failure::unexpected()),
    }
}

/// Everybody in the org.
pub(super) async fn all(asker: &Asker) -> Result<Vec<UserView>, Failure> {
    let mut users = Vec::new();
    for kind in [UserKind::Person, UserKind::ServiceAccount] {
        let org = asker.own_org();
        match asker.look(Request::ListUsers { org, kind }).await? {
            Response::Users(found) => users.extend(found),
            _ => return Err(Failure::unexpected()),
        }
    }
    Ok(users)
}

/// The user that an operation made or changed.
pub(super) fn user_of(performed: &mut Performed) -> Result<UserView, Failure> {
    let response = std::mem::replace(&mut performed.response, Response::Users(Vec::new()));
    match response {
        Response::User(user) => Ok(user),
        _ => Err(Failure::unexpected()),
    }
}

/// The parameters of a list of users.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct UserQuery {
    /// How many on a page: 1 to 100, which is also what it is without.
    #[serde(rename = "page[size]")]
    size: Option<String>,
    /// Which page, from 0.
    #[serde(rename = "page[number]")]
    number: Option<String>,
    /// `name`, `email`, `modified_at` or `created_at`; with a `-` before it, backwards.
    sort: Option<String>,
    /// `asc` or `desc`.
    sort_dir: Option<String>,
    /// Only those with this in their name, handle or e-mail address.
    filter: Option<String>,
    /// Only `Active` or `Disabled` ones; several are separated by commas. Nobody is `Pending` here.
    #[serde(rename = "filter[status]")]
    status: Option<String>,
}

/// A page of users.
pub(super) fn page(
    mut users: Vec<UserView>,
    query: &UserQuery,
) -> Result<Document<Vec<User>>, Refusal> {
    let total_count = users.len();
    let filter = query.filter.as_deref().unwrap_or_default().to_lowercase();
    let wanted = |user: &UserView| {
        [&user.name, &user.handle, &user.email]
            .iter()
            .any(|text| text.to_lowercase().contains(&filter))
    };
    let has_status = |user: &UserView| {
        let asked = query.status.as_deref();
        asked.is_none_or(|asked| {
            asked
                .split(',')
                .any(|each| each.trim().eq_ignore_ascii_case(status(user)))
        })
    };
    users.retain(|user| wanted(user) && has_status(user));
    let sort = query.sort.as_deref().unwrap_or("name");
    let (backwards, by) = match sort.strip_prefix('-') {
        Some(by) => (true, by),
        None => (query.sort_dir.as_deref() == Some("desc"), sort),
    };
    let by: fn(&UserView) -> String = match by {
        "name" => |user| user.name.to_lowercase(),
        "email" => |user| user.email.to_lowercase(),
        "modified_at" => |user| user.modified_at.clone(),
        "created_at" => |user| user.created_at.clone(),
        _ => {
            return Err(Refusal::ParameterMalformed {
                name: "sort".into(),
                wanted: "name, email, modified_at or created_at, perhaps with a - before it",
            });
        }
    };
    users.sort_by_cached_key(|user| (by(user), user.id));
    if backwards {
        users.reverse();
    }
    let count = users.len();
    let users = Page::of(query.size.as_deref(), query.number.as_deref())?.cut(users);
    let mut of_roles: Vec<Role> = Vec::new();
    for user in &users {
        if !of_roles.contains(&user.role) {
            of_roles.push(user.role);
        }
    }
    Ok(Document {
        data: users.iter().map(User::of).collect(),
        included: of_roles
            .iter()
            .map(|role| Included::Role(roles::Role::of(*role, None)))
            .collect(),
        meta: Some(Meta {
            page: PageMeta {
                total_filtered_count: Some(count),
                total_count: Some(total_count),
                after: None,
            },
            ..Meta::default()
        }),
    })
}

/// What a new user is to be like.
#[derive(Deserialize, ToSchema)]
struct NewUser {
    /// With which the user signs in: kept in lower case.
    email: String,
    /// Without it, the e-mail address.
    name: Option<String>,
    title: Option<String>,
}

/// What is to be different about a user.
#[derive(Deserialize, ToSchema)]
struct UserChange {
    name: Option<String>,
    /// Where the user is reached. What the user signs in with stays.
    email: Option<String>,
    #[serde(default, deserialize_with = "present")]
    title: Option<Option<String>>,
    /// A user who is disabled loses all application keys for good.
    disabled: Option<bool>,
}

/// List the users and service accounts of the org.
#[utoipa::path(get, path = "/api/v2/users", tag = "Users", params(UserQuery),
    responses((status = 200, description = "A page of them", body = Document<Vec<User>>)))]
async fn list(asker: Asker, Asked(query): Asked<UserQuery>) -> Answer {
    Ok(Reply::ok(&page(all(&asker).await?, &query)?))
}

/// Make a user. Without a role, they may only look; they sign in through an invitation.
#[utoipa::path(post, path = "/api/v2/users", tag = "Users", request_body = Incoming<NewUser>,
    responses((status = 201, description = "Made", body = Document<User>)))]
async fn create(Posted(asker, body): Posted<Incoming<NewUser>>) -> Answer {
    let (new, relations) = body.making(TYPE)?;
    let mut performed = asker
        .perform(Request::CreateUser {
            org: asker.own_org(),
            email: new.email.to_lowercase(),
            name: new.name,
            title: new.title,
            role: role_wanted(&relations)?,
        })
        .await?;
    let user = user_of(&mut performed)?;
    Ok(Reply::created(&document(&user)).noted(performed.audit))
}

/// One user.
#[utoipa::path(get, path = "/api/v2/users/{user_id}", tag = "Users", params(("user_id" = String, Path)),
    responses((status = 200, description = "The user", body = Document<User>)))]
async fn show(asker: Asker, Named(id): Named<String>) -> Answer {
    Ok(Reply::ok(&document(&find(&asker, &id).await?)))
}

/// Change a user.
#[utoipa::path(patch, path = "/api/v2/users/{user_id}", tag = "Users", params(("user_id" = String, Path)),
    request_body = Incoming<UserChange>,
    responses((status = 200, description = "As they are now", body = Document<User>)))]
async fn update(
    Named(id): Named<String>,
    Posted(asker, body): Posted<Incoming<UserChange>>,
) -> Answer {
    change(&asker, &id, body).await
}

async fn change(asker: &Asker, id: &str, body: Incoming<UserChange>) -> Answer {
    let user = find(asker, id).await?.id.to_string();
    let (change, relations) = body
        .changing(TYPE, &user)
        .map_err(|refusal| match refusal {
            // Clients know this one by its status: that of their published scenario.
            Refusal::BodyOfAnother {
                what: "data.id", ..
            } => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, refusal.to_string()),
            refusal => refusal.into(),
        })?;
    let change = UserChanges {
        name: change.name,
        email: change.email.map(|email| email.to_lowercase()),
        title: change.title.map(Option::unwrap_or_default),
        role: role_given(&relations)?,
        disabled: change.disabled,
    };
    let mut performed = asker.perform(Request::UpdateUser { user, change }).await?;
    let user = user_of(&mut performed)?;
    Ok(Reply::ok(&document(&user)).noted(performed.audit))
}

/// Disable a user: their application keys are revoked for good. API keys and client tokens that they made stay valid.
#[utoipa::path(delete, path = "/api/v2/users/{user_id}", tag = "Users", params(("user_id" = String, Path)),
    responses((status = 204, description = "Disabled")))]
async fn disable(asker: Asker, Named(id): Named<String>) -> Answer {
    let user = find(&asker, &id).await?;
    if user.disabled {
        return Err(Failure::not_found("user"));
    }
    let request = Request::SetUserDisabled {
        user: user.id.to_string(),
        disabled: true,
    };
    let performed = asker.perform(request).await?;
    Ok(Reply::nothing().noted(performed.audit))
}

/// A user and their one org.
#[utoipa::path(get, path = "/api/v2/users/{user_id}/orgs", tag = "Users", params(("user_id" = String, Path)),
    responses((status = 200, description = "The user, and the org in `included`", body = Document<User>)))]
async fn list_orgs(asker: Asker, Named(id): Named<String>) -> Answer {
    let user = find(&asker, &id).await?;
    Ok(Reply::ok(&Document {
        included: vec![Included::Org(orgs::own(&asker).await?)],
        ..Document::of(User::of(&user))
    }))
}

/// What a user may.
#[utoipa::path(get, path = "/api/v2/users/{user_id}/permissions", tag = "Users",
    params(("user_id" = String, Path)),
    responses((status = 200, description = "Their permissions", body = Document<Vec<roles::Permission>>)))]
async fn list_permissions(asker: Asker, Named(id): Named<String>) -> Answer {
    let user = find(&asker, &id).await?;
    Ok(Reply::ok(&Document::of(roles::permissions_of(user.role))))
}

/// Who is calling.
#[utoipa::path(get, path = "/api/v2/current_user", tag = "Users",
    responses((status = 200, description = "The user", body = Document<User>)))]
async fn current(asker: Asker) -> Answer {
    let user = find(&asker, &asker.user.to_string()).await?;
    let mut document = document(&user);
    document
        .included
        .push(Included::Org(orgs::own(&asker).await?));
    Ok(Reply::ok(&document))
}

/// Change who is calling.
#[utoipa::path(patch, path = "/api/v2/current_user", tag = "Users", request_body = Incoming<UserChange>,
    responses((status = 200, description = "As they are now", body = Document<User>)))]
async fn update_current(Posted(asker, body): Posted<Incoming<UserChange>>) -> Answer {
    let id = asker.user.to_string();
    change(&asker, &id, body).await
}
