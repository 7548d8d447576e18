//! The search: from a time to the rows that match it, among the sorted times of its group.
//!
//! A probe time at the place of its group's [cursor](super::cursor) is answered without a look at the
//! group. Any other gallops from there: one step, two, four … until it has passed the time, then it
//! halves what lies between (Bentley and Yao, "An almost optimal algorithm for unbounded searching",
//! 1976). Rows in no order cost a binary search.
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
use super::cursor::{Cursor, Cursors};
use super::times::Time;
use crate::{NO_ROW, RowId};

/// The rows of a build side by group, each group by time and then by arrival.
pub(super) struct Sorted<T> {
    pub(super) times: Vec<T>,
    pub(super) rows: Vec<RowId>,
    /// The latest time of all.
    pub(super) latest: Option<T>,
    pub(super) cursors: Cursors<T>,
}

/// Where the groups lie in [`Sorted`], and where their last searches ended.
///
/// The latter are hints, for groups too many to have cursors: any value gives the same answers.
pub(super) struct Spans {
    /// The first position of each group, and the end of the last.
    pub(super) starts: Vec<u32>,
    hints: Vec<AtomicU32>,
}

/// Groups that have cursors at most: 2.6 MB of them for each thread.
const CURSORS_MAX: usize = 1 << 16;

impl Spans {
    pub(super) fn new(starts: Vec<u32>) -> Self {
        let groups = starts.len().saturating_sub(1);
        let hinted = if groups > CURSORS_MAX { groups } else { 0 };
        let hints = starts[..hinted].iter().map(|start| AtomicU32::new(*start));
        Self {
            hints: hints.collect(),
            starts,
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        (self.starts.capacity() + self.hints.capacity()) * 4
    }
}

/// The probe rows: times, and the groups of their keys.
#[derive(Clone, Copy)]
pub(super) struct Probes<'a, T> {
    pub(super) times: &'a [T],
    pub(super) nulls: Option<&'a NullBuffer>,
    pub(super) groups: &'a [RowId],
}

/// Finds for each condition the row that matches each probe row: one walk answers them all.
pub(super) fn search<T: Time>(
    sorted: &Sorted<T>,
    spans: &Spans,
    probes: Probes<'_, T>,
    conditions: &[AsOfCondition],
) -> Vec<Vec<RowId>> {
    let mut found = vec![vec![NO_ROW; probes.groups.len()]; conditions.len()];
    let walk = Walk {
        sorted,
        spans,
        probes,
    };
    let is_plain = |ask: &AsOfCondition| ask.tolerance.is_none() && ask.op != AsOfOp::Nearest;
    if !conditions.iter().all(is_plain) {
        let asks: Vec<Ask<T>> = conditions.iter().map(Ask::new).collect();
        walk.each(|row, cursor, time| {
            for (ask, answers) in asks.iter().zip(&mut found) {
                answers[row] = ask.answer(cursor, time);
            }
        });
        return found;
    }
    let takes: Vec<usize> = conditions.iter().map(|ask| place_of(ask.op)).collect();
    match (found.as_mut_slice(), takes.as_slice()) {
        ([answers], [take]) => walk.each(|row, cursor, time| answers[row] = candidates(cursor, time)[*take]),
        (found, takes) => walk.each(|row, cursor, time| {
            let candidates = candidates(cursor, time);
            for (take, answers) in takes.iter().zip(found.iter_mut()) {
                answers[row] = candidates[*take];
            }
        }),
    }
    found
}

/// Returns what a condition without a tolerance takes of a cursor, by [`place_of`] its operator:
/// a table in place of a branch that is different for every condition.
#[inline(always)]
fn candidates<T: Time>(cursor: &Cursor<T>, time: T) -> [RowId; 4] {
    let (before, after) = (cursor.before, cursor.after);
    // At the beginning of a group the earlier time is the least there is, and no row's: then there
    // is no prior row either, and the row before is none.
    let is_equal = time == cursor.earlier && before != NO_ROW;
    let (strictly_before, at_or_after) = if is_equal {
        (cursor.prior, before)
    } else {
        (before, after)
    };
    [before, strictly_before, at_or_after, after]
}

/// Returns where [`candidates`] has what an operator takes.
fn place_of(op: AsOfOp) -> usize {
    match op {
        AsOfOp::AtOrBefore | AsOfOp::Nearest => 0,
        AsOfOp::Before => 1,
        AsOfOp::AtOrAfter => 2,
        AsOfOp::After => 3,
    }
}

/// What a condition of any kind takes of a cursor.
struct Ask<T: Time> {
    op: AsOfOp,
    bound: Option<T::Distance>,
}

impl<T: Time> Ask<T> {
    fn new(condition: &AsOfCondition) -> Self {
        Self {
            op: condition.op,
            bound: condition.tolerance.map(T::bound),
        }
    }

    #[inline(always)]
    fn answer(&self, cursor: &Cursor<T>, time: T) -> RowId {
        let is_equal = time == cursor.earlier && cursor.before != NO_ROW;
        let before = (cursor.before, cursor.earlier);
        let after = (cursor.after, cursor.later);
        let (row, at) = match self.op {
            AsOfOp::AtOrBefore => before,
            AsOfOp::Before if is_equal => (cursor.prior, cursor.prior_time),
            AsOfOp::Before => before,
            AsOfOp::AtOrAfter if is_equal => before,
            AsOfOp::AtOrAfter | AsOfOp::After => after,
            // Of two equally near the earlier.
            AsOfOp::Nearest => match (cursor.before, cursor.after) {
                (_, NO_ROW) => before,
                (NO_ROW, _) => after,
                _ if time.distance(cursor.later) < time.distance(cursor.earlier) => after,
                _ => before,
            },
        };
        let is_near = self.bound.is_none_or(|bound| time.distance(at) <= bound);
        if is_near { row } else { NO_ROW }
    }
}

struct Walk<'a, T> {
    sorted: &'a Sorted<T>,
    spans: &'a Spans,
    probes: Probes<'a, T>,
}

impl<T: Time> Walk<'_, T> {
    /// Calls back with each probe row that has a group and a time, and the cursor at its time.
    #[inline(always)]
    fn each(&self, mut answer: impl FnMut(usize, &Cursor<T>, T)) {
        let Spans { starts, hints } = self.spans;
        if !hints.is_empty() {
            return self.rows(|row, group, time| {
                let mut cursor = Cursor::unknown(hints[group].load(Relaxed));
                cursor.advance(self.sorted, (starts[group], starts[group + 1]), time);
                hints[group].store(cursor.at, Relaxed);
                answer(row, &cursor, time);
            });
        }
        let mut cursors = self.sorted.cursors.lend(starts);
        self.rows(|row, group, time| {
            let cursor = &mut cursors[group];
            if !cursor.is_at(time) {
                cursor.advance(self.sorted, (starts[group], starts[group + 1]), time);
            }
            answer(row, cursor, time);
        });
        self.sorted.cursors.take_back(cursors);
    }

    #[inline(always)]
    fn rows(&self, mut each: impl FnMut(usize, usize, T)) {
        let Probes { times, nulls, groups } = self.probes;
        for (row, (&group, &time)) in groups.iter().zip(times).enumerate() {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            if group != NO_ROW && !is_null && time.is_time() {
                each(row, group as usize, time);
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
