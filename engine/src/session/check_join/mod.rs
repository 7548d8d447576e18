//! `CHECK JOIN query`: a look at both sides of each lookup join before it is run for long.
//!
//! ```text
//!   query ─▶ its lookup joins ─▶ for each table:  some rows of the stream side ─▶ their keys ─┐
//!                                                 the whole table ────────────▶ its keys ───┴▶ findings
//! ```
//!
//! Keys are compared as texts: this is no hot path, and what nearly matches shows best so.

mod findings;
mod keys;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::kernels::aggregate::max;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, FieldRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder};
use fletching_kernels::JoinKind;
use fletching_planner::{
    LookupArm, LookupJoinNode, ParsedStatement, RelationKind, Statement, Warning, WarningKind, arm_table,
    kind_word,
};

use self::findings::Findings;
use self::keys::{KeySample, TableKeys};
use super::rows::Rows;
use super::{Entry, Session, StatementCatalog};
use crate::error::{Error, Result};
use crate::table::TableSnapshot;

impl Session {
    /// Checks one statement as [`Session::check`] does, and samples its joins: at most so many rows
    /// of each stream side, and the tables whole. Returns what `CHECK JOIN` returns, or nothing
    /// where the statement joins nothing; what looks wrong becomes a warning.
    ///
    /// Statements that fill tables are carried out, for joins to find them filled. Sinks are not
    /// written.
    ///
    /// # Errors
    /// Fails where the statement cannot be planned, or a source cannot be read.
    ///
    /// ```
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql(
    ///     "CREATE TABLE t (k VARCHAR); INSERT INTO t VALUES ('a'), ('B');
    ///      CREATE TABLE users (id VARCHAR, PRIMARY KEY (id)); INSERT INTO users VALUES ('a'), ('b')",
    /// )?;
    /// let query = session.parse("SELECT * FROM t JOIN users u ON t.k = u.id")?;
    /// let found = session.check_sampled(&query[0], 100)?.expect("there is a join");
    /// assert_eq!(found.schema().field(1).name(), "check");
    /// assert!(session.take_warnings().iter().any(|warning| warning.message.contains("case")));
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn check_sampled(&self, statement: &ParsedStatement, rows: usize) -> Result<Option<Rows>> {
        let catalog = self.catalog()?;
        let planned = self.plan(statement, &catalog)?;
        for warning in planned.warnings {
            self.warn(warning);
        }
        let query = match &planned.statement {
            Statement::Query(plan) | Statement::CheckJoin(plan) | Statement::Insert { plan, .. } => {
                Some(plan)
            }
            Statement::Create(create) => create.query.as_ref(),
            _ => None,
        };
        let found = match query {
            Some(plan) => self.findings(plan, &catalog, rows)?,
            None => Findings::default(),
        };
        let fills_table = match &planned.statement {
            Statement::Create(create) => create.kind == RelationKind::Table,
            Statement::Insert { target, .. } => {
                matches!(catalog.registry.get(target), Some(Entry::Table { .. }))
            }
            _ => false,
        };
        if fills_table {
            self.carry_out(planned.statement, &catalog)?;
        } else {
            self.check_planned(planned.statement, &catalog)?;
        }
        self.inner.progress.clear();
        self.tell(&found);
        (!found.is_empty()).then(|| found.rows()).transpose()
    }

    /// Carries out `CHECK JOIN`.
    pub(super) fn check_joins(&self, plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<Rows> {
        let rows = self.inner.settings.read().check_sample_rows;
        let found = self.findings(plan, catalog, rows)?;
        self.inner.progress.clear();
        self.tell(&found);
        found.rows()
    }

    fn tell(&self, found: &Findings) {
        for message in found.warnings() {
            self.warn(Warning::new(WarningKind::JoinCheck, message));
        }
    }

    fn findings(&self, plan: &LogicalPlan, catalog: &StatementCatalog, rows: usize) -> Result<Findings> {
        let mut lookups = Vec::new();
        let mut others = 0;
        plan.apply_with_subqueries(|plan| {
            match plan {
                LogicalPlan::Extension(Extension { node }) => {
                    lookups.extend(node.as_any().downcast_ref::<LookupJoinNode>().cloned());
                }
                LogicalPlan::Join(_) => others += 1,
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let mut found = Findings::default();
        if lookups.is_empty() && others == 0 {
            return Ok(found);
        }
        self.load_tables(plan, catalog)?;
        for node in &lookups {
            for at in 0..node.arms.len() {
                self.check_arm(node, at, catalog, rows, &mut found)?;
            }
        }
        if others > 0 {
            found.add_unchecked(others);
        }
        Ok(found)
    }

    /// Samples one table's join.
    fn check_arm(
        &self,
        node: &LookupJoinNode,
        at: usize,
        catalog: &StatementCatalog,
        rows: usize,
        found: &mut Findings,
    ) -> Result<()> {
        let arm = &node.arms[at];
        let behind = arm_table(&arm.table)?;
        let name = behind.name.table().to_string();
        let Some(Entry::Table { table, .. }) = catalog.registry.get(&name) else {
            return Err(Error::internal(format!("{name} is no table")));
        };
        let snapshot = table.snapshot()?;
        let probe = self.one_batch(&probe_keys(node, at, rows)?, catalog)?;
        let columns = arm.keys.iter().map(|(_, key)| key.clone());
        let keys = self.one_batch(&project(arm.table.clone(), columns)?, catalog)?;
        let sample = KeySample::new(probe.columns(), arm.null_equals_null)?;
        let table_keys = TableKeys::new(&KeySample::new(keys.columns(), arm.null_equals_null)?);
        let join = format!("{} {}", kind_word(arm.kind), describe(arm, &name));
        found.add_keys(&join, arm, &sample, &table_keys);
        let stream_time = match times_of(&node.probe, rows)? {
            Some(times) => newest(self.one_batch(&times, catalog)?.column(0)),
            None => None,
        };
        found.add_age(
            &join,
            stream_time,
            table_time(&snapshot),
            snapshot.updated_at_us(),
        );
        Ok(())
    }

    fn one_batch(&self, plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<RecordBatch> {
        let rows = self.stream(plan, catalog)?;
        let schema = rows.schema();
        Ok(concat_batches(&schema, &rows.collect_batches()?)?)
    }
}

/// Names a join's table and key for people.
fn describe(arm: &LookupArm, name: &str) -> String {
    let keys = arm.keys.iter().map(|(probe, table)| format!("{probe} = {table}"));
    format!("{name} ON {}", keys.collect::<Vec<_>>().join(" AND "))
}

/// Plans the first times of the relation that the stream side reads, where it has a column of
/// times: also one that the query itself does not need.
fn times_of(probe: &LogicalPlan, rows: usize) -> Result<Option<LogicalPlan>> {
    let mut found = None;
    probe.apply(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            let schema = scan.source.schema();
            found = schema
                .fields()
                .iter()
                .position(is_time)
                .map(|at| (scan.table_name.clone(), Arc::clone(&scan.source), at));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let Some((name, source, at)) = found else {
        return Ok(None);
    };
    let times = LogicalPlanBuilder::scan(name, source, Some(vec![at]))?;
    Ok(Some(times.limit(0, Some(rows))?.build()?))
}

fn is_time(field: &FieldRef) -> bool {
    matches!(field.data_type(), DataType::Timestamp(..))
}

/// Plans the first rows of the stream side with their keys.
fn probe_keys(node: &LookupJoinNode, at: usize, rows: usize) -> Result<LogicalPlan> {
    let arm = &node.arms[at];
    let probe = LogicalPlanBuilder::from(node.probe.clone())
        .limit(0, Some(rows))?
        .build()?;
    let is_over_probe = arm
        .keys
        .iter()
        .flat_map(|(key, _)| key.column_refs())
        .all(|column| probe.schema().has_column(column));
    let input = if is_over_probe {
        probe
    } else {
        // The key comes from tables before; no row is to be lost on the way.
        let before = node.arms[..at].iter().map(|arm| LookupArm {
            kind: if arm.has_columns() {
                JoinKind::Left
            } else {
                arm.kind
            },
            miss: None,
            ..arm.clone()
        });
        let node = LookupJoinNode::try_new(probe, before.collect())?;
        LogicalPlan::Extension(Extension { node: Arc::new(node) })
    };
    project(input, arm.keys.iter().map(|(key, _)| key.clone()))
}

/// Projects a plan onto expressions under names of their own.
fn project(plan: LogicalPlan, columns: impl Iterator<Item = Expr>) -> Result<LogicalPlan> {
    let named = columns
        .enumerate()
        .map(|(at, column)| column.alias(format!("column_{at}")));
    Ok(LogicalPlanBuilder::from(plan).project(named)?.build()?)
}

/// Returns the newest time of a column, in microseconds.
fn newest(column: &ArrayRef) -> Option<i64> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let times = cast(column, &micros).ok()?;
    let times = times
        .as_any()
        .downcast_ref::<arrow::array::PrimitiveArray<TimestampMicrosecondType>>()?;
    max(times)
}

/// Returns the newest time in a table's first column of times.
fn table_time(snapshot: &TableSnapshot) -> Option<i64> {
    let at = snapshot.schema().fields().iter().position(is_time)?;
    newest(snapshot.rows().ok()?.column(at))
}
