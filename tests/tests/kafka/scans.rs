//! Bounded reads: from where the options say to the ends at the start, with keys and metadata.

use arrow::datatypes::{DataType, TimeUnit};
use fletching::connector::{ReadyPoint, RelationKind, ScanRequest};
use fletching_tests::broker::shared;

use crate::support::{Relation, scan};

const ID: (&str, DataType) = ("id", DataType::Int64);

#[test]
fn a_scan_ends_at_the_ends_it_found() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("ends", 4);
    topic.send_values((0..1000).map(|id| format!("{{\"id\":{id}}}")));
    let relation = Relation::stream(broker, &topic, "json").columns(&[ID]);
    let source = relation.source();
    let readers = source.scan(&ScanRequest::all()).unwrap();
    // What comes after the scan began is not of it.
    topic.send_values((1000..1100).map(|id| format!("{{\"id\":{id}}}")));
    let mut ids: Vec<i64> = Vec::new();
    for mut reader in readers {
        while let Some(batch) = reader.next_batch().unwrap() {
            ids.extend(
                crate::support::texts(&batch)
                    .iter()
                    .map(|id| id.parse::<i64>().unwrap()),
            );
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..1000).collect::<Vec<_>>());
    assert_eq!(relation.rows().len(), 1100);
}

#[test]
fn an_empty_topic_has_no_rows() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("empty", 2);
    assert!(
        Relation::stream(broker, &topic, "json")
            .columns(&[ID])
            .rows()
            .is_empty()
    );
}

#[test]
fn readers_share_the_partitions_and_a_limit_ends_them() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("shares", 4);
    topic.send_values((0..400).map(|id| format!("{{\"id\":{id}}}")));
    let source = Relation::stream(broker, &topic, "json").columns(&[ID]).source();
    let mut request = ScanRequest::all();
    request.partitions_max = 3;
    assert_eq!(source.scan(&request).unwrap().len(), 3);
    assert_eq!(scan(source.as_ref(), &request).unwrap().len(), 400);
    request.partitions_max = 1;
    request.limit = Some(7);
    assert_eq!(scan(source.as_ref(), &request).unwrap().len(), 7);
    request.projection = Some(Vec::new());
    request.limit = None;
    assert_eq!(scan(source.as_ref(), &request).unwrap().len(), 400);
}

#[test]
fn reading_starts_where_the_options_say() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("starts", 1);
    for (at, time) in [1_000, 2_000, 3_000].into_iter().enumerate() {
        topic.send_one(0, b"k", format!("{{\"id\":{at}}}").as_bytes(), time, ("h", "v"));
    }
    let from = |start: &str| {
        let relation = Relation::stream(broker, &topic, "json").columns(&[ID]);
        relation.with("group.id", "nobody").with("start", start).rows()
    };
    assert_eq!(from("earliest"), ["0", "1", "2"]);
    assert!(from("latest").is_empty());
    assert_eq!(from("timestamp:2000"), ["1", "2"]);
    assert_eq!(from("timestamp:1970-01-01T00:00:02.500Z"), ["2"]);
    assert!(from("timestamp:9000").is_empty());
    assert_eq!(from("offsets:0=2"), ["2"]);
    assert_eq!(from("committed"), ["0", "1", "2"]);
    let relation = Relation::stream(broker, &topic, "json").columns(&[ID]);
    let wrong = relation.with("start", "offsets:0=9").source();
    let error = wrong.scan(&ScanRequest::all()).err().unwrap().to_string();
    assert!(error.contains("from offset 9, but it ends at 3"), "{error}");
    let mut request = ScanRequest::all();
    request.until = ReadyPoint::Timestamp(2_000_000);
    let source = Relation::stream(broker, &topic, "json").columns(&[ID]).source();
    assert_eq!(scan(source.as_ref(), &request).unwrap(), ["0", "1"]);
}

#[test]
fn keys_and_metadata_are_columns() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("metadata", 2);
    topic.send_one(1, b"42", b"{\"name\":\"a\"}", 1_500, ("trace", "x1"));
    let relation = Relation::stream(broker, &topic, "json")
        .columns(&[
            ("user_id", DataType::Int64),
            ("name", DataType::Utf8View),
            ("_partition", DataType::Int32),
            ("_offset", DataType::Int64),
            ("_timestamp", DataType::Timestamp(TimeUnit::Millisecond, None)),
            ("_headers", DataType::Utf8View),
            ("_key", DataType::Utf8View),
        ])
        .with("key", "user_id")
        .with("metadata", "_topic");
    let expected = format!(
        "42|a|1|0|1970-01-01T00:00:01.500|{{\"trace\":\"x1\"}}|42|{}",
        topic.name
    );
    assert_eq!(relation.rows(), [expected]);
    let wrong = Relation::stream(broker, &topic, "json").columns(&[("_offset", DataType::Utf8View)]);
    assert!(
        wrong
            .refusal()
            .contains("'_offset' is declared VARCHAR, but holds BIGINT")
    );
}

#[test]
fn a_record_without_a_value_deletes_a_row_of_a_table_and_is_nulls_in_a_stream() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic_with("compacted", 2, &[("cleanup.policy", "compact")]);
    topic.send(&[
        (Some("1"), Some("{\"id\":1,\"tier\":\"gold\"}")),
        (Some("2"), Some("{\"id\":2,\"tier\":\"silver\"}")),
        (Some("1"), None),
    ]);
    let fields = [ID, ("tier", DataType::Utf8View)];
    let table = Relation::new(RelationKind::Table, broker, &topic, "json")
        .columns(&fields)
        .key(&["id"]);
    assert!(table.source().has_changes());
    // The last column says what a record does: 0 puts a row, 1 takes it away.
    assert_eq!(table.sorted(), ["1|-|1", "1|gold|0", "2|silver|0"]);
    let stream = Relation::stream(broker, &topic, "json").columns(&fields);
    assert_eq!(stream.sorted(), ["-|-", "1|gold", "2|silver"]);
    let keyless = broker.topic("keyless", 1);
    keyless.send(&[(None, None)]);
    let table = Relation::new(RelationKind::Table, broker, &keyless, "json")
        .columns(&fields)
        .key(&["id"])
        .source();
    let error = scan(table.as_ref(), &ScanRequest::all()).unwrap_err().to_string();
    assert!(error.contains("neither a value nor a key"), "{error}");
}

#[test]
fn a_pattern_reads_several_topics() {
    let Some(broker) = shared() else { return };
    let (one, two) = (broker.topic("many-a", 1), broker.topic("many-b", 2));
    one.send(&[(None, Some("{\"id\":1}"))]);
    two.send(&[(None, Some("{\"id\":2}")), (None, Some("{\"id\":3}"))]);
    let mut relation = Relation::stream(broker, &one, "json").columns(&[ID]);
    relation.0.options.take("topic");
    let relation = relation.with("topic.pattern", &format!("many-?-{}-*", std::process::id()));
    assert_eq!(relation.sorted(), ["1", "2", "3"]);
}
