//! Who asks for an operation, and what they may. How they proved who they are is the business of the API, the pages and the
//! socket; which permission an operation takes is `operations`'.

use compact_str::CompactString;

use super::ServiceError;
use crate::keys::audit::{By, Judged, Via};
use crate::keys::permissions::Permission;
use crate::keys::rules::Refusal;
use crate::keys::{Actor, OrgId, User, UserId};
use crate::store::Store;

/// Who asks, and how it came here.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What the audit log is told.
    pub by: By,
    power: Power,
}

#[derive(Clone, Debug)]
enum Power {
    /// Somebody at the machine itself: everything, in every org.
    Operator,
    /// A user of an org, within it.
    Member {
        user: UserId,
        /// The scopes of the application key used; `None` is all that the user may.
        scopes: Option<Vec<CompactString>>,
    },
}

impl Caller {
    /// Somebody at the machine itself.
    pub const fn operator() -> Self {
        Self {
            by: By::operator(),
            power: Power::Operator,
        }
    }

    /// A user, through the API or the pages, with the scopes of the application key that was used.
    pub const fn member(user: UserId, scopes: Option<Vec<CompactString>>, via: Via) -> Self {
        Self {
            by: By::of(Actor::User(user), via),
            power: Power::Member { user, scopes },
        }
    }

    /// What the caller may, by the store as it is now: a role that was taken away a moment ago is not there any more.
    pub(super) fn standing(&self, store: &Store) -> Result<Standing, ServiceError> {
        let (user, scopes) = match &self.power {
            Power::Operator => return Ok(Standing::Operator),
            Power::Member { user, scopes } => (*user, scopes.clone()),
        };
        let user = store.user(user)?.ok_or(Refusal::SignInFailed)?;
        let org = store.org(user.org)?.ok_or(Refusal::SignInFailed)?;
        if user.disabled || org.disabled {
            return Err(Refusal::SignInFailed.into());
        }
        Ok(Standing::Member { user, scopes })
    }
}

/// What a caller may, as of now.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "an operation has one of it")]
pub(super) enum Standing {
    Operator,
    Member {
        user: User,
        scopes: Option<Vec<CompactString>>,
    },
}

impl Standing {
    /// # Errors
    /// When the caller's role, or the scopes of the key used, do not have the permission.
    pub(super) fn need(&self, permission: Permission) -> Result<(), Refusal> {
        match self {
            Self::Operator => Ok(()),
            Self::Member { user, .. } if !permission.is_of(user.role) => {
                Err(Refusal::NotPermitted { permission })
            }
            Self::Member {
                scopes: Some(scopes),
                ..
            } if !scopes.iter().any(|scope| scope == permission.as_str()) => {
                Err(Refusal::ScopeMissing { permission })
            }
            Self::Member { .. } => Ok(()),
        }
    }

    /// # Errors
    /// When the caller is not at the machine itself.
    pub(super) const fn need_operator(&self) -> Result<(), Refusal> {
        match self {
            Self::Operator => Ok(()),
            Self::Member { .. } => Err(Refusal::OperatorOnly),
        }
    }

    /// Whether a caller whose key has scopes gives no more than it has itself: to a key it makes, widens, or is shown the
    /// secret of.
    ///
    /// # Errors
    /// When it would.
    pub(super) fn may_give(&self, given: Option<&[CompactString]>) -> Result<(), Refusal> {
        let Self::Member {
            scopes: Some(held), ..
        } = self
        else {
            return Ok(());
        };
        match given {
            Some(given) if given.iter().all(|scope| held.contains(scope)) => Ok(()),
            _ => Err(Refusal::ScopesWiden),
        }
    }

    /// Whether something is the caller's to see at all: what is another org's is not there.
    pub(super) fn is_of(&self, org: OrgId) -> bool {
        match self {
            Self::Operator => true,
            Self::Member { user, .. } => user.org == org,
        }
    }

    /// What the store is to find the caller still to be when it writes.
    pub(super) fn judged(&self) -> Option<Judged> {
        match self {
            Self::Operator => None,
            Self::Member { user, scopes } => Some(Judged {
                role: user.role,
                scopes: scopes.clone(),
            }),
        }
    }

    /// The caller's org, if it has one.
    pub(super) fn org(&self) -> Option<OrgId> {
        match self {
            Self::Operator => None,
            Self::Member { user, .. } => Some(user.org),
        }
    }

    /// The caller, if it is a user.
    pub(super) fn user(&self) -> Option<UserId> {
        match self {
            Self::Operator => None,
            Self::Member { user, .. } => Some(user.id),
        }
    }
}
