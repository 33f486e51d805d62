//! The stored form of a record: compact, and closed by a code that only a holder of the store's keys can make. It covers
//! every field, the revision among them, so that whoever can write to the store can neither make a record nor change one.

use std::fmt;

use sha2::{Digest, Sha256};

use super::StoreError;
use crate::keys::keyring::{CODE_BYTES, Sealer};
use crate::keys::{Record, RecordKind, Revision};

/// The first byte of a sealed record. Another layout of the fields behind it gets another number.
const FORMAT: u8 = 2;

/// The longest sealed record that is read, in bytes. The largest that the rules allow has a few names of 256 characters
/// and lists of scopes, addresses or origins.
pub const SEALED_BYTES_MAX: usize = 256 * 1024;

/// What stands in a change in the place of a sealed record, to make readers compare what they hold with the store: records
/// were put back there without a change for each. Anybody could write it, and it only makes nodes look.
pub const GAP: &[u8] = b"gap";

/// Into how many buckets a partition's records are spread, each with a digest of its own: what has to be read again
/// when two sides differ in one record.
pub const BUCKETS: usize = 64;

/// A record, and the form it is sealed in: how it is carried from one home to another.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The record.
    pub record: Record,
    /// Its sealed form.
    pub sealed: Vec<u8>,
}

/// A record as it lies in a store, not opened.
#[derive(Clone, Copy)]
pub(super) struct Lying<'f> {
    pub(super) kind: RecordKind,
    pub(super) id: [u8; 16],
    pub(super) sealed: &'f [u8],
}

/// Why bytes are not taken for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsealed {
    /// They are no sealed record.
    Malformed,
    /// A version of keygate wrote them that this one does not know.
    UnknownFormat(u8),
    /// Their code is not ours.
    Forged,
}

impl Unsealed {
    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownFormat(_) => "unknown_format",
            Self::Forged => "forged",
        }
    }
}

impl fmt::Display for Unsealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("it is malformed"),
            Self::UnknownFormat(format) => {
                write!(f, "it has format {format} and this version reads {FORMAT}")
            }
            Self::Forged => {
                f.write_str("its code is not of this store: it was changed, or made elsewhere")
            }
        }
    }
}

/// The stored form of a record.
///
/// # Errors
/// When the record is larger than [`SEALED_BYTES_MAX`].
pub fn seal(sealer: &Sealer, record: &Record) -> Result<Vec<u8>, StoreError> {
    let fields = postcard::to_allocvec(record);
    let mut sealed = vec![FORMAT];
    sealed.extend(fields.unwrap_or_default());
    sealed.extend(sealer.code(&sealed));
    if sealed.len() > SEALED_BYTES_MAX {
        return Err(StoreError::Damaged {
            what: record.kind().as_str(),
            why: format!("its record would have {} bytes", sealed.len()),
        });
    }
    Ok(sealed)
}

/// The record in its stored form.
///
/// # Errors
/// [`Unsealed`].
pub fn open(sealer: &Sealer, sealed: &[u8]) -> Result<Record, Unsealed> {
    let (body, code) = sealed
        .split_last_chunk::<CODE_BYTES>()
        .filter(|_| sealed.len() <= SEALED_BYTES_MAX)
        .ok_or(Unsealed::Malformed)?;
    let (format, fields) = body.split_first().ok_or(Unsealed::Malformed)?;
    if *format != FORMAT {
        return Err(Unsealed::UnknownFormat(*format));
    }
    // Before the fields are looked at: nothing that others wrote is parsed.
    if !sealer.is_code(body, code) {
        return Err(Unsealed::Forged);
    }
    postcard::from_bytes(fields).map_err(|_| Unsealed::Malformed)
}

/// The bucket of what has this id.
pub const fn bucket_of(id: [u8; 16]) -> usize {
    id[0] as usize % BUCKETS
}

/// What one record adds to its bucket's digest, by XOR: two sides that hold the same revisions have the same digest. It
/// finds what was lost or came out of order; what somebody changed is found by the record's code.
pub fn term(kind: RecordKind, id: [u8; 16], revision: Revision) -> u64 {
    let mut hash = Sha256::new();
    hash.update([kind.byte()]);
    hash.update(id);
    hash.update(revision.0.to_be_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(hash) {
        *to = from;
    }
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::keyring::Keyring;
    use crate::keys::{KeyKind, samples};

    fn records() -> [Record; 3] {
        let org = samples::org("acme");
        let user = samples::user(&org, "ann@acme.example");
        let mut key = samples::key(KeyKind::ApiKey, &org, None, 7);
        key.allowed_addresses = vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ];
        key.allowed_origins = vec!["https://*.shop.example".parse().unwrap()];
        key.scopes = Some(vec!["metrics_read".into()]);
        [Record::Org(org), Record::User(user), Record::Key(key)]
    }

    #[test]
    fn what_was_sealed_opens_as_it_was() {
        let sealer = Keyring::generate().unwrap().sealer();
        for record in records() {
            let sealed = seal(&sealer, &record).unwrap();
            assert_eq!(open(&sealer, &sealed), Ok(record));
        }
    }

    #[test]
    fn a_key_takes_little_room() {
        let sealer = Keyring::generate().unwrap().sealer();
        let org = samples::org("acme");
        let mut key = samples::key(KeyKind::ApiKey, &org, None, 7);
        (key.issued, key.revision) = (Revision(1 << 50), Revision(1 << 50));
        let sealed = seal(&sealer, &Record::Key(key)).unwrap();
        assert!(sealed.len() <= 120, "{}", sealed.len());
    }

    #[test]
    fn no_changed_cut_or_lengthened_record_opens() {
        let sealer = Keyring::generate().unwrap().sealer();
        for record in records() {
            let sealed = seal(&sealer, &record).unwrap();
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut changed = sealed.clone();
                    changed[at] ^= 1 << bit;
                    assert!(open(&sealer, &changed).is_err(), "byte {at} bit {bit}");
                }
                assert!(open(&sealer, &sealed[..at]).is_err(), "cut at {at}");
            }
            let longer = [&sealed[..], b"x"].concat();
            assert_eq!(open(&sealer, &longer), Err(Unsealed::Forged));
            let theirs = Keyring::generate().unwrap().sealer();
            assert_eq!(open(&theirs, &sealed), Err(Unsealed::Forged));
        }
        assert_eq!(open(&sealer, &[9; 40]), Err(Unsealed::UnknownFormat(9)));
    }

    #[test]
    fn a_digest_depends_on_kind_id_and_revision() {
        let term_of = |kind, id, revision| term(kind, [id; 16], Revision(revision));
        let base = term_of(RecordKind::Key, 1, 1);
        assert_ne!(base, term_of(RecordKind::User, 1, 1));
        assert_ne!(base, term_of(RecordKind::Key, 2, 1));
        assert_ne!(base, term_of(RecordKind::Key, 1, 2));
    }
}
