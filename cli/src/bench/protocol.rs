//! What the coordinator and a contender's process say to each other: a line of JSON each way.
//!
//! ```text
//!  {"do":"hello"}            →  {"version": …, "modes": […]}
//!  {"do":"load","job":{…}}   →  {"input_bytes": …}
//!  {"do":"run"}              →  {"seconds": …, "rows": …, "batch_ns": {…}, "peak_rss_bytes": …}   many times
//!  {"do":"write","path":…}   →  {}                     the result of one run, as an Arrow IPC file
//!  {"do":"end"}
//! ```
//!
//! Anything else that is answered is `{"error": …}`. `benches/rivals/protocol.py` is the same in
//! Python.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::scenario::{Query, Run};

/// What a contender is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(super) enum Request {
    /// Say who you are.
    Hello,
    /// Load the data and make everything ready.
    Load {
        /// What is to be done.
        job: Box<Job>,
    },
    /// Run the query once.
    Run,
    /// Run the query once more and write what comes out.
    Write {
        /// Where to.
        path: PathBuf,
    },
    /// Go.
    End,
}

/// What is to be done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    /// Threads to use.
    pub(super) threads: usize,
    /// The way of doing it, one of [`Hello::modes`].
    pub(super) mode: String,
    /// The stream `input`, as a file.
    pub(super) input: PathBuf,
    /// The tables.
    pub(super) tables: Vec<TableFile>,
    /// What is asked.
    pub(super) query: Query,
    /// How it is run.
    pub(super) run: Run,
    /// How many batches make the result that is compared; 0 for all.
    pub(super) compared_batches: usize,
    /// Where a process writes its Parquet file.
    pub(super) output: Option<PathBuf>,
}

/// A table as a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct TableFile {
    /// Its name in the query.
    pub(super) name: String,
    /// Its rows.
    pub(super) path: PathBuf,
    /// Its key; empty where keys may stand twice.
    pub(super) key: Vec<String>,
}

/// An answer: what was asked for, or why not.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum Reply<T> {
    /// Why not.
    Error {
        /// In a sentence.
        error: String,
    },
    /// What was asked for.
    Done(T),
}

/// Who a contender is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    /// The version of the engine.
    pub(super) version: String,
    /// The ways it knows of; the fastest is taken.
    pub(super) modes: Vec<String>,
}

/// What is loaded.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Loaded {
    /// The bytes that stream and tables take in Arrow memory.
    pub(super) input_bytes: u64,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ran {
    /// From the first batch given to the last returned.
    pub(super) seconds: f64,
    /// Rows of the stream gone through.
    pub(super) input_rows: u64,
    /// Rows that came out.
    pub(super) rows: u64,
    /// The bytes that the result takes in Arrow memory.
    pub(super) output_bytes: u64,
    /// The time of a batch, where there are batches.
    pub(super) batch_ns: Option<Spread>,
    /// The process's largest resident memory so far.
    pub(super) peak_rss_bytes: u64,
}

/// How times are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Spread {
    /// How many there are.
    pub(super) count: u64,
    /// The median.
    pub(super) p50: u64,
    /// Nine in ten are no longer.
    pub(super) p90: u64,
    /// Ninety-nine in a hundred are no longer.
    pub(super) p99: u64,
    /// The longest.
    pub(super) max: u64,
}

impl Spread {
    /// Looks at times; `None` where there are none.
    pub(super) fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        let last = times.len().checked_sub(1)?;
        // Nearest rank: the smallest time that at least so many per cent do not exceed.
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1).min(last)];
        Some(Self {
            count: times.len() as u64,
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max: times[last],
        })
    }
}

/// Returns the process's largest resident memory so far, in bytes; 0 where the system does not say.
pub(super) fn peak_rss_bytes(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let spread = Spread::of((1..=200).rev().collect()).unwrap();
        let expected = Spread {
            count: 200,
            p50: 100,
            p90: 180,
            p99: 198,
            max: 200,
        };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of(vec![7]).map(|s| (s.p50, s.p99)), Some((7, 7)));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn a_reply_is_what_was_asked_for_or_an_error() {
        let reply: Reply<Loaded> = serde_json::from_str(r#"{"input_bytes": 7}"#).unwrap();
        assert!(matches!(reply, Reply::Done(Loaded { input_bytes: 7 })));
        let reply: Reply<Loaded> = serde_json::from_str(r#"{"error": "no"}"#).unwrap();
        assert!(matches!(reply, Reply::Error { .. }));
    }
}
