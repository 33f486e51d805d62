//! When keys were last used and how often, as the nodes add it up. It is a help to people and no part of any decision: a
//! node that ends badly takes its last few seconds with it, and an answer that is lost may count some twice.

use std::collections::BTreeMap;

use super::RedisStore;
use super::scripts::{Arguments, USAGE};
use crate::keys::{KeyId, Partition, Timestamp};
use crate::store::StoreError;

/// How many keys go in one call.
const AT_ONCE: usize = 500;

/// When a key was last used, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// When it was last used.
    pub last_used: Timestamp,
    /// How often it was used.
    pub count: u64,
}

impl RedisStore {
    /// Adds to what is known.
    ///
    /// # Errors
    /// When a master cannot be reached. Some may have been added.
    pub fn flush_usage(&self, uses: &[(KeyId, Use)]) -> Result<(), StoreError> {
        let mut spread: BTreeMap<Partition, Vec<&(KeyId, Use)>> = BTreeMap::new();
        for item in uses {
            spread.entry(item.0.partition()).or_default().push(item);
        }
        for (partition, uses) in spread {
            let keys = [self.layout().usage(partition)];
            for uses in uses.chunks(AT_ONCE) {
                let mut arguments = Arguments::default();
                for (id, used) in uses {
                    arguments.push(id.bytes());
                    arguments.push_number(used.last_used.0.max(0));
                    arguments.push_number(used.count);
                }
                let run = |link: &mut super::connect::Link| link.run(&USAGE, &keys, &arguments.0);
                let _: Vec<Vec<u8>> = self.servers.once(partition, run)?;
            }
        }
        Ok(())
    }

    /// What is known of these keys, in their order.
    ///
    /// # Errors
    /// When a master cannot be reached.
    pub fn usage_of(&self, wanted: &[KeyId]) -> Result<Vec<Option<Use>>, StoreError> {
        let mut spread: BTreeMap<Partition, Vec<KeyId>> = BTreeMap::new();
        for id in wanted {
            spread.entry(id.partition()).or_default().push(*id);
        }
        let mut known: BTreeMap<KeyId, Use> = BTreeMap::new();
        for (partition, ids) in spread {
            for ids in ids.chunks(AT_ONCE) {
                let mut command = redis::cmd("HMGET");
                command.arg(self.layout().usage(partition));
                for id in ids {
                    command.arg(&id.bytes());
                }
                let held: Vec<Option<String>> =
                    self.servers.on(partition, |link| link.query(&command))?;
                for (id, held) in ids.iter().zip(held) {
                    known.extend(held.as_deref().and_then(parse).map(|used| (*id, used)));
                }
            }
        }
        Ok(wanted.iter().map(|id| known.get(id).copied()).collect())
    }
}

fn parse(held: &str) -> Option<Use> {
    let (last_used, count) = held.split_once(':')?;
    Some(Use {
        last_used: Timestamp(last_used.parse().ok()?),
        count: count.parse().ok()?,
    })
}
