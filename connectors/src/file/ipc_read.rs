//! Reads Arrow IPC, both forms: the file with its footer, and the stream.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_ipc::reader::{FileReader, FileReaderBuilder, StreamReader};
use fletching::connector::{Reader, SourceReport};
use fletching::{Error, Result};

use super::columns::{BatchPlace, bare, batch_of, conform, match_columns, viewed};
use super::format::Packing;
use super::packing;
use super::paths::{SourceFile, file_error};
use super::source::{Layout, Scan, Unit, UnitPlace};

/// Arrow IPC files.
#[derive(Debug)]
pub(crate) struct IpcLayout {
    files: Vec<SourceFile>,
    /// For each file the places of the source's columns in it.
    places: Vec<Vec<usize>>,
    units: Vec<Unit>,
    schema: SchemaRef,
}

impl IpcLayout {
    /// Reads the schemas of all files.
    pub(crate) fn open(files: Vec<SourceFile>, declared: Option<&SchemaRef>) -> Result<Self> {
        let mut schema = declared.map(|schema| Arc::new(bare(schema)));
        let mut places = Vec::with_capacity(files.len());
        for file in &files {
            let found = IpcInput::open(file, None, &Arc::default())?.schema();
            let wanted = schema.get_or_insert_with(|| Arc::new(bare(&viewed(&found))));
            places.push(match_columns(wanted, &found, &file.path)?);
        }
        let units = files
            .iter()
            .map(|file| Unit {
                bytes: file.bytes,
                rows: None,
            })
            .collect();
        let schema = schema.unwrap_or_else(|| Arc::new(Schema::empty()));
        Ok(Self {
            files,
            places,
            units,
            schema,
        })
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Layout for IpcLayout {
    fn units(&self) -> &[Unit] {
        &self.units
    }

    fn place(&self, unit: usize) -> UnitPlace {
        UnitPlace {
            origin: self.files[unit].origin(),
            rows_before: 0,
        }
    }

    fn open(&self, unit: usize, scan: &Scan) -> Result<Box<dyn Reader>> {
        let (file, places) = (&self.files[unit], &self.places[unit]);
        let wanted: Vec<usize> = scan.projection.iter().map(|at| places[*at]).collect();
        let mut read = wanted.clone();
        read.sort_unstable();
        read.dedup();
        let at: HashMap<usize, usize> = read.iter().enumerate().map(|(at, r)| (*r, at)).collect();
        let columns = wanted.iter().map(|place| at[place]).collect();
        // Rows are counted by a column; one is read even where none is wanted.
        let read = if read.is_empty() { None } else { Some(read) };
        Ok(Box::new(IpcReader {
            input: IpcInput::open(file, read, &scan.report)?,
            columns,
            schema: Arc::clone(&scan.schema),
            file: file.clone(),
            rows_before: 0,
            batch_rows_max: scan.batch_rows_max,
            rest: None,
        }))
    }
}

/// The first bytes of the file form.
const MAGIC: &[u8] = b"ARROW1";

/// A file in either form.
enum IpcInput {
    File {
        reader: Box<FileReader<BufReader<File>>>,
        batch_bytes: u64,
        report: Arc<SourceReport>,
    },
    Stream(Box<StreamReader<BufReader<Box<dyn Read + Send>>>>),
}

impl IpcInput {
    fn open(file: &SourceFile, projection: Option<Vec<usize>>, report: &Arc<SourceReport>) -> Result<Self> {
        let path = &file.path;
        let mut opened = File::open(path).map_err(|error| Error::file(path, &error))?;
        let mut first = Vec::new();
        opened
            .by_ref()
            .take(MAGIC.len() as u64)
            .read_to_end(&mut first)
            .map_err(|error| Error::file(path, &error))?;
        if first != MAGIC {
            let input = BufReader::new(packing::open(file, Packing::None, report)?);
            let reader = StreamReader::try_new(input, projection);
            return Ok(Self::Stream(Box::new(
                reader.map_err(|error| broken(path, &error))?,
            )));
        }
        let mut builder = FileReaderBuilder::new();
        if let Some(projection) = projection {
            builder = builder.with_projection(projection);
        }
        let reader = builder
            .build(BufReader::new(opened))
            .map_err(|error| broken(path, &error))?;
        let batch_bytes = file.bytes / reader.num_batches().max(1) as u64;
        Ok(Self::File {
            reader: Box::new(reader),
            batch_bytes,
            report: Arc::clone(report),
        })
    }

    fn schema(&self) -> SchemaRef {
        match self {
            Self::File { reader, .. } => reader.schema(),
            Self::Stream(reader) => reader.schema(),
        }
    }

    fn next(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        match self {
            Self::File {
                reader,
                batch_bytes,
                report,
            } => {
                let batch = reader.next()?;
                report.add_bytes(*batch_bytes);
                Some(batch)
            }
            Self::Stream(reader) => reader.next(),
        }
    }
}

fn broken(path: &Path, error: &ArrowError) -> Error {
    let hint = "it may be cut short, or of another format: set the option format".to_owned();
    file_error(
        path,
        format!("is not a whole Arrow IPC file: {error}"),
        Some(hint),
    )
}

/// Reads one file.
struct IpcReader {
    input: IpcInput,
    /// For each column wanted, its place among those read.
    columns: Vec<usize>,
    schema: SchemaRef,
    file: SourceFile,
    rows_before: u64,
    batch_rows_max: usize,
    /// What is left of a batch that is larger than the scan allows.
    rest: Option<RecordBatch>,
}

impl Reader for IpcReader {
    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.input.next() {
                None => return Ok(None),
                Some(batch) => batch.map_err(|error| broken(&self.file.path, &error))?,
            },
        };
        let rows = batch.num_rows().min(self.batch_rows_max);
        if rows < batch.num_rows() {
            self.rest = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let columns: Vec<ArrayRef> = self
            .columns
            .iter()
            .map(|at| batch.column(*at).slice(0, rows))
            .collect();
        if columns.is_empty() {
            return batch_of(&self.schema, columns, rows).map(Some);
        }
        let origin = self.file.origin();
        let place = BatchPlace {
            origin: &origin,
            rows_before: self.rows_before,
            row_group: None,
        };
        let fitted = conform(&self.schema, columns, rows, place)?;
        self.rows_before += rows as u64;
        Ok(Some(fitted))
    }
}
