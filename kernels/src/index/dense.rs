//! The `Dense` layout: whole numbers of a narrow range address an array of row ids directly.
//!
//! ```text
//!   keys 7, 5, 8     least 5     slots  [ 1, -, 0, 2, - ]     slots[key - least]
//!                                         5  6  7  8  └ what a key out of range finds
//! ```

use arrow_buffer::NullBuffer;

use super::chain::Chains;
use crate::{NO_ROW, RowId};

/// A range of at most this many slots a row is dense: no more memory than the hashed layout.
const SLOTS_PER_ROW_MAX: u64 = 4;

/// A range this narrow is dense whatever the number of rows: it fits the first cache.
const SLOTS_ALWAYS: u64 = 1 << 12;

/// The widest range a caller may force: half a gigabyte of slots.
const SLOTS_FORCED_MAX: u64 = 1 << 27;

/// Keys looked at before their range is asked for the first time, and again.
const ROWS_BETWEEN_LOOKS: usize = 1 << 12;

/// Keys located without asking after each whether it was the last.
const STEP_ROWS: usize = 8;

/// The range of a build side's keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyRange {
    least: u64,
    slots: u64,
}

impl KeyRange {
    /// Finds the range of the valid words; nothing as soon as it is seen to be too wide for direct
    /// addressing, even if forced. The words of signed types are sign-extended.
    pub(crate) fn of(words: &[u64], valid: Option<&NullBuffer>, signed: bool) -> Option<Self> {
        // With the sign bit flipped, signed order is unsigned order.
        let flip = if signed { 1 << 63 } else { 0 };
        let (mut least, mut greatest) = (u64::MAX, 0);
        let slots_max = (words.len() as u64 * SLOTS_PER_ROW_MAX).max(SLOTS_FORCED_MAX);
        match valid {
            None => {
                for words in words.chunks(ROWS_BETWEEN_LOOKS) {
                    for word in words {
                        least = least.min(word ^ flip);
                        greatest = greatest.max(word ^ flip);
                    }
                    if greatest - least >= slots_max {
                        return None;
                    }
                }
            }
            Some(valid) => {
                for row in valid.valid_indices() {
                    least = least.min(words[row] ^ flip);
                    greatest = greatest.max(words[row] ^ flip);
                }
            }
        }
        if least > greatest {
            return Some(Self { least: 0, slots: 0 });
        }
        let slots = (greatest - least).checked_add(1)?;
        Some(Self {
            least: least ^ flip,
            slots,
        })
    }

    /// Says whether direct addressing pays for so many rows.
    pub(crate) fn is_dense(&self, rows: usize) -> bool {
        self.slots <= (rows as u64).saturating_mul(SLOTS_PER_ROW_MAX).max(SLOTS_ALWAYS)
    }

    /// Says whether direct addressing is possible at all.
    pub(crate) fn is_possible(&self) -> bool {
        self.slots <= SLOTS_FORCED_MAX
    }
}

/// Whole numbers to row ids.
pub(crate) struct DenseTable {
    least: u64,
    /// One for each number of the range, and a last one that holds `NO_ROW`.
    slots: Vec<RowId>,
}

impl DenseTable {
    /// Builds from one word for each row, all valid ones within `range`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "ranges and row counts were checked"
    )]
    pub(crate) fn build(words: &[u64], range: KeyRange, valid: Option<&NullBuffer>) -> (Self, Chains) {
        let mut slots = vec![NO_ROW; range.slots as usize + 1];
        let mut chains = Chains::new(words.len());
        for (row, word) in words.iter().enumerate().rev() {
            if valid.is_some_and(|valid| valid.is_null(row)) {
                continue;
            }
            let slot = &mut slots[word.wrapping_sub(range.least) as usize];
            match *slot {
                NO_ROW => chains.count_key(),
                head => chains.link(row as RowId, head),
            }
            *slot = row as RowId;
        }
        (
            Self {
                least: range.least,
                slots,
            },
            chains,
        )
    }

    /// Writes the first row of each word's key, or `NO_ROW`.
    pub(crate) fn locate(&self, words: &[u64], heads: &mut [RowId]) {
        let (word_steps, last_words) = words.as_chunks::<STEP_ROWS>();
        let (head_steps, last_heads) = heads.as_chunks_mut::<STEP_ROWS>();
        for (words, heads) in word_steps.iter().zip(head_steps) {
            self.locate_each(words, heads);
        }
        self.locate_each(last_words, last_heads);
    }

    /// Independent loads: the processor overlaps their misses without being asked.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most the last slot, which exists"
    )]
    fn locate_each(&self, words: &[u64], heads: &mut [RowId]) {
        let Some(last) = self.slots.len().checked_sub(1) else {
            return;
        };
        for (word, head) in words.iter().zip(heads) {
            *head = self.slots[word.wrapping_sub(self.least).min(last as u64) as usize];
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<RowId>()
    }
}

#[cfg(test)]
mod tests {
    use arrow_buffer::NullBuffer;

    use super::{DenseTable, KeyRange};
    use crate::NO_ROW;

    #[test]
    fn spans_zero_and_skips_nulls() {
        let words = [-2_i64, 99, 3, -2].map(|key| key as u64);
        let valid = NullBuffer::from(vec![true, false, true, true]);
        let range = KeyRange::of(&words, Some(&valid), true).unwrap();
        assert_eq!(range.slots, 6);
        let (table, chains) = DenseTable::build(&words, range, Some(&valid));
        let mut heads = [0; 5];
        table.locate(&[-2_i64, 3, 0, -3, i64::MIN].map(|key| key as u64), &mut heads);
        assert_eq!(heads, [0, 2, NO_ROW, NO_ROW, NO_ROW]);
        assert_eq!((chains.keys(), chains.next(0)), (2, 3));
    }

    #[test]
    fn knows_when_it_does_not_pay() {
        assert!(KeyRange::of(&[0, u64::MAX], None, false).is_none());
        assert!(KeyRange::of(&[0, u64::MAX], None, true).unwrap().is_dense(2));
        assert!(KeyRange::of(&[0, 1 << 40], None, false).is_none());
        let valid = NullBuffer::new_valid(2);
        assert!(
            !KeyRange::of(&[0, 1 << 40], Some(&valid), false)
                .unwrap()
                .is_possible()
        );
        assert!(KeyRange::of(&[], None, false).unwrap().is_dense(0));
    }
}
