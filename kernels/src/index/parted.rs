//! Parting: rows put into a large table one part of it after the other.
//!
//! ```text
//!   words in the order of rows        parted by home           the table, part by part
//!     7 3 9 1 8 2 …             ──►   │1 2 …│3 …│7 8 9 …│  ──►  │ … │ … │ … │
//! ```
//!
//! In the order of rows, each put waits for a line of its own from memory, and each line comes once for
//! every key that it holds. A part is read in order into the second-level cache, and all of its keys
//! are put there. Words are parted with their rows, so many rows at a time that their copy stays small
//! beside the table of many millions.

use super::bucket::{BucketTable, home_of};
use super::chain::Chains;
use super::fill::Rows;
use crate::RowId;
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;

/// Tables from this size on are filled by parts: of smaller ones too much is in some cache anyway (at 16 MiB
/// nothing is gained).
pub(super) const TABLE_BYTES_MIN: usize = 64 << 20;

/// The size of a part of the table: with the words to be put into it, it fits the second-level cache.
const PART_BYTES: usize = 512 << 10;

/// Rows parted at a time: 64 MiB of words of 8 bytes.
const ROWS_MAX: usize = 1 << 22;

impl<S: Fn(RowId, RowId) -> bool + Sync> Rows<'_, S> {
    /// Fills a table with words, the rows of each key from the last to the first.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the row count was checked to fit row ids"
    )]
    pub(super) fn fill_parted<W: KeyWord, const N: usize>(
        &self,
        table: &mut BucketTable<W, N>,
        chains: &mut Chains,
        words: &[W],
        hasher: &KeyHasher,
    ) {
        let parts = table.heap_bytes().div_ceil(PART_BYTES).max(1);
        // Homes and parts are both in the order of hashes.
        let part_of = |word: W| home_of(word.hash(hasher), parts);
        let buckets = table.bucket_count();
        let first_bucket = |part: usize| part * buckets / parts;
        let mut parted = vec![(W::default(), 0); words.len().min(ROWS_MAX)];
        let mut ends = vec![0; parts];
        for end in (1..=words.len()).rev().step_by(ROWS_MAX) {
            let rows = end.saturating_sub(ROWS_MAX)..end;
            let valid_rows = || rows.clone().filter(|row| self.is_valid(*row));
            ends.fill(0);
            valid_rows().for_each(|row| ends[part_of(words[row])] += 1);
            let mut start = 0;
            for end in &mut ends {
                (*end, start) = (start, start + *end);
            }
            // What is a part's start here is its end when its words are there.
            for row in valid_rows() {
                let place = &mut ends[part_of(words[row])];
                parted[*place] = (words[row], row as RowId);
                *place += 1;
            }
            let mut start = 0;
            for (part, end) in ends.iter().enumerate() {
                table.ask_for(first_bucket(part)..first_bucket(part + 1));
                for (word, row) in parted[start..*end].iter().rev() {
                    let same = |other| (self.same)(*row, other);
                    table.put_linked(word.hash(hasher), *word, *row, same, chains);
                }
                start = *end;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PART_BYTES, ROWS_MAX};
    use crate::NO_ROW;
    use crate::index::bucket::{BucketTable, low_half};
    use crate::index::chain::Chains;
    use crate::index::fill::Rows;
    use crate::key::hash::KeyHasher;
    use crate::key::words::KeyWord;

    #[test]
    fn every_key_of_several_copies_and_parts_leads_to_all_its_rows() {
        let rows = u32::try_from(ROWS_MAX).unwrap() + 100_000;
        let keys = rows / 2 + 7;
        let words: Vec<u64> = (0..rows).map(|row| u64::from(row % keys)).collect();
        let hasher = KeyHasher::new(u64::MAX);
        let count = words.len();
        let mut table = BucketTable::<u64, 5>::with_room_for(count);
        let mut chains = Chains::new(count);
        let all = Rows {
            count,
            valid: None,
            same: |_, _| true,
            parallel: false,
        };
        assert!(table.heap_bytes() > 10 * PART_BYTES);
        all.fill_parted(&mut table, &mut chains, &words, &hasher);
        assert_eq!(chains.keys(), keys as usize);
        let find = |word: u64| {
            let hash = word.hash(&hasher);
            table.find(table.home(hash), word, low_half(hash), |_| true)
        };
        for row in (0..keys).step_by(997) {
            let next = if row + keys < rows { row + keys } else { NO_ROW };
            assert_eq!((find(row.into()), chains.next(row)), (row, next));
        }
        assert_eq!(find(u64::from(keys)), NO_ROW);
    }
}
