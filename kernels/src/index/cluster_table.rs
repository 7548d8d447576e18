//! A clustered table: the keys lie in the rows themselves, and the rows in the order of the keys'
//! numbers.
//!
//! ```text
//!   hash ─► pilot (half a byte a key, in cache) ─► number ─► row: key │ columns   one miss, for both
//!                                                    └─► starts ─► its first row   where keys have several
//! ```
//!
//! Where an index beside the rows costs a miss for the key and another for the row, this costs
//! one. The rows of a key lie side by side, so that those after the first cost hardly any, as in
//! Birler, Schmidt, Fent and Neumann, "Simple, Efficient, and Robust Hash Tables for Join
//! Processing" (DaMoN 2024); what names a key's place is a perfect hash.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use super::bucket::{BLOCK_ROWS, low_half};
use super::filter::{FilterGate, KeyFilter};
use super::pilots::Pilots;
use crate::gather::{Cells, Interleaved};
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;
use crate::prefetch::{prefetch, prefetch_range};
use crate::{NO_ROW, RowId};

/// Words to the first rows of their keys.
pub(super) struct ClusterTable<W> {
    pub(super) pilots: Pilots,
    /// The first row of each key, and where those of the last one end, where some have several rows;
    /// else a key's number is its row.
    pub(super) starts: Option<Vec<RowId>>,
    /// The rows, with their keys.
    pub(super) rows: Arc<Interleaved>,
    pub(super) hasher: KeyHasher,
    pub(super) gate: FilterGate,
    pub(super) word: PhantomData<W>,
}

/// Keys between two steps of one.
pub(super) const STEP_ROWS: usize = 32;

/// Of a key's rows those that are asked for at once: the processor itself asks for what follows.
const ROWS_ASKED_MAX: RowId = 8;

impl<W: KeyWord> ClusterTable<W> {
    /// Writes the first row of each word's key, or `NO_ROW`.
    ///
    /// Where most keys have been absent, a filter answers for them before any row is asked for. The
    /// rows of a block are compared when those of the next have been asked for.
    pub(super) fn locate(&self, words: &[W], heads: &mut [RowId]) {
        if self.pilots.keys() == 0 {
            return heads.fill(NO_ROW);
        }
        let keys = self.rows.keys::<W::Stored>();
        let filter = self.gate.filter(|| self.make_filter(&keys));
        if filter.is_none() && self.starts.is_none() {
            self.locate_numbered(&keys, words, heads, |_| {});
            return self.gate.note(heads);
        }
        let mut asked: Option<(&[W], &mut [RowId])> = None;
        let blocks = words.chunks(BLOCK_ROWS).zip(heads.chunks_mut(BLOCK_ROWS));
        for (block, (block_words, heads)) in blocks.enumerate() {
            prefetch_range(words, (block + 2) * BLOCK_ROWS..(block + 3) * BLOCK_ROWS);
            if let Some(filter) = filter {
                self.locate_present(&keys, filter, block_words, heads);
                continue;
            }
            let mut hashes = [0_u64; BLOCK_ROWS];
            for (word, hash) in block_words.iter().zip(&mut hashes) {
                *hash = word.hash(&self.hasher);
                self.pilots.prefetch(*hash);
            }
            self.ask(&keys, &hashes, heads);
            if let Some((words, heads)) = asked.replace((block_words, heads)) {
                compare(&keys, words, heads);
            }
        }
        if let Some((words, heads)) = asked {
            compare(&keys, words, heads);
        }
        self.gate.note(heads);
    }

    /// Says whether most keys were found the last time, so that no filter is asked.
    pub(super) fn finds_most(&self) -> bool {
        self.pilots.keys() > 0 && !self.gate.few_found()
    }

    /// Locates words as [`locate`](Self::locate) does, where each key has one row, and has the rows taken
    /// while those of the next are on their way: heads come to `take` at most [`STEP_ROWS`] at a time, in the
    /// order of the words.
    pub(super) fn locate_taking(&self, words: &[W], heads: &mut [RowId], take: impl FnMut(&[RowId])) {
        self.locate_numbered(&self.rows.keys::<W::Stored>(), words, heads, take);
        self.gate.note(heads);
    }

    /// The same where keys have several rows: `take` is given the rows of each key, none for one that is
    /// absent, with the position of the first key. There is one step more: to ask where a key's rows begin.
    pub(super) fn locate_runs<E>(
        &self,
        starts: &[RowId],
        words: &[W],
        heads: &mut [RowId],
        mut take: impl FnMut(usize, &[Range<RowId>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let keys = self.rows.keys::<W::Stored>();
        let mut hashes = [[0_u64; STEP_ROWS]; 2];
        let mut runs = [const { [const { 0..0 }; STEP_ROWS] }; 2];
        let blocks = words.len().div_ceil(STEP_ROWS);
        let rows_of = |block: usize| block * STEP_ROWS..words.len().min((block + 1) * STEP_ROWS);
        for at in 0..blocks + 3 {
            if let Some(block) = at.checked_sub(3) {
                let (rows, runs) = (rows_of(block), &mut runs[block % 2]);
                let block = words[rows.clone()].iter().zip(&mut heads[rows.clone()]);
                for ((word, head), run) in block.zip(runs.iter_mut()) {
                    *head = run.start;
                    compare_one(&keys, *word, head);
                    if *head == NO_ROW {
                        *run = 0..0;
                    }
                }
                take(rows.start, &runs[..rows.len()])?;
            }
            if let Some(block) = at.checked_sub(2).filter(|block| *block < blocks) {
                for (number, run) in heads[rows_of(block)].iter().zip(&mut runs[block % 2]) {
                    let number = *number as usize;
                    *run = starts[number]..starts[number + 1];
                    let asked = run.start..run.end.min(run.start + ROWS_ASKED_MAX);
                    asked.for_each(|row| keys.prefetch(row));
                }
            }
            if let Some(block) = at.checked_sub(1).filter(|block| *block < blocks) {
                for (number, hash) in heads[rows_of(block)].iter_mut().zip(&hashes[block % 2]) {
                    *number = self.pilots.number(*hash);
                    prefetch(starts, *number as usize);
                }
            }
            if at < blocks {
                let block = words[rows_of(at)].iter();
                block
                    .zip(&mut hashes[at % 2])
                    .for_each(|(word, hash)| self.hash(*word, hash));
            }
        }
        self.gate.note(heads);
        Ok(())
    }

    /// Locates keys whose numbers are their rows, in three steps, each a few keys behind the one before:
    /// hash a key and ask for its pilot, find its row and ask for that, compare. They are taken by turns,
    /// key after key: only so many lines can be under way, and so the processor computes while it waits.
    /// What `take` does with the rows compared is such computing too.
    #[inline(always)]
    fn locate_numbered(
        &self,
        keys: &Cells<'_, W::Stored>,
        words: &[W],
        heads: &mut [RowId],
        mut take: impl FnMut(&[RowId]),
    ) {
        let blocks = words.len() / STEP_ROWS;
        let mut hashes = [[0_u64; STEP_ROWS]; 2];
        for at in 0..blocks + 2 {
            let from = at * STEP_ROWS;
            let [even, odd] = &mut hashes;
            let (hashes, hashes_before) = if at % 2 == 0 { (even, odd) } else { (odd, even) };
            if (2..blocks).contains(&at) {
                let new = &words[from..from + STEP_ROWS];
                let old = &words[from - 2 * STEP_ROWS..from - STEP_ROWS];
                let (heads_old, heads_asked) = heads[from - 2 * STEP_ROWS..from].split_at_mut(STEP_ROWS);
                for key in 0..STEP_ROWS {
                    self.hash(new[key], &mut hashes[key]);
                    self.ask_for(keys, hashes_before[key], &mut heads_asked[key]);
                    compare_one(keys, old[key], &mut heads_old[key]);
                }
                take(heads_old);
            } else {
                // The first blocks and the last have not all of the steps.
                if at < blocks {
                    let new = &words[from..from + STEP_ROWS];
                    new.iter()
                        .zip(hashes)
                        .for_each(|(word, hash)| self.hash(*word, hash));
                }
                if (1..=blocks).contains(&at) {
                    let asked = heads[from - STEP_ROWS..from].iter_mut().zip(hashes_before);
                    asked.for_each(|(head, hash)| self.ask_for(keys, *hash, head));
                }
                if at >= 2 {
                    let old = from - 2 * STEP_ROWS..from - STEP_ROWS;
                    compare(keys, &words[old.clone()], &mut heads[old.clone()]);
                    take(&heads[old]);
                }
            }
        }
        let (words, heads) = (&words[blocks * STEP_ROWS..], &mut heads[blocks * STEP_ROWS..]);
        for (word, head) in words.iter().zip(heads.iter_mut()) {
            *head = self.pilots.number(word.hash(&self.hasher));
            compare_one(keys, *word, head);
        }
        take(heads);
    }

    #[inline(always)]
    fn hash(&self, word: W, hash: &mut u64) {
        *hash = word.hash(&self.hasher);
        self.pilots.prefetch(*hash);
    }

    #[inline(always)]
    fn ask_for(&self, keys: &Cells<'_, W::Stored>, hash: u64, head: &mut RowId) {
        *head = self.pilots.number(hash);
        keys.prefetch(*head);
    }

    /// Locates those of a block's keys that a filter lets pass.
    #[inline(never)]
    fn locate_present(
        &self,
        keys: &Cells<'_, W::Stored>,
        filter: &KeyFilter,
        words: &[W],
        heads: &mut [RowId],
    ) {
        let mut hashes = [0_u64; BLOCK_ROWS];
        let mut places = [0_u32; BLOCK_ROWS];
        for ((word, hash), place) in words.iter().zip(&mut hashes).zip(&mut places) {
            *hash = word.hash(&self.hasher);
            *place = filter.place(*hash);
            filter.prefetch(*place);
        }
        let mut at_present = [0_u8; BLOCK_ROWS];
        let mut present = 0;
        let asked = hashes[..words.len()].iter().zip(&places[..words.len()]);
        for (at, (hash, place)) in (0_u8..).zip(asked) {
            heads[usize::from(at)] = NO_ROW;
            at_present[present] = at;
            present += usize::from(filter.may_have(*place, low_half(*hash)));
        }
        let at_present = &at_present[..present];
        let mut found_hashes = [0_u64; BLOCK_ROWS];
        let mut found_words = [W::default(); BLOCK_ROWS];
        let mut found = [NO_ROW; BLOCK_ROWS];
        for ((at, hash), word) in at_present.iter().zip(&mut found_hashes).zip(&mut found_words) {
            *hash = hashes[usize::from(*at)];
            self.pilots.prefetch(*hash);
            *word = words[usize::from(*at)];
        }
        self.ask(keys, &found_hashes, &mut found[..present]);
        compare(keys, &found_words[..present], &mut found[..present]);
        for (at, row) in at_present.iter().zip(found) {
            heads[usize::from(*at)] = row;
        }
    }

    /// Writes the row where each hash's key is, if it is anywhere, and asks for it.
    #[inline(always)]
    fn ask(&self, keys: &Cells<'_, W::Stored>, hashes: &[u64; BLOCK_ROWS], heads: &mut [RowId]) {
        for (hash, head) in hashes.iter().zip(heads.iter_mut()) {
            *head = self.pilots.number(*hash);
        }
        if let Some(starts) = &self.starts {
            for head in heads.iter() {
                prefetch(starts, *head as usize);
            }
            for head in heads.iter_mut() {
                *head = starts.get(*head as usize).copied().unwrap_or(NO_ROW);
            }
        }
        for head in heads {
            keys.prefetch(*head);
        }
    }

    fn make_filter(&self, keys: &Cells<'_, W::Stored>) -> KeyFilter {
        let mut filter = KeyFilter::with_room_for(self.gate.keys());
        let firsts = self.starts.as_ref().map(|starts| &starts[..starts.len() - 1]);
        let mut insert =
            |row: RowId| filter.insert_if(true, W::of_stored(keys.get_or_zero(row)).hash(&self.hasher));
        match firsts {
            None => (0..).take(self.gate.keys()).for_each(&mut insert),
            Some(firsts) => firsts.iter().copied().for_each(&mut insert),
        }
        filter
    }

    /// Returns the bytes held beside the rows.
    pub(super) fn heap_bytes(&self) -> usize {
        let starts = self.starts.as_ref().map_or(0, Vec::capacity);
        self.pilots.heap_bytes() + starts * size_of::<RowId>() + self.gate.heap_bytes()
    }
}

/// Leaves of the rows asked for those that have their word for a key.
#[inline(always)]
fn compare<W: KeyWord>(keys: &Cells<'_, W::Stored>, words: &[W], heads: &mut [RowId]) {
    for (word, head) in words.iter().zip(heads) {
        compare_one(keys, *word, head);
    }
}

#[inline(always)]
fn compare_one<W: KeyWord>(keys: &Cells<'_, W::Stored>, word: W, head: &mut RowId) {
    let is_found = (*head != NO_ROW) & (keys.get_or_zero(*head) == word.stored());
    *head |= u32::from(is_found).wrapping_sub(1);
}
