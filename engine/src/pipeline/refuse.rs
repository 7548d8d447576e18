//! What cannot run over a stream that does not end: said when it is planned, with the reason and
//! a way out.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::LogicalPlan;
use fletching_kernels::JoinKind;
use fletching_planner::{LookupJoinNode, SqlError};

use crate::error::{Error, Result};

/// Fails where a plan has a part that never gives a row over a stream without an end, or would
/// give other rows when an epoch is computed again.
///
/// # Errors
/// Says which part, why, and what to do.
pub(crate) fn check_plan(plan: &LogicalPlan, stream: &str) -> Result<()> {
    let mut found: Option<SqlError> = None;
    plan.apply(|plan| {
        found = reason(plan, stream);
        Ok(match &found {
            Some(_) => TreeNodeRecursion::Stop,
            None => TreeNodeRecursion::Continue,
        })
    })?;
    found.map_or(Ok(()), |error| Err(Error::Sql(error)))
}

/// Makes the error for a query that is none of the known cases, and yet no chain.
pub(crate) fn not_row_by_row(stream: &str) -> Error {
    Error::Sql(unsupported(
        "this query",
        stream,
        "it cannot be computed row by row",
        "keep to columns, WHERE and joins with tables",
    ))
}

fn unsupported(what: &str, stream: &str, why: &str, fix: &str) -> SqlError {
    SqlError::unsupported(format!("{what} over the unbounded stream '{stream}': {why}")).hint(fix)
}

fn reason(plan: &LogicalPlan, stream: &str) -> Option<SqlError> {
    let refuse = |what: &str, why: &str, fix: &str| Some(unsupported(what, stream, why, fix));
    match plan {
        LogicalPlan::Aggregate(_) => refuse(
            "GROUP BY, DISTINCT and aggregates",
            "a group is never complete, and this version has no windows to close it",
            "keep the groups in a table, which others join and query while it changes: CREATE TABLE … AS SELECT … \
             GROUP BY …; or aggregate what was written with a bounded query",
        ),
        LogicalPlan::Distinct(_) => refuse(
            "DISTINCT",
            "every row seen would have to be kept for ever",
            "leave it out, and take the DISTINCT of what was written",
        ),
        LogicalPlan::Sort(_) => refuse(
            "ORDER BY",
            "the last row never comes, so the first is never known",
            "leave it out: rows keep the order of their partition",
        ),
        LogicalPlan::Window(_) => refuse(
            "window functions",
            "a frame may reach to rows that are still to come",
            "write the rows out, and compute over what was written",
        ),
        LogicalPlan::Union(_) => refuse(
            "UNION",
            "a pipeline reads one stream",
            "create a sink for each part",
        ),
        LogicalPlan::Limit(_) => refuse(
            "LIMIT in a subquery",
            "which rows are first depends on when they come",
            "put the LIMIT at the end of the query",
        ),
        LogicalPlan::Join(_) => refuse(
            "this join",
            "only joins with a table by the key of its rows go on for ever",
            "declare the other side as TABLE, and join with = on its columns",
        ),
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any().downcast_ref::<LookupJoinNode>()?;
            let is_whole = |kind: JoinKind| {
                matches!(
                    kind,
                    JoinKind::Right | JoinKind::Full | JoinKind::RightSemi | JoinKind::RightAnti
                )
            };
            if node.arms.iter().any(|arm| is_whole(arm.kind)) {
                return refuse(
                    "a RIGHT or FULL join",
                    "which rows of the table stay without a match is known at the end only",
                    "use JOIN or LEFT JOIN",
                );
            }
            None
        }
        _ => volatile(plan, stream),
    }
}

/// Finds a function that gives another value each time.
fn volatile(plan: &LogicalPlan, stream: &str) -> Option<SqlError> {
    let expressions = plan.expressions();
    let found = expressions.iter().find(|expression| expression.is_volatile())?;
    Some(unsupported(
        &format!("{found}"),
        stream,
        "an epoch that is computed again after a crash must give the same rows",
        "take the value from the stream",
    ))
}
