//! Secrets and fingerprints: the only file that sees a secret's characters. It neither stores nor sends them.

use std::fmt;
use std::fmt::Write as _;
use std::sync::OnceLock;

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::KeyKind;
use super::rules;

/// The longest secret that is looked at, in bytes; also the longest that can be imported.
pub const SECRET_BYTES_MAX: usize = 128;

/// A key's plain characters: made or imported here, shown once, wiped when dropped. Deliberately neither `Clone` nor
/// `Display` nor `Serialize`; [`Secret::expose`] is the one way out, and easy to search for.
pub struct Secret(Zeroizing<String>);

/// Why bytes cannot be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotASecret;

impl Secret {
    /// A new secret of the kind's form, from the system's generator.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate(kind: KeyKind) -> Result<Self, getrandom::Error> {
        let form = rules::of(kind).secret;
        let mut bytes = Zeroizing::new([0_u8; 32]);
        let random = bytes.get_mut(..form.hex_digits / 2).unwrap_or_default();
        getrandom::fill(random)?;
        let mut text = Zeroizing::new(String::with_capacity(form.prefix.len() + form.hex_digits));
        text.push_str(form.prefix);
        push_hex(&mut text, random);
        Ok(Self(text))
    }

    /// A secret issued elsewhere: 1 to 128 visible ASCII characters.
    ///
    /// # Errors
    /// [`NotASecret`] for anything else.
    pub fn import(text: Zeroizing<String>) -> Result<Self, NotASecret> {
        if is_secret(text.as_bytes()) {
            Ok(Self(text))
        } else {
            Err(NotASecret)
        }
    }

    /// The plain characters.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, or four stars where four would give away too much of a short secret.
    pub fn last4(&self) -> &str {
        let cut = self.0.len().saturating_sub(4);
        if self.0.len() < 12 {
            "****"
        } else {
            self.0.get(cut..).unwrap_or("****")
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Whether these bytes could be a secret at all. Issued ones are hex; imported ones may be any visible ASCII, so that
/// the alphabet gives away nothing (WIRE 7, trap 57).
pub fn is_secret(bytes: &[u8]) -> bool {
    (1..=SECRET_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// The keyed hash that a secret is stored and looked up by: 16 bytes, which tell nothing of the secret to whoever
/// lacks the root key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// From its stored form.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its stored form.
    pub const fn bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(..)")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let mut text = String::with_capacity(32);
        push_hex(&mut text, &self.0);
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 16]>::deserialize(deserializer).map(Self);
        }
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let mut bytes = [0_u8; 16];
        read_hex(&text, &mut bytes)
            .map_err(|_| serde::de::Error::custom("a fingerprint is 32 hex digits"))?;
        Ok(Self(bytes))
    }
}

/// The one key of an installation, under which a store's own keys are wrapped ([`super::keyring`]). Never in a store:
/// whoever reads or writes the store without it can neither test a guessed secret nor mint a record.
pub struct RootKey(Zeroizing<[u8; 32]>);

impl RootKey {
    /// A new one, from the system's generator.
    ///
    /// # Errors
    /// When the system's generator fails.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        getrandom::fill(bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// From its written form, 64 hex digits.
    ///
    /// # Errors
    /// [`NotASecret`] for anything else.
    pub fn from_hex(text: &str) -> Result<Self, NotASecret> {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        read_hex(text, bytes.as_mut_slice())?;
        Ok(Self(bytes))
    }

    /// Its written form, 64 hex digits.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        push_hex(&mut text, self.0.as_slice());
        text
    }

    /// A value that tells two root keys apart and gives away neither; a store keeps it, so that it can refuse the wrong
    /// key instead of calling every secret unknown.
    pub fn check_value(&self) -> [u8; 8] {
        self.derive::<8>(b"keygate root key check v1")
    }

    /// The key that a store's own keys are wrapped under.
    pub(super) fn wrapping_key(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.derive::<32>(b"keygate keyring wrap v1"))
    }

    fn derive<const N: usize>(&self, purpose: &[u8]) -> [u8; N] {
        let mut bytes = [0_u8; N];
        let kdf = Hkdf::<Sha256>::new(None, self.0.as_slice());
        // The only error is an output longer than 255 hashes, which the lengths used here cannot reach.
        if kdf.expand(purpose, &mut bytes).is_err() {
            unreachable!("a derived key is at most 64 bytes");
        }
        bytes
    }
}

impl PartialEq for RootKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// Turns secrets into fingerprints: SHA-256 over a 64-byte key and the secret, cut to 16 bytes.
///
/// The key fills exactly one block, so its state is computed once and a fingerprint costs one compression. HMAC would
/// cost two to four: its outer hash guards against extension of a known output, which the cut already prevents.
#[derive(Clone)]
pub struct Fingerprinter {
    keyed: Sha256,
}

impl Fingerprinter {
    /// The fingerprint of a secret's bytes.
    pub fn fingerprint(&self, secret: &[u8]) -> Fingerprint {
        let mut hash = self.keyed.clone();
        hash.update(secret);
        let mut short = [0_u8; 16];
        for (short, byte) in short.iter_mut().zip(hash.finalize()) {
            *short = byte;
        }
        Fingerprint(short)
    }
}

impl Fingerprinter {
    /// Keyed with one whole block.
    pub(super) fn new(key: &[u8; 64]) -> Self {
        let mut keyed = Sha256::new();
        keyed.update(key);
        Self { keyed }
    }
}

impl fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprinter(..)")
    }
}

/// The fingerprint function of a store that may not have been reached yet. Until it is known the key table is not loaded
/// either, and no credential is judged.
pub struct LateFingerprinter {
    known: OnceLock<Fingerprinter>,
    stand_in: Fingerprinter,
}

impl LateFingerprinter {
    /// Not known yet.
    pub fn unknown() -> Self {
        Self {
            known: OnceLock::new(),
            stand_in: Fingerprinter::new(&[0; 64]),
        }
    }

    /// Makes it known. Only the first call counts: a store never changes its function.
    pub fn learn(&self, fingerprinter: Fingerprinter) {
        let _ = self.known.set(fingerprinter);
    }

    /// The function; one that no key was made with while it is not known.
    pub fn get(&self) -> &Fingerprinter {
        self.known.get().unwrap_or(&self.stand_in)
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
}

fn read_hex(text: &str, bytes: &mut [u8]) -> Result<(), NotASecret> {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 {
        return Err(NotASecret);
    }
    let value = |digit: u8| {
        (digit as char)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = match pair {
            [high, low] => value(*high)
                .zip(value(*low))
                .map(|(high, low)| high << 4 | low)
                .ok_or(NotASecret)?,
            _ => return Err(NotASecret),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> RootKey {
        RootKey::from_hex(&"5a".repeat(32)).unwrap()
    }

    #[test]
    fn generated_secrets_have_the_form_of_their_kind() {
        for (kind, prefix, length) in [
            (KeyKind::ApiKey, "", 32),
            (KeyKind::ApplicationKey, "", 40),
            (KeyKind::ClientToken, "pub", 35),
        ] {
            let secret = Secret::generate(kind).unwrap();
            assert_eq!(secret.expose().len(), length, "{kind:?}");
            let hex = secret.expose().strip_prefix(prefix).unwrap();
            assert!(
                hex.bytes()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
                "{kind:?}"
            );
            assert!(secret.expose().ends_with(secret.last4()));
        }
    }

    #[test]
    fn only_visible_ascii_of_1_to_128_bytes_is_a_secret() {
        let import = |text: &str| Secret::import(Zeroizing::new(text.to_owned()));
        for good in ["a", "0123456789abcdef", &"x".repeat(128), "sk_live-~!"] {
            assert!(import(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "a b", "a\n", "a\0", "é", &"x".repeat(129)] {
            assert!(import(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_short_imported_secret_is_not_given_away_by_its_last_four() {
        assert_eq!(
            Secret::import(Zeroizing::new("hunter2".into()))
                .unwrap()
                .last4(),
            "****"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = Secret::import(Zeroizing::new("0123456789abcdef".into())).unwrap();
        let shown = format!("{secret:?} {:?} {:?}", root(), Fingerprinter::new(&[1; 64]));
        assert_eq!(shown, "Secret(..) RootKey(..) Fingerprinter(..)");
    }

    #[test]
    fn fingerprints_depend_on_the_key_and_on_every_character() {
        let ours = Fingerprinter::new(&[1; 64]);
        let theirs = Fingerprinter::new(&[2; 64]);
        assert_eq!(ours.fingerprint(b"secret"), ours.fingerprint(b"secret"));
        assert_ne!(ours.fingerprint(b"secret"), ours.fingerprint(b"secreT"));
        assert_ne!(ours.fingerprint(b"secret"), theirs.fingerprint(b"secret"));
        assert_ne!(
            root().check_value(),
            RootKey::from_hex(&"5b".repeat(32)).unwrap().check_value()
        );
    }

    #[test]
    fn a_root_key_survives_being_written_and_read() {
        let key = RootKey::generate().unwrap();
        assert_eq!(RootKey::from_hex(&key.to_hex()).unwrap(), key);
        assert!(RootKey::from_hex("short").is_err());
        assert!(RootKey::from_hex(&"zz".repeat(32)).is_err());
    }
}
