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
