//! What the three kinds of key have in common in the API: whether one is there, times and owners in documents, rotation. What is
//! answered with it is in `key_answers`, the documents in the files of the kinds.

use serde::Deserialize;
use utoipa::ToSchema;

use super::answers::{Failure, Included, Reply, wire_time};
use super::auth::Asker;
use super::body::present;
use super::paging::{Facts, KeyQuery, time};
use super::{roles, users};
use crate::control::{KeyStatus, KeyView, Request, Response, ServiceError};
use crate::keys::audit::AuditId;
use crate::keys::rules::{self, Refusal};
use crate::keys::{KeyKind, Timestamp};
use crate::store::StoreError;

/// A key used less long ago than this was used recently.
const RECENTLY: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// An active key. A revoked one is not there (WIRE 5.3).
pub(super) async fn find(asker: &Asker, kind: KeyKind, id: &str) -> Result<KeyView, Failure> {
    let request = Request::ShowKey {
        kind,
        id: id.to_owned(),
    };
    match asker.look(request).await? {
        Response::Key(key) if key.status == KeyStatus::Active => Ok(key),
        Response::Key(_) => Err(absent(kind)),
        _ => Err(Failure::unexpected()),
    }
}

/// An active application key of a user.
pub(super) async fn find_of(asker: &Asker, owner: &str, id: &str) -> Result<KeyView, Failure> {
    let key = owned(asker, owner, id).await?;
    match key.status {
        KeyStatus::Active => Ok(key),
        KeyStatus::Revoked => Err(absent(KeyKind::ApplicationKey)),
    }
}

/// An application key of a user, revoked or not. What is somebody else's is not there, and nobody is told that it is
/// elsewhere.
pub(super) async fn owned(asker: &Asker, owner: &str, id: &str) -> Result<KeyView, Failure> {
    let kind = KeyKind::ApplicationKey;
    let shown = asker
        .look(Request::ShowKey {
            kind,
            id: id.to_owned(),
        })
        .await;
    match shown {
        Ok(Response::Key(key)) if is_of(&key, owner) => Ok(key),
        Ok(Response::Key(_)) => Err(absent(kind)),
        Ok(_) => Err(Failure::unexpected()),
        // Whose it is decides what it takes to see it: a caller who may see all of their own learns nothing of others'.
        Err(ServiceError::Store(StoreError::Refused(
            Refusal::NotPermitted { .. } | Refusal::ScopeMissing { .. },
        ))) => {
            list_of(asker, owner).await?;
            Err(absent(kind))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn is_of(key: &KeyView, owner: &str) -> bool {
    key.owner_id
        .is_some_and(|id| id.to_string().eq_ignore_ascii_case(owner))
}

/// The active keys of one kind of the org.
pub(super) async fn list(asker: &Asker, kind: KeyKind) -> Result<Vec<KeyView>, Failure> {
    let org = asker.own_org();
    active(asker.look(Request::ListKeys { kind, org }).await?)
}

/// The active application keys of a user.
pub(super) async fn list_of(asker: &Asker, owner: &str) -> Result<Vec<KeyView>, Failure> {
    let owner = owner.to_owned();
    active(asker.look(Request::ListKeysOfOwner { owner }).await?)
}

fn active(response: Response) -> Result<Vec<KeyView>, Failure> {
    let Response::Keys(mut keys) = response else {
        return Err(Failure::unexpected());
    };
    keys.retain(|key| key.status == KeyStatus::Active);
    Ok(keys)
}

pub(super) fn facts(key: &KeyView) -> Facts<'_> {
    Facts {
        id: key.id.to_string(),
        name: &key.name,
        last4: &key.last4,
        created_at: &key.created_at,
        modified_at: &key.modified_at,
        category: category(key),
        remote_config_read: key.remote_config_read,
    }
}

/// What an API key is filed under.
pub(super) fn category(key: &KeyView) -> &str {
    key.category.as_deref().unwrap_or("default")
}

/// Revokes an active key.
pub(super) async fn revoke(asker: &Asker, kind: KeyKind, id: &str) -> Result<Reply, Failure> {
    let id = id.to_owned();
    let performed = asker.perform(Request::RevokeKey { kind, id }).await?;
    Ok(Reply::nothing().noted(performed.audit))
}

pub(super) fn absent(kind: KeyKind) -> Failure {
    Failure::not_found(rules::of(kind).label)
}

/// The users and their roles that a document of keys refers to and that are asked for: those whom the caller may see.
pub(super) async fn included<'k>(
    asker: &Asker,
    query: &KeyQuery,
    keys: impl IntoIterator<Item = &'k KeyView>,
) -> Result<Vec<Included>, Failure> {
    let mut wanted: Vec<String> = Vec::new();
    for key in keys {
        let owner = key.owner_id.map(|id| id.to_string());
        let of = [
            ("created_by", Some(key.created_by.clone())),
            ("modified_by", Some(key.modified_by.clone())),
            ("owned_by", owner),
        ];
        let of = of.into_iter().filter(|(what, _)| query.includes(what));
        for id in of.filter_map(|(_, id)| id) {
            if uuid::Uuid::try_parse(&id).is_ok() && !wanted.contains(&id) {
                wanted.push(id);
            }
        }
    }
    let mut included = Vec::new();
    let mut of_roles = Vec::new();
    for user in wanted {
        match asker.look(Request::ShowUser { user }).await {
            Ok(Response::User(user)) => {
                // Clients know roles beside the owners of application keys only.
                if query.includes("owned_by") && !of_roles.contains(&user.role) {
                    of_roles.push(user.role);
                }
                included.push(Included::User(Box::new(users::User::of(&user))));
            }
            Ok(_) => return Err(Failure::unexpected()),
            Err(error) => {
                let failure = Failure::from(error);
                if !failure.status().is_client_error() {
                    return Err(failure);
                }
            }
        }
    }
    let of_roles = of_roles
        .into_iter()
        .map(|role| Included::Role(roles::Role::of(role, None)));
    included.extend(of_roles);
    Ok(included)
}

/// When a key is to expire, from its text. Of a day alone it is the end (UTC), as on the pages.
pub(super) fn expiry(text: &str) -> Result<Timestamp, Refusal> {
    let is_day = text
        .trim()
        .bytes()
        .all(|it| it.is_ascii_digit() || it == b'-');
    let at = match is_day {
        true => time(&format!("{}T23:59:59Z", text.trim())),
        false => time(text),
    };
    let at = at.ok_or(Refusal::ParameterMalformed {
        name: "expires_at".into(),
        wanted: "a time such as 2027-01-31T00:00:00Z, a day such as 2027-01-31 (to its end, UTC), or null",
    })?;
    Ok(Timestamp(at.as_millisecond()))
}

/// A change of when a key expires: (to this time, to never).
pub(super) fn expiry_change(
    given: Option<Option<String>>,
) -> Result<(Option<Timestamp>, bool), Refusal> {
    Ok(match given {
        None => (None, false),
        Some(None) => (None, true),
        Some(Some(text)) => (Some(expiry(&text)?), false),
    })
}

/// A time of a view, in the API's form.
pub(super) fn some_time(text: Option<&String>) -> Option<String> {
    text.map(|text| wire_time(text))
}

pub(super) fn is_recent(used: Option<&String>) -> bool {
    let used = used.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    used.is_some_and(|used| jiff::Timestamp::now().duration_since(used) < RECENTLY)
}

/// How a key is given a successor.
#[derive(Deserialize, ToSchema)]
pub(super) struct Rotation {
    /// How.
    #[serde(default)]
    data: RotationData,
}

/// How a key is given a successor.
#[derive(Default, Deserialize, ToSchema)]
struct RotationData {
    #[serde(default)]
    attributes: RotationAttributes,
}

/// How a key is given a successor.
#[derive(Default, Deserialize, ToSchema)]
struct RotationAttributes {
    /// What the successor is called; without it, it takes the old one's name, and the old one is called "... (old)".
    name: Option<String>,
    /// How long the old one stays valid; without it, it is revoked at once.
    overlap_seconds: Option<u32>,
    /// When the successor expires: a time, or a day (to its end, UTC).
    #[serde(default, deserialize_with = "present")]
    expires_at: Option<Option<String>>,
}

/// Gives a key a successor: the key as it is then, the successor, and the entry of the audit log.
pub(super) async fn rotated(
    asker: &Asker,
    kind: KeyKind,
    id: &str,
    rotation: Rotation,
) -> Result<(KeyView, KeyView, Option<AuditId>), Failure> {
    let how = rotation.data.attributes;
    let performed = asker
        .perform(Request::RotateKey {
            kind,
            id: id.to_owned(),
            name: how.name,
            overlap_ms: how.overlap_seconds.map(|seconds| i64::from(seconds) * 1000),
            expires_at: expiry_change(how.expires_at)?.0,
        })
        .await?;
    match performed.response {
        Response::Rotated { old, new } => Ok((*old, *new, performed.audit)),
        _ => Err(Failure::unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_alone_is_valid_to_its_end() {
        let of = |text: &str| expiry(text).unwrap();
        assert_eq!(of("2027-01-31"), of("2027-01-31T23:59:59Z"));
        assert_eq!(of("2027-01-31T01:00:00+01:00"), of("2027-01-31T00:00:00Z"));
        for wrong in ["", "2027-02-30", "20", "soon"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
