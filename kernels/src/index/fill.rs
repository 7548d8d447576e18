//! Fill: puts all rows of a build side into a bucket table, on one thread (words into a large one by its
//! parts: parted.rs) or on many.
//!
//! On many threads, rows are first parted by home into ranges of buckets; each range is then
//! filled by one thread alone, which needs no locks and stays in its part of memory. A row that
//! finds its range full to the end waits for a last pass on one thread. All rows of a key share
//! that fate: once a range is full from a key's home to its end, it stays so.

use arrow_buffer::NullBuffer;
use rayon::prelude::*;

use super::bucket::{Bucket, BucketTable, Put, home_of, low_half, put};
use super::chain::Chains;
use super::parted::TABLE_BYTES_MIN;
use crate::RowId;
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;
use crate::prefetch::LINE_BYTES;

/// Fewer rows than this are built faster by one thread than parted for several.
const PARALLEL_ROWS_MIN: usize = 1 << 16;

/// How long before a key is put its line is asked for.
const ROWS_AHEAD: usize = 64;

/// Bucket ranges for each thread: several, so that no thread waits long for the slowest.
const RANGES_PER_THREAD: usize = 4;

/// The rows to put: which of them count, and how to compare two whose key or tag is equal.
pub(crate) struct Rows<'a, S> {
    pub(crate) count: usize,
    /// Rows without a NULL, where NULLs are kept out.
    pub(crate) valid: Option<&'a NullBuffer>,
    pub(crate) same: S,
    pub(crate) parallel: bool,
}

impl<S: Fn(RowId, RowId) -> bool + Sync> Rows<'_, S> {
    /// Builds the table and the chains. `hash_key` gives the hash of a row and its key or tag.
    pub(crate) fn fill<W, const N: usize>(
        &self,
        hash_key: impl Fn(usize) -> (u64, W) + Sync,
    ) -> (BucketTable<W, N>, Chains)
    where
        W: Copy + Eq + Default + Send + Sync,
    {
        let (mut table, mut chains) = self.empty();
        if self.is_for_many_threads() {
            self.fill_ranges(&mut table, &mut chains, rayon::current_num_threads(), hash_key);
        } else {
            self.fill_alone(&mut table, &mut chains, hash_key);
        }
        (table, chains)
    }

    /// Builds the table and the chains of words, which are hashed as often as that is of use.
    pub(crate) fn fill_words<W: KeyWord, const N: usize>(
        &self,
        words: &[W],
        hasher: &KeyHasher,
    ) -> (BucketTable<W, N>, Chains) {
        let buckets = BucketTable::<W, N>::buckets_for(self.valid_rows());
        if buckets * LINE_BYTES >= TABLE_BYTES_MIN && !self.is_for_many_threads() {
            self.fill_parted(words, hasher)
        } else {
            self.fill(|row| (words[row].hash(hasher), words[row]))
        }
    }

    fn empty<W, const N: usize>(&self) -> (BucketTable<W, N>, Chains)
    where
        W: Copy + Eq + Default + Send + Sync,
    {
        (
            BucketTable::with_room_for(self.valid_rows()),
            Chains::new(self.count),
        )
    }

    pub(super) fn valid_rows(&self) -> usize {
        self.valid
            .map_or(self.count, |valid| valid.len() - valid.null_count())
    }

    fn is_for_many_threads(&self) -> bool {
        self.parallel && rayon::current_num_threads() > 1 && self.valid_rows() >= PARALLEL_ROWS_MIN
    }

    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.valid.is_none_or(|valid| valid.is_valid(row))
    }

    /// Fills from the last row to the first. The line of a key is asked for some rows before it is put, row
    /// after row: of many that are asked for at once the last would wait for the first.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the row count was checked to fit row ids"
    )]
    fn fill_alone<W, const N: usize>(
        &self,
        table: &mut BucketTable<W, N>,
        chains: &mut Chains,
        hash_key: impl Fn(usize) -> (u64, W),
    ) where
        W: Copy + Eq + Default + Send + Sync,
    {
        let ask = |table: &BucketTable<W, N>, row: usize, slot: &mut (u64, W)| {
            *slot = hash_key(row);
            table.prefetch(table.home(slot.0));
        };
        let mut asked = [(0_u64, W::default()); ROWS_AHEAD];
        for row in self.count.saturating_sub(ROWS_AHEAD)..self.count {
            ask(table, row, &mut asked[row % ROWS_AHEAD]);
        }
        for row in (0..self.count).rev() {
            let slot = &mut asked[row % ROWS_AHEAD];
            let ((hash, key), id) = (*slot, row as RowId);
            if let Some(before) = row.checked_sub(ROWS_AHEAD) {
                ask(table, before, slot);
            }
            if self.is_valid(row) {
                table.put_linked(hash, key, id, |other| (self.same)(id, other), chains);
            }
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the row count was checked to fit row ids"
    )]
    fn fill_ranges<W, const N: usize>(
        &self,
        table: &mut BucketTable<W, N>,
        chains: &mut Chains,
        threads: usize,
        hash_key: impl Fn(usize) -> (u64, W) + Sync,
    ) where
        W: Copy + Eq + Default + Send + Sync,
    {
        let buckets = table.bucket_count();
        let range_buckets = buckets.div_ceil(threads * RANGES_PER_THREAD).max(1);
        let ranges = buckets.div_ceil(range_buckets);
        let piece_rows = self.count.div_ceil(threads).max(1);
        let home = |row: usize| home_of(hash_key(row).0, buckets);

        // Parts rows by range: pieces[piece][range] lists rows in ascending order.
        let pieces: Vec<Vec<Vec<RowId>>> = (0..self.count.div_ceil(piece_rows))
            .into_par_iter()
            .map(|piece| {
                let start = piece * piece_rows;
                let end = (start + piece_rows).min(self.count);
                let mut parts = vec![Vec::with_capacity(piece_rows / ranges * 9 / 8); ranges];
                for row in (start..end).filter(|row| self.is_valid(*row)) {
                    parts[home(row) / range_buckets].push(row as RowId);
                }
                parts
            })
            .collect();

        let filled: Vec<Range> = table
            .buckets_mut()
            .par_chunks_mut(range_buckets)
            .enumerate()
            .map(|(range, slots)| {
                let rows = pieces.iter().rev().flat_map(|parts| parts[range].iter().rev());
                self.fill_range(slots, range * range_buckets, buckets, rows, &hash_key)
            })
            .collect();

        let mut waiting: Vec<RowId> = Vec::new();
        for range in filled {
            chains.count_keys(range.keys);
            for (row, head) in range.links {
                chains.link(row, head);
            }
            waiting.extend(range.waiting);
        }
        self.put_waiting(table, chains, waiting, hash_key);
    }

    /// Puts the rows that found the part of the table where they belong full.
    pub(super) fn put_waiting<W, const N: usize>(
        &self,
        table: &mut BucketTable<W, N>,
        chains: &mut Chains,
        mut waiting: Vec<RowId>,
        hash_key: impl Fn(usize) -> (u64, W),
    ) where
        W: Copy + Eq + Default + Send + Sync,
    {
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        for row in waiting {
            let (hash, key) = hash_key(row as usize);
            table.put_linked(hash, key, row, |other| (self.same)(row, other), chains);
        }
    }

    fn fill_range<'r, W, const N: usize>(
        &self,
        slots: &mut [Bucket<W, N>],
        first_bucket: usize,
        buckets: usize,
        rows: impl Iterator<Item = &'r RowId>,
        hash_key: &impl Fn(usize) -> (u64, W),
    ) -> Range
    where
        W: Copy + Eq + Default,
    {
        let mut range = Range::default();
        for &row in rows {
            let (hash, key) = hash_key(row as usize);
            let from = home_of(hash, buckets) - first_bucket;
            match put(slots, from, key, low_half(hash), row, |other| {
                (self.same)(row, other)
            }) {
                Put::New => range.keys += 1,
                Put::Replaced(head) => range.links.push((row, head)),
                Put::Full => range.waiting.push(row),
            }
        }
        range
    }
}

/// What one thread did to its range of buckets.
#[derive(Default)]
struct Range {
    keys: usize,
    links: Vec<(RowId, RowId)>,
    waiting: Vec<RowId>,
}

#[cfg(test)]
mod tests {
    use arrow_buffer::NullBuffer;

    use super::{Rows, home_of};
    use crate::NO_ROW;
    use crate::index::bucket::{BucketTable, low_half};
    use crate::index::chain::Chains;
    use crate::key::hash::KeyHasher;

    /// Fills by ranges, on as many imagined threads as asked, and alone; compares all answers.
    fn check(keys: &[u64], hash_mask: u64, threads: usize) {
        let valid = NullBuffer::from_iter((0..keys.len()).map(|row| row % 5 != 4));
        let rows = Rows {
            count: keys.len(),
            valid: Some(&valid),
            same: |_, _| true,
            parallel: true,
        };
        let hasher = KeyHasher::new(hash_mask);
        let hash_key = |row: usize| (hasher.word(keys[row]), keys[row]);
        let mut filled = [(); 3].map(|()| {
            (
                BucketTable::<u64, 5>::with_room_for(keys.len()),
                Chains::new(keys.len()),
            )
        });
        let [
            (alone, alone_chains),
            (ranges, range_chains),
            (parted, part_chains),
        ] = &mut filled;
        rows.fill_alone(alone, alone_chains, hash_key);
        rows.fill_ranges(ranges, range_chains, threads, hash_key);
        (*parted, *part_chains) = rows.fill_parted_by(keys, &hasher, 700);

        for chains in [&*range_chains, &*part_chains] {
            assert_eq!(alone_chains.keys(), chains.keys());
            assert_eq!(alone_chains.duplicates(), chains.duplicates());
            assert_eq!(alone_chains.first_duplicate(), chains.first_duplicate());
        }
        for (row, key) in (0..).zip(keys) {
            assert_eq!(alone_chains.next(row), range_chains.next(row));
            assert_eq!(alone_chains.next(row), part_chains.next(row));
            let hash = hasher.word(*key);
            assert_eq!(home_of(hash, alone.bucket_count()), alone.home(hash) as usize);
            let found = [&*alone, &*ranges, &*parted]
                .map(|table| table.find(table.home(hash), *key, low_half(hash), |_| true));
            assert_eq!(found, [found[0]; 3]);
            assert!(row % 5 == 4 || (found[0] != NO_ROW && found[0] <= row));
        }
    }

    #[test]
    fn ranges_parts_and_one_thread_agree_also_where_rows_wait() {
        let keys: Vec<u64> = (0..3000).map(|row| row * 7 % 1700).collect();
        for threads in [1, 2, 8] {
            check(&keys, u64::MAX, threads);
            // All rows of these belong to the first bucket, so most must wait.
            check(&keys[..600], 7, threads);
            check(&keys[..600], 0, threads);
        }
        check(&[], u64::MAX, 2);
    }
}
