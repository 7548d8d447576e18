//! A process that runs a pipeline of three tables from topic to topic, until somebody ends it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Child;

use fletching::Session;
use fletching_tests::broker::{Broker, Record, Topic};
use fletching_tests::victim;
use serde_json::{Value, json};

/// Trades in order per user, three tables, and what they come to.
pub(crate) struct Topics {
    pub(crate) trades: Topic,
    users: Topic,
    limits: Topic,
    prices: Topic,
    pub(crate) enriched: Topic,
    /// What the stream is told besides.
    options: String,
}

/// Users and symbols in the tables; every trade has one of each.
pub(crate) const USERS: i64 = 500;
const SYMBOLS: i64 = 20;

fn tier(user: i64) -> &'static str {
    if user % 2 == 0 { "gold" } else { "silver" }
}

impl Topics {
    pub(crate) fn new(broker: &Broker, name: &str) -> Self {
        Self::with(broker, name, 4, "")
    }

    /// Makes topics of so many partitions; `options` are more of those of the stream.
    pub(crate) fn with(broker: &Broker, name: &str, partitions: i32, options: &str) -> Self {
        let table =
            |table: &str| broker.topic_with(&format!("{name}-{table}"), 2, &[("cleanup.policy", "compact")]);
        let topics = Self {
            trades: broker.topic(&format!("{name}-trades"), partitions),
            users: table("users"),
            limits: table("limits"),
            prices: table("prices"),
            enriched: broker.topic(&format!("{name}-enriched"), 4),
            options: options.to_owned(),
        };
        let fill = |topic: &Topic, count: i64, value: &dyn Fn(i64) -> Value| {
            let records: Vec<(String, String)> = (0..count)
                .map(|key| (key.to_string(), value(key).to_string()))
                .collect();
            let records: Vec<_> = records
                .iter()
                .map(|(key, value)| (Some(key.as_str()), Some(value.as_str())))
                .collect();
            topic.send(&records);
        };
        fill(&topics.users, USERS, &|key| json!({"tier": tier(key)}));
        fill(&topics.limits, USERS, &|key| json!({"most": key * 10}));
        fill(
            &topics.prices,
            SYMBOLS,
            &|key| json!({"price": format!("{key}.25")}),
        );
        topics
    }

    /// Sends trades, each to the partition of its user.
    pub(crate) fn send(&self, ids: std::ops::Range<i64>) {
        let trade = |id: i64| {
            let (user, symbol) = (id % USERS, id % SYMBOLS);
            format!("{{\"trade_id\":{id},\"user_id\":{user},\"symbol\":{symbol}}}")
        };
        let records = ids.map(|id| ((id % USERS).to_string(), trade(id)));
        self.trades.send_keyed(records);
    }

    fn job(&self, broker: &Broker, checkpoints: &Path, settings: &str) -> Value {
        json!({
            "servers": broker.servers(),
            "checkpoints": checkpoints,
            "settings": settings,
            "options": self.options,
            "trades": self.trades.name,
            "users": self.users.name,
            "limits": self.limits.name,
            "prices": self.prices.name,
            "enriched": self.enriched.name,
        })
    }

    /// Starts a victim. `settings` are statements; `environment` is added to its own.
    pub(crate) fn start(
        &self,
        broker: &Broker,
        checkpoints: &Path,
        settings: &str,
        environment: &[(&str, &str)],
    ) -> Child {
        let job = self.job(broker, checkpoints, settings);
        victim::start("victim::runs_when_told", &job, environment)
    }

    /// Insists that each trade came out once, as it should be, and those of a user in their order.
    ///
    /// Between them may be none: a reader sees what has been committed so far.
    pub(crate) fn insist(&self, count: i64, is_all: bool) -> usize {
        let records = self.enriched.records();
        insist_on_none_twice(&self.enriched, &records);
        let mut seen = vec![false; usize::try_from(count).unwrap()];
        let mut last = vec![-1; usize::try_from(USERS).unwrap()];
        for record in &records {
            let value: Value = serde_json::from_str(record.text()).unwrap();
            let (id, user) = (
                value["trade_id"].as_i64().unwrap(),
                value["user_id"].as_i64().unwrap(),
            );
            let (at, of_user) = (usize::try_from(id).unwrap(), usize::try_from(user).unwrap());
            seen[at] = true;
            assert_eq!(user, id % USERS, "{value}");
            assert!(
                last[of_user] < id,
                "trade {id} of user {user} came after {}",
                last[of_user]
            );
            last[of_user] = id;
            let expected = json!({
                "trade_id": id,
                "user_id": user,
                "tier": tier(user),
                "most": user * 10,
                "price": value["price"],
            });
            assert_eq!(value, expected);
            assert_eq!(
                value["price"].to_string().trim_matches('"'),
                format!("{}.25", id % SYMBOLS)
            );
        }
        if is_all {
            let lost = seen.iter().position(|seen| !seen);
            assert_eq!(lost, None, "a trade was lost; {} came", records.len());
        }
        records.len()
    }
}

/// Insists that no trade came twice; says where those lie that did, and what is around them.
fn insist_on_none_twice(topic: &Topic, records: &[Record]) {
    let mut places: BTreeMap<i64, Vec<(i32, i64)>> = BTreeMap::new();
    for record in records {
        let value: Value = serde_json::from_str(record.text()).unwrap();
        let id = value["trade_id"].as_i64().unwrap();
        places
            .entry(id)
            .or_default()
            .push((record.partition, record.offset));
    }
    places.retain(|_, places| places.len() > 1);
    let Some(first) = places.values().next() else {
        return;
    };
    panic!(
        "{} trades came twice, of {} records: {:?}\n{}",
        places.len(),
        records.len(),
        places.iter().take(20).collect::<Vec<_>>(),
        surroundings(topic, first)
    );
}

/// Describes what lies around records that should not be there.
pub(crate) fn surroundings(topic: &Topic, places: &[(i32, i64)]) -> String {
    let around = |(partition, offset): &(i32, i64)| {
        let batches = topic.batches(*partition, offset - 10_000..offset + 10_000);
        format!("around offset {offset} of {}-{partition}:\n{batches}", topic.name)
    };
    places.iter().map(around).collect()
}

/// What a victim does; without a job it is no test.
#[test]
fn runs_when_told() {
    let Some(job) = victim::job() else { return };
    let text = |name: &str| job[name].as_str().unwrap().to_string();
    let at = |topic: &str, more: &str| {
        format!(
            "WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', format = 'json'{more})",
            text("servers"),
            text(topic)
        )
    };
    let script = format!(
        "SET checkpoint.path = '{}';
         SET checkpoint.interval = '20ms';
         {}
         CREATE STREAM trades (trade_id BIGINT, user_id BIGINT, symbol BIGINT) {};
         CREATE TABLE users (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id)) {};
         CREATE TABLE limits (user_id BIGINT, most BIGINT, PRIMARY KEY (user_id)) {};
         CREATE TABLE prices (symbol BIGINT, price DECIMAL(9, 2), PRIMARY KEY (symbol)) {};",
        text("checkpoints"),
        text("settings"),
        at("trades", &text("options")),
        at("users", ", key = 'user_id'"),
        at("limits", ", key = 'user_id'"),
        at("prices", ", key = 'symbol'"),
    );
    let sink = format!(
        "CREATE SINK enriched {} AS SELECT t.trade_id, t.user_id, u.tier, l.most, p.price FROM trades t \
         JOIN users u ON t.user_id = u.user_id JOIN limits l ON t.user_id = l.user_id \
         JOIN prices p ON t.symbol = p.symbol",
        at("enriched", ", key = 'user_id'")
    );
    let builder = Session::builder().connectors(fletching_connectors::all());
    let session = builder.threads(2).build().unwrap();
    session.sql(&script).unwrap();
    victim::run(session.start(&sink))
}
