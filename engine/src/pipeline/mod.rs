//! Pipelines: queries over streams that do not end, run by epochs.
//!
//! `epochs.rs` is the loop, `inbox.rs` its source polled ahead, `event_time.rs` its watermark,
//! `bad_rows.rs` what becomes of records that make no row, `sides.rs` what goes to other sinks,
//! `resume.rs` where a restart goes on,
//! `refuse.rs` what cannot go on for ever; `session/pipelines.rs` starts one from SQL.

mod bad_rows;
mod counters;
mod epochs;
mod event_time;
mod inbox;
mod phase;
mod refuse;
mod resume;
mod sharing;
mod sides;
#[cfg(test)]
mod simulation;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

pub(crate) use self::bad_rows::BadRows;
use self::counters::Counters;
pub use self::counters::{PipelineState, PipelineStats};
use self::epochs::State;
pub(crate) use self::epochs::{EpochLimits, EpochLoop, Making};
pub(crate) use self::event_time::{EventTime, EventTimeSpec, Late};
use self::inbox::Lags;
pub(crate) use self::inbox::Prefetch;
pub(crate) use self::phase::at_phases;
pub(crate) use self::refuse::{check_plan, not_row_by_row};
pub(crate) use self::resume::Resumed;
use self::sharing::Sharing;
pub(crate) use self::sides::{LATE, Side, Sides};
use crate::checkpoint::Keeper;
use crate::clock::SystemClock;
use crate::connector::{EpochWriter, SourceReport};
use crate::error::{Error, Result};
use crate::operator::LookupCounts;
use crate::prepared::Prepared;

/// A query over a stream that does not end, at work on a thread of its own.
///
/// It goes on when the handle is dropped, and keeps its session alive until it ends; [`Pipeline::stop`] ends it.
/// Examples are at [`Session::start`](crate::Session::start) and at the connector `datagen`.
#[derive(Clone)]
pub struct Pipeline {
    shared: Arc<Shared>,
}

/// What the thread and the handles share.
struct Shared {
    name: String,
    stream: String,
    /// Whether it writes the letters of records of the stream that cannot be decoded.
    writes_letters: bool,
    lookups: Mutex<Lookups>,
    report: Arc<SourceReport>,
    counters: Arc<Counters>,
    lags: Arc<Lags>,
    stop: Arc<AtomicBool>,
    end: Mutex<End>,
    has_ended: Condvar,
}

/// What its lookups have come to.
enum Lookups {
    /// Asked of the query, which keeps the session.
    Of(Arc<Prepared>),
    /// Of one that has ended: the session, which keeps its pipelines, is let go of.
    Were(Vec<LookupCounts>),
}

impl Lookups {
    fn counts(&self) -> Vec<LookupCounts> {
        match self {
            Self::Of(query) => query.lookup_counts(),
            Self::Were(counts) => counts.clone(),
        }
    }
}

#[derive(Default)]
struct End {
    /// Whether the thread is done, and what it said where it failed.
    has_come: bool,
    message: Option<String>,
    /// The error itself, until somebody takes it.
    error: Option<Error>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.shared.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What a pipeline is made of.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) stream: String,
    pub(crate) query: Arc<Prepared>,
    pub(crate) feed: Box<dyn crate::connector::Feed>,
    pub(crate) report: Arc<SourceReport>,
    pub(crate) writer: Box<dyn EpochWriter>,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) limits: EpochLimits,
    pub(crate) event_time: Option<EventTime>,
    /// What goes to other sinks than that of the rows.
    pub(crate) sides: Sides,
    pub(crate) bad_rows: BadRows,
    pub(crate) state: State,
    /// Whether other instances read the stream's other partitions.
    pub(crate) is_shared: bool,
    /// Late records counted before a restart.
    pub(crate) late: u64,
}

impl Pipeline {
    /// Starts a pipeline on a thread of its own.
    pub(crate) fn start(parts: Parts) -> Result<Self> {
        let counters = Arc::<Counters>::default();
        counters.late.store(parts.late, Relaxed);
        counters.restored_epoch.store(parts.state.epoch(), Relaxed);
        *counters.positions.lock() = parts.state.positions();
        let stop = Arc::<AtomicBool>::default();
        let writes_letters = parts.bad_rows.is_first();
        let inbox = Prefetch::start(&parts.stream, parts.feed)?;
        let lags = inbox.lags();
        let mut epochs = EpochLoop {
            query: Arc::clone(&parts.query),
            inbox: Box::new(inbox),
            writer: parts.writer,
            keeper: parts.keeper,
            limits: parts.limits,
            clock: Box::new(SystemClock::new()),
            event_time: parts.event_time,
            sides: parts.sides,
            bad_rows: parts.bad_rows,
            counters: Arc::clone(&counters),
            stop: Arc::clone(&stop),
            at_phase: at_phases(),
            state: parts.state,
            making: Making::default(),
            sharing: Sharing {
                is_on: parts.is_shared,
                ..Sharing::default()
            },
        };
        let shared = Arc::new(Shared {
            name: parts.name,
            stream: parts.stream,
            writes_letters,
            lookups: Mutex::new(Lookups::Of(parts.query)),
            report: parts.report,
            counters,
            lags,
            stop,
            end: Mutex::default(),
            has_ended: Condvar::new(),
        });
        let told = Arc::clone(&shared);
        let run = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| epochs.run()));
            // What it holds of its sink and its checkpoints is let go of before anyone hears.
            drop(epochs);
            told.end_with(ended.unwrap_or_else(|_| Err(Error::internal("a pipeline panicked"))));
        };
        thread::Builder::new()
            .name(format!("fletching-pipeline-{}", shared.name))
            .spawn(run)
            .map_err(|error| Error::Resource {
                message: format!("cannot start a thread for the pipeline {}: {error}", shared.name),
            })?;
        Ok(Self { shared })
    }

    /// Says whether it runs and writes the letters of records of a stream that cannot be decoded.
    pub(crate) fn writes_letters_of(&self, stream: &str) -> bool {
        self.shared.writes_letters && self.shared.stream == stream && !self.shared.end.lock().has_come
    }

    /// Returns its name: that of its sink.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Returns how it is doing.
    pub fn state(&self) -> PipelineState {
        let end = self.shared.end.lock();
        match &end.message {
            Some(message) => PipelineState::Failed(message.clone()),
            None if end.has_come => PipelineState::Ended,
            None if self.shared.stop.load(Relaxed) => PipelineState::Stopping,
            None => PipelineState::Running,
        }
    }

    /// Returns what it has done so far.
    pub fn stats(&self) -> PipelineStats {
        let mut stats = PipelineStats {
            name: self.shared.name.clone(),
            stream: self.shared.stream.clone(),
            state: self.state(),
            rows_in: 0,
            rows_out: 0,
            epoch: 0,
            positions: Vec::new(),
            has_caught_up: false,
            bad_rows: self.shared.report.bad_rows(),
            late: 0,
            dead_letters: 0,
            lag: self.shared.lags.get(),
            retry: self.shared.report.retry(),
            watermark_us: None,
            lookups: self.shared.lookups.lock().counts(),
            restored_epoch: 0,
            elapsed: Duration::ZERO,
        };
        self.shared.counters.fill(&mut stats);
        stats
    }

    /// Asks it to stop: what it has taken in is computed and committed, then it ends.
    pub fn stop(&self) {
        self.shared.stop.store(true, Relaxed);
    }

    /// Waits for it to end, and returns what it has done.
    ///
    /// # Errors
    /// Fails with what it failed with, once; later calls return the stats with that in words.
    pub fn wait(&self) -> Result<PipelineStats> {
        let mut end = self.shared.end.lock();
        while !end.has_come {
            self.shared.has_ended.wait(&mut end);
        }
        if let Some(error) = end.error.take() {
            return Err(error);
        }
        drop(end);
        Ok(self.stats())
    }

    /// Waits for it to end, for at most so long; returns whether it has.
    pub fn wait_for(&self, time: Duration) -> bool {
        let mut end = self.shared.end.lock();
        if !end.has_come {
            self.shared.has_ended.wait_for(&mut end, time);
        }
        end.has_come
    }
}

impl Shared {
    fn end_with(&self, ended: Result<()>) {
        let counts = self.lookups.lock().counts();
        let query = std::mem::replace(&mut *self.lookups.lock(), Lookups::Were(counts));
        drop(query);
        let mut end = self.end.lock();
        end.has_come = true;
        if let Err(error) = ended {
            end.message = Some(error.to_string());
            end.error = Some(error);
        }
        self.has_ended.notify_all();
    }
}
