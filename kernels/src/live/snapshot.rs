//! Snapshots: one version of a live table, to look rows up in, to gather and to scan.

use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, SchemaRef};

use super::gather::gather_paged;
use super::history::History;
use super::index::IndexView;
use super::memory::LiveMemory;
use super::pages::Directory;
use super::scan::LiveScan;
use super::slot::{EMPTY, id_of, row_or_none};
use crate::index::{check_key_types, common_length, locate_dictionary, union_nulls};
use crate::key::class::decode_all;
use crate::{KernelError, NO_ROW, RowChains, RowId, select};

/// What a commit has published.
pub(super) struct Version {
    pub(super) schema: SchemaRef,
    pub(super) number: u64,
    /// Rows below this id are of this version, unless replaced by another below it.
    pub(super) height: RowId,
    pub(super) pages: Directory,
    pub(super) index: IndexView,
    pub(super) history: Arc<History>,
    pub(super) memory: LiveMemory,
}

/// One version of a [`LiveTable`](crate::LiveTable): immutable, cheap to clone, and shared by
/// threads while the table moves on.
///
/// While a snapshot is held, the table keeps what it needs: pages of rows that have died since,
/// and the history of keys that have changed since.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
/// use fletching_kernels::{KernelError, LiveOptions, LiveTable, NO_ROW};
///
/// let rows = |ids: &[i64], tiers: &[&str]| {
///     let id: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
///     let tier: ArrayRef = Arc::new(StringArray::from(tiers.to_vec()));
///     RecordBatch::try_from_iter([("id", id), ("tier", tier)])
/// };
/// let first = rows(&[1, 2], &["gold", "silver"])?;
/// let table = LiveTable::new(first.schema(), &[0], LiveOptions::default())?;
/// table.upsert(&first)?;
/// let before = table.snapshot();
/// table.upsert(&rows(&[2, 3], &["gold", "basic"])?)?;
///
/// let keys: ArrayRef = Arc::new(Int64Array::from(vec![2, 3]));
/// let mut heads = Vec::new();
/// before.locate(&[keys.clone()], None, &mut heads)?;
/// assert_eq!(heads[1], NO_ROW);
/// let expected: ArrayRef = Arc::new(StringArray::from(vec![Some("silver"), None]));
/// assert_eq!(&before.gather(1, &heads)?, &expected);
///
/// let now = table.snapshot();
/// now.locate(&[keys], None, &mut heads)?;
/// let expected: ArrayRef = Arc::new(StringArray::from(vec!["gold", "basic"]));
/// assert_eq!(&now.gather(1, &heads)?, &expected);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Clone)]
pub struct LiveSnapshot {
    version: Arc<Version>,
}

impl fmt::Debug for LiveSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSnapshot")
            .field("version", &self.version())
            .field("row_count", &self.row_count())
            .finish_non_exhaustive()
    }
}

impl LiveSnapshot {
    pub(super) fn new(version: Arc<Version>) -> Self {
        Self { version }
    }

    /// Returns the number of the commit that this version is of.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// let table = LiveTable::new(schema, &[0], LiveOptions::default())?;
    /// assert_eq!(table.snapshot().version(), 1);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.number
    }

    /// Returns how many rows there are.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// # let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// # let table = LiveTable::new(schema, &[0], LiveOptions::default())?;
    /// assert_eq!(table.snapshot().row_count(), 0);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.version.memory.live_rows
    }

    /// Returns the columns.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// # let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// # let table = LiveTable::new(schema, &[0], LiveOptions::default())?;
    /// assert_eq!(table.snapshot().schema().fields().len(), 1);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.version.schema
    }

    /// Returns what this version held when it was published, in O(columns).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// # let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// # let table = LiveTable::new(schema, &[0], LiveOptions::default())?;
    /// assert_eq!(table.snapshot().memory().column_bytes, [0]);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn memory(&self) -> LiveMemory {
        self.version.memory.clone()
    }

    /// Locates for each probe row the row of its key, or [`NO_ROW`].
    ///
    /// As [`KeyIndex::locate`](crate::KeyIndex::locate): `heads` is cleared and filled with one
    /// entry for each probe row, or each position of `selection`; texts may be stored in any way,
    /// and the values of a dictionary are looked up once each. A NULL key finds nothing. Row ids
    /// are this snapshot's: [`gather`](Self::gather) from the same one.
    ///
    /// 10 to 12 ns a row in a table of a million 8-byte keys, as from the immutable index; a key that
    /// has changed since costs a step or two of history more, and a lock once a call.
    ///
    /// # Errors
    ///
    /// As [`KeyIndex::locate`](crate::KeyIndex::locate).
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable, NO_ROW};
    /// let id: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
    /// let rows = RecordBatch::try_from_iter([("id", id.clone())])?;
    /// let table = LiveTable::new(rows.schema(), &[0], LiveOptions::default())?;
    /// table.upsert(&rows)?;
    /// table.delete(&[id.slice(0, 1)])?;
    /// let mut heads = Vec::new();
    /// table.snapshot().locate(&[id], None, &mut heads)?;
    /// assert_eq!(heads, [NO_ROW, 1]);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn locate(
        &self,
        keys: &[ArrayRef],
        selection: Option<&[u32]>,
        heads: &mut Vec<RowId>,
    ) -> Result<(), KernelError> {
        check_key_types(self.version.index.coder().types(), keys)?;
        let rows = common_length(keys)?;
        heads.clear();
        if selection.is_none() {
            heads.resize(rows, NO_ROW);
            return self.locate_columns(keys, heads);
        }
        let columns = keys
            .iter()
            .map(|column| select(column, selection))
            .collect::<Result<Vec<_>, _>>()?;
        heads.resize(common_length(&columns)?, NO_ROW);
        self.locate_columns(&columns, heads)
    }

    fn locate_columns(&self, keys: &[ArrayRef], heads: &mut [RowId]) -> Result<(), KernelError> {
        if let [column] = keys
            && matches!(column.data_type(), DataType::Dictionary(..))
        {
            let dictionary = column.as_any_dictionary();
            if dictionary.values().len() <= dictionary.len() {
                let locate = |values: &[ArrayRef], heads: &mut [RowId]| self.locate_columns(values, heads);
                return locate_dictionary(dictionary, column, heads, NO_ROW, locate);
            }
        }
        let columns = decode_all(keys)?;
        let mut misfits = Vec::new();
        let index = &self.version.index;
        index.locate(&index.coder().look(&columns, &mut misfits)?, heads);
        self.resolve_all(heads);
        for row in misfits {
            heads[row as usize] = NO_ROW;
        }
        if let Some(nulls) = union_nulls(&columns) {
            (!nulls.inner()).set_indices().for_each(|row| heads[row] = NO_ROW);
        }
        Ok(())
    }

    /// Turns slots into the rows that this version sees. Few keys change while a batch is looked
    /// up, so the others are not made to wait for the history's lock.
    fn resolve_all(&self, slots: &mut [u32]) {
        let height = self.version.height;
        let mut newer = Vec::new();
        for (at, slot) in slots.iter_mut().enumerate() {
            if (id_of(*slot) >= height) & (*slot != EMPTY) {
                newer.push(at);
            } else {
                *slot = row_or_none(*slot);
            }
        }
        if !newer.is_empty() {
            let history = self.version.history.open();
            for at in newer {
                slots[at] = history.resolve(slots[at], height);
            }
        }
    }

    /// Gathers located rows of a column; [`NO_ROW`] gives NULL.
    ///
    /// About 5 ns a row for values of fixed width, 12 for texts, in a table of a million rows.
    ///
    /// # Errors
    ///
    /// [`KernelError::ColumnCount`] for a column that is not there, and
    /// [`KernelError::RowOutOfRange`] for a row that this snapshot has not located.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable, NO_ROW};
    /// # let id: ArrayRef = Arc::new(Int64Array::from(vec![7, 8]));
    /// # let rows = RecordBatch::try_from_iter([("id", id.clone())])?;
    /// # let table = LiveTable::new(rows.schema(), &[0], LiveOptions::default())?;
    /// # table.upsert(&rows)?;
    /// let column = table.snapshot().gather(0, &[1, NO_ROW])?;
    /// assert!(column.is_valid(0) && column.is_null(1));
    /// assert!(table.snapshot().gather(0, &[99_999]).is_err());
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn gather(&self, column: usize, rows: &[RowId]) -> Result<ArrayRef, KernelError> {
        let fields = self.version.schema.fields();
        let field = fields.get(column).ok_or(KernelError::ColumnCount {
            expected: fields.len(),
            found: column + 1,
        })?;
        gather_paged(&self.version.pages, column, field.data_type(), rows)
    }

    /// Returns one more than the greatest row id that this version may locate.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_schema::{DataType, Field, Schema};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// # let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    /// # let table = LiveTable::new(schema, &[0], LiveOptions::default())?;
    /// assert_eq!(table.snapshot().row_id_end(), 0);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn row_id_end(&self) -> RowId {
        self.version.height
    }

    /// Scans all rows in batches, in ascending row id: the order they were written in.
    ///
    /// A batch is a page's rows, shared with the table where all of them are there. Finding out
    /// which are takes a pass over the index: about 20 ns a row together.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
    /// # use fletching_kernels::{KernelError, LiveOptions, LiveTable};
    /// let id: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
    /// let rows = RecordBatch::try_from_iter([("id", id.clone())])?;
    /// let table = LiveTable::new(rows.schema(), &[0], LiveOptions::default())?;
    /// table.upsert(&rows)?;
    /// let batches = table.snapshot().scan().collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(batches, [rows.slice(1, 2)]);
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn scan(&self) -> LiveScan {
        LiveScan::new(&self.version)
    }
}

impl RowChains for LiveSnapshot {
    fn row_count(&self) -> usize {
        self.version.height as usize
    }

    fn is_unique(&self) -> bool {
        true
    }

    #[inline(always)]
    fn next_row(&self, _row: RowId) -> RowId {
        NO_ROW
    }
}
