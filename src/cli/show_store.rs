//! What is shown of the store itself, of the nodes of a fleet, and of receipts. What is shown of orgs, users and keys is in
//! `show`.

use std::io::{self, Write};

use super::show::{columns, fact, fact_if, plain};
use crate::control::{NodeHealth, NodeState, NodeView, Receipt, RootKeyView, Verified};
use crate::store::findings::{ServerStatus, Status};
use crate::store::migrate::Copied;

fn none() -> String {
    "-".to_owned()
}

/// Which nodes have applied a change.
pub(super) fn receipt(receipt: &Receipt, out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    if let Some(why) = &receipt.unknown {
        return writeln!(
            out,
            "the change is stored; which nodes have applied it is not known: {}",
            plain(why)
        );
    }
    if receipt.nodes.is_empty() {
        return writeln!(
            out,
            "no server runs: nothing accepts what was revoked or disabled"
        );
    }
    let rows = receipt.nodes.iter().map(|node| {
        [
            node.node.clone(),
            match node.state {
                NodeState::Applied => "applied",
                NodeState::NoAnswer => "no answer",
                NodeState::Stopped => "stopped",
            }
            .to_owned(),
            node.applied_after_ms
                .map_or_else(none, |after| format!("{after} ms")),
            node.refuses_at_the_latest.clone().unwrap_or_else(none),
        ]
    });
    let heads = ["NODE", "STATE", "APPLIED AFTER", "REFUSES AT THE LATEST"];
    columns(heads, rows, out)
}

/// The nodes of a fleet.
pub(super) fn nodes(nodes: &[NodeView], out: &mut impl Write) -> io::Result<()> {
    let rows = nodes.iter().map(|node| {
        [
            node.node.clone(),
            match node.health {
                NodeHealth::Live => "live",
                NodeHealth::Silent => "silent",
                NodeHealth::Fenced => "fenced",
                NodeHealth::Stopped => "stopped",
            }
            .to_owned(),
            node.version.clone(),
            node.address.clone(),
            match node.view_age_ms {
                // It never was in step.
                u64::MAX => none(),
                age => format!("{:.3} s", age as f64 / 1e3),
            },
            node.partitions_behind.to_string(),
            node.keys.to_string(),
            node.last_report.clone(),
            node.lease_ends.clone(),
        ]
    });
    let heads = [
        "NODE",
        "STATE",
        "VERSION",
        "ADDRESS",
        "VIEW AGE",
        "BEHIND",
        "KEYS",
        "LAST REPORT",
        "LEASE ENDS",
    ];
    columns(heads, rows, out)
}

/// What a store says of itself.
pub(super) fn status(status: &Status, out: &mut impl Write) -> io::Result<()> {
    fact("store", &status.home, out)?;
    fact("place", &status.place, out)?;
    fact("identity", &status.identity.to_string(), out)?;
    fact("layout", &status.layout.to_string(), out)?;
    fact("records", &status.records.to_string(), out)?;
    fact_if(
        "restoring",
        status
            .restoring
            .then_some("yes: it is half copied, run the same keygate store command again"),
        out,
    )?;
    for key in &status.root_keys {
        let used = if key.in_use { " (in use here)" } else { "" };
        fact("root key", &format!("{}{used}", key.check), out)?;
    }
    for server in &status.servers {
        server_facts(server, out)?;
    }
    writeln!(out)?;
    let rows = status.partitions.iter().map(|partition| {
        [
            partition.partition.to_string(),
            partition.revision.to_string(),
            partition.records.to_string(),
            if partition.restoring {
                "restoring"
            } else {
                "whole"
            }
            .to_owned(),
        ]
    });
    columns(["PARTITION", "REVISION", "RECORDS", "STATE"], rows, out)
}

fn server_facts(server: &ServerStatus, out: &mut impl Write) -> io::Result<()> {
    fact("server", &server.server, out)?;
    fact(
        "  version",
        &format!("{}, {}", server.version, server.role),
        out,
    )?;
    let limit = match server.memory_bytes_max {
        0 => "no limit".to_owned(),
        bytes => format!("of {} at most", megabytes(bytes)),
    };
    let memory = format!(
        "{}, {limit}, {}",
        megabytes(server.memory_bytes),
        server.maxmemory_policy
    );
    fact("  memory", &memory, out)?;
    let persistence = match (server.appendonly, server.appendonly_good) {
        (true, true) => "append-only file",
        (true, false) => "append-only file, which could not be written last",
        (false, _) => "no append-only file",
    };
    fact("  persistence", persistence, out)?;
    let replicas = match server.replicas_good {
        Some(good) => format!("{}, {good} in step", server.replicas),
        None => server.replicas.to_string(),
    };
    fact("  replicas", &replicas, out)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// What a look through a store found.
pub(super) fn verified(verified: &Verified, out: &mut impl Write) -> io::Result<()> {
    let Verified {
        place,
        findings,
        compared_with_server,
    } = verified;
    faults(&findings.faults, findings.more_faults, out)?;
    let compared = if *compared_with_server {
        ", compared with what this server has in memory"
    } else {
        ""
    };
    let outcome = match findings.faults_len() {
        0 => "all good".to_owned(),
        1 => "1 fault".to_owned(),
        faults => format!("{faults} faults"),
    };
    writeln!(
        out,
        "{}: {} records, {} names and {} digests looked at{compared}: {outcome}",
        plain(place),
        findings.records,
        findings.names,
        findings.digests,
    )
}

/// What was copied.
pub(super) fn copied(copied: &Copied, out: &mut impl Write) -> io::Result<()> {
    faults(&copied.faults, copied.more_faults, out)?;
    writeln!(out, "{}", plain(&copied.sentence()))?;
    match copied.faults.len() as u64 + copied.more_faults {
        0 => Ok(()),
        faults => writeln!(
            out,
            "{faults} records cannot be read and were left out, as named above"
        ),
    }
}

fn faults(faults: &[String], more: u64, out: &mut impl Write) -> io::Result<()> {
    for fault in faults {
        writeln!(out, "{}", plain(fault))?;
    }
    match more {
        0 => Ok(()),
        more => writeln!(out, "and {more} more"),
    }
}

/// A root key that was added or retired.
pub(super) fn root_key(key: &RootKeyView, out: &mut impl Write) -> io::Result<()> {
    fact("root key", &key.check, out)
}
