//! What becomes of rows without a match, against nested loops: every policy, INNER and LEFT,
//! conditions and duplicates, two tables in a row; and that every row is counted.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use fletching::{Error, LookupCounts, Session};
use proptest::prelude::*;

use crate::sessions::{query, sorted_lines};

type Keys = Vec<Option<i64>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Sql,
    Null,
    Drop,
    Default,
}

#[derive(Debug, Clone)]
struct Joined {
    keys: Keys,
    policy: Policy,
    is_left: bool,
    /// Only rows with an even value match.
    has_condition: bool,
}

fn keys(rows: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Keys> {
    prop::collection::vec(prop::option::weighted(0.9, 0..12_i64), rows)
}

fn joined() -> impl Strategy<Value = Joined> {
    use Policy::{Default, Drop, Null, Sql};
    let unique = (1..10_i64).prop_map(|rows| (0..rows).map(Some).collect::<Keys>());
    (
        prop_oneof![unique, keys(0..20)],
        prop::sample::select(vec![Sql, Null, Drop, Default]),
        any::<bool>(),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(keys, policy, is_left, has_condition)| Joined {
            keys,
            policy,
            is_left,
            has_condition,
        })
}

/// The value of a table's row: NULL for some.
fn value(row: usize) -> Option<i64> {
    (row % 5 != 4).then_some(row as i64)
}

fn batch(columns: Vec<(&str, Vec<Option<i64>>)>) -> RecordBatch {
    let columns = columns
        .into_iter()
        .map(|(name, values)| (name, Arc::new(Int64Array::from(values)) as ArrayRef, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn session(stream: &[RecordBatch], tables: &[Joined]) -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    session.create_stream("s", stream[0].schema()).unwrap();
    for piece in stream {
        session.push("s", piece.clone()).unwrap();
    }
    for (at, table) in tables.iter().enumerate() {
        let policy = match table.policy {
            Policy::Sql => "",
            Policy::Null => "WITH (on_miss = 'null')",
            Policy::Drop => "WITH (on_miss = 'drop')",
            Policy::Default => "WITH (on_miss = 'default', default.v = -7)",
        };
        session
            .sql(&format!("CREATE TABLE t{at} (k BIGINT, v BIGINT) {policy}"))
            .unwrap();
        let values = (0..table.keys.len()).map(value).collect();
        let rows = batch(vec![("k", table.keys.clone()), ("v", values)]);
        session.table(&format!("t{at}")).unwrap().append(&rows).unwrap();
    }
    session
}

fn sql(tables: &[Joined]) -> String {
    let mut columns = String::from("s.id");
    let mut joins = String::new();
    for (at, table) in tables.iter().enumerate() {
        let kind = if table.is_left { "LEFT" } else { "INNER" };
        let condition = if table.has_condition {
            format!(" AND t{at}.v % 2 = 0")
        } else {
            String::new()
        };
        columns.push_str(&format!(", t{at}.v"));
        joins.push_str(&format!(" {kind} JOIN t{at} ON s.k{at} = t{at}.k{condition}"));
    }
    format!("SELECT {columns} FROM s{joins}")
}

/// What one table gives for a key: values, and whether it was matched.
fn matches(table: &Joined, key: Option<i64>) -> (Vec<Option<i64>>, bool) {
    let rows = table.keys.iter().enumerate();
    let found: Vec<_> = rows
        .filter(|(_, own)| key.is_some() && **own == key)
        .map(|(row, _)| value(row))
        .filter(|value| !table.has_condition || value.is_some_and(|value| value % 2 == 0))
        .collect();
    if !found.is_empty() {
        return (found, true);
    }
    let kept = match table.policy {
        Policy::Null => vec![None],
        Policy::Default => vec![Some(-7)],
        Policy::Drop => vec![],
        Policy::Sql if table.is_left => vec![None],
        Policy::Sql => vec![],
    };
    (kept, false)
}

fn text(value: Option<i64>) -> String {
    value.map_or("NULL".into(), |value| value.to_string())
}

/// Joins by nested loops: the lines, and for each table the rows looked up and matched.
fn nested_loops(rows: &[[Option<i64>; 2]], tables: &[Joined]) -> (Vec<String>, Vec<(u64, u64)>) {
    let mut counts = vec![(0, 0); tables.len()];
    let mut lines: Vec<(String, usize)> = (0..rows.len()).map(|row| (row.to_string(), row)).collect();
    for (at, table) in tables.iter().enumerate() {
        let mut next = Vec::new();
        for (line, row) in lines {
            let (values, is_matched) = matches(table, rows[row][at]);
            counts[at].0 += 1;
            counts[at].1 += u64::from(is_matched);
            next.extend(
                values
                    .into_iter()
                    .map(|value| (format!("{line}|{}", text(value)), row)),
            );
        }
        lines = next;
    }
    let mut lines: Vec<String> = lines.into_iter().map(|(line, _)| line).collect();
    lines.sort();
    (lines, counts)
}

fn settled(counts: &LookupCounts) -> u64 {
    counts.padded + counts.dropped + counts.defaulted
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]

    #[test]
    fn every_policy_does_as_nested_loops_do(
        rows in prop::collection::vec((prop::option::weighted(0.9, 0..14_i64), prop::option::weighted(0.9, 0..14_i64)), 1..60),
        tables in prop::collection::vec(joined(), 1..3),
        cut in 0..60_usize,
    ) {
        let rows: Vec<[Option<i64>; 2]> = rows.into_iter().map(|(a, b)| [a, b]).collect();
        let all = batch(vec![
            ("id", (0..rows.len()).map(|row| Some(row as i64)).collect()),
            ("k0", rows.iter().map(|row| row[0]).collect()),
            ("k1", rows.iter().map(|row| row[1]).collect()),
        ]);
        let cut = cut.min(rows.len());
        let stream = [all.slice(0, cut), all.slice(cut, rows.len() - cut)];
        let session = session(&stream, &tables);
        let (lines, counted) = nested_loops(&rows, &tables);
        let found = sorted_lines(&query(&session, &sql(&tables)));
        prop_assert_eq!(&found, &lines);

        let counts = session.lookup_counts();
        prop_assert_eq!(counts.len(), tables.len());
        for ((counts, table), (looked_up, matched)) in counts.iter().zip(&tables).zip(counted) {
            // An INNER join without a policy does not tell rejected rows from matched ones.
            if table.policy != Policy::Sql || !table.has_condition || table.is_left {
                prop_assert_eq!((counts.looked_up, counts.matched), (looked_up, matched));
            }
            prop_assert_eq!(counts.looked_up, counts.matched + counts.null_keys + counts.missed);
            prop_assert_eq!(settled(counts), counts.null_keys + counts.missed);
        }

        // The same from a prepared query, a batch at a time.
        let prepared = session.prepare(&sql(&tables)).unwrap();
        let batches: Vec<_> = stream.iter().map(|batch| prepared.enrich(batch).unwrap()).collect();
        prop_assert_eq!(sorted_lines(&batches), lines);
        prop_assert_eq!(prepared.lookup_counts(), counts);
    }
}

fn desk(options: &str) -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    session
        .sql(&format!(
            "CREATE STREAM s (id BIGINT, k BIGINT);
             CREATE TABLE t (k BIGINT, v BIGINT, PRIMARY KEY (k)) WITH ({options});
             INSERT INTO t VALUES (1, 10)"
        ))
        .unwrap();
    session
}

#[test]
fn a_miss_that_is_an_error_names_table_key_and_row() {
    let session = desk("on_miss = 'error'");
    let prepared = session
        .prepare("SELECT s.id, t.v FROM s JOIN t ON s.k = t.k")
        .unwrap();
    let rows = batch(vec![
        ("id", vec![Some(5), Some(6)]),
        ("k", vec![Some(1), Some(9)]),
    ]);
    match prepared.enrich(&rows).unwrap_err() {
        error @ Error::Miss { .. } => {
            assert_eq!(error.code(), "MISS");
            let Error::Miss { table, key, row } = error else {
                unreachable!()
            };
            assert_eq!((table.as_str(), key.as_str()), ("t", "k = 9"));
            assert!(row.contains("\"id\":6"), "{row}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(prepared.enrich(&rows.slice(0, 1)).unwrap().num_rows(), 1);
}

#[test]
fn explain_shows_policies_and_counts() {
    let session = desk("on_miss = 'null'");
    let rows = batch(vec![
        ("id", vec![Some(5), Some(6)]),
        ("k", vec![Some(1), Some(9)]),
    ]);
    session.push("s", rows).unwrap();
    let sql = "EXPLAIN ANALYZE SELECT s.id, t.v FROM s JOIN t ON s.k = t.k";
    let plan = sorted_lines(&query(&session, sql)).join("\n");
    assert!(
        plan.contains("ON MISS null") && plan.contains("on miss null"),
        "{plan}"
    );
    for count in ["t.looked_up=2", "t.matched=1", "t.missed=1", "t.padded=1"] {
        assert!(plan.contains(count), "{count}: {plan}");
    }
}

#[test]
fn a_join_by_where_warns_that_its_policy_is_not_followed() {
    let session = desk("on_miss = 'null'");
    query(&session, "SELECT s.id, t.v FROM s, t WHERE s.k = t.k");
    let warnings = session.take_warnings();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.message.contains("on_miss = 'null'")),
        "{warnings:?}"
    );
}
