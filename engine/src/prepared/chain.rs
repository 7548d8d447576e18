//! Chains: filters, projections and lookup joins run one after the other on the caller's thread.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use parking_lot::RwLock;

use super::call::{Call, Parkings};
use super::columns::Columns;
use super::condition::Condition;
use crate::error::{Error, Result};
use crate::exec::{InputExec, LookupJoinExec};
use crate::operator::{JoinOutput, Letters, LookupJoin, Parking, PinnedTables};

/// Steps from the input to the result.
pub(crate) struct Chain(Vec<Step>);

impl Chain {
    /// Takes a plan as a chain; none where it is more than that.
    pub(crate) fn of_plan(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Self>> {
        let mut steps = Vec::new();
        Ok(chain(plan, &mut steps)?.then_some(Self(steps)))
    }

    /// Runs every step over one batch, with the tables' current versions. What comes out has rows, or
    /// is nothing; no row waits, and none becomes a dead letter.
    pub(crate) fn run_alone(&self, batch: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let pins = self.pin()?;
        let done = self.run_pinned(batch, &pins, None);
        self.release(pins);
        done
    }

    /// Pins the tables of every lookup at their current versions: one for each step, none where a
    /// step has no tables.
    pub(super) fn pin(&self) -> Result<ChainPins> {
        let pin = |step: &Step| match step {
            Step::Lookup(join, kept) => current(join, kept).map(Some),
            _ => Ok(None),
        };
        Ok(ChainPins(self.0.iter().map(pin).collect::<Result<_>>()?))
    }

    /// Lets go of versions that were pinned.
    pub(super) fn release(&self, pins: ChainPins) {
        drop(pins);
        for step in &self.0 {
            if let Step::Lookup(_, kept) = step {
                release(kept);
            }
        }
    }

    /// Runs every step over one batch, with tables as they were pinned; `letters` takes those about rows
    /// without a match.
    pub(super) fn run_pinned(
        &self,
        batch: &RecordBatch,
        pins: &ChainPins,
        letters: Option<&dyn Letters>,
    ) -> Result<Vec<RecordBatch>> {
        let mut batches = not_empty(batch);
        for (step, pinned) in self.0.iter().zip(&pins.0) {
            batches = Cow::Owned(match (step, pinned) {
                (Step::Lookup(join, _), Some(pinned)) => look_up(join, pinned, &batches, (letters, 0))?,
                _ => step.run_each(&batches)?,
            });
        }
        Ok(batches.into_owned())
    }

    /// Makes room for the rows that the steps let wait; nothing where none does.
    pub(super) fn parkings(&self) -> Option<Parkings> {
        let parking = |step: &Step| match step {
            Step::Lookup(join, _) => Parking::of_join(join),
            _ => None,
        };
        let parkings: Parkings = self.0.iter().map(parking).collect();
        parkings.iter().any(Option::is_some).then_some(parkings)
    }

    /// Runs every step over one batch. What comes out has rows, or is nothing; rows that have waited
    /// come before those of the batch.
    pub(super) fn run(&self, batch: &RecordBatch, call: &mut Call<'_>) -> Result<Vec<RecordBatch>> {
        let mut batches = not_empty(batch);
        for (at, step) in self.0.iter().enumerate() {
            batches = Cow::Owned(step.run(&batches, at, call)?);
        }
        Ok(batches.into_owned())
    }
}

/// Returns a batch as what a step takes; no step gives batches without rows either.
fn not_empty(batch: &RecordBatch) -> Cow<'_, [RecordBatch]> {
    let batches = std::slice::from_ref(batch);
    Cow::Borrowed(if batch.num_rows() > 0 { batches } else { &[] })
}

/// The versions of tables that a run of many batches reads, a step each.
pub(crate) struct ChainPins(Vec<Option<Arc<PinnedTables>>>);

enum Step {
    /// Keeps some columns.
    Project(Columns),
    /// Keeps the rows for which a condition holds, then some columns.
    Filter(Condition, Option<Columns>),
    /// Computes columns.
    Compute(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Joins tables.
    Lookup(Arc<LookupJoin>, RwLock<Arc<PinnedTables>>),
}

/// Collects the steps of a plan, first step first; returns false where it is no chain.
fn chain(plan: &Arc<dyn ExecutionPlan>, steps: &mut Vec<Step>) -> Result<bool> {
    if let Some(input) = plan.downcast_ref::<InputExec>() {
        let columns = |places: &[usize]| Step::Project(Columns::new(places.to_vec(), input.schema()));
        steps.extend(input.projection().map(columns));
        return Ok(true);
    }
    if let Some(join) = plan.downcast_ref::<LookupJoinExec>() {
        if join.join().keeps_table_rows() || !join.has_only_tables() || !chain(join.input(), steps)? {
            return Ok(false);
        }
        let pinned = RwLock::new(Arc::new(join.join().pin_for_many(false)?));
        // Until the first batch comes nothing runs either.
        release(&pinned);
        steps.push(Step::Lookup(Arc::clone(join.join()), pinned));
        return Ok(true);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        if filter.fetch().is_some() || !chain(filter.input(), steps)? {
            return Ok(false);
        }
        let columns = |places: &[usize]| Columns::new(places.to_vec(), filter.schema());
        let columns = filter.projection().as_deref().map(columns);
        steps.push(Step::Filter(Condition::new(filter.predicate()), columns));
        return Ok(true);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        if !chain(projection.input(), steps)? {
            return Ok(false);
        }
        let expressions = projection
            .expr()
            .iter()
            .map(|projected| Arc::clone(&projected.expr))
            .collect();
        steps.push(Step::Compute(expressions, projection.schema()));
        return Ok(true);
    }
    if plan.downcast_ref::<CoalescePartitionsExec>().is_some() || plan.name() == "CooperativeExec" {
        return match plan.children().as_slice() {
            [child] => chain(child, steps),
            _ => Ok(false),
        };
    }
    Ok(false)
}

impl Step {
    fn run(&self, batches: &[RecordBatch], at: usize, call: &mut Call<'_>) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Lookup(join, kept) => {
                let pinned = current(join, kept)?;
                let letters = call.letters.map(|letters| letters.as_ref() as &dyn Letters);
                let to = (letters, call.kept_pieces);
                let joined = match (call.parkings.get_mut(at), call.now) {
                    (Some(Some(parking)), Some(now)) => {
                        let mut ready = if call.is_last {
                            parking.release_all(join, &pinned, now)?
                        } else {
                            parking.release(join, &pinned, now)?
                        };
                        for batch in batches {
                            ready.extend(parking.park(join, &pinned, batch, now)?);
                        }
                        look_up(join, &pinned, &ready, to)?
                    }
                    _ => look_up(join, &pinned, batches, to)?,
                };
                if pinned.holds_live() {
                    drop(pinned);
                    release(kept);
                }
                Ok(joined)
            }
            _ => self.run_each(batches),
        }
    }

    fn run_each(&self, batches: &[RecordBatch]) -> Result<Vec<RecordBatch>> {
        let run = |batch| self.run_one(batch).transpose();
        batches.iter().filter_map(run).collect()
    }

    /// Runs a step that takes row by row; nothing where no row is left.
    fn run_one(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        match self {
            Self::Project(columns) => columns.of(batch).map(Some),
            Self::Filter(condition, columns) => condition.keep(batch, columns.as_ref()),
            Self::Compute(expressions, schema) => {
                let rows = batch.num_rows();
                let columns = expressions
                    .iter()
                    .map(|expression| Ok(expression.evaluate(batch)?.into_array(rows)?))
                    .collect::<Result<Vec<_>>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                let schema = Arc::clone(schema);
                let computed = RecordBatch::try_new_with_options(schema, columns, &options)?;
                Ok(Some(computed))
            }
            Self::Lookup(..) => Err(Error::internal("a lookup is run by itself")),
        }
    }
}

/// Rows that a join may hand over at once: all of them, but for joins that multiply beyond it.
const ROWS_JOINED_MAX: usize = 1 << 24;

fn look_up(
    join: &LookupJoin,
    pinned: &PinnedTables,
    batches: &[RecordBatch],
    (letters, kept_pieces): (Option<&dyn Letters>, usize),
) -> Result<Vec<RecordBatch>> {
    let to = JoinOutput {
        rows_max: ROWS_JOINED_MAX,
        letters,
        kept_pieces,
    };
    // Who asks for few rows will ask again; whether a copy pays for one long call shows on the way.
    if kept_pieces == 0 {
        pinned.interleave()?;
    }
    let mut joined = Vec::with_capacity(batches.len());
    for batch in batches {
        join.join(pinned, batch, to, &mut |batch| {
            joined.push(batch);
            Ok(())
        })?;
    }
    Ok(joined)
}

/// Returns the tables' current versions, pinned anew where one has changed, or was looked up so often
/// that a faster way of doing it pays.
fn current(join: &LookupJoin, pinned: &RwLock<Arc<PinnedTables>>) -> Result<Arc<PinnedTables>> {
    let now = Arc::clone(&pinned.read());
    let is_current = join.is_current(&now);
    let is_long = is_current && now.wants_clustered();
    if is_current && !is_long {
        return Ok(now);
    }
    let fresh = Arc::new(join.pin_for_many(is_long)?);
    *pinned.write() = Arc::clone(&fresh);
    Ok(fresh)
}

/// Lets go of versions that tables should not have to keep until the next batch.
fn release(kept: &RwLock<Arc<PinnedTables>>) {
    let now = Arc::clone(&kept.read());
    if now.holds_live() {
        *kept.write() = Arc::new(now.released());
    }
}
