//! The command line: what can be typed, and which part of the program performs it. It holds no rule about keys.

mod audit;
mod connect;
mod demo;
mod explain;
mod manage;
mod manual;
mod remote;
mod serve;
mod show;
mod show_audit;
mod show_explain;
mod show_keys;
mod show_people;
mod show_store;
mod store;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What a wrong use of the command line exits with (`EX_USAGE` of sysexits.h).
const EXIT_USAGE: u8 = 64;

/// What a bad configuration exits with (`EX_CONFIG` of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// What a change exits with that is stored, and that some node has not applied yet.
const EXIT_NOT_EVERYWHERE: u8 = 3;

/// An authenticating reverse proxy and ingestion gateway.
#[derive(Parser)]
#[command(name = "keygate", version, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try it: a gateway with a store of its own and a built-in intake; prints keys and lines to paste
    Demo(Demo),
    /// Run the gateway
    Serve {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Check a configuration file, and start nothing. With [store.redis] its servers are asked for settings that
    /// endanger the store: those are warnings
    Check {
        /// The configuration file
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// About the configuration
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Make an org, its first user and the first keys of both
    Init(manage::Init),
    /// Orgs: who owns API keys, client tokens and users
    Orgs(manage::Orgs),
    /// Users: who owns application keys
    Users(manage::Users),
    /// Service accounts: names that programs act under
    ServiceAccounts(manage::ServiceAccounts),
    /// API keys: identify an org to the intake
    Keys(manage::Keys),
    /// Application keys: with an API key, access to the API as their owner
    Apps(manage::Apps),
    /// Client tokens: publishable, for browser logs only
    Tokens(manage::Tokens),
    /// The audit log: who did what to which key
    Audit(audit::Audit),
    /// Say what is decided about a request, and why, step by step
    ///
    /// The request is given as to curl, or by the id of its record. Secrets are better kept out of the arguments, which
    /// every process of the machine can read: a header's value that is written '$NAME', in single quotes, is taken from
    /// that variable, and -H @FILE (@- is standard input) reads headers line by line. Nothing that is given is printed back.
    Explain(explain::ExplainArgs),
    /// The nodes of a fleet: how each is, and how fresh its view of the store
    Fleet(store::Fleet),
    /// The store itself: how it is, whether it is whole, moving it, restoring it, its root keys
    Store(store::StoreCommand),
    /// Say what the secret on standard input is, whose, and what it may reach
    Whoami(manage::WhoamiArgs),
    /// Print completions of this command line for a shell
    Completions(manual::Completions),
    /// Print the man page of this command line
    Man(manual::Manual),
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Print every setting with its meaning and its default
    Print,
}

/// The options of `demo`.
#[derive(Args)]
pub(crate) struct Demo {
    /// Where to listen [default: 127.0.0.1:8080, or the next free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Where the operator's listener is [default: 127.0.0.1:8081, or the next free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) admin: Option<std::net::SocketAddr>,
    /// Where the pages and the key management API are [default: 127.0.0.1:8082, or the next free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) control: Option<std::net::SocketAddr>,
    /// Forward everything there instead of to the built-in intake
    #[arg(long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Keep the store in this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Have the store in this Redis, under the prefix keygate-demo: start it again elsewhere, and it is a fleet. All
    /// demos have the same root key: anybody can read what is in it
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<crate::config::RedisUrl>,
    /// How to show what happens
    #[arg(long, value_enum, default_value_t = DemoOutput::Text)]
    pub(crate) output: DemoOutput,
}

/// How `demo` shows what happens.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoOutput {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Runs the command line. The first argument is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let line = match Line::try_parse_from(args) {
        Ok(line) => line,
        Err(error) => {
            if let Some(sentence) = unwanted(&error) {
                return complain(&sentence, EXIT_USAGE);
            }
            // Nobody is left to tell when this fails.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(EXIT_USAGE)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match line.command {
        Command::Demo(options) => demo::run(options),
        Command::Serve { config } => serve::serve(&config),
        Command::Check { config } => serve::check(&config),
        Command::Config {
            action: ConfigAction::Print,
        } => serve::print(),
        Command::Init(command) => manage::run(command.into()),
        Command::Orgs(command) => manage::run(command.into()),
        Command::Users(command) => manage::run(command.into()),
        Command::ServiceAccounts(command) => manage::run(command.into()),
        Command::Keys(command) => manage::run(command.into()),
        Command::Apps(command) => manage::run(command.into()),
        Command::Tokens(command) => manage::run(command.into()),
        Command::Audit(command) => audit::run(command),
        Command::Explain(command) => explain::run(command),
        Command::Fleet(command) => store::run_fleet(&command),
        Command::Store(command) => store::run(command),
        Command::Whoami(command) => manage::run(command.into()),
        Command::Completions(options) => manual::completions(&options),
        Command::Man(options) => manual::manual(&options),
    }
}

/// What to say of an argument that is no option and not wanted: not what it is, since it may be a secret that belongs on
/// standard input.
fn unwanted(error: &clap::Error) -> Option<String> {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(argument))) if !argument.starts_with('-') => Some(
            "there is one argument too many (not shown, it may be a secret; secrets are read from standard input): \
             see --help"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Says in one sentence why the command failed.
fn complain(sentence: &str, code: u8) -> ExitCode {
    // Nobody is left to tell when this fails.
    let _ = writeln!(
        std::io::stderr().lock(),
        "keygate: {}",
        show::plain_lines(sentence)
    );
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        <Line as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_wrong_use_exits_with_64() {
        let code = |args: &[&str]| run(args.iter().map(OsString::from));
        assert_eq!(
            format!("{:?}", code(&["keygate", "keys", "steal"])),
            format!("{:?}", ExitCode::from(64))
        );
        assert_eq!(
            format!("{:?}", code(&["keygate", "--version"])),
            format!("{:?}", ExitCode::SUCCESS)
        );
    }
}
