//! Every crate we build with has a licence that `deny.toml` allows.

use std::collections::BTreeSet;
use std::path::Path;

use cargo_metadata::MetadataCommand;

use crate::dependencies::workspace;

/// Reads the licences allowed in `deny.toml`.
fn allowed(root: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root.join("deny.toml")).unwrap();
    let list = text.split("allow = [").nth(1).unwrap().split(']').next().unwrap();
    list.split(',')
        .map(|word| word.trim().trim_matches('"').to_string())
        .filter(|word| !word.is_empty())
        .collect()
}

/// Says whether an SPDX expression can be met with what is allowed. Parentheses only ever group
/// alternatives in the expressions there are, so that any of their words will do.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let plain = expression.replace('/', " OR ");
    plain.split(" AND ").all(|part| {
        part.split(" OR ")
            .any(|word| allowed.contains(word.trim_matches(['(', ')', ' '])))
    })
}

#[test]
fn every_crate_has_an_allowed_licence() {
    let root = workspace();
    let allowed = allowed(&root);
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options([
            "--locked".to_string(),
            "--filter-platform=x86_64-unknown-linux-gnu".to_string(),
        ])
        .exec()
        .unwrap();
    let refused: Vec<_> = metadata
        .packages
        .iter()
        .filter(|package| {
            !package
                .license
                .as_deref()
                .is_some_and(|licence| is_allowed(licence, &allowed))
        })
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(
        refused.is_empty(),
        "not allowed by deny.toml:\n{}",
        refused.join("\n")
    );
    assert!(
        metadata.packages.len() > 100,
        "too few packages to be all of them"
    );
}

#[test]
fn a_licence_that_is_not_allowed_is_found() {
    let allowed = BTreeSet::from(["MIT".to_string(), "Apache-2.0".to_string()]);
    assert!(is_allowed("MIT OR GPL-3.0", &allowed));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Apache-2.0", &allowed));
    assert!(!is_allowed("GPL-3.0", &allowed));
    assert!(!is_allowed("MIT AND GPL-3.0", &allowed));
}
