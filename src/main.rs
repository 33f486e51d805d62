//! The program: its arguments in, its exit code out. Nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    keygate::cli::run(std::env::args_os())
}
