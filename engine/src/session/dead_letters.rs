//! The sinks that a run's dead letters go to: opened when it begins, published when it has ended
//! well, left as they were when it fails.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use fletching_planner::MissPolicy;

use super::{Entry, Session, StatementCatalog};
use crate::connector::nearest;
use crate::error::{Error, Result};
use crate::exec::lookups_of;
use crate::operator::DeadLetters;

/// What a run's dead letters are written to.
#[derive(Debug, Default)]
pub(crate) struct OpenLetters(Vec<Arc<DeadLetters>>);

impl OpenLetters {
    /// Fails where the rows of a query go to the same sink: each would replace the other.
    pub(crate) fn check_apart(&self, target: &str) -> Result<()> {
        if self.0.iter().all(|letters| letters.sink() != target) {
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
        self.0.iter().try_for_each(|letters| letters.commit().map(|_| ()))
    }
}

impl Session {
    /// Opens the sinks that the lookups of a plan name.
    pub(crate) fn open_letters(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        catalog: &StatementCatalog,
    ) -> Result<OpenLetters> {
        let mut open = OpenLetters::default();
        for join in lookups_of(plan) {
            for arm in join.arms() {
                if arm.miss.settled() != Some(MissPolicy::DeadLetter) {
                    continue;
                }
                let Some(table) = arm.source.table() else {
                    continue;
                };
                let Some(sink) = &table.options().miss.dead_letter else {
                    continue;
                };
                let letters = match open.0.iter().find(|letters| letters.sink() == sink) {
                    Some(letters) => Arc::clone(letters),
                    None => {
                        let letters = Arc::new(open_sink(catalog, table.name(), sink)?);
                        open.0.push(Arc::clone(&letters));
                        letters
                    }
                };
                arm.miss.set_letters(&letters);
            }
        }
        Ok(open)
    }
}

fn open_sink(catalog: &StatementCatalog, table: &str, sink: &str) -> Result<DeadLetters> {
    let wrong = |message: String, hint: Option<String>| Error::Option {
        subject: format!("table {table}"),
        message: format!("option 'miss.dead_letter': {message}"),
        hint,
        location: None,
    };
    let schema = DeadLetters::schema();
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
            Ok(DeadLetters::new(sink, entry.sink.create(&schema)?))
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
