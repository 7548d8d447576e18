//! Row ids: their type, and what holds of a list of them, found in one pass.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "what a processor can do is asked before it is used")
)]

/// Names a row of a build side (a table): its position in the key columns given to the build.
///
/// ```
/// let first: fletching_kernels::RowId = 0;
/// assert_ne!(first, fletching_kernels::NO_ROW);
/// ```
pub type RowId = u32;

/// Stands where there is no row: a probe row without a match, the end of a chain, the padding
/// of an outer join.
///
/// ```
/// use fletching_kernels::{NO_ROW, RowId};
/// assert_eq!(NO_ROW, RowId::MAX);
/// ```
pub const NO_ROW: RowId = RowId::MAX;

/// Counts the rows that are [`NO_ROW`], in one pass without a branch.
///
/// ```
/// use fletching_kernels::{NO_ROW, missing_count};
/// assert_eq!(missing_count(&[7, NO_ROW, 0]), 1);
/// ```
#[must_use]
pub fn missing_count(rows: &[RowId]) -> usize {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function asks for.
        return unsafe { wide::count_missing(rows) };
    }
    count_missing(rows)
}

/// What holds of a list of row ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// One more than the greatest row id apart from [`NO_ROW`]; 0 without any.
    pub(crate) rows_needed: u32,
    pub(crate) has_missing: bool,
}

impl Extent {
    /// Looks through row ids, in one pass without a branch.
    pub(crate) fn of(rows: &[RowId]) -> Self {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function asks for.
            return unsafe { wide::extent(rows) };
        }
        extent(rows)
    }
}

#[inline(always)]
fn count_missing(rows: &[RowId]) -> usize {
    // Sums as wide as the row ids: wider ones would make vectors of half as many.
    let in_chunk = |rows: &[RowId]| rows.iter().map(|row| u32::from(*row == NO_ROW)).sum::<u32>() as usize;
    rows.chunks(1 << 20).map(in_chunk).sum()
}

#[inline(always)]
fn extent(rows: &[RowId]) -> Extent {
    let (mut rows_needed, mut has_missing) = (0_u32, false);
    for row in rows {
        // Adding one turns NO_ROW into 0, the least.
        rows_needed = rows_needed.max(row.wrapping_add(1));
        has_missing |= *row == NO_ROW;
    }
    Extent {
        rows_needed,
        has_missing,
    }
}

/// The same, eight row ids at a time.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod wide {
    use super::{Extent, RowId};

    #[target_feature(enable = "avx2")]
    pub(super) fn count_missing(rows: &[RowId]) -> usize {
        super::count_missing(rows)
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn extent(rows: &[RowId]) -> Extent {
        super::extent(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::{Extent, NO_ROW, RowId, count_missing, extent, missing_count};

    fn check(rows: &[RowId]) {
        let found = rows.iter().filter(|row| **row != NO_ROW);
        let expected = Extent {
            rows_needed: found.clone().max().map_or(0, |greatest| greatest + 1),
            has_missing: rows.contains(&NO_ROW),
        };
        assert_eq!((Extent::of(rows), extent(rows)), (expected, expected), "{rows:?}");
        let missing = rows.len() - found.count();
        assert_eq!(
            (missing_count(rows), count_missing(rows)),
            (missing, missing),
            "{rows:?}"
        );
    }

    #[test]
    fn lists_are_seen_alike_by_any_width() {
        let odd_ones = [0, 1, i32::MAX as RowId, 1 << 31, NO_ROW - 1, NO_ROW];
        check(&[]);
        check(&[NO_ROW; 33]);
        for len in [1, 7, 8, 9, 31, 64, 100] {
            for odd in odd_ones {
                for at in 0..len {
                    let mut rows = vec![5; len];
                    rows[at] = odd;
                    check(&rows);
                }
            }
        }
    }
}
