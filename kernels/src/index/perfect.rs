//! A perfect table: few keys, each of which has a slot of its own.
//!
//! The keys are all known when the table is built: they are thrown into buckets by one half of their
//! hash, and each bucket, the fullest first, gets a number that turns the other halves into slots that
//! are still free (Belazzougui, Botelho, Dietzfelbinger, "Hash, displace, and compress", ESA 2009). A
//! search looks at one slot, without a branch.
//!
//! ```text
//!   hash ─┬─ high half ─▶ the bucket's turn ─┐
//!         └─ low half ───────────────────────┴─▶ slot: key, row
//! ```
//!
//! Where a key's slot is in cache, this takes half the instructions of looking through a bucket of keys.
//! For tables past the caches [`Pilots`](super::pilots::Pilots) need less memory.

use super::bucket::{home_of, low_half};
use super::pilots::{by_bucket, fullest_first};
use crate::{NO_ROW, RowId};

/// More keys than this would not stay in a core's cache, and are better served otherwise.
pub(crate) const PERFECT_KEYS_MAX: usize = 1 << 14;

/// Keys of a bucket, on average: more cost turns to try, fewer cost memory.
const KEYS_PER_BUCKET: usize = 2;

/// Turns tried for a bucket. The fullest find all slots free, and the last, of one key, a ninth of them.
const TURNS_MAX: u32 = 1 << 14;

/// Odd, with bits set evenly: the golden ratio's.
const MULTIPLIER: u32 = 0x9E37_79B9;

/// Keys to row ids, by hashes that the caller computes.
#[derive(Debug)]
pub(crate) struct PerfectTable<K> {
    /// Of each bucket.
    turns: Vec<u32>,
    keys: Vec<K>,
    /// Of each slot; `NO_ROW` where it is free, whatever its key.
    rows: Vec<RowId>,
}

impl<K: Copy + Eq + Default> PerfectTable<K> {
    /// Builds from distinct keys, which come with their hashes and rows; none where there are too many,
    /// or hashes are equal.
    pub(crate) fn build(hashes: &[u64], entries: &[(K, RowId)]) -> Option<Self> {
        if entries.len() > PERFECT_KEYS_MAX {
            return None;
        }
        let slots = entries.len() + entries.len() / 8 + 1;
        let buckets = entries.len().div_ceil(KEYS_PER_BUCKET).max(1);
        let mut table = Self {
            turns: vec![0; buckets],
            keys: vec![K::default(); slots],
            rows: vec![NO_ROW; slots],
        };
        let (starts, members) = by_bucket(hashes, buckets);
        let mut taken = Vec::new();
        for bucket in fullest_first(&starts) {
            let members = &members[starts[bucket] as usize..starts[bucket + 1] as usize];
            table.settle(bucket, members, entries, &mut taken)?;
        }
        Some(table)
    }

    /// Finds a turn for a bucket that gives each of its keys a free slot, and puts them there.
    fn settle(
        &mut self,
        bucket: usize,
        members: &[(u32, u64)],
        entries: &[(K, RowId)],
        taken: &mut Vec<usize>,
    ) -> Option<()> {
        for turn in (0..TURNS_MAX).map(|at| at.wrapping_mul(MULTIPLIER)) {
            taken.clear();
            for (_, hash) in members {
                let slot = self.slot(*hash, turn);
                if self.rows[slot] != NO_ROW || taken.contains(&slot) {
                    break;
                }
                taken.push(slot);
            }
            if taken.len() == members.len() {
                self.turns[bucket] = turn;
                for ((entry, _), slot) in members.iter().zip(&*taken) {
                    (self.keys[*slot], self.rows[*slot]) = entries[*entry as usize];
                }
                return Some(());
            }
        }
        None
    }

    /// Returns the row of a key with this hash, or `NO_ROW`.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, key: K) -> RowId {
        let slot = self.slot(hash, self.turns[home_of(hash, self.turns.len())]);
        self.rows[slot] | u32::from(self.keys[slot] != key).wrapping_neg()
    }

    #[inline(always)]
    fn slot(&self, hash: u64, turn: u32) -> usize {
        let turned = (low_half(hash) ^ turn).wrapping_mul(MULTIPLIER);
        ((u64::from(turned) * self.rows.len() as u64) >> 32) as usize
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.keys.capacity() * size_of::<K>()
            + (self.rows.capacity() + self.turns.capacity()) * size_of::<u32>()
    }
}

const _: () = assert!(
    NO_ROW == RowId::MAX,
    "a key that is not in its slot sets all bits of the row"
);

#[cfg(test)]
mod tests {
    use super::{PERFECT_KEYS_MAX, PerfectTable};
    use crate::NO_ROW;
    use crate::key::hash::KeyHasher;

    #[test]
    fn every_key_has_a_slot_of_its_own() {
        let hasher = KeyHasher::new(u64::MAX);
        for count in [0, 1, 2, 3, 5, 8, 9, 100, 1000, 1025, PERFECT_KEYS_MAX] {
            let entries: Vec<(u64, u32)> = (0..).zip(7..).take(count).collect();
            let hashes: Vec<u64> = entries.iter().map(|(key, _)| hasher.word(*key)).collect();
            let table = PerfectTable::build(&hashes, &entries).unwrap();
            for (key, at) in (0..).zip(0..2 * count + 1) {
                let expected = entries.get(at).map_or(NO_ROW, |(_, row)| *row);
                assert_eq!(table.find(hasher.word(key), key), expected, "{key} of {count}");
            }
            assert!(table.heap_bytes() <= 16 * count + 16);
        }
    }

    #[test]
    fn equal_hashes_and_too_many_keys_have_no_table() {
        assert!(PerfectTable::build(&[1, 2, 1], &[(0_u64, 0), (1, 1), (2, 2)]).is_none());
        let hasher = KeyHasher::new(u64::MAX);
        let entries: Vec<(u64, u32)> = (0..).zip(0..).take(PERFECT_KEYS_MAX + 1).collect();
        let hashes: Vec<u64> = entries.iter().map(|(key, _)| hasher.word(*key)).collect();
        assert!(PerfectTable::build(&hashes, &entries).is_none());
    }
}
