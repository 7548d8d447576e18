//! UPDATE, DELETE and INSERT … SELECT of one table from several threads: none is lost.

use std::thread;

use fletching::Session;

use crate::sessions::{lines, query};

const TURNS: usize = 500;

fn session(options: &str) -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        &format!(
            "CREATE TABLE t (k BIGINT, n BIGINT, PRIMARY KEY (k)) {options}; INSERT INTO t VALUES (1, 0)"
        ),
    );
    session
}

/// Runs each statement so often on a thread of its own.
fn at_once(session: &Session, statements: &[&str]) {
    thread::scope(|scope| {
        for statement in statements {
            scope.spawn(move || {
                for _ in 0..TURNS {
                    query(session, statement);
                }
            });
        }
    });
}

#[test]
fn no_update_of_a_keyed_table_is_lost() {
    let session = session("WITH (changelog = 'upsert')");
    at_once(&session, &["UPDATE t SET n = n + 1", "UPDATE t SET n = n + 1"]);
    assert_eq!(lines(&query(&session, "SELECT n FROM t")), ["1000"]);
}

#[test]
fn no_update_of_a_table_that_is_rewritten_is_lost() {
    let session = session("");
    at_once(&session, &["UPDATE t SET n = n + 1", "UPDATE t SET n = n + 1"]);
    assert_eq!(lines(&query(&session, "SELECT k, n FROM t")), ["1|1000"]);
}

#[test]
fn rows_put_while_others_are_rewritten_stay() {
    let session = session("");
    let statements = [
        "UPDATE t SET n = n + 1 WHERE k = 1",
        "INSERT INTO t VALUES (2, 0)",
    ];
    at_once(&session, &statements);
    assert_eq!(
        lines(&query(
            &session,
            "SELECT k, count(*), max(n) FROM t GROUP BY k ORDER BY k"
        )),
        ["1|1|500", "2|500|0"]
    );
}

#[test]
fn rows_made_from_the_table_itself_are_of_one_version() {
    let session = session("WITH (changelog = 'upsert')");
    let next = "INSERT INTO t SELECT max(k) + 1, 7 FROM t";
    at_once(&session, &[next, next]);
    assert_eq!(
        lines(&query(&session, "SELECT count(*), max(k) FROM t")),
        ["1001|1001"]
    );
}
