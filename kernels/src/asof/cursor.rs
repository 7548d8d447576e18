//! Cursors: where each group's last probe time fell, and what lies around that place.
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
//!
//! Probe rows mostly come in the order of time, so that a group's next time falls at the same place
//! as its last one or shortly after. A cursor holds what any condition may take there, so all
//! conditions share one. Cursors outlive a search: the next batch goes on where this one ended.

use std::sync::{Mutex, PoisonError};

use super::search::{Sorted, gallop, last_of_run};
use super::times::Time;
use crate::prefetch::{LINE_BYTES, prefetch};
use crate::{NO_ROW, RowId};

/// What lies around a group's last probe time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<T> {
    /// The times on either side, or the least and the greatest there is.
    pub(super) earlier: T,
    pub(super) later: T,
    /// The time before the earlier one.
    pub(super) prior_time: T,
    /// Of each time the last row that arrived, or [`NO_ROW`].
    pub(super) before: RowId,
    pub(super) after: RowId,
    pub(super) prior: RowId,
    /// The position of the later time.
    pub(super) at: u32,
}

impl<T: Time> Cursor<T> {
    /// A cursor that no time is at yet.
    pub(super) fn unknown(at: u32) -> Self {
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
    pub(super) fn is_at(&self, time: T) -> bool {
        self.earlier <= time && time < self.later
    }

    /// Moves to a time within a span of the rows.
    #[inline(never)]
    pub(super) fn advance(&mut self, sorted: &Sorted<T>, (start, end): (u32, u32), time: T) {
        let Sorted { times, rows, .. } = sorted;
        let at = gallop(times, start, end, self.at, |other| other <= time);
        // Groups are many, so their next lines are in no one's cache when they are needed.
        prefetch(times, at as usize + LINE_BYTES / size_of::<T>());
        prefetch(rows, at as usize + LINE_BYTES / size_of::<RowId>());
        *self = Self::unknown(at);
        (self.earlier, self.later) = (T::LEAST, T::GREATEST);
        if at > start {
            let earlier = times[at as usize - 1];
            (self.earlier, self.before) = (earlier, rows[at as usize - 1]);
            let run = first_of_run(times, start, at - 1);
            if run > start {
                (self.prior_time, self.prior) = (times[run as usize - 1], rows[run as usize - 1]);
            }
        }
        if at < end {
            self.later = times[at as usize];
            self.after = rows[last_of_run(times, at, end) as usize];
        }
    }
}

/// Returns the first of the positions at the same time as `at`.
#[inline(always)]
fn first_of_run<T: Time>(times: &[T], start: u32, at: u32) -> u32 {
    let time = times[at as usize];
    if at == start || times[at as usize - 1] != time {
        return at;
    }
    gallop(times, start, at, at, |other| other < time)
}

/// The cursors of an index's groups, a set for each thread that has searched at once.
pub(super) struct Cursors<T> {
    idle: Mutex<Vec<Vec<Cursor<T>>>>,
}

impl<T> Default for Cursors<T> {
    fn default() -> Self {
        Self {
            idle: Mutex::default(),
        }
    }
}

impl<T: Time> Cursors<T> {
    /// Lends a set of cursors that nobody else has: one for each group.
    pub(super) fn lend(&self, starts: &[u32]) -> Vec<Cursor<T>> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| {
            let groups = starts.len().saturating_sub(1);
            starts[..groups]
                .iter()
                .map(|start| Cursor::unknown(*start))
                .collect()
        })
    }

    /// Takes a set back.
    pub(super) fn take_back(&self, cursors: Vec<Cursor<T>>) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(cursors);
    }
}

impl<T> Cursors<T> {
    pub(super) fn heap_bytes(&self) -> usize {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter()
            .map(|set| set.capacity() * size_of::<Cursor<T>>())
            .sum()
    }
}
