//! Prepared queries: planned once, tables kept hot, a batch in, a batch out.
//!
//! A query made of filters, projections and lookup joins becomes a chain of steps that runs on
//! the caller's thread without a scheduler. Any other query runs as a plan of DataFusion's, made
//! once and given the batch at its leaf.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::SessionState;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr, collect};
use fletching_planner::{RelationKind, Statement};
use parking_lot::RwLock;

use crate::error::{Error, Result};
use crate::exec::{InputExec, LookupJoinExec};
use crate::fit::fit;
use crate::operator::{LookupJoin, PinnedTables};
use crate::session::{Session, named, output_schema, relations_of};

/// A query over one stream, ready to be called with batches of it, from many threads at once.
///
/// Each call reads the tables' current versions. Cost: no planning, no task switch; see
/// `benches/README.md` for figures by batch size. For an example see [`Session::prepare`].
pub struct Prepared {
    session: Session,
    state: SessionState,
    input: SchemaRef,
    output: SchemaRef,
    kind: Kind,
}

enum Kind {
    /// Filters, projections and lookup joins, in order.
    Chain(Vec<Step>),
    /// Anything else.
    Plan(Arc<dyn ExecutionPlan>),
}

enum Step {
    /// Keeps some columns.
    Project(Vec<usize>),
    /// Keeps the rows for which an expression holds, then some columns.
    Filter(Arc<dyn PhysicalExpr>, Option<Vec<usize>>),
    /// Computes columns.
    Compute(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
    /// Joins tables.
    Lookup(Arc<LookupJoin>, RwLock<Arc<PinnedTables>>),
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared")
            .field("input", &self.input)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Prepared {
    pub(crate) fn new(session: &Session, query: &str) -> Result<Self> {
        let statements = session.parse(query)?;
        let [statement] = statements.as_slice() else {
            return Err(Error::Batch {
                message: format!("prepare takes one query, found {} statements", statements.len()),
            });
        };
        let mut catalog = session.catalog()?;
        // Planned twice: first to learn which stream it reads, then with that stream as its input.
        let streams: Vec<String> = {
            let planned = session.plan(statement, &catalog)?;
            let Statement::Query(plan) = &planned.statement else {
                return Err(Error::Batch {
                    message: "prepare takes a SELECT".into(),
                });
            };
            relations_of(plan)?
                .into_iter()
                .filter(|name| {
                    catalog
                        .registry
                        .get(name)
                        .is_some_and(|entry| entry.kind() == RelationKind::Stream)
                })
                .collect()
        };
        let [stream] = streams.as_slice() else {
            let found = if streams.is_empty() {
                "none".to_string()
            } else {
                streams.join(", ")
            };
            return Err(Error::Batch {
                message: format!(
                    "prepare takes a query over exactly one stream, found {found}; the others must be tables"
                ),
            });
        };
        let input = catalog.registry.get(stream).and_then(|entry| entry.schema());
        let input = input.ok_or_else(|| Error::internal("a stream without columns"))?;
        catalog.input = Some(stream.clone());
        let planned = session.plan(statement, &catalog)?;
        for warning in planned.warnings {
            session.warn(warning);
        }
        let Statement::Query(plan) = planned.statement else {
            return Err(Error::internal("a query became something else"));
        };
        session.load_tables(&plan, &catalog)?;
        let physical = session.single_threaded_plan(&plan, &catalog)?;
        let mut steps = Vec::new();
        let kind = if chain(&physical, &mut steps)? {
            Kind::Chain(steps)
        } else {
            Kind::Plan(physical)
        };
        Ok(Self {
            session: session.clone(),
            state: catalog.state,
            input,
            output: output_schema(&plan),
            kind,
        })
    }

    /// Returns the columns a batch must have, by name.
    pub fn input_schema(&self) -> &SchemaRef {
        &self.input
    }

    /// Returns the columns of the result.
    pub fn schema(&self) -> &SchemaRef {
        &self.output
    }

    /// Runs the query over one batch and returns its rows as one batch.
    ///
    /// Columns are taken by name, in any order, and cast where their types differ from the
    /// stream's. Columns that the query passes through share their buffers with `batch`.
    ///
    /// # Errors
    /// Fails where a column is missing or of a type that cannot be cast, or a row cannot be
    /// computed; then no row is given.
    pub fn enrich(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = fit(batch, &self.input)?;
        match &self.kind {
            Kind::Chain(steps) => {
                let mut batches = vec![batch];
                for step in steps {
                    batches = step.run(batches)?;
                }
                self.one(&batches)
            }
            Kind::Plan(plan) => self.run_plan(plan, &batch),
        }
    }

    fn one(&self, batches: &[RecordBatch]) -> Result<RecordBatch> {
        match batches {
            [] => Ok(RecordBatch::new_empty(Arc::clone(&self.output))),
            [batch] => named(batch, &self.output),
            [first, ..] => named(&concat_batches(first.schema_ref(), batches)?, &self.output),
        }
    }

    fn run_plan(&self, plan: &Arc<dyn ExecutionPlan>, batch: &RecordBatch) -> Result<RecordBatch> {
        let fresh = datafusion::physical_plan::execution_plan::reset_plan_states(Arc::clone(plan))?;
        let with_batch = fresh.transform_up(|plan| {
            Ok(match plan.downcast_ref::<InputExec>() {
                Some(input) => {
                    Transformed::yes(Arc::new(input.with_batch(batch.clone())) as Arc<dyn ExecutionPlan>)
                }
                None => Transformed::no(plan),
            })
        })?;
        let context = self.state.task_ctx();
        let batches = self
            .session
            .block_on(async move { Ok(collect(with_batch.data, context).await?) })?;
        self.one(&batches)
    }
}

impl Session {
    /// Plans for one thread, so that nothing is exchanged between partitions.
    fn single_threaded_plan(
        &self,
        plan: &datafusion::logical_expr::LogicalPlan,
        catalog: &crate::session::StatementCatalog,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut state = catalog.state.clone();
        state.config_mut().options_mut().execution.target_partitions = 1;
        let plan = plan.clone();
        let cancelled = Arc::clone(&catalog.cancelled);
        self.block_on(async move { Ok(crate::exec::plan_physical(&plan, &state, cancelled).await?) })
    }
}

/// Collects the steps of a plan, first step first; returns false where it is no chain.
fn chain(plan: &Arc<dyn ExecutionPlan>, steps: &mut Vec<Step>) -> Result<bool> {
    if let Some(input) = plan.downcast_ref::<InputExec>() {
        steps.extend(input.projection().map(|columns| Step::Project(columns.to_vec())));
        return Ok(true);
    }
    if let Some(join) = plan.downcast_ref::<LookupJoinExec>() {
        if join.join().keeps_table_rows() || !chain(join.input(), steps)? {
            return Ok(false);
        }
        let pinned = RwLock::new(Arc::new(join.join().pin()?));
        steps.push(Step::Lookup(Arc::clone(join.join()), pinned));
        return Ok(true);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        if filter.fetch().is_some() || !chain(filter.input(), steps)? {
            return Ok(false);
        }
        let projection = filter.projection().as_ref().map(|columns| columns.to_vec());
        steps.push(Step::Filter(Arc::clone(filter.predicate()), projection));
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
    fn run(&self, batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>> {
        match self {
            Self::Lookup(join, pinned) => {
                let pinned = current(join, pinned)?;
                let mut joined = Vec::new();
                for batch in &batches {
                    join.join(&pinned, batch, ROWS_JOINED_MAX, &mut |batch| {
                        joined.push(batch);
                        Ok(())
                    })?;
                }
                Ok(joined)
            }
            _ => batches.iter().map(|batch| self.run_one(batch)).collect(),
        }
    }

    fn run_one(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::Project(columns) => Ok(batch.project(columns)?),
            Self::Filter(predicate, projection) => {
                let keep = predicate.evaluate(batch)?.into_array(batch.num_rows())?;
                let Some(keep) = keep.as_boolean_opt() else {
                    return Err(Error::internal(format!(
                        "{predicate} is {}, not BOOLEAN",
                        keep.data_type()
                    )));
                };
                let projected = match projection {
                    Some(columns) => batch.project(columns)?,
                    None => batch.clone(),
                };
                Ok(filter_record_batch(&projected, keep)?)
            }
            Self::Compute(expressions, schema) => {
                let rows = batch.num_rows();
                let columns = expressions
                    .iter()
                    .map(|expression| Ok(expression.evaluate(batch)?.into_array(rows)?))
                    .collect::<Result<Vec<_>>>()?;
                let options = RecordBatchOptions::new().with_row_count(Some(rows));
                Ok(RecordBatch::try_new_with_options(
                    Arc::clone(schema),
                    columns,
                    &options,
                )?)
            }
            Self::Lookup(..) => Err(Error::internal("a lookup is run by itself")),
        }
    }
}

/// Rows that a join may hand over at once: all of them, but for joins that multiply beyond it.
const ROWS_JOINED_MAX: usize = 1 << 24;

/// Returns the tables' current versions, pinned anew where one has changed.
fn current(join: &LookupJoin, pinned: &RwLock<Arc<PinnedTables>>) -> Result<Arc<PinnedTables>> {
    let now = Arc::clone(&pinned.read());
    if join.is_current(&now) {
        return Ok(now);
    }
    let fresh = Arc::new(join.pin()?);
    *pinned.write() = Arc::clone(&fresh);
    Ok(fresh)
}
