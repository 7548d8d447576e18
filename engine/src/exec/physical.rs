//! From an optimised plan to one that runs: DataFusion's planner, with lookup joins bound to
//! their tables.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::Schema;
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
use crate::error::Error;
use crate::operator::{ArmMiss, ArmSpec, BoundExpr, LookupJoin, LookupTuning, OutputColumn};
use crate::table::{KeySpec, Table};

/// Makes a plan that can run.
pub(crate) async fn plan_physical(
    plan: &LogicalPlan,
    state: &dyn PlanSession,
    cancelled: Arc<AtomicBool>,
) -> PlanResult<Arc<dyn ExecutionPlan>> {
    DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(LookupJoinPlanner { cancelled })])
        .create_physical_plan(plan, state)
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

    fn arm(&self, node: &LookupJoinNode, at: usize, layout: &[OutputColumn]) -> PlanResult<ArmSpec> {
        let arm = &node.arms[at];
        let (table, columns) = bound_table(arm)?;
        let probe_schema = node.schema_of(at)?;
        let probe_keys = arm
            .keys
            .iter()
            .map(|(probe, _)| self.bind(probe, &probe_schema, layout))
            .collect::<PlanResult<Vec<_>>>()?;
        let is_over_probe = probe_keys.iter().all(BoundExpr::is_over_probe);
        check_arm(arm, &table, &columns, is_over_probe)?;
        let table_keys = arm
            .keys
            .iter()
            .map(|(_, key)| {
                let physical = self.physical(key, arm.table.schema())?;
                over_table(physical, &columns, table.schema())
            })
            .collect::<PlanResult<Vec<_>>>()?;
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
        let key = KeySpec::new(table_keys, arm.null_equals_null);
        Ok(ArmSpec {
            table,
            kind: arm.kind,
            probe_keys,
            key,
            residual,
            miss: ArmMiss::new(arm.miss),
        })
    }
}

/// Fails where a policy lacks what it needs, or a column cannot be had of such a join.
fn check_arm(arm: &LookupArm, table: &Table, columns: &[usize], is_over_probe: bool) -> PlanResult<()> {
    let policy = arm.miss.and_then(OnMiss::settled);
    let options = &table.options().miss;
    let waits = arm.miss.map(|miss| miss.policy) == Some(MissPolicy::Wait);
    let (message, hint) = match policy {
        _ if waits && !is_over_probe => (
            "a row can wait only for a key of its own, not for one that comes from another table",
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

/// Finds the table behind an arm, and which of its columns the arm's plan gives.
fn bound_table(arm: &LookupArm) -> PlanResult<(Arc<Table>, Vec<usize>)> {
    let behind = arm_table(&arm.table)?;
    let provider = source_as_provider(&behind.source)?;
    let provider: &dyn TableProvider = provider.as_ref();
    let table = provider
        .downcast_ref::<TableRows>()
        .ok_or_else(|| internal_datafusion_err!("{} is no table", behind.name))?;
    Ok((Arc::clone(&table.table), behind.columns))
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
        for (at, arm) in node.arms.iter().enumerate() {
            let spec = binder.arm(node, at, &layout)?;
            arms.push(spec);
            if arm.has_columns() {
                let (_, columns) = bound_table(arm)?;
                layout.extend(
                    columns
                        .into_iter()
                        .map(|column| OutputColumn::Table { arm: at, column }),
                );
            }
        }
        if arms.iter().any(|arm| !arm.kind.emits_probe()) {
            // Only the table's own columns come out.
            layout.retain(|column| matches!(column, OutputColumn::Table { .. }));
        }
        let schema = Arc::clone(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).inner());
        let tuning = state.config().get_extension::<LookupTuning>();
        let tuning = tuning.ok_or_else(|| internal_datafusion_err!("a state without LookupTuning"))?;
        let join = Arc::new(LookupJoin::new(arms, layout, schema, *tuning));
        Ok(Some(Arc::new(LookupJoinExec::new(
            Arc::clone(probe),
            join,
            Arc::clone(&self.cancelled),
        ))))
    }
}
