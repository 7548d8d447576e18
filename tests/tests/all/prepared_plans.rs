//! Prepared queries that are more than a chain: each call reads its tables as they are then.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use fletching::{Prepared, Session};

use crate::sessions::{lines, query};

fn input(values: &[i64]) -> RecordBatch {
    let k: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter([("k", k)]).unwrap()
}

fn session() -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        "CREATE TABLE t (k BIGINT, v BIGINT, PRIMARY KEY (k)); INSERT INTO t VALUES (1, 10), (2, 20)",
    );
    session
}

fn prepare(session: &Session, sql: &str) -> Prepared {
    session
        .prepare_over("input", input(&[]).schema(), sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn call(prepared: &Prepared, values: &[i64]) -> Vec<String> {
    lines(&[prepared.enrich(&input(values)).unwrap()])
}

#[test]
fn scanned_tables_are_current_at_each_call() {
    let session = session();
    // A scan, a scan below an aggregate, a point lookup, and a scan beside a lookup of the same table.
    let queries = [
        (
            "SELECT k, (SELECT sum(v) FROM t) AS total FROM input",
            ["1|30"],
            ["1|35"],
        ),
        (
            "SELECT k, (SELECT v FROM t WHERE k = 2) AS two FROM input",
            ["1|20"],
            ["1|25"],
        ),
        (
            "SELECT i.k, count(*) AS n FROM input i JOIN t ON t.v > i.k GROUP BY i.k",
            ["1|2"],
            ["1|2"],
        ),
        (
            "SELECT u.v, (SELECT max(v) FROM t) AS top FROM input i JOIN t u ON u.k = i.k + 1",
            ["20|20"],
            ["25|25"],
        ),
    ];
    let prepared: Vec<Prepared> = queries.iter().map(|(sql, ..)| prepare(&session, sql)).collect();
    for (prepared, (sql, before, _)) in prepared.iter().zip(&queries) {
        assert_eq!(call(prepared, &[1]), before, "{sql}");
    }
    query(&session, "UPDATE t SET v = 25 WHERE k = 2");
    for (prepared, (sql, _, after)) in prepared.iter().zip(&queries) {
        assert_eq!(call(prepared, &[1]), after, "{sql}");
        assert_eq!(call(prepared, &[1]), after, "{sql}, again");
    }
}

#[test]
fn a_derived_table_is_brought_up_to_date_for_a_call() {
    let session = session();
    query(
        &session,
        "CREATE TABLE sums AS SELECT count(*) AS n, sum(v) AS total FROM t",
    );
    let prepared = prepare(&session, "SELECT k, n, total FROM input CROSS JOIN sums");
    assert_eq!(call(&prepared, &[7]), ["7|2|30"]);
    query(&session, "INSERT INTO t VALUES (3, 70)");
    assert_eq!(call(&prepared, &[7]), ["7|3|100"]);
    query(&session, "DELETE FROM t");
    assert_eq!(call(&prepared, &[7]).len(), 1);
}

#[test]
fn all_tables_of_a_call_are_of_one_moment() {
    let session = session();
    let prepared = prepare(
        &session,
        "SELECT k, (SELECT sum(v) FROM t) - (SELECT sum(u.v) FROM t u WHERE u.k > 0) AS apart FROM input",
    );
    let writer = {
        let session = session.clone();
        std::thread::spawn(move || {
            for value in 0..300 {
                query(&session, &format!("UPDATE t SET v = {value} WHERE k = 1"));
            }
        })
    };
    while !writer.is_finished() {
        assert_eq!(call(&prepared, &[1]), ["1|0"]);
    }
    writer.join().unwrap();
}
