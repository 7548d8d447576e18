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
//!
//! Where the rows of a key lie side by side, a bit says of each row whether the next one follows it.

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};

use crate::prefetch::prefetch;
use crate::{NO_ROW, RowId};

/// Chains that are followed side by side, and how many rows of each.
const ASKED_AT_ONCE: usize = 64;
const ASKED_ROWS_MAX: usize = 16;

/// Links of fewer bytes are in a cache anyway.
const ASKED_BYTES_MIN: usize = 512 << 10;

/// Collects the chains while an index is built, rows in descending order.
#[derive(Debug)]
pub(crate) struct Chains {
    rows: usize,
    keys: usize,
    links: Links,
    duplicates: usize,
    first_duplicate: Option<(RowId, RowId)>,
}

/// How rows lead to the next one of their key.
#[derive(Debug)]
enum Links {
    /// Nowhere: every key has one row.
    None,
    /// Each row to the row named here.
    Next(Vec<RowId>),
    /// Each row whose bit is set to the one beside it.
    Beside(Vec<u64>),
}

impl Chains {
    /// Starts without chains for a table of so many rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            rows,
            keys: 0,
            links: Links::None,
            duplicates: 0,
            first_duplicate: None,
        }
    }

    /// Makes the chains of keys that have one row each.
    pub(crate) fn of_keys(keys: usize) -> Self {
        Self {
            keys,
            ..Self::new(keys)
        }
    }

    /// Makes the chains of rows that lie side by side, by a bit for each row that goes on.
    pub(crate) fn of_runs(keys: usize, duplicates: usize, goes_on: Vec<u64>) -> Self {
        Self {
            keys,
            duplicates,
            links: Links::Beside(goes_on),
            ..Self::new(keys + duplicates)
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
        if matches!(self.links, Links::None) {
            self.links = Links::Next(vec![NO_ROW; rows]);
        }
        if let Links::Next(next) = &mut self.links {
            next[row as usize] = head;
        }
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
        match &self.links {
            Links::None => NO_ROW,
            Links::Next(next) => next.get(row as usize).copied().unwrap_or(NO_ROW),
            Links::Beside(goes_on) => {
                let bits = goes_on.get(row as usize / 64).copied().unwrap_or(0);
                if bits >> (row % 64) & 1 == 1 {
                    row + 1
                } else {
                    NO_ROW
                }
            }
        }
    }

    /// Has the chains of some rows brought into the caches: of all of them the next row, then the one after it.
    /// A chain by itself is one miss after another, of which each names the place of the next.
    pub(crate) fn ask(&self, rows: &[RowId]) {
        let Links::Next(next) = &self.links else {
            return;
        };
        if size_of_val(next.as_slice()) < ASKED_BYTES_MIN {
            return;
        }
        for rows in rows.chunks(ASKED_AT_ONCE) {
            let mut at = [NO_ROW; ASKED_AT_ONCE];
            at[..rows.len()].copy_from_slice(rows);
            for _ in 0..ASKED_ROWS_MAX {
                at.iter().for_each(|row| prefetch(next, *row as usize));
                let mut ended = true;
                for row in &mut at {
                    *row = next.get(*row as usize).copied().unwrap_or(NO_ROW);
                    ended &= *row == NO_ROW;
                }
                if ended {
                    break;
                }
            }
        }
    }

    /// Returns how many rows of one key lie side by side from `row` on, itself counted, as far as
    /// that is known without a walk.
    #[inline(always)]
    pub(crate) fn run(&self, row: RowId) -> u32 {
        let Links::Beside(goes_on) = &self.links else {
            return 1;
        };
        let mut next = row;
        loop {
            let bits = goes_on.get(next as usize / 64).copied().unwrap_or(0);
            let at = next % 64;
            let ones = (bits >> at).trailing_ones();
            next += ones;
            if at + ones < 64 {
                return next - row + 1;
            }
        }
    }

    /// Returns which rows follow another one of their key; nothing where none does.
    pub(crate) fn later_rows(&self) -> Option<BooleanBuffer> {
        if self.duplicates == 0 {
            return None;
        }
        let mut later = BooleanBufferBuilder::new(self.rows);
        later.append_n(self.rows, false);
        for row in 0..self.rows {
            match self.next(RowId::try_from(row).unwrap_or(NO_ROW)) {
                NO_ROW => {}
                next => later.set_bit(next as usize, true),
            }
        }
        Some(later.finish())
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.links {
            Links::None => 0,
            Links::Next(next) => next.capacity() * size_of::<RowId>(),
            Links::Beside(goes_on) => goes_on.capacity() * size_of::<u64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ASKED_AT_ONCE, ASKED_BYTES_MIN, Chains};
    use crate::{NO_ROW, RowId};

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

    #[test]
    fn any_rows_may_be_asked_for() {
        let mut chains = Chains::new(ASKED_BYTES_MIN);
        chains.ask(&[0]);
        // One chain of every row, which is longer than is followed.
        let rows = RowId::try_from(ASKED_BYTES_MIN).unwrap();
        (1..rows).rev().for_each(|row| chains.link(row - 1, row));
        let odd_ones = [NO_ROW, 0, rows - 1, rows, NO_ROW - 1];
        let many: Vec<RowId> = odd_ones.into_iter().cycle().take(3 * ASKED_AT_ONCE + 1).collect();
        for rows in [&many[..0], &many[..1], &many[..5], &many] {
            chains.ask(rows);
        }
        assert_eq!([0, rows - 1].map(|row| chains.next(row)), [1, NO_ROW]);
    }

    #[test]
    fn runs_are_as_long_as_the_walk_along_them() {
        // A run to the end of a word, one across a whole word, one of a single row, and the last row.
        let mut goes_on = vec![0_u64; 4];
        for row in (60..63).chain(63..70).chain(100..199).chain([254]) {
            goes_on[row / 64] |= 1 << (row % 64);
        }
        let chains = Chains::of_runs(200, 56, goes_on);
        for row in 0..256 {
            let mut walked = 1;
            let mut at = row;
            while chains.next(at) != NO_ROW {
                at = chains.next(at);
                walked += 1;
            }
            assert_eq!(chains.run(row), walked, "row {row}");
        }
        assert_eq!(Chains::of_keys(9).run(3), 1);
    }
}
