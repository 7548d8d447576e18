//! Everything that goes beside the rows of a pipeline from topic to topic: bad records, rows without a match
//! and late ones, each once and with the rows of its epoch, whatever happens to the pipeline.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Output};
use std::time::{Duration, Instant};

use fletching::Session;
use fletching_tests::broker::{Broker, Topic, shared};
use fletching_tests::victim;
use serde_json::{Value, json};

use crate::victim::surroundings;

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
        let environment: Vec<_> = abort_at
            .map(|place| ("FLETCHING_ABORT_AT", place))
            .into_iter()
            .collect();
        victim::start("sides::runs_when_told", &job, &environment)
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
        let id_of = |text: &str| -> usize {
            let value: Value = serde_json::from_str(text).unwrap();
            usize::try_from(value["id"].as_u64().unwrap()).unwrap()
        };
        insist_once("rows", &self.to, &self.of(&[Fate::Row]), &id_of);
        insist_once("late ones", &self.late, &self.of(&[Fate::Late]), &id_of);
        let in_letter = |text: &str| {
            let letter: Value = serde_json::from_str(text).unwrap();
            assert_eq!(letter["reason"], "no match");
            id_of(letter["stream_row"].as_str().unwrap())
        };
        insist_once("missed", &self.missed, &self.of(&[Fate::Missed]), &in_letter);
        let of_bad = |text: &str| match text.strip_prefix("poison ") {
            Some(id) => id.parse().unwrap(),
            None => id_of(text),
        };
        let bad = self.of(&[Fate::Undecodable, Fate::Uncomputable]);
        insist_once("bad ones", &self.dead, &bad, &of_bad);
    }
}

/// Insists that a topic has these records, each once; `id` finds out which one a text is of.
fn insist_once(what: &str, topic: &Topic, expected: &[usize], id: &dyn Fn(&str) -> usize) {
    let mut found: BTreeMap<usize, Vec<(i32, i64)>> =
        expected.iter().map(|expected| (*expected, Vec::new())).collect();
    let records = topic.records();
    for record in &records {
        let places = found.entry(id(record.text())).or_default();
        places.push((record.partition, record.offset));
    }
    let wrong: Vec<_> = found
        .iter()
        .filter(|(id, places)| places.len() != 1 || expected.binary_search(id).is_err())
        .collect();
    let Some((_, places)) = wrong.first() else {
        return;
    };
    let first = &wrong[..wrong.len().min(20)];
    panic!(
        "{what}: {} of {} records are lost, repeated or strange, with where they are: {first:?}\n{}",
        wrong.len(),
        records.len(),
        surroundings(topic, places)
    );
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
    let stream = format!(
        ", late = 'dead_letter', 'late.dead_letter' = 'late', on_bad_row = 'dead_letter', 'dead_letter.topic' = '{}'{}",
        text("dead"),
        text("stream")
    );
    let script = format!(
        "SET checkpoint.path = '{}'; SET checkpoint.interval = '20ms'; SET epoch.rows_max = 2000;
         SET batch.rows = 1000;
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
    victim::run(session.start(&sink))
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what} took too long");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Kills a process, and passes on what it said.
fn end(mut victim: Child) {
    victim.kill().unwrap();
    tell(&victim.wait_with_output().unwrap());
}

/// Passes on what a process said, for whoever looks into a failure.
fn tell(ended: &Output) {
    eprint!("{}", String::from_utf8_lossy(&ended.stderr));
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
        let victim = places.start(broker, checkpoints.path(), "", Some(border));
        let ended = victim::wait(victim, PATIENCE).unwrap_or_else(|| panic!("it does not come to {border}"));
        tell(&ended);
        assert_eq!(ended.status.code(), None, "{border}: it was to be killed");
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
    until("the first part", || places.to.has_committed(1));
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
