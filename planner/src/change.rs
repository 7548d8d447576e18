//! `DELETE` and `UPDATE`, as the queries that say which rows they mean.
//!
//! ```text
//!   DELETE FROM t WHERE p             rows: SELECT * FROM t WHERE p
//!   UPDATE t SET a = x WHERE p        rows: SELECT x AS a, b, … FROM t WHERE p
//!   either                            kept: SELECT * FROM t WHERE (p) IS NOT TRUE
//! ```
//!
//! So conditions and values are all of SQL, checked and optimised like any query's.

use sqlparser::ast::{
    self, Expr as SqlExpr, FromTable, Ident, Query, SelectItem, SetExpr, TableFactor, TableWithJoins,
};

use datafusion_common::{Column, DataFusionError};
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};

use crate::catalog::Relation;
use crate::error::{SqlError, SqlErrorKind, nearest};
use crate::parse::{Ast, parse};
use crate::planner::{Planning, normalize};
use crate::statement::{ChangeKind, RelationKind, Statement, TableChange};

/// Plans `DELETE FROM table [WHERE condition]`.
pub(crate) fn plan_delete(planning: &mut Planning<'_>, delete: &ast::Delete) -> Result<Statement, SqlError> {
    let extra = [
        (!delete.tables.is_empty(), "a list of tables"),
        (delete.using.is_some(), "USING"),
        (delete.returning.is_some() || delete.output.is_some(), "RETURNING"),
        (!delete.order_by.is_empty(), "ORDER BY"),
        (delete.limit.is_some(), "LIMIT"),
    ];
    refuse(planning, "DELETE", &extra)?;
    let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
    let [table] = from.as_slice() else {
        return Err(planning.placed(SqlError::unsupported("DELETE takes one table").at(None, "FROM")));
    };
    let (target, _) = target(planning, "DELETE", table)?;
    let rows = planning.logical(query(table, delete.selection.clone(), None)?)?;
    let kept = kept(planning, table, delete.selection.as_ref())?;
    Ok(Statement::Change(Box::new(TableChange {
        target,
        kind: ChangeKind::Delete,
        rows: planning.optimize(rows)?,
        kept,
        sets_key: false,
    })))
}

/// Plans `UPDATE table SET column = value, … [WHERE condition]`.
pub(crate) fn plan_update(planning: &mut Planning<'_>, update: &ast::Update) -> Result<Statement, SqlError> {
    let extra = [
        (update.from.is_some(), "FROM"),
        (update.returning.is_some() || update.output.is_some(), "RETURNING"),
        (update.or.is_some(), "OR"),
        (!update.order_by.is_empty(), "ORDER BY"),
        (update.limit.is_some(), "LIMIT"),
    ];
    refuse(planning, "UPDATE", &extra)?;
    let (target, relation) = target(planning, "UPDATE", &update.table)?;
    let mut values = assigned(planning, &target, &relation, &update.assignments)?;
    let sets_key = relation
        .primary_key
        .iter()
        .any(|key| values.iter().any(|(column, _)| column == key));
    let schema = relation.source.schema();
    let items = schema.fields().iter().map(|field| {
        let own = Ident::with_quote('"', field.name());
        match values.iter().position(|(column, _)| column == field.name()) {
            Some(at) => SelectItem::ExprWithAlias {
                expr: values.swap_remove(at).1,
                alias: own,
            },
            None => SelectItem::UnnamedExpr(SqlExpr::Identifier(own)),
        }
    });
    let items = items.collect();
    let rows = planning.logical(query(&update.table, update.selection.clone(), Some(items))?)?;
    let rows = with_types(rows, &relation).map_err(|error| planning.place(error))?;
    let kept = kept(planning, &update.table, update.selection.as_ref())?;
    Ok(Statement::Change(Box::new(TableChange {
        target,
        kind: ChangeKind::Update,
        rows: planning.optimize(rows)?,
        kept,
        sets_key,
    })))
}

fn refuse(planning: &Planning<'_>, word: &str, extra: &[(bool, &str)]) -> Result<(), SqlError> {
    match extra.iter().find(|(is_there, _)| *is_there) {
        None => Ok(()),
        Some((_, clause)) => {
            let error = SqlError::unsupported(format!("{word} with {clause} is not supported"));
            Err(planning.placed(error.at(None, word)))
        }
    }
}

/// Finds the one table that is changed.
fn target(
    planning: &mut Planning<'_>,
    word: &str,
    table: &TableWithJoins,
) -> Result<(String, Relation), SqlError> {
    let (TableFactor::Table { name, .. }, []) = (&table.relation, table.joins.as_slice()) else {
        let what = format!("{word} takes the name of one table");
        return Err(planning.placed(SqlError::unsupported(what).at(None, word)));
    };
    let name = planning.simple_name(name)?;
    let relation = planning.relation(&name)?;
    if relation.kind != RelationKind::Table {
        let what = format!("'{name}' is a {}: {word} takes a table", relation.kind.word());
        return Err(planning.placed(SqlError::unsupported(what).at(None, name)));
    }
    Ok((name, relation))
}

/// Returns the columns that `SET` names, with their values.
fn assigned(
    planning: &Planning<'_>,
    table: &str,
    relation: &Relation,
    assignments: &[ast::Assignment],
) -> Result<Vec<(String, SqlExpr)>, SqlError> {
    let mut values: Vec<(String, SqlExpr)> = Vec::new();
    let schema = relation.source.schema();
    for assignment in assignments {
        let named = match &assignment.target {
            ast::AssignmentTarget::ColumnName(name) => name.0.last().and_then(|part| part.as_ident()),
            ast::AssignmentTarget::Tuple(_) => None,
        };
        let Some(ident) = named else {
            let what = "SET takes one column at a time, as in SET a = 1, b = 2";
            return Err(planning.placed(SqlError::unsupported(what).at(None, "SET")));
        };
        let column = normalize(ident);
        if schema.index_of(&column).is_err() {
            let names = schema.fields().iter().map(|field| field.name().as_str());
            let near = nearest(&column, names);
            let error = SqlError::new(
                SqlErrorKind::UnknownName,
                format!("table {table} has no column '{column}'"),
            );
            let error = error.at(None, &ident.value);
            return Err(planning.placed(match near {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error,
            }));
        }
        if values.iter().any(|(there, _)| *there == column) {
            let what = format!("column '{column}' is set twice");
            return Err(planning.placed(SqlError::planning(what).at(None, &ident.value)));
        }
        values.push((column, assignment.value.clone()));
    }
    Ok(values)
}

/// Makes `SELECT items FROM table WHERE condition`; all columns where no items are given.
fn query(
    table: &TableWithJoins,
    condition: Option<SqlExpr>,
    items: Option<Vec<SelectItem>>,
) -> Result<ast::Statement, SqlError> {
    let broken = || SqlError::planning("a query over the table cannot be made");
    let template = parse("SELECT * FROM t")?.into_iter().next().ok_or_else(broken)?;
    let Ast::Sql(statement) = template.ast else {
        return Err(broken());
    };
    let ast::Statement::Query(mut made) = *statement else {
        return Err(broken());
    };
    let Query { body, .. } = made.as_mut();
    let SetExpr::Select(select) = body.as_mut() else {
        return Err(broken());
    };
    select.from = vec![table.clone()];
    select.selection = condition;
    if let Some(items) = items {
        select.projection = items;
    }
    Ok(ast::Statement::Query(made))
}

/// Plans the rows that stay as they are; nothing where the condition cannot be turned around, as
/// those with some subqueries cannot.
fn kept(
    planning: &mut Planning<'_>,
    table: &TableWithJoins,
    condition: Option<&SqlExpr>,
) -> Result<Option<LogicalPlan>, SqlError> {
    let never = || {
        let no = sqlparser::ast::Value::Boolean(false);
        SqlExpr::Value(no.into())
    };
    let other = match condition {
        None => never(),
        Some(condition) => SqlExpr::IsNotTrue(Box::new(SqlExpr::Nested(Box::new(condition.clone())))),
    };
    let planned = planning.logical(query(table, Some(other), None)?)?;
    Ok(planning.optimize(planned).ok())
}

/// Casts a query's columns to the table's types.
fn with_types(rows: LogicalPlan, relation: &Relation) -> Result<LogicalPlan, DataFusionError> {
    let schema = relation.source.schema();
    let columns: Vec<Expr> = rows
        .schema()
        .iter()
        .zip(schema.fields())
        .map(|((qualifier, field), wanted)| {
            let column = Expr::Column(Column::from((qualifier, field)));
            Ok(column
                .cast_to(wanted.data_type(), rows.schema())?
                .alias(wanted.name()))
        })
        .collect::<Result<_, DataFusionError>>()?;
    LogicalPlanBuilder::from(rows).project(columns)?.build()
}
