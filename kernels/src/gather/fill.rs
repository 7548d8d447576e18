//! Filling a column with gathered values, through the caches or past them.
//!
//! A store to a line that no cache holds first reads the line from memory, to throw what it read
//! away. Where results are larger than the caches anyway, a store past them (non-temporal) saves that
//! read, and what the caches hold of the table stays there.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::arch::x86_64::{__m128i, _mm_sfence, _mm_stream_si32, _mm_stream_si64, _mm_stream_si128};
use std::mem::MaybeUninit;

use crate::RowId;

/// Adds the values of rows to a column; past the caches where told so, as far as their width allows.
/// Then [`finish`] is to follow before anybody else may see them.
#[inline(always)]
pub(super) fn fill<T: Copy>(
    column: &mut Vec<T>,
    rows: &[RowId],
    value: impl Fn(RowId) -> T,
    past_caches: bool,
) {
    if past_caches {
        stream(column, rows.iter().map(|row| value(*row)));
    } else {
        add(column, rows, |slot, row| {
            slot.write(value(row));
        });
    }
}

/// Adds the values of rows to a column, as [`fill`] does.
///
/// # Safety
///
/// There is a value for every row.
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "asking whether there is a value takes longer than copying one that is in cache"
)]
pub(super) unsafe fn fill_known<T: Copy>(
    column: &mut Vec<T>,
    rows: &[RowId],
    values: &[T],
    past_caches: bool,
) {
    if past_caches {
        // SAFETY: there is a value for the row.
        let value = |row: &RowId| unsafe { *values.get_unchecked(*row as usize) };
        stream(column, rows.iter().map(value));
    } else {
        add(column, rows, |slot, row| {
            // SAFETY: there is a value for the row, and it is copied to a slot of its type. That it is
            // copied and not read has 16 bytes moved at once, where an integer would be by halves.
            unsafe {
                let value = values.as_ptr().add(row as usize);
                std::ptr::copy_nonoverlapping(value, slot.as_mut_ptr(), 1);
            }
        });
    }
}

/// Rows taken without asking after each whether it was the last.
const STEP_ROWS: usize = 8;

/// Adds the values of rows, a step at a time; `write` puts one in its slot.
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "a value is a load and a store: asking for room before each one would double that"
)]
fn add<T: Copy>(column: &mut Vec<T>, rows: &[RowId], write: impl Fn(&mut MaybeUninit<T>, RowId)) {
    column.reserve(rows.len());
    let room = &mut column.spare_capacity_mut()[..rows.len()];
    let (steps, last_rows) = rows.as_chunks::<STEP_ROWS>();
    let (rooms, last_room) = room.as_chunks_mut::<STEP_ROWS>();
    for (slots, rows) in rooms.iter_mut().zip(steps) {
        for (slot, row) in slots.iter_mut().zip(rows) {
            write(slot, *row);
        }
    }
    for (slot, row) in last_room.iter_mut().zip(last_rows) {
        write(slot, *row);
    }
    let len = column.len() + rows.len();
    // SAFETY: room was made for as many, and each slot up to there was just written.
    unsafe { column.set_len(len) }
}

/// Waits until values that were stored past the caches are there for other threads.
#[expect(unsafe_code, reason = "the fence is only reachable through an intrinsic")]
pub(super) fn finish(past_caches: bool) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if past_caches {
        // SAFETY: a fence has no operands, and SSE is part of every x86_64.
        unsafe { _mm_sfence() }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = past_caches;
}

/// Adds values by stores past the caches.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
#[expect(
    unsafe_code,
    reason = "stores past the caches are only reachable through intrinsics on raw pointers"
)]
fn stream<T: Copy>(column: &mut Vec<T>, values: impl Iterator<Item = T>) {
    column.reserve(values.size_hint().0);
    let room = column.spare_capacity_mut();
    let mut filled = 0;
    for (slot, value) in room.iter_mut().zip(values) {
        let target = slot.as_mut_ptr();
        // SAFETY: the target is a slot of `T`, aligned for it. Each arm is taken for a `T` of as many
        // bytes as it stores, the last but one for such that is aligned to them as the store asks. The
        // bits of a value of Arrow are all there, so copying them as an integer copies the value.
        unsafe {
            match (size_of::<T>(), align_of::<T>()) {
                (4, _) => _mm_stream_si32(target.cast(), std::mem::transmute_copy::<T, i32>(&value)),
                (8, _) => _mm_stream_si64(target.cast(), std::mem::transmute_copy::<T, i64>(&value)),
                (16, 16) => _mm_stream_si128(target.cast(), std::mem::transmute_copy::<T, __m128i>(&value)),
                _ => target.write(value),
            }
        }
        filled += 1;
    }
    let len = column.len() + filled;
    // SAFETY: the slots up to there were just filled.
    unsafe { column.set_len(len) }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn stream<T: Copy>(column: &mut Vec<T>, values: impl Iterator<Item = T>) {
    column.extend(values);
}

#[cfg(test)]
mod tests {
    use super::{fill, fill_known, finish};

    #[expect(unsafe_code, reason = "every row has a value")]
    fn check<T: Copy + PartialEq + std::fmt::Debug>(values: &[T]) {
        // Every number of rows up to two steps and some, taken in two parts.
        let rows: Vec<u32> = (0_u32..).take(values.len()).collect();
        let rows: Vec<u32> = rows.into_iter().rev().cycle().take(19).collect();
        let expected: Vec<T> = rows.iter().map(|row| values[*row as usize]).collect();
        for past_caches in [false, true] {
            for first in 0..rows.len() {
                let (mut column, mut known) = (Vec::with_capacity(1), Vec::new());
                for part in [&rows[..first], &rows[first..]] {
                    fill(&mut column, part, |row| values[row as usize], past_caches);
                    // SAFETY: the rows are those of the values.
                    unsafe { fill_known(&mut known, part, values, past_caches) }
                }
                finish(past_caches);
                assert_eq!((&column, &known), (&expected, &expected));
            }
        }
    }

    #[test]
    fn values_are_stored_alike_through_the_caches_and_past_them() {
        check(&[1_u8, 2, 3]);
        check(&[1_u16, 2, 3]);
        check(&[1_i32, -2, 3]);
        check(&[0.5_f64, -2.5, f64::MAX]);
        check(&[1_i128, -2, i128::MIN]);
        check(&[(1_u64, 2_u64), (3, 4)]);
        check(&[[1_u64, 2, 3, 4], [5, 6, 7, 8]]);
    }
}
