//! Orgs, users and keys as they are shown to people and programs: the JSON of the command line. No fingerprint is in
//! them, and a secret only once.

use std::collections::HashMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::protocol::SecretText;
use super::uses::{SourceView, last_address};
use crate::keys::usage::Use;
use crate::keys::{Actor, Key, KeyId, KeyKind, Org, OrgId, Role, User, UserId, UserKind, rules};
pub use crate::store::ledger::time_text;
use crate::store::{Founded, Issued};

fn actor_text(actor: Actor) -> String {
    match actor {
        Actor::Operator => "operator".to_owned(),
        Actor::User(id) => id.to_string(),
        Actor::System => "system".to_owned(),
    }
}

/// What users are called, for views that name them.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<UserId, String>);

impl Names {
    pub(super) fn of<'u>(users: impl IntoIterator<Item = &'u User>) -> Self {
        let named = users
            .into_iter()
            .map(|user| (user.id, user.name.to_string()));
        Self(named.collect())
    }

    fn of_actor(&self, actor: Actor) -> Option<String> {
        match actor {
            Actor::User(id) => self.0.get(&id).cloned(),
            Actor::Operator | Actor::System => None,
        }
    }
}

/// An org.
#[derive(Debug, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each field is what its name says, as in `keys::Org`"
)]
pub struct OrgView {
    pub id: OrgId,
    pub name: String,
    pub disabled: bool,
    pub created_at: String,
    /// Its first API key, in the answer that made both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<KeyView>,
}

impl OrgView {
    pub(super) fn of(org: &Org) -> Self {
        Self {
            id: org.id,
            name: org.name.to_string(),
            disabled: org.disabled,
            created_at: time_text(org.created_at),
            api_key: None,
        }
    }
}

/// A user or a service account.
#[derive(Debug, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each field is what its name says, as in `keys::User`"
)]
pub struct UserView {
    pub id: UserId,
    pub org_id: OrgId,
    pub kind: UserKind,
    pub handle: String,
    pub name: String,
    pub email: String,
    pub title: Option<String>,
    pub role: Role,
    pub disabled: bool,
    pub created_at: String,
    pub modified_at: String,
}

impl UserView {
    pub(super) fn of(user: &User) -> Self {
        Self {
            id: user.id,
            org_id: user.org,
            kind: user.kind,
            handle: user.handle.to_string(),
            name: user.name.to_string(),
            email: user.email.to_string(),
            title: user.title.as_ref().map(ToString::to_string),
            role: user.role,
            disabled: user.disabled,
            created_at: time_text(user.created_at),
            modified_at: time_text(user.modified_at),
        }
    }
}

/// Whether a key was revoked, by itself or with its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyStatus {
    /// Not revoked. It may still be refused: expired, or its org disabled.
    Active,
    /// Revoked, for good.
    Revoked,
}

/// A key.
#[derive(Debug, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each field is what its name says, as in `keys::Key`"
)]
pub struct KeyView {
    pub id: KeyId,
    pub kind: KeyKind,
    pub name: String,
    pub org_id: OrgId,
    pub owner_id: Option<UserId>,
    /// In the answer that made the key, and never again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretText>,
    pub last4: String,
    pub status: KeyStatus,
    pub created_at: String,
    /// The id of a user, `operator` or `system`.
    pub created_by: String,
    /// What that user is called.
    pub created_by_name: Option<String>,
    pub modified_at: String,
    pub modified_by: String,
    pub owner_name: Option<String>,
    /// Since when its requests pass and are counted as those that would not if it were revoked.
    pub shadow_revoked_at: Option<String>,
    /// Its successor.
    pub replaced_by: Option<KeyId>,
    pub category: Option<String>,
    pub remote_config_read: bool,
    pub revoked_at: Option<String>,
    pub revoked_by: Option<String>,
    /// The last request that was accepted with it, up to `store.usage_interval` ago.
    #[serde(default)]
    pub last_used_at: Option<String>,
    /// Where that came from.
    #[serde(default)]
    pub last_used_from: Option<String>,
    /// How many were.
    #[serde(default)]
    pub uses: u64,
    /// Where the last ones came from, the last one first; only where one key is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceView>,
    pub expires_at: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub allowed_addresses: Vec<IpNet>,
    pub allowed_origins: Vec<String>,
}

impl KeyView {
    pub(super) fn of(key: &Key, owner: Option<&User>) -> Self {
        let with_owner = owner.filter(|owner| owner.has_revoked(key));
        let (revoked_at, revoked_by) = match (key.revoked, with_owner) {
            (Some(revoked), _) => (Some(revoked.at), Some(actor_text(revoked.by))),
            (None, Some(owner)) => (
                owner.application_keys_revoked_at,
                Some("disabling its owner".to_owned()),
            ),
            (None, None) => (None, None),
        };
        Self {
            id: key.id,
            kind: key.kind,
            name: key.name.to_string(),
            org_id: key.org,
            owner_id: key.owner,
            secret: None,
            last4: key.last4.to_string(),
            status: match revoked_by {
                Some(_) => KeyStatus::Revoked,
                None => KeyStatus::Active,
            },
            created_at: time_text(key.created_at),
            created_by: actor_text(key.created_by),
            created_by_name: None,
            modified_at: time_text(key.modified.at),
            modified_by: actor_text(key.modified.by),
            owner_name: owner.map(|owner| owner.name.to_string()),
            shadow_revoked_at: key.shadowed.map(|deed| time_text(deed.at)),
            replaced_by: key.replaced_by,
            category: key.labels.category.as_ref().map(ToString::to_string),
            remote_config_read: key.labels.remote_config_read,
            revoked_at: revoked_at.map(time_text),
            revoked_by,
            last_used_at: None,
            last_used_from: None,
            uses: 0,
            sources: Vec::new(),
            expires_at: key.expires_at.map(time_text),
            scopes: key
                .scopes
                .as_ref()
                .map(|scopes| scopes.iter().map(ToString::to_string).collect()),
            allowed_addresses: key.allowed_addresses.clone(),
            allowed_origins: key
                .allowed_origins
                .iter()
                .map(|origin| origin.as_str().to_owned())
                .collect(),
        }
    }

    pub(super) fn used(self, uses: Option<&Use>) -> Self {
        Self {
            last_used_at: uses.map(|uses| time_text(uses.last_used)),
            last_used_from: uses.and_then(last_address),
            uses: uses.map_or(0, |uses| uses.count),
            ..self
        }
    }

    /// And from where.
    pub(super) fn with_sources(self, uses: Option<&Use>) -> Self {
        Self {
            sources: uses.map(SourceView::all).unwrap_or_default(),
            ..self
        }
    }

    /// Says what the users in it are called.
    pub(super) fn named(self, key: &Key, names: &Names) -> Self {
        Self {
            created_by_name: names.of_actor(key.created_by),
            ..self
        }
    }

    /// With the one copy of its secret that is ever shown.
    pub(super) fn with_secret_of(self, issued: Issued) -> Self {
        Self {
            secret: Some(SecretText::new(issued.secret.expose().to_owned().into())),
            ..self
        }
    }

    pub(super) fn issued(issued: Issued) -> Self {
        Self {
            secret: Some(SecretText::new(issued.secret.expose().to_owned().into())),
            ..Self::of(&issued.key, None)
        }
    }
}

/// What ends at once when a user is disabled, and what stays and is theirs to have known.
#[derive(Debug, Serialize, Deserialize)]
pub struct OffboardingView {
    /// The user.
    pub user: UserView,
    /// Their active application keys: revoked for good by disabling them, all by one write.
    pub ends: Vec<KeyView>,
    /// The active API keys and client tokens that they made: they stay valid, and are to be rotated.
    pub stays: Vec<KeyView>,
}

/// A one-time link.
#[derive(Debug, Serialize, Deserialize)]
pub struct LinkView {
    /// Whom it lets in.
    pub user: UserView,
    /// The path of the page, with what opens it. Shown this once.
    pub path: SecretText,
    /// The same as an address, where it is known what the pages are reached by.
    pub url: Option<SecretText>,
    /// From then on it opens nothing.
    pub expires_at: String,
}

/// A one-time link that was made, without what opens it.
#[derive(Debug, Serialize, Deserialize)]
pub struct InvitationView {
    /// Whom it lets in.
    pub user: UserView,
    /// When it was made.
    pub made_at: String,
    /// From then on it opens nothing.
    pub expires_at: String,
}

/// What `init` made.
#[derive(Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is what its name says")]
pub struct FoundedView {
    pub org: OrgView,
    pub user: UserView,
    pub api_key: KeyView,
    pub application_key: KeyView,
    /// With which the user sets a password and signs in.
    pub link: Option<LinkView>,
}

impl FoundedView {
    pub(super) fn of(founded: Founded) -> Self {
        Self {
            org: OrgView::of(&founded.org),
            user: UserView::of(&founded.user),
            api_key: KeyView::issued(founded.api_key),
            application_key: KeyView::issued(founded.application_key),
            link: None,
        }
    }
}

/// What a secret is, whose, and what it may reach.
#[derive(Debug, Serialize, Deserialize)]
pub struct Whoami {
    /// The key.
    #[serde(flatten)]
    pub key: KeyView,
    /// Its org's name.
    pub org_name: Option<String>,
    /// Why it is refused now, in words; `None` when it is not.
    pub refused: Option<String>,
    /// What keys of its kind may reach, in words.
    pub reach: String,
}

impl Whoami {
    pub(super) fn of(
        key: &Key,
        uses: Option<&Use>,
        org: Option<&Org>,
        owner: Option<&User>,
    ) -> Self {
        let view = KeyView::of(key, owner).used(uses);
        let now = jiff::Timestamp::now().as_millisecond();
        let expired = key.expires_at.filter(|expires| expires.0 <= now);
        let refused = if let (Some(at), Some(by)) = (&view.revoked_at, &view.revoked_by) {
            Some(format!("revoked at {at} by {by}"))
        } else if let Some(expires) = expired {
            Some(format!("expired at {}", time_text(expires)))
        } else if org.is_none_or(|org| org.disabled) {
            Some("its org is disabled".to_owned())
        } else if owner.is_some_and(|owner| owner.disabled) {
            Some("its owner is disabled".to_owned())
        } else {
            None
        };
        Self {
            key: view,
            org_name: org.map(|org| org.name.to_string()),
            refused,
            reach: rules::of(key.kind).reach.to_owned(),
        }
    }
}
