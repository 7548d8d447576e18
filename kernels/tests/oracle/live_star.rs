//! A star join over `LiveTable`s against the same join over indexes of the same rows.

use std::collections::BTreeMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray};
use fletching_kernels::{
    BuildOptions, KernelError, KeyIndex, LiveOptions, LiveTable, NO_ROW, RowId, StarArm, StarFinder,
    StarKind, StarProbe, StarRows, select, star_join,
};
use proptest::prelude::*;

use crate::live_bounds::{ints, pairs};

/// What is known of a row of an arm's table.
type Values<'a> = dyn Fn(usize, RowId) -> i64 + 'a;

/// Looks every arm up by one column; arms may want an even value.
struct Probe<'a> {
    keys: ArrayRef,
    wants_even: [bool; 2],
    values: &'a Values<'a>,
}

impl StarProbe for Probe<'_> {
    type Error = KernelError;

    fn keys(&mut self, _arm: usize, rows: &StarRows) -> Result<Vec<ArrayRef>, KernelError> {
        Ok(vec![select(&self.keys, rows.probe.as_deref())?])
    }

    fn has_residual(&self, arm: usize) -> bool {
        self.wants_even[arm]
    }

    fn residual(&mut self, arm: usize, rows: &StarRows) -> Result<Option<BooleanArray>, KernelError> {
        let even = |row: &RowId| Some((self.values)(arm, *row) % 2 == 0);
        Ok(Some(rows.arms[arm].iter().map(even).collect()))
    }
}

/// Joins, and tells each row's probe position and the values of its arms.
fn join(
    finders: [StarFinder<'_>; 2],
    kinds: [StarKind; 2],
    probe: &mut Probe<'_>,
) -> Vec<(u32, Vec<Option<i64>>)> {
    let arms = [0, 1].map(|at| StarArm {
        finder: finders[at],
        kind: kinds[at],
    });
    let mut joined = Vec::new();
    let rows = probe.keys.len();
    star_join(&arms, rows, probe, 7, &mut |rows| {
        chunks_into(&mut joined, &rows);
        Ok(())
    })
    .unwrap();
    let value = |arm, row| (row != NO_ROW).then(|| (probe.values)(arm, row));
    let told = joined
        .into_iter()
        .map(|(position, rows): (u32, Vec<Option<RowId>>)| {
            let values = rows.into_iter().enumerate();
            (
                position,
                values
                    .map(|(arm, row)| row.and_then(|row| value(arm, row)))
                    .collect(),
            )
        });
    told.collect()
}

fn chunks_into(joined: &mut Vec<(u32, Vec<Option<RowId>>)>, rows: &StarRows) {
    for at in 0..rows.len {
        let arms = rows.arms.iter().map(|arm| arm.get(at).copied());
        joined.push((rows.probe_position(at).unwrap(), arms.collect()));
    }
}

fn check(
    tables: [Vec<(i64, i64)>; 2],
    deleted: Vec<i64>,
    probes: Vec<i64>,
    kinds: [StarKind; 2],
    wants_even: [bool; 2],
) -> Result<(), TestCaseError> {
    let live: Vec<LiveTable> = tables
        .iter()
        .map(|rows| {
            let (ids, values) = rows.iter().copied().unzip();
            let batch = pairs(ids, values);
            let table = LiveTable::new(batch.schema(), &[0], LiveOptions::default()).unwrap();
            table.upsert(&batch).unwrap();
            table.delete(&[ints(deleted.iter().copied())]).unwrap();
            table
        })
        .collect();
    let snapshots: Vec<_> = live.iter().map(LiveTable::snapshot).collect();
    let plain: Vec<Vec<(i64, i64)>> = tables
        .iter()
        .map(|rows| {
            let mut map: BTreeMap<i64, i64> = rows.iter().copied().collect();
            map.retain(|id, _| !deleted.contains(id));
            map.into_iter().collect()
        })
        .collect();
    let indexes: Vec<KeyIndex> = plain
        .iter()
        .map(|rows| {
            let ids = ints(rows.iter().map(|(id, _)| *id));
            KeyIndex::build(&[ids], &BuildOptions::default()).unwrap()
        })
        .collect();

    let of_live = |arm: usize, row: RowId| {
        let value = snapshots[arm].gather(1, &[row]).unwrap();
        value.as_primitive::<Int64Type>().value(0)
    };
    let of_plain = |arm: usize, row: RowId| plain[arm][row as usize].1;
    let keys = ints(probes);
    let probe = |values| Probe {
        keys: keys.clone(),
        wants_even,
        values,
    };
    let [a, b] = [0, 1].map(|at| StarFinder::Live(&snapshots[at]));
    let found = join([a, b], kinds, &mut probe(&of_live as &Values<'_>));
    let [a, b] = [0, 1].map(|at| StarFinder::Key(&indexes[at]));
    let expected = join([a, b], kinds, &mut probe(&of_plain as &Values<'_>));
    prop_assert_eq!(found, expected);
    Ok(())
}

fn rows() -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((0..40_i64, 0..1000_i64), 0..60)
}

fn kind() -> impl Strategy<Value = StarKind> {
    use StarKind::{Inner, Left, LeftAnti, LeftSemi};
    prop::sample::select(vec![Inner, Left, LeftSemi, LeftAnti])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn joins_as_over_indexes(
        tables in [rows(), rows()],
        deleted in prop::collection::vec(0..40_i64, 0..10),
        probes in prop::collection::vec(0..50_i64, 0..60),
        kinds in [kind(), kind()],
        wants_even in [any::<bool>(), any::<bool>()],
    ) {
        check(tables, deleted, probes, kinds, wants_even)?;
    }
}
