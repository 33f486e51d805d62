//! Users and service accounts: made, changed, disabled; and the rule of the last admin.

use compact_str::CompactString;
use uuid::Uuid;

use super::Writing;
use crate::keys::audit::{Action, Object};
use crate::keys::rules::{Name, Refusal};
use crate::keys::{KeyKind, OrgId, Revision, Role, User, UserId, UserKind};
use crate::store::ledger::{Fields, differences};
use crate::store::tables::{NameSpace, Tables};
use crate::store::{NewUser, StoreError, UserChange};

impl<T: Tables> Writing<'_, T> {
    pub(in crate::store) fn create_user(&mut self, new: &NewUser) -> Result<User, StoreError> {
        self.once(new.org, |writing| writing.make_user(new))
    }

    pub(in crate::store) fn make_user(&mut self, new: &NewUser) -> Result<User, StoreError> {
        let handle = CompactString::from(new.handle.as_str());
        let name = new.name.as_ref().unwrap_or(&new.handle).as_str().into();
        let id = UserId::generate_in(new.org.slot());
        let mut user = self.user_of(id, new.org, UserKind::Person, handle, name, new.role);
        user.email.clone_from(&user.handle);
        user.title = new.title.as_ref().map(|title| title.as_str().into());
        self.add_user(user)
    }

    pub(in crate::store) fn create_service_account(
        &mut self,
        org: OrgId,
        name: &Name,
        email: Option<&Name>,
        role: Role,
    ) -> Result<User, StoreError> {
        self.once(org, |writing| {
            let id = UserId::generate_in(org.slot());
            let handle = CompactString::from(id.to_string());
            let name = name.as_str().into();
            let mut user = writing.user_of(id, org, UserKind::ServiceAccount, handle, name, role);
            user.email = email.map_or_else(CompactString::default, |email| email.as_str().into());
            writing.add_user(user)
        })
    }

    /// The user that was made when this was asked for before, or is made now.
    fn once(
        &mut self,
        org: OrgId,
        make: impl FnOnce(&mut Self) -> Result<User, StoreError>,
    ) -> Result<User, StoreError> {
        if let Some((id, _)) = self.answered(org.partition())? {
            return self.user(UserId(Uuid::from_bytes(id)));
        }
        let user = make(self)?;
        self.answer(org.partition(), user.id.bytes(), None)?;
        Ok(user)
    }

    pub(in crate::store) fn user_of(
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
            password_set_at: None,
            created_at: self.now,
            modified_at: self.now,
            revision: Revision(0),
        }
    }

    pub(in crate::store) fn add_user(&mut self, mut user: User) -> Result<User, StoreError> {
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
        Ok(user)
    }

    pub(in crate::store) fn update_user(
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

    /// That the org has an active admin beside this one, who is a person: a service account signs in nowhere. It holds for
    /// everybody, the operator too, who can make another admin first. Lists that got lost must not keep an admin in office.
    pub(in crate::store) fn another_admin(&mut self, user: &User) -> Result<(), StoreError> {
        let is_another = |other: &User| {
            other.id != user.id
                && other.role == Role::Admin
                && other.kind == UserKind::Person
                && !other.disabled
        };
        for lost in [false, true] {
            let users = self.tables.users_of(user.org, lost)?;
            if users.iter().any(is_another) {
                return Ok(());
            }
        }
        Err(Refusal::LastAdmin.into())
    }
}
