//! A filter in front of a large table: says of most absent keys that they are absent.
//!
//! ```text
//!   one word for 8 keys    ┌────────────────────────────────────────────────────────────────┐
//!   a key sets 3 bits      │ 0010000000000001000000000000000000000000000010000000000 …      │
//!                          └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A table of a million keys takes 16 MB, its filter one: where few keys are found, a stream that
//! asks the filter first leaves the second-level cache for one key in six or so. It is a Bloom
//! filter whose bits for a key lie in one word (Putze, Sanders, Singler, "Cache-, Hash- and
//! Space-Efficient Bloom Filters", WEA 2007); at 8 bits a key, one absent key in 25 passes.
//!
//! Where most keys are found it only costs time, so it is made when a 32nd as many absent keys have been asked
//! for as there are keys, and used while the last probe found less than half of its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::bucket::home_of;
use crate::prefetch::prefetch;
use crate::{RowId, missing_count};

/// Keys that share a word.
const KEYS_PER_WORD: usize = 8;

/// For how many keys of a table one absent key must have been asked for. Of 10 million keys a filter takes 3 ns
/// each to make, a tenth of what their table took, and saves 20 ns of each absent key that is asked for after.
const KEYS_PER_ABSENT: usize = 32;

/// Words of keys' bits.
#[derive(Debug)]
pub(crate) struct KeyFilter {
    words: Vec<u64>,
}

impl KeyFilter {
    pub(crate) fn with_room_for(keys: usize) -> Self {
        Self {
            words: vec![0; keys.div_ceil(KEYS_PER_WORD).max(1)],
        }
    }

    /// Returns the word of a hash.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "below the number of words")]
    pub(crate) fn place(&self, hash: u64) -> u32 {
        home_of(hash, self.words.len()) as u32
    }

    /// Asks for the cache line of a word.
    #[inline(always)]
    pub(crate) fn prefetch(&self, place: u32) {
        prefetch(&self.words, place as usize);
    }

    /// Puts a key in where told so: without a branch, which for slots in use or not would be mispredicted.
    #[inline(always)]
    pub(crate) fn insert_if(&mut self, is_there: bool, hash: u64) {
        let place = self.place(hash) as usize;
        self.words[place] |= bits(super::bucket::low_half(hash)) & u64::from(is_there).wrapping_neg();
    }

    /// Says whether a key may be there, by its word and the low half of its hash.
    #[inline(always)]
    pub(crate) fn may_have(&self, place: u32, low: u32) -> bool {
        let bits = bits(low);
        self.words[place as usize] & bits == bits
    }
}

/// Returns the bits of a key. The high bits of the half, since its low ones mark overflow.
#[inline(always)]
fn bits(low: u32) -> u64 {
    1 << (low >> 26) | 1 << (low >> 20 & 63) | 1 << (low >> 14 & 63)
}

/// Decides, from what has been probed, whether a filter is asked.
#[derive(Debug)]
pub(crate) struct FilterGate {
    keys: usize,
    filter: OnceLock<KeyFilter>,
    /// Absent keys asked for until there was a filter.
    absent: AtomicUsize,
    /// Whether the last probe found less than half of its keys.
    few_found: AtomicBool,
}

impl FilterGate {
    /// Starts without a filter, for a table of so many keys.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            keys,
            filter: OnceLock::new(),
            absent: AtomicUsize::new(0),
            few_found: AtomicBool::new(false),
        }
    }

    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    /// Returns the filter if it is to be asked; made by `make` if there is none yet.
    pub(crate) fn filter(&self, make: impl FnOnce() -> KeyFilter) -> Option<&KeyFilter> {
        let pays = self.few_found() && self.absent.load(Relaxed) >= self.keys / KEYS_PER_ABSENT;
        pays.then(|| self.filter.get_or_init(make))
    }

    /// Says whether the last probe found less than half of its keys.
    pub(crate) fn few_found(&self) -> bool {
        self.few_found.load(Relaxed)
    }

    /// Takes note of what a probe found.
    pub(crate) fn note(&self, heads: &[RowId]) {
        let absent = missing_count(heads);
        let few_found = absent > heads.len() / 2;
        if few_found && self.absent.load(Relaxed) < self.keys / KEYS_PER_ABSENT {
            self.absent.fetch_add(absent, Relaxed);
        }
        // Written only where it changes: threads that probe together share the line.
        if self.few_found.load(Relaxed) != few_found {
            self.few_found.store(few_found, Relaxed);
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let words = |filter: &KeyFilter| filter.words.capacity() * size_of::<u64>();
        self.filter.get().map_or(0, words)
    }
}

#[cfg(test)]
mod tests {
    use super::{FilterGate, KeyFilter};
    use crate::NO_ROW;
    use crate::index::bucket::low_half;
    use crate::key::hash::KeyHasher;

    #[test]
    fn has_every_key_and_few_others() {
        let hasher = KeyHasher::new(u64::MAX);
        let mut filter = KeyFilter::with_room_for(10_000);
        (0..10_000).for_each(|key| filter.insert_if(true, hasher.word(key)));
        let may_have = |key: u64| {
            let hash = hasher.word(key);
            filter.may_have(filter.place(hash), low_half(hash))
        };
        assert!((0..10_000).all(may_have));
        let wrong = (10_000..110_000).filter(|key| may_have(*key)).count();
        assert!(wrong < 10_000, "{wrong} of 100,000");
    }

    #[test]
    fn is_made_after_many_absent_keys_and_asked_while_few_are_found() {
        let gate = FilterGate::new(80);
        let make = || KeyFilter::with_room_for(10);
        gate.note(&[NO_ROW]);
        assert!(gate.filter(make).is_none());
        gate.note(&[NO_ROW]);
        assert!(gate.filter(make).is_some() && gate.heap_bytes() > 0);
        gate.note(&[1, 2, 3, NO_ROW]);
        assert!(gate.filter(make).is_none());
        gate.note(&[1, NO_ROW, NO_ROW]);
        assert!(gate.filter(make).is_some());
    }
}
