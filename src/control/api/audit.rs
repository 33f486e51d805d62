//! The audit log of the caller's org in the key management API, under a path of our own. How it is kept and proven is the
//! store's business.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{Answer, Document, Failure, Meta, PageMeta, Reply, wire_time};
use super::auth::Asker;
use super::body::Asked;
use super::paging::time;
use crate::control::{AuditQuery, AuditView, Request, Response};
use crate::keys::Timestamp;
use crate::keys::audit::Action;
use crate::keys::rules::Refusal;

/// The most entries on a page.
const SIZE_MAX: usize = 1_000;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(list))
}

/// An entry of the audit log.
#[derive(Serialize, ToSchema)]
struct AuditEntry {
    #[serde(rename = "type")]
    kind: &'static str,
    /// As in the answer's `X-Audit-ID`.
    id: String,
    attributes: AuditAttributes,
}

/// What an entry of the audit log says.
#[derive(Serialize, ToSchema)]
struct AuditAttributes {
    at: String,
    /// What was done.
    action: String,
    /// The id of a user, `operator` or `system`.
    actor: String,
    actor_name: Option<String>,
    /// Through what: `api`, `page`, `cli` or `system`.
    via: String,
    /// The id of the application key that was used.
    application_key: Option<String>,
    request_id: Option<String>,
    address: Option<String>,
    object_kind: String,
    object_id: String,
    object_name: String,
    changes: Vec<Change>,
    /// The hash that the next entry is linked to.
    hash: String,
}

/// One field, before and after.
#[derive(Serialize, ToSchema)]
struct Change {
    field: String,
    before: Option<String>,
    after: Option<String>,
}

impl AuditEntry {
    fn of(entry: AuditView) -> Self {
        let changes = entry.changes.into_iter().map(|change| Change {
            field: change.field.to_string(),
            before: change.before,
            after: change.after,
        });
        Self {
            kind: "audit_log",
            id: entry.id.to_string(),
            attributes: AuditAttributes {
                at: wire_time(&entry.at),
                action: entry.action,
                actor: entry.actor,
                actor_name: entry.actor_name,
                via: entry.via,
                application_key: entry.application_key.map(|id| id.to_string()),
                request_id: entry.request_id,
                address: entry.address,
                object_kind: entry.object_kind,
                object_id: entry.object.to_string(),
                object_name: entry.object_name,
                changes: changes.collect(),
                hash: entry.hash,
            },
        }
    }
}

/// The parameters of the audit log.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct LogQuery {
    /// How many on a page: 1 to 1,000; 100 without.
    #[serde(rename = "page[size]")]
    size: Option<String>,
    /// Where the page before ended: its `meta.page.after`.
    #[serde(rename = "page[cursor]")]
    cursor: Option<String>,
    /// Only this was done, as in `key.created`.
    #[serde(rename = "filter[action]")]
    action: Option<String>,
    /// Only by this user, by id; or by `operator` or `system`.
    #[serde(rename = "filter[actor]")]
    actor: Option<String>,
    /// Only to what has this id.
    #[serde(rename = "filter[object]")]
    object: Option<String>,
    /// Only at this time or later.
    #[serde(rename = "filter[from]")]
    from: Option<String>,
    /// Only before this time.
    #[serde(rename = "filter[to]")]
    to: Option<String>,
}

/// The audit log of the org, the newest first.
#[utoipa::path(get, path = "/api/v2/audit_log", tag = "Audit log", params(LogQuery),
    responses((status = 200, description = "A page of it", body = Document<Vec<AuditEntry>>)))]
async fn list(asker: Asker, Asked(query): Asked<LogQuery>) -> Answer {
    let malformed = |name: &str, wanted| Refusal::ParameterMalformed {
        name: name.into(),
        wanted,
    };
    let at = |name: &str, text: Option<&String>| {
        let Some(text) = text else { return Ok(None) };
        time(text)
            .map(|at| Some(Timestamp(at.as_millisecond())))
            .ok_or_else(|| malformed(name, "a time such as 2025-09-08T09:24:43Z, or a date"))
    };
    let most = query.size.as_deref().map(str::parse::<usize>);
    let most = match most {
        None => None,
        Some(Ok(most)) if (1..=SIZE_MAX).contains(&most) => Some(most),
        Some(_) => return Err(malformed("page[size]", "a number from 1 to 1000").into()),
    };
    let action = query
        .action
        .as_deref()
        .map(str::parse::<Action>)
        .transpose();
    let object = query
        .object
        .as_deref()
        .map(uuid::Uuid::try_parse)
        .transpose();
    let wanted = AuditQuery {
        org: Some(asker.own_org()),
        action: action.map_err(|_| malformed("filter[action]", "an action such as key.created"))?,
        actor: query.actor,
        object: object.map_err(|_| malformed("filter[object]", "an id"))?,
        since: at("filter[from]", query.from.as_ref())?,
        until: at("filter[to]", query.to.as_ref())?,
        after: query.cursor,
        most,
    };
    match asker.look(Request::ListAudit { query: wanted }).await? {
        Response::Audit(page) => Ok(Reply::ok(&Document {
            data: page
                .entries
                .into_iter()
                .map(AuditEntry::of)
                .collect::<Vec<_>>(),
            included: Vec::new(),
            meta: Some(Meta {
                page: PageMeta {
                    after: page.next,
                    ..PageMeta::default()
                },
                ..Meta::default()
            }),
        })),
        _ => Err(Failure::unexpected()),
    }
}
