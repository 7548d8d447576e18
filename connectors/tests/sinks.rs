//! Sinks: whole files or none, folders, and options that are refused.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::fs;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use fletching::connector::{Connector, RelationKind, Sink};
use fletching_connectors::{FileConnector, StdoutConnector};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::metadata::ColumnChunkMetaData;
use support::{schema, spec, write};

fn names(folder: &std::path::Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn sink(options: &[(&str, &str)]) -> std::sync::Arc<dyn Sink> {
    FileConnector
        .sink(&spec(RelationKind::Sink, None, options))
        .unwrap()
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.parquet", "a.arrow", "a.csv", "a.json", "a.csv.gz", "a.csv.zst"] {
        let path = folder.path().join(name);
        let writer = sink(&[("path", &path.to_string_lossy())])
            .create(&schema(&[("id", DataType::Int64)]))
            .unwrap();
        assert_eq!(names(folder.path()).len(), 1, "{name}");
        drop(writer);
        assert!(names(folder.path()).is_empty(), "{name}");
    }
}

#[test]
fn a_folder_is_made_and_gets_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}/out/daily/", folder.path().display());
    let sink = sink(&[("path", &path), ("format", "csv"), ("compression", "gzip")]);
    let schema = schema(&[("id", DataType::Int64)]);
    for _ in 0..2 {
        sink.create(&schema).unwrap().commit().unwrap();
    }
    assert_eq!(
        names(std::path::Path::new(&path)),
        ["part-0000.csv.gz", "part-0001.csv.gz"]
    );
}

#[test]
fn a_file_is_replaced_unless_that_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    fs::write(&path, "old").unwrap();
    let columns = schema(&[("id", DataType::Int64)]);
    let error = write(&path, &[], &columns, &[("overwrite", "false")])
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("exists already; choose another path, or set overwrite = 'true'"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    write(&path, &[], &columns, &[]).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "id\n");
}

#[test]
fn options_that_have_no_meaning_are_refused() {
    let refuse = |options: &[(&str, &str)]| {
        FileConnector
            .sink(&spec(RelationKind::Sink, None, options))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refuse(&[]),
        "sink r: the option 'path' is missing; add it, as in path = 'out/enriched.parquet'"
    );
    assert_eq!(
        refuse(&[("path", "x.csv"), ("compresion", "gzip")]),
        "sink r: there is no option 'compresion'; did you mean 'compression'?"
    );
    assert_eq!(
        refuse(&[("path", "x.parquet"), ("delimiter", ";")]),
        "sink r: option 'delimiter': has no meaning for sinks of format parquet; leave it out"
    );
    assert_eq!(
        refuse(&[("path", "x.parquet"), ("compression", "zst")]),
        "sink r: option 'compression': expected one of 'zstd', 'snappy', 'gzip', 'lz4', 'none', \
         found 'zst'; did you mean 'zstd'?"
    );
    assert_eq!(
        refuse(&[("path", "x.dat")]),
        "sink r: option 'path': cannot tell the format of 'x.dat' from its name; \
         add format = 'parquet', 'csv', 'json' or 'arrow'"
    );
    assert!(refuse(&[("path", "x.parquet.gz")]).contains("is packed inside"));
    assert!(refuse(&[("path", "x.parquet"), ("row_group_rows", "0")]).contains("above 0"));
}

#[test]
fn a_dictionary_that_was_too_large_is_not_tried_again() {
    const GROUP_ROWS: i64 = 200_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let columns = schema(&[
        ("id", DataType::Int64),
        ("kind", DataType::Int64),
        ("name", DataType::Utf8),
    ]);
    let ids: Int64Array = (0..3 * GROUP_ROWS).collect();
    let kinds: Int64Array = ids.values().iter().map(|id| id % 10).collect();
    let names: StringArray = ids.values().iter().map(|id| Some(format!("n{id}"))).collect();
    let arrays: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(kinds), Arc::new(names)];
    let rows = RecordBatch::try_new(Arc::clone(&columns), arrays).unwrap();
    let options = [("row_group_rows", GROUP_ROWS.to_string())];
    let options = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    write(&path, std::slice::from_ref(&rows), &columns, &options).unwrap();

    let file = fs::File::open(&path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let has_dictionary = |leaf: &ColumnChunkMetaData| leaf.dictionary_page_offset().is_some();
    let groups = reader.metadata().row_groups().iter();
    let dictionaries: Vec<Vec<bool>> = groups
        .map(|group| group.columns().iter().map(has_dictionary).collect())
        .collect();
    assert_eq!(
        dictionaries,
        [
            vec![true, true, true],
            vec![false, true, false],
            vec![false, true, false]
        ]
    );
    let read: Vec<RecordBatch> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(concat_batches(&columns, &read).unwrap(), rows);
}

#[test]
fn two_columns_of_one_name_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    let columns = schema(&[("id", DataType::Int64), ("id", DataType::Int64)]);
    let error = write(&path, &[], &columns, &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("two columns are named 'id'; name them apart with AS"),
        "{error}"
    );
}

#[test]
fn stdout_is_for_writing() {
    let relation = spec(RelationKind::Stream, None, &[]);
    let error = StdoutConnector.source(&relation).unwrap_err().to_string();
    assert_eq!(
        error,
        "stream r: the connector 'stdout' cannot be read from; use it in CREATE SINK"
    );
}
