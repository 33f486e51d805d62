//! The domain: the nouns of keygate and nothing else. Pure: no clock, file, socket, log or metric is reached from here.
//!
//! A *key* is an API key, an application key or a client token, once issued. Its plain characters are its *secret*
//! ([`secret::Secret`]); what is stored and looked up is its [`Fingerprint`]; what is safe to log is its [`KeyId`].

pub mod audit;
pub mod buckets;
mod id;
pub mod keyring;
pub mod permissions;
pub mod policy;
pub mod refusal;
pub mod rules;
pub mod secret;
mod step;
pub mod table;
pub mod usage;
pub mod uses;

use compact_str::CompactString;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use id::{KeyId, OrgId, PARTITIONS, Partition, Slot, UserId};
pub use policy::{Attribution, Denial, Principal, Reason, UsedKey};
pub use secret::{Fingerprint, Secret};
pub use table::KeyTable;

/// The three kinds of key. The kind is a property of the stored key, never of the place in a request that carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// Identifies an org to the intake.
    ApiKey,
    /// Beside an API key of the same org, gives API access as the user who owns it.
    ApplicationKey,
    /// Publishable; may send browser logs and nothing else.
    ClientToken,
}

impl KeyKind {
    /// Every kind, in the order of its numbers.
    pub const ALL: [Self; 3] = [Self::ApiKey, Self::ApplicationKey, Self::ClientToken];

    /// The name used in records, JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::ApplicationKey => "application_key",
            Self::ClientToken => "client_token",
        }
    }
}

/// The store's clock: every change has a larger one than the change before it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// Wall-clock time in milliseconds since the Unix epoch. Only for what is stored or shown; deadlines and ages use the
/// monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// Somebody at the machine itself, through the control socket or the store's file.
    Operator,
    /// A user of an org.
    User(UserId),
    /// keygate itself.
    System,
}

/// An org.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Org {
    /// Its id.
    pub id: OrgId,
    /// Its name, unique in the installation.
    pub name: CompactString,
    /// A disabled org's keys are all refused, until it is enabled again.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// The change that last touched it.
    pub revision: Revision,
}

/// What a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserKind {
    /// A person.
    Person,
    /// A name that programs act under; outlives the people who set it up.
    ServiceAccount,
}

/// What a user may do to keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything in the org.
    Admin,
    /// Their own application keys.
    Standard,
    /// Nothing but look.
    ReadOnly,
}

impl Role {
    /// The name used on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Standard => "standard",
            Self::ReadOnly => "read-only",
        }
    }
}

/// A user or a service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's id.
    pub id: UserId,
    /// The org the user belongs to, for good.
    pub org: OrgId,
    /// A person or a service account.
    pub kind: UserKind,
    /// The login name, an e-mail address for people; unique in the org. A service account's is its own id.
    pub handle: CompactString,
    /// The name shown to people and sent upstream.
    pub name: CompactString,
    /// The e-mail address. A person's is the handle until it is changed; a service account may have one that others have.
    pub email: CompactString,
    /// The job title, for people to know each other by.
    pub title: Option<CompactString>,
    /// What the user may do.
    pub role: Role,
    /// Set while the user may not act.
    pub disabled: bool,
    /// Every application key of this user issued at or before this revision is revoked for good. Disabling a user
    /// writes this one field, so it costs the same for one key and for ten thousand, and enabling them again, which
    /// leaves it alone, revives nothing.
    pub application_keys_revoked_through: Revision,
    /// When that was last moved, for "revoked at".
    pub application_keys_revoked_at: Option<Timestamp>,
    /// When the password was last set: one set at another time is none, and links and sessions of before are over. They lie
    /// beside the records, where whoever may write could put back what is over; this is proven as the record is.
    pub password_set_at: Option<Timestamp>,
    /// When the user was made.
    pub created_at: Timestamp,
    /// When the user was last changed.
    pub modified_at: Timestamp,
    /// The change that last touched the user.
    pub revision: Revision,
}

impl User {
    /// Whether a one-time link that was made then is spent.
    pub fn is_over(&self, made_at: Timestamp) -> bool {
        let spent = self.password_set_at.max(self.application_keys_revoked_at);
        spent.is_some_and(|at| at >= made_at)
    }

    /// Whether disabling the user has revoked this key of theirs.
    pub fn has_revoked(&self, key: &Key) -> bool {
        ends_with_owner(key.kind, key.issued, self.application_keys_revoked_through)
    }
}

/// Whether a key of this kind, issued then, is revoked with an owner whose application keys are revoked through that.
fn ends_with_owner(kind: KeyKind, issued: Revision, through: Revision) -> bool {
    kind == KeyKind::ApplicationKey && issued <= through
}

/// What clients of the key management API file an API key under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// `category`; `None` is `default`.
    pub category: Option<CompactString>,
    /// `remote_config_read_enabled`.
    pub remote_config_read: bool,
}

impl Default for Labels {
    fn default() -> Self {
        Self {
            category: None,
            remote_config_read: true,
        }
    }
}

/// When something was done to a key, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: Actor,
}

/// A key as stored and as held in memory. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Its kind.
    pub kind: KeyKind,
    /// The org it belongs to, for good.
    pub org: OrgId,
    /// The user its requests are attributed to: application keys have one, the other kinds have none.
    pub owner: Option<UserId>,
    /// Its name.
    pub name: CompactString,
    /// What a presented secret is looked up by.
    pub fingerprint: Fingerprint,
    /// The secret's last four characters, for people to tell keys apart.
    pub last4: CompactString,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: Actor,
    /// The change that made it.
    pub issued: Revision,
    /// The change that last touched it.
    pub revision: Revision,
    /// Set once, never unset.
    pub revoked: Option<Deed>,
    /// Since when the key is *shadow-revoked*: its requests pass, and are marked and counted as those that would not if it
    /// were revoked.
    pub shadowed: Option<Deed>,
    /// When it was last changed, and by whom.
    pub modified: Deed,
    /// Its successor, once it has been rotated.
    pub replaced_by: Option<KeyId>,
    /// API keys: what its maker files it under, and whether it may read remote configuration. Kept and shown for clients
    /// that set them (WIRE 5.3); nothing here asks.
    pub labels: Labels,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Application keys: what the key may be used for; `None` is all that the owner may.
    pub scopes: Option<Vec<CompactString>>,
    /// API keys: the client addresses it may be used from; empty is any.
    pub allowed_addresses: Vec<IpNet>,
    /// Client tokens: the page origins it may be used from; empty is any.
    pub allowed_origins: Vec<rules::Origin>,
}

/// One record of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An org.
    Org(Org),
    /// A user.
    User(User),
    /// A key.
    Key(Key),
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// An org.
    Org,
    /// A user or service account.
    User,
    /// A key.
    Key,
}

impl Key {
    /// Whether it is refused now because its time is over.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= now)
    }
}

impl RecordKind {
    /// The byte that stands for it before an id.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Org => b'o',
            Self::User => b'u',
            Self::Key => b'k',
        }
    }

    /// The kind of that byte.
    pub const fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            b'o' => Some(Self::Org),
            b'u' => Some(Self::User),
            b'k' => Some(Self::Key),
            _ => None,
        }
    }

    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::User => "user",
            Self::Key => "key",
        }
    }
}

impl Record {
    /// What it is of.
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::Org(_) => RecordKind::Org,
            Self::User(_) => RecordKind::User,
            Self::Key(_) => RecordKind::Key,
        }
    }

    /// The bytes of its id.
    pub fn id_bytes(&self) -> [u8; 16] {
        match self {
            Self::Org(org) => org.id.bytes(),
            Self::User(user) => user.id.bytes(),
            Self::Key(key) => key.id.bytes(),
        }
    }

    /// The partition it is in, or `None` when its parts are of different ones: no store of ours writes such a record.
    pub fn partition(&self) -> Option<Partition> {
        let (own, org) = match self {
            Self::Org(org) => (org.id.slot(), org.id.slot()),
            Self::User(user) => (user.id.slot(), user.org.slot()),
            Self::Key(key) => (key.id.slot(), key.org.slot()),
        };
        (own == org).then(|| own.partition())
    }

    /// The change that wrote this record.
    pub const fn revision(&self) -> Revision {
        match self {
            Self::Org(org) => org.revision,
            Self::User(user) => user.revision,
            Self::Key(key) => key.revision,
        }
    }
}

/// What a route demands of its caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: a preflight, which cannot carry a credential.
    Open,
    /// An API key.
    Intake,
    /// An API key or a client token: the logs intake, which both kinds of sender share.
    Logs,
    /// A client token.
    Browser,
    /// An API key and an application key of one org, and the scope if there is one.
    Api {
        /// A permission that a scoped application key must name.
        scope: Option<CompactString>,
    },
    /// No key reaches it. The route is listed so that its refusal has the shape its clients expect.
    Closed,
}

/// What one request presented for one kind of carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Nothing.
    Nothing,
    /// Bytes that no key can have: empty, too long, or not visible ASCII.
    Malformed,
    /// One value, in however many places.
    One(Fingerprint),
    /// Two different values. Neither is chosen.
    Conflict,
}

/// What one request presented: fingerprints only, the secret itself is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// From the carriers of API keys and client tokens.
    pub key: Presented,
    /// From the carriers of application keys.
    pub application_key: Presented,
}

#[cfg(test)]
pub(crate) mod samples {
    //! Records for the tests of this module and of its siblings.

    use super::{
        Actor, Deed, Fingerprint, Key, KeyId, KeyKind, Labels, Org, OrgId, Revision, Role, Slot,
        Timestamp, User, UserId, UserKind,
    };

    pub fn org(name: &str) -> Org {
        Org {
            id: OrgId::generate_in(Slot::of_org_name(name)),
            name: name.into(),
            disabled: false,
            created_at: Timestamp(0),
            revision: Revision(1),
        }
    }

    pub fn user(org: &Org, handle: &str) -> User {
        User {
            id: UserId::generate_in(org.id.slot()),
            org: org.id,
            kind: UserKind::Person,
            handle: handle.into(),
            name: handle.into(),
            role: Role::Standard,
            disabled: false,
            application_keys_revoked_through: Revision(0),
            application_keys_revoked_at: None,
            password_set_at: None,
            email: handle.into(),
            title: None,
            created_at: Timestamp(0),
            modified_at: Timestamp(0),
            revision: Revision(1),
        }
    }

    pub fn key(kind: KeyKind, org: &Org, owner: Option<&User>, fingerprint: u128) -> Key {
        Key {
            id: KeyId::generate_in(org.id.slot()),
            kind,
            org: org.id,
            owner: owner.map(|user| user.id),
            name: kind.as_str().into(),
            fingerprint: Fingerprint::from_bytes(fingerprint.to_be_bytes()),
            last4: "cdef".into(),
            created_at: Timestamp(0),
            created_by: Actor::Operator,
            issued: Revision(2),
            revision: Revision(2),
            revoked: None,
            shadowed: None,
            modified: Deed {
                at: Timestamp(0),
                by: Actor::Operator,
            },
            replaced_by: None,
            labels: Labels::default(),
            expires_at: None,
            scopes: None,
            allowed_addresses: Vec::new(),
            allowed_origins: Vec::new(),
        }
    }
}
