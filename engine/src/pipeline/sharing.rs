//! A pipeline whose stream is shared with other instances: partitions come and go.
//!
//! ```text
//!  Revoked ─▶ epoch committed, or taken back ─▶ positions forgotten ─▶ partitions given up
//!  a failure ─▶ epoch taken back ─▶ rejoin ─▶ records left out until Revoked ─▶ as above
//! ```
//!
//! Where a partition is read from is the group's to say, not ours: what is committed there is what was
//! shown. So whatever goes wrong with an epoch that is not shown yet, it is taken back, and its records
//! are read again, by this instance or by another.

use std::time::Duration;

use super::epochs::{EpochLoop, Making, WAIT_MAX};
use crate::connector::{Polled, Retry};
use crate::error::{Error, Result};

/// How many epochs in a row may be taken back before the pipeline gives up.
const FAILURES_MAX: u32 = 8;
/// The pause after the first of them; twice as long after each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// How a pipeline shares its stream.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    pub(crate) is_on: bool,
    /// Whether partitions wait for being given up.
    pub(super) is_revoked: bool,
    /// How many epochs were taken back since the last that was shown.
    pub(super) failures: u32,
}

impl EpochLoop {
    /// Commits what was made of partitions that are to be given up, and lets go of them.
    pub(super) fn release(&mut self) -> Result<()> {
        if self.making.rows > 0 {
            self.publish()?;
        }
        self.forget();
        self.inbox.release();
        Ok(())
    }

    /// Takes the epoch in the making back, so that its records are read again.
    pub(super) fn take_back(&mut self, error: Error) -> Result<()> {
        if !self.sharing.is_on || self.sharing.failures >= FAILURES_MAX || !self.writer.take_back(&error)? {
            return Err(error);
        }
        *self.counters.retry.lock() = Some(Retry {
            attempts: u64::from(self.sharing.failures) + 1,
            reason: format!("an epoch is taken back: {error}"),
        });
        std::thread::sleep(PAUSE * (1 << self.sharing.failures));
        self.sharing.failures += 1;
        if !self.sharing.is_revoked {
            self.inbox.rejoin();
            // What comes until then follows records that are to be read again.
            while !matches!(self.inbox.take(WAIT_MAX)?, Polled::Revoked) {
                if self.stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
            }
        }
        self.forget();
        self.inbox.release();
        Ok(())
    }

    /// Forgets the epoch in the making and where the partitions stand.
    fn forget(&mut self) {
        self.sharing.is_revoked = false;
        if let Some(pins) = self.making.pins.take() {
            self.query.unpin(pins);
        }
        self.state.rows_in -= self.making.rows;
        self.state.rows_out -= self.making.rows_out;
        self.state.is_finished = false;
        self.state.positions.clear();
        if let Some(time) = &mut self.event_time {
            time.forget();
        }
        self.making = Making {
            committed_us: self.making.committed_us,
            ..Making::default()
        };
        self.count();
    }
}
