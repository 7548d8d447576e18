//! TLS and logins: read, written and run with them; refusals that say what to set, at once.

use std::fmt::Write;
use std::time::{Duration, Instant};

use arrow::datatypes::DataType;
use fletching::connector::{FeedRequest, RelationKind, ScanRequest};
use fletching::{ErrorClass, Session};
use fletching_tests::broker::{Broker, Listener, Topic, USER, secured};

use crate::support::{Relation, poll_rows};

const ID: (&str, DataType) = ("id", DataType::Int64);

/// How long a relation here waits for the cluster; a refusal comes long before.
const TIMEOUT: &str = "240s";

/// A relation over a listener other than the one that topics are made by.
fn over(kind: RelationKind, broker: &Broker, (listener, topic): (Listener, &Topic)) -> Relation {
    Relation::new(kind, broker, topic, "json")
        .with("bootstrap.servers", &broker.address(listener))
        .with("timeout", TIMEOUT)
        .columns(&[ID])
}

fn stream(broker: &Broker, listener: Listener, topic: &Topic) -> Relation {
    over(RelationKind::Stream, broker, (listener, topic))
}

fn with(mut relation: Relation, options: &[(&str, &str)]) -> Relation {
    for (name, text) in options {
        relation = relation.with(name, text);
    }
    relation
}

/// Reads a topic of one record.
fn reads(relation: &Relation) {
    assert_eq!(relation.rows(), ["1"]);
}

/// Says how a scan is refused, and insists that it is at once.
fn refusal(relation: &Relation) -> String {
    let began = Instant::now();
    let scan = relation.source().scan(&ScanRequest::all());
    let error = scan.err().expect("a refusal");
    assert!(
        began.elapsed() < Duration::from_secs(200),
        "it was tried on and on: {error}"
    );
    assert_eq!(error.class(), ErrorClass::User, "{error}");
    error.to_string()
}

#[test]
fn tls_by_a_file_or_by_the_text_of_its_authority() {
    let Some(broker) = secured() else { return };
    let topic = broker.topic("tls", 1);
    topic.send_values(["{\"id\":1}"]);
    let (path, text) = (
        broker.certificates().path("ca.pem"),
        broker.certificates().text("ca.pem"),
    );
    let tls = ("kafka.security.protocol", "SSL");
    let plain = || stream(broker, Listener::Tls, &topic);
    reads(&with(plain(), &[tls, ("kafka.ssl.ca.location", &path)]));
    reads(&with(plain(), &[tls, ("kafka.ssl.ca.pem", &text)]));
    // Neither the authorities of the system nor another one have signed the broker's certificate.
    let other = broker.certificates().path("other.pem");
    for options in [vec![tls], vec![tls, ("kafka.ssl.ca.location", &other)]] {
        let said = refusal(&with(plain(), &options));
        assert!(
            said.contains("certificate verify failed") && said.contains("set 'kafka.ssl.ca.location'"),
            "{said}"
        );
    }
    // A sink is refused in the same way.
    let sink = over(RelationKind::Sink, broker, (Listener::Tls, &topic));
    let sink = with(sink, &[tls, ("kafka.ssl.ca.location", &other)]);
    let schema = crate::support::columns(&[ID]);
    let said = sink.sink().create(&schema).err().unwrap().to_string();
    assert!(said.contains("set 'kafka.ssl.ca.location'"), "{said}");
}

#[test]
fn a_listener_of_another_protocol_is_named_as_the_reason() {
    let Some(broker) = secured() else { return };
    let topic = broker.topic("protocol", 1);
    let tls = ("kafka.security.protocol", "ssl");
    let clear = Relation::stream(broker, &topic, "json").columns(&[ID]);
    for relation in [
        stream(broker, Listener::Tls, &topic).with("timeout", "3s"),
        with(clear.with("timeout", "3s"), &[tls]),
    ] {
        let scan = relation.source().scan(&ScanRequest::all());
        let said = scan.err().unwrap().to_string();
        assert!(said.contains("check 'kafka.security.protocol'"), "{said}");
    }
}

#[test]
fn a_certificate_of_ones_own() {
    let Some(broker) = secured() else { return };
    let topic = broker.topic("mutual", 1);
    topic.send_values(["{\"id\":1}"]);
    let made = broker.certificates();
    let ca = made.path("ca.pem");
    let trusting = || {
        let tls = [
            ("kafka.security.protocol", "ssl"),
            ("kafka.ssl.ca.location", ca.as_str()),
        ];
        with(stream(broker, Listener::Mutual, &topic), &tls)
    };
    let files = [made.path("client.pem"), made.path("client.key")];
    reads(&with(
        trusting(),
        &[
            ("kafka.ssl.certificate.location", &files[0]),
            ("kafka.ssl.key.location", &files[1]),
        ],
    ));
    let texts = [made.text("client.pem"), made.text("client.key")];
    reads(&with(
        trusting(),
        &[
            ("kafka.ssl.certificate.pem", &texts[0]),
            ("kafka.ssl.key.pem", &texts[1]),
        ],
    ));
    let said = refusal(&trusting());
    assert!(said.contains("set 'kafka.ssl.certificate.location'"), "{said}");
    let of_another = [made.text("other.pem"), made.text("other.key")];
    let said = refusal(&with(
        trusting(),
        &[
            ("kafka.ssl.certificate.pem", &of_another[0]),
            ("kafka.ssl.key.pem", &of_another[1]),
        ],
    ));
    assert!(said.contains("set 'kafka.ssl.certificate.location'"), "{said}");
    assert!(!said.contains("PRIVATE KEY"), "{said}");
}

/// The options of a login.
fn login<'a>(protocol: &'a str, mechanism: &'a str, password: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("kafka.security.protocol", protocol),
        ("kafka.sasl.mechanism", mechanism),
        ("kafka.sasl.username", USER.0),
        ("kafka.sasl.password", password),
    ]
}

#[test]
fn logins_by_every_mechanism() {
    let Some(broker) = secured() else { return };
    let topic = broker.topic("login", 1);
    topic.send_values(["{\"id\":1}"]);
    let ca = broker.certificates().path("ca.pem");
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let secret = with(
            stream(broker, Listener::TlsLogin, &topic),
            &login("sasl_ssl", mechanism, USER.1),
        );
        reads(&secret.with("kafka.ssl.ca.location", &ca));
        let clear = stream(broker, Listener::Login, &topic);
        reads(&with(clear, &login("sasl_plaintext", mechanism, USER.1)));
        let wrong = stream(broker, Listener::Login, &topic);
        let wrong = with(wrong, &login("sasl_plaintext", mechanism, "not-the-password"));
        let said = refusal(&wrong);
        assert!(
            said.contains("check 'kafka.sasl.username', 'kafka.sasl.password'"),
            "{said}"
        );
        assert!(!said.contains("not-the-password"), "{said}");
        assert!(!format!("{:?}", wrong.0).contains("not-the-password"));
        assert!(!format!("{:?}", wrong.source()).contains("not-the-password"));
    }
}

#[test]
fn a_feed_with_tls_goes_on() {
    let Some(broker) = secured() else { return };
    let topic = broker.topic("tls-feed", 1);
    topic.send_values(["{\"id\":1}"]);
    let ca = broker.certificates().path("ca.pem");
    let tls = [
        ("kafka.security.protocol", "ssl"),
        ("kafka.ssl.ca.location", ca.as_str()),
    ];
    let relation = with(stream(broker, Listener::Tls, &topic), &tls);
    let mut feed = relation.source().feed(&FeedRequest::all()).unwrap();
    assert_eq!(poll_rows(feed.as_mut(), 1).0, ["1"]);
    topic.send_values(["{\"id\":2}"]);
    assert_eq!(poll_rows(feed.as_mut(), 1).0, ["2"]);
}

/// A pipeline from topic to topic, a table beside it, all over TLS with a login: exactly once, over two
/// runs; and no secret in what it keeps or shows.
#[test]
fn a_pipeline_with_tls_and_a_login_is_exactly_once() {
    let Some(broker) = secured() else { return };
    let [trades, users, enriched] =
        ["in", "users", "out"].map(|name| broker.topic(&format!("safe-{name}"), 2));
    let user = |id: i32| (Some(id.to_string()), Some(format!("{{\"tier\":\"t{id}\"}}")));
    let records: Vec<_> = (0..10).map(user).collect();
    let records: Vec<_> = records
        .iter()
        .map(|(key, value)| (key.as_deref(), value.as_deref()))
        .collect();
    users.send(&records);
    let send = |ids: std::ops::Range<i32>| {
        trades.send_values(ids.map(|id| format!("{{\"id\":{id},\"user_id\":{}}}", id % 10)));
    };
    let ca = broker.certificates().path("ca.pem");
    let at = |topic: &Topic, more: &str| {
        let mut text = format!(
            "WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', format = 'json', \
             'kafka.ssl.ca.location' = '{ca}'{more}",
            broker.address(Listener::TlsLogin),
            topic.name
        );
        for (name, value) in login("sasl_ssl", "SCRAM-SHA-512", USER.1) {
            write!(text, ", '{name}' = '{value}'").unwrap();
        }
        text + ")"
    };
    let kept = tempfile::tempdir().unwrap();
    for run in 0..2 {
        send(run * 1000..(run + 1) * 1000);
        let builder = Session::builder().connectors(fletching_connectors::all());
        let session = builder.threads(2).build().unwrap();
        let script = format!(
            "SET checkpoint.path = '{}'; SET checkpoint.interval = '20ms'; SET epoch.rows_max = 100;
             CREATE STREAM trades (id BIGINT, user_id BIGINT) {};
             CREATE TABLE users (user_id BIGINT, tier VARCHAR, PRIMARY KEY (user_id)) {};",
            kept.path().display(),
            at(&trades, ""),
            at(&users, ", key = 'user_id'"),
        );
        session.sql(&script).unwrap();
        let sink = format!(
            "CREATE SINK enriched {} AS SELECT t.id, u.tier FROM trades t JOIN users u ON t.user_id = u.user_id",
            at(&enriched, "")
        );
        let pipeline = session.start(&sink).unwrap();
        let wanted = usize::try_from((run + 1) * 1000).unwrap();
        let began = Instant::now();
        while !enriched.has_committed(wanted) {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{:?}",
                pipeline.state()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        for shown in ["SHOW TABLES", "SHOW STREAMS", "SHOW SETTINGS"] {
            let rows = session.sql(shown).and_then(fletching::Rows::collect_batches);
            let rows: Vec<_> = rows.unwrap().iter().flat_map(crate::support::texts).collect();
            assert!(!rows.join("\n").contains(USER.1), "{shown}: {rows:?}");
        }
        pipeline.stop();
        pipeline.wait().unwrap();
    }
    let mut ids: Vec<i64> = enriched
        .records()
        .iter()
        .map(|record| {
            serde_json::from_str::<serde_json::Value>(record.text()).unwrap()["id"]
                .as_i64()
                .unwrap()
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..2000).collect::<Vec<_>>());
    assert_eq!(files_with(kept.path(), USER.1.as_bytes()), Vec::<String>::new());
}

/// Lists the files below a folder that hold some bytes.
fn files_with(folder: &std::path::Path, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, bytes));
        } else if std::fs::read(&path)
            .unwrap()
            .windows(bytes.len())
            .any(|part| part == bytes)
        {
            found.push(path.display().to_string());
        }
    }
    found
}
