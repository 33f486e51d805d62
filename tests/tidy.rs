//! The house rules that a compiler does not hold: who may import whom, what files are called and how they open, what
//! stands at the top, why each dependency is there. It runs nothing.

#![expect(
    clippy::unwrap_used,
    reason = "in a test each of them is the test failing"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use keygate::config::UPSTREAM_NAMES;
use keygate::keys::Role;
use keygate::keys::permissions::Permission;
use keygate::proxy::route::{Destination, Routes};

/// The most lines of a file, its tests aside.
const LINES_MAX: usize = 520;
/// Files that may be longer, and why.
const LONGER: [(&str, &str); 1] = [("src/proxy/route.rs", "it is a list: the table of routes")];
/// Names of modules that are drawers and no decisions.
const DRAWERS: [&str; 6] = ["utils", "util", "common", "helpers", "types", "prelude"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file below the root.
struct Source {
    /// From the root.
    path: String,
    text: String,
}

impl Source {
    /// The text before its tests.
    fn code(&self) -> &str {
        self.text
            .split_once("\n#[cfg(test)]\nmod ")
            .map_or(&*self.text, |(code, _)| code)
    }

    /// `keys` for `src/keys/table.rs`, `app` for `src/app.rs`.
    fn module(&self) -> &str {
        let path = self.path.strip_prefix("src/").unwrap();
        let end = path.find(['/', '.']).unwrap();
        &path[..end]
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source {
                    text: fs::read_to_string(&path).unwrap(),
                    path: path
                        .strip_prefix(root())
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                });
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

fn all_sources() -> Vec<Source> {
    let folders = ["src", "tests"];
    folders.into_iter().flat_map(sources).collect()
}

/// The modules that each one may import, as the table in `src/lib.rs` says it.
fn import_law() -> BTreeMap<String, BTreeSet<String>> {
    let page = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows: Vec<[&str; 2]> = page
        .lines()
        .skip_while(|line| *line != "//! # The import law")
        .take_while(|line| !line.starts_with("//! # Where"))
        .filter_map(|line| line.strip_prefix("//! | "))
        .skip(1)
        .map(|row| {
            let mut cells = row.split(" | ");
            [cells.next().unwrap(), cells.next().unwrap()]
        })
        .collect();
    let name = |cell: &str| cell.trim_matches(['[', ']', '`']).to_owned();
    let modules: BTreeSet<_> = rows.iter().map(|[module, _]| name(module)).collect();
    let law: BTreeMap<_, _> = rows
        .iter()
        .map(|[module, may]| {
            let may = match *may {
                "nothing of ours" => BTreeSet::new(),
                "everyone" => modules
                    .iter()
                    .filter(|module| !matches!(module.as_str(), "cli" | "main"))
                    .cloned()
                    .collect(),
                names => name(names).split(' ').map(ToOwned::to_owned).collect(),
            };
            (name(module), may)
        })
        .collect();
    assert!(law.len() >= 12, "{law:?}");
    law
}

/// The modules at the top that a text names by `crate::` (in the binary, `keygate::`).
fn imported(text: &str, from: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split(from).skip(1))
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .collect()
}

#[test]
fn every_module_imports_only_what_the_law_lets_it() {
    let law = import_law();
    let mut broken = Vec::new();
    for source in sources("src") {
        let module = source.module();
        if module == "lib" {
            continue;
        }
        let may = law
            .get(module)
            .unwrap_or_else(|| panic!("{} has no row in the law", source.path));
        let from = if module == "main" {
            "keygate::"
        } else {
            "crate::"
        };
        for other in imported(&source.text, from) {
            // An empty name is `crate::{...}`, which this could not read.
            if other != module && !may.contains(&other) {
                broken.push(format!("{} imports {other:?}", source.path));
            }
        }
        let at_top = source.path.matches('/').count() == 1 || source.path.ends_with("/mod.rs");
        let sideways = if at_top {
            "\nuse super::"
        } else {
            "\nuse super::super::"
        };
        if source.text.contains(sideways) {
            broken.push(format!("{} goes around `crate::`", source.path));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_domain_is_pure_and_only_the_store_knows_its_database() {
    let mut broken = Vec::new();
    for source in sources("src") {
        let never: &[&str] = match source.module() {
            "keys" => &[
                "tokio::",
                "hyper::",
                "redb::",
                "std::fs",
                "std::env",
                "SystemTime",
                "::now()",
            ],
            "store" => &["hyper::", "std::env"],
            "config" => &["redb::", "tokio::", "hyper::"],
            _ => &["redb::"],
        };
        for what in never {
            if source.code().contains(what) {
                broken.push(format!("{} says {what}", source.path));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_opens_with_what_it_is_and_has_a_name_and_a_size() {
    let allow = concat!("#[", "allow");
    let allow_all = concat!("#![", "allow");
    let mut broken = Vec::new();
    for source in all_sources() {
        let path = &source.path;
        let first = source.text.lines().next().unwrap_or_default();
        if !first.starts_with("//! ") {
            broken.push(format!("{path} does not open with what it is"));
        }
        if source.text.contains(allow) || source.text.contains(allow_all) {
            broken.push(format!("{path} allows a lint; expect it, with a reason"));
        }
        let file = Path::new(path);
        let stem = file.file_stem().unwrap().to_str().unwrap();
        let folder = file
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap();
        if DRAWERS.contains(&stem) || DRAWERS.contains(&folder) {
            broken.push(format!("{path} is called like a drawer"));
        }
        let lines = source.code().lines().count();
        let may = LONGER.iter().any(|(longer, _)| longer == path);
        if path.starts_with("src/") && lines > LINES_MAX && !may {
            broken.push(format!("{path} has {lines} lines"));
        }
        if path == "src/main.rs" && lines > 30 {
            broken.push(format!("{path} does more than hand over"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_top_of_the_house_is_as_it_should_be() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: BTreeSet<_> = ignored.lines().map(|line| line.trim_matches('/')).collect();
    let entries: BTreeSet<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !ignored.contains(name.as_str()))
        .collect();
    let expected = [
        "Cargo.lock",
        "Cargo.toml",
        "README.md",
        "benches",
        "config",
        "deploy",
        "src",
        "tests",
    ];
    assert_eq!(entries, expected.map(ToOwned::to_owned).into());
}

#[test]
fn every_route_names_an_upstream_that_the_configuration_knows() {
    let routes = Routes::new(&[], false);
    let named: BTreeSet<&str> = routes
        .all()
        .filter_map(|route| match &route.destination {
            Destination::Upstream(name) => Some(&**name),
            Destination::ValidateV1
            | Destination::ValidateV2
            | Destination::ValidateKeys
            | Destination::Options => None,
        })
        .collect();
    let known: BTreeSet<&str> = UPSTREAM_NAMES.iter().copied().collect();
    let unknown: Vec<_> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "routes name {unknown:?}");
    let unused: Vec<_> = known.difference(&named).collect();
    assert_eq!(unused, [&"default"], "no route leads to them");
}

#[test]
fn every_dependency_says_why_it_is_there_and_comes_from_the_registry() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut section = "";
    let mut count = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.contains("dependencies") && line.contains(" = ") {
            count += 1;
            let (dependency, reason) = line.split_once("# ").unwrap_or((line, ""));
            assert!(reason.len() > 10, "no reason: {line}");
            for source in ["git =", "path =", "registry ="] {
                assert!(!dependency.contains(source), "{line}");
            }
        }
    }
    assert!(count > 20, "{count} dependencies");
    assert!(!manifest.contains("[patch") && !manifest.contains("[replace"));
}

#[test]
fn the_readme_says_what_each_role_may() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let mark = |role, permission: &Permission| if permission.is_of(role) { "yes" } else { "" };
    let head = "| permission | allows to | admin | standard | read-only |\n|---|---|---|---|---|\n";
    let rows = Permission::ALL.iter().map(|permission| {
        format!(
            "| `{}` | {} | {} | {} | {} |\n",
            permission.as_str(),
            permission
                .meaning()
                .trim_end_matches('.')
                .to_lowercase_first(),
            mark(Role::Admin, permission),
            mark(Role::Standard, permission),
            mark(Role::ReadOnly, permission),
        )
    });
    let rows: String = std::iter::once(head.to_owned()).chain(rows).collect();
    let (_, rest) = readme
        .split_once("<!-- permissions: generated -->\n")
        .unwrap();
    let (found, _) = rest.split_once("<!-- /permissions -->").unwrap();
    assert_eq!(found, rows, "README.md differs; put this there:\n\n{rows}");
}

trait LowercaseFirst {
    fn to_lowercase_first(&self) -> String;
}

impl LowercaseFirst for str {
    fn to_lowercase_first(&self) -> String {
        let mut chars = self.chars();
        let first = chars.next().map(|first| first.to_ascii_lowercase());
        first.into_iter().chain(chars).collect()
    }
}
