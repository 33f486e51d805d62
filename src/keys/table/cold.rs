//! The part of a key's record that no decision asks, in few bytes: who made it when, what it is called, what was done to it. It
//! says how that is written and read; where it lies is `arena`'s business.

use compact_str::CompactString;

use super::entry::{Bound, Entry};
use super::limits::Limits;
use crate::keys::{Actor, Deed, Key, KeyId, Labels, OrgId, Revision, Timestamp, UserId};

/// Moments within 34 years of this one take five bytes.
pub(super) const ERA_MS: i64 = 1_577_836_800_000; // 2020-01-01

const IS_OF_THE_ERA: u8 = 1;
const IS_AS_MADE: u8 = 1 << 1;
const REVISED: u8 = 1 << 2;
const REVOKED: u8 = 1 << 3;
const SHADOWED: u8 = 1 << 4;
const REPLACED: u8 = 1 << 5;
const LABELLED: u8 = 1 << 6;
const LAST_FOUR: u8 = 1 << 7;

/// The numbers that stand for users.
pub(super) trait Users {
    /// The id of a number.
    fn id_of(&self, at: u32) -> UserId;
    /// The id of an org's number.
    fn org_of(&self, at: u32) -> OrgId;
}

/// Appends a key's record to `bytes`, but for what its line has. `number` gives each user a number.
pub(super) fn write(key: &Key, bytes: &mut Vec<u8>, number: &mut impl FnMut(UserId) -> u32) {
    let since = key.created_at.0.wrapping_sub(ERA_MS);
    let is_of_the_era = (0..1 << 40).contains(&since);
    let made = Deed {
        at: key.created_at,
        by: key.created_by,
    };
    let flags = [
        (IS_OF_THE_ERA, is_of_the_era),
        (IS_AS_MADE, key.modified == made),
        (REVISED, key.revision != key.issued),
        (REVOKED, key.revoked.is_some()),
        (SHADOWED, key.shadowed.is_some()),
        (REPLACED, key.replaced_by.is_some()),
        (LABELLED, key.labels != Labels::default()),
        (LAST_FOUR, key.last4.len() == 4),
    ];
    let flags = flags.iter().filter(|(_, is_set)| *is_set);
    let flags = flags.fold(0_u8, |all, (flag, _)| all | flag);
    bytes.push(flags);
    if is_of_the_era {
        bytes.extend(since.to_le_bytes().iter().take(5));
    } else {
        bytes.extend(since.to_le_bytes());
    }
    let mut actor = |by: Actor, bytes: &mut Vec<u8>| {
        let code = match by {
            Actor::Operator => 0,
            Actor::System => 1,
            Actor::User(id) => u64::from(number(id)) + 2,
        };
        write_number(code, bytes);
    };
    actor(key.created_by, bytes);
    if key.revision != key.issued {
        write_number(key.revision.0.wrapping_sub(key.issued.0), bytes);
    }
    let mut deed = |deed: Deed, bytes: &mut Vec<u8>| {
        write_signed(deed.at.0.wrapping_sub(key.created_at.0), bytes);
        actor(deed.by, bytes);
    };
    if key.modified != made {
        deed(key.modified, bytes);
    }
    for done in [key.revoked, key.shadowed].into_iter().flatten() {
        deed(done, bytes);
    }
    if let Some(successor) = key.replaced_by {
        bytes.extend(successor.bytes());
    }
    if key.labels != Labels::default() {
        let reads = u8::from(key.labels.remote_config_read);
        let filed = u8::from(key.labels.category.is_some());
        bytes.push(reads | filed << 1);
        if let Some(category) = &key.labels.category {
            write_text(category, bytes);
        }
    }
    if key.last4.len() == 4 {
        bytes.extend(key.last4.as_bytes());
    } else {
        write_text(&key.last4, bytes);
    }
    write_text(&key.name, bytes);
}

/// Appends a number, small ones in few bytes.
pub(super) fn write_number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The same, for numbers of both signs.
pub(super) fn write_signed(number: i64, bytes: &mut Vec<u8>) {
    write_number((number << 1 ^ number >> 63) as u64, bytes);
}

/// Appends a text and, before it, its length.
pub(super) fn write_text(text: &str, bytes: &mut Vec<u8>) {
    write_number(text.len() as u64, bytes);
    bytes.extend(text.as_bytes());
}

/// What was written, its texts where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cold<'b> {
    created_at: Timestamp,
    created_by: By,
    /// The change that last touched the key.
    pub(super) revision: Revision,
    modified: (Timestamp, By),
    revoked: Option<(Timestamp, By)>,
    shadowed: Option<(Timestamp, By)>,
    replaced_by: Option<KeyId>,
    labels: Option<(bool, Option<&'b str>)>,
    last4: &'b str,
    /// What the key is called.
    pub(super) name: &'b str,
    /// How many bytes all of it takes.
    pub(super) length: usize,
}

/// Who it was, as written.
#[derive(Clone, Copy, Debug)]
enum By {
    Operator,
    System,
    User(u32),
}

/// What is left to read.
pub(super) struct Rest<'b>(&'b [u8]);

impl<'b> Rest<'b> {
    /// All of what was written.
    pub(super) const fn of(bytes: &'b [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// What `write_number` wrote.
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// What `write_signed` wrote.
    pub(super) fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// What `write_text` wrote.
    pub(super) fn text(&mut self) -> Option<&'b str> {
        let length = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    fn by(&mut self) -> Option<By> {
        Some(match self.number()? {
            0 => By::Operator,
            1 => By::System,
            user => By::User(u32::try_from(user - 2).ok()?),
        })
    }

    fn deed(&mut self, made: i64) -> Option<(Timestamp, By)> {
        let at = Timestamp(made.wrapping_add(self.signed()?));
        Some((at, self.by()?))
    }
}

/// Reads what was written for a key issued with this revision. `None` is bytes that [`write`] never makes.
pub(super) fn read(bytes: &[u8], issued: Revision) -> Option<Cold<'_>> {
    let mut rest = Rest(bytes);
    let [flags] = rest.array()?;
    let has = |flag| flags & flag != 0;
    let since = if has(IS_OF_THE_ERA) {
        let [a, b, c, d, e] = rest.array()?;
        i64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    } else {
        i64::from_le_bytes(rest.array()?)
    };
    let made = since.wrapping_add(ERA_MS);
    let (created_at, created_by) = (Timestamp(made), rest.by()?);
    let revision = if has(REVISED) {
        Revision(issued.0.wrapping_add(rest.number()?))
    } else {
        issued
    };
    let modified = if has(IS_AS_MADE) {
        (created_at, created_by)
    } else {
        rest.deed(made)?
    };
    let mut deed = |flag| -> Option<Option<(Timestamp, By)>> {
        Some(if has(flag) {
            Some(rest.deed(made)?)
        } else {
            None
        })
    };
    let (revoked, shadowed) = (deed(REVOKED)?, deed(SHADOWED)?);
    let replaced_by = if has(REPLACED) {
        Some(KeyId(uuid::Uuid::from_bytes(rest.array()?)))
    } else {
        None
    };
    let labels = if has(LABELLED) {
        let [which] = rest.array()?;
        let category = if which & 2 != 0 {
            Some(rest.text()?)
        } else {
            None
        };
        Some((which & 1 != 0, category))
    } else {
        None
    };
    let last4 = if has(LAST_FOUR) {
        std::str::from_utf8(rest.take(4)?).ok()?
    } else {
        rest.text()?
    };
    let name = rest.text()?;
    Some(Cold {
        created_at,
        created_by,
        revision,
        modified,
        revoked,
        shadowed,
        replaced_by,
        labels,
        last4,
        name,
        length: bytes.len() - rest.0.len(),
    })
}

impl Cold<'_> {
    /// The whole record, with what is in the key's line and its limits.
    pub(super) fn key(&self, entry: &Entry, limits: Option<&Limits>, users: &impl Users) -> Key {
        let actor = |by| match by {
            By::Operator => Actor::Operator,
            By::System => Actor::System,
            By::User(at) => Actor::User(users.id_of(at)),
        };
        let deed = |(at, by)| Deed { at, by: actor(by) };
        let expires_at = match entry.bound {
            Bound::None => None,
            Bound::ExpiresAt(at) => Some(Timestamp(at as i64)),
            Bound::Limits(_) => limits.and_then(|limits| limits.expires_at),
        };
        Key {
            id: entry.id,
            kind: entry.kind,
            org: users.org_of(entry.org),
            owner: entry.owner.map(|at| users.id_of(at)),
            name: self.name.into(),
            fingerprint: entry.fingerprint(),
            last4: self.last4.into(),
            created_at: self.created_at,
            created_by: actor(self.created_by),
            issued: entry.issued,
            revision: self.revision,
            revoked: self.revoked.map(deed),
            shadowed: self.shadowed.map(deed),
            modified: deed(self.modified),
            replaced_by: self.replaced_by,
            labels: self
                .labels
                .map_or_else(Labels::default, |(remote_config_read, category)| Labels {
                    category: category.map(CompactString::from),
                    remote_config_read,
                }),
            expires_at,
            scopes: limits.and_then(|limits| limits.scopes.clone()),
            allowed_addresses: limits
                .map(|limits| limits.allowed_addresses.clone())
                .unwrap_or_default(),
            allowed_origins: limits
                .map(|limits| limits.allowed_origins.clone())
                .unwrap_or_default(),
        }
    }
}
