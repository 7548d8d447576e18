//! Star joins: one stream against several tables in one operator.
//!
//! Table after table (an *arm* each) is located and the selection of probe rows narrowed; only
//! row ids move, no column does. The caller gathers once, from the rows it is given at the end.
//!
//! ```text
//!                 arm 0            arm 1            arm 2
//!   probe rows ──► heads ──┬─► ≤ limit rows ──┬─► ≤ limit rows ──► emit
//!                          │                  └─► ≤ limit rows ──► emit
//!                          └─► ≤ limit rows ──┬─► …
//! ```
//!
//! The walk is depth first: an arm with many matches a row is left half way while its first
//! chunk runs through the arms after it. So one chunk an arm is held, however the arms multiply.
//!
//! - `finder.rs`: how an arm finds its rows.
//! - `found.rs`: which rows of an arm were found, and where.
//! - `rows.rs`: joined rows as lists of row ids, and how they narrow and widen.
//! - `walk.rs`: the walk itself.

mod finder;
mod found;
mod rows;
mod walk;

use arrow_array::{ArrayRef, BooleanArray};

pub use self::finder::StarFinder;
pub use self::rows::StarRows;
pub use self::walk::{star_join, star_join_from};

use crate::{JoinKind, KernelError};

/// Names how an arm joins; the probe side is the rows joined so far.
///
/// ```
/// use fletching_kernels::{JoinKind, StarKind};
/// assert_eq!(JoinKind::from(StarKind::Left), JoinKind::Left);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StarKind {
    /// A row for each match.
    Inner,
    /// A row for each match, and one padded where there is none.
    Left,
    /// The row itself, once, where there is a match.
    LeftSemi,
    /// The row itself, once, where there is none.
    LeftAnti,
}

impl StarKind {
    /// Says whether the arm adds row ids to the joined rows.
    ///
    /// ```
    /// assert!(!fletching_kernels::StarKind::LeftSemi.emits_build());
    /// ```
    #[must_use]
    pub fn emits_build(self) -> bool {
        matches!(self, Self::Inner | Self::Left)
    }
}

impl From<StarKind> for JoinKind {
    fn from(kind: StarKind) -> Self {
        match kind {
            StarKind::Inner => Self::Inner,
            StarKind::Left => Self::Left,
            StarKind::LeftSemi => Self::LeftSemi,
            StarKind::LeftAnti => Self::LeftAnti,
        }
    }
}

/// One table of a star join.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array};
/// use fletching_kernels::{BuildOptions, KernelError, KeyIndex, StarArm, StarFinder, StarKind};
/// let keys: ArrayRef = Arc::new(Int64Array::from(vec![1]));
/// let index = KeyIndex::build(&[keys], &BuildOptions::default())?;
/// let arm = StarArm { finder: StarFinder::Key(&index), kind: StarKind::Inner };
/// assert!(arm.finder.is_unique());
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct StarArm<'a> {
    /// How it finds a probe row's matches.
    pub finder: StarFinder<'a>,
    /// How it joins.
    pub kind: StarKind,
}

/// Gives a star join its keys and residual conditions; see [`star_join`] for an example.
///
/// For each chunk of rows and each arm, calls come in this order:
///
/// ```text
///   keys(arm, rows) ──► located(arm, rows, heads) ──► has_residual(arm) ──► residual(arm, candidates) …
///                   ──► missed(arm, rows, positions), where watches(arm) ──► keys(arm + 1, …)
/// ```
pub trait StarProbe {
    /// What keys and residuals may fail with.
    type Error: From<KernelError>;

    /// Returns the key columns of an arm, one value for each row of `rows`; of an arm that joins
    /// as of a time, the time comes last.
    ///
    /// Arms before `arm` are located, so keys may come from their tables (a snowflake): gather
    /// them with `rows.arms`, where [`NO_ROW`](crate::NO_ROW) stands for a padded row.
    ///
    /// # Errors
    ///
    /// Whatever stands against computing them; it ends the join.
    fn keys(&mut self, arm: usize, rows: &StarRows) -> Result<Vec<ArrayRef>, Self::Error>;

    /// Says whether an arm joins by the very keys, and the time, of an earlier one: computed by the
    /// same expressions, so that for the same rows they are the same values. As-of arms that share an
    /// index are then located in one walk.
    fn shares_keys(&self, arm: usize, with: usize) -> bool {
        let _ = (arm, with);
        false
    }

    /// Says whether an arm has a residual condition.
    fn has_residual(&self, arm: usize) -> bool;

    /// Returns which candidates pass an arm's residual condition; NULL counts as false, and no
    /// answer as true for all. Arms up to and with `arm` are filled in `candidates`.
    ///
    /// # Errors
    ///
    /// Whatever stands against judging them; it ends the join.
    fn residual(&mut self, arm: usize, candidates: &StarRows) -> Result<Option<BooleanArray>, Self::Error>;

    /// Is told of so many keys of an arm that were looked up, and how many of them are missing from the
    /// table, before any residual condition is asked.
    ///
    /// # Errors
    ///
    /// Whatever makes the join pointless; it ends the join.
    fn located(&mut self, arm: usize, keys: usize, missing: usize) -> Result<(), Self::Error> {
        let _ = (arm, keys, missing);
        Ok(())
    }

    /// Says whether [`missed`](Self::missed) wants to see the rows of an INNER or LEFT arm that
    /// no row of the table is joined to. Costs a pass over the arm's row ids.
    fn watches(&self, arm: usize) -> bool {
        let _ = arm;
        false
    }

    /// Is told which of `rows`, by ascending position, have no match in a watched arm, its
    /// residual condition counted in, before they are padded or dropped. Each is told once.
    ///
    /// # Errors
    ///
    /// Whatever a miss may mean; it ends the join.
    fn missed(&mut self, arm: usize, rows: &StarRows, positions: &[u32]) -> Result<(), Self::Error> {
        let _ = (arm, rows, positions);
        Ok(())
    }
}
