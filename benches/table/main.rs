//! What the key table costs: a decision, a change, a key's memory, loading. One thing at a time in a process of its own; prints a
//! line of JSON for each figure. `benches/table.py` makes a page of them.

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    reason = "it is a benchmark"
)]

mod contenders;
mod decide;
mod load;
mod world;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use keygate::keys::keyring::Keyring;
use keygate::keys::secret::RootKey;

use crate::world::World;

/// As in the program itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    /// So many keys
    #[arg(long, default_value_t = 100_000, global = true)]
    keys: usize,
    /// So many lone decisions are timed
    #[arg(long, default_value_t = 300_000, global = true)]
    timed: usize,
    /// cargo bench passes it
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Decisions, changes and memory of the table, and the floor beside them
    Decide,
    /// The same look-ups and changes in another kind of table
    Contender {
        /// papaya, dashmap, rwlock or shards
        name: String,
    },
    /// Functions that a fingerprint could be made by
    Fingerprints,
    /// Writes a replica
    Write { path: PathBuf },
    /// Loads a replica
    Load { path: PathBuf },
}

fn main() {
    let options = Options::parse();
    let root_key = RootKey::from_hex(&"5a".repeat(32)).expect("a key");
    let keyring = Keyring::generate().expect("random bytes");
    let world = World::new(options.keys, keyring.fingerprinter());
    match options.what {
        What::Decide => decide::run(&world, options.timed),
        What::Contender { name } => contenders::run(&name, &world, options.timed),
        What::Fingerprints => contenders::fingerprints(&world, options.timed),
        What::Write { path } => load::write(&path, &root_key, &keyring, &world),
        What::Load { path } => load::load(&path, &root_key),
    }
}

/// The memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}
