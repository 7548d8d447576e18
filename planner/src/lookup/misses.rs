//! Joins with tables that say what a miss means: made lookup joins before anything else is
//! optimised.
//!
//! The optimizer knows SQL's own answers only. It makes a LEFT join an INNER one where WHERE
//! rejects what is padded with NULL, and moves WHERE into the join: both are wrong for a row that
//! is padded with values, or that must not be lost unseen. So a join with a policy, or one that is
//! asked for its provenance, becomes a node that it does not look into.

use std::collections::{BTreeMap, BTreeSet};

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::LogicalPlan;
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};
use fletching_kernels::JoinKind;

use super::node::arm_table;
use super::rule::PlanLookupJoins;
use crate::error::{SqlError, SqlErrorKind, nearest};
use crate::miss::{MissHints, MissPolicy, OnMiss};

/// What a statement says of misses and provenance.
pub(crate) struct Misses<'a> {
    /// The policies of its tables, by the table's name: what is done, and what after a wait that a
    /// hint asks for.
    pub(crate) tables: BTreeMap<String, (Option<OnMiss>, Option<MissPolicy>)>,
    /// Those of its hints, by alias.
    pub(crate) hints: &'a MissHints,
    /// Whether it names a provenance column.
    pub(crate) is_traced: bool,
}

impl Misses<'_> {
    /// Says whether there is nothing to be done.
    pub(crate) fn is_empty(&self) -> bool {
        let has_policy = self.tables.values().any(|(on_miss, _)| on_miss.is_some());
        !has_policy && self.hints.is_empty() && !self.is_traced
    }

    /// Makes lookup joins of the INNER and LEFT joins that need to be one from the beginning.
    pub(crate) fn apply(
        &self,
        plan: LogicalPlan,
        lookups: &PlanLookupJoins,
        config: &dyn OptimizerConfig,
    ) -> Result<LogicalPlan> {
        let mut used = BTreeSet::new();
        let mut aliases = BTreeSet::new();
        let plan = plan.transform_up_with_subqueries(|plan| {
            // What is padded may be NULL where it could not be before.
            let plan = if plan.inputs().is_empty() {
                plan
            } else {
                plan.recompute_schema()?
            };
            if !matches!(plan, LogicalPlan::Join(_)) {
                return Ok(Transformed::yes(plan));
            }
            let keyed = ExtractEquijoinPredicate::new().rewrite(plan.clone(), config)?;
            let LogicalPlan::Join(join) = keyed.data else {
                return Ok(Transformed::yes(plan));
            };
            let Some(mut side) = lookups.choose_table_side(&join)? else {
                return Ok(Transformed::yes(plan));
            };
            let alias = side_alias(&side.table);
            aliases.insert(alias.clone());
            if !matches!(side.kind, JoinKind::Inner | JoinKind::Left) {
                return Ok(Transformed::yes(plan));
            }
            let table = arm_table(&side.table)?.name.table().to_string();
            let (own, then) = self.tables.get(&table).copied().unwrap_or_default();
            side.miss = match self.hints.get(&alias) {
                Some(hint) => {
                    used.insert(alias);
                    // A hint to wait leaves what follows to the table.
                    Some(OnMiss {
                        policy: hint.policy,
                        then,
                    })
                }
                None => own,
            };
            if side.miss.is_none() && !self.is_traced {
                return Ok(Transformed::yes(plan));
            }
            Ok(Transformed::yes(side.into_plan(&join)?))
        })?;
        match self.hints.iter().find(|(alias, _)| !used.contains(*alias)) {
            None => Ok(plan.data),
            Some((alias, hint)) => {
                let what = if aliases.contains(alias) {
                    format!(
                        "ON_MISS({alias}): only INNER and LEFT joins with a table have a miss to speak of"
                    )
                } else {
                    format!("ON_MISS({alias}): no table of this name is joined by key in this query")
                };
                let error = SqlError::new(SqlErrorKind::UnknownName, what).at(hint.location, alias);
                let error = match nearest(alias, aliases.iter().map(String::as_str)) {
                    Some(near) if near != alias => error.hint(format!("did you mean '{near}'?")),
                    _ => error.hint("name the alias that the table has in FROM"),
                };
                Err(DataFusionError::External(Box::new(error)))
            }
        }
    }
}

/// Returns the name by which a query calls a table.
fn side_alias(plan: &LogicalPlan) -> String {
    match plan {
        LogicalPlan::SubqueryAlias(alias) => alias.alias.table().to_string(),
        LogicalPlan::TableScan(scan) => scan.table_name.table().to_string(),
        LogicalPlan::Filter(filter) => side_alias(&filter.input),
        LogicalPlan::Projection(projection) => side_alias(&projection.input),
        _ => String::new(),
    }
}
