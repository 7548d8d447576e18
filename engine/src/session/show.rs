//! `SHOW`, `DESCRIBE`, `EXPLAIN`: what a session knows, as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion::physical_plan::execute_stream;
use fletching_kernels::LiveSnapshot;
use fletching_planner::ShowKind;
use futures::StreamExt;

use super::rows::Rows;
use super::{Entry, Session, StatementCatalog};
use crate::error::{Error, Result};
use crate::table::{TableProgress, TableSnapshot, TableState};

/// Columns of text, by name.
struct TextColumns<const N: usize> {
    names: [&'static str; N],
    values: [Vec<Option<String>>; N],
}

impl<const N: usize> TextColumns<N> {
    fn new(names: [&'static str; N]) -> Self {
        Self {
            names,
            values: std::array::from_fn(|_| Vec::new()),
        }
    }

    fn push(&mut self, row: [Option<String>; N]) {
        for (column, value) in self.values.iter_mut().zip(row) {
            column.push(value);
        }
    }

    fn columns(self) -> Vec<(&'static str, ArrayRef)> {
        let column = |values| Arc::new(StringArray::from(values)) as ArrayRef;
        self.names
            .into_iter()
            .zip(self.values.into_iter().map(column))
            .collect()
    }

    fn rows(self) -> Result<Rows> {
        rows(self.columns())
    }
}

fn rows(columns: Vec<(&'static str, ArrayRef)>) -> Result<Rows> {
    let batch = RecordBatch::try_from_iter(columns)?;
    Ok(Rows::ready(batch.schema(), vec![batch]))
}

impl Session {
    pub(super) fn show(&self, kind: ShowKind) -> Result<Rows> {
        match kind {
            ShowKind::Tables => self.show_tables(),
            ShowKind::Streams | ShowKind::Sinks => {
                let mut list = TextColumns::new(["name", "connector", "columns"]);
                for (name, entry) in self.inner.registry.read().iter() {
                    let connector = match (kind, entry) {
                        (ShowKind::Streams, Entry::Stream(stream)) => &stream.connector,
                        (ShowKind::Sinks, Entry::Sink(sink)) => &sink.connector,
                        _ => continue,
                    };
                    let columns = entry.schema().map(|schema| {
                        schema
                            .fields()
                            .iter()
                            .map(|field| field.name().clone())
                            .collect::<Vec<_>>()
                            .join(", ")
                    });
                    list.push([Some(name.clone()), Some(connector.clone()), columns]);
                }
                list.rows()
            }
            ShowKind::Views => {
                let mut list = TextColumns::new(["name", "query"]);
                for (name, entry) in self.inner.registry.read().iter() {
                    if let Entry::View(view) = entry {
                        list.push([Some(name.clone()), Some(view.text.clone())]);
                    }
                }
                list.rows()
            }
            ShowKind::Functions => {
                let mut list = TextColumns::new(["name", "kind"]);
                for (name, kind) in self.inner.planner.functions().names() {
                    list.push([Some(name), Some(kind.to_string())]);
                }
                list.rows()
            }
            ShowKind::Settings => {
                let mut list = TextColumns::new(["name", "value", "meaning"]);
                let settings = self.inner.settings.read();
                for (name, help) in settings.list() {
                    list.push([Some(name.into()), Some(settings.get(name)?), Some(help.into())]);
                }
                list.rows()
            }
            _ => Err(Error::internal("SHOW of something unknown")),
        }
    }

    fn show_tables(&self) -> Result<Rows> {
        let mut list = TextColumns::new(["name", "connector", "state", "primary_key"]);
        let mut loads = TextColumns::new(["progress", "attempts", "last_error"]);
        let (mut counts, mut bytes) = (Vec::new(), Vec::new());
        let mut accounts = Accounts::default();
        for (name, entry) in self.inner.registry.read().iter() {
            let Entry::Table { table, connector } = entry else {
                continue;
            };
            // A table that follows others is brought up to date by looking at it.
            let snapshot = table.snapshot().ok();
            let state = match table.state() {
                TableState::Failed(message) => format!("failed: {message}"),
                TableState::Stale(message) => format!("stale: {message}"),
                state => state.word().to_string(),
            };
            let progress = table.progress();
            loads.push([
                describe(&progress),
                Some(progress.attempts.to_string()),
                progress.last_error,
            ]);
            let key = table
                .primary_key()
                .iter()
                .map(|&at| table.schema().field(at).name().as_str());
            let key = key.collect::<Vec<_>>().join(", ");
            list.push([
                Some(name.clone()),
                Some(connector.clone()),
                Some(state),
                (!key.is_empty()).then_some(key),
            ]);
            counts.push(snapshot.as_ref().map(|snapshot| snapshot.row_count() as u64));
            bytes.push(snapshot.as_ref().map(|snapshot| snapshot.memory_bytes() as u64));
            accounts.push(snapshot.as_deref());
        }
        let mut columns = list.columns();
        columns.push(("rows", Arc::new(UInt64Array::from(counts))));
        columns.push(("bytes", Arc::new(UInt64Array::from(bytes))));
        columns.extend(accounts.columns());
        columns.extend(loads.columns());
        rows(columns)
    }

    /// Shows what a table holds: each column, what was built over them, and all together.
    pub(super) fn show_memory(&self, name: &str) -> Result<Rows> {
        let table = self.table(name);
        let table = table.ok_or_else(|| Error::internal(format!("{name} is gone")))?;
        let memory = table.memory()?;
        let mut list = TextColumns::new(["part", "name", "type"]);
        let mut bytes = Vec::new();
        for ((column, held), field) in memory.columns.iter().zip(table.schema().fields()) {
            let kind = sql_type(field.data_type());
            list.push([Some("column".into()), Some(column.clone()), Some(kind)]);
            bytes.push(*held as u64);
        }
        let others = [
            ("index", memory.index_bytes),
            ("row-wise copy", memory.copy_bytes),
            ("history", memory.history_bytes),
            ("newest rows", memory.newest_bytes),
            ("total", memory.total_bytes()),
        ];
        for (part, held) in others {
            list.push([Some(part.into()), None, None]);
            bytes.push(held as u64);
        }
        let last = bytes.len() - 1;
        let rows_of = |count: usize| (0..=last).map(move |at| (at == last).then_some(count as u64));
        let mut columns = list.columns();
        columns.push(("bytes", Arc::new(UInt64Array::from(bytes))));
        columns.push(("rows", Arc::new(rows_of(memory.rows).collect::<UInt64Array>())));
        columns.push((
            "garbage_rows",
            Arc::new(rows_of(memory.garbage_rows).collect::<UInt64Array>()),
        ));
        rows(columns)
    }

    pub(super) fn show_setting(&self, name: &str) -> Result<Rows> {
        let value = self.inner.settings.read().get(name)?;
        let mut list = TextColumns::new(["name", "value"]);
        list.push([Some(name.to_string()), Some(value)]);
        list.rows()
    }

    pub(super) fn describe(&self, name: &str) -> Result<Rows> {
        let entry = self.inner.registry.read().get(name).cloned();
        let entry = entry.ok_or_else(|| Error::internal(format!("{name} is gone")))?;
        let key: Vec<usize> = match &entry {
            Entry::Table { table, .. } => table.primary_key().to_vec(),
            _ => Vec::new(),
        };
        let mut list = TextColumns::new(["column", "type", "nullable", "key"]);
        for (at, field) in entry
            .schema()
            .iter()
            .flat_map(|schema| schema.fields().iter().enumerate())
        {
            let nullable = if field.is_nullable() { "yes" } else { "no" };
            let key = key.contains(&at).then(|| "primary".to_string());
            list.push([
                Some(field.name().clone()),
                Some(sql_type(field.data_type())),
                Some(nullable.into()),
                key,
            ]);
        }
        list.rows()
    }

    pub(super) fn explain(
        &self,
        analyze: bool,
        verbose: bool,
        plan: &LogicalPlan,
        optimized: &LogicalPlan,
        catalog: &StatementCatalog,
    ) -> Result<Rows> {
        let mut list = TextColumns::new(["plan_type", "plan"]);
        let mut push =
            |kind: &str, text: String| list.push([Some(kind.to_string()), Some(text.trim_end().to_string())]);
        if verbose {
            push("initial_logical_plan", plan.display_indent().to_string());
        }
        push("logical_plan", optimized.display_indent().to_string());
        let physical = self.ready_plan(optimized, catalog)?;
        if analyze {
            let context = catalog.state.task_ctx();
            let run = Arc::clone(&physical);
            self.block_on(async move {
                let mut rows = execute_stream(run, context)?;
                while let Some(batch) = rows.next().await {
                    batch?;
                }
                Ok(())
            })?;
            let shown = DisplayableExecutionPlan::with_metrics(physical.as_ref());
            push("plan_with_metrics", shown.indent(verbose).to_string());
        } else {
            push(
                "physical_plan",
                DisplayableExecutionPlan::new(physical.as_ref())
                    .indent(verbose)
                    .to_string(),
            );
        }
        self.inner.progress.clear();
        list.rows()
    }
}

/// What tables hold, beyond rows and bytes: which version, how much of it is index, and of tables
/// that change in place how many rows are dead.
#[derive(Default)]
struct Accounts {
    versions: Vec<Option<u64>>,
    index_bytes: Vec<Option<u64>>,
    garbage_rows: Vec<Option<u64>>,
}

impl Accounts {
    fn push(&mut self, snapshot: Option<&TableSnapshot>) {
        let live = snapshot.and_then(TableSnapshot::live).map(LiveSnapshot::memory);
        self.versions.push(snapshot.map(TableSnapshot::version));
        self.index_bytes
            .push(snapshot.map(|snapshot| snapshot.index_bytes() as u64));
        self.garbage_rows
            .push(live.map(|memory| memory.garbage_rows as u64));
    }

    fn columns(self) -> [(&'static str, ArrayRef); 3] {
        let column = |values| Arc::new(UInt64Array::from(values)) as ArrayRef;
        [
            ("version", column(self.versions)),
            ("index_bytes", column(self.index_bytes)),
            ("garbage_rows", column(self.garbage_rows)),
        ]
    }
}

/// Says how far a load is: its share, its rate, the time left; nothing of a table without source.
fn describe(progress: &TableProgress) -> Option<String> {
    let left_out = (progress.rows_left_out > 0).then(|| {
        let because = progress
            .left_out_because
            .as_deref()
            .unwrap_or("they cannot be taken in");
        format!("{} rows left out: {because}", progress.rows_left_out)
    });
    if progress.attempts == 0 {
        return left_out;
    }
    let mut words = vec![format!("{} rows read", progress.rows)];
    if !progress.state.is_there() {
        words.extend(progress.share.map(|share| format!("{:.0} %", share * 100.0)));
    }
    words.extend(progress.rows_per_second().map(|rate| format!("{rate:.0}/s")));
    if progress.state == TableState::Loading {
        let left = progress.time_left();
        words.extend(left.map(|left| format!("{:.0} s left", left.as_secs_f64())));
    }
    words.extend(left_out);
    Some(words.join(", "))
}

/// Returns a type as SQL writes it, where SQL has a word for it.
pub(crate) fn sql_type(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".into(),
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => format!("DECIMAL({p},{s})"),
        DataType::Date32 => "DATE".into(),
        DataType::Time64(_) | DataType::Time32(_) => "TIME".into(),
        DataType::Timestamp(unit, zone) => {
            let digits = match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            };
            match zone {
                Some(zone) => format!("TIMESTAMP({digits}) WITH TIME ZONE '{zone}'"),
                None => format!("TIMESTAMP({digits})"),
            }
        }
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::Dictionary(_, value) => format!("{} (dictionary)", sql_type(value)),
        other => other.to_string(),
    }
}
