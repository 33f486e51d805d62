//! The modes of knobs: what it means when a value, or a whole section, is absent. Secrets have theirs in `secret`.

use super::error::Problem;
use super::knob::{Check, Initial, Kind, Mode, Reader, Section};
use super::source::{Body, Node};
use super::value::Value;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::marker::PhantomData;

/// A knob that has a default.
pub(super) struct Defaulted<T> {
    value: T,
    check: Check<T>,
}

pub(super) fn default<T>(value: T) -> Defaulted<T> {
    Defaulted {
        value,
        check: |_| Ok(()),
    }
}

impl<T> Defaulted<T> {
    pub(super) fn checked(self, check: Check<T>) -> Self {
        Self { check, ..self }
    }
}

impl<T: Value> Mode<T> for Defaulted<T> {
    fn kind(&self) -> Kind {
        Kind::Value {
            printed: self.value.show(),
            is_required: false,
            words: T::words(),
        }
    }

    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<T> {
        match reader.find(name) {
            Some(node) => reader.value(name, node, self.check),
            None => Some(self.value),
        }
    }

    fn show(&self, value: &T) -> Json {
        value.show()
    }
}

impl<T: Value> Initial<T> for Defaulted<T> {
    fn initial(self) -> T {
        self.value
    }
}

/// A knob that must be set; it has an example instead of a default.
pub(super) struct Required<T> {
    example: &'static str,
    check: Check<T>,
}

pub(super) fn required<T>(example: &'static str) -> Required<T> {
    Required {
        example,
        check: |_| Ok(()),
    }
}

impl<T> Required<T> {
    pub(super) fn checked(self, check: Check<T>) -> Self {
        Self { check, ..self }
    }
}

impl<T: Value> Mode<T> for Required<T> {
    fn kind(&self) -> Kind {
        Kind::Value {
            printed: Json::from(self.example),
            is_required: true,
            words: T::words(),
        }
    }

    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<T> {
        if let Some(node) = reader.find(name) {
            return reader.value(name, node, self.check);
        }
        let such_as = format!("{name} = \"{}\"", self.example);
        let knob = reader.path_of(name);
        reader.refuse(reader.origin, Problem::Missing { knob, such_as });
        None
    }

    fn show(&self, value: &T) -> Json {
        value.show()
    }
}

/// A knob that need not be set and then has no value; its doc comment says what that means.
pub(super) struct Optional<T> {
    example: &'static str,
    check: Check<T>,
}

pub(super) fn optional<T>(example: &'static str) -> Optional<T> {
    Optional {
        example,
        check: |_| Ok(()),
    }
}

impl<T> Optional<T> {
    pub(super) fn checked(self, check: Check<T>) -> Self {
        Self { check, ..self }
    }
}

impl<T: Value> Mode<Option<T>> for Optional<T> {
    fn kind(&self) -> Kind {
        Kind::Value {
            printed: Json::from(self.example),
            is_required: false,
            words: T::words(),
        }
    }

    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<Option<T>> {
        match reader.find(name) {
            Some(node) => reader.value(name, node, self.check).map(Some),
            None => Some(None),
        }
    }

    fn show(&self, value: &Option<T>) -> Json {
        value.as_ref().map_or(Json::Null, Value::show)
    }
}

impl<T: Value> Initial<Option<T>> for Optional<T> {
    fn initial(self) -> Option<T> {
        None
    }
}

/// A section in a section. All its knobs have defaults, so it can be absent.
pub(super) struct Group<T> {
    defaults: fn() -> T,
}

pub(super) fn section<T>(defaults: fn() -> T) -> Group<T> {
    Group { defaults }
}

impl<T: Section> Mode<T> for Group<T> {
    fn kind(&self) -> Kind {
        Kind::Section { shape: T::shape }
    }

    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<T> {
        match reader.find(name) {
            Some(node) => {
                let wanted = format!("[{}]", reader.path_of(name));
                reader.below(&[name], node, &wanted)
            }
            None => Some((self.defaults)()),
        }
    }

    fn show(&self, value: &T) -> Json {
        value.show()
    }
}

impl<T: Section> Initial<T> for Group<T> {
    fn initial(self) -> T {
        (self.defaults)()
    }
}

/// A section for each of any names, of which some are known.
pub(super) struct Named<T> {
    known: &'static [&'static str],
    section: PhantomData<T>,
}

pub(super) fn named<T>(known: &'static [&'static str]) -> Named<T> {
    Named {
        known,
        section: PhantomData,
    }
}

impl<T: Section> Mode<BTreeMap<String, T>> for Named<T> {
    fn kind(&self) -> Kind {
        Kind::Named {
            known: self.known,
            shape: T::shape,
        }
    }

    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<BTreeMap<String, T>> {
        let Some(node) = reader.find(name) else {
            return Some(BTreeMap::new());
        };
        let wanted = format!("[{name}.NAME]");
        let Body::Table(table) = &node.body else {
            let problem = Problem::NotASection {
                section: reader.path_of(name),
                wanted,
            };
            reader.refuse(&node.origin, problem);
            return None;
        };
        let mut all = Some(BTreeMap::new());
        for (own_name, entry) in table {
            let read = if has_variable_spelling(own_name) {
                reader.below(&[name, own_name], &entry.node, &wanted)
            } else {
                reader.refuse(
                    &entry.name_at,
                    Problem::SectionName {
                        name: own_name.clone(),
                    },
                );
                None
            };
            match (read, &mut all) {
                (Some(read), Some(all)) => {
                    all.insert(own_name.clone(), read);
                }
                _ => all = None,
            }
        }
        all
    }

    fn show(&self, value: &BTreeMap<String, T>) -> Json {
        value
            .iter()
            .map(|(name, section)| (name.clone(), section.show()))
            .collect()
    }
}

impl<T: Section> Initial<BTreeMap<String, T>> for Named<T> {
    fn initial(self) -> BTreeMap<String, T> {
        BTreeMap::new()
    }
}

/// Whether a name survives the way into the name of a variable and back. Those that do not are refused everywhere, or
/// else one spelling of the configuration could say less than the other.
fn has_variable_spelling(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.contains("__")
        && !name.ends_with('_')
}

/// A list of sections.
pub(super) struct Listed<T>(PhantomData<T>);

pub(super) fn listed<T>() -> Listed<T> {
    Listed(PhantomData)
}

impl<T: Section> Mode<Vec<T>> for Listed<T> {
    fn kind(&self) -> Kind {
        Kind::List { shape: T::shape }
    }

    fn read(self, reader: &mut Reader<'_>, name: &'static str) -> Option<Vec<T>> {
        let Some(node) = reader.find(name) else {
            return Some(Vec::new());
        };
        let wanted = format!("[[{name}]]");
        let Body::List(list) = &node.body else {
            let problem = Problem::NotASection {
                section: reader.path_of(name),
                wanted,
            };
            reader.refuse(&node.origin, problem);
            return None;
        };
        let mut read_one = |node: &Node| reader.below(&[name], node, &wanted);
        // Collected in two steps, so that an error in one does not hide those of the next.
        let all: Vec<Option<T>> = list.iter().map(&mut read_one).collect();
        all.into_iter().collect()
    }

    fn show(&self, value: &Vec<T>) -> Json {
        value.iter().map(Section::show).collect()
    }
}

impl<T: Section> Initial<Vec<T>> for Listed<T> {
    fn initial(self) -> Vec<T> {
        Vec::new()
    }
}
