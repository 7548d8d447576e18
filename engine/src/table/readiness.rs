//! Whether a table can be joined with, how far its load is, and who is told of it.
//!
//! ```text
//!   waiting ──a statement needs it──▶ loading ──all read, published whole──▶ ready
//!      ▲                               │  ▲                                  │ a followed source dies
//!      └──────────cancelled────────────┤  │ the next statement tries again   ▼ ▲ it is heard again
//!                                      └─▶ failed (also: given up after ready.timeout)   stale
//! ```
//!
//! A load has a number; one that was given up in the meantime publishes nothing.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::connector::{SourceReport, SourceSize};
use crate::error::{Error, Result};

/// Whether a table can be joined with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableState {
    /// Its source has not been read yet; the first query that needs it will.
    Waiting,
    /// Its source is being read.
    Loading,
    /// Its rows are there.
    Ready,
    /// Its rows are there, but for the time being they do not change as they should: its source
    /// cannot be read, or has been silent for longer than `stale.after`.
    Stale(String),
    /// Its source could not be read; the next query that needs it tries again.
    Failed(String),
}

impl TableState {
    /// Returns the state as a word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Loading => "loading",
            Self::Ready => "ready",
            Self::Stale(_) => "stale",
            Self::Failed(_) => "failed",
        }
    }

    /// Says whether the table's rows are all there.
    pub(crate) fn is_there(&self) -> bool {
        matches!(self, Self::Ready | Self::Stale(_))
    }
}

/// How far a table is.
///
/// ```
/// use fletching::{Session, TableState};
///
/// let session = Session::new()?;
/// session.sql("CREATE TABLE users (id BIGINT, PRIMARY KEY (id)); INSERT INTO users VALUES (7)")?;
/// let users = session.table("users").expect("just created").progress();
/// assert_eq!((users.state, users.share), (TableState::Ready, Some(1.0)));
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TableProgress {
    /// The table's name.
    pub table: String,
    /// Whether it can be joined with.
    pub state: TableState,
    /// Rows decoded by this attempt so far.
    pub rows: u64,
    /// Encoded bytes read by this attempt so far.
    pub bytes: u64,
    /// How much there is, as far as its source knows.
    pub size: SourceSize,
    /// How much of it is done, between 0 and 1, where that is known.
    pub share: Option<f64>,
    /// Rows that could not be taken in and were left out: those that could not be decoded, where the
    /// options say so, and those with a NULL among what the table's query groups by.
    pub rows_left_out: u64,
    /// Why the first of them was.
    pub left_out_because: Option<String>,
    /// Time since the load began, or the time it took.
    pub elapsed: Duration,
    /// How often its source has been tried.
    pub attempts: u32,
    /// Why the last attempt failed that did.
    pub last_error: Option<String>,
}

impl TableProgress {
    /// Returns the rows read in a second, on average over the attempt.
    pub fn rows_per_second(&self) -> Option<f64> {
        let seconds = self.elapsed.as_secs_f64();
        (seconds > 0.0 && self.rows > 0).then(|| self.rows as f64 / seconds)
    }

    /// Estimates the time that is left, where it can be told how much there is.
    pub fn time_left(&self) -> Option<Duration> {
        let share = self.share.filter(|share| *share > 0.01)?;
        Duration::try_from_secs_f64(self.elapsed.as_secs_f64() * (1.0 - share) / share).ok()
    }
}

/// A load, under way or ended.
#[derive(Debug, Clone)]
pub(crate) struct LoadRun {
    /// What its last attempt has read.
    pub(crate) report: Arc<SourceReport>,
    pub(crate) attempts: u32,
    pub(crate) last_error: Option<String>,
    began: Instant,
    took: Option<Duration>,
}

impl LoadRun {
    fn begin() -> Self {
        Self {
            report: Arc::default(),
            attempts: 0,
            last_error: None,
            began: Instant::now(),
            took: None,
        }
    }

    /// Returns the time it took, or has taken so far.
    pub(crate) fn elapsed(&self) -> Duration {
        self.took.unwrap_or_else(|| self.began.elapsed())
    }
}

/// Tells of tables whose state changes: those who wait for one, and those who watch.
#[derive(Debug, Default)]
pub(crate) struct TableEvents {
    count: Mutex<u64>,
    changed: Condvar,
    watchers: Mutex<Vec<mpsc::Sender<TableProgress>>>,
}

impl TableEvents {
    /// Returns how many changes there were.
    pub(crate) fn count(&self) -> u64 {
        *self.count.lock()
    }

    /// Waits for a change after the first so many, but not longer than the time given.
    pub(crate) fn wait(&self, seen: u64, longest: Duration) {
        let mut count = self.count.lock();
        if *count == seen {
            self.changed.wait_for(&mut count, longest);
        }
    }

    /// Wakes those who wait: a table has a new version.
    pub(super) fn wake(&self) {
        *self.count.lock() += 1;
        self.changed.notify_all();
    }

    pub(super) fn tell(&self, progress: impl FnOnce() -> TableProgress) {
        self.wake();
        let mut watchers = self.watchers.lock();
        if !watchers.is_empty() {
            let progress = progress();
            watchers.retain(|watcher| watcher.send(progress.clone()).is_ok());
        }
    }

    pub(crate) fn watch(&self) -> TableWatch {
        let (sender, events) = mpsc::channel();
        self.watchers.lock().push(sender);
        TableWatch { events }
    }
}

/// The changes of a session's tables as they happen; see [`Session::watch_tables`](crate::Session::watch_tables).
///
/// Nothing is lost: changes wait until they are taken. As an iterator it waits for the next one.
#[derive(Debug)]
pub struct TableWatch {
    events: mpsc::Receiver<TableProgress>,
}

impl TableWatch {
    /// Returns the next change that has happened already.
    pub fn try_next(&self) -> Option<TableProgress> {
        self.events.try_recv().ok()
    }

    /// Waits for the next change, but not longer than the time given.
    pub fn wait(&self, longest: Duration) -> Option<TableProgress> {
        self.events.recv_timeout(longest).ok()
    }
}

impl Iterator for TableWatch {
    type Item = TableProgress;

    /// Waits for the next change; none once the session is gone.
    fn next(&mut self) -> Option<TableProgress> {
        self.events.recv().ok()
    }
}

/// A table's state and its load.
#[derive(Debug)]
pub(crate) struct Readiness {
    inner: Mutex<Inner>,
    /// Whether it may be read before its load has ended.
    serves_early: AtomicBool,
    /// Whether it has been loaded and nobody has looked the rows over yet.
    is_fresh: AtomicBool,
    pub(super) events: Arc<TableEvents>,
}

#[derive(Debug)]
struct Inner {
    state: TableState,
    /// The number of the last load.
    load: u64,
    run: LoadRun,
    /// The error of the last load, for the first who asks.
    failure: Option<Error>,
}

impl Readiness {
    pub(super) fn new(state: TableState, events: Arc<TableEvents>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state,
                load: 0,
                run: LoadRun::begin(),
                failure: None,
            }),
            serves_early: AtomicBool::new(false),
            is_fresh: AtomicBool::new(false),
            events,
        }
    }

    pub(super) fn state(&self) -> TableState {
        self.inner.lock().state.clone()
    }

    pub(super) fn run(&self) -> LoadRun {
        self.inner.lock().run.clone()
    }

    /// Lets the table be read as it is, though it still loads.
    pub(super) fn serve_early(&self) {
        self.serves_early.store(true, Relaxed);
    }

    /// Fails where a query must not read the table now.
    pub(super) fn check_readable(&self, table: &str) -> Result<()> {
        match &self.inner.lock().state {
            state if state.is_there() || self.serves_early.load(Relaxed) => Ok(()),
            TableState::Failed(message) => Err(Error::External {
                message: format!("table {table}: {message}"),
                source: None,
            }),
            _ => Err(Error::internal(format!(
                "table {table} is read before it is loaded"
            ))),
        }
    }

    /// Begins a load and returns its number, unless there is one under way, or no need of it.
    pub(super) fn begin(&self) -> Option<u64> {
        let mut inner = self.inner.lock();
        if inner.state.is_there() || inner.state == TableState::Loading {
            return None;
        }
        inner.state = TableState::Loading;
        inner.load += 1;
        inner.run = LoadRun::begin();
        inner.failure = None;
        Some(inner.load)
    }

    /// Notes that a load tries its source again, for the first time or after a failure.
    pub(super) fn begin_attempt(&self, load: u64, report: &Arc<SourceReport>) {
        let mut inner = self.inner.lock();
        if inner.load == load {
            inner.run.report = Arc::clone(report);
            inner.run.attempts += 1;
            if inner.run.attempts > 1 {
                inner.run.began = Instant::now();
            }
        }
    }

    /// Notes why an attempt failed that is not the last.
    pub(super) fn note_error(&self, load: u64, error: &Error) {
        let mut inner = self.inner.lock();
        if inner.load == load {
            inner.run.last_error = Some(error.to_string());
        }
    }

    /// Ends a load, unless it was given up: `publish` makes its rows the table's.
    pub(super) fn finish(&self, load: u64, publish: impl FnOnce() -> Result<()>) {
        let mut inner = self.inner.lock();
        if inner.load != load || inner.state != TableState::Loading {
            return;
        }
        inner.run.took = Some(inner.run.began.elapsed());
        match publish() {
            Ok(()) => {
                inner.state = TableState::Ready;
                self.is_fresh.store(true, Relaxed);
                self.serves_early.store(false, Relaxed);
            }
            Err(Error::Cancelled) => inner.state = TableState::Waiting,
            Err(error) => {
                inner.state = TableState::Failed(error.to_string());
                inner.run.last_error = Some(error.to_string());
                inner.failure = Some(error);
            }
        }
    }

    /// Says whether a load is the last one that was begun.
    pub(super) fn is_load(&self, load: u64) -> bool {
        self.inner.lock().load == load
    }

    /// Notes that the rows of a load no longer change as they should; says whether that is news.
    pub(super) fn mark_stale(&self, load: u64, why: String) -> bool {
        let mut inner = self.inner.lock();
        if inner.load != load || !inner.state.is_there() {
            return false;
        }
        let stale = TableState::Stale(why);
        std::mem::replace(&mut inner.state, stale.clone()) != stale
    }

    /// Notes that the rows of a load change again; says whether that is news.
    pub(super) fn mark_fresh(&self, load: u64) -> bool {
        let mut inner = self.inner.lock();
        let is_stale = inner.load == load && matches!(inner.state, TableState::Stale(_));
        if is_stale {
            inner.state = TableState::Ready;
        }
        is_stale
    }

    /// Says how a table is that no load keeps current; returns whether that is news.
    pub(super) fn set_state(&self, state: TableState) -> bool {
        let mut inner = self.inner.lock();
        if let TableState::Failed(message) | TableState::Stale(message) = &state {
            inner.run.last_error = Some(message.clone());
        }
        let before = std::mem::replace(&mut inner.state, state);
        before != inner.state
    }

    /// Runs something for a load that has not been given up.
    pub(super) fn during<T>(&self, load: u64, work: impl FnOnce() -> T) -> Option<T> {
        let inner = self.inner.lock();
        (inner.load == load && inner.state == TableState::Loading).then(work)
    }

    /// Gives up the load that is under way: nothing of it will be published.
    pub(super) fn give_up(&self, why: &str) {
        let mut inner = self.inner.lock();
        if inner.state == TableState::Loading || inner.state == TableState::Waiting {
            inner.load += 1;
            inner.run.took = Some(inner.run.began.elapsed());
            inner.run.last_error = Some(why.to_string());
            inner.state = TableState::Failed(why.to_string());
        }
    }

    /// Returns the error of the last load: itself to the first who asks, in words to others.
    pub(super) fn failure(&self, table: &str) -> Error {
        let mut inner = self.inner.lock();
        if let Some(error) = inner.failure.take() {
            return error;
        }
        let message = match &inner.state {
            TableState::Failed(message) => message.clone(),
            state => state.word().to_string(),
        };
        Error::External {
            message: format!("table {table}: {message}"),
            source: None,
        }
    }

    /// Says whether the table has been loaded since this was asked last.
    pub(super) fn take_fresh(&self) -> bool {
        self.is_fresh.swap(false, Relaxed)
    }
}
