//! Moves filters below lookup joins: onto the probe side, or into the arm whose columns they need.

use std::sync::Arc;

use datafusion_common::Result;
use datafusion_common::tree_node::Transformed;
use datafusion_expr::utils::conjunction;
use datafusion_expr::{Expr, Extension, LogicalPlan};
use datafusion_optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use fletching_kernels::JoinKind;

use super::node::LookupJoinNode;
use super::rule::{conjuncts_of, filter_by, is_per_row};

/// Splits a filter over a lookup join into what the probe side can decide, what an INNER arm can
/// decide once it is matched, and what must wait for the output.
#[derive(Debug)]
pub(crate) struct PushFilterBelowLookup;

impl OptimizerRule for PushFilterBelowLookup {
    fn name(&self) -> &str {
        "push_filter_below_lookup"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = &plan else {
            return Ok(Transformed::no(plan));
        };
        let LogicalPlan::Extension(extension) = filter.input.as_ref() else {
            return Ok(Transformed::no(plan));
        };
        let Some(node) = extension.node.as_any().downcast_ref::<LookupJoinNode>() else {
            return Ok(Transformed::no(plan));
        };
        if !node.arms.iter().all(|arm| is_per_row(arm.kind)) {
            return Ok(Transformed::no(plan));
        }
        let mut arms = node.arms.clone();
        let (mut below, mut above) = (Vec::new(), Vec::new());
        let mut moved = false;
        for conjunct in conjuncts_of(filter.predicate.clone()) {
            let columns = conjunct.column_refs();
            if conjunct.is_volatile() || columns.is_empty() {
                above.push(conjunct);
            } else if node.is_over_probe(&columns) {
                moved = true;
                below.push(conjunct);
            } else if let Some(arm) = deciding_arm(node, &conjunct)? {
                moved = true;
                arms[arm].residual = conjunction(arms[arm].residual.take().into_iter().chain([conjunct]));
            } else {
                above.push(conjunct);
            }
        }
        if !moved {
            return Ok(Transformed::no(plan));
        }
        let probe = filter_by(below, node.probe.clone())?;
        let node = LookupJoinNode::try_new(probe, arms)?;
        let join = LogicalPlan::Extension(Extension { node: Arc::new(node) });
        Ok(Transformed::yes(filter_by(above, join)?))
    }
}

/// Returns the INNER arm after which all columns of an expression are there, if they come from
/// the probe side and INNER arms alone.
fn deciding_arm(node: &LookupJoinNode, conjunct: &Expr) -> Result<Option<usize>> {
    let mut last = None;
    for column in conjunct.column_refs() {
        if node.probe.schema().has_column(column) {
            continue;
        }
        let found = node
            .arms
            .iter()
            .position(|arm| arm.has_columns() && arm.table.schema().has_column(column));
        match found {
            // What WHERE rejects is no miss: a policy must not see it as one.
            Some(at) if node.arms[at].kind == JoinKind::Inner && node.arms[at].miss.is_none() => {
                last = last.max(Some(at))
            }
            _ => return Ok(None),
        }
    }
    Ok(last)
}
