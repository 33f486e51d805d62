//! The rows of `permissions.md`. What they say is judged in `permissions`.

use std::collections::BTreeMap;

const TABLE: &str = include_str!("permissions.md");

/// Who asks, in the order of the columns.
pub const WHO: [&str; 9] = [
    "operator",
    "admin",
    "standard",
    "read-only",
    "service account",
    "other org",
    "disabled",
    "scoped",
    "scoped elsewhere",
];

/// One operation.
#[derive(Clone)]
pub struct Row {
    pub line: usize,
    pub name: &'static str,
    /// What comes of it, for each of [`WHO`].
    pub cells: Vec<&'static str>,
    pub takes: Vec<&'static str>,
    pub looks: Vec<&'static str>,
    pub log: &'static str,
    pub json: &'static str,
    pub path: &'static str,
    pub page: &'static str,
    pub cli: &'static str,
}

fn cells(line: &'static str) -> Option<Vec<&'static str>> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<_> = cells
        .split(" | ")
        .map(|cell| cell.trim().trim_matches('`'))
        .collect();
    (cells[0] != "operation").then_some(cells)
}

fn names(cell: &'static str) -> Vec<&'static str> {
    cell.split('+').filter(|name| *name != "-").collect()
}

/// Every row.
pub fn rows() -> Vec<Row> {
    let lines = || (1..).zip(TABLE.lines());
    let found = lines().filter_map(|(line, text)| Some((line, cells(text)?)));
    let (who, how): (Vec<_>, Vec<_>) = found.partition(|(_, cells)| cells.len() == WHO.len() + 1);
    let mut how: BTreeMap<_, _> = how
        .into_iter()
        .map(|(line, cells)| {
            assert_eq!(cells.len(), 8, "line {line}: {cells:?}");
            (cells[0], cells)
        })
        .collect();
    let rows: Vec<Row> = who
        .into_iter()
        .map(|(line, cells)| {
            let name = cells[0];
            let how = how.remove(name);
            let how = how.unwrap_or_else(|| panic!("line {line}: how is it asked for?"));
            Row {
                line,
                name,
                cells: cells[1..].to_vec(),
                takes: names(how[1]),
                looks: names(how[2]),
                log: how[3],
                json: how[4],
                path: how[5],
                page: how[6],
                cli: how[7],
            }
        })
        .collect();
    assert!(how.is_empty(), "nobody asks for {:?}", how.keys());
    rows
}
