//! Tables that change in place, from end to end: random changes through SQL and the API against a
//! map, read by joins, scans, point lookups and a prepared query.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use fletching::{Error, Prepared, Session};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::seed::{runner, seed};
use crate::sessions::{lines, query, sorted_lines};

const CASES: u32 = 60;

/// One change, and how it is made.
#[derive(Debug, Clone)]
enum Change {
    Upsert(Vec<(i64, i64)>),
    Delete(Vec<i64>),
    Insert(Vec<(i64, i64)>),
    DeleteWhere { below: i64 },
    UpdateWhere { from: i64, to: i64, add: i64 },
}

fn change() -> impl Strategy<Value = Change> {
    let rows = || prop::collection::vec((0..60_i64, 0..1000_i64), 1..30);
    prop_oneof![
        3 => rows().prop_map(Change::Upsert),
        2 => prop::collection::vec(0..80_i64, 1..20).prop_map(Change::Delete),
        2 => rows().prop_map(Change::Insert),
        1 => (0..1000_i64).prop_map(|below| Change::DeleteWhere { below }),
        2 => (0..60_i64, 0..60_i64, 1..50_i64).prop_map(|(from, to, add)| Change::UpdateWhere { from, to, add }),
    ]
}

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// A key as text, short for some and long for others.
fn name(key: i64) -> String {
    if key % 3 == 0 {
        format!("k{key}")
    } else {
        format!("a key of more than sixteen bytes {key}")
    }
}

fn names(keys: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(keys.into_iter().map(name)))
}

fn rows(changed: &[(i64, i64)]) -> RecordBatch {
    let (keys, values): (Vec<i64>, Vec<i64>) = changed.iter().copied().unzip();
    RecordBatch::try_from_iter([("k", names(keys.clone())), ("n", ints(keys)), ("v", ints(values))]).unwrap()
}

fn make(session: &Session, model: &mut BTreeMap<i64, i64>, change: &Change) {
    let table = session.table("t").unwrap();
    match change {
        Change::Upsert(changed) => {
            table.upsert(&rows(changed)).unwrap();
            model.extend(changed.iter().copied());
        }
        Change::Delete(keys) => {
            table.delete(&[names(keys.iter().copied())]).unwrap();
            model.retain(|key, _| !keys.contains(key));
        }
        Change::Insert(changed) => {
            let values = changed
                .iter()
                .map(|(key, value)| format!("('{}', {key}, {value})", name(*key)));
            let values = values.collect::<Vec<_>>().join(", ");
            query(session, &format!("INSERT INTO t VALUES {values}"));
            model.extend(changed.iter().copied());
        }
        Change::DeleteWhere { below } => {
            query(session, &format!("DELETE FROM t WHERE v < {below}"));
            model.retain(|_, value| *value >= *below);
        }
        Change::UpdateWhere { from, to, add } => {
            query(
                session,
                &format!("UPDATE t SET v = v + {add} WHERE n BETWEEN {from} AND {to}"),
            );
            for (_, value) in model
                .range_mut(*from..=(*to).max(*from))
                .filter(|(key, _)| **key <= *to)
            {
                *value += add;
            }
        }
    }
}

/// Compares every way to read the table with the map.
fn check(session: &Session, prepared: &Prepared, model: &BTreeMap<i64, i64>) -> Result<(), TestCaseError> {
    let expected: Vec<String> = model
        .iter()
        .map(|(key, value)| format!("{}|{value}", name(*key)))
        .collect();
    let mut sorted = expected.clone();
    sorted.sort();
    prop_assert_eq!(&sorted_lines(&query(session, "SELECT k, v FROM t")), &sorted);
    prop_assert_eq!(lines(&query(session, "SELECT k, v FROM t ORDER BY n")), expected);
    prop_assert_eq!(
        session.table("t").unwrap().snapshot().unwrap().row_count(),
        model.len()
    );

    let probes: Vec<i64> = (0..80).rev().collect();
    let batch = RecordBatch::try_from_iter([("key", names(probes.clone()))]).unwrap();
    let joined = prepared.enrich(&batch).unwrap();
    let values: Vec<Option<i64>> = joined.column(1).as_primitive::<Int64Type>().iter().collect();
    let found: Vec<Option<i64>> = probes.iter().map(|key| model.get(key).copied()).collect();
    prop_assert_eq!(values, found);

    // By another column, through an index over the version's rows.
    let by_number = "SELECT s.n, t.v FROM (VALUES (3), (30), (70)) AS s (n) LEFT JOIN t ON s.n = t.n";
    let shown = |key: i64| model.get(&key).map_or("NULL".to_string(), i64::to_string);
    let mut expected: Vec<String> = [3, 30, 70]
        .iter()
        .map(|key| format!("{key}|{}", shown(*key)))
        .collect();
    expected.sort();
    prop_assert_eq!(sorted_lines(&query(session, by_number)), expected);

    for key in [0, 1, 33] {
        let found = lines(&query(
            session,
            &format!("SELECT v FROM t WHERE k = '{}'", name(key)),
        ));
        let wanted: Vec<String> = model.get(&key).map(i64::to_string).into_iter().collect();
        prop_assert_eq!(found, wanted);
    }
    Ok(())
}

fn session() -> (Session, Prepared) {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        "CREATE TABLE t (k VARCHAR, n BIGINT, v BIGINT, PRIMARY KEY (k)) WITH (changelog = 'upsert')",
    );
    let schema = RecordBatch::try_from_iter([("key", names([]))]).unwrap().schema();
    let sql = "SELECT s.key, t.v FROM s LEFT JOIN t ON s.key = t.k";
    let prepared = session.prepare_over("s", schema, sql).unwrap();
    (session, prepared)
}

#[test]
fn every_way_to_read_sees_every_change() {
    let changes = prop::collection::vec(change(), 1..12);
    let run = |changes: Vec<Change>| {
        let (session, prepared) = session();
        let mut model = BTreeMap::new();
        for change in &changes {
            make(&session, &mut model, change);
            check(&session, &prepared, &model)?;
        }
        Ok(())
    };
    if let Err(error) = runner("live tables", CASES).run(&changes, run) {
        panic!(
            "{error}\nseed {}: set FLETCHING_TEST_SEED to run it again",
            seed()
        );
    }
}

#[test]
fn a_point_lookup_shows_in_explain() {
    let (session, _) = session();
    let plan = lines(&query(&session, "EXPLAIN SELECT v FROM t WHERE k = 'k3'")).join("\n");
    assert!(plan.contains("TableLookupExec: t by (k), 1 key"), "{plan}");
    let plan = lines(&query(&session, "EXPLAIN DELETE FROM t WHERE k = 'k3'")).join("\n");
    assert!(plan.contains("TableLookupExec"), "{plan}");
    let plan = lines(&query(&session, "EXPLAIN SELECT v FROM t WHERE n = 3")).join("\n");
    assert!(!plan.contains("TableLookupExec"), "{plan}");
}

#[test]
fn show_tables_tells_version_index_and_garbage() {
    let (session, _) = session();
    query(&session, "INSERT INTO t VALUES ('a', 1, 1), ('b', 2, 2)");
    query(&session, "INSERT INTO t VALUES ('a', 1, 3)");
    let shown = query(&session, "SHOW TABLES");
    let number = |name: &str| {
        let column = shown[0].column_by_name(name).unwrap();
        let column = arrow::compute::cast(column, &arrow::datatypes::DataType::Int64).unwrap();
        column.as_primitive::<Int64Type>().value(0)
    };
    assert_eq!(
        (number("rows"), number("version"), number("garbage_rows")),
        (2, 2, 1)
    );
    assert!(number("index_bytes") > 0 && number("bytes") > number("index_bytes"));
}

#[test]
fn refuses_what_it_cannot_change() {
    let session = Session::new().unwrap();
    query(&session, "CREATE TABLE plain (a BIGINT, b BIGINT)");
    let plain = session.table("plain").unwrap();
    let batch = RecordBatch::try_from_iter([("a", ints([1])), ("b", ints([1]))]).unwrap();
    let error = plain.upsert(&batch).unwrap_err();
    assert!(error.to_string().contains("has no PRIMARY KEY"), "{error}");
    query(
        &session,
        "CREATE TABLE keyed (a BIGINT, b BIGINT, PRIMARY KEY (a))",
    );
    let keyed = session.table("keyed").unwrap();
    let error = keyed.delete(&[names([1])]).unwrap_err();
    assert!(matches!(error, Error::Batch { .. }), "{error:?}");

    // Rows that were added are there, each key once, when the first change comes.
    query(&session, "INSERT INTO keyed VALUES (1, 10), (1, 11), (2, 20)");
    keyed.upsert(&batch).unwrap();
    assert_eq!(
        lines(&query(&session, "SELECT * FROM keyed ORDER BY a")),
        ["1|1", "2|20"]
    );
    query(&session, "INSERT INTO keyed VALUES (2, 21)");
    assert_eq!(
        lines(&query(&session, "SELECT * FROM keyed ORDER BY a")),
        ["1|1", "2|21"]
    );
}

/// A prepared query that nobody calls must not make its table keep what changes replace.
#[test]
fn a_waiting_query_holds_no_version() {
    let (session, prepared) = session();
    let batch = RecordBatch::try_from_iter([("key", names(0..50))]).unwrap();
    let table = session.table("t").unwrap();
    let changed: Vec<(i64, i64)> = (0..50).map(|key| (key, key)).collect();
    table.upsert(&rows(&changed)).unwrap();
    assert_eq!(prepared.enrich(&batch).unwrap().num_rows(), 50);
    let before = table.snapshot().unwrap().memory_bytes();
    let many: Vec<(i64, i64)> = (0..20_000).map(|row| (row % 50, row)).collect();
    for _ in 0..50 {
        table.upsert(&rows(&many)).unwrap();
    }
    // A million rows came; 65,536 dead ones are left alone, and the history of none is kept.
    let after = table.snapshot().unwrap().memory_bytes();
    assert!(after - before < 12 << 20, "{before} bytes became {after}");
}

/// A writer moves money between accounts while others sum it up.
#[test]
fn queries_read_whole_versions() {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        "CREATE TABLE accounts (id BIGINT, money BIGINT, PRIMARY KEY (id)) WITH (changelog = 'upsert');
         INSERT INTO accounts SELECT value, 100 FROM generate_series(1, 1000)",
    );
    let ids = RecordBatch::try_from_iter([("id", ints(1..=1000))]).unwrap();
    let sql = "SELECT s.id, a.money FROM s JOIN accounts a ON s.id = a.id";
    let prepared = session.prepare_over("s", ids.schema(), sql).unwrap();
    let accounts = session.table("accounts").unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut money: BTreeMap<i64, i64> = (1..=1000).map(|id| (id, 100)).collect();
            for turn in 0..300_i64 {
                let (from, to) = (1 + turn * 7 % 1000, 1 + turn * 13 % 1000);
                *money.get_mut(&from).unwrap() -= turn;
                *money.get_mut(&to).unwrap() += turn;
                let values = [from, to].map(|id| money[&id]);
                let batch =
                    RecordBatch::try_from_iter([("id", ints([from, to])), ("money", ints(values))]).unwrap();
                accounts.upsert(&batch).unwrap();
            }
        });
        while !writer.is_finished() {
            let joined = prepared.enrich(&ids).unwrap();
            let sum: i64 = joined
                .column(1)
                .as_primitive::<Int64Type>()
                .iter()
                .flatten()
                .sum();
            assert_eq!((joined.num_rows(), sum), (1000, 100_000));
            let summed = lines(&query(&session, "SELECT sum(money), count(*) FROM accounts"));
            assert_eq!(summed, ["100000|1000"]);
        }
    });
}
