//! Finders: how an arm of a star join finds the rows of its table.

use std::sync::Arc;

use arrow_array::ArrayRef;

use super::StarArm;
use crate::{AsOfCondition, AsOfIndex, KernelError, KeyIndex, LiveSnapshot, RowChains, RowId};

/// Finds the rows of an arm's table: all those of a key, the one of a table that changes, or the one
/// of a key as of a time.
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
    /// The one row of the key in a version of a table that changes.
    Live(&'a LiveSnapshot),
    /// The one row of the key that is nearest in time: the last of the arm's key columns.
    AsOf(&'a AsOfIndex, AsOfCondition),
}

impl StarFinder<'_> {
    /// Locates for each probe row its first match, or [`NO_ROW`](crate::NO_ROW). `heads` is cleared
    /// and filled. Costs what the index's own `locate` does.
    ///
    /// # Errors
    ///
    /// What [`KeyIndex::locate`], [`LiveSnapshot::locate`] and [`AsOfIndex::locate`] refuse, and
    /// [`KernelError::KeyCount`] for an as-of index without a time column.
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
            (Self::Live(snapshot), keys) => snapshot.locate(keys, None, heads),
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
            Self::Live(snapshot) => snapshot.is_unique(),
            Self::AsOf(index, _) => index.is_unique(),
        }
    }
}

/// What is known of as-of arms before they are reached: rows that an earlier one's walk has found
/// for them too, and the groups of its keys, where only the times differ.
#[derive(Default)]
pub(super) struct KnownHeads<'a> {
    /// Of an index and keys the groups.
    last: Option<(&'a AsOfIndex, Vec<ArrayRef>)>,
    groups: Vec<RowId>,
    /// Of the arms to come the heads, the last one's first.
    found: Vec<Vec<RowId>>,
}

impl<'a> KnownHeads<'a> {
    /// Forgets what was found for the rows so far: they are others now.
    pub(super) fn forget(&mut self) {
        self.found.clear();
    }

    /// Returns the heads of the arm that is reached now, where they are known.
    pub(super) fn take(&mut self) -> Option<Vec<RowId>> {
        self.found.pop()
    }

    /// Locates as [`StarFinder::locate`] does, and for the same rows by the conditions of the arms
    /// after it that `alike` gives. `later` are the arms that may ask for the same keys again.
    pub(super) fn locate(
        &mut self,
        finder: StarFinder<'a>,
        keys: &[ArrayRef],
        alike: &[AsOfCondition],
        later: &[StarArm<'a>],
    ) -> Result<Vec<RowId>, KernelError> {
        let mut heads = Vec::new();
        let (StarFinder::AsOf(index, condition), [keys @ .., time]) = (finder, keys) else {
            finder.locate(keys, &mut heads)?;
            return Ok(heads);
        };
        let are_same = |known: &[ArrayRef]| {
            let mut pairs = known.iter().zip(keys);
            known.len() == keys.len() && pairs.all(|(known, key)| Arc::ptr_eq(known, key))
        };
        let is_known = |(of, known): &(&AsOfIndex, Vec<ArrayRef>)| {
            std::ptr::eq(*of, index) && are_same(known) && self.groups.len() == time.len()
        };
        if self.last.as_ref().is_some_and(is_known) {
            heads.extend_from_slice(&self.groups);
        } else {
            index.locate_groups(keys, time.len(), &mut heads)?;
            self.last = None;
            let is_wanted = |arm: &StarArm<'_>| matches!(arm.finder, StarFinder::AsOf(other, _) if std::ptr::eq(other, index));
            if later.iter().skip(alike.len()).any(is_wanted) {
                self.groups.clone_from(&heads);
                self.last = Some((index, keys.to_vec()));
            }
        }
        let conditions: Vec<_> = std::iter::once(condition).chain(alike.iter().copied()).collect();
        let mut found = index.locate_each_in_groups(time, &conditions, &heads)?;
        found.reverse();
        let own = found.pop().unwrap_or_default();
        self.found = found;
        Ok(own)
    }
}
