//! Parting: rows put into a large table one part of it after the other.
//!
//! ```text
//!   words in the order of rows        parted by home           the table, part by part
//!     7 3 9 1 8 2 …             ──►   │1 2 …│3 …│7 8 9 …│  ──►  │ … │ … │ … │
//! ```
//!
//! In the order of rows, each put waits for a line of its own from memory, and each line comes once for
//! every key that it holds. A part is filled in the second-level cache, and copied to the table. Words are
//! parted with their rows, so many at a time that their copy does not become larger than memory bears.
//!
//! Within a part, no branch depends on whether a key's home is full: of one that is, the key is put aside,
//! and goes on when all others are at home. One that finds its part full to the end waits for a last pass,
//! as in a range of many threads (fill.rs).

use super::bucket::{Bucket, BucketTable, Put, home_of, low_half, put};
use super::chain::Chains;
use super::fill::Rows;
use crate::RowId;
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;
use crate::prefetch::LINE_BYTES;

/// Tables from this size on are filled by parts: of smaller ones too much is in some cache anyway (at 16 MiB
/// nothing is gained).
pub(super) const TABLE_BYTES_MIN: usize = 64 << 20;

/// The buckets of a part, half a megabyte: with the words to be put into it, it fits the second-level cache.
const PART_BUCKETS: usize = (512 << 10) / LINE_BYTES;

/// The size of the words that are parted at a time, with their rows.
const COPY_BYTES_MAX: usize = 256 << 20;

impl<S: Fn(RowId, RowId) -> bool + Sync> Rows<'_, S> {
    /// Builds the table of words and the chains, the rows of each key put from the last to the first.
    pub(super) fn fill_parted<W: KeyWord, const N: usize>(
        &self,
        words: &[W],
        hasher: &KeyHasher,
    ) -> (BucketTable<W, N>, Chains) {
        let rows_max = COPY_BYTES_MAX / size_of::<(W, RowId)>();
        self.fill_parted_by(words, hasher, rows_max)
    }

    /// The same, with so many rows parted at a time.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the row count was checked to fit row ids"
    )]
    pub(super) fn fill_parted_by<W: KeyWord, const N: usize>(
        &self,
        words: &[W],
        hasher: &KeyHasher,
        rows_max: usize,
    ) -> (BucketTable<W, N>, Chains) {
        let count = BucketTable::<W, N>::buckets_for(self.valid_rows());
        let part_of = |word: W| home_of(word.hash(hasher), count) / PART_BUCKETS;
        let mut buckets: Vec<Bucket<W, N>> = Vec::with_capacity(count);
        let mut chains = Chains::new(self.count);
        let mut part = Part::new();
        let mut parted = vec![(W::default(), 0); words.len().min(rows_max)];
        let mut ends = vec![0; count.div_ceil(PART_BUCKETS)];
        for end in (1..=words.len()).rev().step_by(rows_max) {
            let rows = end.saturating_sub(rows_max)..end;
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
            for (first, end) in (0..).step_by(PART_BUCKETS).zip(&ends) {
                let last = (first + PART_BUCKETS).min(count);
                let keys = parted[start..*end].iter().rev().map(|(word, row)| {
                    let hash = word.hash(hasher);
                    (home_of(hash, count) - first, low_half(hash), *word, *row)
                });
                part.start(buckets.get(first..last), last - first);
                part.put_all(keys, &self.same, &mut chains);
                match buckets.get_mut(first..last) {
                    Some(before) => before.copy_from_slice(part.buckets()),
                    None => buckets.extend_from_slice(part.buckets()),
                }
                start = *end;
            }
        }
        buckets.resize(count, Bucket::empty());
        let mut table = BucketTable::of_buckets(buckets);
        let hash_key = |row: usize| (words[row].hash(hasher), words[row]);
        self.put_waiting(&mut table, &mut chains, part.waiting, hash_key);
        (table, chains)
    }
}

/// A key to put: its home in the part, the low half of its hash, itself and its row.
type Key<W> = (usize, u32, W, RowId);

/// A part being filled.
struct Part<W, const N: usize> {
    /// The part's buckets, and a last one for what is written of keys that are put aside.
    buckets: Vec<Bucket<W, N>>,
    /// Of each bucket the number of slots in use.
    used: Vec<u8>,
    /// Keys whose home is full, as many as `aside_count`; the others mean nothing.
    aside: Vec<Key<W>>,
    /// Rows that have found the part full to the end, of this part and of those before.
    waiting: Vec<RowId>,
}

impl<W: KeyWord, const N: usize> Part<W, N> {
    fn new() -> Self {
        Self {
            buckets: Vec::with_capacity(PART_BUCKETS + 1),
            used: Vec::with_capacity(PART_BUCKETS),
            aside: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Starts a part of so many buckets, as some were left before or empty.
    #[expect(clippy::cast_possible_truncation, reason = "a bucket has less than 8 slots")]
    fn start(&mut self, before: Option<&[Bucket<W, N>]>, count: usize) {
        self.buckets.clear();
        self.buckets.extend_from_slice(before.unwrap_or_default());
        self.buckets.resize(count, Bucket::empty());
        self.used.clear();
        self.used
            .extend(self.buckets.iter().map(|bucket| bucket.used() as u8));
        self.buckets.push(Bucket::empty());
    }

    /// Returns the part's buckets.
    fn buckets(&self) -> &[Bucket<W, N>] {
        &self.buckets[..self.used.len()]
    }

    /// Puts keys, the rows of each in descending order, into the part.
    fn put_all(
        &mut self,
        keys: impl ExactSizeIterator<Item = Key<W>>,
        same: &impl Fn(RowId, RowId) -> bool,
        chains: &mut Chains,
    ) {
        let scratch = self.used.len();
        self.aside
            .resize(keys.len().max(self.aside.len()), (0, 0, W::default(), 0));
        let (mut aside_count, mut new) = (0, 0);
        for key in keys {
            let (home, _, word, row) = key;
            if self.buckets[home].may_have(word)
                && let Some(head) = self.buckets[home].replace(word, row, |other| same(row, other))
            {
                chains.link(row, head);
                continue;
            }
            let used = usize::from(self.used[home]);
            let is_full = used == N;
            // Chosen by arithmetic: one key in ten finds its home full, which nobody can predict.
            let all_if_full = usize::from(is_full).wrapping_neg();
            let at = home ^ ((home ^ scratch) & all_if_full);
            self.buckets[at].write(used & !all_if_full, word, row);
            self.used[home] += u8::from(!is_full);
            self.aside[aside_count] = key;
            aside_count += usize::from(is_full);
            new += usize::from(!is_full);
        }
        chains.count_keys(new);
        let slots = &mut self.buckets[..scratch];
        for (home, low, word, row) in self.aside[..aside_count].iter().copied() {
            match put(slots, home, word, low, row, |other| same(row, other)) {
                Put::New => chains.count_key(),
                Put::Replaced(head) => chains.link(row, head),
                Put::Full => self.waiting.push(row),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PART_BUCKETS;
    use crate::NO_ROW;
    use crate::index::bucket::{BucketTable, low_half};
    use crate::index::fill::Rows;
    use crate::key::hash::KeyHasher;
    use crate::key::words::KeyWord;

    #[test]
    fn every_key_of_several_copies_and_parts_leads_to_all_its_rows() {
        let rows = 1_000_000_u32;
        let keys = rows / 2 + 7;
        let words: Vec<u64> = (0..rows).map(|row| u64::from(row % keys)).collect();
        let hasher = KeyHasher::new(u64::MAX);
        let count = words.len();
        let all = Rows {
            count,
            valid: None,
            same: |_, _| true,
            parallel: false,
        };
        let (table, chains): (BucketTable<u64, 5>, _) = all.fill_parted_by(&words, &hasher, 300_000);
        assert!(table.bucket_count() > 10 * PART_BUCKETS);
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
