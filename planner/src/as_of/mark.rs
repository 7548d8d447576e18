//! Marks: as-of and temporal joins become plain joins with an `__as_of` mark among their conditions.

use std::ops::ControlFlow;

use sqlparser::ast::{
    self, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Select, TableFactor,
    TableVersion, TableWithJoins, UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::marker::{MARKER, MarkKind};
use super::tokens::{IN_ON, LEFT};
use crate::error::{SqlError, SqlErrorKind};
use crate::planner::normalize;

/// Marks the joins of a statement, also in subqueries.
///
/// # Errors
/// Fails where a condition is none on time, or a table's version is asked for outside a join.
pub(crate) fn mark_joins<T: VisitMut>(statement: &mut T) -> Result<(), SqlError> {
    match statement.visit(&mut Marks) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Marks;

impl VisitorMut for Marks {
    type Break = SqlError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<SqlError> {
        let mut marks = Vec::new();
        for from in &mut select.from {
            if let Err(error) = mark_from(from, &mut marks) {
                return ControlFlow::Break(error);
            }
        }
        for mark in marks {
            select.selection = Some(match select.selection.take() {
                Some(selection) => and(Expr::Nested(Box::new(selection)), mark),
                None => mark,
            });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<SqlError> {
        // Those of joins were taken by then.
        match take_version(factor) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(_)) => ControlFlow::Break(
                SqlError::unsupported("FOR SYSTEM_TIME AS OF belongs to a table that is joined")
                    .at(None, "SYSTEM_TIME")
                    .hint("as in FROM trades t JOIN rates FOR SYSTEM_TIME AS OF t.ts AS r ON t.currency = r.currency"),
            ),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

/// Marks the joins of one FROM; `marks` are those that have no place in their join.
fn mark_from(from: &mut TableWithJoins, marks: &mut Vec<Expr>) -> Result<(), SqlError> {
    if let TableFactor::NestedJoin { table_with_joins, .. } = &mut from.relation {
        mark_from(table_with_joins, marks)?;
    }
    for join in &mut from.joins {
        if let TableFactor::NestedJoin { table_with_joins, .. } = &mut join.relation {
            mark_from(table_with_joins, marks)?;
        }
        mark_join(join, marks)?;
    }
    Ok(())
}

fn mark_join(join: &mut Join, marks: &mut Vec<Expr>) -> Result<(), SqlError> {
    let version = take_version(&mut join.relation)?;
    let relation = relation_name(&join.relation);
    if let JoinOperator::AsOf {
        match_condition,
        constraint,
    } = &mut join.join_operator
    {
        if version.is_some() {
            let what = "a join is either ASOF or FOR SYSTEM_TIME AS OF";
            return Err(SqlError::unsupported(what).at(None, "SYSTEM_TIME"));
        }
        let (is_left, condition) = take_left(match_condition.clone());
        let mut constraint = std::mem::replace(constraint, JoinConstraint::None);
        let condition = match condition {
            Expr::Identifier(ident) if ident.value == IN_ON => take_comparison(&mut constraint)?,
            given => given,
        };
        let mark = match_mark(condition, &relation)?;
        let constraint = add_mark(constraint, mark, marks)?;
        join.join_operator = if is_left {
            JoinOperator::Left(constraint)
        } else {
            JoinOperator::Inner(constraint)
        };
        return Ok(());
    }
    let Some(time) = version else { return Ok(()) };
    let (JoinOperator::Join(constraint)
    | JoinOperator::Inner(constraint)
    | JoinOperator::Left(constraint)
    | JoinOperator::LeftOuter(constraint)) = &mut join.join_operator
    else {
        let what = "FOR SYSTEM_TIME AS OF needs an INNER or LEFT JOIN";
        return Err(SqlError::unsupported(what).at(None, "SYSTEM_TIME"));
    };
    let mark = call(MarkKind::Versions, &relation, vec![time]);
    *constraint = add_mark(std::mem::replace(constraint, JoinConstraint::None), mark, marks)?;
    Ok(())
}

/// Takes the time that a table is to be read as of; `PROCTIME()` is what an ordinary join reads.
fn take_version(factor: &mut TableFactor) -> Result<Option<Expr>, SqlError> {
    let TableFactor::Table { version, .. } = factor else {
        return Ok(None);
    };
    match version.take() {
        None => Ok(None),
        Some(TableVersion::ForSystemTimeAsOf(time)) => Ok(Some(time).filter(|time| !is_now(time))),
        Some(_) => Err(
            SqlError::unsupported("this way to name a table's version is not supported")
                .at(None, "OF")
                .hint("say JOIN r FOR SYSTEM_TIME AS OF t.ts"),
        ),
    }
}

fn is_now(time: &Expr) -> bool {
    matches!(time, Expr::Function(function) if is_called(function, "PROCTIME") && arguments(function).is_empty())
}

/// Returns the name by which a query knows a joined relation.
fn relation_name(factor: &TableFactor) -> String {
    let alias = match factor {
        TableFactor::Table { alias, name, .. } => {
            let own = name.0.last().and_then(|part| part.as_ident());
            return alias
                .as_ref()
                .map(|alias| &alias.name)
                .or(own)
                .map(normalize)
                .unwrap_or_default();
        }
        TableFactor::Derived { alias, .. } | TableFactor::NestedJoin { alias, .. } => alias,
        _ => &None,
    };
    alias
        .as_ref()
        .map(|alias| normalize(&alias.name))
        .unwrap_or_default()
}

/// Adds a mark to a join's conditions, or, where those are columns alone, to the query's.
fn add_mark(
    constraint: JoinConstraint,
    mark: Expr,
    marks: &mut Vec<Expr>,
) -> Result<JoinConstraint, SqlError> {
    Ok(match constraint {
        JoinConstraint::None => JoinConstraint::On(mark),
        JoinConstraint::On(condition) => JoinConstraint::On(and(Expr::Nested(Box::new(condition)), mark)),
        JoinConstraint::Using(columns) => {
            marks.push(mark);
            JoinConstraint::Using(columns)
        }
        JoinConstraint::Natural => {
            return Err(SqlError::unsupported("an as-of join cannot be NATURAL")
                .at(None, "NATURAL")
                .hint("name the columns with USING (…)"));
        }
    })
}

fn take_left(condition: Expr) -> (bool, Expr) {
    if let Expr::Function(function) = &condition
        && is_called(function, LEFT)
        && let [only] = arguments(function).as_slice()
    {
        return (true, (*only).clone());
    }
    (false, condition)
}

/// Takes the one comparison of times out of ON, as DuckDB writes it.
fn take_comparison(constraint: &mut JoinConstraint) -> Result<Expr, SqlError> {
    let JoinConstraint::On(condition) = std::mem::replace(constraint, JoinConstraint::None) else {
        return Err(no_comparison());
    };
    let mut conjuncts = Vec::new();
    split(condition, &mut conjuncts);
    let is_comparison = |expr: &Expr| match expr {
        Expr::BinaryOp { left, op, right } => {
            is_inequality(op)
                && has_names(left)
                && has_names(right)
                && difference(left).is_none()
                && difference(right).is_none()
        }
        _ => false,
    };
    let mut found = conjuncts
        .iter()
        .enumerate()
        .filter(|(_, expr)| is_comparison(expr));
    let (Some((at, _)), second) = (found.next(), found.next()) else {
        return Err(no_comparison());
    };
    if second.is_some() {
        let what = "ON has several comparisons, any of which may be the one on time";
        return Err(SqlError::new(SqlErrorKind::Ambiguous, what)
            .at(None, "ASOF")
            .hint("say which with MATCH_CONDITION (…)"));
    }
    let comparison = conjuncts.remove(at);
    if let Some(rest) = conjuncts.into_iter().reduce(and) {
        *constraint = JoinConstraint::On(rest);
    }
    Ok(comparison)
}

fn no_comparison() -> SqlError {
    SqlError::planning("ON has no comparison of times with >=, >, <= or <")
        .at(None, "ASOF")
        .hint("add one, as in ON t.symbol = q.symbol AND t.ts >= q.ts, or say MATCH_CONDITION (t.ts >= q.ts)")
}

/// Makes the mark of a match condition.
fn match_mark(condition: Expr, relation: &str) -> Result<Expr, SqlError> {
    let mut conjuncts = Vec::new();
    split(condition, &mut conjuncts);
    let (mut comparison, mut tolerance) = (None, None);
    for conjunct in conjuncts {
        let text = conjunct.to_string();
        let is_new = match part_of(conjunct) {
            Part::Tolerance(arguments) => tolerance.replace(arguments).is_none(),
            Part::Times(kind, arguments) => comparison.replace((kind, arguments)).is_none(),
            Part::Other => false,
        };
        if !is_new {
            return Err(not_a_match(&text));
        }
    }
    match (comparison, tolerance) {
        (Some((MarkKind::Nearest, _)), Some(_)) => Err(not_a_match("a bound beside NEAREST")
            .hint("give it as the third argument: NEAREST(t.ts, q.ts, INTERVAL '5' SECOND)")),
        (Some((kind, mut arguments)), tolerance) => {
            arguments.extend(tolerance.into_iter().flatten());
            Ok(call(kind, relation, arguments))
        }
        (None, _) => Err(not_a_match("none")),
    }
}

fn not_a_match(found: &str) -> SqlError {
    let what = format!(
        "MATCH_CONDITION takes one comparison of two times and a bound on their distance, found {found}"
    );
    SqlError::planning(what).at(None, "MATCH_CONDITION").hint(
        "as in MATCH_CONDITION (t.ts >= q.ts AND t.ts - q.ts <= INTERVAL '5' SECOND); other conditions go into ON",
    )
}

/// What one condition of several is.
enum Part {
    Times(MarkKind, Vec<Expr>),
    Tolerance(Vec<Expr>),
    Other,
}

fn part_of(conjunct: Expr) -> Part {
    match conjunct {
        Expr::BinaryOp { left, op, right } if is_inequality(&op) => {
            // `a - b <= bound`, however it is turned.
            if let (Some((a, b)), false) = (difference(&left), has_names(&right)) {
                return Part::Tolerance(bound(a, b, &op, *right));
            }
            if let (Some((a, b)), false) = (difference(&right), has_names(&left)) {
                return Part::Tolerance(bound(a, b, &mirrored(&op), *left));
            }
            Part::Times(MarkKind::Match, vec![Expr::BinaryOp { left, op, right }])
        }
        Expr::Function(function) if is_called(&function, "NEAREST") => {
            match arguments(&function).as_slice() {
                [a, b, rest @ ..] if rest.len() < 2 => {
                    let both = Expr::BinaryOp {
                        left: Box::new((*a).clone()),
                        op: BinaryOperator::Eq,
                        right: Box::new((*b).clone()),
                    };
                    let bound = rest.iter().map(|bound| (*bound).clone());
                    Part::Times(MarkKind::Nearest, std::iter::once(both).chain(bound).collect())
                }
                _ => Part::Other,
            }
        }
        _ => Part::Other,
    }
}

/// Turns `a - b op bound` into a bound from above: the times, the bound, `<=` or `<`.
fn bound(a: Expr, b: Expr, op: &BinaryOperator, bound: Expr) -> Vec<Expr> {
    let (a, b, bound, op) = match op {
        BinaryOperator::GtEq => (b, a, negated(bound), BinaryOperator::LtEq),
        BinaryOperator::Gt => (b, a, negated(bound), BinaryOperator::Lt),
        op => (a, b, bound, op.clone()),
    };
    vec![a, b, bound, text(&op.to_string())]
}

fn negated(expr: Expr) -> Expr {
    match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => *expr,
        Expr::Nested(inner) => negated(*inner),
        other => Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(Expr::Nested(Box::new(other))),
        },
    }
}

fn is_inequality(op: &BinaryOperator) -> bool {
    use BinaryOperator as Op;
    matches!(op, Op::GtEq | Op::Gt | Op::LtEq | Op::Lt)
}

fn mirrored(op: &BinaryOperator) -> BinaryOperator {
    match op {
        BinaryOperator::GtEq => BinaryOperator::LtEq,
        BinaryOperator::Gt => BinaryOperator::Lt,
        BinaryOperator::LtEq => BinaryOperator::GtEq,
        BinaryOperator::Lt => BinaryOperator::Gt,
        other => other.clone(),
    }
}

/// Returns both sides of a difference of two times.
fn difference(expr: &Expr) -> Option<(Expr, Expr)> {
    match expr {
        Expr::Nested(inner) => difference(inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Minus,
            right,
        } if has_names(left) && has_names(right) => Some((left.as_ref().clone(), right.as_ref().clone())),
        _ => None,
    }
}

/// Says whether an expression names a column.
fn has_names(expr: &Expr) -> bool {
    ast::visit_expressions(expr, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

fn split(expr: Expr, conjuncts: &mut Vec<Expr>) {
    match expr {
        Expr::Nested(inner)
            if matches!(
                *inner,
                Expr::Nested(_) | Expr::BinaryOp { .. } | Expr::Function(_)
            ) =>
        {
            split(*inner, conjuncts);
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split(*left, conjuncts);
            split(*right, conjuncts);
        }
        other => conjuncts.push(other),
    }
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    }
}

fn is_called(function: &Function, name: &str) -> bool {
    matches!(function.name.0.as_slice(), [part]
        if part.as_ident().is_some_and(|ident| ident.value.eq_ignore_ascii_case(name)))
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return Vec::new();
    };
    let plain = list.args.iter().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}

fn text(text: &str) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.to_string()).into())
}

fn call(kind: MarkKind, relation: &str, arguments: Vec<Expr>) -> Expr {
    let all = [text(kind.word()), text(relation)].into_iter().chain(arguments);
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(MARKER)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: all
                .map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)))
                .collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
