//! Tables of more than a megabyte: interleaved columns against plain ones, and versions that change
//! while queries are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use fletching::{Prepared, Session};

use crate::sessions::{lines, query, sorted_lines};

const ROWS: i64 = 200_000;

/// A table with NULLs, duplicate keys and columns of several widths, and a stream half of whose keys
/// are in it.
const SETUP: &str = "
    CREATE TABLE t AS SELECT
        CASE WHEN value % 1000 = 7 THEN NULL ELSE value / 2 * 7919 END AS k,
        value::DOUBLE / 8 AS ratio,
        CASE WHEN value % 3 = 0 THEN NULL ELSE 'a text of row ' || value END AS word,
        (value % 100000)::DECIMAL(18, 4) / 7 AS amount,
        value % 5 = 0 AS flag,
        (value % 100)::SMALLINT AS small
    FROM range(0, 200000);
    CREATE VIEW s AS SELECT value AS n, value % 200000 * 7919 AS id FROM range(0, 300000);";

fn session(threads: usize, interleave: &str) -> Session {
    let session = Session::builder().threads(threads).build().unwrap();
    session.sql(SETUP).unwrap();
    session
        .sql(&format!("SET lookup.interleave = {interleave}"))
        .unwrap();
    session
}

#[test]
fn interleaved_columns_give_the_same_rows() {
    for threads in [1, 2] {
        let (with, without) = (session(threads, "on"), session(threads, "off"));
        for kind in ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"] {
            let sql = format!(
                "SELECT n, ratio, word, amount, flag, small FROM s {kind} t ON id = k AND small < 90"
            );
            let found = sorted_lines(&query(&with, &sql));
            assert!(found.len() > 100_000);
            assert!(
                found == sorted_lines(&query(&without, &sql)),
                "{kind} on {threads} threads"
            );
        }
    }
}

/// Returns the bytes of table `t`, as SHOW TABLES tells them.
fn table_bytes(session: &Session) -> i64 {
    let rows = query(session, "SHOW TABLES");
    let column = rows[0].column_by_name("bytes").unwrap();
    arrow::compute::cast(column, &arrow::datatypes::DataType::Int64)
        .unwrap()
        .as_primitive::<Int64Type>()
        .value(0)
}

fn prepared(session: &Session) -> (Prepared, RecordBatch) {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(|n| n * 7919)));
    let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let sql = "SELECT id, ratio, word, amount FROM input LEFT JOIN t ON id = k";
    (session.prepare_over("input", batch.schema(), sql).unwrap(), batch)
}

#[test]
fn a_copy_lives_as_long_as_the_queries_that_use_it() {
    let session = session(2, "on");
    let (first, batch) = prepared(&session);
    let rows = lines(&[first.enrich(&batch).unwrap()]);
    let with_copy = table_bytes(&session);
    let (second, _) = prepared(&session);
    assert!(rows == lines(&[second.enrich(&batch).unwrap()]));
    assert_eq!(table_bytes(&session), with_copy, "two queries share a copy");
    drop(first);
    assert_eq!(table_bytes(&session), with_copy);
    drop(second);
    // 16 of text, 16 of decimal, 8 of ratio and 8 of the key in a row of 64, and an index beside it.
    let copy = with_copy - table_bytes(&session);
    assert!((64 * (ROWS + 1)..72 * ROWS).contains(&copy), "{copy}");

    session.sql("SET lookup.interleave = off").unwrap();
    let without = table_bytes(&session);
    let (third, _) = prepared(&session);
    assert_eq!(table_bytes(&session), without);
    assert!(rows == lines(&[third.enrich(&batch).unwrap()]));
}

/// A call for many rows makes a copy where it shows that it will gather half as many as the table has.
#[test]
fn a_long_call_makes_a_copy_only_where_that_pays() {
    const PROBES: i64 = 1 << 20;
    for (one_in, pays) in [(40, false), (1, true)] {
        let session = session(1, "on");
        let (query, _) = prepared(&session);
        let before = table_bytes(&session);
        let key = |n: i64| {
            if n % one_in == 0 {
                n % (ROWS / 2) * 7919
            } else {
                -1
            }
        };
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values((0..PROBES).map(key)));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        query.enrich_batches(&[batch]).unwrap();
        // A filter for absent keys may be there, too: a byte a key.
        let copy = table_bytes(&session) - before;
        assert_eq!(copy > 40 * ROWS, pays, "one in {one_in}: {copy}");
    }
}

/// The index of a new version is built by the first who needs it, in the midst of parallel work.
#[test]
fn a_table_may_change_while_batches_are_enriched() {
    let session = session(4, "on");
    let (query, batch) = prepared(&session);
    let pieces: Vec<RecordBatch> = (0..40).map(|at| batch.slice(at * 5000, 5000)).collect();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Relaxed) {
                session.sql("INSERT INTO t (k, ratio) VALUES (-1, 1)").unwrap();
            }
        });
        for _ in 0..40 {
            let enriched = query.enrich_batches(&pieces);
            is_done.store(enriched.is_err(), Relaxed);
            let rows = enriched.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
            // Every key below ROWS / 2 is there twice, but for those of rows without one.
            assert_eq!(rows, 300_000 - 200);
        }
        is_done.store(true, Relaxed);
    });
}
