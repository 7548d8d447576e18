//! Build: the index of a table whose rows are all there, on rayon's threads.
//!
//! ```text
//!   pages ─▶ keys as words ─▶ parted by shard ─▶ ┌ shard 0: its keys of part 0, part 1, … ─▶ buckets
//!            (a part: 16 pages, one thread)      └ shard 1: …              (a shard: one thread)
//! ```
//!
//! Keys are parted by the bits that name their shard before any is put (radix partitioning: Manegold,
//! Boncz and Kersten, "Optimizing main-memory join on modern hardware", IEEE TKDE 2002). A shard is
//! then made once, of the size that it needs, by one thread that needs no locks and stays in its
//! cache; and the rows of a key come to it in the order of the table, so that the last one stays.
//! Besides the table, 12 to 20 bytes a row are held meanwhile.

use std::borrow::Cow;

use arrow_array::ArrayRef;
use rayon::prelude::*;

use super::bucket::LiveWord;
use super::coder::{KeyCoder, Words};
use super::shards::{ShardMap, ShardWriter};
use crate::{KernelError, RowId};

/// Pages that are parted together: their keys and what they are parted into stay in a core's
/// second-level cache.
const PART_PAGES: usize = 16;

/// The decoded key columns of a page, none of which is NULL, and the row id that it begins with.
pub(super) struct KeyedRows {
    pub(super) first: RowId,
    pub(super) columns: Vec<ArrayRef>,
}

/// What became of filling an index.
pub(super) enum Filled {
    /// All keys are in it; these rows were replaced by later ones of their key.
    Whole(Vec<RowId>),
    /// Nothing is in it: the keys of these pages need a wider coder.
    Misfits(Vec<usize>),
}

/// Keys of some pages, shard by shard.
struct Part<W> {
    words: Vec<W>,
    rows: Vec<RowId>,
    /// Where the keys of each shard end.
    ends: Vec<usize>,
}

/// Fills shards that are empty with the keys of all pages.
pub(super) fn fill<W: LiveWord, const N: usize>(
    coder: &KeyCoder,
    shards: &mut ShardWriter<W, N>,
    pages: &[KeyedRows],
    as_words: impl for<'a> Fn(Words<'a>) -> Option<Cow<'a, [W]>> + Sync,
) -> Result<Filled, KernelError> {
    let map = shards.map().as_ref();
    let part = |(at, pages): (usize, &[KeyedRows])| -> Result<Result<Part<W>, Vec<usize>>, KernelError> {
        let mut words = Vec::with_capacity(pages.len());
        let mut misfits = Vec::new();
        for (page, rows) in (at * PART_PAGES..).zip(pages) {
            match coder.admit(&rows.columns)?.and_then(&as_words) {
                Some(found) => words.push((rows.first, found)),
                None => misfits.push(page),
            }
        }
        Ok(if misfits.is_empty() {
            Ok(Part::new(map, &words))
        } else {
            Err(misfits)
        })
    };
    let parts = pages.par_chunks(PART_PAGES).enumerate().map(part);
    let parts: Vec<Result<Part<W>, Vec<usize>>> = parts.collect::<Result<_, _>>()?;
    let mut whole = Vec::with_capacity(parts.len());
    let mut misfits = Vec::new();
    for part in parts {
        match part {
            Ok(part) => whole.push(part),
            Err(pages) => misfits.extend(pages),
        }
    }
    if !misfits.is_empty() {
        return Ok(Filled::Misfits(misfits));
    }
    let whole = &whole;
    Ok(Filled::Whole(shards.fill(|shard| {
        whole.iter().map(move |part| part.of_shard(shard))
    })))
}

impl<W: LiveWord> Part<W> {
    /// Parts words in two passes: how many there are of each shard, and then each to its place.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "shards are 4,096 at most, and rows have ids"
    )]
    fn new<const N: usize>(map: &ShardMap<W, N>, pages: &[(RowId, Cow<'_, [W]>)]) -> Self {
        let count: usize = pages.iter().map(|(_, words)| words.len()).sum();
        let mut shards: Vec<u16> = Vec::with_capacity(count);
        let mut places = vec![0_usize; map.shard_count()];
        for (_, page) in pages {
            for word in page.iter() {
                let shard = map.shard_of_word(*word);
                places[shard] += 1;
                shards.push(shard as u16);
            }
        }
        let mut before = 0;
        for place in &mut places {
            before += std::mem::replace(place, before);
        }
        let (mut words, mut rows) = (vec![W::default(); count], vec![0; count]);
        let mut shards = shards.iter();
        for (first, page) in pages {
            for ((row, word), shard) in (*first..).zip(page.iter()).zip(&mut shards) {
                let place = &mut places[usize::from(*shard)];
                words[*place] = *word;
                rows[*place] = row;
                *place += 1;
            }
        }
        // Each place has moved to where its shard ends.
        Self {
            words,
            rows,
            ends: places,
        }
    }

    fn of_shard(&self, shard: usize) -> (&[W], &[RowId]) {
        let from = shard.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = from..self.ends[shard];
        (&self.words[range.clone()], &self.rows[range])
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use super::Part;
    use crate::live::shards::ShardWriter;

    #[test]
    fn parts_have_every_key_once_in_the_order_of_rows() {
        let writer = ShardWriter::<u64, 5>::new(16, u64::MAX);
        let map = Arc::clone(writer.map());
        let pages: Vec<(u32, Cow<'_, [u64]>)> = (0..3)
            .map(|page| (page * 64, (0..50).map(|at| u64::from(page * 7 + at)).collect()))
            .collect();
        let part = Part::new(&map, &pages);
        let mut seen = Vec::new();
        for shard in 0..16 {
            let (words, rows) = part.of_shard(shard);
            assert!(rows.is_sorted());
            for (word, row) in words.iter().zip(rows) {
                assert_eq!(map.shard_of_word(*word), shard);
                assert_eq!(*word, u64::from(row / 64 * 7 + row % 64));
                seen.push(*row);
            }
        }
        seen.sort_unstable();
        let expected: Vec<u32> = (0..3).flat_map(|page| page * 64..page * 64 + 50).collect();
        assert_eq!(seen, expected);
    }
}
