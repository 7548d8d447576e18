//! A Parquet file, packed with zstd as the file connector does.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::{Destination, ResultWriter, WriteError};

/// Writes Parquet.
pub(crate) struct ParquetWriter<'a> {
    writer: ArrowWriter<&'a mut Destination>,
}

impl<'a> ParquetWriter<'a> {
    /// Starts the file.
    pub(crate) fn new(schema: SchemaRef, out: &'a mut Destination) -> Result<Self, WriteError> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        Ok(Self {
            writer: ArrowWriter::try_new(out, schema, Some(properties))?,
        })
    }
}

impl ResultWriter for ParquetWriter<'_> {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteError> {
        Ok(self.writer.write(batch)?)
    }

    fn finish(self: Box<Self>) -> Result<(), WriteError> {
        self.writer.close()?;
        Ok(())
    }
}
