//! Finders: how an arm of a star join finds the rows of its table.

use arrow_array::ArrayRef;

use crate::{KernelError, KeyIndex, LiveSnapshot, RowChains, RowId};

/// Finds the rows of an arm's table: all those of a key, or the one of a table that changes.
///
/// Another kind of index joins the star as another variant here. It locates heads, and says with
/// [`RowChains`] what follows them; the walk asks nothing else of it.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use fletching_kernels::{KernelError, LiveOptions, LiveTable, StarFinder};
///
/// let id: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 1]));
/// let rows = RecordBatch::try_from_iter([("id", id)])?;
/// let table = LiveTable::new(rows.schema(), &[0], LiveOptions::default())?;
/// table.upsert(&rows)?;
/// let snapshot = table.snapshot();
/// assert!(StarFinder::Live(&snapshot).is_unique());
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub enum StarFinder<'a> {
    /// Every row of the key.
    Key(&'a KeyIndex),
    /// The one row of the key in a version of a table that changes.
    Live(&'a LiveSnapshot),
}

impl StarFinder<'_> {
    /// Locates for each probe row its first match, or [`NO_ROW`](crate::NO_ROW). `heads` is cleared
    /// and filled. Costs what the index's own `locate` does.
    ///
    /// # Errors
    ///
    /// What [`KeyIndex::locate`] and [`LiveSnapshot::locate`] refuse.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array};
    /// use fletching_kernels::{BuildOptions, KernelError, KeyIndex, StarFinder};
    ///
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![5, 6]));
    /// let index = KeyIndex::build(&[keys.clone()], &BuildOptions::default())?;
    /// let mut heads = Vec::new();
    /// StarFinder::Key(&index).locate(&[keys], &mut heads)?;
    /// assert_eq!(heads, [0, 1]);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn locate(&self, keys: &[ArrayRef], heads: &mut Vec<RowId>) -> Result<(), KernelError> {
        match self {
            Self::Key(index) => index.locate(keys, None, heads),
            Self::Live(snapshot) => snapshot.locate(keys, None, heads),
        }
    }

    /// Says whether a probe row has one match at most.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use arrow_array::{ArrayRef, Int64Array};
    /// # use fletching_kernels::{BuildOptions, KernelError, KeyIndex, StarFinder};
    /// let keys: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
    /// let index = KeyIndex::build(&[keys], &BuildOptions::default())?;
    /// assert!(!StarFinder::Key(&index).is_unique());
    /// # Ok::<(), KernelError>(())
    /// ```
    #[must_use]
    pub fn is_unique(&self) -> bool {
        match self {
            Self::Key(index) => index.is_unique(),
            Self::Live(snapshot) => snapshot.is_unique(),
        }
    }
}
