//! Joins with tables that say what a miss means: made lookup joins before anything else is
//! optimised.
//!
//! The optimizer knows SQL's own answers only. It makes a LEFT join an INNER one where WHERE
//! rejects what is padded with NULL, and moves WHERE into the join: both are wrong for a row that
//! is padded with values, or that must not be lost unseen. So a join with a policy, or one that is
//! asked for its provenance, becomes a node that it does not look into. As-of and temporal joins
//! are such nodes already, and are told their policy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion_common::tree_node::Transformed;
use datafusion_common::{DataFusionError, Result};
use datafusion_expr::{Extension, LogicalPlan};
use datafusion_optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion_optimizer::{OptimizerConfig, OptimizerRule};
use fletching_kernels::JoinKind;

use super::node::{LookupArm, LookupJoinNode, arm_table};
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
        let mut seen = Seen::default();
        let plan = plan.transform_up_with_subqueries(|plan| {
            // What is padded may be NULL where it could not be before.
            let plan = if plan.inputs().is_empty() {
                plan
            } else {
                plan.recompute_schema()?
            };
            if let LogicalPlan::Extension(extension) = &plan {
                let told = self.tell_as_of(extension, &mut seen)?;
                return Ok(Transformed::yes(told.unwrap_or(plan)));
            }
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
            side.miss = self.policy_of(&side.table, side.kind, &mut seen);
            if !can_miss(side.kind) || side.miss.is_none() && !self.is_traced {
                return Ok(Transformed::yes(plan));
            }
            Ok(Transformed::yes(side.into_plan(&join)?))
        })?;
        self.check_hints(&seen)?;
        Ok(plan.data)
    }

    /// Tells an as-of or temporal join what becomes of its misses; none where nothing is said of them.
    fn tell_as_of(&self, extension: &Extension, seen: &mut Seen) -> Result<Option<LogicalPlan>> {
        let node = extension.node.as_any().downcast_ref::<LookupJoinNode>();
        let Some((node, [arm])) = node.map(|node| (node, node.arms.as_slice())) else {
            return Ok(None);
        };
        if arm.as_of.is_none() {
            return Ok(None);
        }
        let Some(miss) = self.policy_of(&arm.table, arm.kind, seen) else {
            return Ok(None);
        };
        let arm = LookupArm {
            kind: miss.kind(arm.kind),
            miss: Some(miss),
            ..arm.clone()
        };
        let node = Arc::new(LookupJoinNode::try_new(node.probe.clone(), vec![arm])?);
        Ok(Some(LogicalPlan::Extension(Extension { node })))
    }

    /// Returns what is said of a joined table's misses: by a hint, or else by its options. A right
    /// side that is no table has no options.
    fn policy_of(&self, side: &LogicalPlan, kind: JoinKind, seen: &mut Seen) -> Option<OnMiss> {
        let alias = side_alias(side);
        seen.joined.insert(alias.clone());
        if !can_miss(kind) {
            return None;
        }
        let table = arm_table(side).ok();
        let table = table.and_then(|table| self.tables.get(table.name.table()));
        let (own, then) = table.copied().unwrap_or_default();
        let Some(hint) = self.hints.get(&alias) else {
            return own;
        };
        seen.hinted.insert(alias);
        // A hint to wait leaves what follows to the table.
        Some(OnMiss {
            policy: hint.policy,
            then,
        })
    }

    /// Fails on a hint that no join could follow.
    fn check_hints(&self, seen: &Seen) -> Result<()> {
        let unused = self.hints.iter().find(|(alias, _)| !seen.hinted.contains(*alias));
        let Some((alias, hint)) = unused else {
            return Ok(());
        };
        let what = if seen.joined.contains(alias) {
            format!("ON_MISS({alias}): only INNER and LEFT joins with a table have a miss to speak of")
        } else {
            format!("ON_MISS({alias}): no table of this name is joined by key in this query")
        };
        let error = SqlError::new(SqlErrorKind::UnknownName, what).at(hint.location, alias);
        let error = match nearest(alias, seen.joined.iter().map(String::as_str)) {
            Some(near) if near != alias => error.hint(format!("did you mean '{near}'?")),
            _ => error.hint("name the alias that the table has in FROM"),
        };
        Err(DataFusionError::External(Box::new(error)))
    }
}

/// The joins met so far, by what a query calls their tables.
#[derive(Default)]
struct Seen {
    joined: BTreeSet<String>,
    /// Those that a hint was followed for.
    hinted: BTreeSet<String>,
}

/// Says whether a join has rows without a match that something may become of.
fn can_miss(kind: JoinKind) -> bool {
    matches!(kind, JoinKind::Inner | JoinKind::Left)
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
