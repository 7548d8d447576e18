//! Interner: numbers for keys that fit no word, so that the index need only know words.
//!
//! Bytes get a number when a row of that key first comes and keep it as long as the index lasts.
//! Readers ask while the writer adds: the map is in parts, each behind a lock that is held for one
//! key at a time.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{PoisonError, RwLock};

use foldhash::quality::RandomState;

/// Parts of the map: growing one is the longest pause.
const PARTS: usize = 64;

/// What a map needs for an entry besides the key's bytes, in about: a boxed slice, a number, a
/// control byte, room to grow, and the allocator's header.
const ENTRY_BYTES: usize = 56;

type Part = RwLock<HashMap<Box<[u8]>, u64, RandomState>>;

/// Keys as bytes to numbers.
pub(super) struct Interner {
    parts: Box<[Part]>,
    hasher: RandomState,
    keys: AtomicUsize,
    bytes: AtomicUsize,
}

impl Interner {
    pub(super) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| Part::default()).collect(),
            hasher: RandomState::default(),
            keys: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }

    fn part(&self, key: &[u8]) -> &Part {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of parts")]
        let part = (self.hasher.hash_one(key) % PARTS as u64) as usize;
        &self.parts[part]
    }

    /// Returns a key's number.
    pub(super) fn get(&self, key: &[u8]) -> Option<u64> {
        let part = self.part(key).read().unwrap_or_else(PoisonError::into_inner);
        part.get(key).copied()
    }

    /// Returns a key's number, a new one where it has none. Several threads may ask at once.
    pub(super) fn intern(&self, key: &[u8]) -> u64 {
        if let Some(number) = self.get(key) {
            return number;
        }
        let mut part = self.part(key).write().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = part.get(key) {
            return *number;
        }
        let number = self.keys.fetch_add(1, Relaxed) as u64;
        self.bytes.fetch_add(key.len() + ENTRY_BYTES, Relaxed);
        part.insert(key.into(), number);
        number
    }

    /// Returns how many keys have a number.
    pub(super) fn key_count(&self) -> usize {
        self.keys.load(Relaxed)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Interner;

    #[test]
    fn threads_give_a_key_one_number() {
        let interner = Interner::new();
        let number_all = || {
            let numbers = (0..5000_u64).map(|key| interner.intern(&key.to_le_bytes()));
            numbers.collect::<Vec<_>>()
        };
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(number_all);
            (number_all(), other.join().unwrap())
        });
        assert_eq!(one, other);
        let distinct: std::collections::BTreeSet<u64> = one.into_iter().collect();
        assert_eq!((distinct.len(), interner.key_count()), (5000, 5000));
    }

    #[test]
    fn numbers_stay() {
        let interner = Interner::new();
        for round in 0..2 {
            for number in 0..1000_u64 {
                let key = number.to_string();
                assert_eq!(interner.intern(key.as_bytes()), number, "round {round}");
            }
        }
        assert_eq!((interner.get(b"999"), interner.get(b"1000")), (Some(999), None));
        assert_eq!(interner.key_count(), 1000);
        assert!(interner.heap_bytes() > 58_000);
    }
}
