//! Short texts: few keys of up to twelve bytes, found by their views alone.
//!
//! A view holds such a text whole, zeros behind it, so that two are equal where their 16 bytes
//! are. A symbol is then found without being encoded, and a few thousand of them stay in cache.
//!
//! ```text
//!   view   len │ up to 12 bytes, zeros        hash ─▶ slot ─▶ the next ones until equal or free
//! ```

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::key::hash::KeyHasher;
use crate::{NO_ROW, RowId};

/// Bytes of the longest text that a view holds whole.
const SHORT_BYTES_MAX: u32 = 12;

/// More keys than this would not stay in a core's cache; the index serves them as well.
const KEYS_MAX: usize = 1 << 14;

/// Slots for each key, so that few searches need a second look.
const SLOTS_PER_KEY: usize = 4;

/// No view has this length.
const FREE: u128 = u128::MAX;

/// From short texts to their groups.
pub(super) struct ShortTexts {
    hasher: KeyHasher,
    slots: Vec<(u128, RowId)>,
}

impl ShortTexts {
    /// Builds the table over a single column of distinct keys; none where it does not serve them.
    pub(super) fn build(keys: &[ArrayRef], hash_mask: u64) -> Option<Self> {
        let [column] = keys else { return None };
        let is_text = matches!(
            column.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        );
        if !is_text || column.is_empty() || column.len() > KEYS_MAX || column.null_count() > 0 {
            return None;
        }
        let views = arrow_cast::cast(column.as_ref(), &DataType::Utf8View).ok()?;
        let views = views.as_string_view();
        if views.views().iter().any(|view| !is_short(*view)) {
            return None;
        }
        let slots = (column.len() * SLOTS_PER_KEY).next_power_of_two();
        let mut table = Self {
            hasher: KeyHasher::new(hash_mask),
            slots: vec![(FREE, NO_ROW); slots],
        };
        for (group, view) in (0..).zip(views.views().iter()) {
            let at = table.slot(*view);
            table.slots[at] = (*view, group);
        }
        Some(table)
    }

    /// Finds the group of each row of a column of text views; returns false where it is none.
    pub(super) fn locate(&self, column: &ArrayRef, groups: &mut Vec<RowId>) -> bool {
        let Some(views) = column.as_string_view_opt() else {
            return false;
        };
        groups.clear();
        // A long text is equal to no short one.
        groups.extend(views.views().iter().map(|view| self.slots[self.slot(*view)].1));
        if let Some(nulls) = views.nulls().filter(|nulls| nulls.null_count() > 0) {
            for row in (!nulls.inner()).set_indices() {
                groups[row] = NO_ROW;
            }
        }
        true
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u128, RowId)>()
    }

    /// Returns the slot that holds a view, or the free one where it would stand.
    #[inline(always)]
    fn slot(&self, view: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (self.hasher.wide(view) >> 32) as usize & mask;
        while self.slots[at].0 != view && self.slots[at].0 != FREE {
            at = (at + 1) & mask;
        }
        at
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the length is the low half of a half"
)]
fn is_short(view: u128) -> bool {
    view as u32 <= SHORT_BYTES_MAX
}
