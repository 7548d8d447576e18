//! Filling a column with gathered values of Arrow, through the caches or past them: where results are
//! larger than the caches anyway, what these hold of the table is to stay there.

use std::mem::MaybeUninit;

use crate::{RowId, past_caches};

/// Adds the values of rows to a column; past the caches where told so. Then [`finish`](past_caches::finish)
/// is to follow before anybody else may see them.
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

/// Adds a value for each of up to [`WORD_ROWS`] rows: zero, but for those with a bit in `found`. The fewer
/// those are, the faster: nothing is asked of the others.
#[inline(always)]
pub(super) fn fill_found<T: Copy + Default>(
    column: &mut Vec<T>,
    rows: &[RowId],
    found: u64,
    value: impl Fn(RowId) -> T,
    past_caches: bool,
) {
    let mut values = [T::default(); WORD_ROWS];
    for at in set_bits(found) {
        values[at] = value(rows[at]);
    }
    let values = &values[..rows.len()];
    if past_caches {
        stream(column, values.iter().copied());
    } else {
        column.extend_from_slice(values);
    }
}

/// Rows that a word has a bit for.
pub(super) const WORD_ROWS: usize = 64;

/// Returns the places of a word's set bits, ascending.
#[inline(always)]
pub(super) fn set_bits(word: u64) -> impl Iterator<Item = usize> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let at = rest.trailing_zeros() as usize;
        rest &= rest.wrapping_sub(1);
        (at < WORD_ROWS).then_some(at)
    })
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

/// Adds values by stores past the caches.
#[inline(always)]
#[expect(unsafe_code, reason = "the stores copy bits, which a type has to have all of")]
fn stream<T: Copy>(column: &mut Vec<T>, values: impl Iterator<Item = T>) {
    // SAFETY: every bit of a value of Arrow is there.
    unsafe { past_caches::extend(column, values) }
}

#[cfg(test)]
mod tests {
    use super::{fill, fill_found, fill_known, set_bits};
    use crate::past_caches::finish;

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
                finish();
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

    #[test]
    fn rows_without_a_bit_are_zero() {
        let rows: Vec<u32> = (0..64).rev().collect();
        for found in [0, 1, 1 << 63, 0xF0F0_0001_0000_8001, u64::MAX] {
            for past_caches in [false, true] {
                let mut column = vec![7_u64];
                fill_found(&mut column, &rows, found, |row| u64::from(row) + 1, past_caches);
                finish();
                let expected = (0..64).map(|at| (found >> at & 1) * (64 - at));
                assert_eq!(column, [7].into_iter().chain(expected).collect::<Vec<_>>());
            }
            let bits = set_bits(found).fold(0, |bits, at| bits | 1 << at);
            assert_eq!(bits, found);
        }
    }
}
