//! The binary, run to its end. It checks nothing.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// A command line, and what it is run with.
#[derive(Clone, Default)]
pub struct Program {
    after: Vec<String>,
    environment: Vec<(String, String)>,
    input: Vec<u8>,
}

impl Program {
    /// At the machine of this store.
    pub fn at(folder: &Path) -> Self {
        let after = ["--data-dir", folder.to_str().unwrap()];
        Self {
            after: after.map(ToOwned::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// With this in its environment; everything else is left out of it.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this on standard input.
    pub fn input(mut self, input: &str) -> Self {
        input.as_bytes().clone_into(&mut self.input);
        self
    }

    /// Runs it to its end.
    pub async fn run(&self, args: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keygate"));
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command
            .args(args)
            .args(&self.after)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // It may end without reading it.
        let _ = stdin.write_all(&self.input).await;
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        Run {
            line: args.join(" "),
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What it answers as JSON, when it ends well.
    pub async fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["--output", "json"]].concat();
        self.run(&args).await.good().json()
    }
}

/// What came of a command line.
#[derive(Debug)]
pub struct Run {
    /// The arguments.
    pub line: String,
    /// What it exited with.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Run {
    /// It ended well.
    pub fn good(self) -> Self {
        self.exits(0)
    }

    /// It ended so.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}: {self:#?}", self.line);
        self
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// All that it said.
    pub fn said(&self) -> String {
        format!("{}{}", self.out, self.err)
    }
}
