//! Creating tables, and having those that a statement needs loaded before it begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use fletching_planner::{CreateRelation, RelationKind, Warning, WarningKind, WithOption, is_secret};

use super::registry::Registry;
use super::rows::Outcome;
use super::{Entry, Session, StatementCatalog, tables_of};
use crate::connector::{self, Options, ReadyPoint, RelationSpec, Source, nearest};
use crate::error::{Error, Result};
use crate::table::kept::StatePlace;
use crate::table::options::{Ready, TABLE_OPTIONS};
use crate::table::{
    ChangeOptions, LoadContext, Needed, Table, TableOptions, TableOrigin, VersionOptions, load_all,
};

/// What a `CREATE TABLE` statement says.
pub(super) struct TableSpec {
    pub(super) connector: String,
    pub(super) relation: RelationSpec,
    pub(super) options: TableOptions,
    pub(super) changes: ChangeOptions,
    pub(super) versions: Option<VersionOptions>,
    /// The primary key that follows from the query, where none is declared.
    pub(super) key: Option<Vec<String>>,
    /// All options as they were written, for errors.
    pub(super) written: Options,
}

impl Session {
    pub(super) fn create_table_relation(&self, create: &CreateRelation) -> Result<Outcome> {
        let mut spec = self.table_spec(create)?;
        if spec.written.text("refresh").is_some() {
            let message = "it says how a table is kept current that a query makes";
            let hint = "leave it out, or say CREATE TABLE … AS SELECT …";
            return Err(spec.written.bad_value("refresh", message, Some(hint.into())));
        }
        let (schema, origin) = if spec.connector == "memory" {
            spec.check_without_source()?;
            (declared(create)?, TableOrigin::Memory)
        } else {
            let connector = self.find_connector(&spec.connector, create)?;
            let source = connector.source(&spec.relation)?;
            spec.check_source(source.as_ref())?;
            spec.fit_changes(source.as_ref(), &create.primary_key)?;
            (spec.table_schema(source.as_ref()), TableOrigin::Source(source))
        };
        let table = self.make_table(create, &spec, &schema, origin)?;
        self.register(
            &create.name,
            Entry::Table {
                table: Arc::new(table),
                connector: spec.connector,
            },
            create.or_replace,
        )?;
        Ok(Outcome::done(format!("table {} created", create.name)))
    }

    pub(super) fn make_table(
        &self,
        create: &CreateRelation,
        spec: &TableSpec,
        schema: &SchemaRef,
        origin: TableOrigin,
    ) -> Result<Table> {
        self.check_order(&create.name, spec)?;
        let key = spec.key.as_ref().unwrap_or(&create.primary_key);
        let table = Table::new(&create.name, schema, key, origin)?;
        let mut options = spec.options.clone();
        options.type_defaults(table.schema(), &spec.written)?;
        table
            .with_changes(spec.changes.clone())?
            .with_options(options, Arc::clone(&self.inner.table_events))
            .versioned(spec.versions.clone())
            .map(|table| table.with_fingerprint(fingerprint(create, spec, schema)))
    }

    /// Returns where the state of tables is kept, if anywhere.
    fn state_place(&self) -> Result<Option<StatePlace>> {
        let settings = self.inner.settings.read();
        let Some(path) = &settings.pipelines.checkpoint_path else {
            return Ok(None);
        };
        Ok(Some(StatePlace {
            place: settings.storages.open(path)?,
            interval: settings.pipelines.checkpoint_interval,
        }))
    }

    pub(super) fn table_spec(&self, create: &CreateRelation) -> Result<TableSpec> {
        let written = options_of(create);
        let mut left = written.clone();
        let options = TableOptions::take(&mut left)?;
        TableOptions::remove_from(&mut left);
        let changes = self.take_changes(&mut left)?;
        let versions = VersionOptions::take(&mut left)?;
        let (connector, relation) = self.spec_of(create, connector::RelationKind::Table, left)?;
        Ok(TableSpec {
            connector,
            relation,
            options,
            changes,
            versions,
            key: None,
            written,
        })
    }

    /// Splits a statement's options into the connector's name and the rest.
    pub(super) fn spec(
        &self,
        create: &CreateRelation,
        kind: connector::RelationKind,
    ) -> Result<(String, RelationSpec)> {
        self.spec_of(create, kind, options_of(create))
    }

    fn spec_of(
        &self,
        create: &CreateRelation,
        kind: connector::RelationKind,
        mut options: Options,
    ) -> Result<(String, RelationSpec)> {
        let has_path = options.text("path").is_some();
        let is_bare = options.iter().next().is_none();
        let connector = match options.take("connector") {
            Some(name) => name.to_ascii_lowercase(),
            None if has_path => "file".into(),
            None if is_bare && create.kind != RelationKind::Sink => "memory".into(),
            None => {
                if options.iter().any(|(name, _)| is_misspelt(name)) {
                    options.check(&[])?;
                }
                return Err(Error::Option {
                    subject: format!("{} {}", create.kind.word(), create.name),
                    message: "the option 'connector' is missing".into(),
                    hint: Some(format!("known connectors: {}", self.connector_names().join(", "))),
                    location: None,
                });
            }
        };
        let spec = RelationSpec {
            name: create.name.clone(),
            kind,
            schema: create.schema.clone(),
            primary_key: create.primary_key.clone(),
            options,
        };
        Ok((connector, spec))
    }

    /// Fails where a table is to be loaded after one that is not there, or after itself by way of
    /// others.
    fn check_order(&self, name: &str, spec: &TableSpec) -> Result<()> {
        let registry = self.inner.registry.read();
        let wrong =
            |message: String, hint: Option<String>| spec.written.bad_value("ready.after", &message, hint);
        for before in &spec.options.after {
            if before == name {
                return Err(wrong(format!("a cycle: {name} → {name}"), None));
            }
            find_table(&registry, before).map_err(|(message, hint)| wrong(message, hint))?;
            if let Some(path) = path_to(&registry, before, name, &mut BTreeSet::new()) {
                let cycle = [vec![name.to_string()], path].concat().join(" → ");
                return Err(wrong(
                    format!("a cycle: {cycle}"),
                    Some("leave one of them out".into()),
                ));
            }
        }
        Ok(())
    }

    /// Loads the tables of a plan that are not ready, and warns of duplicate keys.
    pub(crate) fn load_tables(&self, plan: &LogicalPlan, catalog: &StatementCatalog) -> Result<()> {
        let mut needed = Vec::new();
        let mut seen = BTreeSet::new();
        for table in tables_of(plan)? {
            need(&table, &catalog.registry, &mut seen, &mut needed)?;
        }
        let tables = needed.iter().map(|needed| Arc::clone(&needed.table)).collect();
        self.inner.progress.watch_tables(tables);
        let context = LoadContext {
            pool: self.pool()?,
            batch_rows_max: self.inner.settings.read().batch_rows,
            cancelled: Arc::clone(&catalog.cancelled),
            state: self.state_place()?,
        };
        let mut notice = |message: String| self.warn(Warning::new(WarningKind::NotReady, message));
        for table in load_all(&needed, &context, &mut notice)? {
            self.note_bad_rows(&[(table.name().to_string(), table.load_run().report)]);
            self.note_duplicate_keys(&table)?;
        }
        Ok(())
    }
}

impl TableSpec {
    /// Checks the options of a table that the session itself fills.
    pub(super) fn check_without_source(&self) -> Result<()> {
        self.relation.options.check(&[])?;
        match self.options.needs_source() {
            None => Ok(()),
            Some(name) => Err(self.written.bad_value(
                name,
                "the table has no source to wait for",
                Some("leave it out, or name a connector".into()),
            )),
        }
    }

    /// Makes a table of changes one that is changed in place, unless it keeps every version.
    fn fit_changes(&mut self, source: &dyn Source, primary_key: &[String]) -> Result<()> {
        if !source.has_changes() || self.versions.is_some() {
            return Ok(());
        }
        if self
            .written
            .text("changelog")
            .is_some_and(|text| !text.eq_ignore_ascii_case("upsert"))
        {
            let message = "its source gives changes, which replace and delete rows";
            let hint = "say changelog = 'upsert', or leave it out".to_string();
            return Err(self.written.bad_value("changelog", message, Some(hint)));
        }
        if primary_key.is_empty() {
            return Err(Error::Option {
                subject: self.relation.subject(),
                message: "a changelog needs a PRIMARY KEY: it says which row a change is of".into(),
                hint: Some("declare it, as in (id BIGINT, …, PRIMARY KEY (id))".into()),
                location: None,
            });
        }
        self.changes.is_upsert = true;
        Ok(())
    }

    /// Returns the columns of a table; where it keeps the ends of keys, any may be NULL in them.
    fn table_schema(&self, source: &dyn Source) -> SchemaRef {
        let schema = source.schema();
        if !source.has_changes() || self.versions.is_none() {
            return schema;
        }
        let fields = schema.fields().iter();
        let fields: Vec<_> = fields
            .map(|field| field.as_ref().clone().with_nullable(true))
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Fails where a source cannot tell when it is ready.
    fn check_source(&self, source: &dyn Source) -> Result<()> {
        if self.options.stale_after.is_some() && !source.is_unbounded() {
            let message = "the table's source ends, and is silent from then on";
            let hint = "leave it out, or follow the source, as with follow = 'true'".to_string();
            return Err(self.written.bad_value("stale.after", message, Some(hint)));
        }
        let Ready::At(point) = self.options.ready else {
            return Ok(());
        };
        if source.can_tell(point) {
            return Ok(());
        }
        let what = match point {
            ReadyPoint::Snapshot => "where a snapshot ends",
            ReadyPoint::Timestamp(_) => "when it has come to a time",
            ReadyPoint::End => "where its end is",
        };
        let message = format!("a source of connector '{}' cannot tell {what}", self.connector);
        let hint = "say ready = 'end', or 'immediately'".to_string();
        Err(self.written.bad_value("ready", &message, Some(hint)))
    }
}

/// Adds a table, and before it those that must be ready first.
fn need(
    table: &Arc<Table>,
    registry: &Registry,
    seen: &mut BTreeSet<String>,
    needed: &mut Vec<Needed>,
) -> Result<()> {
    if !seen.insert(table.name().to_string()) {
        return Ok(());
    }
    let mut after = Vec::new();
    for name in &table.options().after {
        let before = find_table(registry, name).map_err(|(message, hint)| Error::Option {
            subject: format!("table {}", table.name()),
            message: format!("option 'ready.after': {message}"),
            hint,
            location: None,
        })?;
        need(before, registry, seen, needed)?;
        if !before.is_pulled() {
            after.push(Arc::clone(before));
        }
    }
    for before in table
        .derivation()
        .iter()
        .flat_map(|derivation| derivation.inputs())
    {
        need(before, registry, seen, needed)?;
    }
    if table.is_pulled() {
        // There is nothing to wait for: it is computed when it is pinned.
        return Ok(());
    }
    needed.push(Needed {
        table: Arc::clone(table),
        after,
    });
    Ok(())
}

/// Finds a table, or says what is wrong and which was probably meant.
fn find_table<'a>(registry: &'a Registry, name: &str) -> Result<&'a Arc<Table>, (String, Option<String>)> {
    match registry.get(name) {
        Some(Entry::Table { table, .. }) => Ok(table),
        Some(other) => Err((format!("'{name}' is a {}", other.kind().word()), None)),
        None => {
            let near = nearest(name, registry.keys().map(String::as_str));
            Err((
                format!("there is no table '{name}'"),
                near.map(|near| format!("did you mean '{near}'?")),
            ))
        }
    }
}

/// Returns the tables on the way from one to another that it is loaded after.
fn path_to(registry: &Registry, from: &str, to: &str, seen: &mut BTreeSet<String>) -> Option<Vec<String>> {
    if from == to {
        return Some(vec![to.to_string()]);
    }
    if !seen.insert(from.to_string()) {
        return None;
    }
    let Some(Entry::Table { table, .. }) = registry.get(from) else {
        return None;
    };
    let mut ways = table.options().after.iter();
    let path = ways.find_map(|next| path_to(registry, next, to, seen))?;
    Some([vec![from.to_string()], path].concat())
}

/// Returns what tells a table apart from one of its name that is declared otherwise: FNV-1a over
/// its options, its columns and its key.
fn fingerprint(create: &CreateRelation, spec: &TableSpec, schema: &Schema) -> u64 {
    let mut words = vec![
        spec.connector.clone(),
        format!("{schema:?} {:?}", create.primary_key),
    ];
    // A table with a new password is the same one.
    let written = spec.written.iter();
    let mut options: Vec<_> = written.filter(|(name, _)| !is_secret(name)).collect();
    options.sort();
    words.extend(options.into_iter().map(|(name, value)| format!("{name}={value}")));
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn is_misspelt(name: &str) -> bool {
    nearest(name, TABLE_OPTIONS.iter().copied()).is_some()
}

fn options_of(create: &CreateRelation) -> Options {
    let mut options = Options::new(format!("{} {}", create.kind.word(), create.name));
    for WithOption {
        name,
        value,
        location,
    } in &create.options
    {
        let place = location.map(|place| (place.line, place.column));
        options.set(name, value.clone(), place);
    }
    options
}

/// Returns the columns of a relation that must declare them.
pub(super) fn declared(create: &CreateRelation) -> Result<SchemaRef> {
    create.schema.clone().ok_or_else(|| Error::Option {
        subject: format!("{} {}", create.kind.word(), create.name),
        message: "a relation in memory needs its columns declared".into(),
        hint: Some("as in (id BIGINT, name VARCHAR)".into()),
        location: None,
    })
}
