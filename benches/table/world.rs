//! The keys that are measured with: made from a seed, so that every contender has the same ones, and none has to be kept.

use std::time::Instant;

use keygate::keys::secret::Fingerprinter;
use keygate::keys::{
    Actor, Deed, Key, KeyId, KeyKind, KeyTable, Labels, Org, OrgId, Record, Revision, Role,
    Timestamp, User, UserId, UserKind,
};
use uuid::Uuid;

/// 2026-01-01, when the first key was made.
const BEGAN_MS: i64 = 1_767_225_600_000;
/// Revisions of a fleet are as long as this.
const FIRST_REVISION: u64 = 1 << 41;

/// How many of what there are: 100 keys to an org, and 2 users to it, of whom each has 5 application keys.
pub struct World {
    /// All of them.
    pub keys: usize,
    orgs: usize,
    users: usize,
    by: Fingerprinter,
}

/// A good hash of a number: SplitMix64.
pub fn mixed(number: u64) -> u64 {
    let mut word = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

fn id(class: u64, at: usize, slot: u8) -> Uuid {
    let words = [
        mixed(class << 56 | at as u64),
        mixed(class << 57 | at as u64),
    ];
    let mut bytes = (u128::from(words[0]) << 64 | u128::from(words[1])).to_be_bytes();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    bytes[15] = slot;
    Uuid::from_bytes(bytes)
}

impl World {
    /// So many keys.
    pub fn new(keys: usize, by: Fingerprinter) -> Self {
        Self {
            keys,
            orgs: (keys / 100).max(1),
            users: (keys / 50).max(1),
            by,
        }
    }

    /// The secret of a key, in the form of the issued ones; also of keys that there are not.
    pub fn secret(&self, at: usize) -> [u8; 32] {
        let words = [mixed(at as u64), mixed(at as u64 ^ 1 << 63)];
        let mut secret = [0; 32];
        for (digit, to) in secret.iter_mut().enumerate() {
            let word = words[digit / 16] >> (digit % 16 * 4);
            *to = b"0123456789abcdef"[(word & 15) as usize];
        }
        secret
    }

    /// What makes its fingerprints.
    pub const fn fingerprinter(&self) -> &Fingerprinter {
        &self.by
    }

    fn org_id(&self, org: usize) -> OrgId {
        OrgId(id(1, org, mixed(org as u64) as u8))
    }

    fn user_id(&self, user: usize) -> UserId {
        let org = user % self.orgs;
        UserId(id(2, user, self.org_id(org).slot_byte()))
    }

    fn org(&self, at: usize) -> Org {
        Org {
            id: self.org_id(at),
            name: format!("org {at}").into(),
            disabled: false,
            created_at: Timestamp(BEGAN_MS),
            revision: Revision(FIRST_REVISION + at as u64),
        }
    }

    fn user(&self, at: usize) -> User {
        User {
            id: self.user_id(at),
            org: self.org_id(at % self.orgs),
            kind: UserKind::Person,
            handle: format!("user-{at}@example.com").into(),
            name: format!("User {at}").into(),
            email: format!("user-{at}@example.com").into(),
            title: None,
            role: Role::Standard,
            disabled: false,
            application_keys_revoked_through: Revision(0),
            application_keys_revoked_at: None,
            password_set_at: Some(Timestamp(BEGAN_MS)),
            created_at: Timestamp(BEGAN_MS),
            modified_at: Timestamp(BEGAN_MS),
            revision: Revision(FIRST_REVISION + at as u64),
        }
    }

    /// A key: of 100, 80 are API keys, 10 application keys and 10 client tokens; 10 expire, 2 have limits, of which there are a
    /// thousand different ones; 3 are revoked.
    pub fn key(&self, at: usize) -> Key {
        let lot = mixed(at as u64 ^ 0xabcd);
        let user = self.user_of(at);
        let org = user % self.orgs;
        let percent = |of: u32| (lot >> of) % 100;
        let (kind, secret) = (self.kind(at), self.secret(at));
        let made = Deed {
            at: Timestamp(BEGAN_MS + at as i64 * 37),
            by: Actor::User(self.user_id(user)),
        };
        let revision = Revision(FIRST_REVISION + at as u64 * 2);
        let is_limited = percent(20) < 2;
        let of_limits = mixed(lot) % 1_000;
        Key {
            id: KeyId(Uuid::from_bytes(self.key_id(at))),
            kind,
            org: self.org_id(org),
            owner: (kind == KeyKind::ApplicationKey).then(|| self.user_id(user)),
            // 12 to 16 characters.
            name: format!("{:0width$x}", lot >> 16, width = 12 + at % 5)
                .get(..12 + at % 5)
                .unwrap_or_default()
                .into(),
            fingerprint: self.by.fingerprint(&secret),
            last4: String::from_utf8_lossy(&secret[28..]).as_ref().into(),
            created_at: made.at,
            created_by: made.by,
            issued: revision,
            revision,
            revoked: (percent(30) < 3).then_some(made),
            shadowed: None,
            modified: made,
            replaced_by: None,
            labels: Labels::default(),
            expires_at: (percent(10) < 10).then_some(Timestamp(BEGAN_MS + (1 << 40))),
            scopes: (is_limited && kind == KeyKind::ApplicationKey)
                .then(|| vec![format!("scope_{of_limits}").into()]),
            allowed_addresses: if is_limited && kind == KeyKind::ApiKey {
                vec![
                    format!("10.{}.{}.0/24", of_limits / 250, of_limits % 250)
                        .parse()
                        .expect("a network"),
                ]
            } else {
                Vec::new()
            },
            allowed_origins: Vec::new(),
        }
    }

    /// What kind of key it is, without making it.
    pub fn kind(&self, at: usize) -> KeyKind {
        match mixed(at as u64 ^ 0xabcd) % 100 {
            0..80 => KeyKind::ApiKey,
            80..90 => KeyKind::ApplicationKey,
            _ => KeyKind::ClientToken,
        }
    }

    fn user_of(&self, at: usize) -> usize {
        mixed(at as u64 ^ 0x77) as usize % self.users
    }

    /// Its id, without making it.
    pub fn key_id(&self, at: usize) -> [u8; 16] {
        let org = self.user_of(at) % self.orgs;
        id(3, at, self.org_id(org).slot_byte()).into_bytes()
    }

    /// Orgs and users, then keys.
    pub fn records(&self) -> impl Iterator<Item = Record> {
        let orgs = (0..self.orgs).map(|at| Record::Org(self.org(at)));
        let users = (0..self.users).map(|at| Record::User(self.user(at)));
        let keys = (0..self.keys).map(|at| Record::Key(self.key(at)));
        orgs.chain(users).chain(keys)
    }

    /// A table with all of it.
    pub fn table(&self, began: Instant) -> KeyTable {
        let table = KeyTable::new(began);
        table.reserve(self.keys);
        let mut some = Vec::with_capacity(1_024);
        for record in self.records() {
            some.push(record);
            if some.len() == 1_024 {
                table.apply_all(&mut some, |_| {});
            }
        }
        table.apply_all(&mut some, |_| {});
        table.mark_in_step(began, std::time::Duration::ZERO);
        table
    }
}

trait SlotByte {
    fn slot_byte(&self) -> u8;
}

impl SlotByte for OrgId {
    fn slot_byte(&self) -> u8 {
        self.bytes()[15]
    }
}
