//! A broker that is away: a clear error in time, and reading that goes on when it is back.

use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use fletching::connector::{FeedRequest, Polled, ScanRequest};
use fletching_tests::broker::{own, shared};

use crate::support::{Relation, poll_rows};

const ID: (&str, DataType) = ("id", DataType::Int64);

#[test]
fn a_cluster_that_does_not_answer_is_an_error_that_says_so() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("away", 1);
    let relation = Relation::stream(broker, &topic, "json")
        .columns(&[ID])
        .with("bootstrap.servers", "127.0.0.1:1")
        .with("timeout", "1s");
    let began = Instant::now();
    let error = relation.source().scan(&ScanRequest::all()).err().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(error.code(), "EXTERNAL");
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:1")
            && text.contains("no answer within 1 s")
            && text.contains("check 'bootstrap.servers'"),
        "{text}"
    );
}

#[test]
fn a_topic_that_is_not_there_is_named_with_the_nearest() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("nearest", 1);
    let wrong = topic.name.replace("nearest", "neares");
    let relation = Relation::stream(broker, &topic, "json")
        .columns(&[ID])
        .with("topic", &wrong);
    let error = relation
        .source()
        .scan(&ScanRequest::all())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains(&format!("there is no topic '{wrong}'; did you mean")),
        "{error}"
    );
}

#[test]
fn a_feed_outlives_its_broker() {
    let Some(mut broker) = own() else { return };
    let topic = broker.topic("restart", 1);
    topic.send_values(["{\"id\":1}"]);
    let relation = Relation::stream(&broker, &topic, "json").columns(&[ID]);
    let mut feed = relation.source().feed(&FeedRequest::all()).unwrap();
    assert_eq!(poll_rows(feed.as_mut(), 1).0, ["1"]);
    broker.stop();
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        assert!(matches!(
            feed.poll(Duration::from_millis(100)).unwrap(),
            Polled::Idle
        ));
    }
    broker.start();
    topic.send_values(["{\"id\":2}"]);
    assert_eq!(poll_rows(feed.as_mut(), 1).0, ["2"]);
}
