//! The form of every answer of the key management API: documents, and what a refusal or a failure is to a client (WIRE 4 and
//! 5). What is in a document is the business of the files beside this one.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::ServiceError;
use crate::keys::audit::AuditId;
use crate::keys::refusal::Sort;
use crate::keys::rules::{self, Refusal};
use crate::store::StoreError;

/// The header that names the entry of the audit log which a write left.
pub(super) const X_AUDIT_ID: HeaderName = HeaderName::from_static("x-audit-id");

/// What a handler gives back.
pub(super) type Answer = Result<Reply, Failure>;

/// An answer to a request that was done.
pub(super) struct Reply {
    status: StatusCode,
    body: Option<Vec<u8>>,
    audit: Option<AuditId>,
}

impl Reply {
    /// 200 with a document.
    pub(super) fn ok(document: &impl Serialize) -> Self {
        Self::with(StatusCode::OK, document)
    }

    /// 201 with a document.
    pub(super) fn created(document: &impl Serialize) -> Self {
        Self::with(StatusCode::CREATED, document)
    }

    /// 204.
    pub(super) const fn nothing() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: None,
            audit: None,
        }
    }

    fn with(status: StatusCode, document: &impl Serialize) -> Self {
        // Nothing in our documents can fail to be written: their keys are strings.
        let body = serde_json::to_vec(document).unwrap_or_default();
        Self {
            status,
            body: Some(body),
            audit: None,
        }
    }

    /// With the entry of the audit log that tells of it.
    pub(super) const fn noted(mut self, audit: Option<AuditId>) -> Self {
        self.audit = audit;
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => json(self.status, body),
            None => self.status.into_response(),
        };
        let audit = self
            .audit
            .and_then(|audit| HeaderValue::try_from(audit.to_string()).ok());
        if let Some(audit) = audit {
            response.headers_mut().insert(X_AUDIT_ID, audit);
        }
        response
    }
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// What a client is told when nothing was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Errors {
    /// Sentences that say what to do.
    errors: Vec<String>,
}

/// An answer to a request that was not done.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
        }
    }

    /// Nothing here has this id. Another org's thing, a revoked key, and text that is no id are told the same (WIRE 4).
    pub(super) fn not_found(noun: &str) -> Self {
        let mut text = format!("{noun} not found");
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// Credentials that are certainly no good. Nobody is told why.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden")
    }

    /// The operation answered something that its request never has.
    pub(super) fn unexpected() -> Self {
        Self::from(ServiceError::Unknown)
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let errors = Errors {
            errors: vec![self.text],
        };
        json(self.status, serde_json::to_vec(&errors).unwrap_or_default())
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::NotFound { what } => {
                return Self::not_found(what.split(':').next().unwrap_or(what));
            }
            Refusal::AlreadyRevoked { kind } => return Self::not_found(rules::of(*kind).label),
            Refusal::SignInFailed => return Self::forbidden(),
            // Clients know a user that is there already by this status (WIRE 4).
            Refusal::NameTaken { what: "user", .. } => StatusCode::CONFLICT,
            Refusal::OnceReused => StatusCode::UNPROCESSABLE_ENTITY,
            other => match other.sort() {
                Sort::Missing => StatusCode::NOT_FOUND,
                Sort::NotAllowed => StatusCode::FORBIDDEN,
                Sort::TooOften => StatusCode::TOO_MANY_REQUESTS,
                Sort::Taken | Sort::Standing | Sort::Malformed | Sort::Spent => {
                    StatusCode::BAD_REQUEST
                }
            },
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<ServiceError> for Failure {
    fn from(error: ServiceError) -> Self {
        let status = match &error {
            ServiceError::Store(StoreError::Refused(refusal)) => return refusal.clone().into(),
            ServiceError::Store(error) => return Self::of_store(error),
            ServiceError::NoFleet => StatusCode::BAD_REQUEST,
            ServiceError::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            ServiceError::NotHeard | ServiceError::NotApplied | ServiceError::NotLogged(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        Self::new(status, error.to_string())
    }
}

impl Failure {
    /// Where the store is and what ails it is the operator's to know, and is in the metrics and on the command line.
    fn of_store(error: &StoreError) -> Self {
        let text = if matches!(error, StoreError::Unresolved { .. }) {
            "The store did not say whether this was done: look before you send it again"
        } else {
            "The store cannot be asked now: send the request again later"
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }
}

/// A document: what was asked for, and what belongs to it.
#[derive(Serialize, ToSchema)]
pub(super) struct Document<T> {
    /// What was asked for.
    pub(super) data: T,
    /// What it refers to, where `include` or the route asks for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) included: Vec<Included>,
    /// How much more there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) meta: Option<Meta>,
}

impl<T> Document<T> {
    pub(super) const fn of(data: T) -> Self {
        Self {
            data,
            included: Vec::new(),
            meta: None,
        }
    }
}

/// Something that a document refers to.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Included {
    /// A user or service account.
    User(Box<super::users::User>),
    /// A role.
    Role(super::roles::Role),
    /// A permission.
    Permission(super::roles::Permission),
    /// An org.
    Org(super::orgs::Org),
}

/// How much there is in all.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Meta {
    /// Of this list.
    pub(super) page: PageMeta,
    /// How many there may be in the org.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_allowed: Option<u32>,
    /// How many each user may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_allowed_per_user: Option<u32>,
}

/// How long a list is.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct PageMeta {
    /// How many the filters leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_filtered_count: Option<usize>,
    /// How many there are without filters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) total_count: Option<usize>,
    /// What to give as `page[cursor]` for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<String>,
}

/// What something is, and which.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct Identifier {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
}

impl Identifier {
    pub(super) fn new(kind: &'static str, id: impl ToString) -> Self {
        Self {
            kind,
            id: id.to_string(),
        }
    }
}

/// A reference to one thing.
#[derive(Clone, Serialize, ToSchema)]
pub(super) struct ToOne {
    data: Identifier,
}

impl ToOne {
    pub(super) fn new(kind: &'static str, id: impl ToString) -> Self {
        Self {
            data: Identifier::new(kind, id),
        }
    }

    /// The user that a view names; `None` where it was the operator or keygate itself.
    pub(super) fn user(actor: &str) -> Option<Self> {
        uuid::Uuid::try_parse(actor)
            .is_ok()
            .then(|| Self::new("users", actor))
    }
}

/// A reference to nothing: whether a key was found in public is not looked into here.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct ToNone {
    data: Option<Identifier>,
}

/// References to several things.
#[derive(Serialize, ToSchema)]
pub(super) struct ToMany {
    pub(super) data: Vec<Identifier>,
}

/// A time as the API writes it: to the microsecond, with an offset (WIRE 5.1).
pub(super) fn wire_time(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::KeyKind;
    use crate::keys::permissions::Permission;

    #[test]
    fn times_have_microseconds_and_an_offset() {
        assert_eq!(
            wire_time("2025-09-08T09:24:43.558Z"),
            "2025-09-08T09:24:43.558000+00:00"
        );
    }

    #[test]
    fn refusals_have_the_status_that_clients_know() {
        let failure = |refusal: Refusal| {
            let failure = Failure::from(refusal);
            (failure.status.as_u16(), failure.text)
        };
        assert_eq!(
            failure(Refusal::NotFound {
                what: "API key: give the id"
            }),
            (404, "API key not found".to_owned())
        );
        let kind = KeyKind::ApplicationKey;
        assert_eq!(
            failure(Refusal::AlreadyRevoked { kind }),
            (404, "Application key not found".to_owned())
        );
        let permission = Permission::ApiKeysWrite;
        assert_eq!(failure(Refusal::NotPermitted { permission }).0, 403);
        let taken = |what| Refusal::NameTaken {
            what,
            within: "org",
            name: "x".into(),
        };
        assert_eq!(failure(taken("user")).0, 409);
        assert_eq!(failure(taken("API key")).0, 400);
    }

    #[test]
    fn a_store_that_is_away_is_no_fault_of_the_client_and_is_not_named() {
        let away = StoreError::Unreachable {
            server: "redis.internal:6379".to_owned(),
            why: "refused".to_owned(),
        };
        let failure = Failure::from(ServiceError::Store(away));
        assert_eq!(failure.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!failure.text.contains("redis"));
    }
}
