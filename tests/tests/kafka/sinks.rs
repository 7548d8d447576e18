//! Sinks: keys, values, headers, tombstones, and what is promised of an output that ends.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::DataType;
use fletching::connector::RelationKind;
use fletching_tests::broker::{Broker, Topic, shared};

use crate::outages::PATIENCE;
use crate::support::Relation;

fn sink(broker: &Broker, topic: &Topic, format: &str) -> Relation {
    Relation::new(RelationKind::Sink, broker, topic, format)
}

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef),
        (
            "name",
            Arc::new(StringArray::from(vec![Some("a"), None, Some("c")])),
        ),
        ("gone", Arc::new(BooleanArray::from(vec![false, false, true]))),
        ("at", Arc::new(TimestampMillisecondArray::from(vec![10, 20, 30]))),
        ("part", Arc::new(Int64Array::from(vec![2, 0, 1]))),
    ])
    .unwrap()
}

fn write(relation: &Relation, batches: &[RecordBatch]) {
    let mut writer = relation.sink().create(&batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    let summary = writer.commit().unwrap();
    assert_eq!(
        summary.rows,
        batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>()
    );
}

#[test]
fn a_record_has_key_value_headers_time_and_partition() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("out", 3);
    let relation = sink(broker, &topic, "json")
        .with("key", "id")
        .with("headers", "name")
        .with("tombstone", "gone")
        .with("timestamp", "at")
        .with("partition", "part")
        .with("compression", "zstd");
    write(&relation, &[batch()]);
    let records = topic.records();
    let shown: Vec<_> = records
        .iter()
        .map(|record| {
            let text = |bytes: &Option<Vec<u8>>| bytes.clone().map(|bytes| String::from_utf8(bytes).unwrap());
            (
                record.partition,
                text(&record.key),
                text(&record.value),
                record.timestamp,
                record.header("name"),
            )
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        shown,
        [
            (0, some("2"), some("{\"id\":2}"), 20, Some("")),
            (1, some("3"), None, 30, Some("c")),
            (2, some("1"), some("{\"id\":1}"), 10, Some("a")),
        ]
    );
}

#[test]
fn keys_are_where_other_programs_put_them() {
    let Some(broker) = shared() else { return };
    let (ours, theirs) = (broker.topic("ours", 8), broker.topic("theirs", 8));
    let ids: Vec<i64> = (0..200).collect();
    let batch = RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids.clone())) as ArrayRef)]);
    write(&sink(broker, &ours, "json").key(&["id"]), &[batch.unwrap()]);
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let records: Vec<_> = texts.iter().map(|id| (Some(id.as_str()), Some("x"))).collect();
    theirs.send(&records);
    let keys = |topic: &Topic| {
        let records = topic.records();
        let placed = records
            .iter()
            .map(|record| (record.partition, record.key.clone()));
        placed.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(keys(&ours), keys(&theirs));
}

#[test]
fn what_is_given_up_in_a_transaction_is_never_seen() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("whole", 2);
    let relation = sink(broker, &topic, "json").with("delivery", "exactly-once");
    let mut writer = relation.sink().create(&batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    drop(writer);
    assert!(topic.records().is_empty());
    write(&relation, &[batch(), batch()]);
    assert_eq!(topic.records().len(), 6);
}

#[test]
fn columns_that_are_not_there_or_do_not_fit_are_named() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("refusals", 1);
    let refusal = |name: &str, text: &str| {
        let relation = sink(broker, &topic, "json").with(name, text);
        relation
            .sink()
            .create(&batch().schema())
            .err()
            .unwrap()
            .to_string()
    };
    assert!(refusal("key", "idd").contains("there is no column 'idd'; did you mean 'id'?"));
    assert!(refusal("tombstone", "id").contains("column 'id' is BIGINT, not BOOLEAN"));
    let wrong = sink(broker, &topic, "raw").columns(&[("a", DataType::Int64), ("b", DataType::Int64)]);
    let error = wrong
        .sink()
        .create(wrong.0.schema.as_ref().unwrap())
        .err()
        .unwrap();
    assert!(error.to_string().contains("a message is one value"), "{error}");
}

#[test]
fn a_topic_that_is_not_there_is_an_error() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("there", 1);
    let relation = sink(broker, &topic, "json").with("topic", "not-there");
    let error = relation
        .sink()
        .create(&batch().schema())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("there is no topic 'not-there'"), "{error}");
}

#[test]
fn a_record_that_the_broker_does_not_take_is_an_error_and_not_a_wait() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic_with("small", 1, &[("max.message.bytes", "500")]);
    let large: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(2000)]));
    let batch = RecordBatch::try_from_iter([("text", large)]).unwrap();
    let sink = sink(broker, &topic, "json").sink();
    let (sender, refusals) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut plain = sink.create(&batch.schema()).unwrap();
        let plain = plain.write(&batch).and_then(|()| plain.commit());
        let mut epochs = sink.epochs(&batch.schema(), "small-pipeline").unwrap();
        let epochs = epochs.write(&batch).and_then(|()| epochs.prepare(1, &[]));
        let _ = sender.send([plain.map(|_| ()), epochs]);
    });
    let refusals = refusals.recv_timeout(PATIENCE).expect("an answer, not a wait");
    for refusal in refusals {
        let said = refusal.unwrap_err().to_string();
        assert!(said.contains(&topic.name) && said.contains("size"), "{said}");
    }
}
