//! Counts by hour and by day, as many of the newest as are kept. What is counted is not known here.

use super::Timestamp;

/// For so many hours it is known how often a key was used in each.
pub const HOURS_MAX: usize = 48;

/// And for so many days, which are those of UTC.
pub const DAYS_MAX: usize = 90;

pub(super) const HOUR_MS: i64 = 3_600_000;
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;

/// The number of the hour since the Unix epoch.
pub fn hour_of(at: Timestamp) -> u32 {
    u32::try_from(at.0 / HOUR_MS).unwrap_or(0)
}

/// The number of the day since the Unix epoch.
pub fn day_of(at: Timestamp) -> u32 {
    u32::try_from(at.0 / DAY_MS).unwrap_or(0)
}

/// When an hour begins.
pub fn start_of_hour(hour: u32) -> Timestamp {
    Timestamp(i64::from(hour) * HOUR_MS)
}

/// When a day begins.
pub fn start_of_day(day: u32) -> Timestamp {
    Timestamp(i64::from(day) * DAY_MS)
}

/// Counts by hour or by day, of the `MAX` newest ones that have any, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets<const MAX: usize> {
    /// The one that nearly every use falls into: beside the others, so that a key that is seldom used has no list. It has
    /// no count when there is none.
    newest: (u32, u64),
    /// The oldest first.
    earlier: Vec<(u32, u64)>,
}

impl<const MAX: usize> Buckets<MAX> {
    /// Adds to one.
    pub fn add(&mut self, number: u32, count: u64) {
        let (newest, counted) = self.newest;
        if count == 0 {
            return;
        }
        if counted == 0 {
            self.newest = (number, count);
        } else if number == newest {
            self.newest.1 = counted.saturating_add(count);
        } else if number > newest {
            self.add_earlier(newest, counted);
            self.newest = (number, count);
        } else {
            self.add_earlier(number, count);
        }
    }

    fn add_earlier(&mut self, number: u32, count: u64) {
        match self.earlier.binary_search_by_key(&number, |(at, _)| *at) {
            Ok(place) => {
                if let Some((_, counted)) = self.earlier.get_mut(place) {
                    *counted = counted.saturating_add(count);
                }
            }
            Err(place) if self.earlier.len() + 1 < MAX => {
                self.earlier.insert(place, (number, count));
            }
            // It is older than all that are kept.
            Err(0) => {}
            Err(place) => {
                self.earlier.remove(0);
                self.earlier.insert(place - 1, (number, count));
            }
        }
    }

    /// Adds those of another account.
    pub fn merge(&mut self, more: &Self) {
        for (number, count) in more.each() {
            self.add(number, count);
        }
    }

    /// Those that have any, the oldest first.
    pub fn each(&self) -> impl Iterator<Item = (u32, u64)> {
        let newest = Some(self.newest).filter(|(_, count)| *count > 0);
        self.earlier.iter().copied().chain(newest)
    }

    /// The count of each of the `most` ones that end with `last`, the oldest first.
    pub fn up_to(&self, last: u32, most: u32) -> impl Iterator<Item = (u32, u64)> {
        let first = last.saturating_sub(most.saturating_sub(1));
        (first..=last).map(|number| {
            let found = self.each().find(|(at, _)| *at == number);
            (number, found.map_or(0, |(_, count)| count))
        })
    }
}
