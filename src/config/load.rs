//! From file and environment to a configuration, or to all that is wrong with it.

use super::Config;
use super::error::{ConfigErrors, Origin};
use super::knob::{Reader, Section};
use super::source::{self, Body, Node, Table};
use super::together;
use std::path::Path;

impl Config {
    /// Reads the configuration from a file, if there is one, and from variables, which win over the file
    /// ([`environment`](super::environment) gives those of this process).
    ///
    /// # Errors
    ///
    /// All that is wrong, each error with its place. Settings are checked against each other only when each of them
    /// alone is right, and a file that is not TOML is not looked at any further: what follows from an error is noise.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let mut root = match path {
            Some(path) => source::read_file(path).map_err(ConfigErrors::new)?,
            None => Node {
                origin: Origin::Nowhere,
                body: Body::Table(Table::new()),
            },
        };
        let mut errors = Vec::new();
        if let Body::Table(table) = &mut root.body {
            source::overlay(table, &Self::shape().knobs, env, &mut errors);
        }
        let config = match &root.body {
            Body::Table(table) => Self::read(&mut Reader {
                table,
                origin: &root.origin,
                path: Vec::new(),
                errors: &mut errors,
            }),
            _ => None,
        };
        if let Some(config) = &config {
            together::check(config, &root, &mut errors);
        }
        match config {
            Some(config) if errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors::new(errors)),
        }
    }
}
