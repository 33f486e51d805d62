//! What each operation checks and writes, inside one transaction of whichever home the store has. It neither begins nor
//! commits, and may be run again when another writer was quicker: it changes nothing but the transaction. Every write is
//! logged in the same transaction.

mod keys;
mod log;
mod once;
mod people;

use compact_str::CompactString;

pub(super) use self::log::THROUGH;
use crate::keys::audit::{Action, AuditId, By, FieldChange, Object};
use crate::keys::rules::{Limits, Name, Refusal};
use crate::keys::secret::Fingerprinter;
use crate::keys::{
    Deed, Key, KeyId, KeyKind, Labels, Org, OrgId, Record, Revision, Role, Secret, Slot, Timestamp,
    User, UserId, UserKind,
};
use crate::store::ledger::{Fields, differences};
use crate::store::tables::{NameSpace, Tables};
use crate::store::{NewKey, NewKeyOf, NewUser, StoreError, UserChange};

/// The name of the key that every org and its first user begin with.
const FIRST_KEY_NAME: &str = "default";

/// The operations over one transaction.
pub(super) struct Writing<'t, T> {
    tables: &'t mut T,
    fingerprinter: &'t Fingerprinter,
    limits: Limits,
    now: Timestamp,
    by: &'t By,
    /// The revisions written since the last entry.
    written: Vec<Revision>,
    /// The last entry.
    logged: Option<AuditId>,
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

/// A key just made; with the secret it was made with, when that was by an earlier request with the same `Idempotency-Key`.
pub(super) type Made = (Key, Option<Secret>);

impl<'t, T: Tables> Writing<'t, T> {
    pub(super) fn new(
        tables: &'t mut T,
        fingerprinter: &'t Fingerprinter,
        limits: Limits,
        now: Timestamp,
        by: &'t By,
    ) -> Self {
        Self {
            tables,
            fingerprinter,
            limits,
            now,
            by,
            written: Vec::new(),
            logged: None,
        }
    }

    /// The entry of the audit log that was written last; `None` when nothing was changed.
    pub(super) const fn logged(&self) -> Option<AuditId> {
        self.logged
    }

    pub(super) fn create_org(
        &mut self,
        name: &Name,
        secret: &Secret,
    ) -> Result<(Org, Made), StoreError> {
        let partition = Slot::of_org_name(name.as_str()).partition();
        if let Some((id, earlier)) = self.answered(partition)? {
            let key = self.key(KeyId(uuid::Uuid::from_bytes(id)))?;
            let org = self.org(key.org)?;
            return Ok((org, (key, earlier)));
        }
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
        let changes = differences(&Fields::default(), &Fields::of_org(&org));
        self.log(Some(org.id), Action::OrgCreated, Object::org(&org), changes)?;
        let of = NewKeyOf::ApiKey {
            org: org.id,
            allowed_addresses: Vec::new(),
        };
        let key = self.make_key(&first_key(of)?, secret)?;
        self.answer(partition, key.id.bytes(), Some(secret))?;
        Ok((org, (key, None)))
    }

    pub(super) fn found(
        &mut self,
        org: &Name,
        handle: &Name,
        secrets: &FirstSecrets,
    ) -> Result<(Org, User, Key, Key), StoreError> {
        let (org, (api_key, _)) = self.create_org(org, &secrets.api_key)?;
        let user = self.create_user(&NewUser {
            org: org.id,
            handle: handle.clone(),
            name: None,
            title: None,
            role: Role::Admin,
        })?;
        let of = NewKeyOf::ApplicationKey {
            owner: user.id,
            scopes: Vec::new(),
        };
        let application_key = self.make_key(&first_key(of)?, &secrets.application_key)?;
        Ok((org, user, api_key, application_key))
    }

    pub(super) fn set_org_disabled(
        &mut self,
        id: OrgId,
        disabled: bool,
    ) -> Result<Org, StoreError> {
        let mut org = self.org(id)?;
        if org.disabled != disabled {
            let before = Fields::of_org(&org);
            org.disabled = disabled;
            self.put_org(&mut org)?;
            let action = match disabled {
                true => Action::OrgDisabled,
                false => Action::OrgEnabled,
            };
            let changes = differences(&before, &Fields::of_org(&org));
            self.log(Some(org.id), action, Object::org(&org), changes)?;
        }
        Ok(org)
    }

    pub(super) fn create_user(&mut self, new: &NewUser) -> Result<User, StoreError> {
        let handle = CompactString::from(new.handle.as_str());
        let name = new.name.as_ref().unwrap_or(&new.handle).as_str().into();
        let id = UserId::generate_in(new.org.slot());
        let mut user = self.user_of(id, new.org, UserKind::Person, handle, name, new.role);
        user.email.clone_from(&user.handle);
        user.title = new.title.as_ref().map(|title| title.as_str().into());
        self.add_user(user)
    }

    pub(super) fn create_service_account(
        &mut self,
        org: OrgId,
        name: &Name,
        email: Option<&Name>,
        role: Role,
    ) -> Result<User, StoreError> {
        let id = UserId::generate_in(org.slot());
        let handle = CompactString::from(id.to_string());
        let name = name.as_str().into();
        let mut user = self.user_of(id, org, UserKind::ServiceAccount, handle, name, role);
        user.email = email.map_or_else(CompactString::default, |email| email.as_str().into());
        self.add_user(user)
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
            email: CompactString::default(),
            title: None,
            role,
            disabled: false,
            application_keys_revoked_through: Revision(0),
            application_keys_revoked_at: None,
            created_at: self.now,
            modified_at: self.now,
            revision: Revision(0),
        }
    }

    fn add_user(&mut self, mut user: User) -> Result<User, StoreError> {
        let partition = user.org.partition();
        if let Some((id, _)) = self.answered(partition)? {
            return self.user(UserId(uuid::Uuid::from_bytes(id)));
        }
        self.enabled_org(user.org)?;
        self.take_name(
            NameSpace::Users(user.org),
            &user.handle,
            user.id.bytes(),
            ("user", "org"),
        )?;
        self.put_user(&mut user)?;
        let changes = differences(&Fields::default(), &Fields::of_user(&user));
        self.log(
            Some(user.org),
            Action::UserCreated,
            Object::user(&user),
            changes,
        )?;
        self.answer(partition, user.id.bytes(), None)?;
        Ok(user)
    }

    pub(super) fn update_user(
        &mut self,
        id: UserId,
        change: &UserChange,
    ) -> Result<User, StoreError> {
        let user = self.user(id)?;
        let mut changed = user.clone();
        if let Some(name) = &change.name {
            changed.name = name.as_str().into();
        }
        if let Some(email) = &change.email {
            changed.email = email.as_str().into();
        }
        if let Some(title) = &change.title {
            changed.title = title.as_ref().map(|title| title.as_str().into());
        }
        changed.role = change.role.unwrap_or(changed.role);
        changed.disabled = change.disabled.unwrap_or(changed.disabled);
        let disables = changed.disabled && !user.disabled;
        let enables = user.disabled && !changed.disabled;
        if changed == user {
            return Ok(user);
        }
        let was_admin = user.role == Role::Admin && !user.disabled;
        let is_admin = changed.role == Role::Admin && !changed.disabled;
        if was_admin && !is_admin && user.kind == UserKind::Person {
            self.another_admin(&user)?;
        }
        if disables {
            changed.application_keys_revoked_through = self.tables.next();
            changed.application_keys_revoked_at = Some(self.now);
            // The keys it kills are no longer active: their names are free and they no longer count.
            let space = NameSpace::Keys(KeyKind::ApplicationKey, id.bytes());
            self.tables.free_names(space)?;
        }
        changed.modified_at = self.now;
        self.put_user(&mut changed)?;
        let action = match (disables, enables) {
            (true, _) => Action::UserDisabled,
            (_, true) => Action::UserEnabled,
            (false, false) => Action::UserChanged,
        };
        let changes = differences(&Fields::of_user(&user), &Fields::of_user(&changed));
        self.log(Some(changed.org), action, Object::user(&changed), changes)?;
        Ok(changed)
    }

    /// Whether the org has an active admin beside this one, who is a person: a service account signs in nowhere. The
    /// operator may take the last one, as the operator can make another.
    fn another_admin(&mut self, user: &User) -> Result<(), StoreError> {
        let is_another = |other: &User| {
            other.id != user.id
                && other.role == Role::Admin
                && other.kind == UserKind::Person
                && !other.disabled
        };
        if self.tables.users_of(user.org)?.iter().any(is_another) {
            return Ok(());
        }
        Err(Refusal::LastAdmin.into())
    }

    const fn deed(&self) -> Deed {
        Deed {
            at: self.now,
            by: self.by.actor,
        }
    }

    fn to_come(&self, expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        if expires_at.is_some_and(|expires| expires <= self.now) {
            return Err(Refusal::ExpiryPast.into());
        }
        Ok(())
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

    fn key(&mut self, id: KeyId) -> Result<Key, StoreError> {
        let found = self.tables.key(id)?;
        found.ok_or(Refusal::NotFound { what: "key" }.into())
    }

    /// A key that is revoked neither by itself nor with its owner.
    fn active_key(&mut self, id: KeyId) -> Result<Key, StoreError> {
        let key = self.key(id)?;
        let by_owner = match key.owner {
            Some(owner) => self.user(owner)?.has_revoked(&key),
            None => false,
        };
        if key.revoked.is_some() || by_owner {
            return Err(Refusal::AlreadyRevoked { kind: key.kind }.into());
        }
        Ok(key)
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
        self.written.push(org.revision);
        self.tables.put(Record::Org(org.clone()))
    }

    fn put_user(&mut self, user: &mut User) -> Result<(), StoreError> {
        user.revision = self.tables.next();
        self.written.push(user.revision);
        self.tables.put(Record::User(user.clone()))
    }

    fn put_key(&mut self, key: &mut Key) -> Result<(), StoreError> {
        key.revision = self.tables.next();
        self.written.push(key.revision);
        self.tables.put(Record::Key(key.clone()))
    }
}

fn change(field: &str, before: Option<String>, after: Option<String>) -> FieldChange {
    FieldChange {
        field: field.into(),
        before,
        after,
    }
}

fn first_key(of: NewKeyOf) -> Result<NewKey, StoreError> {
    Ok(NewKey {
        of,
        name: FIRST_KEY_NAME.parse()?,
        secret: None,
        imported: false,
        expires_at: None,
        labels: Labels::default(),
    })
}
