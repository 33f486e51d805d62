//! How often may be tried to sign in: from one address, and as one user from one address. Nobody else's tries count against
//! a user, so that nobody can be locked out by a stranger. It keeps no names and no addresses, only their hashes.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::keys::rules::Refusal;

/// How many times as often as for one user an address may try in all: an office behind one address signs in in the morning.
const USERS_PER_ADDRESS: u32 = 6;

/// How many addresses and users are remembered. Beyond that all new ones share one place.
const REMEMBERED_MAX: usize = 100_000;

/// What all of them share.
const OVERFLOW: u64 = 0;

/// The attempts of the last minute.
pub struct Attempts {
    by_address: DefaultKeyedRateLimiter<u64>,
    by_user: DefaultKeyedRateLimiter<u64>,
    random: RandomState,
    clock: DefaultClock,
}

impl Attempts {
    /// With so many per minute for one user from one address.
    pub fn new(per_minute: u32) -> Self {
        let quota = |many: u32| Quota::per_minute(NonZeroU32::new(many).unwrap_or(NonZeroU32::MIN));
        Self {
            by_address: RateLimiter::keyed(quota(per_minute.saturating_mul(USERS_PER_ADDRESS))),
            by_user: RateLimiter::keyed(quota(per_minute)),
            random: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }

    /// Counts an attempt as one user.
    ///
    /// # Errors
    /// When there were too many: it must not be made.
    pub fn as_user(&self, user: &str, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.from_address(address)?;
        self.count(
            &self.by_user,
            self.random.hash_one((user, network(address))),
        )
    }

    /// Counts an attempt that names no user.
    ///
    /// # Errors
    /// When there were too many: it must not be made.
    pub fn from_address(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.count(&self.by_address, self.random.hash_one(network(address)))
    }

    fn count(&self, limiter: &DefaultKeyedRateLimiter<u64>, key: u64) -> Result<(), Refusal> {
        let mut key = key;
        if limiter.len() >= REMEMBERED_MAX {
            limiter.retain_recent();
            if limiter.len() >= REMEMBERED_MAX {
                key = OVERFLOW;
            }
        }
        limiter.check_key(&key).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now());
            Refusal::TooManyAttempts {
                seconds: wait.as_secs().saturating_add(1),
            }
        })
    }

    /// Forgets who has not tried for a while.
    pub fn forget(&self) {
        for limiter in [&self.by_address, &self.by_user] {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

/// Whose address it is: somebody has one IPv4 address, or a /64 of IPv6.
fn network(address: Option<IpAddr>) -> u128 {
    match address.map(|address| address.to_canonical()) {
        Some(IpAddr::V4(address)) => u128::from(u32::from(address)),
        Some(IpAddr::V6(address)) => u128::from(address) & (u128::MAX << 64),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn a_stranger_uses_up_nobodys_attempts_but_their_own() {
        let attempts = Attempts::new(3);
        for _ in 0..3 {
            attempts.as_user("ann", at("2001:db8::1")).unwrap();
        }
        // Another address of the same network is the same somebody.
        let refused = attempts.as_user("ann", at("2001:db8::2")).unwrap_err();
        assert!(
            matches!(refused, Refusal::TooManyAttempts { seconds: 1..=21 }),
            "{refused:?}"
        );
        attempts.as_user("bob", at("2001:db8::2")).unwrap();
        attempts.as_user("ann", at("2001:db8:0:1::1")).unwrap();
    }

    #[test]
    fn one_address_tries_no_more_often_by_naming_many_users() {
        let attempts = Attempts::new(1);
        let made =
            (0..100).take_while(|n| attempts.as_user(&n.to_string(), at("192.0.2.1")).is_ok());
        assert_eq!(made.count(), 6);
        attempts.as_user("0", at("192.0.2.2")).unwrap();
    }
}
