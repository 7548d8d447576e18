//! What becomes of rows without a match in as-of and temporal joins, against a loop over all rows:
//! every policy, INNER and LEFT, conditions, two tables in a row; and that every row is counted once,
//! for one reason.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use fletching::{LookupCounts, Session};
use proptest::prelude::{Strategy, any, prop, prop_assert_eq};
use proptest::test_runner::TestCaseError;

use crate::seed::{runner, seed};
use crate::sessions::{query, sorted_lines};

/// Cases; about 20 ms each.
const CASES: u32 = 600;

/// Of temporal joins, how far back a row may lie.
const RETENTION: i64 = 12;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Policy {
    Sql,
    Null,
    Drop,
    Default,
}

/// A key and a time.
type Tick = (Option<i64>, Option<i64>);

#[derive(Debug, Clone)]
struct Joined {
    rows: Vec<Tick>,
    policy: Policy,
    is_left: bool,
    is_hinted: bool,
    /// Only rows with an even value match.
    has_condition: bool,
    /// `FOR SYSTEM_TIME AS OF` a table with a retention; otherwise as of, no further away than that.
    is_temporal: bool,
    tolerance: Option<i64>,
}

fn ticks(rows: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Tick>> {
    let tick = (
        prop::option::weighted(0.9, 0..5_i64),
        prop::option::weighted(0.9, 0..30_i64),
    );
    prop::collection::vec(tick, rows)
}

fn joined() -> impl Strategy<Value = Joined> {
    use Policy::{Default, Drop, Null, Sql};
    (
        ticks(0..25),
        prop::sample::select(vec![Sql, Null, Drop, Default]),
        (
            any::<bool>(),
            any::<bool>(),
            prop::bool::weighted(0.3),
            any::<bool>(),
        ),
        prop::option::weighted(0.3, 0..8_i64),
    )
        .prop_map(
            |(rows, policy, (is_left, is_hinted, has_condition, is_temporal), tolerance)| Joined {
                rows,
                policy,
                is_left,
                is_hinted: is_hinted && policy != Sql,
                has_condition,
                is_temporal,
                tolerance: tolerance.filter(|_| !is_temporal),
            },
        )
}

fn batch(columns: Vec<(&str, Vec<Option<i64>>)>) -> RecordBatch {
    let columns = columns
        .into_iter()
        .map(|(name, values)| (name, Arc::new(Int64Array::from(values)) as ArrayRef, true));
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

impl Joined {
    fn word(&self) -> Option<&'static str> {
        match self.policy {
            Policy::Sql => None,
            Policy::Null => Some("null"),
            Policy::Drop => Some("drop"),
            Policy::Default => Some("default"),
        }
    }

    fn create(&self, session: &Session, name: &str) {
        let mut options = vec!["default.v = -7".to_string()];
        // What a hint says the table denies.
        match self.word() {
            Some(_) if self.is_hinted => options.push("on_miss = 'error'".into()),
            Some(word) => options.push(format!("on_miss = '{word}'")),
            None => {}
        }
        let mut key = "";
        if self.is_temporal {
            key = ", PRIMARY KEY (k)";
            options.push("'versioned' = 'true', version = 'at'".into());
            options.push(format!("retention = '{RETENTION}'"));
        }
        let options = options.join(", ");
        let sql = format!("CREATE TABLE {name} (k BIGINT, at BIGINT, v BIGINT{key}) WITH ({options})");
        if let Err(error) = session.sql(&sql) {
            panic!("{sql}: {error}");
        }
        let rows = batch(vec![
            ("k", self.rows.iter().map(|row| row.0).collect()),
            ("at", self.rows.iter().map(|row| row.1).collect()),
            ("v", (0..self.rows.len() as i64).map(Some).collect()),
        ]);
        session.table(name).unwrap().append(&rows).unwrap();
    }

    fn join(&self, name: &str) -> String {
        let condition = if self.has_condition {
            format!(" AND {name}.v % 2 = 0")
        } else {
            String::new()
        };
        let left = if self.is_left { "LEFT " } else { "" };
        if self.is_temporal {
            return format!(" {left}JOIN {name} FOR SYSTEM_TIME AS OF s.at ON s.k = {name}.k{condition}");
        }
        let bound = self
            .tolerance
            .map_or_else(String::new, |bound| format!(" AND s.at - {name}.at <= {bound}"));
        format!(
            " ASOF {left}JOIN {name} MATCH_CONDITION (s.at >= {name}.at{bound}) ON s.k = {name}.k{condition}"
        )
    }

    /// Looks at all rows for the last one at or before a time.
    fn find(&self, (key, time): Tick) -> Result<i64, Reason> {
        let (Some(key), Some(time)) = (key, time) else {
            return Err(Reason::NullKey);
        };
        let latest = self.rows.iter().filter_map(|row| row.0.and(row.1)).max();
        if self.is_temporal && latest.is_some_and(|latest| latest - time > RETENTION) {
            return Err(Reason::TooOld);
        }
        let mut found: Option<(i64, i64)> = None;
        for (value, row) in (0..).zip(&self.rows) {
            let Some(other) = row.1.filter(|other| row.0 == Some(key) && *other <= time) else {
                continue;
            };
            if found.is_none_or(|(best, _)| best <= other) {
                found = Some((other, value));
            }
        }
        found
            .filter(|(other, _)| self.tolerance.is_none_or(|bound| time - other <= bound))
            .map(|(_, value)| value)
            .filter(|value| !self.has_condition || value % 2 == 0)
            .ok_or(Reason::NoMatch)
    }

    /// What a row gives: nothing, or a value.
    fn gives(&self, found: Result<i64, Reason>) -> Option<String> {
        match (found, self.policy) {
            (Ok(value), _) => Some(value.to_string()),
            (Err(_), Policy::Default) => Some("-7".into()),
            (Err(_), Policy::Null) => Some("NULL".into()),
            (Err(_), Policy::Sql) if self.is_left => Some("NULL".into()),
            (Err(_), Policy::Sql | Policy::Drop) => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reason {
    NullKey,
    TooOld,
    NoMatch,
}

/// The lines, and for each table its rows looked up, matched, with a NULL, too old, and missed.
fn loops(rows: &[Tick], tables: &[Joined]) -> (Vec<String>, Vec<[u64; 5]>) {
    let mut counts = vec![[0; 5]; tables.len()];
    let mut lines = Vec::new();
    'rows: for (id, row) in rows.iter().enumerate() {
        let mut line = id.to_string();
        for (table, counts) in tables.iter().zip(&mut counts) {
            let found = table.find(*row);
            counts[0] += 1;
            let at = match found {
                Ok(_) => 1,
                Err(Reason::NullKey) => 2,
                Err(Reason::TooOld) => 3,
                Err(Reason::NoMatch) => 4,
            };
            counts[at] += 1;
            match table.gives(found) {
                Some(value) => line = format!("{line}|{value}"),
                None => continue 'rows,
            }
        }
        lines.push(line);
    }
    lines.sort();
    (lines, counts)
}

fn reasons(counts: &LookupCounts) -> [u64; 5] {
    [
        counts.looked_up,
        counts.matched,
        counts.null_keys,
        counts.older_than_retention,
        counts.missed,
    ]
}

fn check(rows: &[Tick], tables: &[Joined], cut: usize) -> Result<(), TestCaseError> {
    let all = batch(vec![
        ("id", (0..rows.len() as i64).map(Some).collect()),
        ("k", rows.iter().map(|row| row.0).collect()),
        ("at", rows.iter().map(|row| row.1).collect()),
    ]);
    let cut = cut.min(rows.len());
    let stream = [all.slice(0, cut), all.slice(cut, rows.len() - cut)];
    let session = Session::builder().threads(2).build().unwrap();
    session.create_stream("s", all.schema()).unwrap();
    let (mut columns, mut joins, mut hints) = ("s.id".to_string(), String::new(), String::new());
    for (at, table) in tables.iter().enumerate() {
        let name = format!("t{at}");
        table.create(&session, &name);
        columns.push_str(&format!(", {name}.v"));
        joins.push_str(&table.join(&name));
        if let Some(word) = table.word().filter(|_| table.is_hinted) {
            hints.push_str(&format!("ON_MISS({name}, '{word}') "));
        }
    }
    let hints = if hints.is_empty() {
        hints
    } else {
        format!("/*+ {hints}*/ ")
    };
    let sql = format!("SELECT {hints}{columns} FROM s{joins}");
    for piece in &stream {
        session.push("s", piece.clone()).unwrap();
    }
    let (lines, counted) = loops(rows, tables);
    prop_assert_eq!(&sorted_lines(&query(&session, &sql)), &lines, "{}", sql);
    let counts = session.lookup_counts();
    prop_assert_eq!(counts.len(), tables.len());
    for ((counts, table), counted) in counts.iter().zip(tables).zip(&counted) {
        let settled = counts.padded + counts.dropped + counts.defaulted;
        prop_assert_eq!(settled, counts.looked_up - counts.matched, "{}", sql);
        // An INNER join without a policy does not tell rejected rows from matched ones.
        if table.policy != Policy::Sql || !table.has_condition || table.is_left {
            prop_assert_eq!(&reasons(counts), counted, "{}", sql);
        }
    }
    let prepared = session.prepare(&sql).unwrap();
    let batches: Vec<_> = stream
        .iter()
        .map(|batch| prepared.enrich(batch).unwrap())
        .collect();
    prop_assert_eq!(sorted_lines(&batches), lines, "prepared: {}", sql);
    prop_assert_eq!(prepared.lookup_counts(), counts, "prepared: {}", sql);
    Ok(())
}

#[test]
fn every_policy_does_as_a_loop_over_all_rows_does() {
    let case = (ticks(1..60), prop::collection::vec(joined(), 1..3), 0..60_usize);
    let mut runner = runner("misses of as-of joins", CASES);
    let ran = runner.run(&case, |(rows, tables, cut)| check(&rows, &tables, cut));
    if let Err(failure) = ran {
        panic!("FLETCHING_TEST_SEED={}: {failure}", seed());
    }
}

fn desk(options: &str) -> Session {
    let session = Session::builder().threads(1).build().unwrap();
    session
        .sql(&format!(
            "CREATE STREAM s (id BIGINT, k BIGINT, at BIGINT);
             CREATE TABLE r (k BIGINT, since BIGINT, v BIGINT, PRIMARY KEY (k))
                 WITH ('versioned' = 'true', version = 'since', retention = '10', {options});
             INSERT INTO r VALUES (1, 0, 10), (1, 100, 11)"
        ))
        .unwrap();
    session
}

const TEMPORAL: &str = "SELECT s.id, r.v FROM s JOIN r FOR SYSTEM_TIME AS OF s.at ON s.k = r.k";

fn stream(rows: &[(i64, Option<i64>, Option<i64>)]) -> RecordBatch {
    batch(vec![
        ("id", rows.iter().map(|row| Some(row.0)).collect()),
        ("k", rows.iter().map(|row| row.1).collect()),
        ("at", rows.iter().map(|row| row.2).collect()),
    ])
}

fn version(key: i64, since: i64, value: i64) -> RecordBatch {
    batch(vec![
        ("k", vec![Some(key)]),
        ("since", vec![Some(since)]),
        ("v", vec![Some(value)]),
    ])
}

#[test]
fn a_row_waits_for_a_key_without_rows_and_for_nothing_else() {
    let session = desk("on_miss = 'wait', miss.wait = '1min', miss.then = 'null'");
    let rows = [
        (1, Some(1), Some(100)),
        // No row of key 2: it waits, and again after one of key 3 has come.
        (2, Some(2), Some(105)),
        // Older than the retention, with a key and without: a miss at once.
        (3, Some(1), Some(89)),
        (4, Some(2), Some(5)),
        (5, None, Some(100)),
        (6, Some(2), None),
        (7, Some(2), Some(99)),
    ];
    session.push("s", stream(&rows)).unwrap();
    let waiting = {
        let session = session.clone();
        std::thread::spawn(move || query(&session, TEMPORAL))
    };
    let began = std::time::Instant::now();
    while session
        .lookup_counts()
        .first()
        .is_none_or(|counts| counts.parked < 2)
    {
        assert!(began.elapsed() < std::time::Duration::from_secs(20));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let versions = session.table("r").unwrap();
    versions.append(&version(3, 100, 30)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(!waiting.is_finished());
    // Then the key is there: as of 99 it has no row, which is a miss and no reason to wait on.
    versions.append(&version(2, 100, 20)).unwrap();
    let found = sorted_lines(&waiting.join().unwrap());
    assert_eq!(
        found,
        ["1|11", "2|20", "3|NULL", "4|NULL", "5|NULL", "6|NULL", "7|NULL"]
    );
    let counts = session.lookup_counts().remove(0);
    assert_eq!((counts.parked, counts.released, counts.expired), (2, 2, 0));
    assert_eq!(reasons(&counts), [7, 2, 2, 2, 1]);
    assert_eq!(counts.padded, 5);
}

#[test]
fn a_policy_of_an_as_of_join_warns_no_more() {
    let session = desk("on_miss = 'null'");
    session.push("s", stream(&[(1, Some(9), Some(100))])).unwrap();
    assert_eq!(sorted_lines(&query(&session, TEMPORAL)), ["1|NULL"]);
    assert_eq!(session.take_warnings(), []);
    let plan = sorted_lines(&query(&session, &format!("EXPLAIN ANALYZE {TEMPORAL}"))).join("\n");
    for part in [
        "ON MISS null",
        "on miss null",
        "r.looked_up=1",
        "r.missed=1",
        "r.padded=1",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
}
