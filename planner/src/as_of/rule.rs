//! Finds the marks again and makes lookup joins with as-of arms of the joins that carry them.
//!
//! An analyzer rule that runs when types are settled: no other rule has seen the mark by then,
//! and none sees a join whose match it could change.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DFSchema, DataFusionError, Result};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Extension, Join, LogicalPlan, Operator};
use datafusion_optimizer::AnalyzerRule;
use fletching_kernels::AsOfOp;

use super::marked::Marked;
use super::marker::{MARKER, MarkKind};
use super::units::constant;
use crate::catalog::Relation;
use crate::error::{SqlError, SqlErrorKind};
use crate::lookup::{
    AsOfTimes, LookupArm, LookupJoinNode, arm_table, conjuncts_of, filter_by, match_encodings,
};

/// Turns marked joins into [`LookupJoinNode`]s with one as-of arm.
#[derive(Debug)]
pub(crate) struct PlanAsOfJoins {
    /// The relations of this statement.
    relations: BTreeMap<String, Relation>,
}

impl PlanAsOfJoins {
    pub(crate) fn new(relations: BTreeMap<String, Relation>) -> Self {
        Self { relations }
    }
}

impl AnalyzerRule for PlanAsOfJoins {
    fn name(&self) -> &str {
        "plan_as_of_joins"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_down_with_subqueries(bring_marks_home)?.data;
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) if join.filter.as_ref().is_some_and(has_mark) => {
                Ok(Transformed::yes(self.plan(&join)?))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }
}

/// A mark found again.
pub(super) struct Mark {
    pub(super) kind: MarkKind,
    pub(super) relation: String,
    pub(super) args: Vec<Expr>,
}

impl Mark {
    pub(super) fn of(expr: &Expr) -> Option<Self> {
        let Expr::ScalarFunction(ScalarFunction { func, args }) = expr else {
            return None;
        };
        if func.name() != MARKER {
            return None;
        }
        let [kind, relation, args @ ..] = args.as_slice() else {
            return None;
        };
        Some(Self {
            kind: MarkKind::of_word(&text_of(kind)?)?,
            relation: text_of(relation)?,
            args: args.to_vec(),
        })
    }

    pub(super) fn error(&self, kind: SqlErrorKind, message: impl Into<String>) -> SqlError {
        SqlError::new(kind, message).at(None, self.kind.place())
    }
}

pub(super) fn text_of(expr: &Expr) -> Option<String> {
    Some(constant(expr)?.try_as_str()??.to_string())
}

fn has_mark(expr: &Expr) -> bool {
    conjuncts_of(expr.clone())
        .iter()
        .any(|conjunct| Mark::of(conjunct).is_some())
}

pub(super) fn failed(error: SqlError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Moves the marks of joins with USING from WHERE, where they had to wait, to their joins.
fn bring_marks_home(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = &plan else {
        return Ok(Transformed::no(plan));
    };
    if !has_mark(&filter.predicate) {
        return Ok(Transformed::no(plan));
    }
    let mut input = filter.input.as_ref().clone();
    let mut others = Vec::new();
    for conjunct in conjuncts_of(filter.predicate.clone()) {
        let Some(mark) = Mark::of(&conjunct) else {
            others.push(conjunct);
            continue;
        };
        if !attach(&mut input, &mark.relation, &conjunct)? {
            let what = format!(
                "the as-of join of '{}' cannot be found again; say ON",
                mark.relation
            );
            return Err(failed(mark.error(SqlErrorKind::Unsupported, what)));
        }
    }
    Ok(Transformed::yes(filter_by(others, input)?))
}

/// Adds a mark to the join whose right side it names; says whether there is one.
fn attach(plan: &mut LogicalPlan, relation: &str, mark: &Expr) -> Result<bool> {
    let LogicalPlan::Join(join) = plan else {
        return Ok(false);
    };
    if side_name(&join.right) == Some(relation) && !join.filter.as_ref().is_some_and(has_mark) {
        join.filter = conjunction(join.filter.take().into_iter().chain([mark.clone()]));
        return Ok(true);
    }
    for side in [&mut join.left, &mut join.right] {
        let mut inner = side.as_ref().clone();
        if attach(&mut inner, relation, mark)? {
            *side = Arc::new(inner);
            return Ok(true);
        }
    }
    Ok(false)
}

fn side_name(plan: &LogicalPlan) -> Option<&str> {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => Some(alias.alias.table()),
        LogicalPlan::TableScan(scan) => Some(scan.table_name.table()),
        _ => None,
    }
}

impl PlanAsOfJoins {
    fn plan(&self, join: &Join) -> Result<LogicalPlan> {
        let mut marked = Marked::new(join)?;
        let times = match marked.mark.kind {
            MarkKind::Match => marked.matched()?,
            MarkKind::Nearest => marked.nearest()?,
            MarkKind::Versions => self.versions(&mut marked)?,
        };
        let keys = marked
            .keys
            .iter()
            .map(|(probe, table)| match_encodings(probe, &join.left, table, &join.right))
            .collect::<Result<_>>()?;
        let arm = LookupArm {
            table: join.right.as_ref().clone(),
            kind: marked.kind,
            keys,
            null_equals_null: marked.null_equals_null,
            as_of: Some(times),
            residual: conjunction(marked.residual),
            miss: None,
        };
        let node = LookupJoinNode::try_new(join.left.as_ref().clone(), vec![arm])?;
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }

    /// Reads a table's versions: the latest of each primary key at or before a time.
    fn versions(&self, marked: &mut Marked<'_>) -> Result<AsOfTimes> {
        let name = marked.mark.relation.clone();
        let none = |what: String, hint: &str| {
            let error = SqlError::planning(what).at(None, MarkKind::Versions.place());
            failed(error.hint(hint))
        };
        let known = arm_table(&marked.join.right).ok();
        let relation = known
            .as_ref()
            .and_then(|table| self.relations.get(table.name.table()));
        let (Some(table), Some(relation)) = (&known, relation) else {
            return Err(none(
                format!("FOR SYSTEM_TIME AS OF needs a table, and '{name}' is none"),
                "create it with CREATE TABLE, or say ASOF JOIN",
            ));
        };
        let Some(versions) = &relation.versions else {
            return Err(none(
                format!("table {} keeps no versions", table.name),
                "create it with a PRIMARY KEY and WITH ('versioned' = 'true', version = 'column'); \
                 or say ASOF JOIN … MATCH_CONDITION (…), which takes any table",
            ));
        };
        let schema = marked.join.right.schema();
        let column_of = |name: &str| {
            let at = relation.source.schema().index_of(name).ok()?;
            let at = table.columns.iter().position(|column| *column == at)?;
            Some(Column::from(schema.qualified_field(at)))
        };
        let Some(version) = column_of(&versions.column) else {
            return Err(none(
                format!("table {name} has no column '{}'", versions.column),
                "check its options",
            ));
        };
        // Versions belong to a primary key: what else must be equal is judged on the version found.
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for name in &relation.primary_key {
            let column = column_of(name);
            let found = marked.keys.iter().position(|(_, table)| {
                column
                    .as_ref()
                    .is_some_and(|column| keeps_apart(table, column, schema))
            });
            let Some(at) = found else {
                return Err(none(
                    format!(
                        "FOR SYSTEM_TIME AS OF needs the whole primary key in ON, and '{name}' is not there"
                    ),
                    "add the missing = condition, of the column itself",
                ));
            };
            keys.push(marked.keys.swap_remove(at));
        }
        let op = if marked.null_equals_null {
            Operator::IsNotDistinctFrom
        } else {
            Operator::Eq
        };
        for (probe, table) in std::mem::take(&mut marked.keys) {
            others.push(Expr::BinaryExpr(BinaryExpr::new(
                Box::new(probe),
                op,
                Box::new(table),
            )));
        }
        marked.keys = keys;
        marked.residual.extend(others);
        let [time] = marked.mark.args.as_slice() else {
            return datafusion_common::internal_err!("a mark without a time");
        };
        marked.check_side(time)?;
        let (probe, table, kind) = marked.coerced(time, &Expr::Column(version))?;
        let retention = match &versions.retention {
            None => None,
            Some(amount) => Some(marked.bound(amount, &kind, false, "the option 'retention'")?),
        };
        Ok(AsOfTimes {
            of_versions: true,
            retention,
            ..AsOfTimes::new(probe, table, kind, AsOfOp::AtOrBefore.into())
        })
    }
}

/// Says whether a key is a column, or a cast of it that keeps different values different.
fn keeps_apart(key: &Expr, column: &Column, schema: &DFSchema) -> bool {
    match key {
        Expr::Column(other) => other == column,
        Expr::Cast(Cast { expr, field }) => {
            let Ok(from) = expr.get_type(schema) else {
                return false;
            };
            let to = field.data_type();
            let is_wider = from.is_integer()
                && (to.is_integer() || to.is_decimal())
                && to.primitive_width() >= from.primitive_width();
            (is_wider || crate::lookup::same_values(&from, to)) && keeps_apart(expr, column, schema)
        }
        _ => false,
    }
}
