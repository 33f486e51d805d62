//! Who uses which key, from where, and when, as it is shown to people and programs. It asks no store and no permission.

use serde::{Deserialize, Serialize};

use super::views::{KeyView, OrgView, time_text};
use crate::keys::buckets::{
    Buckets, DAYS_MAX, HOURS_MAX, day_of, hour_of, start_of_day, start_of_hour,
};
use crate::keys::usage::{ShadowUse, Source, Use};
use crate::keys::{Deed, Timestamp};

/// Hours that are added up as the last day.
const HOURS_OF_A_DAY: u32 = 24;

/// Days that are added up as the last month.
const DAYS_OF_A_MONTH: u32 = 30;

/// One place that a key is used from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceView {
    /// The client's address, trusted proxies aside.
    pub address: String,
    /// What the client says it is, cut and escaped; empty when it says nothing.
    pub user_agent: String,
    /// The first of the requests counted here: the eight last sources are remembered, and one that comes again begins anew.
    pub first_used_at: String,
    /// The last one.
    pub last_used_at: String,
    /// How many.
    pub requests: u64,
    /// How many since the key was shadow-revoked.
    pub shadow_requests: u64,
}

impl SourceView {
    fn of(source: &Source) -> Self {
        Self {
            address: source.address.to_string(),
            user_agent: source.agent.to_string(),
            first_used_at: time_text(source.first_used),
            last_used_at: time_text(source.last_used),
            requests: source.count,
            shadow_requests: source.shadow,
        }
    }

    pub(super) fn all(uses: &Use) -> Vec<Self> {
        uses.sources.iter().map(Self::of).collect()
    }
}

/// The requests of an hour or a day (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketView {
    /// When it begins.
    pub from: String,
    /// How many.
    pub requests: u64,
}

/// What would have been refused if the key were revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowView {
    /// Since when the key is shadow-revoked.
    pub since: String,
    /// How many requests passed with it since.
    pub requests: u64,
    /// Where they came from, the last one first.
    pub sources: Vec<SourceView>,
}

impl ShadowView {
    fn of(deed: Deed, uses: Option<&Use>) -> Self {
        let counted = uses.filter(|uses| {
            let since = uses.shadow.map(|shadow| shadow.since);
            since == Some(deed.at)
        });
        let requests = counted.and_then(|uses| uses.shadow);
        let sources = counted.into_iter().flat_map(|uses| &uses.sources);
        Self {
            since: time_text(deed.at),
            requests: requests.map_or(0, |ShadowUse { count, .. }| count),
            sources: sources
                .filter(|source| source.shadow > 0)
                .map(SourceView::of)
                .collect(),
        }
    }
}

/// Who uses a key.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyUseView {
    /// The key.
    pub key: KeyView,
    /// The last request that was accepted with it, up to `store.usage_interval` ago.
    pub last_used_at: Option<String>,
    /// Where that came from.
    pub last_address: Option<String>,
    /// How many were, ever.
    pub uses: u64,
    /// Where the last ones came from, at most eight, the last one first.
    pub sources: Vec<SourceView>,
    /// The last 48 hours, those without a request too, the oldest first.
    pub by_hour: Vec<BucketView>,
    /// The last 90 days, likewise.
    pub by_day: Vec<BucketView>,
    /// While the key is shadow-revoked: what would have been refused.
    pub shadow: Option<ShadowView>,
}

impl KeyUseView {
    /// The history ends with `now`.
    pub(super) fn of(
        key: KeyView,
        shadowed: Option<Deed>,
        uses: Option<&Use>,
        now: Timestamp,
    ) -> Self {
        let none = (Buckets::default(), Buckets::default());
        let (hours, days) = uses.map_or((&none.0, &none.1), |uses| (&uses.hours, &uses.days));
        let by_hour = hours.up_to(hour_of(now), HOURS_MAX as u32);
        let by_day = days.up_to(day_of(now), DAYS_MAX as u32);
        Self {
            key,
            last_used_at: uses.map(|uses| time_text(uses.last_used)),
            last_address: uses.and_then(last_address),
            uses: uses.map_or(0, |uses| uses.count),
            sources: uses.map(SourceView::all).unwrap_or_default(),
            by_hour: by_hour.map(bucket(start_of_hour)).collect(),
            by_day: by_day.map(bucket(start_of_day)).collect(),
            shadow: shadowed.map(|deed| ShadowView::of(deed, uses)),
        }
    }
}

pub(super) fn last_address(uses: &Use) -> Option<String> {
    uses.last_address.map(|address| address.to_string())
}

/// How often one key of an org was used of late.
#[derive(Debug, Serialize, Deserialize)]
pub struct KeyTotals {
    /// The key, with when and from where it was last used, if it ever was.
    pub key: KeyView,
    /// Requests of this hour and the 23 before it.
    pub last_24_hours: u64,
    /// Requests of today and the 29 days before it.
    pub last_30_days: u64,
}

impl KeyTotals {
    pub(super) fn of(key: KeyView, uses: Option<&Use>, now: Timestamp) -> Self {
        let sum = |counts: &mut dyn Iterator<Item = (u32, u64)>| {
            counts.fold(0_u64, |sum, (_, count)| sum.saturating_add(count))
        };
        let hours = |uses: &Use| sum(&mut uses.hours.up_to(hour_of(now), HOURS_OF_A_DAY));
        let days = |uses: &Use| sum(&mut uses.days.up_to(day_of(now), DAYS_OF_A_MONTH));
        Self {
            key,
            last_24_hours: uses.map_or(0, hours),
            last_30_days: uses.map_or(0, days),
        }
    }
}

/// How often the keys of an org were used of late.
#[derive(Debug, Serialize, Deserialize)]
pub struct OrgUseView {
    /// The org.
    pub org: OrgView,
    /// Its keys that the caller may see, the most used first and those never used at the end: the active ones, and revoked
    /// ones that were used in the last 30 days.
    pub keys: Vec<KeyTotals>,
    /// Keys beyond those.
    pub more: u64,
    /// The last 24 hours of all API keys and client tokens that the caller may see, the oldest first. Application keys are left
    /// out: a request with a pair is one request, and its API key has it.
    #[serde(default)]
    pub by_hour: Vec<BucketView>,
    /// The last 30 days, likewise.
    #[serde(default)]
    pub by_day: Vec<BucketView>,
}

/// The uses of many keys, added up.
pub(super) struct OrgBuckets {
    now: Timestamp,
    hours: Buckets<HOURS_MAX>,
    days: Buckets<DAYS_MAX>,
}

impl OrgBuckets {
    pub(super) fn until(now: Timestamp) -> Self {
        let (hours, days) = (Buckets::default(), Buckets::default());
        Self { now, hours, days }
    }

    pub(super) fn add(&mut self, uses: &Use) {
        // The oldest of a key that is no longer used must not push out the newest of the others.
        let (hour, day) = (hour_of(self.now), day_of(self.now));
        let hours = uses.hours.each();
        for (at, count) in hours.filter(|(at, _)| hour < at.saturating_add(HOURS_OF_A_DAY)) {
            self.hours.add(at, count);
        }
        let days = uses.days.each();
        for (at, count) in days.filter(|(at, _)| day < at.saturating_add(DAYS_OF_A_MONTH)) {
            self.days.add(at, count);
        }
    }

    /// The last 24 hours and the last 30 days.
    pub(super) fn views(&self) -> (Vec<BucketView>, Vec<BucketView>) {
        let hours = self.hours.up_to(hour_of(self.now), HOURS_OF_A_DAY);
        let days = self.days.up_to(day_of(self.now), DAYS_OF_A_MONTH);
        (
            hours.map(bucket(start_of_hour)).collect(),
            days.map(bucket(start_of_day)).collect(),
        )
    }
}

fn bucket(from: fn(u32) -> Timestamp) -> impl Fn((u32, u64)) -> BucketView {
    move |(number, requests)| BucketView {
        from: time_text(from(number)),
        requests,
    }
}
