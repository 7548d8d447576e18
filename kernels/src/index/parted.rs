//! Parting: words put into a large table one part of it after the other.
//!
//! ```text
//!   words in the order of rows      lines, each of one part          the table, part by part
//!     7 3 9 1 8 2 …            ──►  │9 8 7│2 3 1│4 6 5│7 9 8│…  ──►  │ 1 2 3 │ 4 5 6 │ 7 8 9 │
//! ```
//!
//! In the order of rows, each put waits for a line of its own from memory, and each line comes once for
//! every key that it holds. So words are first parted by their homes, with their rows: of each part one line
//! is open, and all of these in cache; a full one is stored past the caches behind all that were full before,
//! whatever their part. Then a part after the other (part.rs) is filled in the second-level cache from its
//! lines, and stored where it belongs. As many rows are parted at a time as have lines that memory bears.

use super::bucket::{Bucket, BucketTable, home_of, low_half};
use super::chain::Chains;
use super::fill::Rows;
use super::part::Part;
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;
use crate::prefetch::{LINE_BYTES, prefetch};
use crate::{RowId, past_caches};

/// Tables from this size on are filled by parts: of smaller ones too much is in some cache anyway (at 16 MiB
/// nothing is gained).
pub(super) const TABLE_BYTES_MIN: usize = 64 << 20;

/// The buckets of a part, half a megabyte: with what goes along, it fits the second-level cache.
pub(super) const PART_BUCKETS: usize = (512 << 10) / LINE_BYTES;

/// The size of the lines that are made at a time.
const LINES_BYTES_MAX: usize = 256 << 20;

/// How many lines of a part before its turn one is asked for.
const LINES_AHEAD: usize = 24;

impl<S: Fn(RowId, RowId) -> bool + Sync> Rows<'_, S> {
    /// Builds the table of words and the chains, the rows of each key put from the last to the first.
    pub(super) fn fill_parted<W: KeyWord, const N: usize>(
        &self,
        words: &[W],
        hasher: &KeyHasher,
    ) -> (BucketTable<W, N>, Chains) {
        self.fill_parted_by(words, hasher, LINES_BYTES_MAX / LINE_BYTES * N)
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
        let mut buckets: Vec<Bucket<W, N>> = Vec::with_capacity(count);
        let mut chains = Chains::new(self.count);
        let mut part = Part::new();
        let mut lines = Lines::new(count.div_ceil(PART_BUCKETS), words.len().min(rows_max));
        for end in (1..=words.len()).rev().step_by(rows_max) {
            let rows = end.saturating_sub(rows_max)..end;
            for row in rows.rev().filter(|row| self.is_valid(*row)) {
                let home = home_of(words[row].hash(hasher), count);
                lines.add(home / PART_BUCKETS, words[row], row as RowId);
            }
            for (number, first) in (0..count).step_by(PART_BUCKETS).enumerate() {
                let last = (first + PART_BUCKETS).min(count);
                let home = |word: W| {
                    let hash = word.hash(hasher);
                    (home_of(hash, count) - first, low_half(hash))
                };
                let before = buckets.get(first..last);
                let words = lines.of_part(number);
                part.fill((before, last - first), words, home, &self.same, &mut chains);
                match buckets.get_mut(first..last) {
                    Some(before) => before
                        .iter_mut()
                        .zip(part.drain())
                        .for_each(|(to, bucket)| *to = bucket),
                    None => store(&mut buckets, part.drain()),
                }
            }
            lines.clear();
        }
        buckets.resize(count, Bucket::empty());
        past_caches::finish();
        let mut table = BucketTable::of_buckets(buckets);
        let hash_key = |row: usize| (words[row].hash(hasher), words[row]);
        self.put_waiting(&mut table, &mut chains, part.into_waiting(), hash_key);
        (table, chains)
    }
}

/// Adds buckets to a vector by stores past the caches.
#[expect(unsafe_code, reason = "the stores copy bits, which a type has to have all of")]
#[inline(always)]
fn store<W: KeyWord, const N: usize>(
    to: &mut Vec<Bucket<W, N>>,
    buckets: impl Iterator<Item = Bucket<W, N>>,
) {
    const { assert!(Bucket::<W, N>::IS_PACKED) }
    // SAFETY: a bucket has no bytes but its fields, as was just seen.
    unsafe { past_caches::extend(to, buckets) }
}

/// Words with their rows, parted. A line is a bucket that is used as a list.
struct Lines<W, const N: usize> {
    /// Of each part the line that is being filled, and how many are in it.
    open: Vec<Bucket<W, N>>,
    used: Vec<u8>,
    /// Lines that are full, in the order they became it.
    full: Vec<Bucket<W, N>>,
    /// Of each part, where its lines are among these.
    of_part: Vec<Vec<u32>>,
}

impl<W: KeyWord, const N: usize> Lines<W, N> {
    /// Makes room for so many rows of so many parts.
    fn new(parts: usize, rows: usize) -> Self {
        let lines = rows / N;
        let lines_of_part = lines / parts.max(1) * 9 / 8;
        Self {
            open: vec![Bucket::empty(); parts],
            used: vec![0; parts],
            full: Vec::with_capacity(lines),
            of_part: (0..parts).map(|_| Vec::with_capacity(lines_of_part)).collect(),
        }
    }

    /// Adds a word and its row to a part.
    #[inline(always)]
    fn add(&mut self, part: usize, word: W, row: RowId) {
        let used = usize::from(self.used[part]);
        self.open[part].write(used, word, row);
        self.used[part] += 1;
        if used + 1 == N {
            self.close(part);
        }
    }

    /// Puts a part's line to the full ones.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "there are fewer lines than rows")]
    fn close(&mut self, part: usize) {
        self.used[part] = 0;
        self.of_part[part].push(self.full.len() as u32);
        store(&mut self.full, std::iter::once(self.open[part]));
    }

    /// Returns a part's lines in the order they were filled, each with the number of words in it, and the
    /// number of all its words.
    #[inline(always)]
    fn of_part(&self, part: usize) -> (impl Iterator<Item = (&Bucket<W, N>, usize)> + Clone, usize) {
        let places = &self.of_part[part];
        let full = places.iter().enumerate().map(|(at, place)| {
            if let Some(ahead) = places.get(at + LINES_AHEAD) {
                prefetch(&self.full, *ahead as usize);
            }
            (&self.full[*place as usize], N)
        });
        let last = (&self.open[part], usize::from(self.used[part]));
        (full.chain(std::iter::once(last)), places.len() * N + last.1)
    }

    fn clear(&mut self) {
        self.used.fill(0);
        self.full.clear();
        self.of_part.iter_mut().for_each(Vec::clear);
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
