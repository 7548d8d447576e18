//! From an optimised plan to one that runs: DataFusion's planner, with lookup joins bound to
//! their tables.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session as PlanSession, TableProvider};
use datafusion::common::{DFSchema, internal_datafusion_err};
use datafusion::datasource::source_as_provider;
use datafusion::error::Result as PlanResult;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use fletching_kernels::JoinKind;
use fletching_planner::{LookupArm, LookupJoinNode, MissPolicy, OnMiss, arm_table};

use super::lookup_exec::LookupJoinExec;
use super::provider::TableRows;
use super::table_lookup::show_filters;
use crate::error::Error;
use crate::operator::{
    ArmMiss, ArmSource, ArmSpec, AsOfSpec, BoundExpr, LookupJoin, LookupTuning, OutputColumn,
};
use crate::table::{KeySpec, Pins, Table, TimeSpec};

/// Makes a plan that can run.
pub(crate) async fn plan_physical(
    plan: &LogicalPlan,
    state: &dyn PlanSession,
    cancelled: Arc<AtomicBool>,
) -> PlanResult<Arc<dyn ExecutionPlan>> {
    let plan = show_filters(plan)?;
    DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(LookupJoinPlanner { cancelled })])
        .create_physical_plan(&plan, state)
        .await
}

/// Returns DataFusion's physical rules without those that push filters down.
///
/// Through a projection they tell columns apart by name alone: where a swapped join puts out two
/// columns of one name, they move a filter on one to the other's side, and rows are lost or kept
/// wrongly. The logical optimizer has pushed what can be pushed, and no source of ours takes more.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    rules.retain(|rule| !rule.name().starts_with("FilterPushdown"));
    rules
}

/// Binds a [`LookupJoinNode`] to its tables.
struct LookupJoinPlanner {
    cancelled: Arc<AtomicBool>,
}

/// What turns expressions into ones that can be evaluated.
struct Binder<'a> {
    planner: &'a dyn PhysicalPlanner,
    state: &'a dyn PlanSession,
    context: &'a PhysicalPlanningContext,
}

impl Binder<'_> {
    fn physical(&self, expr: &Expr, schema: &DFSchema) -> PlanResult<Arc<dyn PhysicalExpr>> {
        self.planner
            .create_physical_expr(expr, schema, self.state, self.context)
    }

    fn bind(&self, expr: &Expr, schema: &DFSchema, layout: &[OutputColumn]) -> PlanResult<BoundExpr> {
        let physical = self.physical(expr, schema)?;
        Ok(BoundExpr::try_new(physical, schema.as_arrow(), layout)?)
    }

    /// Binds an arm; `behind` is what it looks up, and which of that's columns the arm's plan gives.
    fn arm(
        &self,
        node: &LookupJoinNode,
        at: usize,
        behind: &Behind,
        layout: &[OutputColumn],
    ) -> PlanResult<ArmSpec> {
        let arm = &node.arms[at];
        let columns = &behind.columns;
        let probe_schema = node.schema_of(at)?;
        let of_table = |expr: &Expr| {
            let physical = self.physical(expr, arm.table.schema())?;
            over_table(physical, columns, &behind.schema)
        };
        let times = arm.as_of.iter().map(|times| &times.probe);
        let probe_keys = arm
            .keys
            .iter()
            .map(|(probe, _)| probe)
            .chain(times)
            .map(|probe| self.bind(probe, &probe_schema, layout))
            .collect::<PlanResult<Vec<_>>>()?;
        match &behind.source {
            ArmSource::Table(table) => {
                let is_over_probe = probe_keys.iter().all(BoundExpr::is_over_probe);
                check_arm(arm, table, columns, is_over_probe)?;
            }
            ArmSource::Collected(_) => check_collected(arm)?,
        }
        let table_keys = arm.keys.iter().map(|(_, key)| of_table(key));
        let table_keys = table_keys.collect::<PlanResult<Vec<_>>>()?;
        let residual = match &arm.residual {
            None => None,
            Some(residual) => {
                let own = columns
                    .iter()
                    .map(|&column| OutputColumn::Table { arm: at, column });
                let layout: Vec<_> = layout.iter().copied().chain(own).collect();
                Some(self.bind(residual, &node.residual_schema(at)?, &layout)?)
            }
        };
        let as_of = match &arm.as_of {
            None => None,
            Some(times) => Some(AsOfSpec {
                time: TimeSpec::new(of_table(&times.table)?),
                condition: times.condition,
                retention: times.retention,
                text: times.to_string().to_lowercase(),
            }),
        };
        Ok(ArmSpec {
            source: behind.source.clone(),
            kind: arm.kind,
            probe_keys,
            key: KeySpec::new(table_keys, arm.null_equals_null),
            as_of,
            residual,
            miss: ArmMiss::new(arm.miss),
        })
    }
}

/// What an arm looks its rows up in.
struct Behind {
    source: ArmSource,
    schema: SchemaRef,
    /// For each column of the arm's plan, the column there.
    columns: Vec<usize>,
}

/// Finds the table behind an arm. There is none behind an as-of arm over anything else, whose rows
/// are then collected: `collected` others are.
fn behind(arm: &LookupArm, collected: usize) -> PlanResult<Behind> {
    let found = arm_table(&arm.table);
    if let Ok(known) = &found {
        let provider = source_as_provider(&known.source)?;
        let provider: &dyn TableProvider = provider.as_ref();
        if let Some(rows) = provider.downcast_ref::<TableRows>() {
            return Ok(Behind {
                source: ArmSource::Table(Arc::clone(&rows.table)),
                schema: Arc::clone(rows.table.schema()),
                columns: known.columns.clone(),
            });
        }
    }
    if arm.as_of.is_none() {
        let name = found?.name;
        return Err(internal_datafusion_err!("{name} is no table"));
    }
    let schema = Arc::clone(arm.table.schema().inner());
    Ok(Behind {
        source: ArmSource::Collected(collected),
        columns: (0..schema.fields().len()).collect(),
        schema,
    })
}

/// Fails where a policy lacks what it needs, or a column cannot be had of such a join.
fn check_arm(arm: &LookupArm, table: &Table, columns: &[usize], is_over_probe: bool) -> PlanResult<()> {
    let policy = arm.miss.and_then(OnMiss::settled);
    let options = &table.options().miss;
    let waits = arm.miss.map(|miss| miss.policy) == Some(MissPolicy::Wait);
    let (message, hint) = match policy {
        _ if waits && !is_over_probe => (
            "a row can wait only for a key of its own, and a time, not for what comes from another table",
            "say ON_MISS with another policy in the query",
        ),
        Some(MissPolicy::Default) if !options.has_defaults() => (
            "the query says ON_MISS 'default', but the table has no default values",
            "create the table with default.COLUMN = 'value'",
        ),
        Some(MissPolicy::DeadLetter) if options.dead_letter.is_none() => (
            "the query says ON_MISS 'dead_letter', but the table names no sink for it",
            "create the table with miss.dead_letter = 'name of a sink'",
        ),
        _ => {
            let width = table.schema().fields().len();
            let is_per_row = matches!(arm.kind, JoinKind::Inner | JoinKind::Left);
            if is_per_row || columns.iter().all(|column| *column < width) {
                return Ok(());
            }
            (
                "_matched, _version and _updated_at can be had of INNER and LEFT joins only",
                "write the join as a LEFT JOIN of the table",
            )
        }
    };
    Err(Error::Option {
        subject: format!("table {}", table.name()),
        message: message.into(),
        hint: Some(hint.into()),
        location: None,
    }
    .into())
}

/// Fails on a policy that needs a table's options, where the right side is none.
fn check_collected(arm: &LookupArm) -> PlanResult<()> {
    let policy = arm.miss.map(|miss| miss.policy);
    let Some(policy @ (MissPolicy::Default | MissPolicy::DeadLetter | MissPolicy::Wait)) = policy else {
        return Ok(());
    };
    Err(Error::Option {
        subject: "the right side of an as-of join".into(),
        message: format!("the query says ON_MISS '{}', which needs a table", policy.word()),
        hint: Some("say 'null', 'drop' or 'error', or make a TABLE of it".into()),
        location: None,
    }
    .into())
}

/// Rewrites an expression over an arm's columns into one over the whole table.
fn over_table(
    expression: Arc<dyn PhysicalExpr>,
    columns: &[usize],
    schema: &Schema,
) -> PlanResult<Arc<dyn PhysicalExpr>> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    use datafusion::physical_expr::expressions::Column;
    expression
        .transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            let at = *columns
                .get(column.index())
                .filter(|at| **at < schema.fields().len())
                .ok_or_else(|| internal_datafusion_err!("{column} is not a column of the table"))?;
            Ok(Transformed::yes(
                Arc::new(Column::new(schema.field(at).name(), at)) as Arc<dyn PhysicalExpr>,
            ))
        })
        .map(|done| done.data)
}

#[async_trait]
impl ExtensionPlanner for LookupJoinPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        state: &dyn PlanSession,
        context: &PhysicalPlanningContext,
    ) -> PlanResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<LookupJoinNode>() else {
            return Ok(None);
        };
        let probe = physical_inputs
            .first()
            .ok_or_else(|| internal_datafusion_err!("LookupJoin without input"))?;
        let binder = Binder {
            planner,
            state,
            context,
        };
        let mut layout: Vec<_> = (0..node.probe.schema().fields().len())
            .map(OutputColumn::Probe)
            .collect();
        let mut arms = Vec::with_capacity(node.arms.len());
        let mut collected = Vec::new();
        for (at, (arm, input)) in node.arms.iter().zip(physical_inputs.iter().skip(1)).enumerate() {
            let behind = behind(arm, collected.len())?;
            if matches!(behind.source, ArmSource::Collected(_)) {
                collected.push(Arc::clone(input));
            }
            arms.push(binder.arm(node, at, &behind, &layout)?);
            if arm.has_columns() {
                let columns = behind.columns.into_iter();
                layout.extend(columns.map(|column| OutputColumn::Table { arm: at, column }));
            }
        }
        if arms.iter().any(|arm| !arm.kind.emits_probe()) {
            // Only the table's own columns come out.
            layout.retain(|column| matches!(column, OutputColumn::Table { .. }));
        }
        let schema = Arc::clone(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).inner());
        let tuning = state.config().get_extension::<LookupTuning>();
        let tuning = tuning.ok_or_else(|| internal_datafusion_err!("a state without LookupTuning"))?;
        let pins = state.config().get_extension::<Pins>();
        let join = Arc::new(LookupJoin::new(arms, layout, schema, *tuning).with_pins(pins));
        Ok(Some(Arc::new(LookupJoinExec::new(
            Arc::clone(probe),
            collected,
            join,
            Arc::clone(&self.cancelled),
        ))))
    }
}
