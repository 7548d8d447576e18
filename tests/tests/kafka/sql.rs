//! Topics in SQL: read up to their ends, joined with a table, and written.

use fletching::Session;
use fletching_tests::broker::{Broker, shared};

use crate::support::texts;

fn session() -> Session {
    let builder = Session::builder().connectors(fletching_connectors::all());
    builder.threads(2).build().unwrap()
}

fn place(broker: &Broker, topic: &str) -> String {
    format!(
        "WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{topic}', format = 'json')",
        broker.servers()
    )
}

fn rows(session: &Session, sql: &str) -> Vec<String> {
    let batches = session
        .sql(sql)
        .and_then(fletching::Rows::collect_batches)
        .unwrap();
    batches.iter().flat_map(texts).collect()
}

#[test]
fn a_topic_is_queried_and_joined() {
    let Some(broker) = shared() else { return };
    let trades = broker.topic("trades", 4);
    trades.send_values((0..1000).map(|id| format!("{{\"trade_id\":{id},\"user_id\":{}}}", id % 10)));
    let session = session();
    let created = format!(
        "CREATE STREAM trades (trade_id BIGINT, user_id BIGINT, _partition INT) {}",
        place(broker, &trades.name)
    );
    session.sql(&created).unwrap();
    session
        .sql("CREATE TABLE users (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id))")
        .unwrap();
    session
        .sql("INSERT INTO users VALUES (1, 'gold'), (2, 'silver')")
        .unwrap();
    assert_eq!(
        rows(
            &session,
            "SELECT count(*), sum(trade_id), count(DISTINCT _partition) FROM trades"
        ),
        ["1000|499500|4"]
    );
    let joined = "SELECT u.tier, count(*) FROM trades t JOIN users u ON t.user_id = u.user_id GROUP BY u.tier \
                  ORDER BY u.tier";
    assert_eq!(rows(&session, joined), ["gold|100", "silver|100"]);
}

#[test]
fn a_query_is_written_to_a_topic() {
    let Some(broker) = shared() else { return };
    let topic = broker.topic("written", 2);
    let session = session();
    session
        .sql("CREATE TABLE users (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id))")
        .unwrap();
    session
        .sql("INSERT INTO users VALUES (1, 'gold'), (2, NULL)")
        .unwrap();
    let written = format!(
        "CREATE SINK out {} AS SELECT user_id, tier FROM users",
        place(broker, &topic.name).replace("format", "key = 'user_id', format")
    );
    session.sql(&written).unwrap();
    let mut seen: Vec<String> = topic
        .records()
        .iter()
        .map(|record| {
            let key = String::from_utf8(record.key.clone().unwrap()).unwrap();
            format!("{key} {}", record.text())
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "1 {\"user_id\":1,\"tier\":\"gold\"}",
            "2 {\"user_id\":2,\"tier\":null}"
        ]
    );
}

#[test]
fn a_query_that_emits_changes_goes_on_where_a_topic_does_and_commits_nothing() {
    let Some(broker) = shared() else { return };
    let trades = broker.topic("emitted", 2);
    let group = format!("g-{}", trades.name);
    let session = session();
    let created = |name: &str, more: &str| {
        let place = place(broker, &trades.name).replace("format", &format!("{more}, format"));
        format!("CREATE STREAM {name} (trade_id BIGINT, user_id BIGINT) {place}")
    };
    session
        .sql(&created("trades", &format!("'group.id' = '{group}'")))
        .unwrap();
    session
        .sql(
            "CREATE TABLE users (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id));
             INSERT INTO users VALUES (1, 'gold'), (2, 'silver')",
        )
        .unwrap();
    let trade = |id: i64| format!("{{\"trade_id\":{id},\"user_id\":{}}}", id % 3);
    trades.send_values((0..30).map(trade));
    let query = "SELECT t.trade_id, u.tier FROM trades t JOIN users u ON t.user_id = u.user_id EMIT CHANGES";
    let mut emitted = session.sql(query).unwrap();
    assert!(emitted.goes_on());
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < 20 {
        seen.extend(texts(&emitted.next().unwrap().unwrap()));
    }
    // What comes later is of it.
    trades.send_values((30..60).map(trade));
    while seen.len() < 40 {
        seen.extend(texts(&emitted.next().unwrap().unwrap()));
    }
    let mut expected: Vec<String> = (0..60)
        .filter(|id| id % 3 != 0)
        .map(|id| format!("{id}|{}", if id % 3 == 1 { "gold" } else { "silver" }))
        .collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    assert_eq!(trades.committed(&group), [-1, -1]);
    // Cancelled, it ends well.
    session.cancel_handle().cancel();
    assert!(emitted.next().is_none());
    assert!(session.pipelines().is_empty());
    let limited = rows(&session, &format!("{query} LIMIT 7"));
    assert_eq!(limited.len(), 7);
    // A member of the group would take partitions from those that work.
    let shared = format!("'group.id' = '{group}', 'group.share' = 'true'");
    session.sql(&created("shared", &shared)).unwrap();
    let error = session
        .sql("SELECT trade_id FROM shared EMIT CHANGES")
        .unwrap_err()
        .to_string();
    assert!(error.contains("its instances share its partitions"), "{error}");
}
