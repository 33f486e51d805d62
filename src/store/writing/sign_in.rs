//! How people get in: links, passwords and sessions. Nothing here is a record, and no request through the proxy depends on it.

use super::{Writing, change};
use crate::keys::audit::{Action, Object};
use crate::keys::rules::Refusal;
use crate::keys::{Partition, Timestamp, User, UserId};
use crate::store::StoreError;
use crate::store::ledger::time_text;
use crate::store::papers::{self, AsOf, Link, PaperId, Password, Session};
use crate::store::tables::Tables;

impl<T: Tables> Writing<'_, T> {
    pub(in crate::store) fn make_link(
        &mut self,
        hash: [u8; 32],
        link: &Link,
    ) -> Result<User, StoreError> {
        let user = self.person(link.user)?;
        let paper = PaperId::Link(hash);
        self.put_paper(user.id.partition(), &paper, link)?;
        let until = time_text(link.expires_at);
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
    pub(in crate::store) fn use_link(
        &mut self,
        partition: Partition,
        hash: [u8; 32],
        password: &str,
    ) -> Result<User, StoreError> {
        let id = PaperId::Link(hash);
        let link: Link = self.paper(partition, &id)?.ok_or(Refusal::LinkSpent)?;
        let user = self.person(link.user)?;
        if link.expires_at <= self.now || user.is_over(link.made_at) {
            return Err(Refusal::LinkSpent.into());
        }
        self.tables.put_paper(partition, &id, None)?;
        self.set_password(user.id, password)
    }

    pub(in crate::store) fn set_password(
        &mut self,
        id: UserId,
        hash: &str,
    ) -> Result<User, StoreError> {
        let mut user = self.person(id)?;
        // Later than the last one, whatever the clocks of two nodes say.
        let after = user.password_set_at.map(|at| at.0.saturating_add(1));
        let set_at = Timestamp(after.map_or(self.now.0, |after| after.max(self.now.0)));
        let password = Password {
            hash: hash.to_owned(),
            set_at,
        };
        user.password_set_at = Some(set_at);
        self.put_user(&mut user)?;
        self.put_paper(id.partition(), &PaperId::Password(id), &password)?;
        self.log(
            Some(user.org),
            Action::PasswordSet,
            Object::user(&user),
            Vec::new(),
        )?;
        Ok(user)
    }

    pub(in crate::store) fn open_session(
        &mut self,
        hash: [u8; 32],
        session: &Session,
    ) -> Result<User, StoreError> {
        let user = self.person(session.user)?;
        // Somebody has set another password, or disabled the user, since it was looked who it is.
        if session.as_of != AsOf::of(&user) {
            return Err(Refusal::SignInFailed.into());
        }
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
    pub(in crate::store) fn touch_session(
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

    pub(in crate::store) fn end_session(
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
    pub(in crate::store) fn forget(
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
}
