//! Which versions of a record have to be kept so that nothing revoked is ever forgotten: the newest, and an older one that
//! takes away more. Pure; where they are kept is in `replica`.

use crate::keys::Record;

/// How much a version takes away for good. Disabling is not for good: it is the newest version's to say.
fn takes_away(record: &Record) -> u64 {
    match record {
        Record::Org(_) => 0,
        Record::User(user) => user.application_keys_revoked_through.0,
        Record::Key(key) => u64::from(key.revoked.is_some()),
    }
}

/// What becomes the older version that takes away more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoking {
    /// It stays what it was.
    AsItWas,
    /// The version that was the newest.
    TheNewest,
    /// The version that came.
    TheOneThatCame,
}

/// What is to be done with a version that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether it is the newest.
    pub is_newest: bool,
    /// What becomes of the revoking version.
    pub revoking: Revoking,
}

/// What to do with a version that came, beside the newest one and the revoking one that are kept.
pub fn keep(newest: Option<&Record>, revoking: Option<&Record>, came: &Record) -> Kept {
    let is_newest = newest.is_none_or(|newest| newest.revision() < came.revision());
    let known = revoking.map_or(0, takes_away);
    let by_newest = newest.map_or(0, takes_away);
    let revoking = if is_newest && by_newest > takes_away(came).max(known) {
        Revoking::TheNewest
    } else if !is_newest && takes_away(came) > by_newest.max(known) {
        Revoking::TheOneThatCame
    } else {
        Revoking::AsItWas
    };
    Kept {
        is_newest,
        revoking,
    }
}
