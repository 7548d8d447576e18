//! Buckets of atomics: one cache line of slots that a writer fills while readers look.
//!
//! The layout is that of the immutable [`index`](crate::index) (`index/bucket.rs`), and so is the
//! search. What is added is an order of loads and stores:
//!
//! ```text
//!   writer, new key       key ─▶ overflow bit of the home ─▶ row (Release)
//!   writer, known key                                        row (Release)
//!   reader                key ─▶ row (Acquire) ─▶ key again
//! ```
//!
//! A slot's key never changes once its row is stored. A reader may take a slot's unwritten key for
//! its own (all zeros) and then load the row of another key: the second look at the key, which
//! comes after the row that it belongs to, tells. A reader that misses a key written just now
//! loses nothing: its version is older than that.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::slot::EMPTY;
use crate::key::words::KeyWord;

/// A key word that can be stored in atomics.
pub(super) trait LiveWord: KeyWord {
    /// Holds one word.
    type Cell: Default + Send + Sync + 'static;

    /// Loads the word. A word being written may come out torn.
    fn read(cell: &Self::Cell) -> Self;

    /// Stores the word.
    fn write(cell: &Self::Cell, word: Self);
}

impl LiveWord for u64 {
    type Cell = AtomicU64;

    #[inline(always)]
    fn read(cell: &AtomicU64) -> Self {
        cell.load(Relaxed)
    }

    #[inline(always)]
    fn write(cell: &AtomicU64, word: Self) {
        cell.store(word, Relaxed);
    }
}

impl LiveWord for u128 {
    type Cell = [AtomicU64; 2];

    #[inline(always)]
    fn read([low, high]: &[AtomicU64; 2]) -> Self {
        Self::from(low.load(Relaxed)) | Self::from(high.load(Relaxed)) << 64
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the two halves")]
    fn write([low, high]: &[AtomicU64; 2], word: Self) {
        low.store(word as u64, Relaxed);
        high.store((word >> 64) as u64, Relaxed);
    }
}

/// One cache line of slots: 5 for `u64` words, 3 for `u128`.
#[repr(C, align(64))]
pub(super) struct Bucket<W: LiveWord, const N: usize> {
    keys: [W::Cell; N],
    slots: [AtomicU32; N],
    overflow: AtomicU32,
}

impl<W: LiveWord, const N: usize> Default for Bucket<W, N> {
    fn default() -> Self {
        Self {
            keys: std::array::from_fn(|_| W::Cell::default()),
            slots: std::array::from_fn(|_| AtomicU32::new(EMPTY)),
            overflow: AtomicU32::new(0),
        }
    }
}

/// Where the writer finds a key.
pub(super) enum Place<'a, W: LiveWord, const N: usize> {
    /// In this slot.
    Found(&'a AtomicU32),
    /// Nowhere; there is room in this bucket, which already has so many keys.
    Free(&'a Bucket<W, N>, usize),
    /// Nowhere, and there is no room.
    Full,
}

impl<W: LiveWord, const N: usize> Bucket<W, N> {
    #[inline(always)]
    fn is_full(&self) -> bool {
        self.slots[N - 1].load(Relaxed) != EMPTY
    }

    #[inline(always)]
    fn may_overflow(&self, low: u32) -> bool {
        self.overflow.load(Relaxed) >> (low % 32) & 1 == 1
    }

    /// Returns a bit for each slot whose key is, or seems to be, this one.
    #[inline(always)]
    fn equal(&self, key: W) -> u32 {
        let mut equal = 0_u32;
        for slot in 0..N {
            equal |= u32::from(W::read(&self.keys[slot]) == key) << slot;
        }
        equal
    }

    /// Returns what a key's slot in this bucket holds, or `EMPTY`; without a branch.
    #[inline(always)]
    fn look(&self, key: W) -> u32 {
        let equal = self.equal(key);
        let slot = (equal.trailing_zeros() as usize).min(N - 1);
        let found = self.slots[slot].load(Acquire);
        let is_other = (equal == 0) | (W::read(&self.keys[slot]) != key);
        found | u32::from(is_other).wrapping_neg()
    }

    /// Returns what the home alone tells, and whether the search is over.
    #[inline(always)]
    pub(super) fn first_look(&self, key: W, low: u32) -> (u32, bool) {
        let found = self.look(key);
        (found, (found != EMPTY) | !self.may_overflow(low))
    }

    /// Returns what the bucket after a home tells, and whether the search is over.
    #[inline(always)]
    pub(super) fn second_look(&self, key: W) -> (u32, bool) {
        let found = self.look(key);
        (found, (found != EMPTY) | !self.is_full())
    }

    /// Calls back with every slot in use.
    pub(super) fn each_slot(&self, mut each: impl FnMut(u32)) {
        for slot in &self.slots {
            let found = slot.load(Acquire);
            if found != EMPTY {
                each(found);
            }
        }
    }

    /// Calls back with every key and its slot; for the writer, or where nobody writes.
    pub(super) fn each_key(&self, mut each: impl FnMut(W, u32)) {
        for (key, slot) in self.keys.iter().zip(&self.slots) {
            let found = slot.load(Acquire);
            if found != EMPTY {
                each(W::read(key), found);
            }
        }
    }

    /// Puts a key into the bucket's slot `at`, which is the first without one.
    #[inline(always)]
    pub(super) fn fill(&self, at: usize, key: W, slot: u32, home: &Self, low: u32) {
        W::write(&self.keys[at], key);
        if !std::ptr::eq(self, home) {
            home.overflow.fetch_or(1 << (low % 32), Relaxed);
        }
        self.slots[at].store(slot, Release);
    }

    /// Returns the writer's slot of a key, or how many slots are in use.
    #[inline(always)]
    fn slot_of(&self, key: W) -> Result<&AtomicU32, usize> {
        let filled = self
            .slots
            .iter()
            .map(|slot| usize::from(slot.load(Relaxed) != EMPTY))
            .sum();
        // Slots fill from the left: an unused one with the same (unwritten) key comes after it.
        let at = self.equal(key).trailing_zeros() as usize;
        if at < filled {
            Ok(&self.slots[at])
        } else {
            Err(filled)
        }
    }
}

/// Searches a shard for a key from its home on, as a reader.
#[inline(never)]
pub(super) fn find<W: LiveWord, const N: usize>(
    buckets: &[Bucket<W, N>],
    home: usize,
    key: W,
    low: u32,
) -> u32 {
    let (mut found, mut done) = buckets[home].first_look(key, low);
    let mut at = home;
    // A shard has a bucket with room, which ends every search; one round is enough whatever races.
    for _ in 1..buckets.len() {
        if done {
            break;
        }
        at = if at + 1 < buckets.len() { at + 1 } else { 0 };
        (found, done) = buckets[at].second_look(key);
    }
    found
}

/// Searches a shard for a key, or for room for it, as the writer.
#[inline]
pub(super) fn place<W: LiveWord, const N: usize>(
    buckets: &[Bucket<W, N>],
    home: usize,
    key: W,
) -> Place<'_, W, N> {
    let mut at = home;
    for _ in 0..buckets.len() {
        match buckets[at].slot_of(key) {
            Ok(slot) => return Place::Found(slot),
            Err(filled) if filled < N => return Place::Free(&buckets[at], filled),
            Err(_) => at = if at + 1 < buckets.len() { at + 1 } else { 0 },
        }
    }
    Place::Full
}

#[cfg(test)]
mod tests {
    use super::{Bucket, Place, find, place};
    use crate::live::slot::EMPTY;

    #[test]
    fn is_one_cache_line() {
        assert_eq!(size_of::<Bucket<u64, 5>>(), 64);
        assert_eq!(size_of::<Bucket<u128, 3>>(), 64);
    }

    #[test]
    fn overflows_wraps_and_tells_zero_from_nothing() {
        let buckets: Vec<Bucket<u128, 3>> = (0..4).map(|_| Bucket::default()).collect();
        for key in 0..8_u32 {
            let Place::Free(bucket, at) = place(&buckets, 3, u128::from(key)) else {
                panic!("key {key} is there already, or has no room");
            };
            bucket.fill(at, u128::from(key), key + 100, &buckets[3], 5);
            assert_eq!(find(&buckets, 3, u128::from(key), 5), key + 100);
            assert!(matches!(place(&buckets, 3, u128::from(key)), Place::Found(_)));
        }
        assert_eq!(find(&buckets, 3, 99, 5), EMPTY);
        assert_eq!(find(&buckets, 2, 0, 5), EMPTY);
        // The key of all zeros is in the last bucket, not in an unused slot of another.
        assert_eq!(find(&buckets, 3, 0, 5), 100);
    }
}
