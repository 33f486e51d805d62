//! The forms that make and change users and service accounts. What is allowed in them is said by the operations; what was
//! entered stays there when they say no.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::form::Posted;
use super::people::{ask, base, is_last_admin, section, user};
use super::people_one::link_page;
use super::shell::{Shell, go, page};
use super::trouble::{failed, sentence, status_of};
use super::visitor::Visitor;
use super::words_people::{self as said, Words, words};
use crate::control::desk::Desk;
use crate::control::{Request, Response as Answer, ServiceError, UserChanges, UserView};
use crate::keys::permissions::Permission;
use crate::keys::refusal::Language;
use crate::keys::rules::Refusal;
use crate::keys::{Role, UserKind};
use crate::store::StoreError;

/// The roles, the least first: so that nobody is an admin by a slip.
const ROLES: [Role; 3] = [Role::ReadOnly, Role::Standard, Role::Admin];

/// A role and all that it may do.
pub(super) struct RoleCard {
    pub(super) value: &'static str,
    pub(super) label: &'static str,
    pub(super) summary: &'static str,
    pub(super) permissions: Vec<&'static str>,
}

impl RoleCard {
    pub(super) fn of(language: Language, role: Role) -> Self {
        let may = Permission::ALL.iter().filter(|may| may.is_of(role));
        Self {
            value: role.as_str(),
            label: said::role(language, role),
            summary: said::role_summary(language, role),
            permissions: may.map(|may| said::permission(language, *may)).collect(),
        }
    }
}

/// What was entered.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entered {
    name: String,
    email: String,
    title: String,
    role: String,
}

impl Entered {
    fn role(&self) -> Option<Role> {
        ROLES.into_iter().find(|role| role.as_str() == self.role)
    }

    fn of(user: &UserView) -> Self {
        Self {
            name: user.name.clone(),
            email: user.email.clone(),
            title: user.title.clone().unwrap_or_default(),
            role: user.role.as_str().to_owned(),
        }
    }
}

#[derive(Template)]
#[template(path = "user_form.html", config = "src/control/page/askama.toml")]
struct UserForm {
    shell: Shell,
    t: &'static Words,
    heading: String,
    lead: &'static str,
    back: String,
    action: String,
    submit: &'static str,
    error: Option<String>,
    is_person: bool,
    name_required: bool,
    name_hint: &'static str,
    email_required: bool,
    email_hint: &'static str,
    locked_role: bool,
    roles: Vec<RoleCard>,
    entered: Entered,
}

/// Why a form is shown again, or why something else is.
enum Trouble {
    /// The sentence above the form, and the status.
    Said(StatusCode, String),
    /// The form is not theirs.
    Failed(ServiceError),
}

impl Trouble {
    fn no_role(visitor: &Visitor) -> Self {
        let text = words(visitor.language).role_missing;
        Self::Said(StatusCode::UNPROCESSABLE_ENTITY, text.to_owned())
    }

    fn of(visitor: &Visitor, error: ServiceError) -> Self {
        match error {
            ServiceError::Store(StoreError::Refused(
                Refusal::NotPermitted { .. }
                | Refusal::ScopeMissing { .. }
                | Refusal::SignInFailed
                | Refusal::NotFound { .. },
            )) => Self::Failed(error),
            ServiceError::Store(StoreError::Refused(_)) => {
                Self::Said(status_of(&error), sentence(&error, visitor.language))
            }
            error => Self::Failed(error),
        }
    }
}

fn roles(visitor: &Visitor) -> Vec<RoleCard> {
    // Making somebody an admin takes more than making them.
    let may_make_admins = visitor.may(Permission::UserAccessManage);
    let offered = ROLES
        .into_iter()
        .filter(|role| *role != Role::Admin || may_make_admins);
    offered
        .map(|role| RoleCard::of(visitor.language, role))
        .collect()
}

fn creating(
    visitor: &Visitor,
    kind: UserKind,
    entered: Entered,
    error: Option<String>,
) -> UserForm {
    let t = words(visitor.language);
    let is_person = kind == UserKind::Person;
    UserForm {
        shell: visitor.shell(section(kind)),
        t,
        heading: if is_person {
            t.create_user
        } else {
            t.create_account
        }
        .to_owned(),
        lead: if is_person {
            t.user_form_lead
        } else {
            t.account_form_lead
        },
        back: base(kind).to_owned(),
        action: format!("{}/new", base(kind)),
        submit: if is_person {
            t.create_user
        } else {
            t.create_account
        },
        error,
        is_person,
        name_required: !is_person,
        name_hint: if is_person {
            t.name_hint_user
        } else {
            t.name_hint_account
        },
        email_required: is_person,
        email_hint: if is_person {
            t.email_hint_user
        } else {
            t.email_hint_account
        },
        locked_role: false,
        roles: roles(visitor),
        entered,
    }
}

pub(super) async fn new(visitor: Visitor, kind: UserKind) -> Response {
    let needed = match kind {
        UserKind::Person => Permission::UserAccessInvite,
        UserKind::ServiceAccount => Permission::ServiceAccountWrite,
    };
    // A form that cannot be sent is not worth filling in.
    if !visitor.may(needed) {
        return failed(
            &visitor,
            &Refusal::NotPermitted { permission: needed }.into(),
        );
    }
    page(
        StatusCode::OK,
        creating(&visitor, kind, Entered::default(), None),
    )
}

pub(super) async fn create(
    State(desk): State<Arc<Desk>>,
    Posted(entered, visitor): Posted<Entered>,
    kind: UserKind,
) -> Response {
    let made = match entered.role() {
        Some(role) => made(&desk, &visitor, &entered, role, kind).await,
        None => Err(Trouble::no_role(&visitor)),
    };
    match (made, kind) {
        (Ok(user), UserKind::Person) => link_page(&desk, &visitor, user, true).await,
        (Ok(user), UserKind::ServiceAccount) => {
            let path = format!("{}/{}?done=created", base(kind), user.id);
            go(&path)
        }
        (Err(Trouble::Said(status, text)), _) => {
            page(status, creating(&visitor, kind, entered, Some(text)))
        }
        (Err(Trouble::Failed(error)), _) => failed(&visitor, &error),
    }
}

async fn made(
    desk: &Desk,
    visitor: &Visitor,
    entered: &Entered,
    role: Role,
    kind: UserKind,
) -> Result<UserView, Trouble> {
    let org = visitor.org.id.to_string();
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let request = match kind {
        UserKind::Person => Request::CreateUser {
            org,
            email: entered.email.trim().to_owned(),
            name: given(&entered.name),
            title: given(&entered.title),
            role,
        },
        UserKind::ServiceAccount => Request::CreateServiceAccount {
            org,
            name: entered.name.clone(),
            email: given(&entered.email),
            role,
        },
    };
    match ask(desk, visitor, request).await {
        Ok(Answer::User(user)) => Ok(user),
        Ok(_) => Err(Trouble::Failed(ServiceError::Unknown)),
        Err(error) => Err(Trouble::of(visitor, error)),
    }
}

async fn editing(
    desk: &Desk,
    visitor: &Visitor,
    user: &UserView,
    entered: Entered,
    error: Option<String>,
) -> Result<UserForm, ServiceError> {
    let t = words(visitor.language);
    let is_person = user.kind == UserKind::Person;
    let own = format!("{}/{}", base(user.kind), user.id);
    Ok(UserForm {
        shell: visitor.shell(section(user.kind)),
        t,
        heading: said::edit(visitor.language, &user.name),
        lead: t.edit_lead,
        action: format!("{own}/edit"),
        back: own,
        submit: t.save,
        error,
        is_person,
        name_required: true,
        name_hint: if is_person {
            t.name_hint_edit
        } else {
            t.name_hint_account
        },
        email_required: is_person,
        email_hint: if is_person {
            t.email_hint_edit
        } else {
            t.email_hint_account
        },
        locked_role: is_last_admin(desk, visitor, user).await?,
        roles: roles(visitor),
        entered,
    })
}

pub(super) async fn edit(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Response {
    let found = async {
        let user = user(&desk, &visitor, &id).await?;
        let needed = match user.kind {
            UserKind::Person => Permission::UserAccessManage,
            UserKind::ServiceAccount => Permission::ServiceAccountWrite,
        };
        if !visitor.may(needed) {
            return Err(Refusal::NotPermitted { permission: needed }.into());
        }
        editing(&desk, &visitor, &user, Entered::of(&user), None).await
    };
    match found.await {
        Ok(form) => page(StatusCode::OK, form),
        Err(error) => failed(&visitor, &error),
    }
}

pub(super) async fn change(
    State(desk): State<Arc<Desk>>,
    Path(id): Path<String>,
    Posted(entered, visitor): Posted<Entered>,
) -> Response {
    let user = match user(&desk, &visitor, &id).await {
        Ok(user) => user,
        Err(error) => return failed(&visitor, &error),
    };
    match changed(&desk, &visitor, &user, &entered).await {
        Ok(()) => {
            let path = format!("{}/{}?done=saved", base(user.kind), user.id);
            go(&path)
        }
        Err(Trouble::Said(status, text)) => {
            match editing(&desk, &visitor, &user, entered, Some(text)).await {
                Ok(form) => page(status, form),
                Err(error) => failed(&visitor, &error),
            }
        }
        Err(Trouble::Failed(error)) => failed(&visitor, &error),
    }
}

async fn changed(
    desk: &Desk,
    visitor: &Visitor,
    user: &UserView,
    entered: &Entered,
) -> Result<(), Trouble> {
    let Some(role) = entered.role() else {
        return Err(Trouble::no_role(visitor));
    };
    let change = UserChanges {
        name: Some(entered.name.clone()),
        email: Some(entered.email.trim().to_owned()),
        title: Some(entered.title.clone()),
        // Left as it is, it takes no permission.
        role: Some(role).filter(|role| *role != user.role),
        disabled: None,
    };
    let request = Request::UpdateUser {
        user: user.id.to_string(),
        change,
    };
    match ask(desk, visitor, request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Trouble::of(visitor, error)),
    }
}
