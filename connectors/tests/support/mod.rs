//! What the tests of connectors share.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use fletching::Result;
use fletching::connector::{
    Connector, Options, RelationKind, RelationSpec, ScanRequest, SinkSummary, Source,
};
use fletching_connectors::FileConnector;

/// Makes a spec from `(name, text)` options.
pub fn spec(kind: RelationKind, schema: Option<SchemaRef>, options: &[(&str, &str)]) -> RelationSpec {
    let subject = format!("{} r", kind.word());
    let options = options
        .iter()
        .fold(Options::new(subject), |options, (name, text)| {
            options.with(name, *text)
        });
    RelationSpec {
        name: "r".into(),
        kind,
        schema,
        primary_key: Vec::new(),
        options,
    }
}

/// Opens a file as a source.
pub fn open(path: &Path, schema: Option<SchemaRef>, options: &[(&str, &str)]) -> Result<Arc<dyn Source>> {
    let path = path.to_string_lossy();
    let mut all = vec![("path", path.as_ref())];
    all.extend(options);
    FileConnector.source(&spec(RelationKind::Stream, schema, &all))
}

/// Reads all readers of a scan, one after the other, into one batch.
pub fn collect(source: &dyn Source, request: &ScanRequest) -> Result<RecordBatch> {
    let mut schema = None;
    let mut batches = Vec::new();
    let readers = source.scan(request)?;
    assert!(readers.len() <= request.partitions_max.max(1));
    for mut reader in readers {
        while let Some(batch) = reader.next_batch()? {
            assert!(batch.num_rows() <= request.batch_rows_max);
            schema = Some(batch.schema());
            batches.push(batch);
        }
    }
    let schema = schema.unwrap_or_else(|| source.schema());
    if schema.fields().is_empty() {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
        return Ok(RecordBatch::try_new_with_options(schema, Vec::new(), &options).unwrap());
    }
    Ok(concat_batches(&schema, &batches).unwrap())
}

/// Reads a whole file.
pub fn read(path: &Path, schema: Option<SchemaRef>, options: &[(&str, &str)]) -> Result<RecordBatch> {
    collect(open(path, schema, options)?.as_ref(), &ScanRequest::all())
}

/// Writes a text file and reads it.
pub fn read_text(
    name: &str,
    text: impl AsRef<[u8]>,
    schema: Option<SchemaRef>,
    options: &[(&str, &str)],
) -> Result<RecordBatch> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    read(&path, schema, options)
}

/// Returns the error of reading a text file, with the file's folder left out.
pub fn error_text(
    name: &str,
    text: impl AsRef<[u8]>,
    schema: Option<SchemaRef>,
    options: &[(&str, &str)],
) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let error = read(&path, schema, options).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

/// Writes batches to a file.
pub fn write(
    path: &Path,
    batches: &[RecordBatch],
    schema: &SchemaRef,
    options: &[(&str, &str)],
) -> Result<SinkSummary> {
    let path = path.to_string_lossy();
    let mut all = vec![("path", path.as_ref())];
    all.extend(options);
    let sink = FileConnector.sink(&spec(RelationKind::Sink, None, &all))?;
    let mut writer = sink.create(schema)?;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.commit()
}

/// Makes a schema of nullable columns.
pub fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, t)| Field::new(*name, t.clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Shows a batch as text, a row a line.
pub fn rows(batch: &RecordBatch) -> Vec<String> {
    let options = arrow::util::display::FormatOptions::default().with_null("-");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| arrow::util::display::ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            columns
                .iter()
                .map(|c| c.value(row).to_string())
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect()
}
