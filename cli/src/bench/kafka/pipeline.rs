//! What is measured: trades of a topic enriched from three tables into another topic, and its oracle.

use std::fmt::Write;
use std::path::Path;

use arrow::util::display::array_value_to_string;
use fletching::{Pipeline, Session};

use super::super::fault::{Fault, Result};

/// How trades are written, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) format: &'static str,
    /// The length of the text that brings a record to its size; none where there is no such column.
    pub(super) note_bytes: usize,
    /// Whether trades say when they were sent.
    pub(super) is_timed: bool,
}

/// A column of trades: its name and type, its fields for datagen, its Avro type.
type Column = (&'static str, &'static str, String, &'static str);

const DECIMAL: &str = r#"{"type":"bytes","logicalType":"decimal","precision":12,"scale":2}"#;
const MICROS: &str = r#"{"type":"long","logicalType":"timestamp-micros"}"#;

impl Shape {
    fn columns(&self) -> Vec<Column> {
        let sequence = |name: &str| format!("'fields.{name}.kind' = 'sequence'");
        let mut columns = vec![
            ("trade_id", "BIGINT", sequence("trade_id"), r#""long""#),
            (
                "user_id",
                "BIGINT",
                "'fields.user_id.kind' = 'random', 'fields.user_id.min' = 1, 'fields.user_id.max' = 5000"
                    .into(),
                r#""long""#,
            ),
            (
                "symbol",
                "VARCHAR",
                "'fields.symbol.kind' = 'random', 'fields.symbol.prefix' = 'SYM', 'fields.symbol.min' = 1, \
                 'fields.symbol.max' = 1000"
                    .into(),
                r#""string""#,
            ),
            (
                "amount",
                "DECIMAL(12,2)",
                "'fields.amount.kind' = 'random', 'fields.amount.min' = '10.00', \
                 'fields.amount.max' = '20000.00'"
                    .into(),
                DECIMAL,
            ),
            (
                "ts",
                "TIMESTAMP",
                "'fields.ts.kind' = 'sequence', 'fields.ts.start' = '2026-01-02 09:30:00', \
                 'fields.ts.step' = '10ms'"
                    .into(),
                MICROS,
            ),
        ];
        if self.note_bytes > 0 {
            let prefix = "x".repeat(self.note_bytes - 3);
            let note = format!(
                "'fields.note.kind' = 'random', 'fields.note.prefix' = '{prefix}', 'fields.note.min' = 100, \
                 'fields.note.max' = 999"
            );
            columns.push(("note", "VARCHAR", note, r#""string""#));
        }
        if self.is_timed {
            columns.push(("sent_us", "BIGINT", sequence("sent_us"), r#""long""#));
        }
        columns
    }

    /// The columns' names and types, as a statement declares them.
    fn declared(&self, more: &str) -> String {
        let columns: Vec<_> = self
            .columns()
            .iter()
            .map(|(name, sql, ..)| format!("{name} {sql}"))
            .collect();
        columns.join(", ") + more
    }

    fn names(&self, of: &str) -> String {
        let names: Vec<_> = self
            .columns()
            .iter()
            .map(|(name, ..)| format!("{of}{name}"))
            .collect();
        names.join(", ")
    }

    fn topic(&self, servers: &str, topic: &str, is_enriched: bool) -> String {
        let mut options = format!(
            "connector = 'kafka', 'bootstrap.servers' = '{servers}', topic = '{topic}', format = '{}'",
            self.format
        );
        if self.format == "avro" {
            let mut fields: Vec<(&str, &str)> = self
                .columns()
                .iter()
                .map(|(name, _, _, avro)| (*name, *avro))
                .collect();
            if is_enriched {
                fields.extend([
                    ("tier", r#""string""#),
                    ("position_limit", DECIMAL),
                    ("price", DECIMAL),
                ]);
            }
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, avro)| format!(r#"{{"name":"{name}","type":["null",{avro}]}}"#))
                .collect();
            let fields = fields.join(",");
            let _ = write!(
                options,
                r#", schema = '{{"type":"record","name":"trade","fields":[{fields}]}}'"#
            );
        }
        options
    }
}

/// The tables: in memory, so that what is measured is the way of the trades.
const TABLES: &str = "
CREATE TABLE profiles (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id)) WITH (
  connector = 'datagen', rows = 5000, seed = 1, 'fields.user_id.kind' = 'sequence',
  'fields.tier.kind' = 'choice', 'fields.tier.values' = 'bronze,silver,gold');
CREATE TABLE limits (user_id BIGINT, position_limit DECIMAL(12,2), PRIMARY KEY (user_id)) WITH (
  connector = 'datagen', rows = 5000, seed = 2, 'fields.user_id.kind' = 'sequence',
  'fields.position_limit.kind' = 'random', 'fields.position_limit.min' = '5000.00',
  'fields.position_limit.max' = '500000.00');
CREATE TABLE market (symbol VARCHAR, price DECIMAL(12,2), PRIMARY KEY (symbol)) WITH (
  connector = 'datagen', rows = 1000, seed = 3,
  'fields.symbol.kind' = 'sequence', 'fields.symbol.prefix' = 'SYM',
  'fields.price.kind' = 'random', 'fields.price.min' = '1.00', 'fields.price.max' = '900.00');";

const JOINS: &str = "JOIN profiles u ON t.user_id = u.user_id JOIN limits l ON t.user_id = l.user_id \
                     JOIN market m ON t.symbol = m.symbol";

/// What stands for all columns and rows, in whatever order.
const DIGEST: &str = "SELECT count(*), count(DISTINCT trade_id), sum(trade_id), sum(user_id), sum(amount), \
                      min(ts), max(ts), sum(position_limit), sum(price), count(tier), min(tier), max(tier)";

fn session() -> Result<Session> {
    Ok(Session::builder()
        .connectors(fletching_connectors::all())
        .build()?)
}

fn made_trades(shape: &Shape, records: u64) -> String {
    let fields: Vec<String> = shape
        .columns()
        .into_iter()
        .map(|(_, _, fields, _)| fields)
        .collect();
    format!(
        "CREATE STREAM made ({}) WITH (connector = 'datagen', rows = '{records}', seed = 42, {});",
        shape.declared(""),
        fields.join(", ")
    )
}

/// Fills a topic with trades.
pub(super) fn fill(shape: &Shape, servers: &str, topic: &str, records: u64) -> Result<()> {
    let script = format!(
        "{}CREATE SINK trades WITH ({}, key = 'user_id') AS SELECT {} FROM made;",
        made_trades(shape, records),
        shape.topic(servers, topic, false),
        shape.names("")
    );
    session()?.sql(&script)?;
    Ok(())
}

/// Starts the pipeline; with `records` it ends after so many.
pub(super) fn start(
    shape: &Shape,
    servers: &str,
    (from, to): (&str, &str),
    checkpoints: Option<&Path>,
    records: Option<u64>,
) -> Result<(Session, Pipeline)> {
    let session = session()?;
    let (mut settings, delivery) = match checkpoints {
        Some(folder) => (
            format!("SET checkpoint.path = '{}';", folder.display()),
            "exactly-once",
        ),
        None => (String::new(), "at-least-once"),
    };
    let mut options = "";
    if shape.is_timed {
        // As somebody would set them who wants results soon: at least once they are there when they are
        // sent, exactly once when their epoch is committed.
        options = "'kafka.linger.ms' = '1', ";
        if checkpoints.is_some() {
            settings += "SET checkpoint.interval = '20ms'; SET epoch.ms_max = 20;";
        }
    }
    session.sql(&format!(
        "{settings}{TABLES}CREATE STREAM trades ({}) WITH ({});",
        shape.declared(""),
        shape.topic(servers, from, false)
    ))?;
    let limit = records.map_or(String::new(), |records| format!(" LIMIT {records}"));
    let pipeline = session.start(&format!(
        "CREATE SINK enriched WITH ({}, key = 'user_id', {options}delivery = '{delivery}') AS \
         SELECT {}, u.tier, l.position_limit, m.price FROM trades t {JOINS}{limit}",
        shape.topic(servers, to, true),
        shape.names("t.")
    ))?;
    Ok((session, pipeline))
}

/// Returns the digest of what the pipeline wrote.
pub(super) fn digest(shape: &Shape, servers: &str, topic: &str) -> Result<String> {
    let script = format!(
        "CREATE STREAM enriched ({}) WITH ({}); {DIGEST} FROM enriched",
        shape.declared(", tier VARCHAR, position_limit DECIMAL(12,2), price DECIMAL(12,2)"),
        shape.topic(servers, topic, true)
    );
    row(&session()?, &script)
}

/// Returns the digest that it must have: that of the same trades joined without Kafka.
pub(super) fn expected(shape: &Shape, records: u64) -> Result<String> {
    let script = format!(
        "{TABLES}{}{DIGEST} FROM (SELECT {}, u.tier, l.position_limit, m.price FROM made t {JOINS}) AS e",
        made_trades(shape, records),
        shape.names("t.")
    );
    row(&session()?, &script)
}

fn row(session: &Session, script: &str) -> Result<String> {
    let batches = session.sql(script)?.collect_batches()?;
    let batch = batches.iter().find(|batch| batch.num_rows() == 1);
    let batch = batch.ok_or_else(|| Fault::new("there is no digest"))?;
    let cells = batch
        .columns()
        .iter()
        .map(|column| array_value_to_string(column, 0));
    let cells: std::result::Result<Vec<String>, _> = cells.collect();
    Ok(cells?.join(" "))
}
