//! Random changelogs, in every format, read at once or followed file by file, come to what a
//! `BTreeMap` says; and what a program changes while a table loads is not undone by the load.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use fletching::{Session, TableState};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::following::{publish, session, until};
use crate::seed::{draw, runner};
use crate::sessions::{query, sorted_lines};
use crate::trial_source::{Trial, session_of};

/// A record: upsert, delete or truncate, its key, its value and its version.
#[derive(Debug, Clone, Copy)]
struct Change {
    kind: u8,
    key: i64,
    value: i64,
    version: i64,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = (0_u8..20, 0_i64..6, 0_i64..1000, 0_i64..8);
    let change = change.prop_map(|(kind, key, value, version)| Change {
        kind: match kind {
            0..12 => 0,
            12..19 => 1,
            _ => 2,
        },
        key,
        value,
        version,
    });
    prop::collection::vec(change, 1..40)
}

/// What records come to: rows by key. With versions a key that is gone keeps the one it went with.
fn expected(changes: &[Change], has_versions: bool) -> Vec<String> {
    let mut rows: BTreeMap<i64, (i64, Option<i64>)> = BTreeMap::new();
    for change in changes {
        let there = rows.get(&change.key);
        let is_older = has_versions && there.is_some_and(|(version, _)| change.version < *version);
        match change.kind {
            2 => rows.clear(),
            _ if is_older => {}
            0 => {
                rows.insert(change.key, (change.version, Some(change.value)));
            }
            _ => {
                rows.insert(change.key, (change.version, None));
            }
        }
    }
    let there = rows.iter();
    there
        .filter_map(|(key, (version, value))| Some(format!("{key}|{}|{version}", (*value)?)))
        .collect()
}

fn as_csv(changes: &[Change]) -> String {
    let mut text = "v,op,k,at\n".to_owned();
    for change in changes {
        let word = if change.kind == 0 { "+U" } else { "d" };
        let value = if change.kind == 0 {
            change.value.to_string()
        } else {
            String::new()
        };
        writeln!(text, "{value},{word},{},{}", change.key, change.version).unwrap();
    }
    text
}

fn as_debezium(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        let Change {
            key, value, version, ..
        } = change;
        let row = format!("{{\"k\":{key},\"v\":{value},\"at\":{version}}}");
        let line = match change.kind {
            0 if key % 2 == 0 => format!("{{\"payload\":{{\"op\":\"u\",\"before\":null,\"after\":{row}}}}}"),
            0 => format!("{{\"op\":\"c\",\"after\":{row}}}"),
            1 => format!("{{\"op\":\"d\",\"before\":{row},\"after\":null}}"),
            _ => "{\"op\":\"t\"}".to_owned(),
        };
        writeln!(text, "{line}").unwrap();
    }
    text
}

/// Reads changes that are cut into files, one way or another.
fn check(runner: &mut TestRunner, is_debezium: bool, has_versions: bool, is_followed: bool) {
    let mut all = draw(&changes(), runner);
    if !is_debezium {
        all.retain(|change| change.kind < 2);
    }
    let piece = draw(&(1_usize..20), runner);
    let batch_rows = draw(&prop::sample::select(vec![1, 2, 7, 8192]), runner);
    let folder = tempfile::tempdir().unwrap();
    let pieces: Vec<&[Change]> = all.chunks(piece).collect();
    let put = |at: usize| {
        if is_debezium {
            publish(
                folder.path(),
                &format!("{at:03}.ndjson"),
                &as_debezium(pieces[at]),
            );
        } else {
            publish(folder.path(), &format!("{at:03}.csv"), &as_csv(pieces[at]));
        }
    };
    let at_first = if is_followed {
        pieces.len() / 2
    } else {
        pieces.len()
    };
    (0..at_first).for_each(&put);
    if at_first == 0 && !is_followed {
        return;
    }
    let session = session();
    session.set("batch.rows", &batch_rows.to_string()).unwrap();
    let format = if is_debezium {
        "format = 'debezium-json'"
    } else {
        "format = 'csv', op = 'op'"
    };
    let version = if has_versions {
        ", changelog = 'upsert', version = 'at'"
    } else {
        ""
    };
    let follow = if is_followed {
        ", follow = true, follow.interval = '2ms'"
    } else {
        ""
    };
    session
        .sql(&format!(
            "CREATE TABLE t (k BIGINT, v BIGINT NOT NULL, at BIGINT, PRIMARY KEY (k)) WITH (path = '{}', {format}{version}{follow})",
            folder.path().display()
        ))
        .unwrap();
    let found = sorted_lines(&query(&session, "SELECT * FROM t"));
    let read: Vec<Change> = pieces[..at_first].concat();
    assert_eq!(found, expected(&read, has_versions), "{read:?}");
    for at in at_first..pieces.len() {
        put(at);
        let read: Vec<Change> = pieces[..=at].concat();
        let expected = expected(&read, has_versions);
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        until(&session, "SELECT * FROM t", &expected);
    }
}

#[test]
fn random_changelogs_come_to_what_a_map_says() {
    let mut runner = runner("changelogs", 1);
    for _ in 0..40 {
        for is_debezium in [false, true] {
            for has_versions in [false, true] {
                check(&mut runner, is_debezium, has_versions, false);
            }
        }
    }
}

#[test]
fn random_changelogs_that_are_followed_come_to_the_same() {
    let mut runner = runner("followed changelogs", 1);
    for _ in 0..6 {
        for is_debezium in [false, true] {
            for has_versions in [false, true] {
                check(&mut runner, is_debezium, has_versions, true);
            }
        }
    }
}

fn rows(pairs: &[(i64, i64)]) -> RecordBatch {
    let column = |values: Vec<i64>| -> ArrayRef { Arc::new(Int64Array::from(values)) };
    RecordBatch::try_from_iter([
        ("k", column(pairs.iter().map(|(k, _)| *k).collect())),
        ("v", column(pairs.iter().map(|(_, v)| *v).collect())),
    ])
    .unwrap()
}

fn loading(options: &str, batches_at_first: usize) -> (Arc<Trial>, Session) {
    let trial = Arc::new(Trial {
        waits_before: Some(batches_at_first),
        ..Trial::of(4, 10)
    });
    let session = session_of(&[("t", &trial)]);
    session
        .sql(&format!(
            "CREATE TABLE t (PRIMARY KEY (k)) WITH (connector = 'trial', changelog = 'upsert', {options})"
        ))
        .unwrap();
    query(&session, "SELECT count(*) FROM t");
    (trial, session)
}

#[test]
fn what_a_program_changes_while_a_table_loads_stays() {
    for options in [
        "ready = 'immediately'",
        "ready.timeout = '50ms', ready.on_timeout = 'proceed'",
    ] {
        let (trial, session) = loading(options, 2);
        let table = session.table("t").unwrap();
        let began = Instant::now();
        while table.progress().rows < 20 {
            assert!(began.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(2));
        }
        // Keys that were loaded, keys that will be, and one that never is.
        table.upsert(&rows(&[(3, -3), (35, -35), (99, -99)])).unwrap();
        let gone: ArrayRef = Arc::new(Int64Array::from(vec![4, 36]));
        table.delete(&[gone]).unwrap();
        trial.gate.open();
        while table.state() != TableState::Ready {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(2));
        }
        let found = query(&session, "SELECT count(*), count(*) FILTER (WHERE v <> k) FROM t");
        assert_eq!(sorted_lines(&found), ["39|3"], "{options}");
        let found = query(&session, "SELECT v FROM t WHERE k IN (3, 4, 35, 36, 99)");
        assert_eq!(sorted_lines(&found), ["-3", "-35", "-99"], "{options}");
        // Afterwards its word counts no more than any other.
        table.upsert(&rows(&[(4, 4)])).unwrap();
        assert_eq!(
            sorted_lines(&query(&session, "SELECT v FROM t WHERE k = 4")),
            ["4"]
        );
    }
}
