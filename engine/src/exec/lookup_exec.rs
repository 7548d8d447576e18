//! The lookup join as a node of DataFusion's plans.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as PlanResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{CardinalityEffect, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Metric, MetricValue, MetricsSet,
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
use crate::operator::{JoinOutput, LookupJoin, Parking, PinnedTables, RunLetters, wait_for_change};
use crate::table::{Pins, TableSnapshot};

/// Rows of a first probe slice where a table has duplicate keys and may multiply them.
const FIRST_SLICE_ROWS: usize = 256;

/// How long a wait for keys lasts before it looks whether the run was cancelled.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

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
            ordered_as(&input, &join),
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

/// Returns the properties of the join's output: as far as its columns go, it has its input's order.
/// The optimizer pushes a sort below a join that says it keeps the order, and relies on finding it.
fn ordered_as(input: &Arc<dyn ExecutionPlan>, join: &LookupJoin) -> EquivalenceProperties {
    let mut properties = EquivalenceProperties::new(Arc::clone(join.schema()));
    let Some(ordering) = input.output_ordering().filter(|_| join.keeps_order()) else {
        return properties;
    };
    let kept = ordering.iter().map_while(|sort| {
        let column = sort.expr.downcast_ref::<Column>()?;
        let at = join.output_of_probe(column.index())?;
        let name = join.schema().field(at).name();
        Some(PhysicalSortExpr::new(
            Arc::new(Column::new(name, at)),
            sort.options,
        ))
    });
    let kept: Vec<PhysicalSortExpr> = kept.collect();
    properties.add_ordering(kept);
    properties
}

impl Run {
    /// Takes one version of each table for the whole run, where the tables are all there is.
    fn pin_tables(&self, join: &LookupJoin, context: &TaskContext) -> Result<(), Error> {
        if self.pinned.initialized() {
            return Ok(());
        }
        // Whoever was first meanwhile is right.
        let _ = self.pinned.set(Arc::new(join.pin(&[], pins_of(join, context))?));
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
            Ok(Arc::new(join.pin(&rows, pins_of(join, context))?))
        };
        self.pinned.get_or_try_init(pin).await.cloned()
    }
}

/// Returns the versions that the run reads, where they were pinned for all of it.
fn pins_of(join: &LookupJoin, context: &TaskContext) -> Option<Arc<Pins>> {
    let pins = context.session_config().get_extension::<Pins>()?;
    let mut tables = join.arms().iter().filter_map(|arm| arm.source.table());
    tables.all(|table| pins.get(table).is_some()).then_some(pins)
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

/// Collects the lookup joins of a plan, those that run first before those that wait for them.
pub(crate) fn lookups_of(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<LookupJoin>> {
    let children = plan.children().into_iter();
    let mut found: Vec<_> = children.flat_map(lookups_of).collect();
    if let Some(lookup) = plan.downcast_ref::<LookupJoinExec>() {
        found.push(Arc::clone(&lookup.join));
    }
    found
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
        // The rows a table adds come last, and those that wait when their key does.
        let mut maintains = vec![false; 1 + self.collected.len()];
        maintains[0] = self.join.keeps_order();
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
        let mut metrics = self.metrics.clone_inner();
        for counts in self.join.counts() {
            for (name, value) in counts.named() {
                let count = Count::new();
                count.add(usize::try_from(value).unwrap_or(usize::MAX));
                let name = format!("{}.{name}", counts.table).into();
                let metric = Metric::new(MetricValue::Count { name, count }, None);
                metrics.push(Arc::new(metric));
            }
        }
        Some(metrics)
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
            self.run.pin_tables(&self.join, &context)?;
        }
        let beginning = Beginning {
            input: self.input.execute(partition, Arc::clone(&context))?,
            collected: self.collected.clone(),
            join: Arc::clone(&self.join),
            run: Arc::clone(&self.run),
            cancelled: Arc::clone(&self.cancelled),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            context,
        };
        let batches = stream::once(beginning.probing())
            .map_ok(|probing| {
                stream::try_unfold(probing, |mut probing| async move {
                    let next = probing.next().await?;
                    Ok(next.map(|batch| (batch, probing)))
                })
            })
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// One partition, before it is known what its rows are looked up in.
struct Beginning {
    input: SendableRecordBatchStream,
    collected: Vec<Arc<dyn ExecutionPlan>>,
    join: Arc<LookupJoin>,
    run: Arc<Run>,
    cancelled: Arc<AtomicBool>,
    metrics: BaselineMetrics,
    context: Arc<TaskContext>,
}

impl Beginning {
    /// Waits for the rows to look up.
    async fn probing(self) -> PlanResult<Probing> {
        let pinned = self.run.pin(&self.join, &self.collected, &self.context).await?;
        let slice_rows = if self.join.may_multiply(&pinned) {
            FIRST_SLICE_ROWS
        } else {
            usize::MAX
        };
        Ok(Probing {
            input: self.input,
            pinned,
            parking: Parking::of_join(&self.join),
            join: self.join,
            run: self.run,
            cancelled: self.cancelled,
            metrics: self.metrics,
            letters: self.context.session_config().get_extension::<RunLetters>(),
            rows_max: self.context.session_config().batch_size(),
            slice_rows,
            rest: None,
            ready: VecDeque::new(),
            ended: false,
        })
    }
}

/// One partition at work.
///
/// ```text
///   next():  ready ─▶ give   │ none: rest of the probe batch ─▶ join a slice ─▶ ready
///                            │ none: input ─▶ rest           │ input ended ─▶ what the table owes
/// ```
///
/// Where rows may wait for their keys, those parked are looked at before each of these, and the end
/// is when the last of them has gone.
struct Probing {
    input: SendableRecordBatchStream,
    pinned: Arc<PinnedTables>,
    join: Arc<LookupJoin>,
    run: Arc<Run>,
    cancelled: Arc<AtomicBool>,
    metrics: BaselineMetrics,
    letters: Option<Arc<RunLetters>>,
    rows_max: usize,
    /// Probe rows joined at once: fewer where each gives many.
    slice_rows: usize,
    rest: Option<RecordBatch>,
    ready: VecDeque<RecordBatch>,
    /// Rows that wait for their keys, where some may.
    parking: Option<Parking>,
    ended: bool,
}

impl Probing {
    async fn next(&mut self) -> PlanResult<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                self.metrics.record_output(batch.num_rows());
                return Ok(Some(batch));
            }
            if self.cancelled.load(Ordering::Relaxed) {
                return Err(Error::Cancelled.into());
            }
            if self.release_parked()? {
                continue;
            }
            if let Some(batch) = self.rest.take() {
                self.join_slice(&batch)?;
            } else if self.ended {
                if !self.wait_for_keys() {
                    return Ok(None);
                }
            } else {
                match self.input.next().await.transpose()? {
                    Some(batch) => self.rest = Some(batch).filter(|batch| batch.num_rows() > 0),
                    None => self.end()?,
                }
            }
        }
    }

    fn join_slice(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let _timer = self.metrics.elapsed_compute().clone();
        let _timer = _timer.timer();
        let rows = batch.num_rows().min(self.slice_rows);
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let slice = batch.slice(0, rows);
        let given = match &mut self.parking {
            None => self.join_rows(&slice)?,
            Some(parking) => {
                let now = Instant::now();
                let there = parking.park(&self.join, &self.pinned, &slice, now)?;
                let mut given = 0;
                for rows in &there {
                    given += self.join_rows(rows)?;
                }
                given
            }
        };
        if self.slice_rows != usize::MAX {
            // Aim at a few output batches a slice, so that a join that multiplies stays small.
            let factor = (given / rows).max(1);
            self.slice_rows = (4 * self.rows_max / factor).max(1);
        }
        Ok(())
    }

    /// Joins probe rows; returns how many they give.
    fn join_rows(&mut self, rows: &RecordBatch) -> Result<usize, Error> {
        let ready = &mut self.ready;
        let mut given = 0;
        let to = JoinOutput {
            rows_max: self.rows_max,
            letters: match &self.letters {
                Some(letters) => Some(letters.0.as_ref()),
                None => None,
            },
            kept_pieces: 0,
        };
        self.join.join(&self.pinned, rows, to, &mut |joined| {
            given += joined.num_rows();
            ready.push_back(joined);
            Ok(())
        })?;
        Ok(given)
    }

    /// Joins the parked rows whose keys have come, and those that have waited long enough. Says
    /// whether there were any.
    fn release_parked(&mut self) -> Result<bool, Error> {
        let Some(parking) = &mut self.parking else {
            return Ok(false);
        };
        if !self.join.is_current(&self.pinned) {
            self.pinned = Arc::new(self.join.pin_again(&self.pinned)?);
        }
        let released = parking.release(&self.join, &self.pinned, Instant::now())?;
        for rows in &released {
            self.join_rows(rows)?;
        }
        Ok(!released.is_empty())
    }

    /// Waits for a key, or for the time of the oldest parked row; says whether any row is parked.
    fn wait_for_keys(&self) -> bool {
        let Some(parking) = self.parking.as_ref().filter(|parking| !parking.is_empty()) else {
            return false;
        };
        let left = parking.time_left(Instant::now()).unwrap_or_default();
        let longest = left.min(LOOK_INTERVAL);
        tokio::task::block_in_place(|| wait_for_change(&self.join, &self.pinned, longest));
        true
    }

    fn end(&mut self) -> Result<(), Error> {
        self.ended = true;
        if self.run.probing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let ready = &mut self.ready;
            self.join.finish(&self.pinned, self.rows_max, &mut |owed| {
                ready.push_back(owed);
                Ok(())
            })?;
        }
        Ok(())
    }
}
