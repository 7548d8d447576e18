//! Tables made by a query over tables: random changes of what they are made from, and each time the
//! table must be what its query gives when it is run afresh.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use fletching::{Prepared, Session};

use crate::seed::{runner, seed};
use crate::sessions::{query, sorted_lines};

const CASES: u32 = 500;

/// The tables, what they are made by, and whether that reads others that are made.
const TABLES: &[(&str, &str)] = &[
    ("projected", "SELECT k, v + 1 AS w, name FROM a"),
    (
        "filtered",
        "SELECT name || '!' AS name, k FROM a WHERE v % 3 <> 0",
    ),
    ("renamed", "SELECT w, k AS key FROM projected WHERE w < 700"),
    (
        "sums",
        "SELECT g, count(*) AS n, sum(v) AS total, min(v) AS low, max(v) AS high FROM a GROUP BY g",
    ),
    (
        "means",
        "SELECT g, avg(v) AS mean FROM a GROUP BY g HAVING count(*) > 2",
    ),
    ("joined", "SELECT a.k, a.v, b.u FROM a LEFT JOIN b ON a.g = b.g"),
    ("whole", "SELECT count(*) AS n, sum(n) AS all_rows FROM sums"),
    (
        "nested",
        "SELECT k FROM a WHERE v > (SELECT avg(u) FROM b) AND EXISTS (SELECT 1 FROM b WHERE b.g = a.g)",
    ),
];

#[derive(Debug, Clone)]
enum Change {
    Put(Vec<(i64, i64)>),
    PutOther(Vec<(i64, i64)>),
    Delete { from: i64, to: i64 },
    Update { from: i64, to: i64 },
    Rewrite,
    Nothing,
}

fn change() -> impl Strategy<Value = Change> {
    let rows = || prop::collection::vec((0..60_i64, 0..1000_i64), 1..8);
    prop_oneof![
        4 => rows().prop_map(Change::Put),
        2 => rows().prop_map(Change::PutOther),
        2 => (0..60_i64, 0..6_i64).prop_map(|(from, width)| Change::Delete { from, to: from + width }),
        2 => (0..60_i64, 0..6_i64).prop_map(|(from, width)| Change::Update { from, to: from + width }),
        1 => Just(Change::Rewrite),
        1 => Just(Change::Nothing),
    ]
}

fn values(rows: &[(i64, i64)], row: impl Fn(i64, i64) -> String) -> String {
    let rows = rows.iter().map(|(key, value)| row(*key, *value));
    rows.collect::<Vec<_>>().join(", ")
}

fn make(session: &Session, change: &Change) {
    let sql = match change {
        Change::Put(rows) => {
            let rows = values(rows, |k, v| format!("({k}, {v}, {}, 'name {v} of {k}')", v % 5));
            format!("INSERT INTO a VALUES {rows}")
        }
        Change::PutOther(rows) => {
            let rows = values(rows, |k, v| format!("({}, {v})", k % 7));
            format!("INSERT INTO b VALUES {rows}")
        }
        Change::Delete { from, to } => format!("DELETE FROM a WHERE k BETWEEN {from} AND {to}"),
        Change::Update { from, to } => {
            format!("UPDATE a SET v = v + 1, g = (g + 1) % 5 WHERE k BETWEEN {from} AND {to}")
        }
        Change::Rewrite => "DELETE FROM b WHERE u % 2 = 0".into(),
        Change::Nothing => "SELECT 1".into(),
    };
    query(session, &sql);
}

fn session() -> (Session, Prepared) {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        "CREATE TABLE a (k BIGINT, v BIGINT, g BIGINT, name VARCHAR, PRIMARY KEY (k)) WITH (changelog = 'upsert');
         CREATE TABLE b (g BIGINT, u BIGINT);
         INSERT INTO a SELECT value, value * 7, value % 5, 'name' FROM generate_series(0, 59)",
    );
    for (name, made_by) in TABLES {
        query(&session, &format!("CREATE TABLE {name} AS {made_by}"));
    }
    let keys = query(&session, "SELECT k FROM a");
    let sql = "SELECT s.k, f.name FROM s JOIN filtered f ON s.k = f.k";
    let prepared = session.prepare_over("s", keys[0].schema(), sql).unwrap();
    (session, prepared)
}

fn check(session: &Session, prepared: &Prepared, which: usize) -> Result<(), TestCaseError> {
    let (name, made_by) = TABLES[which % TABLES.len()];
    let there = sorted_lines(&query(session, &format!("SELECT * FROM {name}")));
    prop_assert_eq!(there, sorted_lines(&query(session, made_by)), "{}", name);

    let keys = query(session, "SELECT value AS k FROM generate_series(0, 70)");
    let joined = sorted_lines(&prepared.enrich_batches(&keys).unwrap());
    let wanted = query(session, "SELECT k, name || '!' FROM a WHERE v % 3 <> 0");
    prop_assert_eq!(joined, sorted_lines(&wanted));
    Ok(())
}

#[test]
fn a_table_made_from_tables_is_what_its_query_gives() {
    // Of each step one table is looked at, so that others fall behind by several changes.
    let steps = prop::collection::vec((change(), 0..TABLES.len()), 1..8);
    runner("derived tables", CASES)
        .run(&steps, |steps| {
            let (session, prepared) = session();
            for (change, which) in &steps {
                make(&session, change);
                check(&session, &prepared, *which)?;
            }
            for which in 0..TABLES.len() {
                check(&session, &prepared, which)?;
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("seed {}: {failure}", seed()));
}

#[test]
fn keys_given_as_plain_texts_are_followed() {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        "CREATE TABLE t (name VARCHAR, v BIGINT, PRIMARY KEY (name)) WITH (changelog = 'upsert');
         INSERT INTO t SELECT 'a name of more than twelve bytes ' || value, value FROM generate_series(1, 100);
         CREATE TABLE copy AS SELECT v, name FROM t",
    );
    let name = |at: i64| format!("a name of more than twelve bytes {at}");
    for at in 1..=20 {
        let gone: ArrayRef = Arc::new(StringArray::from(vec![name(at)]));
        session.table("t").unwrap().delete(&[gone]).unwrap();
        query(
            &session,
            &format!("INSERT INTO t VALUES ('{}', {at})", name(at + 50)),
        );
        let there = sorted_lines(&query(&session, "SELECT name, v FROM copy"));
        assert_eq!(there, sorted_lines(&query(&session, "SELECT name, v FROM t")));
    }
}

#[test]
fn few_changed_keys_are_computed_by_themselves() {
    let (session, _) = session();
    let version = |name: &str| session.table(name).unwrap().snapshot().unwrap().version();
    let ids = |name: &str| {
        let live = session.table(name).unwrap().snapshot().unwrap();
        live.row_count()
    };
    // The first look makes the table ask for changes.
    query(&session, "INSERT INTO a VALUES (1, 2, 3, 'x')");
    let (before, rows) = (version("filtered"), ids("filtered"));
    query(
        &session,
        "INSERT INTO a VALUES (1, 3, 3, 'y'); DELETE FROM a WHERE k = 2",
    );
    assert_eq!(version("filtered"), before + 1);
    assert_eq!(ids("filtered"), rows - 2);
    assert_eq!(version("filtered"), before + 1);
    // What nothing has changed is not computed again.
    let sums = session.table("sums").unwrap();
    let (one, two) = (sums.snapshot().unwrap(), sums.snapshot().unwrap());
    assert!(Arc::ptr_eq(&one, &two));
}
