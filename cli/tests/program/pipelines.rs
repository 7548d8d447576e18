//! Pipelines over streams that do not end: how they run, stop, go on and are fenced.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Desk;

/// A pipeline that enriches made-up trades; `ENDING` stands for a LIMIT or nothing.
pub(crate) const SCRIPT: &str = "\
SET checkpoint.path = 'state';
SET checkpoint.interval = '20ms';
SET epoch.ms_max = 10;
CREATE STREAM made (id BIGINT, user_id BIGINT) WITH (connector = 'datagen', rows.per_second = RATE,
  fields.id.kind = 'sequence', fields.user_id.min = 5, fields.user_id.max = 10);
CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (path = 'users.csv');
CREATE SINK enriched WITH (path = 'out/', format = 'csv') AS
SELECT m.id, u.tier FROM made m LEFT JOIN users u ON m.user_id = u.id WHERE m.id % 2 = 0 ENDING;
";

impl Desk {
    /// Writes the script.
    pub(crate) fn write_pipeline(&self, rate: u64, ending: &str) {
        let script = SCRIPT
            .replace("RATE", &rate.to_string())
            .replace("ENDING", ending);
        self.write("run.sql", &script);
    }

    /// Starts the script.
    pub(crate) fn start(&self, variables: &[(&str, &str)]) -> Child {
        let mut command = self.command(&["run", "run.sql"]);
        command.envs(variables.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    }

    /// Returns the first column of all that is published, in the order of epochs.
    pub(crate) fn published(&self) -> Vec<u64> {
        self.published_in("out")
    }

    pub(crate) fn published_in(&self, folder: &str) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(self.path(folder)) else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let is_shown = |path: &std::path::PathBuf| {
            !path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'))
        };
        let mut paths: Vec<_> = paths.filter(is_shown).collect();
        paths.sort();
        let mut ids = Vec::new();
        for path in paths {
            // A run that goes on from an earlier checkpoint may take a file back between the list and here.
            let text = match fs::read_to_string(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                text => text.expect("a file"),
            };
            let lines = text.lines().skip(1);
            ids.extend(lines.map(|line| {
                line.split(',')
                    .next()
                    .expect("a cell")
                    .parse::<u64>()
                    .expect("a number")
            }));
        }
        ids
    }
}

pub(crate) struct Stopped {
    pub(crate) code: Option<i32>,
    pub(crate) err: String,
}

/// Waits for a program to end by itself.
pub(crate) fn wait(child: Child) -> Stopped {
    let output = child.wait_with_output().expect("the program ends");
    Stopped {
        code: output.status.code(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status();
    assert!(status.expect("kill is there").success());
}

/// Waits until something holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Insists that every second number is there once, up to some number.
pub(crate) fn insist_on_each_once(ids: &[u64]) {
    for (at, id) in ids.iter().enumerate() {
        assert_eq!(*id, 2 * (at as u64 + 1), "row {at} of {}", ids.len());
    }
}

#[test]
fn a_limit_ends_it_and_a_second_run_has_nothing_to_do() {
    let desk = Desk::new();
    desk.write_pipeline(100_000, "LIMIT 5000");
    let first = desk.run(&["run", "run.sql"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(
        first.err.contains("sink enriched: 5,000 rows of"),
        "{}",
        first.err
    );
    insist_on_each_once(&desk.published());
    assert_eq!(desk.published().len(), 5000);
    let files = desk.added();
    assert_eq!(desk.run(&["run", "run.sql"]).code, 0);
    assert_eq!((desk.published().len(), desk.added()), (5000, files));
    let listed = desk.run(&["checkpoints", "list", "state"]).fine();
    assert!(listed.contains("5,000 rows out, finished"), "{listed}");
    let inspected = desk.run(&["checkpoints", "inspect", "state"]).fine();
    assert!(inspected.contains("rows_out    5000"), "{inspected}");
    // Another query under the same name would mix two results.
    desk.write_pipeline(100_000, "LIMIT 6000");
    let refused = desk.run(&["run", "run.sql"]).failed(2);
    assert!(refused.contains("was written by another query"), "{refused}");
    // Nothing says where to go on, and what is there is not replaced unasked.
    assert_eq!(desk.run(&["checkpoints", "prune", "state", "--all"]).code, 0);
    let refused = desk.run(&["run", "run.sql"]).failed(1);
    assert!(refused.contains("is an epoch of another run"), "{refused}");
}

/// A query over the same trades that goes on.
fn emitting(ending: &str) -> String {
    let (made, _) = SCRIPT.split_once("CREATE SINK").expect("a sink");
    let made = made
        .replace("RATE", "20000")
        .replace("SET checkpoint.path = 'state';", "");
    format!("{made} SELECT m.id, u.tier FROM made m LEFT JOIN users u ON m.user_id = u.id {ending}")
}

#[test]
fn emit_changes_gives_rows_as_they_come_up_to_its_limit() {
    let desk = Desk::new();
    desk.write("run.sql", &emitting("WHERE m.id % 2 = 0 EMIT CHANGES LIMIT 1000"));
    let out = desk.run(&["run", "run.sql"]).fine();
    let ids: Vec<u64> = out
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().expect("a cell").parse().expect("a number"))
        .collect();
    assert_eq!(ids.len(), 1000);
    insist_on_each_once(&ids);
    // As a table, all of it is shown, and nothing is kept.
    desk.write("run.sql", &emitting("EMIT CHANGES LIMIT 100"));
    let table = desk.run(&["run", "run.sql", "--format", "table"]).fine();
    assert_eq!(table.lines().count(), 102, "{table}");
    assert_eq!(desk.added(), ["run.sql"]);
    // What ends has nothing to emit, and what cannot go on is refused as it is in a pipeline.
    let refused = |text: &str| {
        desk.write("run.sql", text);
        desk.run(&["run", "run.sql"]).failed(2)
    };
    let bounded = refused("SELECT 1 EMIT CHANGES");
    assert!(
        bounded.contains("all that the query reads has an end"),
        "{bounded}"
    );
    let other = refused("SET threads = 1 EMIT CHANGES");
    assert!(other.contains("EMIT"), "{other}");
    let sorted = refused(&emitting("ORDER BY m.id EMIT CHANGES"));
    assert!(sorted.contains("ORDER BY over the unbounded stream"), "{sorted}");
}

/// Starts a query that goes on, and gives its lines as they come.
fn emit(desk: &Desk, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = desk
        .command(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    (child, lines)
}

#[cfg(unix)]
#[test]
fn emit_changes_goes_on_until_somebody_ends_it() {
    let desk = Desk::new();
    desk.write("run.sql", &emitting("EMIT CHANGES"));
    let (child, mut lines) = emit(&desk, &["run", "run.sql", "--format", "table"]);
    // They come while it goes on.
    for _ in 0..5000 {
        lines.next().expect("a line").expect("text");
    }
    signal(&child, "-INT");
    let rest = lines.count();
    let stopped = wait(child);
    assert_eq!(stopped.code, Some(0), "{} after {rest} lines", stopped.err);

    // Whoever takes a few and goes ends it as well.
    let (child, mut lines) = emit(&desk, &["run", "run.sql"]);
    lines.next().expect("a line").expect("text");
    drop(lines);
    let stopped = wait(child);
    assert_ne!(stopped.code, Some(101), "{}", stopped.err);
}

#[cfg(unix)]
#[test]
fn signals_commit_and_end_it_well() {
    let desk = Desk::new();
    desk.write_pipeline(50_000, "");
    for name in ["-INT", "-TERM"] {
        let before = desk.published().len();
        let child = desk.start(&[]);
        until("nothing is published", || desk.published().len() > before + 1000);
        signal(&child, name);
        let stopped = wait(child);
        assert_eq!(stopped.code, Some(0), "{}", stopped.err);
        assert!(stopped.err.contains("sink enriched: "), "{}", stopped.err);
        insist_on_each_once(&desk.published());
    }
}

#[cfg(unix)]
#[test]
fn the_older_of_two_is_fenced_and_says_so() {
    let desk = Desk::new();
    desk.write_pipeline(50_000, "");
    let older = desk.start(&[]);
    until("nothing is published", || desk.published().len() > 1000);
    let newer = desk.start(&[]);
    let fenced = wait(older);
    assert_eq!(fenced.code, Some(1), "{}", fenced.err);
    assert!(
        fenced.err.contains("it was started again elsewhere"),
        "{}",
        fenced.err
    );
    let before = desk.published().len();
    until("the newer does not go on", || {
        desk.published().len() > before + 1000
    });
    signal(&newer, "-INT");
    assert_eq!(wait(newer).code, Some(0));
    insist_on_each_once(&desk.published());
}

#[cfg(unix)]
#[test]
fn a_damaged_checkpoint_is_told_of_and_the_one_before_used() {
    let desk = Desk::new();
    desk.write_pipeline(50_000, "");
    let child = desk.start(&[]);
    until("nothing is published", || desk.published().len() > 3000);
    signal(&child, "-INT");
    assert_eq!(wait(child).code, Some(0));
    let before = desk.published().len();
    let entries = fs::read_dir(desk.path("state/enriched")).expect("the folder");
    let names = entries.map(|entry| entry.expect("an entry").path());
    let newest = names
        .filter(|path| path.to_string_lossy().contains("checkpoint-"))
        .max();
    let newest = newest.expect("a checkpoint");
    let mut bytes = fs::read(&newest).expect("its bytes");
    bytes[30] ^= 1;
    fs::write(&newest, bytes).expect("it can be damaged");
    let child = desk.start(&[]);
    until("it does not go on", || desk.published().len() > before + 1000);
    signal(&child, "-INT");
    let stopped = wait(child);
    assert_eq!(stopped.code, Some(0), "{}", stopped.err);
    assert!(
        stopped.err.contains("is damaged: the checksum"),
        "{}",
        stopped.err
    );
    insist_on_each_once(&desk.published());
}

#[test]
fn several_run_together_and_share_tables() {
    let desk = Desk::new();
    desk.write(
        "run.sql",
        "CREATE STREAM a (id BIGINT) WITH (connector = 'datagen', rows = 2000, follow = true, fields.id.kind = 'sequence');
         CREATE STREAM b (id BIGINT) WITH (connector = 'datagen', rows = 9, follow = true, fields.id.kind = 'sequence');
         CREATE TABLE users (id BIGINT, tier VARCHAR, PRIMARY KEY (id)) WITH (path = 'users.csv');
         CREATE SINK one WITH (path = 'one/', format = 'json') AS SELECT a.id, tier FROM a JOIN users u ON a.id = u.id;
         CREATE SINK two WITH (path = 'two/', format = 'csv') AS SELECT b.id, tier FROM b JOIN users u ON b.id = u.id;",
    );
    desk.run(&["run", "run.sql"]).fine();
    let one = desk.read("one/epoch-000000000001.ndjson");
    assert_eq!(one, "{\"id\":7,\"tier\":\"gold\"}\n{\"id\":8,\"tier\":null}\n");
    assert_eq!(desk.read("two/epoch-000000000001.csv"), "id,tier\n7,gold\n8,\n");
}

#[test]
fn late_records_go_where_they_are_told() {
    let desk = Desk::new();
    // Times go back by an hour every third record.
    desk.write(
        "run.sql",
        "CREATE SINK behind WITH (path = 'behind/', format = 'csv');
         CREATE STREAM s (id BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' MINUTE) WITH (
           connector = 'datagen', rows = 9, follow = true, fields.id.kind = 'sequence', late = 'dead_letter',
           late.dead_letter = 'behind', fields.ts.kind = 'sequence', fields.ts.start = '2024-01-01 00:00:00',
           fields.ts.end = '2024-01-01 02:00:00', fields.ts.step = '1h');
         CREATE SINK kept WITH (path = 'kept/', format = 'csv') AS SELECT id FROM s;",
    );
    desk.run(&["run", "run.sql"]).fine();
    assert_eq!(desk.read("kept/epoch-000000000001.csv"), "id\n1\n2\n3\n6\n9\n");
    let behind = desk.read("behind/kept.late-epoch-000000000001.csv");
    let ids: Vec<_> = behind
        .lines()
        .skip(1)
        .map(|line| line.split(',').next())
        .collect();
    assert_eq!(ids, ["4", "5", "7", "8"].map(Some), "{behind}");
}

#[test]
fn one_that_fails_publishes_no_part_of_an_epoch_and_ends_the_others_well() {
    let desk = Desk::new();
    desk.write(
        "run.sql",
        "SET epoch.ms_max = 10;
         CREATE STREAM s (id BIGINT) WITH (connector = 'datagen', rows.per_second = 2000, fields.id.kind = 'sequence');
         CREATE SINK good WITH (path = 'good/', format = 'csv') AS SELECT id FROM s;
         CREATE SINK bad WITH (path = 'bad/', format = 'csv') AS SELECT id, 1000 / (id - 1000) AS q FROM s;",
    );
    let message = desk.run(&["run", "run.sql"]).failed(1);
    assert!(message.contains("division by zero"), "{message}");
    assert!(message.contains("sink good: "), "{message}");
    let bad = desk.published_in("bad");
    assert!(
        bad.len() < 1000 && bad.iter().zip(1..).all(|(id, at)| *id == at),
        "{bad:?}"
    );
    let good = desk.published_in("good");
    assert!(good.len() > bad.len() && good.iter().zip(1..).all(|(id, at)| *id == at));
    let left = fs::read_dir(desk.path("bad")).expect("the folder");
    let left = left.map(|entry| entry.expect("an entry").file_name());
    assert!(
        left.into_iter()
            .all(|name| !name.to_string_lossy().starts_with('.'))
    );
}
