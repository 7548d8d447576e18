//! What a benchmark found: every raw time, and the figures made of them.

use serde::Serialize;

use super::machine::Machine;
use super::protocol::{Ran, Spread};
use super::scenario::Run;

/// Everything that one call of `fletching bench` found.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    /// The version of this program.
    pub(super) fletching: &'static str,
    /// Whether this build is optimised; the figures of one that is not mean nothing.
    pub(super) optimized: bool,
    /// When it began, in seconds since 1970.
    pub(super) began_unix_s: u64,
    /// Where.
    pub(super) machine: Machine,
    /// What sizes are divided by.
    pub(super) scale: u32,
    /// The cases, in the order they were run.
    pub(super) cases: Vec<CaseFindings>,
}

/// What one case found.
#[derive(Debug, Serialize)]
pub(super) struct CaseFindings {
    /// `scenario/value/value`.
    pub(super) name: String,
    /// The scenario's title.
    pub(super) title: String,
    /// What else there is to know about the scenario.
    pub(super) about: String,
    /// What was asked.
    pub(super) sql: String,
    /// How it was run.
    pub(super) run: Run,
    /// Threads each contender had.
    pub(super) threads: usize,
    /// Rows of the stream.
    pub(super) input_rows: u64,
    /// What the results were compared with, in a sentence.
    pub(super) compared: String,
    /// Those that took part, this program first.
    pub(super) contenders: Vec<ContenderFindings>,
    /// Those that did not.
    pub(super) left_out: Vec<LeftOut>,
}

/// Who took no part.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LeftOut {
    /// The rival.
    pub(super) name: String,
    /// Why not.
    pub(super) why: String,
}

/// What was found of one contender.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ContenderFindings {
    /// Its name.
    pub(super) name: String,
    /// Whether it is this program.
    pub(super) is_ours: bool,
    /// The engine's version.
    pub(super) version: String,
    /// The way it was run in.
    pub(super) mode: String,
    /// The ways that were tried, with their times in seconds.
    pub(super) modes_tried: Vec<(String, f64)>,
    /// Where its output went: every contender asks its allocator anew in each run.
    pub(super) output_memory: &'static str,
    /// The bytes of stream and tables in Arrow memory, or in files.
    pub(super) input_bytes: u64,
    /// Rows that came out, of what was compared.
    pub(super) rows: u64,
    /// Their checksum.
    pub(super) checksum: String,
    /// Every timed run.
    pub(super) runs: Vec<Ran>,
    /// What is wrong with it; then there are no figures.
    pub(super) error: Option<String>,
    /// The figures.
    pub(super) figures: Option<Figures>,
}

/// Figures: medians over the runs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figures {
    /// Of a run.
    pub(super) seconds: f64,
    /// Rows of the stream gone through in a second.
    pub(super) rows_per_s: f64,
    /// The same, for each thread.
    pub(super) rows_per_s_per_core: f64,
    /// The time of a batch, where there are batches.
    pub(super) batch_ns: Option<Spread>,
    /// The largest resident memory, of all runs.
    pub(super) peak_rss_bytes: u64,
    /// The bytes of the result in Arrow memory, or in its file.
    pub(super) output_bytes: u64,
    /// How many times faster `fletching` is.
    pub(super) ratio: Option<f64>,
    /// How many times faster `fletching, build counted` is.
    pub(super) ratio_build: Option<f64>,
}

impl Figures {
    /// Makes figures of runs; `None` where there are none.
    pub(super) fn of(runs: &[Ran], threads: usize) -> Option<Self> {
        let first = runs.first()?;
        let seconds = median(runs.iter().map(|run| run.seconds));
        let rows_per_s = first.input_rows as f64 / seconds.max(1e-9);
        let spreads: Vec<Spread> = runs.iter().filter_map(|run| run.batch_ns).collect();
        let batch_ns = spreads.first().map(|first| {
            let of = |get: fn(&Spread) -> u64| {
                let mut times: Vec<u64> = spreads.iter().map(get).collect();
                times.sort_unstable();
                times[times.len() / 2]
            };
            Spread {
                count: first.count,
                p50: of(|s| s.p50),
                p90: of(|s| s.p90),
                p99: of(|s| s.p99),
                max: of(|s| s.max),
            }
        });
        Some(Self {
            seconds,
            rows_per_s,
            rows_per_s_per_core: rows_per_s / threads.max(1) as f64,
            batch_ns,
            peak_rss_bytes: runs.iter().map(|run| run.peak_rss_bytes).max().unwrap_or(0),
            output_bytes: first.output_bytes,
            ratio: None,
            ratio_build: None,
        })
    }
}

/// Returns the middle of some numbers, the mean of the two middle ones where they are even.
pub(super) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// Sets every contender's ratios, where there is something to compare.
pub(super) fn compare(contenders: &mut [ContenderFindings]) {
    let rate = |contender: Option<&ContenderFindings>| Some(contender?.figures.as_ref()?.rows_per_s);
    let mut ours = contenders.iter().filter(|contender| contender.is_ours);
    let (ready, build) = (rate(ours.next()), rate(ours.next()));
    for contender in contenders {
        let is_ours = contender.is_ours;
        if let Some(figures) = contender.figures.as_mut().filter(|_| !is_ours) {
            figures.ratio = ready.map(|rate| rate / figures.rows_per_s);
            figures.ratio_build = build.map(|rate| rate / figures.rows_per_s);
        }
    }
}

/// Does what `seed` publishes besides: where a table is called record by record and in batches,
/// how much a batch gains. Gives the case's name without its last word, the time of a record, and
/// the gain.
pub(super) fn batch_gains(cases: &[CaseFindings]) -> Vec<(String, f64, f64)> {
    let ours = |case: &CaseFindings| {
        let figures = case.contenders.iter().find(|c| c.is_ours)?.figures.as_ref();
        figures.map(|figures| figures.rows_per_s)
    };
    let single = cases.iter().filter_map(|case| {
        let stem = case.name.strip_suffix("/single")?;
        let batched = cases.iter().find(|other| {
            other
                .name
                .strip_prefix(stem)
                .is_some_and(|rest| rest.starts_with("/batch="))
        })?;
        let (single, batched) = (ours(case)?, ours(batched)?);
        Some((stem.to_owned(), 1e6 / single, batched / single))
    });
    single.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert!(median(std::iter::empty()).is_nan());
    }
}
