//! Gather loops for values of fixed width, views among them, and for booleans.

use arrow_array::types::ByteViewType;
use arrow_array::{Array, ArrowPrimitiveType, BooleanArray, GenericByteViewArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};

use super::fill::{fill, fill_found, fill_known};
use super::picks::Picks;
use crate::prefetch::{LINE_BYTES, prefetch, prefetch_range};
use crate::{NO_ROW, RowId, past_caches};

/// Rows gathered between two requests for values to come, and how many such blocks ahead those are.
const BLOCK_ROWS: usize = 32;
const BLOCKS_AHEAD: usize = 8;

/// Gathers values of a primitive type.
pub(super) fn gather_primitive<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    picks: &Picks<'_>,
) -> PrimitiveArray<T> {
    let values = gather_values(column.values(), picks);
    PrimitiveArray::new(ScalarBuffer::from(values), gather_nulls(column.nulls(), picks))
}

/// Gathers the views of texts or binaries; the bytes they point to are shared.
pub(super) fn gather_views<T: ByteViewType>(
    column: &GenericByteViewArray<T>,
    picks: &Picks<'_>,
) -> GenericByteViewArray<T> {
    let views = gather_values(column.views(), picks);
    views_of(
        column,
        ScalarBuffer::from(views),
        gather_nulls(column.nulls(), picks),
    )
}

/// Makes an array of views that were gathered from a column's, zero for a missing one.
#[expect(
    unsafe_code,
    reason = "checking views again would read the bytes behind every one of them"
)]
pub(super) fn views_of<T: ByteViewType>(
    column: &GenericByteViewArray<T>,
    views: ScalarBuffer<u128>,
    nulls: Option<NullBuffer>,
) -> GenericByteViewArray<T> {
    // A copy of the array shares the list of its buffers, which a copy of the list would not.
    let (_, buffers, _) = column.clone().into_parts();
    // SAFETY: every view is a copy of one of the column's, or zero, which is an empty text; the
    // buffers are the column's own; and `gather_nulls` gives a bit for each row.
    unsafe { GenericByteViewArray::new_unchecked(views, buffers, nulls) }
}

/// Gathers values, the default for a missing one; the loads are independent, so the processor overlaps
/// their misses.
#[expect(
    unsafe_code,
    reason = "the rows were looked through once, and asking again takes longer than a value in cache"
)]
fn gather_values<T: Copy + Default>(values: &[T], picks: &Picks<'_>) -> Vec<T> {
    let past_caches = picks.go_past_caches();
    let mut picked = Vec::with_capacity(picks.rows.len());
    // A missing row is past the end.
    let value = |row: RowId| values.get(row as usize).copied().unwrap_or_default();
    if picks.are_mostly_missing() {
        picks.for_each_word(
            |row| prefetch(values, row as usize),
            |rows, found| fill_found(&mut picked, rows, found, value, past_caches),
        );
    } else if picks.has_missing() || !picks.are_within(values.len()) {
        fill(&mut picked, picks.rows, value, past_caches);
    } else {
        let mut take = |rows: &[RowId]| {
            // SAFETY: none of the picked rows is missing, nor past the end.
            unsafe { fill_known(&mut picked, rows, values, past_caches) }
        };
        if picks.asks_ahead() {
            for (block, rows) in picks.rows.chunks(BLOCK_ROWS).enumerate() {
                ask_ahead(values, picks.rows, block);
                take(rows);
            }
        } else {
            take(picks.rows);
        }
    }
    if past_caches {
        past_caches::finish();
    }
    picked
}

/// Asks for the values of rows some blocks ahead: for all lines from the first to the last where the
/// rows lie close together, else for each one's.
#[inline(always)]
fn ask_ahead<T>(values: &[T], rows: &[u32], block: usize) {
    let from = (block + BLOCKS_AHEAD) * BLOCK_ROWS;
    let rows = rows.get(from..).unwrap_or_default();
    let rows = rows.get(..BLOCK_ROWS).unwrap_or(rows);
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return;
    };
    let span = *first as usize..*last as usize + 1;
    if span.len() * size_of::<T>() <= BLOCK_ROWS * LINE_BYTES {
        prefetch_range(values, span);
    } else {
        for row in rows {
            prefetch(values, *row as usize);
        }
    }
}

/// Gathers bits.
pub(super) fn gather_boolean(column: &BooleanArray, picks: &Picks<'_>) -> BooleanArray {
    let values = column.values();
    let rows = picks.rows;
    let picked = if picks.has_missing() {
        BooleanBuffer::collect_bool(rows.len(), |at| {
            rows[at] != NO_ROW && values.value(rows[at] as usize)
        })
    } else {
        BooleanBuffer::collect_bool(rows.len(), |at| values.value(rows[at] as usize))
    };
    BooleanArray::new(picked, gather_nulls(column.nulls(), picks))
}

/// Gathers validity: nothing where every picked row is there and valid.
pub(super) fn gather_nulls(nulls: Option<&NullBuffer>, picks: &Picks<'_>) -> Option<NullBuffer> {
    let rows = picks.rows;
    let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
    let valid = match (nulls, picks.has_missing()) {
        (None, false) => return None,
        (None, true) => return Some(picks.found().clone()),
        (Some(nulls), false) => {
            BooleanBuffer::collect_bool(rows.len(), |at| nulls.is_valid(rows[at] as usize))
        }
        (Some(nulls), true) => BooleanBuffer::collect_bool(rows.len(), |at| {
            rows[at] != NO_ROW && nulls.is_valid(rows[at] as usize)
        }),
    };
    Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0)
}
