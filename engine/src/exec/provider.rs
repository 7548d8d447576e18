//! Relations as DataFusion scans them.

use std::sync::Arc;

use arrow::array::{BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session as PlanSession, TableProvider};
use datafusion::datasource::TableType;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use fletching_planner::Provenance;

use super::late::{LateTables, TableExec};
use super::source_exec::{InputExec, SourceExec, StreamInput};
use super::table_lookup::{TableLookupExec, wanted_keys};
use crate::error::Error;
use crate::table::{Pins, Table, TableSnapshot};

/// A table's rows, as of when the plan is made; of a versioned table the current ones.
#[derive(Debug, Clone)]
pub(crate) struct TableRows {
    pub(crate) table: Arc<Table>,
    schema: SchemaRef,
}

impl TableRows {
    /// Gives a table its own columns.
    pub(crate) fn new(table: &Arc<Table>) -> Self {
        Self {
            table: Arc::clone(table),
            schema: Arc::clone(table.schema()),
        }
    }

    /// Adds the columns of provenance; none where the table has a column of such a name.
    pub(crate) fn traced(table: &Arc<Table>) -> Option<Self> {
        Some(Self {
            table: Arc::clone(table),
            schema: Provenance::append_to(table.schema())?,
        })
    }

    pub(super) fn columns(&self) -> &SchemaRef {
        &self.schema
    }

    /// Cuts the rows of a version into batches.
    pub(super) fn pieces(
        &self,
        snapshot: &TableSnapshot,
        batch_rows: usize,
    ) -> Result<Vec<RecordBatch>, Error> {
        let cut = |chunk: &RecordBatch| {
            let rows = chunk.num_rows();
            let cut = (0..rows).step_by(batch_rows);
            cut.map(|from| chunk.slice(from, batch_rows.min(rows - from)))
                .collect::<Vec<_>>()
        };
        let pieces = snapshot.chunks()?.iter().flat_map(cut);
        pieces.map(|piece| self.trace(piece, snapshot)).collect()
    }

    /// Adds to rows where they come from, if that is asked for.
    fn trace(&self, batch: RecordBatch, snapshot: &TableSnapshot) -> Result<RecordBatch, Error> {
        if batch.num_columns() == self.schema.fields().len() {
            return Ok(batch);
        }
        let rows = batch.num_rows();
        let mut columns = batch.columns().to_vec();
        let version = i64::try_from(snapshot.version()).unwrap_or(i64::MAX);
        columns.push(Arc::new(BooleanArray::from(vec![true; rows])));
        columns.push(Arc::new(Int64Array::from(vec![version; rows])));
        columns.push(Arc::new(TimestampMicrosecondArray::from(vec![
            snapshot
                .updated_at_us(
                );
            rows
        ])));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.schema),
            columns,
            &options,
        )?)
    }
}

#[async_trait]
impl TableProvider for TableRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn PlanSession,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let is_late = state.config().get_extension::<LateTables>().is_some();
        let snapshot = match is_late {
            true => None,
            false => Some(self.table.current_of(version(&self.table, state)?)?),
        };
        // Where rows come from is told of all of them: such a scan goes past the index.
        let is_traced = self.schema.fields().len() > self.table.schema().fields().len();
        if let Some(keys) = wanted_keys(&self.table, filters.iter()).filter(|_| !is_traced) {
            let threads = state.config().target_partitions();
            let lookup = TableLookupExec::try_new(&self.table, snapshot, keys, projection, threads)?;
            return Ok(Arc::new(lookup));
        }
        let batch_rows = state.config().batch_size();
        let Some(snapshot) = snapshot else {
            let rows = Arc::new(self.clone());
            return Ok(Arc::new(TableExec::try_new(rows, projection, batch_rows, limit)?));
        };
        let partitions = state.config().target_partitions().max(1);
        let pieces = self.pieces(&snapshot, batch_rows)?;
        // Contiguous runs, so that one partition reads the rows in order.
        let run = pieces.len().div_ceil(partitions).max(1);
        let mut partitions: Vec<Vec<_>> = pieces.chunks(run).map(<[_]>::to_vec).collect();
        if partitions.is_empty() {
            partitions.push(Vec::new());
        }
        let source =
            MemorySourceConfig::try_new(&partitions, self.schema(), projection.cloned())?.with_limit(limit);
        Ok(datafusion::datasource::source::DataSourceExec::from_data_source(
            source,
        ))
    }
}

/// Returns the version of a table that a statement reads.
fn version(table: &Table, state: &dyn PlanSession) -> Result<Arc<TableSnapshot>, Error> {
    let pins = state.config().get_extension::<Pins>();
    match pins.as_ref().and_then(|pins| pins.get(table)) {
        Some(pinned) => Ok(Arc::clone(pinned)),
        None => table.snapshot(),
    }
}

/// A stream, read from its source by every plan anew.
#[derive(Debug)]
pub(crate) struct StreamProvider(pub(crate) StreamInput);

#[async_trait]
impl TableProvider for StreamProvider {
    fn schema(&self) -> SchemaRef {
        self.0.source.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn PlanSession,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let mut input = self.0.clone();
        input.request.projection = projection.cloned();
        input.request.limit = limit;
        input.request.partitions_max = state.config().target_partitions();
        input.request.batch_rows_max = state.config().batch_size();
        Ok(Arc::new(SourceExec::try_new(input)?))
    }
}

/// The stream of a prepared query: each call brings its batch.
#[derive(Debug)]
pub(crate) struct InputProvider(pub(crate) SchemaRef);

#[async_trait]
impl TableProvider for InputProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn PlanSession,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(InputExec::try_new(&self.0, projection.cloned())?))
    }
}

/// A sink's columns; it cannot be read. Without declared columns it has none.
#[derive(Debug)]
pub(crate) struct SinkProvider(pub(crate) Option<SchemaRef>);

#[async_trait]
impl TableProvider for SinkProvider {
    fn schema(&self) -> SchemaRef {
        self.0.clone().unwrap_or_else(|| Arc::new(Schema::empty()))
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn PlanSession,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        Err(Error::internal("a sink is read").into())
    }
}
