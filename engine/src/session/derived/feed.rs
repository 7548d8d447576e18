//! Tables made from a stream that goes on: what a pipeline does with its records. `run.rs` runs it.
//!
//! ```text
//!   feed ─▶ chunk ─▶ filters, projections, lookups ─▶ the last row of each key
//!                                               └──▶ groups.rs ─▶ HAVING, projections ─▶ a row a group
//! ```
//!
//! Each chunk is one commit. A record with a NULL among what the query groups by is left out and counted: a
//! table's key has no NULL.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use fletching_planner::SqlError;

use super::by_key::without;
use super::groups::Groups;
use super::shape::{group_key, is_stream, with_input};
use crate::error::{Error, Result};
use crate::exec::InputExec;
use crate::prepared::Chain;
use crate::session::{Session, named, output_schema, tables_of};
use crate::table::{Derivation, Pins, Table, TableSnapshot};

/// What a pipeline does with a chunk.
pub(super) enum Stage {
    /// Computes rows, each of which takes the place of the one with its key.
    Rows(Chain, SchemaRef),
    /// Adds them to groups, and puts those that have changed.
    Groups(Box<Grouping>),
}

/// A query that groups.
pub(super) struct Grouping {
    before: Chain,
    groups: Groups,
    after: Chain,
    output: SchemaRef,
    /// For each column of the table's key, where it is in the groups' key.
    order: Vec<usize>,
}

impl Stage {
    /// Plans what a query over a stream that goes on does with its records.
    ///
    /// # Errors
    /// Fails where its rows cannot be kept current record by record.
    pub(super) fn plan(session: &Session, query: &LogicalPlan, key: &[String]) -> Result<Self> {
        let Some(over_input) = with_input(query, &is_stream)? else {
            return Err(unsupported(
                "it reads more than one stream, or one more than once",
            ));
        };
        let physical = session.physical_chain(&over_input)?;
        let output = output_schema(query);
        if let Some(chain) = Chain::of_plan(&physical)? {
            if key.is_empty() {
                return Err(unsupported(
                    "without a PRIMARY KEY it would keep every record of a stream that goes on",
                ));
            }
            return Ok(Self::Rows(chain, output));
        }
        let Some(aggregate) = aggregate_of(&physical) else {
            return Err(unsupported(
                "over a stream that goes on it may filter, compute, look up and group, and nothing else",
            ));
        };
        Ok(Self::Groups(Box::new(Grouping::of(
            query, &physical, &aggregate, key, output,
        )?)))
    }

    /// Changes a table by a chunk of records, as one commit.
    pub(super) fn apply(&mut self, table: &Table, batch: RecordBatch) -> Result<()> {
        match self {
            Self::Rows(chain, output) => {
                let rows = joined(chain.run_alone(&batch)?, output)?;
                if rows.num_rows() == 0 {
                    return Ok(());
                }
                table.put(&rows)
            }
            Self::Groups(grouping) => grouping.apply(table, batch),
        }
    }
}

impl Grouping {
    fn of(
        query: &LogicalPlan,
        physical: &Arc<dyn ExecutionPlan>,
        aggregate: &AggregateExec,
        key: &[String],
        output: SchemaRef,
    ) -> Result<Self> {
        let Some(group_key) = group_key(query) else {
            return Err(unsupported(
                "it must give every column that it groups by, as it is",
            ));
        };
        let order = key
            .iter()
            .map(|name| group_key.iter().position(|own| own == name));
        let order = order.collect::<Option<Vec<usize>>>();
        let Some(order) = order.filter(|order| order.len() == group_key.len()) else {
            return Err(unsupported(&format!(
                "its PRIMARY KEY must be what it groups by: ({})",
                group_key.join(", ")
            )));
        };
        let groups = Groups::try_new(aggregate)?;
        let input = InputExec::try_new(&aggregate.schema(), None)?;
        let input: Arc<dyn ExecutionPlan> = Arc::new(input);
        let after = Arc::clone(physical).transform_down(|plan| {
            Ok(if plan.downcast_ref::<AggregateExec>().is_some() {
                Transformed::new(Arc::clone(&input), true, TreeNodeRecursion::Jump)
            } else {
                Transformed::no(plan)
            })
        })?;
        let (Some(before), Some(after)) = (Chain::of_plan(aggregate.input())?, Chain::of_plan(&after.data)?)
        else {
            return Err(unsupported(
                "around GROUP BY it may filter, compute and look up, and nothing else",
            ));
        };
        Ok(Self {
            before,
            groups,
            after,
            output,
            order,
        })
    }

    fn apply(&mut self, table: &Table, batch: RecordBatch) -> Result<()> {
        let batches = self.before.run_alone(&batch)?;
        let Some(first) = batches.first() else {
            return Ok(());
        };
        let batch = concat_batches(first.schema_ref(), &batches)?;
        let (batch, left_out) = self.groups.with_whole_keys(batch)?;
        if left_out > 0 {
            table.count_left_out(left_out);
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let changed = self.groups.add(&batch)?;
        let keys: Vec<ArrayRef> = changed.columns()[..self.groups.key_width()].to_vec();
        let rows = joined(self.after.run_alone(&changed)?, &self.output)?;
        let keys: Vec<ArrayRef> = self.order.iter().map(|at| Arc::clone(&keys[*at])).collect();
        // Groups that HAVING keeps no longer.
        let gone = without(&keys, &rows, table.primary_key())?;
        table.exchange(&gone, &rows)
    }
}

/// Finds the one aggregation of a plan, as it is over all records.
fn aggregate_of(plan: &Arc<dyn ExecutionPlan>) -> Option<AggregateExec> {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let is_whole = *aggregate.mode() == AggregateMode::Single;
        let groups = aggregate.group_expr();
        let fits =
            is_whole && groups.is_single() && !groups.is_empty() && aggregate.limit_options().is_none();
        return fits.then(|| aggregate.clone());
    }
    match plan.children().as_slice() {
        [child] => aggregate_of(child),
        _ => None,
    }
}

fn joined(batches: Vec<RecordBatch>, output: &SchemaRef) -> Result<RecordBatch> {
    let batches = batches.into_iter().map(|batch| named(batch, output));
    let mut batches = batches.collect::<Result<Vec<_>>>()?;
    match batches.pop() {
        Some(only) if batches.is_empty() => Ok(only),
        last => Ok(concat_batches(output, batches.iter().chain(&last))?),
    }
}

fn unsupported(message: &str) -> Error {
    let error = SqlError::unsupported(format!(
        "the table cannot be kept current from its stream: {message}"
    ));
    Error::Sql(error.hint(
        "a table holds the last row of each PRIMARY KEY, or a row for each group; say refresh = 'once' to \
         fill it with what the stream holds now",
    ))
}

/// A pipeline as its table sees it.
pub(super) struct Pipeline {
    inputs: Vec<Arc<Table>>,
    is_stopped: Arc<AtomicBool>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    pub(super) fn new(query: &LogicalPlan) -> Result<Self> {
        Ok(Self {
            inputs: tables_of(query)?,
            is_stopped: Arc::default(),
        })
    }

    /// Returns what it is stopped by.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_stopped)
    }
}

impl Derivation for Pipeline {
    fn inputs(&self) -> &[Arc<Table>] {
        &self.inputs
    }

    fn is_pushed(&self) -> bool {
        true
    }

    fn follow(&self, table: &Table, _pins: &Pins) -> Result<Option<Arc<TableSnapshot>>> {
        table.as_published().map(Some)
    }

    fn is_stale(&self) -> bool {
        false
    }

    fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.stop();
    }
}
