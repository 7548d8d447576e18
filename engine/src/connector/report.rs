//! Counters that a source's readers share with the engine.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

/// Counts what the readers of one scan have read. Shared by threads; never blocks a reader but
/// for the first bad rows, which are kept as examples.
#[derive(Debug, Default)]
pub struct SourceReport {
    rows: AtomicU64,
    bytes: AtomicU64,
    bad_rows: AtomicU64,
    /// Readers opened, and those of them that have come to their end.
    readers: AtomicU64,
    readers_ended: AtomicU64,
    examples: Mutex<Vec<String>>,
    retry: Mutex<Option<Retry>>,
}

/// Something that does not work, and is tried again and again.
///
/// ```
/// use fletching::connector::Retry;
///
/// let retry = Retry { attempts: 3, reason: "broker away: connection refused".into() };
/// assert_eq!(retry.to_string(), "retrying (3rd time, broker away: connection refused)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// How many times it was tried in vain.
    pub attempts: u64,
    /// What is in the way.
    pub reason: String,
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.attempts % 10, self.attempts % 100) {
            (1, rest) if rest != 11 => "st",
            (2, rest) if rest != 12 => "nd",
            (3, rest) if rest != 13 => "rd",
            _ => "th",
        };
        write!(f, "retrying ({}{ending} time, {})", self.attempts, self.reason)
    }
}

/// How many bad rows are kept in words.
const EXAMPLES_MAX: usize = 3;

impl SourceReport {
    /// Counts decoded rows.
    pub fn add_rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Relaxed);
    }

    /// Counts encoded bytes.
    pub fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts a row that was left out, and keeps the first few reasons.
    pub fn add_bad_row(&self, reason: impl FnOnce() -> String) {
        if self.bad_rows.fetch_add(1, Relaxed) < EXAMPLES_MAX as u64 {
            self.examples.lock().push(reason());
        }
    }

    /// Says that something is tried again and again, or, with none, that it works again.
    pub fn set_retry(&self, retry: Option<Retry>) {
        *self.retry.lock() = retry;
    }

    /// Returns what is tried again and again just now.
    pub fn retry(&self) -> Option<Retry> {
        self.retry.lock().clone()
    }

    /// Counts rows that were left out, for a reason that is the same for all.
    pub(crate) fn add_left_out(&self, rows: u64, reason: &str) {
        if self.bad_rows.fetch_add(rows, Relaxed) == 0 {
            self.examples.lock().push(reason.to_owned());
        }
    }

    pub(crate) fn add_readers(&self, readers: usize) {
        self.readers.fetch_add(readers as u64, Relaxed);
    }

    pub(crate) fn end_reader(&self) {
        self.readers_ended.fetch_add(1, Relaxed);
    }

    /// Says whether every reader has come to its end.
    pub(crate) fn is_read(&self) -> bool {
        let readers = self.readers.load(Relaxed);
        readers > 0 && readers == self.readers_ended.load(Relaxed)
    }

    /// Returns the rows so far.
    pub fn rows(&self) -> u64 {
        self.rows.load(Relaxed)
    }

    /// Returns the bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Returns the rows left out so far.
    pub fn bad_rows(&self) -> u64 {
        self.bad_rows.load(Relaxed)
    }

    /// Returns the first few reasons why rows were left out.
    pub fn bad_row_examples(&self) -> Vec<String> {
        self.examples.lock().clone()
    }
}
