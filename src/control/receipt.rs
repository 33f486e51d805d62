//! Receipts: which nodes have applied a change, when, and for the others from when on they refuse at the latest. Pure:
//! it is given what the nodes have said, and concludes.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::views::time_text;
use crate::keys::{Partition, Revision, Timestamp};
use crate::store::redis::probe::NodeReport;

/// A node reports every second. One that has not for so long does not answer, and is waited for no longer.
pub(super) const SILENT_AFTER_MS: i64 = 5_000;

/// What a node has said last, as far as it matters for one change.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    /// Tells it from every other node.
    pub(super) id: Uuid,
    /// What it is called.
    pub(super) node: String,
    /// The last change of the partition that it has applied.
    pub(super) position: Revision,
    /// When the store heard it, by the store's clock.
    pub(super) reported_at: Timestamp,
    /// For how long from then on it accepts keys without hearing of the store.
    pub(super) lease_ms: u64,
    /// It has ended in good order.
    pub(super) stopped: bool,
}

impl Heard {
    pub(super) fn of(node: &NodeReport, partition: Partition) -> Self {
        let report = &node.report;
        let position = report.positions.get(partition.index());
        Self {
            id: report.node_id,
            node: report.node_name.clone(),
            position: position.copied().unwrap_or_default(),
            reported_at: node.reported_at,
            lease_ms: report.lease_ms,
            stopped: report.stopped,
        }
    }

    /// From when on it accepts nothing, unless it hears of the store before.
    pub(super) fn lease_ends(&self) -> Timestamp {
        let lease = i64::try_from(self.lease_ms).unwrap_or(i64::MAX);
        Timestamp(self.reported_at.0.saturating_add(lease))
    }

    const fn is_silent(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.reported_at.0) >= SILENT_AFTER_MS
    }
}

/// Whether a node has applied a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It has.
    Applied,
    /// It has not said so.
    NoAnswer,
    /// It does not run. Started again where it hears nothing, it refuses at the latest from the time told.
    Stopped,
}

/// One node's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeReceipt {
    /// Tells it from every other node; the one server of an embedded store has none.
    pub node_id: Option<Uuid>,
    /// What it is called.
    pub node: String,
    /// Whether it has applied the change.
    pub state: NodeState,
    /// How long after the change was begun it was known to be applied there, by the clock of the store.
    pub applied_after_ms: Option<u64>,
    /// From when on it refuses the key even if it hears nothing more.
    pub refuses_at_the_latest: Option<String>,
}

/// What is known of a change on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// Whether every node that runs has applied it.
    pub applied_everywhere: bool,
    /// Each node.
    pub nodes: Vec<NodeReceipt>,
    /// Why the nodes could not be asked, when they could not.
    pub unknown: Option<String>,
}

impl Receipt {
    /// When nobody could be asked.
    pub(super) const fn unknown(why: String) -> Self {
        Self {
            applied_everywhere: false,
            nodes: Vec::new(),
            unknown: Some(why),
        }
    }

    /// When there is one server or none, as with the embedded store.
    pub(super) fn of_one_server(applied_after_ms: Option<u64>) -> Self {
        let node = applied_after_ms.map(|after| NodeReceipt {
            node_id: None,
            node: "this server".to_owned(),
            state: NodeState::Applied,
            applied_after_ms: Some(after),
            refuses_at_the_latest: None,
        });
        Self {
            applied_everywhere: true,
            nodes: node.into_iter().collect(),
            unknown: None,
        }
    }
}

/// A change that nodes are asked about.
#[derive(Debug)]
pub(super) struct Waiting {
    revision: Revision,
    /// When the change was begun, by the clock of the store; `None` when it was made earlier.
    begun: Option<Timestamp>,
    /// When each node was first known to have applied it.
    first: HashMap<Uuid, Timestamp>,
}

impl Waiting {
    pub(super) fn new(revision: Revision, begun: Option<Timestamp>) -> Self {
        Self {
            revision,
            begun,
            first: HashMap::new(),
        }
    }

    /// What is known now, and whether it is worth asking again.
    pub(super) fn conclude(&mut self, heard: &[Heard], now: Timestamp) -> (Receipt, bool) {
        let mut ask_again = false;
        let mut nodes = Vec::new();
        for node in heard {
            let line = |state, applied_after_ms, until: Option<Timestamp>| NodeReceipt {
                node_id: Some(node.id),
                node: node.node.clone(),
                state,
                applied_after_ms,
                refuses_at_the_latest: until.map(time_text),
            };
            let ends = node.lease_ends();
            if node.stopped {
                // Where it is started again and hears nothing, it knows what it knew, for as long.
                if ends > now {
                    nodes.push(line(NodeState::Stopped, None, Some(ends)));
                }
            } else if node.position >= self.revision {
                let first = *self.first.entry(node.id).or_insert(node.reported_at);
                let after = self
                    .begun
                    .map(|begun| first.0.saturating_sub(begun.0).max(0));
                nodes.push(line(
                    NodeState::Applied,
                    after.and_then(|after| after.try_into().ok()),
                    None,
                ));
            } else if ends > now {
                ask_again |= !node.is_silent(now);
                nodes.push(line(NodeState::NoAnswer, None, Some(ends)));
            }
            // The others accept nothing already, and nothing before they have heard of this change.
        }
        nodes.sort_by(|a, b| (&a.node, a.node_id).cmp(&(&b.node, b.node_id)));
        let receipt = Receipt {
            applied_everywhere: nodes.iter().all(|node| node.state != NodeState::NoAnswer),
            nodes,
            unknown: None,
        };
        (receipt, ask_again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: Timestamp = Timestamp(1_000_000);
    const CHANGE: Revision = Revision(50);

    fn heard(node: &str, position: u64, reported_at: i64) -> Heard {
        Heard {
            id: Uuid::from_u128(node.as_bytes()[0].into()),
            node: node.to_owned(),
            position: Revision(position),
            reported_at: Timestamp(reported_at),
            lease_ms: 60_000,
            stopped: false,
        }
    }

    fn conclude(heard: &[Heard], now: i64) -> (Receipt, bool) {
        Waiting::new(CHANGE, Some(BEGUN)).conclude(heard, Timestamp(now))
    }

    fn states(receipt: &Receipt) -> Vec<(&str, NodeState, Option<u64>)> {
        receipt
            .nodes
            .iter()
            .map(|node| (node.node.as_str(), node.state, node.applied_after_ms))
            .collect()
    }

    #[test]
    fn nodes_that_report_are_waited_for_until_each_has_applied_the_change() {
        let waiting = [heard("b", 49, 1_000_010), heard("a", 51, 1_000_012)];
        let (receipt, again) = conclude(&waiting, 1_000_020);
        assert!(again && !receipt.applied_everywhere);
        assert_eq!(
            states(&receipt),
            [
                ("a", NodeState::Applied, Some(12)),
                ("b", NodeState::NoAnswer, None)
            ]
        );
        let done = [heard("b", 50, 1_000_030), heard("a", 51, 1_000_012)];
        let (receipt, again) = conclude(&done, 1_000_035);
        assert!(!again && receipt.applied_everywhere);
    }

    #[test]
    fn the_first_report_after_the_change_counts_and_not_the_last() {
        let mut waiting = Waiting::new(CHANGE, Some(BEGUN));
        for reported_at in [1_000_008, 1_001_008] {
            let (receipt, _) =
                waiting.conclude(&[heard("a", 50, reported_at)], Timestamp(reported_at));
            assert_eq!(states(&receipt), [("a", NodeState::Applied, Some(8))]);
        }
    }

    #[test]
    fn a_silent_node_has_a_lease_and_is_not_waited_for() {
        let silent = [
            heard("a", 3, 1_000_000 - SILENT_AFTER_MS),
            heard("b", 60, 1_000_001),
        ];
        let (receipt, again) = conclude(&silent, 1_000_001);
        assert!(!again && !receipt.applied_everywhere);
        let until = receipt.nodes[0].refuses_at_the_latest.as_deref();
        assert_eq!(until, Some("1970-01-01T00:17:35.000Z"));
    }

    #[test]
    fn nodes_that_accept_nothing_already_are_not_in_the_receipt() {
        let mut stopped_now = heard("c", 3, 999_999);
        stopped_now.stopped = true;
        let mut stopped_before = heard("d", 3, 900_000);
        stopped_before.stopped = true;
        let fenced = heard("a", 3, 1_000_000 - 60_000);
        let (receipt, again) = conclude(&[fenced, stopped_now, stopped_before], 1_000_001);
        assert!(!again && receipt.applied_everywhere);
        assert_eq!(states(&receipt), [("c", NodeState::Stopped, None)]);
    }

    #[test]
    fn of_a_change_made_earlier_no_time_is_told() {
        let mut waiting = Waiting::new(CHANGE, None);
        let (receipt, _) = waiting.conclude(&[heard("a", 50, 5)], Timestamp(6));
        assert_eq!(states(&receipt), [("a", NodeState::Applied, None)]);
    }
}
