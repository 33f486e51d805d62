//! What is asked and answered about a request that is to be explained. Who explains is handed in by `app`: nothing here
//! knows a route of the data plane.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::protocol::SecretText;
use crate::keys::{KeyId, OrgId, UserId};
use crate::store::StoreError;

/// A request, as far as a decision needs to know it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// Its path and query. They may hold secrets.
    pub target: SecretText,
    /// Its headers. Their values may be secrets.
    pub headers: Vec<(String, SecretText)>,
    /// Where it comes from; this machine unless said otherwise.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// As if this API key or client token were presented, and no other.
    #[serde(default)]
    pub key: Option<KeyId>,
    /// As if this application key were presented, and no other.
    #[serde(default)]
    pub application_key: Option<KeyId>,
}

/// What would be decided about a request, and why. No secret is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What was looked at, in order, up to what decided.
    pub steps: Vec<ExplainedStep>,
    /// As the record would have it: `allowed`, `missing`, `bad`, `cannot_tell` or `none`.
    pub decision: String,
    /// As the record would have it: `auth.reason`, or `error.type` where there was nothing to decide.
    pub reason: Option<String>,
    /// The route's pattern.
    pub route: Option<String>,
    /// The API key or client token that the record would show.
    pub key_id: Option<KeyId>,
    /// The application key.
    pub application_key_id: Option<KeyId>,
    /// The org.
    pub org_id: Option<OrgId>,
    /// What it is called.
    pub org_name: Option<String>,
    /// The user.
    pub user_id: Option<UserId>,
    /// What the user is called.
    pub user_name: Option<String>,
    /// What the client is answered, where that is not what the upstream says.
    pub answer: Option<ExplainedAnswer>,
    /// Where the request goes.
    pub forwarded: Option<ExplainedForward>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedStep {
    /// Which of keygate's steps.
    pub step: StepName,
    /// Whether it lets the request go on.
    pub said: Said,
    /// What was seen, in words.
    pub text: String,
}

/// keygate's steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// The request as it is understood.
    Target,
    /// The row of the route table.
    Route,
    /// What is presented, and where.
    Credential,
    /// Who the client is.
    Client,
    /// Which keys these are.
    LookUp,
    /// A rule of the policy.
    Policy,
    /// What comes of it.
    Outcome,
    /// What keygate's own API then decides by.
    KeyManagement,
}

impl StepName {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Route => "route",
            Self::Credential => "credential",
            Self::Client => "client",
            Self::LookUp => "look-up",
            Self::Policy => "policy",
            Self::Outcome => "outcome",
            Self::KeyManagement => "own API",
        }
    }
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The request goes on.
    Yes,
    /// It does not: this decides.
    No,
    /// Nothing: it is worth knowing.
    Note,
}

/// What keygate answers itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedAnswer {
    /// The status.
    pub status: u16,
    /// The headers that depend on the decision.
    pub headers: Vec<(String, String)>,
    /// The body; `None` where it is no text.
    pub body: Option<String>,
    /// Whether the connection ends with it.
    pub closes: bool,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedForward {
    /// The name of the upstream.
    pub upstream: String,
    /// Its host and port.
    pub authority: String,
    /// The path there, without what is a key.
    pub path: String,
    /// How many parameters the query has that goes on: the carriers of credentials do not.
    pub parameters: usize,
    /// The headers that say whose request it is.
    pub headers: Vec<(String, String)>,
    /// Where the upstream's own credential is put, if it has one.
    pub own_credential: Option<String>,
}

/// Explains requests.
#[derive(Clone)]
pub struct Explain(Arc<Explaining>);

type Explaining = dyn Fn(&Question) -> Result<Explanation, StoreError> + Send + Sync;

impl Explain {
    /// By this function.
    pub fn by(
        explain: impl Fn(&Question) -> Result<Explanation, StoreError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(explain))
    }

    pub(super) fn explain(&self, question: &Question) -> Result<Explanation, StoreError> {
        (self.0)(question)
    }
}

impl fmt::Debug for Explain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Explain(..)")
    }
}
