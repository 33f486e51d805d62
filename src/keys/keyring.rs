//! A store's own keys: one for fingerprints, one for the codes that prove a record is ours. They are random, made with
//! the store, and kept in it wrapped under the root key, so that a new root key costs one small write and no downtime:
//! what is derived from secrets, and cannot be derived again without them, does not depend on it.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{Key as WrappingKey, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::secret::{Fingerprinter, RootKey};

const FINGERPRINT_KEY: usize = 64;
const SEALER_KEY: usize = 32;
const NONCE: usize = 24;

/// The bytes of a [`Sealer`]'s code.
pub const CODE_BYTES: usize = 16;

/// The keys of one store.
#[derive(Clone)]
pub struct Keyring {
    keys: Zeroizing<[u8; FINGERPRINT_KEY + SEALER_KEY]>,
}

/// Wrapped keys that this root key does not open: they were wrapped under another one, or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;

impl Keyring {
    /// New ones, from the system's generator.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut keys = Zeroizing::new([0; FINGERPRINT_KEY + SEALER_KEY]);
        getrandom::fill(keys.as_mut_slice())?;
        Ok(Self { keys })
    }

    /// Wrapped under a root key: a nonce, then XChaCha20-Poly1305's output.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn wrap(&self, root_key: &RootKey) -> Result<Vec<u8>, getrandom::Error> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce)?;
        let sealed = cipher(root_key).encrypt(&XNonce::from(nonce), self.keys.as_slice());
        let mut wrapped = nonce.to_vec();
        // The only error is a text too long for the cipher, and this one has 96 bytes.
        wrapped.extend(sealed.unwrap_or_default());
        Ok(wrapped)
    }

    /// From their wrapped form.
    ///
    /// # Errors
    /// [`NotOurs`].
    pub fn unwrap(root_key: &RootKey, wrapped: &[u8]) -> Result<Self, NotOurs> {
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE>().ok_or(NotOurs)?;
        let opened = cipher(root_key)
            .decrypt(&XNonce::from(*nonce), sealed)
            .map(Zeroizing::new)
            .map_err(|_| NotOurs)?;
        let mut keys = Zeroizing::new([0; FINGERPRINT_KEY + SEALER_KEY]);
        if opened.len() != keys.len() {
            return Err(NotOurs);
        }
        keys.copy_from_slice(&opened);
        Ok(Self { keys })
    }

    /// The fingerprint function of this store.
    pub fn fingerprinter(&self) -> Fingerprinter {
        let mut key = Zeroizing::new([0; FINGERPRINT_KEY]);
        for (to, from) in key.iter_mut().zip(self.keys.iter()) {
            *to = *from;
        }
        Fingerprinter::new(&key)
    }

    /// What proves this store's records.
    pub fn sealer(&self) -> Sealer {
        let key = self.keys.get(FINGERPRINT_KEY..).unwrap_or_default();
        match <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) {
            Ok(keyed) => Sealer { keyed },
            Err(_) => unreachable!("HMAC takes a key of any length"),
        }
    }
}

fn cipher(root_key: &RootKey) -> XChaCha20Poly1305 {
    let key = root_key.wrapping_key();
    XChaCha20Poly1305::new(&WrappingKey::from(*key))
}

impl PartialEq for Keyring {
    fn eq(&self, other: &Self) -> bool {
        self.keys.as_slice().ct_eq(other.keys.as_slice()).into()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

/// Makes and checks the codes of records: HMAC-SHA-256, cut to 16 bytes.
#[derive(Clone)]
pub struct Sealer {
    keyed: Hmac<Sha256>,
}

impl Sealer {
    /// The code of these bytes.
    pub fn code(&self, bytes: &[u8]) -> [u8; CODE_BYTES] {
        let mut mac = self.keyed.clone();
        mac.update(bytes);
        let mut short = [0; CODE_BYTES];
        for (short, byte) in short.iter_mut().zip(mac.finalize().into_bytes()) {
            *short = byte;
        }
        short
    }

    /// Whether this is the code of these bytes, in constant time.
    pub fn is_code(&self, bytes: &[u8], code: &[u8]) -> bool {
        self.code(bytes).as_slice().ct_eq(code).into()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(byte: &str) -> RootKey {
        RootKey::from_hex(&byte.repeat(32)).unwrap()
    }

    #[test]
    fn a_keyring_opens_under_every_root_key_it_was_wrapped_for_and_under_no_other() {
        let keyring = Keyring::generate().unwrap();
        for key in [root("5a"), root("5b")] {
            let wrapped = keyring.wrap(&key).unwrap();
            assert_eq!(
                Keyring::unwrap(&key, &wrapped),
                Ok(Keyring {
                    keys: keyring.keys.clone()
                })
            );
            assert_eq!(Keyring::unwrap(&root("5c"), &wrapped), Err(NotOurs));
        }
    }

    #[test]
    fn wrapped_keys_show_nothing_and_a_changed_bit_is_seen() {
        let keyring = Keyring::generate().unwrap();
        let wrapped = keyring.wrap(&root("5a")).unwrap();
        assert!(!wrapped.windows(16).any(|part| part == &keyring.keys[..16]));
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert_eq!(Keyring::unwrap(&root("5a"), &changed), Err(NotOurs));
            assert_eq!(Keyring::unwrap(&root("5a"), &wrapped[..at]), Err(NotOurs));
        }
        assert_eq!(
            format!("{keyring:?} {:?}", keyring.sealer()),
            "Keyring(..) Sealer(..)"
        );
    }

    #[test]
    fn a_code_is_of_its_bytes_and_its_key_alone() {
        let (ours, theirs) = (Keyring::generate().unwrap(), Keyring::generate().unwrap());
        let code = ours.sealer().code(b"record");
        assert!(ours.sealer().is_code(b"record", &code));
        assert!(!ours.sealer().is_code(b"recorD", &code));
        assert!(!ours.sealer().is_code(b"record", &code[..15]));
        assert!(!theirs.sealer().is_code(b"record", &code));
    }
}
