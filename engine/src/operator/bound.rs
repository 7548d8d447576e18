//! Expressions over the columns of a join that is not gathered yet.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::PhysicalExpr;

use super::lookup_join::OutputColumn;
use crate::error::{Error, Result};

/// An expression with the columns it needs; only those are gathered to evaluate it.
#[derive(Debug, Clone)]
pub(crate) struct BoundExpr {
    expression: Arc<dyn PhysicalExpr>,
    inputs: Vec<OutputColumn>,
    schema: SchemaRef,
    /// Where the expression is nothing but its one input.
    is_column: bool,
}

/// Equal are expressions that compute the same of the same columns.
impl PartialEq for BoundExpr {
    fn eq(&self, other: &Self) -> bool {
        self.inputs == other.inputs && self.expression.as_ref() == other.expression.as_ref()
    }
}

impl BoundExpr {
    /// Binds an expression over `schema`, whose column *i* is found at `layout[i]`.
    ///
    /// # Errors
    /// Fails where the expression names a column beyond the layout.
    pub(crate) fn try_new(
        expression: Arc<dyn PhysicalExpr>,
        schema: &Schema,
        layout: &[OutputColumn],
    ) -> Result<Self> {
        let mut used: Vec<usize> = collect_columns(&expression).iter().map(Column::index).collect();
        used.sort_unstable();
        let missing = || Error::internal("an expression names a column that is not there");
        let inputs = used
            .iter()
            .map(|&at| layout.get(at).copied().ok_or_else(missing))
            .collect::<Result<Vec<_>>>()?;
        // A column may be NULL here though its table's is not: a LEFT arm pads.
        let fields: Vec<Field> = used
            .iter()
            .map(|&at| schema.field(at).clone().with_nullable(true))
            .collect();
        let is_column = expression.downcast_ref::<Column>().is_some();
        let expression = expression
            .transform_up(|expr| {
                let Some(column) = expr.downcast_ref::<Column>() else {
                    return Ok(Transformed::no(expr));
                };
                let at = used.iter().position(|&at| at == column.index()).unwrap_or(0);
                Ok(Transformed::yes(
                    Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>
                ))
            })?
            .data;
        Ok(Self {
            expression,
            inputs,
            schema: Arc::new(Schema::new(fields)),
            is_column,
        })
    }

    /// Says whether the expression needs nothing but columns of the probe side.
    pub(crate) fn is_over_probe(&self) -> bool {
        let mut inputs = self.inputs.iter();
        inputs.all(|input| matches!(input, OutputColumn::Probe(_)))
    }

    /// Evaluates over `rows` rows, whose columns `column` gathers.
    pub(crate) fn evaluate(
        &self,
        rows: usize,
        mut column: impl FnMut(OutputColumn) -> Result<ArrayRef>,
    ) -> Result<ArrayRef> {
        if let (true, &[only]) = (self.is_column, self.inputs.as_slice()) {
            return column(only);
        }
        let mut columns = Vec::with_capacity(self.inputs.len());
        for &input in &self.inputs {
            columns.push(column(input)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let value = self.expression.evaluate(&batch)?.into_array(rows)?;
        if value.len() == rows {
            Ok(value)
        } else {
            Err(Error::internal(format!(
                "{} gave {} values for {rows} rows",
                self.expression,
                value.len()
            )))
        }
    }
}

impl std::fmt::Display for BoundExpr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.expression.fmt(f)
    }
}
