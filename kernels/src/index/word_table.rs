//! The `Fixed8` and `Fixed16` layouts: whole keys inline, in slots of their own where they are few,
//! else in buckets.

use super::bucket::{BLOCK_ROWS, BucketTable, low_half};
use super::chain::Chains;
use super::fill::Rows;
use super::filter::{FilterGate, KeyFilter};
use super::perfect::{PERFECT_KEYS_MAX, PerfectTable};
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;
use crate::prefetch::prefetch_range;
use crate::{NO_ROW, RowId};

/// Words to row ids.
pub(crate) struct WordTable<W, const N: usize> {
    slots: Slots<W, N>,
    hasher: KeyHasher,
}

/// Where the keys are.
enum Slots<W, const N: usize> {
    /// Few keys.
    Perfect(PerfectTable<W>),
    Buckets(Buckets<W, N>),
}

/// Many keys, or some whose hashes are equal.
struct Buckets<W, const N: usize> {
    table: BucketTable<W, N>,
    gate: FilterGate,
}

/// Where the keys of a block are searched for: their homes and the low halves of their hashes.
type Probes = [(u32, u32); BLOCK_ROWS];

/// Keys that pass the filter together: so few that the lines of several steps are under way at once.
const STEP_ROWS: usize = 64;

/// How many buckets after its home are asked for at once for a key that went on. One in two is full where it
/// holds three keys; few keys of a step go on, so that each further one would be waited for alone.
const DISTANCE_ASKED: u32 = 3;

/// Keys on their way past the filter.
struct Step {
    /// Their homes and the low halves of their hashes.
    probes: [(u32, u32); STEP_ROWS],
    /// Their words of the filter.
    places: [u32; STEP_ROWS],
    /// The first `present` of these are the ones that the filter lets pass.
    aside: [u8; STEP_ROWS],
    present: usize,
}

impl Step {
    const fn new() -> Self {
        Self {
            probes: [(0, 0); STEP_ROWS],
            places: [0; STEP_ROWS],
            aside: [0; STEP_ROWS],
            present: 0,
        }
    }
}

impl<W: KeyWord, const N: usize> WordTable<W, N> {
    /// Builds from one word for each row.
    pub(crate) fn build<S>(words: &[W], hasher: KeyHasher, rows: &Rows<'_, S>) -> (Self, Chains)
    where
        S: Fn(RowId, RowId) -> bool + Sync,
    {
        let (table, chains) = rows.fill_words(words, &hasher);
        let slots = match perfect(&table, &chains, &hasher) {
            Some(perfect) => Slots::Perfect(perfect),
            None => Slots::Buckets(Buckets {
                table,
                gate: FilterGate::new(chains.keys()),
            }),
        };
        (Self { slots, hasher }, chains)
    }

    pub(crate) fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Writes the first row of each word's key, or `NO_ROW`.
    pub(crate) fn locate(&self, words: &[W], heads: &mut [RowId]) {
        match &self.slots {
            Slots::Perfect(table) => {
                for (word, head) in words.iter().zip(heads) {
                    *head = table.find(word.hash(&self.hasher), *word);
                }
            }
            Slots::Buckets(buckets) => buckets.locate(words, &self.hasher, heads),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.slots {
            Slots::Perfect(table) => table.heap_bytes(),
            Slots::Buckets(buckets) => buckets.table.heap_bytes() + buckets.gate.heap_bytes(),
        }
    }
}

/// Gives few keys slots of their own.
fn perfect<W: KeyWord, const N: usize>(
    table: &BucketTable<W, N>,
    chains: &Chains,
    hasher: &KeyHasher,
) -> Option<PerfectTable<W>> {
    if chains.keys() > PERFECT_KEYS_MAX {
        return None;
    }
    let entries: Vec<(W, RowId)> = table.entries().collect();
    let hashes: Vec<u64> = entries.iter().map(|(word, _)| word.hash(hasher)).collect();
    PerfectTable::build(&hashes, &entries)
}

impl<W: KeyWord, const N: usize> Buckets<W, N> {
    /// Writes the first row of each word's key, or `NO_ROW`.
    ///
    /// Goes over a block of keys several times: hash and ask for the homes' lines, look there, and
    /// look further for the few keys whose home is not the end of it. Those are put aside without a
    /// branch, and their next lines asked for together, until none is left. Where most keys have
    /// been absent, a filter answers for them before any line is asked for.
    fn locate(&self, words: &[W], hasher: &KeyHasher, heads: &mut [RowId]) {
        if !self.table.is_large() {
            return self.locate_unfiltered(words, hasher, heads, |_| {});
        }
        match self.gate.filter(|| self.make_filter(hasher)) {
            Some(filter) => self.locate_filtered(filter, words, hasher, heads),
            None => self.locate_unfiltered(words, hasher, heads, |home| self.table.prefetch(home)),
        }
        self.gate.note(heads);
    }

    #[inline(always)]
    fn locate_unfiltered(&self, words: &[W], hasher: &KeyHasher, heads: &mut [RowId], ask: impl Fn(u32)) {
        let mut probes: Probes = [(0, 0); BLOCK_ROWS];
        let mut aside = [0_u8; BLOCK_ROWS];
        let blocks = words.chunks(BLOCK_ROWS).zip(heads.chunks_mut(BLOCK_ROWS));
        for (block, (block_words, heads)) in blocks.enumerate() {
            prefetch_range(words, (block + 2) * BLOCK_ROWS..(block + 3) * BLOCK_ROWS);
            let words = block_words;
            for (word, probe) in words.iter().zip(&mut probes) {
                let hash = word.hash(hasher);
                *probe = (self.table.home(hash), low_half(hash));
                ask(probe.0);
            }
            let mut waiting = 0;
            for (at, word) in (0_u8..).zip(words) {
                let (home, low) = probes[usize::from(at)];
                let (row, done) = self.table.first_look(home, *word, low);
                heads[usize::from(at)] = row;
                aside[waiting] = at;
                waiting += usize::from(!done);
            }
            self.look_further(words, heads, &probes, &mut aside[..waiting]);
        }
    }

    /// As [`locate_unfiltered`](Self::locate_unfiltered), past a filter, a step of keys after the other and
    /// each a stage further at a time: while one is hashed, the lines that those before it wait for come.
    fn locate_filtered(&self, filter: &KeyFilter, words: &[W], hasher: &KeyHasher, heads: &mut [RowId]) {
        let steps = words.len().div_ceil(STEP_ROWS);
        let rows = |step: usize| step * STEP_ROWS..words.len().min((step + 1) * STEP_ROWS);
        let mut under_way = [const { Step::new() }; 4];
        for now in 0..steps + 3 {
            if now < steps {
                prefetch_range(words, (now + 3) * STEP_ROWS..(now + 4) * STEP_ROWS);
                self.hash_step(filter, hasher, &words[rows(now)], &mut under_way[now % 4]);
            }
            if (1..=steps).contains(&now) {
                let rows = rows(now - 1);
                self.filter_step(filter, &mut under_way[(now - 1) % 4], rows.len());
                heads[rows].fill(NO_ROW);
            }
            if (2..steps + 2).contains(&now) {
                let rows = rows(now - 2);
                let step = &mut under_way[(now - 2) % 4];
                self.look_step(&words[rows.clone()], &mut heads[rows], step);
            }
            if now >= 3 {
                let rows = rows(now - 3);
                let step = &mut under_way[(now - 3) % 4];
                let aside = &mut step.aside[..step.present];
                self.look_further(&words[rows.clone()], &mut heads[rows], &step.probes, aside);
            }
        }
    }

    /// Hashes keys, and asks for their words of the filter. The stages are functions of their own since
    /// in one there are not registers enough for all of them.
    #[inline(never)]
    fn hash_step(&self, filter: &KeyFilter, hasher: &KeyHasher, words: &[W], step: &mut Step) {
        let probes = step.probes.iter_mut().zip(&mut step.places);
        for (word, (probe, place)) in words.iter().zip(probes) {
            let hash = word.hash(hasher);
            *probe = (self.table.home(hash), low_half(hash));
            *place = filter.place(hash);
            filter.prefetch(*place);
        }
    }

    /// Puts aside which of a step's first `rows` keys may be there, and asks for their homes.
    #[inline(never)]
    fn filter_step(&self, filter: &KeyFilter, step: &mut Step, rows: usize) {
        let mut present = 0;
        let probes = step.places[..rows].iter().zip(&step.probes[..rows]);
        for (at, (place, (_, low))) in (0_u8..).zip(probes) {
            step.aside[present % STEP_ROWS] = at;
            present += usize::from(filter.may_have(*place, *low));
        }
        for at in &step.aside[..present] {
            self.table.prefetch(step.probes[usize::from(*at)].0);
        }
        step.present = present;
    }

    /// Looks at the homes of the keys put aside; keeps aside those whose home is not the end of it, and
    /// asks for the buckets after it.
    #[inline(never)]
    fn look_step(&self, words: &[W], heads: &mut [RowId], step: &mut Step) {
        let mut waiting = 0;
        for looked in 0..step.present {
            let at = step.aside[looked];
            let (home, low) = step.probes[usize::from(at)];
            let (row, done) = self.table.first_look(home, words[usize::from(at)], low);
            heads[usize::from(at)] = row;
            step.aside[waiting] = at;
            waiting += usize::from(!done);
        }
        for at in &step.aside[..waiting] {
            let home = step.probes[usize::from(*at)].0;
            for distance in 1..=DISTANCE_ASKED {
                self.table.prefetch(home.saturating_add(distance));
            }
        }
        step.present = waiting;
    }

    /// Searches for the keys put aside in the buckets after their homes, all of them one bucket
    /// further at a time.
    #[inline(always)]
    fn look_further(&self, words: &[W], heads: &mut [RowId], probes: &[(u32, u32)], aside: &mut [u8]) {
        let mut waiting = aside.len();
        let mut distance = 1;
        while waiting > 0 {
            for at in &aside[..waiting] {
                self.table
                    .prefetch(probes[usize::from(*at)].0.saturating_add(distance));
            }
            let mut still = 0;
            for looked in 0..waiting {
                let at = aside[looked];
                let home = probes[usize::from(at)].0;
                let (row, done) = self.table.later_look(home, distance, words[usize::from(at)]);
                heads[usize::from(at)] = row;
                aside[still] = at;
                still += usize::from(!done);
            }
            (waiting, distance) = (still, distance + 1);
        }
    }

    fn make_filter(&self, hasher: &KeyHasher) -> KeyFilter {
        let mut filter = KeyFilter::with_room_for(self.gate.keys());
        self.table
            .for_each_slot(|key, row| filter.insert_if(row != NO_ROW, key.hash(hasher)));
        filter
    }
}

const _: () = assert!(
    NO_ROW == RowId::MAX,
    "a bucket takes the least row id of its slots"
);
