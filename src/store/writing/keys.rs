//! Keys: made, changed, given a successor, revoked; and the rules about how many there are and what they are called.

use compact_str::CompactString;
use uuid::Uuid;

use super::{Made, Writing};
use crate::keys::audit::{Action, Object};
use crate::keys::rules::{self, Name, Refusal, Within};
use crate::keys::{Key, KeyId, KeyKind, Revision, Secret, Timestamp};
use crate::store::ledger::{Fields, differences};
use crate::store::tables::{NameSpace, Tables};
use crate::store::{KeyChange, NewKey, NewKeyOf, Rotation, StoreError};

impl<T: Tables> Writing<'_, T> {
    pub(in crate::store) fn create_key(
        &mut self,
        new: &NewKey,
        secret: &Secret,
    ) -> Result<Made, StoreError> {
        let partition = new.of.partition();
        if let Some((id, earlier)) = self.answered(partition)? {
            return Ok((self.key(KeyId(Uuid::from_bytes(id)))?, earlier));
        }
        let key = self.make_key(new, secret)?;
        self.answer(partition, key.id.bytes(), Some(secret))?;
        Ok((key, None))
    }

    pub(in crate::store) fn make_key(
        &mut self,
        new: &NewKey,
        secret: &Secret,
    ) -> Result<Key, StoreError> {
        let mut key = self.new_key(new, secret)?;
        self.add_key(&mut key)?;
        let action = match new.imported {
            true => Action::KeyImported,
            false => Action::KeyCreated,
        };
        let changes = differences(&Fields::default(), &Fields::of_key(&key));
        self.log(Some(key.org), action, Object::key(&key), changes)?;
        Ok(key)
    }

    pub(in crate::store) fn new_key(
        &mut self,
        new: &NewKey,
        secret: &Secret,
    ) -> Result<Key, StoreError> {
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
        self.to_come(new.expires_at)?;
        let mut key = Key {
            id: KeyId::generate_in(org.slot()),
            kind,
            org,
            owner,
            name: new.name.as_str().into(),
            fingerprint: self.fingerprinter.fingerprint(secret.expose().as_bytes()),
            last4: secret.last4().into(),
            created_at: self.now,
            created_by: self.by.actor,
            issued: Revision(0),
            revision: Revision(0),
            revoked: None,
            shadowed: None,
            modified: self.deed(),
            replaced_by: None,
            labels: new.labels.clone(),
            expires_at: new.expires_at,
            scopes: None,
            allowed_addresses: Vec::new(),
            allowed_origins: Vec::new(),
        };
        match &new.of {
            NewKeyOf::ApiKey {
                allowed_addresses, ..
            } => key.allowed_addresses.clone_from(allowed_addresses),
            NewKeyOf::ApplicationKey { scopes, .. } => key.scopes = rules::scopes(scopes)?,
            NewKeyOf::ClientToken {
                allowed_origins, ..
            } => key.allowed_origins.clone_from(allowed_origins),
        }
        bounded(&key)?;
        Ok(key)
    }

    /// Writes a new key: its secret is new, its name free, and there is room for one more.
    pub(in crate::store) fn add_key(&mut self, key: &mut Key) -> Result<(), StoreError> {
        if self.tables.has_fingerprint(&key.fingerprint)? {
            return Err(Refusal::SecretKnown.into());
        }
        let space = self.take_key_name(key)?;
        let most = self.limits.most(key.kind);
        if self.tables.names_len(space)? > most as usize {
            return Err(Refusal::TooMany {
                kind: key.kind,
                most,
            }
            .into());
        }
        key.issued = self.tables.next();
        self.put_key(key)
    }

    pub(in crate::store) fn take_key_name(&mut self, key: &Key) -> Result<NameSpace, StoreError> {
        let rules = rules::of(key.kind);
        let within = match rules.within {
            Within::Org => "org",
            Within::Owner => "user",
        };
        let space = NameSpace::of(key);
        self.take_name(space, &key.name, key.id.bytes(), (rules.label, within))?;
        Ok(space)
    }

    pub(in crate::store) fn update_key(
        &mut self,
        id: KeyId,
        change: &KeyChange,
    ) -> Result<Key, StoreError> {
        let key = self.active_key(id)?;
        let mut changed = key.clone();
        let not_of_kind = |what| Refusal::NotOfKind {
            what,
            kind: key.kind,
        };
        if let Some(name) = &change.name {
            changed.name = name.as_str().into();
        }
        if let Some(expires_at) = change.expires_at {
            if expires_at != key.expires_at {
                self.to_come(expires_at)?;
            }
            changed.expires_at = expires_at;
        }
        if let Some(scopes) = &change.scopes {
            if key.kind != KeyKind::ApplicationKey {
                return Err(not_of_kind("scopes").into());
            }
            changed.scopes = rules::scopes(scopes)?;
        }
        if let Some(addresses) = &change.allowed_addresses {
            if key.kind != KeyKind::ApiKey {
                return Err(not_of_kind("allowed addresses").into());
            }
            changed.allowed_addresses.clone_from(addresses);
        }
        if let Some(origins) = &change.allowed_origins {
            if key.kind != KeyKind::ClientToken {
                return Err(not_of_kind("allowed origins").into());
            }
            changed.allowed_origins.clone_from(origins);
        }
        if let Some(labels) = &change.labels {
            if key.kind != KeyKind::ApiKey {
                return Err(not_of_kind("category").into());
            }
            changed.labels.clone_from(labels);
        }
        bounded(&changed)?;
        match (change.shadowed, key.shadowed) {
            (Some(true), None) => changed.shadowed = Some(self.deed()),
            (Some(false), Some(_)) => changed.shadowed = None,
            _ => {}
        }
        if changed == key {
            return Ok(key);
        }
        if changed.name != key.name {
            self.tables.free_name(NameSpace::of(&key), &key.name)?;
            self.take_key_name(&changed)?;
        }
        let action = match (key.shadowed, changed.shadowed) {
            (None, Some(_)) => Action::KeyShadowed,
            (Some(_), None) => Action::KeyUnshadowed,
            _ => Action::KeyChanged,
        };
        self.change_key(&key, changed, action)
    }

    /// A new key beside an old one, with what the old one may. The old one ends when the overlap does; without one it is
    /// revoked at once, and then takes no place beside its successor.
    pub(in crate::store) fn rotate_key(
        &mut self,
        id: KeyId,
        rotation: &Rotation,
        secret: &Secret,
    ) -> Result<(Key, Made), StoreError> {
        if let Some((successor, earlier)) = self.answered(id.partition())? {
            let successor = self.key(KeyId(Uuid::from_bytes(successor)))?;
            return Ok((self.key(id)?, (successor, earlier)));
        }
        let old = self.active_key(id)?;
        if let Some(owner) = old.owner
            && self.user(owner)?.disabled
        {
            return Err(Refusal::OwnerDisabled.into());
        }
        self.enabled_org(old.org)?;
        let mut new = Key {
            id: KeyId::generate_in(old.org.slot()),
            fingerprint: self.fingerprinter.fingerprint(secret.expose().as_bytes()),
            last4: secret.last4().into(),
            created_at: self.now,
            created_by: self.by.actor,
            modified: self.deed(),
            shadowed: None,
            replaced_by: None,
            expires_at: rotation.expires_at,
            ..old.clone()
        };
        self.to_come(new.expires_at)?;
        if let Some(name) = &rotation.name {
            new.name = name.as_str().into();
        }
        let mut ended = old.clone();
        ended.replaced_by = Some(new.id);
        match rotation.overlap_ms.filter(|overlap| *overlap > 0) {
            Some(overlap) => {
                let until = Timestamp(self.now.0.saturating_add(overlap));
                // An overlap never lengthens a key's life.
                ended.expires_at = Some(old.expires_at.map_or(until, |ends| ends.min(until)));
                Self::can_be_told(ended.expires_at)?;
                if new.name == old.name {
                    ended.name = self.free_variant(&old)?;
                    self.tables.free_name(NameSpace::of(&old), &old.name)?;
                    self.take_key_name(&ended)?;
                }
            }
            None => {
                ended.revoked = Some(self.deed());
                self.tables.free_name(NameSpace::of(&old), &old.name)?;
            }
        }
        self.add_key(&mut new)?;
        let changes = differences(&Fields::default(), &Fields::of_key(&new));
        self.log(
            Some(new.org),
            Action::KeyCreated,
            Object::key(&new),
            changes,
        )?;
        let action = match ended.revoked {
            Some(_) => Action::KeyRevoked,
            None => Action::KeyRotated,
        };
        let ended = self.change_key(&old, ended, action)?;
        self.answer(id.partition(), new.id.bytes(), Some(secret))?;
        Ok((ended, (new, None)))
    }

    /// What an old key is called beside its successor, which takes its name.
    pub(in crate::store) fn free_variant(
        &mut self,
        old: &Key,
    ) -> Result<CompactString, StoreError> {
        let kept = rules::NAME_CHARS_MAX - 16;
        let stem: String = old.name.chars().take(kept).collect();
        let space = NameSpace::of(old);
        for number in 1..=100 {
            let name = match number {
                1 => format!("{stem} (old)"),
                number => format!("{stem} (old {number})"),
            };
            if self.tables.holder(space, &name)?.is_none() {
                return Ok(name.into());
            }
        }
        Err(Refusal::NameTaken {
            what: rules::of(old.kind).label,
            within: "org",
            name: format!("{stem} (old)").into(),
        }
        .into())
    }

    pub(in crate::store) fn revoke_key(&mut self, id: KeyId) -> Result<Key, StoreError> {
        let key = self.active_key(id)?;
        let fewest = self.limits.fewest(key.kind);
        // What is left must be in force: an expired key is not. To revoke one takes none of those away, and makes room.
        let unexpired_at = Some(self.now).filter(|now| !key.has_expired(*now));
        if fewest > 0
            && !self
                .tables
                .has_others(&key, fewest as usize, unexpired_at)?
        {
            return Err(Refusal::TooFew {
                kind: key.kind,
                fewest,
            }
            .into());
        }
        self.tables.free_name(NameSpace::of(&key), &key.name)?;
        let mut revoked = key.clone();
        revoked.revoked = Some(self.deed());
        self.change_key(&key, revoked, Action::KeyRevoked)
    }

    pub(in crate::store) fn change_key(
        &mut self,
        key: &Key,
        mut to: Key,
        action: Action,
    ) -> Result<Key, StoreError> {
        to.modified = self.deed();
        self.put_key(&mut to)?;
        let changes = differences(&Fields::of_key(key), &Fields::of_key(&to));
        self.log(Some(to.org), action, Object::key(&to), changes)?;
        Ok(to)
    }
}

/// Whether a key has no more addresses and origins than may be looked at for each request, and is filed under a name. Every
/// node holds all of it in memory for good.
fn bounded(key: &Key) -> Result<(), Refusal> {
    let most = key.allowed_addresses.len().max(key.allowed_origins.len());
    if most > rules::PLACES_MAX {
        return Err(Refusal::TooManyPlaces);
    }
    if let Some(category) = &key.labels.category {
        category.parse::<Name>()?;
    }
    Ok(())
}
