//! Which revision a change gets. Numbers that anybody with access to Redis may have written are followed a little way only;
//! what a sealed record proves is followed wherever it is. It writes nothing.

use super::RedisStore;
use super::commit::now_us;
use super::layout::{CHANGE_RECORD, REVISION_END};
use crate::keys::{Partition, Revision};
use crate::store::StoreError;
use crate::store::seal::{BUCKETS, open};

/// How far ahead of the clocks a number may be that nothing proves. The scripts are told, so that both sides agree.
pub(super) const AHEAD_MAX_US: u64 = 3_600_000_000;

/// Close to the end of the numbers nothing is written any more.
const RESERVE: u64 = 1_000;

/// Where a partition stands, for the next change.
pub(super) struct Footing {
    /// What the partition says was last, as it is there: the change is made if it is still so.
    pub(super) last: Vec<u8>,
    /// The revision that the next change follows. It is `last` unless that is nonsense.
    pub(super) previous: u64,
    /// The revision of the next change.
    pub(super) next: u64,
    /// The newest revision that is known to be one of ours.
    pub(super) proven: u64,
}

impl RedisStore {
    /// Where the partition stands. When what it says was last is nonsense, the newest of its records counts instead.
    pub(super) fn footing(&self, partition: Partition) -> Result<Footing, StoreError> {
        let last = self.last(partition)?;
        // A clock that is far ahead must not use up the numbers there are.
        let clock = now_us().min(REVISION_END / 2);
        let said: Option<u64> = std::str::from_utf8(&last)
            .ok()
            .and_then(|last| last.parse().ok());
        let hint = self.seen(partition).0;
        let mut proven = self.proven(partition).0;
        let mut limit = clock.saturating_add(AHEAD_MAX_US);
        // Another machine's clock may be right, and this one's behind.
        if said.is_none_or(|said| said > limit) || hint > limit {
            let theirs = self.now(partition)?.0.unsigned_abs().saturating_mul(1_000);
            let theirs = theirs.min(REVISION_END / 2);
            limit = limit.max(theirs.saturating_add(AHEAD_MAX_US));
        }
        if said.is_none_or(|said| said > limit.max(proven)) {
            self.prove(partition, said)?;
            proven = self.proven(partition).0;
        }
        let limit = limit.max(proven);
        let believed = said.filter(|said| *said <= limit);
        if believed.is_none() {
            say_nonsense(partition, &last, proven);
        }
        let previous = believed.unwrap_or(proven);
        let hint = if hint <= limit { hint } else { 0 };
        let highest = previous.max(proven).max(hint);
        let next = highest.saturating_add(1).max(clock);
        if next >= REVISION_END - RESERVE {
            return Err(StoreError::Damaged {
                what: "revision",
                why: format!("partition {partition} is at {highest}"),
            });
        }
        Ok(Footing {
            last,
            previous,
            next,
            proven,
        })
    }

    /// Looks for the newest record of ours: under the number that is said to be the last, or else everywhere.
    fn prove(&self, partition: Partition, said: Option<u64>) -> Result<(), StoreError> {
        if let Some(said) = said {
            let mut command = redis::cmd("XRANGE");
            let id = format!("{said}-0");
            command
                .arg(self.layout().changes(partition))
                .arg(&id)
                .arg(&id);
            let found: Vec<(Vec<u8>, Vec<Vec<u8>>)> =
                self.servers.on(partition, |link| link.query(&command))?;
            for (_, fields) in found {
                let mut fields = fields.into_iter();
                while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
                    if name == CHANGE_RECORD
                        && let Ok(record) = open(&self.sealer, &value)
                        && record.partition() == Some(partition)
                        && record.revision() == Revision(said)
                    {
                        self.note_proven(partition, record.revision());
                        return Ok(());
                    }
                }
            }
        }
        // What cannot be read proves nothing, and must not keep anybody from revoking.
        for bucket in 0..BUCKETS {
            for read in self.readable(partition, bucket)? {
                self.note_proven(partition, read.record.revision());
            }
        }
        Ok(())
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the process' own troubles go where its supervisor reads"
)]
fn say_nonsense(partition: Partition, last: &[u8], proven: u64) {
    let last = String::from_utf8_lossy(last.get(..40).unwrap_or(last));
    eprintln!(
        "keygate: partition {partition} of the store says that its last change was {last:?}, which nothing proves: it goes on from {proven}"
    );
}
