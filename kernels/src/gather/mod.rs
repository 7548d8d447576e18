//! Gather: row ids → columns.
//!
//! The last step of a join, and the only one that touches payload. Typed loops for values of
//! fixed width, views and booleans live in `fixed.rs`, for short texts and binaries in `bytes.rs`;
//! dictionaries share their values, and nested types recurse through arrow-select's `take`.
//! Several columns of a large table are gathered best from a row-wise copy: `interleaved.rs`, into
//! columns that `gathering.rs` fills.

mod bytes;
mod copy;
mod fill;
mod fixed;
mod gathering;
mod interleaved;
mod picks;

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;

pub(crate) use self::gathering::Gathering;
pub(crate) use self::interleaved::Cells;
pub use self::interleaved::Interleaved;
pub use self::picks::Picks;
use crate::{KernelError, RowId};

/// Gathers rows of a column; [`NO_ROW`](crate::NO_ROW) gives NULL.
///
/// The result has the length and order of `rows` and the type of `column`, any Arrow type. It
/// has a validity bitmap only where it has a NULL. Views and dictionaries share the column's
/// buffers. About 2 ns a row for fixed widths and views in cache, 8 for short strings.
///
/// # Errors
///
/// [`KernelError::RowOutOfRange`] for a row id past the end of the column, and
/// [`KernelError::Arrow`] where the result outgrows 32-bit offsets.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int32Array};
/// use fletching_kernels::{KernelError, NO_ROW, gather};
///
/// let column: ArrayRef = Arc::new(Int32Array::from(vec![10, 20, 30]));
/// let expected: ArrayRef = Arc::new(Int32Array::from(vec![Some(30), None, Some(10)]));
/// assert_eq!(&gather(&column, &[2, NO_ROW, 0])?, &expected);
/// # Ok::<(), KernelError>(())
/// ```
pub fn gather(column: &ArrayRef, rows: &[RowId]) -> Result<ArrayRef, KernelError> {
    Picks::new(rows).gather(column)
}

/// Gathers rows of a column where all row ids are promised to name a row.
///
/// As [`gather`], but a column without NULLs stays without, and a broken promise is an error
/// instead of a NULL nobody expects.
///
/// # Errors
///
/// As [`gather`], and [`KernelError::RowOutOfRange`] for a [`NO_ROW`](crate::NO_ROW).
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{Array, ArrayRef, StringArray};
/// use fletching_kernels::{KernelError, NO_ROW, gather_known};
///
/// let column: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
/// assert!(gather_known(&column, &[1, 1, 0])?.nulls().is_none());
/// assert!(gather_known(&column, &[NO_ROW]).is_err());
/// # Ok::<(), KernelError>(())
/// ```
pub fn gather_known(column: &ArrayRef, rows: &[RowId]) -> Result<ArrayRef, KernelError> {
    let picks = Picks::new(rows);
    picks.check_known(column.len())?;
    picks.gather(column)
}

/// Gathers the same rows of several columns; row ids are looked through once.
///
/// # Errors
///
/// As [`gather`].
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, BooleanArray, Int32Array};
/// use fletching_kernels::{KernelError, NO_ROW, gather_columns};
///
/// let id: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
/// let paid: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
/// let columns = gather_columns(&[id, paid], &[1, NO_ROW])?;
/// assert!(columns.iter().all(|column| column.len() == 2 && column.is_null(1)));
/// # Ok::<(), KernelError>(())
/// ```
pub fn gather_columns(columns: &[ArrayRef], rows: &[RowId]) -> Result<Vec<ArrayRef>, KernelError> {
    let picks = Picks::new(rows);
    columns.iter().map(|column| picks.gather(column)).collect()
}

/// Gathers rows of a batch into a batch of the given schema, whose fields must be nullable where
/// `rows` holds a [`NO_ROW`](crate::NO_ROW).
///
/// # Errors
///
/// As [`gather`], and [`KernelError::Arrow`] where the columns do not fit the schema.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{Int32Array, RecordBatch};
/// use fletching_kernels::{KernelError, gather_batch};
///
/// let column = Arc::new(Int32Array::from(vec![1, 2, 3]));
/// let batch = RecordBatch::try_from_iter([("id", column as _)])?;
/// let picked = gather_batch(&batch, &batch.schema(), &[2, 0])?;
/// assert_eq!(picked.num_rows(), 2);
/// # Ok::<(), KernelError>(())
/// ```
pub fn gather_batch(
    batch: &RecordBatch,
    schema: &SchemaRef,
    rows: &[RowId],
) -> Result<RecordBatch, KernelError> {
    let picks = Picks::new(rows).asking_ahead();
    let columns = batch.columns().iter().map(|column| picks.gather(column));
    let columns = columns.collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// Selects probe rows of a column; no positions means all of them, in order.
///
/// The identity passes the very same array through, buffers untouched.
///
/// # Errors
///
/// As [`gather_known`].
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{Array, ArrayRef, Int32Array};
/// use fletching_kernels::{KernelError, select};
///
/// let column: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
/// assert!(Arc::ptr_eq(&select(&column, None)?, &column));
/// assert_eq!(select(&column, Some(&[2]))?.len(), 1);
/// # Ok::<(), KernelError>(())
/// ```
pub fn select(column: &ArrayRef, positions: Option<&[u32]>) -> Result<ArrayRef, KernelError> {
    match positions {
        None => Ok(Arc::clone(column)),
        Some(positions) => {
            let picks = Picks::new(positions).asking_ahead();
            picks.check_known(column.len())?;
            picks.gather(column)
        }
    }
}

/// Says whether positions are `0, 1, 2, …, rows - 1`, so that a selection may pass columns
/// through. Under 0.3 ns a row, and it stops at the first row out of place.
///
/// ```
/// use fletching_kernels::gather::is_identity;
/// assert!(is_identity(&[0, 1, 2], 3));
/// assert!(!is_identity(&[0, 2, 1], 3) && !is_identity(&[0, 1], 3));
/// ```
#[must_use]
pub fn is_identity(positions: &[u32], rows: usize) -> bool {
    positions.len() == rows
        && positions
            .iter()
            .zip(0_u32..)
            .all(|(position, row)| *position == row)
}
