//! `CREATE TABLE … AS SELECT`: tables made by a query, and what keeps them current.
//!
//! ```text
//!   the query reads …        the table is …
//!   tables alone             brought to their current versions by whoever reads it   follow.rs
//!   a stream that ends       filled to its end, batch by batch; then the session's own
//!   a stream that goes on    changed by a pipeline as records come                   feed.rs, groups.rs, run.rs
//!   nothing                  filled, and the session's own
//! ```
//!
//! `refresh = 'once'` makes a copy of any bounded query that stays as it is.

mod by_key;
mod feed;
mod follow;
mod groups;
mod run;
mod shape;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use fletching_planner::CreateRelation;

use super::rows::{Outcome, Summary};
use super::tables::TableSpec;
use super::{Entry, Session, StatementCatalog, output_schema, tables_of};
use crate::connector::{FeedRequest, ReadyPoint, Source};
use crate::error::{Error, Result};
use crate::table::options::Ready;
use crate::table::{Table, TableOrigin, TableState};
use feed::{Pipeline, Stage};
use follow::Follow;
use run::Run;
use shape::{group_key, streams_of};

/// What a table's rows follow from.
enum From {
    /// Nothing that will change, or nothing that is to be followed.
    Once,
    /// Tables.
    Tables,
    /// A stream that ends.
    Bounded,
    /// A stream that goes on.
    Feed(Arc<dyn Source>),
}

impl Session {
    /// Carries out `CREATE TABLE … AS SELECT`; without a catalog it is only checked.
    pub(super) fn create_table_as(
        &self,
        create: &CreateRelation,
        catalog: Option<&StatementCatalog>,
    ) -> Result<Outcome> {
        let Some(query) = &create.query else {
            return Err(Error::internal("no query"));
        };
        let mut spec = self.table_spec(create)?;
        check_in_memory(&spec)?;
        let from = self.from(create, &spec, query)?;
        if create.primary_key.is_empty() && spec.versions.is_none() {
            spec.key = group_key(query);
        }
        match from {
            From::Tables => self.create_following(create, spec, query, catalog),
            From::Feed(source) => self.create_fed(create, spec, query, &source, catalog),
            From::Once | From::Bounded => {
                let is_last_wins = matches!(from, From::Bounded)
                    && !create.primary_key.is_empty()
                    && spec.versions.is_none()
                    && spec.written.text("changelog").is_none();
                spec.changes.is_upsert |= is_last_wins;
                self.create_filled(create, &spec, query, catalog)
            }
        }
    }

    /// Decides what a table follows.
    fn from(&self, create: &CreateRelation, spec: &TableSpec, query: &LogicalPlan) -> Result<From> {
        let once = match spec
            .written
            .text("refresh")
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            None | Some("follow") => false,
            Some("once") => true,
            Some(other) => {
                let message = format!("expected follow or once, found '{other}'");
                let hint = "follow keeps the table current, once makes a copy that stays";
                return Err(spec.written.bad_value("refresh", &message, Some(hint.into())));
            }
        };
        let streams = streams_of(query)?;
        if let Some(stream) = streams
            .iter()
            .find(|stream| stream.source.is_unbounded())
            .filter(|_| !once)
        {
            return Ok(From::Feed(Arc::clone(&stream.source)));
        }
        if !streams.is_empty() {
            return Ok(From::Bounded);
        }
        let tables = tables_of(query)?;
        // What takes the place of a table that it is made from has nothing left to follow.
        let is_own_source = self
            .table(&create.name)
            .is_some_and(|own| tables.iter().any(|table| Arc::ptr_eq(table, &own)));
        Ok(if tables.is_empty() || once || is_own_source {
            From::Once
        } else {
            From::Tables
        })
    }

    /// Makes a table that is brought to the versions of the tables it is made from.
    fn create_following(
        &self,
        create: &CreateRelation,
        mut spec: TableSpec,
        query: &LogicalPlan,
        catalog: Option<&StatementCatalog>,
    ) -> Result<Outcome> {
        spec.check_without_source()?;
        if let Some(catalog) = catalog {
            self.load_tables(query, catalog)?;
        }
        let follow = Follow::try_new(self, query, &create.primary_key)?;
        if let Some(key) = follow.key() {
            spec.changes.is_upsert = true;
            spec.key = Some(key.to_vec());
        }
        let table = self
            .make_table(create, &spec, &output_schema(query), TableOrigin::Memory)?
            .derived_by(Arc::new(follow));
        let table = Arc::new(table);
        let rows = match catalog {
            Some(_) => {
                let snapshot = table.snapshot()?;
                self.note_duplicate_keys(&table)?;
                Some(snapshot.row_count() as u64)
            }
            None => None,
        };
        self.register_made(create, table, rows)
    }

    /// Makes a table that a pipeline changes as records of a stream come.
    fn create_fed(
        &self,
        create: &CreateRelation,
        mut spec: TableSpec,
        query: &LogicalPlan,
        source: &Arc<dyn Source>,
        catalog: Option<&StatementCatalog>,
    ) -> Result<Outcome> {
        spec.check_pipeline(source.as_ref())?;
        if let Some(catalog) = catalog {
            self.load_tables(query, catalog)?;
        }
        let key = spec.key.as_ref().unwrap_or(&create.primary_key).clone();
        // Without a run, tables that it looks up are not there yet.
        let stage = if catalog.is_some() || tables_of(query)?.is_empty() {
            Some(Stage::plan(self, query, &key)?)
        } else {
            None
        };
        spec.changes.is_upsert = true;
        let pipeline = Pipeline::new(query)?;
        let is_stopped = pipeline.flag();
        let table = self
            .make_table(create, &spec, &output_schema(query), TableOrigin::Memory)?
            .derived_by(Arc::new(pipeline));
        let table = Arc::new(table);
        if spec.options.ready != Ready::Immediately {
            table.set_state(TableState::Loading);
        }
        let run = stage.filter(|_| catalog.is_some()).map(|stage| Run {
            table: Arc::downgrade(&table),
            source: Arc::clone(source),
            request: FeedRequest {
                batch_rows_max: self.inner.settings.read().batch_rows,
                consumer: create.name.clone(),
                ..FeedRequest::all()
            },
            stage,
            is_stopped,
            positions: BTreeMap::new(),
        });
        let feed = run.as_ref().map(Run::open).transpose()?;
        let outcome = self.register_made(create, table, None)?;
        if let (Some(run), Some(feed)) = (run, feed) {
            run.start(&create.name, feed)?;
        }
        Ok(outcome)
    }

    /// Makes a table and fills it, batch by batch.
    fn create_filled(
        &self,
        create: &CreateRelation,
        spec: &TableSpec,
        query: &LogicalPlan,
        catalog: Option<&StatementCatalog>,
    ) -> Result<Outcome> {
        spec.check_without_source()?;
        let table = self.make_table(create, spec, &output_schema(query), TableOrigin::Memory)?;
        if let Some(catalog) = catalog {
            let mut state = catalog.state.clone();
            if table.is_upsert() {
                // Which row of a key is the last is told by reading them one after the other.
                state.config_mut().options_mut().execution.target_partitions = 1;
            }
            for batch in self.stream_with(query, catalog, &state)? {
                table.append(&batch?)?;
            }
            self.note_duplicate_keys(&table)?;
        }
        let rows = table.snapshot()?.row_count() as u64;
        self.register_made(create, Arc::new(table), Some(rows))
    }

    fn register_made(
        &self,
        create: &CreateRelation,
        table: Arc<Table>,
        rows: Option<u64>,
    ) -> Result<Outcome> {
        let connector = if table.derivation().is_some() {
            "query"
        } else {
            "memory"
        };
        let entry = Entry::Table {
            table,
            connector: connector.into(),
        };
        self.register(&create.name, entry, create.or_replace)?;
        let message = match rows {
            Some(rows) => format!("table {} created: {rows} rows", create.name),
            None => format!("table {} created", create.name),
        };
        Ok(Outcome::Done(Summary { message, rows }))
    }
}

impl TableSpec {
    /// Checks the options of a table that a pipeline changes.
    fn check_pipeline(&self, source: &dyn Source) -> Result<()> {
        self.relation.options.check(&[])?;
        if !matches!(
            self.options.ready,
            Ready::AtEnd | Ready::Immediately | Ready::At(ReadyPoint::End)
        ) {
            let message = "a pipeline can tell where the stream stood when it began, and nothing else";
            let hint = "say ready = 'end', or 'immediately'";
            return Err(self.written.bad_value("ready", message, Some(hint.into())));
        }
        let never = [
            (
                self.written
                    .text("changelog")
                    .is_some_and(|text| text.eq_ignore_ascii_case("append")),
                "changelog",
            ),
            (self.versions.is_some(), "versioned"),
        ];
        if let Some((_, name)) = never.iter().find(|(is_said, _)| *is_said) {
            let message = "a table made from a stream that goes on holds one row of a key, the last";
            let hint = "leave it out, or say refresh = 'once'";
            return Err(self.written.bad_value(name, message, Some(hint.into())));
        }
        if source.is_shared() {
            return Err(Error::Option {
                subject: self.relation.subject(),
                message: "its stream is shared with other instances, and each would hold a part of the table"
                    .into(),
                hint: Some("make it from a stream without group.share".into()),
                location: None,
            });
        }
        if source.has_changes() {
            return Err(Error::Option {
                subject: self.relation.subject(),
                message: "its stream is one of changes, whose rows a query cannot take back".into(),
                hint: Some("create a table with the stream's connector, and this one from it".into()),
                location: None,
            });
        }
        Ok(())
    }
}

/// Refuses a connector: there is nothing that it could read.
fn check_in_memory(spec: &TableSpec) -> Result<()> {
    if spec.connector == "memory" {
        return Ok(());
    }
    Err(Error::Option {
        subject: spec.relation.subject(),
        message: format!(
            "a table made by a query is kept in memory, not with connector '{}'",
            spec.connector
        ),
        hint: Some("leave the option out; to write a file, create a SINK".into()),
        location: None,
    })
}
