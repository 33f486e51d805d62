//! What is shown of the audit log. It asks nobody.

use std::io::{self, Write};

use super::show::{columns, none, plain};
use crate::control::AuditView;
use crate::store::log::LogFindings;

/// Entries, with what each changed.
pub(super) fn entries(entries: &[AuditView], out: &mut impl Write) -> io::Result<()> {
    let rows = entries.iter().map(|entry| {
        let actor = entry.actor_name.as_ref().unwrap_or(&entry.actor);
        [
            entry.id.to_string(),
            entry.at.clone(),
            actor.clone(),
            entry.via.clone(),
            entry.address.clone().unwrap_or_else(none),
            entry.action.clone(),
            entry.object_name.clone(),
            changes(entry),
        ]
    });
    let heads = [
        "ID", "AT", "BY", "VIA", "FROM", "ACTION", "OBJECT", "CHANGES",
    ];
    columns(heads, rows, out)
}

fn changes(entry: &AuditView) -> String {
    let of = |value: &Option<String>| value.clone().unwrap_or_else(none);
    let all: Vec<_> = entry
        .changes
        .iter()
        .map(|it| format!("{}: {} > {}", it.field, of(&it.before), of(&it.after)))
        .collect();
    all.join("; ")
}

/// What a look through the log found.
pub(super) fn verified(findings: &LogFindings, out: &mut impl Write) -> io::Result<()> {
    for note in &findings.beginnings {
        writeln!(out, "note: {}", plain(note))?;
    }
    for fault in &findings.faults {
        writeln!(out, "{}", plain(fault))?;
    }
    for head in findings.heads.iter().filter(|head| head.count > 0) {
        writeln!(
            out,
            "head of partition {}: {} entries, {}",
            head.partition,
            head.count,
            plain(&head.hash)
        )?;
    }
    let faults = findings.faults.len() as u64 + findings.more_faults;
    let begins = !findings.beginnings.is_empty();
    let outcome = match faults {
        0 if begins => "no fault since it begins, as noted above".to_owned(),
        0 => "all good".to_owned(),
        1 => "1 fault".to_owned(),
        faults => format!("{faults} faults"),
    };
    writeln!(
        out,
        "audit log: {} entries read, {} records compared with them: {outcome}",
        findings.entries, findings.records
    )
}
