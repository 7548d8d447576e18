//! Streams that the program fills, and prepared queries while their tables change.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use fletching::{ErrorClass, Session};

use crate::sessions::{lines, query, sorted_lines};

fn ids(ids: &[i64]) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("id", column, true)]).unwrap()
}

fn session() -> Session {
    let session = Session::new().unwrap();
    let script = "CREATE STREAM s (id BIGINT);
        CREATE TABLE t (id BIGINT, name VARCHAR, PRIMARY KEY (id));
        INSERT INTO t VALUES (1, 'one'), (2, 'two')";
    session.sql(script).unwrap();
    session
}

const LEFT: &str = "SELECT s.id, t.name FROM s LEFT JOIN t ON s.id = t.id";

#[test]
fn a_query_reads_what_was_pushed_before_it_began() {
    let session = session();
    session.push("s", ids(&[1, 9])).unwrap();
    assert_eq!(sorted_lines(&query(&session, LEFT)), ["1|one", "9|NULL"]);
    session.push("s", ids(&[])).unwrap();
    session.push("s", ids(&[2])).unwrap();
    assert_eq!(sorted_lines(&query(&session, LEFT)), ["1|one", "2|two", "9|NULL"]);
    let full = "SELECT s.id, t.name FROM s RIGHT JOIN t ON s.id = t.id AND s.id < 2";
    assert_eq!(sorted_lines(&query(&session, full)), ["1|one", "NULL|two"]);
}

#[test]
fn a_pushed_batch_is_fitted_by_name_or_refused() {
    let session = session();
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let other: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let columns = [("unused", Arc::clone(&other)), ("id", narrow)];
    session
        .push("s", RecordBatch::try_from_iter(columns).unwrap())
        .unwrap();
    assert_eq!(sorted_lines(&query(&session, LEFT)), ["1|one"]);
    for (name, found) in [
        ("id", "column 'id': expected Int64, found Utf8"),
        ("key", "there is no column 'id'"),
    ] {
        let batch = RecordBatch::try_from_iter([(name, Arc::clone(&other))]).unwrap();
        let error = session.push("s", batch).unwrap_err();
        assert_eq!((error.code(), error.class()), ("BATCH", ErrorClass::User));
        assert!(error.to_string().contains(found), "{error}");
    }
    let error = session.push("t", ids(&[1])).unwrap_err();
    assert!(error.to_string().contains("there is no stream 't'"), "{error}");
    assert_eq!(
        sorted_lines(&query(&session, LEFT)),
        ["1|one"],
        "nothing was half pushed"
    );
}

#[test]
fn a_prepared_query_sees_the_tables_current_rows() {
    let session = session();
    let prepared = session.prepare(LEFT).unwrap();
    assert_eq!(
        lines(&[prepared.enrich(&ids(&[3, 1])).unwrap()]),
        ["3|NULL", "1|one"]
    );
    session.sql("INSERT INTO t VALUES (3, 'three')").unwrap();
    assert_eq!(
        lines(&[prepared.enrich(&ids(&[3, 1])).unwrap()]),
        ["3|three", "1|one"]
    );
    session.sql("INSERT INTO t VALUES (3, 'again')").unwrap();
    assert_eq!(
        lines(&[prepared.enrich(&ids(&[3])).unwrap()]),
        ["3|three", "3|again"]
    );
}

#[test]
fn a_prepared_query_casts_what_it_is_given_and_names_what_is_missing() {
    let session = session();
    let prepared = session.prepare(LEFT).unwrap();
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(2), None]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1", "x"]));
    let batch = RecordBatch::try_from_iter([("unused", texts.clone()), ("id", narrow)]).unwrap();
    assert_eq!(lines(&[prepared.enrich(&batch).unwrap()]), ["2|two", "NULL|NULL"]);
    let error = prepared
        .enrich(&RecordBatch::try_from_iter([("id", texts)]).unwrap())
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("column 'id': expected Int64, found Utf8"),
        "{error}"
    );
    let other: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let error = prepared
        .enrich(&RecordBatch::try_from_iter([("key", other)]).unwrap())
        .unwrap_err();
    assert!(error.to_string().contains("there is no column 'id'"), "{error}");
}

#[test]
fn a_prepared_query_takes_exactly_one_stream() {
    let session = session();
    session.sql("CREATE STREAM other (id BIGINT)").unwrap();
    for (sql, found) in [
        ("SELECT * FROM t", "found none"),
        ("SELECT s.id FROM s JOIN other o ON s.id = o.id", "found other, s"),
        ("SELECT 1; SELECT 2", "found 2 statements"),
        ("INSERT INTO t VALUES (1, 'x')", "prepare takes a SELECT"),
    ] {
        let error = session.prepare(sql).unwrap_err();
        assert!(error.to_string().contains(found), "{sql}: {error}");
    }
}

#[test]
fn a_row_that_cannot_be_computed_fails_its_batch_and_no_other() {
    let session = session();
    let prepared = session.prepare("SELECT s.id, 10 / s.id AS q FROM s").unwrap();
    let error = prepared.enrich(&ids(&[5, 0])).unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert_eq!(lines(&[prepared.enrich(&ids(&[5])).unwrap()]), ["5|2"]);
}

#[test]
fn prepared_queries_serve_many_threads() {
    let session = session();
    let prepared = session.prepare(LEFT).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_i64 {
            let prepared = &prepared;
            scope.spawn(move || {
                for round in 0..50 {
                    let batch = ids(&[1, thread + 10, 2, round + 100]);
                    let expected = [
                        "1|one".to_string(),
                        format!("{}|NULL", thread + 10),
                        "2|two".into(),
                        format!("{}|NULL", round + 100),
                    ];
                    assert_eq!(lines(&[prepared.enrich(&batch).unwrap()]), expected);
                }
            });
        }
    });
}

#[test]
fn doubtful_joins_are_warned_of() {
    let session = session();
    session
        .sql("CREATE STREAM other (id BIGINT); CREATE STREAM narrow (id INT); INSERT INTO t VALUES (1, 'twice')")
        .unwrap();
    let codes = |sql: &str| -> Vec<&'static str> {
        query(&session, sql);
        session
            .take_warnings()
            .iter()
            .map(fletching::Warning::code)
            .collect()
    };
    assert!(
        codes("SELECT 1").contains(&"DUPLICATE_KEY"),
        "of the INSERT before"
    );
    assert_eq!(codes(LEFT), [""; 0]);
    assert!(codes("SELECT s.id FROM s, t").contains(&"JOIN_WITHOUT_KEY"));
    assert!(
        codes("SELECT s.id FROM s JOIN other o ON s.id = o.id").contains(&"STREAM_JOIN_WITHOUT_TIME_BOUND")
    );
    assert!(
        codes("SELECT s.id FROM s LEFT JOIN t ON s.id = t.id WHERE t.name > 'a'").contains(&"JOIN_MEANING")
    );
    assert!(codes("SELECT n.id FROM narrow n JOIN t ON n.id = t.id").contains(&"KEY_CAST"));
}
