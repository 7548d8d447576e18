//! Chains: the rows of one key, in ascending order.
//!
//! A table names the first row of each key; `next[row]` names the following one. The vector
//! exists only where some key has more than one row. Rows are linked from the last to the first,
//! so a new row always becomes the head and no tail has to be found:
//!
//! ```text
//!   keys  a b a a        heads  a → 0, b → 1
//!   rows  0 1 2 3        next   [2, -, 3, -]
//! ```

use crate::{NO_ROW, RowId};

/// Collects the chains while an index is built, rows in descending order.
#[derive(Debug)]
pub(crate) struct Chains {
    rows: usize,
    keys: usize,
    next: Option<Vec<RowId>>,
    duplicates: usize,
    first_duplicate: Option<(RowId, RowId)>,
}

impl Chains {
    /// Starts without chains for a table of so many rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            rows,
            keys: 0,
            next: None,
            duplicates: 0,
            first_duplicate: None,
        }
    }

    /// Counts a key seen for the first time.
    #[inline(always)]
    pub(crate) fn count_key(&mut self) {
        self.keys += 1;
    }

    /// Counts several.
    pub(crate) fn count_keys(&mut self, keys: usize) {
        self.keys += keys;
    }

    /// Puts `row` before `head`, which until now was the first row of its key.
    #[inline]
    pub(crate) fn link(&mut self, row: RowId, head: RowId) {
        let rows = self.rows;
        let next = self.next.get_or_insert_with(|| vec![NO_ROW; rows]);
        next[row as usize] = head;
        self.duplicates += 1;
        // The pair with the lowest row, whatever order partitions finish in.
        if self.first_duplicate.is_none_or(|(first, _)| row < first) {
            self.first_duplicate = Some((row, head));
        }
    }

    /// Returns the number of distinct keys.
    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// Returns the number of rows beyond the first of their key.
    pub(crate) fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// Returns the first row that shares its key with a later one, and that one.
    pub(crate) fn first_duplicate(&self) -> Option<(RowId, RowId)> {
        self.first_duplicate
    }

    /// Returns the row after `row` in its chain.
    #[inline(always)]
    pub(crate) fn next(&self, row: RowId) -> RowId {
        match &self.next {
            Some(next) => next.get(row as usize).copied().unwrap_or(NO_ROW),
            None => NO_ROW,
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.next
            .as_ref()
            .map_or(0, |next| next.capacity() * size_of::<RowId>())
    }
}

#[cfg(test)]
mod tests {
    use super::Chains;
    use crate::NO_ROW;

    #[test]
    fn ascends_and_remembers_the_lowest_duplicate() {
        let mut chains = Chains::new(4);
        assert_eq!(chains.next(0), NO_ROW);
        chains.link(2, 3);
        chains.link(0, 2);
        assert_eq!(
            [0, 1, 2, 3, 9].map(|row| chains.next(row)),
            [2, NO_ROW, 3, NO_ROW, NO_ROW]
        );
        assert_eq!(chains.first_duplicate(), Some((0, 2)));
        assert_eq!(chains.duplicates(), 2);
    }
}
