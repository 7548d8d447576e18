//! Short texts: few keys of up to twelve bytes, found by their views alone.
//!
//! A view holds such a text whole, zeros behind it, so that two are equal where their 16 bytes
//! are. A symbol is then found without being encoded, in a table where it has a slot of its own.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::index::PerfectTable;
use crate::key::hash::KeyHasher;
use crate::prefetch::prefetch_range;
use crate::{NO_ROW, RowId};

/// Bytes of the longest text that a view holds whole.
const SHORT_BYTES_MAX: u32 = 12;

/// Rows searched between two calls for the views of rows to come, and how far ahead those are.
const BLOCK_ROWS: usize = 32;
const AHEAD_ROWS: usize = 160;

/// From short texts to their groups.
pub(super) struct ShortTexts {
    hasher: KeyHasher,
    table: PerfectTable<u128>,
}

impl ShortTexts {
    /// Builds the table over a single column of distinct keys; none where it does not serve them.
    pub(super) fn build(keys: &[ArrayRef], hash_mask: u64) -> Option<Self> {
        let [column] = keys else { return None };
        let is_text = matches!(
            column.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        );
        if !is_text || column.is_empty() || column.null_count() > 0 {
            return None;
        }
        let views = arrow_cast::cast(column.as_ref(), &DataType::Utf8View).ok()?;
        let views = views.as_string_view().views();
        if views.iter().any(|view| !is_short(*view)) {
            return None;
        }
        let hasher = KeyHasher::new(hash_mask);
        let hashes: Vec<u64> = views.iter().map(|view| hasher.wide(*view)).collect();
        let groups: Vec<(u128, RowId)> = views.iter().copied().zip(0..).collect();
        let table = PerfectTable::build(&hashes, &groups)?;
        Some(Self { hasher, table })
    }

    /// Finds the group of each row of a column of text views; returns false where it is none.
    pub(super) fn locate(&self, column: &ArrayRef, groups: &mut Vec<RowId>) -> bool {
        let Some(views) = column.as_string_view_opt() else {
            return false;
        };
        groups.clear();
        groups.reserve(views.len());
        for (block, from) in views.views().chunks(BLOCK_ROWS).zip((0..).step_by(BLOCK_ROWS)) {
            let ahead = from + AHEAD_ROWS;
            prefetch_range(views.views(), ahead..ahead + BLOCK_ROWS);
            groups.extend(block.iter().map(|view| self.group(*view)));
        }
        if let Some(nulls) = views.nulls().filter(|nulls| nulls.null_count() > 0) {
            for row in (!nulls.inner()).set_indices() {
                groups[row] = NO_ROW;
            }
        }
        true
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
    }

    /// Returns the group of a view. A long text is equal to no short one.
    #[inline(always)]
    fn group(&self, view: u128) -> RowId {
        self.table.find(self.hasher.wide(view), view)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the length is the low half of a half"
)]
fn is_short(view: u128) -> bool {
    view as u32 <= SHORT_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, StringViewArray};

    use super::ShortTexts;
    use crate::NO_ROW;

    fn texts(keys: impl Iterator<Item = usize>) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(
            keys.map(|key| format!("K{key}")),
        ))
    }

    #[test]
    fn every_key_is_found() {
        for count in [1, 2, 100, 1000, 16_384] {
            let table = ShortTexts::build(&[texts(0..count)], u64::MAX).unwrap();
            let mut groups = Vec::new();
            assert!(table.locate(&texts(0..2 * count), &mut groups));
            let expected = (0..2 * count).map(|key| match u32::try_from(key) {
                Ok(group) if key < count => group,
                _ => NO_ROW,
            });
            assert!(groups.into_iter().eq(expected), "{count}");
        }
    }

    #[test]
    fn equal_hashes_are_left_to_the_index() {
        assert!(ShortTexts::build(&[texts(0..100)], 0).is_none());
        assert!(ShortTexts::build(&[texts(0..16_385)], u64::MAX).is_none());
    }
}
