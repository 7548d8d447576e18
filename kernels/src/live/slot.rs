//! Slots: what stands for a key's newest row in the index and in the history.
//!
//! ```text
//!   0 │ row id            the row, if the reader's version is younger than it
//!   1 │ row id            a deletion, which took a row id as a row does
//!   all ones              nothing: no such key, or no row before this one
//! ```

use crate::RowId;

/// Marks a deletion.
pub(super) const DELETED: u32 = 1 << 31;

/// Marks an empty slot, and the end of a history.
pub(super) const EMPTY: u32 = u32::MAX;

/// Returns the row id of a row or a deletion.
#[inline(always)]
pub(super) fn id_of(slot: u32) -> RowId {
    slot & !DELETED
}

/// Says whether a slot holds a row that is there.
#[inline(always)]
pub(super) fn is_row(slot: u32) -> bool {
    slot & DELETED == 0
}

/// Returns the row of a slot, or `NO_ROW` where it holds a deletion or nothing.
#[inline(always)]
pub(super) fn row_or_none(slot: u32) -> RowId {
    // The top bit smeared over all: without a branch.
    slot | (slot >> 31).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::{DELETED, EMPTY, id_of, is_row, row_or_none};
    use crate::NO_ROW;

    #[test]
    fn tells_rows_deletions_and_nothing_apart() {
        assert_eq!((row_or_none(7), is_row(7), id_of(7)), (7, true, 7));
        assert_eq!((row_or_none(DELETED | 7), is_row(DELETED | 7)), (NO_ROW, false));
        assert_eq!(id_of(DELETED | 7), 7);
        assert_eq!((row_or_none(EMPTY), is_row(EMPTY)), (NO_ROW, false));
    }
}
