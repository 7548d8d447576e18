//! Finds the marks again and makes lookup joins with as-of arms of the joins that carry them.
//!
//! An analyzer rule that runs when types are settled: no other rule has seen the mark by then,
//! and none sees a join whose match it could change.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::Transformed;
use datafusion_common::{Column, DFSchema, DataFusionError, JoinType, NullEquality, Result, ScalarValue};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::type_coercion::binary::comparison_coercion;
use datafusion_expr::utils::{conjunction, find_valid_equijoin_key_pair};
use datafusion_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Extension, Join, LogicalPlan, Operator};
use datafusion_optimizer::AnalyzerRule;
use fletching_kernels::{AsOfCondition, AsOfOp, AsOfTolerance, JoinKind};

use super::marker::{MARKER, MarkKind};
use super::units::{constant, is_time, tolerance};
use crate::catalog::Relation;
use crate::error::{SqlError, SqlErrorKind};
use crate::lookup::{
    AsOfTimes, LookupArm, LookupJoinNode, arm_table, conjuncts_of, filter_by, has_subquery, match_encodings,
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
struct Mark {
    kind: MarkKind,
    relation: String,
    args: Vec<Expr>,
}

impl Mark {
    fn of(expr: &Expr) -> Option<Self> {
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

    fn error(&self, kind: SqlErrorKind, message: impl Into<String>) -> SqlError {
        SqlError::new(kind, message).at(None, self.kind.place())
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    Some(constant(expr)?.try_as_str()??.to_string())
}

fn has_mark(expr: &Expr) -> bool {
    conjuncts_of(expr.clone())
        .iter()
        .any(|conjunct| Mark::of(conjunct).is_some())
}

fn failed(error: SqlError) -> DataFusionError {
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

/// A marked join taken apart.
struct Marked<'a> {
    join: &'a Join,
    mark: Mark,
    kind: JoinKind,
    keys: Vec<(Expr, Expr)>,
    null_equals_null: bool,
    residual: Vec<Expr>,
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

impl<'a> Marked<'a> {
    fn new(join: &'a Join) -> Result<Self> {
        let mut marks = Vec::new();
        let mut rest = Vec::new();
        for conjunct in join.filter.iter().flat_map(|filter| conjuncts_of(filter.clone())) {
            match Mark::of(&conjunct) {
                Some(mark) => marks.push(mark),
                None => rest.push(conjunct),
            }
        }
        let (Some(mark), true) = (marks.pop(), marks.is_empty()) else {
            return datafusion_common::internal_err!("a join with several as-of marks");
        };
        let kind = match join.join_type {
            JoinType::Inner => JoinKind::Inner,
            JoinType::Left => JoinKind::Left,
            other => {
                let what = format!("an as-of join is INNER or LEFT, not {other}");
                return Err(failed(mark.error(SqlErrorKind::Unsupported, what)));
            }
        };
        let mut marked = Self {
            join,
            mark,
            kind,
            keys: join.on.clone(),
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            residual: Vec::new(),
        };
        marked.sort_conditions(rest)?;
        Ok(marked)
    }

    /// Tells keys from what is judged on the match.
    fn sort_conditions(&mut self, conditions: Vec<Expr>) -> Result<()> {
        let (left, right) = (self.join.left.schema(), self.join.right.schema());
        let mut null_keys = Vec::new();
        for condition in conditions {
            if condition.is_volatile() || has_subquery(&condition) {
                let what =
                    "ON of an as-of join takes no subquery and no function that changes from row to row";
                return Err(failed(self.mark.error(SqlErrorKind::Unsupported, what)));
            }
            let pair = match &condition {
                Expr::BinaryExpr(BinaryExpr {
                    left: a,
                    op: op @ (Operator::Eq | Operator::IsNotDistinctFrom),
                    right: b,
                }) => find_valid_equijoin_key_pair(a, b, left, right)?.map(|pair| (pair, *op)),
                _ => None,
            };
            match pair {
                Some((pair, Operator::Eq)) => self.keys.push(pair),
                Some((pair, _)) => null_keys.push(pair),
                None => self.residual.push(condition),
            }
        }
        if null_keys.is_empty() {
            return Ok(());
        }
        if !self.keys.is_empty() {
            let what = "ON of an as-of join mixes = and IS NOT DISTINCT FROM";
            return Err(failed(self.mark.error(SqlErrorKind::Unsupported, what)));
        }
        self.null_equals_null = true;
        self.keys = null_keys;
        Ok(())
    }

    fn matched(&self) -> Result<AsOfTimes> {
        let [comparison, bound @ ..] = self.mark.args.as_slice() else {
            return datafusion_common::internal_err!("a mark without a comparison");
        };
        let (probe, table, kind, op) = self.compared(comparison)?;
        let op = match op {
            Operator::GtEq => AsOfOp::AtOrBefore,
            Operator::Gt => AsOfOp::Before,
            Operator::LtEq => AsOfOp::AtOrAfter,
            Operator::Lt => AsOfOp::After,
            other => return datafusion_common::internal_err!("a match condition with {other}"),
        };
        let tolerance = match bound {
            [] => None,
            [a, b, amount, strict] => {
                self.check_direction(a, b, (&probe, &table), op)?;
                let strict = text_of(strict).as_deref() == Some("<");
                Some(self.bound_of(amount, &kind, strict)?)
            }
            _ => return datafusion_common::internal_err!("a mark with half a bound"),
        };
        let condition = AsOfCondition { op, tolerance };
        Ok(AsOfTimes::new(probe, table, kind, condition))
    }

    fn nearest(&self) -> Result<AsOfTimes> {
        let [equality, bound @ ..] = self.mark.args.as_slice() else {
            return datafusion_common::internal_err!("a mark without times");
        };
        let (probe, table, kind, _) = self.compared(equality)?;
        let tolerance = match bound.first() {
            Some(amount) => Some(self.bound_of(amount, &kind, false)?),
            None => None,
        };
        let condition = AsOfCondition {
            op: AsOfOp::Nearest,
            tolerance,
        };
        Ok(AsOfTimes::new(probe, table, kind, condition))
    }

    /// Returns the times that a comparison compares, the stream side's first.
    fn compared(&self, comparison: &Expr) -> Result<(Expr, Expr, DataType, Operator)> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = comparison else {
            return datafusion_common::internal_err!("a match condition that is {comparison}");
        };
        let of_table = |expr: &Expr| {
            let columns = expr.column_refs();
            !columns.is_empty()
                && columns
                    .iter()
                    .all(|column| self.join.right.schema().has_column(column))
        };
        let (probe, table, op) = match (of_table(left), of_table(right)) {
            (false, true) => (left, right, *op),
            (true, false) => (right, left, op.swap().unwrap_or(*op)),
            _ => {
                let what = format!(
                    "MATCH_CONDITION must compare a time of the left side with one of {}, found {comparison}",
                    self.table_name()
                );
                return Err(failed(self.mark.error(SqlErrorKind::Planning, what)));
            }
        };
        self.check_side(probe)?;
        let (probe, table, kind) = self.coerced(probe, table)?;
        Ok((probe, table, kind, op))
    }

    fn table_name(&self) -> String {
        match self.mark.relation.as_str() {
            "" => "the right side".to_string(),
            name => format!("'{name}'"),
        }
    }

    /// Fails where the stream side's time needs columns of another side, or changes by itself.
    fn check_side(&self, probe: &Expr) -> Result<()> {
        let schema = self.join.left.schema();
        if !probe.column_refs().iter().all(|column| schema.has_column(column)) {
            let what = format!("the time {probe} must come from the left side of the join alone");
            return Err(failed(self.mark.error(SqlErrorKind::Planning, what)));
        }
        if probe.is_volatile() || has_subquery(probe) {
            let what = format!("the time {probe} is a subquery or changes from row to row");
            return Err(failed(self.mark.error(SqlErrorKind::Unsupported, what)));
        }
        Ok(())
    }

    /// Brings both times to one type, as a comparison does; returns it too.
    fn coerced(&self, probe: &Expr, table: &Expr) -> Result<(Expr, Expr, DataType)> {
        let (left, right) = (self.join.left.schema(), self.join.right.schema());
        let (from, to) = (probe.get_type(left)?, table.get_type(right)?);
        let common = comparison_coercion(&from, &to).filter(is_time);
        let Some(common) = common else {
            let what = format!("{probe} ({from}) and {table} ({to}) are not times that can be compared");
            let error = self.mark.error(SqlErrorKind::Type, what);
            return Err(failed(error.hint("CAST both to TIMESTAMP, DATE or a number")));
        };
        Ok((
            probe.clone().cast_to(&common, left)?,
            table.clone().cast_to(&common, right)?,
            common,
        ))
    }

    /// Fails where `a - b` is not the distance that the condition leaves open.
    fn check_direction(&self, a: &Expr, b: &Expr, times: (&Expr, &Expr), op: AsOfOp) -> Result<()> {
        let (probe, table) = (bare(times.0), bare(times.1));
        let is_backward = matches!(op, AsOfOp::AtOrBefore | AsOfOp::Before);
        let (later, earlier) = if is_backward {
            (probe, table)
        } else {
            (table, probe)
        };
        let message = if (bare(a), bare(b)) == (later, earlier) {
            return Ok(());
        } else if (bare(a), bare(b)) == (earlier, later) {
            format!("{earlier} - {later} is never above zero here, so that to bound it says nothing")
        } else {
            format!("a bound on {a} - {b} is none on the distance of the times compared")
        };
        let error = self.mark.error(SqlErrorKind::Planning, message);
        Err(failed(error.hint(format!("bound {later} - {earlier}"))))
    }

    fn bound_of(&self, amount: &Expr, kind: &DataType, strict: bool) -> Result<AsOfTolerance> {
        match constant(amount) {
            Some(value) => self.bound(&value, kind, strict, "the bound"),
            None => {
                let what = format!("the bound on the distance must be a constant, found {amount}");
                Err(failed(self.mark.error(SqlErrorKind::Planning, what)))
            }
        }
    }

    fn bound(
        &self,
        amount: &ScalarValue,
        kind: &DataType,
        strict: bool,
        what: &str,
    ) -> Result<AsOfTolerance> {
        tolerance(amount, kind, strict).map_err(|wrong| {
            let what = format!("{what} {amount} {wrong}; the times are {kind}");
            failed(self.mark.error(SqlErrorKind::Type, what))
        })
    }
}

/// Takes casts off: a comparison adds them, a difference of the same times need not.
fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(Cast { expr, .. }) => bare(expr),
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
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
