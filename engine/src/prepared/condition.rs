//! Conditions of a chain's filters: which rows of a batch they keep.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_plan::PhysicalExpr;
use fletching_kernels::{Comparison, RowId, gather_batch, positions_where};

use super::columns::Columns;
use crate::error::{Error, Result};

/// A condition on the rows of a batch.
pub(super) struct Condition {
    predicate: Arc<dyn PhysicalExpr>,
    /// The same, where it is nothing but a column against a constant.
    against_constant: Option<(usize, Comparison, ArrayRef)>,
}

impl Condition {
    pub(super) fn new(predicate: &Arc<dyn PhysicalExpr>) -> Self {
        Self {
            predicate: Arc::clone(predicate),
            against_constant: against_constant(predicate),
        }
    }

    /// Keeps the rows of a batch for which the condition holds, and of them some columns; nothing
    /// where there is no such row. A condition that is NULL does not hold.
    pub(super) fn keep(&self, batch: &RecordBatch, columns: Option<&Columns>) -> Result<Option<RecordBatch>> {
        if let Some((column, comparison, value)) = &self.against_constant
            && let Some(column) = batch.columns().get(*column)
            && let Some(positions) = positions_where(column, *comparison, value)
        {
            return keep_positions(batch, columns, &positions);
        }
        let holds = self.predicate.evaluate(batch)?.into_array(batch.num_rows())?;
        let Some(holds) = holds.as_boolean_opt() else {
            return Err(Error::internal(format!(
                "{} is {}, not BOOLEAN",
                self.predicate,
                holds.data_type()
            )));
        };
        keep_rows(batch, columns, holds)
    }
}

/// Takes a predicate as a column against a constant of its type, whichever side it stands on.
fn against_constant(predicate: &Arc<dyn PhysicalExpr>) -> Option<(usize, Comparison, ArrayRef)> {
    let binary = predicate.downcast_ref::<BinaryExpr>()?;
    let comparison = match binary.op() {
        Operator::Eq => Comparison::Equal,
        Operator::NotEq => Comparison::NotEqual,
        Operator::Lt => Comparison::Less,
        Operator::LtEq => Comparison::LessOrEqual,
        Operator::Gt => Comparison::Greater,
        Operator::GtEq => Comparison::GreaterOrEqual,
        _ => return None,
    };
    let (left, right) = (binary.left(), binary.right());
    let column = |side: &Arc<dyn PhysicalExpr>| side.downcast_ref::<Column>().map(Column::index);
    let value = |side: &Arc<dyn PhysicalExpr>| side.downcast_ref::<Literal>()?.value().to_array().ok();
    match (column(left), value(right)) {
        (Some(column), Some(value)) => Some((column, comparison, value)),
        _ => Some((column(right)?, comparison.swapped(), value(left)?)),
    }
}

fn keep_rows(
    batch: &RecordBatch,
    columns: Option<&Columns>,
    keep: &BooleanArray,
) -> Result<Option<RecordBatch>> {
    let kept = keep.true_count();
    if kept < keep.len() && kept > keep.len() / 10 * 8 {
        // Long runs of rows are copied at once.
        return filter_record_batch(&all_rows(batch, columns)?, keep)
            .map(Some)
            .map_err(Error::from);
    }
    let holds = match keep.nulls() {
        Some(nulls) => &(keep.values() & nulls.inner()),
        None => keep.values(),
    };
    let mut rows = Vec::with_capacity(kept);
    rows.extend(holds.set_indices_u32());
    keep_positions(batch, columns, &rows)
}

/// Keeps rows in their order, each at most once.
fn keep_positions(
    batch: &RecordBatch,
    columns: Option<&Columns>,
    rows: &[RowId],
) -> Result<Option<RecordBatch>> {
    if rows.is_empty() {
        return Ok(None);
    }
    if rows.len() == batch.num_rows() {
        return all_rows(batch, columns).map(Some);
    }
    Ok(Some(match columns {
        Some(columns) => columns.gather(batch, rows)?,
        None => gather_batch(batch, batch.schema_ref(), rows)?,
    }))
}

fn all_rows(batch: &RecordBatch, columns: Option<&Columns>) -> Result<RecordBatch> {
    columns.map_or_else(|| Ok(batch.clone()), |columns| columns.of(batch))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, RecordBatch};
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::expressions::{binary, col, lit};
    use datafusion::physical_plan::PhysicalExpr;

    use super::Condition;

    #[test]
    fn a_column_against_a_constant_keeps_what_the_predicate_does() {
        let amount: ArrayRef = Arc::new(Int32Array::from(vec![Some(5), None, Some(20), Some(30)]));
        let batch = RecordBatch::try_from_iter([("amount", amount)]).unwrap();
        let schema = batch.schema();
        let amount = || col("amount", &schema).unwrap();
        let kept = |predicate: Arc<dyn PhysicalExpr>, fast: bool| {
            let mut condition = Condition::new(&predicate);
            assert!(condition.against_constant.is_some());
            if !fast {
                condition.against_constant = None;
            }
            condition.keep(&batch, None).unwrap()
        };
        for op in [
            Operator::Eq,
            Operator::NotEq,
            Operator::Lt,
            Operator::LtEq,
            Operator::Gt,
            Operator::GtEq,
        ] {
            for value in [lit(20), lit(4), lit(ScalarValue::Int32(None))] {
                for sides in [(amount(), value.clone()), (value.clone(), amount())] {
                    let predicate = binary(sides.0, op, sides.1, &schema).unwrap();
                    assert_eq!(kept(Arc::clone(&predicate), true), kept(predicate, false), "{op}");
                }
            }
        }
    }
}
