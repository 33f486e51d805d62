//! What each operation checks and writes, inside one transaction of whichever home the store has. It neither begins nor
//! commits, and may be run again when another writer was quicker: it changes nothing but the transaction.

use compact_str::CompactString;

use super::tables::{NameSpace, Tables};
use super::{NewKey, NewKeyOf, NewUser, StoreError};
use crate::keys::rules::{self, Limits, Name, Refusal, Within};
use crate::keys::secret::Fingerprinter;
use crate::keys::{
    Actor, Key, KeyId, KeyKind, Org, OrgId, Record, Revision, Revocation, Role, Secret, Slot,
    Timestamp, User, UserId, UserKind,
};

/// The name of the key that every org and its first user begin with.
const FIRST_KEY_NAME: &str = "default";

/// The operations over one transaction.
pub(super) struct Writing<'t, T> {
    tables: &'t mut T,
    fingerprinter: &'t Fingerprinter,
    limits: Limits,
    now: Timestamp,
}

/// The secrets of what an org begins with, made before the transaction so that running it again gives the same.
pub(super) struct FirstSecrets {
    pub(super) api_key: Secret,
    pub(super) application_key: Secret,
}

impl FirstSecrets {
    pub(super) fn generate() -> Result<Self, StoreError> {
        Ok(Self {
            api_key: Secret::generate(KeyKind::ApiKey)?,
            application_key: Secret::generate(KeyKind::ApplicationKey)?,
        })
    }
}

impl<'t, T: Tables> Writing<'t, T> {
    pub(super) fn new(
        tables: &'t mut T,
        fingerprinter: &'t Fingerprinter,
        limits: Limits,
        now: Timestamp,
    ) -> Self {
        Self {
            tables,
            fingerprinter,
            limits,
            now,
        }
    }

    pub(super) fn create_org(
        &mut self,
        name: &Name,
        secret: &Secret,
        by: Actor,
    ) -> Result<(Org, Key), StoreError> {
        let mut org = Org {
            id: OrgId::generate_in(Slot::of_org_name(name.as_str())),
            name: name.as_str().into(),
            disabled: false,
            created_at: self.now,
            revision: Revision(0),
        };
        self.take_name(
            NameSpace::Orgs,
            &org.name,
            org.id.bytes(),
            ("org", "installation"),
        )?;
        self.put_org(&mut org)?;
        let of = NewKeyOf::ApiKey {
            org: org.id,
            allowed_addresses: Vec::new(),
        };
        let key = self.create_key(&first_key(of, by)?, secret)?;
        Ok((org, key))
    }

    pub(super) fn found(
        &mut self,
        org: &Name,
        handle: &Name,
        secrets: &FirstSecrets,
        by: Actor,
    ) -> Result<(Org, User, Key, Key), StoreError> {
        let (org, api_key) = self.create_org(org, &secrets.api_key, by)?;
        let user = self.create_user(&NewUser {
            org: org.id,
            handle: handle.clone(),
            name: None,
            role: Role::Admin,
        })?;
        let of = NewKeyOf::ApplicationKey {
            owner: user.id,
            scopes: Vec::new(),
        };
        let application_key = self.create_key(&first_key(of, by)?, &secrets.application_key)?;
        Ok((org, user, api_key, application_key))
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

    pub(super) fn create_user(&mut self, new: &NewUser) -> Result<User, StoreError> {
        let handle = CompactString::from(new.handle.as_str());
        let name = new.name.as_ref().unwrap_or(&new.handle).as_str().into();
        let id = UserId::generate_in(new.org.slot());
        self.add_user(self.user_of(id, new.org, UserKind::Person, handle, name, new.role))
    }

    pub(super) fn create_service_account(
        &mut self,
        org: OrgId,
        name: &Name,
        role: Role,
    ) -> Result<User, StoreError> {
        let id = UserId::generate_in(org.slot());
        let handle = CompactString::from(id.to_string());
        self.add_user(self.user_of(
            id,
            org,
            UserKind::ServiceAccount,
            handle,
            name.as_str().into(),
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
            NameSpace::Users(user.org),
            &user.handle,
            user.id.bytes(),
            ("user", "org"),
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
            user.application_keys_revoked_through = self.tables.next();
            user.application_keys_revoked_at = Some(self.now);
            // The keys it kills are no longer active: their names are free and they no longer count.
            let space = NameSpace::Keys(KeyKind::ApplicationKey, id.bytes());
            self.tables.free_names(space)?;
        }
        self.put_user(&mut user)?;
        Ok(user)
    }

    pub(super) fn create_key(&mut self, new: &NewKey, secret: &Secret) -> Result<Key, StoreError> {
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
        let fingerprint = self.fingerprinter.fingerprint(secret.expose().as_bytes());
        if self.tables.has_fingerprint(&fingerprint)? {
            return Err(Refusal::SecretKnown.into());
        }
        let mut key = Key {
            id: KeyId::generate_in(org.slot()),
            kind,
            org,
            owner,
            name: new.name.as_str().into(),
            fingerprint,
            last4: secret.last4().into(),
            created_at: self.now,
            created_by: new.created_by,
            issued: self.tables.next(),
            revision: Revision(0),
            revoked: None,
            expires_at: new.expires_at,
            scopes: None,
            allowed_addresses: Vec::new(),
            allowed_origins: Vec::new(),
        };
        match &new.of {
            NewKeyOf::ApiKey {
                allowed_addresses, ..
            } => key.allowed_addresses.clone_from(allowed_addresses),
            NewKeyOf::ApplicationKey { scopes, .. } => {
                key.scopes = Some(scopes.clone()).filter(|scopes| !scopes.is_empty());
            }
            NewKeyOf::ClientToken {
                allowed_origins, ..
            } => key.allowed_origins.clone_from(allowed_origins),
        }
        let rules = rules::of(kind);
        let within = match rules.within {
            Within::Org => "org",
            Within::Owner => "user",
        };
        let space = NameSpace::of(&key);
        self.take_name(space, &key.name, key.id.bytes(), (rules.label, within))?;
        let most = self.limits.most(kind);
        if self.tables.names_len(space)? > most as usize {
            return Err(Refusal::TooMany { kind, most }.into());
        }
        self.put_key(&mut key)?;
        Ok(key)
    }

    pub(super) fn revoke_key(&mut self, id: KeyId, by: Actor) -> Result<Key, StoreError> {
        let found = self.tables.key(id)?;
        let mut key = found.ok_or(Refusal::NotFound { what: "key" })?;
        let kind = key.kind;
        let by_owner = match key.owner {
            Some(owner) => self.user(owner)?.has_revoked(&key),
            None => false,
        };
        if key.revoked.is_some() || by_owner {
            return Err(Refusal::AlreadyRevoked { kind }.into());
        }
        let fewest = self.limits.fewest(kind);
        // Each active key holds a name, and only they do. But names that got lost must not keep a key in force.
        let space = NameSpace::of(&key);
        if fewest > 0
            && self.tables.names_len(space)? <= fewest as usize
            && !self.tables.has_more_active(&key, fewest as usize)?
        {
            return Err(Refusal::TooFew { kind, fewest }.into());
        }
        self.tables.free_name(space, &key.name)?;
        key.revoked = Some(Revocation { at: self.now, by });
        self.put_key(&mut key)?;
        Ok(key)
    }

    fn org(&mut self, id: OrgId) -> Result<Org, StoreError> {
        let found = self.tables.org(id)?;
        found.ok_or(Refusal::NotFound { what: "org" }.into())
    }

    fn enabled_org(&mut self, id: OrgId) -> Result<(), StoreError> {
        if self.org(id)?.disabled {
            return Err(Refusal::OrgDisabled.into());
        }
        Ok(())
    }

    fn user(&mut self, id: UserId) -> Result<User, StoreError> {
        let found = self.tables.user(id)?;
        found.ok_or(Refusal::NotFound { what: "user" }.into())
    }

    fn take_name(
        &mut self,
        space: NameSpace,
        name: &str,
        id: [u8; 16],
        (what, within): (&'static str, &'static str),
    ) -> Result<(), StoreError> {
        if self.tables.holder(space, name)?.is_some() {
            return Err(Refusal::NameTaken {
                what,
                within,
                name: name.into(),
            }
            .into());
        }
        self.tables.take_name(space, name, id)
    }

    fn put_org(&mut self, org: &mut Org) -> Result<(), StoreError> {
        org.revision = self.tables.next();
        self.tables.put(Record::Org(org.clone()))
    }

    fn put_user(&mut self, user: &mut User) -> Result<(), StoreError> {
        user.revision = self.tables.next();
        self.tables.put(Record::User(user.clone()))
    }

    fn put_key(&mut self, key: &mut Key) -> Result<(), StoreError> {
        key.revision = self.tables.next();
        self.tables.put(Record::Key(key.clone()))
    }
}

fn first_key(of: NewKeyOf, by: Actor) -> Result<NewKey, StoreError> {
    Ok(NewKey {
        of,
        name: FIRST_KEY_NAME.parse()?,
        secret: None,
        expires_at: None,
        created_by: by,
    })
}
