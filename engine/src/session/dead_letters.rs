//! The sinks that a run's dead letters go to: opened when it begins, published when it has ended
//! well, left as they were when it fails.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::Mutex;

use super::{Entry, Session, StatementCatalog};
use crate::connector::{Sink, SinkWriter, nearest};
use crate::error::{Error, Result};
use crate::exec::lookups_of;
use crate::operator::{Letters, RunLetters, letter_schema};

/// What a run's dead letters are written to.
#[derive(Debug, Default)]
pub(crate) struct OpenLetters(Vec<OpenSink>);

/// A sink that takes the letters of all lookups that name it.
struct OpenSink {
    name: String,
    writer: Mutex<Option<Box<dyn SinkWriter>>>,
}

impl fmt::Debug for OpenSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSink")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Letters for OpenLetters {
    fn take(&self, sink: &str, letters: RecordBatch) -> Result<()> {
        let open = self.0.iter().find(|open| open.name == sink);
        match open.map(|open| open.writer.lock()).as_deref_mut() {
            Some(Some(writer)) => writer.write(&letters),
            _ => Err(Error::internal("a dead letter after the end of the run")),
        }
    }
}

impl OpenLetters {
    /// Fails where the rows of a query go to the same sink: each would replace the other.
    pub(crate) fn check_apart(&self, target: &str) -> Result<()> {
        if self.0.iter().all(|open| open.name != target) {
            return Ok(());
        }
        Err(Error::Option {
            subject: format!("sink {target}"),
            message: "it is to hold both the rows of the query and their dead letters".into(),
            hint: Some("name another sink in miss.dead_letter".into()),
            location: None,
        })
    }

    /// Publishes what was written, also where it is nothing: the sink then has the dead letters of
    /// this run and no other.
    pub(crate) fn commit(&self) -> Result<()> {
        for open in &self.0 {
            match open.writer.lock().take() {
                Some(writer) => writer.commit()?,
                None => return Err(Error::internal("a sink of dead letters is ended twice")),
            };
        }
        Ok(())
    }

    /// Returns the context of a run that writes its dead letters here.
    pub(crate) fn context(self: &Arc<Self>, state: &SessionState) -> Arc<TaskContext> {
        context_with(state, Arc::clone(self) as _)
    }
}

/// Returns the context of a run whose dead letters somebody takes.
pub(crate) fn context_with(state: &SessionState, letters: Arc<dyn Letters>) -> Arc<TaskContext> {
    let mut state = state.clone();
    state.config_mut().set_extension(Arc::new(RunLetters(letters)));
    state.task_ctx()
}

impl Session {
    /// Opens the sinks that the lookups of a plan name.
    pub(crate) fn open_letters(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        catalog: &StatementCatalog,
    ) -> Result<Arc<OpenLetters>> {
        let open = |(name, sink): (String, Arc<dyn Sink>)| {
            Ok(OpenSink {
                writer: Mutex::new(Some(sink.create(&letter_schema())?)),
                name,
            })
        };
        let sinks = letter_sinks(plan, catalog)?.into_iter();
        Ok(Arc::new(OpenLetters(sinks.map(open).collect::<Result<_>>()?)))
    }
}

/// Returns the sinks that the lookups of a plan name for dead letters, each once.
pub(crate) fn letter_sinks(
    plan: &Arc<dyn ExecutionPlan>,
    catalog: &StatementCatalog,
) -> Result<Vec<(String, Arc<dyn Sink>)>> {
    let mut sinks: Vec<(String, Arc<dyn Sink>)> = Vec::new();
    for join in lookups_of(plan) {
        for arm in join.arms() {
            let Some(sink) = arm.letter_sink() else {
                continue;
            };
            if sinks.iter().all(|(name, _)| name != sink) {
                let table = arm.source.to_string();
                sinks.push((sink.to_string(), letter_sink(catalog, &table, sink)?));
            }
        }
    }
    Ok(sinks)
}

/// Finds the sink that a table names, which must have the columns of dead letters or none declared.
fn letter_sink(catalog: &StatementCatalog, table: &str, sink: &str) -> Result<Arc<dyn Sink>> {
    let wrong = |message: String, hint: Option<String>| Error::Option {
        subject: format!("table {table}"),
        message: format!("option 'miss.dead_letter': {message}"),
        hint,
        location: None,
    };
    let schema = letter_schema();
    match catalog.registry.get(sink) {
        Some(Entry::Sink(entry)) => {
            let fits = entry.schema.as_ref().is_none_or(|declared| {
                let names = |schema: &arrow::datatypes::Schema| -> Vec<String> {
                    schema.fields().iter().map(|field| field.name().clone()).collect()
                };
                names(declared) == names(&schema)
            });
            if !fits {
                let hint = "declare no columns: dead letters have missed_at, table_name, table_key, reason and stream_row";
                return Err(wrong(
                    format!("the sink '{sink}' has other columns"),
                    Some(hint.into()),
                ));
            }
            Ok(Arc::clone(&entry.sink))
        }
        Some(other) => Err(wrong(format!("'{sink}' is a {}", other.kind().word()), None)),
        None => {
            let near = nearest(sink, catalog.registry.keys().map(String::as_str));
            let hint = match near {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("create it first, as in CREATE SINK {sink} WITH (path = '{sink}.csv')"),
            };
            Err(wrong(format!("there is no sink '{sink}'"), Some(hint)))
        }
    }
}
