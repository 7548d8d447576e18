//! Runs every script of `tests/slt`.

use std::fmt::Write as _;

use fletching_tests::slt::{RunOptions, find_files, run_file};

use crate::dependencies::workspace;

#[test]
fn every_script_of_this_repository_passes() {
    let folder = workspace().join("tests/slt");
    let files = find_files(&folder).unwrap();
    assert!(files.len() >= 30, "expected the scripts in {}", folder.display());
    let mut failures = String::new();
    let mut passed = 0;
    for file in &files {
        let report = run_file(file, &RunOptions { threads: Some(2) });
        passed += report.passed;
        for failure in report.failures {
            writeln!(
                failures,
                "{}:{}: {}\n",
                file.display(),
                failure.line,
                failure.reason
            )
            .unwrap();
        }
        assert_eq!(
            report.skipped,
            0,
            "{}: a script of ours skips nothing",
            file.display()
        );
    }
    assert!(failures.is_empty(), "{passed} records passed, but:\n\n{failures}");
}
