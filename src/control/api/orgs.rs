//! Orgs in the key management API, under a path of our own: the caller's, and no other. Making orgs is the operator's.

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Shared;
use super::answers::{Answer, Document, Failure, Reply, wire_time};
use super::auth::Asker;
use super::body::Named;
use crate::control::{OrgView, Request, Response};
use crate::keys::OrgId;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
}

/// An org.
#[derive(Serialize, ToSchema)]
pub(super) struct Org {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Attributes,
}

/// What an org is like.
#[derive(Serialize, ToSchema)]
#[schema(as = OrgAttributes)]
struct Attributes {
    name: String,
    public_id: String,
    created_at: String,
    disabled: bool,
}

impl Org {
    fn of(org: &OrgView) -> Self {
        Self {
            kind: "orgs",
            id: org.id.to_string(),
            attributes: Attributes {
                name: org.name.clone(),
                public_id: org.id.to_string(),
                created_at: wire_time(&org.created_at),
                disabled: org.disabled,
            },
        }
    }
}

/// The caller's org.
pub(super) async fn own(asker: &Asker) -> Result<Org, Failure> {
    let org = asker.own_org();
    match asker.look(Request::ShowOrg { org }).await? {
        Response::Org(org) => Ok(Org::of(&org)),
        _ => Err(Failure::unexpected()),
    }
}

/// List the orgs that the caller belongs to: one.
#[utoipa::path(get, path = "/api/v2/orgs", tag = "Orgs",
    responses((status = 200, description = "The org", body = Document<Vec<Org>>)))]
async fn list(asker: Asker) -> Answer {
    Ok(Reply::ok(&Document::of(vec![own(&asker).await?])))
}

/// The caller's org.
#[utoipa::path(get, path = "/api/v2/orgs/{org_id}", tag = "Orgs", params(("org_id" = String, Path)),
    responses((status = 200, description = "The org", body = Document<Org>)))]
async fn show(asker: Asker, Named(id): Named<String>) -> Answer {
    if id.parse::<OrgId>() != Ok(asker.org) {
        return Err(Failure::not_found("org"));
    }
    Ok(Reply::ok(&Document::of(own(&asker).await?)))
}
