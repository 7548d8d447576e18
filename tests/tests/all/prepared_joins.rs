//! Prepared joins against nested loops, and against themselves over batches cut elsewhere.
//!
//! A query is prepared once per kind, key and condition, and called with many random streams.

use arrow::array::RecordBatch;
use fletching::{Prepared, Session};
use proptest::prelude::{prop, prop_assert_eq};
use proptest::test_runner::TestCaseError;

use crate::join_cases::{CUTS, JoinCase, cut};
use crate::key_values::KEYS_TESTED;
use crate::nested_loop::{self, Condition, Kind, Pair, SideRow, side_rows};
use crate::seed::{draw, runner, seed};

/// Streams drawn for each prepared query: 992 queries make 7,936 cases.
const STREAMS_PER_QUERY: u32 = 8;

fn prepare(case: JoinCase, table: &[SideRow]) -> Prepared {
    let session = Session::builder().threads(2).build().unwrap();
    session.create_stream("s", case.side(&[]).schema()).unwrap();
    session.create_table("t", vec![case.side(table)], &[]).unwrap();
    let sql = case.sql(case.positions());
    session
        .prepare(&sql)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

fn enrich(case: JoinCase, query: &Prepared, batches: &[RecordBatch]) -> Result<Vec<Pair>, TestCaseError> {
    let joined: Result<Vec<_>, _> = batches.iter().map(|batch| query.enrich(batch)).collect();
    let joined = joined.map_err(|error| TestCaseError::fail(error.to_string()))?;
    Ok(case.pairs(&joined))
}

fn check(
    case: JoinCase,
    query: &Prepared,
    stream: &[SideRow],
    table: &[SideRow],
    rows_per_batch: usize,
) -> Result<(), TestCaseError> {
    let batch = case.side(stream);
    let whole = enrich(case, query, std::slice::from_ref(&batch))?;
    let mut found = whole.clone();
    let (left, right) = (case.as_compared(stream), case.as_compared(table));
    let mut expected = nested_loop::join(case.kind, case.condition, &left, &right);
    found.sort();
    expected.sort();
    prop_assert_eq!(&found, &expected, "{:?}", case);
    if case.kind.is_per_row() {
        let pieces = enrich(case, query, &cut(&batch, rows_per_batch))?;
        prop_assert_eq!(&pieces, &whole, "{:?} in batches of {}", case, rows_per_batch);
    }
    Ok(())
}

fn check_kind(kind: Kind) {
    for keys in KEYS_TESTED {
        for condition in Condition::ALL {
            let case = JoinCase {
                kind,
                keys,
                condition,
            };
            let mut runner = runner(&format!("prepared {case:?}"), STREAMS_PER_QUERY);
            let table = draw(&side_rows(30), &mut runner);
            let query = prepare(case, &table);
            let streams = (side_rows(160), prop::sample::select(CUTS.to_vec()));
            let outcome = runner.run(&streams, |(stream, rows_per_batch)| {
                check(case, &query, &stream, &table, rows_per_batch)
            });
            if let Err(failure) = outcome {
                panic!(
                    "FLETCHING_TEST_SEED={}: {case:?}\ntable: {table:?}\n{failure}",
                    seed()
                );
            }
        }
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
    prepared_inner_joins_are_nested_loops Inner;
    prepared_left_joins_are_nested_loops Left;
    prepared_right_joins_are_nested_loops Right;
    prepared_full_joins_are_nested_loops Full;
    prepared_left_semi_joins_are_nested_loops LeftSemi;
    prepared_left_anti_joins_are_nested_loops LeftAnti;
    prepared_right_semi_joins_are_nested_loops RightSemi;
    prepared_right_anti_joins_are_nested_loops RightAnti;
}

/// The oracle itself, on a case small enough to read.
#[test]
fn the_oracle_knows_what_null_means() {
    let row = |key, number| SideRow {
        key,
        number: Some(number),
    };
    let left = [row(Some(1), 1), row(None, 2)];
    let right = [row(Some(1), 9), row(None, 0)];
    let join = |kind, at: usize| nested_loop::join(kind, Condition::ALL[at], &left, &right);
    assert_eq!(join(Kind::Inner, 0), [(Some(0), Some(0))]);
    assert_eq!(join(Kind::Inner, 2), [(Some(0), Some(0)), (Some(1), Some(1))]);
    assert_eq!(
        join(Kind::Full, 3),
        [(Some(0), Some(0)), (Some(1), None), (None, Some(1))]
    );
    assert_eq!(join(Kind::LeftAnti, 0), [(Some(1), None)]);
    assert_eq!(Kind::ALL.len(), 8);
}
