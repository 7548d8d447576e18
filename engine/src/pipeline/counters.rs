//! What a pipeline counts while it runs, and how others see it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::connector::{Lag, Position, Retry};
use crate::operator::LookupCounts;

/// How a pipeline is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PipelineState {
    /// It runs.
    Running,
    /// It has been told to stop, and is about to.
    Stopping,
    /// It has ended well: stopped, or come to the end of its source or to its LIMIT.
    Ended,
    /// It has failed, and why.
    Failed(String),
}

/// What a pipeline has done since its beginning; what it did before a restart is counted in where
/// it has checkpoints.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PipelineStats {
    /// Its name: that of its sink.
    pub name: String,
    /// The stream it reads.
    pub stream: String,
    /// How it is doing.
    pub state: PipelineState,
    /// Records taken in.
    pub rows_in: u64,
    /// Records given out, those of the epoch in the making included.
    pub rows_out: u64,
    /// The epoch committed last.
    pub epoch: u64,
    /// How far each partition was read.
    pub positions: Vec<Position>,
    /// Whether everything was read that the source held when it was last asked.
    pub has_caught_up: bool,
    /// Records that could not be decoded and were left out, since the start.
    pub bad_rows: u64,
    /// Records older than the watermark.
    pub late: u64,
    /// Records and rows that went to dead letters, since the start: that could not be decoded or computed,
    /// came late, or had no match.
    pub dead_letters: u64,
    /// How far it is behind in each partition, as far as the source tells.
    pub lag: Vec<Lag>,
    /// What is tried again and again just now, where something is in the way.
    pub retry: Option<Retry>,
    /// The event time up to which everything was seen, in microseconds since 1970.
    pub watermark_us: Option<i64>,
    /// What the lookups have come to, since the start.
    pub lookups: Vec<LookupCounts>,
    /// The epoch it went on from; zero where it began anew.
    pub restored_epoch: u64,
    /// The time since it was started.
    pub elapsed: Duration,
}

/// The counters behind the stats.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) rows_in: AtomicU64,
    pub(super) rows_out: AtomicU64,
    pub(super) epoch: AtomicU64,
    pub(super) late: AtomicU64,
    pub(super) dead_letters: AtomicU64,
    /// What of an epoch is tried again.
    pub(super) retry: Mutex<Option<Retry>>,
    pub(super) restored_epoch: AtomicU64,
    pub(super) has_caught_up: AtomicBool,
    pub(super) positions: Mutex<Vec<Position>>,
    pub(super) watermark_us: Mutex<Option<i64>>,
    pub(super) started: Instant,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            rows_in: AtomicU64::new(0),
            rows_out: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            late: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            retry: Mutex::default(),
            restored_epoch: AtomicU64::new(0),
            has_caught_up: AtomicBool::new(false),
            positions: Mutex::default(),
            watermark_us: Mutex::default(),
            started: Instant::now(),
        }
    }
}

impl Counters {
    /// Fills in what is counted here.
    pub(super) fn fill(&self, stats: &mut PipelineStats) {
        stats.rows_in = self.rows_in.load(Relaxed);
        stats.rows_out = self.rows_out.load(Relaxed);
        stats.epoch = self.epoch.load(Relaxed);
        stats.late = self.late.load(Relaxed);
        stats.dead_letters = self.dead_letters.load(Relaxed);
        let retry = self.retry.lock().clone();
        stats.retry = retry.or(stats.retry.take());
        stats.restored_epoch = self.restored_epoch.load(Relaxed);
        stats.has_caught_up = self.has_caught_up.load(Relaxed);
        stats.positions = self.positions.lock().clone();
        stats.watermark_us = *self.watermark_us.lock();
        stats.elapsed = self.started.elapsed();
    }
}
