//! `gather` and `select` against values written as text, row by row.

use std::sync::Arc;

use arrow_array::builder::{Int32Builder, MapBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int8Array, Int32Array, StringArray, UnionArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, Field, UnionFields};
use fletching_kernels::{Interleaved, NO_ROW, Picks, RowId, gather, gather_columns, gather_known, select};
use proptest::prelude::*;

use crate::columns::{Code, Encoding, column, encoding, key_types};

fn as_text(column: &ArrayRef) -> Vec<String> {
    let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::new()).unwrap();
    // The NULL of a union or of runs is one of a child.
    let nulls = column.logical_nulls();
    let text = |row| match formatter.value(row).try_to_string() {
        _ if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) => "NULL".to_owned(),
        Ok(text) => text,
        // Some values have no date; the same one gives the same complaint.
        Err(error) => error.to_string(),
    };
    (0..column.len()).map(text).collect()
}

fn check(column: &ArrayRef, rows: &[RowId]) -> Result<(), TestCaseError> {
    let picked = gather(column, rows).unwrap();
    prop_assert_eq!(picked.data_type(), column.data_type());
    picked.to_data().validate_full().unwrap();
    let texts = as_text(column);
    let expected: Vec<String> = rows
        .iter()
        .map(|row| match *row {
            NO_ROW => "NULL".to_owned(),
            row => texts[row as usize].clone(),
        })
        .collect();
    prop_assert_eq!(as_text(&picked), expected);
    let past_caches = Picks::new(rows).past_caches().gather(column).unwrap();
    prop_assert_eq!(as_text(&past_caches), as_text(&picked));
    let has_missing = rows.contains(&NO_ROW);
    match gather_known(column, rows) {
        Ok(known) => prop_assert!(!has_missing && known.to_data() == picked.to_data()),
        Err(error) => prop_assert!(has_missing && error.code() == "row_out_of_range"),
    }
    let both = gather_columns(&[column.clone(), column.clone()], rows).unwrap();
    prop_assert!(both.iter().all(|c| as_text(c) == as_text(&picked)));
    check_interleaved(column, rows, &picked)
}

/// Gathers a column interleaved with others, among which it may be the widest or not.
fn check_interleaved(column: &ArrayRef, rows: &[RowId], picked: &ArrayRef) -> Result<(), TestCaseError> {
    let narrow: ArrayRef = Arc::new(Int8Array::from_iter_values((0..=127).cycle().take(column.len())));
    let columns = [narrow.clone(), column.clone(), narrow.clone(), column.clone()];
    if Interleaved::value_bytes(column.data_type()).is_none() {
        prop_assert_eq!(
            Interleaved::new(&columns, false).unwrap_err().code(),
            "not_interleavable"
        );
        return Ok(());
    }
    let interleaved = Interleaved::new(&columns, rows.len().is_multiple_of(2)).unwrap();
    let mut together = interleaved.gather(&Picks::new(rows)).unwrap();
    together.extend(interleaved.gather(&Picks::new(rows).past_caches()).unwrap());
    let narrow = gather(&narrow, rows).unwrap();
    let alone = [&narrow, picked].into_iter().cycle();
    for (together, alone) in together.iter().zip(alone) {
        together.to_data().validate_full().unwrap();
        prop_assert_eq!(together.data_type(), alone.data_type());
        prop_assert_eq!(together.null_count(), alone.null_count());
        prop_assert_eq!(as_text(together), as_text(alone));
    }
    Ok(())
}

/// Types that cannot be keys, or of which keys have only one form, from a column of strings.
fn other_types(codes: &[Code]) -> Vec<ArrayRef> {
    let list = column(&key_types()[39], (Encoding::Plain, false), codes);
    let field = Arc::new(Field::new_list_field(DataType::Float64, true));
    let casts = [
        DataType::LargeList(field.clone()),
        DataType::ListView(field.clone()),
        DataType::LargeListView(field.clone()),
    ];
    let mut columns: Vec<ArrayRef> = casts
        .iter()
        .map(|to| arrow_cast::cast(&list, to).unwrap())
        .collect();

    let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
    for code in codes {
        if let Some(code) = code {
            map.keys().append_value(format!("key {code}"));
            map.values()
                .append_option((code % 2 == 0).then_some(i32::from(*code)));
        }
        map.append(code.is_some()).unwrap();
    }
    columns.push(Arc::new(map.finish()));

    let fixed: Vec<Option<Vec<Option<i32>>>> = codes
        .iter()
        .map(|code| code.map(|code| vec![Some(i32::from(code)), None]))
        .collect();
    columns.push(Arc::new(arrow_array::FixedSizeListArray::from_iter_primitive::<
        arrow_array::types::Int32Type,
        _,
        _,
    >(fixed, 2)));

    let ints: ArrayRef = Arc::new(
        codes
            .iter()
            .map(|code| code.map(i32::from))
            .collect::<Int32Array>(),
    );
    let texts: ArrayRef = Arc::new(
        codes
            .iter()
            .map(|code| code.map(|c| c.to_string()))
            .collect::<StringArray>(),
    );
    let fields: UnionFields = [
        (0, Arc::new(Field::new("i", DataType::Int32, true))),
        (1, Arc::new(Field::new("s", DataType::Utf8, true))),
    ]
    .into_iter()
    .collect();
    let ids: Vec<i8> = (0..codes.len()).map(|row| (row % 2) as i8).collect();
    let offsets: Vec<i32> = (0..codes.len() as i32).collect();
    for offsets in [None, Some(offsets.into())] {
        let children = vec![ints.clone(), texts.clone()];
        let union = UnionArray::try_new(fields.clone(), ids.clone().into(), offsets, children);
        columns.push(Arc::new(union.unwrap()));
    }
    columns
}

fn codes() -> impl Strategy<Value = Vec<Code>> {
    prop_oneof![
        prop::collection::vec(prop::option::weighted(0.8, 0..90_u8), 0..150),
        prop::collection::vec((0..90_u8).prop_map(Some), 0..150),
    ]
}

/// Draws row ids of a column of `rows` rows.
fn rows(rows: usize) -> BoxedStrategy<Vec<RowId>> {
    if rows == 0 {
        return prop::collection::vec(Just(NO_ROW), 0..20).boxed();
    }
    let known = 0..rows as RowId;
    prop_oneof![
        prop::collection::vec(known.clone(), 0..200),
        prop::collection::vec(prop_oneof![3 => known.clone(), 1 => Just(NO_ROW)], 0..200),
        // So few rows that they are taken by the word, and so many words that later ones are asked for.
        prop::collection::vec(prop_oneof![1 => known, 6 => Just(NO_ROW)], 0..600),
    ]
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn picks_what_rows_say(
        (codes, rows) in codes().prop_flat_map(|codes| (Just(codes.clone()), rows(codes.len()))),
        data_type in prop::sample::select(key_types()),
        encoding in encoding(),
    ) {
        check(&column(&data_type, encoding, &codes), &rows)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn picks_from_types_that_nest(
        (codes, rows) in codes().prop_flat_map(|codes| (Just(codes.clone()), rows(codes.len()))),
    ) {
        for column in other_types(&codes) {
            check(&column, &rows)?;
            if codes.len() > 3 {
                let slice = column.slice(2, codes.len() - 2);
                let rows: Vec<RowId> =
                    rows.iter().copied().filter(|r| *r == NO_ROW || (*r as usize) < slice.len()).collect();
                check(&slice, &rows)?;
            }
        }
    }
}

#[test]
fn the_identity_is_the_same_array() {
    let array = column(&DataType::Utf8, (Encoding::Plain, false), &[Some(1), None]);
    assert!(Arc::ptr_eq(&array, &select(&array, None).unwrap()));
}

#[test]
fn views_and_dictionaries_share_their_buffers() {
    let codes: Vec<Code> = (0..50).map(Some).collect();
    let views = column(&DataType::Utf8, (Encoding::View, false), &codes);
    let picked = gather(&views, &[7, NO_ROW, 2]).unwrap();
    let (from, to) = (views.as_string_view(), picked.as_string_view());
    assert!(from.data_buffers()[0].ptr_eq(&to.data_buffers()[0]));

    let dictionary = column(&DataType::Utf8, (Encoding::Dictionary32, false), &codes);
    let picked = gather(&dictionary, &[7, NO_ROW, 2]).unwrap();
    let values = |array: &ArrayRef| array.as_any_dictionary().values().clone();
    assert!(Arc::ptr_eq(&values(&dictionary), &values(&picked)));
}

#[test]
fn refuses_rows_past_the_end() {
    let array = column(&DataType::Int32, (Encoding::Plain, false), &[Some(1)]);
    assert_eq!(gather(&array, &[0, 1]).unwrap_err().code(), "row_out_of_range");
    assert_eq!(
        gather(&array, &[NO_ROW - 1]).unwrap_err().code(),
        "row_out_of_range"
    );
    assert_eq!(gather(&array, &[NO_ROW, NO_ROW]).unwrap().null_count(), 2);
}
