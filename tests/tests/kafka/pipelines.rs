//! Pipelines from topic to topic, with a table kept current by a third.

use std::path::Path;
use std::time::{Duration, Instant};

use fletching::{Pipeline, Session};
use fletching_tests::broker::{Broker, Topic, shared};
use serde_json::Value;

/// How long anything may take that takes milliseconds on a machine at rest.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} took too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Topics {
    trades: Topic,
    users: Topic,
    enriched: Topic,
}

impl Topics {
    fn new(broker: &Broker) -> Self {
        Self {
            trades: broker.topic("pipeline-trades", 4),
            users: broker.topic_with("pipeline-users", 2, &[("cleanup.policy", "compact")]),
            enriched: broker.topic("pipeline-enriched", 3),
        }
    }

    fn send_trades(&self, ids: std::ops::Range<i64>) {
        let trade = |id: i64| {
            format!(
                "{{\"trade_id\":{id},\"user_id\":{},\"amount\":\"{id}.25\"}}",
                id % 5
            )
        };
        self.trades.send_values(ids.map(trade));
    }

    /// Returns what a reader of committed records sees: trades and the tier they were given.
    fn enriched(&self) -> Vec<(i64, Option<String>)> {
        let row = |text: &str| {
            let value: Value = serde_json::from_str(text).unwrap();
            let tier = value["tier"].as_str().map(str::to_string);
            (value["trade_id"].as_i64().unwrap(), tier)
        };
        let records = self.enriched.records();
        let mut rows: Vec<_> = records.iter().map(|record| row(record.text())).collect();
        rows.sort();
        rows
    }
}

fn start(broker: &Broker, topics: &Topics, checkpoints: &Path) -> (Session, Pipeline) {
    let builder = Session::builder().connectors(fletching_connectors::all());
    let session = builder.threads(2).build().unwrap();
    let at = |topic: &Topic, more: &str| {
        format!(
            "WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', format = 'json'{more})",
            broker.servers(),
            topic.name
        )
    };
    let script = format!(
        "SET checkpoint.path = '{}';
         SET checkpoint.interval = '50ms';
         CREATE STREAM trades (trade_id BIGINT, user_id BIGINT, amount DECIMAL(18, 2)) {};
         CREATE TABLE users (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id)) {};",
        checkpoints.display(),
        at(&topics.trades, ""),
        at(&topics.users, ", key = 'user_id'"),
    );
    session.sql(&script).unwrap();
    let sink = format!(
        "CREATE SINK enriched {} AS SELECT t.trade_id, t.amount, u.tier FROM trades t \
         LEFT JOIN users u ON t.user_id = u.user_id",
        at(&topics.enriched, ", key = 'trade_id'")
    );
    let pipeline = session.start(&sink).unwrap();
    (session, pipeline)
}

fn tier(tier: &str) -> Option<String> {
    Some(tier.to_string())
}

#[test]
fn topics_are_enriched_from_a_topic_and_a_restart_goes_on() {
    let Some(broker) = shared() else { return };
    let topics = Topics::new(broker);
    let checkpoints = tempfile::tempdir().unwrap();
    topics.users.send(&[
        (Some("0"), Some("{\"tier\":\"none\"}")),
        (Some("1"), Some("{\"tier\":\"gold\"}")),
        (Some("2"), Some("{\"tier\":\"silver\"}")),
        (Some("0"), None),
    ]);
    topics.send_trades(0..1000);

    // The table is read to its end before the first trade meets it.
    let (session, pipeline) = start(broker, &topics, checkpoints.path());
    until("the first thousand", || topics.enriched().len() >= 1000);
    let expected = |id: i64| match id % 5 {
        1 => tier("gold"),
        2 => tier("silver"),
        _ => None,
    };
    let first: Vec<_> = (0..1000).map(|id| (id, expected(id))).collect();
    assert_eq!(topics.enriched(), first);

    // It goes on with its topic while the pipeline runs.
    topics.users.send(&[
        (Some("1"), Some("{\"tier\":\"platinum\"}")),
        (Some("2"), None),
        (Some("3"), Some("{\"tier\":\"bronze\"}")),
    ]);
    let users = session.table("users").unwrap();
    let tiers = || {
        let rows = session.sql("SELECT string_agg(tier, ' ' ORDER BY tier) FROM users");
        let batches = rows.and_then(fletching::Rows::collect_batches).unwrap();
        crate::support::texts(&batches[0]).join("")
    };
    until("the table's changes", || tiers() == "bronze platinum");
    assert_eq!(users.snapshot().unwrap().row_count(), 2);
    topics.send_trades(1000..1500);
    until("the next five hundred", || topics.enriched().len() >= 1500);
    pipeline.stop();
    pipeline.wait().unwrap();
    drop((pipeline, session, users));

    // Another run goes on where this one has stopped.
    topics.send_trades(1500..2000);
    let (session, pipeline) = start(broker, &topics, checkpoints.path());
    until("the last five hundred", || topics.enriched().len() >= 2000);
    pipeline.stop();
    pipeline.wait().unwrap();
    drop(session);
    let later = |id: i64| match id % 5 {
        1 => tier("platinum"),
        3 => tier("bronze"),
        _ => None,
    };
    let all: Vec<_> = first
        .into_iter()
        .chain((1000..2000).map(|id| (id, later(id))))
        .collect();
    assert_eq!(topics.enriched(), all);
}
