//! Provenance columns: `u._matched`, `u._version`, `u._updated_at`, so that it can be asked which
//! row of a table was used, and as of when.
//!
//! They are columns of a table only in statements that name one of them, after the table's own.
//! `SELECT *` does not show them: they are taken out again of what a wildcard became.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion_common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion_common::{Column, Result};
use datafusion_expr::{Distinct, Expr, LogicalPlan, Projection};
use sqlparser::ast;
use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::planner::normalize;

/// Marks the fields of provenance columns.
const FIELD_MARK: &str = "fletching.provenance";

/// A column that says where a looked-up row comes from.
///
/// ```
/// use std::sync::Arc;
/// use arrow_schema::{DataType, Field, Schema};
/// use fletching_planner::Provenance;
///
/// let table = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
/// let traced = Provenance::append_to(&table).unwrap();
/// assert_eq!(traced.field(1).name(), "_matched");
/// assert_eq!(Provenance::at(2, table.fields().len()), Some(Provenance::Version));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provenance {
    /// `_matched`: whether there is a row; false where a lookup has found none.
    Matched,
    /// `_version`: the table's version that was read.
    Version,
    /// `_updated_at`: when that version was loaded.
    UpdatedAt,
}

impl Provenance {
    /// All of them, in the order of their columns.
    pub const ALL: [Self; 3] = [Self::Matched, Self::Version, Self::UpdatedAt];

    /// Returns the column's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Matched => "_matched",
            Self::Version => "_version",
            Self::UpdatedAt => "_updated_at",
        }
    }

    /// Returns the column's type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Matched => DataType::Boolean,
            Self::Version => DataType::Int64,
            Self::UpdatedAt => DataType::Timestamp(TimeUnit::Microsecond, None),
        }
    }

    /// Appends the columns to a table's; none where the table has a column of such a name itself.
    pub fn append_to(table: &SchemaRef) -> Option<SchemaRef> {
        let mut fields = table.fields().to_vec();
        for column in Self::ALL {
            if table.field_with_name(column.name()).is_ok() {
                return None;
            }
            let mark = HashMap::from([(FIELD_MARK.to_string(), "true".to_string())]);
            let field = Field::new(column.name(), column.data_type(), true).with_metadata(mark);
            fields.push(Arc::new(field));
        }
        Some(Arc::new(Schema::new_with_metadata(
            fields,
            table.metadata().clone(),
        )))
    }

    /// Returns which of them a column is, of a table with so many columns of its own.
    pub fn at(column: usize, table_columns: usize) -> Option<Self> {
        Self::ALL.get(column.checked_sub(table_columns)?).copied()
    }
}

fn is_provenance(name: &str) -> bool {
    Provenance::ALL.iter().any(|column| column.name() == name)
}

/// Says whether an expression is a qualified provenance column.
pub(crate) fn names_provenance(expr: &ast::Expr) -> bool {
    matches!(expr, ast::Expr::CompoundIdentifier(parts)
        if parts.len() > 1 && parts.last().is_some_and(|last| is_provenance(&normalize(last))))
}

/// Says whether a statement names a provenance column after a dot.
pub(crate) fn is_mentioned(tokens: &[TokenWithSpan]) -> bool {
    tokens.windows(2).any(|pair| {
        pair[0].token == Token::Period
            && matches!(&pair[1].token, Token::Word(word) if is_provenance(&word.value.to_lowercase()))
    })
}

/// Takes provenance columns out of projections that have them by a wildcard: one that was asked
/// for by name has an alias (see `rewrite.rs`). What ORDER BY alone needs has none, and stays.
pub(crate) fn hide(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut sorted_by: HashSet<Column> = HashSet::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Sort(sort) = plan {
            let columns = sort.expr.iter().flat_map(|key| key.expr.column_refs());
            sorted_by.extend(columns.cloned());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    plan.transform_up_with_subqueries(|plan| {
        let plan = if plan.inputs().is_empty() {
            plan
        } else {
            plan.recompute_schema()?
        };
        let LogicalPlan::Projection(projection) = plan else {
            return Ok(Transformed::yes(plan));
        };
        let hidden = hidden_columns(&projection.input);
        let is_shown = |expr: &Expr| match expr {
            Expr::Column(column) => !hidden.contains(column) || sorted_by.contains(column),
            _ => true,
        };
        if projection.expr.iter().all(is_shown) {
            return Ok(Transformed::yes(LogicalPlan::Projection(projection)));
        }
        let shown = projection.expr.iter().filter(|expr| is_shown(expr)).cloned();
        let projection = Projection::try_new(shown.collect(), Arc::clone(&projection.input))?;
        Ok(Transformed::yes(LogicalPlan::Projection(projection)))
    })
    .map(|done| done.data)
}

/// Returns the provenance columns that a plan still has as such.
fn hidden_columns(plan: &LogicalPlan) -> HashSet<Column> {
    match plan {
        LogicalPlan::TableScan(scan) => scan
            .projected_schema
            .iter()
            .filter(|(_, field)| field.metadata().contains_key(FIELD_MARK))
            .map(Column::from)
            .collect(),
        LogicalPlan::SubqueryAlias(alias) => {
            let hidden = hidden_columns(&alias.input);
            let outside = alias.schema.columns();
            let inside = alias.input.schema().columns().into_iter().zip(outside);
            inside
                .filter(|(inner, _)| hidden.contains(inner))
                .map(|(_, outer)| outer)
                .collect()
        }
        LogicalPlan::Join(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => {
            plan.inputs().into_iter().flat_map(hidden_columns).collect()
        }
        _ => HashSet::new(),
    }
}
