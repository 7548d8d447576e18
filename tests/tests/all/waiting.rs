//! `on_miss = 'wait'`: rows are parked until their key comes, leave in their order, and never
//! wait for longer or in greater number than they may.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use fletching::{LookupCounts, Session};

use crate::sessions::{lines, query, sorted_lines};
use crate::trial_source::{Trial, session_of};

fn batch(ids: &[i64], keys: &[Option<i64>]) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
    let keys: ArrayRef = Arc::new(Int64Array::from(keys.to_vec()));
    RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("k", keys, true)]).unwrap()
}

fn desk(options: &str, threads: usize) -> Session {
    let session = Session::builder().threads(threads).build().unwrap();
    session
        .sql(&format!(
            "CREATE STREAM s (id BIGINT, k BIGINT);
             CREATE TABLE t (k BIGINT, v BIGINT, PRIMARY KEY (k)) WITH (on_miss = 'wait', default.v = -1, {options});
             INSERT INTO t VALUES (1, 10)"
        ))
        .unwrap();
    session
}

const JOINED: &str = "SELECT s.id, t.v FROM s JOIN t ON s.k = t.k";

fn counts(session: &Session) -> LookupCounts {
    session.lookup_counts().remove(0)
}

#[test]
fn a_row_is_released_when_its_key_comes() {
    let session = desk("miss.wait = '1min'", 1);
    session
        .push("s", batch(&[1, 2, 3], &[Some(1), Some(2), Some(3)]))
        .unwrap();
    session
        .push("s", batch(&[4, 5, 6], &[Some(2), Some(1), Some(3)]))
        .unwrap();
    let waiting = {
        let session = session.clone();
        std::thread::spawn(move || lines(&query(&session, JOINED)))
    };
    let began = Instant::now();
    while session
        .lookup_counts()
        .first()
        .is_none_or(|counts| counts.parked < 4)
    {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    session.table("t").unwrap().append(&rows(&[(3, 30)])).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    session.table("t").unwrap().append(&rows(&[(2, 20)])).unwrap();
    // Those that had their key first; then key by key, each in its order.
    assert_eq!(
        waiting.join().unwrap(),
        ["1|10", "5|10", "3|30", "6|30", "2|20", "4|20"]
    );
    let counts = counts(&session);
    assert_eq!((counts.parked, counts.released, counts.expired), (4, 4, 0));
    assert_eq!((counts.looked_up, counts.matched, counts.missed), (6, 6, 0));
}

fn rows(pairs: &[(i64, i64)]) -> RecordBatch {
    let keys: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|pair| pair.0)));
    let values: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|pair| pair.1)));
    RecordBatch::try_from_iter([("k", keys), ("v", values)]).unwrap()
}

#[test]
fn after_its_time_a_row_is_treated_as_told() {
    for (then, expected) in [
        ("", vec!["1|10"]),
        (", miss.then = 'drop'", vec!["1|10"]),
        (", miss.then = 'null'", vec!["1|10", "2|NULL", "3|NULL"]),
        (", miss.then = 'default'", vec!["1|10", "2|-1", "3|-1"]),
    ] {
        let session = desk(&format!("miss.wait = '60ms'{then}"), 2);
        session
            .push("s", batch(&[1, 2, 3], &[Some(1), Some(2), None]))
            .unwrap();
        let began = Instant::now();
        assert_eq!(sorted_lines(&query(&session, JOINED)), expected, "{then}");
        assert!(began.elapsed() >= Duration::from_millis(60));
        let counts = counts(&session);
        // A NULL key does not wait.
        assert_eq!(
            (counts.parked, counts.released, counts.expired),
            (1, 0, 1),
            "{then}"
        );
        assert_eq!((counts.missed, counts.null_keys), (1, 1), "{then}");
    }
    let session = desk("miss.wait = '20ms', miss.then = 'error'", 2);
    session.push("s", batch(&[2], &[Some(2)])).unwrap();
    let failed = session.sql(JOINED).and_then(fletching::Rows::collect_batches);
    assert_eq!(failed.unwrap_err().code(), "MISS");
}

#[test]
fn no_more_rows_wait_than_may() {
    let session = desk(
        "miss.wait = '50ms', miss.wait_rows_max = 2, miss.then = 'null'",
        1,
    );
    session
        .push("s", batch(&[1, 2, 3, 4], &[Some(2), Some(3), Some(4), Some(1)]))
        .unwrap();
    // The third finds no room, and is treated as told at once.
    assert_eq!(
        lines(&query(&session, JOINED)),
        ["4|10", "3|NULL", "1|NULL", "2|NULL"]
    );
    assert_eq!(counts(&session).expired, 3);
}

#[test]
fn a_table_that_loads_on_lets_its_rows_wait_for_it() {
    let t = Arc::new(Trial {
        pause: Duration::from_millis(5),
        ..Trial::of(10, 10)
    });
    let s = Arc::new(Trial::of(4, 25));
    let session = session_of(&[("t", &t), ("s", &s)]);
    session
        .sql(
            "CREATE TABLE t WITH (connector = 'trial', ready = 'immediately', on_miss = 'wait', miss.wait = '1min');
             CREATE STREAM s WITH (connector = 'trial')",
        )
        .unwrap();
    let joined = sorted_lines(&query(&session, "SELECT s.k, t.v FROM s JOIN t ON s.k = t.k"));
    assert_eq!(joined.len(), 100);
    assert!(joined.iter().all(|line| {
        let (key, value) = line.split_once('|').unwrap();
        key == value
    }));
}

#[test]
fn a_key_from_another_table_cannot_be_waited_for() {
    let session = desk("miss.wait = '10ms'", 1);
    session
        .sql("CREATE TABLE u (k BIGINT, next BIGINT, PRIMARY KEY (k))")
        .unwrap();
    let sql = "SELECT s.id, t.v FROM s JOIN u ON s.k = u.k JOIN t ON u.next = t.k";
    let error = session.sql(sql).unwrap_err();
    assert!(error.to_string().contains("a key of its own"), "{error}");
}

#[test]
fn a_run_that_waits_can_be_cancelled() {
    let session = desk("miss.wait = '1h'", 1);
    session.push("s", batch(&[2], &[Some(2)])).unwrap();
    let waiting = {
        let session = session.clone();
        std::thread::spawn(move || session.sql(JOINED).and_then(fletching::Rows::collect_batches))
    };
    let began = Instant::now();
    while session
        .lookup_counts()
        .first()
        .is_none_or(|counts| counts.parked < 1)
    {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    session.cancel_handle().cancel();
    assert_eq!(waiting.join().unwrap().unwrap_err().code(), "CANCELLED");
}
