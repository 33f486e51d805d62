//! The commands about the audit log: what of it is asked for, page after page, and where it goes. How it is kept and proven
//! is the store's business.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use uuid::Uuid;

use super::connect::{At, Failed, Output, perform};
use super::manage::time;
use super::{EXIT_USAGE, complain, show, show_audit};
use crate::control::{AuditPage, AuditQuery, Request, Response};
use crate::keys::Timestamp;
use crate::keys::audit::Action;
use crate::store::log::HeadView;

/// The entries that are asked for at a time.
const PAGE: usize = 1_000;

/// `audit`
#[derive(Args)]
pub(super) struct Audit {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: AuditAction,
}

#[derive(Subcommand)]
enum AuditAction {
    /// List who did what, the newest first
    List {
        #[command(flatten)]
        wanted: Filter,
        /// At most so many; 0 is all
        #[arg(long, value_name = "NUMBER", default_value_t = 100)]
        limit: usize,
    },
    /// Look through all of the log: whether each entry is as it was written, and none is missing
    ///
    /// Exits with 1 when something is wrong. That a log begins anew is a note after a restore, and wrong after a loss. What is saved by --save says where the log
    /// ends: kept elsewhere, it proves later, by --against, that the log has only grown.
    Verify {
        /// Compare with what an earlier one saved
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
        /// Write where the log ends into this file, as JSON
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    /// Write all of the log to standard output, an entry a line as JSON, the newest first
    ///
    /// When it breaks off, it says with which --after it goes on.
    Export {
        #[command(flatten)]
        wanted: Filter,
    },
}

/// Which entries.
#[derive(Args)]
struct Filter {
    /// Of this org, by id or name
    #[arg(long)]
    org: Option<String>,
    /// Of this action
    #[arg(
        long,
        value_parser = PossibleValuesParser::new(Action::ALL.iter().map(|it| it.as_str()))
            .try_map(|text| text.parse::<Action>())
    )]
    action: Option<Action>,
    /// By this user (id, login name or name), or by "operator" or "system"
    #[arg(long, value_name = "USER")]
    actor: Option<String>,
    /// About what has this id
    #[arg(long, value_name = "ID")]
    object: Option<Uuid>,
    /// From this time on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Timestamp>,
    /// Go on where an earlier one ended, as it said
    #[arg(long, value_name = "PLACE")]
    after: Option<String>,
}

/// `audit`
pub(super) fn run(command: Audit) -> ExitCode {
    let Audit { at, action } = command;
    let outcome = match action {
        AuditAction::List { wanted, limit } => list(&at, wanted, limit),
        AuditAction::Verify { against, save } => verify(&at, against.as_deref(), save.as_deref()),
        AuditAction::Export { wanted } => export(&at, wanted),
    };
    outcome.unwrap_or_else(|(sentence, code)| complain(&sentence, code))
}

fn page(at: &At, wanted: &Filter, after: Option<&str>, most: usize) -> Result<AuditPage, Failed> {
    let query = AuditQuery {
        org: wanted.org.clone(),
        action: wanted.action,
        actor: wanted.actor.clone(),
        object: wanted.object,
        since: wanted.since,
        until: wanted.until,
        after: after.map(ToOwned::to_owned),
        most: Some(most),
    };
    match perform(at, Request::ListAudit { query })? {
        // Ours always goes on; a server elsewhere might not.
        Response::Audit(page) if page.next.is_some() && page.next.as_deref() == after => Err((
            "the list does not go on: the server says the same place again".to_owned(),
            1,
        )),
        Response::Audit(page) => Ok(page),
        _ => Err(("this is not what was asked for".to_owned(), 1)),
    }
}

fn list(at: &At, wanted: Filter, limit: usize) -> Result<ExitCode, Failed> {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let mut found = AuditPage {
        next: wanted.after.clone(),
        ..AuditPage::default()
    };
    loop {
        let most = PAGE.min(limit - found.entries.len());
        let next = page(at, &wanted, found.next.as_deref(), most)?;
        found.entries.extend(next.entries);
        found.next = next.next;
        if found.next.is_none() || found.entries.len() >= limit {
            break;
        }
    }
    let code = show::print(ExitCode::SUCCESS, |out| match at.output {
        Output::Table => show_audit::entries(&found.entries, out),
        Output::Json => show::put(&found, out),
    });
    if let (Output::Table, Some(next)) = (at.output, &found.next) {
        goes_on(next);
    }
    Ok(code)
}

fn goes_on(next: &str) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(
        io::stderr().lock(),
        "keygate: there is more: --after {}",
        show::plain(next)
    );
}

fn verify(at: &At, against: Option<&Path>, save: Option<&Path>) -> Result<ExitCode, Failed> {
    let of = |path: &Path, why: &dyn std::fmt::Display| {
        (format!("{}: {why}", path.display()), EXIT_USAGE)
    };
    let earlier: Vec<HeadView> = match against {
        None => Vec::new(),
        Some(path) => {
            let text = fs::read(path).map_err(|error| of(path, &error))?;
            serde_json::from_slice(&text).map_err(|_| {
                of(
                    path,
                    &"this is not what `keygate audit verify --save` writes",
                )
            })?
        }
    };
    let response = perform(at, Request::VerifyAudit { earlier })?;
    if let (Some(path), Response::AuditVerified(findings)) = (save, &response) {
        let heads = serde_json::to_vec_pretty(&findings.heads).unwrap_or_default();
        fs::write(path, heads).map_err(|error| (format!("{}: {error}", path.display()), 1))?;
    }
    Ok(show::show(&response, at.output))
}

fn export(at: &At, wanted: Filter) -> Result<ExitCode, Failed> {
    let mut after = wanted.after.clone();
    loop {
        let next = page(at, &wanted, after.as_deref(), PAGE).inspect_err(|_| {
            if let Some(after) = &after {
                goes_on(after);
            }
        })?;
        let write = || {
            let mut out = io::stdout().lock();
            for entry in &next.entries {
                writeln!(out, "{}", show::escaped(&serde_json::to_string(entry)?))?;
            }
            out.flush()
        };
        if let Err(error) = write() {
            if let Some(after) = &after {
                goes_on(after);
            }
            return Err((format!("standard output cannot be written: {error}"), 1));
        }
        after = next.next;
        if after.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}
