//! A marked join taken apart: which sides its times come from, what is a key, what is left to judge.

use arrow_schema::DataType;
use datafusion_common::{JoinType, NullEquality, Result, ScalarValue};
use datafusion_expr::type_coercion::binary::comparison_coercion;
use datafusion_expr::utils::find_valid_equijoin_key_pair;
use datafusion_expr::{BinaryExpr, Cast, Expr, ExprSchemable, Join, Operator};
use fletching_kernels::{AsOfCondition, AsOfOp, AsOfTolerance, JoinKind};

use super::rule::{Mark, failed, text_of};
use super::units::{constant, is_time, tolerance};
use crate::error::SqlErrorKind;
use crate::lookup::{AsOfTimes, conjuncts_of, has_subquery};

/// A marked join taken apart.
pub(super) struct Marked<'a> {
    pub(super) join: &'a Join,
    pub(super) mark: Mark,
    pub(super) kind: JoinKind,
    pub(super) keys: Vec<(Expr, Expr)>,
    pub(super) null_equals_null: bool,
    pub(super) residual: Vec<Expr>,
}

impl<'a> Marked<'a> {
    pub(super) fn new(join: &'a Join) -> Result<Self> {
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

    pub(super) fn matched(&self) -> Result<AsOfTimes> {
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

    pub(super) fn nearest(&self) -> Result<AsOfTimes> {
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
    pub(super) fn check_side(&self, probe: &Expr) -> Result<()> {
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
    pub(super) fn coerced(&self, probe: &Expr, table: &Expr) -> Result<(Expr, Expr, DataType)> {
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

    pub(super) fn bound(
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
