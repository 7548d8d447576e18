//! `KeyIndex` against a `BTreeMap` from code tuples to rows.

use std::collections::BTreeMap;

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use fletching_kernels::{
    BuildOptions, ClusteredRows, KernelError, KeyIndex, KeyLayout, NO_ROW, NullEquality, RowId,
};
use proptest::prelude::*;

use crate::columns::{Code, Encoding, column, encoding, fold, key_types};

/// One random case: key types, each side's encodings and codes, and how to build.
#[derive(Debug, Clone)]
struct Case {
    types: Vec<DataType>,
    build_encodings: Vec<(Encoding, bool)>,
    probe_encodings: Vec<(Encoding, bool)>,
    build: Vec<Vec<Code>>,
    probe: Vec<Vec<Code>>,
    selection: Vec<prop::sample::Index>,
    options: BuildOptions,
}

fn codes(width: usize, rows: usize) -> impl Strategy<Value = Vec<Vec<Code>>> {
    (1_u8..60).prop_flat_map(move |domain| {
        let code = prop::option::weighted(0.85, 0..domain);
        prop::collection::vec(prop::collection::vec(code, width), 0..rows)
    })
}

fn options() -> impl Strategy<Value = BuildOptions> {
    use KeyLayout::{Bytes, Dense, Fixed8, Fixed16, Rows};
    let layout = prop_oneof![
        2 => Just(None),
        3 => prop::sample::select(vec![Dense, Fixed8, Fixed16, Bytes, Rows]).prop_map(Some),
    ];
    let null_equality = prop::sample::select(vec![
        NullEquality::NullEqualsNothing,
        NullEquality::NullEqualsNull,
    ]);
    let hash_mask = prop::sample::select(vec![u64::MAX, u64::MAX, 7, 0]);
    (layout, null_equality, hash_mask, any::<bool>()).prop_map(
        |(layout, null_equality, hash_mask, parallel)| BuildOptions {
            null_equality,
            layout,
            hash_mask,
            parallel,
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let types = prop_oneof![
        3 => prop::collection::vec(prop::sample::select(key_types()), 1),
        2 => prop::collection::vec(prop::sample::select(key_types()), 2..4),
    ];
    types.prop_flat_map(|types| {
        let width = types.len();
        (
            Just(types),
            prop::collection::vec(encoding(), width),
            prop::collection::vec(encoding(), width),
            codes(width, 120),
            codes(width, 300),
            prop::collection::vec(any::<prop::sample::Index>(), 0..50),
            options(),
        )
            .prop_map(
                |(types, build_encodings, probe_encodings, build, probe, selection, options)| Case {
                    types,
                    build_encodings,
                    probe_encodings,
                    build,
                    probe,
                    selection,
                    options,
                },
            )
    })
}

fn columns(types: &[DataType], encodings: &[(Encoding, bool)], rows: &[Vec<Code>]) -> Vec<ArrayRef> {
    (0..types.len())
        .map(|at| {
            let codes: Vec<Code> = rows.iter().map(|row| row[at]).collect();
            column(&types[at], encodings[at], &codes)
        })
        .collect()
}

/// Returns the key as the index sees it, or nothing where it matches nothing.
fn key(case: &Case, row: &[Code]) -> Option<Vec<Code>> {
    let key: Vec<Code> = case
        .types
        .iter()
        .zip(row)
        .map(|(t, code)| fold(t, *code))
        .collect();
    let nulls_match = case.options.null_equality == NullEquality::NullEqualsNull;
    (nulls_match || key.iter().all(Option::is_some)).then_some(key)
}

fn check(case: &Case) -> Result<(), TestCaseError> {
    let build = columns(&case.types, &case.build_encodings, &case.build);
    let index = match KeyIndex::build(&build, &case.options) {
        Err(KernelError::LayoutNotPossible { .. }) if case.options.layout.is_some() => {
            return Ok(());
        }
        index => index.unwrap(),
    };
    let mut map: BTreeMap<Vec<Code>, Vec<RowId>> = BTreeMap::new();
    for (row, codes) in (0..).zip(&case.build) {
        if let Some(key) = key(case, codes) {
            map.entry(key).or_default().push(row);
        }
    }
    prop_assert_eq!(index.row_count(), case.build.len());
    prop_assert_eq!(index.key_count(), map.len());
    let duplicates: usize = map.values().map(|rows| rows.len() - 1).sum();
    prop_assert_eq!(index.duplicate_rows(), duplicates);
    prop_assert_eq!(index.is_unique(), duplicates == 0);
    let first = map
        .values()
        .filter(|rows| rows.len() > 1)
        .map(|rows| (rows[0], rows[1]))
        .min();
    prop_assert_eq!(index.first_duplicate(), first);
    for rows in map.values() {
        for (at, row) in rows.iter().enumerate() {
            prop_assert_eq!(index.next_row(*row), rows.get(at + 1).copied().unwrap_or(NO_ROW));
        }
    }

    let expected: Vec<RowId> = case
        .probe
        .iter()
        .map(|codes| {
            key(case, codes)
                .and_then(|key| map.get(&key))
                .map_or(NO_ROW, |rows| rows[0])
        })
        .collect();
    let probe = columns(&case.types, &case.probe_encodings, &case.probe);
    let mut heads = vec![5; 3];
    index.locate(&probe, None, &mut heads).unwrap();
    prop_assert_eq!(&heads, &expected);
    let is_clustered = crate::clustered::agrees(&index, &build, &probe);
    let is_word = matches!(index.layout(), KeyLayout::Fixed8 | KeyLayout::Fixed16);
    // Keys whose hashes are cut share them, and then cannot be clustered.
    let may_be = if case.options.hash_mask == u64::MAX {
        is_word
    } else {
        is_word && is_clustered
    };
    prop_assert_eq!(is_clustered, may_be);

    // A selection, and batches cut elsewhere, change nothing.
    if !expected.is_empty() {
        let selection: Vec<u32> = case
            .selection
            .iter()
            .map(|at| at.index(expected.len()) as u32)
            .collect();
        index.locate(&probe, Some(&selection), &mut heads).unwrap();
        let selected: Vec<RowId> = selection.iter().map(|at| expected[*at as usize]).collect();
        prop_assert_eq!(&heads, &selected);
        let cut = case.selection.len().min(expected.len());
        for (start, end) in [(0, cut), (cut, expected.len())] {
            let piece: Vec<ArrayRef> = probe.iter().map(|c| c.slice(start, end - start)).collect();
            index.locate(&piece, None, &mut heads).unwrap();
            prop_assert_eq!(&heads, &expected[start..end]);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn finds_what_a_map_finds(case in case()) {
        check(&case)?;
    }
}

#[test]
fn every_type_alone_in_every_layout() {
    let layouts = [
        None,
        Some(KeyLayout::Dense),
        Some(KeyLayout::Fixed8),
        Some(KeyLayout::Fixed16),
        Some(KeyLayout::Bytes),
        Some(KeyLayout::Rows),
    ];
    let rows = |step: usize| -> Vec<Vec<Code>> {
        (0..400)
            .map(|row| vec![(row % 7 != 3).then_some((row * step % 256) as u8)])
            .collect()
    };
    let plain = vec![(Encoding::Plain, false)];
    let mut built = 0;
    for data_type in key_types() {
        for layout in layouts {
            for null_equality in [NullEquality::NullEqualsNothing, NullEquality::NullEqualsNull] {
                let case = Case {
                    types: vec![data_type.clone()],
                    build_encodings: plain.clone(),
                    probe_encodings: plain.clone(),
                    build: rows(3),
                    probe: rows(1),
                    selection: Vec::new(),
                    options: BuildOptions {
                        null_equality,
                        layout,
                        ..BuildOptions::default()
                    },
                };
                let build = columns(&case.types, &case.build_encodings, &case.build);
                built += usize::from(KeyIndex::build(&build, &case.options).is_ok());
                check(&case).unwrap();
            }
        }
    }
    // Every type in its own layout and in rows, most in fixed ones too.
    assert!(
        built > 2 * 3 * key_types().len(),
        "{built} layouts held their keys"
    );
}

#[test]
fn large_and_parallel_builds_agree_with_small_ones() {
    let keys = |rows: i64| -> ArrayRef {
        let key = |row: i64| (row * 7919 % 90_001).wrapping_mul(0x0123_4567_89AB_CDEF);
        std::sync::Arc::new(
            (0..rows)
                .map(|row| (row % 11 != 5).then_some(key(row)))
                .collect::<arrow_array::Int64Array>(),
        )
    };
    let text = |keys: &ArrayRef| arrow_cast::cast(keys, &DataType::Utf8).unwrap();
    let (build, probe) = (keys(150_000), keys(100_000).slice(777, 50_000));
    for (build, probe) in [(text(&build), text(&probe)), (build.clone(), probe.clone())] {
        let mut answers = Vec::new();
        for parallel in [false, true] {
            let options = BuildOptions {
                parallel,
                ..BuildOptions::default()
            };
            let index = KeyIndex::build(std::slice::from_ref(&build), &options).unwrap();
            let mut heads = Vec::new();
            index
                .locate(std::slice::from_ref(&probe), None, &mut heads)
                .unwrap();
            let chains: Vec<RowId> = (0..150_000).map(|row| index.next_row(row)).collect();
            answers.push((heads, chains, index.key_count(), index.first_duplicate()));
        }
        assert!(answers[0] == answers[1]);
        let found = answers[0].0.iter().filter(|head| **head != NO_ROW).count();
        assert_eq!(found, probe.len() - probe.null_count());
    }
}

#[test]
fn probes_that_mostly_find_nothing_are_answered_alike() {
    // Large enough for a filter, which is made after as many absent keys as there are rows.
    let scattered = |numbers: &mut dyn Iterator<Item = i64>| -> ArrayRef {
        let key = |number: i64| number.wrapping_mul(0x0123_4567_89AB_CDEF);
        std::sync::Arc::new(numbers.map(key).collect::<arrow_array::Int64Array>())
    };
    let rows = 40_000;
    let build = scattered(&mut (0..rows));
    let few = scattered(&mut (0..50_000).map(|row| row * 10));
    let all = scattered(&mut (0..50_000).map(|row| row * 7 % rows));
    let index = KeyIndex::build(std::slice::from_ref(&build), &BuildOptions::default()).unwrap();
    let clustered = ClusteredRows::new(&index, std::slice::from_ref(&build), std::slice::from_ref(&build));
    let clustered = clustered.unwrap().unwrap();
    let (bytes, clustered_bytes) = (index.heap_bytes(), clustered.heap_bytes());
    let mut heads = Vec::new();
    for turn in 0..3 {
        for keys in [&few, &all] {
            clustered
                .index()
                .locate(std::slice::from_ref(keys), None, &mut heads)
                .unwrap();
            let found = clustered.table_rows(&heads);
            index
                .locate(std::slice::from_ref(keys), None, &mut heads)
                .unwrap();
            assert_eq!(found, heads, "turn {turn}");
        }
        index
            .locate(std::slice::from_ref(&few), None, &mut heads)
            .unwrap();
        for (row, head) in (0..).zip(&heads) {
            let expected = if row * 10 < rows {
                row * 10
            } else {
                i64::from(NO_ROW)
            };
            assert_eq!(i64::from(*head), expected);
        }
        index
            .locate(std::slice::from_ref(&all), None, &mut heads)
            .unwrap();
        assert!(
            (0..)
                .zip(&heads)
                .all(|(row, head)| i64::from(*head) == row * 7 % rows)
        );
    }
    assert!(index.heap_bytes() > bytes, "no filter was made");
    assert!(clustered.heap_bytes() > clustered_bytes, "no filter was made");
}

#[test]
fn refuses_what_does_not_fit() {
    let ints = column(&DataType::Int32, (Encoding::Plain, false), &[Some(1)]);
    let text = column(&DataType::Utf8, (Encoding::Plain, false), &[Some(1)]);
    let options = BuildOptions::default();
    let index = KeyIndex::build(std::slice::from_ref(&ints), &options).unwrap();
    let mut heads = Vec::new();
    let mut code =
        |keys: &[ArrayRef], selection| index.locate(keys, selection, &mut heads).unwrap_err().code();
    assert_eq!(code(std::slice::from_ref(&text), None), "key_type_mismatch");
    assert_eq!(code(&[ints.clone(), ints.clone()], None), "key_count");
    assert_eq!(code(std::slice::from_ref(&ints), Some(&[1])), "row_out_of_range");
    assert_eq!(KeyIndex::build(&[], &options).unwrap_err().code(), "key_count");
    let uneven = [ints.clone(), ints.slice(0, 0)];
    assert_eq!(
        KeyIndex::build(&uneven, &options).unwrap_err().code(),
        "length_mismatch"
    );
    let forced = BuildOptions {
        layout: Some(KeyLayout::Bytes),
        ..options
    };
    assert_eq!(
        KeyIndex::build(&[ints], &forced).unwrap_err().code(),
        "layout_not_possible"
    );
}
