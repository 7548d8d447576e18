//! Found: the positions of the heads that are rows, and these rows.
//!
//! Each head is written, and the place to write moves on past one that is a row, so that no branch is
//! mispredicted. Where the processor can compress a register (AVX-512), that is done 16 heads at a time:
//!
//! ```text
//!   heads   7 · · 2 · 5 …      is a row?  1 0 0 1 0 1 …      found 7 2 5   positions 0 3 5
//! ```
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "registers of 64 bytes are loaded and stored by pointer, and what a processor can do is asked first"
    )
)]

use crate::{NO_ROW, RowId};

/// Heads looked at together, and how much further than the last row found is written.
const LANES: usize = 16;

/// Returns the positions of so many heads that are rows, ascending, and these rows.
pub(super) fn found_among(heads: &[RowId], count: usize) -> (Vec<u32>, Vec<RowId>) {
    let (mut positions, mut found) = (vec![0; count + LANES], vec![NO_ROW; count + LANES]);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("popcnt") {
        // SAFETY: the processor has what the function asks for.
        unsafe { wide::compress(heads, &mut positions, &mut found) };
        positions.truncate(count);
        found.truncate(count);
        return (positions, found);
    }
    compress(heads, 0, 0, &mut positions, &mut found);
    positions.truncate(count);
    found.truncate(count);
    (positions, found)
}

/// Writes the rows among heads, the first of which has a given position, from a place on.
fn compress(heads: &[RowId], first: u32, at: usize, positions: &mut [u32], found: &mut [RowId]) {
    let mut at = at;
    for (position, head) in (first..).zip(heads) {
        (positions[at], found[at]) = (position, *head);
        at += usize::from(*head != NO_ROW);
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod wide {
    use std::arch::x86_64::{
        __m512i, _mm512_add_epi32, _mm512_cmpneq_epi32_mask, _mm512_loadu_si512, _mm512_maskz_compress_epi32,
        _mm512_set_epi32, _mm512_set1_epi32, _mm512_storeu_si512,
    };

    use super::LANES;
    use crate::RowId;

    /// As [`compress`](super::compress), [`LANES`] heads at a time.
    #[target_feature(enable = "avx512f,popcnt")]
    pub(super) fn compress(heads: &[RowId], positions: &mut [u32], found: &mut [RowId]) {
        let (chunks, rest) = heads.as_chunks::<LANES>();
        let no_row = _mm512_set1_epi32(-1);
        let lanes = _mm512_set1_epi32(16);
        let mut position = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        let mut at = 0;
        for chunk in chunks {
            // SAFETY: the 64 bytes of the chunk are read.
            let rows = unsafe { _mm512_loadu_si512(chunk.as_ptr().cast()) };
            let are_rows = _mm512_cmpneq_epi32_mask(rows, no_row);
            store(positions, at, _mm512_maskz_compress_epi32(are_rows, position));
            store(found, at, _mm512_maskz_compress_epi32(are_rows, rows));
            at += are_rows.count_ones() as usize;
            position = _mm512_add_epi32(position, lanes);
        }
        let first = u32::try_from(heads.len() - rest.len()).unwrap_or(u32::MAX);
        super::compress(rest, first, at, positions, found);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(into: &mut [u32], at: usize, values: __m512i) {
        if let Some(lanes) = into
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut::<LANES>())
        {
            // SAFETY: the 64 bytes of the chunk are written.
            unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), values) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LANES, NO_ROW, RowId, compress, found_among};

    #[test]
    fn finds_rows_one_by_one_and_by_registers() {
        for len in [0, 1, 15, 16, 17, 100, 1000] {
            for every in [1, 2, 3, 10, 2000] {
                let head = |position: u32| {
                    if position.is_multiple_of(every) {
                        position * 7
                    } else {
                        NO_ROW
                    }
                };
                let heads: Vec<RowId> = (0..len).map(head).collect();
                let expected: Vec<u32> = (0..len)
                    .filter(|position| position.is_multiple_of(every))
                    .collect();
                let rows: Vec<RowId> = expected.iter().map(|position| position * 7).collect();
                let count = expected.len();
                assert_eq!(found_among(&heads, count), (expected.clone(), rows.clone()));
                let mut plain = (vec![0; count + LANES], vec![0; count + LANES]);
                compress(&heads, 0, 0, &mut plain.0, &mut plain.1);
                assert_eq!((&plain.0[..count], &plain.1[..count]), (&*expected, &*rows));
            }
        }
    }
}
