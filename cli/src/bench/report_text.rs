//! What is printed: the list of scenarios, and a table for each case.

use std::io::{self, Write};

use super::kafka;
use super::restart;
use super::results::{CaseFindings, ContenderFindings, batch_gains};
use super::scenario::{RunKind, Scenario};
use crate::figures::{about, count, counted};
use crate::paint::Paint;

/// Prints the scenarios and their cases.
///
/// # Errors
/// Fails where nobody reads them any more.
pub(super) fn list(scenarios: &[Scenario], paint: Paint, out: &mut impl Write) -> io::Result<()> {
    for scenario in scenarios {
        writeln!(out, "{}  {}", paint.strong(&scenario.name), scenario.title)?;
        let cases: Vec<&str> = scenario
            .cases
            .iter()
            .map(|case| {
                case.name
                    .strip_prefix(scenario.name.as_str())
                    .unwrap_or(&case.name)
            })
            .filter(|case| !case.is_empty())
            .collect();
        if !cases.is_empty() {
            let shown = cases.len().min(CASES_LISTED);
            let more = cases.len() - shown;
            let rest = if more > 0 {
                format!(" … and {more} more")
            } else {
                String::new()
            };
            writeln!(out, "  {}{rest}", paint.dim(cases[..shown].join("  ")))?;
        }
    }
    writeln!(out, "{}  {}", paint.strong(kafka::NAME), kafka::TITLE)?;
    let cases: Vec<&str> = kafka::cases()
        .filter_map(|case| case.strip_prefix(kafka::NAME))
        .collect();
    writeln!(out, "  {}", paint.dim(cases.join("  ")))?;
    writeln!(out, "{}  {}", paint.strong(restart::NAME), restart::TITLE)?;
    writeln!(out, "\nRun one with: fletching bench NAME --rivals")
}

/// So many of a scenario's cases are listed.
const CASES_LISTED: usize = 6;

/// Prints what a case found.
///
/// # Errors
/// Fails where nobody reads it any more.
pub(super) fn case(findings: &CaseFindings, paint: Paint, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", paint.strong(&findings.name))?;
    writeln!(out, "{}", paint.dim(conditions(findings)))?;
    let is_building = findings.contenders.iter().filter(|c| c.is_ours).count() > 1;
    let has_batches = findings.run.kind == RunKind::Batches;
    let mut rows = vec![header(has_batches, is_building)];
    rows.extend(
        findings
            .contenders
            .iter()
            .filter_map(|c| cells(c, has_batches, is_building)),
    );
    write_aligned(&rows, paint, out)?;
    for contender in &findings.contenders {
        if let Some(error) = &contender.error {
            writeln!(out, "{} {}: {error}", paint.error("error"), contender.name)?;
        }
    }
    for left_out in &findings.left_out {
        writeln!(
            out,
            "{}",
            paint.dim(format!("left out: {}: {}", left_out.name, left_out.why))
        )?;
    }
    writeln!(out, "{}\n", paint.dim(format!("results: {}", findings.compared)))
}

/// Says how a case was run, in a line.
pub(super) fn conditions(findings: &CaseFindings) -> String {
    let rows = figures_of_run(findings);
    let threads = counted(findings.threads as u64, "thread");
    let word = |bytes: u64| format!("{}B", about(bytes as f64));
    let ours = findings.contenders.iter().find(|contender| contender.is_ours);
    let sizes = ours.and_then(|ours| {
        let output = ours.figures.as_ref()?.output_bytes;
        Some(format!(
            "; ours: {} in, {} out",
            word(ours.input_bytes),
            word(output)
        ))
    });
    format!(
        "{rows}; {threads}; output memory is fresh{}",
        sizes.unwrap_or_default()
    )
}

fn figures_of_run(findings: &CaseFindings) -> String {
    let rows = counted(findings.input_rows, "row");
    match findings.run.kind {
        RunKind::Whole => format!("{rows} at once, from memory to memory"),
        RunKind::Process => format!("{rows}, Parquet to Parquet, the process's start counted"),
        RunKind::Batches => {
            let batch = counted(findings.run.batch_rows as u64, "row");
            format!("batches of {batch} out of {rows}, each returned before the next")
        }
    }
}

fn header(has_batches: bool, is_building: bool) -> Vec<String> {
    let mut cells = vec!["contender", "mode", "M rows/s", "per core", "seconds"];
    if has_batches {
        cells.extend(["p50 µs", "p90 µs", "p99 µs", "max µs"]);
    }
    cells.extend(["peak MB", "ours is"]);
    if is_building {
        cells.push("building");
    }
    cells.into_iter().map(str::to_owned).collect()
}

fn cells(contender: &ContenderFindings, has_batches: bool, is_building: bool) -> Option<Vec<String>> {
    let figures = contender.figures.as_ref()?;
    let mut cells = vec![
        contender.name.clone(),
        contender.mode.clone(),
        millions(figures.rows_per_s),
        millions(figures.rows_per_s_per_core),
        format!("{:.4}", figures.seconds),
    ];
    if has_batches {
        let spread = figures.batch_ns;
        cells.extend(
            spread
                .into_iter()
                .flat_map(|s| [s.p50, s.p90, s.p99, s.max])
                .map(micros),
        );
    }
    cells.push(count(figures.peak_rss_bytes / 1_000_000));
    let times = |ratio: Option<f64>| ratio.map_or("".to_owned(), times_faster);
    cells.push(times(figures.ratio));
    if is_building {
        cells.push(times(figures.ratio_build));
    }
    Some(cells)
}

/// Writes rows a second in millions, with three figures.
pub(super) fn millions(rows_per_s: f64) -> String {
    let millions = rows_per_s / 1e6;
    match millions {
        0.0..0.01 => format!("{millions:.5}"),
        0.01..1.0 => format!("{millions:.3}"),
        1.0..100.0 => format!("{millions:.2}"),
        _ => format!("{millions:.0}"),
    }
}

/// Writes nanoseconds as microseconds.
pub(super) fn micros(ns: u64) -> String {
    format!("{:.1}", ns as f64 / 1e3)
}

/// Writes a ratio, as in `3.1× faster`.
pub(super) fn times_faster(ratio: f64) -> String {
    if ratio >= 1.0 {
        format!("{ratio:.2}× faster")
    } else {
        format!("{:.2}× slower", 1.0 / ratio)
    }
}

fn write_aligned(rows: &[Vec<String>], paint: Paint, out: &mut impl Write) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter()
            .filter_map(|row| row.get(at))
            .map(|c| c.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    for (at, row) in rows.iter().enumerate() {
        let cells = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| {
                // Words to the left, numbers to the right.
                if column < 2 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        if at == 0 {
            writeln!(out, "  {}", paint.dim(line))?;
        } else {
            writeln!(out, "  {}", line.trim_end())?;
        }
    }
    Ok(())
}

/// Prints how much batches gain over single records, where both were run.
///
/// # Errors
/// Fails where nobody reads it any more.
pub(super) fn gains(cases: &[CaseFindings], out: &mut impl Write) -> io::Result<()> {
    for (name, micros, gain) in batch_gains(cases) {
        writeln!(
            out,
            "{name}: {micros:.2} µs a record called singly; a record in a batch costs {gain:.1} times less"
        )?;
    }
    Ok(())
}

/// Prints what a scenario's file is to expect, where the contenders agree.
///
/// # Errors
/// Fails where nobody reads it any more.
pub(super) fn expectations(cases: &[CaseFindings], out: &mut impl Write) -> io::Result<()> {
    for case in cases {
        let right: Vec<_> = case.contenders.iter().filter(|c| c.error.is_none()).collect();
        let [first, _, ..] = right.as_slice() else {
            continue;
        };
        let (scenario, name) = case.name.split_once('/').unwrap_or((&case.name, ""));
        writeln!(
            out,
            "# {scenario}: {} agree\n[[expected]]\ncase = \"{name}\"\nrows = {}\nchecksum = \"{}\"\n",
            right.len(),
            first.rows,
            first.checksum
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_figures() {
        assert_eq!(
            [93_266.0, 1_234_567.0, 456_000_000.0].map(millions),
            ["0.093", "1.23", "456"]
        );
        assert_eq!(times_faster(0.5), "2.00× slower");
    }

    #[test]
    fn columns_stand_in_line() {
        let rows = [
            vec!["a".to_owned(), "b".into(), "c".into()],
            vec!["é".into(), "bb".into(), "100".into()],
        ];
        let mut out = Vec::new();
        write_aligned(&rows, Paint::PLAIN, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  a  b     c\n  é  bb  100\n");
    }
}
