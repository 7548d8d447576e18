//! Gather loops for values of fixed width and for booleans.

use arrow_array::{Array, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};

use super::fill::{fill, finish};
use super::picks::Picks;
use crate::NO_ROW;

/// Gathers values; the loads are independent, so the processor overlaps their misses.
pub(super) fn gather_primitive<T: ArrowPrimitiveType>(
    column: &PrimitiveArray<T>,
    picks: &Picks<'_>,
) -> PrimitiveArray<T> {
    let values = column.values();
    let past_caches = picks.go_past_caches();
    let mut picked = Vec::with_capacity(picks.rows.len());
    if picks.has_missing() {
        // A missing row is past the end.
        let value = |row: &u32| values.get(*row as usize).copied().unwrap_or_default();
        fill(&mut picked, picks.rows.iter().map(value), past_caches);
    } else {
        let value = |row: &u32| values[*row as usize];
        fill(&mut picked, picks.rows.iter().map(value), past_caches);
    }
    finish(past_caches);
    PrimitiveArray::new(ScalarBuffer::from(picked), gather_nulls(column.nulls(), picks))
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
