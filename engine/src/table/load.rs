//! Loading: tables are read in parallel, each by several readers on threads that can be left
//! behind, and published whole.
//!
//! Whoever needs tables starts their loads in the order of their dependencies and waits for them.
//! The waiting never touches a source: one that does not answer holds up its own thread alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use rayon::prelude::*;

use super::feeding::Feeding;
use super::kept::StatePlace;
use super::options::{OnTimeout, Ready, TableOptions};
use super::records::Records;
use super::staged::Staged;
use super::{Table, TableOrigin, TableSnapshot, TableState};
use crate::connector::{ReadyPoint, ScanRequest, Source, SourceReport};
use crate::error::{Error, ErrorClass, Result};

/// How long a wait lasts at most before it looks whether it was cancelled.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Rows that a table which serves while it loads gathers, once it has as many, before it publishes
/// the next version.
const EARLY_ROWS_MIN: usize = 1024;

/// What loading needs of its session.
pub(crate) struct LoadContext {
    /// The threads to load with.
    pub(crate) pool: Arc<rayon::ThreadPool>,
    /// Rows a batch, at most.
    pub(crate) batch_rows_max: usize,
    /// Set when the run is cancelled.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Where the state of tables is kept that are fed continuously.
    pub(crate) state: Option<StatePlace>,
}

/// A table that a statement needs, and the tables that must be ready before it loads.
pub(crate) struct Needed {
    pub(crate) table: Arc<Table>,
    pub(crate) after: Vec<Arc<Table>>,
}

/// Loads every table that is not ready, in the order of their dependencies, those that do not
/// depend on each other at once. Returns the tables that were loaded since somebody asked last.
///
/// `notice` is told what a person may want to know of meanwhile.
///
/// # Errors
/// Fails with the first table's error, or where one is not ready in time and is not to be gone on
/// without; the loads of others go on.
pub(crate) fn load_all(
    needed: &[Needed],
    context: &LoadContext,
    notice: &mut dyn FnMut(String),
) -> Result<Vec<Arc<Table>>> {
    let began = Instant::now();
    let mut waits: Vec<Wait<'_>> = needed.iter().map(Wait::new).collect();
    if let Some(first) = needed.first() {
        let events = Arc::clone(&first.table.readiness.events);
        loop {
            let seen = events.count();
            if context.cancelled.load(Relaxed) {
                return Err(Error::Cancelled);
            }
            let mut is_waiting = false;
            let mut longest = LOOK_INTERVAL;
            for wait in &mut waits {
                if let Some(until) = wait.look(began, context, notice)? {
                    is_waiting = true;
                    longest = longest.min(until);
                }
            }
            if !is_waiting {
                break;
            }
            events.wait(seen, longest);
        }
    }
    for needed in needed {
        needed.table.take_notes().into_iter().for_each(&mut *notice);
    }
    let tables = needed.iter().map(|needed| &needed.table);
    let fresh = tables.filter(|table| table.state().is_there() && table.readiness.take_fresh());
    Ok(fresh.cloned().collect())
}

/// One table that is waited for.
struct Wait<'a> {
    needed: &'a Needed,
    /// Whether a load has been seen since the waiting began: only then is a failure one of now.
    is_tried: bool,
    is_told: bool,
}

impl<'a> Wait<'a> {
    fn new(needed: &'a Needed) -> Self {
        Self {
            needed,
            is_tried: false,
            is_told: false,
        }
    }

    /// Starts the load where it can be; returns how long to wait at most, or none where the table
    /// can be read.
    fn look(
        &mut self,
        began: Instant,
        context: &LoadContext,
        notice: &mut dyn FnMut(String),
    ) -> Result<Option<Duration>> {
        let table = &self.needed.table;
        let state = table.state();
        if state.is_there() {
            return Ok(None);
        }
        if matches!(state, TableState::Failed(_)) && self.is_tried {
            return Err(table.readiness.failure(&table.name));
        }
        let can_start = self.needed.after.iter().all(|before| before.state().is_there());
        if can_start && state != TableState::Loading {
            table.start_load(context)?;
        }
        self.is_tried |= can_start;
        if table.options.ready == Ready::Immediately && can_start {
            return Ok(None);
        }
        let Some(timeout) = table.options.timeout else {
            return Ok(Some(LOOK_INTERVAL));
        };
        let left = timeout.saturating_sub(began.elapsed());
        if !left.is_zero() {
            return Ok(Some(left));
        }
        let rows = table.readiness.run().report.rows();
        let so_far = format!("it is not ready after {timeout:?}: {rows} rows were read so far");
        match table.options.on_timeout {
            OnTimeout::Fail => {
                table.give_up(&so_far);
                Err(Error::NotReady {
                    table: table.name.clone(),
                    message: so_far,
                })
            }
            OnTimeout::Hold => {
                if !std::mem::replace(&mut self.is_told, true) {
                    notice(format!("table {}: {so_far}; waiting on", table.name));
                }
                Ok(Some(LOOK_INTERVAL))
            }
            OnTimeout::Proceed => {
                table.readiness.serve_early();
                let rows = table.snapshot()?.row_count();
                notice(format!(
                    "table {}: {so_far}; going on with the {rows} rows of its last whole version",
                    table.name
                ));
                Ok(None)
            }
        }
    }
}

impl Table {
    /// Starts reading the source on a thread of its own, unless that is under way.
    fn start_load(self: &Arc<Self>, context: &LoadContext) -> Result<()> {
        let TableOrigin::Source(source) = &self.origin else {
            return Ok(());
        };
        let Some(load) = self.readiness.begin() else {
            return Ok(());
        };
        let is_early = self.options.ready == Ready::Immediately;
        if is_early {
            self.readiness.serve_early();
        }
        if source.is_unbounded() {
            self.tell();
            let feeding = Feeding::new(self, load, source, context, is_early);
            let named = thread::Builder::new().name(format!("follow {}", self.name));
            named
                .spawn(move || feeding.run())
                .map_err(|error| no_thread(&error))?;
            return Ok(());
        }
        // What may be left behind, or outlive its statement, must not hold up others.
        let threads = context.pool.current_num_threads();
        let pool = if is_early || self.options.timeout.is_some() {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            Arc::new(pool.map_err(|error| no_thread(&error))?)
        } else {
            Arc::clone(&context.pool)
        };
        let job = LoadJob {
            table: Arc::downgrade(self),
            load,
            source: Arc::clone(source),
            schema: Arc::clone(&self.schema),
            options: self.options.clone(),
            before: Arc::clone(&self.snapshot.read()),
            pool,
            batch_rows_max: context.batch_rows_max,
            // A load in the background goes on when the statement that began it ends.
            cancelled: if is_early {
                Arc::default()
            } else {
                Arc::clone(&context.cancelled)
            },
        };
        self.tell();
        let named = thread::Builder::new().name(format!("load {}", self.name));
        named
            .spawn(move || job.run())
            .map_err(|error| no_thread(&error))?;
        Ok(())
    }

    /// Gives up the load under way: nothing of it will be published.
    fn give_up(&self, why: &str) {
        self.readiness.give_up(why);
        self.tell();
    }
}

fn no_thread(error: &dyn std::fmt::Display) -> Error {
    Error::Resource {
        message: format!("cannot start a thread to load a table: {error}; set fewer with SET threads"),
    }
}

/// A load on its way.
struct LoadJob {
    table: Weak<Table>,
    load: u64,
    source: Arc<dyn Source>,
    schema: SchemaRef,
    options: TableOptions,
    /// The version before, to go back to.
    before: Arc<TableSnapshot>,
    pool: Arc<rayon::ThreadPool>,
    batch_rows_max: usize,
    cancelled: Arc<AtomicBool>,
}

impl LoadJob {
    /// Tries the source until it is read, it has failed too often, or nobody wants it any more.
    fn run(self) {
        let mut attempt = 1;
        let loaded = loop {
            let report = Arc::<SourceReport>::default();
            if let Some(table) = self.table.upgrade() {
                table.readiness.begin_attempt(self.load, &report);
                table.tell();
            }
            // A source that panics must not leave those who wait for it waiting.
            let read = catch_unwind(AssertUnwindSafe(|| self.read(&report)));
            match read.unwrap_or_else(|_| Err(Error::internal("reading a source panicked"))) {
                // What is wrong with the records is so the next time, too.
                Err(error)
                    if attempt <= self.options.retry.max
                        && error.class() != ErrorClass::User
                        && !self.is_unwanted() =>
                {
                    self.take_back();
                    if let Some(table) = self.table.upgrade() {
                        table.readiness.note_error(self.load, &error);
                        table.tell();
                    }
                    self.sleep(self.options.retry.pause(attempt));
                    attempt += 1;
                }
                read => break read,
            }
        };
        if loaded.is_err() {
            self.take_back();
        }
        if let Some(table) = self.table.upgrade() {
            table.readiness.finish(self.load, || {
                let mut staged = table.stage()?;
                for records in loaded? {
                    table.add_staged(&mut staged, &records)?;
                }
                table.publish_staged(staged)
            });
            table.tell();
        }
    }

    /// Says whether nobody waits for the load any more.
    fn is_unwanted(&self) -> bool {
        self.cancelled.load(Relaxed)
            || self
                .table
                .upgrade()
                .is_none_or(|table| table.readiness.during(self.load, || ()).is_none())
    }

    fn sleep(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while Instant::now() < until && !self.is_unwanted() {
            thread::sleep(LOOK_INTERVAL.min(until.saturating_duration_since(Instant::now())));
        }
    }

    fn read(&self, report: &Arc<SourceReport>) -> Result<Vec<Records>> {
        let request = ScanRequest {
            partitions_max: self.pool.current_num_threads(),
            batch_rows_max: self.batch_rows_max,
            report: Arc::clone(report),
            until: match self.options.ready {
                Ready::At(point) => point,
                _ => ReadyPoint::End,
            },
            ..ScanRequest::all()
        };
        let readers = self.source.scan(&request)?;
        let has_changes = self.source.has_changes();
        let early = Mutex::new(Vec::new());
        let read = |mut reader: Box<dyn crate::connector::Reader>| {
            let mut chunks = Vec::new();
            while let Some(batch) = reader.next_batch()? {
                if self.is_unwanted() {
                    return Err(Error::Cancelled);
                }
                report.add_rows(batch.num_rows() as u64);
                if batch.num_rows() > 0 {
                    let records = Records::of_source(&batch, &self.schema, has_changes)?;
                    self.publish_early(&records, &early)?;
                    chunks.push(records);
                }
            }
            Ok(chunks)
        };
        let parts: Vec<Result<Vec<Records>>> =
            self.pool.install(|| readers.into_par_iter().map(read).collect());
        let mut chunks = Vec::new();
        for part in parts {
            chunks.extend(part?);
        }
        Ok(chunks)
    }

    /// Publishes rows of a table that is joined with while it loads: every batch of a small table,
    /// then so many rows at once. The last version has them in the order of the source.
    fn publish_early(&self, records: &Records, early: &Mutex<Vec<Records>>) -> Result<()> {
        if self.options.ready != Ready::Immediately {
            return Ok(());
        }
        let mut waiting = early.lock();
        waiting.push(records.clone());
        let rows = waiting
            .iter()
            .map(|records| records.rows.num_rows())
            .sum::<usize>();
        let Some(table) = self.table.upgrade() else {
            return Ok(());
        };
        let there = table.snapshot.read().row_count();
        if there > 0 && rows < EARLY_ROWS_MIN.min(there) {
            return Ok(());
        }
        let batches = std::mem::take(&mut *waiting);
        let added = table.readiness.during(self.load, || {
            batches.iter().try_for_each(|records| table.apply(records))
        });
        table.tell();
        added.unwrap_or(Ok(()))
    }

    /// Takes back what a failed attempt has published early.
    fn take_back(&self) {
        if self.options.ready != Ready::Immediately {
            return;
        }
        if let Some(table) = self.table.upgrade() {
            // The version before was whole, and fits.
            let _ = table
                .readiness
                .during(self.load, || table.publish_staged(self.staged_before(&table)?));
        }
    }

    fn staged_before(&self, table: &Table) -> Result<Staged> {
        let chunks = self.before.chunks()?;
        let mut staged = table.stage()?;
        if let Staged::Rows { ended, .. } = &mut staged {
            *ended = self.before.ended().to_vec();
        }
        for chunk in chunks {
            table.add_staged(&mut staged, &Records::plain(chunk.clone()))?;
        }
        Ok(staged)
    }
}
