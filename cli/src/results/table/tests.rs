//! What tables look like.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};

use super::*;
use crate::paint::Paint;

const PLAIN: TableLook = TableLook {
    as_they_come: false,
    paint: Paint::PLAIN,
    rows_shown: None,
    rows_remedy: "--all-rows",
    width: None,
    footer: None,
};

fn batch(from: i64, names: &[Option<&str>]) -> RecordBatch {
    let ids = Int64Array::from_iter_values(from..from + names.len() as i64);
    let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(ids) as ArrayRef, false),
        ("name", names, true),
    ])
    .expect("equal lengths")
}

fn table(look: TableLook, batches: &[RecordBatch]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("table.txt");
    write(look, batches, &path);
    std::fs::read_to_string(path).expect("it is text")
}

fn write(look: TableLook, batches: &[RecordBatch], path: &Path) {
    let mut out = Destination::file(path).expect("a file");
    let mut writer = Box::new(TableWriter::new(batches[0].schema(), &mut out, look));
    for batch in batches {
        writer.write(batch).expect("room");
    }
    writer.finish().expect("room");
    out.publish().expect("room");
}

#[test]
fn columns_are_aligned_and_null_is_named() {
    let text = table(
        PLAIN,
        &[
            batch(9, &[Some("anna"), None]),
            batch(11, &[Some("東京"), Some("")]),
        ],
    );
    let expected = " id │ name\n────┼──────\n  9 │ anna\n 10 │ NULL\n 11 │ 東京\n 12 │\n";
    assert_eq!(text, expected);
}

#[test]
fn a_limit_counts_the_rest() {
    let look = TableLook {
        rows_shown: Some(2),
        ..PLAIN
    };
    let text = table(look, &[batch(0, &[None; 3]), batch(3, &[None; 1200])]);
    assert_eq!(text.lines().count(), 5);
    assert_eq!(
        text.lines().last(),
        Some("… 1,201 more rows; --all-rows shows them")
    );
}

#[test]
fn a_row_that_is_wider_than_the_sample_is_not_cut() {
    let long = "x".repeat(50);
    let text = table(
        PLAIN,
        &[
            batch(0, &[Some("a"); SAMPLE_ROWS]),
            batch(1000, &[Some(long.as_str())]),
        ],
    );
    assert!(text.ends_with(&format!("{long}\n")));
}

#[test]
fn an_empty_result_has_its_header() {
    assert_eq!(table(PLAIN, &[batch(0, &[])]), " id │ name\n────┼──────\n");
}

#[test]
fn a_narrow_screen_cuts_texts_and_lines_stay_apart() {
    let look = TableLook {
        width: Some(20),
        ..PLAIN
    };
    let text = table(
        look,
        &[batch(0, &[Some("a rather long name\nand a second line")])],
    );
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[2..],
        [
            "  0 │ a rather long",
            "    │      name",
            "    │ and a second",
            "    │     line"
        ]
    );
}
