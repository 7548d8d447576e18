//! What a lookup join tells the star join of its arms: their keys, their residual conditions, and
//! what becomes of the rows they miss.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::and_kleene;
use fletching_kernels::{RowId, StarProbe, StarRows, gather_batch};
use fletching_planner::MissPolicy;

use super::as_of::{rows_that_last, without_history};
use super::counters::Hopeless;
use super::letters::{Letters, letters_about};
use super::lookup_join::{LookupJoin, as_verdict, evaluate, evaluate_all};
use super::miss::{Missed, OLDER_THAN_RETENTION, counted_nulls, null_keys};
use super::pinned::PinnedTables;
use crate::error::{Error, Result};

/// Computes keys and residuals for the star join.
pub(super) struct Probe<'a> {
    join: &'a LookupJoin,
    pinned: &'a PinnedTables,
    batch: &'a RecordBatch,
    letters: Option<&'a dyn Letters>,
    /// Of the keys computed last, those that match nothing by themselves.
    hopeless: Hopeless,
}

impl<'a> Probe<'a> {
    pub(super) fn new(
        join: &'a LookupJoin,
        pinned: &'a PinnedTables,
        batch: &'a RecordBatch,
        letters: Option<&'a dyn Letters>,
    ) -> Self {
        Self {
            join,
            pinned,
            batch,
            letters,
            hopeless: Hopeless::default(),
        }
    }

    /// Counts the keys computed last, so many of which were found.
    pub(super) fn note_found(&self, arm: usize, keys: usize, found: usize) {
        let counters = &self.join.arms()[arm].miss.counters;
        counters.note_looked_up(keys, keys - found, self.hopeless);
    }

    /// Tells of some of the rows joined so far: their keys, why there is no match, their probe rows.
    fn missing(&self, arm: usize, rows: &StarRows, positions: &[u32]) -> Result<Missed> {
        let pick = |list: &Vec<RowId>| {
            let at = positions.iter().filter_map(|at| list.get(*at as usize));
            at.copied().collect()
        };
        let probe = positions
            .iter()
            .filter_map(|at| rows.probe_position(*at as usize));
        let some = StarRows {
            arms: rows.arms[..arm].iter().map(pick).collect(),
            ..StarRows::selected(probe.collect())
        };
        let spec = &self.join.arms()[arm];
        let keys = evaluate_all(&spec.probe_keys, some.len, |column| {
            self.join.star_column(self.pinned, self.batch, &some, column)
        })?;
        let rows = gather_batch(
            self.batch,
            self.batch.schema_ref(),
            some.probe.as_deref().unwrap_or_default(),
        )?;
        Missed::new(spec, &self.pinned.arms[arm], &keys, &rows)
    }
}

impl StarProbe for Probe<'_> {
    type Error = Error;

    fn keys(&mut self, arm: usize, rows: &StarRows) -> Result<Vec<ArrayRef>> {
        let (spec, pinned) = (&self.join.arms()[arm], &self.pinned.arms[arm]);
        let keys = evaluate_all(&spec.probe_keys, rows.len, |column| {
            self.join.star_column(self.pinned, self.batch, rows, column)
        })?;
        let mut keys = pinned.in_order(keys);
        self.hopeless = Hopeless {
            null_keys: null_keys(counted_nulls(spec, &keys)),
            too_old: without_history(spec, pinned, &mut keys)?,
        };
        Ok(keys)
    }

    fn shares_keys(&self, arm: usize, with: usize) -> bool {
        self.join.alike[arm] == self.join.alike[with]
    }

    fn located(&mut self, arm: usize, keys: usize, missing: usize) -> Result<()> {
        let counters = &self.join.arms()[arm].miss.counters;
        counters.note_looked_up(keys, missing, self.hopeless);
        Ok(())
    }

    fn watches(&self, arm: usize) -> bool {
        let arm = &self.join.arms()[arm];
        arm.miss.watches(arm.kind, arm.judges_rows())
    }

    fn missed(&mut self, arm: usize, rows: &StarRows, positions: &[u32]) -> Result<()> {
        let spec = &self.join.arms()[arm];
        spec.miss.counters.note_missed(positions.len());
        match spec.miss.settled() {
            Some(MissPolicy::Error) => {
                let first = &positions[..positions.len().min(1)];
                let mut missed = self.missing(arm, rows, first)?;
                let mut key = missed.keys.pop().unwrap_or_default();
                if missed.reasons.pop() == Some(OLDER_THAN_RETENTION) {
                    key.push_str(&format!(" ({OLDER_THAN_RETENTION})"));
                }
                Err(Error::Miss {
                    table: spec.source.to_string(),
                    key,
                    row: missed.rows.pop().unwrap_or_default(),
                })
            }
            Some(MissPolicy::DeadLetter) => match (self.letters, spec.letter_sink()) {
                (Some(letters), Some(sink)) => {
                    let missed = self.missing(arm, rows, positions)?;
                    letters.take(sink, letters_about(&spec.source.to_string(), missed)?)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn has_residual(&self, arm: usize) -> bool {
        self.join.arms()[arm].judges_rows()
    }

    fn residual(&mut self, arm: usize, candidates: &StarRows) -> Result<Option<BooleanArray>> {
        let lasts = rows_that_last(&self.pinned.arms[arm].snapshot, &candidates.arms[arm]);
        let passed = self.judged(arm, candidates)?;
        match (lasts, passed) {
            (Some(lasts), Some(passed)) => Ok(Some(and_kleene(&lasts, &passed)?)),
            (lasts, passed) => Ok(lasts.or(passed)),
        }
    }
}

impl Probe<'_> {
    /// Judges candidates by an arm's own condition.
    fn judged(&self, arm: usize, candidates: &StarRows) -> Result<Option<BooleanArray>> {
        let Some(residual) = &self.join.arms()[arm].residual else {
            return Ok(None);
        };
        let passed = evaluate(residual, candidates.len, |column| {
            self.join.star_column(self.pinned, self.batch, candidates, column)
        })?;
        as_verdict(residual, &passed).map(Some)
    }
}
