//! Arithmetic that never gives a wrong number.
//!
//! DataFusion's `+ - * / %` and unary minus wrap around silently, and its `SUM` and `AVG` do too.
//! Here an analyzer rule, run after types are settled, puts [`arithmetic::CheckedArithmetic`] in
//! their place, and `SUM` and `AVG` are registered as [`aggregate::CheckedTotal`].

pub(crate) mod aggregate;
pub(crate) mod arithmetic;
mod wide;

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion_common::config::ConfigOptions;
use datafusion_common::tree_node::{Transformed, TreeNode};
use datafusion_common::{DFSchema, Result};
use datafusion_expr::expr::ScalarFunction;
use datafusion_expr::expr_rewriter::NamePreserver;
use datafusion_expr::utils::merge_schema;
use datafusion_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, ScalarUDF};
use datafusion_optimizer::AnalyzerRule;

use arithmetic::{ArithmeticOp, CheckedArithmetic};

/// Replaces arithmetic on numbers by its checked form, everywhere in a plan.
#[derive(Debug)]
pub(crate) struct CheckArithmetic;

impl AnalyzerRule for CheckArithmetic {
    fn name(&self) -> &str {
        "check_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(check_plan)
            .map(|done| done.data)
    }
}

fn check_plan(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        let source = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
        schema.merge(&source);
    }
    let names = NamePreserver::new(&plan);
    let done = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        expr.transform_up(|expr| check_expr(expr, &schema))
            .map(|done| done.update_data(|expr| name.restore(expr)))
    })?;
    if done.transformed {
        done.map_data(LogicalPlan::recompute_schema)
    } else {
        Ok(done)
    }
}

fn check_expr(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (op, result) = match &expr {
        Expr::BinaryExpr(BinaryExpr { op, .. }) => match ArithmeticOp::from_binary(*op) {
            Some(op) => (op, expr.get_type(schema)?),
            None => return Ok(Transformed::no(expr)),
        },
        Expr::Negative(_) => (ArithmeticOp::Negate, expr.get_type(schema)?),
        _ => return Ok(Transformed::no(expr)),
    };
    if !is_checked(&result, op) {
        return Ok(Transformed::no(expr));
    }
    let args = match expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => vec![*left, *right],
        Expr::Negative(inner) => vec![*inner],
        other => return Ok(Transformed::no(other)),
    };
    let types = args
        .iter()
        .map(|arg| arg.get_type(schema))
        .collect::<Result<Vec<_>>>()?;
    if !types.iter().all(|kind| is_number(kind) || kind.is_null()) {
        return rebuild(op, args);
    }
    let udf = CheckedArithmetic::new(op, result, &args);
    let func = Arc::new(ScalarUDF::new_from_impl(udf));
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction {
        func,
        args,
    })))
}

/// Puts an expression together again that turned out not to be ours.
fn rebuild(op: ArithmeticOp, mut args: Vec<Expr>) -> Result<Transformed<Expr>> {
    let last = args.pop().map(Box::new);
    let first = args.pop().map(Box::new);
    Ok(Transformed::no(match (op.to_binary(), first, last) {
        (Some(op), Some(left), Some(right)) => Expr::BinaryExpr(BinaryExpr { left, op, right }),
        (_, _, Some(inner)) => Expr::Negative(inner),
        _ => return datafusion_common::internal_err!("arithmetic without operands"),
    }))
}

fn is_number(kind: &DataType) -> bool {
    kind.is_integer() || kind.is_floating() || kind.is_decimal()
}

/// Floating-point sums and products follow IEEE 754; only their division is checked.
fn is_checked(result: &DataType, op: ArithmeticOp) -> bool {
    result.is_integer()
        || result.is_decimal()
        || (result.is_floating() && matches!(op, ArithmeticOp::Divide | ArithmeticOp::Modulo))
}
