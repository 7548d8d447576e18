//! The functions SQL may call: DataFusion's, with `SUM` and `AVG` that cannot wrap.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion_expr::planner::ExprPlanner;
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, WindowUDF};

use crate::checked::aggregate::CheckedTotal;

/// Every function by name and alias.
#[derive(Debug)]
pub struct Functions {
    scalar: HashMap<String, Arc<ScalarUDF>>,
    higher_order: HashMap<String, Arc<HigherOrderUDF>>,
    aggregate: HashMap<String, Arc<AggregateUDF>>,
    window: HashMap<String, Arc<WindowUDF>>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

macro_rules! by_name {
    ($functions:expr) => {{
        let mut map = HashMap::new();
        for function in $functions {
            for alias in function.aliases() {
                map.insert(alias.clone(), Arc::clone(&function));
            }
            map.insert(function.name().to_string(), function);
        }
        map
    }};
}

impl Functions {
    /// Collects the default functions.
    #[expect(
        clippy::new_without_default,
        reason = "built once, by the planner; a default would hide its cost"
    )]
    pub fn new() -> Self {
        let mut scalar = datafusion_functions::all_default_functions();
        scalar.extend(datafusion_functions_nested::all_default_nested_functions());
        let mut aggregate = datafusion_functions_aggregate::all_default_aggregate_functions();
        aggregate.push(Arc::new(CheckedTotal::sum()));
        aggregate.push(Arc::new(CheckedTotal::average()));
        Self {
            scalar: by_name!(scalar),
            higher_order: by_name!(datafusion_functions_nested::all_default_higher_order_functions()),
            aggregate: by_name!(aggregate),
            window: by_name!(datafusion_functions_window::all_default_window_functions()),
            planners: vec![
                Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
                Arc::new(datafusion_functions_nested::planner::NestedFunctionPlanner),
                Arc::new(datafusion_functions_nested::planner::FieldAccessPlanner),
                Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
                Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
                Arc::new(datafusion_functions_aggregate::planner::AggregateFunctionPlanner),
                Arc::new(datafusion_functions_window::planner::WindowFunctionPlanner),
            ],
        }
    }

    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(name).cloned()
    }

    pub(crate) fn higher_order(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.higher_order.get(name).cloned()
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregate.get(name).cloned()
    }

    pub(crate) fn window(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.window.get(name).cloned()
    }

    pub(crate) fn planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }

    pub(crate) fn scalar_names(&self) -> Vec<String> {
        self.scalar.keys().cloned().collect()
    }

    pub(crate) fn higher_order_names(&self) -> Vec<String> {
        self.higher_order.keys().cloned().collect()
    }

    pub(crate) fn aggregate_names(&self) -> Vec<String> {
        self.aggregate.keys().cloned().collect()
    }

    pub(crate) fn window_names(&self) -> Vec<String> {
        self.window.keys().cloned().collect()
    }

    /// Returns every name with its kind (`scalar`, `aggregate`, `window`), sorted.
    pub fn names(&self) -> Vec<(String, &'static str)> {
        let mut names: Vec<_> = (self.scalar.keys().map(|name| (name.clone(), "scalar")))
            .chain(self.higher_order.keys().map(|name| (name.clone(), "scalar")))
            .chain(self.aggregate.keys().map(|name| (name.clone(), "aggregate")))
            .chain(self.window.keys().map(|name| (name.clone(), "window")))
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
