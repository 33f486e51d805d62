//! The program: its arguments in, its exit code out. Nothing else.

use std::process::ExitCode;

/// Requests make many small, short-lived allocations, each on its own core: what mimalloc is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keygate::cli::run(std::env::args_os())
}
