//! What the operations are given and what they give back. Which of it the rules allow is in `writing`.

use compact_str::CompactString;
use ipnet::IpNet;

use super::writing;
use crate::keys::audit::AuditId;
use crate::keys::rules::{Name, Origin};
use crate::keys::{
    Key, KeyKind, Labels, Org, OrgId, Partition, Role, Secret, Timestamp, User, UserId,
};

/// What a new user is to be.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The org the user will belong to.
    pub org: OrgId,
    /// The login name, unique in the org.
    pub handle: Name,
    /// The name shown to people; the handle where there is none.
    pub name: Option<Name>,
    /// The job title.
    pub title: Option<Name>,
    /// What the user may do to keys.
    pub role: Role,
}

/// What a new key is of, with what only that kind has. An application key's org is its owner's.
#[derive(Clone, Debug)]
pub enum NewKeyOf {
    /// An API key.
    ApiKey {
        /// The org it identifies.
        org: OrgId,
        /// The client addresses it may be used from; empty is any.
        allowed_addresses: Vec<IpNet>,
    },
    /// An application key.
    ApplicationKey {
        /// Who its requests are attributed to.
        owner: UserId,
        /// What it may be used for; empty is all that the owner may.
        scopes: Vec<CompactString>,
    },
    /// A client token.
    ClientToken {
        /// The org it sends to.
        org: OrgId,
        /// The page origins it may be used from; empty is any.
        allowed_origins: Vec<Origin>,
    },
}

impl NewKeyOf {
    /// The kind of key.
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::ApiKey { .. } => KeyKind::ApiKey,
            Self::ApplicationKey { .. } => KeyKind::ApplicationKey,
            Self::ClientToken { .. } => KeyKind::ClientToken,
        }
    }

    /// The partition that the key will be in.
    pub const fn partition(&self) -> Partition {
        match self {
            Self::ApiKey { org, .. } | Self::ClientToken { org, .. } => org.partition(),
            Self::ApplicationKey { owner, .. } => owner.partition(),
        }
    }
}

/// What a new key is to be.
#[derive(Debug)]
pub struct NewKey {
    /// Its kind, and whose it is.
    pub of: NewKeyOf,
    /// Its name.
    pub name: Name,
    /// A secret issued elsewhere; otherwise one is generated.
    pub secret: Option<Secret>,
    /// Whether the secret was issued elsewhere.
    pub imported: bool,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// What an API key is filed under.
    pub labels: Labels,
}

/// What is to be different about a key. `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// Its name.
    pub name: Option<Name>,
    /// When it expires, if ever.
    pub expires_at: Option<Option<Timestamp>>,
    /// Application keys: what it may be used for; empty is all that the owner may.
    pub scopes: Option<Vec<CompactString>>,
    /// API keys: from where.
    pub allowed_addresses: Option<Vec<IpNet>>,
    /// Client tokens: from which pages.
    pub allowed_origins: Option<Vec<Origin>>,
    /// API keys: what it is filed under.
    pub labels: Option<Labels>,
    /// Whether it is shadow-revoked.
    pub shadowed: Option<bool>,
}

/// What is to be different about a user or service account. `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// The name shown to people.
    pub name: Option<Name>,
    /// The e-mail address. The handle stays.
    pub email: Option<Name>,
    /// The job title, if any.
    pub title: Option<Option<Name>>,
    /// What the user may do.
    pub role: Option<Role>,
    /// Disabling revokes all their application keys for good; enabling revives none.
    pub disabled: Option<bool>,
}

/// How a key is given a successor.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// What the successor is called. Otherwise it takes the old one's name, and the old one is renamed.
    pub name: Option<Name>,
    /// How long the old one stays valid, in milliseconds; `None` revokes it at once.
    pub overlap_ms: Option<i64>,
    /// When the successor expires, if ever.
    pub expires_at: Option<Timestamp>,
}

/// What an operation made, and the entry of the audit log that says so; `None` when nothing was changed.
#[derive(Clone, Copy, Debug)]
pub struct Done<T> {
    /// What it made.
    pub value: T,
    /// The entry.
    pub audit: Option<AuditId>,
}

impl<T> Done<T> {
    /// Something else made of it.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Done<U> {
        Done {
            value: change(self.value),
            audit: self.audit,
        }
    }
}

/// A key just made, with the one copy of its secret there will ever be.
#[derive(Debug)]
pub struct Issued {
    /// The key as stored.
    pub key: Key,
    /// Its secret.
    pub secret: Secret,
}

/// What [`Store::found`] made.
#[derive(Debug)]
pub struct Founded {
    /// The org.
    pub org: Org,
    /// Its first user, an admin.
    pub user: User,
    /// Its first API key.
    pub api_key: Issued,
    /// The user's first application key.
    pub application_key: Issued,
}

impl Founded {
    pub(super) fn of(
        org: Org,
        user: User,
        api_key: Key,
        application_key: Key,
        secrets: writing::FirstSecrets,
    ) -> Self {
        Self {
            org,
            user,
            api_key: Issued {
                key: api_key,
                secret: secrets.api_key,
            },
            application_key: Issued {
                key: application_key,
                secret: secrets.application_key,
            },
        }
    }
}
