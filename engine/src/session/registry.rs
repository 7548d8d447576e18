//! The relations of a session, and how the planner looks them up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::catalog::{TableFunctionArgs, TableProvider};
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as PlanResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableSource};
use fletching_planner::{Catalog, Relation, RelationKind, SqlError, SqlErrorKind, Versions, ViewSource};
use parking_lot::Mutex;

use super::event_time::StreamTime;
use crate::connector::{
    self, Connector, MemoryStream, OpenStream, Options, RelationSpec, Results, ScanRequest, Sink, Source,
};
use crate::error::Error;
use crate::exec::{InputProvider, SinkProvider, StreamInput, StreamProvider, TableRows};
use crate::table::{Pins, Table};

/// A stream of a session.
#[derive(Debug, Clone)]
pub(crate) struct StreamEntry {
    pub(crate) source: Arc<dyn Source>,
    /// The same, where the program fills it.
    pub(crate) memory: Option<Arc<MemoryStream>>,
    pub(crate) connector: String,
    /// Its event time, where it declares one.
    pub(crate) event_time: Option<StreamTime>,
}

/// A sink of a session. Without declared columns it takes those of what is written first.
#[derive(Debug, Clone)]
pub(crate) struct SinkEntry {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) schema: Option<SchemaRef>,
    pub(crate) connector: String,
    /// The results, where the program takes them.
    pub(crate) results: Option<Results>,
}

/// A named query.
#[derive(Debug, Clone)]
pub(crate) struct ViewEntry {
    pub(crate) plan: LogicalPlan,
    pub(crate) text: String,
}

/// A relation of a session.
#[derive(Debug, Clone)]
pub(crate) enum Entry {
    Stream(StreamEntry),
    Table { table: Arc<Table>, connector: String },
    Sink(SinkEntry),
    View(Arc<ViewEntry>),
}

impl Entry {
    /// Makes a stream that the program fills.
    pub(crate) fn memory_stream(schema: SchemaRef) -> Self {
        let memory = Arc::new(MemoryStream::new(schema));
        Self::Stream(StreamEntry {
            source: Arc::clone(&memory) as _,
            memory: Some(memory),
            connector: "memory".into(),
            event_time: None,
        })
    }

    /// Makes a stream that the program fills, and that goes on.
    pub(crate) fn open_stream(memory: &Arc<MemoryStream>) -> Self {
        Self::Stream(StreamEntry {
            source: Arc::new(OpenStream(Arc::clone(memory))),
            memory: Some(Arc::clone(memory)),
            connector: "memory".into(),
            event_time: None,
        })
    }

    pub(crate) fn kind(&self) -> RelationKind {
        match self {
            Self::Stream(_) => RelationKind::Stream,
            Self::Table { .. } => RelationKind::Table,
            Self::Sink(_) => RelationKind::Sink,
            Self::View(_) => RelationKind::View,
        }
    }

    pub(crate) fn schema(&self) -> Option<SchemaRef> {
        match self {
            Self::Stream(stream) => Some(stream.source.schema()),
            Self::Table { table, .. } => Some(Arc::clone(table.schema())),
            Self::Sink(sink) => sink.schema.clone(),
            Self::View(view) => Some(Arc::clone(view.plan.schema().inner())),
        }
    }
}

/// All relations by name; one statement works on the copy it began with.
pub(crate) type Registry = BTreeMap<String, Entry>;

/// A registry as one statement sees it.
pub(crate) struct StatementCatalog {
    pub(crate) registry: Registry,
    /// DataFusion's side of the session: its settings as they are for this statement.
    pub(crate) state: SessionState,
    pub(crate) cancelled: Arc<AtomicBool>,
    /// The request that streams are scanned with, by name: made once, so that its report can be
    /// watched.
    pub(crate) requests: BTreeMap<String, ScanRequest>,
    /// Opens files that a query names by their path.
    pub(crate) files: Option<Arc<dyn Connector>>,
    opened: Mutex<BTreeMap<String, Arc<dyn Source>>>,
    /// The one stream whose batches a prepared query is called with.
    pub(crate) input: Option<String>,
    /// The versions of tables that the statement reads, once it reads any.
    pub(super) pins: Mutex<Arc<Pins>>,
}

impl StatementCatalog {
    pub(crate) fn new(
        registry: Registry,
        state: SessionState,
        cancelled: Arc<AtomicBool>,
        files: Option<Arc<dyn Connector>>,
    ) -> Self {
        let requests = registry
            .iter()
            .filter(|(_, entry)| entry.kind() == RelationKind::Stream)
            .map(|(name, _)| (name.clone(), ScanRequest::all()))
            .collect();
        Self {
            registry,
            state,
            cancelled,
            requests,
            files,
            opened: Mutex::default(),
            input: None,
            pins: Mutex::default(),
        }
    }

    /// Opens a file named in place of a relation, as in `FROM 'trades.parquet'`.
    fn file(&self, path: &str) -> Result<Option<Relation>, SqlError> {
        let Some(files) = self.files.as_ref().filter(|_| path.contains(['.', '/'])) else {
            return Ok(None);
        };
        let opened = self.opened.lock().get(path).cloned();
        let source = match opened {
            Some(source) => source,
            None => {
                let spec = RelationSpec {
                    name: path.to_string(),
                    kind: connector::RelationKind::Stream,
                    schema: None,
                    primary_key: Vec::new(),
                    options: Options::new(format!("file {path}")).with("path", path),
                };
                let failed =
                    |error: Error| SqlError::new(SqlErrorKind::UnknownName, error.to_string()).at(None, path);
                let source = files.source(&spec).map_err(failed)?;
                self.opened.lock().insert(path.to_string(), Arc::clone(&source));
                source
            }
        };
        let input = StreamInput {
            name: path.to_string(),
            source,
            request: ScanRequest::all(),
            cancelled: Arc::clone(&self.cancelled),
        };
        let source = provider_as_source(Arc::new(StreamProvider(input)));
        Ok(Some(Relation {
            kind: RelationKind::Stream,
            source,
            primary_key: Vec::new(),
            versions: None,
            on_miss: None,
            miss_then: None,
            traced: None,
        }))
    }

    fn source(&self, name: &str, entry: &Entry) -> Arc<dyn TableSource> {
        let provider: Arc<dyn TableProvider> = match entry {
            Entry::Stream(stream) if self.input.as_deref() == Some(name) => {
                Arc::new(InputProvider(stream.source.schema()))
            }
            Entry::Stream(stream) => Arc::new(StreamProvider(StreamInput {
                name: name.to_string(),
                source: Arc::clone(&stream.source),
                request: self.requests.get(name).cloned().unwrap_or_else(ScanRequest::all),
                cancelled: Arc::clone(&self.cancelled),
            })),
            Entry::Table { table, .. } => Arc::new(TableRows::new(table)),
            Entry::Sink(sink) => Arc::new(SinkProvider(sink.schema.clone())),
            Entry::View(view) => return Arc::new(ViewSource::new(view.plan.clone())),
        };
        provider_as_source(provider)
    }
}

impl Catalog for StatementCatalog {
    fn relation(&self, name: &str) -> Result<Option<Relation>, SqlError> {
        let Some(entry) = self.registry.get(name) else {
            return self.file(name);
        };
        let relation = Relation {
            kind: entry.kind(),
            source: self.source(name, entry),
            primary_key: Vec::new(),
            versions: None,
            on_miss: None,
            miss_then: None,
            traced: None,
        };
        let Entry::Table { table, .. } = entry else {
            return Ok(Some(relation));
        };
        let key = table.primary_key().iter();
        let traced = TableRows::traced(table);
        let versions = table.versions().map(|versions| Versions {
            column: table.schema().field(versions.column).name().clone(),
            retention: versions.retention.clone(),
        });
        Ok(Some(Relation {
            primary_key: key.map(|&at| table.schema().field(at).name().clone()).collect(),
            versions,
            on_miss: table.options().miss.on_miss,
            miss_then: table.options().miss.then,
            traced: traced.map(|traced| provider_as_source(Arc::new(traced))),
            ..relation
        }))
    }

    fn relation_names(&self) -> Vec<String> {
        self.registry.keys().cloned().collect()
    }

    fn table_function(&self, name: &str, args: &[Expr]) -> Option<PlanResult<Arc<dyn TableSource>>> {
        let function = datafusion::functions_table::all_default_table_functions()
            .into_iter()
            .find(|function| function.name().eq_ignore_ascii_case(name))?;
        let args = TableFunctionArgs::new(args, &self.state);
        Some(
            function
                .create_table_provider_with_args(args)
                .map(provider_as_source),
        )
    }

    fn recursion_table(&self, name: &str, schema: SchemaRef) -> PlanResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }
}
