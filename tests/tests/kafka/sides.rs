//! Everything that goes beside the rows of a pipeline from topic to topic: bad records, rows without a match
//! and late ones, each once and with the rows of its epoch, whatever happens to the pipeline.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fletching::Session;
use fletching_tests::broker::{Broker, Topic, shared};
use serde_json::{Value, json};

/// What a process is told to do that is to be killed.
const JOB: &str = "FLETCHING_TEST_SIDES";

/// How long anything may take that takes seconds on a machine at rest.
const PATIENCE: Duration = Duration::from_secs(240);

/// Records of each partition, and partitions.
const RECORDS: usize = 10_000;
const PARTITIONS: usize = 4;

/// What becomes of a record, by its number in its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Row,
    Undecodable,
    Uncomputable,
    Missed,
    Late,
}

fn fate(at: usize, some_are_late: bool) -> Fate {
    match at % 100 {
        13 => Fate::Undecodable,
        27 => Fate::Uncomputable,
        41 => Fate::Missed,
        59 if some_are_late => Fate::Late,
        _ => Fate::Row,
    }
}

/// The record of a number: those of a partition follow each other by a second.
fn record(id: usize, some_are_late: bool) -> String {
    let at = id / PARTITIONS;
    let second = |at: usize| format!("2024-01-01T{:02}:{:02}:{:02}Z", at / 3600, at / 60 % 60, at % 60);
    let fate = fate(at, some_are_late);
    let user = if fate == Fate::Missed { 999 } else { 1 };
    match fate {
        Fate::Undecodable => format!("poison {id}"),
        Fate::Late => format!(
            "{{\"id\":{id},\"at\":{at},\"u\":{user},\"ts\":\"{}\"}}",
            second(at / 100)
        ),
        _ => format!(
            "{{\"id\":{id},\"at\":{at},\"u\":{user},\"ts\":\"{}\"}}",
            second(at + 1000)
        ),
    }
}

/// The topics of a test: records, rows, and where the others go.
struct Places {
    from: Topic,
    to: Topic,
    dead: Topic,
    missed: Topic,
    late: Topic,
    some_are_late: bool,
}

impl Places {
    fn new(broker: &Broker, name: &str, some_are_late: bool) -> Self {
        let topic = |what: &str| broker.topic(&format!("{name}-{what}"), 2);
        let places = Self {
            from: broker.topic(&format!("{name}-from"), 4),
            to: topic("to"),
            dead: topic("dead"),
            missed: topic("missed"),
            late: topic("late"),
            some_are_late,
        };
        places
            .from
            .send_values((0..RECORDS * PARTITIONS).map(|id| record(id, some_are_late)));
        places
    }

    /// Starts a process that runs the pipeline; `stream` are options of the stream.
    fn start(&self, broker: &Broker, checkpoints: &Path, stream: &str, abort_at: Option<&str>) -> Child {
        let job = json!({
            "servers": broker.servers(),
            "checkpoints": checkpoints,
            "stream": stream,
            "from": self.from.name,
            "to": self.to.name,
            "dead": self.dead.name,
            "missed": self.missed.name,
            "late": self.late.name,
        });
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "sides::runs_when_told", "--nocapture"])
            .env(JOB, job.to_string())
            .envs(abort_at.map(|place| ("FLETCHING_ABORT_AT", place)))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command.spawn().unwrap()
    }

    fn is_all_there(&self) -> bool {
        let has = |topic: &Topic, fates: &[Fate]| topic.records().len() >= self.of(fates).len();
        has(&self.to, &[Fate::Row])
            && has(&self.dead, &[Fate::Undecodable, Fate::Uncomputable])
            && has(&self.missed, &[Fate::Missed])
            && has(&self.late, &[Fate::Late])
    }

    /// Lists the records of these fates.
    fn of(&self, wanted: &[Fate]) -> Vec<usize> {
        let all = 0..RECORDS * PARTITIONS;
        all.filter(|id| wanted.contains(&fate(id / PARTITIONS, self.some_are_late)))
            .collect()
    }

    /// Insists that each record is in its place, once.
    fn insist(&self) {
        let sorted = |topic: &Topic, id: &dyn Fn(&str) -> usize| -> Vec<usize> {
            let records = topic.records();
            let mut ids: Vec<usize> = records.iter().map(|record| id(record.text())).collect();
            ids.sort_unstable();
            ids
        };
        let id_of = |text: &str| -> usize {
            let value: Value = serde_json::from_str(text).unwrap();
            usize::try_from(value["id"].as_u64().unwrap()).unwrap()
        };
        assert_eq!(sorted(&self.to, &id_of), self.of(&[Fate::Row]), "rows");
        assert_eq!(sorted(&self.late, &id_of), self.of(&[Fate::Late]), "late ones");
        let in_letter = |text: &str| {
            let letter: Value = serde_json::from_str(text).unwrap();
            assert_eq!(letter["reason"], "no match");
            id_of(letter["stream_row"].as_str().unwrap())
        };
        assert_eq!(
            sorted(&self.missed, &in_letter),
            self.of(&[Fate::Missed]),
            "missed"
        );
        let of_bad = |text: &str| match text.strip_prefix("poison ") {
            Some(id) => id.parse().unwrap(),
            None => id_of(text),
        };
        let bad = [Fate::Undecodable, Fate::Uncomputable];
        assert_eq!(sorted(&self.dead, &of_bad), self.of(&bad), "bad ones");
    }
}

/// What a victim does; without a job it is no test.
#[test]
fn runs_when_told() {
    let Ok(job) = std::env::var(JOB) else { return };
    let job: Value = serde_json::from_str(&job).unwrap();
    let text = |name: &str| job[name].as_str().unwrap().to_string();
    let at = |topic: &str, more: &str| {
        format!(
            "WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', format = 'json'{more})",
            text("servers"),
            text(topic)
        )
    };
    let stream = format!(
        ", late = 'dead_letter', 'late.dead_letter' = 'late', on_bad_row = 'dead_letter', 'dead_letter.topic' = '{}'{}",
        text("dead"),
        text("stream")
    );
    let script = format!(
        "SET checkpoint.path = '{}'; SET checkpoint.interval = '20ms'; SET epoch.rows_max = 2000;
         CREATE SINK late {}; CREATE SINK missed {};
         CREATE STREAM s (id BIGINT, at BIGINT, u BIGINT, ts TIMESTAMP,
             WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) {};
         CREATE TABLE users (u BIGINT, tier VARCHAR, PRIMARY KEY (u))
             WITH (on_miss = 'dead_letter', 'miss.dead_letter' = 'missed');
         INSERT INTO users VALUES (1, 'gold')",
        text("checkpoints"),
        at("late", ""),
        at("missed", ""),
        at("from", &stream),
    );
    let builder = Session::builder().connectors(fletching_connectors::all());
    let session = builder.threads(2).build().unwrap();
    session.sql(&script).unwrap();
    let sink = format!(
        "CREATE SINK {} {} AS SELECT s.id, u.tier, 100 / (s.at % 100 - 27) AS share FROM s JOIN users u ON s.u = u.u",
        text("to").replace('-', "_"),
        at("to", "")
    );
    if let Err(error) = session.start(&sink).unwrap().wait() {
        eprintln!("pipeline: {error}");
        std::process::exit(1);
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} took too long");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn end(mut victim: Child) {
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn each_letter_comes_once_with_its_epoch_through_kills() {
    let Some(broker) = shared() else { return };
    let places = Places::new(broker, "sides", true);
    let checkpoints = tempfile::tempdir().unwrap();
    let borders: &[&str] = match cfg!(debug_assertions) {
        true => &[
            "written:2",
            "prepared:2",
            "checkpointed:1",
            "committed:2",
            "checkpointed:3",
        ],
        false => &[],
    };
    for border in borders {
        let mut victim = places.start(broker, checkpoints.path(), "", Some(border));
        assert_eq!(
            victim.wait().unwrap().code(),
            None,
            "{border}: it was to be killed"
        );
    }
    let last = places.start(broker, checkpoints.path(), "", None);
    until("the rest", || places.is_all_there());
    end(last);
    places.insist();
}

#[test]
fn instances_that_share_a_stream_write_each_letter_once() {
    let Some(broker) = shared() else { return };
    // Where a partition moves, what is late is told anew: so here nothing is.
    let places = Places::new(broker, "shared-sides", false);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let stream = format!(
        ", 'group.id' = 'g-{}', 'group.share' = 'true', 'kafka.session.timeout.ms' = '6000'",
        places.from.name
    );
    let mut instances = folders
        .each_ref()
        .map(|folder| Some(places.start(broker, folder.path(), &stream, None)));
    until("the first part", || places.to.committed_count() > 0);
    end(instances[0].take().unwrap());
    until("the rest", || places.is_all_there());
    instances.into_iter().flatten().for_each(end);
    places.insist();
}

#[test]
fn letters_of_a_shared_stream_go_nowhere_but_with_the_rows() {
    let Some(broker) = shared() else { return };
    let (from, to) = (broker.topic("shared-file", 1), broker.topic("shared-file-to", 1));
    let session = Session::builder()
        .connectors(fletching_connectors::all())
        .build()
        .unwrap();
    let at = |topic: &Topic, more: &str| {
        format!(
            "WITH (connector = 'kafka', 'bootstrap.servers' = '{}', topic = '{}', format = 'json'{more})",
            broker.servers(),
            topic.name
        )
    };
    let options =
        ", 'group.id' = 'g', 'group.share' = 'true', on_bad_row = 'dead_letter', 'dead_letter.path' = 'd'";
    session
        .sql(&format!("CREATE STREAM s (id BIGINT) {}", at(&from, options)))
        .unwrap();
    let sink = format!("CREATE SINK shared_file {} AS SELECT id FROM s", at(&to, ""));
    let error = session.start(&sink).unwrap_err().to_string();
    assert!(error.contains("must be committed with the rows"), "{error}");
}
