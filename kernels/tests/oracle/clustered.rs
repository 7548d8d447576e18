//! `ClusteredRows` against the index they are made of, and against their own columns.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int16Array, Int64Array, StringViewArray};
use fletching_kernels::{
    BuildOptions, ClusteredRows, JoinKind, JoinPairs, KernelError, KeyIndex, KeyLayout, LookUp, LookedUp,
    NO_ROW, Picks, ProbeCursor, RowId, VisitedRows, gather_columns, join_pairs,
};

/// Columns to fetch: some values NULL, one of them wider than a cache line takes.
fn payload(rows: usize) -> Vec<ArrayRef> {
    let number = (0..rows as i64).map(|row| (row % 5 != 2).then_some(row));
    let small = (0..rows).map(|row| row as i16);
    let text = |salt: usize| -> ArrayRef {
        let text = (0..rows).map(move |row| (row % 7 != 3).then(|| format!("{salt} and then {row}")));
        Arc::new(text.collect::<StringViewArray>())
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(number.collect::<Int64Array>()),
        Arc::new(Int16Array::from_iter_values(small)),
        text(1),
    ];
    if rows % 2 == 1 {
        columns.extend([text(2), text(3), text(4)]);
    }
    columns
}

/// Returns all rows that each of some keys finds, from its head on.
fn all_rows(index: &KeyIndex, heads: &[RowId]) -> Vec<RowId> {
    let mut rows = Vec::new();
    for head in heads {
        let mut row = *head;
        rows.push(row);
        while row != NO_ROW {
            row = index.next_row(row);
            rows.push(row);
        }
    }
    rows
}

/// Joins by runs of neighbouring rows, so many pairs at a time; panics where a walk from row to row
/// gives other pairs, or marks other rows.
fn joins_by_runs_as_row_by_row(index: &KeyIndex, heads: &[RowId], limit: usize) {
    for kind in [JoinKind::Inner, JoinKind::Left, JoinKind::Right, JoinKind::Full] {
        let mut expected = Vec::new();
        for (probe, head) in (0_u32..).zip(heads) {
            if *head == NO_ROW && kind.pads_probe() {
                expected.push((probe, NO_ROW));
            }
            let mut row = *head;
            while row != NO_ROW {
                expected.push((probe, row));
                row = index.next_row(row);
            }
        }
        let visited = VisitedRows::new(index.row_count());
        let (mut cursor, mut out, mut joined) = (ProbeCursor::default(), JoinPairs::default(), Vec::new());
        let mut done = false;
        while !done {
            let marks = Some(&visited);
            done = join_pairs::<KernelError>(index, heads, kind, &mut cursor, limit, None, marks, &mut out)
                .unwrap();
            assert!(out.len() <= limit && (done || out.len() == limit));
            joined.extend(out.probe.iter().copied().zip(out.build.iter().copied()));
        }
        assert_eq!(joined, expected, "{kind:?}, {limit} at a time");
        if kind.needs_visited() {
            let found = |row: RowId| expected.iter().any(|(_, found)| *found == row);
            let rows = 0..u32::try_from(index.row_count().min(300)).unwrap();
            rows.for_each(|row| assert_eq!(visited.contains(row), found(row)));
        }
    }
}

/// Looks keys up in one pass, in every way; panics where something else comes than when they are located
/// and their rows gathered, as `heads` says. Says whether there was such a pass.
fn looks_up_as_located(clustered: &ClusteredRows, keys: &[ArrayRef], heads: &[RowId]) -> bool {
    let mut was_done = true;
    for drops_missing in [true, false] {
        let mut expected = (Vec::new(), Vec::new());
        for (position, head) in (0_u32..).zip(heads) {
            if *head == NO_ROW && !drops_missing {
                expected.0.push(position);
                expected.1.push(NO_ROW);
            }
            let mut place = *head;
            while place != NO_ROW {
                expected.0.push(position);
                expected.1.push(place);
                place = clustered.index().next_row(place);
            }
        }
        let gathered = clustered.gather(&Picks::new(&expected.1)).unwrap();
        let is_unique = clustered.index().is_unique();
        let limits = [(0, true), (1, false), (7, true), (64, false), (1 << 20, true)];
        // Very many rows a few at a time would only take long.
        let is_short = |(rows_max, _): &(usize, bool)| expected.1.len() / (*rows_max).max(1) < 20_000;
        for (rows_max, past_caches) in limits.into_iter().filter(is_short) {
            let how = LookUp {
                drops_missing,
                past_caches,
                rows_max,
            };
            let (mut at, mut full) = (0, 0);
            let emit = &mut |rows: LookedUp| -> Result<(), KernelError> {
                let (first, len) = (at, rows.places.len());
                at += len;
                full += usize::from(len == rows_max.max(1));
                assert_eq!(rows.places, expected.1[first..at]);
                match rows.positions {
                    Some(positions) => assert_eq!(positions, expected.0[first..at]),
                    None => {
                        assert!(is_unique && len == heads.len() && (0_u32..).take(len).eq(expected.0.clone()))
                    }
                }
                for (rows, all) in rows.columns.iter().zip(&gathered) {
                    assert_eq!(rows, &all.slice(first, len));
                }
                Ok(())
            };
            let Some(found) = clustered.look_up(keys, how, emit).unwrap() else {
                was_done = false;
                continue;
            };
            assert_eq!(at, expected.1.len());
            assert!(is_unique || full >= at / rows_max.max(1));
            assert_eq!(found, heads.iter().filter(|head| **head != NO_ROW).count());
        }
    }
    was_done
}

/// Says whether the layout can be clustered; panics where the copy answers otherwise.
pub(crate) fn agrees(index: &KeyIndex, build: &[ArrayRef], probe: &[ArrayRef]) -> bool {
    let columns = payload(index.row_count());
    let Some(clustered) = ClusteredRows::new(index, build, &columns).unwrap() else {
        return false;
    };
    assert_eq!(clustered.index().key_count(), index.key_count());
    assert_eq!(clustered.index().duplicate_rows(), index.duplicate_rows());
    assert_eq!(clustered.index().layout(), index.layout());
    let (mut expected, mut heads) = (Vec::new(), Vec::new());
    for keys in [probe, build] {
        index.locate(keys, None, &mut expected).unwrap();
        clustered.index().locate(keys, None, &mut heads).unwrap();
        assert_eq!(clustered.table_rows(&heads), expected);
        looks_up_as_located(&clustered, keys, &heads);

        for limit in [7, 64, 100_000] {
            joins_by_runs_as_row_by_row(clustered.index(), &heads[..heads.len().min(500)], limit);
        }
        let (expected, places) = (all_rows(index, &expected), all_rows(clustered.index(), &heads));
        assert_eq!(clustered.table_rows(&places), expected);
        let gathered = clustered.gather(&Picks::new(&places)).unwrap();
        assert_eq!(gathered, gather_columns(&columns, &expected).unwrap());
    }
    true
}

#[test]
fn many_rows_of_many_keys_or_few() {
    let scattered = |key: i64| key.wrapping_mul(0x0123_4567_89AB_CDEF);
    for keys in [1, 3, 1000, 60_001] {
        let build: ArrayRef = Arc::new(Int64Array::from_iter_values(
            (0..60_001).map(|row| scattered(row * 31 % keys)),
        ));
        let probe: ArrayRef = Arc::new(Int64Array::from_iter_values(
            (0..3000).map(|row| scattered(row * 7 % (2 * keys))),
        ));
        let options = BuildOptions {
            layout: Some(KeyLayout::Fixed8),
            ..BuildOptions::default()
        };
        let index = KeyIndex::build(std::slice::from_ref(&build), &options).unwrap();
        let some = probe.slice(0, if keys < 1000 { 20 } else { 3000 });
        let build = std::slice::from_ref(&build);
        let columns = payload(index.row_count());
        let clustered = ClusteredRows::new(&index, build, &columns).unwrap().unwrap();
        let (mut expected, mut heads) = (Vec::new(), Vec::new());
        let found = build[0].slice(0, if keys < 1000 { 20 } else { 3000 });
        clustered
            .index()
            .locate(std::slice::from_ref(&found), None, &mut heads)
            .unwrap();
        assert!(looks_up_as_located(&clustered, &[found], &heads));
        let some = std::slice::from_ref(&some);
        index.locate(some, None, &mut expected).unwrap();
        clustered.index().locate(some, None, &mut heads).unwrap();
        let (expected, places) = (all_rows(&index, &expected), all_rows(clustered.index(), &heads));
        assert_eq!(clustered.table_rows(&places), expected);
        let gathered = clustered.gather(&Picks::new(&places)).unwrap();
        assert_eq!(gathered, gather_columns(&columns, &expected).unwrap());
    }
}

/// Keys that no word of the table can hold are absent, and keep none from being looked up in one pass.
#[test]
fn keys_beyond_the_table_s_are_absent() {
    let account = |rows: std::ops::Range<i64>| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.map(|row| row * 10_003)))
    };
    let book = |rows: std::ops::Range<i64>| -> ArrayRef {
        let text = rows.map(|row| match row % 10 {
            9 => format!("a longer book {row}"),
            _ => format!("B{}", row % 100),
        });
        Arc::new(StringViewArray::from_iter_values(text))
    };
    let short = |rows: std::ops::Range<i64>| -> ArrayRef {
        let text = rows.map(|row| format!("B{}", row % 100));
        Arc::new(StringViewArray::from_iter_values(text))
    };
    let build = [account(1000..60_001), short(1000..60_001)];
    let index = KeyIndex::build(&build, &BuildOptions::default()).unwrap();
    assert_eq!(index.layout(), KeyLayout::Fixed8);
    let clustered = ClusteredRows::new(&index, &build, &payload(index.row_count())).unwrap();
    let clustered = clustered.unwrap();
    // Rather more are found than not, since only then is one pass made.
    let probe = [account(500..4000), book(500..4000)];
    let (mut heads, mut expected) = (Vec::new(), Vec::new());
    clustered.index().locate(&probe, None, &mut heads).unwrap();
    index.locate(&probe, None, &mut expected).unwrap();
    assert_eq!(clustered.table_rows(&heads), expected);
    assert!(looks_up_as_located(&clustered, &probe, &heads));
}

#[test]
fn refuses_what_does_not_fit() {
    let key: ArrayRef = Arc::new(Int64Array::from(vec![1, 1 << 40]));
    let index = KeyIndex::build(std::slice::from_ref(&key), &BuildOptions::default()).unwrap();
    let code = |keys: &[ArrayRef], columns: &[ArrayRef]| {
        let made = ClusteredRows::new(&index, keys, columns);
        made.unwrap_err().code()
    };
    let short = key.slice(0, 1);
    let flags: ArrayRef = Arc::new(arrow_array::BooleanArray::from(vec![true, false]));
    let (key, short) = (std::slice::from_ref(&key), std::slice::from_ref(&short));
    assert_eq!(code(&[], key), "key_count");
    assert_eq!(code(short, key), "length_mismatch");
    assert_eq!(code(key, short), "length_mismatch");
    assert_eq!(code(key, &[flags]), "not_interleavable");
    let rows = ClusteredRows::new(&index, key, key).unwrap().unwrap();
    assert!(matches!(
        rows.gather(&Picks::new(&[2])),
        Err(KernelError::RowOutOfRange { .. })
    ));
}
