//! Encodes batches into a file, one writer a format.

use std::io::{self, BufWriter};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::atomic::AtomicFile;
use super::packing::Packer;
#[cfg(feature = "json")]
use crate::json::write::CellEncoders;

/// Encodes batches.
pub(crate) trait Encoder: Send {
    /// Adds a batch.
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError>;

    /// Writes what is left and returns the file, still unpublished.
    fn finish(self: Box<Self>) -> Result<AtomicFile, ArrowError>;
}

pub(super) fn unbuffered(file: BufWriter<AtomicFile>) -> Result<AtomicFile, ArrowError> {
    Ok(file.into_inner().map_err(io::IntoInnerError::into_error)?)
}

/// Writes CSV.
#[cfg(feature = "csv")]
pub(crate) struct CsvEncoder {
    writer: super::text::CsvWriter,
    out: Packer,
}

#[cfg(feature = "csv")]
impl CsvEncoder {
    /// Starts a file and writes its header.
    pub(crate) fn new(
        mut out: Packer,
        style: super::text::CsvStyle,
        schema: &Schema,
    ) -> Result<Self, ArrowError> {
        let mut writer = super::text::CsvWriter::new(style);
        writer.header(
            schema.fields().iter().map(|field| field.name().as_str()),
            &mut out,
        )?;
        Ok(Self { writer, out })
    }
}

#[cfg(feature = "csv")]
impl Encoder for CsvEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.writer.write(batch, &mut self.out)
    }

    fn finish(self: Box<Self>) -> Result<AtomicFile, ArrowError> {
        Ok(self.out.finish()?)
    }
}

/// Writes JSON lines; NULLs are written, so that every line has every column.
#[cfg(feature = "json")]
pub(crate) struct JsonEncoder(arrow_json::LineDelimitedWriter<Packer>);

#[cfg(feature = "json")]
impl JsonEncoder {
    /// Starts a file.
    pub(crate) fn new(out: Packer) -> Self {
        Self(
            arrow_json::WriterBuilder::new()
                .with_explicit_nulls(true)
                .with_encoder_factory(Arc::new(CellEncoders))
                .build(out),
        )
    }
}

#[cfg(feature = "json")]
impl Encoder for JsonEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.0.write(batch)
    }

    fn finish(mut self: Box<Self>) -> Result<AtomicFile, ArrowError> {
        self.0.finish()?;
        Ok(self.0.into_inner().finish()?)
    }
}

/// Writes the file form of Arrow IPC. Views and dictionaries are written as plain columns: IPC
/// would write a view column's whole buffers with each batch, and allows one dictionary a column.
#[cfg(feature = "ipc")]
pub(crate) struct IpcEncoder {
    writer: arrow_ipc::writer::FileWriter<BufWriter<AtomicFile>>,
    schema: SchemaRef,
}

#[cfg(feature = "ipc")]
impl IpcEncoder {
    /// The words of the option `compression`.
    pub(crate) const WORDS: [&str; 3] = ["none", "lz4", "zstd"];

    /// Starts a file; `packing` is a position in [`IpcEncoder::WORDS`].
    pub(crate) fn new(file: AtomicFile, schema: &Schema, packing: usize) -> Result<Self, ArrowError> {
        use arrow_ipc::CompressionType;
        use arrow_ipc::writer::{FileWriter, IpcWriteOptions};

        let packing = match packing {
            1 => Some(CompressionType::LZ4_FRAME),
            2 => Some(CompressionType::ZSTD),
            _ => None,
        };
        let options = IpcWriteOptions::default().try_with_compression(packing)?;
        let fields: Vec<FieldRef> = schema.fields().iter().map(plain_field).collect();
        let schema = Arc::new(Schema::new(fields));
        let writer = FileWriter::try_new_with_options(BufWriter::new(file), &schema, options)?;
        Ok(Self { writer, schema })
    }
}

#[cfg(feature = "ipc")]
impl Encoder for IpcEncoder {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let columns: Result<Vec<ArrayRef>, ArrowError> = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| cast(column, field.data_type()))
            .collect();
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options)?;
        self.writer.write(&batch)
    }

    fn finish(self: Box<Self>) -> Result<AtomicFile, ArrowError> {
        let mut writer = self.writer;
        writer.finish()?;
        unbuffered(writer.into_inner()?)
    }
}

/// Returns a field without views and dictionaries, at any depth.
fn plain_field(field: &FieldRef) -> FieldRef {
    let data_type = plain_type(field.data_type());
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, value) => plain_type(value),
        DataType::List(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) => DataType::LargeList(plain_field(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(plain_field(field), *size),
        DataType::Map(field, sorted) => DataType::Map(plain_field(field), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        other => other.clone(),
    }
}
