//! Epochs as transactions: shown whole, with their offsets, by one writer of a name at a time.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::DataType;
use fletching::connector::{EpochWriter, FeedRequest, Position, RelationKind};
use fletching_tests::broker::{Broker, Topic, shared};

use crate::support::Relation;

fn batch(ids: &[i64]) -> RecordBatch {
    RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef)]).unwrap()
}

fn open(broker: &Broker, topic: &Topic, consumer: &str) -> Box<dyn EpochWriter> {
    let relation = Relation::new(RelationKind::Sink, broker, topic, "json");
    relation.sink().epochs(&batch(&[]).schema(), consumer).unwrap()
}

fn at(topic: &Topic, partition: i32, offset: i64) -> Position {
    Position {
        partition: format!("{}-{partition}", topic.name).into(),
        place: offset.to_string(),
    }
}

/// Returns the epoch shown last, and the positions shown with it.
fn shown(writer: &mut dyn EpochWriter) -> (u64, Vec<Position>) {
    let shown = writer.shown().unwrap().unwrap();
    (shown.epoch, shown.positions)
}

fn seen(topic: &Topic) -> Vec<String> {
    topic
        .records()
        .iter()
        .map(|record| record.text().to_owned())
        .collect()
}

#[test]
fn an_epoch_is_shown_with_its_offsets_when_it_is_committed() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("in", 2), broker.topic("epochs", 1));
    let consumer = format!("pipeline-{}", output.name);
    let mut writer = open(broker, &output, &consumer);
    // The group is that of the pipeline and its topic.
    let consumer = format!("{consumer}-{}", output.name);
    assert_eq!(shown(writer.as_mut()), (0, Vec::new()));
    writer.write(&batch(&[1, 2])).unwrap();
    let file = Position {
        partition: "data/a.csv".into(),
        place: "17".into(),
    };
    let positions = [file.clone(), at(&input, 0, 5), at(&input, 1, 7)];
    writer.prepare(1, &positions).unwrap();
    assert!(seen(&output).is_empty());
    assert_eq!(input.committed(&consumer), [-1, -1]);
    assert_eq!(writer.commit(1).unwrap().rows, 2);
    assert_eq!(seen(&output), ["{\"id\":1}", "{\"id\":2}"]);
    assert_eq!(input.committed(&consumer), [5, 7]);
    assert_eq!(shown(writer.as_mut()), (1, positions.to_vec()));
    // Showing it again does no harm, and an epoch may be empty.
    writer.commit(1).unwrap();
    writer.prepare(2, &[at(&input, 0, 6)]).unwrap();
    writer.commit(2).unwrap();
    assert_eq!(seen(&output).len(), 2);
    assert_eq!(input.committed(&consumer), [6, 7]);
    assert_eq!(shown(writer.as_mut()).0, 2);
}

#[test]
fn what_was_prepared_and_not_committed_is_taken_back_and_the_next_writer_knows() {
    let Some(broker) = shared() else { return };
    let output = broker.topic("recovery", 1);
    let consumer = format!("pipeline-{}", output.name);
    let mut first = open(broker, &output, &consumer);
    first.write(&batch(&[1])).unwrap();
    let input = broker.topic("recovery-in", 1);
    first.prepare(1, &[at(&input, 0, 1)]).unwrap();
    first.commit(1).unwrap();
    first.write(&batch(&[2])).unwrap();
    first.prepare(2, &[at(&input, 0, 2)]).unwrap();
    // The writer is gone between the two steps: as a crash would leave it.
    std::mem::forget(first);
    let mut second = open(broker, &output, &consumer);
    assert_eq!(shown(second.as_mut()), (1, vec![at(&input, 0, 1)]));
    second.restore(2).unwrap();
    second.commit(1).unwrap();
    let error = second.commit(2).unwrap_err().to_string();
    assert!(error.contains("epoch 2 was taken back"), "{error}");
    second.write(&batch(&[2])).unwrap();
    second.prepare(2, &[at(&input, 0, 2)]).unwrap();
    second.commit(2).unwrap();
    assert_eq!(input.committed(&format!("{consumer}-{}", output.name)), [2]);
    assert_eq!(seen(&output), ["{\"id\":1}", "{\"id\":2}"]);
    // On the broker's disk: shown, taken back, shown.
    let batches = output.batches(0, 0..100);
    let words = ["records", "COMMIT", "records", "ABORT", "records", "COMMIT"];
    let found: Vec<_> = batches
        .lines()
        .filter_map(|line| words.iter().find(|word| line.contains(**word)))
        .collect();
    assert!(
        batches.contains("runs elsewhere") || found.into_iter().eq(words.iter()),
        "{batches}"
    );
}

/// Of offsets in a transaction and others the broker keeps those that it was sent last, whichever are newer.
#[test]
fn a_feed_commits_nothing_where_transactions_do() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("twofold-in", 1), broker.topic("twofold", 1));
    input.send_values((0..9).map(|id| format!("{{\"id\":{id}}}")));
    let consumer = format!("pipeline-{}", output.name);
    let mut writer = open(broker, &output, &consumer);
    let relation = Relation::stream(broker, &input, "json").columns(&[("id", DataType::Int64)]);
    let mut request = FeedRequest::all();
    request.consumer = format!("{consumer}-{}", output.name);
    request.positions_are_shown = true;
    let mut feed = relation.source().feed(&request).unwrap();
    writer.prepare(1, &[at(&input, 0, 5)]).unwrap();
    writer.commit(1).unwrap();
    writer.prepare(2, &[at(&input, 0, 7)]).unwrap();
    // The feed hears of the epoch before when it comes to it.
    feed.committed(&[at(&input, 0, 5)]).unwrap();
    writer.commit(2).unwrap();
    assert_eq!(shown(writer.as_mut()), (2, vec![at(&input, 0, 7)]));
    // A group of one's own is told all the same.
    let own = format!("own-{}", input.name);
    let relation = Relation::stream(broker, &input, "json").columns(&[("id", DataType::Int64)]);
    let mut feed = relation.with("group.id", &own).source().feed(&request).unwrap();
    feed.committed(&[at(&input, 0, 5)]).unwrap();
    assert_eq!(input.committed(&own), [5]);
}

#[test]
fn offsets_that_a_transaction_holds_are_waited_for_and_not_taken_for_none() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("held-in", 2), broker.topic("held", 1));
    let consumer = format!("pipeline-{}", output.name);
    let mut first = open(broker, &output, &consumer);
    first.prepare(1, &[at(&input, 0, 5), at(&input, 1, 7)]).unwrap();
    first.commit(1).unwrap();
    drop(first);
    let group = format!("{consumer}-{}", output.name);
    // Longer than the client asks by itself: what it says then is an error beside each partition.
    let hold = Duration::from_secs(2);
    for held in [&output, &input] {
        let held = held.hold_offsets(&group, 99);
        let release = std::thread::spawn(move || {
            std::thread::sleep(hold);
            held.release();
        });
        let mut next = open(broker, &output, &consumer);
        assert_eq!(
            shown(next.as_mut()),
            (1, vec![at(&input, 0, 5), at(&input, 1, 7)])
        );
        release.join().unwrap();
    }
}

#[test]
fn an_older_writer_is_fenced_and_says_so() {
    let Some(broker) = shared() else { return };
    let output = broker.topic("fence", 1);
    let consumer = format!("pipeline-{}", output.name);
    let mut older = open(broker, &output, &consumer);
    older.write(&batch(&[1])).unwrap();
    let mut newer = open(broker, &output, &consumer);
    let late = older.prepare(1, &[]).and_then(|()| older.commit(1).map(drop));
    let error = late.unwrap_err().to_string();
    assert!(error.contains("another instance of this pipeline"), "{error}");
    newer.write(&batch(&[2])).unwrap();
    newer.prepare(1, &[]).unwrap();
    newer.commit(1).unwrap();
    assert_eq!(seen(&output), ["{\"id\":2}"]);
}

#[test]
fn pipelines_of_one_name_that_fill_different_topics_are_kept_apart() {
    let Some(broker) = shared() else { return };
    let input = broker.topic("one-source", 1);
    let (one, two) = (broker.topic("one-sink", 1), broker.topic("other-sink", 1));
    let consumer = format!("pipeline-{}", input.name);
    for (output, epoch) in [(&one, 3), (&two, 7)] {
        let mut writer = open(broker, output, &consumer);
        assert_eq!(shown(writer.as_mut()), (0, Vec::new()), "{}", output.name);
        writer
            .prepare(epoch, &[at(&input, 0, i64::try_from(epoch).unwrap())])
            .unwrap();
        writer.commit(epoch).unwrap();
    }
    for (output, epoch) in [(&one, 3), (&two, 7)] {
        let mut writer = open(broker, output, &consumer);
        let expected = vec![at(&input, 0, i64::try_from(epoch).unwrap())];
        assert_eq!(shown(writer.as_mut()), (epoch, expected));
    }
}

#[test]
fn a_group_that_was_named_after_the_pipeline_alone_is_gone_on_from() {
    let Some(broker) = shared() else { return };
    let (input, output) = (broker.topic("former-in", 1), broker.topic("former", 1));
    // What this one leaves is what a pipeline left that had the group's whole name.
    let mut before = open(broker, &output, "p");
    before.prepare(3, &[at(&input, 0, 9)]).unwrap();
    before.commit(3).unwrap();
    let name = format!("p-{}", output.name);
    let mut after = open(broker, &output, &name);
    assert_eq!(shown(after.as_mut()), (3, vec![at(&input, 0, 9)]));
    after.prepare(4, &[at(&input, 0, 11)]).unwrap();
    after.commit(4).unwrap();
    assert_eq!(shown(after.as_mut()).0, 4);
    let mut last = open(broker, &output, &name);
    assert_eq!(shown(last.as_mut()), (4, vec![at(&input, 0, 11)]));
}
