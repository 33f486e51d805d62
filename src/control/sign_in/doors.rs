//! The ways in: by password, by a one-time link, by the word of a provider; and a password changed by who knows the old one.
//! Each opens a session. How the pages ask for it is theirs.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::attempts::Attempts;
use super::passwords::Passwords;
use super::{Token, now, sessions};
use crate::config::Control;
use crate::control::{SecretText, ServiceError};
use crate::keys::audit::By;
use crate::keys::rules::Refusal;
use crate::keys::{Actor, User, UserId, UserKind};
use crate::store::papers::{AsOf, SignInBy};
use crate::store::{Store, StoreError};

/// The longest name of a user or an org that is looked for, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// What the ways in share.
pub struct Doors {
    /// How often is tried.
    pub attempts: Attempts,
    /// Passwords being worked on.
    pub passwords: Passwords,
    store: Arc<Store>,
    config: Control,
}

/// What somebody signs in with.
pub struct Credentials {
    /// Their login name.
    pub handle: String,
    /// Their org. Only who is in several with the same login name needs to say it.
    pub org: Option<String>,
    /// Their password.
    pub password: SecretText,
}

impl Doors {
    /// Into this store.
    pub fn new(store: Arc<Store>, config: Control) -> Self {
        Self {
            attempts: Attempts::new(config.sign_in_attempts),
            passwords: Passwords::default(),
            store,
            config,
        }
    }

    /// By login name and password.
    ///
    /// # Errors
    /// [`Refusal::SignInFailed`], whatever is wrong: nobody is told which, nor by how long it takes.
    pub async fn by_password(&self, with: Credentials, by: By) -> Result<Token, ServiceError> {
        let Credentials {
            handle,
            org,
            password,
        } = with;
        let handle = handle.trim().to_owned();
        self.attempts.as_user(&handle, by.address)?;
        let found = self
            .stored(move |store| {
                let user = the_person(store, &handle, org.as_deref())?;
                // Where there is none, what is looked for is not there either.
                let id = user
                    .as_ref()
                    .map_or(UserId(uuid::Uuid::nil()), |user| user.id);
                let kept = store.password(id)?;
                Ok((user, kept))
            })
            .await?;
        let (user, kept) = found;
        let as_of = user.as_ref().map(|user| (user.id, AsOf::of(user)));
        let is_it = self
            .passwords
            .is(password, kept.map(|kept| kept.hash))
            .await?;
        match as_of {
            Some(user) if is_it => self.open(user, SignInBy::Password, by).await,
            _ => Err(Refusal::SignInFailed.into()),
        }
    }

    /// Whom a one-time link lets in, as long as it does.
    ///
    /// # Errors
    /// [`Refusal::LinkSpent`].
    pub async fn whom_link_lets_in(&self, token: &str) -> Result<User, ServiceError> {
        let token = Token::parse(token).ok_or(Refusal::LinkSpent)?;
        self.stored(move |store| link_user(store, &token)).await
    }

    /// By a one-time link, which sets the password.
    ///
    /// # Errors
    /// [`Refusal::LinkSpent`], or when the password is none.
    pub async fn by_link(
        &self,
        token: &str,
        password: SecretText,
        by: By,
    ) -> Result<Token, ServiceError> {
        self.attempts.from_address(by.address)?;
        // Looked at before the password is worked on: who has no link causes no work.
        let user = self.whom_link_lets_in(token).await?;
        let token = Token::parse(token).ok_or(Refusal::LinkSpent)?;
        let hash = self.passwords.hash(password).await?;
        let by = By {
            actor: Actor::User(user.id),
            ..by
        };
        let writer = by.clone();
        let user = self
            .stored(move |store| {
                let done = store.use_link(token.partition, token.hash, &hash, &writer)?;
                Ok((done.value.id, AsOf::of(&done.value)))
            })
            .await?;
        self.open(user, SignInBy::Link, by).await
    }

    /// Changes a password. All sessions of the user end, and a new one is opened.
    ///
    /// # Errors
    /// [`Refusal::SignInFailed`] when the old one is wrong, or when the new one is none.
    pub async fn change_password(
        &self,
        user: UserId,
        (old, new): (SecretText, SecretText),
        by: By,
    ) -> Result<Token, ServiceError> {
        self.attempts.as_user(&user.to_string(), by.address)?;
        let kept = self.stored(move |store| Ok(store.password(user)?)).await?;
        let kept = kept.map(|password| password.hash);
        if !self.passwords.is(old, kept).await? {
            return Err(Refusal::OldPasswordWrong.into());
        }
        let hash = self.passwords.hash(new).await?;
        let writer = by.clone();
        let user = self
            .stored(move |store| {
                let done = store.set_password(user, &hash, &writer)?;
                Ok((done.value.id, AsOf::of(&done.value)))
            })
            .await?;
        self.open(user, SignInBy::Password, by).await
    }

    /// By the word of a provider that somebody has this login name in the org that it vouches for.
    ///
    /// # Errors
    /// [`Refusal::ProviderUserUnknown`] when there is no such person.
    pub async fn by_word(&self, handle: String, by: By) -> Result<Token, ServiceError> {
        let org = self.config.oidc.org.clone();
        let user = self
            .stored(move |store| {
                let user = the_person(store, &handle, Some(&org))?;
                let user = user.ok_or(Refusal::ProviderUserUnknown)?;
                Ok((user.id, AsOf::of(&user)))
            })
            .await?;
        self.open(user, SignInBy::Oidc, by).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn leave(&self, token: Token, by: By) -> Result<(), ServiceError> {
        self.stored(move |store| {
            store.end_session(token.partition, token.hash, &by)?;
            Ok(())
        })
        .await
    }

    async fn open(
        &self,
        user: (UserId, AsOf),
        how: SignInBy,
        by: By,
    ) -> Result<Token, ServiceError> {
        let config = self.config.clone();
        let by = By {
            actor: Actor::User(user.0),
            ..by
        };
        self.stored(move |store| sessions::open(store, user, how, &config, &by))
            .await
    }

    async fn stored<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let store = Arc::clone(&self.store);
        let done = spawn_blocking(move || work(&store)).await;
        done.map_err(|_| ServiceError::Unknown)?
    }
}

/// The one person with this login name who may sign in. Who is in several orgs with it must name the org: guessing between
/// them would take more work than for somebody unknown, and tell.
fn the_person(
    store: &Store,
    handle: &str,
    org: Option<&str>,
) -> Result<Option<User>, ServiceError> {
    let org = org.map(str::trim).filter(|name| !name.is_empty());
    if handle.is_empty()
        || handle.len() > NAME_BYTES_MAX
        || org.is_some_and(|name| name.len() > NAME_BYTES_MAX)
    {
        return Ok(None);
    }
    let org = match org {
        Some(name) => match store.org_named(name)? {
            Some(org) => Some(org.id),
            None => return Ok(None),
        },
        None => None,
    };
    let mut found = store.users_named(handle)?;
    found.retain(|user| {
        user.kind == UserKind::Person
            && user.handle == handle
            && org.is_none_or(|org| user.org == org)
    });
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(user), None) => {
            let org = store.org(user.org)?;
            let may = !user.disabled && org.is_some_and(|org| !org.disabled);
            Ok(Some(user).filter(|_| may))
        }
        _ => Ok(None),
    }
}

/// As the transaction that uses it judges it, so that a page is shown for what would work.
fn link_user(store: &Store, token: &Token) -> Result<User, ServiceError> {
    let spent = || ServiceError::from(Refusal::LinkSpent);
    let link = store.link(token.partition, token.hash)?.ok_or_else(spent)?;
    let user = store.user(link.user)?.ok_or_else(spent)?;
    let org = store.org(user.org)?.ok_or_else(spent)?;
    let is_spent = link.expires_at <= now()
        || user.is_over(link.made_at)
        || user.disabled
        || org.disabled
        || user.kind != UserKind::Person;
    if is_spent {
        return Err(spent());
    }
    Ok(user)
}

/// Whether an error is that somebody may not come in, which the page they came from says beside its form.
pub fn refusal_of(error: &ServiceError) -> Option<&Refusal> {
    match error {
        ServiceError::Store(StoreError::Refused(refusal)) => Some(refusal),
        _ => None,
    }
}
