//! Tables of sources that go on: loaded to the point at which they are ready, then kept current.
//!
//! ```text
//!   staged ──caught up──▶ published, ready ──▶ each chunk one commit
//!     │ error: retried from where it was          │ error, or silence: stale
//!     ▼ too often: failed                         ▼ retried from where it was; the next records: ready
//! ```
//!
//! The thread that does so holds the table only while it changes it, and ends when nobody else
//! holds it any more.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;

use super::kept::{Kept, StatePlace};
use super::load::{LOOK_INTERVAL, LoadContext};
use super::options::{Ready, TableOptions};
use super::records::Records;
use super::staged::Staged;
use super::{Table, TableState};
use crate::connector::{Chunk, FeedRequest, Polled, Position, ReadyPoint, Source, SourceReport};
use crate::error::{Error, ErrorClass, Result};
use crate::kill_points;

/// How long a feed is asked to wait for records, and so how long the thread outlives its table.
const POLL_WAIT: Duration = Duration::from_millis(50);

/// What keeps a table current.
pub(super) struct Feeding {
    table: Weak<Table>,
    load: u64,
    source: Arc<dyn Source>,
    schema: SchemaRef,
    options: TableOptions,
    batch_rows_max: usize,
    cancelled: Arc<AtomicBool>,
    /// Whether rows are published before the table is ready.
    is_early: bool,
    report: Arc<SourceReport>,
    /// Where each partition stands, after what was applied.
    positions: BTreeMap<Arc<str>, Position>,
    /// What is loaded and not published yet.
    staged: Option<Staged>,
    is_ready: bool,
    /// Where the table's state is kept, and what keeps it once it is open.
    place: Option<(StatePlace, Arc<rayon::ThreadPool>)>,
    kept: Option<Kept>,
    /// Whether what is staged came from the state, and its source was not opened since.
    is_restored: bool,
    failures: u32,
    heard: Instant,
}

/// Why a feed is read no further.
enum Ending {
    /// The source has ended, or the load has.
    Done,
    /// Nobody holds the table, or waits for its load.
    Unwanted,
}

impl Feeding {
    pub(super) fn new(
        table: &Arc<Table>,
        load: u64,
        source: &Arc<dyn Source>,
        context: &LoadContext,
        is_early: bool,
    ) -> Self {
        Self {
            table: Arc::downgrade(table),
            load,
            source: Arc::clone(source),
            schema: Arc::clone(table.schema()),
            options: table.options().clone(),
            batch_rows_max: context.batch_rows_max,
            cancelled: Arc::clone(&context.cancelled),
            is_early,
            report: Arc::default(),
            positions: BTreeMap::new(),
            staged: None,
            is_ready: false,
            place: context
                .state
                .clone()
                .map(|place| (place, Arc::clone(&context.pool))),
            kept: None,
            is_restored: false,
            failures: 0,
            heard: Instant::now(),
        }
    }

    /// Reads until nobody wants it any more, or it has failed too often.
    pub(super) fn run(mut self) {
        loop {
            if let Some(table) = self.table.upgrade() {
                table.readiness.begin_attempt(self.load, &self.report);
                table.tell();
            }
            // A source that panics must not leave those who wait for the table waiting.
            let read = catch_unwind(AssertUnwindSafe(|| {
                self.restore()?;
                self.read()
            }));
            let error = match read.unwrap_or_else(|_| Err(Error::internal("reading a source panicked"))) {
                Ok(Ending::Done) => return,
                Ok(Ending::Unwanted) if self.is_ready => return,
                Ok(Ending::Unwanted) => Error::Cancelled,
                Err(error) => error,
            };
            let Some(table) = self.table.upgrade() else {
                return;
            };
            self.failures += 1;
            if self.is_ready {
                table.readiness.note_error(self.load, &error);
                table.readiness.mark_stale(self.load, error.to_string());
                table.tell();
                let retry = &self.options.retry;
                if retry.max_set.is_some_and(|max| self.failures > max) {
                    return;
                }
            } else if self.failures > self.options.retry.max
                || matches!(error.class(), ErrorClass::User)
                || matches!(error, Error::Cancelled)
            {
                table.readiness.finish(self.load, || Err(error));
                table.tell();
                return;
            } else {
                table.readiness.note_error(self.load, &error);
                table.tell();
            }
            drop(table);
            self.sleep(self.options.retry.pause(self.failures));
        }
    }

    /// Follows the source from where it was left.
    fn read(&mut self) -> Result<Ending> {
        let mut feed = self.open()?;
        kill_points::pass("loading");
        loop {
            if !self.is_ready && feed.has_caught_up() && !self.become_ready()? {
                return Ok(Ending::Done);
            }
            if self.is_unwanted() {
                return Ok(Ending::Unwanted);
            }
            match feed.poll(POLL_WAIT)? {
                Polled::Records(chunk) => {
                    let Some(table) = self.table.upgrade() else {
                        return Ok(Ending::Unwanted);
                    };
                    self.take(&table, &chunk)?;
                    if !self.is_ready {
                        kill_points::pass("loading");
                    }
                    self.recover(&table);
                    // The feed is not told that this is committed: another session reads it, too.
                    let partition = Arc::clone(&chunk.position.partition);
                    self.positions.insert(partition, chunk.position);
                    if let Some(kept) = &mut self.kept {
                        // Also what is read between a restored state and the table's being ready.
                        kept.note(&chunk.batch);
                    }
                    self.keep(&table);
                }
                Polled::Idle => {
                    self.note_silence();
                    if let Some(table) = self.table.upgrade() {
                        self.keep(&table);
                    }
                }
                Polled::Gone(partition) => {
                    self.positions.remove(&partition);
                }
                Polled::Revoked => return Err(Error::internal("a table's source is shared")),
                Polled::End => {
                    if !self.is_ready {
                        self.become_ready()?;
                    }
                    return Ok(Ending::Done);
                }
            }
        }
    }

    /// Takes the table's state, once, where one is kept.
    fn restore(&mut self) -> Result<()> {
        let (Some((place, pool)), Some(table)) = (self.place.take(), self.table.upgrade()) else {
            return Ok(());
        };
        let Some((kept, restored)) = Kept::open(&table, &place, &pool, self.source.has_changes()) else {
            return Ok(());
        };
        self.kept = Some(kept);
        kill_points::pass("restoring_table");
        let Some(restored) = restored else {
            return Ok(());
        };
        self.report.add_rows(restored.rows as u64);
        self.positions = restored.positions;
        self.is_restored = true;
        if !self.is_early {
            self.staged = Some(restored.staged);
            return Ok(());
        }
        let published = table
            .readiness
            .during(self.load, || table.publish_staged(restored.staged));
        published.unwrap_or(Ok(()))
    }

    /// Opens the source where it was left; where it no longer has what follows the state that was
    /// restored, from the start.
    fn open(&mut self) -> Result<Box<dyn crate::connector::Feed>> {
        let opened = self.source.feed(&self.request());
        let Err(error) = &opened else {
            return opened;
        };
        if !std::mem::take(&mut self.is_restored) || !error.is_position_gone() {
            return opened;
        }
        if let Some(table) = self.table.upgrade() {
            table.note(format!(
                "table {}: its source no longer has what follows its state, and is read from the start: {error}",
                table.name()
            ));
            self.positions.clear();
            self.staged = None;
            if let Some(kept) = &mut self.kept {
                kept.restart();
            }
            if self.is_early {
                table.publish_staged(table.stage()?)?;
            }
        }
        self.source.feed(&self.request())
    }

    /// Keeps the state of a table that is ready. Where that fails the state before stands, and it
    /// is tried again: the table itself goes on.
    fn keep(&mut self, table: &Table) {
        let Some(kept) = self.kept.as_mut().filter(|_| self.is_ready) else {
            return;
        };
        if let Err(error) = kept.keep(table, &self.positions) {
            table.readiness.note_error(self.load, &error);
            table.tell();
        }
    }

    fn request(&self) -> FeedRequest {
        FeedRequest {
            batch_rows_max: self.batch_rows_max,
            from: self.positions.values().cloned().collect(),
            report: Arc::clone(&self.report),
            until: match self.options.ready {
                Ready::At(point) => point,
                _ => ReadyPoint::End,
            },
            ..FeedRequest::all()
        }
    }

    /// Applies records: to what is loaded so far, or to the table.
    fn take(&mut self, table: &Table, chunk: &Chunk) -> Result<()> {
        let records = Records::of_source(&chunk.batch, &self.schema, self.source.has_changes())?;
        if self.is_ready || self.is_early {
            return table.apply(&records);
        }
        let staged = match &mut self.staged {
            Some(staged) => staged,
            none => none.insert(table.stage()?),
        };
        table.add_staged(staged, &records)?;
        table.check_staged(staged)
    }

    /// Publishes what was loaded; says whether somebody still wanted it.
    fn become_ready(&mut self) -> Result<bool> {
        let Some(table) = self.table.upgrade() else {
            return Ok(false);
        };
        let staged = match self.staged.take() {
            Some(staged) => Some(staged),
            None if self.is_early => None,
            None => Some(table.stage()?),
        };
        table.readiness.finish(self.load, || match staged {
            Some(staged) => table.publish_staged(staged),
            None => {
                table.forget_touched();
                Ok(())
            }
        });
        table.tell();
        self.is_ready = table.readiness.is_load(self.load) && table.state() == TableState::Ready;
        self.failures = 0;
        self.heard = Instant::now();
        self.keep(&table);
        Ok(self.is_ready)
    }

    /// Notes that records have come.
    fn recover(&mut self, table: &Table) {
        self.failures = 0;
        self.heard = Instant::now();
        if self.is_ready && table.readiness.mark_fresh(self.load) {
            table.tell();
        }
    }

    /// Notes that nothing has come: what failed before does so no more, and a source that is
    /// silent for too long is held to be stale.
    fn note_silence(&mut self) {
        let Some(table) = self.table.upgrade().filter(|_| self.is_ready) else {
            return;
        };
        let silence = self.heard.elapsed();
        match self.options.stale_after.filter(|after| silence >= *after) {
            Some(after) => {
                let why = format!("nothing was heard of its source for {after:?}");
                if table.readiness.mark_stale(self.load, why) {
                    table.tell();
                }
            }
            None if self.failures > 0 => self.recover(&table),
            None => {}
        }
    }

    fn is_unwanted(&self) -> bool {
        let Some(table) = self.table.upgrade() else {
            return true;
        };
        let is_cancelled = !self.is_early && self.cancelled.load(Relaxed);
        !table.readiness.is_load(self.load) || (!self.is_ready && is_cancelled)
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.is_unwanted() {
            thread::sleep(LOOK_INTERVAL.min(until.saturating_duration_since(Instant::now())));
        }
    }
}
