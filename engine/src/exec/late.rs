//! Tables read late: a plan that is run over and over reads their versions of the moment it is run.
//!
//! ```text
//!   a statement's plan    pins ─▶ plan, whose leaves hold the pinned rows ─▶ run, once
//!   a prepared plan       plan, whose leaves name tables ─▶ pins ─▶ run ─▶ pins ─▶ run …
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result as PlanResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties};
use futures::stream;

use super::provider::TableRows;
use super::source_exec::{leaf_plan, leaf_properties};
use crate::error::Error;
use crate::table::{Pins, Table, TableSnapshot};

/// Says, in a state that plans are made with, that they are to read tables late.
pub(crate) struct LateTables;

/// Reads all rows of a table, as it is when the plan is run; of a versioned table the current ones.
pub(super) struct TableExec {
    rows: Arc<TableRows>,
    /// The columns to read.
    columns: Vec<usize>,
    batch_rows: usize,
    limit: Option<usize>,
    properties: Arc<PlanProperties>,
}

impl TableExec {
    pub(super) fn try_new(
        rows: Arc<TableRows>,
        projection: Option<&Vec<usize>>,
        batch_rows: usize,
        limit: Option<usize>,
    ) -> Result<Self, Error> {
        let all = rows.columns();
        let columns = projection.map_or_else(|| (0..all.fields().len()).collect(), Clone::clone);
        let schema: SchemaRef = Arc::new(all.project(&columns)?);
        Ok(Self {
            rows,
            columns,
            batch_rows,
            limit,
            properties: leaf_properties(schema, 1),
        })
    }

    fn batches(&self, context: &TaskContext) -> Result<Vec<RecordBatch>, Error> {
        let table = &self.rows.table;
        let snapshot = table.current_of(pinned(table, context)?)?;
        let mut left = self.limit.unwrap_or(usize::MAX);
        let mut batches = Vec::new();
        for batch in self.rows.pieces(&snapshot, self.batch_rows)? {
            let batch = batch.project(&self.columns)?;
            let batch = batch.slice(0, left.min(batch.num_rows()));
            left -= batch.num_rows();
            batches.push(batch);
            if left == 0 {
                break;
            }
        }
        Ok(batches)
    }
}

/// Returns the version of a table that a run reads: the one that was pinned for it.
pub(super) fn pinned(table: &Table, context: &TaskContext) -> Result<Arc<TableSnapshot>, Error> {
    let pins = context.session_config().get_extension::<Pins>();
    match pins.as_ref().and_then(|pins| pins.get(table)) {
        Some(pinned) => Ok(Arc::clone(pinned)),
        None => table.snapshot(),
    }
}

impl fmt::Debug for TableExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableExec")
            .field("table", &self.rows.table.name())
            .finish_non_exhaustive()
    }
}

impl DisplayAs for TableExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableExec: {}", self.rows.table.name())
    }
}

impl ExecutionPlan for TableExec {
    fn name(&self) -> &str {
        "TableExec"
    }

    leaf_plan!();

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let batches = self.batches(&context)?;
        let batches = stream::iter(batches.into_iter().map(Ok));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
