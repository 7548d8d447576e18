//! Runs SQL logic tests, ours and those of SQLite, DataFusion and DuckDB as they are.
//!
//! ```text
//!  text ──read──▶ steps ──run──▶ a fresh Session ──show──▶ cells of text ──compare──▶ FileReport
//! ```
//!
//! A record that fails does not stop its file. What only another engine can do (`PRAGMA`,
//! transactions, indexes, the text of its plans) is skipped and counted as such.

mod compare;
mod hash;
mod loops;
mod read;
mod run;
mod show;
mod step;
mod wording;

use std::path::{Path, PathBuf};

/// How files are run.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The cores a session may use; all where it is `None`.
    pub threads: Option<usize>,
}

/// One record that did not do what its file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The line its record begins at, counted from one.
    pub line: usize,
    /// The SQL, and what was expected and found.
    pub reason: String,
}

/// What became of the records of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Records that did what the file says.
    pub passed: usize,
    /// Records that did not.
    pub failures: Vec<Failure>,
    /// Records that are not for this engine.
    pub skipped: usize,
}

/// Runs one file in a fresh session.
///
/// ```
/// use fletching_tests::slt::{RunOptions, run_file};
///
/// let path = std::env::temp_dir().join(format!("fletching-slt-doc-{}.slt", std::process::id()));
/// std::fs::write(&path, "query I\nSELECT 1 + 1\n----\n2\n\nstatement error division by zero\nSELECT 1 / 0\n")?;
/// let report = run_file(&path, &RunOptions::default());
/// std::fs::remove_file(&path)?;
/// assert_eq!((report.passed, report.failures.len(), report.skipped), (2, 0, 0));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run_file(path: &Path, options: &RunOptions) -> FileReport {
    match read::read_file(path) {
        Ok(steps) => run::run_steps(&steps, options),
        Err(error) => FileReport {
            failures: vec![Failure {
                line: 0,
                reason: error.to_string(),
            }],
            ..FileReport::default()
        },
    }
}

/// Lists the `.slt` and `.test` files of a folder and the folders in it, sorted; a file is itself.
///
/// # Errors
/// Fails where a folder cannot be read.
///
/// ```
/// let files = fletching_tests::slt::find_files("slt".as_ref())?;
/// assert!(files.iter().all(|file| file.extension().is_some_and(|kind| kind == "slt")));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn find_files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut entries = std::fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        let is_script = entry
            .extension()
            .is_some_and(|kind| kind == "slt" || kind == "test");
        if entry.is_dir() {
            files.extend(find_files(&entry)?);
        } else if is_script {
            files.push(entry);
        }
    }
    Ok(files)
}
