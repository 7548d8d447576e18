//! Visited rows: which table rows have met a match, shared by all probing threads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::RowId;

/// Remembers table rows in one bit each.
///
/// Threads mark through a shared reference. Marks are relaxed: read them after the probing
/// threads were joined (as rayon and channels do), not while they run.
///
/// ```
/// use fletching_kernels::VisitedRows;
/// let visited = VisitedRows::new(100);
/// visited.mark(3);
/// visited.mark(70);
/// assert!(visited.contains(70) && !visited.contains(4));
/// assert_eq!(visited.count(), 2);
///
/// let mut rows = Vec::new();
/// let next = visited.visited(0, 1, &mut rows);
/// assert_eq!((rows.as_slice(), next), ([3].as_slice(), 4));
/// ```
#[derive(Debug, Default)]
pub struct VisitedRows {
    words: Vec<AtomicU64>,
    rows: usize,
}

impl VisitedRows {
    /// Makes a set over row ids `0..rows`, none of them visited. One bit a row.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::VisitedRows::new(9).len(), 9);
    /// ```
    #[must_use]
    pub fn new(rows: usize) -> Self {
        let words = (0..rows.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { words, rows }
    }

    /// Returns the number of rows it can remember.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::VisitedRows::new(9).len(), 9);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Says whether that number is zero.
    ///
    /// ```
    /// assert!(fletching_kernels::VisitedRows::new(0).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Marks a row. Ids past the end, [`NO_ROW`](crate::NO_ROW) among them, are ignored.
    ///
    /// ```
    /// let visited = fletching_kernels::VisitedRows::new(9);
    /// visited.mark(8);
    /// visited.mark(fletching_kernels::NO_ROW);
    /// assert_eq!(visited.count(), 1);
    /// ```
    #[inline]
    pub fn mark(&self, row: RowId) {
        if (row as usize) < self.rows
            && let Some(word) = self.words.get(row as usize / 64)
        {
            let bit = 1 << (row % 64);
            // Most rows of a hot table are marked already: a read leaves the line shared.
            if word.load(Ordering::Relaxed) & bit == 0 {
                word.fetch_or(bit, Ordering::Relaxed);
            }
        }
    }

    /// Says whether a row was marked.
    ///
    /// ```
    /// assert!(!fletching_kernels::VisitedRows::new(9).contains(8));
    /// ```
    #[must_use]
    #[inline]
    pub fn contains(&self, row: RowId) -> bool {
        self.words
            .get(row as usize / 64)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (row % 64) & 1 == 1)
    }

    /// Returns the number of rows marked.
    ///
    /// ```
    /// assert_eq!(fletching_kernels::VisitedRows::new(9).count(), 0);
    /// ```
    #[must_use]
    pub fn count(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.load(Ordering::Relaxed).count_ones() as usize)
            .sum()
    }

    /// Appends up to `limit` marked rows from row `from` on, ascending, and returns the row to
    /// go on from; it is at least [`len`](Self::len) when there are no more.
    ///
    /// ```
    /// let visited = fletching_kernels::VisitedRows::new(9);
    /// visited.mark(5);
    /// let mut rows = Vec::new();
    /// assert_eq!(visited.visited(0, 10, &mut rows), 9);
    /// assert_eq!(rows, [5]);
    /// ```
    pub fn visited(&self, from: usize, limit: usize, rows: &mut Vec<RowId>) -> usize {
        self.scan(from, limit, 0, rows)
    }

    /// Appends up to `limit` rows that were not marked, as [`visited`](Self::visited) does.
    ///
    /// ```
    /// let visited = fletching_kernels::VisitedRows::new(4);
    /// visited.mark(1);
    /// let mut rows = Vec::new();
    /// visited.unvisited(0, 10, &mut rows);
    /// assert_eq!(rows, [0, 2, 3]);
    /// ```
    pub fn unvisited(&self, from: usize, limit: usize, rows: &mut Vec<RowId>) -> usize {
        self.scan(from, limit, u64::MAX, rows)
    }

    #[expect(clippy::cast_possible_truncation, reason = "row ids are below the row count")]
    fn scan(&self, from: usize, limit: usize, flip: u64, rows: &mut Vec<RowId>) -> usize {
        let mut left = limit;
        let mut keep = u64::MAX << (from % 64);
        for at in from / 64..self.words.len() {
            let mut bits = (self.words[at].load(Ordering::Relaxed) ^ flip) & keep;
            keep = u64::MAX;
            while bits != 0 {
                let row = at * 64 + bits.trailing_zeros() as usize;
                if row >= self.rows {
                    break;
                }
                if left == 0 {
                    return row;
                }
                rows.push(row as RowId);
                left -= 1;
                bits &= bits - 1;
                if left == 0 && row + 1 < self.rows {
                    return row + 1;
                }
            }
        }
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::VisitedRows;

    #[test]
    fn scans_in_chunks_without_loss() {
        for rows in [0_u32, 1, 63, 64, 65, 200] {
            let visited = VisitedRows::new(rows as usize);
            (0..rows)
                .filter(|row| row % 3 == 0)
                .for_each(|row| visited.mark(row));
            for limit in [1, 2, 7, 64, 1000] {
                let (mut found, mut from) = (Vec::new(), 0);
                while from < rows as usize {
                    from = visited.unvisited(from, limit, &mut found);
                }
                let expected: Vec<u32> = (0..rows).filter(|row| row % 3 != 0).collect();
                assert_eq!(found, expected, "{rows} rows, limit {limit}");
            }
        }
    }
}
