//! Groups: the rows of one key each, numbered in the order in which their keys first occur.
//!
//! The index maps a key to the number of its group, so it holds each key once, however many rows
//! there are. Keys are collected from ever longer blocks of rows: a block asks the index of the
//! keys so far, and only what that does not know is looked at twice.
//!
//! ```text
//!   rows  ├─ 65,536 ─┼─ 65,536 ─┼──── 131,072 ────┼──────── 262,144 ────────┼ …
//!            build      locate        locate            locate
//!                       new keys? ──► build anew over all keys: at most twice the rows in all
//! ```

use arrow_array::ArrayRef;
use arrow_select::concat::concat;
use rayon::prelude::*;

use super::short_texts::ShortTexts;
use crate::key::class::decode;
use crate::{BuildOptions, KernelError, KeyIndex, NO_ROW, NullEquality, RowId, gather};

/// Rows of the first block.
const BLOCK_ROWS: usize = 1 << 16;

/// Rows that one thread locates at a time.
const PIECE_ROWS: usize = 1 << 15;

/// The groups of a build side.
pub(super) struct Groups {
    /// From a key to its group; none where all rows are one group.
    pub(super) index: Option<KeyIndex>,
    /// A shorter way for some keys, where NULL is none of them.
    pub(super) short: Option<ShortTexts>,
    pub(super) count: usize,
}

impl Groups {
    /// Numbers the groups of rows; a row whose key matches nothing has the group [`NO_ROW`].
    /// `options` are those of the index; a forced layout is for tests.
    pub(super) fn of_rows(
        keys: &[ArrayRef],
        rows: usize,
        options: &BuildOptions,
    ) -> Result<(Self, Vec<RowId>), KernelError> {
        if keys.is_empty() {
            let count = usize::from(rows > 0);
            let all = Self {
                index: None,
                short: None,
                count,
            };
            return Ok((all, vec![0; rows]));
        }
        let mut index = KeyIndex::build(&slices(keys, 0, 0), options)?;
        let mut distinct: Vec<ArrayRef> = Vec::new();
        let mut groups = Vec::with_capacity(rows);
        let mut count = 0;
        while groups.len() < rows {
            let from = groups.len();
            let block_rows = from.max(BLOCK_ROWS).min(rows - from);
            let block = slices(keys, from, block_rows);
            let mut heads = locate(&index, &block, block_rows, options.parallel)?;
            let missing = positions(&heads, |_, head| head == NO_ROW);
            if let Some((fresh, ranks)) = new_keys(&block, &missing, count, options)? {
                for (position, rank) in missing.iter().zip(ranks) {
                    heads[*position as usize] = rank;
                }
                distinct = append(&distinct, fresh)?;
                index = KeyIndex::build(&distinct, options)?;
                count = distinct.first().map_or(0, |column| column.len());
            }
            groups.extend_from_slice(&heads);
        }
        let short = match options.null_equality {
            NullEquality::NullEqualsNothing => ShortTexts::build(&distinct, options.hash_mask),
            NullEquality::NullEqualsNull => None,
        };
        let index = Some(index);
        Ok((Self { index, short, count }, groups))
    }

    /// Returns the heap's share of the index.
    pub(super) fn heap_bytes(&self) -> usize {
        let short = self.short.as_ref().map_or(0, ShortTexts::heap_bytes);
        self.index.as_ref().map_or(0, KeyIndex::heap_bytes) + short
    }
}

fn slices(keys: &[ArrayRef], from: usize, rows: usize) -> Vec<ArrayRef> {
    keys.iter().map(|column| column.slice(from, rows)).collect()
}

/// Locates rows, in pieces on several threads where that is wanted.
fn locate(
    index: &KeyIndex,
    keys: &[ArrayRef],
    rows: usize,
    parallel: bool,
) -> Result<Vec<RowId>, KernelError> {
    let one = |from: usize| {
        let mut heads = Vec::new();
        index.locate(&slices(keys, from, PIECE_ROWS.min(rows - from)), None, &mut heads)?;
        Ok(heads)
    };
    if !parallel || rows <= PIECE_ROWS {
        let mut heads = Vec::new();
        index.locate(keys, None, &mut heads)?;
        return Ok(heads);
    }
    let starts: Vec<usize> = (0..rows).step_by(PIECE_ROWS).collect();
    let pieces: Result<Vec<Vec<RowId>>, KernelError> = starts.into_par_iter().map(one).collect();
    Ok(pieces?.concat())
}

/// Returns the keys that rows at some positions have and that no group has yet, and the group of
/// each of those rows; nothing where they have none.
#[expect(
    clippy::type_complexity,
    reason = "two results of one pass, taken apart at once"
)]
fn new_keys(
    block: &[ArrayRef],
    missing: &[u32],
    known: usize,
    options: &BuildOptions,
) -> Result<Option<(Vec<ArrayRef>, Vec<RowId>)>, KernelError> {
    if missing.is_empty() {
        return Ok(None);
    }
    let take = |columns: &[ArrayRef], rows: &[u32]| {
        let taken = columns.iter().map(|column| decode(&gather(column, rows)?));
        taken.collect::<Result<Vec<_>, KernelError>>()
    };
    let keys = take(block, missing)?;
    let mut heads = locate(
        &KeyIndex::build(&keys, options)?,
        &keys,
        missing.len(),
        options.parallel,
    )?;
    let first = positions(&heads, |row, head| row == head);
    if first.is_empty() {
        return Ok(None);
    }
    // A head is the first row of its key, so its rank is there before any other row asks for it.
    let mut ranks = vec![NO_ROW; heads.len()];
    for (row, rank) in first.iter().zip(known..) {
        ranks[*row as usize] = RowId::try_from(rank).unwrap_or(NO_ROW);
    }
    for head in heads.iter_mut().filter(|head| **head != NO_ROW) {
        *head = ranks[*head as usize];
    }
    Ok(Some((take(&keys, &first)?, heads)))
}

fn append(keys: &[ArrayRef], fresh: Vec<ArrayRef>) -> Result<Vec<ArrayRef>, KernelError> {
    if keys.is_empty() {
        return Ok(fresh);
    }
    let both = keys.iter().zip(&fresh);
    both.map(|(known, fresh)| Ok(concat(&[known.as_ref(), fresh.as_ref()])?))
        .collect()
}

/// Returns the positions whose head passes, ascending.
fn positions(heads: &[RowId], keep: impl Fn(u32, RowId) -> bool) -> Vec<u32> {
    let all = (0_u32..).zip(heads);
    all.filter(|(row, head)| keep(*row, **head))
        .map(|(row, _)| row)
        .collect()
}
