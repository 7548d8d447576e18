//! A folder that grows by a file an epoch.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use fletching::Result;
use fletching::connector::{Connector, EpochWriter, RelationKind, ScanRequest};
use fletching_connectors::FileConnector;
use support::{collect, open, rows, spec};

fn batch(values: &[i64]) -> RecordBatch {
    let values: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
    RecordBatch::try_from_iter([("id", values)]).unwrap()
}

fn writer(folder: &Path, options: &[(&str, &str)]) -> Result<Box<dyn EpochWriter>> {
    let path = format!("{}/", folder.display());
    let mut all = vec![("path", path.as_str())];
    all.extend(options);
    let sink = FileConnector.sink(&spec(RelationKind::Sink, None, &all))?;
    sink.epochs(&batch(&[]).schema(), "test")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn seen(folder: &Path) -> Vec<String> {
    rows(&collect(open(folder, None, &[]).unwrap().as_ref(), &ScanRequest::all()).unwrap())
}

const FORMATS: [(&str, &str); 4] = [
    ("parquet", "parquet"),
    ("csv", "csv"),
    ("json", "ndjson"),
    ("arrow", "arrow"),
];

#[test]
fn an_epoch_is_shown_whole_when_it_is_committed() {
    for (format, ending) in FORMATS {
        let folder = tempfile::tempdir().unwrap();
        let mut out = writer(folder.path(), &[("format", format)]).unwrap();
        out.restore(0).unwrap();
        out.write(&batch(&[1, 2])).unwrap();
        out.write(&batch(&[3])).unwrap();
        out.prepare(1, &[]).unwrap();
        assert_eq!(
            names(folder.path()),
            [format!(".epoch-000000000001.{ending}.prepared")]
        );
        let summary = out.commit(1).unwrap();
        assert_eq!(summary.rows, 3);
        // An epoch without rows has no file, and the one after it its own number.
        out.prepare(2, &[]).unwrap();
        out.commit(2).unwrap();
        out.write(&batch(&[4])).unwrap();
        out.prepare(3, &[]).unwrap();
        out.commit(3).unwrap();
        // Showing it again does no harm.
        out.commit(3).unwrap();
        let published = [1, 3].map(|epoch| format!("epoch-{epoch:012}.{ending}"));
        assert_eq!(names(folder.path()), published);
        assert_eq!(seen(folder.path()), ["1", "2", "3", "4"]);
    }
}

#[test]
fn a_restart_shows_what_was_prepared_and_takes_back_what_is_beyond() {
    let folder = tempfile::tempdir().unwrap();
    let options = [("format", "csv"), ("compression", "gzip")];
    let mut out = writer(folder.path(), &options).unwrap();
    out.restore(0).unwrap();
    for epoch in 1..=4 {
        out.write(&batch(&[epoch])).unwrap();
        out.prepare(epoch.cast_unsigned(), &[]).unwrap();
        if epoch < 4 {
            out.commit(epoch.cast_unsigned()).unwrap();
        }
    }
    out.write(&batch(&[5])).unwrap();
    // A kill leaves the file in the making where it is.
    std::mem::forget(out);
    assert_eq!(names(folder.path()).len(), 5);

    // The checkpoint of epoch 4 was written: it is shown now.
    let mut out = writer(folder.path(), &options).unwrap();
    out.restore(4).unwrap();
    assert_eq!(seen(folder.path()), ["1", "2", "3", "4"]);
    assert_eq!(names(folder.path()).len(), 4);

    // The checkpoints after epoch 2 are lost: its successors come again.
    let mut again = writer(folder.path(), &options).unwrap();
    again.restore(2).unwrap();
    assert_eq!(seen(folder.path()), ["1", "2"]);
    again.write(&batch(&[30])).unwrap();
    again.prepare(3, &[]).unwrap();
    again.commit(3).unwrap();
    assert_eq!(seen(folder.path()), ["1", "2", "30"]);
}

#[test]
fn what_another_run_has_left_is_replaced_only_where_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.csv"), "id\n0\n").unwrap();
    fs::write(folder.path().join("epoch-000000000007.csv"), "id\n7\n").unwrap();
    let mut out = writer(folder.path(), &[("format", "csv")]).unwrap();
    let error = out.restore(0).unwrap_err().to_string();
    assert!(error.contains("is an epoch of another run"), "{error}");
    let mut out = writer(folder.path(), &[("format", "csv"), ("overwrite", "true")]).unwrap();
    out.restore(0).unwrap();
    assert_eq!(names(folder.path()), ["notes.csv"]);
}

#[test]
fn one_file_cannot_grow_by_epochs() {
    let path = "out/all.csv";
    let sink = FileConnector
        .sink(&spec(RelationKind::Sink, None, &[("path", path)]))
        .unwrap();
    let error = sink
        .epochs(&batch(&[]).schema(), "test")
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.ends_with("needs a folder; end the path with '/', as in path = 'out/all.csv/'"),
        "{error}"
    );
}
