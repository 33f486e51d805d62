//! What each operation does for the operator: names resolved, the store asked, what was changed noted. Who waits for what is
//! in force, and where, is `control`.

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::{
    FoundedView, KeyService, KeyView, NodeView, OrgView, Request, Response, RootKeyView,
    SecretText, ServiceError, UserView, Verified, Whoami, compare,
};
use crate::keys::rules::{Name, Origin, Refusal};
use crate::keys::secret::RootKey;
use crate::keys::usage::Use;
use crate::keys::{
    Actor, Fingerprint, Key, KeyId, KeyKind, Org, OrgId, Partition, Record, Revision, Role, Secret,
    Timestamp, User, UserId, UserKind,
};
use crate::store::{NewKey, NewKeyOf, NewUser, Store, StoreError};

/// What the person at the machine may do: everything.
pub(super) struct Operator<'s> {
    pub(super) service: &'s KeyService,
    pub(super) store: &'s Store,
    /// Whether it is wanted to know which nodes have applied the change.
    pub(super) waits: bool,
    /// When the change was begun, by the clock that the nodes are told of.
    pub(super) begun: Option<Timestamp>,
    /// The key it revoked.
    pub(super) revoked: Option<Fingerprint>,
    /// The change it made.
    pub(super) changed: Option<(Partition, Revision)>,
}

impl Operator<'_> {
    pub(super) fn perform(&mut self, request: Request) -> Result<Response, ServiceError> {
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
                self.begin(id.partition())?;
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
                self.begin(id.partition())?;
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
                let key = self.key_or_lost(kind, &id)?;
                // Before: once the key is revoked, nothing that cannot be read may make it look as if it were not.
                let uses = self.uses(&key)?;
                let key = self.revoke(key.id)?;
                Response::Key(self.view(&key, uses)?)
            }
            Request::Whoami { secret } => {
                // A key is found by every byte presented, so nothing is trimmed or parsed here.
                let secret = secret.expose().as_bytes();
                let key = match self.store.key_of_secret(secret)? {
                    None => self.served(secret),
                    key => key,
                };
                let key = key.ok_or(Refusal::NotFound {
                    what: "key: this secret is unknown here",
                })?;
                let org = self.store.org(key.org)?;
                let owner = self.owner(&key)?;
                let uses = self.uses(&key)?;
                let whoami = Whoami::of(&key, uses, org.as_ref(), owner.as_ref());
                Response::Whoami(Box::new(whoami))
            }
            // One receipt is enough.
            Request::AndWait { request, .. } => return self.perform(*request),
            Request::ListNodes => {
                let (nodes, now) = self.store.nodes(None)?.ok_or(ServiceError::NoFleet)?;
                let tails: Vec<Revision> = self
                    .store
                    .status()?
                    .partitions
                    .iter()
                    .map(|partition| Revision(partition.revision))
                    .collect();
                let mut nodes: Vec<NodeView> = nodes
                    .iter()
                    .map(|node| NodeView::of(node, &tails, now))
                    .collect();
                nodes.sort_by(|a, b| (&a.node, a.node_id).cmp(&(&b.node, b.node_id)));
                Response::Nodes(nodes)
            }
            Request::StoreStatus => Response::Status(Box::new(self.store.status()?)),
            Request::VerifyStore => Response::Verified(Box::new(self.verify()?)),
            Request::RestoreStore => match &self.service.restore {
                Some(restore) => Response::Copied(Box::new((restore.all)()?)),
                None => return Err(ServiceError::NoFleet),
            },
            Request::AddRootKey { root_key } => {
                let root_key = RootKey::from_hex(root_key.expose().trim())
                    .map_err(|_| StoreError::RootKeyMalformed { path: None })?;
                let check = self.store.add_root_key(&root_key)?;
                Response::RootKey(RootKeyView { check })
            }
            Request::RetireRootKey { check } => {
                let check = self.store.retire_root_key(&check)?;
                Response::RootKey(RootKeyView { check })
            }
        })
    }

    /// Notes the time before a change, if somebody waits for the nodes.
    fn begin(&mut self, partition: Partition) -> Result<(), ServiceError> {
        if self.waits {
            self.begun = self.store.now(partition)?;
        }
        Ok(())
    }

    /// Revokes a key. Whoever waits for the nodes may do so again, for a key that is revoked already.
    fn revoke(&mut self, id: KeyId) -> Result<Key, ServiceError> {
        self.begin(id.partition())?;
        let (key, revision) = match self.store.revoke_key(id, Actor::Operator) {
            Err(StoreError::Refused(Refusal::AlreadyRevoked { .. })) if self.waits => {
                self.begun = None;
                let found = self.store.key(id)?;
                let key = found.ok_or(Refusal::NotFound { what: "key" })?;
                let owner = self.owner(&key)?.filter(|owner| owner.has_revoked(&key));
                let by_owner = owner.map_or(key.revision, |owner| owner.revision);
                let revision = key.revoked.map_or(by_owner, |_| key.revision);
                (key, revision)
            }
            revoked => {
                let key = revoked?;
                let revision = key.revision;
                (key, revision)
            }
        };
        self.revoked = Some(key.fingerprint);
        self.changed = Some((id.partition(), revision));
        Ok(key)
    }

    fn verify(&self) -> Result<Verified, ServiceError> {
        let mut findings = self.store.verify()?;
        if let Some(table) = &self.service.table {
            compare::compare(self.store, table, &mut findings)?;
        }
        Ok(Verified {
            place: self.store.status()?.place,
            findings,
            compared_with_server: self.service.table.is_some(),
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
        let mut found = self.store.users_named(text)?;
        self.add_served(text, &mut found);
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(user), None) => Ok(user),
            (None, _) => Err(Refusal::NotFound { what: "user" }.into()),
            (Some(_), Some(_)) => Err(ServiceError::Ambiguous {
                what: "user",
                name: text.to_owned(),
            }),
        }
    }

    /// Adds the users that this server knows by a name and the store's list of it lacks: a list that lost one of two must
    /// not make the other one the only one.
    fn add_served(&self, text: &str, found: &mut Vec<User>) {
        let (Store::Redis(_), Some(table)) = (self.store, &self.service.table) else {
            return;
        };
        table.each(&mut |record| {
            if let Record::User(user) = record {
                let is_account = user.kind == UserKind::ServiceAccount;
                let is_called = user.handle == text || (is_account && user.name == text);
                if is_called && found.iter().all(|held| held.id != user.id) {
                    found.push(user);
                }
            }
        });
    }

    /// The key with this secret that this server knows, though the store may have lost the way to it.
    fn served(&self, secret: &[u8]) -> Option<Key> {
        let (table, by) = (self.service.table.as_ref()?, self.store.fingerprinter()?);
        table.read().key(&by.fingerprint(secret)).cloned()
    }

    /// A key to be revoked. When the store has lost it and this server has not, its org is put back first: what somebody
    /// wants to be rid of must not wait until all is put back.
    fn key_or_lost(&self, kind: KeyKind, text: &str) -> Result<Key, ServiceError> {
        let error = match self.key(kind, text) {
            Err(
                error @ ServiceError::Store(
                    StoreError::Refused(Refusal::NotFound { .. })
                    | StoreError::Empty { .. }
                    | StoreError::Damaged { .. },
                ),
            ) => error,
            outcome => return outcome,
        };
        let id = text.parse::<KeyId>().ok();
        let service = self.service;
        let (Some(id), Some(table), Some(restore)) = (id, &service.table, &service.restore) else {
            return Err(error);
        };
        let mut org = None;
        table.each(&mut |record| match record {
            Record::Key(key) if key.id == id => org = Some(key.org),
            _ => {}
        });
        match org {
            Some(org) => {
                (restore.org)(org)?;
                self.key(kind, text)
            }
            None => Err(error),
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
