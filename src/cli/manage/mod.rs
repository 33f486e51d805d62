//! The commands that manage orgs, users and keys: their options, and what is read from standard input. The requests
//! that they become are in `requests`.

mod requests;

use std::io::Read as _;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use ipnet::IpNet;
use zeroize::{Zeroize as _, Zeroizing};

use crate::cli::connect::{At, perform};
use crate::cli::show::show;
use crate::cli::{EXIT_USAGE, complain};
use crate::control::{Request, SecretText};
use crate::keys::Timestamp;
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
}

/// Whether to wait for the nodes.
#[derive(Args)]
struct Wait {
    /// Then say which nodes have applied it, as soon as all have or this time is up: 10 seconds unless given
    ///
    /// Exits with 3 when one has not: it refuses at the latest from the time shown on. A node that was stopped is not
    /// waited for; started again where it cannot reach Redis, it refuses at the latest from the time shown on, too. May
    /// be run again for what is revoked already.
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
}

/// `keys`
#[derive(Args)]
pub(in crate::cli) struct Keys {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: KeysAction,
}

#[derive(Subcommand)]
enum KeysAction {
    /// Make an API key; its secret is shown this once
    Create(NewApiKey),
    /// Add an API key issued elsewhere, its secret read from standard input
    Import(NewApiKey),
    /// List the API keys of an org
    List {
        /// The org, by id or name
        #[arg(long)]
        org: String,
    },
    /// Show an API key
    Show { id: String },
    /// Revoke an API key for good
    Revoke {
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Args)]
struct NewApiKey {
    /// The org, by id or name
    #[arg(long)]
    org: String,
    /// Its name, unique among the org's API keys
    #[arg(long)]
    name: String,
    /// Refuse it from this time on (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<Timestamp>,
    /// Accept it from these client addresses only (may be given again)
    #[arg(long = "allow-address", value_name = "CIDR", value_parser = network)]
    allowed_addresses: Vec<IpNet>,
}

/// `apps`
#[derive(Args)]
pub(in crate::cli) struct Apps {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: AppsAction,
}

#[derive(Subcommand)]
enum AppsAction {
    /// Make an application key; its secret is shown this once
    Create {
        /// Whose it is: a user or service account, by id, e-mail address or name
        #[arg(long, value_name = "USER")]
        owner: String,
        /// Its name, unique among the owner's application keys
        #[arg(long)]
        name: String,
        /// What it may be used for (may be given again) [default: all that the owner may]
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Refuse it from this time on (RFC 3339)
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires_at: Option<Timestamp>,
    },
    /// List the application keys of an org or of a user
    List {
        /// The org, by id or name
        #[arg(long, required_unless_present = "owner", conflicts_with = "owner")]
        org: Option<String>,
        /// The user, by id, e-mail address or name
        #[arg(long, value_name = "USER")]
        owner: Option<String>,
    },
    /// Show an application key
    Show { id: String },
    /// Revoke an application key for good
    Revoke {
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

/// `tokens`
#[derive(Args)]
pub(in crate::cli) struct Tokens {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    action: TokensAction,
}

#[derive(Subcommand)]
enum TokensAction {
    /// Make a client token
    Create {
        /// The org, by id or name
        #[arg(long)]
        org: String,
        /// Its name, unique among the org's client tokens
        #[arg(long)]
        name: String,
        /// Accept it from pages of these origins only (may be given again)
        #[arg(long = "allow-origin", value_name = "ORIGIN")]
        allowed_origins: Vec<String>,
        /// Refuse it from this time on (RFC 3339)
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires_at: Option<Timestamp>,
    },
    /// List the client tokens of an org
    List {
        /// The org, by id or name
        #[arg(long)]
        org: String,
    },
    /// Show a client token
    Show { id: String },
    /// Revoke a client token for good
    Revoke {
        id: String,
        #[command(flatten)]
        wait: Wait,
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
    };
    match perform(&command.at, request) {
        Ok(response) => show(&response, command.at.output),
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

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse::<jiff::Timestamp>()
        .map(|time| Timestamp(time.as_millisecond()))
        .map_err(|_| "a time is written as in 2030-12-31T23:59:59Z".to_owned())
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
