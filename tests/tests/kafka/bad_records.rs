//! Records that cannot be decoded: an error, left out, or dead letters with the original bytes.

use arrow::datatypes::DataType;
use fletching::connector::ScanRequest;
use fletching_tests::broker::shared;

use crate::support::{Relation, scan};

const ID: (&str, DataType) = ("id", DataType::Int64);

#[test]
fn a_bad_record_is_an_error_with_its_place() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("bad", 1);
    topic.send_values(["{\"id\":1}", "{\"id\":\"x\"}"]);
    let relation = Relation::stream(broker, &topic, "json").columns(&[ID]);
    let error = scan(relation.source().as_ref(), &ScanRequest::all()).unwrap_err();
    assert_eq!(error.code(), "BAD_RECORD");
    let place = format!(
        "{}-0 at offset 1, column id: expected BIGINT, found 'x'",
        topic.name
    );
    assert!(error.to_string().starts_with(&place), "{error}");
    assert_eq!(relation.with("on_bad_row", "skip").rows(), ["1"]);
}

#[test]
fn a_thousand_in_a_million_are_dead_letters() {
    let Some(broker) = shared() else { return };
    let (topic, dead) = (broker.topic("poison", 4), broker.topic("dead", 1));
    let value = |id: usize| match id % 1000 {
        0 => format!("poison {id}"),
        _ => format!("{{\"id\":{id}}}"),
    };
    topic.send_values((0..1_000_000).map(value));
    let source = Relation::stream(broker, &topic, "json")
        .columns(&[ID])
        .with("on_bad_row", "dead_letter")
        .with("dead_letter.topic", &dead.name)
        .source();
    let mut request = ScanRequest::all();
    request.projection = Some(Vec::new());
    let rows: usize = {
        let mut rows = 0;
        for mut reader in source.scan(&request).unwrap() {
            while let Some(batch) = reader.next_batch().unwrap() {
                rows += batch.num_rows();
            }
        }
        rows
    };
    assert_eq!(rows, 999_000);
    assert_eq!(request.report.bad_rows(), 1000);
    let letters = dead.records();
    assert_eq!(letters.len(), 1000);
    let mut ids: Vec<usize> = letters
        .iter()
        .map(|letter| {
            let id: usize = letter.text().strip_prefix("poison ").unwrap().parse().unwrap();
            assert_eq!(letter.header("fletching.topic"), Some(topic.name.as_str()));
            assert_eq!(
                letter.header("fletching.partition"),
                Some((id % 4).to_string().as_str())
            );
            assert_eq!(
                letter.header("fletching.offset"),
                Some((id / 4).to_string().as_str())
            );
            assert!(
                letter
                    .header("fletching.reason")
                    .unwrap()
                    .contains("is not a JSON object")
            );
            id
        })
        .collect();
    ids.sort_unstable();
    assert!(ids.iter().enumerate().all(|(at, id)| *id == at * 1000));
}

#[test]
fn dead_letters_may_go_to_a_file() {
    let Some(broker) = shared() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dead.ndjson");
    let topic = broker.topic("dead-file", 1);
    topic.send_values([b"{\"id\":1}".as_slice(), b"\xff"]);
    let relation = Relation::stream(broker, &topic, "json")
        .columns(&[ID])
        .with("on_bad_row", "dead_letter")
        .with("dead_letter.path", path.to_str().unwrap());
    assert_eq!(relation.rows(), ["1"]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        text.contains("\"raw_hex\":\"ff\"") && text.contains("at offset 1"),
        "{text}"
    );
}

#[test]
fn too_many_bad_records_end_the_run() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("rate", 1);
    topic.send_values((0..2000).map(|id| {
        if id % 10 == 0 {
            "x".into()
        } else {
            format!("{{\"id\":{id}}}")
        }
    }));
    let relation = Relation::stream(broker, &topic, "json")
        .columns(&[ID])
        .with("on_bad_row", "skip");
    assert_eq!(relation.rows().len(), 1800);
    let capped = relation.with("bad_row.rate_max", "0.05");
    let error = scan(capped.source().as_ref(), &ScanRequest::all())
        .unwrap_err()
        .to_string();
    assert!(error.contains("more than bad_row.rate_max allows"), "{error}");
}
