//! A secret in an answer that may be asked for again: sealed with what only the sender of the `Idempotency-Key` has, so that
//! neither the store nor its root key shows it.

use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};

use super::StoreError;

const NONCE: usize = 24;

/// A nonce, then XChaCha20-Poly1305's output.
pub(super) fn seal(key: &[u8; 32], secret: &str) -> Result<Vec<u8>, StoreError> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce)?;
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let sealed = cipher.encrypt(&XNonce::from(nonce), secret.as_bytes());
    // The only error is a text too long for the cipher.
    Ok([&nonce[..], &sealed.unwrap_or_default()].concat())
}

/// The secret; `None` for whoever has another key.
pub(super) fn open(key: &[u8; 32], sealed: &[u8]) -> Option<String> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
    let cipher = XChaCha20Poly1305::new(&Key::from(*key));
    let opened = cipher.decrypt(&XNonce::from(*nonce), sealed).ok()?;
    String::from_utf8(opened).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_opens_it() {
        let sealed = seal(&[7; 32], "0123456789abcdef").unwrap();
        assert_eq!(open(&[7; 32], &sealed).as_deref(), Some("0123456789abcdef"));
        assert_eq!(open(&[8; 32], &sealed), None);
        assert!(!sealed.windows(8).any(|part| part == b"01234567"));
    }
}
