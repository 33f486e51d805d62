//! The operations on orgs, users and keys as people and programs ask for them: names resolved, rules asked, and a
//! change in force when its answer is given. It holds no rule of its own and knows no route of the data plane.

pub mod api;
pub mod audit;
mod caller;
mod client;
mod compare;
pub mod connections;
pub mod desk;
pub mod explain;
mod nodes;
mod operations;
pub mod page;
mod protocol;
mod receipt;
pub mod sign_in;
pub mod socket;
mod uses;
mod views;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

pub use audit::{AuditPage, AuditView};
pub use caller::Caller;
use explain::Explain;
pub use nodes::{NodeHealth, NodeView};
use operations::{Performing, Traces};
pub use protocol::{
    AuditQuery, KeyChanges, Request, Response, RootKeyView, SecretText, UserChanges, Verified,
};
use receipt::{Heard, Waiting};
pub use receipt::{NodeReceipt, NodeState, Receipt};
use sign_in::SignIn;
pub use uses::{BucketView, KeyTotals, KeyUseView, OrgUseView, ShadowView, SourceView};
pub use views::{
    FoundedView, InvitationView, KeyStatus, KeyView, LinkView, OffboardingView, OrgView, UserView,
    Whoami, time_text,
};

use crate::keys::audit::AuditId;
use crate::keys::{Fingerprint, KeyTable, OrgId, Partition, Revision, Timestamp};
use crate::store::migrate::Copied;
use crate::store::sync::{AppliedChanges, Sync};
use crate::store::{Store, StoreError};

/// How long nodes are waited for at most.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// How often it is looked whether a key is revoked here.
const LOOK: Duration = Duration::from_millis(5);

/// How long this process may take to hear of a change that it has made itself.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// How often they are asked, growing from the first to the second.
const ASK_FIRST: Duration = Duration::from_millis(20);
const ASK_LAST: Duration = Duration::from_millis(200);

/// Why an operation failed.
#[derive(Debug)]
pub enum ServiceError {
    /// The store failed, or a rule says no.
    Store(StoreError),
    /// It is about the nodes of a fleet, and the store is a file of one server.
    NoFleet,
    /// The operation broke off, and what came of it is not known.
    Unknown,
    /// The change is stored, but this process does not hear of it: its link to the store is down in one direction.
    NotHeard,
    /// The change is stored, but the table of this process did not apply it: it is stopping.
    NotApplied,
    /// The change is made, and the log that is to tell of it could not be written.
    NotLogged(StoreError),
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::NoFleet => f.write_str(
                "the store is a file of one server: only a fleet on Redis has nodes, and a replica to restore from",
            ),
            Self::Unknown => f.write_str(
                "the operation broke off inside the server, and it may have happened or not: look before you try again",
            ),
            Self::NotHeard => f.write_str(
                "the change is stored, but this server has not heard of it from the store, and may not be the only one: it will be in force here when it does",
            ),
            Self::NotApplied => f.write_str(
                "the change is stored, but the server stopped before it was in force there: it will be when it starts",
            ),
            Self::NotLogged(error) => write!(
                f,
                "this is done, but the audit log does not tell of it, because that could not be written: {error}"
            ),
        }
    }
}

impl std::error::Error for ServiceError {}

impl ServiceError {
    /// Why a rule says no, when that is what it is.
    pub const fn refusal(&self) -> Option<&crate::keys::rules::Refusal> {
        match self {
            Self::Store(StoreError::Refused(refusal)) => Some(refusal),
            Self::Store(_)
            | Self::NoFleet
            | Self::Unknown
            | Self::NotHeard
            | Self::NotApplied
            | Self::NotLogged(_) => None,
        }
    }
}

impl<E: Into<StoreError>> From<E> for ServiceError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// Puts back into the store what a running server has and the store does not.
#[derive(Clone)]
pub struct Restore {
    /// All of it.
    pub all: Arc<dyn Fn() -> Result<Copied, StoreError> + Send + std::marker::Sync>,
    /// What is of one org, so that it can be changed there.
    pub org: Arc<dyn Fn(OrgId) -> Result<(), StoreError> + Send + std::marker::Sync>,
}

/// What the operations need to know of the pages.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// What people reach them by, without a slash at the end; `None` where there are none.
    pub url: Option<String>,
    /// The orgs whose admins see the nodes of the fleet.
    pub operator_orgs: Vec<String>,
}

impl Pages {
    fn sees_fleet(&self, org: &str) -> bool {
        self.operator_orgs.iter().any(|named| named == org)
    }
}

/// What an operation answers, and what tells of it.
#[derive(Debug)]
pub struct Performed {
    /// The answer.
    pub response: Response,
    /// The entry of the audit log; `None` when nothing was changed.
    pub audit: Option<AuditId>,
}

/// The operations. Cheap to clone.
#[derive(Clone)]
pub struct KeyService {
    store: Arc<Store>,
    applied: Option<AppliedChanges>,
    table: Option<Arc<KeyTable>>,
    restore: Option<Restore>,
    explain: Option<Explain>,
    pages: Pages,
    link_lifetime: Duration,
}

impl KeyService {
    /// Over a store whose table `sync` writes: an operation returns once that table has applied it.
    pub fn serving(store: Arc<Store>, sync: &Sync) -> Self {
        Self {
            applied: Some(sync.applied()),
            ..Self::alone(store)
        }
    }

    /// Over a store that no table is kept of: the command line while no server runs.
    pub const fn alone(store: Arc<Store>) -> Self {
        Self {
            store,
            applied: None,
            table: None,
            restore: None,
            explain: None,
            pages: Pages {
                url: None,
                operator_orgs: Vec::new(),
            },
            link_lifetime: sign_in::LINK_LIFETIME,
        }
    }

    /// With what it needs to know of the pages.
    #[must_use]
    pub fn with_pages(self, pages: Pages, link_lifetime: Duration) -> Self {
        Self {
            pages,
            link_lifetime,
            ..self
        }
    }

    /// The store, for what is no operation: sessions and passwords.
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The address of a page, if it is known what pages are reached by.
    fn page_url(&self, path: &SecretText) -> Option<SecretText> {
        let url = self.pages.url.as_ref()?;
        Some(SecretText::new(format!("{url}{}", path.expose()).into()))
    }

    /// With the table, to be compared with the store when that is verified.
    #[must_use]
    pub fn comparing(self, table: Arc<KeyTable>) -> Self {
        Self {
            table: Some(table),
            ..self
        }
    }

    /// With a way to explain requests.
    #[must_use]
    pub fn explaining(self, explain: Explain) -> Self {
        Self {
            explain: Some(explain),
            ..self
        }
    }

    /// With a way to put back what the store has lost.
    #[must_use]
    pub fn restoring(self, restore: Restore) -> Self {
        Self {
            restore: Some(restore),
            ..self
        }
    }

    /// Performs one operation for somebody at the machine itself.
    ///
    /// # Errors
    /// As [`Self::perform`].
    pub async fn operate(&self, request: Request) -> Result<Response, ServiceError> {
        let performed = self.perform(&Caller::operator(), request).await?;
        Ok(performed.response)
    }

    /// Performs one operation for somebody.
    ///
    /// # Errors
    /// When the caller may not, a rule says no, or the store fails.
    pub async fn perform(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Performed, ServiceError> {
        let (request, wait) = match request {
            Request::AndWait { request, wait_ms } => {
                (*request, Some(Duration::from_millis(wait_ms).min(WAIT_MAX)))
            }
            request => (request, None),
        };
        let began = Instant::now();
        let (service, mut caller) = (self.clone(), caller.clone());
        let outcome = spawn_blocking(move || {
            let standing = caller.standing(&service.store)?;
            caller.by.judged = standing.judged();
            let mut performing = Performing {
                service: &service,
                store: &service.store,
                standing,
                caller: &caller,
                waits: wait.is_some(),
                traces: Traces::default(),
            };
            let response = performing.perform(request)?;
            Ok::<_, ServiceError>((response, performing.traces))
        })
        .await;
        let (response, traces) = match outcome {
            Ok(outcome) => outcome?,
            // A panic or a runtime that is stopping: either way nobody can say.
            Err(_) => return Err(ServiceError::Unknown),
        };
        let Traces {
            begun,
            revoked,
            changed,
            audit,
        } = traces;
        let response = self
            .in_force(response, changed, revoked, (began, begun), wait)
            .await?;
        Ok(Performed { response, audit })
    }

    /// Waits until what was changed is in force here, and, if that is wanted, on the other nodes.
    async fn in_force(
        &self,
        response: Response,
        changed: Option<(Partition, Revision)>,
        revoked: Option<Fingerprint>,
        (began, begun): (Instant, Option<Timestamp>),
        wait: Option<Duration>,
    ) -> Result<Response, ServiceError> {
        let Some((partition, revision)) = changed else {
            return Ok(response);
        };
        if let Some(mut applied) = self.applied.clone() {
            // While the store is being restored no node knows how far it is; that the key is revoked is enough.
            let is_applied = async {
                tokio::select! {
                    is_applied = applied.wait_for(partition, revision) => is_applied,
                    () = self.refused(revoked) => true,
                }
            };
            match tokio::time::timeout(HEARD_WITHIN, is_applied).await {
                Ok(true) => {}
                Ok(false) => return Err(ServiceError::NotApplied),
                // An answer with the one copy of a secret must not be lost.
                Err(_) if response.shows_secret() => {}
                Err(_) => return Err(ServiceError::NotHeard),
            }
        }
        let Some(wait) = wait else {
            return Ok(response);
        };
        let applied_here = self.applied.is_some().then(|| began.elapsed());
        let waiting = Waiting::new(revision, begun);
        let receipt = self
            .receipt(partition, waiting, applied_here, began + wait)
            .await;
        Ok(Response::Receipted {
            response: Box::new(response),
            receipt,
        })
    }

    /// Waits until the table has this key as revoked; without a key or a table, for ever.
    async fn refused(&self, revoked: Option<Fingerprint>) {
        let (Some(fingerprint), Some(table)) = (revoked, &self.table) else {
            return std::future::pending().await;
        };
        let is_revoked = || {
            let table = table.read();
            table.key(&fingerprint).is_some_and(|key| key.is_revoked)
        };
        while !is_revoked() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asks the nodes until all have applied the change, or there is nobody left to wait for, or the time is up.
    async fn receipt(
        &self,
        partition: Partition,
        mut waiting: Waiting,
        applied_here: Option<Duration>,
        until: Instant,
    ) -> Receipt {
        let mut pause = ASK_FIRST;
        loop {
            let store = Arc::clone(&self.store);
            let heard = spawn_blocking(move || store.nodes(Some(partition))).await;
            let (receipt, ask_again) = match heard {
                Ok(Ok(None)) => {
                    let after = applied_here.and_then(|after| after.as_millis().try_into().ok());
                    (Receipt::of_one_server(after), false)
                }
                Ok(Ok(Some((nodes, now)))) => {
                    let heard: Vec<Heard> = nodes
                        .iter()
                        .map(|node| Heard::of(node, partition))
                        .collect();
                    waiting.conclude(&heard, now)
                }
                Ok(Err(error)) => (Receipt::unknown(error.to_string()), true),
                Err(_) => (Receipt::unknown("the server is stopping".to_owned()), false),
            };
            let now = Instant::now();
            if !ask_again || now >= until {
                return receipt;
            }
            tokio::time::sleep(pause.min(until - now)).await;
            pause = (pause * 3 / 2).min(ASK_LAST);
        }
    }
}
