//! Feeds: records as they come, positions to go on from, and offsets committed for a group.

use std::time::Duration;

use arrow::datatypes::DataType;
use fletching::connector::{FeedRequest, Polled};
use fletching_tests::broker::shared;

use crate::support::{Relation, poll_rows};

const ID: (&str, DataType) = ("id", DataType::Int64);

#[test]
fn a_feed_goes_on_from_its_positions() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("feed", 2);
    topic.send_values((0..10).map(|id| format!("{{\"id\":{id}}}")));
    let source = Relation::stream(broker, &topic, "json").columns(&[ID]).source();
    assert!(source.is_unbounded());
    let mut feed = source.feed(&FeedRequest::all()).unwrap();
    let (rows, positions) = poll_rows(feed.as_mut(), 10);
    assert_eq!(rows.len(), 10);
    assert!(feed.has_caught_up());
    let places: Vec<&str> = positions.iter().map(|position| position.place.as_str()).collect();
    assert_eq!(places, ["5", "5"]);
    assert_eq!(&*positions[0].partition, format!("{}-0", topic.name));
    assert!(matches!(
        feed.poll(Duration::from_millis(50)).unwrap(),
        Polled::Idle
    ));
    topic.send_values((10..14).map(|id| format!("{{\"id\":{id}}}")));
    assert_eq!(poll_rows(feed.as_mut(), 4).0.len(), 4);
    let mut request = FeedRequest::all();
    request.from = positions;
    let mut again = source.feed(&request).unwrap();
    let (mut rows, _) = poll_rows(again.as_mut(), 4);
    rows.sort();
    assert_eq!(rows, ["10", "11", "12", "13"]);
}

#[test]
fn committed_offsets_are_where_the_group_goes_on() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("groups", 1);
    topic.send_values((0..5).map(|id| format!("{{\"id\":{id}}}")));
    let group = format!("group-of-{}", topic.name);
    let source = Relation::stream(broker, &topic, "json")
        .columns(&[ID])
        .with("group.id", &group)
        .with("start", "committed")
        .source();
    let mut feed = source.feed(&FeedRequest::all()).unwrap();
    let (_, positions) = poll_rows(feed.as_mut(), 5);
    assert_eq!(topic.committed(&group), [-1]);
    feed.committed(&positions).unwrap();
    assert_eq!(topic.committed(&group), [5]);
    topic.send_values(["{\"id\":5}"]);
    let mut feed = source.feed(&FeedRequest::all()).unwrap();
    assert_eq!(poll_rows(feed.as_mut(), 1).0, ["5"]);
}

#[test]
fn positions_whose_records_are_gone_are_an_error() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("gone", 1);
    topic.send_values(["{\"id\":0}"]);
    let source = Relation::stream(broker, &topic, "json").columns(&[ID]).source();
    let mut request = FeedRequest::all();
    request.from = vec![fletching::connector::Position {
        partition: format!("{}-0", topic.name).into(),
        place: "7".into(),
    }];
    let error = source.feed(&request).err().unwrap().to_string();
    assert!(error.contains("may have been made anew"), "{error}");
}
