//! Looks over a plan's joins for what can be run but is probably not meant.

use std::collections::BTreeMap;

use arrow_schema::DataType;
use datafusion_common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion_common::{JoinType, Result};
use datafusion_expr::{Expr, ExprSchemable, Extension, Join, LogicalPlan, Operator};
use datafusion_optimizer::Optimizer;
use datafusion_optimizer::eliminate_outer_join::EliminateOuterJoin;
use fletching_kernels::JoinKind;

use crate::catalog::Relation;
use crate::error::{Warning, WarningKind};
use crate::lookup::{LookupArm, LookupJoinNode, arm_table};
use crate::miss::OnMiss;
use crate::planner::PlanningContext;
use crate::statement::RelationKind;

/// Warns of outer joins whose padded rows the WHERE clause throws away again.
pub(crate) fn outer_joins_undone(plan: &LogicalPlan, context: &PlanningContext) -> Result<Vec<Warning>> {
    let before = outer_joins(plan)?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    let rules = Optimizer::with_rules(vec![std::sync::Arc::new(EliminateOuterJoin::new())]);
    let after = outer_joins(&rules.optimize(plan.clone(), context, |_, _| {})?)?;
    let mut warnings = Vec::new();
    let mut left = after;
    for (kind, right) in before {
        match left.iter().position(|other| other == &(kind, right.clone())) {
            Some(at) => {
                left.remove(at);
            }
            None => warnings.push(Warning::new(
                WarningKind::JoinMeaning,
                format!(
                    "{} JOIN {right}: the WHERE clause rejects the rows it pads with NULL, so it gives fewer rows \
                     than it seems to; move the condition into ON to keep them, or say what is meant with INNER JOIN",
                    kind.to_string().to_uppercase()
                ),
            )),
        }
    }
    Ok(warnings)
}

fn outer_joins(plan: &LogicalPlan) -> Result<Vec<(JoinType, String)>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Join(join) = plan
            && matches!(join.join_type, JoinType::Left | JoinType::Right | JoinType::Full)
        {
            found.push((join.join_type, side_name(&join.right)));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// Warns of joins without keys, streams joined without a bound on time, casts of keys and times,
/// and outer joins that must see the whole table.
pub(crate) fn of_joins(plan: &LogicalPlan, relations: &BTreeMap<String, Relation>) -> Result<Vec<Warning>> {
    let mut warnings = Vec::new();
    plan.apply_with_subqueries(|plan| {
        match plan {
            LogicalPlan::Join(join) => of_join(join, relations, &mut warnings)?,
            LogicalPlan::Extension(Extension { node }) => {
                if let Some(node) = node.as_any().downcast_ref::<LookupJoinNode>() {
                    of_lookup(node, relations, &mut warnings)?;
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(warnings)
}

fn of_join(join: &Join, relations: &BTreeMap<String, Relation>, warnings: &mut Vec<Warning>) -> Result<()> {
    let is_one_row = |plan: &LogicalPlan| plan.max_rows().is_some_and(|rows| rows <= 1);
    let sides = || format!("{} and {}", side_name(&join.left), side_name(&join.right));
    if join.on.is_empty() && !is_one_row(&join.left) && !is_one_row(&join.right) {
        warnings.push(Warning::new(
            WarningKind::JoinWithoutKey,
            format!(
                "the join of {} has no equality key: every row is compared with every row; \
                 add a condition such as a.id = b.id if that is not meant",
                sides()
            ),
        ));
    }
    let streams = reads_stream(&join.left, relations)? && reads_stream(&join.right, relations)?;
    if streams && !bounds_time(join) {
        warnings.push(Warning::new(
            WarningKind::StreamJoinWithoutTimeBound,
            format!(
                "{} are both streams and no condition bounds the time between their rows: one of them is held \
                 in memory whole; add a condition such as a.ts BETWEEN b.ts - INTERVAL '1' HOUR AND b.ts, \
                 or make the smaller one a TABLE",
                sides()
            ),
        ));
    }
    Ok(())
}

fn of_lookup(
    node: &LookupJoinNode,
    relations: &BTreeMap<String, Relation>,
    warnings: &mut Vec<Warning>,
) -> Result<()> {
    for (at, arm) in node.arms.iter().enumerate() {
        let probe_schema = node.schema_of(at)?;
        let times = arm.as_of.iter().map(|times| ("time", &times.probe, &times.table));
        let keys = arm.keys.iter().map(|(probe, table)| ("key", probe, table));
        for (what, probe, table) in keys.chain(times) {
            let (from_probe, to_probe) = cast_types(probe, &probe_schema)?;
            let (from_table, to_table) = cast_types(table, arm.table.schema().as_ref())?;
            let is_cast = |from: &DataType, to: &DataType| !crate::lookup::same_values(from, to);
            if is_cast(&from_probe, &to_probe) || is_cast(&from_table, &to_table) {
                warnings.push(Warning::new(
                    WarningKind::KeyCast,
                    format!(
                        "the {what} {} = {} compares {from_probe} with {from_table}, both as {to_probe}; \
                         declare both columns alike to spare the cast",
                        uncast(probe),
                        uncast(table)
                    ),
                ));
            }
        }
        if arm.as_of.is_some() && arm.keys.is_empty() {
            warnings.push(Warning::new(
                WarningKind::JoinWithoutKey,
                format!(
                    "the as-of join with {} has no equality key: each row matches the nearest of all rows; \
                     add a condition such as a.id = b.id if that is not meant",
                    side_name(&arm.table)
                ),
            ));
        }
        if let Some(policy) = policy_not_followed(arm, relations) {
            let why = "it is joined by WHERE and not by ON: rows without a match are left out; say JOIN … ON to have \
                       it followed";
            warnings.push(Warning::new(
                WarningKind::JoinMeaning,
                format!("{} says on_miss = '{policy}', but {why}", side_name(&arm.table)),
            ));
        }
        if matches!(arm.kind, JoinKind::Right | JoinKind::Full) && reads_stream(&node.probe, relations)? {
            warnings.push(Warning::new(
                WarningKind::JoinMeaning,
                format!(
                    "the {} JOIN gives the rows of {} that no stream row matched, and can tell only when the \
                     stream has ended: they come last",
                    if arm.kind == JoinKind::Full {
                        "FULL"
                    } else {
                        "RIGHT"
                    },
                    side_name(&arm.table)
                ),
            ));
        }
    }
    Ok(())
}

/// Returns the policy of a table whose join could not follow it.
fn policy_not_followed(arm: &LookupArm, relations: &BTreeMap<String, Relation>) -> Option<OnMiss> {
    let name = arm_table(&arm.table).ok()?.name;
    let policy = relations.get(name.table())?.on_miss?;
    let has_misses = matches!(arm.kind, JoinKind::Inner | JoinKind::Left);
    (arm.miss.is_none() && has_misses).then_some(policy)
}

/// Returns a key's type before and after its cast.
fn cast_types(key: &Expr, schema: &datafusion_common::DFSchema) -> Result<(DataType, DataType)> {
    Ok((uncast(key).get_type(schema)?, key.get_type(schema)?))
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => uncast(&cast.expr),
        Expr::TryCast(cast) => uncast(&cast.expr),
        other => other,
    }
}

/// Names a join's side: its alias, its relation, or what it is.
fn side_name(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => alias.alias.to_string(),
        LogicalPlan::TableScan(scan) => scan.table_name.to_string(),
        LogicalPlan::Projection(projection) => side_name(&projection.input),
        LogicalPlan::Filter(filter) => side_name(&filter.input),
        _ => "a subquery".to_string(),
    }
}

fn reads_stream(plan: &LogicalPlan, relations: &BTreeMap<String, Relation>) -> Result<bool> {
    plan.exists(|plan| {
        Ok(matches!(plan, LogicalPlan::TableScan(scan)
            if relations.get(scan.table_name.table()).is_some_and(|relation| relation.kind == RelationKind::Stream)))
    })
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq
    )
}

/// Says whether some condition compares times, or is an equality of times.
fn bounds_time(join: &Join) -> bool {
    let schema = join.left.schema().join(join.right.schema());
    let Ok(schema) = schema else { return false };
    let is_time = |expr: &Expr| {
        expr.get_type(&schema).is_ok_and(|kind| {
            matches!(
                kind,
                DataType::Timestamp(..)
                    | DataType::Date32
                    | DataType::Date64
                    | DataType::Interval(_)
                    | DataType::Duration(_)
            )
        })
    };
    let on_time = join.on.iter().any(|(left, _)| {
        left.get_type(join.left.schema())
            .is_ok_and(|kind| kind.is_temporal())
    });
    let filter_on_time = join.filter.as_ref().is_some_and(|filter| {
        filter
            .exists(|expr| {
                Ok(match expr {
                    Expr::BinaryExpr(binary) => {
                        compares(binary.op) && is_time(&binary.left) && is_time(&binary.right)
                    }
                    Expr::Between(between) => is_time(&between.expr),
                    _ => false,
                })
            })
            .unwrap_or(false)
    });
    on_time || filter_on_time
}
