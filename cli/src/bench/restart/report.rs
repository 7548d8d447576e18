//! What was found: a table for people, JSON for programs.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::super::fault::Result;
use super::super::machine::Machine;
use super::NAME;

/// What all lives took.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    pub(super) machine: Machine,
    /// Rows of the table.
    pub(super) rows: u64,
    /// Bytes of the table's state.
    pub(super) state_bytes: u64,
    /// From the start of the first life to the first row that it joined.
    pub(super) first_seconds: f64,
    pub(super) first_peak_bytes: u64,
    /// The same of each life after a kill.
    pub(super) seconds: Vec<f64>,
    pub(super) peak_bytes: Vec<u64>,
    /// What was wrong with the results.
    pub(super) error: Option<String>,
}

impl Finding {
    /// Returns the fastest, the middle (the upper of two) and the slowest of the restarts.
    fn spread(&self) -> [f64; 3] {
        let mut seconds = self.seconds.clone();
        seconds.sort_unstable_by(f64::total_cmp);
        let at = |at: usize| seconds.get(at).copied().unwrap_or(f64::NAN);
        [at(0), at(seconds.len() / 2), at(seconds.len().saturating_sub(1))]
    }
}

/// Prints the table.
pub(super) fn print(finding: &Finding) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mib = |bytes: u64| bytes >> 20;
    let [fastest, median, slowest] = finding.spread();
    writeln!(
        out,
        "{NAME}  {} rows in the table, {} MiB of state",
        finding.rows,
        mib(finding.state_bytes)
    )?;
    writeln!(
        out,
        "  {:32} {:>10} {:>10}",
        "to the first row joined", "seconds", "peak MiB"
    )?;
    writeln!(
        out,
        "  {:32} {:>10.2} {:>10}",
        "first start, table read whole",
        finding.first_seconds,
        mib(finding.first_peak_bytes)
    )?;
    writeln!(
        out,
        "  {:32} {:>10.2} {:>10}   {fastest:.2} to {slowest:.2}",
        format!("killed, median of {}", finding.seconds.len()),
        median,
        mib(finding.peak_bytes.iter().copied().max().unwrap_or(0)),
    )?;
    if let Some(error) = &finding.error {
        writeln!(out, "  WRONG: {error}")?;
    }
    out.flush()
}

/// Writes it into a folder.
pub(super) fn save(finding: &Finding, scale: u32, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let path = folder.join(format!("{NAME}.json"));
    let [_, median, _] = finding.spread();
    let mut found = serde_json::to_value(finding)?;
    found["fletching"] = json!(env!("CARGO_PKG_VERSION"));
    found["optimized"] = json!(!cfg!(debug_assertions));
    found["scale"] = json!(scale);
    found["median_seconds"] = json!(median);
    fs::write(&path, serde_json::to_string_pretty(&found)?)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_restarts_alone() {
        let finding = Finding {
            machine: Machine::find(),
            rows: 10,
            state_bytes: 1 << 20,
            first_seconds: 9.0,
            first_peak_bytes: 0,
            seconds: vec![3.0, 1.0, 2.0],
            peak_bytes: vec![1, 2, 3],
            error: None,
        };
        let [fastest, median, slowest] = finding.spread();
        assert!((fastest - 1.0).abs() < 1e-9 && (median - 2.0).abs() < 1e-9 && (slowest - 3.0).abs() < 1e-9);
        let folder = tempfile::tempdir().unwrap();
        let path = save(&finding, 1, folder.path()).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(
            (read["rows"].as_u64(), read["median_seconds"].as_f64()),
            (Some(10), Some(2.0))
        );
    }
}
