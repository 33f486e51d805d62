//! When keys were last used and how often, as the nodes add it up. It is a help to people and no part of any decision: a
//! node that ends badly takes its last few seconds with it, and an answer that is lost may count some twice.

use std::collections::BTreeMap;

use super::RedisStore;
use super::records::{Raw, read_fields};
use super::scripts::{Arguments, USAGE};
use crate::keys::usage::Use;
use crate::keys::{KeyId, Partition, Timestamp};
use crate::store::StoreError;

/// How many keys go in one call.
const AT_ONCE: usize = 500;

/// Two numbers are no longer.
const HELD_BYTES_MAX: usize = 64;

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
                let key = self.layout().usage(partition);
                let fields: Vec<_> = ids
                    .iter()
                    .map(|id| (key.clone(), id.bytes().to_vec()))
                    .collect();
                let held = read_fields(&self.servers, partition, &fields, HELD_BYTES_MAX)?;
                for (id, held) in ids.iter().zip(held) {
                    // What is no use of ours, somebody else put there; it is no part of any decision.
                    if let Raw::Bytes(held) = held {
                        known.extend(parse(&held).map(|used| (*id, used)));
                    }
                }
            }
        }
        Ok(wanted.iter().map(|id| known.get(id).copied()).collect())
    }
}

fn parse(held: &[u8]) -> Option<Use> {
    let (last_used, count) = std::str::from_utf8(held).ok()?.split_once(':')?;
    Some(Use {
        last_used: Timestamp(last_used.parse().ok()?),
        count: count.parse().ok()?,
    })
}
