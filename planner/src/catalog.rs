//! What the planner must know of streams, tables, sinks and views; the engine tells it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arrow_schema::{DataType, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::TreeNodeRecursion;
use datafusion_common::{DataFusionError, Result, ScalarValue, TableReference, not_impl_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};

use crate::as_of::{MARKER, marker};
use crate::error::{SqlError, SqlErrorKind, nearest};
use crate::functions::Functions;
use crate::miss::{MissPolicy, OnMiss};
use crate::statement::RelationKind;

/// A relation as the planner sees it.
#[derive(Clone)]
pub struct Relation {
    /// Stream, table, sink or view.
    pub kind: RelationKind,
    /// Its columns, and how to scan it.
    pub source: Arc<dyn TableSource>,
    /// The columns of its primary key; empty where there is none.
    pub primary_key: Vec<String>,
    /// Where its rows are versions of their keys: how they are told apart.
    pub versions: Option<Versions>,
    /// Of a table, what becomes of rows that it has no match for; none for SQL's own answer.
    pub on_miss: Option<OnMiss>,
    /// Of a table, what becomes of rows that a hint lets wait in vain; none for SQL's own answer.
    pub miss_then: Option<MissPolicy>,
    /// Of a table, the same with its [`Provenance`](crate::Provenance) columns.
    pub traced: Option<Arc<dyn TableSource>>,
}

/// How the rows of a versioned table are in time: each is valid from its version until the next
/// of its primary key.
#[derive(Debug, Clone, PartialEq)]
pub struct Versions {
    /// The column that says from when a row is valid.
    pub column: String,
    /// How far back from the newest version the history is complete: an interval, or a number where
    /// versions are numbers.
    pub retention: Option<ScalarValue>,
}

impl fmt::Debug for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relation")
            .field("kind", &self.kind)
            .field("schema", &self.source.schema())
            .field("primary_key", &self.primary_key)
            .field("versions", &self.versions)
            .finish_non_exhaustive()
    }
}

/// Where the planner looks names up.
pub trait Catalog: Send + Sync {
    /// Returns a relation by its normalised name, or `None` where there is none.
    ///
    /// # Errors
    /// Fails where the name stands for something that cannot be opened, such as a missing file.
    fn relation(&self, name: &str) -> Result<Option<Relation>, SqlError>;

    /// Returns the names of all relations, for hints.
    fn relation_names(&self) -> Vec<String>;

    /// Calls a table function such as `generate_series(1, 10)`; `None` where there is none of
    /// this name.
    fn table_function(&self, name: &str, args: &[Expr]) -> Option<Result<Arc<dyn TableSource>>> {
        let _ = (name, args);
        None
    }

    /// Makes the table that a recursive query feeds itself through.
    ///
    /// # Errors
    /// Fails where recursive queries are not supported.
    fn recursion_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        let _ = (name, schema);
        not_impl_err!("recursive queries are not supported here")
    }
}

/// A named query; every use of it is planned in place.
#[derive(Debug)]
pub struct ViewSource {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl ViewSource {
    /// Names a plan.
    pub fn new(plan: LogicalPlan) -> Self {
        Self {
            schema: Arc::clone(plan.schema().inner()),
            plan,
        }
    }
}

impl TableSource for ViewSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> datafusion_expr::TableType {
        datafusion_expr::TableType::View
    }

    fn get_logical_plan(&'_ self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// Answers DataFusion's SQL planner from a [`Catalog`], and remembers which relations it asked for.
pub(crate) struct Names<'a> {
    pub(crate) catalog: &'a dyn Catalog,
    pub(crate) functions: &'a Functions,
    pub(crate) config: &'a ConfigOptions,
    /// Whether the statement names a provenance column.
    pub(crate) is_traced: bool,
    used: Mutex<BTreeMap<String, Relation>>,
    /// The target of an INSERT: the one sink that may be looked up, or a table as it is.
    target: Mutex<Option<String>>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(catalog: &'a dyn Catalog, functions: &'a Functions, config: &'a ConfigOptions) -> Self {
        Self {
            catalog,
            functions,
            config,
            is_traced: false,
            used: Mutex::default(),
            target: Mutex::default(),
        }
    }

    /// Looks a relation up, or says which name was probably meant.
    pub(crate) fn relation(&self, name: &str) -> Result<Relation, SqlError> {
        self.catalog.relation(name)?.ok_or_else(|| {
            let error = SqlError::new(
                SqlErrorKind::UnknownName,
                format!("there is no stream, table or view '{name}'"),
            )
            .at(None, name);
            let names = self.catalog.relation_names();
            match nearest(name, names.iter().map(String::as_str)) {
                Some(near) => error.hint(format!("did you mean '{near}'?")),
                None if names.is_empty() => error.hint("create it first"),
                None => error.hint("SHOW TABLES, SHOW STREAMS and SHOW VIEWS list what there is"),
            }
        })
    }

    /// Lets one sink be looked up, as the target of an INSERT; a table is then as it is.
    pub(crate) fn set_target(&self, name: &str) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_string());
    }

    fn may_read(&self, name: &str, relation: &Relation) -> bool {
        relation.kind != RelationKind::Sink || self.is_target(name)
    }

    fn is_target(&self, name: &str) -> bool {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        target.as_deref() == Some(name)
    }

    /// Returns the relations that were looked up.
    pub(crate) fn used(&self) -> BTreeMap<String, Relation> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Names<'_> {
    /// Returns the relations that were looked up, and the tables that a plan scans beside them, by
    /// way of views.
    pub(crate) fn used_by(&self, plan: &LogicalPlan) -> Result<BTreeMap<String, Relation>> {
        let mut used = self.used();
        plan.apply_with_subqueries(|plan| {
            if let LogicalPlan::TableScan(scan) = plan {
                let name = scan.table_name.table();
                if !used.contains_key(name)
                    && let Ok(Some(relation)) = self.catalog.relation(name)
                {
                    used.insert(name.to_string(), relation);
                }
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(used)
    }
}

impl ContextProvider for Names<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let relation = self
            .relation(name.table())
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        if !self.may_read(name.table(), &relation) {
            let error = SqlError::new(
                SqlErrorKind::Unsupported,
                format!("'{name}' is a sink: it can be written to, not read"),
            )
            .at(None, name.table())
            .hint("read what the sink writes through a stream or table of its own");
            return Err(DataFusionError::External(Box::new(error)));
        }
        let traced = relation.traced.as_ref();
        let traced = traced.filter(|_| self.is_traced && !self.is_target(name.table()));
        let source = Arc::clone(traced.unwrap_or(&relation.source));
        self.used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.table().to_string(), relation);
        Ok(source)
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        self.catalog.table_function(name, &args).unwrap_or_else(|| {
            let error = SqlError::new(
                SqlErrorKind::UnknownName,
                format!("there is no table function '{name}'"),
            )
            .at(None, name);
            Err(DataFusionError::External(Box::new(error)))
        })
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        self.catalog.recursion_table(name, schema)
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.functions.planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if name == MARKER {
            return Some(marker());
        }
        self.functions.scalar(name)
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.functions.higher_order(name)
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate(name)
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.window(name)
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.config
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalar_names()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.functions.higher_order_names()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregate_names()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.window_names()
    }
}
