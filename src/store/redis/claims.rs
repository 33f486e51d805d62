//! Who may make a key with a fingerprint. Keys are spread by their org, so two keys of one secret could be made in two
//! partitions at once; the fingerprint's own partition decides. A claim is made before the key and outlives it: it is the
//! index by which a key is found by its secret.

use std::thread;
use std::time::{Duration, Instant};

use super::RedisStore;
use super::layout::claim_partition;
use super::records::{Raw, read_field};
use super::scripts::{Arguments, CLAIM, RELEASE};
use crate::keys::{Fingerprint, KeyId};
use crate::store::StoreError;

/// How long after its claim a key can be made, in ms by the clock of Redis. The commit script holds it.
const MADE_WITHIN_MS: u64 = 30_000;

/// From when on a claim without a key was left behind. The difference is for servers whose clocks differ.
const LEFT_AFTER_MS: u64 = 60_000;

/// A key id, and eight bytes of time.
const CLAIM_BYTES: usize = 24;

/// How long to wait for somebody else's claim to become a key or be given back.
const PATIENCE: Duration = Duration::from_secs(2);

/// A claim as it is in Redis: the key's id, and when it was made.
struct Claim {
    bytes: Vec<u8>,
    key: KeyId,
    made_ms: u64,
}

impl Claim {
    fn parse(bytes: Vec<u8>) -> Result<Self, StoreError> {
        let parts = bytes
            .split_first_chunk::<16>()
            .and_then(|(key, made)| Some((*key, u64::from_be_bytes(made.try_into().ok()?))));
        let (key, made_ms) = parts.ok_or_else(|| malformed(bytes.len() as u64))?;
        Ok(Self {
            bytes,
            key: KeyId(uuid::Uuid::from_bytes(key)),
            made_ms,
        })
    }
}

fn malformed(length: u64) -> StoreError {
    StoreError::Damaged {
        what: "claim",
        why: format!("it has {length} bytes"),
    }
}

/// What came of a claim.
pub(super) enum Claimed {
    /// The key can be made until then, in ms by the clock of Redis.
    Until(u64),
    /// Somebody else was first.
    Held,
}

/// The key that has this fingerprint, as far as the claims know. It may not have been made.
pub(super) fn claimed_by(
    store: &RedisStore,
    fingerprint: &Fingerprint,
) -> Result<Option<KeyId>, StoreError> {
    Ok(held(store, fingerprint)?.map(|claim| claim.key))
}

/// Whether there is a key with this fingerprint. A claim that may still become one is waited for.
pub(super) fn is_claimed(
    store: &RedisStore,
    fingerprint: &Fingerprint,
) -> Result<bool, StoreError> {
    let until = Instant::now() + PATIENCE;
    loop {
        let Some(claim) = held(store, fingerprint)? else {
            return Ok(false);
        };
        if has_key(store, fingerprint, &claim)? {
            return Ok(true);
        }
        let now = store.now(claim_partition(fingerprint))?.0.unsigned_abs();
        if now.saturating_sub(claim.made_ms) >= LEFT_AFTER_MS {
            return Ok(false);
        }
        if Instant::now() >= until {
            return Err(StoreError::NotNow {
                server: store.servers.connector().named(),
                why: "somebody else is making a key with this secret; if that was broken off, it can be done a minute later"
                    .to_owned(),
            });
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Claims a fingerprint for a key that is about to be made.
pub(super) fn claim(
    store: &RedisStore,
    fingerprint: &Fingerprint,
    key: KeyId,
) -> Result<Claimed, StoreError> {
    match attempt(store, fingerprint, key, b"")? {
        Ok(until) => Ok(Claimed::Until(until)),
        Err((_, age)) if age < LEFT_AFTER_MS => Ok(Claimed::Held),
        Err((left, _)) => {
            if has_key(store, fingerprint, &left)? {
                return Ok(Claimed::Held);
            }
            let taken = attempt(store, fingerprint, key, &left.bytes)?;
            Ok(taken.map_or(Claimed::Held, Claimed::Until))
        }
    }
}

/// Gives a claim back. One that cannot be given back is left behind, which the next claim sees.
pub(super) fn release(store: &RedisStore, fingerprint: &Fingerprint, key: KeyId) {
    let partition = claim_partition(fingerprint);
    let keys = [store.layout().claims(partition)];
    let mut arguments = Arguments::default();
    arguments.push(fingerprint.bytes());
    arguments.push(key.bytes());
    let run = |link: &mut super::connect::Link| link.run(&RELEASE, &keys, &arguments.0);
    let _: Result<Vec<Vec<u8>>, _> = store.servers.on(partition, run);
}

fn attempt(
    store: &RedisStore,
    fingerprint: &Fingerprint,
    key: KeyId,
    over: &[u8],
) -> Result<Result<u64, (Claim, u64)>, StoreError> {
    let partition = claim_partition(fingerprint);
    let keys = [store.layout().claims(partition)];
    let mut arguments = Arguments::default();
    arguments.push(fingerprint.bytes());
    arguments.push(key.bytes());
    arguments.push(over);
    arguments.push_number(LEFT_AFTER_MS);
    let (what, held, number): (String, Vec<u8>, u64) = store
        .servers
        .on(partition, |link| link.run(&CLAIM, &keys, &arguments.0))?;
    match what.as_str() {
        "claimed" => Ok(Ok(number + MADE_WITHIN_MS)),
        _ => Ok(Err((Claim::parse(held)?, number))),
    }
}

fn held(store: &RedisStore, fingerprint: &Fingerprint) -> Result<Option<Claim>, StoreError> {
    let partition = claim_partition(fingerprint);
    let key = store.layout().claims(partition);
    match read_field(
        &store.servers,
        partition,
        &key,
        &fingerprint.bytes(),
        CLAIM_BYTES,
    )? {
        Raw::Nothing => Ok(None),
        Raw::Bytes(bytes) => Claim::parse(bytes).map(Some),
        Raw::TooLong(length) => Err(malformed(length)),
    }
}

fn has_key(
    store: &RedisStore,
    fingerprint: &Fingerprint,
    claim: &Claim,
) -> Result<bool, StoreError> {
    let key = store.key(claim.key)?;
    Ok(key.is_some_and(|key| key.fingerprint == *fingerprint))
}
