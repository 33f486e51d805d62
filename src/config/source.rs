//! What the operator wrote, before it means anything: one tree of texts from the file and the environment, each with
//! its place. Which names exist and what a value may be is not known here, only how deep each knob lies.

use super::error::{ConfigError, Origin, Problem};
use super::knob::{Kind, Knob};
use super::nearest::nearest;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "KEYGATE_";

/// Variables that belong to the command line. They are not knobs, and not mistakes either.
const COMMAND_LINE: [&str; 4] = [
    "KEYGATE_CONFIG",
    "KEYGATE_URL",
    "KEYGATE_API_KEY",
    "KEYGATE_APPLICATION_KEY",
];

/// The variables of this process that concern keygate.
///
/// A text that is not UTF-8 is passed on with its bad parts replaced, so that it is refused as a value where
/// [`std::env::vars`] would panic.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| name.starts_with(PREFIX))
}

/// The variable that sets the knob at a path.
pub(super) fn variable(path: &[impl AsRef<str>]) -> String {
    let path: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    format!("{PREFIX}{}", path.join("__").to_uppercase())
}

/// A piece of the tree. It has no `Debug`, as it may hold a secret.
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) body: Body,
}

pub(super) type Table = BTreeMap<String, Entry>;

/// A named piece of the tree, with the place of its name.
pub(super) struct Entry {
    pub(super) name_at: Origin,
    pub(super) node: Node,
}

pub(super) enum Body {
    Text(String),
    Number(i128),
    /// The text of a variable, which has no type of its own: the knob decides whether it is a text, number or list.
    Loose(String),
    List(Vec<Node>),
    Table(Table),
    /// A kind of value that no knob has, by its name.
    Other(&'static str),
}

impl Node {
    /// Where the setting at this path was written, or else the closest section around it that was written.
    pub(super) fn origin_of(&self, path: &[&str]) -> Origin {
        let Some((name, rest)) = path.split_first() else {
            return self.origin.clone();
        };
        let child = match &self.body {
            Body::Table(table) => table.get(*name).map(|entry| &entry.node),
            Body::List(list) => name.parse::<usize>().ok().and_then(|index| list.get(index)),
            Body::Text(_) | Body::Number(_) | Body::Loose(_) | Body::Other(_) => None,
        };
        child.map_or_else(|| self.origin.clone(), |child| child.origin_of(rest))
    }
}

/// Reads the file into a tree; all errors of syntax at once.
pub(super) fn read_file(path: &Path) -> Result<Node, Vec<ConfigError>> {
    let file: Arc<str> = path.display().to_string().into();
    let text = std::fs::read_to_string(path).map_err(|error| {
        vec![ConfigError {
            origin: Origin::File(Arc::clone(&file)),
            problem: Problem::Unreadable(error.to_string()),
        }]
    })?;
    let document = Document { file, text: &text };
    let (tree, errors) = DeTable::parse_recoverable(&text);
    if errors.is_empty() {
        return Ok(Node {
            origin: Origin::File(Arc::clone(&document.file)),
            body: Body::Table(document.table(tree.into_inner())),
        });
    }
    Err(errors
        .iter()
        .map(|error| ConfigError {
            origin: document.place(error.span().map_or(0, |span| span.start)),
            problem: Problem::Syntax(error.message().to_owned()),
        })
        .collect())
}

/// The file while it is being taken apart.
struct Document<'i> {
    file: Arc<str>,
    text: &'i str,
}

impl Document<'_> {
    fn place(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Origin::Place {
            file: Arc::clone(&self.file),
            line: before.matches('\n').count() + 1,
            column: before
                .get(line_start..)
                .map_or(0, |line| line.chars().count())
                + 1,
        }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        table
            .into_iter()
            .map(|(name, value)| {
                let entry = Entry {
                    name_at: self.place(name.span().start),
                    node: self.node(value),
                };
                (name.into_inner().into_owned(), entry)
            })
            .collect()
    }

    fn node(&self, value: toml::Spanned<DeValue<'_>>) -> Node {
        let origin = self.place(value.span().start);
        let body = match value.into_inner() {
            DeValue::String(text) => Body::Text(text.into_owned()),
            // A number beyond 128 bits is as wrong as the greatest one: no knob takes either.
            DeValue::Integer(number) => Body::Number(
                i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX),
            ),
            DeValue::Float(_) => Body::Other("a number with a point"),
            DeValue::Boolean(_) => Body::Other("true or false"),
            DeValue::Datetime(_) => Body::Other("a date"),
            DeValue::Array(list) => {
                Body::List(list.into_iter().map(|value| self.node(value)).collect())
            }
            DeValue::Table(table) => Body::Table(self.table(table)),
        };
        Node { origin, body }
    }
}

/// Lays the variables over the tree: a variable wins over the file. Variables that do not begin like ours are not read.
pub(super) fn overlay(
    root: &mut Table,
    knobs: &[Knob],
    variables: impl Iterator<Item = (String, String)>,
    errors: &mut Vec<ConfigError>,
) {
    let mut variables: Vec<_> = variables
        .filter(|(name, _)| name.starts_with(PREFIX) && !COMMAND_LINE.contains(&name.as_str()))
        .collect();
    // Indices of a list must arrive in their order, and 2 comes before 10.
    variables.sort_by_cached_key(|(name, _)| {
        name.split("__")
            .map(|part| (part.parse::<u64>().ok(), part.to_owned()))
            .collect::<Vec<_>>()
    });
    for (name, text) in variables {
        if let Err(problem) = place(root, knobs, &name, text) {
            errors.push(ConfigError {
                origin: Origin::Variable(name),
                problem,
            });
        }
    }
}

/// Lays one variable over the tree.
fn place(root: &mut Table, knobs: &[Knob], name: &str, text: String) -> Result<(), Problem> {
    let lower = name.strip_prefix(PREFIX).unwrap_or(name).to_lowercase();
    let path: Vec<&str> = lower.split("__").collect();
    // Lower case is not another spelling: which of two variables would win?
    if variable(&path) != name {
        return Err(Problem::UnknownVariable {
            nearest: Some(variable(&path)),
        });
    }
    let origin = Origin::Variable(name.to_owned());
    let mut steps = Vec::new();
    // A variable that is refused must leave no trace: an empty section of its making would be refused once more.
    match (Way { path: &path }).find(knobs, &mut steps) {
        Ok(()) => put(root, &steps, &origin, text),
        Err(Problem::UnknownVariable { nearest: None }) => {
            let all = Knob::all_paths(knobs);
            let nearest = nearest(name, all.iter().map(|path| variable(path)));
            Err(Problem::UnknownVariable { nearest })
        }
        Err(problem) => Err(problem),
    }
}

/// A step from a table towards a knob.
enum Step<'a> {
    Name(&'a str),
    /// A place in the list that the step before has named.
    Index(usize),
}

/// The parts of a variable's name, of which as many steps were made as `find` says.
struct Way<'a> {
    path: &'a [&'a str],
}

impl<'a> Way<'a> {
    /// The steps to the knob at this path, from the section of these knobs.
    fn find(&self, knobs: &[Knob], steps: &mut Vec<Step<'a>>) -> Result<(), Problem> {
        let depth = steps.len();
        let Some(name) = self.path.get(depth).copied() else {
            return Err(self.names_section(knobs, depth));
        };
        let Some(knob) = knobs.iter().find(|knob| knob.has_name(name)) else {
            return Err(self.unknown(knobs, depth, name));
        };
        steps.push(Step::Name(name));
        let next = self.path.get(depth + 1).copied();
        match (&knob.kind, next) {
            (Kind::Value { .. } | Kind::Secret { .. }, None) => Ok(()),
            (Kind::Value { .. } | Kind::Secret { .. }, Some(_)) => Err(Problem::UnknownVariable {
                nearest: self.path.get(..=depth).map(variable),
            }),
            (Kind::Section { shape }, _) => self.find(&shape().knobs, steps),
            (Kind::Named { .. } | Kind::List { .. }, None) => {
                Err(self.names_section(std::slice::from_ref(knob), depth))
            }
            (Kind::Named { shape, .. }, Some(own_name)) => {
                steps.push(Step::Name(own_name));
                self.find(&shape().knobs, steps)
            }
            (Kind::List { shape }, Some(index)) => {
                let index = index
                    .parse()
                    .map_err(|_| Problem::UnknownVariable { nearest: None })?;
                steps.push(Step::Index(index));
                self.find(&shape().knobs, steps)
            }
        }
    }

    /// The nearest name at this depth, with the rest of the path as it is.
    fn unknown(&self, knobs: &[Knob], depth: usize, name: &str) -> Problem {
        let nearest = nearest(name, knobs.iter().flat_map(Knob::names)).map(|right| {
            let mut path = self.path.to_vec();
            if let Some(part) = path.get_mut(depth) {
                *part = &right;
            }
            variable(&path)
        });
        Problem::UnknownVariable { nearest }
    }

    /// The path so far is a section; its first knob shows what was forgotten.
    fn names_section(&self, knobs: &[Knob], depth: usize) -> Problem {
        let below = Knob::all_paths(knobs)
            .into_iter()
            .next()
            .unwrap_or_default();
        let path = self.path.iter().take(depth).copied();
        let path: Vec<&str> = path.chain(below.iter().map(String::as_str)).collect();
        Problem::VariableNamesSection {
            such_as: variable(&path),
        }
    }
}

/// Puts the text of a variable where the steps lead. When the file has something else in the place of a section, it is
/// left there, to be refused with the file's own line when the section is read.
fn put(
    table: &mut Table,
    steps: &[Step<'_>],
    origin: &Origin,
    text: String,
) -> Result<(), Problem> {
    let make = |body| Node {
        origin: origin.clone(),
        body,
    };
    let (name, rest) = match steps {
        [Step::Name(name), rest @ ..] => (*name, rest),
        [Step::Index(_), ..] | [] => return Ok(()),
    };
    if rest.is_empty() {
        let entry = Entry {
            name_at: origin.clone(),
            node: make(Body::Loose(text)),
        };
        table.insert(name.to_owned(), entry);
        return Ok(());
    }
    let empty = match rest {
        [Step::Index(_), ..] => Body::List(Vec::new()),
        _ => Body::Table(Table::new()),
    };
    let entry = table.entry(name.to_owned()).or_insert_with(|| Entry {
        name_at: origin.clone(),
        node: make(empty),
    });
    match (&mut entry.node.body, rest) {
        (Body::List(list), [Step::Index(index), rest @ ..]) => {
            if *index > list.len() {
                return Err(Problem::VariableLeavesGap {
                    list: name.to_owned(),
                    next: list.len(),
                });
            }
            if *index == list.len() {
                list.push(make(Body::Table(Table::new())));
            }
            match list.get_mut(*index).map(|node| &mut node.body) {
                Some(Body::Table(child)) => put(child, rest, origin, text),
                _ => Ok(()),
            }
        }
        (Body::Table(child), rest) => put(child, rest, origin, text),
        _ => Ok(()),
    }
}
