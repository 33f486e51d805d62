//! When keys were used, how often and from where, as the nodes add it up. It is a help to people and no part of any decision: a
//! node that ends badly takes its last few seconds with it, and an answer that is lost may count some twice.

use std::collections::BTreeMap;

use super::RedisStore;
use super::records::{Raw, read_fields};
use super::scripts::{Arguments, USAGE};
use crate::keys::buckets::{DAYS_MAX, HOURS_MAX};
use crate::keys::usage::Use;
use crate::keys::uses::SOURCES_MAX;
use crate::keys::{KeyId, Partition};
use crate::store::StoreError;
use crate::store::use_form::{USE_BYTES_MAX, decode, encode};

/// How many keys go in one call: while it runs, the server does nothing else. It takes 1 us for a key that was never used,
/// 13 us for one with a full history and one source, 30 us for one with eight (two busy cores, Redis 7.0).
const AT_ONCE: usize = 100;

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
                for bound in [USE_BYTES_MAX, HOURS_MAX, DAYS_MAX, SOURCES_MAX] {
                    arguments.push_number(bound);
                }
                for (id, used) in uses {
                    arguments.push(id.bytes());
                    arguments.push(encode(used));
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
                let held = read_fields(&self.servers, partition, &fields, USE_BYTES_MAX)?;
                for (id, held) in ids.iter().zip(held) {
                    // What is no use of ours, somebody else put there; it is no part of any decision.
                    if let Raw::Bytes(held) = held {
                        known.extend(decode(&held).map(|used| (*id, used)));
                    }
                }
            }
        }
        Ok(wanted.iter().map(|id| known.get(id).cloned()).collect())
    }
}
