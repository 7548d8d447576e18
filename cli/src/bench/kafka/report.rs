//! What was found: a table for people, JSON for programs.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::fault::Result;
use super::super::machine::Machine;

/// All findings of a run.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    fletching: &'static str,
    optimized: bool,
    scale: u32,
    machine: Machine,
    pub(super) copies: Vec<CopyFinding>,
    pub(super) latencies: Vec<LatencyFinding>,
}

/// How fast records of a size went one way.
#[derive(Debug, Serialize)]
pub(super) struct CopyFinding {
    case: &'static str,
    way: &'static str,
    records: u64,
    /// Bytes of the values that were read.
    bytes: u64,
    /// Each round's.
    pub(super) seconds: Vec<f64>,
    records_per_second: f64,
    bytes_per_second: f64,
    /// The median of the rounds' speeds beside the raw loop's of the same round.
    of_raw: f64,
    /// What was wrong with the results.
    pub(super) error: Option<String>,
}

/// The time from producing a record to reading its result.
#[derive(Debug, Serialize)]
pub(super) struct LatencyFinding {
    pub(super) case: &'static str,
    pub(super) records_per_second: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl CopyFinding {
    pub(super) fn new(case: &'static str, way: &'static str, records: u64, bytes: u64) -> Self {
        Self {
            case,
            way,
            records,
            bytes,
            seconds: Vec::new(),
            records_per_second: 0.0,
            bytes_per_second: 0.0,
            of_raw: 0.0,
            error: None,
        }
    }

    /// Sums up the rounds, beside those of the raw loop.
    #[expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]
    pub(super) fn compare(&mut self, raw: &[f64]) {
        let seconds = median(self.seconds.clone());
        self.records_per_second = self.records as f64 / seconds;
        self.bytes_per_second = self.bytes as f64 / seconds;
        self.of_raw = median(
            raw.iter()
                .zip(&self.seconds)
                .map(|(raw, own)| raw / own)
                .collect(),
        );
    }
}

/// Returns the middle of some values, the upper of two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Findings {
    pub(super) fn new(scale: u32, machine: Machine) -> Self {
        Self {
            fletching: env!("CARGO_PKG_VERSION"),
            optimized: !cfg!(debug_assertions),
            scale,
            machine,
            copies: Vec::new(),
            latencies: Vec::new(),
        }
    }

    /// Writes them into a folder.
    pub(super) fn save(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let path = folder.join("kafka.json");
        fs::write(&path, serde_json::to_string_pretty(self)?)?;
        Ok(path)
    }
}

/// Prints the ways of one size.
pub(super) fn copies(findings: &[CopyFinding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if let Some(first) = findings.first() {
        writeln!(
            out,
            "{}  {} records, {} bytes each",
            first.case,
            first.records,
            first.bytes / first.records.max(1)
        )?;
    }
    writeln!(
        out,
        "  {:14} {:>12} {:>8} {:>9}",
        "way", "records/s", "MB/s", "of raw"
    )?;
    for found in findings {
        writeln!(
            out,
            "  {:14} {:>12.0} {:>8.1} {:>8.0}%{}",
            found.way,
            found.records_per_second,
            found.bytes_per_second / 1e6,
            found.of_raw * 100.0,
            found
                .error
                .as_ref()
                .map_or(String::new(), |error| format!("  WRONG: {error}"))
        )?;
    }
    out.flush()
}

/// Prints one case of latency.
pub(super) fn latency(found: &LatencyFinding) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{}  {} records/s: p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        found.case, found.records_per_second, found.p50_ms, found.p99_ms, found.max_ms
    )?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_those_of_one_round() {
        let mut found = CopyFinding::new("case", "way", 100, 1000);
        found.seconds = vec![2.0, 4.0, 8.0];
        found.compare(&[1.0, 4.0, 4.0]);
        assert!((found.records_per_second - 25.0).abs() < 1e-9);
        assert!((found.bytes_per_second - 250.0).abs() < 1e-9);
        assert!((found.of_raw - 0.5).abs() < 1e-9);
    }
}
