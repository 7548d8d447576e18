//! Pilots: a perfect hash, which numbers keys that are all known without gaps.
//!
//! ```text
//!   hash ─► bucket ─► pilot, 2 bytes for 4 keys        hash × pilot ─► slot ─┬─ below the keys: the number
//!                     (second-level cache)                                   └─ one of the spare ones: a hole
//! ```
//!
//! Keys are thrown into buckets by their hashes. Each bucket, the fullest first, gets the first pilot
//! that sends its keys to slots that are all free: finding it takes some dozen tries, since there are a few
//! more slots than keys. The keys in the slots past the number of keys then fill the holes
//! before it, so that numbers have no gaps. This is the construction of Pibiri and Trani, "PTHash:
//! Revisiting FCH Minimal Perfect Hashing" (SIGIR 2021).
//!
//! Where a hash table compares tags to find where a key may be, this knows: one small table that stays in
//! cache, no branch, and for a key that is not there the place of another one.

use super::bucket::home_of;
use crate::RowId;
use crate::prefetch::prefetch;

/// Keys of a bucket, on average. More cost tries, fewer cost memory.
const KEYS_PER_BUCKET: usize = 4;

/// Keys for each slot that is left over.
const KEYS_PER_SPARE: usize = 16;

/// Odd, with bits set evenly: the golden ratio's, and the square root of two's.
const PILOT_MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;
const HASH_MULTIPLIER: u64 = 0xB504_F333_F9DE_6485;

/// A number for each key.
#[derive(Debug)]
pub(super) struct Pilots {
    pilots: Vec<u16>,
    keys: RowId,
    slots: u64,
    /// The numbers of the slots past those of the keys.
    holes: Vec<RowId>,
}

impl Pilots {
    /// Numbers keys by their hashes: returns with the pilots the keys, as positions among the
    /// hashes, in the order of their numbers. Returns nothing where hashes are equal. About 50 ns
    /// a key.
    pub(super) fn place(hashes: &[u64]) -> Option<(Self, Vec<RowId>)> {
        let keys = RowId::try_from(hashes.len()).ok()?;
        let buckets = hashes.len().div_ceil(KEYS_PER_BUCKET).max(1);
        let slots = hashes.len() + hashes.len() / KEYS_PER_SPARE + 1;
        RowId::try_from(slots).ok()?;
        let mut placing = Placing {
            pilots: Self {
                pilots: vec![0; buckets],
                keys,
                slots: slots as u64,
                holes: vec![0; slots - hashes.len()],
            },
            taken: vec![0; slots.div_ceil(64)],
            slots: Vec::new(),
        };
        let (starts, members) = by_bucket(hashes, buckets);
        let mut order = vec![0; hashes.len()];
        let mut beyond = Vec::new();
        for bucket in fullest_first(&starts) {
            let members = &members[starts[bucket] as usize..starts[bucket + 1] as usize];
            placing.settle(bucket, members)?;
            for ((key, _), slot) in members.iter().zip(&placing.slots) {
                match order.get_mut(*slot as usize) {
                    Some(number) => *number = *key,
                    None => beyond.push((*slot, *key)),
                }
            }
        }
        placing.fill_holes(&beyond, &mut order);
        Some((placing.pilots, order))
    }

    /// Returns the number of keys.
    #[inline(always)]
    pub(super) fn keys(&self) -> RowId {
        self.keys
    }

    /// Asks for the pilot of a hash.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.pilots, home_of(hash, self.pilots.len()));
    }

    /// Returns the slot of a hash. One of [`keys`](Self::keys) or more is a spare one.
    #[inline(always)]
    fn slot(&self, hash: u64) -> RowId {
        let pilot = self.pilots[home_of(hash, self.pilots.len())];
        self.slot_by(hash, pilot)
    }

    /// Returns the number of the key with a hash. Without a branch: it would be mispredicted for the keys in
    /// spare slots.
    #[inline(always)]
    pub(super) fn number(&self, hash: u64) -> RowId {
        let slot = self.slot(hash);
        let spare = slot.saturating_sub(self.keys);
        let hole = self.holes[spare as usize];
        let is_spare = u32::from(slot >= self.keys).wrapping_neg();
        (slot & !is_spare) | (hole & is_spare)
    }

    #[inline(always)]
    fn slot_by(&self, hash: u64, pilot: u16) -> RowId {
        let turned = (hash ^ u64::from(pilot).wrapping_mul(PILOT_MULTIPLIER)).wrapping_mul(HASH_MULTIPLIER);
        (((turned >> 32) * self.slots) >> 32) as RowId
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.pilots.capacity() * size_of::<u16>() + self.holes.capacity() * size_of::<RowId>()
    }
}

/// Puts keys, as positions with their hashes, in the order of their buckets; returns where each bucket begins, and the
/// last ends.
#[expect(clippy::cast_possible_truncation, reason = "the number of keys fits row ids")]
pub(super) fn by_bucket(hashes: &[u64], buckets: usize) -> (Vec<u32>, Vec<(u32, u64)>) {
    let mut starts = vec![0_u32; buckets + 1];
    for hash in hashes {
        starts[home_of(*hash, buckets) + 1] += 1;
    }
    for bucket in 0..buckets {
        starts[bucket + 1] += starts[bucket];
    }
    let mut next = starts.clone();
    let mut members = vec![(0_u32, 0_u64); hashes.len()];
    for (key, hash) in hashes.iter().enumerate() {
        let next = &mut next[home_of(*hash, buckets)];
        members[*next as usize] = (key as u32, *hash);
        *next += 1;
    }
    (starts, members)
}

/// Returns the buckets that hold keys, those with most first: a pass for each size, of which there are
/// few.
pub(super) fn fullest_first(starts: &[u32]) -> impl Iterator<Item = usize> {
    let size = |bucket: usize| starts[bucket + 1] - starts[bucket];
    let buckets = 0..starts.len() - 1;
    let largest = buckets.clone().map(size).max().unwrap_or(0);
    let of_size = move |wanted: u32| buckets.clone().filter(move |bucket| size(*bucket) == wanted);
    (1..=largest).rev().flat_map(of_size)
}

/// Pilots in the making.
struct Placing {
    pilots: Pilots,
    /// A bit for each slot.
    taken: Vec<u64>,
    /// The slots of the bucket's keys.
    slots: Vec<RowId>,
}

impl Placing {
    /// Finds a bucket's pilot, and takes the slots of its keys.
    fn settle(&mut self, bucket: usize, members: &[(u32, u64)]) -> Option<()> {
        for pilot in 0..=u16::MAX {
            self.slots.clear();
            for (_, hash) in members {
                let slot = self.pilots.slot_by(*hash, pilot);
                let (word, bit) = (&mut self.taken[slot as usize / 64], 1 << (slot % 64));
                if *word & bit != 0 {
                    break;
                }
                *word |= bit;
                self.slots.push(slot);
            }
            if self.slots.len() == members.len() {
                self.pilots.pilots[bucket] = pilot;
                return Some(());
            }
            for slot in &self.slots {
                self.taken[*slot as usize / 64] &= !(1 << (slot % 64));
            }
        }
        None
    }

    /// Gives the keys in spare slots the numbers that nobody has.
    fn fill_holes(&mut self, beyond: &[(RowId, RowId)], order: &mut [RowId]) {
        let is_free = |slot: &RowId| self.taken[*slot as usize / 64] >> (slot % 64) & 1 == 0;
        let free = (0..self.pilots.keys).filter(is_free);
        for (number, (slot, key)) in free.zip(beyond) {
            self.pilots.holes[(slot - self.pilots.keys) as usize] = number;
            order[number as usize] = *key;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pilots;
    use crate::key::hash::KeyHasher;

    #[test]
    fn numbers_every_key_without_gaps() {
        let hasher = KeyHasher::new(u64::MAX);
        for count in [0, 1, 2, 3, 5, 64, 1000, 100_000] {
            let hashes: Vec<u64> = (0..count).map(|word| hasher.word(word)).collect();
            let (pilots, order) = Pilots::place(&hashes).unwrap();
            assert_eq!(u64::from(pilots.keys()), count);
            for (number, key) in order.iter().enumerate() {
                assert_eq!(pilots.number(hashes[*key as usize]) as usize, number);
            }
            // Absent keys get some number as well, unless there is none.
            for word in count..2 * count {
                assert!(pilots.number(hasher.word(word)) < pilots.keys());
            }
        }
    }

    #[test]
    fn equal_hashes_have_no_numbers() {
        assert!(Pilots::place(&[1, 2, 1]).is_none());
    }
}
