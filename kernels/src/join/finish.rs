//! Finishing: the table rows a join owes after its last probe batch.

use super::{JoinKind, JoinPairs, VisitedRows};
use crate::NO_ROW;

/// Remembers up to which table row [`finish_pairs`] has emitted; starts at the first.
///
/// ```
/// let cursor = fletching_kernels::TableCursor::default();
/// assert_eq!(cursor.row(), 0);
/// ```
#[derive(Debug, Clone, Default)]
pub struct TableCursor {
    row: usize,
}

impl TableCursor {
    /// Returns the next table row to look at.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::TableCursor::default().row(), 0);
    /// ```
    #[must_use]
    pub fn row(&self) -> usize {
        self.row
    }
}

/// Emits the next table rows due at the end of a join and returns whether that was all.
///
/// `Right`, `Full` and `RightAnti` emit the rows never visited, `RightSemi` those visited, in
/// ascending order, at most `limit` (taken as 1 where it is 0) a call; the other kinds owe
/// nothing. `out` is cleared first. For `Right` and `Full` its probe side holds
/// [`NO_ROW`] for each row; for the others it is empty.
///
/// Call it once all batches have been probed, from one thread.
///
/// ```
/// use fletching_kernels::{JoinKind, JoinPairs, NO_ROW, TableCursor, VisitedRows, finish_pairs};
/// let visited = VisitedRows::new(4);
/// visited.mark(1);
/// let (mut cursor, mut out) = (TableCursor::default(), JoinPairs::default());
/// assert!(!finish_pairs(JoinKind::Right, &visited, &mut cursor, 2, &mut out));
/// assert_eq!(out, JoinPairs { probe: vec![NO_ROW; 2], build: vec![0, 2] });
/// assert!(finish_pairs(JoinKind::Right, &visited, &mut cursor, 2, &mut out));
/// assert_eq!(out.build, [3]);
/// ```
pub fn finish_pairs(
    kind: JoinKind,
    visited: &VisitedRows,
    cursor: &mut TableCursor,
    limit: usize,
    out: &mut JoinPairs,
) -> bool {
    out.clear();
    let limit = limit.max(1);
    cursor.row = match kind {
        JoinKind::Right | JoinKind::Full | JoinKind::RightAnti => {
            visited.unvisited(cursor.row, limit, &mut out.build)
        }
        JoinKind::RightSemi => visited.visited(cursor.row, limit, &mut out.build),
        JoinKind::Inner | JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti => visited.len(),
    };
    if kind.pads_build() {
        out.probe.resize(out.build.len(), NO_ROW);
    }
    cursor.row >= visited.len()
}
