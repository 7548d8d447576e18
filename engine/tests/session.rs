//! The session as a program uses it.

#![expect(clippy::unwrap_used, reason = "a test stops where something is wrong")]

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow::util::pretty::pretty_format_batches;
use fletching::{Error, Session};

fn table_text(session: &Session, sql: &str) -> String {
    let rows = session.sql(sql).unwrap();
    let batches = rows.collect_batches().unwrap();
    pretty_format_batches(&batches).unwrap().to_string()
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

/// Users 1 to 3, symbols a and b, and trades of users 1, 9 and 3.
fn trading() -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    session
        .sql(
            "CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id));
             INSERT INTO users VALUES (1, 'gold'), (2, 'silver'), (3, NULL);
             CREATE TABLE market (symbol VARCHAR PRIMARY KEY, price DECIMAL(10,2));
             INSERT INTO market VALUES ('a', 1.50), ('b', 2.25);
             CREATE STREAM trades (id BIGINT, user_id BIGINT, symbol VARCHAR, quantity BIGINT);",
        )
        .unwrap();
    session
}

fn trades() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", ints(&[1, 2, 3])),
        ("user_id", ints(&[1, 9, 3])),
        ("symbol", texts(&["b", "a", "a"])),
        ("quantity", ints(&[10, 20, 30])),
    ])
    .unwrap()
}

const STAR: &str = "SELECT t.id, u.tier, m.price * t.quantity AS value FROM trades t \
                    JOIN users u ON t.user_id = u.id LEFT JOIN market m ON t.symbol = m.symbol \
                    WHERE t.quantity > 5";

#[test]
fn a_prepared_query_joins_several_tables_at_once() {
    let session = trading();
    let query = session.prepare(STAR).unwrap();
    let enriched = query.enrich(&trades()).unwrap();
    assert_eq!(
        pretty_format_batches(&[enriched]).unwrap().to_string(),
        "+----+------+-------+\n\
         | id | tier | value |\n\
         +----+------+-------+\n\
         | 1  | gold | 22.50 |\n\
         | 3  |      | 45.00 |\n\
         +----+------+-------+"
    );
    let plan = table_text(&session, &format!("EXPLAIN {STAR}"));
    assert_eq!(plan.matches("LookupJoin:").count(), 1, "{plan}");
    assert_eq!(plan.matches("LookupJoinExec:").count(), 1, "{plan}");
}

#[test]
fn a_prepared_query_sees_new_rows_of_its_tables() {
    let session = trading();
    let query = session.prepare(STAR).unwrap();
    session.sql("INSERT INTO users VALUES (9, 'new')").unwrap();
    assert_eq!(query.enrich(&trades()).unwrap().num_rows(), 3);
}

#[test]
fn a_prepared_query_takes_columns_by_name_and_casts_them() {
    let session = trading();
    let query = session
        .prepare("SELECT t.id, u.tier FROM trades t JOIN users u ON t.user_id = u.id")
        .unwrap();
    let batch = RecordBatch::try_from_iter([
        ("user_id", Arc::new(Int32Array::from(vec![2])) as ArrayRef),
        ("quantity", ints(&[1])),
        ("symbol", texts(&["a"])),
        ("id", ints(&[7])),
    ])
    .unwrap();
    assert_eq!(
        query
            .enrich(&batch)
            .unwrap()
            .column(0)
            .as_primitive::<Int64Type>()
            .values(),
        &[7]
    );
    let missing = RecordBatch::try_from_iter([("id", ints(&[7]))]).unwrap();
    let error = query.enrich(&missing).unwrap_err();
    assert!(
        error.to_string().contains("there is no column 'user_id'"),
        "{error}"
    );
}

#[test]
fn untouched_columns_share_their_buffers() {
    let session = trading();
    let query = session
        .prepare("SELECT t.id, t.quantity, u.tier FROM trades t LEFT JOIN users u ON t.user_id = u.id")
        .unwrap();
    let batch = trades();
    let enriched = query.enrich(&batch).unwrap();
    for name in ["id", "quantity"] {
        let before = batch
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>()
            .values()
            .inner()
            .as_ptr();
        let after = enriched
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>()
            .values()
            .inner()
            .as_ptr();
        assert_eq!(before, after, "{name}");
    }
}

#[test]
fn a_prepared_query_may_be_any_query() {
    let session = trading();
    let query = session
        .prepare("SELECT u.tier, COUNT(*) AS n FROM trades t JOIN users u ON t.user_id = u.id GROUP BY u.tier ORDER BY n, u.tier")
        .unwrap();
    for _ in 0..2 {
        let counted = query.enrich(&trades()).unwrap();
        assert_eq!(counted.column(1).as_primitive::<Int64Type>().values(), &[1, 1]);
    }
}

#[test]
fn a_prepared_query_is_shared_by_threads() {
    let session = trading();
    let query = session.prepare(STAR).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    assert_eq!(query.enrich(&trades()).unwrap().num_rows(), 2);
                }
            });
        }
    });
}

#[test]
fn pushed_batches_are_a_bounded_stream() {
    let session = trading();
    session.push("trades", trades()).unwrap();
    session.push("trades", trades()).unwrap();
    let counts = table_text(&session, "SELECT COUNT(*) AS n, SUM(quantity) AS q FROM trades");
    assert!(counts.contains("| 6 | 120 |"), "{counts}");
    let full = table_text(
        &session,
        "SELECT t.id, u.id AS uid FROM trades t FULL JOIN users u ON t.user_id = u.id ORDER BY t.id, uid",
    );
    assert_eq!(
        full,
        "+----+-----+\n\
         | id | uid |\n\
         +----+-----+\n\
         | 1  | 1   |\n\
         | 1  | 1   |\n\
         | 2  |     |\n\
         | 2  |     |\n\
         | 3  | 3   |\n\
         | 3  | 3   |\n\
         |    | 2   |\n\
         +----+-----+"
    );
}

#[test]
fn arithmetic_fails_rather_than_wraps() {
    let session = Session::new().unwrap();
    for (sql, what) in [
        ("SELECT 9223372036854775807 + 1", "BIGINT overflow"),
        (
            "SELECT a * 2 FROM (VALUES (9223372036854775807)) t(a)",
            "BIGINT overflow in t.a * 2: 9223372036854775807 * 2",
        ),
        ("SELECT 1 / 0", "division by zero"),
        ("SELECT 1.5 / 0.0", "division by zero"),
        (
            "SELECT a / 0.0 FROM (VALUES (CAST(1 AS DOUBLE))) t(a)",
            "division by zero",
        ),
        ("SELECT 5 % 0", "division by zero"),
        (
            "SELECT -a FROM (VALUES (-9223372036854775807 - 1)) t(a)",
            "BIGINT overflow",
        ),
        (
            "SELECT SUM(a) FROM (VALUES (9223372036854775807), (1)) t(a)",
            "overflow",
        ),
    ] {
        let error = session
            .sql(sql)
            .and_then(|rows| rows.collect_batches())
            .unwrap_err();
        assert!(error.to_string().contains(what), "{sql}: {error}");
        assert!(
            matches!(error, Error::Compute { .. } | Error::Sql(_)),
            "{sql}: {error:?}"
        );
    }
    let text = table_text(
        &session,
        "SELECT SUM(a) AS s, AVG(a) AS m FROM (VALUES (9223372036854775807), (1), (-1)) t(a)",
    );
    assert!(text.contains("9223372036854775807"), "{text}");
}

#[test]
fn errors_have_a_place_and_a_hint() {
    let session = trading();
    for (sql, message) in [
        (
            "SELECT tire FROM users",
            "there is no column 'tire' (line 1, column 8); did you mean 'users.tier'?",
        ),
        (
            "SELECT 1 FROM user",
            "there is no stream, table or view 'user' (line 1, column 15); did you mean 'users'?",
        ),
        (
            "SELECT uper(tier) FROM users",
            "there is no function 'uper' (line 1, column 8); did you mean 'upper'?",
        ),
        (
            "SELECT 1 FROM trades t JOIN users FOR SYSTEM_TIME AS OF t.quantity u ON t.user_id = u.id",
            "table users keeps no versions (line 1, column 39); create it with a PRIMARY KEY and WITH ('versioned' = \
             'true', version = 'column'); or say ASOF JOIN … MATCH_CONDITION (…), which takes any table",
        ),
        (
            "CREATE STREAM s (a INT) WITH (conector = 'memory')",
            "stream s: the option 'connector' is missing; known connectors: memory",
        ),
        (
            "SET tread = 1",
            "setting tread: there is no such setting; did you mean 'threads'?",
        ),
        (
            "DROP TABLE trades",
            "table trades: it is a stream; say DROP STREAM",
        ),
    ] {
        assert_eq!(session.sql(sql).unwrap_err().to_string(), message, "{sql}");
    }
}

#[test]
fn warnings_are_told_apart_from_errors() {
    let session = trading();
    let warned = |sql: &str| {
        session.take_warnings();
        session.sql(sql).unwrap().collect_batches().unwrap();
        session
            .take_warnings()
            .iter()
            .map(|warning| warning.code())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        warned("SELECT 1 FROM trades t JOIN users u ON t.user_id > u.id"),
        ["JOIN_WITHOUT_KEY"]
    );
    assert_eq!(
        warned("SELECT 1 FROM trades t RIGHT JOIN users u ON t.user_id = u.id"),
        ["JOIN_MEANING"]
    );
    assert_eq!(
        warned("SELECT 1 FROM trades t LEFT JOIN users u ON t.user_id = u.id WHERE u.tier = 'gold'"),
        ["JOIN_MEANING"]
    );
    assert_eq!(
        warned("SELECT 1 FROM trades a JOIN trades b ON a.id = b.id"),
        ["STREAM_JOIN_WITHOUT_TIME_BOUND"]
    );
    assert_eq!(
        warned("CREATE TABLE small (id INT); SELECT 1 FROM trades t JOIN small s ON t.user_id = s.id"),
        ["KEY_CAST"]
    );
    assert_eq!(warned("INSERT INTO users VALUES (1, 'again')"), ["DUPLICATE_KEY"]);
    assert!(warned("SELECT 1 FROM trades t JOIN users u ON t.user_id = u.id").is_empty());
}

#[test]
fn tables_made_of_batches_hold_texts_as_views() {
    let session = Session::new().unwrap();
    let batch = RecordBatch::try_from_iter([("id", ints(&[1, 1])), ("name", texts(&["x", "y"]))]).unwrap();
    session.create_table("t", vec![batch], &["id"]).unwrap();
    assert_eq!(
        session.table("t").unwrap().schema().field(1).data_type(),
        &DataType::Utf8View
    );
    let warning = &session.take_warnings()[0];
    assert!(
        warning.message.contains("for example (1) in rows 1 and 2"),
        "{warning}"
    );
    session
        .create_stream(
            "s",
            Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)])),
        )
        .unwrap();
    assert!(session.create_stream("s", Arc::new(Schema::empty())).is_err());
}
