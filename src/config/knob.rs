//! How one declaration becomes a section's struct, its reader and its documentation. No knob is named here.
//!
//! A section is declared with [`readable!`]. Each knob has its doc comment and a [`Mode`], which says what its absence
//! means: `default`, `required`, `optional`, `secret`, or a nested `section`, `named` or `listed`. serde's
//! derive was refused: it stops at the first error, does not know which variable a value came from, and cannot print
//! the documentation.

use super::error::{ConfigError, Mistake, Origin, Problem};
use super::nearest::nearest;
use super::source::{Body, Node, Table};
use super::value::{Value, Word};
use serde_json::Value as Json;

/// Declares a section: a struct whose fields are knobs.
///
/// The knobs without a default come first, under `required`; `with_defaults` takes them as arguments.
macro_rules! readable {
    (
        $(#[doc = $about:literal])*
        pub struct $section:ident
        $(required {
            $($(#[doc = $needed_doc:literal])* $needed:ident : $needed_type:ty = $needed_mode:expr,)*
        })?
        knobs {
            $($(#[doc = $doc:literal])* $knob:ident : $type:ty = $mode:expr,)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $section {
            $($($(#[doc = $needed_doc])* pub $needed: $needed_type,)*)?
            $($(#[doc = $doc])* pub $knob: $type,)*
        }

        impl $section {
            pub(in crate::config) fn with_defaults($($($needed: $needed_type),*)?) -> Self {
                Self {
                    $($($needed,)*)?
                    $($knob: $crate::config::knob::Initial::initial($mode),)*
                }
            }
        }

        impl $crate::config::knob::Section for $section {
            fn shape() -> $crate::config::knob::Shape {
                $crate::config::knob::Shape {
                    about: &[$($about),*],
                    knobs: vec![
                        $($($crate::config::knob::Knob {
                            name: stringify!($needed),
                            about: &[$($needed_doc),*],
                            kind: $crate::config::knob::Mode::<$needed_type>::kind(&$needed_mode),
                        },)*)?
                        $($crate::config::knob::Knob {
                            name: stringify!($knob),
                            about: &[$($doc),*],
                            kind: $crate::config::knob::Mode::<$type>::kind(&$mode),
                        },)*
                    ],
                }
            }

            // Every knob is read before the first failure ends the section: all errors are told at once.
            fn read(reader: &mut $crate::config::knob::Reader<'_>) -> Option<Self> {
                reader.refuse_unknown(&<Self as $crate::config::knob::Section>::shape().knobs);
                $($(let $needed = $crate::config::knob::Mode::read($needed_mode, reader, stringify!($needed));)*)?
                $(let $knob = $crate::config::knob::Mode::read($mode, reader, stringify!($knob));)*
                Some(Self { $($($needed: $needed?,)*)? $($knob: $knob?,)* })
            }

            fn show(&self) -> serde_json::Value {
                let mut shown = serde_json::Map::new();
                $($(shown.insert(
                    stringify!($needed).to_owned(),
                    $crate::config::knob::Mode::show(&$needed_mode, &self.$needed),
                );)*)?
                $(shown.insert(
                    stringify!($knob).to_owned(),
                    $crate::config::knob::Mode::show(&$mode, &self.$knob),
                );)*
                serde_json::Value::Object(shown)
            }
        }
    };
}
pub(super) use readable;

/// A struct declared with [`readable!`].
pub(super) trait Section: Sized {
    fn shape() -> Shape;
    fn read(reader: &mut Reader<'_>) -> Option<Self>;
    fn show(&self) -> Json;
}

/// A section as data, for printing and for finding names.
pub(super) struct Shape {
    /// The lines of its doc comment.
    pub(super) about: &'static [&'static str],
    pub(super) knobs: Vec<Knob>,
}

/// A knob as data.
pub(super) struct Knob {
    pub(super) name: &'static str,
    /// The lines of its doc comment.
    pub(super) about: &'static [&'static str],
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Value {
        /// Its default, or an example when it has none.
        printed: Json,
        /// It must be set, so the printed file sets it.
        is_required: bool,
        /// The words it can be, when it is one of a few.
        words: &'static [Word],
    },
    Secret {
        file_example: &'static str,
    },
    Section {
        shape: fn() -> Shape,
    },
    /// A section for each of several names, of which some are known. The first known one is the example.
    Named {
        known: &'static [&'static str],
        shape: fn() -> Shape,
    },
    List {
        shape: fn() -> Shape,
    },
}

impl Knob {
    /// The names by which the knob is set: two for a secret.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.kind {
            Kind::Secret { .. } => vec![self.name.to_owned(), secret_file_name(self.name)],
            Kind::Value { .. } | Kind::Section { .. } | Kind::Named { .. } | Kind::List { .. } => {
                vec![self.name.to_owned()]
            }
        }
    }

    pub(super) fn has_name(&self, name: &str) -> bool {
        self.names().iter().any(|own| own == name)
    }

    /// The paths of all values below these knobs, with the known names of named sections and the first index of lists.
    pub(super) fn all_paths(knobs: &[Self]) -> Vec<Vec<String>> {
        let under = |prefix: &[&str], shape: fn() -> Shape| {
            let below = Self::all_paths(&shape().knobs).into_iter();
            let prefix: Vec<String> = prefix.iter().map(|part| (*part).to_owned()).collect();
            below
                .map(|path| [prefix.clone(), path].concat())
                .collect::<Vec<_>>()
        };
        let of_knob = |knob: &Self| match &knob.kind {
            Kind::Value { .. } | Kind::Secret { .. } => {
                knob.names().into_iter().map(|name| vec![name]).collect()
            }
            Kind::Section { shape } => under(&[knob.name], *shape),
            Kind::Named { known, shape } => known
                .iter()
                .flat_map(|name| under(&[knob.name, name], *shape))
                .collect(),
            Kind::List { shape } => under(&[knob.name, "0"], *shape),
        };
        knobs.iter().flat_map(of_knob).collect()
    }
}

/// The name of the knob that gives a secret as a file.
pub(super) fn secret_file_name(knob: &str) -> String {
    format!("{knob}_file")
}

/// What it means when a knob is absent, and how it is read when it is there.
pub(super) trait Mode<T> {
    fn kind(&self) -> Kind;
    /// `None` after an error, which the reader then knows.
    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<T>;
    /// The value in effect.
    fn show(&self, value: &T) -> Json;
}

/// A mode in which absence is a value.
pub(super) trait Initial<T>: Mode<T> {
    fn initial(self) -> T;
}

/// A further demand on a value, beyond its type.
pub(super) type Check<T> = fn(&T) -> Result<(), Mistake>;

/// One section while it is read.
pub(super) struct Reader<'a> {
    pub(super) table: &'a Table,
    pub(super) origin: &'a Origin,
    /// The names from the root to here.
    pub(super) path: Vec<String>,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

impl<'a> Reader<'a> {
    pub(super) fn find(&self, name: &str) -> Option<&'a Node> {
        self.table.get(name).map(|entry| &entry.node)
    }

    /// The whole name of a knob of this section, as errors say it.
    pub(super) fn path_of(&self, name: &str) -> String {
        let parts: Vec<&str> = self.path.iter().map(String::as_str).chain([name]).collect();
        parts.join(".")
    }

    pub(super) fn refuse(&mut self, origin: &Origin, problem: Problem) {
        self.errors.push(ConfigError {
            origin: origin.clone(),
            problem,
        });
    }

    pub(super) fn value<T: Value>(
        &mut self,
        name: &str,
        node: &Node,
        check: Check<T>,
    ) -> Option<T> {
        match T::read(node).and_then(|value| check(&value).map(|()| value)) {
            Ok(value) => Some(value),
            Err(mistake) => {
                let knob = self.path_of(name);
                self.refuse(&node.origin, Problem::Value { knob, mistake });
                None
            }
        }
    }

    /// Reads a section below this one. `wanted` is how it is written, for when something else is in its place.
    pub(super) fn below<T: Section>(
        &mut self,
        names: &[&str],
        node: &Node,
        wanted: &str,
    ) -> Option<T> {
        let path = [
            self.path.clone(),
            names.iter().map(|name| (*name).to_owned()).collect(),
        ]
        .concat();
        let Body::Table(table) = &node.body else {
            let problem = Problem::NotASection {
                section: path.join("."),
                wanted: wanted.to_owned(),
            };
            self.refuse(&node.origin, problem);
            return None;
        };
        T::read(&mut Reader {
            table,
            origin: &node.origin,
            path,
            errors: self.errors,
        })
    }

    pub(super) fn refuse_unknown(&mut self, knobs: &[Knob]) {
        for (name, entry) in self.table {
            if knobs.iter().any(|knob| knob.has_name(name)) {
                continue;
            }
            let is_section = match &entry.node.body {
                Body::Table(_) => true,
                Body::List(list) => list.iter().any(|node| matches!(node.body, Body::Table(_))),
                Body::Text(_) | Body::Number(_) | Body::Loose(_) | Body::Other(_) => false,
            };
            let problem = Problem::UnknownName {
                what: if is_section { "section" } else { "knob" },
                name: self.path_of(name),
                nearest: nearest(name, knobs.iter().flat_map(Knob::names)),
            };
            self.refuse(&entry.name_at, problem);
        }
    }
}
