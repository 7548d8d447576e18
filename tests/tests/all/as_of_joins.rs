//! As-of and temporal joins as SQL, against a loop over all rows.
//!
//! A case is two lists of rows and a way to write the join; it runs over a pushed stream with a
//! table, over a subquery as the right side, and as a prepared query over batches cut anywhere.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use fletching::Session;
use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof};
use proptest::strategy::Just;
use proptest::test_runner::TestCaseError;

use crate::join_cases::{CUTS, cut};
use crate::seed::{runner, seed};
use crate::sessions::query;

/// Cases; about 20 ms each.
const CASES: u32 = 400;

/// A row of either side: a key, a time and a number to judge by.
#[derive(Debug, Clone, Copy)]
struct Tick {
    key: Option<u8>,
    time: Option<i64>,
    number: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    GtEq,
    Gt,
    LtEq,
    Lt,
    Nearest,
    /// `FOR SYSTEM_TIME AS OF`.
    Versions,
}

/// How times and keys are stored.
#[derive(Debug, Clone, Copy)]
struct Types {
    is_timestamp: bool,
    is_text: bool,
    keys: usize,
}

#[derive(Debug, Clone)]
struct Case {
    stream: Vec<Tick>,
    table: Vec<Tick>,
    op: Op,
    is_left: bool,
    /// The table's side of the comparison first.
    is_swapped: bool,
    tolerance: Option<i64>,
    has_residual: bool,
    /// DuckDB's form, where it can say it.
    in_on: bool,
    types: Types,
    rows_per_batch: usize,
}

fn ticks(rows_max: usize) -> impl Strategy<Value = Vec<Tick>> {
    let key = prop_oneof![1 => Just(None), 8 => (0..4_u8).prop_map(Some)];
    let time = prop_oneof![1 => Just(None), 8 => (0..40_i64).prop_map(Some)];
    let tick = (key, time, 0..10_i64).prop_map(|(key, time, number)| Tick { key, time, number });
    (prop::collection::vec(tick, 0..=rows_max), any::<bool>()).prop_map(|(mut ticks, is_sorted)| {
        if is_sorted {
            ticks.sort_by_key(|tick| tick.time);
        }
        ticks
    })
}

fn case() -> impl Strategy<Value = Case> {
    let op = prop::sample::select(vec![
        Op::GtEq,
        Op::Gt,
        Op::LtEq,
        Op::Lt,
        Op::Nearest,
        Op::Versions,
    ]);
    let flags = (
        any::<bool>(),
        any::<bool>(),
        prop::bool::weighted(0.3),
        any::<bool>(),
    );
    let types = (any::<bool>(), any::<bool>(), 0..3_usize).prop_map(|(is_timestamp, is_text, keys)| Types {
        is_timestamp,
        is_text,
        keys,
    });
    (
        (ticks(120), ticks(40)),
        op,
        flags,
        prop::option::weighted(0.4, 0..9_i64),
        types,
        prop::sample::select(CUTS.to_vec()),
    )
        .prop_map(|((stream, table), op, flags, tolerance, types, rows_per_batch)| {
            let (is_left, is_swapped, has_residual, in_on) = flags;
            let keys = if op == Op::Versions {
                types.keys.max(1)
            } else {
                types.keys
            };
            Case {
                stream,
                table,
                op,
                is_left,
                is_swapped,
                tolerance: tolerance.filter(|_| op != Op::Versions),
                has_residual,
                in_on: in_on && op != Op::Nearest,
                types: Types { keys, ..types },
                rows_per_batch,
            }
        })
}

impl Case {
    fn side(&self, ticks: &[Tick]) -> RecordBatch {
        let ids = Int64Array::from_iter_values((0..).take(ticks.len()));
        let times = ticks.iter().map(|tick| tick.time);
        let times: ArrayRef = if self.types.is_timestamp {
            Arc::new(
                times
                    .map(|time| time.map(|t| t * 1_000_000))
                    .collect::<TimestampMicrosecondArray>(),
            )
        } else {
            Arc::new(times.collect::<Int64Array>())
        };
        let mut columns: Vec<(String, ArrayRef, bool)> = vec![("id".into(), Arc::new(ids), true)];
        for at in 0..self.types.keys {
            // Two keys say together what one says: the high bit and the low one.
            let part = |key: u8| match (self.types.keys, at) {
                (1, _) => key,
                (_, 0) => key / 2,
                _ => key % 2,
            };
            let keys = ticks.iter().map(|tick| tick.key.map(part));
            let column: ArrayRef = if self.types.is_text {
                let text = |key: u8| format!("a key of text that is long {key}");
                Arc::new(keys.map(|key| key.map(text)).collect::<StringArray>())
            } else {
                Arc::new(keys.map(|key| key.map(i64::from)).collect::<Int64Array>())
            };
            columns.push((format!("k{at}"), column, true));
        }
        columns.push(("ts".into(), times, true));
        let numbers = ticks.iter().map(|tick| tick.number);
        columns.push((
            "number".into(),
            Arc::new(Int64Array::from_iter_values(numbers)),
            true,
        ));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn amount(&self, amount: i64) -> String {
        if self.types.is_timestamp {
            format!("INTERVAL '{amount}' SECOND")
        } else {
            amount.to_string()
        }
    }

    /// Writes the join with a right side of this text.
    fn sql(&self, right: &str) -> String {
        let mut on: Vec<String> = (0..self.types.keys)
            .map(|at| format!("s.k{at} = r.k{at}"))
            .collect();
        if self.has_residual {
            // Not a second comparison that could be the one on time.
            on.push("s.number - r.number <= 0".into());
        }
        let (symbol, mirrored) = match self.op {
            Op::GtEq => (">=", "<="),
            Op::Gt => (">", "<"),
            Op::LtEq => ("<=", ">="),
            Op::Lt => ("<", ">"),
            Op::Nearest | Op::Versions => ("", ""),
        };
        let comparison = if self.is_swapped {
            format!("r.ts {mirrored} s.ts")
        } else {
            format!("s.ts {symbol} r.ts")
        };
        let distance = match self.op {
            Op::GtEq | Op::Gt => "s.ts - r.ts",
            _ => "r.ts - s.ts",
        };
        let bound = self.tolerance.map(|amount| self.amount(amount));
        let left = if self.is_left { "LEFT " } else { "" };
        let mut sql = "SELECT s.id, r.id FROM s ".to_string();
        match self.op {
            Op::Versions => write!(sql, "{left}JOIN {right} FOR SYSTEM_TIME AS OF s.ts AS r").unwrap(),
            Op::Nearest => {
                let bound = bound.map(|bound| format!(", {bound}")).unwrap_or_default();
                write!(
                    sql,
                    "ASOF {left}JOIN {right} r MATCH_CONDITION (NEAREST(s.ts, r.ts{bound}))"
                )
                .unwrap();
            }
            _ if self.in_on && self.tolerance.is_none() => {
                on.insert(on.len() / 2, comparison);
                write!(sql, "{left}ASOF JOIN {right} r").unwrap();
            }
            _ => {
                let bound = bound
                    .map(|bound| format!(" AND {distance} <= {bound}"))
                    .unwrap_or_default();
                write!(
                    sql,
                    "ASOF {left}JOIN {right} r MATCH_CONDITION ({comparison}{bound})"
                )
                .unwrap();
            }
        }
        if !on.is_empty() {
            write!(sql, " ON {}", on.join(" AND ")).unwrap();
        }
        sql
    }

    /// Joins by looking at every row.
    fn expected(&self) -> Vec<(i64, Option<i64>)> {
        let mut rows = Vec::new();
        for (id, tick) in (0..).zip(&self.stream) {
            let found = self
                .find(tick)
                .filter(|(_, row)| !self.has_residual || tick.number <= row.number);
            match found {
                Some((at, _)) => rows.push((id, Some(at))),
                None if self.is_left => rows.push((id, None)),
                None => {}
            }
        }
        rows
    }

    fn find(&self, tick: &Tick) -> Option<(i64, Tick)> {
        let time = tick.time?;
        let mut best: Option<(i64, Tick)> = None;
        for (at, row) in (0..).zip(&self.table) {
            let keys_meet = self.types.keys == 0 || (tick.key.is_some() && tick.key == row.key);
            let Some(other) = row.time.filter(|_| keys_meet) else {
                continue;
            };
            let fits = match self.op {
                Op::GtEq | Op::Versions => time >= other,
                Op::Gt => time > other,
                Op::LtEq => time <= other,
                Op::Lt => time < other,
                Op::Nearest => true,
            };
            let is_near = self.tolerance.is_none_or(|bound| (time - other).abs() <= bound);
            // The last of equal times, and of two equally near the earlier.
            let rank = |other: i64| ((time - other).abs(), other);
            let is_better = best.is_none_or(|(_, row)| rank(other) <= rank(row.time.unwrap_or(other)));
            if fits && is_near && is_better {
                best = Some((at, *row));
            }
        }
        best
    }

    fn session(&self) -> Session {
        let session = Session::builder().threads(2).build().unwrap();
        let stream = self.side(&self.stream);
        session.create_stream("s", stream.schema()).unwrap();
        for batch in cut(&stream, self.rows_per_batch) {
            session.push("s", batch).unwrap();
        }
        let table = self.side(&self.table);
        let keys: Vec<String> = (0..self.types.keys).map(|at| format!("k{at}")).collect();
        session.create_table("raw", vec![table], &[]).unwrap();
        let create = if self.op == Op::Versions {
            format!(
                "CREATE TABLE t (PRIMARY KEY ({})) WITH ('versioned' = 'true', version = 'ts') AS SELECT * FROM raw",
                keys.join(", ")
            )
        } else {
            "CREATE TABLE t AS SELECT * FROM raw".to_string()
        };
        if let Err(error) = session.sql(&create) {
            panic!("{create}: {error}");
        }
        session
    }
}

fn pairs(batches: &[RecordBatch]) -> Vec<(i64, Option<i64>)> {
    let mut pairs = Vec::new();
    for batch in batches {
        let ids = |at: usize| batch.column(at).as_primitive::<Int64Type>().iter();
        pairs.extend(ids(0).map(Option::unwrap_or_default).zip(ids(1)));
    }
    pairs
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let session = case.session();
    let expected = case.expected();
    let mut ways = vec![case.sql("t")];
    if case.op != Op::Versions {
        ways.push(case.sql("(SELECT * FROM raw)"));
    }
    for sql in &ways {
        let mut found = pairs(&query(&session, sql));
        found.sort_unstable();
        prop_assert_eq!(&found, &expected, "{}", sql);
    }
    let sql = case.sql("t");
    let prepared = match session.prepare(&sql) {
        Ok(prepared) => prepared,
        Err(error) => return Err(TestCaseError::fail(format!("{sql}: {error}"))),
    };
    let batches = cut(&case.side(&case.stream), case.rows_per_batch);
    let joined: Result<Vec<_>, _> = batches.iter().map(|batch| prepared.enrich(batch)).collect();
    let joined = joined.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&pairs(&joined), &expected, "prepared: {}", sql);
    let joined = prepared.enrich_batches(&batches);
    let joined = joined.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&pairs(&joined), &expected, "prepared, whole: {}", sql);
    Ok(())
}

#[test]
fn as_of_and_temporal_joins_are_loops_over_all_rows() {
    let mut runner = runner("as-of joins", CASES);
    if let Err(failure) = runner.run(&case(), |case| check(&case)) {
        panic!("FLETCHING_TEST_SEED={}: {failure}", seed());
    }
}

fn session() -> Session {
    let session = Session::new().unwrap();
    session
        .sql(
            "CREATE STREAM s (id BIGINT, k VARCHAR, ts BIGINT);
             CREATE TABLE q (k VARCHAR, ts BIGINT, bid BIGINT);
             INSERT INTO q VALUES ('A', 1, 10), ('A', 5, 50);
             CREATE TABLE r (k VARCHAR, since BIGINT, v BIGINT, PRIMARY KEY (k))
                 WITH ('versioned' = 'true', version = 'since', retention = '10');
             INSERT INTO r VALUES ('A', 0, 1), ('A', 100, 2)",
        )
        .unwrap();
    session
}

fn plan(session: &Session, sql: &str) -> String {
    let rows = query(session, sql);
    rows.iter()
        .flat_map(|batch| (0..batch.num_columns()).map(|at| Arc::clone(batch.column(at))))
        .map(|column| {
            let texts = arrow::compute::cast(&column, &arrow::datatypes::DataType::Utf8).unwrap();
            texts
                .as_string::<i32>()
                .iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("\n")
        })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn explain_says_what_is_matched() {
    let session = session();
    let text = plan(
        &session,
        "EXPLAIN SELECT s.id, q.bid, r.v FROM s
             ASOF LEFT JOIN q MATCH_CONDITION (s.ts >= q.ts AND s.ts - q.ts <= 7) ON s.k = q.k
             JOIN r FOR SYSTEM_TIME AS OF s.ts AS r ON s.k = r.k",
    );
    for part in [
        "LEFT q ON s.k = q.k AS OF s.ts >= q.ts WITHIN 7",
        "INNER r ON s.k = r.k AS OF s.ts IN VERSIONS FROM r.since BACK TO 10",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert_eq!(text.matches("LookupJoinExec").count(), 1, "one star:\n{text}");
}

/// One stream row, with this time.
fn stream_row(time: i64) -> RecordBatch {
    let key: ArrayRef = Arc::new(StringArray::from(vec!["A"]));
    let number: ArrayRef = Arc::new(Int64Array::from(vec![time]));
    RecordBatch::try_from_iter([("id", Arc::clone(&number)), ("k", key), ("ts", number)]).unwrap()
}

#[test]
fn a_prepared_as_of_join_sees_new_rows_of_its_table() {
    let session = session();
    let query = session
        .prepare("SELECT s.id, q.bid FROM s ASOF LEFT JOIN q ON s.k = q.k AND s.ts >= q.ts")
        .unwrap();
    let batch = stream_row(7);
    assert_eq!(pairs(&[query.enrich(&batch).unwrap()]), [(7, Some(50))]);
    session
        .sql("INSERT INTO q VALUES ('A', 6, 60), ('A', 8, 80)")
        .unwrap();
    assert_eq!(pairs(&[query.enrich(&batch).unwrap()]), [(7, Some(60))]);
}

#[test]
fn a_prepared_query_collects_a_right_side_that_is_no_table() {
    let session = session();
    let query = session
        .prepare("SELECT s.id, x.bid FROM s ASOF JOIN (SELECT k, ts, bid + 1 AS bid FROM q) x ON s.k = x.k AND s.ts >= x.ts")
        .unwrap();
    for time in [5, 3, 7] {
        let bid = if time < 5 { 11 } else { 51 };
        assert_eq!(
            pairs(&[query.enrich(&stream_row(time)).unwrap()]),
            [(time, Some(bid))]
        );
    }
    assert_eq!(pairs(&[query.enrich(&stream_row(0)).unwrap()]), []);
    let both = query.enrich_batches(&[stream_row(1), stream_row(9)]).unwrap();
    assert_eq!(pairs(&both), [(1, Some(11)), (9, Some(51))]);
}

#[test]
fn rows_without_history_are_counted() {
    let session = session();
    let sql = "SELECT x.at, r.v FROM (VALUES (0), (89), (90), (100)) AS x (at)
        LEFT JOIN r FOR SYSTEM_TIME AS OF x.at AS r ON r.k = concat('A', substr('', x.at + 9))";
    assert_eq!(
        pairs(&query(&session, sql)),
        [(0, None), (89, None), (90, Some(1)), (100, Some(2))]
    );
    assert_eq!(session.table("r").unwrap().rows_too_old(), 2);
    let text = plan(&session, &format!("EXPLAIN ANALYZE {sql}"));
    assert!(text.contains("r.older_than_retention=2"), "{text}");
}

#[test]
fn what_is_doubtful_is_warned_of() {
    let session = session();
    session.take_warnings();
    let warned = |sql: &str| {
        query(&session, sql);
        let warnings = session.take_warnings();
        warnings
            .iter()
            .map(|w| format!("{}: {w}", w.code()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let text = warned("SELECT s.id FROM s ASOF JOIN q MATCH_CONDITION (s.ts >= q.ts)");
    assert!(
        text.contains("JOIN_WITHOUT_KEY") && text.contains("nearest of all rows"),
        "{text}"
    );
    let text = warned("SELECT s.id FROM s ASOF LEFT JOIN q ON s.k = q.k AND s.ts >= q.ts WHERE q.bid > 1");
    assert!(
        text.contains("JOIN_MEANING") && text.contains("LEFT JOIN q"),
        "{text}"
    );
    let text = warned(
        "SELECT s.id FROM s ASOF JOIN (SELECT k, CAST(ts AS DOUBLE) AS ts FROM q) q ON s.k = q.k AND s.ts >= q.ts",
    );
    assert!(text.contains("KEY_CAST") && text.contains("the time"), "{text}");
    assert_eq!(
        warned("SELECT s.id FROM s ASOF JOIN q ON s.k = q.k AND s.ts >= q.ts"),
        ""
    );
}
