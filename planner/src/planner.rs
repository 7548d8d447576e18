//! The planner: a parsed statement and a catalog in, a checked and optimised statement out.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion_common::alias::AliasGenerator;
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DataFusionError, Result as PlanResult, plan_datafusion_err};
use datafusion_expr::dml::InsertOp;
use datafusion_expr::planner::ExprPlanner;
use datafusion_expr::registry::FunctionRegistry;
use datafusion_expr::{
    AggregateUDF, DmlStatement, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF, WriteOp,
};
use datafusion_optimizer::{
    Analyzer, AnalyzerRule, Optimizer, OptimizerConfig, OptimizerContext, OptimizerRule,
};
use datafusion_sql::planner::{ParserOptions, SqlToRel};
use sqlparser::ast::{self, ObjectName};
use sqlparser::tokenizer::Word;

use crate::as_of::{PlanAsOfJoins, mark_joins};
use crate::catalog::{Catalog, Names, Relation};
use crate::checked::CheckArithmetic;
use crate::error::{SqlError, SqlErrorKind};
use crate::functions::Functions;
use crate::lookup::{Misses, PlanLookupJoins, PushFilterBelowLookup};
use crate::parse::{Ast, ParsedStatement};
use crate::place::place;
use crate::rewrite::{plain_name, rewrite};
use crate::statement::{Planned, RelationKind, Statement};
use crate::{change, create, provenance, warnings};

/// Plans statements. Holds the functions and nothing else: it can be shared by threads.
///
/// ```
/// use fletching_planner::{Catalog, Planner, Relation, SqlError, Statement, parse};
///
/// struct Empty;
/// impl Catalog for Empty {
///     fn relation(&self, _name: &str) -> Result<Option<Relation>, SqlError> {
///         Ok(None)
///     }
///     fn relation_names(&self) -> Vec<String> {
///         Vec::new()
///     }
/// }
///
/// let statement = parse("SELECT 1 + 1 AS two")?.remove(0);
/// let planned = Planner::new().plan(&statement, &Empty, &Default::default())?;
/// assert!(matches!(planned.statement, Statement::Query(_)));
/// # Ok::<(), fletching_planner::SqlError>(())
/// ```
#[derive(Debug)]
pub struct Planner {
    functions: Arc<Functions>,
}

impl Default for Planner {
    fn default() -> Self {
        Self::new()
    }
}

impl Planner {
    /// Makes a planner with the default functions.
    pub fn new() -> Self {
        Self {
            functions: Arc::new(Functions::new()),
        }
    }

    /// Returns the functions SQL may call.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }

    /// Plans one statement.
    ///
    /// # Errors
    /// Fails where a name is not known, types do not fit or a clause is not supported; the error
    /// has the place in the script wherever it can be told.
    pub fn plan(
        &self,
        parsed: &ParsedStatement,
        catalog: &dyn Catalog,
        config: &ConfigOptions,
    ) -> Result<Planned, SqlError> {
        let mut names = Names::new(catalog, &self.functions, config);
        names.is_traced = provenance::is_mentioned(&parsed.tokens);
        let mut planning = Planning {
            names,
            functions: &self.functions,
            parsed,
            warnings: Vec::new(),
        };
        let statement = planning.statement(&parsed.ast)?;
        Ok(Planned {
            statement,
            warnings: planning.warnings,
        })
    }
}

/// One statement on its way.
pub(crate) struct Planning<'a> {
    names: Names<'a>,
    functions: &'a Arc<Functions>,
    parsed: &'a ParsedStatement,
    pub(crate) warnings: Vec<crate::error::Warning>,
}

impl<'a> Planning<'a> {
    fn statement(&mut self, ast: &Ast) -> Result<Statement, SqlError> {
        match ast {
            Ast::Create {
                kind,
                table,
                watermark,
            } => create::plan_create(self, *kind, table, watermark.as_ref()),
            Ast::Drop {
                kind,
                names,
                if_exists,
            } => {
                let names = names
                    .iter()
                    .map(|name| self.simple_name(name))
                    .collect::<Result<_, _>>()?;
                Ok(Statement::Drop {
                    kind: kind.unwrap_or(RelationKind::View),
                    names,
                    if_exists: *if_exists,
                })
            }
            Ast::Show(kind) => Ok(Statement::Show(*kind)),
            Ast::ShowSetting(name) => Ok(Statement::ShowSetting(name.clone())),
            Ast::Set { name, value } => Ok(Statement::Set {
                name: name.clone(),
                value: value.clone(),
            }),
            Ast::Describe(name) => {
                let name = self.simple_name(name)?;
                self.names
                    .relation(&name)
                    .map_err(|error| self.place(DataFusionError::External(Box::new(error))))?;
                Ok(Statement::Describe(name))
            }
            Ast::ShowMemory(name) => {
                let name = self.simple_name(name)?;
                let kind = self.relation(&name)?.kind;
                if kind != RelationKind::Table {
                    let what = format!("'{name}' is a {}: SHOW MEMORY takes a table", kind.word());
                    return Err(self.placed(SqlError::unsupported(what).at(None, name)));
                }
                Ok(Statement::ShowMemory(name))
            }
            Ast::Explain {
                analyze,
                verbose,
                statement,
            } => self.explain(*analyze, *verbose, statement),
            Ast::CheckJoin(statement) => Ok(Statement::CheckJoin(self.query_of(statement)?)),
            Ast::Sql(statement) => self.sql(statement),
        }
    }

    /// Plans the query in a statement, before it is optimised.
    fn query_in(&mut self, ast: &Ast, verb: &str) -> Result<LogicalPlan, SqlError> {
        match ast {
            Ast::Sql(statement) => match statement.as_ref() {
                ast::Statement::Query(_) => self.logical(statement.as_ref().clone()),
                ast::Statement::Insert(insert) => Ok(self.insert(insert)?.1),
                ast::Statement::Delete(_) | ast::Statement::Update(_) => match self.sql(statement)? {
                    Statement::Change(change) => Ok(change.rows),
                    _ => Err(self.needs_a_query(verb)),
                },
                _ => Err(self.needs_a_query(verb)),
            },
            Ast::Create { table, .. } => match &table.query {
                Some(query) => self.logical(ast::Statement::Query(query.clone())),
                None => Err(self.needs_a_query(verb)),
            },
            _ => Err(self.needs_a_query(verb)),
        }
    }

    fn query_of(&mut self, ast: &Ast) -> Result<LogicalPlan, SqlError> {
        let plan = self.query_in(ast, "CHECK JOIN")?;
        self.optimize(plan)
    }

    fn explain(&mut self, analyze: bool, verbose: bool, ast: &Ast) -> Result<Statement, SqlError> {
        let plan = self.query_in(ast, "EXPLAIN")?;
        let optimized = self.optimize(plan.clone())?;
        Ok(Statement::Explain {
            analyze,
            verbose,
            plan,
            optimized,
        })
    }

    fn needs_a_query(&self, verb: &str) -> SqlError {
        let word = verb.split(' ').next().unwrap_or(verb);
        self.placed(SqlError::unsupported(format!("{verb} takes a query")).at(None, word))
    }

    fn sql(&mut self, statement: &ast::Statement) -> Result<Statement, SqlError> {
        match statement {
            ast::Statement::Query(_) => {
                let plan = self.logical(statement.clone())?;
                Ok(Statement::Query(self.optimize(plan)?))
            }
            ast::Statement::Insert(insert) => {
                let (target, plan) = self.insert(insert)?;
                Ok(Statement::Insert {
                    target,
                    plan: self.optimize(plan)?,
                })
            }
            ast::Statement::CreateView(view) => create::plan_view(self, view),
            ast::Statement::Delete(delete) => change::plan_delete(self, delete),
            ast::Statement::Update(update) => change::plan_update(self, update),
            other => {
                let text = other.to_string();
                let word = text.split_whitespace().next().unwrap_or("this").to_string();
                let error =
                    SqlError::unsupported(format!("{word} statements are not supported")).at(None, word);
                Err(self.placed(error.hint(
                    "supported are SELECT, CREATE STREAM | TABLE | SINK | VIEW, INSERT, UPDATE, DELETE, DROP, SHOW, DESCRIBE, EXPLAIN and SET",
                )))
            }
        }
    }

    /// Plans `INSERT`: the target and a plan that gives the target's columns in order.
    fn insert(&mut self, insert: &ast::Insert) -> Result<(String, LogicalPlan), SqlError> {
        let ast::TableObject::TableName(name) = &insert.table else {
            return Err(self.placed(SqlError::unsupported("INSERT needs the name of a table or sink")));
        };
        if insert.on.is_some() || insert.returning.is_some() || insert.overwrite || insert.replace_into {
            let what = "INSERT with ON CONFLICT, RETURNING, OVERWRITE or REPLACE is not supported";
            return Err(self.placed(SqlError::unsupported(what).at(None, "INSERT")));
        }
        let name = self.simple_name(name)?;
        let target = self
            .names
            .relation(&name)
            .map_err(|error| self.place(DataFusionError::External(Box::new(error))))?;
        match target.kind {
            RelationKind::Table => self.names.set_target(&name),
            RelationKind::Sink => {
                if target.source.schema().fields().is_empty() {
                    let Some(query) = insert.source.clone().filter(|_| insert.columns.is_empty()) else {
                        let what = format!(
                            "INSERT INTO {name} needs a query and no column list: the sink declares no columns"
                        );
                        return Err(self.placed(SqlError::planning(what).at(None, name)));
                    };
                    return Ok((name, self.logical(ast::Statement::Query(query))?));
                }
                self.names.set_target(&name);
            }
            other => {
                let what = format!("'{name}' is a {}: INSERT takes a table or a sink", other.word());
                return Err(self.placed(SqlError::unsupported(what).at(None, name)));
            }
        }
        let plan = self.logical(ast::Statement::Insert(insert.clone()))?;
        match plan {
            LogicalPlan::Dml(DmlStatement {
                op: WriteOp::Insert(InsertOp::Append),
                input,
                ..
            }) => Ok((name, Arc::unwrap_or_clone(input))),
            _ => {
                Err(self
                    .placed(SqlError::unsupported("only plain INSERT INTO is supported").at(None, "INSERT")))
            }
        }
    }

    /// Plans SQL before optimisation.
    pub(crate) fn logical(&self, mut statement: ast::Statement) -> Result<LogicalPlan, SqlError> {
        mark_joins(&mut statement).map_err(|error| self.placed(error))?;
        rewrite(&mut statement);
        let plan = self.sql_to_rel().sql_statement_to_plan(statement);
        let plan = match plan {
            Ok(plan) if self.names.is_traced => provenance::hide(plan),
            plan => plan,
        };
        plan.map_err(|error| self.place(error))
    }

    pub(crate) fn sql_to_rel(&self) -> SqlToRel<'_, Names<'a>> {
        let options = ParserOptions::new()
            .with_parse_float_as_decimal(true)
            .with_map_string_types_to_utf8view(true)
            .with_support_varchar_with_length(true)
            .with_collect_spans(true);
        SqlToRel::new_with_options(&self.names, options)
    }

    /// Checks types, then optimises; joins with tables become lookup joins on the way.
    pub(crate) fn optimize(&mut self, plan: LogicalPlan) -> Result<LogicalPlan, SqlError> {
        let context = PlanningContext::new(self.names.config, Arc::clone(self.functions));
        let typed = self.settle_types(plan).map_err(|error| self.place(error))?;
        let relations = self.names.used_by(&typed).map_err(|error| self.place(error))?;
        // Where no policy says otherwise, what WHERE undoes shows best before as-of joins are planned.
        let meaning = warnings::outer_joins_undone(&typed, &context).map_err(|error| self.place(error))?;
        let analyzed = self
            .analyze(typed, &relations)
            .map_err(|error| self.place(error))?;
        let misses = Misses {
            tables: relations
                .iter()
                .map(|(name, relation)| (name.clone(), (relation.on_miss, relation.miss_then)))
                .collect(),
            hints: &self.parsed.hints,
            is_traced: self.names.is_traced,
        };
        let tables: BTreeMap<_, _> = relations
            .iter()
            .filter(|(_, relation)| relation.kind == RelationKind::Table)
            .map(|(name, relation)| (name.clone(), relation.primary_key.clone()))
            .collect();
        let lookups = Arc::new(PlanLookupJoins::new(tables));
        let (analyzed, meaning) = if misses.is_empty() {
            (analyzed, meaning)
        } else {
            let settled = misses
                .apply(analyzed, &lookups, &context)
                .map_err(|error| self.place(error))?;
            let meaning = warnings::outer_joins_undone(&settled, &context);
            (settled, meaning.map_err(|error| self.place(error))?)
        };
        let optimized = optimizer(lookups)
            .optimize(analyzed, &context, |_, _| {})
            .map_err(|error| self.place(error))?;
        self.warnings.extend(meaning);
        self.warnings
            .extend(warnings::of_joins(&optimized, &relations).map_err(|error| self.place(error))?);
        let mut seen = HashSet::new();
        self.warnings.retain(|warning| seen.insert(warning.clone()));
        Ok(optimized)
    }

    fn settle_types(&self, plan: LogicalPlan) -> PlanResult<LogicalPlan> {
        Analyzer::new().execute_and_check(plan, self.names.config, |_, _| {})
    }

    /// Does what needs settled types and must come before any rule of the optimizer.
    fn analyze(&self, plan: LogicalPlan, relations: &BTreeMap<String, Relation>) -> PlanResult<LogicalPlan> {
        let rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
            Arc::new(PlanAsOfJoins::new(relations.clone())),
            Arc::new(CheckArithmetic),
        ];
        Analyzer::with_rules(rules).execute_and_check(plan, self.names.config, |_, _| {})
    }

    /// Looks a relation up.
    pub(crate) fn relation(&self, name: &str) -> Result<crate::catalog::Relation, SqlError> {
        self.names
            .relation(name)
            .map_err(|error| self.place(DataFusionError::External(Box::new(error))))
    }

    /// Normalises the name of a relation; there is one namespace, without schemas.
    pub(crate) fn simple_name(&self, name: &ObjectName) -> Result<String, SqlError> {
        let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).collect();
        match parts.as_slice() {
            [ident] => Ok(normalize(ident)),
            _ => Err(self.placed(
                SqlError::unsupported(format!("'{name}' is not a plain name"))
                    .at(
                        None,
                        parts
                            .first()
                            .map_or_else(String::new, |ident| ident.value.clone()),
                    )
                    .hint("there is one namespace: use a name without dots"),
            )),
        }
    }

    /// Turns DataFusion's error into one with a place and a hint.
    pub(crate) fn place(&self, error: DataFusionError) -> SqlError {
        place(error, &self.parsed.tokens)
    }

    /// Fills in the place of an error that names its offending text.
    pub(crate) fn placed(&self, error: SqlError) -> SqlError {
        place(DataFusionError::External(Box::new(error)), &self.parsed.tokens)
    }

    pub(crate) fn parsed(&self) -> &ParsedStatement {
        self.parsed
    }

    /// Fails where two output columns have one name, which a file or table cannot hold.
    pub(crate) fn check_distinct_columns(&self, plan: &LogicalPlan, target: &str) -> Result<(), SqlError> {
        let mut seen = HashSet::new();
        for field in plan.schema().fields() {
            let name = plain_name(field.name());
            if !seen.insert(name) {
                return Err(self.placed(
                    SqlError::new(
                        SqlErrorKind::Ambiguous,
                        format!("{target} would have two columns named '{name}'"),
                    )
                    .at(None, name)
                    .hint(format!("name one of them otherwise, as in {name} AS {name}_2")),
                ));
            }
        }
        Ok(())
    }
}

/// Lower-cases a word of the tokenizer unless it is quoted.
pub(crate) fn normalize_word(word: &Word) -> String {
    if word.quote_style.is_some() {
        word.value.clone()
    } else {
        word.value.to_lowercase()
    }
}

/// Lower-cases an identifier unless it is quoted.
pub(crate) fn normalize(ident: &ast::Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_lowercase()
    }
}

/// DataFusion's rules with ours in their places.
fn optimizer(lookups: Arc<PlanLookupJoins>) -> Optimizer {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Optimizer::new().rules;
    let at = rules
        .iter()
        .position(|rule| rule.name() == "push_down_limit")
        .unwrap_or(rules.len());
    rules.insert(at, Arc::new(PushFilterBelowLookup));
    rules.insert(at, lookups);
    Optimizer::with_rules(rules)
}

/// What DataFusion's optimizer asks of its surroundings.
pub(crate) struct PlanningContext {
    inner: OptimizerContext,
    functions: Arc<Functions>,
}

impl PlanningContext {
    fn new(config: &ConfigOptions, functions: Arc<Functions>) -> Self {
        Self {
            inner: OptimizerContext::new_with_config_options(Arc::new(config.clone())),
            functions,
        }
    }
}

impl OptimizerConfig for PlanningContext {
    fn query_execution_start_time(&self) -> Option<chrono::DateTime<chrono::Utc>> {
        self.inner.query_execution_start_time()
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        self.inner.alias_generator()
    }

    fn options(&self) -> Arc<ConfigOptions> {
        self.inner.options()
    }

    fn function_registry(&self) -> Option<&dyn FunctionRegistry> {
        Some(self.functions.as_ref())
    }
}

impl FunctionRegistry for Functions {
    fn udfs(&self) -> HashSet<String> {
        self.scalar_names().into_iter().collect()
    }

    fn higher_order_function_names(&self) -> HashSet<String> {
        self.higher_order_names().into_iter().collect()
    }

    fn udafs(&self) -> HashSet<String> {
        self.aggregate_names().into_iter().collect()
    }

    fn udwfs(&self) -> HashSet<String> {
        self.window_names().into_iter().collect()
    }

    fn udf(&self, name: &str) -> PlanResult<Arc<ScalarUDF>> {
        self.scalar(name)
            .ok_or_else(|| plan_datafusion_err!("there is no function '{name}'"))
    }

    fn higher_order_function(&self, name: &str) -> PlanResult<Arc<HigherOrderUDF>> {
        self.higher_order(name)
            .ok_or_else(|| plan_datafusion_err!("there is no function '{name}'"))
    }

    fn udaf(&self, name: &str) -> PlanResult<Arc<AggregateUDF>> {
        self.aggregate(name)
            .ok_or_else(|| plan_datafusion_err!("there is no aggregate function '{name}'"))
    }

    fn udwf(&self, name: &str) -> PlanResult<Arc<WindowUDF>> {
        self.window(name)
            .ok_or_else(|| plan_datafusion_err!("there is no window function '{name}'"))
    }

    fn expr_planners(&self) -> Vec<Arc<dyn ExprPlanner>> {
        self.planners().to_vec()
    }
}
