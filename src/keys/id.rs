//! Ids, and what they tell: which partition something is in.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Into how many partitions the orgs are spread. Every rule about an org holds within one of them, so a store can check it
/// in one atomic step wherever it keeps the partition. Changing it would move every record.
pub const PARTITIONS: usize = 16;

/// What an org and everything of it have in common: the last byte of their ids. So every id tells its partition, and
/// nothing has to be looked up to find a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u8);

impl Slot {
    /// The slot of the org with this name: orgs of one name meet in one partition, where the second is refused.
    pub fn of_org_name(name: &str) -> Self {
        let hash: [u8; 32] = Sha256::digest(name.as_bytes()).into();
        Self(hash[0])
    }

    /// The partition it is in.
    pub const fn partition(self) -> Partition {
        Partition(self.0 % PARTITIONS as u8)
    }
}

/// One of the [`PARTITIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(u8);

impl Partition {
    /// Every one, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTITIONS as u8).map(Self)
    }

    /// Its number, below [`PARTITIONS`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An id in the form the Datadog API uses: a lower-case UUID, never reused. Three types, so that an org id can never
/// be passed where a user id is wanted.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new random id in a slot: 114 bits of it are random.
            pub fn generate_in(slot: Slot) -> Self {
                let mut bytes = Uuid::new_v4().into_bytes();
                bytes[15] = slot.0;
                Self(Uuid::from_bytes(bytes))
            }

            /// The slot it is in.
            pub const fn slot(&self) -> Slot {
                Slot(self.0.as_bytes()[15])
            }

            /// The partition it is in.
            pub const fn partition(&self) -> Partition {
                self.slot().partition()
            }

            /// The id's 16 bytes, the form the stores use as a key.
            pub fn bytes(&self) -> [u8; 16] {
                self.0.into_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

id!(
    /// An org: the owner of API keys and client tokens, and of users.
    OrgId
);
id!(
    /// A person or a service account of one org.
    UserId
);
id!(
    /// A key's stable public name.
    KeyId
);
