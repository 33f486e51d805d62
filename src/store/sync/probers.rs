//! The threads that ask where the store stands, and report how far this node is: one for each plan. What the answers mean is
//! for the follower to say.

use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::feeds::{
    Common, Ended, MASTER_EVERY, MASTER_LATER, Message, Progress, demoted, resolve_again,
};
use super::heard::{Heard, Probed};
use crate::keys::{PARTITIONS, Partition, Revision};
use crate::store::redis::RedisStore;
use crate::store::redis::feed::Plan;
use crate::store::redis::probe::{Prober, Report};

/// How often it is asked where the store stands, and how soon again after a revocation: at once, unless it was asked just
/// now, so that many revocations in a second cost each node a few questions and not as many.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE_AGAIN: Duration = Duration::from_millis(250);

/// How often the store's wrapped keys are copied, so that the replica opens with a root key that was added meanwhile.
const RINGS_EVERY: Duration = Duration::from_secs(10);

/// Asks one plan's master where the store stands, every second and when nudged, until the end.
pub(super) fn probe(common: &Common, plan: &Plan, nudges: &Receiver<()>) {
    let mut tries = 0;
    while !common.is_over() {
        let opened = common
            .store
            .reach()
            .and_then(|store| Prober::open(store, plan));
        let error = match opened {
            Err(error) => error,
            Ok(mut prober) => match probe_on(common, plan, &mut prober, nudges, &mut tries) {
                Ended::Failed(error) => error,
                Ended::Over | Ended::Again => {
                    let now = Instant::now();
                    let solid = common.progress().solid;
                    // The last word of a node. Without it its lease runs out by itself.
                    let _ = prober.report(&common.report(now, &solid, true));
                    return;
                }
            },
        };
        if common.trouble(&error).is_err() {
            return;
        }
        common.rest(&mut tries);
        resolve_again(common);
    }
}

fn probe_on(
    common: &Common,
    plan: &Plan,
    prober: &mut Prober,
    nudges: &Receiver<()>,
    tries: &mut u32,
) -> Ended {
    // The first partition is the one by which a store is recognised.
    let copies_rings = Partition::all()
        .next()
        .is_some_and(|first| plan.partitions.contains(&first));
    let mut rings_at: Option<Instant> = None;
    let mut master_due = Instant::now() + MASTER_EVERY;
    loop {
        if copies_rings && rings_at.is_none_or(|at| at.elapsed() >= RINGS_EVERY) {
            rings_at = Some(Instant::now());
            let rings = match common.store.reach().and_then(RedisStore::rings) {
                Ok(rings) => rings,
                Err(error) => return error.into(),
            };
            if common.say(Message::Rings(rings)).is_err() {
                return Ended::Over;
            }
        }
        let progress = common.progress();
        let sent_at = Instant::now();
        let report = common.report(sent_at, &progress.solid, false);
        let probe = match prober.report(&report) {
            Ok(probe) => probe,
            Err(error) => return error.into(),
        };
        common.counters.probe(sent_at.elapsed());
        // One that takes no writes may be one that was cut off, which knows nothing of what its successor was told.
        if master_due <= Instant::now() || probe.untaken.is_some() {
            let with_master = common
                .store
                .reach()
                .and_then(|store| store.is_with_master(prober));
            let again = if with_master.is_ok() {
                MASTER_EVERY
            } else {
                MASTER_LATER
            };
            master_due = Instant::now() + again;
            match with_master {
                Ok(true) => {}
                Err(_) if probe.untaken.is_none() => {}
                Ok(false) => return demoted(&prober.server()).into(),
                Err(error) => return error.into(),
            }
        }
        if let Some(why) = probe.untaken {
            let text = format!(
                "the store does not take this node's report, so that no receipt can speak of it: {why}"
            );
            if common.say(Message::Trouble("report", text)).is_err() {
                return Ended::Over;
            }
        }
        *tries = 0;
        let probed = Heard::Probed(Probed {
            sent_at,
            applied: progress.certain,
            tails: probe.tails,
        });
        if common.say(Message::Heard(probed)).is_err() {
            return Ended::Over;
        }
        thread::sleep(PROBE_AGAIN.saturating_sub(sent_at.elapsed()));
        let wait = PROBE_EVERY.saturating_sub(sent_at.elapsed());
        match nudges.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ended::Over,
        }
    }
}

impl Common {
    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, now: Instant, solid: &[Revision; PARTITIONS], stopped: bool) -> Report {
        let age = self.table.view(now).map(|view| view.age);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Report {
            node_id: self.node.id,
            node_name: self.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            address: self.node.address.clone(),
            positions: *solid,
            age_ms: age.map_or(u64::MAX, ms),
            // By the answer to this very report the view may become as fresh as the report. A node that stops leaves a
            // replica of that age, from which it may start again.
            lease_ms: ms(self.node.serves_stale_for),
            keys: u64::try_from(self.table.keys_len()).unwrap_or(u64::MAX),
            stopped,
        }
    }
}
