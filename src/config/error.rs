//! Everything that can be wrong with a configuration, and where, in words for the operator. Nothing is decided here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where a setting was written. The order is the order in which errors are listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nowhere: there is no configuration file, and no variable says it.
    Nowhere,
    /// The configuration file as a whole.
    File(Arc<str>),
    /// A place in the configuration file; both numbers count from 1, columns in characters.
    Place {
        /// The file, as it was named on the command line.
        file: Arc<str>,
        /// Its line.
        line: usize,
        /// The character in that line.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("configuration"),
            Self::File(file) => f.write_str(file),
            Self::Place { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Why a text is not the value that a knob needs: "what was found, and what was wanted".
///
/// A sentence and not an enum, because nothing but the operator reads it. It never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake(String);

impl Mistake {
    pub(super) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The configuration file cannot be read, in the system's words.
    Unreadable(String),
    /// The file is not TOML, in the parser's words.
    Syntax(String),
    /// A name in the file that no knob or section has.
    UnknownName {
        /// "knob" or "section".
        what: &'static str,
        /// Its full path.
        name: String,
        /// The name that was probably meant.
        nearest: Option<String>,
    },
    /// An environment variable that begins like ours and is none of them.
    UnknownVariable {
        /// The variable that was probably meant.
        nearest: Option<String>,
    },
    /// An environment variable that names a section instead of a knob.
    VariableNamesSection {
        /// A knob of that section.
        such_as: String,
    },
    /// An environment variable that adds to a list and leaves a hole before its place.
    VariableLeavesGap {
        /// The list.
        list: String,
        /// The first index that is free.
        next: usize,
    },
    /// A value where a section should be.
    NotASection {
        /// The section.
        section: String,
        /// How a section of this kind is written.
        wanted: String,
    },
    /// A section whose name cannot be spelled in the name of an environment variable.
    SectionName {
        /// The name.
        name: String,
    },
    /// A knob without a default that was not set.
    Missing {
        /// The knob.
        knob: String,
        /// A value it could have.
        such_as: String,
    },
    /// A value that the knob cannot have.
    Value {
        /// The knob.
        knob: String,
        /// Why not.
        mistake: Mistake,
    },
    /// A secret that is given both as a value and as a file.
    SecretTwice {
        /// The knob of the value.
        knob: String,
        /// Where the other of the two is written.
        other: Origin,
    },
    /// A secret's file that cannot be used.
    SecretFile {
        /// The knob that names it.
        knob: String,
        /// The file.
        file: PathBuf,
        /// Why not.
        mistake: Mistake,
    },
    /// No `upstreams.default`, and nothing in its place for some families.
    NoUpstream {
        /// The families that would have nowhere to go.
        families: Vec<&'static str>,
    },
    /// A route that names an upstream which is not there.
    RouteUpstream {
        /// The upstream.
        name: String,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// An upstream that neither a family nor a route uses.
    UpstreamUnused {
        /// The upstream.
        name: String,
        /// The family that was probably meant.
        nearest: Option<String>,
    },
    /// A knob that says something only together with another.
    NeedsOther {
        /// The knob that is set.
        knob: String,
        /// What it needs.
        needs: String,
    },
    /// Two listeners on one address and port.
    SameAddress {
        /// The knob of one.
        knob: &'static str,
        /// That of the other.
        other: &'static str,
    },
    /// The address of the pages has a path.
    UrlHasPath,
    /// A provider that vouches for people without TLS.
    IssuerInPlain,
    /// Two knobs of which only one can be set.
    Excludes {
        /// One.
        knob: String,
        /// The other.
        other: String,
    },
    /// Servers of which some are reached over TLS and some are not.
    TlsInPart {
        /// The knobs that name them.
        knobs: &'static str,
    },
    /// A least number that is greater than the greatest.
    MinAboveMax {
        /// The knob with the least number.
        min: &'static str,
        /// The knob with the greatest.
        max: &'static str,
    },
    /// Two routes with the same method and path.
    RouteTwice {
        /// The method.
        method: String,
        /// The path.
        path: String,
        /// Where the first one is.
        first: Origin,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Self::Syntax(reason) => f.write_str(reason),
            Self::UnknownName {
                what,
                name,
                nearest,
            } => {
                write!(f, "unknown {what} \"{name}\"")?;
                did_you_mean(f, nearest.as_deref())
            }
            Self::UnknownVariable { nearest } => {
                f.write_str("unknown variable")?;
                did_you_mean(f, nearest.as_deref())
            }
            Self::VariableNamesSection { such_as } => {
                write!(
                    f,
                    "names a section; set one of its knobs instead, such as {such_as}"
                )
            }
            Self::VariableLeavesGap { list, next } => {
                write!(f, "leaves a gap in {list}, whose next free index is {next}")
            }
            Self::NotASection { section, wanted } => {
                write!(f, "\"{section}\" is a section, written as {wanted}")
            }
            Self::SectionName { name } => write!(
                f,
                "\"{name}\": a name has lower-case letters, digits and single underscores, and begins with a letter"
            ),
            Self::Missing { knob, such_as } => {
                write!(f, "{knob} is missing; set it, such as {such_as}")
            }
            Self::Value { knob, mistake } => write!(f, "{knob}: {mistake}"),
            Self::SecretTwice { knob, other } => {
                write!(
                    f,
                    "{knob} and {knob}_file are both given (the other one by {other}); keep one"
                )
            }
            Self::SecretFile {
                knob,
                file,
                mistake,
            } => {
                write!(f, "{knob}: the file \"{}\" {mistake}", file.display())
            }
            Self::NoUpstream { families } => write!(
                f,
                "no upstream for {}; set upstreams.default.url, or give each of them its own",
                families.join(", ")
            ),
            Self::RouteUpstream { name, nearest } => {
                write!(f, "there is no upstream \"{name}\"")?;
                did_you_mean(f, nearest.as_deref())
            }
            Self::UpstreamUnused { name, nearest } => {
                write!(
                    f,
                    "nothing uses the upstream \"{name}\": no family has this name, and no route names it"
                )?;
                did_you_mean(f, nearest.as_deref())
            }
            Self::NeedsOther { knob, needs } => write!(f, "{knob} needs {needs}"),
            Self::SameAddress { knob, other } => {
                write!(f, "{knob} is taken by {other}: give each a port of its own")
            }
            Self::UrlHasPath => f.write_str(
                "control.url has a path, and the pages are at the top of their host: give them a host name of their own",
            ),
            Self::IssuerInPlain => f.write_str(
                "control.oidc.issuer begins with http://: who vouches for people is asked over https://, except on this machine",
            ),
            Self::Excludes { knob, other } => write!(f, "{knob} and {other} cannot both be set"),
            Self::TlsInPart { knobs } => write!(
                f,
                "{knobs}: either all begin with rediss:// or all with redis://"
            ),
            Self::MinAboveMax { min, max } => write!(f, "{min} is greater than {max}"),
            Self::RouteTwice {
                method,
                path,
                first,
            } => {
                write!(f, "the route {method} {path} is there already, at {first}")
            }
        }
    }
}

fn did_you_mean(f: &mut fmt::Formatter<'_>, nearest: Option<&str>) -> fmt::Result {
    match nearest {
        Some(nearest) => write!(f, "; did you mean \"{nearest}\"?"),
        None => Ok(()),
    }
}

/// One thing that is wrong, and where. Prints as `keygate.toml:3:1: unknown knob ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where.
    pub origin: Origin,
    /// What.
    pub problem: Problem,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// All that is wrong with one configuration, in the order of the file, then the variables. Prints one error a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by(|a, b| a.origin.cmp(&b.origin));
        Self(errors)
    }

    /// The errors, one by one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
