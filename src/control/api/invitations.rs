//! Invitations in the key management API: each is a one-time link, with which a person sets a password and signs in. No mail
//! is sent: the answer that makes an invitation shows its link to the admin who made it, this once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::Shared;
use super::answers::{Answer, Document, Failure, Reply, ToOne, wire_time};
use super::auth::Asker;
use super::body::{Named, Posted, Relationships};
use super::users;
use crate::control::{Request, Response, SecretText};
use crate::keys::audit::AuditId;
use crate::keys::rules::Refusal;
use crate::keys::{Partition, UserKind};

const TYPE: &str = "user_invitations";

/// The most invitations that one request makes.
const AT_ONCE_MAX: usize = 100;

/// The end of every id of an invitation.
const TAG: [u8; 7] = *b"invited";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(send))
        .routes(routes!(show))
}

/// An invitation.
#[derive(Serialize, ToSchema)]
struct Invitation {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    attributes: Attributes,
    relationships: Relations,
}

/// What an invitation is like.
#[derive(Serialize, ToSchema)]
#[schema(as = InvitationAttributes)]
struct Attributes {
    uuid: String,
    invite_type: &'static str,
    login_method: Option<String>,
    created_at: String,
    /// From then on its link opens nothing.
    expires_at: String,
    /// What lets the person in, only in the answer that made it. A path where it is not known what the pages are reached by.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    login_link: Option<SecretText>,
}

/// Whom an invitation is for.
#[derive(Serialize, ToSchema)]
#[schema(as = InvitationRelations)]
struct Relations {
    user: ToOne,
}

impl Invitation {
    fn new(
        id: AuditId,
        user: &str,
        (made, ends): (&str, &str),
        login_link: Option<SecretText>,
    ) -> Self {
        Self {
            kind: TYPE,
            id: uuid_of(id).to_string(),
            attributes: Attributes {
                uuid: uuid_of(id).to_string(),
                invite_type: "openid_invite",
                login_method: None,
                created_at: wire_time(made),
                expires_at: wire_time(ends),
                login_link,
            },
            relationships: Relations {
                user: ToOne::new("users", user),
            },
        }
    }
}

/// An invitation is known by the entry of the audit log that tells of its link: nothing else of it need be kept.
fn uuid_of(id: AuditId) -> Uuid {
    let [_, _, number @ ..] = id.number.to_be_bytes();
    let mut bytes = [0; 16];
    let parts = number
        .into_iter()
        .chain([id.partition.index().to_le_bytes()[0], 0, 0])
        .chain(TAG);
    for (byte, part) in bytes.iter_mut().zip(parts) {
        *byte = part;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn audit_id(text: &str) -> Option<AuditId> {
    let uuid = Uuid::try_parse(text).ok()?;
    let mut number = [0; 8];
    for (byte, part) in number.iter_mut().skip(2).zip(uuid.as_bytes()) {
        *byte = *part;
    }
    let partition = usize::from(uuid.as_bytes().get(6)? & 0x0f);
    let id = AuditId {
        partition: Partition::all().nth(partition)?,
        number: u64::from_be_bytes(number),
    };
    (uuid_of(id) == uuid).then_some(id)
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
struct Invitations {
    data: Vec<NewInvitation>,
}

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
struct NewInvitation {
    #[serde(rename = "type")]
    kind: Option<String>,
    relationships: Relationships,
}

/// Make one-time links for users, to set a password and sign in with. Each is in this answer and never again.
#[utoipa::path(post, path = "/api/v2/user_invitations", tag = "Users", request_body = Invitations,
    responses((status = 201, description = "Made", body = Document<Vec<Invitation>>)))]
async fn send(Posted(asker, body): Posted<Invitations>) -> Answer {
    let malformed = |wanted| Refusal::ParameterMalformed {
        name: "data".into(),
        wanted,
    };
    if body.data.is_empty() || body.data.len() > AT_ONCE_MAX {
        return Err(malformed("1 to 100 invitations").into());
    }
    // All of them are looked for before the first link is made.
    let mut invited = Vec::new();
    for new in body.data {
        if new.kind.as_deref() != Some(TYPE) {
            return Err(Refusal::BodyOfAnother {
                what: "data.type",
                wanted: TYPE.into(),
            }
            .into());
        }
        let user = new.relationships.user.and_then(|user| user.data);
        let user = user.ok_or_else(|| malformed("a user for each invitation"))?;
        let user = users::find(&asker, &user.id).await?;
        // Nor is a link made that is lost because the next one is refused.
        if user.kind == UserKind::ServiceAccount {
            return Err(Refusal::NoPerson.into());
        }
        if user.disabled {
            return Err(Refusal::OwnerDisabled.into());
        }
        invited.push(user);
    }
    let mut made = Vec::new();
    let mut last = None;
    for user in invited {
        let user = user.id.to_string();
        let performed = asker
            .perform(Request::MakeLink { user: user.clone() })
            .await?;
        let (Response::Link(link), Some(id)) = (performed.response, performed.audit) else {
            return Err(Failure::unexpected());
        };
        last = Some(id);
        let at = jiff::Timestamp::now().to_string();
        let text = link.url.unwrap_or(link.path);
        made.push(Invitation::new(
            id,
            &user,
            (&at, &link.expires_at),
            Some(text),
        ));
    }
    Ok(Reply::created(&Document::of(made)).noted(last))
}

/// An invitation, without its link.
#[utoipa::path(get, path = "/api/v2/user_invitations/{user_invitation_uuid}", tag = "Users",
    params(("user_invitation_uuid" = String, Path)),
    responses((status = 200, description = "The invitation", body = Document<Invitation>)))]
async fn show(asker: Asker, Named(text): Named<String>) -> Answer {
    let absent = || Failure::not_found("invitation");
    let id = audit_id(&text).ok_or_else(absent)?;
    match asker.look(Request::ShowInvitation { id }).await? {
        Response::Invitation(found) => {
            let (user, at) = (
                found.user.id.to_string(),
                (&*found.made_at, &*found.expires_at),
            );
            Ok(Reply::ok(&Document::of(Invitation::new(
                id, &user, at, None,
            ))))
        }
        _ => Err(Failure::unexpected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_an_invitation_names_its_entry_and_nothing_else_does() {
        for (partition, number) in [(0, 0), (15, 1), (7, 0xffff_ffff_ffff)] {
            let partition = Partition::all().nth(partition).unwrap();
            let id = AuditId { partition, number };
            assert_eq!(audit_id(&uuid_of(id).to_string()), Some(id));
        }
        for other in ["", "x", "00000000-dead-beef-dead-ffffffffffff"] {
            assert_eq!(audit_id(other), None);
        }
        assert_eq!(audit_id(&Uuid::new_v4().to_string()), None);
    }
}
