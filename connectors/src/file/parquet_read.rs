//! Reads Parquet: a row group at a time, only the columns that are wanted, text as views.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use fletching::connector::Reader;
use fletching::{Error, Result};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::columns::{BatchPlace, bare, batch_of, conform, match_columns, viewed};
use super::paths::{SourceFile, file_error};
use super::source::{Layout, Scan, Unit, UnitPlace};

/// A Parquet file's footer, and where the source's columns are in it.
#[derive(Debug)]
struct ParquetFile {
    file: SourceFile,
    metadata: ArrowReaderMetadata,
    places: Vec<usize>,
}

/// A row group.
#[derive(Debug, Clone, Copy)]
struct Group {
    file: usize,
    group: usize,
    rows_before: u64,
}

/// Parquet files.
#[derive(Debug)]
pub(crate) struct ParquetLayout {
    files: Vec<ParquetFile>,
    groups: Vec<Group>,
    units: Vec<Unit>,
    schema: SchemaRef,
}

impl ParquetLayout {
    /// Reads the footers of all files.
    pub(crate) fn open(files: Vec<SourceFile>, declared: Option<&SchemaRef>) -> Result<Self> {
        let mut schema = declared.map(|schema| Arc::new(bare(schema)));
        let mut layout = Self {
            files: Vec::with_capacity(files.len()),
            groups: Vec::new(),
            units: Vec::new(),
            schema: Arc::new(Schema::empty()),
        };
        for file in files {
            let metadata = read_footer(&file.path)?;
            let wanted = schema.get_or_insert_with(|| Arc::new(bare(metadata.schema())));
            let places = match_columns(wanted, metadata.schema(), &file.path)?;
            let mut rows_before = 0;
            for (group, meta) in metadata.metadata().row_groups().iter().enumerate() {
                let rows = u64::try_from(meta.num_rows()).unwrap_or(0);
                let bytes = u64::try_from(meta.compressed_size()).unwrap_or(0);
                layout.groups.push(Group {
                    file: layout.files.len(),
                    group,
                    rows_before,
                });
                layout.units.push(Unit {
                    bytes,
                    rows: Some(rows),
                });
                rows_before += rows;
            }
            layout.files.push(ParquetFile {
                file,
                metadata,
                places,
            });
        }
        layout.schema = schema.unwrap_or(layout.schema);
        Ok(layout)
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

fn read_footer(path: &Path) -> Result<ArrowReaderMetadata> {
    let file = File::open(path).map_err(|error| Error::file(path, &error))?;
    let broken = |error: &dyn std::fmt::Display| {
        let hint = "it may be cut short, or of another format: set the option format".to_owned();
        file_error(path, format!("is not a whole Parquet file: {error}"), Some(hint))
    };
    let metadata =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(|error| broken(&error))?;
    let views = ArrowReaderOptions::new().with_schema(Arc::new(viewed(metadata.schema())));
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), views).map_err(|error| broken(&error))
}

impl Layout for ParquetLayout {
    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn place(&self, unit: usize) -> UnitPlace {
        let group = self.groups[unit];
        UnitPlace {
            origin: self.files[group.file].file.origin(),
            rows_before: group.rows_before,
        }
    }

    fn open(&self, unit: usize, scan: &Scan) -> Result<Box<dyn Reader>> {
        let group = self.groups[unit];
        let file = &self.files[group.file];
        if scan.projection.is_empty() {
            let rows = usize::try_from(self.units[unit].rows.unwrap_or(0)).unwrap_or(usize::MAX);
            let schema = Arc::clone(&scan.schema);
            return Ok(Box::new(RowCounter {
                schema,
                rows,
                batch_rows_max: scan.batch_rows_max,
            }));
        }
        let mut roots: Vec<usize> = scan.projection.iter().map(|at| file.places[*at]).collect();
        let wanted = roots.clone();
        roots.sort_unstable();
        roots.dedup();
        let at: HashMap<usize, usize> = roots.iter().enumerate().map(|(at, r)| (*r, at)).collect();
        let columns = wanted.iter().map(|root| at[root]).collect();
        let metadata = file.metadata.metadata();
        let parquet_schema = metadata.file_metadata().schema_descr();
        let bytes: i64 = metadata
            .row_group(group.group)
            .columns()
            .iter()
            .enumerate()
            .filter(|(leaf, _)| at.contains_key(&parquet_schema.get_column_root_idx(*leaf)))
            .map(|(_, column)| column.compressed_size())
            .sum();
        let opened = File::open(&file.file.path).map_err(|error| Error::file(&file.file.path, &error))?;
        let mask = ProjectionMask::roots(parquet_schema, roots);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(opened, file.metadata.clone())
            .with_row_groups(vec![group.group])
            .with_projection(mask)
            .with_batch_size(scan.batch_rows_max)
            .build()
            .map_err(|error| unreadable(&file.file.path, group.group, &error))?;
        scan.report.add_bytes(u64::try_from(bytes).unwrap_or(0));
        Ok(Box::new(GroupReader {
            reader,
            columns,
            schema: Arc::clone(&scan.schema),
            file: file.file.clone(),
            group: group.group,
            rows_before: group.rows_before,
        }))
    }
}

fn unreadable(path: &Path, group: usize, error: &dyn std::fmt::Display) -> Error {
    let hint = "the file may be damaged; write it again".to_owned();
    file_error(
        path,
        format!("row group {group} cannot be read: {error}"),
        Some(hint),
    )
}

/// Reads one row group.
struct GroupReader {
    reader: ParquetRecordBatchReader,
    /// For each column wanted, its place among those read.
    columns: Vec<usize>,
    schema: SchemaRef,
    file: SourceFile,
    group: usize,
    rows_before: u64,
}

impl Reader for GroupReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(batch) = self.reader.next() else {
            return Ok(None);
        };
        let batch = batch.map_err(|error| unreadable(&self.file.path, self.group, &error))?;
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|at| Arc::clone(batch.column(*at)))
            .collect();
        let origin = self.file.origin();
        let place = BatchPlace {
            origin: &origin,
            rows_before: self.rows_before,
            row_group: Some(self.group),
        };
        let fitted = conform(&self.schema, columns, batch.num_rows(), place)?;
        self.rows_before += batch.num_rows() as u64;
        Ok(Some(fitted))
    }
}

/// Gives batches of no columns, from the footer alone.
struct RowCounter {
    schema: SchemaRef,
    rows: usize,
    batch_rows_max: usize,
}

impl Reader for RowCounter {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let rows = self.rows.min(self.batch_rows_max);
        if rows == 0 {
            return Ok(None);
        }
        self.rows -= rows;
        batch_of(&self.schema, Vec::new(), rows).map(Some)
    }
}
