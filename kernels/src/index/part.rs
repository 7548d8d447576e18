//! A part of a table being filled, by parted.rs.
//!
//! Keys are placed at home unseen: a count of the slots in use says where, so that nothing is read, and no
//! branch depends on whether a home is full. Of one that is, the key is put aside. Buckets that hold a key
//! twice are looked for afterwards; where there is one, this part is filled anew, and each later one, with
//! all keys aside. Those put aside are compared with the keys at home, and go one bucket further, all of
//! them, as often as any are left. One that finds its part full to the end waits for a last pass, as in a
//! range of many threads (fill.rs).

use super::bucket::Bucket;
use super::chain::Chains;
use super::parted::PART_BUCKETS;
use crate::RowId;
use crate::key::words::KeyWord;

/// A key on its way to a bucket with room.
#[derive(Debug, Clone, Copy, Default)]
struct Key<W> {
    word: W,
    row: RowId,
    /// Its home in the part.
    home: u16,
    /// What marks in an overflow word that it went on.
    overflow_bit: u8,
}

const _: () = assert!(PART_BUCKETS <= 1 << 16, "homes in a part fit 16 bits");

impl<W: KeyWord> Key<W> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "homes in a part fit 16 bits, bits 5"
    )]
    fn new(word: W, row: RowId, (home, low): (usize, u32)) -> Self {
        Self {
            word,
            row,
            home: home as u16,
            overflow_bit: (low % 32) as u8,
        }
    }
}

/// A part being filled.
pub(super) struct Part<W, const N: usize> {
    /// The part's buckets, and a last one for what is written of keys that are put aside.
    buckets: Vec<Bucket<W, N>>,
    /// Of each bucket the number of slots in use.
    used: Vec<u8>,
    /// Room for keys put aside.
    aside: Vec<Key<W>>,
    /// Rows that have found the part full to the end, of this part and of those before.
    waiting: Vec<RowId>,
    /// Whether a bucket was seen to hold a key twice.
    has_repeated: bool,
}

impl<W: KeyWord, const N: usize> Part<W, N> {
    pub(super) fn new() -> Self {
        Self {
            buckets: Vec::with_capacity(PART_BUCKETS + 1),
            used: Vec::with_capacity(PART_BUCKETS),
            aside: Vec::new(),
            waiting: Vec::new(),
            has_repeated: false,
        }
    }

    /// Fills a part of so many buckets, as some were left before or empty, with so many words; the part before
    /// is to be drained. Words come in lines, with the number of slots in use, the rows of each word in
    /// descending order; `home` gives a word's home in the part and the low half of its hash.
    #[inline(always)]
    pub(super) fn fill<'l>(
        &mut self,
        (before, count): (Option<&[Bucket<W, N>]>, usize),
        (lines, words): (impl Iterator<Item = (&'l Bucket<W, N>, usize)> + Clone, usize),
        home: impl Fn(W) -> (usize, u32),
        same: &impl Fn(RowId, RowId) -> bool,
        chains: &mut Chains,
    ) where
        W: 'l,
    {
        if self.aside.len() < words + 1 {
            self.aside.resize(words + 1, Key::default());
        }
        self.start(before, count);
        if !self.has_repeated {
            let left = self.place(lines.clone(), &home);
            self.has_repeated = self.repeats();
            if !self.has_repeated {
                chains.count_keys(words - left);
                return self.put_aside(left, same, chains);
            }
            self.buckets.clear();
            self.start(before, count);
        }
        let mut left = 0;
        for (line, used) in lines {
            for slot in 0..used {
                let (word, row) = line.at(slot);
                self.aside[left] = Key::new(word, row, home(word));
                left += 1;
            }
        }
        self.put_aside(left, same, chains);
    }

    #[expect(clippy::cast_possible_truncation, reason = "a bucket has less than 8 slots")]
    fn start(&mut self, before: Option<&[Bucket<W, N>]>, count: usize) {
        self.buckets.resize(count + 1, Bucket::empty());
        self.used.clear();
        match before {
            Some(before) => {
                self.buckets[..count].copy_from_slice(before);
                self.used.extend(before.iter().map(|bucket| bucket.used() as u8));
            }
            None => self.used.resize(count, 0),
        }
    }

    /// Places words at home; returns the number of those put aside.
    #[inline(always)]
    fn place<'l>(
        &mut self,
        lines: impl Iterator<Item = (&'l Bucket<W, N>, usize)>,
        home: &impl Fn(W) -> (usize, u32),
    ) -> usize
    where
        W: 'l,
    {
        let aside = self.aside.as_mut_slice();
        let mut slots = Slots::of(&mut self.buckets, &mut self.used);
        let mut left = 0;
        for (line, used) in lines {
            for slot in 0..used {
                let (word, row) = line.at(slot);
                let home = home(word);
                let goes_on = slots.place(home.0, word, row);
                aside[left] = Key::new(word, row, home);
                left += usize::from(goes_on);
            }
        }
        left
    }

    /// Says whether a bucket holds a word twice.
    fn repeats(&self) -> bool {
        let buckets = self.buckets[..self.used.len()].iter();
        buckets.fold(false, |any, bucket| any | bucket.repeats())
    }

    /// Puts the first keys aside into their homes, or the buckets after these.
    fn put_aside(&mut self, mut left: usize, same: &impl Fn(RowId, RowId) -> bool, chains: &mut Chains) {
        let mut slots = Slots::of(&mut self.buckets, &mut self.used);
        let mut distance = 0;
        while left > 0 {
            let mut still = 0;
            for looked in 0..left {
                let key = self.aside[looked];
                let home = usize::from(key.home);
                let at = home + distance;
                if at >= slots.used.len() {
                    self.waiting.push(key.row);
                    continue;
                }
                let goes_on = slots.put(at, key, same, chains);
                slots.buckets[home].mark_overflow_if(goes_on, key.overflow_bit.into());
                self.aside[still] = key;
                still += usize::from(goes_on);
            }
            (left, distance) = (still, distance + 1);
        }
    }

    /// Hands over the part's buckets, and leaves empty ones.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Bucket<W, N>> {
        self.buckets.truncate(self.used.len());
        self.buckets
            .iter_mut()
            .map(|bucket| std::mem::replace(bucket, Bucket::empty()))
    }

    /// Returns the rows that found their part full to the end.
    pub(super) fn into_waiting(self) -> Vec<RowId> {
        self.waiting
    }
}

/// The slots of a part.
struct Slots<'a, W, const N: usize> {
    /// As in the part, with the last one.
    buckets: &'a mut [Bucket<W, N>],
    used: &'a mut [u8],
}

impl<'a, W: KeyWord, const N: usize> Slots<'a, W, N> {
    fn of(buckets: &'a mut [Bucket<W, N>], used: &'a mut [u8]) -> Self {
        Self { buckets, used }
    }

    /// Puts a key into a bucket, or says that it has to go on.
    #[inline(always)]
    fn put(
        &mut self,
        at: usize,
        key: Key<W>,
        same: &impl Fn(RowId, RowId) -> bool,
        chains: &mut Chains,
    ) -> bool {
        let Key { word, row, .. } = key;
        if self.buckets[at].may_have(word)
            && let Some(head) = self.buckets[at].replace(word, row, |other| same(row, other))
        {
            chains.link(row, head);
            return false;
        }
        let goes_on = self.place(at, word, row);
        chains.count_keys(usize::from(!goes_on));
        goes_on
    }

    /// Writes a word into the first slot of a bucket that is not in use, or says that there is none.
    #[inline(always)]
    fn place(&mut self, at: usize, word: W, row: RowId) -> bool {
        let scratch = self.used.len();
        let used = usize::from(self.used[at]);
        let is_full = used == N;
        // Chosen by arithmetic: one key in ten finds its home full, which nobody can predict.
        let all_if_full = usize::from(is_full).wrapping_neg();
        let to = at ^ ((at ^ scratch) & all_if_full);
        self.buckets[to].write(used & !all_if_full, word, row);
        self.used[at] += u8::from(!is_full);
        is_full
    }
}
