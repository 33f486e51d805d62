//! What the words of a line mean. It reads and writes none.

use super::line::{Line, Words, tail_of};
use crate::keys::{Fingerprint, KeyId, KeyKind, Revision, Timestamp};

/// How many words of a line come after the fingerprint.
const REST: usize = 5;

/// A line as the table has it.
pub(super) type KeyLine = Line<REST>;
/// Its words.
pub(super) type KeyWords = Words<REST>;

const _: () = assert!(size_of::<KeyLine>() == 64);

const KIND: u64 = 0b11;
const REVOKED: u64 = 1 << 2;
const EXPIRES: u64 = 1 << 3;
const LIMITED: u64 = 1 << 4;
/// Above the flags lies what takes 48 bits at most.
const FLAGS: u32 = 16;
const VALUE_MAX: u64 = (1 << 48) - 1;

/// When a key ends, and whether it has limits of its own, in 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Never, and none.
    None,
    /// At that moment.
    ExpiresAt(u64),
    /// There are limits at this place, and when it ends is among them.
    Limits(u32),
}

impl Bound {
    /// Of a key without limits; `None` where the moment takes more room than there is.
    pub(super) fn of_expiry(expires_at: Option<Timestamp>) -> Option<Self> {
        match expires_at {
            None => Some(Self::None),
            Some(at) => u64::try_from(at.0)
                .ok()
                .filter(|at| *at <= VALUE_MAX)
                .map(Self::ExpiresAt),
        }
    }
}

/// A line's words, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Where the rest of the record lies.
    pub(super) cold: u32,
    pub(super) fingerprint: [u64; 2],
    pub(super) id: KeyId,
    pub(super) kind: KeyKind,
    pub(super) org: u32,
    pub(super) owner: Option<u32>,
    pub(super) issued: Revision,
    pub(super) is_revoked: bool,
    pub(super) bound: Bound,
}

/// Two words of 16 bytes.
pub(super) fn halves(bytes: [u8; 16]) -> [u64; 2] {
    let all = u128::from_be_bytes(bytes);
    [(all >> 64) as u64, all as u64]
}

/// The 16 bytes of two words.
pub(super) fn bytes_of([first, second]: [u64; 2]) -> [u8; 16] {
    (u128::from(first) << 64 | u128::from(second)).to_be_bytes()
}

/// An owner's place in 32 bits, of which 0 is none.
fn owner_word(owner: Option<u32>) -> u64 {
    owner.map_or(0, |owner| u64::from(owner) + 1)
}

impl Entry {
    /// As a line has it.
    pub(super) fn of(words: &KeyWords) -> Self {
        let [first, second, places, issued, last] = words.rest;
        let value = last >> FLAGS;
        Self {
            cold: tail_of(words.head),
            fingerprint: words.fingerprint,
            id: KeyId(uuid::Uuid::from_bytes(bytes_of([first, second]))),
            kind: match last & KIND {
                0 => KeyKind::ApiKey,
                1 => KeyKind::ApplicationKey,
                _ => KeyKind::ClientToken,
            },
            org: places as u32,
            owner: ((places >> 32) as u32).checked_sub(1),
            issued: Revision(issued),
            is_revoked: last & REVOKED != 0,
            bound: if last & LIMITED != 0 {
                Bound::Limits(value as u32)
            } else if last & EXPIRES != 0 {
                Bound::ExpiresAt(value)
            } else {
                Bound::None
            },
        }
    }

    /// As it is written into a line.
    pub(super) fn rest(&self) -> [u64; REST] {
        let [first, second] = halves(self.id.bytes());
        let kind = match self.kind {
            KeyKind::ApiKey => 0,
            KeyKind::ApplicationKey => 1,
            KeyKind::ClientToken => 2,
        };
        let (value, flag) = match self.bound {
            Bound::None => (0, 0),
            Bound::ExpiresAt(at) => (at, EXPIRES),
            Bound::Limits(place) => (u64::from(place), LIMITED),
        };
        let revoked = if self.is_revoked { REVOKED } else { 0 };
        [
            first,
            second,
            u64::from(self.org) | owner_word(self.owner) << 32,
            self.issued.0,
            value << FLAGS | flag | revoked | kind,
        ]
    }

    /// The fingerprint in its stored form.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bytes(bytes_of(self.fingerprint))
    }
}
