//! Carrying out planned statements.

use std::sync::Arc;

use arrow::array::RecordBatch;
use fletching_planner::{CreateRelation, RelationKind, Statement};

use super::change::check_owned;
use super::event_time::{LateOptions, StreamTime};
use super::registry::{Registry, SinkEntry, ViewEntry};
use super::rows::{Outcome, Summary};
use super::tables::declared;
use super::{Entry, Session, StatementCatalog, StreamEntry, output_schema, tables_of};
use crate::connector::{self, MemorySink, MemoryStream, SinkSummary, nearest};
use crate::error::{Error, Result};
use crate::table::Table;

impl Session {
    pub(super) fn carry_out(&self, statement: Statement, catalog: &StatementCatalog) -> Result<Outcome> {
        match statement {
            Statement::Query(plan) => Ok(Outcome::Rows(self.stream(&plan, catalog)?)),
            Statement::Create(create) => self.create(&create, Some(catalog)),
            Statement::CreateView {
                name,
                plan,
                text,
                or_replace,
            } => {
                self.register(&name, Entry::View(Arc::new(ViewEntry { plan, text })), or_replace)?;
                Ok(Outcome::done(format!("view {name} created")))
            }
            Statement::Change(change) => self.change(&change, catalog),
            Statement::Insert { target, plan } => self.insert(&target, &plan, catalog),
            Statement::Drop {
                kind,
                names,
                if_exists,
            } => self.drop_relations(kind, &names, if_exists),
            Statement::Show(kind) => self.show(kind).map(Outcome::Rows),
            Statement::ShowSetting(name) => self.show_setting(&name).map(Outcome::Rows),
            Statement::Describe(name) => self.describe(&name).map(Outcome::Rows),
            Statement::ShowMemory(name) => self.show_memory(&name).map(Outcome::Rows),
            Statement::Set { name, value } => {
                self.set(&name, &value)?;
                Ok(Outcome::done(format!("{name} = {value}")))
            }
            Statement::CheckJoin(plan) => self.check_joins(&plan, catalog).map(Outcome::Rows),
            Statement::Explain {
                analyze,
                verbose,
                plan,
                optimized,
            } => self
                .explain(analyze, verbose, &plan, &optimized, catalog)
                .map(Outcome::Rows),
            _ => Err(Error::internal("a statement that the session does not know")),
        }
    }

    /// Does of a statement what names later ones need, and nothing else.
    pub(super) fn check_planned(&self, statement: Statement, catalog: &StatementCatalog) -> Result<()> {
        match statement {
            Statement::Create(create) => self.create(&create, None).map(|_| ()),
            Statement::CreateView { .. } | Statement::Drop { .. } | Statement::Set { .. } => {
                self.carry_out(statement, catalog).map(|_| ())
            }
            Statement::ShowSetting(name) => self.show_setting(&name).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// Creates a relation and, where `catalog` is given, runs its query.
    fn create(&self, create: &CreateRelation, catalog: Option<&StatementCatalog>) -> Result<Outcome> {
        let word = create.kind.word();
        if create.if_not_exists && self.inner.registry.read().contains_key(&create.name) {
            return Ok(Outcome::done(format!("{word} {} is there already", create.name)));
        }
        if !create.or_replace && self.inner.registry.read().contains_key(&create.name) {
            return Err(self.name_is_taken(create));
        }
        match create.kind {
            RelationKind::Stream => self.create_stream_relation(create),
            RelationKind::Sink => self.create_sink(create, catalog),
            RelationKind::Table if create.query.is_some() => self.create_table_as(create, catalog),
            RelationKind::Table => self.create_table_relation(create),
            other => Err(Error::internal(format!("CREATE {}", other.word()))),
        }
    }

    pub(super) fn name_is_taken(&self, create: &CreateRelation) -> Error {
        let there = self
            .inner
            .registry
            .read()
            .get(&create.name)
            .map_or("relation", |entry| entry.kind().word());
        Error::Option {
            subject: format!("{} {}", create.kind.word(), create.name),
            message: format!("there is already a {there} of this name"),
            hint: Some("choose another name, or say CREATE OR REPLACE or IF NOT EXISTS".into()),
            location: None,
        }
    }

    fn create_stream_relation(&self, create: &CreateRelation) -> Result<Outcome> {
        let (connector, mut spec) = self.spec(create, connector::RelationKind::Stream)?;
        let late = LateOptions::take(&mut spec.options)?;
        let mut entry = if connector == "memory" {
            spec.options.check(&[])?;
            let memory = Arc::new(MemoryStream::new(declared(create)?));
            StreamEntry {
                source: Arc::clone(&memory) as _,
                memory: Some(memory),
                connector,
                event_time: None,
            }
        } else {
            StreamEntry {
                source: self.find_connector(&connector, create)?.source(&spec)?,
                memory: None,
                connector,
                event_time: None,
            }
        };
        entry.event_time = StreamTime::new(create, &entry.source.schema(), late)?;
        self.register(&create.name, Entry::Stream(entry), create.or_replace)?;
        Ok(Outcome::done(format!("stream {} created", create.name)))
    }

    /// Makes what a statement declares as a sink; nothing is written yet.
    pub(super) fn sink_entry(&self, create: &CreateRelation) -> Result<SinkEntry> {
        let (connector, spec) = self.spec(create, connector::RelationKind::Sink)?;
        let (sink, results): (Arc<dyn connector::Sink>, _) = if connector == "memory" {
            let memory = MemorySink::try_new(&spec)?;
            let results = memory.results();
            (Arc::new(memory), Some(results))
        } else {
            (self.find_connector(&connector, create)?.sink(&spec)?, None)
        };
        Ok(SinkEntry {
            sink,
            schema: create.schema.clone(),
            connector,
            results,
        })
    }

    fn create_sink(&self, create: &CreateRelation, catalog: Option<&StatementCatalog>) -> Result<Outcome> {
        let entry = self.sink_entry(create)?;
        self.register(&create.name, Entry::Sink(entry.clone()), create.or_replace)?;
        match (&create.query, catalog) {
            (Some(query), Some(catalog)) => {
                let written = entry
                    .sink
                    .create(&output_schema(query))
                    .and_then(|writer| self.write(query, catalog, &create.name, writer));
                match written {
                    Ok(summary) => Ok(sink_outcome(&create.name, &summary)),
                    Err(error) => {
                        // A sink whose first run failed is as if it had never been created.
                        self.inner.registry.write().remove(&create.name);
                        Err(error)
                    }
                }
            }
            _ => Ok(Outcome::done(format!("sink {} created", create.name))),
        }
    }

    fn insert(
        &self,
        target: &str,
        plan: &datafusion::logical_expr::LogicalPlan,
        catalog: &StatementCatalog,
    ) -> Result<Outcome> {
        match catalog.registry.get(target) {
            Some(Entry::Table { table, .. }) => {
                check_owned(table, "INSERT")?;
                // Rows that come of the table itself must still be so when they are put.
                let _writing = reads(plan, table)?.then(|| table.lock_for_writing());
                let batches = self.collect(plan, catalog)?;
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                if !batches.is_empty() {
                    table.append_all(&batches)?;
                    self.note_duplicate_keys(table)?;
                }
                let message = format!(
                    "table {target}: {rows} {} inserted",
                    if rows == 1 { "row" } else { "rows" }
                );
                Ok(Outcome::Done(Summary {
                    message,
                    rows: Some(rows as u64),
                }))
            }
            Some(Entry::Sink(sink)) => {
                let writer = sink.sink.create(&output_schema(plan))?;
                Ok(sink_outcome(target, &self.write(plan, catalog, target, writer)?))
            }
            _ => Err(Error::internal(format!("{target} takes no rows"))),
        }
    }

    fn drop_relations(&self, kind: RelationKind, names: &[String], if_exists: bool) -> Result<Outcome> {
        let mut registry = self.inner.registry.write();
        for name in names {
            let message = match registry.get(name) {
                Some(entry) if entry.kind() == kind => continue,
                Some(entry) => format!("it is a {}", entry.kind().word()),
                None if if_exists => continue,
                None => format!("there is no {} of this name", kind.word()),
            };
            let hint = match registry.get(name) {
                Some(entry) => Some(format!("say DROP {}", entry.kind().word().to_uppercase())),
                None => nearest(name, registry.keys().map(String::as_str))
                    .map(|near| format!("did you mean '{near}'?")),
            };
            return Err(Error::Option {
                subject: format!("{} {name}", kind.word()),
                message,
                hint,
                location: None,
            });
        }
        check_unused(&registry, names)?;
        for name in names {
            if let Some(Entry::Table { table, .. }) = registry.remove(name) {
                table.retire();
            }
        }
        drop(registry);
        for name in names {
            self.end_pipeline(name);
        }
        Ok(Outcome::done(format!(
            "{} {} dropped",
            kind.word(),
            names.join(", ")
        )))
    }

    pub(super) fn find_connector(
        &self,
        name: &str,
        create: &CreateRelation,
    ) -> Result<Arc<dyn connector::Connector>> {
        self.connector(name).ok_or_else(|| {
            let known = self.connector_names();
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) if near != name => format!("did you mean '{near}'?"),
                _ => format!("known connectors: {}", known.join(", ")),
            };
            let place = create
                .options
                .iter()
                .find(|option| option.name.eq_ignore_ascii_case("connector"));
            Error::Option {
                subject: format!("{} {}", create.kind.word(), create.name),
                message: format!("connector '{name}' cannot make a {}", create.kind.word()),
                hint: Some(hint),
                location: place
                    .and_then(|option| option.location)
                    .map(|place| (place.line, place.column)),
            }
        })
    }
}

/// Says whether a plan reads a table, or one that is made from it.
fn reads(plan: &datafusion::logical_expr::LogicalPlan, table: &Arc<Table>) -> Result<bool> {
    Ok(tables_of(plan)?.iter().any(|read| is_made_from(read, table)))
}

/// Says whether a table is another one, or its rows follow from it.
fn is_made_from(table: &Arc<Table>, from: &Arc<Table>) -> bool {
    let inputs = table
        .derivation()
        .map_or(&[][..], |derivation| derivation.inputs());
    Arc::ptr_eq(table, from) || inputs.iter().any(|input| is_made_from(input, from))
}

/// Fails where a table that is to be dropped is read by one that stays.
fn check_unused(registry: &Registry, names: &[String]) -> Result<()> {
    for (reader, entry) in registry.iter().filter(|(name, _)| !names.contains(name)) {
        let Entry::Table { table, .. } = entry else {
            continue;
        };
        let inputs = table
            .derivation()
            .map_or(&[][..], |derivation| derivation.inputs());
        let Some(used) = inputs
            .iter()
            .find(|input| names.iter().any(|name| name == input.name()))
        else {
            continue;
        };
        return Err(Error::Option {
            subject: format!("table {}", used.name()),
            message: format!("table {reader} is made from it"),
            hint: Some(format!("drop both, as in DROP TABLE {reader}, {}", used.name())),
            location: None,
        });
    }
    Ok(())
}

fn sink_outcome(name: &str, summary: &SinkSummary) -> Outcome {
    let rows = if summary.rows == 1 { "row" } else { "rows" };
    let message = format!("sink {name}: {} {rows} to {}", summary.rows, summary.location);
    Outcome::Done(Summary {
        message,
        rows: Some(summary.rows),
    })
}
