//! The lists that name records, and how a script is told to change them. It sends nothing.

use super::layout::{Field, Layout};
use super::scripts::Arguments;
use crate::keys::{Partition, Record, UserKind};

/// The keys of a call, each of them once.
pub(super) struct Keys(pub(super) Vec<String>);

impl Keys {
    /// Its number, as Lua counts: from one.
    pub(super) fn number(&mut self, key: String) -> usize {
        if let Some(at) = self.0.iter().position(|known| *known == key) {
            return at + 1;
        }
        self.0.push(key);
        self.0.len()
    }
}

/// The lists that name a record: its org's, and that of its name.
pub(super) fn listed_in(
    layout: &Layout,
    partition: Partition,
    record: &Record,
    field: &Field,
) -> Vec<(String, Vec<u8>)> {
    match record {
        Record::Org(_) => Vec::new(),
        Record::User(user) => {
            let name = match user.kind {
                UserKind::Person => &user.handle,
                UserKind::ServiceAccount => &user.name,
            };
            let id = user.id.bytes().to_vec();
            vec![
                (layout.of(partition, user.org), field.to_vec()),
                (layout.users(partition, name), id),
            ]
        }
        Record::Key(key) => vec![(layout.of(partition, key.org), field.to_vec())],
    }
}

/// One entry of an index, as the scripts take it.
pub(super) fn index(arguments: &mut Arguments, what: &str, key: usize, field: &[u8], value: &[u8]) {
    arguments.push(what);
    arguments.push_number(key);
    arguments.push(field);
    arguments.push(value);
}
