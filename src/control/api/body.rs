//! Bodies, queries and paths of requests on their way in: read, bounded, parsed; and what an `Idempotency-Key` becomes.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use hkdf::Hkdf;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::answers::Failure;
use super::auth::Asker;
use crate::control::desk::Desk;
use crate::keys::audit::Once;
use crate::keys::rules::Refusal;

/// Makes a create happen once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The longest of them.
const IDEMPOTENCY_KEY_MAX: usize = 255;

/// The most characters of what is wrong with a body.
const WHY_MAX: usize = 300;

/// A body, and who sent it. Who sent it is found out first: strangers are not told what is wrong with their JSON.
/// What the body calls itself is not asked, as curl calls it a form: who sends it is known by the keys in its headers, and by no
/// cookie that a page elsewhere could have sent along.
pub(super) struct Posted<T>(pub(super) Asker, pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Desk>> for Posted<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, desk: &Arc<Desk>) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let mut asker = Asker::from_request_parts(&mut parts, desk).await?;
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let key = idempotency_key(&parts)?;
        let bytes = Bytes::from_request(Request::from_parts(parts, body), desk)
            .await
            .map_err(|rejection| Failure::new(rejection.status(), rejection.body_text()))?;
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let parsed = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
        asker.caller.by.once = key.map(|key| {
            let who = asker.user.bytes();
            once(&who, key.as_bytes(), &[method.as_str(), &path], bytes)
        });
        Ok(Self(asker, parsed))
    }
}

fn malformed(error: &serde_json::Error) -> Refusal {
    let mut why = error.to_string();
    if let Some((cut, _)) = why.char_indices().nth(WHY_MAX) {
        why.truncate(cut);
    }
    Refusal::BodyMalformed { why }
}

fn idempotency_key(parts: &Parts) -> Result<Option<String>, Refusal> {
    let Some(value) = parts.headers.get(IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let is_key = |text: &&str| {
        (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match value.to_str().ok().filter(is_key) {
        // Only what makes something is done once; what changes something can be done again.
        Some(text) => Ok((parts.method == Method::POST).then(|| text.to_owned())),
        None => Err(Refusal::ParameterMalformed {
            name: "Idempotency-Key".into(),
            wanted: "1 to 255 visible ASCII characters",
        }),
    }
}

/// What stands for an `Idempotency-Key` in the store: nothing of it can be found out from there, and what is sealed can only
/// be opened by whoever sends it again.
fn once(who: &[u8; 16], key: &[u8], request: &[&str], body: &[u8]) -> Once {
    let mut id = Sha256::new_with_prefix(b"keygate idempotency id v1");
    id.update(who);
    id.update(key);
    let mut asked = Sha256::new_with_prefix(b"keygate idempotency request v1");
    for part in request {
        asked.update(part);
        asked.update([0]);
    }
    asked.update(body);
    let mut seal = [0; 32];
    // The only error is an output longer than 255 hashes.
    let _ = Hkdf::<Sha256>::new(Some(who), key).expand(b"keygate idempotency seal v1", &mut seal);
    Once {
        id: id.finalize().into(),
        request: asked.finalize().into(),
        seal,
    }
}

/// The parameters of a query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(Failure::new(StatusCode::BAD_REQUEST, rejection.body_text())),
        }
    }
}

/// What a path names.
pub(super) struct Named<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(path)) => Ok(Self(path)),
            Err(PathRejection::FailedToDeserializePathParams(error))
                if matches!(error.kind(), ErrorKind::InvalidUtf8InPathParam { .. }) =>
            {
                Err(Failure::not_found("path"))
            }
            Err(_) => Err(Failure::unexpected()),
        }
    }
}

/// A document on its way in.
#[derive(Deserialize, ToSchema)]
pub(super) struct Incoming<A> {
    /// What it is about.
    data: IncomingData<A>,
}

/// What a document is about.
#[derive(Deserialize, ToSchema)]
struct IncomingData<A> {
    /// What kind of thing.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Which; only where there is one already.
    id: Option<String>,
    /// What it is to be like.
    attributes: A,
    /// To what it is to belong.
    #[serde(default)]
    relationships: Relationships,
}

/// To what something is to belong.
#[derive(Default, Deserialize, ToSchema)]
pub(super) struct Relationships {
    /// A user's role: one of the three.
    pub(super) roles: Option<Several>,
    /// A key's owner, who never changes.
    owned_by: Option<One>,
    /// Who made it, which never changes.
    created_by: Option<One>,
    /// Its org, which never changes.
    org: Option<One>,
    /// Whom an invitation is for.
    pub(super) user: Option<One>,
}

/// A reference to one thing.
#[derive(Deserialize, ToSchema)]
pub(super) struct One {
    pub(super) data: Option<Reference>,
}

/// References to several things.
#[derive(Deserialize, ToSchema)]
pub(super) struct Several {
    pub(super) data: Vec<Reference>,
}

/// What something is, and which.
#[derive(Deserialize, ToSchema)]
pub(super) struct Reference {
    pub(super) id: String,
}

impl<A> Incoming<A> {
    /// What is to be made. `kind` is what the path is about.
    pub(super) fn making(self, kind: &'static str) -> Result<(A, Relationships), Refusal> {
        let data = self.data;
        is_of(data.kind.as_deref(), kind)?;
        Ok((data.attributes, data.relationships))
    }

    /// What is to be changed about the thing with this id. Both type and id are demanded (WIRE 5.3): a body that was meant
    /// for another thing changes nothing.
    pub(super) fn changing(
        self,
        kind: &'static str,
        id: &str,
    ) -> Result<(A, Relationships), Refusal> {
        let data = self.data;
        is_of(data.kind.as_deref(), kind)?;
        if !data.id.is_some_and(|given| given.eq_ignore_ascii_case(id)) {
            return Err(Refusal::BodyOfAnother {
                what: "data.id",
                wanted: id.into(),
            });
        }
        Ok((data.attributes, data.relationships))
    }
}

fn is_of(given: Option<&str>, kind: &'static str) -> Result<(), Refusal> {
    if given == Some(kind) {
        return Ok(());
    }
    Err(Refusal::BodyOfAnother {
        what: "data.type",
        wanted: kind.into(),
    })
}

impl Relationships {
    /// Whether nothing of a key is to be moved: not to another owner, maker or org.
    pub(super) fn moves_nothing(
        &self,
        owner: Option<&str>,
        maker: &str,
        org: &str,
    ) -> Result<(), Refusal> {
        let stays =
            |given: &Option<One>, is: Option<&str>| match given.as_ref().map(|one| &one.data) {
                None => true,
                Some(None) => is.is_none(),
                Some(Some(given)) => is.is_some_and(|is| is.eq_ignore_ascii_case(&given.id)),
            };
        if stays(&self.owned_by, owner)
            && stays(&self.created_by, Some(maker))
            && stays(&self.org, Some(org))
        {
            Ok(())
        } else {
            Err(Refusal::OwnerStays)
        }
    }
}

/// Tells a field that is `null` from one that is left out.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idempotency_key_is_of_one_caller_and_stands_for_one_request() {
        let asked = |who: u8, key: &str, path: &str, body: &str| {
            once(&[who; 16], key.as_bytes(), &["POST", path], body.as_bytes())
        };
        let first = asked(1, "k", "/a", "{}");
        assert!(first == asked(1, "k", "/a", "{}"));
        let others = [asked(2, "k", "/a", "{}"), asked(1, "l", "/a", "{}")];
        for other in others {
            assert!(other.id != first.id && other.seal != first.seal);
        }
        for other in [asked(1, "k", "/b", "{}"), asked(1, "k", "/a", "{ }")] {
            assert!(other.id == first.id && other.request != first.request);
        }
    }

    #[test]
    fn a_deep_or_broken_body_is_refused_with_the_place() {
        let refused = |text: &str| {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            malformed(&error).to_string()
        };
        assert!(refused(&"[".repeat(100_000)).contains("line 1 column 128"));
        assert!(refused("{\"data\":").contains("line 1 column 8"));
    }
}
