//! Formats there and back: written by a sink, read by a source.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch,
    StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::DataType;
use fletching::connector::RelationKind;
use fletching_tests::broker::shared;

use crate::support::{Relation, texts};

/// One column of each usual type, with a NULL in each.
pub(crate) fn usual() -> RecordBatch {
    let decimals = Decimal128Array::from(vec![Some(12_345), None, Some(-1)]);
    RecordBatch::try_from_iter([
        (
            "id",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX)])) as ArrayRef,
        ),
        (
            "name",
            Arc::new(StringViewArray::from(vec![Some("a,\"b\"\n"), None, Some("ä")])),
        ),
        (
            "price",
            Arc::new(decimals.with_precision_and_scale(18, 4).unwrap()),
        ),
        (
            "ratio",
            Arc::new(Float64Array::from(vec![Some(0.1), None, Some(-2.5)])),
        ),
        (
            "ok",
            Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        ),
        (
            "day",
            Arc::new(Date32Array::from(vec![Some(20_000), None, Some(0)])),
        ),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![
                Some(1_500_000),
                None,
                Some(1),
            ])),
        ),
    ])
    .unwrap()
}

/// Writes a batch in a format, reads it back as the same columns, and compares.
pub(crate) fn round_trip(batch: &RecordBatch, format: &str, options: &[(&str, &str)]) {
    let Some(broker) = shared() else { return };
    let topic = broker.topic(&format!("round-{format}"), 1);
    let with = |mut relation: Relation| {
        for (name, text) in options {
            relation = relation.with(name, text);
        }
        relation
    };
    let sink = with(Relation::new(RelationKind::Sink, broker, &topic, format)).sink();
    let mut writer = sink.create(&batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.commit().unwrap();
    let schema = batch.schema();
    let fields: Vec<(&str, DataType)> = schema
        .fields()
        .iter()
        .map(|field| (field.name().as_str(), field.data_type().clone()))
        .collect();
    let rows = with(Relation::stream(broker, &topic, format))
        .columns(&fields)
        .rows();
    assert_eq!(rows, texts(batch), "{format}");
}

#[test]
fn json_and_csv_come_back_as_they_were() {
    round_trip(&usual(), "json", &[]);
    round_trip(&usual(), "csv", &[]);
    round_trip(&usual(), "csv", &[("delimiter", "|"), ("null", "NULL")]);
}

#[test]
fn raw_comes_back_as_it_was() {
    let batch = RecordBatch::try_from_iter([(
        "line",
        Arc::new(StringViewArray::from(vec![Some("a"), Some(""), None])) as ArrayRef,
    )]);
    round_trip(&batch.unwrap(), "raw", &[]);
}

/// An Avro schema for [`usual`].
const AVRO: &str = r#"{"type": "record", "name": "Usual", "fields": [
    {"name": "id", "type": ["null", "long"]},
    {"name": "name", "type": ["null", "string"]},
    {"name": "price", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 4}]},
    {"name": "ratio", "type": ["null", "double"]},
    {"name": "ok", "type": ["null", "boolean"]},
    {"name": "day", "type": ["null", {"type": "int", "logicalType": "date"}]},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]}]}"#;

#[test]
fn avro_comes_back_as_it_was() {
    round_trip(&usual(), "avro", &[("schema", AVRO)]);
}

/// A Protobuf schema for columns of [`usual`]; decimals and days it has not.
const PROTO: &str = r#"
    syntax = "proto3";
    import "google/protobuf/timestamp.proto";
    message Other { int64 id = 1; }
    message Usual {
      optional sint64 id = 1;
      optional string name = 2;
      optional double ratio = 4;
      optional bool ok = 5;
      google.protobuf.Timestamp at = 16;
    }"#;

#[test]
fn protobuf_comes_back_as_it_was() {
    let batch = usual().project(&[0, 1, 3, 4, 6]).unwrap();
    round_trip(
        &batch,
        "protobuf",
        &[("schema", PROTO), ("schema.message", "Usual")],
    );
}

#[test]
fn columns_come_from_the_schema_where_none_are_declared() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("told", 1);
    let stream = |format: &str, schema: &str| {
        let relation = Relation::stream(broker, &topic, format).with("schema", schema);
        let schema = relation.with("metadata", "_offset").source().schema();
        let shown = schema
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()));
        shown.collect::<Vec<_>>()
    };
    assert_eq!(stream("protobuf", PROTO), ["id Int64", "_offset Int64"]);
    let avro = stream("avro", AVRO);
    assert_eq!(avro[2], "price Decimal128(18, 4)");
    assert_eq!(avro.len(), 8);
    assert!(
        Relation::stream(broker, &topic, "json")
            .refusal()
            .contains("must be declared")
    );
    let wrong = Relation::stream(broker, &topic, "protobuf").with("schema", "message {");
    assert!(
        wrong.refusal().contains("its schema cannot be used"),
        "{}",
        wrong.refusal()
    );
    let wrong = Relation::stream(broker, &topic, "avro").with("schema", "{");
    assert!(
        wrong.refusal().contains("its schema cannot be used"),
        "{}",
        wrong.refusal()
    );
    let wrong = Relation::stream(broker, &topic, "avro").columns(&[("pric", DataType::Float64)]);
    let text = wrong.with("schema", AVRO).refusal();
    assert!(
        text.contains("its schema has no field 'pric'; did you mean 'price'?"),
        "{text}"
    );
}

#[test]
fn damaged_messages_are_bad_ones_and_never_more() {
    let Some(broker) = shared() else { return };
    for (format, schema) in [("avro", AVRO), ("protobuf", PROTO)] {
        let topic = broker.topic("damaged", 1);
        let good = usual().project(&[0, 1, 3, 4, 6]).unwrap();
        let options = [("schema", schema), ("schema.message", "Usual")];
        let with = |mut relation: Relation| {
            for (name, text) in options {
                relation = relation.with(name, text);
            }
            relation
        };
        let batch = if format == "avro" { usual() } else { good };
        let sink = with(Relation::new(RelationKind::Sink, broker, &topic, format)).sink();
        let mut writer = sink.create(&batch.schema()).unwrap();
        writer.write(&batch).unwrap();
        writer.commit().unwrap();
        let value = topic.records()[0].value.clone().unwrap();
        // Every cut, and every byte turned over.
        let cuts = (0..value.len()).map(|length| value[..length].to_vec());
        let flips = (0..value.len()).map(|at| {
            let mut flipped = value.clone();
            flipped[at] ^= 0xff;
            flipped
        });
        let damaged: Vec<Vec<u8>> = cuts.chain(flips).collect();
        topic.send_values(&damaged);
        let relation = with(Relation::stream(broker, &topic, format)).with("on_bad_row", "skip");
        let source = relation.source();
        let request = fletching::connector::ScanRequest::all();
        let rows = crate::support::scan(source.as_ref(), &request).unwrap().len();
        let bad = usize::try_from(request.report.bad_rows()).unwrap();
        assert_eq!(rows + bad, 3 + damaged.len(), "{format}");
        assert!(bad > 0 && rows >= 3, "{format}: {rows} rows, {bad} bad");
    }
}
