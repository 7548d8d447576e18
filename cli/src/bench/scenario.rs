//! Scenarios: what is measured, read from `benches/scenarios/*.toml`.
//!
//! A file describes data, a query and how it is run. `axes` make a matrix of cases of it; each
//! combination of their values is a case, named `scenario/value/value`. The files are part of the
//! program, so that an installed one can run them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::fault::{Fault, Result};
use super::variables::Variables;

/// The files of `benches/scenarios`, in the order they are listed.
const EMBEDDED: [(&str, &str); 10] = [
    ("seed", include_str!("../../../benches/scenarios/seed.toml")),
    ("trades", include_str!("../../../benches/scenarios/trades.toml")),
    (
        "big-table",
        include_str!("../../../benches/scenarios/big-table.toml"),
    ),
    (
        "big-table-batches",
        include_str!("../../../benches/scenarios/big-table-batches.toml"),
    ),
    ("skew", include_str!("../../../benches/scenarios/skew.toml")),
    ("fan-out", include_str!("../../../benches/scenarios/fan-out.toml")),
    (
        "db-benchmark-join",
        include_str!("../../../benches/scenarios/db-benchmark-join.toml"),
    ),
    (
        "parquet-to-parquet",
        include_str!("../../../benches/scenarios/parquet-to-parquet.toml"),
    ),
    (
        "prepared-latency",
        include_str!("../../../benches/scenarios/prepared-latency.toml"),
    ),
    ("as-of", include_str!("../../../benches/scenarios/as-of.toml")),
];

/// A file of scenarios: a title and the cases it makes.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    /// The file's name.
    pub(super) name: String,
    /// What it measures, in a line.
    pub(super) title: String,
    /// What else there is to know about it.
    pub(super) about: String,
    /// What is run.
    pub(super) cases: Vec<Case>,
}

/// One thing to measure.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    /// `scenario/value/value`; not in the file.
    #[serde(skip)]
    pub(super) name: String,
    /// The stream and the tables.
    pub(super) data: Vec<Data>,
    /// What is asked.
    pub(super) query: Query,
    /// How it is run.
    pub(super) run: Run,
    /// The rivals it is for, in the order they are shown.
    pub(super) rivals: Vec<String>,
    /// Threads where the command line says none.
    pub(super) threads: Option<usize>,
    /// Whether our own time is also taken with the tables' build counted.
    #[serde(default)]
    pub(super) count_build: bool,
    /// Whether contenders run each in its turn alone in memory, started anew each round.
    #[serde(default)]
    pub(super) one_at_a_time: bool,
    /// What must come out; not known of scaled data.
    #[serde(skip)]
    pub(super) expected: Option<Expected>,
}

/// A stream or table, made from a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Data {
    /// Its name in the query; the stream is `input`.
    pub(super) name: String,
    /// How many rows are made.
    pub(super) rows: u64,
    /// What they are made from.
    pub(super) seed: u64,
    /// A table's key; empty where keys may stand twice.
    #[serde(default)]
    pub(super) key: Vec<String>,
    /// Columns as `datagen` makes them.
    #[serde(default)]
    pub(super) columns: Vec<Column>,
    /// A query over those columns, named `source`, that gives the data; without, they are the data.
    pub(super) select: Option<String>,
    /// A table of the db-benchmark's join task: `x`, `small`, `medium` or `big`.
    pub(super) db_benchmark_join: Option<String>,
}

/// A column of made-up data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: String,
    /// Its SQL type.
    #[serde(rename = "type")]
    pub(super) sql_type: String,
    /// The options `fields.NAME.…` of `datagen`.
    #[serde(flatten)]
    pub(super) options: Table,
}

/// What is asked, as SQL, and once more as a plan for libraries without SQL. That the two agree
/// is checked on their results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The query over `input`.
    pub(super) sql: String,
    /// `column > number`, on the stream.
    pub(super) filter: Option<String>,
    /// The stream's columns that come out, in order.
    pub(super) select: Vec<String>,
    /// The joins; their columns come out behind, in order.
    pub(super) join: Vec<Join>,
}

/// A join of the stream with a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Join {
    /// The table.
    pub(super) table: String,
    /// `inner` or `left`.
    pub(super) kind: String,
    /// `stream_column = table_column AND …`.
    pub(super) on: String,
    /// `stream_column >= table_column`, with any inequality: of an as-of join, the times.
    pub(super) as_of: Option<String>,
    /// The table's columns that come out: `column`, or `column AS name`.
    pub(super) take: Vec<String>,
}

/// How a query is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Run {
    /// In which pieces.
    pub(super) kind: RunKind,
    /// Rows of a batch.
    #[serde(default)]
    pub(super) batch_rows: usize,
    /// At most so many batches of the stream in a run; 0 for all.
    #[serde(default)]
    pub(super) batches: usize,
    /// At most so many batches, and those once, where a rival runs, and where results are compared;
    /// 0 for as many.
    #[serde(default)]
    pub(super) rival_batches: usize,
    /// How often the batches are gone through in a run.
    #[serde(default = "once")]
    pub(super) passes: usize,
}

fn once() -> usize {
    1
}

impl Run {
    /// Returns how the same is run with fewer batches, as the results are that are compared.
    pub(super) fn shortened(&self) -> Self {
        let batches = match (self.batches, self.rival_batches) {
            (batches, 0) | (0, batches) => batches,
            (batches, rival_batches) => batches.min(rival_batches),
        };
        let passes = if self.rival_batches == 0 { self.passes } else { 1 };
        Self {
            batches,
            passes,
            ..self.clone()
        }
    }
}

/// In which pieces a query is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RunKind {
    /// The whole stream at once; the tables are in memory.
    Whole,
    /// Batch by batch, each result returned before the next; the tables are kept hot.
    Batches,
    /// A process from its start to its end, from Parquet files to a Parquet file.
    Process,
}

/// What must come out of a case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    /// The case's name without its scenario; empty where there are no axes.
    #[serde(default)]
    pub(super) case: String,
    /// How many rows.
    pub(super) rows: u64,
    /// Their checksum, in hexadecimal; see `verify.rs`.
    pub(super) checksum: String,
}

/// Reads every scenario that is part of the program.
///
/// # Errors
/// Fails where a file is wrong, which a test rules out.
pub(super) fn embedded(scale: u32) -> Result<Vec<Scenario>> {
    let parse = |(name, text): (&str, &str)| parse(name, text, scale).map_err(|fault| fault.during(name));
    EMBEDDED.into_iter().map(parse).collect()
}

/// Reads a scenario of the user's own.
///
/// # Errors
/// Fails where the file cannot be read or is wrong.
pub(super) fn of_file(path: &Path, scale: u32) -> Result<Scenario> {
    let name = path
        .file_stem()
        .map_or("scenario".into(), |stem| stem.to_string_lossy());
    let read = |path| Ok(std::fs::read_to_string(path)?);
    read(path)
        .and_then(|text: String| parse(&name, &text, scale))
        .map_err(|fault: Fault| fault.during(&path.display().to_string()))
}

fn parse(name: &str, text: &str, scale: u32) -> Result<Scenario> {
    let mut file: Table = text.parse()?;
    let mut word = |key: &str| match file.remove(key) {
        Some(Value::String(text)) => Ok(text.trim().to_owned()),
        _ => Err(Fault::new(format!("no text '{key}'"))),
    };
    let (title, about) = (word("title")?, word("about")?);
    let expected: Vec<Expected> = file.remove("expected").map_or(Ok(Vec::new()), Value::try_into)?;
    let axes: Vec<Vec<Table>> = file.remove("axes").map_or(Ok(Vec::new()), Value::try_into)?;
    let values: Table = file
        .remove("variables")
        .map_or(Ok(Table::new()), Value::try_into)?;
    let mut cases = Vec::new();
    for (case, mut variables) in combinations(&axes, &values)? {
        variables.scale(scale);
        let mut parsed: Case = variables.put_into(Value::Table(file.clone()))?.try_into()?;
        let join = if case.is_empty() { "" } else { "/" };
        parsed.name = format!("{name}{join}{case}");
        let of_case = |expected: &&Expected| scale == 1 && expected.case == case;
        parsed.expected = expected.iter().find(of_case).cloned();
        cases.push(parsed);
    }
    Ok(Scenario {
        name: name.to_owned(),
        title,
        about,
        cases,
    })
}

/// Every combination of the axes' values, the last axis fastest, with its name.
fn combinations(axes: &[Vec<Table>], values: &Table) -> Result<Vec<(String, Variables)>> {
    let mut variables = Variables::default();
    variables.add(values);
    let mut found = vec![(String::new(), variables)];
    for axis in axes {
        let mut longer = Vec::with_capacity(found.len() * axis.len());
        for (name, variables) in &found {
            for value in axis {
                let word = value.get("name").and_then(Value::as_str);
                let word = word.ok_or_else(|| Fault::new("a value of an axis has no name"))?;
                let join = if name.is_empty() { "" } else { "/" };
                let mut variables = variables.clone();
                variables.add(value);
                longer.push((format!("{name}{join}{word}"), variables));
            }
        }
        found = longer;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_scenario_is_right_at_every_scale() {
        for scale in [1, 10] {
            for scenario in embedded(scale).unwrap() {
                assert!(!scenario.cases.is_empty(), "{}", scenario.name);
                for case in &scenario.cases {
                    check(case);
                }
            }
        }
    }

    fn check(case: &Case) {
        let names: Vec<&str> = case.data.iter().map(|data| data.name.as_str()).collect();
        assert!(names.contains(&"input"), "{}: no stream", case.name);
        for join in &case.query.join {
            assert!(
                names.contains(&join.table.as_str()),
                "{}: {}",
                case.name,
                join.table
            );
            assert!(join.kind == "inner" || join.kind == "left", "{}", case.name);
            assert!(
                join.on.split(" AND ").all(|on| on.contains(" = ")),
                "{}",
                case.name
            );
        }
        assert!(!case.query.sql.contains("${"), "{}", case.name);
        let is_cut = case.run.kind == RunKind::Batches;
        assert_eq!(is_cut, case.run.batch_rows > 0, "{}", case.name);
    }

    #[test]
    fn axes_make_a_matrix() {
        let scenarios = embedded(1).unwrap();
        let big = scenarios.iter().find(|s| s.name == "big-table").unwrap();
        assert_eq!(big.cases.len(), 2 * 3 * 2 * 2);
        assert_eq!(big.cases[0].name, "big-table/1M/int/hit=100/inner");
        let rows = |case: &Case| case.data.iter().map(|data| data.rows).max();
        assert_eq!(rows(&big.cases[0]), Some(10_000_000));
    }

    #[test]
    fn fewer_batches_are_compared_than_run() {
        let run = |batches, rival_batches| Run {
            kind: RunKind::Batches,
            batch_rows: 1,
            batches,
            rival_batches,
            passes: 1,
        };
        let shortened = |batches, rivals| run(batches, rivals).shortened().batches;
        assert_eq!((shortened(10, 0), shortened(0, 5), shortened(10, 5)), (10, 5, 5));
    }
}
