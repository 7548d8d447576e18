//! Dead letters and waiting rows of prepared queries: nothing is lost, nothing comes twice, and rows
//! of one key keep their order, whatever fails and however calls are cut.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use fletching::{Prepared, Session};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq};
use proptest::test_runner::TestCaseError;

use crate::seed::{runner, seed};
use crate::sessions::{lines, query, sorted_lines};

fn batch(rows: &[(i64, i64)]) -> RecordBatch {
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let ids = column(rows.iter().map(|row| row.0).collect());
    let keys = column(rows.iter().map(|row| row.1).collect());
    RecordBatch::try_from_iter([("id", ids), ("k", keys)]).unwrap()
}

fn session(options: &str) -> Session {
    let session = Session::builder()
        .threads(2)
        .connectors(fletching_connectors::all())
        .build()
        .unwrap();
    session
        .sql(&format!(
            "CREATE STREAM s (id BIGINT, k BIGINT);
             CREATE TABLE t (k BIGINT, v BIGINT, PRIMARY KEY (k)) WITH ({options});
             INSERT INTO t VALUES (1, 10)"
        ))
        .unwrap();
    session
}

const JOINED: &str = "SELECT s.id, t.v, 6 / (s.id - 9) AS x FROM s JOIN t ON s.k = t.k";

/// A session whose dead letters go to a path, and a query of it.
fn with_letters(path: &Path, sql: &str) -> (Session, Prepared) {
    let session = session("on_miss = 'dead_letter', miss.dead_letter = 'missed'");
    session
        .sql(&format!(
            "CREATE SINK missed WITH (path = '{}', format = 'csv')",
            path.display()
        ))
        .unwrap();
    let query = session.prepare(sql).unwrap();
    (session, query)
}

fn letters(session: &Session, path: &Path) -> Vec<String> {
    let sql = format!("SELECT table_key FROM '{}'", path.display());
    sorted_lines(&query(session, &sql))
}

#[test]
fn dead_letters_are_published_when_asked_for_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missed.csv");
    let (session, query) = with_letters(&path, JOINED);
    assert_eq!(query.flush().unwrap(), []);
    assert_eq!(query.enrich(&batch(&[(1, 1), (2, 7)])).unwrap().num_rows(), 1);
    assert!(!path.exists());
    let summary = query.flush().unwrap();
    assert_eq!((summary.len(), summary[0].rows), (1, 1));
    assert_eq!(letters(&session, &path), ["k = 7"]);
    // Many batches on several threads are one call.
    let many: Vec<_> = (0..20).map(|at| batch(&[(at + 20, 1), (at + 40, 8)])).collect();
    assert_eq!(query.enrich_batches(&many).unwrap().len(), 20);
    drop(query);
    let mut expected = vec!["k = 7".to_string()];
    expected.extend(vec!["k = 8".to_string(); 20]);
    assert_eq!(letters(&session, &path), expected);
    assert_eq!(session.take_warnings(), []);
}

#[test]
fn a_call_that_fails_leaves_no_letter() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missed.csv");
    let (session, query) = with_letters(&path, JOINED);
    for _ in 0..2 {
        assert!(query.enrich(&batch(&[(2, 7), (9, 1)])).is_err());
        assert!(
            query
                .enrich_batches(&[batch(&[(2, 7)]), batch(&[(9, 1)])])
                .is_err()
        );
    }
    query.enrich(&batch(&[(2, 7), (8, 1)])).unwrap();
    query.flush().unwrap();
    assert_eq!(letters(&session, &path), ["k = 7"]);
}

#[test]
fn a_folder_gets_a_file_for_each_flush() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missed/");
    let (session, query) = with_letters(&path, JOINED);
    for key in [7, 8] {
        query.enrich(&batch(&[(2, key)])).unwrap();
        query.flush().unwrap();
    }
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
    assert_eq!(letters(&session, &path), ["k = 7", "k = 8"]);
}

#[test]
fn letters_that_cannot_be_written_are_kept_and_at_the_end_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missed.csv");
    let (session, query) = with_letters(&path, JOINED);
    query.enrich(&batch(&[(2, 7)])).unwrap();
    // A folder stands where the file is to be.
    std::fs::create_dir_all(path.join("in the way")).unwrap();
    assert!(query.flush().is_err());
    std::fs::remove_dir_all(&path).unwrap();
    query.flush().unwrap();
    assert_eq!(letters(&session, &path), ["k = 7"]);

    query.enrich(&batch(&[(2, 8)])).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir_all(path.join("in the way")).unwrap();
    drop(query);
    let warnings = session.take_warnings();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code(), "ROWS_LOST");
}

#[test]
fn a_query_that_groups_writes_letters_and_refuses_to_wait() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missed.csv");
    let grouped = "SELECT t.v, count(*) AS n FROM s JOIN t ON s.k = t.k GROUP BY t.v";
    let (session, query) = with_letters(&path, grouped);
    let found = query.enrich(&batch(&[(1, 1), (2, 7), (3, 1)])).unwrap();
    assert_eq!(lines(&[found]), ["10|2"]);
    drop(query);
    assert_eq!(letters(&session, &path), ["k = 7"]);

    let waiting = self::session("on_miss = 'wait'");
    let error = waiting.prepare(grouped).unwrap_err();
    assert!(
        error.to_string().contains("answered from its own rows alone"),
        "{error}"
    );
    assert!(waiting.prepare(JOINED).is_ok());
}

#[test]
fn a_sink_that_is_not_there_is_told_when_the_query_is_prepared() {
    let session = session("on_miss = 'dead_letter', miss.dead_letter = 'nowhere'");
    let error = session.prepare(JOINED).unwrap_err();
    assert!(
        error.to_string().contains("there is no sink 'nowhere'"),
        "{error}"
    );
}

#[test]
fn rows_that_waited_in_vain_may_become_letters() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missed.csv");
    let session = session("on_miss = 'wait', miss.then = 'dead_letter', miss.dead_letter = 'missed'");
    session
        .sql(&format!("CREATE SINK missed WITH (path = '{}')", path.display()))
        .unwrap();
    let query = session.prepare(JOINED).unwrap();
    assert_eq!(query.enrich(&batch(&[(2, 7), (3, 1)])).unwrap().num_rows(), 1);
    assert_eq!(query.rows_waiting(), 1);
    drop(query);
    assert_eq!(letters(&session, &path), ["k = 7"]);
    assert_eq!(session.take_warnings(), []);
}

#[test]
fn no_more_rows_wait_than_may() {
    let session = session("on_miss = 'wait', miss.wait = '1h', miss.wait_rows_max = 2, miss.then = 'null'");
    let query = session
        .prepare("SELECT s.id, t.v FROM s JOIN t ON s.k = t.k")
        .unwrap();
    let found = query.enrich(&batch(&[(1, 7), (2, 8), (3, 7), (4, 1)])).unwrap();
    assert_eq!(lines(&[found]), ["4|10", "3|NULL"]);
    assert_eq!(query.rows_waiting(), 2);
    assert_eq!(lines(&[query.finish().unwrap()]), ["1|NULL", "2|NULL"]);
}

/// What a caller does.
#[derive(Debug, Clone)]
enum Step {
    /// Calls with rows of these keys, in so many batches.
    Enrich(Vec<i64>, usize),
    /// Calls with such rows, and one that cannot be computed.
    Fail(Vec<i64>),
    Insert(i64),
    Release,
}

fn step() -> impl Strategy<Value = Step> {
    let keys = || prop::collection::vec(0..8_i64, 0..6);
    prop::strategy::Union::new_weighted(vec![
        (
            5,
            (keys(), 1..4_usize)
                .prop_map(|(keys, cut)| Step::Enrich(keys, cut))
                .boxed(),
        ),
        (2, keys().prop_map(Step::Fail).boxed()),
        (2, (0..8_i64).prop_map(Step::Insert).boxed()),
        (1, any::<()>().prop_map(|()| Step::Release).boxed()),
    ])
}

fn found(batches: &[RecordBatch], into: &mut Vec<(i64, Option<i64>)>) {
    for batch in batches {
        let ids = batch.column(0).as_primitive::<Int64Type>().iter().flatten();
        into.extend(ids.zip(batch.column(1).as_primitive::<Int64Type>().iter()));
    }
}

fn check(steps: &[Step], changes: bool) -> Result<(), TestCaseError> {
    let changes = if changes { ", changelog = 'upsert'" } else { "" };
    let session = session(&format!(
        "on_miss = 'wait', miss.wait = '1h', miss.then = 'null'{changes}"
    ));
    let query = session
        .prepare("SELECT s.id, t.v, 1 / (s.id + 1) AS x FROM s JOIN t ON s.k = t.k")
        .unwrap();
    // The keys that are there, the rows that came and the rows that went.
    let mut known = BTreeMap::from([(1, 10)]);
    let mut came: Vec<(i64, i64)> = Vec::new();
    let mut went = Vec::new();
    for step in steps {
        match step {
            Step::Enrich(keys, cut) => {
                let ids = came.len() as i64..;
                let rows: Vec<(i64, i64)> = ids.zip(keys.iter().copied()).collect();
                came.extend(&rows);
                let batches: Vec<_> = rows.chunks(rows.len().div_ceil(*cut).max(1)).map(batch).collect();
                match batches.as_slice() {
                    [one] => found(&[query.enrich(one).unwrap()], &mut went),
                    many => found(&query.enrich_batches(many).unwrap(), &mut went),
                }
            }
            Step::Fail(keys) => {
                let mut rows: Vec<(i64, i64)> = keys.iter().map(|key| (7, *key)).collect();
                rows.push((-1, 1));
                let before = query.rows_waiting();
                prop_assert!(query.enrich(&batch(&rows)).is_err());
                prop_assert_eq!(query.rows_waiting(), before);
            }
            Step::Insert(key) if !known.contains_key(key) => {
                known.insert(*key, key * 10);
                session
                    .sql(&format!("INSERT INTO t VALUES ({key}, {})", key * 10))
                    .unwrap();
            }
            Step::Insert(_) => {}
            Step::Release => found(&[query.release().unwrap()], &mut went),
        }
    }
    prop_assert_eq!(query.rows_waiting(), came.len() - went.len());
    found(&[query.finish().unwrap()], &mut went);
    // Each row once, with the value of its key if that ever came; those of one key in order.
    let mut by_id = went.clone();
    by_id.sort_unstable();
    let expected: Vec<_> = came
        .iter()
        .map(|(id, key)| (*id, known.get(key).copied()))
        .collect();
    prop_assert_eq!(by_id, expected);
    for key in 0..8 {
        let ids: Vec<i64> = went
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| came[usize::try_from(*id).unwrap()].1 == key)
            .collect();
        prop_assert!(ids.is_sorted(), "key {}: {:?}", key, ids);
    }
    Ok(())
}

#[test]
fn every_row_comes_once_and_in_the_order_of_its_key() {
    let case = (prop::collection::vec(step(), 0..14), any::<bool>());
    let mut runner = runner("waiting in prepared queries", 200);
    let ran = runner.run(&case, |(steps, changes)| check(&steps, changes));
    if let Err(failure) = ran {
        panic!("FLETCHING_TEST_SEED={}: {failure}", seed());
    }
}
