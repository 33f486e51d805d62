//! Who calls the key management API: a pair of keys that the proxy of this process has checked, or one that is checked here.
//! What the caller may is decided where the operation is performed.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use subtle::ConstantTimeEq;
use tokio::task::spawn_blocking;

use super::answers::Failure;
use crate::control::client;
use crate::control::desk::{Desk, RELAY};
use crate::control::sign_in::now;
use crate::control::{Caller, Performed, Request, Response, ServiceError};
use crate::keys::audit::Via;
use crate::keys::policy::{Circumstances, Decision, authorize};
use crate::keys::secret::{Fingerprinter, is_secret};
use crate::keys::{Access, Credential, KeyId, KeyKind, OrgId, Presented, Reason, UserId};
use crate::store::StoreError;

/// The name of a request, in its answer and in the audit log.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the proxy says of a request that it lets through. Of anybody else it is not believed.
const IDENTITY: &str = "x-keygate-";
const USER_ID: &str = "x-keygate-user-id";
const ORG_ID: &str = "x-keygate-org-id";
const APP_KEY_ID: &str = "x-keygate-app-key-id";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Somebody who asks, with all that the audit log is told of it.
pub(super) struct Asker {
    pub(super) caller: Caller,
    pub(super) user: UserId,
    pub(super) org: OrgId,
    desk: Arc<Desk>,
}

impl Asker {
    /// Performs an operation.
    pub(super) async fn perform(&self, request: Request) -> Result<Performed, ServiceError> {
        self.desk.service.perform(&self.caller, request).await
    }

    /// Performs an operation that only looks.
    pub(super) async fn look(&self, request: Request) -> Result<Response, ServiceError> {
        Ok(self.perform(request).await?.response)
    }

    /// The caller's org, as operations take it.
    pub(super) fn own_org(&self) -> String {
        self.org.to_string()
    }

    /// The parts that the API shares with the pages.
    pub(super) fn desk(&self) -> &Desk {
        &self.desk
    }
}

impl FromRequestParts<Arc<Desk>> for Asker {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, desk: &Arc<Desk>) -> Result<Self, Failure> {
        let found = if is_relayed(desk, &parts.headers) {
            relayed(&parts.headers)?
        } else {
            let address = client::address(parts, &desk.trusted_proxies);
            direct(
                desk,
                &parts.headers,
                address.ok_or_else(Failure::forbidden)?,
            )?
        };
        let service = desk.service.clone();
        let id = found.application_key;
        let stored = spawn_blocking(move || {
            let store = service.store();
            Ok::<_, StoreError>((store.key(id)?, store.user(found.user)?))
        });
        let (key, owner) = stored
            .await
            .map_err(|_| Failure::unexpected())?
            .map_err(ServiceError::Store)?;
        // The table may be a moment behind the store: a key that is revoked there, alone or with all of its owner's, opens
        // nothing here.
        let key = key
            .zip(owner)
            .filter(|(key, owner)| {
                key.kind == KeyKind::ApplicationKey
                    && key.owner == Some(owner.id)
                    && key.org == found.org
                    && key.revoked.is_none()
                    && !owner.has_revoked(key)
            })
            .map(|(key, _)| key)
            .ok_or_else(Failure::forbidden)?;
        let mut caller = Caller::member(found.user, key.scopes, Via::Api);
        caller.by.application_key = Some(key.id);
        caller.by.address = found.address;
        caller.by.request_id = parts
            .headers
            .get(X_REQUEST_ID)
            .and_then(|id| id.to_str().ok())
            .map(Into::into);
        Ok(Self {
            caller,
            user: found.user,
            org: found.org,
            desk: Arc::clone(desk),
        })
    }
}

/// Whether a request comes through the proxy of this process.
pub(in crate::control) fn is_relayed(desk: &Desk, headers: &HeaderMap) -> bool {
    let mut given = headers.get_all(RELAY).iter();
    match (given.next(), given.next()) {
        (Some(given), None) => given
            .as_bytes()
            .ct_eq(desk.relay.expose().as_bytes())
            .into(),
        _ => false,
    }
}

/// Takes away what only the proxy may say, from a request that does not come through it.
pub(super) fn forget_claims(headers: &mut HeaderMap) {
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(IDENTITY))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
    headers.remove(X_REQUEST_ID);
}

/// The name of a request: what the proxy calls it, else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(X_REQUEST_ID).cloned();
    given.unwrap_or_else(|| {
        let id = format!("{:032x}", fastrand::u128(..));
        HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("0"))
    })
}

struct Found {
    user: UserId,
    org: OrgId,
    application_key: KeyId,
    address: Option<IpAddr>,
}

fn relayed(headers: &HeaderMap) -> Result<Found, Failure> {
    // The first of them is the client, as far as the proxy trusts what is before it.
    let address = headers
        .get(FORWARDED_FOR)
        .and_then(|value| value.to_str().ok())
        .and_then(|chain| chain.split(',').next())
        .and_then(|first| first.trim().parse().ok());
    Ok(Found {
        user: said(headers, USER_ID)?,
        org: said(headers, ORG_ID)?,
        application_key: said(headers, APP_KEY_ID)?,
        address,
    })
}

fn said<T: FromStr>(headers: &HeaderMap, name: &str) -> Result<T, Failure> {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(Failure::forbidden)
}

/// Checks a pair by the one policy, which does the same work for every pair that nobody has.
fn direct(desk: &Desk, headers: &HeaderMap, address: IpAddr) -> Result<Found, Failure> {
    let fingerprinter = desk.fingerprinter.get();
    let credential = Credential {
        key: presented(headers, "dd-api-key", fingerprinter),
        application_key: presented(headers, "dd-application-key", fingerprinter),
    };
    let circumstances = Circumstances {
        view: desk.table.view(Instant::now()),
        staleness: &desk.staleness,
        now: now(),
        address,
        origin: None,
    };
    let access = Access::Api { scope: None };
    let verdict = authorize(&access, &credential, &desk.table.read(), &circumstances);
    let principal = verdict.map_err(|denial| denied(denial.reason))?;
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|agent| agent.to_str().ok());
    desk.usage.accepted(
        principal.attribution(),
        circumstances.now,
        address,
        agent.unwrap_or_default(),
    );
    let who = principal.attribution();
    match (&who.user, &who.org, &who.application_key) {
        (Some((user, _)), Some((org, _)), Some(key)) => Ok(Found {
            user: *user,
            org: *org,
            application_key: key.id,
            address: Some(address),
        }),
        _ => Err(Failure::forbidden()),
    }
}

/// The same words as the proxy's (WIRE 4).
fn denied(reason: Reason) -> Failure {
    match reason.decision() {
        Decision::Missing if reason == Reason::NoApplicationKey => {
            Failure::new(StatusCode::UNAUTHORIZED, "Unauthorized")
        }
        Decision::Missing => Failure::new(StatusCode::FORBIDDEN, "API key required"),
        Decision::Bad | Decision::Allowed => Failure::forbidden(),
        Decision::CannotTell => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Credentials cannot be checked now: send the request again later",
        ),
    }
}

/// The same value twice is one, two different ones are a conflict.
fn presented(headers: &HeaderMap, name: &str, by: &Fingerprinter) -> Presented {
    let mut values = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    let Some(first) = values.next() else {
        return Presented::Nothing;
    };
    if values.any(|other| other != first) {
        Presented::Conflict
    } else if is_secret(first) {
        Presented::One(by.fingerprint(first))
    } else {
        Presented::Malformed
    }
}
