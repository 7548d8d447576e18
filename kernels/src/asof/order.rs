//! Order: rows by group, and within a group by time and arrival.
//!
//! A counting sort by group leaves each group's rows in the order they arrived in. Most groups
//! are then in the order of time already; only the others are sorted.

use rayon::prelude::*;

use super::cursor::Cursors;
use super::search::Sorted;
use super::times::Time;
use crate::{NO_ROW, RowId};

/// From this many rows on, a single group is sorted by several threads.
const PARALLEL_GROUP_ROWS_MIN: usize = 1 << 16;

/// Puts the rows that `counts` in order. Returns them, the first position of each group and the
/// end of the last, and whether no group had to be sorted.
pub(super) fn sort_rows<T: Time>(
    groups: &[RowId],
    group_count: usize,
    times: &[T],
    counts: impl Fn(usize) -> bool,
    parallel: bool,
) -> (Sorted<T>, Vec<u32>, bool) {
    let mut starts = vec![0_u32; group_count + 1];
    for (row, &group) in groups.iter().enumerate() {
        if group != NO_ROW && counts(row) {
            starts[group as usize + 1] += 1;
        }
    }
    for group in 0..group_count {
        starts[group + 1] += starts[group];
    }
    let len = starts[group_count] as usize;
    let mut sorted = Sorted {
        times: vec![T::default(); len],
        rows: vec![NO_ROW; len],
        latest: None,
        cursors: Cursors::default(),
    };
    let mut next = starts.clone();
    for (row, (&group, &time)) in (0_u32..).zip(groups.iter().zip(times)) {
        if group != NO_ROW && counts(row as usize) {
            let at = next[group as usize] as usize;
            sorted.times[at] = time;
            sorted.rows[at] = row;
            next[group as usize] += 1;
        }
    }
    let was_sorted = sort_groups(&mut sorted, &starts, parallel);
    let ends = starts.windows(2).filter(|span| span[0] < span[1]);
    let lasts = ends.map(|span| sorted.times[span[1] as usize - 1]);
    sorted.latest = lasts.reduce(|a, b| if b > a { b } else { a });
    (sorted, starts, was_sorted)
}

/// Sorts the groups that need it; says whether none did.
fn sort_groups<T: Time>(sorted: &mut Sorted<T>, starts: &[u32], parallel: bool) -> bool {
    let mut unsorted = Vec::new();
    let (mut times, mut rows) = (sorted.times.as_mut_slice(), sorted.rows.as_mut_slice());
    for span in starts.windows(2) {
        let len = (span[1] - span[0]) as usize;
        let (group_times, other_times) = std::mem::take(&mut times).split_at_mut(len);
        let (group_rows, other_rows) = std::mem::take(&mut rows).split_at_mut(len);
        (times, rows) = (other_times, other_rows);
        if !group_times.is_sorted() {
            unsorted.push((group_times, group_rows));
        }
    }
    let was_sorted = unsorted.is_empty();
    if parallel {
        unsorted
            .into_par_iter()
            .for_each(|(times, rows)| sort_group(times, rows, true));
    } else {
        for (times, rows) in unsorted {
            sort_group(times, rows, false);
        }
    }
    was_sorted
}

fn sort_group<T: Time>(times: &mut [T], rows: &mut [RowId], parallel: bool) {
    let mut pairs: Vec<(T, RowId)> = times.iter().copied().zip(rows.iter().copied()).collect();
    // Every number here compares with every other: a NaN is no time and was left out.
    let compare = |a: &(T, RowId), b: &(T, RowId)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal);
    if parallel && pairs.len() >= PARALLEL_GROUP_ROWS_MIN {
        pairs.par_sort_unstable_by(compare);
    } else {
        pairs.sort_unstable_by(compare);
    }
    for ((time, row), (to_time, to_row)) in pairs.into_iter().zip(times.iter_mut().zip(rows)) {
        (*to_time, *to_row) = (time, row);
    }
}

#[cfg(test)]
mod tests {
    use super::sort_rows;
    use crate::NO_ROW;

    #[test]
    fn keeps_arrival_among_equal_times_and_leaves_rows_out() {
        let groups = [1, 0, 1, NO_ROW, 0, 1, 0];
        let times = [5_i64, 9, 5, 0, 2, 4, 2];
        for parallel in [false, true] {
            let (sorted, starts, was_sorted) = sort_rows(&groups, 2, &times, |row| row != 1, parallel);
            assert_eq!(starts, [0, 2, 5]);
            assert_eq!(sorted.rows, [4, 6, 5, 0, 2]);
            assert_eq!(sorted.times, [2, 2, 4, 5, 5]);
            assert!(!was_sorted);
        }
    }
}
