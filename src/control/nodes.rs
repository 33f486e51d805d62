//! The nodes of a fleet as people look at them. What they said, and when, is in the store; here it is read.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::receipt::SILENT_AFTER_MS;
use super::views::time_text;
use crate::keys::{Revision, Timestamp};
use crate::store::redis::probe::NodeReport;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeHealth {
    /// It reports.
    Live,
    /// It does not report, and accepts keys by what it knew last.
    Silent,
    /// It does not report, and accepts nothing any more.
    Fenced,
    /// It has ended in good order.
    Stopped,
}

/// A node of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeView {
    /// Tells it from every other node.
    pub node_id: Uuid,
    /// What it is called.
    pub node: String,
    /// How it is.
    pub health: NodeHealth,
    /// The version it runs.
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// How old its view is by now.
    pub view_age_ms: u64,
    /// In how many of the partitions the store has changes that it has not applied.
    pub partitions_behind: usize,
    /// How many keys it holds.
    pub keys: u64,
    /// When it reported last.
    pub last_report: String,
    /// From when on it accepts nothing, should it hear nothing more.
    pub lease_ends: String,
}

impl NodeView {
    /// By what it said, how far the store is, and what time it is by the store's clock.
    pub(super) fn of(node: &NodeReport, tails: &[Revision], now: Timestamp) -> Self {
        let report = &node.report;
        let since = now.0.saturating_sub(node.reported_at.0).max(0);
        let lease = i64::try_from(report.lease_ms).unwrap_or(i64::MAX);
        let ends = Timestamp(node.reported_at.0.saturating_add(lease));
        let behind = report.positions.iter().zip(tails);
        Self {
            node_id: report.node_id,
            node: report.node_name.clone(),
            health: if report.stopped {
                NodeHealth::Stopped
            } else if since < SILENT_AFTER_MS {
                NodeHealth::Live
            } else if ends > now {
                NodeHealth::Silent
            } else {
                NodeHealth::Fenced
            },
            version: report.version.clone(),
            address: report.address.clone(),
            view_age_ms: report.age_ms.saturating_add(since.unsigned_abs()),
            partitions_behind: behind.filter(|(position, tail)| position < tail).count(),
            keys: report.keys,
            last_report: time_text(node.reported_at),
            lease_ends: time_text(ends),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PARTITIONS;
    use crate::store::redis::probe::Report;

    #[test]
    fn a_node_is_live_then_silent_then_fenced_and_its_view_ages() {
        let mut node = NodeReport {
            report: Report {
                node_id: Uuid::nil(),
                node_name: "a".to_owned(),
                version: "1".to_owned(),
                address: "127.0.0.1:1".to_owned(),
                positions: [Revision(7); PARTITIONS],
                age_ms: 20,
                lease_ms: 60_000,
                keys: 3,
                stopped: false,
            },
            reported_at: Timestamp(1_000_000),
        };
        let tails = [Revision(7), Revision(8), Revision(6), Revision(9)];
        let mut seen = Vec::new();
        for now in [1_000_100, 1_005_000, 1_060_000] {
            let view = NodeView::of(&node, &tails, Timestamp(now));
            assert_eq!(view.partitions_behind, 2);
            seen.push((view.health, view.view_age_ms));
        }
        assert_eq!(
            seen,
            [
                (NodeHealth::Live, 120),
                (NodeHealth::Silent, 5_020),
                (NodeHealth::Fenced, 60_020)
            ]
        );
        node.report.stopped = true;
        // A clock that went back makes nothing young.
        let view = NodeView::of(&node, &tails, Timestamp(900_000));
        assert_eq!((view.health, view.view_age_ms), (NodeHealth::Stopped, 20));
    }
}
