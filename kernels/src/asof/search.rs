//! The search: from a time to the row that matches it, among the sorted times of its group.
//!
//! Probe rows mostly come in the order of time, so a group's next match is its last one or lies
//! shortly after. Each group has a cursor: the two times that its last probe time fell between,
//! and the rows there. A probe time between the same two is answered without a look at the group.
//! Any other gallops from there: one step, two, four … until it has passed the time, then it
//! halves what lies between (Bentley and Yao, "An almost optimal algorithm for unbounded
//! searching", 1976). Rows in no order cost a binary search.
//!
//! ```text
//!   times of a group    3  5  5  8  9  12  17  20
//!   cursor                    5 ▲ 8                  a probe at 6 or 7 is there already
//!   probe at 10                  ├─┤├────┤           gallop: 8 before, 12 not
//!   cursor                         9 ▲ 12            at or before: 9; after: 12
//! ```

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use arrow_buffer::NullBuffer;

use super::condition::{AsOfCondition, AsOfOp};
use super::times::Time;
use crate::{NO_ROW, RowId};

/// The rows of a build side by group, each group by time and then by arrival.
pub(super) struct Sorted<T> {
    pub(super) times: Vec<T>,
    pub(super) rows: Vec<RowId>,
    /// The latest time of all.
    pub(super) latest: Option<T>,
}

/// Where the groups lie in [`Sorted`], and where their last searches ended.
///
/// The latter are hints: any value gives the same answers. Threads that search at once each work
/// on a copy, and the last one to end leaves its own.
pub(super) struct Spans {
    /// The first position of each group, and the end of the last.
    pub(super) starts: Vec<u32>,
    pub(super) hints: Vec<AtomicU32>,
}

impl Spans {
    pub(super) fn new(starts: Vec<u32>) -> Self {
        let groups = starts.len().saturating_sub(1);
        let hints = starts
            .iter()
            .take(groups)
            .map(|start| AtomicU32::new(*start))
            .collect();
        Self { starts, hints }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        (self.starts.capacity() + self.hints.capacity()) * 4
    }
}

/// Where a group's last search ended.
#[derive(Clone, Copy)]
struct Cursor<T> {
    /// The times on either side, or the least and the greatest there is.
    earlier: T,
    later: T,
    /// Their rows, or [`NO_ROW`] at an end of the group.
    before: RowId,
    after: RowId,
    /// The position of the later one.
    at: u32,
}

impl<T: Time> Cursor<T> {
    /// A cursor that no time is at yet.
    fn unknown(at: u32) -> Self {
        Self {
            earlier: T::GREATEST,
            later: T::LEAST,
            before: NO_ROW,
            after: NO_ROW,
            at,
        }
    }

    /// Says whether a search for this time would end here. It may say no at either end of the
    /// group, or of time.
    #[inline(always)]
    fn is_at<const OR_EQUAL: bool>(&self, time: T) -> bool {
        if OR_EQUAL {
            self.earlier <= time && time < self.later
        } else {
            self.earlier < time && time <= self.later
        }
    }
}

/// Which of a cursor's rows is the match.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
    Nearest,
}

/// Replaces the group of each probe row by the row that matches it.
pub(super) fn search<T: Time>(
    sorted: &Sorted<T>,
    spans: &Spans,
    times: &[T],
    nulls: Option<&NullBuffer>,
    condition: &AsOfCondition,
    heads: &mut [RowId],
) {
    let search = Search {
        sorted,
        spans,
        times,
        nulls,
        bound: condition.tolerance.map(T::bound),
    };
    // One loop for each condition, so that none asks which it is at every row. A row at the probe
    // row's own time counts as before it, or as after it.
    match condition.op {
        AsOfOp::AtOrBefore => search.run::<true>(heads, Side::Before),
        AsOfOp::Before => search.run::<false>(heads, Side::Before),
        AsOfOp::AtOrAfter => search.run::<false>(heads, Side::After),
        AsOfOp::After => search.run::<true>(heads, Side::After),
        AsOfOp::Nearest => search.run::<true>(heads, Side::Nearest),
    }
}

struct Search<'a, T: Time> {
    sorted: &'a Sorted<T>,
    spans: &'a Spans,
    times: &'a [T],
    nulls: Option<&'a NullBuffer>,
    bound: Option<T::Distance>,
}

impl<T: Time> Search<'_, T> {
    /// Searches for every probe row with a group. `OR_EQUAL` says that times equal to the probe
    /// row's are before it.
    #[inline(always)]
    fn run<const OR_EQUAL: bool>(&self, heads: &mut [RowId], side: Side) {
        let hints = &self.spans.hints;
        let hint = |group: usize| hints[group].load(Relaxed);
        if hints.len() > heads.len() {
            // To make the cursors would cost more than to use them.
            return self.each(heads, side, |group, time| {
                let mut cursor = Cursor::unknown(hint(group));
                self.advance::<OR_EQUAL>(&mut cursor, group, time, side);
                hints[group].store(cursor.at, Relaxed);
                cursor
            });
        }
        let mut cursors: Vec<Cursor<T>> = (0..hints.len())
            .map(|group| Cursor::unknown(hint(group)))
            .collect();
        self.each(heads, side, |group, time| {
            let cursor = &mut cursors[group];
            if !cursor.is_at::<OR_EQUAL>(time) {
                self.advance::<OR_EQUAL>(cursor, group, time, side);
            }
            *cursor
        });
        for (hint, cursor) in hints.iter().zip(&cursors) {
            hint.store(cursor.at, Relaxed);
        }
    }

    #[inline(always)]
    fn each(&self, heads: &mut [RowId], side: Side, mut find: impl FnMut(usize, T) -> Cursor<T>) {
        let is_null = |row: usize| self.nulls.is_some_and(|nulls| nulls.is_null(row));
        for (row, (head, &time)) in heads.iter_mut().zip(self.times).enumerate() {
            if *head == NO_ROW {
                continue;
            }
            if is_null(row) || !time.is_time() {
                *head = NO_ROW;
                continue;
            }
            let cursor = find(*head as usize, time);
            let (found, at) = match side {
                Side::Before => (cursor.before, cursor.earlier),
                Side::After => (cursor.after, cursor.later),
                Side::Nearest => nearer(&cursor, time),
            };
            let is_near = self.bound.is_none_or(|bound| time.distance(at) <= bound);
            *head = if is_near { found } else { NO_ROW };
        }
    }

    /// Moves a cursor to a time.
    #[inline(never)]
    fn advance<const OR_EQUAL: bool>(&self, cursor: &mut Cursor<T>, group: usize, time: T, side: Side) {
        let Sorted { times, rows, .. } = self.sorted;
        let (start, end) = (self.spans.starts[group], self.spans.starts[group + 1]);
        let at = gallop(times, start, end, cursor.at, |other| {
            if OR_EQUAL { other <= time } else { other < time }
        });
        *cursor = Cursor::unknown(at);
        (cursor.earlier, cursor.later) = (T::LEAST, T::GREATEST);
        if at > start {
            cursor.earlier = times[at as usize - 1];
            cursor.before = rows[at as usize - 1];
        }
        if at < end {
            cursor.later = times[at as usize];
            if side != Side::Before {
                cursor.after = rows[last_of_run(times, at, end) as usize];
            }
        }
    }
}

/// Returns the last of the positions at the same time as `at`.
#[inline(always)]
pub(super) fn last_of_run<T: Time>(times: &[T], at: u32, end: u32) -> u32 {
    let time = times[at as usize];
    let next = at + 1;
    if next == end || times[next as usize] != time {
        return at;
    }
    gallop(times, next, end, next, |other| other <= time) - 1
}

/// Returns the nearer of a cursor's two rows and its time; of two equally near the earlier.
#[inline(always)]
fn nearer<T: Time>(cursor: &Cursor<T>, time: T) -> (RowId, T) {
    let (before, after) = ((cursor.before, cursor.earlier), (cursor.after, cursor.later));
    match (cursor.before, cursor.after) {
        (_, NO_ROW) => before,
        (NO_ROW, _) => after,
        _ if time.distance(cursor.later) < time.distance(cursor.earlier) => after,
        _ => before,
    }
}

/// Returns the first position of a span whose time does not pass `is_before`, or its end; all
/// times that pass come before those that do not. Starts at `at`, wherever that is.
#[inline(always)]
pub(super) fn gallop<T: Copy>(
    times: &[T],
    start: u32,
    end: u32,
    at: u32,
    is_before: impl Fn(T) -> bool,
) -> u32 {
    let at = at.clamp(start, end);
    let mut step = 1;
    let (mut low, mut high);
    if at < end && is_before(times[at as usize]) {
        low = at + 1;
        high = end;
        while step <= end - low {
            let ahead = low + step - 1;
            if !is_before(times[ahead as usize]) {
                high = ahead;
                break;
            }
            low = ahead + 1;
            step = step.saturating_mul(2);
        }
    } else {
        high = at;
        low = start;
        while step <= high - start {
            let behind = high - step;
            if is_before(times[behind as usize]) {
                low = behind + 1;
                break;
            }
            high = behind;
            step = step.saturating_mul(2);
        }
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if is_before(times[middle as usize]) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::gallop;

    #[test]
    fn gallops_from_anywhere_to_the_same_place() {
        let times = [9, 9, 0, 2, 2, 5, 7, 7, 7, 8, 1, 1];
        for bound in -1..11 {
            let before = times[2..10].iter().filter(|time| **time < bound).count();
            let expected = 2 + u32::try_from(before).unwrap();
            for at in 0..14 {
                let found = gallop(&times, 2, 10, at, |time| time < bound);
                assert_eq!(found, expected, "{bound} from {at}");
            }
        }
        assert_eq!(gallop(&times, 3, 3, 0, |_| true), 3);
    }
}
