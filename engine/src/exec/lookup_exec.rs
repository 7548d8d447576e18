//! The lookup join as a node of DataFusion's plans.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as PlanResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::projection::{EmbeddedProjection, ProjectionExec, try_embed_projection};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
    Partitioning, PhysicalExpr, PlanProperties, ReplaceChildrenOptions, collect_partitioned,
};
use fletching_planner::SqlError;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::operator::{LookupJoin, PinnedTables};
use crate::table::TableSnapshot;

/// Rows of a first probe slice where a table has duplicate keys and may multiply them.
const FIRST_SLICE_ROWS: usize = 256;

/// Runs a [`LookupJoin`] over each partition of its input.
pub(crate) struct LookupJoinExec {
    input: Arc<dyn ExecutionPlan>,
    /// What as-of arms look up that is no table: each is collected once a run.
    collected: Vec<Arc<dyn ExecutionPlan>>,
    join: Arc<LookupJoin>,
    cancelled: Arc<AtomicBool>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
    run: Arc<Run>,
    projected: bool,
}

/// What the partitions of one run share.
#[derive(Debug)]
struct Run {
    pinned: OnceCell<Arc<PinnedTables>>,
    /// Partitions still probing; the last one hands over what the table owes.
    probing: AtomicUsize,
}

impl LookupJoinExec {
    pub(crate) fn new(
        input: Arc<dyn ExecutionPlan>,
        collected: Vec<Arc<dyn ExecutionPlan>>,
        join: Arc<LookupJoin>,
        cancelled: Arc<AtomicBool>,
    ) -> Self {
        let partitions = input.output_partitioning().partition_count();
        let emission = if join.keeps_table_rows() {
            EmissionType::Both
        } else {
            input.pipeline_behavior()
        };
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(join.schema())),
            Partitioning::UnknownPartitioning(partitions),
            emission,
            input.boundedness(),
        ));
        let run = Arc::new(Run {
            pinned: OnceCell::new(),
            probing: AtomicUsize::new(partitions),
        });
        Self {
            input,
            collected,
            join,
            cancelled,
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
            run,
            projected: false,
        }
    }

    pub(crate) fn input(&self) -> &Arc<dyn ExecutionPlan> {
        &self.input
    }

    pub(crate) fn join(&self) -> &Arc<LookupJoin> {
        &self.join
    }

    /// Says whether it looks up nothing but tables.
    pub(crate) fn has_only_tables(&self) -> bool {
        self.collected.is_empty()
    }
}

impl Run {
    /// Takes one version of each table for the whole run, where the tables are all there is.
    fn pin_tables(&self, join: &LookupJoin) -> Result<(), Error> {
        if self.pinned.initialized() {
            return Ok(());
        }
        // Whoever was first meanwhile is right.
        let _ = self.pinned.set(Arc::new(join.pin(&[])?));
        Ok(())
    }

    /// Takes one version of each table, and the rows of everything else, for the whole run.
    async fn pin(
        &self,
        join: &LookupJoin,
        collected: &[Arc<dyn ExecutionPlan>],
        context: &Arc<TaskContext>,
    ) -> Result<Arc<PinnedTables>, Error> {
        let pin = || async {
            let mut rows = Vec::with_capacity(collected.len());
            for plan in collected {
                rows.push(collect_rows(plan, context).await?);
            }
            Ok(Arc::new(join.pin(&rows)?))
        };
        self.pinned.get_or_try_init(pin).await.cloned()
    }
}

/// Collects the rows of a plan, partition after partition, so that they keep their order.
async fn collect_rows(
    plan: &Arc<dyn ExecutionPlan>,
    context: &Arc<TaskContext>,
) -> Result<Arc<TableSnapshot>, Error> {
    const NAME: &str = "on the right of an as-of join";
    if plan.boundedness().is_unbounded() {
        let what = "the right side of an as-of join never ends";
        let hint = "make a TABLE of it, or take a bounded part of it";
        return Err(Error::Sql(SqlError::unsupported(what).hint(hint)));
    }
    let parts = collect_partitioned(Arc::clone(plan), Arc::clone(context)).await?;
    let batches = parts.into_iter().flatten().filter(|batch| batch.num_rows() > 0);
    let rows = TableSnapshot::try_new(plan.schema(), batches.collect(), 0, NAME)?;
    Ok(Arc::new(rows))
}

impl fmt::Debug for LookupJoinExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupJoinExec")
            .field("join", &self.join)
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

impl DisplayAs for LookupJoinExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self
            .join
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>()
            .join(", ");
        write!(f, "LookupJoinExec: {}, output=[{columns}]", self.join)
    }
}

impl EmbeddedProjection for LookupJoinExec {
    fn with_projection(&self, projection: Option<Vec<usize>>) -> PlanResult<Self> {
        let join = match projection {
            Some(columns) => Arc::new(self.join.project(&columns)?),
            None => Arc::clone(&self.join),
        };
        let (input, collected) = (Arc::clone(&self.input), self.collected.clone());
        let mut exec = Self::new(input, collected, join, Arc::clone(&self.cancelled));
        exec.projected = true;
        Ok(exec)
    }
}

impl ExecutionPlan for LookupJoinExec {
    fn name(&self) -> &str {
        "LookupJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input).chain(&self.collected).collect()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        // The rows a table adds come last.
        let mut maintains = vec![false; 1 + self.collected.len()];
        maintains[0] = !self.join.keeps_table_rows();
        maintains
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // What is collected must keep its order, which parting it anew would not.
        let mut benefits = vec![false; 1 + self.collected.len()];
        benefits[0] = true;
        benefits
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
    ) -> PlanResult<TreeNodeRecursion> {
        // Keys and residuals are bound to columns of the join, not of the input.
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let mut children = children.into_iter();
        let Some(input) = children.next() else {
            return Ok(self);
        };
        let (join, cancelled) = (Arc::clone(&self.join), Arc::clone(&self.cancelled));
        let mut exec = Self::new(input, children.collect(), join, cancelled);
        exec.projected = self.projected;
        Ok(Arc::new(exec))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(
            children,
            ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute),
        )
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Unknown
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        if self.projected {
            Ok(None)
        } else {
            try_embed_projection(projection, self)
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        if self.has_only_tables() {
            self.run.pin_tables(&self.join)?;
        }
        let probing = Probing {
            input: self.input.execute(partition, Arc::clone(&context))?,
            join: Arc::clone(&self.join),
            run: Arc::clone(&self.run),
            cancelled: Arc::clone(&self.cancelled),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            too_old: MetricBuilder::new(&self.metrics).counter("rows_too_old", partition),
            rows_max: context.session_config().batch_size(),
            slice_rows: usize::MAX,
            rest: None,
            ready: VecDeque::new(),
            ended: false,
        };
        let collected = self.collected.clone();
        let batches = stream::once(async move { probing.begin(&collected, &context).await })
            .map_ok(|probing| {
                stream::try_unfold(probing, |(mut probing, pinned)| async move {
                    let next = probing.next(&pinned).await?;
                    Ok(next.map(|batch| (batch, (probing, pinned))))
                })
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// One partition at work.
///
/// ```text
///   next():  ready ─▶ give   │ none: rest of the probe batch ─▶ join a slice ─▶ ready
///                            │ none: input ─▶ rest           │ input ended ─▶ what the table owes
/// ```
struct Probing {
    input: SendableRecordBatchStream,
    join: Arc<LookupJoin>,
    run: Arc<Run>,
    cancelled: Arc<AtomicBool>,
    metrics: BaselineMetrics,
    /// Counts the probe rows without history, when the last partition has ended.
    too_old: Count,
    rows_max: usize,
    /// Probe rows joined at once: fewer where each gives many.
    slice_rows: usize,
    rest: Option<RecordBatch>,
    ready: VecDeque<RecordBatch>,
    ended: bool,
}

impl Probing {
    /// Waits for the rows to look up.
    async fn begin(
        mut self,
        collected: &[Arc<dyn ExecutionPlan>],
        context: &Arc<TaskContext>,
    ) -> PlanResult<(Self, Arc<PinnedTables>)> {
        let pinned = self.run.pin(&self.join, collected, context).await?;
        if self.join.may_multiply(&pinned) {
            self.slice_rows = FIRST_SLICE_ROWS;
        }
        Ok((self, pinned))
    }

    async fn next(&mut self, pinned: &PinnedTables) -> PlanResult<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Error::Cancelled.into());
            }
            if let Some(batch) = self.rest.take() {
                self.join_slice(pinned, &batch)?;
            } else if self.ended {
                return Ok(None);
            } else {
                match self.input.next().await.transpose()? {
                    Some(batch) => self.rest = Some(batch).filter(|batch| batch.num_rows() > 0),
                    None => self.end(pinned)?,
                }
            }
        }
    }

    fn join_slice(&mut self, pinned: &PinnedTables, batch: &RecordBatch) -> Result<(), Error> {
        let _timer = self.metrics.elapsed_compute().clone();
        let _timer = _timer.timer();
        let rows = batch.num_rows().min(self.slice_rows);
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let ready = &mut self.ready;
        let mut given = 0;
        let slice = batch.slice(0, rows);
        self.join.join(pinned, &slice, self.rows_max, &mut |joined| {
            given += joined.num_rows();
            ready.push_back(joined);
            Ok(())
        })?;
        if self.slice_rows != usize::MAX {
            // Aim at a few output batches a slice, so that a join that multiplies stays small.
            let factor = (given / rows).max(1);
            self.slice_rows = (4 * self.rows_max / factor).max(1);
        }
        Ok(())
    }

    fn end(&mut self, pinned: &PinnedTables) -> Result<(), Error> {
        self.ended = true;
        if self.run.probing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let too_old = pinned.rows_too_old.load(Ordering::Relaxed);
            self.too_old.add(usize::try_from(too_old).unwrap_or(usize::MAX));
            let ready = &mut self.ready;
            self.join.finish(pinned, self.rows_max, &mut |owed| {
                ready.push_back(owed);
                Ok(())
            })?;
        }
        Ok(())
    }
}
