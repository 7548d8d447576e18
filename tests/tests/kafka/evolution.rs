//! Schemas that change: what becomes of an added, dropped, renamed, widened and narrowed field.

use arrow::datatypes::DataType;
use fletching::connector::ScanRequest;
use fletching_tests::broker::shared;

use crate::registry::FakeRegistry;
use crate::support::{Relation, scan};

/// Avro's numbers, zigzag and 7 bits a byte; small ones are one byte.
fn small(value: u8) -> u8 {
    value * 2
}

/// A message of schema `id` with these bytes.
fn framed(id: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, id];
    message.extend_from_slice(body);
    message
}

fn record(fields: &str) -> String {
    format!("{{\"type\": \"record\", \"name\": \"R\", \"fields\": [{fields}]}}")
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
    let relation = Relation::stream(broker, &topic, "avro")
        .with("schema", &reader)
        .with("schema.registry", &registry.address)
        .with("on_bad_row", "skip");
    let request = ScanRequest::all();
    let rows = scan(relation.source().as_ref(), &request).unwrap();
    assert_eq!(rows, ["1|none", "2|none", "3|ab", "4|none"]);
    assert_eq!(request.report.bad_rows(), 3);
    let reasons = request.report.bad_row_examples().join("\n");
    assert!(
        reasons.contains("was written with schema 5, which cannot be read"),
        "{reasons}"
    );
    assert!(
        reasons.contains("schema 99, which the schema registry does not have"),
        "{reasons}"
    );
    assert!(
        reasons.contains("does not begin with a schema's number"),
        "{reasons}"
    );
    // Narrowed by the declaration: a value that fits stays, one that does not is a bad record.
    let narrow = relation.columns(&[("id", DataType::Int8)]);
    assert_eq!(narrow.rows(), ["1", "2", "3", "4"]);
}

#[test]
fn protobuf_fields_are_known_by_number() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("numbers", 1);
    topic.send_values([
        // Field 1 as 150, field 9 (unknown) as text, field 2 as "ab".
        vec![0x08, 0x96, 0x01, 0x4a, 0x01, b'x', 0x12, 0x02, b'a', b'b'],
        // Nothing at all.
        vec![],
        // Field 1 as text: of another kind.
        vec![0x0a, 0x01, b'x'],
    ]);
    let schema =
        "syntax = \"proto3\"; message M { int32 renamed = 1; optional string name = 2; Kind kind = 3; }
                  enum Kind { NONE = 0; SOME = 1; }";
    let relation = Relation::stream(broker, &topic, "protobuf")
        .with("schema", schema)
        .with("on_bad_row", "skip");
    assert_eq!(relation.rows(), ["150|ab|NONE", "0|-|NONE"]);
}
