//! Short texts: few keys of up to twelve bytes, found by their views alone.
//!
//! A view holds such a text whole, zeros behind it, so that two are equal where their 16 bytes
//! are. A symbol is then found without being encoded. The keys are known when the table is built,
//! so each gets a slot of its own: keys are thrown into buckets by one half of their hash, and each
//! bucket gets a number that turns the other halves into slots that are still free (Belazzougui,
//! Botelho, Dietzfelbinger, "Hash, displace, and compress", ESA 2009). A search looks at one slot,
//! without a branch.
//!
//! ```text
//!   view   len │ up to 12 bytes, zeros ─▶ hash ─┬─ high half ─▶ the bucket's turn ─┐
//!                                               └─ low half ───────────────────────┴─▶ slot: view, group
//! ```

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::key::hash::KeyHasher;
use crate::prefetch::prefetch_range;
use crate::{NO_ROW, RowId};

/// Bytes of the longest text that a view holds whole.
const SHORT_BYTES_MAX: u32 = 12;

/// More keys than this would not stay in a core's cache; the index serves them as well.
const KEYS_MAX: usize = 1 << 14;

/// Turns tried for a bucket. Half of the slots stay free, so that even a bucket of eight keys finds
/// one among a few hundred.
const TURNS_MAX: u32 = 1 << 14;

/// Rows searched between two calls for the views of rows to come, and how far ahead those are.
const BLOCK_ROWS: usize = 32;
const AHEAD_ROWS: usize = 160;

/// No view has this length.
const FREE: u128 = u128::MAX;

/// Odd, with bits set evenly: the golden ratio's.
const MULTIPLIER: u32 = 0x9E37_79B9;

/// From short texts to their groups.
pub(super) struct ShortTexts {
    hasher: KeyHasher,
    /// Of each bucket; their number is a power of two.
    turns: Vec<u32>,
    /// How far a turned hash is shifted to name a slot.
    shift: u32,
    views: Vec<u128>,
    groups: Vec<RowId>,
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
        let views = views.as_string_view().views();
        if views.iter().any(|view| !is_short(*view)) {
            return None;
        }
        let slots = (views.len() * 2).next_power_of_two();
        let mut table = Self {
            hasher: KeyHasher::new(hash_mask),
            turns: vec![0; slots / 2],
            shift: u32::BITS - slots.ilog2(),
            views: vec![FREE; slots],
            groups: vec![NO_ROW; slots],
        };
        let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); table.turns.len()];
        for (group, view) in (0..).zip(views) {
            buckets[table.bucket(table.hasher.wide(*view))].push(group);
        }
        // The fullest first, while most slots are free.
        let mut order: Vec<usize> = (0..buckets.len()).collect();
        order.sort_by_key(|bucket| std::cmp::Reverse(buckets[*bucket].len()));
        for bucket in order {
            table.place(bucket, &buckets[bucket], views)?;
        }
        Some(table)
    }

    /// Finds a turn for a bucket that gives each of its keys a free slot, and puts them there; none
    /// where hashes are equal.
    fn place(&mut self, bucket: usize, keys: &[u32], views: &[u128]) -> Option<()> {
        let mut taken = Vec::with_capacity(keys.len());
        for turn in (0..TURNS_MAX).map(|at| at.wrapping_mul(MULTIPLIER)) {
            self.turns[bucket] = turn;
            taken.clear();
            for key in keys {
                let slot = self.slot(views[*key as usize]);
                if self.views[slot] != FREE || taken.contains(&slot) {
                    break;
                }
                taken.push(slot);
            }
            if taken.len() == keys.len() {
                for (key, slot) in keys.iter().zip(taken) {
                    (self.views[slot], self.groups[slot]) = (views[*key as usize], *key);
                }
                return Some(());
            }
        }
        None
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
        self.views.capacity() * size_of::<u128>()
            + (self.groups.capacity() + self.turns.capacity()) * size_of::<u32>()
    }

    /// Returns the group of a view. A long text is equal to no short one.
    #[inline(always)]
    fn group(&self, view: u128) -> RowId {
        let slot = self.slot(view);
        if self.views[slot] == view {
            self.groups[slot]
        } else {
            NO_ROW
        }
    }

    #[inline(always)]
    fn bucket(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.turns.len() - 1)
    }

    /// Returns the only slot where a view can be.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the low half")]
    fn slot(&self, view: u128) -> usize {
        let hash = self.hasher.wide(view);
        let turn = self.turns[self.bucket(hash)];
        ((hash as u32 ^ turn).wrapping_mul(MULTIPLIER) >> self.shift) as usize
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

    use super::{KEYS_MAX, ShortTexts};
    use crate::NO_ROW;

    fn texts(keys: impl Iterator<Item = usize>) -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values(
            keys.map(|key| format!("K{key}")),
        ))
    }

    #[test]
    fn every_key_has_a_slot_of_its_own() {
        for count in [1, 2, 3, 4, 5, 7, 8, 9, 100, 1000, 1024, 1025, KEYS_MAX] {
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
        assert!(ShortTexts::build(&[texts(0..KEYS_MAX + 1)], u64::MAX).is_none());
    }
}
