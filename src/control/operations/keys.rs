//! The operations on keys: made, listed, changed, rotated, revoked, recognised; and which permission each takes.

use std::collections::HashMap;

use ipnet::IpNet;
use zeroize::Zeroizing;

use super::Performing;
use super::usage::AT_ONCE;
use crate::control::views::Names;
use crate::control::{KeyChanges, KeyView, Response, SecretText, ServiceError, Whoami};
use crate::keys::permissions::Permission;
use crate::keys::rules::{self, Origin, Refusal};
use crate::keys::usage::Use;
use crate::keys::{
    Actor, Key, KeyId, KeyKind, Labels, OrgId, Record, Secret, Timestamp, User, UserId, UserKind,
};
use crate::store::{KeyChange, NewKey, NewKeyOf, Rotation, StoreError};

/// What is done to a key, as far as it decides what that takes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Touch {
    See,
    Make,
    Change,
    Revoke,
}

/// Whose an application key is, as far as it decides what that takes. Other keys are nobody's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::control) enum Whose {
    /// The caller's own.
    Own,
    /// A service account's.
    Account,
    /// Somebody else's.
    Other,
}

/// The permission that it takes. Nobody's permission lets anybody make a key for somebody else: that is `None`, and takes
/// somebody at the machine itself.
pub(in crate::control) const fn takes(
    kind: KeyKind,
    whose: Whose,
    touch: Touch,
) -> Option<Permission> {
    Some(match (kind, whose, touch) {
        (KeyKind::ApiKey, _, Touch::See) => Permission::ApiKeysRead,
        (KeyKind::ApiKey, _, Touch::Make | Touch::Change) => Permission::ApiKeysWrite,
        (KeyKind::ApiKey, _, Touch::Revoke) => Permission::ApiKeysDelete,
        (KeyKind::ClientToken, _, Touch::See) => Permission::ClientTokensRead,
        (KeyKind::ClientToken, _, Touch::Make | Touch::Change | Touch::Revoke) => {
            Permission::ClientTokensWrite
        }
        (KeyKind::ApplicationKey, Whose::Own, _) => Permission::UserAppKeys,
        (KeyKind::ApplicationKey, Whose::Account, _) => Permission::ServiceAccountWrite,
        (KeyKind::ApplicationKey, Whose::Other, Touch::See) => Permission::OrgAppKeysRead,
        // A key is made by whoever its requests are attributed to.
        (KeyKind::ApplicationKey, Whose::Other, Touch::Make) => return None,
        (KeyKind::ApplicationKey, Whose::Other, Touch::Change | Touch::Revoke) => {
            Permission::OrgAppKeysWrite
        }
    })
}

impl Performing<'_> {
    /// Whether the caller may do this to a key of this kind and this owner.
    pub(super) fn may_touch(
        &self,
        kind: KeyKind,
        owner: Option<&User>,
        touch: Touch,
    ) -> Result<(), ServiceError> {
        let whose = match owner {
            Some(owner) if self.standing.user() == Some(owner.id) => Whose::Own,
            Some(owner) if owner.kind == UserKind::ServiceAccount => Whose::Account,
            _ => Whose::Other,
        };
        match takes(kind, whose, touch) {
            Some(permission) => self.need(permission),
            // A key is made by whoever its requests are attributed to.
            None => self
                .standing
                .need_operator()
                .map_err(|_| Refusal::OwnerOnly.into()),
        }
    }

    pub(super) fn create_api_key(
        &mut self,
        org: &str,
        name: &str,
        expires_at: Option<Timestamp>,
        allowed_addresses: &[IpNet],
        secret: Option<SecretText>,
        labels: Labels,
    ) -> Result<Response, ServiceError> {
        if secret.is_some() {
            // Secrets are unique among all orgs: to others the answer would say whether one of another org has this one.
            self.standing.need_operator()?;
        }
        let org = self.org(org)?.id;
        self.may_touch(KeyKind::ApiKey, None, Touch::Make)?;
        let of = NewKeyOf::ApiKey {
            org,
            allowed_addresses: allowed_addresses.iter().map(IpNet::trunc).collect(),
        };
        self.create_key(of, name, expires_at, secret, labels)
    }

    pub(super) fn create_application_key(
        &mut self,
        owner: &str,
        name: &str,
        expires_at: Option<Timestamp>,
        scopes: Vec<String>,
    ) -> Result<Response, ServiceError> {
        let owner = self.owner_for(owner)?.id;
        let scopes: Vec<_> = scopes.into_iter().map(Into::into).collect();
        self.standing.may_give(rules::scopes(&scopes)?.as_deref())?;
        let of = NewKeyOf::ApplicationKey { owner, scopes };
        self.create_key(of, name, expires_at, None, Labels::default())
    }

    pub(super) fn create_client_token(
        &mut self,
        org: &str,
        name: &str,
        expires_at: Option<Timestamp>,
        allowed_origins: &[String],
    ) -> Result<Response, ServiceError> {
        let org = self.org(org)?.id;
        self.may_touch(KeyKind::ClientToken, None, Touch::Make)?;
        let of = NewKeyOf::ClientToken {
            org,
            allowed_origins: origins(allowed_origins)?,
        };
        self.create_key(of, name, expires_at, None, Labels::default())
    }

    fn create_key(
        &mut self,
        of: NewKeyOf,
        name: &str,
        expires_at: Option<Timestamp>,
        secret: Option<SecretText>,
        labels: Labels,
    ) -> Result<Response, ServiceError> {
        let imported = secret.is_some();
        let secret = secret
            .map(|secret| Secret::import(Zeroizing::new(secret.expose().to_owned())))
            .transpose()
            .map_err(|_| Refusal::SecretMalformed)?;
        let new = NewKey {
            of,
            name: name.parse()?,
            secret,
            imported,
            expires_at,
            labels,
        };
        let done = self.store.create_key(new, &self.caller.by)?;
        let issued = self.noted(done);
        let key = issued.key.clone();
        self.traces.changed = Some((key.id.partition(), key.revision));
        let view = self.view(&key, None)?;
        // Whoever imported a secret has it: it is not sent back.
        Ok(Response::Key(match imported {
            true => view,
            false => view.with_secret_of(issued),
        }))
    }

    pub(super) fn list_keys(&self, kind: KeyKind, org: &str) -> Result<Response, ServiceError> {
        let org = self.org(org)?.id;
        self.may_touch(kind, None, Touch::See)?;
        self.list(kind, org, None)
    }

    pub(super) fn list_keys_of_owner(&self, owner: &str) -> Result<Response, ServiceError> {
        let owner = self.user(owner)?;
        self.may_touch(KeyKind::ApplicationKey, Some(&owner), Touch::See)?;
        self.list(KeyKind::ApplicationKey, owner.org, Some(owner.id))
    }

    pub(super) fn show_key(&self, kind: KeyKind, id: &str) -> Result<Response, ServiceError> {
        let key = self.key(kind, id)?;
        self.may_touch(kind, self.owner(&key)?.as_ref(), Touch::See)?;
        Ok(Response::Key(self.view_alone(&key)?))
    }

    pub(super) fn update_key(
        &mut self,
        kind: KeyKind,
        id: &str,
        changes: KeyChanges,
    ) -> Result<Response, ServiceError> {
        let key = self.key(kind, id)?;
        self.may_touch(kind, self.owner(&key)?.as_ref(), Touch::Change)?;
        // To shadow-revoke is to begin to revoke.
        if changes.shadowed.is_some() {
            self.may_touch(kind, self.owner(&key)?.as_ref(), Touch::Revoke)?;
        }
        let scopes: Option<Vec<_>> = changes
            .scopes
            .map(|scopes| scopes.into_iter().map(Into::into).collect());
        if let Some(scopes) = &scopes {
            self.standing.may_give(rules::scopes(scopes)?.as_deref())?;
        }
        let labels = match (&changes.category, changes.remote_config_read) {
            (None, None) => None,
            (category, read) => Some(Labels {
                category: category
                    .as_deref()
                    .map_or_else(|| key.labels.category.clone(), category_of),
                remote_config_read: read.unwrap_or(key.labels.remote_config_read),
            }),
        };
        let change = KeyChange {
            name: changes.name.as_deref().map(str::parse).transpose()?,
            expires_at: match (changes.never_expires, changes.expires_at) {
                (true, _) => Some(None),
                (false, at) => at.map(Some),
            },
            scopes,
            allowed_addresses: changes
                .allowed_addresses
                .map(|nets| nets.iter().map(IpNet::trunc).collect()),
            allowed_origins: changes
                .allowed_origins
                .as_deref()
                .map(origins)
                .transpose()?,
            labels,
            shadowed: changes.shadowed,
        };
        self.begin(key.id.partition())?;
        let done = self.store.update_key(key.id, change, &self.caller.by)?;
        let key = self.noted(done);
        self.traces.changed = Some((key.id.partition(), key.revision));
        Ok(Response::Key(self.view_alone(&key)?))
    }

    pub(super) fn rotate_key(
        &mut self,
        kind: KeyKind,
        id: &str,
        name: Option<&str>,
        overlap_ms: Option<i64>,
        expires_at: Option<Timestamp>,
    ) -> Result<Response, ServiceError> {
        let key = self.key(kind, id)?;
        let owner = self.owner(&key)?;
        // The successor is its owner's, as the old one was: whoever may change that may give it a new secret.
        self.may_touch(kind, owner.as_ref(), Touch::Change)?;
        self.may_touch(kind, owner.as_ref(), Touch::Revoke)?;
        if let Some(owner) = &owner {
            self.may_touch(kind, Some(owner), Touch::Make)?;
        }
        if kind == KeyKind::ApplicationKey {
            self.standing.may_give(key.scopes.as_deref())?;
        }
        let rotation = Rotation {
            name: name.map(str::parse).transpose()?,
            overlap_ms: overlap_ms.filter(|overlap| *overlap > 0),
            expires_at,
        };
        self.begin(key.id.partition())?;
        let done = self.store.rotate_key(key.id, rotation, &self.caller.by)?;
        let (old, issued) = self.noted(done);
        if old.revoked.is_some() {
            self.traces.revoked = Some(old.fingerprint);
        }
        self.traces.changed = Some((old.id.partition(), old.revision));
        let new = issued.key.clone();
        Ok(Response::Rotated {
            old: Box::new(self.view_alone(&old)?),
            new: Box::new(self.view(&new, None)?.with_secret_of(issued)),
        })
    }

    pub(super) fn revoke_key(&mut self, kind: KeyKind, id: &str) -> Result<Response, ServiceError> {
        let key = self.key_or_lost(kind, id)?;
        self.may_touch(kind, self.owner(&key)?.as_ref(), Touch::Revoke)?;
        // Before: once the key is revoked, nothing that cannot be read may make it look as if it were not.
        let uses = self.uses(&key)?;
        let key = self.revoke(key.id)?;
        let view = self.view(&key, uses.as_ref())?;
        let view = view.with_sources(uses.as_ref());
        Ok(Response::Key(view))
    }

    /// Revokes a key. Whoever waits for the nodes may do so again, for a key that is revoked already.
    fn revoke(&mut self, id: KeyId) -> Result<Key, ServiceError> {
        self.begin(id.partition())?;
        let (key, revision) = match self.store.revoke_key(id, &self.caller.by) {
            Err(StoreError::Refused(Refusal::AlreadyRevoked { .. })) if self.waits => {
                self.traces.begun = None;
                let found = self.store.key(id)?;
                let key = found.ok_or(Refusal::NotFound { what: "key" })?;
                let owner = self.owner(&key)?.filter(|owner| owner.has_revoked(&key));
                let by_owner = owner.map_or(key.revision, |owner| owner.revision);
                let revision = key.revoked.map_or(by_owner, |_| key.revision);
                (key, revision)
            }
            revoked => {
                let key = self.noted(revoked?);
                let revision = key.revision;
                (key, revision)
            }
        };
        self.traces.revoked = Some(key.fingerprint);
        self.traces.changed = Some((id.partition(), revision));
        Ok(key)
    }

    /// What a secret is. Only somebody at the machine may ask: to others it would say whether a secret is one.
    pub(super) fn whoami(&self, secret: &SecretText) -> Result<Response, ServiceError> {
        self.standing.need_operator()?;
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
        let whoami = Whoami::of(&key, uses.as_ref(), org.as_ref(), owner.as_ref());
        Ok(Response::Whoami(Box::new(whoami)))
    }

    fn list(
        &self,
        kind: KeyKind,
        org: OrgId,
        owner: Option<UserId>,
    ) -> Result<Response, ServiceError> {
        let mut keys = self.store.keys_of(org)?;
        keys.retain(|key| key.kind == kind && (owner.is_none() || key.owner == owner));
        // Read once, and not for each key: a list of a thousand would ask a thousand times.
        let users = self.store.users_of(org)?;
        let names = Names::of(&users);
        let users: HashMap<UserId, &User> = users.iter().map(|user| (user.id, user)).collect();
        let mut views = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
            for (key, uses) in keys.iter().zip(self.store.usage_of(&ids)?) {
                let owner = key.owner.and_then(|owner| users.get(&owner).copied());
                let view = match (key.owner, owner) {
                    // One that the list of users lacks may be there all the same.
                    (Some(_), None) => self.view(key, uses.as_ref())?,
                    (_, owner) => KeyView::of(key, owner).used(uses.as_ref()),
                };
                views.push(view.named(key, &names));
            }
        }
        Ok(Response::Keys(views))
    }

    pub(super) fn view(&self, key: &Key, uses: Option<&Use>) -> Result<KeyView, ServiceError> {
        Ok(KeyView::of(key, self.owner(key)?.as_ref()).used(uses))
    }

    /// The key as it is shown alone: from where it is used, too.
    fn view_alone(&self, key: &Key) -> Result<KeyView, ServiceError> {
        let uses = self.uses(key)?;
        let view = self.view(key, uses.as_ref())?;
        let view = view.named(key, &self.maker(key)?);
        Ok(view.with_sources(uses.as_ref()))
    }

    /// What the user who made the key is called.
    pub(super) fn maker(&self, key: &Key) -> Result<Names, ServiceError> {
        let maker = match key.created_by {
            Actor::User(id) => self.store.user(id)?,
            Actor::Operator | Actor::System => None,
        };
        Ok(Names::of(&maker))
    }

    pub(super) fn uses(&self, key: &Key) -> Result<Option<Use>, ServiceError> {
        Ok(self.store.usage_of(&[key.id])?.into_iter().next().flatten())
    }

    pub(super) fn owner(&self, key: &Key) -> Result<Option<User>, ServiceError> {
        Ok(match key.owner {
            Some(owner) => self.store.user(owner)?,
            None => None,
        })
    }

    /// The key with this secret that this server knows, though the store may have lost the way to it.
    fn served(&self, secret: &[u8]) -> Option<Key> {
        let (table, by) = (self.service.table.as_ref()?, self.store.fingerprinter()?);
        table.full_key(&by.fingerprint(secret))
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
        match org.filter(|org| self.standing.is_of(*org)) {
            Some(org) => {
                (restore.org)(org)?;
                self.key(kind, text)
            }
            None => Err(error),
        }
    }

    /// A key of this kind by its id. A key of another kind is not found: `tokens revoke` never revokes an API key. Nor is
    /// another org's.
    pub(super) fn key(&self, kind: KeyKind, text: &str) -> Result<Key, ServiceError> {
        let found = match text.parse::<KeyId>() {
            Ok(id) => self
                .store
                .key(id)?
                .filter(|key| key.kind == kind && self.standing.is_of(key.org)),
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

fn origins(texts: &[String]) -> Result<Vec<Origin>, Refusal> {
    texts.iter().map(|origin| origin.parse()).collect()
}

/// `default` is what a key is filed under that nobody has filed.
fn category_of(text: &str) -> Option<compact_str::CompactString> {
    Some(text)
        .filter(|text| !text.is_empty() && *text != "default")
        .map(Into::into)
}
