//! What is kept beside the records, for people who sign in: passwords, one-time links, sessions, and answers that can be
//! asked for again. No node holds it in memory, no change tells of it, and no request through the proxy depends on it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::StoreError;
use super::log::LogSource;
use crate::keys::keyring::{CODE_BYTES, Sealer};
use crate::keys::{Partition, Timestamp, User, UserId};

/// The first byte of a sealed paper, which no record and no entry of the log has.
const FORMAT: u8 = 0x50;

/// The longest sealed paper that is read, in bytes.
pub const PAPER_BYTES_MAX: usize = 4 * 1024;

/// How many papers are forgotten in one transaction.
pub(super) const FORGOTTEN_AT_ONCE: usize = 100;

/// The name of a paper within its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaperId {
    /// The head of the partition's audit log.
    Head,
    /// A user's password. The partition is the user's.
    Password(UserId),
    /// A one-time link, by the hash of what is in it.
    Link([u8; 32]),
    /// A session, by the hash of what its cookie holds.
    Session([u8; 32]),
    /// An answer to a request with an `Idempotency-Key`.
    Answer([u8; 32]),
}

impl PaperId {
    /// The bytes it is kept under.
    pub fn bytes(&self) -> Vec<u8> {
        let (kind, id): (u8, &[u8]) = match self {
            Self::Head => (b'h', &[]),
            Self::Password(user) => (b'p', user.0.as_bytes()),
            Self::Link(hash) => (b'l', hash),
            Self::Session(hash) => (b's', hash),
            Self::Answer(hash) => (b'a', hash),
        };
        [&[kind], id].concat()
    }
}

impl PaperId {
    /// From the bytes it is kept under; `None` when they are none of ours.
    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        match kind {
            b'h' if id.is_empty() => Some(Self::Head),
            b'p' => Some(Self::Password(UserId(Uuid::from_slice(id).ok()?))),
            b'l' => Some(Self::Link(id.try_into().ok()?)),
            b's' => Some(Self::Session(id.try_into().ok()?)),
            b'a' => Some(Self::Answer(id.try_into().ok()?)),
            _ => None,
        }
    }

    /// Whether it is forgotten one day.
    pub(super) const fn is_forgotten(&self) -> bool {
        match self {
            Self::Head | Self::Password(_) => false,
            Self::Link(_) | Self::Session(_) | Self::Answer(_) => true,
        }
    }
}

/// A password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Password {
    /// Its argon2id hash, in the PHC string form.
    pub hash: String,
    /// When it was set. Sessions opened before are over.
    pub set_at: Timestamp,
}

/// A one-time link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Whom it lets in.
    pub user: UserId,
    /// When it was made. One made before the user's password was last set or the user was last disabled is spent.
    pub made_at: Timestamp,
    /// From then on it is spent.
    pub expires_at: Timestamp,
}

/// How somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SignInBy {
    /// With a password.
    Password,
    /// With a one-time link, which also set the password.
    Link,
    /// By the word of an OpenID provider.
    Oidc,
}

impl SignInBy {
    /// The word in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Link => "one-time link",
            Self::Oidc => "openid connect",
        }
    }
}

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub user: UserId,
    /// How it was opened.
    pub by: SignInBy,
    /// When.
    pub opened_at: Timestamp,
    /// When it was last seen in use, up to a few minutes ago.
    pub seen_at: Timestamp,
    /// From then on it is over.
    pub expires_at: Timestamp,
    /// As what it was opened.
    pub as_of: AsOf,
}

/// What a session depends on, as it was when somebody proved who they are. It is over when any of it is otherwise: that is
/// compared for being the same and not by time, since the clocks of nodes differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// When the password had been set.
    pub password_set_at: Option<Timestamp>,
    /// When the user had been disabled last.
    pub disabled_at: Option<Timestamp>,
}

impl AsOf {
    /// As the user's record says.
    pub const fn of(user: &User) -> Self {
        Self {
            password_set_at: user.password_set_at,
            disabled_at: user.application_keys_revoked_at,
        }
    }
}

/// What a create with an `Idempotency-Key` made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// A hash of what was asked for.
    pub(super) request: [u8; 32],
    /// The id of what was made.
    pub(super) id: [u8; 16],
    /// Its secret, sealed with what only the sender of the `Idempotency-Key` has.
    pub(super) secret: Vec<u8>,
    /// The entry of the audit log.
    pub(super) entry: u64,
    /// From then on it is forgotten.
    pub(super) expires_at: Timestamp,
}

/// A paper of a home.
pub(super) fn read<T: DeserializeOwned>(
    home: &dyn LogSource,
    partition: Partition,
    id: &PaperId,
) -> Result<Option<T>, StoreError> {
    let sealed = home.paper(partition, id)?;
    Ok(sealed.and_then(|sealed| open(&home.sealer(), &id.bytes(), &sealed)))
}

/// When a paper is forgotten; `None` is never.
pub(super) fn expiry(sealer: &Sealer, id: &[u8], sealed: &[u8]) -> Option<Timestamp> {
    match id.first() {
        Some(b'l') => open::<Link>(sealer, id, sealed).map(|it| it.expires_at),
        Some(b's') => open::<Session>(sealer, id, sealed).map(|it| it.expires_at),
        Some(b'a') => open::<Answer>(sealer, id, sealed).map(|it| it.expires_at),
        _ => None,
    }
}

/// The sealed form: a format, the content, and a code over both and the id, so that no paper stands for another.
pub(super) fn seal<T: Serialize>(sealer: &Sealer, id: &[u8], paper: &T) -> Vec<u8> {
    let mut sealed = vec![FORMAT];
    sealed.extend(postcard::to_allocvec(paper).unwrap_or_default());
    let code = sealer.code(&covered(id, &sealed));
    sealed.extend(code);
    sealed
}

/// The paper in its sealed form; `None` when it is none of ours, which is as if it were not there.
pub(super) fn open<T: DeserializeOwned>(sealer: &Sealer, id: &[u8], sealed: &[u8]) -> Option<T> {
    let (body, code) = sealed
        .split_last_chunk::<CODE_BYTES>()
        .filter(|_| sealed.len() <= PAPER_BYTES_MAX)?;
    if !sealer.is_code(&covered(id, body), code) || body.first() != Some(&FORMAT) {
        return None;
    }
    postcard::from_bytes(body.get(1..)?).ok()
}

/// Whether a paper is one of this store, kept under this id.
pub(super) fn is_ours(sealer: &Sealer, id: &[u8], sealed: &[u8]) -> bool {
    let parts = sealed.split_last_chunk::<CODE_BYTES>();
    parts.is_some_and(|(body, code)| {
        sealed.len() <= PAPER_BYTES_MAX
            && PaperId::of_bytes(id).is_some()
            && sealer.is_code(&covered(id, body), code)
    })
}

fn covered(id: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
    [&[FORMAT, length], id, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keyring::Keyring;
    use crate::keys::samples;

    #[test]
    fn no_paper_stands_for_another() {
        let sealer = Keyring::generate().unwrap().sealer();
        let org = samples::org("acme");
        let [ann, bob] = [samples::user(&org, "ann").id, samples::user(&org, "bob").id];
        let password = Password {
            hash: "$argon2id$".to_owned(),
            set_at: Timestamp(1),
        };
        let id = PaperId::Password(ann).bytes();
        let sealed = seal(&sealer, &id, &password);
        assert!(open::<Password>(&sealer, &id, &sealed) == Some(password));
        let other = PaperId::Password(bob).bytes();
        assert!(open::<Password>(&sealer, &other, &sealed).is_none());
        let mut changed = sealed;
        changed[3] ^= 1;
        assert!(open::<Password>(&sealer, &id, &changed).is_none());
    }
}
