//! Tables made from a stream that goes on: each pushed batch changes them, and they are what the
//! same query gives over the same batches when they are a stream that ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use fletching::connector::PushStream;
use fletching::{Session, TableState};
use proptest::prelude::*;

use crate::following::{self, publish};
use crate::seed::{runner, seed};
use crate::sessions::{lines, query, sorted_lines};

const CASES: u32 = 100;
const LONGEST: Duration = Duration::from_secs(30);

fn batch(rows: &[(i64, Option<i64>)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(key, _)| *key)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|(_, value)| *value)));
    let floats = rows
        .iter()
        .map(|(_, value)| value.map(|value| value as f64 / 4.0));
    let floats: ArrayRef = Arc::new(Float64Array::from_iter(floats));
    RecordBatch::try_from_iter_with_nullable([("k", keys, true), ("v", values, true), ("f", floats, true)])
        .unwrap()
}

fn open(session: &Session) -> PushStream {
    session.open_stream("s", batch(&[]).schema()).unwrap()
}

/// Queries that group, with what they read in place of `{}`.
const GROUPED: &[(&str, &str)] = &[
    (
        "sums",
        "SELECT k, count(*) AS n, count(v) AS there, sum(v) AS total, min(v) AS low, max(v) AS high FROM {} GROUP BY k",
    ),
    (
        "means",
        "SELECT avg(v) AS mean, avg(f) AS fine, k, sum(v * 2) FILTER (WHERE v > 50) AS twice FROM {} GROUP BY k",
    ),
    (
        "some",
        "SELECT k, sum(v) AS total FROM {} WHERE v IS NOT NULL GROUP BY k HAVING sum(v) % 2 = 0",
    ),
    (
        "different",
        "SELECT k % 3 AS m, count(DISTINCT v) AS kinds, count(*) + 1 AS next FROM {} GROUP BY k % 3",
    ),
    (
        "joined",
        "SELECT t.name, count(*) AS n FROM {} x JOIN t ON x.k = t.k GROUP BY t.name",
    ),
    (
        "spread",
        "SELECT k, median(v) AS middle, bool_or(v > 10) AS any_above FROM {} GROUP BY k",
    ),
];

#[test]
fn a_grouped_table_is_what_its_query_gives() {
    let rows = prop::collection::vec((0..12_i64, prop::option::weighted(0.8, 0..100_i64)), 0..30);
    let batches = prop::collection::vec(rows, 1..7);
    runner("stream tables", CASES)
        .run(&batches, |batches| {
            let session = Session::builder().threads(2).build().unwrap();
            query(
                &session,
                "CREATE TABLE t (k BIGINT, name VARCHAR, PRIMARY KEY (k));
                 INSERT INTO t VALUES (1, 'odd'), (2, 'even'), (3, 'odd'), (4, 'even')",
            );
            let stream = open(&session);
            // Some come before the tables are made.
            let (before, after) = batches.split_at(batches.len() / 2);
            for rows in before {
                stream.push(&batch(rows)).unwrap();
            }
            for (name, sql) in GROUPED {
                query(
                    &session,
                    &format!("CREATE TABLE {name} AS {}", sql.replace("{}", "s")),
                );
            }
            query(
                &session,
                "CREATE TABLE latest (k BIGINT, v BIGINT, PRIMARY KEY (k)) AS SELECT k, v FROM s WHERE k < 9",
            );
            for rows in after {
                stream.push(&batch(rows)).unwrap();
            }
            prop_assert!(stream.wait_until_read(LONGEST));
            // The stream itself is read as far as it was pushed.
            for (name, sql) in GROUPED {
                let there = sorted_lines(&query(&session, &format!("SELECT * FROM {name}")));
                prop_assert_eq!(
                    there,
                    sorted_lines(&query(&session, &sql.replace("{}", "s"))),
                    "{}",
                    name
                );
            }
            let last: BTreeMap<i64, Option<i64>> = batches
                .iter()
                .flatten()
                .copied()
                .filter(|(key, _)| *key < 9)
                .collect();
            let shown = |value: &Option<i64>| value.map_or("NULL".into(), |value| value.to_string());
            let expected: Vec<String> = last
                .iter()
                .map(|(key, value)| format!("{key}|{}", shown(value)))
                .collect();
            prop_assert_eq!(
                lines(&query(&session, "SELECT * FROM latest ORDER BY k")),
                expected
            );
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("seed {}: {failure}", seed()));
}

/// Waits for a table to be in a state.
fn wait_for(session: &Session, table: &str, is_it: impl Fn(&TableState) -> bool) -> TableState {
    let until = Instant::now() + LONGEST;
    loop {
        let state = session.table(table).unwrap().state();
        if is_it(&state) || Instant::now() > until {
            return state;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn what_was_pushed_before_is_there_when_the_table_is_ready() {
    let session = Session::builder().threads(2).build().unwrap();
    let stream = open(&session);
    for value in 0..50 {
        stream.push(&batch(&[(value % 5, Some(value))])).unwrap();
    }
    query(
        &session,
        "CREATE TABLE latest (PRIMARY KEY (k)) AS SELECT k, v FROM s",
    );
    // The query waits until the table is ready.
    assert_eq!(
        lines(&query(&session, "SELECT sum(v), count(*) FROM latest")),
        ["235|5"]
    );
    assert_eq!(session.table("latest").unwrap().state(), TableState::Ready);

    // Tables made from it follow, and prepared queries see it.
    query(&session, "CREATE TABLE total AS SELECT sum(v) AS v FROM latest");
    let keys = query(&session, "SELECT value AS k FROM generate_series(0, 4)");
    let prepared = session
        .prepare_over(
            "p",
            keys[0].schema(),
            "SELECT p.k, l.v FROM p JOIN latest l ON p.k = l.k",
        )
        .unwrap();
    stream.push(&batch(&[(0, Some(1000))])).unwrap();
    assert!(stream.wait_until_read(LONGEST));
    assert_eq!(lines(&query(&session, "SELECT v FROM total")), ["1190"]);
    assert_eq!(
        lines(&[prepared.enrich(&keys[0].slice(0, 1)).unwrap()]),
        ["0|1000"]
    );

    // What is dropped is followed no longer, and what was read can be forgotten.
    assert_eq!(stream.forget_read(), 0);
    let error = session.sql("DROP TABLE latest").unwrap_err();
    assert!(
        error.to_string().contains("table total is made from it"),
        "{error}"
    );
    query(&session, "DROP TABLE latest, total");
    assert!(stream.wait_until_read(LONGEST));
}

#[test]
fn what_fails_leaves_the_table_stale_or_failed() {
    let session = Session::builder().threads(2).build().unwrap();
    let stream = open(&session);
    query(
        &session,
        "CREATE TABLE sums AS SELECT k, sum(v) AS total FROM s GROUP BY k",
    );
    stream.push(&batch(&[(1, Some(i64::MAX))])).unwrap();
    assert!(stream.wait_until_read(LONGEST));
    assert_eq!(
        lines(&query(&session, "SELECT total FROM sums")),
        [i64::MAX.to_string()]
    );
    stream.push(&batch(&[(1, Some(1))])).unwrap();
    let state = wait_for(&session, "sums", |state| matches!(state, TableState::Stale(_)));
    assert!(
        matches!(&state, TableState::Stale(message) if message.contains("overflow")),
        "{state:?}"
    );
    // Its rows are there as they were before.
    assert_eq!(
        lines(&query(&session, "SELECT total FROM sums")),
        [i64::MAX.to_string()]
    );

    // The stream holds the same records still: a new table fails before it is ready.
    query(
        &session,
        "CREATE TABLE again AS SELECT k, sum(v) AS total FROM s GROUP BY k",
    );
    let error = session.sql("SELECT * FROM again").unwrap_err();
    assert!(error.to_string().contains("overflow"), "{error}");
    let shown = lines(&query(&session, "SHOW TABLES")).join("\n");
    assert!(shown.contains("stale: ") && shown.contains("failed: "), "{shown}");
}

/// A table has no row under a key with a NULL: what would belong there is left out, and counted.
#[test]
fn records_with_a_null_to_group_by_are_left_out_and_counted() {
    let session = Session::builder().threads(2).build().unwrap();
    let stream = open(&session);
    query(
        &session,
        "CREATE TABLE by_both AS SELECT v, k, count(*) AS n FROM s GROUP BY k, v",
    );
    stream.push(&batch(&[(1, None)])).unwrap();
    stream
        .push(&batch(&[(1, None), (2, Some(5)), (1, None), (2, Some(5))]))
        .unwrap();
    stream.push(&batch(&[(2, Some(5)), (3, Some(6))])).unwrap();
    assert!(stream.wait_until_read(LONGEST));
    assert_eq!(
        sorted_lines(&query(&session, "SELECT * FROM by_both")),
        ["5|2|3", "6|3|1"]
    );
    let progress = session.table("by_both").unwrap().progress();
    assert_eq!((progress.state, progress.rows_left_out), (TableState::Ready, 3));
    let shown = lines(&query(&session, "SHOW TABLES")).join("\n");
    assert!(
        shown.contains("3 rows left out: a column that they are grouped by is NULL"),
        "{shown}"
    );
}

/// A feed that fails is read on where the last commit was, and nothing is counted twice.
#[test]
fn a_feed_that_fails_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "k,v\n1,10\n2,1\n");
    let session = following::session();
    let path = folder.path().display();
    query(
        &session,
        &format!(
            "CREATE STREAM s (k BIGINT, v BIGINT) WITH (connector = 'file', path = '{path}', format = 'csv', \
             follow = 'true', follow.interval = '5ms')"
        ),
    );
    query(
        &session,
        "CREATE TABLE sums WITH (retry.backoff = '5ms', retry.backoff_max = '20ms') AS
         SELECT k, sum(v) AS total, count(*) AS n FROM s GROUP BY k",
    );
    let all = "SELECT * FROM sums";
    assert_eq!(sorted_lines(&query(&session, all)), ["1|10|1", "2|1|1"]);
    publish(folder.path(), "2.csv", "k,v\n1,5\n3,many\n");
    let state = wait_for(&session, "sums", |state| matches!(state, TableState::Stale(_)));
    assert!(
        matches!(&state, TableState::Stale(why) if why.contains("2.csv, line 3, column v")),
        "{state:?}"
    );
    publish(folder.path(), "2.csv", "k,v\n1,5\n3,7\n");
    following::until(&session, all, &["1|15|2", "2|1|1", "3|7|1"]);
    wait_for(&session, "sums", |state| *state == TableState::Ready);
}

/// Texts of a program's batches are no views, and those of tables are.
#[test]
fn groups_may_have_keys_of_text() {
    let session = Session::builder().threads(2).build().unwrap();
    let texts = |rows: &[(&str, i64)]| {
        let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(name, _)| name)));
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|(_, value)| *value)));
        RecordBatch::try_from_iter([("name", names), ("v", values)]).unwrap()
    };
    let stream = session.open_stream("s", texts(&[]).schema()).unwrap();
    query(
        &session,
        "CREATE TABLE sums AS SELECT name, sum(v) AS total FROM s GROUP BY name HAVING sum(v) < 10",
    );
    stream
        .push(&texts(&[
            ("a", 1),
            ("a name of more than twelve bytes", 2),
            ("a", 3),
        ]))
        .unwrap();
    assert!(stream.wait_until_read(LONGEST));
    let all = "SELECT * FROM sums";
    assert_eq!(
        sorted_lines(&query(&session, all)),
        ["a name of more than twelve bytes|2", "a|4"]
    );
    // One goes by HAVING, one comes.
    stream.push(&texts(&[("a", 6), ("b", 5)])).unwrap();
    assert!(stream.wait_until_read(LONGEST));
    assert_eq!(
        sorted_lines(&query(&session, all)),
        ["a name of more than twelve bytes|2", "b|5"]
    );
}

/// A pipeline that meets, in a table, the running aggregate of another stream.
#[test]
fn a_pipeline_joins_groups_that_change_as_it_runs() {
    let session = Session::builder().threads(2).build().unwrap();
    let quotes = session.open_stream("quotes", batch(&[]).schema()).unwrap();
    let trades = open(&session);
    query(
        &session,
        "CREATE TABLE totals AS SELECT k, count(*) AS n, sum(v) AS total FROM quotes GROUP BY k;
         CREATE SINK o WITH (connector = 'memory') AS
           SELECT s.k, q.n, q.total FROM s LEFT JOIN totals q ON s.k = q.k",
    );
    let results = session.results("o").unwrap();
    for (quoted, expected) in [
        (
            vec![(1, Some(10)), (2, Some(5)), (1, Some(1))],
            ["1|2|11", "2|1|5", "3|NULL|NULL"],
        ),
        (vec![(3, Some(7)), (1, None)], ["1|3|11", "2|1|5", "3|1|7"]),
    ] {
        quotes.push(&batch(&quoted)).unwrap();
        assert!(quotes.wait_until_read(LONGEST));
        trades.push(&batch(&[(1, None), (2, None), (3, None)])).unwrap();
        assert!(trades.wait_until_read(LONGEST));
        assert_eq!(lines(&results.take(LONGEST)), expected);
    }
    trades.finish();
    session.pipelines()[0].wait().unwrap();
    assert!(results.has_ended());
}

#[test]
fn refuses_what_cannot_be_kept_current() {
    let session = Session::builder().threads(2).build().unwrap();
    let stream = open(&session);
    stream.push(&batch(&[(1, Some(2)), (1, Some(3))])).unwrap();
    let cases = [
        ("CREATE TABLE x AS SELECT k, v FROM s", "without a PRIMARY KEY"),
        (
            "CREATE TABLE x AS SELECT sum(v) AS v FROM s",
            "filter, compute, look up and group",
        ),
        (
            "CREATE TABLE x AS SELECT sum(v) AS v FROM s GROUP BY k",
            "every column that it groups by",
        ),
        (
            "CREATE TABLE x (k BIGINT, n BIGINT, PRIMARY KEY (n)) AS SELECT k, count(*) FROM s GROUP BY k",
            "must be what it groups by: (k)",
        ),
        (
            "CREATE TABLE x (PRIMARY KEY (k)) AS SELECT k, v FROM s ORDER BY v LIMIT 3",
            "filter, compute, look up and group",
        ),
        (
            "CREATE TABLE x (PRIMARY KEY (k)) AS SELECT a.k, b.v FROM s a JOIN s b ON a.k = b.k",
            "more than one stream",
        ),
        (
            "CREATE TABLE x (PRIMARY KEY (k)) WITH (changelog = 'append') AS SELECT k, v FROM s",
            "one row of a key",
        ),
    ];
    for (sql, expected) in cases {
        let error = session.sql(sql).unwrap_err().to_string();
        assert!(error.contains(expected), "{sql}: {error}");
    }
    // What the stream holds now is a bounded matter.
    query(
        &session,
        "CREATE TABLE once WITH (refresh = 'once') AS SELECT k, v FROM s",
    );
    stream.push(&batch(&[(9, Some(9))])).unwrap();
    assert_eq!(lines(&query(&session, "SELECT count(*) FROM once")), ["2"]);
    assert_eq!(lines(&query(&session, "SELECT count(*) FROM s")), ["3"]);
    // A stream that is finished has ended.
    stream.finish();
    query(&session, "CREATE TABLE all_of_it AS SELECT k, v FROM s");
    assert_eq!(lines(&query(&session, "SELECT count(*) FROM all_of_it")), ["3"]);
}
