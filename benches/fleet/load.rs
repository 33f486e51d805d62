//! One node's first reading of a whole store: every bucket of every partition, by the library's own feed; and, if asked,
//! each record proven and put into a key table. It has no replica and serves nobody.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use keygate::keys::KeyTable;
use keygate::store::redis::Purpose;
use keygate::store::redis::feed::Feed;
use keygate::store::seal::{self, BUCKETS};
use serde_json::json;

use crate::{Failure, store, tell};

/// What to read.
#[derive(Args)]
pub struct Options {
    /// A node's configuration
    #[arg(short, long)]
    config: PathBuf,
    /// Prove each record and put it into a table, as a node does
    #[arg(long)]
    apply: bool,
}

/// Reads everything once.
pub fn run(options: &Options) -> Result<(), Failure> {
    let store = store(&options.config, Purpose::Serve)?;
    let sealer = store.sealer();
    let table = KeyTable::new(Instant::now());
    let (mut records, mut bytes, mut wrong) = (0_u64, 0_u64, 0_u64);
    let begun = Instant::now();
    for plan in store.plans()? {
        let mut feed = Feed::open(&store, &plan)?;
        for partition in &plan.partitions {
            feed.tail(*partition)?;
            for bucket in 0..BUCKETS {
                feed.bucket(*partition, bucket, &mut |stored| {
                    records += 1;
                    bytes += stored.sealed.len() as u64;
                    if options.apply {
                        match seal::open(&sealer, &stored.sealed) {
                            Ok(record) => {
                                table.apply(record);
                            }
                            Err(_) => wrong += 1,
                        }
                    }
                })?;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    if wrong > 0 {
        return Err(format!("{wrong} of {records} records are not the store's").into());
    }
    tell(
        &json!({"seconds": seconds, "records": records, "sealed_bytes": bytes, "keys": table.keys_len()}),
    )
}
