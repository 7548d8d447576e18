//! Tables: reference data held in columns, versioned, indexed by key.
//!
//! ```text
//!   Table ── one writer ──▶ Arc<TableSnapshot> (version n)      readers keep the one they hold
//!                             ├ chunks: RecordBatch, RecordBatch, …   rows in the order they came
//!                             ├ rows(): the same as one batch         made once, on first lookup
//!                             ├ index(key): KeyIndex over rows()      made once a key, kept
//!                             ├ as_of_index(key, time): AsOfIndex     the same
//!                             └ newest(key, version): of a versioned table, its current rows
//! ```
//!
//! A table that changes in place has its rows in a live store instead, and its versions are that
//! store's: `live.rs`. One that a query makes is kept current by its derivation: `derivation.rs`.

mod build;
mod changed_keys;
mod copies;
mod derivation;
mod feeding;
pub(crate) mod kept;
#[cfg(test)]
mod kept_failures;
mod live;
mod load;
mod memory;
mod newest;
pub(crate) mod options;
mod pins;
mod readiness;
mod records;
mod snapshot;
mod staged;
mod store;
mod tombstones;
mod versions;

use std::fmt;
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use parking_lot::{Mutex, ReentrantMutex, ReentrantMutexGuard, RwLock};

use changed_keys::ChangedKeys;
pub(crate) use derivation::Derivation;
pub(crate) use live::ChangeOptions;
use live::Changes;
pub(crate) use load::{LoadContext, Needed, load_all};
pub use memory::TableMemory;
pub(crate) use options::TableOptions;
pub(crate) use pins::Pins;
pub(crate) use readiness::{LoadRun, TableEvents};
pub use readiness::{TableProgress, TableState, TableWatch};
pub use snapshot::TableSnapshot;
pub(crate) use snapshot::{KeySpec, TimeSpec, as_views, view_schema};
pub(crate) use versions::{TableVersions, VersionOptions};

use crate::connector::Source;
use crate::error::{Error, Result};
use readiness::Readiness;

/// Where a table's rows come from.
#[derive(Debug)]
pub(crate) enum TableOrigin {
    /// Loaded from a source when first needed.
    Source(Arc<dyn Source>),
    /// Filled by `INSERT`, by a query or by the program.
    Memory,
}

/// A table of a session.
///
/// ```
/// use std::sync::Arc;
/// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
/// use fletching::Session;
///
/// let session = Session::new()?;
/// let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
/// session.create_table("users", vec![RecordBatch::try_from_iter([("id", id)])?], &["id"])?;
///
/// let users = session.table("users").expect("just created");
/// assert_eq!(users.snapshot()?.row_count(), 2);
/// # Ok::<(), fletching::Error>(())
/// ```
pub struct Table {
    name: String,
    schema: SchemaRef,
    primary_key: Vec<usize>,
    origin: TableOrigin,
    options: TableOptions,
    snapshot: RwLock<Arc<TableSnapshot>>,
    readiness: Readiness,
    /// Held over a statement that reads rows and changes them by what it read.
    writing: ReentrantMutex<()>,
    /// Held by the thread that changes rows.
    changes: Mutex<Changes>,
    /// The keys that the last commits changed, where another table asks for them.
    changed_keys: ChangedKeys,
    /// Where its rows follow from a query.
    derivation: Option<Arc<dyn Derivation>>,
    /// Whether it is no longer the table of its name.
    is_retired: AtomicBool,
    /// Where its rows are versions of their keys.
    versions: Option<TableVersions>,
    rows_too_old: AtomicU64,
    /// What tells it apart from a table that is declared otherwise, where its state may be kept.
    fingerprint: Option<u64>,
    /// What a person should be told of its load.
    notes: Mutex<Vec<String>>,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

impl Table {
    /// Makes a table of a source's rows, to be loaded later, or an empty one to be filled.
    ///
    /// `schema` is what the rows come with; the table holds texts and bytes as views of them.
    pub(crate) fn new(
        name: &str,
        schema: &SchemaRef,
        primary_key: &[String],
        origin: TableOrigin,
    ) -> Result<Self> {
        let schema = view_schema(schema);
        let primary_key = primary_key
            .iter()
            .map(|column| {
                schema.index_of(column).map_err(|_| Error::Option {
                    subject: format!("table {name}"),
                    message: format!("there is no column '{column}' for the primary key"),
                    hint: None,
                    location: None,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let state = match origin {
            TableOrigin::Source(_) => TableState::Waiting,
            TableOrigin::Memory => TableState::Ready,
        };
        Ok(Self {
            name: name.to_string(),
            snapshot: RwLock::new(Arc::new(TableSnapshot::empty(Arc::clone(&schema)))),
            schema,
            primary_key,
            origin,
            options: TableOptions::default(),
            readiness: Readiness::new(state, Arc::default()),
            writing: ReentrantMutex::default(),
            changes: Mutex::default(),
            changed_keys: ChangedKeys::default(),
            derivation: None,
            is_retired: AtomicBool::new(false),
            versions: None,
            rows_too_old: AtomicU64::new(0),
            fingerprint: None,
            notes: Mutex::default(),
        })
    }

    /// Says how rows that come change the table.
    ///
    /// # Errors
    /// Fails where the options need a key or a column that is not there.
    pub(crate) fn with_changes(self, options: ChangeOptions) -> Result<Self> {
        let changes = Changes::try_new(options, &self.name, &self.primary_key, &self.schema)?;
        *self.changes.lock() = changes;
        Ok(self)
    }

    /// Gives a new table its options, and those who are to be told of it.
    pub(crate) fn with_options(mut self, options: TableOptions, events: Arc<TableEvents>) -> Self {
        self.options = options;
        self.readiness = Readiness::new(self.state(), events);
        self
    }

    /// Returns what the table's options say to the engine.
    pub(crate) fn options(&self) -> &TableOptions {
        &self.options
    }

    /// Returns how far the table is.
    pub fn progress(&self) -> TableProgress {
        let run = self.load_run();
        let state = self.state();
        let (rows, bytes, size) = match &self.origin {
            TableOrigin::Source(source) => (run.report.rows(), run.report.bytes(), source.size()),
            TableOrigin::Memory => (self.snapshot.read().row_count() as u64, 0, Default::default()),
        };
        let of = |done: u64, all: Option<u64>| {
            let all = all.filter(|all| *all > 0);
            all.map(|all| (done as f64 / all as f64).min(1.0))
        };
        let share = if state.is_there() {
            Some(1.0)
        } else {
            of(rows, size.rows).or_else(|| of(bytes, size.bytes))
        };
        TableProgress {
            table: self.name.clone(),
            state,
            rows,
            bytes,
            size,
            share,
            rows_left_out: run.report.bad_rows(),
            left_out_because: run.report.bad_row_examples().into_iter().next(),
            elapsed: run.elapsed(),
            attempts: run.attempts,
            last_error: run.last_error,
        }
    }

    /// Counts records of a stream that this table, which groups them, has no row for.
    pub(crate) fn count_left_out(&self, rows: usize) {
        let reason = "a column that they are grouped by is NULL";
        self.load_run().report.add_left_out(rows as u64, reason);
    }

    /// Returns the last load.
    pub(crate) fn load_run(&self) -> LoadRun {
        self.readiness.run()
    }

    /// Returns what tells of this table's changes.
    pub(crate) fn events(&self) -> &Arc<TableEvents> {
        &self.readiness.events
    }

    /// Tells those who wait or watch that the table has changed.
    fn tell(&self) {
        self.readiness.events.tell(|| self.progress());
    }

    /// Returns the table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the columns; texts and bytes are views.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the positions of the primary key's columns; empty where there is none.
    pub fn primary_key(&self) -> &[usize] {
        &self.primary_key
    }

    /// Returns whether the table can be joined with.
    pub fn state(&self) -> TableState {
        self.readiness.state()
    }

    /// Returns the current version, in O(1). It stays as it is while the table moves on.
    ///
    /// A table made by a query over other tables is first brought to their current versions.
    ///
    /// # Errors
    /// Fails where the table's source has not been loaded: run a query or prepare one first; and
    /// where its query fails.
    pub fn snapshot(&self) -> Result<Arc<TableSnapshot>> {
        match &self.derivation {
            Some(derivation) => self.derived(derivation.as_ref()),
            None => self.published(),
        }
    }

    /// Returns the version that was published last.
    fn published(&self) -> Result<Arc<TableSnapshot>> {
        self.readiness.check_readable(&self.name)?;
        Ok(Arc::clone(&self.snapshot.read()))
    }

    /// Returns what of a version a query sees that names the table: of a versioned table the newest
    /// row of each key.
    pub(crate) fn current_of(&self, snapshot: Arc<TableSnapshot>) -> Result<Arc<TableSnapshot>> {
        match &self.versions {
            Some(versions) => snapshot.newest(&self.primary_key, versions.column, &self.name),
            None => Ok(snapshot),
        }
    }

    /// Keeps other writers from the table until the guard is dropped; the thread that holds it may
    /// change rows.
    pub(crate) fn lock_for_writing(&self) -> ReentrantMutexGuard<'_, ()> {
        self.writing.lock()
    }

    /// Returns how many stream rows were older than the history that `retention` promises, so that
    /// `FOR SYSTEM_TIME AS OF` found no match for them.
    ///
    /// ```
    /// let session = fletching::Session::new()?;
    /// session.sql(
    ///     "CREATE TABLE rates (currency VARCHAR, valid_from BIGINT, rate BIGINT, PRIMARY KEY (currency))
    ///          WITH ('versioned' = 'true', version = 'valid_from', retention = '10');
    ///      INSERT INTO rates VALUES ('EUR', 0, 114), ('EUR', 100, 116)",
    /// )?;
    /// session.sql(
    ///     "SELECT rate FROM (VALUES ('EUR', 50)) AS t (currency, at)
    ///          JOIN rates FOR SYSTEM_TIME AS OF t.at AS r ON t.currency = r.currency",
    /// )?.collect_batches()?;
    /// assert_eq!(session.table("rates").expect("just created").rows_too_old(), 1);
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn rows_too_old(&self) -> u64 {
        self.rows_too_old.load(Relaxed)
    }

    pub(crate) fn note_too_old(&self, rows: u64) {
        self.rows_too_old.fetch_add(rows, Relaxed);
    }

    /// Returns the version's number: it grows with every change.
    pub fn version(&self) -> u64 {
        self.snapshot.read().version()
    }

    pub(crate) fn origin(&self) -> &TableOrigin {
        &self.origin
    }

    /// Adds rows as one new version. `batch` must have the table's columns in order; texts and
    /// bytes may be stored in any way. Where the table's rows are unique by key, they are replaced
    /// as [`upsert`](Self::upsert) does.
    ///
    /// # Errors
    /// Fails where the columns differ, the table would have more than 2^32 - 2 rows, or it would
    /// hold more memory than `memory.max` allows.
    pub fn append(&self, batch: &RecordBatch) -> Result<()> {
        self.append_all(from_ref(batch))
    }

    /// The same for several batches, as one new version.
    pub(crate) fn append_all(&self, batches: &[RecordBatch]) -> Result<()> {
        self.check_underived()?;
        let mut batches = batches
            .iter()
            .map(|batch| as_views(batch, &self.schema))
            .collect::<Result<Vec<_>>>()?;
        batches.retain(|batch| batch.num_rows() > 0);
        if batches.is_empty() {
            return Ok(());
        }
        let _writing = self.lock_for_writing();
        let changes = self.changes.lock();
        if changes.is_upsert() {
            drop(changes);
            return self.upsert(&concat_batches(&self.schema, &batches)?);
        }
        if changes.options.has_limit() {
            let held = self.snapshot.read().memory_bytes();
            self.check_memory(&changes.options, held, &batches)?;
        }
        let mut current = self.snapshot.write();
        let fresh = current.with_appended(batches, &self.name)?;
        self.changed_keys.forget(fresh.version());
        *current = Arc::new(fresh);
        drop(current);
        self.readiness.events.wake();
        Ok(())
    }

    /// Says whether rows of the table may end their key without a row that follows.
    pub(crate) fn may_end_keys(&self) -> bool {
        let has_changes = match &self.origin {
            TableOrigin::Source(source) => source.has_changes(),
            TableOrigin::Memory => false,
        };
        has_changes && self.versions.is_some()
    }

    fn replace(&self, chunks: Vec<RecordBatch>, ended: Vec<u32>) -> Result<()> {
        let mut current = self.snapshot.write();
        let version = current.version() + 1;
        let next = TableSnapshot::try_new(Arc::clone(&self.schema), chunks, version, &self.name)?;
        self.changed_keys.forget(version);
        *current = Arc::new(next.with_ended(ended));
        Ok(())
    }
}
