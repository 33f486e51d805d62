//! The commands that run or describe the gateway itself.

use std::path::Path;
use std::process::ExitCode;

use super::{Demo, complain};

pub(super) fn serve(_config: &Path) -> ExitCode {
    complain("this build cannot serve", 1)
}

pub(super) fn check(_config: &Path) -> ExitCode {
    complain("this build cannot check a configuration", 1)
}

pub(super) fn print() -> ExitCode {
    complain("this build cannot print a configuration", 1)
}

pub(super) fn demo(demo: Demo) -> ExitCode {
    let Demo {
        listen: _,
        admin: _,
        upstream: _,
        data_dir: _,
        output: _,
    } = demo;
    complain("this build has no demo", 1)
}
