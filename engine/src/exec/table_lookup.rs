//! Point lookups: `WHERE key = literal` on a table goes through its index.
//!
//! The logical plan keeps its filter; just before it becomes a physical one, the filter's condition
//! is shown to the scan below it, which then reads the rows of the keys it names and no others.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as PlanResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Operator, TableScan};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties};
use fletching_kernels::{NO_ROW, RowId, gather};
use futures::stream;

use super::late::pinned;
use super::provider::TableRows;
use super::source_exec::{leaf_plan, leaf_properties};
use crate::error::Error;
use crate::table::{KeySpec, Table, TableSnapshot};

/// Keys of an `IN` list, at most, that are looked up; a longer list is a scan's filter.
const KEYS_MAX: usize = 1024;

/// Shows the scans of tables the conditions of the filters above them.
pub(super) fn show_filters(plan: &LogicalPlan) -> PlanResult<LogicalPlan> {
    let shown = plan.clone().transform_up_with_subqueries(|plan| {
        let LogicalPlan::Filter(Filter { predicate, input, .. }) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let LogicalPlan::TableScan(scan) = input.as_ref() else {
            return Ok(Transformed::no(plan));
        };
        let provider = source_as_provider(&scan.source)?;
        let provider: &dyn TableProvider = provider.as_ref();
        let Some(table) = provider.downcast_ref::<TableRows>() else {
            return Ok(Transformed::no(plan));
        };
        if !scan.filters.is_empty()
            || wanted_keys(&table.table, split_conjunction(predicate).into_iter()).is_none()
        {
            return Ok(Transformed::no(plan));
        }
        let filters = split_conjunction(predicate).into_iter().cloned().collect();
        let scan = TableScan {
            filters,
            ..scan.clone()
        };
        let input = Arc::new(LogicalPlan::TableScan(scan));
        let filter = Filter::try_new(predicate.clone(), input)?;
        Ok(Transformed::yes(LogicalPlan::Filter(filter)))
    })?;
    Ok(shown.data)
}

/// Returns the keys that conditions ask for, a column for each of the primary key's, if they name
/// every one of those.
pub(super) fn wanted_keys<'a>(
    table: &Table,
    conditions: impl Iterator<Item = &'a Expr> + Clone,
) -> Option<Vec<ArrayRef>> {
    let key = table.primary_key();
    let values: Option<Vec<Vec<ScalarValue>>> = key
        .iter()
        .map(|at| {
            let field = table.schema().field(*at);
            conditions
                .clone()
                .find_map(|condition| wanted_values(condition, field.name()))
        })
        .collect();
    let values = values.filter(|values| !values.is_empty())?;
    // Several columns of several values each would be their product.
    if values.len() > 1 && values.iter().any(|values| values.len() > 1) {
        return None;
    }
    let columns = key.iter().zip(values).map(|(at, values)| {
        let wanted = table.schema().field(*at).data_type();
        if values.is_empty()
            || values.len() > KEYS_MAX
            || values.iter().any(|value| value.data_type() != *wanted)
        {
            return None;
        }
        ScalarValue::iter_to_array(values).ok()
    });
    columns.collect()
}

/// Returns the values that a condition demands of a column.
fn wanted_values(condition: &Expr, column: &str) -> Option<Vec<ScalarValue>> {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(named) if named.name == column);
    let literal = |expr: &Expr| match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        _ => None,
    };
    match condition {
        Expr::BinaryExpr(equal) if equal.op == Operator::Eq => {
            let (left, right) = (equal.left.as_ref(), equal.right.as_ref());
            match (is_column(left), is_column(right)) {
                (true, false) => Some(vec![literal(right)?]),
                (false, true) => Some(vec![literal(left)?]),
                _ => None,
            }
        }
        // Short lists have become these.
        Expr::BinaryExpr(either) if either.op == Operator::Or => {
            let mut values = wanted_values(&either.left, column)?;
            values.extend(wanted_values(&either.right, column)?);
            Some(values)
        }
        Expr::InList(list) if !list.negated && is_column(&list.expr) => {
            list.list.iter().map(literal).collect()
        }
        _ => None,
    }
}

/// Reads the rows of some keys of a table.
pub(crate) struct TableLookupExec {
    table: Arc<Table>,
    /// The version to read; none where that is the run's own.
    snapshot: Option<Arc<TableSnapshot>>,
    keys: Vec<ArrayRef>,
    /// The table's columns to read.
    columns: Vec<usize>,
    threads: usize,
    properties: Arc<PlanProperties>,
}

impl TableLookupExec {
    pub(super) fn try_new(
        table: &Arc<Table>,
        snapshot: Option<Arc<TableSnapshot>>,
        keys: Vec<ArrayRef>,
        projection: Option<&Vec<usize>>,
        threads: usize,
    ) -> Result<Self, Error> {
        let columns = projection.map_or_else(|| (0..table.schema().fields().len()).collect(), Clone::clone);
        let schema: SchemaRef = Arc::new(table.schema().project(&columns)?);
        Ok(Self {
            snapshot,
            table: Arc::clone(table),
            keys,
            columns,
            threads,
            properties: leaf_properties(schema, 1),
        })
    }

    /// Finds and gathers the rows, each once, in the table's order.
    fn rows(&self, context: &TaskContext) -> Result<RecordBatch, Error> {
        let snapshot = match &self.snapshot {
            Some(snapshot) => Arc::clone(snapshot),
            None => self.table.current_of(pinned(&self.table, context)?)?,
        };
        let key = KeySpec::of_columns(self.table.schema(), self.table.primary_key());
        let mut heads = Vec::new();
        let gathered: Vec<ArrayRef>;
        let count;
        if let Some((live, _)) = snapshot.live_for(&key) {
            live.locate(&self.keys, None, &mut heads)?;
            let rows = distinct(heads);
            count = rows.len();
            let columns = self.columns.iter().map(|at| live.gather(*at, &rows));
            gathered = columns.collect::<Result<_, _>>()?;
        } else {
            let index = snapshot.index(&key, self.threads)?;
            index.locate(&self.keys, None, &mut heads)?;
            let mut rows = Vec::new();
            for mut row in distinct(heads) {
                while row != NO_ROW {
                    rows.push(row);
                    row = index.next_row(row);
                }
            }
            let rows = distinct(rows);
            count = rows.len();
            let all = snapshot.rows()?;
            let columns = self.columns.iter().map(|at| gather(all.column(*at), &rows));
            gathered = columns.collect::<Result<_, _>>()?;
        }
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(
            self.schema(),
            gathered,
            &options,
        )?)
    }
}

fn distinct(mut rows: Vec<RowId>) -> Vec<RowId> {
    rows.retain(|row| *row != NO_ROW);
    rows.sort_unstable();
    rows.dedup();
    rows
}

impl fmt::Debug for TableLookupExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableLookupExec")
            .field("table", &self.table.name())
            .finish_non_exhaustive()
    }
}

impl DisplayAs for TableLookupExec {
    fn fmt_as(&self, _kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.table.schema();
        let key = self.table.primary_key().iter();
        let key = key
            .map(|at| schema.field(*at).name().as_str())
            .collect::<Vec<_>>();
        let keys = self.keys.first().map_or(0, |column| column.len());
        let word = if keys == 1 { "key" } else { "keys" };
        write!(
            f,
            "TableLookupExec: {} by ({}), {keys} {word}",
            self.table.name(),
            key.join(", ")
        )
    }
}

impl ExecutionPlan for TableLookupExec {
    fn name(&self) -> &str {
        "TableLookupExec"
    }

    leaf_plan!();

    fn execute(&self, _partition: usize, context: Arc<TaskContext>) -> PlanResult<SendableRecordBatchStream> {
        let rows = self.rows(&context)?;
        let batches = stream::iter(std::iter::once(Ok(rows)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
