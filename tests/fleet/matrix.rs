//! That the fault matrix on paper (`matrix.md`) and the tests are the same: every row names the tests that prove it, and
//! every test with the id of a row stands in it. Nothing is run here.

use std::collections::{BTreeMap, BTreeSet};

const MATRIX: &str = include_str!("matrix.md");
/// Where the tests are.
const SOURCES: [&str; 8] = [
    include_str!("redis_faults.rs"),
    include_str!("streams.rs"),
    include_str!("starts.rs"),
    include_str!("poison.rs"),
    include_str!("forgery.rs"),
    include_str!("disk.rs"),
    include_str!("revocation.rs"),
    include_str!("homes.rs"),
];

/// `R1`, ..., to the tests.
type Rows = BTreeMap<String, BTreeSet<String>>;

/// The id in a test's name, `R1` of `r1_redis_killed`; `None` when it has none.
fn id_of(test: &str) -> Option<String> {
    let (id, _) = test.split_once('_')?;
    let (letter, number) = id.split_at_checked(1)?;
    let is_id = "rpdk".contains(letter) && number.parse::<u8>().is_ok();
    is_id.then(|| id.to_uppercase())
}

fn written() -> Rows {
    MATRIX
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter(|row| !row.starts_with("id |"))
        .map(|row| {
            let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").collect();
            assert_eq!(cells.len(), 4, "{row}");
            let tests = cells[3]
                .split(", ")
                .map(|test| test.trim_matches('`').to_owned());
            (cells[0].to_owned(), tests.collect())
        })
        .collect()
}

fn existing() -> Rows {
    let mut rows = Rows::new();
    for source in SOURCES {
        for (attribute, line) in source.lines().zip(source.lines().skip(1)) {
            let name = line
                .strip_prefix("fn ")
                .and_then(|rest| rest.strip_suffix("() {"));
            if let Some(name) = name.filter(|_| attribute == "#[test]")
                && let Some(id) = id_of(name)
            {
                rows.entry(id).or_default().insert(name.to_owned());
            }
        }
    }
    rows
}

#[test]
fn every_row_of_the_fault_matrix_has_its_tests_and_every_test_its_row() {
    let ids: BTreeSet<String> = (1..=12)
        .map(|number| format!("R{number}"))
        .chain((1..=5).map(|number| format!("P{number}")))
        .chain(["D1", "D2", "K1"].map(ToOwned::to_owned))
        .collect();
    let (written, existing) = (written(), existing());
    assert_eq!(written.keys().cloned().collect::<BTreeSet<_>>(), ids);
    assert_eq!(written, existing);
}
