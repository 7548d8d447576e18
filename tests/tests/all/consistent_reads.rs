//! One statement reads one version of each table, and tables made from others in the versions that
//! belong to these, while a writer changes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use fletching::Session;

use crate::sessions::{lines, query};

const ACCOUNTS: i64 = 300;
const TURNS: usize = 60;

fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// Queries whose first two columns are equal in any one version of the tables.
const EQUAL: &[&str] = &[
    "SELECT (SELECT sum(money) FROM accounts), (SELECT sum(money) FROM accounts)",
    "SELECT sum(a.money), sum(b.money) FROM accounts a JOIN accounts b ON a.id = b.id",
    "SELECT sum(a.money), sum(b.money) FROM accounts a JOIN accounts b ON a.id + 0 = b.id + 0",
    "SELECT (SELECT turn FROM accounts WHERE id = 1), max(turn) FROM accounts",
    "SELECT count(*), 0 FROM accounts a WHERE NOT EXISTS (SELECT 1 FROM accounts b WHERE b.id = a.id AND b.money = a.money)",
    "SELECT count(*), 0 FROM accounts a WHERE a.turn NOT IN (SELECT turn FROM accounts)",
    "SELECT count(*), 0 FROM accounts a WHERE a.turn <> (SELECT max(b.turn) FROM accounts b WHERE b.id = a.id)",
    // Tables made from it belong to the version that is read beside them.
    "SELECT (SELECT sum(money) FROM accounts), (SELECT money FROM total)",
    "SELECT (SELECT sum(money) FROM same), (SELECT sum(money) FROM by_group)",
    "SELECT count(*), 0 FROM accounts a JOIN same s ON a.id = s.id WHERE a.money <> s.money",
    "SELECT (SELECT money FROM total), (SELECT money FROM total_of_groups)",
    // Of two tables that a writer changes one after the other the second is never ahead.
    "SELECT greatest(0, (SELECT max(turn) FROM mirror) - (SELECT max(turn) FROM accounts)), 0",
];

/// Sets a flag when it is dropped.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn session() -> Session {
    let session = Session::builder().threads(2).build().unwrap();
    query(
        &session,
        "CREATE TABLE accounts (id BIGINT, money BIGINT, turn BIGINT, PRIMARY KEY (id)) WITH (changelog = 'upsert');
         CREATE TABLE mirror (id BIGINT, turn BIGINT, PRIMARY KEY (id)) WITH (changelog = 'upsert');",
    );
    query(
        &session,
        &format!(
            "INSERT INTO accounts SELECT value, 100, 0 FROM generate_series(1, {ACCOUNTS}); INSERT INTO mirror VALUES (1, 0)"
        ),
    );
    query(
        &session,
        "CREATE TABLE same AS SELECT id, money FROM accounts;
         CREATE TABLE total AS SELECT sum(money) AS money FROM accounts;
         CREATE TABLE by_group AS SELECT id % 7 AS g, sum(money) AS money FROM accounts GROUP BY id % 7;
         CREATE TABLE total_of_groups AS SELECT sum(money) AS money FROM by_group",
    );
    session
}

#[test]
fn one_statement_reads_what_belongs_together() {
    let session = session();
    let (accounts, mirror) = (
        session.table("accounts").unwrap(),
        session.table("mirror").unwrap(),
    );
    let ids = RecordBatch::try_from_iter([("id", ints(1..=ACCOUNTS))]).unwrap();
    let sql = "SELECT s.id, a.money, b.money, c.money FROM s JOIN accounts a ON s.id = a.id
               JOIN accounts b ON s.id = b.id JOIN same c ON s.id = c.id";
    let prepared = session.prepare_over("s", ids.schema(), sql).unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &is_over;
        scope.spawn(move || {
            let mut turn = 0;
            while !over.load(Relaxed) {
                turn += 1;
                // All rows change in one commit, and their sum too.
                let money = (1..=ACCOUNTS).map(|id| (id * turn) % 997);
                let columns = [
                    ("id", ints(1..=ACCOUNTS)),
                    ("money", ints(money)),
                    ("turn", ints((1..=ACCOUNTS).map(|_| turn))),
                ];
                accounts
                    .upsert(&RecordBatch::try_from_iter(columns).unwrap())
                    .unwrap();
                mirror
                    .upsert(&RecordBatch::try_from_iter([("id", ints([1])), ("turn", ints([turn]))]).unwrap())
                    .unwrap();
            }
        });
        // Also when a check fails, or the writer would go on for ever.
        let _over = SetAtEnd(over);
        for turn in 0..TURNS {
            for sql in EQUAL {
                let rows = lines(&query(&session, sql));
                let (one, other) = rows[0].split_once('|').unwrap();
                assert_eq!(one, other, "turn {turn}: {sql}");
            }
            let joined = prepared.enrich(&ids).unwrap();
            let sum = |column: usize| -> i64 {
                joined
                    .column(column)
                    .as_primitive::<Int64Type>()
                    .iter()
                    .flatten()
                    .sum()
            };
            assert_eq!((sum(1), sum(1)), (sum(2), sum(3)), "turn {turn}");
        }
    });
}
