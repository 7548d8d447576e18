//! Shards: the index in parts, each an array of buckets that is rebuilt alone.
//!
//! ```text
//!   hash   │ shard │ home within it      │ … │ overflow bit │
//!
//!   ShardMap (one Arc)      ┌─ shard 0 ─▶ [bucket][bucket]…          readers probe these
//!     held by versions  ────┼─ shard 1 ─▶ [bucket]…                  while the writer puts
//!     and by the writer     └─ …
//! ```
//!
//! A full shard is copied to a larger one without its deletions, in a new map. Versions that hold
//! the old map keep the old shard, which changes no more; what the new one lacks (deletions) only
//! they could have to look past. The shards' sizes are staggered, so that they fill up one after
//! another as a table grows, and no commit rebuilds many.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};

use rayon::prelude::*;

use super::bucket::{Bucket, LiveWord, Place, find, place};
use super::slot::{DELETED, EMPTY, is_row};
use crate::RowId;
use crate::index::{BLOCK_ROWS, home_of, low_half};
use crate::key::hash::KeyHasher;
use crate::prefetch::prefetch;

/// Slots used of every ten before a shard is rebuilt.
const FILL_TENTHS: usize = 8;

/// How much larger the next size of a shard is.
const GROWTH: f64 = 1.5;

/// Shards of fewer buckets are not rebuilt for their deletions alone.
const PURGE_BUCKETS_MIN: usize = 8;

type Shard<W, const N: usize> = Arc<[Bucket<W, N>]>;

/// The shards as one version sees them.
pub(super) struct ShardMap<W: LiveWord, const N: usize> {
    shards: Box<[Shard<W, N>]>,
    hasher: KeyHasher,
    /// Bits of a hash that name the shard.
    bits: u32,
}

impl<W: LiveWord, const N: usize> Clone for ShardMap<W, N> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
            hasher: self.hasher.clone(),
            bits: self.bits,
        }
    }
}

fn empty_shard<W: LiveWord, const N: usize>(buckets: usize) -> Shard<W, N> {
    (0..buckets).map(|_| Bucket::default()).collect()
}

impl<W: LiveWord, const N: usize> ShardMap<W, N> {
    fn new(shards: usize, hash_mask: u64) -> Self {
        Self {
            shards: (0..shards).map(|_| empty_shard(1)).collect(),
            hasher: KeyHasher::new(hash_mask),
            bits: shards.trailing_zeros(),
        }
    }

    #[inline(always)]
    fn shard_of(&self, hash: u64) -> usize {
        // In two steps, since a single shard has no bits at all.
        ((hash >> 1) >> (63 - self.bits)) as usize
    }

    /// Returns the shard of a word.
    #[inline(always)]
    pub(super) fn shard_of_word(&self, word: W) -> usize {
        self.shard_of(word.hash(&self.hasher))
    }

    #[inline(always)]
    fn home(&self, hash: u64, buckets: usize) -> usize {
        home_of(hash << self.bits, buckets)
    }

    /// Writes what each word's slot holds, or `EMPTY`.
    ///
    /// Block by block in passes, as the immutable index does: see `index/word_table.rs`.
    pub(super) fn locate(&self, words: &[W], slots: &mut [u32]) {
        let mut probes = [(0_u32, 0_u32, 0_u32); BLOCK_ROWS];
        let mut aside = [0_u8; BLOCK_ROWS];
        for (words, slots) in words.chunks(BLOCK_ROWS).zip(slots.chunks_mut(BLOCK_ROWS)) {
            for (word, probe) in words.iter().zip(&mut probes) {
                *probe = self.prepare(word.hash(&self.hasher));
            }
            let mut waiting = 0;
            for (at, word) in (0_u8..).zip(words) {
                let (shard, home, low) = probes[usize::from(at)];
                let bucket = &self.shards[shard as usize][home as usize];
                let (found, done) = bucket.first_look(*word, low);
                slots[usize::from(at)] = found;
                aside[waiting] = at;
                waiting += usize::from(!done);
            }
            for at in aside[..waiting].iter().map(|at| usize::from(*at)) {
                let (shard, home, _) = probes[at];
                prefetch(&self.shards[shard as usize], home as usize + 1);
            }
            for at in aside[..waiting].iter().map(|at| usize::from(*at)) {
                let (shard, home, low) = probes[at];
                slots[at] = find(&self.shards[shard as usize], home as usize, words[at], low);
            }
        }
    }

    /// Finds a hash's place and asks for its line.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "numbers of shards and buckets, which are fewer than row ids"
    )]
    fn prepare(&self, hash: u64) -> (u32, u32, u32) {
        let shard = self.shard_of(hash);
        let buckets = &self.shards[shard];
        let home = self.home(hash, buckets.len());
        prefetch(buckets, home);
        (shard as u32, home as u32, low_half(hash))
    }

    pub(super) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Calls back with every slot in use of a shard.
    pub(super) fn each_slot(&self, shard: usize, mut each: impl FnMut(u32)) {
        for bucket in self.shards[shard].iter() {
            bucket.each_slot(&mut each);
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let buckets: usize = self.shards.iter().map(|shard| shard.len()).sum();
        buckets * size_of::<Bucket<W, N>>() + self.shards.len() * size_of::<Shard<W, N>>()
    }
}

/// What the writer knows of a shard.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Slots in use, deletions among them.
    used: usize,
    deleted: usize,
}

/// The one that puts keys into the shards.
pub(super) struct ShardWriter<W: LiveWord, const N: usize> {
    map: Arc<ShardMap<W, N>>,
    counts: Vec<Count>,
}

impl<W: LiveWord, const N: usize> ShardWriter<W, N> {
    pub(super) fn new(shards: usize, hash_mask: u64) -> Self {
        Self {
            map: Arc::new(ShardMap::new(shards, hash_mask)),
            counts: vec![Count::default(); shards],
        }
    }

    /// Returns the shards as they are now, for a version.
    pub(super) fn map(&self) -> &Arc<ShardMap<W, N>> {
        &self.map
    }

    /// Puts all keys of a table into shards that are empty, on rayon's threads: `keys_of` gives a
    /// shard's words and their rows, in ascending order. Returns the rows that a later one of their
    /// key replaced.
    pub(super) fn fill<'a, Keys>(&mut self, keys_of: impl Fn(usize) -> Keys + Sync) -> Vec<RowId>
    where
        Keys: Iterator<Item = (&'a [W], &'a [RowId])> + Clone,
    {
        let ShardMap { shards, hasher, bits } = Arc::make_mut(&mut self.map);
        let (hasher, bits, count) = (&*hasher, *bits, shards.len());
        let places = shards.par_iter_mut().zip(self.counts.par_iter_mut());
        let filled = places.enumerate().map(|(shard, (place, used))| {
            let keys = keys_of(shard);
            let rows: usize = keys.clone().map(|(_, rows)| rows.len()).sum();
            let fresh: Shard<W, N> = empty_shard(buckets_for::<N>(rows, shard, count));
            let mut replaced = Vec::new();
            for (words, rows) in keys {
                fill_shard(&fresh, words, rows, |word| word.hash(hasher), bits, &mut replaced);
            }
            used.used = rows - replaced.len();
            *place = fresh;
            replaced
        });
        let replaced: Vec<Vec<RowId>> = filled.collect();
        replaced.concat()
    }

    /// Puts a slot for each word. `replacing` is told the new slot and the one it replaces, or
    /// `EMPTY`, before any reader can see the new one.
    pub(super) fn put(
        &mut self,
        words: &[W],
        slot: impl Fn(usize) -> u32,
        mut replacing: impl FnMut(u32, u32),
    ) {
        self.reserve(words.len());
        let mut hashes = [0_u64; BLOCK_ROWS];
        let mut start = 0;
        for words in words.chunks(BLOCK_ROWS) {
            for (word, hash) in words.iter().zip(&mut hashes) {
                *hash = word.hash(&self.map.hasher);
                self.map.prepare(*hash);
            }
            for (at, (word, hash)) in words.iter().zip(&hashes).enumerate() {
                self.put_one(*hash, *word, slot(start + at), &mut replacing);
            }
            start += words.len();
        }
    }

    #[inline(always)]
    fn put_one(&mut self, hash: u64, word: W, slot: u32, replacing: &mut impl FnMut(u32, u32)) {
        let shard = self.map.shard_of(hash);
        loop {
            let buckets = &self.map.shards[shard];
            let home = self.map.home(hash, buckets.len());
            let count = &mut self.counts[shard];
            match place(buckets, home, word) {
                Place::Found(found) => {
                    let old = found.load(Relaxed);
                    replacing(slot, old);
                    found.store(slot, Release);
                    count.deleted += usize::from(!is_row(slot));
                    count.deleted -= usize::from(!is_row(old));
                    if count.deleted * 2 > count.used && buckets.len() >= PURGE_BUCKETS_MIN {
                        self.rebuild(shard, 0);
                    }
                    return;
                }
                Place::Free(bucket, at) if count.used < limit::<N>(buckets.len()) => {
                    replacing(slot, EMPTY);
                    bucket.fill(at, word, slot, &buckets[home], low_half(hash));
                    count.used += 1;
                    count.deleted += usize::from(!is_row(slot));
                    return;
                }
                Place::Free(..) | Place::Full => self.rebuild(shard, 1),
            }
        }
    }

    /// Makes room for many keys at once, so that loading a table does not grow it step by step.
    fn reserve(&mut self, keys: usize) {
        let used: usize = self.counts.iter().map(|count| count.used).sum();
        if keys < 1024 || keys < 2 * used || self.map.hasher.is_cut() {
            return;
        }
        // Evenly spread but for a little, which a rebuild covers.
        let each = keys / self.counts.len() + keys / self.counts.len() / 16 + 1;
        for shard in 0..self.counts.len() {
            if self.counts[shard].used + each > limit::<N>(self.map.shards[shard].len()) {
                self.rebuild(shard, each);
            }
        }
    }

    /// Copies a shard to one with room for so many more keys, without its deletions.
    #[inline(never)]
    fn rebuild(&mut self, shard: usize, more: usize) {
        let count = self.counts[shard];
        let kept = count.used - count.deleted;
        let old = Arc::clone(&self.map.shards[shard]);
        let fresh: Shard<W, N> = empty_shard(buckets_for::<N>(kept + more, shard, self.counts.len()));
        for bucket in old.iter() {
            bucket.each_key(|key, slot| {
                if slot & DELETED == 0 {
                    let hash = key.hash(&self.map.hasher);
                    let home = self.map.home(hash, fresh.len());
                    if let Place::Free(into, at) = place(&fresh, home, key) {
                        into.fill(at, key, slot, &fresh[home], low_half(hash));
                    }
                }
            });
        }
        Arc::make_mut(&mut self.map).shards[shard] = fresh;
        self.counts[shard] = Count {
            used: kept,
            deleted: 0,
        };
    }
}

/// Puts keys into a shard with room for them that nobody else sees yet.
fn fill_shard<W: LiveWord, const N: usize>(
    buckets: &[Bucket<W, N>],
    words: &[W],
    rows: &[RowId],
    hash: impl Fn(W) -> u64,
    bits: u32,
    replaced: &mut Vec<RowId>,
) {
    let mut hashes = [0_u64; BLOCK_ROWS];
    for (words, rows) in words.chunks(BLOCK_ROWS).zip(rows.chunks(BLOCK_ROWS)) {
        for (word, kept) in words.iter().zip(&mut hashes) {
            *kept = hash(*word);
            prefetch(buckets, home_of(*kept << bits, buckets.len()));
        }
        for ((word, row), hash) in words.iter().zip(rows).zip(&hashes) {
            let home = home_of(hash << bits, buckets.len());
            match place(buckets, home, *word) {
                Place::Found(slot) => {
                    replaced.push(slot.load(Relaxed));
                    slot.store(*row, Relaxed);
                }
                Place::Free(bucket, at) => bucket.fill(at, *word, *row, &buckets[home], low_half(*hash)),
                Place::Full => debug_assert!(false, "a shard was made with room for all its keys"),
            }
        }
    }
}

/// Returns how many slots of so many buckets may be used; always fewer than there are.
#[inline(always)]
fn limit<const N: usize>(buckets: usize) -> usize {
    buckets * N * FILL_TENTHS / 10
}

/// Returns the size of a shard for so many keys, with a quarter more to come: the next of its own
/// series, which starts a little higher for each shard.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "sizes are small positive numbers"
)]
fn buckets_for<const N: usize>(keys: usize, shard: usize, shards: usize) -> usize {
    let wanted = keys + keys / 4 + 1;
    let mut size = GROWTH.powf(shard as f64 / shards as f64);
    while limit::<N>(size as usize) < wanted {
        size *= GROWTH;
    }
    size as usize
}

#[cfg(test)]
mod tests {
    use super::{ShardWriter, buckets_for, limit};
    use crate::live::slot::{DELETED, EMPTY};

    fn row(at: usize) -> u32 {
        u32::try_from(at).unwrap()
    }

    #[test]
    fn sizes_are_staggered_and_leave_room() {
        let sizes: Vec<usize> = (0..256).map(|shard| buckets_for::<5>(1000, shard, 256)).collect();
        assert!(
            sizes
                .iter()
                .all(|size| limit::<5>(*size) > 1250 && *size < 2 * 320)
        );
        assert!(sizes.iter().collect::<std::collections::BTreeSet<_>>().len() > 20);
        assert!(limit::<5>(1) < 5 && limit::<3>(1) < 3);
    }

    #[test]
    fn grows_purges_and_keeps_old_maps_whole() {
        for mask in [u64::MAX, 3] {
            let mut writer = ShardWriter::<u64, 5>::new(4, mask);
            let words: Vec<u64> = (0..500).collect();
            writer.put(&words, row, |_, old| assert_eq!(old, EMPTY));
            let old = std::sync::Arc::clone(writer.map());
            // Three of four are deleted, and new keys come until every shard is rebuilt.
            writer.put(
                &words[..375],
                |at| DELETED | (500 + row(at)),
                |_, old| assert!(old < 375),
            );
            let more: Vec<u64> = (1000..3000).collect();
            writer.put(&more, |at| 1000 + row(at), |_, _| ());
            let (mut before, mut now) = (vec![0; 500], vec![0; 500]);
            old.locate(&words, &mut before);
            writer.map().locate(&words, &mut now);
            for row in 0..500_u32 {
                let at = row as usize;
                if row < 375 {
                    assert!(before[at] == row || before[at] == DELETED | (500 + row));
                    assert_eq!(now[at], EMPTY);
                } else {
                    assert_eq!((before[at], now[at]), (row, row));
                }
            }
            let mut found = vec![0; more.len()];
            writer.map().locate(&more, &mut found);
            assert!(found.iter().zip(1000..).all(|(found, row)| *found == row));
            assert!(writer.map().heap_bytes() > 2000 * 12);
        }
    }
}
