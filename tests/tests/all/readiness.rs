//! A stream never meets a table that is half there: slow sources, sources that die at any point,
//! and sources that never answer.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use fletching::{Error, Session, TableState};

use crate::sessions::{query, sorted_lines};
use crate::trial_source::{Death, Trial, session_of};

/// Creates table `t` with options, and a stream `s` of rows 0 to 99.
fn create(session: &Session, options: &str) {
    let comma = if options.is_empty() { "" } else { ", " };
    session
        .sql(&format!(
            "CREATE TABLE t WITH (connector = 'trial'{comma}{options});
             CREATE STREAM s WITH (connector = 'trial')"
        ))
        .unwrap();
}

fn stream() -> Arc<Trial> {
    Arc::new(Trial::of(4, 25))
}

const JOINED: &str = "SELECT count(*), count(t.v) FROM s LEFT JOIN t ON s.k = t.k";

fn joined(session: &Session) -> String {
    sorted_lines(&query(session, JOINED)).remove(0)
}

fn wait_for(session: &Session, table: &str, state: &TableState) {
    let began = Instant::now();
    while session.table(table).unwrap().state() != *state {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{table} never became {state:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ten points at which a source of eight batches may die.
fn deaths() -> Vec<Death> {
    std::iter::once(Death::AtOpening)
        .chain((0..=8).map(Death::After))
        .collect()
}

#[test]
fn a_source_that_dies_is_read_again_and_never_leaves_half_a_table() {
    assert_eq!(deaths().len(), 10);
    for death in deaths() {
        let (t, s) = (Trial::of(8, 10), stream());
        t.deaths.lock().unwrap().extend([death, death]);
        let t = Arc::new(t);
        let session = session_of(&[("t", &t), ("s", &s)]);
        create(&session, "retry.max = 2, retry.backoff = '1ms'");
        assert_eq!(joined(&session), "100|80", "{death:?}");
        let table = session.table("t").unwrap();
        let progress = table.progress();
        assert_eq!((progress.attempts, progress.rows), (3, 80), "{death:?}");
        assert!(progress.last_error.unwrap().contains("the source has died"));
        assert_eq!(table.snapshot().unwrap().row_count(), 80);
    }
}

#[test]
fn without_retries_a_death_ends_the_statement_before_the_stream_is_touched() {
    for death in deaths() {
        let (t, s) = (Trial::of(8, 10), stream());
        t.deaths.lock().unwrap().extend([death]);
        let t = Arc::new(t);
        let session = session_of(&[("t", &t), ("s", &s)]);
        create(&session, "");
        let error = session.sql(JOINED).unwrap_err();
        assert!(
            error.to_string().contains("the source has died"),
            "{death:?}: {error}"
        );
        assert!(!s.is_opened.load(SeqCst), "{death:?}");
        assert!(matches!(
            session.table("t").unwrap().state(),
            TableState::Failed(_)
        ));
        assert!(session.table("t").unwrap().snapshot().is_err());
        // The next statement tries again.
        assert_eq!(joined(&session), "100|80", "{death:?}");
    }
}

#[test]
fn too_many_deaths_are_an_error() {
    let (t, s) = (Trial::of(8, 10), stream());
    t.deaths.lock().unwrap().extend([Death::After(3); 3]);
    let t = Arc::new(t);
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(&session, "retry.max = 2, retry.backoff = '1ms'");
    assert!(session.sql(JOINED).unwrap_err().to_string().contains("has died"));
    assert_eq!(t.opened.lock().unwrap().len(), 3);
    assert!(!s.is_opened.load(SeqCst));
}

#[test]
fn a_source_that_panics_is_an_error() {
    let (t, s) = (Trial::of(8, 10), stream());
    t.deaths.lock().unwrap().extend([Death::Panics(2)]);
    let t = Arc::new(t);
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(&session, "");
    assert!(session.sql(JOINED).unwrap_err().to_string().contains("panicked"));
    assert_eq!(joined(&session), "100|80");
}

#[test]
fn the_stream_is_opened_when_the_last_row_of_the_tables_is_there() {
    let t = Arc::new(Trial {
        pause: Duration::from_millis(10),
        ..Trial::of(5, 20)
    });
    let (u, s) = (Arc::new(Trial::of(5, 20)), stream());
    let session = session_of(&[("t", &t), ("u", &u), ("s", &s)]);
    create(&session, "");
    session.sql("CREATE TABLE u WITH (connector = 'trial')").unwrap();
    let sql = "SELECT s.k, t.v, u.v FROM s JOIN t ON s.k = t.k JOIN u ON s.k = u.k ORDER BY s.k LIMIT 1";
    assert_eq!(sorted_lines(&query(&session, sql)), ["0|0|0"]);
    let ready = *t.ended.lock().unwrap().last().unwrap();
    assert!(s.opened.lock().unwrap().iter().all(|opened| *opened >= ready));
}

#[test]
fn tables_load_at_the_same_time() {
    // Each waits for the other to be opened: one after the other would wait for ever.
    let t = Arc::new(Trial {
        waits_before: Some(0),
        ..Trial::of(2, 10)
    });
    let u = Arc::new(Trial {
        opens: Some(Arc::clone(&t)),
        ..Trial::of(2, 10)
    });
    let s = stream();
    let session = session_of(&[("t", &t), ("u", &u), ("s", &s)]);
    create(&session, "");
    session.sql("CREATE TABLE u WITH (connector = 'trial')").unwrap();
    let sql = "SELECT count(*) FROM s JOIN t ON s.k = t.k JOIN u ON s.k = u.k";
    assert_eq!(sorted_lines(&query(&session, sql)), ["20"]);
}

#[test]
fn a_table_waits_for_those_it_comes_after() {
    let t = Arc::new(Trial {
        pause: Duration::from_millis(10),
        ..Trial::of(3, 10)
    });
    let (u, s) = (Arc::new(Trial::of(3, 10)), stream());
    let session = session_of(&[("t", &t), ("u", &u), ("s", &s)]);
    create(&session, "");
    session
        .sql("CREATE TABLE u WITH (connector = 'trial', ready.after = 't')")
        .unwrap();
    assert_eq!(sorted_lines(&query(&session, "SELECT count(*) FROM u")), ["30"]);
    assert!(u.opened.lock().unwrap()[0] >= t.ended.lock().unwrap()[0]);
}

fn silent(waits_before: usize) -> Arc<Trial> {
    Arc::new(Trial {
        waits_before: Some(waits_before),
        ..Trial::of(8, 10)
    })
}

#[test]
fn a_source_that_never_answers_fails_the_statement_in_time() {
    for waits_before in [0, 3, 8] {
        let (t, s) = (silent(waits_before), stream());
        let session = session_of(&[("t", &t), ("s", &s)]);
        create(&session, "ready.timeout = '100ms'");
        let began = Instant::now();
        let error = session.sql(JOINED).unwrap_err();
        assert!(matches!(error, Error::NotReady { .. }), "{error}");
        assert_eq!(error.code(), "NOT_READY");
        let rows = format!("{} rows were read so far", waits_before * 10);
        assert!(error.to_string().contains(&rows), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(!s.is_opened.load(SeqCst));
        // What comes late is not published; the next statement begins anew.
        t.gate.open();
        assert_eq!(joined(&session), "100|80");
        assert_eq!(t.opened.lock().unwrap().len(), 2);
    }
}

#[test]
fn one_may_hold_on() {
    let (t, s) = (silent(3), stream());
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(&session, "ready.timeout = '50ms', ready.on_timeout = 'hold'");
    let waiting = {
        let session = session.clone();
        std::thread::spawn(move || joined(&session))
    };
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished() && !s.is_opened.load(SeqCst));
    t.gate.open();
    assert_eq!(waiting.join().unwrap(), "100|80");
    let warnings = session.take_warnings();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.message.contains("waiting on")),
        "{warnings:?}"
    );
}

#[test]
fn one_may_proceed_without_and_meets_nothing_that_is_half_there() {
    let (t, s) = (silent(3), stream());
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(&session, "ready.timeout = '50ms', ready.on_timeout = 'proceed'");
    assert_eq!(joined(&session), "100|0");
    let warnings = session.take_warnings();
    assert!(
        warnings
            .iter()
            .any(|warning| warning.message.contains("going on with the 0 rows")),
        "{warnings:?}"
    );
    assert_eq!(session.table("t").unwrap().state(), TableState::Loading);
    t.gate.open();
    wait_for(&session, "t", &TableState::Ready);
    assert_eq!(joined(&session), "100|80");
    assert_eq!(t.opened.lock().unwrap().len(), 1);
}

#[test]
fn a_table_that_is_ready_at_once_is_joined_as_far_as_it_is() {
    let (t, s) = (silent(3), stream());
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(&session, "ready = 'immediately'");
    let rows: i64 = joined(&session).split('|').nth(1).unwrap().parse().unwrap();
    assert!((0..=30).contains(&rows) && rows % 10 == 0, "{rows}");
    assert_eq!(session.table("t").unwrap().state(), TableState::Loading);
    t.gate.open();
    wait_for(&session, "t", &TableState::Ready);
    assert_eq!(joined(&session), "100|80");
    assert_eq!(session.table("t").unwrap().snapshot().unwrap().row_count(), 80);
}

#[test]
fn what_was_there_at_once_is_taken_back_when_the_source_dies() {
    let (t, s) = (Trial::of(8, 10), stream());
    t.deaths.lock().unwrap().extend([Death::After(5)]);
    let t = Arc::new(t);
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(
        &session,
        "ready = 'immediately', retry.max = 1, retry.backoff = '1ms'",
    );
    query(&session, "SELECT count(*) FROM t");
    wait_for(&session, "t", &TableState::Ready);
    assert_eq!(joined(&session), "100|80");
    assert_eq!(session.table("t").unwrap().progress().attempts, 2);
}

#[test]
fn a_cancelled_statement_does_not_wait_for_a_source() {
    let (t, s) = (silent(2), stream());
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(&session, "");
    let waiting = {
        let session = session.clone();
        std::thread::spawn(move || session.sql(JOINED).unwrap_err())
    };
    wait_for(&session, "t", &TableState::Loading);
    session.cancel_handle().cancel();
    assert!(matches!(waiting.join().unwrap(), Error::Cancelled));
    // The load ends when its source answers, and another begins.
    t.gate.open();
    assert_eq!(joined(&session), "100|80");
}

#[test]
fn changes_are_told_to_those_who_watch() {
    let (t, s) = (Trial::of(8, 10), stream());
    t.deaths.lock().unwrap().extend([Death::After(2)]);
    let t = Arc::new(t);
    let session = session_of(&[("t", &t), ("s", &s)]);
    let changes = session.watch_tables();
    create(&session, "retry.max = 1, retry.backoff = '1ms'");
    assert_eq!(session.table("t").unwrap().state(), TableState::Waiting);
    joined(&session);
    let mut seen = Vec::new();
    while let Some(change) = changes.wait(Duration::from_millis(500)) {
        seen.push((change.state.word(), change.attempts, change.last_error.is_some()));
    }
    seen.dedup();
    assert_eq!(
        seen,
        [
            ("loading", 0, false),
            ("loading", 1, false),
            ("loading", 1, true),
            ("loading", 2, true),
            ("ready", 2, true)
        ]
    );
    let progress = session.table("t").unwrap().progress();
    assert_eq!((progress.rows, progress.share), (80, Some(1.0)));
    assert!(progress.rows_per_second().unwrap() > 0.0);
}

#[test]
fn show_tables_tells_of_loads() {
    let (t, s) = (silent(4), stream());
    let session = session_of(&[("t", &t), ("s", &s)]);
    create(&session, "ready = 'immediately'");
    query(&session, "SELECT count(*) FROM t");
    let began = Instant::now();
    while session.table("t").unwrap().progress().rows < 40 && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let shown = sorted_lines(&query(&session, "SHOW TABLES")).remove(0);
    assert!(shown.starts_with("t|trial|loading|NULL|40|"), "{shown}");
    assert!(shown.contains("40 rows read, 50 %"), "{shown}");
    t.gate.open();
}
