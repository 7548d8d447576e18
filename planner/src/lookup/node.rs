//! The plan node: one probe input, one or more tables looked up by key.
//!
//! ```text
//!              LookupJoin: INNER users ON t.user_id = u.id, LEFT market ON t.symbol = m.symbol
//!              output: probe columns ++ users' columns ++ market's columns
//!   inputs:      │ probe (any plan)     │ users (a table scan)      │ market (a table scan)
//! ```
//!
//! The tables are inputs so that DataFusion prunes their columns like any scan's; they are never
//! run as plans: the engine finds the table behind each and uses its index.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion_common::{Column, DFSchema, DFSchemaRef, Result, TableReference, internal_err};
use datafusion_expr::{Expr, InvariantLevel, LogicalPlan, TableSource, UserDefinedLogicalNodeCore};
use fletching_kernels::JoinKind;

use crate::miss::{MissPolicy, OnMiss};

/// One table looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LookupArm {
    /// The table: a scan, perhaps under projections and aliases. See [`arm_table`].
    pub table: LogicalPlan,
    /// Left is the probe side, right the table.
    pub kind: JoinKind,
    /// Pairs of equal expressions: over the probe side and earlier arms, and over the table.
    pub keys: Vec<(Expr, Expr)>,
    /// Whether NULL matches NULL.
    pub null_equals_null: bool,
    /// What else must hold for a match, over the probe side, earlier arms and the table.
    pub residual: Option<Expr>,
    /// What becomes of a row without a match, where that is not SQL's own answer. The kind is
    /// already the one that follows from it.
    pub miss: Option<OnMiss>,
}

impl LookupArm {
    /// Says whether the table's columns are part of the output.
    pub fn has_columns(&self) -> bool {
        !matches!(self.kind, JoinKind::LeftSemi | JoinKind::LeftAnti)
    }

    /// Returns the join condition for people.
    fn condition(&self) -> String {
        let equal = if self.null_equals_null {
            "IS NOT DISTINCT FROM"
        } else {
            "="
        };
        let keys = self
            .keys
            .iter()
            .map(|(probe, table)| format!("{probe} {equal} {table}"));
        keys.chain(self.residual.iter().map(ToString::to_string))
            .collect::<Vec<_>>()
            .join(" AND ")
    }
}

/// Several keyed tables joined to one probe side at once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LookupJoinNode {
    /// The stream side.
    pub probe: LogicalPlan,
    /// The tables, in the order in which their columns follow the probe's.
    pub arms: Vec<LookupArm>,
    schema: DFSchemaRef,
}

impl PartialOrd for LookupJoinNode {
    fn partial_cmp(&self, _other: &Self) -> Option<std::cmp::Ordering> {
        None
    }
}

impl LookupJoinNode {
    /// Joins `arms` to `probe`.
    ///
    /// # Errors
    /// Fails where two columns of the output have the same qualified name, or a RIGHT or FULL
    /// arm is not alone.
    pub fn try_new(probe: LogicalPlan, arms: Vec<LookupArm>) -> Result<Self> {
        let whole_table = |arm: &LookupArm| {
            matches!(
                arm.kind,
                JoinKind::Right | JoinKind::Full | JoinKind::RightSemi | JoinKind::RightAnti
            )
        };
        if arms.len() > 1 && arms.iter().any(whole_table) {
            return internal_err!("a RIGHT or FULL lookup cannot share a star join");
        }
        let schema = Arc::new(Self::schema_after(&probe, &arms)?);
        Ok(Self { probe, arms, schema })
    }

    /// Returns the columns of the probe side and the first arms, as an arm's expressions see them.
    ///
    /// # Errors
    /// Fails where two columns have the same qualified name.
    pub fn schema_of(&self, arms: usize) -> Result<DFSchema> {
        Self::schema_after(&self.probe, &self.arms[..arms])
    }

    fn schema_after(probe: &LogicalPlan, arms: &[LookupArm]) -> Result<DFSchema> {
        let mut schema = probe.schema().as_ref().clone();
        for arm in arms {
            let table = arm.table.schema();
            schema = match arm.kind {
                JoinKind::Inner => schema.join(table)?,
                JoinKind::Left => schema.join(&nullable(table)?)?,
                JoinKind::Right => nullable(&schema)?.join(table)?,
                JoinKind::Full => nullable(&schema)?.join(&nullable(table)?)?,
                JoinKind::LeftSemi | JoinKind::LeftAnti => schema,
                JoinKind::RightSemi | JoinKind::RightAnti => table.as_ref().clone(),
            };
        }
        Ok(schema)
    }

    /// Returns the schema over which an arm's residual is evaluated: probe, earlier arms, table.
    ///
    /// # Errors
    /// Fails where two columns have the same qualified name.
    pub fn residual_schema(&self, arm: usize) -> Result<DFSchema> {
        self.schema_of(arm)?.join(self.arms[arm].table.schema())
    }

    /// Says whether probe rows may go to a sink of dead letters, which gets them whole.
    fn needs_whole_rows(&self) -> bool {
        self.arms
            .iter()
            .any(|arm| arm.miss.and_then(OnMiss::settled) == Some(MissPolicy::DeadLetter))
    }

    /// Joins this node's arms to the probe side of the node below, where it is another of such
    /// joins; none where the two cannot share one node.
    ///
    /// # Errors
    /// As [`LookupJoinNode::try_new`].
    pub(crate) fn merged(&self, is_per_row: impl Fn(JoinKind) -> bool) -> Result<Option<Self>> {
        let LogicalPlan::Extension(below) = &self.probe else {
            return Ok(None);
        };
        let Some(below) = below.node.as_any().downcast_ref::<Self>() else {
            return Ok(None);
        };
        let arms = below.arms.iter().chain(&self.arms);
        if !arms.clone().all(|arm| is_per_row(arm.kind)) {
            return Ok(None);
        }
        Self::try_new(below.probe.clone(), arms.cloned().collect()).map(Some)
    }

    /// Says whether every column is one of the probe side's.
    pub(crate) fn is_over_probe(&self, columns: &HashSet<&Column>) -> bool {
        columns
            .iter()
            .all(|column| self.probe.schema().has_column(column))
    }
}

/// Returns a join's kind as SQL says it.
pub fn kind_word(kind: JoinKind) -> &'static str {
    match kind {
        JoinKind::Inner => "INNER",
        JoinKind::Left => "LEFT",
        JoinKind::Right => "RIGHT",
        JoinKind::Full => "FULL",
        JoinKind::LeftSemi => "LEFT SEMI",
        JoinKind::LeftAnti => "LEFT ANTI",
        JoinKind::RightSemi => "RIGHT SEMI",
        JoinKind::RightAnti => "RIGHT ANTI",
    }
}

/// Copies a schema with every column nullable.
fn nullable(schema: &DFSchema) -> Result<DFSchema> {
    let fields = schema
        .iter()
        .map(|(qualifier, field)| {
            (
                qualifier.cloned(),
                Arc::new(field.as_ref().clone().with_nullable(true)),
            )
        })
        .collect();
    DFSchema::new_with_metadata(fields, schema.metadata().clone())
}

impl UserDefinedLogicalNodeCore for LookupJoinNode {
    fn name(&self) -> &str {
        "LookupJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        std::iter::once(&self.probe)
            .chain(self.arms.iter().map(|arm| &arm.table))
            .collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn check_invariants(&self, _check: InvariantLevel) -> Result<()> {
        Ok(())
    }

    fn expressions(&self) -> Vec<Expr> {
        let mut all = Vec::new();
        for arm in &self.arms {
            for (probe, table) in &arm.keys {
                all.extend([probe.clone(), table.clone()]);
            }
            all.extend(arm.residual.clone());
        }
        all
    }

    /// Blocks every column: a rule of our own, `PushFilterBelowLookup`, moves what may be moved.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookupJoin:")?;
        for (at, arm) in self.arms.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let name = arm_table(&arm.table).map_or_else(|_| "?".to_string(), |table| table.name.to_string());
            write!(f, "{comma} {} {name} ON {}", kind_word(arm.kind), arm.condition())?;
            if let Some(miss) = arm.miss {
                write!(f, " ON MISS {miss}")?;
            }
        }
        Ok(())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let mut inputs = inputs.into_iter();
        let missing =
            || datafusion_common::internal_datafusion_err!("LookupJoin: an expression or input is missing");
        let probe = inputs.next().ok_or_else(missing)?;
        let mut arms = Vec::with_capacity(self.arms.len());
        for arm in &self.arms {
            let mut keys = Vec::with_capacity(arm.keys.len());
            for _ in &arm.keys {
                keys.push((
                    exprs.next().ok_or_else(missing)?,
                    exprs.next().ok_or_else(missing)?,
                ));
            }
            let residual = match &arm.residual {
                Some(_) => Some(exprs.next().ok_or_else(missing)?),
                None => None,
            };
            let table = inputs.next().ok_or_else(missing)?;
            arms.push(LookupArm {
                table,
                keys,
                residual,
                ..arm.clone()
            });
        }
        Self::try_new(probe, arms)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = Vec::with_capacity(self.arms.len() + 1);
        let mut from = 0;
        let mut take = |width: usize| {
            let columns = output_columns
                .iter()
                .filter(|&&column| column >= from && column < from + width)
                .map(|column| column - from)
                .collect::<Vec<_>>();
            from += width;
            columns
        };
        let whole_table = matches!(
            self.arms.first().map(|arm| arm.kind),
            Some(JoinKind::RightSemi | JoinKind::RightAnti)
        );
        needed.push(if whole_table {
            Vec::new()
        } else if self.needs_whole_rows() {
            let width = self.probe.schema().fields().len();
            take(width);
            (0..width).collect()
        } else {
            take(self.probe.schema().fields().len())
        });
        for arm in &self.arms {
            needed.push(if arm.has_columns() {
                take(arm.table.schema().fields().len())
            } else {
                Vec::new()
            });
        }
        Some(needed)
    }
}

/// The registered table behind an arm and how the arm's columns come from it.
#[derive(Clone)]
pub struct TableColumns {
    /// The table's own name.
    pub name: TableReference,
    /// The table.
    pub source: Arc<dyn TableSource>,
    /// For each column of the arm's plan, the column of the table.
    pub columns: Vec<usize>,
}

impl fmt::Debug for TableColumns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableColumns")
            .field("name", &self.name)
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

/// Finds the table scan behind a plan made of nothing but scans, aliases and column projections.
///
/// # Errors
/// Fails where the plan holds anything else.
pub fn arm_table(plan: &LogicalPlan) -> Result<TableColumns> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() && scan.filters.is_empty() => {
            let all = || (0..scan.source.schema().fields().len()).collect();
            Ok(TableColumns {
                name: scan.table_name.clone(),
                source: Arc::clone(&scan.source),
                columns: scan.projection.clone().unwrap_or_else(all),
            })
        }
        LogicalPlan::SubqueryAlias(alias) => arm_table(&alias.input),
        LogicalPlan::Projection(projection) => {
            let input = arm_table(&projection.input)?;
            let schema = projection.input.schema();
            let columns = projection
                .expr
                .iter()
                .map(|expr| match expr.clone().unalias_nested().data {
                    Expr::Column(column) => Ok(input.columns[schema.index_of_column(&column)?]),
                    other => internal_err!("LookupJoin: the table computes {other}"),
                })
                .collect::<Result<_>>()?;
            Ok(TableColumns { columns, ..input })
        }
        other => internal_err!("LookupJoin: the table is {}", other.display()),
    }
}
