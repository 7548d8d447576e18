//! Tables that change in place: upserts and deletions by primary key.
//!
//! ```text
//!   changelog     INSERT INTO, loading        upsert() and delete()
//!   append        adds rows                   turn the table into …
//!   upsert        replaces rows by key        … this one
//! ```
//!
//! The rows of such a table are in a [`LiveTable`]; each change publishes a version that joins by
//! the primary key look up in place. Whatever else a query asks of a version (rows in pieces, an
//! index over other columns) is made when it is asked for, and kept with the version.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::kernels::cmp::{gt, lt};
use arrow::compute::{cast, concat, take_record_batch};
use fletching_kernels::{
    BuildOptions, KernelError, KeyIndex, LiveChange, LiveOptions, LiveSnapshot, LiveTable, NO_ROW,
};

use super::{Table, TableSnapshot, TableState, as_views};
use crate::error::{Error, Result};

/// How rows that come change a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangeOptions {
    /// Whether rows replace those of their key from the first on.
    pub(crate) is_upsert: bool,
    /// The column by which an older row never replaces a newer one.
    pub(crate) version: Option<String>,
    /// Bytes that the table may hold.
    pub(crate) memory_max: Option<u64>,
    /// The same for every table of the session; 0 where nothing is set.
    pub(crate) session_memory_max: Arc<AtomicU64>,
}

impl ChangeOptions {
    /// Says whether the table may hold so many bytes and no more.
    pub(super) fn has_limit(&self) -> bool {
        self.memory_max.is_some() || self.session_memory_max.load(Relaxed) > 0
    }
}

/// The writer's side of a table's rows: nothing while rows are only added.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) options: ChangeOptions,
    /// The position of the version column.
    version: Option<usize>,
    live: Option<LiveTable>,
}

impl Changes {
    /// Checks options against a table's columns.
    pub(super) fn try_new(
        options: ChangeOptions,
        table: &str,
        key: &[usize],
        schema: &arrow::datatypes::Schema,
    ) -> Result<Self> {
        let refuse = |message: String, hint: &str| Error::Option {
            subject: format!("table {table}"),
            message,
            hint: Some(hint.into()),
            location: None,
        };
        if key.is_empty() && (options.is_upsert || options.version.is_some()) {
            let what = "changelog = 'upsert' needs a PRIMARY KEY: it says which row a new one replaces";
            return Err(refuse(
                what.into(),
                "declare it, as in (id BIGINT, …, PRIMARY KEY (id))",
            ));
        }
        let version = match &options.version {
            None => None,
            Some(column) => Some(schema.index_of(column).map_err(|_| {
                let what = format!("there is no column '{column}' for the option 'version'");
                refuse(what, "name the column that grows with every change of a row")
            })?),
        };
        Ok(Self {
            options,
            version,
            live: None,
        })
    }

    /// Says whether rows replace those of their key.
    pub(super) fn is_upsert(&self) -> bool {
        self.options.is_upsert || self.live.is_some()
    }
}

impl Table {
    /// Puts rows by the primary key, as one new version: a row whose key is there takes the place
    /// of the row with it, and of rows of one key the last stays.
    ///
    /// Where the table has a `version` column, an older row never replaces a newer one, whatever
    /// the order they come in. `batch` must have the table's columns in order; texts and bytes may
    /// be stored in any way. From the first such call on the table's rows are unique by key, and
    /// `INSERT INTO` replaces too.
    ///
    /// Queries that run keep the version they began with. About 0.1 µs a row in batches of
    /// thousands, some 10 µs for a single one.
    ///
    /// # Errors
    /// Fails where the table has no primary key or is not loaded yet, the columns differ, a key is
    /// NULL, or the table would hold more memory than `memory.max` allows.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql("CREATE TABLE quotes (symbol VARCHAR, price DOUBLE, PRIMARY KEY (symbol))")?;
    /// let quotes = session.table("quotes").expect("just created");
    ///
    /// let symbol: ArrayRef = Arc::new(StringArray::from(vec!["AAPL", "MSFT", "AAPL"]));
    /// let price: ArrayRef = Arc::new(Float64Array::from(vec![201.5, 417.0, 202.0]));
    /// quotes.upsert(&RecordBatch::try_from_iter([("symbol", symbol), ("price", price)])?)?;
    /// assert_eq!(quotes.snapshot()?.row_count(), 2);
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn upsert(&self, batch: &RecordBatch) -> Result<()> {
        self.check_underived()?;
        self.put(batch)
    }

    /// The same, for what keeps the table current.
    pub(crate) fn put(&self, batch: &RecordBatch) -> Result<()> {
        let batch = as_views(batch, &self.schema)?;
        self.check_keys(&batch)?;
        let keys = self.key_columns(&batch);
        self.change(&batch, &keys, |live, version| {
            let newer = newer_rows(live, &self.primary_key, version, &batch)?;
            if newer.num_rows() == 0 {
                return Ok(LiveChange::default());
            }
            Ok(live.upsert(&newer)?)
        })
    }

    /// Puts rows by the primary key, whatever their versions.
    pub(crate) fn update(&self, batch: &RecordBatch) -> Result<()> {
        let batch = as_views(batch, &self.schema)?;
        self.check_keys(&batch)?;
        let keys = self.key_columns(&batch);
        self.change(&batch, &keys, |live, _| Ok(live.upsert(&batch)?))
    }

    /// Deletes the rows of keys, given as one column for each column of the primary key, as one new
    /// version. Keys that are not there are passed over.
    ///
    /// # Errors
    /// Fails where the table has no primary key or is not loaded yet, or the columns are not the
    /// key's.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array};
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql("CREATE TABLE users (id BIGINT, PRIMARY KEY (id)); INSERT INTO users VALUES (1), (2)")?;
    /// let users = session.table("users").expect("just created");
    /// let gone: ArrayRef = Arc::new(Int64Array::from(vec![2, 3]));
    /// users.delete(&[gone])?;
    /// assert_eq!(users.snapshot()?.row_count(), 1);
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn delete(&self, keys: &[ArrayRef]) -> Result<()> {
        self.check_underived()?;
        let nothing = RecordBatch::new_empty(Arc::clone(&self.schema));
        self.change(&nothing, keys, |live, _| {
            live.delete(keys).map_err(|error| match error {
                KernelError::KeyCount { .. }
                | KernelError::KeyTypeMismatch { .. }
                | KernelError::LengthMismatch { .. } => Error::Batch {
                    message: format!("table {}: {error}", self.name),
                },
                other => other.into(),
            })
        })
    }

    /// Takes the rows of some keys away and puts others, as one new version.
    pub(crate) fn exchange(&self, gone: &[ArrayRef], rows: &RecordBatch) -> Result<()> {
        let rows = as_views(rows, &self.schema)?;
        self.check_keys(&rows)?;
        let mut keys = self.key_columns(&rows);
        for (key, gone) in keys.iter_mut().zip(gone) {
            *key = concat(&[key.as_ref(), gone.as_ref()])?;
        }
        self.change(&rows, &keys, |live, _| {
            let mut change = live.delete(gone)?;
            if rows.num_rows() > 0 {
                change.inserted += live.upsert(&rows)?.inserted.max(1);
            }
            Ok(change)
        })
    }

    /// Returns a batch's columns of the primary key.
    fn key_columns(&self, batch: &RecordBatch) -> Vec<ArrayRef> {
        let columns = self.primary_key.iter();
        columns.map(|at| Arc::clone(batch.column(*at))).collect()
    }

    /// Says whether rows replace those of their key.
    pub(crate) fn is_upsert(&self) -> bool {
        self.changes.lock().is_upsert()
    }

    /// Runs one turn of the writer and publishes a version where anything has changed.
    fn change(
        &self,
        coming: &RecordBatch,
        keys: &[ArrayRef],
        work: impl FnOnce(&LiveTable, Option<usize>) -> Result<LiveChange>,
    ) -> Result<()> {
        if self.primary_key.is_empty() {
            return Err(Error::Batch {
                message: format!(
                    "table {} has no PRIMARY KEY, by which rows could be replaced or deleted; create it \
                     with one, as in (id BIGINT, …, PRIMARY KEY (id))",
                    self.name
                ),
            });
        }
        let is_coming = matches!(self.state(), TableState::Waiting | TableState::Loading);
        if is_coming && self.derivation.is_none() && self.readiness.check_readable(&self.name).is_err() {
            return Err(Error::Batch {
                message: format!(
                    "table {} is not loaded yet: run or prepare a query that reads it first",
                    self.name
                ),
            });
        }
        if self.derivation.is_none() {
            self.readiness.check_readable(&self.name)?;
        }
        let _writing = self.lock_for_writing();
        let mut changes = self.changes.lock();
        let current = Arc::clone(&self.snapshot.read());
        self.check_memory(&changes.options, current.memory_bytes(), coming)?;
        let version = changes.version;
        let live = match &mut changes.live {
            Some(live) => live,
            none => none.insert(self.live_of(current.chunks()?)?),
        };
        let changed = work(live, version)?;
        if changed != LiveChange::default() || !current.is_live() {
            self.note_changed(current.version() + 1, keys);
            self.publish_live(live, &current);
        }
        Ok(())
    }

    /// Notes which keys a commit changes, stored as the table stores them.
    fn note_changed(&self, version: u64, keys: &[ArrayRef]) {
        let stored = self.primary_key.iter().zip(keys);
        let stored = stored.map(|(at, key)| cast(key, self.schema.field(*at).data_type()));
        match stored.collect::<Result<Vec<_>, _>>() {
            Ok(keys) => self.changed_keys.note(version, &keys),
            Err(_) => self.changed_keys.forget(version),
        }
    }

    /// Makes the live form of rows that have come so far.
    fn live_of(&self, chunks: &[RecordBatch]) -> Result<LiveTable> {
        let live = LiveTable::new(
            Arc::clone(&self.schema),
            &self.primary_key,
            LiveOptions::default(),
        )?;
        for chunk in chunks {
            self.check_keys(chunk)?;
            live.upsert(chunk)?;
        }
        Ok(live)
    }

    fn publish_live(&self, live: &LiveTable, before: &TableSnapshot) {
        let fresh = TableSnapshot::of_live(live.snapshot(), before.version() + 1, self.primary_key.clone());
        *self.snapshot.write() = Arc::new(fresh);
        self.readiness.events.wake();
    }

    /// Publishes rows that were loaded, as the table's changelog says.
    pub(super) fn publish_loaded(&self, chunks: Vec<RecordBatch>) -> Result<()> {
        let mut changes = self.changes.lock();
        let before = Arc::clone(&self.snapshot.read());
        let bytes: usize = chunks.iter().map(RecordBatch::get_array_memory_size).sum();
        let nothing = RecordBatch::new_empty(Arc::clone(&self.schema));
        self.check_memory(&changes.options, bytes, &nothing)?;
        if !changes.options.is_upsert {
            changes.live = None;
            drop(changes);
            return self.replace(chunks);
        }
        let version = changes.version;
        let live = self.live_of(&[])?;
        for chunk in &chunks {
            self.check_keys(chunk)?;
            let newer = newer_rows(&live, &self.primary_key, version, chunk)?;
            live.upsert(&newer)?;
        }
        self.changed_keys.forget(before.version() + 1);
        self.publish_live(&live, &before);
        changes.live = Some(live);
        Ok(())
    }

    /// Puts other rows in the place of all there are.
    pub(crate) fn rewrite(&self, chunks: Vec<RecordBatch>) -> Result<()> {
        let _writing = self.lock_for_writing();
        let chunks = chunks.iter().map(|chunk| as_views(chunk, &self.schema));
        let chunks = chunks
            .filter(|chunk| chunk.as_ref().map_or(true, |chunk| chunk.num_rows() > 0))
            .collect::<Result<Vec<_>>>()?;
        self.publish_loaded(chunks)
    }

    /// Refuses rows for which there is no memory.
    pub(super) fn check_memory(
        &self,
        options: &ChangeOptions,
        held: usize,
        coming: &RecordBatch,
    ) -> Result<()> {
        let session_max = options.session_memory_max.load(Relaxed);
        let (max, setting) = match options.memory_max {
            Some(max) => (max, format!("option memory.max of table {}", self.name)),
            None if session_max > 0 => (session_max, "setting memory.max".to_string()),
            None => return Ok(()),
        };
        let bytes = coming.columns().iter().map(|column| {
            let own = column.to_data().get_slice_memory_size();
            own.unwrap_or_else(|_| column.get_array_memory_size())
        });
        let wanted = (held + bytes.sum::<usize>()) as u64;
        if wanted <= max {
            return Ok(());
        }
        Err(Error::TableMemory {
            table: self.name.clone(),
            bytes: wanted,
            bytes_max: max,
            setting,
        })
    }

    /// Refuses a row without a whole key.
    fn check_keys(&self, batch: &RecordBatch) -> Result<()> {
        let nulls = self.primary_key.iter().filter_map(|at| {
            let nulls = batch.column(*at).logical_nulls()?;
            let row = (!nulls.inner()).set_indices().next()?;
            Some((row, *at))
        });
        let Some((row, column)) = nulls.min() else {
            return Ok(());
        };
        Err(Error::Batch {
            message: format!(
                "table {}: row {} of the batch has NULL in '{}', a column of its PRIMARY KEY; \
                 give every row a whole key",
                self.name,
                row + 1,
                self.schema.field(column).name()
            ),
        })
    }
}

/// Leaves out rows that are older than what is there, and of rows of one key all but the newest.
fn newer_rows(
    live: &LiveTable,
    key: &[usize],
    version: Option<usize>,
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let Some(version) = version else {
        return Ok(batch.clone());
    };
    let keys: Vec<ArrayRef> = key.iter().map(|at| Arc::clone(batch.column(*at))).collect();
    let mut kept = newest_of_each_key(&keys, batch.column(version))?;
    let snapshot = live.snapshot();
    let mut heads = Vec::new();
    snapshot.locate(&keys, None, &mut heads)?;
    if heads.iter().any(|head| *head != NO_ROW) {
        let there = snapshot.gather(version, &heads)?;
        // NULL, on either side, is older than nothing.
        let older = lt(batch.column(version), &there)?;
        kept.retain(|row| {
            let row = *row as usize;
            !(older.is_valid(row) && older.value(row))
        });
    }
    if kept.len() == batch.num_rows() {
        return Ok(batch.clone());
    }
    Ok(take_record_batch(batch, &UInt32Array::from(kept))?)
}

/// Returns, of rows with one key, the one of the greatest version, and of those the last; of rows
/// with a NULL in the key all. Ascending.
fn newest_of_each_key(keys: &[ArrayRef], versions: &ArrayRef) -> Result<Vec<u32>> {
    let index = KeyIndex::build(keys, &BuildOptions::default())?;
    let rows = u32::try_from(index.row_count()).unwrap_or(u32::MAX);
    if index.is_unique() {
        return Ok((0..rows).collect());
    }
    let mut heads = Vec::new();
    index.locate(keys, None, &mut heads)?;
    let mut newest: Vec<u32> = heads.clone();
    for row in 0..rows {
        let head = heads[row as usize];
        if head == NO_ROW {
            continue;
        }
        let best = &mut newest[head as usize];
        let (a, b) = (versions.slice(*best as usize, 1), versions.slice(row as usize, 1));
        let is_older = gt(&a, &b)?;
        if !(is_older.is_valid(0) && is_older.value(0)) {
            *best = row;
        }
    }
    let mut kept: Vec<u32> = (0..rows)
        .filter_map(|row| match heads[row as usize] {
            NO_ROW => Some(row),
            head if head == row => Some(newest[row as usize]),
            _ => None,
        })
        .collect();
    kept.sort_unstable();
    Ok(kept)
}

/// Returns the rows of a live version, in pieces.
pub(super) fn pieces_of(live: &LiveSnapshot) -> Result<Vec<RecordBatch>> {
    Ok(live.scan().collect::<Result<Vec<_>, _>>()?)
}
