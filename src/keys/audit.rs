//! What the audit log says: who did what to which org, user or key, through what, and what was so before and after. How its
//! entries are chained and kept is `store::ledger`'s business.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Actor, KeyId, KeyKind, Org, OrgId, PARTITIONS, Partition, Revision, Role, Timestamp, User,
};

/// Through what something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The key management API, also the command line that calls it.
    Api,
    /// The pages.
    Page,
    /// The command line at the machine itself.
    Cli,
    /// Nobody: keygate itself.
    System,
}

impl Via {
    /// The name used in JSON and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Page => "page",
            Self::Cli => "cli",
            Self::System => "system",
        }
    }
}

/// On whose behalf an operation is, and how it came here. Every write takes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// Through what.
    pub via: Via,
    /// The application key that was used.
    pub application_key: Option<KeyId>,
    /// The request that asked for it.
    pub request_id: Option<CompactString>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// The request's `Idempotency-Key`. It is no part of the log.
    #[serde(skip)]
    pub once: Option<Once>,
    /// As what a user was judged who asks. It is no part of the log.
    #[serde(skip)]
    pub judged: Option<Judged>,
}

/// What it was by which it was decided that a user may do something: while it is written they must still be it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Their role.
    pub role: Role,
    /// The scopes of the application key used.
    pub scopes: Option<Vec<CompactString>>,
}

impl By {
    /// Somebody at the machine itself.
    pub const fn operator() -> Self {
        Self::of(Actor::Operator, Via::Cli)
    }

    /// keygate itself.
    pub const fn system() -> Self {
        Self::of(Actor::System, Via::System)
    }

    /// An actor, through something.
    pub const fn of(actor: Actor, via: Via) -> Self {
        Self {
            actor,
            via,
            application_key: None,
            request_id: None,
            address: None,
            once: None,
            judged: None,
        }
    }
}

/// That a create is to happen once, however often it is asked for: what an `Idempotency-Key` becomes. The key itself is not
/// kept anywhere: only whoever sends it again is shown the same secret again.
#[derive(Clone, PartialEq, Eq)]
pub struct Once {
    /// What the answer is kept under: a hash of the caller and the `Idempotency-Key`.
    pub id: [u8; 32],
    /// A hash of what was asked for. The same key with another request is refused.
    pub request: [u8; 32],
    /// What the secret in the answer is sealed with, derived from the `Idempotency-Key`.
    pub seal: [u8; 32],
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Once(..)")
    }
}

/// The name of an entry: which partition's log, and which entry of it. Entries count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId {
    /// Each partition has a log of its own.
    pub partition: Partition,
    /// The entry's place in it.
    pub number: u64,
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.number)
    }
}

/// Text that is no [`AuditId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAuditId;

impl fmt::Display for NoAuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an audit id is two numbers, as in 7-42")
    }
}

impl std::error::Error for NoAuditId {}

impl FromStr for AuditId {
    type Err = NoAuditId;

    fn from_str(text: &str) -> Result<Self, NoAuditId> {
        let (partition, number) = text.split_once('-').ok_or(NoAuditId)?;
        let partition: usize = partition.parse().map_err(|_| NoAuditId)?;
        let partition = Partition::all()
            .nth(partition)
            .filter(|_| partition < PARTITIONS);
        Ok(Self {
            partition: partition.ok_or(NoAuditId)?,
            number: number.parse().map_err(|_| NoAuditId)?,
        })
    }
}

impl Serialize for AuditId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// What was done. New ones go to the end: entries hold their number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// Every action, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word used in JSON, filters and pages.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

actions! {
    /// A partition's log begins, with records that are older than it: they were restored or carried over.
    LogBegun = "log.begun",
    /// An org was made.
    OrgCreated = "org.created",
    /// An org was disabled.
    OrgDisabled = "org.disabled",
    /// An org was enabled again.
    OrgEnabled = "org.enabled",
    /// A user or service account was made.
    UserCreated = "user.created",
    /// Name, e-mail address, title or role of a user was changed.
    UserChanged = "user.changed",
    /// A user was disabled, and all their application keys revoked.
    UserDisabled = "user.disabled",
    /// A user was enabled again.
    UserEnabled = "user.enabled",
    /// A key was made.
    KeyCreated = "key.created",
    /// A key issued elsewhere was added.
    KeyImported = "key.imported",
    /// Name, expiry, scopes, addresses or origins of a key were changed.
    KeyChanged = "key.changed",
    /// A key was given a successor.
    KeyRotated = "key.rotated",
    /// A key was shadow-revoked: its requests pass, and are counted as if they did not.
    KeyShadowed = "key.shadow_revoked",
    /// That was taken back.
    KeyUnshadowed = "key.shadow_ended",
    /// A key was revoked.
    KeyRevoked = "key.revoked",
    /// A one-time sign-in link was made.
    LinkCreated = "sign_in_link.created",
    /// A password was set, and all sessions of the user ended.
    PasswordSet = "password.set",
    /// Somebody signed in.
    SignedIn = "session.opened",
    /// Somebody signed out, or was signed out.
    SignedOut = "session.ended",
    /// The store can be opened with another root key, too.
    RootKeyAdded = "root_key.added",
    /// A root key no longer opens the store.
    RootKeyRetired = "root_key.retired",
    /// Records were put back into the store.
    StoreRestored = "store.restored",
}

/// What it was done to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// Its id; nil where there is none.
    pub id: Uuid,
    /// Its name then.
    pub name: CompactString,
}

impl Object {
    /// An org.
    pub fn org(org: &Org) -> Self {
        Self {
            kind: ObjectKind::Org,
            id: org.id.0,
            name: org.name.clone(),
        }
    }

    /// A user or service account.
    pub fn user(user: &User) -> Self {
        Self {
            kind: ObjectKind::User,
            id: user.id.0,
            name: user.name.clone(),
        }
    }

    /// A key.
    pub fn key(key: &super::Key) -> Self {
        Self {
            kind: ObjectKind::Key(key.kind),
            id: key.id.0,
            name: key.name.clone(),
        }
    }

    /// The store itself.
    pub fn store() -> Self {
        Self {
            kind: ObjectKind::Store,
            id: Uuid::nil(),
            name: CompactString::default(),
        }
    }
}

/// The kinds of what something can be done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// An org.
    Org,
    /// A user or service account.
    User,
    /// A key.
    Key(KeyKind),
    /// The store.
    Store,
}

impl ObjectKind {
    /// The word used in JSON and filters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::User => "user",
            Self::Key(kind) => kind.as_str(),
            Self::Store => "store",
        }
    }
}

/// One field of an object, before and after. Never a secret, nor what one can be looked up by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Which field.
    pub field: CompactString,
    /// What it was; `None` where there was nothing.
    pub before: Option<String>,
    /// What it is.
    pub after: Option<String>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Its place in the log of its partition.
    pub number: u64,
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: By,
    /// Whose log it is part of; `None` is the operator's.
    pub org: Option<OrgId>,
    /// What was done.
    pub action: Action,
    /// To what.
    pub object: Object,
    /// What was so before and after.
    pub changes: Vec<FieldChange>,
    /// The revisions of the records that were written with it.
    pub revisions: Vec<Revision>,
}
