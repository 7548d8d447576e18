//! What a query is made of, as far as it says how its rows can be kept current.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};

use crate::error::Result;
use crate::exec::{InputProvider, StreamInput, StreamProvider, TableRows};
use crate::session::output_schema;

/// Returns the streams that a plan reads, files named by their path among them, each once.
pub(super) fn streams_of(plan: &LogicalPlan) -> Result<Vec<StreamInput>> {
    let mut streams: Vec<StreamInput> = Vec::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            let provider: &dyn TableProvider = provider.as_ref();
            let stream = provider.downcast_ref::<StreamProvider>();
            if let Some(stream) =
                stream.filter(|stream| !streams.iter().any(|there| there.name == stream.0.name))
            {
                streams.push(stream.0.clone());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(streams)
}

/// Copies a plan so that its one leaf is given batches, instead of scanning a stream or a table;
/// none where it has several leaves of that kind.
pub(super) fn with_input(
    plan: &LogicalPlan,
    is_input: &dyn Fn(&dyn TableProvider) -> bool,
) -> Result<Option<LogicalPlan>> {
    let mut replaced = 0;
    let done = plan.clone().transform_up_with_subqueries(|plan| {
        let LogicalPlan::TableScan(scan) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let Ok(provider) = source_as_provider(&scan.source) else {
            return Ok(Transformed::no(plan));
        };
        if !is_input(provider.as_ref()) {
            return Ok(Transformed::no(plan));
        }
        replaced += 1;
        let source = provider_as_source(Arc::new(InputProvider(provider.schema())));
        let scan = TableScan {
            source,
            ..scan.clone()
        };
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok((replaced == 1).then_some(done.data))
}

/// Says whether a provider gives the rows of a table.
pub(super) fn is_table(provider: &dyn TableProvider) -> bool {
    provider.downcast_ref::<TableRows>().is_some()
}

/// Says whether a provider gives the records of a stream.
pub(super) fn is_stream(provider: &dyn TableProvider) -> bool {
    provider.downcast_ref::<StreamProvider>().is_some()
}

/// Goes down past projections, filters and aliases, and renames columns to those of what is there:
/// none is left of one that is computed.
fn below<'a>(mut plan: &'a LogicalPlan, columns: &mut [Option<usize>]) -> &'a LogicalPlan {
    loop {
        plan = match plan {
            LogicalPlan::Projection(projection) => {
                for column in &mut *columns {
                    *column = column.and_then(|at| plain(projection.expr.get(at)?, &projection.input));
                }
                &projection.input
            }
            LogicalPlan::Filter(filter) => &filter.input,
            LogicalPlan::SubqueryAlias(alias) => &alias.input,
            _ => return plan,
        };
    }
}

/// Returns for each column of a filtered and projected table which one of the table's it is, as it
/// is there; none where the plan is anything else.
pub(super) fn columns_of_table(plan: &LogicalPlan) -> Option<Vec<Option<usize>>> {
    let mut columns: Vec<Option<usize>> = (0..plan.schema().fields().len()).map(Some).collect();
    let LogicalPlan::TableScan(scan) = below(plan, &mut columns) else {
        return None;
    };
    let provider = source_as_provider(&scan.source).ok()?;
    if scan.fetch.is_some() || !is_table(provider.as_ref()) {
        return None;
    }
    if let Some(projection) = &scan.projection {
        for column in &mut columns {
            *column = column.and_then(|at| projection.get(at).copied());
        }
    }
    Some(columns)
}

/// Returns the columns that a query groups by, by their names in its result, where all of them are
/// in it.
pub(super) fn group_key(query: &LogicalPlan) -> Option<Vec<String>> {
    let mut plan = query;
    let mut columns: Vec<Option<usize>> = (0..plan.schema().fields().len()).map(Some).collect();
    loop {
        plan = below(plan, &mut columns);
        match plan {
            LogicalPlan::Sort(sort) => plan = &sort.input,
            LogicalPlan::Aggregate(aggregate) => {
                let groups = aggregate.group_expr.len();
                if groups == 0 || matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
                    return None;
                }
                let at = |group| columns.iter().position(|column| *column == Some(group));
                let key: Option<Vec<usize>> = (0..groups).map(at).collect();
                let schema = output_schema(query);
                return Some(
                    key?.into_iter()
                        .map(|at| schema.field(at).name().clone())
                        .collect(),
                );
            }
            _ => return None,
        }
    }
}

/// Returns which column of a plan an expression is.
fn plain(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => plain(&alias.expr, input),
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    }
}
