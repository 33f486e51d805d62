//! What each operation checks and writes, inside one transaction of whichever home the store has. It neither begins nor
//! commits, and may be run again when another writer was quicker: it changes nothing but the transaction. Every write is
//! logged in the same transaction.

use compact_str::CompactString;
use zeroize::Zeroizing;

use super::ledger::{Fields, Head, differences, link};
use super::papers::{self, Answer, Link, PaperId, Password, Session};
use super::tables::{NameSpace, Tables};
use super::{
    KeyChange, NewKey, NewKeyOf, NewUser, Rotation, StoreError, UserChange, sealed_secret,
};
use crate::keys::audit::{Action, AuditEntry, AuditId, By, FieldChange, Object};
use crate::keys::rules::{self, Limits, Name, Refusal, Within};
use crate::keys::secret::Fingerprinter;
use crate::keys::{
    Deed, Key, KeyId, KeyKind, Labels, Org, OrgId, Partition, Record, Revision, Role, Secret, Slot,
    Timestamp, User, UserId, UserKind,
};

/// The name of the key that every org and its first user begin with.
const FIRST_KEY_NAME: &str = "default";

/// The field of an entry that says which revisions are older than the log.
pub(super) const THROUGH: &str = "records_through";

/// How long an answer can be asked for again by its `Idempotency-Key`, in milliseconds.
const ANSWERED_AGAIN_MS: i64 = 24 * 3_600_000;

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

    pub(super) fn create_key(&mut self, new: &NewKey, secret: &Secret) -> Result<Made, StoreError> {
        let partition = new.of.partition();
        if let Some((id, earlier)) = self.answered(partition)? {
            return Ok((self.key(KeyId(uuid::Uuid::from_bytes(id)))?, earlier));
        }
        let key = self.make_key(new, secret)?;
        self.answer(partition, key.id.bytes(), Some(secret))?;
        Ok((key, None))
    }

    fn make_key(&mut self, new: &NewKey, secret: &Secret) -> Result<Key, StoreError> {
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

    fn new_key(&mut self, new: &NewKey, secret: &Secret) -> Result<Key, StoreError> {
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
        Ok(key)
    }

    /// Writes a new key: its secret is new, its name free, and there is room for one more.
    fn add_key(&mut self, key: &mut Key) -> Result<(), StoreError> {
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

    fn take_key_name(&mut self, key: &Key) -> Result<NameSpace, StoreError> {
        let rules = rules::of(key.kind);
        let within = match rules.within {
            Within::Org => "org",
            Within::Owner => "user",
        };
        let space = NameSpace::of(key);
        self.take_name(space, &key.name, key.id.bytes(), (rules.label, within))?;
        Ok(space)
    }

    pub(super) fn update_key(&mut self, id: KeyId, change: &KeyChange) -> Result<Key, StoreError> {
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
    pub(super) fn rotate_key(
        &mut self,
        id: KeyId,
        rotation: &Rotation,
        secret: &Secret,
    ) -> Result<(Key, Made), StoreError> {
        if let Some((successor, earlier)) = self.answered(id.partition())? {
            let successor = self.key(KeyId(uuid::Uuid::from_bytes(successor)))?;
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
        match rotation.overlap_ms {
            Some(overlap) => {
                let until = Timestamp(self.now.0.saturating_add(overlap));
                // An overlap never lengthens a key's life.
                ended.expires_at = Some(old.expires_at.map_or(until, |ends| ends.min(until)));
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
    fn free_variant(&mut self, old: &Key) -> Result<CompactString, StoreError> {
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

    pub(super) fn revoke_key(&mut self, id: KeyId) -> Result<Key, StoreError> {
        let key = self.active_key(id)?;
        let fewest = self.limits.fewest(key.kind);
        // Each active key holds a name, and only they do. But names that got lost must not keep a key in force.
        let space = NameSpace::of(&key);
        if fewest > 0
            && self.tables.names_len(space)? <= fewest as usize
            && !self.tables.has_more_active(&key, fewest as usize)?
        {
            return Err(Refusal::TooFew {
                kind: key.kind,
                fewest,
            }
            .into());
        }
        self.tables.free_name(space, &key.name)?;
        let mut revoked = key.clone();
        revoked.revoked = Some(self.deed());
        self.change_key(&key, revoked, Action::KeyRevoked)
    }

    fn change_key(&mut self, key: &Key, mut to: Key, action: Action) -> Result<Key, StoreError> {
        to.modified = self.deed();
        self.put_key(&mut to)?;
        let changes = differences(&Fields::of_key(key), &Fields::of_key(&to));
        self.log(Some(to.org), action, Object::key(&to), changes)?;
        Ok(to)
    }

    pub(super) fn make_link(&mut self, hash: [u8; 32], link: &Link) -> Result<User, StoreError> {
        let user = self.person(link.user)?;
        let paper = PaperId::Link(hash);
        self.put_paper(user.id.partition(), &paper, link)?;
        let until = super::ledger::time_text(link.expires_at);
        let changes = vec![change("expires_at", None, Some(until))];
        self.log(
            Some(user.org),
            Action::LinkCreated,
            Object::user(&user),
            changes,
        )?;
        Ok(user)
    }

    /// Sets the password of whom the link lets in, and the link is spent.
    pub(super) fn use_link(
        &mut self,
        partition: Partition,
        hash: [u8; 32],
        password: &str,
    ) -> Result<User, StoreError> {
        let id = PaperId::Link(hash);
        let link: Link = self.paper(partition, &id)?.ok_or(Refusal::LinkSpent)?;
        let user = self.person(link.user)?;
        let last = self.paper::<Password>(partition, &PaperId::Password(user.id))?;
        let since = last.map(|password| password.set_at);
        let spent = since.max(user.application_keys_revoked_at);
        if link.expires_at <= self.now || spent.is_some_and(|at| at >= link.made_at) {
            return Err(Refusal::LinkSpent.into());
        }
        self.tables.put_paper(partition, &id, None)?;
        self.set_password(user.id, password)
    }

    pub(super) fn set_password(&mut self, id: UserId, hash: &str) -> Result<User, StoreError> {
        let user = self.person(id)?;
        let password = Password {
            hash: hash.to_owned(),
            set_at: self.now,
        };
        self.put_paper(id.partition(), &PaperId::Password(id), &password)?;
        self.log(
            Some(user.org),
            Action::PasswordSet,
            Object::user(&user),
            Vec::new(),
        )?;
        Ok(user)
    }

    pub(super) fn open_session(
        &mut self,
        hash: [u8; 32],
        session: &Session,
    ) -> Result<User, StoreError> {
        let user = self.person(session.user)?;
        self.put_paper(user.id.partition(), &PaperId::Session(hash), session)?;
        let changes = vec![change("by", None, Some(session.by.as_str().to_owned()))];
        self.log(
            Some(user.org),
            Action::SignedIn,
            Object::user(&user),
            changes,
        )?;
        Ok(user)
    }

    /// Notes that a session is in use. Nothing is logged.
    pub(super) fn touch_session(
        &mut self,
        partition: Partition,
        hash: [u8; 32],
    ) -> Result<(), StoreError> {
        let id = PaperId::Session(hash);
        if let Some(mut session) = self.paper::<Session>(partition, &id)? {
            session.seen_at = self.now;
            self.put_paper(partition, &id, &session)?;
        }
        Ok(())
    }

    pub(super) fn end_session(
        &mut self,
        partition: Partition,
        hash: [u8; 32],
    ) -> Result<(), StoreError> {
        let id = PaperId::Session(hash);
        let Some(session) = self.paper::<Session>(partition, &id)? else {
            return Ok(());
        };
        self.tables.put_paper(partition, &id, None)?;
        if let Some(user) = self.tables.user(session.user)? {
            self.log(
                Some(user.org),
                Action::SignedOut,
                Object::user(&user),
                Vec::new(),
            )?;
        }
        Ok(())
    }

    /// Takes away papers, of those given, that nobody can use any more.
    pub(super) fn forget(
        &mut self,
        partition: Partition,
        ids: &[PaperId],
    ) -> Result<usize, StoreError> {
        let (mut gone, sealer) = (0, self.tables.sealer());
        for id in ids {
            let Some(sealed) = self.tables.paper(partition, id)? else {
                continue;
            };
            if papers::expiry(&sealer, &id.bytes(), &sealed).is_some_and(|at| at <= self.now) {
                self.tables.put_paper(partition, id, None)?;
                gone += 1;
            }
        }
        Ok(gone)
    }

    /// Logs what was done to the store itself.
    pub(super) fn log_store(&mut self, action: Action, note: &str) -> Result<(), StoreError> {
        let changes = vec![change("note", None, Some(note.to_owned()))];
        self.log(None, action, Object::store(), changes)
    }

    fn log(
        &mut self,
        org: Option<OrgId>,
        action: Action,
        object: Object,
        changes: Vec<FieldChange>,
    ) -> Result<(), StoreError> {
        let partition = org.map_or_else(super::operators_partition, |org| org.partition());
        let head = self.head(partition)?;
        let revisions = std::mem::take(&mut self.written);
        let entry = AuditEntry {
            number: head.count,
            at: self.now,
            by: self.by.clone(),
            org,
            action,
            object,
            changes,
            revisions,
        };
        self.add_entry(partition, head, entry).map(drop)
    }

    /// Where the log ends. A log that has lost entries or its head begins anew behind what is left, and says so: what
    /// somebody did to the log must not keep anybody from revoking.
    fn head(&mut self, partition: Partition) -> Result<Head, StoreError> {
        let count = self.tables.entries_len(partition)?;
        let head = match self.tables.paper(partition, &PaperId::Head)? {
            Some(sealed) => {
                let sealer = self.tables.sealer();
                papers::open::<Head>(&sealer, &PaperId::Head.bytes(), &sealed)
            }
            None => Some(Head::default()),
        };
        match head {
            Some(head) if head.count == count => Ok(head),
            _ => self.begin_log_at(partition, count),
        }
    }

    /// Says that the log knows nothing of what the partition holds now: records were put back, or entries are lost.
    pub(super) fn begin_log(&mut self, partition: Partition) -> Result<(), StoreError> {
        let count = self.tables.entries_len(partition)?;
        self.begin_log_at(partition, count).map(drop)
    }

    fn begin_log_at(&mut self, partition: Partition, count: u64) -> Result<Head, StoreError> {
        let through = self.tables.next().0.saturating_sub(1);
        let head = Head {
            count,
            hash: [0; 32],
        };
        let begun = AuditEntry {
            number: count,
            at: self.now,
            by: By::system(),
            org: None,
            action: Action::LogBegun,
            object: Object::store(),
            changes: vec![change(THROUGH, None, Some(through.to_string()))],
            revisions: Vec::new(),
        };
        self.add_entry(partition, head, begun)
    }

    fn add_entry(
        &mut self,
        partition: Partition,
        head: Head,
        entry: AuditEntry,
    ) -> Result<Head, StoreError> {
        let sealer = self.tables.sealer();
        let (sealed, after) = link(&sealer, partition, head, &entry)?;
        self.tables.add_entry(partition, sealed)?;
        self.put_paper(partition, &PaperId::Head, &after)?;
        self.logged = Some(AuditId {
            partition,
            number: entry.number,
        });
        Ok(after)
    }

    /// What a request with this `Idempotency-Key` made before, and its secret.
    fn answered(
        &mut self,
        partition: Partition,
    ) -> Result<Option<([u8; 16], Option<Secret>)>, StoreError> {
        let Some(once) = &self.by.once else {
            return Ok(None);
        };
        let found = self.paper::<Answer>(partition, &PaperId::Answer(once.id))?;
        let Some(answer) = found.filter(|answer| answer.expires_at > self.now) else {
            return Ok(None);
        };
        if answer.request != once.request {
            return Err(Refusal::OnceReused.into());
        }
        let secret = match answer.secret.as_slice() {
            [] => None,
            sealed => sealed_secret::open(&once.seal, sealed)
                .and_then(|text| Secret::import(Zeroizing::new(text)).ok()),
        };
        self.logged = Some(AuditId {
            partition,
            number: answer.entry,
        });
        Ok(Some((answer.id, secret)))
    }

    fn answer(
        &mut self,
        partition: Partition,
        id: [u8; 16],
        secret: Option<&Secret>,
    ) -> Result<(), StoreError> {
        let Some(once) = &self.by.once else {
            return Ok(());
        };
        let sealed = match secret {
            Some(secret) => sealed_secret::seal(&once.seal, secret.expose())?,
            None => Vec::new(),
        };
        let answer = Answer {
            request: once.request,
            id,
            secret: sealed,
            entry: self.logged.map_or(0, |logged| logged.number),
            expires_at: Timestamp(self.now.0.saturating_add(ANSWERED_AGAIN_MS)),
        };
        self.put_paper(partition, &PaperId::Answer(once.id), &answer)
    }

    fn paper<P: serde::de::DeserializeOwned>(
        &mut self,
        partition: Partition,
        id: &PaperId,
    ) -> Result<Option<P>, StoreError> {
        let sealer = self.tables.sealer();
        let sealed = self.tables.paper(partition, id)?;
        Ok(sealed.and_then(|sealed| papers::open(&sealer, &id.bytes(), &sealed)))
    }

    fn put_paper<P: serde::Serialize>(
        &mut self,
        partition: Partition,
        id: &PaperId,
        paper: &P,
    ) -> Result<(), StoreError> {
        let sealed = papers::seal(&self.tables.sealer(), &id.bytes(), paper);
        self.tables.put_paper(partition, id, Some(sealed))
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

    /// A user who can sign in.
    fn person(&mut self, id: UserId) -> Result<User, StoreError> {
        let user = self.user(id)?;
        if user.kind == UserKind::ServiceAccount {
            return Err(Refusal::NoPerson.into());
        }
        if user.disabled || self.org(user.org)?.disabled {
            return Err(Refusal::SignInFailed.into());
        }
        Ok(user)
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
