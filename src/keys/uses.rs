//! What is known of the uses of one key: how often, from where, when; and how two accounts of it become one. It counts
//! nothing by itself (`usage` does), and no decision reads it.

use std::net::IpAddr;

use compact_str::CompactString;

use super::Timestamp;
use super::buckets::{Buckets, DAYS_MAX, HOURS_MAX, day_of, hour_of};

/// Of so many sources each key remembers; the one that was last used longest ago goes.
pub const SOURCES_MAX: usize = 8;

/// The longest text of a user agent, in characters.
pub const AGENT_CHARS_MAX: usize = 64;

/// One use of a key, as a request shows it.
#[derive(Clone, Copy, Debug)]
pub struct OneUse<'r> {
    /// When.
    pub at: Timestamp,
    /// Where the request came from, trusted proxies aside.
    pub address: IpAddr,
    /// What its client says it is, free of secrets; empty when it says nothing.
    pub agent: &'r str,
    /// Since when the key is shadow-revoked, if it is.
    pub shadowed: Option<Timestamp>,
}

/// One place that a key is used from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The client's address.
    pub address: IpAddr,
    /// What the client says it is: [`agent_text`]. While uses are noted it is the beginning of what was said.
    pub agent: CompactString,
    /// The first of the uses counted here.
    pub first_used: Timestamp,
    /// The last one.
    pub last_used: Timestamp,
    /// How many. Of a source that went and came again, since it came again.
    pub count: u64,
    /// How many of them while the key was shadow-revoked, since it was.
    pub shadow: u64,
}

impl Source {
    fn is_of(&self, address: IpAddr, agent: &str) -> bool {
        self.address == address && self.agent == agent
    }

    fn add(&mut self, more: &Self) {
        self.first_used = self.first_used.min(more.first_used);
        self.last_used = self.last_used.max(more.last_used);
        self.count = self.count.saturating_add(more.count);
        self.shadow = self.shadow.saturating_add(more.shadow);
    }
}

/// The uses of a key that is shadow-revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShadowUse {
    /// Since when it is. When that is another moment, it begins from nothing.
    pub since: Timestamp,
    /// How many.
    pub count: u64,
}

/// The uses of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// The last of them.
    pub last_used: Timestamp,
    /// Where that came from.
    pub last_address: Option<IpAddr>,
    /// How many.
    pub count: u64,
    /// How many since the key was shadow-revoked, if it was.
    pub shadow: Option<ShadowUse>,
    /// From where; at most [`SOURCES_MAX`], the last one first once it is [`Self::settled`].
    pub sources: Vec<Source>,
    /// How many in each hour.
    pub hours: Buckets<HOURS_MAX>,
    /// How many on each day.
    pub days: Buckets<DAYS_MAX>,
}

impl Use {
    /// One use.
    pub fn once(one: &OneUse<'_>) -> Self {
        let mut uses = Self::times(one.at, 0);
        uses.note(one);
        uses
    }

    /// So many at one moment, of which it is not known where they came from.
    pub fn times(at: Timestamp, count: u64) -> Self {
        let mut uses = Self {
            last_used: at,
            last_address: None,
            count,
            shadow: None,
            sources: Vec::new(),
            hours: Buckets::default(),
            days: Buckets::default(),
        };
        uses.hours.add(hour_of(at), count);
        uses.days.add(day_of(at), count);
        uses
    }

    /// Adds one use. It allocates nothing for a source and an hour that are known.
    pub fn note(&mut self, one: &OneUse<'_>) {
        let OneUse {
            at,
            address,
            agent,
            shadowed,
        } = *one;
        if at >= self.last_used {
            self.last_used = at;
            self.last_address = Some(address);
        }
        self.count = self.count.saturating_add(1);
        self.hours.add(hour_of(at), 1);
        self.days.add(day_of(at), 1);
        let shadow = shadowed.map_or(0, |since| self.note_shadow(since));
        let agent = beginning(agent);
        match self
            .sources
            .iter_mut()
            .find(|source| source.is_of(address, agent))
        {
            Some(source) => {
                source.first_used = source.first_used.min(at);
                source.last_used = source.last_used.max(at);
                source.count = source.count.saturating_add(1);
                source.shadow = source.shadow.saturating_add(shadow);
            }
            None => self.add_source(Source {
                address,
                agent: agent.into(),
                first_used: at,
                last_used: at,
                count: 1,
                shadow,
            }),
        }
    }

    /// Counts a use while the key is shadow-revoked, and returns what that counts for its source.
    fn note_shadow(&mut self, since: Timestamp) -> u64 {
        self.shadow_since(since);
        match &mut self.shadow {
            Some(shadow) if shadow.since == since => {
                shadow.count = shadow.count.saturating_add(1);
                1
            }
            // Of a time that another one has followed.
            Some(_) | None => 0,
        }
    }

    /// Begins from nothing when the key has been shadow-revoked anew.
    fn shadow_since(&mut self, since: Timestamp) {
        if self.shadow.is_none_or(|shadow| shadow.since < since) {
            self.shadow = Some(ShadowUse { since, count: 0 });
            for source in &mut self.sources {
                source.shadow = 0;
            }
        }
    }

    fn add_source(&mut self, source: Source) {
        if self.sources.len() < SOURCES_MAX {
            self.sources.push(source);
            return;
        }
        let oldest = self
            .sources
            .iter_mut()
            .min_by_key(|source| source.last_used);
        if let Some(oldest) = oldest.filter(|oldest| oldest.last_used <= source.last_used) {
            *oldest = source;
        }
    }

    /// Adds more uses of the same key. Nodes and clocks differ, so the last one may be the older; what comes of it is the
    /// same in either order.
    pub fn add(&mut self, mut more: Self) {
        let last = (self.last_used, self.last_address);
        (self.last_used, self.last_address) = last.max((more.last_used, more.last_address));
        self.count = self.count.saturating_add(more.count);
        if let Some(shadow) = self.shadow {
            more.shadow_since(shadow.since);
        }
        if let Some(shadow) = more.shadow {
            self.shadow_since(shadow.since);
            if let Some(own) = &mut self.shadow {
                own.count = own.count.saturating_add(shadow.count);
            }
        }
        self.hours.merge(&more.hours);
        self.days.merge(&more.days);
        let own = std::mem::take(&mut self.sources);
        self.sources = settle(own.into_iter().chain(more.sources));
    }

    /// With its sources as they are stored and shown.
    #[must_use]
    pub fn settled(mut self) -> Self {
        for source in &mut self.sources {
            source.agent = agent_text(&source.agent);
        }
        self.sources = settle(std::mem::take(&mut self.sources).into_iter());
        self
    }
}

/// Each source once, the last one first, and not too many.
fn settle(all: impl Iterator<Item = Source>) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for source in all {
        let known = sources
            .iter_mut()
            .find(|known| known.is_of(source.address, &source.agent));
        match known {
            Some(known) => known.add(&source),
            None => sources.push(source),
        }
    }
    sources.sort_by(|a, b| {
        let name = |source: &Source| (source.address, source.agent.clone());
        b.last_used
            .cmp(&a.last_used)
            .then_with(|| name(a).cmp(&name(b)))
    });
    sources.truncate(SOURCES_MAX);
    sources
}

/// As much of an agent as can matter to [`agent_text`], which makes no text shorter.
fn beginning(agent: &str) -> &str {
    let mut end = agent.len().min(AGENT_CHARS_MAX);
    while !agent.is_char_boundary(end) {
        end -= 1;
    }
    agent.get(..end).unwrap_or_default()
}

/// The text that stands for an agent: printable ASCII, what is not as an escape, and short. What is such a text already
/// stays as it is.
pub fn agent_text(said: &str) -> CompactString {
    let mut text = CompactString::default();
    for c in said.chars() {
        let before = text.len();
        match c {
            ' '..='~' => text.push(c),
            c => text.extend(c.escape_unicode()),
        }
        if text.len() > AGENT_CHARS_MAX {
            // No half of an escape.
            text.truncate(before);
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::buckets::{DAY_MS, HOUR_MS};
    use super::*;

    fn one(at: i64, host: u8, agent: &str) -> OneUse<'_> {
        OneUse {
            at: Timestamp(at),
            address: IpAddr::from([192, 0, 2, host]),
            agent,
            shadowed: None,
        }
    }

    fn of(all: &[OneUse<'_>]) -> Use {
        let (first, rest) = all.split_first().unwrap();
        let mut uses = Use::once(first);
        for one in rest {
            uses.note(one);
        }
        uses.settled()
    }

    #[test]
    fn a_source_is_an_address_and_an_agent_and_the_oldest_of_too_many_goes() {
        let uses = of(&[
            one(1, 1, "agent/7"),
            one(5, 1, "agent/7"),
            one(3, 1, "curl"),
        ]);
        let told: Vec<_> = uses
            .sources
            .iter()
            .map(|source| (source.agent.as_str(), source.first_used.0, source.count))
            .collect();
        assert_eq!(told, [("agent/7", 1, 2), ("curl", 3, 1)]);
        assert_eq!((uses.last_used, uses.count), (Timestamp(5), 3));
        let hosts = 1..=SOURCES_MAX as u8 + 3;
        let many: Vec<_> = hosts
            .clone()
            .map(|host| one(host.into(), host, ""))
            .collect();
        let many = of(&many);
        let kept: Vec<_> = many.sources.iter().map(|source| source.address).collect();
        let newest = hosts.rev().take(SOURCES_MAX);
        let newest: Vec<_> = newest.map(|host| IpAddr::from([192, 0, 2, host])).collect();
        assert_eq!(kept, newest);
        assert_eq!(many.count, SOURCES_MAX as u64 + 3, "every use is counted");
        // A source that is late is not kept for one that was used since.
        let mut late = many.clone();
        late.note(&one(1, 200, "late"));
        assert_eq!(late.settled().sources, many.sources);
    }

    #[test]
    fn an_agent_is_short_printable_and_the_same_when_it_is_read_again() {
        assert_eq!(
            agent_text("agent/7 (linux; \"x\")"),
            "agent/7 (linux; \"x\")"
        );
        assert_eq!(agent_text("a\u{1b}[2J\n"), "a\\u{1b}[2J\\u{a}");
        for said in [
            "é".repeat(100),
            "x".repeat(1_000),
            format!("{}é", "x".repeat(60)),
        ] {
            let text = agent_text(&said);
            assert!(text.len() <= AGENT_CHARS_MAX && text.len() > 56, "{text}");
            assert!(!text.ends_with("\\u{e9") && !text.ends_with("\\u"));
            assert_eq!(agent_text(&text), text);
            assert_eq!(agent_text(beginning(&said)), text);
        }
    }

    #[test]
    fn hours_and_days_roll_over_and_the_oldest_go() {
        let mut uses = Use::times(Timestamp(0), 1);
        for hour in 0..100 {
            uses.note(&one(i64::from(hour) * HOUR_MS + 1, 1, ""));
        }
        let hours: Vec<_> = uses.hours.each().collect();
        let newest: Vec<_> = (100 - HOURS_MAX as u32..100).map(|at| (at, 1)).collect();
        assert_eq!(hours, newest);
        let days: Vec<_> = uses.days.each().collect();
        assert_eq!(days, [(0, 25), (1, 24), (2, 24), (3, 24), (4, 4)]);
        let shown: Vec<_> = uses.days.up_to(5, 3).collect();
        assert_eq!(shown, [(3, 24), (4, 4), (5, 0)]);
        // One that is older than all of them, and one of a clock that is ahead.
        uses.hours.add(3, 1);
        uses.hours.add(u32::MAX, 1);
        assert_eq!(uses.hours.each().next(), Some((53, 1)));
        assert_eq!(
            uses.hours
                .up_to(99, 24)
                .map(|(_, count)| count)
                .sum::<u64>(),
            24
        );
        let year = (0..365).map(|day| one(day * DAY_MS, 1, ""));
        assert_eq!(of(&year.collect::<Vec<_>>()).days.each().count(), DAYS_MAX);
    }

    #[test]
    fn a_shadow_counts_since_the_key_was_shadow_revoked_and_anew_when_it_is_again() {
        let shadowed = |at, since| OneUse {
            shadowed: Some(Timestamp(since)),
            ..one(at, 1, "old")
        };
        let first = of(&[
            one(1, 1, "old"),
            shadowed(3, 2),
            shadowed(4, 2),
            one(5, 2, "new"),
        ]);
        let told = |uses: &Use| {
            let shadow = uses.shadow.map(|shadow| (shadow.since.0, shadow.count));
            let sources = uses
                .sources
                .iter()
                .map(|source| (source.count, source.shadow));
            (shadow, sources.collect::<Vec<_>>())
        };
        assert_eq!(told(&first), (Some((2, 2)), vec![(1, 0), (3, 2)]));
        let again = of(&[shadowed(9, 8)]);
        for (mut a, b) in [(first.clone(), again.clone()), (again, first)] {
            a.add(b);
            assert_eq!(told(&a), (Some((8, 1)), vec![(4, 1), (1, 0)]));
        }
    }

    fn any_use() -> impl Strategy<Value = Vec<(i64, u8, u8, Option<i64>)>> {
        let one = (
            0..400 * DAY_MS,
            0..3_u8,
            0..3_u8,
            prop::option::of(0..3_i64),
        );
        prop::collection::vec(one, 1..60)
    }

    proptest! {
        #[test]
        fn two_accounts_become_the_same_one_in_either_order(a in any_use(), b in any_use()) {
            let [a, b] = [a, b].map(|all| {
                let all: Vec<_> = all
                    .iter()
                    .map(|(at, host, agent, since)| OneUse {
                        shadowed: since.map(Timestamp),
                        ..one(*at, *host, ["", "x", "\n"][usize::from(*agent)])
                    })
                    .collect();
                of(&all)
            });
            let (mut ab, mut ba) = (a.clone(), b.clone());
            ab.add(b.clone());
            ba.add(a.clone());
            prop_assert_eq!(&ab, &ba);
            prop_assert_eq!(ab.count, a.count + b.count);
            prop_assert!(ab.sources.len() <= SOURCES_MAX);
            prop_assert_eq!(ab.clone().settled(), ab);
        }
    }
}
