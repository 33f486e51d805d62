//! What each operation checks and writes, inside one transaction of whichever home the store has. It neither begins nor
//! commits, and may be run again when another writer was quicker: it changes nothing but the transaction. Every write is
//! logged in the same transaction.

mod answers;
mod keys;
mod log;
mod orgs;
mod restored;
mod sign_in;
mod users;

use crate::keys::audit::{AuditId, By, FieldChange};
use crate::keys::rules::{self, Limits, Refusal};
use crate::keys::secret::Fingerprinter;
use crate::keys::{
    Actor, Deed, Key, KeyId, KeyKind, Labels, Org, OrgId, Partition, Record, Revision, Secret,
    Timestamp, User, UserId, UserKind,
};
use crate::store::papers::{self, PaperId};
use crate::store::tables::{NameSpace, Tables};
use crate::store::{NewKey, NewKeyOf, StoreError};

/// The name of the key that every org and its first user begin with.
const FIRST_KEY_NAME: &str = "default";

/// The field of an entry that says which revisions are older than the log.
pub(in crate::store) const THROUGH: &str = "records_through";

/// What a beginning of a log says of why it begins there.
pub(in crate::store) const REASON: &str = "reason";

/// The reason of a beginning that was expected: records were put back. Any other tells of a loss.
pub(in crate::store) const RESTORED: &str = "restored";

/// The reason of a beginning that nobody asked for: entries, or what says where they end, were gone.
pub(in crate::store) const LOST: &str = "lost";

/// How long an answer can be asked for again by its `Idempotency-Key`, in milliseconds.
const ANSWERED_AGAIN_MS: i64 = 24 * 3_600_000;

/// The operations over one transaction.
pub(in crate::store) struct Writing<'t, T> {
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
pub(in crate::store) struct FirstSecrets {
    pub(in crate::store) api_key: Secret,
    pub(in crate::store) application_key: Secret,
}

impl FirstSecrets {
    pub(in crate::store) fn generate() -> Result<Self, StoreError> {
        Ok(Self {
            api_key: Secret::generate(KeyKind::ApiKey)?,
            application_key: Secret::generate(KeyKind::ApplicationKey)?,
        })
    }
}

/// A key just made; with the secret it was made with, when that was by an earlier request with the same `Idempotency-Key`.
pub(in crate::store) type Made = (Key, Option<Secret>);

impl<'t, T: Tables> Writing<'t, T> {
    pub(in crate::store) fn new(
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

    /// That whoever asks still is who they were when it was decided that they may: neither disabled nor of another role since,
    /// nor their key revoked or other scopes given to it. What has its entry after theirs has not been done.
    ///
    /// # Errors
    /// [`Refusal::SignInFailed`] when they are not.
    pub(in crate::store) fn still_may(&mut self) -> Result<(), StoreError> {
        let (Actor::User(id), Some(judged)) = (self.by.actor, &self.by.judged) else {
            return Ok(());
        };
        let user = self.tables.user(id)?.ok_or(Refusal::SignInFailed)?;
        let mut may = user.role == judged.role && !user.disabled && !self.org(user.org)?.disabled;
        if let Some(key) = self.by.application_key {
            let key = self.tables.key(key)?;
            may &= key.is_some_and(|key| {
                key.revoked.is_none() && !user.has_revoked(&key) && key.scopes == judged.scopes
            });
        }
        if may {
            Ok(())
        } else {
            Err(Refusal::SignInFailed.into())
        }
    }

    /// The entry of the audit log that was written last; `None` when nothing was changed.
    pub(in crate::store) const fn logged(&self) -> Option<AuditId> {
        self.logged
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
        Self::can_be_told(expires_at)
    }

    fn can_be_told(expires_at: Option<Timestamp>) -> Result<(), StoreError> {
        if expires_at.is_some_and(|expires| expires > rules::EXPIRES_MAX) {
            return Err(Refusal::ParameterMalformed {
                name: "expires_at".into(),
                wanted: "a time before the end of the year 9999",
            }
            .into());
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
            // An owner that is lost must not keep a key in force.
            Some(owner) => match self.tables.user(owner) {
                Ok(owner) => owner.is_some_and(|owner| owner.has_revoked(&key)),
                Err(StoreError::Damaged { .. }) => false,
                Err(error) => return Err(error),
            },
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
