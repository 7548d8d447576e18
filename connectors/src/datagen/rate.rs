//! How fast a scan gives its rows, where that is limited.

use std::time::{Duration, Instant};

/// How often a paced reader gives rows, at least.
const BATCHES_PER_SECOND: f64 = 20.0;

/// Holds a reader to a rate.
#[derive(Debug)]
pub(super) struct Rate {
    rows_per_second: f64,
    began: Instant,
    given: u64,
}

impl Rate {
    pub(super) fn new(rows_per_second: f64) -> Self {
        Self {
            rows_per_second,
            began: Instant::now(),
            given: 0,
        }
    }

    /// Returns the most rows of the next batch: as many as fall due in a twentieth of a second.
    pub(super) fn rows_max(&self, rows_max: usize) -> usize {
        let due = (self.rows_per_second / BATCHES_PER_SECOND).max(1.0);
        // A rate beyond what a batch holds is cut to it.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number; a float cast saturates"
        )]
        let due = due as usize;
        due.min(rows_max)
    }

    /// Waits until so many more rows are due.
    pub(super) fn wait(&mut self, rows: usize) {
        self.given += rows as u64;
        let due = Duration::try_from_secs_f64(self.given as f64 / self.rows_per_second);
        let due = due.unwrap_or(Duration::MAX);
        std::thread::sleep(due.saturating_sub(self.began.elapsed()));
    }
}
