//! Small rewrites of parsed SQL before names are looked up.
//!
//! - A selected expression without an alias is named by its own text, as written.
//! - A name that a SELECT list has already is kept apart by a mark, which [`plain_name`] takes off
//!   again: `SELECT id, id` is two columns of one name.
//! - A number with an exponent is a DOUBLE; any other number with a point is an exact decimal.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    CaseWhen, CastKind, DataType, ExactNumberInfo, Expr, Ident, Query, Select, SelectItem, SetExpr, Value,
    VisitMut, VisitorMut,
};

use crate::provenance::names_provenance;

/// Stands between a name and the number that keeps it apart.
const MARK: char = '\u{1}';

/// Returns a column's name without the mark that kept it apart.
pub fn plain_name(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// Rewrites a statement in place.
pub(crate) fn rewrite<T: VisitMut>(statement: &mut T) {
    // Neither visitor ever breaks off.
    let _: ControlFlow<()> = statement.visit(&mut NameColumns);
    let _: ControlFlow<()> = statement.visit(&mut Exponents);
}

struct NameColumns;

impl VisitorMut for NameColumns {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        name_set(&mut query.body);
        ControlFlow::Continue(())
    }
}

fn name_set(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => name_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            name_set(left);
            name_set(right);
        }
        _ => {}
    }
}

fn name_select(select: &mut Select) {
    let has_wildcard = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)));
    let mut taken: HashSet<String> = HashSet::new();
    for (at, item) in select.projection.iter_mut().enumerate() {
        match item {
            SelectItem::ExprWithAlias { alias, .. } => {
                let name = fold(alias);
                if !taken.insert(name.clone()) {
                    alias.value = format!("{name}{MARK}{at}");
                    alias.quote_style = Some('"');
                }
            }
            SelectItem::UnnamedExpr(expr) => {
                if names_provenance(expr) {
                    name_provenance(item, at, &mut taken, has_wildcard);
                    continue;
                }
                let is_column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let name = match &*expr {
                    Expr::Identifier(ident) => fold(ident),
                    other => other.to_string(),
                };
                let is_new = taken.insert(name.clone());
                // ORDER BY under DISTINCT finds its expressions by the names they have without us.
                if (is_column && !has_wildcard || select.distinct.is_some()) && is_new {
                    continue;
                }
                let shown = match &*expr {
                    Expr::CompoundIdentifier(parts) => parts.last().map(fold).unwrap_or(name),
                    _ => name,
                };
                let value = if is_new && !has_wildcard {
                    shown
                } else {
                    format!("{shown}{MARK}{at}")
                };
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias {
                    expr,
                    alias: Ident::with_quote('"', value),
                };
            }
            _ => {}
        }
    }
}

/// Gives a provenance column an alias, by which it is known from one that a wildcard brings. An
/// alias that is the column's own name would be dropped: so the column is wrapped.
fn name_provenance(item: &mut SelectItem, at: usize, taken: &mut HashSet<String>, has_wildcard: bool) {
    let SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) = item else {
        return;
    };
    let shown = parts.last().map(fold).unwrap_or_default();
    // Beside a wildcard the plain name is taken until that is rid of it.
    let value = if taken.insert(shown.clone()) && !has_wildcard {
        shown
    } else {
        format!("{shown}{MARK}{at}")
    };
    *item = SelectItem::ExprWithAlias {
        expr: Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen {
                condition: Expr::Value(Value::Boolean(true).with_empty_span()),
                result: Expr::CompoundIdentifier(parts.clone()),
            }],
            else_result: None,
        },
        alias: Ident::with_quote('"', value),
    };
}

fn fold(ident: &Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

struct Exponents;

impl VisitorMut for Exponents {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Value(value) = expr
            && let Value::Number(text, _) = &value.value
            && text.contains(['e', 'E'])
        {
            let number = Expr::Value(Value::SingleQuotedString(text.clone()).with_span(value.span));
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(number),
                data_type: DataType::Double(ExactNumberInfo::None),
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_off_again() {
        assert_eq!(plain_name("id\u{1}3"), "id");
        assert_eq!(plain_name("count(*)"), "count(*)");
    }
}
