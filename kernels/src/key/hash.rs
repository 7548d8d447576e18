//! Hashes of keys: seeded per index, strong in the high bits and in the low ones.
//!
//! Tables take a bucket from the high 32 bits and a tag from the low 32, so both halves must
//! be good. Words are hashed by folded multiplication (the 128-bit product, its halves xored),
//! as in foldhash and wyhash; bytes by foldhash itself. Seeds are random so that nobody can
//! send keys that collide on purpose.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

/// An odd constant with bits set evenly: the golden ratio's, from Knuth's multiplicative hash.
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// Hashes words and bytes under one seed.
#[derive(Clone)]
pub(crate) struct KeyHasher {
    seed: u64,
    mask: u64,
    bytes: RandomState,
}

impl KeyHasher {
    /// Draws a seed. Every hash is cut to `mask`; all ones keeps it whole.
    pub(crate) fn new(mask: u64) -> Self {
        let bytes = RandomState::default();
        let seed = bytes.hash_one(MULTIPLIER);
        Self { seed, mask, bytes }
    }

    /// Says whether hashes are cut, so that they spread badly.
    pub(crate) fn is_cut(&self) -> bool {
        self.mask != u64::MAX
    }

    /// Hashes one 8-byte word.
    #[inline(always)]
    pub(crate) fn word(&self, word: u64) -> u64 {
        fold(word ^ self.seed, MULTIPLIER) & self.mask
    }

    /// Hashes one 16-byte word.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "takes the two halves")]
    pub(crate) fn wide(&self, word: u128) -> u64 {
        let low = fold(word as u64 ^ self.seed, MULTIPLIER);
        fold(low ^ (word >> 64) as u64, MULTIPLIER) & self.mask
    }

    /// Hashes bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.bytes.build_hasher();
        hasher.write(bytes);
        hasher.finish() & self.mask
    }
}

/// Multiplies to 128 bits and xors the halves.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "takes the two halves")]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::KeyHasher;

    #[test]
    fn masks_every_hash() {
        let hasher = KeyHasher::new(7);
        assert!((0..1000).all(|word| hasher.word(word) <= 7));
        assert!((0..1000).all(|word| hasher.wide(word) <= 7));
        assert!(hasher.bytes(b"long enough to take several steps of the hash") <= 7);
    }

    #[test]
    fn spreads_consecutive_and_strided_words_over_the_high_bits() {
        let hasher = KeyHasher::new(u64::MAX);
        for stride in [1_u64, 8, 1 << 20, 1 << 32, 1 << 48] {
            let mut filled = [0_u32; 256];
            for step in 0..25_600_u64 {
                filled[(hasher.word(step.wrapping_mul(stride)) >> 56) as usize] += 1;
            }
            // 100 expected in each; 50 to 170 is far outside chance for a fair hash.
            let (low, high) = (filled.iter().min(), filled.iter().max());
            assert!(
                low >= Some(&40) && high <= Some(&180),
                "stride {stride}: {low:?} {high:?}"
            );
        }
    }
}
