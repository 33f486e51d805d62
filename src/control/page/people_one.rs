//! The page of one user or service account, and what is done there at once: a one-time link, enabling.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::form::{Posted, query};
use super::people::{Moment, ask, base, is_last_admin, may_change, section, sign_ins, user};
use super::people_form::RoleCard;
use super::shell::{Section, Shell, go, page};
use super::trouble::{failed, sentence};
use super::visitor::Visitor;
use super::words_people::{self as said, Words, words};
use crate::control::desk::Desk;
use crate::control::{
    KeyStatus, KeyView, LinkView, Request, Response as Answer, ServiceError, UserView,
};
use crate::keys::permissions::Permission;
use crate::keys::{Role, UserId, UserKind};

#[derive(Template)]
#[template(path = "user.html", config = "src/control/page/askama.toml")]
struct UserPage {
    shell: Shell,
    t: &'static Words,
    base: &'static str,
    all: &'static str,
    done: Option<&'static str>,
    is_person: bool,
    role: RoleCard,
    created: Moment,
    modified: Moment,
    knows_sign_ins: bool,
    last_sign_in: Option<Moment>,
    sees_keys: bool,
    keys: String,
    sees_audit: bool,
    may_make_key: bool,
    may_change: bool,
    may_link: bool,
    is_last_admin: bool,
    user: UserView,
}

/// What was done before this page is shown.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Done {
    done: String,
}

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
    uri: Uri,
) -> Response {
    let done: Done = query(&uri);
    match shown(&desk, &visitor, &id, &done.done).await {
        Ok(found) => page(StatusCode::OK, found),
        Err(error) => failed(&visitor, &error),
    }
}

async fn shown(
    desk: &Desk,
    visitor: &Visitor,
    id: &str,
    done: &str,
) -> Result<UserPage, ServiceError> {
    let t = words(visitor.language);
    let user = user(desk, visitor, id).await?;
    let is_person = user.kind == UserKind::Person;
    let is_you = user.id == visitor.user.id;
    let last = match user.kind {
        UserKind::Person => sign_ins(desk, visitor, Some(user.id)).await?,
        UserKind::ServiceAccount => None,
    };
    let manages_keys = visitor.may(match user.kind {
        _ if is_you => Permission::UserAppKeys,
        UserKind::ServiceAccount => Permission::ServiceAccountWrite,
        UserKind::Person => Permission::OrgAppKeysRead,
    });
    let mut count = 0;
    if manages_keys {
        let owner = user.id.to_string();
        let answer = ask(desk, visitor, Request::ListKeysOfOwner { owner }).await?;
        let Answer::Keys(keys) = answer else {
            return Err(ServiceError::Unknown);
        };
        let active = |key: &&KeyView| key.status == KeyStatus::Active;
        count = keys.iter().filter(active).count();
    }
    let may_change = may_change(visitor, user.kind);
    Ok(UserPage {
        shell: visitor.shell(section(user.kind)),
        t,
        base: base(user.kind),
        all: if is_person {
            t.all_users
        } else {
            t.all_accounts
        },
        done: match done {
            "saved" => Some(t.saved),
            "enabled" => Some(t.enabled_again),
            "created" => Some(t.account_created),
            _ => None,
        },
        is_person,
        role: RoleCard::of(visitor.language, user.role),
        created: Moment::of(&user.created_at),
        modified: Moment::of(&user.modified_at),
        knows_sign_ins: last.is_some(),
        last_sign_in: last.and_then(|mut last| last.remove(&user.id.0)),
        sees_keys: manages_keys,
        keys: said::application_keys(visitor.language, count),
        sees_audit: visitor.may(Permission::AuditLogsRead),
        may_make_key: manages_keys && !user.disabled && (is_you || !is_person),
        may_change,
        may_link: is_person
            && !user.disabled
            && visitor.may(Permission::UserAccessInvite)
            && (user.role != Role::Admin || visitor.may(Permission::UserAccessManage)),
        is_last_admin: may_change && is_last_admin(desk, visitor, &user).await?,
        user,
    })
}

/// A form that holds nothing but its proof that it is from here.
#[derive(Deserialize)]
pub(super) struct Nothing {}

pub(super) async fn enable(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Posted(Nothing {}, visitor): Posted<Nothing>,
) -> Response {
    let enabled = async {
        let user = user(&desk, &visitor, &id).await?;
        let request = Request::SetUserDisabled {
            user: user.id.to_string(),
            disabled: false,
        };
        ask(&desk, &visitor, request).await?;
        Ok(user)
    };
    match enabled.await {
        Ok(user) => {
            let path = format!("{}/{}?done=enabled", base(user.kind), user.id);
            go(&path)
        }
        Err(error) => failed(&visitor, &error),
    }
}

/// A one-time link as it is shown, once.
pub(super) struct LinkShown {
    address: String,
    until: Moment,
}

impl LinkShown {
    fn of(link: &LinkView) -> Self {
        let address = link.url.as_ref().unwrap_or(&link.path);
        Self {
            address: address.expose().to_owned(),
            until: Moment::of(&link.expires_at),
        }
    }
}

#[derive(Template)]
#[template(path = "user_link.html", config = "src/control/page/askama.toml")]
struct LinkPage {
    shell: Shell,
    t: &'static Words,
    heading: String,
    created: Option<String>,
    error: Option<String>,
    link: Option<LinkShown>,
    id: UserId,
    back: String,
}

pub(super) async fn make_link(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Posted(Nothing {}, visitor): Posted<Nothing>,
) -> Response {
    match user(&desk, &visitor, &id).await {
        Ok(user) => link_page(&desk, &visitor, user, false).await,
        Err(error) => failed(&visitor, &error),
    }
}

/// Makes a link for a user and shows it, this once.
pub(super) async fn link_page(
    desk: &Desk,
    visitor: &Visitor,
    user: UserView,
    is_new: bool,
) -> Response {
    let request = Request::MakeLink {
        user: user.id.to_string(),
    };
    let made = match ask(desk, visitor, request).await {
        Ok(Answer::Link(link)) => Ok(link),
        Ok(_) => Err(ServiceError::Unknown),
        Err(error) => Err(error),
    };
    let (link, error) = match made {
        Ok(link) => (Some(LinkShown::of(&link)), None),
        // The user there is must not be lost sight of.
        Err(error) if is_new => (None, Some(sentence(&error, visitor.language))),
        Err(error) => return failed(visitor, &error),
    };
    let created = is_new.then(|| said::user_created(visitor.language, &user.name));
    page(
        StatusCode::OK,
        LinkPage {
            shell: visitor.shell(Section::Users),
            t: words(visitor.language),
            heading: said::link_for(visitor.language, &user.name),
            created,
            error,
            link,
            id: user.id,
            back: user.name,
        },
    )
}
