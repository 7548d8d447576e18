//! A clustered table: the keys lie in the rows themselves, and the rows in the order of the keys'
//! hashes.
//!
//! ```text
//!   hash ─► group (16 bytes, second-level cache) ─► row: key │ columns   one cache miss, for both
//!                                       └─► starts ─► its first row      where keys have several rows
//! ```
//!
//! Where an index beside the rows costs a miss for the key and another for the row, this costs
//! one. The rows of a key lie side by side, so that those after the first cost hardly any; this
//! is the layout of Birler, Schmidt, Fent and Neumann, "Simple, Efficient, and Robust Hash Tables
//! for Join Processing" (DaMoN 2024), with tags of a byte in the place of its filters.

use std::marker::PhantomData;
use std::sync::Arc;

use super::bucket::{BLOCK_ROWS, low_half};
use super::filter::{FilterGate, KeyFilter};
use super::groups::{Groups, tag_of};
use crate::gather::{Cells, Interleaved};
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;
use crate::prefetch::{prefetch, prefetch_range};
use crate::{NO_ROW, RowId};

/// Words to the first rows of their keys.
pub(super) struct ClusterTable<W> {
    pub(super) groups: Groups,
    /// The first row of each key and at the end `NO_ROW`, where some have several rows; else a key's
    /// number is its row.
    pub(super) starts: Option<Vec<RowId>>,
    /// The rows, with their keys.
    pub(super) rows: Arc<Interleaved>,
    pub(super) hasher: KeyHasher,
    pub(super) gate: FilterGate,
    pub(super) word: PhantomData<W>,
}

/// A key's group and tag.
type Probe = (u32, u32);

/// Those of a block of keys.
type Probes = [Probe; BLOCK_ROWS];

impl<W: KeyWord> ClusterTable<W> {
    /// Writes the first row of each word's key, or `NO_ROW`.
    ///
    /// Where most keys have been absent, a filter answers for them before any group is asked for.
    pub(super) fn locate(&self, words: &[W], heads: &mut [RowId]) {
        let keys = self.rows.keys::<W::Stored>();
        let filter = self.gate.filter(|| self.make_filter(&keys));
        let mut probes: Probes = [(0, 0); BLOCK_ROWS];
        let blocks = words.chunks(BLOCK_ROWS).zip(heads.chunks_mut(BLOCK_ROWS));
        for (block, (block_words, heads)) in blocks.enumerate() {
            prefetch_range(words, (block + 2) * BLOCK_ROWS..(block + 3) * BLOCK_ROWS);
            let words = block_words;
            if let Some(filter) = filter {
                self.locate_present(&keys, filter, words, heads);
                continue;
            }
            for (word, probe) in words.iter().zip(&mut probes) {
                *probe = self.probe_of(word.hash(&self.hasher));
            }
            self.locate_block(&keys, words, &probes, heads);
        }
        self.gate.note(heads);
    }

    /// Names a hash's group and tag, and asks for the group.
    #[inline(always)]
    fn probe_of(&self, hash: u64) -> Probe {
        let home = self.groups.home(hash);
        prefetch(self.groups.all(), home as usize);
        (home, tag_of(hash))
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
        for (at, (hash, place)) in (0_u8..).zip(hashes.iter().zip(&places).take(words.len())) {
            heads[usize::from(at)] = NO_ROW;
            at_present[present] = at;
            present += usize::from(filter.may_have(*place, low_half(*hash)));
        }
        let at_present = &at_present[..present];
        let mut probes: Probes = [(0, 0); BLOCK_ROWS];
        let mut found_words = [W::default(); BLOCK_ROWS];
        let mut found = [NO_ROW; BLOCK_ROWS];
        for ((at, probe), word) in at_present.iter().zip(&mut probes).zip(&mut found_words) {
            *probe = self.probe_of(hashes[usize::from(*at)]);
            *word = words[usize::from(*at)];
        }
        self.locate_block(keys, &found_words[..present], &probes, &mut found[..present]);
        for (at, row) in at_present.iter().zip(found) {
            heads[usize::from(*at)] = row;
        }
    }

    /// Locates a block of keys whose groups were asked for.
    ///
    /// Goes over them several times: pick a candidate by its tag and ask for its row, compare
    /// there. Few keys have another candidate; they are put aside without a branch and looked for
    /// one by one.
    #[inline(always)]
    fn locate_block(&self, keys: &Cells<'_, W::Stored>, words: &[W], probes: &Probes, heads: &mut [RowId]) {
        let mut open = [false; BLOCK_ROWS];
        let mut aside = [0_u8; BLOCK_ROWS];
        self.pick_candidates(keys, probes, &mut open, heads);
        let mut waiting = 0;
        for (at, word) in (0_u8..).zip(words) {
            let head = &mut heads[usize::from(at)];
            let is_found = (*head != NO_ROW) & (keys.get_or_zero(*head) == word.stored());
            *head |= u32::from(is_found).wrapping_sub(1);
            aside[waiting] = at;
            waiting += usize::from(!is_found & open[usize::from(at)]);
        }
        for at in aside[..waiting].iter().map(|at| usize::from(*at)) {
            heads[at] = self.find(keys, words[at], probes[at]);
        }
    }

    /// Writes the row of the first candidate of each probe, and whether there may be others.
    #[inline(always)]
    fn pick_candidates(
        &self,
        keys: &Cells<'_, W::Stored>,
        probes: &Probes,
        open: &mut [bool; BLOCK_ROWS],
        heads: &mut [RowId],
    ) {
        let groups = self.groups.all();
        let starts = self.starts.as_deref();
        let missing = starts.map_or(0, |starts| starts.len() - 1);
        for ((head, (home, tag)), open) in heads.iter_mut().zip(probes).zip(open) {
            let group = groups[*home as usize];
            let matching = group.matching(*tag);
            let key = group.first().wrapping_add(matching.trailing_zeros());
            *head = key | u32::from(matching != 0).wrapping_sub(1);
            *open = (matching & matching.wrapping_sub(1) != 0) | group.may_overflow(*tag);
            match starts {
                None => keys.prefetch(*head),
                Some(starts) => prefetch(starts, (*head as usize).min(missing)),
            }
        }
        if let Some(starts) = starts {
            for head in heads {
                *head = starts[(*head as usize).min(missing)];
                keys.prefetch(*head);
            }
        }
    }

    /// Looks at every candidate.
    #[inline(never)]
    fn find(&self, keys: &Cells<'_, W::Stored>, word: W, (home, tag): Probe) -> RowId {
        let row_of = |key: u32| match &self.starts {
            None => key,
            Some(starts) => starts.get(key as usize).copied().unwrap_or(NO_ROW),
        };
        let mut rows = self.groups.candidates(home, tag).map(row_of);
        rows.find(|row| keys.get_or_zero(*row) == word.stored())
            .unwrap_or(NO_ROW)
    }

    fn make_filter(&self, keys: &Cells<'_, W::Stored>) -> KeyFilter {
        let mut filter = KeyFilter::with_room_for(self.gate.keys());
        let firsts = self.starts.as_ref().map(|starts| &starts[..starts.len() - 1]);
        let mut insert = |row: RowId| filter.insert(W::of_stored(keys.get_or_zero(row)).hash(&self.hasher));
        match firsts {
            None => (0..).take(self.gate.keys()).for_each(&mut insert),
            Some(firsts) => firsts.iter().copied().for_each(&mut insert),
        }
        filter
    }

    /// Returns the bytes held beside the rows.
    pub(super) fn heap_bytes(&self) -> usize {
        let starts = self.starts.as_ref().map_or(0, Vec::capacity);
        self.groups.heap_bytes() + starts * size_of::<RowId>() + self.gate.heap_bytes()
    }
}
