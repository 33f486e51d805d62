//! The operations on orgs, users and keys as people and programs ask for them: names resolved, rules asked, and a
//! change in force when its answer is given. It holds no rule of its own and knows no route of the data plane.

mod protocol;
pub mod socket;
mod views;

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

pub use protocol::{Request, Response, SecretText};
pub use views::{FoundedView, KeyStatus, KeyView, OrgView, UserView, Whoami, time_text};

use crate::keys::rules::{Name, Origin, Refusal};
use crate::keys::usage::Use;
use crate::keys::{
    Actor, Key, KeyId, KeyKind, Org, OrgId, Partition, Revision, Role, Secret, Timestamp, User,
    UserId,
};
use crate::store::sync::{AppliedChanges, Sync};
use crate::store::{NewKey, NewKeyOf, NewUser, Store, StoreError};

/// Why an operation failed.
#[derive(Debug)]
pub enum ServiceError {
    /// The store failed, or a rule says no.
    Store(StoreError),
    /// A name that more than one thing has.
    Ambiguous {
        /// What it names.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The change is stored, but the table of this process did not apply it: it is stopping.
    NotApplied,
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Ambiguous { what, name } => {
                write!(f, "more than one {what} is called \"{name}\": give its id")
            }
            Self::NotApplied => f.write_str(
                "the change is stored, but the server stopped before it was in force there: it will be when it starts",
            ),
        }
    }
}

impl std::error::Error for ServiceError {}

impl<E: Into<StoreError>> From<E> for ServiceError {
    fn from(error: E) -> Self {
        Self::Store(error.into())
    }
}

/// The operations. Cheap to clone.
#[derive(Clone)]
pub struct KeyService {
    store: Arc<Store>,
    applied: Option<AppliedChanges>,
}

impl KeyService {
    /// Over a store whose table `sync` writes: an operation returns once that table has applied it.
    pub fn serving(store: Arc<Store>, sync: &Sync) -> Self {
        Self {
            store,
            applied: Some(sync.applied()),
        }
    }

    /// Over a store that no table is kept of: the command line while no server runs.
    pub const fn alone(store: Arc<Store>) -> Self {
        Self {
            store,
            applied: None,
        }
    }

    /// Performs one operation for the operator.
    ///
    /// # Errors
    /// When a rule says no, or the store fails.
    pub async fn perform(&self, request: Request) -> Result<Response, ServiceError> {
        let store = Arc::clone(&self.store);
        let outcome = spawn_blocking(move || {
            let mut operator = Operator {
                store: &store,
                changed: None,
            };
            let response = operator.perform(request)?;
            Ok::<_, ServiceError>((response, operator.changed))
        })
        .await;
        let (response, changed) = match outcome {
            Ok(outcome) => outcome?,
            // A panic or a runtime that is stopping: either way nobody can say.
            Err(_) => return Err(ServiceError::NotApplied),
        };
        if let (Some(mut applied), Some((partition, revision))) = (self.applied.clone(), changed)
            && !applied.wait_for(partition, revision).await
        {
            return Err(ServiceError::NotApplied);
        }
        Ok(response)
    }
}

/// What the person at the machine may do: everything.
struct Operator<'s> {
    store: &'s Store,
    /// The change it made.
    changed: Option<(Partition, Revision)>,
}

impl Operator<'_> {
    fn perform(&mut self, request: Request) -> Result<Response, ServiceError> {
        let by = Actor::Operator;
        Ok(match request {
            Request::Init { org, user } => {
                let founded = self.store.found(org.parse()?, user.parse()?, by)?;
                let last = &founded.application_key.key;
                self.changed = Some((last.id.partition(), last.revision));
                Response::Founded(Box::new(FoundedView::of(founded)))
            }
            Request::CreateOrg { name } => {
                let (org, issued) = self.store.create_org(name.parse()?, by)?;
                self.changed = Some((org.id.partition(), issued.key.revision));
                Response::Org(OrgView {
                    api_key: Some(KeyView::issued(issued)),
                    ..OrgView::of(&org)
                })
            }
            Request::ListOrgs => {
                let mut orgs = self.store.orgs()?;
                orgs.sort_by(|a, b| a.name.cmp(&b.name));
                Response::Orgs(orgs.iter().map(OrgView::of).collect())
            }
            Request::ShowOrg { org } => Response::Org(OrgView::of(&self.org(&org)?)),
            Request::SetOrgDisabled { org, disabled } => {
                let id = self.org(&org)?.id;
                let org = self.store.set_org_disabled(id, disabled)?;
                self.changed = Some((id.partition(), org.revision));
                Response::Org(OrgView::of(&org))
            }
            Request::CreateUser {
                org,
                email,
                name,
                role,
            } => {
                let user = self.store.create_user(NewUser {
                    org: self.org(&org)?.id,
                    handle: email.parse()?,
                    name: name.map(|name| name.parse()).transpose()?,
                    role,
                })?;
                self.user_changed(&user)
            }
            Request::CreateServiceAccount { org, name } => {
                let org = self.org(&org)?.id;
                let name = name.parse::<Name>()?;
                let user = self
                    .store
                    .create_service_account(org, name, Role::Standard)?;
                self.user_changed(&user)
            }
            Request::ListUsers { org, kind } => {
                let org = self.org(&org)?.id;
                let mut users = self.store.users_of(org)?;
                users.retain(|user| user.kind == kind);
                users.sort_by(|a, b| a.name.cmp(&b.name));
                Response::Users(users.iter().map(UserView::of).collect())
            }
            Request::ShowUser { user } => Response::User(UserView::of(&self.user(&user)?)),
            Request::SetUserDisabled { user, disabled } => {
                let id = self.user(&user)?.id;
                let user = self.store.set_user_disabled(id, disabled)?;
                self.user_changed(&user)
            }
            Request::CreateApiKey {
                org,
                name,
                expires_at,
                allowed_addresses,
                secret,
            } => {
                let org = self.org(&org)?.id;
                let of = NewKeyOf::ApiKey {
                    org,
                    allowed_addresses: allowed_addresses.iter().map(IpNet::trunc).collect(),
                };
                self.create_key(of, &name, expires_at, secret)?
            }
            Request::CreateApplicationKey {
                owner,
                name,
                expires_at,
                scopes,
            } => {
                let owner = self.user(&owner)?.id;
                let scopes = scopes.into_iter().map(Into::into).collect();
                let of = NewKeyOf::ApplicationKey { owner, scopes };
                self.create_key(of, &name, expires_at, None)?
            }
            Request::CreateClientToken {
                org,
                name,
                expires_at,
                allowed_origins,
            } => {
                let of = NewKeyOf::ClientToken {
                    org: self.org(&org)?.id,
                    allowed_origins: allowed_origins
                        .iter()
                        .map(|origin| origin.parse::<Origin>())
                        .collect::<Result<_, _>>()?,
                };
                self.create_key(of, &name, expires_at, None)?
            }
            Request::ListKeys { kind, org } => {
                let org = self.org(&org)?.id;
                self.list(kind, org, None)?
            }
            Request::ListKeysOfOwner { owner } => {
                let owner = self.user(&owner)?;
                self.list(KeyKind::ApplicationKey, owner.org, Some(owner.id))?
            }
            Request::ShowKey { kind, id } => {
                let key = self.key(kind, &id)?;
                Response::Key(self.view(&key, self.uses(&key)?)?)
            }
            Request::RevokeKey { kind, id } => {
                let key = self.key(kind, &id)?;
                // Before: once the key is revoked, nothing that cannot be read may make it look as if it were not.
                let uses = self.uses(&key)?;
                let key = self.store.revoke_key(key.id, by)?;
                self.changed = Some((key.id.partition(), key.revision));
                Response::Key(self.view(&key, uses)?)
            }
            Request::Whoami { secret } => {
                // A key is found by every byte presented, so nothing is trimmed or parsed here.
                let key = self.store.key_of_secret(secret.expose().as_bytes())?;
                let key = key.ok_or(Refusal::NotFound {
                    what: "key: this secret is unknown here",
                })?;
                let org = self.store.org(key.org)?;
                let owner = self.owner(&key)?;
                let uses = self.uses(&key)?;
                let whoami = Whoami::of(&key, uses, org.as_ref(), owner.as_ref());
                Response::Whoami(Box::new(whoami))
            }
        })
    }

    fn user_changed(&mut self, user: &User) -> Response {
        self.changed = Some((user.id.partition(), user.revision));
        Response::User(UserView::of(user))
    }

    fn create_key(
        &mut self,
        of: NewKeyOf,
        name: &str,
        expires_at: Option<Timestamp>,
        secret: Option<SecretText>,
    ) -> Result<Response, ServiceError> {
        let imported = secret.is_some();
        let secret = secret
            .map(|secret| Secret::import(Zeroizing::new(secret.expose().to_owned())))
            .transpose()
            .map_err(|_| Refusal::SecretMalformed)?;
        let issued = self.store.create_key(NewKey {
            of,
            name: name.parse()?,
            secret,
            expires_at,
            created_by: Actor::Operator,
        })?;
        self.changed = Some((issued.key.id.partition(), issued.key.revision));
        // Whoever imported a secret has it: it is not sent back.
        Ok(Response::Key(if imported {
            KeyView::of(&issued.key, None)
        } else {
            KeyView::issued(issued)
        }))
    }

    fn list(
        &self,
        kind: KeyKind,
        org: OrgId,
        owner: Option<UserId>,
    ) -> Result<Response, ServiceError> {
        let mut keys = self.store.keys_of(org)?;
        keys.retain(|key| key.kind == kind && (owner.is_none() || key.owner == owner));
        let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
        let uses = self.store.usage_of(&ids)?;
        keys.iter()
            .zip(uses)
            .map(|(key, uses)| self.view(key, uses))
            .collect::<Result<_, _>>()
            .map(Response::Keys)
    }

    fn view(&self, key: &Key, uses: Option<Use>) -> Result<KeyView, ServiceError> {
        Ok(KeyView::of(key, self.owner(key)?.as_ref()).used(uses))
    }

    fn uses(&self, key: &Key) -> Result<Option<Use>, ServiceError> {
        Ok(self.store.usage_of(&[key.id])?.into_iter().next().flatten())
    }

    fn owner(&self, key: &Key) -> Result<Option<User>, ServiceError> {
        Ok(match key.owner {
            Some(owner) => self.store.user(owner)?,
            None => None,
        })
    }

    /// An org by its id or its name.
    fn org(&self, text: &str) -> Result<Org, ServiceError> {
        let found = match text.parse::<OrgId>() {
            Ok(id) => self.store.org(id)?,
            Err(_) => self.store.org_named(text.trim())?,
        };
        Ok(found.ok_or(Refusal::NotFound { what: "org" })?)
    }

    /// A user by id, by handle, or by name.
    fn user(&self, text: &str) -> Result<User, ServiceError> {
        if let Ok(id) = text.parse::<UserId>() {
            return Ok(self
                .store
                .user(id)?
                .ok_or(Refusal::NotFound { what: "user" })?);
        }
        let mut found = self.store.users_named(text)?.into_iter();
        match (found.next(), found.next()) {
            (Some(user), None) => Ok(user),
            (None, _) => Err(Refusal::NotFound { what: "user" }.into()),
            (Some(_), Some(_)) => Err(ServiceError::Ambiguous {
                what: "user",
                name: text.to_owned(),
            }),
        }
    }

    /// A key of this kind by its id. A key of another kind is not found: `tokens revoke` never revokes an API key.
    fn key(&self, kind: KeyKind, text: &str) -> Result<Key, ServiceError> {
        let found = match text.parse::<KeyId>() {
            Ok(id) => self.store.key(id)?.filter(|key| key.kind == kind),
            Err(_) => None,
        };
        let what = match kind {
            KeyKind::ApiKey => "API key: give the id that `keygate keys list` shows",
            KeyKind::ApplicationKey => {
                "application key: give the id that `keygate apps list` shows"
            }
            KeyKind::ClientToken => "client token: give the id that `keygate tokens list` shows",
        };
        Ok(found.ok_or(Refusal::NotFound { what })?)
    }
}
