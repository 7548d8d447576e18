//! Dead letters of a pipeline: records that became no row of the result, and where they go.
//!
//! ```text
//!  Feed ──Chunk.letters──▶ epoch loop ──┬──▶ EpochWriter::write_letters   one transaction with the rows
//!  rows that fail to compute ──────────▶┘└──▶ LetterWriter                where the sink cannot
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use super::Position;
use crate::error::Result;

/// A record that cannot be decoded or computed.
///
/// ```
/// use fletching::connector::DeadLetter;
///
/// let letter = DeadLetter {
///     partition: "trades-0".into(),
///     place: "17".into(),
///     code: "BAD_RECORD".into(),
///     column: None,
///     reason: "is not a JSON object".into(),
///     key: None,
///     value: Some(b"poison".to_vec()),
/// };
/// assert_eq!(letter.value.as_deref(), Some(b"poison".as_slice()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The partition it is of.
    pub partition: Arc<str>,
    /// Its own place there, as an offset; empty where that is not known.
    pub place: String,
    /// The code of what is wrong with it, as [`Error::code`](crate::Error::code) gives it.
    pub code: String,
    /// The column at fault, where one is.
    pub column: Option<String>,
    /// What was expected, and what was found.
    pub reason: String,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// Its bytes; of a row that was decoded, the row as JSON.
    pub value: Option<Vec<u8>>,
}

/// Where dead letters go.
///
/// ```
/// use fletching::connector::LetterPlace;
///
/// let place = LetterPlace::File("dead.ndjson".into());
/// assert_ne!(place, LetterPlace::Topic { servers: "localhost:9092".into(), topic: "dead".into() });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LetterPlace {
    /// A file that grows.
    File(PathBuf),
    /// A topic of a cluster.
    Topic {
        /// The cluster's address, as the source was given it.
        servers: String,
        /// The topic's name.
        topic: String,
    },
}

/// What is done about a record that cannot be decoded or computed.
///
/// ```
/// use fletching::connector::OnBadRow;
///
/// assert_eq!(OnBadRow::default(), OnBadRow::Error);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnBadRow {
    /// The run ends.
    #[default]
    Error,
    /// It is left out, and counted.
    Skip,
    /// It is left out, counted, and kept elsewhere.
    Letter(LetterPlace),
}

/// What a source says of bad records.
///
/// ```
/// use fletching::connector::{BadRowPolicy, OnBadRow};
///
/// let policy = BadRowPolicy::default();
/// assert_eq!((policy.on_bad, policy.rate_max), (OnBadRow::Error, 1.0));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BadRowPolicy {
    /// What is done about one.
    pub on_bad: OnBadRow,
    /// The share of bad ones past which the run ends, from 0 to 1.
    pub rate_max: f64,
}

impl Default for BadRowPolicy {
    fn default() -> Self {
        Self {
            on_bad: OnBadRow::Error,
            rate_max: 1.0,
        }
    }
}

/// Writes dead letters epoch by epoch, where the sink of the rows cannot take them into its own.
///
/// The order of calls is that of [`EpochWriter`](super::EpochWriter), which is told first to prepare
/// and first to commit: when letters are committed, the rows of their epoch are shown.
pub trait LetterWriter: Send {
    /// Brings the letters to where the pipeline goes on from: letters that were prepared with these
    /// positions are shown, others that were prepared and not shown are let go.
    ///
    /// # Errors
    /// Fails where they cannot be read or written.
    fn restore(&mut self, positions: &[Position]) -> Result<()>;

    /// Adds letters to the epoch in the making.
    ///
    /// # Errors
    /// Fails where they cannot be written.
    fn write(&mut self, letters: &[DeadLetter]) -> Result<()>;

    /// Makes the epoch's letters durable, without showing them.
    ///
    /// # Errors
    /// Fails where they cannot be written.
    fn prepare(&mut self, positions: &[Position]) -> Result<()>;

    /// Shows what was prepared; doing it again changes nothing.
    ///
    /// # Errors
    /// Fails where they cannot be written.
    fn commit(&mut self) -> Result<()>;
}

/// How many records are looked at before a share of them counts.
const WINDOW_MIN: u64 = 1_000;
/// After how many records the counting begins anew.
const WINDOW_MAX: u64 = 10_000;

/// Counts the records that are bad in some way among the last 1,000 to 10,000, against the share of them
/// that is still an accident. Adding costs a few instructions.
///
/// ```
/// use fletching::connector::BadRate;
///
/// let mut rate = BadRate::new(0.01);
/// rate.add(500, 10);
/// assert_eq!(rate.too_many(), None);
/// rate.add(500, 1);
/// assert_eq!(rate.too_many().as_deref(), Some("11 of the last 1000 records"));
/// ```
#[derive(Debug, Clone)]
pub struct BadRate {
    share_max: f64,
    seen: u64,
    bad: u64,
}

impl BadRate {
    /// Begins to count; `share_max` is from 0 to 1.
    pub fn new(share_max: f64) -> Self {
        Self {
            share_max,
            seen: 0,
            bad: 0,
        }
    }

    /// Takes note of records, `bad` ones among them.
    pub fn add(&mut self, records: u64, bad: u64) {
        if records > 0 && self.seen >= WINDOW_MAX {
            (self.seen, self.bad) = (0, 0);
        }
        self.seen += records;
        self.bad += bad;
    }

    /// Says in words how many were bad, where those are too many.
    pub fn too_many(&self) -> Option<String> {
        let among = self.seen.max(WINDOW_MIN);
        let is_past = self.bad as f64 > among as f64 * self.share_max;
        is_past.then(|| format!("{} of the last {among} records", self.bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_bad_ones_among_many_are_let_pass() {
        let mut rate = BadRate::new(0.01);
        rate.add(10_000, 90);
        assert_eq!(rate.too_many(), None);
        // Counting begins anew, so that the good ones before do not hide what comes now.
        rate.add(1, 0);
        rate.add(0, 11);
        assert_eq!(rate.too_many().unwrap(), "11 of the last 1000 records");
    }
}
