//! Tags: the half of the `Bytes` and `Rows` layouts that does not know what a key is.
//!
//! Keys of any length stay outside the table. A slot holds 32 bits of the key's hash and its
//! first row; the owner of the keys confirms a row whose tag is equal, which fails once in four
//! thousand million times. A probe goes over a block of keys four times, so that no miss waits for another:
//! hash and ask for buckets, compare tags and ask for views, ask for bytes, compare keys.

use rayon::prelude::*;

use super::bucket::{BLOCK_ROWS, BucketTable, low_half};
use super::chain::Chains;
use super::fill::Rows;
use crate::{NO_ROW, RowId};

/// Probe keys and table keys, as a tag table needs them.
pub(crate) trait TagKeys {
    /// Hashes a probe key.
    fn hash(&self, row: usize) -> u64;

    /// Asks for what says where a table key lies; any row, `NO_ROW` too.
    fn touch(&self, row: RowId);

    /// Asks for the bytes of a table key; any row, `NO_ROW` too.
    fn touch_bytes(&self, row: RowId);

    /// Compares a probe key with a table key.
    fn same(&self, row: usize, other: RowId) -> bool;
}

/// Tags to row ids: 12 bytes a row.
pub(crate) struct TagTable {
    table: BucketTable<u32, 7>,
}

impl TagTable {
    /// Builds from a hash for each row.
    pub(crate) fn build<S>(hash: impl Fn(usize) -> u64 + Send + Sync, rows: &Rows<'_, S>) -> (Self, Chains)
    where
        S: Fn(RowId, RowId) -> bool + Sync,
    {
        // A hash of bytes costs more than eight bytes of memory for a moment: hash once.
        let hashes: Vec<u64> = if rows.parallel {
            (0..rows.count)
                .into_par_iter()
                .with_min_len(1 << 14)
                .map(hash)
                .collect()
        } else {
            (0..rows.count).map(hash).collect()
        };
        let (table, chains) = rows.fill(|row| (hashes[row], low_half(hashes[row])));
        (Self { table }, chains)
    }

    /// Writes the first row of each probe row's key, or `NO_ROW`.
    pub(crate) fn locate(&self, keys: &impl TagKeys, heads: &mut [RowId]) {
        let mut probes = [(0_u32, 0_u32); BLOCK_ROWS];
        let mut start = 0;
        for heads in heads.chunks_mut(BLOCK_ROWS) {
            for (offset, probe) in probes[..heads.len()].iter_mut().enumerate() {
                let hash = keys.hash(start + offset);
                *probe = (self.table.home(hash), low_half(hash));
                self.table.prefetch(probe.0);
            }
            for ((home, tag), head) in probes.iter().zip(heads.iter_mut()) {
                *head = self.table.first_look(*home, *tag, *tag).0;
                keys.touch(*head);
            }
            for head in heads.iter() {
                keys.touch_bytes(*head);
            }
            for (offset, ((home, tag), head)) in probes.iter().zip(heads).enumerate() {
                let row = start + offset;
                let (first, done) = self.table.first_look(*home, *tag, *tag);
                if !done || (first != NO_ROW && !keys.same(row, first)) {
                    *head = self.table.find(*home, *tag, *tag, |other| keys.same(row, other));
                }
            }
            start += BLOCK_ROWS;
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
    }
}
