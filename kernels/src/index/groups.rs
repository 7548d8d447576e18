//! Groups: where the keys of a clustered table begin, with a tag for each key.
//!
//! ```text
//!   one group, 16 bytes
//!   ┌───────────┬───────┬───────┬─────┬────────┬──────────┐
//!   │ first key │ tag 0 │ tag 1 │  …  │ tag 10 │ overflow │  the tag of key `first + i` at place i,
//!   └───────────┴───────┴───────┴─────┴────────┴──────────┘  0 for none
//! ```
//!
//! Keys are numbered in the order of the groups their hashes name, so a group's keys are those from
//! its first to the next group's. With seven keys a group that costs 2.3 bytes a key: the groups
//! of a million keys nearly fit the second-level cache, and answer for absent keys without a look
//! at any row. Keys beyond the eleventh have no tag but a bit of eight, a small Bloom filter as in
//! `bucket.rs`, and are looked at one by one.

use super::bucket::home_of;

/// Keys of a group that have a tag.
const TAGS: u32 = 11;

/// Keys a group, on average: more than eleven are in one group of twenty.
const KEYS_PER_GROUP: usize = 7;

/// The first key of a group, and the tags of its keys.
#[derive(Debug, Clone, Copy, Default)]
#[repr(transparent)]
pub(super) struct Group(u128);

impl Group {
    /// Returns the number of the group's first key.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the low 4 bytes")]
    pub(super) fn first(self) -> u32 {
        self.0 as u32
    }

    /// Returns a bit for each place whose tag is this one.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a tag is a byte")]
    pub(super) fn matching(self, tag: u32) -> u32 {
        equal_bytes(self.0, tag as u8) >> 4 & ((1 << TAGS) - 1)
    }

    /// Says whether a key that would have this tag may be beyond those that have one.
    #[inline(always)]
    pub(super) fn may_overflow(self, tag: u32) -> bool {
        (self.0 >> 120) as u32 >> (tag % 8) & 1 == 1
    }

    fn set_first(&mut self, key: u32) {
        self.0 = self.0 >> 32 << 32 | u128::from(key);
    }

    fn set_tag(&mut self, place: u32, tag: u32) {
        if place < TAGS {
            self.0 |= u128::from(tag) << (32 + 8 * place);
        } else {
            self.0 |= 1 << (120 + tag % 8);
        }
    }
}

/// Returns a bit for each byte that is equal to one.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes the two halves")]
#[expect(
    unsafe_code,
    reason = "sixteen comparisons at once are only reachable through intrinsics"
)]
fn equal_bytes(bytes: u128, byte: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    // SAFETY: registers only, and SSE2 is part of every x86_64.
    unsafe {
        let bytes = _mm_set_epi64x((bytes >> 64) as i64, bytes as i64);
        let equal = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed()));
        _mm_movemask_epi8(equal).cast_unsigned()
    }
}

/// Returns a bit for each byte that is equal to one.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn equal_bytes(bytes: u128, byte: u8) -> u32 {
    equal_bytes_one_by_one(bytes, byte)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_bytes_one_by_one(bytes: u128, byte: u8) -> u32 {
    let bytes = bytes.to_le_bytes();
    (0..16).fold(0, |equal, at| equal | u32::from(bytes[at] == byte) << at)
}

/// The groups of a table, and one more that ends the last.
#[derive(Debug)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// Numbers keys by their hashes: returns the groups, and the keys, as positions among the
    /// hashes, in the order of their numbers. Keys of one group keep their order.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "there are fewer keys than row ids"
    )]
    pub(super) fn place(hashes: impl ExactSizeIterator<Item = u64> + Clone) -> (Self, Vec<u32>) {
        let keys = hashes.len();
        let groups = keys.div_ceil(KEYS_PER_GROUP).max(1);
        let mut ends = vec![0_u32; groups];
        for hash in hashes.clone() {
            ends[home_of(hash, groups)] += 1;
        }
        let mut placed = vec![Group::default(); groups + 1];
        let mut first = 0;
        for (group, end) in placed.iter_mut().zip(&mut ends) {
            group.set_first(first);
            first += std::mem::replace(end, first);
        }
        placed[groups].set_first(first);
        let mut order = vec![0_u32; keys];
        for (key, hash) in hashes.enumerate() {
            let home = home_of(hash, groups);
            let (group, end) = (&mut placed[home], &mut ends[home]);
            group.set_tag(*end - group.first(), tag_of(hash));
            order[*end as usize] = key as u32;
            *end += 1;
        }
        (Self(placed), order)
    }

    /// Returns the number of the group of a hash.
    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "below the number of groups, which fits"
    )]
    pub(super) fn home(&self, hash: u64) -> u32 {
        home_of(hash, self.0.len() - 1) as u32
    }

    #[inline(always)]
    pub(super) fn all(&self) -> &[Group] {
        &self.0
    }

    /// Returns the keys of a group that may have this tag.
    pub(super) fn candidates(&self, home: u32, tag: u32) -> impl Iterator<Item = u32> {
        let group = self.0[home as usize];
        let end = self.0[home as usize + 1].first();
        let mut matching = group.matching(tag);
        let tagged = std::iter::from_fn(move || {
            let place = matching.trailing_zeros();
            matching &= matching.wrapping_sub(1);
            (place < TAGS).then(|| group.first() + place)
        });
        tagged.chain(group.first().saturating_add(TAGS)..end)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Group>()
    }
}

/// Returns the tag of a hash, never 0: from its low half, since the high one names the group.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes a byte")]
pub(super) fn tag_of(hash: u64) -> u32 {
    u32::from((hash >> 24) as u8).max(1)
}

#[cfg(test)]
mod tests {
    use super::{Groups, TAGS, equal_bytes, equal_bytes_one_by_one, tag_of};
    use crate::key::hash::KeyHasher;

    #[test]
    fn compares_bytes_alike_however() {
        let hasher = KeyHasher::new(u64::MAX);
        for word in 0..2000_u64 {
            let bytes =
                u128::from(hasher.word(word) & 0x0303_0003_0003_0103) << 64 | u128::from(hasher.word(!word));
            let byte = u8::try_from(word % 7).unwrap();
            assert_eq!(equal_bytes(bytes, byte), equal_bytes_one_by_one(bytes, byte));
        }
    }

    #[test]
    fn every_key_is_among_the_candidates_of_its_hash() {
        for mask in [u64::MAX, 7, 0] {
            let hasher = KeyHasher::new(mask);
            let hashes: Vec<u64> = (0..500).map(|word| hasher.word(word)).collect();
            let (groups, order) = Groups::place(hashes.iter().copied());
            let mut number = vec![0_u32; order.len()];
            (0_u32..)
                .zip(&order)
                .for_each(|(at, key)| number[*key as usize] = at);
            for (hash, number) in hashes.iter().zip(number) {
                let home = groups.home(*hash);
                assert!(groups.candidates(home, tag_of(*hash)).any(|key| key == number));
                let group = groups.all()[home as usize];
                let end = groups.all()[home as usize + 1].first();
                let is_beyond = number - group.first() >= TAGS;
                assert!(!is_beyond || group.may_overflow(tag_of(*hash)));
                assert!(number < end && (is_beyond || group.matching(tag_of(*hash)) != 0));
            }
        }
        let (none, order) = Groups::place(std::iter::empty());
        assert!(order.is_empty() && none.candidates(0, 1).next().is_none());
    }
}
