//! How a transaction is tried until it is known what came of it. What it reads and writes is in `transaction`.

use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::RedisStore;
use super::claims::{Claimed, claim, release};
use super::layout::{META_IDENTITY, META_LAST};
use super::scripts::COMMIT;
use super::transaction::{Commit, Transaction};
use crate::keys::audit::By;
use crate::keys::{Partition, Revision, Timestamp};
use crate::store::writing::Writing;
use crate::store::{Done, Needs, StoreError};

/// How long an operation is tried: until it is known what came of it, and while other writers are quicker.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What came of sending a commit.
pub(super) enum Outcome {
    /// It is in force.
    Done,
    /// Nothing was written, because something else was: the rules are to be asked again.
    Again,
}

impl RedisStore {
    /// One transaction of the rules: what `change` checks is what it writes upon. It runs again when another writer was
    /// quicker.
    pub(super) fn write<'s, T>(
        &'s self,
        partition: Partition,
        needs: Needs,
        by: &By,
        mut change: impl FnMut(&mut Writing<'_, Transaction<'s>>) -> Result<T, StoreError>,
    ) -> Result<Done<T>, StoreError> {
        if needs == Needs::Whole {
            self.whole(partition)?;
        }
        self.change(partition, |tables| {
            let (fingerprinter, limits) = (&self.fingerprinter, self.limits);
            let mut writing = Writing::new(tables, fingerprinter, limits, now(), by);
            writing.still_may()?;
            let value = change(&mut writing)?;
            Ok(Done {
                value,
                audit: writing.logged(),
            })
        })
    }

    /// One transaction.
    pub(super) fn change<'s, T>(
        &'s self,
        partition: Partition,
        mut change: impl FnMut(&mut Transaction<'s>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        loop {
            let mut transaction = Transaction::begin(self, partition)?;
            match change(&mut transaction) {
                Ok(made) => match transaction.finish() {
                    None => return Ok(made),
                    Some(commit) => {
                        if let Outcome::Done = self.commit(&commit, until)? {
                            return Ok(made);
                        }
                    }
                },
                // What was read in several exchanges may not have been so at one moment. Then it is no reason to refuse.
                Err(refused @ StoreError::Refused(_)) => {
                    if transaction.is_unchanged()? {
                        return Err(refused);
                    }
                }
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                return Err(self.outrun());
            }
            thread::sleep(pause.mul_f64(fastrand::f64()));
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    pub(super) fn outrun(&self) -> StoreError {
        StoreError::NotNow {
            server: self.servers(),
            why: "other writers were quicker each time".to_owned(),
        }
    }

    /// Sends a commit until it is known what came of it.
    pub(super) fn commit(&self, commit: &Commit, until: Instant) -> Result<Outcome, StoreError> {
        let mut deadline: Option<u64> = None;
        let mut claimed = Vec::new();
        for (fingerprint, key) in &commit.claims {
            match claim(self, fingerprint, *key) {
                Ok(Claimed::Until(ms)) => {
                    claimed.push((*fingerprint, *key));
                    deadline = Some(deadline.map_or(ms, |deadline| deadline.min(ms)));
                }
                other => {
                    self.give_back(&claimed);
                    return other.map(|_| Outcome::Again);
                }
            }
        }
        let outcome = self.send(commit, &commit.arguments(deadline), until);
        match &outcome {
            Ok(Outcome::Done) => {
                if let Some(last) = commit.last {
                    self.note_proven(commit.partition, last);
                }
            }
            // It may be in force, and then the claims are its.
            Err(StoreError::Unresolved { .. }) => {}
            Ok(Outcome::Again) | Err(_) => self.give_back(&claimed),
        }
        outcome
    }

    fn give_back(&self, claimed: &[(crate::keys::Fingerprint, crate::keys::KeyId)]) {
        for (fingerprint, key) in claimed {
            release(self, fingerprint, *key);
        }
    }

    /// The same commit may be sent many times: the script knows it again, and does it at most once.
    fn send(
        &self,
        commit: &Commit,
        arguments: &[Vec<u8>],
        until: Instant,
    ) -> Result<Outcome, StoreError> {
        let mut is_unheard = false;
        loop {
            let said = self.servers.once(commit.partition, |link| {
                let outcome = link.run::<Vec<Vec<u8>>>(&COMMIT, commit.keys(), arguments);
                // From here on it may have been done, whatever is heard.
                is_unheard |= matches!(outcome, Err(StoreError::Unreachable { .. }));
                outcome
            });
            let error = match said {
                Ok(said) => return self.understand(commit.partition, &said),
                Err(error) if !is_unheard => return Err(error),
                Err(error) => error,
            };
            if Instant::now() >= until {
                return Err(StoreError::Unresolved {
                    server: self.servers(),
                    why: error.to_string(),
                });
            }
            thread::sleep(Duration::from_millis(fastrand::u64(20..200)));
        }
    }

    /// Whether a script has done what it was to do, and not found something else.
    pub(super) fn is_done(
        &self,
        partition: Partition,
        said: &[Vec<u8>],
    ) -> Result<bool, StoreError> {
        Ok(matches!(self.understand(partition, said)?, Outcome::Done))
    }

    fn understand(&self, partition: Partition, said: &[Vec<u8>]) -> Result<Outcome, StoreError> {
        let text = |at: usize| {
            let part = said.get(at).map(Vec::as_slice).unwrap_or_default();
            String::from_utf8_lossy(part).into_owned()
        };
        match text(0).as_str() {
            "done" => Ok(Outcome::Done),
            "conflict" | "late" => Ok(Outcome::Again),
            "behind" => {
                // The stream is ahead of the partition: somebody wrote to it, or the partition was put back.
                if let Ok(top) = text(1).parse() {
                    self.note_told(partition, Revision(top));
                }
                Ok(Outcome::Again)
            }
            "other_identity" => Err(self.other_identity(text(1))),
            "not_made" => Err(self.lost(partition)),
            "wrong_type" => Err(StoreError::Damaged {
                what: "key",
                why: format!("{} is a {}", text(1), text(2)),
            }),
            other => Err(StoreError::Damaged {
                what: "answer",
                why: format!("it says {other:?}"),
            }),
        }
    }

    /// What the partition says was its last revision, as it is there. It belongs to this store.
    pub(super) fn last(&self, partition: Partition) -> Result<Vec<u8>, StoreError> {
        let mut command = redis::cmd("HMGET");
        command
            .arg(self.layout().meta(partition))
            .arg(META_IDENTITY)
            .arg(META_LAST);
        let (identity, last): (Option<String>, Option<Vec<u8>>) =
            self.servers.on(partition, |link| link.query(&command))?;
        match identity {
            None => return Err(self.lost(partition)),
            Some(found) if found != self.identity.to_string() => {
                return Err(self.other_identity(found));
            }
            Some(_) => {}
        }
        Ok(last.unwrap_or_default())
    }

    fn other_identity(&self, mut found: String) -> StoreError {
        // Whoever may write to Redis may have put anything there.
        if uuid::Uuid::try_parse(&found).is_err() {
            "something that is no identity".clone_into(&mut found);
        }
        StoreError::OtherIdentity {
            server: self.servers(),
            found,
            wanted: self.identity,
        }
    }

    fn lost(&self, partition: Partition) -> StoreError {
        StoreError::Damaged {
            what: "partition",
            why: format!(
                "number {partition} is empty at {}: run keygate store restore",
                self.servers()
            ),
        }
    }
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(now_us() / 1_000).unwrap_or(i64::MAX))
}

pub(super) fn now_us() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
