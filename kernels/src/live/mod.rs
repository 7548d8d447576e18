//! Live tables: rows by key that change in place, while readers keep the version they hold.
//!
//! ```text
//!                         ┌─ pages      rows in columns, by row id            pages.rs
//!   writer ── commit ──▶  │  index      key ─▶ newest row                     index.rs, shards.rs
//!                         │  history    row ─▶ the row it replaced            history.rs
//!                         └─ garbage    which rows are dead                   garbage.rs
//!
//!   version = a height, and the pages and shards it was published with        snapshot.rs
//!   load    = pages as they come, and the index of all of them at once         build.rs
//! ```
//!
//! A row that comes gets the next row id, whatever it replaces, and the slot of its key is put to
//! that id in place. A version needs no copy of the index: it sees the rows below its height, and
//! where a slot names a newer one, the history leads back to its own. This is multi-version
//! concurrency control with a version chain from new to old (Wu, Arulraj et al., "An empirical
//! evaluation of in-memory multi-version concurrency control", VLDB 2017), where the index entry
//! is updated once for a key, and chains are followed by those alone who hold an old version.
//!
//! What is never done in proportion to the table: taking a snapshot, publishing a commit, growing
//! the index (a shard at a time), taking back garbage (a few pages a commit). Three things are, and
//! rare: changing to wider keys, forgetting the bytes of long keys that are gone, and numbering
//! rows anew after two thousand million of them.

mod bucket;
mod build;
mod coder;
mod garbage;
mod gather;
mod history;
mod index;
mod interner;
mod memory;
mod options;
mod pages;
mod scan;
mod shards;
mod slot;
mod snapshot;
mod writer;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;

pub use self::memory::LiveMemory;
pub use self::options::LiveOptions;
pub use self::scan::LiveScan;
pub use self::snapshot::LiveSnapshot;
pub use self::writer::LiveChange;

use self::snapshot::Version;
use self::writer::Writer;
use crate::KernelError;

/// Holds rows by key, takes upserts and deletions, and gives out snapshots.
///
/// Any number of threads may call it: writers take turns, readers wait for nobody. Each call that
/// writes is one commit, seen whole or not at all.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
/// use fletching_kernels::{KernelError, LiveOptions, LiveTable};
///
/// let quotes = |symbols: &[&str], prices: &[f64]| {
///     let symbol: ArrayRef = Arc::new(StringArray::from(symbols.to_vec()));
///     let price: ArrayRef = Arc::new(Float64Array::from(prices.to_vec()));
///     RecordBatch::try_from_iter([("symbol", symbol), ("price", price)])
/// };
/// let first = quotes(&["AAPL", "MSFT"], &[201.5, 417.0])?;
/// let table = LiveTable::new(first.schema(), &[0], LiveOptions::default())?;
/// table.upsert(&first)?;
/// let change = table.upsert(&quotes(&["AAPL", "TSLA", "AAPL"], &[202.0, 177.5, 203.0])?)?;
/// assert_eq!((change.inserted, change.replaced), (1, 2));
/// assert_eq!(table.snapshot().row_count(), 3);
///
/// let gone: ArrayRef = Arc::new(StringArray::from(vec!["MSFT", "none such"]));
/// assert_eq!(table.delete(&[gone])?.deleted, 1);
/// # Ok::<(), KernelError>(())
/// ```
pub struct LiveTable {
    schema: SchemaRef,
    writer: Mutex<Writer>,
    current: RwLock<Arc<Version>>,
}

impl fmt::Debug for LiveTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTable")
            .field("snapshot", &self.snapshot())
            .finish_non_exhaustive()
    }
}

impl LiveTable {
    /// Makes an empty table whose key is the columns at some positions.
    ///
    /// # Errors
    ///
    /// [`KernelError::KeyCount`] without key columns or for one that is not there, and
    /// [`KernelError::UnsupportedKeyType`] for types that cannot be keys.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_schema::{DataType, Field, Schema};
    /// use fletching_kernels::{LiveOptions, LiveTable};
    /// let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// assert!(LiveTable::new(schema.clone(), &[0], LiveOptions::default()).is_ok());
    /// assert!(LiveTable::new(schema, &[], LiveOptions::default()).is_err());
    /// ```
    pub fn new(schema: SchemaRef, key: &[usize], options: LiveOptions) -> Result<Self, KernelError> {
        Ok(Self::of_writer(Writer::new(schema, key, options)?))
    }

    fn of_writer(mut writer: Writer) -> Self {
        Self {
            schema: Arc::clone(writer.schema()),
            current: RwLock::new(writer.publish()),
            writer: Mutex::new(writer),
        }
    }

    /// Makes a table of rows that are all there, on rayon's threads: what [`upsert`](Self::upsert)
    /// would make of one batch after the other.
    ///
    /// Batches of no more rows than a page become its pages as they are, so they should share no
    /// memory with what is larger; longer ones, and short ones that follow each other, are copied.
    /// 40 to 50 ns a row on one thread, of five columns and 10 million rows, where upserting took 420
    /// (on a machine not at rest), and at most 20 bytes a row besides the table meanwhile.
    /// The bench is `live_load`.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new) and of [`upsert`](Self::upsert).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// let rows = |ids: Vec<i64>| {
    ///     let id: ArrayRef = Arc::new(Int64Array::from(ids));
    ///     RecordBatch::try_from_iter([("id", id)])
    /// };
    /// let batches = vec![rows(vec![7, 8])?, rows(vec![8, 9])?];
    /// let table = LiveTable::load(batches[0].schema(), &[0], LiveOptions::default(), batches)?;
    /// assert_eq!(table.snapshot().row_count(), 3);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn load(
        schema: SchemaRef,
        key: &[usize],
        options: LiveOptions,
        batches: Vec<RecordBatch>,
    ) -> Result<Self, KernelError> {
        Ok(Self::of_writer(Writer::loaded(schema, key, options, batches)?))
    }

    /// Returns the columns.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// # let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// let table = LiveTable::new(schema, &[0], LiveOptions::default())?;
    /// assert_eq!(table.schema().field(0).name(), "id");
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Takes the current version, in O(1).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// # let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// let table = LiveTable::new(schema, &[0], LiveOptions::default())?;
    /// assert_eq!(table.snapshot().row_count(), 0);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> LiveSnapshot {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        LiveSnapshot::new(Arc::clone(&current))
    }

    /// Puts rows: one whose key is there takes the place of the row with it, and of rows with one
    /// key in the batch the last stays.
    ///
    /// Values are copied. About 70 to 130 ns a row of five columns in batches of 8,192, in a table of
    /// a million rows, and some 10 µs for a single row. The bench is `live_upsert`.
    ///
    /// # Errors
    ///
    /// [`KernelError::ColumnCount`] and [`KernelError::ColumnTypeMismatch`] for a batch of other
    /// columns, [`KernelError::NullKey`] for a row without a whole key,
    /// [`KernelError::TooManyRows`] beyond the row ids there are, and [`KernelError::Arrow`] where
    /// a page's texts outgrow their offsets. The table stays as it was, or, where that happens
    /// while garbage is taken back, has the rows.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// let id: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None]));
    /// let rows = RecordBatch::try_from_iter([("id", id)])?;
    /// let table = LiveTable::new(rows.schema(), &[0], LiveOptions::default())?;
    /// assert_eq!(table.upsert(&rows).unwrap_err().to_string(),
    ///            "row 1 has NULL in a key column; give every row a whole key");
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn upsert(&self, rows: &RecordBatch) -> Result<LiveChange, KernelError> {
        self.commit(|writer| writer.upsert(rows))
    }

    /// Deletes the rows of keys, given as one column for each column of the key. Keys that are not
    /// there are passed over, and so are those with a NULL.
    ///
    /// About 90 to 180 ns a key in batches of 8,192. The bench is `live_delete`.
    ///
    /// # Errors
    ///
    /// [`KernelError::KeyCount`], [`KernelError::KeyTypeMismatch`] and
    /// [`KernelError::LengthMismatch`] for columns that are not the key's, and
    /// [`KernelError::TooManyRows`] beyond the row ids there are.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// let rows = RecordBatch::try_from_iter([("id", id.clone())])?;
    /// let table = LiveTable::new(rows.schema(), &[0], LiveOptions::default())?;
    /// table.upsert(&rows)?;
    /// assert_eq!(table.delete(&[id.slice(0, 2)])?.deleted, 2);
    /// assert_eq!(table.snapshot().row_count(), 1);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn delete(&self, keys: &[ArrayRef]) -> Result<LiveChange, KernelError> {
        self.commit(|writer| writer.delete(keys))
    }

    /// Runs one turn of the writer and publishes what it has done.
    fn commit(
        &self,
        work: impl FnOnce(&mut Writer) -> Result<LiveChange, KernelError>,
    ) -> Result<LiveChange, KernelError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let change = work(&mut writer);
        // Also after an error: what was moved by then must be found under the new shards.
        let version = writer.publish();
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = version;
        change
    }
}
