//! Orgs: made with what they begin with, disabled, enabled.

use uuid::Uuid;

use super::{FirstSecrets, Made, Writing, first_key};
use crate::keys::audit::{Action, Object};
use crate::keys::rules::Name;
use crate::keys::{Key, KeyId, Org, OrgId, Revision, Role, Secret, Slot, User};
use crate::store::ledger::{Fields, differences};
use crate::store::tables::{NameSpace, Tables};
use crate::store::{NewKeyOf, NewUser, StoreError};

impl<T: Tables> Writing<'_, T> {
    pub(in crate::store) fn create_org(
        &mut self,
        name: &Name,
        secret: &Secret,
    ) -> Result<(Org, Made), StoreError> {
        let partition = Slot::of_org_name(name.as_str()).partition();
        if let Some((id, earlier)) = self.answered(partition)? {
            let key = self.key(KeyId(Uuid::from_bytes(id)))?;
            let org = self.org(key.org)?;
            return Ok((org, (key, earlier)));
        }
        let (org, key) = self.make_org(name, secret)?;
        self.answer(partition, key.id.bytes(), Some(secret))?;
        Ok((org, (key, None)))
    }

    fn make_org(&mut self, name: &Name, secret: &Secret) -> Result<(Org, Key), StoreError> {
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
        Ok((org, key))
    }

    pub(in crate::store) fn found(
        &mut self,
        org: &Name,
        handle: &Name,
        secrets: &FirstSecrets,
    ) -> Result<(Org, User, Key, Key), StoreError> {
        let (org, api_key) = self.make_org(org, &secrets.api_key)?;
        let user = self.make_user(&NewUser {
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

    pub(in crate::store) fn set_org_disabled(
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
}
