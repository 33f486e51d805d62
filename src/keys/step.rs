//! What the policy asks about a request, for whoever wants to see a decision step by step. It decides nothing.

use super::Reason;

/// What is asked about a request, in this order. The rules from [`Rule::Known`] on are asked of each key presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Is the route one that no key reaches?
    Reachable,
    /// Is what the route demands presented?
    Presented,
    /// Is there one value of each kind, and no other?
    OneValue,
    /// Has the table been loaded?
    Loaded,
    /// Is it young enough to serve from?
    Served,
    /// Does a key have this secret?
    Known,
    /// Is it not revoked by itself?
    NotRevoked,
    /// Is its owner enabled?
    OwnerEnabled,
    /// Is it not revoked with its owner?
    NotRevokedWithOwner,
    /// Is it not past its end?
    NotExpired,
    /// Is its org enabled?
    OrgEnabled,
    /// May keys of its kind do this?
    Kind,
    /// Is the client's address one it may be used from?
    Address,
    /// Is the page one it may be used from?
    Origin,
    /// Are both keys of one org?
    SameOrg,
    /// Has the application key the scope?
    Scope,
}

/// What a rule is asked of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The request as a whole.
    Request,
    /// What is presented as an API key or client token.
    Key,
    /// What is presented as an application key.
    ApplicationKey,
}

/// One rule, and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was asked.
    pub rule: Rule,
    /// Of what.
    pub of: Asked,
    /// Why it says no, if it does.
    pub said: Result<(), Reason>,
}
