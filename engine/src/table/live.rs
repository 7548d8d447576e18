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

use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::{cast, concat};
use fletching_kernels::{KernelError, LiveChange, LiveOptions, LiveSnapshot, LiveTable};

use super::newest::untouched;
use super::records::Records;
use super::staged::Staged;
use super::store::{Store, StoreError, StoreShape};
use super::tombstones::RETENTION;
use super::{Table, TableSnapshot, TableState, as_views};
use crate::error::{Error, Result};

/// How rows that come change a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangeOptions {
    /// Whether rows replace those of their key from the first on.
    pub(crate) is_upsert: bool,
    /// The column by which an older row never replaces a newer one.
    pub(crate) version: Option<String>,
    /// How long the version of a key that is gone is remembered.
    pub(crate) tombstones: Option<Duration>,
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
    pub(super) live: Option<Store>,
    /// The keys that the program has changed while the table loads: what it did is not undone by
    /// the load.
    touched: Option<LiveTable>,
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
            touched: None,
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
        if self.versions.is_some() {
            return self.append(batch);
        }
        self.put(batch)
    }

    /// The same, for what keeps the table current.
    pub(crate) fn put(&self, batch: &RecordBatch) -> Result<()> {
        let batch = as_views(batch, &self.schema)?;
        self.check_keys(&batch)?;
        let keys = self.key_columns(&batch);
        self.change(&batch, &keys, |live| live.upsert(&batch))
    }

    /// Puts rows by the primary key, whatever their versions.
    pub(crate) fn update(&self, batch: &RecordBatch) -> Result<()> {
        let batch = as_views(batch, &self.schema)?;
        self.check_keys(&batch)?;
        let keys = self.key_columns(&batch);
        self.change(&batch, &keys, |live| live.put(&batch))
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
        if self.versions.is_some() {
            return Err(Error::Batch {
                message: format!(
                    "table {} is versioned: a deletion must say from when; say delete_as_of, or give it to the \
                     table's source, with op = 'column'",
                    self.name
                ),
            });
        }
        let nothing = RecordBatch::new_empty(Arc::clone(&self.schema));
        self.change(&nothing, keys, |live| {
            live.delete(keys, None).map_err(|error| match error {
                StoreError::Kernel(
                    error @ (KernelError::KeyCount { .. }
                    | KernelError::KeyTypeMismatch { .. }
                    | KernelError::LengthMismatch { .. }),
                ) => Error::Batch {
                    message: format!("table {}: {error}", self.name),
                },
                other => other.into_error(),
            })
        })
    }

    /// Takes the rows of some keys away and puts others, as one new version.
    pub(crate) fn exchange(&self, gone: &[ArrayRef], rows: &RecordBatch) -> Result<()> {
        let rows = as_views(rows, &self.schema)?;
        self.check_keys(&rows)?;
        let mut keys = self.key_columns(&rows);
        for (key, gone) in keys.iter_mut().zip(gone) {
            // Texts come as they are in the source, and are views here.
            let gone = cast(gone, key.data_type())?;
            *key = concat(&[key.as_ref(), gone.as_ref()])?;
        }
        self.change(&rows, &keys, |live| {
            let mut change = live.delete(gone, None).map_err(StoreError::into_error)?;
            if rows.num_rows() > 0 {
                change.inserted += live.put(&rows)?.inserted.max(1);
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

    /// Runs one turn of the writer for the program, which changes these keys, and publishes a
    /// version where anything has changed.
    fn change(
        &self,
        coming: &RecordBatch,
        keys: &[ArrayRef],
        work: impl FnOnce(&mut Store) -> Result<LiveChange>,
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
        let buried = changes.live.as_ref().map_or(0, Store::tombstone_bytes);
        self.check_memory(
            &changes.options,
            current.memory_bytes() + buried,
            from_ref(coming),
        )?;
        let changed = work(self.store(&mut changes, &current)?)?;
        if is_coming {
            self.touch(&mut changes, keys)?;
        }
        if let Some(live) = changes
            .live
            .as_ref()
            .filter(|_| changed != LiveChange::default() || !current.is_live())
        {
            self.note_changed(current.version() + 1, keys);
            self.publish_live(live, &current);
        }
        Ok(())
    }

    /// Returns the store of rows that change in place, made of those there are where there is none.
    fn store<'a>(&self, changes: &'a mut Changes, current: &TableSnapshot) -> Result<&'a mut Store> {
        let shape = self.store_shape(changes);
        match &mut changes.live {
            Some(live) => Ok(live),
            none => Ok(none.insert(self.live_of(shape, current.chunks()?)?)),
        }
    }

    pub(super) fn store_shape(&self, changes: &Changes) -> StoreShape {
        StoreShape {
            schema: Arc::clone(&self.schema),
            key: self.primary_key.clone(),
            version: changes.version,
            tombstones: changes.options.tombstones.unwrap_or(RETENTION),
        }
    }

    /// Notes that the program has changed keys of a table that still loads.
    fn touch(&self, changes: &mut Changes, keys: &[ArrayRef]) -> Result<()> {
        let key = Arc::new(self.schema.project(&self.primary_key)?);
        let rows = RecordBatch::try_new(Arc::clone(&key), keys.to_vec());
        let touched = match &mut changes.touched {
            Some(touched) => touched,
            none => {
                let all: Vec<usize> = (0..key.fields().len()).collect();
                none.insert(LiveTable::new(key, &all, LiveOptions::default())?)
            }
        };
        // A key with a NULL deletes nothing, and so changes nothing.
        if let Ok(rows) = rows {
            touched.upsert(&rows)?;
        }
        Ok(())
    }

    /// Forgets which keys the program has changed: from now on its source changes them, too.
    pub(super) fn forget_touched(&self) {
        self.changes.lock().touched = None;
    }

    /// Applies records of the source of a table that can be read, as one new version.
    pub(super) fn apply(&self, records: &Records) -> Result<()> {
        let _writing = self.lock_for_writing();
        let mut changes = self.changes.lock();
        let current = Arc::clone(&self.snapshot.read());
        let buried = changes.live.as_ref().map_or(0, Store::tombstone_bytes);
        self.check_memory(
            &changes.options,
            current.memory_bytes() + buried,
            from_ref(&records.rows),
        )?;
        if !changes.is_upsert() {
            return self.apply_history(records, &current);
        }
        let touched = changes.touched.take();
        let store = self.store(&mut changes, &current)?;
        let kept = match &touched {
            Some(touched) => &untouched(records, touched, &self.primary_key)?,
            None => records,
        };
        let changed = store.apply(kept, |rows| self.check_keys(rows));
        changes.touched = touched;
        if let Some(live) = changes
            .live
            .as_ref()
            .filter(|_| !matches!(changed, Ok(change) if change == LiveChange::default()))
        {
            let version = current.version() + 1;
            if records.has_truncation() {
                self.changed_keys.forget(version);
            } else {
                self.note_changed(version, &self.key_columns(&records.rows));
            }
            self.publish_live(live, &current);
        }
        changed.map(|_| ())
    }

    fn apply_history(&self, records: &Records, current: &TableSnapshot) -> Result<()> {
        let version = self.versions.as_ref().map(|versions| versions.column);
        let history = records.history(&self.schema, version)?;
        if history.rows.num_rows() == 0 && !history.truncates {
            return Ok(());
        }
        let (before, mut ended) = if history.truncates {
            (Vec::new(), Vec::new())
        } else {
            (current.chunks()?.to_vec(), current.ended().to_vec())
        };
        let begin = if history.truncates { 0 } else { current.row_count() };
        let begin = u32::try_from(begin).unwrap_or(u32::MAX);
        ended.extend(history.ended.iter().map(|row| begin.saturating_add(*row)));
        let next = if history.truncates {
            let schema = Arc::clone(&self.schema);
            TableSnapshot::try_new(schema, before, current.version() + 1, &self.name)?
                .with_appended(vec![history.rows], &self.name)?
        } else {
            current.with_appended(vec![history.rows], &self.name)?
        };
        self.changed_keys.forget(next.version());
        *self.snapshot.write() = Arc::new(next.with_ended(ended));
        self.readiness.events.wake();
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
    fn live_of(&self, shape: StoreShape, chunks: &[RecordBatch]) -> Result<Store> {
        let mut live = Store::new(shape)?;
        for chunk in chunks {
            self.check_keys(chunk)?;
            live.put(chunk)?;
        }
        Ok(live)
    }

    fn publish_live(&self, live: &Store, before: &TableSnapshot) {
        let fresh = TableSnapshot::of_live(live.snapshot(), before.version() + 1, self.primary_key.clone());
        *self.snapshot.write() = Arc::new(fresh);
        self.readiness.events.wake();
    }

    /// Publishes what was loaded, in the place of all rows there are; keys that the program has
    /// changed meanwhile stay as they are.
    pub(super) fn publish_staged(&self, staged: Staged) -> Result<()> {
        let mut changes = self.changes.lock();
        let before = Arc::clone(&self.snapshot.read());
        self.check_memory(&changes.options, staged.bytes(), &[])?;
        let touched = changes.touched.take();
        match staged {
            Staged::Rows { chunks, ended } => {
                changes.live = None;
                drop(changes);
                self.replace(chunks, ended)
            }
            Staged::Store(mut live) => {
                if let (Some(touched), Some(old)) = (&touched, &changes.live) {
                    for keys in pieces_of(&touched.snapshot())? {
                        live.copy_keys(keys.columns(), old)?;
                    }
                }
                self.changed_keys.forget(before.version() + 1);
                self.publish_live(&live, &before);
                changes.live = Some(*live);
                Ok(())
            }
        }
    }

    /// Puts other rows in the place of all there are.
    pub(crate) fn rewrite(&self, chunks: Vec<RecordBatch>) -> Result<()> {
        let _writing = self.lock_for_writing();
        let mut staged = self.stage()?;
        for chunk in &chunks {
            self.add_staged(&mut staged, &Records::plain(as_views(chunk, &self.schema)?))?;
        }
        self.publish_staged(staged)
    }

    /// Refuses rows for which there is no memory.
    pub(super) fn check_memory(
        &self,
        options: &ChangeOptions,
        held: usize,
        coming: &[RecordBatch],
    ) -> Result<()> {
        let session_max = options.session_memory_max.load(Relaxed);
        let (max, setting) = match options.memory_max {
            Some(max) => (max, format!("option memory.max of table {}", self.name)),
            None if session_max > 0 => (session_max, "setting memory.max".to_string()),
            None => return Ok(()),
        };
        let columns = coming.iter().flat_map(RecordBatch::columns);
        let bytes = columns.map(|column| {
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
    pub(super) fn check_keys(&self, batch: &RecordBatch) -> Result<()> {
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

/// Returns the rows of a live version, in pieces.
pub(super) fn pieces_of(live: &LiveSnapshot) -> Result<Vec<RecordBatch>> {
    Ok(live.scan().collect::<Result<Vec<_>, _>>()?)
}
