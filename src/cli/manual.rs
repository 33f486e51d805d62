//! What tells of the command line itself: completions for shells, and the man page. Both come from the options as they are
//! parsed.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Line, complain};

/// What commands exit with.
const EXIT_STATUS: &str = r#".SH "EXIT STATUS"
.TP
0
It is done.
.TP
1
It failed, was refused, or what was looked through is not good.
.TP
3
The change is stored, and some node has not applied it yet (with \-\-wait).
.TP
64
The command line is not understood.
.TP
78
The configuration is not usable.
"#;

/// `completions`
#[derive(Args)]
pub(super) struct Completions {
    /// For this shell
    shell: Shell,
}

/// `man`
#[derive(Args)]
pub(super) struct Manual {
    /// Write a page for each command into this folder, instead of one page to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints completions.
pub(super) fn completions(options: &Completions) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Line::command(), "keygate", &mut text);
    told(&text)
}

/// Prints the man page.
pub(super) fn manual(options: &Manual) -> ExitCode {
    if let Some(dir) = &options.dir {
        return match pages(dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("{}: {error}", dir.display()), 1),
        };
    }
    match page() {
        Ok(text) => told(&text),
        Err(error) => complain(&error.to_string(), 1),
    }
}

fn told(text: &[u8]) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads has enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => complain(&format!("standard output cannot be written: {error}"), 1),
    }
}

fn pages(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Line::command(), dir)
}

/// One page: the program, then each command in a section of its own.
fn page() -> io::Result<Vec<u8>> {
    let mut line = Line::command();
    line.build();
    let mut text = Vec::new();
    let man = Man::new(line.clone());
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    for command in line.get_subcommands() {
        section(command, "keygate", &mut text)?;
    }
    text.extend(EXIT_STATUS.as_bytes());
    Ok(text)
}

fn section(command: &Command, of: &str, text: &mut Vec<u8>) -> io::Result<()> {
    // It tells of the others.
    if command.get_name() == "help" {
        return Ok(());
    }
    let name = format!("{of} {}", command.get_name());
    writeln!(text, ".SH \"{}\"", name.to_uppercase())?;
    let mut own = Vec::new();
    let man = Man::new(command.clone().bin_name(name.clone()));
    man.render_synopsis_section(&mut own)?;
    man.render_description_section(&mut own)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut own)?;
    }
    for line in String::from_utf8_lossy(&own).lines() {
        match line.strip_prefix(".SH ") {
            Some(heading) => writeln!(text, ".SS {heading}")?,
            None => writeln!(text, "{line}")?,
        }
    }
    for command in command.get_subcommands() {
        section(command, &name, text)?;
    }
    Ok(())
}
