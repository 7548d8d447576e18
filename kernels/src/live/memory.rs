//! The memory account of a live table.

/// Says what a version of a live table holds, in bytes and rows.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use fletching_kernels::{KernelError, LiveOptions, LiveTable};
///
/// let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 2]));
/// let rows = RecordBatch::try_from_iter([("id", id)])?;
/// let table = LiveTable::new(rows.schema(), &[0], LiveOptions::default())?;
/// table.upsert(&rows)?;
/// let memory = table.snapshot().memory();
/// assert_eq!((memory.live_rows, memory.garbage_rows), (2, 1));
/// assert!(memory.total_bytes() > memory.index_bytes);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveMemory {
    /// Bytes of each column, garbage included.
    pub column_bytes: Vec<usize>,
    /// Bytes of the index, and of what the writer knows of pages.
    pub index_bytes: usize,
    /// Bytes of the history that older versions need.
    pub history_bytes: usize,
    /// Rows that are there.
    pub live_rows: usize,
    /// Rows that were replaced or deleted, and deletions, whose pages are not dropped yet.
    pub garbage_rows: usize,
}

impl LiveMemory {
    /// Returns all bytes together.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::LiveMemory::default().total_bytes(), 0);
    /// ```
    #[must_use]
    pub fn total_bytes(&self) -> usize {
        self.column_bytes.iter().sum::<usize>() + self.index_bytes + self.history_bytes
    }
}
