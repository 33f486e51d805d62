//! Passwords: what one may be, and how it is kept and compared (argon2id, OWASP's parameters of 2025: 19 MiB, two passes).
//! Both cost a processor for a while and memory; only a few are worked on at a time.

use std::sync::LazyLock;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::control::{SecretText, ServiceError};
use crate::keys::rules::Refusal;

/// The fewest characters.
pub const CHARS_MIN: usize = 12;

/// The most bytes: hashing a longer one is work for nothing.
pub const BYTES_MAX: usize = 1024;

/// How many are worked on at a time.
const AT_ONCE: usize = 2;

/// How many wait for their turn at most. Each of them holds one of the listener's places, and whoever calls the API needs one.
const WAITING_MAX: usize = 16;

/// How long one waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What a password is compared with when there is no such user, so that it takes as long.
static NOBODYS: LazyLock<Option<String>> = LazyLock::new(|| {
    let mut random = [0; 32];
    getrandom::fill(&mut random).ok()?;
    hash(&random)
});

/// Where passwords wait for their turn.
pub struct Passwords {
    places: Semaphore,
    turns: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            places: Semaphore::new(AT_ONCE + WAITING_MAX),
            turns: Semaphore::new(AT_ONCE),
        }
    }
}

impl Passwords {
    /// What a new password is kept as.
    ///
    /// # Errors
    /// When it is too short or too long, or too many wait.
    pub async fn hash(&self, password: SecretText) -> Result<String, ServiceError> {
        let text = password.expose();
        if text.chars().count() < CHARS_MIN {
            return Err(Refusal::PasswordTooShort { least: CHARS_MIN }.into());
        }
        if text.len() > BYTES_MAX {
            return Err(Refusal::PasswordTooLong { most: BYTES_MAX }.into());
        }
        let hashed = self
            .in_turn(move || hash(password.expose().as_bytes()))
            .await?;
        hashed.ok_or(ServiceError::Unknown)
    }

    /// Whether it is the password that is kept as this. Without one it is not, after the same work.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn is(
        &self,
        password: SecretText,
        kept: Option<String>,
    ) -> Result<bool, ServiceError> {
        if password.expose().len() > BYTES_MAX {
            return Ok(false);
        }
        self.in_turn(move || {
            let is_known = kept.is_some();
            let Some(kept) = kept.or_else(|| NOBODYS.clone()) else {
                return false;
            };
            let Ok(kept) = PasswordHash::new(&kept) else {
                return false;
            };
            let compared = Argon2::default().verify_password(password.expose().as_bytes(), &kept);
            compared.is_ok() && is_known
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ServiceError> {
        let seconds = WAIT_MAX.as_secs();
        let too_many = Refusal::TooManyAttempts { seconds };
        let Ok(_place) = self.places.try_acquire() else {
            return Err(too_many.into());
        };
        let Ok(Ok(_turn)) = tokio::time::timeout(WAIT_MAX, self.turns.acquire()).await else {
            return Err(too_many.into());
        };
        spawn_blocking(work)
            .await
            .map_err(|_| ServiceError::Unknown)
    }
}

fn hash(password: &[u8]) -> Option<String> {
    let hashed: Result<PasswordHash, _> = Argon2::default().hash_password(password);
    hashed.ok().map(|hash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(password: &str) -> SecretText {
        SecretText::new(password.to_owned().into())
    }

    #[tokio::test]
    async fn a_password_is_kept_as_argon2id_and_known_again() {
        let passwords = Passwords::default();
        let kept = passwords.hash(text("correct horse")).await.unwrap();
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        assert_ne!(kept, passwords.hash(text("correct horse")).await.unwrap());
        assert!(
            passwords
                .is(text("correct horse"), Some(kept.clone()))
                .await
                .unwrap()
        );
        assert!(
            !passwords
                .is(text("correct horsf"), Some(kept))
                .await
                .unwrap()
        );
        assert!(!passwords.is(text("correct horse"), None).await.unwrap());
        // What nobody's password is compared with costs what a real one costs.
        assert!(
            NOBODYS
                .as_ref()
                .unwrap()
                .starts_with("$argon2id$v=19$m=19456,t=2,p=1$")
        );
    }

    #[tokio::test]
    async fn a_password_is_neither_short_nor_endless() {
        let passwords = Passwords::default();
        assert!(passwords.hash(text("elevenchars")).await.is_err());
        assert!(passwords.hash(text("éééééééééééé")).await.is_ok());
        assert!(
            passwords
                .hash(text(&"x".repeat(BYTES_MAX + 1)))
                .await
                .is_err()
        );
    }
}
