//! Filling a column with gathered values, through the caches or past them.
//!
//! A store to a line that no cache holds first reads the line from memory, to throw what it read
//! away. Where results are larger than the caches anyway, a store past them (non-temporal) saves that
//! read, and what the caches hold of the table stays there.

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::arch::x86_64::{__m128i, _mm_sfence, _mm_stream_si32, _mm_stream_si64, _mm_stream_si128};

/// Adds values to a column; past the caches where told so, as far as their width allows. Then
/// [`finish`] is to follow before anybody else may see them.
#[inline(always)]
pub(super) fn fill<T: Copy>(column: &mut Vec<T>, values: impl Iterator<Item = T>, past_caches: bool) {
    if past_caches {
        stream(column, values);
    } else {
        column.extend(values);
    }
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
    use super::{fill, finish};

    fn check<T: Copy + PartialEq + std::fmt::Debug>(values: &[T]) {
        for first in 0..values.len() {
            let mut column = Vec::with_capacity(values.len());
            for part in [&values[..first], &values[first..]] {
                fill(&mut column, part.iter().copied(), true);
            }
            finish(true);
            assert_eq!(column, values);
        }
    }

    #[test]
    fn stores_past_the_caches_store_the_same() {
        check(&[1_u8, 2, 3]);
        check(&[1_u16, 2, 3]);
        check(&[1_i32, -2, 3]);
        check(&[0.5_f64, -2.5, f64::MAX]);
        check(&[1_i128, -2, i128::MIN]);
        check(&[(1_u64, 2_u64), (3, 4)]);
        check(&[[1_u64, 2, 3, 4], [5, 6, 7, 8]]);
    }
}
