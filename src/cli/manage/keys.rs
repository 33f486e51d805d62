//! The options of the commands that manage keys, kind by kind. The requests that they become are in `key_requests`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::{Wait, any_of, duration_ms, expiry, network};
use crate::cli::connect::At;
use crate::keys::Timestamp;

/// `keys`
#[derive(Args)]
pub(in crate::cli) struct Keys {
    #[command(flatten)]
    pub(super) at: At,
    #[command(subcommand)]
    pub(super) action: KeysAction,
}

#[derive(Subcommand)]
pub(super) enum KeysAction {
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
    /// Show who uses an API key, from where, and when
    Usage { id: String },
    /// Change an API key; what is not given stays, its secret always
    #[command(group = any_of(&["name", "expires_at", "never_expires", "allowed_addresses", "any_address", "category", "remote_config_read"]))]
    Update {
        id: String,
        #[command(flatten)]
        changes: ChangedApiKey,
    },
    /// Give an API key a successor, whose secret is shown this once
    Rotate(Rotated),
    /// Let its requests pass, marked and counted as those that would not if it were revoked
    ShadowRevoke(Shadowed),
    /// Revoke an API key for good
    Revoke {
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Args)]
pub(super) struct NewApiKey {
    /// The org, by id or name
    #[arg(long)]
    pub(super) org: String,
    /// Its name, unique among the org's API keys
    #[arg(long)]
    pub(super) name: String,
    /// Refuse it from this time on (RFC 3339), or from the end of this day on (2027-01-31, UTC)
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(super) expires_at: Option<Timestamp>,
    /// Accept it from these client addresses only (may be given again)
    #[arg(long = "allow-address", value_name = "CIDR", value_parser = network)]
    pub(super) allowed_addresses: Vec<IpNet>,
    /// What it is filed under
    #[arg(long)]
    pub(super) category: Option<String>,
}

/// What any kind of key can have changed.
#[derive(Args)]
pub(super) struct Changed {
    /// Its name
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Refuse it from this time on (RFC 3339), or from the end of this day on (2027-01-31, UTC)
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(super) expires_at: Option<Timestamp>,
    /// Never refuse it for its age
    #[arg(long, conflicts_with = "expires_at")]
    pub(super) never_expires: bool,
}

#[derive(Args)]
pub(super) struct ChangedApiKey {
    #[command(flatten)]
    pub(super) any: Changed,
    /// Accept it from these client addresses only (may be given again)
    #[arg(long = "allow-address", value_name = "CIDR", value_parser = network)]
    pub(super) allowed_addresses: Vec<IpNet>,
    /// Accept it from any address
    #[arg(long, conflicts_with = "allowed_addresses")]
    pub(super) any_address: bool,
    /// What it is filed under
    #[arg(long)]
    pub(super) category: Option<String>,
    /// Whether it may read remote configuration
    #[arg(long, value_enum)]
    pub(super) remote_config_read: Option<YesNo>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum YesNo {
    /// It may
    Yes,
    /// It may not
    No,
}

/// `rotate`
#[derive(Args)]
#[command(group = ArgGroup::new("old").required(true).args(["overlap", "no_overlap"]))]
pub(super) struct Rotated {
    pub(super) id: String,
    /// Keep the old one valid for so long, as in 24h, so that senders can be moved one by one
    #[arg(
        long,
        value_name = "DURATION",
        value_parser = duration_ms
    )]
    pub(super) overlap: Option<i64>,
    /// Revoke the old one at once
    #[arg(long)]
    pub(super) no_overlap: bool,
    /// What the successor is called [default: the old one's name]
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Refuse the successor from this time on (RFC 3339), or from the end of this day on (2027-01-31, UTC)
    #[arg(long, value_name = "TIME", value_parser = expiry)]
    pub(super) expires_at: Option<Timestamp>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// `shadow-revoke`
#[derive(Args)]
pub(super) struct Shadowed {
    pub(super) id: String,
    /// Take the shadow revocation back
    #[arg(long)]
    pub(super) end: bool,
}

/// `apps`
#[derive(Args)]
pub(in crate::cli) struct Apps {
    #[command(flatten)]
    pub(super) at: At,
    #[command(subcommand)]
    pub(super) action: AppsAction,
}

#[derive(Subcommand)]
pub(super) enum AppsAction {
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
        /// Refuse it from this time on (RFC 3339), or from the end of this day on (2027-01-31, UTC)
        #[arg(long, value_name = "TIME", value_parser = expiry)]
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
    /// Show who uses an application key, from where, and when
    Usage { id: String },
    /// Change an application key; what is not given stays, its owner and its secret always
    #[command(group = any_of(&["name", "expires_at", "never_expires", "scopes", "all_scopes"]))]
    Update {
        id: String,
        #[command(flatten)]
        changes: ChangedApplicationKey,
    },
    /// Give an application key a successor, whose secret is shown this once
    Rotate(Rotated),
    /// Let its requests pass, marked and counted as those that would not if it were revoked
    ShadowRevoke(Shadowed),
    /// Revoke an application key for good
    Revoke {
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Args)]
pub(super) struct ChangedApplicationKey {
    #[command(flatten)]
    pub(super) any: Changed,
    /// What it may be used for (may be given again)
    #[arg(long = "scope", value_name = "SCOPE")]
    pub(super) scopes: Vec<String>,
    /// Let it be used for all that its owner may
    #[arg(long, conflicts_with = "scopes")]
    pub(super) all_scopes: bool,
}

/// `tokens`
#[derive(Args)]
pub(in crate::cli) struct Tokens {
    #[command(flatten)]
    pub(super) at: At,
    #[command(subcommand)]
    pub(super) action: TokensAction,
}

#[derive(Subcommand)]
pub(super) enum TokensAction {
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
        /// Refuse it from this time on (RFC 3339), or from the end of this day on (2027-01-31, UTC)
        #[arg(long, value_name = "TIME", value_parser = expiry)]
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
    /// Show who uses a client token, from where, and when
    Usage { id: String },
    /// Change a client token; what is not given stays, its secret always
    #[command(group = any_of(&["name", "expires_at", "never_expires", "allowed_origins", "any_origin"]))]
    Update {
        id: String,
        #[command(flatten)]
        changes: ChangedClientToken,
    },
    /// Give a client token a successor, whose secret is shown this once
    Rotate(Rotated),
    /// Let its requests pass, marked and counted as those that would not if it were revoked
    ShadowRevoke(Shadowed),
    /// Revoke a client token for good
    Revoke {
        id: String,
        #[command(flatten)]
        wait: Wait,
    },
}

#[derive(Args)]
pub(super) struct ChangedClientToken {
    #[command(flatten)]
    pub(super) any: Changed,
    /// Accept it from pages of these origins only (may be given again)
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(super) allowed_origins: Vec<String>,
    /// Accept it from pages of any origin
    #[arg(long, conflicts_with = "allowed_origins")]
    pub(super) any_origin: bool,
}
