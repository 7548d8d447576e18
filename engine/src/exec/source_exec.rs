//! Leaves of a plan: a stream's readers, and the batch a prepared query is given.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as PlanResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
};
use futures::stream;
use parking_lot::Mutex;

use crate::connector::{Reader, ScanRequest, Source};
use crate::error::Error;

/// A stream as a plan reads it.
#[derive(Debug, Clone)]
pub(crate) struct StreamInput {
    pub(crate) name: String,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) request: ScanRequest,
    pub(crate) cancelled: Arc<AtomicBool>,
}

/// Runs a source's readers, one a partition.
pub(crate) struct SourceExec {
    input: StreamInput,
    /// The readers not yet taken; opened with the plan, so that their number is known.
    readers: Mutex<Vec<Option<Box<dyn Reader>>>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

pub(super) fn leaf_properties(schema: SchemaRef, partitions: usize) -> Arc<PlanProperties> {
    Arc::new(PlanProperties::new(
        EquivalenceProperties::new(schema),
        Partitioning::UnknownPartitioning(partitions),
        EmissionType::Incremental,
        Boundedness::Bounded,
    ))
}

/// What every leaf of a plan answers alike.
macro_rules! leaf_plan {
    () => {
        fn properties(&self) -> &Arc<PlanProperties> {
            &self.properties
        }

        fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
            Vec::new()
        }

        fn apply_expressions(
            &self,
            _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> PlanResult<TreeNodeRecursion>,
        ) -> PlanResult<TreeNodeRecursion> {
            Ok(TreeNodeRecursion::Continue)
        }

        fn with_new_children(
            self: Arc<Self>,
            _children: Vec<Arc<dyn ExecutionPlan>>,
        ) -> PlanResult<Arc<dyn ExecutionPlan>> {
            Ok(self)
        }
    };
}

pub(super) use leaf_plan;

impl SourceExec {
    pub(crate) fn try_new(input: StreamInput) -> Result<Self, Error> {
        let readers: Vec<_> = input.source.scan(&input.request)?.into_iter().map(Some).collect();
        input.request.report.add_readers(readers.len());
        let schema = match &input.request.projection {
            Some(columns) => Arc::new(input.source.schema().project(columns)?),
            None => input.source.schema(),
        };
        let properties = leaf_properties(schema, readers.len());
        Ok(Self {
            input,
            readers: Mutex::new(readers),
            properties,
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Takes a partition's reader; a second run of the plan opens the source anew.
    fn reader(&self, partition: usize) -> Result<Box<dyn Reader>, Error> {
        if let Some(reader) = self.readers.lock().get_mut(partition).and_then(Option::take) {
            return Ok(reader);
        }
        let mut readers = self.input.source.scan(&self.input.request)?;
        if partition < readers.len() {
            Ok(readers.swap_remove(partition))
        } else {
            Err(Error::internal(format!(
                "{} has no partition {partition}",
                self.input.name
            )))
        }
    }
}

impl fmt::Debug for SourceExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceExec")
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

impl DisplayAs for SourceExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>();
        write!(
            f,
            "SourceExec: stream={}, columns=[{}]",
            self.input.name,
            columns.join(", ")
        )
    }
}

impl ExecutionPlan for SourceExec {
    fn name(&self) -> &str {
        "SourceExec"
    }

    leaf_plan!();

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn execute(&self, partition: usize, _context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let cancelled = Arc::clone(&self.input.cancelled);
        let report = Arc::clone(&self.input.request.report);
        let reader = self.reader(partition)?;
        let batches = stream::try_unfold(reader, move |mut reader| {
            let metrics = metrics.clone();
            let (cancelled, report) = (Arc::clone(&cancelled), Arc::clone(&report));
            async move {
                if cancelled.load(Relaxed) {
                    return Err(Error::Cancelled.into());
                }
                let _timer = metrics.elapsed_compute().timer();
                let Some(batch) = reader.next_batch()? else {
                    report.end_reader();
                    return Ok(None);
                };
                report.add_rows(batch.num_rows() as u64);
                metrics.record_output(batch.num_rows());
                Ok(Some((batch, reader)))
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// Gives the batches that a prepared query was called with.
#[derive(Debug)]
pub(crate) struct InputExec {
    batches: Vec<RecordBatch>,
    cancelled: Arc<AtomicBool>,
    projection: Option<Vec<usize>>,
    properties: Arc<PlanProperties>,
}

impl InputExec {
    pub(crate) fn try_new(schema: &SchemaRef, projection: Option<Vec<usize>>) -> Result<Self, Error> {
        let keeps_all = |columns: &Vec<usize>| columns.iter().copied().eq(0..schema.fields().len());
        let projection = projection.filter(|columns| !keeps_all(columns));
        let schema = match &projection {
            Some(columns) => Arc::new(schema.project(columns)?),
            None => Arc::clone(schema),
        };
        Ok(Self {
            batches: Vec::new(),
            cancelled: Arc::default(),
            projection,
            properties: leaf_properties(schema, 1),
        })
    }

    /// Copies the leaf with batches to give until the flag is set.
    pub(crate) fn with_batches(&self, batches: Vec<RecordBatch>, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            batches,
            cancelled,
            projection: self.projection.clone(),
            properties: Arc::clone(&self.properties),
        }
    }

    /// Returns which columns of the batch are read.
    pub(crate) fn projection(&self) -> Option<&[usize]> {
        self.projection.as_deref()
    }
}

impl DisplayAs for InputExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputExec")
    }
}

impl ExecutionPlan for InputExec {
    fn name(&self) -> &str {
        "InputExec"
    }

    leaf_plan!();

    fn execute(
        &self,
        _partition: usize,
        _context: Arc<TaskContext>,
    ) -> PlanResult<SendableRecordBatchStream> {
        let batches = match &self.projection {
            Some(columns) => {
                let projected = self.batches.iter().map(|batch| batch.project(columns));
                projected.collect::<Result<Vec<_>, _>>()?
            }
            None => self.batches.clone(),
        };
        let cancelled = Arc::clone(&self.cancelled);
        let batches = stream::iter(batches.into_iter().map(move |batch| {
            if cancelled.load(Relaxed) {
                Err(Error::Cancelled.into())
            } else {
                Ok(batch)
            }
        }));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
