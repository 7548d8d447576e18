//! Running a plan: tables first, then the plan, its batches through a channel.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::execution::{SessionState, SessionStateBuilder, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use fletching_planner::{Warning, WarningKind, plain_name};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::dead_letters::OpenLetters;
use super::rows::{Rows, Running, task_error};
use super::writing::write_rows;
use super::{Inner, Session, StatementCatalog};
use crate::connector::{SinkSummary, SinkWriter};
use crate::error::{Error, Result};
use crate::exec::{TableRows, lookups_of, physical_rules, plan_physical};
use crate::operator::LookupTuning;
use crate::session::registry::Entry;
use crate::table::{KeySpec, Pins, Table};

/// Batches that may wait between a query and its reader.
const BATCHES_WAITING_MAX: usize = 4;

impl Session {
    /// Starts a query and hands over its rows as they come.
    pub(crate) fn stream(&self, plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<Rows> {
        self.stream_with(plan, catalog, &catalog.state)
    }

    /// The same, with settings other than the statement's.
    pub(crate) fn stream_with(
        &self,
        plan: &LogicalPlan,
        catalog: &StatementCatalog,
        state: &SessionState,
    ) -> Result<Rows> {
        let physical = self.ready_plan_with(plan, catalog, state)?;
        let letters = self.open_letters(&physical, catalog)?;
        let schema = output_schema(plan);
        let inner = Arc::clone(&self.inner);
        let context = letters.context(state);
        let (sender, receiver) = mpsc::channel(BATCHES_WAITING_MAX);
        let pump = {
            let schema = Arc::clone(&schema);
            async move {
                let sent = AssertUnwindSafe(pump(physical, context, schema, letters, &sender))
                    .catch_unwind()
                    .await;
                if sent.is_err() {
                    let _ = sender.send(Err(Error::internal("a query panicked"))).await;
                }
            }
        };
        let guard = StreamGuard {
            inner,
            reports: watched(catalog),
        };
        let task = self.runtime()?.spawn(pump);
        Ok(Rows::running(
            schema,
            receiver,
            Running {
                task: task.abort_handle(),
                at_end: Box::new(guard),
            },
        ))
    }

    /// Runs a query to its end and writes its rows to a sink.
    pub(crate) fn write(
        &self,
        plan: &LogicalPlan,
        catalog: &StatementCatalog,
        target: &str,
        writer: Box<dyn SinkWriter>,
    ) -> Result<SinkSummary> {
        let physical = self.ready_plan(plan, catalog)?;
        let letters = self.open_letters(&physical, catalog)?;
        letters.check_apart(target)?;
        let schema = output_schema(plan);
        let context = letters.context(&catalog.state);
        let cancelled = Arc::clone(&catalog.cancelled);
        let pool = self.pool()?;
        let limits = (self.thread_count(), catalog.state.config().batch_size());
        let work = async move {
            let rows = execute_stream(physical, context)?;
            let writer = write_rows(rows, &schema, writer, &pool, limits).await?;
            if cancelled.load(Relaxed) {
                Err(Error::Cancelled)
            } else {
                letters.commit()?;
                pool.install(|| writer.commit())
            }
        };
        let summary = self.block_on(work);
        self.note_bad_rows(&watched(catalog));
        self.inner.progress.clear();
        summary
    }

    /// Runs a query to its end and keeps its rows.
    pub(crate) fn collect(&self, plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<Vec<RecordBatch>> {
        self.stream(plan, catalog)?.collect_batches()
    }

    /// Runs async work on the session's threads and waits for it, from any thread.
    pub(crate) fn block_on<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let task = self.runtime()?.spawn(work);
        match futures::executor::block_on(task) {
            Ok(result) => result,
            Err(error) => Err(task_error(&error)),
        }
    }

    /// Loads the tables a plan reads, then makes it one that runs.
    pub(crate) fn ready_plan(
        &self,
        plan: &LogicalPlan,
        catalog: &StatementCatalog,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.ready_plan_with(plan, catalog, &catalog.state)
    }

    fn ready_plan_with(
        &self,
        plan: &LogicalPlan,
        catalog: &StatementCatalog,
        state: &SessionState,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.load_tables(plan, catalog)?;
        for name in relations_of(plan)? {
            if let (Some(Entry::Stream(stream)), Some(request)) =
                (catalog.registry.get(&name), catalog.requests.get(&name))
            {
                self.inner
                    .progress
                    .watch_stream(&name, Arc::clone(&request.report), stream.source.size());
                if stream.source.is_unbounded() {
                    let message = match stream.source.has_end_now() {
                        true => format!("stream {name} goes on: this reads what it holds now, and ends"),
                        false => format!(
                            "stream {name} has no end: this reads on until its LIMIT, or until it is stopped"
                        ),
                    };
                    self.warn(Warning::new(WarningKind::ReadOnce, message));
                }
            }
        }
        let mut state = state.clone();
        state.config_mut().set_extension(self.pins_for(plan, catalog)?);
        let plan = plan.clone();
        let cancelled = Arc::clone(&catalog.cancelled);
        let physical = self.block_on(async move { Ok(plan_physical(&plan, &state, cancelled).await?) })?;
        *self.inner.lookups.lock() = lookups_of(&physical);
        Ok(physical)
    }

    /// Returns the versions of the tables that a plan reads: those that its statement reads already,
    /// if they are all there.
    fn pins_for(&self, plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<Arc<Pins>> {
        let tables = tables_of(plan)?;
        let mut pins = catalog.pins.lock();
        if !pins.hold(&tables) {
            *pins = Arc::new(Pins::take(&tables)?);
        }
        Ok(Arc::clone(&pins))
    }

    /// Warns where a table's declared key is not one.
    pub(crate) fn note_duplicate_keys(&self, table: &Table) -> Result<()> {
        // The versions of a key are many rows of it.
        if table.primary_key().is_empty() || table.versions().is_some() {
            return Ok(());
        }
        let snapshot = table.snapshot()?;
        if snapshot.is_live() {
            return Ok(());
        }
        let key = KeySpec::of_columns(table.schema(), table.primary_key());
        let index = snapshot.index(&key, self.thread_count())?;
        let Some((first, second)) = index.first_duplicate() else {
            return Ok(());
        };
        let rows = snapshot.rows()?;
        let names: Vec<_> = table
            .primary_key()
            .iter()
            .map(|&at| table.schema().field(at).name().as_str())
            .collect();
        let key = table
            .primary_key()
            .iter()
            .map(|&at| arrow::util::display::array_value_to_string(rows.column(at), first as usize))
            .collect::<Result<Vec<_>, _>>()?;
        self.warn(Warning::new(
            WarningKind::DuplicateKey,
            format!(
                "table {}: PRIMARY KEY ({}) has duplicates: {} rows repeat a key, for example ({}) in rows {} and {}; \
                 a join gives one row for each",
                table.name(),
                names.join(", "),
                index.duplicate_rows(),
                key.join(", "),
                u64::from(first) + 1,
                u64::from(second) + 1,
            ),
        ));
        Ok(())
    }

    pub(crate) fn note_bad_rows(&self, reports: &[(String, Arc<crate::connector::SourceReport>)]) {
        self.inner.note_bad_rows(reports);
    }

    pub(crate) fn state(&self) -> Result<SessionState> {
        let settings = self.inner.settings.read().clone();
        let mut config = SessionConfig::from(settings.datafusion)
            .with_target_partitions(settings.threads)
            .with_batch_size(settings.batch_rows)
            .with_extension(Arc::new(LookupTuning {
                interleaves: settings.interleaves,
                threads: settings.threads,
                is_long: false,
            }));
        config.options_mut().sql_parser.parse_float_as_decimal = true;
        Ok(SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(&self.inner.environment))
            .with_physical_optimizer_rules(physical_rules())
            .build())
    }
}

/// Keeps what a running query needs alive and notes its bad rows when it ends.
struct StreamGuard {
    inner: Arc<Inner>,
    reports: Vec<(String, Arc<crate::connector::SourceReport>)>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.inner.note_bad_rows(&self.reports);
        self.inner.progress.clear();
    }
}

fn watched(catalog: &StatementCatalog) -> Vec<(String, Arc<crate::connector::SourceReport>)> {
    catalog
        .requests
        .iter()
        .map(|(name, request)| (name.clone(), Arc::clone(&request.report)))
        .collect()
}

/// Sends a plan's batches, or its first error, to whoever takes them.
async fn pump(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    schema: SchemaRef,
    letters: Arc<OpenLetters>,
    sender: &mpsc::Sender<Result<RecordBatch>>,
) {
    let mut rows = match execute_stream(plan, context) {
        Ok(rows) => rows,
        Err(error) => {
            let _ = sender.send(Err(error.into())).await;
            return;
        }
    };
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(Error::from).and_then(|batch| named(batch, &schema));
        let failed = batch.is_err();
        if sender.send(batch).await.is_err() || failed {
            return;
        }
    }
    if let Err(error) = letters.commit() {
        let _ = sender.send(Err(error)).await;
    }
}

/// Returns the names of the relations a plan scans, subqueries included.
pub(crate) fn relations_of(plan: &LogicalPlan) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            names.insert(scan.table_name.table().to_string());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(names)
}

/// Returns the tables that a plan scans, subqueries included, each once.
pub(crate) fn tables_of(plan: &LogicalPlan) -> Result<Vec<Arc<Table>>> {
    let mut tables: Vec<Arc<Table>> = Vec::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            let provider: &dyn TableProvider = provider.as_ref();
            let rows = provider.downcast_ref::<TableRows>();
            if let Some(rows) =
                rows.filter(|rows| !tables.iter().any(|there| Arc::ptr_eq(there, &rows.table)))
            {
                tables.push(Arc::clone(&rows.table));
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tables)
}

/// Returns a plan's columns as they were named when it was planned.
pub(crate) fn output_schema(plan: &LogicalPlan) -> SchemaRef {
    let planned = plan.schema().inner();
    let plain = |field: &FieldRef| {
        let name = plain_name(field.name());
        if name == field.name() {
            Arc::clone(field)
        } else {
            Arc::new(field.as_ref().clone().with_name(name))
        }
    };
    let fields: Vec<FieldRef> = planned.fields().iter().map(plain).collect();
    Arc::new(Schema::new_with_metadata(fields, planned.metadata().clone()))
}

/// Gives a batch the planned names. A column that the plan says is never NULL may say so no more.
pub(crate) fn named(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    if batch.schema_ref() == schema {
        return Ok(batch);
    }
    let (_, columns, rows) = batch.into_parts();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    let schema = Arc::clone(schema);
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}
