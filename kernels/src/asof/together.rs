//! Several conditions at once: one walk along the probe rows answers them all.
//!
//! Searches of the same rows at the same times end at the same place and differ in what they take
//! there. A cursor then holds what any of them may take: the row before the probe time, the row after
//! it, and, for a probe time that rows have themselves, the row before those.
//!
//! ```text
//!   times of a group    3   5   5   8   8   11
//!   cursor at 5         p       b       a           5 <= time < 8
//!
//!   condition     time after 5     time 5
//!   >=            b                b
//!   >             b                p
//!   <=            a                b
//!   <             a                a
//!   nearest       b or a           b
//! ```

use std::sync::atomic::Ordering::Relaxed;

use arrow_buffer::NullBuffer;

use super::condition::{AsOfCondition, AsOfOp};
use super::search::{Sorted, Spans, gallop, last_of_run};
use super::times::Time;
use crate::{NO_ROW, RowId};

/// Finds for each condition the row that matches each probe row, whose groups are given.
pub(super) fn search_together<T: Time>(
    sorted: &Sorted<T>,
    spans: &Spans,
    times: &[T],
    nulls: Option<&NullBuffer>,
    conditions: &[AsOfCondition],
    groups: &[RowId],
) -> Vec<Vec<RowId>> {
    let asks: Vec<Ask<T>> = conditions.iter().map(Ask::new).collect();
    let mut found = vec![vec![NO_ROW; groups.len()]; conditions.len()];
    let mut answers: Vec<&mut [RowId]> = found.iter_mut().map(Vec::as_mut_slice).collect();
    let walk = Walk {
        sorted,
        starts: &spans.starts,
        needs_prior: conditions.iter().any(|condition| condition.op == AsOfOp::Before),
    };
    let hints = &spans.hints;
    // Where there are more keys than rows, to make the cursors would cost more than to use them.
    let kept = if hints.len() > groups.len() {
        0
    } else {
        hints.len()
    };
    let mut cursors: Vec<Around<T>> = hints[..kept]
        .iter()
        .map(|hint| Around::unknown(hint.load(Relaxed)))
        .collect();
    for (row, (&group, &time)) in groups.iter().zip(times).enumerate() {
        if group == NO_ROW || nulls.is_some_and(|nulls| nulls.is_null(row)) || !time.is_time() {
            continue;
        }
        let group = group as usize;
        let mut alone;
        let cursor = match cursors.get_mut(group) {
            Some(cursor) => cursor,
            None => {
                alone = Around::unknown(hints[group].load(Relaxed));
                &mut alone
            }
        };
        if !cursor.is_at(time) {
            walk.advance(cursor, group, time);
            if kept == 0 {
                hints[group].store(cursor.at, Relaxed);
            }
        }
        for (ask, answer) in asks.iter().zip(&mut answers) {
            answer[row] = ask.answer(cursor, time);
        }
    }
    for (hint, cursor) in hints.iter().zip(&cursors) {
        hint.store(cursor.at, Relaxed);
    }
    found
}

/// What one condition takes of a cursor.
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
    fn answer(&self, cursor: &Around<T>, time: T) -> RowId {
        // At the beginning of a group the earlier time is the least there is, and no row's.
        let is_equal = time == cursor.earlier && cursor.before != NO_ROW;
        let before = (cursor.before, cursor.earlier);
        let after = (cursor.after, cursor.later);
        let (row, at) = match self.op {
            AsOfOp::AtOrBefore => before,
            AsOfOp::Before if is_equal => (cursor.prior, cursor.prior_time),
            AsOfOp::Before => before,
            AsOfOp::AtOrAfter if is_equal => before,
            AsOfOp::AtOrAfter | AsOfOp::After => after,
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

/// What lies around a group's last probe time.
#[derive(Clone, Copy)]
struct Around<T> {
    /// The times on either side, or the least and the greatest there is.
    earlier: T,
    later: T,
    /// The time before the earlier one.
    prior_time: T,
    /// Of each time the last row that arrived, or [`NO_ROW`].
    before: RowId,
    after: RowId,
    prior: RowId,
    /// The position of the later time.
    at: u32,
}

impl<T: Time> Around<T> {
    /// A cursor that no time is at yet.
    fn unknown(at: u32) -> Self {
        Self {
            earlier: T::GREATEST,
            later: T::LEAST,
            prior_time: T::LEAST,
            before: NO_ROW,
            after: NO_ROW,
            prior: NO_ROW,
            at,
        }
    }

    /// Says whether a search for this time would end here. It may say no at either end of the
    /// group, or of time.
    #[inline(always)]
    fn is_at(&self, time: T) -> bool {
        self.earlier <= time && time < self.later
    }
}

struct Walk<'a, T> {
    sorted: &'a Sorted<T>,
    starts: &'a [u32],
    /// Whether some condition may take the row before the earlier time.
    needs_prior: bool,
}

impl<T: Time> Walk<'_, T> {
    /// Moves a cursor to a time.
    #[inline(never)]
    fn advance(&self, cursor: &mut Around<T>, group: usize, time: T) {
        let Sorted { times, rows, .. } = self.sorted;
        let (start, end) = (self.starts[group], self.starts[group + 1]);
        let at = gallop(times, start, end, cursor.at, |other| other <= time);
        *cursor = Around::unknown(at);
        (cursor.earlier, cursor.later) = (T::LEAST, T::GREATEST);
        if at > start {
            let earlier = times[at as usize - 1];
            (cursor.earlier, cursor.before) = (earlier, rows[at as usize - 1]);
            // Whether or not this time is the earlier one: the next may be.
            if self.needs_prior {
                let run = gallop(times, start, at, at - 1, |other| other < earlier);
                if run > start {
                    (cursor.prior_time, cursor.prior) = (times[run as usize - 1], rows[run as usize - 1]);
                }
            }
        }
        if at < end {
            cursor.later = times[at as usize];
            cursor.after = rows[last_of_run(times, at, end) as usize];
        }
    }
}
