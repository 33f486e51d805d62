//! The lists of users and service accounts, and what all their pages ask for. One of them is in `people_one`, the forms are in
//! `people_form`, leaving in `people_leave`; who may do what is decided by the operations.

use std::collections::HashMap;
use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use uuid::Uuid;

use super::form::query;
use super::shell::{Section, Shell, page};
use super::trouble::failed;
use super::visitor::Visitor;
use super::words_people::{self as said, Words, words};
use super::{people_form, people_leave, people_one};
use crate::control::desk::Desk;
use crate::control::sign_in::now;
use crate::control::{
    AuditQuery, KeyStatus, KeyView, Request, Response as Answer, ServiceError, UserView,
};
use crate::keys::audit::Action;
use crate::keys::permissions::Permission;
use crate::keys::rules::Refusal;
use crate::keys::{KeyKind, Role, Timestamp, UserId, UserKind};

/// How many users a page of the list shows.
const ROWS: usize = 100;

/// How far back sign-ins are looked for.
const SIGN_INS_MS: i64 = 90 * 24 * 3_600_000;

/// How many sign-ins are looked at for the list.
const SIGN_INS: usize = 1_000;

pub(super) fn router() -> Router<Arc<Desk>> {
    let of = |kind: UserKind| {
        let base = base(kind);
        Router::new()
            .route(
                base,
                get(move |desk, visitor, uri| list(desk, visitor, uri, kind)),
            )
            .route(
                &format!("{base}/new"),
                get(move |visitor| people_form::new(visitor, kind))
                    .post(move |desk, posted| people_form::create(desk, posted, kind)),
            )
            .route(&format!("{base}/{{id}}"), get(people_one::show))
            .route(
                &format!("{base}/{{id}}/edit"),
                get(people_form::edit).post(people_form::change),
            )
            .route(
                &format!("{base}/{{id}}/disable"),
                get(people_leave::look).post(people_leave::leave),
            )
            .route(&format!("{base}/{{id}}/enable"), post(people_one::enable))
    };
    Router::new()
        .merge(of(UserKind::Person))
        .merge(of(UserKind::ServiceAccount))
        .route("/users/{id}/link", post(people_one::make_link))
}

/// Where the pages of people, or of service accounts, are.
pub(super) const fn base(kind: UserKind) -> &'static str {
    match kind {
        UserKind::Person => "/users",
        UserKind::ServiceAccount => "/service-accounts",
    }
}

pub(super) const fn section(kind: UserKind) -> Section {
    match kind {
        UserKind::Person => Section::Users,
        UserKind::ServiceAccount => Section::ServiceAccounts,
    }
}

/// A time as it is shown, and as programs read it.
pub(super) struct Moment {
    pub(super) iso: String,
    pub(super) shown: String,
}

impl Moment {
    /// From RFC 3339 in UTC.
    pub(super) fn of(text: &str) -> Self {
        let shown = match (text.get(..10), text.get(11..16)) {
            (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
            _ => text.to_owned(),
        };
        Self {
            iso: text.to_owned(),
            shown,
        }
    }

    pub(super) fn maybe(text: Option<&String>) -> Option<Self> {
        text.map(|text| Self::of(text))
    }
}

/// Text as part of a query.
pub(super) fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Performs an operation for the visitor.
pub(super) async fn ask(
    desk: &Desk,
    visitor: &Visitor,
    request: Request,
) -> Result<Answer, ServiceError> {
    let performed = desk.service.perform(&visitor.caller(), request).await?;
    Ok(performed.response)
}

/// The people, or the service accounts, of the visitor's org.
pub(super) async fn users(
    desk: &Desk,
    visitor: &Visitor,
    kind: UserKind,
) -> Result<Vec<UserView>, ServiceError> {
    let org = visitor.org.id.to_string();
    let Answer::Users(users) = ask(desk, visitor, Request::ListUsers { org, kind }).await? else {
        return Err(ServiceError::Unknown);
    };
    Ok(users)
}

/// A user of the visitor's org by the id in a path. A name is no id here.
pub(super) async fn user(
    desk: &Desk,
    visitor: &Visitor,
    id: &str,
) -> Result<UserView, ServiceError> {
    let id: UserId = id.parse().map_err(|_| Refusal::NotFound { what: "user" })?;
    let user = id.to_string();
    let Answer::User(user) = ask(desk, visitor, Request::ShowUser { user }).await? else {
        return Err(ServiceError::Unknown);
    };
    Ok(user)
}

/// The keys of one kind of the visitor's org.
pub(super) async fn keys(
    desk: &Desk,
    visitor: &Visitor,
    kind: KeyKind,
) -> Result<Vec<KeyView>, ServiceError> {
    let org = visitor.org.id.to_string();
    let Answer::Keys(keys) = ask(desk, visitor, Request::ListKeys { kind, org }).await? else {
        return Err(ServiceError::Unknown);
    };
    Ok(keys)
}

/// Whether the rule of the last admin will say no: it is said before somebody tries.
pub(super) async fn is_last_admin(
    desk: &Desk,
    visitor: &Visitor,
    user: &UserView,
) -> Result<bool, ServiceError> {
    let is_admin = |user: &UserView| user.role == Role::Admin && !user.disabled;
    if user.kind != UserKind::Person || !is_admin(user) {
        return Ok(false);
    }
    let people = users(desk, visitor, UserKind::Person).await?;
    Ok(!people
        .iter()
        .any(|other| other.id != user.id && is_admin(other)))
}

/// Whether the visitor may change such a user.
pub(super) fn may_change(visitor: &Visitor, kind: UserKind) -> bool {
    visitor.may(match kind {
        UserKind::Person => Permission::UserAccessManage,
        UserKind::ServiceAccount => Permission::ServiceAccountWrite,
    })
}

/// When users last signed in, as far as the newest entries of the log tell. `None` where the visitor may not read it.
pub(super) async fn sign_ins(
    desk: &Desk,
    visitor: &Visitor,
    of: Option<UserId>,
) -> Result<Option<HashMap<Uuid, Moment>>, ServiceError> {
    if !visitor.may(Permission::AuditLogsRead) {
        return Ok(None);
    }
    let query = AuditQuery {
        action: Some(Action::SignedIn),
        object: of.map(|user| user.0),
        since: Some(Timestamp(now().0.saturating_sub(SIGN_INS_MS))),
        most: Some(of.map_or(SIGN_INS, |_| 1)),
        ..AuditQuery::default()
    };
    let Answer::Audit(found) = ask(desk, visitor, Request::ListAudit { query }).await? else {
        return Err(ServiceError::Unknown);
    };
    let mut last = HashMap::new();
    for entry in found.entries {
        // The newest comes first.
        last.entry(entry.object)
            .or_insert_with(|| Moment::of(&entry.at));
    }
    Ok(Some(last))
}

struct Row {
    id: UserId,
    name: String,
    handle: String,
    email: String,
    role: &'static str,
    disabled: bool,
    is_you: bool,
    last_sign_in: Option<Moment>,
    keys: usize,
}

#[derive(Template)]
#[template(path = "users.html", config = "src/control/page/askama.toml")]
struct UsersPage {
    shell: Shell,
    t: &'static Words,
    heading: &'static str,
    lead: &'static str,
    create: &'static str,
    base: &'static str,
    is_people: bool,
    may_create: bool,
    knows_sign_ins: bool,
    knows_keys: bool,
    q: String,
    found: String,
    rows: Vec<Row>,
    newer: Option<String>,
    older: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Find {
    q: String,
    page: String,
}

async fn list(
    State(desk): State<Arc<Desk>>,
    visitor: Visitor,
    uri: Uri,
    kind: UserKind,
) -> Response {
    match listed(&desk, &visitor, query(&uri), kind).await {
        Ok(found) => page(StatusCode::OK, found),
        Err(error) => failed(&visitor, &error),
    }
}

async fn listed(
    desk: &Desk,
    visitor: &Visitor,
    find: Find,
    kind: UserKind,
) -> Result<UsersPage, ServiceError> {
    let t = words(visitor.language);
    let mut found = users(desk, visitor, kind).await?;
    let wanted = find.q.trim().to_lowercase();
    if !wanted.is_empty() {
        found.retain(|user| {
            [&user.name, &user.handle, &user.email]
                .iter()
                .any(|text| text.to_lowercase().contains(&wanted))
        });
    }
    let last = match kind {
        UserKind::Person => sign_ins(desk, visitor, None).await?,
        UserKind::ServiceAccount => None,
    };
    let mut counts = HashMap::new();
    let knows_keys = visitor.may(Permission::OrgAppKeysRead);
    if knows_keys {
        for key in keys(desk, visitor, KeyKind::ApplicationKey).await? {
            if let (KeyStatus::Active, Some(owner)) = (key.status, key.owner_id) {
                *counts.entry(owner).or_insert(0_usize) += 1;
            }
        }
    }
    let knows_sign_ins = last.is_some();
    let mut last = last.unwrap_or_default();
    let count = found.len();
    let at = find.page.parse::<usize>().unwrap_or(0);
    let at = at.min(count.saturating_sub(1) / ROWS);
    let link = |page: usize| format!("{}?q={}&page={page}", base(kind), encoded(find.q.trim()));
    let rows = found.into_iter().skip(at * ROWS).take(ROWS).map(|user| {
        let keys = counts.get(&user.id).copied().unwrap_or(0);
        Row {
            id: user.id,
            role: said::role(visitor.language, user.role),
            disabled: user.disabled,
            is_you: user.id == visitor.user.id,
            last_sign_in: last.remove(&user.id.0),
            keys,
            name: user.name,
            handle: user.handle,
            email: user.email,
        }
    });
    let is_people = kind == UserKind::Person;
    Ok(UsersPage {
        rows: rows.collect(),
        shell: visitor.shell(section(kind)),
        t,
        heading: if is_people { t.users } else { t.accounts },
        lead: if is_people {
            t.users_lead
        } else {
            t.accounts_lead
        },
        create: if is_people {
            t.create_user
        } else {
            t.create_account
        },
        base: base(kind),
        is_people,
        may_create: visitor.may(match kind {
            UserKind::Person => Permission::UserAccessInvite,
            UserKind::ServiceAccount => Permission::ServiceAccountWrite,
        }),
        knows_sign_ins,
        knows_keys,
        found: said::found(visitor.language, count),
        newer: at.checked_sub(1).map(link),
        older: ((at + 1) * ROWS < count).then(|| link(at + 1)),
        q: find.q,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_to_the_minute_and_says_that_it_is_utc() {
        let at = Moment::of("2026-11-25T08:30:12.345Z");
        assert_eq!(at.shown, "2026-11-25 08:30 UTC");
        assert_eq!(Moment::of("12").shown, "12");
    }

    #[test]
    fn whatever_is_put_into_a_query_stays_one_value() {
        assert_eq!(encoded("a&b=c é\"<"), "a%26b%3Dc%20%C3%A9%22%3C");
    }
}
