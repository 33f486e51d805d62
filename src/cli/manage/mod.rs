//! The commands that manage orgs, users and keys: their options, and what is read from standard input. The requests
//! that they become are in `requests`.

mod key_requests;
mod keys;
mod requests;

use std::io::Read as _;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use zeroize::{Zeroize as _, Zeroizing};

pub(in crate::cli) use self::keys::{Apps, Keys, Tokens};
use crate::cli::connect::{At, perform};
use crate::cli::show::show;
use crate::cli::show_people::show_offboarding;
use crate::cli::{EXIT_USAGE, complain};
use crate::control::{Request, Response, SecretText};
use crate::keys::Timestamp;
use crate::keys::audit::AuditId;
use crate::keys::secret::SECRET_BYTES_MAX;

/// `init`
#[derive(Args)]
pub(in crate::cli) struct Init {
    #[command(flatten)]
    at: At,
    /// The org's name
    #[arg(long, value_name = "NAME", default_value = "default")]
    org: String,
    /// The user's e-mail address
    #[arg(long, value_name = "EMAIL", default_value = "admin@localhost")]
    user: String,
}

/// `orgs`
#[derive(Args)]
pub(in crate::cli) struct Orgs {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: OrgsAction,
}

#[derive(Subcommand)]
enum OrgsAction {
    /// Make an org with its first API key, "default"
    Create { name: String },
    /// List the orgs
    List,
    /// Show an org, given by id or name
    Show { org: String },
    /// Refuse all keys of an org until it is enabled again
    Disable {
        org: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Enable an org again
    Enable { org: String },
    /// Show how often the keys of an org were used of late, the most used first
    Usage { org: String },
}

/// `users`
#[derive(Args)]
pub(in crate::cli) struct Users {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: UsersAction,
}

#[derive(Subcommand)]
enum UsersAction {
    /// Make a user
    Create {
        /// The org, by id or name
        #[arg(long)]
        org: String,
        /// The e-mail address, which is also the login name
        #[arg(long)]
        email: String,
        /// The name shown to people [default: the e-mail address]
        #[arg(long)]
        name: Option<String>,
        /// The job title
        #[arg(long)]
        title: Option<String>,
        /// What the user may do to keys
        #[arg(long, value_enum, default_value_t = RoleName::Standard)]
        role: RoleName,
    },
    /// List the users of an org
    List {
        /// The org, by id or name
        #[arg(long)]
        org: String,
    },
    /// Show a user or service account, given by id, e-mail address or name
    Show { user: String },
    /// Disable a user, and revoke all their application keys for good
    Disable {
        user: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Enable a user again; revoked keys stay revoked
    Enable { user: String },
    /// Change a user; what is not given stays
    #[command(group = any_of(&["name", "email", "role", "title"]))]
    Update {
        user: String,
        #[command(flatten)]
        changes: ChangedUser,
        /// The job title; blank is none
        #[arg(long)]
        title: Option<String>,
    },
    /// Make a one-time link with which the user sets a password and signs in to the pages; it is shown this once
    #[command(visible_alias = "invite")]
    Link { user: String },
    /// Show a one-time link that was made, by its entry of the audit log; what opens it is not shown again
    Invitation {
        #[arg(value_name = "AUDIT_ID")]
        id: AuditId,
    },
    /// Off-board a leaver: show what ends with them and what they knew and is left to rotate, and with --yes disable them
    Offboard {
        user: String,
        /// Do it: disable the user, and revoke all their application keys for good
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        wait: Wait,
    },
}

/// What is to be different about a user or service account.
#[derive(Args)]
struct ChangedUser {
    /// The name shown to people
    #[arg(long)]
    name: Option<String>,
    /// The e-mail address
    #[arg(long)]
    email: Option<String>,
    /// What they may do to keys
    #[arg(long, value_enum)]
    role: Option<RoleName>,
}

/// Whether to wait for the nodes.
#[derive(Args)]
struct Wait {
    /// Then say which nodes have applied it, as soon as all have or this time is up: 10 seconds unless given
    ///
    /// Exits with 3 when one has not: it refuses at the latest from the time shown on. A node that was stopped is not
    /// waited for; started again where it cannot reach Redis, it refuses at the latest from the time shown on, too. May
    /// be run again for what is revoked already. A server elsewhere (--url) waits for 20 seconds at most.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "10",
        value_parser = clap::value_parser!(u64).range(..=600)
    )]
    wait: Option<u64>,
}

impl Wait {
    fn after(self, request: Request) -> Request {
        match self.wait {
            Some(seconds) => Request::AndWait {
                request: Box::new(request),
                wait_ms: seconds * 1_000,
            },
            None => request,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum RoleName {
    /// Everything in the org
    Admin,
    /// Their own application keys
    Standard,
    /// Look only
    ReadOnly,
}

/// `service-accounts`
#[derive(Args)]
pub(in crate::cli) struct ServiceAccounts {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: ServiceAccountsAction,
}

#[derive(Subcommand)]
enum ServiceAccountsAction {
    /// Make a service account
    Create {
        /// The org, by id or name
        #[arg(long)]
        org: String,
        /// Its name
        #[arg(long)]
        name: String,
        /// An e-mail address of those who look after it
        #[arg(long)]
        email: Option<String>,
        /// What it may do to keys
        #[arg(long, value_enum, default_value_t = RoleName::Standard)]
        role: RoleName,
    },
    /// List the service accounts of an org
    List {
        /// The org, by id or name
        #[arg(long)]
        org: String,
    },
    /// Show a service account, given by id or name
    Show { account: String },
    /// Disable a service account, and revoke all its application keys for good
    Disable {
        account: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Enable a service account again; revoked keys stay revoked
    Enable { account: String },
    /// Change a service account; what is not given stays
    #[command(group = any_of(&["name", "email", "role"]))]
    Update {
        account: String,
        #[command(flatten)]
        changes: ChangedUser,
    },
}

/// `whoami`
#[derive(Args)]
pub(in crate::cli) struct WhoamiArgs {
    #[command(flatten)]
    at: At,
}

/// What is to be done, once a secret has been read where one is needed.
enum Task {
    Do(Request),
    WithSecret(Box<dyn FnOnce(SecretText) -> Request>),
    Offboard { user: String, yes: bool, wait: Wait },
}

/// A management command: where, and what.
pub(in crate::cli) struct Managed {
    at: At,
    task: Task,
}

/// Performs the command and shows what came of it.
pub(in crate::cli) fn run(command: Managed) -> ExitCode {
    let request = match command.task {
        Task::Do(request) => request,
        Task::WithSecret(request) => match read_secret() {
            Ok(secret) => request(secret),
            Err(sentence) => return complain(&sentence, EXIT_USAGE),
        },
        Task::Offboard { user, yes, wait } => return offboard(&command.at, user, yes, wait),
    };
    match perform(&command.at, request) {
        Ok(response) => show(&response, command.at.output),
        Err((sentence, code)) => complain(&sentence, code),
    }
}

/// Shows what ends with a user and what is left to rotate; and ends it, if that is wanted.
fn offboard(at: &At, user: String, yes: bool, wait: Wait) -> ExitCode {
    let leaving = Request::ShowOffboarding { user: user.clone() };
    let leaving = match perform(at, leaving) {
        Ok(Response::Offboarding(leaving)) => leaving,
        Ok(_) => return complain("this is not what was asked for", 1),
        Err((sentence, code)) => return complain(&sentence, code),
    };
    if !yes {
        return show_offboarding(&leaving, None, at.output);
    }
    // By its id: what the name names may be another one by now.
    let user = leaving.user.id.to_string();
    let disable = Request::SetUserDisabled {
        user,
        disabled: true,
    };
    match perform(at, wait.after(disable)) {
        Ok(done) => show_offboarding(&leaving, Some(&done), at.output),
        Err((sentence, code)) => complain(&sentence, code),
    }
}

/// A secret from standard input, without the one line break that `echo` adds. Never from an argument: those are seen by
/// every process of the machine.
fn read_secret() -> Result<SecretText, String> {
    // Room for the longest secret, a line break and one byte more, which tells that it is too long.
    let room = SECRET_BYTES_MAX + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    std::io::stdin()
        .lock()
        .take(room as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("standard input cannot be read: {error}"))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err("give the secret on standard input".to_owned());
    }
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(SecretText::new(Zeroizing::new(text))),
        Err(error) => {
            error.into_bytes().zeroize();
            Err("the secret on standard input is not text".to_owned())
        }
    }
}

pub(in crate::cli) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse::<jiff::Timestamp>()
        .map(|time| Timestamp(time.as_millisecond()))
        .map_err(|_| "a time is written as in 2030-12-31T23:59:59Z".to_owned())
}

/// When a key expires: a time, or the end of a day (UTC), as on the pages.
fn expiry(text: &str) -> Result<Timestamp, String> {
    let Ok(day) = text.parse::<jiff::civil::Date>() else {
        return time(text);
    };
    // A time begins with a date, which is parsed for itself, too.
    if text.contains(['T', 't', ' ', ':']) {
        return time(text);
    }
    time(&format!("{day}T23:59:59Z"))
}

/// An update changes something.
fn any_of(changes: &[&'static str]) -> ArgGroup {
    let changes: Vec<clap::Id> = changes.iter().map(|name| clap::Id::from(*name)).collect();
    let group = ArgGroup::new("changes").args(changes);
    group.required(true).multiple(true)
}

/// How long: a number with a unit.
fn duration_ms(text: &str) -> Result<i64, String> {
    let units = [
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    let found = units.iter().find_map(|(unit, each)| {
        let number: i64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*each).filter(|ms| *ms > 0)
    });
    found.ok_or_else(|| "a duration is written as in 90s, 30m, 24h or 7d".to_owned())
}

/// A network, or one address as the network of itself.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
        .map_err(|_| "a network is written as in 10.0.0.0/8 or 2001:db8::/32".to_owned())
}

macro_rules! managed {
    ($($command:ident),*) => {
        $(impl From<$command> for Managed {
            fn from(command: $command) -> Self {
                Self { at: command.at, task: command.action.into() }
            }
        })*
    };
}

managed!(Orgs, Users, ServiceAccounts, Keys, Apps, Tokens);

impl From<Init> for Managed {
    fn from(Init { at, org, user }: Init) -> Self {
        Self {
            at,
            task: Task::Do(Request::Init { org, user }),
        }
    }
}

impl From<WhoamiArgs> for Managed {
    fn from(WhoamiArgs { at }: WhoamiArgs) -> Self {
        Self {
            at,
            task: Task::WithSecret(Box::new(|secret| Request::Whoami { secret })),
        }
    }
}
