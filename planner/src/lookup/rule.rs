//! Finds the joins that have a keyed table on one side and turns them into lookup joins.
//!
//! Runs among DataFusion's rules, after cross joins and `ON` have become key pairs and outer
//! joins that cannot pad have become inner, and before anything is pushed down: a filter pushed
//! onto the table's scan would hide it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{Column, JoinType, NullEquality, Result};
use datafusion_expr::utils::{conjunction, split_conjunction_owned};
use datafusion_expr::{
    Cast, Expr, ExprSchemable, Extension, Filter, Join, LogicalPlan, LogicalPlanBuilder, Projection,
    SubqueryAlias,
};
use datafusion_optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use fletching_kernels::JoinKind;

use super::node::{LookupArm, LookupJoinNode};
use crate::miss::OnMiss;

/// Turns joins with keyed tables into [`LookupJoinNode`]s, several in a row into one.
#[derive(Debug)]
pub(crate) struct PlanLookupJoins {
    /// The tables of this statement with their primary keys.
    tables: BTreeMap<String, Vec<String>>,
}

impl PlanLookupJoins {
    pub(crate) fn new(tables: BTreeMap<String, Vec<String>>) -> Self {
        Self { tables }
    }
}

impl OptimizerRule for PlanLookupJoins {
    fn name(&self) -> &str {
        "plan_lookup_joins"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let join = match plan {
            LogicalPlan::Join(join) => join,
            LogicalPlan::Extension(extension) => return merge(extension),
            other => return Ok(Transformed::no(other)),
        };
        match self.choose_table_side(&join)? {
            Some(side) => Ok(Transformed::yes(side.into_plan(&join)?)),
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        }
    }
}

/// Makes one node of a lookup join whose probe side is one: as-of joins were made so before the
/// joins below them.
fn merge(extension: Extension) -> Result<Transformed<LogicalPlan>> {
    let outer = extension.node.as_any().downcast_ref::<LookupJoinNode>();
    let inner = outer.and_then(|outer| match &outer.probe {
        LogicalPlan::Extension(inner) => inner.node.as_any().downcast_ref::<LookupJoinNode>(),
        _ => None,
    });
    let all_per_row = |node: &LookupJoinNode| node.arms.iter().all(|arm| is_per_row(arm.kind));
    let merged = match (outer, inner) {
        (Some(outer), Some(inner))
            if all_per_row(outer)
                && all_per_row(inner)
                && !outer.arms.iter().any(|arm| inner.pads_columns_of(arm)) =>
        {
            let arms = inner.arms.iter().chain(&outer.arms).cloned().collect();
            LookupJoinNode::try_new(inner.probe.clone(), arms)?
        }
        _ => return Ok(Transformed::no(LogicalPlan::Extension(extension))),
    };
    let node = Arc::new(merged);
    Ok(Transformed::yes(LogicalPlan::Extension(Extension { node })))
}

/// A join seen with the table on the right.
pub(super) struct TableSide {
    swapped: bool,
    pub(super) kind: JoinKind,
    pub(super) table: LogicalPlan,
    filter: Option<Expr>,
    /// What becomes of a row without a match.
    pub(super) miss: Option<OnMiss>,
}

impl PlanLookupJoins {
    /// Picks the side to look up: one that needs no pass over the whole table at the end first,
    /// then one whose primary key is the join key, then the right one.
    pub(super) fn choose_table_side(&self, join: &Join) -> Result<Option<TableSide>> {
        let usable = |expr: &Expr| !expr.is_volatile() && !has_subquery(expr);
        let conditions = join
            .on
            .iter()
            .flat_map(|(left, right)| [left, right])
            .chain(join.filter.as_ref());
        if join.on.is_empty() || join.null_aware || !conditions.into_iter().all(usable) {
            return Ok(None);
        }
        let mut best: Option<(u8, TableSide)> = None;
        for swapped in [false, true] {
            let plan = if swapped { &join.left } else { &join.right };
            let Some(kind) = join_kind(join.join_type, swapped) else {
                continue;
            };
            let Some((table, filter)) = self.peel(plan)? else {
                continue;
            };
            let keeps_table_rows = !matches!(
                kind,
                JoinKind::Inner | JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti
            );
            if keeps_table_rows && filter.is_some() {
                continue;
            }
            let cost =
                u8::from(keeps_table_rows) * 2 + u8::from(!self.joins_on_primary_key(join, &table, swapped));
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((
                    cost,
                    TableSide {
                        swapped,
                        kind,
                        table,
                        filter,
                        miss: None,
                    },
                ));
            }
        }
        Ok(best.map(|(_, side)| side))
    }

    /// Takes the filters off a plan that is otherwise a bare table.
    fn peel(&self, plan: &LogicalPlan) -> Result<Option<(LogicalPlan, Option<Expr>)>> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let known = self.tables.contains_key(scan.table_name.table());
                let bare = scan.filters.is_empty() && scan.fetch.is_none();
                Ok((known && bare).then(|| (plan.clone(), None)))
            }
            LogicalPlan::Filter(filter) => {
                let Some((table, inner)) = self.peel(&filter.input)? else {
                    return Ok(None);
                };
                if filter.predicate.is_volatile() || has_subquery(&filter.predicate) {
                    return Ok(None);
                }
                Ok(Some((
                    table,
                    conjunction(inner.into_iter().chain([filter.predicate.clone()])),
                )))
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let Some((table, filter)) = self.peel(&alias.input)? else {
                    return Ok(None);
                };
                let outer = LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(
                    Arc::new(table.clone()),
                    alias.alias.clone(),
                )?);
                let filter = match filter {
                    Some(filter) => {
                        let inner = table.schema().columns();
                        Some(replace_columns(filter, &inner, &outer.schema().columns())?)
                    }
                    None => None,
                };
                Ok(Some((outer, filter)))
            }
            LogicalPlan::Projection(projection) => {
                let Some((table, filter)) = self.peel(&projection.input)? else {
                    return Ok(None);
                };
                let mut inner = Vec::with_capacity(projection.expr.len());
                for expr in &projection.expr {
                    let Expr::Column(column) = expr.clone().unalias_nested().data else {
                        return Ok(None);
                    };
                    inner.push(column);
                }
                let outer =
                    LogicalPlan::Projection(Projection::try_new(projection.expr.clone(), Arc::new(table))?);
                let filter = match filter {
                    Some(filter) if filter.column_refs().iter().all(|column| inner.contains(column)) => {
                        Some(replace_columns(filter, &inner, &outer.schema().columns())?)
                    }
                    Some(_) => return Ok(None),
                    None => None,
                };
                Ok(Some((outer, filter)))
            }
            _ => Ok(None),
        }
    }

    fn joins_on_primary_key(&self, join: &Join, table: &LogicalPlan, swapped: bool) -> bool {
        let Ok(behind) = super::arm_table(table) else {
            return false;
        };
        let Some(key) = self.tables.get(behind.name.table()).filter(|key| !key.is_empty()) else {
            return false;
        };
        let schema = behind.source.schema();
        let joined: Vec<&str> = join
            .on
            .iter()
            .filter_map(|(left, right)| {
                let Expr::Column(column) = uncast(if swapped { left } else { right }) else {
                    return None;
                };
                let at = table.schema().index_of_column(column).ok()?;
                Some(schema.field(behind.columns[at]).name().as_str())
            })
            .collect();
        key.iter().all(|name| joined.contains(&name.as_str()))
    }
}

fn join_kind(join_type: JoinType, swapped: bool) -> Option<JoinKind> {
    let join_type = if swapped { join_type.swap() } else { join_type };
    Some(match join_type {
        JoinType::Inner => JoinKind::Inner,
        JoinType::Left => JoinKind::Left,
        JoinType::Right => JoinKind::Right,
        JoinType::Full => JoinKind::Full,
        JoinType::LeftSemi => JoinKind::LeftSemi,
        JoinType::LeftAnti => JoinKind::LeftAnti,
        JoinType::RightSemi => JoinKind::RightSemi,
        JoinType::RightAnti => JoinKind::RightAnti,
        _ => return None,
    })
}

impl TableSide {
    pub(super) fn into_plan(self, join: &Join) -> Result<LogicalPlan> {
        let probe = if self.swapped { &join.right } else { &join.left };
        let keys = join
            .on
            .iter()
            .map(|(left, right)| {
                let (probe_key, table_key) = if self.swapped {
                    (right, left)
                } else {
                    (left, right)
                };
                match_encodings(probe_key, probe, table_key, &self.table)
            })
            .collect::<Result<Vec<_>>>()?;
        let residual = conjunction(self.filter.into_iter().chain(join.filter.clone()));
        let arm = LookupArm {
            table: self.table,
            kind: self.miss.map_or(self.kind, |miss| miss.kind(self.kind)),
            keys,
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            as_of: None,
            residual,
            miss: self.miss,
        };
        let node = match probe.as_ref() {
            LogicalPlan::Extension(Extension { node }) => {
                match node.as_any().downcast_ref::<LookupJoinNode>() {
                    Some(star)
                        if is_per_row(arm.kind)
                            && star.arms.iter().all(|arm| is_per_row(arm.kind))
                            && !star.pads_columns_of(&arm) =>
                    {
                        let mut arms = star.arms.clone();
                        arms.push(arm);
                        LookupJoinNode::try_new(star.probe.clone(), arms)?
                    }
                    _ => LookupJoinNode::try_new(probe.as_ref().clone(), vec![arm])?,
                }
            }
            _ => LookupJoinNode::try_new(probe.as_ref().clone(), vec![arm])?,
        };
        let plan = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        if !self.swapped || plan.schema().columns() == join.schema.columns() {
            return Ok(plan);
        }
        let columns = join.schema.columns().into_iter().map(Expr::Column);
        LogicalPlanBuilder::from(plan).project(columns)?.build()
    }
}

/// Says whether a join decides each probe row by itself, so that several can share one node.
pub(super) fn is_per_row(kind: JoinKind) -> bool {
    matches!(
        kind,
        JoinKind::Inner | JoinKind::Left | JoinKind::LeftSemi | JoinKind::LeftAnti
    )
}

/// Takes off casts that only change how the same text or bytes are stored: the index compares
/// plain, large, view and dictionary columns by value, and a dictionary once per distinct value.
pub(crate) fn match_encodings(
    probe_key: &Expr,
    probe: &LogicalPlan,
    table_key: &Expr,
    table: &LogicalPlan,
) -> Result<(Expr, Expr)> {
    let strip = |expr: &Expr, plan: &LogicalPlan| -> Result<Expr> {
        if let Expr::Cast(Cast { expr: inner, field }) = expr
            && same_values(&inner.get_type(plan.schema())?, field.data_type())
        {
            return Ok(inner.as_ref().clone());
        }
        Ok(expr.clone())
    };
    Ok((strip(probe_key, probe)?, strip(table_key, table)?))
}

/// Says whether two types store the same values.
pub(crate) fn same_values(left: &DataType, right: &DataType) -> bool {
    fn plain(kind: &DataType) -> DataType {
        match kind {
            DataType::Dictionary(_, value) => plain(value),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8View,
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::BinaryView,
            other => other.clone(),
        }
    }
    plain(left) == plain(right)
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => uncast(&cast.expr),
        other => other,
    }
}

pub(crate) fn has_subquery(expr: &Expr) -> bool {
    expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::ScalarSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        ))
    })
    .unwrap_or(true)
}

/// Renames columns by position.
fn replace_columns(expr: Expr, from: &[Column], to: &[Column]) -> Result<Expr> {
    expr.transform_up(|expr| {
        Ok(match &expr {
            Expr::Column(column) => match from.iter().position(|other| other == column) {
                Some(at) => Transformed::yes(Expr::Column(to[at].clone())),
                None => Transformed::no(expr),
            },
            _ => Transformed::no(expr),
        })
    })
    .map(|done| done.data)
}

/// Rebuilds a filter over a plan from what is left of its conjuncts.
pub(crate) fn filter_by(conjuncts: Vec<Expr>, plan: LogicalPlan) -> Result<LogicalPlan> {
    match conjunction(conjuncts) {
        Some(predicate) => Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(plan))?)),
        None => Ok(plan),
    }
}

/// Splits a predicate at its ANDs.
pub(crate) fn conjuncts_of(predicate: Expr) -> Vec<Expr> {
    split_conjunction_owned(predicate)
}
