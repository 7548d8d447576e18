//! The direction of dependencies: kernels ← planner ← engine ← connectors ← cli, and no other.

use std::collections::BTreeSet;
use std::path::PathBuf;

use cargo_metadata::MetadataCommand;

use crate::tidy::{read, rust_files};

/// The crates that may depend on those before them, in order; the rest on all, and nothing on them.
const ORDER: &[&str] = &[
    "fletching-kernels",
    "fletching-planner",
    "fletching",
    "fletching-connectors",
    "fletching-cli",
];
/// What a program chooses for the whole process, and so no library may.
const FOR_PROGRAMS: &str = "fletching-allocator";
const PROGRAMS: &[&str] = &["fletching-cli", "fletching-python", "fletching-benches"];
const ON_TOP: &[&str] = &["fletching-python", "fletching-benches", "fletching-tests"];

/// Words, not machinery: what the planner may take from the kernels.
const VOCABULARY: &[&str] = &[
    "AsOfCondition",
    "AsOfOp",
    "AsOfTolerance",
    "JoinKind",
    "NullEquality",
    "RowId",
];

/// The folder of the clone under test. Cargo says it as the tests run; the one compiled in may be
/// that of another clone which shares the target folder.
pub(crate) fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let package = package.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    package.parent().unwrap().to_path_buf()
}

/// Returns why a crate may not depend on another, or nothing.
fn fault(from: &str, to: &str) -> Option<String> {
    if to == FOR_PROGRAMS {
        let is_library = !PROGRAMS.contains(&from);
        return is_library.then(|| format!("{from} depends on {to}, which is for programs"));
    }
    let rank = |name: &str| ORDER.iter().position(|other| *other == name);
    match (rank(from), rank(to)) {
        (_, None) => Some(format!("{from} depends on {to}, on which nothing may depend")),
        (Some(from_rank), Some(to_rank)) if to_rank >= from_rank => {
            Some(format!("{from} depends on {to}, which stands above it"))
        }
        (None, Some(_)) if !ON_TOP.contains(&from) => Some(format!("{from} has no place in the order")),
        _ => None,
    }
}

#[test]
fn crates_depend_in_one_direction() {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .no_deps()
        .other_options(["--offline".to_string()])
        .exec()
        .unwrap();
    let members: BTreeSet<String> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    assert!(ORDER.iter().all(|name| members.contains(*name)), "{members:?}");
    let mut faults = Vec::new();
    for package in &metadata.packages {
        for dependency in &package.dependencies {
            if members.contains(&dependency.name) {
                faults.extend(fault(&package.name, &dependency.name));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn a_wrong_direction_is_found() {
    assert!(fault("fletching-kernels", "fletching-planner").is_some());
    assert!(fault("fletching", "fletching-connectors").is_some());
    assert!(fault("fletching-cli", "fletching-tests").is_some());
    assert!(fault("fletching-cli", "fletching-python").is_some());
    assert!(fault("fletching-python", "fletching-connectors").is_none());
    assert!(fault("fletching-helper", "fletching").is_some());
    assert!(fault("fletching-cli", "fletching-kernels").is_none());
    assert!(fault("fletching-tests", "fletching-cli").is_none());
    assert!(fault("fletching", "fletching-allocator").is_some());
    assert!(fault("fletching-cli", "fletching-allocator").is_none());
    assert!(fault("fletching-allocator", "fletching-kernels").is_some());
}

/// Returns what a text takes from the kernels' crate.
fn taken(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in text.split("fletching_kernels::").skip(1) {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap_or("");
                names.extend(
                    list.split(',')
                        .map(str::trim)
                        .filter(|name| !name.is_empty())
                        .map(str::to_string),
                );
            }
            None => names.push(rest.chars().take_while(|c| is_name(*c)).collect()),
        }
    }
    names
}

#[test]
fn the_planner_takes_only_words_from_the_kernels() {
    let mut checked = 0;
    for file in rust_files(&workspace().join("planner/src")) {
        let text = read(&file);
        let bare = text.matches("fletching_kernels").count();
        let names = taken(&text);
        assert_eq!(
            bare,
            text.matches("fletching_kernels::").count(),
            "{}: the whole crate",
            file.display()
        );
        for name in names {
            assert!(
                VOCABULARY.contains(&name.as_str()),
                "{}: takes {name}",
                file.display()
            );
            checked += 1;
        }
    }
    assert!(
        checked > 0,
        "the planner takes no word at all: is this test looking in the right place?"
    );
    assert_eq!(
        taken("use fletching_kernels::{JoinKind, join::pairs};"),
        ["JoinKind", "join::pairs"]
    );
    assert_eq!(taken("fn f() -> fletching_kernels::KeyIndex {"), ["KeyIndex"]);
}
