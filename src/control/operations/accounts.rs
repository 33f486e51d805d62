//! The operations on users and service accounts: made, changed, disabled, shown, and let in by a one-time link.

use super::Performing;
use crate::control::views::{InvitationView, LinkView, OffboardingView};
use crate::control::{
    KeyStatus, KeyView, Response, ServiceError, SignIn, UserChanges, UserView, time_text,
};
use crate::keys::audit::{Action, AuditId};
use crate::keys::permissions::Permission;
use crate::keys::rules::{Name, Refusal, email};
use crate::keys::{Actor, Key, KeyId, KeyKind, Record, Role, User, UserId, UserKind};
use crate::store::{NewUser, Store, UserChange};

impl Performing<'_> {
    pub(super) fn create_user(
        &mut self,
        org: &str,
        address: &str,
        name: Option<&str>,
        title: Option<&str>,
        role: Role,
    ) -> Result<Response, ServiceError> {
        let org = self.org(org)?.id;
        self.need(Permission::UserAccessInvite)?;
        self.may_make(role)?;
        // The operator may choose any handle, as `init` does.
        let handle = match self.standing.user() {
            Some(_) => email(address)?,
            None => address.parse()?,
        };
        let new = NewUser {
            org,
            handle,
            name: name.map(str::parse).transpose()?,
            title: title_of(title)?,
            role,
        };
        let done = self.store.create_user(new, &self.caller.by)?;
        let user = self.noted(done);
        Ok(self.user_changed(&user))
    }

    pub(super) fn create_service_account(
        &mut self,
        org: &str,
        name: &str,
        address: Option<&str>,
        role: Role,
    ) -> Result<Response, ServiceError> {
        let org = self.org(org)?.id;
        self.need(Permission::ServiceAccountWrite)?;
        self.may_make(role)?;
        let address = address
            .filter(|text| !text.is_empty())
            .map(email)
            .transpose()?;
        let name = name.parse()?;
        let by = &self.caller.by;
        let done = self
            .store
            .create_service_account(org, name, address, role, by)?;
        let user = self.noted(done);
        Ok(self.user_changed(&user))
    }

    pub(super) fn list_users(&self, org: &str, kind: UserKind) -> Result<Response, ServiceError> {
        let org = self.org(org)?.id;
        self.need(Permission::UserAccessRead)?;
        let mut users = self.store.users_of(org)?;
        users.retain(|user| user.kind == kind);
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Response::Users(users.iter().map(UserView::of).collect()))
    }

    pub(super) fn show_user(&self, user: &str) -> Result<Response, ServiceError> {
        let user = self.user(user)?;
        if self.standing.user() != Some(user.id) {
            self.need(Permission::UserAccessRead)?;
        }
        Ok(Response::User(UserView::of(&user)))
    }

    pub(super) fn update_user(
        &mut self,
        user: &str,
        changes: UserChanges,
    ) -> Result<Response, ServiceError> {
        let user = self.user(user)?;
        self.need(match user.kind {
            UserKind::Person => Permission::UserAccessManage,
            UserKind::ServiceAccount => Permission::ServiceAccountWrite,
        })?;
        if let Some(role) = changes.role {
            self.may_make(role)?;
        }
        let address = match (&changes.email, user.kind) {
            (Some(text), UserKind::ServiceAccount) if text.is_empty() => None,
            (Some(text), _) if *text == user.email => None,
            (Some(text), _) => Some(email(text)?),
            (None, _) => None,
        };
        let change = UserChange {
            name: changes.name.as_deref().map(str::parse).transpose()?,
            email: address,
            title: match changes.title.as_deref() {
                Some(title) => Some(title_of(Some(title))?),
                None => None,
            },
            role: changes.role,
            disabled: changes.disabled,
        };
        self.begin(user.id.partition())?;
        let done = self.store.update_user(user.id, change, &self.caller.by)?;
        let user = self.noted(done);
        Ok(self.user_changed(&user))
    }

    /// Whether the caller may make somebody this. An admin can do everything: a key with scopes, which cannot, makes none.
    fn may_make(&self, role: Role) -> Result<(), ServiceError> {
        match role {
            Role::Admin => {
                self.need(Permission::UserAccessManage)?;
                Ok(self.standing.may_give(None)?)
            }
            Role::Standard | Role::ReadOnly => Ok(()),
        }
    }

    /// What ends at once when the user is disabled, and what is left to rotate.
    pub(super) fn offboarding(&self, user: &str) -> Result<Response, ServiceError> {
        let user = self.user(user)?;
        self.need(Permission::UserAccessRead)?;
        self.need(Permission::OrgAppKeysRead)?;
        let keys = self.store.keys_of(user.org)?;
        let (mut ends, mut stays): (Vec<&Key>, Vec<&Key>) = (Vec::new(), Vec::new());
        for key in &keys {
            if key.owner == Some(user.id) {
                ends.push(key);
            } else if key.owner.is_none() && key.created_by == Actor::User(user.id) {
                stays.push(key);
            }
        }
        let (ends, stays) = (self.active_views(&ends)?, self.active_views(&stays)?);
        let user = UserView::of(&user);
        Ok(Response::Offboarding(Box::new(OffboardingView {
            user,
            ends,
            stays,
        })))
    }

    fn active_views(&self, keys: &[&Key]) -> Result<Vec<KeyView>, ServiceError> {
        let ids: Vec<KeyId> = keys.iter().map(|key| key.id).collect();
        let uses = self.store.usage_of(&ids)?;
        let mut views = Vec::new();
        for (key, uses) in keys.iter().zip(uses) {
            let view = self.view(key, uses.as_ref())?;
            if view.status == KeyStatus::Active {
                views.push(view);
            }
        }
        Ok(views)
    }

    pub(super) fn make_link(&mut self, user: &str) -> Result<Response, ServiceError> {
        let user = self.user(user)?;
        self.need(Permission::UserAccessInvite)?;
        // Whoever opens it can do all that the user may: somebody who may less must not be given it.
        self.standing.may_give(None)?;
        if user.role == Role::Admin {
            self.need(Permission::UserAccessManage)?;
        }
        // Said of whom it is for, and not as if whoever asks could not sign in.
        if user.disabled {
            return Err(Refusal::OwnerDisabled.into());
        }
        self.link_for(&user).map(Response::Link)
    }

    /// A link is known by the entry of the log that tells of it: what opens it is kept as a hash, by which nobody asks.
    pub(super) fn show_invitation(&self, id: AuditId) -> Result<Response, ServiceError> {
        self.need(Permission::UserAccessInvite)?;
        let missing = || Refusal::NotFound { what: "invitation" };
        let after = id.number.saturating_add(1);
        let found = self.store.log_before(id.partition, Some(after), 1)?;
        let entry = found.into_iter().find(|entry| entry.id == id);
        let entry = entry
            .and_then(|entry| entry.linked.ok())
            .ok_or_else(missing)?
            .entry;
        if entry.action != Action::LinkCreated
            || !entry.org.is_some_and(|org| self.standing.is_of(org))
        {
            return Err(missing().into());
        }
        let ends = entry
            .changes
            .iter()
            .find(|change| change.field == "expires_at");
        let user = self
            .store
            .user(UserId(entry.object.id))?
            .ok_or_else(missing)?;
        Ok(Response::Invitation(InvitationView {
            user: UserView::of(&user),
            made_at: time_text(entry.at),
            expires_at: ends
                .and_then(|change| change.after.clone())
                .unwrap_or_default(),
        }))
    }

    pub(super) fn link_for(&mut self, user: &User) -> Result<LinkView, ServiceError> {
        let SignIn { token, hash, link } = SignIn::link(user, self.service.link_lifetime)?;
        let done = self.store.make_link(hash, link, &self.caller.by)?;
        let user = self.noted(done);
        Ok(LinkView {
            user: UserView::of(&user),
            url: self.service.page_url(&token),
            path: token,
            expires_at: time_text(link.expires_at),
        })
    }

    /// A user by id, by handle, or by name. Another org's is not there.
    pub(super) fn user(&self, text: &str) -> Result<User, ServiceError> {
        let missing = || Refusal::NotFound { what: "user" };
        if let Ok(id) = text.parse::<UserId>() {
            let found = self
                .store
                .user(id)?
                .filter(|user| self.standing.is_of(user.org));
            return Ok(found.ok_or_else(missing)?);
        }
        let mut found = self.store.users_named(text)?;
        self.add_served(text, &mut found);
        found.retain(|user| self.standing.is_of(user.org));
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some(user), None) => Ok(user),
            (None, _) => Err(missing().into()),
            (Some(_), Some(_)) => Err(Refusal::Ambiguous {
                what: "user",
                name: text.into(),
            }
            .into()),
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

    /// The owner that somebody names for an application key: whoever is not at the machine makes keys for themselves, and
    /// for service accounts.
    pub(super) fn owner_for(&self, owner: &str) -> Result<User, ServiceError> {
        let owner = self.user(owner)?;
        self.may_touch(
            KeyKind::ApplicationKey,
            Some(&owner),
            super::keys::Touch::Make,
        )?;
        Ok(owner)
    }
}

fn title_of(title: Option<&str>) -> Result<Option<Name>, Refusal> {
    let title = title.map(str::trim).filter(|title| !title.is_empty());
    title.map(str::parse).transpose()
}
