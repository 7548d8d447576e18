//! The `Fixed8` and `Fixed16` layouts: whole keys inline in buckets.

use super::bucket::{BLOCK_ROWS, BucketTable, low_half};
use super::chain::Chains;
use super::fill::Rows;
use crate::key::hash::KeyHasher;
use crate::key::words::KeyWord;
use crate::{NO_ROW, RowId};

/// Words to row ids.
pub(crate) struct WordTable<W, const N: usize> {
    table: BucketTable<W, N>,
    hasher: KeyHasher,
}

impl<W: KeyWord, const N: usize> WordTable<W, N> {
    /// Builds from one word for each row.
    pub(crate) fn build<S>(words: &[W], hasher: KeyHasher, rows: &Rows<'_, S>) -> (Self, Chains)
    where
        S: Fn(RowId, RowId) -> bool + Sync,
    {
        let (table, chains) = rows.fill(|row| (words[row].hash(&hasher), words[row]));
        (Self { table, hasher }, chains)
    }

    /// Writes the first row of each word's key, or `NO_ROW`.
    ///
    /// Goes over a block of keys three times: hash and ask for the homes' lines, look there, and
    /// look into the next bucket for the few keys whose home is not the end of it. Those are put
    /// aside without a branch, and their lines asked for together; so are the very few that are
    /// still not found, which are searched for one by one.
    pub(crate) fn locate(&self, words: &[W], heads: &mut [RowId]) {
        let mut probes = [(0_u32, 0_u32); BLOCK_ROWS];
        let mut aside = [0_u8; BLOCK_ROWS];
        let is_large = self.table.is_large();
        for (words, heads) in words.chunks(BLOCK_ROWS).zip(heads.chunks_mut(BLOCK_ROWS)) {
            for (word, probe) in words.iter().zip(&mut probes) {
                let hash = word.hash(&self.hasher);
                *probe = (self.table.home(hash), low_half(hash));
                if is_large {
                    self.table.prefetch(probe.0);
                }
            }
            let mut waiting = 0;
            for (at, word) in (0_u8..).zip(words) {
                let (home, low) = probes[usize::from(at)];
                let (row, done) = self.table.first_look(home, *word, low);
                heads[usize::from(at)] = row;
                aside[waiting] = at;
                waiting += usize::from(!done);
            }
            for at in &aside[..waiting] {
                self.table.prefetch(probes[usize::from(*at)].0 + 1);
            }
            let mut searching = 0;
            for waiting in 0..waiting {
                let at = aside[waiting];
                let (home, _) = probes[usize::from(at)];
                let (row, done) = self.table.second_look(home, words[usize::from(at)]);
                heads[usize::from(at)] = row;
                aside[searching] = at;
                searching += usize::from(!done);
            }
            for at in aside[..searching].iter().map(|at| usize::from(*at)) {
                let (home, low) = probes[at];
                heads[at] = self.table.find(home, words[at], low, |_| true);
            }
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
    }
}

const _: () = assert!(
    NO_ROW == RowId::MAX,
    "a bucket takes the least row id of its slots"
);
