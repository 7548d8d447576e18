//! What goes beside the rows of a pipeline over followed files, through kills: each record is in its place
//! once, be it a row, one that cannot be decoded or computed, one without a match or a late one.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Desk;
use crate::pipelines::{signal, wait};

/// Files, and records in each.
const FILES: usize = 120;
const RECORDS: usize = 100;

/// How long anything may take that takes a second on a machine at rest.
const PATIENCE: Duration = Duration::from_secs(120);

const SCRIPT: &str = "\
SET checkpoint.path = 'state';
SET checkpoint.interval = '2ms';
SET epoch.ms_max = 2;
SET epoch.rows_max = 100;
CREATE SINK behind WITH (path = 'behind/', format = 'json');
CREATE SINK nobody WITH (path = 'nobody/', format = 'json');
CREATE STREAM s (id BIGINT, at BIGINT, u BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '5' SECOND) WITH (
  path = 'in/', format = 'csv', follow = 'true', follow.interval = '20ms', late = 'dead_letter',
  late.dead_letter = 'behind', on_bad_row = 'dead_letter', dead_letter.path = 'dead.ndjson');
CREATE TABLE users (u BIGINT, tier VARCHAR, PRIMARY KEY (u))
  WITH (on_miss = 'dead_letter', miss.dead_letter = 'nobody');
INSERT INTO users VALUES (1, 'gold');
CREATE SINK enriched WITH (path = 'out/', format = 'json') AS
SELECT s.id, u.tier, 100 / (s.at - 27) AS share FROM s JOIN users u ON s.u = u.u;
";

impl Desk {
    /// Writes the files that are followed.
    fn write_records(&self, files: std::ops::Range<usize>) {
        fs::create_dir_all(self.path("in")).expect("a folder");
        for file in files {
            let mut text = String::from("id,at,u,ts\n");
            for at in 0..RECORDS {
                let id = file * RECORDS + at;
                let user = if at == 41 { 999 } else { 1 };
                let time = |second: usize| format!("2024-01-01 00:{:02}:{:02}", second / 60, second % 60);
                let line = match at {
                    13 => format!("x{id},{at},1,{}", time(60 + at)),
                    59 => format!("{id},{at},1,{}", time(0)),
                    _ => format!("{id},{at},{user},{}", time(60 + at)),
                };
                text.push_str(&line);
                text.push('\n');
            }
            self.write(&format!("in/{file:04}.csv"), &text);
        }
    }

    /// Returns the lines of the published files of a folder, as JSON.
    fn lines_in(&self, folder: &str) -> Vec<Value> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let shown = paths.filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !name.starts_with('.')
        });
        shown.flat_map(|path| lines_of(&path)).collect()
    }

    fn is_all_there(&self, files: usize) -> bool {
        self.lines_in("out").len() == files * (RECORDS - 4)
            && self.lines_in("nobody").len() == files
            && self.lines_in("behind").len() == files
            && lines_of(&self.path("dead.ndjson")).len() == 2 * files
    }

    /// Insists that the files of one pipeline have each record where it belongs, once.
    fn insist_on_places(&self, files: usize) {
        let all = |at: usize| -> Vec<u64> { (0..files).map(|file| (file * RECORDS + at) as u64).collect() };
        let sorted = |mut ids: Vec<u64>| {
            ids.sort_unstable();
            ids
        };
        let ids = |lines: &[Value]| sorted(lines.iter().filter_map(|line| line["id"].as_u64()).collect());
        let rows: Vec<u64> = (0..(files * RECORDS) as u64)
            .filter(|id| !matches!(id % 100, 13 | 27 | 41 | 59))
            .collect();
        assert_eq!(ids(&self.lines_in("out")), rows, "rows");
        assert_eq!(ids(&self.lines_in("behind")), all(59), "late ones");
        let missed: Vec<Value> = self.lines_in("nobody").iter().map(stream_row).collect();
        assert_eq!(ids(&missed), all(41), "missed");
        let mut dead: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for letter in lines_of(&self.path("dead.ndjson")) {
            let raw = letter["raw"].as_str().expect("a text");
            let id = match raw.strip_prefix('x') {
                Some(rest) => {
                    assert_eq!(letter["line"], 15, "{letter}");
                    rest.split(',').next().expect("a cell").parse().expect("a number")
                }
                None => serde_json::from_str::<Value>(raw).expect("a row")["id"]
                    .as_u64()
                    .expect("a number"),
            };
            let code = letter["code"].as_str().expect("a code").to_owned();
            dead.entry(code).or_default().push(id);
        }
        let expected = [("BAD_RECORD", all(13)), ("COMPUTE", all(27))];
        let found: Vec<(&str, Vec<u64>)> = dead
            .iter()
            .map(|(code, ids)| (code.as_str(), sorted(ids.clone())))
            .collect();
        assert_eq!(found, expected, "bad ones");
    }
}

fn lines_of(path: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object"))
        .collect()
}

fn stream_row(letter: &Value) -> Value {
    assert_eq!(letter["reason"], "no match");
    serde_json::from_str(letter["stream_row"].as_str().expect("a text")).expect("a row")
}

/// Runs a script until all is there, and ends it well.
fn run_to_the_end(desk: &Desk, files: usize) -> String {
    let child = desk.start(&[]);
    let began = Instant::now();
    while !desk.is_all_there(files) {
        if began.elapsed() > PATIENCE {
            signal(&child, "-INT");
            panic!("it took too long: {}", wait(child).err);
        }
        thread::sleep(Duration::from_millis(50));
    }
    signal(&child, "-INT");
    let ended = wait(child);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    ended.err
}

#[cfg(debug_assertions)]
#[test]
fn each_record_is_in_its_place_once_through_kills() {
    let desk = Desk::new();
    desk.write_records(0..FILES);
    desk.write("run.sql", SCRIPT);
    for border in [
        "polled:3",
        "computed:3",
        "written:2",
        "prepared:3",
        "checkpointed:1",
        "checkpointed:4",
        "restoring:1",
        "committed:1",
        "prepared:5",
        "restored:1",
        "checkpointed:3",
        "committed:4",
    ] {
        let stopped = wait(desk.start(&[("FLETCHING_ABORT_AT", border)]));
        assert_eq!(
            stopped.code, None,
            "{border}: it was to be killed: {}",
            stopped.err
        );
    }
    let said = run_to_the_end(&desk, FILES);
    desk.insist_on_places(FILES);
    // Started once more, it adds what is new.
    desk.write_records(FILES..FILES + 1);
    run_to_the_end(&desk, FILES + 1);
    desk.insist_on_places(FILES + 1);
    assert!(
        said.contains("also for rows that the query cannot compute"),
        "{said}"
    );
}

#[test]
fn letters_of_a_stream_that_two_pipelines_read_are_written_once() {
    let desk = Desk::new();
    desk.write_records(0..FILES);
    let second = "CREATE SINK second WITH (path = 'second/', format = 'json') AS \
                  SELECT s.id, u.tier, 100 / (s.at - 29) AS share FROM s JOIN users u ON s.u = u.u;\n";
    desk.write("run.sql", &format!("{SCRIPT}{second}"));
    let child = desk.start(&[]);
    let of = |folder: &str, pipeline: &str| {
        let entries = fs::read_dir(desk.path(folder)).into_iter().flatten().flatten();
        let own = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(pipeline));
        own.flat_map(|entry| lines_of(&entry.path())).count()
    };
    let further = desk.path("dead.second.ndjson");
    let is_done = || {
        desk.lines_in("out").len() == FILES * (RECORDS - 4)
            && desk.lines_in("second").len() == FILES * (RECORDS - 4)
            && lines_of(&desk.path("dead.ndjson")).len() == 2 * FILES
            && lines_of(&further).len() == FILES
            && ["enriched", "second"]
                .iter()
                .all(|pipeline| of("nobody", pipeline) == FILES && of("behind", pipeline) == FILES)
    };
    let began = Instant::now();
    while !is_done() && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(50));
    }
    assert!(is_done(), "it took too long");
    signal(&child, "-INT");
    let ended = wait(child);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(is_done(), "more came at the end");
    // What cannot be decoded is bad for both, and written by the first; what cannot be computed is of one.
    assert!(
        lines_of(&further)
            .iter()
            .all(|letter| letter["code"] == "COMPUTE")
    );
}

#[test]
fn too_many_rows_beside_end_a_pipeline_with_what_to_do() {
    for (option, value, told) in [
        (
            "late.dead_letter = 'behind'",
            "late.rate_max = '0.005'",
            "more than late.rate_max allows",
        ),
        (
            "miss.dead_letter = 'nobody'",
            "miss.rate_max = '0.005'",
            "more than miss.rate_max allows",
        ),
        (
            "on_bad_row = 'dead_letter'",
            "bad_row.rate_max = '0.005'",
            "more than bad_row.rate_max allows",
        ),
    ] {
        let desk = Desk::new();
        desk.write_records(0..FILES);
        desk.write("run.sql", &SCRIPT.replace(option, &format!("{option}, {value}")));
        let ended = wait(desk.start(&[]));
        assert!(ended.code.is_some_and(|code| code != 0), "{told}: {}", ended.err);
        assert!(ended.err.contains(told), "{}", ended.err);
        assert!(
            ended.err.contains("rate_max") && ended.err.contains("raise"),
            "{}",
            ended.err
        );
    }
}
