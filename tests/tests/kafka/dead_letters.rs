//! Pipelines from topic to topic over records that cannot be decoded or computed: each becomes a dead
//! letter once, whatever happens to the pipeline, and every other record comes out.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use fletching::{Pipeline, Session};
use fletching_tests::broker::{Broker, Topic, shared};
use fletching_tests::victim;
use serde_json::{Value, json};

/// How long anything may take that takes seconds on a machine at rest.
const PATIENCE: Duration = Duration::from_secs(240);

/// Records in all, and of how many one is poison.
const RECORDS: usize = 1_000_000;
const POISON_EVERY: usize = 1_000;

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} took too long");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Starts a pipeline from topic to topic. `stream` are options of the stream.
fn start(servers: &str, (from, to): (&str, &str), stream: &str, checkpoints: &Path, query: &str) -> Pipeline {
    let builder = Session::builder().connectors(fletching_connectors::all());
    let session = builder.threads(2).build().unwrap();
    let at = |topic: &str, more: &str| {
        format!(
            "WITH (connector = 'kafka', 'bootstrap.servers' = '{servers}', topic = '{topic}', format = 'json'{more})"
        )
    };
    let script = format!(
        "SET checkpoint.path = '{}'; SET checkpoint.interval = '20ms'; SET epoch.rows_max = 50000;
         CREATE STREAM s (id BIGINT) {}",
        checkpoints.display(),
        at(from, stream),
    );
    session.sql(&script).unwrap();
    session
        // Writers of one name fence each other, so each test has its own.
        .start(&format!(
            "CREATE SINK {} {} AS {query}",
            to.replace('-', "_"),
            at(to, "")
        ))
        .unwrap()
}

fn ids(topic: &Topic) -> Vec<usize> {
    let records = topic.records();
    records
        .iter()
        .map(|record| {
            let value: Value = serde_json::from_str(record.text()).unwrap();
            usize::try_from(value["id"].as_u64().unwrap()).unwrap()
        })
        .collect()
}

fn start_victim(broker: &Broker, topics: [&Topic; 3], checkpoints: &Path, abort_at: Option<&str>) -> Child {
    let job = json!({
        "servers": broker.servers(),
        "topics": topics.map(|topic| topic.name.as_str()),
        "checkpoints": checkpoints,
    });
    let environment: Vec<_> = abort_at
        .map(|place| ("FLETCHING_ABORT_AT", place))
        .into_iter()
        .collect();
    victim::start("dead_letters::runs_when_told", &job, &environment)
}

/// What a victim does; without a job it is no test.
#[test]
fn runs_when_told() {
    let Some(job) = victim::job() else { return };
    let topic = |at: usize| job["topics"][at].as_str().unwrap();
    let stream = format!(
        ", on_bad_row = 'dead_letter', 'dead_letter.topic' = '{}'",
        topic(2)
    );
    let pipeline = start(
        job["servers"].as_str().unwrap(),
        (topic(0), topic(1)),
        &stream,
        Path::new(job["checkpoints"].as_str().unwrap()),
        "SELECT id FROM s",
    );
    victim::run(Ok(pipeline))
}

#[test]
fn a_thousand_poison_records_in_a_million_come_once_through_kills() {
    let Some(broker) = shared() else { return };
    let (from, to, dead) = (
        broker.topic("poisoned", 4),
        broker.topic("cured", 4),
        broker.topic("poison", 2),
    );
    from.send_values((0..RECORDS).map(|id| match id % POISON_EVERY {
        0 => format!("poison {id}"),
        _ => format!("{{\"id\":{id}}}"),
    }));
    let checkpoints = tempfile::tempdir().unwrap();
    let topics = [&from, &to, &dead];
    let borders: &[&str] = match cfg!(debug_assertions) {
        true => &["checkpointed:1", "written:2", "prepared:2", "committed:3"],
        false => &[],
    };
    for border in borders {
        let victim = start_victim(broker, topics, checkpoints.path(), Some(border));
        let ended = victim::wait(victim, PATIENCE).unwrap_or_else(|| panic!("it does not come to {border}"));
        assert_eq!(ended.status.code(), None, "{border}: it was to be killed");
    }
    let good = RECORDS - RECORDS / POISON_EVERY;
    let mut first = start_victim(broker, topics, checkpoints.path(), None);
    until("the first part", || to.has_committed(RECORDS / 20));
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(!to.has_committed(good), "it was done before it was killed");

    let mut last = start_victim(broker, topics, checkpoints.path(), None);
    until("the rest", || {
        to.has_committed(good) && dead.has_committed(RECORDS / POISON_EVERY)
    });
    last.kill().unwrap();
    last.wait().unwrap();
    let mut found = ids(&to);
    found.sort_unstable();
    assert_eq!(found.len(), good);
    let expected = (0..RECORDS).filter(|id| id % POISON_EVERY != 0);
    assert!(found.into_iter().eq(expected));
    let mut poison: Vec<usize> = dead
        .records()
        .iter()
        .map(|letter| {
            let id: usize = letter.text().strip_prefix("poison ").unwrap().parse().unwrap();
            assert_eq!(letter.header("fletching.topic"), Some(from.name.as_str()));
            assert_eq!(letter.header("fletching.code"), Some("BAD_RECORD"));
            let (partition, offset) = ((id % 4).to_string(), (id / 4).to_string());
            assert_eq!(letter.header("fletching.partition"), Some(partition.as_str()));
            assert_eq!(letter.header("fletching.offset"), Some(offset.as_str()));
            id
        })
        .collect();
    poison.sort_unstable();
    assert!(poison.into_iter().eq((0..RECORDS).step_by(POISON_EVERY)));
}

#[test]
fn rows_that_cannot_be_computed_are_dead_letters() {
    let Some(broker) = shared() else { return };
    let (from, to) = (broker.topic("to-compute", 1), broker.topic("computed", 1));
    from.send_values((0..5000).map(|id| match id {
        77 => "poison".to_owned(),
        _ => format!("{{\"id\":{id}}}"),
    }));
    let (checkpoints, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("dead.ndjson");
    let stream = format!(
        ", on_bad_row = 'dead_letter', 'dead_letter.path' = '{}'",
        file.display()
    );
    // Of 0, 500, 1000 … there is no remainder to divide by.
    let query = "SELECT id, 1000 / (id % 500) AS share FROM s";
    let run = |wanted: usize| {
        let names = (from.name.as_str(), to.name.as_str());
        let pipeline = start(broker.servers(), names, &stream, checkpoints.path(), query);
        until("the rows", || to.has_committed(wanted));
        pipeline.stop();
        let stats = pipeline.wait().unwrap();
        assert_eq!(
            stats.bad_rows,
            if wanted < 5000 { 11 } else { 1 },
            "decoding and computing are counted"
        );
    };
    run(4989);
    let expected: Vec<usize> = (0..5000).filter(|id| id % 500 != 0 && *id != 77).collect();
    assert_eq!(ids(&to), expected);

    // Another run goes on where this one has stopped, and adds to the file.
    from.send_values(
        ["{\"id\":5000}", "{\"id\":5001}"]
            .into_iter()
            .chain(["{\"id\":5002}"; 10]),
    );
    run(5000);
    let text = std::fs::read_to_string(&file).unwrap();
    let letters: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut offsets: Vec<u64> = letters
        .iter()
        .map(|letter| {
            let offset = letter["offset"].as_str().unwrap().parse().unwrap();
            if offset == 77 {
                assert_eq!(
                    (letter["code"].as_str(), letter["raw"].as_str()),
                    (Some("BAD_RECORD"), Some("poison"))
                );
            } else {
                assert_eq!(letter["code"], "COMPUTE");
                assert!(letter["reason"].as_str().unwrap().contains("zero"), "{letter}");
                assert_eq!(letter["raw"], format!("{{\"id\":{offset}}}"));
            }
            assert_eq!(letter["partition"], format!("{}-0", from.name));
            offset
        })
        .collect();
    offsets.sort_unstable();
    let expected: Vec<u64> = [0, 77].into_iter().chain((1..=10).map(|at| at * 500)).collect();
    assert_eq!(offsets, expected);
}

#[test]
fn too_many_bad_records_stop_a_pipeline() {
    let Some(broker) = shared() else { return };
    let checkpoints = tempfile::tempdir().unwrap();
    let run = |name: &str, value: &dyn Fn(i64) -> String, query: &str| {
        let (from, to) = (
            broker.topic(&format!("{name}-from"), 1),
            broker.topic(&format!("{name}-to"), 1),
        );
        from.send_values((0..3000).map(value));
        let names = (from.name.as_str(), to.name.as_str());
        let stream = ", on_bad_row = 'skip', 'bad_row.rate_max' = '0.05'";
        let checkpoints = checkpoints.path().join(name);
        let pipeline = start(broker.servers(), names, stream, &checkpoints, query);
        assert!(pipeline.wait_for(PATIENCE), "it goes on");
        pipeline.wait().unwrap_err().to_string()
    };
    let good = |id: i64| format!("{{\"id\":{id}}}");
    let poisoned = |id: i64| if id % 10 == 0 { "poison".into() } else { good(id) };
    let undecodable = run("too-bad", &poisoned, "SELECT id FROM s");
    assert!(
        undecodable.contains("more than bad_row.rate_max allows"),
        "{undecodable}"
    );
    let uncomputable = run("too-hard", &good, "SELECT id / (id % 10) AS share FROM s");
    assert!(
        uncomputable.contains("more than bad_row.rate_max allows"),
        "{uncomputable}"
    );
}
