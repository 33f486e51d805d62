//! The audit log of one partition as a chain: each entry holds the hash of the one before it and a code that only a holder
//! of the store's keys can make, and a sealed head says how many there are. What is logged when is in `writing`.

use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::StoreError;
use crate::keys::audit::{AuditEntry, FieldChange};
use crate::keys::keyring::{CODE_BYTES, Sealer};
use crate::keys::{Key, Org, Partition, Timestamp, User};

/// The first byte of a sealed entry, which no record and no paper has.
const FORMAT: u8 = 0x41;

/// The longest sealed entry that is read, in bytes: the largest has both sides of a full list of scopes.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;

/// The longest value that is shown whole, in bytes: a full list of scopes. Lists of addresses and origins may be longer.
const VALUE_BYTES_MAX: usize = 20 * 1024;

/// What makes entries differ that say the same of the same moment.
const NONCE_BYTES: usize = 8;

/// Where a chain ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// How many entries there are.
    pub count: u64,
    /// The hash of the last one; zeros where there is none.
    pub hash: [u8; 32],
}

/// An entry as it is read: itself, and the hash it is linked by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The entry.
    pub entry: AuditEntry,
    /// The hash of the entry before it.
    pub previous: [u8; 32],
    /// Its own hash.
    pub hash: [u8; 32],
}

/// The sealed form of an entry that follows `head`, and the head after it.
///
/// # Errors
/// When it would be longer than [`ENTRY_BYTES_MAX`], and when the system's random generator fails.
pub fn link(
    sealer: &Sealer,
    partition: Partition,
    head: Head,
    entry: &AuditEntry,
) -> Result<(Vec<u8>, Head), StoreError> {
    let damaged = |why| StoreError::Damaged {
        what: "entry of the audit log",
        why,
    };
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    let mut sealed = vec![FORMAT, u8::try_from(partition.index()).unwrap_or(u8::MAX)];
    sealed.extend(head.hash);
    sealed.extend(nonce);
    sealed.extend(postcard::to_allocvec(entry).map_err(|error| damaged(error.to_string()))?);
    sealed.extend(sealer.code(&sealed));
    if sealed.len() > ENTRY_BYTES_MAX {
        return Err(damaged(format!("it would have {} bytes", sealed.len())));
    }
    let after = Head {
        count: head.count + 1,
        hash: Sha256::digest(&sealed).into(),
    };
    Ok((sealed, after))
}

/// The entry in its sealed form.
///
/// # Errors
/// What is wrong with it, in words.
pub fn open(sealer: &Sealer, partition: Partition, sealed: &[u8]) -> Result<Linked, &'static str> {
    let (body, code) = sealed
        .split_last_chunk::<CODE_BYTES>()
        .filter(|_| sealed.len() <= ENTRY_BYTES_MAX)
        .ok_or("it is malformed")?;
    if !sealer.is_code(body, code) {
        return Err("its code is not of this store: it was changed, or made elsewhere");
    }
    let ([format, of], rest) = body.split_first_chunk::<2>().ok_or("it is malformed")?;
    if *format != FORMAT {
        return Err("it is no entry of an audit log");
    }
    if usize::from(*of) != partition.index() {
        return Err("it is of another partition's log");
    }
    let (previous, rest) = rest.split_first_chunk::<32>().ok_or("it is malformed")?;
    let (_, fields) = rest
        .split_first_chunk::<NONCE_BYTES>()
        .ok_or("it is malformed")?;
    Ok(Linked {
        entry: postcard::from_bytes(fields).map_err(|_| "it is malformed")?,
        previous: *previous,
        hash: Sha256::digest(sealed).into(),
    })
}

/// What of an object differs. Either side may be missing.
pub(super) fn differences(before: &Fields, after: &Fields) -> Vec<FieldChange> {
    let names = before.0.iter().map(|(name, _)| *name);
    let mut names: Vec<&'static str> = names.collect();
    for (name, _) in &after.0 {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let value = |fields: &Fields, wanted: &str| {
        let found = fields.0.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| value.clone())
    };
    names
        .into_iter()
        .map(|name| (name, value(before, name), value(after, name)))
        .filter(|(_, before, after)| before != after)
        .map(|(field, before, after)| FieldChange {
            field: CompactString::from(field),
            before: before.map(shown),
            after: after.map(shown),
        })
        .collect()
}

/// A value as an entry has it: what is longer than an entry has room for is cut, and says so. A long list must not keep
/// anybody from changing it.
fn shown(value: String) -> String {
    if value.len() <= VALUE_BYTES_MAX {
        return value;
    }
    let length = value.len();
    let cut = value.get(..value.floor_char_boundary(VALUE_BYTES_MAX));
    format!("{} ... ({length} bytes)", cut.unwrap_or_default())
}

/// What the log shows of an object.
#[derive(Default)]
pub(super) struct Fields(Vec<(&'static str, Option<String>)>);

impl Fields {
    pub(super) fn of_org(org: &Org) -> Self {
        Self(vec![
            ("name", Some(org.name.to_string())),
            ("disabled", org.disabled.then(|| "true".to_owned())),
        ])
    }

    pub(super) fn of_user(user: &User) -> Self {
        Self(vec![
            ("name", Some(user.name.to_string())),
            ("handle", Some(user.handle.to_string())),
            ("email", Some(user.email.to_string())),
            ("title", user.title.as_ref().map(ToString::to_string)),
            ("role", Some(user.role.as_str().to_owned())),
            ("disabled", user.disabled.then(|| "true".to_owned())),
            (
                "application_keys_revoked_at",
                user.application_keys_revoked_at.map(time_text),
            ),
        ])
    }

    pub(super) fn of_key(key: &Key) -> Self {
        let listed = |items: Vec<String>| Some(items.join(" ")).filter(|list| !list.is_empty());
        let owner = key.owner.map(|owner| owner.to_string());
        Self(vec![
            ("name", Some(key.name.to_string())),
            ("owner", owner),
            ("last4", Some(key.last4.to_string())),
            ("expires_at", key.expires_at.map(time_text)),
            ("scopes", key.scopes.as_ref().map(|scopes| scopes.join(" "))),
            (
                "allowed_addresses",
                listed(
                    key.allowed_addresses
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                ),
            ),
            (
                "allowed_origins",
                listed(
                    key.allowed_origins
                        .iter()
                        .map(|it| it.as_str().to_owned())
                        .collect(),
                ),
            ),
            (
                "category",
                key.labels.category.as_ref().map(ToString::to_string),
            ),
            (
                "remote_config_read_enabled",
                (!key.labels.remote_config_read).then(|| "false".to_owned()),
            ),
            (
                "shadow_revoked_at",
                key.shadowed.map(|deed| time_text(deed.at)),
            ),
            ("replaced_by", key.replaced_by.map(|id| id.to_string())),
            ("revoked_at", key.revoked.map(|deed| time_text(deed.at))),
        ])
    }
}

/// A time in RFC 3339, UTC, to the millisecond.
pub fn time_text(time: Timestamp) -> String {
    // Outside the years 1 to 9999 there is no such text; the number is better than none.
    jiff::Timestamp::from_millisecond(time.0)
        .map_or_else(|_| time.0.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::audit::{Action, By, Object};
    use crate::keys::keyring::Keyring;
    use crate::keys::{KeyKind, samples};

    fn partition() -> Partition {
        Partition::all().next().unwrap()
    }

    fn entry(number: u64) -> AuditEntry {
        let org = samples::org("acme");
        AuditEntry {
            number,
            at: Timestamp(1),
            by: By::operator(),
            org: Some(org.id),
            action: Action::OrgCreated,
            object: Object::org(&org),
            changes: differences(&Fields::default(), &Fields::of_org(&org)),
            revisions: Vec::new(),
        }
    }

    #[test]
    fn a_linked_entry_opens_as_it_was_and_no_other_does() {
        let sealer = Keyring::generate().unwrap().sealer();
        let (sealed, head) = link(&sealer, partition(), Head::default(), &entry(0)).unwrap();
        let opened = open(&sealer, partition(), &sealed).unwrap();
        assert_eq!(
            (opened.entry.number, opened.hash, head.count),
            (0, head.hash, 1)
        );
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&sealer, partition(), &changed).is_err(), "byte {at}");
        }
        let elsewhere = Partition::all().nth(1).unwrap();
        assert!(open(&sealer, elsewhere, &sealed).is_err());
    }

    #[test]
    fn what_two_entries_say_alike_is_two_entries() {
        let sealer = Keyring::generate().unwrap().sealer();
        let one = || link(&sealer, partition(), Head::default(), &entry(0)).unwrap();
        assert_ne!(one().0, one().0);
    }

    #[test]
    fn the_longest_lists_fit_into_an_entry() {
        let org = samples::org("acme");
        let before = samples::key(KeyKind::ApiKey, &org, None, 7);
        let mut after = before.clone();
        let nets = (0..20_000_u128).map(|at| ipnet::Ipv6Net::new((u128::MAX - at).into(), 128));
        after.allowed_addresses = nets.map(|net| net.unwrap().into()).collect();
        after.name = "\u{10ffff}".repeat(256).into();
        let mut both = entry(0);
        both.changes = differences(&Fields::of_key(&before), &Fields::of_key(&after));
        both.changes.extend(differences(
            &Fields::of_key(&after),
            &Fields::of_key(&before),
        ));
        let sealer = Keyring::generate().unwrap().sealer();
        let (sealed, _) = link(&sealer, partition(), Head::default(), &both).unwrap();
        assert!(open(&sealer, partition(), &sealed).is_ok());
    }

    #[test]
    fn the_log_shows_what_differs_and_no_fingerprint() {
        let org = samples::org("acme");
        let key = samples::key(KeyKind::ApiKey, &org, None, 7);
        let mut renamed = key.clone();
        renamed.name = "other".into();
        let changes = differences(&Fields::of_key(&key), &Fields::of_key(&renamed));
        assert_eq!(changes.len(), 1);
        assert_eq!(
            (changes[0].field.as_str(), changes[0].after.as_deref()),
            ("name", Some("other"))
        );
        let all = format!(
            "{:?}",
            differences(&Fields::default(), &Fields::of_key(&key))
        );
        assert!(!all.contains("fingerprint"), "{all}");
    }
}
