//! `on_miss = 'wait'`: rows parked until their key comes, or for so long.
//!
//! ```text
//!   batch ─▶ is every key there? ─yes─▶ joined now
//!               │ no: parked               ▲
//!               ▼                          │ a table has a new version: looked up again, oldest first
//!            parked rows ──────────────────┤
//!                                          └ waited long enough, or too many: joined as miss.then says
//! ```
//!
//! Parked rows are looked at when a table has changed, before the next batch is: so the rows of
//! one key leave in the order in which they came. A row whose key is NULL does not wait: it can
//! match nothing. Nor does one that only a further condition of the join rejects.
//!
//! In an as-of or temporal join a row waits while its key has no row at all, of whatever time. One
//! whose key has rows, but none at its time, has missed: a row that comes late may answer it or not,
//! and nobody could say how long to wait. Nor does a row wait that is older than the table's history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use fletching_kernels::{NO_ROW, StarRows, gather_batch};

use super::as_of::too_old;
use super::lookup_join::{ArmSpec, LookupJoin, evaluate_all};
use super::miss::{counted_nulls, union_nulls};
use super::pinned::PinnedTables;
use crate::error::Result;

/// Rows that wait, oldest first.
#[derive(Debug)]
pub(crate) struct Parking {
    parked: VecDeque<Parked>,
    rows: usize,
    rows_max: usize,
    wait: Duration,
    /// The versions of the tables that all parked rows were looked up in.
    seen: Vec<u64>,
    undo: Option<Undo>,
}

/// What was parked when a call began that may fail.
#[derive(Debug)]
struct Undo {
    /// How many batches, and rows.
    batches: usize,
    rows: usize,
    seen: Vec<u64>,
    /// The batches themselves, once one of them is touched.
    touched: Option<VecDeque<Parked>>,
}

#[derive(Debug, Clone)]
struct Parked {
    rows: RecordBatch,
    until: Instant,
}

impl Parking {
    /// Makes room for the rows that a join's tables let wait; none where no table does.
    pub(crate) fn of_join(join: &LookupJoin) -> Option<Self> {
        let options = waiting_arms(join).filter_map(|(_, arm)| Some(&arm.source.table()?.options().miss));
        let wait = options.clone().map(|miss| miss.wait).max()?;
        let rows_max = options.map(|miss| miss.wait_rows_max).min()?;
        Some(Self {
            parked: VecDeque::new(),
            rows: 0,
            rows_max,
            wait,
            seen: Vec::new(),
            undo: None,
        })
    }

    /// Returns how many rows are parked.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Begins what can be undone.
    pub(crate) fn begin(&mut self) {
        self.undo = Some(Undo {
            batches: self.parked.len(),
            rows: self.rows,
            seen: self.seen.clone(),
            touched: None,
        });
    }

    /// Keeps what was done since the beginning.
    pub(crate) fn keep(&mut self) {
        self.undo = None;
    }

    /// Puts back what was parked at the beginning, and nothing else.
    pub(crate) fn undo(&mut self) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        match undo.touched {
            Some(parked) => self.parked = parked,
            None => self.parked.truncate(undo.batches),
        }
        (self.rows, self.seen) = (undo.rows, undo.seen);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Returns how long the oldest row may still wait.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        self.parked
            .front()
            .map(|parked| parked.until.saturating_duration_since(now))
    }

    /// Parks the rows of a batch that miss a key; returns the others, and those for which there is
    /// no room.
    pub(crate) fn park(
        &mut self,
        join: &LookupJoin,
        pinned: &PinnedTables,
        batch: &RecordBatch,
        now: Instant,
    ) -> Result<Vec<RecordBatch>> {
        let (there, missing) = split(join, pinned, batch)?;
        let mut released = released(there);
        if missing.num_rows() == 0 {
            return Ok(released);
        }
        let room = self.rows_max.saturating_sub(self.rows).min(missing.num_rows());
        count_missing(join, pinned, &missing, |arm, rows| {
            arm.miss.counters.parked.fetch_add(rows, Relaxed);
        })?;
        if room > 0 {
            self.rows += room;
            self.parked.push_back(Parked {
                rows: missing.slice(0, room),
                until: now + self.wait,
            });
        }
        let left = missing.slice(room, missing.num_rows() - room);
        released.extend(expire(join, pinned, left)?);
        Ok(released)
    }

    /// Looks parked rows up again and lets go of all that are left.
    pub(crate) fn release_all(
        &mut self,
        join: &LookupJoin,
        pinned: &PinnedTables,
        now: Instant,
    ) -> Result<Vec<RecordBatch>> {
        // As much later, the time of whatever is parked now is over.
        self.release(join, pinned, now + self.wait)
    }

    /// Looks parked rows up again, if a table has changed, and lets those go that have waited long
    /// enough. Oldest first.
    pub(crate) fn release(
        &mut self,
        join: &LookupJoin,
        pinned: &PinnedTables,
        now: Instant,
    ) -> Result<Vec<RecordBatch>> {
        let versions = pinned.versions();
        let is_changed = self.seen != versions;
        self.seen = versions;
        let is_due = self.parked.front().is_some_and(|oldest| oldest.until <= now);
        if self.parked.is_empty() || !is_changed && !is_due {
            return Ok(Vec::new());
        }
        if let Some(undo) = self.undo.as_mut().filter(|undo| undo.touched.is_none()) {
            undo.touched = Some(self.parked.iter().take(undo.batches).cloned().collect());
        }
        let mut out = Vec::new();
        for mut parked in std::mem::take(&mut self.parked) {
            let before = parked.rows.num_rows();
            self.rows -= before;
            if is_changed {
                let (there, missing) = split(join, pinned, &parked.rows)?;
                for (_, arm) in waiting_arms(join) {
                    let rows = there.num_rows() as u64;
                    arm.miss.counters.released.fetch_add(rows, Relaxed);
                }
                out.extend(released(there));
                parked.rows = missing;
            }
            if parked.rows.num_rows() == 0 {
                continue;
            }
            if parked.until <= now {
                out.extend(expire(join, pinned, parked.rows)?);
            } else {
                self.rows += parked.rows.num_rows();
                self.parked.push_back(parked);
            }
        }
        Ok(out)
    }
}

fn released(rows: RecordBatch) -> Vec<RecordBatch> {
    if rows.num_rows() == 0 {
        Vec::new()
    } else {
        vec![rows]
    }
}

/// Counts rows that have waited in vain, and lets them go.
fn expire(join: &LookupJoin, pinned: &PinnedTables, rows: RecordBatch) -> Result<Vec<RecordBatch>> {
    count_missing(join, pinned, &rows, |arm, rows| {
        arm.miss.counters.expired.fetch_add(rows, Relaxed);
    })?;
    Ok(released(rows))
}

fn waiting_arms(join: &LookupJoin) -> impl Iterator<Item = (usize, &ArmSpec)> + Clone {
    join.arms().iter().enumerate().filter(|(_, arm)| arm.lets_wait())
}

/// Says of each row whether a table that waits lacks its key.
fn missing_in(
    join: &LookupJoin,
    pinned: &PinnedTables,
    batch: &RecordBatch,
    at: usize,
    arm: &ArmSpec,
) -> Result<Vec<bool>> {
    let identity = StarRows::identity(batch.num_rows());
    let keys = evaluate_all(&arm.probe_keys, batch.num_rows(), |column| {
        join.star_column(pinned, batch, &identity, column)
    })?;
    let table = &pinned.arms[at];
    let keys = table.in_order(keys);
    let valid = union_nulls(counted_nulls(arm, &keys));
    let is_valid = |row: usize| valid.as_ref().is_none_or(|valid| valid.is_valid(row));
    if let (Some((index, _)), [keys_alone @ .., _]) = (table.as_of(), keys.as_slice()) {
        let has_rows = index.has_rows(keys_alone, batch.num_rows())?;
        let too_old = too_old(arm, table, &keys)?;
        let is_past = |row: usize| too_old.as_ref().is_some_and(|too_old| too_old.value(row));
        let rows = 0..batch.num_rows();
        return Ok(rows
            .map(|row| !has_rows.value(row) && is_valid(row) && !is_past(row))
            .collect());
    }
    let mut heads = Vec::new();
    table.finder()?.locate(&keys, &mut heads)?;
    let rows = heads.iter().enumerate();
    Ok(rows.map(|(row, head)| *head == NO_ROW && is_valid(row)).collect())
}

/// Splits a batch into rows whose keys are there, or never will be, and rows that miss one.
fn split(
    join: &LookupJoin,
    pinned: &PinnedTables,
    batch: &RecordBatch,
) -> Result<(RecordBatch, RecordBatch)> {
    let mut is_missing = vec![false; batch.num_rows()];
    for (at, arm) in waiting_arms(join) {
        for (all, one) in is_missing
            .iter_mut()
            .zip(missing_in(join, pinned, batch, at, arm)?)
        {
            *all |= one;
        }
    }
    if !is_missing.contains(&true) {
        return Ok((batch.clone(), batch.slice(0, 0)));
    }
    let rows = |which: bool| -> Vec<u32> {
        let all = (0_u32..).zip(&is_missing);
        all.filter(|(_, missing)| **missing == which)
            .map(|(row, _)| row)
            .collect()
    };
    Ok((
        gather_batch(batch, batch.schema_ref(), &rows(false))?,
        gather_batch(batch, batch.schema_ref(), &rows(true))?,
    ))
}

/// Counts, for each table that waits, the rows that miss its key.
fn count_missing(
    join: &LookupJoin,
    pinned: &PinnedTables,
    rows: &RecordBatch,
    count: impl Fn(&ArmSpec, u64),
) -> Result<()> {
    for (at, arm) in waiting_arms(join) {
        let missing = missing_in(join, pinned, rows, at, arm)?;
        count(arm, missing.iter().filter(|missing| **missing).count() as u64);
    }
    Ok(())
}

/// Waits until a table of a join changes, but not longer than the time given.
pub(crate) fn wait_for_change(join: &LookupJoin, pinned: &PinnedTables, longest: Duration) {
    let Some(table) = waiting_arms(join).find_map(|(_, arm)| arm.source.table()) else {
        return;
    };
    let events = Arc::clone(table.events());
    let seen = events.count();
    // What has changed before the count was taken is not waited for.
    if join.is_current(pinned) {
        events.wait(seen, longest);
    }
}
