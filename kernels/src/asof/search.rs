//! The search: from a time to the row that matches it, among the sorted times of its group.
//!
//! Probe rows mostly come in the order of time, so a group's next match lies at its last one or
//! shortly after. Each group has a cursor, and a search gallops from there: one step, two, four …
//! until it has passed the time, then it halves what lies between (Bentley and Yao, "An almost
//! optimal algorithm for unbounded searching", 1976). Rows in order cost a step or two, rows in
//! no order a binary search.
//!
//! ```text
//!   times of a group    3  5  5  8  9  12  17  20
//!   cursor                    ▲
//!   probe at 10                  ├─┤├────┤           gallop: 8 before, 12 not
//!                                   ▲                at or before: 9
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
    hints: Vec<AtomicU32>,
}

impl Spans {
    pub(super) fn new(starts: Vec<u32>) -> Self {
        let hints = starts
            .iter()
            .take(starts.len().saturating_sub(1))
            .map(|start| AtomicU32::new(*start))
            .collect();
        Self { starts, hints }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        (self.starts.capacity() + self.hints.capacity()) * 4
    }

    fn span(&self, group: usize) -> Span {
        Span {
            start: self.starts[group],
            end: self.starts[group + 1],
            at: self.hints[group].load(Relaxed),
        }
    }
}

/// A group's positions, and the one to search from.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    at: u32,
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
    let bound = condition.tolerance.map(T::bound);
    let search = Search {
        sorted,
        spans,
        times,
        nulls,
        bound,
    };
    // One loop for each side, so that none asks which it is at every row.
    match condition.op {
        AsOfOp::AtOrBefore => search.run(heads, |times, span, time| {
            let at = gallop(times, span, |other| other <= time);
            (at, before(span, at))
        }),
        AsOfOp::Before => search.run(heads, |times, span, time| {
            let at = gallop(times, span, |other| other < time);
            (at, before(span, at))
        }),
        AsOfOp::AtOrAfter => search.run(heads, |times, span, time| {
            let at = gallop(times, span, |other| other < time);
            (at, last_of_run(times, span, at))
        }),
        AsOfOp::After => search.run(heads, |times, span, time| {
            let at = gallop(times, span, |other| other <= time);
            (at, last_of_run(times, span, at))
        }),
        AsOfOp::Nearest => search.run(heads, |times, span, time| {
            let at = gallop(times, span, |other| other <= time);
            (at, nearest(times, span, at, time))
        }),
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
    /// Searches for every probe row with a group. `find` returns the group's next cursor and the
    /// position of the match, if there is one.
    fn run(&self, heads: &mut [RowId], find: impl Fn(&[T], Span, T) -> (u32, Option<u32>)) {
        let groups = self.spans.hints.len();
        if groups > heads.len() {
            // To copy the cursors would cost more than to use them.
            return self.each(heads, |group, time| {
                let (at, found) = find(&self.sorted.times, self.spans.span(group), time);
                self.spans.hints[group].store(at, Relaxed);
                found
            });
        }
        let mut spans: Vec<Span> = (0..groups).map(|group| self.spans.span(group)).collect();
        self.each(heads, |group, time| {
            let span = &mut spans[group];
            let (at, found) = find(&self.sorted.times, *span, time);
            span.at = at;
            found
        });
        for (hint, span) in self.spans.hints.iter().zip(&spans) {
            hint.store(span.at, Relaxed);
        }
    }

    fn each(&self, heads: &mut [RowId], mut find: impl FnMut(usize, T) -> Option<u32>) {
        let is_null = |row: usize| self.nulls.is_some_and(|nulls| nulls.is_null(row));
        for (row, (head, &time)) in heads.iter_mut().zip(self.times).enumerate() {
            if *head == NO_ROW {
                continue;
            }
            let found = if time.is_time() && !is_null(row) {
                find(*head as usize, time)
            } else {
                None
            };
            *head = match found {
                Some(at) if self.is_near(at, time) => self.sorted.rows[at as usize],
                _ => NO_ROW,
            };
        }
    }

    fn is_near(&self, at: u32, time: T) -> bool {
        self.bound
            .is_none_or(|bound| time.distance(self.sorted.times[at as usize]) <= bound)
    }
}

/// Returns the last position before `at`, where the group has one.
#[inline(always)]
fn before(span: Span, at: u32) -> Option<u32> {
    (at > span.start).then(|| at - 1)
}

/// Returns the last of the positions at the same time as `at`, where that is in the group.
#[inline(always)]
fn last_of_run<T: Time>(times: &[T], span: Span, at: u32) -> Option<u32> {
    if at >= span.end {
        return None;
    }
    let time = times[at as usize];
    let next = at + 1;
    if next == span.end || times[next as usize] != time {
        return Some(at);
    }
    Some(gallop(times, Span { at: next, ..span }, |other| other <= time) - 1)
}

/// Returns the nearer of the position before `at` and the last of the times at `at`.
#[inline(always)]
fn nearest<T: Time>(times: &[T], span: Span, at: u32, time: T) -> Option<u32> {
    let (earlier, later) = (before(span, at), last_of_run(times, span, at));
    let distance = |at: u32| time.distance(times[at as usize]);
    match (earlier, later) {
        (Some(earlier), Some(later)) if distance(later) < distance(earlier) => Some(later),
        (Some(earlier), _) => Some(earlier),
        (None, later) => later,
    }
}

/// Returns the first position of a span whose time does not pass `is_before`, or its end; all
/// times that pass come before those that do not. Starts at `span.at`, wherever that is.
#[inline(always)]
fn gallop<T: Copy>(times: &[T], span: Span, is_before: impl Fn(T) -> bool) -> u32 {
    let Span { start, end, at } = span;
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
    use super::{Span, gallop};

    #[test]
    fn gallops_from_anywhere_to_the_same_place() {
        let times = [9, 9, 0, 2, 2, 5, 7, 7, 7, 8, 1, 1];
        for bound in -1..11 {
            let expected = 2 + times[2..10].partition_point(|time| *time < bound) as u32;
            for at in 0..14 {
                let span = Span {
                    start: 2,
                    end: 10,
                    at,
                };
                assert_eq!(
                    gallop(&times, span, |time| time < bound),
                    expected,
                    "{bound} from {at}"
                );
            }
        }
        let empty = Span {
            start: 3,
            end: 3,
            at: 0,
        };
        assert_eq!(gallop(&times, empty, |_| true), 3);
    }
}
