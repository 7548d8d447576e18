//! Clauses that parse but that the planner behind us would drop in silence: refused instead.

use std::ops::ControlFlow;

use sqlparser::ast::{JoinConstraint, JoinOperator, Query, Select, SetExpr, TableFactor, Visit, Visitor};
use sqlparser::tokenizer::TokenWithSpan;

use crate::error::SqlError;
use crate::locate::find_word;
use crate::parse::Ast;

/// Fails where a statement holds a clause that would be ignored.
pub(crate) fn check(ast: &Ast, tokens: &[TokenWithSpan]) -> Result<(), SqlError> {
    let mut silent = Silent;
    let flow = match ast {
        Ast::Sql(statement) => statement.visit(&mut silent),
        Ast::Create { table, .. } => table.visit(&mut silent),
        Ast::Explain { statement, .. } | Ast::CheckJoin(statement) => return check(statement, tokens),
        _ => return Ok(()),
    };
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break((clause, word, hint)) => {
            let error = SqlError::unsupported(format!("{clause} is not supported"));
            let error = error.at(find_word(tokens, word), word);
            Err(if hint.is_empty() { error } else { error.hint(hint) })
        }
    }
}

/// Finds the first clause that would be dropped: its name, the word it starts with, a hint.
struct Silent;

type Found = (&'static str, &'static str, &'static str);

impl Visitor for Silent {
    type Break = Found;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Found> {
        if !query.locks.is_empty() {
            return ControlFlow::Break(("FOR UPDATE/SHARE", "FOR", ""));
        }
        if query.settings.is_some() {
            return ControlFlow::Break(("SETTINGS in a query", "SETTINGS", "use SET name = value"));
        }
        if query.format_clause.is_some() {
            return ControlFlow::Break(("FORMAT in a query", "FORMAT", ""));
        }
        if query.for_clause.is_some() {
            return ControlFlow::Break(("FOR XML/JSON/BROWSE", "FOR", ""));
        }
        match query.body.as_ref() {
            SetExpr::Select(select) => check_select(select),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Found> {
        let TableFactor::Table {
            with_hints,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        if !with_hints.is_empty() || !index_hints.is_empty() {
            return ControlFlow::Break(("a table hint", "WITH", ""));
        }
        if *with_ordinality {
            return ControlFlow::Break(("WITH ORDINALITY", "ORDINALITY", ""));
        }
        if !partitions.is_empty() {
            return ControlFlow::Break(("PARTITION of a table", "PARTITION", ""));
        }
        if json_path.is_some() {
            return ControlFlow::Break(("a path into a table", "", ""));
        }
        if sample.is_some() {
            return ControlFlow::Break(("TABLESAMPLE", "TABLESAMPLE", "use WHERE random() < 0.1"));
        }
        ControlFlow::Continue(())
    }
}

fn check_join(operator: &JoinOperator) -> ControlFlow<Found> {
    match operator {
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => merged(constraint, "RIGHT"),
        JoinOperator::FullOuter(constraint) => merged(constraint, "FULL"),
        _ => ControlFlow::Continue(()),
    }
}

/// The planner behind us takes the merged column from the left side, which is wrong where only
/// the right side has a row.
fn merged(constraint: &JoinConstraint, word: &'static str) -> ControlFlow<Found> {
    match constraint {
        JoinConstraint::Using(_) | JoinConstraint::Natural => ControlFlow::Break((
            "USING or NATURAL in a RIGHT or FULL join",
            word,
            "say ON a.key = b.key, and COALESCE(a.key, b.key) for the merged column",
        )),
        _ => ControlFlow::Continue(()),
    }
}

fn check_select(select: &Select) -> ControlFlow<Found> {
    for join in select.from.iter().flat_map(|from| &from.joins) {
        check_join(&join.join_operator)?;
    }
    if select.prewhere.is_some() {
        return ControlFlow::Break(("PREWHERE", "PREWHERE", "use WHERE"));
    }
    if !select.connect_by.is_empty() {
        return ControlFlow::Break(("CONNECT BY", "CONNECT", "use WITH RECURSIVE"));
    }
    if select.into.is_some() {
        return ControlFlow::Break(("SELECT INTO", "INTO", "use CREATE TABLE … AS SELECT"));
    }
    if select.value_table_mode.is_some() {
        return ControlFlow::Break(("SELECT AS STRUCT/VALUE", "AS", ""));
    }
    if !select.distribute_by.is_empty() {
        return ControlFlow::Break(("DISTRIBUTE BY", "DISTRIBUTE", ""));
    }
    ControlFlow::Continue(())
}
