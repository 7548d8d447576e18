//! Joins that owe a table's own rows, whether a probe row matched them or not: RIGHT, FULL, and the
//! table's SEMI and ANTI.

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use fletching_kernels::join::Residual;
use fletching_kernels::{
    JoinPairs, ProbeCursor, StarRows, TableCursor, finish_pairs, gather, join_pairs, missing_count,
};

use super::counters::Hopeless;
use super::lookup_join::{JoinOutput, LookupJoin, OutputColumn, as_verdict, evaluate, evaluate_all};
use super::miss::{counted_nulls, null_keys};
use super::pinned::PinnedTables;
use crate::error::{Error, Result};

impl LookupJoin {
    /// Joins a batch with a table whose own rows count: RIGHT, FULL, and the table's SEMI and ANTI.
    pub(super) fn join_whole_table(
        &self,
        pinned: &PinnedTables,
        batch: &RecordBatch,
        to: JoinOutput<'_>,
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let ([arm], [table]) = (self.arms(), pinned.arms.as_slice()) else {
            return Err(Error::internal("a RIGHT or FULL lookup shares a star join"));
        };
        let identity = StarRows::identity(batch.num_rows());
        let keys = evaluate_all(&arm.probe_keys, batch.num_rows(), |column| {
            self.star_column(pinned, batch, &identity, column)
        })?;
        let mut heads = Vec::new();
        let index = table.index()?;
        index.locate(&keys, None, &mut heads)?;
        let hopeless = Hopeless {
            null_keys: null_keys(counted_nulls(arm, &keys)),
            too_old: 0,
        };
        arm.miss
            .counters
            .note_looked_up(heads.len(), missing_count(&heads), hopeless);
        let mut cursor = ProbeCursor::default();
        let mut pairs = JoinPairs::default();
        loop {
            let mut judge = |candidates: &JoinPairs| -> Result<BooleanArray> {
                let Some(residual) = &arm.residual else {
                    return Ok(BooleanArray::from(vec![true; candidates.probe.len()]));
                };
                let passed = evaluate(residual, candidates.probe.len(), |column| {
                    pair_column(pinned, batch, candidates, column)
                })?;
                as_verdict(residual, &passed)
            };
            let residual = arm
                .residual
                .is_some()
                .then_some(&mut judge as &mut Residual<'_, Error>);
            let visited = pinned.visited.as_ref();
            let done = join_pairs(
                index,
                &heads,
                arm.kind,
                &mut cursor,
                to.rows_max,
                residual,
                visited,
                &mut pairs,
            )?;
            if arm.kind.emits_pairs() && !pairs.probe.is_empty() {
                let rows = (Some(pairs.probe.as_slice()), &[pairs.build.as_slice()][..]);
                emit(self.gather_joined(pinned, batch, rows, to)?)?;
            }
            if done {
                return Ok(());
            }
        }
    }

    /// Hands over what the table itself owes once every probe batch has been joined.
    pub(crate) fn finish(
        &self,
        pinned: &PinnedTables,
        rows_max: usize,
        emit: &mut dyn FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let (Some(visited), [arm]) = (&pinned.visited, self.arms()) else {
            return Ok(());
        };
        let mut cursor = TableCursor::default();
        let mut pairs = JoinPairs::default();
        loop {
            let done = finish_pairs(arm.kind, visited, &mut cursor, rows_max, &mut pairs);
            if !pairs.build.is_empty() {
                let rows = pairs.build.len();
                emit(self.gather(pinned, rows, |column| match column {
                    OutputColumn::Probe(_) => Ok(None),
                    OutputColumn::Table { column, .. } => {
                        Ok(Some(pinned.arms[0].column(column, &pairs.build)?))
                    }
                })?)?;
            }
            if done {
                return Ok(());
            }
        }
    }
}

fn pair_column(
    pinned: &PinnedTables,
    batch: &RecordBatch,
    pairs: &JoinPairs,
    column: OutputColumn,
) -> Result<Option<ArrayRef>> {
    Ok(Some(match column {
        // Probe positions are row ids of the probe batch.
        OutputColumn::Probe(column) => gather(batch.column(column), &pairs.probe)?,
        OutputColumn::Table { arm, column } => pinned.arms[arm].column(column, &pairs.build)?,
    }))
}
