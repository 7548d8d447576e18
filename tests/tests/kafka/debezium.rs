//! `format = 'debezium-json'`: topics of envelopes as tables that follow the database they tell of.

use std::path::Path;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use fletching::connector::RelationKind;
use fletching::{Session, checkpoint};
use fletching_tests::broker::{Broker, Topic, shared};

use crate::support::{Relation, texts};

fn table(broker: &Broker, topic: &Topic) -> Relation {
    Relation::new(RelationKind::Table, broker, topic, "debezium-json")
        .columns(&[
            ("id", DataType::Int64),
            ("name", DataType::Utf8View),
            ("balance", DataType::Decimal128(16, 2)),
        ])
        .key(&["id"])
}

#[test]
fn envelopes_become_changes() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("envelopes", 1);
    topic.send(&[
        (
            Some(r#"{"id":1}"#),
            Some(r#"{"op":"r","before":null,"after":{"id":1,"name":"Ada","balance":"10.50"},"source":{"snapshot":"first"}}"#),
        ),
        (
            Some(r#"{"schema":{},"payload":{"id":2}}"#),
            Some(r#"{"schema":{"type":"struct"},"payload":{"op":"c","after":{"id":2,"name":"Ben","balance":20.25}}}"#),
        ),
        (
            Some(r#"{"id":1}"#),
            Some(r#"{"op":"u","before":{"id":1},"after":{"id":1,"name":"Ada","balance":"11.00","more":[1]}}"#),
        ),
        (None, Some(r#"{"op":"m","message":{"prefix":"x"}}"#)),
        (
            Some(r#"{"id":1}"#),
            Some(r#"{"op":"d","before":{"id":1,"name":null,"balance":null},"after":null}"#),
        ),
        (Some(r#"{"id":1}"#), None),
        (Some(r#"{"schema":{},"payload":{"id":2}}"#), None),
        (None, Some(r#"{"op":"t"}"#)),
    ]);
    // The last column is the change: 0 puts, 1 deletes, 2 takes all rows away.
    let expected = [
        "1|Ada|10.50|0",
        "2|Ben|20.25|0",
        "1|Ada|11.00|0",
        "1|-|-|1",
        "1|-|-|1",
        "2|-|-|1",
        "-|-|-|2",
    ];
    assert_eq!(table(broker, &topic).rows(), expected);
}

#[test]
fn the_key_may_be_in_the_record_alone() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("keyed-envelopes", 1);
    topic.send(&[
        (Some("7"), Some(r#"{"op":"c","after":{"name":"Ada"}}"#)),
        (Some("7"), Some(r#"{"op":"d","before":{"name":"Ada"}}"#)),
        (Some("8"), None),
    ]);
    let table = table(broker, &topic).with("key", "id").with("key.format", "text");
    assert_eq!(table.rows(), ["7|Ada|-|0", "7|Ada|-|1", "8|-|-|1"]);
}

#[test]
fn what_is_no_envelope_is_a_bad_record() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("bad-envelopes", 1);
    let good = r#"{"op":"c","after":{"id":1,"name":"Ada","balance":"1.00"}}"#;
    let bad = [
        (
            None,
            r#"{"op":"x","after":{"id":2}}"#,
            "expected c, u, d, r, t or m, found 'x'",
        ),
        (
            None,
            r#"{"op":"c","after":null}"#,
            "expected the row in 'after' of an op 'c', found none",
        ),
        (
            None,
            r#"{"op":"d","before":{"name":"Ada"}}"#,
            "found NULL in a column of the PRIMARY KEY",
        ),
        (
            None,
            r#"{"op":"u","after":{"id":3,"balance":"1.005"}}"#,
            "which has more digits after the point",
        ),
        (
            None,
            r#"{"op":"c","after":{"id":[]}}"#,
            "expected BIGINT, found a list",
        ),
        (None, "{", "is not a JSON object"),
    ];
    topic.send(&[(None, Some(good))]);
    for (key, value, _) in bad {
        topic.send(&[(key, Some(value))]);
    }
    topic.send(&[(None, None), (Some("Struct{id=1}"), None), (None, Some(good))]);
    let folder = tempfile::tempdir().unwrap();
    let letters = folder.path().join("dead.ndjson");
    let table = table(broker, &topic)
        .with("on_bad_row", "dead_letter")
        .with("dead_letter.path", &letters.to_string_lossy());
    assert_eq!(table.rows(), ["1|Ada|1.00|0", "1|Ada|1.00|0"]);
    let letters = std::fs::read_to_string(&letters).unwrap();
    assert_eq!(letters.lines().count(), bad.len() + 2, "{letters}");
    for ((_, _, reason), letter) in bad.iter().zip(letters.lines()) {
        assert!(letter.contains(reason), "{letter}\nshould say: {reason}");
    }
}

#[test]
fn a_changelog_is_kept_as_a_table() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("no-table", 1);
    let stream = Relation::stream(broker, &topic, "debezium-json").columns(&[("id", DataType::Int64)]);
    let refusal = stream.refusal();
    assert!(
        refusal.contains("a changelog is kept as a table, not as a stream"),
        "{refusal}"
    );
    let keyless = Relation::new(RelationKind::Table, broker, &topic, "debezium-json");
    let refusal = keyless.columns(&[("id", DataType::Int64)]).refusal();
    assert!(refusal.contains("there is no PRIMARY KEY"), "{refusal}");
    let undeclared = Relation::new(RelationKind::Table, broker, &topic, "debezium-json").key(&["id"]);
    assert!(undeclared.refusal().contains("must be declared"));
}

fn session() -> Session {
    let builder = Session::builder().connectors(fletching_connectors::all());
    builder.threads(2).build().unwrap()
}

fn rows(session: &Session, sql: &str) -> Vec<String> {
    let batches = session
        .sql(sql)
        .and_then(fletching::Rows::collect_batches)
        .unwrap();
    batches.iter().flat_map(texts).collect()
}

/// Asks for the users over and over until they are these.
fn until(session: &Session, expected: &[&str]) {
    let began = Instant::now();
    loop {
        let found = rows(session, "SELECT * FROM users ORDER BY id");
        if found == expected {
            return;
        }
        let waited = began.elapsed();
        assert!(
            waited < Duration::from_secs(60),
            "{found:?}, expected {expected:?}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the table is kept up to an offset.
fn until_kept(folder: &Path, offset: &str) {
    let began = Instant::now();
    loop {
        let tables = checkpoint::tables(folder).unwrap_or_default();
        let kept = tables.first().and_then(|table| table.contents().ok());
        let positions = kept.unwrap_or_default().positions;
        if positions.iter().any(|position| position.place == offset) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "kept: {positions:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_table_follows_and_goes_on_after_a_restart() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("followed-envelopes", 1);
    let put =
        |op: &str, id: i64, name: &str| format!(r#"{{"op":"{op}","after":{{"id":{id},"name":"{name}"}}}}"#);
    topic.send_values([put("r", 1, "Ada"), put("r", 2, "Ben"), put("r", 3, "Cyd")]);
    let kept = tempfile::tempdir().unwrap();
    let open = || {
        let session = session();
        let sql = format!(
            "SET checkpoint.path = '{}'; SET checkpoint.interval = '10ms';
             CREATE TABLE users (id BIGINT, name VARCHAR, PRIMARY KEY (id))
               WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', format = 'debezium-json')",
            kept.path().display(),
            broker.servers(),
            topic.name
        );
        session.sql(&sql).unwrap();
        session
    };
    let first = open();
    assert_eq!(
        rows(&first, "SELECT * FROM users ORDER BY id"),
        ["1|Ada", "2|Ben", "3|Cyd"]
    );
    topic.send_values([put("u", 2, "Bea")]);
    topic.send(&[
        (
            Some(r#"{"id":3}"#),
            Some(r#"{"op":"d","before":{"id":3},"after":null}"#),
        ),
        (Some(r#"{"id":3}"#), None),
    ]);
    until(&first, &["1|Ada", "2|Bea"]);
    until_kept(kept.path(), "6");
    drop(first);

    // What came meanwhile is read from where the table was kept, not from the beginning.
    topic.send_values([put("c", 4, "Dee")]);
    topic.send(&[(Some(r#"{"id":1}"#), None)]);
    let second = open();
    until(&second, &["2|Bea", "4|Dee"]);
    topic.send_values([r#"{"op":"t"}"#.to_owned(), put("c", 5, "Eve")]);
    until(&second, &["5|Eve"]);
}
