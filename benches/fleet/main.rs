//! The Rust half of `benches/run fleet` and `benches/run outage`: fills a store, follows it as many nodes would, and loads
//! real nodes. It starts no server and makes no table of figures; `benches/fleet.py` and `benches/outage.py` do.

mod client;
mod drive;
mod figures;
mod fill;
mod follow;
mod load;
mod trials;
mod writers;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use keygate::config::{Config, environment};
use keygate::keys::rules::Limits;
use keygate::store::redis::{Purpose, RedisStore};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Parts of the fleet benchmarks; `benches/run fleet` runs them.
#[derive(Parser)]
struct Line {
    /// What cargo gives every benchmark
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Puts orgs, users and keys into the store
    Fill(fill::Options),
    /// Reads the whole store once
    Load(load::Options),
    /// Follows the store as many nodes at once, and changes it
    Follow(follow::Options),
    /// Loads nodes and changes keys
    Drive {
        /// Which nodes, and how
        plan: PathBuf,
    },
}

fn main() -> Result<(), Failure> {
    match Line::parse().part {
        Some(Part::Fill(options)) => fill::run(&options),
        Some(Part::Load(options)) => load::run(&options),
        Some(Part::Follow(options)) => follow::run(&options),
        Some(Part::Drive { plan }) => drive::run(&plan),
        // `cargo bench` asks every benchmark so; this one needs servers, which it does not start.
        None => tell(&serde_json::json!("nothing to do: see benches/run")),
    }
}

/// The store that a node's configuration names, reached as a node reaches it.
fn store(config: &Path, purpose: Purpose) -> Result<RedisStore, Failure> {
    let config = Config::load(Some(config), environment()).map_err(|errors| errors.to_string())?;
    let given = config.store.root_key.as_ref().map(|secret| secret.expose());
    let root_key = keygate::store::root_key(
        given,
        &config.store.root_key_file(),
        &config.store.database(),
    )?;
    let limits = Limits {
        api_keys_per_org_min: config.rules.api_keys_per_org_min,
        api_keys_per_org_max: config.rules.api_keys_per_org_max,
        application_keys_per_user_max: config.rules.application_keys_per_user_max,
        client_tokens_per_org_max: config.rules.client_tokens_per_org_max,
    };
    Ok(RedisStore::connect(
        &config.store.redis,
        &root_key,
        limits,
        purpose,
    )?)
}

/// One line of JSON for the orchestrator.
fn tell(value: &serde_json::Value) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()?;
    Ok(())
}
