//! Join pairs: from the heads of a probe to (probe position, row id) pairs, a chunk at a time.
//!
//! Left is the probe side (the stream), right the build side (the table), as in
//! `FROM stream LEFT JOIN table`. A chunk holds at most `limit` pairs, so a probe row with a
//! million matches costs no more memory than one with none; a [`ProbeCursor`] remembers where
//! the next chunk resumes. Joins that emit table rows mark them in [`VisitedRows`], and
//! [`finish_pairs`] emits what is left after the last probe batch.

mod finish;
mod pairs;
mod residual;
mod visited;

pub use self::finish::{TableCursor, finish_pairs};
pub use self::pairs::{ProbeCursor, Residual, join_pairs};
pub use self::visited::VisitedRows;

use crate::{KeyIndex, RowId};

/// Names a join. Left is the probe side (the stream), right the build side (the table).
///
/// | kind | a pair per match | unmatched probe rows | unmatched table rows |
/// |---|---|---|---|
/// | `Inner` | yes | | |
/// | `Left` | yes | padded | |
/// | `Right` | yes | | padded, at the end |
/// | `Full` | yes | padded | padded, at the end |
/// | `LeftSemi` | no: each matched probe row once | | |
/// | `LeftAnti` | no | once | |
/// | `RightSemi` | no: each matched table row once, at the end | | |
/// | `RightAnti` | no | | once, at the end |
///
/// ```
/// use fletching_kernels::JoinKind;
/// assert!(JoinKind::Full.pads_probe() && JoinKind::Full.needs_visited());
/// assert!(!JoinKind::LeftSemi.emits_pairs());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// Pairs that match.
    Inner,
    /// Pairs that match, and unmatched probe rows padded.
    Left,
    /// Pairs that match, and unmatched table rows padded.
    Right,
    /// Pairs that match, and unmatched rows of both sides padded.
    Full,
    /// Probe rows with a match.
    LeftSemi,
    /// Probe rows without one.
    LeftAnti,
    /// Table rows with a match.
    RightSemi,
    /// Table rows without one.
    RightAnti,
}

impl JoinKind {
    /// All kinds, in the order of their definition.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::JoinKind::ALL.len(), 8);
    /// ```
    pub const ALL: [Self; 8] = [
        Self::Inner,
        Self::Left,
        Self::Right,
        Self::Full,
        Self::LeftSemi,
        Self::LeftAnti,
        Self::RightSemi,
        Self::RightAnti,
    ];

    /// Says whether unmatched probe rows are emitted with [`NO_ROW`](crate::NO_ROW).
    ///
    /// ```
    /// assert!(fletching_kernels::JoinKind::Left.pads_probe());
    /// ```
    #[must_use]
    pub fn pads_probe(self) -> bool {
        matches!(self, Self::Left | Self::Full)
    }

    /// Says whether unmatched table rows are emitted padded at the end.
    ///
    /// ```
    /// assert!(fletching_kernels::JoinKind::Right.pads_build());
    /// ```
    #[must_use]
    pub fn pads_build(self) -> bool {
        matches!(self, Self::Right | Self::Full)
    }

    /// Says whether matches must be remembered in [`VisitedRows`] for [`finish_pairs`].
    ///
    /// ```
    /// assert!(fletching_kernels::JoinKind::RightAnti.needs_visited());
    /// ```
    #[must_use]
    pub fn needs_visited(self) -> bool {
        matches!(self, Self::Right | Self::Full | Self::RightSemi | Self::RightAnti)
    }

    /// Says whether each match is emitted as a pair; semi and anti joins emit rows of one side.
    ///
    /// ```
    /// assert!(!fletching_kernels::JoinKind::RightSemi.emits_pairs());
    /// ```
    #[must_use]
    pub fn emits_pairs(self) -> bool {
        matches!(self, Self::Inner | Self::Left | Self::Right | Self::Full)
    }

    /// Says whether output has columns of the probe side.
    ///
    /// ```
    /// assert!(!fletching_kernels::JoinKind::RightSemi.emits_probe());
    /// ```
    #[must_use]
    pub fn emits_probe(self) -> bool {
        !matches!(self, Self::RightSemi | Self::RightAnti)
    }

    /// Says whether output has columns of the build side.
    ///
    /// ```
    /// assert!(!fletching_kernels::JoinKind::LeftAnti.emits_build());
    /// ```
    #[must_use]
    pub fn emits_build(self) -> bool {
        !matches!(self, Self::LeftSemi | Self::LeftAnti)
    }
}

/// What a join asks of an index once it has the heads of a probe batch: whether more rows follow
/// one of them, and how many rows there are.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array};
/// use fletching_kernels::{BuildOptions, KernelError, KeyIndex, RowChains};
///
/// fn last_row(index: &impl RowChains, head: u32) -> u32 {
///     match index.next_row(head) {
///         fletching_kernels::NO_ROW => head,
///         next => last_row(index, next),
///     }
/// }
/// let keys: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
/// let index = KeyIndex::build(&[keys], &BuildOptions::default())?;
/// assert_eq!(last_row(&index, 0), 2);
/// # Ok::<(), KernelError>(())
/// ```
pub trait RowChains {
    /// Returns the number of rows; row ids are below it.
    fn row_count(&self) -> usize;

    /// Says whether a probe row has one match at most.
    fn is_unique(&self) -> bool;

    /// Returns the row after `row` that matches the same probe rows, or
    /// [`NO_ROW`](crate::NO_ROW).
    fn next_row(&self, row: RowId) -> RowId;

    /// Returns how many of these rows are known to have consecutive ids from `row` on, itself
    /// counted: at least one, and fewer than there are where that would take a walk.
    fn run(&self, row: RowId) -> u32 {
        let _ = row;
        1
    }

    /// Has what follows some rows brought into the caches, where that is a walk through memory. A hint: the
    /// chains that these rows begin are followed next, one after the other.
    fn ask_chains(&self, rows: &[RowId]) {
        let _ = rows;
    }
}

impl RowChains for KeyIndex {
    fn row_count(&self) -> usize {
        KeyIndex::row_count(self)
    }

    fn is_unique(&self) -> bool {
        KeyIndex::is_unique(self)
    }

    #[inline(always)]
    fn next_row(&self, row: RowId) -> RowId {
        KeyIndex::next_row(self, row)
    }

    #[inline(always)]
    fn run(&self, row: RowId) -> u32 {
        KeyIndex::run(self, row)
    }

    fn ask_chains(&self, rows: &[RowId]) {
        KeyIndex::ask_chains(self, rows);
    }
}

/// Holds joined rows as two lists of equal length: positions of the probe side, row ids of the
/// build side. [`NO_ROW`](crate::NO_ROW) pads either; a list whose side is not in the output
/// (semi and anti joins) is empty.
///
/// ```
/// use fletching_kernels::{JoinPairs, NO_ROW};
/// let pairs = JoinPairs { probe: vec![0, 1, 1], build: vec![NO_ROW, 4, 9] };
/// assert_eq!(pairs.len(), 3);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinPairs {
    /// Positions of probe rows: indexes into the heads the pairs were made from.
    pub probe: Vec<u32>,
    /// Row ids of the build side.
    pub build: Vec<RowId>,
}

impl JoinPairs {
    /// Returns the number of joined rows.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::JoinPairs::default().len(), 0);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.probe.len().max(self.build.len())
    }

    /// Says whether there are none.
    ///
    /// ```
    /// assert!(fletching_kernels::JoinPairs::default().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes all, keeping the room.
    ///
    /// ```
    /// let mut pairs = fletching_kernels::JoinPairs { probe: vec![1], build: vec![2] };
    /// pairs.clear();
    /// assert!(pairs.is_empty());
    /// ```
    pub fn clear(&mut self) {
        self.probe.clear();
        self.build.clear();
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, probe: u32, build: RowId) {
        self.probe.push(probe);
        self.build.push(build);
    }
}
