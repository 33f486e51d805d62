//! The stored form of the uses of one key, the same in both homes: bytes that a script in Redis can add up, too
//! (`redis/usage.lua`). It is not sealed, because no decision reads it; so whatever is not of this form is no use.
//!
//! All numbers are big-endian: version 1 (1 byte) · last use in ms (6) · its address (16, all zero when not known) · uses (7) ·
//! since when the shadow counts, in ms (6, 0 when it does not) · its count (7) · then three lists, each with its length (1):
//! hours (number 4, count 6), days (the same), sources (first use 6, last use 6, uses 7, of those in the shadow 7,
//! address 16, length of the agent's text 1, the text).

use std::net::{IpAddr, Ipv6Addr};

use compact_str::CompactString;

use crate::keys::Timestamp;
use crate::keys::buckets::Buckets;
use crate::keys::usage::{ShadowUse, Source, Use};
use crate::keys::uses::{AGENT_CHARS_MAX, SOURCES_MAX, agent_text};

/// The first byte.
const VERSION: u64 = 1;

/// What is longer is no use: the longest one is of some 2,300 bytes.
pub(super) const USE_BYTES_MAX: usize = 4096;

/// Scripts hold numbers as doubles, which are exact up to this one.
const COUNT_MAX: u64 = (1 << 53) - 1;

/// The uses as they are stored.
pub(super) fn encode(uses: &Use) -> Vec<u8> {
    let mut form = Vec::with_capacity(256);
    put(&mut form, VERSION, 1);
    put_time(&mut form, uses.last_used);
    put_address(&mut form, uses.last_address);
    put(&mut form, uses.count, 7);
    let shadow = uses.shadow.unwrap_or(ShadowUse {
        since: Timestamp(0),
        count: 0,
    });
    put_time(&mut form, shadow.since);
    put(&mut form, shadow.count, 7);
    put_buckets(&mut form, &uses.hours);
    put_buckets(&mut form, &uses.days);
    let sources = uses.sources.iter().take(SOURCES_MAX);
    put(&mut form, sources.len() as u64, 1);
    for source in sources {
        put_time(&mut form, source.first_used);
        put_time(&mut form, source.last_used);
        put(&mut form, source.count, 7);
        put(&mut form, source.shadow, 7);
        put_address(&mut form, Some(source.address));
        let agent = agent_text(&source.agent);
        put(&mut form, agent.len() as u64, 1);
        form.extend_from_slice(agent.as_bytes());
    }
    form
}

/// The uses of this form; `None` when it is not of it.
pub(super) fn decode(form: &[u8]) -> Option<Use> {
    let mut form = Some(form)
        .filter(|form| form.len() <= USE_BYTES_MAX)
        .map(Form)?;
    if form.number(1)? != VERSION {
        return None;
    }
    let mut uses = Use::times(form.time()?, 0);
    uses.last_address = form.address()?;
    uses.count = form.count()?;
    let since = form.time()?;
    let count = form.count()?;
    uses.shadow = (since.0 > 0).then_some(ShadowUse { since, count });
    form.buckets(&mut uses.hours)?;
    form.buckets(&mut uses.days)?;
    let sources = usize::try_from(form.number(1)?).ok()?;
    if sources > SOURCES_MAX {
        return None;
    }
    for _ in 0..sources {
        let (first_used, last_used) = (form.time()?, form.time()?);
        let (count, shadow) = (form.count()?, form.count()?);
        let address = form.address()??;
        let length = usize::try_from(form.number(1)?).ok()?;
        if length > AGENT_CHARS_MAX {
            return None;
        }
        let agent = std::str::from_utf8(form.take(length)?).ok()?;
        uses.sources.push(Source {
            address,
            agent: CompactString::from(agent),
            first_used,
            last_used,
            count,
            shadow,
        });
    }
    // Whoever else writes there may write what is to be shown to nobody: it is shown as any agent is.
    form.0.is_empty().then(|| uses.settled())
}

fn put(form: &mut Vec<u8>, number: u64, bytes: usize) {
    let most = if bytes >= 7 {
        COUNT_MAX
    } else {
        (1 << (8 * bytes)) - 1
    };
    let number = number.min(most).to_be_bytes();
    form.extend(number.iter().skip(number.len() - bytes));
}

fn put_time(form: &mut Vec<u8>, time: Timestamp) {
    put(form, u64::try_from(time.0).unwrap_or(0), 6);
}

fn put_address(form: &mut Vec<u8>, address: Option<IpAddr>) {
    let address = match address {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Some(IpAddr::V6(address)) => address,
        None => Ipv6Addr::UNSPECIFIED,
    };
    form.extend_from_slice(&address.octets());
}

fn put_buckets<const MAX: usize>(form: &mut Vec<u8>, buckets: &Buckets<MAX>) {
    put(form, buckets.each().count() as u64, 1);
    for (number, count) in buckets.each() {
        put(form, number.into(), 4);
        put(form, count, 6);
    }
}

/// What is left to read.
struct Form<'f>(&'f [u8]);

impl<'f> Form<'f> {
    fn take(&mut self, bytes: usize) -> Option<&'f [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let bytes = self.take(bytes)?;
        let number = bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        Some(number)
    }

    fn count(&mut self) -> Option<u64> {
        self.number(7).filter(|count| *count <= COUNT_MAX)
    }

    fn time(&mut self) -> Option<Timestamp> {
        Some(Timestamp(i64::try_from(self.number(6)?).ok()?))
    }

    /// An address, or none where all is zero.
    fn address(&mut self) -> Option<Option<IpAddr>> {
        let octets: [u8; 16] = self.take(16)?.try_into().ok()?;
        let address = Ipv6Addr::from(octets);
        Some((!address.is_unspecified()).then(|| IpAddr::V6(address).to_canonical()))
    }

    fn buckets<const MAX: usize>(&mut self, into: &mut Buckets<MAX>) -> Option<()> {
        for _ in 0..self.number(1)? {
            let (number, count) = (self.number(4)?, self.number(6)?);
            into.add(u32::try_from(number).ok()?, count);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::buckets::{DAYS_MAX, HOURS_MAX};
    use crate::keys::usage::OneUse;

    /// As much as there can be of everything.
    fn full() -> Use {
        let mut uses = Use::times(Timestamp(0), COUNT_MAX - 20_000);
        for hour in 0..3_000_i64 {
            uses.note(&OneUse {
                at: Timestamp(hour * 3_600_000 + 1),
                address: IpAddr::from([192, 0, 2, u8::try_from(hour % 11).unwrap()]),
                agent: &"agent/7 (linux) ".repeat(9),
                shadowed: Some(Timestamp(9)).filter(|_| hour > 2_990),
            });
        }
        uses.settled()
    }

    #[test]
    fn what_is_stored_is_read_again_and_the_most_there_can_be_fits() {
        let mut six = Use::once(&OneUse {
            at: Timestamp(1_790_000_000_123),
            address: "2001:db8::7".parse().unwrap(),
            agent: "",
            shadowed: None,
        });
        for uses in [full(), six.clone(), Use::times(Timestamp(7), 3)] {
            assert_eq!(decode(&encode(&uses)), Some(uses));
        }
        let full = encode(&full());
        assert!(full.len() < USE_BYTES_MAX, "{}", full.len());
        assert_eq!(
            usize::from(full[43]) + usize::from(full[44 + HOURS_MAX * 10]),
            HOURS_MAX + DAYS_MAX
        );
        // Numbers that no store can add up are the largest that it can.
        six.count = u64::MAX;
        assert_eq!(decode(&encode(&six)).unwrap().count, COUNT_MAX);
    }

    #[test]
    fn what_is_not_of_the_form_is_no_use_and_nothing_of_it_is_too_much() {
        let form = encode(&full());
        for end in 0..form.len() {
            assert_eq!(decode(&form[..end]), None, "cut at {end}");
        }
        let longer = [&form[..], b"x"].concat();
        assert_eq!(decode(&longer), None);
        assert_eq!(decode(&[b'9'; 1 << 16]), None);
        assert_eq!(decode(b"1790000000123:7"), None);
        for at in 0..form.len() {
            for byte in [0, 1, 0x1b, 0x80, 0xff] {
                let mut planted = form.clone();
                planted[at] = byte;
                let Some(read) = decode(&planted) else {
                    continue;
                };
                let is_plain = |source: &Source| {
                    source.agent.len() <= AGENT_CHARS_MAX
                        && source.agent.bytes().all(|byte| matches!(byte, b' '..=b'~'))
                };
                assert!(read.sources.iter().all(is_plain), "{read:?}");
                assert!(encode(&read).len() <= USE_BYTES_MAX);
            }
        }
    }
}
