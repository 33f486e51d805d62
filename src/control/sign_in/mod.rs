//! How people sign in: one-time links, passwords and sessions, and what each of them is kept as. What the pages show of it is
//! theirs; who asks for what is not decided here.

pub mod attempts;
pub mod doors;
mod fetch;
pub mod passwords;
pub mod provider;
pub mod sessions;

use std::time::Duration;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::control::{SecretText, ServiceError};
use crate::keys::{Partition, Timestamp, User, UserId};
use crate::store::StoreError;
use crate::store::papers::Link;

/// How long a one-time link opens something.
pub const LINK_LIFETIME: Duration = Duration::from_hours(24);

/// The path before what opens it.
pub const LINK_PATH: &str = "/welcome/";

/// The random bytes of a token, after the one that tells its partition.
const TOKEN_BYTES: usize = 32;

/// A new one-time link.
pub(super) struct SignIn {
    /// The path of the page, with what opens it.
    pub(super) token: SecretText,
    /// What it is kept under.
    pub(super) hash: [u8; 32],
    /// What is kept.
    pub(super) link: Link,
}

impl SignIn {
    pub(super) fn link(user: &User, lifetime: Duration) -> Result<Self, ServiceError> {
        let token = Token::generate(user.id)?;
        let now = now();
        let lifetime = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        Ok(Self {
            token: SecretText::new(format!("{LINK_PATH}{}", token.text.as_str()).into()),
            hash: token.hash,
            link: Link {
                user: user.id,
                made_at: now,
                expires_at: Timestamp(now.0.saturating_add(lifetime)),
            },
        })
    }
}

/// What a link or a session's cookie holds: hexadecimal, and its first byte tells the partition. The store knows its hash.
pub struct Token {
    /// The partition of the user it is for.
    pub partition: Partition,
    /// Its characters.
    pub text: Zeroizing<String>,
    /// What it is kept under.
    pub hash: [u8; 32],
}

impl Token {
    /// A new one for a user.
    ///
    /// # Errors
    /// When the system's random generator fails.
    pub fn generate(user: UserId) -> Result<Self, ServiceError> {
        let mut random = Zeroizing::new([0; TOKEN_BYTES]);
        getrandom::fill(random.as_mut_slice()).map_err(StoreError::from)?;
        let partition = user.partition();
        let text = format!(
            "{:02x}{}",
            partition.index(),
            crate::store::log::hex(random.as_slice())
        );
        Ok(Self::of(partition, text))
    }

    /// From its characters; `None` when they are none.
    pub fn parse(text: &str) -> Option<Self> {
        let wanted = 2 + 2 * TOKEN_BYTES;
        if text.len() != wanted || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let number = usize::from_str_radix(text.get(..2)?, 16).ok()?;
        let partition = Partition::all().nth(number)?;
        Some(Self::of(partition, text.to_ascii_lowercase()))
    }

    /// The same again.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            partition: self.partition,
            text: self.text.clone(),
            hash: self.hash,
        }
    }

    fn of(partition: Partition, text: String) -> Self {
        let text = Zeroizing::new(text);
        Self {
            partition,
            hash: Sha256::digest(text.as_bytes()).into(),
            text,
        }
    }
}

/// The time, for what is kept.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Slot;

    #[test]
    fn a_token_is_found_by_its_characters_and_its_hash_is_not_they() {
        let user = UserId::generate_in(Slot::of_org_name("acme"));
        let token = Token::generate(user).unwrap();
        let parsed = Token::parse(&token.text).unwrap();
        assert_eq!(
            (parsed.partition, parsed.hash),
            (user.partition(), token.hash)
        );
        assert!(Token::parse("").is_none() && Token::parse(&token.text[1..]).is_none());
        assert!(Token::parse(&format!("ff{}", &token.text[2..])).is_none());
    }
}
