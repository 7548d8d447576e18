//! Finders: how an arm of a star join finds the rows of its table.

use arrow_array::ArrayRef;

use crate::{AsOfCondition, AsOfIndex, KernelError, KeyIndex, RowChains, RowId};

/// Finds the rows of an arm's table: all those of a key, or the one of a key as of a time.
///
/// Another kind of index joins the star as another variant here. It locates heads, and says with
/// [`RowChains`] what follows them; the walk asks nothing else of it.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array};
/// use fletching_kernels::{AsOfIndex, AsOfOp, BuildOptions, KernelError, StarFinder};
///
/// let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
/// let index = AsOfIndex::build(&[column.clone()], &column, &BuildOptions::default())?;
/// assert!(StarFinder::AsOf(&index, AsOfOp::AtOrBefore.into()).is_unique());
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub enum StarFinder<'a> {
    /// Every row of the key.
    Key(&'a KeyIndex),
    /// The one row of the key that is nearest in time: the last of the arm's key columns.
    AsOf(&'a AsOfIndex, AsOfCondition),
}

impl StarFinder<'_> {
    /// Locates for each probe row its first match, or [`NO_ROW`](crate::NO_ROW). `heads` is cleared
    /// and filled. Costs what the index's own `locate` does.
    ///
    /// # Errors
    ///
    /// What [`KeyIndex::locate`] and [`AsOfIndex::locate`] refuse, and [`KernelError::KeyCount`]
    /// for an as-of index without a time column.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int64Array};
    /// use fletching_kernels::{AsOfIndex, AsOfOp, BuildOptions, KernelError, StarFinder};
    ///
    /// let column: ArrayRef = Arc::new(Int64Array::from(vec![5, 6]));
    /// let index = AsOfIndex::build(&[column.clone()], &column, &BuildOptions::default())?;
    /// let finder = StarFinder::AsOf(&index, AsOfOp::AtOrBefore.into());
    /// let mut heads = Vec::new();
    /// finder.locate(&[column.clone(), column], &mut heads)?;
    /// assert_eq!(heads, [0, 1]);
    /// # Ok::<(), KernelError>(())
    /// ```
    pub fn locate(&self, keys: &[ArrayRef], heads: &mut Vec<RowId>) -> Result<(), KernelError> {
        match (self, keys) {
            (Self::Key(index), keys) => index.locate(keys, None, heads),
            (Self::AsOf(index, condition), [keys @ .., time]) => index.locate(keys, time, condition, heads),
            (Self::AsOf(..), []) => Err(KernelError::KeyCount {
                expected: 1,
                found: 0,
            }),
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
            Self::AsOf(index, _) => index.is_unique(),
        }
    }
}
