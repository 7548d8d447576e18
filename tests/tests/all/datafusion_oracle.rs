//! The same SQL on Fletching and on plain DataFusion gives the same rows: every kind of join,
//! every key type, NULL keys, duplicates, residual conditions and empty sides.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::join_cases::{JoinCase, cut};
use crate::key_values::KEYS_TESTED;
use crate::nested_loop::{Condition, Kind, SideRow, side_rows};
use crate::seed::{draw, runner, seed};
use crate::sessions::{query, session_with, sorted_lines};

/// Runs a query on DataFusion's own session.
pub(crate) fn on_datafusion(stream: &[RecordBatch], table: &RecordBatch, sql: &str) -> Vec<RecordBatch> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    let as_table = |batches: &[RecordBatch]| {
        Arc::new(MemTable::try_new(batches[0].schema(), vec![batches.to_vec()]).unwrap())
    };
    context.register_table("s", as_table(stream)).unwrap();
    context
        .register_table("t", as_table(std::slice::from_ref(table)))
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let frame = context.sql(sql).await.unwrap();
        frame.collect().await.unwrap()
    })
}

fn check(case: JoinCase, left: &[SideRow], right: &[SideRow], rows_per_batch: usize) {
    let (stream, table) = (cut(&case.side(left), rows_per_batch), case.side(right));
    let sql = case.sql("*");
    let ours = sorted_lines(&query(&session_with(&stream, &table), &sql));
    let theirs = sorted_lines(&on_datafusion(&stream, &table, &sql));
    assert_eq!(ours, theirs, "{case:?} (seed {})\n{sql}", seed());
}

fn check_kind(kind: Kind) {
    let mut runner = runner(&format!("datafusion {kind:?}"), 1);
    for keys in KEYS_TESTED {
        for (at, condition) in Condition::ALL.into_iter().enumerate() {
            let case = JoinCase {
                kind,
                keys,
                condition,
            };
            let left = draw(&side_rows(60), &mut runner);
            let right = draw(&side_rows(20), &mut runner);
            check(case, &left, &right, [7, 8192, 1, 49][at]);
        }
        let case = JoinCase {
            kind,
            keys,
            condition: Condition::ALL[0],
        };
        let rows = draw(&side_rows(10), &mut runner);
        check(case, &[], &rows, 8192);
        check(case, &rows, &[], 8192);
    }
}

macro_rules! every_kind {
    ($($name:ident $kind:ident;)*) => {
        $(
            #[test]
            fn $name() {
                check_kind(Kind::$kind);
            }
        )*
    };
}

every_kind! {
    inner_joins_are_datafusions Inner;
    left_joins_are_datafusions Left;
    right_joins_are_datafusions Right;
    full_joins_are_datafusions Full;
    left_semi_joins_are_datafusions LeftSemi;
    left_anti_joins_are_datafusions LeftAnti;
    right_semi_joins_are_datafusions RightSemi;
    right_anti_joins_are_datafusions RightAnti;
}
