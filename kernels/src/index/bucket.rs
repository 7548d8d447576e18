//! Buckets: an open-addressing table whose unit is the cache line.
//!
//! ```text
//!   one bucket, 64 bytes                     (N = 5 for u64 keys, 3 for u128, 7 for u32 tags)
//!   ┌───────┬───────┬─────┬───────┬───────┬───────┬─────┬───────┬──────────┐
//!   │ key 0 │ key 1 │  …  │ key N │ row 0 │ row 1 │  …  │ row N │ overflow │
//!   └───────┴───────┴─────┴───────┴───────┴───────┴─────┴───────┴──────────┘
//!   slots fill from the left; a row of NO_ROW marks an empty slot
//! ```
//!
//! A key lives in the bucket its hash names, its *home*, or, where that is full, in the next
//! bucket with room. The overflow word of the home is then a small Bloom filter of the keys that
//! went on, one bit of 32 each, so that a search for an absent key nearly always ends at home
//! (the idea is Boost's `unordered_flat_map`'s). A search that goes on ends at the key or at the
//! first bucket that is not full.
//!
//! At four fifths full that costs 16 bytes a row for u64 keys, 27 for u128 and 12 for tags. The
//! home is the high half of the hash scaled to the number of buckets (Lemire, "Fast random integer
//! generation in an interval", 2019), which need not be a power of two; filter bits and tags come
//! from the low half.

use super::chain::Chains;
use crate::prefetch::prefetch;
use crate::{NO_ROW, RowId};

/// Keys probed at a time: the misses of a block overlap, its state stays in the first cache.
pub(crate) const BLOCK_ROWS: usize = 128;

/// Slots used of every ten when a table is built: more makes overflow common, fewer costs memory.
const FILL_TENTHS: usize = 8;

/// The same for tables of so few rows that their memory does not matter: overflow, and with it a
/// mispredicted branch, becomes rare.
const FILL_TENTHS_SMALL: usize = 4;

/// Rows of a small table: half a megabyte of `u64` keys, which the second-level cache holds.
const SMALL_ROWS_MAX: usize = 1 << 14;

/// Tables below this size live in the cache, where asking ahead only costs instructions.
const PREFETCH_BYTES_MIN: usize = 256 << 10;

/// One cache line of slots.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Bucket<W, const N: usize> {
    keys: [W; N],
    rows: [RowId; N],
    overflow: u32,
}

impl<W: Copy + Eq + Default, const N: usize> Bucket<W, N> {
    /// Whether a bucket has no bytes but those of its fields.
    pub(super) const IS_PACKED: bool =
        N * (size_of::<W>() + size_of::<RowId>()) + size_of::<u32>() == size_of::<Self>();

    pub(super) fn empty() -> Self {
        Self {
            keys: [W::default(); N],
            rows: [NO_ROW; N],
            overflow: 0,
        }
    }

    /// Returns the number of slots in use.
    pub(super) fn used(&self) -> usize {
        self.rows.iter().filter(|row| **row != NO_ROW).count()
    }

    /// Says whether a key may be here: the default key always is where a slot is empty.
    #[inline(always)]
    pub(super) fn may_have(&self, key: W) -> bool {
        self.keys.iter().fold(false, |any, other| any | (*other == key))
    }

    /// Says whether two slots in use have the same key.
    #[inline(always)]
    pub(super) fn repeats(&self) -> bool {
        (1..N).fold(false, |any, slot| {
            let earlier = self.keys[..slot].iter();
            let is_earlier = earlier.fold(false, |any, key| any | (*key == self.keys[slot]));
            any | (is_earlier & (self.rows[slot] != NO_ROW))
        })
    }

    /// Makes a row the first of its key, and returns the one that was, where there is one.
    pub(super) fn replace(&mut self, key: W, row: RowId, same: impl Fn(RowId) -> bool) -> Option<RowId> {
        let slot = self.slot_of(key, same)?;
        Some(std::mem::replace(&mut self.rows[slot], row))
    }

    /// Returns what is in a slot.
    #[inline(always)]
    pub(super) fn at(&self, slot: usize) -> (W, RowId) {
        (self.keys[slot], self.rows[slot])
    }

    /// Marks that a key with this low half of its hash went on from here, where told so.
    #[inline(always)]
    pub(super) fn mark_overflow_if(&mut self, goes_on: bool, low: u32) {
        self.overflow |= u32::from(goes_on) << (low % 32);
    }

    /// Fills a slot.
    #[inline(always)]
    pub(super) fn write(&mut self, slot: usize, key: W, row: RowId) {
        self.keys[slot] = key;
        self.rows[slot] = row;
    }

    #[inline(always)]
    fn is_full(&self) -> bool {
        self.rows[N - 1] != NO_ROW
    }

    /// Says whether a key with this home, and this low half of its hash, may have gone on.
    #[inline(always)]
    fn may_overflow(&self, low: u32) -> bool {
        self.overflow >> (low % 32) & 1 == 1
    }

    /// Returns the row of the first slot with a key, or `NO_ROW`.
    ///
    /// Comparisons are gathered into bits: as an `if` or a `min` a slot they become branches,
    /// whose mispredictions cost several times the comparison. The default key in an empty slot
    /// does no harm, since slots in use come first and an empty one holds `NO_ROW`.
    #[inline(always)]
    fn first(&self, key: W) -> RowId {
        let mut equal = 0_u32;
        for slot in 0..N {
            equal |= u32::from(self.keys[slot] == key) << slot;
        }
        let slot = (equal.trailing_zeros() as usize).min(N - 1);
        self.rows[slot] | u32::from(equal == 0).wrapping_neg()
    }

    /// Returns the number of slots in use, and whether one of them has a key.
    #[inline(always)]
    fn filled(&self, key: W) -> (usize, bool) {
        let (mut filled, mut is_there) = (0, false);
        for slot in 0..N {
            let is_used = self.rows[slot] != NO_ROW;
            filled += usize::from(is_used);
            is_there |= is_used & (self.keys[slot] == key);
        }
        (filled, is_there)
    }

    /// Returns the slot of a confirmed row of a key.
    #[inline(always)]
    fn slot_of(&self, key: W, same: impl Fn(RowId) -> bool) -> Option<usize> {
        // Without a row of the key there is no slot to look for: the usual case.
        if self.first(key) == NO_ROW {
            return None;
        }
        (0..N).find(|slot| {
            let row = self.rows[*slot];
            self.keys[*slot] == key && row != NO_ROW && same(row)
        })
    }
}

/// What became of a row put into a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// Its key was new.
    New,
    /// Its key was there; the row has taken the place of this one.
    Replaced(RowId),
    /// No room between its home and the end of the slice.
    Full,
}

/// Buckets of keys of type `W`, or of tags that only hint at a key.
#[derive(Debug)]
pub(crate) struct BucketTable<W, const N: usize> {
    buckets: Vec<Bucket<W, N>>,
}

impl<W: Copy + Eq + Default + Send + Sync, const N: usize> BucketTable<W, N> {
    /// Makes an empty table with room for `rows` keys.
    pub(crate) fn with_room_for(rows: usize) -> Self {
        Self::of_buckets(vec![Bucket::empty(); Self::buckets_for(rows)])
    }

    /// Makes a table of buckets that are filled already.
    pub(super) fn of_buckets(buckets: Vec<Bucket<W, N>>) -> Self {
        Self { buckets }
    }

    /// Returns the number of buckets that `rows` keys need.
    pub(super) fn buckets_for(rows: usize) -> usize {
        let fill_tenths = if rows <= SMALL_ROWS_MAX {
            FILL_TENTHS_SMALL
        } else {
            FILL_TENTHS
        };
        (rows * 10).div_ceil(fill_tenths * N).max(1)
    }

    pub(crate) fn bucket_count(&self) -> usize {
        self.buckets.len()
    }

    pub(crate) fn buckets_mut(&mut self) -> &mut [Bucket<W, N>] {
        &mut self.buckets
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket<W, N>>()
    }

    /// Says whether the table is too large for the cache.
    pub(crate) fn is_large(&self) -> bool {
        self.buckets.len() * size_of::<Bucket<W, N>>() >= PREFETCH_BYTES_MIN
    }

    /// Returns the home of a hash.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below the number of buckets, which fits"
    )]
    pub(crate) fn home(&self, hash: u64) -> u32 {
        home_of(hash, self.buckets.len()) as u32
    }

    /// Asks for the cache line of a home.
    #[inline(always)]
    pub(crate) fn prefetch(&self, home: u32) {
        prefetch(&self.buckets, home as usize);
    }

    /// Returns the row found in the home bucket alone, and whether the search is over.
    #[inline(always)]
    pub(crate) fn first_look(&self, home: u32, key: W, low: u32) -> (RowId, bool) {
        let bucket = &self.buckets[home as usize];
        let row = bucket.first(key);
        (row, (row != NO_ROW) | !bucket.may_overflow(low))
    }

    /// Returns the row found in the bucket at a distance from a home that sent the search on, and
    /// whether the search is over.
    #[inline(always)]
    pub(crate) fn later_look(&self, home: u32, distance: u32, key: W) -> (RowId, bool) {
        let mut at = home as usize + distance as usize;
        while at >= self.buckets.len() {
            at -= self.buckets.len();
        }
        let bucket = &self.buckets[at];
        let row = bucket.first(key);
        let all_seen = distance as usize >= self.buckets.len();
        (row, (row != NO_ROW) | !bucket.is_full() | all_seen)
    }

    /// Hands over every slot's key and row: `NO_ROW`, and no key of the table, where it is empty. One after
    /// the other come slots of distant buckets, so that what is done with them need not wait for each other.
    #[inline(always)]
    pub(crate) fn for_each_slot(&self, mut take: impl FnMut(W, RowId)) {
        let quarter = self.buckets.len() / 4;
        let (quarters, rest) = self.buckets.split_at(4 * quarter);
        for at in 0..quarter {
            for slot in 0..N {
                for bucket in [0, 1, 2, 3].map(|of| &quarters[of * quarter + at]) {
                    take(bucket.keys[slot], bucket.rows[slot]);
                }
            }
        }
        for bucket in rest {
            (0..N).for_each(|slot| take(bucket.keys[slot], bucket.rows[slot]));
        }
    }

    /// Returns every key there is, with its row.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (W, RowId)> {
        self.buckets.iter().flat_map(|bucket| {
            let slots = bucket.keys.iter().copied().zip(bucket.rows);
            slots.take_while(|(_, row)| *row != NO_ROW)
        })
    }

    /// Searches for a key from its home on; `same` confirms a row whose key or tag is equal.
    #[inline(never)]
    pub(crate) fn find(&self, home: u32, key: W, low: u32, same: impl Fn(RowId) -> bool) -> RowId {
        let mut at = home as usize;
        let may_overflow = self.buckets[at].may_overflow(low);
        // Four fifths full at most, so a bucket with room ends every search.
        loop {
            let bucket = &self.buckets[at];
            if let Some(slot) = bucket.slot_of(key, &same) {
                return bucket.rows[slot];
            }
            if !may_overflow || !bucket.is_full() {
                return NO_ROW;
            }
            at += 1;
            if at == self.buckets.len() {
                at = 0;
            }
        }
    }

    /// Puts a row into the whole table, wrapping at its end, and links it to its key's chain.
    pub(crate) fn put_linked(
        &mut self,
        hash: u64,
        key: W,
        row: RowId,
        same: impl Fn(RowId) -> bool,
        chains: &mut Chains,
    ) {
        let home = home_of(hash, self.buckets.len());
        let mut outcome = put(&mut self.buckets, home, key, low_half(hash), row, &same);
        if outcome == Put::Full {
            outcome = put(&mut self.buckets, 0, key, low_half(hash), row, &same);
            self.buckets[home].mark_overflow_if(true, low_half(hash));
        }
        match outcome {
            Put::Replaced(head) => chains.link(row, head),
            Put::New => chains.count_key(),
            Put::Full => debug_assert!(false, "a table has room for all its rows"),
        }
    }
}

/// Returns the half of a hash that its home is not taken from.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes the low half")]
pub(crate) fn low_half(hash: u64) -> u32 {
    hash as u32
}

/// Returns the home of a hash among `buckets` buckets.
#[inline(always)]
pub(crate) fn home_of(hash: u64, buckets: usize) -> usize {
    (((hash >> 32) * buckets as u64) >> 32) as usize
}

/// Puts a row into a slice of buckets, searching from bucket `from` to the slice's end.
///
/// Rows come in descending order, so a row whose key is there takes its slot and becomes the
/// head of the key's chain. A key that does not fit into its first bucket is marked there.
#[inline]
pub(crate) fn put<W: Copy + Eq + Default, const N: usize>(
    buckets: &mut [Bucket<W, N>],
    from: usize,
    key: W,
    low: u32,
    row: RowId,
    same: impl Fn(RowId) -> bool,
) -> Put {
    for at in from..buckets.len() {
        let bucket = &mut buckets[at];
        let (filled, is_there) = bucket.filled(key);
        if is_there && let Some(head) = bucket.replace(key, row, &same) {
            return Put::Replaced(head);
        }
        if filled < N {
            bucket.write(filled, key, row);
            if at != from {
                buckets[from].mark_overflow_if(true, low);
            }
            return Put::New;
        }
    }
    Put::Full
}

#[cfg(test)]
mod tests {
    use super::{Bucket, BucketTable};
    use crate::NO_ROW;
    use crate::index::chain::Chains;

    #[test]
    fn is_one_cache_line() {
        assert_eq!(size_of::<Bucket<u64, 5>>(), 64);
        assert_eq!(size_of::<Bucket<u128, 3>>(), 64);
        assert_eq!(size_of::<Bucket<u32, 7>>(), 64);
    }

    #[test]
    fn overflows_into_the_next_bucket_and_wraps() {
        let mut table = BucketTable::<u64, 5>::with_room_for(16);
        let last = u32::try_from(table.bucket_count()).map_or(0, |buckets| buckets - 1);
        let mut chains = Chains::new(16);
        for row in (0..16).rev() {
            table.put_linked(u64::MAX << 32, u64::from(row), row, |_| true, &mut chains);
        }
        for row in 0..16 {
            assert_eq!(table.find(last, u64::from(row), 0, |_| true), row);
        }
        assert_eq!(table.find(last, 99, 0, |_| true), NO_ROW);
        assert_eq!(table.find(last, 0, 0, |_| false), NO_ROW);
        // Of sixteen keys five are in the last bucket, and five in the first.
        assert_eq!(table.later_look(last, 1, 6), (6, true));
        assert_eq!(table.later_look(last, 1, 99), (NO_ROW, false));
        assert_eq!(table.later_look(last, 2, 6), (NO_ROW, false));
        let mut entries: Vec<(u64, u32)> = table.entries().collect();
        entries.sort_unstable();
        assert_eq!(entries, (0..16).zip(0..16).collect::<Vec<_>>());
        // No key with another low half has gone on.
        assert_eq!(table.first_look(last, 99, 0), (NO_ROW, false));
        assert_eq!(table.first_look(last, 99, 1), (NO_ROW, true));
    }
}
