//! Starting pipelines: `CREATE SINK … AS SELECT` over a stream that does not end.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use fletching_planner::{
    CreateRelation, ParsedStatement, RelationKind, SqlError, Statement, Warning, WarningKind, without_secrets,
};

use super::event_time::StreamTime;
use super::follow::{self, Keeping};
use super::pipeline_settings::PipelineSettings;
use super::rows::Outcome;
use super::sides::covers_computing;
use super::{Entry, Session, StatementCatalog, StreamEntry, output_schema, relations_of};
use crate::checkpoint::{Checkpoint, Keeper, PipelineIdentity, folder_name};
use crate::connector::{self, FeedRequest, OnBadRow};
use crate::error::{Error, Result};
use crate::pipeline::{EpochLimits, EventTime, Parts, Pipeline, Resumed, check_plan, not_row_by_row};
use crate::prepared::Prepared;

/// A statement over a stream that does not end, planned.
pub(super) enum Continuous {
    /// `CREATE SINK … AS SELECT …`.
    Sink(Box<CreateRelation>, GoingOn),
    /// `SELECT … EMIT CHANGES`: whoever asked takes the rows.
    Rows(GoingOn),
}

/// A query over a stream that does not end, planned.
pub(super) struct GoingOn {
    /// The stream that is read, and which of its columns; all where none are named.
    stream: String,
    entry: StreamEntry,
    columns: Option<Vec<usize>>,
    /// The query without its LIMIT, the stream as its input.
    plan: LogicalPlan,
    catalog: StatementCatalog,
    limit: Option<u64>,
    /// The statement's text, and what tells it apart.
    identity: PipelineIdentity,
}

impl GoingOn {
    /// Returns the columns of its rows.
    pub(super) fn schema(&self) -> SchemaRef {
        output_schema(&self.plan)
    }

    /// Returns its stream where other instances read some of its partitions.
    pub(super) fn shared_stream(&self) -> Option<&str> {
        self.entry.source.is_shared().then_some(self.stream.as_str())
    }
}

impl Session {
    /// Starts a pipeline: a statement `CREATE SINK … AS SELECT …` over a stream that does not end.
    /// Tables are loaded before it begins; then it runs on threads of its own, until it is stopped
    /// or comes to its LIMIT.
    ///
    /// # Errors
    /// Fails where the text is another statement, the query cannot go on for ever, a table cannot
    /// be loaded, or the checkpoint cannot be used.
    ///
    /// ```
    /// use fletching::{PipelineState, Session};
    ///
    /// let session = Session::new()?;
    /// session.sql("CREATE STREAM trades (id BIGINT)")?;
    /// // A stream that the program fills ends where the batches do.
    /// let error = session.start("CREATE SINK s WITH (path = 'out/') AS SELECT id FROM trades").unwrap_err();
    /// assert_eq!(error.code(), "SQL_UNSUPPORTED");
    /// assert!(session.pipelines().is_empty());
    /// # Ok::<(), fletching::Error>(())
    /// ```
    pub fn start(&self, statement: &str) -> Result<Pipeline> {
        let statements = self.parse(statement)?;
        let [statement] = statements.as_slice() else {
            return Err(Error::Batch {
                message: format!("start takes one statement, found {}", statements.len()),
            });
        };
        let catalog = self.catalog()?;
        let planned = self.plan(statement, &catalog)?;
        for warning in planned.warnings {
            self.warn(warning);
        }
        match self.continuous(statement, &planned.statement, &catalog)? {
            Some(Continuous::Sink(create, query)) => self.start_pipeline(&create, query),
            _ => Err(Error::Sql(
                SqlError::unsupported("this statement does not go on: it is no pipeline").hint(
                    "start takes CREATE SINK … AS SELECT over an unbounded stream; run others with sql",
                ),
            )),
        }
    }

    /// Returns the pipelines started so far, those that have ended too.
    pub fn pipelines(&self) -> Vec<Pipeline> {
        self.inner.pipelines.lock().clone()
    }

    /// Takes a statement as one that goes on; none where all it reads has an end.
    pub(super) fn continuous(
        &self,
        statement: &ParsedStatement,
        planned: &Statement,
        catalog: &StatementCatalog,
    ) -> Result<Option<Continuous>> {
        let query = match planned {
            Statement::Create(create) if create.kind == RelationKind::Sink => create.query.as_ref(),
            Statement::Query(plan) if statement.emits_changes() => Some(plan),
            Statement::Insert { target, plan } => match self.unbounded(plan, catalog)?.first() {
                Some(stream) if !has_limit(plan) => return Err(endless_insert(target, stream)),
                _ => None,
            },
            _ => None,
        };
        let Some(query) = query else {
            return match statement.emits_changes() {
                true => Err(nothing_to_emit("this statement gives no rows as they come")),
                false => Ok(None),
            };
        };
        if self.unbounded(query, catalog)?.is_empty() {
            return match statement.emits_changes() {
                true => Err(nothing_to_emit("all that the query reads has an end")),
                false => Ok(None),
            };
        }
        self.going_on(statement, query, catalog).map(Some)
    }

    /// Plans a query over a stream that does not end as one that goes on.
    fn going_on(
        &self,
        statement: &ParsedStatement,
        query: &LogicalPlan,
        catalog: &StatementCatalog,
    ) -> Result<Continuous> {
        let (statement_without_limit, limit) = statement.without_limit()?;
        let streams = streams_of(query, catalog)?;
        let [stream] = streams.as_slice() else {
            return Err(Error::Sql(
                SqlError::unsupported(format!(
                    "a pipeline reads one stream, found {}",
                    streams.join(", ")
                ))
                .hint("declare the others as TABLE: they are then looked up by key"),
            ));
        };
        let mut catalog = self.catalog()?;
        let Some(Entry::Stream(entry)) = catalog.registry.get(stream).cloned() else {
            return Err(unnamed(stream));
        };
        let columns = match entry.source.bad_rows().on_bad {
            // Rows that become dead letters go there whole.
            OnBadRow::Letter(_) => None,
            _ => columns_read(query, stream, entry.event_time.as_ref())?,
        };
        if let Some(columns) = &columns {
            // Planned over the columns that the source will be asked for, and no others.
            let schema = Arc::new(entry.source.schema().project(columns)?);
            catalog
                .registry
                .insert(stream.clone(), Entry::memory_stream(schema));
        }
        catalog.input = Some(stream.clone());
        let planned = self.plan(&statement_without_limit, &catalog)?;
        let (create, plan) = match planned.statement {
            Statement::Create(mut create) => {
                let plan = create.query.take();
                (Some(create), plan)
            }
            Statement::Query(plan) => (None, Some(plan)),
            _ => (None, None),
        };
        let Some(plan) = plan else {
            return Err(Error::internal("a sink has lost its query"));
        };
        check_plan(&plan, stream)?;
        if let Some(warning) = covers_computing(&plan, stream, &entry.source.bad_rows().on_bad) {
            self.warn(warning);
        }
        let identity = PipelineIdentity {
            name: create
                .as_ref()
                .map_or_else(follow::name, |create| create.name.clone()),
            fingerprint: statement.fingerprint(),
            sql: without_secrets(statement.text()).into_owned(),
        };
        let going_on = GoingOn {
            stream: stream.clone(),
            entry,
            columns,
            plan,
            catalog,
            limit,
            identity,
        };
        Ok(match create {
            Some(create) => Continuous::Sink(create, going_on),
            None => Continuous::Rows(going_on),
        })
    }

    /// Creates a sink and starts its pipeline.
    pub(super) fn start_sink(&self, create: &CreateRelation, query: GoingOn) -> Result<Outcome> {
        let name = &create.name;
        if create.if_not_exists && self.inner.registry.read().contains_key(name) {
            return Ok(Outcome::done(format!("sink {name} is there already")));
        }
        let pipeline = self.start_pipeline(create, query)?;
        let from = match pipeline.stats().restored_epoch {
            0 => String::new(),
            epoch => format!(", going on after epoch {epoch}"),
        };
        Ok(Outcome::done(format!("sink {name} started{from}")))
    }

    fn start_pipeline(&self, create: &CreateRelation, query: GoingOn) -> Result<Pipeline> {
        if !create.or_replace && self.inner.registry.read().contains_key(&create.name) {
            return Err(self.name_is_taken(create));
        }
        // An older one of the same name is done before this one begins.
        self.end_pipeline(&create.name);
        let entry = self.sink_entry(create)?;
        let pipeline = self.assemble(query, entry.sink.as_ref(), Keeping::All)?;
        let name = pipeline.name().to_string();
        self.register(&name, Entry::Sink(entry), true)?;
        self.inner.pipelines.lock().push(pipeline.clone());
        Ok(pipeline)
    }

    /// Loads the tables, reads the checkpoint, opens source and sink, and starts the loop.
    pub(super) fn assemble(
        &self,
        query: GoingOn,
        sink: &dyn connector::Sink,
        keeping: Keeping,
    ) -> Result<Pipeline> {
        let GoingOn {
            stream,
            entry,
            columns,
            plan,
            catalog,
            limit,
            identity,
        } = query;
        let name = identity.name.clone();
        let schema = output_schema(&plan);
        let input = match &columns {
            Some(columns) => Arc::new(entry.source.schema().project(columns)?),
            None => entry.source.schema(),
        };
        let query = Prepared::of_plan(self, &plan, catalog, Arc::clone(&input))?;
        query.check_epoch_misses()?;
        if !query.is_row_by_row() {
            return Err(not_row_by_row(&stream));
        }
        self.inner.progress.clear();
        let settings = self.inner.settings.read().clone();
        let (keeper, checkpoint) = match keeping {
            Keeping::All => self.keeper(identity)?,
            Keeping::Nothing => (None, None),
        };
        let mut request = FeedRequest::all();
        request.batch_rows_max = settings.batch_rows;
        request.projection.clone_from(&columns);
        request.consumer = sink.reader_name(&name);
        request.hands_over = true;
        let is_shared = entry.source.is_shared();
        let (mut writer, feed, membership, resumed) = if is_shared {
            let resumed = Resumed::of_a_member(checkpoint.as_ref());
            let feed = entry.source.feed(&request)?;
            let membership = feed
                .membership()
                .ok_or_else(|| Error::internal("a shared source has no membership"))?;
            let writer = sink.shared_epochs(&schema, &name, &membership)?;
            (writer, feed, Some(membership), resumed)
        } else {
            let mut writer = sink.epochs(&schema, &name)?;
            let resumed = Resumed::new(checkpoint.as_ref(), keeper.as_ref(), writer.as_mut())?;
            request.from = resumed.state.positions();
            request.positions_are_shown = resumed.is_of_the_sink;
            let mut feed = entry.source.feed(&request)?;
            if keeping == Keeping::Nothing {
                feed = Box::new(follow::OnlyReads(feed));
            }
            (writer, feed, None, resumed)
        };
        let report = Arc::clone(&request.report);
        let bad_rows = self.bad_rows((&stream, entry.source.as_ref()), &name, writer.as_mut(), &report)?;
        let limits = limits(&settings.pipelines, keeper.is_some(), limit);
        let event_time = event_time(&entry, &input, &settings.pipelines, &resumed.watermarks)?;
        let late = (entry.event_time.as_ref(), &input);
        let sides = self.sides(
            (&stream, late),
            &query,
            writer.as_mut(),
            (&name, membership.as_ref()),
        )?;
        Pipeline::start(Parts {
            name,
            feed,
            stream,
            query: Arc::new(query),
            report,
            writer,
            keeper,
            limits,
            event_time,
            sides,
            bad_rows,
            state: resumed.state,
            is_shared,
            late: resumed.late,
        })
    }

    /// Opens the checkpoints of a pipeline, where it is to have any.
    fn keeper(&self, identity: PipelineIdentity) -> Result<(Option<Keeper>, Option<Checkpoint>)> {
        let settings = self.inner.settings.read().clone();
        let Some(path) = settings.pipelines.checkpoint_path else {
            return Ok((None, None));
        };
        let place = settings.storages.open(&path)?;
        let folder = place.storage().folder(&folder_name(&identity.name));
        let (keeper, found) = Keeper::open(folder, identity, settings.pipelines.checkpoint_keep)?;
        for damage in found.damage {
            let message = format!("{damage}; the one before is used");
            self.warn(Warning::new(WarningKind::NotReady, message));
        }
        Ok((Some(keeper), found.checkpoint))
    }

    /// Ends the pipeline of a sink, where it has one.
    pub(super) fn end_pipeline(&self, sink: &str) {
        let ended: Vec<_> = {
            let mut pipelines = self.inner.pipelines.lock();
            let (ended, others) = pipelines.drain(..).partition(|pipeline| pipeline.name() == sink);
            *pipelines = others;
            ended
        };
        for pipeline in ended {
            pipeline.stop();
            // Whether it ended well is told in its stats to whoever holds its handle.
            while !pipeline.wait_for(Duration::from_secs(1)) {}
        }
    }

    /// Returns the streams of a plan that have no end.
    fn unbounded(&self, plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<Vec<String>> {
        let mut streams = streams_of(plan, catalog)?;
        streams.retain(|name| match catalog.registry.get(name) {
            Some(Entry::Stream(StreamEntry { source, .. })) => source.is_unbounded(),
            _ => false,
        });
        Ok(streams)
    }
}

/// Returns the streams that a plan reads.
fn streams_of(plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<Vec<String>> {
    let mut names: Vec<_> = relations_of(plan)?.into_iter().collect();
    names.retain(|name| {
        catalog
            .registry
            .get(name)
            .is_none_or(|entry| entry.kind() == RelationKind::Stream)
    });
    Ok(names)
}

fn limits(settings: &PipelineSettings, has_checkpoints: bool, limit: Option<u64>) -> EpochLimits {
    let interval_us = u64::try_from(settings.checkpoint_interval.as_micros()).unwrap_or(u64::MAX);
    EpochLimits {
        rows_max: settings.rows_max,
        bytes_max: settings.bytes_max,
        us_max: settings.ms_max.saturating_mul(1000),
        interval_us: if has_checkpoints { interval_us } else { 0 },
        limit,
    }
}

/// Makes what follows the event time of a stream, of which `input` is read.
fn event_time(
    entry: &StreamEntry,
    input: &SchemaRef,
    settings: &PipelineSettings,
    marks: &[(String, i64)],
) -> Result<Option<EventTime>> {
    let Some(time) = &entry.event_time else {
        return Ok(None);
    };
    let column = input.index_of(entry.source.schema().field(time.column()).name())?;
    let spec = time.spec(column, settings.watermark_idle, settings.watermark_ahead_max);
    Ok(Some(EventTime::new(spec, marks)))
}

/// Returns the columns of a stream that a plan reads and its event time needs; none for all.
fn columns_read(
    plan: &LogicalPlan,
    stream: &str,
    event_time: Option<&StreamTime>,
) -> Result<Option<Vec<usize>>> {
    // Late records that go elsewhere go there whole.
    if event_time.and_then(StreamTime::dead_letter).is_some() {
        return Ok(None);
    }
    let mut columns = Some(BTreeSet::new());
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && scan.table_name.table() == stream
        {
            match (&scan.projection, &mut columns) {
                (Some(read), Some(columns)) => columns.extend(read.iter().copied()),
                _ => columns = None,
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    columns = columns.map(|mut columns| {
        columns.extend(event_time.map(StreamTime::column));
        columns
    });
    // Rows without a column have no place in a batch that came from outside.
    Ok(columns
        .filter(|columns| !columns.is_empty())
        .map(|columns| columns.into_iter().collect()))
}

fn nothing_to_emit(what: &str) -> Error {
    Error::Sql(
        SqlError::unsupported(format!("EMIT CHANGES: {what}")).hint(
            "it is for queries, and sinks over queries, of streams that do not end, as of Kafka or of a folder that \
             is followed; leave it out",
        ),
    )
}

/// Makes the error for a stream that has no name, as a file named by its path.
fn unnamed(stream: &str) -> Error {
    Error::Sql(
        SqlError::unsupported(format!("'{stream}' goes on, and has no name"))
            .hint("create it first, as in CREATE STREAM s WITH (path = '…')"),
    )
}

fn has_limit(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Limit(_)) || plan.inputs().into_iter().any(has_limit)
}

fn endless_insert(target: &str, stream: &str) -> Error {
    Error::Sql(
        SqlError::unsupported(format!(
            "INSERT INTO {target} would never end: the stream '{stream}' does not"
        ))
        .hint("say CREATE SINK … AS SELECT, which goes on, or add a LIMIT"),
    )
}
