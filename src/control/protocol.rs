//! What the command line and the control socket say to each other, as JSON. It performs nothing.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::audit::AuditPage;
use super::explain::{Explanation, Question};
use super::nodes::NodeView;
use super::receipt::Receipt;
use super::uses::{KeyUseView, OrgUseView};
use super::views::{
    FoundedView, InvitationView, KeyView, LinkView, OffboardingView, OrgView, UserView, Whoami,
};
use crate::keys::audit::{Action, AuditId};
use crate::keys::{KeyKind, Labels, Role, Timestamp, UserKind};
use crate::store::findings::{Findings, Status};
use crate::store::log::{HeadView, LogFindings};
use crate::store::migrate::Copied;

/// A secret on its way in or out: wiped when dropped, and never shown by `Debug`.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// From its characters.
    pub const fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Its characters.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

/// One operation. Orgs are given by id or name; users by id, login name, or (service accounts) name.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "the fields are the options of the commands, which document them"
)]
pub enum Request {
    /// An org, its first user and the first keys of both.
    Init { org: String, user: String },
    /// An org with its first API key.
    CreateOrg { name: String },
    /// Every org.
    ListOrgs,
    /// One org.
    ShowOrg { org: String },
    /// Disables or enables an org.
    SetOrgDisabled { org: String, disabled: bool },
    /// A user.
    CreateUser {
        org: String,
        email: String,
        name: Option<String>,
        #[serde(default)]
        title: Option<String>,
        role: Role,
    },
    /// A service account.
    CreateServiceAccount {
        org: String,
        name: String,
        #[serde(default)]
        email: Option<String>,
        role: Role,
    },
    /// The people or the service accounts of an org.
    ListUsers { org: String, kind: UserKind },
    /// One user.
    ShowUser { user: String },
    /// Disables a user and revokes their application keys; or enables them.
    SetUserDisabled { user: String, disabled: bool },
    /// Changes a user or service account.
    UpdateUser { user: String, change: UserChanges },
    /// What ends when a user is disabled, and what is left to rotate.
    ShowOffboarding { user: String },
    /// A one-time link with which a user sets a password and signs in.
    MakeLink { user: String },
    /// A one-time link that was made, by its entry of the audit log. What opens it is not shown again.
    ShowInvitation { id: AuditId },
    /// An API key, generated or, with a secret, imported.
    CreateApiKey {
        org: String,
        name: String,
        expires_at: Option<Timestamp>,
        allowed_addresses: Vec<IpNet>,
        secret: Option<SecretText>,
        #[serde(default)]
        labels: Labels,
    },
    /// An application key.
    CreateApplicationKey {
        owner: String,
        name: String,
        expires_at: Option<Timestamp>,
        scopes: Vec<String>,
    },
    /// A client token.
    CreateClientToken {
        org: String,
        name: String,
        expires_at: Option<Timestamp>,
        allowed_origins: Vec<String>,
    },
    /// The keys of one kind of an org, revoked ones included.
    ListKeys { kind: KeyKind, org: String },
    /// The application keys of a user.
    ListKeysOfOwner { owner: String },
    /// One key.
    ShowKey { kind: KeyKind, id: String },
    /// Who uses one key, from where, and when.
    ShowKeyUse { kind: KeyKind, id: String },
    /// How often the keys of an org were used of late, those included that never were.
    ShowOrgUse { org: String },
    /// Changes a key.
    UpdateKey {
        kind: KeyKind,
        id: String,
        change: KeyChanges,
    },
    /// Gives a key a successor.
    RotateKey {
        kind: KeyKind,
        id: String,
        /// What the successor is called; otherwise it takes the old one's name.
        name: Option<String>,
        /// How long the old one stays valid; without it it is revoked at once.
        overlap_ms: Option<i64>,
        expires_at: Option<Timestamp>,
    },
    /// Revokes a key.
    RevokeKey { kind: KeyKind, id: String },
    /// What a secret is.
    Whoami { secret: SecretText },
    /// Another operation, and then which nodes have applied it, once all have or this time is up.
    AndWait {
        #[serde(deserialize_with = "waited_for_once")]
        request: Box<Request>,
        wait_ms: u64,
    },
    /// What would be decided about a request, and why.
    Explain { question: Box<Question> },
    /// Entries of the audit log, the newest first.
    ListAudit { query: AuditQuery },
    /// Looks through all of the audit log.
    VerifyAudit { earlier: Vec<HeadView> },
    /// The nodes of the fleet.
    ListNodes,
    /// What the store says of itself.
    StoreStatus,
    /// Looks through all of the store.
    VerifyStore,
    /// Puts back into the store what it has lost and this server has.
    RestoreStore,
    /// Lets the store be opened with another root key, too.
    AddRootKey { root_key: SecretText },
    /// Lets the store no longer be opened with the root key that has this check value.
    RetireRootKey { check: String },
}

/// An operation that waits for nobody itself. Requests within requests, as deep as somebody likes, would fill the stack.
fn waited_for_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Request>, D::Error> {
    let request = serde_json::Value::deserialize(deserializer)?;
    // A number or a list would name an operation, too.
    match request.get("op").and_then(serde_json::Value::as_str) {
        Some("and_wait") => return Err(serde::de::Error::custom("nothing waits twice")),
        Some(_) => {}
        None => return Err(serde::de::Error::missing_field("op")),
    }
    Request::deserialize(request)
        .map(Box::new)
        .map_err(serde::de::Error::custom)
}

impl Request {
    /// Whether only somebody at the machine itself may ask for it, whatever it is about.
    pub const fn is_of_the_machine(&self) -> bool {
        match self {
            Self::Init { .. }
            | Self::CreateOrg { .. }
            | Self::SetOrgDisabled { .. }
            | Self::Whoami { .. }
            | Self::Explain { .. }
            | Self::VerifyAudit { .. }
            | Self::StoreStatus
            | Self::VerifyStore
            | Self::RestoreStore
            | Self::AddRootKey { .. }
            | Self::RetireRootKey { .. } => true,
            Self::AndWait { request, .. } => request.is_of_the_machine(),
            // Whether a secret is taken says whether it is one, of whichever org.
            Self::CreateApiKey { secret, .. } => secret.is_some(),
            Self::ListOrgs
            | Self::ShowOrg { .. }
            | Self::CreateUser { .. }
            | Self::CreateServiceAccount { .. }
            | Self::ListUsers { .. }
            | Self::ShowUser { .. }
            | Self::SetUserDisabled { .. }
            | Self::UpdateUser { .. }
            | Self::ShowOffboarding { .. }
            | Self::MakeLink { .. }
            | Self::ShowInvitation { .. }
            | Self::CreateApplicationKey { .. }
            | Self::CreateClientToken { .. }
            | Self::ListKeys { .. }
            | Self::ListKeysOfOwner { .. }
            | Self::ShowKey { .. }
            | Self::ShowKeyUse { .. }
            | Self::ShowOrgUse { .. }
            | Self::UpdateKey { .. }
            | Self::RotateKey { .. }
            | Self::RevokeKey { .. }
            | Self::ListAudit { .. }
            | Self::ListNodes => false,
        }
    }

    /// Whether it may take longer than an answer usually may.
    pub const fn is_long(&self) -> bool {
        matches!(
            self,
            Self::AndWait { .. }
                | Self::VerifyStore
                | Self::VerifyAudit { .. }
                | Self::RestoreStore
        )
    }
}

/// What is to be different about a user. What is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each field is what its name says, as in `keys::User`"
)]
pub struct UserChanges {
    pub name: Option<String>,
    pub email: Option<String>,
    /// Blank is none.
    pub title: Option<String>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
}

/// What is to be different about a key. What is left out stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each field is what its name says, as in `keys::Key`"
)]
pub struct KeyChanges {
    pub name: Option<String>,
    pub expires_at: Option<Timestamp>,
    /// The key is not to expire any more.
    pub never_expires: bool,
    /// Empty is all that the owner may.
    pub scopes: Option<Vec<String>>,
    /// Empty is any.
    pub allowed_addresses: Option<Vec<IpNet>>,
    /// Empty is any.
    pub allowed_origins: Option<Vec<String>>,
    pub category: Option<String>,
    pub remote_config_read: Option<bool>,
    /// Whether it is shadow-revoked.
    pub shadowed: Option<bool>,
}

/// Which entries of the audit log are wanted. What is left out is any.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditQuery {
    /// Of this org, by id or name; the caller's own where it is a member of one.
    pub org: Option<String>,
    /// What was done.
    pub action: Option<Action>,
    /// By this user, by id, login name or name; `operator` and `system` are those.
    pub actor: Option<String>,
    /// To what has this id.
    pub object: Option<uuid::Uuid>,
    /// At this time or later.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// Where an earlier answer ended.
    pub after: Option<String>,
    /// At most so many; 100 unless given, 1,000 at most.
    pub most: Option<usize>,
}

/// What an operation answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// What `init` made.
    Founded(Box<FoundedView>),
    /// An org.
    Org(OrgView),
    /// Orgs.
    Orgs(Vec<OrgView>),
    /// A user.
    User(UserView),
    /// Users.
    Users(Vec<UserView>),
    /// A key.
    Key(KeyView),
    /// Keys.
    Keys(Vec<KeyView>),
    /// Who uses a key.
    KeyUse(Box<KeyUseView>),
    /// How often the keys of an org were used.
    OrgUse(Box<OrgUseView>),
    /// What a secret is.
    Whoami(Box<Whoami>),
    /// What an operation answers, and which nodes have applied it.
    Receipted {
        /// The operation's answer.
        response: Box<Response>,
        /// Which nodes have.
        receipt: Receipt,
    },
    /// A key and its successor.
    Rotated {
        /// The key.
        old: Box<KeyView>,
        /// Its successor.
        new: Box<KeyView>,
    },
    /// What ends with a user, and what is left.
    Offboarding(Box<OffboardingView>),
    /// A one-time link.
    Link(LinkView),
    /// What would be decided about a request, and why.
    Explained(Box<Explanation>),
    /// A one-time link that was made.
    Invitation(InvitationView),
    /// Entries of the audit log.
    Audit(AuditPage),
    /// What a look through the audit log found.
    AuditVerified(Box<LogFindings>),
    /// Nodes.
    Nodes(Vec<NodeView>),
    /// What the store says of itself.
    Status(Box<Status>),
    /// What was found in it.
    Verified(Box<Verified>),
    /// What was put back.
    Copied(Box<Copied>),
    /// The check value of a root key that was added or retired.
    RootKey(RootKeyView),
}

/// What a look through a store found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Verified {
    /// Which store.
    pub place: String,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
    /// Whether a server runs here, whose memory was compared, too.
    pub compared_with_server: bool,
}

/// A root key that was added or retired.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKeyView {
    /// Its check value.
    pub check: String,
}

impl Response {
    /// Whether it shows a secret, which is shown this once.
    pub(super) fn shows_secret(&self) -> bool {
        match self {
            Self::Founded(_) => true,
            Self::Key(key) => key.secret.is_some(),
            Self::Rotated { .. } | Self::Link(_) => true,
            Self::Org(org) => org.api_key.is_some(),
            _ => false,
        }
    }
}

/// Why it failed, as sent over the socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Failure {
    /// The sentence for the person.
    pub(super) error: String,
}
