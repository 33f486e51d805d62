//! What each operation of the embedded store checks and writes, inside one transaction. It neither begins nor commits.

use compact_str::CompactString;
use redb::{ReadableTable, Table, WriteTransaction};
use serde::Serialize;

use super::file::{
    CHANGES, CHANGES_KEPT, KEY_BY_FINGERPRINT, KEYS, KEYS_OF_ORG, META, META_REVISION, NAMES, ORGS,
    USERS, damaged, load, revision_of,
};
use super::{Founded, Issued, NewKey, NewKeyOf, NewUser, StoreError};
use crate::keys::rules::{self, Limits, Name, Refusal, Within};
use crate::keys::secret::Fingerprinter;
use crate::keys::{
    Actor, Key, KeyId, KeyKind, Org, OrgId, Record, Revision, Revocation, Role, Secret, Timestamp,
    User, UserId, UserKind,
};

/// The name of the API key that every org begins with.
const FIRST_KEY_NAME: &str = "default";

type Records<'t> = Table<'t, [u8; 16], &'static [u8]>;

/// The tables of one write transaction.
pub(super) struct Writing<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    orgs: Records<'t>,
    users: Records<'t>,
    keys: Records<'t>,
    key_by_fingerprint: Table<'t, [u8; 16], [u8; 16]>,
    keys_of_org: Table<'t, [u8; 32], ()>,
    names: Table<'t, &'static [u8], [u8; 16]>,
    changes: Table<'t, u64, &'static [u8]>,
    fingerprinter: &'t Fingerprinter,
    limits: Limits,
    now: Timestamp,
    before: Revision,
    revision: Revision,
}

impl<'t> Writing<'t> {
    pub(super) fn open(
        transaction: &'t WriteTransaction,
        fingerprinter: &'t Fingerprinter,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        let meta = transaction.open_table(META)?;
        let revision = revision_of(&meta)?;
        Ok(Self {
            meta,
            orgs: transaction.open_table(ORGS)?,
            users: transaction.open_table(USERS)?,
            keys: transaction.open_table(KEYS)?,
            key_by_fingerprint: transaction.open_table(KEY_BY_FINGERPRINT)?,
            keys_of_org: transaction.open_table(KEYS_OF_ORG)?,
            names: transaction.open_table(NAMES)?,
            changes: transaction.open_table(CHANGES)?,
            fingerprinter,
            limits,
            now,
            before: revision,
            revision,
        })
    }

    /// Writes the revision. `None` when nothing was changed.
    pub(super) fn finish(mut self) -> Result<Option<Revision>, StoreError> {
        if self.revision == self.before {
            return Ok(None);
        }
        self.meta
            .insert(META_REVISION, self.revision.0.to_be_bytes().as_slice())?;
        Ok(Some(self.revision))
    }

    pub(super) fn create_org(
        &mut self,
        name: Name,
        by: Actor,
    ) -> Result<(Org, Issued), StoreError> {
        let mut org = Org {
            id: OrgId::generate(),
            name: name.into_inner(),
            disabled: false,
            created_at: self.now,
            revision: Revision(0),
        };
        self.take_name(
            name_of_org(&org.name),
            org.id.bytes(),
            ("org", "installation", &org.name),
        )?;
        self.put_org(&mut org)?;
        let issued = self.create_key(NewKey {
            of: NewKeyOf::ApiKey {
                org: org.id,
                allowed_addresses: Vec::new(),
            },
            name: FIRST_KEY_NAME.parse()?,
            secret: None,
            expires_at: None,
            created_by: by,
        })?;
        Ok((org, issued))
    }

    pub(super) fn found(
        &mut self,
        org: Name,
        handle: Name,
        by: Actor,
    ) -> Result<Founded, StoreError> {
        let (org, api_key) = self.create_org(org, by)?;
        let user = self.create_user(NewUser {
            org: org.id,
            handle,
            name: None,
            role: Role::Admin,
        })?;
        let application_key = self.create_key(NewKey {
            of: NewKeyOf::ApplicationKey {
                owner: user.id,
                scopes: Vec::new(),
            },
            name: FIRST_KEY_NAME.parse()?,
            secret: None,
            expires_at: None,
            created_by: by,
        })?;
        Ok(Founded {
            org,
            user,
            api_key,
            application_key,
        })
    }

    pub(super) fn set_org_disabled(
        &mut self,
        id: OrgId,
        disabled: bool,
    ) -> Result<Org, StoreError> {
        let mut org = self.org(id)?;
        if org.disabled != disabled {
            org.disabled = disabled;
            self.put_org(&mut org)?;
        }
        Ok(org)
    }

    pub(super) fn create_user(&mut self, new: NewUser) -> Result<User, StoreError> {
        let handle = new.handle.into_inner();
        let name = new.name.map_or_else(|| handle.clone(), Name::into_inner);
        let id = UserId::generate();
        self.add_user(self.user_of(id, new.org, UserKind::Person, handle, name, new.role))
    }

    pub(super) fn create_service_account(
        &mut self,
        org: OrgId,
        name: Name,
        role: Role,
    ) -> Result<User, StoreError> {
        let id = UserId::generate();
        let handle = CompactString::from(id.to_string());
        self.add_user(self.user_of(
            id,
            org,
            UserKind::ServiceAccount,
            handle,
            name.into_inner(),
            role,
        ))
    }

    fn user_of(
        &self,
        id: UserId,
        org: OrgId,
        kind: UserKind,
        handle: CompactString,
        name: CompactString,
        role: Role,
    ) -> User {
        User {
            id,
            org,
            kind,
            handle,
            name,
            role,
            disabled: false,
            application_keys_revoked_through: Revision(0),
            application_keys_revoked_at: None,
            created_at: self.now,
            revision: Revision(0),
        }
    }

    fn add_user(&mut self, mut user: User) -> Result<User, StoreError> {
        self.enabled_org(user.org)?;
        self.take_name(
            index(TAG_USER, Some(user.org.bytes()), &user.handle),
            user.id.bytes(),
            ("user", "org", &user.handle),
        )?;
        self.put_user(&mut user)?;
        Ok(user)
    }

    pub(super) fn set_user_disabled(
        &mut self,
        id: UserId,
        disabled: bool,
    ) -> Result<User, StoreError> {
        let mut user = self.user(id)?;
        if user.disabled == disabled {
            return Ok(user);
        }
        user.disabled = disabled;
        if disabled {
            user.application_keys_revoked_through = self.next();
            user.application_keys_revoked_at = Some(self.now);
            // The keys it kills are no longer active: their names are free and they no longer count.
            let prefix = index(tag(KeyKind::ApplicationKey), Some(id.bytes()), "");
            for name in self.names_under(&prefix)? {
                self.names.remove(name.as_slice())?;
            }
        }
        self.put_user(&mut user)?;
        Ok(user)
    }

    pub(super) fn create_key(&mut self, new: NewKey) -> Result<Issued, StoreError> {
        let kind = new.of.kind();
        let (org, owner) = match &new.of {
            NewKeyOf::ApiKey { org, .. } | NewKeyOf::ClientToken { org, .. } => (*org, None),
            NewKeyOf::ApplicationKey { owner, .. } => {
                let owner = self.user(*owner)?;
                if owner.disabled {
                    return Err(Refusal::OwnerDisabled.into());
                }
                (owner.org, Some(owner.id))
            }
        };
        self.enabled_org(org)?;
        if new.expires_at.is_some_and(|expires| expires <= self.now) {
            return Err(Refusal::ExpiryPast.into());
        }
        let secret = match new.secret {
            Some(secret) => secret,
            None => Secret::generate(kind)?,
        };
        let fingerprint = self.fingerprinter.fingerprint(secret.expose().as_bytes());
        if self.key_by_fingerprint.get(fingerprint.bytes())?.is_some() {
            return Err(Refusal::SecretKnown.into());
        }
        let mut key = Key {
            id: KeyId::generate(),
            kind,
            org,
            owner,
            name: new.name.into_inner(),
            fingerprint,
            last4: secret.last4().into(),
            created_at: self.now,
            created_by: new.created_by,
            issued: self.next(),
            revision: Revision(0),
            revoked: None,
            expires_at: new.expires_at,
            scopes: None,
            allowed_addresses: Vec::new(),
            allowed_origins: Vec::new(),
        };
        match new.of {
            NewKeyOf::ApiKey {
                allowed_addresses, ..
            } => key.allowed_addresses = allowed_addresses,
            NewKeyOf::ApplicationKey { scopes, .. } => {
                key.scopes = Some(scopes).filter(|scopes| !scopes.is_empty());
            }
            NewKeyOf::ClientToken {
                allowed_origins, ..
            } => key.allowed_origins = allowed_origins,
        }
        let rules = rules::of(kind);
        let within = match rules.within {
            Within::Org => "org",
            Within::Owner => "user",
        };
        self.take_name(
            name_of_key(&key),
            key.id.bytes(),
            (rules.label, within, &key.name),
        )?;
        let most = self.limits.most(kind);
        if self.active_beside(&key)? > most as usize {
            return Err(Refusal::TooMany { kind, most }.into());
        }
        self.key_by_fingerprint
            .insert(fingerprint.bytes(), key.id.bytes())?;
        let mut pair = [0_u8; 32];
        let bytes = org.bytes().into_iter().chain(key.id.bytes());
        for (to, from) in pair.iter_mut().zip(bytes) {
            *to = from;
        }
        self.keys_of_org.insert(pair, ())?;
        self.put_key(&mut key)?;
        Ok(Issued { key, secret })
    }

    pub(super) fn revoke_key(&mut self, id: KeyId, by: Actor) -> Result<Key, StoreError> {
        let mut key: Key =
            load(&self.keys, id.bytes(), "key")?.ok_or(Refusal::NotFound { what: "key" })?;
        let kind = key.kind;
        let by_owner = match key.owner {
            Some(owner) => self.user(owner)?.has_revoked(&key),
            None => false,
        };
        if key.revoked.is_some() || by_owner {
            return Err(Refusal::AlreadyRevoked { kind }.into());
        }
        let fewest = self.limits.fewest(kind);
        if self.active_beside(&key)? <= fewest as usize {
            return Err(Refusal::TooFew { kind, fewest }.into());
        }
        self.names.remove(name_of_key(&key).as_slice())?;
        key.revoked = Some(Revocation { at: self.now, by });
        self.put_key(&mut key)?;
        Ok(key)
    }

    fn org(&self, id: OrgId) -> Result<Org, StoreError> {
        load(&self.orgs, id.bytes(), "org")?.ok_or(Refusal::NotFound { what: "org" }.into())
    }

    fn enabled_org(&self, id: OrgId) -> Result<(), StoreError> {
        if self.org(id)?.disabled {
            return Err(Refusal::OrgDisabled.into());
        }
        Ok(())
    }

    fn user(&self, id: UserId) -> Result<User, StoreError> {
        load(&self.users, id.bytes(), "user")?.ok_or(Refusal::NotFound { what: "user" }.into())
    }

    fn take_name(
        &mut self,
        index: Vec<u8>,
        id: [u8; 16],
        (what, within, name): (&'static str, &'static str, &str),
    ) -> Result<(), StoreError> {
        if self.names.get(index.as_slice())?.is_some() {
            return Err(Refusal::NameTaken {
                what,
                within,
                name: name.into(),
            }
            .into());
        }
        self.names.insert(index.as_slice(), id)?;
        Ok(())
    }

    /// How many active keys of its kind there are within the key's org or owner. Each holds a name, and only they do.
    fn active_beside(&self, key: &Key) -> Result<usize, StoreError> {
        let prefix = index(tag(key.kind), Some(scope_of(key)), "");
        Ok(self.names_under(&prefix)?.len())
    }

    fn names_under(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut found = Vec::new();
        for entry in self.names.range(prefix..)? {
            let (name, _) = entry?;
            if !name.value().starts_with(prefix) {
                break;
            }
            found.push(name.value().to_vec());
        }
        Ok(found)
    }

    /// The revision of the next record that is put.
    fn next(&self) -> Revision {
        Revision(self.revision.0 + 1)
    }

    fn put_org(&mut self, org: &mut Org) -> Result<(), StoreError> {
        org.revision = self.next();
        self.orgs.insert(org.id.bytes(), json(org)?.as_slice())?;
        self.log(Record::Org(org.clone()))
    }

    fn put_user(&mut self, user: &mut User) -> Result<(), StoreError> {
        user.revision = self.next();
        self.users.insert(user.id.bytes(), json(user)?.as_slice())?;
        self.log(Record::User(user.clone()))
    }

    fn put_key(&mut self, key: &mut Key) -> Result<(), StoreError> {
        key.revision = self.next();
        self.keys.insert(key.id.bytes(), json(key)?.as_slice())?;
        self.log(Record::Key(key.clone()))
    }

    fn log(&mut self, record: Record) -> Result<(), StoreError> {
        self.revision = record.revision();
        self.changes
            .insert(self.revision.0, json(&record)?.as_slice())?;
        if let Some(old) = self.revision.0.checked_sub(CHANGES_KEPT) {
            self.changes.remove(old)?;
        }
        Ok(())
    }
}

const TAG_ORG: u8 = 0;
const TAG_USER: u8 = 1;

const fn tag(kind: KeyKind) -> u8 {
    match kind {
        KeyKind::ApiKey => 2,
        KeyKind::ApplicationKey => 3,
        KeyKind::ClientToken => 4,
    }
}

/// The entry in the index of names: what has it, within what, the name. All scopes of one tag have one length, so no
/// name runs into another's scope.
fn index(tag: u8, within: Option<[u8; 16]>, name: &str) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(within.iter().flatten());
    bytes.extend(name.as_bytes());
    bytes
}

pub(super) fn name_of_org(name: &str) -> Vec<u8> {
    index(TAG_ORG, None, name)
}

fn name_of_key(key: &Key) -> Vec<u8> {
    index(tag(key.kind), Some(scope_of(key)), &key.name)
}

/// Within what the key's name is unique. Only application keys have an owner, and theirs is the owner.
fn scope_of(key: &Key) -> [u8; 16] {
    key.owner
        .map_or_else(|| key.org.bytes(), |owner| owner.bytes())
}

fn json(record: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(record).map_err(|error| damaged("new record", &error.to_string()))
}
