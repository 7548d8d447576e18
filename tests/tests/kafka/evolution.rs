//! Schemas that change: what becomes of an added, dropped, renamed, widened and narrowed field, for each
//! format a test, and in it each cell of the table in connectors/README.md.

use arrow::datatypes::DataType;
use fletching::connector::FeedRequest;
use fletching_tests::broker::shared;

use crate::fake_registry::FakeRegistry;
use crate::support::{Relation, poll_rows};

/// Avro's numbers, zigzag and 7 bits a byte; small ones are one byte.
fn small(value: u8) -> u8 {
    value * 2
}

/// A message of schema `id` with these bytes.
pub(crate) fn framed(id: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, id];
    message.extend_from_slice(body);
    message
}

fn record(fields: &str) -> String {
    format!("{{\"type\": \"record\", \"name\": \"R\", \"fields\": [{fields}]}}")
}

/// Reads with bad records left out; returns the rows, and the reasons.
fn read(relation: Relation) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("letters.ndjson");
    let relation = relation.with("on_bad_row", "dead_letter");
    let rows = relation
        .with("dead_letter.path", &path.display().to_string())
        .rows();
    let letters = std::fs::read_to_string(path).unwrap();
    let reason = |line: &str| {
        let letter: serde_json::Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| letter[name].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", part("column"), part("reason"))
    };
    (rows, letters.lines().map(reason).collect())
}

fn insist_on(reasons: &[String], expected: &[&str]) {
    assert_eq!(reasons.len(), expected.len(), "{reasons:?}");
    for (reason, expected) in reasons.iter().zip(expected) {
        assert!(reason.contains(expected), "{reason} is not: {expected}");
    }
}

#[test]
fn json_by_names() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("evolving-json", 1);
    topic.send_values([
        r#"{"id": 1, "amount": 5}"#,
        // Added: passed over until it is declared.
        r#"{"id": 2, "amount": 5, "added": {"x": [1]}}"#,
        // Dropped: NULL.
        r#"{"id": 3}"#,
        // Renamed: NULL under the old name.
        r#"{"id": 4, "sum": 5}"#,
        // Widened: a number that the old type did not hold, and one that is written as text.
        r#"{"id": 1099511627776, "amount": 0.5}"#,
        r#"{"id": "6", "amount": "0.25"}"#,
        // Another type.
        r#"{"id": true, "amount": 5}"#,
        r#"{"id": 8, "amount": [5]}"#,
    ]);
    let stream = |id: DataType, amount: DataType| {
        Relation::stream(broker, &topic, "json").columns(&[("id", id), ("amount", amount)])
    };
    let (rows, reasons) = read(stream(DataType::Int64, DataType::Decimal128(9, 2)));
    assert_eq!(
        rows,
        ["1|5.00", "2|5.00", "3|-", "4|-", "1099511627776|0.50", "6|0.25"]
    );
    insist_on(&reasons, &["id", "amount"]);
    // Narrowed: what does not fit is a bad record, and never another number.
    let (rows, reasons) = read(stream(DataType::Int8, DataType::Decimal128(9, 1)));
    assert_eq!(rows, ["1|5.0", "2|5.0", "3|-", "4|-"]);
    insist_on(&reasons, &["1099511627776", "0.25", "id", "amount"]);
    // Declared, the added one is there; where it was not yet, it is NULL.
    let added = stream(DataType::Utf8View, DataType::Utf8View).columns(&[("sum", DataType::Int32)]);
    let (rows, _) = read(added);
    assert_eq!(rows.iter().filter(|row| *row == "5").count(), 1, "{rows:?}");
}

#[test]
fn csv_by_places() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("evolving-csv", 1);
    topic.send_values([
        "1,5",
        // Added, at the end and before it.
        "2,5,x",
        // Dropped.
        "3",
        // Widened.
        "1099511627776,0.5",
        // Another type.
        "five,5",
    ]);
    let stream = |names: [&'static str; 2], id: DataType, amount: DataType| {
        Relation::stream(broker, &topic, "csv").columns(&[(names[0], id), (names[1], amount)])
    };
    let decimal = |scale| DataType::Decimal128(9, scale);
    let (rows, reasons) = read(stream(["id", "amount"], DataType::Int64, decimal(2)));
    assert_eq!(rows, ["1|5.00", "1099511627776|0.50"]);
    insist_on(&reasons, &["3", "1", "five"]);
    // Renamed: no matter, columns are known by their places.
    let (renamed, _) = read(stream(["nr", "sum"], DataType::Int64, decimal(2)));
    assert_eq!(renamed, rows);
    // Narrowed.
    let (rows, reasons) = read(stream(["id", "amount"], DataType::Int16, decimal(0)));
    assert_eq!(rows, ["1|5"]);
    insist_on(&reasons, &["3", "1", "1099511627776", "five"]);
}

#[test]
fn raw_by_length() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("evolving-raw", 1);
    topic.send_values([vec![0, 0, 0, 7], vec![0, 0, 0, 0, 0, 0, 0, 8]]);
    let stream = |of: DataType| Relation::stream(broker, &topic, "raw").columns(&[("n", of)]);
    // A number is as long as its type: a wider and a narrower one are bad records.
    let (rows, reasons) = read(stream(DataType::Int32));
    assert_eq!((rows.as_slice(), reasons.len()), (["7".to_owned()].as_slice(), 1));
    let (rows, reasons) = read(stream(DataType::Int64));
    assert_eq!((rows.as_slice(), reasons.len()), (["8".to_owned()].as_slice(), 1));
}

#[test]
fn avro_is_read_by_the_rules_of_avro() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    let topic = broker.topic("evolution", 1);
    let id = r#"{"name": "id", "type": "long"}"#;
    let writers = [
        // 1: without what the reader has added: it has its default.
        (record(id), vec![small(1)]),
        // 2: with a field that the reader has dropped: it is passed over.
        (
            record(&format!("{id}, {{\"name\": \"gone\", \"type\": \"string\"}}")),
            vec![small(2), small(1), b'x'],
        ),
        // 3: under the name that the reader has as an alias.
        (
            record(&format!("{id}, {{\"name\": \"level\", \"type\": \"string\"}}")),
            vec![small(3), small(2), b'a', b'b'],
        ),
        // 4: with a narrower number, which the reader has widened.
        (record(r#"{"name": "id", "type": "int"}"#), vec![small(4)]),
        // 5: with another type: it cannot be read.
        (
            record(r#"{"name": "id", "type": "string"}"#),
            vec![small(1), b'5'],
        ),
        // 6: with a wider type, which the reader has narrowed: Avro does not read it, whatever the value.
        (record(r#"{"name": "id", "type": "double"}"#), vec![0; 8]),
    ];
    for (schema, body) in &writers {
        let id = registry.register("written-value", schema);
        topic.send_values([framed(id, body)]);
    }
    topic.send_values([framed(99, &[small(6)])]);
    topic.send_values([vec![small(7)]]);
    let reader = record(&format!(
        "{id}, {{\"name\": \"tier\", \"aliases\": [\"level\"], \"type\": \"string\", \"default\": \"none\"}}"
    ));
    let relation = || {
        Relation::stream(broker, &topic, "avro")
            .with("schema", &reader)
            .with("schema.registry", &registry.address)
    };
    let (rows, reasons) = read(relation());
    assert_eq!(rows, ["1|none", "2|none", "3|ab", "4|none"]);
    insist_on(
        &reasons,
        &[
            "was written with schema 5, which cannot be read",
            "was written with schema 6, which cannot be read",
            "schema 99, which the schema registry does not have",
            "does not begin with a schema's number",
        ],
    );
    // Narrowed by the declaration: a value that fits stays, one that does not is a bad record.
    topic.send_values([framed(1, &[0xd0, 0x0f])]);
    let (rows, reasons) = read(relation().columns(&[("id", DataType::Int8)]));
    assert_eq!(rows, ["1", "2", "3", "4"]);
    assert!(
        reasons[4].contains("expected TINYINT, found '1000'"),
        "{reasons:?}"
    );
    // A field without a default that the writer does not have.
    let strict = record(&format!("{id}, {{\"name\": \"tier\", \"type\": \"string\"}}"));
    let (rows, reasons) = read(relation().with("schema", &strict));
    assert!(
        rows.is_empty() && reasons[0].contains("schema 1, which cannot be read"),
        "{reasons:?}"
    );
}

/// A writer that changes its schema while it is read: no restart, no record lost.
#[test]
fn avro_changes_in_the_midst_of_a_stream() {
    let Some(broker) = shared() else { return };
    let registry = FakeRegistry::start();
    let topic = broker.topic("evolving-feed", 1);
    let subject = format!("{}-value", topic.name);
    let id = r#"{"name": "id", "type": "long"}"#;
    let tier = r#"{"name": "tier", "type": "string", "default": "none"}"#;
    let first = registry.register(&subject, &record(&format!("{id}, {tier}")));
    topic.send_values([framed(first, &[small(1), small(1), b'a'])]);
    let relation = Relation::stream(broker, &topic, "avro").with("schema.registry", &registry.address);
    let mut feed = relation.source().feed(&FeedRequest::all()).unwrap();
    assert_eq!(poll_rows(feed.as_mut(), 1).0, ["1|a"]);
    let added = r#"{"name": "added", "type": ["null", "int"], "default": null}"#;
    let second = registry.register(&subject, &record(&format!("{added}, {tier}, {id}")));
    let third = registry.register(&subject, &record(r#"{"name": "id", "type": "int"}"#));
    topic.send_values([
        framed(second, &[small(1), small(9), small(1), b'b', small(2)]),
        framed(first, &[small(3), small(1), b'c']),
        framed(third, &[small(4)]),
    ]);
    assert_eq!(poll_rows(feed.as_mut(), 3).0, ["2|b", "3|c", "4|none"]);
}

/// Protobuf's tag of a field of small number and kind.
fn tag(number: u8, kind: u8) -> u8 {
    number << 3 | kind
}

#[test]
fn protobuf_fields_are_known_by_number() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("numbers", 1);
    topic.send_values([
        // Field 1 as 150, field 9 (added by the writer: passed over) as text, field 2 as "ab", under
        // whatever name.
        vec![
            tag(1, 0),
            0x96,
            0x01,
            tag(9, 2),
            1,
            b'x',
            tag(2, 2),
            2,
            b'a',
            b'b',
        ],
        // All dropped: NULL where it is optional, zero or empty where it is not.
        vec![],
        // Field 1 as text: of another kind.
        vec![tag(1, 2), 1, b'x'],
        // Field 1 as -1, by a writer with 64 bits or with 32.
        vec![
            tag(1, 0),
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0x01,
        ],
        // Field 1 as 2^40, by a writer whose schema has it wider: it is not cut.
        vec![tag(1, 0), 0x80, 0x80, 0x80, 0x80, 0x80, 0x20],
        // Field 3 as 7, a value that a newer writer's enum has: kept by its number.
        vec![tag(3, 0), 7],
    ]);
    let schema = |number: &str| {
        format!(
            "syntax = \"proto3\"; message M {{ {number} renamed = 1; optional string name = 2; Kind kind = 3;
             repeated int32 list = 4; }} enum Kind {{ NONE = 0; SOME = 1; }}"
        )
    };
    let stream = |number: &str| Relation::stream(broker, &topic, "protobuf").with("schema", &schema(number));
    let (rows, reasons) = read(stream("int32"));
    assert_eq!(
        rows,
        ["150|ab|NONE|[]", "0|-|NONE|[]", "-1|-|NONE|[]", "0|-|7|[]"]
    );
    insist_on(&reasons, &["of another kind", "expected a number of 32 bits"]);
    // Widened in the reader's schema: what the narrower writer wrote is read.
    let (rows, reasons) = read(stream("int64"));
    assert_eq!(rows[2..4], ["-1|-|NONE|[]", "1099511627776|-|NONE|[]"]);
    insist_on(&reasons, &["of another kind"]);
    // Narrowed by the declaration.
    let (rows, reasons) = read(stream("int64").columns(&[("renamed", DataType::Int8)]));
    assert_eq!(rows, ["0", "-1", "0"]);
    assert!(
        reasons[0].contains("expected TINYINT, found '150'"),
        "{reasons:?}"
    );
    // From 32 to 64 bits of fixed length, the wire's kind is another one.
    let (_, reasons) = read(stream("fixed64"));
    assert_eq!(reasons.len(), 4, "{reasons:?}");
}
