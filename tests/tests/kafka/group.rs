//! Instances that share a topic's partitions and come and go: each record comes out once, in order per key.

use std::process::Child;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use fletching_connectors::all;
use fletching_tests::broker::{Broker, Topic, shared};
use fletching_tests::victim::{end, signal};

use crate::outages::{PATIENCE, wait_for};
use crate::victim::Topics;

/// Trades in all, sent over about half a minute while instances come and go.
const TRADES: i64 = 200_000;
const SLICES: i64 = 250;

/// Small epochs, so that many are committed meanwhile.
const SETTINGS: &str = "SET epoch.rows_max = 500; SET epoch.ms_max = 20;";

/// How long a member is waited for: as short as brokers allow.
const SESSION: Duration = Duration::from_secs(6);

fn topics(broker: &Broker, group: &str) -> Topics {
    let millis = SESSION.as_millis();
    let options =
        format!(", 'group.id' = '{group}', 'group.share' = 'true', 'kafka.session.timeout.ms' = '{millis}'");
    Topics::with(broker, group, 8, &options)
}

/// An instance with checkpoints of its own, as on a machine of its own.
struct Instance {
    process: Child,
    _checkpoints: tempfile::TempDir,
}

impl Instance {
    fn start(broker: &Broker, topics: &Topics) -> Self {
        let checkpoints = tempfile::tempdir().unwrap();
        Self {
            process: topics.start(broker, checkpoints.path(), SETTINGS, &[]),
            _checkpoints: checkpoints,
        }
    }

    /// Ends it as Ctrl-C does, and returns how many rows it has given out.
    fn end(self) -> u64 {
        let (is_well, said) = end(self.process);
        assert!(is_well, "{said}");
        let rows = said.lines().find_map(|line| line.strip_prefix("rows out: "));
        rows.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
    }

    fn kill(mut self) {
        assert!(
            self.process.try_wait().unwrap().is_none(),
            "it has ended by itself"
        );
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Has it stand still for longer than the group waits for it.
    fn pause(&self) {
        signal(&self.process, "STOP");
        sleep(SESSION + Duration::from_secs(3));
        signal(&self.process, "CONT");
    }

    /// Ends one that stood still: it goes on, or has stopped and said why.
    fn end_after_pause(mut self) {
        match self.process.try_wait().unwrap() {
            None => assert!(self.end() > 0),
            Some(_) => {
                let (is_well, said) = end(self.process);
                assert!(!is_well && said.contains("stood still"), "{said}");
            }
        }
    }
}

/// Waits until a group has committed so many records of a topic.
fn wait_for_group(trades: &Topic, group: &str, count: i64) {
    let began = Instant::now();
    while trades
        .committed(group)
        .iter()
        .map(|offset| offset.max(&0))
        .sum::<i64>()
        < count
    {
        assert!(
            began.elapsed() < PATIENCE,
            "the group {group} stands still before {count}"
        );
        sleep(Duration::from_millis(100));
    }
}

/// Sends all trades bit by bit.
fn send_slowly(topics: &Topics) {
    let slice = TRADES / SLICES;
    for at in 0..SLICES {
        topics.send(at * slice..(at + 1) * slice);
        sleep(Duration::from_millis(100));
    }
}

/// Insists that all has come out, and that the group stands at the end.
fn insist(topics: &Topics, group: &str) {
    wait_for(topics, usize::try_from(TRADES).unwrap()).unwrap();
    wait_for_group(&topics.trades, group, TRADES);
    topics.insist(TRADES, true);
}

#[test]
fn two_instances_share_partitions_and_lose_and_repeat_nothing() {
    let Some(broker) = shared() else { return };
    let topics = topics(broker, "pair");
    scope(|scope| {
        scope.spawn(|| send_slowly(&topics));
        let first = Instance::start(broker, &topics);
        wait_for_group(&topics.trades, "pair", 2000);
        let second = Instance::start(broker, &topics);
        sleep(Duration::from_secs(7));
        first.kill();
        let third = Instance::start(broker, &topics);
        sleep(Duration::from_secs(12));
        second.pause();
        insist(&topics, "pair");
        assert!(third.end() > 0, "the third instance had no partition");
        second.end_after_pause();
    });
}

#[test]
fn four_instances_share_partitions_and_lose_and_repeat_nothing() {
    let Some(broker) = shared() else { return };
    let topics = topics(broker, "four");
    scope(|scope| {
        scope.spawn(|| send_slowly(&topics));
        let [a, b, c, d] = [(); 4].map(|()| Instance::start(broker, &topics));
        wait_for_group(&topics.trades, "four", 5000);
        sleep(Duration::from_secs(5));
        let left = a.end();
        b.kill();
        let e = Instance::start(broker, &topics);
        c.pause();
        let f = Instance::start(broker, &topics);
        insist(&topics, "four");
        let rows = [left, d.end(), e.end(), f.end()];
        assert!(
            rows[..2].iter().all(|rows| *rows > 0),
            "not all had a share: {rows:?}"
        );
        c.end_after_pause();
    });
}

/// At least once, the group's offsets follow what was written: a second instance goes on where the first left.
#[test]
fn at_least_once_instances_go_on_where_the_group_stands() {
    let Some(broker) = shared() else { return };
    let (from, to) = (broker.topic("steady-from", 4), broker.topic("steady-to", 2));
    let with = |topic: &Topic, more: &str| {
        let (servers, name) = (broker.servers(), &topic.name);
        format!(
            "WITH (connector = 'kafka', 'bootstrap.servers' = '{servers}', topic = '{name}', format = 'json', {more})"
        )
    };
    let send = |ids: std::ops::Range<i64>| from.send_values(ids.map(|id| format!("{{\"id\":{id}}}")));
    let start = || {
        let session = fletching::Session::builder().connectors(all()).build().unwrap();
        let stream = with(&from, "'group.id' = 'steady', 'group.share' = 'true'");
        session
            .sql(&format!("CREATE STREAM f (id BIGINT) {stream}"))
            .unwrap();
        let sink = with(&to, "delivery = 'at-least-once'");
        let pipeline = session
            .start(&format!("CREATE SINK s {sink} AS SELECT id FROM f"))
            .unwrap();
        (session, pipeline)
    };
    send(0..1000);
    let (_first_session, first) = start();
    wait_for_group(&from, "steady", 1000);
    let (_second_session, second) = start();
    send(1000..2000);
    wait_for_group(&from, "steady", 2000);
    first.stop();
    first.wait().unwrap();
    send(2000..3000);
    wait_for_group(&from, "steady", 3000);
    second.stop();
    let rows = first.stats().rows_out + second.wait().unwrap().rows_out;
    assert!(rows >= 3000);
    let ids: std::collections::BTreeSet<String> =
        to.records().iter().map(|record| record.text().into()).collect();
    assert_eq!(ids.len(), 3000);
}

/// What cannot be right is refused, with what to do instead.
#[test]
fn sinks_that_cannot_take_part_are_refused() {
    let Some(broker) = shared() else { return };
    let trades = broker.topic("refused-trades", 2);
    let folder = tempfile::tempdir().unwrap();
    let session = fletching::Session::builder().connectors(all()).build().unwrap();
    let at = format!(
        "connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', format = 'json', 'group.share' = 'true'",
        broker.servers(),
        trades.name
    );
    let stream = |more: &str| format!("CREATE OR REPLACE STREAM t (id BIGINT) WITH ({at}{more})");
    let error = session.sql(&stream("")).unwrap_err().to_string();
    assert!(error.contains("'group.id' is missing"), "{error}");
    session.sql(&stream(", 'group.id' = 'refused'")).unwrap();
    let out = folder.path().display();
    let sink = format!("CREATE SINK s WITH (path = '{out}/', format = 'csv') AS SELECT id FROM t");
    let error = session.start(&sink).unwrap_err().to_string();
    assert!(
        error.contains("cannot write to this sink exactly once"),
        "{error}"
    );
    let table =
        format!("CREATE TABLE k (id BIGINT, PRIMARY KEY (id)) WITH ({at}, 'group.id' = 'g', key = 'id')");
    let error = session.sql(&table).unwrap_err().to_string();
    assert!(error.contains("only a stream is shared"), "{error}");
}
