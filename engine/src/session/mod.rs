//! The session: relations, settings, threads, and the one entry to all of SQL.

mod change;
mod check_join;
mod dead_letters;
mod derived;
mod event_time;
mod follow;
mod pipeline_settings;
mod pipelines;
mod progress;
mod registry;
mod rows;
mod run;
mod settings;
mod show;
mod sides;
mod statements;
mod streams;
mod table_options;
mod tables;
mod writing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use fletching_planner::{
    ParsedStatement, Planned, Planner, RelationKind, Warning, WarningKind, without_secrets,
};
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Runtime;

pub(crate) use dead_letters::{context_with, letter_sinks};
use pipelines::Continuous;
pub(crate) use progress::ProgressBoard;
pub use progress::{Activity, ActivityKind, ActivityState};
pub(crate) use registry::{Entry, Registry, StatementCatalog, StreamEntry};
pub use rows::{Outcome, Rows, Summary};
pub(crate) use run::{named, output_schema, relations_of, tables_of};
pub(crate) use show::sql_type;

use crate::checkpoint::{Schemes, StorageScheme};
use crate::connector::{Connector, SourceReport};
use crate::error::{Error, Result};
use crate::operator::{LookupCounts, LookupJoin};
use crate::pipeline::Pipeline;
use crate::prepared::Prepared;
use crate::table::{Table, TableEvents, TableOptions, TableOrigin, TableWatch};
use settings::Settings;

/// Everything a program needs of Fletching: cheap to clone, shared by threads.
///
/// ```
/// use fletching::Session;
///
/// let session = Session::new()?;
/// session.sql("CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id))")?;
/// session.sql("INSERT INTO users VALUES (1, 'gold'), (2, 'silver')")?;
/// let rows = session.sql("SELECT tier FROM users WHERE id = 2")?.collect_batches()?;
/// assert_eq!(rows[0].num_rows(), 1);
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Clone)]
pub struct Session {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("relations", &self.names())
            .finish_non_exhaustive()
    }
}

pub(crate) struct Inner {
    pub(crate) registry: RwLock<Registry>,
    pub(crate) settings: RwLock<Settings>,
    pub(crate) environment: Arc<RuntimeEnv>,
    pub(crate) planner: Planner,
    pub(crate) progress: ProgressBoard,
    pub(crate) table_events: Arc<TableEvents>,
    /// The lookups of the statement that ran last.
    lookups: Mutex<Vec<Arc<LookupJoin>>>,
    connectors: BTreeMap<&'static str, Arc<dyn Connector>>,
    warnings: Mutex<Vec<Warning>>,
    /// Made when first needed and again when the number of threads changes.
    threads: Mutex<Option<Threads>>,
    /// The flags of the statements at work.
    running: Mutex<Vec<std::sync::Weak<AtomicBool>>>,
    /// The pipelines started, those that have ended too.
    pipelines: Mutex<Vec<Pipeline>>,
}

/// The threads of a session: one set for async work, one for data parallelism.
struct Threads {
    count: usize,
    runtime: Option<Arc<Runtime>>,
    pool: Arc<rayon::ThreadPool>,
}

impl Inner {
    fn note_bad_rows(&self, reports: &[(String, Arc<SourceReport>)]) {
        for (name, report) in reports {
            let bad = report.bad_rows();
            if bad > 0 {
                let examples = report.bad_row_examples().join("; ");
                let rows = if bad == 1 { "row was" } else { "rows were" };
                let message = format!("{name}: {bad} bad {rows} left out: {examples}");
                self.warnings
                    .lock()
                    .push(Warning::new(WarningKind::BadRows, message));
            }
        }
    }
}

/// Collects what a session is made of.
#[derive(Debug, Default)]
pub struct SessionBuilder {
    threads: Option<usize>,
    connectors: Vec<Arc<dyn Connector>>,
    storages: Vec<Arc<dyn StorageScheme>>,
}

impl SessionBuilder {
    /// Uses at most this many cores; the default is `FLETCHING_THREADS`, or all.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Adds connectors, as from `fletching_connectors::all()`. `memory` is always there.
    #[must_use]
    pub fn connectors(mut self, connectors: impl IntoIterator<Item = Arc<dyn Connector>>) -> Self {
        self.connectors.extend(connectors);
        self
    }

    /// Adds storages for checkpoints, as from `fletching_connectors::storages()`. Folders of the file system
    /// are always there.
    #[must_use]
    pub fn storages(mut self, storages: impl IntoIterator<Item = Arc<dyn StorageScheme>>) -> Self {
        self.storages.extend(storages);
        self
    }

    /// Makes the session. No thread is started yet.
    ///
    /// # Errors
    /// Fails where the number of threads makes no sense.
    pub fn build(self) -> Result<Session> {
        let mut settings = Settings::from_environment()?;
        if let Some(threads) = self.threads {
            settings.threads = Settings::check_threads(threads)?;
        }
        settings.storages = Schemes::new(self.storages);
        let inner = Inner {
            registry: RwLock::default(),
            settings: RwLock::new(settings),
            environment: Arc::new(RuntimeEnv::default()),
            planner: Planner::new(),
            progress: ProgressBoard::default(),
            table_events: Arc::default(),
            lookups: Mutex::default(),
            connectors: self
                .connectors
                .into_iter()
                .map(|connector| (connector.name(), connector))
                .collect(),
            warnings: Mutex::default(),
            threads: Mutex::new(None),
            running: Mutex::default(),
            pipelines: Mutex::default(),
        };
        Ok(Session {
            inner: Arc::new(inner),
        })
    }
}

/// Cancels what a session is running.
///
/// ```
/// let session = fletching::Session::new()?;
/// session.cancel_handle().cancel(); // nothing runs: nothing happens
/// assert!(session.sql("SELECT 1").is_ok());
/// # Ok::<(), fletching::Error>(())
/// ```
#[derive(Clone)]
pub struct CancelHandle {
    inner: Arc<Inner>,
}

impl fmt::Debug for CancelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelHandle")
    }
}

impl CancelHandle {
    /// Ends every running statement, and every [`Prepared::enrich_batches`](crate::Prepared::enrich_batches),
    /// with [`Error::Cancelled`]; sinks leave nothing behind.
    pub fn cancel(&self) {
        for flag in self
            .inner
            .running
            .lock()
            .iter()
            .filter_map(std::sync::Weak::upgrade)
        {
            flag.store(true, Relaxed);
        }
    }
}

impl Session {
    /// Makes a session with all cores and the `memory` connector alone.
    ///
    /// # Errors
    /// Fails where `FLETCHING_THREADS` is not a number.
    pub fn new() -> Result<Self> {
        Self::builder().build()
    }

    /// Starts making a session.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }

    /// Runs every statement of a script and returns the rows of the last one (none, with no
    /// columns, where it gives none). The rows of the others are computed and let go.
    ///
    /// # Errors
    /// Fails at the first statement that does; those before it stay done.
    pub fn sql(&self, script: &str) -> Result<Rows> {
        let mut last = Outcome::done("");
        for statement in self.parse(script)? {
            if let Outcome::Rows(rows) = std::mem::replace(&mut last, Outcome::done("")) {
                for batch in rows {
                    batch?;
                }
            }
            last = self.execute(&statement)?;
        }
        Ok(last.into_rows())
    }

    /// Parses a script without running it.
    ///
    /// # Errors
    /// Fails at the first token that does not fit, with its place.
    pub fn parse(&self, script: &str) -> Result<Vec<ParsedStatement>> {
        Ok(fletching_planner::parse(script)?)
    }

    /// Runs one statement. A query starts, and its rows are computed as they are taken.
    ///
    /// # Errors
    /// Fails where the statement cannot be planned or carried out.
    pub fn execute(&self, statement: &ParsedStatement) -> Result<Outcome> {
        self.inner.lookups.lock().clear();
        let catalog = self.catalog()?;
        let planned = self.plan(statement, &catalog)?;
        for warning in planned.warnings {
            self.warn(warning);
        }
        match self.continuous(statement, &planned.statement, &catalog)? {
            Some(Continuous::Sink(create, query)) => self.start_sink(&create, query),
            Some(Continuous::Rows(query)) => self.follow(query, &catalog).map(Outcome::Rows),
            None => self.carry_out(planned.statement, &catalog),
        }
    }

    /// Plans one statement and registers the names it creates, but runs and loads nothing.
    ///
    /// # Errors
    /// Fails where [`Session::execute`] would before it touches a row.
    pub fn check(&self, statement: &ParsedStatement) -> Result<()> {
        let catalog = self.catalog()?;
        let planned = self.plan(statement, &catalog)?;
        for warning in planned.warnings {
            self.warn(warning);
        }
        self.continuous(statement, &planned.statement, &catalog)?;
        self.check_planned(planned.statement, &catalog)
    }

    /// Prepares a query over one stream, to be called with batches of it. Tables are loaded and
    /// indexed now.
    ///
    /// # Errors
    /// Fails where the text is not one query over exactly one stream, or a table cannot be loaded.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// session.sql(
    ///     "CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id));
    ///      INSERT INTO users VALUES (7, 'gold');
    ///      CREATE STREAM trades (user_id BIGINT)",
    /// )?;
    /// let query = session.prepare("SELECT t.user_id, u.tier FROM trades t JOIN users u ON t.user_id = u.id")?;
    ///
    /// let user_id: ArrayRef = Arc::new(Int64Array::from(vec![7, 8, 7]));
    /// let enriched = query.enrich(&RecordBatch::try_from_iter([("user_id", user_id)])?)?;
    /// assert_eq!(enriched.num_rows(), 2);
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn prepare(&self, query: &str) -> Result<Prepared> {
        Prepared::new(self, query, None)
    }

    /// Prepares a query over a stream that no other statement knows: `name`, with these columns.
    /// For an example see [`Prepared::enrich_batches`].
    ///
    /// # Errors
    /// As [`Session::prepare`], and where the query does not read `name`.
    pub fn prepare_over(&self, name: &str, schema: SchemaRef, query: &str) -> Result<Prepared> {
        Prepared::new(self, query, Some((name, schema)))
    }

    /// Creates a table of batches. All must have the columns of the first.
    ///
    /// # Errors
    /// Fails where there is no batch, the name is taken, a key column is not there, or the batches differ.
    pub fn create_table(&self, name: &str, batches: Vec<RecordBatch>, primary_key: &[&str]) -> Result<()> {
        let Some(first) = batches.first() else {
            return Err(Error::Batch {
                message: "a table needs at least one batch, if an empty one".into(),
            });
        };
        let key: Vec<_> = primary_key.iter().map(ToString::to_string).collect();
        let table = Table::new(name, first.schema_ref(), &key, TableOrigin::Memory)?
            .with_changes(self.default_changes())?
            .with_options(TableOptions::default(), Arc::clone(&self.inner.table_events));
        table.append_all(&batches)?;
        self.note_duplicate_keys(&table)?;
        self.register(
            name,
            Entry::Table {
                table: Arc::new(table),
                connector: "memory".into(),
            },
            false,
        )
    }

    /// Returns a table.
    pub fn table(&self, name: &str) -> Option<Arc<Table>> {
        match self.inner.registry.read().get(name) {
            Some(Entry::Table { table, .. }) => Some(Arc::clone(table)),
            _ => None,
        }
    }

    /// Takes the warnings so far.
    pub fn take_warnings(&self) -> Vec<Warning> {
        std::mem::take(&mut *self.inner.warnings.lock())
    }

    /// Returns what the running statement reads, for progress bars.
    pub fn progress(&self) -> Vec<Activity> {
        self.inner.progress.activities()
    }

    /// Returns what the lookups of the statement that ran last have come to, or come to so far: one
    /// entry for each table joined, in the order of the joins. For an example see [`LookupCounts`].
    pub fn lookup_counts(&self) -> Vec<LookupCounts> {
        self.inner
            .lookups
            .lock()
            .iter()
            .flat_map(|join| join.counts())
            .collect()
    }

    /// Watches the tables of this session: every change of a table's state from now on, and every
    /// new attempt to read its source.
    ///
    /// ```
    /// use fletching::Session;
    ///
    /// let session = Session::new()?;
    /// let changes = session.watch_tables();
    /// session.sql("CREATE TABLE users (id BIGINT)")?;
    /// assert!(changes.try_next().is_none()); // it has no source: nothing loads
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn watch_tables(&self) -> TableWatch {
        self.inner.table_events.watch()
    }

    /// Returns a handle that cancels what this session runs.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle {
            inner: Arc::clone(&self.inner),
        }
    }

    /// Changes a setting, as `SET name = value` does.
    ///
    /// # Errors
    /// Fails where there is no such setting or the value does not fit.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        self.inner.settings.write().set(name, value)
    }

    /// Returns the relations and what they are.
    pub fn names(&self) -> Vec<(String, RelationKind)> {
        self.inner
            .registry
            .read()
            .iter()
            .map(|(name, entry)| (name.clone(), entry.kind()))
            .collect()
    }

    /// Returns the columns of a relation; none where there is no such relation.
    pub fn columns(&self, relation: &str) -> Vec<String> {
        let schema = self.inner.registry.read().get(relation).and_then(Entry::schema);
        schema.map_or_else(Vec::new, |schema| {
            schema.fields().iter().map(|field| field.name().clone()).collect()
        })
    }

    /// Returns the names of all functions.
    pub fn function_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self
            .inner
            .planner
            .functions()
            .names()
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        names.dedup();
        names
    }

    /// Returns the names of all settings.
    pub fn setting_names(&self) -> Vec<String> {
        let settings = self.inner.settings.read().list().into_iter();
        settings.map(|(name, _)| name.to_string()).collect()
    }

    pub(crate) fn warn(&self, warning: Warning) {
        self.inner.warnings.lock().push(warning);
    }

    /// Makes the flag by which what begins now is cancelled, as long as somebody holds it.
    pub(crate) fn cancel_flag(&self) -> Arc<AtomicBool> {
        let cancelled = Arc::new(AtomicBool::new(false));
        let mut running = self.inner.running.lock();
        running.retain(|flag| flag.strong_count() > 0);
        running.push(Arc::downgrade(&cancelled));
        cancelled
    }

    /// Copies the registry for one statement, with a flag to cancel it by.
    pub(crate) fn catalog(&self) -> Result<StatementCatalog> {
        let cancelled = self.cancel_flag();
        let registry = self.inner.registry.read().clone();
        Ok(StatementCatalog::new(
            registry,
            self.state()?,
            cancelled,
            self.connector("file"),
        ))
    }

    pub(crate) fn plan(&self, statement: &ParsedStatement, catalog: &StatementCatalog) -> Result<Planned> {
        let plan = || {
            self.inner
                .planner
                .plan(statement, catalog, catalog.state.config_options())
        };
        // DataFusion panics on a few plans it should refuse; that must not end the program.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(plan)) {
            Ok(planned) => Ok(planned?),
            Err(_) => Err(Error::internal(format!(
                "planning panicked on: {}",
                without_secrets(statement.text())
            ))),
        }
    }

    pub(crate) fn connector(&self, name: &str) -> Option<Arc<dyn Connector>> {
        self.inner.connectors.get(name).cloned()
    }

    pub(crate) fn connector_names(&self) -> Vec<&'static str> {
        self.inner.connectors.keys().copied().chain(["memory"]).collect()
    }

    pub(crate) fn register(&self, name: &str, entry: Entry, replace: bool) -> Result<()> {
        let mut registry = self.inner.registry.write();
        if let Some(there) = registry.get(name).filter(|_| !replace) {
            return Err(Error::Option {
                subject: format!("{} {name}", entry.kind().word()),
                message: format!("there is already a {} of this name", there.kind().word()),
                hint: Some("choose another name, or say CREATE OR REPLACE".into()),
                location: None,
            });
        }
        if let Some(Entry::Table { table, .. }) = registry.insert(name.to_string(), entry) {
            table.retire();
        }
        Ok(())
    }

    /// Returns the number of threads that may be used now.
    pub(crate) fn thread_count(&self) -> usize {
        self.inner.settings.read().threads
    }

    pub(crate) fn runtime(&self) -> Result<Arc<Runtime>> {
        self.with_threads(|threads| threads.runtime.clone())?
            .ok_or_else(|| Error::internal("the session's threads have ended"))
    }

    pub(crate) fn pool(&self) -> Result<Arc<rayon::ThreadPool>> {
        self.with_threads(|threads| Arc::clone(&threads.pool))
    }

    fn with_threads<T>(&self, take: impl FnOnce(&Threads) -> T) -> Result<T> {
        let count = self.inner.settings.read().threads;
        let mut threads = self.inner.threads.lock();
        let fresh = match threads.take().filter(|threads| threads.count == count) {
            Some(there) => there,
            None => Threads::start(count)?,
        };
        Ok(take(threads.insert(fresh)))
    }
}

impl Threads {
    fn start(count: usize) -> Result<Self> {
        let failed = |what: &str, error: &dyn fmt::Display| Error::Resource {
            message: format!("cannot start {count} threads for {what}: {error}; set fewer with SET threads"),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(count)
            .thread_name("fletching")
            .build()
            .map_err(|error| failed("queries", &error))?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|at| format!("fletching-load-{at}"))
            .build()
            .map_err(|error| failed("loading", &error))?;
        Ok(Self {
            count,
            runtime: Some(Arc::new(runtime)),
            pool: Arc::new(pool),
        })
    }
}

impl Drop for Threads {
    /// Lets the threads end by themselves: a runtime must not wait for itself, nor inside another.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}
