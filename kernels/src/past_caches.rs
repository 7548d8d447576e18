//! Stores past the caches (non-temporal).
//!
//! A store to a line that no cache holds first reads the line from memory, to throw what it read
//! away. Where so much is written that it leaves the caches anyway, a store past them saves that
//! read, and what they hold of other things stays there.
#![expect(
    unsafe_code,
    reason = "stores past the caches are only reachable through intrinsics on raw pointers"
)]

#[cfg(all(target_arch = "x86_64", not(miri)))]
use std::arch::x86_64::{__m128i, _mm_sfence, _mm_stream_si32, _mm_stream_si64, _mm_stream_si128};

/// Adds values to a vector, as far as their width allows by stores past the caches. Then [`finish`] is to
/// follow before anybody else may see them.
///
/// # Safety
///
/// All bits of a value are there: no bytes lie between its fields or after them.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(crate) unsafe fn extend<T: Copy>(vector: &mut Vec<T>, values: impl Iterator<Item = T>) {
    vector.reserve(values.size_hint().0);
    let room = vector.spare_capacity_mut();
    let mut filled = 0;
    for (slot, value) in room.iter_mut().zip(values) {
        let target = slot.as_mut_ptr();
        // SAFETY: the target is a slot of `T`, aligned for it. Each arm is taken for a `T` of as many
        // bytes as it stores, those of 16 at a time for such that is aligned to them as the store asks.
        // All bits of a value are there, so copying them as integers copies it.
        unsafe {
            match (size_of::<T>(), align_of::<T>()) {
                (4, _) => _mm_stream_si32(target.cast(), std::mem::transmute_copy::<T, i32>(&value)),
                (8, _) => _mm_stream_si64(target.cast(), std::mem::transmute_copy::<T, i64>(&value)),
                (16, 16) => _mm_stream_si128(target.cast(), std::mem::transmute_copy::<T, __m128i>(&value)),
                (64, 64) => {
                    let pieces = std::mem::transmute_copy::<T, [__m128i; 4]>(&value);
                    for (at, piece) in pieces.into_iter().enumerate() {
                        _mm_stream_si128(target.cast::<__m128i>().add(at), piece);
                    }
                }
                _ => target.write(value),
            }
        }
        filled += 1;
    }
    let len = vector.len() + filled;
    // SAFETY: the slots up to there were just filled.
    unsafe { vector.set_len(len) }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) unsafe fn extend<T: Copy>(vector: &mut Vec<T>, values: impl Iterator<Item = T>) {
    vector.extend(values);
}

/// Waits until values that were stored past the caches are there for other threads.
pub(crate) fn finish() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a fence has no operands, and SSE is part of every x86_64.
    unsafe {
        _mm_sfence();
    }
}
