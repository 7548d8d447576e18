//! Followed folders: files that come while a table is joined with, a feed that goes on where it was
//! left, and sources that fail or fall silent.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use fletching::connector::{
    Connector, FeedRequest, Options, Polled, Position, RelationKind, RelationSpec, Source,
};
use fletching::{Error, Session, TableState};
use fletching_connectors::FileConnector;

use crate::sessions::{lines, query, sorted_lines};

/// Puts a whole file into a folder at once, as writers must.
pub(crate) fn publish(folder: &Path, name: &str, text: &str) {
    let hidden = folder.join(format!(".{name}.tmp"));
    fs::write(&hidden, text).unwrap();
    fs::rename(hidden, folder.join(name)).unwrap();
}

pub(crate) fn session() -> Session {
    let connectors = fletching_connectors::all();
    Session::builder()
        .threads(2)
        .connectors(connectors)
        .build()
        .unwrap()
}

/// Runs a query over and over until it gives these rows.
pub(crate) fn until(session: &Session, sql: &str, expected: &[&str]) {
    let began = Instant::now();
    loop {
        let found = sorted_lines(&query(session, sql));
        if found == expected {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{sql}: {found:?}, expected {expected:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn until_state(session: &Session, table: &str, is_right: impl Fn(&TableState) -> bool) -> TableState {
    let began = Instant::now();
    loop {
        let state = session.table(table).unwrap().state();
        if is_right(&state) {
            return state;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{table} stays {state:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn create(session: &Session, folder: &Path, columns: &str, options: &str) {
    let sql = format!(
        "CREATE TABLE t {columns} WITH (path = '{}', follow = true, follow.interval = '10ms', {options})",
        folder.display()
    );
    session.sql(&sql).unwrap();
}

#[test]
fn a_table_takes_files_as_they_come() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "op,k,v\nc,1,a\nc,2,b\n");
    let session = session();
    create(
        &session,
        folder.path(),
        "(k BIGINT, v VARCHAR, PRIMARY KEY (k))",
        "op = 'op', format = 'csv'",
    );
    // All that was there is there with the first query.
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM t")), ["1|a", "2|b"]);
    let prepared = {
        session.sql("CREATE STREAM s (k BIGINT)").unwrap();
        session
            .prepare("SELECT s.k, t.v FROM s LEFT JOIN t ON s.k = t.k")
            .unwrap()
    };
    publish(folder.path(), "2.csv", "op,k,v\nu,1,A\nd,2,\nc,3,c\n");
    // What is hidden, or not finished, is left alone.
    fs::write(folder.path().join(".3.csv"), "op,k,v\nc,9,x\n").unwrap();
    fs::write(folder.path().join("4.csv.tmp"), "op,k,v\nc,9,x\n").unwrap();
    until(&session, "SELECT * FROM t", &["1|A", "3|c"]);
    // A prepared query sees each change, as other queries do.
    let keys = query(
        &session,
        "SELECT column1 AS k FROM (VALUES (CAST(1 AS BIGINT)), (2), (3))",
    );
    let joined = prepared.enrich(&keys[0]).unwrap();
    assert_eq!(lines(&[joined]), ["1|A", "2|NULL", "3|c"]);
    // A name that sorts before others is new all the same.
    publish(folder.path(), "0.csv", "op,k,v\nd,3,\n");
    until(&session, "SELECT * FROM t", &["1|A"]);
    let progress = session.table("t").unwrap().progress();
    assert_eq!((progress.rows, progress.state), (6, TableState::Ready));
}

#[test]
fn a_table_without_key_grows() {
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    create(&session, folder.path(), "(k BIGINT)", "format = 'json'");
    assert_eq!(sorted_lines(&query(&session, "SELECT count(*) FROM t")), ["0"]);
    for at in 0..5 {
        publish(folder.path(), &format!("{at}.ndjson"), "{\"k\": 7}\n{\"k\": 8}\n");
    }
    until(&session, "SELECT k, count(*) FROM t GROUP BY k", &["7|5", "8|5"]);
}

#[test]
fn the_thread_ends_with_the_session() {
    let folder = tempfile::tempdir().unwrap();
    let followers = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "follow mayfly").count()
    };
    let session = session();
    let sql = format!(
        "CREATE TABLE mayfly (k BIGINT) WITH (path = '{}', format = 'csv', follow = true)",
        folder.path().display()
    );
    session.sql(&sql).unwrap();
    query(&session, "SELECT * FROM mayfly");
    assert_eq!(followers(), 1);
    drop(session);
    let began = Instant::now();
    while followers() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_damaged_file_makes_a_table_stale_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "k,v\n1,10\n");
    let session = session();
    create(
        &session,
        folder.path(),
        "(k BIGINT, v BIGINT, PRIMARY KEY (k))",
        "changelog = 'upsert', retry.backoff = '5ms', retry.backoff_max = '20ms'",
    );
    query(&session, "SELECT * FROM t");
    publish(folder.path(), "2.csv", "k,v\n2,20\n3,many\n");
    let state = until_state(&session, "t", |state| matches!(state, TableState::Stale(_)));
    let TableState::Stale(why) = state else {
        unreachable!()
    };
    assert!(
        why.contains("2.csv, line 3, column v: expected BIGINT, found 'many'"),
        "{why}"
    );
    // The rows that are there can be joined with meanwhile, and everybody can see what is wrong.
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM t")), ["1|10"]);
    let shown = lines(&query(&session, "SHOW TABLES")).remove(0);
    assert!(
        shown.contains("stale: ") && shown.contains("found 'many'"),
        "{shown}"
    );
    publish(folder.path(), "2.csv", "k,v\n2,20\n3,30\n");
    until(&session, "SELECT * FROM t", &["1|10", "2|20", "3|30"]);
    until_state(&session, "t", |state| *state == TableState::Ready);
    assert!(session.table("t").unwrap().progress().attempts > 1);
}

#[test]
fn so_many_failures_as_are_told_end_the_following() {
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    create(
        &session,
        folder.path(),
        "(k BIGINT)",
        "format = 'csv', retry.max = 2, retry.backoff = '1ms'",
    );
    query(&session, "SELECT * FROM t");
    publish(folder.path(), "1.csv", "k\nx\n");
    until_state(&session, "t", |state| matches!(state, TableState::Stale(_)));
    let began = Instant::now();
    while session.table("t").unwrap().progress().attempts < 3 {
        assert!(began.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(100));
    let progress = session.table("t").unwrap().progress();
    assert_eq!(progress.attempts, 3);
    assert!(matches!(progress.state, TableState::Stale(_)));
}

#[test]
fn a_damaged_file_fails_the_first_load() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "k\n1\n");
    publish(folder.path(), "2.csv", "k\nx\n");
    let session = session();
    create(
        &session,
        folder.path(),
        "(k BIGINT)",
        "retry.max = 3, retry.backoff = '1ms'",
    );
    let error = session.sql("SELECT * FROM t").unwrap_err().to_string();
    assert!(error.contains("2.csv, line 2, column k"), "{error}");
    publish(folder.path(), "2.csv", "k\n2\n");
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM t")), ["1", "2"]);
}

#[test]
fn silence_makes_stale_and_records_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let session = session();
    create(
        &session,
        folder.path(),
        "(k BIGINT)",
        "format = 'csv', stale.after = '100ms'",
    );
    query(&session, "SELECT * FROM t");
    let state = until_state(&session, "t", |state| matches!(state, TableState::Stale(_)));
    assert_eq!(
        state,
        TableState::Stale("nothing was heard of its source for 100ms".into())
    );
    let changes = session.watch_tables();
    publish(folder.path(), "1.csv", "k\n1\n");
    let change = changes.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(change.state, TableState::Ready);
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM t")), ["1"]);
}

fn event(id: u32, snapshot: &str, ms: u64) -> String {
    format!(
        "{{\"op\":\"c\",\"after\":{{\"id\":{id}}},\"source\":{{\"snapshot\":\"{snapshot}\",\"ts_ms\":{ms}}}}}\n"
    )
}

#[test]
fn a_changelog_is_ready_where_its_snapshot_ends() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.ndjson", &event(1, "first", 1));
    let session = session();
    create(
        &session,
        folder.path(),
        "(id BIGINT, PRIMARY KEY (id))",
        "format = 'debezium-json', ready = 'snapshot', ready.timeout = '150ms'",
    );
    // All files are read, but the snapshot goes on.
    let error = session.sql("SELECT * FROM t").unwrap_err();
    assert!(matches!(error, Error::NotReady { .. }), "{error}");
    publish(
        folder.path(),
        "2.ndjson",
        &(event(2, "true", 1) + &event(3, "last", 1)),
    );
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM t")), ["1", "2", "3"]);
    publish(folder.path(), "3.ndjson", &event(4, "false", 2));
    until(&session, "SELECT * FROM t", &["1", "2", "3", "4"]);
}

#[test]
fn a_changelog_is_ready_when_it_has_come_to_a_time() {
    let folder = tempfile::tempdir().unwrap();
    // 2026-11-25T09:30:00Z is 1795599000 seconds after 1970.
    publish(folder.path(), "1.ndjson", &event(1, "false", 1_795_598_999_999));
    let session = session();
    let options = "ready = 'timestamp:2026-11-25T09:30:00', ready.timeout = '150ms'";
    create(
        &session,
        folder.path(),
        "(id BIGINT, PRIMARY KEY (id))",
        &format!("format = 'debezium-json', {options}"),
    );
    assert!(matches!(
        session.sql("SELECT * FROM t").unwrap_err(),
        Error::NotReady { .. }
    ));
    publish(folder.path(), "2.ndjson", &event(2, "false", 1_795_599_000_000));
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM t")), ["1", "2"]);

    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "k,at\n1,2026-11-25 09:29:59\n");
    let sql = format!(
        "CREATE TABLE u (k BIGINT, at TIMESTAMP) WITH (path = '{}', follow = true, \
         follow.interval = '10ms', event_time = 'at', {options})",
        folder.path().display()
    );
    session.sql(&sql).unwrap();
    assert!(session.sql("SELECT * FROM u").is_err());
    publish(folder.path(), "2.csv", "k,at\n2,2026-11-25 09:30:00\n");
    assert_eq!(sorted_lines(&query(&session, "SELECT k FROM u")), ["1", "2"]);
}

fn source(folder: &Path) -> std::sync::Arc<dyn Source> {
    let options = Options::new("table t")
        .with("path", folder.to_string_lossy())
        .with("follow", "true")
        .with("follow.interval", "5ms");
    let spec = RelationSpec {
        name: "t".into(),
        kind: RelationKind::Table,
        schema: None,
        primary_key: Vec::new(),
        options,
    };
    FileConnector.source(&spec).unwrap()
}

/// Polls so many chunks (all there are, where none is named), each with the place after it.
fn polled(source: &dyn Source, from: Vec<Position>, chunks: usize) -> Vec<(Vec<String>, Position)> {
    let mut request = FeedRequest::all();
    request.batch_rows_max = 3;
    request.from = from;
    let mut feed = source.feed(&request).unwrap();
    let mut given = Vec::new();
    while given.len() < chunks {
        match feed.poll(Duration::from_millis(1)).unwrap() {
            Polled::Records(chunk) => given.push((lines(&[chunk.batch]), chunk.position)),
            _ => break,
        }
    }
    given
}

#[test]
fn a_feed_goes_on_where_it_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for file in 0..3 {
        let rows: Vec<String> = (0..file * 4 + 2)
            .map(|row| (file * 100 + row).to_string())
            .collect();
        publish(
            folder.path(),
            &format!("{file}.csv"),
            &format!("k\n{}\n", rows.join("\n")),
        );
        expected.extend(rows);
    }
    let source = source(folder.path());
    let all = polled(source.as_ref(), Vec::new(), usize::MAX);
    let rows = |given: &[(Vec<String>, Position)]| -> Vec<String> {
        given.iter().flat_map(|(rows, _)| rows.clone()).collect()
    };
    assert_eq!(rows(&all), expected);
    for stop in 0..=all.len() {
        let before = polled(source.as_ref(), Vec::new(), stop);
        let mut from = std::collections::BTreeMap::new();
        for (_, position) in &before {
            from.insert(position.partition.clone(), position.clone());
        }
        let after = polled(source.as_ref(), from.into_values().collect(), usize::MAX);
        assert_eq!(
            [rows(&before), rows(&after)].concat(),
            expected,
            "after {stop} chunks"
        );
    }
    let bad = Position {
        partition: folder.path().join("0.csv").to_string_lossy().into(),
        place: "somewhere".into(),
    };
    let mut request = FeedRequest::all();
    request.from = vec![bad];
    assert!(source.feed(&request).is_err());
}

#[test]
fn a_feed_that_failed_tries_the_rest_of_its_file_again() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "k\n1\n2\n3\n4\n5\n6\n");
    let source = source(folder.path());
    publish(folder.path(), "1.csv", "k\n1\n2\n3\n4\nx\n6\n");
    let mut request = FeedRequest::all();
    request.batch_rows_max = 2;
    let mut feed = source.feed(&request).unwrap();
    let mut poll = || match feed.poll(Duration::from_millis(1)) {
        Ok(Polled::Records(chunk)) => Some((lines(&[chunk.batch]), chunk.position.place)),
        Ok(_) => None,
        Err(error) => Some((vec![error.to_string()], String::new())),
    };
    let told = |rows: [&str; 2], place: &str| Some((rows.map(String::from).to_vec(), place.to_string()));
    assert_eq!(poll(), told(["1", "2"], "2"));
    assert_eq!(poll(), told(["3", "4"], "4"));
    for _ in 0..2 {
        let (error, _) = poll().unwrap();
        assert!(
            error[0].contains("line 6, column k: expected BIGINT"),
            "{error:?}"
        );
    }
    publish(folder.path(), "1.csv", "k\n1\n2\n3\n4\n5\n6\n");
    assert_eq!(poll(), told(["5", "6"], "6 end"));
    assert_eq!(poll(), None);
    assert!(feed.has_caught_up());
}

/// Positions do not grow where what was read is deleted, and nothing is read twice.
#[test]
fn files_that_are_gone_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "00.csv", "k\n0\n");
    let source = source(folder.path());
    let mut feed = source.feed(&FeedRequest::all()).unwrap();
    let mut positions: BTreeMap<String, Position> = BTreeMap::new();
    let mut given = Vec::new();
    let name = |file: usize| format!("{file:02}.csv");
    for file in 0..30 {
        // The newest two stay.
        if file > 1 {
            fs::remove_file(folder.path().join(name(file - 2))).unwrap();
        }
        if file == 15 {
            // Another feed goes on from the positions, those of files gone meanwhile among them.
            let mut request = FeedRequest::all();
            request.from = positions.values().cloned().collect();
            feed = source.feed(&request).unwrap();
        }
        publish(folder.path(), &name(file), &format!("k\n{file}\n"));
        let began = Instant::now();
        while given.len() <= file || positions.len() > 2 {
            assert!(began.elapsed() < Duration::from_secs(60), "{positions:?}");
            match feed.poll(Duration::from_millis(1)).unwrap() {
                Polled::Records(chunk) => {
                    given.extend(lines(&[chunk.batch]));
                    positions.insert(chunk.position.partition.to_string(), chunk.position);
                }
                Polled::Gone(partition) => {
                    positions.remove(&*partition).unwrap();
                }
                _ => {}
            }
        }
    }
    let all: Vec<String> = (0..30).map(|file| file.to_string()).collect();
    assert_eq!(given, all);
    let left: Vec<_> = positions.into_keys().collect();
    assert!(
        left.len() == 2 && left[0].ends_with("28.csv") && left[1].ends_with("29.csv"),
        "{left:?}"
    );
}

#[test]
fn a_query_over_a_followed_stream_says_that_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "k\n1\n");
    let session = session();
    let sql = format!(
        "CREATE STREAM s WITH (path = '{}', follow = true)",
        folder.path().display()
    );
    session.sql(&sql).unwrap();
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM s")), ["1"]);
    let warnings = session.take_warnings();
    let codes: Vec<_> = warnings.iter().map(|warning| warning.code()).collect();
    assert_eq!(codes, ["READ_ONCE"], "{warnings:?}");
    assert!(warnings[0].message.contains("and ends"), "{warnings:?}");
}

#[test]
fn a_query_over_a_stream_without_an_end_says_that_it_goes_on() {
    let session = session();
    let sql = "CREATE STREAM s (k BIGINT) WITH (connector = 'datagen', fields.k.kind = 'sequence')";
    session.sql(sql).unwrap();
    assert_eq!(lines(&query(&session, "SELECT k FROM s LIMIT 2")), ["1", "2"]);
    let warnings = session.take_warnings();
    let told = "stream s has no end: this reads on until its LIMIT, or until it is stopped";
    assert!(
        matches!(warnings.as_slice(), [warning] if warning.message == told),
        "{warnings:?}"
    );
}

#[test]
fn bad_rows_of_followed_files_have_dead_letters_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let dead = tempfile::tempdir().unwrap();
    publish(folder.path(), "1.csv", "k\n1\nx\n");
    let session = session();
    let letters = dead.path().join("dead.ndjson");
    create(
        &session,
        folder.path(),
        "(k BIGINT)",
        &format!(
            "on_bad_row = 'dead_letter', dead_letter.path = '{}'",
            letters.display()
        ),
    );
    assert_eq!(sorted_lines(&query(&session, "SELECT * FROM t")), ["1"]);
    publish(folder.path(), "2.csv", "k\ny\n2\n");
    until(&session, "SELECT * FROM t", &["1", "2"]);
    for name in ["dead.1.csv.ndjson", "dead.2.csv.ndjson"] {
        let began = Instant::now();
        while !dead.path().join(name).exists() {
            assert!(began.elapsed() < Duration::from_secs(10), "{name}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
