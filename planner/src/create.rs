//! `CREATE STREAM | TABLE | SINK | VIEW`.

use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use datafusion_common::Column;
use datafusion_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};
use sqlparser::ast::{
    self, ColumnOption, CreateTable, CreateTableOptions, ObjectName, PrimaryKeyConstraint, SqlOption,
    TableConstraint,
};

use crate::error::{Location, SqlError, SqlErrorKind, Warning, WarningKind, nearest};
use crate::locate::find_word;
use crate::parse::is_word;
use crate::planner::{Planning, normalize};
use crate::statement::{CreateRelation, RelationKind, Statement, WithOption};
use crate::watermark::Watermark;

/// Plans `CREATE STREAM | TABLE | SINK`.
pub(crate) fn plan_create(
    planning: &mut Planning<'_>,
    kind: RelationKind,
    table: &CreateTable,
    watermark: Option<&Watermark>,
) -> Result<Statement, SqlError> {
    refuse_extras(planning, table)?;
    let name = planning.simple_name(&table.name)?;
    let options = with_options(planning, &table.table_options)?;
    let mut schema = declared_columns(planning, table)?;
    let primary_key = primary_key(planning, table, schema.as_ref())?;
    let query = match &table.query {
        None => None,
        Some(_) if kind == RelationKind::Stream => {
            return Err(planning.placed(
                SqlError::unsupported("CREATE STREAM … AS SELECT is not supported")
                    .at(None, "AS")
                    .hint("use CREATE VIEW for a named query, CREATE TABLE … AS SELECT to keep its rows"),
            ));
        }
        Some(query) => {
            let plan = planning.logical(ast::Statement::Query(query.clone()))?;
            let plan = as_declared(planning, plan, schema.as_ref())?;
            planning.check_distinct_columns(&plan, &format!("{} {name}", kind.word()))?;
            let plan = planning.optimize(plan)?;
            schema = Some(Arc::clone(plan.schema().inner()));
            Some(plan)
        }
    };
    let primary_key = check_key(planning, primary_key, schema.as_ref())?;
    if options.is_empty() && query.is_none() && schema.is_none() {
        return Err(planning.placed(
            SqlError::planning(format!(
                "{} {name} has neither columns nor a connector",
                kind.word()
            ))
            .at(None, name)
            .hint("declare columns, as in (id BIGINT, …), or say WITH (connector = 'file', path = '…')"),
        ));
    }
    Ok(Statement::Create(Box::new(CreateRelation {
        kind,
        name,
        schema,
        primary_key,
        options,
        if_not_exists: table.if_not_exists,
        or_replace: table.or_replace,
        query,
        watermark: watermark.cloned(),
    })))
}

/// Plans `CREATE VIEW name [(columns)] AS query`.
pub(crate) fn plan_view(planning: &mut Planning<'_>, view: &ast::CreateView) -> Result<Statement, SqlError> {
    if view.materialized {
        return Err(planning.placed(
            SqlError::unsupported("materialized views are not supported")
                .at(None, "MATERIALIZED")
                .hint("use CREATE TABLE … AS SELECT"),
        ));
    }
    if let Some((alias, hint)) = planning.parsed().hints.iter().next() {
        let what = format!("ON_MISS({alias}) in a view would be forgotten where the view is used");
        return Err(SqlError::unsupported(what)
            .at(hint.location, "/*+")
            .hint("give the table the option on_miss, or the query that uses the view the hint"));
    }
    let name = planning.simple_name(&view.name)?;
    let mut plan = planning.logical(ast::Statement::Query(view.query.clone()))?;
    if !view.columns.is_empty() {
        let names: Vec<_> = view
            .columns
            .iter()
            .map(|column| normalize(&column.name))
            .collect();
        plan = rename(planning, plan, &names)?;
    }
    planning.check_distinct_columns(&plan, &format!("view {name}"))?;
    // Planned once more at every use; here only to find what is wrong with it now.
    planning.optimize(plan.clone())?;
    Ok(Statement::CreateView {
        name,
        plan,
        text: query_text(planning).unwrap_or_else(|| view.query.to_string()),
        or_replace: view.or_replace,
    })
}

/// Returns the query of a view as it was written, from after its `AS` on.
fn query_text(planning: &Planning<'_>) -> Option<String> {
    let parsed = planning.parsed();
    let at = parsed
        .tokens
        .iter()
        .position(|token| is_word(&token.token, "AS"))?;
    let text = parsed.text_from(at + 1);
    (!text.is_empty()).then(|| text.to_string())
}

/// Fails on parts of CREATE TABLE that mean nothing here.
fn refuse_extras(planning: &Planning<'_>, table: &CreateTable) -> Result<(), SqlError> {
    let extra = [
        (table.temporary, "TEMPORARY"),
        (table.external, "EXTERNAL"),
        (table.transient, "TRANSIENT"),
        (table.like.is_some(), "LIKE"),
        (table.clone.is_some(), "CLONE"),
        (table.location.is_some(), "LOCATION"),
        (table.partition_by.is_some(), "PARTITION"),
        (table.cluster_by.is_some(), "CLUSTER"),
        (table.order_by.is_some(), "ORDER"),
    ];
    match extra.into_iter().find(|(there, _)| *there) {
        None => Ok(()),
        Some((_, word)) => Err(planning
            .placed(SqlError::unsupported(format!("{word} is not supported in CREATE")).at(None, word))),
    }
}

fn declared_columns(planning: &mut Planning<'_>, table: &CreateTable) -> Result<Option<SchemaRef>, SqlError> {
    if table.columns.is_empty() {
        return Ok(None);
    }
    for column in &table.columns {
        for option in &column.options {
            match &option.option {
                ColumnOption::Null
                | ColumnOption::NotNull
                | ColumnOption::PrimaryKey(_)
                | ColumnOption::Comment(_) => {}
                ColumnOption::Unique(_) | ColumnOption::ForeignKey(_) | ColumnOption::Check(_) => {
                    planning.warnings.push(unenforced(&option.option.to_string()));
                }
                other => {
                    let what = format!("column '{}': {other} is not supported", column.name.value);
                    return Err(planning.placed(SqlError::unsupported(what).at(None, &column.name.value)));
                }
            }
        }
    }
    let schema = planning
        .sql_to_rel()
        .build_schema(table.columns.clone())
        .map_err(|error| planning.place(error))?;
    let mut seen = std::collections::HashSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name().clone()) {
            return Err(planning.placed(
                SqlError::new(
                    SqlErrorKind::Ambiguous,
                    format!("column '{}' is declared twice", field.name()),
                )
                .at(None, field.name()),
            ));
        }
    }
    Ok(Some(Arc::new(Schema::new(schema.fields().clone()))))
}

fn unenforced(constraint: &str) -> Warning {
    Warning::new(
        WarningKind::JoinMeaning,
        format!("the constraint {constraint} is noted but not enforced"),
    )
}

/// Collects the primary key from the columns' own options and the constraint.
fn primary_key(
    planning: &mut Planning<'_>,
    table: &CreateTable,
    schema: Option<&SchemaRef>,
) -> Result<Vec<String>, SqlError> {
    let mut key: Vec<String> = table
        .columns
        .iter()
        .filter(|column| {
            column
                .options
                .iter()
                .any(|option| matches!(option.option, ColumnOption::PrimaryKey(_)))
        })
        .map(|column| normalize(&column.name))
        .collect();
    for constraint in &table.constraints {
        match constraint {
            TableConstraint::PrimaryKey(PrimaryKeyConstraint { columns, .. }) => {
                if !key.is_empty() {
                    return Err(
                        planning.placed(SqlError::planning("there are two primary keys").at(None, "PRIMARY"))
                    );
                }
                for column in columns {
                    let ast::Expr::Identifier(ident) = &column.column.expr else {
                        let what = format!("PRIMARY KEY takes column names, found {}", column.column.expr);
                        return Err(planning.placed(SqlError::planning(what).at(None, "PRIMARY")));
                    };
                    key.push(normalize(ident));
                }
            }
            other => planning.warnings.push(unenforced(&other.to_string())),
        }
    }
    check_key(planning, key, schema)
}

/// Fails where a key column is not a column.
fn check_key(
    planning: &Planning<'_>,
    key: Vec<String>,
    schema: Option<&SchemaRef>,
) -> Result<Vec<String>, SqlError> {
    let Some(schema) = schema else { return Ok(key) };
    for name in &key {
        if schema.field_with_name(name).is_err() {
            let error = SqlError::new(
                SqlErrorKind::UnknownName,
                format!("PRIMARY KEY: there is no column '{name}'"),
            )
            .at(None, name);
            let near = nearest(name, schema.fields().iter().map(|field| field.name().as_str()));
            return Err(planning.placed(match near {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None => error,
            }));
        }
    }
    Ok(key)
}

/// Gives a query the declared names and types, by position.
fn as_declared(
    planning: &Planning<'_>,
    plan: LogicalPlan,
    declared: Option<&SchemaRef>,
) -> Result<LogicalPlan, SqlError> {
    let Some(declared) = declared else {
        return Ok(plan);
    };
    check_width(planning, &plan, declared.fields().len())?;
    let schema = Arc::clone(plan.schema());
    let columns = schema.iter().zip(declared.fields()).map(|(from, to)| {
        Ok(Expr::Column(Column::from(from))
            .cast_to(to.data_type(), &schema)?
            .alias(to.name()))
    });
    let columns = columns.collect::<datafusion_common::Result<Vec<_>>>();
    columns
        .and_then(|columns| LogicalPlanBuilder::from(plan).project(columns)?.build())
        .map_err(|error| planning.place(error))
}

fn rename(planning: &Planning<'_>, plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan, SqlError> {
    check_width(planning, &plan, names.len())?;
    let schema = Arc::clone(plan.schema());
    let columns = schema
        .iter()
        .zip(names)
        .map(|(from, name)| Expr::Column(Column::from(from)).alias(name));
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| planning.place(error))
}

fn check_width(planning: &Planning<'_>, plan: &LogicalPlan, declared: usize) -> Result<(), SqlError> {
    let found = plan.schema().fields().len();
    if found == declared {
        return Ok(());
    }
    let what = format!("{declared} columns are declared, but the query gives {found}");
    Err(planning.placed(SqlError::planning(what).at(None, "AS")))
}

/// Reads `WITH (name = value, …)`.
fn with_options(planning: &Planning<'_>, options: &CreateTableOptions) -> Result<Vec<WithOption>, SqlError> {
    let list = match options {
        CreateTableOptions::None => return Ok(Vec::new()),
        CreateTableOptions::With(list) => list,
        CreateTableOptions::Options(_)
        | CreateTableOptions::Plain(_)
        | CreateTableOptions::TableProperties(_) => {
            return Err(planning.placed(
                SqlError::new(SqlErrorKind::Syntax, "options stand in WITH (…)")
                    .at(None, "OPTIONS")
                    .hint("as in WITH (connector = 'file', path = 'trades.csv')"),
            ));
        }
    };
    let mut read: Vec<WithOption> = Vec::with_capacity(list.len());
    for option in list {
        let SqlOption::KeyValue { key, value } = option else {
            let what = format!("expected name = value in WITH (…), found {option}");
            return Err(planning.placed(SqlError::new(SqlErrorKind::Syntax, what).at(None, "WITH")));
        };
        let location = Location::from_parser(key.span.start)
            .or_else(|| find_word(&planning.parsed().tokens, &key.value));
        let Some(value) = option_text(value) else {
            let what = format!(
                "option '{}': expected a text, number or word, found {value}",
                key.value
            );
            return Err(SqlError::new(SqlErrorKind::Syntax, what).at(location, &key.value));
        };
        if read
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&key.value))
        {
            let what = format!("option '{}' is given twice", key.value);
            return Err(SqlError::planning(what).at(location, &key.value));
        }
        read.push(WithOption {
            name: key.value.clone(),
            value,
            location,
        });
    }
    Ok(read)
}

fn option_text(value: &ast::Expr) -> Option<String> {
    Some(match value {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::SingleQuotedString(text) | ast::Value::DoubleQuotedString(text) => text.clone(),
            ast::Value::Number(text, _) => text.clone(),
            ast::Value::Boolean(value) => value.to_string(),
            _ => return None,
        },
        ast::Expr::Identifier(ident) => ident.value.clone(),
        ast::Expr::CompoundIdentifier(parts) => ObjectName::from(parts.clone()).to_string(),
        ast::Expr::UnaryOp {
            op: ast::UnaryOperator::Minus,
            expr,
        } => format!("-{}", option_text(expr)?),
        _ => return None,
    })
}
